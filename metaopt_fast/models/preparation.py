"""Columns made ready for a linear model, as they were on its training rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.standardize import Standardization, exact_mean, measure
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.text import quoted


class RawRows(NamedTuple):
    """Rows before they are prepared.

    Attributes
    ----------
    X : numpy.ndarray of shape (n_samples, n_features)
        Numbers, and of text the numbers of its values; NaN where a value is missing.
    names : sequence of str
    categories : dict of int to tuple of str
        Values of the columns that are text.
    """

    X: Float64Array
    names: Sequence[str]
    categories: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column before it is prepared.

    Attributes
    ----------
    name : str
    values : tuple of str, or None
        Values of the training rows, sorted, each a column of 0 and 1; None of a number.
    fill : float or None
        Mean of the training rows, which stands for a number that is missing; None: none may be.
    """

    name: str
    values: tuple[str, ...] | None = None
    fill: float | None = None

    @property
    def columns(self) -> list[str]:
        """The names of the columns that come out."""
        if self.values is None:
            return [self.name]
        return [f"{self.name}={value}" for value in self.values]


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Columns made ready: missing values filled, a column for each value of text, standardized.

    Attributes
    ----------
    features : tuple of Feature
    missing : {"error", "mean", "drop"}
        What became of training rows that missed a value. Only with "mean" may others miss one: a
        number is the mean then, and a text none of the values.
    measured : Standardization or None
        Means and deviations of the training rows' columns, where they were measured.
    is_standardized : bool
        Whether columns are standardized by them, or left as they are.
    """

    features: tuple[Feature, ...]
    missing: str
    measured: Standardization | None
    is_standardized: bool

    @classmethod
    @shielded
    def fit(
        cls,
        rows: RawRows,
        *,
        missing: str = "error",
        is_standardized: bool = True,
        sample_weight: Float64Array | None = None,
    ) -> Preparation:
        """Return what prepares columns by what these rows have."""
        features = tuple(
            _feature(rows, j, missing == "mean", sample_weight) for j in range(len(rows.names))
        )
        measured = measure(cls(features, missing, None, False).apply(rows), sample_weight)
        return cls(features, missing, measured, is_standardized)

    @classmethod
    def none(cls, names: Sequence[str]) -> Preparation:
        """Return the preparation of columns of numbers that are taken as they are."""
        return cls(tuple(Feature(name) for name in names), "error", None, False)

    @property
    def names(self) -> list[str]:
        """The names of the columns that come out."""
        return [column for feature in self.features for column in feature.columns]

    @property
    def is_constant(self) -> npt.NDArray[np.bool_]:
        """Whether each column that comes out is one number on all training rows."""
        if self.measured is None:
            return np.zeros(len(self.names), bool)
        # Numbers that vary are scaled into (-1, 1), and so deviate by less than 1.
        return np.asarray(self.measured.deviation == 1)

    @shielded
    def apply(self, rows: RawRows) -> Float64Array:
        """Return the columns made ready, of rows with the features by name."""
        position_of = {name: j for j, name in enumerate(rows.names)}
        X = np.empty((len(rows.X), sum(len(feature.columns) for feature in self.features)))
        first = 0
        for feature in self.features:
            j, last = position_of[feature.name], first + len(feature.columns)
            _check_not_missing(feature, rows.X[:, j], self.missing)
            if feature.values is None:
                X[:, first] = rows.X[:, j]
                if feature.fill is not None:
                    X[np.isnan(X[:, first]), first] = feature.fill
            else:
                codes = recoded(rows.X[:, j], rows.categories.get(j, ()), feature.values)
                X[:, first:last] = codes[:, None] == np.arange(len(feature.values))
            first = last
        if self.is_standardized and self.measured is not None:
            self.measured.apply(X)
        return X

    def to_dict(self) -> dict[str, object]:
        """Return what is done to each feature, for reports."""
        return {
            "missing": self.missing,
            "standardized": self.is_standardized,
            "features": [
                {
                    "name": feature.name,
                    "values": None if feature.values is None else list(feature.values),
                    "fill": feature.fill,
                }
                for feature in self.features
            ],
        }


def recoded(
    codes: Float64Array, known: Sequence[str], values: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return codes among `values` of those among `known`; NaN where there is no such value."""
    code_of = {value: k for k, value in enumerate(values)}
    new = np.array([code_of.get(value, math.nan) for value in known] + [math.nan])
    return np.asarray(new[np.nan_to_num(codes, nan=len(known)).astype(np.intp)])


def _feature(rows: RawRows, j: int, may_miss: bool, sample_weight: Float64Array | None) -> Feature:
    name, column = rows.names[j], rows.X[:, j]
    is_there = ~np.isnan(column)
    if not is_there.any():
        raise ValueError(
            f"column {quoted(name)} has no value in any training row: leave it out (--drop COLUMN)."
        )
    if j in rows.categories:
        used = np.unique(column[is_there]).astype(np.intp)
        return Feature(name, tuple(rows.categories[j][code] for code in used.tolist()))
    if not may_miss:
        return Feature(name)
    weights = None if sample_weight is None else sample_weight[is_there]
    if weights is not None and not weights.any():
        weights = None
    present = column[is_there]
    exponent = math.frexp(np.abs(present).max())[1]
    return Feature(
        name, None, math.ldexp(exact_mean(np.ldexp(present, -exponent), weights), exponent)
    )


def _check_not_missing(feature: Feature, column: Float64Array, missing: str) -> None:
    """Raise an error where a value is missing that the model cannot do without."""
    is_missing = np.isnan(column)
    if missing != "mean" and is_missing.any():
        row = int(is_missing.argmax())
        raise ValueError(
            f"column {quoted(feature.name)} misses a value in row {row}: fill it, or train with "
            "--missing mean."
        )


def unknown_values(preparation: Preparation, rows: RawRows) -> Iterator[tuple[str, int]]:
    """Yield features of text, and in how many rows they have a value that training had not."""
    position_of = {name: j for j, name in enumerate(rows.names)}
    for feature in preparation.features:
        if feature.values is not None:
            j = position_of[feature.name]
            new = np.isnan(recoded(rows.X[:, j], rows.categories.get(j, ()), feature.values))
            if count := int(np.count_nonzero(new & ~np.isnan(rows.X[:, j]))):
                yield feature.name, count
