"""A random search for the theta of the lowest loss, the draws included."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np

from benches.peers.losses import rows_of
from benches.peers.setting import Prepared, Setting

Found = tuple[np.ndarray, float]
Search = Callable[[int], Found]
MOST = 2_000_000


def ours(X: np.ndarray, y: np.ndarray, n_threads: int) -> Search:
    import metaopt_fast as mf

    objective = mf.LogisticLoss(X, y, n_threads=n_threads)

    def search(n: int) -> Found:
        result = mf.random_search(objective, mf.Normal(), n, seed=1)
        return result.theta, result.loss

    return search


def numpy_blocks(X: np.ndarray, y: np.ndarray, n_threads: int) -> Search:
    signed_X = np.where(y[:, None] == 1, -X, X)

    def search(n: int) -> Found:
        rng, best = np.random.default_rng(1), (np.zeros(X.shape[1]), np.inf)
        for first in range(0, n, 64):
            thetas = rng.standard_normal((min(64, n - first), X.shape[1]))
            losses = np.logaddexp(0, signed_X @ thetas.T).mean(axis=0)
            k = losses.argmin()
            best = min(best, (thetas[k], float(losses[k])), key=lambda found: found[1])
        return best

    return search


def python_loop(X: np.ndarray, y: np.ndarray, n_threads: int) -> Search:
    signed_X = np.where(y[:, None] == 1, -X, X)

    def search(n: int) -> Found:
        rng, best = np.random.default_rng(1), (np.zeros(X.shape[1]), np.inf)
        for _ in range(n):
            theta = rng.standard_normal(X.shape[1])
            loss = float(np.logaddexp(0, signed_X @ theta).mean())
            if loss < best[1]:
                best = theta, loss
        return best

    return search


def optuna(X: np.ndarray, y: np.ndarray, n_threads: int) -> Search:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signed_X = np.where(y[:, None] == 1, -X, X)
    names = [f"theta_{j}" for j in range(X.shape[1])]

    def loss(trial: optuna.Trial) -> float:
        theta = np.array([trial.suggest_float(name, -3, 3) for name in names])
        return float(np.logaddexp(0, signed_X @ theta).mean())

    def search(n: int) -> Found:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(loss, n_trials=n, n_jobs=n_threads)
        return np.array([study.best_params[name] for name in names]), study.best_value

    return search


PEERS = {
    "metaopt_fast, random_search": ours,
    "NumPy, blocks": numpy_blocks,
    "a Python loop, NumPy": python_loop,
    "Optuna, RandomSampler": optuna,
}


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check the loss of the best theta of a short search, then search as long as wanted."""
    from metaopt_fast import reference

    X, y = rows_of(setting.n_samples, setting.n_features, setting.dtype)
    search, few = PEERS[peer](X, y, setting.n_threads), 16
    theta, loss = search(few)
    error = abs(loss / reference.LogisticLoss(X, y).loss(theta) - 1)
    seconds = setting.seconds
    while True:  # a search of few candidates tells little of one of many
        started = perf_counter()
        search(few)
        taken = perf_counter() - started
        if taken > seconds / 4 or few >= MOST:
            break
        few = min(few * 4, MOST)
    n = int(min(max(few * seconds / taken, 16), MOST))
    return Prepared(lambda: search(n), n, float(error), 1e-10)
