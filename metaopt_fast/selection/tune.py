"""Candidates for C, cross-validated: what ``metaopt-fast tune`` does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.fitting.choice import standard_error, within_one_standard_error
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.selection.folds import Split, stratified_folds
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import MACHINE_SCORES, SCORES
from metaopt_fast.selection.splits import SplitFits, fit_splits, score_splits
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.text import count
from metaopt_fast.validation.values import check_integer, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Prepare = Callable[[IndexArray], Float64Array]


class ScoredCandidates:
    """Candidates with a score for each fold, the greater the better, and their order.

    Attributes
    ----------
    scores : numpy.ndarray of shape (n_candidates, n_folds)
    """

    __slots__ = ()
    scores: Float64Array

    @property
    def mean(self) -> Float64Array:
        """The mean score of each candidate, shape (n_candidates,)."""
        return np.asarray(self.scores.mean(axis=1))

    @property
    def standard_error(self) -> Float64Array:
        """The standard error of each mean, shape (n_candidates,)."""
        return np.asarray(standard_error(self.scores))

    @property
    def n_folds(self) -> int:
        """The number of times that each candidate was trained."""
        return int(self.scores.shape[1])

    @property
    def ranking(self) -> npt.NDArray[np.intp]:
        """The candidates from the best on; of equal ones, that of the lower index first."""
        return np.argsort(-self.mean, kind="stable")

    @property
    def best(self) -> int:
        """The candidate of the greatest mean score."""
        return int(self.ranking[0])


@dataclass(frozen=True, slots=True, eq=False)
class TuneResult(ScoredCandidates):
    """Scores of candidates for C.

    Attributes
    ----------
    C : numpy.ndarray of shape (n_candidates,)
        scikit-learn's: l1 + l2 is 1 / (C * number of training rows).
    scores : numpy.ndarray of shape (n_candidates, n_folds)
        Scores of the held-out rows of each fold, the greater the better.
    gap_bound : numpy.ndarray of shape (n_candidates, n_folds)
        Upper bounds of what each model's mean training loss with penalty is above its optimum.
    converged : numpy.ndarray of shape (n_candidates, n_folds), bool
    scoring : str
    theta : numpy.ndarray of shape (n_features + 1,), or (K, n_features + 1) of K > 2 classes
        Trained with the best C on all rows, the intercept last.
    folds : numpy.ndarray of shape (n_samples,)
        The fold that holds out each row.
    elapsed : float
        Seconds.
    l1_ratio : float
        scikit-learn's: l1 / (l1 + l2).
    loss : str
        Loss that the models were trained by, "logistic" or "squared_hinge".
    """

    C: Float64Array
    scores: Float64Array
    gap_bound: Float64Array
    converged: npt.NDArray[np.bool_]
    scoring: str
    theta: Float64Array
    folds: npt.NDArray[np.intp]
    elapsed: float
    l1_ratio: float = 0.0
    loss: str = "logistic"

    @property
    def n_nonzero(self) -> int:
        """The number of features that `theta` uses."""
        return int(np.count_nonzero(self.theta[..., :-1]))

    @property
    def one_standard_error(self) -> int:
        """The candidate of the smallest C within one standard error of the best."""
        everyone = np.ones(len(self.C), np.bool_)
        return within_one_standard_error(self.scores, -self.C, everyone, self.best)

    def plot_scores(self, ax: Axes | None = None) -> Axes:
        """Draw the mean score of the folds against C, with its standard error.

        Returns the matplotlib axes.
        """
        from metaopt_fast.plots import axes

        ax = axes("plot_scores", ax)
        order = self.C.argsort()
        C, mean, error = self.C[order], self.mean[order], self.standard_error[order]
        label = f"mean of {self.n_folds} folds"
        ax.errorbar(C, mean, error, fmt=".-", elinewidth=0.5, label=label)
        marks = {"best": self.best, "one standard error": self.one_standard_error}
        for marker, (name, index) in zip("os", marks.items(), strict=True):
            text = f"{name}: C = {self.C[index]:.3g}"
            ax.plot(self.C[index], self.mean[index], marker, fillstyle="none", zorder=3, label=text)
        ax.set(xscale="log", xlabel="C", ylabel=self.scoring, title="Cross-validation")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return (
            f"TuneResult: {len(self.C):,} candidates, {self.n_folds} folds\n"
            f"  best C        {self.C[self.best]:.6g}\n"
            f"  {self.scoring:<14}{self.mean[self.best]:.6g} "
            f"+- {self.standard_error[self.best]:.2g}"
        )


def check_folds(sizes: npt.NDArray[np.intp], cv: int) -> int:
    """Return the number of folds, if each can hold a row of each class, given the rows of these."""
    rarest, cv = int(sizes.min()), check_integer("cv", cv, 2)
    if rarest < cv:
        kind = "rarer" if len(sizes) == 2 else "rarest"
        cure = f"use at most {rarest} folds, or more rows" if rarest > 1 else "add rows of it"
        raise ValueError(
            f"the {kind} class has {count(rarest, 'row')}, too few for {cv} folds: {cure}."
        )
    return cv


@shielded
def tune(
    X: Float64Array,
    y: npt.NDArray[np.uint8],
    n_candidates: int = 200,
    *,
    cv: int = 5,
    scoring: str | None = None,
    seed: int = 0,
    low: float = 1e-4,
    high: float = 1e4,
    l1_ratio: float = 0.0,
    loss: str = "logistic",
    sample_weight: Float64Array | None = None,
    prepare: Prepare | None = None,
    n_threads: int | None = None,
) -> TuneResult:
    """Cross-validate models with l2 and l1 penalties over many C.

    Parameters
    ----------
    X : numpy.ndarray of shape (n_samples, n_features)
        What models are trained on, if there is no `prepare`.
    y : numpy.ndarray of shape (n_samples,)
        Labels from 0 to K - 1.
    n_candidates : int, default 200
        Number of values of C to draw, log-uniform from `low` to `high`.
    cv : int, default 5
        Number of folds, stratified and in random order by `seed`.
    scoring : str, optional
        Name of the score, one of `metaopt_fast.selection.scores.SCORES`, or, of more than two
        classes, of `multiclass_scores.MULTICLASS_SCORES`, or, of support vector machines, of
        `scores.MACHINE_SCORES`. By default neg_log_loss, and accuracy of machines.
    seed : int, default 0
        Seed of the candidates and of the folds.
    low, high : float
        Bounds of C.
    l1_ratio : float, default 0.0
        Part of the l1 penalty, from 0 to 1.
    loss : {"logistic", "squared_hinge"}, default "logistic"
        Loss of a row: logistic regressions, or linear support vector machines, which have two
        classes and no l1 penalty.
    sample_weight : numpy.ndarray of shape (n_samples,), optional
        Weights of the rows, in training and in scores.
    prepare : callable, optional
        Function of the numbers of training rows, that returns the columns of all rows as they are
        prepared by these: it is asked for the training rows of each fold, then for all. Without
        it, X is the same for all folds.
    n_threads : int, optional

    Returns
    -------
    TuneResult

    Examples
    --------
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, _ = load_breast_cancer()
    >>> result = tune((X - X.mean(axis=0)) / X.std(axis=0), y, 20)
    >>> result.scores.shape
    (20, 5)
    """
    sizes = np.bincount(y, minlength=2)
    is_machine = loss == "squared_hinge"
    known = list(SCORES if len(sizes) == 2 else MULTICLASS_SCORES)
    known = list(MACHINE_SCORES) if is_machine else known
    if scoring is None:
        scoring = "accuracy" if is_machine else "neg_log_loss"
    if scoring not in known:
        raise ValueError(f"scoring is {describe(scoring)}: pass one of {', '.join(known)}.")
    cv = check_folds(sizes, cv)
    if not 0 < low <= high < math.inf:
        raise ValueError(f"C is to be from {low:g} to {high:g}: pass 0 < low <= high.")
    if not 0 <= l1_ratio <= 1:
        raise ValueError(f"l1_ratio is {l1_ratio:g}: pass a number from 0 to 1.")
    started = time.perf_counter()
    least = log(low)
    exponents = Uniform(least, max(log(high), math.nextafter(least, math.inf)))
    C = np.clip(exp(exponents.sample(seed, 0, n_candidates, 1)[:, 0]), low, high)
    folds = stratified_folds(y, cv, seed)
    parts = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(cv)]
    data = _Data(X, y.astype(np.intp), sample_weight, prepare, l1_ratio, loss, n_threads)
    # Columns that are the same for all folds are one computation.
    runs = [parts] if prepare is None else [[part] for part in parts]
    found = [data.cross_validate(run, C, scoring) for run in runs]
    scores, gap_bound, converged = (
        np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True)
    )
    everything = np.arange(len(X))
    last, _ = data.fit([(everything, everything)], C[[scores.mean(axis=1).argmax()]])
    return TuneResult(
        C=C,
        scores=scores,
        gap_bound=gap_bound,
        converged=converged,
        scoring=scoring,
        theta=last.theta[0, 0],
        folds=folds,
        elapsed=time.perf_counter() - started,
        l1_ratio=l1_ratio,
        loss=loss,
    )


class _Data(NamedTuple):
    """Rows, and how their columns are prepared."""

    X: Float64Array
    codes: IndexArray
    weights: Float64Array | None
    prepare: Prepare | None
    l1_ratio: float
    loss: str
    n_threads: int | None

    def fit(self, splits: list[Split], C: Float64Array) -> tuple[SplitFits, Float64Array]:
        """Return models of splits with the columns that they share, and these columns."""
        X = self.X if self.prepare is None else self.prepare(splits[0][0])
        fits = fit_splits(
            X,
            self.codes,
            splits,
            C=C,
            class_weight=[None] * len(C),
            l1_ratio=self.l1_ratio,
            loss=self.loss,
            sample_weight=self.weights,
            n_threads=self.n_threads,
        )
        return fits, X

    def cross_validate(
        self, splits: list[Split], C: Float64Array, scoring: str
    ) -> tuple[Float64Array, Float64Array, npt.NDArray[np.bool_]]:
        """Return scores, bounds of gaps, and what has converged, each of C and split."""
        fits, X = self.fit(splits, C)
        scores = score_splits([scoring], fits.theta, X, self.codes, splits, self.weights)
        return scores[scoring], fits.gap_bound, fits.converged
