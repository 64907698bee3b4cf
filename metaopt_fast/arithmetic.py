"""exp, log, their kin and products of matrices, with the same bits on every processor.

What decides a number calls these: NumPy's and the C library's own functions, and those of BLAS,
differ in the last digit from one processor to another. Square roots, products, quotients and sums
do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, overload

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.typing import Float64Array

# The least float above one half.
ABOVE_HALF = 0.5 + 2.0**-53
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


def expit(x: Float64Array) -> Float64Array:
    """Return 1 / (1 + e**-x); the small ones are exact, down to the least of floats.

    It is above one half wherever x is above 0, were it the least of floats.
    """
    # Of all formulas this one, as others' own are: probabilities of whole numbers have their bits.
    p = 1 / (1 + exp(-x))
    small = x < -700  # where e**-x may leave the range, and 1 + e**x is 1
    if small.any():
        p = np.where(small, exp(np.minimum(x, 0)), p)
    return np.asarray(np.where((x > 0) & (p == 0.5), ABOVE_HALF, p))


def tanh(x: Float64Array) -> Float64Array:
    """Return tanh(x) of each element, within 3 ulp."""
    grown = expm1(np.minimum(2 * np.abs(x), 40.0))  # beyond it, tanh rounds to 1
    found: Float64Array = np.copysign(grown / (grown + 2), x)
    return found


def last_margin(probability: float) -> float:
    """Return the largest x whose `expit` is not above a probability between 0 and 1.

    Found by bisection among the floats: the expit of a number, as computed, is above the
    probability exactly where the number is above this one.
    """
    # The floats from -800 to 800 by their places in order, 0 that of 0.0: expit is 0 and 1 there.
    high = int(np.float64(800).view(np.int64))
    low = -high
    while high - low > 1:
        middle = (low + high) // 2
        if expit(_float_at(middle))[0] <= probability:
            low = middle
        else:
            high = middle
    return float(_float_at(low)[0])


def _float_at(place: int) -> Float64Array:
    return np.copysign(np.array([abs(place)]).view(np.float64), place)


def log_expit(x: Float64Array) -> Float64Array:
    """Return the logarithm of `expit`, finite for any finite x."""
    return np.asarray(np.minimum(x, 0) - log1p(exp(-np.abs(x))))


def softmax(z: Float64Array) -> Float64Array:
    """Return exp(z_k) / sum over k of exp(z_k) along the last axis; the small ones are exact."""
    e = exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_softmax(z: Float64Array) -> Float64Array:
    """Return the logarithm of `softmax`, finite for any finite z."""
    below = z - z.max(axis=-1, keepdims=True)
    return np.asarray(below - log(exp(below).sum(axis=-1, keepdims=True)))


def products(thetas: Float64Array, X: Float64Array) -> Float64Array:
    """Return the sum of theta[j] * x[j] for each theta and row x, shape (len(thetas), len(X))."""
    found = np.zeros((len(thetas), len(X)))
    if found.size and X.shape[1]:
        _kernels.products(np.ascontiguousarray(thetas), np.ascontiguousarray(X), found)
    return found


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
