"""The estimators on more than two classes: scikit-learn's models, metrics and words."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES, score_classes
from metaopt_fast.selection.tune import tune
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

EXACT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), np.array(["red", "white", "pink"])[y]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"red": 2.0, "pink": 0.5}])
def test_models_are_scikit_learns(wine, class_weight, fit_intercept):
    X, y = wine
    weights = 1.0 + np.arange(len(y)) % 3
    options = {"C": 0.3, "class_weight": class_weight, "fit_intercept": fit_intercept}
    ours = LogisticRegression(**options).fit(X, y, weights)
    theirs = TheirRegression(**options, **EXACT).fit(X, y, weights)
    assert ours.coef_.shape == theirs.coef_.shape == (3, 13)
    assert ours.intercept_.shape == theirs.intercept_.shape
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-6)
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        found, wanted = getattr(ours, method)(X), getattr(theirs, method)(X)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.certified_
    assert ours.gap_bound_ <= 1e-8


def test_a_fitted_model_starts_warm_and_survives_pickling(wine):
    X, y = wine
    model = LogisticRegression(warm_start=True).fit(X, y)
    cold, proba = model.n_iter_[0], model.predict_proba(X)
    assert model.fit(X, y).n_iter_[0] < cold
    np.testing.assert_allclose(pickle.loads(pickle.dumps(model)).predict_proba(X), proba, atol=1e-7)


def test_probabilities_are_exact_for_decisions_of_any_size():
    model = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 2])
    model.coef_, model.intercept_ = np.array([[1.0], [0.0], [-1.0]]), np.zeros(3)
    proba = model.predict_proba([[700.0], [0.0], [-1e5]])
    np.testing.assert_allclose(proba[0], [1, np.exp(-700), 0], rtol=1e-13)
    np.testing.assert_allclose(proba[1], 1 / 3)
    assert model.predict_log_proba([[-1e5]]).tolist() == [[-2e5, -1e5, 0]]


def test_a_search_finds_the_scores_of_scikit_learns(wine):
    X, y = wine
    cv, grid = StratifiedKFold(4), {"C": [0.01, 1.0]}
    scoring = list(MULTICLASS_SCORES)
    ours = LogisticRegressionSearchCV(
        candidates=grid, cv=cv, scoring=scoring, refit="f1_macro", tol=1e-11
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tolerances below what can be proven
        ours.fit(X, y)
    theirs = GridSearchCV(TheirRegression(**EXACT), grid, cv=cv, scoring=scoring, refit="f1_macro")
    theirs.fit(X, y)
    order = np.argsort(ours.cv_results_["param_C"].astype(float))
    for name in scoring:
        found = ours.cv_results_[f"mean_test_{name}"][order]
        np.testing.assert_allclose(found, theirs.cv_results_[f"mean_test_{name}"], atol=1e-5)
    assert ours.best_params_ == theirs.best_params_
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y))
    assert ours.best_estimator_.coef_.shape == (3, 13)
    assert ours.gap_bounds_.shape == (2, 4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("name", ["f1", "roc_auc", "brier", "r2"])
def test_a_score_of_two_classes_is_refused_with_the_names_of_others(wine, name):
    X, y = wine
    reason = ".*" if name == "r2" else ", which is of two classes, and y holds 3"
    with pytest.raises(ValueError, match=rf"scoring is '{name}'.*{reason}: pass .*f1_macro"):
        LogisticRegressionSearchCV(scoring=name).fit(X, y)


def theirs_of(name, y, decisions, weights):
    p = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    predicted, labels = decisions.argmax(axis=1), np.arange(decisions.shape[1])
    if name == "neg_log_loss":
        return -metrics.log_loss(y, p, sample_weight=weights, labels=labels)
    if name == "roc_auc_ovr":
        return metrics.roc_auc_score(y, p, multi_class="ovr", sample_weight=weights)
    if name.startswith("f1"):
        return metrics.f1_score(
            y, predicted, average=name[3:], sample_weight=weights, zero_division=0
        )
    return getattr(metrics, f"{name}_score")(y, predicted, sample_weight=weights)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_classes=st.integers(3, 6),
    weighted=st.booleans(),
    tied=st.booleans(),
)
def test_scores_are_those_of_scikit_learns_metrics(seed, n_classes, weighted, tied):
    rng = np.random.default_rng(seed)
    y = np.append(np.arange(n_classes), rng.integers(0, n_classes, 40))
    decisions = rng.normal(size=(2, len(y), n_classes)) * rng.choice([0.1, 2, 60])
    if tied:
        decisions = np.round(decisions)
    weights = rng.integers(1, 4, len(y)).astype(float) if weighted else np.ones(len(y))
    for name, score in MULTICLASS_SCORES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = [theirs_of(name, y, one, weights) for one in decisions]
        np.testing.assert_allclose(score(decisions, y, weights), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_models_are_scored_by_their_decisions(wine, fit_intercept):
    X, y = wine
    codes = np.unique(y, return_inverse=True)[1]
    theirs = TheirRegression(fit_intercept=fit_intercept).fit(X[::2], codes[::2])
    theta = np.hstack([theirs.coef_, theirs.intercept_[:, None]] if fit_intercept else theirs.coef_)
    theta = theta.reshape(1, 3, -1)
    found = score_classes(["neg_log_loss", "accuracy"], theta, X[1::2], codes[1::2])
    wanted = -metrics.log_loss(codes[1::2], theirs.predict_proba(X[1::2]))
    assert found["neg_log_loss"][0] == pytest.approx(wanted, rel=1e-10)
    assert found["accuracy"][0] == theirs.score(X[1::2], codes[1::2])


def test_rows_that_weigh_nothing_have_no_score(wine):
    X, _ = wine
    found = score_classes(
        ["accuracy", "f1_macro"], np.ones((2, 3, 13)), X[:9], np.arange(9) % 3, np.zeros(9)
    )
    for scores in found.values():
        assert np.isnan(scores).tolist() == [True, True]


def test_tune_takes_more_than_two_classes(wine):
    X, y = wine
    codes = np.unique(y, return_inverse=True)[1].astype(np.uint8)
    result = tune(X, codes, 8, cv=3, scoring="accuracy")
    assert result.theta.shape == (3, 14)
    assert result.converged.all()
    assert result.mean.max() > 0.95
    with pytest.raises(ValueError, match=r"scoring is 'f1'.*pass one of neg_log_loss"):
        tune(X, codes, 8, scoring="f1")
