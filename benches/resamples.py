"""Models of resampled rows and permuted labels beside scikit-learn's, and the constants of their
fits.

``python benches/resamples.py`` prints CPU time of one thread for each fit, ours and theirs in one
run: bootstrap weights at C = 1, our solver's peers at the tolerance that gives the same objective
to 1e-9; permutation tests with fixed splits and with the default ones; and proofs by one block of
rows in 1, 4, 8 and 16. Run it with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.
"""

import sys
import time

import numpy as np
from sklearn import model_selection
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression as TheirLogisticRegression
from sklearn.model_selection import KFold

import metaopt_fast as mf
from metaopt_fast.fitting import lane_fits
from metaopt_fast.sklearn import LogisticRegression, permutation_test_score

SOLVERS = {
    "lbfgs": {"solver": "lbfgs", "tol": 1e-8, "max_iter": 10_000},
    "newton-cholesky": {"solver": "newton-cholesky", "tol": 1e-8},
    "liblinear": {"solver": "liblinear", "tol": 1e-8, "max_iter": 10_000},
}
ROUNDS, THEIR_FITS = 3, 6


def problems():
    """Yield a name, rows, labels, and how many models to fit."""
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast_cancer", X, y, 1000
    X, y = load_digits(return_X_y=True)
    yield "digits", X[:, X.std(axis=0) > 0], y >= 5, 500
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 50))
    yield "20000x50", X, X @ rng.normal(size=50) * 0.3 + rng.logistic(size=len(X)) > 0, 240


def seconds(call):
    """Return the least CPU time of some rounds, and what the call returns."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        found = call()
        times.append(time.process_time() - start)
    return min(times), found


def bootstrap(name, X, y, n_models):
    """Print our time of a fit, and how much longer each of scikit-learn's solvers takes."""
    weights, l2 = mf.bootstrap_weights(len(y), n_models), 1 / len(y)
    ours, fits = seconds(lambda: mf.fit_many(X, y, l2=l2, sample_weight=weights, n_threads=1))
    ours /= n_models
    line = f"{name:14} {1e6 * ours:7.0f} us a fit, {fits.certified.mean():.0%} certified;"
    for solver, options in SOLVERS.items():
        start = time.process_time()
        excess = []
        for k in range(THEIR_FITS if len(y) < 10_000 else 2):
            model = TheirLogisticRegression(C=1.0, **options).fit(X, y, weights[k])
            excess.append(objective(model, X, y, weights[k], l2) - fits.loss[k])
        theirs = (time.process_time() - start) / len(excess)
        line += f" {solver} {theirs / ours:.0f}x (+{max(excess):.0e})"
    print(line, flush=True)


def objective(model, X, y, weights, l2):
    """Return the objective of scikit-learn's model."""
    margins = np.where(y == model.classes_[1], 1, -1) * model.decision_function(X)
    loss = np.average(np.logaddexp(0, -margins), weights=weights)
    return loss + l2 / 2 * (model.coef_**2).sum()


def permutations(name, X, y):
    """Print the time of a fit with its score, and how much longer scikit-learn's test takes."""
    for cv, of in ((KFold(5), "fixed splits"), (None, "default splits")):
        asked = {"cv": cv, "random_state": 1}
        start = time.process_time()
        permutation_test_score(LogisticRegression(n_threads=1), X, y, n_permutations=400, **asked)
        ours = (time.process_time() - start) / 401
        start = time.process_time()
        model_selection.permutation_test_score(
            TheirLogisticRegression(max_iter=1000), X, y, n_permutations=5, **asked
        )
        theirs = (time.process_time() - start) / 6
        print(f"{name:14} {of}: {2e5 * ours:.0f} us a fit and score, {theirs / ours:.1f}x")


def strides(name, X, y, n_models):
    """Print the time of a fit whose proof takes one block in so many."""
    weights, times = mf.bootstrap_weights(len(y), n_models), []
    for lane_fits.STRIDE in (1, 4, 8, 16):
        asked = {"l2": 1 / len(y), "sample_weight": weights, "n_threads": 1}
        times.append(seconds(lambda asked=asked: mf.fit_many(X, y, **asked))[0] / n_models)
    lane_fits.STRIDE = 8
    print(f"{name:14} one block in 1, 4, 8, 16:", *(f"{1e6 * t:.0f}" for t in times), "us a fit")


if __name__ == "__main__":
    for name, X, y, n_models in problems():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        bootstrap(name, X, y, n_models)
        strides(name, X, y, n_models)
        if len(y) < 10_000:
            permutations(name, X, y)
