"""Sparse rows as the kernels read them: the rows, and their columns as rows, each once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import Labels
from metaopt_fast.data.packing import exact_sum
from metaopt_fast.data.sparse_rows import SparseRows, largest_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Candidates that are drawn at a time.
DRAWN_AT_ONCE = 64


class SparseEvaluator:
    """Losses of sparse rows, asked as packed rows are."""

    def __init__(self, losses: _kernels.SparseLosses) -> None:
        self._losses = losses

    def evaluate(
        self,
        thetas: Float64Array,
        losses: Float64Array,
        gradients: Float64Array | None,
        n_threads: int,
    ) -> bool:
        """Write losses and, unless that is None, gradients; False where a theta is not finite."""
        if not np.isfinite(thetas).all():
            return False
        self._losses.find(thetas, losses, gradients, n_threads)
        return True

    def evaluate_one(
        self, theta: Float64Array, gradient: Float64Array | None, n_threads: int
    ) -> float:
        """Return the loss of one theta, NaN where it is not finite."""
        losses = np.full(1, np.nan)
        gradients = None if gradient is None else gradient[None]
        self.evaluate(theta[None], losses, gradients, n_threads)
        return float(losses[0])

    def evaluate_drawn(
        self, draws: _kernels.Draws, start: int, losses: Float64Array, n_threads: int
    ) -> bool:
        """Write the losses of candidates of a sampler, some drawn at a time."""
        for first in range(0, len(losses), DRAWN_AT_ONCE):
            some = losses[first : first + DRAWN_AT_ONCE]
            thetas = np.empty((len(some), self._losses.n_params))
            draws.sample(start + first, thetas)
            if not self.evaluate(thetas, some, None, n_threads):
                return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class SparsePacked:
    """Rows of positive weight, times -1 where they are of class 1, and times a scale.

    `positions` has the place of each row of X among them, -1 of weight 0; `labels` and `weights`
    are those of X, the latter None where all are 1.
    """

    n_samples: int
    n_features: int
    n_constants: int
    rows: SparseRows
    columns: SparseRows
    positions: IndexArray
    labels: Labels
    weights: Float64Array | None
    dtype: str = "float64"

    @classmethod
    @shielded
    def of(
        cls,
        X: SparseRows,
        positive: BoolArray,
        weights: Float64Array | None,
        n_constants: int,
        scale: float = 1.0,
    ) -> Self:
        """Pack checked rows."""
        kept = slice(None) if weights is None else np.flatnonzero(weights > 0)
        some = X[kept] if weights is not None else X
        signed = some.scaled(np.where(positive[kept], -scale, scale))
        return cls._of_signed(signed, len(X), kept, positive.astype(np.uint8), weights, n_constants)

    @classmethod
    def _of_signed(
        cls,
        rows: SparseRows,
        n_samples: int,
        kept: IndexArray | slice,
        labels: Labels,
        weights: Float64Array | None,
        n_constants: int,
    ) -> Self:
        positions = np.full(n_samples, -1)
        positions[kept] = np.arange(len(rows))
        columns = rows.transposed()
        return cls(
            n_samples, rows.n_columns, n_constants, rows, columns, positions, labels, weights
        )

    @property
    def n_columns(self) -> int:
        """Columns, that of ones included."""
        return self.n_features + self.n_constants

    @property
    def n_rows(self) -> int:
        """Rows of positive weight."""
        return len(self.rows)

    @property
    def kept(self) -> IndexArray:
        """Numbers in X of the rows of positive weight."""
        return np.flatnonzero(self.positions >= 0)

    @property
    def extent(self) -> float:
        """The largest absolute value."""
        return largest_of(self.rows)

    @property
    def signs(self) -> Float64Array:
        """What the column of ones is multiplied by in each row."""
        return np.where(self.labels[self.kept] == 1, -1.0, 1.0)

    @property
    def shares(self) -> Float64Array:
        """The weights of the rows, which sum to 1."""
        if self.weights is None:
            return np.full(self.n_rows, 1 / self.n_rows)
        weights = self.weights[self.kept]
        return weights / exact_sum(weights)

    @property
    def work(self) -> float:
        """Visits of one candidate, as `_kernels.work` counts them."""
        return 4.0 * len(self.rows.numbers) + 20.0 * self.n_rows

    def evaluator(self, loss: str, l2: float) -> SparseEvaluator:
        """Return what evaluates a pointwise loss with a penalty."""
        return SparseEvaluator(
            _kernels.SparseLosses(
                _kernels.LOSSES[loss],
                self.rows.matrix(),
                self.columns.matrix(),
                self.signs,
                self.shares,
                bool(self.n_constants),
                l2,
            )
        )

    def subset(self, rows: IndexArray) -> Self:
        """Return what would be made of these rows of X, y and sample_weight."""
        labels, weights = self.labels[rows], None
        if labels.min() == labels.max():
            raise ValueError(
                f"the {len(rows)} rows are all of one class: pass rows that hold both of them."
            )
        if self.weights is not None:
            weights = self.weights[rows]
            if not weights.any():
                raise ValueError(
                    "sample_weight is 0 for all of the rows: pass at least one row of positive "
                    "weight."
                )
            weights = np.ldexp(weights, 1 - math.frexp(weights.max())[1])
        return self._some(rows, labels, weights)

    def split(self, batches: Sequence[IndexArray]) -> list[Self]:
        """Return each batch of rows of X, none of weight 0, as rows of their own."""
        of = self.weights
        return [
            self._some(batch, self.labels[batch], None if of is None else of[batch])
            for batch in batches
        ]

    def _some(self, rows: IndexArray, labels: Labels, weights: Float64Array | None) -> Self:
        positions = self.positions[rows]
        kept = np.flatnonzero(positions >= 0)
        return self._of_signed(
            self.rows[positions[kept]], len(rows), kept, labels, weights, self.n_constants
        )

    def absolute_products(self) -> Iterator[float]:
        """Yield upper bounds of the largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, the
        rows' absolute values in the place of x_i, each nearer than the one before.

        Of a matrix A of numbers >= 0 and v > 0, max_j (A v)_j / v_j is one (Collatz 1942), and
        (A v) / v is nearly constant after many steps from v to A v.
        """
        exponent = math.frexp(max(self.extent, float(self.n_constants)))[1]
        sizes = np.abs(np.ldexp(self.rows.numbers, -exponent))
        rows = SparseRows(self.rows.starts, self.rows.columns, sizes, self.n_features)
        matrix, turned = rows.matrix(), rows.transposed().matrix()
        v, shares, n = np.ones((self.n_columns, 1)), self.shares[:, None], self.n_features
        ones = math.ldexp(float(self.n_constants), -exponent)
        while True:
            z, found = np.empty((self.n_rows, 1)), np.empty((self.n_columns, 1))
            matrix.times(np.ascontiguousarray(v[:n]), z, 1)
            z = (z + ones * v[n:].sum()) * shares
            turned.times(z, found[:n], 1)
            found[n:] = ones * float(np.add.reduce(z[:, 0]))
            ratio = float((found / v).max())
            # Sums of numbers >= 0 are off by a part of as many roundings as they have terms.
            ratio *= 1 + (self.n_rows + self.n_columns + 64) * 2.0**-52
            yield math.ldexp(ratio, 2 * exponent) if exponent < 500 else math.inf
            v = np.maximum(found / max(float(found.max()), 1e-300), 1e-9)

    def digest(self) -> bytes:
        """Return a SHA-256 of all that the kernels read."""
        import hashlib

        digest = hashlib.sha256(repr(("sparse", self.n_samples, self.n_features)).encode())
        for array in (self.rows.starts, self.rows.columns, self.rows.numbers, self.positions):
            digest.update(np.ascontiguousarray(array).data)
        digest.update(self.labels.data)
        digest.update(b"-" if self.weights is None else self.weights.data)
        return digest.digest()
