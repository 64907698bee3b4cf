"""Scores of many models on held-out rows, equal to those of scikit-learn's metrics.

A score is the greater the better. Models lie in the rows of an array of decision values, held-out
rows in its columns: one pass over the array scores all models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import expit, log
from metaopt_fast.data.sparse_rows import SparseRows, products_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array

Score = Callable[[Float64Array, npt.NDArray[np.bool_], Float64Array], Float64Array]

# Decision values that are scored at a time: a few arrays of them stay in the second-level cache.
CHUNK = 1 << 16

EPS = np.finfo(np.float64).eps


@shielded
def score_many(
    names: Iterable[str],
    thetas: Float64Array,
    X: Float64Array | SparseRows,
    positive: npt.NDArray[np.bool_],
    sample_weight: Float64Array | None = None,
) -> dict[str, Float64Array]:
    """Score linear models on rows that they were not trained on.

    Parameters
    ----------
    names : iterable of str
        Names of `SCORES` or `MACHINE_SCORES`.
    thetas : numpy.ndarray of shape (n_models, n_features) or (n_models, n_features + 1)
        With the intercept, if any, as the last entry of each.
    X : numpy.ndarray of shape (n_samples, n_features), or SparseRows
    positive : numpy.ndarray of shape (n_samples,), bool
        Rows that are of the positive class.
    sample_weight : numpy.ndarray of shape (n_samples,), optional

    Returns
    -------
    dict of str to numpy.ndarray of shape (n_models,)
        NaN where a score is not defined: roc_auc where a class has no weight, all where both have
        none.

    Examples
    --------
    >>> X, positive = np.array([[1.0], [2.0], [-1.0]]), np.array([True, True, False])
    >>> score_many(["accuracy"], np.array([[1.0, 0.0], [-1.0, 0.0]]), X, positive)
    {'accuracy': array([1., 0.])}
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    n_features = X.shape[1]
    scores = {name: np.full(len(thetas), np.nan) for name in names}
    if not weights.any():
        return scores
    step = max(1, CHUNK // len(X))
    for first in range(0, len(thetas), step):
        part = slice(first, first + step)
        decisions = products_of(thetas[part, :n_features], X)
        if thetas.shape[1] > n_features:
            decisions += thetas[part, -1:]
        for name, values in scores.items():
            values[part] = ALL_SCORES[name](decisions, positive, weights)
    return scores


def neg_log_loss(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return the mean logarithm of the probability of the true class, clipped as sklearn does."""
    p = expit(decisions)
    np.subtract(1, p, out=p, where=~positive)
    np.clip(p, EPS, 1 - EPS, out=p)
    return _mean(log(p), weights)


def neg_brier_score(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return minus the mean squared distance of the probability to 0 or 1."""
    distance = positive - expit(decisions)
    return -_mean(np.square(distance, out=distance), weights)


def accuracy(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return the part of the rows whose class is right; a decision of 0 is negative."""
    return _mean((decisions > 0) == positive, weights)


def balanced_accuracy(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return the mean of the classes' accuracies; a class without rows is left out."""
    right = (decisions > 0) == positive
    # A class without weight is as absent for scikit-learn.
    classes = [weights * of_class for of_class in (~positive, positive)]
    return np.asarray(
        np.mean([(right * w).sum(axis=1) / w.sum() for w in classes if w.any()], axis=0)
    )


def f1(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return 2 TP / (2 TP + FP + FN), 0 where there is neither."""
    predicted = decisions > 0
    true = (predicted * (weights * positive)).sum(axis=1)
    both = (predicted * weights).sum(axis=1) + weights[positive].sum()
    return np.asarray(np.divide(2 * true, both, out=np.zeros(len(true)), where=both > 0))


def roc_auc(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return the AUC, of the curve of true against false positives; ties count half."""
    totals = weights[positive].sum(), weights[~positive].sum()
    if 0 in totals:
        return np.full(len(decisions), np.nan)
    order = np.argsort(decisions, axis=1)[:, ::-1]
    ranked = np.take_along_axis(decisions, order, axis=1)
    ends = np.ones(ranked.shape, bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=ends[:, :-1])
    true = _at_ends((weights * positive)[order], ends)
    false = _at_ends((weights * ~positive)[order], ends)
    doubled = (np.diff(false, axis=1, prepend=0) * (true + _shifted(true))).sum(axis=1)
    return np.asarray(doubled / 2 / totals[0] / totals[1])


def neg_hinge_loss(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return minus the mean of max(0, 1 - m), m the margins."""
    return -_mean(_slacks(decisions, positive), weights)


def neg_squared_hinge_loss(
    decisions: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array
) -> Float64Array:
    """Return minus the mean of max(0, 1 - m)^2, m the margins."""
    return -_mean(np.square(_slacks(decisions, positive)), weights)


def _slacks(decisions: Float64Array, positive: npt.NDArray[np.bool_]) -> Float64Array:
    """Return how far each row is from having a margin of 1."""
    return np.asarray(np.maximum(0, 1 - np.where(positive, decisions, -decisions)))


SCORES: dict[str, Score] = {
    "neg_log_loss": neg_log_loss,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "roc_auc": roc_auc,
    "brier": neg_brier_score,
    "neg_brier_score": neg_brier_score,
}
# Of models whose decisions mean no probabilities: support vector machines.
MACHINE_SCORES: dict[str, Score] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "roc_auc": roc_auc,
    "neg_hinge_loss": neg_hinge_loss,
    "neg_squared_hinge_loss": neg_squared_hinge_loss,
}
ALL_SCORES = SCORES | MACHINE_SCORES


def _mean(values: npt.NDArray[Any], weights: Float64Array) -> Float64Array:
    """Return the weighted mean over the rows."""
    if (weights == weights[0]).all():
        return np.asarray(values.mean(axis=1))
    return np.asarray((values * weights).sum(axis=1) / weights.sum())


def _at_ends(weights: Float64Array, ends: npt.NDArray[np.bool_]) -> Float64Array:
    """Return running sums, each position of a run of ties with the sum at the end of its run."""
    sums = np.where(ends, np.cumsum(weights, axis=1), np.inf)
    return np.minimum.accumulate(sums[:, ::-1], axis=1)[:, ::-1]


def _shifted(sums: Float64Array) -> Float64Array:
    """Return the sums one position later, behind a 0."""
    return np.concatenate([np.zeros((len(sums), 1)), sums[:, :-1]], axis=1)
