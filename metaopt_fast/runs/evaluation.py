"""Any objective, asked for losses: what it has, what it may be asked, and in what batches.

Every question that is put to an objective of a user's own stands here, so that it has one answer,
and so does the way that candidates are asked of any sampler;
`metaopt_fast.typing` has what there is to ask for.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

from metaopt_fast.runs.ranges import bounds
from metaopt_fast.samplers.base import BATCH_NUMBERS, BuiltInSampler
from metaopt_fast.samplers.own import ANY_SAMPLER, check_thetas
from metaopt_fast.typing import (
    Array,
    BatchDifferentiable,
    Differentiable,
    Minibatched,
    Objective,
    Penalised,
    Pruned,
    Sampled,
    SamplerLike,
    Smooth,
)
from metaopt_fast.validation.identity import is_built_in
from metaopt_fast.validation.overrides import check_overrides, has_method, is_same_kind, may_ask
from metaopt_fast.validation.values import check_integer, describe, to_float64

# Margins in a batch, where the objective may hold them all: 8 MB, as BATCH_NUMBERS has of thetas.
BATCH_MARGINS = 2**20

# Part of a parameter's size by which candidates of a user's own sampler may differ when they are
# drawn one by one: far above the rounding of a million products (1e-10), far below another draw.
SAME_DRAW = 1e-6

# What became of the stages that may drop candidates, by name: words that know how they are joined.
Uses: TypeAlias = dict[str, Any]

# Rows of an objective that does not say how many it has; sizes of batches and shards alone hang on
# them.
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


def is_penalised(objective: object) -> TypeGuard[Penalised]:
    """Whether the strength of an objective's penalty can be set, whatever else is overridden."""
    return may_ask(objective, "with_l2")


def is_minibatched(objective: object) -> TypeGuard[Minibatched]:
    """Whether an objective has mini-batches of its rows."""
    return has_method(objective, "minibatches")


def release(objective: object) -> None:
    """Let an objective of ours give back the memory that only a search needs."""
    if has_method(objective, "_release"):
        objective._release()  # type: ignore[attr-defined]  # of a class that has it


def for_search(objective: Any) -> Any:
    """Return an objective of ours as a copy that learns from one search, if it learns that way."""
    if not (has_method(objective, "_for_search") and is_pruned(objective)):
        return objective
    other = objective._for_search()  # type: ignore[attr-defined]  # of a class that has it
    return other if is_same_kind(other, objective, "_for_search") else objective


def expect(objective: object, n_candidates: int) -> None:
    """Let an objective of ours know how many candidates it will be asked to drop."""
    if has_method(objective, "_expect_candidates"):
        objective._expect_candidates(n_candidates)  # type: ignore[attr-defined]  # as above


def note(objective: object, losses: Array) -> None:
    """Let an objective of ours know losses of candidates like those that it may drop."""
    if has_method(objective, "_note_losses"):
        objective._note_losses(losses)  # type: ignore[attr-defined]  # as above


def uses(objective: object, sampler: SamplerLike) -> Uses:
    """Return what became of the stages that may drop a sampler's candidates, by name."""
    if not has_method(objective, "_uses"):
        return {}
    told: Uses = objective._uses(sampler)  # type: ignore[attr-defined]  # as above
    return told


def joined(told: Uses, more: Uses) -> Uses:
    """Return what there is to tell of two parts of a search."""
    return more | {name: use.joined(more.get(name, use)) for name, use in told.items()}


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


def check_sampler(sampler: Any) -> None:
    """Raise TypeError for what is neither a sampler nor a callable that draws."""
    if isinstance(sampler, type) or not (isinstance(sampler, ANY_SAMPLER) or callable(sampler)):
        raise TypeError(
            f"sampler is {describe(sampler)}: pass Normal(), Uniform(), Integers(), an object with "
            "all methods of metaopt_fast.typing.Sampler, or a callable (start, count) -> thetas."
        )


def draw(
    sampler: SamplerLike, seed: int, start: int, count: int, n_params: int, name: str = "sampler"
) -> Array:
    """Return the thetas of candidates start .. start + count - 1, checked if a user's own draws.

    Errors call the sampler by `name`, its argument.
    """
    if isinstance(sampler, ANY_SAMPLER):
        asked = f"{name}.sample({seed}, {start}, {count}, {n_params})"
        thetas: Any = sampler.sample(seed, start, count, n_params)
    else:
        asked = f"{name}({start}, {count})"
        thetas = sampler(start, count)
    return thetas if is_built_in(sampler) else check_thetas(asked, thetas, count, n_params)


def draw_each(sampler: SamplerLike, seed: int, index: Array, n_params: int) -> Array:
    """Return the thetas of some candidates, by number."""
    if not (isinstance(sampler, BuiltInSampler) and sampler.is_drawn_in_kernels):
        each = [draw(sampler, seed, number, 1, n_params) for number in index.tolist()]
        return np.concatenate(each)
    thetas, draws = np.empty((len(index), n_params)), sampler.draws(seed, n_params)
    for row, number in enumerate(index.tolist()):
        draws.sample(number, thetas[row : row + 1])
    return thetas


def check_draws(
    sampler: SamplerLike, seed: int, start: int, count: int, n_params: int, name: str = "sampler"
) -> None:
    """Draw the first of `count` candidates again: a sampler may keep a state, or mix candidates."""
    first = draw(sampler, seed, start, 1, n_params, name)
    is_same = np.array_equal(first, draw(sampler, seed, start, 1, n_params, name))
    if not isinstance(sampler, ANY_SAMPLER):
        if not is_same:
            raise ValueError(
                f"{name}({start}, 1) gave two different answers: pass a callable whose candidates "
                "depend on their numbers alone."
            )
        return
    if is_same and count > 1 and not is_built_in(sampler):
        second = draw(sampler, seed, start + 1, 1, n_params, name)
        apart = np.concatenate([first, second])
        together = draw(sampler, seed, start, 2, n_params, name)
        with np.errstate(all="ignore"):  # a product of matrices has other bits in another batch
            room = SAME_DRAW * np.abs(apart).max(axis=0)
            is_same = bool((np.abs(together - apart) <= room).all())
    if not is_same:
        raise ValueError(
            f"{name}.sample({seed}, {start}, ...) gave two different answers for one candidate: "
            "pass a sampler whose candidate i depends on the seed and on i alone."
        )


def evaluate(
    objective: Objective, sampler: SamplerLike, seed: int, start: int, count: int, threshold: float
) -> tuple[Array, float]:
    """Return the losses of candidates start .. start + count - 1, and the part of pairs computed.

    A candidate whose loss is above `threshold` may have the loss infinity instead of its own.
    """
    pruned = objective if threshold < math.inf and is_pruned(objective) else None
    in_kernel = isinstance(sampler, BuiltInSampler) and sampler.is_drawn_in_kernels
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
