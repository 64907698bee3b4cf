"""Races of descents: candidates start together, and at each rung the worst of them are dropped.

Successive halving, and the brackets of Hyperband: what is spent on a candidate grows with how well
it does. A race is one computation of all its candidates; those that are not dropped have the bits
that they have without it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from metaopt_fast.descent.held_out import HeldOut
from metaopt_fast.descent.result import DescentResult, Status
from metaopt_fast.runs.evaluation import draw
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.runs.provenance import identify
from metaopt_fast.runs.ranking import entries, improvements, rank, select_best
from metaopt_fast.search.result import SearchResult
from metaopt_fast.search.shards import check_task, configuration_of
from metaopt_fast.selection.candidates import Descents
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.identity import check_fingerprint
from metaopt_fast.validation.values import check_integer, check_n_threads, describe

# Kinds of races, and one in how many candidates a rung keeps. By benches/racing.py, halving by 2
# finds the best of a search in 78 of 90 races for 0.32 of its passes, Hyperband by 3, which is its
# authors' number, in 63 for 0.29.
REDUCTIONS = {"halving": 2, "hyperband": 3}
N_RUNGS = 3
# As many as descend together.
MAX_CANDIDATES = 2**16
# What a race takes of the arguments of `random_search`: it is one computation, without shards.
ARGUMENTS = ("progress", "n_threads", "metadata", "fingerprint")


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """A look at the candidates of a bracket.

    Attributes
    ----------
    bracket : int
    n_iter : int
        Steps, or epochs, after which it was.
    index : numpy.ndarray of int of shape (n,)
        Candidates that had not been dropped before.
    validation_loss : numpy.ndarray of shape (n,)
        The lowest that each had reached; infinity after a divergence.
    kept : numpy.ndarray of bool of shape (n,)
        Which of them went on, or had ended before.
    """

    bracket: int
    n_iter: int
    index: IndexArray
    validation_loss: Float64Array
    kept: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class RaceResult:
    """What a race has spent, and where it dropped whom.

    Attributes
    ----------
    rungs : tuple of Rung
        In the order of time; the last one of each bracket is its end, and drops nobody.
    passes : int
        Looks of a candidate at all rows, those of training and those held out: one at the start,
        and one for each step or epoch; after epochs, one more where each ended.
    full_passes : int
        Looks if no candidate was dropped, and none ended before `max_iter`.
    """

    rungs: tuple[Rung, ...]
    passes: int
    full_passes: int

    def plot(self, ax: Any) -> None:
        """Draw the validation loss of each candidate at the rungs."""
        at: dict[int, list[tuple[int, float]]] = {}
        lost: set[int] = set()
        for rung in self.rungs:
            for k, loss in zip(rung.index.tolist(), rung.validation_loss.tolist(), strict=True):
                at.setdefault(k, []).append((rung.n_iter, loss))
            lost.update(rung.index[~rung.kept].tolist())
        for k, points in at.items():
            color, width = ("0.75", 0.8) if k in lost else ("C0", 1.2)
            ax.plot(*zip(*points, strict=True), ".-", color=color, linewidth=width, markersize=3)
        part = self.passes / self.full_passes
        title = f"Race of {len(at):,} descents, {part:.0%} of all passes"
        ax.set(xscale="log", xlabel="steps", ylabel="validation loss so far", title=title)


def power(base: int, exponent: int) -> int:
    """Return a power of a whole number, exactly."""
    return math.prod([base] * exponent)


class Bracket(NamedTuple):
    """Candidates first .. last - 1, and how many of them are kept after how many rounds."""

    first: int
    last: int
    kept: dict[int, int]

    @classmethod
    def of(cls, first: int, last: int, n_rungs: int, reduction: int, max_iter: int) -> Bracket:
        """Return candidates that a number of rungs makes fewer."""
        kept = {}
        for k in range(n_rungs):
            n_rounds = max_iter // power(reduction, n_rungs - k)
            kept[n_rounds] = -((first - last) // power(reduction, k + 1))
        return cls(first, last, kept)

    @property
    def n_finishers(self) -> int:
        """How many are kept to the end, at least."""
        return min([self.last - self.first, *self.kept.values()])


@dataclass(frozen=True, slots=True)
class Racing:
    """How a race is run."""

    kind: str
    reduction: int
    n_rungs: int
    max_iter: int

    @classmethod
    def of(
        cls, kind: object, reduction: object, n_rungs: object, options: Mapping[str, Any]
    ) -> Racing | None:
        """Return checked settings, None for no race."""
        if kind is None:
            for name, value in (("reduction", reduction), ("n_rungs", n_rungs)):
                if value is not None:
                    raise ValueError(
                        f"{name} is {describe(value)}, but racing is None: pass racing='halving' "
                        "or 'hyperband', or leave it out."
                    )
            return None
        if not isinstance(kind, str) or kind not in REDUCTIONS:
            raise ValueError(
                f"racing is {describe(kind)}: pass one of {', '.join(map(repr, REDUCTIONS))}, or "
                "None."
            )
        reduction = REDUCTIONS[kind] if reduction is None else reduction
        reduction = check_integer("reduction", reduction, 2, 2**16)
        n_rungs = N_RUNGS if n_rungs is None else check_integer("n_rungs", n_rungs, 1, 16)
        if "max_iter" not in options:
            raise ValueError(
                "racing is given, but max_iter is not: pass the steps of those that are not "
                "dropped."
            )
        max_iter = check_integer("max_iter", options["max_iter"], 0)
        least = power(reduction, n_rungs)
        if max_iter < least:
            raise ValueError(
                f"max_iter is {max_iter}, too few for n_rungs={n_rungs} that keep one candidate in "
                f"{reduction}: pass at least {least}, or fewer rungs."
            )
        return cls(kind, reduction, n_rungs, max_iter)

    @property
    def text(self) -> str:
        """What fingerprints say of it."""
        return f"{self.kind} {self.reduction} {self.n_rungs}"

    def brackets(self, n: int) -> list[Bracket]:
        """Return how so many candidates race."""
        sizes = [(n, self.n_rungs)]
        if self.kind == "hyperband":
            # Each bracket costs about as much as another: n candidates of it run for
            # (rungs + 1) / reduction^rungs of max_iter in the mean.
            common = math.lcm(*range(1, self.n_rungs + 2))
            weights = [
                common // (rungs + 1) * power(self.reduction, rungs)
                for rungs in range(self.n_rungs, -1, -1)
            ]
            ends = [n * part // sum(weights) for part in np.cumsum(weights).tolist()]
            pairs = zip(ends, [0, *ends], strict=False)
            sizes = [(end - start, self.n_rungs - k) for k, (end, start) in enumerate(pairs)]
        found, first = [], 0
        for size, rungs in sizes:
            if size:
                last = first + size
                found.append(Bracket.of(first, last, rungs, self.reduction, self.max_iter))
                first = last
        return found


class Race(HeldOut):
    """Rows that judge the descents of a race, and drop those that do worse than others."""

    brackets: list[Bracket]
    max_iter: int
    line: Progress
    losses: Array
    is_dropped: BoolArray

    def __init__(
        self, validation: Any, brackets: list[Bracket], max_iter: int, line: Progress
    ) -> None:
        super().__init__(validation)
        self.brackets, self.max_iter, self.line = brackets, max_iter, line
        n = brackets[-1].last
        self.losses, self.is_dropped = np.full(n, np.inf), np.zeros(n, np.bool_)
        self.rungs: list[Rung] = []
        self.passes: int = 0

    def judge(
        self, n_rounds: int, runs: IndexArray, losses: Float64Array, status: IndexArray | None
    ) -> IndexArray | None:
        status = np.zeros(len(runs), np.intp) if status is None else status
        self.losses[runs] = np.where(status == Status.DIVERGED, np.inf, losses)
        self.passes += len(runs)
        goes_on = np.zeros(len(self.losses), np.bool_)
        goes_on[runs[status == 0]] = True
        for number, bracket in enumerate(self.brackets):
            if n_rounds in bracket.kept:
                self.drop(number, n_rounds, goes_on, bracket.kept[n_rounds])
        status[self.is_dropped[runs]] = Status.DROPPED
        return status if status.any() else None

    def drop(self, number: int, n_rounds: int, goes_on: BoolArray, n_kept: int) -> None:
        """Drop the candidates of a bracket that go on but are not among the best."""
        index = self.racing(number)
        losses = self.losses[index]
        is_last = np.ones(len(index), np.bool_)
        is_last[np.lexsort([index, losses])[:n_kept]] = False
        is_last &= goes_on[index]
        self.rungs.append(Rung(number, n_rounds, index, losses, ~is_last))
        self.is_dropped[index[is_last]] = True
        self.line.update(int(is_last.sum()), float(self.losses.min()))

    def racing(self, number: int) -> IndexArray:
        """Return the candidates of a bracket that were not dropped."""
        first, last, _ = self.brackets[number]
        return first + np.flatnonzero(~self.is_dropped[first:last])

    def result(self, losses: Float64Array, n_iter: IndexArray, by_epochs: bool) -> RaceResult:
        """Return what has happened, given how the candidates ended."""
        for number in range(len(self.brackets)):
            index = self.racing(number)
            everyone = np.ones(len(index), np.bool_)
            last = int(n_iter[index].max())
            self.rungs.append(Rung(number, last, index, losses[index], everyone))
        n, of_ends = len(losses), len(losses) * by_epochs
        return RaceResult(
            tuple(self.rungs), self.passes + of_ends, n * (self.max_iter + 1) + of_ends
        )


def race(
    descents: Descents,
    racing: Racing,
    n_candidates: int,
    seed: int,
    top_k: int,
    *,
    progress: bool | str = False,
    n_threads: int | None = None,
    metadata: dict[str, Any] | None = None,
    fingerprint: str | None = None,
) -> tuple[SearchResult, DescentResult, RaceResult]:
    """Race the candidates of a seed: return the search, the descents of the best, and the race."""
    check_integer("n_candidates", n_candidates, 1, MAX_CANDIDATES)
    brackets = racing.brackets(n_candidates)
    sampler = descents.sampler()
    task = check_task(descents, sampler, seed, top_k, False)
    n_finishers = sum(bracket.n_finishers for bracket in brackets)
    if task.top_k > n_finishers:
        raise ValueError(
            f"top_k is {task.top_k}, but {n_finishers} candidates of the race are not dropped: "
            "pass at most that, or more candidates."
        )
    check_options(None, progress, None)
    n_threads = check_n_threads(n_threads)
    identity = identify(descents, sampler, task.seed, check_fingerprint(fingerprint))
    task = replace(task, n_threads=n_threads).on(descents)
    config = configuration_of(task, identity, 0, n_candidates, metadata)
    thetas = draw(sampler, task.seed, 0, n_candidates, task.n_params)
    began = time.perf_counter()
    with Progress(progress, n_candidates, 0, config["n_samples"]) as line:
        judge = Race(task.objective.validation, brackets, racing.max_iter, line)
        runs = task.objective.run(thetas, judge)
        losses = descents.losses(runs)
        n_iter = np.asarray(runs.n_iter)
        found = judge.result(losses, n_iter, descents.options.get("batch_size") is not None)
        line.update(len(losses) - line.done, float(rank(losses).min()))
    index = np.flatnonzero(~judge.is_dropped)
    top = entries(index, losses[index])
    best = top[select_best(top, task.top_k)]
    search = SearchResult(
        top=best,
        top_thetas=thetas[best["index"]],
        trace=improvements(top),
        ranges=((0, n_candidates),),
        elapsed=time.perf_counter() - began,
        rows_evaluated_fraction=found.passes / found.full_passes,
        stopped_by="interrupt" if np.any(runs.status == "interrupted") else None,
        config=config | {"stages": {}, "racing": racing.text},
    )
    return search, taken(runs, best["index"]), found


def taken(runs: DescentResult, rows: Array) -> DescentResult:
    """Return some of many descents, whose traces are as long as the longest of them."""
    width = int(np.max(np.asarray(runs.n_iter)[rows])) + 1
    parts: dict[str, Any] = {}
    for field in fields(runs):
        value = getattr(runs, field.name)
        if isinstance(value, np.ndarray):
            of_rows = value[rows]
            parts[field.name] = of_rows[:, :width] if field.name.endswith("trace") else of_rows
    return replace(runs, **parts)
