"""Logistic regression with a penalty for each group of features, in scikit-learn's protocol."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.floating_errors import shielded
from metaopt_fast.selection.folds import check_splits, partitions
from metaopt_fast.selection.penalties import tune_penalties
from metaopt_fast.sklearn.classifier import (
    LinearModel,
    check_class_weight,
    log_probabilities,
    probabilities,
    splits_of,
)
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import describe


class GroupedLogisticRegressionCV(LinearModel):
    """Logistic regression of two classes whose groups of features have penalties of their own.

    Banded ridge, for classes: the penalties are tuned by cross-validation with `tune_penalties`,
    along the gradient of the validation loss and under a prior that they are alike. Standardise the
    columns first.

    Parameters
    ----------
    feature_groups : array_like of int of shape (n_features,), optional
        The group of each feature, 0 .. n_groups - 1; by default all are one group, which has the
        best common penalty.
    cv : int, splitter or iterable of (train, test), default 5
        Splits that hold out each row once; a number means as many stratified folds.
    spread : float, default 0.03
        Strength of the prior that penalties are alike, above 0.
    class_weight : dict of label to float, or "balanced", optional
    fit_intercept : bool, default True
    tol : float, default 1e-4
        Size of the derivatives for the logarithms of the penalties at which their descent ends.
    max_iter : int, default 40
        Steps of that descent at most.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the
        cgroup quota decide.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (2,)
        Labels of the classes; the second one is the positive class.
    coef_ : numpy.ndarray of shape (1, n_features)
    intercept_ : numpy.ndarray of shape (1,)
    penalties_ : numpy.ndarray of shape (n_groups,)
        l2 of each group, beside the mean loss: scikit-learn's C is 1 / (l2 * sum of weights).
    result_ : PenaltyResult
        All that is known of the tuning.
    n_iter_ : int
        Vectors of penalties that were tried.
    gap_bound_ : float
        An upper bound of the distance of the mean loss with its penalty to its optimum.
    certified_ : bool
    n_features_in_ : int
    feature_names_in_ : numpy.ndarray of shape (n_features,)
        Names of the columns, where X has them.

    Examples
    --------
    >>> import numpy as np
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> from metaopt_fast.sklearn import GroupedLogisticRegressionCV
    >>> X, y, _ = load_breast_cancer()
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> model = GroupedLogisticRegressionCV(feature_groups=np.arange(30) // 10).fit(X, y)
    >>> model.penalties_.shape, bool(model.score(X, y) > 0.97)
    ((3,), True)
    """

    intercept_: Float64Array
    penalties_: Float64Array
    n_iter_: int
    gap_bound_: float
    certified_: bool

    def __init__(
        self,
        feature_groups: npt.ArrayLike | None = None,
        *,
        cv: Any = 5,
        spread: float = 0.03,
        class_weight: dict[Any, float] | str | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-4,
        max_iter: int = 40,
        n_threads: int | None = None,
    ) -> None:
        self.feature_groups = feature_groups
        self.cv = cv
        self.spread = spread
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = False
        return tags

    @shielded
    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Tune and train on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        `groups` of shape (n_samples,) is for splitters of groups of rows.
        """
        given, codes, weights = self._training_data(X, y, sample_weight)
        if isinstance(given, SparseRows):
            raise TypeError("X is a sparse matrix: pass X.toarray().")
        if len(self.classes_) > 2:
            # scikit-learn's checks want its words.
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass: "
                "pass labels of two classes."
            )
        rows = given.astype(np.float64, copy=False)
        feature_groups = self.feature_groups
        if feature_groups is None:
            feature_groups = np.zeros(rows.shape[1], np.intp)
        self.result_ = result = tune_penalties(
            rows,
            codes,
            feature_groups=feature_groups,
            folds=self._folds(rows, codes, groups),
            spread=self.spread,
            class_weight=check_class_weight(self.class_weight, self.classes_),
            sample_weight=weights,
            fit_intercept=self.fit_intercept,
            max_iter=self.max_iter,
            tol=self.tol,
            n_threads=self.n_threads,
        )
        theta, n = result.theta, rows.shape[1]
        self.coef_ = theta[None, :n]
        self.intercept_ = theta[n:] if self.fit_intercept else np.zeros(1)
        self.penalties_, self.n_iter_ = result.l2, result.n_points
        self.gap_bound_ = float(result.fit.gap_bound[0])
        self.certified_ = bool(result.fit.certified[0])
        return self

    def _folds(self, X: Any, codes: IndexArray, groups: Any) -> IndexArray:
        """Return the fold of each row."""
        splits = check_splits(splits_of(self.cv, X, self.classes_[codes], groups), len(X))
        runs = list(partitions(splits, len(X)))
        folds = runs[0][1] if len(runs) == 1 else None
        if folds is None:
            raise ValueError(
                f"cv is {describe(self.cv)}, whose splits do not hold out each row once: pass an "
                "integer, or splits such as those of StratifiedKFold, KFold or GroupKFold."
            )
        return folds

    @shielded
    def predict_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the probability of each class, shape (n_samples, 2); the small ones are exact."""
        return probabilities(self.decision_function(X))

    @shielded
    def predict_log_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the logarithm of the probability of each class, finite for any decision."""
        return log_probabilities(self.decision_function(X))
