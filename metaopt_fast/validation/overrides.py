"""Which method may be asked in place of another, where a class of a user's overrides one of them.

A search asks for ``batch_loss``, a descent for ``loss_gradient``, a sampler's candidates are what
``sample`` returns. Whatever is faster (`FASTER`) may be asked instead only where it knows of every
override: where no class below the one that defines it, nor the object itself, has another version
of what it stands for. A method that is found by ``__getattr__`` alone belongs to an object behind
this one, and knows nothing of any method that this one has.
"""

from __future__ import annotations

from typing import Any

from metaopt_fast.validation.values import describe

# From a method to those that it stands for.
FASTER = {
    "sampled_loss": ("batch_loss",),
    "pruned_loss": ("batch_loss", "sampled_loss"),
    "_loss_bounds": ("batch_loss",),
    "batch_loss_gradient": ("loss_gradient",),
    "lipschitz": ("loss_gradient", "batch_loss_gradient"),
    # What it returns must have no penalty left, wherever that is added.
    "with_l2": ("loss_gradient", "batch_loss_gradient"),
    # Of confusion counts, of metrics and of samplers.
    "bound_rows": ("batch_counts",),
    "of_errors": ("__call__",),
    "columns": ("sample",),
}
# What is asked of a changed copy of an objective, which must have it from the same place.
ASKED = ("batch_loss", "loss_gradient", "batch_loss_gradient")


def attributes(thing: object) -> dict[str, Any]:
    """Return what an object itself holds, not what its class or an object behind it has."""
    try:
        own: dict[str, Any] = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return {}
    return own


def depth(thing: object, method: str) -> int:
    """Return which class a method comes from: -1 for the object itself, k for class k of the MRO.

    As many as there are classes if it is in none of them, but perhaps found by ``__getattr__``.
    """
    if method in attributes(thing):
        return -1
    classes = type(thing).__mro__
    for k, kind in enumerate(classes):
        if method in kind.__dict__:
            return k
    return len(classes)


def has_method(thing: object, method: str) -> bool:
    """Whether a method is there."""
    return callable(getattr(thing, method, None))


def may_ask(thing: object, method: str) -> bool:
    """Whether a method of `FASTER` is there, and knows of every override of what it stands for."""
    if type(thing).__getattribute__ is not object.__getattribute__:  # any name may be overridden
        return False
    at = depth(thing, method)
    return has_method(thing, method) and all(at <= depth(thing, other) for other in FASTER[method])


def threaded(objective: Any, n_threads: int | None) -> Any:
    """Return an objective with another number of threads, where it can have that."""
    if n_threads is None or not has_method(objective, "with_threads"):
        return objective
    other = objective.with_threads(n_threads)
    return other if is_same_kind(other, objective, "with_threads") else objective


def is_same_kind(other: object, objective: object, maker: str) -> bool:
    """Whether what a method made of an objective has its overrides: losses as this one's are."""
    return all(
        depth(objective, maker) <= depth(objective, method)
        or _found(other, method) is _found(objective, method)
        for method in ASKED
    )


def check_overrides(name: str, objective: object, asked: str, *others: str) -> None:
    """Raise TypeError where a subclass overrides another method but not the one that is asked."""
    classes, at = type(objective).__mro__, depth(objective, asked)
    for other in others:
        overrides = depth(objective, other) < at and any(other in vars(c) for c in classes[at:])
        if overrides:
            raise TypeError(
                f"{name} is {describe(objective)}, which overrides {other}, but {asked} is what "
                f"is asked: override {asked} as well."
            )


def _found(thing: object, method: str) -> Any:
    """Return a method as it is written, without the object that it is bound to."""
    own = attributes(thing)
    if method in own:
        return own[method]
    return next((vars(k)[method] for k in type(thing).__mro__ if method in vars(k)), None)
