"""The command tree: raw files in, the tree of the prepared training rows out, and a model."""

import csv
import json
import re

import numpy as np
import pandas
import pytest
from programs import assert_complaint, press_ctrl_c
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

import metaopt_fast as mf
from metaopt_fast.cli import trees
from metaopt_fast.selection.folds import stratified_holdout

RNG = np.random.default_rng(3)
N = 90
CITY = RNG.choice(["Bern", "Oslo"], N)
AGE = RNG.integers(18, 90, N)
PEOPLE = pandas.DataFrame(
    {
        "id": np.arange(N),
        "age": np.where(RNG.random(N) < 0.1, np.nan, AGE),
        "city": CITY,
        "weight": RNG.integers(1, 4, N),
        "sick": np.where(AGE / 20 + (CITY == "Oslo") + RNG.normal(size=N) > 3, "yes", "no"),
    }
)
AS_PEOPLE_ARE = ["--target", "sick", "--drop", "id", "--missing", "mean", "--categories", "onehot"]


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    PEOPLE.to_csv(path, index=False)
    return path


def prepared(rows, training):
    """The columns of the model, in plain pandas: means and values of the training rows."""
    known = training.age.notna()
    mean = np.average(training.age[known], weights=training.weight[known])
    cities = pandas.get_dummies(rows.city, prefix_sep="=", prefix="city").astype(float)
    return pandas.DataFrame({"age": rows.age.fillna(mean)}).join(cities)


@pytest.mark.parametrize("positive", ["yes", "no"])
def test_the_tree_is_the_best_one_of_the_training_rows_and_is_kept(run, people, tmp_path, positive):
    kept = tmp_path / "tree.json"
    options = [*AS_PEOPLE_ARE, "--weight", "weight", "--holdout", "0.3", "--depth", "2"]
    options += ["--positive", positive, "--min-leaf", "4", "--thresholds", "5"]
    status, stdout, stderr = run("tree", people, *options, "--model", kept, "--json")
    assert (status, stderr) == (0, "")
    report, model = json.loads(stdout), mf.load_model(kept)
    codes = (PEOPLE.sick == positive).to_numpy()
    train, held_out = (PEOPLE.iloc[rows] for rows in stratified_holdout(codes, 0.3, 0))
    tree = mf.best_tree(
        prepared(train, train),
        train.sick,
        depth=2,
        n_thresholds=5,
        min_leaf=4,
        sample_weight=train.weight,
    )
    assert report["certified"] is True
    assert report["tree"] == model.tree.to_dict() == tree.to_dict()
    assert (model.classes, model.positive) == (("no", "yes"), positive)
    assert report["config"] == {"depth": 2, "n_thresholds": 5, "min_leaf": 4}
    for name, rows in (("training", train), ("held_out", held_out)):
        assert model.predict(rows).tolist() == tree.predict(prepared(rows, train)).tolist()
        proba = model.predict_proba(rows)
        is_positive, figures = rows.sick == positive, report[name]
        of_positive = proba[:, model.classes.index(positive)]
        for figure, score in (
            ("log_loss", log_loss(is_positive, of_positive, sample_weight=rows.weight)),
            ("brier", brier_score_loss(is_positive, of_positive, sample_weight=rows.weight)),
            ("roc_auc", roc_auc_score(is_positive, of_positive, sample_weight=rows.weight)),
            ("accuracy", accuracy_score(rows.sick, model.predict(rows), sample_weight=rows.weight)),
        ):
            assert figures[figure] == pytest.approx(score, rel=1e-9)
    path = tmp_path / "held_out.csv"
    held_out.to_csv(path, index=False)
    _, stdout, _ = run("score", kept, path, "--weight", "weight", "--json")
    assert json.loads(stdout) == report["held_out"]
    _, stdout, _ = run("predict", kept, path)
    assert stdout.split() == ["prediction", *model.predict(held_out)]
    _, stdout, _ = run("predict", kept, path, "--proba")
    found = [list(map(float, line)) for line in csv.reader(stdout.splitlines()[1:])]
    assert found == model.predict_proba(held_out).tolist()


@pytest.mark.long(everywhere=True)
def test_text_has_the_questions_by_names_and_figures_called_so(run, people, tmp_path):
    kept, picture = tmp_path / "tree.json", tmp_path / "tree.png"
    options = [*AS_PEOPLE_ARE, "--holdout", "0.2", "--model", kept, "--plot", picture]
    status, stdout, _ = run("tree", people, *options)
    assert status == 0
    model = mf.load_model(kept)
    assert stdout.endswith(f"\n{model.tree.to_text()}\n")
    assert "city=" in model.tree.to_text() and ", proven least\n" in stdout
    for start in ("training accuracy ", "held-out accuracy ", "held-out log loss "):
        assert f"\n{start}" in stdout
    assert "features          as they are\n" in stdout
    tree = model.tree
    wrong = f"{tree.n_errors:,} of {tree.counts[0].sum():,} training rows: no tree of"
    assert f"wrong decisions   {wrong}" in stdout
    assert re.search(r"^missing values    \d+, by the mean of the training rows$", stdout, re.M)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_classes_may_be_more_than_two(run, tmp_path):
    path, kept = tmp_path / "three.csv", tmp_path / "tree.json"
    X, y = RNG.normal(size=(60, 2)), np.arange(60) % 3 + 1
    X[:, 0] += 2 * y
    frame = pandas.DataFrame(X, columns=["a", "b"]).assign(kind=y)
    frame.to_csv(path, index=False)
    status, stdout, _ = run("tree", path, "--target", "kind", "--model", kept, "--json")
    assert status == 0
    report, model = json.loads(stdout), mf.load_model(kept)
    assert model.classes == (1, 2, 3) and model.positive is None
    proba, wanted = model.predict_proba(frame), mf.best_tree(X, y).predict(X)
    assert model.predict(frame).tolist() == wanted.tolist()
    assert report["training"]["log_loss"] == pytest.approx(log_loss(y, proba))
    auc = roc_auc_score(y, proba, multi_class="ovr")
    assert report["training"]["roc_auc_ovr"] == pytest.approx(auc)


def test_weights_that_are_no_whole_numbers_are_refused_with_an_option(run, people):
    PEOPLE.assign(weight=np.arange(N) / 2).to_csv(people, index=False)
    _, stdout, stderr = run("tree", people, *AS_PEOPLE_ARE, "--weight", "weight")
    assert stdout == ""
    assert_complaint(stderr)
    assert (
        "column 'weight' has 0.5 as the weight of row 1, and a tree counts whole rows: name a "
        "column of whole numbers, or leave out --weight."
    ) in stderr


def test_the_packaged_data_has_a_tree(run):
    status, stdout, _ = run("tree", "--depth", "2")
    assert status == 0 and "26 of 569 rows wrong (4.57 %), proven least" in stdout


def test_ctrl_c_leaves_nothing(run, people, tmp_path, monkeypatch):
    monkeypatch.setattr(trees, "find_trees", press_ctrl_c)
    kept = tmp_path / "tree.json"
    status, stdout, stderr = run("tree", people, *AS_PEOPLE_ARE, "--model", kept)
    assert (status, stdout) == (130, "")
    assert "interrupted before there was a result" in stderr and not kept.exists()


def test_a_depth_beyond_three_is_wrong_usage(run):
    status, _, stderr = run("tree", "--depth", "4")
    assert status == 2 and "an integer from 2 to 3 wanted" in stderr


def test_the_commands_of_the_documentation_run(run_commands_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PEOPLE.rename(columns={"sick": "ill"}).to_csv("patients.csv", index=False)
    run_commands_of("howto/trees.md")
