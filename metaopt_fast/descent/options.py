"""Options of update rules: what a value may be, for one descent or for each of K."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import (
    as_real_array,
    check_integer,
    check_number,
    describe,
    to_float64,
)


class PerDescent:
    """Reader of numbers that may differ between K descents; the first array among them sets K.

    Parameters
    ----------
    theta : array of shape (n_params,) or (K, n_params), or None
        Start: of one descent, of K, or of as many as other arrays say.
    """

    def __init__(self, theta: Float64Array | None) -> None:
        self.n_runs = len(theta) if theta is not None and theta.ndim == 2 else None
        self.is_free: bool = theta is None

    def read(
        self,
        name: str,
        value: object,
        low: float,
        below: float = math.inf,
        *,
        strictly: bool = False,
    ) -> Float64Array | None:
        """Return finite numbers from low (above it, if `strictly`) to below `below`, or None."""
        if value is None:
            return None
        if self.n_runs is None and not self.is_free:
            array = np.array(check_number(name, value, low, strictly=strictly))
        else:
            wanted = "a number, or an array of shape (K,) for K descents"
            real = as_real_array(name, value, None, wanted)
            if real.dtype.kind == "b":
                raise TypeError(f"{name} is {describe(value)}: pass {wanted}.")
            array = to_float64(real).reshape(real.shape)
        if array.ndim:
            self._check_length(name, len(array))
        wrong = ~np.isfinite(array) | (array < low) | (array >= below)
        if strictly:
            wrong |= array == low
        if wrong.any():
            bad = float(array[wrong].flat[0])
            span = f"above {low:g}" if strictly else f"of at least {low:g}"
            if below < math.inf:
                span += f" and below {below:g}"
            raise ValueError(f"{name} has {bad!r}: pass finite numbers {span}.")
        return array

    def _check_length(self, name: str, length: int) -> None:
        if length == 0:
            raise ValueError(f"{name} is empty: pass a number, or one for each descent.")
        if self.n_runs is None:
            self.n_runs = length
        if length != self.n_runs:
            raise ValueError(
                f"{name} has {length} entries, but there are {self.n_runs} descents: pass a "
                f"number, or an array of shape ({self.n_runs},)."
            )

    def spread(self, value: npt.ArrayLike) -> Float64Array:
        """Return a column of the numbers of all descents, or of the only one that all share."""
        return np.array(value, np.float64).reshape(-1, 1)


@dataclass(frozen=True, slots=True)
class Option(ABC):
    """An option of a rule: its value where none is given, and the check of one that is."""

    default: Any

    @abstractmethod
    def read(self, descents: PerDescent, name: str, value: Any) -> Any:
        """Return a value that is given; raise ValueError or TypeError if it is none."""

    def spread(self, descents: PerDescent, value: Any) -> Any:
        """Return the value as rules take it, once it is known how many descents there are."""
        return value


@dataclass(frozen=True, slots=True)
class Number(Option):
    """A number from `low` (above it, if `strictly`) to below `below`, or one for each descent."""

    low: float = 0.0
    below: float = math.inf
    strictly: bool = False

    def read(self, descents: PerDescent, name: str, value: Any) -> Any:
        return descents.read(name, value, self.low, self.below, strictly=self.strictly)

    def spread(self, descents: PerDescent, value: Any) -> Any:
        return None if value is None else descents.spread(value)


@dataclass(frozen=True, slots=True)
class Pair(Number):
    """Two such numbers."""

    def read(self, descents: PerDescent, name: str, value: Any) -> Any:
        if (
            not isinstance(value, (tuple, list))
            or len(value) != 2
            or any(number is None for number in value)
        ):
            raise TypeError(
                f"{name} is {describe(value)}: pass a pair of numbers in [{self.low:g}, "
                f"{self.below:g})."
            )
        return tuple(
            Number.read(self, descents, f"{name}[{k}]", number) for k, number in enumerate(value)
        )

    def spread(self, descents: PerDescent, value: Any) -> Any:
        return tuple(descents.spread(number) for number in value)


@dataclass(frozen=True, slots=True)
class Flag(Option):
    """True or False, or None for the rule's own choice."""

    def read(self, descents: PerDescent, name: str, value: Any) -> Any:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} is {describe(value)}: pass True, False or None.")
        return bool(value)


@dataclass(frozen=True, slots=True)
class Count(Option):
    """An integer from 1 to `most`."""

    most: int

    def read(self, descents: PerDescent, name: str, value: Any) -> Any:
        return check_integer(name, value, 1, self.most)
