"""The choice of a penalty within each resample, by folds of the rows that were there before it.

A resample has rows twice and more. Folds of its entries would hold copies out of rows that are
trained on, and choose penalties that are too weak: a copy is as well predicted as it was learned by
heart. So a fold is one of the rows before they are drawn: a row goes with all its copies, as its
weight, and what is chosen is what the same folds would choose from these weights by hand. Rows that
a resample leaves out have no part in the choice: they judge the model of the penalty that was
chosen, as they judge one of a given penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_groups
from metaopt_fast.fitting.arguments import Effort, check_folds
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.penalty_arguments import check_strengths
from metaopt_fast.fitting.result import are_proven
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import check_integer, describe

# Folds, where it is not said how many.
N_FOLDS = 5
# Resamples of which each has a lane, where lanes are most.
LANES = 24


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """Penalties to choose from, the strongest first, and models that leave each fold out."""

    models: Differing
    candidates: Float64Array

    @classmethod
    def of(
        cls,
        models: Differing,
        tune: npt.ArrayLike,
        folds: npt.ArrayLike | None,
        groups: npt.ArrayLike | None,
    ) -> Self:
        """Return the choice among checked penalties, by checked folds."""
        strengths = check_strengths("tune", tune, None)
        candidates = np.unique(strengths)[::-1]
        if len(candidates) < 2:
            raise ValueError(
                f"tune is {describe(tune)}: pass two penalties or more to choose from, or l2 where "
                "there is one."
            )
        factors = models.penalties.factors[0]
        if not (np.isfinite(factors) & (factors > 0)).any():
            raise ValueError(
                "penalty_factor leaves no parameter a penalty, and tune chooses the strength of "
                "one: pass a factor above 0, or l2 in the place of tune."
            )
        codes = models.codes(0, 1)[0].astype(np.intp)
        fold = folds_of_rows(N_FOLDS if folds is None else folds, codes, groups)
        return cls(models.with_folds(fold), candidates)

    @property
    def n_models(self) -> int:
        """How many models a resample is tuned by."""
        return len(self.candidates) * self.models.shared.n_folds

    @property
    def batch(self) -> int:
        """How many resamples are tuned together: as many models as take a moment."""
        return max(LANES, self.models.batch // len(self.candidates) // LANES * LANES)

    def choose(
        self, weights: npt.NDArray[Any] | None, effort: Effort
    ) -> tuple[Float64Array, IndexArray]:
        """Return the penalty whose models have the least mean loss on the folds that they leave
        out, the strongest of equal ones, for each row of weights; and how many of these models are
        not proven."""
        n = 1 if weights is None else len(weights)
        losses, n_unproven = np.empty((len(self.candidates), n)), np.zeros(n, np.intp)
        for found, l2 in zip(losses, self.candidates.tolist(), strict=True):
            fitted = self.models.with_weights(weights, np.full(n, l2)).fit(0, n, effort)
            assert fitted.validation is not None  # there are folds
            found[:] = fitted.validation[0].reshape(n, -1).mean(axis=1)
            optima = fitted.optima
            proven = are_proven(optima.gap_bounds, optima.losses, effort.tol)
            n_unproven += np.count_nonzero(~proven.reshape(n, -1), axis=1)
        return self.candidates[np.argmin(losses, axis=0)], n_unproven


def folds_of_rows(
    folds: npt.ArrayLike, codes: IndexArray, groups: npt.ArrayLike | None
) -> IndexArray:
    """Return the fold of each row; the rows of a group are in one."""
    if groups is None:
        return check_folds(folds, codes)
    labels, group_of = check_groups(groups, len(codes))
    if isinstance(folds, Integral):
        # Groups take turns, in the order of their labels.
        count = check_integer("folds", folds, 2, len(labels))
        return (group_of % count).astype(np.intp)
    fold = check_folds(folds, codes)
    first = np.full(len(labels), -1, np.intp)
    first[group_of] = fold
    cut = np.flatnonzero(first[group_of] != fold)
    if len(cut):
        label = labels[group_of[cut[0]]]
        raise ValueError(
            f"folds cut group {label!r}: pass the same fold for all rows of a group, or how many "
            "folds there are to be."
        )
    return fold
