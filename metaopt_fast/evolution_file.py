"""Files of arrays that are whole or not there: results, and checkpoints of evolutions.

An npz file without pickle, with a digest of all that is in it. It is written beside its place and
moved there, so that whenever the process ends or the power fails, the last one is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arrayfiles import DAMAGED
from metaopt_fast.columns import check_file
from metaopt_fast.validation import why_not_written

Arrays = dict[str, npt.NDArray[Any]]

FORMAT_VERSION = 1


def write_arrays(path: str, kind: str, arrays: Arrays, rest: dict[str, Any]) -> None:
    """Write arrays, and what JSON holds, in the place of a file."""
    text = json.dumps({"kind": kind, "format": FORMAT_VERSION, "rest": rest})
    content = io.BytesIO()
    members = {**arrays, "text": np.array(text), "digest": np.array(_digest(arrays, text))}
    np.savez(content, **members)  # type: ignore[arg-type]  # one name is no array: allow_pickle
    try:
        replace_file(path, content.getbuffer())
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)  # else a loss of power may bring the old file back
        finally:
            os.close(folder)
    except OSError as error:
        reason, cure = why_not_written(path, error)
        raise type(error)(f"{path} could not be written ({reason}): {cure}.") from None


def replace_file(path: str, content: bytes | memoryview) -> None:
    """Put a whole file in the place of one; a link is replaced, not what it points to."""
    # A name that nobody can have foreseen, and exclusive: no other file is touched.
    beside = os.path.join(os.path.dirname(path), f".metaopt_fast-{secrets.token_hex(8)}.new")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def read_arrays(path: str, kind: str, names: tuple[str, ...]) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_arrays` wrote; raise ValueError with a reason if it is something else."""
    check_file(path)
    with open(path, "rb") as file:
        try:
            if not zipfile.is_zipfile(file):  # NumPy would advise to trust it
                raise ValueError("it is no npz file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as members:
                text, digest = str(members["text"]), str(members["digest"])
                content = json.loads(text)
                if content["kind"] != kind or content["format"] != FORMAT_VERSION:
                    raise ValueError(f"it is a {content['kind']} of format {content['format']}")
                arrays = {name: members[name] for name in names}
            for name, array in arrays.items():
                if not isinstance(array, np.ndarray):  # a member without NumPy's first bytes
                    raise ValueError(f"its {name} is no array")
        except (*DAMAGED, AttributeError, ArithmeticError, MemoryError) as error:
            reason = "".join(c if c.isprintable() else " " for c in str(error)[:80])
            raise ValueError(reason.rstrip(".: ") or "it ends early") from None
    if digest != _digest(arrays, text):
        raise ValueError("its contents do not match their digest")
    return arrays, content["rest"]


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(repr((name, array.dtype.descr, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
