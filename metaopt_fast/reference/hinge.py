"""Linear support vector machines of the squared hinge loss: slow, short, obviously right.

The twin of `metaopt_fast.fit_many` with `loss="squared_hinge"` in plain NumPy. It checks nothing
that it is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def slacks(theta: Array, rows: Array, positive: Array) -> Array:
    """Return max(0, 1 - m_i), how far each row is from having a margin of 1."""
    n = rows.shape[1]
    decisions = rows @ theta[:n] + theta[n:].sum()
    return np.asarray(np.maximum(0, 1 - np.where(positive, decisions, -decisions)))


def objective(theta: Array, rows: Array, positive: Array, w: Array, l2: float) -> Any:
    """Return sum_i w_i max(0, 1 - m_i)^2 + l2 / 2 |theta|^2, the intercept left out."""
    weights = theta[: rows.shape[1]]
    return w @ slacks(theta, rows, positive) ** 2 + l2 / 2 * weights @ weights


def dual(alphas: Array, rows: Array, positive: Array, w: Array, l2: float) -> Any:
    """Return the dual's value, which is below every objective: alphas are not negative and, where
    there is an intercept, have the same sum in both classes."""
    weights = rows.T @ (np.where(positive, 1, -1) * alphas) / l2
    return alphas.sum() - (alphas**2 / (4 * w)).sum() - l2 / 2 * weights @ weights


def gap(
    theta: Array, rows: Array, positive: Array, w: Array, l2: float, fit_intercept: bool = True
) -> float:
    """Return how far theta is above the dual's value of its own slacks.

    With an intercept, those of the class that has more of them are shrunk first.
    """
    alphas = 2 * w * slacks(theta, rows, positive)
    sums = np.array([alphas[~positive].sum(), alphas[positive].sum()])
    if fit_intercept:
        alphas = alphas * (sums.min() / np.where(sums > 0, sums, 1))[positive.astype(int)]
    value = dual(alphas, rows, positive, w, l2)
    return float(objective(theta, rows, positive, w, l2) - value)


def fit(rows: Array, positive: Array, w: Array, l2: float, fit_intercept: bool = True) -> Array:
    """Return theta, the intercept last: least squares of the rows that have a slack, again and
    again, until these are the same rows; w sums to 1.

    A step that does not lower the objective is halved.
    """
    full = np.column_stack([rows, np.ones(len(rows))]) if fit_intercept else rows
    targets = np.where(positive, 1.0, -1.0)
    ridge = np.diag(l2 * (np.arange(full.shape[1]) < rows.shape[1]))
    theta = np.zeros(full.shape[1])
    while True:
        inside = slacks(theta, rows, positive) > 0
        weighted = 2 * full[inside].T * w[inside]
        hessian = weighted @ full[inside] + ridge
        step = np.linalg.lstsq(hessian, weighted @ targets[inside] - hessian @ theta, rcond=None)[0]
        before, size = objective(theta, rows, positive, w, l2), 1.0
        while objective(theta + size * step, rows, positive, w, l2) > before and size > 1e-6:
            size /= 2
        theta = theta + size * step
        if size <= 1e-6 or ((inside == (slacks(theta, rows, positive) > 0)).all() and size == 1):
            return np.asarray(theta)
