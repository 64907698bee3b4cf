"""fit_many of sparse rows with l1: optima of dense ones, bounds that hold, bits, large shapes."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from fits import of_training
from hypothesis import given
from hypothesis import strategies as st
from sparse_data import FORMATS, problem

import metaopt_fast as mf
from metaopt_fast.reference import lasso as twin
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

FIELDS = ["theta", "loss", "gap_bound", "n_iter", "validation_loss", "validation_accuracy"]
PARTS = np.array([1.0, 0.5, 0.1, 0.02])


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 0.4])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_optima_of_folds_are_those_of_dense_rows(ratio, fit_intercept, class_weight):
    X, y, folds, weights = problem(150, 60)
    about = {"fit_intercept": fit_intercept, "class_weight": class_weight}
    strengths = mf.l1_max(X, y, weights, **about) / ratio * PARTS
    options = {"l1": ratio * strengths, "l2": (1 - ratio) * strengths, "tol": 1e-10, **about}
    options |= {"folds": folds, "sample_weight": weights}
    sparse, dense = (mf.fit_many(rows, y, **options) for rows in (X, X.toarray()))
    assert sparse.converged.all() and sparse.certified.all()
    assert (np.abs(sparse.loss - dense.loss) <= sparse.gap_bound + dense.gap_bound).all()
    np.testing.assert_allclose(sparse.theta, dense.theta, atol=1e-3)
    np.testing.assert_allclose(sparse.validation_loss, dense.validation_loss, atol=1e-4)
    np.testing.assert_allclose(sparse.validation_accuracy, dense.validation_accuracy, atol=0.03)


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(4, 70),
    n_features=st.integers(1, 50),
    density=st.floats(0.02, 0.9),
    ratio=st.sampled_from([1.0, 0.5]),
    part=st.floats(0.05, 1.2),
    tol=st.sampled_from([1e-3, 1e-9]),
    fit_intercept=st.booleans(),
)
def test_no_bound_is_below_the_true_gap(
    seed, n_samples, n_features, density, ratio, part, tol, fit_intercept
):
    dense = problem(n_samples, n_features, density, seed)[0].toarray()
    dense[0, 0] = 1  # or the twin would have no length of a step
    X, y = scipy.sparse.csr_array(dense), np.arange(n_samples) % 2
    strength = part * max(mf.l1_max(X, y, fit_intercept=fit_intercept), 1e-3) / ratio
    l1, l2 = ratio * strength, (1 - ratio) * strength
    fits = mf.fit_many(X, y, l1=l1, l2=l2, fit_intercept=fit_intercept, tol=tol)
    rows = of_training(dense, y, np.ones(n_samples))
    best = twin.fit(*rows, l1, l2, fit_intercept, max_iter=1500)
    wide = [array.astype(np.longdouble) for array in (rows[0], rows[2], fits.theta[0], best)]
    found, least = (twin.objective(one, wide[0], rows[1], wide[1], l1, l2) for one in wide[2:])
    assert found - least <= fits.gap_bound[0] + 1e-16
    assert fits.converged[0] and fits.gap_bound[0] <= tol


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("max_iter", [1, 2, 100])
def test_models_end_as_they_say(max_iter):
    X, y, *_ = problem(200, 80)
    l1 = mf.l1_max(X, y) * np.array([0.3, 0.01])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = mf.fit_many(X, y, l2=0.0, l1=l1, tol=1e-10, max_iter=max_iter)
    assert (fits.converged == (fits.gap_bound <= 1e-10 * np.maximum(1, fits.loss))).all()
    assert (fits.n_iter <= max_iter).all() and fits.converged.all() == (max_iter == 100)
    rows = of_training(X.toarray(), y, np.ones(200))
    for theta, one, gap in zip(fits.theta, l1, fits.gap_bound, strict=True):
        best = twin.objective(twin.fit(*rows, one), *rows, one, 0.0)
        assert twin.objective(theta, *rows, one, 0.0) - best <= gap + 1e-15


@pytest.mark.long
def test_no_bit_depends_on_threads_formats_or_folds_beside_it(full_teams):
    X, y, folds, weights = problem(400, 2500, 0.03, seed=2)
    l1 = mf.l1_max(X, y, weights) * np.geomspace(1, 0.02, 6)
    options = {"l1": l1, "l2": 1e-4, "sample_weight": weights}
    wanted = mf.fit_many(X, y, n_threads=1, folds=folds, **options)
    assert wanted.n_nonzero.max() > 64  # columns have entered more than once
    for kind, n_threads in zip(FORMATS, (1, 2, 3, 8, 2, 1), strict=True):
        rows = getattr(scipy.sparse, kind)(X)
        found = mf.fit_many(rows, y, n_threads=n_threads, folds=folds, **options)
        for name in FIELDS:
            assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name
    held_out = np.where(folds == 1, 0.0, weights)
    alone = mf.fit_many(X, y, **options | {"sample_weight": held_out})
    np.testing.assert_allclose(alone.loss, wanted.loss[:, 1], atol=2e-8)


def test_factors_of_penalties_count_and_infinite_ones_leave_features_out():
    X, y, folds, weights = problem(150, 30, 0.3)
    f = np.random.default_rng(1).uniform(0.2, 5, 30)
    f[[4, 7]] = np.inf
    options = {"penalty_factor": f, "sample_weight": weights}
    strongest = mf.l1_max(X, y, **options)
    assert strongest == pytest.approx(mf.l1_max(X.toarray(), y, **options), rel=1e-11)
    options |= {"l2": 0.001, "l1": strongest * PARTS, "folds": folds, "tol": 1e-10}
    start = np.full(31, 0.1)
    sparse, dense = (mf.fit_many(rows, y, theta0=start, **options) for rows in (X, X.toarray()))
    assert sparse.certified.all() and not sparse.theta[..., [4, 7]].any()
    assert (np.abs(sparse.loss - dense.loss) <= sparse.gap_bound + dense.gap_bound).all()


def test_models_without_an_l1_penalty_keep_their_bits_beside_others():
    X, y, folds, _ = problem(150, 60)
    l1, l2 = np.array([0.02, 0.0, 0.01]), np.array([0.0, 0.03, 0.03])
    fits = mf.fit_many(X, y, l1=l1, l2=l2, folds=folds)
    ridge = mf.fit_many(X, y, l2=0.03, folds=folds)
    lasso = mf.fit_many(X, y, l1=l1[[0, 2]], l2=l2[[0, 2]], folds=folds)
    for name in FIELDS:
        assert getattr(fits, name)[1].tobytes() == getattr(ridge, name)[0].tobytes()
        assert getattr(fits, name)[[0, 2]].tobytes() == getattr(lasso, name).tobytes()


@pytest.mark.parametrize("exponent", [-100, 100, 400])
def test_units_of_columns_are_units_of_the_penalty(exponent):
    X, y, *_ = problem(120, 40)
    l1 = mf.l1_max(X, y) * PARTS
    plain = mf.fit_many(X, y, l2=0.0, l1=l1)
    scaled = mf.fit_many(X * 2.0**exponent, y, l2=0.0, l1=l1 * 2.0**exponent)
    np.testing.assert_allclose(scaled.loss, plain.loss, atol=2e-8)
    np.testing.assert_allclose(
        np.ldexp(scaled.theta[:, :-1], exponent), plain.theta[:, :-1], atol=1e-3
    )
    assert scaled.certified.all()


@pytest.mark.sanitized
def test_rows_whose_array_would_take_gigabytes_are_fitted():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((1500, 200_000), density=2e-4, rng=rng, format="csr")
    y = np.asarray(X[:, :300].sum(axis=1)).ravel() + 0.01 * rng.normal(size=1500) > 0.02
    l1 = mf.l1_max(X, y)
    fits = mf.fit_many(X, y, l2=0.0, l1=l1 * np.array([1.0, 0.5, 0.1]), folds=2)
    assert fits.certified.all() and fits.n_nonzero.max() > 40
    empty = scipy.sparse.csr_array((40, 3))
    nothing = mf.fit_many(empty, np.arange(40) % 4 == 0, l2=0.0, l1=0.1)
    np.testing.assert_allclose(nothing.theta, [[0, 0, 0, -np.log(3)]], atol=1e-4)
    assert mf.l1_max(empty, np.arange(40) % 4 == 0) == 0


@pytest.mark.sanitized
def test_estimators_select_words():
    X, y, *_ = problem(200, 60)
    ours = LogisticRegression(C=0.5, l1_ratio=1).fit(X, y)
    dense = LogisticRegression(C=0.5, l1_ratio=1).fit(X.toarray(), y)
    assert ours.certified_ and 0 < np.count_nonzero(ours.coef_) < 40
    np.testing.assert_allclose(ours.coef_, dense.coef_, atol=1e-4)
    candidates = {"C": [0.1, 1.0], "l1_ratio": [0.5, 1.0]}
    search = LogisticRegressionSearchCV(candidates=candidates, cv=3).fit(X, y)
    assert search.certified_.all() and search.best_params_["l1_ratio"] in (0.5, 1.0)


def test_columns_beyond_the_first_thousands_are_chosen():
    """The slopes of so many are told in parts."""
    rng = np.random.default_rng(5)
    dense, chosen = (
        rng.normal(size=(120, 2500)) * (rng.random((120, 2500)) < 0.02),
        [40, 1500, 2400],
    )
    dense[:, chosen] = rng.normal(size=(120, 3))
    y = dense[:, chosen].sum(axis=1) + rng.normal(size=120) / 4 > 0
    rows = scipy.sparse.csr_array(dense)
    found, wanted = (mf.fit_many(X, y, l1=0.05, l2=0.0, tol=1e-9) for X in (rows, dense))
    assert found.certified.all() and found.theta[0, chosen].all()
    np.testing.assert_allclose(found.theta, wanted.theta, atol=1e-3)
