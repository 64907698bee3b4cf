"""When a step has led downhill, and what is done where it has not: all fits in Python share it.

Those of compiled fits are in src/courses.pxi.
"""

from __future__ import annotations

import numpy as np

from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Part of what the slope promises by which a loss has to fall, as Armijo has it; how often a step is
# halved until it does; and the part of a loss below which differences of losses are rounding.
ARMIJO, HALVINGS, ROUNDING = 1e-4, 60, 1e-13


def falls_enough(found: Float64Array, before: Float64Array, promised: Float64Array) -> BoolArray:
    """Whether losses have fallen by enough of what the slopes promised for these steps, or stayed
    but for rounding."""
    with np.errstate(invalid="ignore"):
        wanted = before - ARMIJO * promised + ROUNDING * np.abs(before)
        return np.asarray(found <= wanted)


class Halving:
    """Steps of several models, which are halved until the losses fall.

    Attributes
    ----------
    trying : array
        Numbers of the models whose losses have not fallen yet.
    sizes : array of shape (n_models,)
        The part of its step that each model goes, 0 where none leads downhill.
    """

    def __init__(self, before: Float64Array, promised: Float64Array) -> None:
        self._before, self._promised, self._n_tried = before, promised, 0
        self.trying: IndexArray = np.arange(len(before))
        self.sizes: Float64Array = np.ones(len(before))

    def judge(self, losses: Float64Array) -> BoolArray:
        """Say which of the models that are tried have fallen, given their losses where these steps
        lead; the steps of the others are halved, or given up."""
        at = self.trying
        falls = falls_enough(losses, self._before[at], self.sizes[at] * self._promised[at])
        self.trying, self._n_tried = at[~falls], self._n_tried + 1
        self.sizes[self.trying] /= 2
        if self._n_tried == HALVINGS:
            self.sizes[self.trying] = 0.0
            self.trying = self.trying[:0]
        return falls
