"""The line that says what a command reads or trains, where that takes long."""

import sys
import time

import pytest
from programs import SMALL

from metaopt_fast.cli import predicting, shards
from metaopt_fast.cli import program as cli
from metaopt_fast.cli import waiting as module
from metaopt_fast.cli.waiting import waiting


def test_what_takes_long_is_said_and_gone_afterwards(capsys, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with waiting("reading a.csv", "always"):
        deadline = time.monotonic() + 30
        found = ""
        while not found and time.monotonic() < deadline:
            time.sleep(0.01)
            found = capsys.readouterr().err
    assert found == "reading a.csv ..."
    assert capsys.readouterr().err == "\r" + " " * 17 + "\r"


def test_what_is_quick_is_not_said(capsys, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 3600.0)
    with waiting("reading a.csv", "always"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("progress", "is_terminal"), [(False, True), (True, False)])
def test_it_is_said_where_progress_is(capsys, monkeypatch, progress, is_terminal):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: is_terminal)
    with waiting("reading a.csv", progress):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


READING = "reading breast_cancer, carried by the package"


def test_what_is_read_to_be_predicted_or_merged_is_said(run, data, tmp_path, monkeypatch):
    model, shard = tmp_path / "model.json", tmp_path / "1.db"
    run("search", data, "--target", "label", *SMALL, "--checkpoint", shard, "--model", model)
    said = []

    def told(what, progress):
        said.append((what, progress))
        return waiting(what, False)

    for where in (predicting, shards):
        monkeypatch.setattr(where, "waiting", told)
    for command in (["predict", model, data], ["score", model, data], ["merge", shard]):
        assert run(*command, "--progress", "always")[0] == 0
    assert said == [("reading data.csv", "always")] * 3


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["search", *SMALL], [READING]),
        (["tune", "--candidates", 4, "--cv", 3], [READING, "training 4 candidates"]),
        (["bootstrap", "--resamples", 9], [READING]),
        (["permutation-test", "--permutations", 9], [READING]),
    ],
)
def test_commands_say_what_they_wait_for(run, monkeypatch, command, wanted):
    said = []

    def told(what, progress):
        said.append((what, progress))
        return waiting(what, False)

    monkeypatch.setattr(cli, "waiting", told)
    assert run(*command, "--progress", "always")[0] == 0
    assert said == [(what, "always") for what in wanted]
