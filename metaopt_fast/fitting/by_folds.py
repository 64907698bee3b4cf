"""Models without each fold, fold by fold: tasks for the workers of an executor.

Columns of unit deviation are each fold's own. Paths of l1 penalties and models of sparse rows have
nothing of another training set: those of one fold have the bits that they have among all. Of dense
rows with an l2 penalty, batches are tasks in the place of folds (`dense_fits`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from metaopt_fast.fitting.arguments import Effort, Rows, why_dense
from metaopt_fast.fitting.penalty_arguments import check_penalties, check_theta0
from metaopt_fast.fitting.result import FitResult
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.spread import Spread
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import describe

# What is known of a fold: its number, where its models start, and their penalties by name.
Fold: TypeAlias = tuple[int, Float64Array | None, dict[str, Float64Array]]
# Fits the models of a fold, given what is common to all.
FitFold: TypeAlias = Callable[[Any, int, Float64Array | None, dict[str, Float64Array]], FitResult]

# Arrays of a result, over models and folds.
OVER_FOLDS = (
    *("theta", "loss", "gap_bound", "certified", "n_iter", "converged", "status", "n_nonzero"),
    *("validation_loss", "validation_accuracy"),
)


def over_folds(
    executor: Any,
    fit_fold: FitFold,
    common: Any,
    rows: Rows,
    *,
    l2: npt.ArrayLike,
    l1: npt.ArrayLike,
    theta0: npt.ArrayLike | None,
) -> FitResult:
    """Return the models of all folds, or those of all rows, which `fit_fold` fits one by one."""
    of_l1, of_l2 = check_penalties(l1, l2, rows.n_folds, None)
    starts: Any = [None] * len(rows.left_out)
    if theta0 is not None:
        shape = (len(of_l2), *([] if rows.n_folds is None else [rows.n_folds]), *rows.theta_shape)
        near = check_theta0(theta0, shape).reshape(len(of_l2), -1, *rows.theta_shape)
        starts = near.transpose(1, 0, *range(2, near.ndim))
    folds: list[Fold] = []
    for f, start in enumerate(starts):
        strengths = {
            name: of[:, f] if of.shape[1] > 1 else of[:, 0]
            for name, of in (("l1", of_l1), ("l2", of_l2))
        }
        folds.append((f, start, strengths))
    spread = Spread(executor, (fit_fold, common))
    parts = [fits for some in spread.over(_fit_some, folds, 1) for fits in some]
    if rows.n_folds is None:
        return parts[0]
    found: dict[str, Any] = {
        name: np.stack([getattr(part, name) for part in parts], axis=1) for name in OVER_FOLDS
    }
    for name, of in (("l1", of_l1), ("l2", of_l2)):
        found[name] = np.array(of[:, 0] if of.shape[1] == 1 else of)
    return replace(parts[0], folds=rows.fold, **found)


@shielded
def _fit_some(held: tuple[FitFold, Any], folds: list[Fold]) -> list[FitResult]:
    """Fit the models of some folds."""
    fit_fold, common = held
    return [fit_fold(common, *fold) for fold in folds]


def fit_in_parts(
    fit_models: Callable[..., FitResult],
    executor: Any,
    effort: Effort,
    rows: Rows,
    *,
    l2: npt.ArrayLike,
    l1: npt.ArrayLike,
    theta0: npt.ArrayLike | None,
    loss: str,
    **options: Any,
) -> FitResult:
    """Do what `fit_models` does, by tasks for the workers: folds, or batches of models."""
    of_l1, of_l2 = check_penalties(l1, l2, rows.n_folds, None)
    is_logistic = len(rows.classes) == 2 and loss == "logistic"
    is_sparse = rows.is_sparse and not why_dense(of_l1, of_l2, loss)
    if is_logistic and not is_sparse and not of_l1.any():
        strengths = {"l2": l2, "l1": l1, "theta0": theta0}
        return fit_models(effort, rows, **strengths, **options, loss=loss, executor=executor)
    # Features that are free start from models that share their steps.
    is_free = bool(np.any(np.asarray(options["penalty_factor"]) == 0))
    has_folds = is_logistic and rows.n_folds is not None and not is_free
    if not has_folds or not (is_sparse or (of_l1 > 0).all()):
        raise ValueError(
            f"executor is {describe(executor)}, but these models share their steps, on the threads "
            "of one process: pass executor=None, or two classes of the logistic loss, and beside "
            "an l1 penalty, of all models and without a factor of 0, or of sparse rows, folds."
        )
    common = (fit_models, effort, rows, {"loss": loss, **options})
    return over_folds(executor, _fit_fold, common, rows, l2=l2, l1=l1, theta0=theta0)


def _fit_fold(
    common: tuple[Callable[..., FitResult], Effort, Rows, dict[str, Any]],
    fold: int,
    start: Float64Array | None,
    strengths: dict[str, Float64Array],
) -> FitResult:
    fit_models, effort, rows, options = common
    near = None if start is None else start[:, None]
    fits = fit_models(effort, replace(rows, only=fold), theta0=near, **strengths, **options)
    return replace(fits, **{name: getattr(fits, name)[:, 0] for name in OVER_FOLDS})
