"""A prior for the models of tasks that are not yet seen, learned from tasks that are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy.typing as npt

from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.result import FitResult, names_of, reasons_of
from metaopt_fast.fitting.task_rows import TaskPenalties
from metaopt_fast.fitting.tasks import Grouped, fit_grouped
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.selection.episodes import MOST_EPISODES, Episodes, check_tasks, draw_episodes
from metaopt_fast.selection.rungs import LEVELS, Ladder
from metaopt_fast.typing import Float64Array, Label
from metaopt_fast.validation.values import check_flag, check_integer, describe

# Features of a prior at most: those of models that are fitted side by side.
MOST_FEATURES = 127


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What models of unseen tasks are drawn to, and how strongly: theta_j is taken to be normal
    around center[j], with variance 1 / penalty[j].

    Attributes
    ----------
    level : str
        "plain": the centre is 0, with one penalty for the features and one for the intercept;
        "pooled": the centre is the model of the rows of all tasks; "center": it was learned;
        "penalties": a penalty for each parameter was learned, too.
    center, penalty : numpy.ndarray of shape (n_params,)
        The intercept last. A task's objective is the sum of its rows' losses, plus
        sum_j penalty[j] / 2 (theta_j - center[j])^2.
    held_out : dict of str to numpy.ndarray of shape (n_folds,)
        Mean loss of each level that was tried on the tasks of each fold, which had no part in it.
        That of the level chosen is optimistic: judge a prior by tasks that it was not learned from.
    trace : dict of str to numpy.ndarray
        Mean loss on tasks left out after each step of what was learned by steps; the least one
        ends it.
    n_tasks : int
    classes : list
    feature_names : tuple of str
    fit_intercept : bool
    interrupted : bool
        Whether Ctrl-C came before all levels were tried: `level` is chosen from those in
        `held_out`.
    """

    level: str
    center: Float64Array
    penalty: Float64Array
    held_out: Mapping[str, Float64Array]
    trace: Mapping[str, Float64Array]
    n_tasks: int
    classes: list[Label]
    feature_names: tuple[str, ...]
    fit_intercept: bool
    interrupted: bool

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        tasks: npt.ArrayLike | None = None,
        *,
        tol: float = 1e-8,
        max_iter: int = 100,
        n_threads: int | None = None,
    ) -> FitResult:
        """Fit a model with this prior to all rows, or one to those of each task.

        The same by hand, for n rows: ``fit_many(X, y, l2=1 / n, center=prior.center,
        penalty_factor=prior.penalty)``. Rows of one class alone will do where there is an
        intercept, since it has a penalty.

        Parameters
        ----------
        X, y : array_like of shape (n_samples, n_features) and (n_samples,)
            Rows, with the labels that the prior was learned from.
        tasks : array_like of shape (n_samples,), optional
            The task of each row, as of `fit_tasks`.
        tol, max_iter, n_threads : as of `fit_tasks`

        Returns
        -------
        FitResult
            Its `l2` is 1 / n, by task.
        """
        effort = Effort.of(tol, max_iter, n_threads)
        grouped = Grouped.of(X, y, tasks, self.classes)
        if grouped.X.shape[1] != len(self.feature_names):
            raise ValueError(
                f"X has {grouped.X.shape[1]} columns, but the prior is of "
                f"{len(self.feature_names)}: pass the same ones."
            )
        penalties = TaskPenalties(1 / grouped.counts, self.penalty[None], self.center[None])
        fits = fit_grouped(grouped, None, penalties, self.fit_intercept, effort)
        fits = replace(fits, feature_names=names_of(X, grouped.X.shape[1]))
        if reasons := reasons_of(fits.status, max_iter):
            warnings.warn(reasons, RuntimeWarning, stacklevel=2)
        return fits

    def __repr__(self) -> str:
        means = {level: float(losses.mean()) for level, losses in self.held_out.items()}
        ending = ", interrupted" if self.interrupted else ""
        lines = [f"Prior of {self.n_tasks:,} tasks, level {self.level!r}{ending}"]
        for level, mean in means.items():
            lines.append(f"  {level:10} {mean:.6g} on tasks left out")
        if self.level == "plain" and len(means) > 1:
            best = min(mean for level, mean in means.items() if level != "plain")
            lines.append(f"  no gain over plain models: {best:.4g} v {means['plain']:.4g}")
        return "\n".join(lines)


@shielded
def learn_prior(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    tasks: npt.ArrayLike,
    *,
    n_support: int | tuple[int, int] = 20,
    n_episodes: int = 12,
    level: str = "auto",
    folds: int = 4,
    max_iter: int = 30,
    fit_intercept: bool = True,
    seed: int = 0,
    progress: bool | str = False,
    n_threads: int | None = None,
) -> Prior:
    """Learn from many tasks what the models of further ones, of few rows each, are drawn to.

    An episode takes some rows of a task to fit its model, and judges it by others. Four levels of
    what may be learned, each with the ones before it: nothing but the strength of a penalty; to
    shrink models to the one of all rows; the centre; a penalty for each parameter. Each has to beat
    the level chosen so far on *tasks* that were left out, clearly: otherwise the simpler one stays,
    and tasks that have nothing in common cost nothing.

    Tasks must share no rows, and no subjects that rows stand for, or those left out are not unseen.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Features of similar scales, as `standardize` makes them; 127 at most.
    y : array_like of shape (n_samples,)
        Labels of two classes.
    tasks : array_like of shape (n_samples,)
        The task of each row: numbers or strings. Each task has two rows of each class at least.
    n_support : int or pair of int, default 20
        How many rows an episode's model is fitted to: as many as new tasks will have. Of a pair,
        numbers between both, smaller ones as often as larger ones by their logarithm.
    n_episodes : int, default 12
        Episodes of each task; episode e of task t is a pure function of (seed, t, e) and its rows.
    level : {"auto", "plain", "pooled", "center", "penalties"}, default "auto"
        The level, if it is not to be chosen.
    folds : int, default 4
        Parts of the tasks of which each is left out.
    max_iter : int, default 30
        Steps by which centres and penalties are learned, at most.
    fit_intercept : bool, default True
    seed : int, default 0
    progress : bool or "always", default False
        Whether to show a line on stderr, if that is a terminal, or "always": it counts levels, and
        what is learned by steps without each fold.
    n_threads : int, optional

    Returns
    -------
    Prior
        After Ctrl-C, that of "auto" among the levels that were tried, with `interrupted`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or a task has too few rows.

    References
    ----------
    G. Denevi, C. Ciliberto, D. Stamos and M. Pontil, "Learning to learn around a common mean",
    NeurIPS 2018. A. Rajeswaran, C. Finn, S. Kakade and S. Levine, "Meta-learning with implicit
    gradients", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> rng = np.random.default_rng(0)
    >>> tasks = np.repeat(np.arange(24), 60)
    >>> theta = np.array([2.0, -1.0, 0.0]) + 0.3 * rng.normal(size=(24, 3))
    >>> X = rng.normal(size=(len(tasks), 3))
    >>> y = (X * theta[tasks]).sum(axis=1) + rng.logistic(size=len(tasks)) > 0
    >>> prior = mf.learn_prior(X, y, tasks, n_support=10)
    >>> prior.level
    'pooled'
    >>> fits = prior.fit(X[:10], y[:10])
    >>> fits.theta.shape, bool(fits.certified.all())
    ((1, 4), True)
    """
    check_options(None, progress, None)
    effort = Effort.of(1e-8, 100, n_threads)
    n_episodes = check_integer("n_episodes", n_episodes, 1, MOST_EPISODES)
    max_iter = check_integer("max_iter", max_iter, 1)
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    if not isinstance(level, str) or level not in ("auto", *LEVELS):
        names = ", ".join(map(repr, ("auto", *LEVELS)))
        raise ValueError(f"level is {describe(level)}: pass one of {names}.")
    grouped = Grouped.of(X, y, tasks)
    n_features = grouped.X.shape[1]
    if not 1 <= n_features <= MOST_FEATURES:
        raise ValueError(
            f"X has {n_features} columns: pass 1 to {MOST_FEATURES} features to learn a prior of."
        )
    sizes = check_tasks(grouped, n_support)
    n_tasks = len(grouped.counts)
    folds = check_integer("folds", folds, 2, n_tasks)
    drawn = draw_episodes(grouped, sizes, n_episodes, seed)
    episodes = Episodes(grouped, fit_intercept, effort, drawn)
    ladder = Ladder(episodes, folds, max_iter, seed)
    with Progress(progress, ladder.n_updates(level), 0, None) as line:
        chosen = ladder.climb(level, line)
    return Prior(
        chosen.level,
        chosen.center,
        chosen.penalty,
        ladder.held_out(),
        ladder.trace,
        n_tasks,
        grouped.classes,
        names_of(X, n_features),
        fit_intercept,
        ladder.is_interrupted,
    )
