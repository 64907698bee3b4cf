"""The models of resampled rows: what is common to them, and batch after batch of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_X
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.differing_arguments import Labels, Penalties
from metaopt_fast.fitting.fit_differing import check_n_params
from metaopt_fast.fitting.lane_fits import LaneOptima
from metaopt_fast.fitting.resample_tuning import LANES, Tuning
from metaopt_fast.fitting.resamples import FRACTION, drawn_weights
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.progress import Progress
from metaopt_fast.runs.spread import Made, Spread
from metaopt_fast.typing import BootstrapKind, Float64Array, IndexArray, ResampleKind
from metaopt_fast.validation.values import check_flag, check_integer, describe


def model_to_resample(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    penalty: tuple[float, npt.ArrayLike | None, npt.ArrayLike | None],
    class_weight: ClassWeight,
    fit_intercept: bool,
    effort: Effort,
) -> Differing:
    """Return the model of all rows, of arguments that are checked; `penalty` are l2, factors and
    the centre."""
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    array = check_X(X)
    labels = Labels.of(y, len(array))
    if not labels.is_common:
        raise ValueError(f"y has shape {labels.shape}: pass one label for each row.")
    l2, penalty_factor, center = penalty
    choices, choice_of = check_class_weight(class_weight, labels.classes)
    penalties = Penalties.of(penalty_factor, center, array.shape[1], fit_intercept)
    if choice_of is not None or len(penalties.factors) > 1 or len(penalties.centres) > 1:
        raise ValueError(
            "class_weight, penalty_factor or center has an entry for each of many models: pass "
            "those of one."
        )
    check_n_params(array.shape[1], fit_intercept)
    of_one = (choices, np.zeros(1, np.intp), np.full((1, 1), l2), penalties, fit_intercept, effort)
    return Differing.of(array, labels, None, lambda first, last: None, 1, *of_one)


def warn_of_unproven(n_unproven: int, n_models: int, what: str) -> None:
    """Warn the caller of the caller's caller of models that are not proven."""
    if n_unproven:
        warnings.warn(
            f"{n_unproven} of {n_models} {what} did not converge to a proven optimum: pass a "
            "larger l2, or features that are standardised.",
            RuntimeWarning,
            stacklevel=4,
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise an error unless a value is one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} is {describe(value)}: pass one of {', '.join(map(repr, choices))}."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Some resamples: arrays over them.

    `own`, `on_all` and `left_out` are mean losses on a resample's own rows, on all and on those
    that it left out, NaN where there are none; `objectives` have the penalty in them; `n_unproven`
    counts models without a fold, of those that a penalty was chosen by.
    """

    thetas: Float64Array
    l2: Float64Array
    own: Float64Array
    on_all: Float64Array
    left_out: Float64Array
    gap_bounds: Float64Array
    objectives: Float64Array
    n_unproven: IndexArray

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return the resamples of several batches."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """The models of resamples, batch after batch.

    `models` is that of all rows. With `tuning`, each resample chooses its penalty; else it is that
    of `models`.
    """

    models: Differing
    effort: Effort
    seed: int
    kind: BootstrapKind
    groups: npt.ArrayLike | None
    tuning: Tuning | None

    @property
    def batch(self) -> int:
        """How many resamples are fitted together."""
        return self.models.batch if self.tuning is None else self.tuning.batch

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.models.shared.packed.origin.labels)

    def weights(self, first: int, last: int, kind: ResampleKind) -> npt.NDArray[Any]:
        """Return the weights of some resamples."""
        count, n_threads = last - first, self.effort.n_threads
        asked = (self.n_samples, count, self.seed, kind, FRACTION, self.groups, first, n_threads)
        return drawn_weights(*asked)

    def run(self, spread: Spread, n_resamples: int, line: Progress) -> Resampled:
        """Fit all resamples, or those until Ctrl-C, by what these are spread over."""
        found: list[Resampled] = []
        try:
            for some in spread.over(fit_some, range(n_resamples), self.batch, LANES):
                found.append(some)
                line.update(len(some.l2), float(some.own.mean()))
        except KeyboardInterrupt:
            if not found:
                raise
        return Resampled.joined(found)

    def fit(self, first: int, last: int) -> Resampled:
        """Fit some resamples."""
        weights = self.weights(first, last, self.kind)
        optima, l2, n_unproven = self.optima(weights)
        return Resampled(
            optima.thetas,
            l2,
            self.losses(optima.thetas, weights),
            self.losses(optima.thetas, None),
            self.losses(optima.thetas, (weights == 0).view(np.uint8)),
            optima.gap_bounds,
            optima.losses,
            n_unproven,
        )

    def optima(
        self, weights: npt.NDArray[Any] | None
    ) -> tuple[LaneOptima, Float64Array, IndexArray]:
        """Return the models of weighted rows, or the one of all, their penalties, and how many of
        the models that these were chosen by are not proven."""
        n = 1 if weights is None else len(weights)
        if self.tuning is None:
            l2, n_unproven = np.full(n, self.models.l2[0, 0]), np.zeros(n, np.intp)
        else:
            l2, n_unproven = self.tuning.choose(weights, self.effort)
        return self.models.with_weights(weights, l2).fit(0, n, self.effort).optima, l2, n_unproven

    def losses(self, thetas: Float64Array, weights: npt.NDArray[Any] | None) -> Float64Array:
        """Return the mean losses of models on weighted rows."""
        return self.models.with_weights(weights).mean_losses(thetas, self.effort.n_threads)

    def jackknife(self, spread: Spread) -> Float64Array:
        """Return the models without each row, or without each group."""
        n = self.n_samples if self.groups is None else len(np.unique(np.asarray(self.groups)))
        return np.concatenate([*spread.over(thetas_without, range(n), self.batch, LANES)])


def resamples_of(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    penalty: tuple[float, npt.ArrayLike | None, npt.ArrayLike | None],
    class_weight: ClassWeight,
    fit_intercept: bool,
    effort: Effort,
    seed: int,
    kind: BootstrapKind,
    groups: npt.ArrayLike | None,
    tuned: tuple[npt.ArrayLike | None, npt.ArrayLike | None],
) -> Resamples:
    """Return the resamples of a model; `tuned` are penalties to choose from, and folds."""
    models = model_to_resample(X, y, penalty, class_weight, fit_intercept, effort)
    tune, folds = tuned
    tuning = None if tune is None else Tuning.of(models, tune, folds, groups)
    return Resamples(models, effort, check_integer("seed", seed, 0), kind, groups, tuning)


@shielded
def fit_some(held: Made[Resamples], numbers: range) -> Resampled:
    """Fit the resamples of these numbers."""
    return held.value.fit(numbers.start, numbers.stop)


@shielded
def thetas_without(held: Made[Resamples], numbers: range) -> Float64Array:
    """Return the models without the rows, or the groups, of these numbers."""
    resamples = held.value
    weights = resamples.weights(numbers.start, numbers.stop, "jackknife")
    return resamples.optima(weights)[0].thetas
