"""Counts and other losses beside `batch_loss`, populations beside cma, the examples in full."""

import contextlib
import io
import runpy
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import seconds

import metaopt_fast as mf

SHAPES = [(1000, 10, 4800), (10_000, 30, 1920)]
# Rows, features, groups and candidates of counts.
COUNTED = [
    *((1000, 10, 1, 4800), (10_000, 30, 1, 1920), (100_000, 100, 1, 480), (20_000, 784, 1, 480)),
    *((1000, 10, 4, 4800), (4000, 30, 4, 4800)),
]
# Those of an example's output that have its figures.
LAST_LINES = {"wrong_labels": 2, "fairness": 4, "scorecard": 2}
EXAMPLES = Path(__file__).parents[1] / "examples"


def problem(n_samples, n_features, n_candidates):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features))
    y = rng.integers(0, 2, n_samples)
    return X, y, rng.standard_normal((n_candidates, n_features)) / n_features**0.5


def numpy_errors(signed_X, thetas, block=1024):
    """Blocks of a matrix product, compared and counted."""
    errors = np.zeros(len(thetas), np.intp)
    for first in range(0, len(signed_X), block):
        errors += np.count_nonzero(signed_X[first : first + block] @ thetas.T > 0, axis=0)
    return errors / len(signed_X)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "name", ["counts", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss", "AUC"]
)
def test_beside_batch_loss(measure, name, shape, n_threads):
    n_samples, n_features, n_candidates = shape
    X, y, thetas = problem(*shape)
    logistic = mf.LogisticLoss(X, y, n_threads=n_threads)
    note = ""
    if name == "counts":
        counts = mf.ConfusionCounts(X, y, n_threads=n_threads)

        def function():
            counts.batch_counts(thetas)

    else:
        objective = getattr(mf, f"{name}Objective" if name == "AUC" else name)(
            X, y, n_threads=n_threads
        )

        def function():
            objective.batch_loss(thetas)

    best, _ = measure(function)
    beside = min(seconds(lambda: logistic.batch_loss(thetas), 7))
    if name == "counts":  # last: the threads of a BLAS stay awake
        signed_X = np.where(y[:, None] == 1, -X, X)
        by_numpy = min(seconds(lambda: numpy_errors(signed_X, thetas[:480]), 3)) / 480
        note = f"NumPy counts in {by_numpy / n_samples * 1e9:.2f} ns/pair"
        time.sleep(0.5)  # until they are asleep
    pairs = n_samples * n_candidates
    measure.row(
        f"{name}: pairs/s beside batch_loss",
        f"{n_samples}x{n_features}, K = {n_candidates}",
        "float64",
        n_threads,
        f"{best / pairs * 1e9:.3f} ns/pair",
        f"{beside / pairs * 1e9:.3f} ns/pair of batch_loss",
        f"{beside / best:.2f}",
        note,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", COUNTED, ids=str)
def test_counts_beside_a_call_for_each_stratum(measure, shape, dtype):
    """Counts in one call, in single precision where that is certain; and stratum by stratum."""
    n_samples, n_features, n_groups, n_candidates = shape
    X, y, thetas = problem(n_samples, n_features, n_candidates)
    groups = np.arange(n_samples) // 2 % n_groups
    counts = mf.ConfusionCounts(X, y, groups=groups, dtype=dtype, n_threads=1)
    counts.batch_counts(np.zeros((512, n_features)))  # from then on in single precision
    cells = np.empty((n_candidates, n_groups, 1, 4))
    counts._count_strata(thetas, cells, 1)
    np.testing.assert_array_equal(counts.batch_counts(thetas), cells)
    best, _ = measure(lambda: counts.batch_counts(thetas))
    apart = min(seconds(lambda: counts._count_strata(thetas, cells, 1), 7))
    pairs = n_samples * n_candidates
    measure.row(
        "counts, strata together",
        f"{n_samples}x{n_features}, {n_groups} groups, K = {n_candidates}",
        dtype,
        1,
        f"{best / pairs * 1e9:.3f} ns/pair",
        f"{apart / pairs * 1e9:.3f} ns/pair one by one",
        f"{apart / best:.2f}",
    )


class Exact:
    """The losses of an objective, without bounds of them."""

    def __init__(self, objective):
        self.n_params, self.batch_loss = objective.n_params, objective.batch_loss


@pytest.mark.parametrize("method", ["shrinking", "cem", "snes", "ars"])
def test_evolve(measure, method):
    X, y, _ = problem(10_000, 30, 1)
    objective = mf.LogisticLoss(X, y)
    options = {"method": method, "population": 256, "generations": 100}
    exact = min(seconds(lambda: mf.evolve(Exact(objective), mf.Normal(), **options), 3))
    results = []
    best, _ = measure(
        lambda: results.append(mf.evolve(objective, mf.Normal(), **options)),
        rounds=3,
    )
    share = max(result.kernel_fraction for result in results)
    measure.row(
        f"evolve, {method}",
        "10000x30, population 256, 100 generations",
        "float64",
        "all",
        f"{best * 1e3:.0f} ms",
        f"{share * best * 1e3:.0f} ms in the objective",
        f"{share:.2f}",
        f"{exact / best:.2f} times as fast as with all losses exact",
    )


def test_cma_beside_numpy(measure):
    """CMA-ES of the package cma, asking for populations: ours and NumPy's objective."""
    import cma
    from threadpoolctl import threadpool_limits

    X, y, _ = problem(10_000, 30, 1)
    counts = mf.ConfusionCounts(X, y)
    objective = mf.CountObjective(counts, "error")
    signed_X = np.where(y[:, None] == 1, -X, X)

    def run(batch_loss):
        strategy = cma.CMAEvolutionStrategy(
            np.zeros(30), 1.0, {"popsize": 256, "maxiter": 20, "seed": 1, "verbose": -9}
        )
        while not strategy.stop():
            thetas = np.array(strategy.ask())
            strategy.tell(thetas, batch_loss(thetas).tolist())

    # Else the BLAS of cma's small matrices keeps a processor busy while ours wants it.
    with threadpool_limits(1, "blas"):
        best, _ = measure(lambda: run(objective.batch_loss), rounds=3)
        alone = min(seconds(lambda: run(lambda thetas: np.square(thetas).sum(axis=1)), 2))
    beside = min(seconds(lambda: run(lambda thetas: numpy_errors(signed_X, thetas)), 3))
    unlimited = min(seconds(lambda: run(objective.batch_loss), 3))
    measure.row(
        "cma, 20 generations of 256, errors",
        "10000x30",
        "float64",
        "all",
        f"{best * 1e3:.0f} ms",
        f"{beside * 1e3:.0f} ms with NumPy",
        f"{beside / best:.1f} times",
        f"cma itself: {alone * 1e3:.0f} ms; with BLAS on all threads: {unlimited * 1e3:.0f} ms",
    )


@pytest.mark.parametrize("name", ["wrong_labels", "fairness", "scorecard"])
def test_example(measure, name):
    main = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    output = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(output):
        measure(main, rounds=1)
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines() if line.strip()]
    shown = lines[-LAST_LINES[name] :]
    measure.row(
        f"examples/{name}.py",
        "in full",
        "float64",
        "all",
        f"{time.perf_counter() - started:.1f} s",
        "",
        "",
        "; ".join(shown),
    )
