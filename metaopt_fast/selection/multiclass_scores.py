"""Scores of many softmax regressions on held-out rows, equal to those of scikit-learn's metrics.

A score is the greater the better. Models lie in the first axis of an array of decision values,
held-out rows in the second, classes in the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from metaopt_fast.arithmetic import log, log1p, log_softmax, softmax
from metaopt_fast.data.sparse_rows import SparseRows, products_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.selection.scores import CHUNK, EPS, roc_auc
from metaopt_fast.typing import Float64Array, IndexArray

Score = Callable[[Float64Array, IndexArray, Float64Array], Float64Array]


@shielded
def score_classes(
    names: Iterable[str],
    thetas: Float64Array,
    X: Float64Array | SparseRows,
    codes: IndexArray,
    sample_weight: Float64Array | None = None,
) -> dict[str, Float64Array]:
    """Score models of K classes on rows that they were not trained on.

    Parameters
    ----------
    names : iterable of str
        Names of `MULTICLASS_SCORES`.
    thetas : numpy.ndarray of shape (n_models, K, n_features) or (n_models, K, n_features + 1)
        With the intercept, if any, as the last entry of each class.
    X : numpy.ndarray of shape (n_samples, n_features), or SparseRows
    codes : numpy.ndarray of shape (n_samples,), int
        Classes of the rows, from 0 on.
    sample_weight : numpy.ndarray of shape (n_samples,), optional

    Returns
    -------
    dict of str to numpy.ndarray of shape (n_models,)
        NaN where a score is not defined: roc_auc_ovr where a class has no weight, all where no row
        has one.
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    n_models, n_classes, n_params = thetas.shape
    n_features = X.shape[1]
    scores = {name: np.full(n_models, np.nan) for name in names}
    if not weights.any():
        return scores
    step = max(1, CHUNK // len(X) // n_classes)
    for first in range(0, n_models, step):
        part = thetas[first : first + step].reshape(-1, n_params)
        decisions = products_of(part[:, :n_features], X)
        if n_params > n_features:
            decisions += part[:, -1:]
        decisions = decisions.reshape(-1, n_classes, len(X)).transpose(0, 2, 1)
        for name, values in scores.items():
            values[first : first + step] = MULTICLASS_SCORES[name](
                np.ascontiguousarray(decisions), codes, weights
            )
    return scores


def neg_log_loss(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the mean logarithm of the probability of the true class, clipped as sklearn does."""
    logarithms = log_softmax(decisions)[:, np.arange(len(codes)), codes]
    return _mean(np.clip(logarithms, log(EPS), log1p(-EPS)), weights)


def accuracy(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the part of the rows whose class is right; of equal decisions, the first one's."""
    return _mean(decisions.argmax(axis=2) == codes, weights)


def balanced_accuracy(
    decisions: Float64Array, codes: IndexArray, weights: Float64Array
) -> Float64Array:
    """Return the mean of the classes' accuracies; a class without rows is left out."""
    counts = confusion(decisions, codes, weights)
    sums = counts.sum(axis=2)
    with np.errstate(invalid="ignore"):
        parts = counts.diagonal(axis1=1, axis2=2) / sums
    return np.asarray(np.nanmean(parts, axis=1))


def f1_macro(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the mean of the classes' f1, of those that are there or are predicted."""
    counts = confusion(decisions, codes, weights)
    found, is_there = _f1(counts, codes, decisions)
    return np.asarray((found * is_there).sum(axis=1) / is_there.sum(axis=1))


def f1_weighted(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the mean of the classes' f1, by the weights of their rows."""
    counts = confusion(decisions, codes, weights)
    found, _ = _f1(counts, codes, decisions)
    sums = counts.sum(axis=2)
    return np.asarray((found * sums).sum(axis=1) / sums.sum(axis=1))


def roc_auc_ovr(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the mean of the AUCs of each class against the rest, by its probability."""
    probabilities, n_classes = softmax(decisions), decisions.shape[2]
    areas = [
        roc_auc(np.ascontiguousarray(probabilities[:, :, k]), codes == k, weights)
        for k in range(n_classes)
    ]
    return np.asarray(np.mean(areas, axis=0))


def confusion(decisions: Float64Array, codes: IndexArray, weights: Float64Array) -> Float64Array:
    """Return the weight of the rows of each class and predicted class, for each model."""
    n_models, _, n_classes = decisions.shape
    cells = codes * n_classes + decisions.argmax(axis=2)
    counts = [np.bincount(row, weights, n_classes * n_classes) for row in cells]
    return np.array(counts, np.float64).reshape(n_models, n_classes, n_classes)


def _f1(
    counts: Float64Array, codes: IndexArray, decisions: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return 2 TP / (2 TP + FP + FN) of each class, 0 where there is neither, and whether it has
    rows or is predicted."""
    both = counts.sum(axis=1) + counts.sum(axis=2)
    right = 2 * counts.diagonal(axis1=1, axis2=2)
    found = np.divide(right, both, out=np.zeros_like(both), where=both > 0)
    n_classes = decisions.shape[2]
    is_there = np.array(
        [np.isin(np.arange(n_classes), np.append(codes, row)) for row in decisions.argmax(axis=2)]
    )
    return found, is_there.astype(np.float64)


MULTICLASS_SCORES: dict[str, Score] = {
    "neg_log_loss": neg_log_loss,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1_macro": f1_macro,
    "f1_weighted": f1_weighted,
    "roc_auc_ovr": roc_auc_ovr,
}


def _mean(values: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the weighted mean over the rows."""
    return np.asarray((values * weights).sum(axis=1) / weights.sum())
