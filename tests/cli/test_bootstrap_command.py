"""metaopt-fast bootstrap: its table, its JSON, its files, and what it says of mistakes."""

import json
import re

import pytest

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.fitting.resampled_models import Resamples
from metaopt_fast.models.model_file import load_model


def test_it_reports_what_bootstrap_finds(run, tmp_path):
    kept = tmp_path / "model.json"
    asked = ["--resamples", 30, "--c", 0.5, "--seed", 3, "--method", "BCa", "--json"]
    status, stdout, stderr = run("bootstrap", *asked, "--model", kept)
    assert (status, stderr) == (0, "")
    found = json.loads(stdout)
    X, y, names = load_breast_cancer()
    X = mf.standardize(X).X
    l2 = 1 / (0.5 * len(y))
    expected = mf.bootstrap(X, y, l2=l2, n_resamples=30, seed=3, method="BCa")
    lows = [row["low"] for row in found["intervals"]]
    assert lows == pytest.approx(expected.confidence_interval.low.tolist(), rel=1e-9)
    assert [row["name"] for row in found["intervals"]] == [*names, "intercept"]
    assert found["n_certified"] == 30
    assert load_model(kept).provenance["C"] == 0.5


def test_the_table_names_the_largest_coefficients(run):
    status, stdout, stderr = run("bootstrap", "--resamples", 20, "--confidence", 0.9)
    assert (status, stderr) == (0, "")
    assert "90% intervals     percentile" in stdout
    assert "worst texture" in stdout
    assert re.search(r"^ +\(1 more\)$", stdout, re.M)  # of 30 weights and the intercept


@pytest.mark.long(everywhere=True)
def test_intervals_are_drawn(run, tmp_path):
    pytest.importorskip("matplotlib")
    status, _, _ = run("bootstrap", "--resamples", 5, "--plot", tmp_path / "intervals.svg")
    assert status == 0
    assert "<svg" in (tmp_path / "intervals.svg").read_text()


@pytest.mark.long(everywhere=True)
def test_an_interrupt_prints_what_was_finished(run, monkeypatch):
    fit, calls = Resamples.fit, []

    def interrupted(self, first, last):
        if calls:
            raise KeyboardInterrupt
        calls.append(last)
        return fit(self, first, last)

    monkeypatch.setattr(Resamples, "fit", interrupted)
    status, stdout, stderr = run("bootstrap", "--resamples", 100_000)
    assert status == 130
    assert f"{calls[0]:,} of the training rows" in stdout
    assert stderr == f"metaopt-fast: interrupted after {calls[0]:,} of 100,000 resamples\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--confidence", 1], 2, "--confidence is 1 or more"),
        (["--resamples", 1], 2, "--resamples"),
        (["--method", "bca"], 2, "--method"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run, arguments, status, message):
    found = run("bootstrap", *arguments)
    assert found[0] == status
    assert message in found[2]


def test_weights_are_refused(run, tmp_path):
    path = tmp_path / "weighted.csv"
    path.write_text("a,w,t\n" + "".join(f"{i % 7},{1 + i % 2},{i % 3 == 0}\n" for i in range(40)))
    found = run("bootstrap", path, "--target", "t", "--weight", "w", "--resamples", 3)
    assert found[0] == 1
    assert "leave out --weight" in found[2]
