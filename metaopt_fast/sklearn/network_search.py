"""The search of hyper-parameters of small networks, in scikit-learn's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy.typing as npt

from metaopt_fast.selection.networks import score_networks
from metaopt_fast.sklearn.candidates import CandidateSearch, LogUniformDraw
from metaopt_fast.sklearn.cv_results import make_results
from metaopt_fast.sklearn.network import (
    NetworkClassifier,
    candidate_of,
    effort_of,
    rows_of,
    seed_of,
)
from metaopt_fast.sklearn.scoring import check_scoring, scorer_of


class NetworkSearchCV(CandidateSearch):
    """Search of learning rates and penalties of small networks by cross-validation, all at once.

    What RandomizedSearchCV over MLPClassifier(early_stopping=True) does, by networks that are
    trained side by side. Networks stop inside the training rows of each split; sample weights weigh
    the held-out rows of a score as well as the training rows.

    Where a network ends depends on where it starts. Each candidate has starts of its own, the same
    in all splits and in the estimator of the best: a search is one of starts, too.

    Parameters
    ----------
    n_iter : int, default 48
        Number of candidates to draw.
    candidates : dict, optional
        "learning_rate_init", "l2", "n_hidden", "activation" and "first_start", each a list or a
        distribution (with a method rvs) as for RandomizedSearchCV: of lists alone, `n_iter`
        combinations are drawn without replacement, or all are taken if there are no more. Without
        the first two, they are log-uniform, from 1e-3 to 1e-1 and from 1e-6 to 1e-2; without the
        last, that of candidate k is k * `n_starts`.
    cv : int, splitter or iterable of (train, test), default 5
        Splits, as of `LogisticRegressionSearchCV`.
    scoring : str, or list, tuple or dict of them, default "neg_log_loss"
        Names of scores that are computed for all models at once, as of
        `LogisticRegressionSearchCV`.
    refit : bool, str or callable, default True
        Whether the best candidate is trained on all rows; of several scores, the name of the one
        that decides. A callable gets `cv_results_` and returns an index.
    random_state : int, RandomState or None, default None
        Source of the random numbers that candidates are drawn by, and of the seed of networks.
    n_starts : int, default 1
        Networks of each candidate and split; the best by the rows that are held out is scored.
    n_hidden, activation, ensemble_size, batch_size, max_iter, early_stopping
        See `NetworkClassifier`; candidates' n_hidden and activation go before.
    validation_fraction, n_iter_no_change, tol, dtype, n_threads
        See `NetworkClassifier`.

    Attributes
    ----------
    cv_results_ : dict of str to array
        Table of the candidates, as of RandomizedSearchCV. Networks are trained together: each one's
        time is its share.
    best_index_, best_params_, best_score_
        The best candidate, and its mean score.
    best_estimator_ : NetworkClassifier
        Estimator of the best candidate, trained on all rows, if `refit`.
    n_iter_ : int
        Its epochs.
    classes_ : numpy.ndarray of shape (n_classes,)
    scorer_ : callable, or dict of them for several scores
    n_splits_, multimetric_, refit_time_, n_features_in_, feature_names_in_
        Attributes of the same meaning as of RandomizedSearchCV.

    Examples
    --------
    >>> import numpy as np
    >>> from metaopt_fast.sklearn import NetworkSearchCV
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> inside = (X**2).sum(axis=1) < 1.4
    >>> search = NetworkSearchCV(8, cv=3, random_state=0).fit(X, inside)
    >>> bool(search.best_score_ > -0.2), sorted(search.best_params_)
    (True, ['first_start', 'l2', 'learning_rate_init'])
    """

    takes_sparse = False
    names = ("learning_rate_init", "l2", "n_hidden", "activation", "first_start")

    scoring: str | Sequence[str] | Mapping[str, str]
    n_splits_: int
    multimetric_: bool
    n_iter_: int
    refit_time_: float

    def __init__(
        self,
        n_iter: int = 48,
        candidates: Mapping[str, Any] | None = None,
        cv: Any = 5,
        scoring: str | Sequence[str] | Mapping[str, str] = "neg_log_loss",
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        random_state: Any = None,
        *,
        n_hidden: int = 16,
        activation: str = "relu",
        n_starts: int = 1,
        ensemble_size: int = 1,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        dtype: str = "float32",
        n_threads: int | None = None,
    ) -> None:
        self._set_parameters(locals())

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Search on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        `groups` of shape (n_samples,) is for splitters of groups. Warns with a ConvergenceWarning
        where the last epoch of the best estimator was its best one.
        """
        seed = seed_of(self.random_state)
        effort = effort_of(self, seed)
        given, codes, weights = self._training_data(X, y, sample_weight)
        rows = rows_of(given, codes, len(self.classes_), weights)
        metrics = check_scoring(self.scoring, rows.n_classes)
        decisive = self._decisive(metrics)
        drawn = self._draw(
            {"learning_rate_init": LogUniformDraw(1e-3, 1e-1), "l2": LogUniformDraw(1e-6, 1e-2)}
        )
        params = [{"first_start": k * effort.n_starts, **one} for k, one in enumerate(drawn)]
        candidates = [candidate_of({**vars(self), **one}) for one in params]
        splits = self._splits(rows.X, self.classes_[codes], groups)
        started = time.perf_counter()
        found = score_networks(metrics.values(), candidates, rows, splits, effort)
        scores = {name: found[metric] for name, metric in metrics.items()}
        self.cv_results_ = make_results(params, scores, time.perf_counter() - started, 0.0)
        self.n_splits_, self.multimetric_ = len(splits), "score" not in metrics
        scorers = {name: scorer_of(metric, self.classes_) for name, metric in metrics.items()}
        self.scorer_ = scorers if self.multimetric_ else scorers["score"]
        if decisive is not None or self.refit:
            self._choose(decisive, scores)
        if self.refit:
            started = time.perf_counter()
            best = self._unfitted_best(seed)
            best._train(rows, candidates[self.best_index_], effort)
            self.best_estimator_, self.n_iter_ = best, best.n_iter_
            self.refit_time_ = time.perf_counter() - started
        return self

    def _unfitted_best(self, seed: int) -> NetworkClassifier:
        """Return the estimator of the best candidate, which knows the columns and the classes."""
        own, known = self.get_params(), NetworkClassifier._get_param_names()
        settings = {name: own[name] for name in known if name in own}
        best = NetworkClassifier(**{**settings, **self.best_params_, "random_state": seed})
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(best, name, getattr(self, name))
        return best
