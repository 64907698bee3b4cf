"""When a step has led downhill: constants that all fits in Python share.

Those of compiled fits are in src/kept.pxi.
"""

from __future__ import annotations

import numpy as np

from metaopt_fast.typing import BoolArray, Float64Array

# Part of what the slope promises by which a loss has to fall, as Armijo has it; how often a step is
# halved until it does; and the part of a loss below which differences of losses are rounding.
ARMIJO, HALVINGS, ROUNDING = 1e-4, 60, 1e-13


def falls_enough(found: Float64Array, before: Float64Array, promised: Float64Array) -> BoolArray:
    """Whether losses have fallen by enough of what the slopes promised for these steps, or stayed
    but for rounding."""
    with np.errstate(invalid="ignore"):
        wanted = before - ARMIJO * promised + ROUNDING * np.abs(before)
        return np.asarray(found <= wanted)
