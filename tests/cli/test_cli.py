"""The program metaopt-fast: its tables, its JSON, its files, and what it says of mistakes."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from searches import files_up_to

import metaopt_fast as mf
from metaopt_fast.cli import job
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.arguments import make_parser
from metaopt_fast.cli.report import Report
from metaopt_fast.data.standardize import standardize
from metaopt_fast.datasets import BREAST_CANCER, load_breast_cancer
from metaopt_fast.files.read import read_table
from metaopt_fast.search import random_search as search
from metaopt_fast.search import shards
from metaopt_fast.search.checkpoint import Checkpoint
from metaopt_fast.selection import tune

SMALL = ["--candidates", "3000"]
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
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def process(*arguments, start=("-m", "metaopt_fast"), **options):
    """The program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(mf.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, *start, *map(str, arguments)],
        **{"env": environment, "stdout": subprocess.PIPE, "text": True, **options},
        stderr=subprocess.PIPE,
    )


def assert_complaint(stderr):
    """One line of one sentence, and no traceback."""
    assert re.fullmatch(r"metaopt-fast: error: .*\.\n", stderr), stderr
    assert stderr[:-1].isprintable()


# ------------------------------------------------------------------------------------------- search


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
    descent = mf.gradient_descent(objective, result.theta, max_iter=10_000)
    accuracy = np.mean((X @ result.theta[:-1] + result.theta[-1] > 0) == y)
    for label, value in {
        "best loss": f"{result.loss:.10g}",
        "accuracy": f"{accuracy:.2%}",
        "best candidate": f"{result.index:,}",
        "instruction set": mf.config()["isa"],
        "threads": str(mf.config()["n_threads"]),
        "theta = 0": f"{np.log(2):.8g}",
        "gradient descent": f"{descent.loss:.8g}",
        "positive class": r"malignant \(212 rows\),",
        "data": "breast_cancer,",
        "pairs per second": r"[\d.e+]+",
        "seconds": r"\d+\.\d\d",
    }.items():
        assert re.search(rf"^{label} +{value}(?!\S)", stdout, re.MULTILINE), (label, value, stdout)


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
    assert found["descent"]["loss"] == pytest.approx(objective.loss(found["descent"]["theta"]))
    assert found["descent"]["loss"] < found["loss"] < found["zero"]["loss"]
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


# ----------------------------------------------------------------------------- files that it writes


def test_output_has_what_json_prints(run, data, tmp_path):
    path = tmp_path / "result.json"
    status, stdout, _ = run("search", data, "--target", "label", *SMALL, "--json", "--output", path)
    assert status == 0
    assert path.read_text() == stdout


def test_plot_draws_a_picture(run, data, tmp_path):
    for name, start in {"a.png": b"\x89PNG", "a.svg": b"<?xml", "a.PDF": b"%PDF"}.items():
        status, _, stderr = run(
            "search", data, "--target", "label", *SMALL, "--plot", tmp_path / name
        )
        assert (status, stderr) == (0, "")
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_a_file_that_exists_is_replaced_by_force_alone(run, data, tmp_path, option):
    path = tmp_path / "result.png"
    path.write_text("precious")
    arguments = ["search", data, "--target", "label", *SMALL, option, path]
    status, stdout, stderr = run(*arguments)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "exists: pass --force" in stderr
    assert path.read_text() == "precious"
    assert run(*arguments, "--force")[0] == 0
    assert path.read_bytes() != b"precious"
    assert sorted(os.listdir(tmp_path)) == ["data.csv", "result.png"]


def test_a_file_that_appears_during_the_search_is_left_alone(run, data, tmp_path, monkeypatch):
    path = tmp_path / "result.json"

    def search(*arguments, **options):
        path.write_text("precious")
        return mf.random_search(*arguments, **options)

    monkeypatch.setattr(cli, "random_search", search)
    arguments = ["--target", "label", *SMALL, "--json", "--output", path]
    status, stdout, stderr = run("search", data, *arguments)
    assert status == 1
    assert_complaint(stderr)
    assert path.read_text() == "precious"
    assert json.loads(stdout)["n_evaluated"] == 3000


def test_a_link_is_not_followed(run, data, tmp_path):
    target = tmp_path / "precious"
    link = tmp_path / "result.json"
    link.symlink_to(target)
    arguments = ["search", data, "--target", "label", *SMALL, "--output", link]
    assert run(*arguments)[0] == 1
    assert run(*arguments, "--force")[0] == 0
    assert not target.exists()


def test_a_file_that_cannot_be_written_is_refused_before_the_search(
    run, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(cli, "random_search", pytest.fail)
    for path in (tmp_path / "none" / "a.json", tmp_path, f"{data}/a.json", os.devnull):
        status, _, stderr = run("search", data, "--target", "label", "--output", path, "--force")
        assert status == 1
        assert_complaint(stderr)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    status, _, stderr = run("search", data, "--target", "label", "--output", tmp_path / "a.json")
    assert status == 1 and "is not writable: pass a file in another directory" in stderr


@pytest.mark.parametrize(
    "same",
    [
        ["--output", "data.csv", "--force"],
        ["--output", "./a.png", "--plot", "a.png"],
        ["--output", "a.db", "--checkpoint", "a.db"],
    ],
)
def test_one_file_for_two_purposes_is_wrong_usage(run, data, tmp_path, monkeypatch, same):
    monkeypatch.chdir(tmp_path)
    status, _, stderr = run("search", data, "--target", "label", *same)
    assert status == 2
    assert_complaint(stderr)
    assert Path(data).read_text() == CSV


def test_plot_without_matplotlib_names_the_extra_before_the_search(
    run, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(cli, "random_search", pytest.fail)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, stderr = run("search", data, "--target", "label", "--plot", tmp_path / "a.png")
    assert status == 1
    assert_complaint(stderr)
    assert "pip install 'metaopt_fast[plot]'" in stderr


# ------------------------------------------------------------------------------- checkpoint, resume


def test_an_interrupted_search_resumes_to_the_same_result(run, data, tmp_path, monkeypatch):
    whole = ["search", data, "--target", "label", "--candidates", 10**6, "--top", 5, "--json"]
    _, expected, _ = run(*whole)
    checkpoint = tmp_path / "search.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(cli, "random_search", interrupted_search)
        status, stdout, stderr = run(*whole, "--checkpoint", checkpoint)
    assert status == 130
    assert "metaopt-fast resume" in stderr
    part = json.loads(stdout)
    assert 0 < part["n_evaluated"] < 10**6
    assert part["stopped_by"] == "interrupt"
    assert part["descent"] is None
    monkeypatch.chdir("/")
    status, stdout, stderr = run("resume", checkpoint, "--json")
    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["top"] == json.loads(expected)["top"]
    assert json.loads(stdout)["data"] == json.loads(expected)["data"]


def interrupted_search(*arguments, **options):
    """A search with a Ctrl-C after its first part."""
    return mf.random_search(*arguments, **options, callback=press_ctrl_c)


def test_resume_refuses_what_is_no_checkpoint_of_the_program(run, data, tmp_path):
    table = read_table(data, "label")
    objective = mf.LogisticLoss(table.X, table.y)
    mf.random_search(objective, mf.Normal(), 100, checkpoint=tmp_path / "library.sqlite")
    mf.random_search(
        objective, mf.Normal(), 100, checkpoint=tmp_path / "odd.sqlite", metadata={"file": 3}
    )
    (tmp_path / "empty.sqlite").touch()
    for name in ("library.sqlite", "odd.sqlite", "empty.sqlite", "none.sqlite", "data.csv", "."):
        status, stdout, stderr = run("resume", tmp_path / name)
        assert (status, stdout) == (1, "")
        assert_complaint(stderr)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("objective", text) for text in ("", "x", "cost", "cost=a:b", "cost=1:-1", "cost=1:nan")),
        ("gap", "none"),
        ("dtype", "int8"),
        ("l2", -1.0),
        ("l2", True),
        ("file", 3),
        ("standardize", "yes"),
    ],
)
def test_forged_settings_are_one_sentence(run, data, tmp_path, name, value):
    path = tmp_path / "run"
    counts = {"objective": "error", "group": "a", "max_gap": 1.0}
    run("search", data, "--target", "label", "--candidates", 9, "--checkpoint", path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(text,)] = database.execute("SELECT text FROM config")
        config = json.loads(text)
        config["metadata"] |= (counts if name == "gap" else {}) | {name: value}
        text = json.dumps(config)
        digest = hashlib.sha256(repr((text,)).encode()).digest()
        database.execute("UPDATE config SET text = ?, digest = ?", (text, digest))
        database.commit()
    status, stdout, stderr = run("resume", path)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "could not convert" not in stderr


def test_resume_does_not_write_over_its_data(run, data, tmp_path):
    checkpoint = tmp_path / "search.sqlite"
    assert run("search", data, "--target", "label", *SMALL, "--checkpoint", checkpoint)[0] == 0
    for path in (data, checkpoint):
        assert run("resume", checkpoint, "--output", path, "--force")[0] == 2
    assert Path(data).read_text() == CSV
    assert run("resume", checkpoint)[0] == 0


def test_resume_refuses_data_that_have_changed(run, data, tmp_path):
    checkpoint = tmp_path / "search.sqlite"
    assert run("search", data, "--target", "label", *SMALL, "--checkpoint", checkpoint)[0] == 0
    Path(data).write_text(CSV.replace("1,1,", "1,2,"))
    status, _, stderr = run("resume", checkpoint)
    assert status == 1
    assert_complaint(stderr)
    Path(data).unlink()
    status, _, stderr = run("resume", checkpoint)
    assert status == 1
    assert_complaint(stderr)


# ----------------------------------------------------------------------------------- info and usage


def test_info_says_what_was_found_and_why(run):
    status, stdout, _ = run("info")
    assert status == 0
    found = mf.config()
    for value in (found["version"], found["isa"], found["isa_reason"], found["n_threads_reason"]):
        assert value in stdout


def test_info_as_json(run):
    status, stdout, _ = run("info", "--json")
    assert status == 0
    assert json.loads(stdout) == mf.config()


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["resume", "--help"]])
def test_help_is_printed(run, arguments):
    status, stdout, stderr = run(*arguments)
    assert (status, stderr) == (0, "")
    assert stdout.startswith("usage: metaopt-fast")


def test_version(run):
    assert run("--version") == (0, f"metaopt-fast {mf.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["find"],
        ["search", "--candidates", "0"],
        ["search", "--candidates", "-5"],
        ["search", "--candidates", "1.5"],
        ["search", "--candidates", "nan"],
        ["search", "--candidates", "1e400"],
        ["search", "--candidates", "many"],
        ["search", "--candidates", str(2**63)],
        ["search", "--candidate", "5"],
        ["search", "--seed", "-1"],
        ["search", "--seed", str(2**64)],
        ["search", "--scale", "0"],
        ["search", "--scale", "-1"],
        ["search", "--scale", "inf"],
        ["search", "--scale", "wide"],
        ["search", "--l2", "-1"],
        ["search", "--l2", "nan"],
        ["search", "--sampler", "cauchy"],
        ["search", "--dtype", "float16"],
        ["search", "--threads", "0"],
        ["search", "--threads", "1025"],
        ["search", "--top", "0"],
        ["search", "--top", "6", "--candidates", "5"],
        ["search", "--target", "y"],
        ["search", "--plot", "picture.bmp"],
        ["search", "--progress", "maybe"],
        ["search", "--unknown"],
        ["search", "a.csv", "b.csv"],
        ["search", "--\x1b[2J"],
        ["search", "--seed"],
        ["resume"],
        ["info", "extra"],
        ["--vers"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_sentence_and_status_2(run, arguments):
    status, stdout, stderr = run(*arguments)
    assert (status, stdout) == (2, "")
    assert_complaint(stderr)
    assert "--help" in stderr


def test_a_number_out_of_range_is_told_the_range(run):
    for option, low, high in [("--candidates", 1, 2**63 - 1), ("--top", 1, 2**63 - 1)]:
        assert (
            f"'1e30' given, but an integer from {low} to {high} wanted"
            in run("search", option, "1e30")[2]
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.csv", "--target", "t"], "none.csv does not exist"),
        ([".", "--target", "t"], "is a directory"),
        (["data.txt"], "has the suffix '.txt'"),
        (["data.csv"], "needs a target: name one of its columns, 'a', 'b', 'label'"),
        (["data.csv", "--target", "c"], "has no column 'c'"),
        (["data.csv", "--target", "b"], "column 'label' has 'n' where a finite number"),
        (["wrong.csv", "--target", "t"], "line 3, column 'a' has 'x'"),
        (["data.csv", "--target", "label", "--checkpoint", "none/a.db"], "none/a.db"),
        (["data.csv", "--target", "label", "--checkpoint", "data.txt"], "data.txt"),
    ],
)
def test_a_failed_job_is_one_sentence_and_status_1(
    run, data, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.txt").write_text(CSV)
    (tmp_path / "wrong.csv").write_text("a,t\n1,0\nx,1\n")
    status, stdout, stderr = run("search", *arguments, "--candidates", 10)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert sentence in stderr


def test_too_little_memory_is_one_sentence(run, monkeypatch):
    monkeypatch.setattr(cli, "random_search", exhaust)
    status, _, stderr = run("search")
    assert status == 1
    assert_complaint(stderr)


def exhaust(*arguments, **options):
    raise MemoryError


def test_ctrl_c_before_there_is_a_result(run, monkeypatch):
    monkeypatch.setattr(cli, "random_search", press_ctrl_c)
    assert run("search") == (130, "", "metaopt-fast: interrupted before there was a result\n")


def press_ctrl_c(*arguments, **options):
    raise KeyboardInterrupt


# ------------------------------------------------------------------------------ as a real process


def test_python_m_is_the_same_program():
    child = process("search", *SMALL, "--json")
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, "")
    assert json.loads(stdout)["n_evaluated"] == 3000
    child = process("search", "--scale", "0")
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout) == (2, "")
    assert_complaint(stderr)


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
    monkeypatch.setattr(tune, "tune", terminated)
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
    monkeypatch.setattr(tune, "tune", pytest.fail)
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


@pytest.mark.parametrize("arguments", [["search", *SMALL], ["search", "--help"], ["info"]])
def test_a_reader_that_goes_away_is_no_reason_to_complain(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        child = process(*arguments, stdout=pipe)
    assert child.communicate(timeout=60)[1] == ""
    assert child.returncode in (0, 1)  # argparse says 0 for its help


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


def test_letters_that_the_terminal_lacks_are_escaped(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(CSV.replace("p\n", "où\n"), encoding="utf-8")
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(mf.__file__).parents[1])}
    child = process("search", path, "--target", "label", *SMALL, env={**os.environ, **environment})
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (0, "")
    assert r"o\xf9" in stdout


# ------------------------------------------------------------- counts, populations, whole numbers


@pytest.fixture
def grouped(tmp_path):
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=(2, 300)), rng.integers(0, 2, 300)
    y = x[0] + group + rng.normal(size=300) > 0.5
    lines = [f"{a},{b},{g},{'yes' if c else 'no'}" for a, b, g, c in zip(*x, group, y, strict=True)]
    path = tmp_path / "grouped.csv"
    path.write_text("\n".join(["a,b,sex,label", *lines]) + "\n")
    return str(path)


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
    status, output, _ = run(*arguments, *limit[:2], "--max-gap", "0", "--seed", "3")
    assert status == 0


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
    [("sexe", "has no feature 'sexe': name one of"), ("a", "'a' has 300 values")],
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


# ------------------------------------------------------------------ pipes, indexes, groups of text


def kinds_of_files(folder):
    """The same data as a file of each kind, and the options that each needs."""
    table = read_table(BREAST_CANCER, "target")
    folder.joinpath("data.csv").write_bytes(BREAST_CANCER.read_bytes())
    np.savez(folder / "data.npz", X=table.X, y=table.y)
    np.save(folder / "data.npy", np.column_stack([table.X, table.y]))
    frame = pandas.DataFrame(table.X, columns=table.feature_names).assign(target=table.y)
    frame.to_parquet(folder / "data.parquet")
    return {
        folder / "data.csv": ["--target", "target"],
        folder / "data.npz": [],
        folder / "data.npy": [],
        folder / "data.parquet": ["--target", "target"],
    }


@pytest.mark.parametrize("way", ["-", "/dev/stdin", "a fifo", "a file as stdin"])
def test_a_pipe_is_read_as_a_file(run, tmp_path, way):
    counted = [*SMALL, "--objective", "error", "--json"]
    _, packaged, _ = run("search", *counted)
    for path, options in kinds_of_files(tmp_path).items():
        if way != "-" and path.suffix in (".npz", ".npy"):
            continue
        arguments, content = [*options, *counted], path.read_bytes()
        if way == "a fifo":
            fifo = tmp_path / f"fifo of {path.name}"
            os.mkfifo(fifo)
            writer = threading.Thread(target=fifo.write_bytes, args=(content,))
            writer.start()
            status, stdout, stderr = run("search", fifo, *arguments)
            writer.join()
        elif way == "a file as stdin":
            with path.open("rb") as file:
                child = process("search", "-", *arguments, stdin=file)
                (stdout, stderr), status = child.communicate(timeout=60), child.wait()
        else:
            child = process("search", way, *arguments, stdin=subprocess.PIPE, text=False)
            out, err = child.communicate(content, timeout=60)
            stdout, stderr, status = out.decode(), err.decode(), child.returncode
        assert (status, stderr) == (0, ""), path.name
        assert json.loads(stdout)["top"] == json.loads(packaged)["top"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "stdin is empty: pass a file with a header and rows."),
        (b"a,t\n1,0\nx,1\n", "stdin, line 3, column 'a' has 'x' where a finite number is wanted"),
        (b"a;t\n1;0\n", "stdin is separated by semicolons"),
        (b"PAR1 he said", "stdin is not a whole .parquet file"),
        (b"PK\x03\x04", "stdin is not a whole .npz file"),
        (b"\x93NUMPY", "stdin is not a whole .npy file"),
    ],
)
def test_a_pipe_of_something_else_gets_the_sentence_of_a_file(content, sentence):
    target = ["--target", "t"] if content[:1] not in (b"P", b"\x93") or b"PAR" in content else []
    child = process("search", "-", *target, *SMALL, stdin=subprocess.PIPE, text=False)
    out, err = child.communicate(content, timeout=60)
    assert (child.returncode, out) == (1, b"")
    assert_complaint(err.decode())
    assert sentence in err.decode()


def test_a_closed_stdin_is_one_sentence(tmp_path):
    child = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m metaopt_fast search - --target t <&-"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(mf.__file__).parents[1])},
        check=False,
    )
    assert child.returncode == 1
    assert_complaint(child.stderr)
    assert "stdin cannot be read" in child.stderr


def test_a_search_of_stdin_is_resumed_from_stdin(data, tmp_path):
    checkpoint = tmp_path / "search.sqlite"
    arguments = ["-", "--target", "label", *SMALL, "--json", "--checkpoint", checkpoint]
    found = []
    for command in (["search", *arguments], ["resume", checkpoint, "--json"]):
        child = process(*command, stdin=subprocess.PIPE)
        stdout, stderr = child.communicate(CSV, timeout=60)
        assert (child.returncode, stderr) == (0, "")
        found.append(json.loads(stdout)["top"])
    assert found[0] == found[1]


def test_a_report_calls_stdin_by_its_name(data):
    child = process("search", "-", "--target", "label", *SMALL, stdin=subprocess.PIPE)
    stdout, _ = child.communicate(CSV, timeout=60)
    assert re.search(r"^data +stdin: 40 rows, 2 features$", stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["search", "tune"])
def test_an_index_that_was_saved_is_left_out_with_a_note(run, tmp_path, command):
    path, options = tmp_path / "data.csv", SMALL if command == "search" else ["--candidates", "3"]
    rows = [f"{k},{line}" if k else f",{line}" for k, line in enumerate(CSV.splitlines())]
    path.write_text("\n".join(rows) + "\n")
    status, stdout, _ = run(command, path, "--target", "label", *options)
    assert status == 0
    assert re.search(r"^note +column 1 has no name \(''\), as an index that", stdout, re.MULTILINE)
    _, stdout, _ = run(command, path, "--target", "label", *options, "--json")
    found = json.loads(stdout)["data"]
    assert found["feature_names"] == ["a", "b"] and len(found["notes"]) == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_limit_on_groups_of_text_is_that_of_their_numbers(run, grouped, tmp_path, suffix):
    frame = pandas.read_csv(grouped)
    found = []
    for names in ([0, 1], ["F", "M"]):
        path = tmp_path / f"data.{suffix}"
        named = frame.assign(sex=[names[k] for k in frame.sex])
        named.to_csv(path, index=False) if suffix == "csv" else named.to_parquet(path)
        limit = ["--objective", "error", "--group", "sex", "--max-gap", "0.05"]
        status, stdout, stderr = run(
            "search", path, "--target", "label", *SMALL, *limit, "--top", "3", "--json"
        )
        assert (status, stderr) == (0, "")
        found.append(json.loads(stdout)["top"])
    assert found[0] == found[1]
