"""Jobs of linear models: searches of C, support vector machines and a random search."""

from __future__ import annotations

import numpy as np

from benches.peers.job_data import N_FOLDS, Array, Data


def our_search(data: Data, Cs: Array, scoring: str, **model: object) -> Array:
    from metaopt_fast.sklearn import LogisticRegressionSearchCV

    candidates = {"C": Cs.tolist()}
    search = LogisticRegressionSearchCV(
        len(Cs), candidates, cv=N_FOLDS, scoring=scoring, n_threads=data.n_threads, **model
    )
    found = search.fit(data.X, data.y).cv_results_
    return found["mean_test_score"][np.argsort(np.asarray(found["param_C"], float))]


def grid_search(data: Data, Cs: Array, scoring: str, estimator: object) -> Array:
    from sklearn.model_selection import GridSearchCV

    search = GridSearchCV(estimator, {"C": Cs}, cv=N_FOLDS, scoring=scoring, n_jobs=data.n_threads)
    return search.fit(data.X, data.y).cv_results_["mean_test_score"]


def tuning_by_us(data: Data) -> Array:
    return our_search(data, data.Cs, "neg_log_loss")


def tuning_by_grid(data: Data) -> Array:
    from sklearn.linear_model import LogisticRegression

    return grid_search(data, data.Cs, "neg_log_loss", LogisticRegression(max_iter=10_000))


def tuning_by_cv(data: Data) -> Array:
    return logistic_cv(data, data.Cs, l1_ratios=(0.0,), max_iter=10_000)


def logistic_cv(data: Data, Cs: Array, **options: object) -> Array:
    from sklearn.linear_model import LogisticRegressionCV

    search = LogisticRegressionCV(
        Cs=Cs, cv=N_FOLDS, scoring="neg_log_loss", n_jobs=data.n_threads, **options
    ).fit(data.X, data.y)
    scores = search.scores_
    if isinstance(scores, dict):  # by class, of which there is one
        (scores,) = scores.values()
    return np.asarray(scores).reshape(N_FOLDS, len(Cs)).mean(axis=0)


def machines_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    fits = mf.fit_many(
        data.X,
        data.y,
        l2=1 / (data.Cs * len(data.y) * (1 - 1 / N_FOLDS)),
        folds=N_FOLDS,
        loss="squared_hinge",
        fit_intercept=False,
        n_threads=data.n_threads,
    )
    return fits.validation_accuracy.mean(axis=1)


def machines_by_grid(data: Data) -> Array:
    from sklearn.svm import LinearSVC

    return grid_search(
        data, data.Cs, "accuracy", LinearSVC(dual=False, fit_intercept=False, max_iter=10_000)
    )


def search_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    objective = mf.LogisticLoss(data.X, data.y, n_threads=data.n_threads)
    found = mf.random_search(objective, mf.Normal(), data.n_candidates, seed=1)
    return np.log([found.loss])  # differences are relative ones


def search_by_numpy(data: Data) -> Array:
    signed_X = np.where(np.asarray(data.y)[:, None] == data.y.max(), -data.X, data.X)
    rng, best = np.random.default_rng(1), np.inf
    for first in range(0, data.n_candidates, 64):
        count = min(64, data.n_candidates - first)
        thetas = rng.standard_normal((count, data.X.shape[1]))
        best = min(best, float(np.logaddexp(0, signed_X @ thetas.T).mean(axis=0).min()))
    return np.log([best])
