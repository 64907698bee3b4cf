"""Groups of parameters, with a sampler each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from metaopt_fast.samplers.base import MAX_PARAMS, BuiltInSampler, Columns
from metaopt_fast.samplers.independent import Independent
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.overrides import check_overrides
from metaopt_fast.validation.values import check_integer, describe

# A group's parameters: [start, stop, step] of a slice, or their numbers.
Key = list[int | None] | tuple[int, ...]


class Mixture(BuiltInSampler):
    """Groups of parameters, each with a sampler of its own.

    A parameter's draw does not depend on its group: ``Mixture([(slice(None), Normal())])`` draws
    what ``Normal()`` draws.

    Parameters
    ----------
    groups : dict or sequence of pairs
        From parameters to a Normal, Uniform or Integers sampler of scalars or of arrays as long as
        the group. Parameters are a range, a number, a tuple of numbers or a slice (a key of dicts
        from Python 3.12 on); with `names`, names may stand for numbers. Every parameter must be in
        exactly one group.
    names : sequence of str, optional
        The names of the parameters.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> sampler = mf.Mixture({range(2): mf.Normal(), 2: mf.Integers(1, 1)})
    >>> sampler.sample(seed=0, start=0, count=1, n_params=3)[0, 2]
    np.float64(1.0)
    """

    def __init__(
        self,
        groups: Mapping[Any, Independent] | Sequence[tuple[Any, Independent]],
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        pairs = list(groups.items()) if isinstance(groups, Mapping) else groups
        if (
            not isinstance(pairs, (list, tuple))
            or not pairs
            or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs)
        ):
            raise TypeError(
                f"groups is {describe(groups)}: pass a dict, or a list of pairs, from parameters "
                "to samplers."
            )
        numbers = {} if names is None else _numbers(names)
        self._groups: list[tuple[Key, Independent]] = []
        for key, sampler in pairs:
            if not isinstance(sampler, Independent):
                raise TypeError(
                    f"groups has {describe(sampler)} as the sampler of {key!r}: pass a Normal, a "
                    "Uniform or an Integers sampler."
                )
            check_overrides("a sampler in groups", sampler, "columns", "sample")
            self._groups.append((_as_key(key, numbers), sampler))

    def columns(self, n_params: int) -> Columns:
        n_params = check_integer("n_params", n_params, 1, MAX_PARAMS)
        transform = np.zeros(n_params, np.uint8)
        a, b, c = np.zeros((3, n_params))
        for group, sampler in self._members(n_params):
            transform[group], a[group], b[group], c[group] = sampler.columns(len(group))
        return Columns(transform, a, b, c)

    def mean(self, n_params: int) -> Float64Array:
        return self._by_group(n_params, lambda sampler, size: sampler.mean(size))

    def std(self, n_params: int) -> Float64Array:
        return self._by_group(n_params, lambda sampler, size: sampler.std(size))

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        low = self._by_group(n_params, lambda sampler, size: sampler.bounds(size)[0])
        high = self._by_group(n_params, lambda sampler, size: sampler.bounds(size)[1])
        return low, high

    def is_integer(self, n_params: int) -> BoolArray:
        return self._by_group(n_params, lambda sampler, size: sampler.is_integer(size)) > 0

    def _by_group(self, n_params: int, ask: Callable[[Independent, int], Array]) -> Float64Array:
        """Return what the samplers of groups state, each of its own parameters."""
        stated = np.empty(len(self.columns(n_params).a))  # raises for what no mixture draws
        for group, sampler in self._members(n_params):
            stated[group] = ask(sampler, len(group))
        return stated

    def _members(self, n_params: int) -> Iterator[tuple[IndexArray, Independent]]:
        """Yield the numbers of each group's parameters, and its sampler; raise if any is amiss."""
        taken = np.zeros(n_params, int)
        for key, sampler in self._groups:
            group = np.arange(n_params)[slice(*key)] if isinstance(key, list) else np.array(key)
            if len(group) == 0 or group.max() >= n_params:
                raise ValueError(
                    f"the group {_as_text(key)} holds none of {n_params} parameters, or one beyond "
                    "them: pass groups of the parameters that are drawn."
                )
            np.add.at(taken, group, 1)
            yield group, sampler
        if (taken != 1).any():
            j = int(np.argmax(taken != 1))
            raise ValueError(
                f"parameter {j} is in {taken[j]} groups: pass groups that hold each of the "
                f"{n_params} parameters once."
            )

    @property
    def parts(self) -> tuple[BuiltInSampler, ...]:
        return tuple(sampler for _, sampler in self._groups)

    def to_dict(self) -> dict[str, Any]:
        groups = [[list(key), isinstance(key, list), s.to_dict()] for key, s in self._groups]
        return {"name": "Mixture", "groups": groups}

    def __repr__(self) -> str:
        groups = (f"{_as_text(key)}: {sampler!r}" for key, sampler in self._groups)
        return f"Mixture({{{', '.join(groups)}}})"


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """Return the number of each name."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"names is {describe(names)}: pass a list of strings.")
    numbers: dict[str, int] = {}
    for j, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"names has {describe(name)}: pass a list of strings.")
        if name in numbers:
            raise ValueError(f"names has {name!r} more than once: pass different names.")
        numbers[name] = j
    return numbers


def _as_key(key: object, numbers: dict[str, int]) -> Key:
    """Return a group's key as a list of a slice's three, or as a tuple of numbers."""
    if isinstance(key, slice):
        return [
            None if x is None else check_integer(f"the {name} of a slice in groups", x, low)
            for name, x, low in (
                ("start", key.start, -MAX_PARAMS),
                ("stop", key.stop, -MAX_PARAMS),
                ("step", key.step, 1),
            )
        ]
    members = []
    for member in key if isinstance(key, (tuple, range)) else (key,):
        if isinstance(member, str):
            if member not in numbers:
                raise ValueError(
                    f"groups has the name {member!r}, which is not in names: pass names=, the "
                    "names of all parameters in their order."
                )
            members.append(numbers[member])
        else:
            members.append(check_integer("a parameter's number in groups", member, 0, MAX_PARAMS))
    return tuple(members)


def _as_text(key: Key) -> str:
    return f"slice({', '.join(map(str, key))})" if isinstance(key, list) else str(key)
