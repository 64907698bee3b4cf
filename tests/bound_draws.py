"""Random data sets for l1 paths, support vector machines and softmax: is a bound of theirs false?

A model in extended precision that is better than its bound allows shows it. It is found by Newton
steps from the one that is judged: on the columns that have weights, as long as these keep their
signs, on the rows that have slacks, or on all classes at once.
"""

import warnings
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
from exact_optimum import EPS, LONG, backward, factored, forward, sigmoid, softplus
from logistic_draws import KINDS, draw

import metaopt_fast as mf
from metaopt_fast.fitting import softmax_sets

STEPS, HALVINGS = 30, 40


@dataclass(frozen=True)
class Judged:
    """A model's objective above that of a better one, its bound, and what the judge may be off."""

    what: str
    gap: float
    gap_bound: float
    unsure: float
    converged: bool

    @property
    def is_false(self):
        return not self.gap <= self.gap_bound + self.unsure


def judge_path(seed):
    """Yield a verdict on each model of a path of l1 penalties."""
    rng = np.random.default_rng(seed)
    case = draw(seed, KINDS[seed % 3], 60)
    ratio = float(rng.choice([1.0, 0.9, 0.2]))
    factors = None
    if rng.random() < 0.3:
        factors = 10.0 ** rng.uniform(-1, 1, case.X.shape[1])
    yield from verdicts_on_path(case, ratio, factors, rng)


def judge_free_path(seed):
    """Yield a verdict on each model of a path some of whose features have no penalty."""
    rng = np.random.default_rng([seed, 1])
    case = draw(seed, KINDS[seed % 3], 60)
    factors = 10.0 ** rng.uniform(-1, 1, case.X.shape[1])
    factors[rng.permutation(len(factors))[: int(rng.integers(1, 4))]] = 0
    yield from verdicts_on_path(case, float(rng.choice([1.0, 0.5])), factors, rng)


def verdicts_on_path(case, ratio, factors, rng):
    """Yield a verdict on each model of a path, none where l1_max refuses it or is 0."""
    given = {"fit_intercept": case.fit_intercept, "penalty_factor": factors}
    try:
        strongest = mf.l1_max(case.X, case.y, case.weights, **given)
    except ValueError:  # features without a penalty leave no optimum
        return
    if strongest == 0:  # columns of zeros alone
        return
    l1 = strongest * 10.0 ** -np.sort(rng.uniform(0, 2.5, 3))
    l2 = (1 - ratio) / ratio * l1
    given |= {"sample_weight": case.weights, "tol": float(rng.choice([1e-3, 1e-8, 1e-12]))}
    fits = fitted(case, l1=l1, l2=l2, max_iter=int(rng.choice([2, 100])), **given)
    f = np.ones(case.X.shape[1]) if factors is None else factors
    for m, theta in enumerate(fits.theta):
        objective = PathObjective(case, LONG(l1[m]) * f, LONG(l2[m]) * f)
        yield verdict(f"{case.kind}, l1={l1[m]:.2g}, l2={l2[m]:.2g}", objective, theta, fits, m)


def judge_machine(seed):
    """Yield a verdict on a support vector machine."""
    rng = np.random.default_rng(seed)
    case = draw(seed, KINDS[seed % 3], 100)
    l2 = np.abs(case.X).max() ** 2 * 10.0 ** rng.uniform(-8, 0)
    given = {"fit_intercept": case.fit_intercept, "sample_weight": case.weights}
    given["max_iter"] = int(rng.choice([1, 3, 100]))
    fits = fitted(case, l2=l2, loss="squared_hinge", **given)
    objective = MachineObjective(case, LONG(l2))
    yield verdict(f"{case.kind}, l2={l2:.2g}", objective, fits.theta[0], fits, 0)


def judge_classes(seed):
    """Yield a verdict on a softmax regression of three classes or more, half of them by way of
    single precision."""
    rng = np.random.default_rng(seed)
    case, n_classes = draw(seed, KINDS[seed % 3], 24), int(rng.integers(3, 6))
    X = (case.X - case.X.mean(axis=0)) / np.maximum(case.X.std(axis=0), 1e-300)
    z = X @ rng.normal(size=(X.shape[1], n_classes)) + rng.gumbel(size=(len(X), n_classes))
    y = z.argmax(axis=1)
    y[: 2 * n_classes] = np.arange(2 * n_classes) % n_classes
    l2 = np.abs(case.X).max() ** 2 * 10.0 ** rng.uniform(-7, 0)
    given = {"fit_intercept": case.fit_intercept, "tol": float(rng.choice([1e-4, 1e-8, 1e-12]))}
    weights = None if case.weights is None else np.maximum(case.weights, 1e-3)
    case = replace(case, y=y, weights=weights)
    given |= {"sample_weight": weights, "max_iter": int(rng.choice([1, 100]))}
    with mock.patch.object(softmax_sets, "MANY", 1 if seed % 2 else 2**60):
        fits = fitted(case, l2=l2, **given)
    objective = ClassesObjective(case, LONG(l2))
    yield verdict(f"{case.kind}, l2={l2:.2g}", objective, fits.theta[0].ravel(), fits, 0)


def fitted(case, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return mf.fit_many(case.X, case.y, **options)


def verdict(what, objective, theta, fits, m):
    theta = theta.astype(LONG)
    best = objective.improved(theta)
    gap = objective.value(theta) - objective.value(best)
    return Judged(
        what,
        float(gap),
        float(fits.gap_bound[m]),
        float(64 * EPS * objective.size(theta)),
        bool(fits.converged[m]),
    )


class Rows:
    """The rows of a case in extended precision, with signs and weights that sum to 1."""

    def __init__(self, case):
        X = case.X.astype(LONG)
        self.n = X.shape[1]
        self.x = np.column_stack([X, np.ones(len(X), LONG)]) if case.fit_intercept else X
        self.sign = np.where(case.y == np.max(case.y), 1, -1).astype(LONG)
        w = np.ones(len(X), LONG) if case.weights is None else case.weights.astype(LONG)
        self.w = w / w.sum()

    def size(self, theta):
        """The largest sum of products in a margin, and what an objective is beside it."""
        return 1 + (np.abs(self.x) @ np.abs(theta)).max() * (1 + self.value(theta))

    def improved(self, theta):
        """Newton steps, halved until the objective falls, from theta on."""
        for _ in range(STEPS):
            step, value, size = self.step(theta), self.value(theta), LONG(1)
            for _ in range(HALVINGS):
                if self.value(theta - size * step) < value:
                    break
                size /= 2
            else:
                return theta
            theta = theta - size * step
        return theta


def solution(columns, gradient):
    """The inverse of columns' columns times a gradient."""
    lengths = np.sqrt((columns**2).sum(axis=0))
    scale = 1 / np.where(lengths > 0, lengths, 1)
    lower = factored(columns * scale)
    return scale * backward(lower, forward(lower, scale * gradient))


class PathObjective(Rows):
    """The mean logistic loss with penalties l1_j abs(theta_j) + l2_j theta_j^2 / 2."""

    def __init__(self, case, l1, l2):
        super().__init__(case)
        self.l1, self.l2 = l1, l2

    def value(self, theta):
        weights = theta[: self.n]
        penalty = self.l1 @ np.abs(weights) + self.l2 @ weights**2 / 2
        return self.w @ softplus(-self.sign * (self.x @ theta)) + penalty

    def step(self, theta):
        used = theta != 0
        used[self.n :] = True
        margins = self.sign * (self.x @ theta)
        p, q = sigmoid(-margins), sigmoid(margins)
        gradient = -self.x.T @ (self.sign * self.w * p)
        ridge = np.zeros(len(theta), LONG)
        ridge[: self.n] = self.l2
        gradient[: self.n] += self.l1 * np.sign(theta[: self.n]) + self.l2 * theta[: self.n]
        columns = np.vstack([self.x * np.sqrt(self.w * p * q)[:, None], np.diag(np.sqrt(ridge))])
        step = np.zeros(len(theta), LONG)
        if used.any():
            step[used] = solution(columns[:, used], gradient[used])
        return step


class MachineObjective(Rows):
    """The mean squared hinge loss with l2 theta'theta / 2."""

    def __init__(self, case, l2):
        super().__init__(case)
        self.l2 = l2

    def value(self, theta):
        slacks = np.maximum(0, 1 - self.sign * (self.x @ theta))
        return self.w @ slacks**2 + self.l2 / 2 * (theta[: self.n] @ theta[: self.n])

    def step(self, theta):
        slacks = np.maximum(0, 1 - self.sign * (self.x @ theta))
        ridge = np.zeros(len(theta), LONG)
        ridge[: self.n] = self.l2
        gradient = ridge * theta - self.x.T @ (2 * self.w * self.sign * slacks)
        inside = np.sqrt(2 * self.w * (slacks > 0))
        return solution(np.vstack([self.x * inside[:, None], np.diag(np.sqrt(ridge))]), gradient)


class ClassesObjective(Rows):
    """The mean softmax loss of classes 0 .. K - 1 with l2 |W|^2 / 2."""

    def __init__(self, case, l2):
        super().__init__(case)
        self.l2, self.y = l2, case.y
        self.ridge = np.zeros((case.y.max() + 1, self.x.shape[1]), LONG)
        self.ridge[:, : self.n] = l2

    def of_classes(self, theta):
        return theta.reshape(self.ridge.shape)

    def size(self, theta):
        theta = self.of_classes(theta)
        return 1 + (np.abs(self.x) @ np.abs(theta).T).max() * (1 + self.value(theta))

    def beyond(self, theta):
        """What margins are below the largest of their row."""
        z = self.x @ self.of_classes(theta).T
        return z - z.max(axis=1, keepdims=True)

    def value(self, theta):
        z = self.beyond(theta)
        losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), self.y]
        return self.w @ losses + (self.ridge * self.of_classes(theta) ** 2).sum() / 2

    def step(self, theta):
        p = np.exp(self.beyond(theta))
        p /= p.sum(axis=1, keepdims=True)
        n_classes = p.shape[1]
        residuals = self.w[:, None] * (p - np.eye(n_classes)[self.y])
        gradient = residuals.T @ self.x + self.ridge * self.of_classes(theta)
        # diag(p) - p p' is a product of a matrix with its own transpose.
        root = np.sqrt(self.w)[:, None, None] * (
            np.sqrt(p)[:, :, None] * np.eye(n_classes) - p[:, :, None] * np.sqrt(p)[:, None]
        )
        columns = np.einsum("ikl,ij->ilkj", root, self.x).reshape(p.size, -1)
        # What is common to all intercepts changes nothing, and is given a curvature.
        common = np.tile(self.ridge[0] == 0, n_classes).astype(LONG)
        ridge = np.diag(np.sqrt(self.ridge.ravel()))
        return solution(np.vstack([columns, ridge, common]), gradient.ravel())
