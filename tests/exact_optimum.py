"""The optimum of a logistic regression, found and proven by arithmetic of its own.

Features are rotated first: with X = L Q', Q' of orthonormal rows, beta = Q a has the margins L a
and the length of a, so that the objective is that of L, whose columns are no more than X has rows
or columns. L is computed in pairs of doubles (106 bits), after which its columns are graded: a
direction in which all rows lie far off has a column of its own, and cancels with nothing. Newton's
method then runs in extended precision (long double), and duality says how near the optimum it is.
"""

from dataclasses import dataclass

import numpy as np

LONG = np.longdouble
EPS = np.finfo(LONG).eps
MAX_STEPS = 300
# A direction shorter than this part of the longest row is rounding of pairs.
NOTHING = 1e-30


# ---------------------------------------------------------------- pairs of doubles: high and low


def two_sum(a, b):
    """The sum of doubles, and what its rounding lost."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a, b):
    """The product of doubles, and what its rounding lost (Veltkamp, Dekker)."""
    product = a * b
    a_high, b_high = (134217729.0 * a, 134217729.0 * b)
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    lost = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, lost


def add(a, b):
    high, low = two_sum(a[0], b[0])
    other, lost = two_sum(a[1], b[1])
    high, low = two_sum(high, low + other)
    return two_sum(high, low + lost)


def multiply(a, b):
    high, low = two_product(a[0], b[0])
    return two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def total_of(a):
    """The sum over the last axis."""
    high, low = a
    while high.shape[-1] > 1:
        n = high.shape[-1] // 2
        halves = add((high[..., :n], low[..., :n]), (high[..., n : 2 * n], low[..., n : 2 * n]))
        odd = high[..., 2 * n :], low[..., 2 * n :]
        high, low = (np.concatenate(both, axis=-1) for both in zip(halves, odd, strict=True))
    return high[..., 0], low[..., 0]


def inverse_of(a):
    """1 / a, by a Newton step from that of doubles."""
    first = 1 / a[0], np.zeros_like(a[0])
    error = add((np.ones_like(a[0]), 0.0), tuple(-part for part in multiply(a, first)))
    return add(first, multiply(first, error))


def root_of(a):
    first = np.sqrt(a[0]), np.zeros_like(a[0])
    error = add(a, tuple(-part for part in multiply(first, first)))
    return add(first, (error[0] / (2 * first[0]), np.zeros_like(a[0])))


# -------------------------------------------------------------------------------- the rotated rows


def rotated(X, centred, nothing=NOTHING):
    """L with L L' = Z Z', Z = X or X less its columns' medians; its columns fall in size, and end
    where they are `nothing` as a part of the first.

    Gram and Schmidt's process with the longest row left as the next one, in pairs of doubles. A
    row far out leaves medians where the others are, so that these do not cancel with the intercept.
    """
    X = np.asarray(X, np.float64)
    Z = two_sum(X, -np.median(X, axis=0) if centred else np.zeros(X.shape[1]))
    columns, longest = [], None
    for _ in range(min(X.shape)):
        squares = total_of(multiply(Z, Z))
        row = int(squares[0].argmax())
        norm = np.sqrt(squares[0][row])
        longest = norm if longest is None else longest
        if norm <= nothing * longest:
            break
        size = root_of((squares[0][row], squares[1][row]))
        scale = inverse_of(size)
        direction = multiply((Z[0][row], Z[1][row]), scale)
        along = total_of(multiply(Z, direction))
        columns.append(LONG(1) * along[0] + along[1])
        part = multiply((along[0][:, None], along[1][:, None]), direction)
        Z = add(Z, (-part[0], -part[1]))
    return np.array(columns, LONG).T.reshape(len(X), -1)


# ------------------------------------------------------------------------------------ the optimum


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def times_log(p):
    return p * np.log(np.where(p > 0, p, 1))


def factored(columns):
    """Cholesky's lower factor of columns' columns, of columns of length 1 or 0.

    By Gram and Schmidt's process, each column twice: in the products themselves, what is short in
    one direction would be lost in the rounding of what is long. A column that is rounding of the
    others leaves its parameter out.
    """
    rest, n = columns.copy(), columns.shape[1]
    lower = np.zeros((n, n), LONG)
    for j in range(n):
        for _ in range(2):
            along = rest[:, :j].T @ rest[:, j]
            rest[:, j] -= rest[:, :j] @ along
            lower[j, :j] += along
        length = np.sqrt(rest[:, j] @ rest[:, j])
        left_out = length <= n * EPS
        lower[j, j] = np.inf if left_out else length
        rest[:, j] /= lower[j, j]
    return lower


def forward(lower, right):
    """lower^-1 right, of one or many columns."""
    x = right.copy()
    for j in range(len(lower)):
        x[j] /= lower[j, j]
        x[j + 1 :] -= (
            (lower[j + 1 :, j] * x[j].T[..., None]).T if x.ndim > 1 else (lower[j + 1 :, j] * x[j])
        )
    return x


def backward(lower, right):
    x = right.copy()
    for j in range(len(lower))[::-1]:
        x[j] = (x[j] - lower[j + 1 :, j] @ x[j + 1 :]) / lower[j, j]
    return x


@dataclass(frozen=True)
class Optimum:
    """The least objective found, and a proven lower bound of all; -inf: nothing is proven."""

    loss: LONG
    bound: LONG

    @property
    def gap(self):
        return self.loss - self.bound


class Exact:
    """sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 |beta|^2, of which the intercept is free."""

    def __init__(self, X, y, weights=None, *, l2, fit_intercept):
        self.X, self.fit_intercept = np.asarray(X, np.float64), fit_intercept
        self.sign = np.where(np.asarray(y) == np.max(y), 1, -1).astype(LONG)
        self.w = np.ones(len(self.sign), LONG) if weights is None else np.asarray(weights, LONG)
        self.w = self.w / self.w.sum()
        self.l2 = LONG(l2)

    def loss(self, theta):
        """The objective at a theta of doubles, whose margins are exact to 100 bits."""
        theta = np.asarray(theta, np.float64)
        products = two_product(self.X, theta[: self.X.shape[1]])
        if self.fit_intercept:
            ones = np.ones((len(self.X), 1))
            products = tuple(
                np.column_stack([part, value * ones])
                for part, value in zip(products, (theta[-1], 0.0), strict=True)
            )
        high, low = total_of(products)
        penalised = theta[: self.X.shape[1]].astype(LONG)
        margins = self.sign * (LONG(1) * high + low)
        return self.w @ softplus(-margins) + self.l2 / 2 * (penalised @ penalised)

    def minimise(self, nothing=NOTHING):
        L = rotated(self.X, self.fit_intercept, nothing)
        rows = np.column_stack([L, np.ones(len(L), LONG)]) if self.fit_intercept else L
        ridge = np.full(rows.shape[1], self.l2)
        if self.fit_intercept:
            ridge[-1] = 0
        rows = rows * self.sign[:, None]
        return newton(rows, self.w, ridge, self.fit_intercept)


def newton(rows, w, ridge, has_intercept):
    """Newton's method with steps halved until the loss falls, from 0."""
    theta = np.zeros(rows.shape[1], LONG)
    margins = rows @ theta
    loss, idle = w @ softplus(-margins), 0
    best = -LONG(np.inf)
    for _ in range(MAX_STEPS):
        p, q = sigmoid(-margins), sigmoid(margins)
        gradient = ridge * theta - rows.T @ (w * p)
        # The Hessian is columns' columns.
        columns = np.vstack([rows * np.sqrt(w * p * q)[:, None], np.diag(np.sqrt(ridge))])
        lengths = np.sqrt((columns**2).sum(axis=0))
        scale = 1 / np.where(lengths > 0, lengths, 1)
        lower = factored(columns * scale)
        half = forward(lower, scale * gradient)
        decrement = np.sqrt(half @ half)
        best = max(best, lower_bound(rows, w, ridge, theta, loss, p, has_intercept))
        if not ridge.any():
            best = max(best, loss - curvature_bound(decrement, rows, scale, lower))
        is_endless = not ridge.any() and loss < EPS
        if loss - best <= 4 * EPS * loss or idle > 3 or decrement == 0 or is_endless:
            break
        step, size = scale * backward(lower, half), LONG(1)
        while size > 1e-12:
            moved = theta - size * step
            new_margins = rows @ moved
            new_loss = w @ softplus(-new_margins) + ridge @ moved**2 / 2
            if new_loss <= loss - size * decrement**2 / 8:
                break
            if decrement**2 <= 1e-12 * loss and new_loss <= loss * (1 + 64 * EPS):
                break
            size /= 2
        else:
            break
        idle = idle + 1 if new_loss >= loss * (1 - 64 * EPS) else 0
        theta, margins, loss = moved, new_margins, new_loss
    return Optimum(loss, best)


def lower_bound(rows, w, ridge, theta, loss, p, has_intercept):
    """The dual objective at the rows' derivatives: no theta has a lower loss."""
    penalised = ridge > 0
    if not penalised.any():
        return -LONG(np.inf)
    if has_intercept:
        # The derivatives of both classes must balance.
        positive = rows[:, -1] > 0
        sums = w[positive] @ p[positive], w[~positive] @ p[~positive]
        least = min(sums)
        p = p * np.where(positive, least / sums[0], least / sums[1])
    entropy = -(w @ (times_log(p) + times_log(1 - p)))
    force = (rows.T @ (w * p))[penalised]
    return entropy - force @ (force / ridge[penalised]) / 2


def curvature_bound(decrement, rows, scale, lower):
    """How far a loss without a penalty can be from its optimum, by self-concordance (Bach 2010)."""
    reach = forward(lower, (rows * scale).T)
    x = decrement * np.sqrt((reach**2).sum(axis=0).max())
    if not x < 1 or np.isinf(np.diag(lower)).any():
        return LONG(np.inf)
    if x < 1e-4:
        return decrement**2 * (LONG(1) / 2 + x / 5)
    return decrement**2 * ((1 - x) * np.log1p(-x) + x) / x**2
