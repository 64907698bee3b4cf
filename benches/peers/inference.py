"""Jobs of inference: standard errors by the bootstrap, and permutation tests.

Peers fit the resamples that `bootstrap` draws, but for scipy.stats.bootstrap, which draws its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benches.peers.job_data import N_FOLDS, Array, Data

SEED = 1


def logarithms(errors: Array) -> Array:
    """Return what is compared: differences are relative ones of standard errors."""
    return np.log(errors)


def our_errors(data: Data, X: Array, l2: float) -> Array:
    import metaopt_fast as mf

    asked = {"n_resamples": data.n_resamples, "seed": SEED, "n_threads": data.n_threads}
    found = mf.bootstrap(X, data.y, l2=l2, **asked)
    return logarithms(found.standard_error[:-1])


def errors_by_us(data: Data) -> Array:
    return our_errors(data, data.X, 1 / len(data.y))


def errors_by_us_without_penalty(data: Data) -> Array:
    return our_errors(data, data.few, 0.0)


def by_scikit_learn(X: Array, y: Array) -> Array:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, y).coef_[0]


def by_statsmodels(X: Array, y: Array) -> Array:
    from statsmodels.api import Logit, add_constant

    return Logit(y, add_constant(X, has_constant="add")).fit(disp=0).params[1:]


def models_of(
    data: Data, fit: Callable[[Array, Array], Array], X: Array, resamples: Array
) -> Array:
    """Return the model of each line of rows, by a process for each thread."""
    from joblib import Parallel, delayed

    one = delayed(fit)
    return np.array(Parallel(data.n_threads)(one(X[rows], data.y[rows]) for rows in resamples))


def errors_of(data: Data, fit: Callable[[Array, Array], Array], X: Array) -> Array:
    import metaopt_fast as mf

    weights = mf.bootstrap_weights(len(X), data.n_resamples, seed=SEED).astype(int)
    resamples = np.array([np.repeat(np.arange(len(X)), each) for each in weights])
    return logarithms(np.std(models_of(data, fit, X, resamples), axis=0, ddof=1))


def errors_by_loop(data: Data) -> Array:
    return errors_of(data, by_scikit_learn, data.X)


def errors_by_statsmodels(data: Data) -> Array:
    return errors_of(data, by_statsmodels, data.few)


def errors_by_scipy(data: Data) -> Array:
    from scipy.stats import bootstrap

    def statistic(rows: Array, axis: int) -> Array:
        return models_of(data, by_scikit_learn, data.X, rows).T

    found = bootstrap(
        (np.arange(len(data.y)),),
        statistic,
        n_resamples=data.n_resamples,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(SEED),
    )
    return logarithms(found.standard_error)


def permutations(test: Callable[..., Any], model: Any, data: Data) -> Array:
    """Return the scores of permuted labels, and at last that of the true ones."""
    score, scores, _ = test(
        model,
        data.X,
        data.y,
        cv=N_FOLDS,
        n_permutations=data.n_permutations,
        scoring="neg_log_loss",
        random_state=SEED,
        n_jobs=data.n_threads,
    )
    return np.append(scores, score)


def permutations_by_us(data: Data) -> Array:
    from metaopt_fast.sklearn import LogisticRegression, permutation_test_score

    model = LogisticRegression(n_threads=data.n_threads)
    return permutations(permutation_test_score, model, data)


def permutations_by_scikit_learn(data: Data) -> Array:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import permutation_test_score

    return permutations(permutation_test_score, LogisticRegression(), data)
