"""What a bound by moments of the rows promises before it is proven: whether it pays, and where.

The proof takes nearly all of a set-up's time. But the dispersion is no less than what a single row
adds to it, nor, mostly, than that of normal rows: so it is known beforehand what the bound will be
at best. Where a few rows make it poor, they count as their tangents, and moments bound the others
alone; candidates that this does not drop read the few rows, and are bounded by the same moments
again. The order of the rows has most of these first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.data.packed import Packed
from metaopt_fast.objectives.moments import LARGE, Moments, moments_around
from metaopt_fast.objectives.tangents import Ahead, looks, pointwise
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Float64Array, IndexArray

# Candidates that promises are made for: of all rows, and where some of the rows are read.
SOME, FEW = 256, 64
# About the dispersion of normal rows, but for their ridge: (1 + RIDGE)^2 dispersions are 3 there.
OF_NORMAL = 1.8
# The part of all blocks before which the rows that follow are bounded, and about what a candidate
# reads of the others if that does not drop it.
FURTHEST, REST = 8, 0.3


def set_up_work(n_rows: int, n_params: int) -> float:
    """Return about the work of `prospect_of`, in units of `_kernels.work`."""
    return n_rows * ((5.0 * n_params + 490.0) * n_params + 860.0) + 1.4e7


class Prospect(NamedTuple):
    """Moments of all rows for a sampler's candidates, and what they promise of some of these."""

    moments: Moments
    lower: Float64Array  # bounds of their losses, penalties and all, at best
    is_heavy: bool  # whether single rows keep them from being better
    n_blocks: int
    blocks: IndexArray  # before which rows that follow may be bounded
    # Bounds of losses at best, by blocks: where the rows before a block are not read, and are.
    lower_before: Float64Array
    lower_after: Float64Array

    def dropped(self, threshold: float) -> float:
        """Return the part of the candidates that the bound of all rows drops at best."""
        return float((self.lower > threshold).mean())

    def dropped_without(self, block: int, threshold: float) -> float:
        """Return the same of the bound that has the tangents of the rows before a block."""
        return float((self.lower_before[self.blocks == block] > threshold).mean())

    def block_after_few(self, threshold: float) -> int:
        """Return the block from which on rows are best bounded, after those that stand out."""
        return int(self.blocks[self._visits(threshold).argmin()])

    def block_at_once(self, threshold: float, least: float) -> int | None:
        """Return the block from which on rows are best bounded, if the bound of all rows that is
        set up with it drops such a part of the candidates at best; else None."""
        dropped = self.dropped(threshold)
        if self.is_heavy and self._visits(threshold).min() < REST * (1 - dropped):
            block = self.block_after_few(threshold)
            if self.dropped_without(block, threshold) >= least:
                return block
        return 0 if dropped >= least else None

    def _visits(self, threshold: float) -> Float64Array:
        """Return about the part of the rows that candidates read, by blocks."""
        passed = (self.lower_before <= threshold).mean(axis=1)
        kept = (self.lower_after <= threshold).mean(axis=1)
        found: Float64Array = passed * self.blocks / self.n_blocks + REST * kept
        return found


def prospect_of(
    packed: Packed,
    rows: _kernels.PackedRows,
    loss: str,
    sampler: BuiltInSampler,
    ahead: Ahead,
) -> Prospect | None:
    """Return what moments of all rows promise, or None where they bound nothing."""
    n_params = packed.n_columns
    moments = moments_around(packed, loss, sampler, draws=sampler.drawn(0, n_params))
    if moments is None or moments.supposed(OF_NORMAL) is None:
        return None
    thetas = sampler.sample(0, 0, SOME, n_params)
    squares = np.square(thetas[:, : rows.n_penalised]).sum(axis=1)
    penalties = rows.l2 / 2 * squares
    shares = moments.shares() if loss == "logistic" else np.zeros(1)
    lower = penalties + _bounds(moments, float(shares.max()), thetas)
    is_heavy = bool(shares.max() > OF_NORMAL)
    blocks = looks(max(2, packed.n_blocks // FURTHEST + 1))
    before = after = np.empty((0, FEW))
    if is_heavy:
        before, gains = _by_blocks(packed, moments, sampler, ahead, shares, thetas[:FEW])
        before += penalties[:FEW]
        after = before + gains
    return Prospect(
        moments, lower, is_heavy and packed.n_blocks > 1, packed.n_blocks, blocks, before, after
    )


def points_from(
    block: int,
    rest: Packed | None,
    prospect: Prospect,
    loss: str,
    sampler: BuiltInSampler,
    n_threads: int,
) -> tuple[tuple[int, _kernels.MomentBound], ...] | None:
    """Return a bound of all rows, and that of the rows from a block on, or None without a proof.

    `rest` are the rows from that block on, None where it is 0: then there is one bound. One proof
    is enough for both: in the bound of all rows, those before the block count as their tangents.
    Raises MemoryError.
    """
    of_all = prospect.moments
    moments: Moments | None = of_all
    if rest is not None:
        moments = moments_around(rest, loss, sampler, draws=sampler.drawn(0, rest.n_columns))
    dispersion = None if moments is None else moments.dispersion(n_threads)
    if moments is None or dispersion is None:
        return None
    parts = [(0, moments.among(of_all))] if block > 0 else []
    parts.append((block, moments))
    bounds = [(at, part.supposed(dispersion)) for at, part in parts]
    found = tuple((at, bound) for at, bound in bounds if bound is not None)
    if len(found) < len(parts):
        return None
    found[0][1].curved_from = block
    return found


def _bounds(moments: Moments, dispersion: float, thetas: Float64Array) -> Float64Array:
    """Return what bounds are for a dispersion, that of normal rows at least."""
    bound = moments.supposed(min(max(OF_NORMAL, dispersion), LARGE))
    assert bound is not None  # as for normal rows
    lower = np.empty(len(thetas), np.float32)
    bound.bounds(thetas, lower)
    return lower.astype(np.float64)


def _by_blocks(
    packed: Packed,
    moments: Moments,
    sampler: BuiltInSampler,
    ahead: Ahead,
    shares: Float64Array,
    thetas: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    """Return about what bounds are that have tangents of the first rows and moments of the rest,
    and what these rows add to their tangents, by blocks."""
    weights, n_blocks = packed.weights_of_positions(), packed.n_blocks
    blocks = looks(max(2, n_blocks // FURTHEST + 1))
    block_at = ahead.block_at
    # What the first rows add to their tangents, and what is left of the dispersion after them.
    first = np.flatnonzero((block_at >= 0) & (block_at < blocks[-1]))
    first = first[np.argsort(block_at[first], kind="stable")]
    rows = packed.rows_at(first)
    at = products(sampler.mean(packed.n_columns)[None], rows)[0]
    value, slope = pointwise("logistic", at)
    z = products(rows, thetas)
    gains = pointwise("logistic", z)[0] - (value - slope * at)[:, None] - slope[:, None] * z
    gains *= weights[first, None] / packed.total_weight
    gains = gains.cumsum(axis=0)[np.searchsorted(block_at[first], blocks) - 1]
    largest = np.zeros(n_blocks)
    np.maximum.at(largest, block_at[np.flatnonzero(weights > 0)], shares)
    largest = np.maximum.accumulate(largest[::-1])[::-1]
    tangent = _bounds(moments, LARGE / 2, thetas)
    before = np.empty_like(gains)
    for look, block in enumerate(blocks.tolist()):
        # About what the dispersion turned out to be, of breast_cancer, digits and heavy tails.
        about = OF_NORMAL + 1.5 * float(largest[min(block, n_blocks - 1)])
        bounds = _bounds(moments, about, thetas)
        before[look] = tangent + (1 - block / n_blocks) * (bounds - tangent)
    return before, gains
