"""Data files as pandas and databases write them: indexes, truth values, labels, groups."""

import sys
import tracemalloc
from decimal import Decimal

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tables import CSV, X, Y, csv, write_parquet

from metaopt_fast.files import csv_lines as csvfiles
from metaopt_fast.files import numpy_file as arrayfiles
from metaopt_fast.files import parquet_file as parquetfiles
from metaopt_fast.files.read import read_table


@pytest.fixture
def frame():
    """A shuffled frame whose index says the label of each row."""
    rng = np.random.default_rng(1)
    y = np.arange(40) % 2
    table = pandas.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "t": y})
    return table.iloc[np.argsort(y, kind="stable")]


INDEXES = {
    "without a name": lambda frame: frame,
    "named": lambda frame: frame.rename_axis("id"),
    "named as a column": lambda frame: frame.rename_axis("a"),
    "of text": lambda frame: frame.set_axis([f"r{k}" for k in frame.index]),
    "of two levels": lambda frame: frame.set_axis(
        pandas.MultiIndex.from_arrays([frame.index, frame.index * 2])
    ),
    "of two levels with names": lambda frame: frame.set_axis(
        pandas.MultiIndex.from_arrays([frame.index, frame.index * 2], names=["i", "j"])
    ),
    "a range": lambda frame: frame.reset_index(drop=True),
    "a range with a name": lambda frame: frame.reset_index(drop=True).rename_axis("id"),
    "set from a column": lambda frame: frame.set_index("b"),
}


@pytest.mark.parametrize("index", INDEXES)
def test_columns_of_parquet_are_those_that_pandas_reads(tmp_path, parquet_library, frame, index):
    path, written = tmp_path / "data.parquet", INDEXES[index](frame)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pyarrow", "pyarrow.parquet"):  # for pandas to write it
            if sys.modules.get(name, 0) is None:
                patch.delitem(sys.modules, name)
        written.to_parquet(path)
        wanted = pandas.read_parquet(path).drop(columns="t")
    table = read_table(path, "t")
    assert table.feature_names == tuple(wanted.columns)
    assert table.X.tobytes() == wanted.to_numpy(float).tobytes()
    assert table.y.tolist() == written["t"].tolist()
    levels = 0 if "range" in index else written.index.nlevels
    assert len(table.notes) == levels
    assert all(
        note.endswith("is the index of the frame that was saved: it was left out.")
        for note in table.notes
    )


def test_an_index_whose_description_was_lost_is_no_feature(tmp_path, parquet_library):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "__index_level_0__": np.arange(7), "t": Y})
    table = read_table(path, "t")
    assert table.feature_names == ("a",) and len(table.notes) == 1


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_without_a_name_is_no_feature_of_csv(tmp_path, frame, index):
    path, written = tmp_path / "data.csv", INDEXES[index](frame)
    written.to_csv(path)
    nameless = [name for name in written.index.names if name is None]
    if index == "named as a column":
        with pytest.raises(ValueError, match="has two columns named 'a'"):
            read_table(path, "t")
        return
    table = read_table(path, "t")
    wanted = written if nameless else written.reset_index()
    assert table.feature_names == tuple(wanted.columns.drop("t"))
    np.testing.assert_array_equal(table.X, wanted.drop(columns="t").to_numpy(float))
    assert len(table.notes) == len(nameless)
    again = pandas.read_csv(path)  # which names it "Unnamed: 0"
    again.to_csv(path)
    assert read_table(path, "t").feature_names == table.feature_names


def test_a_note_says_which_column_was_left_out(tmp_path):
    table = read_table(csv(tmp_path, ",a,t\n5,1,0\n6,2,1\n"), "t")
    assert table.X.tolist() == [[1.0], [2.0]]
    assert table.notes == (
        "column 1 has no name (''), as an index that was saved: it was left out.",
    )
    assert read_table(csv(tmp_path, "a,t\n1,0\n2,1\n"), "t").notes == ()


@pytest.mark.parametrize("words", [("True", "False"), ("TRUE", "FALSE"), ("true", "false")])
def test_truth_values_of_csv_are_1_and_0(tmp_path, words):
    content = "a,b,t\n" + "".join(f"{k},{words[k % 3 == 0]},{k % 2}\n" for k in range(9))
    table = read_table(csv(tmp_path, content), "t")
    assert table.X[:, 1].tolist() == [float(k % 3 != 0) for k in range(9)]


LARGE = [2**53, 2**53 + 1, 7205759403792793601, 7205759403792793602, 10**30, 10**30 + 1]


@pytest.mark.long(everywhere=True)
@given(
    labels=st.lists(st.sampled_from(LARGE), min_size=2, max_size=2, unique=True),
    zeros=st.lists(st.sampled_from(["{}", "0{}", "{}.0", "{}.00", "+{}", "{}e0"]), min_size=4),
)
def test_labels_of_csv_are_compared_in_all_their_digits(tmp_path_factory, labels, zeros):
    rows = [(form.format(labels[k % 2]), k % 2) for k, form in enumerate(zeros)]
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    path.write_text("x,t\n" + "".join(f"{k},{text}\n" for k, (text, _) in enumerate(rows)))
    table = read_table(path, "t")
    greater = int(labels[1] > labels[0])
    assert table.y.tolist() == [int(which == greater) for _, which in rows]


def test_three_large_labels_are_not_two(tmp_path):
    ids = ["7205759403792793601", "7205759403792793602", "0"]
    content = "x,t\n" + "".join(f"{k},{ids[k % 3]}\n" for k in range(6))
    with pytest.raises(ValueError, match="line 4, column 't' has the value '0' after '7205"):
        read_table(csv(tmp_path, content), "t")


@pytest.mark.parametrize(
    ("less", "greater"),
    [
        ("9" * 400, "1" + "0" * 400),  # no float is as large
        ("1e400", "2e400"),
        ("-1e-400", "1e-400"),  # both are 0 as floats
        ("1e-9999999999999999999", "1e9999999999999999999"),  # no decimals have such exponents
    ],
    ids=["long", "large", "small", "exponents"],
)
def test_labels_that_are_no_floats_are_labels(tmp_path, less, greater):
    table = read_table(csv(tmp_path, f"x,t\n0,{greater}\n1,{less}\n2,{greater}\n"), "t")
    assert table.y.tolist() == [1, 0, 1]
    assert table.class_names == (less, greater)


@pytest.mark.parametrize("dtype", ["Int64", "UInt64", "Decimal"])
def test_labels_of_parquet_are_compared_in_all_their_digits(tmp_path, parquet_library, dtype):
    path, large = tmp_path / "data.parquet", 2**62
    kind = polars.Decimal(38, 2) if dtype == "Decimal" else getattr(polars, dtype)
    labels = polars.Series([large + int(k) for k in Y]).cast(kind)
    write_parquet(path, {"a": X[:, 0], "t": labels, "g": labels})
    table = read_table(path, "t", group="g")
    assert table.y.tolist() == Y.tolist()
    assert [int(group) for group in table.groups] == [large + int(k) for k in Y]
    with pytest.raises(ValueError, match="has 3 values"):
        write_parquet(path, {"a": X[:, 0], "t": [large, large + 1, large + 2, *[large] * 4]})
        read_table(path, "t")


def test_decimals_and_truth_values_of_parquet_are_numbers(tmp_path, parquet_library):
    path = tmp_path / "data.parquet"
    digits = ["0.1", "12345678901234567890.12", "-3.75", "0", "1", "2", "3"]
    decimals = polars.Series([Decimal(text) for text in digits], dtype=polars.Decimal(38, 2))
    write_parquet(path, {"d": decimals, "b": Y == 1, "t": [Decimal(int(k)) for k in Y]})
    table = read_table(path, "t")
    assert table.X.tolist() == [[float(d), float(k)] for d, k in zip(digits, Y, strict=True)]
    assert table.y.tolist() == Y.tolist()
    for name, values in {"b": [True, None] + [False] * 5, "d": [None, *decimals[1:]]}.items():
        write_parquet(path, {"a": X[:, 0], name: values, "t": Y})
        row = values.index(None)
        with pytest.raises(ValueError, match=f"row {row}, column '{name}' has .*nothing: fill it"):
            read_table(path, "t")


GROUPS = {
    "text": ["F", "M", "F", "x", "M", "F", "M"],
    "whole numbers": [0, 1, 2, 0, 1, 2, 0],
    "large whole numbers": [2**53, 2**53 + 1, 2**53, 2**53 + 1, 2**53, 2**53, 2**53],
    "fractions": [0.5, 0.25, 0.5, 0.25, 0.5, 0.5, 0.5],
    "numbers and text": ["1", "B2", "1", "3", "B2", "1", "3"],
}


@pytest.mark.parametrize("kind", ["csv", "pyarrow", "polars"])
@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_columns_of_text_or_numbers(tmp_path, monkeypatch, kind, name):
    values = GROUPS[name]
    frame = pandas.DataFrame({"a": X[:, 0], "g": values, "b": X[:, 1], "t": Y})
    path = tmp_path / ("data.csv" if kind == "csv" else "data.parquet")
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    if kind == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = read_table(path, "t", group="g")
    assert table.feature_names == ("a", "b")
    assert table.X.tobytes() == X[:, :2].tobytes()
    labels = sorted(set(values))
    codes = np.unique(table.groups, return_inverse=True)[1]
    assert codes.tolist() == [labels.index(value) for value in values]


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_groups_of_arrays_are_columns_by_their_number(tmp_path, suffix):
    path, rows = tmp_path / f"data.{suffix}", np.column_stack([X[:, 0], np.arange(7) % 3, X[:, 1]])
    if suffix == "npz":
        np.savez(path, X=rows, y=Y)
    else:
        np.save(path, np.column_stack([rows, Y]))
    table = read_table(path, group="x1")
    assert table.feature_names == ("x0", "x2")
    assert table.groups.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert table.X.tobytes() == X[:, :2].tobytes()


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_missing_group_of_an_array_is_named(tmp_path, suffix):
    path, rows = tmp_path / f"data.{suffix}", np.column_stack([X[:, 0], np.arange(7) % 3])
    rows[4, 1] = np.nan
    if suffix == "npz":
        np.savez(path, X=rows, y=Y)
    else:
        np.save(path, np.column_stack([rows, Y]))
    with pytest.raises(ValueError, match=r", row 4, column 'x1' has nan: give each row a value"):
        read_table(path, group="x1")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,g,t\n1,F,0\n2,,1\n", "line 3, column 'g' has '' as the group: give each row a value"),
        ("a,g,t\n1,F,0\n2,nan,1\n", "line 3, column 'g' has 'nan' as the group"),
        ("a,g,t\n" + "".join(f"{k},r{k},{k % 2}\n" for k in range(101)), "'g' has 101 values"),
        (
            "a,g,t\n" + "".join(f"{k},r{k},{k % 2}\n" for k in range(2000)),
            "'g' has more than 1,000 values: choose a column of at most 100",
        ),
    ],
)
def test_a_column_that_is_of_no_groups_is_refused(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_table(csv(tmp_path, content), "t", group="g")


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_a_file_is_named_where_a_column_is_of_no_groups(tmp_path, parquet_library, suffix):
    path, n = tmp_path / f"data.{suffix}", 120
    columns = {"x0": np.arange(n), "x1": np.arange(n) / 7, "t": np.arange(n) % 2}
    if suffix == "csv":
        pandas.DataFrame(columns).to_csv(path, index=False)
    elif suffix == "npz":
        np.savez(path, X=np.column_stack([columns["x0"], columns["x1"]]), t=columns["t"])
    else:
        write_parquet(path, columns)
    for group, sentence in {
        "g": " has no feature 'g': name one of 'x0', 'x1'.",
        "x1": ", column 'x1' has 120 values: choose a column of at most 100, one for each group.",
    }.items():
        with pytest.raises(ValueError) as error:
            read_table(path, "t", group=group)
        assert str(error.value) == f"{path}{sentence}"


def test_a_missing_group_of_parquet_is_named(tmp_path, parquet_library):
    path = tmp_path / "data.parquet"
    for values, sentence in {
        ("F", None, "M", "F", "M", "F", "M"): "row 1, column 'g' has nothing: give each row",
        (1, 2, None, 1, 2, 1, 2): "row 2, column 'g' has nan or nothing",
    }.items():
        write_parquet(path, {"a": X[:, 0], "g": list(values), "t": Y})
        with pytest.raises(ValueError, match=sentence):
            read_table(path, "t", group="g")


@pytest.mark.parametrize("group", [3, b"g", ["g"]])
def test_a_group_of_another_type(tmp_path, group):
    with pytest.raises(TypeError, match=r"group is .*: pass the name of a column\.$"):
        read_table(csv(tmp_path, CSV), "label", group=group)


# ----------------------------------------------------------------------- what a Parquet file claims


@pytest.mark.parametrize(
    "n_bytes, is_read", [(7 * (2 * 8 + 32), True), (7 * (2 * 8 + 32) - 1, False)]
)
def test_a_parquet_file_larger_than_memory_is_refused_by_its_claims(
    tmp_path, monkeypatch, parquet_library, n_bytes, is_read
):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "b": X[:, 1], "t": Y})
    monkeypatch.setattr(arrayfiles, "_half_of_memory", lambda: max(n_bytes, 0))
    monkeypatch.setattr(
        parquetfiles.Arrow, "n_bytes", property(lambda _: 0, lambda *_: None), False
    )
    if is_read:
        assert len(read_table(path, "t").y) == 7
        return
    monkeypatch.setattr(parquetfiles, "_columns", pytest.fail)
    with pytest.raises(ValueError, match=r"of 7 rows, needs 0\.0 GB, more than half of the memory"):
        read_table(path, "t")


def test_columns_are_read_a_few_at_a_time(tmp_path, monkeypatch, parquet_library):
    path, rows = tmp_path / "data.parquet", np.random.default_rng(2).normal(size=(7, 9))
    write_parquet(path, {**{f"^a{j}.*$": rows[:, j] for j in range(9)}, "t": Y})
    for piece in (1, 8 * 7 * 4, 2**24):
        monkeypatch.setattr(parquetfiles, "PIECE", piece)
        assert read_table(path, "t").X.tobytes() == rows.tobytes()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_text_that_repeats_is_not_made_anew_for_each_row(tmp_path, monkeypatch, library):
    path, n_rows = tmp_path / "data.parquet", 2000
    texts = pyarrow.array(["x" * 100_000, "y" * 100_000])
    labels = pyarrow.DictionaryArray.from_arrays(np.arange(n_rows) % 2, texts)  # else 200 MB
    pyarrow.parquet.write_table(
        pyarrow.table({"a": np.arange(n_rows), "t": labels, "g": labels}), path
    )
    if library == "polars":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    tracemalloc.start()
    try:
        table = read_table(path, "t", group="g")
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert table.y.tolist() == [0, 1] * (n_rows // 2)
    assert len(set(table.groups[:100].tolist())) == 2


def test_columns_of_text_are_refused_before_any_is_read(tmp_path, monkeypatch, parquet_library):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "city": ["x"] * 7, "t": Y})
    monkeypatch.setattr(parquetfiles, "_columns", pytest.fail)
    with pytest.raises(ValueError, match=r"column 'city' does not hold numbers alone .*: drop it"):
        read_table(path, "t")


def test_text_is_read_as_its_different_values(tmp_path):
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": X[:, 0], "t": ["p", "q"] * 3 + ["p"]}), path)
    file = parquetfiles.Arrow(str(path))
    file.open()
    assert str(file.read(file.columns[1:])[0].type).startswith("dictionary")


def test_what_a_file_says_of_its_bytes_counts_too(tmp_path, monkeypatch):
    path = tmp_path / "data.parquet"
    texts = [f"{k}" * 1000 for k in range(7)]
    pyarrow.parquet.write_table(pyarrow.table({"a": X[:, 0], "t": texts}), path)
    monkeypatch.setattr(arrayfiles, "_half_of_memory", lambda: 5000)
    with pytest.raises(ValueError, match=r"of 7 rows, needs .* GB, more than half"):
        read_table(path, "t")


@pytest.mark.parametrize("library", [parquetfiles.Arrow, parquetfiles.Polars])
def test_a_column_of_other_rows_than_the_file_claims_is_refused(tmp_path, monkeypatch, library):
    class Longer(library):
        def open(self):
            super().open()
            self.n_rows += 1

    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "t": Y})
    monkeypatch.setattr(parquetfiles, "_library", lambda path, *_: Longer(path))
    with pytest.raises(ValueError, match=r"is not a whole .parquet file \(column 't' has 7 rows\)"):
        read_table(path, "t")


def test_a_target_that_is_called_like_an_index_is_the_target(tmp_path):
    table = read_table(csv(tmp_path, "Unnamed: 0,a\n0,1\n1,2\n"), "Unnamed: 0")
    assert table.feature_names == ("a",) and table.y.tolist() == [0, 1]
    table = read_table(csv(tmp_path, "Unnamed: 0,a,t\n0,1,0\n1,2,1\n"), "t", group="Unnamed: 0")
    assert table.feature_names == ("a",) and table.groups.tolist() == [0, 1]


def test_limits_are_those_of_a_row_and_not_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(csvfiles, "LONGEST_LINE", 64)
    monkeypatch.setattr(csvfiles, "MOST_FIELDS", 8)
    content = "a,b,t\n" + "".join(f"{k},{k},{k % 2}\n" for k in range(40))
    assert len(read_table(csv(tmp_path, content), "t").y) == 40
