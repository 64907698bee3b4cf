"""Jobs of l1 penalties: five folds with an intercept, and one path of products of features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benches.peers.job_data import Array, Data
from benches.peers.linear_jobs import logistic_cv, our_search

# The weights of each penalty, and the intercepts.
Path = tuple[Array, Array | float]
Solver = Callable[[Array, Array, Array, bool], Path]


def adelie(X: Array, y: Array, l1: Array, has_intercept: bool) -> Path:
    import adelie as ad

    state = ad.grpnet(
        X=np.asfortranarray(X),
        glm=ad.glm.binomial(y=y.astype(float)),
        lmda_path=l1,
        intercept=has_intercept,
        early_exit=False,
        progress_bar=False,
    )
    return state.betas.toarray(), state.intercepts


def skglm(X: Array, y: Array, l1: Array, has_intercept: bool) -> Path:
    from skglm import SparseLogisticRegression

    model = SparseLogisticRegression(fit_intercept=has_intercept, warm_start=True)
    found = []
    for model.alpha in l1:
        model.fit(X, y)
        found.append(np.append(model.coef_, model.intercept_))
    return np.array(found)[:, : X.shape[1]], np.array(found)[:, X.shape[1] :].sum(axis=1)


def celer(X: Array, y: Array, l1: Array, has_intercept: bool) -> Path:
    from celer import celer_path

    assert not has_intercept, "celer's paths have none"
    signs = np.where(y == 1, 1.0, -1.0)
    return celer_path(X, signs, "logreg", alphas=len(y) * l1, tol=1e-4)[1].T, 0.0


def folds_by_us(data: Data) -> Array:
    return our_search(data, data.path, "neg_log_loss", l1_ratio=1.0)


def folds_by_saga(data: Data) -> Array:
    # At its usual tolerance, losses are 0.04 off.
    options = {"tol": 1e-5, "max_iter": 10_000}
    return logistic_cv(data, data.path, solver="saga", l1_ratios=(1.0,), **options)


def folds_by_liblinear(data: Data) -> Array:
    # It penalises the intercept: the less, the larger the scale.
    options = {"intercept_scaling": 100.0, "max_iter": 10_000}
    return logistic_cv(data, data.path, solver="liblinear", l1_ratios=(1.0,), **options)


def folds_by(solver: Solver) -> Callable[[Data], Array]:
    """Return a job that has a process for each thread, and a path for each fold."""

    def run(data: Data) -> Array:
        from joblib import Parallel, delayed

        one = delayed(scores_of_fold)
        found = Parallel(data.n_threads)(
            one(solver, data.X, data.y, data.path, *split) for split in data.splits
        )
        return np.mean(found, axis=0)

    return run


def scores_of_fold(
    solver: Solver, X: Array, y: Array, Cs: Array, train: Array, test: Array
) -> Array:
    """Return the mean log-likelihood of the held-out rows for each C, ascending."""
    weights, intercepts = solver(X[train], y[train], 1 / (len(train) * Cs), True)
    margins = X[test] @ weights.T + intercepts
    return -np.logaddexp(0, np.where(y[test] == 1, -1, 1)[:, None] * margins).mean(axis=0)


def products_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    asked = {"l1": data.l1_of_products, "l2": 0.0, "fit_intercept": False}
    return mf.fit_many(data.products, data.y, n_threads=data.n_threads, **asked).loss


def products_by(solver: Solver) -> Callable[[Data], Array]:
    """Return a job that ends with the objective of each penalty."""

    def run(data: Data) -> Array:
        weights, _ = solver(data.products, data.y, data.l1_of_products, False)
        losses = np.logaddexp(0, -data.signs[:, None] * (data.products @ weights.T)).mean(axis=0)
        return losses + data.l1_of_products * np.abs(weights).sum(axis=1)

    return run
