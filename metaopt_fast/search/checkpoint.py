"""What survives a killed process: finished shards in an SQLite file.

One row for each finished shard, with a digest of its own, committed before anybody is told of it.
Between two commits the file alone is all there is: a copy of it is a checkpoint. One process at a
time owns it, and reads it with suspicion: what is damaged, or not what this module writes, is
refused before any of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import repeat
from typing import Any, Self

from metaopt_fast.files.owned import HAS_LOCKS, CheckpointError, OwnedFile
from metaopt_fast.runs.provenance import whose_data
from metaopt_fast.runs.ranges import shard_count
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.search.checkpoint_contents import check_config, check_shard, make_sampler
from metaopt_fast.search.shards import Shard, State
from metaopt_fast.validation.values import check_path, describe

APPLICATION_ID = 0x6D6F6661
FORMAT_VERSION = 2

# Entries of a configuration that a resumed search may change: they cannot change its bits. Of the
# candidates there may be more than before, and names where there were none: see `Checkpoint.agree`.
FREE_ENTRIES = (
    *("n_candidates", "isa", "n_threads", "prune", "versions", "metadata", "names"),
    *("feature_names", "classes", "network"),
)

# Shards that are folded at a time when a file is read.
READ_TOGETHER = 4096

# What the sqlite3 module raises; a damaged file may hold text that it cannot decode, and JSON that
# is nested without end.
FAULTS = (sqlite3.Error, UnicodeError, OverflowError, MemoryError, RecursionError)

# Bytes that a value may have at least, and SQLite's steps that reading may take at least: both grow
# with the file, which a forged one would have to be as long as what it claims.
SMALLEST_LIMIT, STEPS_OF_A_LOOK = 10**6, 1000

SCHEMA = """
    CREATE TABLE config (text TEXT NOT NULL, digest BLOB NOT NULL);
    CREATE TABLE shards (
        start INTEGER PRIMARY KEY, count INTEGER NOT NULL, top BLOB NOT NULL, trace BLOB NOT NULL,
        rows_evaluated_fraction REAL NOT NULL, seconds REAL NOT NULL, digest BLOB NOT NULL
    );
"""
# The same as SQLite tells it.
TABLES = [" ".join(table.split()) for table in SCHEMA.split(";")[:2]]


class Checkpoint:
    """An open checkpoint file; a context manager that closes it.

    Parameters
    ----------
    path : path-like
    config : dict, optional
        The search's configuration: a new file records it, an old one must agree with it. Without it
        the file must exist.
    renamed : tuple of str
        Entries of the configuration that an old file need not agree with, if it was made without a
        given fingerprint; see `record_names`.

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

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: dict[str, Any] | None = None,
        renamed: tuple[str, ...] = (),
    ) -> None:
        self.path: str = check_path("checkpoint", path)
        if config is None and not os.path.exists(self.path):
            raise FileNotFoundError(f"{self.path} does not exist: pass the path of a checkpoint.")
        self._closed = self._failed = False
        # Rows of shards that are to be written.
        self._rows: list[tuple[object, ...]] = []
        self._new_names: dict[str, Any] = {}
        with ExitStack() as stack:
            self._file = OwnedFile(self.path, create=config is not None)
            stack.callback(self._file.close)
            try:
                self._database = self._connect()
                stack.callback(self._database.close)
                with self._bounded():
                    if self._execute("SELECT count(*) FROM sqlite_master") == [(0,)]:
                        self._create(config)
                    self.config: dict[str, Any] = self._read_config()
                self._settle()
                if config is not None:
                    self.agree(config, renamed)
            except FAULTS as error:
                raise self._translate(error) from None
            self._file.leave()
            stack.pop_all()

    def _connect(self) -> sqlite3.Connection:
        # Percent-encoded: SQLite takes the bytes as they are, whatever they are.
        name = "".join(f"%{byte:02x}" for byte in os.fsencode(self.path))
        # The bytes that SQLite would lock are locked for us already.
        way = "?vfs=unix-none" if HAS_LOCKS else ""
        database = sqlite3.connect(f"file:{name}{way}", timeout=0.5, isolation_level=None, uri=True)
        with ExitStack() as stack:
            stack.callback(database.close)
            database.executescript(
                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                # Before anything is read: else the log of version 0.1 needs shared memory.
                "PRAGMA locking_mode = EXCLUSIVE;"
            )
            stack.pop_all()
        return database

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Read no value that is longer than the file, and no longer than so long a file takes."""
        size = sum(
            os.path.getsize(path)
            for path in (self.path, f"{self.path}-wal", f"{self.path}-journal")
            if os.path.exists(path)
        )
        # Built-in functions alone: Ctrl-C does not come while SQLite asks, which would hide it.
        tired = partial(next, repeat(False, 1000 + size // 100), True)
        self._database.set_progress_handler(tired, STEPS_OF_A_LOOK)
        usual = self._database.setlimit(
            sqlite3.SQLITE_LIMIT_LENGTH, min(max(size, SMALLEST_LIMIT), 10**9)
        )
        try:
            yield
        finally:
            self._database.set_progress_handler(None, 0)
            self._database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, usual)

    def _settle(self) -> None:
        """Let each commit end in the file itself."""
        self._database.executescript(
            # Version 0.1 had a write-ahead log: what is in it comes into the file.
            "PRAGMA journal_mode = DELETE;"
            # The file, its journal and their folder are synchronised at each commit.
            "PRAGMA synchronous = EXTRA;"
            # From one commit to the next there is no journal, and changes are counted.
            f"PRAGMA locking_mode = {'NORMAL' if HAS_LOCKS else 'EXCLUSIVE'};"
            "BEGIN EXCLUSIVE; COMMIT;"
        )

    def _create(self, config: dict[str, Any] | None) -> None:
        """Lay out an empty file, in one transaction."""
        if config is None or self._execute("PRAGMA application_id") not in (
            [(0,)],
            [(APPLICATION_ID,)],
        ):
            raise self._stranger()
        self._settle()
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
        # Before anything else is asked of it: a view or a trigger may do whatever it likes.
        schema = self._execute("SELECT sql FROM sqlite_master ORDER BY name LIMIT 3")
        if [" ".join(str(sql).split()) for (sql,) in schema] != TABLES:
            raise self._damaged("its tables are not those of a checkpoint")
        if self._execute("PRAGMA integrity_check(1)") != [("ok",)]:
            raise self._damaged("SQLite's integrity check fails")
        rows = self._execute("SELECT text, digest FROM config LIMIT 2")
        if len(rows) != 1 or rows[0][1] != _digest(rows[0][0]):
            raise self._damaged("its configuration does not match its digest")
        config = check_config(rows[0][0])
        if config is None:
            raise self._damaged("its configuration is not that of a search")
        # In the digests of shards: the pages of another search's file do not pass for this one's.
        fixed = {name: config[name] for name in sorted(config) if name not in FREE_ENTRIES}
        self._identity = _digest(json.dumps(fixed, sort_keys=True))
        return config

    def agree(self, config: dict[str, Any], renamed: tuple[str, ...] = ()) -> None:
        """Raise where the file belongs to a search of other bits; take over more candidates."""
        given, names = json.loads(json.dumps(config)), self.config.get("names")
        theirs = self.config | (names if isinstance(names, dict) else {})
        if "given_fingerprint" not in theirs:
            self._new_names = {name: given[name] for name in renamed}
        theirs |= self._new_names
        for name in sorted(given.keys() | theirs.keys()):
            if name not in FREE_ENTRIES and given.get(name) != theirs.get(name):
                data_included = whose_data(name, self.config)
                raise CheckpointError(
                    f"{self.path} belongs to a search with {name} = "
                    f"{describe(theirs.get(name))}, this one has {describe(given.get(name))}: "
                    f"pass another path, or the arguments of that search{data_included}."
                )
        # Candidates were dropped by what others had reached: none of those may be left out.
        if given["n_candidates"] < self.config["n_candidates"]:
            raise CheckpointError(
                f"{self.path} belongs to a search of {self.config['n_candidates']} candidates, "
                f"this one has {given['n_candidates']}: pass at least as many, or another path."
            )
        if given["n_candidates"] > self.config["n_candidates"]:
            self._write_entry("n_candidates", given["n_candidates"])

    def record_names(self) -> None:
        """Keep what a file was named by that had no name: its losses have been computed again."""
        if not self._new_names:
            return
        try:
            self._file.begin()
            self._write_entry("names", self._new_names)
        except (sqlite3.Error, CheckpointError) as error:
            raise self._translate(error) from None
        self._file.leave()
        self._new_names = {}

    def _write_entry(self, name: str, value: object) -> None:
        """Change an entry of the configuration that no digest of a shard has."""
        self.config[name] = value
        text = json.dumps(self.config)
        self._execute("UPDATE config SET text = ?, digest = ?", text, _digest(text))

    def read_sampler(self, n_params: int) -> BuiltInSampler:
        """Return the search's sampler, for an objective of so many parameters."""
        config = self.config
        if config["n_params"] != n_params:
            raise CheckpointError(
                f"{self.path} belongs to a search of {config['n_params']} parameters, the "
                f"objective has {n_params}: pass another path, or the objective of that search."
            )
        sampler = make_sampler(config)
        if sampler is None:
            raise self._damaged("its sampler is none")
        return sampler

    def restore(self, state: State) -> tuple[State, float]:
        """Return the state with the file's shards, and the seconds that they took."""
        start, n_candidates = self.config["start"], self.config["n_candidates"]
        size = self.config["shard_size"]
        shards, elapsed = [], 0.0
        try:
            with self._bounded():
                for shard, seconds in self._read_shards():
                    # The last shard of a search that has grown since is done again, longer.
                    if shard.count != shard_count(shard.start, start + n_candidates, size):
                        continue
                    shards.append(shard)
                    elapsed += seconds
                    if len(shards) == READ_TOGETHER:
                        state, shards = state.add(shards), []
        except FAULTS as error:
            raise self._translate(error) from None
        return state.add(shards), elapsed

    def _read_shards(self) -> Iterator[tuple[Shard, float]]:
        columns = "start, count, top, trace, rows_evaluated_fraction, seconds, digest"
        for row in self._database.execute(f"SELECT {columns} FROM shards ORDER BY start"):
            start, *_, seconds, digest = row
            if _digest(self._identity, *row[:-1]) != digest:
                raise self._damaged(f"the shard of candidate {start} does not match its digest")
            shard = check_shard(self.config, *row[:-1])
            if shard is None:
                raise self._damaged(f"the shard of candidate {start} is none of this search")
            yield shard, seconds

    def add(self, shards: Iterable[Shard], seconds: float) -> None:
        """Take over shards that took so many seconds; `commit` writes them."""
        shards = list(shards)
        for shard in shards:
            row = (
                shard.start,
                shard.count,
                shard.top.tobytes(),
                shard.trace.tobytes(),
                float(shard.rows_evaluated_fraction),
                seconds / len(shards),
            )
            self._rows.append((*row, _digest(self._identity, *row)))

    def commit(self) -> None:
        """Make what was added outlive the process, and a loss of power."""
        # A child that was forked has the rows of its parent, who writes them.
        if self._closed or not self._rows or not self._file.is_ours:
            return
        rows = self._rows.copy()
        try:
            self._file.begin()
            if self._database.in_transaction:  # an interrupt has ended the last attempt
                self._execute("ROLLBACK")
            self._execute("BEGIN")
            statement = "REPLACE INTO shards VALUES (?, ?, ?, ?, ?, ?, ?)"
            self._database.executemany(statement, rows)
            self._execute("COMMIT")
            self._file.leave()
            self._file.check_pages()
        except (sqlite3.Error, CheckpointError) as error:
            self._failed = True
            raise self._translate(error) from None
        del self._rows[: len(rows)]

    def close(self) -> None:
        """Commit and close, once. An interrupt leaves it open: close it again."""
        try:
            if not self._failed:  # what a full disk has refused is left out; the rest is there
                self.commit()
        except (OSError, CheckpointError):
            self._give_up()
            raise
        self._give_up()

    def _give_up(self) -> None:
        self._closed = True
        if self._file.is_ours:
            self._database.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
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
        if isinstance(error, CheckpointError):
            return error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        reason = _reason(error)
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


def _reason(error: Exception) -> str:
    """Return what an error says in few words: it may quote a damaged file, at length."""
    text = "".join(c if c.isprintable() else " " for c in str(error))
    return textwrap.shorten(text, 80, placeholder=" ...").rstrip(".: ")


def _digest(*values: object) -> bytes:
    return hashlib.sha256(repr(values).encode()).digest()
