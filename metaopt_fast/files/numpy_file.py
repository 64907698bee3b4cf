"""Readers of arrays: npz and npy, without pickle."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.errors import DAMAGED, damaged
from metaopt_fast.files.npy_header import Header, read_header
from metaopt_fast.files.table import DataFile, Table, check_n_groups, classes_of, complete
from metaopt_fast.files.wanted import Wanted, roles_of
from metaopt_fast.validation.text import VALUE_WANTED, listed, quoted, shown

# Bytes of a compressed array to read at a time.
PIECE = 2**20

# The memory that a container may have.
CGROUP_LIMIT = "/sys/fs/cgroup/memory.max"


def read_npz(file: DataFile, wanted: Wanted) -> Table:
    """Read the features, array X, and the target, array y or of the name that is given."""
    path, name = file.name, "y" if wanted.target is None else wanted.target
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = [member.removesuffix(".npy") for member in archive.namelist()]
            needed = ("X", name) if wanted.is_labelled else ("X",)
            for array in needed:
                if array not in members:
                    raise ValueError(
                        f"{shown(path)} has no array {quoted(array)} (it has {listed(members)}): "
                        "save the features as X and the target as y."
                    )
            X, *labels = (_read_member(path, archive, array) for array in needed)
    except DAMAGED as error:
        raise damaged(path, error, ".npz") from None
    return _from_arrays(path, X, labels[0] if labels else None, f"array {quoted(name)}", wanted)


def _read_member(path: str, archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Read one array, after a look at what it claims to be."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        shape, is_fortran, dtype = _checked_header(path, file, f"array {quoted(name)}")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - file.tell():
            raise ValueError(f"array {name} does not have the size that its header says")
        check_size(f"{shown(path)}, array {quoted(name)}", size)
        content = bytearray()
        while len(content) < size and (piece := file.read(PIECE)):
            content += piece
        if len(content) != size or file.read(1):  # the read of the end checks the CRC
            raise ValueError(f"array {name} ends early")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_npy(file: DataFile, wanted: Wanted) -> Table:
    """Read the features, and the target, which is the last column."""
    path, n_labels = file.name, int(wanted.is_labelled)
    if wanted.target is not None:
        raise ValueError(
            f"{shown(path)} has columns without names: leave the target {quoted(wanted.target)} "
            "out, it is the last column of an .npy file."
        )
    try:
        with open(file.path, "rb") as stream:
            shape, is_fortran, dtype = _checked_header(path, stream, "the array")
            size = math.prod(shape) * dtype.itemsize
            if size != os.path.getsize(file.path) - stream.tell():
                raise ValueError("the array does not have the size that its header says")
            if len(shape) != 2 or shape[1] < 1 + n_labels or shape[0] == 0:
                raise ValueError(
                    f"{shown(path)} has an array of shape {shape}: save one of shape "
                    "(n_samples, n_features + 1), the target last."
                )
            order: Literal["F", "C"] = "F" if is_fortran else "C"
            table = np.memmap(file.path, dtype, "r", stream.tell(), shape, order)
    except DAMAGED as error:
        raise damaged(path, error, ".npy") from None
    labels = table[:, -1] if wanted.is_labelled else None
    X = table[:, : shape[1] - n_labels]
    return _from_arrays(path, X, labels, "the last column", wanted)


def _checked_header(path: str, file: Any, what: str) -> Header:
    header = read_header(file)
    if header.dtype.kind not in "biufSU":
        raise ValueError(f"{shown(path)}: {what} has dtype {header.dtype}: save real numbers.")
    return header


def _from_arrays(
    path: str, X: npt.NDArray[Any], y: npt.NDArray[Any] | None, where: str, wanted: Wanted
) -> Table:
    y = np.zeros(X.shape[:1], np.uint8) if y is None else y
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape or X.dtype.kind not in "biuf":
        raise ValueError(
            f"{shown(path)} has features of shape {X.shape} and dtype {X.dtype}, and a target of "
            f"shape {y.shape}: save numbers of shape (n_samples, n_features), and (n_samples,)."
        )
    names = [f"x{j}" for j in range(X.shape[1])]
    roles, groups = roles_of(path, names, wanted._replace(target=None, is_labelled=False)), None
    if roles.group is not None:
        groups = _groups(path, X[:, roles.group], names[roles.group])
    positions = np.array(roles.features)
    if len(positions) < len(names):
        X = X[:, positions]
    if X.dtype != np.float64 or not (X.flags.writeable and X.flags.c_contiguous):
        with np.errstate(over="ignore"):
            X = np.array(X, np.float64, order="C")
    finite = ~np.isinf(X) if wanted.may_miss else np.isfinite(X)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        cure = wanted.missing_cure if np.isnan(X[row, column]) else "pass finite numbers"
        raise ValueError(
            f"{shown(path)}, row {row}, column {positions[column]} has {X[row, column]}: {cure}."
        )
    classes, class_names = _classes(path, y, where, wanted) if wanted.is_labelled else (y, ())
    feature_names = tuple(names[j] for j in roles.features)
    return complete(path, Table(X, classes, feature_names, class_names, groups), wanted)


def _groups(path: str, column: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    groups = np.array(column)  # before it is rounded to a float
    if groups.dtype.kind == "f" and np.isnan(groups).any():
        row = int(np.isnan(groups).argmax())
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(name)} has nan: {VALUE_WANTED}."
        )
    check_n_groups(path, name, len(np.unique(groups)))
    return groups


def _classes(
    path: str, y: npt.NDArray[Any], where: str, wanted: Wanted
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y)))
        raise ValueError(f"{shown(path)}, row {row}, {where} has {y[row]}: {VALUE_WANTED}.")
    values, codes = np.unique(y, return_inverse=True)
    return classes_of(path, values.tolist(), codes, where, wanted)


def check_size(what: str, size: int) -> None:
    """Raise an error where what a file claims to hold would take too much memory."""
    if size > _half_of_memory():
        raise ValueError(
            f"{what} needs {size / 1e9:.1f} GB, more than half of the memory that this process may "
            "have: pass a smaller one."
        )


def _half_of_memory() -> int:
    """Return half of the bytes of memory that this process may have."""
    import resource

    limits = [2**63]
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limits.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    with contextlib.suppress(OSError, ValueError), open(CGROUP_LIMIT, encoding="ascii") as file:
        limits.append(int(file.read()))  # "max" is none
    return min(limit for limit in limits if limit >= 0) // 2
