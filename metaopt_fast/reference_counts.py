"""Confusion counts in plain NumPy, which the tests hold `metaopt_fast.counts` against."""

from __future__ import annotations

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
    X, positive = np.asarray(X, float), np.asarray(y) == 1
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
                chosen = decisions > np.log(threshold / (1 - threshold))
                cells = (chosen & positive, chosen & ~positive, ~chosen & positive)
                found.append([w[cell].sum() for cell in (*cells, ~chosen & ~positive)])
    n_groups = len(np.unique(group))
    return np.array(found).reshape(len(thetas), n_groups, len(thresholds), 4)
