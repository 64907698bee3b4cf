"""What tests of evolutions share: objectives, starts, a hash of results."""

import hashlib

import numpy as np
from searches import problem

import metaopt_fast as mf

CONTINUOUS = ("cem", "snes", "ars", "shrinking")
METHODS = (*CONTINUOUS, "integer_local_search")


class Quadratic:
    """The squared distance from an optimum; remembers what it was asked."""

    def __init__(self, optimum=(1.0, -2.0, 0.5)):
        self.optimum = np.array(optimum)
        self.n_params, self.asked = len(self.optimum), []

    def batch_loss(self, thetas):
        self.asked.append(thetas.copy())
        return ((thetas - self.optimum) ** 2).sum(axis=1)

    def loss(self, theta):
        return ((theta - self.optimum) ** 2).sum()


class Scripted:
    """Generation after generation of given losses, or errors to raise; then ones.

    `known` are losses of thetas that were asked before, as of the best that a checkpoint holds.
    """

    n_params = 2
    fingerprint = "scripted"

    def __init__(self, *answers, known=None):
        self.answers, self.calls, self.known = list(answers), 0, known

    def batch_loss(self, thetas):
        if self.known is None:
            return self.answer(thetas)
        names = [theta.tobytes() for theta in thetas]
        if not set(names) <= set(self.known):
            self.known.update(zip(names, self.answer(thetas), strict=True))
        return np.array([self.known[name] for name in names])

    def answer(self, thetas):
        self.calls += 1
        answer = self.answers[self.calls - 1] if self.calls <= len(self.answers) else 1.0
        if isinstance(answer, BaseException):
            raise answer
        return np.broadcast_to(np.asarray(answer), (len(thetas),))


class ErrorRate:
    """The 0-1 loss of linear models."""

    n_params = 7

    def __init__(self):
        X, y = problem()
        self.rows = np.where(y, 1.0, -1.0)[:, None] * X

    def batch_loss(self, thetas):
        return (self.rows @ thetas.T <= 0).mean(axis=0)


def logistic(**options):
    return mf.LogisticLoss(*problem(), l2=1e-3, fit_intercept=True, **options)


def start_of(method):
    return mf.Integers(-5, 5) if method == "integer_local_search" else mf.Normal()


def run(method, objective=None, **options):
    """An evolution that is short enough for a test."""
    options = {"population": 32, "generations": 12, "seed": 3, "top_k": 5, **options}
    objective = logistic() if objective is None else objective
    return mf.evolve(objective, start_of(method), method=method, **options)


def digest(result):
    """A hash of all that must not depend on how an evolution was run."""
    names = ("top", "top_thetas", "trace", "center", "scale")
    parts = [getattr(result, name).tobytes() for name in names]
    return hashlib.sha256(b"|".join(parts)).hexdigest()
