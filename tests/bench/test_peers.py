"""The peers of benches/peers: those that are installed compute what the reference does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benches is no package that is installed

from benches.peers import jobs, losses, report, rounds, searches, singles, tunings  # noqa: E402
from benches.peers.setting import Prepared, Setting, WrongResultError, check  # noqa: E402

SMALL = Setting(300, 8, "float64", 1, 0.001)
# Numba, PyTorch and JAX compile for seconds; Optuna and what scikit-learn starts are slow.
LOSSES = ["metaopt_fast", "NumPy, tuned", "NumPy, logaddexp", "scikit-learn's loss in a loop"]
TUNINGS = [name for name in tunings.PEERS if "intelex" not in name and "LIBLINEAR" not in name]
SINGLES = [name for name in singles.PEERS if "intelex" not in name]
# What tests do not install: `python -m benches.peers --jobs --quick` checks it where it is.
OTHERS = ("saga", "adelie", "skglm", "celer", "statsmodels", "torch", "STreeD")
JOBS = [name for name in jobs.PEERS if not any(word in name for word in OTHERS)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_a_peer_is_the_references(name, dtype):
    check(losses.prepare(name, Setting(300, 8, dtype, 1, 0.001)))


@pytest.mark.parametrize("name", searches.PEERS)
def test_a_search_of_a_peer_finds_a_loss_that_is_the_references(name):
    check(searches.prepare(name, SMALL))


@pytest.mark.long
@pytest.mark.parametrize("name", TUNINGS)
def test_a_tuning_of_a_peer_has_the_references_scores(name):
    check(tunings.prepare(name, SMALL))


@pytest.mark.parametrize("name", SINGLES)
def test_one_model_of_a_peer_is_the_references(name):
    check(singles.prepare(name, SMALL))


@pytest.mark.long
@pytest.mark.parametrize("name", JOBS)
def test_a_job_of_a_peer_has_the_scores_of_ours(name):
    check(jobs.prepare(name, SMALL))


@pytest.mark.parametrize("where", [0, -1])
def test_a_peer_that_is_wrong_is_refused(monkeypatch, where):
    def wrong(problem):
        def call():
            found = losses.numpy_plain(problem)()
            found[where] *= 1 + 1e-9
            return found

        return call

    monkeypatch.setitem(losses.PEERS, "wrong", wrong)
    with pytest.raises(WrongResultError, match="off the reference"):
        check(losses.prepare("wrong", SMALL))


def test_a_result_that_is_no_number_is_refused():
    with pytest.raises(WrongResultError):
        check(Prepared(lambda: None, 1, float("nan"), 1.0))


@pytest.mark.long
def test_the_command_measures_and_writes_what_it_measured(tmp_path):
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benches.peers", "--quick", "--threads", "1"]
    command += ["--only", "losses", "--peers", "metaopt_fast", "tuned", "--json", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    results = json.loads(path.read_text())
    assert len(results["rows"]) == 8  # 2 peers, 2 shapes, 2 dtypes
    assert all(len(row["times"]) == results["rounds"] for row in results["rows"])
    table = report.to_markdown(results, has_picture=False)
    assert all(report.cell(row) in table for row in results["rows"])


def test_a_ratio_is_that_of_the_best_other_to_the_best_of_ours():
    def row(peer, *times, **more):
        shape = {"shape": [10, 2], "dtype": "float64", "n_threads": 1, "neighbour": False}
        return {"task": "losses", "peer": peer, "count": 1, "times": list(times), **shape, **more}

    rows = [row("metaopt_fast", 2.0, 9.0, 1.0), row("a", 6.0), row("b", 5.0)]
    assert report.ratio(rows) == "2.50"
    assert report.ratio([*rows, row("c", 1.0, failed="wrong")]) == "2.50"
    assert report.ratio(rows[:1]) == ""


def test_ratios_of_losses_and_of_fits_are_apart():
    shape = {"task": "singles", "shape": [10, 2], "dtype": "float64", "n_threads": 1}
    times = {
        "metaopt_fast, loss": 4.0,
        "NumPy, one product by BLAS": 1.0,
        "metaopt_fast, LogisticRegression": 1.0,
        "scikit-learn, lbfgs": 2.0,
    }
    rows = [{**shape, "peer": name, "count": 1, "times": [one]} for name, one in times.items()]
    assert report.ratio(rows) == "loss 0.25; fit 2.00"


def test_a_job_is_told_by_its_seconds_and_how_many_times_ours_they_are():
    shape = {"task": "jobs", "shape": [10, 2], "dtype": "float64", "n_threads": 1}
    times = {"a: metaopt_fast": 0.5, "a: other": 4.0, "b: metaopt_fast": 1.0, "b: slow": 30.0}
    shape |= {"count": 1, "error": 0.0}
    rows = [{**shape, "peer": name, "times": [one]} for name, one in times.items()]
    rows[-1] |= {"times": [30.0, 30.0], "error": 0.00123}
    rows.append({**shape, "peer": "b: gone", "count": 1, "times": [], "missing": "b"})
    table = report.table_of_jobs(rows)
    assert "| a | other | 4, one run | 8.0 | 0 |" in table
    assert "| b | slow | 30 ±0 % | 30.0 | 1e-03 |" in table
    assert not any("gone" in line for line in table)
    assert report.without_figure(rows)[-1] == "Not measured: b: gone (not installed)."
    assert report.without_figure(rows[:-1]) == []


@pytest.mark.long(everywhere=True)
def test_a_peer_whose_run_is_long_has_no_other_one():
    class Timed:
        def __init__(self, seconds):
            self.seconds, self.n_runs = seconds, 0

        def ask(self, order):
            self.n_runs += 1
            return {"seconds": self.seconds}

    ready = [(Timed(0.1), {"times": []}), (Timed(rounds.LONG + 1), {"times": []})]
    rounds._take_turns(ready, 3)
    assert [peer.n_runs for peer, _ in ready] == [3, 1]


@pytest.mark.long(everywhere=True)
def test_a_picture_of_many_jobs_has_two_columns(tmp_path):
    shape = {"task": "jobs", "shape": [10, 2], "dtype": "float64", "n_threads": 1, "count": 1}
    rows = [
        {**shape, "peer": f"job {k}: {who}", "times": [1.0, 1.0]}
        for k in range(7)
        for who in ("metaopt_fast", "other")
    ]
    widths = []
    for some in (rows[:10], rows):
        report.plot_jobs({"rows": some}, tmp_path / "seconds.svg")
        drawn = (tmp_path / "seconds.svg").read_text()
        widths.append(float(re.search(r'width="([\d.]+)pt"', drawn)[1]))
        assert all(f"<!-- {row['peer'].partition(':')[0]} -->" in drawn for row in some)
    assert widths[1] == 2 * widths[0]


def test_a_picture_of_jobs_marks_runs_that_are_far_apart(tmp_path):
    shape = {"task": "jobs", "shape": [10, 2], "dtype": "float64", "n_threads": 1, "count": 1}
    rows = [
        {**shape, "peer": "a: metaopt_fast", "times": [0.5, 0.5]},
        {**shape, "peer": "a: wide", "times": [800.0, 1200.0]},
        {**shape, "peer": "a: narrow", "times": [99.0, 101.0]},
    ]
    path = tmp_path / "seconds.svg"
    report.plot_jobs({"rows": rows}, path)
    drawn = path.read_text()
    for text in ("0.5 s", "1e+03 s ±20 %, 2,000 times", "1e+02 s, 200 times"):
        assert f"<!--  {text} -->" in drawn, text
