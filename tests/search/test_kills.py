"""Checkpoints of searches that are killed, and of disks that are full: nothing told of is lost."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from searches import digest, objective, problem, python, search

import metaopt_fast as mf
from metaopt_fast.search import shards
from metaopt_fast.search.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("shards_of_256")


# --------------------------------------------------------------------------------------- full disks

FULL_DISK = """
import sys
from searches import *
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards
shards.LARGEST_SHARD = 64
search.COMMIT_INTERVAL = 0.0
options = {"top_k": 5, "seed": 3, "start": 100, "checkpoint": sys.argv[1]}
with files_up_to(int(sys.argv[2])):
    mf.random_search(objective(), mf.Normal(), 100_000, **options)
"""


@pytest.mark.long
@pytest.mark.parametrize("limit", [0, 5000, 30_000, 100_000])
def test_a_full_disk_raises_and_the_file_still_opens(path, monkeypatch, limit):
    with python(FULL_DISK, path, str(limit), stderr=subprocess.PIPE) as process:
        assert process.wait() == 1
        assert b"OSError" in process.stderr.read().splitlines()[-1]
    monkeypatch.setattr(shards, "LARGEST_SHARD", 64)
    restored = []
    result = search(path, 100_000, callback=restored.append)
    assert digest(result) == digest(search(None, 100_000))
    if limit >= 30_000:
        assert restored[0].n_evaluated > 64 + 28


# ------------------------------------------------------------------------------------------ kill -9

# Forks a process that searches, for each line that comes, and tells when it has ended. That process
# tells its number, and how many candidates are safe, after each shard and at the end.
KILLED = """
import os, sys
from searches import *
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards
shards.LARGEST_SHARD = 256
search.CALLBACK_INTERVAL, search.COMMIT_INTERVAL = 0.0, 1e9
def acknowledge(result):
    print(result.n_evaluated, flush=True)
loss = objective(n_threads=1)
options = {"top_k": 5, "seed": 3, "start": 100, "checkpoint": sys.argv[1], "callback": acknowledge}
for _ in sys.stdin:
    if os.fork() == 0:
        try:
            print(os.getpid(), flush=True)
            acknowledge(mf.random_search(loss, mf.Normal(), int(sys.argv[2]), **options))
        finally:
            os._exit(0)
    os.wait()
    print("ended", flush=True)
"""


@pytest.mark.long
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(path):
    n_candidates, kills = 2_000_000, 100
    rng = random.Random(0)
    safe = lives = 0
    with python(KILLED, path, n_candidates, stdin=subprocess.PIPE) as forking:
        for kill in range(kills):
            forking.stdin.write(b"go\n")
            forking.stdin.flush()
            child = int(forking.stdout.readline())
            # At any moment, or while shards are being written.
            told = [forking.stdout.readline() for _ in range(kill % 2)]
            time.sleep(rng.uniform(0.0, 0.03))
            with contextlib.suppress(ProcessLookupError):  # it has found all
                os.kill(child, signal.SIGKILL)
            while not (told and told[-1].endswith(b"ended\n")):
                told.append(forking.stdout.readline())
                assert told[-1] != b"", "the process that forks has ended"
            told = [int(line) for line in told[:-1]]
            assert not told or told[0] > safe or safe == n_candidates
            safe, lives = max([safe, *told]), lives + bool(told)
    assert lives >= kills / 2
    with Checkpoint(path) as file:
        state, _ = file.restore(shards.State.at(100, 5))
    assert state.n_evaluated >= safe
    assert digest(mf.resume_search(path, objective(n_threads=1))) == digest(
        search(None, n_candidates)
    )


# Workers are forked while the checkpoint is open; each callback copies it, as a backup does.
WITH_WORKERS = """
import multiprocessing, shutil, sys, time
from concurrent.futures import ProcessPoolExecutor
from searches import *
from metaopt_fast.search import random_search as module
from metaopt_fast.search import shards
shards.LARGEST_SHARD, module.CALLBACK_INTERVAL = 256, 0.0
def acknowledge(result):
    shutil.copy(sys.argv[1], sys.argv[1] + ".copy")
    if result.n_evaluated < 3000:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    print(result.n_evaluated, flush=True)
    time.sleep(0.02)  # the search must not end before it is killed
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    search(sys.argv[1], 300_000, executor=pool, callback=acknowledge)
"""


@pytest.mark.long
def test_a_killed_driver_leaves_its_workers_without_the_checkpoint(path):
    with python(WITH_WORKERS, path) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        told = [process.stdout.readline() for _ in range(20)]
        with pytest.raises(mf.CheckpointError, match="in use by another process"):
            search(path, 300_000)
        process.kill()
        process.wait()
    try:
        assert workers
        for pid in workers:
            os.kill(pid, 0)  # it is still there
        with Checkpoint(path) as file:
            state, _ = file.restore(shards.State.at(100, 5))
        assert state.n_evaluated >= max(int(line) for line in told if b" " not in line)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    assert digest(search(path, 300_000)) == digest(search(None, 300_000))


# Told with each shard: whether its bounds are on.
WITH_STAGES = """
import sys
import numpy as np
import metaopt_fast as mf
from searches import problem
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards
shards.LARGEST_SHARD, search.CALLBACK_INTERVAL, search.COMMIT_INTERVAL = 8192, 0.0, 1e9
def tell(result):
    print(result.n_evaluated, result.config["stages"]["moment_bound"], flush=True)
    sys.stdin.readline()
loss = mf.LogisticLoss(*problem(2000, 5), n_threads=1)
options = {"top_k": 9, "checkpoint": sys.argv[1], "callback": tell, "prune": sys.argv[2] == "True"}
mf.random_search(loss, mf.Normal(), 60_000, **options)
"""


@pytest.mark.long(everywhere=True)
def test_a_search_killed_on_either_side_of_a_stage_goes_on_to_the_same_bytes(path, monkeypatch):
    monkeypatch.setattr(shards, "LARGEST_SHARD", 8192)
    loss = mf.LogisticLoss(*problem(2000, 5), n_threads=1)
    told = []
    for prune in (False, True, True):  # before they are on, when they have come on, and again
        with python(WITH_STAGES, path, prune, stdin=subprocess.PIPE) as process:
            told.append(process.stdout.readline().split())
            process.kill()
    assert [stage for _, stage in told] == [b"none", b"used", b"used"]
    assert int(told[0][0]) < int(told[1][0]) < int(told[2][0]) < 60_000
    whole = mf.random_search(loss, mf.Normal(), 60_000, top_k=9, prune=False)
    for prune in (False, True):
        copied = f"{path}.{prune}"
        shutil.copy(path, copied)
        assert digest(mf.resume_search(copied, loss, prune=prune)) == digest(whole)
