"""Population optimisers in plain NumPy, candidate by candidate, which tests compare with.

Each yields the thetas of one generation after the other, shape (population, n_params). `loss` is a
function of one theta, `first` the first generation, and ``normals(g)`` the standard normal numbers
of generation g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Generations = Iterator[Array]
Loss = Callable[[Array], float]
Numbers = Callable[[int], Array]


def cem(
    loss: Loss,
    first: Array,
    normals: Numbers,
    mean: Array,
    sigma: Array,
    *,
    elite: float = 0.125,
    smoothing: float = 0.7,
    noise: float = 0.05,
    noise_generations: int = 50,
) -> Generations:
    """Mean and variance of the elite, smoothed (Rubinstein and Kroese 2004), plus a noise that
    falls linearly (Szita and Lorincz 2006)."""
    sigma0, thetas, g = sigma, first, 0
    while True:
        yield thetas
        g += 1
        best = by_loss(loss, thetas)[: max(1, round(elite * len(thetas)))]
        mean = smoothing * np.mean(best, axis=0) + (1 - smoothing) * mean
        sigma = smoothing * np.std(best, axis=0) + (1 - smoothing) * sigma
        sigma = np.sqrt(sigma**2 + sigma0**2 * noise * max(0, 1 - g / noise_generations))
        thetas = np.array([mean + sigma * z for z in normals(g)])


def snes(
    loss: Loss,
    first: Array,
    normals: Numbers,
    mu: Array,
    sigma: Array,
    *,
    learning_rate: float = 1.0,
    scale_learning_rate: float | None = None,
) -> Generations:
    """Separable natural evolution strategies (Schaul, Glasmachers and Schmidhuber 2011)."""
    (n, d), thetas, g = first.shape, first, 0
    eta = scale_learning_rate or (3 + np.log(d)) / (5 * np.sqrt(d))
    raw = [max(0, np.log(n / 2 + 1) - np.log(k)) for k in range(1, n + 1)]
    utilities = [u / sum(raw) - 1 / n for u in raw]
    while True:
        yield thetas
        g += 1
        s = [(theta - mu) / sigma for theta in by_loss(loss, thetas)]
        gradient_mu = sum(u * z for u, z in zip(utilities, s, strict=True))
        gradient_sigma = sum(u * (z**2 - 1) for u, z in zip(utilities, s, strict=True))
        mu = mu + learning_rate * sigma * gradient_mu
        sigma = sigma * np.exp(eta / 2 * gradient_sigma)
        thetas = np.array([mu + sigma * z for z in normals(g)])


def ars(
    loss: Loss,
    first: Array | None,
    normals: Numbers,
    theta: Array,
    sigma: Array,
    *,
    elite: float = 0.5,
    learning_rate: float = 0.1,
    exploration: float = 0.1,
) -> Generations:
    """Augmented random search, version V1-t (Mania, Guy and Recht 2018), of rewards r = -loss.

    ``normals(g)`` has population / 2 rows. The best of `first`, if any, is where it begins. A
    direction of zeros evaluates theta itself, and is not followed.
    """
    g = 0
    if first is not None:
        yield first
        theta, g = by_loss(loss, first)[0], 1
    while True:
        deltas = sigma * normals(g)
        plus, minus = theta + exploration * deltas, theta - exploration * deltas
        yield np.concatenate([plus, minus])
        g += 1
        rewards = [
            (-loss(p), -loss(m), d) for p, m, d in zip(plus, minus, deltas, strict=True) if d.any()
        ]
        rewards.sort(key=lambda r: -max(r[:2]))
        used = rewards[: max(1, round(elite * len(deltas)))]
        if not used:
            continue
        spread = np.std([r[:2] for r in used])
        theta = theta + learning_rate / (len(used) * spread) * sum((p - m) * d for p, m, d in used)


def shrinking(
    loss: Loss,
    first: Array,
    normals: Numbers,
    sigma: Array,
    *,
    shrink: float = 0.95,
    shrink_stuck: float = 0.7,
) -> Generations:
    """Normal steps around the best theta so far, with deviations that shrink."""
    lowest, best, thetas, g = np.inf, first[0], first, 0
    while True:
        yield thetas
        g += 1
        sigma, found = sigma * shrink, by_loss(loss, thetas)[0]
        if loss(found) < lowest:
            lowest, best = loss(found), found
        else:
            sigma = sigma * shrink_stuck
        thetas = np.array([best + sigma * z for z in normals(g)])


def integer_local_search(
    loss: Loss,
    draw: Numbers,
    choices: Numbers,
    keys: Numbers,
    low: Array,
    high: Array,
    *,
    max_nonzero: int | None = None,
    restart_after: int = 20,
) -> Generations:
    """The best neighbour, until none is better so many times; then the best of random points.

    ``draw(g)`` are random points, shape (population, n_params), `choices` and `keys` uniform
    numbers of shape (population, 7) and (population, n_params).
    """
    limit = len(low) if max_nonzero is None else max_nonzero
    best, lowest, g, stuck = low, np.inf, 0, None
    while True:
        if stuck is None:
            points = [sparse(x, k, limit) for x, k in zip(draw(g), keys(g), strict=True)]
        else:
            pairs = zip(choices(g), keys(g), strict=True)
            points = [neighbour(best, u, k, low, high, limit) for u, k in pairs]
        yield np.array(points)
        g += 1
        found = by_loss(loss, np.array(points))[0]
        if stuck is None or loss(found) < lowest:
            best, lowest, stuck = found, loss(found), 0
        else:
            stuck = stuck + 1 if stuck + 1 < restart_after else None


def neighbour(x: Array, u: Array, keys: Array, low: Array, high: Array, limit: int) -> Array:
    """Return x with one parameter changed, or two if u[6] < 1/2."""
    free = [j for j in range(len(x)) if low[j] < high[j]]
    if not free:
        return x
    x, keys = x.copy(), keys.copy()
    first = int(u[0] * len(free))
    second = (first + 1 + int(u[1] * (len(free) - 1))) % len(free)
    changes = [(free[first], u[2:4])]
    if len(free) > 1 and u[6] < 0.5:
        changes.append((free[second], u[4:6]))
    for j, choice in changes:
        x[j] = changed(x[j], choice, low[j], high[j])
    keys[free[second]] = 2
    keys[free[first]] = 3
    return sparse(x, keys, limit)


def changed(value: float, u: Array, low: float, high: float) -> float:
    """Return a value next to this one where u[0] < 1/2, else any other between the bounds."""
    if u[0] < 0.5:
        near = value - 1 if u[0] < 0.25 else value + 1
        return near if low <= near <= high else 2 * value - near
    others = [v for v in range(int(low), int(high) + 1) if v != value]
    return others[int(u[1] * len(others))]


def sparse(x: Array, keys: Array, limit: int) -> Array:
    """Return x with the entries of the highest keys alone, if more than `limit` are not 0."""
    nonzero = sorted(np.flatnonzero(x), key=lambda j: -keys[j])
    x = x.copy()
    x[nonzero[limit:]] = 0
    return x


def by_loss(loss: Loss, thetas: Array) -> Array:
    """Return the thetas, the one of the lowest loss first."""
    return np.array(sorted(thetas, key=loss))
