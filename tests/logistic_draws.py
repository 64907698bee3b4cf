"""Random data sets of many kinds, what `fit_many` says of them, and what is true of it."""

import warnings
from dataclasses import dataclass

import numpy as np
from exact_optimum import EPS, Exact
from sklearn.exceptions import ConvergenceWarning

import metaopt_fast as mf
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

KINDS = ("standardised", "of any units", "far from 0")
# More columns than rows and no penalty: the least objective is 0, and nothing has it.
UNBOUNDED = "without an optimum"
# A row far out, polynomials, near copies, random walks: of these, no share has to converge.
DEPENDENT = "nearly dependent"
TOLS = (1e-8, 1e-8, 1e-8, 1e-4)
# A converged objective is no further above the optimum than the largest of them and tol.
ABOVE, PART_ABOVE = 1e-6, 1e-3
# The judge's own rounding, as a part of the objective.
UNKNOWN = 100 * EPS
# Without a penalty, columns that depend on each other but for this part of theirs are dependent: it
# is the rounding of their own numbers, which weights of 1e13 and more would be fitted to.
OF_COLUMNS = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Draw:
    """A data set and its penalty: what a seed draws."""

    kind: str
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    l2: float
    fit_intercept: bool
    tol: float
    # Which call is tried: one model, one among many penalties, one of folds, the estimator.
    call: str

    def __str__(self):
        n, p = self.X.shape
        return (
            f"{self.call}, {n} x {p} {self.kind}, l2={self.l2:.2g}, "
            f"tol={self.tol:g}, "
            f"{'weights, ' * (self.weights is not None)}"
            f"{'an intercept' if self.fit_intercept else 'no intercept'}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a model says of itself, and how far its objective is above the least one."""

    draw: Draw
    converged: bool
    certified: bool
    warned: bool
    gap_bound: float
    # Of the objective at theta, from the judge's best one; and the judge's own uncertainty.
    gap: float
    loss: float
    unsure: float
    # Of `gap`, what is more than rounding of the columns.
    left: float

    @property
    def is_false(self):
        return self.converged and self.left > max(
            self.draw.tol, ABOVE, PART_ABOVE * (self.loss - self.left)
        )

    @property
    def is_silent(self):
        return not self.converged and not self.warned

    @property
    def lies(self):
        """Whether the bound or the certificate is proven wrong."""
        unknown = UNKNOWN * self.loss + 10 * abs(self.unsure)
        bound = self.gap_bound
        if self.certified:
            bound = min(bound, self.draw.tol * max(1.0, self.loss))
        return not self.gap <= bound + unknown

    def wrong(self):
        """What is wrong with it, by name."""
        return {"false": self.is_false, "silent": self.is_silent, "lie": self.lies}

    def __str__(self):
        words = [word for word in ("converged", "certified", "warned") if getattr(self, word)]
        return (
            f"{self.draw}: loss {self.loss:.4g}, {self.gap:.3g} above the least, gap_bound "
            f"{self.gap_bound:.3g}, {', '.join(words) or 'no word'}"
        )


def draw(seed, kind=None, most_features=400):
    """A data set of 10 to 80 rows; `kind` is one of KINDS, each third of the seeds by default."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % 3] if kind is None else kind
    n = int(rng.integers(10, 81))
    p = round(np.exp(rng.uniform(0, np.log(most_features))))
    if kind == UNBOUNDED:
        p = max(p, n + 1)
    X = dependent_features(rng, n, p) if kind == DEPENDENT else features(rng, n, p)
    n, p = X.shape
    spread = X.std(axis=0)
    standard = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    y = labels(rng, standard)
    if kind == "standardised":
        X = standard
    elif kind != DEPENDENT:
        X = X * 10.0 ** rng.uniform(-4, 6, p)
    if kind == "far from 0":
        far = rng.random(p) < rng.uniform(0.1, 1)
        X = X + np.where(far, 10.0 ** rng.uniform(0, 8, p) * rng.choice([-1, 1], p), 0)
    weights = rng.exponential(size=n) if rng.random() < 0.25 else None
    total = n if weights is None else weights.sum()
    l2 = 1 / (10.0 ** rng.uniform(-4, 8) * total)
    fit_intercept = bool(rng.integers(2))
    calls = [
        "one model",
        "one model",
        "one of 40 penalties",
        "one of 2 folds",
        "the estimator",
        "a search",
    ]
    call = str(rng.choice(calls if p <= 40 else ["one model", "one model", "the estimator"]))
    if call == "one model" and 4 * p < n and rng.random() < 0.4:
        # Separable rows have no optimum: bounded is what the judge can prove to be.
        free = Exact(X, y, weights, l2=0.0, fit_intercept=fit_intercept).minimise()
        l2 = 0.0 if np.isfinite(free.bound) else l2
    if kind == UNBOUNDED:
        l2, call = float(rng.choice([0.0, 1e-20])), "one model"
    return Draw(kind, X, y, weights, l2, fit_intercept, float(rng.choice(TOLS)), call)


def features(rng, n, p):
    """Columns of about unit scale, of one of six shapes."""
    shape = rng.integers(6)
    if shape == 0:
        return rng.lognormal(0, 1.2, size=(n, p))
    if shape == 1:
        return rng.standard_t(2, size=(n, p))
    if shape == 2:
        return (rng.random((n, p)) < rng.uniform(0.1, 0.9, p)).astype(float)
    if shape == 3:  # correlated, as spectra are
        few = max(1, p // 4)
        return rng.normal(size=(n, few)) @ rng.normal(size=(few, p)) + 0.01 * rng.normal(
            size=(n, p)
        )
    return rng.normal(size=(n, p))


def dependent_features(rng, n, p):
    """Columns whose Hessian has eigenvalues near the rounding of the largest."""
    X = rng.normal(size=(n, p))
    shape = rng.integers(4)
    if shape == 0:
        X[0] *= 10.0 ** rng.uniform(0, 12)
        return X
    if shape == 1:
        return np.vander(np.linspace(1, 3, n), min(p, 14))
    if shape == 2:
        return X[:, rng.integers(p, size=p)] + 10.0 ** rng.uniform(-12, -2) * X
    return np.cumsum(X, axis=1) + 10.0 ** rng.uniform(0, 8)


def labels(rng, standard):
    """Labels of no, a noisy, or a clear relation to the features; two of each class at least."""
    n, p = standard.shape
    margins = standard @ (rng.normal(size=p) * (rng.random(p) < 0.5)) * 2 / np.sqrt(p)
    noise = rng.choice([0.0, 1.0, 1.0, 100.0])
    y = (margins + noise * rng.logistic(size=n) > 0).astype(int)
    y[rng.permutation(n)[:4]] = [0, 0, 1, 1]
    return y


def judge(case, seed=0):
    """Train the drawn model by the drawn call, and judge what it says of itself."""
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows, l2, theta, converged, certified, gap_bound = CALLS[case.call](case, rng)
    warned = any(issubclass(w.category, (RuntimeWarning, ConvergenceWarning)) for w in caught)
    weights = None if case.weights is None else case.weights[rows]
    exact = Exact(case.X[rows], case.y[rows], weights, l2=l2, fit_intercept=case.fit_intercept)
    best, loss = exact.minimise(), exact.loss(theta)
    gap = left = float(loss - best.loss)
    if l2 == 0 and gap > 0:
        left = min(gap, float(loss - least_of_columns(exact)))
    return Verdict(
        case,
        bool(converged),
        bool(certified),
        warned,
        float(gap_bound),
        gap,
        float(loss),
        # Where nothing is proven, the gap is at least what it is from the judge's best.
        float(best.gap) if np.isfinite(best.gap) else 0.0,
        left,
    )


def least_of_columns(exact):
    """The least loss without a penalty, of columns that are independent by more than rounding."""
    _, exponents = np.frexp(np.abs(exact.X).max(axis=0))
    columns = np.ldexp(exact.X, -exponents)  # the same models, of columns of one size
    if exact.fit_intercept:
        columns = np.column_stack([columns, np.ones(len(columns))])
    found = Exact(columns, exact.sign > 0, exact.w, l2=0.0, fit_intercept=False)
    return found.minimise(nothing=OF_COLUMNS).loss


def fit_one(case, rng):
    return one_of(case, np.array([case.l2]), None, rng)


def fit_path(case, rng):
    return one_of(case, case.l2 * np.geomspace(1e-3, 1e3, 40), None, rng)


def fit_folds(case, rng):
    # Rows of each class in turn: no fold takes all of one.
    folds = np.empty(len(case.y), int)
    folds[np.argsort(case.y, kind="stable")] = np.arange(len(case.y)) % 2
    return one_of(case, case.l2 * np.geomspace(1e-2, 1e2, 20), folds, rng)


def one_of(case, penalties, folds, rng):
    """Fit all penalties, and return what is known of a random one."""
    fits = mf.fit_many(
        case.X,
        case.y,
        l2=penalties,
        folds=folds,
        sample_weight=case.weights,
        fit_intercept=case.fit_intercept,
        tol=case.tol,
        n_threads=1,
    )
    m, rows = int(rng.integers(len(penalties))), np.ones(len(case.y), bool)
    at = (m,) if folds is None else (m, int(rng.integers(2)))
    if folds is not None:
        rows = folds != at[1]
    # A model among others that did not converge is no reason for a warning, nor excused by one.
    return (
        rows,
        penalties[m],
        fits.theta[at],
        fits.converged[at],
        fits.certified[at],
        (fits.gap_bound[at]),
    )


def fit_estimator(case, rng):
    model = LogisticRegression(
        l2=case.l2, fit_intercept=case.fit_intercept, tol=case.tol, n_threads=1
    )
    return result_of(model, converges(model, case), case.l2)


def fit_search(case, rng):
    """Search among one C: the model of all rows starts from those of the folds."""
    total = len(case.y) if case.weights is None else case.weights.sum()
    C = float(1 / (case.l2 * total))
    search = LogisticRegressionSearchCV(
        1, {"C": [C]}, cv=2, fit_intercept=case.fit_intercept, tol=case.tol, n_threads=1
    )
    converged = converges(search, case)
    return result_of(search.best_estimator_, converged, 1 / (C * total))


def converges(estimator, case):
    """Fit an estimator, and say whether it warns of no convergence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(case.X, case.y, case.weights)
    for one in caught:
        warnings.warn(one.message, stacklevel=1)
    return not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def result_of(model, converged, l2):
    theta = np.append(model.coef_[0], model.intercept_) if model.fit_intercept else model.coef_[0]
    return slice(None), l2, theta, converged, model.certified_, model.gap_bound_


CALLS = {
    "one model": fit_one,
    "one of 40 penalties": fit_path,
    "one of 2 folds": fit_folds,
    "the estimator": fit_estimator,
    "a search": fit_search,
}
