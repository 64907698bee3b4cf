"""Rows that judge descents, which they do not see."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaopt_fast.runs.evaluation import batch_loss, is_objective, traits
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.overrides import check_overrides
from metaopt_fast.validation.values import describe


class HeldOut:
    """What K descents ask of the rows that judge them.

    Parameters
    ----------
    objective : object with ``batch_loss``
    """

    largest: float

    def __init__(self, objective: Any) -> None:
        self.objective: Any = objective
        self.largest = largest_of(objective)

    def loss(self, theta: Float64Array) -> Float64Array:
        """Return the losses of K thetas; infinity where it is no finite number."""
        inside = np.maximum.reduce(np.abs(theta), axis=1) <= self.largest
        losses = np.full(len(theta), np.inf)
        if inside.any():
            found = batch_loss(self.objective, theta if inside.all() else theta[inside])
            losses[inside] = np.where(np.isfinite(found), found, np.inf)
        return losses

    def judge(
        self, n_rounds: int, runs: IndexArray, losses: Float64Array, status: IndexArray | None
    ) -> IndexArray | None:
        """Return the status of descents that some rounds of steps have led to their lowest losses
        so far, given the numbers of these descents, and the status that they have; None: all go on.
        """
        return status


def largest_of(objective: Any) -> float:
    """Return the largest number of an objective's precision."""
    single = traits(objective).dtype == "float32"
    return float(np.finfo(np.float32 if single else np.float64).max)


def read_held_out(objective: Any, validation: Any) -> HeldOut:
    """Return what judges the descents of an objective, checked."""
    judge = validation if isinstance(validation, HeldOut) else HeldOut(validation)
    check_held_out(objective, judge.objective)
    return judge


def check_held_out(objective: Any, validation: Any) -> None:
    """Raise TypeError or ValueError for what cannot judge the descents of an objective."""
    if not is_objective(validation) or isinstance(validation, type):
        raise TypeError(
            f"validation is {describe(validation)}: pass a LogisticLoss on the rows to judge by."
        )
    check_overrides("validation", validation, "batch_loss", "loss", "auc", "batch_auc")
    if traits(objective).n_params not in (None, validation.n_params):
        raise ValueError(
            f"validation has {validation.n_params} parameters, but objective has "
            f"{objective.n_params}: pass rows of the same columns."
        )
    l2 = traits(validation).l2 or 0.0
    if l2 != 0:
        raise ValueError(
            f"validation has l2={l2:g}: pass an objective with l2=0, whose loss judges "
            "descents of any penalty alike."
        )
