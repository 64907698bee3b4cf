"""Shards: the unit of a search's work, here or on another machine.

A shard is a run of candidates. Its bounds are multiples of a size that depends on the objective
alone, so that a search resumes at the same bounds with any threads, anywhere. What a shard needs to
know of the others is a `Threshold`, and what it leaves behind is a `Shard`; a `State` folds shards
in the order of their candidates, whenever they arrive.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from metaopt_fast.objectives.base import KERNEL_WORK, LARGEST_SHARD, SMALLEST_SHARD
from metaopt_fast.runs.evaluation import (
    Uses,
    batch_size,
    check_objective,
    check_sampler,
    draw_each,
    evaluate,
    expect,
    for_search,
    is_pruned,
    is_sampled,
    note,
    rows,
    traits,
    uses,
)
from metaopt_fast.runs.provenance import Identity, check_losses, configuration
from metaopt_fast.runs.ranges import join_ranges
from metaopt_fast.runs.ranking import (
    TOP_DTYPE,
    entries,
    first_lowest,
    improvements,
    rank,
    select_best,
)
from metaopt_fast.samplers.base import MAX_SEED, BuiltInSampler
from metaopt_fast.samplers.own import ANY_SAMPLER
from metaopt_fast.typing import Array, Objective, SamplerLike
from metaopt_fast.validation.identity import is_built_in
from metaopt_fast.validation.overrides import threaded
from metaopt_fast.validation.values import check_integer, describe

# KERNEL_WORK of an objective that is written with NumPy: on one thread, 4 ms where it counts errors
# of 1,000 x 100 or 10,000 x 20 rows, 20 to 45 ms where it takes logaddexp of each.
PYTHON_WORK = 1e8

# Candidates of a shard that are evaluated first, where no threshold is known: they set one. And the
# most that are evaluated at a time, where candidates are dropped: 1 MB of losses. Multiples of 48
# fill all tiles, of AVX2 and AVX-512, in either precision.
TILES, FIRST_RUN, LARGEST_RUN = 48, 240, 2**17
# Work of a candidate's draws for each parameter, and of what starts a run, about 170 us, in the
# units of KERNEL_WORK; and the part of a search's time that starting runs may take.
DRAW_WORK, RUN_WORK, RUN_SHARE = 50, 5e6, 0.02
# More than runs that double come to.
MOST_RUNS = 64
# How many times as many candidates there are after a run where the one before it has dropped none:
# each run starts with cold caches, which takes 0.3 to 0.6 ms where counts read 10,000 x 30 rows.
FRUITLESS = 4


class Threshold(NamedTuple):
    """What a candidate has to reach, as candidates of lower numbers have set it."""

    best: float  # the trace takes a lower loss alone
    worst: float  # a higher loss does not rank


def threshold_of(top: Array, top_k: int) -> Threshold:
    """Return the threshold that the best candidates so far set."""
    ranks = rank(top["loss"])
    best = float(ranks[0]) if len(ranks) else math.inf
    return Threshold(best, float(ranks[-1]) if len(ranks) == top_k else math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Candidates start .. start + count - 1, evaluated: those of them that reach the threshold."""

    start: int
    count: int
    top: Array
    trace: Array
    rows_evaluated_fraction: float
    uses: Uses = field(default_factory=dict)

    def threshold(self, top_k: int, before: Threshold) -> Threshold:
        """Return what candidates after this shard's have to reach, where others set `before`."""
        own = threshold_of(self.top, top_k)
        return Threshold(min(before.best, own.best), min(before.worst, own.worst))


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What all shards of a search have in common; small but for the objective."""

    objective: Any
    sampler: SamplerLike
    seed: int
    top_k: int
    n_params: int
    prune: bool
    n_threads: int | None
    # Where all shards together begin and end, if that is known, and how many share them.
    first: int | None = None
    stop: int | None = None
    n_workers: int = 1

    def on(self, objective: Any) -> Self:
        """Return the same task with an objective in place, on its number of threads."""
        return replace(self, objective=threaded(objective, self.n_threads))

    def cut(self, start: int, count: int) -> Self:
        """Return what of the task is sent along with a shard: all of it."""
        return self

    def parts(self) -> dict[str, object]:
        """Return what is sent to workers, by the names of arguments; but for the objective."""
        return {"sampler": self.sampler}

    def thetas(self, index: Array) -> Array:
        """Return the thetas of some candidates, by number."""
        return draw_each(self.sampler, self.seed, index, self.n_params)

    def run(self, start: int, count: int, threshold: Threshold) -> Shard:
        """Evaluate a shard."""
        shard = Shard(start, 0, np.empty(0, TOP_DTYPE), np.empty(0, TOP_DTYPE), 0.0)
        growth = self._growth(self._to_come(shard, count)) if self.prune else None
        # A whole search in one run has no threshold, and nobody comes for whom to note losses.
        is_one_run = growth is None and (start, start + count) == (self.first, self.stop)
        drops = self.prune and not is_one_run and is_pruned(self.objective)
        is_fruitless = False
        while shard.count < count:
            size = count - shard.count
            if drops and growth is not None:
                size = self._run_size(shard, size, growth * FRUITLESS if is_fruitless else growth)
            if drops:
                expect(self.objective, self._to_come(shard, size))
            shard, is_fruitless = self._add(shard, size, threshold, drops)
            threshold = shard.threshold(self.top_k, threshold)
        return replace(shard, uses=uses(self.objective, self.sampler))

    def _growth(self, count: int) -> int | None:
        """Return how many times as many candidates there are after a run as before it, where so
        many come: what they have reached is the threshold for the next. None where they are over
        before that pays."""
        first = self._first_run
        if count <= first:  # asked first: some such searches are over in less than a millisecond
            return None
        work = candidate_work(self.objective) + DRAW_WORK * self.n_params
        n_more = int(min(RUN_SHARE * count * work / RUN_WORK, MOST_RUNS))
        if n_more < 1:
            return None
        doublings = 1
        while first << n_more * doublings < count:
            doublings += 1
        return 1 << doublings

    @property
    def _first_run(self) -> int:
        return -(-max(FIRST_RUN, 2 * self.top_k) // TILES) * TILES

    def _run_size(self, shard: Shard, left: int, growth: int) -> int:
        """Return how many candidates of a shard are evaluated next, of those that are left."""
        before = shard.count + (0 if self.first is None else shard.start - self.first)
        size = max(self._first_run, min((growth - 1) * before, LARGEST_RUN) // TILES * TILES)
        return size if left >= size + self._first_run else left

    def _to_come(self, shard: Shard, size: int) -> int:
        """Return about how many candidates this worker will evaluate after a part of a shard."""
        at = shard.start + shard.count
        return size if self.stop is None else max(size, (self.stop - at) // self.n_workers)

    def _add(
        self, shard: Shard, count: int, threshold: Threshold, drops: bool
    ) -> tuple[Shard, bool]:
        """Return a shard with the next `count` candidates evaluated, and whether a threshold has
        dropped none of them; of candidates that none drops, nothing is noted."""
        limit = threshold.worst if drops else math.inf
        start = shard.start + shard.count
        losses, fraction = evaluate(self.objective, self.sampler, self.seed, start, count, limit)
        if drops and limit == math.inf:
            note(self.objective, losses)
        is_fruitless = limit < math.inf and fraction >= 1 and not np.isinf(losses).any()
        total = shard.count + count
        visited = shard.rows_evaluated_fraction * shard.count + fraction * count
        visited = fraction if shard.count == 0 else visited / total
        # Most are infinite, or not low enough: of those, nothing more is asked. A number of each
        # would take as long as its bound, in memory that the system has to find first.
        numbers = (
            np.flatnonzero(losses <= threshold.worst)
            if threshold.worst < math.inf
            else np.arange(count)
        )
        if len(numbers) == 0:
            shard = replace(shard, count=total, rows_evaluated_fraction=visited)
            return shard, is_fruitless
        losses = losses[numbers]
        ranks = rank(losses)
        # Few of a first shard, without a threshold, are entries: all would take as long as draws.
        kept, better = ranks <= threshold.worst, first_lowest(ranks)
        if len(ranks) > self.top_k:
            kept &= ranks <= np.partition(ranks, self.top_k - 1)[self.top_k - 1]
        if threshold.best < math.inf:
            better &= ranks < threshold.best
        top = np.concatenate([shard.top, entries(start + numbers[kept], losses[kept])])
        trace = np.concatenate([shard.trace, entries(start + numbers[better], losses[better])])
        top, trace = top[select_best(top, self.top_k)], improvements(trace)
        return Shard(shard.start, total, top, trace, visited), is_fruitless


def check_task(objective: Any, sampler: Any, seed: object, top_k: object, prune: object) -> Task:
    """Return the task of these arguments, checked."""
    n_params = check_objective(objective)
    check_sampler(sampler)
    seed, top_k = check_integer("seed", seed, 0, MAX_SEED), check_integer("top_k", top_k, 1)
    if not isinstance(prune, (bool, np.bool_)):
        raise TypeError(f"prune is {describe(prune)}: pass True or False.")
    if prune:
        objective = for_search(objective)
    return Task(objective, sampler, seed, top_k, n_params, bool(prune), None)


def check_top(path: str, task: Task, top: Array, *, exact: bool) -> None:
    """Raise CheckpointError where the best candidates of a file have other losses."""
    if len(top) == 0:
        return
    thetas, size = task.thetas(top["index"]), batch_size(task.objective)
    losses = np.ascontiguousarray(top["loss"])
    check_losses(path, task.objective, thetas, losses, size, exact=exact)


def candidate_work(objective: Objective) -> float:
    """Return about the work of a candidate, in the units of KERNEL_WORK."""
    own = traits(objective).shard_size
    if own is not None:  # which is of about KERNEL_WORK
        return KERNEL_WORK / own
    work = float(rows(objective) * (objective.n_params + 20))
    return work if is_sampled(objective) else work * KERNEL_WORK / PYTHON_WORK


def shard_size(objective: Objective) -> int:
    """Return the number of candidates in a shard, a power of two, or what the objective wants."""
    own = traits(objective).shard_size
    if own is not None:
        return own
    work = KERNEL_WORK if is_sampled(objective) else PYTHON_WORK
    work /= rows(objective) * (objective.n_params + 20)
    # The nearest power of two, by exact operations.
    size = math.ldexp(1.0, math.frexp(max(work, 1.0) * math.sqrt(2))[1] - 1)
    return int(min(max(size, SMALLEST_SHARD), LARGEST_SHARD))


def configuration_of(
    task: Task,
    identity: Identity,
    start: int,
    n_candidates: int,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return all that repeats a search, as plain numbers, strings, lists and dicts."""
    own = {
        "seed": task.seed,
        "start": start,
        "n_candidates": n_candidates,
        "top_k": task.top_k,
        "sampler": _arguments(task.sampler),
        "shard_size": shard_size(task.objective),
        "prune": task.prune,
    }
    return own | configuration(task.objective, identity, task.n_threads, metadata)


def _arguments(sampler: SamplerLike) -> dict[str, Any]:
    """Return all that a built-in sampler is made of, or what kind another one is."""
    if isinstance(sampler, BuiltInSampler) and is_built_in(sampler):
        return sampler.to_dict()
    return {"name": "own" if isinstance(sampler, ANY_SAMPLER) else "callable"}


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The state of a search: its shards folded in order, and those that wait for one before them.

    Never changed, only replaced: an interrupt at any moment leaves the last one whole. The
    threshold comes from the folded shards alone, so that what it drops could not have ranked, nor
    have improved the trace, in whatever order shards arrive.
    """

    top_k: int
    start: int
    next: int
    top: Array
    trace: Array
    visited: float
    waiting: tuple[Shard, ...]
    n_waiting: int = 0  # candidates

    @classmethod
    def at(cls, start: int, top_k: int) -> Self:
        """Return the state before anything is evaluated."""
        empty = np.empty(0, TOP_DTYPE)
        return cls(top_k, start, start, empty, empty, 0.0, ())

    def add(self, shards: Iterable[Shard]) -> Self:
        """Return the state with some more shards."""
        waiting, stop, n_waiting = list(self.waiting), self.next, self.n_waiting
        # Thousands may wait for one that is slow.
        for shard in shards:
            insort(waiting, shard, key=_start)
            n_waiting += shard.count
        ready = 0
        while ready < len(waiting) and waiting[ready].start == stop:
            stop += waiting[ready].count
            ready += 1
        folded = self._fold(waiting[:ready])
        n_waiting -= stop - self.next
        return replace(folded, next=stop, waiting=tuple(waiting[ready:]), n_waiting=n_waiting)

    def everything(self) -> Self:
        """Return the state with waiting shards folded in, out of turn: for a result."""
        return self._fold(self.waiting)

    def _fold(self, shards: Iterable[Shard]) -> Self:
        top, trace, visited = [self.top], [self.trace], self.visited
        for shard in shards:
            top.append(shard.top)
            trace.append(shard.trace)
            visited += shard.rows_evaluated_fraction * shard.count
        best = np.concatenate(top)
        return replace(
            self,
            top=best[select_best(best, self.top_k)],
            trace=improvements(np.concatenate(trace)),
            visited=visited,
        )

    @property
    def threshold(self) -> Threshold:
        """What the next candidates have to reach."""
        return threshold_of(self.top, self.top_k)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of the candidates evaluated."""
        folded = [(self.start, self.next)] if self.next > self.start else []
        return join_ranges([*folded, *((s.start, s.start + s.count) for s in self.waiting)])

    @property
    def n_evaluated(self) -> int:
        """How many candidates were evaluated."""
        return self.next - self.start + self.n_waiting


def _start(shard: Shard) -> int:
    return shard.start
