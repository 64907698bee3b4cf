"""Files that one process at a time owns: checkpoints.

The lock belongs to an open file (Linux's F_OFD_SETLK), not to the process as POSIX's do, which end
as soon as their process closes any other descriptor of the file: a callback that copies it would
give it away. It ends with the process, however that ends, and leaves nothing behind.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import weakref
from typing import Any, BinaryIO

from metaopt_fast.validation.values import why_not_written

# The bytes that SQLite locks, far behind the contents: its own processes respect ours.
LOCK_START, LOCK_LENGTH = 0x40000000, 512

# Whether there are locks of open files; elsewhere SQLite's own have to do.
HAS_LOCKS = sys.platform == "linux"

# Seconds to wait for a file that is in use, and between two tries.
PATIENCE, PAUSE = 0.5, 0.02

# Bytes at the beginning that show whether a file is still as it was left: SQLite's counter of
# changes, and the page with the configuration.
HEAD = 8192


class CheckpointError(ValueError):
    """A checkpoint that is damaged, in use, or of another search; or gone while the search ran.

    Attributes
    ----------
    result : SearchResult, EvolveResult or None
        What had been found, where the checkpoint was deleted, replaced or changed by somebody else
        during the run; None where it was refused before.
    """

    result: Any = None


class OwnedFile:
    """A file that is open, and locked until it is closed, or collected.

    An interrupt may keep the owner from closing it. What ends the lock then is C: Python drops the
    interrupts that come while it runs a `__del__` or the callback of a weak reference.

    Parameters
    ----------
    path : str
    create : bool
        Whether to make it if it does not exist.

    Raises
    ------
    CheckpointError
        If another process owns it, or another search of this one.
    OSError
        If it cannot be opened or locked.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        # What it was like when it was left; None while it is being written.
        self._left: tuple[int, int, int, bytes] | None = None
        # A child that was forked has the descriptor, but owns nothing.
        self.is_ours = True
        # The file, and the one that is about to take its place, if any.
        self._files: list[BinaryIO] = []
        self._files.append(_open(path, create))
        try:
            lock(self._files[0], path)
            if not _is_at(self._files[0], path):  # moved away before it was locked
                raise _in_use(path)
        except OSError as error:
            self.close()
            raise OSError(
                f"{path} cannot be locked ({error.strerror}): pass a path on a local disk."
            ) from None
        except CheckpointError:
            self.close()
            raise
        _OWNED.add(weakref.ref(self, _OWNED.discard))

    def begin(self) -> None:
        """Raise CheckpointError unless the file is as it was left; what follows may change it."""
        self._follow()
        is_there = _is_at(self._files[0], self.path)
        if not is_there or (self._left is not None and self._left != self._look()):
            raise self._changed()
        self._left = None

    def check_pages(self) -> None:
        """Raise CheckpointError where pages of the database were cut off while it was written.

        SQLite writes those that it changes alone: the second one is zeros if it was cut before.
        """
        *_, size, head = self._look()
        page_size, n_pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        second = head[page_size : page_size + 1]
        if size == 0 or size < page_size * n_pages or second == b"\0":
            raise self._changed()

    def expect(self, file: BinaryIO) -> None:
        """Own a file that is about to take the place of this one, too."""
        self._files.append(os.fdopen(os.dup(file.fileno()), "r+b", buffering=0))
        lock(self._files[-1], self.path)

    def leave(self) -> None:
        """Remember what the file is like."""
        self._follow()
        self._left = self._look()

    def _follow(self) -> None:
        """Give up the file before the one that has taken its place, or that one if it has not."""
        while len(self._files) > 1:
            gone = self._files.pop(0 if _is_at(self._files[1], self.path) else 1)
            gone.close()

    def close(self) -> None:
        """Give the file up."""
        for file in self._files:
            file.close()

    def _changed(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} was deleted, replaced or changed by somebody else during the run: what "
            "had been found is the attribute result of this error; save that, and go on with "
            "another path."
        )

    def _look(self) -> tuple[int, int, int, bytes]:
        file = self._files[0]
        found = os.fstat(file.fileno())
        file.seek(0)
        return found.st_dev, found.st_ino, found.st_size, file.read(HEAD)


def _is_at(file: BinaryIO, path: str) -> bool:
    """Return whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def lock(file: BinaryIO, path: str) -> None:
    """Lock an open file; raise CheckpointError if it stays locked by another for a while."""
    if sys.platform != "linux":
        return
    import fcntl

    # struct flock: kind, whence, start, length, and no process.
    wanted = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, LOCK_START, LOCK_LENGTH, 0)
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > until:
                raise _in_use(path) from None
            time.sleep(PAUSE)
        else:
            return


def _open(path: str, create: bool) -> BinaryIO:
    more = os.O_CREAT if create else 0
    try:
        return open(
            path, "r+b", buffering=0, opener=lambda name, flags: os.open(name, flags | more, 0o644)
        )
    except OSError as error:
        reason, cure = why_not_written(path, error)
        raise OSError(f"{path} cannot be opened for writing ({reason}): {cure}.") from None


def _in_use(path: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is in use by another process: wait for it, or pass another path."
    )


# No WeakSet, whose callbacks are Python.
_OWNED: set[weakref.ref[OwnedFile]] = set()


def _disown() -> None:
    """Close what a forked child has inherited: it may outlive the owner, and its lock with it."""
    for owned in filter(None, [reference() for reference in _OWNED.copy()]):
        owned.is_ours = False
        owned.close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_disown)
