"""What samplers are: distributions whose draw i is a pure function of (seed, i)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.overrides import check_overrides, may_ask
from metaopt_fast.validation.values import check_integer, describe

MAX_SEED = 2**64 - 1
MAX_INDEX = 2**63 - 1
MAX_PARAMS = 2**31

# Numbers in the thetas of a batch, where candidates are drawn outside the kernel: 4 MB, some 30 ms
# between two looks at Ctrl-C.
BATCH_NUMBERS = 2**19

# Numbers of the transforms, as in operands.hpp.
NORMAL, UNIFORM, INTEGERS = 0, 1, 2


class Columns(NamedTuple):
    """A sampler by parameters, as in operands.hpp: the transform and its three coefficients."""

    transform: npt.NDArray[np.uint8]
    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    c: npt.NDArray[np.float64]


class BuiltInSampler(ABC):
    """What all built-in samplers share: `sample`, and their form for the kernels.

    Parameter j of candidate i comes from one 52-bit uniform number (or, for a normal one, from the
    two of the pair 2 * (j // 2)), made by Philox4x32-10 from the key `seed` and the counter
    (i, j // 2): it does not depend on what else is drawn, when, or where.

    References
    ----------
    J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011.
    """

    @abstractmethod
    def columns(self, n_params: int) -> Columns:
        """Return the sampler by parameters; raise ValueError if it has another number of them."""

    @abstractmethod
    def mean(self, n_params: int) -> Float64Array:
        """Return the mean of each parameter, shape (n_params,)."""

    @abstractmethod
    def std(self, n_params: int) -> Float64Array:
        """Return the standard deviation of each parameter, shape (n_params,)."""

    @abstractmethod
    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the lowest and the highest value of each parameter: no draw is beyond them."""

    @abstractmethod
    def is_integer(self, n_params: int) -> BoolArray:
        """Return which parameters are whole numbers, shape (n_params,)."""

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        """Return how many of which parameters may be other than 0 at once; None for any number."""
        return None

    @property
    def n_params(self) -> int | None:
        """The number of parameters that the arguments fix; None where they fix none."""
        return None

    @property
    def is_drawn_in_kernels(self) -> bool:
        """Whether kernels draw from it what `sample` returns: no subclass overrides that alone."""
        return may_ask(self, "columns")

    @property
    def parts(self) -> tuple[BuiltInSampler, ...]:
        """Samplers that it is made of."""
        return ()

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the name and the arguments as plain numbers and lists; `from_dict` reads them."""

    def sample(self, seed: int, start: int, count: int, n_params: int) -> npt.NDArray[np.float64]:
        """Draw candidates start .. start + count - 1.

        Parameters
        ----------
        seed : int
            From 0 to 2**64 - 1; different seeds give independent streams.
        start, count : int
            The first candidate's number, and how many.
        n_params : int
            Parameters of a candidate.

        Returns
        -------
        numpy.ndarray of shape (count, n_params), float64
            Row k is candidate start + k: the same bits on every machine.

        Raises
        ------
        ValueError, TypeError
            If an argument is no integer in range, or arrays of the sampler have another length.
        """
        draws = self.draws(seed, n_params)
        start = check_integer("start", start, 0, MAX_INDEX)
        count = check_integer("count", count, 1, MAX_INDEX - start)
        out = allocate(count, n_params)
        if not draws.sample(start, out):
            raise ValueError(
                f"{describe(self)} draws numbers beyond the range of floats: pass smaller ones."
            )
        return out

    def draws(self, seed: int, n_params: int) -> _kernels.Draws:
        """Return the sampler in the kernels' form, for one seed and number of parameters."""
        seed = check_integer("seed", seed, 0, MAX_SEED)
        return _kernels.Draws(*self.columns(n_params), seed)

    def drawn(self, seed: int, n_params: int) -> _kernels.Draws:
        """Return what `draws` returns, or raise TypeError where `sample` is not drawn from it."""
        check_overrides("sampler", self, "columns", "sample")
        return self.draws(seed, n_params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BuiltInSampler) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))


def allocate(*shape: int) -> npt.NDArray[np.float64]:
    """Return an uninitialised array, or raise ValueError where no machine could hold it."""
    if math.prod(shape) > MAX_INDEX // 8:
        raise ValueError(
            f"an array of shape {shape} does not fit in memory: ask for fewer candidates at a time."
        )
    return np.empty(shape)
