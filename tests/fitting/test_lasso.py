"""fit_many with l1: optima of others, conditions of optimality, bounds that hold, wrong input."""

import warnings

import numpy as np
import pytest
from fits import of_training, problem
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

import metaopt_fast as mf
from metaopt_fast.fitting.lasso import paths_of
from metaopt_fast.reference import lasso as reference
from metaopt_fast.sklearn import LogisticRegression as Ours
from metaopt_fast.sklearn import LogisticRegressionSearchCV

PARTS = np.array([0.9, 0.3, 0.1, 0.02])


def true_gap(theta, rows, positive, w, l1, l2):
    """How far the objective is above the twin's, in extended precision."""
    best = reference.fit(rows, positive, w, l1, l2, len(theta) > rows.shape[1])
    wide = [array.astype(np.longdouble) for array in (theta, best, rows, w)]
    at_theta, at_best = (
        reference.objective(one, wide[2], positive, wide[3] / wide[3].sum(), l1, l2)
        for one in wide[:2]
    )
    return float(at_theta - at_best)


# ------------------------------------------------------------------------------------ the optimum


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_each_model_of_each_fold_is_the_slow_twins(ratio, class_weight, fit_intercept):
    X, y, folds, weights = problem()
    options = {"fit_intercept": fit_intercept, "class_weight": class_weight}
    strengths = mf.l1_max(X, y, weights, **options) / ratio * PARTS
    fits = mf.fit_many(
        X,
        y,
        l1=ratio * strengths,
        l2=(1 - ratio) * strengths,
        folds=folds,
        sample_weight=weights,
        tol=1e-10,
        **options,
    )
    assert fits.converged.all() and fits.certified.all()
    for m, f in np.ndindex(fits.loss.shape):
        train, test = folds != f, folds == f
        rows = of_training(X[train], y[train], weights[train], class_weight)
        wanted = reference.fit(
            *rows, ratio * strengths[m], (1 - ratio) * strengths[m], fit_intercept
        )
        np.testing.assert_allclose(fits.theta[m, f], wanted, atol=1e-4)
        value = reference.objective(wanted, *rows, ratio * strengths[m], (1 - ratio) * strengths[m])
        assert fits.loss[m, f] == pytest.approx(value, abs=1e-10)
        assert fits.n_nonzero[m, f] == np.count_nonzero(wanted[:6])
        decisions = X[test] @ fits.theta[m, f, :6] + (fits.theta[m, f, 6] if fit_intercept else 0)
        p = 1 / (1 + np.exp(-decisions))
        loss = log_loss(y[test], p, sample_weight=weights[test])
        assert fits.validation_loss[m, f] == pytest.approx(loss, rel=1e-12)
        accuracy = accuracy_score(y[test], decisions > 0, sample_weight=weights[test])
        assert fits.validation_accuracy[m, f] == pytest.approx(accuracy)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_breast_cancer_is_sagas(ratio):
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    C = np.array([0.01, 0.1])
    strengths = 1 / (C * len(y))
    fits = mf.fit_many(X, y, l1=ratio * strengths, l2=(1 - ratio) * strengths, tol=1e-12)
    for theta, one in zip(fits.theta, C, strict=True):
        model = LogisticRegression(C=one, l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=20_000)
        model.fit(X, y)
        np.testing.assert_allclose(theta[:-1], model.coef_[0], atol=1e-6)
        np.testing.assert_allclose(theta[-1], model.intercept_[0], atol=1e-6)


def test_without_an_intercept_it_is_liblinears():
    X, y, _, _ = problem(200)
    for C in (0.05, 1.0):
        theta = mf.fit_many(X, y, l2=0, l1=1 / (C * 200), fit_intercept=False, tol=1e-11).theta[0]
        model = LogisticRegression(
            C=C, l1_ratio=1, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=10_000
        )
        np.testing.assert_allclose(theta, model.fit(X, y).coef_[0], atol=1e-6)


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(6, 60),
    n_features=st.integers(1, 90),
    ratio=st.sampled_from([1.0, 0.9, 0.2]),
    part=st.floats(0.05, 1.2),
    fit_intercept=st.booleans(),
)
def test_conditions_of_optimality_hold(seed, n_samples, n_features, ratio, part, fit_intercept):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n_samples, n_features)), np.arange(n_samples) % 2
    strength = part * mf.l1_max(X, y, fit_intercept=fit_intercept) / ratio
    l1, l2 = ratio * strength, (1 - ratio) * strength
    fits = mf.fit_many(X, y, l1=l1, l2=l2, fit_intercept=fit_intercept, tol=1e-9)
    # A proximal step that is as long as the curvature allows gains |move|^2 / (2 step) or more.
    full = np.column_stack([X, np.ones((n_samples, int(fit_intercept)))])
    step = 4 * n_samples / np.linalg.eigvalsh(full.T @ full).max()
    theta, w = fits.theta[0], np.full(n_samples, 1 / n_samples)
    moved = theta - step * reference.gradient(theta, X, y == 1, w)
    weights = moved[:n_features]
    weights[:] = reference.soft_threshold(weights, step * l1) / (1 + step * l2)
    assert np.square(moved - theta).sum() / (2 * step) <= fits.gap_bound[0]
    assert fits.gap_bound[0] <= 1e-9


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_factors_of_penalties_are_the_slow_twins(ratio, fit_intercept):
    X, y, folds, weights = problem()
    f = np.array([0.2, 1.0, 3.0, 0.7, 1.0, 30.0])
    strongest = mf.l1_max(X, y, weights, fit_intercept, penalty_factor=f)
    assert strongest == pytest.approx(
        reference.l1_max(*of_training(X, y, weights), fit_intercept, f), rel=1e-12
    )
    l1 = strongest * PARTS
    l2 = (1 - ratio) / ratio * l1
    options = {"sample_weight": weights, "fit_intercept": fit_intercept, "penalty_factor": f}
    fits = mf.fit_many(X, y, l1=l1, l2=l2, folds=folds, tol=1e-10, **options)
    assert fits.certified.all()
    for m, k in np.ndindex(fits.loss.shape):
        rows = of_training(X[folds != k], y[folds != k], weights[folds != k])
        wanted = reference.fit(*rows, l1[m], l2[m], fit_intercept, f=f)
        np.testing.assert_allclose(fits.theta[m, k], wanted, atol=1e-4)
        value = reference.objective(wanted, *rows, l1[m], l2[m], f)
        assert fits.loss[m, k] == pytest.approx(value, abs=1e-10)
    for at, wanted in ((strongest, 0), (0.999 * strongest, 1)):
        assert mf.fit_many(X, y, l1=at, l2=0, **options).n_nonzero.tolist() == [wanted]


def test_factors_are_units_of_columns_and_of_penalties():
    """A column divided by its factor has its l1 penalty multiplied by it: the adaptive lasso."""
    X, y, folds, _ = problem(120, 30)
    f = np.random.default_rng(1).uniform(0.1, 10, 30)
    l1 = mf.l1_max(X, y, penalty_factor=f) * np.array([0.5, 0.1, 0.01])
    fits = mf.fit_many(X, y, l2=0, l1=l1, folds=folds, penalty_factor=f, tol=1e-11)
    scaled = mf.fit_many(X / f, y, l2=0, l1=l1, folds=folds, tol=1e-11)
    np.testing.assert_allclose(fits.theta[..., :-1], scaled.theta[..., :-1] / f, atol=1e-4)
    np.testing.assert_allclose(fits.loss, scaled.loss, atol=2e-11)
    np.testing.assert_allclose(fits.validation_loss, scaled.validation_loss, atol=1e-4)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_features_of_an_infinite_factor_are_left_out(fit_intercept):
    X, y, folds, _ = problem()
    f = np.array([1.0, np.inf, 2.0, np.inf, 1.0, 1.0])
    used, n = np.isfinite(f), int(fit_intercept)
    options = {"l2": 0.01, "l1": [0.05, 0.01], "folds": folds, "fit_intercept": fit_intercept}
    fits = mf.fit_many(X, y, penalty_factor=f, theta0=np.ones(6 + n), **options)
    some = mf.fit_many(X[:, used], y, penalty_factor=f[used], theta0=np.ones(4 + n), **options)
    np.testing.assert_array_equal(fits.theta[..., :6][..., used], some.theta[..., :4])
    assert (fits.theta[..., :6][..., ~used] == 0).all()
    np.testing.assert_array_equal(fits.validation_loss, some.validation_loss)
    assert mf.l1_max(X, y, penalty_factor=f) == mf.l1_max(X[:, used], y, penalty_factor=f[used])


def test_factors_of_one_change_no_bit():
    X, y, folds, _ = problem(100, 40)
    for l2 in (0.0, 0.01):
        options = {"l2": l2, "l1": [0.05, 0.01], "folds": folds}
        plain, ones = (
            mf.fit_many(X, y, **options),
            mf.fit_many(X, y, penalty_factor=np.ones(40), **options),
        )
        np.testing.assert_array_equal(plain.theta, ones.theta)
        np.testing.assert_array_equal(plain.gap_bound, ones.gap_bound)


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.sampled_from([1.0, 0.5]),
    tol=st.sampled_from([1e-3, 1e-8]),
    spread=st.floats(0, 3),
)
def test_the_gap_is_never_above_its_bound_with_factors(seed, ratio, tol, spread):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(30, 8)), np.arange(30) % 2
    f = 10.0 ** (spread * rng.uniform(-1, 1, 8))
    l1 = ratio * 0.2 * mf.l1_max(X, y, penalty_factor=f)
    l2 = (1 - ratio) * 0.2 * l1
    fits = mf.fit_many(X, y, l1=l1, l2=l2, penalty_factor=f, tol=tol)
    rows = of_training(X, y, np.ones(30))
    best = reference.fit(*rows, l1, l2, f=f, max_iter=20_000)
    at_theta, at_best = (
        reference.objective(one, *rows, l1, l2, f) for one in (fits.theta[0], best)
    )
    assert at_theta - at_best <= fits.gap_bound[0] + 1e-15
    assert fits.converged[0] and fits.gap_bound[0] <= tol


def test_from_l1_max_on_there_is_no_weight_and_below_it_there_is():
    X, y, _, weights = problem()
    for options in ({}, {"fit_intercept": False}, {"class_weight": "balanced"}):
        strongest = mf.l1_max(X, y, weights, **options)
        rows = of_training(X, y, weights, options.get("class_weight"))
        wanted = reference.l1_max(*rows, options.get("fit_intercept", True))
        assert strongest == pytest.approx(wanted, rel=1e-12)
        l1 = strongest * np.array([2, 1, 0.999])
        fits = mf.fit_many(X, y, l2=0.0, l1=l1, sample_weight=weights, **options)
        assert fits.n_nonzero.tolist() == [0, 0, 1]
        assert fits.converged.all()


def test_the_slow_twin_gives_what_it_has_after_its_last_step():
    X, y, _, _ = problem()
    rows = of_training(X, y, np.ones(80))
    one, many = (reference.fit(*rows, 0.01, max_iter=n) for n in (1, 100_000))
    values = [reference.objective(theta, *rows, 0.01, 0.0) for theta in (0 * one, one, many)]
    assert values == sorted(values, reverse=True) and values[1] > values[2] + 1e-3


# ------------------------------------------------------------------------------------- the bounds


@pytest.mark.long(everywhere=True)
@pytest.mark.filterwarnings("ignore:.*rounding hides")
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_gap_is_never_above_its_bound(tol, ratio, fit_intercept):
    X, y, _, weights = problem()
    strengths = mf.l1_max(X, y, weights, fit_intercept) / ratio * PARTS
    l1, l2 = ratio * strengths, (1 - ratio) * strengths
    fits = mf.fit_many(
        X, y, l1=l1, l2=l2, sample_weight=weights, fit_intercept=fit_intercept, tol=tol
    )
    assert (fits.converged == (fits.gap_bound <= tol * np.maximum(1, fits.loss))).all()
    rows = of_training(X, y, weights)
    for m, theta in enumerate(fits.theta):
        assert true_gap(theta, *rows, l1[m], l2[m]) <= fits.gap_bound[m]
        value = reference.objective(theta, *rows, l1[m], l2[m])
        assert fits.loss[m] == pytest.approx(value, rel=1e-13)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("max_iter", [1, 2, 3])
def test_the_gap_is_never_above_its_bound_where_the_work_was_cut_short(max_iter):
    X, y, _, _ = problem(n_features=12)
    l1 = mf.l1_max(X, y) * np.array([0.1, 0.01])
    with pytest.warns(RuntimeWarning, match="did not converge in . iterations: pass a larger max"):
        fits = mf.fit_many(X, y, l2=[0.0, 1e-3], l1=l1, tol=1e-13, max_iter=max_iter)
    assert (fits.status[~fits.converged] == "max_iter").all() and (fits.n_iter <= max_iter).all()
    rows = of_training(X, y, np.ones(80))
    for m, theta in enumerate(fits.theta):
        assert true_gap(theta, *rows, l1[m], [0.0, 1e-3][m]) <= fits.gap_bound[m] < np.inf


def test_where_rounding_ends_the_steps_a_warning_says_so():
    X, y, _, _ = problem()
    with pytest.warns(RuntimeWarning, match="where rounding hides what is left to gain"):
        fits = mf.fit_many(X, y, l2=0, l1=0.01, tol=1e-17)
    assert fits.status.tolist() == ["rounding"] and not fits.converged[0]
    assert fits.gap_bound[0] < 1e-11


@pytest.mark.filterwarnings("ignore:.*rounding hides")
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_bound_is_below_the_rounding_of_the_loss(fit_intercept):
    # With l2, what slopes are beyond l1 adds their squares alone.
    for seed in range(5):
        X, y, _, _ = problem(seed=seed)
        strengths = mf.l1_max(X, y, None, fit_intercept) * np.array([3, 0.9, 0.3, 0.1, 0.02])
        fits = mf.fit_many(X, y, l1=strengths, l2=strengths, fit_intercept=fit_intercept, tol=1e-17)
        assert (fits.gap_bound >= 2.0**-52 * fits.loss).all()
        assert (fits.gap_bound < 1e-11).all() and not fits.converged.any()


@pytest.mark.parametrize("standardized", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_weak_penalties_on_nearly_separable_rows_are_certified(ratio, standardized):
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0) if standardized else X
    # Of raw columns, the largest is 4254: rounding hides what weaker penalties leave.
    strengths = 1 / (len(y) * np.array([1.0, 10.0, 1000.0][: 3 if standardized else 2]))
    fits = mf.fit_many(X, y, l1=ratio * strengths, l2=(1 - ratio) * strengths)
    assert fits.certified.all() and fits.converged.all()


# ------------------------------------------------------------------------------- shapes, and bits


def test_penalties_are_paired_and_broadcast_together():
    X, y, folds, _ = problem()
    of_both = mf.fit_many(X, y, l1=[0.02, 0.01], l2=[0.1, 0.0], folds=folds)
    of_one = mf.fit_many(X, y, l1=[0.02, 0.01], l2=0.1, folds=folds)
    each = mf.fit_many(X, y, l1=np.full((2, 3), [[0.02], [0.01]]), l2=[0.1, 0.0], folds=folds)
    assert of_both.theta.shape == of_one.theta.shape == (2, 3, 7)
    np.testing.assert_allclose(of_both.loss[0], of_one.loss[0], atol=2e-8)
    np.testing.assert_array_equal(of_both.theta, each.theta)


def test_models_without_an_l1_penalty_keep_their_bits_beside_others():
    X, y, folds, weights = problem()
    options = {"folds": folds, "sample_weight": weights, "class_weight": "balanced"}
    l2 = np.array([1e-3, 1e-2, 1e-1, 1.0])
    mixed = mf.fit_many(X, y, l2=l2, l1=[0, 0.01, 0, 0.02], **options)
    alone = mf.fit_many(X, y, l2=l2[[0, 2]], **options)
    sparse = mf.fit_many(X, y, l2=l2[[1, 3]], l1=[0.01, 0.02], **options)
    for name in ("theta", "loss", "gap_bound", "validation_loss", "n_nonzero", "status"):
        np.testing.assert_array_equal(getattr(mixed, name)[[0, 2]], getattr(alone, name))
        np.testing.assert_array_equal(getattr(mixed, name)[[1, 3]], getattr(sparse, name))


@pytest.mark.parametrize("shape", [(120, 10), (60, 2100)], ids=["cached", "together"])
def test_the_bits_are_those_of_any_number_of_threads_and_of_a_fold_alone(shape, full_teams):
    X, y, folds, _ = problem(*shape)
    l1 = mf.l1_max(X, y) * np.array([0.5, 0.3, 0.2])
    wanted = mf.fit_many(X, y, l2=0, l1=l1, folds=folds, n_threads=1)
    for n_threads in (2, 3):
        found = mf.fit_many(X, y, l2=0, l1=l1, folds=folds, n_threads=n_threads)
        np.testing.assert_array_equal(found.theta, wanted.theta)
        np.testing.assert_array_equal(found.gap_bound, wanted.gap_bound)


@pytest.mark.sanitized
def test_more_parameters_than_hessians_may_have_are_fitted():
    X, y, _, _ = problem(40, 5000)
    l1 = mf.l1_max(X, y) * np.geomspace(1, 0.1, 5)
    fits = mf.fit_many(X, y, l2=0, l1=l1)
    assert fits.converged.all() and fits.theta.shape == (5, 5001)
    # Only the first few hundred largest slopes matter to the optimum.
    used = np.flatnonzero(fits.theta[-1, :-1])
    some = mf.fit_many(X[:, used], y, l2=0, l1=l1[-1])
    assert some.loss[0] == pytest.approx(fits.loss[-1], abs=2e-8)


def test_models_of_one_ratio_or_of_one_l2_are_one_path():
    l1 = np.array([0.1, 0.4, 0.2])
    assert [path.tolist() for path in paths_of(l1, 0.3 * l1)] == [[1, 2, 0]]
    assert [path.tolist() for path in paths_of(l1, np.full(3, 0.5))] == [[1, 2, 0]]
    four = paths_of(np.array([0.1, 0.2, 0.05, 0.1]), np.array([0.0, 0.0, 0.05, 0.1]))
    assert sorted(path.tolist() for path in four) == [[1, 0], [3, 2]]


def test_a_start_at_the_optimum_has_little_to_do():
    X, y, _, _ = problem()
    first = mf.fit_many(X, y, l2=0, l1=0.01, tol=1e-11)
    again = mf.fit_many(X, y, l2=0, l1=0.01, theta0=first.theta)
    assert again.n_iter[0] == 1 < first.n_iter[0] and again.converged.all()
    far = mf.fit_many(X, y, l2=0, l1=0.01, theta0=1e3 * np.ones(7))
    assert far.loss[0] == pytest.approx(first.loss[0], abs=2e-8)


def test_X_may_lie_in_memory_as_it_likes():
    X, y, _, _ = problem(70)
    X = X.round(1)
    wanted = mf.fit_many(X, y, l2=0, l1=0.02).theta
    for same in (np.asfortranarray(X), X.astype(object), X[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(mf.fit_many(same, y, l2=0, l1=0.02).theta, wanted)


# ------------------------------------------------------------------------------------ odd columns


def test_constant_and_duplicate_columns_do_no_harm():
    X, y, _, _ = problem()
    wide = np.column_stack([X, np.ones(80), np.zeros(80), X[:, 0], 1e6 + X[:, 1]])
    l1 = mf.l1_max(X, y) * np.array([0.3, 0.01])
    fits, plain = (mf.fit_many(rows, y, l2=0, l1=l1) for rows in (wide, X))
    assert fits.converged.all()
    assert (fits.theta[:, 6:8] == 0).all()
    # The last column is one of X's at another place.
    np.testing.assert_allclose(fits.loss, plain.loss, atol=2e-8)


@pytest.mark.parametrize("exponent", [-150, -20, 20, 150])
def test_units_of_columns_are_units_of_the_penalty(exponent):
    X, y, _, _ = problem()
    scale = 10.0**exponent
    fits = mf.fit_many(X * scale, y, l2=0, l1=[0.05 * scale, 0.01 * scale])
    wanted = mf.fit_many(X, y, l2=0, l1=[0.05, 0.01])
    assert fits.converged.all()
    np.testing.assert_allclose(fits.theta[:, :-1] * scale, wanted.theta[:, :-1], atol=1e-3)


def test_separable_rows_end_certified_or_say_that_they_are_not():
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]])
    fits = mf.fit_many(X, [1, 1, 0, 0], l2=0, l1=[1e-2, 1e-4, 1e-6])
    assert fits.converged.all()


def test_without_any_penalty_separable_rows_warn():
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]])
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fits = mf.fit_many(X, [1, 1, 0, 0], l2=0, l1=[1e-2, 0.0])
    assert fits.certified.tolist() == [True, False]
    assert any("l2 is 0 and an optimum could not be certified" in str(w.message) for w in found)


# -------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"l1": -1.0}, r"l1 has -1.0: pass a number"),
        ({"l1": [0.1, np.nan]}, r"l1 has nan: pass a number"),
        ({"l1": None}, "l1 is None: pass a number"),
        ({"l1": "strong"}, r"l1 is 'strong' \(of type str\): pass a number"),
        ({"l1": [0.1, 0.2, 0.3]}, "l1 has 3 entries, but l2 has 2: pass one for each model"),
        ({"l1": [[0.1, 0.2]]}, r"l1 has shape \(1, 2\), but there are no folds"),
        ({"l1": [], "l2": 0.0}, r"l1 has shape \(0,\)"),
        ({"class_weight": [None] * 3, "l1": 0.1}, "class_weight has 3 entries, but l2 has 2"),
        ({"penalty_factor": [1.0, 2.0], "l1": 0.1}, r"penalty_factor has shape \(2,\), but X has"),
        ({"penalty_factor": [-0.5] * 6, "l1": 0.1}, "penalty_factor has -0.5 beside an l1 penalt"),
        ({"penalty_factor": [np.inf] * 6, "l1": 0.1}, "penalty_factor is infinite for all feat"),
        ({"penalty_factor": [np.nan] * 6, "l1": 0.1}, "penalty_factor has nan beside"),
    ],
)
def test_wrong_input_is_one_sentence_that_names_it(change, sentence):
    X, y, _, _ = problem()
    with pytest.raises((ValueError, TypeError), match=sentence):
        mf.fit_many(X, y, **{"l2": [0.1, 0.2], **change})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_by_its_row_and_column(value):
    X, y, _, _ = problem()
    X[7, 2] = value
    for call in (mf.l1_max, lambda X, y: mf.fit_many(X, y, l2=0, l1=0.1)):
        with pytest.raises(ValueError, match=r"X has (nan|inf) in row 7, column 2: pass finite"):
            call(X, y)


def test_more_than_two_classes_are_refused_in_one_sentence():
    X, y = problem()[0], np.arange(80) % 3
    with pytest.raises(ValueError, match=r"^l1 is above 0, but y holds 3 classes: pass labels of"):
        mf.fit_many(X, y, l2=0.1, l1=[0.0, 0.1])
    with pytest.raises(ValueError, match=r"^y holds 3 classes: pass labels of two, for an l1"):
        mf.l1_max(X, y)
    with pytest.raises(
        ValueError, match=r"pass labels of two classes, or l1_ratio=0 \(it is 0\.5\)\.$"
    ):
        Ours(l1_ratio=0.5).fit(X, y)
    with pytest.raises(
        ValueError, match=r"pass labels of two classes, or l1_ratio=0 \(it is 1\)\.$"
    ):
        LogisticRegressionSearchCV(candidates={"C": [1.0], "l1_ratio": [0.0, 1.0]}).fit(X, y)


def test_l1_max_refuses_what_fit_many_does():
    with pytest.raises(ValueError, match="y holds"):
        mf.l1_max([[1.0], [2.0]], [1, 1])
    with pytest.raises(TypeError, match=r"fit_intercept is 'no' .*: pass True or False"):
        mf.l1_max([[1.0], [2.0]], [0, 1], fit_intercept="no")


def test_beside_an_l1_penalty_l2_may_be_left_out_and_is_0():
    X, y, folds, _ = problem()
    l1 = mf.l1_max(X, y) * PARTS
    alone, given = (mf.fit_many(X, y, l1=l1, folds=folds, **more) for more in ({}, {"l2": 0}))
    assert alone.theta.tobytes() == given.theta.tobytes() and not alone.l2.any()
    for options in ({}, {"l1": 0.0}, {"l1": [0.0, 0], "l2": None}):
        with pytest.raises(TypeError, match=r"^l2 is not given: pass its strength, such as l2=1e"):
            mf.fit_many(X, y, **options)
