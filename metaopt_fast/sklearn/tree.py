"""The tree of least cost in scikit-learn's protocol; `metaopt_fast.sklearn` has the public name."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.tree import positions_of
from metaopt_fast.sklearn.classifier import finite_rows, named_columns
from metaopt_fast.trees.arguments import Options, check_sizes
from metaopt_fast.trees.best_tree import find_trees
from metaopt_fast.typing import Float64Array, IndexArray, LabelArray
from metaopt_fast.validation.labels import Labels


class BestTreeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # without types
    """The decision tree of depth 2 or 3 that decides fewest training rows wrongly, proven.

    See `metaopt_fast.best_tree`.

    Parameters
    ----------
    depth : {2, 3}, default 3
        Questions on the way to a leaf, at most.
    n_thresholds : int, default 10
        Thresholds of a column, at most: quantiles of its rows.
    class_cost : dict of label to int, optional
        Cost of a wrong decision on a row of the class, for all that are not 1.
    min_leaf : int, default 1
        Rows of each leaf at least, each counted as often as its weight says.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the
        cgroup quota decide.

    Attributes
    ----------
    tree_ : metaopt_fast.Tree
        The tree; it prints itself, `tree_.plot()` draws it.
    classes_ : numpy.ndarray of shape (n_classes,)
    n_features_in_ : int
    feature_names_in_ : numpy.ndarray of shape (n_features,)
        Names of the columns, where X has them.

    Examples
    --------
    >>> from metaopt_fast.sklearn import BestTreeClassifier
    >>> model = BestTreeClassifier(depth=2).fit([[1.0], [2.0], [3.0]], ["in", "out", "in"])
    >>> model.predict([[2.2]])
    array(['out'], dtype='<U3')
    """

    def __init__(
        self,
        depth: int = 3,
        *,
        n_thresholds: int = 10,
        class_cost: dict[Any, int] | None = None,
        min_leaf: int = 1,
        n_threads: int | None = None,
    ) -> None:
        self.depth = depth
        self.n_thresholds = n_thresholds
        self.class_cost = class_cost
        self.min_leaf = min_leaf
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the tree of X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        Weights are whole numbers: how many rows each row counts for.
        """
        with named_columns(X):
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False)
        rows = finite_rows(self, X)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class, {self.classes_.tolist()[0]!r}: pass labels of two or more."
            )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        names = getattr(self, "feature_names_in_", None)
        labels = Labels(self.classes_.tolist(), codes.astype(np.intp))
        options = Options.of(
            self.depth, self.n_thresholds, self.class_cost, self.min_leaf, self.n_threads
        )
        listed = [f"x{j}" for j in range(rows.shape[1])] if names is None else names.tolist()
        sizes = check_sizes(sample_weight, len(rows))
        (self.tree_,) = find_trees(
            rows, [labels], sizes, options, tuple(listed), named=names is not None
        )
        return self

    def apply(self, X: Any) -> IndexArray:
        """Return the position of the leaf of each row, shape (n_samples,); see `Tree`."""
        check_is_fitted(self)
        with named_columns(X):
            X = validate_data(self, X, dtype=np.float64, ensure_all_finite=False, reset=False)
        return positions_of(self.tree_, finite_rows(self, X))

    def predict(self, X: npt.ArrayLike) -> LabelArray:
        """Return the label of each row: of its leaf, the one that costs least."""
        positions = self.apply(X)
        labels: npt.NDArray[Any] = self.classes_[self.tree_.decided[positions]]
        return labels

    @shielded
    def predict_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the part of each class in a row's leaf, shape (n_samples, n_classes)."""
        positions = self.apply(X)
        counts = self.tree_.counts[positions]
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))
