"""Compressed files, unpacked as they are read: gzip, bzip2, and zstd where something reads it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import IO, Any

from metaopt_fast.files.errors import DAMAGED, damaged
from metaopt_fast.files.recoded import Recoded
from metaopt_fast.validation.text import shown

# The first bytes of files that are compressed, and what packed them.
BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
SUFFIXES = (".gz", ".bz2", ".zst")


class Unpacked:
    """Bytes of a compressed file; an error of its packer is a sentence about the file."""

    def __init__(self, name: str, packer: str, file: IO[bytes]) -> None:
        self.packer = packer
        self._name, self._file = name, _opened(name, packer, file)

    def peek(self, size: int) -> bytes:
        """Return the bytes that come next, about so many, which are read again."""
        return self._called(self._file.peek, size)

    def recode(self) -> None:
        """Read text in UTF-16 as bytes in UTF-8 from now on."""
        self._file = Recoded(self._name, self._file)

    def readline(self, limit: int) -> bytes:
        """Return the bytes up to the end of a line, `limit` at most."""
        return self._called(self._file.readline, limit)

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        return self._called(self._file.read, size)

    def _called(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except DAMAGED as error:
            raise damaged(self._name, error, f"{self.packer}-compressed") from None


def packer_of(beginning: bytes) -> str | None:
    """Return what packed a file that begins so; None if nothing did."""
    return next((BEGINNINGS[first] for first in BEGINNINGS if beginning.startswith(first)), None)


def _opened(name: str, packer: str, file: IO[bytes]) -> Any:
    if packer == "gzip":
        import gzip

        return gzip.GzipFile(fileobj=file)
    if packer == "bzip2":
        import bz2

        return bz2.BZ2File(file)
    if packer == "zstd":
        return _zstd(name, file)
    # Not xz: a file may ask for gigabytes of memory before its first byte is there.
    raise ValueError(f"{shown(name)} is compressed by {packer}: unpack it, e.g. by {packer} -d.")


def _zstd(name: str, file: IO[bytes]) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return io.BufferedReader(zstd.ZstdFile(file))
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            f"{shown(name)} is compressed by zstd, which needs Python 3.14 or pyarrow: pip install "
            "'metaopt_fast[parquet]', or unpack it by zstd -d."
        ) from None
    return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"))
