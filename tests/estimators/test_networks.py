"""Small networks as estimators: by hand, by scikit-learn's own, and the same for equal rows."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import metaopt_fast as mf
from metaopt_fast.selection import networks
from metaopt_fast.selection.folds import stratified_holdout
from metaopt_fast.sklearn import NetworkClassifier, NetworkSearchCV

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2)).round(3)
Y = np.where((X**2).sum(axis=1) < 1.4, "in", "out")
FEW = {"n_hidden": 4, "n_starts": 3, "max_iter": 12, "random_state": 3, "batch_size": 32}


# Few epochs: three of these checks train on hundreds of rows.
BRIEF = {"max_iter": 40, "n_hidden": 8}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the network was still improving")
@parametrize_with_checks(
    [
        NetworkClassifier(n_starts=2, learning_rate_init=0.05, **BRIEF),
        NetworkClassifier(activation="tanh", n_starts=3, ensemble_size=2, batch_size=50, **BRIEF),
        NetworkSearchCV(2, {"learning_rate_init": [0.05, 0.1]}, cv=2, **BRIEF),
    ]
)
def test_all_of_scikit_learns_estimator_checks_pass(estimator, check):
    check(estimator)


def fitted(rows=X, labels=Y, weights=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return NetworkClassifier(**{**FEW, **options}).fit(rows, labels, weights)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_those_of_scikit_learns_network_of_these_weights(activation, n_classes):
    rows, labels = load_iris(return_X_y=True)
    rows, labels = rows[labels < n_classes], labels[labels < n_classes]
    model = fitted(rows, labels, activation=activation)
    theirs = MLPClassifier((4,), activation, max_iter=1).set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(rows, labels)
    assert [coef.shape for coef in model.coefs_] == [coef.shape for coef in theirs.coefs_]
    assert model.out_activation_ == theirs.out_activation_
    assert (model.n_outputs_, model.n_layers_) == (theirs.n_outputs_, theirs.n_layers_)
    theirs.coefs_, theirs.intercepts_ = model.coefs_, model.intercepts_
    np.testing.assert_allclose(model.predict_proba(rows), theirs.predict_proba(rows), rtol=1e-12)
    np.testing.assert_allclose(
        model.predict_log_proba(rows), theirs.predict_log_proba(rows), rtol=1e-9, atol=1e-12
    )
    assert (model.predict(rows) == theirs.predict(rows)).all()


def test_the_loss_is_that_of_the_rows_held_out():
    model = fitted(dtype="float64", ensemble_size=3)
    # The rows in the order of their bytes, as the estimator has them.
    rows = networks.Rows(X, (Y == "out").astype(np.intp), 2, np.ones(len(X))).merged()
    whole = mf.NetworkLoss(rows.X, rows.codes, n_hidden=4, activation="relu")
    train, held_out = stratified_holdout(rows.codes, 0.1, 3)
    runs = mf.gradient_descent(
        whole.subset(train),
        whole.starts(),
        n_starts=3,
        method="adam",
        learning_rate=0.01,
        l2=1e-5,
        batch_size=32,
        max_iter=12,
        tol=0.0,
        validation=whole.subset(held_out),
        patience=10,
        min_delta=1e-4,
        seed=3,
    )
    order = np.argsort(runs.validation_loss)
    assert model.thetas_.tobytes() == runs.theta[order].tobytes()
    assert model.losses_.tolist() == runs.validation_loss[order].tolist()
    assert model.loss_ == model.losses_[0]
    assert (model.n_iter_, model.best_iter_) == (runs.n_iter[order[0]], runs.best_iter[order[0]])


def test_starts_are_those_from_the_first_one_on():
    one_by_one = [fitted(n_starts=1, first_start=k).thetas_[0].tobytes() for k in range(4)]
    for first in (0, 1):
        together = fitted(n_starts=3, first_start=first, ensemble_size=3).thetas_
        assert {theta.tobytes() for theta in together} == set(one_by_one[first : first + 3])


def test_an_ensemble_averages_probabilities():
    for rows, labels in ((X, Y), load_iris(return_X_y=True)):
        model = fitted(rows, labels, ensemble_size=2)
        parts = []
        for theta in model.thetas_:
            one = clone(model).set_params(ensemble_size=1)
            one.classes_, one.n_features_in_ = model.classes_, rows.shape[1]
            one._keep(model._ensemble._replace(theta=theta[None]))
            parts.append(one.predict_proba(rows))
        np.testing.assert_allclose(model.predict_proba(rows), np.mean(parts, axis=0), rtol=1e-12)
        assert (model.predict(rows) == model.classes_[np.mean(parts, axis=0).argmax(axis=1)]).all()


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_networks_have_the_same_bits_for_any_number_of_threads(n_threads):
    assert fitted(n_threads=n_threads).thetas_.tobytes() == fitted().thetas_.tobytes()


def test_neither_the_order_of_rows_nor_copies_of_them_change_a_bit():
    counts = RNG.integers(0, 3, len(X))
    weighted = fitted(weights=counts)
    repeated = np.repeat(np.arange(len(X)), counts)
    RNG.shuffle(repeated)
    again = fitted(X[repeated], Y[repeated])
    assert again.thetas_.tobytes() == weighted.thetas_.tobytes()
    assert again.losses_.tolist() == weighted.losses_.tolist()
    assert fitted().thetas_.tobytes() != weighted.thetas_.tobytes()


@pytest.mark.parametrize("together", [1, 10**9])
def test_a_candidate_has_the_bits_that_it_has_alone(monkeypatch, together):
    monkeypatch.setattr(networks, "TOGETHER", together)
    rows = networks.Rows(X, (Y == "out").astype(np.intp), 2, np.ones(len(X)))
    effort = networks.Effort(2, 1, 40, 5, 3, 1e-4, 0.2, 7, "float32", None)
    candidates = [
        networks.Candidate(4, "tanh", 0.01, 1e-3),
        networks.Candidate(3, "tanh", 0.1, 0.0, 5),
        networks.Candidate(4, "tanh", 0.1, 1e-5, 2),
    ]
    many = networks.train_networks(rows, candidates, effort)
    for candidate, found in zip(candidates, many, strict=True):
        (one,) = networks.train_networks(rows, [candidate], effort)
        assert found.candidate == candidate
        for name in ("theta", "loss", "n_iter", "best_iter"):
            assert getattr(found, name).tobytes() == getattr(one, name).tobytes()


def test_without_rows_to_hold_out_the_training_loss_decides():
    alone = np.where(np.arange(len(X)) == 5, "single", Y)
    assert fitted(labels=alone).best_iter_ == fitted(labels=alone).n_iter_ == 12
    model = fitted(early_stopping=False, dtype="float64", l2=0.01)
    rows = networks.Rows(X, (Y == "out").astype(np.intp), 2, np.ones(len(X))).merged()
    whole = mf.NetworkLoss(rows.X, rows.codes, n_hidden=4, activation="relu", l2=0.01)
    assert model.loss_ == pytest.approx(whole.loss(model.thetas_[0]), rel=1e-12)
    assert fitted(early_stopping=False, tol=10.0, n_iter_no_change=2).n_iter_ == 2


def test_a_network_that_still_improves_is_a_warning():
    with pytest.warns(ConvergenceWarning, match=r"still improving after max_iter=2 epochs: pass"):
        NetworkClassifier(**{**FEW, "max_iter": 2, "learning_rate_init": 1e-3}).fit(X, Y)


def test_sources_of_random_numbers_are_scikit_learns():
    seeds = [fitted(random_state=state).thetas_ for state in (5, 5, np.random.RandomState(5))]
    assert seeds[0].tobytes() == seeds[1].tobytes() != seeds[2].tobytes()
    kept = pickle.loads(pickle.dumps(fitted()))
    assert kept.predict_proba(X).tobytes() == fitted().predict_proba(X).tobytes()


# ------------------------------------------------------------------------------------------ search


LISTS = {"learning_rate_init": [0.01, 0.1], "l2": [1e-5, 1e-3], "n_hidden": [3, 5]}
SHARED = {"n_starts": 2, "max_iter": 8, "batch_size": 32, "random_state": 1}


def searched(rows=X, labels=Y, weights=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return NetworkSearchCV(**{**SHARED, "cv": 3, **options}).fit(rows, labels, weights)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_those_of_single_estimators(n_classes):
    rows, labels = load_iris(return_X_y=True)
    rows, labels = rows[50 * (3 - n_classes) :], labels[50 * (3 - n_classes) :]
    weights = np.random.default_rng(1).uniform(0.5, 2, len(rows))
    scoring = ["neg_log_loss", "accuracy"]
    search = searched(
        rows, labels, weights, candidates=LISTS, n_iter=8, scoring=scoring, refit="accuracy"
    )
    results = search.cv_results_
    assert len(results["params"]) == 8
    splits = StratifiedKFold(3).split(rows, labels)
    for k, (train, test) in enumerate(splits):
        for c in (0, 5):
            model = fitted(
                rows[train], labels[train], weights[train], **{**SHARED, **results["params"][c]}
            )
            proba = model.predict_proba(rows[test])
            wanted = -log_loss(labels[test], proba, sample_weight=weights[test])
            assert results[f"split{k}_test_neg_log_loss"][c] == pytest.approx(wanted, rel=1e-9)
            wanted = accuracy_score(
                labels[test], model.predict(rows[test]), sample_weight=weights[test]
            )
            assert results[f"split{k}_test_accuracy"][c] == pytest.approx(wanted, rel=1e-12)
    best = fitted(rows, labels, weights, **{**SHARED, **search.best_params_})
    assert search.best_estimator_.thetas_.tobytes() == best.thetas_.tobytes()
    assert search.best_score_ == results["mean_test_accuracy"].max()
    assert search.n_iter_ == best.n_iter_
    assert search.multimetric_ and set(search.scorer_) == set(scoring)
    assert search.score(rows, labels) == accuracy_score(labels, best.predict(rows))


def test_each_candidate_has_starts_of_its_own_unless_it_says_which():
    equal = {"learning_rate_init": [0.05], "l2": [1e-4, 1e-4, 1e-4]}
    results = searched(candidates=equal, refit=False).cv_results_
    assert results["param_first_start"].tolist() == [0, 2, 4]
    assert len(set(results["mean_test_score"])) == 3
    again = searched(candidates={**equal, "first_start": [4, 0]}, refit=False).cv_results_
    by_start = dict(zip(again["param_first_start"], again["mean_test_score"], strict=True))
    assert by_start == {4: results["mean_test_score"][2], 0: results["mean_test_score"][0]}


def test_candidates_are_drawn_log_uniform():
    search = searched(n_iter=30, cv=2, max_iter=1, n_hidden=2, n_starts=1, refit=False)
    rates = search.cv_results_["param_learning_rate_init"].astype(float)
    assert 1e-3 <= rates.min() < 3e-3 and 3e-2 < rates.max() <= 1e-1
    l2 = search.cv_results_["param_l2"].astype(float)
    assert 1e-6 <= l2.min() < 1e-5 and 1e-3 < l2.max() <= 1e-2
    assert not hasattr(search, "best_estimator_") and not hasattr(search, "predict")


def test_of_several_scores_none_need_decide():
    options = {"candidates": {"l2": [1e-4], "learning_rate_init": [0.05, 0.1]}, "cv": 2}
    search = searched(scoring=["accuracy", "f1"], refit=False, **options)
    assert not hasattr(search, "best_index_") and "mean_test_f1" in search.cv_results_
    search = searched(scoring=["accuracy", "f1"], refit=lambda results: 1, **options)
    assert search.best_params_ == search.cv_results_["params"][1]


def test_held_out_rows_without_weight_have_no_score():
    splits = [(np.arange(60, 120), np.arange(60)), (np.arange(60), np.arange(60, 120))]
    weights = np.repeat([1.0, 0.0], 60)
    with pytest.raises(ValueError, match=r"split 0 trains on rows of one class: pass .*\.$"):
        searched(weights=weights, cv=splits, n_iter=1)
    with pytest.warns(UserWarning, match="not finite"):
        search = searched(weights=weights, cv=splits[1:], n_iter=1, refit=False)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()
    rows, labels = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"split 0 trains on rows without class 2: pass .*\.$"):
        searched(rows, labels, cv=[(np.arange(100), np.arange(100, 150))], n_iter=1)


def test_ctrl_c_is_raised(monkeypatch):
    def interrupted(*arguments, **options):
        found = mf.gradient_descent(*arguments, **{**options, "max_iter": 1})
        found.status[0] = "interrupted"
        return found

    monkeypatch.setattr(networks, "gradient_descent", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_hidden": 0}, "n_hidden is 0: pass an integer from 1 to 1024"),
        ({"n_hidden": 1025}, "n_hidden is 1025"),
        ({"activation": "logistic"}, "activation is 'logistic'"),
        ({"activation": ["relu"]}, "activation is"),
        ({"n_starts": 0}, "n_starts is 0"),
        ({"ensemble_size": 4}, "ensemble_size is 4: pass an integer from 1 to 3"),
        ({"first_start": -1}, "first_start is -1"),
        ({"l2": -1.0}, "l2 is -1"),
        ({"learning_rate_init": 0.0}, "learning_rate_init is 0"),
        ({"batch_size": "all"}, "batch_size is 'all'"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"early_stopping": 1}, "early_stopping is 1"),
        ({"validation_fraction": 0.0}, "validation_fraction is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
        ({"tol": -1.0}, "tol is -1"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
    ids=str,
)
def test_parameters_that_are_none_are_refused(options, match):
    for fit in (fitted, searched):
        given = {**options, "n_starts": options.get("n_starts", 3)}
        if fit is searched and not options.keys() <= set(NetworkSearchCV().get_params()):
            given = {"candidates": {name: [value] for name, value in options.items()}}
        with pytest.raises((ValueError, TypeError), match=match) as caught:
            fit(**given)
        assert str(caught.value).endswith(".") and ": pass" in str(caught.value)


def test_candidates_of_other_names_are_refused():
    names = r"'learning_rate_init', 'l2', 'n_hidden', 'activation' and 'first_start'"
    with pytest.raises(ValueError, match=names):
        searched(candidates={"alpha": [0.1]})
