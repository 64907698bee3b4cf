"""How much of a prior to learn: rungs of a ladder, each judged by tasks that were left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaopt_fast.arithmetic import exp, expm1, log1p
from metaopt_fast.descent.line_search import LBFGS
from metaopt_fast.descent.rule import Point
from metaopt_fast.runs.progress import Progress
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.selection.episodes import OF_EPISODES, Episodes
from metaopt_fast.typing import Float64Array, IndexArray

LEVELS = ("plain", "pooled", "center", "penalties")
# Logarithms of penalties that are tried, of a sum of losses; those of intercepts beside the best.
GRID, OF_INTERCEPTS = np.arange(-8.0, 9.0), np.array([-7.0, -4.0, -1.0, 2.0, 5.0, 8.0])
# That of plain models' intercepts at first.
FREE = -1.0
# Learned ones stay within this distance of this value.
MIDDLE, REACH = 0.0, 10.0
# A rung has to be better than the one before by so many standard errors over tasks.
CLEARLY = 2.5
# The part of a loss by which a step has to fall.
ENOUGH = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """A level with the best of its candidates: mean losses of the tasks, each left out of what was
    learned, and the candidate that each split learned, that of all tasks last."""

    level: str
    losses: Float64Array
    centers: list[Float64Array]
    logs: list[Float64Array]

    @property
    def center(self) -> Float64Array:
        """The centre that was learned from all tasks."""
        return self.centers[-1]

    @property
    def penalty(self) -> Float64Array:
        """The penalties that were learned from all tasks."""
        return exp(self.logs[-1])


class Ladder:
    """Rungs, and the folds of tasks that judge them."""

    episodes: Episodes
    max_iter: int
    line: Progress
    left_out: list[Episodes]
    learned_from: list[Episodes]

    def __init__(self, episodes: Episodes, n_folds: int, max_iter: int, seed: int) -> None:
        self.episodes, self.max_iter = episodes, max_iter
        n = len(episodes.tasks)
        keys = Uniform(0.0, 1.0).sample(seed ^ ~OF_EPISODES & (2**64 - 1), 0, 1, n)[0]
        self.fold_of: IndexArray = np.argsort(np.argsort(keys, kind="stable")) % n_folds
        folds = range(n_folds)
        self.left_out = [episodes.of(np.flatnonzero(self.fold_of == f)) for f in folds]
        self.learned_from = [episodes.of(np.flatnonzero(self.fold_of != f)) for f in folds]
        self.learned_from.append(episodes)
        self.rungs: list[Rung] = []
        self.is_interrupted: bool = False
        self.trace: dict[str, Float64Array] = {}

    def n_updates(self, level: str) -> int:
        """Return how many levels and descents a line of progress counts."""
        n_levels = n_rungs(level)
        return n_levels + len(self.learned_from) * max(0, n_levels - 2)

    def climb(self, level: str, line: Progress) -> Rung:
        """Return the rung of a level, or, of "auto", the last that beats the one chosen before."""
        self.line = line
        steps = (self.plain, self.pooled, self.center, self.penalties)
        try:
            for step in steps[: n_rungs(level)]:
                self.rungs.append(step())
                self.update()
        except KeyboardInterrupt:
            # A level that was asked for is there or not.
            if not self.rungs or level != "auto":
                raise
            self.is_interrupted = True
        if level != "auto":
            return self.rungs[-1]
        chosen = self.rungs[0]
        for rung in self.rungs[1:]:
            if is_clearly_better(rung.losses, chosen.losses):
                chosen = rung
        return chosen

    def update(self) -> None:
        """Tell what was done, and the least loss so far of tasks left out."""
        self.line.update(1, min(float(rung.losses.mean()) for rung in self.rungs))

    def held_out(self) -> dict[str, Float64Array]:
        """Return the mean loss of each rung on each fold of tasks."""
        folds = range(len(self.left_out))
        return {
            rung.level: np.array([rung.losses[self.fold_of == f].mean() for f in folds])
            for rung in self.rungs
        }

    def judged(self, centers: list[Float64Array], logs: list[Float64Array]) -> Float64Array:
        """Return the mean loss of each task with what was learned without it."""
        losses = np.empty(len(self.fold_of))
        for f, left in enumerate(self.left_out):
            losses[self.fold_of == f] = left.losses(centers[f], exp(logs[f]))
        return losses

    def logs_of(self, feature: float, intercept: float) -> Float64Array:
        """Return the logarithm of each parameter's penalty."""
        logs = np.full(self.episodes.n_params, feature)
        if self.episodes.fit_intercept:
            logs[-1] = intercept
        return logs

    # ------------------------------------------------------------------------------------- levels

    def plain(self) -> Rung:
        """Draw to 0."""
        zeros = [np.zeros(self.episodes.n_params)] * len(self.learned_from)
        return self.of_grid("plain", zeros, [(s, FREE) for s in GRID.tolist()])

    def pooled(self) -> Rung:
        """Draw to the model of all rows."""
        centers = [some.pooled() for some in self.learned_from]
        return self.of_grid("pooled", centers, [(s, s) for s in GRID.tolist()])

    def of_grid(
        self, level: str, centers: list[Float64Array], pairs: list[tuple[float, float]]
    ) -> Rung:
        """Return the rung of the best of some penalties, the intercept's by itself at last."""
        best = self.best_of(level, centers, pairs)
        if not self.episodes.fit_intercept:
            return best
        feature = float(best.logs[0][0])
        others = [(feature, s) for s in OF_INTERCEPTS.tolist()]
        found = self.best_of(level, centers, others)
        return min(best, found, key=lambda rung: float(rung.losses.mean()))

    def best_of(
        self, level: str, centers: list[Float64Array], pairs: list[tuple[float, float]]
    ) -> Rung:
        """Return the rung of the best of some penalties of features and intercepts."""
        all_logs = [[self.logs_of(*pair)] * len(centers) for pair in pairs]
        losses = [self.judged(centers, logs) for logs in all_logs]
        at = int(np.argmin([float(of.mean()) for of in losses]))
        return Rung(level, losses[at], centers, all_logs[at])

    def center(self) -> Rung:
        """Learn the centre, and two penalties."""
        n = self.episodes.n_params
        groups = np.zeros(n, np.intp)
        groups[n - self.episodes.fit_intercept :] = 1
        return self.learned("center", groups)

    def penalties(self) -> Rung:
        """Learn the centre, and a penalty for each parameter."""
        return self.learned("penalties", np.arange(self.episodes.n_params))

    def learned(self, level: str, groups: IndexArray) -> Rung:
        """Learn, from where the rung below is, the centre and a penalty for each group of
        parameters; tasks that are left out say after how many steps to stop."""
        below = self.rungs[-1]
        paths = []
        for some, center, logs in zip(self.learned_from, below.centers, below.logs, strict=True):
            paths.append(descend(some, center, logs, groups, self.max_iter))
            self.update()
        judged = []
        for step in range(max(map(len, paths))):
            now = [path[min(step, len(path) - 1)] for path in paths]
            judged.append(self.judged([center for center, _ in now], [logs for _, logs in now]))
        self.trace[level] = np.array([float(losses.mean()) for losses in judged])
        step = int(np.argmin(self.trace[level]))
        now = [path[min(step, len(path) - 1)] for path in paths]
        return Rung(level, judged[step], [center for center, _ in now], [logs for _, logs in now])


def n_rungs(level: str) -> int:
    """Return how many rungs lead to a level, all of them to "auto"."""
    return len(LEVELS) if level == "auto" else LEVELS.index(level) + 1


def is_clearly_better(losses: Float64Array, others: Float64Array) -> bool:
    """Whether losses of tasks are lower than others by more than chance makes them."""
    gains = others - losses
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() > CLEARLY * error)


def descend(
    episodes: Episodes,
    center: Float64Array,
    logs: Float64Array,
    groups: IndexArray,
    max_iter: int,
) -> list[tuple[Float64Array, Float64Array]]:
    """Return the centres and the logarithms of penalties after each step of L-BFGS."""
    n, n_groups = len(center), int(groups.max()) + 1
    first = np.array([np.flatnonzero(groups == g)[0] for g in range(n_groups)])
    x = np.concatenate([center, unbounded(logs[first])])[None]
    starts: Float64Array | None = None

    def point(x: Float64Array) -> Point:
        nonlocal starts
        at, slopes = bounded(x[0, n:])
        value = episodes.value(x[0, :n], exp(at[groups]), starts)
        starts = value.thetas
        by_group = np.bincount(groups, value.by_log_penalty, n_groups) * slopes
        gradient = np.concatenate([value.by_center, by_group])[None]
        return Point(x, np.array([value.loss]), gradient, np.abs(gradient).max(axis=1))

    rule = LBFGS(x.shape, np.ones((1, 1)), 10)
    here = point(x)
    path = [(center, logs)]
    while len(path) <= max_iter:
        trial = point(rule.propose(here))
        accepted, stands = rule.accept(here, trial)
        if not accepted[0] and not stands[0]:
            continue
        # Where a step is so short that it stands still, it falls by nothing.
        if here.loss[0] - trial.loss[0] <= ENOUGH * here.loss[0]:
            break
        here = trial
        path.append((here.theta[0, :n].copy(), bounded(here.theta[0, n:])[0][groups]))
    return path


def bounded(x: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return MIDDLE + REACH tanh(x / REACH), and its slope."""
    twice = expm1(2 * x / REACH)
    tanh = twice / (twice + 2)
    return MIDDLE + REACH * tanh, 1 - tanh * tanh


def unbounded(logs: Float64Array) -> Float64Array:
    """Return x of the logarithms of penalties that `bounded` makes of it."""
    ratio = np.clip((logs - MIDDLE) / REACH, -0.99, 0.99)
    return REACH * (log1p(ratio) - log1p(-ratio)) / 2
