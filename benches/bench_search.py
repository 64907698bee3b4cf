"""Random search against the kernel it is made of, and against what people would write."""

import time

import numpy as np
import pytest
from bench_kernels import numpy_batch_loss, problem

import metaopt_fast as mf


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shape", [(1000, 10), (10_000, 30)], ids=str)
def test_brute_force(measure, shape, n_threads):
    n_samples, n_features = shape
    count = 20_000_000 // n_samples * 10
    _, _, _, objective = problem(*shape, n_threads=n_threads)
    thetas = mf.Normal().sample(0, 0, count, n_features)
    kernel = []
    for _ in range(4):
        started = time.perf_counter()
        objective.batch_loss(thetas)
        kernel.append(time.perf_counter() - started)
    best, _ = measure(
        lambda: mf.random_search(objective, mf.Normal(), count, prune=False), rounds=5
    )
    measure.row(
        "random_search",
        f"{n_samples}x{n_features}, {count:,} candidates",
        "float64",
        n_threads,
        f"{best / count / n_samples * 1e9:.3f} ns/pair",
        f"{min(kernel) / count / n_samples * 1e9:.3f} ns/pair",
        f"{min(kernel) / best:.2f}",
        "limit: batch_loss of drawn thetas",
    )


@pytest.mark.parametrize("sampler", [mf.Normal(), mf.Uniform()], ids=repr)
def test_drawing(measure, sampler):
    best, _ = measure(lambda: sampler.sample(0, 0, 100_000, 30))
    measure.row(
        f"{type(sampler).__name__}.sample",
        "100000x30",
        "float64",
        1,
        f"{best / 3e6 * 1e9:.2f} ns a number",
        "1.5 ns",
        f"{1.5 / (best / 3e6 * 1e9):.2f}",
    )


def test_a_million_candidates(measure):
    from metaopt_fast.datasets import load_breast_cancer

    X, y, _ = load_breast_cancer()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    objective = mf.LogisticLoss(X, y)
    best, _ = measure(lambda: mf.random_search(objective, mf.Normal(), 1_000_000), rounds=3)
    signed_X = -np.where(y == 1, 1.0, -1.0)[:, None] * X
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    for _ in range(50):
        numpy_batch_loss(signed_X, rng.standard_normal((1000, X.shape[1])))
    numpy_seconds = 20 * (time.perf_counter() - started)
    measure.row(
        "random_search",
        "569x30, 1,000,000 candidates",
        "float64",
        "all",
        f"{best:.2f} s",
        f"{numpy_seconds:.1f} s by NumPy",
        f"{numpy_seconds / best:.0f} times",
        optuna_seconds(objective),
    )


def optuna_seconds(objective):
    """Return what a million trials of Optuna's RandomSampler would take, from 500."""
    try:
        import optuna
    except ImportError:
        return "Optuna is not installed"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    names = [f"theta{j}" for j in range(objective.n_params)]

    def trial_loss(trial):
        return objective.loss([trial.suggest_float(name, -3, 3) for name in names])

    started = time.perf_counter()
    study.optimize(trial_loss, n_trials=500)
    return f"Optuna RandomSampler: {2000 * (time.perf_counter() - started):.0f} s (from 500 trials)"
