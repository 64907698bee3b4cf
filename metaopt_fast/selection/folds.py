"""The rows that are held out: folds drawn at random, and splits that a caller gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import IndexArray
from metaopt_fast.validation.values import describe

# The rows that a model is trained on, and those that it is scored on.
Split = tuple[IndexArray, IndexArray]

# Random numbers of the folds: far behind those of any candidate, so that one more moves no row.
FOLD_START = 2**62
HOLDOUT_START = 2**62 + 2**61


def stratified_folds(y: npt.NDArray[Any], n_folds: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the fold of each row: as many rows of each class in every fold, but for one.

    Examples
    --------
    >>> folds = stratified_folds(np.array([0, 1, 1, 0, 1, 1, 0]), 2, seed=0)
    >>> np.bincount(folds).tolist()
    [4, 3]
    """
    keys = Uniform(0.0, 1.0).sample(seed, FOLD_START, len(y), 1)[:, 0]
    folds = np.empty(len(y), np.intp)
    folds[np.lexsort((keys, y))] = np.arange(len(y)) % n_folds
    return folds


def stratified_holdout(y: npt.NDArray[Any], part: float, seed: int) -> Split:
    """Return rows to train on, and a part of each class to hold out, drawn at random.

    Each class keeps a row on either side.

    Examples
    --------
    >>> train, held_out = stratified_holdout(np.array([0, 1, 1, 0, 1, 1, 0, 1]), 0.25, seed=0)
    >>> len(train), len(held_out)
    (6, 2)
    """
    keys = Uniform(0.0, 1.0).sample(seed, HOLDOUT_START, len(y), 1)[:, 0]
    is_held_out = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        if len(rows) < 2:
            raise ValueError("a class has one row, and none can be held out: pass more rows.")
        count = min(max(round(part * len(rows)), 1), len(rows) - 1)
        is_held_out[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def check_splits(splits: Iterable[Any], n_samples: int) -> list[Split]:
    """Return the numbers of the rows of each split, which is what scikit-learn takes for one.

    Each of `train` and `test` is a sequence of integers, those below 0 counted from the end, or a
    mask of all rows. A row may be there more than once.
    """
    checked = []
    for number, split in enumerate(splits):
        try:
            train, test = split
        except (TypeError, ValueError):
            raise ValueError(
                f"cv has {describe(split)} as split {number}: pass pairs (train, test) of rows."
            ) from None
        name = f"split {number} of cv"
        checked.append(
            (
                _check_rows(f"train of {name}", train, n_samples),
                _check_rows(f"test of {name}", test, n_samples),
            )
        )
    return checked


def _check_rows(name: str, rows: Any, n_samples: int) -> IndexArray:
    wanted = f"numbers of rows, from {-n_samples} to {n_samples - 1}, or a mask of {n_samples} rows"
    try:
        array = np.asarray(rows)
        if array.dtype == object:  # perhaps of integers alone, or of truth values
            array = np.array(array.tolist())
    except (TypeError, ValueError):  # sequences of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biu"):
        raise ValueError(f"{name} is {describe(rows)}: pass {wanted}.")
    if array.dtype.kind == "b":
        if len(array) != n_samples:
            raise ValueError(f"{name} is a mask of {len(array)} rows: pass {wanted}.")
        array = np.flatnonzero(array)
    if array.size == 0:
        raise ValueError(f"{name} has no row: pass {wanted}.")
    numbers = array.astype(np.intp)  # as NumPy takes them: the last of uint64 is -1
    outside = (numbers < -n_samples) | (numbers >= n_samples)
    if outside.any():
        raise ValueError(f"{name} has row {array[outside][0]} of {n_samples}: pass {wanted}.")
    return np.where(numbers < 0, numbers + n_samples, numbers)


def partitions(
    splits: Sequence[Split], n_samples: int
) -> Iterator[tuple[slice, IndexArray | None]]:
    """Yield runs of splits that hold out each row once, with each row's fold, or one split, None.

    Examples
    --------
    >>> halves = [(np.array([0, 1]), np.array([2])), (np.array([2]), np.array([0, 1]))]
    >>> [(run.start, run.stop, folds) for run, folds in partitions(halves, 3)]
    [(0, 2, array([1, 1, 0]))]
    """
    first = 0
    while first < len(splits):
        stop, folds = first, np.full(n_samples, -1, np.intp)
        while stop < len(splits) and (folds < 0).any() and _holds_out(*splits[stop], folds):
            folds[splits[stop][1]] = stop - first
            stop += 1
        if stop - first > 1 and (folds >= 0).all():
            yield slice(first, stop), folds
            first = stop
        else:
            yield slice(first, first + 1), None
            first += 1


def _holds_out(train: IndexArray, test: IndexArray, folds: IndexArray) -> bool:
    """Say whether a split trains on all rows but those that it tests, none of a fold so far."""
    uses = np.bincount(train, minlength=len(folds)) + np.bincount(test, minlength=len(folds))
    return bool((uses == 1).all() and (folds[test] < 0).all())
