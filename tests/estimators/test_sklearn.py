"""The estimators: scikit-learn's checks, metrics and results, and its own estimators beside."""

import pickle
import sys
import time
import warnings

import mpmath
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from scipy.special import expit
from scipy.stats import loguniform, randint
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from metaopt_fast.reference.fitting import of_class
from metaopt_fast.selection import scores as scoring
from metaopt_fast.selection import splits
from metaopt_fast.selection.scores import SCORES, score_many
from metaopt_fast.sklearn import LinearSVC, LogisticRegression, LogisticRegressionSearchCV

EXACT = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}
THEIR_NAMES = {"brier": "neg_brier_score"}


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def noisy():
    """120 rows of strings as labels, with weights, which no line separates."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    labels = np.where(X[:, 0] + rng.normal(size=120) > 0.4, "yes", "no")
    return X, labels, rng.integers(0, 4, 120).astype(float)


def their_weights(labels, weights, class_weight):
    """Sample weights times class weights: scikit-learn's own "balanced" counted rows, not weights,
    before 1.7."""
    weights = np.ones(len(labels)) if weights is None else weights
    if isinstance(class_weight, dict):
        return weights * [class_weight.get(label, 1.0) for label in labels]
    kept = weights > 0
    factors = np.zeros(len(labels))
    factors[kept] = of_class(class_weight, labels[kept] == "yes", weights[kept])
    return weights * factors


def assert_same_model(ours, theirs, tol=1e-6):
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=tol, rtol=tol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=tol, rtol=tol)


@pytest.mark.long
@parametrize_with_checks(
    [
        LogisticRegression(),
        LogisticRegression(l1_ratio=0.5),
        LogisticRegressionSearchCV(n_iter=5),
        LogisticRegressionSearchCV(n_iter=5, l1_ratio=1.0),
        LinearSVC(),
    ]
)
def test_all_of_scikit_learns_estimator_checks_pass(estimator, check):
    check(estimator)


# ----------------------------------------------------------------------------- LogisticRegression


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"yes": 3.0}])
@pytest.mark.parametrize(
    "options", [{}, {"C": 0.01}, {"C": 1e3}, {"fit_intercept": False}], ids=str
)
def test_a_model_is_scikit_learns(noisy, options, class_weight, weighted):
    X, labels, weights = noisy
    weights = weights if weighted else None
    ours = LogisticRegression(**options, class_weight=class_weight, tol=1e-12)
    ours.fit(X, labels, weights)
    theirs = TheirRegression(**options, **EXACT)
    theirs.fit(X, labels, their_weights(labels, weights, class_weight))
    assert_same_model(ours, theirs)
    assert (ours.classes_ == theirs.classes_).all()
    assert ours.certified_
    assert (ours.predict(X) == theirs.predict(X)).all()
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        found, wanted = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_l2_takes_the_place_of_C(cancer):
    X, y = cancer
    by_C, by_l2 = LogisticRegression(C=0.5), LogisticRegression(l2=1 / (0.5 * len(y)))
    np.testing.assert_allclose(by_C.fit(X, y).coef_, by_l2.fit(X, y).coef_, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("options", [{"l1_ratio": 1.0}, {"C": 0.1, "l1_ratio": 0.4}], ids=str)
def test_a_model_with_an_l1_penalty_is_sagas(noisy, options, class_weight, weighted):
    X, labels, weights = noisy
    weights = weights if weighted else None
    ours = LogisticRegression(**options, class_weight=class_weight, tol=1e-11)
    ours.fit(X, labels, weights)
    theirs = TheirRegression(**options, solver="saga", tol=1e-10, max_iter=10_000)
    theirs.fit(X, labels, their_weights(labels, weights, class_weight))
    assert_same_model(ours, theirs, 1e-5)
    assert ours.certified_


def test_a_sparse_coef_is_the_same_model(cancer):
    X, y = cancer
    model = LogisticRegression(C=0.1, l1_ratio=1.0).fit(X, y)
    dense, decisions = model.coef_, model.decision_function(X)
    assert model.sparsify() is model and sparse.issparse(model.coef_)
    assert model.coef_.nnz == np.count_nonzero(dense) == 8
    np.testing.assert_array_equal(model.decision_function(X), decisions)
    np.testing.assert_array_equal(model.sparsify().densify().densify().coef_, dense)
    warm = model.sparsify().set_params(warm_start=True).fit(X, y)
    np.testing.assert_allclose(warm.coef_, dense, atol=1e-5)
    for method in ("sparsify", "densify"):
        with pytest.raises(NotFittedError):
            getattr(LogisticRegression(), method)()


def test_no_penalty_is_an_infinite_C(noisy):
    X, labels, _ = noisy
    ours = LogisticRegression(C=np.inf).fit(X, labels)
    assert_same_model(ours, TheirRegression(C=np.inf, **EXACT).fit(X, labels))


def test_small_probabilities_are_exact():
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([0.0])
    found = model.predict_proba([[40.0], [-700.0]])
    exact = [[float(1 / (1 + mpmath.exp(sign * z))) for sign in (1, -1)] for z in (40, -700)]
    np.testing.assert_array_max_ulp(found, np.array(exact), 2)
    np.testing.assert_allclose(
        model.predict_log_proba([[40.0], [-1e6]]), [[-40.0, -np.exp(-40.0)], [0.0, -1e6]]
    )


def test_a_warm_start_starts_at_the_last_solution(cancer):
    X, y = cancer
    model = LogisticRegression(warm_start=True)
    first = model.fit(X, y).n_iter_[0]
    assert model.fit(X, y).n_iter_[0] < first
    cold = LogisticRegression(C=2.0).fit(X, y)
    np.testing.assert_allclose(model.set_params(C=2.0).fit(X, y).coef_, cold.coef_, atol=1e-6)


def test_max_iter_is_a_convergence_warning_at_the_callers_line(cancer):
    with pytest.warns(ConvergenceWarning, match="1 of 1 models did not converge in 1 ") as caught:
        LogisticRegression(max_iter=1).fit(*cancer)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(3)])
def test_names_of_features_are_kept_and_compared(noisy, estimator):
    X, labels, _ = noisy
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = clone(estimator).fit(frame, labels)
    assert model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("dcba")])


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(3)])
@pytest.mark.parametrize("value, name", [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_named_by_its_first_column(noisy, estimator, value, name):
    X, labels, _ = noisy
    model = clone(estimator).fit(X, labels)
    bad = X.copy()
    bad[7, 2] = bad[3, 3] = value
    wanted = f"Input X contains {name} in column 2, row 7: pass finite numbers."
    with pytest.raises(ValueError) as caught:
        clone(estimator).fit(bad, labels)
    assert str(caught.value) == wanted
    with pytest.raises(ValueError) as caught:
        model.predict(bad)
    assert str(caught.value) == wanted
    with pytest.raises(ValueError, match=r"column 2 \(c\), row 7"):
        clone(estimator).fit(pd.DataFrame(bad, columns=list("abcd")), labels)


def test_frames_of_mixed_columns_are_the_array_of_their_numbers(noisy):
    X, labels, _ = noisy
    whole, flag = np.round(3 * X[:, 1]).astype(int), X[:, 2] > 0
    frame = pd.DataFrame({"x": X[:, 0], "k": whole, "b": flag})
    wanted = LogisticRegression().fit(np.column_stack([X[:, 0], whole, flag]), labels).coef_
    for name, given in {
        "pandas": frame,
        "nullable": frame.convert_dtypes(),
        "Arrow": frame.convert_dtypes(dtype_backend="pyarrow"),
        "objects": frame.astype(object),
        "categories": frame.assign(k=frame.k.astype("category")),
        "polars": pl.from_pandas(frame),
        "decimals": pl.from_pandas(frame).with_columns(pl.col("k").cast(pl.Decimal(10, 2))),
        "pyarrow": pa.Table.from_pandas(frame),
    }.items():
        assert LogisticRegression().fit(given, labels).coef_.tobytes() == wanted.tobytes(), name


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(3)])
def test_a_column_that_holds_no_numbers_is_named(noisy, estimator):
    X, labels, _ = noisy
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = clone(estimator).fit(frame, labels)
    for column, sentence in {
        "city": "X: column 'c' has dtype .* of text: drop it, or encode it, e.g. by pandas.get_dum",
        np.datetime64("2024-02-29"): "X: column 'c' has dtype datetime64",
    }.items():
        for call in (lambda X: clone(estimator).fit(X, labels), model.predict):
            with pytest.raises(TypeError, match=sentence):
                call(frame.assign(c=column))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"C": 0.0}, r"C is 0\.0: pass a finite number above 0\."),
        ({"C": np.nan}, r"C is nan: pass"),
        ({"C": "1"}, r"C is '1' \(of type str\): pass"),
        ({"l1_ratio": -0.1}, r"l1_ratio is -0\.1: pass a finite number of at least 0\."),
        ({"l1_ratio": 1.5}, r"l1_ratio is 1\.5: pass a number from 0 to 1\."),
        ({"l2": -1.0}, r"l2 is -1\.0: pass a finite number of at least 0\."),
        ({"l2": np.nan}, r"l2 is nan: pass"),
        ({"class_weight": "even"}, r"class_weight is 'even' \(of type str\): pass a dict"),
        ({"class_weight": {"yes": -1.0}}, r"class_weight\['yes'\] is -1\.0: pass"),
        ({"n_threads": 0}, r"n_threads is 0: pass an integer from 1"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(noisy, options, message):
    X, labels, _ = noisy
    with pytest.raises((ValueError, TypeError), match=message):
        LogisticRegression(**options).fit(X, labels)


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(3)])
def test_one_class_is_one_sentence(noisy, estimator):
    X, labels, _ = noisy
    with pytest.raises(
        ValueError, match=r"^y holds one class, 'no': pass labels of two or more\.$"
    ):
        clone(estimator).fit(X, np.full(len(X), "no"))
    with pytest.raises(ValueError, match=r"^sample_weight is 0 for each row of class 'no': give"):
        clone(estimator).fit(X, labels, sample_weight=(labels == "yes").astype(float))


def test_before_fit_there_is_no_prediction():
    for model in (LogisticRegression(), LogisticRegressionSearchCV()):
        with pytest.raises(NotFittedError):
            model.predict([[1.0]])


# -------------------------------------------------------------------------------------- the scores


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", SCORES)
def test_a_score_is_that_of_scikit_learn(noisy, metric, weighted):
    X, labels, weights = noisy
    X = np.round(X, 1)  # ties
    positive = labels == "yes"
    rng = np.random.default_rng(1)
    thetas = rng.normal(size=(40, 5)) * 10.0 ** rng.integers(-1, 3, (40, 1))
    thetas[0], thetas[1, :4], thetas[2, 2:] = 0.0, 0.0, 0.0
    weights = weights if weighted else None
    found = score_many([metric], thetas, X, positive, weights)[metric]
    scorer = get_scorer(THEIR_NAMES.get(metric, metric))
    model = LogisticRegression().fit(X, positive)
    for theta, score in zip(thetas, found, strict=True):
        model.coef_, model.intercept_ = theta[None, :4], theta[4:]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # f1 without positive predictions
            wanted = scorer(model, X, positive, sample_weight=weights)
        np.testing.assert_allclose(score, wanted, rtol=1e-13, atol=1e-15)


def test_log_loss_clips_as_scikit_learn_does():
    thetas, X = np.array([[1.0], [-1.0]]), np.array([[800.0], [50.0], [-30.0]])
    found = score_many(["neg_log_loss"], thetas, X, np.array([True, True, False]))["neg_log_loss"]
    model = LogisticRegression(fit_intercept=False).fit(X, [1, 1, 0])
    for theta, score in zip(thetas, found, strict=True):
        model.coef_ = theta[None]
        assert score == pytest.approx(get_scorer("neg_log_loss")(model, X, [1, 1, 0]), rel=1e-15)


def test_scores_are_the_same_for_any_chunk(monkeypatch):
    rng = np.random.default_rng(0)
    X, positive, thetas = rng.normal(size=(60, 3)), np.arange(60) % 3 == 0, rng.normal(size=(50, 4))
    whole = score_many(SCORES, thetas, X, positive)
    monkeypatch.setattr(scoring, "CHUNK", 200)
    for name, values in score_many(SCORES, thetas, X, positive).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-13)


def test_a_held_out_fold_of_one_class_has_no_roc_auc_but_a_log_loss():
    found = score_many(SCORES, np.array([[1.0]]), np.array([[1.0], [2.0]]), np.array([True, True]))
    assert np.isnan(found["roc_auc"][0])
    assert found["neg_log_loss"][0] == pytest.approx(np.log(expit([1.0, 2.0])).mean())
    assert found["balanced_accuracy"][0] == 1.0
    empty = score_many(
        SCORES, np.ones((1, 1)), np.ones((2, 1)), np.array([True, False]), np.zeros(2)
    )
    assert all(np.isnan(values).all() for values in empty.values())


# -------------------------------------------------------------------------------------- the search


@pytest.mark.long(everywhere=True)
def test_a_search_is_scikit_learns_search(noisy):
    X, labels, _ = noisy
    space = {"C": loguniform(1e-3, 1e3), "class_weight": [None, "balanced", {"no": 2.0}]}
    names = ["neg_log_loss", "accuracy", "balanced_accuracy", "roc_auc"]
    ours = LogisticRegressionSearchCV(
        12, space, scoring=names, refit="neg_log_loss", random_state=3, tol=1e-12
    ).fit(X, labels)
    theirs = RandomizedSearchCV(
        TheirRegression(**EXACT),
        space,
        n_iter=12,
        scoring=names,
        refit="neg_log_loss",
        random_state=3,
    ).fit(X, labels)
    assert ours.best_index_ == theirs.best_index_
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-6)
    assert ours.n_splits_ == theirs.n_splits_ == 5
    assert ours.multimetric_ and set(ours.scorer_) == set(theirs.scorer_)
    assert_same_model(ours.best_estimator_, theirs.best_estimator_)
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.score(X, labels) == pytest.approx(theirs.score(X, labels), rel=1e-6)
    found, wanted = ours.cv_results_, theirs.cv_results_
    assert list(found) == list(wanted)
    for key, values in wanted.items():
        assert type(found[key]) is type(values), key
        if key == "params":
            assert found[key] == values
        elif key.startswith("param_"):
            assert found[key].dtype == values.dtype
            assert found[key].tolist() == values.tolist()
            assert found[key].mask.tolist() == values.mask.tolist()
        elif "time" in key:
            assert found[key].shape == values.shape
        else:
            assert found[key].dtype == values.dtype
            np.testing.assert_allclose(found[key], values, atol=1e-6, err_msg=key)
    assert ours.certified_.all() and ours.gap_bounds_.shape == (12, 5)


def test_one_score_has_the_keys_of_one_score(noisy):
    X, labels, _ = noisy
    ours = LogisticRegressionSearchCV(candidates={"C": [0.1, 1.0]}).fit(X, labels)
    theirs = RandomizedSearchCV(
        TheirRegression(), {"C": [0.1, 1.0]}, n_iter=2, scoring="neg_log_loss"
    )
    theirs.fit(X, labels)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert not ours.multimetric_
    assert ours.score(X, labels) == get_scorer("neg_log_loss")(ours.best_estimator_, X, labels)


def test_f1_and_brier_take_the_second_class_for_the_positive_one(noisy):
    X, labels, _ = noisy
    search = LogisticRegressionSearchCV(
        candidates={"C": [1.0]}, scoring={"F": "f1", "B": "brier"}, refit="F"
    ).fit(X, labels)
    model = LogisticRegression()
    for name, theirs in (("F", "f1"), ("B", "neg_brier_score")):
        wanted = cross_val_score(model, X, labels == "yes", scoring=theirs)
        found = [search.cv_results_[f"split{k}_test_{name}"][0] for k in range(5)]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        score = get_scorer(theirs)(model.fit(X, labels == "yes"), X, labels == "yes")
        assert search.scorer_[name](search.best_estimator_, X, labels) == pytest.approx(score)


def test_candidates_by_default_are_log_uniform_and_follow_the_seed(noisy):
    X, labels, _ = noisy
    first, again, other = (
        LogisticRegressionSearchCV(n_iter=50, random_state=seed, cv=2).fit(X, labels).cv_results_
        for seed in (0, 0, 1)
    )
    C = first["param_C"].data
    assert C.tolist() == again["param_C"].tolist()
    assert not set(C) & set(other["param_C"])
    assert 1e-4 <= C.min() < 1e-2 and 1e2 < C.max() <= 1e4
    drawn = LogisticRegressionSearchCV(4, {"class_weight": [None, "balanced"]}, cv=2).fit(X, labels)
    assert set(drawn.cv_results_["params"][0]) == {"C", "class_weight"}


def test_lists_are_drawn_without_replacement_or_taken_whole(noisy):
    X, labels, _ = noisy
    grid = {"C": [0.1, 1.0, 10.0], "class_weight": [None, "balanced"]}
    whole = LogisticRegressionSearchCV(100, grid, cv=2).fit(X, labels).cv_results_["params"]
    assert len({str(candidate) for candidate in whole}) == len(whole) == 6
    some = LogisticRegressionSearchCV(5, grid, cv=2).fit(X, labels).cv_results_["params"]
    assert len({str(candidate) for candidate in some}) == len(some) == 5
    drawn = LogisticRegressionSearchCV(7, {"C": randint(1, 5)}, cv=2).fit(X, labels)
    assert drawn.cv_results_["param_C"].dtype.kind == "i"


SPLITTERS = {
    "int": (3, 1),
    "KFold": (KFold(4, shuffle=True, random_state=0), 1),
    "repeated": (RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0), 2),
    "groups": (GroupKFold(3), 1),
    "one group out": (LeaveOneGroupOut(), 1),
    "overlapping": (ShuffleSplit(3, random_state=0), 3),
    "growing": (TimeSeriesSplit(3), 3),
    "predefined, some never held out": (PredefinedSplit(np.arange(120) % 4 - 1), 3),
    "iterable": (list(StratifiedKFold(3).split(np.zeros(120), np.arange(120) % 2)), 1),
    "masks": ([(np.arange(120) % 2 == 0, np.arange(120) % 2 == 1)], 1),
    "rows twice": ([(np.arange(100).repeat(2), np.arange(100, 120))], 1),
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cv, n_calls", SPLITTERS.values(), ids=SPLITTERS)
def test_any_splitter_gives_the_models_of_its_splits(noisy, monkeypatch, cv, n_calls, weighted):
    X, labels, weights = noisy
    weights = weights if weighted else None
    calls = []
    fit = splits.fit_models
    monkeypatch.setattr(
        splits, "fit_models", lambda *args, **options: calls.append(1) or fit(*args, **options)
    )
    groups = np.arange(120) // 20
    space = {"C": [0.1, 5.0], "class_weight": [None, "balanced", {"yes": 3.0}]}
    search = LogisticRegressionSearchCV(candidates=space, cv=cv, scoring=["roc_auc"], refit=False)
    search.fit(X, labels, weights, groups=groups)
    assert len(calls) == n_calls
    if isinstance(cv, int):
        cv = StratifiedKFold(cv)
    parts = cv if isinstance(cv, list) else list(cv.split(X, labels, groups))
    assert search.n_splits_ == len(parts)
    for index, candidate in enumerate(search.cv_results_["params"]):
        for k, (train, test) in enumerate(parts):
            of_train = None if weights is None else weights[train]
            of_train = their_weights(labels[train], of_train, candidate["class_weight"])
            of_test = None if weights is None else weights[test]
            model = TheirRegression(C=candidate["C"], **EXACT).fit(
                X[train], labels[train], of_train
            )
            wanted = get_scorer("roc_auc")(model, X[test], labels[test], sample_weight=of_test)
            found = search.cv_results_[f"split{k}_test_roc_auc"][index]
            assert found == pytest.approx(wanted, abs=1e-9)


def test_weights_of_zero_are_rows_removed_from_training_and_scores(noisy):
    X, labels, weights = noisy
    folds, kept = np.arange(120) % 3, weights > 0
    search = LogisticRegressionSearchCV(
        candidates={"C": [0.1, 1.0]}, cv=PredefinedSplit(folds), class_weight="balanced"
    )
    with_zeros = clone(search).fit(X, labels, (weights > 0).astype(float))
    without = clone(search).set_params(cv=PredefinedSplit(folds[kept])).fit(X[kept], labels[kept])
    np.testing.assert_allclose(
        with_zeros.cv_results_["mean_test_score"], without.cv_results_["mean_test_score"], rtol=1e-9
    )


def test_the_rule_of_one_standard_error_takes_a_smaller_C(cancer):
    X, y = cancer
    plain = LogisticRegressionSearchCV(60, random_state=0, scoring="accuracy").fit(X, y)
    frugal = clone(plain).set_params(one_standard_error=True).fit(X, y)
    results = plain.cv_results_
    error = results["std_test_score"][plain.best_index_] / np.sqrt(4)
    good = results["mean_test_score"] >= plain.best_score_ - error
    assert frugal.best_params_["C"] == results["param_C"][good].min() < plain.best_params_["C"]
    assert frugal.best_score_ == results["mean_test_score"][frugal.best_index_]
    assert frugal.best_estimator_.get_params()["C"] == frugal.best_params_["C"]


def test_the_rule_of_one_standard_error_compares_one_class_weight(noisy):
    X, labels, _ = noisy
    space = {"C": loguniform(1e-3, 1e3), "class_weight": [None, "balanced"]}
    plain = LogisticRegressionSearchCV(40, space, random_state=0).fit(X, labels)
    frugal = clone(plain).set_params(one_standard_error=True).fit(X, labels)
    assert frugal.best_params_["class_weight"] == plain.best_params_["class_weight"]
    assert frugal.best_params_["C"] <= plain.best_params_["C"]


@pytest.mark.long(everywhere=True)
def test_a_search_over_ratios_has_the_scores_of_each_model_and_compares_one_ratio(cancer):
    X, y = cancer
    space = {"C": [0.01, 0.1, 1.0, 10.0], "l1_ratio": [0.0, 0.5, 1.0]}
    plain = LogisticRegressionSearchCV(candidates=space, cv=3, tol=1e-10).fit(X, y)
    assert plain.certified_.all() and len(plain.cv_results_["params"]) == 12
    for params, mean in zip(
        plain.cv_results_["params"], plain.cv_results_["mean_test_score"], strict=True
    ):
        model = LogisticRegression(**params, tol=1e-10)
        scores = cross_val_score(model, X, y, cv=3, scoring="neg_log_loss")
        assert mean == pytest.approx(scores.mean(), rel=1e-4)
    frugal = clone(plain).set_params(one_standard_error=True).fit(X, y)
    results, ratio = plain.cv_results_, plain.best_params_["l1_ratio"]
    error = results["std_test_score"][plain.best_index_] / np.sqrt(2)
    good = results["mean_test_score"] >= plain.best_score_ - error
    good &= results["param_l1_ratio"] == ratio
    assert frugal.best_params_ == {"C": results["param_C"][good].min(), "l1_ratio": ratio}
    assert frugal.best_estimator_.get_params()["l1_ratio"] == frugal.best_params_["l1_ratio"]


@pytest.mark.parametrize("index", [-1, 3])
def test_refits_index_is_of_a_candidate(noisy, index):
    X, labels, _ = noisy
    search = LogisticRegressionSearchCV(
        candidates={"C": [0.1, 1.0, 10.0]}, refit=lambda results: index
    )
    with pytest.raises(ValueError, match=rf"refit's index is {index}: pass an integer from 0 to 2"):
        search.fit(X, labels)


def test_refit_may_be_a_function_a_name_or_nothing(noisy):
    X, labels, _ = noisy
    space = {"C": [0.01, 1.0]}
    last = LogisticRegressionSearchCV(candidates=space, refit=lambda results: 1).fit(X, labels)
    assert last.best_index_ == 1 and last.best_params_ == last.cv_results_["params"][1]
    assert not hasattr(last, "best_score_")
    none = LogisticRegressionSearchCV(candidates=space, refit=False).fit(X, labels)
    assert hasattr(none, "best_params_") and not hasattr(none, "best_estimator_")
    assert not hasattr(none, "predict")
    with pytest.raises(AttributeError) as caught:
        none.predict(X)
    assert str(caught.value.__cause__).startswith("refit is False: pass refit=True")
    both = {"scoring": ["accuracy", "f1"]}
    assert not hasattr(
        LogisticRegressionSearchCV(candidates=space, refit=False, **both).fit(X, labels),
        "best_index_",
    )
    with pytest.raises(
        ValueError, match=r"^refit is True: pass the name of the score that decides"
    ):
        LogisticRegressionSearchCV(candidates=space, **both).fit(X, labels)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"scoring": "r2"},
            r"^scoring is 'r2' \(of type str\): pass one or many of neg_log_loss, ",
        ),
        ({"scoring": []}, r"^scoring is empty: pass"),
        ({"scoring": 3}, r"^scoring is 3 \(of type int\): pass"),
        (
            {"candidates": {"penalty": ["l1"]}},
            r"^candidates is .*: pass a dict of 'C', 'l1_ratio' and",
        ),
        ({"candidates": [1.0]}, r"^candidates is "),
        ({"candidates": {"C": [0.0]}}, r"^C is 0"),
        ({"candidates": {"l1_ratio": [2.0]}}, r"^l1_ratio is 2: pass a number from 0 to 1\.$"),
        ({"n_iter": 0}, r"^n_iter is 0: pass an integer of at least 1\.$"),
    ],
)
def test_a_wrong_parameter_of_the_search_is_one_sentence(noisy, options, message):
    X, labels, _ = noisy
    with pytest.raises((ValueError, TypeError), match=message):
        LogisticRegressionSearchCV(**options).fit(X, labels)


def test_a_split_that_trains_on_one_class_is_named():
    X, y = np.arange(6.0)[:, None], np.array([1, 0, 0, 0, 0, 0])
    with pytest.raises(
        ValueError, match=r"^split 1 trains on rows of one class: pass other splits"
    ):
        LogisticRegressionSearchCV(3, cv=PredefinedSplit([1, 0, 0, 1, 0, 0])).fit(X, y)


def test_a_split_that_holds_out_one_class_warns_where_the_score_is_undefined(noisy):
    X, labels, _ = noisy
    parts = [(np.arange(60), np.flatnonzero(labels == "yes")), (np.arange(60), np.arange(60, 120))]
    space = {"C": [0.1, 1.0]}
    with pytest.warns(UserWarning, match=r"2 of 2 mean scores \(score\) are not finite"):
        search = LogisticRegressionSearchCV(candidates=space, cv=parts, scoring="roc_auc").fit(
            X, labels
        )
    assert search.cv_results_["rank_test_score"].tolist() == [1, 1]
    search.set_params(scoring="neg_log_loss").fit(X, labels)
    assert np.isfinite(search.best_score_)


def test_models_that_did_not_converge_are_counted(cancer):
    with pytest.warns(ConvergenceWarning, match="of 10 models did not converge in 1 iterations"):
        LogisticRegressionSearchCV(candidates={"C": [1.0, 1e4]}, max_iter=1, refit=False).fit(
            *cancer
        )


# -------------------------------------------------------------------------------------- the company


@pytest.mark.parametrize("estimator", [LogisticRegression(C=0.3), LogisticRegressionSearchCV(5)])
def test_clone_pipeline_and_cross_validation_work(noisy, estimator):
    X, labels, _ = noisy
    assert clone(estimator).get_params() == estimator.get_params()
    pipeline = make_pipeline(StandardScaler(), clone(estimator))
    assert pipeline.fit(X, labels).score(X, labels) > -1
    scores = cross_val_score(pipeline, X, labels, scoring="accuracy")
    assert scores.shape == (5,) and scores.min() > 0.5


def test_the_regression_can_be_searched_by_scikit_learn(noisy):
    X, labels, _ = noisy
    ours = LogisticRegressionSearchCV(candidates={"C": [0.1, 1.0, 10.0]}).fit(X, labels)
    theirs = RandomizedSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, n_iter=3, scoring="neg_log_loss"
    ).fit(X, labels)
    np.testing.assert_allclose(
        sorted(ours.cv_results_["mean_test_score"]),
        sorted(theirs.cv_results_["mean_test_score"]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("estimator", [LogisticRegression(), LogisticRegressionSearchCV(5)])
def test_a_fitted_estimator_can_be_pickled(noisy, estimator):
    X, labels, _ = noisy
    model = clone(estimator).fit(X, labels)
    copy = pickle.loads(pickle.dumps(model))
    assert (copy.predict_proba(X) == model.predict_proba(X)).all()
    assert copy.get_params().keys() == model.get_params().keys()


@pytest.mark.long(everywhere=True)
def test_the_package_never_imports_scikit_learn(run_python):
    program = (
        "import sys, metaopt_fast, metaopt_fast.cli.program, metaopt_fast.selection.tune\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('sklearn', 'scipy')])"
    )
    assert run_python(program).stdout == "[]\n"


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("metaopt_fast.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(ImportError) as caught:
        import metaopt_fast.sklearn  # noqa: F401
    assert str(caught.value) == (
        "metaopt_fast.sklearn needs scikit-learn 1.6 or newer: pip install 'metaopt_fast[sklearn]'."
    )


def test_times_of_models_add_up_to_that_of_the_search():
    X, y = load_breast_cancer(return_X_y=True)
    started = time.perf_counter()
    search = LogisticRegressionSearchCV(candidates={"C": [0.1, 1.0, 10.0]}, refit=False).fit(X, y)
    took = time.perf_counter() - started
    results = search.cv_results_
    models = 3 * search.n_splits_
    total = models * (results["mean_fit_time"][0] + results["mean_score_time"][0])
    assert 0 < total <= took


def test_one_split_has_no_standard_error():
    X, y = load_breast_cancer(return_X_y=True)
    splits = ShuffleSplit(n_splits=1, random_state=0)
    search = LogisticRegressionSearchCV(
        candidates={"C": [0.01, 1.0]}, cv=splits, one_standard_error=True
    ).fit(X, y)
    assert search.best_index_ == search.cv_results_["mean_test_score"].argmax()


def test_parameters_have_the_defaults_that_are_documented():
    defaults = {"C": 1.0, "l1_ratio": 0.0, "l2": None, "class_weight": None, "fit_intercept": True}
    defaults |= {"warm_start": False, "tol": 1e-8, "max_iter": 100, "n_threads": None}
    defaults |= {"n_jobs": None, "solver": "lbfgs", "random_state": None, "verbose": 0}
    defaults |= {"dual": False, "intercept_scaling": 1, "penalty": "deprecated"}
    assert LogisticRegression().get_params() == defaults


def test_a_search_has_the_coefficients_and_the_C_of_its_best():
    X, y = load_breast_cancer(return_X_y=True)
    search = LogisticRegressionSearchCV(n_iter=3, random_state=0).fit(X[:, :3], y)
    assert search.coef_.tolist() == search.best_estimator_.coef_.tolist()
    assert search.intercept_.tolist() == search.best_estimator_.intercept_.tolist()
    assert search.C_.tolist() == [search.best_params_["C"]]
    left = LogisticRegressionSearchCV(n_iter=3, random_state=0, refit=False).fit(X[:, :3], y)
    assert not hasattr(left, "coef_") and not hasattr(left, "C_")
