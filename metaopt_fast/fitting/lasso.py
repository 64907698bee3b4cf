"""Models with an l1 penalty: paths of each training set, from strong penalties to weak ones.

The method is in ``src/lasso_path.pxi``; ``docs/explanation/lasso.md`` says what it is and proves
the bounds of the gaps. A path keeps no Hessian but that of the columns that it works on, so there
may be any number of columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.numbers import check_range
from metaopt_fast.data.storage import Memory
from metaopt_fast.fitting.arguments import (
    Effort,
    Rows,
    as_dense,
    check_factors,
    check_training_sets,
)
from metaopt_fast.fitting.certificates import logistic_gap_after_rounding
from metaopt_fast.fitting.class_weights import (
    ClassWeight,
    check_class_weight,
    class_factors,
    split_exponent,
)
from metaopt_fast.fitting.models import Optima
from metaopt_fast.fitting.reductions import LARGEST_EXPONENT, Reduction, sample_rows
from metaopt_fast.fitting.result import Status
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# As in src/kernels.hpp.
PANEL_ROWS = 8
# Rows whose numbers become those of columns together: they stay in a cache meanwhile.
ROWS_AT_ONCE = 64
# Digits of ratios of penalties that tell paths apart: others are rounding.
RATIO_DIGITS = 9
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """Rows of a training set: their numbers, their signs (-1 for the positive class), and weights,
    which sum to 1; `lighter` is the sum of those of the lighter class."""

    rows: IndexArray
    signs: Float64Array
    weights: Float64Array
    lighter: float

    @classmethod
    def of(cls, rows: Rows, choice: ClassWeight, left_out: int) -> TrainingRows:
        """Return all rows but those of one fold, of which there is none below 0."""
        others = np.arange(len(rows.sums)) != left_out
        factors, _ = split_exponent(class_factors(choice, rows.sums[others].sum(axis=0)))
        used = np.flatnonzero((rows.fold != left_out) & (rows.weights > 0))
        positive = rows.positive[used]
        # Of numbers that may be huge, only the ratios count.
        weights = rows.weights[used] / rows.weights.max() * factors[positive.astype(np.intp)]
        weights = weights / math.fsum(weights)
        lighter = min(math.fsum(weights[positive]), math.fsum(weights[~positive]))
        return cls(used, np.where(positive, -1.0, 1.0), weights, lighter)


def columns_of(X: npt.NDArray[Any], memory: Memory) -> Float64Array:
    """Return the columns of X, each in one piece, with zeros up to a whole panel of rows."""
    n_samples, n_features = X.shape
    length = -(-n_samples // PANEL_ROWS) * PANEL_ROWS
    columns: Float64Array = memory.zeros(8 * n_features * length).view(np.float64)
    columns = columns.reshape(n_features, length)
    size = n_samples if X.strides[0] <= X.strides[1] else ROWS_AT_ONCE
    for first in range(0, n_samples, size):
        columns[:, first : first + size][:, : n_samples - first] = X[first : first + size].T
    return columns


def extents_of(columns: Float64Array) -> Float64Array:
    """Return the largest absolute value in each column."""
    extents: Float64Array = np.maximum(columns.max(axis=1), -columns.min(axis=1))
    return extents


def reduced(rows: Rows) -> tuple[Reduction, Float64Array]:
    """Return what `Reduction.of` does to the columns, and the columns.

    Where the median of a sample is above 4 mean deviations, its sum is above (1 - 1/4) / (1 + 1/4)
    of the sum of absolute values. To look at these sums first takes a fifth of the time.
    """
    columns = columns_of(rows.X, rows.memory)
    largest = max(float(columns.max()), -float(columns.min()))
    if not math.isfinite(largest):
        row = int(np.isfinite(columns).all(axis=0).argmin())
        check_range(to_float64(rows.X[row : row + 1]), row, "float64")
    near = not rows.fit_intercept
    if not near:
        sample = columns[:, sample_rows(rows.weights)]
        near = bool((np.abs(sample.sum(axis=1)) < 0.59 * np.abs(sample).sum(axis=1)).all())
    if near and largest < math.ldexp(0.5, LARGEST_EXPONENT):
        return Reduction(rows.X, None, 0), columns
    reduction = Reduction.of(rows.X, rows.weights, rows.fit_intercept, rows.memory)
    if reduction.centres is None and reduction.exponent == 0:
        return reduction, columns
    return reduction, columns_of(reduction.X, rows.memory)


def paths_of(l1: Float64Array, l2: Float64Array) -> list[IndexArray]:
    """Return the models of each path in their order: those of one l2, or of one ratio of l1 to
    both, whichever makes fewer paths."""
    ratios = np.round(l1 / (l1 + np.where(l1 + l2 > 0, l2, 1)), RATIO_DIGITS)
    (_, by_l2), (_, by_ratio) = (np.unique(key, return_inverse=True) for key in (l2, ratios))
    path_of = by_l2 if by_l2.max() <= by_ratio.max() else by_ratio
    order = np.lexsort((-l2, -l1, path_of))
    return np.split(order, np.flatnonzero(np.diff(path_of[order])) + 1)


def fit_paths(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l1: Float64Array,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
    factors: Float64Array | None = None,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    `factors` are of the penalties of each column, above 0, and infinite where it is left out.
    Returns the models, and what they are worth on the folds, if there are any."""
    if factors is not None and np.isinf(factors).any():
        used = np.append(np.isfinite(factors), [True] * rows.fit_intercept)
        some = replace(rows, X=rows.X[:, np.isfinite(factors)])
        near = None if theta0 is None else theta0[:, used]
        finite = factors[np.isfinite(factors)]
        optima, validation = fit_paths(some, choices, set_of, l1, l2, near, effort, finite)
        thetas = np.zeros((len(optima.thetas), len(used)))
        thetas[:, used] = optima.thetas
        return replace(optima, thetas=thetas), validation
    reduction, columns = reduced(rows)
    extents = extents_of(columns)
    l1, l2 = np.ldexp(l1, -reduction.exponent), reduction.l2(l2)
    n, n_params = len(set_of), len(columns) + rows.fit_intercept
    thetas = np.zeros((n, n_params))
    if theta0 is not None:
        thetas = np.ascontiguousarray(reduction.inward(theta0, effort.n_threads))
    shares = np.ones(len(columns)) if factors is None else factors
    paths = _kernels.LassoPaths(columns, extents, shares, rows.fit_intercept)
    sets = ((choice, left_out) for choice in choices for left_out in rows.left_out)
    for number, (choice, left_out) in enumerate(sets):
        one, members = TrainingRows.of(rows, choice, left_out), np.flatnonzero(set_of == number)
        for path in paths_of(l1[members], l2[members]) if len(members) else []:
            paths.add(one.rows, one.signs, one.weights, one.lighter, members[path])
    losses, gaps = np.empty((2, n))
    n_iter, status = np.empty((2, n), np.intp)
    most = min(effort.max_iter, np.iinfo(np.intp).max)
    paths.run(l1, l2, effort.tol, most, thetas, losses, gaps, n_iter, status, effort.n_threads)
    validation = None
    if rows.n_folds is not None:
        validation = validate(rows, thetas, partial(decisions_by_columns, columns))
    if reduction.centres is not None or reduction.exponent != 0:
        thetas, moved = reduction.outward(thetas)
        gaps = logistic_gap_after_rounding(gaps, moved)
        lost = gaps > effort.tol * np.maximum(1, losses)
        status[lost & (status == Status.CONVERGED)] = Status.ROUNDING
    return Optima(thetas, losses, gaps, np.zeros(n), n_iter, status), validation


def validate(
    rows: Rows,
    thetas: Float64Array,
    decide: Callable[[Float64Array, IndexArray], Float64Array],
) -> tuple[Float64Array, Float64Array]:
    """Return mean loss and accuracy of the rows that each model was not trained on.

    `decide` returns the decision values of thetas for some rows.
    """
    n_folds = len(rows.sums)
    thetas = thetas.reshape(-1, n_folds, thetas.shape[1])
    losses, accuracies = np.empty((2, *thetas.shape[:2]))
    for f in range(n_folds):
        used = np.flatnonzero((rows.fold == f) & (rows.weights > 0))
        weights, positive = rows.weights[used] / rows.weights.max(), rows.positive[used]
        decisions = decide(np.ascontiguousarray(thetas[:, f]), used)
        values, slopes = np.empty((2, decisions.size))
        z = np.where(positive, -decisions, decisions).reshape(-1)
        _kernels.pointwise(_kernels.LOSSES["logistic"], z, values, slopes)
        total = weights.sum()
        losses[:, f] = (values.reshape(decisions.shape) * weights).sum(axis=1) / total
        right = (decisions > 0) == positive
        accuracies[:, f] = (right * weights).sum(axis=1) / total
    return losses, accuracies


def decisions_by_columns(
    columns: Float64Array, thetas: Float64Array, used: IndexArray
) -> Float64Array:
    """Return the decision values of thetas, many of whose weights are 0, for some rows."""
    decisions = np.zeros((len(thetas), len(used)))
    _kernels.sparse_decisions(columns, thetas, used, decisions)
    return decisions


@shielded
def l1_max(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    *,
    class_weight: ClassWeight = None,
    penalty_factor: npt.ArrayLike | None = None,
) -> float:
    """Return the least l1 at which `fit_many` leaves no column with a weight.

    It is the largest entry of the gradient of the mean loss where all weights are 0 and the
    intercept is the best one. A path of models goes from there downwards: ``l1_max(X, y) *
    np.geomspace(1, 1e-3, 100)``.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
    y : array_like of shape (n_samples,)
        Labels of two classes.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0.
    fit_intercept : bool, default True
    class_weight : None, "balanced" or a dict, optional
        Factors of the weights of the rows of each class, as of `fit_many`.
    penalty_factor : array_like of shape (n_features,), optional
        Factors of the penalty of each feature, as of `fit_many`.

    Returns
    -------
    float

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> X, y = [[1.0, 0.0], [2.0, 1.0], [-1.0, 0.0]], [1, 1, 0]
    >>> strongest = mf.l1_max(X, y)
    >>> round(strongest, 6)
    0.555556
    >>> mf.fit_many(X, y, l2=0.0, l1=[strongest, strongest / 2]).n_nonzero.tolist()
    [0, 1]
    """
    rows = Rows.of(X, y, None, sample_weight, fit_intercept)
    if rows.is_sparse:
        rows = as_dense(rows, "an l1 penalty is asked for", "an array")
    choices, _ = check_class_weight([class_weight], rows.classes)
    if len(rows.classes) > 2:
        raise ValueError(
            f"y holds {len(rows.classes)} classes: pass labels of two, for an l1 penalty."
        )
    check_training_sets(rows.sums, rows.classes, False)
    factors = check_factors(penalty_factor, rows.X.shape[1])
    one = TrainingRows.of(rows, choices[0], -1)
    reduction, columns = reduced(rows)
    positive = one.signs < 0
    share = math.fsum(one.weights[positive]) if rows.fit_intercept else 0.5
    residuals = np.zeros(columns.shape[1])
    residuals[one.rows] = one.weights * np.where(positive, share - 1, share)
    slopes = np.empty(len(columns))
    _kernels.column_slopes(columns, residuals, slopes)
    # What rounding may add to slopes, here and in `fit_many`.
    noise = EPS * (100 + len(residuals) / 128) * float(np.abs(residuals).sum())
    largest = ((np.abs(slopes) + noise * np.abs(columns).max(axis=1)) / factors).max()
    return float(np.ldexp(largest, reduction.exponent))
