"""Frames, mappings of columns and arrays as the rows that a preparation takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.models.preparation import Feature, Preparation, RawRows
from metaopt_fast.validation.frames import (
    as_frame,
    as_numbers,
    check_has_all,
    check_not_missing,
    described,
    is_column,
    is_missing,
    missing_mask,
    read_column,
    values_of,
)
from metaopt_fast.validation.text import MISSING_CURE, listed, quoted
from metaopt_fast.validation.values import to_float64


def raw_rows_of(X: Any, preparation: Preparation) -> RawRows:
    """Return rows with the features that a model wants, by name where they have names."""
    wanted = [feature.name for feature in preparation.features]
    columns = _columns_of(X, wanted)
    if columns is None:
        return RawRows(_of_array(X, preparation), wanted, {})
    check_has_all("X", wanted, columns, "frame")
    lengths = {name: len(columns[name]) for name in wanted}
    n_rows = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != n_rows:
            raise ValueError(
                f"X has columns of unlike lengths, {quoted(wanted[0])} of {n_rows} and "
                f"{quoted(name)} of {length}: pass as many values of each."
            )
    rows, categories = np.empty((n_rows, len(wanted))), {}
    may_miss = preparation.missing == "mean"
    for j, feature in enumerate(preparation.features):
        column = columns[feature.name]
        if feature.values is None:
            rows[:, j] = _numbers(feature.name, column, may_miss)
        else:
            rows[:, j] = _codes(feature, column, may_miss)
            categories[j] = feature.values
    return RawRows(rows, wanted, categories)


def _columns_of(X: Any, wanted: Sequence[str]) -> dict[str, Any] | None:
    """Return the columns of a frame or a mapping by their names; None of an array."""
    if isinstance(X, Mapping):
        return {
            name: _as_column(name, column) if name in wanted else None
            for name, column in ((str(key), column) for key, column in X.items())
        }
    frame = as_frame("X", X)
    if frame is None:
        return None
    columns: dict[str, Any] = {}
    for name, column in zip(frame.names, frame.columns, strict=True):
        if str(name) in columns:
            raise ValueError(f"X has two columns named {quoted(str(name))}: rename one.")
        columns[str(name)] = column
    return columns


def _as_column(name: str, column: Any) -> Any:
    if is_column(column):
        return column
    if isinstance(column, (str, bytes)) or not hasattr(column, "__len__"):
        raise TypeError(
            f"X has {described(column)} as column {quoted(name)}: pass a sequence of numbers or "
            "strings."
        )
    values = np.asarray(column)
    if values.ndim == 1 and values.dtype.kind in "biuf":
        return values
    objects = np.empty(len(column), object)
    objects[:] = list(column)
    return objects


def _of_array(X: Any, preparation: Preparation) -> npt.NDArray[np.float64]:
    features = preparation.features
    texts = [feature.name for feature in features if feature.values is not None]
    if texts:
        raise TypeError(
            f"X has no names, and the model has columns of text, {listed(texts)}: pass a frame, or "
            "a dict of columns."
        )
    wanted = f"a frame, or an array of shape (n_rows, {len(features)})"
    rows = to_float64(as_numbers("X", X, 2, wanted))
    if rows.shape[1] != len(features):
        raise ValueError(
            f"X has {rows.shape[1]} columns, but the model has {len(features)} features: pass "
            f"{wanted}."
        )
    wrong = np.isinf(rows) if preparation.missing == "mean" else ~np.isfinite(rows)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        cure = MISSING_CURE if np.isnan(rows[row, column]) else "pass finite numbers"
        raise ValueError(
            f"X has {rows[row, column]} in row {row}, column {quoted(features[column].name)}: "
            f"{cure}."
        )
    return rows


def _numbers(name: str, column: Any, may_miss: bool) -> npt.NDArray[np.float64]:
    """Return the numbers of a column, NaN where one is missing."""
    dtype = str(getattr(column, "dtype", None) or getattr(column, "type", ""))
    if not may_miss:
        return to_float64(read_column("X", column, name, dtype))
    objects = isinstance(column, np.ndarray) and column.dtype.kind == "O"
    missing = np.array([is_missing(x) for x in column]) if objects else missing_mask(column)
    present = column
    if missing.any():
        present = column[~missing] if objects or hasattr(column, "isna") else _dropped(column)
    values, numbers = values_of(present), np.full(len(column), np.nan)
    if values.dtype.kind == "f" and not np.isinf(values).any():
        numbers[~missing] = values
    else:
        numbers[~missing] = read_column("X", present, name, dtype)
    return numbers


def _dropped(column: Any) -> Any:
    """Return the values of a column of polars or pyarrow that are there."""
    return column.drop_nulls() if hasattr(column, "drop_nulls") else column.drop_null()


def _codes(feature: Feature, column: Any, may_miss: bool) -> npt.NDArray[np.float64]:
    """Return the numbers of a column's texts, NaN where one is missing; new ones are the last."""
    if not may_miss and is_column(column):
        check_not_missing("X", column, feature.name)
    ways = ("to_pylist", "to_list", "tolist")
    values = next(getattr(column, way) for way in ways if hasattr(column, way))()
    code_of = {value: k for k, value in enumerate(feature.values or ())}
    codes = np.empty(len(values))
    for row, value in enumerate(values):
        if isinstance(value, str):
            codes[row] = code_of.get(value, len(code_of))
        elif is_missing(value) and may_miss:
            codes[row] = np.nan
        else:
            raise TypeError(
                f"X: column {quoted(feature.name)} has {described(value)} in row {row}, where text "
                "is wanted: pass strings."
            )
    return codes
