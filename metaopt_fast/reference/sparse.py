"""Sparse rows in plain Python: lists of (row, column, number), slow, short, obviously right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.reference.losses import LogisticLoss, sigmoid

Array = npt.NDArray[Any]
Triples = Iterable[tuple[int, int, float]]


def dense(triples: Triples, shape: tuple[int, int]) -> Array:
    """Return the matrix of triples: those of one place are added."""
    X = np.zeros(shape)
    for row, column, number in triples:
        X[row, column] += number
    return X


def products(triples: Triples, x: Array, n_rows: int) -> Array:
    """Return the product of each row with x."""
    found = np.zeros(n_rows)
    for row, column, number in triples:
        found[row] += number * x[column]
    return found


def conjugate_gradients(multiply: Any, b: Array, steps: int) -> Array:
    """Return x of A x = b, A symmetric and positive definite (Hestenes & Stiefel 1952)."""
    x, residual = np.zeros_like(b), b.copy()
    direction = residual
    for _ in range(steps):
        if not residual.any():
            break
        product = multiply(direction)
        alpha = residual @ residual / (direction @ product)
        x = x + alpha * direction
        before, residual = residual @ residual, residual - alpha * product
        direction = residual + residual @ residual / before * direction
    return x


def fit(X: Array, y: Array, l2: float, weights: Array | None = None, steps: int = 30) -> Array:
    """Return the logistic regression with an intercept, its last entry, by Newton's method."""
    loss = LogisticLoss(X, y, weights, l2=l2, fit_intercept=True)
    rows, w = loss.signed_X, loss.w
    theta = np.zeros(rows.shape[1])
    penalised = np.arange(len(theta)) < X.shape[1]
    for _ in range(steps):
        p = sigmoid(rows @ theta)
        h = w * p * (1 - p) / w.sum()
        step = conjugate_gradients(
            lambda v, h=h: rows.T @ (h * (rows @ v)) + l2 * penalised * v,
            -loss.loss_gradient(theta)[1],
            4 * len(theta),
        )
        while loss.loss_gradient(theta + step)[0] > loss.loss_gradient(theta)[0] + 1e-14:
            step = step / 2
        theta = theta + step
    return theta
