"""Logistic models of dense rows with an l2 penalty: on columns reduced, and back to those of X."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.certificates import (
    logistic_convexity_gaps,
    logistic_gap_after_rounding,
)
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.models import Models, Optima
from metaopt_fast.fitting.newton import fit
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.starts import start
from metaopt_fast.fitting.training_sets import ReducedModels
from metaopt_fast.typing import Float64Array, IndexArray


def fit_dense(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    Returns them, and what they are worth on the folds, if there are any."""
    reduced = ReducedModels.of(rows, choices, set_of, l2, effort.n_threads)
    reduction, models = reduced.reduction, reduced.models
    given = None if theta0 is None else reduction.inward(theta0, effort.n_threads)
    near = start(reduced.strata, models, choices) if given is None else given
    optima = fit(models, near, effort.tol, effort.max_iter)
    validation = reduced.validate(optima.thetas)
    if reduction.is_wide:
        optima = _of_all_columns(optima, reduction, reduced.of_all_columns(), effort.tol)
    thetas, moved = reduction.outward(optima.thetas)
    gaps = logistic_gap_after_rounding(optima.gap_bounds, moved)
    return replace(optima, thetas=thetas, gap_bounds=gaps), validation


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
