"""One model: where others are at home."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from benches.peers.losses import rows_of
from benches.peers.setting import Prepared, Setting

Result = Callable[[], np.ndarray]


def loss_by_metaopt_fast(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
    import metaopt_fast as mf

    objective, theta = mf.LogisticLoss(X, y, n_threads=n_threads), theta_of(X)
    return lambda: np.array([objective.loss(theta)])


def new_loss_by_metaopt_fast(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
    import metaopt_fast as mf

    theta = theta_of(X)
    return lambda: np.array([mf.LogisticLoss(X, y, n_threads=n_threads).loss(theta)])


def loss_by_numpy(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
    signs, theta = np.where(y == 1, -1.0, 1.0), theta_of(X)
    return lambda: np.array([np.logaddexp(0, signs * (X @ theta)).mean()])


def fit_by_metaopt_fast(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
    from metaopt_fast.sklearn import LogisticRegression

    model = LogisticRegression(fit_intercept=False, n_threads=n_threads)
    return lambda: model.fit(X, y).coef_[0]


def fit_by_solver(solver: str, tol: float) -> Callable[[np.ndarray, np.ndarray, int], Result]:
    def make(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(solver=solver, tol=tol, fit_intercept=False)
        return lambda: model.fit(X, y).coef_[0]

    return make


def fit_by_intelex(X: np.ndarray, y: np.ndarray, n_threads: int) -> Result:
    from sklearnex.linear_model import LogisticRegression

    model = LogisticRegression(solver="lbfgs", tol=1e-6, fit_intercept=False)
    return lambda: model.fit(X, y).coef_[0]


LOSSES = {
    "metaopt_fast, loss": loss_by_metaopt_fast,
    "metaopt_fast, objective made for one loss": new_loss_by_metaopt_fast,
    "NumPy, one product by BLAS": loss_by_numpy,
}
FITS = {
    "metaopt_fast, LogisticRegression": fit_by_metaopt_fast,
    "scikit-learn, lbfgs": fit_by_solver("lbfgs", 1e-6),
    "scikit-learn, newton-cholesky": fit_by_solver("newton-cholesky", 1e-6),
    "scikit-learn, liblinear": fit_by_solver("liblinear", 1e-5),
    "scikit-learn-intelex, lbfgs": fit_by_intelex,
}
PEERS = {**LOSSES, **FITS}


def theta_of(X: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).standard_normal(X.shape[1]) / X.shape[1] ** 0.5


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check a loss, or the objective of a model, as far above its optimum as 1e-6."""
    from metaopt_fast import reference
    from metaopt_fast.reference import fitting as reference_training

    warnings.simplefilter("ignore")
    X, y = rows_of(setting.n_samples, setting.n_features, setting.dtype)
    call = PEERS[peer](X, y, setting.n_threads)
    found = call()
    if peer in LOSSES:
        error = abs(found[0] / reference.LogisticLoss(X, y).loss(theta_of(X)) - 1)
        return Prepared(call, 1, float(error), 1e-10)
    l2 = 1 / len(X)
    best = reference_training.fit_many(X, y, l2=[l2], fit_intercept=False).loss.min()
    error = abs(reference.LogisticLoss(X, y, l2=l2).loss(found) / best - 1)
    return Prepared(call, 1, float(error), 1e-6)
