"""Large text files by pyarrow or polars: the table and the sentences of the own reader."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaopt_fast.files import csv_file, fast_csv
from metaopt_fast.files.read import read_table
from metaopt_fast.files.wanted import Wanted

PLAIN = Wanted("t")
TEXTS = Wanted("t", categories="onehot", missing="mean")
DROPPED = Wanted("t", categories="onehot", missing="drop", drop=("c",))
MANY = Wanted("t", categories="onehot", most_classes=5)


@pytest.fixture(params=["pyarrow", "polars"])
def library(request, monkeypatch):
    """Which library there is, for files of any size whose second row is looked at."""
    monkeypatch.setattr(fast_csv, "LEAST_BYTES", 1)
    monkeypatch.setattr(csv_file, "PROBED_ROWS", 2)
    if request.param == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    return request.param


def both(path, wanted, monkeypatch):
    """What is read, or the sentence of the error, with and without the library."""
    found = []
    for least in (1, 1 << 60):
        with monkeypatch.context() as patch:
            patch.setattr(fast_csv, "LEAST_BYTES", least)
            try:
                table = read_table(path, wanted=wanted)
            except ValueError as error:
                found.append(str(error))
            else:
                lists = {
                    name: None if (of := getattr(table, name)) is None else of.tolist()
                    for name in ("y", "weights", "groups")
                }
                rest = table._replace(X=None, **lists)
                found.append((table.X.tobytes(), table.X.shape, rest))
    return found


ROWS = "a,b,c,t\n1,2.5,x,yes\n3,-4e-3,y,no\n0.1,7,x,yes\n5,6,z,no\n"
FILES = {
    "numbers": ("a,b,t\n1,2.5,yes\n3,-4e-3,no\n0.1,7,yes\n9007199254740993,6,no\n", PLAIN),
    "texts": (ROWS, TEXTS),
    "a column that is left out": (ROWS, DROPPED),
    "five classes": (ROWS.replace("x,yes", "x,maybe"), MANY),
    "truths": ("a,t\nTrue,1\nFALSE,0\ntrue,1\nfalse,1.0\n", PLAIN),
    "semicolons": (ROWS.replace(",", ";"), TEXTS),
    "decimal commas": ("a;t\n1,5;1\n2,5;0\n3;1\n", PLAIN),
    "a decimal comma after a while": ("a;t\n1;1\n2;0\n3,5;1\n", PLAIN),
    "lines of a spreadsheet": (ROWS.replace("\n", "\r\n"), TEXTS),
    "a carriage return within a row": (ROWS.replace("z", "z\rw"), TEXTS),
    "blank lines": (ROWS.replace("\n3", "\n\n3") + "\n\n", TEXTS),
    "no last line end": (ROWS[:-1], TEXTS),
    "quotes": (ROWS.replace("z", '"z, z"'), TEXTS),
    "spaces": ("a, t\n1, yes\n 2, no\n3 ,yes\n", PLAIN),
    "missing": (ROWS + ",NA,null,yes\nnan, ?,w,no\n", TEXTS),
    "missing labels": (ROWS + "1,2,x,\n", DROPPED),
    "a missing number": (ROWS.replace("7", ""), MANY),
    "a missing text": (ROWS.replace("z", ""), MANY),
    "a missing end": (ROWS + "1,2,x\n", MANY),
    "a text among numbers": (ROWS.replace("7", "seven"), TEXTS),
    "an underscore": (ROWS.replace("7", "1_000"), TEXTS),
    "infinity": (ROWS.replace("7", "inf"), TEXTS),
    "beyond floats": (ROWS.replace("7", "1e999"), PLAIN._replace(drop=("c",))),
    "a row of more fields": (ROWS + "1,2,x,yes,4\n", TEXTS),
    "a third class": (ROWS + "1,2,x,perhaps\n", TEXTS),
    "one class": (ROWS.replace("no", "yes"), TEXTS),
    "a lone return": (ROWS.replace("\n5", "\r5"), TEXTS),
    "a column without values": ("a,b,t\n,1,yes\n,2,no\n,3,yes\n", TEXTS),
    "weights": ("a,w,t\n1,2,yes\n3,4,no\n5,0,yes\n", Wanted("t", weight="w")),
    "groups": (ROWS, Wanted("t", group="c")),
    "rows to predict": (ROWS, Wanted(None, is_labelled=False, drop=("t", "c"))),
    "an index": ("," + ROWS.replace("\n", "\n7,", 4), TEXTS),
}


@pytest.mark.parametrize("name", FILES)
def test_the_table_or_the_sentence_is_the_own_readers(tmp_path, name, library, monkeypatch):
    text, wanted = FILES[name]
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    fast, own = both(path, wanted, monkeypatch)
    assert fast == own


def test_bytes_that_are_no_text_are_named(tmp_path, library, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS.encode() + b"1,2,\xff,no\n")
    fast, own = both(path, TEXTS, monkeypatch)
    assert fast == own and "is not UTF-8 text" in own


BITS = st.sampled_from(["0", "1"])
FIELDS = st.sampled_from(["1", "-2.5", "1e-3", "0.1", "nan", "", "x", "True", "1e400", " 3", "+4"])


@given(rows=st.lists(st.tuples(FIELDS, FIELDS, BITS), min_size=3, max_size=6))
def test_any_fields_have_one_table_or_one_sentence(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fields") / "a.csv"
    path.write_text("a,b,t\n" + "".join(",".join(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "PROBED_ROWS", 1)
        for wanted in (PLAIN, TEXTS):
            fast, own = both(path, wanted, patch)
            assert fast == own


def test_a_plain_file_is_indeed_read_at_once(tmp_path, library, monkeypatch):
    read = []

    def reading(*arguments):
        read.append(fast_csv.read_at_once(*arguments))
        return read[-1]

    monkeypatch.setattr(csv_file, "read_at_once", reading)
    path = tmp_path / "a.csv"
    path.write_text(FILES["numbers"][0])
    read_table(path, "t")
    assert read[0] is not None and set(read[0].numbers) == {0, 1}


def test_without_a_library_the_own_reader_goes_on(tmp_path, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    path = tmp_path / "a.csv"
    path.write_text(ROWS)
    assert read_table(path, wanted=TEXTS).X.shape == (4, 3)
    assert np.isfinite(read_table(path, wanted=TEXTS).X).all()
