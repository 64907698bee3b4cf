"""The mathematics of metaopt_fast in plain NumPy, which the tests hold all else against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def softplus(z: Array) -> Array:
    """log(1 + exp(z)), without overflow and without losing tiny values."""
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


def sigmoid(z: Array) -> Array:
    """Derivative of softplus: 1 / (1 + exp(-z))."""
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z < 0, e, 1) / (1 + e))


class PointwiseLoss:
    """L(theta) = sum_i w_i value(z_i) / sum_i w_i + l2/2 sum_j theta_j^2.

    z_i = -s_i x_i . theta, s_i = +1 for the positive class, else -1. The intercept is the
    last entry of theta and not penalised. With dtype "float32", z is in single precision.
    """

    beta: float = 1.0

    n_samples: int
    n_features: int
    n_params: int
    l2: float
    dtype: str

    def value(self, z: Array) -> Array:
        """Return the pointwise loss."""
        raise NotImplementedError

    def derivative(self, z: Array) -> Array:
        """Return its derivative by z."""
        raise NotImplementedError

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: str = "float64",
    ) -> None:
        X, y = np.asarray(X, dtype), np.asarray(y)
        if set(np.unique(y)) not in ({0, 1}, {-1, 1}):
            raise ValueError("y does not hold two classes: pass 0 and 1, -1 and +1, or bool.")
        self.n_samples, self.n_features = X.shape
        if fit_intercept:
            X = np.column_stack([X, np.ones(len(X), dtype)])
        w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        signed_X = np.where(y[:, None] == 1, -X, X)[w > 0]
        self.signed_X: Array = signed_X * np.asarray(self.beta, dtype)
        w = w[w > 0] / w.max()
        self.w: Array = w / w.sum()
        self.l2, self.dtype, self.n_params = l2, dtype, X.shape[1]
        self.penalised: Array = np.arange(self.n_params) < self.n_features

    def batch_loss_gradient(self, thetas: npt.ArrayLike) -> tuple[Array, Array]:
        """Return the losses (K,) and the gradients (K, n_params) of thetas (K, n_params)."""
        thetas = np.asarray(thetas, self.dtype)
        z = self.margins(thetas)
        penalised = np.where(self.penalised, thetas, 0).astype(np.float64)
        slopes = self.w[:, None] * self.derivative(z)
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self.w @ self.value(z) + (self.l2 / 2 * penalised * penalised).sum(axis=1)
            return losses, slopes.T @ self.signed_X + self.l2 * penalised

    def margins(self, thetas: Array) -> Array:
        """Return z of each row and theta; where a partial sum leaves the range, in long double."""
        with np.errstate(over="ignore", invalid="ignore"):
            z = self.signed_X @ thetas.T
            for row, k in np.argwhere(~np.isfinite(z)):
                z[row, k] = (self.signed_X[row].astype(np.longdouble) * thetas[k]).sum()
        return np.asarray(z, np.float64)

    def batch_loss(self, thetas: npt.ArrayLike) -> Array:
        """Return the losses alone."""
        return self.batch_loss_gradient(thetas)[0]

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Array]:
        """Return the loss and the gradient of one theta (n_params,)."""
        losses, gradients = self.batch_loss_gradient(np.asarray(theta)[None])
        return float(losses[0]), gradients[0]

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return L(theta)."""
        return self.loss_gradient(theta)[0]

    def gradient(self, theta: npt.ArrayLike) -> Array:
        """Return sum_i w_i derivative(z_i) (-s_i x_i) / sum_i w_i + l2 theta."""
        return self.loss_gradient(theta)[1]


class LogisticLoss(PointwiseLoss):
    """softplus(z)."""

    def value(self, z: Array) -> Array:
        """Return softplus(z)."""
        return softplus(z)

    def derivative(self, z: Array) -> Array:
        """Return sigmoid(z)."""
        return sigmoid(z)


class HingeLoss(PointwiseLoss):
    """max(0, 1 + z)."""

    def value(self, z: Array) -> Array:
        """Return max(0, 1 + z)."""
        return np.asarray(np.maximum(0, 1 + z))

    def derivative(self, z: Array) -> Array:
        """Return 1 where 1 + z > 0."""
        return np.where(1 + z > 0, 1.0, 0.0)


class SquaredHingeLoss(PointwiseLoss):
    """max(0, 1 + z)^2."""

    def value(self, z: Array) -> Array:
        """Return max(0, 1 + z)^2."""
        return np.asarray(np.maximum(0, 1 + z) ** 2)

    def derivative(self, z: Array) -> Array:
        """Return 2 max(0, 1 + z)."""
        return np.asarray(2 * np.maximum(0, 1 + z))


class SquaredLoss(PointwiseLoss):
    """(1 + z)^2."""

    def value(self, z: Array) -> Array:
        """Return (1 + z)^2."""
        return np.asarray((1 + z) ** 2)

    def derivative(self, z: Array) -> Array:
        """Return 2 (1 + z)."""
        return np.asarray(2 * (1 + z))


class SmoothedZeroOneLoss(PointwiseLoss):
    """sigmoid(beta z): the rows are multiplied by beta."""

    def __init__(self, *args: Any, beta: float = 1.0, **options: Any) -> None:
        self.beta = beta
        super().__init__(*args, **options)

    def value(self, z: Array) -> Array:
        """Return sigmoid(z)."""
        return sigmoid(z)

    def derivative(self, z: Array) -> Array:
        """Return sigmoid(z) sigmoid(-z)."""
        return np.asarray(sigmoid(z) * sigmoid(-z))


def philox4x32(counter: Array, key: tuple[int, int]) -> Array:
    """Ten rounds on 32-bit words (..., 4), Salmon et al., "Parallel random numbers", SC 2011."""
    x0, x1, x2, x3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = key
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        a, b = x0 * np.uint64(0xD2511F53), x2 * np.uint64(0xCD9E8D57)
        x0, x1 = (b >> half) ^ x1 ^ np.uint64(k0), b & low
        x2, x3 = (a >> half) ^ x3 ^ np.uint64(k1), a & low
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([x0, x1, x2, x3], axis=-1)


def uniforms(seed: int, start: int, count: int, n_params: int) -> Array:
    """u in (0, 1) for (candidate, parameter), n_params rounded up to even.

    The counter is (candidate, parameter // 2, 0); of each pair of words, 52 bits are used.
    """
    counter = np.zeros((count, (n_params + 1) // 2, 4), np.uint64)
    candidate = np.arange(start, start + count, dtype=np.uint64)[:, None]
    counter[..., 0], counter[..., 1] = candidate & np.uint64(2**32 - 1), candidate >> np.uint64(32)
    counter[..., 2] = np.arange(counter.shape[1], dtype=np.uint64)
    words = philox4x32(counter, (seed % 2**32, seed >> 32)).reshape(count, -1, 2)
    bits = (words[..., 1] << np.uint64(32) | words[..., 0]) >> np.uint64(12)
    return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-52)


@dataclass(frozen=True)
class Uniform:
    """low + (high - low) u."""

    low: Any = -1.0
    high: Any = 1.0

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Array:
        """Return candidates start .. start + count - 1."""
        u = uniforms(seed, start, count, n_params)[:, :n_params]
        return np.asarray(np.minimum(self.low + (np.asarray(self.high) - self.low) * u, self.high))


@dataclass(frozen=True)
class Integers:
    """Whole numbers from low to high, both included; 0 beyond max_nonzero that are not free."""

    low: Any = -5
    high: Any = 5
    max_nonzero: int | None = None
    free: tuple[int, ...] = ()

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Array:
        """Return candidates start .. start + count - 1."""
        u = uniforms(seed, start, count, 2 * n_params)[:, : 2 * n_params]
        low, high = np.asarray(self.low), np.asarray(self.high)
        thetas = np.asarray(low + np.floor((high - low + 1) * u[:, :n_params]))
        if self.max_nonzero is None:
            return thetas
        counted = np.delete(np.arange(n_params), list(self.free))
        for theta, keys in zip(thetas, u[:, n_params:], strict=True):
            theta[counted[np.argsort(keys[counted], kind="stable")[self.max_nonzero :]]] = 0
        return thetas


@dataclass(frozen=True)
class Normal:
    """loc + scale * normal: sqrt(-2 ln u) (cos, sin)(2 pi v) for each pair, Box and Muller 1958."""

    loc: Any = 0.0
    scale: Any = 1.0

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Array:
        """Return candidates start .. start + count - 1."""
        u = uniforms(seed, start, count, n_params)
        radius, angle = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
        normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return np.asarray(self.loc + self.scale * normal.reshape(count, -1)[:, :n_params])


@dataclass(frozen=True)
class SearchResult:
    """The best candidate, and the best `top_k`: fields "index" and "loss", and their thetas."""

    theta: Array
    loss: float
    index: int
    top: Array
    top_thetas: Array


def random_search(
    objective: Any,
    sampler: Any,
    n_candidates: int,
    *,
    seed: int = 0,
    start: int = 0,
    top_k: int = 1,
) -> SearchResult:
    """Draw all candidates, evaluate them, sort by (loss, index); what is not finite comes last."""
    thetas = sampler.sample(seed, start, n_candidates, objective.n_params)
    losses = objective.batch_loss(thetas)
    best = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")[:top_k]
    top = np.zeros(len(best), [("index", np.int64), ("loss", np.float64)])
    top["index"], top["loss"] = start + best, losses[best]
    loss, index = float(top["loss"][0]), int(top["index"][0])
    return SearchResult(thetas[best[0]], loss, index, top, thetas[best])


class Descent(NamedTuple):
    """Where a descent ended, and after how many steps."""

    theta: Array
    loss: float
    n_iter: int


def gradient_descent(
    objective: Any, theta0: Array, *, learning_rate: float, max_iter: int = 1000, tol: float = 1e-6
) -> Descent:
    """Repeat theta <- theta - learning_rate * gradient, until max |gradient| <= tol."""
    theta = np.array(theta0, np.float64)
    for n_iter in range(max_iter):
        loss, gradient = objective.loss_gradient(theta)
        if np.abs(gradient).max() <= tol:
            return Descent(theta, loss, n_iter)
        theta = theta - learning_rate * gradient
    return Descent(theta, objective.loss(theta), max_iter)
