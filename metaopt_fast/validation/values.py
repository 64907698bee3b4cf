"""Checks of what a caller passes in: one sentence each, before any kernel runs."""

from __future__ import annotations

import errno
import math
import numbers
import operator
import os
from typing import Any, cast

import numpy as np
import numpy.typing as npt

MAX_THREADS = 1024
DTYPES = ("float64", "float32")


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return `value` as an int within [low, high]; a bool or a float is not an integer."""
    wanted = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}: pass {wanted}.")
    try:
        integer = operator.index(cast(Any, value))
    except TypeError:
        raise TypeError(f"{name} is {describe(value)}: pass {wanted}.") from None
    if integer < low or (high is not None and integer > high):
        raise ValueError(f"{name} is {integer}: pass {wanted}.")
    return integer


def check_number(
    name: str, value: object, low: float = -math.inf, *, strictly: bool = False
) -> float:
    """Return `value` as a finite float of at least `low` (above it, if `strictly`)."""
    if type(value) is float and low < value < math.inf:
        return value  # most are: a search checks hundreds
    wanted = "a finite number"
    if low > -math.inf:
        wanted += f" above {low:g}" if strictly else f" of at least {low:g}"
    is_number = isinstance(value, (numbers.Real, np.integer, np.floating))
    if not is_number or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {describe(value)}: pass {wanted}.")
    try:
        number = float(cast(Any, value))
    except OverflowError:
        raise ValueError(f"{name} is too large for a float: pass {wanted}.") from None
    if not math.isfinite(number) or number < low or (strictly and number == low):
        raise ValueError(f"{name} is {number!r}: pass {wanted}.")
    return number


def check_n_threads(n_threads: object) -> int | None:
    """Return `n_threads` as an int in 1..1024, or None."""
    # A negative one makes libgomp end the process.
    return None if n_threads is None else check_integer("n_threads", n_threads, 1, MAX_THREADS)


def check_dtype(dtype: object) -> str:
    """Return "float64" or "float32"."""
    try:
        name = np.dtype(cast(Any, dtype)).name if dtype is not None else None
    except TypeError:
        name = None
    if name is None or name not in DTYPES:
        raise ValueError(f"dtype is {describe(dtype)}: pass 'float64' or 'float32'.")
    return str(name)


def check_threshold(threshold: object) -> float:
    """Return a loss that candidates are compared with; infinity is one."""
    if isinstance(threshold, bool) or not isinstance(
        threshold, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"threshold is {describe(threshold)}: pass a loss, or infinity.")
    if math.isnan(threshold):
        raise ValueError("threshold is nan: pass a loss, or infinity.")
    return float(threshold)


def check_path(name: str, path: object) -> str:
    """Return the absolute path of a file that is there or may be made."""
    # Not a number: `open` takes it for a file that is open already, the standard output perhaps.
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} is {describe(path)}: pass the path of a file.")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise ValueError(f"{name} is {describe(path)}: pass the path of a file.")
    if os.path.exists(text) and not os.path.isfile(text) and not os.path.isdir(text):
        raise ValueError(f"{name} is {describe(path)}, no regular file: pass the path of one.")
    # Absolute: SQLite takes ":memory:" for no file at all.
    return os.path.abspath(text)


def why_not_written(path: str, error: OSError) -> tuple[str, str]:
    """Return why a file could not be written, and the cure."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        return "it is a directory", "pass the path of a file"
    if not os.path.isdir(folder):
        return f"there is no directory {folder}", "make it, or pass a path in another one"
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return reason, "free space, or pass a path that can be"
    return reason, "pass a path that can be"


def to_float64(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the array as float64 in C order, aligned; what leaves the range becomes infinite."""
    with np.errstate(all="ignore"):
        return np.require(array, np.float64, ["C", "A"])


def check_flag(name: str, value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {describe(value)}: pass True or False.")
    return bool(value)


def describe(value: object) -> str:
    """Name `value` in an error: an array by its shape and dtype, the rest by a short repr and the
    type."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = " ".join(repr(value).split())  # a frame's repr has lines
    if len(text) > 60:
        text = text[:57] + "..."
    return "None" if value is None else f"{text} (of type {type(value).__name__})"


def as_real_array(name: str, value: object, ndim: int | None, wanted: str) -> npt.NDArray[Any]:
    """Return `value` as an array of a boolean, integer or floating dtype, with `ndim` dimensions
    (None: 0 or 1)."""
    return check_real(name, as_array(name, value, wanted), ndim, wanted)


def as_array(name: str, value: object, wanted: str) -> npt.NDArray[Any]:
    """Return `value` as an array of any dtype."""
    if value is None:
        raise TypeError(f"{name} is None: pass {wanted}.")
    check_dense(name, value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise ValueError(f"{name} cannot be read as an array of numbers: pass {wanted}.") from None
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: pass {wanted} without a mask.")
    return array


def is_sparse(value: object) -> bool:
    """Whether a value is a sparse matrix, or a sparse array, of SciPy."""
    kind = type(value)
    return hasattr(kind, "nnz") and hasattr(kind, "toarray")


def check_dense(name: str, value: object) -> None:
    """Raise an error that names a sparse matrix of SciPy as what it is."""
    kind = type(value)
    if is_sparse(value):
        size = math.prod(cast(Any, value).shape) * 8 / 1e6
        raise TypeError(
            f"{name} is a sparse matrix (of type {kind.__name__} and shape "
            f"{cast(Any, value).shape}): pass {name}.toarray(), of {size:,.1f} MB, or fewer "
            "columns of it where memory has no room for all."
        )


def check_real(
    name: str, array: npt.NDArray[Any], ndim: int | None, wanted: str
) -> npt.NDArray[Any]:
    """Return an array of real numbers, with `ndim` dimensions (None: 0 or 1)."""
    if array.dtype.kind == "O" and array.ndim == 0:  # a dict, a generator, any one thing
        raise TypeError(f"{name} is {describe(array.item())}: pass {wanted}.")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, not of real numbers: pass {wanted}.")
    if array.ndim != ndim and not (ndim is None and array.ndim < 2):
        raise ValueError(f"{name} has shape {array.shape}: pass {wanted}.")
    return array
