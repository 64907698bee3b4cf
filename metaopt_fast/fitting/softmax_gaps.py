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

from typing import NamedTuple

import numpy as np

from metaopt_fast.fitting.softmax_sets import SoftmaxSets
from metaopt_fast.typing import Float64Array, IndexArray

# The unit of rounding, and a hair more for what is of second order in it.
UNIT = 1.01 * 2.0**-53
# Additions in a row, at most, of a sum over packed rows, and roundings of weights beside them.
CHAIN = 48
# Errors of exponents for which one more than the first order is below a tenth of that.
LARGEST = 0.05


class Lengths(NamedTuple):
    """Of the rows of training sets: the means of their squares, the longest one; and roundings, one
    after the other, in a margin and in a sum over rows, those of weights included."""

    squares: Float64Array
    longest: float
    of_margins: int
    of_sums: float
    n_classes: int


class Sizes(NamedTuple):
    """Of models: the lengths of the gradients by the weights, and of these; the largest length of
    a class' parameters, and the largest sum of their sizes times those of columns."""

    gradients: Float64Array
    weights: Float64Array
    largest: Float64Array
    reaches: Float64Array


class Intercepts(NamedTuple):
    """Gradients by the intercepts, the classes' shares of the weight, and bounds of the mean of
    KL(v || p_i) for any v."""

    slopes: Float64Array
    shares: Float64Array
    divergences: Float64Array


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
    lengths = Lengths(sets.squares[of_sets], sets.longest, sets.n_columns + 2, CHAIN, n)
    sizes = Sizes(
        _norms(G[:, :, :n_features]),
        _norms(W[:, :, :n_features]),
        np.sqrt(np.square(W).sum(axis=2)).max(axis=1),
        (np.abs(W) * sets.packed.column_extents()).sum(axis=2).max(axis=1),
    )
    intercepts = None
    if sets.n_free:
        with np.errstate(over="ignore", invalid="ignore"):
            divergences = _divergences(sets, of_sets, W, losses)
        intercepts = Intercepts(G[:, :, -1], sets.sums[of_sets, :, -1], divergences)
    return softmax_bounds(lengths, sizes, intercepts, l2)


def softmax_bounds(
    lengths: Lengths, sizes: Sizes, intercepts: Intercepts | None, l2: Float64Array
) -> Float64Array:
    """Return how far objectives can be from their optima, by what is known of rows and models."""
    roots = np.sqrt(lengths.squares)
    # Each |p_ik - y_ik| is off by at most the factor rate |x_i| + errors, sums over rows included.
    rate = 1.1 * 4 * lengths.of_margins * UNIT * sizes.largest
    errors = 1.1 * (lengths.n_classes + 12 + lengths.of_sums) * UNIT
    # Roundings of R: means of |x_i| |p_i - y_i|, times theirs.
    penalty = UNIT * 4 * l2 * sizes.weights
    of_R = 1.5 * (rate * lengths.squares + errors * roots) + penalty
    R = sizes.gradients * (1 + 1e-9) + of_R
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if intercepts is not None:
            e = _mixing(intercepts, rate * lengths.longest + errors)
            R = R + 2 * e * 1.42 * roots
            gaps = np.square(R) / (2 * l2) + e * intercepts.divergences
        else:
            gaps = np.square(R) / (2 * l2)
    # No margin may be off by so much that errors of second order count.
    are_small = 4 * lengths.of_margins * UNIT * sizes.reaches < LARGEST
    gaps = np.where(are_small & np.isfinite(gaps) & (l2 > 0), gaps, np.inf)
    return np.asarray(gaps * (1 + 1e-9) + np.finfo(np.float64).tiny)


def _norms(arrays: Float64Array) -> Float64Array:
    squares: Float64Array = np.square(arrays.reshape(len(arrays), -1)).sum(axis=1)
    return np.sqrt(squares)


def _mixing(intercepts: Intercepts, errors: Float64Array) -> Float64Array:
    """Return e: the part of v that makes means of probabilities the shares of the classes.

    The mean of |p_ik - y_ik|, of which rho_k is off by a factor, is twice the share, and rho_k.
    """
    rho, shares = intercepts.slopes, intercepts.shares
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
