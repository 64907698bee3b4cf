"""What survives a killed process: finished shards in an SQLite file.

One row for each finished shard, committed before the search goes on, with a digest of its own. The
file is made whole before it gets its name, opened by one process at a time, and checked whenever it
is opened: a damaged one is refused. Nothing in it is ever executed: numbers and JSON alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from types import TracebackType
from typing import Any, Self

import numpy as np

from metaopt_fast.result import TOP_DTYPE
from metaopt_fast.shards import Shard

APPLICATION_ID = 0x6D6F6661
FORMAT_VERSION = 1

# Entries of a configuration that a resumed search may change; the others determine its bits.
FREE_ENTRIES = ("n_candidates", "start", "isa", "n_threads", "versions", "metadata")


class CheckpointError(ValueError):
    """A checkpoint that is damaged, in use, or of another search."""


class Checkpoint:
    """An open checkpoint file; a context manager that closes it.

    Parameters
    ----------
    path : path-like
    config : dict, optional
        The search's configuration: a new file records it, an old one must agree with it. Without it
        the file must exist.

    Raises
    ------
    CheckpointError
        If the file is damaged, open elsewhere, no checkpoint, or one of another search.
    OSError
        If it cannot be made, read or written.
    """

    def __init__(self, path: str | os.PathLike[str], config: dict[str, Any] | None = None) -> None:
        self.path = os.fspath(path)
        if config is None and not os.path.exists(self.path):
            raise FileNotFoundError(f"{self.path} does not exist: pass the path of a checkpoint.")
        if config is not None and not os.path.exists(self.path):
            self._create(config)
        if os.path.getsize(self.path) == 0:
            raise self._damaged("it is empty")
        try:
            # One connection owns the file; a killed owner leaves it free.
            self._database = sqlite3.connect(self.path, timeout=0.5, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.config = self._read_config()
            # Write-ahead log: a commit outlives the process; only a power cut can undo the last
            # ones.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("BEGIN EXCLUSIVE")
            self._database.execute("COMMIT")
            self.shards = self._read_shards()
        except sqlite3.Error as error:
            self.close()
            raise self._translate(error) from None
        except CheckpointError:
            self.close()
            raise
        if config is not None:
            try:
                self._agree(config)
            except CheckpointError:
                self.close()
                raise

    def _create(self, config: dict[str, Any]) -> None:
        """Make the file under another name, and give it its own when it is whole."""
        unfinished = f"{self.path}.{os.getpid()}.new"
        text = json.dumps(config)
        try:
            database = sqlite3.connect(unfinished, isolation_level=None)
            try:
                database.executescript(
                    f"PRAGMA application_id = {APPLICATION_ID};"
                    f"PRAGMA user_version = {FORMAT_VERSION};"
                    "CREATE TABLE config (text TEXT NOT NULL, digest BLOB NOT NULL);"
                    "CREATE TABLE shards (start INTEGER PRIMARY KEY, count INTEGER NOT NULL,"
                    " top BLOB NOT NULL, trace BLOB NOT NULL, elapsed REAL NOT NULL,"
                    " rows REAL NOT NULL, digest BLOB NOT NULL);"
                )
                database.execute("INSERT INTO config VALUES (?, ?)", (text, _digest(text)))
            finally:
                database.close()
            os.replace(unfinished, self.path)
        except sqlite3.Error as error:
            raise self._translate(error) from None
        finally:
            if os.path.exists(unfinished):
                os.unlink(unfinished)

    def _read_config(self) -> dict[str, Any]:
        database = self._database
        if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise CheckpointError(
                f"{self.path} is no checkpoint of metaopt_fast: pass another path."
            )
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.path} has format {version}, this version of metaopt_fast reads format "
                f"{FORMAT_VERSION}: resume it with the version that wrote it."
            )
        if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise self._damaged("SQLite's integrity check fails")
        rows = database.execute("SELECT text, digest FROM config").fetchall()
        if len(rows) != 1 or rows[0][1] != _digest(rows[0][0]):
            raise self._damaged("its configuration does not match its digest")
        config: dict[str, Any] = json.loads(rows[0][0])
        return config

    def _read_shards(self) -> dict[int, Shard]:
        shards = {}
        columns = "start, count, top, trace, elapsed, rows, digest"
        for start, count, top, trace, elapsed, rows, digest in self._database.execute(
            f"SELECT {columns} FROM shards ORDER BY start"
        ):
            try:
                shard = Shard(
                    start,
                    count,
                    np.frombuffer(top, TOP_DTYPE),
                    np.frombuffer(trace, TOP_DTYPE),
                    float(elapsed),
                    float(rows),
                )
                intact = shard.digest() == digest
            except (ValueError, TypeError, AttributeError):
                intact = False
            if not intact:
                raise self._damaged(f"the shard of candidate {start} does not match its digest")
            shards[start] = shard
        return shards

    def _agree(self, config: dict[str, Any]) -> None:
        """Raise where the file belongs to a search of other bits."""
        given = json.loads(json.dumps(config))
        for name in sorted(given.keys() | self.config.keys()):
            if name not in FREE_ENTRIES and given.get(name) != self.config.get(name):
                raise CheckpointError(
                    f"{self.path} belongs to a search with {name} = "
                    f"{_short(self.config.get(name))}, this one has {_short(given.get(name))}: "
                    "pass another path, or the arguments of that search."
                )

    def add(self, shard: Shard) -> None:
        """Write a finished shard: from here on it outlives the process."""
        row = (
            shard.start,
            shard.count,
            shard.top.tobytes(),
            shard.trace.tobytes(),
            shard.elapsed,
            shard.rows_evaluated_fraction,
            shard.digest(),
        )
        try:
            self._database.execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?)", row
            )
        except sqlite3.Error as error:
            raise self._translate(error) from None
        self.shards[shard.start] = shard

    def close(self) -> None:
        """Fold the log into the file and close it."""
        if hasattr(self, "_database"):
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _damaged(self, how: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is damaged ({how}): restore it from a copy, or delete it and start again."
        )

    def _translate(self, error: sqlite3.Error) -> Exception:
        """Say in a sentence what SQLite's error means for this file."""
        text = str(error)
        if "locked" in text:
            return CheckpointError(
                f"{self.path} is in use by another process: wait for it, or pass another path."
            )
        if "disk is full" in text or "disk I/O error" in text:
            return OSError(
                f"{self.path} could not be written ({text}): free space, then resume the search."
            )
        if "unable to open" in text or "readonly" in text:
            return OSError(
                f"{self.path} cannot be opened for writing ({text}): pass a path that can."
            )
        return self._damaged(text)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
