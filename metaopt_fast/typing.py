"""Types that signatures name: arrays, and what users may write themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]
IndexArray: TypeAlias = npt.NDArray[np.intp]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


@runtime_checkable
class Sampler(Protocol):
    """Where candidates come from, with what it states of them: candidate i depends on (seed, i).

    `Normal`, `Uniform`, `Integers` and `Mixture` have these methods; an object of a user's own with
    all of them is a sampler for `random_search` and a start for `evolve`, too. A class that names
    this one as its base inherits `nonzero_limit`. Each method takes the number of parameters, and
    raises ValueError where the sampler has another one.
    """

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Float64Array:
        """Return candidates start .. start + count - 1, shape (count, n_params), all finite."""
        ...

    def mean(self, n_params: int) -> Float64Array:
        """Return the mean of each parameter, shape (n_params,)."""
        ...

    def std(self, n_params: int) -> Float64Array:
        """Return the standard deviation of each parameter, shape (n_params,)."""
        ...

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the lowest and the highest value of each parameter: no draw is beyond them."""
        ...

    def is_integer(self, n_params: int) -> BoolArray:
        """Return which parameters are whole numbers, each of those within its bounds possible."""
        ...

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        """Return how many of which parameters may be other than 0 at once; None for any number."""
        return None


SamplerLike: TypeAlias = Sampler | Callable[[int, int], npt.ArrayLike]
