"""Objectives for tests of gradient descent."""

import numpy as np

import metaopt_fast as mf

X = np.random.default_rng(1).normal(size=(60, 4))
Y = (X @ [1.0, -1.0, 0.5, 0.0] + np.random.default_rng(2).normal(size=60) > 0).astype(int)


def logistic(**options):
    return mf.LogisticLoss(X, Y, **{"l2": 0.1, "fit_intercept": True, **options})


class Quadratic:
    """curvature/2 * |theta - optimum|^2, without a method lipschitz."""

    def __init__(self, optimum, curvature=1.0):
        self.optimum, self.curvature = np.asarray(optimum, float), curvature
        self.n_params = len(self.optimum)
        self.n_calls = 0

    def loss_gradient(self, theta):
        self.n_calls += 1
        away = theta - self.optimum
        with np.errstate(over="ignore"):
            return self.curvature / 2 * float(away @ away), self.curvature * away


class KnownQuadratic(Quadratic):
    def lipschitz(self):
        return self.curvature


class Scripted:
    """Losses and gradients as told; an exception is raised."""

    n_params = 2

    def __init__(self, *answers):
        self.answers = list(answers)

    def loss_gradient(self, theta):
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        loss, gradient = answer
        return loss, np.array(gradient, float)


class Rosenbrock:
    """A curved valley down to (1, 1)."""

    n_params = 2

    def loss_gradient(self, theta):
        a, b = theta
        gradient = [2 * (a - 1) - 400 * a * (b - a * a), 200 * (b - a * a)]
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2, gradient
