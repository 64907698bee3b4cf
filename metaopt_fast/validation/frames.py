"""Frames, columns and lists of pandas, polars, pyarrow and Python as arrays of numbers.

None of these libraries is imported: a frame is known by its methods. The numbers are those of the
equivalent array, one column at a time; what holds none is named, with its row and the cure.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation.text import MISSING_CURE, listed, quoted, similar
from metaopt_fast.validation.values import as_array, check_real

# Columns whose own conversion to an array fails, by the beginning of their dtype.
BY_LIST = ("dictionary<", "Int128", "UInt128")


class Frame(NamedTuple):
    """The columns of a frame, read when they are asked for."""

    n_rows: int
    names: list[Any]
    dtypes: list[str]
    columns: Iterable[Any]


def as_frame(name: str, value: Any) -> Frame | None:
    """Return a frame of pandas, polars or pyarrow as its columns; None of anything else."""
    kind = type(value)
    for method in ("collect", "compute"):
        # Of polars and dask: a plan of a frame, without numbers so far.
        if hasattr(kind, method) and hasattr(kind, "columns"):
            raise TypeError(f"{name} is of type {kind.__name__}, a plan: pass {name}.{method}().")
    if hasattr(kind, "iloc") and hasattr(kind, "columns"):
        names = list(value.columns)
        # By number: pandas allows two columns of one name.
        by_number = (value.iloc[:, j] for j in range(len(names)))
        return Frame(len(value), names, [str(dtype) for dtype in value.dtypes], by_number)
    if hasattr(kind, "get_columns"):
        columns = value.get_columns()
        return Frame(len(value), value.columns, [str(c.dtype) for c in columns], columns)
    if hasattr(kind, "column_names") and hasattr(kind, "itercolumns"):
        dtypes = [str(dtype) for dtype in value.schema.types]
        return Frame(value.num_rows, value.column_names, dtypes, value.itercolumns())
    return None


def frame_names(name: str, value: Any) -> tuple[str, ...] | None:
    """Return the names of a frame's columns as text; None of anything else."""
    frame = as_frame(name, value)
    return None if frame is None else tuple(map(str, frame.names))


def frame_of(columns: dict[str, Any]) -> Any:
    """Return columns as a pandas.DataFrame."""
    try:
        import pandas
    except ImportError:
        raise ImportError("to_frame needs pandas: pip install pandas.") from None
    return pandas.DataFrame(columns)


def select_columns(value: Any, positions: list[int]) -> Any:
    """Return a frame of some of the columns, by their numbers."""
    if hasattr(type(value), "iloc"):
        return value.iloc[:, positions]
    if hasattr(type(value), "get_columns"):
        return value[:, positions]
    return value.select(positions)


def as_numbers(name: str, value: Any, ndim: int | None, wanted: str) -> npt.NDArray[Any]:
    """Return real numbers as an array, as `as_real_array`; of frames, columns and objects, too.

    Missing values of columns are refused by name; floats may hold NaN, which the caller looks for.
    """
    frame = as_frame(name, value)
    if frame is not None:
        if ndim != 2:
            shape = (frame.n_rows, len(frame.names))
            raise ValueError(f"{name} is a frame of shape {shape}: pass {wanted}.")
        return _read_frame(name, frame)
    if is_column(value):
        check_not_missing(name, value, None)
        value = values_of(value)
    array = as_array(name, value, wanted)
    if array.dtype.kind == "O" and array.ndim == ndim:
        found = numbers_of(array)
        if isinstance(found, tuple):
            row, *column = found[0]
            where = f"row {row}" + "".join(f", column {j}" for j in column)
            raise TypeError(f"{name} has {found[1]} in {where}, no real number: pass {wanted}.")
        return found
    return check_real(name, array, ndim, wanted)


def _read_frame(name: str, frame: Frame) -> npt.NDArray[Any]:
    """Return the numbers of a frame, in an array of its one dtype, or else of float64."""
    array: npt.NDArray[Any] | None = None
    for j, column in enumerate(frame.columns):
        numbers_ = read_column(name, column, frame.names[j], frame.dtypes[j])
        if array is None:
            alike = len(set(frame.dtypes)) == 1
            dtype = numbers_.dtype if alike else np.dtype(np.float64)
            # Column by column: both the reads and the writes are of memory in one piece.
            array = np.empty((frame.n_rows, len(frame.names)), dtype, order="F")
        with np.errstate(over="ignore"):
            array[:, j] = numbers_
    return np.empty((frame.n_rows, 0)) if array is None else array


def read_column(name: str, column: Any, label: Any, dtype: str) -> npt.NDArray[Any]:
    """Return the finite numbers of a frame's column, or raise the error that names it."""
    title = label_of(label)
    where = f"{name}: column {title} has dtype {dtype}"
    check_not_missing(name, column, label)
    values = values_of(column)
    if values.dtype.kind == "O" and values.ndim == 1 and len(values):
        found = numbers_of(values)
        if isinstance(found, tuple):
            raise _not_numbers(where, column, values, found[0][0])
        values = found
    if values.dtype.kind not in "biufO" or values.ndim != 1:
        cure = "drop it, or make it one number for each row"
        if values.dtype.kind in "mM":
            cure = "drop it, or make it a number, such as the days since a date"
        elif values.dtype.kind in "SU":
            raise _not_numbers(where, column, values, 0)
        raise TypeError(f"{where}: {cure}.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        cure = MISSING_CURE if np.isnan(values[row]) else "pass finite numbers"
        raise ValueError(f"{name} has {values[row]} in row {row}, column {title}: {cure}.")
    return values.astype(np.float64) if values.dtype.kind == "O" else values


def _not_numbers(where: str, column: Any, values: npt.NDArray[Any], row: int) -> TypeError:
    """Return the error of a column with something else than a number in a row."""
    if all(isinstance(value, (str, bytes)) for value in values[:1000]):
        way = "pyarrow.compute.equal, one column of 0 and 1 for each text"
        if hasattr(column, "isna"):
            way = "pandas.get_dummies"
        elif hasattr(column, "to_dummies"):
            way = "to_dummies of polars"
        return TypeError(f"{where} of text: drop it, or encode it, e.g. by {way}.")
    what = described(values[row])
    return TypeError(
        f"{where}, with {what} in row {row}: drop it, or make it one number for each row."
    )


def is_column(value: Any) -> bool:
    """Whether a value is one column of pandas, polars or pyarrow."""
    kind = type(value)
    return any(hasattr(kind, method) for method in ("isna", "is_null")) and hasattr(
        kind, "__array__"
    )


def missing_of(column: Any) -> int | None:
    """Return the first row of a column that has no value; None if all have one."""
    missing = missing_mask(column)
    return int(missing.argmax()) if missing.any() else None


def missing_mask(column: Any) -> npt.NDArray[np.bool_]:
    """Return which rows of a column have no value; NaN is one to polars and pyarrow."""
    if hasattr(column, "isna"):
        return np.asarray(column.isna(), bool)
    if hasattr(column, "is_null"):
        if hasattr(column, "alias"):
            column = column.alias("values")  # polars takes a name such as "^a$" for a pattern
        return np.asarray(column.is_null(), bool)
    return np.zeros(len(column), bool)


def check_not_missing(name: str, column: Any, label: Any) -> None:
    """Raise an error that names the first missing value of a column."""
    row = missing_of(column)
    if row is None:
        return
    where = "" if label is None else f", column {label_of(label)}"
    dtype = getattr(column, "dtype", None) or getattr(column, "type", None)
    cure = "fill it, or drop the row" if label is None else MISSING_CURE
    raise ValueError(f"{name} has a missing value in row {row}{where} (dtype {dtype}): {cure}.")


def check_has_all(name: str, wanted: Iterable[str], columns: dict[str, Any], kind: str) -> None:
    """Raise an error that names the features of a model that a frame or a file lacks."""
    if lacking := [feature for feature in wanted if feature not in columns]:
        raise ValueError(
            f"{name} has no column {listed(lacking)}{similar(lacking[0], columns)}: pass a {kind} "
            "with all features of the model."
        )


def values_of(column: Any) -> npt.NDArray[Any]:
    """Return the values of a column that misses none as an array, of objects if need be."""
    dtype = str(getattr(column, "dtype", None) or getattr(column, "type", ""))
    if dtype.startswith(BY_LIST):
        methods = ("to_pylist", "to_list", "tolist")
        values = np.empty(len(column), object)
        values[:] = next(getattr(column, method) for method in methods if hasattr(column, method))()
        return values
    return np.asarray(column)


def numbers_of(values: npt.NDArray[Any]) -> npt.NDArray[Any] | tuple[tuple[int, ...], str]:
    """Return objects that are real numbers as float64, each the nearest; else the position of
    the first that is none, and what it is."""
    flat = values.ravel().tolist()
    wrong = {kind for kind in set(map(type, flat)) if not is_number(kind)}
    if not wrong:
        try:
            with np.errstate(over="ignore"):
                found: npt.NDArray[Any] = values.astype(np.float64)
            return found
        except (OverflowError, ValueError):  # an integer beyond all floats; a signaling NaN
            pass
    k = next(k for k, value in enumerate(flat) if type(value) in wrong or not _is_float(value))
    return tuple(map(int, np.unravel_index(k, values.shape))), described(flat[k])


def is_number(kind: type) -> bool:
    """Whether values of a type are real numbers; truth values are, spans of time are not."""
    is_real = issubclass(kind, (numbers.Real, np.bool_)) or is_decimal(kind)
    return is_real and not issubclass(kind, np.timedelta64)


def is_decimal(kind: type) -> bool:
    """Whether values of a type are decimals; there are none where nobody has imported them."""
    decimal = sys.modules.get("decimal")
    return decimal is not None and issubclass(kind, decimal.Decimal)


def _is_float(value: Any) -> bool:
    try:
        float(value)
    except (OverflowError, ValueError):
        return False
    return True


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none: None, NaN, or pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if is_decimal(type(value)):
        return bool(value.is_nan())
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def described(value: Any) -> str:
    """Name one value of a column in an error."""
    if is_missing(value):
        return "a missing value" if not isinstance(value, (float, np.floating)) else "nan"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and not _is_float(value):
        return "an integer beyond the range of floats"
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} (of type {type(value).__name__})"


def label_of(label: Any) -> str:
    """Return the name of a column as an error shows it."""
    return quoted(label) if isinstance(label, str) else quoted(repr(label))[1:-1]
