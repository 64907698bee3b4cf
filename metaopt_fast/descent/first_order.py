"""Update rules of gradient descent whose steps have a length that is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.descent.options import Flag, Number, Option, Pair
from metaopt_fast.descent.rule import Rule, less, row_dot
from metaopt_fast.typing import Float64Array


def decay(mean: Float64Array, kept: Float64Array, rest: Float64Array, news: Float64Array) -> None:
    """mean <- kept * mean + rest * news. The news are lost."""
    mean *= kept
    news *= rest
    mean += news


def scale(
    gradient: Float64Array, squares: Float64Array, eps: Float64Array, out: Float64Array
) -> None:
    """out <- g / (sqrt(G) + eps)."""
    np.sqrt(squares, out=out)
    out += eps
    np.divide(gradient, out, out=out)


class GradientDescent(Rule):
    """theta <- theta - learning_rate * g."""

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        return less(theta, self.learning_rate * gradient)


class Momentum(Rule):
    """v <- momentum * v + g, theta <- theta - learning_rate * v (Polyak 1964)."""

    options: ClassVar[Mapping[str, Option]] = {"momentum": Number(0.9, below=1.0)}

    learning_rate: Float64Array
    momentum: Float64Array

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, momentum: Float64Array
    ) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity: Float64Array = np.zeros(shape)

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.velocity *= self.momentum
        self.velocity += gradient
        return less(theta, self.learning_rate * self.velocity)


class Nesterov(Rule):
    """v <- mu * v + g, theta <- theta - learning_rate * (g + mu' * v) (Nesterov 1983).

    theta is the point that looks ahead, where gradients are taken. With a constant momentum,
    mu = mu' = momentum. With None, mu' = (t - 1) / t' follows mu, t' = (1 + sqrt(1 + 4 t^2)) / 2,
    t = 1 at first. A restart forgets v and t, wherever v points uphill, g . v < 0 (O'Donoghue and
    Candes 2015).
    """

    options: ClassVar[Mapping[str, Option]] = {
        "momentum": Number(None, below=1.0),
        "restart": Flag(None),
    }

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        momentum: Float64Array | None,
        restart: bool | None,
    ) -> None:
        self.learning_rate = learning_rate
        self.velocity: Float64Array = np.zeros(shape)
        self.is_constant: bool = momentum is not None
        self.restart: bool = momentum is None if restart is None else restart
        self.momentum = np.zeros((shape[0], 1)) if momentum is None else momentum
        self.t: Float64Array = np.ones((shape[0], 1))

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.velocity *= self.momentum
        self.velocity += gradient
        if not self.is_constant:
            following = (1 + np.sqrt(1 + 4 * self.t * self.t)) / 2
            self.momentum, self.t = (self.t - 1) / following, following
        if self.restart:
            uphill = row_dot(gradient, self.velocity) < 0
            if uphill.any():
                self.velocity[uphill] = 0
                self.t[uphill] = 1
        step = self.momentum * self.velocity
        step += gradient
        step *= self.learning_rate
        return less(theta, step)


class AdaGrad(Rule):
    """G <- G + g^2, theta <- theta - learning_rate * g / (sqrt(G) + eps) (Duchi et al. 2011)."""

    options: ClassVar[Mapping[str, Option]] = {"eps": Number(1e-10, strictly=True)}
    default_rate: ClassVar[float | None] = 1e-2

    learning_rate: Float64Array
    eps: Float64Array

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, eps: Float64Array
    ) -> None:
        self.learning_rate, self.eps = learning_rate, eps
        self.squares: Float64Array = np.zeros(shape)

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        step = gradient * gradient
        self.squares += step
        scale(gradient, self.squares, self.eps, step)
        step *= self.learning_rate
        return less(theta, step)


class RMSProp(Rule):
    """G <- alpha * G + (1 - alpha) * g^2, v <- momentum * v + g / (sqrt(G) + eps),
    theta <- theta - learning_rate * v (Tieleman and Hinton 2012)."""

    options: ClassVar[Mapping[str, Option]] = {
        "alpha": Number(0.99, below=1.0),
        "eps": Number(1e-8, strictly=True),
        "momentum": Number(0.0, below=1.0),
    }
    default_rate: ClassVar[float | None] = 1e-2

    learning_rate: Float64Array
    eps: Float64Array
    momentum: Float64Array
    alpha: Float64Array
    rest: Float64Array
    squares: Float64Array
    velocity: Float64Array

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        alpha: Float64Array,
        eps: Float64Array,
        momentum: Float64Array,
    ) -> None:
        self.learning_rate, self.eps, self.momentum = learning_rate, eps, momentum
        self.alpha, self.rest = alpha, 1 - alpha
        self.squares, self.velocity = np.zeros((2, *shape))

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        step = gradient * gradient
        decay(self.squares, self.alpha, self.rest, step)
        scale(gradient, self.squares, self.eps, step)
        self.velocity *= self.momentum
        self.velocity += step
        return less(theta, np.multiply(self.learning_rate, self.velocity, out=step))


class Adam(Rule):
    """m <- beta1 * m + (1 - beta1) * g, v <- beta2 * v + (1 - beta2) * g^2, and at step t
    theta <- theta - learning_rate / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
    (Kingma and Ba 2015)."""

    options: ClassVar[Mapping[str, Option]] = {
        "betas": Pair((0.9, 0.999), below=1.0),
        "eps": Number(1e-8, strictly=True),
    }
    default_rate: ClassVar[float | None] = 1e-3

    learning_rate: Float64Array
    eps: Float64Array
    beta1: Float64Array
    beta2: Float64Array
    power1: Float64Array
    power2: Float64Array
    mean: Float64Array
    squares: Float64Array
    numbers: Float64Array  # as the kernel wants them: each run's

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        betas: tuple[Float64Array, Float64Array],
        eps: Float64Array,
    ) -> None:
        self.learning_rate, self.eps = learning_rate, eps
        self.beta1, self.beta2 = betas
        self.power1, self.power2 = np.ones_like(self.beta1), np.ones_like(self.beta2)
        self.mean, self.squares = np.zeros((2, *shape))
        self.numbers = np.empty((shape[0], 7))
        columns = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, eps)
        for k, column in enumerate(columns):
            self.numbers[:, k : k + 1] = column

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        # Products, not powers: those may differ between one number and a vector of them.
        self.power1 *= self.beta1
        self.power2 *= self.beta2
        self.numbers[:, 5:6] = np.sqrt(1 - self.power2)
        self.numbers[:, 6:7] = self.learning_rate / (1 - self.power1)
        theta, gradient = np.ascontiguousarray(theta), np.ascontiguousarray(gradient)
        step = np.empty_like(theta)
        _kernels.adam(self.numbers, theta, gradient, self.mean, self.squares, step)
        return step


class AdamW(Adam):
    """theta <- theta - learning_rate * weight_decay * theta, then as Adam (Loshchilov and Hutter
    2019). Every entry decays, an intercept's too."""

    options: ClassVar[Mapping[str, Option]] = {**Adam.options, "weight_decay": Number(1e-2)}

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        betas: tuple[Float64Array, Float64Array],
        eps: Float64Array,
        weight_decay: Float64Array,
    ) -> None:
        super().__init__(shape, learning_rate, betas, eps)
        self.weight_decay = weight_decay

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        return super().step(theta * (1 - self.learning_rate * self.weight_decay), gradient)
