"""Many regularised models by Newton's method, one after the other: slow, short, obviously right.

The twin of `metaopt_fast.training` in plain NumPy. It checks nothing that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ClassWeight = str | dict[int, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """Arrays of shape (M, ...) or (M, n_folds, ...), as of `metaopt_fast.fit_many`."""

    theta: Array
    loss: Array
    gap_bound: Array
    certified: Array
    n_iter: Array
    converged: Array
    validation_loss: Array | None
    validation_accuracy: Array | None
    validation_gradient: Array | None = None


def fit_many(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: npt.ArrayLike,
    folds: npt.ArrayLike | None = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    sample_weight: npt.ArrayLike | None = None,
    penalty_factor: npt.ArrayLike | None = None,
    center: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    validation_gradient: bool = False,
    feature_groups: npt.ArrayLike | None = None,
    tol: float = 1e-8,
    max_iter: int = 100,
    theta0: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    standardize: bool = False,
) -> FitResult:
    """Minimise sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 sum_j f_j (theta_j - c_j)^2, where the
    intercept's f_j is 0 unless it is given.

    Model (m, f) has the penalty `l2[m]` (or `l2[m, f]`) and leaves out the rows of fold f; weights,
    labels, factors f and centres c are those of all models, or of model m; with `standardize`,
    factors are times the squared deviations over the training rows. See `metaopt_fast.fit_many`.
    `n_threads` is taken and not used, nor is `tol`: rounding ends a model.
    """
    rows = np.array(X, np.float64)
    n_features = rows.shape[1]
    if fit_intercept:
        rows = np.column_stack([rows, np.ones(len(rows))])
    labels = np.reshape(y, (-1, len(rows)))
    positives = labels == np.unique(labels)[-1]
    given = 1.0 if sample_weight is None else np.array(sample_weight, np.float64)
    weight_rows = np.atleast_2d(given * np.ones(len(rows)))
    factors = of_params(penalty_factor, np.ones(n_features), rows.shape[1])
    centres = of_params(center, np.zeros(n_features), rows.shape[1])
    # Without folds all rows are of fold -1, and fold 0 is left out.
    fold = np.full(len(rows), -1) if folds is None else np.asarray(folds)
    choices = list(class_weight) if isinstance(class_weight, (list, tuple)) else [class_weight]
    strengths = np.asarray(l2, np.float64)
    strengths = strengths if strengths.ndim == 2 else strengths.reshape(-1, 1)
    of_models = (strengths, choices, positives, weight_rows, factors, centres)
    shape = (max(map(len, of_models)), 1 if folds is None else fold.max() + 1)
    strengths = np.broadcast_to(strengths, shape)
    start = np.asarray(0.0 if theta0 is None else theta0)
    start = start[:, None] if folds is None and start.ndim == 2 else start
    thetas = np.zeros((*shape, rows.shape[1])) + start
    figures, validation = np.zeros((4, *shape)), np.zeros((2, *shape))
    # The intercept is of a group of its own, which nobody asks for.
    group = np.zeros(rows.shape[1], int)
    if feature_groups is not None:
        group[:n_features], group[n_features:] = feature_groups, np.max(feature_groups) + 1
    slopes = np.zeros((*shape, group.max() + 1))
    for m, f in np.ndindex(shape):
        positive, weights = positives[m % len(positives)], weight_rows[m % len(weight_rows)]
        centre, factor = centres[m % len(centres)], factors[m % len(factors)]
        signed = rows * np.where(positive, 1.0, -1.0)[:, None]
        train, test = (fold != f) & (weights > 0), fold == f
        w = weights[train] * of_class(choices[m % len(choices)], positive[train], weights[train])
        if standardize:
            factor = factor * squared_deviations(rows[train], weights[train])
        free = np.isfinite(factor)
        theta = np.where(free, thetas[m, f], centre)
        offset = signed[train][:, ~free] @ theta[~free]
        ridge = strengths[m, f] * factor[free]
        problem = signed[train][:, free], w / w.sum(), ridge, theta[free], max_iter
        theta[free], *figures[:, m, f] = newton(*problem, centre[free], offset)
        thetas[m, f] = theta
        if folds is not None:
            margins = signed[test] @ theta
            right = (margins > 0) | ((margins == 0) & ~positive[test])
            losses = np.stack([np.logaddexp(0, -margins), right])
            validation[:, m, f] = losses @ weights[test] / weights[test].sum()
        if validation_gradient:
            held_out = signed[test][:, free], weights[test] / weights[test].sum(), margins
            training = signed[train][:, free], w / w.sum(), signed[train] @ theta
            of_each = ridge * (centre[free] - theta[free]) * solved(training, ridge, held_out)
            np.add.at(slopes[m, f], group[free], of_each)
    if folds is None:
        thetas, figures = thetas[:, 0], figures[:, :, 0]
    loss, gap, n_iter, ended = figures
    validated: list[Any] = [None, None] if folds is None else list(validation)
    results = (thetas, loss, gap, np.isfinite(gap), n_iter.astype(int), ended == 1)
    slopes = slopes[..., 0] if feature_groups is None else slopes[..., : np.max(feature_groups) + 1]
    return FitResult(*results, validated[0], validated[1], slopes if validation_gradient else None)


def solved(training: tuple[Array, ...], ridge: Array, held_out: tuple[Array, ...]) -> Array:
    """Return q of H q = grad V, H the Hessian of training rows and V the mean loss of others.

    Rows, turned by their labels, come with weights that sum to 1, and with margins.
    """
    rows, w, margins = training
    others, v, margins_of_others = held_out
    p, q = (np.exp(-np.logaddexp(0, sign * margins)) for sign in (1, -1))
    hessian = (rows.T * (w * p * q)) @ rows + np.diag(ridge)
    slope = -others.T @ (v * np.exp(-np.logaddexp(0, margins_of_others)))
    return np.linalg.solve(hessian, slope)


def of_params(given: npt.ArrayLike | None, default: Array, n_params: int) -> Array:
    """Return numbers of each parameter, a row for each model or one for all; 0 of an intercept."""
    rows = np.atleast_2d(np.asarray(default if given is None else given, np.float64))
    return np.pad(rows, ((0, 0), (0, n_params - rows.shape[1])))


def squared_deviations(rows: Array, weights: Array) -> Array:
    """Return the variance of each column, 1 of one that is constant."""
    constant = rows.min(axis=0) == rows.max(axis=0)
    mean = np.average(rows, axis=0, weights=weights)
    variance: Array = np.average((rows - mean) ** 2, axis=0, weights=weights)
    return np.where(constant, 1.0, variance)


def of_class(class_weight: ClassWeight, positive: Array, weights: Array) -> Array:
    """Return what the weight of each row is multiplied by; "balanced" counts rows by weight."""
    if class_weight is None:
        return np.ones(len(positive))
    if isinstance(class_weight, dict):
        return np.where(positive, class_weight.get(1, 1.0), class_weight.get(0, 1.0))
    of_its_class = np.where(positive, weights[positive].sum(), weights[~positive].sum())
    factors: Array = weights.sum() / (2 * of_its_class)
    return factors


def newton(
    rows: Array,
    w: Array,
    ridge: Array,
    theta: Array,
    max_iter: int,
    centre: Array | float = 0.0,
    offset: Array | float = 0.0,
) -> tuple[Array, float, float, int, bool]:
    """Return theta, its loss, a bound of its gap, steps, and whether rounding ended them.

    The penalty is ridge / 2 times the squares of theta - centre; margins begin at `offset`.
    """
    decrement, n_iter = np.inf, 0
    while True:
        margins = rows @ theta + offset
        loss = w @ np.logaddexp(0, -margins) + ridge @ (theta - centre) ** 2 / 2
        p, q = (np.exp(-np.logaddexp(0, sign * margins)) for sign in (1, -1))
        gradient = ridge * (theta - centre) - rows.T @ (w * p)
        # Scaled to a diagonal of ones: features may have any units.
        hessian = (rows.T * (w * p * q)) @ rows + np.diag(ridge)
        scale = 1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
        inverse = np.linalg.pinv(hessian * np.outer(scale, scale), 1e-15, hermitian=True)
        inverse *= np.outer(scale, scale)
        step = inverse @ gradient
        before, decrement = decrement, gradient @ step
        ended = decrement <= 1e-32 or before / 4 < decrement < 1e-14 * loss
        if ended or n_iter == max_iter:
            break
        size = 1.0
        while size > 1e-9 and decrement > 1e-12 * loss:
            moved = theta - size * step
            new_loss = w @ np.logaddexp(0, -rows @ moved - offset)
            new_loss += ridge @ (moved - centre) ** 2 / 2
            if new_loss <= loss - size * decrement / 4:
                break
            size /= 2
        theta = theta - size * step
        n_iter += 1
    # The self-concordant bound, with R the largest norm of a row in the metric of the inverse.
    lam = np.sqrt(max(decrement, 0))
    R = np.sqrt(np.einsum("ij,jk,ik->i", rows, inverse, rows).max())
    gap = -lam * np.log1p(-R * lam) / R if R * lam < 1 else np.inf
    return theta, float(loss), float(gap), n_iter, bool(ended)
