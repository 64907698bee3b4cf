"""What survives a killed process: finished shards in an SQLite file.

One row for each finished shard, with a digest of its own, committed before anybody is told of it.
One process at a time owns the file, and reads it with suspicion: a damaged one is refused. Nothing
in it is ever executed: numbers and JSON alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np

from metaopt_fast.result import TOP_DTYPE
from metaopt_fast.shards import Shard, Standing, shard_count
from metaopt_fast.validation import check_path, describe

APPLICATION_ID = 0x6D6F6661
FORMAT_VERSION = 2

# Entries of a configuration that a resumed search may change: they cannot change its bits. Of the
# candidates there may be more than before, see `Checkpoint.agree`.
FREE_ENTRIES = ("n_candidates", "isa", "n_threads", "prune", "versions", "metadata")

# Shards that are folded at a time when a file is read.
READ_TOGETHER = 4096

# What the sqlite3 module raises; a damaged file may hold text that it cannot decode.
FAULTS = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)

SCHEMA = """
    CREATE TABLE config (text TEXT NOT NULL, digest BLOB NOT NULL);
    CREATE TABLE shards (
        start INTEGER PRIMARY KEY, count INTEGER NOT NULL, top BLOB NOT NULL, trace BLOB NOT NULL,
        rows_evaluated_fraction REAL NOT NULL, seconds REAL NOT NULL, digest BLOB NOT NULL
    );
"""


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

    Attributes
    ----------
    config : dict
        The configuration in the file.

    Raises
    ------
    CheckpointError
        If the file is damaged, open elsewhere, no checkpoint, or one of another search.
    OSError
        If it cannot be made, read or written.
    """

    def __init__(self, path: str | os.PathLike[str], config: dict[str, Any] | None = None) -> None:
        self.path = check_path("checkpoint", path)
        if config is None and not os.path.exists(self.path):
            raise FileNotFoundError(f"{self.path} does not exist: pass the path of a checkpoint.")
        self._closed = False
        with ExitStack() as stack:
            try:
                self._database = sqlite3.connect(self.path, timeout=0.5, isolation_level=None)
                stack.callback(self._database.close)
                self._own()
                if self._execute("SELECT count(*) FROM sqlite_master") == [(0,)]:
                    self._create(config)
                self.config = self._read_config()
                if config is not None:
                    self.agree(config)
            except FAULTS as error:
                raise self._translate(error) from None
            stack.pop_all()

    def _own(self) -> None:
        """Lock the file until it is closed; a killed owner leaves it free."""
        self._database.executescript(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
            "PRAGMA locking_mode = EXCLUSIVE;"
            # A write-ahead log, synchronised at each commit: one fsync, and the file is whole
            # whenever the process ends or the power fails.
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "BEGIN EXCLUSIVE; COMMIT;"
        )

    def _create(self, config: dict[str, Any] | None) -> None:
        """Lay out an empty file, in one transaction."""
        if config is None or self._execute("PRAGMA application_id") not in (
            [(0,)],
            [(APPLICATION_ID,)],
        ):
            raise self._stranger()
        text = json.dumps(config)
        self._database.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {FORMAT_VERSION}; {SCHEMA}"
        )
        self._execute("INSERT INTO config VALUES (?, ?)", text, _digest(text))
        self._execute("COMMIT")

    def _read_config(self) -> dict[str, Any]:
        if self._execute("PRAGMA application_id") != [(APPLICATION_ID,)]:
            raise self._stranger()
        [(version,)] = self._execute("PRAGMA user_version")
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{self.path} has format {version}, this version of metaopt_fast reads format "
                f"{FORMAT_VERSION}: resume it with the version that wrote it."
            )
        if self._execute("PRAGMA integrity_check") != [("ok",)]:
            raise self._damaged("SQLite's integrity check fails")
        rows = self._execute("SELECT text, digest FROM config")
        if len(rows) != 1 or rows[0][1] != _digest(rows[0][0]):
            raise self._damaged("its configuration does not match its digest")
        config: dict[str, Any] = json.loads(rows[0][0])
        # In the digests of shards: the pages of another search's file do not pass for this one's.
        fixed = {name: config[name] for name in sorted(config) if name not in FREE_ENTRIES}
        self._identity = _digest(json.dumps(fixed, sort_keys=True))
        return config

    def agree(self, config: dict[str, Any]) -> None:
        """Raise where the file belongs to a search of other bits; take over more candidates."""
        given = json.loads(json.dumps(config))
        for name in sorted(given.keys() | self.config.keys()):
            if name not in FREE_ENTRIES and given.get(name) != self.config.get(name):
                raise CheckpointError(
                    f"{self.path} belongs to a search with {name} = "
                    f"{describe(self.config.get(name))}, this one has {describe(given.get(name))}: "
                    "pass another path, or the arguments of that search."
                )
        # Candidates were dropped by what others had reached: none of those may be left out.
        if given["n_candidates"] < self.config["n_candidates"]:
            raise CheckpointError(
                f"{self.path} belongs to a search of {self.config['n_candidates']} candidates, "
                f"this one has {given['n_candidates']}: pass at least as many, or another path."
            )
        if given["n_candidates"] > self.config["n_candidates"]:
            self.config["n_candidates"] = given["n_candidates"]
            text = json.dumps(self.config)
            self._execute("UPDATE config SET text = ?, digest = ?", text, _digest(text))

    def restore(self, standing: Standing) -> tuple[Standing, float]:
        """Return the standing with the file's shards, and the seconds that they took."""
        start, n_candidates = self.config["start"], self.config["n_candidates"]
        size = self.config["shard_size"]
        shards, elapsed = [], 0.0
        try:
            for shard, seconds in self._read_shards():
                # The last shard of a search that has grown since is done again, longer.
                if shard.count != shard_count(shard.start, start + n_candidates, size):
                    continue
                shards.append(shard)
                elapsed += seconds
                if len(shards) == READ_TOGETHER:
                    standing, shards = standing.add(shards), []
        except FAULTS as error:
            raise self._translate(error) from None
        return standing.add(shards), elapsed

    def _read_shards(self) -> Iterator[tuple[Shard, float]]:
        columns = "start, count, top, trace, rows_evaluated_fraction, seconds, digest"
        for row in self._database.execute(f"SELECT {columns} FROM shards ORDER BY start"):
            start, count, top, trace, fraction, seconds, digest = row
            if _digest(self._identity, *row[:-1]) != digest:
                raise self._damaged(f"the shard of candidate {start} does not match its digest")
            top, trace = np.frombuffer(top, TOP_DTYPE), np.frombuffer(trace, TOP_DTYPE)
            yield Shard(start, count, top, trace, fraction), seconds

    def add(self, shards: Iterable[Shard], seconds: float) -> None:
        """Write shards that took so many seconds; `commit` makes them last."""
        shards = list(shards)
        try:
            if not self._database.in_transaction:
                self._execute("BEGIN")
            for shard in shards:
                row = (
                    shard.start,
                    shard.count,
                    shard.top.tobytes(),
                    shard.trace.tobytes(),
                    float(shard.rows_evaluated_fraction),
                    seconds / len(shards),
                )
                values = "?, ?, ?, ?, ?, ?, ?"
                self._execute(
                    f"REPLACE INTO shards VALUES ({values})", *row, _digest(self._identity, *row)
                )
        except sqlite3.Error as error:
            raise self._translate(error) from None

    def commit(self) -> None:
        """Make what was added outlive the process, and a loss of power."""
        try:
            if not self._closed and self._database.in_transaction:
                self._execute("COMMIT")
        except sqlite3.Error as error:
            raise self._translate(error) from None

    def close(self) -> None:
        """Commit and close; nothing more if that has been done."""
        try:
            self.commit()
        finally:
            self._closed = True
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What a full disk has refused is left out; the rest is there.
        if kind is not None and issubclass(kind, OSError):
            self._database.close()
        else:
            self.close()

    def _execute(self, statement: str, *values: object) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    def _damaged(self, how: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is damaged ({how}): restore it from a copy, or delete it and start again."
        )

    def _stranger(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is no checkpoint of metaopt_fast, or its first bytes are damaged: pass "
            "another path."
        )

    def _translate(self, error: Exception) -> Exception:
        """Say in a sentence what SQLite's error means for this file."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        # The message may quote a damaged file, at length.
        reason = textwrap.shorten(str(error), 80, placeholder=" ...")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return CheckpointError(
                f"{self.path} is in use by another process: wait for it, or pass another path."
            )
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return OSError(
                f"{self.path} could not be written ({reason}): free space, then resume the search."
            )
        folder = os.path.dirname(self.path)
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM) or not (
            os.access(self.path, os.W_OK) and os.access(folder, os.W_OK)
        ):
            return OSError(
                f"{self.path} cannot be opened for writing ({reason}): pass a path that can."
            )
        return self._stranger() if code == sqlite3.SQLITE_NOTADB else self._damaged(reason)


def _digest(*values: object) -> bytes:
    return hashlib.sha256(repr(values).encode()).digest()
