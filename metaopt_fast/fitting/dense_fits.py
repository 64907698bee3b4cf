"""Logistic models of dense rows with an l2 penalty: on columns reduced, and back to those of X."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.certificates import (
    logistic_convexity_gaps,
    logistic_gap_after_rounding,
)
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.hessians import Nearby
from metaopt_fast.fitting.models import Models, Optima
from metaopt_fast.fitting.newton import batches_of, fit, fit_batch
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.starts import start
from metaopt_fast.fitting.training_sets import ReducedModels
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.spread import Made, Spread
from metaopt_fast.typing import Float64Array, IndexArray


class Ready:
    """Models on reduced columns, ready to be fitted."""

    def __init__(
        self,
        rows: Rows,
        choices: list[ClassWeight],
        set_of: IndexArray,
        l2: Float64Array,
        theta0: Float64Array | None,
        effort: Effort,
    ) -> None:
        self.reduced: ReducedModels = ReducedModels.of(rows, choices, set_of, l2, effort.n_threads)
        self.effort, self._near = effort, Made(_near, self.reduced, theta0, effort.n_threads)

    @property
    def near(self) -> Float64Array | Nearby:
        """Where they start, or what is known nearby."""
        return self._near.value


def _near(
    reduced: ReducedModels, theta0: Float64Array | None, n_threads: int
) -> Float64Array | Nearby:
    if theta0 is None:
        return start(reduced.strata, reduced.models, reduced.choices)
    return reduced.reduction.inward(theta0, n_threads)


def fit_dense(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
    executor: Any = None,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out,
    here or batch by batch by the workers of an executor.

    Returns them, and what they are worth on the folds, if there are any."""
    held = Made(Ready, rows, choices, set_of, l2, theta0, effort)
    reduced, reduction = held.value.reduced, held.value.reduced.reduction
    if executor is None:
        optima = fit(reduced.models, held.value.near, effort.tol, effort.max_iter)
    else:
        optima = _fit_by_workers(executor, held)
    validation = reduced.validate(optima.thetas)
    if reduction.is_wide:
        optima = _of_all_columns(optima, reduction, reduced.of_all_columns(), effort.tol)
    thetas, moved = reduction.outward(optima.thetas)
    gaps = logistic_gap_after_rounding(optima.gap_bounds, moved)
    return replace(optima, thetas=thetas, gap_bounds=gaps), validation


def _fit_by_workers(executor: Any, held: Made[Ready]) -> Optima:
    """Return the optima of batches that are tasks for the workers of an executor."""
    models = held.value.reduced.models
    optima, batches = Optima.empty(len(models.set_of), models.n_params), batches_of(models)
    parts = Spread(executor, held).over(_fit_batch, batches, 1)
    for members, part in zip(batches, parts, strict=True):
        for field in fields(Optima):
            getattr(optima, field.name)[members] = getattr(part, field.name)
    return optima


@shielded
def _fit_batch(held: Made[Ready], batches: list[IndexArray]) -> Optima:
    """Return the optima of one batch."""
    ready, (members,) = held.value, batches
    models, effort = ready.reduced.models, ready.effort
    optima = Optima.empty(len(models.set_of), models.n_params)
    fit_batch(models, members, ready.near, effort.tol, effort.max_iter, optima)
    return Optima(*(getattr(optima, field.name)[members] for field in fields(Optima)))


def _of_all_columns(optima: Optima, reduction: Reduction, models: Models, tol: float) -> Optima:
    """Return optima of fewer columns as ones of all, evaluated again where they are now."""
    everything = np.arange(len(models.set_of))
    thetas = reduction.spread(optima.thetas, models.n_threads)
    losses, gradients = models.evaluate(everything, thetas)
    gaps = logistic_convexity_gaps(
        models, everything, thetas, losses, gradients, 0.9 * optima.curvatures
    )
    lost = ~are_proven(losses - optima.losses, losses, tol)
    status = np.where(lost & (optima.status == Status.CONVERGED), Status.ROUNDING, optima.status)
    return replace(optima, thetas=thetas, losses=losses, gap_bounds=gaps, status=status)
