"""Arguments of `fit_many`, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import as_real_array, describe, to_float64

# Of the weights of two classes: the mean of the lighter class' losses would underflow.
LEAST_RATIO = 1e-200
ClassWeight = str | Mapping[int, float] | None


def check_folds(folds: npt.ArrayLike | None, n_samples: int) -> npt.NDArray[np.intp]:
    """Return the fold of each row; 0 of all without folds."""
    wanted = "an array of shape (n_samples,) of integers from 0, at least two and none left out"
    if folds is None:
        return np.zeros(n_samples, np.intp)
    array = as_numbers("folds", folds, 1, wanted)
    if len(array) != n_samples:
        raise ValueError(
            f"folds has {len(array)} entries, but X has {n_samples} rows: pass {wanted}."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"folds has dtype {array.dtype}: pass {wanted}.")
    numbers = np.unique(array)
    if len(numbers) < 2 or not np.array_equal(numbers, np.arange(len(numbers))):
        shown = ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(f"folds holds the numbers {shown}: pass {wanted}.")
    return array.astype(np.intp)


def check_l2(l2: npt.ArrayLike, n_folds: int | None, n_choices: int | None) -> Float64Array:
    """Return the penalties, shape (M, 1) or (M, n_folds)."""
    wanted = "a number, or an array of shape (M,) or (M, n_folds), finite and >= 0"
    if isinstance(l2, (str, bytes, bool)) or l2 is None:
        raise TypeError(f"l2 is {describe(l2)}: pass {wanted}.")
    n_axes = _n_axes(l2)
    given = l2 if n_axes else np.atleast_1d(cast(Any, l2))
    array = _numbers("l2", given, min(2, max(1, n_axes)), wanted)
    if array.size == 0:
        raise ValueError(f"l2 has shape {array.shape}: pass {wanted}.")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"l2 has {array[bad][0]}: pass {wanted}.")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[1] != (n_folds or 1):
        raise ValueError(
            f"l2 has shape {array.shape}, but there "
            + ("are no folds" if n_folds is None else f"are {n_folds} folds")
            + f": pass {wanted}."
        )
    if n_choices is not None and n_choices != len(array):
        raise ValueError(
            f"class_weight has {n_choices} entries, but l2 has {len(array)}: pass one for each "
            "model, or a single one for all."
        )
    return array


def check_class_weight(
    class_weight: ClassWeight | Sequence[ClassWeight], classes: Sequence[Any] = (0, 1)
) -> tuple[list[ClassWeight], npt.NDArray[np.intp] | None]:
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
    low, high = sorted(weights.values())
    if low / high < LEAST_RATIO:
        raise ValueError(
            f"class_weight has {low:g} for one class and {high:g} for the other: pass weights of "
            f"a ratio of {LEAST_RATIO:g} or more."
        )
    return weights


def _n_axes(value: Any) -> int:
    """Return the number of dimensions; 1 of a ragged list, which `as_real_array` refuses."""
    try:
        return np.ndim(value)
    except (ValueError, TypeError):
        return 1


def _numbers(name: str, given: object, n_axes: int, wanted: str) -> Float64Array:
    """Return an array of float64; True is no number of a model, but a flag in a wrong place."""
    array = as_real_array(name, given, n_axes, wanted)
    if array.dtype.kind == "b":
        raise TypeError(f"{name} is {describe(array)}: pass {wanted}.")
    return to_float64(array)


def check_theta0(theta0: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    """Return a start for each model, shape (M * n_folds, n_params)."""
    wanted = f"finite numbers of a shape that broadcasts to {shape}"
    array = _numbers("theta0", theta0, _n_axes(theta0), f"an array of {wanted}")
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"theta0 has shape {array.shape}: pass {wanted}.") from None
    if not np.isfinite(full).all():
        raise ValueError(f"theta0 has an entry that is not finite: pass {wanted}.")
    return np.ascontiguousarray(full.reshape(-1, shape[-1]))


def check_training_sets(sums: Float64Array, has_folds: bool) -> None:
    """Raise an error where the rows to train on are of one class, or none are to validate on."""
    if not sums.sum(axis=0).all():
        raise ValueError(
            "sample_weight is 0 for all rows of one class: pass positive weights in both."
        )
    # Counted, as the difference of sums of weights may round to 0.
    positive = sums > 0
    for f, others in enumerate(positive.sum(axis=0) - positive):
        if has_folds and not others.all():
            raise ValueError(
                f"folds: without fold {f}, the rows are of one class: pass folds that leave both "
                "classes to train on."
            )
        if has_folds and not positive[f].any():
            raise ValueError(
                f"sample_weight is 0 for all rows of fold {f}: pass folds that hold rows to "
                "validate on."
            )
