"""fit_many with features that an l1 penalty leaves alone: optima, the page's bound, no optimum."""

import warnings

import mpmath
import numpy as np
import pytest
import scipy.sparse
from fits import of_training, problem
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf
from metaopt_fast.reference import lasso as reference

PARTS = np.array([0.9, 0.3, 0.05])
FACTORS = np.array([1.0, 0.0, 2.0, 0.0, 1.0, 1.0])
NO_OPTIMUM = "penalty_factor is 0 for features by which a plane separates rows of one class"
OF_KIND = {"dense": np.asarray, "sparse": scipy.sparse.csr_array}


# ------------------------------------------------------------------------------------ the optimum


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", OF_KIND)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("ratio", "class_weight"), [(1.0, None), (0.4, "balanced")])
def test_each_model_of_each_fold_is_the_slow_twins(kind, fit_intercept, ratio, class_weight):
    X, y, folds, weights = problem()
    about = {"fit_intercept": fit_intercept, "class_weight": class_weight}
    strongest = mf.l1_max(OF_KIND[kind](X), y, weights, penalty_factor=FACTORS, **about)
    rows = of_training(X, y, weights, class_weight)
    assert strongest == pytest.approx(reference.l1_max(*rows, fit_intercept, FACTORS), rel=1e-9)
    l1 = strongest * PARTS
    l2 = (1 - ratio) / ratio * l1
    options = {"sample_weight": weights, "penalty_factor": FACTORS, **about}
    fits = mf.fit_many(OF_KIND[kind](X), y, l1=l1, l2=l2, folds=folds, tol=1e-10, **options)
    assert fits.converged.all() and fits.certified.all()
    for m, k in np.ndindex(fits.loss.shape):
        some = of_training(X[folds != k], y[folds != k], weights[folds != k], class_weight)
        wanted = reference.fit(*some, l1[m], l2[m], fit_intercept, f=FACTORS)
        np.testing.assert_allclose(fits.theta[m, k], wanted, atol=1e-4)
        value = reference.objective(wanted, *some, l1[m], l2[m], FACTORS)
        assert fits.loss[m, k] == pytest.approx(value, abs=1e-10)


@pytest.mark.sanitized
@pytest.mark.parametrize("kind", OF_KIND)
def test_from_l1_max_on_free_features_alone_have_weights(kind):
    X, y, _, weights = problem()
    options = {"sample_weight": weights, "penalty_factor": FACTORS}
    strongest = mf.l1_max(OF_KIND[kind](X), y, **options)
    l1 = strongest * np.array([2, 1, 0.999])
    fits = mf.fit_many(OF_KIND[kind](X), y, l2=0.0, l1=l1, **options)
    assert fits.n_nonzero.tolist() == [2, 2, 3] and fits.certified.all()
    alone = mf.fit_many(X[:, FACTORS == 0], y, l2=0.0, sample_weight=weights)
    used = np.append(FACTORS == 0, True)
    np.testing.assert_allclose(fits.theta[0, used], alone.theta[0], atol=1e-8)


def test_where_all_features_are_free_there_is_no_penalty():
    X, y, _, _ = problem()
    fits = mf.fit_many(X, y, l1=[0.5, 0.01], l2=0.0, penalty_factor=np.zeros(6))
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(X, y)
    for theta in fits.theta:
        np.testing.assert_allclose(theta, np.append(model.coef_[0], model.intercept_), atol=1e-6)
    assert fits.certified.all() and mf.l1_max(X, y, penalty_factor=np.zeros(6)) == 0


@pytest.mark.long(everywhere=True)
@settings(max_examples=settings.default.max_examples // 4)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(30, 300),
    n_features=st.integers(2, 60),
    n_free=st.integers(1, 6),
    part=st.floats(0.03, 1.2),
    tol=st.sampled_from([1e-3, 1e-9]),
    fit_intercept=st.booleans(),
)
def test_conditions_of_optimality_hold_and_no_theta_is_better_than_the_bound(
    seed, n_samples, n_features, n_free, part, tol, fit_intercept
):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n_samples, n_features)), rng.integers(0, 2, n_samples)
    y[:2] = [0, 1]
    f = np.where(np.arange(n_features) < n_free, 0.0, rng.uniform(0.5, 2, n_features))
    options = {"fit_intercept": fit_intercept, "penalty_factor": f}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        strongest = mf.l1_max(X, y, **options) if n_features > n_free else 1.0
        fits, tight = (
            mf.fit_many(X, y, l1=part * strongest, l2=0.0, tol=one, **options)
            for one in (tol, 1e-12)
        )
    assert fits.converged[0] and fits.gap_bound[0] <= tol
    rows, l1 = of_training(X, y, np.ones(n_samples)), part * strongest
    gradient = reference.gradient(tight.theta[0], *rows)[:n_features]
    noise = np.sqrt(tight.gap_bound[0]) + 1e-12
    assert (np.abs(gradient) <= l1 * f + noise).all()
    wide = [array.astype(np.longdouble) for array in (rows[0], rows[2])]
    found, best = (
        reference.objective(one.theta[0].astype(np.longdouble), wide[0], rows[1], wide[1], l1, 0, f)
        for one in (fits, tight)
    )
    assert found - best <= fits.gap_bound[0] + 1e-18


def test_standardised_columns_may_be_free_as_well():
    X, y, folds, _ = problem()
    scale = np.array([1.0, 30.0, 0.1, 5.0, 2.0, 1.0])
    options = {"l1": [0.05, 0.01], "l2": 0.0, "penalty_factor": FACTORS}
    fits = mf.fit_many(X * scale, y, folds=folds, standardize=True, tol=1e-11, **options)
    for f in range(3):
        train = X[folds != f]
        rows = (train - train.mean(axis=0)) / train.std(axis=0)
        one = mf.fit_many(rows, y[folds != f], tol=1e-11, **options)
        np.testing.assert_allclose(fits.loss[:, f], one.loss, atol=1e-10)
    assert fits.certified.all()


# --------------------------------------------------------------------------------- the page's bound


def test_a_curvature_times_the_square_of_its_decision_is_below_the_square_of_067():
    # With u = t / 2 it is u^2 / cosh(u)^2, which is largest where u tanh(u) = 1: u^2 - 1 there.
    u = mpmath.iv.mpf([1.2, 1.2])
    assert (u * (1 - 2 / (mpmath.iv.exp(2 * u) + 1))).a > 1  # so that root is below 1.2
    assert (u * u - 1).b < 0.67**2


@pytest.mark.long(everywhere=True)
@settings(max_examples=settings.default.max_examples // 10)
@given(
    seed=st.integers(0, 2**32 - 1),
    part=st.floats(0.01, 1.0),
    l2=st.sampled_from([0.0, 0.1]),
    fit_intercept=st.booleans(),
)
def test_the_dual_has_a_point_as_near_as_the_page_says(seed, part, l2, fit_intercept):
    """The point that the page constructs, in 50 digits: it keeps the constraints, lies within
    [0, 1], and its value is no further below the objective than the bound says."""
    rng = np.random.default_rng(seed)
    X, y, p = rng.normal(size=(14, 4)), np.arange(14) % 2, rng.uniform(1, 2, 14)
    theta, l1 = rng.normal(size=4) / 2, 0.1
    with mpmath.workdps(50):
        X, y, theta = mpmath.matrix(X.tolist()), [int(v) for v in y], [mpmath.mpf(v) for v in theta]
        p = [mpmath.mpf(v) for v in p]
        p = [v / mpmath.fsum(p) for v in p]
        n, free = range(14), [0, 1] if fit_intercept else [0]
        U = mpmath.matrix([[X[i, 0], 1][: len(free)] for i in n])
        # Near where what is free is the best: as near as `part` says.
        theta[0], b = _without_slopes(X, U, y, p, theta)
        theta[0] += part * mpmath.mpf("0.03")
        t = [mpmath.fsum(X[i, j] * theta[j] for j in range(4)) + b for i in n]
        sigma = [1 / (1 + mpmath.exp(-v)) for v in t]
        h = [s * (1 - s) for s in sigma]
        rho, G = _of_free(U, [p[i] * (sigma[i] - y[i]) for i in n], [p[i] * h[i] for i in n])
        c = -mpmath.lu_solve(G, rho)
        length = mpmath.sqrt(-(rho.T * c)[0])
        moves = [mpmath.fsum(U[i, k] * c[k] for k in range(len(free))) for i in n]
        assert max(map(abs, moves)) <= mpmath.mpf("0.25")
        pi = [sigma[i] + h[i] * moves[i] for i in n]
        assert all(0 <= v <= 1 for v in pi)
        for k in range(len(free)):
            assert abs(mpmath.fsum(p[i] * (pi[i] - y[i]) * U[i, k] for i in n)) < 1e-45
        penalised = range(1, 4)
        g, moved = (
            [mpmath.fsum(p[i] * (of[i] - y[i]) * X[i, j] for i in n) for j in penalised]
            for of in (sigma, pi)
        )
        for j in penalised:
            most = max(abs(X[i, j]) for i in n)
            assert abs(g[j - 1] - moved[j - 1]) <= length / 2 * most
        largest = max(map(abs, moved))
        s = 1 if l2 else min(1, l1 / largest)
        beyond = [max(0, abs(v) - l1) ** 2 for v in moved] if l2 else [0]
        entropies = [-v * mpmath.log(v) - (1 - v) * mpmath.log(1 - v) for v in _mixed(pi, y, s)]
        dual = mpmath.fsum(p[i] * entropies[i] for i in n)
        dual -= mpmath.fsum(beyond) / (2 * l2) if l2 else 0
        loss = mpmath.fsum(p[i] * (mpmath.log(1 + mpmath.exp(t[i])) - y[i] * t[i]) for i in n)
        weights = [theta[j] for j in penalised]
        price = l1 * mpmath.fsum(map(abs, weights)) + l2 / 2 * mpmath.fsum(w * w for w in weights)
        S = mpmath.fsum(p[i] * (sigma[i] - y[i]) * t[i] for i in n)
        bound = (1 - s) * loss + s * S + price + (mpmath.mpf("0.67") + length) * length
        bound += mpmath.fsum(beyond) / (2 * l2) if l2 else 0
        assert loss + price - dual <= bound


def _without_slopes(X, U, y, p, theta):
    """Weights of column 0, and an intercept if U has two columns, where their slopes vanish."""
    n, w, b = range(X.rows), theta[0], mpmath.mpf(0)
    for _ in range(20):
        t = [w * X[i, 0] + b + mpmath.fsum(X[i, j] * theta[j] for j in range(1, 4)) for i in n]
        sigma = [1 / (1 + mpmath.exp(-v)) for v in t]
        rho, G = _of_free(
            U,
            [p[i] * (sigma[i] - y[i]) for i in n],
            [p[i] * mpmath.mpf("0.25") for i in n],  # no less than the curvatures: always downhill
        )
        step = mpmath.lu_solve(G, rho)
        w -= step[0]
        b -= step[1] if U.cols > 1 else 0
    return w, b


def _of_free(U, residuals, curvatures):
    """Slopes and the Hessian of what has no penalty."""
    k, n = range(U.cols), range(U.rows)
    rho = mpmath.matrix([mpmath.fsum(residuals[i] * U[i, a] for i in n) for a in k])
    G = [[mpmath.fsum(curvatures[i] * U[i, a] * U[i, b] for i in n) for b in k] for a in k]
    return rho, mpmath.matrix(G)


def _mixed(pi, y, s):
    return [label + s * (one - label) for one, label in zip(pi, y, strict=True)]


# ------------------------------------------------------------------------------------- no optimum


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", OF_KIND)
@pytest.mark.parametrize("column", ["a plane", "rows of one class", "twice the same"])
def test_where_free_features_leave_no_optimum_nothing_has_converged(kind, column):
    X, y, _, _ = problem()
    X[:, 1] = {
        "a plane": y - 0.5,
        "rows of one class": (y == 1) & (np.arange(80) < 20),
        "twice the same": X[:, 3],
    }[column]
    options = {"l1": [0.1, 0.01], "l2": 0.0, "penalty_factor": FACTORS}
    with pytest.warns(RuntimeWarning, match=NO_OPTIMUM):
        fits = mf.fit_many(OF_KIND[kind](X), y, **options)
    assert (fits.status == "unproven").all() and not fits.converged.any()
    assert np.isinf(fits.gap_bound).all() and np.isfinite(fits.theta).all()
    with pytest.raises(ValueError, match=NO_OPTIMUM):
        mf.l1_max(OF_KIND[kind](X), y, penalty_factor=FACTORS)
    nearly = np.where(FACTORS == 0, 0.01, FACTORS)
    assert mf.fit_many(OF_KIND[kind](X), y, **options | {"penalty_factor": nearly}).certified.all()


def test_one_fold_without_an_optimum_leaves_the_others_theirs():
    X, y, folds, _ = problem()
    X[:, 1] = (y == 1) & (np.arange(80) < 40)
    X[np.flatnonzero((y == 0) & (folds == 1))[0], 1] = 1
    with pytest.warns(RuntimeWarning, match=NO_OPTIMUM):
        fits = mf.fit_many(X, y, l1=0.02, l2=0.0, folds=folds, penalty_factor=FACTORS)
    assert fits.converged[0].tolist() == [True, False, True]


@pytest.mark.parametrize("kind", OF_KIND)
def test_a_free_feature_that_is_0_in_a_training_set_has_no_say_there(kind):
    X, y, folds, _ = problem()
    X[folds != 1, 3] = 0
    asked = {"l1": 0.02, "l2": 0.0, "penalty_factor": FACTORS}
    fits = mf.fit_many(OF_KIND[kind](X), y, folds=folds, tol=1e-11, **asked)
    assert fits.certified.all()
    some = np.delete(np.arange(6), 3)
    train = folds != 1
    asked["penalty_factor"] = FACTORS[some]
    one = mf.fit_many(X[np.ix_(train, some)], y[train], tol=1e-11, **asked)
    assert fits.loss[0, 1] == pytest.approx(one.loss[0], abs=1e-10)


def test_raw_columns_and_steps_cut_short_are_proven_or_said_not_to_be():
    X, y, _, _ = problem()
    X[:, 1] = 1e5 + 300 * X[:, 1]
    asked = {"l1": np.geomspace(0.1, 1e-3, 6), "l2": 0.0, "penalty_factor": FACTORS}
    assert mf.fit_many(X, y, **asked).certified.all()
    with pytest.warns(RuntimeWarning, match="did not converge in 1 iterations"):
        fits = mf.fit_many(X, y, max_iter=1, tol=1e-14, **asked)
    assert (fits.converged == (fits.gap_bound <= 1e-14 * np.maximum(1, fits.loss))).all()


def test_a_step_that_ends_far_from_the_dual_proves_nothing():
    X, y, _, _ = problem(seed=10)
    X[:, 1] += 30 * X[:, 0]
    asked = {"l1": [0.1, 1e-3], "l2": 0.0, "penalty_factor": FACTORS}
    with pytest.warns(RuntimeWarning, match="did not converge in 1 iterations"):
        fits = mf.fit_many(X, y, max_iter=1, **asked)
    assert np.isinf(fits.gap_bound).all() and (fits.status == "max_iter").all()
    assert mf.fit_many(X, y, **asked).certified.all()


# --------------------------------------------------------------------------------- bits, and limits


@pytest.mark.parametrize("shape", [(120, 10), (60, 2100)], ids=["cached", "together"])
def test_the_bits_are_those_of_any_number_of_threads(shape, full_teams):
    X, y, folds, _ = problem(*shape)
    f = np.where(np.arange(shape[1]) < 2, 0.0, 1.0)
    l1 = mf.l1_max(X, y, penalty_factor=f) * np.array([0.5, 0.3])
    asked = {"l1": l1, "l2": 0.0, "folds": folds, "penalty_factor": f}
    wanted = mf.fit_many(X, y, n_threads=1, **asked)
    found = mf.fit_many(X, y, n_threads=3, **asked)
    np.testing.assert_array_equal(found.theta, wanted.theta)
    np.testing.assert_array_equal(found.gap_bound, wanted.gap_bound)


def test_starts_and_features_left_out_are_taken_beside_free_ones():
    X, y, _, _ = problem()
    f = np.array([0.0, np.inf, 1.0, 0.0, 1.0, 1.0])
    asked = {"l1": [0.05, 0.01], "l2": 0.0, "tol": 1e-11}
    fits = mf.fit_many(X, y, penalty_factor=f, theta0=np.ones(7), **asked)
    some = np.isfinite(f)
    one = mf.fit_many(X[:, some], y, penalty_factor=f[some], **asked)
    np.testing.assert_array_equal(fits.theta[:, np.append(some, True)], one.theta)
    assert mf.l1_max(X, y, penalty_factor=f) == pytest.approx(
        mf.l1_max(X[:, some], y, penalty_factor=f[some]), rel=1e-12
    )


def test_more_free_features_than_128_are_refused_with_the_cure():
    X, y, _, _ = problem(80, 130)
    with pytest.raises(ValueError, match="penalty_factor is 0 for 129 features beside an l1"):
        mf.fit_many(X, y, l1=0.1, l2=0.0, penalty_factor=np.append(np.zeros(129), 1.0))
