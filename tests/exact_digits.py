"""A logistic regression of a few rows at 60 digits, whose exponents have no limits."""

import mpmath
import numpy as np
from mpmath import mpf

DIGITS = 60
# A squared Newton decrement, as a part of the objective, below which nothing is left to gain.
NOTHING = mpf(10) ** -50


def number(value):
    """A float, or a long double, as it is."""
    high = float(value)
    return mpf(high) + mpf(float(value - high)) if np.isfinite(high) else mpf(high)


def decayed(z):
    """exp(-|z|), or 0 where no double could tell: mpmath would write out all its digits."""
    return mpmath.exp(-abs(z)) if abs(z) < 1e6 else mpf(0)


def softplus(z):
    return max(z, mpf(0)) + mpmath.log1p(decayed(z))


def sigmoid(z):
    e = decayed(z)
    return (e if z < 0 else 1) / (1 + e)


class Digits:
    """sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 |beta|^2, of which the intercept is free."""

    def __init__(self, X, y, weights=None, *, l2, fit_intercept, class_weight=None):
        y = np.asarray(y) == np.max(y)
        with mpmath.workdps(DIGITS):
            rows = [[number(x) for x in row] + [mpf(1)] * fit_intercept for row in X]
            self.rows = [
                row if positive else [-x for x in row]
                for row, positive in zip(rows, y, strict=True)
            ]
            w = [number(v) for v in (np.ones(len(y)) if weights is None else weights)]
            if class_weight is not None:
                w = [
                    v * number(class_weight[int(positive)])
                    for v, positive in zip(w, y, strict=True)
                ]
            self.w = [v / mpmath.fsum(w) for v in w]
            self.l2 = [number(l2)] * (len(rows[0]) - fit_intercept) + [mpf(0)] * fit_intercept

    def loss(self, theta):
        """The objective at a theta of numbers of any kind."""
        with mpmath.workdps(DIGITS):
            theta = [t if isinstance(t, mpf) else number(t) for t in theta]
            return (
                mpmath.fsum(
                    w * softplus(-mpmath.fdot(row, theta))
                    for w, row in zip(self.w, self.rows, strict=True)
                )
                + mpmath.fsum(r * t**2 for r, t in zip(self.l2, theta, strict=True)) / 2
            )

    def least(self, start=None, n_steps=1000):
        """The least objective that Newton's method finds, so an upper bound of the optimum."""
        with mpmath.workdps(DIGITS):
            theta = [mpf(0)] * len(self.l2) if start is None else [number(t) for t in start]
            loss = self.loss(theta)
            for _ in range(n_steps):
                step, decrement = self.newton_step(theta)
                if decrement <= NOTHING * loss:
                    break
                size = mpf(1)
                while size > 1e-9:
                    moved = [t - size * s for t, s in zip(theta, step, strict=True)]
                    new_loss = self.loss(moved)
                    if new_loss <= loss - size * decrement / 4:
                        break
                    size /= 2
                else:
                    break
                theta, loss = moved, new_loss
            return loss

    def newton_step(self, theta):
        """The step, and the square of its length in the Hessian's norm."""
        n = len(theta)
        gradient = [r * t for r, t in zip(self.l2, theta, strict=True)]
        hessian = [[self.l2[j] if j == k else mpf(0) for k in range(n)] for j in range(n)]
        for w, row in zip(self.w, self.rows, strict=True):
            margin = mpmath.fdot(row, theta)
            p, q = sigmoid(-margin), sigmoid(margin)
            for j in range(n):
                gradient[j] -= w * p * row[j]
                for k in range(n):
                    hessian[j][k] += w * p * q * row[j] * row[k]
        return solve(hessian, gradient)


def solve(matrix, right):
    """The solution of a symmetric system, and right' matrix^-1 right; by elimination.

    A parameter whose pivot is rounding is left out.
    """
    n, matrix, x = len(right), [row[:] for row in matrix], list(right)
    diagonal = [matrix[j][j] for j in range(n)]
    kept, square = [], mpf(0)
    for j in range(n):
        if matrix[j][j] <= mpf(10) ** (10 - DIGITS) * diagonal[j]:
            x[j] = mpf(0)
            continue
        kept.append(j)
        square += x[j] ** 2 / matrix[j][j]
        for i in range(j + 1, n):
            factor = matrix[i][j] / matrix[j][j]
            x[i] -= factor * x[j]
            for k in range(j, n):
                matrix[i][k] -= factor * matrix[j][k]
    for j in reversed(kept):
        x[j] = (x[j] - mpmath.fdot(matrix[j][j + 1 :], x[j + 1 :])) / matrix[j][j]
    return x, square
