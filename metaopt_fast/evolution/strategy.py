"""What update rules of populations share: each asks for a generation and is told its ranks.

A rule keeps nothing but its settings. What changes from generation to generation is a `State`, only
ever replaced, so that an interrupt at any moment leaves the last one whole; and the random numbers
of generation g are those of candidates g * population and the following ones of the seed. Sums run
over candidates in their order: the bits do not depend on threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from metaopt_fast.runs.options import check_used
from metaopt_fast.typing import Array, Sampler
from metaopt_fast.validation.values import check_integer, check_number

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
    """What a rule has learned between two generations."""

    center: Array  # the mean of the distribution, or the best point to search around
    scale: Array  # standard deviation of each parameter in the next generation
    loss: float  # of the center, where that has been evaluated
    stuck: int  # generations since the center was improved on
    diverged: bool


class Proposal(NamedTuple):
    """The candidates of a generation, and the normal numbers that they are made of."""

    thetas: Array
    z: Array


class Option(NamedTuple):
    """An option of a method: its value where none is given, and the check of one that is."""

    default: float | None
    check: Callable[[str, object], float]


class Strategy(ABC):
    """An update rule.

    Attributes
    ----------
    options : dict of Option
        Options that the rule takes, by name; their values become attributes of these names.
    is_of_integers : bool
        Whether the rule moves in whole numbers.
    n_best : int or None
        How many of a generation's best the rule looks at, which need exact losses: `tell` reads no
        other rank and no later position of the order. None for all.
    """

    options: ClassVar[Mapping[str, Option]]
    is_of_integers: ClassVar[bool] = False
    n_best: int | None = None

    start: Sampler
    theta0: Array | None
    seed: int
    population: int
    n_params: int

    def __init__(self, setting: Setting, options: Mapping[str, Any]) -> None:
        self.start, self.theta0, self.seed = setting.start, setting.theta0, setting.seed
        self.population, self.n_params = setting.population, setting.n_params
        for name, value in options.items():
            setattr(self, name, value)

    @classmethod
    def read_options(cls, method: str, given: Mapping[str, object]) -> dict[str, float | None]:
        """Return the values of the options, of which None is given by default.

        Raise ValueError or TypeError for a value that is not as described, or of another method.
        """
        check_used(method, cls.options, given)
        return {
            name: option.default if given[name] is None else option.check(name, given[name])
            for name, option in cls.options.items()
        }

    @classmethod
    def check_population(cls, method: str, population: object) -> int:
        """Return the number of candidates, if the rule can take as many."""
        return check_integer("population", population, 2)

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


def check_fraction(name: str, value: object) -> float:
    """Return a number above 0 and at most 1."""
    number = check_rate(name, value)
    if number > 1:
        raise ValueError(f"{name} is {number!r}: pass a number above 0 and at most 1.")
    return number


def check_rate(name: str, value: object) -> float:
    """Return a finite number above 0."""
    return check_number(name, value, 0.0, strictly=True)


def check_amount(name: str, value: object) -> float:
    """Return a finite number of at least 0."""
    return check_number(name, value, 0.0)


def check_count(name: str, value: object) -> int:
    """Return an integer of at least 1."""
    return check_integer(name, value, 1)
