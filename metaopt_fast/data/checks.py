"""Checks of what is packed: rows, labels, weights and groups of a caller, each as one array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import IndexArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.labels import read_labels, short
from metaopt_fast.validation.values import as_real_array, describe, to_float64


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
    wanted = "one label for each row, a number, a string or a truth value"
    labels = read_labels("y", y, wanted, may_be_column=True)
    if len(labels.codes) != n_samples:
        raise ValueError(
            f"y has {len(labels.codes)} labels, but X has {n_samples} rows: pass one label for "
            "each row."
        )
    classes = labels.values
    for label in (classes[0], classes[-1]) if classes else ():
        if isinstance(label, (float, np.floating)) and not math.isfinite(float(label)):
            row = int(np.argmax(labels.codes == classes.index(label)))
            raise ValueError(f"y has {label} in row {row}: pass {wanted}.")
    if len(classes) != 2:
        shown = ", ".join(map(short, classes[:4])) + (", ..." if len(classes) > 4 else "")
        noun = "class" if len(classes) == 1 else "classes"
        raise ValueError(f"y holds {len(classes):,} {noun} ({shown}): pass labels of two.")
    return classes, labels.codes == 1


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
