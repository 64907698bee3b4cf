"""GroupedLogisticRegressionCV: scikit-learn's checks, its splits, and wrong input."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import metaopt_fast as mf
from metaopt_fast.sklearn import GroupedLogisticRegressionCV

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6))
Y = np.where(X[:, 0] - X[:, 1] + RNG.normal(size=90) > 0, "yes", "no")
GROUPS = np.arange(6) // 2


@pytest.mark.long
@parametrize_with_checks([GroupedLogisticRegressionCV()])
def test_all_of_scikit_learns_estimator_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_it_is_tune_penalties(fit_intercept):
    weights = RNG.uniform(0.5, 2, 90)
    asked = {"fit_intercept": fit_intercept, "spread": 0.01}
    model = GroupedLogisticRegressionCV(GROUPS, class_weight={"yes": 2.0}, **asked)
    model.fit(X, Y, weights)
    found = mf.tune_penalties(
        X, Y == "yes", feature_groups=GROUPS, sample_weight=weights, class_weight={1: 2.0}, **asked
    )
    np.testing.assert_array_equal(model.penalties_, found.l2)
    np.testing.assert_array_equal(model.coef_[0], found.theta[:6])
    assert model.intercept_.tolist() == (found.theta[6:].tolist() if fit_intercept else [0.0])
    assert model.certified_ and model.gap_bound_ < 1e-8 and model.n_iter_ == found.n_points
    decisions = X @ model.coef_[0] + model.intercept_
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-decisions)))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    assert (model.predict(X) == np.where(decisions > 0, "yes", "no")).all()


@pytest.mark.parametrize(
    ("cv", "groups"),
    [
        (KFold(3), None),
        (StratifiedKFold(4, shuffle=True, random_state=1), None),
        (GroupKFold(3), np.arange(90) // 5),
        (list(KFold(3).split(X)), None),
    ],
    ids=["KFold", "StratifiedKFold", "GroupKFold", "splits"],
)
def test_splits_are_scikit_learns(cv, groups):
    model = GroupedLogisticRegressionCV(GROUPS, cv=cv).fit(X, Y, groups=groups)
    folds = np.empty(90, int)
    for k, (_, test) in enumerate(cv if isinstance(cv, list) else cv.split(X, Y, groups)):
        folds[test] = k
    np.testing.assert_array_equal(model.result_.folds, folds)


def test_it_is_a_step_of_pipelines_and_searches():
    pipeline = make_pipeline(StandardScaler(), GroupedLogisticRegressionCV(GROUPS, cv=3))
    spreads = {"groupedlogisticregressioncv__spread": [0.003, 0.3]}
    assert GridSearchCV(pipeline, spreads, scoring="roc_auc", cv=2).fit(X, Y).best_score_ > 0.6


@pytest.mark.parametrize(
    ("options", "data", "sentence"),
    [
        ({"cv": ShuffleSplit(3)}, {}, "cv is .*, whose splits do not hold out each row once: pass"),
        ({"cv": "abc"}, {}, "cv is 'abc' .*: pass an integer, a splitter, or splits"),
        ({"spread": 0}, {}, "spread is 0.0: pass a finite number above 0"),
        ({"feature_groups": [0, 1]}, {}, "feature_groups has 2 entries, but X has 6 columns"),
        ({"class_weight": "even"}, {}, "class_weight is 'even' .*: pass a dict of label to weight"),
        ({}, {"y": np.arange(90) % 3}, "Only binary classification is supported.*: pass labels of"),
        ({}, {"X": csr_matrix(X)}, r"X is a sparse matrix: pass X.toarray\(\)"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_wrong_input_is_one_sentence_that_names_it(options, data, sentence):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=sentence):
            GroupedLogisticRegressionCV(**options).fit(**{"X": X, "y": Y, **data})
