"""Bounds of how far logistic objectives are from their optima, and of what rounding does to them.

What is named logistic holds for the mean logistic loss: it is self-concordant, and the first three
derivatives of a row's loss are bounded by it, by 1, by 1/4 and by each other. Norms and the slack
of factors know nothing of the loss.

A bound is one of the model at the theta as it is stored, rounding, overflow and underflow of
all that it is computed from included. Where none is known it is infinite.
"""

from __future__ import annotations

import numpy as np

from metaopt_fast.arithmetic import expm1, log1p
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import Float64Array, IndexArray

EPS = np.finfo(np.float64).eps
# Sums of numbers that fell below the least normal one are off by no more than this.
TINY = np.finfo(np.float64).tiny
# The square root of such a sum.
ROOT_OF_TINY = 1e-150
# Decrements that rounding may hide without a word. Of nearly dependent columns without a penalty,
# 64 draws, those that stopped short had 20 and more (tests/hardening/optima.py judges it).
HIDDEN = 1e-3


def logistic_gap_bound(decrement: Float64Array, radius: Float64Array) -> Float64Array:
    """Return how far the objective can be from its optimum, infinite where nothing is proven.

    With lam = sqrt(g' H^-1 g) and R = max_i |x_i| in the norm of H^-1, the logistic loss along any
    direction h is at least f - lam t + (exp(-R t) + R t - 1) / R^2, t = |h|_H: its curvature falls
    by a factor exp(-R t) at most (Bach 2010). The least of these is, for R lam < 1,
    lam^2 ((1 - x) log(1 - x) + x) / x^2, x = R lam.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        x = radius * decrement
        inside = np.where(x < 1, x, 0)
        exact = ((1 - inside) * log1p(-inside) + inside) / np.square(inside)
        # The series of x^n / ((n + 1) (n + 2)); the other form loses digits to cancellation.
        factor = np.where(x < 1e-3, 0.5 + x / 6 + np.square(x) / 10, exact * (1 + 1e-11))
        bound: Float64Array = np.where(x < 1, np.square(decrement) * factor, np.inf)
    return bound


def slack_of_factors(
    inflations: Float64Array, n_params: int, chain: int | IndexArray
) -> Float64Array:
    """Bound the factor by which a norm of the inverse Hessian is larger than its factor says.

    The factor computed is that of H + E, |E_jk| <= kappa sqrt(H_jj H_kk): kappa counts the
    roundings of an entry, sums over rows (`chain` of them) and the factorisation's (Higham 2002,
    theorem 10.3). With D^2 the diagonal of H, E is at most kappa n D^2, and D^2 at most
    trace(D (H + E)^-1 D) (H + E): so H is at least (1 - delta) (H + E).
    """
    delta = EPS * (n_params + chain + 24) * n_params * inflations
    slack: Float64Array = np.where(delta < 0.5, 1.01 / np.sqrt(1 - np.minimum(delta, 0.5)), np.inf)
    return slack


def norms(vectors: Float64Array) -> Float64Array:
    """Return the norm of each row; squares neither overflow nor vanish."""
    largest = np.abs(vectors).max(axis=-1, initial=0.0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    sums: Float64Array = np.square(vectors / scale[..., None]).sum(axis=-1)
    return scale * np.sqrt(sums)


def rounding_of_logistic_derivatives(
    losses: Float64Array, of_margins: Float64Array, chain: int | IndexArray
) -> Float64Array:
    """Bound what rounding adds to a gradient, in units of the largest entry of each column.

    `of_margins` bounds the roundings of margins. A row's derivative is below its loss and below
    1, and so is its change for a unit of the margin, which is below 1/4, too.
    """
    growth = growth_by(of_margins)
    largest = losses * growth * 1.01
    total: Float64Array = EPS * (chain + 8) * np.minimum(1, largest) + (
        of_margins * growth * np.minimum(0.25, largest)
    )
    return total


def growth_by(of_margins: Float64Array) -> Float64Array:
    """Bound exp of a small number, without its cost: 1 + 2 x, infinite where that is no bound."""
    return np.where(of_margins < 1, 1 + 2 * of_margins, np.inf)


def logistic_convexity_bound(
    slopes: Float64Array,
    intercept_slopes: Float64Array | None,
    curvatures: Float64Array,
    extent: float,
    losses: Float64Array,
    l2: Float64Array,
) -> Float64Array:
    """Bound the gap by strong convexity: |g|^2 / (2 l2), where all parameters are penalised.

    An intercept is none of them. Let F be the objective at the best intercept: it is as strongly
    convex, and its gradient differs from g by what the step to that intercept does. The curvature
    along it falls by a factor exp(-t) at most within t, so that t is at most
    -log(1 - slope / curvature), the objective falls by at most slope * t, and each row's
    derivative changes by at most its curvature times exp(t) - 1.

    Parameters
    ----------
    slopes : array of shape (K,)
        Bounds of the norm of the gradient of the penalised parameters.
    intercept_slopes : array of shape (K,) or None
        Bounds of the derivative for the intercept; None: there is none.
    curvatures : array of shape (K,)
        Lower bounds of the second derivative for the intercept.
    extent : float
        The norm of the largest absolute values in the columns.
    losses, l2 : arrays of shape (K,)
    """
    fall = np.zeros(len(slopes))
    if intercept_slopes is not None:
        ratio = intercept_slopes / curvatures
        near = ratio < 0.5
        step = -log1p(-np.where(near, ratio, 0.0))
        slopes = slopes + extent * np.minimum(0.25, 1.01 * losses) * expm1(step) * 1.01
        fall = np.where(near, 1.01 * intercept_slopes * step, np.inf)
    bound = 1.01 * np.square(slopes / np.sqrt(2 * l2)) + fall
    return np.where(np.isnan(bound), np.inf, bound)


def logistic_gap_after_rounding(gaps: Float64Array, moved: Float64Array) -> Float64Array:
    """Bound the gaps once intercepts have moved by no more than `moved`.

    A convex function whose curvature is at most 1/4 rises by slope * d + d^2 / 8, and the slope
    is at most sqrt(gap / 2).
    """
    bound: Float64Array = np.square(np.sqrt(gaps) + moved / np.sqrt(8)) * (1 + 8 * EPS)
    return np.where(moved > 0, bound, gaps)


def rounding_of_margins(models: Models, thetas: Float64Array) -> Float64Array:
    """Return what rounding may add to a margin."""
    # Not a product of matrices: its bits would be those of the processor.
    sizes: Float64Array = (np.abs(thetas) * models.extents).sum(axis=1)
    return EPS * models.n_params * sizes


def rounding_of_logistic_decrements(
    models: Models,
    at: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    radii: Float64Array,
    of_margins: Float64Array,
) -> Float64Array:
    """Return what rounding of the gradients may add to the decrements of some models."""
    squares = np.square(thetas[:, : models.penalty.n_penalised]).sum(axis=1)
    of_penalty = 4 * EPS * np.sqrt(models.penalty.curvatures[at] * squares)
    of_rows = rounding_of_logistic_derivatives(losses, of_margins, models.chain)
    total: Float64Array = of_rows * radii + of_penalty + ROOT_OF_TINY
    return total


def rounding_of_logistic_lengths(
    models: Models, thetas: Float64Array, losses: Float64Array, diagonals: Float64Array
) -> Float64Array:
    """Bound the lengths of what rounding adds to gradients, in the norm of the inverse of these
    diagonals: a row for each theta, 0 for a column of zeros."""
    of_margins = rounding_of_margins(models, thetas)
    noise = rounding_of_logistic_derivatives(losses, of_margins, models.chain)
    roots = np.sqrt(diagonals)
    return noise * norms(np.where(roots > 0, models.extents / np.where(roots > 0, roots, 1), 0.0))


def logistic_convexity_gaps(
    models: Models,
    at: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    gradients: Float64Array,
    curvatures: Float64Array,
    *,
    is_proof: bool = True,
) -> Float64Array:
    """Bound how far some models are from their optimum by strong convexity, and by their own size:
    none is below 0. `curvatures` bounds those along the intercepts from below. Unless `is_proof`,
    gradients are taken to be exact."""
    n, l2 = models.penalty.n_penalised, models.penalty.curvatures[at]
    of_margins = rounding_of_margins(models, thetas)
    noise = rounding_of_logistic_derivatives(losses, of_margins, models.chain) * is_proof
    extent = float(norms(models.extents[:n]))
    slopes = norms(gradients[:, :n]) * 1.01 + noise * extent + TINY
    slopes += 4 * EPS * l2 * norms(thetas[:, :n]) * is_proof
    slope = np.abs(gradients[:, -1]) * 1.01 + noise + TINY if n < models.n_params else None
    size = losses * growth_by(of_margins) * (1 + EPS * (models.chain + 32)) + TINY
    gaps = logistic_convexity_bound(slopes, slope, curvatures, extent, losses, l2)
    return np.where(l2 > 0, np.fmin(gaps, np.where(np.isnan(size), np.inf, size)), np.inf)


def logistic_gaps_by_ridge(
    models: Models,
    at: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    gradients: Float64Array,
) -> Float64Array:
    """Return what the gaps of some models may be, no proof, where no penalty holds columns that
    depend on each other: the squared decrements of Hessians whose diagonals are larger by what
    rounding leaves of such a column. They count what is left of the gradient in directions left
    out, whose true curvature may be any smaller: more of it than rounding makes tells nothing, and
    nor does less, where large weights of columns that nearly cancel have rounding hide much."""
    n = models.n_params
    hessians = models.hessians(at, thetas)
    row = np.arange(n)
    diagonal = row * n - row * (row - 1) // 2
    added = 4 * n * EPS * hessians[:, diagonal]
    hessians[:, diagonal] += added
    factors, everything = np.empty_like(hessians), np.arange(len(at))
    models.factor(at, hessians, everything, factors, everything)
    _, lengths = models.solve(factors, everything, gradients)
    # Of a column of zeros nothing is left out.
    lost = (factors[:, diagonal] == 0) & (hessians[:, diagonal] > 0)
    by_rounding = rounding_of_logistic_lengths(
        models, thetas, losses, added * models.scales(at)[:, None]
    )
    unknown = lost.any(axis=1) | (lengths > by_rounding) | (by_rounding > HIDDEN)
    return np.where(unknown, np.inf, np.square(lengths))
