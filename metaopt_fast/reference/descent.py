"""Gradient descent of one theta in plain NumPy, formula by formula, which tests compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Steps = Iterator[Array]
Gradient = Callable[[Array], Array]


def gd(grad: Gradient, theta: Array, *, learning_rate: float) -> Steps:
    """theta <- theta - eta g."""
    while True:
        theta = theta - learning_rate * grad(theta)
        yield theta


def momentum(grad: Gradient, theta: Array, *, learning_rate: float, momentum: float = 0.9) -> Steps:
    """v <- mu v + g, theta <- theta - eta v (Polyak 1964, as PyTorch's SGD)."""
    v = np.zeros_like(theta)
    while True:
        v = momentum * v + grad(theta)
        theta = theta - learning_rate * v
        yield theta


def nesterov(
    grad: Gradient, y: Array, *, learning_rate: float, momentum: Any = None, restart: bool = True
) -> Steps:
    """x' = y - eta g(y), y' = x' + mu (x' - x) (Nesterov 1983), mu = (t - 1) / t' or constant;
    restarted where g . (x' - x) > 0 (O'Donoghue and Candes 2015)."""
    x, t = y, 1.0
    while True:
        g = grad(y)
        x, before = y - learning_rate * g, x
        t, last = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        mu = (last - 1) / t if momentum is None else momentum
        if restart and g @ (x - before) > 0:
            before, t = x, 1.0
        y = x + mu * (x - before)
        yield y


def adagrad(grad: Gradient, theta: Array, *, learning_rate: float, eps: float = 1e-10) -> Steps:
    """G <- G + g^2, theta <- theta - eta g / (sqrt(G) + eps) (Duchi et al. 2011)."""
    total = np.zeros_like(theta)
    while True:
        g = grad(theta)
        total += g**2
        theta = theta - learning_rate * g / (np.sqrt(total) + eps)
        yield theta


def rmsprop(
    grad: Gradient,
    theta: Array,
    *,
    learning_rate: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
) -> Steps:
    """G <- alpha G + (1 - alpha) g^2, v <- mu v + g / (sqrt(G) + eps), theta <- theta - eta v."""
    mean, v = np.zeros_like(theta), np.zeros_like(theta)
    while True:
        g = grad(theta)
        mean = alpha * mean + (1 - alpha) * g**2
        v = momentum * v + g / (np.sqrt(mean) + eps)
        theta = theta - learning_rate * v
        yield theta


def adamw(
    grad: Gradient,
    theta: Array,
    *,
    learning_rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Steps:
    """Adam (Kingma, Ba 2015) after theta <- (1 - eta decay) theta (Loshchilov, Hutter 2019)."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    while True:
        g, t = grad(theta), t + 1
        theta = theta - learning_rate * weight_decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        spread = np.sqrt(v / (1 - betas[1] ** t)) + eps
        theta = theta - learning_rate * m / (1 - betas[0] ** t) / spread
        yield theta


def adam(grad: Gradient, theta: Array, **options: Any) -> Steps:
    """AdamW without decay."""
    return adamw(grad, theta, weight_decay=0.0, **options)


def lbfgs_direction(g: Array, pairs: list[tuple[Array, Array]]) -> Array:
    """-H g by two loops over (step, change of gradient), oldest first (Nocedal 1980)."""
    q, alphas = g, []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    for s, y in pairs[-1:]:
        q = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - y @ q / (s @ y)) * s
    return -q


def descend(method: Callable[..., Steps], objective: Any, theta: Array, n: int, **o: Any) -> Array:
    """Return theta and the n thetas that follow, (n + 1, n_params)."""
    steps = method(objective.gradient, theta, **o)
    return np.array([theta, *(next(steps) for _ in range(n))])
