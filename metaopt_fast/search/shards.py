"""Shards: the unit of a search's work, here or on another machine.

A shard is a run of candidates. Its bounds are multiples of a size that depends on the objective
alone, so that a search resumes at the same bounds with any threads, anywhere. What a shard needs to
know of the others is a `Bar`, and what it leaves behind is a `Shard`; a `Standing` folds shards in
the order of their candidates, whenever they arrive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from metaopt_fast.samplers.base import Sampler
from metaopt_fast.search.result import TOP_DTYPE, improvements, join_ranges, rank, select_best
from metaopt_fast.typing import Array
from metaopt_fast.validation.overrides import may_ask, threaded
from metaopt_fast.validation.values import describe, to_float64

SamplerLike: TypeAlias = Sampler | Callable[[int, int], npt.ArrayLike]

# Visits of (row, candidate, parameter) in a shard: about a tenth of a second on one thread, for our
# kernels and for an objective written with NumPy.
KERNEL_WORK, PYTHON_WORK = 5e9, 1e8
SMALLEST_SHARD, LARGEST_SHARD = 64, 2**18

# Numbers in the thetas of a batch, where candidates are drawn outside the kernel, and margins of a
# batch, where the objective may hold them all: 8 MB, some 30 ms, between two looks at Ctrl-C.
BATCH_NUMBERS, BATCH_MARGINS = 2**19, 2**20


class Bar(NamedTuple):
    """What a candidate has to reach, as candidates of lower numbers have set it."""

    best: float  # the trace takes a lower loss alone
    worst: float  # a higher loss does not rank


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Candidates start .. start + count - 1, evaluated: those of them that reach the bar."""

    start: int
    count: int
    top: Array
    trace: Array
    rows_evaluated_fraction: float


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

    def on(self, objective: Any) -> Self:
        """Return the same task with an objective in place, on its number of threads."""
        return replace(self, objective=threaded(objective, self.n_threads))

    def draw(self, start: int, count: int) -> Array:
        """Return the thetas of candidates start .. start + count - 1."""
        return draw(self.sampler, self.seed, start, count, self.n_params)

    def thetas(self, index: Array) -> Array:
        """Return the thetas of some candidates, by number."""
        if not (isinstance(self.sampler, Sampler) and self.sampler.is_drawn_in_kernels):
            return np.concatenate([self.draw(number, 1) for number in index.tolist()])
        thetas, draws = (
            np.empty((len(index), self.n_params)),
            self.sampler.draws(self.seed, self.n_params),
        )
        for row, number in enumerate(index.tolist()):
            draws.sample(number, thetas[row : row + 1])
        return thetas

    def run(self, start: int, count: int, bar: Bar) -> Shard:
        """Evaluate a shard."""
        limit = bar.worst if self.prune else math.inf
        losses, fraction = evaluate(self.objective, self.sampler, self.seed, start, count, limit)
        ranks = rank(losses)
        kept = np.flatnonzero(ranks <= bar.worst)
        top = entries(start + kept, losses[kept])
        better = np.arange(count) if bar.best == math.inf else np.flatnonzero(ranks < bar.best)
        trace = improvements(entries(start + better, losses[better]))
        return Shard(start, count, top[select_best(top, self.top_k)], trace, fraction)


def draw(sampler: SamplerLike, seed: int, start: int, count: int, n_params: int) -> Array:
    """Return the thetas of candidates start .. start + count - 1, checked if a callable's."""
    if isinstance(sampler, Sampler):
        return sampler.sample(seed, start, count, n_params)
    thetas = np.asarray(sampler(start, count))
    wanted = f"a real array of shape ({count}, {n_params})"
    if thetas.shape != (count, n_params) or thetas.dtype.kind not in "iuf":
        raise ValueError(
            f"sampler({start}, {count}) returned an array of shape {thetas.shape} and dtype "
            f"{thetas.dtype}: return {wanted}."
        )
    thetas = to_float64(thetas)
    if not np.isfinite(thetas).all():
        raise ValueError(
            f"sampler({start}, {count}) returned a number that is not finite: return {wanted} of "
            "finite numbers."
        )
    return thetas


def evaluate(
    objective: Any, sampler: SamplerLike, seed: int, start: int, count: int, threshold: float
) -> tuple[Array, float]:
    """Return the losses of candidates start .. start + count - 1, and the part of pairs computed.

    A candidate whose loss is above `threshold` may have the loss infinity instead of its own.
    """
    prune = threshold < math.inf and may_ask(objective, "pruned_loss")
    in_kernel = isinstance(sampler, Sampler) and sampler.is_drawn_in_kernels
    if in_kernel and may_ask(objective, "sampled_loss"):
        if not prune:
            return objective.sampled_loss(sampler, seed, start, count), 1.0
        losses, fraction = objective.pruned_loss(sampler, seed, start, count, threshold)
        return losses, float(fraction)
    all_losses, visited = [], 0.0
    for first, size in bounds(start, start + count, batch_size(objective)):
        thetas = draw(sampler, seed, first, size, objective.n_params)
        if prune:
            losses, fraction = objective.pruned_loss(thetas, seed, first, size, threshold)
        else:
            losses, fraction = batch_loss(objective, thetas), 1.0
        all_losses.append(losses)
        visited += fraction * size
    return np.concatenate(all_losses), visited / count


def batch_loss(objective: Any, thetas: Array) -> Array:
    """Return a user's objective's losses, checked."""
    losses = np.asarray(objective.batch_loss(thetas))
    if losses.shape != (len(thetas),) or losses.dtype.kind not in "iuf":
        raise ValueError(
            f"batch_loss of {len(thetas)} thetas returned {describe(losses)}: return an array of "
            f"{len(thetas)} real numbers."
        )
    return to_float64(losses)


def entries(index: Array, losses: Array) -> Array:
    """Return candidates and their losses as one structured array."""
    top = np.empty(len(index), TOP_DTYPE)
    top["index"], top["loss"] = index, losses
    return top


def shard_size(objective: Any) -> int:
    """Return the number of candidates in a shard, a power of two, or what the objective wants."""
    own: int | None = getattr(objective, "shard_size", None)
    if own is not None:
        return own
    work = KERNEL_WORK if may_ask(objective, "sampled_loss") else PYTHON_WORK
    work /= _n_samples(objective) * (objective.n_params + 20)
    # The nearest power of two, by exact operations.
    size = math.ldexp(1.0, math.frexp(max(work, 1.0) * math.sqrt(2))[1] - 1)
    return int(min(max(size, SMALLEST_SHARD), LARGEST_SHARD))


def batch_size(objective: Any) -> int:
    """Return how many candidates are drawn and evaluated at a time, a power of two, or a shard."""
    own: int | None = getattr(objective, "shard_size", None)
    if own is not None:
        return own
    size = int(BATCH_NUMBERS // objective.n_params)
    if not may_ask(objective, "sampled_loss"):
        size = min(size, BATCH_MARGINS // _n_samples(objective))
    return 1 << (max(1, size).bit_length() - 1)


def _n_samples(objective: Any) -> int:
    return max(1, getattr(objective, "n_samples", None) or 1000)


def bounds(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, count) of the shards that candidates start .. stop - 1 fall into."""
    while start < stop:
        count = shard_count(start, stop, size)
        yield start, count
        start += count


def shard_count(start: int, stop: int, size: int) -> int:
    """Return how many candidates the shard has that begins with candidate `start`."""
    return min(stop, (start // size + 1) * size) - start


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """Where a search stands: its shards folded in order, and those that wait for one before them.

    Never changed, only replaced: an interrupt at any moment leaves the last one whole. The bar
    comes from the folded shards alone, so that what it drops could not have ranked, nor have
    improved the trace, in whatever order shards arrive.
    """

    top_k: int
    start: int
    next: int
    top: Array
    trace: Array
    visited: float
    waiting: tuple[Shard, ...]

    @classmethod
    def at(cls, start: int, top_k: int) -> Self:
        """Return the standing before anything is evaluated."""
        empty = np.empty(0, TOP_DTYPE)
        return cls(top_k, start, start, empty, empty, 0.0, ())

    def add(self, shards: Iterable[Shard]) -> Self:
        """Return the standing with some more shards."""
        waiting = sorted([*self.waiting, *shards], key=_start)
        ready, stop = 0, self.next
        while ready < len(waiting) and waiting[ready].start == stop:
            stop += waiting[ready].count
            ready += 1
        folded = self._fold(waiting[:ready])
        return replace(folded, next=stop, waiting=tuple(waiting[ready:]))

    def everything(self) -> Self:
        """Return the standing with waiting shards folded in, out of turn: for a result."""
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
    def bar(self) -> Bar:
        """What the next candidates have to reach."""
        ranks = rank(self.top["loss"])
        best = float(ranks[0]) if len(ranks) else math.inf
        return Bar(best, float(ranks[-1]) if len(ranks) == self.top_k else math.inf)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of the candidates evaluated."""
        folded = [(self.start, self.next)] if self.next > self.start else []
        return join_ranges([*folded, *((s.start, s.start + s.count) for s in self.waiting)])

    @property
    def n_evaluated(self) -> int:
        """How many candidates were evaluated."""
        return self.next - self.start + sum(shard.count for shard in self.waiting)


def _start(shard: Shard) -> int:
    return shard.start
