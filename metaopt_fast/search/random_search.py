"""Random search: draw theta very many times, keep the best."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from metaopt_fast.files.owned import CheckpointError
from metaopt_fast.runs.evaluation import Uses, check_draws, check_objective, joined, release
from metaopt_fast.runs.options import CALLBACK_INTERVAL, COMMIT_INTERVAL, check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.runs.provenance import Identity, check_named, identify
from metaopt_fast.runs.ranges import bounds
from metaopt_fast.samplers.base import MAX_INDEX
from metaopt_fast.search.result import SearchResult
from metaopt_fast.search.shards import (
    Shard,
    State,
    Task,
    Threshold,
    check_task,
    check_top,
    configuration_of,
)
from metaopt_fast.typing import Objective, SamplerLike
from metaopt_fast.validation.identity import check_fingerprint
from metaopt_fast.validation.values import check_integer, check_n_threads, check_number

# Commits take at most so large a part of the time, but for those that a callback or workers wait
# for: one synchronises a disk five times (PRAGMA synchronous in checkpoint.py says why), which took
# 24 ms in the median of a search of 6 s. What a kill can lose is one commit divided by it: 0.5 s.
COMMIT_SHARE = 0.05


def random_search(
    objective: Objective,
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
    fingerprint: str | None = None,
) -> SearchResult:
    """Evaluate n_candidates random thetas and keep the best.

    Candidate i is a pure function of (seed, i), and its loss has the same bits wherever it is
    computed: the result does not depend on threads, shards, interruptions or machines.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``batch_loss(thetas)`` and ``n_params``
        With ``n_samples``, batches are such that batch times n_samples numbers fit in 8 MB. Where a
        class overrides ``batch_loss``, that is what counts, and no method of a base that knows
        nothing of it is asked instead; one that overrides ``loss`` alone is refused.
    sampler : Normal, Uniform, Integers, Mixture, one of your own, or callable
        One of your own is any object with the methods of `metaopt_fast.typing.Sampler`, of which
        ``sample`` alone is asked. A callable ``(start, count) -> array of shape (count, n_params)``
        gives candidates start .. start + count - 1, and must be a pure function of its arguments.
    n_candidates : int
        Number of candidates: start .. start + n_candidates - 1 are evaluated.
    seed : int, default 0
        Seed of all draws, from 0 to 2**64 - 1.
    top_k : int, default 1
        Number of the best to keep, by (loss, index); a loss that is not finite ranks last.
    start : int, default 0
        First candidate: shards of one search are searches with different `start`, and
        `merge_results` makes one result of theirs.
    prune : bool, default True
        Whether candidates may be dropped as soon as they cannot rank any more, where the objective
        can tell. The result is the same, bit for bit.
    checkpoint : path-like, optional
        File that records each finished shard, owned by one process at a time. Given again, the
        search goes on from there and ends with the same result; n_candidates may have grown. While
        a callback runs, a copy of the file alone is a whole checkpoint. Keep it on a local disk:
        over NFS it is as safe as the server's locks.
    executor : concurrent.futures.Executor or the like, optional
        Workers that evaluate shards: a process pool, ``dask.distributed.Client.get_executor()``,
        joblib's loky, mpi4py's MPIPoolExecutor. The data is sent once to each worker.
    progress : bool or "always", default False
        Whether to write a line on stderr: True if that is a terminal, "always" anyway.
    callback : callable, optional
        Function that is called with the result so far, at most every 0.1 s; if it returns True,
        the search stops.
    time_budget : float, optional
        Seconds after which no new shard is begun; those under way on an executor are not waited
        for.
    n_threads : int, optional
        Number of threads, in place of the objective's own; with an executor, of each worker, by
        default its share of this machine's.
    metadata : dict, optional
        Anything that JSON holds, kept in ``config["metadata"]`` and in the checkpoint.
    fingerprint : str, optional
        Name of what a checkpoint cannot tell from another one: an objective, a validation one,
        a metric or a sampler of your own, a subclass, a partial, a closure, a callable. Pass the
        same for the same, and another for another. Objects that have an attribute ``fingerprint``,
        a string, are known by that one: their own or that of their very class, for an inherited one
        does not know what a subclass adds. Built-in objectives and samplers need none.

    Returns
    -------
    SearchResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    CheckpointError
        If the checkpoint is damaged, in use, or of another search; if it could not know the
        objective or the sampler again (see `fingerprint`); or if it was deleted, replaced or
        changed by somebody else during the search: the error's ``result`` is what had been found.
    OSError
        If the checkpoint cannot be written.
    TimeoutError
        If `time_budget` is over before the executor has given a shard back.
    RuntimeError
        If a worker of the executor dies, or the executor is shut down meanwhile, or its futures
        hold something else than what the submitted function returned.

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
    task = check_task(objective, sampler, seed, top_k, prune)
    n_candidates = check_integer("n_candidates", n_candidates, 1, MAX_INDEX)
    start = check_integer("start", start, 0, MAX_INDEX - n_candidates)
    if task.top_k > n_candidates:
        raise ValueError(
            f"top_k is {task.top_k}, but there are {n_candidates} candidates: pass top_k of at "
            "most n_candidates."
        )
    check_options(executor, progress, callback)
    n_threads = check_n_threads(n_threads)
    if time_budget is not None:
        time_budget = check_number("time_budget", time_budget, 0.0, strictly=True)
    fingerprint = check_fingerprint(fingerprint)
    check_draws(sampler, task.seed, start, n_candidates, task.n_params)
    # Before another number of threads makes a copy of the objective.
    identity = identify(objective, sampler, task.seed, fingerprint)
    check_named(identity, checkpoint)
    task = _with_workers(replace(task, first=start, stop=start + n_candidates), n_threads, executor)
    config = configuration_of(task, identity, start, n_candidates, metadata)
    search = None
    try:
        with ExitStack() as stack:
            stack.callback(release, task.objective)
            search = _Search(task, identity, config, stack, checkpoint, progress)
            shards = stack.enter_context(closing(search.run(executor)))
            called = -math.inf
            for done in shards:
                now = search.add(done, waiting=executor is not None)
                if search.complete:
                    continue
                if done and callback is not None and now - called >= CALLBACK_INTERVAL:
                    search.commit()
                    if callback(search.result(None)) is True:
                        return search.result("callback")
                    called = time.perf_counter()
                if time_budget is not None and now - search.began >= time_budget:
                    return search.out_of_time(time_budget)
            return search.result(None)
    except CheckpointError as error:
        if search is not None:
            search.keep_result(error)
        raise
    except KeyboardInterrupt:  # while shards are evaluated, or while the checkpoint is closed
        if search is None or search.state.n_evaluated == 0:
            raise
        search.close()
        return search.result(None if search.complete else "interrupt")


def resume_search(
    checkpoint: str | os.PathLike[str],
    objective: Objective,
    *,
    sampler: SamplerLike | None = None,
    prune: bool = True,
    executor: Any = None,
    progress: bool | str = False,
    callback: Callable[[SearchResult], object] | None = None,
    time_budget: float | None = None,
    n_threads: int | None = None,
    fingerprint: str | None = None,
) -> SearchResult:
    """Go on with the search that a checkpoint records.

    Parameters
    ----------
    checkpoint : path-like
        File that `random_search` wrote.
    objective : object
        Data, loss and penalty of then. The best candidates are evaluated again: a file
        that has other losses is refused.
    sampler : sampler of your own or callable, optional
        Sampler of then, where that was none of the built-in ones, which the file records.
    fingerprint : str, optional
        Name, as then. A checkpoint of version 0.1.0, which took no such name, takes over the first.
    prune, executor, progress, callback, time_budget, n_threads
        Arguments of `random_search`, which do not change its result.

    Returns
    -------
    SearchResult

    Raises
    ------
    CheckpointError, ValueError
        If the file is damaged or in use, or belongs to another objective, or if nothing tells
        the objective from another one.

    Examples
    --------
    >>> import os, tempfile
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.db")
    ...     result = mf.random_search(objective, mf.Normal(), 1000, checkpoint=path)
    ...     mf.resume_search(path, objective).index == result.index
    True
    """
    from metaopt_fast.search.checkpoint import Checkpoint

    n_params = check_objective(objective)
    with Checkpoint(checkpoint) as file:
        config = file.config
        if sampler is None:
            if config["sampler"]["name"] in ("callable", "own"):
                raise ValueError(
                    f"{file.path} is of a search with a callable or a sampler of your own: call "
                    "random_search with that callable or sampler and this checkpoint, or pass it "
                    "as sampler=."
                )
            sampler = file.read_sampler(n_params)
    return random_search(
        objective,
        sampler,
        config["n_candidates"],
        seed=config["seed"],
        top_k=config["top_k"],
        start=config["start"],
        checkpoint=checkpoint,
        metadata=config["metadata"],
        prune=prune,
        executor=executor,
        progress=progress,
        callback=callback,
        time_budget=time_budget,
        n_threads=n_threads,
        fingerprint=fingerprint,
    )


class _Search:
    """A running search: its state, its checkpoint and its line on the screen."""

    def __init__(
        self,
        task: Task,
        identity: Identity,
        config: dict[str, Any],
        stack: ExitStack,
        checkpoint: str | os.PathLike[str] | None,
        progress: bool | str,
    ) -> None:
        self.task, self.config, self.file = task, config, None
        self.state, self.restored_seconds = State.at(config["start"], task.top_k), 0.0
        self.uses: Uses = {}
        if checkpoint is not None:
            from metaopt_fast.search.checkpoint import Checkpoint

            self.file = stack.enter_context(Checkpoint(checkpoint, config, identity.renamed))
            self.state, self.restored_seconds = self.file.restore(self.state)
            top = self.state.everything().top
            check_top(self.file.path, task, top, exact=identity.is_built_in)
            if identity.unnamed:
                self.file.record_names()
        done = self.state.n_evaluated
        self.line = stack.enter_context(
            Progress(progress, config["n_candidates"], done, config["n_samples"])
        )
        self.began = self.added = time.perf_counter()
        self.next_commit = self.began + COMMIT_INTERVAL

    @property
    def complete(self) -> bool:
        n_candidates: int = self.config["n_candidates"]
        return self.state.n_evaluated == n_candidates

    def threshold(self) -> Threshold:
        return self.state.threshold

    def run(self, executor: Any) -> Generator[list[Shard], None, None]:
        """Evaluate what is not done yet."""
        first, stop = self.state.next, self.config["start"] + self.config["n_candidates"]
        done = {shard.start for shard in self.state.waiting}
        shards = bounds(first, stop, self.config["shard_size"])
        missing: Iterator[tuple[int, int]] = (pair for pair in shards if pair[0] not in done)
        if executor is None:
            for start, count in missing:
                yield [self.task.run(start, count, self.threshold())]
            return
        from metaopt_fast.runs.workers import Driver

        yield from Driver(executor, self.task, self.threshold).run(missing)

    def add(self, shards: list[Shard], *, waiting: bool) -> float:
        """Take over finished shards; return the time. If `waiting`, none may follow for long."""
        now = time.perf_counter()
        if not shards:
            return now
        if self.file is not None:
            self.file.add(shards, now - self.added)
        for shard in shards:
            self.uses = joined(self.uses, shard.uses)
        # One assignment: whenever Ctrl-C comes, the state is whole.
        self.state = self.state.add(shards)
        self.added = now
        if waiting or now >= self.next_commit:
            self.commit()
        self.line.update(sum(shard.count for shard in shards), self.state.threshold.best)
        return now

    def commit(self) -> None:
        if self.file is not None:
            began = time.perf_counter()
            self.file.commit()
            now = time.perf_counter()
            self.next_commit = now + max(COMMIT_INTERVAL, (now - began) / COMMIT_SHARE)

    def keep_result(self, error: CheckpointError) -> None:
        """Let the error of a checkpoint that is gone carry what was found without it."""
        if self.state.n_evaluated:
            error.result = self.result(None)

    def close(self) -> None:
        """Close the checkpoint, if an interrupt has kept it from being closed."""
        if self.file is not None:
            self.file.close()

    def out_of_time(self, time_budget: float) -> SearchResult:
        if self.state.n_evaluated == 0:
            raise TimeoutError(
                f"time_budget is {time_budget:g} s, and in that time the executor gave no shard "
                "back: pass a longer one, or an executor whose workers are there."
            )
        self.added = time.perf_counter()
        return self.result("time_budget")

    def result(self, stopped_by: str | None) -> SearchResult:
        state = self.state.everything()
        return SearchResult(
            top=state.top.copy(),
            top_thetas=self.task.thetas(state.top["index"]),
            trace=state.trace.copy(),
            ranges=state.ranges,
            elapsed=self.restored_seconds + self.added - self.began,
            rows_evaluated_fraction=state.visited / state.n_evaluated,
            stopped_by=stopped_by,
            config=copy.deepcopy(self.config)
            | {"stages": {k: str(v) for k, v in self.uses.items()}},
        )


def _with_workers(task: Task, n_threads: int | None, executor: Any) -> Task:
    if executor is not None:
        from metaopt_fast.runs.workers import number_of_workers, threads_of_worker

        task = replace(task, n_workers=number_of_workers(executor))
        if n_threads is None:
            n_threads = threads_of_worker(executor)
    return replace(task, n_threads=n_threads).on(task.objective)
