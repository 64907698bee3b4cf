"""The estimators on sparse rows: those of dense ones, and of scikit-learn on text."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression as Theirs
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sparse_data import FORMATS, problem

from metaopt_fast.sklearn import LinearSVC, LogisticRegression, LogisticRegressionSearchCV

CANDIDATES = {"C": [0.1, 1.0, 10.0], "class_weight": [None, "balanced"]}
OPTIONS = {"candidates": CANDIDATES, "cv": 3, "scoring": ["neg_log_loss", "roc_auc"]}


def dense_and_sparse(estimator, kind="csr_matrix"):
    X, y, _, weights = problem(300, 60)
    rows = getattr(sparse, kind)(X)
    weights = weights + 0.5
    return [clone(estimator).fit(each, y, weights) for each in (X.toarray(), rows)], rows


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", [*FORMATS, "lil_matrix"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0}])
def test_a_model_of_sparse_rows_is_that_of_dense_ones_and_scikit_learns(kind, class_weight):
    models, X = dense_and_sparse(LogisticRegression(C=2.0, class_weight=class_weight), kind)
    _, y, _, weights = problem(300, 60)
    theirs = Theirs(C=2.0, class_weight=class_weight, solver="newton-cholesky", tol=1e-12)
    theirs.fit(X.toarray(), y, weights + 0.5)
    for model in models:
        np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-6)
        np.testing.assert_allclose(model.intercept_, theirs.intercept_, atol=1e-6)
        assert model.certified_
    for of in ("decision_function", "predict_proba", "predict"):
        found = [getattr(model, of)(rows) for model in models for rows in (X, X.toarray())]
        for other in found[1:]:
            np.testing.assert_allclose(other, found[0], atol=1e-6)


def test_a_search_on_sparse_rows_is_that_of_dense_ones():
    (dense, found), X = dense_and_sparse(LogisticRegressionSearchCV(refit="roc_auc", **OPTIONS))
    for name in OPTIONS["scoring"]:
        key = f"mean_test_{name}"
        np.testing.assert_allclose(found.cv_results_[key], dense.cv_results_[key], atol=1e-4)
    assert found.best_params_ == dense.best_params_ and found.certified_.all()
    np.testing.assert_allclose(found.coef_, dense.coef_, atol=1e-4)
    np.testing.assert_array_equal(found.predict(X), dense.predict(X.toarray()))


def test_splits_of_any_kind_are_cut_from_sparse_rows():
    X, y, *_ = problem(120, 30)
    splits = [(np.arange(80), np.arange(80, 120)), (np.arange(40, 120), np.arange(40))]
    search = LogisticRegressionSearchCV(candidates={"C": [1.0]}, cv=splits).fit(X, y)
    other = LogisticRegressionSearchCV(candidates={"C": [1.0]}, cv=splits).fit(X.toarray(), y)
    assert search.best_score_ == pytest.approx(other.best_score_, abs=1e-5)


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_l1_penalties_of_sparse_rows_have_the_model_of_their_array(l1_ratio):
    X, y, *_ = problem(density=0.9)
    model = LogisticRegression(l1_ratio=l1_ratio, tol=1e-10)
    sparse, dense = (clone(model).fit(rows, y) for rows in (X, X.toarray()))
    assert sparse.certified_ and dense.certified_
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-4)
    assert ((sparse.coef_ == 0) == (dense.coef_ == 0)).all()


@pytest.mark.parametrize("estimator", [LogisticRegression(C=np.inf), LinearSVC()])
def test_what_takes_a_dense_copy_is_the_same_model(estimator):
    X, y, *_ = problem(density=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [clone(estimator).fit(rows, y) for rows in (X, X.toarray())]
    assert models[0].coef_.tobytes() == models[1].coef_.tobytes()


def test_text_is_searched_in_a_pipeline():
    words = np.array(["wood", "stone", "river", "tree", "leaf", "rock", "sand", "lake"])
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    texts = [" ".join(rng.choice(words[4 * k :][:6] if k else words[:5], 9)) for k in y]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0))
    assert cross_val_score(model, texts, y).mean() > 0.9
    search = LogisticRegressionSearchCV(candidates={"C": [0.1, 10.0]}, scoring="accuracy")
    assert make_pipeline(TfidfVectorizer(), search).fit(texts, y).score(texts, y) > 0.9


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(3)])
def test_a_number_that_is_not_finite_is_named_and_columns_are_counted(estimator):
    X, y, *_ = problem()
    bad = X.copy()
    bad.data[0] = np.nan
    with pytest.raises(ValueError, match="X has nan in row 0, column"):
        clone(estimator).fit(bad, y)
    model = clone(estimator).fit(X, y)
    with pytest.raises(ValueError, match="X has nan in row 0, column"):
        model.predict(bad)
    with pytest.raises(ValueError, match=r"X has 9 features, but .* is expecting 40"):
        model.predict(X[:, :9])


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
def test_single_precision_in_is_single_precision_out(form):
    rng = np.random.default_rng(0)
    X = form(rng.normal(size=(60, 4)) * (rng.uniform(size=(60, 4)) < 0.5), dtype=np.float32)
    y = np.arange(60) % 2
    model, exact = (LogisticRegression().fit(rows, y) for rows in (X, X.astype(np.float64)))
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    np.testing.assert_array_equal(model.coef_, exact.coef_.astype(np.float32))
