"""Every whole-number vector of a box, by number: how many there are, and which one is number i."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.samplers.independent import Integers
from metaopt_fast.typing import Array
from metaopt_fast.validation.values import check_integer

# Numbers below it, and their quotients rounded down, are exact in double precision.
MAX_MODELS = 2**52


class Box:
    """The vectors that an `Integers` sampler may draw, each once, numbered from 0.

    Without a limit of non-zero parameters, vectors come in the order of `itertools.product`: the
    last parameter is the fastest. With a limit, those of fewer non-zero parameters come first; of
    as many, supports (the sets of non-zero parameters) in the order of `itertools.combinations`;
    of one support, the values of its parameters and then those of the free ones, the last one the
    fastest. `random_search` takes it for a sampler.

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

    def __init__(self, integers: Integers, n_params: int) -> None:
        self.integers, self.n_params = integers, n_params
        self.low, high = integers.bounds(n_params)
        sizes = [int(size) for size in high - self.low + 1]
        self.max_nonzero = integers.max_nonzero or 0
        counted = integers.droppable(n_params) if self.max_nonzero else np.empty(0, np.intp)
        self.free = np.delete(np.arange(n_params), counted)
        self.free_sizes = [sizes[j] for j in self.free]
        self.n_free = math.prod(self.free_sizes)
        # A parameter that is always 0 is in no support.
        self.counted = counted[[sizes[j] > 1 for j in counted]]
        self.sizes = [sizes[j] - 1 for j in self.counted]
        self.ways = count_ways(self.sizes, self.max_nonzero)
        self.n_models = self.n_free * sum(self.ways[0])

    def __call__(self, start: int, count: int) -> npt.NDArray[np.float64]:
        """Return vectors start .. start + count - 1, shape (count, n_params)."""
        n_models = min(self.n_models, MAX_MODELS)
        start = check_integer("start", start, 0, n_models - 1)
        count = check_integer("count", count, 1, n_models - start)
        thetas = np.zeros((count, self.n_params))
        first = 0
        for n_nonzero, ways in enumerate(self.ways[0]):
            stop = first + self.n_free * ways
            a, b = max(start, first), min(start + count, stop)
            if a < b:
                self._fill(thetas[a - start : b - start], n_nonzero, a - first)
            first = stop
        return thetas

    def _fill(self, thetas: Array, n_nonzero: int, start: int) -> None:
        """Write vectors `start` and following of those that have so many non-zero parameters."""
        rank = np.arange(start, start + len(thetas), dtype=np.float64)
        for j, size in zip(self.free[::-1], self.free_sizes[::-1], strict=True):
            rank, digit = divide(rank, size)
            thetas[:, j] = self.low[j] + digit
        if n_nonzero == 0:
            return
        positions, ends, first = self._supports(n_nonzero, int(rank[0]), int(rank[-1]))
        support = np.searchsorted(ends, rank, side="right")
        rank -= np.append(first, ends)[support]
        sizes, row = np.array(self.sizes, np.float64), np.arange(len(thetas))
        for k in reversed(range(n_nonzero)):
            position = positions[:, k][support]
            rank, digit = divide(rank, sizes[position])
            j = self.counted[position]
            value = self.low[j] + digit
            thetas[row, j] = value + (value >= 0)

    def _supports(self, n_nonzero: int, rank: int, last: int) -> tuple[Array, Array, int]:
        """Return the supports that hold the values `rank` to `last` of all of that size.

        Each as positions in `counted`; and where the values of each end, and those of the first
        begin.
        """
        position, within = 0, rank
        support: list[int] = []
        before = 1  # ways of the positions that are in the support
        while len(support) < n_nonzero:
            ways = (
                before
                * self.sizes[position]
                * self.ways[position + 1][n_nonzero - len(support) - 1]
            )
            if within < ways:
                before *= self.sizes[position]
                support.append(position)
            else:
                within -= ways
            position += 1
        first = rank - within
        supports, ends = [support], [first + before]
        while ends[-1] <= last:
            support = next_combination(support, len(self.sizes))
            supports.append(support)
            ends.append(ends[-1] + math.prod([self.sizes[position] for position in support]))
        return np.array(supports), np.array(ends, np.float64), first

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


def next_combination(positions: list[int], n: int) -> list[int]:
    """Return the combination of 0 .. n - 1 that follows in the order of itertools.combinations."""
    k = len(positions)
    i = next(i for i in reversed(range(k)) if positions[i] < n - k + i)
    return [*positions[:i], *range(positions[i] + 1, positions[i] + 1 + k - i)]


def divide(numbers: Array, divisor: Any) -> tuple[Array, Array]:
    """Return quotients and remainders of whole numbers in double precision, below MAX_MODELS.

    Exact: a quotient that is not whole is further from the next whole number than rounding goes.
    """
    quotients = np.floor(numbers / divisor)
    return quotients, numbers - quotients * divisor
