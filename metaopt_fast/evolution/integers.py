"""The update rule of whole numbers: neighbours of the best point so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from metaopt_fast.evolution.strategy import (
    STREAM_STEP,
    Option,
    Proposal,
    Setting,
    State,
    Strategy,
    check_count,
)
from metaopt_fast.samplers.base import MAX_SEED, allocate
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import Array, Float64Array, IndexArray


class IntegerLocalSearch(Strategy):
    """The best of the neighbours of the best point; from another random point if that fails.

    A neighbour differs in one or two parameters, each by +-1 or uniformly among the other values.
    """

    options: ClassVar[Mapping[str, Option]] = {"restart_after": Option(20, check_count)}
    is_of_integers = True
    n_best: int = 1
    restart_after: int

    low: Float64Array
    high: Float64Array
    max_nonzero: int
    counted: IndexArray

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__(setting, options)
        self.low, self.high = self.start.bounds(self.n_params)
        free = np.flatnonzero(self.low < self.high)
        self.free: IndexArray = free if len(free) else np.arange(self.n_params)
        limit = self.start.nonzero_limit(self.n_params)
        self.max_nonzero, self.counted = limit or (self.n_params, np.arange(self.n_params))
        # Two streams of their own: which changes, and what makes way for them.
        self._choices = Uniform(0, 1).draws((self.seed + STREAM_STEP) & MAX_SEED, 7)
        self._keys = Uniform(0, 1).draws((self.seed + 2 * STREAM_STEP) & MAX_SEED, self.n_params)

    def begin(self) -> State:
        middle = np.clip(np.zeros(self.n_params), self.low, self.high)
        return State(middle, self.start_scale(), math.inf, self.restart_after, False)

    def start_scale(self) -> Array:
        """Return the standard deviation of a draw within the bounds, before any becomes 0."""
        n_values = self.high - self.low + 1
        return np.asarray(np.sqrt((n_values * n_values - 1) / 12))

    def ask(self, generation: int, state: State) -> Proposal:
        if state.stuck >= self.restart_after:
            thetas = self.sample_start(generation)
            thetas = self.thin_out(thetas, generation, np.empty((self.population, 0), np.intp))
            return Proposal(thetas, thetas)
        u = allocate(self.population, 7)
        self._choices.sample(generation * self.population, u)
        rows, thetas = np.arange(self.population), np.tile(state.center, (self.population, 1))
        n_free = len(self.free)
        first = np.minimum((u[:, 0] * n_free).astype(np.intp), n_free - 1)
        # Uniformly among the others; the same one, if there are no others.
        shift = 1 + (u[:, 1] * (n_free - 1)).astype(np.intp)
        second = (first + np.minimum(shift, max(n_free - 1, 0))) % n_free
        first, second = self.free[first], self.free[second]
        thetas[rows, first] = self.changed(first, state.center[first], u[:, 2:4])
        two = np.flatnonzero((u[:, 6] < 0.5) & (first != second))
        thetas[two, second[two]] = self.changed(second[two], state.center[second[two]], u[two, 4:6])
        thetas = self.thin_out(thetas, generation, np.column_stack([second, first]))
        return Proposal(thetas, thetas)

    def changed(self, j: Array, value: Array, u: Array) -> Array:
        """Return other values of parameters j, near for u[:, 0] < 1/2 and anywhere else."""
        low, high = self.low[j], self.high[j]
        near = value + np.where(u[:, 0] < 0.25, -1.0, 1.0)
        # At a bound there is one way only.
        near = np.where(near > high, value - 1, np.where(near < low, value + 1, near))
        other = low + np.floor(u[:, 1] * (high - low))
        other = np.minimum(other + (other >= value), high)
        return np.asarray(np.clip(np.where(u[:, 0] < 0.5, near, other), low, high))

    def thin_out(self, thetas: Array, generation: int, kept: Array) -> Array:
        """Set entries to 0 at random where more than `max_nonzero` are not; `kept` go last."""
        surplus = np.flatnonzero((thetas[:, self.counted] != 0).sum(axis=1) > self.max_nonzero)
        if len(surplus) == 0:
            return thetas
        keys = allocate(self.population, self.n_params)
        self._keys.sample(generation * self.population, keys)
        for position in range(kept.shape[1]):
            keys[np.arange(self.population), kept[:, position]] = 2 + position
        some = np.ix_(surplus, self.counted)
        keys = np.where(thetas[some] != 0, keys[some], -1.0)
        gone = np.argsort(-keys, axis=1, kind="stable")[:, self.max_nonzero :]
        thetas[surplus[:, None], self.counted[gone]] = 0.0
        return thetas

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        best, loss = order[0], float(ranks[order[0]])
        if state.stuck >= self.restart_after and loss == math.inf:
            return state  # and another random generation follows
        if state.stuck >= self.restart_after or loss < state.loss:
            center, ones = proposal.thetas[best].copy(), np.ones(self.n_params)
            return State(center, ones, loss, 0, False)
        stuck = state.stuck + 1
        scale = self.start_scale() if stuck >= self.restart_after else state.scale
        return state._replace(stuck=stuck, scale=scale)
