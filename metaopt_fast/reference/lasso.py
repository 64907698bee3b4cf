"""Models with an l1 penalty by proximal gradient steps: slow, short, obviously right.

The twin of `metaopt_fast.fit_many` with `l1` in plain NumPy. It checks nothing that it is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def l1_max(
    rows: Array, positive: Array, w: Array, fit_intercept: bool = True, f: Array | float = 1.0
) -> float:
    """Return the least l1 that leaves no weight but those of factor 0; w sums to 1."""
    factors = f * np.ones(rows.shape[1])
    p = w[positive].sum() if fit_intercept else 0.5
    slopes = rows.T @ (w * (p - positive))
    if (factors == 0).any():
        theta = fit(rows, positive, w, 1e10, fit_intercept=fit_intercept, f=factors)
        slopes = gradient(theta, rows, positive, w)[: rows.shape[1]]
    return float((np.abs(slopes) / np.where(factors > 0, factors, np.inf)).max())


def objective(
    theta: Array,
    rows: Array,
    positive: Array,
    w: Array,
    l1: float,
    l2: float,
    f: Array | float = 1.0,
) -> Any:
    """Return sum_i w_i softplus(-m_i) + sum_j f_j (l1 |theta_j| + l2 / 2 theta_j^2), the intercept
    left out."""
    weights, intercept = theta[: rows.shape[1]], theta[rows.shape[1] :].sum()
    z = np.where(positive, -1, 1) * (rows @ weights + intercept)
    penalties = f * (l1 * np.abs(weights) + l2 / 2 * weights**2)
    return w @ np.logaddexp(0, z) + penalties.sum()


def gradient(theta: Array, rows: Array, positive: Array, w: Array) -> Array:
    """Return the gradient of the loss alone, the intercept's last if there is one."""
    n = rows.shape[1]
    t = rows @ theta[:n] + theta[n:].sum()
    residuals = w * (np.exp(-np.logaddexp(0, -t)) - positive)
    return np.append(rows.T @ residuals, residuals.sum())[: len(theta)]


def soft_threshold(theta: Array, threshold: Array | float) -> Array:
    """Return theta moved towards 0 by a threshold, and no further."""
    return np.asarray(np.sign(theta) * np.maximum(np.abs(theta) - threshold, 0))


def fit(
    rows: Array,
    positive: Array,
    w: Array,
    l1: float,
    l2: float = 0.0,
    fit_intercept: bool = True,
    tol: float = 1e-12,
    max_iter: int = 100_000,
    f: Array | float = 1.0,
) -> Array:
    """Return theta, the intercept last, where a proximal step moves no entry by more than tol.
    `f` are factors of the penalties.

    Steps are accelerated, and begin anew where they turn against themselves (Beck and Teboulle
    2009, O'Donoghue and Candes 2015).
    """
    n = rows.shape[1]
    full = np.column_stack([rows, np.ones(len(rows))]) if fit_intercept else rows
    step = 4 / np.linalg.eigvalsh((full.T * w) @ full).max()
    penalised = np.arange(full.shape[1]) < n
    factors = np.ones(full.shape[1])
    factors[:n] = f
    theta = ahead = np.zeros(full.shape[1])
    momentum = 1.0
    for _ in range(max_iter):
        moved = ahead - step * gradient(ahead, rows, positive, w)
        shrunk = soft_threshold(moved, step * l1 * factors) / (1 + step * l2 * factors)
        after = np.where(penalised, shrunk, moved)
        if np.abs(after - ahead).max() <= tol:
            return np.asarray(after)
        if (ahead - after) @ (after - theta) > 0:
            momentum = 1.0
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / faster * (after - theta)
        theta, momentum = after, faster
    return theta
