"""Checkpoints: nothing acknowledged is lost, whatever happens, and nothing damaged is used."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import types

import numpy as np
import pytest
from searches import LossesByNumber, digest, files_up_to, numbers, objective, python, search

import metaopt_fast as mf
from metaopt_fast import CheckpointError
from metaopt_fast.files import owned
from metaopt_fast.files.owned import OwnedFile
from metaopt_fast.runs.ranking import TOP_DTYPE
from metaopt_fast.search import checkpoint, shards
from metaopt_fast.search.checkpoint import APPLICATION_ID, Checkpoint

pytestmark = pytest.mark.usefixtures("shards_of_256")


class StopAfter:
    """A callback that stops the search after some calls, or raises."""

    def __init__(self, calls, error=None):
        self.calls, self.error = calls, error

    def __call__(self, result):
        self.calls -= 1
        if self.calls == 0 and self.error is not None:
            raise self.error
        return self.calls == 0


@pytest.fixture
def every_shard(monkeypatch):
    """Callbacks and commits after each shard."""
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 0.0)


def execute(path, statement):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(statement).fetchall()


# ----------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize("how", ["callback", "interrupt", "error"])
def test_a_stopped_search_goes_on_to_the_same_bits(path, every_shard, how):
    error = {"callback": None, "interrupt": KeyboardInterrupt(), "error": LookupError("own")}[how]
    if how == "error":
        with pytest.raises(LookupError, match="own"):
            search(path, callback=StopAfter(4, error))
    else:
        part = search(path, callback=StopAfter(4, error))
        assert (part.stopped_by, part.n_evaluated) == (how, 924)
    seen = []
    whole = search(path, callback=seen.append)
    assert [part.n_evaluated for part in seen][:2] == [1180, 1436]
    assert digest(whole) == digest(search())
    assert whole.ranges == ((100, 4196),) and whole.stopped_by is None


def test_a_commit_that_an_interrupt_has_ended_is_made_again(path, every_shard, monkeypatch):
    execute, interrupted = Checkpoint._execute, []

    def interrupt(file, statement, *values):
        if statement == "COMMIT" and file._rows and not interrupted:
            interrupted.append(len(file._rows))
            raise KeyboardInterrupt
        return execute(file, statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "_execute", interrupt)
        part = search(path)
    assert (part.stopped_by, part.n_evaluated, interrupted) == ("interrupt", 156, [1])
    with Checkpoint(path) as file:
        assert file.restore(shards.State.at(100, 5))[0].n_evaluated == 156
    assert digest(search(path)) == digest(search())


def test_a_finished_search_is_read_not_repeated(path):
    began = time.perf_counter()
    first = search(path)
    assert 0 < first.elapsed <= time.perf_counter() - began
    again = search(path, callback=StopAfter(1, AssertionError("a shard was evaluated again")))
    assert digest(again) == digest(first)
    assert again.elapsed == pytest.approx(first.elapsed)
    assert again.rows_evaluated_fraction == pytest.approx(first.rows_evaluated_fraction)


def test_a_search_may_grow(path):
    search(path, 1000)
    assert digest(search(path, 3000)) == digest(search(None, 3000))
    with pytest.raises(CheckpointError, match="of 3000 candidates, this one has 1000"):
        search(path, 1000)


def test_a_search_may_grow_while_shards_are_missing(path):
    search(path, 1000)
    execute(path, "DELETE FROM shards WHERE start = 512")
    grown = search(path, 3000)
    assert digest(grown) == digest(search(None, 3000))
    assert grown.ranges == ((100, 3100),)


def test_resume_search_reads_sampler_and_settings_from_the_file(path, every_shard):
    search(path, callback=StopAfter(3), metadata={"file": "data.csv"})
    whole = mf.resume_search(path, objective())
    assert digest(whole) == digest(search())
    assert whole.config["metadata"] == {"file": "data.csv"}


def test_a_search_with_a_callable_is_resumed_by_its_caller(path, every_shard):
    losses = np.random.default_rng(0).normal(size=2000)
    options = {"top_k": 2, "checkpoint": path, "fingerprint": "losses by number"}
    mf.random_search(LossesByNumber(losses), numbers, 2000, callback=StopAfter(2), **options)
    with pytest.raises(ValueError, match="callable"):
        mf.resume_search(path, LossesByNumber(losses))
    whole = mf.random_search(LossesByNumber(losses), numbers, 2000, **options)
    assert whole.index == np.argmin(losses)


def test_threads_and_pruning_may_change_on_the_way(path, every_shard):
    search(path, callback=StopAfter(5), n_threads=1, prune=False)
    assert digest(search(path, n_threads=2, prune=True)) == digest(search(prune=False))


def test_shards_that_are_missing_in_the_middle_are_done_again(path):
    whole = search(path)
    execute(path, "DELETE FROM shards WHERE start IN (100, 1024, 1280, 3840)")
    assert digest(search(path)) == digest(whole)
    assert execute(path, "SELECT count(*) FROM shards") == [(17,)]


@pytest.mark.long(everywhere=True)
def test_a_checkpoint_stays_small_however_many_candidates(path):
    search(path, 200_000, top_k=100)
    size = os.path.getsize(path)
    assert size < 782 * 160 + 100 * 16 * 12 + 65536


# --------------------------------------------------------------------------------------- other runs


@pytest.mark.parametrize(
    ("name", "options"),
    [("seed", {"seed": 4}), ("top_k", {"top_k": 6}), ("start", {"start": 356})],
)
def test_a_checkpoint_of_another_search_is_refused(path, name, options):
    search(path)
    with pytest.raises(CheckpointError, match=f"run.db belongs to a search with {name} = "):
        search(path, **options)


def test_a_checkpoint_of_other_data_another_sampler_or_penalty_is_refused(path):
    search(path)
    options = {"top_k": 5, "seed": 3, "start": 100, "checkpoint": path}
    X, y = np.random.default_rng(0).normal(size=(300, 7)), np.arange(300) % 2
    others = [
        (objective(), mf.Normal(scale=2.0), "sampler"),
        (objective(dtype="float32"), mf.Normal(), "dtype"),
        (mf.LogisticLoss(X, y, l2=2e-3, fit_intercept=True), mf.Normal(), "fingerprint"),
        (mf.LogisticLoss(X, y, l2=1e-3, fit_intercept=True), mf.Normal(), "fingerprint"),
    ]
    for other, sampler, name in others:
        wanted = "arguments of that search" + ", data included" * (name == "fingerprint")
        found = rf"belongs to a search with {name} = .*: pass another path, or the {wanted}\.$"
        with pytest.raises(CheckpointError, match=found):
            mf.random_search(other, sampler, 4096, **options)
        assert issubclass(CheckpointError, ValueError)


def test_a_checkpoint_of_another_callable_is_refused(path):
    options = {"checkpoint": path, "top_k": 2}
    narrow, wide = (
        functools.partial(mf.Normal(scale=scale).sample, 7, n_params=8) for scale in (1.0, 2.0)
    )
    for _ in range(2):
        mf.random_search(objective(), narrow, 1000, fingerprint="narrow", **options)
    with pytest.raises(CheckpointError, match="with given_fingerprint = 'narrow'"):
        mf.random_search(objective(), wide, 1000, fingerprint="wide", **options)
    with pytest.raises(CheckpointError, match=r"has the loss .* where the objective gives"):
        mf.random_search(objective(), wide, 1000, fingerprint="narrow", **options)


def test_two_searches_do_not_share_a_checkpoint(path, every_shard):
    caught = []

    def callback(result):
        with pytest.raises(CheckpointError, match=r"run\.db is in use by another process"):
            search(path)
        caught.append(result)
        return True

    search(path, callback=callback)
    assert caught
    program = (
        "import sys, metaopt_fast as mf; from metaopt_fast.search.checkpoint import Checkpoint;"
        "file = Checkpoint(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with python(program, path, stdin=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(CheckpointError, match=r"run\.db is in use by another process"):
            search(path)
        other.kill()
    assert digest(search(path)) == digest(search())


@pytest.mark.long(everywhere=True)
def test_without_locks_of_open_files_those_of_sqlite_keep_others_out(path, monkeypatch):
    """As on other systems than Linux."""
    monkeypatch.setattr(owned, "sys", types.SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(checkpoint, "HAS_LOCKS", False)
    part = search(path, 1000)
    with Checkpoint(path), pytest.raises(CheckpointError, match="in use by another process: wait"):
        search(path)
    assert digest(search(path, 1000)) == digest(part)


TRIES = """
import sys
from metaopt_fast.search.checkpoint import Checkpoint
try:
    Checkpoint(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.long(everywhere=True)
def test_a_copy_of_the_file_does_not_give_the_lock_away(path, every_shard):
    answers = []

    def copy_and_try(result):
        # SQLite's own lock would end here, with the first descriptor of the file that is closed.
        shutil.copy(path, path.with_name("copy.db"))
        with python(TRIES, path) as other:
            answers.append(other.communicate()[0])
        return True

    search(path, callback=copy_and_try)
    assert b"run.db is in use by another process: wait for it" in answers[0]


def test_a_copy_made_between_two_commits_is_a_whole_checkpoint(path, every_shard):
    copies = []

    def copy(result):
        copies.append((path.read_bytes(), result.n_evaluated, os.listdir(path.parent)))

    whole = search(path, callback=copy)
    assert len(copies) == 16
    for content, n_evaluated, files in copies:
        assert files == ["run.db"]  # no log, no journal, no lock
        path.write_bytes(content)
        with Checkpoint(path) as file:
            assert file.restore(shards.State.at(100, 5))[0].n_evaluated == n_evaluated
    assert digest(search(path)) == digest(whole)


FORKS = """
import os, sys
import numpy as np
from searches import *
from metaopt_fast.search import shards
shards.LARGEST_SHARD = 256
class Forks(LossesByNumber):
    fingerprint = "forks"
    def batch_loss(self, thetas):
        if 1500 in thetas and os.fork() == 0:
            sys.exit()  # unwinds the search, and closes its checkpoint, with shards to be written
        return super().batch_loss(thetas)
numbers.fingerprint = "numbers"
result = mf.random_search(Forks(np.arange(3000)), numbers, 3000, checkpoint=sys.argv[1])
os.wait()
print(result.n_evaluated)
"""


def test_a_child_that_was_forked_writes_nothing(path):
    with python(FORKS, path) as process:
        assert process.communicate()[0] == b"3000\n"
    with Checkpoint(path) as file:
        assert file.restore(shards.State.at(0, 1))[0].n_evaluated == 3000


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the file, which nobody has closed
def test_an_owner_that_is_collected_gives_the_file_up_without_a_line_of_python(path, monkeypatch):
    """In which Python would drop an interrupt."""
    monkeypatch.setattr(owned, "PATIENCE", 0.0)
    others, events = owned._OWNED.copy(), []
    owner = OwnedFile(str(path), create=True)
    with pytest.raises(CheckpointError, match="in use by another process"):
        OwnedFile(str(path), create=True)
    sys.setprofile(lambda frame, event, argument: events.append(event))
    del owner
    sys.setprofile(None)
    assert "call" not in events
    assert others == owned._OWNED
    OwnedFile(str(path), create=True).close()


# ---------------------------------------------------------------------------- gone while it is used


def replace(path, content):
    path.with_name("new").write_bytes(content)
    os.replace(path.with_name("new"), path)


CHANGES = {
    "deleted": lambda path, other: path.unlink(),
    "replaced by an empty file": lambda path, other: replace(path, b""),
    "replaced by another search's": lambda path, other: replace(path, other),
    "replaced by a copy of itself": lambda path, other: replace(path, path.read_bytes()),
    "cut to nothing": lambda path, other: os.truncate(path, 0),
    "cut by a page": lambda path, other: os.truncate(path, path.stat().st_size - 4096),
    "overwritten by another search's": lambda path, other: path.write_bytes(other),
    "its folder moved": lambda path, other: path.parent.rename(path.parent.with_name("moved")),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_is_gone_is_noticed_and_the_result_kept(memory, every_shard, change):
    path = memory / "folder" / "run.db"
    path.parent.mkdir()
    search(path, 924, seed=4)  # as long as the other is when it is overwritten
    other = path.read_bytes()
    path.unlink()
    told = []

    def callback(result):
        told.append(result.n_evaluated)
        if len(told) == 4:
            CHANGES[change](path, other)

    with pytest.raises(CheckpointError, match="was deleted, replaced or changed") as caught:
        search(path, callback=callback)
    result = caught.value.result
    assert told == [156, 412, 668, 924] and result.n_evaluated == 1180
    assert digest(result) == digest(search(None, 1180))
    if path.exists():
        assert path.read_bytes() in (b"", other, path.read_bytes())
    if "another" in change:
        assert path.read_bytes() == other


@pytest.mark.parametrize("step", ["BEGIN", "COMMIT", "leave"])
@pytest.mark.parametrize("kept", [0, 4096])
def test_a_checkpoint_that_is_cut_while_it_is_written_is_noticed_then(
    path, every_shard, monkeypatch, step, kept
):
    at, told = [], []

    def cut(name):
        if name == step and len(told) == 4 and not at:
            at.append(os.truncate(path, kept))

    execute, leave = Checkpoint._execute, OwnedFile.leave
    monkeypatch.setattr(
        Checkpoint,
        "_execute",
        lambda self, sql, *values: (cut(sql), execute(self, sql, *values))[1],
    )
    monkeypatch.setattr(OwnedFile, "leave", lambda self: (cut("leave"), leave(self))[1])
    sentence = "is damaged" if step == "BEGIN" else "was deleted, replaced or changed"
    with pytest.raises(CheckpointError, match=sentence) as caught:
        search(path, callback=lambda result: told.append(result.n_evaluated))
    assert at and told == [156, 412, 668, 924]
    assert digest(caught.value.result) == digest(search(None, 1180))


def test_a_checkpoint_that_is_gone_when_the_search_ends_is_noticed_then(path, monkeypatch):
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 1e9)
    losses = np.random.default_rng(0).normal(size=3000)

    class Deletes(LossesByNumber):
        def batch_loss(self, thetas):
            if 2999 in thetas:
                path.unlink()
            return super().batch_loss(thetas)

    options = {"checkpoint": path, "fingerprint": "losses by number"}
    with pytest.raises(CheckpointError, match="was deleted, replaced or changed") as caught:
        mf.random_search(Deletes(losses), numbers, 3000, **options)
    assert caught.value.result.index == np.argmin(losses)
    assert not path.exists()


def test_a_file_that_is_replaced_before_it_is_locked_is_in_use(path, monkeypatch):
    def lock_late(file, name):
        replace(path, b"")
        lock(file, name)

    path.touch()
    lock = owned.lock
    monkeypatch.setattr(owned, "lock", lock_late)
    with pytest.raises(CheckpointError, match=r"run\.db is in use by another process: wait for it"):
        search(path)


def test_what_happens_to_a_file_without_a_change_of_it_is_nothing(path, every_shard):
    def callback(result):
        os.utime(path)
        path.chmod(0o400)
        os.link(path, path.with_name(f"{result.n_evaluated}"))

    assert digest(search(path, callback=callback)) == digest(search())


def test_a_checkpoint_that_is_refused_at_once_has_no_result(path):
    search(path)
    with pytest.raises(CheckpointError) as caught:
        search(path, seed=4)
    assert caught.value.result is None


# ------------------------------------------------------------------------------------------- forged


def sha256(*values):
    return hashlib.sha256(repr(values).encode()).digest()


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE config; CREATE VIEW config AS WITH RECURSIVE r(x) AS "
        "(SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x AS text, x AS digest FROM r",
        "DROP TABLE config; CREATE VIEW config AS SELECT hex(zeroblob(9e8)) AS text, 1 AS digest",
        "CREATE TRIGGER t BEFORE INSERT ON shards BEGIN DELETE FROM shards; END",
        "CREATE TABLE more (x)",
        "CREATE INDEX i ON shards (count)",
        "ALTER TABLE shards ADD COLUMN x",
        "ALTER TABLE shards ADD COLUMN x AS (hex(zeroblob(9e8)))",
        "ALTER TABLE config RENAME COLUMN text TO x",
        "DROP TABLE config; CREATE TABLE config (text TEXT NOT NULL, digest BLOB)",
        "ANALYZE",
    ],
)
def test_tables_of_another_shape_are_refused_before_they_are_read(path, script):
    search(path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    before = path.read_bytes()
    for resume in (search, lambda path: mf.resume_search(path, objective())):
        with pytest.raises(CheckpointError, match=r"run\.db is damaged \(its tables are not those"):
            resume(path)
    assert path.read_bytes() == before


def forge(path, change):
    """Give a checkpoint another configuration, with the digests that belong to it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(text,)] = database.execute("SELECT text FROM config")
        text = change if isinstance(change, (str, bytes, int)) else json.dumps(change(text))
        database.execute("UPDATE config SET text = ?, digest = ?", (text, sha256(text)))
        database.commit()


def with_entry(name, value):
    return lambda text: {**json.loads(text), name: value}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    "change",
    [
        "[" * 100_000 + "]" * 100_000,
        "[]",
        "3",
        "null",
        '"text"',
        "{}",
        '{"sampler": 3}',
        "no JSON",
        b'{"sampler": {}}',
        *(
            with_entry(name, value)
            for name in ("seed", "start", "n_candidates", "top_k", "shard_size", "n_params")
            for value in (-1, 1.5, "1", None, True, [], 2**64)
        ),
        *(with_entry(name, 0) for name in ("n_candidates", "top_k", "shard_size", "n_params")),
        with_entry("start", 2**63 - 2),
        *(
            with_entry("sampler", value)
            for value in (
                3,
                {},
                {"name": 3},
                {"name": "Cauchy"},
                {"name": "Normal", "loc": "x"},
                {"name": "Normal", "scale": -1.0},
                {"name": "Normal", "loc": [0.0] * 5},
                {"name": "Normal", "wrong": 1},
                {"name": "Mixture"},
                {"name": "Mixture", "groups": 3},
                {"name": "Mixture", "groups": [[[0, "x"], True, {"name": "Normal"}]]},
                {"name": "Box", "n_params": 10**9, "integers": {"name": "Integers"}},
                {"name": "Box", "n_params": 8, "integers": {"name": "Normal"}},
                {"name": "Box", "n_params": 8, "integers": {"low": 0, "high": 2**40}},
                {
                    "name": "Box",
                    "n_params": 8,
                    "integers": {"name": "Integers", "low": 0, "high": 1, "max_nonzero": 2**31},
                },
            )
        ),
    ],
)
def test_a_forged_configuration_is_a_damaged_checkpoint(finished, path, change):
    path.write_bytes(finished)
    forge(path, change)
    with pytest.raises(CheckpointError, match=r"run\.db is damaged \(.*\): restore it") as caught:
        mf.resume_search(path, objective())
    assert len(str(caught.value)) < 400


def test_an_objective_of_other_parameters_is_refused_before_anything_is_drawn(finished, path):
    path.write_bytes(finished)
    forge(path, with_entry("n_params", 2**30))
    with pytest.raises(CheckpointError, match="of 1073741824 parameters, the objective has 8: "):
        mf.resume_search(path, objective())


@pytest.fixture(scope="module")
def finished():
    """The bytes of a finished checkpoint."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "LARGEST_SHARD", 256)
        search(os.path.join(folder, "run.db"))
        with open(os.path.join(folder, "run.db"), "rb") as file:
            return file.read()


def entries(*pairs):
    return np.array(list(pairs), TOP_DTYPE).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"start": -256},
        {"start": 4352},  # beyond the last candidate
        {"start": 513, "count": 255},  # not where a shard begins
        {"count": 0},
        {"count": -1},
        {"count": 257},
        {"count": 2**62},
        {"count": 1.5},
        {"top": "text"},
        {"top": b"seven b"},
        {"top": entries((768, 0.0))},
        {"top": entries((511, 0.0))},
        {"top": entries((600, 0.0), (600, 0.0))},
        {"top": entries(*((600 + k, 0.0) for k in range(6)))},  # more than top_k
        {"trace": b"1"},
        {"trace": entries((601, 0.2), (600, 0.1))},
        {"trace": entries((600, 0.3), (2**63 - 1, 0.2), (-(2**63), 0.1), (601, 0.0))},
        {"rows_evaluated_fraction": -0.5},
        {"rows_evaluated_fraction": math.inf},
        {"rows_evaluated_fraction": "x"},
        {"seconds": -1.0},
        {"seconds": "x"},
    ],
)
def test_a_forged_shard_is_a_damaged_checkpoint(finished, path, change):
    path.write_bytes(finished)
    names = ("start", "count", "top", "trace", "rows_evaluated_fraction", "seconds")
    columns = ", ".join(names)
    with Checkpoint(path) as file:
        identity = file._identity
    with contextlib.closing(sqlite3.connect(path)) as database:
        query = f"SELECT {columns} FROM shards WHERE start = 512"
        old = dict(zip(names, database.execute(query).fetchone(), strict=True))
        row = tuple({**old, **change}.values())
        database.execute("DELETE FROM shards WHERE start = 512")
        database.execute(f"INSERT INTO shards ({columns}, digest) VALUES (?,?,?,?,?,?,'')", row)
        stored = database.execute(f"SELECT {columns} FROM shards WHERE digest = ''").fetchone()
        database.execute(
            "UPDATE shards SET digest = ? WHERE digest = ''", (sha256(identity, *stored),)
        )
        database.commit()
    with pytest.raises(CheckpointError, match=r"damaged \(the shard of candidate .* is none of th"):
        search(path)


def test_reading_ends_after_as_many_steps_as_so_long_a_file_takes(finished, path):
    path.write_bytes(finished)
    endless = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT max(x) FROM r"
    with Checkpoint(path) as file:
        for query in (endless, "SELECT zeroblob(2000000)"):
            with pytest.raises(sqlite3.Error), file._bounded():
                file._execute(query)
        assert len(file._execute("SELECT zeroblob(2000000)")[0][0]) == 2_000_000


# ---------------------------------------------------------------------------------------- bad paths


def test_paths_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"checkpoint is .*, no regular file: pass the path of"):
        search(os.devnull)
    with pytest.raises(OSError, match=r"run\.db cannot be opened for writing"):
        search(tmp_path / "no folder" / "run.db")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"run\.db cannot be opened for writing"):
        search(tmp_path / "file" / "run.db")
    with pytest.raises(OSError, match="cannot be opened for writing"):
        search(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.db does not exist"):
        mf.resume_search(tmp_path / "nothing.db", objective())
    for wrong in ("", "a\0b", 3, b"run.db"):
        with pytest.raises((ValueError, TypeError), match="checkpoint is"):
            search(wrong)
    monkeypatch.chdir(tmp_path)
    search(":memory:")
    assert (tmp_path / ":memory:").stat().st_size > 0


def test_a_journal_that_cannot_be_made_is_one_sentence(path):
    path.with_name("run.db-journal").mkdir()
    with pytest.raises(OSError, match=r"run\.db cannot be opened for writing \(.*\): pass a path"):
        search(path)


def test_a_file_system_without_locks_is_one_sentence(path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with pytest.raises(OSError) as caught:
        search(path)
    sentence = "cannot be locked (No locks available): pass a path on a local disk."
    assert str(caught.value) == f"{path} {sentence}"


@pytest.mark.parametrize("content", [b"index,loss\n1,2\n" * 100, b"\0" * 5000, "database"])
def test_files_of_others_are_refused_and_left_alone(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        execute(path, "CREATE TABLE shards (start INTEGER)")
    before = path.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"run\.db is no checkpoint of metaopt_fast"
    ) as caught:
        search(path)
    assert "delete" not in str(caught.value)
    assert path.read_bytes()[100:] == before[100:]


def test_an_empty_file_is_a_checkpoint_that_begins(path):
    path.touch()
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        mf.resume_search(path, objective())
    assert digest(search(path)) == digest(search())


def test_a_later_format_is_refused(path):
    search(path)
    execute(path, "PRAGMA user_version = 3")
    with pytest.raises(CheckpointError, match="has format 3, this version of metaopt_fast reads"):
        search(path)


# ------------------------------------------------------------------------------------------- damage


def outcome(path, wanted):
    """Resume: the right result, or a CheckpointError that names the file in one sentence."""
    for suffix in ("-wal", "-shm", "-journal"):
        if os.path.exists(f"{path}{suffix}"):
            os.unlink(f"{path}{suffix}")
    try:
        result = search(path)
    except CheckpointError as error:
        assert "run.db" in str(error) and str(error).endswith(".") and "\n" not in str(error)
        return "refused"
    assert digest(result) == wanted
    return "right"


def test_a_file_cut_anywhere_is_refused_or_right(path):
    wanted = digest(search(path))
    content = path.read_bytes()
    rng = random.Random(0)
    cuts = [
        0,
        1,
        15,
        16,
        99,
        100,
        4095,
        4096,
        4097,
        *(rng.randrange(len(content)) for _ in range(40)),
    ]
    outcomes = []
    for cut in cuts:
        path.write_bytes(content[:cut])
        outcomes.append(outcome(path, wanted))
    assert outcomes.count("refused") >= len(cuts) - 3


@pytest.mark.long(everywhere=True)
def test_a_file_with_a_flipped_bit_is_refused_or_right(path):
    wanted = digest(search(path))
    content = path.read_bytes()
    rng = random.Random(1)
    places = [*range(100), *(rng.randrange(100, len(content)) for _ in range(200))]
    outcomes = set()
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        outcomes.add(outcome(path, wanted))
    assert outcomes == {"refused", "right"}


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"CREATE TABLE shards", b"CREATE T\xe4BLE shards"), (b"shards", b"sh`rds")],
)
def test_damage_that_sqlite_cannot_even_quote_is_one_sentence(path, old, new):
    wanted = digest(search(path))
    path.write_bytes(path.read_bytes().replace(old, new))
    assert outcome(path, wanted) == "refused"


@pytest.mark.parametrize("named", [0, 1, 9])
def test_a_row_that_its_page_names_in_the_place_of_another_is_noticed(path, named):
    """Each row is as it was written, and matches its digest: but one is there twice."""
    search(path)
    content = bytearray(path.read_bytes())
    [(page,)] = execute(path, "SELECT rootpage FROM sqlite_master WHERE name = 'shards'")
    head = 4096 * (page - 1)
    assert content[head] == 13  # a leaf: its rows' places, two bytes each, begin after 8 bytes
    one, other = head + 8 + 2 * named, head + 8 + 2 * (named + 1)
    content[one : one + 2] = content[other : other + 2]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.db is damaged \(SQLite's integrity check"):
        search(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE shards SET top = trace WHERE start = 512",
        "UPDATE shards SET count = 255 WHERE start = 512",
        "UPDATE shards SET start = 513 WHERE start = 512",
        "UPDATE shards SET top = 'text' WHERE start = 512",
        "UPDATE shards SET seconds = seconds + 1 WHERE start = 512",
        "UPDATE shards SET digest = 0 WHERE start = 512",
        "UPDATE shards SET top = CAST(x'ff' AS TEXT) WHERE start = 512",
        "UPDATE config SET text = replace(text, '\"seed\": 3', '\"seed\": 4')",
        "UPDATE config SET text = 7",
        "DELETE FROM config",
        "INSERT INTO config SELECT * FROM config",
        "DROP TABLE shards",
        "ALTER TABLE shards RENAME COLUMN top TO bottom",
    ],
)
def test_a_row_that_was_changed_is_noticed(path, statement):
    search(path)
    execute(path, statement)
    with pytest.raises(CheckpointError, match=r"run\.db is damaged \(.*\): restore it from a copy"):
        search(path)


def test_a_shard_of_another_search_is_noticed(path):
    other = path.parent / "other.db"
    search(path)
    search(other, seed=4)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("ATTACH ? AS other", (str(other),))
        database.execute("REPLACE INTO shards SELECT * FROM other.shards WHERE start = 512")
    with pytest.raises(CheckpointError, match=r"run\.db is damaged \(the shard of candidate 512 "):
        search(path)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("limit", [5000, 20_000, 40_000])
def test_a_disk_without_room_is_one_sentence_and_nothing_is_lost(path, every_shard, limit):
    told = []
    with (
        pytest.raises(OSError, match=r"run\.db could not be written .*: free space, then resume"),
        files_up_to(limit),
    ):
        search(path, 100_000, callback=lambda result: told.append(result.n_evaluated))
    restored = []
    result = search(path, 100_000, callback=restored.append)
    assert digest(result) == digest(search(None, 100_000))
    assert restored[0].n_evaluated >= max(told, default=0)


def cut_off(path, suffix):
    """Put the file of a process that was killed, with its log or journal, in the place of one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        if suffix == "-wal":  # as version 0.1 wrote it: all but the first page is in the log
            script = "\n".join(database.iterdump())
            target = sqlite3.connect(path.with_suffix(".new"), isolation_level=None)
            target.executescript(
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                "PRAGMA wal_autocheckpoint = 0;"
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2; {script}"
            )
        else:  # pages are written before their transaction is over
            target = sqlite3.connect(path, isolation_level=None)
            target.executescript(
                "PRAGMA cache_size = 5; BEGIN; UPDATE shards SET seconds = seconds + 1"
            )
        with contextlib.closing(target):
            name = target.execute("PRAGMA database_list").fetchone()[2]
            contents = [pathlib.Path(name + end).read_bytes() for end in ("", suffix)]
    return contents


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_what_a_killed_process_left_behind_is_taken_over(path, suffix):
    wanted = digest(search(path, 50_000))
    content, log = cut_off(path, suffix)
    beside = path.with_name(f"run.db{suffix}")
    path.write_bytes(content)
    beside.write_bytes(log)
    evaluated = []
    assert digest(search(path, 50_000, callback=evaluated.append)) == wanted
    assert not evaluated and not beside.exists()


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_damaged_log_or_journal_is_refused_or_right(path, suffix):
    wanted = digest(search(path, 50_000))
    content, whole = cut_off(path, suffix)
    assert len(whole) > 3 * 4096
    rng = random.Random(2)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        log = path.with_name(f"run.db{suffix}")
        log.write_bytes(damaged[: rng.choice([len(whole), rng.randrange(len(whole))])])
        try:
            assert digest(search(path, 50_000)) == wanted
        except CheckpointError as error:
            assert "run.db" in str(error)
            log.unlink(missing_ok=True)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_database_of_another_application_is_refused(tmp_path, change):
    path = tmp_path / "search.sqlite"
    objective = mf.LogisticLoss([[1.0], [-1.0]], [1, 0])
    mf.random_search(objective, mf.Normal(), 100, checkpoint=path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID + change}")
    with pytest.raises(mf.CheckpointError, match=r"search\.sqlite"):
        mf.resume_search(path, objective)


def test_shards_are_read_some_at_a_time(path, every_shard, monkeypatch):
    wanted = digest(search(path))
    monkeypatch.setattr(checkpoint, "READ_TOGETHER", 3)
    assert digest(search(path)) == wanted


def test_a_database_that_may_not_grow_is_one_sentence(path, every_shard, monkeypatch):
    limited = f"{checkpoint.SCHEMA}; PRAGMA max_page_count = 6"
    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"run\.db could not be written \(database or disk is full"),
    ):
        patch.setattr(checkpoint, "SCHEMA", limited)
        search(path, 100_000)
    assert digest(search(path, 100_000)) == digest(search(None, 100_000))


def test_each_commit_reaches_the_disk_and_the_file_itself(path):
    search(checkpoint=path)
    with Checkpoint(path) as file:
        assert file._execute("PRAGMA synchronous") == [(3,)]  # EXTRA: the folder's entries, too
        assert file._execute("PRAGMA journal_mode") == [("delete",)]
