"""Exhaustive search: every whole-number theta of a box, and so the certified best of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.result import SearchResult
from metaopt_fast.samplers import (
    MAX_INDEX,
    Columns,
    Integers,
    Sampler,
    allocate,
    check_sparsity,
    droppable,
)
from metaopt_fast.search import random_search
from metaopt_fast.validation import check_integer

Indices = npt.NDArray[np.int64]


class IntegerBox(Sampler):
    """All whole-number thetas between two bounds, in an order: candidate i is one of them.

    Without max_nonzero the order is that of counting, the last parameter the fastest. With it, sets
    of parameters that are not zero come one after the other, small ones first.

    Parameters
    ----------
    low, high : array_like of int of shape (n_params,)
    max_nonzero : int, optional
    free : sequence of int
        As in `Integers`.

    Attributes
    ----------
    n_models : int
        How many there are.
    """

    in_kernel = False

    def __init__(
        self,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        max_nonzero: int | None = None,
        free: Sequence[int] = (),
    ) -> None:
        bounds = Integers(np.atleast_1d(low), np.atleast_1d(high)).to_dict()
        self.low, self.high = (np.array(bounds[name]) for name in ("low", "high"))
        self.max_nonzero, self.free = check_sparsity(max_nonzero, free)
        self._sizes = [int(n) for n in (self.high - self.low + 1).tolist()]
        limit = len(self.low) if self.max_nonzero is None else self.max_nonzero
        self._dropped = droppable(self.low, self.high, limit, self.free)
        if limit >= len(self._dropped):
            self._dropped = self._dropped[:0]
        self.n_models = self._count()
        # Made when asked for: of a box that is too large nobody does.
        self._supports: tuple[npt.NDArray[np.bool_], Indices] | None = None

    def _count(self) -> int:
        """Return how many thetas there are."""
        # by_size[k]: the thetas with k of the parameters so far not zero.
        by_size = [1]
        for j in self._dropped.tolist():
            longer = [*by_size, 0]
            for k, count in enumerate(by_size):
                longer[k + 1] += count * (self._sizes[j] - 1)
            by_size = longer[: (self.max_nonzero or 0) + 1]
        total = sum(by_size)
        for j in set(range(len(self._sizes))) - set(self._dropped.tolist()):
            total *= self._sizes[j]
        return total

    def supports(self) -> tuple[npt.NDArray[np.bool_], Indices]:
        """Return which parameters are not zero in each set, and where each set's thetas begin."""
        if self._supports is None:
            always = np.ones(len(self._sizes), np.bool_)
            always[self._dropped] = False
            sets = [
                chosen
                for size in range(min(self.max_nonzero or 0, len(self._dropped)) + 1)
                for chosen in itertools.combinations(self._dropped.tolist(), size)
            ]
            nonzero = np.zeros((len(sets), len(self._sizes)), np.bool_)
            for row, chosen in enumerate(sets):
                nonzero[row, list(chosen)] = True
            counts = np.ones(len(sets), np.int64)
            for j, size in enumerate(self._sizes):
                counts *= size if always[j] else np.where(nonzero[:, j], size - 1, 1)
            starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
            self._supports = nonzero, starts.astype(np.int64)
        return self._supports

    @property
    def n_params(self) -> int | None:
        return len(self._sizes)

    def columns(self, n_params: int) -> Columns:
        raise ValueError("an IntegerBox is not random: draw from Integers.")

    def sample(self, seed: int, start: int, count: int, n_params: int) -> npt.NDArray[np.float64]:
        """Return thetas start .. start + count - 1, shape (count, n_params), whatever the seed."""
        start = check_integer("start", start, 0, MAX_INDEX)
        count = check_integer("count", count, 1, MAX_INDEX - start)
        if n_params != len(self._sizes):
            raise ValueError(
                f"the box has {len(self._sizes)} parameters, but the objective has {n_params}: "
                f"pass low and high of shape ({n_params},)."
            )
        if start + count > self.n_models:
            raise ValueError(
                f"theta {start + count - 1} was asked for, but the box has {self.n_models:,}: ask "
                "for fewer."
            )
        nonzero, starts = self.supports()
        rest = np.arange(start, start + count, dtype=np.int64)
        row = np.searchsorted(starts, rest, side="right") - 1
        rest -= starts[row]
        thetas = allocate(count, n_params)
        dropped = set(self._dropped.tolist())
        for j in range(n_params - 1, -1, -1):
            if j not in dropped:
                rest, digit = np.divmod(rest, self._sizes[j])
                thetas[:, j] = self.low[j] + digit
                continue
            is_nonzero = nonzero[row, j]
            rest, digit = np.divmod(rest, np.where(is_nonzero, max(1, self._sizes[j] - 1), 1))
            value = self.low[j] + digit
            value += value >= 0  # 0 is left out
            thetas[:, j] = np.where(is_nonzero, value, 0)
        return thetas

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": "IntegerBox",
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "max_nonzero": self.max_nonzero,
            "free": list(self.free),
        }

    def __repr__(self) -> str:
        return (
            f"IntegerBox(low={self.low.tolist()}, high={self.high.tolist()}, "
            f"max_nonzero={self.max_nonzero}, free={self.free})"
        )


def enumerate_search(
    objective: Any,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    max_nonzero: int | None = None,
    free: Sequence[int] = (),
    limit: int = 100_000_000,
    top_k: int = 1,
    prune: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: bool | str = False,
    callback: Callable[[SearchResult], object] | None = None,
    time_budget: float | None = None,
    n_threads: int | None = None,
    metadata: dict[str, Any] | None = None,
) -> SearchResult:
    """Evaluate every whole-number theta of a box and keep the best.

    Parameters
    ----------
    objective : object
        As in `random_search`.
    low, high : int or array_like of int of shape (n_params,)
        Bounds of each parameter, both included.
    max_nonzero : int, optional
        Parameters that may be other than zero; 0 must lie within their bounds.
    free : sequence of int, default ()
        Parameters that max_nonzero does not count: -1 is the last one, an intercept.
    limit : int, default 100,000,000
        More thetas than that are refused.
    top_k, prune, checkpoint, executor, progress, callback, time_budget, n_threads, metadata
        As in `random_search`.

    Returns
    -------
    SearchResult
        With ``certified`` True where every theta was evaluated: no other has a lower loss.

    Raises
    ------
    ValueError, TypeError
        If the box is too large, or an argument is not as described.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0, 3.0], [2.0, 0.0], [-1.0, 1.0]], [1, 1, 0])
    >>> result = mf.enumerate_search(objective, -2, 2)
    >>> result.theta.tolist(), result.certified
    ([2.0, 1.0], True)
    """
    n_params = check_integer("objective.n_params", getattr(objective, "n_params", None), 1)
    bounds = Integers(low, high).columns(n_params)
    box = IntegerBox(bounds.a, bounds.c, max_nonzero, free)
    limit = check_integer("limit", limit, 1, MAX_INDEX)
    if box.n_models > limit:
        raise ValueError(
            f"the box has {box.n_models:,} thetas, but the limit is {limit:,}: narrow low and "
            "high, lower max_nonzero, or pass a higher limit."
        )
    return random_search(
        objective,
        box,
        box.n_models,
        top_k=min(check_integer("top_k", top_k, 1), box.n_models),
        prune=prune,
        checkpoint=checkpoint,
        executor=executor,
        progress=progress,
        callback=callback,
        time_budget=time_budget,
        n_threads=n_threads,
        metadata=metadata,
    )
