"""Update rules of populations: each asks for a generation and is told how its candidates rank.

A rule keeps nothing but its settings. What changes from generation to generation is a `State`, only
ever replaced, so that an interrupt at any moment leaves the last one whole; and the random numbers
of generation g are those of candidates g * population and the following ones of the seed. Sums run
over candidates in their order: the bits do not depend on threads.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.samplers.base import INTEGERS, MAX_SEED, NORMAL, Columns, Sampler, allocate
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.typing import Array

# Seeds of independent streams are so far apart (the golden ratio, times 2**64).
STREAM_STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What all methods start from.

    `theta0` is None where the caller gave a sampler; `start` is a sampler in any case.
    """

    start: Sampler
    theta0: Array | None
    seed: int
    population: int
    n_params: int


class State(NamedTuple):
    """Where a run stands between two generations."""

    center: Array  # the mean of the distribution, or the best point to search around
    scale: Array  # standard deviation of each parameter in the next generation
    loss: float  # of the center, where that has been evaluated
    stuck: int  # generations since the center was improved on
    diverged: bool


class Proposal(NamedTuple):
    """The candidates of a generation, and the normal numbers that they are made of."""

    thetas: Array
    z: Array


class Strategy(ABC):
    """An update rule; `defaults` are the names and values of its options."""

    defaults: ClassVar[dict[str, float | None]]

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        self.start, self.theta0, self.seed = setting.start, setting.theta0, setting.seed
        self.population, self.n_params = setting.population, setting.n_params
        for name, value in options.items():
            setattr(self, name, value)

    @abstractmethod
    def begin(self) -> State:
        """Return the state before the first generation."""

    @abstractmethod
    def ask(self, generation: int, state: State) -> Proposal:
        """Return the candidates of a generation."""

    @abstractmethod
    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        """Return the next state.

        Parameters
        ----------
        ranks : numpy.ndarray of shape (population,)
            Losses; infinity where one was not finite, which all may be.
        order : numpy.ndarray of shape (population,)
            Candidates by (rank, number).
        """

    def sample_start(self, generation: int) -> Array:
        """Return a whole generation from the start's distribution."""
        first = generation * self.population
        return self.start.sample(self.seed, first, self.population, self.n_params)


class Continuous(Strategy):
    """A rule around a center, with normal numbers; the first generation comes from the start."""

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        super().__init__(setting, options)
        self._normals = Normal().draws(self.seed, self.n_params)

    def begin(self) -> State:
        transform, a, b, _ = self.start.columns(self.n_params)
        normal = transform == NORMAL
        # Of a uniform parameter, a is the lower bound and b the width.
        center = np.where(normal, a, a + b / 2)
        scale = np.where(normal, b, b / math.sqrt(12))
        if not (scale > 0).all():
            raise ValueError(
                "start has a parameter whose standard deviation is 0 in floats: pass a wider start."
            )
        return State(center, scale, math.inf, 0, False)

    def ask(self, generation: int, state: State) -> Proposal:
        if generation == 0:
            thetas = self.sample_start(0)
            if self.theta0 is not None:
                thetas[0] = self.theta0  # a start may be the best there is
            return Proposal(thetas, (thetas - state.center) / state.scale)
        z = self.normals(generation, self.population)
        thetas = z * state.scale
        thetas += state.center
        return Proposal(thetas, z)

    def normals(self, generation: int, count: int) -> Array:
        """Return standard normal numbers of shape (count, n_params), count <= population."""
        z = allocate(count, self.n_params)
        self._normals.sample(generation * self.population, z)
        return z


class Shrinking(Continuous):
    """Normal steps around the best point so far, shorter each time, and more so after a failure."""

    defaults: ClassVar = {"shrink": 0.95, "shrink_stuck": 0.7}
    shrink: float
    shrink_stuck: float

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        best, scale = order[0], state.scale * self.shrink
        if ranks[best] < state.loss:
            return State(proposal.thetas[best].copy(), scale, float(ranks[best]), 0, False)
        return state._replace(scale=scale * self.shrink_stuck, stuck=state.stuck + 1)


class CrossEntropy(Continuous):
    """The normal distribution of the elite, smoothed, with noise that fades."""

    defaults: ClassVar = {
        "elite": 0.125,
        "smoothing": 0.7,
        "noise": 0.05,
        "noise_generations": 50,
    }
    elite: float
    smoothing: float
    noise: float
    noise_generations: int

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        super().__init__(setting, options)
        self.n_elite = max(1, round(self.elite * self.population))
        self.first_scale = self.begin().scale

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        elite = order[: self.n_elite]
        elite = elite[ranks[elite] < np.inf]
        if len(elite) == 0:
            return state
        thetas = proposal.thetas[elite]
        mean = thetas.sum(axis=0) / len(elite)
        thetas -= mean
        thetas *= thetas
        deviation = np.sqrt(thetas.sum(axis=0) / len(elite))
        center = self.smoothing * mean + (1 - self.smoothing) * state.center
        scale = self.smoothing * deviation + (1 - self.smoothing) * state.scale
        noise = self.noise * max(0.0, 1 - (generation + 1) / self.noise_generations)
        scale = np.sqrt(scale * scale + noise * (self.first_scale * self.first_scale))
        return state._replace(center=center, scale=scale)


class Snes(Continuous):
    """The separable natural gradient of the expected utility."""

    defaults: ClassVar = {"learning_rate": 1.0, "scale_learning_rate": None}
    learning_rate: float
    scale_learning_rate: float | None

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        super().__init__(setting, options)
        n, k = self.n_params, np.arange(1.0, self.population + 1)
        default = (3 + log(n)) / (5 * math.sqrt(n))
        self.eta_scale = self.scale_learning_rate or default
        utility = np.maximum(0.0, log(self.population / 2 + 1) - log(k))
        self.utilities = (utility / utility.sum() - 1 / self.population)[:, None]

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        if ranks[order[0]] == np.inf:
            return state
        z = proposal.z[order]
        weighted = self.utilities * z
        center = state.center + self.learning_rate * state.scale * weighted.sum(axis=0)
        # Utilities add up to 0: the 1 of z**2 - 1 would fall out, but for rounding.
        weighted *= z
        curvature = weighted.sum(axis=0) - self.utilities.sum()
        scale = state.scale * exp(self.eta_scale / 2 * curvature)
        return state._replace(center=center, scale=scale)


class AugmentedRandomSearch(Continuous):
    """Differences along mirrored directions, the best of them, in units of the losses' spread."""

    defaults: ClassVar = {"elite": 0.5, "learning_rate": 0.1, "exploration": 0.1}
    elite: float
    learning_rate: float
    exploration: float

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        super().__init__(setting, options)
        self.n_directions = self.population // 2
        self.n_used = max(1, round(self.elite * self.n_directions))
        self.step = self.learning_rate * super().begin().scale

    def begin(self) -> State:
        state = super().begin()
        return state if self.is_survey(0) else self.explore(state)

    def explore(self, state: State) -> State:
        """Return a state of the first deviations with those of the directions."""
        return state._replace(scale=self.exploration * state.scale)

    def ask(self, generation: int, state: State) -> Proposal:
        if self.is_survey(generation):
            thetas = self.sample_start(0)
            return Proposal(thetas, thetas)
        z = self.normals(generation, self.n_directions)
        if generation == 0:
            z[0] = 0.0
        offset = z * state.scale
        thetas = np.concatenate([state.center + offset, state.center - offset])
        if generation == 0:  # both of the first direction are the start, which may be the best
            thetas[[0, self.n_directions]] = self.theta0
        return Proposal(thetas, z)

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        if self.is_survey(generation):
            found = ranks[order[0]] < np.inf
            center = proposal.thetas[order[0]].copy() if found else state.center
            return self.explore(state._replace(center=center))
        plus, minus = ranks[: self.n_directions], ranks[self.n_directions :]
        # Of a direction with one loss that is infinite, the difference says nothing; nor of none.
        tells = (np.maximum(plus, minus) < np.inf) & proposal.z.any(axis=1)
        telling = np.flatnonzero(tells)
        best = np.argsort(np.minimum(plus, minus)[telling], kind="stable")[: self.n_used]
        used = telling[best]
        spread = np.std(np.concatenate([plus[used], minus[used]])) if len(used) else 0.0
        if spread == 0:
            return state
        difference = minus[used] - plus[used]
        gradient = (difference[:, None] * proposal.z[used]).sum(axis=0) / (len(used) * spread)
        return state._replace(center=state.center + self.step * gradient)

    def is_survey(self, generation: int) -> bool:
        """Whether a generation is drawn from the sampler, to choose where the descent begins."""
        return generation == 0 and self.theta0 is None


class IntegerLocalSearch(Strategy):
    """The best of the neighbours of the best point; from another random point if that fails.

    A neighbour differs in one or two parameters, each by +-1 or uniformly among the other values.
    """

    defaults: ClassVar = {"restart_after": 20}
    restart_after: int

    def __init__(self, setting: Setting, options: dict[str, Any]) -> None:
        super().__init__(setting, options)
        columns = columns_of(self.start, self.n_params)
        self.low, self.high = columns.a, columns.c
        free = np.flatnonzero(self.low < self.high)
        self.free = free if len(free) else np.arange(self.n_params)
        self.max_nonzero, self.counted = self.n_params, np.arange(self.n_params)
        if isinstance(self.start, Integers) and self.start.max_nonzero is not None:
            self.max_nonzero = self.start.max_nonzero
            self.counted = self.start.droppable(self.n_params)
        # Two streams of their own: which changes, and what makes way for them.
        self._choices = Uniform(0, 1).draws((self.seed + STREAM_STEP) & MAX_SEED, 7)
        self._keys = Uniform(0, 1).draws((self.seed + 2 * STREAM_STEP) & MAX_SEED, self.n_params)

    def begin(self) -> State:
        middle = np.clip(np.zeros(self.n_params), self.low, self.high)
        return State(middle, self.start_scale(), math.inf, self.restart_after, False)

    def start_scale(self) -> Array:
        """Return the standard deviation of a draw from the start."""
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
        for place in range(kept.shape[1]):
            keys[np.arange(self.population), kept[:, place]] = 2 + place
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


STRATEGIES: dict[str, type[Strategy]] = {
    "shrinking": Shrinking,
    "cem": CrossEntropy,
    "snes": Snes,
    "ars": AugmentedRandomSearch,
    "integer_local_search": IntegerLocalSearch,
}


def columns_of(start: Sampler, n_params: int) -> Columns:
    """Return a sampler by parameters; a `max_nonzero` is not in that form."""
    if isinstance(start, Integers):
        start = Integers(*start.bounds(n_params))
    return start.columns(n_params)


def is_integers(start: Sampler, n_params: int) -> bool:
    """Whether all parameters of a sampler are whole numbers; raise ValueError if only some are."""
    whole = columns_of(start, n_params).transform == INTEGERS
    if whole.any() and not whole.all():
        raise ValueError(
            f"start is {start!r}, of whole and of other numbers: pass a start of one kind."
        )
    return bool(whole.all())
