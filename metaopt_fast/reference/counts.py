"""Confusion counts in plain NumPy, which the tests hold `metaopt_fast.counts` against."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def confusion_counts(
    thetas: Array,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    thresholds: tuple[float, ...] = (0.5,),
    sample_weight: npt.ArrayLike | None = None,
    fit_intercept: bool = False,
) -> Array:
    """Return weights of TP, FP, FN, TN, shape (K, n_groups, n_thresholds, 4)."""
    X, positive = np.asarray(X, float), np.asarray(y) == np.unique(y)[-1]
    if fit_intercept:
        X = np.column_stack([X, np.ones(len(X))])
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    group = np.zeros(len(X)) if groups is None else np.asarray(groups)
    found = []
    for theta in np.asarray(thetas, float):
        decisions = X @ theta
        for label in np.unique(group):
            w = weights * (group == label)
            for threshold in thresholds:
                chosen = probabilities(decisions) > threshold
                cells = (chosen & positive, chosen & ~positive, ~chosen & positive)
                found.append([w[cell].sum() for cell in (*cells, ~chosen & ~positive)])
    n_groups = len(np.unique(group))
    return np.array(found).reshape(len(thetas), n_groups, len(thresholds), 4)


def probabilities(decisions: Array) -> Array:
    """Return 1 / (1 + exp(-decision)), above one half wherever the decision is above 0."""
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-decisions))
    return np.where(decisions > 0, np.maximum(p, math.nextafter(0.5, 1)), p)


def gap(counts: Array, rate: str) -> Fraction:
    """Return the largest difference of a rate between two groups, of one theta's counts.

    Counts are whole numbers of shape (n_groups, n_thresholds, 4); the rate is "selection_rate",
    "tpr" or "fpr".
    """
    gaps = []
    for cells in np.moveaxis(counts, 1, 0).astype(int).tolist():
        rates = []
        for tp, fp, fn, tn in cells:
            part, whole = {"tpr": (tp, tp + fn), "fpr": (fp, fp + tn)}.get(
                rate, (tp + fp, tp + fp + fn + tn)
            )
            rates.append(Fraction(part, whole))
        gaps.append(max(rates) - min(rates))
    return max(gaps)


def narrow_margins(X: Array, theta: Array) -> tuple[Array, Array]:
    """Return margins in single precision, and how far each may be from that of double precision.

    Columns are divided by powers of two, lest numbers leave the range. By Cauchy's inequality, and
    (1 + u)**(n + 2) - 1 <= gamma: a rounding of x, one of theta, and n of products or sums.
    """
    n, u = X.shape[1], 2.0**-24
    unit = np.ldexp(1.0, np.frexp(np.abs(X).max(axis=0))[1])
    narrow, narrow_theta = (X / unit).astype(np.float32), (theta * unit).astype(np.float32)
    margins = np.zeros(len(X), np.float32)
    for j in range(n):
        margins += narrow[:, j] * narrow_theta[j]
    gamma = (n + 4) * u / (1 - (n + 4) * u)
    norms = np.linalg.norm(X / unit, axis=1) * np.linalg.norm(theta * unit)
    return margins, gamma * norms + n * 2.0**-108


def is_exact(X: Array, theta: Array) -> bool:
    """Whether no sum of whole numbers x . theta is rounded in single precision."""
    is_whole = (np.rint(X) == X).all() and (np.rint(theta) == theta).all()
    sizes = np.linalg.norm(X, axis=1) * np.linalg.norm(theta)
    return bool(is_whole and sizes.max() < 2**24)


def errors_in_single_precision(
    theta: Array, X: Array, positive: Array, margin: float = 0.0
) -> tuple[int, int]:
    """Return the false positives and false negatives of decisions x . theta > margin.

    In single precision where that is certain, in double precision where it is not.
    """
    margins, reach = narrow_margins(X, theta)
    if is_exact(X, theta):
        reach = np.zeros(len(X))
    chosen = margins > margin
    open_ = np.abs(margins - margin) <= reach + 2.0**-23 * abs(margin)
    chosen[open_ & (reach > 0)] = X[open_ & (reach > 0)] @ theta > margin
    return int((chosen & ~positive).sum()), int((~chosen & positive).sum())
