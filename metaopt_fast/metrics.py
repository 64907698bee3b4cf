"""Measures of confusion counts, the lower the better, and gaps between groups of rows.

Counts have the shape (K, n_groups, n_thresholds, 4): weighted numbers of true positives, false
positives, false negatives and true negatives. A measure is of all groups together, at the first
threshold; any function of the counts of that form can take its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.identity import is_built_in
from metaopt_fast.validation.values import check_number, describe

__all__ = ["BalancedError", "Cost", "expected_utility", "group_rates"]

# Costs below 2**-SMALL_COST are multiplied by 2**SMALL_COST.
SMALL_COST = 400

RATES = ("selection_rate", "tpr", "fpr")


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean cost of a decision.

    Parameters
    ----------
    tp, fp, fn, tn : float
        The cost of a true positive, a false positive, a false negative, a true negative.

    Examples
    --------
    >>> counts = np.array([3.0, 1.0, 2.0, 4.0]).reshape(1, 1, 1, 4)
    >>> Cost(fp=1, fn=5)(counts).tolist()
    [1.1]
    """

    tp: float = 0.0
    fp: float = 1.0
    fn: float = 1.0
    tn: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tp", "fp", "fn", "tn"):
            check_number(name, getattr(self, name))

    @shielded
    def __call__(self, counts: Float64Array) -> Float64Array:
        """Return the mean cost, shape (K,)."""
        cells = _totals(counts)
        total = cells[0] + cells[1] + cells[2] + cells[3]
        # Parts of at most 1, times costs that are not subnormal, lest products leave the range.
        _, exponents = np.frexp(total)
        costs = (self.tp, self.fp, self.fn, self.tn)
        shift = SMALL_COST if max(map(abs, costs)) < math.ldexp(1, -SMALL_COST) else 0
        cost = np.zeros(len(counts))
        for weight, cell in zip(costs, cells, strict=True):
            cost = cost + math.ldexp(weight, shift) * np.ldexp(cell, -exponents)
        return np.ldexp(_divided(cost, np.ldexp(total, -exponents), "row"), -shift)

    def of_errors(self, positive: float, negative: float) -> tuple[float, float] | None:
        """Return what a false positive and a false negative add, if nothing else counts.

        Given the sums of the weights of positive and of negative rows.
        """
        if self.tp or self.tn or min(self.fp, self.fn) < 0:
            return None
        return self.fp / (positive + negative), self.fn / (positive + negative)


def expected_utility(tp: float = 1.0, fp: float = -1.0, fn: float = 0.0, tn: float = 0.0) -> Cost:
    """Return the cost whose least value is the largest mean utility: minus the utilities.

    Parameters
    ----------
    tp, fp, fn, tn : float
        The utility of a true positive, a false positive, a false negative, a true negative.

    Examples
    --------
    >>> counts = np.array([3.0, 1.0, 2.0, 4.0]).reshape(1, 1, 1, 4)
    >>> expected_utility(tp=10, fp=-2)(counts).tolist()
    [-2.8]
    """
    utilities = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    return Cost(**{name: -check_number(name, value) for name, value in utilities.items()})


@dataclass(frozen=True, slots=True)
class BalancedError:
    """Mean of the parts of positive and of negative rows that are wrong."""

    @shielded
    def __call__(self, counts: Float64Array) -> Float64Array:
        """Return 1 - the balanced accuracy, shape (K,)."""
        tp, fp, fn, tn = _totals(counts)
        of_positives = _divided(fn, tp + fn, "positive row")
        return (of_positives + _divided(fp, fp + tn, "negative row")) / 2

    def of_errors(self, positive: float, negative: float) -> tuple[float, float] | None:
        """Return what a false positive and a false negative add."""
        return 0.5 / negative, 0.5 / positive


@shielded
def one_minus_f1(counts: Float64Array) -> Float64Array:
    """Return 1 - 2 TP / (2 TP + FP + FN), shape (K,)."""
    tp, fp, fn, _ = _totals(counts)
    return _divided(fp + fn, 2 * tp + fp + fn, "row that is positive or decided positive")


@shielded
def one_minus_mcc(counts: Float64Array) -> Float64Array:
    """Return 1 - Matthews' correlation, shape (K,); 1 where all decisions are the same."""
    tp, fp, fn, tn = _totals(counts)
    # Of rates, not of counts: products of these leave the range where weights are far apart.
    positive, negative, chosen, others = tp + fn, fp + tn, tp + fp, fn + tn
    mixed = (chosen > 0) & (others > 0) & (positive > 0) & (negative > 0)
    correlation = np.zeros_like(tp)
    tp, fp, fn, tn, positive, negative, chosen, others = (
        values[mixed] for values in (tp, fp, fn, tn, positive, negative, chosen, others)
    )
    informedness = tp / positive * (tn / negative) - fp / negative * (fn / positive)
    correlation[mixed] = informedness * np.sqrt(positive / chosen) * np.sqrt(negative / others)
    return np.asarray(1 - correlation)


METRICS = {
    "error": Cost(),
    "balanced_error": BalancedError(),
    "f1": one_minus_f1,
    "mcc": one_minus_mcc,
}


def known(metric: object) -> object | None:
    """Return what tells a metric of this module from others by its repr; None of any other."""
    if isinstance(metric, str) or is_built_in(metric):
        return metric
    if any(metric is own for own in METRICS.values()):
        return f"{metric.__module__}.{getattr(metric, '__name__', '')}"
    return None


@shielded
def group_rates(counts: Float64Array, rate: str) -> Float64Array:
    """Return a rate of each group at each threshold.

    Parameters
    ----------
    counts : numpy.ndarray of shape (K, n_groups, n_thresholds, 4)
    rate : {"selection_rate", "tpr", "fpr"}
        The part of all rows, of positive rows or of negative rows that is decided positive.

    Returns
    -------
    numpy.ndarray of shape (K, n_groups, n_thresholds)
    """
    if not isinstance(rate, str) or rate not in RATES:
        raise ValueError(f"rate is {describe(rate)}: pass one of {', '.join(RATES)}.")
    what = {"tpr": "positive row", "fpr": "negative row"}.get(rate, "row")
    return _divided(*parts_of_rate(counts, rate), f"{what} of some group")


def parts_of_rate(counts: npt.NDArray[Any], rate: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return what a rate of `RATES` is the quotient of."""
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    if rate == "tpr":
        return tp, tp + fn
    if rate == "fpr":
        return fp, fp + tn
    return tp + fp, tp + fp + fn + tn


def _divided(part: Float64Array, whole: Float64Array, what: str) -> Float64Array:
    """Return part / whole; raise ValueError where there is nothing to divide by."""
    if not np.all(whole):
        raise ValueError(f"counts has no {what}: pass counts of rows whose weights are not all 0.")
    return np.asarray(part / whole)


def _totals(counts: Float64Array) -> tuple[Float64Array, ...]:
    """Return the counts of all groups together at the first threshold, each of shape (K,), or, of
    the largest, parts of them: sums of these stay in the range."""
    total = counts[:, :, 0].sum(axis=1)
    total[total.max(axis=1) > 2.0**1000] *= 2.0**-60
    return tuple(total[:, i] for i in range(4))
