"""Search of C by cross-validation against scikit-learn's searches: the same splits and the same
optimum, scikit-learn with its fastest solver for the data, on two processes.

A solver counts where its coefficients are within 1e-6 (of the largest one, if that is above 1) of
those of newton-cholesky at tol 1e-10, at the loosest tol that gets there. Ours is held to the same.
"""

import time
import warnings

import numpy as np
import pytest
from conftest import seconds
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from metaopt_fast.fitting.fit_many import fit_many
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

pytestmark = pytest.mark.filterwarnings("ignore")

N_JOBS = 2
CLOSE = 1e-6
OURS = {"tol": 1e-10}
EXACT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 10_000}
SOLVERS = ("newton-cholesky", "lbfgs", "newton-cg")
TOLS = (1e-4, 1e-6, 1e-8, 1e-10)
# A search of theirs that would take longer is timed on a part of the candidates.
LONGEST = 60.0


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def raw_breast_cancer():
    return load_breast_cancer(return_X_y=True)


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, (y < 5).astype(int)


def synthetic():
    return make_classification(
        20_000, 50, n_informative=20, n_redundant=0, flip_y=0.1, random_state=0
    )


TASKS = {
    "breast_cancer": (breast_cancer, 200),
    "digits < 5": (digits, 100),
    "synthetic": (synthetic, 50),
    "raw breast_cancer": (raw_breast_cancer, 200),
}


@pytest.mark.parametrize("name", TASKS)
def test_search_of_C(measure, name):
    load, n_candidates = TASKS[name]
    X, y = load()
    Cs, cv = np.logspace(-4, 4, n_candidates), StratifiedKFold(5)
    ours = LogisticRegressionSearchCV(n_candidates, {"C": Cs.tolist()}, cv=cv, **OURS)
    time.sleep(0.5)  # threads of a BLAS keep a processor busy for a while after a product
    best, _ = measure(lambda: ours.fit(X, y), rounds=5)
    certified, worst = compare(X, y, Cs, cv)
    assert certified
    assert ours.certified_.all()
    assert worst <= CLOSE

    solver, tol = fastest_solver(X, y, Cs)
    theirs, n_theirs = seconds_of(lambda part: random_search(solver, tol, part, cv).fit(X, y), Cs)
    path, n_path = seconds_of(lambda part: path_search(solver, tol, part, cv).fit(X, y), Cs)
    measure.row(
        "LogisticRegressionSearchCV",
        f"{name}: {len(X)}x{X.shape[1]}, {n_candidates} C x 5 folds",
        "float64",
        "all",
        f"{best * 1e3:.1f} ms",
        f"{theirs:.2f} s by RandomizedSearchCV{part_of(n_theirs, n_candidates)}",
        f"{theirs / best:.0f} times",
        f"LogisticRegressionCV{part_of(n_path, n_candidates)}: {path:.2f} s, {path / best:.0f} "
        f"times; theirs {solver} at tol {tol:g}, n_jobs={N_JOBS}; coefficients within "
        f"{worst:.0e}; {failures_of_lbfgs(X, y, Cs)}",
    )


@pytest.mark.parametrize("name", TASKS)
def test_one_model(measure, name):
    """What a single fit takes, with all that surrounds it."""
    X, y = TASKS[name][0]()
    model = LogisticRegression(**OURS)
    time.sleep(0.5)
    best, _ = measure(lambda: model.fit(X, y))
    solver, tol = fastest_solver(X, y, np.array([1.0]))
    exact = TheirRegression(solver=solver, tol=tol, max_iter=10_000)
    theirs = min(seconds(lambda: exact.fit(X, y), 7))
    measure.row(
        "LogisticRegression",
        f"{name}: {len(X)}x{X.shape[1]}, C = 1",
        "float64",
        "all",
        f"{best * 1e3:.2f} ms",
        f"{theirs * 1e3:.2f} ms by scikit-learn",
        f"{theirs / best:.1f} times",
        f"theirs {solver} at tol {tol:g}",
    )


def compare(X, y, Cs, cv):
    """Return whether all models are certified, and how far some are from newton-cholesky's."""
    folds = np.empty(len(y), int)
    for k, (_, test) in enumerate(cv.split(X, y)):
        folds[test] = k
    l2 = 1 / (Cs[:, None] * (len(y) - np.bincount(folds)))
    fits = fit_many(X, y, l2=l2, folds=folds, **OURS)
    worst = 0.0
    for m in range(0, len(Cs), max(1, len(Cs) // 6)):
        train = folds != m % 5
        wanted = theta_of(TheirRegression(C=Cs[m], **EXACT).fit(X[train], y[train]))
        worst = max(worst, distance(fits.theta[m, m % 5], wanted))
    return bool(fits.certified.all()), worst


def theta_of(model):
    return np.append(model.coef_[0], model.intercept_)


def distance(theta, wanted):
    return float(np.abs(theta - wanted).max() / max(1.0, np.abs(wanted).max()))


def fastest_solver(X, y, Cs):
    """Return the solver and its loosest tol that come to the optimum of some C, the fastest."""
    some = Cs[:: max(1, len(Cs) // 5)]
    exact = [theta_of(TheirRegression(C=C, **EXACT).fit(X, y)) for C in some]
    found = []
    for solver in SOLVERS:
        for tol in TOLS:
            started = time.perf_counter()
            models = [
                TheirRegression(C=C, solver=solver, tol=tol, max_iter=10_000).fit(X, y)
                for C in some
            ]
            elapsed = time.perf_counter() - started
            pairs = zip(models, exact, strict=True)
            if all(distance(theta_of(model), wanted) <= CLOSE for model, wanted in pairs):
                found.append((elapsed, solver, tol))
                break
    return min(found)[1:]


def random_search(solver, tol, Cs, cv):
    return RandomizedSearchCV(
        TheirRegression(solver=solver, tol=tol, max_iter=10_000),
        {"C": Cs.tolist()},
        n_iter=len(Cs),
        cv=cv,
        scoring="neg_log_loss",
        n_jobs=N_JOBS,
    )


def path_search(solver, tol, Cs, cv):
    return LogisticRegressionCV(
        Cs=Cs,
        cv=cv,
        scoring="neg_log_loss",
        solver=solver,
        tol=tol,
        max_iter=10_000,
        n_jobs=N_JOBS,
    )


def seconds_of(search, Cs):
    """Return the seconds of a search over all C, and of how many C it was timed."""
    part = Cs[:: max(1, len(Cs) // 10)]
    search(part[:2])  # starts the processes
    started = time.perf_counter()
    search(part)
    expected = (time.perf_counter() - started) * len(Cs) / len(part)
    if expected > LONGEST:
        return expected, len(part)
    return min(seconds(lambda: search(Cs), 2 if expected < 10 else 1)), len(Cs)


def part_of(n_timed, n_candidates):
    return "" if n_timed == n_candidates else f" (from {n_timed} of {n_candidates} C)"


def failures_of_lbfgs(X, y, Cs):
    """Say for how many C lbfgs, scikit-learn's default, hits its limit of 100 iterations."""
    some = Cs[:: max(1, len(Cs) // 10)]
    count = 0
    for C in some:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            TheirRegression(C=C).fit(X, y)
        count += any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return f"lbfgs as it comes stops early for {count} of {len(some)} C"
