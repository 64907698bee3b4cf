"""Random search against the kernel it is made of, and against what people would write."""

import subprocess
import sys
import time

import numpy as np
import pytest
from bench_kernels import numpy_batch_loss, problem
from conftest import seconds

import metaopt_fast as mf
from metaopt_fast.samplers.box import Box


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


DRAWN = [mf.Normal(), mf.Uniform(), mf.Integers(), mf.Integers(-5, 5, 5), mf.Integers(-5, 5, 15)]
BOXES = [mf.Integers(-1, 1), mf.Integers(0, 1, 5), mf.Integers(-5, 5, 4)]
DRAWN += [Box(integers, 30) for integers in BOXES]


@pytest.mark.parametrize("sampler", DRAWN, ids=repr)
def test_drawing(measure, sampler):
    best, _ = measure(lambda: sampler.sample(0, 0, 100_000, 30))
    measure.row(
        f"{type(sampler).__name__}.sample",
        f"100000x30, {sampler!r}",
        "float64",
        1,
        f"{best / 3e6 * 1e9:.2f} ns a number",
        "1.5 ns",
        f"{1.5 / (best / 3e6 * 1e9):.2f}",
    )


def breast_cancer():
    from metaopt_fast.datasets import load_breast_cancer

    X, y, _ = load_breast_cancer()
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def digits():
    from sklearn.datasets import load_digits
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(X), (y < 5).astype(int)


def synthetic():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 30))
    margins = X @ rng.standard_normal(30) / 30**0.5
    return X, (margins + rng.logistic(size=10_000) > 0).astype(int)


PRUNED = {
    "breast_cancer": (breast_cancer, 1_000_000),
    "digits < 5": (digits, 200_000),
    "synthetic": (synthetic, 100_000),
}


@pytest.mark.parametrize("top_k", [1, 100])
@pytest.mark.parametrize("where", ["scale 1", "scale 0.1 around the optimum"])
@pytest.mark.parametrize("name", PRUNED)
def test_pruning(measure, name, where, top_k):
    data, count = PRUNED[name]
    objective = mf.LogisticLoss(*data(), l2=0.01)
    if where == "scale 1":
        sampler = mf.Normal()
    else:
        sampler = mf.Normal(mf.gradient_descent(objective, max_iter=10_000).theta, 0.1)
    results = {}

    def search(prune):
        results[prune] = mf.random_search(objective, sampler, count, top_k=top_k, prune=prune)

    # On both sides, for the machine may slow down meanwhile.
    brute_force = seconds(lambda: search(False), 2)
    best, _ = measure(lambda: search(True), rounds=3)
    brute_force = min(brute_force + seconds(lambda: search(False), 1))
    assert results[True].top.tobytes() == results[False].top.tobytes()
    measure.row(
        "random_search, pruned",
        f"{name} {objective.n_samples}x{objective.n_params}, {count:,} candidates, {where}, "
        f"top {top_k}",
        "float64",
        "all",
        f"{best:.3f} s",
        f"{brute_force:.3f} s by brute force",
        f"{brute_force / best:.2f} times",
        f"{results[True].rows_evaluated_fraction:.1%} of the rows evaluated",
    )


# Not ru_maxrss: a process starts with that of the one that started it.
PEAK_MEMORY = """
import numpy as np
import metaopt_fast as mf

def peak_memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

rng = np.random.default_rng(0)
objective = mf.LogisticLoss(rng.standard_normal((100, 30)), rng.integers(0, 2, 100))
before = peak_memory()
result = mf.random_search(objective, mf.Normal(), 10_000_000, top_k=100, prune={prune})
print(peak_memory() - before)
"""


@pytest.mark.parametrize("prune", [True, False])
def test_peak_memory(measure, prune):
    def run():
        command = [sys.executable, "-c", PEAK_MEMORY.format(prune=prune)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown.append(float(done.stdout))

    grown = []
    measure(run, rounds=1)
    measure.row(
        f"peak memory of random_search{', pruned' if prune else ''}",
        "100x30, 10,000,000 candidates, top 100",
        "float64",
        "all",
        f"{max(grown):.0f} MB",
        "64 MB",
        f"{64 / max(grown):.1f}",
        "over the process with the data",
    )
    assert max(grown) < 64


def test_a_million_candidates(measure):
    X, y = breast_cancer()
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
