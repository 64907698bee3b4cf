"""The normal distribution, with the same bits on every processor."""

from __future__ import annotations

import numpy as np

from metaopt_fast.arithmetic import exp
from metaopt_fast.typing import Float64Array

ROOT_OF_2_PI = 2.5066282746310002
# Terms of the series, and of the continued fraction beyond FAR: enough for 1e-15.
TERMS, FAR = 150, 1.5
# Beyond it the distribution function has no digits.
FARTHEST = 38.4


def normal_cdf(x: Float64Array) -> Float64Array:
    """Return the probability that a normal number is at most x, to about 1e-15 of itself below 0.

    Near 0, 1/2 + density * (x + x^3 / 3 + x^5 / (3 * 5) + ...); far below it, Laplace's continued
    fraction of the tail.
    """
    size = np.minimum(np.abs(x), FARTHEST)
    density = exp(-np.square(size) / 2) / ROOT_OF_2_PI
    near = np.minimum(size, FAR)
    term, series = near.copy(), near.copy()
    for k in range(1, TERMS):
        term = term * np.square(near) / (2 * k + 1)
        series = series + term
    far = np.maximum(size, FAR)
    fraction = far.copy()
    for k in range(TERMS, 0, -1):
        fraction = far + k / fraction
    tail = np.where(size < FAR, 0.5 - density * series, density / fraction)
    return np.asarray(np.where(x > 0, 1 - tail, tail))


def normal_quantile(p: Float64Array) -> Float64Array:
    """Return the x whose `normal_cdf` is p, by bisection; infinite of 0 and 1."""
    low, high = np.full(p.shape, -FARTHEST), np.full(p.shape, FARTHEST)
    for _ in range(70):
        middle = (low + high) / 2
        below = normal_cdf(middle) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found = (low + high) / 2
    return np.asarray(np.where(p <= 0, -np.inf, np.where(p >= 1, np.inf, found)))
