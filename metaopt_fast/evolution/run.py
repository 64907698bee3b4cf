"""The loop of an evolution: generations, what stops them, and what is written down of them."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import numpy as np

from metaopt_fast.evolution.checkpoint_contents import read_state
from metaopt_fast.evolution.deciding import Losses, median
from metaopt_fast.evolution.result import TOP_DTYPE, TRACE_DTYPE, EvolveResult
from metaopt_fast.evolution.strategy import Proposal, State, Strategy
from metaopt_fast.files.archive import write_arrays
from metaopt_fast.files.owned import CheckpointError, OwnedFile
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.evaluation import release
from metaopt_fast.runs.options import CALLBACK_INTERVAL, COMMIT_INTERVAL
from metaopt_fast.runs.progress import Progress
from metaopt_fast.runs.provenance import Identity, check_losses
from metaopt_fast.runs.ranking import rank
from metaopt_fast.typing import Array
from metaopt_fast.validation.values import check_path

# A checkpoint takes at most so large a part of the time. It grows with the trace: 7 ms after 100
# generations of 30 parameters, 26 ms after 100,000, so that a kill loses 0.1 to 0.3 s.
COMMIT_SHARE = 0.1


class Limits(NamedTuple):
    """What ends a run."""

    generations: int
    patience: int | None
    tol: float
    time_budget: float | None


class RunState(NamedTuple):
    """What a run has done so far: never changed, only replaced: an interrupt leaves it whole."""

    generation: int  # how many are done
    learned: State  # by the strategy
    top: Array
    top_thetas: Array
    in_objective: float  # seconds
    elapsed: float


class Run:
    """A run: its state and its trace; a context manager that writes its checkpoint at the end.

    Parameters
    ----------
    objective : object
    strategy : Strategy
    config : dict
        Of the result.
    identity : Identity
    executor : concurrent.futures.Executor or the like, optional
    """

    strategy: Strategy
    config: dict[str, Any]
    identity: Identity
    losses: Losses
    began: float
    next_commit: float

    @shielded
    def __init__(
        self,
        objective: Any,
        strategy: Strategy,
        config: dict[str, Any],
        identity: Identity,
        executor: Any = None,
    ) -> None:
        self.objective, self.strategy, self.config = objective, strategy, config
        self.identity, self.losses = identity, Losses(objective, executor)
        nothing = np.empty(0, TOP_DTYPE), np.empty((0, config["n_params"]))
        self.state: RunState = RunState(0, strategy.begin(), *nothing, 0.0, 0.0)
        # Rows of generations; beyond the state's there may be one that was interrupted.
        self.trace: list[tuple[float, ...]] = []
        self.path: str | None = None
        self.owned: OwnedFile | None = None
        self.failed: bool = False
        self.began = self.next_commit = time.perf_counter()
        self.written: int = -1
        precision = np.float32 if config["dtype"] == "float32" else np.float64
        self.largest: float = float(np.finfo(precision).max)

    def step(self) -> None:
        """Evaluate a generation; one beyond the range of floats ends the run instead."""
        state, strategy = self.state, self.strategy
        generation, learned = state.generation, state.learned
        with np.errstate(all="ignore"):
            proposal = strategy.ask(generation, learned)
            fits = generation == 0 or np.abs(proposal.thetas).max() <= self.largest
        if not fits:
            self.state = state._replace(learned=learned._replace(diverged=True))
            return
        thetas = proposal.thetas.copy()  # the objective's own, whatever it does with them
        asked = time.perf_counter()
        losses = self.losses.of(thetas, strategy.n_best, self._threshold())
        answered = time.perf_counter()

        with np.errstate(all="ignore"):
            self._learn(proposal, losses, answered - asked)

    def _learn(self, proposal: Proposal, losses: Array, seconds: float) -> None:
        """Take up what the objective has said of a generation."""
        state, strategy = self.state, self.strategy
        generation, learned = state.generation, state.learned
        ranks = rank(losses)
        order = np.argsort(ranks, kind="stable")
        after = strategy.tell(generation, learned, proposal, ranks, order)
        if not (np.isfinite(after.center).all() and np.isfinite(after.scale).all()):
            after = learned._replace(diverged=True)
        top, top_thetas = self._rank(losses, ranks, order, proposal.thetas)
        best = float(ranks[order[0]])
        so_far = min(best, self.trace[-1][2]) if generation else best
        self.trace.append(
            (generation, best, so_far, median(ranks[order]), float(learned.scale.mean()))
        )
        began, self.began = self.began, time.perf_counter()
        # One assignment: whenever Ctrl-C comes, the state is whole.
        self.state = RunState(
            generation + 1,
            after,
            top,
            top_thetas,
            state.in_objective + seconds,
            state.elapsed + self.began - began,
        )

    def _rank(
        self, losses: Array, ranks: Array, order: Array, thetas: Array
    ) -> tuple[Array, Array]:
        """Return the best of different thetas, and those thetas."""
        state, top_k = self.state, self.config["top_k"]
        top, n_before = state.top, len(state.top)
        if n_before == top_k:
            order = order[: np.searchsorted(ranks[order], self._threshold())]
            if len(order) == 0:
                return top, state.top_thetas
        new = np.empty(len(order), TOP_DTYPE)
        new["generation"], new["index"] = state.generation, order
        new["loss"] = losses[order]
        entries = np.concatenate([top, new])
        # Stable: of equals the first generation is first, and within one the first candidate.
        by_loss = np.argsort(rank(entries["loss"]), kind="stable")
        chosen: dict[bytes, int] = {}
        for entry in by_loss.tolist():
            old = entry < n_before
            theta = state.top_thetas[entry] if old else thetas[order[entry - n_before]]
            chosen.setdefault(theta.tobytes(), entry)
            if len(chosen) == top_k:
                break
        kept = np.array(list(chosen.values()))
        all_thetas = np.concatenate([state.top_thetas, thetas[order]])
        return entries[kept], all_thetas[kept]

    def _threshold(self) -> float:
        """Return the loss that a candidate has to be below to be one of the best."""
        top = self.state.top
        return math.inf if len(top) < self.config["top_k"] else float(rank(top["loss"])[-1])

    def ending(self, limits: Limits) -> tuple[bool, str | None]:
        """Return whether nothing more is to be done, and why."""
        done = self.state.generation
        if done >= limits.generations:
            return True, None
        if self.state.learned.diverged:
            return True, "diverged"
        if limits.patience is not None and done > limits.patience:
            before, now = (self.trace[k][2] for k in (done - 1 - limits.patience, done - 1))
            if not before - now > limits.tol:  # nor where both are infinite
                return True, "stall"
        return False, None

    def result(self, stopped_by: str | None) -> EvolveResult:
        """Return what has been found."""
        state = self.state
        return EvolveResult(
            top=state.top.copy(),
            top_thetas=state.top_thetas.copy(),
            trace=self._trace(),
            center=state.learned.center.copy(),
            scale=state.learned.scale.copy(),
            elapsed=state.elapsed,
            kernel_fraction=state.in_objective / max(state.elapsed, 1e-9),
            stopped_by=stopped_by,
            config=copy.deepcopy(self.config),
        )

    def _trace(self) -> Array:
        return np.array(self.trace[: self.state.generation], TRACE_DTYPE)

    def open(self, path: str) -> None:
        """Go on from a checkpoint, or begin one: a place that cannot be written to says so now."""
        self.path = path
        is_new = not os.path.exists(path)
        if is_new:
            self.commit()
        self.owned = OwnedFile(path, create=False)
        try:
            if not is_new:
                self._restore(path)
                self.written = self.state.generation
        except BaseException:  # the objective's own, too, which is asked for the best again
            self.owned.close()
            raise
        self.owned.leave()

    def commit(self) -> None:
        """Write the checkpoint, if it does not stand there already."""
        state = self.state
        # A child that was forked leaves the file to its parent.
        is_ours = self.owned is None or self.owned.is_ours
        if self.path is None or self.written == state.generation or not is_ours:
            return
        learned, began = state.learned, time.perf_counter()
        arrays = {
            "center": learned.center,
            "scale": learned.scale,
            "rest_of_state": np.array([learned.loss, learned.stuck, learned.diverged]),
            "top": state.top,
            "top_thetas": state.top_thetas,
            "trace": self._trace(),
            "seconds": np.array([state.in_objective, state.elapsed]),
        }
        try:
            if self.owned is not None:
                self.owned.begin()
            write_arrays(self.path, "checkpoint", arrays, self.config, self.owned)
        except (OSError, CheckpointError):  # what a full disk has refused is left out
            self.failed = True
            if self.owned is not None:
                self.owned.close()
            raise
        self.written, now = state.generation, time.perf_counter()
        self.next_commit = now + max(COMMIT_INTERVAL, (now - began) / COMMIT_SHARE)

    def _restore(self, path: str) -> None:
        arrays = read_state(path, self.config, self.identity.renamed)
        losses = np.ascontiguousarray(arrays["top"]["loss"])
        size, exact = self.config["population"], self.identity.is_built_in
        check_losses(path, self.objective, arrays["top_thetas"], losses, size, exact=exact)
        loss, stuck, diverged = arrays["rest_of_state"].tolist()
        learned = State(arrays["center"], arrays["scale"], loss, int(stuck), bool(diverged))
        seconds, trace = arrays["seconds"].tolist(), arrays["trace"]
        self.state = RunState(len(trace), learned, arrays["top"], arrays["top_thetas"], *seconds)
        self.trace = trace.tolist()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit, and give the checkpoint up; nothing more if that has been done.

        An interrupt leaves it as it is: close it again.
        """
        if not self.failed:
            self.commit()
        if self.owned is not None:
            self.owned.close()


def run_to_end(
    run: Run,
    limits: Limits,
    checkpoint: str | os.PathLike[str] | None,
    progress: bool | str,
    callback: Callable[[EvolveResult], object] | None,
) -> EvolveResult:
    """Evaluate generations until something ends them."""
    if checkpoint is not None:
        run.open(check_path("checkpoint", checkpoint))
    population, n_samples = run.config["population"], run.config["n_samples"]
    total, done = limits.generations * population, run.state.generation * population
    try:
        with ExitStack() as stack:
            line = stack.enter_context(Progress(progress, total, done, n_samples))
            stack.callback(release, run.objective)
            stack.enter_context(run)
            began, called = time.perf_counter(), -math.inf
            run.began = began
            while not run.ending(limits)[0]:
                run.step()
                now = run.began
                if run.state.learned.diverged:
                    continue
                line.update(population, run.trace[-1][2])
                if now >= run.next_commit:
                    run.commit()
                if run.ending(limits)[0]:
                    break
                if callback is not None and now - called >= CALLBACK_INTERVAL:
                    run.commit()
                    if callback(run.result(None)) is True:
                        return run.result("callback")
                    called = time.perf_counter()
                if limits.time_budget is not None and now - began >= limits.time_budget:
                    return run.result("time_budget")
            return run.result(run.ending(limits)[1])
    except CheckpointError as error:
        if run.state.generation > 0:
            error.result = run.result(None)
        raise
    except KeyboardInterrupt:  # while a generation is evaluated, or while the checkpoint is written
        if run.state.generation == 0:
            raise
        run.close()
        return run.result(run.ending(limits)[1] if run.ending(limits)[0] else "interrupt")
