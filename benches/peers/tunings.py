"""The choice of C by cross-validation: each C and fold fitted, and scored by the log loss of the
rows left out. No intercept, which LIBLINEAR would penalise.

The tolerances are such that the scores are the reference's to 1e-6.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from benches.peers.setting import Prepared, Setting

N_PENALTIES, N_FOLDS = 20, 5
Cs = np.logspace(-3, 2, N_PENALTIES)
# The log losses of the rows left out, a mean of the folds for each C.
Scores = np.ndarray


class Data:
    """Rows, classes, and folds."""

    def __init__(self, n_samples: int, n_features: int, n_threads: int) -> None:
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((n_samples, n_features))
        margins = self.X @ rng.standard_normal(n_features) / n_features**0.5
        self.y = (margins + rng.logistic(size=n_samples) > 0).astype(int)
        self.folds = np.arange(n_samples) % N_FOLDS
        self.n_threads = n_threads
        self.splits = [
            (np.flatnonzero(self.folds != k), np.flatnonzero(self.folds == k))
            for k in range(N_FOLDS)
        ]


def fit_many(data: Data) -> Scores:
    import metaopt_fast as mf

    # scikit-learn's penalty is of the sum over the rows that a fold leaves in.
    rows = np.array([len(train) for train, _ in data.splits])
    l2 = 1 / (Cs[:, None] * rows)
    found = mf.fit_many(
        data.X,
        data.y,
        l2=l2,
        folds=data.folds,
        fit_intercept=False,
        n_threads=data.n_threads,
    )
    return found.validation_loss.mean(axis=1)


def our_search(data: Data) -> Scores:
    from metaopt_fast.sklearn import LogisticRegressionSearchCV

    search = LogisticRegressionSearchCV(
        N_PENALTIES,
        {"C": Cs.tolist()},
        cv=data.splits,
        fit_intercept=False,
        refit=False,
        n_threads=data.n_threads,
    )
    return in_order(search.fit(data.X, data.y))


def in_order(search) -> Scores:  # type: ignore[no-untyped-def]
    found = search.cv_results_
    return -found["mean_test_score"][np.argsort(np.asarray(found["param_C"], float))]


def randomized_search(data: Data, estimator) -> Scores:  # type: ignore[no-untyped-def]
    from sklearn.model_selection import RandomizedSearchCV

    search = RandomizedSearchCV(
        estimator,
        {"C": Cs.tolist()},
        n_iter=N_PENALTIES,
        cv=data.splits,
        scoring="neg_log_loss",
        refit=False,
        n_jobs=data.n_threads,
    )
    return in_order(search.fit(data.X, data.y))


def of_solver(solver: str, tol: float) -> Callable[[Data], Scores]:
    def run(data: Data) -> Scores:
        from sklearn.linear_model import LogisticRegression

        estimator = LogisticRegression(solver=solver, tol=tol, max_iter=10_000, fit_intercept=False)
        return randomized_search(data, estimator)

    return run


def intelex(data: Data) -> Scores:
    from sklearnex.linear_model import LogisticRegression

    estimator = LogisticRegression(solver="lbfgs", tol=1e-6, max_iter=10_000, fit_intercept=False)
    return randomized_search(data, estimator)


def path_of_solver(solver: str, tol: float) -> Callable[[Data], Scores]:
    def run(data: Data) -> Scores:
        from sklearn.linear_model import LogisticRegressionCV

        search = LogisticRegressionCV(
            Cs=Cs,
            cv=data.splits,
            scoring="neg_log_loss",
            solver=solver,
            tol=tol,
            max_iter=10_000,
            fit_intercept=False,
            refit=False,
            n_jobs=data.n_threads,
        ).fit(data.X, data.y)
        scores = search.scores_
        if isinstance(scores, dict):  # by class, of which there is one
            (scores,) = scores.values()
        return -np.asarray(scores).reshape(N_FOLDS, N_PENALTIES).mean(axis=0)

    return run


def liblinear(data: Data) -> Scores:
    from liblinear.liblinearutil import parameter, problem, train

    losses = np.zeros((N_PENALTIES, N_FOLDS))
    for fold, (inside, outside) in enumerate(data.splits):
        rows = problem(data.y[inside], data.X[inside])
        signed_X = np.where(data.y[outside, None] == 1, -1, 1) * data.X[outside]
        for k, C in enumerate(Cs):
            model = train(rows, parameter(f"-s 0 -c {C} -e 1e-5 -B -1 -q"))
            # Its weights speak for the class that it has met first.
            sign = 1 if model.get_labels()[0] == 1 else -1
            theta = sign * np.array(model.get_decfun()[0])
            losses[k, fold] = np.logaddexp(0, signed_X @ theta).mean()
    return losses.mean(axis=1)


PEERS: dict[str, Callable[[Data], Scores]] = {
    "metaopt_fast, LogisticRegressionSearchCV": our_search,
    "metaopt_fast, fit_many": fit_many,
    "LogisticRegressionCV, lbfgs": path_of_solver("lbfgs", 1e-6),
    "LogisticRegressionCV, newton-cholesky": path_of_solver("newton-cholesky", 1e-6),
    "LogisticRegressionCV, liblinear": path_of_solver("liblinear", 1e-5),
    "RandomizedSearchCV, lbfgs": of_solver("lbfgs", 1e-6),
    "RandomizedSearchCV, newton-cholesky": of_solver("newton-cholesky", 1e-6),
    "RandomizedSearchCV, liblinear": of_solver("liblinear", 1e-5),
    "RandomizedSearchCV, scikit-learn-intelex": intelex,
    "LIBLINEAR, a loop": liblinear,
}


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check the scores of a peer; a call of it makes all of them."""
    warnings.simplefilter("ignore")
    data, run = Data(setting.n_samples, setting.n_features, setting.n_threads), PEERS[peer]
    error = float(np.abs(run(data) / by_reference(data) - 1).max())
    return Prepared(lambda: run(data), N_PENALTIES * N_FOLDS, error, 1e-5)


def by_reference(data: Data) -> Scores:
    """Return the scores by plain Newton steps."""
    from metaopt_fast.reference import fitting as reference_training

    n_inside = np.array([len(train) for train, _ in data.splits])
    found = reference_training.fit_many(
        data.X,
        data.y,
        l2=1 / (Cs[:, None] * n_inside),
        folds=data.folds,
        fit_intercept=False,
    )
    assert found.validation_loss is not None
    return found.validation_loss.mean(axis=1)
