"""Update rules of gradient descent that search for the length of each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from metaopt_fast.descent.options import Count, Option
from metaopt_fast.descent.rule import ROUNDING, Point, Rule, row_dot
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray


class SteepestDescent(Rule):
    """theta <- theta - learning_rate * g, with steps that are searched for.

    The rate begins at twice the last one and is halved until the loss falls by the part `decrease`
    of what the gradient promises (Armijo 1966) or, where rounding hides that, until gradients say
    the same (Hager and Zhang 2005). Runs that halve and runs that step share their evaluations.
    """

    needs_all_rows = True
    decrease: float = 0.5

    def __init__(self, shape: tuple[int, int], learning_rate: Float64Array) -> None:
        # Each run has one of its own, which changes.
        self.learning_rate: Array = np.array(np.broadcast_to(learning_rate, (shape[0], 1)))
        self.direction: Float64Array = np.zeros(shape)
        self.is_new: BoolArray = np.ones(shape[0], bool)

    def aim(self, rows: IndexArray, point: Point) -> None:
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

    def accept(self, point: Point, trial: Point) -> tuple[BoolArray, Any]:
        with np.errstate(all="ignore"):
            return self._judge(point, trial)

    def _judge(self, point: Point, trial: Point) -> tuple[BoolArray, Any]:
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

    options: ClassVar[Mapping[str, Option]] = {"history_size": Count(10, 2**16)}
    default_rate: ClassVar[float | None] = 1.0
    decrease: float = 1e-4

    scale: Float64Array

    def __init__(
        self, shape: tuple[int, int], learning_rate: Float64Array, history_size: int
    ) -> None:
        super().__init__(shape, learning_rate)
        self.first_rate: Array = self.learning_rate.copy()
        # Steps, changes of the gradient and 1 / (step . change), the newest last; a step of zeros
        # and 0 do nothing.
        self.steps: Float64Array = np.zeros((shape[0], history_size, shape[1]))
        self.changes: Float64Array = np.zeros_like(self.steps)
        self.inverses: Float64Array = np.zeros((shape[0], history_size))
        self.scale = np.ones(shape[0])  # of H before the memory: step . change / change . change
        self.depth: IndexArray = np.zeros(shape[0], np.intp)

    def aim(self, rows: IndexArray, point: Point) -> None:
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

    def _judge(self, point: Point, trial: Point) -> tuple[BoolArray, Any]:
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
        # A convex loss of curvatures up to L has products of square / L and more: below it, for any
        # L up to 1e16, a product is rounding.
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

    def _forget(self, rows: IndexArray) -> None:
        self.steps[rows] = self.changes[rows] = 0
        self.inverses[rows] = 0
        self.scale[rows], self.depth[rows] = 1, 0
