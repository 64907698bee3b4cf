"""Losses of a generation, exact where they decide: of the others, what is known of them will do.

An objective that bounds its losses from both sides, for a part of their cost, is asked for exact
ones of the candidates that may be among the best, or in the middle, or below a threshold. What
others have in place of a loss lies within its bounds. That changes no order that is looked at: a
candidate is left out where as many others are certainly below it, or above it, as it takes to keep
it from a position, and so is every number within its bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metaopt_fast.runs.evaluation import batch_loss
from metaopt_fast.runs.spread import Spread
from metaopt_fast.typing import Array, BoolArray
from metaopt_fast.validation.overrides import may_ask

# Part of a generation that may need exact losses, for bounds to pay: those of areas take a sixth of
# their time (2000 x 20 rows), those of sums 0.43 (bench_objectives.py has an evolution by them).
WORTH_BOUNDING = 0.5
# Generations without bounds after one where these did not help: they double up to so many.
LONGEST_PAUSE = 64


class Losses:
    """The losses of generations, asked of one objective, here or by the workers of an executor.

    Workers give all losses exactly: bounds would have to be waited for.
    """

    def __init__(self, objective: Any, executor: Any = None) -> None:
        self.objective, self.spread = objective, Spread(executor, objective)
        self._may_bound = executor is None and may_ask(objective, "_loss_bounds")
        self._pause = self._waiting = 0

    def of(self, thetas: Array, n_best: int | None, threshold: float) -> Array:
        """Return the losses of a generation.

        Parameters
        ----------
        thetas : numpy.ndarray of shape (n_candidates, n_params)
        n_best : int or None
            Number of the best whose losses have to be exact, as have the middle ones; None for all.
        threshold : float
            All losses below it have to be exact.
        """
        self._waiting = max(0, self._waiting - 1)
        bounds = None
        if self._may_bound and threshold < np.inf and not self._waiting:
            bounds = self.objective._loss_bounds(thetas) if n_best is not None else None
        if bounds is None or n_best is None:
            return np.concatenate([*self.spread.over(batch_loss, thetas, len(thetas))])
        lower, upper = bounds
        which = np.flatnonzero(decides(lower, upper, n_best, threshold))
        if len(which) > WORTH_BOUNDING * len(thetas):
            self._pause = min(max(1, 2 * self._pause), LONGEST_PAUSE)
            self._waiting = self._pause + 1
        else:
            self._pause = 0
        losses: Array = lower.copy()
        losses[which] = self.objective.batch_loss(thetas[which])
        return losses


def decides(lower: Array, upper: Array, n_best: int, threshold: float) -> BoolArray:
    """Return which candidates may be among the n_best lowest, in the middle or below a threshold.

    Losses are from `lower` to `upper`, which may be NaN where nothing is known.
    """
    lower, upper = np.where(lower <= upper, [lower, upper], [[-np.inf], [np.inf]])
    n = len(lower)
    # How many others are certainly below each candidate, and above it.
    below = np.searchsorted(np.sort(upper), lower, side="left")
    above = n - np.searchsorted(np.sort(lower), upper, side="right")
    may_decide: BoolArray = (below < n_best) | (lower < threshold)
    for position in middle(n):
        may_decide |= (below <= position) & (above <= n - 1 - position)
    return may_decide


def middle(n: int) -> tuple[int, int]:
    """Return the positions of n sorted losses that their median is made of."""
    return (n - 1) // 2, n // 2


def median(ranks: Array) -> float:
    """Return the median of sorted losses, of which some may be infinite."""
    low, high = (float(ranks[position]) for position in middle(len(ranks)))
    return low if low == high else low / 2 + high / 2
