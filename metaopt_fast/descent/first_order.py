"""Update rules of gradient descent, for K descents at once.

Arguments of a rule are columns (K, 1), its states arrays of K rows. All is elementwise or a sum
along a row, in an order that does not depend on K: a descent has the same bits alone as in company.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array

# Relative to the loss: below it, gradients tell better than losses whether a step descends.
ROUNDING = 1e-12


class Point(NamedTuple):
    """K thetas and what the objective says of them."""

    theta: Float64Array  # (K, n_params)
    loss: Float64Array  # (K,)
    gradient: Float64Array  # (K, n_params)
    norm: Float64Array  # (K,): max |gradient|

    def take(self, rows: npt.NDArray[Any]) -> Point:
        """Return some of them, by a mask or by numbers."""
        return Point(*(array[rows] for array in self))


def row_dot(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the sum of a * b over each row: pairwise, whatever the number of rows."""
    return np.asarray(np.add.reduce(a * b, axis=1))


class Rule(ABC):
    """How a descent steps.

    Attributes
    ----------
    defaults : dict
        The arguments that the rule takes, beside the learning rate, and their defaults.
    default_rate : float or None
        The learning rate, if none is given; None stands for 1 / ``objective.lipschitz()``.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    default_rate: ClassVar[float | None] = None

    def __init__(self, shape: tuple[int, int], learning_rate: Float64Array) -> None:
        self.learning_rate = learning_rate

    @abstractmethod
    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        """Return the thetas one step on."""

    def propose(self, point: Point) -> Float64Array:
        """Return the thetas to be evaluated next."""
        return self.step(point.theta, point.gradient)

    def accept(self, point: Point, trial: Point) -> tuple[npt.NDArray[np.bool_] | None, Any]:
        """Return which of the proposed steps are made (None: all), and which runs can make none."""
        return None, False

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Drop the other runs."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value[rows])


class GradientDescent(Rule):
    """theta <- theta - learning_rate * g."""

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        return theta - self.learning_rate * gradient


class Momentum(Rule):
    """v <- momentum * v + g, theta <- theta - learning_rate * v (Polyak 1964)."""

    defaults: ClassVar = {"momentum": 0.9}

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, momentum: Float64Array
    ) -> None:
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity = np.zeros(shape)

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.velocity = self.momentum * self.velocity + gradient
        return theta - self.learning_rate * self.velocity


class Nesterov(Rule):
    """v <- mu * v + g, theta <- theta - learning_rate * (g + mu' * v) (Nesterov 1983).

    theta is the point that looks ahead, where gradients are taken. With a constant momentum,
    mu = mu' = momentum. With None, mu' = (t - 1) / t' follows mu, t' = (1 + sqrt(1 + 4 t^2)) / 2,
    t = 1 at first. A restart forgets v and t, wherever v points uphill, g . v < 0 (O'Donoghue and
    Candes 2015).
    """

    defaults: ClassVar = {"momentum": None, "restart": None}

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        momentum: Float64Array | None,
        restart: bool | None,
    ) -> None:
        self.learning_rate = learning_rate
        self.velocity = np.zeros(shape)
        self.is_constant = momentum is not None
        self.restart = momentum is None if restart is None else restart
        self.momentum = np.zeros((shape[0], 1)) if momentum is None else momentum
        self.t = np.ones((shape[0], 1))

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.velocity = self.momentum * self.velocity + gradient
        if not self.is_constant:
            following = (1 + np.sqrt(1 + 4 * self.t * self.t)) / 2
            self.momentum, self.t = (self.t - 1) / following, following
        if self.restart:
            uphill = row_dot(gradient, self.velocity) < 0
            if uphill.any():
                self.velocity[uphill] = 0
                self.t[uphill] = 1
        return theta - self.learning_rate * (gradient + self.momentum * self.velocity)


class AdaGrad(Rule):
    """G <- G + g^2, theta <- theta - learning_rate * g / (sqrt(G) + eps) (Duchi et al. 2011)."""

    defaults: ClassVar = {"eps": 1e-10}
    default_rate = 1e-2

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, eps: Float64Array
    ) -> None:
        self.learning_rate, self.eps = learning_rate, eps
        self.squares = np.zeros(shape)

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.squares = self.squares + gradient * gradient
        return theta - self.learning_rate * (gradient / (np.sqrt(self.squares) + self.eps))


class RMSProp(Rule):
    """G <- alpha * G + (1 - alpha) * g^2, v <- momentum * v + g / (sqrt(G) + eps),
    theta <- theta - learning_rate * v (Tieleman and Hinton 2012)."""

    defaults: ClassVar = {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0}
    default_rate = 1e-2

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
        self.squares = self.alpha * self.squares + self.rest * (gradient * gradient)
        scaled = gradient / (np.sqrt(self.squares) + self.eps)
        self.velocity = self.momentum * self.velocity + scaled
        return theta - self.learning_rate * self.velocity


class Adam(Rule):
    """m <- beta1 * m + (1 - beta1) * g, v <- beta2 * v + (1 - beta2) * g^2, and at step t
    theta <- theta - learning_rate / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
    (Kingma and Ba 2015)."""

    defaults: ClassVar[dict[str, Any]] = {"betas": (0.9, 0.999), "eps": 1e-8}
    default_rate = 1e-3

    def __init__(
        self,
        shape: tuple[int, int],
        learning_rate: Float64Array,
        betas: tuple[Float64Array, Float64Array],
        eps: Float64Array,
    ) -> None:
        self.learning_rate, self.eps = learning_rate, eps
        self.beta1, self.beta2 = betas
        self.power1, self.power2 = np.ones((2, shape[0], 1))
        self.mean, self.squares = np.zeros((2, *shape))

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.mean = self.beta1 * self.mean + (1 - self.beta1) * gradient
        self.squares = self.beta2 * self.squares + (1 - self.beta2) * (gradient * gradient)
        # Products, not powers: those may differ between one number and a vector of them.
        self.power1, self.power2 = self.power1 * self.beta1, self.power2 * self.beta2
        spread = np.sqrt(self.squares) / np.sqrt(1 - self.power2) + self.eps
        return theta - self.learning_rate / (1 - self.power1) * (self.mean / spread)


class AdamW(Adam):
    """theta <- theta - learning_rate * weight_decay * theta, then as Adam (Loshchilov and Hutter
    2019). Every entry decays, an intercept's too."""

    defaults: ClassVar = {**Adam.defaults, "weight_decay": 1e-2}

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


class SteepestDescent(Rule):
    """theta <- theta - learning_rate * g, with steps that are searched for.

    The rate begins at twice the last one and is halved until the loss falls by the part `decrease`
    of what the gradient promises (Armijo 1966) or, where rounding hides that, until gradients say
    the same (Hager and Zhang 2005). Runs that halve and runs that step share their evaluations.
    """

    decrease = 0.5

    def __init__(self, shape: tuple[int, int], learning_rate: Float64Array) -> None:
        self.learning_rate = learning_rate
        self.direction = np.zeros(shape)
        self.is_new = np.ones(shape[0], bool)

    def aim(self, rows: npt.NDArray[np.intp], point: Point) -> None:
        """Set the direction and the first rate of some runs."""
        self.direction[rows] = -point.gradient
        self.learning_rate[rows] *= 2

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        raise NotImplementedError("a searched step needs the loss of all rows.")

    def propose(self, point: Point) -> Float64Array:
        rows = np.flatnonzero(self.is_new)
        if len(rows):
            self.aim(rows, point if len(rows) == len(point.loss) else point.take(rows))
        self.is_new[:] = False
        return point.theta + self.learning_rate * self.direction

    def accept(self, point: Point, trial: Point) -> tuple[npt.NDArray[np.bool_], Any]:
        with np.errstate(all="ignore"):
            return self._judge(point, trial)

    def _judge(self, point: Point, trial: Point) -> tuple[npt.NDArray[np.bool_], Any]:
        step = self.learning_rate * self.direction
        promised = row_dot(step, point.gradient)
        descends = trial.loss <= point.loss + self.decrease * promised
        unclear = ~descends & (trial.loss <= point.loss + ROUNDING * np.abs(point.loss))
        if unclear.any():
            found = row_dot(step, trial.gradient)
            descends |= unclear & (found <= (2 * self.decrease - 1) * promised)
        stands = (trial.theta == point.theta).all(axis=1)
        accepted = descends & ~stands
        self.learning_rate = np.where(accepted[:, None], self.learning_rate, self.learning_rate / 2)
        self.is_new = accepted.copy()
        return accepted, stands


class LBFGS(SteepestDescent):
    """theta <- theta - learning_rate * H g, H from the last steps and changes of the gradient: the
    two-loop recursion (Nocedal 1980). The rate is halved from its first value on, as above.

    A memory that leads nowhere is forgotten once, before a run counts as stalled.
    """

    defaults: ClassVar = {"history_size": 10}
    default_rate = 1.0
    decrease = 1e-4

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, history_size: int
    ) -> None:
        super().__init__(shape, learning_rate)
        self.first_rate = learning_rate.copy()
        # Steps, changes of the gradient and 1 / (step . change), the newest last; a step of zeros
        # and 0 do nothing.
        self.steps = np.zeros((shape[0], history_size, shape[1]))
        self.changes = np.zeros_like(self.steps)
        self.inverses = np.zeros((shape[0], history_size))
        self.scale = np.ones(shape[0])  # of H before the memory: step . change / change . change
        self.depth = np.zeros(shape[0], np.intp)

    def aim(self, rows: npt.NDArray[np.intp], point: Point) -> None:
        whole = len(rows) == len(self.depth)
        direction = self._two_loops(slice(None) if whole else rows, point.gradient)
        slope = row_dot(direction, point.gradient)
        astray = ~((slope < 0) & np.isfinite(direction).all(axis=1))
        if astray.any():
            self._forget(rows[astray])
            direction[astray] = -point.gradient[astray]
        self.direction[rows] = direction
        # The gradient's length says nothing of the step's: at first, the step is at most 1 long.
        length = np.add.reduce(np.abs(point.gradient), axis=1)
        shorten = np.where(self.depth[rows] == 0, np.minimum(1, 1 / length), 1.0)
        self.learning_rate[rows] = self.first_rate[rows] * shorten[:, None]

    def _judge(self, point: Point, trial: Point) -> tuple[npt.NDArray[np.bool_], Any]:
        accepted, stands = super()._judge(point, trial)
        rows = np.flatnonzero(accepted)
        if len(rows):
            whole = len(rows) == len(accepted)
            self._remember(slice(None) if whole else rows, point, trial)
        retry = stands & (self.depth > 0)
        if retry.any():
            self._forget(np.flatnonzero(retry))
            self.is_new |= retry
        return accepted, stands & ~retry

    def _two_loops(self, rows: Any, gradient: Float64Array) -> Float64Array:
        """Return -H g."""
        steps, changes, inverses = self.steps[rows], self.changes[rows], self.inverses[rows]
        size = steps.shape[1]
        used = range(size - min(size, int(self.depth[rows].max())), size)
        q, alphas = gradient, {}
        for j in reversed(used):
            alphas[j] = (inverses[:, j] * row_dot(steps[:, j], q))[:, None]
            q = q - alphas[j] * changes[:, j]
        q = self.scale[rows][:, None] * q
        for j in used:
            beta = (inverses[:, j] * row_dot(changes[:, j], q))[:, None]
            q = q + (alphas[j] - beta) * steps[:, j]
        return np.asarray(0.0 - q)  # zeros of one sign, whatever the depth of others

    def _remember(self, rows: Any, point: Point, trial: Point) -> None:
        step = trial.theta[rows] - point.theta[rows]
        change = trial.gradient[rows] - point.gradient[rows]
        product, square = row_dot(step, change), row_dot(change, change)
        is_curved = (product > 1e-16 * square) & (product < np.inf) & (square < np.inf)
        chosen = np.arange(len(self.depth))[rows][is_curved]
        step, change = step[is_curved], change[is_curved]
        product, square = product[is_curved], square[is_curved]
        for memory, newest in (
            (self.steps, step),
            (self.changes, change),
            (self.inverses, 1 / product),
        ):
            memory[chosen, :-1] = memory[chosen, 1:]
            memory[chosen, -1] = newest
        self.scale[chosen] = product / square
        self.depth[chosen] += 1

    def _forget(self, rows: npt.NDArray[np.intp]) -> None:
        self.steps[rows] = self.changes[rows] = 0
        self.inverses[rows] = 0
        self.scale[rows], self.depth[rows] = 1, 0


RULES: dict[str, type[Rule]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "lbfgs": LBFGS,
}
