"""search on the command line: its tables, its JSON, and what it says of mistakes."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from programs import CSV, SMALL, assert_complaint

import metaopt_fast as mf
from metaopt_fast.cli import comparison
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.arguments import make_parser
from metaopt_fast.data.standardize import standardize_in_place as standardize
from metaopt_fast.datasets import BREAST_CANCER, load_breast_cancer
from metaopt_fast.files.read import read_table


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("isa", ["AVX2", "sse", "\x1b[0m"])
def test_a_wrong_instruction_set_is_one_sentence_of_the_program(tmp_path, isa):
    script = tmp_path / "metaopt-fast"
    script.write_text("import sys\nfrom metaopt_fast.cli import main\nsys.exit(main())\n")
    path = str(Path(mf.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "METAOPT_FAST_ISA": isa}
    for program in ([str(script)], ["-m", "metaopt_fast"], ["-mmetaopt_fast"]):
        done = subprocess.run(
            [sys.executable, *program, "info"], env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert_complaint(done.stderr)
        assert f"METAOPT_FAST_ISA is {isa!r}: set it to 'baseline', 'avx2'" in done.stderr


def test_search_prints_what_a_search_of_the_library_finds(run):
    status, stdout, stderr = run("search", *SMALL, "--seed", 5, "--scale", 0.5, "--l2", 0.1)
    assert (status, stderr) == (0, "")
    X, y, _ = load_breast_cancer()
    standardize(X)
    objective = mf.LogisticLoss(X, y, l2=0.1, fit_intercept=True)
    result = mf.random_search(objective, mf.Normal(scale=0.5), 3000, seed=5)
    fits = mf.fit_many(X, y, l2=0.1)
    accuracy = np.mean((X @ result.theta[:-1] + result.theta[-1] > 0) == y)
    for label, value in {
        "best loss": f"{result.loss:.10g}",
        "training accuracy": f"{accuracy:.2%}",
        "best candidate": f"{result.index:,}",
        "instruction set": mf.config()["isa"],
        "threads": str(mf.config()["n_threads"]),
        "theta = 0": f"{np.log(2):.8g}",
        "optimum": rf"{fits.loss[0]:.8g} +[\d.]+%  proven to 1e-16, in [\d.e-]+ s",
        "positive class": r"malignant \(212 rows\),",
        "data": "breast_cancer,",
        "pairs per second": r"[\d.e+]+",
        "seconds": r"\d+\.\d\d",
    }.items():
        assert re.search(rf"^{label} +{value}(?!\S)", stdout, re.MULTILINE), (label, value, stdout)


def test_where_a_plane_separates_the_classes_no_optimum_is_claimed(run):
    _, stdout, _ = run("search", *SMALL)
    assert re.search(
        r"^fitted model +[\d.]+e-\d+ +100.00%  not proven, as where l2 is 0", stdout, re.M
    )


@pytest.mark.parametrize("objective", ["error", "hinge"])
def test_what_models_are_not_fitted_by_is_compared_with_a_logistic_regression(run, objective):
    _, stdout, _ = run("search", *SMALL, "--objective", objective, "--json")
    found = json.loads(stdout)["fitted"]
    X, y, _ = load_breast_cancer()
    standardize(X)
    theta = mf.fit_many(X, y, l2=1 / len(y)).theta[0]
    np.testing.assert_allclose(found["theta"], theta, atol=1e-12)
    margins = np.where(y == 1, 1, -1) * (X @ theta[:-1] + theta[-1])
    wanted = {"error": np.mean(margins < 0), "hinge": np.maximum(0, 1 - margins).mean()}
    assert found["loss"] == pytest.approx(wanted[objective])
    _, stdout, _ = run("search", *SMALL, "--objective", objective)
    assert re.search(r"^logistic model .*%  of C = 1, proven to", stdout, re.M)


def test_a_squared_hinge_is_compared_with_its_own_optimum(run):
    _, stdout, _ = run("search", *SMALL, "--objective", "squared-hinge", "--l2", 0.1, "--json")
    X, y, _ = load_breast_cancer()
    standardize(X)
    fits = mf.fit_many(X, y, l2=0.1, loss="squared_hinge")
    assert json.loads(stdout)["fitted"]["loss"] == pytest.approx(fits.loss[0])


def test_a_fit_that_would_take_long_is_left_out(run, monkeypatch):
    monkeypatch.setattr(comparison, "MOST_PRODUCTS", 1e5)
    status, stdout, _ = run("search", *SMALL)
    assert status == 0
    assert stdout.splitlines()[-1].startswith("best candidate ")


def test_ctrl_c_while_the_optimum_is_sought_leaves_the_result(run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "fit_models", interrupted)
    status, stdout, stderr = run("search", *SMALL)
    assert status == 130
    assert stdout.splitlines()[-1].startswith("best candidate ")
    assert "interrupted after 3,000 of 3,000 candidates" in stderr


@pytest.mark.long(everywhere=True)
def test_whole_numbers_of_columns_as_they_are_are_a_scorecard(run, data):
    box = ["--target", "label", "--integers=-3:3", "--max-nonzero", 1, "--candidates", 500]
    _, stdout, _ = run("search", data, *box, "--no-standardize")
    assert "\nScorecard of 0 features out of 2\n" in stdout
    assert "(2 of 2 columns are not used: weight 0)" in stdout
    for others in (["--objective", "error", "--no-standardize"], []):
        assert "Scorecard" not in run("search", data, *box, *others)[1]


def test_classes_are_written_shortly(run, tmp_path):
    path = tmp_path / "saved.csv"
    path.write_text("a,t\n1,1.000000000000000000e+00\n2,0.0\n3,1\n4,0\n")
    _, stdout, _ = run("search", path, "--target", "t", *SMALL)
    assert re.search(r"^positive class +1 \(2 rows\), beside 0$", stdout, re.M)


def test_the_rate_is_of_pairs_of_rows_and_candidates(run, monkeypatch):
    def search(*arguments, **options):
        return dataclasses.replace(mf.random_search(*arguments, **options), elapsed=2.0)

    monkeypatch.setattr(cli, "random_search", search)
    _, stdout, _ = run("search", *SMALL)
    assert re.search(r"^pairs per second +8.54e\+05", stdout, re.MULTILINE)  # 3000 x 569 / 2 s


def test_json_has_the_result_and_nothing_else_is_printed(run):
    status, stdout, stderr = run("search", *SMALL, "--top", 3, "--json", "--l2", "0.001")
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    X, y, names = load_breast_cancer()
    mean, scale = X.mean(axis=0), X.std(axis=0)
    assert found["data"]["feature_names"] == list(names)
    assert found["data"]["positive_class"] == "malignant"
    assert found["fit_intercept"] is True
    np.testing.assert_allclose(found["data"]["standardization"]["mean"], mean)
    np.testing.assert_allclose(found["data"]["standardization"]["scale"], scale)
    objective = mf.LogisticLoss((X - mean) / scale, y, l2=0.001, fit_intercept=True)
    assert found["loss"] == pytest.approx(objective.loss(found["theta"]))
    fitted = found["fitted"]
    assert fitted["is_optimum"] and fitted["certified"] and fitted["gap_bound"] < 1e-12
    assert fitted["loss"] == pytest.approx(objective.loss(fitted["theta"]))
    assert fitted["loss"] < found["loss"] < found["zero"]["loss"]
    assert found["zero"]["accuracy"] == np.mean(y == 0)
    assert [candidate["loss"] for candidate in found["top"]] == sorted(
        candidate["loss"] for candidate in found["top"]
    )
    assert len(found["top"]) == 3
    assert found["config"]["seed"] == 0
    assert found["n_evaluated"] == 3000


def test_a_million_is_the_default_and_may_be_written_as_1e6():
    for options in ([], ["--candidates", "1e6"], ["--candidates", "1_000_000"]):
        assert make_parser().parse_args(["search", *options]).candidates == 1_000_000


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("suffix", ["csv", "npz", "npy", "parquet"])
def test_search_reads_files_of_every_kind(run, tmp_path, suffix):
    table = read_table(BREAST_CANCER, "target")
    path = tmp_path / f"data.{suffix}"
    target = []
    if suffix == "csv":
        path.write_bytes(BREAST_CANCER.read_bytes())
        target = ["--target", "target"]
    elif suffix == "npz":
        np.savez(path, X=table.X, y=table.y)
    elif suffix == "npy":
        np.save(path, np.column_stack([table.X, table.y]))
    else:
        import polars

        columns = dict(zip(table.feature_names, table.X.T, strict=True))
        polars.DataFrame({**columns, "target": table.y}).write_parquet(path)
        target = ["--target", "target"]
    _, packaged, _ = run("search", *SMALL, "--json")
    status, stdout, _ = run("search", path, *target, *SMALL, "--json")
    assert status == 0
    assert json.loads(stdout)["top"] == json.loads(packaged)["top"]


@pytest.mark.parametrize(
    "options",
    [
        ["--sampler", "uniform", "--scale", "2"],
        ["--dtype", "float32"],
        ["--no-standardize", "--scale", "1e-3"],
        ["--threads", "1"],
        ["--seed", str(2**64 - 1)],
    ],
)
def test_options_do_what_they_say(run, data, options):
    status, stdout, _ = run("search", data, "--target", "label", *SMALL, *options, "--json")
    assert status == 0
    table = read_table(data, "label")
    if "--no-standardize" not in options:
        standardize(table.X)
    value = dict(zip(options[::2], options[1::2], strict=False))
    objective = mf.LogisticLoss(
        table.X, table.y, fit_intercept=True, dtype=value.get("--dtype", "float64")
    )
    sampler = mf.Uniform(-2, 2) if "--sampler" in options else mf.Normal()
    if "--no-standardize" in options:
        sampler = mf.Normal(scale=1e-3)
    result = mf.random_search(objective, sampler, 3000, seed=int(value.get("--seed", 0)))
    found = json.loads(stdout)
    assert (found["index"], found["loss"]) == (result.index, result.loss)
    assert found["n_threads"] == int(value.get("--threads", mf.config()["n_threads"]))
    assert (found["data"]["standardization"] is None) == ("--no-standardize" in options)


def test_a_constant_column_changes_no_loss(run, tmp_path):
    lines = CSV.splitlines()
    rows = [lines[0].replace("a,", "c,a,"), *("0.1," + line for line in lines[1:])]
    path = tmp_path / "constant.csv"
    path.write_text("\n".join(rows))
    status, stdout, _ = run("search", path, "--target", "label", *SMALL, "--json")
    found = json.loads(stdout)
    assert status == 0
    assert found["data"]["standardization"]["scale"][0] == 1
    assert found["loss"] < found["zero"]["loss"]


def test_losses_beyond_all_numbers_are_null_in_json(run, data):
    arguments = ["--target", "label", *SMALL, "--scale", "1e307", "--l2", "1", "--json"]
    status, stdout, _ = run("search", data, *arguments)
    assert status == 0
    assert json.loads(stdout, parse_constant=pytest.fail)["loss"] is None


def test_the_table_ranks_the_best_if_asked(run):
    _, stdout, _ = run("search", *SMALL, "--top", 4)
    assert re.findall(r"^ +(\d) +0\.", stdout, re.MULTILINE) == ["1", "2", "3", "4"]


def test_progress_is_a_line_on_stderr(run):
    status, stdout, stderr = run("search", *SMALL, "--json", "--progress", "always")
    assert status == 0
    assert "pairs/s" in stderr
    json.loads(stdout)


def test_a_name_with_a_terminals_escape_is_shown_escaped(run, tmp_path):
    path = tmp_path / "\x1b[2Jdata.csv"
    path.write_text(CSV.replace("p\n", "\x1b[31m\n"))
    status, stdout, _ = run("search", path, "--target", "label", *SMALL)
    assert status == 0
    assert "\x1b" not in stdout
