"""Gradient descent of one theta in plain NumPy, formula by formula, which tests compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Steps = Iterator[Array]
Gradient = Callable[[Array], Array]
Schedule = Callable[[int], float]
Rate = float | Schedule


def cosine_decay(
    init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0
) -> Schedule:
    """eta_t = eta_0 ((1 - alpha) ((1 + cos(pi t / T)) / 2)^exponent + alpha), t at most T."""

    def rate(t: int) -> float:
        wave = (1 + np.cos(np.pi * min(t, decay_steps) / decay_steps)) / 2
        return float(init_value * ((1 - alpha) * wave**exponent + alpha))

    return rate


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """eta_t = eta_0 rate^((t - begin) / steps), within a bound."""

    def rate(t: int) -> float:
        power = max(t - transition_begin, 0) / transition_steps
        eta = init_value * decay_rate ** (np.floor(power) if staircase else power)
        if end_value is None:
            return float(eta)
        return float(max(eta, end_value) if decay_rate < 1 else min(eta, end_value))

    return rate


def piecewise_constant(init_value: float, boundaries_and_scales: dict[int, float]) -> Schedule:
    """eta_t = eta_0 times the scales of all boundaries <= t."""

    def rate(t: int) -> float:
        return float(init_value * np.prod([f for b, f in boundaries_and_scales.items() if b <= t]))

    return rate


def rates(learning_rate: Rate) -> Iterator[float]:
    """The rates of the steps, one after the other: all the same, or those of a schedule."""
    return map(learning_rate, count()) if callable(learning_rate) else repeat(learning_rate)


def best_by(losses: list[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """Return after how many steps a loss is lowest, and after how many it has not fallen for
    `patience` steps by more than min_delta below the last one that counted; or all are made."""
    target, n_iter, waited = losses[0] - min_delta, 0, 0
    while n_iter < len(losses) - 1 and waited < patience:
        n_iter, waited = n_iter + 1, waited + 1
        if losses[n_iter] < target:
            target, waited = losses[n_iter] - min_delta, 0
    return int(np.argmin(losses[: n_iter + 1])), n_iter


def gd(grad: Gradient, theta: Array, *, learning_rate: Rate) -> Steps:
    """theta <- theta - eta g."""
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        theta = theta - eta * grad(theta)
        yield theta


def momentum(grad: Gradient, theta: Array, *, learning_rate: Rate, momentum: float = 0.9) -> Steps:
    """v <- mu v + g, theta <- theta - eta v (Polyak 1964, as PyTorch's SGD)."""
    v = np.zeros_like(theta)
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        v = momentum * v + grad(theta)
        theta = theta - eta * v
        yield theta


def nesterov(
    grad: Gradient, y: Array, *, learning_rate: Rate, momentum: Any = None, restart: bool = True
) -> Steps:
    """x' = y - eta g(y), y' = x' + mu (x' - x) (Nesterov 1983), mu = (t - 1) / t' or constant;
    restarted where g . (x' - x) > 0 (O'Donoghue and Candes 2015)."""
    x, t = y, 1.0
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        g = grad(y)
        x, before = y - eta * g, x
        t, last = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        mu = (last - 1) / t if momentum is None else momentum
        if restart and g @ (x - before) > 0:
            before, t = x, 1.0
        y = x + mu * (x - before)
        yield y


def adagrad(grad: Gradient, theta: Array, *, learning_rate: Rate, eps: float = 1e-10) -> Steps:
    """G <- G + g^2, theta <- theta - eta g / (sqrt(G) + eps) (Duchi et al. 2011)."""
    total = np.zeros_like(theta)
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        g = grad(theta)
        total += g**2
        theta = theta - eta * g / (np.sqrt(total) + eps)
        yield theta


def rmsprop(
    grad: Gradient,
    theta: Array,
    *,
    learning_rate: Rate,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
) -> Steps:
    """G <- alpha G + (1 - alpha) g^2, v <- mu v + g / (sqrt(G) + eps), theta <- theta - eta v."""
    mean, v = np.zeros_like(theta), np.zeros_like(theta)
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        g = grad(theta)
        mean = alpha * mean + (1 - alpha) * g**2
        v = momentum * v + g / (np.sqrt(mean) + eps)
        theta = theta - eta * v
        yield theta


def adamw(
    grad: Gradient,
    theta: Array,
    *,
    learning_rate: Rate,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Steps:
    """Adam (Kingma, Ba 2015) after theta <- (1 - eta decay) theta (Loshchilov, Hutter 2019)."""
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    etas = rates(learning_rate)
    while True:
        eta = next(etas)
        g, t = grad(theta), t + 1
        theta = theta - eta * weight_decay * theta
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        spread = np.sqrt(v / (1 - betas[1] ** t)) + eps
        theta = theta - eta * m / (1 - betas[0] ** t) / spread
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


def race(
    traces: Array, diverged: Array, brackets: list[tuple[int, int, dict[int, int]]]
) -> tuple[Array, int]:
    """Return whom a race drops, and the looks at all rows that it takes.

    `traces` are losses of held-out rows, (K, n_steps + 1), NaN behind an end. A bracket has the
    candidates first .. last - 1, and says after how many steps how many are kept. A candidate is
    worth the lowest loss so far, nothing once it has diverged; one that has ended is not dropped.
    """
    best = np.fmin.accumulate(traces, axis=1)
    n_iter = np.count_nonzero(~np.isnan(traces), axis=1) - 1
    stop = n_iter.copy()
    dropped = np.zeros(len(traces), bool)
    for first, last, kept in brackets:
        for step, n_kept in sorted(kept.items()):
            left = [k for k in range(first, last) if not dropped[k]]
            at = min(step, best.shape[1] - 1)
            worth = [np.inf if diverged[k] and n_iter[k] <= step else best[k, at] for k in left]
            order = [left[i] for i in np.argsort(worth, kind="stable")]
            for k in order[n_kept:]:
                if n_iter[k] > step:
                    dropped[k], stop[k] = True, step
    return dropped, int((stop + 1).sum())
