"""Support vector machines that differ in weights and labels, fitted batch after batch.

The rows of each machine are packed by themselves, and those of a batch are fitted side by side
(`hinge`). None knows of the others: a machine has the bits that it has alone. Where all have the
same labels, it starts from the machine of all rows of weight 1, at a penalty near its own; else
from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.rows import BLOCK_ROWS
from metaopt_fast.fitting.arguments import Effort, Rows, check_size, class_sums
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.differing import Fitted, training_sums
from metaopt_fast.fitting.differing_arguments import Labels, Weights
from metaopt_fast.fitting.hinge import fit, fit_machines, outward
from metaopt_fast.fitting.lane_fits import LaneOptima
from metaopt_fast.fitting.models import Models, TrainingSets
from metaopt_fast.fitting.reductions import Reductions
from metaopt_fast.fitting.shared_rows import penalties_nearby
from metaopt_fast.fitting.training_sets import ReducedModels
from metaopt_fast.objectives.penalties import L2
from metaopt_fast.typing import Float64Array, IndexArray

LOSS = "squared_hinge"
# Bytes of the rows of the machines that are fitted together.
BATCH_BYTES = 64 * 1024 * 1024
# Tolerance of the machines that others start from, and Newton steps that these may take.
NEAR, MAX_STEPS = 1e-3, 50


@dataclass(frozen=True, slots=True, eq=False)
class Machines:
    """What machines of the same columns share: these, as they are fitted, and the effort."""

    reductions: Reductions
    fit_intercept: bool
    effort: Effort

    @classmethod
    def of(
        cls, X: npt.NDArray[Any], weights: Float64Array, fit_intercept: bool, effort: Effort
    ) -> Self:
        """Make columns ready, given weights that say which rows may count."""
        check_size(X.shape, fit_intercept, LOSS)
        return cls(
            Reductions.of(X, weights, fit_intercept, effort.n_threads), fit_intercept, effort
        )

    def batches(self, n_models: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the last of the machines that are fitted together, and one more."""
        n_samples, n_features = self.reductions.whole.X.shape
        of_each = 8 * n_samples * (n_features + 4)
        size = max(1, BATCH_BYTES // of_each)
        for first in range(0, n_models, size):
            yield first, min(first + size, n_models)

    def fit(
        self,
        rows: Sequence[Rows],
        choices: Sequence[ClassWeight],
        l2: Float64Array,
        theta0: Float64Array | None,
    ) -> Fitted:
        """Fit a machine to each of some rows, whose class weights are one of `choices`, without
        each fold: l2 has shape (n, n_folds)."""
        reduction, effort = self.reductions.fitted, self.effort
        parts = [
            ReducedModels.of(
                one,
                [choice],
                np.arange(len(strengths)),
                strengths,
                effort.n_threads,
                LOSS,
                self.reductions,
            )
            for one, choice, strengths in zip(rows, choices, l2, strict=True)
        ]
        models = of_all = side_by_side([part.models for part in parts], reduction.columns)
        start = np.zeros((l2.size, models.n_params))
        if theta0 is not None:
            start = reduction.inward(theta0, effort.n_threads)
        optima = fit(models, start, effort.tol, effort.max_iter)
        validation = validated(parts, optima.thetas)
        if reduction.is_wide:
            whole = self.reductions.whole.columns
            of_all = side_by_side([part.of_all_columns() for part in parts], whole)
        found = outward(optima, reduction, of_all, effort.tol)
        lanes = LaneOptima(found.thetas, found.losses, found.gap_bounds, found.n_iter, found.status)
        return Fitted(lanes, validation, None)


def side_by_side(parts: Sequence[Models], columns: npt.NDArray[Any]) -> Models:
    """Return the models of some parts, one part after the other. What bounds their rounding is that
    of all rows: the same whichever parts there are."""
    first = parts[0]
    before = np.cumsum([0, *(len(part.sets) for part in parts[:-1])])
    extents = np.ones(first.n_params)
    extents[: columns.shape[1]] = np.maximum(columns.max(axis=0), -columns.min(axis=0))
    # A block more for each class of each fold.
    n_blocks = len(columns) // BLOCK_ROWS + 2 * len(first.sets) + 1
    return Models(
        TrainingSets.joined([part.sets for part in parts]),
        np.concatenate([part.set_of + n for part, n in zip(parts, before.tolist(), strict=True)]),
        L2(
            np.concatenate([part.penalty.strengths for part in parts]),
            first.penalty.n_penalised,
        ),
        first.n_params,
        extents,
        len(columns),
        max(n_blocks, *(part.n_blocks for part in parts)),
        first.n_threads,
    )


def validated(
    parts: Sequence[ReducedModels], thetas: Float64Array
) -> tuple[Float64Array, Float64Array] | None:
    """Return what thetas are worth on the folds left out, None without folds."""
    each = np.split(thetas, len(parts))
    pairs = [part.validate(of) for part, of in zip(parts, each, strict=True)]
    found = [pair for pair in pairs if pair is not None]
    if not found:
        return None
    losses, accuracies = (np.concatenate(of) for of in zip(*found, strict=True))
    return losses, accuracies


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfModels:
    """Rows whose weights and labels are those of a model."""

    X: npt.NDArray[Any]
    labels: Labels
    weights: Weights
    fold: IndexArray | None
    fit_intercept: bool

    def of(self, m: int) -> Rows:
        """Return the rows of model m."""
        codes = self.labels.codes(m, m + 1)[0].astype(np.intp)
        given = self.weights.of_models(m, m + 1)
        weights = np.ones(len(self.X)) if given is None else given[0].astype(np.float64)
        fold, n_folds = np.zeros(len(self.X), np.intp), None
        if self.fold is not None:
            fold, n_folds = self.fold, int(self.fold.max()) + 1
        sums = class_sums(fold, n_folds or 1, codes, 2, weights)
        training_sums(sums[None], n_folds is not None, m)
        return Rows(self.X, [0, 1], codes, weights, fold, n_folds, sums, self.fit_intercept)

    def starts(self, l2: Float64Array, effort: Effort) -> Float64Array | None:
        """Return thetas to start from at some penalties, None: zeros."""
        if not self.labels.is_common:
            return None
        codes, n_samples = self.labels.codes(0, 1)[0].astype(np.intp), len(self.X)
        rows = Rows.checked(self.X, codes, 2, np.ones(n_samples), self.fit_intercept)
        different, which = np.unique(penalties_nearby(l2.ravel()), return_inverse=True)
        rough, one = replace(effort, tol=NEAR, max_iter=MAX_STEPS), np.zeros(1, np.intp)
        # Each by itself: where it starts depends on no other.
        thetas = [
            fit_machines(rows, [None], one, strength, None, rough)[0].thetas
            for strength in np.split(different, len(different))
        ]
        return np.concatenate(thetas)[which.ravel()]


def fit_differing_machines(
    rows: RowsOfModels,
    choices: list[ClassWeight],
    choice_of: IndexArray,
    l2: Float64Array,
    effort: Effort,
    theta0: Float64Array | None,
) -> list[Fitted]:
    """Fit a machine of each model without each fold: l2 has shape (n_models, n_folds)."""
    X, n_folds = rows.X, l2.shape[1]
    machines = Machines.of(X, np.ones(len(X)), rows.fit_intercept, effort)
    start = rows.starts(l2, effort) if theta0 is None else theta0
    parts = []
    for first, last in machines.batches(len(l2)):
        some = [rows.of(m) for m in range(first, last)]
        of_each = [choices[choice] for choice in choice_of[first:last]]
        begin = None if start is None else start[first * n_folds : last * n_folds]
        parts.append(machines.fit(some, of_each, l2[first:last], begin))
    return parts
