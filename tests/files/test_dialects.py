"""Text files of any separator, decimal mark and compression, and what is asked of their columns."""

import bz2
import gzip
import io
import sys
import types

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tables import CSV, X, Y, csv, write_parquet

from metaopt_fast.files import compressed, csv_columns, csv_lines, parquet_file
from metaopt_fast.files.csv_file import read_csv
from metaopt_fast.files.dialect import MOST_FIELDS
from metaopt_fast.files.read import read_table
from metaopt_fast.files.table import DataFile
from metaopt_fast.files.wanted import Wanted

PACKED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}


def read_text(text, wanted):
    content = text if isinstance(text, bytes) else text.encode()
    return read_csv(DataFile("x.csv", "x.csv", io.BufferedReader(io.BytesIO(content))), wanted)


@pytest.mark.parametrize(
    ("content", "rows", "note"),
    [
        ("a;t\n1;0\n2;1\n", [1, 2], "separated by semicolons (';')"),
        ("a;t\n1,5;0\n2;1\n", [1.5, 2], "separated by semicolons (';'), with decimal commas"),
        ("a;t\n1.5;0\n2;1\n", [1.5, 2], "separated by semicolons (';')"),
        ("a;t\n1;0\n-2,5e-3;1\n", [1, -2.5e-3], "separated by semicolons (';'), with decimal"),
        ('"a, b";t\n1;0\n2;1\n', [1, 2], "separated by semicolons (';')"),
        ('"a";"t"\n1;"p"\n2;"q"\n', [1, 2], "separated by semicolons (';')"),
        ("a\tt\n1\t0\n2\t1\n", [1, 2], "separated by tabs ('\\t')"),
        ("a|t\n1|0\n2|1\n", [1, 2], "separated by vertical bars ('|')"),
        ("a    t\n1    0\n2.5  1\n", [1, 2.5], "separated by spaces (' ')"),
        ("sep=;\na;t\n1,5;0\n2;1\n", [1.5, 2], "separated by semicolons (';'), with decimal"),
        ("sep=~\na~t\n1~0\n2~1\n", [1, 2], "separated by a character of its own ('~')"),
        ("\n\na;t\n1;0\n\n2;1\n", [1, 2], "separated by semicolons (';')"),
        ("a;t\n1;0,5\n2;0\n", [1, 2], "separated by semicolons (';')"),
    ],
)
def test_the_separator_and_the_mark_of_decimals_are_seen(content, rows, note):
    table = read_text(content, Wanted("t"))
    assert table.X[:, 0].tolist() == rows
    assert len(table.notes) == 1 and table.notes[0].startswith(note)


@pytest.mark.long
@given(
    separator=st.sampled_from(";\t|"),
    decimal=st.sampled_from(",."),
    rows=st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.integers(-5, 5), st.floats(-1, 1)), min_size=2
    ),
)
def test_a_frame_is_read_as_pandas_wrote_it(separator, decimal, rows):
    frame = pandas.DataFrame(rows, columns=["a", "b, c", "d"])
    frame["t"] = ["yes" if k % 2 else "no" for k in range(len(rows))]
    text = frame.to_csv(sep=separator, decimal=decimal, index=False, lineterminator="\n")
    table = read_text(text, Wanted("t"))
    np.testing.assert_array_equal(table.X, frame[["a", "b, c", "d"]].to_numpy(float))
    assert table.feature_names == ("a", "b, c", "d")


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("name", ["data.csv.{}", "data.csv"])
def test_a_compressed_file_is_unpacked_as_it_is_read(tmp_path, suffix, name):
    path = csv(tmp_path, PACKED[suffix](CSV.encode()), name.format(suffix))
    table, plain = read_table(path, "label"), read_table(csv(tmp_path, CSV, "plain.csv"), "label")
    assert table.X.tobytes() == plain.X.tobytes()
    assert table.notes[0].startswith("compressed by ")


def test_zstd_without_what_reads_it_names_the_extra(tmp_path, monkeypatch):
    path = csv(tmp_path, PACKED["zst"](CSV.encode()), "data.csv.zst")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    if sys.version_info >= (3, 14):
        assert len(read_table(path, "label").y) == 3
        return
    with pytest.raises(ImportError, match=r"by zstd, which needs .* or unpack it by zstd -d\.$"):
        read_table(path, "label")


def test_a_python_with_zstd_of_its_own_needs_no_package(tmp_path, monkeypatch):
    """As 3.14 has it: the module is a stand-in here."""
    own = types.SimpleNamespace(ZstdFile=lambda file: io.BytesIO(CSV.encode()))
    monkeypatch.setattr(compressed, "sys", types.SimpleNamespace(version_info=(3, 14)))
    monkeypatch.setitem(sys.modules, "compression", types.SimpleNamespace(zstd=own))
    path = csv(tmp_path, PACKED["zst"](b"what only the stand-in reads"), "data.csv.zst")
    table = read_table(path, "label")
    np.testing.assert_array_equal(table.X, read_text(CSV, Wanted("label")).X)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a;t\n1,5;0\n1.000;1\n", r"line 3, column 'a' has '1\.000' where a finite number"),
        ("a;t\n1.5;0\n1,5;1\n", r"line 3, column 'a' has '1,5' where a finite number"),
        ("a;t\n1,5,0;0\n", r"line 2, column 'a' has '1,5,0' where a finite number"),
    ],
)
def test_a_number_of_the_other_mark_is_refused_not_guessed(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_text(content, Wanted("t"))


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("a;b\n", "has no column 't': name one of 'a', 'b'"),
        ("a;" * MOST_FIELDS, "line 1 is not CSV .field larger than field limit"),
    ],
    ids=["two names", "a million names"],
)
def test_a_header_without_the_target_is_separated_by_what_it_has(header, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_text(header, Wanted("t"))


def test_a_row_of_too_many_fields_is_refused_for_any_separator(monkeypatch):
    monkeypatch.setattr(csv_lines, "MOST_FIELDS", 8)
    with pytest.raises(ValueError, match="line 1 has more than 8 fields"):
        read_text("a;" * 10 + "t\n", Wanted("t"))
    with pytest.raises(ValueError, match="line 2 has more than 8 fields"):
        read_text("a;t\n" + ";" * 10, Wanted("t"))


ROWS = "city,age,flag,w,y\nBern,30,True,1,no\nRome,,False,2,yes\n,41,True,0.5,no\nBern,25,,1,yes\n"


def test_values_that_are_missing_are_nan_or_their_rows_are_left_out():
    table = read_text(ROWS, Wanted("y", weight="w", missing="mean", categories="onehot"))
    assert table.feature_names == ("city", "age", "flag")
    assert table.categories == {0: ("Bern", "Rome")}
    nan = np.nan
    np.testing.assert_array_equal(table.X, [[0, 30, 1], [1, nan, 0], [nan, 41, 1], [0, 25, nan]])
    assert table.weights.tolist() == [1, 2, 0.5, 1]
    kept = read_text(ROWS, Wanted("y", drop=("flag",), missing="drop", categories="onehot"))
    np.testing.assert_array_equal(kept.X, [[0, 30, 1], [0, 25, 1]])
    assert kept.notes == ("2 rows that missed a value: left out.",)
    assert kept.y.tolist() == [0, 1]


def test_a_row_without_a_label_is_left_out_with_the_others_that_miss_a_value():
    table = read_text("a,t\n1,p\n2,\n3,q\n4,NA\n", Wanted("t", missing="drop"))
    assert (table.X[:, 0].tolist(), table.y.tolist()) == ([1, 3], [0, 1])


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "nan", "null", "?", "N/A", " ", "None", "-"])
def test_what_is_written_for_no_value_is_missing(mark):
    table = read_text(f"a,t\n1,0\n{mark},1\n", Wanted("t", missing="mean"))
    assert np.isnan(table.X[1, 0])
    with pytest.raises(ValueError, match=r"pass --missing mean, --missing drop or --drop COLUMN"):
        read_text(f"a,t\n1,0\n{mark},1\n", Wanted("t"))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Wanted("y", missing="mean"), r"'city' has 'Bern' where .*: drop it \(--drop COLUMN\), or"),
        (Wanted("y", drop=("aeg",)), r"has no feature 'aeg' \(did you mean 'age'\?\): name one"),
        (Wanted("y", drop=("y",)), "has no feature 'y': name one of 'city'"),
        (Wanted("y", features=("ag",)), r"has no feature 'ag' \(did you mean 'age'\?\)"),
        (Wanted("y", features=("age",), drop=("age",)), "has no feature left"),
        (Wanted("y", features=("w",), weight="w"), "column 'w' is the only feature"),
        (Wanted("y", features=("flag",), positive="maybe", missing="mean"), "has no class 'maybe'"),
        (Wanted("y", weight="city", categories="onehot", missing="mean"), "'city' is text: choose"),
        (Wanted("y", weight="age", features=("flag",), missing="mean"), "has nan as the weight of"),
        (
            Wanted("y", drop=("city",), missing="drop", features=("flag", "age")),
            "rows of one class",
        ),
    ],
)
def test_a_wrong_wish_is_a_sentence_with_the_cure(wanted, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_text(ROWS.replace("Bern,25,,1,yes", "Bern,25,,1,yes\nBern,25,,1,yes"), wanted)


def test_the_positive_class_is_the_one_that_is_named():
    table = read_text(ROWS, Wanted("y", features=("w",), positive="no"))
    assert table.class_names == ("yes", "no")
    assert table.y.tolist() == [1, 0, 1, 0]
    numbers = read_text("a,t\n1,0.0\n2,1\n", Wanted("t", positive="0"))
    assert (numbers.class_names, numbers.y.tolist()) == (("1", "0"), [1, 0])


@pytest.mark.parametrize(
    ("content", "wanted", "sentence"),
    [
        ("a,w,t\n1,0,0\n2,0,1\n", Wanted("t", weight="w"), "has 0 as the weight of each row"),
        ("a,b,t\n1,,0\n,2,1\n", Wanted("t", missing="drop"), "misses a value in every row"),
        ("a,t\n1,p\n2,r\n", Wanted("t", classes=("p", "q")), "column 't' has the value 'r'"),
        ("a,t\n1,p\n2,q\n3,r\n", Wanted("t"), "'r' after 'p' and 'q': choose .* two values"),
        (
            "a,t\n1,p\n2,q\n3,r\n4,s\n5,v\n",
            Wanted("t", most_classes=4),
            "'v' after 'p' and 'q' and 2 more: choose .* at most 4",
        ),
    ],
)
def test_rows_that_no_model_can_use_are_a_sentence(content, wanted, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_text(content, wanted)


def test_rows_without_a_gap_are_all_kept_and_classes_may_be_known_before():
    table = read_text("a,t\n1,q\n2,q\n", Wanted("t", missing="drop", classes=("p", "q")))
    assert (table.X.tolist(), table.y.tolist()) == ([[1.0], [2.0]], [1, 1])
    assert table.class_names == ("p", "q")


def test_a_text_of_very_many_values_is_refused(monkeypatch):
    monkeypatch.setattr(csv_columns, "MAX_CATEGORIES", 3)
    lines = [f"v{k},{k % 2}\n" for k in range(4)]
    wanted = Wanted("t", categories="onehot")
    assert read_text("a,t\n" + "".join(lines[:3]), wanted).categories == {0: ("v0", "v1", "v2")}
    with pytest.raises(
        ValueError, match="column 'a' has more than 1,000 values of text: pass --dr"
    ):
        read_text("a,t\n" + "".join(lines), wanted)


def test_a_text_with_nul_is_refused():
    with pytest.raises(ValueError, match=r"line 3, column 'a' has 'y\\x00'"):
        read_text("a,t\nx,0\ny\0,1\n", Wanted("t", categories="onehot"))


def test_what_is_text_may_be_told_and_a_target_left_out():
    wanted = Wanted(features=("zip", "n"), texts=frozenset(["zip"]), is_labelled=False)
    table = read_text("n,zip,other\n1,0800,x\n2,0123,y\n", wanted)
    assert table.feature_names == ("n", "zip")
    assert table.categories == {1: ("0123", "0800")}
    np.testing.assert_array_equal(table.X, [[1, 1], [2, 0]])
    assert table.class_names == () and table.y.tolist() == [0, 0]


def test_parquet_has_the_table_of_its_text(tmp_path, parquet_library):
    path = tmp_path / "data.parquet"
    write_parquet(
        path,
        {
            "city": ["Bern", "Rome", None, "Bern"],
            "age": [30, None, 41, 25],
            "flag": [True, False, True, None],
            "w": [1, 2, 0.5, 1],
            "y": ["no", "yes", "no", "yes"],
        },
    )
    for options in ({"missing": "mean"}, {"missing": "drop", "drop": ("flag",)}):
        wanted = Wanted("y", weight="w", positive="no", categories="onehot", **options)
        text, table = read_text(ROWS, wanted), read_table(path, wanted=wanted)
        np.testing.assert_array_equal(table.X, text.X)
        assert table.categories == text.categories
        assert (table.class_names, table.y.tolist()) == (text.class_names, text.y.tolist())
        assert table.weights.tolist() == text.weights.tolist()


def test_parquet_has_the_sentences_of_its_text(tmp_path, parquet_library, monkeypatch):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"city": ["Bern", "Rome", "Oslo"], "age": [30, 41, 25]})
    asked = Wanted(categories="onehot", is_labelled=False)
    assert read_table(path, wanted=asked).categories == {0: ("Bern", "Oslo", "Rome")}
    with pytest.raises(
        ValueError, match="column 'age' holds numbers where text is wanted: convert"
    ):
        read_table(path, wanted=asked._replace(texts=frozenset(["city", "age"])))
    monkeypatch.setattr(parquet_file, "MAX_CATEGORIES", 3)
    assert read_table(path, wanted=asked).categories == {0: ("Bern", "Oslo", "Rome")}
    monkeypatch.setattr(parquet_file, "MAX_CATEGORIES", 2)
    with pytest.raises(ValueError, match=r"column 'city' has more than .* values of text"):
        read_table(path, wanted=asked)


def test_classes_may_be_known_before_a_file_of_any_kind_is_read(tmp_path):
    np.savez(tmp_path / "data.npz", X=X, y=np.full(len(X), 1.0))
    write_parquet(tmp_path / "data.parquet", {"a": [1.0, 2.0], "t": ["q", "q"]})
    for name, target, classes, other in (
        ("data.npz", None, ("0", "1"), ("2", "3")),
        ("data.parquet", "t", ("p", "q"), ("r", "s")),
    ):
        table = read_table(tmp_path / name, wanted=Wanted(target, classes=classes))
        assert table.class_names == classes and set(table.y.tolist()) == {1}
        sentence = f"has the value '.*': pass rows of the classes '{other[0]}' and '{other[1]}'"
        with pytest.raises(ValueError, match=sentence):
            read_table(tmp_path / name, wanted=Wanted(target, classes=other))


def test_arrays_may_miss_values_and_have_weights(tmp_path):
    rows = np.where(X > 1, np.nan, X)
    rows[:, 2] = np.arange(7)
    np.savez(tmp_path / "data.npz", X=rows, y=Y)
    np.save(tmp_path / "data.npy", np.column_stack([rows, Y]))
    for path in (tmp_path / "data.npz", tmp_path / "data.npy"):
        table = read_table(path, wanted=Wanted(weight="x2", missing="mean"))
        np.testing.assert_array_equal(table.X, rows[:, :2])
        assert table.weights.tolist() == list(range(7)) and table.y.tolist() == Y.tolist()
        unlabelled = read_table(
            path, wanted=Wanted(drop=("x1",), missing="mean", is_labelled=False)
        )
        assert unlabelled.feature_names == ("x0", "x2", "x3")[: unlabelled.X.shape[1]]


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_with_its_mark_is_read_as_such(encoding):
    text = "größe\tt\r\n1,5\tja\r\n-2\tnein ☃\r\n" + "3\tja\r\n" * 50_000
    mark = "" if encoding == "utf-16" else "\ufeff"
    table = read_text((mark + text).encode(encoding), Wanted("t"))
    plain = read_text(text, Wanted("t"))
    assert table.X.tobytes() == plain.X.tobytes() and table.y.tobytes() == plain.y.tobytes()
    assert (table.feature_names, table.class_names) == (("größe",), ("ja", "nein ☃"))
    assert table.notes[0].startswith("encoded as UTF-16, separated by tabs")
    for packer, pack in PACKED.items():
        packed = read_text(pack((mark + text).encode(encoding)), Wanted("t"))
        assert packed.X.tobytes() == plain.X.tobytes(), packer
        assert packed.notes[0].startswith("encoded as UTF-16, compressed by ")


@pytest.mark.parametrize(
    "content", [b"\xff\xfea", "\ufeffa,t\n1,0\n2,".encode("utf-16-le") + b"\0"]
)
def test_half_a_letter_of_utf_16_is_a_sentence(content):
    for file in (content, gzip.compress(content)):
        with pytest.raises(
            ValueError, match=r"^x.csv begins as UTF-16 text and is none \(trunc.*\): sa"
        ):
            read_text(file, Wanted("t"))
    cut = gzip.compress(("\ufeffa,t\n" + "1,0\n2,1\n" * 5000).encode("utf-16-le"))[:-20]
    with pytest.raises(ValueError, match=r"^x\.csv is not a whole gzip-compressed file"):
        read_text(cut, Wanted("t"))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,2.5,0\n2,3,1\n", [[1, 2.5], [2, 3]]),
        ("1;2,5;0\n2;3;1\n", [[1, 2.5], [2, 3]]),
        ("1\t2.5\t0\n2\t3\t1\n", [[1, 2.5], [2, 3]]),
        ("1|2,5|0\n2|3|1\n", [[1, 2.5], [2, 3]]),
        ("1   2.5  0\n2   3    1\n", [[1, 2.5], [2, 3]]),
        ("sep=~\n1~2.5~0\n2~3~1\n", [[1, 2.5], [2, 3]]),
        ('"1","2.5",0\n\n2,3,1\n', [[1, 2.5], [2, 3]]),
    ],
)
def test_without_a_header_the_first_line_is_a_row(text, rows):
    table = read_text(text, Wanted("x2", has_header=False))
    assert (table.X.tolist(), table.y.tolist()) == (rows, [0, 1])
    assert table.feature_names == ("x0", "x1")


def test_a_row_in_place_of_a_header_is_checked_as_others_are():
    with pytest.raises(ValueError, match="line 1, column 'x0' has '1_0' where a finite number"):
        read_text("1_0,0\n2,1\n", Wanted("x1", has_header=False))
    with pytest.raises(ValueError, match="line 2 has 3 fields, but the header has 2"):
        read_text("1,0\n2,1,1\n", Wanted("x1", has_header=False))
    with pytest.raises(ValueError, match="is empty: pass a file with a header and rows"):
        read_text("\n", Wanted("x1", has_header=False))
    one = read_text("7\n8\n", Wanted(is_labelled=False, has_header=False))
    assert one.X.tolist() == [[7], [8]]


def test_a_row_of_numbers_in_place_of_names_is_told_from_them():
    sentence = (
        r"line 1 has '5\.1' where names of columns are wanted: pass --no-header if it is a row"
    )
    for target in (None, "kind"):
        with pytest.raises(ValueError, match=sentence):
            read_text("5.1,3.5,setosa\n4.9,3.0,other\n", Wanted(target))
    with pytest.raises(ValueError, match="has no column 'tt'"):
        read_text("a,t\n1,0\n2,1\n", Wanted("tt"))
    years = read_text("2019,2020,t\n1,2,0\n3,4,1\n", Wanted("t"))
    assert years.feature_names == ("2019", "2020")
