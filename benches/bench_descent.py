"""Many gradient descents at once against the same ones, one after the other."""

import time

import numpy as np
import pytest
from bench_kernels import problem

import metaopt_fast as mf
from metaopt_fast import reference

N_RUNS, N_STEPS = 256, 50
METHODS = ("gd", "momentum", "nesterov", "adam", "lbfgs")


def best_of(function, repeats=5):
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_256_descents_at_once(measure, limits, method, n_threads):
    X, y, _, objective = problem(10_000, 30, n_threads=n_threads)
    rng = np.random.default_rng(0)
    starts, l2 = rng.normal(size=(N_RUNS, 30)), 10 ** rng.uniform(-5, -1, N_RUNS)
    options = {"method": method, "max_iter": N_STEPS, "tol": 0.0}
    if method != "lbfgs":
        options["learning_rate"] = 0.1

    def one_after_the_other():
        return [
            mf.gradient_descent(objective, start, l2=own, **options)
            for start, own in zip(starts, l2, strict=True)
        ]

    runs = mf.gradient_descent(objective, starts, l2=l2, **options)
    single = one_after_the_other()
    assert all(runs.theta[k].tobytes() == run.theta.tobytes() for k, run in enumerate(single))
    rounds = int(runs.n_iter.max()) + 1
    alone = best_of(one_after_the_other, 2)
    kernel = best_of(lambda: objective.batch_loss_gradient(starts), 20)
    kernel_alone = best_of(lambda: objective.loss_gradient(starts[0]), 100)
    numpy_one = reference.LogisticLoss(X, y)
    numpy_alone = best_of(lambda: numpy_one.gradient(starts[0]), 20) * N_RUNS * rounds
    best, _ = measure(lambda: mf.gradient_descent(objective, starts, l2=l2, **options), rounds=7)
    # (4 n + 40) operations a pair, and nothing else: no kernel is faster.
    operations = (4 * 30 + 40) * 10_000.0 * N_RUNS * rounds
    limit = operations / limits.flops("float64", n_threads)
    measure.row(
        f"{N_RUNS} descents, {method}",
        f"10000x30, {N_STEPS} steps",
        "float64",
        n_threads,
        f"{best * 1e3:.0f} ms",
        f"{alone * 1e3:.0f} ms one by one",
        f"{alone / best:.1f} times",
        f"the kernel alone: {kernel * rounds * 1e3:.0f} ms, "
        f"{N_RUNS * kernel_alone / kernel:.1f} times; at the FMA peak: {limit * 1e3:.0f} ms, "
        f"{alone / limit:.1f} times; gradients by NumPy: {numpy_alone / best:.0f} times",
    )


@pytest.mark.parametrize("batch_size", [32, 256])
def test_an_epoch_of_minibatches(measure, batch_size):
    _, _, _, objective = problem(10_000, 30)
    options = {"method": "adam", "batch_size": batch_size, "max_iter": 1, "tol": 0.0}
    starts = np.zeros((N_RUNS, 30))
    alone = N_RUNS * best_of(lambda: mf.gradient_descent(objective, starts[0], **options))
    best, _ = measure(lambda: mf.gradient_descent(objective, starts, **options), rounds=5)
    measure.row(
        f"{N_RUNS} descents, an epoch of adam",
        f"10000x30, batches of {batch_size}",
        "float64",
        "all",
        f"{best * 1e3:.0f} ms",
        f"{alone * 1e3:.0f} ms one by one",
        f"{alone / best:.1f} times",
    )


def test_a_subset(measure):
    X, y, _, objective = problem(100_000, 30)
    rows = np.random.default_rng(0).permutation(100_000)[:80_000]
    packed = best_of(lambda: mf.LogisticLoss(X[rows], y[rows]))
    best, _ = measure(lambda: objective.subset(rows), rounds=5)
    measure.row(
        "subset of 80000 rows",
        "100000x30",
        "float64",
        1,
        f"{best * 1e3:.0f} ms",
        f"{packed * 1e3:.0f} ms from X",
        f"{packed / best:.1f} times",
    )
