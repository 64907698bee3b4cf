"""Arithmetic of our own under any np.seterr: overflow and underflow are dealt with where they come.

Who sets NumPy to raise looks for faults in their own arithmetic. What calls theirs (an objective, a
metric, a sampler, a callback) is left as it is, and shields its own lines alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def shielded(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that computes without floating-point errors or warnings of NumPy."""

    # np.errstate decorates, too, but before NumPy 2 keeps the caller's settings in itself: a call
    # within a call, or in another thread, would end with those of the other one.
    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return call
