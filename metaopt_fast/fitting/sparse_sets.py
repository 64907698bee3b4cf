"""Training sets of sparse rows: strata of folds and classes, and factors of their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packing import exact_sum
from metaopt_fast.data.sparse_rows import SparseRows, largest_of, longest_of
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors, split_exponent
from metaopt_fast.fitting.reductions import LARGEST_EXPONENT
from metaopt_fast.typing import Float64Array

# As in src/sparse.hpp: numbers of a line that are added before they join its sum, in two sums, and
# rows of a block; and roundings of weights and others beside them.
PIECE, BLOCK_ROWS, OTHERS = 64, 64, 16
# Models side by side: their vectors stay in the last cache, where 24 would be in memory.
LANES = 8
# Part of the curvature in what residuals are divided by, beside the penalty: it bounds the
# condition of columns of unlike size, and of text it changes next to nothing. Hsia, Chiang & Lin,
# "Preconditioned conjugate gradient methods in truncated Newton frameworks for large-scale linear
# classification", 2018.
PART = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class SparseSets:
    """Rows of positive weight, and what is trained on them. Of two classes, rows are multiplied by
    -1 where they are positive.

    Attributes
    ----------
    rows, columns : SparseRows
        Divided by 2**exponent.
    signs, weights : arrays of shape (n_rows,)
    strata : array of shape (n_rows,)
        K f + k for the rows of class k of K in fold f.
    factors : array of shape (n_sets, n_strata)
        Of the weights, so that those of a set sum to 1; 0 leaves a stratum out.
    sizes : array of shape (n_params,)
        Mean squares of the columns; for the intercept, what makes its scale the whole curvature.
    longest : float
        No row is longer.
    exponent, n_threads : int
    """

    rows: SparseRows
    columns: SparseRows
    signs: Float64Array
    weights: Float64Array
    strata: npt.NDArray[np.intc]
    factors: Float64Array
    sizes: Float64Array
    longest: float
    exponent: int
    n_threads: int

    @classmethod
    def of(cls, rows: Rows, choices: list[ClassWeight], n_threads: int, part: float = PART) -> Self:
        """Return the sets of each choice of class weights without each fold, choice by choice.

        `part` is that of the curvature in what residuals are divided by."""
        n_classes = len(rows.classes)
        used = np.flatnonzero(rows.weights > 0)
        some: SparseRows = rows.X if len(used) == len(rows.X) else rows.X[used]
        exponent = math.frexp(largest_of(some))[1]
        # Residuals of intercepts and of weights are of one size then.
        exponent = exponent if exponent > LARGEST_EXPONENT or n_classes > 2 else 0
        signs = np.where(rows.positive[used] & (n_classes == 2), -1.0, 1.0)
        signed = some.scaled(np.ldexp(signs, -exponent))
        columns, weights = signed.transposed(), rows.weights[used]
        strata = (n_classes * rows.fold[used] + rows.codes[used]).astype(np.intc)
        sums = _sums(strata, weights, rows.sums.size).reshape(rows.sums.shape)
        squares = np.square(columns.numbers) * (weights / weights.sum())[columns.columns]
        sizes = np.zeros(columns.shape[0] + rows.fit_intercept)
        filled = np.flatnonzero(np.diff(columns.starts))
        if len(filled):
            sizes[filled] = np.add.reduceat(squares, columns.starts[filled])
        if rows.fit_intercept:
            sizes[-1] = 1 / part
        return cls(
            signed,
            columns,
            signs,
            weights,
            strata,
            _factors(sums, choices, rows.left_out),
            sizes,
            longest_of(signed),
            exponent,
            n_threads,
        )

    @property
    def n_features(self) -> int:
        """Parameters that are penalised."""
        return self.columns.shape[0]

    @property
    def n_params(self) -> int:
        """Parameters of a model."""
        return len(self.sizes)

    @property
    def row_chain(self) -> int:
        """The most roundings, one after the other, in a margin."""
        return chain_of(int(np.diff(self.rows.starts).max(initial=0))) + 2

    @property
    def row_roundings(self) -> int:
        """The same, fewer of rows that are shorter than a piece."""
        longest = int(np.diff(self.rows.starts).max(initial=0))
        return min(self.row_chain, longest // 2 + 6)

    @property
    def chain(self) -> int:
        """The most roundings, one after the other, in a sum over rows."""
        longest = int(np.diff(self.columns.starts).max(initial=0))
        return max(chain_of(longest), BLOCK_ROWS + 2) + OTHERS

    def steps(self, vectors: Float64Array, of_rows: Float64Array) -> _kernels.SparseSteps:
        """Return what works on vectors of models in lanes."""
        return _kernels.SparseSteps(
            self.rows.matrix(),
            self.columns.matrix(),
            self.signs,
            self.weights,
            self.strata,
            self.sizes,
            vectors,
            of_rows,
        )

    def vectors(self, n_models: int) -> tuple[Float64Array, Float64Array]:
        """Return zeros for as many lanes as so many models need."""
        lanes = 1 if n_models == 1 else LANES
        n_rows = -(-len(self.rows) // BLOCK_ROWS) * BLOCK_ROWS
        return np.zeros((5, self.n_params, lanes)), np.zeros((2, n_rows, lanes))


def chain_of(n_numbers: int) -> int:
    """Return the roundings of the sum of so many products, one after the other."""
    return PIECE // 2 + 2 + -(-n_numbers // PIECE)


def _sums(strata: npt.NDArray[np.intc], weights: Float64Array, n_strata: int) -> Float64Array:
    """Return the weights of each stratum, rounded once."""
    order = np.argsort(strata, kind="stable")
    ends = np.searchsorted(strata[order], np.arange(n_strata + 1)).tolist()
    sorted_weights = weights[order]
    return np.array(
        [
            exact_sum(sorted_weights[first:last]) if last > first else 0.0
            for first, last in pairwise(ends)
        ]
    )


def _factors(sums: Float64Array, choices: list[ClassWeight], left_out: list[int]) -> Float64Array:
    """Return the factors of the strata's weights for each choice and each fold left out."""
    found = []
    for choice in choices:
        for fold in left_out:
            used = sums * (np.arange(len(sums)) != fold)[:, None]
            # Only their ratio counts.
            of_class, _ = split_exponent(class_factors(choice, used.sum(axis=0)))
            total = math.fsum((used * of_class).ravel().tolist())
            found.append(((used > 0) * of_class / total).ravel())
    return np.array(found)
