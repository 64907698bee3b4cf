"""The area under the ROC curve in plain NumPy, which the tests hold `AUCObjective` against."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def auc(decisions: Array, positive: Array, weights: Array) -> float:
    """Part of the pairs (positive, negative) in which the positive row has the larger decision.

    Each pair counts as the product of its weights; a tie counts half.
    """
    above = decisions[positive, None] > decisions[~positive]
    equal = decisions[positive, None] == decisions[~positive]
    pairs = weights[positive, None] * weights[~positive]
    return float((pairs * (above + equal / 2)).sum() / pairs.sum())


def histogram_auc(
    decisions: Array, positive: Array, weights: Array, n_bins: int
) -> tuple[float, float]:
    """Return the area where rows of one bin tie, and a bound of its error, but for rounding."""
    bins = bins_of(decisions, n_bins)
    totals = [np.bincount(bins[c], weights[c], n_bins) for c in (~positive, positive)]
    tied = (totals[0] * totals[1]).sum() / (totals[0].sum() * totals[1].sum())
    return auc(bins, positive, weights), float(tied) / 2


def bins_of(decisions: Array, n_bins: int) -> Array:
    """Number of each decision's bin: n_bins parts of equal width from the lowest to the highest."""
    low, high = decisions.min(), decisions.max()
    if low == high:
        return np.zeros(len(decisions), np.intp)
    scale = decisions.dtype.type(n_bins) / (high - low)
    position = (decisions - low) * scale
    return np.asarray(np.minimum(position.astype(np.intp), n_bins - 1))
