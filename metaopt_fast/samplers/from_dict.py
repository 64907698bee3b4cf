"""Samplers made again of the plain values that describe them."""

from __future__ import annotations

from typing import Any

from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.box import Box
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.samplers.mixture import Mixture


def from_dict(arguments: dict[str, Any]) -> BuiltInSampler:
    """Return the sampler that `BuiltInSampler.to_dict` or `Box.to_dict` described."""
    classes: dict[str, Any] = {"Normal": Normal, "Uniform": Uniform, "Integers": Integers}
    rest = dict(arguments)
    name = rest.pop("name", None)
    if name == "Mixture":
        groups: list[Any] = [
            (slice(*key) if is_slice else tuple(key), from_dict(sampler))
            for key, is_slice, sampler in rest["groups"]
        ]
        return Mixture(groups)
    if name == "Box":
        integers: Any = from_dict(rest["integers"])
        return Box(integers, rest["n_params"])
    if name not in classes:
        raise ValueError(
            f"the sampler's name is {name!r}: pass one of {', '.join(classes)}, Mixture."
        )
    sampler: BuiltInSampler = classes[name](**rest)
    return sampler
