"""What a checkpoint holds is read while its search runs, and the search is left alone."""

import os
import shutil
import subprocess

import pytest
from searches import digest, numbers, objective, python, search

import metaopt_fast as mf
from metaopt_fast.search import snapshot
from metaopt_fast.search.shards import Task

pytestmark = pytest.mark.usefixtures("shards_of_256")


@pytest.fixture
def every_shard(monkeypatch):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 0.0)


@pytest.mark.parametrize(
    "sampler",
    [
        mf.Normal(),
        mf.Integers(-3, 3, 2),
        mf.Mixture({range(2): mf.Normal(), range(2, 8): mf.Uniform(-1, 1)}),
    ],
)
def test_a_finished_search_is_read_as_it_ended(path, sampler):
    result = mf.random_search(objective(), sampler, 2000, top_k=5, seed=3, checkpoint=path)
    assert digest(mf.read_checkpoint(path)) == digest(result)
    assert mf.read_checkpoint(path).ranges == result.ranges


def test_a_running_search_is_read_as_far_as_it_has_come(path, every_shard):
    seen = []

    def callback(result):
        seen.append((digest(result), result.ranges))
        read = mf.read_checkpoint(path)
        assert (digest(read), read.ranges) == seen[-1]
        assert read.config["n_candidates"] == 4096

    whole = search(path, callback=callback)
    assert len(seen) > 5
    assert digest(whole) == digest(search())


def test_the_search_of_another_process_goes_on_meanwhile(path):
    code = f"""
import sys
from searches import search
import metaopt_fast.search.random_search as module, metaopt_fast.search.shards as shards
shards.LARGEST_SHARD = 256
module.CALLBACK_INTERVAL = module.COMMIT_INTERVAL = 0.0
def wait(result):
    print(result.n_evaluated, flush=True)
    sys.stdin.readline()
search({str(path)!r}, callback=wait)
"""
    with python(code, stdin=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            evaluated = int(process.stdout.readline())
            assert mf.read_checkpoint(path).n_evaluated == evaluated
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    assert digest(search(path)) == digest(search())


def test_a_copy_amid_a_commit_is_made_again(path, monkeypatch):
    result = search(path)
    content = path.read_bytes()
    copies = []

    def copyfile(source, to):
        copies.append(to)
        with open(to, "wb") as file:  # half of it, and then the whole
            file.write(content if len(copies) > 2 else content[: len(content) // 2])
        if len(copies) <= 2:
            os.utime(source, ns=(len(copies), len(copies)))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    monkeypatch.setattr(snapshot, "PAUSE", 0.0)
    assert digest(mf.read_checkpoint(path)) == digest(result)
    assert len(copies) == 3


def test_a_damaged_file_is_refused_at_once_by_its_own_name(path, monkeypatch):
    search(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    monkeypatch.setattr(snapshot, "COPIES", 10**9)
    with pytest.raises(mf.CheckpointError, match="damaged") as error:
        mf.read_checkpoint(path)
    assert str(error.value).startswith(str(path))


def test_what_cannot_be_read_is_said_in_a_sentence(path):
    with pytest.raises(FileNotFoundError):
        mf.read_checkpoint(path)
    path.write_text("no checkpoint")
    with pytest.raises(mf.CheckpointError, match="is no checkpoint of metaopt_fast"):
        mf.read_checkpoint(path)
    path.unlink()
    losses = mf.SquaredLoss([[1.0], [2.0]], [1.0, 0.0])
    mf.random_search(losses, numbers, 10, checkpoint=path, fingerprint="mine")
    with pytest.raises(mf.CheckpointError, match="a sampler of your own, which no file holds"):
        mf.read_checkpoint(path)
    with pytest.raises(TypeError, match="path is 3"):
        mf.read_checkpoint(3)


def test_a_file_without_a_shard_says_so(path, monkeypatch):
    monkeypatch.setattr(Task, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(path)
    with pytest.raises(ValueError, match="holds no finished shard so far: wait for the first one"):
        mf.read_checkpoint(path)


def interrupted(*arguments):
    raise KeyboardInterrupt
