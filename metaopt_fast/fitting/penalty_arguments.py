"""Penalties and starts of models, checked: strengths, factors of features, thetas."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import as_real_array, describe, to_float64

# Features that may have no penalty beside an l1 penalty: each step has the Hessian of all of them.
MAX_FREE = 128


def l2_beside(has_l1: bool, l2: npt.ArrayLike | None) -> npt.ArrayLike:
    """Return the strength of the l2 penalty: 0 where it is not given beside an l1 penalty."""
    if l2 is not None:
        return l2
    if not has_l1:
        raise TypeError(
            "l2 is not given: pass its strength, such as l2=1e-3, 0 for no penalty, or an l1 "
            "penalty, beside which it may be left out."
        )
    return 0.0


def check_penalties(
    l1: npt.ArrayLike, l2: npt.ArrayLike, n_folds: int | None, n_choices: int | None
) -> tuple[Float64Array, Float64Array]:
    """Return both penalties, of shapes (M, 1) or (M, n_folds) each."""
    found = [check_strengths(name, of, n_folds) for name, of in (("l1", l1), ("l2", l2))]
    lengths = [len(array) for array in found]
    n_models = max(lengths)
    if min(lengths) not in (1, n_models):
        raise ValueError(
            f"l1 has {lengths[0]} entries, but l2 has {lengths[1]}: pass one for each model, or a "
            "single one for all."
        )
    if n_choices is not None and n_choices != n_models:
        name = "l2" if lengths[1] == n_models else "l1"
        raise ValueError(
            f"class_weight has {n_choices} entries, but {name} has {n_models}: pass one for each "
            "model, or a single one for all."
        )
    of_l1, of_l2 = (np.broadcast_to(of, (n_models, of.shape[1])) for of in found)
    return of_l1, of_l2


def check_strengths(name: str, given: npt.ArrayLike, n_folds: int | None) -> Float64Array:
    """Return the strengths of one penalty, shape (M, 1) or (M, n_folds)."""
    wanted = "a number, or an array of shape (M,) or (M, n_folds), finite and >= 0"
    if isinstance(given, (str, bytes, bool)) or given is None:
        raise TypeError(f"{name} is {describe(given)}: pass {wanted}.")
    n_axes = _n_axes(given)
    array = _numbers(
        name, given if n_axes else np.atleast_1d(cast(Any, given)), min(2, max(1, n_axes)), wanted
    )
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: pass {wanted}.")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"{name} has {array[bad][0]}: pass {wanted}.")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[1] != (n_folds or 1):
        raise ValueError(
            f"{name} has shape {array.shape}, but there "
            + ("are no folds" if n_folds is None else f"are {n_folds} folds")
            + f": pass {wanted}."
        )
    return array


def as_given(strengths: Float64Array, n_models: int) -> Float64Array:
    """Return penalties of shape (M, 1) as (M,), and those of each fold as they are."""
    found = np.broadcast_to(strengths, (n_models, strengths.shape[1])).copy()
    return found[:, 0] if strengths.shape[1] == 1 else found


def check_factors(given: npt.ArrayLike | None, n_features: int) -> Float64Array:
    """Return the factors of the penalties of each feature, beside an l1 penalty."""
    wanted = (
        "numbers >= 0 of shape (n_features,), 0 for features that have no penalty, infinity for "
        "those that are left out"
    )
    if given is None:
        return np.ones(n_features)
    factors = _numbers("penalty_factor", given, 1, wanted)
    if factors.shape != (n_features,):
        raise ValueError(
            f"penalty_factor has shape {factors.shape}, but X has {n_features} columns: pass "
            f"{wanted}."
        )
    bad = ~(factors >= 0)
    if bad.any():
        raise ValueError(
            f"penalty_factor has {factors[bad][0]} beside an l1 penalty: pass {wanted}."
        )
    n_free = int((factors == 0).sum())
    if n_free > MAX_FREE:
        raise ValueError(
            f"penalty_factor is 0 for {n_free} features beside an l1 penalty: pass 0 for "
            f"{MAX_FREE} at most, and small factors, such as 0.01, for others."
        )
    if np.isinf(factors).all():
        raise ValueError(f"penalty_factor is infinite for all features: pass {wanted}.")
    return factors


def _n_axes(value: Any) -> int:
    """Return the number of dimensions; 1 of a ragged list, which `as_real_array` refuses."""
    try:
        return np.ndim(value)
    except (ValueError, TypeError):
        return 1


def _numbers(name: str, given: object, n_axes: int, wanted: str) -> Float64Array:
    """Return an array of float64; True is no number of a model, but a flag in a wrong place."""
    array = as_real_array(name, given, n_axes, wanted)
    if array.dtype.kind == "b":
        raise TypeError(f"{name} is {describe(array)}: pass {wanted}.")
    return to_float64(array)


def check_theta0(theta0: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    """Return a start for each model, shape (M * n_folds, n_params), or with all classes' rows."""
    wanted = f"finite numbers of a shape that broadcasts to {shape}"
    array = _numbers("theta0", theta0, _n_axes(theta0), f"an array of {wanted}")
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"theta0 has shape {array.shape}: pass {wanted}.") from None
    if not np.isfinite(full).all():
        raise ValueError(f"theta0 has an entry that is not finite: pass {wanted}.")
    return np.ascontiguousarray(full.reshape(-1, shape[-1]))
