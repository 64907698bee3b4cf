"""Sums of products of packed rows, some panels at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.typing import Array, Float64Array

# Panels that are at work together.
PANELS_AT_ONCE = 512


def exponent_of(largest: float) -> int:
    """Return the power of two to divide by, so that squares stay in the range of floats."""
    return max(-1000, min(1000, math.frexp(largest)[1]))


def products_of_columns(
    panels: Array, weights: Float64Array, exponent: int, n_threads: int
) -> Float64Array:
    """Return the sum of the columns' products with each other, divided by 4**exponent."""
    n_columns = panels.shape[1]
    moment = np.zeros((n_columns, n_columns))
    for some, part in some_panels(panels, weights):
        columns = np.empty((n_columns, len(some), some.shape[2]))
        columns[:] = some.transpose(1, 0, 2)
        columns *= math.ldexp(1.0, -exponent)
        columns *= part
        _kernels.add_gram(columns.reshape(n_columns, -1), moment, n_threads)
    return moment


def products_of_rows(
    panels: Array, weights: Float64Array, exponent: int, n_threads: int
) -> Float64Array:
    """Return the products of the rows with each other, divided by 4**exponent."""
    used = weights > 0
    rows = panels.astype(np.float64).transpose(0, 2, 1)[used]
    rows *= math.ldexp(1.0, -exponent)
    rows *= weights[used][:, None]
    moment = np.zeros((len(rows), len(rows)))
    _kernels.add_gram(rows, moment, n_threads)
    return moment


def some_panels(panels: Array, weights: Float64Array) -> Iterator[tuple[Array, Float64Array]]:
    """Yield some panels at a time, and the weights of their rows."""
    for first in range(0, len(panels), PANELS_AT_ONCE):
        some = slice(first, first + PANELS_AT_ONCE)
        yield panels[some], weights[some]
