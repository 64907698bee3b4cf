"""Files that the command line writes: pictures, JSON, templates of data."""

import json
import os
import struct
import sys
from pathlib import Path

import pytest
from programs import CSV, SMALL, assert_complaint

import metaopt_fast as mf
from metaopt_fast.cli import program as cli


def test_output_has_what_json_prints(run, data, tmp_path):
    path = tmp_path / "result.json"
    status, stdout, _ = run("search", data, "--target", "label", *SMALL, "--json", "--output", path)
    assert status == 0
    assert path.read_text() == stdout


@pytest.mark.long(everywhere=True)
def test_plot_draws_a_picture(run, data, tmp_path):
    for name, start in {"a.png": b"\x89PNG", "a.svg": b"<?xml", "a.PDF": b"%PDF"}.items():
        status, _, stderr = run(
            "search", data, "--target", "label", *SMALL, "--plot", tmp_path / name
        )
        assert (status, stderr) == (0, "")
        assert (tmp_path / name).read_bytes().startswith(start)
    header = (tmp_path / "a.png").read_bytes()[:24]
    assert struct.unpack(">II", header[16:]) == (1280, 800)  # pixels: 6.4 by 4 inches


@pytest.mark.long(everywhere=True)
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
