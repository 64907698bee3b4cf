"""Random search: draw theta very many times, keep the best."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import numpy as np

from metaopt_fast import _kernels
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.progress import Progress
from metaopt_fast.result import TOP_DTYPE, SearchResult, improvements, join_ranges, select_best
from metaopt_fast.samplers import MAX_INDEX, MAX_SEED, Sampler, from_dict
from metaopt_fast.shards import SamplerLike, Shard, Task, bounds, shard_size
from metaopt_fast.validation import check_integer, check_n_threads, check_number, describe

# Seconds between two calls of a callback, at least.
CALLBACK_INTERVAL = 0.1


def random_search(
    objective: Any,
    sampler: SamplerLike,
    n_candidates: int,
    *,
    seed: int = 0,
    top_k: int = 1,
    start: int = 0,
    prune: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: bool | str = False,
    callback: Callable[[SearchResult], object] | None = None,
    time_budget: float | None = None,
    n_threads: int | None = None,
    metadata: dict[str, Any] | None = None,
) -> SearchResult:
    """Evaluate n_candidates random thetas and keep the best.

    Candidate i is a pure function of (seed, i), and its loss has the same bits wherever it is
    computed: the result does not depend on threads, shards, interruptions or machines.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``batch_loss(thetas)`` and ``n_params``
    sampler : Normal, Uniform, Integers or callable
        A callable ``(start, count) -> array of shape (count, n_params)`` gives candidates start ..
        start + count - 1, and must be a pure function of its arguments.
    n_candidates : int
        Candidates start .. start + n_candidates - 1 are evaluated.
    seed : int, default 0
        From 0 to 2**64 - 1.
    top_k : int, default 1
        How many of the best to keep, by (loss, index); a loss that is not finite ranks last.
    start : int, default 0
        The first candidate: shards of one search are searches with different `start`, and
        `merge_results` makes one result of theirs.
    prune : bool, default True
        Whether candidates may be dropped as soon as they cannot rank any more, where the objective
        can tell. The result is the same, bit for bit.
    checkpoint : path-like, optional
        A file that records each finished shard. Given again, the search goes on from there and ends
        with the same result; n_candidates may have grown.
    executor : concurrent.futures.Executor or the like, optional
        Where shards are evaluated: a process pool, ``dask.distributed.Client.get_executor()``,
        joblib's loky, mpi4py's MPIPoolExecutor. The data is sent once to each worker.
    progress : bool or "always", default False
        Whether to write a line on stderr: True if that is a terminal, "always" anyway.
    callback : callable, optional
        Called with the result so far, at most every 0.1 s; returning True stops the search.
    time_budget : float, optional
        Seconds after which no new shard is begun.
    n_threads : int, optional
        Instead of the objective's own number; with an executor, threads of each worker, by default
        its share of this machine's.
    metadata : dict, optional
        Anything that JSON holds, kept in ``config["metadata"]`` and in the checkpoint.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    CheckpointError
        If the checkpoint is damaged, in use, or of another search.
    OSError
        If the checkpoint cannot be written.

    Notes
    -----
    Ctrl-C ends the search with the result so far and ``result.interrupted`` True; KeyboardInterrupt
    is raised only if nothing was evaluated.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> result = mf.random_search(objective, mf.Normal(scale=3), 1000, top_k=2)
    >>> result.loss == objective.loss(result.theta)
    True
    """
    task, start, stop = _check(objective, sampler, n_candidates, seed, top_k, start, prune)
    n_threads = check_n_threads(n_threads)
    if time_budget is not None:
        time_budget = check_number("time_budget", time_budget, 0.0, strictly=True)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {describe(callback)}: pass a callable or None.")
    if not isinstance(progress, (bool, np.bool_)) and not (
        isinstance(progress, str) and progress == "always"
    ):
        raise ValueError(f"progress is {describe(progress)}: pass True, False or 'always'.")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor is {describe(executor)}: pass an object with a method submit.")
    task = _with_threads(task, n_threads, executor)
    config = _configuration(task, start, stop, n_threads, metadata)
    search = _Search(task, config)
    clock = time.perf_counter()
    called = -math.inf
    with ExitStack() as stack:
        file = None
        if checkpoint is not None:
            from metaopt_fast.checkpoint import Checkpoint

            file = stack.enter_context(Checkpoint(checkpoint, config))
            search.restore(file.shards, start, stop)
        line = stack.enter_context(
            Progress(progress, stop - start, search.n_evaluated, config["n_samples"])
        )
        shards = search.run(start, stop, executor)
        stack.callback(shards.close)
        try:
            for shard in shards:
                if file is not None:
                    file.add(shard)
                search.add(shard)
                now = time.perf_counter()
                search.elapsed = search.restored_seconds + now - clock
                line.update(shard.count, search.best_loss)
                if callback is not None and now - called >= CALLBACK_INTERVAL:
                    called = now
                    if callback(search.result(None)) is True:
                        search.stopped_by = "callback"
                        break
                if time_budget is not None and now - clock >= time_budget:
                    search.stopped_by = "time_budget" if search.n_evaluated < stop - start else None
                    break
        except KeyboardInterrupt:
            if search.n_evaluated == 0:
                raise
            search.stopped_by = "interrupt"
        return search.result(search.stopped_by)


def resume_search(
    checkpoint: str | os.PathLike[str], objective: Any, **options: Any
) -> SearchResult:
    """Go on with the search that a checkpoint records.

    Parameters
    ----------
    checkpoint : path-like
        A file that `random_search` wrote, of a search with a built-in sampler.
    objective : object
        The same data, loss and penalty as then.
    **options
        Those of `random_search` that do not change its result: executor, progress, callback,
        time_budget, n_threads, prune.

    Returns
    -------
    SearchResult

    Raises
    ------
    CheckpointError, ValueError
        If the file is damaged or in use, or belongs to another objective.
    """
    from metaopt_fast.checkpoint import Checkpoint

    with Checkpoint(checkpoint) as file:
        config = file.config
    if config["sampler"]["name"] == "callable":
        raise ValueError(
            f"{os.fspath(checkpoint)} is of a search with a callable sampler: call random_search "
            "with that callable and this checkpoint."
        )
    return random_search(
        objective,
        from_dict(config["sampler"]),
        config["n_candidates"],
        seed=config["seed"],
        top_k=config["top_k"],
        start=config["start"],
        checkpoint=checkpoint,
        metadata=config["metadata"],
        **options,
    )


class _Search:
    """The state of a running search: the best so far, and what is done."""

    def __init__(self, task: Task, config: dict[str, Any]) -> None:
        self.task, self.config = task, config
        self.top = np.empty(0, TOP_DTYPE)
        self.trace = np.empty(0, TOP_DTYPE)
        self.done: dict[int, int] = {}
        self.ranges: tuple[tuple[int, int], ...] = ()
        self.rows = 0.0
        self.elapsed = self.restored_seconds = 0.0
        self.stopped_by: str | None = None

    @property
    def n_evaluated(self) -> int:
        return sum(stop - start for start, stop in self.ranges)

    @property
    def best_loss(self) -> float:
        return float(self.top["loss"][0])

    def add(self, shard: Shard) -> None:
        top = np.concatenate([self.top, shard.top])
        self.top = top[select_best(top, self.task.top_k)]
        self.trace = improvements(np.concatenate([self.trace, shard.trace]))
        self.done[shard.start] = shard.count
        self.ranges = join_ranges([*self.ranges, (shard.start, shard.start + shard.count)])
        self.rows += shard.rows_evaluated_fraction * shard.count

    def restore(self, shards: dict[int, Shard], start: int, stop: int) -> None:
        """Take over the shards of a checkpoint that this search has, too."""
        wanted = dict(bounds(start, stop, self.config["shard_size"]))
        for shard in shards.values():
            if wanted.get(shard.start) == shard.count:
                self.add(shard)
                self.restored_seconds += shard.elapsed
        self.elapsed = self.restored_seconds

    def run(self, start: int, stop: int, executor: Any) -> Generator[Shard, None, None]:
        """Evaluate what is not done yet."""
        missing = (
            pair
            for pair in bounds(start, stop, self.config["shard_size"])
            if pair[0] not in self.done
        )
        if executor is None:
            for first, count in missing:
                yield self.task.run(first, count, self.threshold())
            return
        from metaopt_fast.workers import Driver

        driver = Driver(executor, self.task, self.config["fingerprint"])
        try:
            for shard in driver.run(missing):
                driver.threshold = self.threshold()
                yield shard
        finally:
            driver.cancel()

    def threshold(self) -> float:
        """Return the loss that a candidate has to reach to rank."""
        if len(self.top) < self.task.top_k:
            return math.inf
        return float(self.top["loss"][-1])

    def result(self, stopped_by: str | None) -> SearchResult:
        thetas = np.concatenate([self.task.draw(int(index), 1) for index in self.top["index"]])
        return SearchResult(
            top=self.top.copy(),
            top_thetas=thetas,
            trace=self.trace.copy(),
            ranges=self.ranges,
            elapsed=self.elapsed,
            rows_evaluated_fraction=self.rows / self.n_evaluated,
            stopped_by=stopped_by,
            config=self.config,
        )


def _check(
    objective: Any,
    sampler: Any,
    n_candidates: object,
    seed: object,
    top_k: object,
    start: object,
    prune: object,
) -> tuple[Task, int, int]:
    """Return what the arguments ask for, or raise an error of one sentence."""
    if not callable(getattr(objective, "batch_loss", None)):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "batch_loss."
        )
    n_params = getattr(objective, "n_params", None)
    if n_params is None:
        raise TypeError(
            f"objective is {describe(objective)}, which has no n_params: give it that attribute, "
            "the number of parameters."
        )
    n_params = check_integer("objective.n_params", n_params, 1)
    if not isinstance(sampler, Sampler) and (not callable(sampler) or isinstance(sampler, type)):
        raise TypeError(
            f"sampler is {describe(sampler)}: pass Normal(), Uniform(), Integers() or a callable "
            "(start, count) -> thetas."
        )
    n_candidates = check_integer("n_candidates", n_candidates, 1, MAX_INDEX)
    start = check_integer("start", start, 0, MAX_INDEX - n_candidates)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    top_k = check_integer("top_k", top_k, 1)
    if top_k > n_candidates:
        raise ValueError(
            f"top_k is {top_k}, but there are {n_candidates} candidates: pass top_k of at most "
            "n_candidates."
        )
    if not isinstance(prune, (bool, np.bool_)):
        raise TypeError(f"prune is {describe(prune)}: pass True or False.")
    task = Task(objective, sampler, seed, top_k, n_params, bool(prune))
    task.draw(start, 1)
    return task, start, start + n_candidates


def _with_threads(task: Task, n_threads: int | None, executor: Any) -> Task:
    if executor is not None and n_threads is None:
        from metaopt_fast.workers import threads_of_worker

        n_threads = threads_of_worker(executor)
    if n_threads is None or not hasattr(task.objective, "with_threads"):
        return task
    objective = task.objective.with_threads(n_threads)
    return Task(objective, task.sampler, task.seed, task.top_k, task.n_params, task.prune)


def _configuration(
    task: Task, start: int, stop: int, n_threads: int | None, metadata: dict[str, Any] | None
) -> dict[str, Any]:
    n_samples = getattr(task.objective, "n_samples", None)
    isa = _kernels.isa()[0]
    sampler = task.sampler.to_dict() if isinstance(task.sampler, Sampler) else {"name": "callable"}
    return {
        "seed": task.seed,
        "start": start,
        "n_candidates": stop - start,
        "top_k": task.top_k,
        "sampler": sampler,
        "objective": repr(task.objective) if n_samples else type(task.objective).__name__,
        "fingerprint": task.fingerprint(start),
        "n_samples": n_samples,
        "n_params": task.n_params,
        "shard_size": shard_size(n_samples, task.n_params),
        "stream_version": STREAM_VERSION,
        "arithmetic": "separate" if isa == "baseline" else "fused",
        "isa": isa,
        "n_threads": n_threads,
        "versions": {
            "metaopt_fast": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "metadata": metadata,
    }
