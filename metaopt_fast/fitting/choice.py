"""The choice of a model by its scores: the simplest that is as good as the best."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import BoolArray, Float64Array


@shielded
def within_one_standard_error(
    scores: Float64Array, strengths: Float64Array, is_alike: BoolArray, best: int
) -> int:
    """Return the model of the strongest penalty that is as good as the best, as far as one can
    tell: its mean score is within one standard error of the best one's [1]_.

    Scores of each model are a row, the greater the better. Models that are not alike the best one
    but for the penalty do not count; `strengths` may be any numbers that order penalties, -C too.

    References
    ----------
    .. [1] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and Regression Trees",
       Wadsworth, 1984, section 3.4.3.

    Examples
    --------
    >>> scores = np.array([[0.7, 0.6], [0.9, 0.7], [1.0, 0.6]])
    >>> within_one_standard_error(scores, np.array([3.0, 2.0, 1.0]), np.ones(3, bool), 2)
    0
    """
    means = scores.mean(axis=1)
    is_good = is_alike & (means >= means[best] - standard_error(scores[best]))
    is_good[best] = True
    strengths = np.where(is_good, strengths, -np.inf)
    return int(np.argmax(strengths)) if np.isfinite(strengths.max()) else best


@shielded
def standard_error(scores: Float64Array) -> Any:
    """Return the standard error of the mean over the last axis; 0 for one score."""
    n_splits = scores.shape[-1]
    if n_splits == 1:
        return np.zeros(scores.shape[:-1])
    return scores.std(axis=-1, ddof=1) / np.sqrt(n_splits)
