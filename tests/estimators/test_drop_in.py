"""What scikit-learn's LogisticRegression takes, ours takes, too, checked and with its meaning."""

import inspect
import re
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as TheirRegression

from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

IGNORED = {
    "solver": ["liblinear", "newton-cholesky", "saga"],
    "random_state": [3, np.random.RandomState(0)],
    "verbose": [1, True],
    "dual": [True],
    "intercept_scaling": [2.5],
    "n_jobs": [1, -1, -100],
}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return X, (X @ [1, -1, 0.5] + rng.logistic(size=60) > 0).astype(int)


def test_all_arguments_of_scikit_learns_are_there_with_their_defaults():
    ours = inspect.signature(LogisticRegression).parameters
    for name, theirs in inspect.signature(TheirRegression).parameters.items():
        assert name == "tol" or ours[name].default == theirs.default, name


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, some in IGNORED.items() for v in some])
def test_what_chooses_a_way_to_the_optimum_changes_nothing(rows, name, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LogisticRegression(**{name: value}).fit(*rows)
    np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(*rows).coef_)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"solver": "adam"}, "solver is 'adam' (of type str): pass one of lbfgs, liblinear"),
        ({"solver": ["lbfgs"]}, "solver is "),
        ({"random_state": "a"}, "'a' cannot be used to seed"),
        ({"verbose": -1}, "verbose is -1: pass an integer of at least 0"),
        ({"intercept_scaling": 0}, "intercept_scaling is 0.0: pass a finite number above 0"),
        ({"n_jobs": 0}, "n_jobs is 0: pass a number of threads, or -1"),
        ({"n_jobs": 2, "n_threads": 2}, "n_jobs and n_threads are both given: pass one of them"),
        ({"max_iter": -1}, "max_iter is -1: pass an integer of at least 0"),
        ({"penalty": "l3"}, "penalty is 'l3' (of type str): leave it out"),
        ({"penalty": "elasticnet", "l1_ratio": None}, "l1_ratio is None and penalty 'elasticnet'"),
    ],
)
def test_what_scikit_learn_does_not_take_is_refused_in_a_sentence(rows, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        LogisticRegression(**arguments).fit(*rows)


@pytest.mark.parametrize(
    ("arguments", "same", "words"),
    [
        ({"penalty": "l2"}, {}, "'penalty' was deprecated"),
        ({"penalty": None}, {"C": np.inf}, "'penalty' was deprecated"),
        ({"penalty": "l1", "l1_ratio": 1.0}, {"l1_ratio": 1.0}, "'penalty' was deprecated"),
        ({"penalty": "elasticnet", "l1_ratio": 0.5}, {"l1_ratio": 0.5}, "'penalty' was deprec"),
        ({"l1_ratio": None}, {}, "'l1_ratio=None' was deprecated"),
        ({"penalty": "l2", "l1_ratio": None}, {}, "'penalty' was deprecated"),
    ],
)
def test_deprecated_arguments_mean_what_they_meant(rows, arguments, same, words):
    with pytest.warns(FutureWarning, match=words) as found:
        model = LogisticRegression(**arguments).fit(*rows)
    assert len(found) == 1 and found[0].filename == __file__
    np.testing.assert_array_equal(model.coef_, LogisticRegression(**same).fit(*rows).coef_)


@pytest.mark.parametrize(
    ("arguments", "same", "words"),
    [
        ({"penalty": "l1"}, {"l1_ratio": 1.0}, "Inconsistent values: penalty=l1 with l1_ratio=0"),
        ({"penalty": "l1", "l1_ratio": 0.5}, {"l1_ratio": 1.0}, "l1_ratio parameter is only used"),
        ({"penalty": None, "C": 4.0}, {"C": np.inf}, "penalty=None will ignore the C"),
    ],
)
def test_arguments_that_contradict_each_other_are_said(rows, arguments, same, words):
    with (
        pytest.warns(FutureWarning, match="'penalty' was deprecated"),
        pytest.warns(UserWarning, match=words),
    ):
        model = LogisticRegression(**arguments).fit(*rows)
    np.testing.assert_array_equal(model.coef_, LogisticRegression(**same).fit(*rows).coef_)


@pytest.mark.parametrize(("number", "name"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_said_in_scikit_learns_words_and_where(rows, number, name):
    X = rows[0].copy()
    X[3, 1] = number
    words = f"Input X contains {name} in column 1, row 3: pass finite numbers"
    with pytest.raises(ValueError, match=words):
        LogisticRegression().fit(X, rows[1])
    with pytest.raises(ValueError, match=f"Input X contains {name}"):
        TheirRegression().fit(X, rows[1])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_step_leaves_the_coefficients_where_they_begin(rows, n_classes, fit_intercept):
    X, y = rows[0], np.arange(60) % n_classes
    model = LogisticRegression(max_iter=0, fit_intercept=fit_intercept)
    with pytest.warns(ConvergenceWarning, match="did not converge in 0 iterations"):
        model.fit(X, y)
    theirs = TheirRegression(fit_intercept=fit_intercept).fit(X, y)
    assert model.coef_.shape == theirs.coef_.shape
    assert model.intercept_.shape == theirs.intercept_.shape
    assert not model.coef_.any() and not model.intercept_.any()
    assert (model.n_iter_.tolist(), model.gap_bound_, model.certified_) == ([0], np.inf, False)
    np.testing.assert_allclose(model.predict_proba(X), 1 / n_classes)
    fitted = LogisticRegression(warm_start=True, fit_intercept=fit_intercept).fit(X, y)
    coef = fitted.coef_.copy()
    with pytest.warns(ConvergenceWarning):
        fitted.set_params(max_iter=0).fit(X, y)
    np.testing.assert_array_equal(fitted.coef_, coef)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_too_few_steps_are_said_in_scikit_learns_words_too(rows, solver):
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        TheirRegression(solver=solver, max_iter=1, C=1e6, tol=1e-12).fit(*rows)
    said = str(theirs[-1].message).split(" after ")[0].split(" at ")[0]
    with pytest.warns(ConvergenceWarning, match=said) as ours:
        LogisticRegression(solver=solver, max_iter=1, C=1e6, tol=1e-12).fit(*rows)
    assert "1 of 1 models did not converge in 1 iterations" in str(ours[0].message)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_coefficients_are_as_exact_as_the_rows(rows, n_classes):
    X, y = rows[0].astype(np.float32), np.arange(60) % n_classes
    model, exact = LogisticRegression().fit(X, y), LogisticRegression().fit(X.astype(float), y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    assert exact.coef_.dtype == np.float64
    np.testing.assert_array_equal(model.coef_, exact.coef_.astype(np.float32))
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(X), rtol=1e-5)
    assert model.sparsify().coef_.dtype == model.densify().coef_.dtype == np.float32
    warm = LogisticRegression(warm_start=True).fit(X, y).fit(X, y)
    np.testing.assert_allclose(warm.coef_, exact.coef_, rtol=1e-5)
    search = LogisticRegressionSearchCV(candidates={"C": [1.0]}, cv=3).fit(X, y)
    assert search.coef_.dtype == np.float32
