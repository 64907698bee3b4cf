"""The largest eigenvalue of packed rows' second moment, from which step sizes are chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import log
from metaopt_fast.data.packing import CHUNK_ROWS, PANEL_ROWS, Packed
from metaopt_fast.typing import Array, Float64Array

# Powers of a matrix up to which its largest eigenvalue is bounded: its multiplicity m makes the
# bound m^(1/2048) too high, 0.4 % for a thousand equal ones.
MAX_POWER = 1024
# How far the bound may be from what is proven from below, for few columns and for many: a squaring
# of 1000 columns takes 20 milliseconds.
TIGHT, LOOSE = 1e-10, 8e-3
FEW_COLUMNS = 200
# Terms of the sums in one entry of a product that are rounded one after the other: see
# products.pxi.
CHAIN = 256
EPS = float(np.finfo(np.float64).eps)
# Below it, squares have begun to leave the range of floats.
TINY = math.ldexp(1, -600)


def moment_bound(packed: Packed, n_params: int, n_threads: int) -> float:
    """Return the largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, or up to 1 % more.

    Where there are fewer rows than columns, that of the rows' products with each other, the same.
    """
    weights = np.sqrt(packed.weights_of_places()) / math.sqrt(packed.total_weight)
    panels = packed.panels.view(packed.dtype).reshape(-1, n_params, PANEL_ROWS)
    panels, weights = panels[: len(weights) // PANEL_ROWS], weights.reshape(-1, PANEL_ROWS)
    n_rows = int(packed.block_rows.sum())
    add_up = _wide_moment if n_rows < n_params else _moment
    exponent = _exponent(packed.extent * float(weights.max()))
    matrix = add_up(panels, weights, exponent, n_threads)
    if matrix.trace() < TINY:
        # What is large is in other blocks, or has next to no weight.
        parts = (np.abs(some).max(axis=1) * part for some, part in _chunks(panels, weights))
        exponent = _exponent(max(float(part.max()) for part in parts))
        matrix = add_up(panels, weights, exponent, n_threads)
    if matrix.trace() == 0:
        return 0.0
    bound, power = _largest_eigenvalue(matrix, max(n_rows, n_params), n_threads)
    power += 2 * exponent
    # The least of floats makes up for rounding where the bound is as small as that.
    return math.ldexp(bound, power) + math.ulp(0.0) if power < 1024 else math.inf


def _exponent(largest: float) -> int:
    """Return the power of two to divide by, so that squares stay in the range of floats."""
    return max(-1000, min(1000, math.frexp(largest)[1]))


def _moment(panels: Array, weights: Float64Array, exponent: int, n_threads: int) -> Float64Array:
    """Return the sum of the columns' products with each other, divided by 4**exponent."""
    n_params = panels.shape[1]
    moment = np.zeros((n_params, n_params))
    for some, part in _chunks(panels, weights):
        columns = np.empty((n_params, len(some), PANEL_ROWS))
        columns[:] = some.transpose(1, 0, 2)
        columns *= math.ldexp(1.0, -exponent)
        columns *= part
        _kernels.add_gram(columns.reshape(n_params, -1), moment, n_threads)
    return moment


def _wide_moment(
    panels: Array, weights: Float64Array, exponent: int, n_threads: int
) -> Float64Array:
    """Return the products of the rows with each other, divided by 4**exponent."""
    used = weights > 0
    rows = panels.astype(np.float64).transpose(0, 2, 1)[used]
    rows *= math.ldexp(1.0, -exponent)
    rows *= weights[used][:, None]
    moment = np.zeros((len(rows), len(rows)))
    _kernels.add_gram(rows, moment, n_threads)
    return moment


def _chunks(panels: Array, weights: Float64Array) -> Iterator[tuple[Array, Float64Array]]:
    """Yield some panels at a time."""
    size = CHUNK_ROWS // PANEL_ROWS
    for first in range(0, len(panels), size):
        yield panels[first : first + size], weights[first : first + size]


def _largest_eigenvalue(matrix: Float64Array, n_terms: int, n_threads: int) -> tuple[float, int]:
    """Return x < 2 and e with x 2^e the largest eigenvalue of a matrix, or up to 1 % more.

    The matrix A, of sums of n_terms products, is overwritten. Of its power M = A^q, made by
    squaring, the trace t and the norm f give f^2 / t <= lambda^q <= f: they meet soon.
    """
    n = len(matrix)
    tolerance = TIGHT if n <= FEW_COLUMNS else LOOSE
    power, exponent, slack, before = 1, 0, 4 * EPS, math.inf
    while True:
        trace = float(matrix.trace())
        shift = math.frexp(trace)[1]
        matrix *= math.ldexp(1.0, -shift)
        exponent, trace = exponent + shift, math.ldexp(trace, -shift)
        square = float((matrix * matrix).sum())
        # What products have lost, of the eigenvalue of this power, and so of its root: of sums of
        # squares, the trace, and of a square, that of the norm before.
        size = trace if power == 1 else math.ldexp(before, -shift)
        slack += (CHAIN + n_terms / CHAIN + 4) * EPS * size * trace / square / power
        if power == MAX_POWER or log(trace / math.sqrt(square)) <= tolerance * power:
            break
        n_terms, before, power, exponent = n, square, 2 * power, 2 * exponent
        following = np.zeros_like(matrix)
        _kernels.add_gram(matrix, following, n_threads)
        matrix = following
    bound = math.sqrt(square)
    while power > 1:
        bound, exponent = math.sqrt(math.ldexp(bound, exponent % 2)), exponent // 2
        power //= 2
    return bound * (1 + slack), exponent
