"""The choice of a candidate by its scores: the simplest that is as good as the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array


@shielded
def within_one_standard_error(
    scores: Float64Array, C: Float64Array, others: Sequence[Any], best: int
) -> int:
    """Return the candidate of the smallest C that is as good as the best, as far as one can tell.

    Of those with the best one's other parameters, its mean is within one standard error of the best
    one's [1]_.

    References
    ----------
    .. [1] L. Breiman, J. Friedman, R. Olshen and C. Stone, "Classification and Regression Trees",
       Wadsworth, 1984, section 3.4.3.

    Examples
    --------
    >>> scores = np.array([[0.7, 0.6], [0.9, 0.7], [1.0, 0.6]])
    >>> within_one_standard_error(scores, np.array([1.0, 10.0, 100.0]), [None] * 3, 2)
    0
    """
    means = scores.mean(axis=1)
    alike = np.array([other == others[best] for other in others])
    good = alike & (means >= means[best] - standard_error(scores[best]))
    good[best] = True
    return int(np.argmin(np.where(good, C, np.inf))) if np.isfinite(C[good]).any() else best


@shielded
def standard_error(scores: Float64Array) -> Any:
    """Return the standard error of the mean over the last axis; 0 for one score."""
    n_splits = scores.shape[-1]
    if n_splits == 1:
        return np.zeros(scores.shape[:-1])
    return scores.std(axis=-1, ddof=1) / np.sqrt(n_splits)
