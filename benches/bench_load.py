"""Calls beside other programs: busy loops that have the same processors.

Each loop is started in a session of its own (as by setsid), so that systems that share processors
among sessions treat it as another user's program. Calls on one thread and on as many as pays
alternate in one process; what counts is the ratio of their mean times.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from bench_kernels import problem
from conftest import seconds

import metaopt_fast as mf
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

LOOPS = (0, 1, 2, 4, 6)
# More threads than any machine has that this is run on.
MANY_THREADS = 64
# Seconds of each measurement; pairs of calls at least and at most.
LONGEST, FEWEST, MOST = 3.0, 5, 3000


def thetas_of(count, n):
    return np.random.default_rng(1).normal(size=(count, n))


def of_many(method, n_rows, n, count):
    def make(n_threads):
        function = getattr(problem(n_rows, n, n_threads=n_threads)[3], method)
        thetas = thetas_of(count, n)
        return lambda: function(thetas)

    return make


def search(n_threads):
    objective = problem(1000, 10, n_threads=n_threads)[3]
    return lambda: mf.random_search(objective, mf.Normal(), 50_000)


def evolve(n_threads):
    objective = problem(3000, 25, n_threads=n_threads)[3]
    return lambda: mf.evolve(objective, mf.Normal(), population=256, generations=20)


def descents(n_threads):
    objective = problem(3000, 25, n_threads=n_threads)[3]
    starts = thetas_of(64, 25)
    return lambda: mf.gradient_descent(objective, starts, max_iter=30, tol=0.0)


def fits(n_threads):
    X, y, _, _ = problem(3000, 25, n_threads=1)
    l2 = np.logspace(-5, 0, 300)
    return lambda: mf.fit_many(X, y, l2=l2, n_threads=n_threads)


def search_of_C(n_threads):
    X, y, _, _ = problem(2000, 20, n_threads=1)
    candidates = {"C": np.logspace(-3, 3, 50).tolist()}
    model = LogisticRegressionSearchCV(50, candidates, cv=5, n_threads=n_threads)
    return lambda: model.fit(X, y)


def one_model(n_threads):
    X, y, _, _ = problem(3000, 25, n_threads=1)
    model = LogisticRegression(n_threads=n_threads)
    return lambda: model.fit(X, y)


def counts(n_threads):
    X, y, _, _ = problem(10_000, 30, n_threads=1)
    objective = mf.ConfusionCounts(X, y, n_threads=n_threads)
    thetas = thetas_of(240, 30)
    return lambda: objective.batch_counts(thetas)


def auc(n_threads):
    X, y, _, _ = problem(10_000, 30, n_threads=1)
    objective = mf.AUCObjective(X, y, n_threads=n_threads)
    thetas = thetas_of(240, 30)
    return lambda: objective.batch_auc(thetas)


CALLS = {
    "loss, 1000x10, K = 24": of_many("batch_loss", 1000, 10, 24),
    "loss, 1000x10, K = 240": of_many("batch_loss", 1000, 10, 240),
    "loss, 10000x30, K = 240": of_many("batch_loss", 10_000, 30, 240),
    "loss, 10000x30, K = 1920": of_many("batch_loss", 10_000, 30, 1920),
    "gradient, 10000x30, K = 1": of_many("batch_loss_gradient", 10_000, 30, 1),
    "gradient, 3000x25, K = 64": of_many("batch_loss_gradient", 3000, 25, 64),
    "random_search, 1000x10, 50,000 candidates": search,
    "evolve, 3000x25, 20 generations of 256": evolve,
    "64 descents, 3000x25, 30 steps": descents,
    "fit_many, 3000x25, 300 models": fits,
    "LogisticRegressionSearchCV, 2000x20, 50 C x 5 folds": search_of_C,
    "LogisticRegression, 3000x25": one_model,
    "ConfusionCounts, 10000x30, K = 240": counts,
    "AUC, 10000x30, K = 240": auc,
}


@pytest.fixture(scope="module", params=LOOPS)
def n_loops(request):
    """So many busy loops, which run meanwhile."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command, start_new_session=True) for _ in range(request.param)]
    time.sleep(0.2)
    yield request.param
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.parametrize("name", CALLS)
def test_beside_loops(measure, name, n_loops):
    calls, times = (CALLS[name](1), CALLS[name](None)), []
    rng = np.random.default_rng(0)

    def both():
        # In any order: pairs of calls that are a part of a time slice would always be cut in one.
        pair = [0.0, 0.0]
        for i in rng.permutation(2):
            (pair[i],) = seconds(calls[i], 1)
        times.append(pair)

    both()
    rounds = int(np.clip(LONGEST / sum(times.pop()), FEWEST, MOST))
    measure(both, rounds=rounds)
    one, many = np.array(times).T
    slow, of_one = np.quantile(many, 0.99), np.quantile(one, 0.99)
    measure.row(
        name,
        f"beside {n_loops} busy loops",
        "float64",
        "all",
        f"{many.mean() * 1e3:.3g} ms",
        f"{one.mean() * 1e3:.3g} ms on one thread",
        f"{many.mean() / one.mean():.2f} times",
        f"median {np.median(many) / np.median(one):.2f} times; 99 of 100 within {slow * 1e3:.3g} "
        f"ms, {slow / np.median(many):.1f} medians; on one thread {of_one * 1e3:.3g} ms",
    )


@pytest.mark.parametrize("name", CALLS)
def test_more_threads_than_processors(measure, name):
    """Processor time of calls that may have many threads, beside as many as there are processors,
    in turn."""
    processors = len(os.sched_getaffinity(0))
    calls, times = (CALLS[name](processors), CALLS[name](MANY_THREADS)), []

    def both():
        pair = []
        for call in calls:
            began = time.process_time()
            call()
            pair.append(time.process_time() - began)
        times.append(pair)

    both()
    rounds = int(np.clip(LONGEST / sum(times.pop()), FEWEST, MOST))
    measure(both, rounds=rounds)
    few, many = np.array(times).T
    measure.row(
        name,
        f"n_threads = {MANY_THREADS} on {processors} processors",
        "float64",
        MANY_THREADS,
        f"{many.min() * 1e3:.3g} ms of processors",
        f"{few.min() * 1e3:.3g} ms with n_threads = {processors}",
        f"{many.min() / few.min():.2f} times",
        f"medians {np.median(many) / np.median(few):.2f} times",
    )
