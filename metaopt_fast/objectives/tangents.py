"""The order in which rows are read to tell that a candidate cannot rank, and tangents of those that
are not read yet.

A convex loss f is above its tangents: f(z) >= f(a) + f'(a) (z - a) for any a. So with a_i = r_i . t
at an anchor t, the mean over all rows is at least that of the first rows and, for the others,

    sum_i w_i (f(a_i) - f'(a_i) a_i) + (sum_i w_i f'(a_i) r_i) . theta,

a number and one product for each candidate, where sums alone have 0. What a row adds beyond its
tangent tells candidates apart; those for which that is most on average, come first.

What rounding does. Any a_i and slopes p_i will do, as far as they belong together: the a_i are
those of double precision, and p_i is within 2^-50 of f'(a_i). Then f(a_i) - p_i a_i is at most
2^-50 (|a_i| + 745) above the least of f(z) - p_i z, as a slope in double precision that is not 0
nor 1 is that of some |z| below 745. With sums over N rows, all is far below WIDE (1 + f + |p a|)
in the mean, which is subtracted. `src/screen.hpp` has what single precision rounds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.data.packed import Packed
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.moments import MAX_ROWS, WIDE, column_factors
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Float64Array, IndexArray

# How far apart looks at the candidates are, as parts of the blocks read before; but no further than
# a part of all blocks, or FEW: of 100,000 x 100, a look takes as long as a row, and rows that are
# read in vain between two looks were an eighth of all.
GROWTH, LARGEST_PART, FEW = 0.3, 40, 8
# The scale at which the mean of max(0, a + u) over normal u is softplus(a), nearly: exactly at 0.
SMOOTH = math.log(2) * math.sqrt(2 * math.pi)
# Margins at the anchor up to which rounding is as above.
LARGE_MARGIN = 1e5


class Ahead(NamedTuple):
    """An order of the rows, and tangents of those that follow."""

    order: _kernels.RowOrder | None  # None: as they are packed
    block_at: IndexArray  # for each position in the panels, its row's block in that order
    tangents: _kernels.Tangents | None

    def rest(self, packed: Packed, block: int) -> Packed:
        """Return the rows from a block on, the others without weight: for sums alone."""
        kept = self.block_at >= block
        weights = np.zeros(len(kept))
        weights[packed.positions()] = 1.0
        if packed.row_weights is not None:
            weights *= packed.row_weights.view(packed.dtype)
        return replace(packed, row_weights=(weights * kept).view(np.uint8))


def has_tangents(packed: Packed, loss: str) -> bool:
    """Whether there are tangents: for convex losses of bounded slopes, in double precision."""
    is_known = loss in ("logistic", "hinge") and packed.dtype == "float64"
    return is_known and packed.n_rows <= MAX_ROWS


def set_up_work(n_rows: int, n_params: int) -> float:
    """Return about the work of `look_ahead`, in units of `_kernels.work`."""
    return n_rows * (330.0 * n_params + 2250.0) + 4e6


@shielded
def look_ahead(
    packed: Packed, loss: str, sampler: BuiltInSampler, order: Ahead | None = None
) -> Ahead | None:
    """Return the order and the tangents for what a sampler draws; None where there are none.

    Parameters
    ----------
    packed, loss
        Rows, and the name of the pointwise loss: one that `has_tangents`.
    sampler
        Candidates lie around its mean, by its standard deviation. The bounds hold for any others.
    order : Ahead, optional
        Whose order is kept.
    """
    n_params, factors = packed.n_columns, column_factors(packed)
    # That of moments, whose curvature is added to these tangents.
    anchor = (sampler.mean(n_params) * factors).astype(np.float32) / factors
    spread = sampler.std(n_params)
    at, sizes = _margins(packed, anchor, np.square(spread))
    if not (np.abs(at).max() <= LARGE_MARGIN and np.isfinite(sizes).all()):
        return None
    if order is None:
        order = _in_order(packed, packed.weights_of_positions() * _gains(loss, at, np.sqrt(sizes)))
    tangents = _tangents(packed, loss, at, order.block_at, factors)
    return None if tangents is None else order._replace(tangents=tangents)


def as_packed(packed: Packed) -> Ahead:
    """Return the order in which rows are packed."""
    block_at = np.full(packed.n_positions, -1)
    block_at[packed.positions()] = np.repeat(np.arange(packed.n_blocks), packed.block_rows)
    return Ahead(None, block_at, None)


def _margins(
    packed: Packed, anchor: Float64Array, squares: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return r . anchor and the sum of squares[j] r_j^2 of the row at each position."""
    at, sizes, first = np.zeros(packed.n_positions), np.zeros(packed.n_positions), 0
    for rows in packed.rows_by_position():
        last = first + len(rows)
        at[first:last] = products(anchor[None], rows)[0] if anchor.any() else 0.0
        sizes[first:last] = products(squares[None], np.square(rows))[0]
        first = last
    return at, sizes


def _gains(loss: str, at: Float64Array, spread: Float64Array) -> Float64Array:
    """Return about the mean of f(a + u) - f(a) - f'(a) u over normal u of a standard deviation.

    That of max(0, a + u) less max(0, a) is s g(|a| / s), g(t) = phi(t) - t (1 - Phi(t)); and
    softplus is nearly that mean itself, of s = SMOOTH.
    """
    if loss == "hinge":
        return _above_kink(at + 1, spread)
    return _above_kink(at, np.hypot(spread, SMOOTH)) - _above_kink(at, np.full(len(at), SMOOTH))


def _above_kink(a: Float64Array, s: Float64Array) -> Float64Array:
    # g within 3 % up to 3: an order needs no more.
    t = np.abs(a) / np.maximum(s, 1e-300)
    found: Float64Array = s * np.exp(-t * (1.2533 + 0.33 * t))
    return found


def _in_order(packed: Packed, gains: Float64Array) -> Ahead:
    """Return the order in which rows of the largest gains come first; blocks keep their weights."""
    positions = packed.positions()
    gains = gains[positions]
    # Rows move among blocks of one weight.
    _, weight_of = np.unique(packed.block_weights, return_inverse=True)
    group = np.repeat(weight_of, packed.block_rows)
    by_gain = np.lexsort((-gains, group))
    into = np.argsort(group, kind="stable")
    row_at = np.full(len(packed.panels) // (8 * packed.n_columns), -1)
    row_at[positions[into]] = positions[by_gain]
    # Blocks of large means come first.
    ends = np.cumsum(packed.block_rows)
    block_of_row, moved = np.repeat(np.arange(packed.n_blocks), packed.block_rows), gains.copy()
    moved[into] = gains[by_gain]
    means = np.add.reduceat(moved, ends - packed.block_rows) / packed.block_rows
    blocks = np.argsort(-means, kind="stable")
    rank = np.empty(packed.n_blocks, np.intp)
    rank[blocks] = np.arange(packed.n_blocks)
    block_at = np.full(packed.n_positions, -1)
    block_at[positions[by_gain]] = rank[block_of_row[into]]
    order = _kernels.RowOrder(
        row_at,
        packed.first_panel[blocks],
        packed.block_rows[blocks],
        packed.block_weights[blocks],
    )
    return Ahead(order, block_at, None)


def looks(n_blocks: int) -> IndexArray:
    """Return the blocks before which candidates are dropped."""
    found, block = [], 1
    while block < n_blocks:
        found.append(block)
        block += max(1, min(round(GROWTH * block), max(FEW, n_blocks // LARGEST_PART)))
    return np.array(found, np.intp)


def _tangents(
    packed: Packed, loss: str, at: Float64Array, block_at: IndexArray, factors: Float64Array
) -> _kernels.Tangents | None:
    blocks = looks(packed.n_blocks)
    if len(blocks) == 0:
        return None
    value, slope = pointwise(loss, at)
    weights = packed.weights_of_positions() / packed.total_weight
    # The last look that a row is not read before; -1 for none.
    look = np.searchsorted(blocks, block_at, side="right") - 1
    used = look >= 0
    constants = np.bincount(
        look[used], (weights * (value - slope * at))[used], minlength=len(blocks)
    )
    errors = np.bincount(
        look[used], (weights * (1 + value + np.abs(slope * at)))[used], minlength=len(blocks)
    )
    slopes = _sums_of_rows(packed, weights * slope, look, len(blocks))
    constants = np.cumsum((constants - WIDE * errors)[::-1])[::-1]
    slopes = np.cumsum(slopes[::-1], axis=0)[::-1] / factors
    return _kernels.Tangents(
        blocks, np.ascontiguousarray(constants), np.ascontiguousarray(slopes, np.float32)
    )


def pointwise(loss: str, z: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return values and slopes of a loss."""
    if loss == "hinge":
        return np.maximum(z + 1, 0), (z > -1).astype(np.float64)
    e = np.exp(-np.abs(z))
    return np.maximum(z, 0) + np.log1p(e), np.where(z < 0, e, 1.0) / (1 + e)


def _sums_of_rows(
    packed: Packed, factors: Float64Array, group: IndexArray, n_groups: int
) -> Float64Array:
    """Return the sums of the rows of each group, times their factors; -1 is no group."""
    sums, first = np.zeros((n_groups, packed.n_columns)), 0
    for rows in packed.rows_by_position():
        own = group[first : first + len(rows)]
        which = np.argsort(own, kind="stable")
        which = which[np.count_nonzero(own < 0) :]
        numbers, starts = np.unique(own[which], return_index=True)
        products = rows[which] * factors[first + which, None]
        sums[numbers] += np.add.reduceat(products, starts, axis=0)
        first += len(rows)
    return sums
