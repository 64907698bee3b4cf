"""Update rules of continuous parameters: normal numbers around a center that moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.evolution.strategy import (
    Option,
    Proposal,
    Setting,
    State,
    Strategy,
    check_amount,
    check_count,
    check_fraction,
    check_rate,
)
from metaopt_fast.samplers.base import allocate
from metaopt_fast.samplers.independent import Normal
from metaopt_fast.typing import Array, Float64Array


class Continuous(Strategy):
    """A rule around a center, with normal numbers; the first generation comes from the start."""

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__(setting, options)
        self._normals = Normal().draws(self.seed, self.n_params)

    def begin(self) -> State:
        center, scale = self.start.mean(self.n_params), self.start.std(self.n_params)
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

    options: ClassVar[Mapping[str, Option]] = {
        "shrink": Option(0.95, check_fraction),
        "shrink_stuck": Option(0.7, check_fraction),
    }
    n_best: int = 1
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

    options: ClassVar[Mapping[str, Option]] = {
        "elite": Option(0.125, check_fraction),
        "smoothing": Option(0.7, check_fraction),
        "noise": Option(0.05, check_amount),
        "noise_generations": Option(50, check_count),
    }
    elite: float
    smoothing: float
    noise: float
    noise_generations: int

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__(setting, options)
        self.n_best: int = max(1, round(self.elite * self.population))
        self.first_scale: Array = self.begin().scale

    def tell(
        self, generation: int, state: State, proposal: Proposal, ranks: Array, order: Array
    ) -> State:
        elite = order[: self.n_best]
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

    options: ClassVar[Mapping[str, Option]] = {
        "learning_rate": Option(1.0, check_rate),
        "scale_learning_rate": Option(None, check_rate),
    }
    learning_rate: float
    scale_learning_rate: float | None

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__(setting, options)
        n, k = self.n_params, np.arange(1.0, self.population + 1)
        default = (3 + log(n)) / (5 * math.sqrt(n))
        self.eta_scale: float = self.scale_learning_rate or default
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

    options: ClassVar[Mapping[str, Option]] = {
        "elite": Option(0.5, check_fraction),
        "learning_rate": Option(0.1, check_rate),
        "exploration": Option(0.1, check_rate),
    }
    elite: float
    learning_rate: float
    exploration: float

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        super().__init__(setting, options)
        self.n_directions: int = self.population // 2
        self.n_used: int = max(1, round(self.elite * self.n_directions))
        self.step: Float64Array = self.learning_rate * super().begin().scale

    @classmethod
    def check_population(cls, method: str, population: object) -> int:
        number = super().check_population(method, population)
        if number % 2:
            raise ValueError(
                f"population is {number}, but {method!r} tries each direction both ways: pass an "
                "even number."
            )
        return number

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
