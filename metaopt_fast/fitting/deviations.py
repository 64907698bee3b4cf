"""Standard deviations of columns over training rows: of each fold that is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.numbers import check_range
from metaopt_fast.data.packed import CHUNK_ROWS
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64


@shielded
def deviations(
    X: npt.NDArray[Any], weights: Float64Array, fold: IndexArray, left_out: Sequence[int]
) -> Float64Array:
    """Return the standard deviation of each column over the rows of all folds but each of
    `left_out` (-1: of all), weighted; 1 where a column is constant: (len(left_out), n_features).

    Each fold's rows are summed once, whatever the number of folds, about the middle of their own
    range: of numbers far from 0 no digit is lost, and what folds have in common is added up by
    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
    Statistician 37 (1983).
    """
    n_folds = int(fold.max()) + 1
    weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    low = np.full((n_folds, X.shape[1]), np.inf)
    high = -low
    for f, part, _ in _parts(X, weights, fold):
        np.minimum(low[f], part.min(axis=0), out=low[f])
        np.maximum(high[f], part.max(axis=0), out=high[f])
    present = np.isfinite(low[:, 0])
    largest = np.maximum(np.abs(low[present]), np.abs(high[present])).max(axis=0)
    exponents = np.frexp(largest)[1]
    middle = np.zeros_like(low)
    middle[present] = (
        np.ldexp(low[present], -exponents) / 2 + np.ldexp(high[present], -exponents) / 2
    )
    totals, means, squares = np.zeros(n_folds), np.zeros_like(low), np.zeros_like(low)
    for f, part, of_rows in _parts(X, weights, fold):
        totals[f] += of_rows.sum()
        means[f] += ((np.ldexp(part, -exponents) - middle[f]) * of_rows[:, None]).sum(axis=0)
    means[present] /= totals[present, None]
    for f, part, of_rows in _parts(X, weights, fold):
        away = np.ldexp(part, -exponents) - middle[f] - means[f]
        squares[f] += (np.square(away) * of_rows[:, None]).sum(axis=0)
    found = np.empty((len(left_out), X.shape[1]))
    for row, f in zip(found, left_out, strict=True):
        some = present & (np.arange(n_folds) != f)
        parts, total = totals[some, None], totals[some].sum()
        places = middle[some] - middle[some][0] + means[some]
        mean = (places * parts).sum(axis=0) / total
        between = (np.square(places - mean) * parts).sum(axis=0)
        variances = (squares[some].sum(axis=0) + between) / total
        varies = (low[some].min(axis=0) < high[some].max(axis=0)) & (variances > 0)
        row[:] = np.where(varies, np.ldexp(np.sqrt(variances), exponents), 1.0)
    return found


def _parts(
    X: npt.NDArray[Any], weights: Float64Array, fold: IndexArray
) -> Iterator[tuple[int, Float64Array, Float64Array]]:
    """Yield the rows of positive weight, some of one fold at a time, and their weights."""
    for first in range(0, len(X), CHUNK_ROWS):
        chunk = to_float64(X[first : first + CHUNK_ROWS])
        check_range(chunk, first, "float64")
        of_rows, of_folds = (of[first : first + CHUNK_ROWS] for of in (weights, fold))
        for f in np.unique(of_folds[of_rows > 0]).tolist():
            used = (of_folds == f) & (of_rows > 0)
            yield f, np.ascontiguousarray(chunk[used]), of_rows[used]
