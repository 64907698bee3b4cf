"""Gradients of validation losses for penalties: differences, the slow twin, bits, bad input."""

import numpy as np
import pytest
from fits import problem
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import metaopt_fast as mf
from metaopt_fast.fitting import differing
from metaopt_fast.reference import fitting as reference

X, Y, FOLDS, WEIGHTS = problem()
WEIGHTS = WEIGHTS + 0.5
GROUPS = np.array([1, 0, 2, 1, 0, 1])
ASKED = {"folds": FOLDS, "validation_gradient": True}
TIGHT = {"tol": 1e-12}


def data(name):
    load, label = {
        "breast_cancer": (load_breast_cancer, lambda y: y),
        "digits": (load_digits, lambda y: y > 4),
        "wine": (load_wine, lambda y: y == 1),
    }[name]
    rows, y = load(return_X_y=True)
    rows, y = rows[:: 1 + len(rows) // 400], label(y)[:: 1 + len(rows) // 400]
    rows = rows[:, rows.std(axis=0) > 0]
    return mf.standardize(rows)[0], y


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_groups", [1, 3, 20])
@pytest.mark.parametrize("name", ["breast_cancer", "digits", "wine"])
def test_gradients_are_central_differences_to_1e_6(name, n_groups):
    rows, y = data(name)
    n_groups = min(n_groups, rows.shape[1])
    groups = np.arange(rows.shape[1]) % n_groups
    logs, step = np.random.default_rng(0).uniform(-6, -2, n_groups), 1e-3
    away = np.concatenate([step * np.eye(n_groups), -step * np.eye(n_groups)])

    def fit(logs, **asked):
        factors = np.exp(logs)[:, groups]
        return mf.fit_many(rows, y, l2=1.0, penalty_factor=factors, folds=3, **asked, **TIGHT)

    fits = fit(logs[None], validation_gradient=True, feature_groups=groups)
    assert fits.validation_gradient.shape == (1, 3, n_groups) and fits.certified.all()
    moved = fit(logs + away).validation_loss
    differences = (moved[:n_groups] - moved[n_groups:]).T / (2 * step)
    largest = np.abs(differences).max()
    np.testing.assert_allclose(fits.validation_gradient[0], differences, atol=1e-6 * largest)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    fit_intercept=st.booleans(),
    class_weight=st.sampled_from([None, "balanced", {0: 0.3, 1: 2.0}]),
    grouped=st.booleans(),
    shift=st.sampled_from([0.0, 1e4]),
)
def test_gradients_are_those_of_the_slow_twin(seed, fit_intercept, class_weight, grouped, shift):
    rng = np.random.default_rng(seed)
    asked = {
        "l2": rng.uniform(0.01, 1, (3, 3)),
        "class_weight": class_weight,
        "sample_weight": WEIGHTS,
        "penalty_factor": rng.choice([0.0, 0.5, 1.0, 4.0, np.inf], (3, 6)),
        "center": rng.normal(size=6),
        "feature_groups": GROUPS if grouped else None,
        "fit_intercept": fit_intercept,
        **ASKED,
    }
    asked["penalty_factor"][:, 1] = 1.0
    # With an intercept, columns may lie anywhere.
    rows = X + shift * fit_intercept
    fits = mf.fit_many(rows, Y, **asked, **TIGHT)
    twin = reference.fit_many(X, Y, **asked)
    assert fits.validation_gradient.shape == (3, 3) + (3,) * grouped
    np.testing.assert_allclose(fits.validation_gradient, twin.validation_gradient, atol=1e-7)


def test_groups_of_all_features_sum_to_the_gradient_for_l2():
    asked = {"l2": [0.01, 0.1], "sample_weight": WEIGHTS, **ASKED, **TIGHT}
    one = mf.fit_many(X, Y, **asked).validation_gradient
    parts = mf.fit_many(X, Y, feature_groups=GROUPS, **asked).validation_gradient
    np.testing.assert_allclose(parts.sum(axis=2), one, rtol=1e-12)
    of_one = mf.fit_many(X, Y, feature_groups=np.zeros(6, int), **asked).validation_gradient
    np.testing.assert_array_equal(of_one[..., 0], one)


def test_an_intercepts_penalty_belongs_to_no_group_but_to_l2():
    factors = np.array([1, 1, 1, 1, 1, 1, 2.0])
    asked = {"penalty_factor": factors, **ASKED, **TIGHT}
    parts = mf.fit_many(X, Y, l2=0.1, feature_groups=GROUPS, **asked)
    one = mf.fit_many(X, Y, l2=0.1, **asked)
    step = 1e-3
    moved = mf.fit_many(X, Y, l2=0.1 * np.exp([step, -step]), **asked).validation_loss
    np.testing.assert_allclose(
        one.validation_gradient[0], (moved[0] - moved[1]) / (2 * step), atol=1e-8
    )
    assert (np.abs(parts.validation_gradient.sum(axis=2) - one.validation_gradient) > 1e-6).all()


def test_penalties_as_of_standardized_columns_have_gradients():
    rows, step = X * [1, 10, 0.1, 1, 3, 1], 1e-3
    logs = np.array([-3.0, -2.0, -4.0])
    away = step * np.concatenate([np.eye(3), -np.eye(3)])

    def fit(logs, **asked):
        factors = np.exp(logs)[:, GROUPS]
        asked |= {"penalty_factor": factors, "standardize": True, **TIGHT}
        return mf.fit_many(rows, Y, l2=1.0, folds=FOLDS, **asked)

    moved = fit(logs + away).validation_loss
    slopes = fit(logs[None], validation_gradient=True, feature_groups=GROUPS).validation_gradient
    np.testing.assert_allclose(slopes[0], (moved[:3] - moved[3:]).T / (2 * step), atol=1e-7)


def test_penalties_of_0_and_of_infinity_have_no_gradient():
    factors = np.array([0, 1, np.inf, 0, 1, 0.0])
    fits = mf.fit_many(X, Y, l2=0.1, penalty_factor=factors, feature_groups=GROUPS, **ASKED)
    assert (fits.validation_gradient[..., [1, 2]] == 0).all()
    assert (fits.validation_gradient[..., 0] != 0).all()


def test_groups_may_be_numbered_in_any_order():
    order = np.array([2, 0, 1])
    one = mf.fit_many(X, Y, l2=0.1, feature_groups=GROUPS, **ASKED).validation_gradient
    other = mf.fit_many(X, Y, l2=0.1, feature_groups=order[GROUPS], **ASKED).validation_gradient
    np.testing.assert_array_equal(one, other[..., order])


def test_a_model_has_the_gradient_that_it_has_alone_for_any_threads(monkeypatch):
    rng = np.random.default_rng(1)
    asked = {"feature_groups": GROUPS, **ASKED}
    factors, l2 = rng.uniform(0.5, 2, (30, 6)), rng.uniform(0.01, 1, 30)
    fits = mf.fit_many(X, Y, l2=l2, penalty_factor=factors, **asked)
    for m in (0, 7, 29):
        one = mf.fit_many(X, Y, l2=l2[m], penalty_factor=factors[m], **asked)
        np.testing.assert_array_equal(one.validation_gradient[0], fits.validation_gradient[m])
    for n_threads in (1, 3):
        again = mf.fit_many(X, Y, l2=l2, penalty_factor=factors, n_threads=n_threads, **asked)
        np.testing.assert_array_equal(again.validation_gradient, fits.validation_gradient)
    monkeypatch.setattr(differing, "BATCH_BYTES", 1)
    again = mf.fit_many(X, Y, l2=l2, penalty_factor=factors, **asked)
    np.testing.assert_array_equal(again.validation_gradient, fits.validation_gradient)


def test_models_that_differ_anyway_keep_their_bits_beside_gradients():
    asked = {"l2": 0.1, "penalty_factor": np.ones((2, 6)), "folds": FOLDS}
    plain, fits = mf.fit_many(X, Y, **asked), mf.fit_many(X, Y, validation_gradient=True, **asked)
    np.testing.assert_array_equal(plain.theta, fits.theta)
    np.testing.assert_array_equal(plain.validation_loss, fits.validation_loss)
    assert plain.validation_gradient is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"folds": None}, "folds is None: pass folds=5"),
        ({"l1": 0.1}, "l1 is 0.1 .*: pass l1=0"),
        ({"loss": "squared_hinge"}, "loss is 'squared_hinge' .*: pass loss='logistic'"),
        ({"storage": "."}, "storage is '.' .*: pass storage=None"),
        ({"validation_gradient": 1}, "validation_gradient is 1 .*: pass True or False"),
        ({"validation_gradient": False}, "feature_groups is given, but validation_gradient is F"),
        ({"feature_groups": [0, 1]}, "feature_groups has 2 entries, but X has 6 columns: pass"),
        ({"feature_groups": [0, 0, 0, 2, 2, 2]}, "feature_groups holds the numbers 0, 2: pass"),
        ({"feature_groups": [-1, 0, 0, 1, 1, 1]}, "feature_groups holds the numbers -1, 0, 1:"),
        ({"feature_groups": list("aabbcc")}, "feature_groups .*: pass"),
        ({"feature_groups": [True] * 6}, "feature_groups has dtype bool: pass"),
        ({"feature_groups": [[0] * 6]}, "feature_groups .*: pass"),
        ({"y": np.arange(80) % 3}, "y holds .*: pass labels of two"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_input_is_one_sentence_that_names_it(wrong, sentence):
    asked = {"y": Y, "l2": 0.1, "feature_groups": GROUPS, **ASKED, **wrong}
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        mf.fit_many(X, **asked)
    assert "\n" not in str(caught.value)
