"""Shards on other processes and machines, through anything in the shape of concurrent.futures.

Futures carry the name of the task alone. A worker that does not know it yet says so, and gets that
shard again together with the task: the data travels once to each worker. Scheduling, retries and
the death of workers are the executor's business.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterator
from typing import Any

from metaopt_fast.shards import Shard, Task
from metaopt_fast.threads import default_n_threads

# Tasks that this process has been sent, the last two by name.
_KNOWN: dict[str, Task] = {}

# Shards under way for each worker: one at work, one waiting.
SHARDS_PER_WORKER = 2


def run_shard(
    name: str, task: Task | None, start: int, count: int, threshold: float
) -> tuple[int, int, Shard | None]:
    """Run on a worker: evaluate a shard, or return None for want of the task."""
    if task is not None:
        _KNOWN[name] = task
        while len(_KNOWN) > 2:
            del _KNOWN[next(iter(_KNOWN))]
    if name not in _KNOWN:
        return start, count, None
    return start, count, _KNOWN[name].run(start, count, threshold)


class Driver:
    """Sends shards to an executor and hands out those that are done.

    Parameters
    ----------
    executor : object
        With ``submit(fn, *args)`` that returns a concurrent.futures.Future.
    task : Task
    name : str
        Unique to the task: a fingerprint.
    """

    def __init__(self, executor: Any, task: Task, name: str) -> None:
        self.executor, self.task, self.name = executor, task, name
        self.n_workers = number_of_workers(executor)
        self.futures: set[concurrent.futures.Future[Any]] = set()
        self.threshold = float("inf")

    def submit(self, start: int, count: int, task: Task | None = None) -> None:
        future = self.executor.submit(run_shard, self.name, task, start, count, self.threshold)
        self.futures.add(future)

    def run(self, shards: Iterator[tuple[int, int]]) -> Iterator[Shard]:
        """Yield the shards as they are done, in any order."""
        for start, count in shards:
            self.submit(start, count)
            while len(self.futures) >= SHARDS_PER_WORKER * self.n_workers:
                yield from self.finished()
        while self.futures:
            yield from self.finished()

    def finished(self) -> Iterator[Shard]:
        """Wait for a future, yield what is done, send again what a worker could not do."""
        done, self.futures = concurrent.futures.wait(
            self.futures, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            try:
                start, count, shard = future.result()
            except concurrent.futures.BrokenExecutor as error:
                raise RuntimeError(
                    f"a worker of the executor died ({error}): what was finished is in the "
                    "checkpoint, if there is one; search again with a new executor."
                ) from error
            if shard is None:
                self.submit(start, count, self.task)
            else:
                yield shard

    def cancel(self) -> None:
        """Take back the shards that no worker has begun."""
        for future in self.futures:
            future.cancel()


def number_of_workers(executor: Any) -> int:
    """Return how many workers an executor has, as far as it says; else as many as processors."""
    for name in ("_max_workers", "num_workers"):
        n_workers = getattr(executor, name, None)
        if isinstance(n_workers, int) and n_workers > 0:
            return n_workers
    client = getattr(executor, "_client", None)
    if client is not None:
        return max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    return os.cpu_count() or 1


def threads_of_worker(executor: Any) -> int:
    """Return a worker's share of this machine's threads."""
    return max(1, default_n_threads()[0] // number_of_workers(executor))
