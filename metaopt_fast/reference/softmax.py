"""Softmax regression of K classes in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def softmax_losses(z: Array, is_class: Array) -> tuple[Array, Array]:
    """Return log sum_k exp(z_ik - z_i,y_i) of each row, and its derivatives by z (n_samples, K)."""
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(z)
    # The sum over the other classes: beside it, a loss near 0 would lose its digits.
    others = (e * (1 - is_class)).sum(axis=1)
    own, own_z = (e * is_class).sum(axis=1), (z * is_class).sum(axis=1)
    losses = np.where(own_z == 0, np.log1p(others), np.log(others + own) - own_z)
    total = (others + own)[:, None]
    return losses, np.where(is_class == 1, -others[:, None] / total, e / total)


class OneByOne:
    """Losses and gradients of many thetas, one after the other by `loss_gradient`."""

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Array]:
        """Return the loss and the gradient of one theta (n_params,)."""
        raise NotImplementedError

    def batch_loss_gradient(self, thetas: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the losses (M,) and the gradients (M, n_params) of thetas (M, n_params)."""
        found = [self.loss_gradient(theta) for theta in np.asarray(thetas)]
        return np.array([loss for loss, _ in found]), np.array([slopes for _, slopes in found])

    def batch_loss(self, thetas: npt.ArrayLike) -> Array:
        """Return the losses alone."""
        return self.batch_loss_gradient(thetas)[0]

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return L(theta)."""
        return self.loss_gradient(theta)[0]

    def gradient(self, theta: npt.ArrayLike) -> Array:
        """Return the gradient of L."""
        return self.loss_gradient(theta)[1]


class SoftmaxLoss(OneByOne):
    """L(theta) = sum_i w_i (log sum_k exp(z_ik) - z_i,y_i) / sum_i w_i + l2/2 sum theta^2.

    z_ik = x_i . theta_k; theta is (K, n_features + fit_intercept) in C order, flattened, and the
    last entry of each class is not penalised. With dtype "float32", z is in single precision.
    """

    n_samples: int
    n_features: int
    l2: float
    dtype: str

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        n_classes: int | None = None,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: str = "float64",
    ) -> None:
        X, y = np.asarray(X, dtype), np.asarray(y, np.intp)
        self.n_samples, self.n_features = X.shape
        self.n_classes: int = int(y.max()) + 1 if n_classes is None else n_classes
        self.X: Array = np.column_stack([X, np.ones(len(X), dtype)]) if fit_intercept else X
        self.is_class: Array = np.eye(self.n_classes)[y]
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.w: Array = w / w.sum()
        self.l2, self.dtype = l2, dtype
        self.n_params: int = self.n_classes * self.X.shape[1]
        self.penalised: Array = np.arange(self.X.shape[1]) < self.n_features

    def margins(self, theta: Array) -> Array:
        """Return z, shape (n_samples, K)."""
        with np.errstate(over="ignore", invalid="ignore"):
            z = self.X @ theta.reshape(self.n_classes, -1).astype(self.dtype).T
        return np.asarray(z, np.float64)

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Array]:
        """Return the loss and the gradient of one theta (n_params,)."""
        theta = np.asarray(theta, self.dtype).astype(np.float64)
        z = self.margins(theta)
        losses, slopes = softmax_losses(z, self.is_class)
        penalised = np.where(self.penalised, theta.reshape(self.n_classes, -1), 0)
        loss = self.w @ losses + self.l2 / 2 * (penalised**2).sum()
        gradient = (self.w[:, None] * slopes).T @ self.X + self.l2 * penalised
        return float(loss), gradient.ravel()
