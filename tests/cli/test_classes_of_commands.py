"""Targets of more than two classes: tune and search, and the models that predict and score."""

import json

import numpy as np
import pandas
import pytest
from programs import assert_complaint
from sklearn import metrics
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import metaopt_fast as mf

X, CODES = load_iris(return_X_y=True)
NAMES = ["long", "wide", "petal", "leaf"]
LABELS = {
    "text": np.array(["virginica", "setosa", "ordinary"]),
    "numbers": np.array([10, 9, -2.5]),
    "digits": np.array(["10", "9", "2"]),  # text that are numbers, in the order of these
}


def frame(kind):
    return pandas.DataFrame(X, columns=NAMES).assign(kind=LABELS[kind][CODES])


def assert_refused(found, words):
    status, stdout, stderr = found
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert words in stderr


@pytest.fixture(params=LABELS)
def irises(request, tmp_path):
    """A file, and its frame as it is read again."""
    path = tmp_path / "iris.csv"
    frame(request.param).to_csv(path, index=False)
    return path, pandas.read_csv(path)


def test_a_tuned_model_predicts_and_scores_as_scikit_learns_does(run, irises, tmp_path):
    path, rows = irises
    kept, options = tmp_path / "model.json", ["--target", "kind", "--candidates", 6, "--high", 10]
    status, stdout, stderr = run("tune", path, *options, "--cv", 3, "--model", kept, "--json")
    assert (status, stderr) == (0, "")
    report = json.loads(stdout)
    classes, codes = np.unique(rows["kind"], return_inverse=True)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=report["best"]["C"], tol=1e-9))
    proba = theirs.fit(rows[NAMES], codes).predict_proba(rows[NAMES])
    predicted = proba.argmax(axis=1)
    names = [str(label).removesuffix(".0") for label in classes]
    assert report["data"]["class_names"] == names
    assert report["data"]["positive_class"] is None

    status, stdout, _ = run("predict", kept, path)
    assert (status, stdout.split()) == (0, ["prediction", *np.array(names)[predicted]])
    _, stdout, _ = run("predict", kept, path, "--proba")
    header, *lines = stdout.splitlines()
    assert header.split(",") == names
    found = np.array([line.split(",") for line in lines], float)
    np.testing.assert_allclose(found, proba, atol=1e-4)

    _, stdout, _ = run("score", kept, path, "--json")
    figures = json.loads(stdout)
    assert figures == report["training"]
    assert figures["accuracy"] == pytest.approx((predicted == codes).mean())
    wanted = metrics.f1_score(codes, predicted, average="macro")
    assert figures["f1_macro"] == pytest.approx(wanted)
    wanted = metrics.roc_auc_score(codes, proba, multi_class="ovr")
    assert figures["roc_auc_ovr"] == pytest.approx(wanted, abs=1e-4)
    assert figures["log_loss"] == pytest.approx(metrics.log_loss(codes, proba), abs=1e-4)


def test_coefficients_are_those_of_each_class_in_the_files_units(run, irises, tmp_path):
    path, rows = irises
    kept = tmp_path / "model.json"
    _, stdout, _ = run(
        "tune", path, "--target", "kind", "--candidates", 2, "--model", kept, "--json"
    )
    report, model = json.loads(stdout), mf.load_model(kept)
    weights = [[c["weight"] for c in table] for table in report["coefficients"].values()]
    decisions = X @ np.transpose(weights) + list(report["intercept"].values())
    np.testing.assert_allclose(decisions, model.decision_function(rows[NAMES]), atol=1e-10)
    assert list(report["coefficients"]) == [str(label) for label in model.classes]
    assert all(c["odds_ratio"] is None for c in report["coefficients"][str(model.classes[0])])


def test_tables_name_the_classes_and_some_coefficients_of_each(run, tmp_path):
    path = tmp_path / "iris.csv"
    frame("text").to_csv(path, index=False)
    for command in ("tune", "search"):
        arguments = ["--target", "kind", "--candidates", 20, "--holdout", 0.2]
        status, stdout, _ = run(command, path, *arguments)
        assert status == 0
        words = "3: ordinary (40 rows), setosa (40 rows), virginica (40 rows)"
        assert f"classes           {words}\n" in stdout
        assert "held-out macro F1 " in stdout
        for name in ("ordinary", "setosa", "virginica"):
            assert f"column of {name}\n" in stdout


def test_of_many_classes_the_first_dozen_is_shown(run, tmp_path):
    path = tmp_path / "many.csv"
    kinds = [f"kind {k:02}" for k in range(14)]
    pandas.DataFrame({"a": np.arange(42.0), "kind": kinds * 3}).to_csv(path, index=False)
    status, stdout, _ = run("search", path, "--target", "kind", "--candidates", 2)
    assert status == 0
    assert "(2 more classes: --json has all)" in stdout
    assert "classes           14: kind 00 (3 rows), " in stdout
    assert "kind 05 (3 rows) and 8 more\n" in stdout
    assert "of kind 11\n" in stdout and "of kind 12\n" not in stdout


def test_a_search_finds_softmax_models_beside_the_optimum(run, irises, tmp_path):
    path, rows = irises
    kept, options = (
        tmp_path / "model.json",
        ["--target", "kind", "--candidates", "200", "--l2", 0.1],
    )
    status, stdout, _ = run("search", path, *options, "--seed", 3, "--model", kept, "--json")
    assert status == 0
    report = json.loads(stdout)
    standardized = (X - X.mean(axis=0)) / X.std(axis=0)
    codes = np.unique(rows["kind"], return_inverse=True)[1]
    objective = mf.SoftmaxLoss(standardized, codes, l2=0.1, fit_intercept=True)
    result = mf.random_search(objective, mf.Normal(), 200, seed=3)
    assert report["index"] == result.index
    assert report["loss"] == pytest.approx(result.loss)
    model = mf.load_model(kept)
    np.testing.assert_allclose(
        model.predict_proba(rows[NAMES]), softmax(objective.decisions(result.theta, standardized))
    )
    theirs = LogisticRegression(C=1 / (0.1 * len(X)), tol=1e-9).fit(standardized, codes)
    theta = np.column_stack([theirs.coef_, theirs.intercept_]).ravel()
    assert report["fitted"]["loss"] == pytest.approx(objective.loss(theta), abs=1e-8)
    assert (
        report["accuracy"]
        == (objective.decisions(result.theta, standardized).argmax(axis=1) == codes).mean()
    )


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_whole_numbers_of_few_count_the_weights_of_all_classes(run, tmp_path):
    path = tmp_path / "iris.csv"
    frame("text").to_csv(path, index=False)
    options = ["--target", "kind", "--candidates", 50, "--integers=-2:2", "--max-nonzero", 2]
    status, stdout, _ = run("search", path, *options, "--json")
    assert status == 0
    thetas = np.array(json.loads(stdout)["theta"]).reshape(3, 5)
    assert np.count_nonzero(thetas[:, :-1]) <= 2


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_each_kind_of_file_has_its_classes_in_order(run, tmp_path, suffix):
    path, y = tmp_path / f"data.{suffix}", np.array([11, 2, 0])[CODES]
    if suffix == "npz":
        np.savez(path, X=X, y=y)
    else:
        table = pandas.DataFrame(X, columns=NAMES).assign(kind=y)
        getattr(table, f"to_{suffix}")(path, index=False)
    target = [] if suffix == "npz" else ["--target", "kind"]
    status, stdout, _ = run("tune", path, *target, "--candidates", 2, "--json")
    assert status == 0
    assert json.loads(stdout)["data"]["class_names"] == ["0", "2", "11"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "--objective", "error"], "the target has 3 classes, and the objective error"),
        (
            ["search", "--objective", "hinge"],
            "pass --objective logistic, or a target of two values",
        ),
        (["tune", "--positive", "setosa"], "has 3 classes, of which none is the positive one"),
        (["tune", "--scoring", "f1"], "pass one of neg_log_loss, accuracy, balanced_accuracy"),
        (["tune", "--l1-ratio", "0.5"], "l1 is above 0, but y holds 3 classes"),
        (["tune", "--loss", "squared-hinge"], "but y holds 3 classes"),
    ],
)
def test_what_is_of_two_classes_is_refused_in_a_sentence(run, tmp_path, arguments, words):
    path = tmp_path / "iris.csv"
    frame("text").to_csv(path, index=False)
    command, *options = arguments
    found = run(command, path, "--target", "kind", "--candidates", 2, *options)
    assert_refused(found, words)


def test_other_rows_have_the_models_classes(run, irises, tmp_path):
    path, rows = irises
    kept, other = tmp_path / "model.json", tmp_path / "other.csv"
    rows[rows["kind"] != rows["kind"].max()].to_csv(other, index=False)
    options = ["--target", "kind", "--candidates", 3, "--test", other, "--model", kept]
    status, stdout, _ = run("tune", path, *options, "--json")
    assert (status, json.loads(stdout)["held_out"]["n_rows"]) == (0, 100)
    assert json.loads(stdout)["held_out"]["roc_auc_ovr"] is None  # a class is not there
    rows.assign(kind="none of them").to_csv(other, index=False)
    assert_refused(run("score", kept, other), "has the value 'none of them'")


def test_a_target_of_numbers_to_predict_is_none_of_classes(run, tmp_path):
    path = tmp_path / "numbers.csv"
    pandas.DataFrame({"a": np.arange(300), "t": np.arange(300) / 7}).to_csv(path, index=False)
    words = "choose a target of two values or more, and at most 200"
    assert_refused(run("tune", path, "--target", "t"), words)


def test_classes_are_numbers_or_text(run, tmp_path):
    path = tmp_path / "mixed.parquet"
    pandas.DataFrame({"a": np.arange(9.0), "t": ["1", "b", "c"] * 3}).to_parquet(path)
    words = "column 't' has numbers and text ('1', 'b', 'c'): use numbers alone, or text alone"
    assert_refused(run("tune", path, "--target", "t"), words)
