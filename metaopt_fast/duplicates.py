"""Rows that are the same: one of them, with the sum of their weights, says as much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metaopt_fast.packing import check_X, check_y, chunks
from metaopt_fast.validation import as_real_array, to_float64

Float64Array = npt.NDArray[np.float64]


def merge_duplicates(
    X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None
) -> tuple[Float64Array, npt.NDArray[np.bool_], Float64Array]:
    """Return the distinct rows in the order in which they first appear.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
    y : array_like of shape (n_samples,)
    sample_weight : array_like of shape (n_samples,), optional

    Returns
    -------
    X : numpy.ndarray of shape (n_distinct, n_features), float64
    positive : numpy.ndarray of shape (n_distinct,), bool
    sample_weight : numpy.ndarray of shape (n_distinct,), float64
        Sums over rows with the same numbers and the same label.

    Examples
    --------
    >>> X, positive, weights = merge_duplicates([[1, 2], [1, 2], [3, 4]], [0, 0, 1], None)
    >>> X.tolist(), weights.tolist()
    ([[1.0, 2.0], [3.0, 4.0]], [2.0, 1.0])
    """
    array = check_X(X)
    positive = check_y(y, len(array))
    weights = np.ones(len(array))
    if sample_weight is not None:
        wanted = "an array of shape (n_samples,) of finite numbers >= 0"
        weights = to_float64(as_real_array("sample_weight", sample_weight, 1, wanted))
        if len(weights) != len(array):
            raise ValueError(
                f"sample_weight has {len(weights)} entries, but X has {len(array)} rows: pass one "
                "weight for each row."
            )
    rows = np.empty((len(array), array.shape[1] + 1))
    for chunk, part in chunks(array, np.arange(len(array)), "float64"):
        rows[part, :-1] = chunk + 0.0  # -0 is 0
    rows[:, -1] = positive
    _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros(len(first))
    np.add.at(sums, number.ravel(), weights)
    order = np.argsort(first)
    kept = first[order]
    return rows[kept, :-1], positive[kept], sums[order]
