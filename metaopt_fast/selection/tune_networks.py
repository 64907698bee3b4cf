"""Learning rates and penalties of small networks, cross-validated: ``metaopt-fast tune``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.selection.folds import stratified_folds
from metaopt_fast.selection.networks import (
    BATCH_SIZE,
    Candidate,
    Effort,
    Ensemble,
    Rows,
    score_networks,
    train_networks,
)
from metaopt_fast.selection.tune import Prepare, ScoredCandidates, check_folds
from metaopt_fast.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Bounds of learning rates and of penalties, as `metaopt_fast.sklearn.NetworkSearchCV` draws them.
RATES, PENALTIES = (1e-3, 1e-1), (1e-6, 1e-2)
# Networks of a candidate and fold; the best by the rows that are held out within is scored.
N_STARTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class NetworkTuneResult(ScoredCandidates):
    """Scores of candidates for a learning rate and a penalty.

    Attributes
    ----------
    learning_rate, l2 : numpy.ndarray of shape (n_candidates,)
    scores : numpy.ndarray of shape (n_candidates, n_folds)
        Scores of the held-out rows of each fold, the greater the better.
    scoring : str
    ensemble : Ensemble
        The best candidate's network, trained on all rows.
    folds : numpy.ndarray of shape (n_samples,)
        The fold that holds out each row.
    elapsed : float
        Seconds.
    """

    learning_rate: Float64Array
    l2: Float64Array
    scores: Float64Array
    scoring: str
    ensemble: Ensemble
    folds: npt.NDArray[np.intp]
    elapsed: float

    def plot_scores(self, ax: Axes | None = None) -> Axes:
        """Draw the mean score of the folds against the learning rate, coloured by the penalty.

        Returns the matplotlib axes.
        """
        from metaopt_fast.plots import axes

        ax = axes("plot_scores", ax)
        order = self.learning_rate.argsort()
        rate, mean, error = self.learning_rate[order], self.mean[order], self.standard_error[order]
        ax.errorbar(rate, mean, error, fmt="none", ecolor="0.8", elinewidth=0.5, zorder=1)
        colours = ax.scatter(rate, mean, c=self.l2[order], s=12, norm="log")
        ax.figure.colorbar(colours, ax=ax, label="l2")
        best = self.best
        text = f"best: rate {self.learning_rate[best]:.3g}, l2 {self.l2[best]:.3g}"
        ax.plot(self.learning_rate[best], self.mean[best], "o", fillstyle="none", label=text)
        ax.set(xscale="log", xlabel="learning rate", ylabel=self.scoring, title="Cross-validation")
        ax.legend()
        return ax


@shielded
def tune_networks(
    X: Float64Array,
    y: npt.NDArray[np.uint8],
    n_candidates: int = 48,
    *,
    n_hidden: int = 16,
    cv: int = 5,
    scoring: str = "neg_log_loss",
    seed: int = 0,
    sample_weight: Float64Array | None = None,
    prepare: Prepare | None = None,
    n_threads: int | None = None,
) -> NetworkTuneResult:
    """Cross-validate networks of many learning rates and penalties.

    Parameters
    ----------
    X, y, cv, seed, sample_weight, prepare, n_threads
        As of `tune`.
    n_candidates : int, default 48
        Pairs to draw, log-uniform.
    n_hidden : int, default 16
        Units of the hidden layer.
    scoring : str, default "neg_log_loss"
        A name of `SCORES`, or, of more than two classes, of `MULTICLASS_SCORES`.

    Returns
    -------
    NetworkTuneResult
    """
    sizes = np.bincount(y, minlength=2)
    cv = check_folds(sizes, cv)
    started = time.perf_counter()
    bounds = [[log(bound) for bound in pair] for pair in (RATES, PENALTIES)]
    low, high = np.transpose(bounds)
    drawn = exp(Uniform(low, high).sample(seed, 0, n_candidates, 2))
    # Starts of their own, as `metaopt_fast.sklearn.NetworkSearchCV` has them.
    candidates = [
        Candidate(n_hidden, "relu", rate, l2, k * N_STARTS)
        for k, (rate, l2) in enumerate(drawn.tolist())
    ]
    # The rest as `metaopt_fast.sklearn.NetworkClassifier` has it.
    effort = Effort(
        n_starts=N_STARTS,
        n_kept=1,
        batch_size=BATCH_SIZE,
        max_iter=200,
        patience=10,
        min_delta=1e-4,
        held_out=0.1,
        seed=seed,
        dtype="float32",
        n_threads=n_threads,
    )
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    rows = Rows(X, y.astype(np.intp), len(sizes), weights)
    folds = stratified_folds(y, cv, seed)
    everything, scores = np.arange(len(X)), np.empty((n_candidates, cv))
    for k in range(cv):
        train, test = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        prepared = rows if prepare is None else rows._replace(X=prepare(train))
        found = score_networks([scoring], candidates, prepared, [(train, test)], effort)
        scores[:, k] = found[scoring][:, 0]
    best = candidates[int(scores.mean(axis=1).argmax())]
    prepared = rows if prepare is None else rows._replace(X=prepare(everything))
    return NetworkTuneResult(
        learning_rate=drawn[:, 0],
        l2=drawn[:, 1],
        scores=scores,
        scoring=scoring,
        ensemble=train_networks(prepared, [best], effort)[0],
        folds=folds,
        elapsed=time.perf_counter() - started,
    )
