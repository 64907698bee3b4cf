"""Parameters drawn independently of each other: normal, uniform, whole numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.base import (
    INTEGERS,
    MAX_PARAMS,
    MAX_SEED,
    NORMAL,
    UNIFORM,
    BuiltInSampler,
    Columns,
)
from metaopt_fast.samplers.sparsity import check_free, droppable
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.values import as_real_array, check_integer, describe, to_float64

Argument = float | Float64Array

# No normal number is further from 0: it is at most sqrt(-2 log u) as computed, where u >= 2**-53
# has 52 bits (random.hpp), which is below 8.5717.
LARGEST_NORMAL = 8.572


class HyperSampler(ABC):
    """What one hyper-parameter of descents is drawn from: numbers, by coordinates of a search."""

    @property
    def n_params(self) -> int | None:
        """The number of parameters that the arguments fix; None where they fix none."""
        return None

    @property
    @abstractmethod
    def coordinates(self) -> Independent:
        """The sampler that a search of hyper-parameters draws from."""

    @property
    @abstractmethod
    def in_full(self) -> object:
        """What a fingerprint says of it, with all digits."""

    @abstractmethod
    def values(self, coordinates: Float64Array, /) -> Float64Array:
        """Return the numbers that coordinates stand for."""


class Independent(BuiltInSampler, HyperSampler):
    """Parameters of one distribution with two arguments, each a scalar or an array over them."""

    _transform: int
    _names: tuple[str, str]

    def __init__(self, first: object, second: object) -> None:
        names = self._names
        self._arguments = {
            names[0]: _as_argument(names[0], first),
            names[1]: _as_argument(names[1], second),
        }
        shapes = {np.shape(value) for value in self._arguments.values()} - {()}
        if len(shapes) > 1:
            raise ValueError(
                f"{names[0]} has shape {np.shape(self._arguments[names[0]])} and {names[1]} has "
                f"shape {np.shape(self._arguments[names[1]])}: pass scalars, or arrays of one "
                "length."
            )
        self._n_params = shapes.pop()[0] if shapes else None
        self._check(*self._arguments.values())

    @abstractmethod
    def _check(self, first: Argument, second: Argument) -> None:
        """Raise ValueError where the arguments are no distribution."""

    @abstractmethod
    def _coefficients(self) -> tuple[Argument, Argument, Argument]:
        """Return (a, b, c) of the transform, as in operands.hpp."""

    @property
    def n_params(self) -> int | None:
        return self._n_params

    def columns(self, n_params: int) -> Columns:
        n_params = check_integer("n_params", n_params, 1, MAX_PARAMS)
        if self._n_params not in (None, n_params):
            raise ValueError(
                f"the sampler has {self._n_params} parameters, but {n_params} are to be drawn: "
                f"pass {' and '.join(self._names)} as scalars or as arrays of length {n_params}."
            )
        a, b, c = (
            np.ascontiguousarray(np.broadcast_to(x, (n_params,)), np.float64)
            for x in self._coefficients()
        )
        return Columns(np.full(n_params, self._transform, np.uint8), a, b, c)

    def is_integer(self, n_params: int) -> BoolArray:
        return np.full(len(self._by_parameter(n_params).a), self._transform == INTEGERS)

    def _by_parameter(self, n_params: int) -> Columns:
        """Return the parameters as they are drawn, before any of them is dropped."""
        return self.columns(n_params)

    @property
    def coordinates(self) -> Independent:
        """The sampler that a search of hyper-parameters draws from: this one."""
        return self

    @property
    def in_full(self) -> object:
        """What a fingerprint says of it: where its repr has a few digits of arrays, all of them."""
        return self if self.n_params is None else repr(self.to_dict())

    def values(self, coordinates: Float64Array) -> Float64Array:
        """Return the numbers that coordinates of a search stand for: a copy of them."""
        wanted = "an array of finite numbers"
        numbers = to_float64(as_real_array("coordinates", coordinates, None, wanted)).copy()
        if not np.isfinite(numbers).all():
            raise ValueError(f"coordinates has one that is not finite: pass {wanted}.")
        return numbers

    def to_dict(self) -> dict[str, Any]:
        arguments = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self._arguments.items()
        }
        return {"name": type(self).__name__, **arguments}

    def __repr__(self) -> str:
        with np.printoptions(threshold=8, edgeitems=2):
            arguments = [f"{name}={value!r}" for name, value in self._arguments.items()]
        return f"{type(self).__name__}({', '.join(arguments)})"


class Normal(Independent):
    """Independent normal parameters.

    Parameters
    ----------
    loc, scale : float or array_like of shape (n_params,), default 0 and 1
        Mean and standard deviation; scale > 0.

    References
    ----------
    G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", Annals of
    Mathematical Statistics 29 (1958).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.Normal(scale=0.1).sample(seed=0, start=0, count=2, n_params=3).shape
    (2, 3)
    """

    _transform = NORMAL
    _names = ("loc", "scale")

    def __init__(self, loc: npt.ArrayLike = 0.0, scale: npt.ArrayLike = 1.0) -> None:
        super().__init__(loc, scale)

    def _check(self, first: Argument, second: Argument) -> None:
        if np.any(np.asarray(second) <= 0):
            raise ValueError(f"scale is {_lowest(second)!r}: pass numbers above 0.")

    def _coefficients(self) -> tuple[Argument, Argument, Argument]:
        loc, scale = self._arguments.values()
        return loc, scale, 0.0

    def mean(self, n_params: int) -> Float64Array:
        return self._by_parameter(n_params).a

    def std(self, n_params: int) -> Float64Array:
        return self._by_parameter(n_params).b

    @shielded
    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return what no draw is below, and above: normal numbers of 52 bits have such bounds."""
        _, loc, scale, _ = self._by_parameter(n_params)
        reach = LARGEST_NORMAL * scale
        return loc - reach, loc + reach


class Uniform(Independent):
    """Independent parameters, uniform between two bounds.

    Parameters
    ----------
    low, high : float or array_like of shape (n_params,), default -1 and 1
        Bounds; low < high, and high - low a finite number.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> bool(abs(mf.Uniform(-2, 2).sample(seed=0, start=0, count=9, n_params=3)).max() < 2)
    True
    """

    _transform = UNIFORM
    _names = ("low", "high")

    def __init__(self, low: npt.ArrayLike = -1.0, high: npt.ArrayLike = 1.0) -> None:
        super().__init__(low, high)

    def _check(self, first: Argument, second: Argument) -> None:
        low, high = np.broadcast_arrays(first, second)
        if np.any(low >= high):
            raise ValueError(_bounds_error(low, high, low >= high, "low below high"))
        with np.errstate(all="ignore"):
            wide = ~np.isfinite(high - low)
        if wide.any():
            raise ValueError(_bounds_error(low, high, wide, "bounds whose difference is finite"))

    def _coefficients(self) -> tuple[Argument, Argument, Argument]:
        low, high = self._arguments.values()
        return low, high - low, high

    def mean(self, n_params: int) -> Float64Array:
        _, low, width, _ = self._by_parameter(n_params)
        return low + width / 2

    def std(self, n_params: int) -> Float64Array:
        return self._by_parameter(n_params).b / math.sqrt(12)

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        _, low, _, high = self._by_parameter(n_params)
        return low, high


class Integers(Independent):
    """Independent whole numbers, uniform between two bounds, both included.

    With `max_nonzero`, that many of the parameters outside `free` keep what they drew, and the
    others are 0. Which ones is drawn as well, each choice equally likely: they are those of the
    lowest of n_params further uniform numbers of the candidate. As a kept parameter may have drawn
    0 itself, a candidate has at most `max_nonzero` non-zero ones.

    Parameters
    ----------
    low, high : int or array_like of shape (n_params,), default -5 and 5
        Bounds; low <= high, whole numbers of at most 2**31 in size.
    max_nonzero : int, optional
        From 1 to the number of parameters outside `free`, all of which must have 0 within their
        bounds. Such a sampler is no part of a `Mixture`.
    free : sequence of int, default ()
        Numbers of parameters that are neither dropped nor counted, -1 for the last one, where an
        intercept is.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> draws = mf.Integers(0, 1).sample(seed=0, start=0, count=100, n_params=2)
    >>> sorted(set(draws.ravel().tolist()))
    [0.0, 1.0]
    >>> sparse = mf.Integers(-5, 5, max_nonzero=3, free=(-1,))
    >>> thetas = sparse.sample(seed=0, start=0, count=100, n_params=9)
    >>> int((thetas[:, :-1] != 0).sum(axis=1).max())
    3
    """

    _transform = INTEGERS
    _names = ("low", "high")

    def __init__(
        self,
        low: npt.ArrayLike = -5,
        high: npt.ArrayLike = 5,
        max_nonzero: int | None = None,
        free: Sequence[int] = (),
    ) -> None:
        super().__init__(low, high)
        self.max_nonzero = max_nonzero
        self.free: tuple[int, ...] = check_free(free)
        if max_nonzero is None:
            if self.free:
                raise ValueError(
                    f"free is {describe(free)} without a limit: pass max_nonzero, which free "
                    "parameters are not counted in."
                )
            return
        self.max_nonzero = check_integer("max_nonzero", max_nonzero, 1, MAX_PARAMS)
        if self._n_params is not None:
            self.droppable(self._n_params)
        else:  # of any number of parameters, one at least is counted
            first, second = self._arguments.values()
            droppable(first, second, 1, (), 1)

    def _check(self, first: Argument, second: Argument) -> None:
        low, high = np.broadcast_arrays(first, second)
        for name, values in (("low", low), ("high", high)):
            wrong = (values != np.floor(values)) | (np.abs(values) > 2**31)
            if wrong.any():
                raise ValueError(
                    f"{name} is {values[wrong][0]}: pass whole numbers from -2**31 to 2**31."
                )
        if np.any(low > high):
            raise ValueError(_bounds_error(low, high, low > high, "low not above high"))

    def _coefficients(self) -> tuple[Argument, Argument, Argument]:
        low, high = self._arguments.values()
        return low, high - low + 1, high

    def droppable(self, n_params: int) -> IndexArray:
        """Return the numbers of the parameters that `max_nonzero` counts."""
        low, high = self.bounds(n_params)
        return droppable(low, high, self.max_nonzero or 0, self.free, n_params)

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        return None if self.max_nonzero is None else (self.max_nonzero, self.droppable(n_params))

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the lowest and the highest value of each parameter."""
        _, low, _, high = self._by_parameter(n_params)
        return low, high

    def mean(self, n_params: int) -> Float64Array:
        return self._moments(n_params)[0]

    def std(self, n_params: int) -> Float64Array:
        return np.asarray(np.sqrt(self._moments(n_params)[1]))

    def _moments(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the mean and the variance of each parameter."""
        _, low, n_values, high = self._by_parameter(n_params)
        mean, variance = (low + high) / 2, (n_values * n_values - 1) / 12
        limit = self.nonzero_limit(n_params)
        if limit is not None:  # a parameter keeps what it drew as often as it is among the kept
            kept = np.ones(n_params)
            kept[limit[1]] = limit[0] / len(limit[1])
            mean, variance = kept * mean, kept * (variance + (1 - kept) * (mean * mean))
        return mean, variance

    def _by_parameter(self, n_params: int) -> Columns:
        return super().columns(n_params)

    def columns(self, n_params: int) -> Columns:
        if self.max_nonzero is not None:
            raise ValueError(
                f"{describe(self)} is no sampler for mixtures and hyper-parameters: pass one "
                "without max_nonzero."
            )
        return super().columns(n_params)

    def draws(self, seed: int, n_params: int) -> _kernels.Draws:
        if self.max_nonzero is None:
            return super().draws(seed, n_params)
        n_params = check_integer("n_params", n_params, 1, MAX_PARAMS // 2)
        counted, seed = self.droppable(n_params), check_integer("seed", seed, 0, MAX_SEED)
        integers, n_free = self._by_parameter(n_params), n_params - len(counted)
        if self.max_nonzero == len(counted):
            return _kernels.Draws(*integers, seed)
        # Twice the width: the integers as without a limit, and a key for each of them, -1 for those
        # that are free, from 0 to 1 for the others.
        low, width, high = np.full(n_params, -1.0), np.zeros(n_params), np.full(n_params, -1.0)
        low[counted], width[counted], high[counted] = 0.0, 1.0, 1.0
        keys = Columns(np.full(n_params, UNIFORM, np.uint8), low, width, high)
        both: Any = zip(integers, keys, strict=True)
        columns = Columns(*(np.concatenate(pair) for pair in both))
        return _kernels.SparseDraws(*columns, seed, n_free + self.max_nonzero, n_free)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), **self._limit()}

    def _limit(self) -> dict[str, Any]:
        if self.max_nonzero is None:
            return {}
        return {"max_nonzero": self.max_nonzero, "free": list(self.free)}

    def __repr__(self) -> str:
        limit = "".join(f", {name}={value!r}" for name, value in self._limit().items())
        return f"{super().__repr__()[:-1]}{limit})"


def _as_argument(name: str, value: object) -> Argument:
    wanted = "a finite number or a one-dimensional array of them"
    array = as_real_array(name, value, None, wanted)
    if array.dtype.kind == "b":
        raise TypeError(f"{name} has dtype bool: pass {wanted}.")
    array = to_float64(array).reshape(array.shape).copy()
    if array.size == 0:
        raise ValueError(f"{name} is empty: pass {wanted}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has a value that is not finite: pass {wanted}.")
    return array if array.ndim else float(array)


def _lowest(value: Argument) -> float:
    return float(np.min(value))


def _bounds_error(low: Any, high: Any, wrong: Any, wanted: str) -> str:
    at = math.prod(wrong.shape) and int(np.argmax(wrong))
    return f"low is {low.flat[at]!s} where high is {high.flat[at]!s}: pass {wanted}."
