"""The call of fit_many whose models differ: its arguments, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_X
from metaopt_fast.fitting.arguments import (
    MAX_PARAMS,
    Effort,
    Rows,
    as_dense,
    check_folds,
    check_loss,
    why_dense,
)
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.differing import Differing, Fitted
from metaopt_fast.fitting.differing_arguments import (
    Labels,
    Penalties,
    Weights,
    check_numbers_of_models,
    shape_of,
)
from metaopt_fast.fitting.lane_fits import LaneOptima
from metaopt_fast.fitting.machines import Machines, RowsOfModels, fit_differing_machines
from metaopt_fast.fitting.penalty_arguments import check_penalties, check_theta0
from metaopt_fast.fitting.result import STATUSES, FitResult, Status, are_proven
from metaopt_fast.fitting.standardized import check_standardize
from metaopt_fast.fitting.validation_gradients import FeatureGroups
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.spread import Made, Spread
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import describe


def differs(X: Any, y: Any, sample_weight: Any, penalty_factor: Any, center: Any) -> bool:
    """Whether models differ in more than l1, l2, class weights and folds."""
    if penalty_factor is not None or center is not None:
        return True
    if sample_weight is not None and len(shape_of("sample_weight", sample_weight)) == 2:
        return True
    shape = shape_of("y", y)
    return len(shape) == 2 and (shape[1] != 1 or len(check_X(X)) == shape[1])


@shielded
def fit_differing(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    effort: Effort,
    *,
    l2: npt.ArrayLike,
    l1: npt.ArrayLike,
    folds: npt.ArrayLike | None,
    class_weight: ClassWeight | Sequence[ClassWeight],
    sample_weight: npt.ArrayLike | None,
    penalty_factor: npt.ArrayLike | None,
    center: npt.ArrayLike | None,
    fit_intercept: bool,
    loss: str,
    storage: object,
    theta0: npt.ArrayLike | None,
    standardize: bool,
    validation_gradient: bool,
    feature_groups: npt.ArrayLike | None,
    executor: Any = None,
) -> FitResult:
    """Do what `fit_many` does with models that differ, and warn of nothing."""
    if standardize:
        check_standardize(fit_intercept, False)
    array = check_X(X)
    labels, weights = Labels.of(y, len(array)), Weights.of(sample_weight, len(array))
    penalties = Penalties.of(penalty_factor, center, array.shape[1], fit_intercept)
    choices, choice_of = check_class_weight(class_weight, labels.classes)
    fold = None if folds is None else fold_of_each_row(folds, labels)
    n_folds = None if fold is None else int(fold.max()) + 1
    of_l1, of_l2 = check_penalties(l1, l2, n_folds, None)
    check_loss(loss, labels.classes, bool(of_l1.any()))
    check_built(loss, bool(of_l1.any()), storage, bool(penalties.shapes), standardize)
    if loss == "logistic":
        check_n_params(array.shape[1], fit_intercept)
    groups = FeatureGroups.of(feature_groups, array.shape[1]) if validation_gradient else None
    several = {"y": labels.shape, "sample_weight": weights.shape, **penalties.shapes}
    shapes: dict[str, tuple[int, ...]] = {name: of for name, of in several.items() if len(of) == 2}
    shapes["l2"] = (len(of_l2),)
    if choice_of is not None:
        shapes["class_weight"] = (len(choice_of),)
    n_models = check_numbers_of_models(shapes)
    shape: tuple[int, int] = (n_models, n_folds or 1)
    result_shape: tuple[int, ...] = shape if n_folds else shape[:1]
    start = None
    if theta0 is not None:
        start = check_theta0(theta0, (*result_shape, array.shape[1] + fit_intercept))
    choice_of = np.zeros(n_models, np.intp) if choice_of is None else choice_of
    strengths = np.broadcast_to(of_l2, shape)
    if loss == "squared_hinge":
        check_no_executor(executor, loss)
        rows = RowsOfModels(array, labels, weights, fold, fit_intercept)
        parts = fit_differing_machines(rows, choices, choice_of, strengths, effort, start)
    else:
        arguments = (
            array,
            labels,
            fold,
            weights.of_models,
            n_models,
            choices,
            choice_of,
            strengths,
            penalties,
            fit_intercept,
            effort,
        )
        held = Made(_ready, arguments, standardize, groups, effort, start)
        models, _, _ = held.value
        spread = Spread(executor, held)
        parts = [*spread.over(_fit_some, range(n_models), models.batch, models.lanes)]
    found = result_of(parts, result_shape, effort, labels.classes, fit_intercept, loss)
    strengths = np.broadcast_to(of_l2, (n_models, of_l2.shape[1]))
    strengths = strengths[:, 0] if of_l2.shape[1] == 1 else strengths
    found = replace(found, l2=strengths.copy(), l1=np.zeros_like(strengths), folds=fold)
    if groups is None:
        return found
    slopes = np.concatenate([part.slopes for part in parts if part.slopes is not None])
    return replace(found, validation_gradient=slopes.reshape(*shape, *groups.shape))


def _ready(
    arguments: tuple[Any, ...],
    standardize: bool,
    groups: FeatureGroups | None,
    effort: Effort,
    start: Float64Array | None,
) -> tuple[Differing, Effort, Float64Array | None]:
    """Return models whose rows are packed, and what else is asked for of each."""
    models = Differing.of(*arguments)
    return replace(models, is_standardized=standardize, groups=groups), effort, start


@shielded
def _fit_some(held: Made[tuple[Differing, Effort, Float64Array | None]], numbers: range) -> Fitted:
    """Fit the models of these numbers."""
    models, effort, start = held.value
    n_folds = models.shared.n_folds
    given = None if start is None else start[numbers.start * n_folds : numbers.stop * n_folds]
    return models.fit(numbers.start, numbers.stop, effort, given)


def check_no_executor(executor: Any, loss: str) -> None:
    """Raise an error where models that differ are fitted in one process."""
    if executor is not None:
        raise ValueError(
            f"executor is {describe(executor)}, but loss is {loss!r}, whose models are fitted in "
            "one process: pass executor=None, or loss='logistic'."
        )


def check_built(
    loss: str, has_l1: bool, storage: object, has_penalties: bool, standardize: bool
) -> None:
    """Raise an error where there is no fit of models that differ."""
    differing = "y, sample_weight, penalty_factor or center are of each model"
    if loss == "squared_hinge" and has_penalties:
        raise ValueError(
            f"loss is {loss!r}, but penalty_factor or center is given: pass loss='logistic', or "
            "columns divided by the roots of the factors."
        )
    if loss == "squared_hinge" and standardize:
        raise ValueError(
            f"standardize is True and loss is {loss!r}, but {differing}: pass standardize=False, "
            "with columns that are standardised, or call fit_many for each."
        )
    if has_l1:
        raise ValueError(f"l1 is above 0, but {differing}: pass l1=0, or call fit_many for each.")
    if storage is not None:
        raise ValueError(
            f"storage is {describe(storage)}, but {differing}: pass storage=None, or call fit_many "
            "for each."
        )


def fit_each(effort: Effort, rows: Sequence[Rows], l2: Float64Array) -> FitResult:
    """Fit a support vector machine to each of some rows, of the same columns, and warn of
    nothing."""
    one = rows[0]
    if one.is_sparse and (why := why_dense(l2, l2, "squared_hinge")):
        X = as_dense(one, *why).X
        rows = [replace(each, X=X) for each in rows]
        one = rows[0]
    machines = Machines.of(one.X, one.weights, one.fit_intercept, effort)
    parts = [
        machines.fit(rows[first:last], [None] * (last - first), l2[first:last, None], None)
        for first, last in machines.batches(len(rows))
    ]
    found = result_of(parts, l2.shape, effort, one.classes, one.fit_intercept, "squared_hinge")
    return replace(found, l2=l2, l1=np.zeros_like(l2))


def fold_of_each_row(folds: npt.ArrayLike, labels: Labels) -> IndexArray:
    """Return the fold of each row; models of different labels have no common way to cut them."""
    if not labels.is_common and isinstance(folds, (int, np.integer)):
        raise ValueError(
            f"folds is {describe(folds)}, but models have labels of their own: pass an array of "
            "shape (n_samples,), the fold of each row."
        )
    return check_folds(folds, labels.codes(0, 1)[0].astype(np.intp))


def check_n_params(n_features: int, fit_intercept: bool) -> None:
    """Raise an error where Hessians are too large."""
    if n_features + fit_intercept > MAX_PARAMS:
        raise ValueError(
            f"X has {n_features:,} columns, but models that differ in weights, labels, factors of "
            f"penalties or centres have {MAX_PARAMS:,} parameters at most: pass fewer columns, or "
            "call fit_many for each model."
        )


def result_of(
    parts: list[Fitted],
    shape: tuple[int, ...],
    effort: Effort,
    classes: list[Any],
    fit_intercept: bool,
    loss: str = "logistic",
) -> FitResult:
    """Return the result of all batches."""
    optima = LaneOptima.joined([part.optima for part in parts])
    validation = [part.validation for part in parts if part.validation is not None]
    losses, accuracies = (
        (np.concatenate(of).reshape(shape) for of in zip(*validation, strict=True))
        if validation
        else (None, None)
    )
    certified = are_proven(optima.gap_bounds, optima.losses, effort.tol)
    n_features = optima.thetas.shape[1] - fit_intercept
    return FitResult(
        theta=optima.thetas.reshape(*shape, -1),
        loss=optima.losses.reshape(shape),
        gap_bound=optima.gap_bounds.reshape(shape),
        certified=certified.reshape(shape),
        n_iter=optima.n_iter.reshape(shape),
        converged=(optima.status == Status.CONVERGED).reshape(shape),
        validation_loss=losses,
        validation_accuracy=accuracies,
        status=STATUSES[optima.status].reshape(shape),
        classes=classes,
        feature_names=(),  # names are of what the caller gave
        fit_intercept=fit_intercept,
        n_nonzero=np.count_nonzero(optima.thetas[:, :n_features], axis=1).reshape(shape),
        l1=np.zeros(0),  # as they were given, too
        l2=np.zeros(0),
        folds=None,
        loss_name=loss,
    )
