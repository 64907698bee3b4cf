"""Bounds of how far softmax regressions are from their optima, by duality.

With p_i the probabilities of row i and y_i its class as a vector, R and rho the gradients by the
weights W and by the intercepts b: for any vectors p'_i of probabilities whose means are the
classes' shares of the weight, the mean entropy of p'_i less |G'|^2 / (2 l2) is below the optimum,
G' the mean of (p'_i - y_i) x_i'. With p' = (1 - e) p + e v, v = share - (1 - e) / e rho, and e the
least for which v >= 0, that is at most
    |R + e (T - G)|^2 / (2 l2) + e (mean of KL(v || p_i)),
T the mean of (v - y_i) x_i' and G that of (p_i - y_i) x_i'. Without intercepts e is 0.
docs/explanation/softmax.md has the proof, and what rounding adds.
"""

from __future__ import annotations

import numpy as np

from metaopt_fast.fitting.softmax_sets import SoftmaxSets
from metaopt_fast.typing import Float64Array, IndexArray

# The unit of rounding, and a hair more for what is of second order in it.
UNIT = 1.01 * 2.0**-53
# Additions in a row, at most, of a sum over rows, and roundings of weights beside them.
CHAIN = 48
# Errors of exponents for which one more than the first order is below a tenth of that.
LARGEST = 0.05


def softmax_gaps(
    sets: SoftmaxSets,
    of_sets: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    gradients: Float64Array,
    l2: Float64Array,
) -> Float64Array:
    """Return how far the objectives can be from their optima; infinite: nothing is known."""
    n, n_features = sets.n_classes, sets.n_features
    W = thetas.reshape(-1, n, sets.n_columns)
    G = gradients.reshape(W.shape)
    squares = sets.squares[of_sets]
    roots = np.sqrt(squares)
    rate, errors = _errors(sets, W)
    # Roundings of R: means of |x_i| |p_i - y_i|, times theirs.
    penalty = UNIT * 4 * l2 * _norms(W[:, :, :n_features])
    of_R = 1.5 * (rate * squares + errors * roots) + penalty
    R = _norms(G[:, :, :n_features]) * (1 + 1e-9) + of_R
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if sets.n_free:
            e = _mixing(sets, of_sets, G[:, :, -1], rate * sets.longest + errors)
            R = R + 2 * e * 1.42 * roots
            gaps = np.square(R) / (2 * l2) + e * _divergences(sets, of_sets, W, losses)
        else:
            gaps = np.square(R) / (2 * l2)
    gaps = np.where(_are_small(sets, W) & np.isfinite(gaps) & (l2 > 0), gaps, np.inf)
    return np.asarray(gaps * (1 + 1e-9) + np.finfo(np.float64).tiny)


def _norms(arrays: Float64Array) -> Float64Array:
    squares: Float64Array = np.square(arrays.reshape(len(arrays), -1)).sum(axis=1)
    return np.sqrt(squares)


def _errors(sets: SoftmaxSets, W: Float64Array) -> tuple[Float64Array, float]:
    """Return a and b of which each |p_ik - y_ik| is off by at most the factor a |x_i| + b, sums
    over rows included."""
    longest = np.sqrt(np.square(W).sum(axis=2)).max(axis=1)
    rate = 1.1 * 4 * (sets.n_columns + 2) * UNIT * longest
    return rate, 1.1 * (sets.n_classes + 12 + CHAIN) * UNIT


def _are_small(sets: SoftmaxSets, W: Float64Array) -> Float64Array:
    """Whether no margin is off by so much that errors of second order count."""
    extents = sets.packed.column_extents()
    largest = (np.abs(W) * extents).sum(axis=2).max(axis=1)
    return np.asarray(4 * (sets.n_columns + 2) * UNIT * largest < LARGEST)


def _mixing(
    sets: SoftmaxSets, of_sets: IndexArray, rho: Float64Array, errors: Float64Array
) -> Float64Array:
    """Return e: the part of v that makes means of probabilities the shares of the classes.

    The mean of |p_ik - y_ik|, of which rho_k is off by a factor, is twice the share, and rho_k.
    """
    shares = sets.sums[of_sets, :, -1]
    most = np.maximum(rho, 0) + errors[:, None] * (2 * shares + np.abs(rho)) * 1.1
    return np.asarray((most / (shares + most)).max(axis=1)) * (1 + 1e-9)


def _divergences(
    sets: SoftmaxSets, of_sets: IndexArray, W: Float64Array, losses: Float64Array
) -> Float64Array:
    """Bound the mean of KL(v || p_i) for any probabilities v: the mean of log sum_k exp(z_ik), less
    the least of the classes' mean margins."""
    sums = sets.sums[of_sets]
    own = (sums * W).sum(axis=(1, 2))
    margins = (sums.sum(axis=1)[:, None] * W).sum(axis=2)
    sizes = (np.abs(sums) * np.abs(W)).sum(axis=(1, 2))
    return np.asarray(losses + own - margins.min(axis=1) + 1e-9 * (1 + sizes))
