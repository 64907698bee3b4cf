"""Every whole-number vector of a box, by number: how many there are, and which one is number i."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.samplers.base import INTEGERS, MAX_SEED, BuiltInSampler, Columns
from metaopt_fast.samplers.independent import Integers
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.values import check_integer

# Numbers below it, and their quotients rounded down, are exact in double precision.
MAX_MODELS = 2**52


class Box(BuiltInSampler):
    """The vectors that an `Integers` sampler may draw, each once, numbered from 0.

    Without a limit of non-zero parameters, vectors come in the order of `itertools.product`: the
    last parameter is the fastest. With a limit, those of fewer non-zero parameters come first; of
    as many, supports (the sets of non-zero parameters) in the order of `itertools.combinations`;
    of one support, the values of its parameters and then those of the free ones, the last one the
    fastest. Candidate i of any seed is vector i.

    Parameters
    ----------
    integers : Integers
        The bounds and the limit.
    n_params : int

    Attributes
    ----------
    n_models : int
        How many vectors there are, exactly.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> from metaopt_fast.samplers.box import Box
    >>> Box(mf.Integers(0, 1), 2)(0, 4).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """

    integers: Integers
    low: Float64Array
    ways: list[list[int]]

    def __init__(self, integers: Integers, n_params: int) -> None:
        self.integers, self._n_params = integers, n_params
        self.low, high = integers.bounds(n_params)
        self.sizes: list[int] = [int(size) for size in high - self.low + 1]
        self.max_nonzero: int = integers.max_nonzero or 0
        counted = integers.droppable(n_params) if self.max_nonzero else np.empty(0, np.intp)
        # A parameter that is always 0 is in no support.
        self.counted: IndexArray = counted[[self.sizes[j] > 1 for j in counted]]
        n_free = math.prod(self.sizes[j] for j in np.delete(np.arange(n_params), self.counted))
        self.ways = count_ways([self.sizes[j] - 1 for j in self.counted], self.max_nonzero)
        self.n_models: int = n_free * sum(self.ways[0])
        self._arrays = self._kernel_arrays()

    @property
    def n_params(self) -> int:
        return self._n_params

    def __call__(self, start: int, count: int) -> npt.NDArray[np.float64]:
        """Return vectors start .. start + count - 1, shape (count, n_params)."""
        return self.sample(0, start, count, self.n_params)

    def sample(self, seed: int, start: int, count: int, n_params: int) -> npt.NDArray[np.float64]:
        """Return vectors start .. start + count - 1, shape (count, n_params), for any seed."""
        n_models = min(self.n_models, MAX_MODELS)
        start = check_integer("start", start, 0, n_models - 1)
        count = check_integer("count", count, 1, n_models - start)
        return super().sample(seed, start, count, n_params)

    def columns(self, n_params: int) -> Columns:
        raise ValueError(f"{self!r} has no parameters that are drawn by themselves: pass Integers.")

    def draws(self, seed: int, n_params: int) -> _kernels.Draws:
        self._check(n_params)
        check_integer("seed", seed, 0, MAX_SEED)
        columns, ways, firsts = self._arrays
        n_models = min(self.n_models, MAX_MODELS)
        return _kernels.NumberedDraws(*columns, ways, firsts, n_models)

    def _kernel_arrays(self) -> tuple[Columns, Float64Array, Float64Array]:
        """Return the box as the kernels read it, see whole.hpp."""
        is_counted, n_values = np.zeros(self.n_params), np.array(self.sizes, np.float64)
        is_counted[self.counted] = 1.0
        n_values[self.counted] -= 1
        with_it = [
            [0, *((self.sizes[j] - 1) * number for number in rest[:-1])]
            for j, rest in zip(self.counted, self.ways[1:], strict=True)
        ]
        transform = np.full(self.n_params, INTEGERS, np.uint8)
        return (
            Columns(transform, self.low, n_values, is_counted),
            np.array([in_floats(row) for row in [*with_it, [0] * (self.max_nonzero + 1)]]),
            in_floats(itertools.accumulate(self.ways[0], initial=0)),
        )

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        self._check(n_params)
        return self.integers.bounds(n_params)

    def is_integer(self, n_params: int) -> BoolArray:
        self._check(n_params)
        return self.integers.is_integer(n_params)

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        self._check(n_params)
        return self.integers.nonzero_limit(n_params)

    def mean(self, n_params: int) -> Float64Array:
        """Return the mean of each parameter over all vectors."""
        return np.array([total / count for total, _, count in self._sums(n_params)])

    def std(self, n_params: int) -> Float64Array:
        """Return the standard deviation of each parameter over all vectors."""
        sums = self._sums(n_params)
        return np.sqrt([(squares * n - total * total) / (n * n) for total, squares, n in sums])

    def _sums(self, n_params: int) -> list[tuple[int, int, int]]:
        """Return the sum of each parameter, and of its squares, over how many vectors.

        Over those of some values of the others; for what is counted, that is all of `ways`.
        """
        self._check(n_params)
        sums = []
        for low, size in zip(self.low.tolist(), self.sizes, strict=True):
            first, last = int(low), int(low) + size - 1
            squares = squares_to(last) - squares_to(first - 1)
            sums.append((size * (first + last) // 2, squares, size))
        for j in self.counted:
            total, squares, size = sums[j]
            others = ways_without(self.ways[0], size - 1)
            sums[j] = (others * total, others * squares, sum(self.ways[0]))
        return sums

    def _check(self, n_params: int) -> None:
        """Raise ValueError where another number of parameters is asked for."""
        if n_params != self.n_params:
            raise ValueError(
                f"the box has {self.n_params} parameters, but {n_params} are to be drawn: pass a "
                "box of as many."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all that it takes to make the box again; `from_dict` reads it."""
        return {
            "name": "Box",
            "integers": self.integers.to_dict(),
            "n_params": self.n_params,
            "n_models": self.n_models,
        }

    def __repr__(self) -> str:
        return f"Box({self.integers!r}, {self.n_params})"


def count_ways(sizes: list[int], max_nonzero: int) -> list[list[int]]:
    """Return the number of ways to give values to exactly r of positions p, p + 1, ..., as [p][r].

    Position p takes sizes[p] values; these are the elementary symmetric polynomials of the sizes.
    """
    ways = [[1] + [0] * max_nonzero]
    for size in reversed(sizes):
        rest = ways[-1]
        with_it = [0, *(size * number for number in rest[:-1])]
        ways.append([a + b for a, b in zip(rest, with_it, strict=True)])
    return ways[::-1]


def ways_without(ways: list[int], size: int) -> int:
    """Return the number of ways to give values to fewer positions than the most, but for one.

    `ways` are those of all positions, by their number, and that one takes `size` values: the
    polynomial of these coefficients is divided by 1 + size t.
    """
    total = rest = 0
    for number in ways[:-1]:
        rest = number - size * rest
        total += rest
    return total


def squares_to(last: int) -> int:
    """Return a sum of squares whose difference to that of a lower number is that of the squares
    between: 1 + 4 + ... + last * last."""
    return last * (last + 1) * (2 * last + 1) // 6


def in_floats(numbers: Iterable[int]) -> Float64Array:
    """Return whole numbers as floats; of those far above MAX_MODELS, any large one will do."""
    return np.array([float(min(number, 2**60)) for number in numbers])
