"""Frames and labels as they come: the bits of the equivalent array, or the place that has none."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.data.checks import check_classes, check_X
from metaopt_fast.data.duplicates import merge_duplicates
from metaopt_fast.reference import fitting as reference_training
from metaopt_fast.reference.counts import confusion_counts

N = 12
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2
THETAS = RNG.normal(size=(4, 3))
FLOATS = RNG.normal(size=N)
FLAGS = RNG.random(N) < 0.5
WHOLE = RNG.integers(-5, 6, N)

# ------------------------------------------------------------------------- frames of any columns

# From a name to what makes a column of a library out of whole numbers from 0 to 9.
PANDAS = {
    "float64": lambda k: pd.Series(k / 7),
    "float32": lambda k: pd.Series((k / 7).astype("f4")),
    "int64": lambda k: pd.Series(k),
    "uint8": lambda k: pd.Series(k.astype("u1")),
    "bool": lambda k: pd.Series(k > 4),
    "Int64": lambda k: pd.Series(k, dtype="Int64"),
    "Float64": lambda k: pd.Series(k / 7, dtype="Float64"),
    "boolean": lambda k: pd.Series(k > 4, dtype="boolean"),
    "category": lambda k: pd.Series(k / 4).astype("category"),
    "object": lambda k: pd.Series([Decimal(int(i)) / 8 if i % 2 else int(i) for i in k], dtype="O"),
    "sparse": lambda k: pd.Series(pd.arrays.SparseArray(k)),
    "int64[pyarrow]": lambda k: pd.Series(k, dtype="int64[pyarrow]"),
    "double[pyarrow]": lambda k: pd.Series(k / 7, dtype="double[pyarrow]"),
    "bool[pyarrow]": lambda k: pd.Series(k > 4, dtype="bool[pyarrow]"),
    "dictionary[pyarrow]": lambda k: pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array(k).dictionary_encode())
    ),
    "decimal[pyarrow]": lambda k: pd.Series(
        [Decimal(int(i)) / 8 for i in k], dtype=pd.ArrowDtype(pa.decimal128(10, 4))
    ),
}
POLARS = {
    "Float64": lambda k: pl.Series(k / 7),
    "Float32": lambda k: pl.Series((k / 7).astype("f4")),
    "Int8": lambda k: pl.Series(k).cast(pl.Int8),
    "Int128": lambda k: pl.Series(k).cast(pl.Int128),
    "Boolean": lambda k: pl.Series(k > 4),
    "Decimal": lambda k: pl.Series([Decimal(int(i)) / 8 for i in k], dtype=pl.Decimal(10, 4)),
}
ARROW = {
    "double": lambda k: pa.chunked_array([k[:5] / 7, k[5:] / 7]),
    "int16": lambda k: pa.array(k.astype("i2")),
    "bool": lambda k: pa.array(k > 4),
    "dictionary": lambda k: pa.array(k).dictionary_encode(),
    "decimal": lambda k: pa.array([Decimal(int(i)) / 8 for i in k]),
}


def pandas_frame(columns):
    # Of one name: only its place tells a column from another.
    return pd.concat([PANDAS[kind](k) for kind, k in columns], axis=1, keys=["x"] * len(columns))


def polars_frame(columns):
    return pl.DataFrame([POLARS[kind](k).alias(f"x{j}") for j, (kind, k) in enumerate(columns)])


def arrow_table(columns):
    return pa.table({f"x{j}": ARROW[kind](k) for j, (kind, k) in enumerate(columns)})


class Plain:
    """A frame of none of these libraries, whose columns are arrays."""

    def __init__(self, array):
        self.iloc, self.columns = array, [f"x{j}" for j in range(array.shape[1])]
        self.dtypes = [array.dtype] * array.shape[1]

    def __len__(self):
        return len(self.iloc)


Plain.iloc = Plain.columns = None  # that its class has them


def array_of(columns):
    """What NumPy makes of the same numbers, by a formula for each kind."""
    found = []
    for kind, k in columns:
        if kind in ("float64", "Float64", "double[pyarrow]", "double"):
            found.append(k / 7)
        elif kind in ("float32", "Float32"):
            found.append((k / 7).astype("f4").astype("f8"))
        elif "bool" in kind.lower():
            found.append((k > 4).astype("f8"))
        elif kind == "category":
            found.append(k / 4)
        elif kind == "object":
            found.append(np.where(k % 2, k / 8, k))
        elif "decimal" in kind.lower():
            found.append(k / 8)
        else:
            found.append(k.astype("f8"))
    return np.column_stack(found)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("kinds", "frame"),
    [(PANDAS, pandas_frame), (POLARS, polars_frame), (ARROW, arrow_table)],
    ids=["pandas", "polars", "pyarrow"],
)
@given(data=st.data())
def test_a_frame_has_the_bits_of_the_equivalent_array(kinds, frame, data):
    column = st.tuples(
        st.sampled_from(sorted(kinds)),
        st.lists(st.integers(0, 9), min_size=N, max_size=N).map(np.array),
    )
    columns = data.draw(st.lists(column, min_size=1, max_size=5))
    read = check_X(frame(columns))
    assert read.astype("f8").tobytes() == array_of(columns).tobytes()


MIXED = pd.DataFrame({"x": FLOATS, "b": FLAGS, "k": WHOLE})
ARRAY = np.column_stack([FLOATS, FLAGS, WHOLE])
FRAMES = {
    "pandas": MIXED,
    "convert_dtypes": MIXED.convert_dtypes(),
    "pyarrow dtypes": MIXED.convert_dtypes(dtype_backend="pyarrow"),
    "objects": MIXED.astype(object),
    "an array of objects": MIXED.astype(object).to_numpy(),
    "polars": pl.from_pandas(MIXED),
    "pyarrow": pa.Table.from_pandas(MIXED, preserve_index=False),
    "a record batch": pa.RecordBatch.from_pandas(MIXED, preserve_index=False),
}
CALLS = {
    "LogisticLoss": lambda X: mf.LogisticLoss(X, Y).batch_loss(THETAS),
    "HingeLoss": lambda X: mf.HingeLoss(X, Y, dtype="float32").batch_loss(THETAS),
    "AUCObjective": lambda X: mf.AUCObjective(X, Y).batch_auc(THETAS),
    "ConfusionCounts": lambda X: mf.ConfusionCounts(X, Y).batch_counts(THETAS),
    "merge_duplicates": lambda X: merge_duplicates(X, Y)[0].astype(float),
    "fit_many": lambda X: mf.fit_many(X, Y, l2=0.1).theta,
    "Scorecard": lambda X: mf.Scorecard.from_theta([0, 2, 1], X=X, y=Y).scores,
    "Scorecard.predict": lambda X: mf.Scorecard.from_theta([0, 2, 1]).predict(X),
    "gradient_descent": lambda X: mf.gradient_descent(mf.LogisticLoss(X, Y), max_iter=3).theta,
}

TAKE_SPARSE = ["LogisticLoss", "fit_many", "gradient_descent"]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_frames_of_mixed_columns(call):
    wanted = CALLS[call](ARRAY)
    for name, frame in FRAMES.items():
        assert np.asarray(CALLS[call](frame)).tobytes() == np.asarray(wanted).tobytes(), name


def test_a_frame_of_one_dtype_keeps_it():
    assert check_X(pd.DataFrame(np.ones((3, 2), "f4"))).dtype == np.float32
    assert check_X(pl.DataFrame({"a": [1, 2], "b": [3, 4]})).dtype == np.int64


def test_names_that_are_patterns_are_names():
    frame = pl.DataFrame({"^a.*$": [1.0, 2.0], "*": [3.0, 4.0], "a b": [True, False]})
    assert check_X(frame).tolist() == [[1.0, 3.0, 1.0], [2.0, 4.0, 0.0]]
    assert check_classes(frame.select(pl.selectors.by_index(0)), 2)[1].tolist() == [False, True]


def test_numbers_are_the_nearest_floats():
    digits = ["0.1", "12345678901234567890.12", "0.30000000000000004", "9007199254740993"]
    frame = pl.DataFrame({"d": pl.Series([Decimal(text) for text in digits[:2]])})
    assert check_X(frame)[:, 0].tolist() == [float(text) for text in digits[:2]]
    objects = pd.DataFrame({"d": [*map(Decimal, digits), Fraction(1, 3), 2**53 + 1, 2**70 + 1]})
    wanted = [*map(float, digits), 1 / 3, float(2**53 + 1), float(2**70 + 1)]
    assert check_X(objects)[:, 0].tolist() == wanted
    large = pd.DataFrame({"a": [2**53 + 1, 2**62 + 1], "b": [True, False]})
    assert check_X(large)[:, 0].tolist() == [2.0**53, 2.0**62]


MISSING = [None] + [1] * (N - 1)
DAY = datetime.date(2024, 2, 29)
BAD = {
    "text": (pd.DataFrame({"a": FLOATS, "city": ["x"] * N}), "column 'city' has dtype .* of text"),
    "objects": (pd.DataFrame({"city": pd.Series(["x"] * N, dtype=object)}), "dtype object of text"),
    "categories of text": (
        pd.DataFrame({"city": pd.Categorical(["x"] * N)}),
        "column 'city' has dtype category of text: drop it, or encode it, e.g. by pandas.get_dumm",
    ),
    "a text among numbers": (
        pd.DataFrame({"k": [1, 2, "three"] + [4] * (N - 3)}),
        "column 'k' has dtype object, with 'three' in row 2",
    ),
    "NaN": (pd.DataFrame({"a": FLAGS, "b": [1.0, np.nan] + [1.0] * (N - 2)}), "row 1, column 'b'"),
    "NA": (
        pd.DataFrame({"a": FLAGS, "b": pd.array(MISSING, "Int64")}),
        "value in row 0, column 'b'",
    ),
    "NA of bool": (
        pd.DataFrame({"b": pd.array(MISSING, "boolean")}),
        "missing value in row 0, col",
    ),
    "None": (
        pd.DataFrame({"b": pd.Series(MISSING, dtype=object)}),
        "missing value in row 0, colum",
    ),
    "a category that misses": (
        pd.DataFrame({"b": pd.Categorical(MISSING)}),
        "missing value in row 0",
    ),
    "Arrow's null": (
        pd.DataFrame({"b": pd.array(MISSING, "int64[pyarrow]")}),
        "missing value in row",
    ),
    "infinity": (
        pd.DataFrame({"a": FLAGS, "b": np.full(N, np.inf)}),
        "inf in row 0, column 'b': pass finite",
    ),
    "dates": (
        pd.DataFrame({"d": pd.date_range("2024", periods=N)}),
        "column 'd' has dtype datetime64",
    ),
    "dates with a zone": (
        pd.DataFrame({"d": pd.date_range("2024", periods=N, tz="UTC")}),
        "column 'd' has dtype datetime64",
    ),
    "spans of time": (
        pd.DataFrame({"d": pd.to_timedelta(WHOLE, "s")}),
        "'d' has dtype timedelta64",
    ),
    "complex numbers": (pd.DataFrame({"z": FLOATS * 1j}), "column 'z' has dtype complex128"),
    "a huge integer": (
        pd.DataFrame({"k": pd.Series([10**400] * N, dtype=object)}),
        "an integer beyond the range of floats in row 0",
    ),
    "a name that is a number": (pd.DataFrame({7: ["x"] * N}), "column 7 has dtype"),
    "a terminal's escape": (pd.DataFrame({"\x1b[2J": ["x"] * N}), r"column '\\x1b\[2J' has dtype"),
    "polars: text": (
        pl.DataFrame({"city": ["x"] * N}),
        r"column 'city' has dtype String of text: drop it, or .* by to_dummies of polars\.$",
    ),
    "polars: categories": (
        pl.DataFrame({"c": pl.Series(["1"] * N, dtype=pl.Categorical)}),
        "column 'c' has dtype Categorical of text: drop it, .* to_dummies of polars",
    ),
    "polars: null": (
        pl.DataFrame({"b": MISSING}),
        "missing value in row 0, column 'b' .dtype Int64.",
    ),
    "polars: NaN": (
        pl.DataFrame({"b": [np.nan] + [1.0] * (N - 1)}),
        "nan in row 0, column 'b': fill",
    ),
    "polars: null of bool": (
        pl.DataFrame({"b": [None] + [True] * (N - 1)}),
        "missing value in row 0",
    ),
    "polars: nulls alone": (pl.DataFrame({"b": [None] * N}), "missing value in row 0, column 'b'"),
    "polars: dates": (
        pl.DataFrame({"d": [DAY] * N}),
        "column 'd' has dtype Date: drop it, or make",
    ),
    "polars: lists": (pl.DataFrame({"l": [[1]] * N}), "column 'l' has dtype List"),
    "polars: a plan": (
        pl.DataFrame({"b": FLOATS}).lazy(),
        r"LazyFrame, a plan: pass X\.collect\(\)",
    ),
    "pyarrow: text": (
        pa.table({"city": ["x"] * N}),
        r"column 'city' has dtype string of text: .* by pyarrow\.compute\.equal, one column of",
    ),
    "pyarrow: null": (pa.table({"b": MISSING}), "missing value in row 0, column 'b' .dtype int64."),
    "pyarrow: a dictionary that misses": (
        pa.table({"b": pa.array(MISSING).dictionary_encode()}),
        "missing value in row 0, column 'b'",
    ),
    "pyarrow: dates": (pa.table({"d": [DAY] * N}), "column 'd' has dtype date32"),
    "an array of objects": (np.array([[1.0, "a"]] * N, object), "'a' in row 0, column 1"),
    "an array with None": (np.array([[1.0, None]] * N, object), "missing value in row 0, column 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_column_that_cannot_be_read_is_named_with_the_cure(case):
    frame, sentence = BAD[case]
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        mf.LogisticLoss(frame, Y)
    message = str(caught.value)
    assert message.startswith("X") and message.endswith(".") and ": " in message
    assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
def test_a_sparse_matrix_is_read_or_called_one_and_told_what_to_do(call, kind):
    X = getattr(scipy.sparse, kind)(ARRAY)
    if call in TAKE_SPARSE:
        np.testing.assert_allclose(CALLS[call](X), CALLS[call](ARRAY), atol=0.02)
        return
    error, sentence = TypeError, r"X is a sparse matrix .*: pass X\.toarray\(\)"
    if call == "HingeLoss":
        error, sentence = ValueError, "dtype is 'float32', and X is a sparse matrix: pass dtype='fl"
    with pytest.raises(error, match=sentence) as caught:
        CALLS[call](X)
    assert str(caught.value).endswith(".")


# ------------------------------------------------------------------------------------------ labels

LABELS = {
    "strings": np.where(Y, "yes", "no"),
    "a list of strings": np.where(Y, "yes", "no").tolist(),
    "strings of numbers": np.where(Y, "9", "10"),
    "1 and 2": Y + 1,
    "halves": Y / 2,
    "bool": Y == 1,
    "objects of bool": (Y == 1).astype(object),
    "objects of str": np.where(Y, "b", "a").astype(object),
    "objects of int": Y.astype(object),
    "a column": Y[:, None],
    "a column of lists": Y[:, None].tolist(),
    "bytes": np.where(Y, b"b", b"a"),
    "decimals": [Decimal(int(k)) / 10 for k in Y],
    "integers beyond 2**53": [2**53 + int(k) for k in Y],
    "integers beyond 2**64": [2**70 + int(k) for k in Y],
    "an integer beside a float": [2**53 + 1 if k else 2.0**53 for k in Y],
    "text that ends in a zero byte": ["a\0" if k else "a" for k in Y],
    "pandas boolean": pd.Series(Y == 1, dtype="boolean"),
    "pandas Int64": pd.Series(Y, dtype="Int64"),
    "pandas str": pd.Series(np.where(Y, "b", "a")),
    "pandas category": pd.Series(np.where(Y, "b", "a"), dtype="category"),
    "pandas frame": pd.DataFrame({"y": Y == 1}),
    "pandas pyarrow": pd.Series(Y == 1, dtype="bool[pyarrow]"),
    "pandas extension array": pd.array([bool(k) for k in Y], "boolean"),
    "pandas index": pd.Index(np.where(Y, "b", "a")),
    "polars": pl.Series(Y == 1),
    "polars strings": pl.Series(["b" if k else "a" for k in Y]),
    "polars frame": pl.DataFrame({"y": Y}),
    "polars decimals": pl.Series([Decimal(int(k)) for k in Y]),
    "pyarrow": pa.array(Y == 1),
    "pyarrow dictionary": pa.chunked_array(
        [pa.array(["b" if k else "a" for k in Y]).dictionary_encode()]
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_the_greater_of_two_labels_is_positive(name):
    wanted = mf.LogisticLoss(ARRAY, Y).batch_loss(THETAS)
    assert mf.LogisticLoss(ARRAY, LABELS[name]).batch_loss(THETAS).tobytes() == wanted.tobytes()
    assert mf.AUCObjective(ARRAY, LABELS[name]).auc(THETAS[0]) == mf.AUCObjective(ARRAY, Y).auc(
        THETAS[0]
    )


@pytest.mark.parametrize("name", ["strings", "1 and 2", "halves", "bool"])
def test_the_references_of_counts_and_models_take_the_same_labels(name):
    y = LABELS[name]
    np.testing.assert_array_equal(
        mf.ConfusionCounts(ARRAY, y).batch_counts(THETAS),
        confusion_counts(THETAS, ARRAY, y),
    )
    ours, theirs = (fit(ARRAY, y, l2=0.1) for fit in (mf.fit_many, reference_training.fit_many))
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-6)


NOT_LABELS = {
    "three": (["a", "b", "c"] * 4, r"y holds 3 classes \('a', 'b', 'c'\): pass labels of two"),
    "many": (np.arange(N), r"y holds 12 classes \(0, 1, 2, 3, \.\.\.\)"),
    "1 and '1'": ([1, "1"] * 6, r"labels of two kinds, 1 \(of type int\) and '1' \(of type str\)"),
    "True and 'True'": (
        [True, "True"] * 6,
        r"two kinds, True \(of type bool\) and 'True' \(of type str\)",
    ),
    "objects of two kinds": (np.array([0, "0"] * 6, object), "labels of two kinds"),
    "None": ([None, *Y[1:]], "y has a missing value in row 0: fill it, or drop the row"),
    "NaN": ([0, np.nan, *Y[2:]], "y has nan in row 1: fill it, or drop the row"),
    "NaN among strings": (["a", np.nan] + ["b"] * (N - 2), "y has nan in row 1"),
    "infinity": (np.where(Y, np.inf, 0), "y has inf in row 1"),
    "NA of bool": (
        pd.array([None, *(Y[1:] == 1)], "boolean"),
        r"missing value in row 0 \(dtype bool",
    ),
    "NA of strings": (pd.Series([pd.NA, *np.where(Y[1:], "b", "a")]), "missing value in row 0"),
    "null": (pl.Series([None, *(Y[1:] == 1)]), r"missing value in row 0 \(dtype Boolean\)"),
    "null of pyarrow": (pa.array([None, *(Y[1:] == 1)]), r"missing value in row 0 \(dtype bool\)"),
    "dates": (Y.astype("M8[D]"), r"y has dtype datetime64\[D\]: pass one label for each row"),
    "objects": (np.array([object(), object()] * 6), "in row 0: pass one label"),
    "two columns": (pd.DataFrame({"a": Y, "b": Y}), r"y is a frame of shape \(12, 2\)"),
    "a dict": (dict(enumerate(Y)), r"y is \{0: .*\(of type dict\): pass one label for each row"),
    "a generator": ((k for k in Y), r"y is <generator .*\(of type generator\): pass one label"),
    "a sparse column": (scipy.sparse.csr_matrix(Y[:, None]), "y is a sparse matrix"),
    "arrays of two shapes": (
        [np.zeros((1, 2)), np.zeros((1, 3))] * 6,
        "y cannot be read as an array of numbers: pass one label for each row",
    ),
    "numbers that have no order": (
        [Fraction(1, 3), np.longdouble(0.5)] * 6,
        "y has labels that have no order: pass one label for each row",
    ),
}


@pytest.mark.parametrize("name", NOT_LABELS)
def test_what_is_not_two_labels_gets_a_sentence(name):
    y, sentence = NOT_LABELS[name]
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        mf.LogisticLoss(ARRAY, y)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 300


def test_a_frame_of_another_library_has_the_bits_of_its_arrays():
    found = mf.LogisticLoss(Plain(ARRAY), Y).batch_loss(THETAS)
    assert found.tobytes() == mf.LogisticLoss(ARRAY, Y).batch_loss(THETAS).tobytes()


def test_columns_without_a_frame_are_called_what_they_are():
    with pytest.raises(
        TypeError, match=r"X is \{'a': \[1, 2\]\} \(of type dict\): pass an array of "
    ):
        mf.LogisticLoss({"a": [1, 2]}, [0, 1])


def test_weights_of_classes_go_by_the_labels_where_these_are_others_than_0_and_1():
    named = mf.fit_many(ARRAY, np.where(Y, "yes", "no"), l2=0.1, class_weight={"yes": 3.0}).theta
    wanted = mf.fit_many(ARRAY, Y, l2=0.1, class_weight={1: 3.0}).theta
    assert named.tobytes() == wanted.tobytes()
    lesser = mf.fit_many(ARRAY, Y + 1, l2=0.1, class_weight={1: 3.0}).theta
    assert lesser.tobytes() == mf.fit_many(ARRAY, Y, l2=0.1, class_weight={0: 3.0}).theta.tobytes()
    with pytest.raises(ValueError, match="class_weight has the key 0, and y the labels 1 and 2: p"):
        mf.fit_many(ARRAY, Y + 1, l2=0.1, class_weight={0: 3.0})


@pytest.mark.skipif(np.longdouble == np.float64, reason="long doubles are doubles here")
def test_labels_in_extended_precision_are_the_floats_that_equal_them(tmp_path):
    X = RNG.normal(size=(30, 2))
    y = (np.arange(30) % 3).astype(np.longdouble)
    loss = mf.SoftmaxLoss(X, y).loss(np.ones(6))
    assert loss == mf.SoftmaxLoss(X, y.astype(int)).loss(np.ones(6))
    for labels in (y % 2, list(y % 2)):
        fits = mf.fit_many(X, labels, l2=0.1)
        assert fits.classes == [0.0, 1.0] and set(map(type, fits.classes)) == {float}
    fits.model().save(tmp_path / "model.json")
    assert mf.load_model(tmp_path / "model.json").classes == (0.0, 1.0)
    near = np.where(y == 1, np.longdouble(1) + np.finfo(np.longdouble).eps, 1)
    greater = mf.fit_many(X, near, l2=0.1).classes[1]
    assert greater > 1  # as no float that equals it


def test_merged_rows_keep_the_labels_as_they_were():
    rows = np.array([[1.0], [1.0], [2.0]])
    for y in (["no", "no", "yes"], [True, True, False], np.array([3, 3, 5], "u1")):
        _, labels, weights = merge_duplicates(rows, y)
        assert labels.tolist() == [y[0], y[2]] and weights.tolist() == [2.0, 1.0]
    assert labels.dtype == np.uint8


def test_weights_and_folds_may_be_columns_without_missing_values():
    weights, folds = np.arange(1.0, N + 1), np.arange(N) // 2 % 3
    given = {
        "sample_weight": pd.Series(weights, dtype="Float64"),
        "folds": pd.Series(folds, dtype="Int64"),
    }
    wanted = mf.fit_many(ARRAY, Y, l2=0.1, sample_weight=weights, folds=folds)
    for column in (given["folds"], pd.Series(folds, dtype="O"), folds.astype(float)):
        fits = mf.fit_many(ARRAY, Y, l2=0.1, **{**given, "folds": column})
        assert fits.theta.tobytes() == wanted.theta.tobytes()
    with pytest.raises(
        ValueError, match=r"folds holds the numbers 0\.5, 1\.5, 2\.5: pass an array"
    ):
        mf.fit_many(ARRAY, Y, l2=0.1, folds=folds + 0.5)
    with pytest.raises(ValueError, match=r"sample_weight is a frame of shape \(12, 1\): pass an "):
        mf.LogisticLoss(ARRAY, Y, pd.DataFrame({"w": weights}))
    with pytest.raises(ValueError, match="sample_weight has a missing value in row 0"):
        mf.LogisticLoss(ARRAY, Y, pl.Series([None, *weights[1:].tolist()]))


# ------------------------------------------------------------------------------------------ groups


def group_labels(groups):
    return mf.ConfusionCounts(ARRAY, Y, groups=groups).group_labels


def test_groups_that_differ_are_not_merged():
    large = [2**53, 2**53 + 1] * 6
    assert group_labels(large) == [2**53, 2**53 + 1]
    assert group_labels([2.0**53, 2**53 + 1] * 6) == [2**53, 2**53 + 1]
    assert group_labels([0.5, 2**53 + 1, 2**53] * 4) == [0.5, 2**53, 2**53 + 1]
    assert group_labels([2**63, -1] * 6) == [-1, 2**63]
    assert group_labels(pd.Series([2**53, 2**53 + 1] * 6, dtype="Int64")) == [2**53, 2**53 + 1]
    assert group_labels(["nan", "a"] * 6) == ["a", "nan"]
    assert group_labels(["a", "a\0"] * 6) == ["a", "a\0"]


def test_equal_numbers_are_one_group_however_they_are_written():
    assert group_labels([1, 1.0, 2, Decimal("2.0")] * 3) == [1, 2]


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([1, "1"] * 6, "groups has labels of two kinds, 1 .of type int. and '1' .of type str."),
        ([True, "True"] * 6, "groups has labels of two kinds"),
        ([1, True] * 6, "groups has labels of two kinds"),
        (np.array([1, "1"] * 6, object), "groups has labels of two kinds"),
        (["a", float("nan")] * 6, "groups has nan in row 1"),
        (["a", None] * 6, "groups has a missing value in row 1"),
        (pd.Series(["a", None] * 6), "groups has a missing value in row 1 .dtype str."),
        (pd.Series([1, None] * 6, dtype="Int64"), "groups has a missing value in row 1"),
        (pl.Series(["a", None] * 6), "groups has a missing value in row 1"),
        ([pd.NaT, "a"] * 6, "groups has a missing value in row 0"),
        ([("a",), "a"] * 6, "groups has .* in row 0: pass one number, string or bool"),
    ],
)
def test_groups_that_cannot_be_told_apart_are_refused(groups, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        group_labels(groups)
    assert str(caught.value).endswith(".")
