"""Columns given mean 0 and standard deviation 1, with the same bits on every machine."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_sample_weight, check_X
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import to_float64


class Standardized(NamedTuple):
    """Columns of mean 0 and standard deviation 1, and what they were.

    Attributes
    ----------
    X : numpy.ndarray of shape (n_samples, n_features)
    mean, scale : numpy.ndarray of shape (n_features,)
        (rows - mean) / scale prepares other rows alike. A constant column has scale 1.
    """

    X: Float64Array
    mean: Float64Array
    scale: Float64Array

    def __repr__(self) -> str:
        n_samples, n_features = self.X.shape
        return f"Standardized(X of {n_samples:,} rows and {n_features:,} columns, mean, scale)"


class Standardization(NamedTuple):
    """What standardizes columns, to the last bit, also other rows than those it was taken from.

    A column x becomes (x / 2**exponent - center - remainder) / deviation. The remainder is the
    rounding of the center, which may be as large as the deviation.

    Attributes
    ----------
    exponent : numpy.ndarray of int of shape (n_columns,)
        Powers of two, so that no finite number overflows.
    center, remainder, deviation : numpy.ndarray of shape (n_columns,)
    """

    exponent: npt.NDArray[np.int64]
    center: Float64Array
    remainder: Float64Array
    deviation: Float64Array

    @property
    @shielded
    def mean(self) -> Float64Array:
        """The mean of each column, rounded to a float."""
        return np.asarray(np.ldexp(self.center, self.exponent))

    @property
    @shielded
    def scale(self) -> Float64Array:
        """The standard deviation of each column; 1 of one that is constant."""
        return np.asarray(np.ldexp(self.deviation, self.exponent))

    @shielded
    def apply(self, X: Float64Array) -> None:
        """Standardize the columns of X, in place."""
        for column, *how in zip(X.T, *self, strict=True):
            exponent, center, remainder, deviation = how
            np.ldexp(column, -exponent, out=column)
            column -= center
            column -= remainder
            column /= deviation


def standardize(X: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Standardized:
    """Give each column mean 0 and standard deviation 1.

    Sums are exact, so that the bits are the same on every machine; columns that vary in their last
    digits alone come out right, too.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers; a frame, too. It is left as it is.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 of the rows in means and deviations.

    Returns
    -------
    Standardized
        The new columns as X, and what they were as mean and scale. A constant column becomes 0.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> X, mean, scale = mf.standardize([[1.0, 5.0], [3.0, 5.0]])
    >>> X.tolist(), mean.tolist(), scale.tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [2.0, 5.0], [1.0, 1.0])
    """
    rows = np.array(to_float64(check_X(X)), order="C")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise ValueError(
            f"X has {rows[row, column]} in row {row}, column {column}: pass finite numbers."
        )
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(rows))
    found = measure(rows, weights)
    found.apply(rows)
    return Standardized(rows, found.mean, found.scale)


def standardize_in_place(X: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Standardize the columns of X; return their means and deviations."""
    found = measure(X)
    found.apply(X)
    return found.mean, found.scale


@shielded
def measure(X: Float64Array, weights: Float64Array | None = None) -> Standardization:
    """Return what standardizes the columns of X, whose rows may have weights."""
    if weights is not None:
        if len(np.unique(weights)) == 1:
            weights = None
        else:
            X, weights = X[weights > 0], weights[weights > 0]
            # Of any size: sums of scaled ones do not overflow.
            weights = np.ldexp(weights, -math.frexp(weights.max())[1])
    found = [_measure(column, weights) for column in X.T]
    exponent, center, remainder, deviation = zip(*found, strict=True) if found else ((),) * 4
    return Standardization(
        np.array(exponent, np.int64),
        np.array(center, np.float64),
        np.array(remainder, np.float64),
        np.array(deviation, np.float64),
    )


def _measure(column: Float64Array, weights: Float64Array | None) -> tuple[int, float, float, float]:
    if column.min() == column.max():
        # Exactly 0: the rounding of the mean would be blown up to whole deviations.
        return 0, float(column[0]), 0.0, 1.0
    exponent = math.frexp(np.abs(column).max())[1]
    scaled = np.ldexp(column, -exponent)
    center = exact_mean(scaled, weights)
    scaled -= center
    remainder = exact_mean(scaled, weights)
    scaled -= remainder
    return exponent, center, remainder, math.sqrt(exact_mean(np.square(scaled), weights))


def exact_mean(values: Float64Array, weights: Float64Array | None) -> float:
    """Return the mean of numbers whose sum does not overflow, by exact sums."""
    if weights is None:
        return math.fsum(values.tolist()) / len(values)
    return math.fsum((values * weights).tolist()) / math.fsum(weights.tolist())
