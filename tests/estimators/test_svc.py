"""LinearSVC: scikit-learn's own beside it, certificates, wrong input."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC as Theirs

from metaopt_fast.sklearn import LinearSVC

EXACT = {"dual": False, "tol": 1e-10, "max_iter": 100_000, "fit_intercept": False}


@pytest.fixture(scope="module")
def noisy():
    """120 rows of strings as labels, with weights, which no line separates."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    labels = np.where(X[:, 0] + rng.normal(size=120) > 0.4, "yes", "no")
    return X, labels, rng.integers(1, 4, 120).astype(float)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, {"yes": 3.0}])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_without_an_intercept_a_machine_is_scikit_learns(noisy, C, class_weight, weighted):
    X, labels, weights = noisy
    weights = weights if weighted else None
    ours = LinearSVC(C, class_weight=class_weight, fit_intercept=False).fit(X, labels, weights)
    theirs = Theirs(C=C, class_weight=class_weight, **EXACT).fit(X, labels, weights)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    assert ours.certified_ and ours.gap_bound_ <= 1e-12 and ours.intercept_.tolist() == [0]
    assert (ours.predict(X) == theirs.predict(X)).all()
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-5)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0, 2: 0.5}])
def test_of_more_classes_each_is_against_the_rest_as_liblinear_weighs_them(class_weight):
    X, y = load_iris(return_X_y=True)
    X, y = StandardScaler().fit_transform(X)[20:], y[20:]
    ours = LinearSVC(class_weight=class_weight, fit_intercept=False).fit(X, y)
    theirs = Theirs(class_weight=class_weight, **EXACT).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    assert ours.decision_function(X).shape == (130, 3) and ours.certified_
    assert (ours.predict(X) == theirs.predict(X)).all()


def test_with_an_intercept_a_large_column_of_ones_is_nearly_that_of_liblinear():
    X, y = load_digits(return_X_y=True)
    X, y = X[:400] / 16, np.where(y[:400] > 4, "high", "low")
    ours = LinearSVC(C=0.1).fit(X, y)
    settings = {**EXACT, "fit_intercept": True, "intercept_scaling": 1e3}
    theirs = Theirs(C=0.1, **settings).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-3)


def test_l2_takes_the_place_of_C(noisy):
    X, labels, weights = noisy
    by_C = LinearSVC(C=0.5).fit(X, labels, weights)
    by_l2 = LinearSVC(l2=1 / (0.5 * weights.sum())).fit(X, labels, weights)
    np.testing.assert_array_equal(by_C.coef_, by_l2.coef_)


def test_it_is_a_step_of_pipelines_and_searches(noisy):
    X, labels, _ = noisy
    pipeline = make_pipeline(StandardScaler(), LinearSVC())
    search = GridSearchCV(pipeline, {"linearsvc__C": [0.01, 1.0]}, scoring="roc_auc", cv=3)
    assert search.fit(X, labels).best_score_ > 0.6
    assert not hasattr(LinearSVC(), "predict_proba")


def test_no_penalty_is_none_and_says_what_it_could_not_prove(noisy):
    X, labels, _ = noisy
    with pytest.warns(RuntimeWarning, match="l2 is 0 and an optimum could not be certified"):
        model = LinearSVC(C=np.inf).fit(X, labels)
    theirs = LinearSVC(C=1e9).fit(X, labels)
    assert not model.certified_
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-6)


def test_a_fit_that_was_cut_short_warns(noisy):
    X, labels, _ = noisy
    with pytest.warns(ConvergenceWarning, match="did not converge in 1 iterations"):
        model = LinearSVC(max_iter=1).fit(X, labels)
    assert model.n_iter_ == 1 and not model.certified_


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"C": 0.0}, "C is 0.0: pass a finite number above 0"),
        ({"tol": -1.0}, "tol is -1.0: pass a finite number above 0"),
        ({"fit_intercept": 1}, "fit_intercept is 1 .*: pass True or False"),
        ({"class_weight": "even"}, "class_weight is 'even' .*: pass a dict of label to weight"),
        ({"l2": -1.0}, "l2 is -1.0: pass a finite number of at least 0"),
    ],
)
def test_wrong_input_is_one_sentence_that_names_it(noisy, options, sentence):
    X, labels, _ = noisy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=sentence):
            LinearSVC(**options).fit(X, labels)
