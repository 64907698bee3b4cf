"""Rows that stand in a data set more than once, made one row of more weight."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_classes, check_sample_weight, check_X
from metaopt_fast.data.numbers import chunks
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Array
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import to_float64


def merge_duplicates(
    X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
) -> tuple[Array, Array, npt.NDArray[np.float64]]:
    """Return the data with equal rows of one label merged, their weights summed.

    A weighted mean over the rows, such as `LogisticLoss`, is the same for both, up to rounding.
    Rows are equal if all of their entries are, as float64; -0.0 equals 0.0.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
    y : array_like of shape (n_samples,)
        Labels of two classes, of which the greater one is positive; see `LogisticLoss`.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum; 1 by default.

    Returns
    -------
    X : numpy.ndarray of shape (n_rows, n_features)
        Each different row, in the order of first appearance.
    y : numpy.ndarray of shape (n_rows,)
    weights : numpy.ndarray of shape (n_rows,), float64
        Exact sums, rounded once.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> X, y, weights = mf.merge_duplicates([[1, 0], [0, 1], [1, 0], [1, 0]], [1, 0, 1, 0])
    >>> X.tolist(), y.tolist(), weights.tolist()
    ([[1, 0], [0, 1], [1, 0]], [1, 0, 0], [2.0, 1.0, 1.0])
    """
    X = check_X(X)
    classes, positive = check_classes(y, len(X))
    check_sample_weight(sample_weight, len(X))
    first, group = groups(X, positive)
    if sample_weight is None:
        weights = np.bincount(group).astype(np.float64)
    else:
        weights = sums(to_float64(as_numbers("sample_weight", sample_weight, 1, "weights")), group)
    dtype = getattr(y, "dtype", None)
    labels = np.array(classes, dtype if isinstance(dtype, np.dtype) and dtype.kind != "O" else None)
    return X[first], labels[positive[first].astype(np.intp)], weights


def groups(X: Array, positive: Array) -> tuple[Array, Array]:
    """Return the first row of each group of equal rows of one label, and the group of each row."""
    seen: dict[bytes, int] = {}
    first: list[int] = []
    group = np.empty(len(X), np.intp)
    done = 0
    for chunk in chunks(X, "float64"):
        part = np.arange(done, done + len(chunk))
        done += len(chunk)
        # Rows are compared by their bytes: + 0.0 turns -0.0 into 0.0.
        keys = np.column_stack([chunk + 0.0, positive[part]])
        for row, key in zip(part, keys.view(f"V{keys.itemsize * keys.shape[1]}"), strict=True):
            number = seen.setdefault(key.tobytes(), len(seen))
            group[row] = number
            if number == len(first):
                first.append(int(row))
    return np.array(first), group


@shielded
def sums(weights: npt.NDArray[np.float64], group: Array) -> npt.NDArray[np.float64]:
    """Return the exact sum of the weights of each group, rounded once."""
    order = np.argsort(group, kind="stable")
    members = np.split(weights[order], np.cumsum(np.bincount(group))[:-1])
    try:
        return np.array([math.fsum(some.tolist()) for some in members])
    except OverflowError:
        raise ValueError(
            "sample_weight sums to more than the largest float over equal rows: pass smaller "
            "weights in the same proportion."
        ) from None
