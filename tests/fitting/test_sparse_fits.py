"""fit_many of sparse rows: the optima of dense ones, bounds that hold, bits, wrong input."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sparse_data import FORMATS, problem

import metaopt_fast as mf
from metaopt_fast.reference import sparse as twin

L2 = np.array([1e-4, 1e-2, 1.0])
FIELDS = ["theta", "loss", "gap_bound", "n_iter", "validation_loss", "validation_accuracy"]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", [{0: 0.3}, None, "balanced"]])
def test_optima_of_folds_and_class_weights_are_those_of_dense_rows(fit_intercept, class_weight):
    X, y, folds, weights = problem()
    options = {
        "l2": L2,
        "folds": folds,
        "sample_weight": weights,
        "class_weight": class_weight,
        "fit_intercept": fit_intercept,
    }
    sparse, dense = (mf.fit_many(rows, y, tol=1e-10, **options) for rows in (X, X.toarray()))
    assert sparse.converged.all() and sparse.certified.all()
    assert (np.abs(sparse.loss - dense.loss) <= sparse.gap_bound + dense.gap_bound + 1e-15).all()
    np.testing.assert_allclose(sparse.theta, dense.theta, atol=3e-3)
    np.testing.assert_allclose(sparse.validation_loss, dense.validation_loss, atol=1e-4)
    np.testing.assert_allclose(sparse.validation_accuracy, dense.validation_accuracy)


def test_a_model_is_the_slow_twins():
    X, y, _, weights = problem(60, 12, 0.3)
    fits = mf.fit_many(X, y, l2=0.01, sample_weight=weights, tol=1e-15)
    wanted = twin.fit(X.toarray(), y, 0.01, weights)
    np.testing.assert_allclose(fits.theta[0], wanted, atol=1e-6)


def test_rows_of_heavy_tails_have_the_slow_twins_model():
    rng = np.random.default_rng(22)
    X = 3 * rng.standard_t(1, size=(rng.integers(6, 25), rng.integers(1, 4)))
    y = (X[:, 0] + rng.standard_cauchy(len(X)) > 0).astype(int)
    fits = mf.fit_many(scipy.sparse.csr_array(X), y, l2=1e-4, tol=1e-13)
    np.testing.assert_allclose(fits.theta[0], twin.fit(X, y, 1e-4, steps=60), rtol=1e-5)


def test_the_twins_conjugate_gradients_end_at_the_solution():
    A, b = np.diag([1.0, 2.0, 2.0]), np.array([3.0, 4.0, -4.0])
    np.testing.assert_allclose(twin.conjugate_gradients(A.dot, b, 9), [3.0, 2.0, -2.0])
    assert not twin.conjugate_gradients(A.dot, np.zeros(3), 9).any()


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(4, 80),
    n_features=st.integers(1, 60),
    density=st.floats(0.02, 0.9),
    exponent=st.integers(-7, 2),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    fit_intercept=st.booleans(),
)
def test_no_bound_is_below_the_true_gap(
    seed, n_samples, n_features, density, exponent, scale, fit_intercept
):
    X, y, *_ = problem(n_samples, n_features, density, seed)
    X, y = X * scale, np.arange(n_samples) % 2
    for tol, max_iter in ((1e-3, 100), (1e-12, 100), (1e-12, 1)):
        options = {"tol": tol, "max_iter": max_iter, "fit_intercept": fit_intercept}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits = mf.fit_many(X, y, l2=10.0**exponent, **options)
        # Beyond the last digits of extended precision.
        assert true_gap(X.toarray(), y, 10.0**exponent, fits.theta[0]) <= fits.gap_bound[0] + 1e-18
        if max_iter == 100:
            assert fits.converged[0]


def true_gap(X, y, l2, theta):
    """The objective above the dense fit's, in extended precision."""
    has_intercept = len(theta) > X.shape[1]
    best = mf.fit_many(X, y, l2=l2, tol=1e-9, fit_intercept=has_intercept).theta[0]
    rows = np.column_stack([X, np.ones(len(X))])[:, : len(theta)].astype(np.longdouble)
    found = []
    for one in (theta, best):
        z = np.where(y == 1, -1, 1) * (rows @ one.astype(np.longdouble))
        weights = one[: X.shape[1]].astype(np.longdouble)
        found.append(np.logaddexp(0, z).mean() + l2 / 2 * (weights @ weights))
    return found[0] - found[1]


@pytest.mark.long
def test_no_bit_depends_on_threads_formats_or_neighbours():
    X, y, folds, weights = problem(700, 300, seed=2)
    options = {"l2": np.geomspace(1e-5, 1, 7), "folds": folds, "sample_weight": weights}
    wanted = mf.fit_many(X, y, n_threads=1, **options)
    for kind, n_threads in zip(FORMATS, (1, 2, 3, 8, 2, 1), strict=True):
        rows = getattr(scipy.sparse, kind)(X)
        found = mf.fit_many(rows, y, n_threads=n_threads, **options)
        for name in FIELDS:
            assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name
    for m, l2 in enumerate(options["l2"]):
        alone = mf.fit_many(X, y, l2=l2, folds=folds, sample_weight=weights)
        assert alone.theta.tobytes() == wanted.theta[m : m + 1].tobytes()
    one = mf.fit_many(X, y, l2=[1e-3])
    beside = mf.fit_many(X, y, l2=[1.0, 1e-3, 1e-4])
    assert one.theta[0].tobytes() == beside.theta[1].tobytes()


@pytest.mark.long(everywhere=True)
def test_a_start_is_taken_and_one_that_is_far_off_is_left():
    X, y, folds, _ = problem()
    fits = mf.fit_many(X, y, l2=L2, folds=folds, tol=1e-10)
    again = mf.fit_many(X, y, l2=L2, folds=folds, tol=1e-9, theta0=fits.theta)
    assert (again.n_iter == 0).all() and again.converged.all()
    for theta0 in (1e3, 1e300, 1.7e308):
        far = mf.fit_many(X, y, l2=L2, folds=folds, theta0=theta0)
        assert far.converged.all()
        assert (np.abs(far.loss - fits.loss) <= far.gap_bound + fits.gap_bound).all()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("scale", [1e-120, 1e120, 1e200])
def test_numbers_of_any_size_are_fitted(scale):
    X, y, *_ = problem()
    wanted = mf.fit_many(X, y, l2=0.01, tol=1e-10)
    fits = mf.fit_many(X * scale, y, l2=0.01 * scale * scale if scale < 1e150 else 1e300)
    assert np.isfinite(fits.theta).all() and fits.loss[0] > 0
    if scale < 1e150:
        assert fits.converged[0] and fits.loss[0] == pytest.approx(wanted.loss[0], abs=1e-8)


def test_columns_of_unlike_size_take_few_steps_more():
    X, y, *_ = problem(300, 50, 0.2)
    sizes = scipy.sparse.diags_array(np.geomspace(1e-3, 1e3, 50))
    fits = mf.fit_many((X @ sizes).tocsr(), y, l2=1e-3)
    assert fits.converged[0] and fits.n_iter[0] < 40


@pytest.mark.sanitized
def test_more_columns_than_a_hessian_may_have_are_fitted_and_empty_ones_have_no_weight():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((400, 9000), density=0.002, rng=rng, format="csr")
    y = rng.integers(0, 2, 400)
    fits = mf.fit_many(X, y, l2=[1e-3, 1e-1])
    empty = np.flatnonzero(np.diff(X.tocsc().indptr) == 0)
    assert fits.converged.all() and len(empty) > 100 and (fits.theta[:, empty] == 0).all()
    nothing = mf.fit_many(scipy.sparse.csr_array((4, 3)), [0, 1, 1, 1], l2=1.0)
    np.testing.assert_allclose(nothing.theta, [[0, 0, 0, np.log(3)]], atol=1e-4)


DENSE = {
    "no penalty": (
        {"l2": [0.0, 1.0], "l1": [0.0, 0.02]},
        "l2 is 0, for which a sparse X is made an array",
    ),
    "machines": ({"l2": 0.1, "loss": "squared_hinge"}, "loss is 'squared_hinge', for which"),
}


@pytest.mark.parametrize("case", DENSE)
def test_what_is_not_fitted_of_sparse_rows_is_of_an_array_unless_that_is_too_large(case):
    X, y, *_ = problem(density=0.9)
    options, sentence = DENSE[case]
    options = {"y": y, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, wanted = (mf.fit_many(rows, **options) for rows in (X, X.toarray()))
    for name in ("theta", "loss", "gap_bound", "n_nonzero"):
        assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes()
    X.resize((90, 700_000))
    with pytest.raises(ValueError, match=f"{sentence}.* has 504 MB, above 500: pass .*columns"):
        mf.fit_many(X, **options)


def test_l1_max_is_that_of_an_array():
    X, y, *_ = problem()
    assert mf.l1_max(X, y) == pytest.approx(mf.l1_max(X.toarray(), y), rel=1e-11)


@pytest.mark.sanitized
def test_models_of_sparse_rows_end_as_they_say():
    X, y, *_ = problem()
    with pytest.warns(RuntimeWarning, match="1 of 1 models did not converge in 1 iterations"):
        late = mf.fit_many(X, y, l2=1e-5, max_iter=1)
    assert late.status[0] == "max_iter" and late.n_iter[0] == 1 and late.gap_bound[0] > 1e-8
    assert "certified" in repr(late)
