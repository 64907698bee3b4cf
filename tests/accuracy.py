"""How far a computed loss or gradient may lie from the truth: bounds that know the condition.

A margin is a sum of products, and no better known than sum_j |x_ij theta_j| times the rounding
unit; a loss moves by the sigmoid of that. So a whole loss has the bound
C eps (sum_i w_i sigma_i sum_j |x_ij theta_j| + sum_i w_i loss_i) / sum_i w_i, where the first term
has n_params for a factor too; a component of the gradient likewise.
"""

import mpmath
import numpy as np

from metaopt_fast import reference

# Roundings of one loss and of the sum of a block of rows, in units of eps.
C = 16


class Bounds:
    """The reference's losses and gradients of thetas, and how far from them a kernel may be."""

    def __init__(self, objective, thetas):
        self.losses, self.gradients = objective.batch_loss_gradient(thetas)
        eps = float(np.finfo(objective.dtype).eps)
        least = float(np.finfo(objective.dtype).smallest_subnormal)
        rows = objective.signed_X.astype(np.float64)
        thetas = np.asarray(thetas, objective.dtype).astype(np.float64)
        z = (objective.signed_X @ thetas.astype(objective.dtype).T).astype(np.float64)
        # The kernel and the reference may each be off by half of this.
        off = (objective.n_params + C) * eps * (np.abs(rows) @ np.abs(thetas).T) + least
        sigma, weights = reference.sigmoid(z), objective.w
        steepest = np.minimum(sigma * np.exp(np.minimum(off, 700)), 1)
        losses = reference.softplus(z)
        penalty = np.where(objective.penalised, objective.l2 * np.abs(thetas), 0)
        self.loss_bound = (
            weights @ (steepest * off + C * eps * losses)
            + C * eps * (penalty * np.abs(thetas)).sum(axis=1)
            + len(rows) * least
        )
        slope_bound = C * eps * sigma + np.minimum(steepest * off, 1) + least
        self.gradient_bound = (
            (weights[:, None] * slope_bound).T @ np.abs(rows)
            + C * eps * penalty
            + len(rows) * least
        )

    def assert_losses(self, losses):
        wrong = np.abs(losses - self.losses) > self.loss_bound
        assert not wrong.any(), (losses[wrong], self.losses[wrong], self.loss_bound[wrong])

    def assert_gradients(self, gradients):
        wrong = np.abs(gradients - self.gradients) > self.gradient_bound
        assert not wrong.any(), (
            gradients[wrong],
            self.gradients[wrong],
            self.gradient_bound[wrong],
        )


def exact_softplus(z):
    """log(1 + exp(z)) to 50 digits, and as many more as the 1 hides."""
    with mpmath.workdps(50):
        return mpmath.log1p(mpmath.exp(mpmath.mpf(float(z))))


def exact_sigmoid(z):
    """1 / (1 + exp(-z)) to 50 digits."""
    with mpmath.workdps(50):
        e = mpmath.exp(-abs(mpmath.mpf(float(z))))
        return (e if z < 0 else 1) / (1 + e)


def ulps(value, exact):
    """The distance of a float from the exact value, in units of its last place."""
    real = value.dtype.type
    with mpmath.workdps(50):
        # The largest float of all has no next one to measure by.
        unit = np.spacing(min(real(exact), np.finfo(real).max * real(0.5)))
        return float(abs(mpmath.mpf(float(value)) - exact) / mpmath.mpf(float(unit)))


def _squared(z):
    return (1 + z) ** 2


# The value and the derivative of each loss by z; between two points, `_extremes` knows more.
EXACT = {
    "LogisticLoss": (
        lambda z: max(z, 0) + mpmath.log1p(mpmath.exp(-abs(z))),
        lambda z: (mpmath.exp(-abs(z)) if z < 0 else 1) / (1 + mpmath.exp(-abs(z))),
    ),
    "HingeLoss": (lambda z: max(0, 1 + z), lambda z: mpmath.mpf(z > -1)),
    "SquaredHingeLoss": (lambda z: max(0, 1 + z) ** 2, lambda z: 2 * max(0, 1 + z)),
    "SquaredLoss": (_squared, lambda z: 2 * (1 + z)),
    "SmoothedZeroOneLoss": (
        lambda z: (mpmath.exp(-abs(z)) if z < 0 else 1) / (1 + mpmath.exp(-abs(z))),
        lambda z: mpmath.exp(-abs(z)) / (1 + mpmath.exp(-abs(z))) ** 2,
    ),
}


def _extremes(function, low, high):
    """The least and the largest of a function from low to high."""
    values = [function(low), function(high)]
    # Where the square has its minimum, and the slope of the sigmoid its maximum.
    values += [function(mpmath.mpf(at)) for at in (-1, 0) if low < at < high]
    return min(values), max(values)


def _beyond(ends):
    """The interval that holds the value of an infinite margin, too."""
    low, high = ends
    return low if low >= -1 else -mpmath.inf, high if high <= 1 else mpmath.inf


class Exact:
    """What a loss and a gradient may be for numbers of any size, of exact margins.

    The bounds of `Bounds`, as intervals and without a range: a margin may be off by
    (n_params + C) eps sum_j |x_ij theta_j|, a loss and a slope by C eps of themselves. A margin
    that the dtype cannot hold may be infinite.
    """

    def __init__(self, name, twin, theta):
        value, slope = EXACT[name]
        info = np.finfo(twin.dtype)
        self.eps, self.least = mpmath.mpf(float(info.eps)), mpmath.mpf(5e-324)
        if twin.dtype == "float32":
            self.least = mpmath.mpf(2) ** -149
        theta = [mpmath.mpf(float(t)) for t in np.asarray(theta, twin.dtype)]
        self.loss = [mpmath.mpf(0), mpmath.mpf(0)]
        self.gradient = [[mpmath.mpf(0), mpmath.mpf(0)] for _ in theta]
        self.margins, self.off, sizes = [], [], [mpmath.mpf(0)] * len(theta)
        for row, w in zip(twin.signed_X, twin.w, strict=True):
            x, w = [mpmath.mpf(float(v)) for v in row], mpmath.mpf(float(w))
            products = [a * t for a, t in zip(x, theta, strict=True)]
            z = mpmath.fsum(products)
            off = (len(x) + C) * (self.eps * mpmath.fsum(map(abs, products)) + self.least)
            self.margins.append(z)
            self.off.append(off)
            values = _extremes(value, z - off, z + off)
            slopes = _extremes(slope, z - off, z + off)
            if abs(z) + off > float(info.max):  # infinite, and so is what grows with it
                values, slopes = _beyond(values), _beyond(slopes)
            self.loss = [total + w * v for total, v in zip(self.loss, values, strict=True)]
            for j, a in enumerate(x):
                if a == 0:  # whatever the slope is
                    continue
                ends = sorted(w * s * a for s in slopes)
                self.gradient[j] = [
                    total + end for total, end in zip(self.gradient[j], ends, strict=True)
                ]
                sizes[j] += w * abs(a) * (self.eps * C * max(map(abs, slopes)) + self.least)
        self.loosen(twin, theta, sizes)

    def loosen(self, twin, theta, sizes):
        """Add the penalties, and what rounding of losses and slopes adds to the intervals."""
        rows, l2 = len(twin.w), mpmath.mpf(twin.l2)
        penalised = [t if p else mpmath.mpf(0) for t, p in zip(theta, twin.penalised, strict=True)]
        penalty = l2 / 2 * mpmath.fdot(penalised, penalised)
        low, high = (total + penalty for total in self.loss)
        off = C * self.eps * (low if mpmath.isinf(high) else high) + rows * self.least
        self.loss = [low - off, high + off]
        for j, t in enumerate(penalised):
            off = sizes[j] + C * self.eps * l2 * abs(t) + rows * self.least
            low, high = self.gradient[j]
            self.gradient[j] = [low + l2 * t - off, high + l2 * t + off]

    def assert_loss(self, loss):
        assert self.loss[0] <= _bounded(loss, self.loss) <= self.loss[1], (loss, self.loss)

    def assert_gradient(self, gradient):
        for found, ends in zip(gradient, self.gradient, strict=True):
            assert ends[0] <= _bounded(found, ends) <= ends[1], (found, ends)


def _bounded(found, ends):
    """A number, or the end that it stands for where that is beyond the range of floats."""
    assert not np.isnan(found)
    if np.isinf(found):
        end = ends[1] if found > 0 else ends[0]
        return end if abs(end) >= np.finfo(np.float64).max else mpmath.mpf(float(found))
    return mpmath.mpf(float(found))
