"""The dispersion of rows: a proven bound of the largest eigenvalue of the covariance of products.

What a bound by moments takes most of its time for, and all of its proof: `docs/explanation` says
what it is for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.typing import Float64Array

# What the certificate leaves for rounding, and the least dispersion, of which that is enough.
SLACK, LEAST_DISPERSION = 1e-7, 0.01
# Of the power method, and how far above its result a proof is tried.
ROUNDS, CLOSE, ATTEMPTS, ABOVE = 60, 1e-3, 8, 1.01
# Rows whose products are added in single precision: PAIR_ROWS of src/products.pxi.
GRAM_ROWS = 512
# What sums in single precision lose, as a part of the sum of all squares: see `dispersion_of`.
OF_GRAM = 4 * (GRAM_ROWS + 16) * 2.0**-24
# Sums of squares up to which nothing leaves the range.
LARGEST = 2.0**40


def dispersion_of(
    masses: Iterator[tuple[Float64Array, Float64Array]], whiten: Float64Array, n_threads: int
) -> float | None:
    """Return a proven bound of the dispersion of the rows, or None.

    Products are in single precision, which takes half the time. With Q the mean of |w|^4, the sum
    of the squares of all of them: each is off by at most 5 u of itself, sums of GRAM_ROWS products
    of two, in whatever order, by (GRAM_ROWS + 12) u of those of absolute values. A matrix of such
    sums has a norm of at most Q; so the covariance is off by less than OF_GRAM Q, four times that.
    See `is_certified` for what is left to double precision: products with `whiten` move the root of
    the dispersion by at most 3 D^2.5 (1 + RIDGE) / RIDGE 2^-53 sqrt(Q). Since the trace of the
    covariance is Q less the square of a norm that is at most sqrt(D), Q is no more than
    D (D + 1) / 2 + D / LEAST_DISPERSION dispersions, 8480 for 64 parameters; then that is 1e-8 of
    the dispersion.
    """
    n, n_params = _kernels.n_pairs(len(whiten)), len(whiten)
    sums, moment = np.zeros((n, n)), np.zeros((n_params, n_params))
    for rows, parts in masses:
        roots = np.sqrt(np.sqrt(parts))[:, None]
        whitened = products(rows, whiten) * roots
        _kernels.add_pair_gram(whitened.astype(np.float32), sums, n_threads)
        _kernels.add_gram(np.ascontiguousarray((whitened * roots).T), moment, n_threads)
    covariance = np.empty((n, n))
    squares = _kernels.pair_covariance(sums, moment, covariance)
    if not squares <= LARGEST:
        return None
    found = certified(covariance)
    return None if found is None else found + OF_GRAM * squares


def certified(matrix: Float64Array) -> float | None:
    """Return a proven bound of the largest eigenvalue of a covariance, or None."""
    if not np.isfinite(matrix).all():
        return None
    bound = max(ABOVE * _largest_eigenvalue(matrix), LEAST_DISPERSION)
    step = ABOVE - 1
    for _ in range(ATTEMPTS):
        if is_certified(matrix, bound):
            return bound
        step *= 2
        bound *= 1 + step
    return None


def is_certified(matrix: Float64Array, bound: float) -> bool:
    """Whether no eigenvalue of a positive semidefinite matrix is above a bound.

    That is so if Cholesky's method succeeds on bound I less the matrix: by then it has factored a
    positive semidefinite matrix that is nearer to it than n (n + 8) 2^-53 bound, 5e-10 of it for
    the 2080 pairs of 64 parameters (Higham, "Accuracy and Stability of Numerical Algorithms",
    theorem 10.3; rows are multiplied by inverses of pivots, which are off by two roundings more).
    SLACK is left for that, and for the rounding of the matrix.
    """
    rest = -matrix
    rest[np.diag_indices_from(rest)] += bound * (1 - SLACK)
    return _kernels.is_positive_definite(rest)


def _largest_eigenvalue(matrix: Float64Array) -> float:
    """Return about the largest eigenvalue, and seldom more, by the power method."""
    vector = matrix[int(matrix.diagonal().argmax())]
    found = 0.0
    for _ in range(ROUNDS):
        size = math.sqrt(float(np.square(vector).sum()))
        if size == 0:
            return 0.0
        vector = products((vector / size)[None], matrix)[0]
        before, found = found, math.sqrt(float(np.square(vector).sum()))
        if found - before <= CLOSE * found:
            break
    return found
