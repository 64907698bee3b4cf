"""What ``metaopt-fast tune`` does: candidates for C, cross-validated, and a report of the best."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.cli.report import data_to_dict, data_to_lines, draw, lines_to_text
from metaopt_fast.files.table import Table
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.selection.scores import METRICS
from metaopt_fast.selection.splits import fit_splits, score_splits
from metaopt_fast.sklearn.cv_results import standard_error, within_one_standard_error
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import check_integer, describe

# Random numbers of the folds: far behind those of any candidate, so that one more moves no row.
FOLD_START = 2**62

SHOWN = 10


@dataclass(frozen=True, slots=True, eq=False)
class TuneResult:
    """Scores of candidates for C.

    Attributes
    ----------
    C : numpy.ndarray of shape (n_candidates,)
        scikit-learn's: l2 is 1 / (C * number of training rows).
    scores : numpy.ndarray of shape (n_candidates, n_folds)
        Of the held-out rows of each fold, the greater the better.
    gap_bound : numpy.ndarray of shape (n_candidates, n_folds)
        What each model's mean training loss with penalty is above its optimum, at most.
    converged : numpy.ndarray of shape (n_candidates, n_folds), bool
    scoring : str
    theta : numpy.ndarray of shape (n_features + 1,)
        Trained with the best C on all rows, the intercept last.
    folds : numpy.ndarray of shape (n_samples,)
        The fold that holds out each row.
    elapsed : float
        Seconds.
    """

    C: Float64Array
    scores: Float64Array
    gap_bound: Float64Array
    converged: npt.NDArray[np.bool_]
    scoring: str
    theta: Float64Array
    folds: npt.NDArray[np.intp]
    elapsed: float

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
        """How many times each candidate was trained."""
        return int(self.scores.shape[1])

    @property
    def ranking(self) -> npt.NDArray[np.intp]:
        """The candidates from the best on; of equal ones, that of the lower index first."""
        return np.argsort(-self.mean, kind="stable")

    @property
    def best(self) -> int:
        """The candidate of the greatest mean score."""
        return int(self.ranking[0])

    @property
    def one_standard_error(self) -> int:
        """The candidate of the smallest C within one standard error of the best."""
        return within_one_standard_error(self.scores, self.C, [None] * len(self.C), self.best)

    def plot_scores(self, ax: Any = None) -> Any:
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


@shielded
def tune(
    X: Float64Array,
    y: npt.NDArray[np.uint8],
    n_candidates: int = 200,
    *,
    cv: int = 5,
    scoring: str = "neg_log_loss",
    seed: int = 0,
    low: float = 1e-4,
    high: float = 1e4,
    n_threads: int | None = None,
) -> TuneResult:
    """Cross-validate logistic regressions with an l2 penalty over many C.

    Parameters
    ----------
    X : numpy.ndarray of shape (n_samples, n_features)
    y : numpy.ndarray of shape (n_samples,)
        Labels 0 and 1.
    n_candidates : int, default 200
        How many values of C to draw, log-uniform from `low` to `high`.
    cv : int, default 5
        How many folds, stratified and in random order, both by `seed`.
    scoring : str, default "neg_log_loss"
        One of `metaopt_fast.selection.scores.METRICS`.
    seed : int, default 0
    low, high : float
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
    if scoring not in METRICS:
        raise ValueError(f"scoring is {describe(scoring)}: pass one of {', '.join(METRICS)}.")
    rarest, cv = int(np.bincount(y, minlength=2).min()), check_integer("cv", cv, 2)
    if rarest < cv:
        raise ValueError(
            f"the rarer class has {rarest} rows, too few for {cv} folds: use at most {rarest} "
            "folds, and at least 2, or more rows."
        )
    if not 0 < low <= high < math.inf:
        raise ValueError(f"C is to be from {low:g} to {high:g}: pass 0 < low <= high.")
    started = time.perf_counter()
    least = log(low)
    exponents = Uniform(least, max(log(high), math.nextafter(least, math.inf)))
    C = np.clip(exp(exponents.sample(seed, 0, n_candidates, 1)[:, 0]), low, high)
    folds = stratified_folds(y, cv, seed)
    parts = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(cv)]
    positive = y == 1
    fits = fit_splits(
        X, positive, parts, C=C, class_weight=[None] * n_candidates, n_threads=n_threads
    )
    scores = score_splits([scoring], fits.theta, X, positive, parts)[scoring]
    everything = np.arange(len(X))
    last = fit_splits(
        X,
        positive,
        [(everything, everything)],
        C=C[[scores.mean(axis=1).argmax()]],
        class_weight=[None],
        n_threads=n_threads,
    )
    return TuneResult(
        C=C,
        scores=scores,
        gap_bound=fits.gap_bound,
        converged=fits.converged,
        scoring=scoring,
        theta=last.theta[0, 0],
        folds=folds,
        elapsed=time.perf_counter() - started,
    )


def stratified_folds(y: npt.NDArray[Any], n_folds: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the fold of each row: as many rows of each class in every fold, but for one.

    Examples
    --------
    >>> folds = stratified_folds(np.array([0, 1, 1, 0, 1, 1, 0]), 2, seed=0)
    >>> np.bincount(folds).tolist()
    [4, 3]
    """
    keys = Uniform(0.0, 1.0).sample(seed, FOLD_START, len(y), 1)[:, 0]
    folds = np.empty(len(y), np.intp)
    folds[np.lexsort((keys, y))] = np.arange(len(y)) % n_folds
    return folds


@dataclass(frozen=True, slots=True, eq=False)
class TuneReport:
    """A tuning, as the command line tells it.

    Attributes
    ----------
    settings : dict
        Which data, prepared how, and which candidates.
    table : Table
        The data as the models were trained on.
    standardization : tuple of two arrays of shape (n_features,), or None
        What was subtracted from each feature, and what it was divided by then.
    result : TuneResult
    isa : str
    n_threads : int
    """

    settings: dict[str, Any]
    table: Table
    standardization: tuple[Float64Array, Float64Array] | None
    result: TuneResult
    isa: str
    n_threads: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        table, result = self.table, self.result
        return {
            "best": self._candidate(result.best),
            "theta": result.theta.tolist(),
            "one_standard_error": self._candidate(result.one_standard_error),
            "candidates": [self._candidate(int(index)) for index in result.ranking],
            "scoring": result.scoring,
            "n_folds": result.n_folds,
            "n_models": result.scores.size,
            "n_converged": int(result.converged.sum()),
            "elapsed": result.elapsed,
            "isa": self.isa,
            "n_threads": self.n_threads,
            "config": {key: self.settings[key] for key in ("seed", "low", "high")},
            "data": data_to_dict(self.settings, table, self.standardization),
        }

    def _candidate(self, index: int) -> dict[str, Any]:
        result = self.result
        bound = float(result.gap_bound[index].max())
        return {
            "index": index,
            "C": float(result.C[index]),
            "mean": float(result.mean[index]),
            "standard_error": float(result.standard_error[index]),
            "scores": result.scores[index].tolist(),
            "gap_bound": bound if math.isfinite(bound) else None,
            "converged": bool(result.converged[index].all()),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """Return tables for a terminal."""
        parts = [self._what(), self._found(), self._ranking()]
        return lines_to_text(parts)

    def _what(self) -> list[tuple[str, str]]:
        settings, result = self.settings, self.result
        standardized = "standardized over all rows, before the folds are cut"
        prepared = standardized if self.standardization else "as they are"
        return [
            *data_to_lines(settings, self.table, prepared),
            ("model", "logistic, with intercept, l2 = 1 / (C * training rows)"),
            (
                "candidates",
                f"{len(result.C):,} values of C, log-uniform from {settings['low']:g} to "
                f"{settings['high']:g}, seed {settings['seed']}",
            ),
            ("score", f"{result.scoring} of {result.n_folds} stratified folds"),
        ]

    def _found(self) -> list[tuple[str, str]]:
        result, frugal = self.result, self.result.one_standard_error
        n_models, n_converged = result.scores.size, int(result.converged.sum())
        how = "all converged" if n_converged == n_models else f"{n_converged:,} converged"
        return [
            ("best C", f"{result.C[result.best]:.6g}"),
            (
                "within one s. e.",
                f"{result.C[frugal]:.6g}, the smallest C, at {self._mean(frugal)}",
            ),
            ("models", f"{n_models:,}, {how}"),
            ("seconds", f"{result.elapsed:.3f}, {1e3 * result.elapsed / n_models:.3g} ms a model"),
            ("threads", f"{self.n_threads}"),
            ("instruction set", self.isa),
        ]

    def _mean(self, index: int) -> str:
        return f"{self.result.mean[index]:.6g}"

    def _ranking(self) -> list[tuple[str, str]]:
        result = self.result
        lines = [("rank", f"{'C':<14}{'mean':<14}{'standard error':<18}gap bound")]
        for rank, index in enumerate(result.ranking[:SHOWN], start=1):
            error = f"{result.standard_error[index]:.3g}"
            figures = f"{result.C[index]:<14.6g}{self._mean(int(index)):<14}{error:<18}"
            lines.append((f"{rank:>4}", f"{figures}{result.gap_bound[index].max():.1e}"))
        return lines

    def to_picture(self, kind: str) -> bytes:
        """Return the mean score against C as a PNG, SVG or PDF file."""
        return draw(self.result.plot_scores, kind)
