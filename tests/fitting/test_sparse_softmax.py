"""fit_many of sparse rows of more than two classes: dense optima, bounds that hold, bits, units."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.metrics import accuracy_score, log_loss
from sparse_data import FORMATS, problem

import metaopt_fast as mf
from metaopt_fast import reference
from metaopt_fast.fitting import sparse_softmax
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

FIELDS = ["theta", "loss", "gap_bound", "n_iter", "validation_loss", "validation_accuracy"]
L2 = np.array([1e-3, 1e-1, 1e-2])


def of_classes(n_classes, n_samples=150, n_features=40, density=0.2, seed=0):
    """Sparse rows of classes that overlap, folds and weights."""
    X, _, folds, weights = problem(n_samples, n_features, density, seed)
    rng = np.random.default_rng(seed)
    z = X @ rng.normal(size=(n_features, n_classes)) + rng.gumbel(size=(n_samples, n_classes))
    y = z.argmax(axis=1)
    # Each class in each training set, with a weight.
    y[: 3 * n_classes] = np.arange(3 * n_classes) % n_classes
    folds, weights[: 3 * n_classes] = np.arange(n_samples) // n_classes % 3, 1
    return X, y, folds, weights


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    ("n_classes", "class_weight"), [(3, None), (9, "balanced"), (4, {0: 0.3, 3: 2.0})]
)
def test_optima_of_folds_are_those_of_dense_rows(n_classes, class_weight, fit_intercept):
    X, y, folds, weights = of_classes(n_classes)
    options = {"l2": L2, "folds": folds, "sample_weight": weights, "tol": 1e-9}
    options |= {"class_weight": class_weight, "fit_intercept": fit_intercept}
    sparse, dense = (mf.fit_many(rows, y, **options) for rows in (X, X.toarray()))
    assert sparse.theta.shape == (3, 3, n_classes, 40 + fit_intercept)
    assert sparse.converged.all() and sparse.certified.all()
    assert (np.abs(sparse.loss - dense.loss) <= sparse.gap_bound + dense.gap_bound).all()
    np.testing.assert_allclose(sparse.theta, dense.theta, atol=1e-2)
    np.testing.assert_allclose(sparse.theta.sum(axis=2), 0, atol=1e-10)
    for m, f in np.ndindex(sparse.loss.shape):
        theta, test = sparse.theta[m, f], folds == f
        z = X[test] @ theta[:, :40].T + theta[:, 40:].sum(axis=1)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        about = {"sample_weight": weights[test]}
        loss = log_loss(y[test], p, labels=range(n_classes), **about)
        assert sparse.validation_loss[m, f] == pytest.approx(loss, rel=1e-9)
        accuracy = accuracy_score(y[test], z.argmax(axis=1), **about)
        assert sparse.validation_accuracy[m, f] == pytest.approx(accuracy)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_classes=st.integers(3, 10),
    n_features=st.integers(1, 40),
    exponent=st.integers(-5, 1),
    scale=st.sampled_from([1e-2, 1.0, 20.0]),
    fit_intercept=st.booleans(),
)
def test_no_bound_is_below_the_true_gap(
    seed, n_classes, n_features, exponent, scale, fit_intercept
):
    X, y, *_ = of_classes(n_classes, 40, n_features, 0.3, seed)
    X, l2 = X * scale, 10.0**exponent
    about = {"l2": l2, "fit_intercept": fit_intercept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = mf.fit_many(X.toarray(), y, tol=1e-12, **about)
        objective = reference.SoftmaxLoss(X.toarray(), y, **about)
        least = objective.loss(best.theta[0].ravel())
        for tol, max_iter in ((1e-9, 100), (1e-2, 1)):
            fits = mf.fit_many(X, y, tol=tol, max_iter=max_iter, **about)
            found = objective.loss(fits.theta[0].ravel())
            assert found == pytest.approx(fits.loss[0], rel=1e-12)
            assert found - least <= fits.gap_bound[0] + 4e-16 * found
            if tol == 1e-9:
                assert fits.converged[0] or fits.status[0] == "rounding"
                assert fits.gap_bound[0] <= (tol if fits.converged[0] else 1e-5) * max(1, found)


@pytest.mark.long(everywhere=True)
def test_no_bit_depends_on_threads_formats_or_other_folds(full_teams):
    X, y, folds, weights = of_classes(11, 500, 400, 0.05)
    options = {"l2": L2, "folds": folds, "sample_weight": weights}
    wanted = mf.fit_many(X, y, n_threads=1, **options)
    for kind, n_threads in zip(FORMATS[:4], (1, 2, 3, 8), strict=True):
        found = mf.fit_many(getattr(scipy.sparse, kind)(X), y, n_threads=n_threads, **options)
        for name in FIELDS:
            assert getattr(found, name).tobytes() == getattr(wanted, name).tobytes(), name
    assert (wanted.n_iter[0] < 12).all()


def test_a_start_is_taken_and_one_that_is_far_off_is_left():
    X, y, folds, _ = of_classes(4)
    fits = mf.fit_many(X, y, l2=L2, folds=folds, tol=1e-9)
    again = mf.fit_many(X, y, l2=L2, folds=folds, tol=1e-8, theta0=fits.theta + 0.5)
    assert (again.n_iter == 0).all() and again.converged.all()
    for theta0 in (1e3 * np.arange(4.0)[:, None], 1e300 * np.arange(4.0)[:, None]):
        far = mf.fit_many(X, y, l2=L2, folds=folds, theta0=theta0)
        assert far.converged.all()
        assert (np.abs(far.loss - fits.loss) <= far.gap_bound + fits.gap_bound).all()


@pytest.mark.parametrize("exponent", [-80, 60, 380])
def test_units_of_columns_are_units_of_the_penalty(exponent):
    X, y, *_ = of_classes(3)
    plain = mf.fit_many(X, y, l2=1e-2)
    scaled = mf.fit_many(X * 2.0**exponent, y, l2=1e-2 * 4.0**exponent)
    assert scaled.certified.all() and abs(scaled.loss[0] - plain.loss[0]) <= 2e-8
    np.testing.assert_allclose(
        np.ldexp(scaled.theta[..., :-1], exponent), plain.theta[..., :-1], atol=1e-3
    )


def test_models_end_as_they_say(monkeypatch):
    X, y, *_ = of_classes(4)
    with pytest.warns(RuntimeWarning, match="1 of 1 models did not converge in 1 iterations"):
        late = mf.fit_many(X, y, l2=1e-4, max_iter=1)
    assert late.status[0] == "max_iter" and late.n_iter[0] == 1 and late.gap_bound[0] > 1e-8
    with pytest.warns(RuntimeWarning, match="where rounding hides"):
        stuck = mf.fit_many(X, y, l2=1e-4, tol=1e-17)
    assert stuck.status[0] == "rounding" and stuck.gap_bound[0] < 1e-9
    # Products that end a step early, and a step that leads uphill.
    plain = mf.fit_many(X, y, l2=1e-4)
    monkeypatch.setattr(sparse_softmax, "MOST_PRODUCTS", 8)
    few = mf.fit_many(X, y, l2=1e-4)
    assert few.converged[0] and few.n_iter[0] > plain.n_iter[0]
    assert abs(few.loss[0] - plain.loss[0]) <= 2e-8
    monkeypatch.setattr(sparse_softmax, "MOST_COVARIANCES", 0)
    assert mf.fit_many(X, y, l2=1e-4).converged[0]


def test_steps_that_lead_nowhere_leave_a_model_where_it_is(monkeypatch):
    X, y, *_ = of_classes(3)
    monkeypatch.setattr(sparse_softmax, "falls_enough", lambda *_: np.zeros(1, bool))
    monkeypatch.setattr(sparse_softmax, "HALVINGS", 2)
    with pytest.warns(RuntimeWarning, match="rounding hides"):
        fits = mf.fit_many(X, y, l2=1e-2)
    assert not fits.theta.any() and fits.loss[0] == pytest.approx(np.log(3))


def test_intercepts_that_would_be_worse_stay(monkeypatch):
    X, y, *_ = of_classes(4)
    plain = mf.fit_many(X, y, l2=1e-2)
    monkeypatch.setattr(sparse_softmax, "solved", lambda *_: 9 * np.arange(4.0)[None])
    found = mf.fit_many(X, y, l2=1e-2)
    assert found.converged[0] and abs(found.loss[0] - plain.loss[0]) <= 2e-8


def test_a_gradient_of_zeros_ends_a_model():
    with pytest.warns(RuntimeWarning, match="rounding hides"):
        fits = mf.fit_many(scipy.sparse.csr_array((32, 2)), np.arange(32) % 4, l2=1.0, tol=1e-300)
    assert not fits.theta.any() and fits.gap_bound[0] < 1e-12


def test_rows_whose_array_would_take_gigabytes_are_fitted_and_empty_ones_are_shares():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((900, 100_000), density=2e-4, rng=rng, format="csr")
    y = rng.integers(0, 3, 900)
    assert mf.fit_many(X, y, l2=[1e-3, 1e-1]).certified.all()
    nothing = mf.fit_many(scipy.sparse.csr_array((40, 2)), np.arange(40) % 4 % 3, l2=1.0)
    shares = np.exp(nothing.theta[0, :, 2])
    np.testing.assert_allclose(shares / shares.sum(), [0.5, 0.25, 0.25], atol=1e-4)


def test_estimators_are_scikit_learns():
    X, y, *_ = of_classes(5)
    ours, theirs = LogisticRegression(C=2.0).fit(X, y), TheirRegression(C=2.0, tol=1e-10).fit(X, y)
    assert ours.certified_
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    search = LogisticRegressionSearchCV(candidates={"C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert search.certified_.all()
