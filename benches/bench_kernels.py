"""Kernels against the limits of the machine and against NumPy tuned by hand.

The limit of a pair (row, candidate) is (2 n + 40) operations at the rate of independent FMAs, and
(4 n + 40) with the gradient; that of a single theta is the rate at which memory is read.
"""

import time

import numpy as np
import pytest
from conftest import seconds

import metaopt_fast as mf

THREADS = [1, 2]
BATCH_SHAPES = [(1000, 10, 4800), (10_000, 30, 1920), (100_000, 100, 1008), (20_000, 784, 1008)]
GRADIENT_SHAPES = [(10_000, 30, 256), (100_000, 100, 256)]
SINGLE_SHAPES = [(1_000_000, 20), (200_000, 100), (50_000, 1000)]
PACKED_SHAPES = [(1_000_000, 20), (200_000, 100), (50_000, 1000)]
ONCE_SHAPES = [(569, 30), (20_000, 200)]
LAYOUTS = {
    "float64": lambda X: X,
    "float64 in columns": np.asfortranarray,
    "float32": lambda X: X.astype(np.float32),
    "int64": lambda X: (8 * X).astype(np.int64),
}


def problem(n_samples, n_features, n_candidates=1, **options):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    y = rng.integers(0, 2, n_samples)
    thetas = rng.standard_normal((n_candidates, n_features)) / n_features**0.5
    return X, y, thetas, mf.LogisticLoss(X, y, **options)


def numpy_batch_loss(signed_X, thetas, block=1024, group=256):
    """Blocks of a matrix product, ufuncs in place, and one logarithm for 256 rows."""
    losses = np.zeros(len(thetas))
    for first in range(0, len(signed_X), block):
        z = signed_X[first : first + block] @ thetas.T
        positive = np.maximum(z, 0)
        losses += positive.sum(axis=0)
        np.abs(z, out=z)
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        for rows in range(0, len(z), group):
            losses += np.log(np.multiply.reduce(z[rows : rows + group], axis=0))
    return losses / len(signed_X)


def row_of_pairs(measure, limits, kernel, operations, where, shape, dtype, n_threads):
    """Measure a kernel of so many operations for each feature of a pair, which are `where`."""
    n_samples, n_features, n_candidates = shape
    _, _, thetas, objective = problem(*shape, dtype=dtype, n_threads=n_threads)
    function = getattr(objective, kernel)
    before = limits.flops(dtype, n_threads)
    best, _ = measure(lambda: function(thetas))
    peak = max(before, limits.flops(dtype, n_threads))
    pair = best / n_samples / n_candidates
    limit = (operations * n_features + 40) / peak
    rate = operations * n_features / pair
    measure.row(
        kernel,
        f"{n_samples}x{n_features}, K = {n_candidates}",
        dtype,
        n_threads,
        f"{pair * 1e9:.3f} ns/pair",
        f"{limit * 1e9:.3f} ns/pair",
        f"{limit / pair:.2f}",
        f"{rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s in {where} alone",
    )


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("shape", BATCH_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batch_loss(measure, limits, shape, dtype, n_threads):
    row_of_pairs(measure, limits, "batch_loss", 2, "margins", shape, dtype, n_threads)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("shape", GRADIENT_SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batch_loss_gradient(measure, limits, shape, dtype, n_threads):
    row_of_pairs(measure, limits, "batch_loss_gradient", 4, "products", shape, dtype, n_threads)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("shape", SINGLE_SHAPES, ids=str)
@pytest.mark.parametrize("kernel", ["loss", "loss_gradient"])
def test_single_theta(measure, limits, kernel, shape, n_threads):
    n_samples, n_features = shape
    _, _, thetas, objective = problem(*shape, n_threads=n_threads)
    function = getattr(objective, kernel)
    before = limits.bytes(n_threads)
    best, _ = measure(lambda: function(thetas[0]))
    limit = max(before, limits.bytes(n_threads))
    rate = 8 * n_samples * n_features / best
    measure.row(
        kernel,
        f"{n_samples}x{n_features}",
        "float64",
        n_threads,
        f"{rate / 1e9:.1f} GB/s",
        f"{limit / 1e9:.1f} GB/s",
        f"{rate / limit:.2f}",
        f"{best * 1e3:.2f} ms",
    )


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("shape", PACKED_SHAPES, ids=str)
@pytest.mark.parametrize("of_X", LAYOUTS)
def test_packing(measure, of_X, shape, n_threads):
    """An objective made of X, beside a copy of X as float64 into new memory."""
    X, y, _, _ = problem(*shape)
    X = LAYOUTS[of_X](X)
    best, _ = measure(lambda: mf.LogisticLoss(X, y, n_threads=n_threads))
    copy = min(seconds(lambda: X.astype(np.float64, order="K"), 5))
    rate, limit = 8 * X.size / best, 8 * X.size / copy
    measure.row(
        f"packing of {of_X}",
        f"{shape[0]}x{shape[1]}",
        "float64",
        n_threads,
        f"{rate / 1e9:.2f} GB/s",
        f"{limit / 1e9:.2f} GB/s copied",
        f"{rate / limit:.2f}",
        f"{best * 1e3:.1f} ms",
    )


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("shape", ONCE_SHAPES, ids=str)
def test_an_objective_for_one_loss(measure, shape, n_threads):
    """Packing and one loss, beside one product by NumPy."""
    X, y, thetas, _ = problem(*shape)
    best, _ = measure(lambda: mf.LogisticLoss(X, y, n_threads=n_threads).loss(thetas[0]))
    product = min(seconds(lambda: X @ thetas[0], 15))
    time.sleep(0.5)  # until the threads of a BLAS are asleep
    measure.row(
        "an objective made for one loss",
        f"{shape[0]}x{shape[1]}",
        "float64",
        n_threads,
        f"{best * 1e3:.2f} ms",
        f"{product * 1e3:.2f} ms for X @ theta",
        f"{best / product:.1f} times",
        f"{8 * X.size / best / 1e9:.2f} GB/s",
    )


@pytest.mark.parametrize("kernel", ["loss", "gradient", "loss_gradient"])
def test_small_call(measure, kernel):
    """What Python costs: the call on 2 rows, whose arithmetic takes next to nothing."""
    calls = range(1000)
    times = {}
    for n_samples in (2, 569):
        rng = np.random.default_rng(0)
        objective = mf.LogisticLoss(rng.standard_normal((n_samples, 30)), np.arange(n_samples) % 2)
        function, theta = getattr(objective, kernel), np.zeros(30)
        if n_samples == 569:
            times[569] = (
                measure(lambda f=function, t=theta: [f(t) for _ in calls], rounds=9)[0] / 1000
            )
        else:
            times[2] = min(seconds(lambda f=function, t=theta: [f(t) for _ in calls], 9)) / 1000
    measure.row(
        kernel,
        "569x30",
        "float64",
        1,
        f"{times[569] * 1e6:.2f} us a call",
        "3 us of Python",
        "",
        f"{times[2] * 1e6:.2f} us on 2x30",
    )


@pytest.mark.parametrize("shape", BATCH_SHAPES, ids=str)
def test_numpy_tuned_by_hand(measure, limits, shape):
    """The alternative without a compiler, on as many threads as its BLAS takes."""
    n_samples, n_features, _ = shape
    X, y, thetas, objective = problem(n_samples, n_features, 480)
    # First: threads of a BLAS keep a processor busy for a while after a product.
    time.sleep(0.5)
    ours = min(seconds(lambda: objective.batch_loss(thetas), 7))
    signed_X = -np.where(y == 1, 1.0, -1.0)[:, None] * X
    assert np.allclose(numpy_batch_loss(signed_X, thetas), objective.batch_loss(thetas), rtol=1e-10)
    best, _ = measure(lambda: numpy_batch_loss(signed_X, thetas), rounds=3)
    pair = best / n_samples / len(thetas)
    measure.row(
        "NumPy tuned by hand",
        f"{n_samples}x{n_features}, K = 480",
        "float64",
        "all",
        f"{pair * 1e9:.2f} ns/pair",
        f"{ours / n_samples / len(thetas) * 1e9:.2f} ns/pair here",
        f"{best / ours:.1f} times slower",
    )
