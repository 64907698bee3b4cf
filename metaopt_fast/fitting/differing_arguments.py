"""What may differ between models of one call, checked: weights, labels, penalties, centres.

Each has an axis of models; all are paired along it, and what has one entry is that of every model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_labels, shown
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import as_frame, as_numbers
from metaopt_fast.validation.labels import read_labels
from metaopt_fast.validation.values import as_array, as_real_array, check_dense, to_float64

# Entries that are looked at together.
LOOKED_AT = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of two classes: one vector for all models, or one for each.

    `table` has the labels themselves, of shape (n, n_samples); of labels that are no numbers, 1
    where they are the greater one.
    """

    classes: list[Any]
    table: npt.NDArray[Any]
    greater: Any
    shape: tuple[int, ...]

    @classmethod
    def of(cls, y: npt.ArrayLike, n_samples: int) -> Self:
        """Return checked labels: of shape (n_samples,) or (n_samples, 1), or (M, n_samples)."""
        shape = shape_of("y", y)
        if len(shape) < 2 or shape == (n_samples, 1) != (1, 1):
            found = check_labels(y, n_samples)
            if len(found.values) != 2:
                raise ValueError(f"y holds {shown(found.values)}: pass labels of two.")
            return cls(found.values, found.codes.astype(np.uint8)[None], 1, (n_samples,))
        check_shape("y", shape, n_samples, "label vector")
        table = as_array("y", np.asarray(y), "an array of shape (M, n_samples)")
        if table.dtype.kind in "biuf" and table.size:
            least, greatest = table.min(), table.max()
            if not (math.isfinite(float(least)) and math.isfinite(float(greatest))):
                raise ValueError(
                    "y has an entry that is not finite: pass labels of two classes, numbers, "
                    "strings or truth values."
                )
            if least < greatest and is_of_two(table, least, greatest):
                return cls([least.item(), greatest.item()], table, greatest, shape)
        wanted = "labels of two classes, numbers, strings or truth values"
        labels = read_labels("y", table.ravel(), wanted)
        if len(labels.values) != 2:
            raise ValueError(f"y holds {shown(labels.values)}: pass {wanted}.")
        codes = labels.codes.astype(np.uint8).reshape(shape)
        return cls(labels.values, codes, 1, shape)

    @property
    def is_common(self) -> bool:
        """Whether all models have the same labels."""
        return len(self.shape) == 1

    def codes(self, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Return 1 where the label of some models is the greater one."""
        some = self.table[first:last] if len(self.table) > 1 else self.table
        return np.ascontiguousarray(some == self.greater).view(np.uint8)


def is_of_two(table: npt.NDArray[Any], least: Any, greatest: Any) -> bool:
    """Whether a table holds no third number."""
    size = max(1, LOOKED_AT // table.shape[1])
    parts = (table[first : first + size] for first in range(0, len(table), size))
    return all(bool(((part == least) | (part == greatest)).all()) for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights of rows: one vector for all models, one for each, or none: all are 1."""

    table: npt.NDArray[Any] | None
    shape: tuple[int, ...]

    @classmethod
    @shielded
    def of(cls, sample_weight: npt.ArrayLike | None, n_samples: int) -> Self:
        """Return checked weights, of shape (n_samples,) or (M, n_samples)."""
        if sample_weight is None:
            return cls(None, ())
        shape = shape_of("sample_weight", sample_weight)
        if len(shape) != 1:
            check_shape("sample_weight", shape, n_samples, "weight vector")
        wanted = "finite numbers >= 0 of shape (n_samples,) or (M, n_samples)"
        table = as_numbers("sample_weight", sample_weight, min(2, max(1, len(shape))), wanted)
        if table.shape[-1] != n_samples:
            raise ValueError(
                f"sample_weight has {table.shape[-1]} entries, but X has {n_samples} rows: pass "
                "one weight for each row."
            )
        found = cls(table.reshape(-1, n_samples), shape)
        if table.dtype.kind != "b":
            found.check(wanted)
        return found

    def check(self, wanted: str) -> None:
        """Raise the error of the first weight that is none."""
        assert self.table is not None  # of `of`
        size = max(1, LOOKED_AT // self.table.shape[1])
        for first in range(0, len(self.table), size):
            part = self.table[first : first + size]
            if part.dtype == np.uint8 or bool(((part >= 0) & (part < np.inf)).all()):
                continue
            model, row = np.argwhere(~((part >= 0) & (part < np.inf)))[0].tolist()
            where = f"row {row}" + (f" of model {first + model}" if len(self.shape) == 2 else "")
            raise ValueError(f"sample_weight has {part[model, row]} in {where}: pass {wanted}.")

    def of_models(self, first: int, last: int) -> npt.NDArray[Any] | None:
        """Return the weights of some models, as bytes or float64."""
        if self.table is None:
            return None
        some = self.table[first:last] if len(self.table) > 1 else self.table
        if some.dtype.kind == "b" or some.dtype == np.uint8:
            return np.ascontiguousarray(some).view(np.uint8)
        weights = to_float64(some)
        exponents = np.frexp(weights.max(axis=1))[1]
        # Their sums, and these times factors of classes, stay in the range of floats.
        if np.abs(exponents).max() > 400:
            weights = np.ldexp(weights, -exponents[:, None])
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Penalties:
    """Factors of l2 for each parameter, and what parameters are drawn to: rows for all models, or
    one for each. `shapes` are those that were given, by name."""

    factors: Float64Array
    centres: Float64Array
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        penalty_factor: npt.ArrayLike | None,
        center: npt.ArrayLike | None,
        n_features: int,
        fit_intercept: bool,
    ) -> Self:
        """Return checked factors and centres."""
        n_params, shapes = n_features + fit_intercept, {}
        factors = np.ones((1, n_params))
        factors[:, n_features:] = 0.0
        if penalty_factor is not None:
            given = rows_of_numbers("penalty_factor", penalty_factor, n_features, n_params)
            if not (given >= 0).all():
                bad = given[~(given >= 0)][0]
                raise ValueError(
                    f"penalty_factor has {bad}: pass numbers >= 0, or infinity for what is left "
                    "out."
                )
            if np.isinf(given[:, :n_features]).all(axis=1).any() and n_features:
                raise ValueError(
                    "penalty_factor is infinite for all features: pass a finite one for those that "
                    "a model is to have."
                )
            factors = np.repeat(factors, len(given), axis=0)
            factors[:, : given.shape[1]] = given
            shapes["penalty_factor"] = np.shape(penalty_factor)
        centres = np.zeros((1, n_params))
        if center is not None:
            given = rows_of_numbers("center", center, n_features, n_params)
            if not np.isfinite(given).all():
                raise ValueError("center has an entry that is not finite: pass finite numbers.")
            centres = np.repeat(centres, len(given), axis=0)
            centres[:, : given.shape[1]] = given
            shapes["center"] = np.shape(center)
        return cls(factors, centres, shapes)

    @property
    def spares_intercept(self) -> bool:
        """Whether intercepts, if there are any, are free."""
        return bool((self.factors[:, -1] == 0).all())


def rows_of_numbers(
    name: str, given: npt.ArrayLike, n_features: int, n_params: int
) -> Float64Array:
    """Return numbers of each parameter, of all models or of each: shape (n, n_given)."""
    either = f"({n_features},)" + (f" or ({n_params},)" if n_params > n_features else "")
    rows = f"(M, {n_features})" + (f" or (M, {n_params})" if n_params > n_features else "")
    wanted = f"numbers of shape {either}, or {rows} for M models"
    shape = shape_of(name, given)
    array = to_float64(as_real_array(name, given, min(2, max(1, len(shape))), wanted))
    if array.shape[-1] not in (n_features, n_params) or not array.size:
        raise ValueError(
            f"{name} has shape {array.shape}, and X {n_features} columns: pass {wanted}."
        )
    return array.reshape(-1, array.shape[-1])


def shape_of(name: str, given: Any) -> tuple[int, ...]:
    """Return the shape of an array, a frame, or a list."""
    check_dense(name, given)
    frame = as_frame(name, given)
    if frame is not None:
        return (frame.n_rows, len(frame.names))
    try:
        return np.shape(given)
    except ValueError:
        return (len(given),)  # a ragged list, which its reader refuses


def check_shape(name: str, shape: tuple[int, ...], n_samples: int, what: str) -> None:
    """Raise an error unless there is a row for each model."""
    if len(shape) == 2 and shape[1] == n_samples and shape[0]:
        return
    cure = f"pass one {what} for each model, of shape (M, {n_samples})"
    if len(shape) == 2 and shape[0] == n_samples:
        cure = f"pass one row for each model, its transpose of shape {shape[::-1]}"
    raise ValueError(f"{name} has shape {shape}, but X has {n_samples} rows: {cure}.")


def check_numbers_of_models(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of models, given the shapes of what has one entry for each, or a single
    one for all: entries count along the first axis."""
    several = {name: shape for name, shape in shapes.items() if shape and shape[0] > 1}
    if not several:
        return 1
    first, *others = several
    for name in others:
        if several[name][0] != several[first][0]:
            raise ValueError(
                f"{first} has shape {several[first]}, but {name} has shape {several[name]}: pass "
                "one entry for each model, or a single one for all."
            )
    return several[first][0]
