"""What the program says of itself, and of a wrong call."""

import json

import pytest
from programs import CSV, assert_complaint, press_ctrl_c

import metaopt_fast as mf
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.arguments import COMMANDS


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


WRONG = {
    "--candidates": ["0", "-5", "1.5", "nan", "1e400", "many", str(2**63)],
    "--candidate": ["5"],
    "--seed": ["-1", str(2**64)],
    "--scale": ["0", "-1", "inf", "wide"],
    "--l2": ["-1", "nan"],
    "--sampler": ["cauchy"],
    "--dtype": ["float16"],
    "--threads": ["0", "1025"],
    "--top": ["0"],
    "--target": ["y"],
    "--plot": ["picture.bmp"],
    "--progress": ["maybe"],
}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["find"],
        *(["search", option, value] for option, values in WRONG.items() for value in values),
        ["search", "--top", "6", "--candidates", "5"],
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
        (["data.doc"], "has the suffix '.doc'"),
        (["data.csv"], "needs a target: name one of its columns, 'a', 'b', 'label'"),
        (["data.csv", "--target", "c"], "has no column 'c'"),
        (["data.csv", "--target", "b"], "column 'label' has 'n' where a finite number"),
        (["wrong.csv", "--target", "t"], "line 3, column 'a' has 'x'"),
        (["data.csv", "--target", "label", "--checkpoint", "none/a.db"], "none/a.db"),
        (["data.csv", "--target", "label", "--checkpoint", "data.doc"], "data.doc"),
    ],
)
def test_a_failed_job_is_one_sentence_and_status_1(
    run, data, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.doc").write_text(CSV)
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


@pytest.mark.parametrize("command", [None, *(one.name for one in COMMANDS)])
def test_help_fits_a_terminal_of_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, stdout, _ = run(*([] if command is None else [command]), "--help")
    assert status == 0 and max(map(len, stdout.splitlines())) <= 80
