"""Where descents start: at arrays of a caller's, or at draws of a sampler."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from metaopt_fast.runs.evaluation import check_draws, draw
from metaopt_fast.samplers.own import ANY_SAMPLER
from metaopt_fast.typing import Float64Array, SamplerLike
from metaopt_fast.validation.values import as_real_array, check_integer, describe, to_float64

# Of starts that are drawn: as many thetas, gradients and states of a method are held at once.
MAX_STARTS = 2**20


def read_starts(
    n_params: int, theta0: npt.ArrayLike | SamplerLike | None, n_starts: object, seed: int
) -> Float64Array | None:
    """Return the start, or those of K descents; None for zeros.

    Start k of a sampler is its candidate k, whatever K is.
    """
    count = None if n_starts is None else check_integer("n_starts", n_starts, 1, MAX_STARTS)
    if is_sampler(theta0):
        check_draws(theta0, seed, 0, count or 1, n_params, "theta0")
        starts = to_float64(draw(theta0, seed, 0, count or 1, n_params, "theta0"))
        return starts[0] if count is None else starts
    if count is not None:
        raise ValueError(
            f"n_starts is {count}, but theta0 is {describe(theta0)}: pass a sampler as theta0, or "
            "leave n_starts out."
        )
    return None if theta0 is None else _check_theta0(n_params, theta0)


def is_sampler(theta0: object) -> TypeGuard[SamplerLike]:
    """Whether starts are drawn from it: a sampler, or a function of numbers of candidates."""
    return (isinstance(theta0, ANY_SAMPLER) or callable(theta0)) and not isinstance(theta0, type)


def _check_theta0(n_params: int, theta0: Any) -> Float64Array:
    """Return the start as a copy: the result must not change with theta0."""
    is_many = _is_matrix(theta0)
    ndim, wanted = (2, f"(K, {n_params})") if is_many else (1, f"({n_params},)")
    array = as_real_array("theta0", theta0, ndim, f"an array of shape {wanted}")
    theta = np.array(to_float64(array))
    if theta.shape[-1] != n_params:
        noun = "columns" if is_many else "entries"
        raise ValueError(
            f"theta0 has {theta.shape[-1]} {noun}, but the objective has {n_params} parameters: "
            f"pass theta0 of shape {wanted}."
        )
    if theta.size == 0:
        raise ValueError(f"theta0 is empty: pass an array of shape {wanted}.")
    if not np.isfinite(theta).all():
        raise ValueError("theta0 has an entry that is not finite: pass finite numbers.")
    return theta


def _is_matrix(value: Any) -> bool:
    try:
        return np.ndim(value) == 2
    except (ValueError, TypeError):  # ragged, or nothing like an array
        return False
