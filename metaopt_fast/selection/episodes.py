"""Episodes of tasks: some rows to fit a model to, and others to judge it by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.fitting.task_rows import TaskPenalties, TaskRows
from metaopt_fast.fitting.tasks import Grouped
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import check_integer, describe

# Key of the streams of episodes, and how many of them a task may have.
OF_EPISODES, MOST_EPISODES = 0x94D049BB133111EB, 1 << 16
# Rows that judge a model, at most: more tell little more than those of further episodes.
MOST_QUERIES = 200
# Penalty beside the mean loss of the rows of all tasks: there is an optimum, hardly another one.
OF_POOLED = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Rows of episodes, task after task: those that models are fitted to, and those that judge."""

    supports: list[IndexArray]
    queries: list[IndexArray]
    task_of: IndexArray


def check_tasks(grouped: Grouped, n_support: Any) -> tuple[int, int]:
    """Return the least and the largest number of an episode's rows; raise the error of the first
    task that has too few."""
    if isinstance(n_support, (tuple, list)) and len(n_support) == 2:
        sizes = [check_integer("n_support", size, 2) for size in n_support]
        if sizes[0] > sizes[1]:
            raise ValueError(f"n_support is {describe(n_support)}: pass the smaller number first.")
    else:
        sizes = [check_integer("n_support", n_support, 2)] * 2
    if len(grouped.counts) < 2:
        raise ValueError(
            "tasks holds one task alone: pass those of two at least, or fit its model by fit_many."
        )
    few = np.flatnonzero(grouped.counts <= sizes[1])
    if len(few):
        raise ValueError(
            f"task {grouped.labels[few[0]]!r} has {grouped.counts[few[0]]} rows, but n_support is "
            f"{sizes[1]}: pass a smaller n_support, which leaves rows to judge models by."
        )
    lacking = np.argwhere(grouped.sums(None) < 2)
    if len(lacking):
        task, side = lacking[0].tolist()
        raise ValueError(
            f"task {grouped.labels[task]!r} has fewer than 2 rows of class "
            f"{grouped.classes[side]!r}: pass tasks that have 2 of each, or leave this one out."
        )
    return sizes[0], sizes[1]


def draw_episodes(grouped: Grouped, sizes: tuple[int, int], n_episodes: int, seed: int) -> Drawn:
    """Draw the episodes of all tasks: both classes are among the rows of each model."""
    supports, queries = [], []
    low, high = sizes
    for task, count in enumerate(grouped.counts.tolist()):
        rows = grouped.rows_of(task)
        first = task * MOST_EPISODES
        keys = Uniform(0.0, 1.0).sample(seed ^ OF_EPISODES, first, n_episodes, count + 1)
        spread = exp(log(float(low)) + keys[:, 0] * (log(high + 1.0) - log(float(low))))
        for own, size in zip(keys[:, 1:], np.clip(spread, low, high).astype(int), strict=True):
            order = rows[np.argsort(own, kind="stable")]
            codes = grouped.codes[order]
            if codes[:size].all() or not codes[:size].any():
                other = int(np.argmax(codes != codes[0]))
                order[[size - 1, other]] = order[[other, size - 1]]
            supports.append(order[:size])
            queries.append(order[size : size + MOST_QUERIES])
    return Drawn(supports, queries, np.repeat(np.arange(len(grouped.counts)), n_episodes))


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """The mean loss of episodes, and its gradients by the centre and by the logarithms of
    penalties."""

    loss: float
    by_center: Float64Array
    by_log_penalty: Float64Array
    thetas: Float64Array


class Episodes:
    """Episodes of some tasks, ready to be fitted and judged."""

    grouped: Grouped
    fit_intercept: bool
    effort: Effort
    drawn: Drawn
    supports: TaskRows
    queries: TaskRows

    def __init__(self, grouped: Grouped, fit_intercept: bool, effort: Effort, drawn: Drawn) -> None:
        self.grouped, self.fit_intercept = grouped, fit_intercept
        self.effort, self.drawn = effort, drawn
        self.tasks: IndexArray = np.unique(drawn.task_of)
        self.supports, self.queries = self._rows(drawn.supports), self._rows(drawn.queries)

    def _rows(self, parts: list[IndexArray]) -> TaskRows:
        counts = np.array([len(part) for part in parts], np.intp)
        rows = np.concatenate(parts)
        X, codes = self.grouped.X, self.grouped.codes
        return TaskRows.of(X, codes, None, rows, counts, self.fit_intercept)

    @property
    def n_params(self) -> int:
        """Number of a model's parameters."""
        return self.supports.n_params

    def of(self, tasks: IndexArray) -> Episodes:
        """Return the episodes of some tasks."""
        drawn = self.drawn
        at = np.flatnonzero(np.isin(drawn.task_of, tasks)).tolist()
        supports, queries = ([rows[i] for i in at] for rows in (drawn.supports, drawn.queries))
        some = Drawn(supports, queries, drawn.task_of[at])
        return Episodes(self.grouped, self.fit_intercept, self.effort, some)

    def pooled(self) -> Float64Array:
        """Return the model of all rows of these tasks."""
        rows = np.flatnonzero(np.isin(self.grouped.task_of, self.tasks))
        X, codes = self.grouped.X[rows], self.grouped.codes[rows]
        ready = Rows.of(X, codes, None, None, self.fit_intercept)
        theta: Float64Array = fit_models(self.effort, ready, l2=OF_POOLED).theta[0]
        return theta

    def _penalties(self, center: Float64Array, penalty: Float64Array) -> TaskPenalties:
        return TaskPenalties(1 / self.supports.counts, penalty[None], center[None])

    def _fitted(self, penalties: TaskPenalties, starts: Float64Array | None) -> Float64Array:
        """Return the models of all episodes: those of some of them say nothing of a prior."""
        optima = self.supports.fit(penalties, self.effort, starts)
        if optima.is_interrupted:
            raise KeyboardInterrupt
        return optima.thetas

    def losses(self, center: Float64Array, penalty: Float64Array) -> Float64Array:
        """Return the mean loss of each task's episodes, with this prior."""
        thetas = self._fitted(self._penalties(center, penalty), None)
        losses, _ = self.queries.evaluate(thetas, self.effort.n_threads)
        means: Float64Array = losses.reshape(len(self.tasks), -1).mean(axis=1)
        return means

    def value(
        self, center: Float64Array, penalty: Float64Array, starts: Float64Array | None = None
    ) -> Value:
        """Return the mean loss of all episodes, and its gradients.

        With theta the optimum of an episode, H its Hessian and q = H^-1 times the gradient of the
        loss that judges it, d loss / d center = p q and d loss / d log p = -p (theta - center) q:
        what the optimum does where the prior moves, by the implicit function theorem.
        """
        penalties, n_threads = self._penalties(center, penalty), self.effort.n_threads
        thetas = self._fitted(penalties, starts)
        losses, gradients = self.queries.evaluate(thetas, n_threads)
        turned = self.supports.solve(penalties, thetas, gradients, n_threads)
        pulls = turned * penalties.l2[:, None] * penalty / len(losses)
        by_log = -(pulls * (thetas - center)).sum(axis=0)
        return Value(float(losses.mean()), pulls.sum(axis=0), by_log, thetas)
