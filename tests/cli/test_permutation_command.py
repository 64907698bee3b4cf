"""metaopt-fast permutation-test: its scores, its p-value, its files; what it says of mistakes."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.selection.folds import stratified_folds
from metaopt_fast.selection.permutations import PermutationTest, p_value

X, Y, _ = load_breast_cancer()


def asked_for(n, *options):
    return ["permutation-test", "--permutations", n, *options]


def scikit_learns(y, fold_of, scoring, C=1.0):
    """The mean score of folds, of columns that the training rows of each standardise."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=C, tol=1e-10, solver="newton-cholesky")
    )
    return cross_val_score(model, X, y, cv=PredefinedSplit(fold_of), scoring=scoring).mean()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(("scoring", "C"), [("accuracy", 0.5), ("roc_auc", 0.01)])
def test_scores_are_scikit_learns_of_the_same_permutations_and_folds(run, scoring, C):
    options = ["--seed", 3, "--c", C, "--scoring", scoring, "--cv", 3, "--json"]
    status, stdout, stderr = run(*asked_for(4, *options))
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    folds = stratified_folds(np.zeros(len(Y)), 3, 3)
    labels = [Y, *mf.permuted_labels(Y, 4, seed=3)]
    expected = [scikit_learns(y, folds, scoring, C) for y in labels]
    scores = [found["score"], *found["permutation_scores"]]
    if scoring == "accuracy":
        assert scores == expected
    else:
        assert scores == pytest.approx(expected, abs=1e-7)
    assert found["p_value"] == found["least_p_value"] == 0.2
    assert found["n_permutations"] == 4


def test_folds_know_nothing_of_labels():
    asked = {"C": 1.0, "n_folds": 4, "scoring": "accuracy", "groups": None, "seed": 1}
    tests = [
        PermutationTest.of(X, y, prepare=None, n_threads=1, **asked)
        for y in (Y, np.sort(Y).astype(np.uint8))
    ]
    for one, other in zip(tests[0].folds, tests[1].folds, strict=True):
        assert (one.test == other.test).all()
    sizes = [len(fold.test) for fold in tests[0].folds]
    assert sum(sizes) == len(Y)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.long(everywhere=True)
def test_a_permutation_is_the_same_whatever_others_there_are(run, monkeypatch):
    of_many = json.loads(run(*asked_for(30, "--json", "--threads", 1))[1])
    monkeypatch.setattr("metaopt_fast.selection.permutations.TOGETHER", 7)
    in_parts = json.loads(run(*asked_for(30, "--json", "--threads", 2))[1])
    assert in_parts == of_many
    few = json.loads(run(*asked_for(6, "--json"))[1])
    assert few["permutation_scores"] == of_many["permutation_scores"][:6]


def test_a_permutation_that_scores_as_well_counts():
    assert p_value(0.5, np.array([0.4, 0.5, 0.6])) == 3 / 4
    assert p_value(0.7, np.array([0.4, 0.5, 0.6])) == 1 / 4


def test_the_table_says_the_least_p_value_that_is_possible(run):
    status, stdout, stderr = run(*asked_for(19))
    assert (status, stderr) == (0, "")
    assert "p-value           0.05; the least possible of 19 permutations is 0.05" in stdout
    assert "standardized by the training rows of each fold" in stdout
    assert "19 of the labels, seed 0" in stdout


def test_labels_that_mean_nothing_have_p_values_of_every_size(run, tmp_path):
    path, p_values = tmp_path / "noise.csv", []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = np.column_stack([rng.normal(size=(60, 3)), rng.permutation(60) % 2])
        np.savetxt(path, rows, delimiter=",", header="a,b,c,t", comments="")
        found = run("permutation-test", path, "--target", "t", "--permutations", 39, "--json")
        p_values.append(json.loads(found[1])["p_value"])
    assert min(p_values) < 0.4
    assert max(p_values) > 0.6
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.25)


def test_labels_change_places_within_groups_alone(run, grouped):
    options = [grouped, "--target", "label", "--permutations", 5, "--cv", 2]
    found = run("permutation-test", *options, "--group", "sex", "--json")
    together = run("permutation-test", *options, "--drop", "sex", "--json")
    assert (found[0], together[0]) == (0, 0)
    within, without = json.loads(found[1]), json.loads(together[1])
    assert within["score"] == without["score"]
    assert within["permutation_scores"] != without["permutation_scores"]
    assert "within the groups of sex" in run("permutation-test", *options, "--group", "sex")[1]


def test_columns_as_they_are_need_no_fold(run):
    status, stdout, _ = run(*asked_for(3, "--no-standardize", "--features", "mean radius"))
    assert status == 0
    assert "as they are" in stdout


@pytest.mark.long(everywhere=True)
def test_scores_are_drawn_and_written(run, tmp_path):
    pytest.importorskip("matplotlib")
    files = ["--plot", tmp_path / "scores.svg", "--output", tmp_path / "test.json"]
    assert run(*asked_for(5, *files))[0] == 0
    assert "<svg" in (tmp_path / "scores.svg").read_text()
    assert json.loads((tmp_path / "test.json").read_text())["n_folds"] == 5


def test_an_interrupt_prints_what_was_finished(run, monkeypatch):
    monkeypatch.setattr("metaopt_fast.selection.permutations.TOGETHER", 10)
    scores, calls = PermutationTest.scores, []

    def interrupted(self, first, codes):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(first)
        return scores(self, first, codes)

    monkeypatch.setattr(PermutationTest, "scores", interrupted)
    status, stdout, stderr = run(*asked_for(1000, "--json"))
    assert status == 130
    found = json.loads(stdout)
    assert found["interrupted"]
    assert len(found["permutation_scores"]) == found["n_permutations"] == 19
    assert found["least_p_value"] == 0.05
    assert stderr == "metaopt-fast: interrupted after 19 of 1,000 permutations\n"
    calls[:] = [0, 0]
    status, stdout, stderr = run(*asked_for(1000))
    assert (status, stdout) == (130, "")
    assert "interrupted before there was a result" in stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--permutations", 0], 2, "--permutations"),
        (["--cv", 1], 2, "--cv"),
        (["--scoring", "r2"], 2, "--scoring"),
        (["--model", "model.json"], 2, "unrecognized arguments: --model"),
        (["--holdout", 0.2], 2, "unrecognized arguments: --holdout"),
        (["--cv", 570], 1, "there are 569 rows for 570 folds: pass fewer folds"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run, arguments, status, message):
    found = run("permutation-test", *arguments)
    assert found[0] == status
    assert message in found[2]


def test_weights_classes_and_folds_that_do_not_go_are_refused(run, tmp_path):
    path = tmp_path / "rows.csv"
    rows = [f"{i % 7},{1 + i % 2},{i % 3},{int(i < 2)}" for i in range(40)]
    path.write_text("\n".join(["a,w,three,rare", *rows]) + "\n")
    for options, message in (
        (["--target", "rare", "--weight", "w"], "leave out --weight"),
        (["--target", "three"], "the target has 3 classes: choose one of two"),
        (["--target", "rare", "--scoring", "roc_auc", "--permutations", 1], "no rows that roc_auc"),
        (["--target", "rare", "--cv", 2, "--permutations", 50], "leave rows of one class"),
    ):
        found = run("permutation-test", path, *options)
        assert found[0] == 1
        assert message in found[2]
