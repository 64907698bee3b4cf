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
