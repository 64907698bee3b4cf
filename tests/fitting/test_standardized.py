"""fit_many(standardize=True): scikit-learn's pipelines, what is proven in units of X, refusals."""

import math
from fractions import Fraction

import numpy as np
import pytest
from fits import problem
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import metaopt_fast as mf
from metaopt_fast.fitting.deviations import deviations
from metaopt_fast.reference import fitting as reference

L2 = np.array([1e-3, 1e-2, 0.1, 1.0])
NEWTON = "newton-cholesky"


def unlike(seed=0):
    """Rows whose columns are of very unlike size, one far from 0 and one constant."""
    X, y, folds, weights = problem(seed=seed)
    X = X * np.array([1e-3, 1.0, 1e4, 30.0, 1.0, 1.0])
    X[:, 3] += 1e5
    X[:, 5] = 7.0
    return X, y, folds, weights


def penalised(theta, X, y, w, l2, l1, scale):
    """The objective by SciPy's own functions: w sums to 1."""
    coefficients = theta[:-1] * scale
    margins = np.where(y == 1, 1, -1) * (X @ theta[:-1] + theta[-1])
    penalty = l2 / 2 * coefficients @ coefficients + l1 * np.abs(coefficients).sum()
    return w @ np.logaddexp(0, -margins) + penalty


# -------------------------------------------------------------------------------- scikit-learn's


def test_models_of_folds_are_those_of_pipelines():
    X, y = load_breast_cancer(return_X_y=True)
    fits = mf.fit_many(X, y, l2=[1e-3, 1e-2], folds=3, standardize=True)
    assert fits.certified.all()
    assert fits.gap_bound.max() < 1e-9
    for m, f in np.ndindex(fits.loss.shape):
        train, test = fits.folds != f, fits.folds == f
        C = 1 / (fits.l2[m] * train.sum())
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-9, solver=NEWTON))
        scaler, theirs = (step for _, step in pipeline.fit(X[train], y[train]).steps)
        theta = np.append(theirs.coef_[0] / scaler.scale_, 0.0)
        theta[-1] = theirs.intercept_[0] - theta[:-1] @ scaler.mean_
        w = np.full(train.sum(), 1 / train.sum())
        rest = (X[train], y[train], w, fits.l2[m], 0.0, scaler.scale_)
        assert fits.loss[m, f] == pytest.approx(penalised(fits.theta[m, f], *rest), rel=1e-12)
        # Ours is the optimum to the gap that is proven; theirs is near it.
        assert fits.loss[m, f] <= penalised(theta, *rest) + fits.gap_bound[m, f] + 1e-14
        np.testing.assert_allclose(fits.theta[m, f, :-1], theta[:-1], rtol=1e-5, atol=1e-8)
        p = pipeline.predict_proba(X[test])
        assert fits.validation_loss[m, f] == pytest.approx(log_loss(y[test], p), rel=1e-4)
        assert fits.validation_accuracy[m, f] == accuracy_score(y[test], pipeline.predict(X[test]))


def test_an_l1_penalty_is_a_pipelines():
    X, y, _, _ = unlike()
    strengths = np.array([0.1, 0.02])
    fits = mf.fit_many(X, y, l1=0.7 * strengths, l2=0.3 * strengths, standardize=True, tol=1e-12)
    scale = StandardScaler().fit(X).scale_
    for theta, strength in zip(fits.theta, strengths, strict=True):
        theirs = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=1 / (strength * len(y)), l1_ratio=0.7, solver="saga", tol=1e-10, max_iter=100_000
            ),
        ).fit(X, y)
        np.testing.assert_allclose(theta[:-1] * scale, theirs[1].coef_[0], atol=1e-5)
    assert fits.certified.all() and (fits.n_nonzero <= 5).all()


def test_three_classes_are_a_pipelines():
    X, y = load_iris(return_X_y=True)
    X = X * [1.0, 1e3, 1e-2, 1.0]
    fits = mf.fit_many(X, y, l2=0.01, folds=3, standardize=True)
    for f in range(3):
        train, test = fits.folds != f, fits.folds == f
        C = 1 / (0.01 * train.sum())
        theirs = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-10, solver=NEWTON))
        theirs.fit(X[train], y[train])
        ours = X[test] @ fits.theta[0, f, :, :-1].T + fits.theta[0, f, :, -1]
        wanted = theirs.decision_function(X[test])
        np.testing.assert_allclose(
            ours - ours.mean(axis=1, keepdims=True),
            wanted - wanted.mean(axis=1, keepdims=True),
            atol=2e-3,
        )
        p = theirs.predict_proba(X[test])
        assert fits.validation_loss[0, f] == pytest.approx(log_loss(y[test], p), rel=1e-3)
        assert fits.validation_accuracy[0, f] == accuracy_score(y[test], theirs.predict(X[test]))
    assert fits.certified.all()


def test_machines_are_those_of_linear_svc():
    X, y, folds, _ = unlike()
    fits = mf.fit_many(X, y, l2=0.1, folds=folds, loss="squared_hinge", standardize=True)
    for f in range(3):
        train, test = folds != f, folds == f
        scaler = StandardScaler().fit(X[train])
        # Its intercept is penalised, as nearly not as may be.
        theirs = LinearSVC(
            dual=False, C=1 / (2 * 0.05 * train.sum()), intercept_scaling=1e3, tol=1e-10
        ).fit(scaler.transform(X[train]), y[train])
        np.testing.assert_allclose(
            fits.theta[0, f, :-1] * scaler.scale_, theirs.coef_[0], rtol=1e-4, atol=1e-6
        )
        decisions = X[test] @ fits.theta[0, f, :-1] + fits.theta[0, f, -1]
        slack = np.maximum(0, 1 - np.where(y[test] == 1, decisions, -decisions))
        assert fits.validation_loss[0, f] == pytest.approx((slack**2).mean(), rel=1e-9)
        assert fits.validation_accuracy[0, f] == np.mean((decisions > 0) == y[test])
    assert fits.certified.all()


# ------------------------------------------------------------------------------------ the twin's


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}])
@pytest.mark.parametrize("way", ["columns", "factors"])
def test_weighted_models_are_the_slow_twins(way, class_weight):
    """Penalties by columns divided, and by factors of l2 for each fold."""
    X, y, folds, weights = unlike()
    options = {"folds": folds, "sample_weight": weights, "class_weight": class_weight}
    if way == "factors":
        options["penalty_factor"] = np.ones(6)
    fits = mf.fit_many(X, y, l2=L2, standardize=True, **options)
    wanted = reference.fit_many(X, y, l2=L2, standardize=True, **options)
    assert fits.certified.all()
    np.testing.assert_allclose(fits.loss, wanted.loss, rtol=1e-10)
    assert (fits.loss <= wanted.loss + fits.gap_bound + 1e-14).all()
    np.testing.assert_allclose(fits.validation_loss, wanted.validation_loss, rtol=2e-3)
    np.testing.assert_array_equal(fits.theta[..., 5], 0)


def test_models_of_own_weights_have_deviations_of_their_own():
    X, y, folds, _ = unlike()
    W = mf.bootstrap_weights(len(y), 3, seed=1)
    options = {"l2": 0.03, "folds": folds, "standardize": True}
    together = mf.fit_many(X, y, sample_weight=W, **options)
    for m, weights in enumerate(W):
        alone = mf.fit_many(X, y, sample_weight=weights.astype(float), **options)
        np.testing.assert_allclose(together.loss[m], alone.loss[0], atol=2e-8)
    without = mf.fit_many(X, y, sample_weight=W, l2=0.03, standardize=True)
    one = mf.fit_many(X, y, sample_weight=W[2].astype(float), l2=0.03, standardize=True)
    assert without.loss[2] == pytest.approx(one.loss[0], abs=2e-8)


def test_a_centre_is_in_units_of_x():
    X, y, folds, _ = unlike()
    scale = deviations(X, np.ones(len(y)), folds, [-1])[0]
    far = np.array([3.0, -1.0, 0.5, 0.0, 2.0, 0.0]) / scale
    theta = mf.fit_many(X, y, l2=1e6, center=far, standardize=True).theta[0]
    np.testing.assert_allclose(theta[:-1] * scale, far * scale, atol=1e-5)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
@given(seed=st.integers(0, 99), l2=st.sampled_from([1e-6, 1e-3, 1.0]))
def test_the_gap_is_that_of_exact_decisions_of_x(loss, seed, l2):
    """The mean loss of theta by exact arithmetic on X is within the bound of a fit's own loss."""
    X, y, _, _ = unlike(seed)
    X, y = X[:20], np.append(y[:18], [0, 1])
    X[:, 0] += 1e3
    fits = mf.fit_many(X, y, l2=l2, loss=loss, standardize=True)
    scale = deviations(X, np.ones(len(y)), np.zeros(len(y), int), [-1])[0]
    theta = [Fraction(t) for t in fits.theta[0].tolist()]
    exact = [
        float(sum(a * Fraction(b) for a, b in zip(theta, [*row, 1.0], strict=True)))
        for row in X.tolist()
    ]
    margins = np.where(y == 1, exact, np.negative(exact))
    rows = np.logaddexp(0, -margins) if loss == "logistic" else np.maximum(0, 1 - margins) ** 2
    penalty = l2 / 2 * ((fits.theta[0, :-1] * scale) ** 2).sum()
    assert abs(math.fsum(rows) / len(y) + penalty - fits.loss[0]) <= fits.gap_bound[0] + 1e-13


def test_a_start_of_each_fold_is_where_steps_begin():
    X, y, folds, _ = unlike()
    fits = mf.fit_many(X, y, l2=L2, folds=folds, standardize=True)
    again = mf.fit_many(X, y, l2=L2, folds=folds, standardize=True, theta0=fits.theta)
    assert again.n_iter.max() <= 1
    np.testing.assert_allclose(again.loss, fits.loss, rtol=1e-12)
    one = mf.fit_many(X, y, l2=L2, standardize=True)
    again = mf.fit_many(X, y, l2=L2, standardize=True, theta0=one.theta)
    assert again.n_iter.max() <= 1
    assert again.validation_loss is None and again.folds is None


def test_folds_may_have_penalties_of_their_own():
    X, y, folds, _ = unlike()
    l2 = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    fits = mf.fit_many(X, y, l2=l2, folds=folds, standardize=True)
    np.testing.assert_array_equal(fits.l2, l2)
    wanted = reference.fit_many(X, y, l2=l2, folds=folds, standardize=True)
    np.testing.assert_allclose(fits.loss, wanted.loss, rtol=1e-10)


def test_storage_and_threads_and_layout_leave_the_bits(tmp_path):
    X, y, folds, weights = unlike()
    options = {"l2": L2, "folds": folds, "sample_weight": weights, "standardize": True}
    one = mf.fit_many(X, y, n_threads=1, **options)
    for other in (
        mf.fit_many(np.asfortranarray(X), y, n_threads=2, **options),
        mf.fit_many(X, y, storage=tmp_path, **options),
    ):
        for name in ("theta", "loss", "gap_bound", "validation_loss"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_a_bound_that_rounding_lifts_above_the_tolerance_is_no_convergence():
    X, y, _, _ = unlike()
    X[:, 3] = 1e9 + np.arange(len(y)) % 7
    with pytest.warns(RuntimeWarning, match="rounding hides"):
        fits = mf.fit_many(X, y, l2=1e-3, loss="squared_hinge", tol=3e-16, standardize=True)
    assert not fits.certified[0] and not fits.converged[0]


def test_many_rows_are_judged_some_at_a_time(monkeypatch):
    X, y, folds, weights = unlike()
    options = {"l2": L2, "folds": folds, "sample_weight": weights, "standardize": True}
    whole = mf.fit_many(X, y, **options)
    monkeypatch.setattr("metaopt_fast.fitting.standardized.DECISIONS", 40)
    parts = mf.fit_many(X, y, **options)
    np.testing.assert_allclose(parts.validation_loss, whole.validation_loss, rtol=1e-14)
    np.testing.assert_array_equal(parts.validation_accuracy, whole.validation_accuracy)


# ------------------------------------------------------------------------------------- deviations


@pytest.mark.long(everywhere=True)
@given(data=st.data())
def test_deviations_are_those_of_exact_arithmetic(data):
    n = data.draw(st.integers(2, 12))
    numbers = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
    offset = data.draw(st.sampled_from([0.0, 1e9]))
    column = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n))) + offset
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), float)
    fold = np.arange(n) % 3
    assume(all((weights[fold != f] > 0).any() for f in (0, 1)))
    found = deviations(column[:, None], weights, fold, [-1, 0, 1])[:, 0]
    for left_out, value in zip([-1, 0, 1], found, strict=True):
        used = (fold != left_out) & (weights > 0)
        rows = [Fraction(v) for v in column[used].tolist()]
        w = [Fraction(v) for v in weights[used].tolist()]
        mean = sum(a * b for a, b in zip(rows, w, strict=True)) / sum(w)
        variance = sum((a - mean) ** 2 * b for a, b in zip(rows, w, strict=True)) / sum(w)
        wanted = math.sqrt(variance) if len(set(rows)) > 1 else 1.0
        assert value == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("power", [1000, -1000])
def test_deviations_of_numbers_near_the_ends_of_the_range(power):
    column = np.ldexp(np.array([[1.0], [2.0], [4.0]]), power)
    found = deviations(column, np.ones(3), np.zeros(3, int), [-1])[0, 0]
    assert math.ldexp(found, -power) == pytest.approx(np.std([1.0, 2.0, 4.0]), rel=1e-14)


# --------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_standardized_is_refused():
    from scipy.sparse import csr_array

    X, y, _, _ = unlike()
    for options in ({}, {"penalty_factor": np.ones(6)}):
        with pytest.raises(ValueError, match=r"fit_intercept is False.*pass fit_intercept=True"):
            mf.fit_many(X, y, l2=0.1, standardize=True, fit_intercept=False, **options)
    with pytest.raises(ValueError, match=r"sparse matrix: pass standardize=False"):
        mf.fit_many(csr_array(X), y, l2=0.1, standardize=True)
    with pytest.raises(TypeError, match="standardize is"):
        mf.fit_many(X, y, l2=0.1, standardize="yes")
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="X has nan in row 3, column 2"):
        mf.fit_many(X, y, l2=0.1, standardize=True)


def test_coefficients_that_leave_the_range_are_refused():
    X = np.array([[0.0], [1e-310], [2e-310], [3e-310]])
    with pytest.raises(ValueError, match=r"deviation of .* in column 0.*larger numbers"):
        mf.fit_many(X, [0, 0, 1, 1], l2=1e-6, standardize=True)
