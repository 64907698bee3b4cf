"""Binary features: columns that are compared with thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import BoolArray, Float64Array, IndexArray, Int64Array

# Columns that are cut, and features that are compared, together: their bits of 10,000 rows stay in
# a second-level cache, and Ctrl-C is heard between them.
AT_ONCE = 64


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
        columns: list[int] = []
        thresholds: list[float] = []
        below: list[int] = []
        for first in range(0, X.shape[1], AT_ONCE):
            some = X[:, first : first + AT_ONCE]
            low, high = some.min(axis=0), some.max(axis=0)
            is_low = some == low
            has_two = (low < high) & (is_low | (some == high)).all(axis=0)
            for j in range(some.shape[1]):
                if has_two[j]:
                    cuts = [between(float(low[j]), float(high[j]))]
                    counts = [int(sizes[is_low[:, j]].sum())]
                else:
                    cuts, counts = cuts_of(some[:, j], weights, n_thresholds)
                columns += [first + j] * len(cuts)
                thresholds += cuts
                below += counts
        most = 2 * np.array(below, np.int64) > int(sizes.sum())
        return cls(X, np.array(columns, np.intp), np.array(thresholds, np.float64), most)

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
    column: npt.NDArray[Any], sizes: Int64Array | None, n_thresholds: int
) -> tuple[list[float], list[int]]:
    """Return thresholds in ascending order, and the rows that are at most each.

    Between all neighbouring values where there are at most n_thresholds such places, else behind
    the values of the rows at k / (n_thresholds + 1) of all, k from 1 on: none is rounded, so rows
    that are there twice have the cuts of rows that count twice.
    """
    if sizes is None:
        values, below = np.sort(column), None
    else:
        order = np.argsort(column)
        values, below = column[order], np.cumsum(sizes[order])
    (ends,) = (values[1:] != values[:-1]).nonzero()
    counts, total = (ends + 1, len(column)) if below is None else (below[ends], int(below[-1]))
    if len(ends) > n_thresholds:
        parts = np.arange(1, n_thresholds + 1) * total
        places = (counts * (n_thresholds + 1)).searchsorted(parts).tolist()
        chosen = [place for place in dict.fromkeys(places) if place < len(ends)]
        ends, counts = ends[chosen], counts[chosen]
    pairs = zip(values[ends].tolist(), values[ends + 1].tolist(), strict=True)
    return [between(float(low), float(high)) for low, high in pairs], counts.tolist()


def between(low: float, high: float) -> float:
    """Return the middle of two numbers, or the lower one where no float is between them."""
    middle = low / 2 + high / 2
    return middle if low <= middle < high else low
