"""Files of arrays that are whole or not there: results, and checkpoints of evolutions.

An npz file without pickle, with a digest of all that is in it. It is written under another name
and moved there, so that whenever the process ends or the power fails, the last one is whole.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.atomic import replace_file, sync_folder
from metaopt_fast.files.errors import DAMAGED
from metaopt_fast.files.npy_header import read_header
from metaopt_fast.files.owned import OwnedFile
from metaopt_fast.files.table import check_file
from metaopt_fast.validation.values import why_not_written

Arrays = dict[str, npt.NDArray[Any]]

FORMAT_VERSION = 1


def write_arrays(
    path: str, kind: str, arrays: Arrays, rest: dict[str, Any], owned: OwnedFile | None = None
) -> None:
    """Write arrays, and what JSON holds, as a file, which may replace one that is owned.

    Through links, as `open` writes: the file that they lead to is replaced, or made.
    """
    text = json.dumps({"kind": kind, "format": FORMAT_VERSION, "rest": rest})
    members = {**arrays, "text": np.array(text), "digest": np.array(_digest(arrays, text))}
    content = _packed(members)
    target = os.path.realpath(path)
    try:
        if os.path.islink(target):  # which leads to itself
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        replace_file(target, content, owned)
        sync_folder(target)
    except OSError as error:
        reason, cure = why_not_written(target, error)
        raise type(error)(f"{path} could not be written ({reason}): {cure}.") from None


def _packed(members: Arrays) -> memoryview:
    """Return the bytes of an npz file."""
    content = io.BytesIO()
    try:
        np.savez(content, **members)  # type: ignore[arg-type]  # one name is no array: allow_pickle
    except ValueError as error:
        # An archive is not closed while a member is open, as where an interrupt came just then.
        raise (error.__context__ or error) from None
    return content.getbuffer()


def read_arrays(path: str, kind: str, names: tuple[str, ...]) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_arrays` wrote; raise ValueError with a reason if it is something else."""
    check_file(path)
    with open(path, "rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no npz file")
            with zipfile.ZipFile(file) as archive:
                size = os.fstat(file.fileno()).st_size
                text = str(_read_member(archive, "text", size))
                content = json.loads(text)
                if content["kind"] != kind or content["format"] != FORMAT_VERSION:
                    raise ValueError(f"it is a {content['kind']} of format {content['format']}")
                arrays = {}
                for name in ("digest", *names):
                    arrays[name] = _read_member(archive, name, size)
                    size -= arrays[name].nbytes
            digest = str(arrays.pop("digest"))
            rest = content["rest"]
            if not isinstance(rest, dict):
                raise ValueError("it has no configuration")
        except (*DAMAGED, AttributeError, ArithmeticError, MemoryError) as error:
            reason = "".join(c if c.isprintable() else " " for c in str(error)[:80])
            raise ValueError(reason.rstrip(".: ") or "it ends early") from None
    if digest != _digest(arrays, text):
        raise ValueError("its contents do not match their digest")
    return arrays, rest


def _read_member(archive: zipfile.ZipFile, name: str, left: int) -> npt.NDArray[Any]:
    """Read one array, after a look at what it claims to be: as we write them, nothing is longer
    than what is left of the file."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED or not member.file_size <= left:
        raise ValueError(f"its {name} is longer than the file")
    with archive.open(member) as file:
        try:
            shape, is_fortran, dtype = read_header(file)
        except ValueError:
            raise ValueError(f"its {name} is no array") from None
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size != member.file_size - file.tell():
            raise ValueError(f"its {name} is not as long as its header says")
        content = bytearray(file.read())  # up to the end, where the checksum is
    if len(content) != size:
        raise ValueError(f"its {name} ends early")
    return np.ndarray(shape, dtype, content, order="F" if is_fortran else "C")


def check_array(arrays: Arrays, name: str, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array has a dtype and a shape; -1 is any length."""
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        wanted in (-1, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"its {name} has shape {array.shape} and dtype {array.dtype}")


def check_number(rest: dict[str, Any], name: str) -> None:
    """Raise ValueError unless an entry is a finite number of at least 0."""
    value = rest.get(name)
    if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 <= value < math.inf):
        raise ValueError(f"its {name} is no number of at least 0")


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.descr, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
