"""What searches of candidates by cross-validation share, in scikit-learn's protocol."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.selection.folds import Split, check_splits
from metaopt_fast.sklearn.classifier import CheckedClassifier, splits_of
from metaopt_fast.typing import Float64Array, LabelArray
from metaopt_fast.validation.values import check_integer, describe


@dataclass(frozen=True, slots=True)
class LogUniformDraw:
    """A log-uniform distribution; scipy's takes longer to draw than a model to train."""

    low: float
    high: float

    def rvs(self, random_state: np.random.RandomState) -> float:
        """Return one number."""
        return exp(random_state.uniform(log(self.low), log(self.high)))


def refits(search: Any) -> bool:
    """Whether a search has an estimator that predicts; raise AttributeError if not."""
    if not search.refit:
        raise AttributeError("refit is False: pass refit=True to have an estimator that predicts.")
    return True


class CandidateSearch(CheckedClassifier):
    """Draw candidates, split the rows, choose the best, and predict as it does.

    Attributes
    ----------
    names : tuple of str
        What a candidate may say.
    """

    names: ClassVar[tuple[str, ...]]
    n_iter: int
    candidates: Mapping[str, Any] | None
    cv: Any
    refit: Any
    random_state: Any
    best_estimator_: Any
    scorer_: Any
    cv_results_: dict[str, Any]

    best_index_: int

    def _splits(
        self, X: Float64Array | SparseRows, labels: npt.NDArray[Any], groups: Any
    ) -> list[Split]:
        """Return the splits that the caller or the splitter gives: the numbers of their rows."""
        splits = check_splits(splits_of(self.cv, X, labels, groups), len(X))
        if not splits:
            raise ValueError(f"cv is {describe(self.cv)}, which has no split: pass at least one.")
        return splits

    def _decisive(self, metrics: dict[str, str]) -> str | None:
        """Return the name of the score that decides, or None if none does."""
        if not isinstance(self.refit, (bool, np.bool_, str)) and not callable(self.refit):
            raise TypeError(
                f"refit is {describe(self.refit)}: pass True, False, the name of a score, or a "
                "function of cv_results_."
            )
        if "score" in metrics and self.refit != "":
            return "score"
        if callable(self.refit) or self.refit is False:
            return None
        if self.refit not in metrics:
            raise ValueError(
                f"refit is {self.refit!r}: pass the name of the score that decides, one of "
                f"{', '.join(metrics)}, or False."
            )
        return str(self.refit)

    def _draw(self, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the candidates, by their own distributions or lists, else by the defaults."""
        # More than a list can hold is too much for memory, too.
        n_iter = min(check_integer("n_iter", self.n_iter, 1), sys.maxsize)
        given = {} if self.candidates is None else self.candidates
        if not isinstance(given, Mapping) or not set(given) <= set(self.names):
            *most, last = map(repr, self.names)
            raise ValueError(
                f"candidates is {describe(given)}: pass a dict of {', '.join(most)} and {last}, "
                "each a list or a distribution."
            )
        space = {**defaults, **given}
        if not any(hasattr(values, "rvs") for values in space.values()):
            n_iter = min(n_iter, len(ParameterGrid(space)))
        return list(ParameterSampler(space, n_iter, random_state=self.random_state))

    def _choose(self, decisive: str | None, scores: dict[str, Float64Array]) -> None:
        """Set best_index_, best_params_ and best_score_."""
        params = self.cv_results_["params"]
        if callable(self.refit):
            best = check_integer("refit's index", self.refit(self.cv_results_), 0, len(params) - 1)
        else:
            best = int(self.cv_results_[f"rank_test_{decisive}"].argmin())
            best = self._simplest(scores[str(decisive)], best)
            self.best_score_: float = float(self.cv_results_[f"mean_test_{decisive}"][best])
        self.best_index_, self.best_params_ = best, params[best]

    def _simplest(self, scores: Float64Array, best: int) -> int:
        """Return the candidate to take in the place of the best one: itself."""
        return best

    @available_if(refits)  # type: ignore[untyped-decorator]
    def decision_function(self, X: npt.ArrayLike) -> Float64Array:
        """Return the best estimator's decision value of each row."""
        check_is_fitted(self)
        found: Float64Array = self.best_estimator_.decision_function(X)
        return found

    @available_if(refits)  # type: ignore[untyped-decorator]
    def predict(self, X: npt.ArrayLike) -> LabelArray:
        """Return the label of each row by the best estimator."""
        check_is_fitted(self)
        found: npt.NDArray[Any] = self.best_estimator_.predict(X)
        return found

    @available_if(refits)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the probability of each class by the best estimator."""
        check_is_fitted(self)
        found: Float64Array = self.best_estimator_.predict_proba(X)
        return found

    @available_if(refits)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the logarithm of `predict_proba`."""
        check_is_fitted(self)
        found: Float64Array = self.best_estimator_.predict_log_proba(X)
        return found

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> float:
        """Return the best estimator's score on X and y, the one that `scoring` names.

        Of several scores, the one that `refit` names.
        """
        refits(self)
        check_is_fitted(self)
        scorer: Any = self.scorer_
        if isinstance(scorer, dict):
            scorer = scorer[str(self.refit)]
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(scorer(self.best_estimator_, X, y, **options))
