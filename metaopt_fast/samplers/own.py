"""Samplers of users' own: what they draw and what they state, checked where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray, Sampler
from metaopt_fast.validation.values import as_array, check_integer, describe, to_float64

# What has the methods of a sampler, for isinstance: a class of ours is known at once, where the
# protocol asks for each method (some 10 microseconds with Python 3.11).
ANY_SAMPLER = BuiltInSampler, Sampler

# Whole numbers that an evolution moves in, as those of `Integers`.
LARGEST_INTEGER = 2.0**31


@dataclass(frozen=True, eq=False)
class OwnSampler:
    """A sampler of a user's own, for methods that rely on its draws and on what it states.

    Parameters
    ----------
    sampler : Sampler
    name : str
        Name of the argument that it was given as, for errors.
    settings : dict
        Settings of `numpy.seterr` that it runs under: those of the caller.
    """

    sampler: Sampler
    name: str
    settings: dict[str, Any] = field(default_factory=lambda: dict(np.geterr()))

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Float64Array:
        """Return its draws: whole numbers within bounds where it states that they are."""
        with np.errstate(**self.settings):
            answer = self.sampler.sample(seed, start, count, n_params)
        asked = f"{self.name}.sample({seed}, {start}, {count}, {n_params})"
        thetas = check_thetas(asked, answer, count, n_params)
        whole = self.is_integer(n_params)
        if whole.any():
            low, high = self.bounds(n_params)
            wrong = whole & ((thetas != np.floor(thetas)) | (thetas < low) | (thetas > high))
            if wrong.any():
                row, j = np.argwhere(wrong)[0]
                raise ValueError(
                    f"{asked} returned {thetas[row, j]} for parameter {j}, which it states to be a "
                    f"whole number from {low[j]:.0f} to {high[j]:.0f}: return such numbers alone."
                )
        return thetas

    def mean(self, n_params: int) -> Float64Array:
        """Return the means that it states: finite numbers."""
        return self._finite("mean", n_params)

    def std(self, n_params: int) -> Float64Array:
        """Return the standard deviations that it states: finite numbers, none below 0."""
        deviations = self._finite("std", n_params)
        if (deviations < 0).any():
            raise ValueError(
                f"{self._asked('std', n_params)} returned {deviations.min()}: return numbers of at "
                "least 0."
            )
        return deviations

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the bounds that it states: of whole numbers, such as `Integers` may have."""
        asked, answer = self._asked("bounds", n_params), self._ask("bounds", n_params)
        if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != 2:
            raise ValueError(
                f"{asked} returned {describe(answer)}: return two arrays, the lowest and the "
                "highest value of each parameter."
            )
        low, high = (self._numbers(asked, part, n_params) for part in answer)
        if not (low <= high).all():
            j = int(np.argmin(low <= high))
            raise ValueError(
                f"{asked} returned {low[j]} and {high[j]} for parameter {j}: return the lowest "
                "value and the highest."
            )
        whole = self.is_integer(n_params)
        for part in (low, high):
            wrong = whole & ~((part == np.floor(part)) & (np.abs(part) <= LARGEST_INTEGER))
            if wrong.any():
                raise ValueError(
                    f"{asked} returned {part[wrong][0]} for a parameter of whole numbers: return "
                    "whole numbers from -2**31 to 2**31."
                )
        return low, high

    def is_integer(self, n_params: int) -> BoolArray:
        """Return which parameters it states to be whole numbers."""
        asked, wanted = self._asked("is_integer", n_params), f"{n_params} booleans"
        whole = as_array(f"the answer of {asked}", self._ask("is_integer", n_params), wanted)
        if whole.shape != (n_params,) or whole.dtype != np.bool_:
            raise ValueError(f"{asked} returned {describe(whole)}: return an array of {wanted}.")
        return whole

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        """Return how many of which parameters it states to be other than 0 at once, if it does."""
        answer = self._ask("nonzero_limit", n_params)
        if answer is None:
            return None
        asked = self._asked("nonzero_limit", n_params)
        wanted = f"None, or a number and an array of different parameters from 0 to {n_params - 1}"
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise ValueError(f"{asked} returned {describe(answer)}: return {wanted}.")
        counted = as_array(f"the answer of {asked}", answer[1], wanted)
        if (
            counted.ndim != 1
            or counted.dtype.kind not in "iu"
            or len(np.unique(counted)) != len(counted)
            or not ((counted >= 0) & (counted < n_params)).all()
        ):
            raise ValueError(f"{asked} returned {describe(answer)}: return {wanted}.")
        low, high = self.bounds(n_params)
        if not ((low[counted] <= 0) & (high[counted] >= 0)).all():
            raise ValueError(
                f"{asked} returned a parameter whose bounds leave 0 out: return such that may be 0."
            )
        limit = check_integer(f"the number of parameters that {asked} returned", answer[0], 0)
        return limit, counted.astype(np.intp)

    def _ask(self, method: str, n_params: int) -> Any:
        with np.errstate(**self.settings):
            return getattr(self.sampler, method)(n_params)

    def _asked(self, method: str, n_params: int) -> str:
        return f"{self.name}.{method}({n_params})"

    def _finite(self, method: str, n_params: int) -> Float64Array:
        asked = self._asked(method, n_params)
        numbers = self._numbers(asked, self._ask(method, n_params), n_params)
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"{asked} returned a number that is not finite: pass a sampler that has finite "
                "means and standard deviations."
            )
        return numbers

    def _numbers(self, asked: str, answer: object, n_params: int) -> Float64Array:
        """Return one real number for each parameter, as a copy."""
        wanted = f"{n_params} real numbers"
        numbers = as_array(f"the answer of {asked}", answer, wanted)
        if numbers.shape != (n_params,) or numbers.dtype.kind not in "iuf":
            raise ValueError(f"{asked} returned {describe(numbers)}: return an array of {wanted}.")
        return to_float64(numbers).copy()

    def __repr__(self) -> str:
        return describe(self.sampler)


def check_thetas(asked: str, answer: object, count: int, n_params: int) -> Array:
    """Return a copy of candidates that a user's sampler or callable has returned, checked.

    Parameters
    ----------
    asked : str
        Call that they are the answer of, for errors.
    answer : object
    count, n_params : int
        Shape that was asked for.
    """
    thetas = np.asarray(answer)
    wanted = f"a real array of shape ({count}, {n_params})"
    if thetas.shape != (count, n_params) or thetas.dtype.kind not in "iuf":
        raise ValueError(
            f"{asked} returned an array of shape {thetas.shape} and dtype {thetas.dtype}: return "
            f"{wanted}."
        )
    # A copy: the sampler may write its next draws where these are.
    thetas = to_float64(thetas).copy()
    if not np.isfinite(thetas).all():
        raise ValueError(
            f"{asked} returned a number that is not finite: return {wanted} of finite numbers."
        )
    return thetas
