"""Learning rates that change from step to step, by optax's names and formulas.

The same on every machine: no function of the C library decides a digit of a rate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.descent.options import PerDescent
from metaopt_fast.descent.rule import Rule
from metaopt_fast.typing import BoolArray, Float64Array
from metaopt_fast.validation.values import check_flag, check_integer, check_number, describe


@dataclass(frozen=True, slots=True, eq=False)
class Schedule(ABC):
    """A learning rate as a function of the steps made.

    Attributes
    ----------
    init_value : float, or numpy.ndarray of shape (K,)
        The first rate, or those of K descents.
    """

    init_value: float | Float64Array

    def __call__(self, count: int) -> float | Float64Array:
        """Return the rate of the step that follows `count` others, or those of K descents."""
        count = check_integer("count", count, 0)
        with np.errstate(all="ignore"):
            rates = self.rates(count, np.asarray(self.init_value))
        return rates if rates.ndim else float(rates)

    def starting_at(self, init_value: float | Float64Array) -> Self:
        """Return the same with another first rate."""
        return replace(self, init_value=init_value)

    @abstractmethod
    def rates(self, count: int, first: Float64Array) -> Float64Array:
        """Return the rates after `count` steps, given the first ones, in an array of any shape.

        Overflow is a rate of infinity: callers ignore NumPy's warning of it.
        """


@dataclass(frozen=True, slots=True, eq=False)
class _CosineDecay(Schedule):
    decay_steps: int
    alpha: float
    exponent: float

    def rates(self, count: int, first: Float64Array) -> Float64Array:
        passed = min(count, self.decay_steps) / self.decay_steps
        # (1 + cos(pi t)) / 2 = 1 - sin(pi / 2 t)^2 = sin(pi / 2 (1 - t))^2, each where it is exact.
        sine = _quarter_sine(1 - passed if passed > 0.5 else passed)
        wave = sine * sine if passed > 0.5 else 1 - sine * sine
        part = _power(wave, self.exponent)
        return np.asarray(first * ((1 - self.alpha) * part + self.alpha))


@dataclass(frozen=True, slots=True, eq=False)
class _ExponentialDecay(Schedule):
    transition_steps: int
    decay_rate: float
    transition_begin: int
    staircase: bool
    end_value: float | None

    def rates(self, count: int, first: Float64Array) -> Float64Array:
        passed = max(count - self.transition_begin, 0) / self.transition_steps
        factor = _power(self.decay_rate, math.floor(passed) if self.staircase else passed)
        rates = np.asarray(first * factor)
        if self.end_value is None:
            return rates
        return (np.maximum if self.decay_rate < 1 else np.minimum)(rates, self.end_value)


@dataclass(frozen=True, slots=True, eq=False)
class _PiecewiseConstant(Schedule):
    boundaries_and_scales: Mapping[int, float]

    def rates(self, count: int, first: Float64Array) -> Float64Array:
        rates = np.array(first)
        for boundary, scale in self.boundaries_and_scales.items():
            if count >= boundary:
                rates = np.asarray(rates * scale)
        return rates


class Scheduled(Rule):
    """The steps of a rule, at the rates of a schedule; a mini-batch is a step.

    All descents have made as many steps: a rule that searches for the length of its steps, so that
    some descents may not step, takes no schedule.
    """

    rule: Rule
    schedule: Schedule
    learning_rate: Float64Array
    first: Float64Array

    def __init__(self, rule: Rule, schedule: Schedule) -> None:
        self.rule, self.schedule = rule, schedule
        self.learning_rate = self.first = rule.learning_rate
        self.count: int = 0

    def step(self, theta: Float64Array, gradient: Float64Array) -> Float64Array:
        self.learning_rate = self.schedule.rates(self.count, self.first)
        self.rule.learning_rate = self.learning_rate
        self.count += 1
        return self.rule.step(theta, gradient)

    def keep(self, rows: BoolArray) -> None:
        super().keep(rows)
        self.rule.keep(rows)


def cosine_decay(
    init_value: npt.ArrayLike, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0
) -> Schedule:
    """Return a learning rate that falls along half a wave of the cosine.

    After t of T = `decay_steps` steps it is
    init_value ((1 - alpha) ((1 + cos(pi t / T)) / 2)^exponent + alpha), and stays there after T:
    optax's cosine_decay_schedule, for `learning_rate=` of `gradient_descent`.

    Parameters
    ----------
    init_value : float or array_like of shape (K,)
        The first rate, > 0, or that of each of K descents.
    decay_steps : int
        Steps until the last rate is reached; a mini-batch is a step.
    alpha : float, default 0
        The last rate, as a part of the first one, >= 0.
    exponent : float, default 1
        Power that the wave is raised to, >= 0.

    Returns
    -------
    Schedule
        Function of the steps made, which returns the rate of the next.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> rate = mf.cosine_decay(0.1, 100)
    >>> rate(0), round(rate(50), 12), rate(100)
    (0.1, 0.05, 0.0)
    """
    return _CosineDecay(
        _check_init_value(init_value),
        check_integer("decay_steps", decay_steps, 1),
        check_number("alpha", alpha, 0.0),
        check_number("exponent", exponent, 0.0),
    )


def exponential_decay(
    init_value: npt.ArrayLike,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Return a learning rate that is multiplied by one factor in each of equal numbers of steps.

    After t steps it is init_value decay_rate^(max(t - transition_begin, 0) / transition_steps):
    optax's exponential_decay, for `learning_rate=` of `gradient_descent`.

    Parameters
    ----------
    init_value : float or array_like of shape (K,)
        The first rate, > 0, or that of each of K descents.
    transition_steps : int
        Steps in which it falls by the factor; a mini-batch is a step.
    decay_rate : float
        Factor, > 0.
    transition_begin : int, default 0
        Steps before it begins to fall.
    staircase : bool, default False
        Whether it changes all at once after each `transition_steps`: the exponent is rounded down.
    end_value : float, optional
        Bound of the rate, >= 0: the least rate, or, with a factor of at least 1, the largest.

    Returns
    -------
    Schedule
        Function of the steps made, which returns the rate of the next.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> rate = mf.exponential_decay(0.5, 10, 0.5, staircase=True)
    >>> rate(9), rate(10), rate(35)
    (0.5, 0.25, 0.0625)
    """
    return _ExponentialDecay(
        _check_init_value(init_value),
        check_integer("transition_steps", transition_steps, 1),
        check_number("decay_rate", decay_rate, 0.0, strictly=True),
        check_integer("transition_begin", transition_begin, 0),
        check_flag("staircase", staircase),
        None if end_value is None else check_number("end_value", end_value, 0.0),
    )


def piecewise_constant(
    init_value: npt.ArrayLike, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """Return a learning rate that is multiplied by a factor at each of some steps.

    optax's piecewise_constant_schedule, for `learning_rate=` of `gradient_descent`.

    Parameters
    ----------
    init_value : float or array_like of shape (K,)
        The first rate, > 0, or that of each of K descents.
    boundaries_and_scales : dict of int to float, optional
        Factors, >= 0, by numbers of steps: each is for all rates after so many steps; a mini-batch
        is a step.

    Returns
    -------
    Schedule
        Function of the steps made, which returns the rate of the next.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> rate = mf.piecewise_constant(1.0, {100: 0.5, 200: 0.5})
    >>> rate(99), rate(100), rate(200)
    (1.0, 0.5, 0.25)
    """
    given = {} if boundaries_and_scales is None else boundaries_and_scales
    if not isinstance(given, Mapping):
        raise TypeError(
            f"boundaries_and_scales is {describe(given)}: pass a dict from numbers of steps to "
            "factors, such as {1000: 0.1}."
        )
    scales = {
        check_integer("a boundary of boundaries_and_scales", boundary, 0): check_number(
            f"boundaries_and_scales[{boundary!r}]", scale, 0.0
        )
        for boundary, scale in given.items()
    }
    return _PiecewiseConstant(_check_init_value(init_value), dict(sorted(scales.items())))


def _check_init_value(init_value: npt.ArrayLike) -> float | Float64Array:
    """Return the first rate, or those of K descents."""
    if init_value is None:
        raise TypeError("init_value is None: pass a number above 0, or one for each descent.")
    read = PerDescent(None).read("init_value", init_value, 0.0, strictly=True)
    rates = np.array(read, np.float64)  # a copy: the schedule must not change with its argument
    return rates if rates.ndim else float(rates)


def _quarter_sine(u: float) -> float:
    """Return sin(pi / 2 u) of u from 0 to 1, to a unit or two of the last place.

    By its series up to the 23rd power: what follows is below 5e-21.
    """
    t = math.pi / 2 * u
    total = 1.0
    for k in range(22, 0, -2):
        total = 1 - t * t / (k * (k + 1)) * total
    return t * total


def _power(base: float, exponent: float) -> float:
    """Return base^exponent of numbers of at least 0; 0^0 is 1.

    Whole powers are products, by repeated squares: those of 1/2 are exact.
    """
    whole = math.floor(exponent)
    part = exponent - whole
    result = exp(part * log(base)) if part else 1.0
    while whole:
        if whole % 2:
            result *= base
        base, whole = base * base, whole // 2
    return result
