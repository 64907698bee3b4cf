"""Whole jobs on one data set, as one would write them: what a user waits for.

The data is breast_cancer, standardised. Peers run with their defaults, but for what
would leave them far from the optimum; LinearSVC has no intercept, which it would penalise. What
they return, a score or a loss for each candidate, is held against ours, whose optima are certified.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from benches.peers.setting import Prepared, Setting

N_FOLDS, N_PENALTIES, N_OF_PATH, N_CANDIDATES, N_RESAMPLES = 5, 200, 20, 200_000, 1_000
# How far scores of models that are not trained to the end may be from those of the optima.
NEAR = 0.02
Array = np.ndarray


class Data:
    """Rows, classes and splits; `small` leaves most of the work out."""

    def __init__(self, n_threads: int, small: bool) -> None:
        from metaopt_fast import standardize
        from metaopt_fast.datasets import load_breast_cancer

        X, y, _ = load_breast_cancer()
        self.X, self.y = standardize(X)[0], np.asarray(y)
        self.n_threads = n_threads
        part = 20 if small else 1
        self.Cs = np.logspace(-4, 2, N_PENALTIES // part)
        self.path = np.logspace(-2, 1, max(3, N_OF_PATH // part))
        self.n_candidates = N_CANDIDATES // part
        self.n_resamples = N_RESAMPLES // part


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


def path_by_us(data: Data) -> Array:
    return our_search(data, data.path, "neg_log_loss", l1_ratio=1.0)


def path_by_saga(data: Data) -> Array:
    # At its usual tolerance, losses are 0.04 off.
    options = {"tol": 1e-5, "max_iter": 10_000}
    return logistic_cv(data, data.path, solver="saga", l1_ratios=(1.0,), **options)


def path_by_liblinear(data: Data) -> Array:
    # It penalises the intercept: the less, the larger the scale.
    options = {"intercept_scaling": 100.0, "max_iter": 10_000}
    return logistic_cv(data, data.path, solver="liblinear", l1_ratios=(1.0,), **options)


def errors_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    l2 = 1 / len(data.y)
    found = mf.bootstrap(
        data.X, data.y, l2=l2, n_resamples=data.n_resamples, seed=1, n_threads=data.n_threads
    )
    return np.array([found.standard_error[:-1].mean()])


def coefficients_of_resample(X: Array, y: Array, seed: int) -> Array:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(seed).integers(0, len(y), len(y))
    return LogisticRegression().fit(X[rows], y[rows]).coef_[0]


def errors_by_loop(data: Data) -> Array:
    from joblib import Parallel, delayed

    one = delayed(coefficients_of_resample)
    found = Parallel(data.n_threads)(one(data.X, data.y, k) for k in range(data.n_resamples))
    return np.array([np.std(found, axis=0, ddof=1).mean()])


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
    return np.array([mf.random_search(objective, mf.Normal(), data.n_candidates, seed=1).loss])


def search_by_numpy(data: Data) -> Array:
    signed_X = np.where(np.asarray(data.y)[:, None] == data.y.max(), -data.X, data.X)
    rng, best = np.random.default_rng(1), np.inf
    for first in range(0, data.n_candidates, 64):
        count = min(64, data.n_candidates - first)
        thetas = rng.standard_normal((count, data.X.shape[1]))
        best = min(best, float(np.logaddexp(0, signed_X @ thetas.T).mean(axis=0).min()))
    return np.array([best])


JOBS = {
    "200 values of C x 5 folds": {
        "metaopt_fast": tuning_by_us,
        "LogisticRegressionCV": tuning_by_cv,
        "GridSearchCV": tuning_by_grid,
    },
    "bootstrap of 1,000 resamples": {
        "metaopt_fast": errors_by_us,
        "LogisticRegression, joblib": errors_by_loop,
    },
    "L1 path, 20 C x 5 folds": {
        "metaopt_fast": path_by_us,
        "LogisticRegressionCV, liblinear": path_by_liblinear,
        "LogisticRegressionCV, saga": path_by_saga,
    },
    "linear SVM, 200 C x 5 folds": {
        "metaopt_fast": machines_by_us,
        "GridSearchCV of LinearSVC": machines_by_grid,
    },
    "random search, 200,000 thetas": {
        "metaopt_fast": search_by_us,
        "NumPy, blocks of 64": search_by_numpy,
    },
}
PEERS: dict[str, Callable[[Data], Array]] = {
    f"{job}: {who}": run for job, peers in JOBS.items() for who, run in peers.items()
}


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check what a peer returns; a call of it does the job once."""
    warnings.simplefilter("ignore")
    data, run = Data(setting.n_threads, setting.n_samples < 569), PEERS[peer]
    job = peer.partition(": ")[0]
    expected = JOBS[job]["metaopt_fast"](data)
    found = run(data)
    if "random search" in job:  # other thetas: the best of them is in the same range
        return Prepared(lambda: run(data), 1, abs(float(found[0] / expected[0] - 1)), 0.5)
    error = float(np.abs(found - expected).max())
    return Prepared(lambda: run(data), 1, error, NEAR)
