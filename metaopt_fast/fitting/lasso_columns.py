"""Columns that paths of l1 penalties are made of: of an array, or of sparse rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.numbers import check_range
from metaopt_fast.data.rows import PANEL_ROWS
from metaopt_fast.data.sparse_rows import SparseRows, largest_of
from metaopt_fast.data.storage import Memory
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors, split_exponent
from metaopt_fast.fitting.reductions import LARGEST_EXPONENT, Reduction, sample_rows
from metaopt_fast.fitting.sparse_sets import chain_of
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# Rows whose numbers become those of columns together: they stay in a cache meanwhile.
ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """Rows of a training set: their numbers, their signs (-1 for the positive class), and weights,
    which sum to 1; `lighter` is the sum of those of the lighter class."""

    rows: IndexArray
    signs: Float64Array
    weights: Float64Array
    lighter: float

    @classmethod
    def of(cls, rows: Rows, choice: ClassWeight, left_out: int) -> TrainingRows:
        """Return all rows but those of one fold, of which there is none below 0."""
        others = np.arange(len(rows.sums)) != left_out
        factors, _ = split_exponent(class_factors(choice, rows.sums[others].sum(axis=0)))
        used = np.flatnonzero((rows.fold != left_out) & (rows.weights > 0))
        positive = rows.positive[used]
        # Of numbers that may be huge, only the ratios count.
        weights = rows.weights[used] / rows.weights.max() * factors[positive.astype(np.intp)]
        weights = weights / math.fsum(weights)
        lighter = min(math.fsum(weights[positive]), math.fsum(weights[~positive]))
        return cls(used, np.where(positive, -1.0, 1.0), weights, lighter)


class Columns(ABC):
    """Columns, divided by 2**exponent; `extents` are their largest absolute values, `chain` the
    most additions that follow one another in a sum over rows."""

    exponent: int
    extents: Float64Array
    chain: float

    @abstractmethod
    def paths(self, shares: Float64Array, fit_intercept: bool) -> _kernels.LassoPaths:
        """Return what fits paths of these columns."""

    @abstractmethod
    def training_rows(self, some: TrainingRows) -> TrainingRows:
        """Return rows of a training set as paths want them."""

    @abstractmethod
    def slopes(self, residuals: Float64Array) -> Float64Array:
        """Return the product of each column with residuals of all rows."""

    @abstractmethod
    def decide(self, thetas: Float64Array, used: IndexArray) -> Float64Array:
        """Return the decision values of thetas of these columns for some rows."""

    @abstractmethod
    def inward(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return thetas of X as ones of these columns."""

    @abstractmethod
    def outward(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return thetas of these columns as ones of X, and bounds of their intercepts' rounding."""


def columns_of(rows: Rows) -> Columns:
    """Return the columns of rows of either kind."""
    return SparseColumns(rows.X) if rows.is_sparse else DenseColumns(*reduced(rows))


class DenseColumns(Columns):
    """Columns of an array, each in one piece, as `reduced` returns them."""

    reduction: Reduction
    columns: Float64Array
    exponent: int

    def __init__(self, reduction: Reduction, columns: Float64Array) -> None:
        self.reduction, self.columns, self.exponent = reduction, columns, reduction.exponent
        self.extents: Float64Array = np.maximum(columns.max(axis=1), -columns.min(axis=1))
        self.chain: float = columns.shape[1] / 128

    def paths(self, shares: Float64Array, fit_intercept: bool) -> _kernels.LassoPaths:
        """Return what fits paths of these columns."""
        return _kernels.LassoPaths(self.columns, self.extents, shares, fit_intercept)

    def training_rows(self, some: TrainingRows) -> TrainingRows:
        """Return the rows as they are: paths copy them."""
        return some

    def slopes(self, residuals: Float64Array) -> Float64Array:
        """Return the product of each column with residuals of all rows."""
        padded, found = np.zeros(self.columns.shape[1]), np.empty(len(self.columns))
        padded[: len(residuals)] = residuals
        _kernels.column_slopes(self.columns, padded, found)
        return found

    def decide(self, thetas: Float64Array, used: IndexArray) -> Float64Array:
        """Return the decision values of thetas, many of whose weights are 0, for some rows."""
        decisions = np.zeros((len(thetas), len(used)))
        _kernels.sparse_decisions(self.columns, thetas, used, decisions)
        return decisions

    def inward(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return thetas of X as ones of these columns."""
        return self.reduction.inward(thetas, n_threads)

    def outward(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return thetas of these columns as ones of X, and bounds of their intercepts' rounding."""
        if self.reduction.centres is None and self.exponent == 0:
            return thetas, np.zeros(len(thetas))
        return self.reduction.outward(thetas)


class SparseColumns(Columns):
    """Columns of sparse rows: none is copied but once, as their lists."""

    columns: SparseRows
    n_features: int
    extents: Float64Array

    def __init__(self, rows: SparseRows) -> None:
        exponent = math.frexp(largest_of(rows))[1]
        self.exponent: int = exponent if exponent > LARGEST_EXPONENT else 0
        self.rows: SparseRows = rows.scaled(np.full(len(rows), math.ldexp(1.0, -self.exponent)))
        columns = self.rows.transposed()
        self.columns, self.n_features = columns, columns.shape[0]
        sizes = np.diff(columns.starts)
        self.extents, filled = np.zeros(self.n_features), np.flatnonzero(sizes)
        if len(filled):
            largest = np.maximum.reduceat(np.abs(columns.numbers), columns.starts[filled])
            self.extents[filled] = largest
        self.chain: int = chain_of(int(sizes.max()))

    def paths(self, shares: Float64Array, fit_intercept: bool) -> _kernels.LassoPaths:
        """Return what fits paths of these columns."""
        matrix = self.columns.matrix()
        return _kernels.LassoPaths(None, self.extents, shares, fit_intercept, matrix, self.chain)

    def training_rows(self, some: TrainingRows) -> TrainingRows:
        """Return all rows, those that are not in the training set with a weight of 0."""
        n = len(self.rows)
        signs, weights = np.ones(n), np.zeros(n)
        signs[some.rows], weights[some.rows] = some.signs, some.weights
        return TrainingRows(np.arange(n), signs, weights, some.lighter)

    def slopes(self, residuals: Float64Array) -> Float64Array:
        """Return the product of each column with residuals of all rows."""
        found: Float64Array = self.columns.products(residuals[None])[0]
        return found

    def decide(self, thetas: Float64Array, used: IndexArray) -> Float64Array:
        """Return the decision values of thetas of these columns for some rows."""
        found: Float64Array = self.rows[used].products(thetas[:, : self.n_features])
        found += thetas[:, self.n_features :].sum(axis=1, keepdims=True)
        return found

    def inward(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return thetas of X as ones of these columns."""
        return self._scaled(thetas, self.exponent)

    def outward(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return thetas of these columns as ones of X; their intercepts stay."""
        return self._scaled(thetas, -self.exponent), np.zeros(len(thetas))

    def _scaled(self, thetas: Float64Array, exponent: int) -> Float64Array:
        found = thetas.copy()
        found[:, : self.n_features] = np.ldexp(thetas[:, : self.n_features], exponent)
        return found


def transposed(X: npt.NDArray[Any], memory: Memory) -> Float64Array:
    """Return the columns of X, each in one piece, with zeros up to a whole panel of rows."""
    n_samples, n_features = X.shape
    length = -(-n_samples // PANEL_ROWS) * PANEL_ROWS
    columns: Float64Array = memory.zeros(8 * n_features * length).view(np.float64)
    columns = columns.reshape(n_features, length)
    size = n_samples if X.strides[0] <= X.strides[1] else ROWS_AT_ONCE
    for first in range(0, n_samples, size):
        columns[:, first : first + size][:, : n_samples - first] = X[first : first + size].T
    return columns


def reduced(rows: Rows) -> tuple[Reduction, Float64Array]:
    """Return what `Reduction.of` does to the columns, and the columns.

    Where the median of a sample is above 4 mean deviations, its sum is above (1 - 1/4) / (1 + 1/4)
    of the sum of absolute values. To look at these sums first takes a fifth of the time.
    """
    columns = transposed(rows.X, rows.memory)
    largest = max(float(columns.max()), -float(columns.min()))
    if not math.isfinite(largest):
        row = int(np.isfinite(columns).all(axis=0).argmin())
        check_range(to_float64(rows.X[row : row + 1]), row, "float64")
    near = not rows.fit_intercept
    if not near:
        sample = columns[:, sample_rows(rows.weights)]
        near = bool((np.abs(sample.sum(axis=1)) < 0.59 * np.abs(sample).sum(axis=1)).all())
    if near and largest < math.ldexp(0.5, LARGEST_EXPONENT):
        return Reduction(rows.X, None, 0), columns
    reduction = Reduction.of(rows.X, rows.weights, rows.fit_intercept, rows.memory)
    if reduction.centres is None and reduction.exponent == 0:
        return reduction, columns
    return reduction, transposed(reduction.X, rows.memory)
