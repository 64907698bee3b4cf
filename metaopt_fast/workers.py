"""Shards on other processes and machines, through anything in the shape of concurrent.futures.

Futures carry the name of the objective alone. A worker that does not know it says so, and the shard
goes out again together with the data, once for each worker that asked. Scheduling, retries and the
death of workers are the executor's business.
"""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from metaopt_fast.shards import Bar, Shard, Task
from metaopt_fast.threads import default_n_threads
from metaopt_fast.validation import describe

# Objectives that this process has been sent, the last two by name.
_KNOWN: dict[str, Any] = {}
_KNOWN_LOCK = threading.Lock()

# Shards under way for each worker: one at work, one or two waiting.
SHARDS_PER_WORKER = 3

# Seconds between two looks at how many workers there are.
LOOK_INTERVAL = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a worker says: who it is, and the shard, or None for want of the objective."""

    worker: str
    shard: Shard | None


def remember(name: str, objective: Any) -> None:
    """Keep an objective for the shards to come, and the one before it."""
    with _KNOWN_LOCK:
        _KNOWN.pop(name, None)
        while len(_KNOWN) > 1:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[name] = objective


def run_shard(name: str, objective: Any, task: Task, start: int, count: int, bar: Bar) -> Answer:
    """Run on a worker: evaluate a shard, with the objective sent along or the one of that name."""
    worker = f"{socket.gethostname()} {os.getpid()}"
    if objective is None:
        objective = _KNOWN.get(name)
    else:
        remember(name, objective)
    if objective is None:
        return Answer(worker, None)
    return Answer(worker, task.on(objective).run(start, count, bar))


class Driver:
    """Sends shards to an executor and hands out those that are done.

    Parameters
    ----------
    executor : object
        With ``submit(fn, *args)`` that returns a concurrent.futures.Future.
    task : Task
    bar : callable
        Returns the bar for the next shard.
    """

    def __init__(self, executor: Any, task: Task, bar: Callable[[], Bar]) -> None:
        self.executor, self.bar = executor, bar
        self.objective, self.task = task.objective, replace(task, objective=None)
        own = getattr(task.objective, "fingerprint", None)
        self.name = own if isinstance(own, str) else uuid.uuid4().hex
        self.pending: dict[concurrent.futures.Future[Answer], tuple[int, int, bool]] = {}
        self.again: deque[tuple[int, int]] = deque()
        # Workers that have the data, and workers that have asked for it.
        self.known: set[str] = set()
        self.asking: set[str] = set()
        self.look()

    def run(self, shards: Iterator[tuple[int, int]]) -> Iterator[list[Shard]]:
        """Yield the shards as they are done, in any order, all that are done at a time."""
        # Threads of this process, and children forked from it, have the data already.
        remember(self.name, self.objective)
        try:
            while self.fill(shards):
                done = self.finished()
                if done:
                    yield done
        except concurrent.futures.BrokenExecutor as error:
            raise RuntimeError(
                f"a worker of the executor died ({error}): what was finished is in the checkpoint, "
                "if there is one; search again with a new executor."
            ) from error
        finally:
            _KNOWN.pop(self.name, None)
            for future in self.pending:
                future.cancel()

    def fill(self, shards: Iterator[tuple[int, int]]) -> bool:
        """Keep every worker busy; return whether anything is under way."""
        if time.monotonic() - self.looked > LOOK_INTERVAL:
            self.look()
        # While a worker asks for the data, shards without it go to as many workers as have it:
        # others would but send them back.
        workers = len(self.known) if self.asking else self.n_workers
        with_data = sum(has_data for _, _, has_data in self.pending.values())
        limit = with_data + SHARDS_PER_WORKER * workers
        while with_data < len(self.asking) or len(self.pending) < limit:
            pair = self.again.popleft() if self.again else next(shards, None)
            if pair is None:
                break
            send = with_data < len(self.asking)
            with_data, limit = with_data + send, limit + send
            self.submit(*pair, send=send)
        return bool(self.pending)

    def submit(self, start: int, count: int, *, send: bool) -> None:
        """Send a shard out, with or without the data."""
        objective = self.objective if send else None
        try:
            future = self.executor.submit(
                run_shard, self.name, objective, self.task, start, count, self.bar()
            )
        except concurrent.futures.BrokenExecutor:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"executor takes no shard ({error}): pass one that has not been shut down."
            ) from error
        self.pending[future] = start, count, send

    def finished(self) -> list[Shard]:
        """Wait for a future; return the shards that are done, put back those that came for data."""
        done, _ = concurrent.futures.wait(
            self.pending, return_when=concurrent.futures.FIRST_COMPLETED
        )
        shards = []
        for future in done:
            start, count, sent = self.pending.pop(future)
            answer = self.answer(future)
            if answer.shard is None:
                self.asking.add(answer.worker)
                self.again.append((start, count))
                continue
            shards.append(answer.shard)
            self.known.add(answer.worker)
            if sent and answer.worker not in self.asking and self.asking:
                # Another worker took it: who still lacks the data will ask again.
                self.asking.pop()
            self.asking.discard(answer.worker)
        return shards

    def answer(self, future: concurrent.futures.Future[Answer]) -> Answer:
        """Return what a worker says, or raise what kept it from that."""
        try:
            return future.result()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            # What Python's pools raise of what cannot be pickled, a user's code may raise, too; and
            # what pickle cannot send, other pools may.
            pool = concurrent.futures.ProcessPoolExecutor
            if isinstance(error, pickle.PicklingError) or isinstance(self.executor, pool):
                _check_pickle("sampler", self.task.sampler)
                _check_pickle("objective", self.objective)
            raise

    def look(self) -> None:
        """See how many workers there are now."""
        self.looked, self.n_workers = time.monotonic(), number_of_workers(self.executor)


def _check_pickle(name: str, value: object) -> None:
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{name} is {describe(value)}, which cannot be sent to another process ({error}): pass "
            "one that is defined in a module, or use a pool of threads."
        ) from None


def number_of_workers(executor: Any) -> int:
    """Return how many workers an executor has, as far as it says; else as many as processors."""
    for name in ("_max_workers", "num_workers"):
        n_workers = getattr(executor, name, None)
        if isinstance(n_workers, int) and n_workers > 0:
            return n_workers
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):  # Dask's
        return max(1, int(sum(client.nthreads().values())))
    return os.cpu_count() or 1


def threads_of_worker(executor: Any) -> int:
    """Return a worker's share of this machine's threads."""
    return max(1, default_n_threads()[0] // number_of_workers(executor))
