"""The tree of least cost as an estimator."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import metaopt_fast as mf
from metaopt_fast.sklearn import BestTreeClassifier


@parametrize_with_checks([BestTreeClassifier(), BestTreeClassifier(depth=2, min_leaf=2)])
def test_all_of_scikit_learns_estimator_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    return X, np.array(["red", "white", "pink"])[y]


def test_the_estimators_tree_is_that_of_the_function(wine):
    X, y = wine
    weights = 1 + np.arange(len(y)) % 3
    options = {"depth": 2, "n_thresholds": 5, "min_leaf": 3, "class_cost": {"red": 2}}
    model = BestTreeClassifier(**options).fit(X, y, weights)
    tree = mf.best_tree(X, y, sample_weight=weights, **options)
    assert model.tree_.to_dict() == tree.to_dict()
    assert (model.predict(X) == tree.predict(X)).all()
    assert model.classes_.tolist() == list(tree.classes)
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(
        proba, tree.counts[tree.apply(X)] / tree.counts[tree.apply(X)].sum(axis=1)[:, None]
    )
    assert (pickle.loads(pickle.dumps(model)).predict(X) == tree.predict(X)).all()
    assert cross_val_score(model, X, y, cv=3).mean() > 0.8


def test_columns_have_the_names_of_a_frame(wine):
    pandas = pytest.importorskip("pandas")
    X, y = wine
    frame = pandas.DataFrame(X, columns=[f"column {j}" for j in range(X.shape[1])])
    model = BestTreeClassifier(depth=2).fit(frame, y)
    assert model.tree_.splits[0].name == f"column {model.tree_.splits[0].column}"
    assert (model.tree_.predict(frame) == model.predict(frame)).all()


def test_weights_that_are_no_whole_numbers_are_refused(wine):
    X, y = wine
    with pytest.raises(ValueError, match="a tree counts whole rows"):
        BestTreeClassifier().fit(X, y, np.full(len(y), 0.5))
