"""What is measured, and what a peer hands over to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """A problem, and how long one call of it is to take, roughly."""

    n_samples: int
    n_features: int
    dtype: str
    n_threads: int
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """A call that does `count` of what is counted; `error` is its distance from the reference, and
    `bound` how large that may be."""

    call: Callable[[], object]
    count: float
    error: float
    bound: float


class WrongResultError(Exception):
    """A peer does not compute what the reference does."""


def check(prepared: Prepared) -> None:
    """Refuse a peer that is wrong: its speed is of no interest."""
    if not prepared.error <= prepared.bound:
        raise WrongResultError(
            f"the result is {prepared.error:.2g} off the reference, but at most "
            f"{prepared.bound:.2g} wanted"
        )
