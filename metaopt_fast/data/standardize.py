"""Columns given mean 0 and standard deviation 1, with the same bits on every machine."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from metaopt_fast.floating_errors import shielded


@shielded
def standardize(
    X: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give each column of X, in place, mean 0 and standard deviation 1; return what they were.

    A constant column becomes 0, and its standard deviation is returned as 1. Columns are scaled by
    a power of two first, so that no finite number overflows; sums are exact, so that the bits are
    the same on every machine. The mean that is returned is rounded to a float: where a column
    varies in its last digits alone, what is left of it was subtracted, too.
    """
    mean, scale = np.empty(X.shape[1]), np.ones(X.shape[1])
    for j, column in enumerate(X.T):
        exponent = math.frexp(np.abs(column).max())[1]
        column[:] = np.ldexp(column, -exponent)
        if column.min() == column.max():
            # Exactly 0: the rounding of the mean would be blown up to whole deviations.
            mean[j], column[:] = math.ldexp(column[0], exponent), 0.0
            continue
        center = math.fsum(column.tolist()) / len(column)
        column -= center
        # The rounding of the center, which may be as large as the deviation.
        column -= math.fsum(column.tolist()) / len(column)
        deviation = math.sqrt(math.fsum(np.square(column).tolist()) / len(column))
        column /= deviation
        mean[j], scale[j] = math.ldexp(center, exponent), math.ldexp(deviation, exponent)
    return mean, scale
