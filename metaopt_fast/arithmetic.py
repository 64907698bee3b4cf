"""exp, log and their kin with the same bits on every processor: what decides a number calls these.

NumPy's and the C library's own functions, and BLAS, differ in the last digit from one processor to
another. Square roots, products, quotients and sums of floats do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels

Float64Array = npt.NDArray[np.float64]
Kernel: TypeAlias = Callable[[Float64Array, Float64Array], None]


@overload
def exp(x: float) -> float: ...
@overload
def exp(x: Float64Array) -> Float64Array: ...
def exp(x: float | Float64Array) -> float | Float64Array:
    """Return e**x: infinity beyond the range, without a warning."""
    return _each(_kernels.exp, x)


@overload
def expm1(x: float) -> float: ...
@overload
def expm1(x: Float64Array) -> Float64Array: ...
def expm1(x: float | Float64Array) -> float | Float64Array:
    """Return e**x - 1, exact to the last digit near 0."""
    return _each(_kernels.expm1, x)


@overload
def log(x: float) -> float: ...
@overload
def log(x: Float64Array) -> Float64Array: ...
def log(x: float | Float64Array) -> float | Float64Array:
    """Return the natural logarithm: -infinity of 0, NaN below it, without a warning."""
    return _each(_kernels.log, x)


@overload
def log1p(x: float) -> float: ...
@overload
def log1p(x: Float64Array) -> Float64Array: ...
def log1p(x: float | Float64Array) -> float | Float64Array:
    """Return log(1 + x): -infinity of -1, NaN below it, without a warning."""
    return _each(_kernels.log1p, x)


@overload
def log2(x: float) -> float: ...
@overload
def log2(x: Float64Array) -> Float64Array: ...
def log2(x: float | Float64Array) -> float | Float64Array:
    """Return the logarithm to base 2: -infinity of 0, NaN below it, without a warning."""
    return _each(_kernels.log2, x)


def geometric(first: float, last: float, count: int) -> Float64Array:
    """Return `count` > 1 positive numbers from first to last, of a constant ratio."""
    steps = np.arange(count) / (count - 1)
    low, high = log(first), log(last)
    numbers = exp(low + (high - low) * steps)
    numbers[0], numbers[-1] = first, last
    return numbers


def _each(kernel: Kernel, x: float | Float64Array) -> float | Float64Array:
    numbers = np.ascontiguousarray(x, np.float64)
    out = np.empty_like(numbers)
    kernel(numbers.reshape(-1), out.reshape(-1))
    return float(out[0]) if np.ndim(x) == 0 else out
