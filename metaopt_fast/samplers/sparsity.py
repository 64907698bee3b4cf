"""At most so many non-zero parameters: which of them may be dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation.values import check_integer, describe


def check_free(free: object) -> tuple[int, ...]:
    """Return the numbers of the parameters that are never dropped, as ints; -1 is the last."""
    wanted = "a tuple of numbers of parameters, such as (-1,) for the intercept"
    if isinstance(free, (str, bytes, Mapping)) or not isinstance(free, Iterable):
        raise TypeError(f"free is {describe(free)}: pass {wanted}.")
    return tuple(
        check_integer("a number in free", number, -(2**31), 2**31 - 1)
        for number in cast(Iterable[object], free)
    )


def droppable(
    low: npt.ArrayLike, high: npt.ArrayLike, max_nonzero: int, free: tuple[int, ...], n_params: int
) -> npt.NDArray[np.intp]:
    """Return the numbers of the parameters outside `free`, of which `max_nonzero` may be non-zero.

    Raise ValueError where there are fewer of them, or where one of them cannot be 0.
    """
    kept = np.zeros(n_params, bool)
    for number in free:
        if not -n_params <= number < n_params:
            raise ValueError(
                f"free has {number}, but there are {n_params} parameters: pass numbers from "
                f"{-n_params} to {n_params - 1}."
            )
        kept[number] = True
    others = np.flatnonzero(~kept)
    if max_nonzero > len(others):
        raise ValueError(
            f"max_nonzero is {max_nonzero}, but {len(others)} of {n_params} parameters are not in "
            "free: pass a smaller number, or None for no limit."
        )
    low, high = np.broadcast_to(low, n_params), np.broadcast_to(high, n_params)
    never_zero = (low[others] > 0) | (high[others] < 0)
    if never_zero.any():
        j = int(others[np.argmax(never_zero)])
        raise ValueError(
            f"parameter {j} is from {low[j]:.0f} to {high[j]:.0f} and cannot be dropped: pass "
            "bounds with 0 between them, or put its number in free."
        )
    return others
