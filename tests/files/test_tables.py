"""Readers of data files: what they accept, and one sentence for what they do not."""

import builtins
import gzip
import io
import lzma
import os
import pickle
import resource
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from metaopt_fast.files import numpy_file as arrayfiles
from metaopt_fast.files.read import read_table
from metaopt_fast.validation.text import quoted

X = np.random.default_rng(0).normal(size=(7, 3))
Y = np.array([0, 1, 1, 0, 1, 0, 0])
CSV = "a,b,label\n1,2,0\n3,4.5,1\n-1e-3,0,1\n"


def csv(tmp_path, content, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize(
    "content",
    {
        "plain": CSV,
        "no newline at the end": CSV.rstrip(),
        "CRLF": CSV.replace("\n", "\r\n"),
        "a byte order mark": "\ufeff" + CSV,
        "blank lines": CSV.replace("\n", "\n\n") + "\n\n",
        "spaces": CSV.replace(",", " , "),
        "quotes": '"a","b","label"\n"1","2","0"\n"3","4.5","1"\n"-1e-3","0","1"\n',
        "the target first": "label,a,b\n0,1,2\n1,3,4.5\n1,-1e-3,0\n",
        "the target in many forms": "a,b,label\n1,2,0.0\n3,4.5,1\n-1e-3,0,01.00\n",
    }.values(),
    ids=str.strip,
)
def test_csv(tmp_path, content):
    table = read_table(csv(tmp_path, content), "label")
    np.testing.assert_array_equal(table.X, [[1, 2], [3, 4.5], [-1e-3, 0]])
    np.testing.assert_array_equal(table.y, [0, 1, 1])
    assert table.feature_names == ("a", "b")
    assert table.X.dtype == np.float64
    assert table.X.flags.writeable


@pytest.mark.parametrize(
    ("values", "y", "class_names"),
    [
        (["no", "yes", "no"], [0, 1, 0], ("no", "yes")),
        (["yes", "no", "no"], [1, 0, 0], ("no", "yes")),
        (["10", "9", "10"], [1, 0, 1], ("9", "10")),
        (["1", "-1", "1"], [1, 0, 1], ("-1", "1")),
        (["True", "False", "True"], [1, 0, 1], ("False", "True")),
        (["1.5", "1.25", "1.5"], [1, 0, 1], ("1.25", "1.5")),
        (['"a, b"', '"a\nb"', '"a, b"'], [1, 0, 1], ("a\nb", "a, b")),
        (["1_0", "1_1", "1_0"], [0, 1, 0], ("1_0", "1_1")),
        (["ja", "où", "ja"], [0, 1, 0], ("ja", "où")),
    ],
)
def test_the_greater_value_of_the_target_is_the_positive_class(tmp_path, values, y, class_names):
    content = "x,t\n" + "".join(f"{k},{value}\n" for k, value in enumerate(values))
    table = read_table(csv(tmp_path, content), "t")
    np.testing.assert_array_equal(table.y, y)
    assert table.class_names == class_names


def test_a_text_is_quoted_up_to_forty_letters():
    assert quoted("x" * 40) == repr("x" * 40)
    assert quoted("x" * 41) == repr("x" * 37 + "...")


def test_a_target_may_be_written_in_very_many_ways(tmp_path):
    content = "x,t\n" + "".join(f"{k},{k % 2}.{'0' * k}\n" for k in range(150))
    table = read_table(csv(tmp_path, content), "t")
    np.testing.assert_array_equal(table.y, np.arange(150) % 2)
    assert table.class_names == ("0", "1")


def test_csv_numbers_have_all_their_bits(tmp_path):
    values = np.concatenate([X.ravel(), [5e-324, 1.7e308, -0.0, 0.1 + 0.2, 1e16 + 2]])
    content = "x,t\n" + "".join(f"{value!r},{k % 2}\n" for k, value in enumerate(values.tolist()))
    table = read_table(csv(tmp_path, content), "t")
    assert table.X.tobytes() == values.tobytes()


def test_finite_numbers_whose_sum_overflows_are_read(tmp_path):
    table = read_table(csv(tmp_path, "a,b,t\n1e308,1.5e308,0\n-1e308,-1e308,1\n"), "t")
    np.testing.assert_array_equal(table.X, [[1e308, 1.5e308], [-1e308, -1e308]])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", ">f8", "f4", "i2", "?", "longdouble"])
def test_npz(tmp_path, dtype, order, compressed):
    path = tmp_path / "data.npz"
    rows = np.asarray(X * 10, dtype, order=order)
    (np.savez_compressed if compressed else np.savez)(path, X=rows, y=Y, other=np.zeros(2))
    table = read_table(path)
    np.testing.assert_array_equal(table.X, rows.astype(float))
    np.testing.assert_array_equal(table.y, Y)
    assert table.feature_names == ("x0", "x1", "x2")
    assert table.X.flags.c_contiguous
    assert table.X.flags.writeable


@pytest.mark.parametrize(
    "labels", [Y == 1, Y * 2 - 1, Y + 5.0, np.where(Y, "b", "a"), np.where(Y, b"b", b"a")]
)
def test_npz_targets(tmp_path, labels):
    path = tmp_path / "data.npz"
    np.savez(path, X=X, labels=labels)
    table = read_table(path, "labels")
    np.testing.assert_array_equal(table.y, Y)
    values = np.unique(labels).tolist()
    assert table.class_names == tuple(
        v.decode() if isinstance(v, bytes) else str(v) for v in values
    )


def test_a_target_of_npz_may_be_a_column(tmp_path):
    np.savez(tmp_path / "data.npz", X=X, y=Y[:, None])
    assert read_table(tmp_path / "data.npz").y.tolist() == Y.tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_features", [1, 3])
def test_npy(tmp_path, order, n_features):
    path = tmp_path / "data.npy"
    np.save(path, np.asarray(np.column_stack([X[:, :n_features], Y]), order=order))
    table = read_table(path)
    np.testing.assert_array_equal(table.X, X[:, :n_features])
    np.testing.assert_array_equal(table.y, Y)
    table.X[:] = 0  # memory of its own
    np.testing.assert_array_equal(read_table(path).X, X[:, :n_features])


PARQUET_TARGETS = {
    "int": Y,
    "float": Y * 1.0,
    "bool": Y == 1,
    "text": np.where(Y, "yes", "no"),
    "category": pandas.Categorical(np.where(Y, "yes", "no")),
}


def write_parquet(path, columns):
    polars.DataFrame(columns, strict=False).write_parquet(path)


@pytest.mark.parametrize("labels", PARQUET_TARGETS.values(), ids=PARQUET_TARGETS)
def test_parquet(tmp_path, parquet_library, labels):
    path = tmp_path / "data.parquet"
    if isinstance(labels, pandas.Categorical):
        labels = polars.Series(list(labels), dtype=polars.Categorical)
    columns = {"a.b": X[:, 0], "n": np.arange(7), "t": labels, "f": X[:, 1].astype("f4")}
    write_parquet(path, {**columns, "flag": Y == 0})
    table = read_table(path, "t")
    np.testing.assert_array_equal(table.y, Y)
    assert table.feature_names == ("a.b", "n", "f", "flag")
    expected = np.column_stack([X[:, 0], np.arange(7), X[:, 1].astype("f4"), Y == 0])
    np.testing.assert_array_equal(table.X, expected)


def test_parquet_without_a_library_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "t": Y})
    for name in ("pyarrow", "pyarrow.parquet", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'metaopt_fast\[parquet\]'\.$"):
        read_table(path, "t")


def test_suffixes_are_read_in_any_case(tmp_path):
    assert len(read_table(csv(tmp_path, CSV, "DATA.CSV"), "label").y) == 3


# ----------------------------------------------------------------------------------------- hostile


class Exploit:
    """Unpickled, it makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def zipped(**members):
    """An .npz file of members of any bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, np.asarray(array), **options)
    return file.getvalue()


def npy_header(text, version=1):
    """The start of an .npy file with a header of any text."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


def claims(size, content):
    """An .npz file whose directory says that X has `size` bytes."""
    data = bytearray(zipped(X=content, y=npy(Y)))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    return bytes(data)


def encrypted():
    data = bytearray(zipped(X=npy(X), y=npy(Y)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[6] |= 1
    return bytes(data)


def sparse(first, size):
    """A file that begins with `first` and goes on with zeros."""

    def write(path):
        with open(path, "wb") as file:
            file.write(first)
            file.truncate(size)

    return write


def repeated(first, piece, count):
    def write(path):
        with open(path, "wb") as file:
            file.write(first)
            for _ in range(count):
                file.write(piece)

    return write


MB = 2**20
HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 3), }\n"
PLAIN = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n"
OBJECTS = np.array([Exploit("stolen"), None], object)

# Name of the file, content or what writes it, and what the sentence says.
HOSTILE = {
    # CSV: lines and columns by name.
    "empty": ("x.csv", b"", "is empty"),
    "blank lines alone": ("x.csv", b"\n\n\r\n", "is empty"),
    "a byte order mark alone": ("x.csv", b"\xef\xbb\xbf", "is empty"),
    "header alone": ("x.csv", b"a,t\n", "has a header but no rows"),
    "no target": ("x.csv", b"a,b\n1,2\n", "has no column 't': name one of 'a', 'b'"),
    "no target of many": (
        "x.csv",
        ",".join(f"c{k}" for k in range(9)).encode(),
        "name one of 'c0', 'c1', 'c2', 'c3', 'c4' and 4 more",
    ),
    "target alone": ("x.csv", b"t\n1\n0\n", "has no column but the target"),
    "names twice": ("x.csv", b"a,a,t\n1,2,0\n", "has two columns named 'a'"),
    "a column without a name": ("x.csv", b"a,,t\n0,1,0\n", "line 1 names column 2 ''"),
    "an index alone": ("x.csv", b",t\n0,1\n", "has no column but the target"),
    "a number among truths": (
        "x.csv",
        b"a,t\nTrue,0\n1,1\n",
        "line 3, column 'a' has '1' where True or False is wanted: fill it, or drop the row",
    ),
    "a truth among numbers": ("x.csv", b"a,t\n1,0\nTrue,1\n", "line 3, column 'a' has 'True'"),
    "a truth that is missing": ("x.csv", b"a,t\nTrue,0\n,1\n", "line 3, column 'a' is empty"),
    "a row of many lines": (
        "x.csv",
        repeated(b'a,t\n"', b'x\n"' + b"," * 1000 + b'"', 1100),
        "has more than 1,048,576 fields",
    ),
    "a row of many long fields": (
        "x.csv",
        repeated(b'a,t\n"', b"x" * 10**5 + b'\n","', 300),
        "has more than 16,777,216 bytes",
    ),
    "a header of millions of names": (
        "x.csv",
        b"ab," * 2**21 + b"t\n",
        "line 1 has more than 1,048",
    ),
    "a row of millions of fields": ("x.csv", b"a,t\n" + b"," * 2**21, "line 2 has more than 1,048"),
    "a short row": ("x.csv", b"a,b,t\n1,2,0\n1,2\n", "line 3 has 2 fields, but the header has 3"),
    "a long row": ("x.csv", b"a,t\n1,0,\n", "line 2 has 3 fields, but the header has 2"),
    "text": ("x.csv", b"a,t\n1,0\nabc,1\n", "line 3, column 'a' has 'abc' where a finite number"),
    "text after blank lines": ("x.csv", b"a,t\n\n1,0\n\nabc,1\n", "line 5, column 'a' has 'abc'"),
    "text after a quoted newline": (
        "x.csv",
        b'a,t\n1,"p\nq"\nabc,r\n',
        "line 4, column 'a' has 'abc'",
    ),
    "an empty field": ("x.csv", b"a,b,t\n1,,0\n", "line 2, column 'b' is empty"),
    "a field of spaces": ("x.csv", b"a,b,t\n1,  ,0\n", "line 2, column 'b' is empty"),
    "NaN": ("x.csv", b"a,t\n1,0\nNaN,1\n", "line 3, column 'a' has 'NaN'"),
    "infinity": ("x.csv", b"a,t\n-inf,0\n", "line 2, column 'a' has '-inf'"),
    "overflow": ("x.csv", b"a,t\n1e400,0\n", "line 2, column 'a' has '1e400'"),
    "an underscore": ("x.csv", b"a,t\n1_000,0\n", "line 2, column 'a' has '1_000'"),
    "hexadecimal": ("x.csv", b"a,t\n0x10,0\n", "line 2, column 'a' has '0x10'"),
    "decimal commas": ("x.csv", b'a,t\n"1,5",0\n', "line 2, column 'a' has '1,5'"),
    "a formula": ("x.csv", b"a,t\n=1+1,0\n", "line 2, column 'a' has '=1\\+1'"),
    "a terminal's escape": ("x.csv", b"a,t\n\x1b[2J,0\n", r"column 'a' has '\\x1b\[2J'"),
    "a name with an escape": ("x.csv", b"a\x1b[2J,b\n", r"name one of 'a\\x1b\[2J', 'b'"),
    "NUL in a field": ("x.csv", b"a,t\n1,0\n2\0,1\n", r"line 3, column 'a' has '2\\x00'"),
    "NUL in the target": ("x.csv", b"a,t\n1,0\n2,1\0\n", r"line 3, column 't' has '1\\x00'"),
    "NUL in the header": ("x.csv", b"a\0,t\n1,0\n", r"line 1 names column 1 'a\\x00'"),
    "Latin-1": (
        "x.csv",
        b"a,t\n1,0\n2,s\xe9\n",
        "line 3 is not UTF-8 text .byte 0xe9 at position 4",
    ),
    "old Mac lines": ("x.csv", b"a,t\r1,0\r2,1\r", "line 1 is not CSV"),
    "an open quote": ("x.csv", b'a,t\n1,0\n"2,1\n', "line 3 is not CSV"),
    "text after a quote": ("x.csv", b'a,t\n"1"2,0\n', "line 2 is not CSV"),
    "one class": ("x.csv", b"a,t\n1,0\n2,0\n", "column 't' has '0' in every row"),
    "three classes": ("x.csv", b"a,t\n1,p\n2,q\n3,r\n", "line 4, column 't' has the value 'r'"),
    "numbers and text": ("x.csv", b"a,t\n1,0\n2,NA\n", "line 3, column 't' has the value 'NA'"),
    "no class": ("x.csv", b"a,t\n1,0\n2,\n", "line 3, column 't' has '' as the target"),
    "NaN as a class": ("x.csv", b"a,t\n1,0\n2,nan\n", "line 3, column 't' has 'nan' as the target"),
    "a quoted field of 100 MB": ("x.csv", repeated(b'a,t\n"', b"x" * MB, 100), "line 2 has more"),
    "a quoted field of many lines": (
        "x.csv",
        repeated(b'a,t\n"', (b"x" * 1000 + b"\n") * 1000, 100),
        r"line \d+ is not CSV \(field larger",
    ),
    "a line of 1 GB": ("x.csv", sparse(b"", 2**30), "line 1 has more than 16,777,216 bytes"),
    "a long field": ("x.csv", b"a,t\n" + b"9" * 10**5 + b",0\n", r"has '9+\.\.\.' where a finite"),
    "a number of 100,000 digits and a dot": (
        "x.csv",
        b"a,t\n" + b"1" * 10**5 + b".5,0\n",
        r"line 2, column 'a' has '1+\.\.\.' where",
    ),
    "lone surrogates": ("x.csv", b"a,t\n\xed\xa0\x80,0\n", "line 2 is not UTF-8 text"),
    "an overlong zero byte": ("x.csv", b"a,t\n\xc0\x80,0\n", "line 2 is not UTF-8 text"),
    "UTF-32": ("x.csv", "a,t\n1,0\n".encode("utf-32"), "line 1 is not UTF-8 text"),
    "UTF-16 without a mark": (
        "x.csv",
        "a,t\n1,0\n".encode("utf-16-le"),
        r"a\\x00|not CSV|no column",
    ),
    "1e999": ("x.csv", b"a,t\n1e999,0\n", "line 2, column 'a' has '1e999'"),
    "nan with a sign": ("x.csv", b"a,t\n+NAN,0\n", r"column 'a' has '\+NAN'"),
    "a hexadecimal float": ("x.csv", b"a,t\n0x1p3,0\n", "column 'a' has '0x1p3'"),
    "points of thousands": ("x.csv", b"a,t\n1.000.000,0\n", "column 'a' has '1.000.000'"),
    "a carriage return in a number": ("x.csv", b'a,t\n"1\r2",0\n', r"column 'a' has '1\\r2'"),
    "mixed ends of lines": ("x.csv", b"a,t\r\n1,0\n2,1\r3,0\r\n", "is not CSV"),
    "gzip, cut": (
        "x.csv",
        gzip.compress(b"a,t\n1,0\n2,1\n")[:-9],
        "is not a whole gzip-compressed file",
    ),
    "gzip, damaged": ("x.csv", b"\x1f\x8b" + b"\x08" * 40, "is not a whole gzip-compressed file"),
    "gzip of zeros": ("x.csv", gzip.compress(bytes(20 * 2**20)), "line 1 has more than 16,777,216"),
    "bzip2, damaged": ("x.csv", b"BZh9" + b"1" * 40, "is not a whole bzip2-compressed file"),
    "xz": ("x.csv", lzma.compress(CSV.encode()), "is compressed by xz: unpack it, e.g. by xz -d"),
    "zstd, cut": (
        "x.csv",
        pyarrow.compress(CSV.encode(), "zstd", asbytes=True)[:-9],
        "is not a whole zstd-compressed file",
    ),
    "an image": ("x.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1 is not UTF-8 text"),
    # npz.
    "npz: empty": ("x.npz", b"", "is not a whole .npz file"),
    "npz: text": ("x.npz", b"a,b\n1,2\n", "is not a whole .npz file"),
    "npz: cut": ("x.npz", zipped(X=npy(X), y=npy(Y))[:-60], "is not a whole .npz file"),
    "npz: no y": ("x.npz", zipped(X=npy(X), z=npy(Y)), "has no array 'y' .it has 'X', 'z'"),
    "npz: no array": ("x.npz", zipped(X=b"PK", y=npy(Y)), "is not a whole .npz file"),
    "npz: pickled objects": ("x.npz", zipped(X=npy(OBJECTS), y=npy(Y)), "has dtype object"),
    "npz: pickled target": ("x.npz", zipped(X=npy(X), y=npy(OBJECTS)), "has dtype object"),
    "npz: a pickle": ("x.npz", zipped(X=pickle.dumps(Exploit("stolen")), y=npy(Y)), "not a whole"),
    "npz: records": ("x.npz", zipped(X=npy(np.zeros(3, [("a", "f8")])), y=npy(Y)), "has dtype"),
    "npz: complex": ("x.npz", zipped(X=npy(X * 1j), y=npy(Y)), "has dtype complex128"),
    "npz: text as features": ("x.npz", zipped(X=npy(X.astype(str)), y=npy(Y)), "save numbers"),
    "npz: one dimension": ("x.npz", zipped(X=npy(X[0]), y=npy(Y)), r"features of shape \(3,\)"),
    "npz: a row less": ("x.npz", zipped(X=npy(X[1:]), y=npy(Y)), r"features of shape \(6, 3\)"),
    "npz: no rows": ("x.npz", zipped(X=npy(X[:0]), y=npy(Y[:0])), r"features of shape \(0, 3\)"),
    "npz: NaN": ("x.npz", zipped(X=npy(X * [1, np.nan, 1]), y=npy(Y)), "row 0, column 1 has nan"),
    "npz: one class": ("x.npz", zipped(X=npy(X), y=npy(Y * 0)), "array 'y' has '0' in every row"),
    "npz: many classes": ("x.npz", zipped(X=npy(X), y=npy(X[:, 0])), "array 'y' has 7 values"),
    "npz: NaN as a class": (
        "x.npz",
        zipped(X=npy(X), y=npy(Y * np.nan)),
        "row 0, array 'y' has nan",
    ),
    "npz: a huge claim": ("x.npz", zipped(X=npy_header(HUGE), y=npy(Y)), "is not a whole .npz"),
    "npz: a false size": (
        "x.npz",
        claims(2**30 - 2**30 % 8, npy_header(PLAIN.replace("(2, 2)", str((2**27 - 15, 1))))),
        "is not a whole .npz",
    ),
    "npz: less than it says": (
        "x.npz",
        claims(len(npy(X)), npy(X)[:-8]),
        "is not a whole .npz file .array X ends early.",
    ),
    "npz: a path in a name": (
        "x.npz",
        zipped(**{"../../stolen": npy(X), "/tmp/stolen": npy(X), "y": npy(Y)}),
        "has no array 'X'",
    ),
    "npz: a shape whose product overflows": (
        "x.npz",
        zipped(X=npy_header(PLAIN.replace("(2, 2)", f"({2**32}, {2**32})")) + bytes(32), y=npy(Y)),
        "is not a whole .npz",
    ),
    "npz: a shape of no whole numbers": (
        "x.npz",
        zipped(X=npy_header(PLAIN.replace("(2, 2)", "(2.0, 2)")) + bytes(32), y=npy(Y)),
        "is not a whole .npz",
    ),
    "npz: fortran order that is no bool": (
        "x.npz",
        zipped(X=npy_header(PLAIN.replace("False", "3")) + bytes(32), y=npy(Y)),
        "is not a whole .npz",
    ),
    "npz: a bomb of zeros for y": (
        "x.npz",
        zipped(X=npy(X), y=bytes(50 * MB)),
        "is not a whole .npz",
    ),
    "npz: encrypted": ("x.npz", encrypted(), "is not a whole .npz file"),
    # npy.
    "npy: empty": ("x.npy", b"", "is not a whole .npy file"),
    "npy: cut": ("x.npy", npy(X)[:-1], "is not a whole .npy file"),
    "npy: more": ("x.npy", npy(X) + b"\0", "is not a whole .npy file"),
    "npy: a huge claim": ("x.npy", npy_header(HUGE), "is not a whole .npy file"),
    "npy: code": ("x.npy", npy_header("__import__('os').mkdir('stolen')\n"), "is not a whole"),
    "npy: nesting": ("x.npy", npy_header("(" * 9000 + "\n"), "is not a whole .npy file"),
    "npy: a long header": ("x.npy", npy_header(PLAIN + " " * 10**6, 2), "is not a whole .npy file"),
    "npy: a negative shape": (
        "x.npy",
        npy_header(PLAIN.replace("(2, 2)", "(-2, -2)")) + bytes(32),
        "is not a whole .npy file",
    ),
    "npy: one column": ("x.npy", npy(X[:, :1]), r"has an array of shape \(7, 1\)"),
    "npy: no rows": ("x.npy", npy(X[:0]), r"has an array of shape \(0, 3\)"),
    "npy: objects": ("x.npy", npy(OBJECTS), "has dtype object"),
    # Parquet.
    "parquet: empty": ("x.parquet", b"", "is not a whole .parquet file"),
    "parquet: text": ("x.parquet", b"PAR1, he said", "is not a whole .parquet file"),
    "parquet: cut": ("x.parquet", b"PAR1" + bytes(20) + b"PAR1", "is not a whole .parquet file"),
    # No such kind of file.
    "another suffix": ("x.doc", CSV.encode(), "has the suffix '.doc': pass a file of .csv, .tsv"),
    "no suffix": ("x", CSV.encode(), "has the suffix ''"),
    "a compressed CSV of no bytes": ("x.csv.gz", b"\x1f\x8b", "is not a whole gzip-compressed"),
    "compressed, of no kind": ("x.gz", b"\x1f\x8b", "has the suffix '.gz'"),
    "a compressed .npz": ("x.npz.gz", b"\x1f\x8b", "has the suffix '.gz'"),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence_and_little_memory(tmp_path, monkeypatch, case):
    name, content, sentence = HOSTILE[case]
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    target = "t" if path.suffix in (".csv", ".parquet", ".gz") else None
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, OSError), match=sentence) as caught:
            read_table(path, target)
        assert tracemalloc.get_traced_memory()[1] < 64 * MB
    finally:
        tracemalloc.stop()
    assert_one_sentence(caught.value, path)
    assert os.listdir(tmp_path) == [name]


# Prints the most memory that reading a file took, in bytes for each byte of it. (tracemalloc would
# take ten times as long.)
HEADER = """
import os
from memory import peak_memory
from metaopt_fast.files.read import read_table
path = NAME
with open(path, "rb") as file:
    file.read()  # as much as that may have been taken, and given back, before
before = peak_memory()
try:
    read_table(path, "t")
except ValueError as error:
    assert "line 2 has 2 fields, but the header has 1000001" in str(error)
    print((peak_memory() - before) / os.path.getsize(path))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_header_of_a_million_names_takes_memory_in_proportion(tmp_path, run_python):
    names = b",".join(b"c%d" % k for k in range(10**6))
    path = csv(tmp_path, names + b",t\n1,2\n")
    done = run_python(HEADER.replace("NAME", repr(str(path))))
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 32


def assert_one_sentence(error, path):
    message = str(error)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 200 + len(str(path))


def test_hostile_files_are_at_least_fifty():
    assert len(HOSTILE) >= 50


AUDITED = """
import os, sys
from metaopt_fast.files.read import read_table

def read(path):
    try:
        read_table(path, "t" if path.endswith("csv") else None)
    except ValueError:
        pass

events = []
for path in sys.argv[1:]:  # once before, for what is imported late
    read(path)
sys.addaudithook(lambda event, arguments: events.append((event, *arguments)))
for path in sys.argv[1:]:
    read(path)
for event, *arguments in events:
    # NumPy compiles headers, but to a syntax tree alone.
    if event not in ("open", "compile", "array.__new__", "mmap.__new__", "object.__getattr__"):
        print(event, arguments)
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        print(event, arguments)
"""


@pytest.mark.long(everywhere=True)
def test_nothing_is_executed_imported_or_written_while_a_file_is_read(tmp_path, run_python):
    paths = []
    for k, (name, content, _) in enumerate(HOSTILE.values()):
        if isinstance(content, bytes) and name.endswith(("csv", "npz", "npy")):
            paths.append(str(tmp_path / f"{k}.{name}"))
            (tmp_path / paths[-1]).write_bytes(content)
    before = sorted(os.listdir(tmp_path))
    program = f"import os, sys\nos.chdir({str(tmp_path)!r})\nsys.argv[1:] = {paths!r}\n{AUDITED}"
    done = run_python(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "parquet"])
def test_a_file_with_any_byte_changed_is_read_or_refused_in_a_sentence(tmp_path, kind):
    path = tmp_path / f"data.{kind}"
    if kind == "npz":
        np.savez_compressed(path, X=X, y=Y)
    elif kind == "npy":
        np.save(path, np.column_stack([X, Y]))
    elif kind == "csv":
        path.write_text("a,t\n" + "".join(f"{row[0]},{y}\n" for row, y in zip(X, Y, strict=True)))
    else:
        write_parquet(path, {"a": X[:, 0], "t": Y})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(whole)
        content[rng.integers(len(content))] = rng.integers(256)
        length = rng.integers(len(content)) if rng.random() < 0.2 else len(content)
        path.write_bytes(content[:length])
        try:
            table = read_table(path, "t" if kind in ("csv", "parquet") else None)
        except (ValueError, OSError) as error:
            assert_one_sentence(error, path)
        else:
            assert np.isfinite(table.X).all()
            assert set(table.y.tolist()) == {0, 1}


def test_a_damaged_parquet_file_is_refused_by_each_library(tmp_path, parquet_library):
    path = tmp_path / "data.parquet"
    write_parquet(path, {"a": X[:, 0], "t": Y})
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[footer : footer + 10] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a whole .parquet file") as caught:
        read_table(path, "t")
    assert_one_sentence(caught.value, path)


@pytest.mark.parametrize(
    ("columns", "target", "sentence"),
    [
        ({"a": ["p"] * 7, "t": Y}, "t", "column 'a' does not hold numbers alone"),
        ({"a": [1, None] + [2] * 5, "t": Y}, "t", "row 1, column 'a' has nan or nothing"),
        ({"a": [1.0, np.inf] + [2.0] * 5, "t": Y}, "t", "row 1, column 'a' has inf"),
        ({"a": [1.0, np.nan] + [2.0] * 5, "t": Y}, "t", "row 1, column 'a' has nan or nothing: fi"),
        ({"a": Y, "t": [0.0, np.inf] + [1.0] * 5}, "t", "row 1, column 't' has inf: give each row"),
        ({"a": Y, "t": [np.nan, 0.0] + [1.0] * 5}, "t", "row 0, column 't' has nan: give each row"),
        ({"a": [[1]] * 7, "t": Y}, "t", "column 'a' does not hold numbers alone"),
        ({"a": Y.astype("M8[ms]"), "t": Y}, "t", "column 'a' does not hold numbers alone"),
        ({"a": Y, "t": [None, "p"] + ["q"] * 5}, "t", "row 0, column 't' has nothing"),
        ({"a": Y, "t": [None, True] + [False] * 5}, "t", "row 0, column 't' has nothing"),
        ({"a": Y, "t": [None, 1] + [0] * 5}, "t", "row 0, column 't' has nan"),
        ({"a": Y, "t": Y.astype("M8[ms]")}, "t", "holds neither numbers nor text"),
        ({"a": Y, "t": [b"p"] + [b"q"] * 6}, "t", "holds neither numbers nor text"),
        ({"a": Y, "t": Y}, "u", "has no column 'u': name one of 'a', 't'"),
        (
            {name: Y for name in "abcde"},
            "u",
            r"has no column 'u': name one of 'a', 'b', 'c', 'd', 'e'\.$",
        ),
        ({name: Y for name in "abcdefg"}, "u", r"one of 'a', 'b', 'c', 'd', 'e' and 2 more\.$"),
        ({"a": Y, "t": Y}, None, "needs a target: name one of its columns, 'a', 't'"),
        ({"a": Y[:0], "t": Y[:0]}, "t", "has columns but no rows"),
        ({"t": Y}, "t", "has no column but the target"),
    ],
)
def test_parquet_columns_that_cannot_be_used(tmp_path, parquet_library, columns, target, sentence):
    path = tmp_path / "data.parquet"
    write_parquet(path, columns)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_table(path, target)
    assert_one_sentence(caught.value, path)


def test_an_array_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, X=np.zeros((1000, 10)), y=np.arange(1000) % 2)
    monkeypatch.setattr(arrayfiles, "_half_of_memory", lambda: 79_999)
    with pytest.raises(ValueError, match=r"array 'X' needs 0\.0 GB, more than half of the memory"):
        read_table(path)


def test_memory_is_what_this_process_may_have(tmp_path, monkeypatch):
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(arrayfiles, "CGROUP_LIMIT", str(tmp_path / "memory.max"))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert arrayfiles._half_of_memory() == whole // 2
    (tmp_path / "memory.max").write_text("max\n")
    assert arrayfiles._half_of_memory() == whole // 2
    (tmp_path / "memory.max").write_text("1000000\n")
    assert arrayfiles._half_of_memory() == 500_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (600_000, 600_000))
    assert arrayfiles._half_of_memory() == 300_000


def test_a_system_that_does_not_tell_its_memory_sets_no_limit(tmp_path, monkeypatch):
    path = tmp_path / "data.npz"
    np.savez(path, X=X, y=Y)
    monkeypatch.delattr(os, "sysconf")
    assert np.array_equal(read_table(path).X, X)


def test_a_target_that_is_needed_or_not(tmp_path):
    with pytest.raises(
        ValueError, match="needs a target: name one of its columns, 'a', 'b', 'label'"
    ):
        read_table(csv(tmp_path, CSV))
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(ValueError, match="leave the target 'y' out"):
        read_table(tmp_path / "data.npy", "y")
    np.savez(tmp_path / "data.npz", X=X, y=Y)
    with pytest.raises(ValueError, match="has no array 'z'"):
        read_table(tmp_path / "data.npz", "z")


def test_a_path_without_a_file_to_read(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for name, sentence in {
        "none.csv": "does not exist",
        "no\nne.csv": "'.*no\\\\nne.csv' does not exist",
        "no\0ne.csv": "is not a path",
        "folder.csv": "is a directory",
        "pipe.csv": "is not a regular file",
        "loop.csv": "cannot be read",
        "x" * 300 + ".csv": "cannot be read",
    }.items():
        with pytest.raises((OSError, ValueError), match=sentence) as caught:
            read_table(str(tmp_path / name), "t")
        assert str(caught.value).endswith(".")
        assert str(caught.value).isprintable()


def test_a_file_without_permission(tmp_path, monkeypatch):
    path = csv(tmp_path, CSV)
    monkeypatch.setattr(builtins, "open", refuse)
    with pytest.raises(
        PermissionError, match=r"data\.csv cannot be read .Permission denied.: pass"
    ):
        read_table(path, "label")


def refuse(path, *arguments, **options):
    # As any user but root would get it: tests may run as root.
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize("path", [None, 3, b"data.csv", ["data.csv"], open])
def test_a_path_of_another_type(path):
    with pytest.raises(TypeError, match=r"path is .*: pass the path of a data file\.$"):
        read_table(path, "t")


@pytest.mark.parametrize("target", [3, b"t", ["t"]])
def test_a_target_of_another_type(tmp_path, target):
    with pytest.raises(TypeError, match=r"target is .*: pass the name of a column\.$"):
        read_table(csv(tmp_path, CSV), target)
