"""A regularised logistic regression for each of many groups of rows, as one computation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_X
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.differing import Fitted
from metaopt_fast.fitting.differing_arguments import Labels, Penalties, Weights
from metaopt_fast.fitting.fit_differing import check_n_params, fit_differing, result_of
from metaopt_fast.fitting.lane_fits import LaneOptima
from metaopt_fast.fitting.penalty_arguments import check_strengths
from metaopt_fast.fitting.result import (
    FitResult,
    Status,
    names_of,
    reasons_of,
    warn_if_unbounded,
)
from metaopt_fast.fitting.task_rows import LARGEST_ENTRY, TaskPenalties, TaskRows
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.labels import read_labels
from metaopt_fast.validation.values import check_flag, to_float64

# Tasks of more parameters, or more numbers, are fitted one by one: 24 stand side by side, which
# take 200 bytes for each number, and 0.1 s between two looks at signals.
MOST_PARAMS, MOST_NUMBERS = 128, 40_000


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Rows of two classes, and the task of each.

    Attributes
    ----------
    labels : list
        Those of the tasks, in ascending order.
    task_of, rows, counts : arrays
        The number of each row's task; rows in order of their tasks; how many each task has.
    codes : array of bool
        Where the label is the greater one.
    """

    X: Float64Array
    codes: BoolArray
    classes: list[Any]
    labels: list[Any]
    task_of: IndexArray
    rows: IndexArray
    counts: IndexArray

    @classmethod
    def of(
        cls,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        tasks: npt.ArrayLike | None,
        classes: list[Any] | None = None,
    ) -> Self:
        """Check rows, labels, of two classes or of those given, and tasks, or take all rows as
        those of one."""
        array = to_float64(check_X(X))
        if not (array.max(initial=0.0) < LARGEST_ENTRY and array.min(initial=0.0) > -LARGEST_ENTRY):
            row, column = np.argwhere(~(np.abs(array) < LARGEST_ENTRY))[0]
            raise ValueError(
                f"X has {array[row, column]} in row {row}, column {column}: pass finite numbers "
                "below 1e60."
            )
        if classes is None:
            labels = Labels.of(y, len(array))
            if not labels.is_common:
                raise ValueError(f"y has shape {labels.shape}: pass one label for each row.")
            codes, classes = labels.codes(0, 1)[0] == 1, labels.classes
        else:
            codes = codes_of(y, len(array), classes)
        one = np.zeros(len(array), np.intp) if tasks is None else tasks
        found = read_labels("tasks", one, "the task of each row, a number or a string")
        if len(found.codes) != len(array):
            raise ValueError(
                f"tasks has shape {found.codes.shape}, but X has {len(array)} rows: pass the task "
                "of each row."
            )
        task_of = found.codes.astype(np.intp)
        rows = np.argsort(task_of, kind="stable")
        counts = np.bincount(task_of).astype(np.intp)
        return cls(array, codes, classes, found.values, task_of, rows, counts)

    def rows_of(self, task: int) -> IndexArray:
        """Return the rows of a task."""
        first = int(self.counts[:task].sum())
        return self.rows[first : first + int(self.counts[task])]

    def sums(self, weights: Float64Array | None) -> Float64Array:
        """Return the weights of both classes in each task."""
        each = np.ones(len(self.codes)) if weights is None else weights
        n, sides = len(self.counts), (~self.codes, self.codes)
        return np.stack([np.bincount(self.task_of, each * side, n) for side in sides], axis=1)


def codes_of(y: npt.ArrayLike, n_samples: int, classes: list[Any]) -> BoolArray:
    """Return where labels are the greater one of two classes; they need not hold both."""
    found = read_labels("y", y, f"labels {classes[0]!r} and {classes[1]!r}", may_be_column=True)
    others = [value for value in found.values if value not in classes]
    if others or len(found.codes) != n_samples:
        what = f"holds {others[0]!r}" if others else f"has {len(found.codes)} labels"
        raise ValueError(
            f"y {what}: pass one of the labels {classes[0]!r} and {classes[1]!r} for each of the "
            f"{n_samples} rows of X."
        )
    is_greater = np.array([value == classes[1] for value in found.values])
    return np.asarray(is_greater[found.codes])


def fit_tasks(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    tasks: npt.ArrayLike,
    *,
    l2: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
    penalty_factor: npt.ArrayLike | None = None,
    center: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
    n_threads: int | None = None,
) -> FitResult:
    """Fit a regularised logistic regression to the rows of each task, as one computation.

    Each minimises sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 sum_j f_j (theta_j - c_j)^2 over
    the rows of its own task alone. A model has the bits that it has alone: they do not depend on
    the other tasks, their order, or the number of threads.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers below 1e60.
    y : array_like of shape (n_samples,)
        Labels of two classes, the same ones in all tasks.
    tasks : array_like of shape (n_samples,)
        The task of each row: K different numbers or strings. Models come in their ascending order,
        that of ``numpy.unique(tasks)``.
    l2 : float, or array_like of shape (K,)
        Strength of the penalties, >= 0.
    sample_weight : array_like of shape (n_samples,), optional
    penalty_factor : array_like of shape (n_features,) or (K, n_features), optional
        Factors of the penalties for each feature, as of `fit_many`; with one more entry, the last
        one is the intercept's, which has none otherwise.
    center : array_like of shape (n_params,) or (K, n_params), optional
        What parameters are drawn to, as of `fit_many`.
    fit_intercept : bool, default True
    tol : float, default 1e-8
        A model has converged when it is proven to be at most tol * max(1, loss) above its optimum;
        steps go on until they promise no more than about tol^2.
    max_iter : int, default 100
        Largest number of Newton steps.
    n_threads : int, optional

    Returns
    -------
    FitResult
        A model for each task: theta of shape (K, n_params). After Ctrl-C, the models of the tasks
        that had their turn, with `interrupted`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or a task has one class and its intercept no penalty.

    Warns
    -----
    RuntimeWarning
        If models have not converged, or had no turn, with the reason.

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> rng = np.random.default_rng(0)
    >>> tasks = np.repeat(np.arange(1000), 20)
    >>> X = rng.normal(size=(20_000, 3))
    >>> y = X[:, 0] * (tasks % 2 - 0.5) > 0
    >>> fits = mf.fit_tasks(X, y, tasks, l2=0.1)
    >>> fits.theta.shape, bool(fits.certified.all())
    ((1000, 4), True)
    >>> bool((fits.theta[::2, 0] < 0).mean() > 0.99)
    True
    """
    effort = Effort.of(tol, max_iter, n_threads)
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    grouped = Grouped.of(X, y, tasks)
    n_features, n_tasks = grouped.X.shape[1], len(grouped.counts)
    check_n_params(n_features, fit_intercept)
    given = Penalties.of(penalty_factor, center, n_features, fit_intercept)
    strengths = check_strengths("l2", l2, None)[:, 0]
    shapes = {"l2": strengths.shape} | given.shapes
    for name, shape in shapes.items():
        n = shape[0] if len(shape) == 2 or name == "l2" else 1
        if n not in (1, n_tasks):
            raise ValueError(
                f"{name} has shape {shape}, but there are {n_tasks} tasks: pass one entry for each "
                "task, or a single one for all."
            )
    strengths = np.ascontiguousarray(np.broadcast_to(strengths, n_tasks))
    penalties = TaskPenalties(strengths, given.factors, given.centres)
    weights = weights_of(sample_weight, len(grouped.codes))
    fits = fit_grouped(grouped, weights, penalties, fit_intercept, effort)
    fits = replace(fits, feature_names=names_of(X, n_features))
    if reasons := reasons_of(fits.status, max_iter):
        warnings.warn(reasons, RuntimeWarning, stacklevel=2)
    if not fits.interrupted:
        warn_if_unbounded(fits, strengths, stacklevel=3)
    return fits


def weights_of(sample_weight: npt.ArrayLike | None, n_samples: int) -> Float64Array | None:
    """Return one checked weight for each row."""
    weights = Weights.of(sample_weight, n_samples)
    if len(weights.shape) == 2:
        raise ValueError(
            f"sample_weight has shape {weights.shape}: pass one weight for each row, of shape "
            f"({n_samples},)."
        )
    table = weights.of_models(0, 1)
    return None if table is None else to_float64(table[0])


@shielded
def fit_grouped(
    grouped: Grouped,
    weights: Float64Array | None,
    penalties: TaskPenalties,
    fit_intercept: bool,
    effort: Effort,
) -> FitResult:
    """Do what `fit_tasks` does with arguments that were checked, and warn of nothing."""
    n_tasks, n_params = len(grouped.counts), grouped.X.shape[1] + fit_intercept
    numbers = grouped.counts * n_params
    is_small = (numbers <= MOST_NUMBERS) & (n_params <= MOST_PARAMS)
    sums, alone = grouped.sums(weights), ~is_small
    check_classes(grouped, sums, penalties, fit_intercept, is_small)
    optima = LaneOptima(
        np.full((n_tasks, n_params), np.nan),
        np.full(n_tasks, np.inf),
        np.full(n_tasks, np.inf),
        np.zeros(n_tasks, np.intp),
        np.full(n_tasks, Status.INTERRUPTED.value, np.intp),
    )
    parts: list[tuple[Any, LaneOptima]] = []
    if is_small.any():
        of_task = is_small[grouped.task_of[grouped.rows]]
        rows, counts = grouped.rows[of_task], grouped.counts[is_small]
        some = TaskRows.of(grouped.X, grouped.codes, weights, rows, counts, fit_intercept)
        found = some.fit(penalties.of(is_small), effort)
        parts.append((is_small, found))
        # What rounding hides in columns as they are shows where they are centred and scaled.
        alone[is_small] = found.status == Status.ROUNDING.value
        alone &= (sums > 0).all(axis=1) & (not found.is_interrupted)
    try:
        for task in np.flatnonzero(alone).tolist():
            one = fit_one(grouped, weights, penalties, fit_intercept, effort, task)
            parts.append((slice(task, task + 1), one))
    except KeyboardInterrupt:
        if not parts:
            raise
    for which, part in parts:
        for name in LaneOptima.__slots__:
            getattr(optima, name)[which] = getattr(part, name)
    result = result_of(
        [Fitted(optima, None, None)], (n_tasks,), effort, grouped.classes, fit_intercept
    )
    return replace(result, l2=penalties.l2.copy(), l1=np.zeros(n_tasks))


def fit_one(
    grouped: Grouped,
    weights: Float64Array | None,
    penalties: TaskPenalties,
    fit_intercept: bool,
    effort: Effort,
    task: int,
) -> LaneOptima:
    """Fit the model of a large task by itself."""
    rows, own = grouped.rows_of(task), penalties.of(np.array([task]))
    fits = fit_differing(
        grouped.X[rows],
        grouped.codes[rows],
        effort,
        l2=own.l2[0],
        l1=0.0,
        folds=None,
        class_weight=None,
        sample_weight=None if weights is None else weights[rows],
        penalty_factor=own.factors[0],
        center=own.centres[0],
        fit_intercept=fit_intercept,
        loss="logistic",
        storage=None,
        theta0=None,
        standardize=False,
        validation_gradient=False,
        feature_groups=None,
    )
    status = np.array([Status[name.upper()].value for name in fits.status.tolist()])
    return LaneOptima(fits.theta, fits.loss, fits.gap_bound, fits.n_iter, status)


def check_classes(
    grouped: Grouped,
    sums: Float64Array,
    penalties: TaskPenalties,
    fit_intercept: bool,
    is_small: BoolArray,
) -> None:
    """Raise an error where a task lacks a class, unless the intercept's penalty holds it."""
    strengths = penalties.l2 * penalties.factors[:, -1]
    is_held = is_small & ((strengths > 0) | (not fit_intercept)) & (sums.sum(axis=1) > 0)
    lacking = np.flatnonzero(~(sums > 0).all(axis=1) & ~is_held)
    if len(lacking):
        raise ValueError(
            f"task {grouped.labels[lacking[0]]!r} has rows of one class at most: pass tasks of "
            "both classes, or a penalty_factor above 0 for the intercept, too."
        )
