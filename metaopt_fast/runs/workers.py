"""Shards on other processes and machines, through anything in the shape of concurrent.futures.

Futures carry the name of the objective alone. A worker that does not know it says so, and the shard
goes out again together with the data, once for each worker that asked. Scheduling, retries and the
death of workers are the executor's business.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import pickle
import queue
import socket
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeGuard, TypeVar

from metaopt_fast.machine import default_n_threads
from metaopt_fast.validation.identity import Names
from metaopt_fast.validation.values import describe

# Objectives that this process has been sent, the last two by name.
_KNOWN: dict[str, Any] = {}

# Shards under way for each worker: one at work, one or two waiting.
SHARDS_PER_WORKER = 3

# Seconds between two looks at how many workers there are, and seconds to wait for a shard before
# the caller is asked whether to go on.
LOOK_INTERVAL, PAUSE = 5.0, 0.1

# Seconds in which shards that are done are gathered, as long as half of the workers have others
# waiting: a commit of the checkpoint took 1 ms of a processor, of one shard as of five, which for
# each of a hundred shards a second would be a tenth of it.
GATHER = 0.05


class Done(Protocol):
    """A shard that is done: what was found out of a run of candidates."""

    @property
    def start(self) -> int:
        """The first candidate."""

    @property
    def count(self) -> int:
        """How many candidates."""


DoneT = TypeVar("DoneT", bound=Done)
DoneT_co = TypeVar("DoneT_co", bound=Done, covariant=True)


class Work(Protocol[DoneT_co]):
    """What is sent to workers with each shard; small but for the objective, or whatever is held in
    its place by other calls than searches."""

    @property
    def objective(self) -> Any:
        """What is evaluated; None where each worker has its own."""

    def on(self, objective: Any) -> Self:
        """Return the same work with this objective in place, or with None."""

    def cut(self, start: int, count: int) -> Self:
        """Return what of the work is sent along with a shard."""

    def run(self, start: int, count: int, threshold: Any, /) -> DoneT_co:
        """Evaluate candidates start .. start + count - 1; the threshold is that of the caller."""

    def parts(self) -> Mapping[str, object]:
        """Return what else the caller gave that is sent, by the names of its arguments."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer(Generic[DoneT]):
    """What a worker says: who it is, and the shard, or None for want of the objective."""

    worker: str
    shard: DoneT | None


def remember(name: str, objective: Any) -> None:
    """Keep an objective for the shards to come, and the one before it.

    Without a lock, which would be held for ever in a child that another thread forked meanwhile:
    what two threads that remember at once might lose is asked for again.
    """
    _KNOWN.pop(name, None)
    _KNOWN[name] = objective
    for other in list(_KNOWN.copy())[:-2]:
        _KNOWN.pop(other, None)


def run_shard(
    name: str, objective: Any, work: Work[DoneT], start: int, count: int, threshold: Any
) -> Answer[DoneT]:
    """Run on a worker: evaluate a shard, with the objective sent along or the one of that name."""
    worker = f"{socket.gethostname()} {os.getpid()}"
    if objective is None:
        objective = _KNOWN.get(name)
    else:
        remember(name, objective)
    if objective is None:
        return Answer(worker, None)
    return Answer(worker, work.on(objective).run(start, count, threshold))


class Driver(Generic[DoneT]):
    """Sends shards to an executor and hands out those that are done.

    Parameters
    ----------
    executor : object
        With ``submit(fn, *args)`` that returns a concurrent.futures.Future.
    work : Work
    threshold : callable
        Returns the threshold for the next shards.
    """

    executor: Any
    threshold: Callable[[], Any]
    objective: Any
    work: Work[DoneT]
    refusals: tuple[type[Exception], ...]

    def __init__(self, executor: Any, work: Work[DoneT], threshold: Callable[[], Any]) -> None:
        self.executor, self.threshold = executor, threshold
        self.objective, self.work = work.objective, work.on(None)
        self.name: str = name_of(work.objective)
        # Shards under way, and whether the data went with them; how many of these there are.
        self.pending: dict[concurrent.futures.Future[Answer[DoneT]], tuple[int, int, bool]] = {}
        self.with_data: int = 0
        # Futures say themselves that they are done, to whatever thread: to ask each of them is too
        # much for thousands of workers.
        self.arrived: queue.SimpleQueue[concurrent.futures.Future[Answer[DoneT]]]
        self.arrived = queue.SimpleQueue()
        self.again: deque[tuple[int, int]] = deque()
        # Workers that have the data, and workers that have asked for it.
        self.known: set[str] = set()
        self.asking: set[str] = set()
        # Whether the executor has taken a shard, and what is to be raised.
        self.submitted: bool = False
        self.fault: BaseException | None = None
        self.n_workers: int = number_of_workers(executor)
        self.looked: float = time.monotonic()
        # What `submit` raises of an executor that is shut down or broken; of Dask's, if it is here.
        dask = sys.modules.get("distributed.client")
        self.refusals = RuntimeError, getattr(dask, "ClosedClientError", RuntimeError)

    def run(self, shards: Iterator[tuple[int, int]]) -> Generator[list[DoneT], None, None]:
        """Yield the shards as they are done, in any order, all that are done at a time.

        Nothing is yielded, too, now and then: the caller may have waited long enough.
        """
        # Threads of this process, and children forked from it, have the data already.
        remember(self.name, self.objective)
        try:
            while self.fill(shards):
                yield self.finished()
                if self.fault is not None:  # once what was done beside it is handed out
                    raise self.fault
        finally:
            _KNOWN.pop(self.name, None)
            for future in self.pending:
                future.cancel()
            # What still comes of them is of no run that may follow.
            self.pending, self.with_data, self.arrived = {}, 0, queue.SimpleQueue()
            self.again.clear()

    def fill(self, shards: Iterator[tuple[int, int]]) -> bool:
        """Keep every worker busy; return whether anything is under way."""
        if time.monotonic() - self.looked > LOOK_INTERVAL:
            self.look()
        # While a worker asks for the data, shards without it go to as many workers as have it:
        # others would but send them back.
        workers = len(self.known) if self.asking else self.n_workers
        most, threshold = SHARDS_PER_WORKER * workers, self.threshold()
        while self.fault is None:
            send = self.with_data < len(self.asking)
            if not send and len(self.pending) - self.with_data >= most:
                break
            pair = self.again.popleft() if self.again else next(shards, None)
            if pair is None:
                break
            self.submit(*pair, threshold, send=send)
        return bool(self.pending) or self.fault is not None

    def submit(self, start: int, count: int, threshold: Any, *, send: bool) -> None:
        """Send a shard out, with or without the data."""
        objective = self.objective if send else None
        if is_closed(self.executor):
            self.fault = self.explained(concurrent.futures.CancelledError())
            return
        try:
            future = self.executor.submit(
                run_shard,
                self.name,
                objective,
                self.work.cut(start, count),
                start,
                count,
                threshold,
            )
        except self.refusals as error:
            if isinstance(error, concurrent.futures.BrokenExecutor):
                self.fault = self.explained(error)
            elif self.submitted:
                self.fault = _caused_by(error, f"executor takes no more shards ({error})")
            else:
                raise _refused(error) from error
            return
        self.submitted = True
        if not isinstance(future, concurrent.futures.Future):
            self.fault = self.not_as_asked(
                f"its submit returned {describe(future)}, no concurrent.futures.Future"
            )
        elif future in self.pending:
            self.fault = self.not_as_asked("its submit returned the future of another call")
        else:
            self.pending[future] = start, count, send
            self.with_data += send
            future.add_done_callback(self.arrived.put)

    def finished(self) -> list[DoneT]:
        """Wait a little; return the shards that are done, put back those that came for data."""
        done: list[concurrent.futures.Future[Answer[DoneT]]] = []
        patience = PAUSE if self.fault is None else 0.0
        with contextlib.suppress(queue.Empty):
            done.append(self.arrived.get(timeout=patience))
            until = time.monotonic() + (GATHER if self.fault is None else 0.0)
            while True:
                left = until - time.monotonic() if 2 * len(done) < self.n_workers else 0.0
                done.append(self.arrived.get(timeout=max(0.0, left)))
        if not done and self.fault is None and is_closed(self.executor):
            self.fault = self.explained(concurrent.futures.CancelledError())
        shards = []
        for future in sorted(done, key=self.pending.__getitem__):
            start, count, sent = self.pending.pop(future)
            self.with_data -= sent
            answer = self.outcome(future, start, count, sent)
            if not isinstance(answer, Answer):
                self.fault = self.fault or answer
                continue
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

    def outcome(
        self, future: concurrent.futures.Future[Any], start: int, count: int, sent: bool
    ) -> Answer[DoneT] | BaseException:
        """Return the answer to a shard that is in a future, or what to raise if there is none."""
        if future.cancelled():
            return self.explained(concurrent.futures.CancelledError())
        error = future.exception()
        if isinstance(error, BaseException):
            return self.explained(error)
        answer = future.result() if error is None else error
        if is_answer(answer, start, count, sent):
            return answer
        return self.not_as_asked(
            f"one of its futures has the result {describe(answer)}, which the function that was "
            "submitted did not return"
        )

    def not_as_asked(self, what: str) -> RuntimeError:
        """Return the error of an executor that does something else than it was asked to."""
        return _ended(
            f"executor is {describe(self.executor)}, and {what}",
            "one whose submit(function, *arguments) returns a concurrent.futures.Future of what "
            "function returns",
        )

    def explained(self, error: BaseException) -> BaseException:
        """Return what to raise for an error of a shard, or of the executor."""
        if isinstance(error, concurrent.futures.BrokenExecutor):
            return _caused_by(error, f"a worker of the executor died ({error})")
        # asyncio's, and so Dask's, is another class.
        if any(kind.__name__ == "CancelledError" for kind in type(error).__mro__):
            return _caused_by(error, "the executor was shut down, or took its shards back")
        # What Python's pools raise of what cannot be pickled, a user's code may raise, too; and
        # what pickle cannot send, other pools may.
        is_pool = isinstance(self.executor, concurrent.futures.ProcessPoolExecutor)
        if isinstance(error, pickle.PicklingError) or (
            is_pool and isinstance(error, (AttributeError, TypeError))
        ):
            for name, part in {**self.work.parts(), "objective": self.objective}.items():
                unsent = _not_sent(name, part)
                if unsent is not None:
                    return unsent
        return error

    def look(self) -> None:
        """See how many workers there are now."""
        self.looked = time.monotonic()
        if not is_closed(self.executor):
            self.n_workers = number_of_workers(self.executor)


def _caused_by(error: BaseException, what: str) -> RuntimeError:
    """Return the error of a call whose executor has ended before it."""
    fault = _ended(what, "a new executor")
    fault.__cause__ = error
    return fault


def _ended(what: str, wanted: str) -> RuntimeError:
    return RuntimeError(
        f"{what}: what was finished is in the checkpoint, if there is one; call again with "
        f"{wanted}."
    )


def _refused(reason: object) -> ValueError:
    return ValueError(f"executor takes no shard ({reason}): pass one that has not been shut down.")


def is_answer(answer: object, start: int, count: int, sent: bool) -> TypeGuard[Answer[Any]]:
    """Return whether an executor gave back the answer to a shard; with the data, all have one."""
    if not isinstance(answer, Answer) or not isinstance(answer.worker, str):
        return False
    shard = answer.shard
    if shard is None:
        return not sent
    return all(
        getattr(shard, name, None) == it for name, it in (("start", start), ("count", count))
    )


def name_of(objective: Any) -> str:
    """Return what workers know an objective by: for this search alone where nothing tells it."""
    names, kind = Names(), type(objective)
    known = names.of("objective", objective)
    # Without a name, not even the same object is known: it may have changed since it was sent.
    return uuid.uuid4().hex if names.unnamed else f"{kind.__module__}.{kind.__qualname__} {known}"


def _not_sent(name: str, value: object) -> TypeError | None:
    """Return the error of a value that cannot be sent to another process, or None if it can."""
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return TypeError(
            f"{name} is {describe(value)}, which cannot be sent to another process ({error}): pass "
            "one that is defined in a module, or use a pool of threads."
        )
    return None


def is_closed(executor: Any) -> bool:
    """Return whether an executor takes shards and gives nothing back, as Dask's closed one does."""
    return getattr(getattr(executor, "_client", None), "status", None) in ("closing", "closed")


def number_of_workers(executor: Any) -> int:
    """Return how many workers an executor has, as far as it says; else as many as processors."""
    if is_closed(executor):  # which would not answer
        raise _refused("its client is closed")
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
