"""Files as people have them: taken as they are, or refused with a cure that is an option."""

import bz2
import gzip
import json
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from programs import assert_complaint

RNG = np.random.default_rng(0)
N = 60
PATIENTS = pd.DataFrame(
    {
        "age": RNG.integers(20, 80, N),
        "dose": RNG.normal(size=N).round(3),
        "smoker": RNG.random(N) > 0.5,
        "ward": RNG.choice(["north", "south"], N),
        "weight": RNG.integers(1, 4, N),
        "ill": np.where(RNG.normal(size=N) + np.arange(N) % 2 > 0.5, "yes", "no"),
    }
)
NUMBERS = PATIENTS.drop(columns=["ward", "weight"])
HOLES = NUMBERS.assign(dose=NUMBERS["dose"].where(np.arange(N) % 7 > 0))
IDS = NUMBERS.assign(id=[f"P-{k:05}" for k in range(N)])
DATES = NUMBERS.assign(seen=pd.date_range("2020-01-01", periods=N, freq="D").astype(str))
# What a spreadsheet begins with.
SHEET = b"\xef\xbb\xbfsep=;\r\n"


def zst(path, text):
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(text)


def stream(path):
    table = pa.Table.from_pandas(NUMBERS, preserve_index=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def text(frame, **options):
    return frame.to_csv(index=False, **options).encode()


# Name, what writes it, and the options that it needs beside its target, which the error names.
FILES = {
    "commas": ("a.csv", lambda path: path.write_bytes(text(NUMBERS)), None),
    "tabs": ("a.tsv", lambda path: path.write_bytes(text(NUMBERS, sep="\t")), None),
    "a text file of spaces": (
        "a.txt",
        lambda path: path.write_text(NUMBERS.to_string(index=False)),
        None,
    ),
    "of a spreadsheet": (
        "a.csv",
        lambda path: path.write_bytes(
            b"\xef\xbb\xbfsep=;\r\n" + text(NUMBERS, sep=";", decimal=",")
        ),
        None,
    ),
    "gzip": ("a.csv.gz", lambda path: path.write_bytes(gzip.compress(text(NUMBERS))), None),
    "bzip2": ("a.csv.bz2", lambda path: path.write_bytes(bz2.compress(text(NUMBERS))), None),
    "zstd": ("a.csv.zst", lambda path: zst(path, text(NUMBERS)), None),
    "saved with its index": ("a.csv", lambda path: NUMBERS.to_csv(path), None),
    "parquet": ("a.parquet", NUMBERS.to_parquet, None),
    "feather": ("a.feather", NUMBERS.to_feather, None),
    "arrow stream": ("a.arrow", stream, None),
    "texts": (
        "a.csv",
        lambda path: path.write_bytes(text(PATIENTS)),
        ["--categories", "onehot", "--weight", "weight"],
    ),
    "texts of feather": ("a.feather", PATIENTS.to_feather, ["--categories", "onehot"]),
    "missing values": ("a.csv", lambda path: path.write_bytes(text(HOLES)), ["--missing", "mean"]),
    "missing values of feather": ("a.feather", HOLES.to_feather, ["--missing", "drop"]),
    "a number of each row": ("a.csv", lambda path: path.write_bytes(text(IDS)), ["--drop", "id"]),
    "dates": ("a.csv", lambda path: path.write_bytes(text(DATES)), ["--drop", "seen"]),
    "dates of arrow": (
        "a.feather",
        DATES.assign(seen=pd.to_datetime(DATES["seen"])).to_feather,
        ["--drop", "seen"],
    ),
    "UTF-16 of a spreadsheet": (
        "a.txt",
        lambda path: path.write_bytes(text(NUMBERS, sep="\t").decode().encode("utf-16")),
        None,
    ),
    "no header": (
        "a.csv",
        lambda path: path.write_bytes(text(NUMBERS, header=False)),
        ["--no-header", "--target", "x3"],
    ),
    "quoted": ("a.csv", lambda path: path.write_bytes(text(NUMBERS, quoting=1)), None),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_taken_or_refused_with_a_cure_that_is_an_option(run, tmp_path, name):
    file, write, cure = FILES[name]
    path = tmp_path / file
    write(path)
    call = ["tune", path, "--target", "ill", "--candidates", 3, "--holdout", 0.2]
    status, stdout, stderr = run(*call)
    if cure is not None:
        assert (status, stdout) == (1, "")
        assert_complaint(stderr)
        assert cure[0] in stderr
        status, stdout, stderr = run(*call, *cure)
    assert status == 0, stderr
    assert "positive class    yes" in stdout and "held-out accuracy" in stdout


@pytest.mark.parametrize("name", ["commas", "gzip", "feather", "parquet"])
def test_a_pipe_is_told_by_its_first_bytes(run, tmp_path, name):
    file, write, _ = FILES[name]
    write(tmp_path / file)
    with open(tmp_path / file, "rb") as stdin:
        options = ["--target", "ill", "--candidates", 3]
        status, stdout, _ = run("tune", f"/dev/fd/{stdin.fileno()}", *options)
    assert status == 0
    assert "60 rows, 3 features" in stdout


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", ["feather", "arrow stream", "texts of feather"])
def test_polars_reads_the_same_of_arrows_files(run, tmp_path, name, monkeypatch):
    file, write, cure = FILES[name]
    write(tmp_path / file)
    call = ["search", tmp_path / file, "--target", "ill", "--candidates", 30, *(cure or [])]
    expected = run(*call)[1].partition("\nbest candidate")[0]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(*call)[1].partition("\nbest candidate")[0] == expected
    monkeypatch.setitem(sys.modules, "polars", None)
    status, _, stderr = run(*call)
    assert status == 1
    assert (
        "reading Arrow's files needs pyarrow or polars: pip install 'metaopt_fast[parquet]'"
        in stderr
    )


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
@pytest.mark.parametrize("content", [b"", b"ARROW1 and nothing", b"no file of any kind" * 9])
def test_a_damaged_file_of_arrow_is_refused(run, tmp_path, monkeypatch, library, content):
    path = tmp_path / "a.feather"
    path.write_bytes(content)
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, stdout, stderr = run("search", path, "--target", "ill")
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "a.feather" in stderr


@pytest.mark.parametrize(
    ("field", "cure"),
    [
        (
            '"1,200",0.5,yes',
            "'1,200' where a finite number is wanted: fix it, or pass --drop COLUMN",
        ),
        ("$12,0.5,yes", "'$12' where a finite number is wanted: fix it, or pass --drop COLUMN"),
        ("33,0.5,", "has '' as the target: fill it, or pass --missing drop"),
    ],
)
def test_what_is_not_plain_is_refused_with_an_option_as_the_cure(run, tmp_path, field, cure):
    path = tmp_path / "a.csv"
    path.write_text("age,dose,ill\n" + "21,0.1,no\n34,0.2,yes\n" * 20 + f"{field}\n")
    call = ["tune", path, "--target", "ill", "--candidates", 2, "--cv", 2]
    status, stdout, stderr = run(*call)
    assert (status, stdout) == (1, "") and stderr.endswith(f"{cure}.\n")
    option = ["--missing", "drop"] if "--missing" in cure else ["--drop", "age"]
    assert run(*call, *option)[0] == 0


def test_a_spreadsheet_is_refused_with_the_way_out(run, tmp_path):
    path = tmp_path / "a.XLSX"
    path.write_bytes(b"PK\x03\x04")
    status, stdout, stderr = run("tune", path, "--target", "ill")
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "is a spreadsheet, which may hold several tables: save the one to read as .csv" in stderr


def test_rows_without_names_are_found_by_their_numbers_by_predict_too(run, tmp_path):
    named, rows, kept = tmp_path / "a.csv", tmp_path / "b.tsv", tmp_path / "model.json"
    named.write_bytes(text(NUMBERS.set_axis([f"x{j}" for j in range(4)], axis=1)))
    rows.write_bytes(text(NUMBERS, header=False, sep="\t", decimal=","))
    options = ["--target", "x3", "--candidates", 3, "--drop", "x2"]
    status, stdout, _ = run("tune", rows, *options, "--no-header", "--model", kept)
    again = run("tune", named, *options)[1]
    assert status == 0
    found, wanted = (re.search("\nweight .*", out, re.DOTALL)[0] for out in (stdout, again))
    assert found == wanted
    for command in ("predict", "score"):
        status, stdout, _ = run(command, kept, rows, "--no-header")
        assert (status, stdout) == run(command, kept, named)[:2] == (0, stdout)
        _, _, stderr = run(command, kept, rows)
        assert "where names of columns are wanted: pass --no-header if it is a row" in stderr


def test_a_search_goes_on_without_names(run, tmp_path):
    rows, checkpoint = tmp_path / "rows.csv", tmp_path / "search.db"
    rows.write_bytes(text(NUMBERS, header=False))
    call = ["search", rows, "--no-header", "--target", "x3", "--candidates", 30]
    first = run(*call, "--checkpoint", checkpoint, "--json")[1]
    again = run("resume", checkpoint, "--json")[1]
    assert json.loads(again)["theta"] == json.loads(first)["theta"]
    for kind in ("npy", "feather"):
        path = tmp_path / f"a.{kind}"
        np.save(path, np.eye(3)) if kind == "npy" else NUMBERS.to_feather(path)
        for file in (path, None):
            with open(path, "rb") as stdin:
                given = file or f"/dev/fd/{stdin.fileno()}"
                _, _, stderr = run("tune", given, "--target", "x0", "--no-header")
            assert "is no text file: leave out --no-header." in stderr
