"""metaopt-fast tune: its table, its JSON, its files, and what it says of mistakes."""

import json
import os
import re
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaopt_fast.cli import program as cli
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.models.model_file import load_model
from metaopt_fast.reference import hinge
from metaopt_fast.selection.folds import stratified_folds
from metaopt_fast.selection.tune import tune
from metaopt_fast.sklearn import NetworkClassifier

SMALL = ["--candidates", "12"]


def standardized_by(X, rows):
    """All rows, with mean 0 and deviation 1 over some of them, by NumPy's own digits."""
    return (X - X[rows].mean(axis=0)) / X[rows].std(axis=0)


@pytest.fixture
def run(capsys):
    """A function that runs the program in this process: its status, stdout and stderr."""

    def run(*arguments):
        status = cli.main(["tune", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def assert_complaint(found, status, text):
    assert (found[0], found[1]) == (status, "")
    assert re.fullmatch(r"metaopt-fast: error: .*\.\n", found[2])
    assert text in found[2]


def test_the_table_has_the_best_ten(run):
    status, stdout, stderr = run(*SMALL, "--seed", 3, "--cv", 4)
    assert (status, stderr) == (0, "")
    X, y, _ = load_breast_cancer()
    result = tune(X, y, 12, seed=3, cv=4, prepare=partial(standardized_by, X))
    for label, value in {
        "data": "breast_cancer, carried by the package: 569 rows, 30 features",
        "features": "standardized by the training rows, of each fold anew",
        "positive class": r"malignant \(212 rows\), beside benign",
        "candidates": "12 values of C, log-uniform from 0.0001 to 10000, seed 3",
        "score": "neg_log_loss of 4 stratified folds",
        "best C": f"{result.C[result.best]:.6g}",
        "within one s. e.": f"{result.C[result.one_standard_error]:.6g}, the smallest C, at",
        "models": "48, all converged",
        "seconds": r"\d+\.\d+, [\d.e+-]+ ms a model",
    }.items():
        assert re.search(rf"^{label} +{value}(?!\S)", stdout, re.MULTILINE), (label, value, stdout)
    rows = stdout.split("gap bound\n")[1].splitlines()
    assert len(rows) == 10
    for rank, (row, index) in enumerate(zip(rows, result.ranking, strict=False), start=1):
        found = [float(figure) for figure in row.split()]
        wanted = [rank, result.C[index], result.mean[index], result.standard_error[index]]
        np.testing.assert_allclose(found[:4], wanted, rtol=5e-3)
        assert found[4] < 1e-7


def test_the_json_has_every_candidate_and_nothing_else_is_printed(run, data):
    status, stdout, stderr = run(
        data, "--target", "label", *SMALL, "--json", "--scoring", "accuracy"
    )
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    assert [candidate["mean"] for candidate in found["candidates"]] == sorted(
        (candidate["mean"] for candidate in found["candidates"]), reverse=True
    )
    assert len(found["candidates"]) == 12
    assert found["best"] == found["candidates"][0]
    assert len(found["best"]["scores"]) == found["n_folds"] == 5
    assert np.mean(found["best"]["scores"]) == pytest.approx(found["best"]["mean"])
    assert found["one_standard_error"]["C"] <= found["best"]["C"]
    assert found["data"]["positive_class"] == "p" and found["data"]["file"] == data
    assert len(found["theta"]) == 3
    assert found["n_models"] == found["n_converged"] == 60
    assert found["scoring"] == "accuracy"
    assert found["config"] == {"seed": 0, "low": 1e-4, "high": 1e4}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_files_are_written_beside_the_table(run, tmp_path, kind):
    picture, numbers = tmp_path / f"plot.{kind}", tmp_path / "out.json"
    status, stdout, _ = run(*SMALL, "--plot", picture, "--output", numbers)
    assert status == 0 and "best C" in stdout
    assert picture.stat().st_size > 1000
    assert len(json.loads(numbers.read_text())["candidates"]) == 12
    assert_complaint(run(*SMALL, "--output", numbers), 1, "exists: pass --force")
    assert run(*SMALL, "--output", numbers, "--force")[0] == 0


def test_features_may_be_left_as_they_are(run):
    _, stdout, _ = run(*SMALL, "--no-standardize", "--json", "--low", 1e-3, "--high", 0.1)
    found = json.loads(stdout)
    assert found["data"]["standardization"] is None
    assert {candidate["converged"] for candidate in found["candidates"]} == {True}
    assert all(1e-3 <= candidate["C"] <= 0.1 for candidate in found["candidates"])


def test_one_value_of_C_may_be_asked_for(run):
    status, stdout, _ = run(*SMALL, "--json", "--low", "0.25", "--high", "0.250")
    assert status == 0
    assert {round(candidate["C"], 12) for candidate in json.loads(stdout)["candidates"]} == {0.25}


def test_an_l1_penalty_leaves_features_out(run):
    status, stdout, stderr = run(*SMALL, "--l1-ratio", "1", "--high", "1", "--json")
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    assert found["n_models"] == found["n_converged"] and found["l1_ratio"] == 1
    assert found["n_nonzero"] == np.count_nonzero(found["theta"][:-1]) < 30
    _, stdout, _ = run(*SMALL, "--l1-ratio", "0.5", "--high", "1")
    model = r"logistic, with intercept, l1 = 0.5 and l2 = 0.5 times 1 / \(C \* training rows\)"
    assert re.search(f"^model +{model}$", stdout, re.MULTILINE)
    assert re.search(r"^features used +\d+ of 30, at the best C$", stdout, re.MULTILINE)


def test_support_vector_machines_have_decisions_and_no_probabilities(run, tmp_path):
    kept = tmp_path / "machine.json"
    given = [*SMALL, "--loss", "squared-hinge", "--high", "1"]
    status, stdout, stderr = run(*given, "--json", "--model", kept)
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    assert found["n_models"] == found["n_converged"] == 60
    assert (found["loss"], found["scoring"]) == ("squared_hinge", "accuracy")
    assert found["training"]["log_loss"] is None and found["training"]["accuracy"] > 0.97
    X, y, _ = load_breast_cancer()
    X = standardized_by(X, np.arange(len(X)))
    theta = hinge.fit(X, y == 1, np.full(len(y), 1 / len(y)), 1 / (len(y) * found["best"]["C"]))
    np.testing.assert_allclose(found["theta"], theta, atol=1e-8)
    with pytest.raises(ValueError, match="not trained for probabilities"):
        load_model(kept).predict_proba(np.zeros((1, 30)))
    _, stdout, _ = run(*given, "--scoring", "neg_hinge_loss")
    model = r"linear support vector machine of the squared hinge loss, with intercept, l2 = .*"
    assert re.search(f"^model +{model}$", stdout, re.MULTILINE)
    assert "odds" in stdout and "log loss" not in stdout


def test_threads_do_not_change_the_numbers(run):
    one, two = (json.loads(run(*SMALL, "--json", "--threads", n)[1]) for n in (1, 2))
    assert one["candidates"] == two["candidates"]
    assert (one["n_threads"], two["n_threads"]) == (1, 2)


@pytest.mark.parametrize(
    "options, text",
    [
        (["--candidates", "0"], "an integer from 1 to 1000000 wanted"),
        (["--cv", "1"], "'1' given, but an integer from 2 to"),
        (["--low", "-1"], "a finite number > 0 wanted"),
        (["--low", "2", "--high", "1"], "--low is greater than --high"),
        (["--l1-ratio", "1.5"], "--l1-ratio is above 1"),
        (["--l1-ratio", "-1"], "a finite number >= 0 wanted"),
        (["--scoring", "r2"], "invalid choice: 'r2'"),
        (["--scoring", "neg_hinge_loss"], "does not go with --loss logistic: pass one of neg_log"),
        (["--loss", "squared-hinge", "--scoring", "brier"], "does not go with --loss squared-hin"),
        (["--loss", "squared-hinge", "--l1-ratio", "1"], "--l1-ratio goes with --loss logistic"),
        (["--target", "y"], "--target is of a FILE, and there is none"),
        (["--plot", "a.gif"], "a file of .png, .svg, .pdf wanted"),
        (["--output", "same.png", "--plot", "same.png"], "two of the given files are the same"),
    ],
)
def test_wrong_usage_is_one_line_with_status_2(run, options, text):
    status, stdout, stderr = run(*options)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"metaopt-fast: error: .*; see metaopt-fast tune --help\.\n", stderr)
    assert text in stderr


def test_a_failed_job_is_one_line_with_status_1(run, tmp_path):
    assert_complaint(run(tmp_path / "none.csv", "--target", "y"), 1, "does not exist")
    path = tmp_path / "rare.csv"
    path.write_text("a,y\n" + "".join(f"{k},{int(k < 3)}\n" for k in range(20)))
    found = run(path, "--target", "y")
    assert_complaint(found, 1, "the rarer class has 3 rows, too few for 5 folds: use at most 3")
    assert run(path, "--target", "y", "--cv", 3)[0] == 0
    path.write_text("a,y\n" + "0,0\n" * 9 + "1,1\n")
    assert_complaint(run(path, "--target", "y"), 1, "has 1 row, too few for 5 folds: add rows of")


def test_no_picture_without_matplotlib(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = run(*SMALL, "--plot", tmp_path / "a.png")
    assert_complaint(found, 1, "--plot needs matplotlib: pip install 'metaopt_fast[plot]'.")
    assert not os.listdir(tmp_path)


def test_each_fold_is_prepared_by_its_training_rows_as_in_a_pipeline_of_scikit_learn(run):
    """StandardScaler and LogisticRegression, with the folds and C of the command."""
    status, stdout, _ = run(*SMALL, "--json", "--low", "0.01", "--high", "10", "--cv", "3")
    found = json.loads(stdout)
    X, y, _ = load_breast_cancer()
    folds = stratified_folds(y, 3, 0)
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    for candidate in found["candidates"][:3]:
        estimator = LogisticRegression(C=candidate["C"], solver="newton-cholesky", tol=1e-12)
        pipeline = make_pipeline(StandardScaler(), estimator)
        scores = cross_val_score(pipeline, X, y, cv=splits, scoring="neg_log_loss")
        np.testing.assert_allclose(candidate["scores"], scores, rtol=1e-6)
    assert status == 0


def test_weights_count_in_means_deviations_models_and_scores(run, tmp_path):
    """A row of weight 2 is two rows."""
    rng = np.random.default_rng(3)
    rows, weights = rng.normal(size=(60, 2)) * [1, 100], rng.integers(1, 3, 60)
    labels = rows[:, 0] + rng.normal(size=60) > 0
    weighted, repeated = tmp_path / "weighted.csv", tmp_path / "repeated.csv"
    write(weighted, [*zip(*rows.T, labels, weights, strict=True)], "a,b,y,w")
    copies = [(*row, y) for row, y, w in zip(rows, labels, weights, strict=True) for _ in range(w)]
    write(repeated, copies, "a,b,y")
    same = ["--target", "y", "--low", "0.5", "--high", "0.5", "--candidates", "1", "--json"]
    one = json.loads(run(weighted, *same, "--weight", "w")[1])
    two = json.loads(run(repeated, *same)[1])
    np.testing.assert_allclose(one["theta"], two["theta"], rtol=1e-7)
    for name in ("mean", "scale"):
        values = [found["data"]["standardization"][name] for found in (one, two)]
        np.testing.assert_allclose(*values, rtol=1e-12)
    for figure in ("accuracy", "log_loss", "roc_auc", "f1", "brier"):
        assert one["training"][figure] == pytest.approx(two["training"][figure], rel=1e-6)


def write(path, rows, header):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


# ---------------------------------------------------------------------------------------- networks


NETWORKS = ["--metamodel", "network", "--hidden", 3, "--candidates", 4, "--cv", 2]


@pytest.mark.long(everywhere=True)
def test_networks_are_tuned_by_learning_rate_and_penalty(run, data, tmp_path):
    picture, numbers = tmp_path / "plot.png", tmp_path / "out.json"
    given = [data, "--target", "label", *NETWORKS, "--seed", 5, "--holdout", 0.2]
    status, stdout, stderr = run(*given, "--plot", picture, "--output", numbers)
    assert (status, stderr) == (0, "")
    found = json.loads(numbers.read_text())
    assert found["metamodel"] == "network"
    assert found["best"] == found["candidates"][0]
    means = [candidate["mean"] for candidate in found["candidates"]]
    assert means == sorted(means, reverse=True) and len(means) == 4
    assert found["n_models"] == 8 and found["config"]["n_hidden"] == 3
    for candidate in found["candidates"]:
        assert 1e-3 <= candidate["learning_rate"] <= 1e-1 and 1e-6 <= candidate["l2"] <= 1e-2
        assert np.mean(candidate["scores"]) == pytest.approx(candidate["mean"])
    assert np.shape(found["network"]["coefs"][1]) == (3, 1)
    assert found["held_out"]["accuracy"] >= 0 and found["training"]["log_loss"] > 0
    assert picture.stat().st_size > 1000
    for label, value in {
        "model": r"network of 3 hidden units \(relu\)",
        "candidates": "4 learning rates from 0.001 to 0.1 and l2 from 1e-06 to 0.01, log-uniform",
        "score": "neg_log_loss of 2 stratified folds",
        "best": f"learning rate {found['best']['learning_rate']:.6g}, l2 ",
        "epochs": rf"{found['network']['best_iter']}, where a tenth",
        "models": "8, each the best of 4 starts",
        "held-out log loss": f"{found['held_out']['log_loss']:.6g}",
    }.items():
        assert re.search(rf"^{label} +{value}", stdout, re.MULTILINE), (label, value, stdout)
    rows = stdout.split("standard error\n")[1].splitlines()
    assert [float(row.split()[3]) for row in rows] == pytest.approx(means, rel=1e-4)


@pytest.mark.long(everywhere=True)
def test_scores_of_tuned_networks_are_those_of_networks_of_each_fold(run):
    # As they are: what is standardized by other digits is in another order.
    _, stdout, _ = run(*NETWORKS, "--json", "--scoring", "accuracy", "--no-standardize")
    best = json.loads(stdout)["best"]
    X, y, _ = load_breast_cancer()
    folds = stratified_folds(y, 2, 0)
    for fold, score in enumerate(best["scores"]):
        train, test = folds != fold, folds == fold
        model = NetworkClassifier(
            3,
            n_starts=4,
            learning_rate_init=best["learning_rate"],
            l2=best["l2"],
            first_start=best["first_start"],
            random_state=0,
        ).fit(X[train], y[train])
        assert model.score(X[test], y[test]) == pytest.approx(score, rel=1e-12)


@pytest.mark.long(everywhere=True)
def test_networks_of_classes_of_columns_as_they_are(run, tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 3
    X[:, 0] += 3 * y
    path = tmp_path / "three.csv"
    lines = [f"{a},{b},{'xyz'[k]}" for (a, b), k in zip(X.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["a,b,t", *lines]))
    status, stdout, _ = run(path, "--target", "t", *NETWORKS, "--no-standardize")
    assert status == 0
    assert re.search(r"^model +network of 3 hidden units \(relu\), 3 classes$", stdout, re.M)
    status, stdout, _ = run(path, "--target", "t", *NETWORKS, "--no-standardize", "--json")
    found = json.loads(stdout)
    assert np.shape(found["network"]["coefs"][1]) == (3, 3)
    assert found["training"]["log_loss"] < np.log(3)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--low", 0.1], "--low goes with --metamodel linear alone"),
        (["--loss", "squared-hinge"], "--loss goes with --metamodel linear alone"),
        (["--metamodel", "linear"], "--hidden goes with --metamodel network alone"),
    ],
)
def test_options_of_other_models_are_refused(run, given, text):
    assert_complaint(run(*NETWORKS, *given), 2, text)
