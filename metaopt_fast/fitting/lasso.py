"""Models with an l1 penalty: paths of each training set, from strong penalties to weak ones.

The method is in ``src/lasso_path.pxi``; ``docs/explanation/lasso.md`` says what it is and proves
the bounds of the gaps. A path keeps no Hessian but that of the columns that it works on, so there
may be any number of columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import expit
from metaopt_fast.data.sparse_rows import some_columns
from metaopt_fast.fitting.arguments import Effort, Rows, check_training_sets
from metaopt_fast.fitting.certificates import logistic_gap_after_rounding
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.dense_fits import fit_dense
from metaopt_fast.fitting.lasso_columns import Columns, TrainingRows, columns_of
from metaopt_fast.fitting.models import Optima
from metaopt_fast.fitting.penalty_arguments import check_factors
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Digits of ratios of penalties that tell paths apart: others are rounding.
RATIO_DIGITS = 9
# Newton steps that models of columns without a penalty may take at least.
STEPS_OF_FREE = 100
# An l1 penalty that leaves no other column with a weight.
STRONG = 1e100
EPS = np.finfo(np.float64).eps


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

    `factors` are of the penalties of each column: infinite where it is left out, 0 where it has
    none. Returns the models, and what they are worth on the folds, if there are any."""
    if factors is not None and np.isinf(factors).any():
        used = with_intercept(np.isfinite(factors), rows)
        some = replace(rows, X=some_columns(rows.X, np.isfinite(factors)))
        near = None if theta0 is None else theta0[:, used]
        finite = factors[np.isfinite(factors)]
        optima, validation = fit_paths(some, choices, set_of, l1, l2, near, effort, finite)
        thetas = np.zeros((len(optima.thetas), len(used)))
        thetas[:, used] = optima.thetas
        return replace(optima, thetas=thetas), validation
    if factors is not None and (factors == 0).any():
        theta0 = models_of_free_columns(rows, choices, factors == 0, effort)[set_of]
    columns = columns_of(rows)
    l1, l2 = np.ldexp(l1, -columns.exponent), np.ldexp(l2, -2 * columns.exponent)
    n, n_features = len(set_of), rows.X.shape[1]
    shares = np.ones(n_features) if factors is None else factors
    thetas = np.zeros((n, n_features + rows.fit_intercept))
    if theta0 is not None:
        thetas[:] = columns.inward(theta0, effort.n_threads)
    paths = columns.paths(shares, rows.fit_intercept)
    sets = ((choice, left_out) for choice in choices for left_out in rows.left_out)
    for number, (choice, left_out) in enumerate(sets):
        one = columns.training_rows(TrainingRows.of(rows, choice, left_out))
        members = np.flatnonzero(set_of == number)
        for path in paths_of(l1[members], l2[members]) if len(members) else []:
            paths.add(one.rows, one.signs, one.weights, one.lighter, members[path])
    losses, gaps = np.empty((2, n))
    n_iter, status = np.empty((2, n), np.intp)
    most = min(effort.max_iter, np.iinfo(np.intp).max)
    paths.run(l1, l2, effort.tol, most, thetas, losses, gaps, n_iter, status, effort.n_threads)
    validation = None
    if rows.n_folds is not None:
        validation = validate(rows, thetas, columns.decide)
    thetas, moved = columns.outward(thetas)
    if moved.any():
        gaps = logistic_gap_after_rounding(gaps, moved)
        lost = ~are_proven(gaps, losses, effort.tol)
        status[lost & (status == Status.CONVERGED)] = Status.ROUNDING
    return Optima(thetas, losses, gaps, np.zeros(n), n_iter, status), validation


def models_of_free_columns(
    rows: Rows, choices: list[ClassWeight], is_free: BoolArray, effort: Effort
) -> Float64Array:
    """Return models of the columns without a penalty alone, of each training set: starts of paths.
    There is an optimum with the other columns where there is one of these."""
    X = some_columns(rows.X, is_free)
    some = replace(rows, X=X.toarray() if rows.is_sparse else X)
    sets = np.arange(len(choices) * len(rows.left_out))
    enough = replace(effort, max_iter=max(effort.max_iter, STEPS_OF_FREE))
    optima, _ = fit_dense(some, choices, sets, np.zeros(len(sets)), None, enough)
    thetas = np.zeros((len(sets), len(is_free) + rows.fit_intercept))
    thetas[:, with_intercept(is_free, rows)] = optima.thetas
    return thetas


def with_intercept(which: BoolArray, rows: Rows) -> BoolArray:
    """Return which parameters are those of some columns, and the intercept, if there is one."""
    return np.concatenate([which, np.ones(int(rows.fit_intercept), np.bool_)])


def validate(
    rows: Rows,
    thetas: Float64Array,
    decide: Callable[[Float64Array, IndexArray], Float64Array],
) -> tuple[Float64Array, Float64Array]:
    """Return mean loss and accuracy of the rows that each model was not trained on.

    `decide` returns the decision values of thetas for some rows.
    """
    thetas = thetas.reshape(-1, len(rows.left_out), thetas.shape[1])
    losses, accuracies = np.empty((2, *thetas.shape[:2]))
    for at, f in enumerate(rows.left_out):
        used = np.flatnonzero((rows.fold == f) & (rows.weights > 0))
        weights, positive = rows.weights[used] / rows.weights.max(), rows.positive[used]
        decisions = decide(np.ascontiguousarray(thetas[:, at]), used)
        values, slopes = np.empty((2, decisions.size))
        z = np.where(positive, -decisions, decisions).reshape(-1)
        _kernels.pointwise(_kernels.LOSSES["logistic"], z, values, slopes)
        total = weights.sum()
        losses[:, at] = (values.reshape(decisions.shape) * weights).sum(axis=1) / total
        right = (decisions > 0) == positive
        accuracies[:, at] = (right * weights).sum(axis=1) / total
    return losses, accuracies


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

    It is the largest entry of the gradient of the mean loss where all weights are 0 and what has no
    penalty, as the intercept, is the best. A path of models goes from there downwards:
    ``l1_max(X, y) * np.geomspace(1, 1e-3, 100)``.

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
        Factors of the penalty of each feature, as of `fit_many`. Features of factor 0 have weights
        anyway.

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
    choices, _ = check_class_weight([class_weight], rows.classes)
    if len(rows.classes) > 2:
        raise ValueError(
            f"y holds {len(rows.classes)} classes: pass labels of two, for an l1 penalty."
        )
    check_training_sets(rows.sums, rows.classes, False)
    factors = check_factors(penalty_factor, rows.X.shape[1])
    one = TrainingRows.of(rows, choices[0], -1)
    columns = columns_of(rows)
    positive = one.signs < 0
    shares: Float64Array | float = 0.5
    if (factors == 0).any():
        shares = shares_by_free_columns(rows, choices, factors, columns)[one.rows]
    elif rows.fit_intercept:
        shares = math.fsum(one.weights[positive])
    residuals = np.zeros(len(rows.X))
    residuals[one.rows] = one.weights * np.where(positive, shares - 1, shares)
    # What rounding may add to slopes, here and in `fit_many`.
    noise = EPS * (100 + columns.chain) * float(np.abs(residuals).sum())
    bounds = np.abs(columns.slopes(residuals)) + noise * columns.extents
    largest = (bounds[factors > 0] / factors[factors > 0]).max(initial=0.0)
    return float(np.ldexp(largest, columns.exponent))


def shares_by_free_columns(
    rows: Rows, choices: list[ClassWeight], factors: Float64Array, columns: Columns
) -> Float64Array:
    """Return the probability of each row, by the model of the columns without a penalty alone."""
    which, l1, l2 = np.zeros(1, np.intp), np.full(1, STRONG), np.zeros(1)
    optima, _ = fit_paths(rows, choices, which, l1, l2, None, Effort.of(), factors)
    if optima.status[0] == Status.UNPROVEN:
        raise ValueError(
            "penalty_factor is 0 for features by which a plane separates rows of one class, or "
            "which are nearly collinear: pass small factors, such as 0.01, for these."
        )
    thetas = columns.inward(optima.thetas, 1)
    decisions = columns.decide(thetas, np.arange(len(rows.X)))
    return expit(decisions[0])
