"""metaopt-fast tune: its table, its JSON, its picture, its folds, and what it says of mistakes."""

import json
import os
import re
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer

from metaopt_fast.cli import program as cli
from metaopt_fast.data.standardize import standardize
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.selection.scores import METRICS
from metaopt_fast.selection.tune import stratified_folds, tune

mpl.use("Agg")
from matplotlib import pyplot

SMALL = ["--candidates", "12"]
CSV = "a,b,label\n" + "".join(f"{k % 7},{k * k % 11},{'p' if k % 3 else 'n'}\n" for k in range(40))


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(CSV)
    return str(path)


@pytest.fixture
def run(capsys):
    """A function that runs the program in this process: its status, stdout and stderr."""

    def run(*arguments):
        status = cli.main(["tune", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def result():
    X, y, _ = load_breast_cancer()
    standardize(X)
    return tune(X, y, 40, seed=1)


def assert_complaint(found, status, text):
    assert (found[0], found[1]) == (status, "")
    assert re.fullmatch(r"metaopt-fast: error: .*\.\n", found[2])
    assert text in found[2]


# ------------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("scoring", METRICS)
def test_a_score_is_that_of_scikit_learn_on_the_same_folds(scoring):
    X, y, _ = load_breast_cancer()
    standardize(X)
    result = tune(X, y, 3, cv=3, scoring=scoring, low=1e-2, high=10.0)
    scorer = get_scorer("neg_brier_score" if scoring == "brier" else scoring)
    for C, scores in zip(result.C, result.scores, strict=True):
        for fold, score in enumerate(scores):
            train = result.folds != fold
            model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10)
            model.fit(X[train], y[train])
            assert score == pytest.approx(scorer(model, X[~train], y[~train]), abs=1e-6)
    best = LogisticRegression(C=result.C[result.best], solver="newton-cholesky", tol=1e-10)
    np.testing.assert_allclose(result.theta[:-1], best.fit(X, y).coef_[0], atol=1e-4)


def test_candidates_are_log_uniform_and_the_first_ones_of_more(result):
    X, y, _ = load_breast_cancer()
    standardize(X)
    more = tune(X, y, 45, seed=1)
    np.testing.assert_array_equal(more.C[:40], result.C)
    np.testing.assert_array_equal(more.folds, result.folds)
    np.testing.assert_allclose(more.scores[:40], result.scores, rtol=1e-6)
    assert 1e-4 <= result.C.min() < 1e-3 and 1e3 < result.C.max() <= 1e4
    assert (tune(X, y, 40, seed=2).C != result.C).all()


@pytest.mark.parametrize("n_folds", [2, 5, 7])
def test_folds_are_stratified_and_in_random_order(n_folds):
    y = np.arange(200) < 57
    folds = stratified_folds(y, n_folds, seed=0)
    for rows in (folds, folds[y], folds[~y]):
        assert np.ptp(np.bincount(rows, minlength=n_folds)) <= 1
    assert (folds != stratified_folds(y, n_folds, seed=1)).any()
    assert (folds == stratified_folds(y, n_folds, seed=0)).all()
    assert (np.diff(folds) != 1).any()


def test_a_result_knows_its_best_and_the_simplest_as_good(result):
    assert result.mean[result.best] == result.mean.max()
    assert (np.diff(result.mean[result.ranking]) <= 0).all()
    np.testing.assert_allclose(
        result.standard_error, result.scores.std(axis=1, ddof=1) / np.sqrt(result.n_folds)
    )
    good = result.mean >= result.mean.max() - result.standard_error[result.best]
    assert result.C[result.one_standard_error] == result.C[good].min()
    assert "40 candidates, 5 folds" in repr(result)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scoring": "r2"}, r"^scoring is 'r2' \(of type str\): pass one of neg_log_loss, "),
        ({"cv": 1}, r"^cv is 1: pass an integer of at least 2\.$"),
        ({"cv": 300}, r"^the rarer class has 212 rows, too few for 300 folds: use at most 212 "),
        ({"low": 2.0, "high": 1.0}, r"^C is to be from 2 to 1: pass 0 < low <= high\.$"),
        ({"low": 0.0}, r"^C is to be from 0 to"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options, message):
    X, y, _ = load_breast_cancer()
    with pytest.raises(ValueError, match=message):
        tune(X, y, **options)


# ------------------------------------------------------------------------------------ the program


def test_the_table_has_the_best_ten(run):
    status, stdout, stderr = run(*SMALL, "--seed", 3, "--cv", 4)
    assert (status, stderr) == (0, "")
    X, y, _ = load_breast_cancer()
    standardize(X)
    result = tune(X, y, 12, seed=3, cv=4)
    for label, value in {
        "data": "breast_cancer, carried by the package: 569 rows, 30 features",
        "features": "standardized over all rows, before the folds are cut",
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
        (["--scoring", "r2"], "invalid choice: 'r2'"),
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


def test_no_picture_without_matplotlib(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = run(*SMALL, "--plot", tmp_path / "a.png")
    assert_complaint(found, 1, "--plot needs matplotlib: pip install 'metaopt_fast[plot]'.")
    assert not os.listdir(tmp_path)


# ------------------------------------------------------------------------------------ the picture


def test_the_plot_shows_scores_against_C_with_error_bars(result):
    ax = result.plot_scores()
    assert isinstance(ax, Axes)
    line, best, frugal = ax.lines[0], ax.lines[-2], ax.lines[-1]
    order = np.argsort(result.C)
    np.testing.assert_array_equal(line.get_xdata(), result.C[order])
    np.testing.assert_array_equal(line.get_ydata(), result.mean[order])
    assert best.get_xdata() == result.C[result.best]
    assert frugal.get_xdata() == result.C[result.one_standard_error]
    segments = ax.collections[0].get_segments()
    lengths = [upper - lower for (_, lower), (_, upper) in segments]
    np.testing.assert_allclose(lengths, 2 * result.standard_error[order])
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "C"
    assert ax.get_ylabel() == "neg_log_loss"
    pyplot.close("all")


def test_the_plot_goes_to_axes_that_are_given(result):
    _, axes = pyplot.subplots(1, 2)
    assert result.plot_scores(axes[1]) is axes[1]
    assert not axes[0].lines
    pyplot.close("all")
