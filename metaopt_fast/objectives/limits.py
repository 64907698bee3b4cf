"""Gaps between groups of rows, each rounded once, so that a limit that is met exactly is kept."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from metaopt_fast.typing import Float64Array, Int64Array

# Rates of up to so many rows in a group: their differences are quotients of integers that floats
# hold, and rates that differ are different floats.
MAX_ROWS = 2**26
# A difference of two rates as floats is within it of the exact one.
ROUNDING = 2.0**-51


def largest_gaps(part: Float64Array, whole: Float64Array) -> Float64Array:
    """Return the largest difference of part / whole between two groups, shape (K,).

    Both are of shape (K, n_groups, n_thresholds).
    """
    rates = part / whole
    return np.asarray((rates.max(axis=1) - rates.min(axis=1)).max(axis=1))


def exact_gaps(part: Int64Array, whole: Int64Array, limit: float | None = None) -> Float64Array:
    """Return the same of integers, each gap the float nearest to it.

    Then 4/10 - 3/10 is 0.1, and a gap is at most a limit as it was written exactly if its float is
    at most the limit's. Given a limit, gaps far from it may be rounded more than once.
    """
    if whole.max() <= MAX_ROWS:
        return np.asarray(_differences(part, whole).max(axis=1))
    gaps = largest_gaps(part.astype(np.float64), whole.astype(np.float64))
    near = np.ones(len(gaps), bool) if limit is None else np.abs(gaps - limit) <= ROUNDING
    for k in np.flatnonzero(near).tolist():
        gaps[k] = float(_gap(part[k].tolist(), whole[k].tolist()))
    return gaps


def _differences(part: Int64Array, whole: Int64Array) -> Float64Array:
    """Return the largest gap at each threshold, shape (K, n_thresholds)."""
    rates = part / whole
    high, low = rates.argmax(axis=1)[:, None], rates.argmin(axis=1)[:, None]
    of_high, of_low = (np.take_along_axis(whole, group, axis=1) for group in (high, low))
    difference = (
        np.take_along_axis(part, high, axis=1) * of_low
        - np.take_along_axis(part, low, axis=1) * of_high
    )
    return np.asarray((difference / (of_high * of_low))[:, 0])


def _gap(part: list[list[Any]], whole: list[list[Any]]) -> Fraction:
    """Return the largest gap of one candidate, as a fraction."""
    gaps = []
    for parts, wholes in zip(zip(*part, strict=True), zip(*whole, strict=True), strict=True):
        rates = [Fraction(a, b) for a, b in zip(parts, wholes, strict=True)]
        gaps.append(max(rates) - min(rates))
    return max(gaps)
