"""What the command line reads: pipes, tables with an index, groups of text."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas
import pytest
from programs import CSV, SMALL, assert_complaint, process

import metaopt_fast as mf
from metaopt_fast.datasets import BREAST_CANCER
from metaopt_fast.files.read import read_table


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


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "stdin is empty: pass a file with a header and rows."),
        (b"a,t\n1,0\nx,1\n", "stdin, line 3, column 'a' has 'x' where a finite number is wanted"),
        (b"\x1f\x8b", "stdin is not a whole gzip-compressed file"),
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


@pytest.mark.long(everywhere=True)
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


@pytest.mark.long(everywhere=True)
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


@pytest.mark.long(everywhere=True)
def test_a_report_calls_stdin_by_its_name(data):
    child = process("search", "-", "--target", "label", *SMALL, stdin=subprocess.PIPE)
    stdout, _ = child.communicate(CSV, timeout=60)
    assert re.search(r"^data +stdin: 40 rows, 2 features$", stdout, re.MULTILINE)


@pytest.mark.parametrize("command", ["search", "tune"])
def test_an_index_that_was_saved_is_left_out_with_a_note(run, tmp_path, command):
    path, options = tmp_path / "data.csv", SMALL if command == "search" else ["--candidates", "3"]
    rows = [f"{k},{line}" if k else f",{line}" for k, line in enumerate(CSV.splitlines())]
    path.write_text("\n".join(rows) + "\n")
    status, stdout, stderr = run(command, path, "--target", "label", *options)
    assert status == 0
    assert re.search(r"^note +column 1 has no name \(''\), as an index that", stdout, re.MULTILINE)
    assert stderr.startswith("metaopt-fast: note: data.csv: column 1 has no name")
    assert stderr.count("\n") == 1
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


@pytest.mark.parametrize("command", ["search", "tune"])
def test_how_a_file_is_written_is_detected_and_said_in_one_line(run, tmp_path, command):
    options = SMALL if command == "search" else ["--candidates", "3"]
    plain, written = tmp_path / "plain.csv", tmp_path / "written.tsv.gz"
    lines = [line.split(",") for line in CSV.replace("\n1,", "\n1.5,").splitlines()]
    plain.write_text("\n".join(map(",".join, lines)))
    text = "\n".join("\t".join(line).replace(".", ",") for line in lines)
    written.write_bytes(gzip.compress(text.encode()))
    results = []
    for path in (plain, written):
        status, stdout, stderr = run(command, path, "--target", "label", *options, "--json")
        assert status == 0
        found = json.loads(stdout)
        results.append(found["theta"])
    assert results[0] == results[1]
    sentence = "compressed by gzip, separated by tabs ('\\t'), with decimal commas: read as such."
    assert stderr == f"metaopt-fast: note: written.tsv.gz: {sentence}\n"
    assert found["data"]["notes"] == [sentence]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--candidate", "5"], "--candidate 5 (did you mean '--candidates'?); see"),
        (["--sed=1"], "--sed=1 (did you mean '--seed'?); see metaopt-fast search --help"),
        (["--qqq"], "unrecognized arguments: --qqq; see"),
        (["--json", "out.json"], "ts: out.json (did you mean '--target out.json'?)"),
        (["--target", "label", "--json", "o.json"], "s: o.json (did you mean '--output o.json'?)"),
        (["--target", "lable"], "has no column 'lable' (did you mean 'label'?): name one of 'a'"),
    ],
)
def test_what_was_meant_is_asked(run, data, arguments, sentence):
    _, _, stderr = run("search", data, *arguments)
    assert_complaint(stderr)
    assert sentence in stderr
