"""Support vector machines of weights and labels of their own: optima, bits, wrong input."""

import warnings

import numpy as np
import pytest
from fits import problem
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

import metaopt_fast as mf
from metaopt_fast.fitting import machines
from metaopt_fast.reference import fitting as reference_fitting
from metaopt_fast.reference import hinge as reference
from metaopt_fast.sklearn import LinearSVC as Ours

X, Y, FOLDS, _ = problem()
RNG = np.random.default_rng(5)
WEIGHTS = RNG.multinomial(80, np.full(80, 1 / 80), 7).astype(np.uint8)
VECTORS = np.stack([RNG.permutation(Y) for _ in range(7)])
L2 = np.array([0.3, 0.01, 0.1, 0.02, 1.0, 1e-3, 0.05])
FIELDS = ("theta", "loss", "gap_bound", "n_iter", "status")


def fit(X, y, **options):
    return mf.fit_many(X, y, loss="squared_hinge", **options)


def bits_of(fits, where=()):
    return {name: getattr(fits, name)[where].tolist() for name in FIELDS}


# ------------------------------------------------------------------------------------ the optimum


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", [None, {0: 0.3, 1: 2.0}] * 3 + [None]])
@pytest.mark.parametrize("of_models", ["weights", "labels", "both"])
def test_each_model_of_each_fold_is_the_slow_twins(of_models, class_weight, fit_intercept):
    weights = WEIGHTS * RNG.uniform(0.5, 2, 80) if of_models != "labels" else np.ones((7, 80))
    y = VECTORS if of_models != "weights" else np.tile(Y, (7, 1))
    fits = fit(
        X,
        y if of_models != "weights" else Y,
        l2=L2,
        folds=FOLDS,
        sample_weight=weights if of_models != "labels" else None,
        class_weight=class_weight,
        fit_intercept=fit_intercept,
    )
    assert fits.converged.all() and fits.certified.all() and fits.loss_name == "squared_hinge"
    for m, f in ((0, 0), (1, 2), (3, 1), (6, 0)):
        train = (f != FOLDS) & (weights[m] > 0)
        choice = class_weight[m] if isinstance(class_weight, list) else class_weight
        factors = reference_fitting.of_class(choice, y[m, train] == 1, weights[m, train])
        w = weights[m, train] * factors
        rows = X[train], y[m, train] == 1, w / w.sum()
        wanted = reference.fit(*rows, L2[m], fit_intercept)
        np.testing.assert_allclose(fits.theta[m, f], wanted, atol=1e-9)
        value = reference.objective(wanted, *rows, L2[m])
        assert fits.loss[m, f] == pytest.approx(value, rel=1e-11)
        test = f == FOLDS
        slacks = reference.slacks(fits.theta[m, f], X[test], y[m, test] == 1)
        mean = np.average(slacks**2, weights=weights[m, test])
        assert fits.validation_loss[m, f] == pytest.approx(mean, rel=1e-12)
        decisions = X[test] @ fits.theta[m, f, :6] + fits.theta[m, f, 6:].sum()
        right = np.average((decisions > 0) == y[m, test], weights=weights[m, test])
        assert fits.validation_accuracy[m, f] == pytest.approx(right)


def test_whole_weights_are_rows_repeated():
    fits = fit(X, Y, l2=0.01, sample_weight=WEIGHTS)
    for m in (0, 6):
        rows = (np.repeat(of, WEIGHTS[m], axis=0) for of in (X, Y))
        one = fit(*rows, l2=0.01)
        assert fits.theta[m] == pytest.approx(one.theta[0], abs=1e-9)
        assert fits.loss[m] == pytest.approx(one.loss[0], rel=1e-12)


def test_label_vectors_have_liblinears_optima():
    digits, y = load_digits(return_X_y=True)
    digits, y = digits[:300] / 16, y[:300]
    fits = fit(digits, y == np.arange(10)[:, None], l2=1 / 300, fit_intercept=False)
    theirs = LinearSVC(C=1.0, dual=False, tol=1e-10, fit_intercept=False, max_iter=10_000)
    np.testing.assert_allclose(fits.theta, theirs.fit(digits, y).coef_, atol=1e-6)
    assert fits.certified.all()
    ours = Ours(fit_intercept=False).fit(digits, y)
    np.testing.assert_allclose(ours.coef_, fits.theta, atol=1e-10)
    assert ours.certified_


@pytest.mark.long(everywhere=True)
@settings(max_examples=settings.default.max_examples // 4)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_features=st.integers(1, 60),
    l2=st.floats(1e-4, 1),
    offset=st.sampled_from([0.0, 100.0]),
    max_iter=st.sampled_from([1, 100]),
)
def test_the_gap_is_never_above_its_bound(seed, n_features, l2, offset, max_iter):
    rng = np.random.default_rng(seed)
    rows, y = rng.normal(size=(40, n_features)) + offset, rng.integers(0, 2, (3, 40))
    weights = rng.integers(0, 3, (3, 40)).astype(np.uint8)
    y[:, :2], weights[:, :2] = [0, 1], 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        fits = fit(rows, y, l2=l2, sample_weight=weights, max_iter=max_iter)
    for m, theta in enumerate(fits.theta):
        w = weights[m] / weights[m].sum()
        best = reference.fit(rows[w > 0], y[m, w > 0] == 1, w[w > 0], l2)
        wide = [array.astype(np.longdouble) for array in (theta, best, rows, w)]
        found, least = (
            reference.objective(one, wide[2], y[m] == 1, wide[3], l2) for one in wide[:2]
        )
        of_judge = 1e-18 * (1 + np.abs(rows).max() * np.abs(theta).sum())
        assert found - least <= fits.gap_bound[m] + of_judge < np.inf


def test_more_columns_than_rows_are_as_many_as_rows():
    wide, y, _, _ = problem(40, 300)
    vectors = np.stack([y, 1 - y])
    fits = fit(wide, vectors, l2=[1e-3, 1.0], folds=np.arange(40) % 2)
    assert fits.certified.all() and fits.theta.shape == (2, 2, 301)
    for m, l2 in enumerate([1e-3, 1.0]):
        one = fit(wide, vectors[m], l2=l2, folds=np.arange(40) % 2)
        np.testing.assert_allclose(fits.theta[m], one.theta[0], atol=1e-9)


# ------------------------------------------------------------------------------- shapes, and bits


@pytest.mark.parametrize("of_models", ["weights", "labels"])
@pytest.mark.parametrize("size", [1, 1 << 15], ids=["one by one", "by fives"])
def test_a_model_has_the_bits_that_it_has_alone(of_models, size, monkeypatch, full_teams):
    asked = {"folds": FOLDS, "fit_intercept": True}
    given = {"sample_weight": WEIGHTS} if of_models == "weights" else {}
    y = Y if of_models == "weights" else VECTORS
    together = fit(X, y, l2=L2, n_threads=1, **given, **asked)
    for m in (0, 3, 6):
        one = {name: of[m : m + 1] for name, of in given.items()}
        alone = fit(X, y if y is Y else y[m : m + 1], l2=L2[m], **one, **asked)
        assert bits_of(alone, 0) == bits_of(together, m)
    monkeypatch.setattr(machines, "BATCH_BYTES", size)
    again = fit(X, y, l2=L2, n_threads=3, **given, **asked)
    assert bits_of(again) == bits_of(together)


def test_starts_are_taken():
    first = fit(X, Y, l2=L2, sample_weight=WEIGHTS)
    again = fit(X, Y, l2=L2, sample_weight=WEIGHTS, theta0=first.theta)
    assert (again.n_iter <= 1).all() and first.n_iter.max() > 1
    np.testing.assert_allclose(again.theta, first.theta, atol=1e-10)


def test_machines_against_the_rest_are_those_of_fit_many():
    classes = np.digitize(X[:, 0] + RNG.normal(size=80), [0.0, 1.0])
    model = Ours(l2=0.05).fit(X, classes)
    for k in range(3):
        one = fit(X, classes == k, l2=0.05)
        np.testing.assert_allclose(model.coef_[k], one.theta[0, :-1], atol=1e-10)
        np.testing.assert_allclose(model.intercept_[k], one.theta[0, -1], atol=1e-10)


def test_sparse_rows_of_many_classes_are_an_array():
    classes = np.digitize(X[:, 0] + RNG.normal(size=80), [0.0, 1.0])
    dense, sparse = (Ours(l2=0.05).fit(rows, classes) for rows in (X, csr_array(X)))
    np.testing.assert_array_equal(sparse.coef_, dense.coef_)


# -------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"penalty_factor": np.ones(6)}, "loss is 'squared_hinge', but penalty_factor or center"),
        ({"center": np.ones(7)}, "loss is 'squared_hinge', but penalty_factor or center is given"),
        ({"standardize": True}, "standardize is True and loss is 'squared_hinge', but y, sample"),
        ({"storage": "."}, r"storage is '\.' .*, but y, sample_weight, .*: pass storage=None"),
        ({"sample_weight": np.zeros((7, 80))}, "model 0 has weight in rows of one class at most"),
        ({"folds": np.arange(80) // 79}, "model . without fold 0 has weight in rows of one class"),
        ({"l2": [0.1, 0.2]}, r"sample_weight has shape \(7, 80\), but l2 has shape \(2,\)"),
    ],
)
def test_wrong_input_is_one_sentence_that_names_it(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(X, Y, **({"l2": 0.1, "sample_weight": WEIGHTS} | change))


def test_too_many_parameters_are_refused_with_what_to_use_instead():
    rows, y = np.ones((4000, 2100)), np.arange(4000) % 2
    with pytest.raises(ValueError, match=r"use gradient_descent\(SquaredHingeLoss\(X, y\)"):
        fit(rows, np.stack([y, 1 - y]), l2=0.1)
