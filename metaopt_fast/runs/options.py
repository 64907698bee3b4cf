"""What a search is given, checked before anything is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from metaopt_fast.samplers.base import MAX_SEED, Sampler
from metaopt_fast.search.shards import Task
from metaopt_fast.validation.overrides import check_overrides
from metaopt_fast.validation.values import check_integer, describe


def check_objective(objective: Any) -> int:
    """Return the number of an objective's parameters."""
    if isinstance(objective, type) or not callable(getattr(objective, "batch_loss", None)):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "batch_loss."
        )
    check_overrides("objective", objective, "batch_loss", "loss", "auc", "batch_auc")
    n_params = getattr(objective, "n_params", None)
    if n_params is None:
        raise TypeError(
            f"objective is {describe(objective)}, which has no n_params: give it that attribute, "
            "the number of parameters."
        )
    n_params = check_integer("objective.n_params", n_params, 1)
    if getattr(objective, "n_samples", None) is not None:
        check_integer("objective.n_samples", objective.n_samples, 1)
    return n_params


def check_task(objective: Any, sampler: Any, seed: object, top_k: object, prune: object) -> Task:
    n_params = check_objective(objective)
    if isinstance(sampler, type) or not (isinstance(sampler, Sampler) or callable(sampler)):
        raise TypeError(
            f"sampler is {describe(sampler)}: pass Normal(), Uniform(), Integers() or a callable "
            "(start, count) -> thetas."
        )
    seed, top_k = check_integer("seed", seed, 0, MAX_SEED), check_integer("top_k", top_k, 1)
    if not isinstance(prune, (bool, np.bool_)):
        raise TypeError(f"prune is {describe(prune)}: pass True or False.")
    return Task(objective, sampler, seed, top_k, n_params, bool(prune), None)


def check_options(executor: Any, progress: object, callback: object) -> None:
    """Raise TypeError or ValueError for what is none of these."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {describe(callback)}: pass a callable or None.")
    is_word = isinstance(progress, str) and progress == "always"
    if not is_word and not isinstance(progress, (bool, np.bool_)):
        raise ValueError(f"progress is {describe(progress)}: pass True, False or 'always'.")
    if executor is None:
        return
    if isinstance(executor, type) or not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor is {describe(executor)}: pass an object with a method submit.")


def check_draws(task: Task, start: int) -> None:
    """Draw the first candidate, twice: a callable may keep a state that it should not have."""
    if not np.array_equal(task.draw(start, 1), task.draw(start, 1)):
        raise ValueError(
            f"sampler({start}, 1) gave two different answers: pass a callable whose candidates "
            "depend on their numbers alone."
        )


def check_used(method: str, used: Collection[str], given: Mapping[str, object]) -> None:
    """Raise ValueError where an option is given that is another method's."""
    for name, value in given.items():
        if value is not None and name not in used:
            raise ValueError(
                f"{name} is given, but method {method!r} does not use it: leave it out."
            )
