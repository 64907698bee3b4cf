"""Counts, populations and whole numbers on the command line."""

import json
import re

import numpy as np
import pytest
from programs import SMALL, assert_complaint

import metaopt_fast as mf
from metaopt_fast.data.standardize import standardize_in_place as standardize
from metaopt_fast.datasets import load_breast_cancer


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("squared-hinge", lambda X, y: mf.SquaredHingeLoss(X, y, fit_intercept=True)),
        ("hinge", lambda X, y: mf.HingeLoss(X, y, fit_intercept=True)),
        ("squared", lambda X, y: mf.SquaredLoss(X, y, fit_intercept=True)),
        ("error", lambda X, y: count_objective(X, y, "error")),
        ("balanced-error", lambda X, y: count_objective(X, y, "balanced_error")),
        ("f1", lambda X, y: count_objective(X, y, "f1")),
        ("mcc", lambda X, y: count_objective(X, y, "mcc")),
        ("cost=1:7.5", lambda X, y: count_objective(X, y, mf.metrics.Cost(fp=1, fn=7.5))),
    ],
)
def test_objectives_are_those_of_the_library(run, name, objective):
    status, output, _ = run("search", *SMALL, "--objective", name, "--json")
    assert status == 0
    found = json.loads(output)
    X, y, _ = load_breast_cancer()
    standardize(X)
    wanted = mf.random_search(objective(X, y), mf.Normal(), 3000)
    assert (found["loss"], found["index"]) == (wanted.loss, wanted.index)
    assert found["objective"] == name
    status, output, _ = run("search", *SMALL, "--objective", name)
    assert status == 0 and f"model             {name}, with intercept" in output


def count_objective(X, y, metric, **options):
    return mf.CountObjective(mf.ConfusionCounts(X, y, fit_intercept=True), metric, **options)


def test_a_limit_on_groups_is_kept_and_shown(run, grouped):
    arguments = ["search", grouped, "--target", "label", *SMALL, "--objective", "error"]
    limit = ["--group", "sex", "--max-gap", "0.02", "--gap", "tpr"]
    status, output, _ = run(*arguments, *limit, "--json")
    found = json.loads(output)
    assert status == 0 and 0 <= found["gap"] <= 0.02
    assert found["data"]["feature_names"] == ["a", "b"]
    _, free, _ = run(*arguments, "--json")
    assert json.loads(free)["loss"] <= found["loss"]
    status, output, _ = run(*arguments, *limit)
    assert "gap of groups     0.0" in output and "tpr of groups by sex" in output
    (fitted,) = re.findall("^logistic model.*", output, re.MULTILINE)
    assert fitted.startswith("logistic model    beyond limit  ")
    status, output, _ = run(*arguments, *limit[:2], "--max-gap", "0", "--seed", "3")
    assert status == 0


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["cem", "snes", "ars", "shrinking"])
def test_populations_are_those_of_the_library(run, method, tmp_path):
    options = ["--method", method, "--population", "50", "--candidates", "420", "--top", "2"]
    status, output, _ = run("search", *options, "--objective", "error", "--json")
    found = json.loads(output)
    X, y, _ = load_breast_cancer()
    standardize(X)
    wanted = mf.evolve(
        count_objective(X, y, "error"), mf.Normal(), method=method, population=50, generations=9
    )
    assert status == 0 and found["loss"] == wanted.loss and found["n_evaluated"] == 450
    checkpoint = tmp_path / "run.npz"
    for _ in range(2):
        status, output, _ = run(
            "search", *options, "--objective", "error", "--checkpoint", checkpoint
        )
        assert status == 0
        assert "450 of 450" in output and f"by {method} in populations of 50" in output
        assert "of generation" in output and f"best loss         {wanted.loss:.10g}\n" in output
    picture = tmp_path / "trace.png"
    assert run("search", *options, "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_whole_numbers_are_sparse_where_wanted(run):
    whole = ["--integers=-3:3", "--max-nonzero", "4", "--objective", "error", "--json"]
    for method in ("random", "integer-local-search"):
        status, output, _ = run("search", *SMALL, *whole, "--method", method)
        theta = np.array(json.loads(output)["theta"])
        assert status == 0
        assert (theta == np.round(theta)).all() and np.abs(theta).max() <= 3
        assert np.count_nonzero(theta[:-1]) <= 4


def test_a_search_of_counts_is_resumed(run, grouped, tmp_path):
    path = tmp_path / "search.sqlite"
    options = ["--target", "label", "--objective", "error", "--group", "sex", "--max-gap", "0.1"]
    whole = ["--integers=-3:3", "--max-nonzero", "1", "--json"]
    status, output, _ = run("search", grouped, *options, *whole, *SMALL, "--checkpoint", path)
    assert status == 0
    status, again, _ = run("resume", path, "--json")
    assert status == 0
    assert json.loads(again)["top"] == json.loads(output)["top"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "accuracy"], "'accuracy' given, but one of logistic"),
        (["--objective", "cost=1"], "cost=FP:FN with two costs"),
        (["--objective", "cost=-1:2"], "cost=FP:FN with two costs"),
        (["--objective", "error", "--l2", "1"], "--l2 is of a loss"),
        (["--group", "a", "--max-gap", "0.1"], "--group and --max-gap are of counts"),
        (["--objective", "error", "--group", "a"], "--group and --max-gap go together"),
        (["--objective", "error", "--max-gap", "0.1"], "--group and --max-gap go together"),
        (["--integers=5:1"], "two integers up to"),
        (["--integers", "1"], "two integers up to"),
        ([f"--integers={-(10**6) - 1}:1"], "two integers up to"),
        ([f"--integers=1:{10**6 + 1}"], "two integers up to"),
        (["--max-nonzero", "3"], "--max-nonzero is of --integers"),
        (["--method", "cem", "--integers=-1:1"], "moves in real numbers"),
        (["--method", "integer-local-search"], "moves in whole numbers"),
        (["--method", "ars", "--population", "7"], "--population must be even"),
        (["--population", "1"], "integer from 2"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(run, options, message):
    status, output, error = run("search", *options)
    assert status == 2 and not output and message in error


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("sexe", "has no feature 'sexe' (did you mean 'sex'?): name one of"),
        ("a", "'a' has 300 values"),
    ],
)
def test_a_column_that_is_no_group_gets_a_sentence(run, grouped, column, message):
    limit = ["--objective", "error", "--group", column, "--max-gap", "0.1"]
    status, output, error = run("search", grouped, "--target", "label", *limit)
    assert status == 1 and not output and message in error
    assert_complaint(error)


def test_the_only_feature_is_no_group(run, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("a,t\n0,0\n1,1\n0,1\n")
    limit = ["--objective", "error", "--group", "a", "--max-gap", "0.1"]
    status, _, error = run("search", path, "--target", "t", *limit)
    assert status == 1 and "'a' is the only feature" in error
    assert_complaint(error)


def test_more_nonzero_numbers_than_parameters_get_a_sentence(run, data):
    status, _, error = run(
        "search", data, "--target", "label", "--integers=-1:1", "--max-nonzero", "9"
    )
    assert status == 1
    assert_complaint(error)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("search", "--cand", "10"), "--cand"),
        (("tune", "--target", "y"), "--target"),
    ],
)
def test_what_is_abbreviated_or_belongs_to_a_file_is_refused(run, arguments, complaint):
    status, output, complaints = run(*arguments)
    assert (status, output) == (2, "")
    assert complaint in complaints


def test_the_least_numbers_are_taken(run):
    assert run("search", *SMALL, "--seed", "0", "--l2", "0")[0] == 0


def test_whole_numbers_may_be_as_large_as_a_million(run):
    bounds = f"--integers={-(10**6)}:{10**6}"
    status, output, _ = run("search", *SMALL, bounds, "--json")
    assert status == 0 and max(np.abs(json.loads(output)["theta"])) > 10**4


def test_whole_numbers_need_no_limit_of_those_that_are_not_zero(run, data):
    status, output, _ = run(
        *("search", data, "--target", "label", "--integers=-2:2", "--candidates", "50", "--json")
    )
    assert status == 0
    sampler = json.loads(output)["config"]["sampler"]
    assert (sampler["name"], sampler["low"], sampler["high"]) == ("Integers", -2, 2)
