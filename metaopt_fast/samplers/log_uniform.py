"""Numbers of unknown magnitude: their logarithm is uniform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaopt_fast.arithmetic import log2
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.independent import HyperSampler, Uniform
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import as_real_array, check_number, to_float64


@dataclass(frozen=True)
class LogUniform(HyperSampler):
    """Numbers whose logarithm is uniform, for `search_descents`: a learning rate, a penalty.

    Parameters
    ----------
    low, high : float
        Bounds; 0 < low < high.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.LogUniform(0.001, 10)
    LogUniform(low=0.001, high=10.0)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", check_number("low", self.low, 0.0, strictly=True))
        object.__setattr__(self, "high", check_number("high", self.high, 0.0, strictly=True))
        if self.low >= self.high:
            raise ValueError(f"low is {self.low!r} where high is {self.high!r}: pass low below it.")

    @property
    def coordinates(self) -> Uniform:
        """The sampler that a search of hyper-parameters draws from: that of the exponents."""
        return self.exponents

    @property
    def in_full(self) -> object:
        """What a fingerprint says of it: its repr has all digits."""
        return self

    @property
    @shielded
    def exponents(self) -> Uniform:
        """The sampler of the logarithm to base 2."""
        low, high = log2(self.low), log2(self.high)
        return Uniform(low, max(high, float(np.nextafter(low, np.inf))))

    @shielded
    def values(self, exponents: Float64Array) -> Float64Array:
        """Return 2 to the power of the exponents, within the bounds."""
        wanted = "an array of finite numbers"
        exponents = to_float64(as_real_array("exponents", exponents, None, wanted))
        if not np.isfinite(exponents).all():
            raise ValueError(f"exponents has one that is not finite: pass {wanted}.")
        # Beyond these, powers of 2 are 0 or infinite as well.
        powers = _exp2(np.clip(exponents, -1100, 1100))
        return np.clip(powers, self.low, self.high)


def _exp2(x: Float64Array) -> Float64Array:
    """Return 2**x by products and sums alone: the same bits on every machine."""
    whole = np.rint(x)
    part = (x - whole) * 0.6931471805599453
    total = np.ones_like(part)
    for k in range(15, 0, -1):  # Horner's scheme: 1 + y/1 (1 + y/2 (1 + ...))
        total = 1 + part / k * total
    return np.ldexp(total, whole.astype(np.intc))
