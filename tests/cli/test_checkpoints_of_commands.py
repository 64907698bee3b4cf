"""Searches on the command line that are kept, killed and resumed."""

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from programs import CSV, SMALL, assert_complaint, press_ctrl_c

import metaopt_fast as mf
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.job import SINCE_0_2
from metaopt_fast.files.read import read_table


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
    assert part["fitted"] is None
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


@pytest.mark.long(everywhere=True)
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
    with metadata_of(path) as settings:
        settings |= (counts if name == "gap" else {}) | {name: value}
    status, stdout, stderr = run("resume", path)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "could not convert" not in stderr


@contextlib.contextmanager
def metadata_of(path):
    """What the program keeps in a checkpoint, to be changed."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(text,)] = database.execute("SELECT text FROM config")
        config = json.loads(text)
        yield config["metadata"]
        text = json.dumps(config)
        digest = hashlib.sha256(repr((text,)).encode()).digest()
        database.execute("UPDATE config SET text = ?, digest = ?", (text, digest))
        database.commit()


def test_a_checkpoint_of_0_1_0_that_lacks_what_came_since_resumes(run, data, tmp_path):
    path = tmp_path / "run"
    options = ["--target", "label", "--candidates", 9, "--json"]
    _, expected, _ = run("search", data, *options, "--checkpoint", path)
    with metadata_of(path) as settings:
        for name in SINCE_0_2:
            del settings[name]
    status, stdout, stderr = run("resume", path, "--json")
    assert (status, stderr) == (0, "")
    assert json.loads(stdout)["top"] == json.loads(expected)["top"]


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
