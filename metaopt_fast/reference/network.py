"""Networks of one hidden layer in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.reference.softmax import OneByOne, softmax_losses

Array = npt.NDArray[Any]


class NetworkLoss(OneByOne):
    """Mean loss of networks o(x) = V f(U x + c) + b, f = tanh or relu, plus l2/2 |U, V|^2.

    theta is [U, c] unit by unit, then [V, b] output by output, flattened. With `n_classes`, the
    loss of a row is log sum_k exp(o_k - o_y); else there is one output, and it is softplus(-s o)
    with s = +1 for the greater label and -1 for the other. With dtype "float32", o is in single
    precision.
    """

    n_samples: int
    n_features: int
    n_hidden: int
    activation: str
    n_outputs: int
    l2: float
    dtype: str

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        n_hidden: int = 16,
        activation: str = "tanh",
        n_classes: int | None = None,
        l2: float = 0.0,
        dtype: str = "float64",
    ) -> None:
        self.X = np.asarray(X, dtype)
        self.n_samples, self.n_features = self.X.shape
        self.n_hidden, self.activation = n_hidden, activation
        if n_classes is None:
            # One output o is a softmax of the margins (0, o).
            self.n_outputs, labels = 1, np.unique(y, return_inverse=True)[1]
        else:
            self.n_outputs, labels = n_classes, np.asarray(y, np.intp)
        self.is_class: Array = np.eye(max(self.n_outputs, 2))[labels]
        w = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.w, self.l2, self.dtype = w / w.sum(), l2, dtype
        self.n_params: int = n_hidden * (self.n_features + 1) + self.n_outputs * (n_hidden + 1)

    def parts(self, theta: npt.ArrayLike) -> tuple[Array, Array, Array, Array]:
        """Return U (H, p), c (H,), V (K, H) and b (K,)."""
        theta = np.asarray(theta, self.dtype)
        size = self.n_hidden * (self.n_features + 1)
        hidden = theta[:size].reshape(self.n_hidden, -1)
        output = theta[size:].reshape(self.n_outputs, -1)
        return hidden[:, :-1], hidden[:, -1], output[:, :-1], output[:, -1]

    def layers(self, theta: npt.ArrayLike) -> tuple[list[Array], list[Array]]:
        """Return (coefs, intercepts), as scikit-learn's MLPClassifier has them."""
        U, c, V, b = self.parts(theta)
        return [U.T, V.T], [c, b]

    def activations(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Array:
        """Return f(U x + c) of each row, shape (n, H)."""
        U, c, _, _ = self.parts(theta)
        z: Array = np.asarray(X, self.dtype) @ U.T + c
        return np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)

    def outputs(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Array:
        """Return o of each row, shape (n, K)."""
        _, _, V, b = self.parts(theta)
        o: Array = self.activations(theta, X) @ V.T + b
        return o

    def decisions(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Array:
        """Return o of each row, shape (n,) where there is one output."""
        o = self.outputs(theta, X)
        return o[:, 0] if self.n_outputs == 1 else o

    def starts(self) -> tuple[Array, Array]:
        """Return the least and the greatest numbers of Glorot's uniform starts."""
        p, H, K = self.n_features, self.n_hidden, self.n_outputs
        hidden, output = np.sqrt(6 / (p + H)), np.sqrt(6 / (H + K))
        high = np.repeat([hidden, output], [H * (p + 1), K * (H + 1)])
        return -high, high

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Array]:
        """Return the loss and the gradient of one theta (n_params,)."""
        U, _, V, b = self.parts(theta)
        a = self.activations(theta, self.X)
        z = np.asarray(a @ V.T + b, np.float64)
        if self.n_outputs == 1:
            z = np.column_stack([np.zeros(len(z)), z])
        losses, slopes = softmax_losses(z, self.is_class)
        slopes = self.w[:, None] * slopes[:, -self.n_outputs :]  # by o
        by_a = slopes @ V
        by_z = by_a * (1 - a * a) if self.activation == "tanh" else by_a * (a > 0)
        hidden = np.column_stack([by_z.T @ self.X + self.l2 * U, by_z.sum(axis=0)])
        output = np.column_stack([slopes.T @ a + self.l2 * V, slopes.sum(axis=0)])
        loss = self.w @ losses + self.l2 / 2 * ((U**2).sum() + (V**2).sum())
        return float(loss), np.concatenate([hidden.ravel(), output.ravel()])
