"""Where arrays of many rows lie: in the memory of the process, or in files of a folder.

Such a file has no name, so that it is gone with the process, however that ends. It is mapped: the
system holds in memory what is in use, and as much more as there is room for. All of its space is
taken before it is mapped: a full disk is an error then, and no signal (SIGBUS) later.
"""

from __future__ import annotations

import errno
import math
import os
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation.values import describe

Shape: TypeAlias = int | tuple[int, ...]
StoragePath: TypeAlias = str | os.PathLike[str]

# Of an address, in bytes: that of the widest vectors.
ALIGNMENT = 64
# Bytes of a file that are taken between two looks at signals.
TAKEN_AT_ONCE = 64 * 1024 * 1024
# And that are written.
WRITTEN_AT_ONCE = 16 * 1024 * 1024
# Rows whose values are looked up together.
TAKEN_ROWS = 2**20
# What systems say that cannot take space for a file before it is written.
CANNOT_TAKE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# And of a disk that is full, or of which a user or a process may have no more.
IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Memory:
    """The memory of the process."""

    folder: str | None = None

    def check_room(self, n_bytes: int) -> None:
        """Raise OSError where it is known that so many bytes have no room."""

    def zeros(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return bytes of zeros whose address is a multiple of the widest vector's."""
        memory = np.zeros(n_bytes + ALIGNMENT, np.uint8)
        offset = -memory.ctypes.data % ALIGNMENT
        return memory[offset : offset + n_bytes]

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array of any numbers, in C order."""
        return np.empty(shape, dtype)

    def copy(self, array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
        """Return a copy of an array, in C order, of its dtype or another one."""
        found = self.empty(array.shape, array.dtype if dtype is None else dtype)
        found[...] = array
        return found

    def keep(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return an array that may take the place of one that was made in memory."""
        return array

    def pile(self) -> Pile:
        """Return an array that grows, and has no rows so far."""
        return Pile()

    def take(
        self, values: npt.NDArray[Any], rows: npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[Any]:
        """Return the values of some rows; a number below 0 stands for the first one."""
        found = self.empty(len(rows), values.dtype)
        # NumPy copies row numbers of another dtype, and results that it checks.
        for first in range(0, len(rows), TAKEN_ROWS):
            some = slice(first, first + TAKEN_ROWS)
            np.take(values, rows[some], out=found[some], mode="clip")
        return found


class Folder(Memory):
    """Files without names in a folder, each of one array."""

    folder: str

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def check_room(self, n_bytes: int) -> None:
        import shutil

        try:
            usage = shutil.disk_usage(self.folder)
        except OSError as error:  # it was there
            raise self.refused(n_bytes, error) from None
        if usage.total > 0 and usage.free < n_bytes:
            raise self.refused(n_bytes, OSError(errno.ENOSPC, f"{usage.free:,} are free"))

    def zeros(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        self.check_room(n_bytes)
        try:
            with self.file() as file:
                take_space(file.fileno(), max(n_bytes, 1))
                return mapped(file, n_bytes)
        except OSError as error:
            raise self.refused(n_bytes, error) from None

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        n_bytes = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        return self.zeros(n_bytes).view(dtype).reshape(shape)

    def keep(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self.copy(array)

    def pile(self) -> Pile:
        return PileInFile(self)

    def file(self) -> IO[bytes]:
        """Return a new file, which nobody else can open."""
        import tempfile

        return tempfile.TemporaryFile(dir=self.folder, buffering=0)

    def refused(self, n_bytes: int, error: OSError) -> OSError:
        """Return the error of so many bytes that the folder does not take."""
        cure = "pass a directory that this process may write to"
        if error.errno in IS_FULL:
            cure = "free space there, or pass a directory on another disk"
        reason = error.strerror or str(error)
        fault = OSError(
            f"storage is {self.folder!r}, where a file of {n_bytes:,} bytes cannot be ({reason}): "
            f"{cure}."
        )
        fault.errno = error.errno
        return fault


IN_MEMORY = Memory()


def check_storage(storage: StoragePath | None) -> Memory:
    """Return where rows are to lie: in memory, or in a directory that takes files."""
    if storage is None:
        return IN_MEMORY
    wanted = "the path of a directory on a local disk, or None for memory"
    if not isinstance(storage, (str, os.PathLike)):
        raise TypeError(f"storage is {describe(storage)}: pass {wanted}.")
    folder = os.fsdecode(storage)
    if "\0" in folder or not os.path.isdir(folder):
        raise ValueError(f"storage is {describe(storage)}, no directory: pass {wanted}.")
    found = Folder(os.path.abspath(folder))
    try:
        found.file().close()
    except OSError as error:
        raise found.refused(0, error) from None
    return found


def take_space(descriptor: int, n_bytes: int) -> None:
    """Make a file as large as asked, of zeros that have their place on the disk."""
    for first in range(0, n_bytes, TAKEN_AT_ONCE):
        size = min(TAKEN_AT_ONCE, n_bytes - first)
        try:
            os.posix_fallocate(descriptor, first, size)
        except OSError as error:
            if error.errno not in CANNOT_TAKE:
                raise
            write_zeros(descriptor, first, size)


def write_zeros(descriptor: int, first: int, size: int) -> None:
    """Write zeros to a part of a file."""
    zeros = memoryview(bytes(min(size, 1024 * 1024)))
    done = 0
    while done < size:
        done += os.pwrite(descriptor, zeros[: size - done], first + done)


def mapped(file: IO[bytes], n_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the first bytes of a file as an array, which keeps it open."""
    import mmap

    if n_bytes == 0:
        return np.empty(0, np.uint8)
    try:
        return np.frombuffer(mmap.mmap(file.fileno(), n_bytes), np.uint8)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        raise


def is_mapped(array: npt.NDArray[Any]) -> bool:
    """Whether an array is, or is a part of, a file that is mapped."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    if isinstance(base, memoryview):  # what numpy.frombuffer makes of a map
        base = base.obj
    return type(base).__name__ == "mmap"


class Pile:
    """An array that grows at its end by rows of one shape, in memory."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[Any]] = []

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Add rows at the end."""
        self._parts.append(np.array(rows))

    def array(self) -> npt.NDArray[Any]:
        """Return all rows, of a dtype that holds those of each."""
        return np.concatenate(self._parts)

    def close(self) -> None:
        """Give back what is not in an array."""


class PileInFile(Pile):
    """The same, in a file of a folder: nothing but the rows at hand is in memory."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._dtype: np.dtype[Any] = np.dtype(np.bool_)
        self._shape: tuple[int, ...] = ()  # of a row
        self._n_bytes = 0

    def add(self, rows: npt.NDArray[Any]) -> None:
        dtype = rows.dtype.newbyteorder("=")
        if self._file is None:
            self._begin(dtype, rows.shape[1:])
        elif (both := np.result_type(self._dtype, dtype)) != self._dtype:
            before = self.array()
            self.close()
            self._begin(both, rows.shape[1:])
            size = max(1, WRITTEN_AT_ONCE // max(1, before[:1].nbytes))
            for first in range(0, len(before), size):
                self._write(before[first : first + size])
        self._write(rows)

    def array(self) -> npt.NDArray[Any]:
        assert self._file is not None  # there are rows
        return mapped(self._file, self._n_bytes).view(self._dtype).reshape(-1, *self._shape)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _begin(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        try:
            self._file = self._folder.file()
        except OSError as error:
            raise self._folder.refused(self._n_bytes, error) from None
        self._dtype, self._shape, self._n_bytes = dtype, shape, 0

    def _write(self, rows: npt.NDArray[Any]) -> None:
        assert self._file is not None  # begun
        with np.errstate(all="ignore"):
            numbers = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        done = 0
        try:
            while done < len(numbers):
                done += self._file.write(numbers[done : done + WRITTEN_AT_ONCE])
        except OSError as error:
            raise self._folder.refused(self._n_bytes + len(numbers), error) from None
        self._n_bytes += done
