"""The search of hyper-parameters of logistic regression, in scikit-learn's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.fitting.choice import within_one_standard_error
from metaopt_fast.selection.folds import Split
from metaopt_fast.selection.splits import fit_splits, score_splits
from metaopt_fast.sklearn.candidates import CandidateSearch, LogUniformDraw
from metaopt_fast.sklearn.classifier import (
    Given,
    check_C,
    check_class_weight,
    check_l1_ratio,
    to_double,
    warn_unless_converged,
)
from metaopt_fast.sklearn.cv_results import make_results
from metaopt_fast.sklearn.regression import LogisticRegression
from metaopt_fast.sklearn.scoring import Scoring, check_scoring, score_by_others, scorer_of
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.values import check_flag

__all__ = ["LogisticRegression", "LogisticRegressionSearchCV"]


class LogisticRegressionSearchCV(CandidateSearch):
    """Search of C, l1_ratio and class weights by cross-validation: all models as one computation.

    What RandomizedSearchCV over LogisticRegression does, to the optimum and much faster. Sample
    weights weigh the held-out rows of a score as well as the training rows.

    Parameters
    ----------
    n_iter : int, default 100
        Number of candidates to draw.
    candidates : dict, optional
        "C", "l1_ratio" and "class_weight", each a list or a distribution (with a method rvs) as for
        RandomizedSearchCV: of lists alone, `n_iter` combinations are drawn without replacement, or
        all are taken if there are no more. Without "C", it is log-uniform from 1e-4 to 1e4.
    cv : int, splitter or iterable of (train, test), default 5
        Splits, as everywhere in scikit-learn: an int is the number of stratified folds; `train` and
        `test` are numbers of rows, those below 0 counted from the end, or masks of all rows.
    scoring : str, callable, or list, tuple or dict of them, default "neg_log_loss"
        neg_log_loss, accuracy, balanced_accuracy, f1, roc_auc, brier (the negative one: the greater
        the better; also neg_brier_score). The positive class is the second one of `classes_`. Of
        more than two classes: neg_log_loss, accuracy, balanced_accuracy, f1_macro, f1_weighted,
        roc_auc_ovr. These are computed for all models at once; the names of scikit-learn's other
        scorers, and functions of an estimator, X and y (and `sample_weight`, where fit has it) that
        return a number, are called for one model after the other. A dict gives names of your own.
    refit : bool, str or callable, default True
        Whether the best candidate is trained on all rows; of several scores, the name of the one
        that decides. A callable gets `cv_results_` and returns an index.
    random_state : int, RandomState or None, default None
        Source of the random numbers that candidates are drawn by.
    one_standard_error : bool, default False
        Whether the best candidate is, of those with its class weight and l1_ratio whose mean score
        is within one standard error of its own, the one with the smallest C.
    l1_ratio, class_weight, fit_intercept, tol, max_iter, n_threads
        See `LogisticRegression`; candidates' l1_ratio and class_weight go before.

    Attributes
    ----------
    cv_results_ : dict of str to array
        Table of the candidates, as of RandomizedSearchCV. Models are trained together: each one's
        time is its share.
    best_index_, best_params_, best_score_
        The best candidate, and its mean score.
    best_estimator_ : LogisticRegression
        Estimator of the best candidate, trained on all rows, if `refit`.
    coef_, intercept_ : numpy.ndarray
        Those of `best_estimator_`.
    C_ : numpy.ndarray of shape (1,)
        Its C.
    classes_ : numpy.ndarray of shape (n_classes,)
    scorer_ : callable, or dict of them for several scores
    gap_bounds_ : numpy.ndarray of shape (n_candidates, n_splits)
        Bounds of each model; see `LogisticRegression`.
    certified_ : numpy.ndarray of shape (n_candidates, n_splits), bool
    n_splits_, multimetric_, refit_time_, n_features_in_, feature_names_in_
        Attributes of the same meaning as of RandomizedSearchCV.

    Examples
    --------
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> from metaopt_fast.sklearn import LogisticRegressionSearchCV
    >>> X, y, _ = load_breast_cancer()
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> search = LogisticRegressionSearchCV(candidates={"C": [0.01, 0.1, 1.0]}).fit(X, y)
    >>> search.best_params_, round(search.best_score_, 3)
    ({'C': 1.0}, -0.08)
    """

    gap_bounds_: Float64Array
    certified_: BoolArray
    n_splits_: int
    multimetric_: bool
    best_score_: float
    best_index_: int
    best_estimator_: LogisticRegression
    n_iter_: npt.NDArray[np.int32]
    intercept_: Array
    refit_time_: float

    names = ("C", "l1_ratio", "class_weight")

    cv_results_: dict[str, Any]

    def __init__(
        self,
        n_iter: int = 100,
        candidates: Mapping[str, Any] | None = None,
        cv: Any = 5,
        scoring: Scoring = "neg_log_loss",
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        random_state: Any = None,
        *,
        one_standard_error: bool = False,
        l1_ratio: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        max_iter: int = 100,
        n_threads: int | None = None,
    ) -> None:
        self.n_iter = n_iter
        self.candidates = candidates
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.random_state = random_state
        self.one_standard_error = one_standard_error
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Search on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        `groups` of shape (n_samples,) is for splitters of groups. Warns with a ConvergenceWarning
        where models have not converged.
        """
        check_flag("one_standard_error", self.one_standard_error)
        given, codes, weights = self._training_data(X, y, sample_weight)
        data, _ = to_double(given)
        metrics = check_scoring(self.scoring, len(self.classes_), takes_any=True)
        decisive = self._decisive(metrics)
        params = self._draw({"C": LogUniformDraw(1e-4, 1e4)})
        labels = self.classes_[codes]
        splits = self._splits(data, labels, groups)
        started = time.perf_counter()
        fits = fit_splits(
            data,
            codes,
            splits,
            C=np.array([check_C(candidate["C"]) for candidate in params]),
            class_weight=self._class_weights(params),
            l1_ratio=self._l1_ratios(params),
            sample_weight=weights,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            n_threads=self.n_threads,
        )
        fitted = time.perf_counter()
        scores = self._scores(metrics, fits.theta, data, codes, splits, weights)
        scored = time.perf_counter()

        self.cv_results_ = make_results(params, scores, fitted - started, scored - fitted)
        self.gap_bounds_, self.certified_ = fits.gap_bound, fits.certified
        self.n_splits_, self.multimetric_ = len(splits), "score" not in metrics
        scorers = {name: scorer_of(metric, self.classes_) for name, metric in metrics.items()}
        self.scorer_ = scorers if self.multimetric_ else scorers["score"]
        status = fits.status
        if decisive is not None or self.refit:
            self._choose(decisive, scores)
        if self.refit:
            start = fits.theta[self.best_index_].mean(axis=0)
            refitted = self._train_best(given, codes, weights, start)
            status = np.append(status, refitted)
        warn_unless_converged(status, self.max_iter)
        return self

    def _scores(
        self,
        metrics: Mapping[str, Any],
        thetas: Float64Array,
        X: Float64Array | SparseRows,
        codes: IndexArray,
        splits: list[Split],
        weights: Float64Array | None,
    ) -> dict[str, Float64Array]:
        """Return the scores of all models by their names: those that are computed here together,
        others by their scorers."""
        own = {name: metric for name, metric in metrics.items() if isinstance(metric, str)}
        found = score_splits(own.values(), thetas, X, codes, splits, weights)
        scores = {name: found[metric] for name, metric in own.items()}
        others = {name: metric for name, metric in metrics.items() if name not in own}
        if others:
            labels = self.classes_[codes]
            scores |= score_by_others(
                others, self._estimator_of, thetas, X, labels, splits, weights
            )
        return {name: scores[name] for name in metrics}

    def _estimator_of(self, theta: Float64Array) -> LogisticRegression:
        """Return a fitted estimator of parameters, of columns without names."""
        estimator = LogisticRegression(fit_intercept=self.fit_intercept)
        estimator.classes_, estimator.n_features_in_ = self.classes_, self.n_features_in_
        estimator._keep(np.atleast_2d(theta), self.n_features_in_, np.dtype(np.float64))
        return estimator

    def _class_weights(self, params: list[dict[str, Any]]) -> list[Any]:
        """Return the class weights of the candidates, dicts with the classes' numbers."""
        given = [candidate.get("class_weight", self.class_weight) for candidate in params]
        return [check_class_weight(choice, self.classes_) for choice in given]

    def _l1_ratios(self, params: list[dict[str, Any]]) -> Float64Array:
        """Return the parts of the l1 penalty of the candidates."""
        given = [candidate.get("l1_ratio", self.l1_ratio) for candidate in params]
        return np.array([check_l1_ratio(ratio, len(self.classes_)) for ratio in given])

    def _simplest(self, scores: Float64Array, best: int) -> int:
        """Return the smallest C that is as good as the best, if that is wanted."""
        if not self.one_standard_error:
            return best
        params = self.cv_results_["params"]
        C = np.array([candidate["C"] for candidate in params])
        others = [
            (candidate.get("l1_ratio"), candidate.get("class_weight")) for candidate in params
        ]
        is_alike = np.array([other == others[best] for other in others])
        return within_one_standard_error(scores, -C, is_alike, best)

    def _train_best(
        self,
        X: Given,
        codes: IndexArray,
        weights: Float64Array | None,
        start: Float64Array,
    ) -> npt.NDArray[np.str_]:
        """Set best_estimator_, trained on all rows, and say how that ended."""
        started = time.perf_counter()
        shared = ("fit_intercept", "tol", "max_iter", "n_threads")
        settings = {name: getattr(self, name) for name in shared}
        settings |= {"l1_ratio": self.l1_ratio, "class_weight": self.class_weight}
        settings |= self.best_params_
        best = self.best_estimator_ = LogisticRegression(**settings)
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(best, name, getattr(self, name))
        status = best._train(X, codes, weights, start, best.C, best.l1_ratio)
        self.n_iter_ = best.n_iter_
        # As LogisticRegressionCV has them.
        self.coef_, self.intercept_ = best.coef_, best.intercept_
        self.C_ = np.array([float(self.best_params_["C"])])
        self.refit_time_ = time.perf_counter() - started
        return status
