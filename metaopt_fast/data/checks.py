"""Checks of what is packed: rows, labels, weights and groups of a caller, each as one array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import IndexArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.labels import Labels, read_labels, short
from metaopt_fast.validation.values import as_real_array, check_integer, describe, to_float64

LABELS_WANTED = "one label for each row, a number, a string or a truth value"


def check_X(X: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return X as a two-dimensional array of real numbers, not copied where it is one."""
    array = as_numbers("X", X, 2, "an array of shape (n_samples, n_features)")
    if 0 in array.shape:
        raise ValueError(f"X has shape {array.shape}: pass at least one row and one column.")
    return array


def check_y(y: npt.ArrayLike, n_samples: int) -> npt.NDArray[np.bool_]:
    """Return which rows are of the positive class."""
    return check_classes(y, n_samples)[1]


def check_classes(y: npt.ArrayLike, n_samples: int) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    """Return the two labels, the lesser first, and which rows have the greater one."""
    classes, codes = check_labels(y, n_samples)
    if len(classes) != 2:
        raise ValueError(f"y holds {shown(classes)}: pass labels of two.")
    return classes, codes == 1


def check_labels(y: npt.ArrayLike, n_samples: int) -> Labels:
    """Return the different labels, the least first, and which one is each row's."""
    labels = check_some_labels("y", y)
    if len(labels.codes) != n_samples:
        raise ValueError(
            f"y has {len(labels.codes)} labels, but X has {n_samples} rows: pass one label for "
            "each row."
        )
    return labels


def check_some_labels(name: str, y: npt.ArrayLike) -> Labels:
    """Return the same of labels of that name, however many there are."""
    labels = read_labels(name, y, LABELS_WANTED, may_be_column=True)
    classes = labels.values
    for label in (classes[0], classes[-1]) if classes else ():
        if isinstance(label, (float, np.floating)) and not math.isfinite(float(label)):
            row = int(np.argmax(labels.codes == classes.index(label)))
            raise ValueError(f"{name} has {label} in row {row}: pass {LABELS_WANTED}.")
    return labels


def shown(classes: list[Any]) -> str:
    """Return how many classes there are, and the first ones, for an error."""
    some = ", ".join(map(short, classes[:4])) + (", ..." if len(classes) > 4 else "")
    return f"{len(classes):,} {'class' if len(classes) == 1 else 'classes'} ({some})"


def check_whole_labels(
    y: npt.ArrayLike, n_samples: int, n_classes: int | None, most: int
) -> tuple[int, IndexArray]:
    """Return the number of classes, and that of each row, from 0 on."""
    classes, codes = check_labels(y, n_samples)
    cure = "numpy.unique(y, return_inverse=True)[1]"
    if not all(_is_whole(label) for label in classes):
        raise ValueError(f"y holds {shown(classes)}: pass whole numbers from 0 on, as {cure}.")
    greatest = int(classes[-1])
    count = greatest + 1 if n_classes is None else check_integer("n_classes", n_classes, 2, most)
    if greatest >= count:
        raise ValueError(f"y holds {greatest}, but n_classes is {count}: pass a larger one.")
    if n_classes is None and len(classes) < count:
        raise ValueError(
            f"y holds {shown(classes)}, not all from 0 to {greatest}: pass n_classes, or {cure}."
        )
    if not 2 <= count <= most:
        raise ValueError(
            f"y holds {shown(classes)}: pass labels of 2 to {most:,} classes, or n_classes."
        )
    return count, np.array([int(label) for label in classes], np.intp)[codes]


def _is_whole(label: Any) -> bool:
    """Whether a label is a number 0, 1, 2, ..."""
    is_number = isinstance(label, (int, float)) and not isinstance(label, bool)
    return is_number and label >= 0 and label == int(label)


@shielded
def check_sample_weight(
    sample_weight: npt.ArrayLike | None, n_samples: int
) -> npt.NDArray[np.float64]:
    """Return the weights, divided by a power of two that brings the largest into [1, 2)."""
    if sample_weight is None:
        return np.ones(n_samples)
    wanted = "an array of shape (n_samples,) of finite numbers >= 0"
    array = as_numbers("sample_weight", sample_weight, 1, wanted)
    if array.shape[0] != n_samples:
        raise ValueError(
            f"sample_weight has {array.shape[0]} entries, but X has {n_samples} rows: pass one "
            "weight for each row."
        )
    weights = to_float64(array)
    if not np.isfinite(weights).all():
        at = int(np.argmin(np.isfinite(weights)))
        raise ValueError(f"sample_weight has {weights[at]} in row {at}: pass {wanted}.")
    if (weights < 0).any():
        at = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight has {weights[at]:g} in row {at}: pass {wanted}.")
    if not weights.any():
        raise ValueError("sample_weight is 0 for every row: pass at least one positive weight.")
    return np.ldexp(weights, 1 - math.frexp(weights.max())[1])


def unit_of(sample_weight: npt.ArrayLike) -> float:
    """Return the power of two that `check_sample_weight` divides by."""
    return math.ldexp(1.0, math.frexp(float(np.max(np.asarray(sample_weight, float))))[1] - 1)


def check_groups(
    groups: npt.ArrayLike | None, n_samples: int
) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Return the labels of the groups, and the number of each row's."""
    if groups is None:
        return [None], np.zeros(n_samples, np.intp)
    wanted = "one number, string or bool for each row"
    labels = read_labels("groups", groups, wanted)
    if len(labels.codes) != n_samples:
        raise ValueError(
            f"groups has shape {labels.codes.shape}, but X has {n_samples} rows: pass {wanted}."
        )
    return labels.values, labels.codes


def check_rows(rows: npt.ArrayLike, n_samples: int) -> IndexArray:
    """Return the numbers of rows that integers or a mask choose, as NumPy would index with them."""
    wanted = f"whole numbers from 0 to {n_samples - 1}, or a mask of shape ({n_samples},)"
    array = as_real_array("rows", rows, 1, wanted)
    if array.dtype.kind == "b":
        if array.shape != (n_samples,):
            raise ValueError(
                f"rows is a mask of {array.size} entries, but there are {n_samples} rows: pass "
                f"{wanted}."
            )
        array = np.flatnonzero(array)
    if array.size == 0:
        raise ValueError(f"rows chooses no row: pass {wanted}.")
    if array.dtype.kind not in "iu":
        raise TypeError(f"rows is {describe(rows)}: pass {wanted}.")
    if int(array.min()) < -n_samples or int(array.max()) >= n_samples:
        bad = int(array.min()) if int(array.min()) < -n_samples else int(array.max())
        raise ValueError(f"rows has {bad}, but there are {n_samples} rows: pass {wanted}.")
    numbers = array.astype(np.intp)
    numbers[numbers < 0] += n_samples
    return numbers
