"""The largest eigenvalue of packed rows' second moment, from which step sizes are chosen."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import log
from metaopt_fast.data.rows import Rows
from metaopt_fast.data.sparse_packed import SparsePacked
from metaopt_fast.typing import Float64Array

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
# Steps of bounds of sparse rows, and the part by which one has to be nearer than that before.
FEWEST_STEPS, MOST_STEPS, STILL = 4, 61, 5e-4
EPS = float(np.finfo(np.float64).eps)


def moment_bound(rows: Rows | SparsePacked, n_threads: int) -> float:
    """Return the largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, or up to 1 % more.

    Of sparse rows, that of their absolute values, which is no less.
    """
    if isinstance(rows, SparsePacked):
        return _absolute_bound(rows)
    matrix, exponent = rows.second_moment(n_threads)
    if matrix.trace() == 0:
        return 0.0
    bound, power = _largest_eigenvalue(matrix, max(rows.n_rows, rows.n_columns), n_threads)
    power += 2 * exponent
    # The least of floats makes up for rounding where the bound is as small as that.
    return math.ldexp(bound, power) + math.ulp(0.0) if power < 1024 else math.inf


def _absolute_bound(rows: SparsePacked) -> float:
    """Return the least of some bounds, as soon as they get no nearer."""
    found = math.inf
    for number, bound in enumerate(islice(rows.absolute_products(), MOST_STEPS)):
        falls = bound < (1 - STILL) * found
        found = min(found, bound)
        if number >= FEWEST_STEPS and not falls:
            break
    return found


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
