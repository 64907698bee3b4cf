"""Fitted estimators as models, which files keep."""

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

import metaopt_fast as mf
from metaopt_fast.sklearn import (
    GroupedLogisticRegressionCV,
    LinearSVC,
    LogisticRegression,
    NetworkClassifier,
)

X, Y = load_iris(return_X_y=True)
FRAME = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
NETWORKS = {"n_hidden": 3, "n_starts": 4, "max_iter": 5, "random_state": 0}
ESTIMATORS = {
    "logistic": LogisticRegression(),
    "without an intercept": LogisticRegression(fit_intercept=False),
    "machine": LinearSVC(C=0.1),
    "grouped": GroupedLogisticRegressionCV(max_iter=1),
    "network": NetworkClassifier(**NETWORKS),
    "networks": NetworkClassifier(**NETWORKS, ensemble_size=3),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("name", "n_classes"),
    [(name, n) for name in ESTIMATORS for n in (2, 3) if (name, n) != ("grouped", 3)],
)
def test_a_model_predicts_as_its_estimator_does(tmp_path, name, n_classes):
    rows = n_classes > Y
    estimator = ESTIMATORS[name].fit(FRAME[rows], NAMES[rows])
    estimator.model().save(tmp_path / "model.json")
    model = mf.load_model(tmp_path / "model.json")
    assert list(model.classes) == estimator.classes_.tolist()
    shuffled = FRAME[["d", "a", "c", "b"]]
    found, wanted = model.decision_function(shuffled), estimator.decision_function(FRAME)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert model.predict(shuffled).tolist() == estimator.predict(FRAME).tolist()
    if name == "machine":
        with pytest.raises(ValueError, match="was not trained for probabilities"):
            model.predict_proba(FRAME)
    else:
        proba = estimator.predict_proba(FRAME)
        np.testing.assert_allclose(model.predict_proba(shuffled), proba, rtol=1e-10)


def test_columns_of_an_array_are_called_by_their_numbers():
    sparse = LogisticRegression(l1_ratio=1, C=0.1).fit(X[:100], Y[:100]).sparsify()
    model = sparse.model()
    assert model.features == ("x0", "x1", "x2", "x3")
    assert model.predict(X[:100]).tolist() == sparse.predict(X[:100]).tolist()
    assert model.classes == (0, 1)


def test_an_estimator_that_is_not_fitted_has_no_model():
    for estimator in (LogisticRegression(), NetworkClassifier()):
        with pytest.raises(NotFittedError):
            estimator.model()
