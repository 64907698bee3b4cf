"""What update rules of gradient descent share: K descents step together.

Arguments of a rule are columns (K, 1), or (1, 1) where all descents share a number; its states are
arrays of K rows, which steps change in place. All is elementwise or a sum along a row, in an order
that does not depend on K: a descent has the same bits alone as in company.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from metaopt_fast.descent.options import Option, PerDescent
from metaopt_fast.runs.options import check_used
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Relative to the loss: changes below it are rounding, and gradients tell whether a step descends.
# Above the rounding of a user's sum of thousands of rows, one after the other (2**-53 each). By
# benches/descent_constants.py, L-BFGS ends alike for 1e-15 to 1e-3; for 0, 2 of 3 runs stall.
ROUNDING = 1e-12


class Point(NamedTuple):
    """K thetas and what the objective says of them."""

    theta: Float64Array  # (K, n_params)
    loss: Float64Array  # (K,)
    gradient: Float64Array  # (K, n_params)
    norm: Float64Array  # (K,): max |gradient|

    def take(self, rows: BoolArray | IndexArray) -> Point:
        """Return some of them, by a mask or by numbers."""
        return Point(*(array[rows] for array in self))


def less(theta: Float64Array, step: Float64Array) -> Float64Array:
    """Return theta - step, in the memory of the step."""
    return np.subtract(theta, step, out=step)


def row_dot(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the sum of a * b over each row: pairwise, whatever the number of rows."""
    return np.asarray(np.add.reduce(a * b, axis=1))


class Rule(ABC):
    """How a descent steps.

    Attributes
    ----------
    options : dict of Option
        Options that the rule takes beside the learning rate, by name: arguments of its class.
    default_rate : float or None
        Learning rate, if none is given; None stands for 1 / ``objective.lipschitz()``.
    needs_all_rows : bool
        Whether a step needs the loss or the gradient of all rows, so that mini-batches cannot do.
    """

    options: ClassVar[Mapping[str, Option]] = {}
    default_rate: ClassVar[float | None] = None
    needs_all_rows: ClassVar[bool] = False

    def __init__(self, shape: tuple[int, int], learning_rate: Float64Array) -> None:
        self.learning_rate = learning_rate

    @classmethod
    def read_options(
        cls, method: str, given: Mapping[str, object], descents: PerDescent
    ) -> dict[str, Any]:
        """Return the values of the options that are given, the others by default.

        Raise ValueError or TypeError for a value that is not as described, or of another method.
        """
        check_used(method, cls.options, given)
        return {
            name: option.default
            if given[name] is None
            else option.read(descents, name, given[name])
            for name, option in cls.options.items()
        }

    @abstractmethod
    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        """Return the thetas one step on, in an array of their own."""

    def propose(self, point: Point) -> Float64Array:
        """Return the thetas to be evaluated next."""
        return self.step(point.theta, point.gradient)

    def accept(self, point: Point, trial: Point) -> tuple[BoolArray | None, Any]:
        """Return which of the proposed steps are made (None: all), and which runs can make none."""
        return None, False

    def keep(self, rows: BoolArray) -> None:
        """Drop the other runs."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and len(value) == len(rows):
                setattr(self, name, value[rows])
