"""Support vector machines by the hundred beside LIBLINEAR: 200 C x 5 folds, 100 resamples.

    python benches/bench_machines.py [--data NAME ...] [--threads N]

CPU time of all threads, the least of some rounds in one process; imports are not counted. LIBLINEAR
is scikit-learn's LinearSVC(dual=False, fit_intercept=False) in a loop over the same folds and C, of
which one in PART is timed, at each of TOLERANCES; the line says how far the worst of its objectives
is above ours, whose distance to the optimum is proven. fit_many also validates each model.
"""

import argparse
import os
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from bench_l1 import breast_cancer, digits, least_time, mnist, standardized  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

import metaopt_fast as mf  # noqa: E402

DATA = {"breast_cancer": breast_cancer, "digits": digits, "mnist": mnist}
N_FOLDS = 5
C = np.geomspace(1e-4, 1e4, 200)
TOLERANCES = (1e-4, 1e-6, 1e-10)
PART = {"breast_cancer": 10, "digits": 25, "mnist": 100}


def objective(theta, X, y, l2):
    slacks = np.maximum(0, 1 - np.where(y, 1, -1) * (X @ theta))
    return (slacks**2).mean() + l2 / 2 * theta @ theta


def loop(X, y, folds, tol, step):
    """Seconds of LIBLINEAR for all models, by a part of them, and these models."""
    started, found = time.process_time(), {}
    for m in range(0, len(C), step):
        for f in range(N_FOLDS):
            train = folds != f
            model = LinearSVC(C=C[m], dual=False, tol=tol, fit_intercept=False, max_iter=10**6)
            found[m, f] = model.fit(X[train], y[train]).coef_[0]
    return (time.process_time() - started) * len(C) * N_FOLDS / len(found), found


def resampled(X, y, n_threads):
    """100 bootstrap samples, and label vectors of 20 permutations, beside a loop of LIBLINEAR."""
    l2, n = 0.01, len(y)
    for what, count in (("bootstrap samples", 100), ("permutations", 20)):
        weights, labels = mf.bootstrap_weights(n, count, seed=0), np.tile(y, (count, 1))
        given = {"sample_weight": weights}
        if what == "permutations":
            weights, labels, given = np.ones((count, n)), mf.permuted_labels(y, count, seed=0), {}
        Y = labels if what == "permutations" else y
        options = {"loss": "squared_hinge", "fit_intercept": False, "n_threads": n_threads}
        ours, fits = least_time(lambda: mf.fit_many(X, Y, l2=l2, **given, **options), 3)  # noqa: B023
        print(
            f"  {what}: {1e3 * ours / count:.2f} ms each, all certified: {fits.certified.all()}, "
            f"Newton steps {fits.n_iter.mean():.1f} in the mean"
        )
        for tol in (TOLERANCES[0], TOLERANCES[-1]):
            started, gaps = time.process_time(), []
            for m in range(0, count, 5):
                model = LinearSVC(C=1 / (l2 * n), dual=False, tol=tol, fit_intercept=False)
                model.set_params(max_iter=10**6).fit(X, labels[m], sample_weight=weights[m])
                w = weights[m] / n
                slacks = np.maximum(0, 1 - np.where(labels[m], 1, -1) * (X @ model.coef_[0]))
                value = w @ slacks**2 + l2 / 2 * model.coef_[0] @ model.coef_[0]
                gaps.append(value - fits.loss[m])
            theirs = (time.process_time() - started) * count / len(gaps)
            print(f"    LIBLINEAR tol {tol:g}: {theirs / ours:.1f}x, up to {max(gaps):.1e} above")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["breast_cancer", "digits"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in options.data:
        X, y = standardized(DATA[name])
        folds = np.arange(len(y)) % N_FOLDS
        l2 = 1 / np.outer(C, len(y) - np.bincount(folds))
        given = {"folds": folds, "fit_intercept": False, "n_threads": options.threads}
        ours, fits = least_time(lambda: mf.fit_many(X, y, l2=l2, loss="squared_hinge", **given))  # noqa: B023
        print(
            f"{name}: {ours:.3f} s, {1e6 * ours / fits.loss.size:.0f} us a model, all certified: "
            f"{fits.certified.all()}, gaps up to {fits.gap_bound.max():.1e}, Newton steps "
            f"{fits.n_iter.mean():.1f} in the mean, {fits.n_iter.max()} at most"
        )
        for tol in TOLERANCES:
            theirs, found = loop(X, y, folds, tol, PART[name])
            gaps = [
                objective(theta, X[folds != f], y[folds != f], l2[m, f]) - fits.loss[m, f]
                for (m, f), theta in found.items()
            ]
            print(
                f"  LIBLINEAR tol {tol:g}: {theirs:.1f} s, {theirs / ours:.0f}x; its objectives "
                f"are {min(gaps):.1e} to {max(gaps):.1e} above ours"
            )
        resampled(X, y, options.threads)


if __name__ == "__main__":
    main()
