"""Any objective, asked for losses: what it has, what it may be asked, and in what batches.

Every question that is put to an objective of a user's own stands here, so that it has one answer;
`metaopt_fast.typing` has what there is to ask for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from metaopt_fast.runs.ranges import bounds
from metaopt_fast.samplers.base import BATCH_NUMBERS, Sampler
from metaopt_fast.typing import (
    Array,
    BatchDifferentiable,
    Differentiable,
    Minibatched,
    Objective,
    Pruned,
    Sampled,
    Smooth,
)
from metaopt_fast.validation.overrides import check_overrides, has_method, may_ask
from metaopt_fast.validation.values import check_integer, describe, to_float64

SamplerLike: TypeAlias = Sampler | Callable[[int, int], npt.ArrayLike]

# Margins in a batch, where the objective may hold them all: 8 MB, as BATCH_NUMBERS has of thetas.
BATCH_MARGINS = 2**20

# Rows of an objective that does not say how many it has.
USUAL_SAMPLES = 1000


class Traits(NamedTuple):
    """What an objective may say of itself; None where it says nothing."""

    n_params: int | None
    n_samples: int | None
    l2: float | None
    fit_intercept: bool | None
    dtype: str | None
    shard_size: int | None


def traits(objective: object) -> Traits:
    """Return what an objective says of itself."""
    return Traits(*(getattr(objective, name, None) for name in Traits._fields))


def is_objective(thing: object) -> TypeGuard[Objective]:
    """Whether a thing has losses, for a search."""
    return has_method(thing, "batch_loss") and hasattr(thing, "n_params")


def is_differentiable(thing: object) -> TypeGuard[Differentiable | BatchDifferentiable]:
    """Whether a thing has gradients, for a descent."""
    has_one = any(has_method(thing, name) for name in ("loss_gradient", "batch_loss_gradient"))
    return has_one and hasattr(thing, "n_params")


def is_sampled(objective: object) -> TypeGuard[Sampled]:
    """Whether an objective may draw candidates itself."""
    return may_ask(objective, "sampled_loss")


def is_pruned(objective: object) -> TypeGuard[Pruned]:
    """Whether an objective may drop candidates."""
    return may_ask(objective, "pruned_loss")


def is_batch_differentiable(objective: object) -> TypeGuard[BatchDifferentiable]:
    """Whether an objective may be asked for the gradients of many thetas at once."""
    return may_ask(objective, "batch_loss_gradient")


def is_smooth(objective: object) -> TypeGuard[Smooth]:
    """Whether an objective's Lipschitz constant is that of the gradients it gives."""
    return may_ask(objective, "lipschitz")


def is_minibatched(objective: object) -> TypeGuard[Minibatched]:
    """Whether an objective has mini-batches of its rows."""
    return has_method(objective, "minibatches")


def check_objective(objective: Any) -> int:
    """Return the number of an objective's parameters."""
    if isinstance(objective, type) or not has_method(objective, "batch_loss"):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "batch_loss."
        )
    check_overrides("objective", objective, "batch_loss", "loss", "auc", "batch_auc")
    told = traits(objective)
    if told.n_params is None:
        raise TypeError(
            f"objective is {describe(objective)}, which has no n_params: give it that attribute, "
            "the number of parameters."
        )
    n_params = check_integer("objective.n_params", told.n_params, 1)
    if told.n_samples is not None:
        check_integer("objective.n_samples", told.n_samples, 1)
    return n_params


def draw(sampler: SamplerLike, seed: int, start: int, count: int, n_params: int) -> Array:
    """Return the thetas of candidates start .. start + count - 1, checked if a callable's."""
    if isinstance(sampler, Sampler):
        return sampler.sample(seed, start, count, n_params)
    thetas = np.asarray(sampler(start, count))
    wanted = f"a real array of shape ({count}, {n_params})"
    if thetas.shape != (count, n_params) or thetas.dtype.kind not in "iuf":
        raise ValueError(
            f"sampler({start}, {count}) returned an array of shape {thetas.shape} and dtype "
            f"{thetas.dtype}: return {wanted}."
        )
    thetas = to_float64(thetas)
    if not np.isfinite(thetas).all():
        raise ValueError(
            f"sampler({start}, {count}) returned a number that is not finite: return {wanted} of "
            "finite numbers."
        )
    return thetas


def evaluate(
    objective: Objective, sampler: SamplerLike, seed: int, start: int, count: int, threshold: float
) -> tuple[Array, float]:
    """Return the losses of candidates start .. start + count - 1, and the part of pairs computed.

    A candidate whose loss is above `threshold` may have the loss infinity instead of its own.
    """
    pruned = objective if threshold < math.inf and is_pruned(objective) else None
    in_kernel = isinstance(sampler, Sampler) and sampler.is_drawn_in_kernels
    if in_kernel and is_sampled(objective):
        if pruned is None:
            return objective.sampled_loss(sampler, seed, start, count), 1.0
        losses, fraction = pruned.pruned_loss(sampler, seed, start, count, threshold)
        return losses, float(fraction)
    all_losses, visited = [], 0.0
    for first, size in bounds(start, start + count, batch_size(objective)):
        thetas = draw(sampler, seed, first, size, objective.n_params)
        if pruned is None:
            losses, fraction = batch_loss(objective, thetas), 1.0
        else:
            losses, fraction = pruned.pruned_loss(thetas, seed, first, size, threshold)
        all_losses.append(losses)
        visited += fraction * size
    return np.concatenate(all_losses), visited / count


def batch_loss(objective: Objective, thetas: Array) -> Array:
    """Return a user's objective's losses, checked."""
    losses = np.asarray(objective.batch_loss(thetas))
    if losses.shape != (len(thetas),) or losses.dtype.kind not in "iuf":
        raise ValueError(
            f"batch_loss of {len(thetas)} thetas returned {describe(losses)}: return an array of "
            f"{len(thetas)} real numbers."
        )
    return to_float64(losses)


def batch_size(objective: Objective) -> int:
    """Return how many candidates are drawn and evaluated at a time, a power of two, or a shard."""
    own = traits(objective).shard_size
    if own is not None:
        return own
    size = int(BATCH_NUMBERS // objective.n_params)
    if not is_sampled(objective):
        size = min(size, BATCH_MARGINS // rows(objective))
    return 1 << (max(1, size).bit_length() - 1)


def rows(objective: object) -> int:
    """Return how many rows an objective has, or may be taken to have."""
    return max(1, traits(objective).n_samples or USUAL_SAMPLES)
