"""Scores that are not computed for all models at once: scikit-learn's scorers, and functions."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, cross_val_score

from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV, NetworkSearchCV

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
SPLITS = KFold(3, shuffle=True, random_state=0)
GRID = {"C": [0.01, 1.0]}


def right_of_the_first_class(estimator, X, y, sample_weight=None):
    return np.mean(estimator.predict(X)[y == "setosa"] == "setosa")


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("rows", [X, csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "scoring", ["jaccard_macro", "matthews_corrcoef", right_of_the_first_class]
)
def test_a_scorer_of_others_gives_what_it_gives_one_model_after_the_other(rows, scoring):
    search = clone(LogisticRegressionSearchCV(candidates=GRID, cv=SPLITS, scoring=scoring))
    search.fit(rows, NAMES)
    for k, C in enumerate(GRID["C"]):
        wanted = cross_val_score(LogisticRegression(C=C), rows, NAMES, cv=SPLITS, scoring=scoring)
        found = [search.cv_results_[f"split{f}_test_score"][k] for f in range(3)]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    assert search.score(rows, NAMES) == scorer(search.best_estimator_, rows, NAMES)


def test_scores_of_both_kinds_stand_side_by_side_in_the_order_that_they_were_given():
    scoring = {"first": right_of_the_first_class, "loss": "neg_log_loss", "J": "jaccard_macro"}
    search = LogisticRegressionSearchCV(candidates=GRID, cv=3, scoring=scoring, refit="loss")
    search.fit(X, NAMES)
    names = [name for name in search.cv_results_ if name.startswith("mean_test_")]
    assert names == ["mean_test_first", "mean_test_loss", "mean_test_J"]
    alone = LogisticRegressionSearchCV(candidates=GRID, cv=3).fit(X, NAMES)
    assert search.best_score_ == alone.best_score_


def test_weights_of_held_out_rows_are_handed_over():
    weights, seen = np.arange(150.0) + 1, []

    def scorer(estimator, X, y, sample_weight):
        seen.append(sample_weight)
        return 0.5

    fitted = LogisticRegressionSearchCV(candidates=GRID, cv=SPLITS, scoring=scorer, refit=False)
    fitted.fit(X, NAMES, weights)
    tests = [test for _, test in SPLITS.split(X)]
    assert [of.tolist() for of in seen[::2]] == [weights[test].tolist() for test in tests]


@pytest.mark.parametrize(
    ("scoring", "sentence"),
    [
        (lambda *_: None, r"^scoring returned None: pass a function that returns a number\.$"),
        ({"a": 3}, r"^scoring is 3 .*: pass one or many of .*, or a function of an"),
        ("no_score", "^scoring is 'no_score' .*: pass one or many of neg_log_loss, "),
        ("roc_auc", "^scoring is 'roc_auc' .*, which is of two classes, and y holds 3: pass"),
    ],
)
def test_what_is_no_score_is_a_sentence(scoring, sentence):
    with pytest.raises(ValueError, match=sentence):
        LogisticRegressionSearchCV(candidates=GRID, cv=3, scoring=scoring).fit(X, NAMES)


def test_networks_have_the_scores_that_are_computed_here_alone():
    for scoring in ("jaccard_macro", right_of_the_first_class):
        with pytest.raises(ValueError, match=r"^scoring is .*: pass one or many of neg_log_loss"):
            NetworkSearchCV(1, cv=2, scoring=scoring).fit(X, NAMES)
