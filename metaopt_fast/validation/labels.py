"""Labels of rows, compared as what they are: numbers exactly, text by its characters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation.frames import (
    as_frame,
    check_not_missing,
    described,
    is_column,
    is_missing,
    is_number,
    values_of,
)
from metaopt_fast.validation.values import as_array, check_dense, describe


class Labels(NamedTuple):
    """The different labels, the least first, and which one is each row's."""

    values: list[Any]
    codes: npt.NDArray[np.intp]


def read_labels(name: str, given: Any, wanted: str, *, may_be_column: bool = False) -> Labels:
    """Return the labels of an array, a list or a column of a frame, one for each row.

    May it be a column, the shape (n_samples, 1) is taken, too.
    """
    array = _as_they_are(name, given, wanted)
    if may_be_column and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "O" and array.ndim == 0:  # a dict, a generator, any one thing
        raise TypeError(f"{name} is {describe(array.item())}: pass {wanted}.")
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: pass {wanted}.")
    if array.dtype.kind in "OT":
        return labels_of_objects(name, array.tolist(), wanted)
    if array.dtype.kind not in "biufSU":
        raise TypeError(f"{name} has dtype {array.dtype}: pass {wanted}.")
    if array.dtype.kind == "f" and np.isnan(array).any():
        row = int(np.isnan(array).argmax())
        raise ValueError(f"{name} has nan in row {row}: fill it, or drop the row.")
    found = _of_two_numbers(array) if array.dtype.kind in "biuf" else None
    if found is not None:
        return found
    values, codes = np.unique(array, return_inverse=True)
    return Labels(list(map(_plain, values)), codes.astype(np.intp))


def _plain(label: Any) -> Any:
    """Return a label as Python's own, a long double, which has none, as the float that equals it:
    else it would be no whole number, and no file of a model would hold it."""
    plain = label.item() if isinstance(label, np.generic) else label
    return float(plain) if isinstance(plain, np.longdouble) and float(plain) == plain else plain


def _of_two_numbers(array: npt.NDArray[Any]) -> Labels | None:
    """Return labels that are two numbers, without sorting them; None of any others."""
    if array.size == 0:
        return None
    least, largest = array.min(), array.max()
    is_largest = array == largest
    n_others = np.count_nonzero(array == least)
    if n_others == len(array) or n_others + np.count_nonzero(is_largest) != len(array):
        return None
    return Labels([_plain(least), _plain(largest)], is_largest.astype(np.intp))


def _as_they_are(name: str, given: Any, wanted: str) -> npt.NDArray[Any]:
    """Return what was given as an array, each label as it was."""
    check_dense(name, given)
    frame = as_frame(name, given)
    if frame is not None and len(frame.names) == 1:
        (given,) = frame.columns
    elif frame is not None:
        shape = (frame.n_rows, len(frame.names))
        raise ValueError(f"{name} is a frame of shape {shape}: pass {wanted}.")
    if is_column(given):
        check_not_missing(name, given, None)
        given = values_of(given)
    array = _of_sequence(given) if isinstance(given, (list, tuple)) else None
    return as_array(name, given, wanted) if array is None else array


def _of_sequence(given: list[Any] | tuple[Any, ...]) -> npt.NDArray[Any] | None:
    """Return a sequence as an array; None if it has no shape."""
    kinds = set(map(type, given))
    if len(kinds) == 1 and is_number(kind := kinds.pop()):
        array = np.asarray(given)
        # Integers beyond those of the machine would be rounded.
        if (array.dtype.kind == "f") == issubclass(kind, (float, np.floating)):
            return array
    try:
        # Objects: NumPy makes one string of 1 and "1", and a float of a large integer beside one.
        return np.asarray(given, object)
    except ValueError:
        return None


def labels_of_objects(name: str, labels: list[Any], wanted: str) -> Labels:
    """Return the labels of Python objects; an integer equals a float of exactly its value."""
    kinds: dict[str, type] = {}
    for kind in dict.fromkeys(map(type, labels)):
        kinds.setdefault(_kind_of(kind), kind)
    if {"number", "other"} & set(kinds):
        _check_each(name, labels, wanted)
    if len(kinds) > 1:
        one, other, *_ = (next(x for x in labels if type(x) is kind) for kind in kinds.values())
        raise TypeError(
            f"{name} has labels of two kinds, {short(one)} (of type {type(one).__name__}) and "
            f"{short(other)} (of type {type(other).__name__}), that cannot be sorted: pass "
            f"{wanted}, all of one kind."
        )
    codes_of: dict[Any, int] = {}
    codes = np.array([codes_of.setdefault(label, len(codes_of)) for label in labels], np.intp)
    try:
        order = sorted(codes_of)
    except TypeError:
        raise TypeError(f"{name} has labels that have no order: pass {wanted}.") from None
    rank = np.empty(len(order), np.intp)
    rank[[codes_of[label] for label in order]] = np.arange(len(order))
    return Labels(list(map(_plain, order)), rank[codes])


def _check_each(name: str, labels: list[Any], wanted: str) -> None:
    """Raise the error of the first label that is missing, or none of what labels may be."""
    for row, label in enumerate(labels):
        if is_missing(label):
            what = described(label)
            raise ValueError(f"{name} has {what} in row {row}: fill it, or drop the row.")
        if _kind_of(type(label)) == "other":
            raise TypeError(f"{name} has {described(label)} in row {row}: pass {wanted}.")


def _kind_of(kind: type) -> str:
    """Return what labels of a type are compared as: True is no 1, and "1" is none."""
    if issubclass(kind, (bool, np.bool_)):
        return "truth value"
    if is_number(kind):
        return "number"
    if issubclass(kind, str):
        return "string"
    return "bytes" if issubclass(kind, bytes) else "other"


def short(label: Any) -> str:
    """Return a label as an error shows it."""
    return described(label).removesuffix(f" (of type {type(label).__name__})")
