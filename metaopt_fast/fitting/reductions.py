"""Columns that are fitted in place of X's, with the same objective: centred where they lie far
from 0, scaled where squares leave the range, without those of zeros, and as few as rows where there
are more than these.

A model of these columns is one of X's: theta turns into the other without a change of margins or
penalty, but for rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import CHUNK_ROWS
from metaopt_fast.data.storage import IN_MEMORY, Memory
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# Rows that say where a column lies.
SAMPLE = 255
# A column is far from 0 where its median is by so many mean deviations.
FAR = 4.0
# Numbers beyond 2 to this power are scaled: their squares would come near the ends of the range.
LARGEST_EXPONENT = 300
# Splits a number in two halves whose products are exact (Dekker 1971).
SPLIT = 2.0**27 + 1


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """What was done to the columns of X.

    Attributes
    ----------
    X : array of shape (n_samples, n_features)
        Centred and scaled.
    centres : array of shape (n_features,), or None
        Numbers taken from each column, in X's units: only an intercept can give it back.
    exponent : int
        Power of 2 that columns were divided by.
    used, n_zeros : array of shape (n_used,), or None, and int
        Columns that are left, and how many are not.
    reflections, taus : arrays of shape (n_samples, n_features) and (n_samples,), or None
        Reflections that leave a column for each row, where there are more columns: see `_kernels`.
    memory : Memory
        Where copies of the columns lie.
    """

    X: npt.NDArray[Any]
    centres: Float64Array | None
    exponent: int
    used: IndexArray | None = None
    n_zeros: int = 0
    reflections: Float64Array | None = None
    taus: Float64Array | None = None
    memory: Memory = IN_MEMORY

    @classmethod
    def of(
        cls,
        X: npt.NDArray[Any],
        weights: Float64Array,
        fit_intercept: bool,
        memory: Memory = IN_MEMORY,
    ) -> Self:
        """Return the columns centred and scaled, X itself where neither is needed."""
        centres = far_centres(X, weights) if fit_intercept else None
        if centres is not None:
            X = moved(X, centres, 0, memory)
        largest = max(abs(float(X.max())), abs(float(X.min())))
        exponent = math.frexp(largest)[1] if math.isfinite(largest) else 0
        if exponent <= LARGEST_EXPONENT:
            return cls(X, centres, 0, memory=memory)
        return cls(moved(X, 0.0, exponent, memory), centres, exponent, memory=memory)

    @property
    def is_wide(self) -> bool:
        """Whether there are more columns than rows."""
        return bool(self.X.shape[1] > self.X.shape[0])

    def without_zeros(self) -> Self:
        """Return the same without columns of zeros, whose weights are 0 at an optimum: those of a
        picture's margin, say."""
        chunks = [slice(first, first + CHUNK_ROWS) for first in range(0, len(self.X), CHUNK_ROWS)]
        used = np.flatnonzero(np.any([self.X[some].any(axis=0) for some in chunks], axis=0))
        if len(used) in (0, self.X.shape[1]):
            return self
        X = self.memory.empty((len(self.X), len(used)), self.X.dtype)
        for some in chunks:
            X[some] = self.X[some][:, used]
        return replace(self, X=X, used=used, n_zeros=self.X.shape[1] - len(used))

    def by_rows(self, n_threads: int) -> Self:
        """Return the same, with reflections that leave a column for each row."""
        rows = self.memory.copy(self.X, np.float64)
        taus = np.empty(len(rows))
        _kernels.make_reflections(rows, taus, n_threads)
        return replace(self, reflections=rows, taus=taus)

    @property
    def columns(self) -> npt.NDArray[Any]:
        """The columns to fit."""
        if self.reflections is None:
            return self.X
        return np.tril(self.reflections[:, : len(self.reflections)])

    def l2(self, l2: Float64Array) -> Float64Array:
        """Return the penalty of these columns."""
        return np.ldexp(l2, -2 * self.exponent)

    def inward(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return the models of X as ones of these columns, as near as there are."""
        n_features = self.X.shape[1] + self.n_zeros
        coefficients, intercepts = thetas[:, :n_features], thetas[:, n_features:]
        if self.centres is not None:
            intercepts = intercepts + (coefficients * self.centres).sum(axis=1, keepdims=True)
        if self.used is not None:
            coefficients = coefficients[:, self.used]
        coefficients = np.ldexp(coefficients, self.exponent)
        if self.reflections is not None and self.taus is not None:
            turned = np.array(coefficients, order="C")
            _kernels.reflect(self.reflections, self.taus, turned, False, n_threads)
            coefficients = turned[:, : len(self.taus)]
        return np.concatenate([coefficients, intercepts], axis=1)

    def spread(self, thetas: Float64Array, n_threads: int) -> Float64Array:
        """Return models of the columns to fit as ones of all columns, centred and scaled."""
        assert self.reflections is not None and self.taus is not None  # of `by_rows`
        n = len(self.taus)
        coefficients = np.zeros((len(thetas), self.X.shape[1]))
        coefficients[:, :n] = thetas[:, :n]
        _kernels.reflect(self.reflections, self.taus, coefficients, True, n_threads)
        return np.concatenate([coefficients, thetas[:, n:]], axis=1)

    def outward(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return models of all columns, centred and scaled, as ones of X, and bounds of the
        rounding of their intercepts."""
        n_features = self.X.shape[1]
        coefficients = np.ldexp(thetas[:, :n_features], -self.exponent)
        intercepts = thetas[:, n_features:]
        if self.used is not None:
            of_used, coefficients = coefficients, np.zeros((len(thetas), n_features + self.n_zeros))
            coefficients[:, self.used] = of_used
        if self.centres is None:
            return np.concatenate([coefficients, intercepts], axis=1), np.zeros(len(thetas))
        far = self.centres != 0
        parts = exact_products(coefficients[:, far], -self.centres[far])
        # Row by row: many lists at once have Python look for garbage among all objects.
        moved = [
            math.fsum((*row.tolist(), b))
            for row, b in zip(parts, intercepts[:, 0].tolist(), strict=True)
        ]
        found = np.array(moved).reshape(-1, 1)
        return np.concatenate([coefficients, found], axis=1), np.abs(found[:, 0]) * 2.0**-53


class Reductions(NamedTuple):
    """Columns centred and scaled, all of them, and those that are fitted: the same ones, or as many
    as rows where these are fewer."""

    whole: Reduction
    fitted: Reduction

    @classmethod
    def of(
        cls,
        X: npt.NDArray[Any],
        weights: Float64Array,
        fit_intercept: bool,
        n_threads: int,
        memory: Memory = IN_MEMORY,
    ) -> Self:
        """Return both."""
        whole = Reduction.of(X, weights, fit_intercept, memory)
        return cls(whole, whole.by_rows(n_threads) if whole.is_wide else whole)


def moved(
    X: npt.NDArray[Any], centres: Float64Array | float, exponent: int, memory: Memory
) -> Float64Array:
    """Return X with numbers taken from its columns, divided by a power of 2."""
    found: Float64Array = memory.empty(X.shape, np.float64)
    for first in range(0, len(X), CHUNK_ROWS):
        some = found[first : first + CHUNK_ROWS]
        np.subtract(to_float64(X[first : first + CHUNK_ROWS]), centres, out=some)
        if exponent != 0:
            np.ldexp(some, -exponent, out=some)
    return found


def sample_rows(weights: Float64Array) -> IndexArray:
    """Return the rows that say where a column lies."""
    rows = np.flatnonzero(weights > 0)
    count = min(len(rows), SAMPLE)
    return rows[np.arange(count) * len(rows) // count]


def far_centres(X: npt.NDArray[Any], weights: Float64Array) -> Float64Array | None:
    """Return the medians of the columns that lie far from 0, and 0 for the others, by some rows;
    None if there is none.

    Numbers near a centre lose nothing by the subtraction (Sterbenz), and others no more than an
    intercept of the centre's size would cost them.
    """
    sample = np.ascontiguousarray(to_float64(X[sample_rows(weights)]))
    middle = (len(sample) - 1) // 2
    # Of columns in one piece it takes a fifth of the time.
    columns = np.ascontiguousarray(sample.T)
    medians: Float64Array = np.partition(columns, middle, axis=1)[:, middle]
    deviations = np.abs(sample - medians).sum(axis=0) / len(sample)
    is_far = np.isfinite(deviations) & (np.abs(medians) > FAR * deviations)
    return np.where(is_far, medians, 0.0) if is_far.any() else None


def exact_products(x: Float64Array, y: Float64Array) -> Float64Array:
    """Return products as two numbers each, side by side, whose sum is exact (Dekker 1971), where
    neither factor is near the ends of the range."""
    product = x * y
    x_high, y_high = (SPLIT * a - (SPLIT * a - a) for a in (x, y))
    x_low, y_low = x - x_high, y - y_high
    low = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low
    return np.concatenate([product, np.where(np.isfinite(low), low, 0.0)], axis=1)
