"""Models that differ in weights, labels, penalties or centres, fitted batch after batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.arguments import (
    Effort,
)
from metaopt_fast.fitting.certificates import logistic_gap_after_rounding
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors
from metaopt_fast.fitting.deviations import deviations
from metaopt_fast.fitting.differing_arguments import (
    Labels,
    Penalties,
)
from metaopt_fast.fitting.lane_fits import LaneOptima, fit_lanes
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.shared_rows import LaneModels, SharedRows
from metaopt_fast.fitting.validation_gradients import FeatureGroups
from metaopt_fast.typing import Float64Array, IndexArray

# Bytes of weights, factors and Hessians of the models that are fitted together.
BATCH_BYTES = 64 * 1024 * 1024


class OfModels(Protocol):
    """Weights of rows, numbers of labels, by model: as `Weights` and `Labels` have them."""

    def __call__(self, first: int, last: int) -> Any:
        """Return those of models first .. last - 1, or a single row for all."""


@dataclass(frozen=True, slots=True, eq=False)
class Differing:
    """M models of the same rows, each without each fold.

    Attributes
    ----------
    shared : SharedRows
        Columns as they are fitted, which `reduction` has made of X's.
    weights, codes : callables (first, last)
        What is asked for of some models: weights of rows, or None; 1 where a label is the greater.
    choices, choice_of : list and array of shape (M,)
        Different class weights, and which of them is each model's.
    l2 : array of shape (M, n_folds)
    penalties : Penalties
    is_standardized : bool
        Whether penalties are as of columns of unit deviation.
    groups : FeatureGroups, or None
        Groups of features for whose penalties the gradients of validation losses are wanted.
    """

    shared: SharedRows
    reduction: Reduction
    n_models: int
    weights: OfModels
    codes: OfModels
    choices: list[ClassWeight]
    choice_of: IndexArray
    l2: Float64Array
    penalties: Penalties
    is_standardized: bool = False
    groups: FeatureGroups | None = None

    @classmethod
    def of(
        cls,
        X: npt.NDArray[Any],
        labels: Labels,
        fold: IndexArray | None,
        weights: OfModels,
        n_models: int,
        choices: list[ClassWeight],
        choice_of: IndexArray,
        l2: Float64Array,
        penalties: Penalties,
        fit_intercept: bool,
        effort: Effort,
    ) -> Self:
        """Make columns ready and pack the rows, of arguments that were checked."""
        # An intercept that is penalised would be another one beside centred columns.
        may_centre = fit_intercept and penalties.spares_intercept
        reduction = Reduction.of(X, np.ones(len(X)), may_centre)
        codes = labels.codes(0, 1)[0] if labels.is_common else None
        shared = SharedRows.of(reduction.columns, codes, fold, fit_intercept, effort.n_threads)
        rest = (choices, choice_of, l2, penalties)
        return cls(shared, reduction, n_models, weights, labels.codes, *rest)

    @property
    def has_folds(self) -> bool:
        """Whether models leave out folds."""
        return self.shared.fold is not None

    @property
    def lanes(self) -> int:
        """How many models fill lanes of the kernels, with their folds."""
        return -(-24 // self.shared.n_folds)

    @property
    def batch(self) -> int:
        """How many models are fitted together."""
        n, n_folds = self.shared.n_params, self.shared.n_folds
        of_each = 8 * len(self.shared.packed.origin.labels)
        of_each += n_folds * 8 * (3 * _kernels.n_pairs(n) + 8 * n)
        return max(self.lanes, BATCH_BYTES // of_each // self.lanes * self.lanes)

    def batches(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last of the models that are fitted together, and one more."""
        for first in range(0, self.n_models, self.batch):
            yield first, min(first + self.batch, self.n_models)

    def with_weights(
        self, weights: npt.NDArray[Any] | None, l2: Float64Array | None = None
    ) -> Self:
        """Return as many models of these weights, which all have what the first model has, but for
        penalties, of shape (M,), where they are given."""
        n = 1 if weights is None else len(weights)
        of_each = self.l2[:1] if l2 is None else l2[:, None]
        return replace(
            self,
            n_models=n,
            weights=lambda first, last: weights if weights is None else weights[first:last],
            choice_of=np.repeat(self.choice_of[:1], n),
            l2=np.broadcast_to(of_each, (n, self.l2.shape[1])),
        )

    def with_folds(self, fold: IndexArray) -> Self:
        """Return the same models, each without each fold."""
        n_folds = int(fold.max()) + 1
        return replace(
            self,
            shared=replace(self.shared, fold=fold, n_folds=n_folds),
            l2=np.broadcast_to(self.l2[:, :1], (self.n_models, n_folds)),
        )

    def mean_losses(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return the mean loss of each theta on the rows of its weights, or of the weights of all;
        NaN where no row has any."""
        weights, n = self.weights(0, self.n_models), len(thetas)
        each, ones = np.arange(n), np.zeros(n, np.intp)
        rows = _kernels.LaneRows(
            self.shared.rows,
            self.shared.row_at,
            weights,
            self.codes(0, 1),
            None,
            each if weights is not None and len(weights) > 1 else ones,
            ones,
            ones,
            np.ones((n, 2)),
            self.shared.common is not None,
        )
        sums, wrong = np.empty((2, n))
        inward = np.ascontiguousarray(self.reduction.inward(thetas, n_threads))
        rows.losses(each, inward, False, sums, wrong, n_threads)
        totals = np.float64(len(self.shared.packed.origin.labels))
        if weights is not None:
            totals = weights.sum(axis=1, dtype=np.float64)
        return np.where(totals > 0, sums / np.where(totals > 0, totals, 1.0), np.nan)

    def fit(
        self, first: int, last: int, effort: Effort, theta0: Float64Array | None = None
    ) -> Fitted:
        """Fit some models: arrays of shape (last - first, n_folds, ...)."""
        models, sums = self.lane_models(first, last)
        inward = None if theta0 is None else self.reduction.inward(theta0, effort.n_threads)
        fits = fit_lanes(self.shared, models, effort, inward)
        optima = fits.optima
        validation = self.validate(models, sums, optima.thetas) if self.has_folds else None
        slopes = None
        if self.groups is not None:
            slopes = self.groups.slopes(fits, sums.sum(axis=2).ravel())
        thetas, moved = self.reduction.outward(optima.thetas)
        gaps = logistic_gap_after_rounding(optima.gap_bounds, moved)
        return Fitted(
            LaneOptima(thetas, optima.losses, gaps, optima.n_iter, optima.status),
            validation,
            slopes,
        )

    def lane_models(self, first: int, last: int) -> tuple[LaneModels, Float64Array]:
        """Return some models without each fold, and the weights of both labels in each fold."""
        shared, n_folds = self.shared, self.shared.n_folds
        numbers = np.arange(last - first)
        weights, codes = self.weights(first, last), self.codes(first, last)
        weight_of = numbers if weights is not None and len(weights) > 1 else 0 * numbers
        code_of = numbers if len(codes) > 1 else 0 * numbers
        n = len(numbers)
        ones, everything = np.ones((n, 2)), np.zeros(n, np.intp)
        sums = np.zeros((n, n_folds, 2))
        rows = (shared.rows, shared.row_at, weights, codes, shared.fold, weight_of, code_of)
        _kernels.LaneRows(*rows, everything, ones, shared.common is not None).class_sums(
            n_folds, sums
        )
        trained = training_sums(sums, self.has_folds, first)
        factors = np.ones_like(trained)
        for at in np.flatnonzero([self.choices[c] is not None for c in self.choice_of[first:last]]):
            choice = self.choices[self.choice_of[first + at]]
            factors[at] = [class_factors(choice, pair) for pair in trained[at]]
        totals = (trained * factors).sum(axis=-1)
        l2 = np.ascontiguousarray(self.l2[first:last])
        penalties, centres, number_of = self.penalties_of(first, last, l2.ravel(), n_folds)
        left_out = np.arange(n_folds) if self.has_folds else np.full(1, -1)
        models = LaneModels(
            weights,
            codes,
            np.repeat(weight_of, n_folds),
            np.repeat(code_of, n_folds),
            np.tile(left_out, n),
            factors.reshape(-1, 2),
            1 / totals.ravel(),
            self.reduction.l2(l2.ravel()),
            penalties,
            centres,
            number_of,
        )
        return models, sums

    def penalties_of(
        self, first: int, last: int, l2: Float64Array, n_folds: int
    ) -> tuple[Float64Array, Float64Array, IndexArray]:
        """Return penalties and centres of some models without each fold, and a number for each
        different row of penalties."""
        row_of = np.repeat(np.arange(first, last), n_folds)
        factor_of, centre_of = (
            row_of if len(table) > 1 else 0 * row_of
            for table in (self.penalties.factors, self.penalties.centres)
        )
        factors = self.penalties.factors[factor_of]
        centres = self.penalties.centres[centre_of]
        # The intercept's column has no units.
        strengths = np.repeat(self.reduction.l2(l2)[:, None], self.shared.n_params, axis=1)
        strengths[:, self.shared.packed.n_features :] = l2[:, None]
        different = [l2, factor_of]
        if self.is_standardized:
            squares, which = self.squared_deviations(first, last)
            strengths[:, : squares.shape[1]] *= squares[which]
            different.append(which)
        with np.errstate(invalid="ignore"):
            penalties = np.where(np.isinf(factors), np.inf, strengths * factors)
        _, number_of = np.unique(np.stack(different, axis=1), axis=0, return_inverse=True)
        centres = self.reduction.inward(centres, self.shared.n_threads)
        return penalties, np.ascontiguousarray(centres), number_of.astype(np.intp).ravel()

    def squared_deviations(self, first: int, last: int) -> tuple[Float64Array, IndexArray]:
        """Return squares of the columns' deviations over training rows, those of a set of weights
        without each fold, one after the other, and which of them are those of some models."""
        X, n_folds = self.reduction.X, self.shared.n_folds
        weights = self.weights(first, last)
        sets = np.ones((1, len(X))) if weights is None else weights.astype(np.float64)
        fold = self.shared.fold if self.shared.fold is not None else np.zeros(len(X), np.intp)
        left_out = list(range(n_folds)) if self.has_folds else [-1]
        found = np.concatenate([deviations(X, of_rows, fold, left_out) for of_rows in sets])
        which = np.arange(len(found) if len(sets) > 1 else n_folds)
        return np.square(found), which if len(sets) > 1 else np.tile(which, last - first)

    def validate(
        self, models: LaneModels, sums: Float64Array, thetas: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return mean loss and accuracy on the rows of the fold that each model left out."""
        return held_out(self.shared, models, thetas, sums.sum(axis=2).ravel())


def training_sums(sums: Float64Array, has_folds: bool, first: int = 0) -> Float64Array:
    """Return the weights of both labels in all folds but each, none of them 0, given those in each
    fold: arrays of shape (n, n_folds, 2). `first` is the number of the first model."""
    n_folds = sums.shape[1]
    if not has_folds:
        trained = sums
    else:
        # Not by subtraction, which may round to 0.
        others = [np.arange(n_folds) != f for f in range(n_folds)]
        trained = np.stack([sums[:, which].sum(axis=1) for which in others], axis=1)
    if not trained.all():
        model, fold, _ = np.argwhere(trained == 0)[0].tolist()
        without = f" without fold {fold}" if has_folds else ""
        raise ValueError(
            f"model {first + model}{without} has weight in rows of one class at most: pass "
            "weights and labels that give each model both classes to train on; to bootstrap, "
            "more rows or kind='bayesian'."
        )
    if has_folds and not sums.sum(axis=2).all():
        model, fold = np.argwhere(sums.sum(axis=2) == 0)[0].tolist()
        raise ValueError(
            f"sample_weight is 0 for all rows of fold {fold} in model {first + model}: pass "
            "weights and folds that leave rows to validate on."
        )
    return trained


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Some models, in the units of X's columns, and what they are worth on the folds left out:
    losses and accuracies, and `slopes` of the former for logarithms of penalties."""

    optima: LaneOptima
    validation: tuple[Float64Array, Float64Array] | None
    slopes: Float64Array | None


def held_out(
    shared: SharedRows, models: LaneModels, thetas: Float64Array, totals: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return mean loss and accuracy of models on the rows of the fold that each has left out, whose
    weights, those of classes not counted, have these totals."""
    n = len(models.l2)
    rows = _kernels.LaneRows(
        shared.rows,
        shared.row_at,
        models.weights,
        models.codes,
        shared.fold,
        models.weight_of,
        models.code_of,
        models.left_out,
        np.ones((n, 2)),
        shared.common is not None,
    )
    losses, wrong = np.empty((2, n))
    rows.losses(np.arange(n), thetas, True, losses, wrong, shared.n_threads)
    return losses / totals, (totals - wrong) / totals
