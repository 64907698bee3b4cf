"""The program as a process of its own: signals, pipes that close, memory, encodings."""

import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from programs import CSV, SMALL, assert_complaint, process
from searches import files_up_to

import metaopt_fast as mf
from metaopt_fast.cli import job, tuning
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.report import Report
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards
from metaopt_fast.search.checkpoint import Checkpoint


@pytest.mark.long
def test_python_m_is_the_same_program():
    child = process("search", *SMALL, "--json")
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, "")
    assert json.loads(stdout)["n_evaluated"] == 3000
    child = process("search", "--scale", "0")
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout) == (2, "")
    assert_complaint(stderr)


@pytest.mark.long
def test_ctrl_c_prints_the_best_so_far_and_exits_with_130():
    child = process("search", "--candidates", 10**12, "--progress", "always")
    while "best" not in child.stderr.read(1000):
        assert child.poll() is None
    started = time.perf_counter()
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    # The search itself answers within 0.2 s; then the interpreter has to end.
    assert time.perf_counter() - started < 5
    assert child.returncode == 130
    assert re.search(r"^best loss +0\.", stdout, re.MULTILINE)
    assert re.search(r"metaopt-fast: interrupted after [\d,]+ of 1,000,000,000,000 candid", stderr)
    assert "Traceback" not in stderr


@pytest.mark.long
@pytest.mark.parametrize("method", ["random", "cem"])
def test_sigterm_prints_the_best_so_far_leaves_the_checkpoint_whole_and_exits_with_143(
    run, tmp_path, method
):
    path = tmp_path / "run"
    arguments = ["--candidates", 10**9, "--checkpoint", path, "--progress", "always"]
    child = process("search", *arguments, "--method", method)
    while "best" not in child.stderr.read(1000):
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    with contextlib.suppress(ProcessLookupError):  # a scheduler may repeat itself
        time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 143
    assert re.search(r"^best loss +0\.", stdout, re.MULTILINE)
    found = re.search(
        r"metaopt-fast: interrupted after ([\d,]+) of [\d,]+ candidates; go on", stderr
    )
    told = int(found[1].replace(",", ""))
    if method == "random":
        with Checkpoint(path) as file:
            state, _ = file.restore(shards.State.at(0, 1))
        assert state.n_evaluated == told > 0
    else:
        assert len(np.load(path)["trace"]) * 256 == told > 0


@pytest.mark.parametrize("command", ["search", "resume", "tune"])
def test_sigterm_before_there_is_a_result(run, data, tmp_path, monkeypatch, command):
    def terminated(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    path = tmp_path / "run"
    target = ["--target", "label"]
    run("search", data, *target, *SMALL, "--checkpoint", path)
    monkeypatch.setattr(cli, "random_search", terminated)
    monkeypatch.setattr(cli, "resume_search", terminated)
    monkeypatch.setattr(tuning, "tune", terminated)
    status = run(command, *([path] if command == "resume" else [data, *target]))
    why = f": {NO_PART_OF_TUNE}" if command == "tune" else ""
    assert status == (143, "", f"metaopt-fast: interrupted before there was a result{why}\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


NO_PART_OF_TUNE = (
    "all models are trained together, so that none was finished, and no file was written; run it "
    "again"
)


TELLS_OF_TRAINING = """
import sys
from metaopt_fast.cli.program import main
from metaopt_fast.selection import tune

def told(*arguments, **options):
    print("training", file=sys.stderr, flush=True)
    return fit(*arguments, **options)

tune.fit_splits, fit = told, tune.fit_splits
sys.exit(main())
"""


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tune_says_that_it_has_no_part_of_a_result(tmp_path, number):
    path = tmp_path / "result.json"
    path.write_text("precious")
    arguments = ["--candidates", 200_000, "--threads", 1, "--output", path, "--force"]
    child = process("tune", *arguments, start=("-c", TELLS_OF_TRAINING))
    assert child.stderr.readline() == "training\n"
    time.sleep(0.2)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout) == (128 + number, "")
    assert stderr == f"metaopt-fast: interrupted before there was a result: {NO_PART_OF_TUNE}\n"
    assert path.read_text() == "precious" and os.listdir(tmp_path) == ["result.json"]


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["search", "resume", "tune"])
def test_an_interrupt_that_a_reader_of_data_has_swallowed_counts(
    run, data, tmp_path, monkeypatch, command, number
):
    def swallow(*arguments):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
        return read_data(*arguments)

    path, target, read_data = tmp_path / "run", ["--target", "label"], cli.read_data
    run("search", data, *target, *SMALL, "--checkpoint", path)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "read_data", swallow)
    monkeypatch.setattr(job, "read_data", swallow)
    monkeypatch.setattr(tuning, "tune", pytest.fail)
    monkeypatch.setattr(cli, "random_search", pytest.fail)
    monkeypatch.setattr(cli, "resume_search", pytest.fail)
    status = run(command, *([path] if command == "resume" else [data, *target]))
    assert status == (128 + number, "", "metaopt-fast: interrupted before there was a result\n")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_sigterm_while_the_result_is_reported_does_not_lose_the_report(run, data, monkeypatch):
    def terminated(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return to_text(self)

    to_text = Report.to_text
    monkeypatch.setattr(Report, "to_text", terminated)
    status, stdout, _ = run("search", data, "--target", "label", *SMALL)
    assert status == 143 and "best loss" in stdout


def test_a_handler_of_the_callers_own_is_left_alone(run, data, monkeypatch):
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        monkeypatch.setattr(cli, "config", lambda: os.kill(os.getpid(), signal.SIGTERM) or config)
        config = mf.config()
        assert run("search", data, "--target", "label", *SMALL)[0] == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [1]


def test_the_library_takes_no_signals():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    mf.random_search(mf.LogisticLoss([[1.0], [2.0]], [0, 1]), mf.Normal(), 10)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_was_found_is_reported_when_the_checkpoint_is_gone(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "LARGEST_SHARD", 256)
    monkeypatch.setattr(search, "COMMIT_INTERVAL", 0.0)
    path = tmp_path / "run"
    evaluate = shards.Task.run

    def delete(self, start, count, threshold):
        if start == 1024:
            path.unlink()
        return evaluate(self, start, count, threshold)

    monkeypatch.setattr(shards.Task, "run", delete)
    status, stdout, stderr = run("search", *SMALL, "--checkpoint", path)
    assert status == 1 and re.search(r"^best loss +\d", stdout, re.MULTILINE)
    assert_complaint(stderr)
    assert "was deleted, replaced or changed by somebody else" in stderr


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("arguments", [["search", *SMALL], ["search", "--help"], ["info"]])
def test_a_reader_that_goes_away_is_no_reason_to_complain(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        child = process(*arguments, stdout=pipe)
    assert child.communicate(timeout=60)[1] == ""
    assert child.returncode in (0, 1)  # argparse says 0 for its help


@pytest.mark.long(everywhere=True)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux alone has /dev/full")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        child = process("search", *SMALL, stdout=full)
    assert_complaint(child.communicate(timeout=60)[1])
    assert child.returncode == 1


def test_a_closed_output_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["info"]) == 1
    assert_complaint(capsys.readouterr().err)


def test_a_complaint_without_a_place_for_it_is_a_status_alone(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["search", "none.csv", "--target", "t"]) == 1
    assert capsys.readouterr().out == ""


def test_a_file_for_which_the_disk_has_no_room_is_not_left_behind(run, data, tmp_path):
    output = tmp_path / "result.json"
    with files_up_to(100):
        status, text, complaint = run(
            *("search", data, "--target", "label", *SMALL, "--output", output)
        )
    assert status == 1 and "best loss" in text
    assert_complaint(complaint)
    assert not output.exists()


@pytest.mark.long(everywhere=True)
def test_letters_that_the_terminal_lacks_are_escaped(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(CSV.replace("p\n", "où\n"), encoding="utf-8")
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(mf.__file__).parents[1])}
    child = process("search", path, "--target", "label", *SMALL, env={**os.environ, **environment})
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, "")
    assert r"o\xf9" in stdout
