"""Kernels in numba: an exponential by a polynomial, products of (1 + e) for one logarithm in many
rows, threads over groups of candidates."""

# What numba compiles has no types that a checker knows.
# mypy: ignore-errors

import math

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

ROWS, WIDTH = 64, 128
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.693145751953125, 1.42860682030941723212e-6
# No reassociation: it would undo the rounding to whole numbers.
FAST = {"contract", "nnan", "ninf", "nsz", "arcp"}


def bits_of(of, to, llvm):
    """A function that reads the bits of a number as another type."""

    @intrinsic
    def bits(context, x):
        def code(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm)

        return to(of), code

    return bits


to_int64 = bits_of(types.float64, types.int64, ir.IntType(64))
to_float64 = bits_of(types.int64, types.float64, ir.DoubleType())
to_int32 = bits_of(types.float32, types.int32, ir.IntType(32))
to_float32 = bits_of(types.int32, types.float32, ir.FloatType())


@njit(fastmath=FAST, inline="always")
def exp_float64(x):
    """exp(x) for -700 <= x <= 0."""
    shifted = x * LOG2_E + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = 2.5052108385441720e-8
    p = p * r + 2.7557319223985893e-7
    p = p * r + 2.7557319223985888e-6
    p = p * r + 2.4801587301587302e-5
    p = p * r + 1.9841269841269841e-4
    p = p * r + 1.3888888888888889e-3
    p = p * r + 8.3333333333333332e-3
    p = p * r + 4.1666666666666664e-2
    p = p * r + 1.6666666666666666e-1
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return to_float64(to_int64(p) + (to_int64(shifted) << 52))


@njit(fastmath=FAST, inline="always")
def exp_float32(x):
    """exp(x) for -87 <= x <= 0."""
    shifted = x * np.float32(LOG2_E) + np.float32(12582912.0)
    k = shifted - np.float32(12582912.0)
    r = (x - k * np.float32(LN2_HIGH)) - k * np.float32(LN2_LOW)
    p = np.float32(1.3888889e-3)
    p = p * r + np.float32(8.3333333e-3)
    p = p * r + np.float32(4.1666667e-2)
    p = p * r + np.float32(1.6666667e-1)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    return to_float32(to_int32(p) + np.int32(to_int32(shifted) << np.int32(23)))


def make(exp, lowest, real):
    """Return the kernels with BLAS for the products, and without, for one dtype."""

    @njit(fastmath=FAST)
    def add_block(z, n_rows, linear, product, losses):
        for k in range(WIDTH):
            linear[k] = 0
            product[k] = 1
        for i in range(n_rows):
            for k in range(WIDTH):
                x = z[i, k]
                linear[k] += max(x, real(0))
                product[k] *= real(1) + exp(max(-abs(x), real(lowest)))
        for k in range(WIDTH):
            losses[k] += linear[k] + math.log(product[k])

    @njit(parallel=True, fastmath=FAST)
    def with_blas(X, groups, losses):
        for g in prange(len(groups)):
            z = np.empty((ROWS, WIDTH), X.dtype)
            linear, product = np.empty(WIDTH, X.dtype), np.empty(WIDTH, X.dtype)
            for first in range(0, len(X), ROWS):
                n_rows = min(ROWS, len(X) - first)
                np.dot(X[first : first + n_rows], groups[g], z[:n_rows])
                add_block(z, n_rows, linear, product, losses[g])

    @njit(parallel=True, fastmath=FAST)
    def without_blas(X, groups, losses):
        for g in prange(len(groups)):
            z = np.empty((ROWS, WIDTH), X.dtype)
            linear, product = np.empty(WIDTH, X.dtype), np.empty(WIDTH, X.dtype)
            theta = groups[g]
            for first in range(0, len(X), ROWS):
                n_rows = min(ROWS, len(X) - first)
                for i in range(n_rows):
                    for k in range(WIDTH):
                        z[i, k] = 0
                    for j in range(X.shape[1]):
                        x = X[first + i, j]
                        for k in range(WIDTH):
                            z[i, k] += x * theta[j, k]
                add_block(z, n_rows, linear, product, losses[g])

    return with_blas, without_blas


KERNELS = {
    "float64": make(exp_float64, -700.0, np.float64),
    "float32": make(exp_float32, -87.0, np.float32),
}


def prepare(problem, has_blas):
    """Return a call of the kernel with BLAS or without."""
    numba.set_num_threads(problem.n_threads)
    with_blas, without_blas = KERNELS[problem.dtype]
    kernel = with_blas if has_blas else without_blas
    n_groups = -(-problem.n_candidates // WIDTH)
    padded = np.zeros((n_groups * WIDTH, problem.n_features), problem.dtype)
    padded[: problem.n_candidates] = problem.thetas
    groups = np.ascontiguousarray(padded.reshape(n_groups, WIDTH, -1).transpose(0, 2, 1))
    X = np.ascontiguousarray(problem.signed_X)

    def call():
        losses = np.zeros((n_groups, WIDTH))
        kernel(X, groups, losses)
        return losses.ravel()[: problem.n_candidates] / problem.n_samples

    return call
