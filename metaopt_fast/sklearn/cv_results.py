"""Scores of candidates and splits as scikit-learn's `cv_results_`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array

Results = dict[str, Any]


def make_results(
    params: list[dict[str, Any]],
    scores: dict[str, Float64Array],
    fit_seconds: float,
    score_seconds: float,
) -> Results:
    """Return the `cv_results_` of a search.

    Parameters
    ----------
    params : list of dict
        The candidates, all with the same keys.
    scores : dict of str to numpy.ndarray of shape (n_candidates, n_splits)
        "score", or the names of several.
    fit_seconds, score_seconds : float
        Seconds of all models together, which share them alike.

    Returns
    -------
    dict of str to array
    """
    shape = next(iter(scores.values())).shape
    results: Results = {}
    for name, seconds in (("fit_time", fit_seconds), ("score_time", score_seconds)):
        results[f"mean_{name}"] = np.full(shape[0], seconds / (shape[0] * shape[1]))
        results[f"std_{name}"] = np.zeros(shape[0])
    for key in params[0]:
        results[f"param_{key}"] = masked_values([candidate[key] for candidate in params])
    results["params"] = params
    for name, values in scores.items():
        for k in range(shape[1]):
            results[f"split{k}_test_{name}"] = values[:, k].copy()
        with np.errstate(all="ignore"):
            mean, deviation = values.mean(axis=1), values.std(axis=1)
        if not np.isfinite(mean).all():
            warnings.warn(
                f"{np.count_nonzero(~np.isfinite(mean))} of {shape[0]} mean scores ({name}) are "
                "not finite: a split holds out rows of one class, or of no weight.",
                UserWarning,
                stacklevel=3,
            )
        results[f"mean_test_{name}"] = mean
        results[f"std_test_{name}"] = deviation
        results[f"rank_test_{name}"] = ranks(mean)
    return results


def masked_values(values: list[Any]) -> np.ma.MaskedArray[Any, Any]:
    """Return the candidates' values of one parameter, none of them masked."""
    array = np.empty(len(values), object)
    array[:] = values
    if all(isinstance(value, (int, float, np.number)) for value in values):
        array = np.array(values)
    return np.ma.MaskedArray(array, mask=np.zeros(len(values), bool))


def ranks(mean: Float64Array) -> npt.NDArray[np.int32]:
    """Return 1 for the greatest mean and so on; equal ones share the least rank, NaN is last."""
    keys = np.where(np.isnan(mean), np.inf, -mean)
    return (np.searchsorted(np.sort(keys), keys) + 1).astype(np.int32)
