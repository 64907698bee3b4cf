"""Bounds of how far models of the squared hinge loss are from their optima, by duality.

With c_i the weights of the rows, which sum to 1, m_i their margins, and xi_i = max(0, 1 - m_i)
their slacks: where the derivative s by the intercept is 0, the dual's value at alpha_i = 2 c_i xi_i
is |g|^2 / (2 l2) below the objective, g the gradient by the weights. Where it is not, the alphas of
the class that has too much are shrunk until both classes have the same sum, which costs no more
than
    (|g| + |s| R)^2 / (2 l2) + |s| xi,
R a bound of the rows' norms and xi the mean slack of that class by its alphas: at most 4 L / S, L
the mean loss and S the sum of all alphas. docs/explanation/svm.md has the proof.
"""

from __future__ import annotations

import numpy as np

from metaopt_fast.fitting.certificates import EPS, TINY, norms, rounding_of_margins
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# A bound is rounding for the most part if it is at most so many times what that alone makes.
NOISE = 1.25


def squared_hinge_gaps(
    models: Models,
    at: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    gradients: Float64Array,
) -> tuple[Float64Array, BoolArray]:
    """Bound how far some models are from their optimum, rounding included, and say where that bound
    is rounding for the most part: what it were if the gradient were 0.

    As no objective is below 0, none is further off than its own size.
    """
    n, l2 = models.penalty.n_penalised, models.penalty.curvatures[at]
    penalties, _ = models.penalty.of(at).value_gradient(thetas)
    sizes, of_margins = norms(thetas[:, :n]), rounding_of_margins(models, thetas)
    of_sums = EPS * (models.chain + 32) * losses + TINY
    # Roots of the mean loss are off by what margins are.
    most = np.sqrt(np.maximum(losses - penalties, 0) + of_sums) + of_margins
    least = np.maximum(np.sqrt(np.maximum(losses - penalties - of_sums, 0)) - of_margins, 0)
    # What rounding adds to a gradient, in units of the largest entry of each column: derivatives
    # are at most twice the root of the mean loss in the mean (Cauchy and Schwarz).
    noise = 2.02 * (EPS * (models.chain + 8) * most + of_margins) + TINY
    extent = float(norms(models.extents[:n]))
    slopes, of_slopes = norms(gradients[:, :n]), noise * extent + 5 * EPS * l2 * sizes + TINY
    slope, of_slope, intercepts = np.zeros((3, len(thetas)))
    if n < models.n_params:
        slope, of_slope, intercepts = np.abs(gradients[:, -1]), noise, np.abs(thetas[:, -1])
    alphas = 2 * np.square(least) + 0.99 * l2 * np.square(sizes)
    alphas -= 1.02 * (sizes * (slopes + of_slopes) + intercepts * (slope + of_slope))
    slack = np.where(alphas > 0, 4.1 * np.square(most) / np.where(alphas > 0, alphas, 1), np.inf)
    slack = np.fmin(slack, 1.01 * (1 + of_margins / (EPS * models.n_params)))
    bounds, by_rounding = (
        1.02 * np.square((by_weights + by_intercept * extent) / np.sqrt(2 * l2))
        + 1.02 * by_intercept * slack
        for by_weights, by_intercept in (
            (slopes + of_slopes, slope + of_slope),
            (of_slopes, of_slope),
        )
    )
    size = np.square(np.sqrt(losses + of_sums) + of_margins) + TINY
    gaps = np.fmin(np.where(l2 > 0, bounds, np.inf), np.where(np.isnan(size), np.inf, size))
    return gaps, np.isfinite(bounds) & (bounds <= NOISE * by_rounding)


def squared_hinge_gap_after_rounding(gaps: Float64Array, moved: Float64Array) -> Float64Array:
    """Bound the gaps once intercepts have moved by no more than `moved`.

    The curvature along the intercept is at most 2, so the objective rises by slope * d + d^2 at
    most, and the slope is at most the root of 4 gap.
    """
    bound: Float64Array = np.square(np.sqrt(gaps) + moved) * (1 + 8 * EPS)
    return np.where(moved > 0, bound, gaps)
