"""Rows that lie in files of a folder: the bits of those in memory, and what a folder refuses."""

import copy
import errno
import functools
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.data import numbers, order, packed, packing, storage
from metaopt_fast.data.packing import pack
from metaopt_fast.data.storage import IN_MEMORY, Folder, is_mapped

RNG = np.random.default_rng(0)
X = RNG.normal(size=(700, 5))
Y = RNG.integers(0, 2, 700)
WEIGHTS = RNG.integers(0, 3, 700) / 2
CLASSES = {
    "LogisticLoss": {"l2": 0.1, "fit_intercept": True},
    "HingeLoss": {"dtype": "float32"},
    "SmoothedZeroOneLoss": {"beta": 3.0},
    "SoftmaxLoss": {"l2": 0.1, "n_classes": 3},
}


def open_files(folder):
    """The files of a folder, without names too, that this process has open or mapped."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # that of this listing
            continue
        if target.startswith(f"{folder}/"):
            found.append(target)
    maps = Path("/proc/self/maps").read_text().splitlines()
    return found + [line for line in maps if f" {folder}/" in line]


def mapped(array, path):
    """The array as a file that is mapped."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def assert_same(one, other):
    """Packed rows have the same bits, and the same numbers of rows."""
    assert one.digest() == other.digest()
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.origin.positions, other.origin.positions)
    np.testing.assert_array_equal(one.kept, other.kept)
    assert (one.extent, one.total_weight) == (other.extent, other.total_weight)


@pytest.mark.long(everywhere=True)
@given(
    source=st.sampled_from(["array", "columns", "file", "converted file"]),
    n=st.integers(2, 300),
    weights=st.sampled_from(["none", "few", "all different"]),
    n_strata=st.integers(0, 3),
    at_once=st.sampled_from([1, 7, 64, 10**6]),
    region=st.sampled_from([1, 400, 10**6]),
    signed=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
    seed=st.integers(0, 99),
)
def test_rows_are_packed_to_the_bits_of_rows_in_memory(
    memory, source, n, weights, n_strata, at_once, region, signed, dtype, seed
):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, (n, 4)) * rng.uniform(0.5, 2, 4)
    labels = np.r_[0, 1, rng.integers(0, 2 if signed else 4, n - 2)]
    some = {"few": rng.integers(0, 3, n) / 2, "all different": rng.uniform(0, 1, n)}.get(weights)
    if some is not None:
        some[0] = 1.0
    strata = None if n_strata == 0 else rng.integers(0, n_strata, n)
    options = {"strata": strata, "signed": signed}
    with mock.patch.multiple(order, ROWS_AT_ONCE=at_once):
        wanted = pack(rows, labels, some, 1, dtype, **options)
    if source == "columns":
        rows = np.asfortranarray(rows)
    elif "file" in source:
        rows = mapped(rows.astype(">f8" if "converted" in source else "f8"), memory / "rows.npy")
    with (
        mock.patch.multiple(numbers, DISTANT_BYTES=0, REGION_BYTES=region),
        mock.patch.multiple(packed, ROWS_AT_ONCE=64 * at_once),
    ):
        found = pack(rows, labels, some, 1, dtype, **options, memory=Folder(str(memory)))
        assert found.is_on_disk and is_mapped(found.panels) and not is_mapped(wanted.panels)
        assert_same(found, wanted)
        np.testing.assert_array_equal(found.weights_of_positions(), wanted.weights_of_positions())
        values = np.arange(n)
        np.testing.assert_array_equal(found.of_blocks(values), wanted.of_blocks(values))
        if some is None or (some > 0).all():
            (one,), (other,) = (rows.split([values[::2]]) for rows in (found, wanted))
            assert is_mapped(one.panels)
            assert_same(one, other)


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("name", CLASSES)
def test_an_objective_has_the_bits_of_the_one_in_memory(memory, name, weights):
    options = CLASSES[name]
    y = Y + (np.arange(len(Y)) % 7 == 0) if name == "SoftmaxLoss" else Y
    one = getattr(mf, name)(X, y, weights, **options)
    other = getattr(mf, name)(X, y, weights, **options, storage=memory)
    thetas = RNG.normal(size=(90, one.n_params))
    some = np.flatnonzero(np.arange(len(X)) % 3)
    for a, b in [(one, other), (one.subset(some), other.subset(some))]:
        assert a.fingerprint == b.fingerprint
        for found, wanted in zip(
            b.batch_loss_gradient(thetas), a.batch_loss_gradient(thetas), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)
        assert b.loss(thetas[0]) == a.loss(thetas[0])
        if a.is_smooth:
            assert b.lipschitz() == a.lipschitz()
    found, wanted = (
        mf.random_search(objective, mf.Normal(), 5000, top_k=5) for objective in (other, one)
    )
    np.testing.assert_array_equal(found.index, wanted.index)
    np.testing.assert_array_equal(found.loss, wanted.loss)
    assert os.listdir(memory) == []


def test_mini_batches_of_a_descent_have_the_bits_of_those_in_memory(memory):
    found, wanted = (
        mf.gradient_descent(
            mf.LogisticLoss(X, Y, storage=folder), np.zeros(5), batch_size=100, max_iter=20
        )
        for folder in (memory, None)
    )
    np.testing.assert_array_equal(found.theta, wanted.theta)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_candidates_that_read_the_rows_together_keep_their_bits(memory, n_threads):
    """More tiles than are at work together in memory, over more rows than are in one slice."""
    n = 2**20
    column = (np.arange(n) * 7919 % 1009 - 504).astype(np.int16)[:, None]
    thetas = np.linspace(-0.02, 0.02, 24 * 5 + 3)[:, None]
    objectives = [
        mf.LogisticLoss(column, column[:, 0] % 3 == 0, n_threads=n_threads, storage=folder)
        for folder in (memory, None)
    ]
    found, wanted = (objective.batch_loss_gradient(thetas) for objective in objectives)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_classes_of_models_that_read_the_rows_together_keep_their_bits(memory):
    y = np.arange(len(X)) % 3
    found, wanted = (mf.SoftmaxLoss(X, y, n_threads=1, storage=folder) for folder in (memory, None))
    thetas = RNG.normal(size=(200, found.n_params))
    for a, b in zip(
        found.batch_loss_gradient(thetas), wanted.batch_loss_gradient(thetas), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_rows_on_a_disk_have_no_copy_in_memory(memory):
    for folder in (None, memory):
        objective = mf.LogisticLoss(X, Y, storage=folder)
        threshold = objective.loss(np.zeros(5))
        objective.pruned_loss(mf.Normal(), 0, 0, 5000, threshold)
        assert objective._rows.has_narrow_rows == (folder is None)


def test_a_search_goes_on_in_memory_where_it_began_on_a_disk(memory, path):
    objective = mf.LogisticLoss(X, Y, storage=memory)
    mf.random_search(objective, mf.Normal(), 1000, checkpoint=path)
    found = mf.random_search(mf.LogisticLoss(X, Y), mf.Normal(), 2000, checkpoint=path)
    wanted = mf.random_search(mf.LogisticLoss(X, Y), mf.Normal(), 2000)
    np.testing.assert_array_equal(found.index, wanted.index)


# ---------------------------------------------------------------------------- files and processes


def test_a_file_has_no_name_and_is_gone_with_the_objective(memory):
    objective = mf.LogisticLoss(X, Y, storage=memory)
    assert os.listdir(memory) == []
    assert open_files(memory)
    del objective
    assert not open_files(memory)


def test_a_file_is_gone_when_packing_is_interrupted(memory, monkeypatch):
    monkeypatch.setattr(packing, "exact_sum", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        mf.LogisticLoss(X, Y, WEIGHTS, storage=memory)
    assert os.listdir(memory) == []
    assert not open_files(memory)


def test_all_of_a_file_has_its_place_before_it_is_mapped(memory, monkeypatch):
    """On a disk that has no place left, a write to memory would end the process."""
    sizes = []
    monkeypatch.setattr(
        storage, "mapped", lambda file, n: sizes.append((os.fstat(file.fileno()), n))
    )
    monkeypatch.setattr(storage, "TAKEN_AT_ONCE", 100_000)
    Folder(str(memory)).zeros(1_000_001)
    ((status, n_bytes),) = sizes
    assert status.st_size == n_bytes == 1_000_001
    assert status.st_blocks * 512 >= n_bytes
    assert status.st_nlink == 0


@pytest.mark.parametrize("code", storage.CANNOT_TAKE)
def test_a_file_system_that_takes_no_space_ahead_is_written_with_zeros(memory, monkeypatch, code):
    wanted = mf.LogisticLoss(X, Y).fingerprint
    monkeypatch.setattr(os, "posix_fallocate", mock.Mock(side_effect=OSError(code, "no")))
    test_all_of_a_file_has_its_place_before_it_is_mapped(memory, monkeypatch)
    monkeypatch.undo()
    with mock.patch("os.posix_fallocate", side_effect=OSError(code, "no")):
        assert mf.LogisticLoss(X, Y, storage=memory).fingerprint == wanted


def test_children_that_are_forked_have_the_rows(memory):
    objective = mf.LogisticLoss(X, Y, storage=memory)
    theta = np.ones(5)

    def answer(connection):
        connection.send(objective.loss(theta))

    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=answer, args=(theirs,))
    child.start()
    found = ours.recv()
    child.join()
    assert found == objective.loss(theta) == mf.LogisticLoss(X, Y).loss(theta)


def test_an_objective_with_storage_is_refused_where_it_would_be_sent(memory):
    objective = mf.LogisticLoss(X, Y, storage=memory)
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"only this process .*: make the objective in each"):
            send(objective)
    assert copy.copy(objective).with_threads(1).loss(np.ones(5)) == objective.loss(np.ones(5))


def test_a_search_goes_out_to_processes_that_it_forks_and_is_refused_by_others(memory):
    objective = mf.LogisticLoss(X, Y, storage=memory)
    wanted = mf.random_search(mf.LogisticLoss(X, Y), mf.Normal(), 1000, top_k=3)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        found = mf.random_search(objective, mf.Normal(), 1000, top_k=3, executor=pool)
        np.testing.assert_array_equal(found.index, wanted.index)
        np.testing.assert_array_equal(found.loss, wanted.loss)
        late = mf.LogisticLoss(X + 1, Y, storage=memory)  # made after the process was forked
        with pytest.raises(TypeError, match=r"objective is .*cannot be sent to another process"):
            mf.random_search(late, mf.Normal(), 1000, executor=pool)


# ------------------------------------------------------------------------------------- bad folders


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (3, TypeError, "storage is 3 .*: pass the path of a directory"),
        (b"/tmp", TypeError, "storage is b'/tmp'"),
        ("", ValueError, "storage is '' .*, no directory"),
        ("no/such", ValueError, "no directory: pass"),
        ("a\0b", ValueError, "no directory"),
        (Path("/dev/null"), ValueError, "/dev/null.* no directory"),
        ("/proc/self", OSError, r"/proc/self'.*cannot be \(.+\): pass a directory that"),
    ],
)
def test_what_is_no_folder_to_write_to_is_refused_before_any_row_is_read(value, kind, words):
    with pytest.raises(kind, match=words):
        mf.LogisticLoss(None, Y, storage=value)
    with pytest.raises(kind, match=words):
        mf.fit_many(X, Y, l2=0.1, storage=value)


def test_merged_duplicates_are_refused_as_they_take_memory(memory):
    with pytest.raises(ValueError, match=r"merge_duplicates is True.*: pass one of both"):
        mf.LogisticLoss(X, Y, merge_duplicates=True, storage=memory)


def test_sparse_rows_are_refused_as_they_lie_in_memory(memory):
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(X)
    for call in (mf.LogisticLoss, functools.partial(mf.fit_many, l2=0.1)):
        with pytest.raises(ValueError, match=r"storage is .* X is a sparse matrix: pass storage="):
            call(sparse, Y, storage=memory)


def test_a_disk_without_room_is_said_before_rows_are_read(memory, monkeypatch):
    usage = shutil.disk_usage(memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=28_000))
    monkeypatch.setattr(packing, "numbers_of", None)
    with pytest.raises(OSError, match=r"a file of 28,000 bytes|28,000 are free") as caught:
        mf.LogisticLoss(X, Y, fit_intercept=True, storage=memory)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == (
        f"storage is {str(memory)!r}, where a file of 33,600 bytes cannot be (28,000 are free): "
        "free space there, or pass a directory on another disk."
    )


def test_a_folder_that_is_gone_is_said(memory):
    (memory / "gone").mkdir()
    objective = mf.LogisticLoss(X, Y, storage=memory / "gone")
    wanted = objective.loss(np.ones(5))
    (memory / "gone").rmdir()
    with pytest.raises(OSError, match=r"gone'.*\(No such file or directory\): pass a directory"):
        objective.subset([0, 1, 2, 3, 4, 5, 6, 7])
    assert objective.loss(np.ones(5)) == wanted


def test_a_disk_that_fills_while_rows_are_packed_is_an_error(memory, monkeypatch):
    real, calls = os.posix_fallocate, []

    def fill(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", fill)
    with pytest.raises(OSError, match=r"No space left on device\): free space there"):
        mf.LogisticLoss(X, Y, storage=memory)
    assert not open_files(memory)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [(errno.ENOMEM, MemoryError, "^$"), (errno.EPERM, OSError, r"Operation not permitted\): pass")],
)
def test_a_file_that_cannot_be_mapped_is_an_error(memory, monkeypatch, code, error, words):
    failing = mock.Mock(side_effect=OSError(code, os.strerror(code)))
    monkeypatch.setattr("mmap.mmap", failing)
    with pytest.raises(error, match=words):
        mf.LogisticLoss(X, Y, storage=memory)
    assert not open_files(memory)


def test_a_file_of_nothing_is_an_array_of_nothing(memory):
    assert Folder(str(memory)).empty((0, 5), float).shape == (0, 5)


def test_rows_longer_than_what_is_copied_at_once_are_copied_one_by_one(memory, monkeypatch):
    monkeypatch.setattr(storage, "WRITTEN_AT_ONCE", 8)
    whole, parts = np.arange(12).reshape(4, 3), Folder(memory)
    rows = storage.PileInFile(parts)
    rows.add(whole)
    rows.add(whole + 0.5)
    assert rows.array().tolist() == [*whole.tolist(), *(whole + 0.5).tolist()]
    rows.close()


def test_a_folder_that_goes_before_the_first_batch_is_said(memory):
    folder = memory / "gone"
    folder.mkdir()

    def of_batches():
        folder.rmdir()
        yield X, Y

    with pytest.raises(OSError, match=r"gone'.*\(No such file or directory\): pass a directory"):
        mf.collect_batches(of_batches(), storage=folder)


LIMITED = """
import resource, sys
import numpy as np
import metaopt_fast as mf
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
X, y = np.ones((2**15, 5)), np.arange(2**15) % 2
for make in (
    lambda: mf.LogisticLoss(X, y, storage="FOLDER"),
    lambda: mf.fit_many(X, y, l2=0.1, storage="FOLDER"),
    lambda: mf.collect_batches([(X, y)], storage="FOLDER"),
):
    try:
        make()
    except OSError as error:
        print(error)
"""


@pytest.mark.long(everywhere=True)
def test_a_limit_of_the_system_is_a_sentence(memory, run_python):
    done = run_python(LIMITED.replace("FOLDER", str(memory)))
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("(File too large): free space there" in line for line in lines)


MEASURED = """
import sys, threading, time
import numpy as np
import metaopt_fast as mf

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024

def watch():
    while not done.is_set():
        peaks.append(anonymous())
        time.sleep(0.002)

def batches():
    rng = np.random.default_rng(0)
    for _ in range(20):
        X = rng.normal(size=(8192, 40))
        yield X, (X[:, 0] + rng.normal(size=len(X)) > 0).astype(np.int8)

warm = mf.LogisticLoss(np.eye(3), [0, 1, 1])
warm.batch_loss_gradient(np.zeros((200, 3)))
mf.fit_many(np.eye(9) + 1, np.arange(9) % 2, l2=[0.1, 1.0], storage="FOLDER")
before, peaks, done = anonymous(), [], threading.Event()
thread = threading.Thread(target=watch)
thread.start()
rows = mf.collect_batches(batches(), storage="FOLDER")
objective = mf.LogisticLoss(rows.X, rows.y, storage="FOLDER", n_threads=1)
losses, _ = objective.batch_loss_gradient(np.zeros((100, 40)))
fits = mf.fit_many(rows.X, rows.y, l2=[1e-3, 1e-1], folds=np.arange(len(rows.y)) % 3, n_threads=1,
                   storage="FOLDER")
done.set()
thread.join()
print(len(peaks), (max(peaks) - before) / 1e6, rows.X.nbytes / 1e6, bool(fits.certified.all()))
"""


@pytest.mark.long(everywhere=True)
def test_memory_does_not_hold_the_rows(memory, run_python):
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer keeps memory that was given back")
    done = run_python(MEASURED.replace("FOLDER", str(memory)))
    n_looks, anonymous, n_bytes, certified = done.stdout.split()
    assert certified == "True"
    assert int(n_looks) > 20
    assert float(n_bytes) > 50
    # A few batches of 3 MB, a number or two for each of 163,840 rows, and what is at work.
    assert float(anonymous) < 25


def test_what_is_mapped_is_known_by_what_it_is_a_part_of(memory):
    array = mapped(X, memory / "rows.npy")
    assert is_mapped(array) and is_mapped(array[1:].T) and is_mapped(np.asarray(array)[:2])
    assert is_mapped(Folder(str(memory)).empty((2, 3), "f4")[1:])
    assert not is_mapped(X) and not is_mapped(X[1:]) and not is_mapped(IN_MEMORY.zeros(8))
