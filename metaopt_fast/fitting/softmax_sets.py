"""Training sets of softmax regressions: strata of folds and classes over the same packed rows.

A set is the rows of some strata, those of class k of fold f being stratum f K + k, each with a
factor of its weights; the factor 0 leaves a stratum out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import pack
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors, split_exponent
from metaopt_fast.typing import Array, Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# One in so many blocks says what probabilities are like.
SKETCH = 8
# Numbers of rows times those of parameters from which steps are taken in single precision first,
# and the largest number that rows may hold: products of few, and of weights, stay in the range.
MANY, LARGEST = 2**18, 1e15
# Matrices up to so many columns are inverted by sweeps of NumPy.
LEAF = 48
# Rows that are copied together.
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxSets:
    """Packed rows, and what is trained on them: arrays over the sets.

    Attributes
    ----------
    packed : Packed
    rows, sketch : SoftmaxRows
        All rows, and some of their blocks.
    narrow : SoftmaxRows, or None
        All rows in single precision, where they are many enough for that to save time.
    n_classes, n_columns, n_features : int
        Columns are features, and ones where there is an intercept.
    factors : array of shape (n_sets, n_strata)
    totals : array of shape (n_sets,)
        Weights of the rows.
    sums : array of shape (n_sets, n_classes, n_columns)
        Means of the rows of each class, times the class' share of the weight.
    squares : array of shape (n_sets,)
        Means of the rows' squared lengths.
    longest : float
        No row is longer.
    """

    packed: Packed
    rows: _kernels.SoftmaxRows
    sketch: _kernels.SoftmaxRows
    narrow: _kernels.SoftmaxRows | None
    n_classes: int
    n_columns: int
    n_features: int
    factors: Float64Array
    totals: Float64Array
    sums: Float64Array
    squares: Float64Array
    longest: float
    n_threads: int

    @classmethod
    def of(
        cls, rows: Rows, columns: npt.NDArray[Any], choices: list[ClassWeight], n_threads: int
    ) -> Self:
        """Return the sets of each choice of class weights without each fold, choice by choice."""
        n_classes, n_folds = len(rows.classes), rows.n_folds or 1
        stratum = rows.strata
        packed = pack(
            columns,
            rows.codes,
            rows.weights,
            rows.fit_intercept,
            "float64",
            strata=stratum,
            signed=False,
            n_threads=n_threads,
            memory=rows.memory,
        )
        of_block = (packed.of_blocks(rows.fold) * n_classes + packed.block_labels).astype(np.intc)
        n_strata = n_folds * n_classes
        blocks = np.arange(0, packed.n_blocks, SKETCH if packed.n_blocks >= 64 else 1)
        some = packed.blocks(blocks, total_weight=1.0)

        def as_rows(part: Packed, strata: npt.NDArray[np.intc]) -> _kernels.SoftmaxRows:
            return _kernels.SoftmaxRows(part.rows("logistic", 0.0), strata, n_classes, n_strata)

        is_narrow = packed.n_rows * packed.n_columns * n_classes >= MANY
        is_narrow &= packed.extent <= LARGEST
        factors = factors_of_sets(rows, choices)
        totals = (factors * rows.sums.ravel()).sum(axis=1)
        sums, squares = sums_of_strata(columns, stratum, rows, n_strata)
        n_columns = sums.shape[1]
        by_class = sums.reshape(n_folds, n_classes, n_columns)
        of_sets = factors.reshape(-1, n_folds, n_classes)
        means = (of_sets[:, :, :, None] * by_class).sum(axis=1) / totals[:, None, None]
        lengths = (factors * squares).sum(axis=1) / totals
        return cls(
            packed,
            as_rows(packed, of_block),
            as_rows(some, of_block[blocks]),
            as_rows(packed.narrowed(), of_block) if is_narrow else None,
            n_classes,
            n_columns,
            columns.shape[1],
            factors,
            totals,
            means,
            lengths,
            float(np.sqrt(np.square(packed.column_extents()).sum())) * (1 + 1e-9),
            n_threads,
        )

    @property
    def n_params(self) -> int:
        """Parameters of a model."""
        return self.n_classes * self.n_columns

    @property
    def n_free(self) -> int:
        """Columns that are not penalised."""
        return self.n_columns - self.n_features

    def evaluate(
        self, sets: IndexArray, thetas: Float64Array, l2: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the objectives of models of some sets and the gradients; infinity where a theta is
        not finite."""
        losses, gradients = np.empty(len(sets)), np.empty_like(thetas)
        is_lost = np.logical_not(np.isfinite(thetas).all(axis=1))
        thetas = np.where(is_lost[:, None], 0.0, thetas)
        self.rows.evaluate(
            thetas, self.factors[sets], self.totals[sets], l2, losses, gradients, self.n_threads
        )
        losses[is_lost] = np.inf
        return losses, gradients

    def covariances(self, sets: IndexArray, thetas: Float64Array) -> Float64Array:
        """Return the means of p p' over the rows, p a row's probabilities."""
        found = np.zeros((len(sets), self.n_classes, self.n_classes))
        self.rows.covariances(thetas, self.factors[sets], found, self.n_threads)
        found += np.tril(found, -1).transpose(0, 2, 1)
        return found / self.totals[sets][:, None, None]

    def curvature(self, of_set: int, theta: Float64Array) -> float:
        """Return the mean of p (1 - p) over some of the rows and the classes."""
        found = np.zeros((1, self.n_classes, self.n_classes))
        self.sketch.covariances(theta[None], self.factors[[of_set]], found, self.n_threads)
        equal = float(found[0].diagonal().sum())
        total = equal + 2 * float(np.tril(found[0], -1).sum())
        return (1 - equal / total) / self.n_classes if total > 0 else 0.0

    def validate(self, rows: Rows, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return mean loss and accuracy of models (M, n_folds, n_params) on the folds left out."""
        n_models, n_folds, n_classes = *thetas.shape[:2], self.n_classes
        held_out = np.repeat(np.eye(n_folds), n_classes, axis=1)
        factors = np.tile(held_out, (n_models, 1))
        totals = np.tile(rows.sums.sum(axis=1), n_models)
        flat, losses = thetas.reshape(len(totals), -1), np.empty(len(totals))
        l2 = np.zeros(len(totals))
        self.rows.evaluate(flat, factors, totals, l2, losses, None, self.n_threads)
        right = np.empty(len(totals))
        for first in range(0, len(totals), n_folds):
            part = slice(first, first + n_folds)
            counts = np.zeros((n_folds, n_classes, n_classes))
            self.rows.count(flat[part], factors[part], counts, self.n_threads)
            right[part] = counts.diagonal(axis1=1, axis2=2).sum(axis=1)
        shape = (n_models, n_folds)
        return losses.reshape(shape), (right / totals).reshape(shape)


def factors_of_sets(rows: Rows, choices: list[ClassWeight]) -> Float64Array:
    """Return the factors of the strata's weights for each choice and each fold left out."""
    found = []
    for choice in choices:
        for left_out in rows.left_out:
            others = np.arange(len(rows.sums)) != left_out
            # Only their ratio counts.
            of_class, _ = split_exponent(class_factors(choice, rows.sums[others].sum(axis=0)))
            found.append((others[:, None] * of_class).ravel())
    return np.array(found)


def sums_of_strata(
    columns: npt.NDArray[Any], stratum: IndexArray, rows: Rows, n_strata: int
) -> tuple[Float64Array, Float64Array]:
    """Return the weighted sums of the rows of each stratum, ones of an intercept behind them, and
    those of their squared lengths."""
    memory = rows.memory
    order = memory.keep(np.argsort(stratum, kind="stable"))
    ends = np.cumsum([0, *np.bincount(stratum, minlength=n_strata)])
    sums = np.zeros((n_strata, columns.shape[1] + rows.fit_intercept))
    squares = np.zeros(n_strata)
    for s, (first, last) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        which = order[first:last]
        some = memory.empty((len(which), columns.shape[1]), np.float64)
        for row in range(0, len(which), ROWS_AT_ONCE):
            at = slice(row, row + ROWS_AT_ONCE)
            some[at] = to_float64(columns[which[at]])
        weights, products = rows.weights[which], memory.empty(some.shape, np.float64)
        sums[s, : columns.shape[1]] = np.multiply(weights[:, None], some, out=products).sum(axis=0)
        squares[s] = (weights * np.square(some, out=products).sum(axis=1)).sum()
        if rows.fit_intercept:
            sums[s, -1] = weights.sum()
            squares[s] += sums[s, -1]
    return sums, squares


class Preconditioner:
    """Approximate inverses of Hessians: each class by (c S + l2)^-1, S the rows' second moment.

    Of few columns whole matrices are inverted, of many ones, or of fewer rows, diagonals.
    """

    # Columns up to which matrices are inverted: as many as Hessians have.
    MOST = 2048
    # Part of the moment's trace that is added to the diagonal: less, and rounding could make an
    # inverse of something else.
    RIDGE = 1e-12

    n_classes: int
    n_free: int

    def __init__(self, sets: SoftmaxSets) -> None:
        self.n_classes, self.n_free = sets.n_classes, sets.n_free
        packed, n = sets.packed, sets.n_columns
        self.diagonal: Float64Array | None = None
        if n > self.MOST or packed.n_rows < n:
            extents = packed.column_extents()
            self.diagonal = np.square(extents) / 4
            return
        moment = packed.second_moment(sets.n_threads)
        self.moment: Array = np.ldexp(moment.matrix, 2 * moment.exponent)

    def inverse(self, curvature: float, l2: float) -> Float64Array:
        """Return (curvature S + l2)^-1, a matrix, or a row of its diagonal."""
        if self.diagonal is not None:
            diagonal = curvature * self.diagonal
            diagonal[: len(diagonal) - self.n_free] += l2
            diagonal += self.RIDGE * diagonal.max()
            return 1 / diagonal[None]
        matrix = curvature * self.moment
        n = len(matrix)
        added = np.full(n, self.RIDGE * float(np.trace(matrix)))
        added[: n - self.n_free] += l2
        matrix[np.arange(n), np.arange(n)] += added
        return inverse(matrix)


def inverse(matrix: Float64Array) -> Float64Array:
    """Return the inverse of a symmetric positive definite matrix, by halves, without LAPACK."""
    n = len(matrix)
    if n <= LEAF:
        return _swept(matrix)
    half = n // 2
    first = inverse(matrix[:half, :half])
    between = products(matrix[half:, :half], first)
    rest = matrix[half:, half:] - products(between, matrix[half:, :half])
    second = inverse((rest + rest.T) / 2)
    lower = -products(second, np.ascontiguousarray(between.T))
    upper = first - products(np.ascontiguousarray(between.T), np.ascontiguousarray(lower.T))
    return np.block([[(upper + upper.T) / 2, lower.T], [lower, second]])


def _swept(matrix: Float64Array) -> Float64Array:
    """Return the inverse by Gauss and Jordan's sweeps, pivots as they come."""
    found = np.array(matrix)
    for k in range(len(found)):
        pivot, column = found[k, k], found[:, k].copy()
        row = found[k] / pivot
        found -= column[:, None] * row
        found[k], found[:, k] = row, -column / pivot
        found[k, k] = 1 / pivot
    return (found + found.T) / 2
