"""Files that are replaced as a whole: however a process ends, the old or the new one is there."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from functools import partial
from typing import BinaryIO

from metaopt_fast.files.owned import OwnedFile


def replace_file(path: str, content: bytes | memoryview, owned: OwnedFile | None = None) -> None:
    """Put a whole file in the place of one; a link is replaced, not what it points to.

    Whoever could not read the old file cannot read the new one. Where the old one is owned, so is
    the new one, from before it is there.
    """
    # A name that nobody can have foreseen, and exclusive: no other file is touched.
    beside = os.path.join(os.path.dirname(path), f".metaopt_fast-{secrets.token_hex(8)}.new")
    try:
        before = os.stat(path) if os.path.exists(path) else None
        # What is to be kept from others is so before there is anything in it.
        mode = 0o666 if before is None else 0o600
        with open(beside, "x+b", opener=partial(os.open, mode=mode)) as file:
            if before is not None and sys.platform != "win32":
                _keep_mode(file, before)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if owned is not None:
                owned.expect(file)
        os.replace(beside, path)
        if owned is not None:
            owned.leave()
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _keep_mode(file: BinaryIO, before: os.stat_result) -> None:
    """Give a file the owner, the group and the permissions that another one has."""
    mode = stat.S_IMODE(before.st_mode) & 0o777
    with contextlib.suppress(OSError):  # root alone may
        os.fchown(file.fileno(), before.st_uid, -1)
    try:
        os.fchown(file.fileno(), -1, before.st_gid)
    except OSError:  # another group has what all others have
        mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(file.fileno(), mode)


def sync_folder(path: str) -> None:
    """Write the folder of a file to the disk: else a loss of power may bring the old file back."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
