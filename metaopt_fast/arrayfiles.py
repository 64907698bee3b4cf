"""Readers of arrays and columns: npz and npy without pickle, Parquet by pyarrow or polars."""

from __future__ import annotations

import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.columns import Table, listed, place_of_target, quoted, shown, two_classes
from metaopt_fast.validation import to_float64

# Bytes of a compressed array to read at a time.
PIECE = 2**20

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# What NumPy and zipfile raise when a file is damaged.
DAMAGED = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    OSError,  # a seek to an impossible place
    RuntimeError,  # an encrypted member; NotImplementedError, an unknown compression
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: str, target: str | None) -> Table:
    name = "y" if target is None else target
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member.removesuffix(".npy") for member in archive.namelist()]
            for wanted in ("X", name):
                if wanted not in members:
                    raise ValueError(
                        f"{shown(path)} has no array {quoted(wanted)} (it has {listed(members)}): "
                        "save the features as X and the target as y."
                    )
            X = _read_member(path, archive, "X")
            y = _read_member(path, archive, name)
    except DAMAGED as error:
        raise damaged(path, error) from None
    return _from_arrays(path, X, y, f"array {quoted(name)}")


def _read_member(path: str, archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Read one array, after a look at what it claims to be."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        shape, is_fortran, dtype = _read_header(path, file, f"array {quoted(name)}")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - file.tell():
            raise ValueError(f"array {name} does not have the size that its header says")
        if size > _half_of_memory():
            raise ValueError(
                f"{shown(path)}, array {quoted(name)} needs {size / 1e9:.1f} GB, more than "
                "half of this machine's memory: pass a smaller one."
            )
        content = bytearray()
        while len(content) < size and (piece := file.read(PIECE)):
            content += piece
        if len(content) != size or file.read(1):  # the read of the end checks the CRC
            raise ValueError(f"array {name} ends early")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_npy(path: str, target: str | None) -> Table:
    if target is not None:
        raise ValueError(
            f"{shown(path)} has columns without names: leave the target {quoted(target)} out, "
            "it is the last column of an .npy file."
        )
    try:
        with open(path, "rb") as file:
            shape, is_fortran, dtype = _read_header(path, file, "the array")
            size = math.prod(shape) * dtype.itemsize
            if size != os.path.getsize(path) - file.tell():
                raise ValueError("the array does not have the size that its header says")
            if len(shape) != 2 or shape[1] < 2 or shape[0] == 0:
                raise ValueError(
                    f"{shown(path)} has an array of shape {shape}: save one of shape "
                    "(n_samples, n_features + 1), the target last."
                )
            table = np.memmap(path, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")
    except DAMAGED as error:
        raise damaged(path, error) from None
    return _from_arrays(path, table[:, :-1], table[:, -1], "the last column")


def _read_header(path: str, file: Any, what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format is for records")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy and Python: "it was created on Python 2"
        shape, is_fortran, dtype = HEADERS[version](file)
    if dtype.kind not in "biufSU":
        raise ValueError(f"{shown(path)}: {what} has dtype {dtype}: save real numbers.")
    if min(shape, default=0) < 0:
        raise ValueError(f"the header has shape {shape}")
    return shape, is_fortran, dtype


def _from_arrays(path: str, X: npt.NDArray[Any], y: npt.NDArray[Any], where: str) -> Table:
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape or X.dtype.kind not in "biuf":
        raise ValueError(
            f"{shown(path)} has features of shape {X.shape} and dtype {X.dtype}, and a target of "
            f"shape {y.shape}: save numbers of shape (n_samples, n_features), and (n_samples,)."
        )
    if X.dtype != np.float64 or not (X.flags.writeable and X.flags.c_contiguous):
        with np.errstate(over="ignore"):
            X = np.array(X, np.float64, order="C")
    finite = np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"{shown(path)}, row {row}, column {column} has {X[row, column]}: pass finite numbers."
        )
    codes, class_names = two_classes(path, y, where)
    return Table(X, codes, tuple(f"x{j}" for j in range(X.shape[1])), class_names)


def read_parquet(path: str, target: str | None) -> Table:
    names, columns = _parquet_columns(path)
    place = place_of_target(path, names, target)
    name, labels = names.pop(place), columns.pop(place)
    if len(labels) == 0:
        raise ValueError(f"{shown(path)} has columns but no rows: pass a file with rows.")
    X = np.empty((len(labels), len(names)))
    for j, column in enumerate(columns):
        if column.dtype.kind not in "biuf":
            raise ValueError(
                f"{shown(path)}, column {quoted(names[j])} does not hold numbers alone: leave it "
                "out, or convert it."
            )
        X[:, j] = to_float64(column)
        if not np.isfinite(X[:, j]).all():
            row = int(np.argmin(np.isfinite(X[:, j])))
            raise ValueError(
                f"{shown(path)}, row {row}, column {quoted(names[j])} has {X[row, j]} or nothing: "
                "pass finite numbers."
            )
    y, class_names = two_classes(path, labels, f"column {quoted(name)}")
    return Table(X, y, tuple(names), class_names)


def _parquet_columns(path: str) -> tuple[list[str], list[npt.NDArray[Any]]]:
    """Return names and columns, by whichever library there is."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return _polars_columns(path)
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
        return list(table.column_names), [column.to_numpy() for column in table.columns]
    except (pyarrow.ArrowException, *DAMAGED) as error:
        raise damaged(path, error) from None


def _polars_columns(path: str) -> tuple[list[str], list[npt.NDArray[Any]]]:
    try:
        import polars
    except ImportError:
        raise ImportError(
            "reading Parquet needs pyarrow or polars: pip install 'metaopt_fast[parquet]'."
        ) from None
    try:
        frame = polars.read_parquet(path)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, *DAMAGED) as error:
        raise damaged(path, error) from None
    return frame.columns, [column.to_numpy() for column in frame]


def _half_of_memory() -> int:
    """Return half of the bytes of memory that this machine has."""
    if not hasattr(os, "sysconf"):
        return 2**62
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def damaged(path: str, error: BaseException) -> ValueError:
    """Return a sentence about a file that cannot be read, unless the error is one already."""
    text = "".join(c if c.isprintable() else " " for c in str(error))
    if isinstance(error, ValueError) and text.startswith(shown(path)):
        return error
    suffix = os.path.splitext(path)[1].lower()
    return ValueError(f"{shown(path)} is not a whole {suffix} file ({text[:100]}): save it again.")
