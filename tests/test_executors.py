"""Searches on other processes: the same bits, the data sent once, nothing lost with a worker."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from searches import LossesByNumber, MeanSquare, digest, numbers, objective, problem

import metaopt_fast as mf
from metaopt_fast import shards, workers
from metaopt_fast.checkpoint import Checkpoint

N_CANDIDATES = 20_000


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "LARGEST_SHARD", 256)


def search(executor=None, **options):
    options = {"top_k": 5, "seed": 3, "start": 100, "executor": executor, **options}
    return mf.random_search(objective(), mf.Normal(), N_CANDIDATES, **options)


@pytest.fixture(scope="module")
def pool():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


@pytest.fixture(scope="module")
def client():
    """A Dask cluster of two worker processes."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Counting:
    """An executor that runs each task at once, as one of several workers of separate memories.

    Each task goes to the next worker in turn, or as `order` says.
    """

    def __init__(self, n_workers, order=None):
        self._max_workers, self.order = n_workers, order
        self.memories = [{} for _ in range(n_workers)]
        self.submitted, self.sent, self.most = 0, [], 0
        self.waiting = []

    def submit(self, function, name, data, task, *rest):
        worker = self.submitted % self._max_workers
        if self.order is not None:
            worker = self.order[self.submitted % len(self.order)]
        self.submitted += 1
        if data is not None:
            self.sent.append(worker)
        assert task.objective is None
        future = Future()
        self.waiting.append((future, worker, (name, data, task, *rest)))
        self.most = max(self.most, len(self.waiting))
        threading.Timer(0.0, self.work).start() if len(self.waiting) == 1 else None
        return future

    def work(self):
        while self.waiting:
            future, worker, arguments = self.waiting[0]
            known = dict(workers._KNOWN)
            workers._KNOWN.clear()
            workers._KNOWN.update(self.memories[worker])
            try:
                answer = workers.run_shard(*arguments)
                self.memories[worker] = dict(workers._KNOWN)
            finally:
                workers._KNOWN.clear()
                workers._KNOWN.update(known)
            self.waiting.pop(0)
            future.set_result(workers.Answer(f"worker {worker}", answer.shard))
