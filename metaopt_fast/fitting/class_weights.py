"""Weights of classes: what is asked for, checked, and the factors of rows that come of it.

``selection`` and ``sklearn`` weigh their sums by the same factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import describe

# Of the weights of two classes: the mean of the lighter class' losses would underflow.
LEAST_RATIO = 1e-200
ClassWeight = str | Mapping[int, float] | None


def check_class_weight(
    class_weight: ClassWeight | Sequence[ClassWeight], classes: Sequence[Any] = (0, 1)
) -> tuple[list[ClassWeight], IndexArray | None]:
    """Return the distinct choices, and which one is each model's (None: there is but one)."""
    if class_weight is None or isinstance(class_weight, (str, Mapping)):
        return [_check_choice(class_weight, classes)], None
    if not isinstance(class_weight, Sequence) or not len(class_weight):
        raise TypeError(
            f"class_weight is {describe(class_weight)}: pass None, 'balanced', a dict of the "
            "weights of both classes, or a list of one of these for each model."
        )
    choices: list[ClassWeight] = []
    choice_of = []
    for choice in (_check_choice(choice, classes) for choice in class_weight):
        if choice not in choices:
            choices.append(choice)
        choice_of.append(choices.index(choice))
    return choices, np.array(choice_of)


def _check_choice(choice: ClassWeight, classes: Sequence[Any]) -> ClassWeight:
    # -1 and +1 are classes 0 and 1, too; of other labels, 1 might be the lesser one.
    keys = [0, 1] if list(classes) in ([0, 1], [-1, 1]) else list(classes)
    shown = " and ".join(map(repr, keys))
    wanted = f"None, 'balanced', or a dict of the weights of classes {shown}, finite and above 0"
    if choice is None or (isinstance(choice, str) and choice == "balanced"):
        return choice
    if not isinstance(choice, Mapping):
        error = ValueError if isinstance(choice, str) else TypeError
        raise error(f"class_weight is {describe(choice)}: pass {wanted}.")
    for label, weight in choice.items():
        if label not in keys:
            raise ValueError(
                f"class_weight has the key {label!r}, and y the labels {shown}: pass {wanted}."
            )
        if not isinstance(weight, (int, float, np.number)) or not 0 < weight < math.inf:
            raise ValueError(f"class_weight has {weight!r} for class {label!r}: pass {wanted}.")
    weights = {k: float(choice.get(key, 1.0)) for k, key in enumerate(keys)}
    low, high = min(weights.values()), max(weights.values())
    if low / high < LEAST_RATIO:
        raise ValueError(
            f"class_weight has {low:g} for one class and {high:g} for the other: pass weights of "
            f"a ratio of {LEAST_RATIO:g} or more."
        )
    return weights


def class_factors(choice: ClassWeight, sums: Float64Array) -> Float64Array:
    """Return what the weights of each class are multiplied by, given their sums."""
    if isinstance(choice, Mapping):
        return np.array([choice.get(k, 1.0) for k in range(len(sums))])
    if choice is None:
        return np.ones(len(sums))
    return cast(Float64Array, sums.sum() / (len(sums) * sums))


def split_exponent(factors: Float64Array) -> tuple[Float64Array, int]:
    """Return factors of which the largest is from 1 to 2, and by which power of two they are too
    small: sums of weights times huge factors would overflow."""
    exponent = int(np.frexp(factors.max())[1]) - 1
    return np.ldexp(factors, -exponent), exponent
