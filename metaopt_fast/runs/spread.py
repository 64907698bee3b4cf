"""Tasks that are cut into parts: done here, or by the workers of an executor, to the same bits.

Shards of a search know of each other's thresholds (`workers`). What other long calls share out is
simpler: a function of something that is held, and of some of the tasks. What is held travels once
to each worker, tasks with their part; what comes of them is handed out in the order of the tasks,
so that an interrupt leaves what the first of them would have come to by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from metaopt_fast.runs.ranges import bounds

if TYPE_CHECKING:
    from metaopt_fast.runs.workers import Driver

T = TypeVar("T")

# Parts for each worker, so that one that is faster than others does more of them.
PARTS_PER_WORKER = 3


class Tasks(Protocol):
    """A sequence whose slices are sequences: a range, a list, an array."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, which: slice, /) -> Any:
        """Return some of them."""


class Made(Generic[T]):
    """What a function makes of its arguments: these are sent, and each process makes it once.

    Python 3.11's `cached_property` has one lock for all of a class: a child that was forked while
    another thread made its own would wait for ever.
    """

    def __init__(self, make: Callable[..., T], *arguments: Any) -> None:
        self.make, self.arguments = make, arguments
        self._lock, self._found = Lock(), list[T]()

    @property
    def value(self) -> T:
        """What is made."""
        with self._lock:
            if not self._found:
                self._found.append(self.make(*self.arguments))
            return self._found[0]

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self.make, *self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Part(Generic[T]):
    """What came of tasks start .. start + count - 1."""

    start: int
    count: int
    value: T


@dataclass(frozen=True, slots=True, eq=False)
class Parts(Generic[T]):
    """Work whose shards are parts of tasks, of an `objective` that is whatever is held; `named` is
    what the caller gave of it, by the names of arguments."""

    objective: Any
    function: Callable[[Any, Any], T]
    tasks: Tasks
    named: Mapping[str, object]

    def on(self, objective: Any) -> Self:
        """Return the same work with this object held, or with None."""
        return replace(self, objective=objective)

    def cut(self, start: int, count: int) -> Self:
        """Return the work of some of the tasks."""
        return replace(self, tasks=self.tasks[start : start + count], named={})

    def run(self, start: int, count: int, threshold: None, /) -> Part[T]:
        """Do the tasks, which are those of one part."""
        return Part(start, count, self.function(self.objective, self.tasks))

    def parts(self) -> Mapping[str, object]:
        """Return what the caller gave, by the names of arguments."""
        return self.named


class Spread:
    """What is held, for functions that are called with it and with parts of tasks: one after the
    other, or by the workers of an executor.

    Parameters
    ----------
    executor : concurrent.futures.Executor or the like, or None
    held : object
        What each worker is sent once; with as many threads as it is to have there.
    named : mapping, optional
        Arguments of the caller that are in it: errors name the one that cannot be sent.
    """

    def __init__(self, executor: Any, held: Any, named: Mapping[str, object] | None = None) -> None:
        self.executor, self.held, self.named = executor, held, named or {}
        self._driver: Driver[Part[Any]] | None = None

    def over(
        self, function: Callable[[Any, Any], T], tasks: Tasks, most: int, multiple: int = 1
    ) -> Generator[T, None, None]:
        """Yield what a function makes of each part of the tasks, in the order of these.

        Parts are of `most` tasks; for workers of fewer, a multiple of `multiple`, so that each has
        several.
        """
        if self.executor is None:
            for start, count in bounds(0, len(tasks), most):
                yield function(self.held, tasks[start : start + count])
            return
        driver = self._driver_of(Parts(self.held, function, tasks, self.named))
        n_parts = PARTS_PER_WORKER * driver.n_workers
        size = min(most, -(-len(tasks) // (n_parts * multiple)) * multiple)
        waiting: dict[int, T] = {}
        following = 0
        with closing(driver.run(bounds(0, len(tasks), size))) as batches:
            for done in batches:
                waiting |= {part.start: part.value for part in done}
                while following in waiting:
                    yield waiting.pop(following)
                    following += size

    def _driver_of(self, work: Parts[Any]) -> Driver[Part[Any]]:
        """Return what sends work out, which remembers the workers that have what is held."""
        if self._driver is None:
            from metaopt_fast.runs.workers import Driver

            self._driver = Driver(self.executor, work, lambda: None)
        self._driver.work = work.on(None)
        return self._driver


def threads_asked(executor: Any, n_threads: int | None) -> int | None:
    """Return the number of threads that a call asks for: with an executor, for each worker, by
    default its share of this machine's."""
    if executor is None or n_threads is not None:
        return n_threads
    from metaopt_fast.runs.workers import threads_of_worker

    return threads_of_worker(executor)
