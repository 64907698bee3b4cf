"""Binary features: columns that are compared with thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import BoolArray, Float64Array, IndexArray, Int64Array

# Features that are compared together: their bits of 10,000 rows stay in a second-level cache, and
# Ctrl-C is heard between them.
AT_ONCE = 64
# Numbers of columns that are cut together: of a few hundred rows, calls take longer than sorting.
NUMBERS_TOGETHER = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class BinaryFeatures:
    """Questions whether a number of a row is at most a threshold, column by column, and the rows.

    `rare` says which side of each is the smaller one: True where most rows answer yes.
    """

    X: npt.NDArray[Any]
    columns: IndexArray
    thresholds: Float64Array
    rare: BoolArray

    @classmethod
    def of(cls, X: npt.NDArray[Any], sizes: Int64Array, n_thresholds: int) -> Self:
        """Cut each column where quantiles of its rows are, each row counted `sizes` times."""
        # Rows that all count once are sorted as numbers, in a tenth of the time of their order.
        weights = None if (sizes == 1).all() else sizes
        step = max(1, NUMBERS_TOGETHER // len(X))
        firsts = range(0, X.shape[1], step)
        parts = [cuts_of(X[:, first : first + step].T, weights, n_thresholds) for first in firsts]
        columns = [part[0] + first for part, first in zip(parts, firsts, strict=True)]
        below = np.concatenate([part[2] for part in parts])
        return cls(
            X,
            np.concatenate(columns),
            np.concatenate([part[1] for part in parts]),
            2 * below > int(sizes.sum()),
        )

    def __len__(self) -> int:
        return len(self.columns)

    def answers(self, rows: IndexArray, first: int, last: int) -> BoolArray:
        """Return the answers of some rows to features [first, last), shape (n_features, n_rows)."""
        columns = self.columns[first:last]
        low, high = int(columns[0]), int(columns[-1]) + 1
        # Column by column, whose copies are in one piece.
        numbers = np.ascontiguousarray(self.X[rows, low:high].T)[columns - low]
        return np.asarray(numbers <= self.thresholds[first:last, None])

    def answer(self, feature: int) -> BoolArray:
        """Return the answers of all rows to one feature."""
        # Not a scalar: NumPy 1 would round it to the numbers' precision.
        threshold = self.thresholds[feature : feature + 1]
        return np.asarray(self.X[:, self.columns[feature]] <= threshold)


def cuts_of(
    columns: npt.NDArray[Any], sizes: Int64Array | None, n_thresholds: int
) -> tuple[IndexArray, Float64Array, Int64Array]:
    """Return the cuts of columns, which are the lines here: the column of each, its threshold,
    ascending in a column, and the rows that are at most it.

    Between all neighbouring values where there are at most n_thresholds such places, else behind
    the values of the rows at k / (n_thresholds + 1) of all, k from 1 on: none is rounded, so rows
    that are there twice have the cuts of rows that count twice.
    """
    if sizes is None:
        values, below = np.array(columns, order="C"), None
        values.sort(axis=1)
    else:
        order = columns.argsort(axis=1)
        values, below = np.take_along_axis(columns, order, 1), sizes[order].cumsum(axis=1)
    n_rows = values.shape[1]
    # The last row of each value; behind the last one of all, nothing is cut.
    is_last = np.ones(values.shape, np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=is_last[:, :-1])
    many = np.flatnonzero(np.count_nonzero(is_last, axis=1) > n_thresholds + 1)
    if len(many):
        last = np.flatnonzero(is_last)
        rows = _quantile_rows(n_rows, None if below is None else below[many], n_thresholds)
        chosen = last[last.searchsorted((many[:, None] * n_rows + rows).ravel())]
        is_last[many] = False
        is_last.ravel()[chosen] = True
    is_last[:, -1] = False
    cuts = np.flatnonzero(is_last)
    of_column, row = np.divmod(cuts, n_rows)
    low, high = (values.ravel()[at].astype(np.float64) for at in (cuts, cuts + 1))
    return of_column, between(low, high), row + 1 if below is None else below.ravel()[cuts]


def _quantile_rows(n_rows: int, below: Int64Array | None, n_thresholds: int) -> IndexArray:
    """Return the first row up to which there are k / (n_thresholds + 1) of all, k from 1 on, given
    for each column the rows up to each; None: each row counts once, in all columns."""
    parts = np.arange(1, n_thresholds + 1) * (n_rows if below is None else int(below[0, -1]))
    if below is None:
        return np.asarray(-(-parts // (n_thresholds + 1)) - 1)
    return np.stack([(of_one * (n_thresholds + 1)).searchsorted(parts) for of_one in below])


def between(low: Float64Array, high: Float64Array) -> Float64Array:
    """Return the middle of two numbers, or the lower one where no float is between them."""
    middle = low / 2 + high / 2
    return np.asarray(np.where((low <= middle) & (middle < high), middle, low))
