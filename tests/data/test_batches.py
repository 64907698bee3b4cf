"""Rows that come batch by batch: the bits of the same rows at once, and batches that are none."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf

RNG = np.random.default_rng(1)
X = RNG.integers(-9, 10, (200, 4))
Y = RNG.integers(0, 2, 200)
WEIGHTS = RNG.integers(0, 4, 200) / 3


@pytest.fixture(params=["in memory", "in files"])
def folder(request, memory):
    return None if request.param == "in memory" else memory


def cut(cuts, dtypes=("f8",), weights=WEIGHTS):
    """Batches of the rows, one after the other, of dtypes in turn."""
    parts = np.split(np.arange(len(X)), sorted(cuts))
    for i, part in enumerate(parts):
        yield X[part].astype(dtypes[i % len(dtypes)]), Y[part], weights[part]


@pytest.mark.sanitized
@pytest.mark.long
@given(
    in_files=st.booleans(),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    dtypes=st.lists(
        st.sampled_from(["f8", "f4", "f2", "i1", "u1", "i8", ">i4"]), min_size=1, max_size=4
    ),
)
def test_batches_of_any_sizes_and_dtypes_are_the_rows_at_once(memory, in_files, cuts, dtypes):
    folder = memory if in_files else None
    wanted = np.concatenate([rows for rows, *_ in cut(cuts, dtypes) if len(rows)])
    rows = mf.collect_batches(cut(cuts, dtypes), storage=folder)
    assert rows.X.dtype == wanted.dtype.newbyteorder("=")
    np.testing.assert_array_equal(rows.X, wanted)
    np.testing.assert_array_equal(rows.y, Y)
    np.testing.assert_array_equal(rows.sample_weight, WEIGHTS)
    one, other = (
        mf.LogisticLoss(wanted, Y, WEIGHTS, l2=0.1),
        mf.LogisticLoss.from_batches(cut(cuts, dtypes), l2=0.1, storage=folder),
    )
    assert one.fingerprint == other.fingerprint
    assert one.loss(np.ones(4)) == other.loss(np.ones(4))
    assert os.listdir(memory) == []


def test_batches_of_more_classes_make_a_softmax_loss(folder):
    y = np.arange(200) % 5
    batches = ((X[some], y[some]) for some in np.split(np.arange(200), [3, 4, 90]))
    found = mf.SoftmaxLoss.from_batches(batches, storage=folder, fit_intercept=True)
    assert found.fingerprint == mf.SoftmaxLoss(X, y, fit_intercept=True).fingerprint


@pytest.mark.parametrize(
    "labels",
    [
        [["b", "b"], ["a"], ["c", "a"]],
        [[True, True], [False], [True, False]],
        [[3, 3], [-1], [300, 2**40]],
        [[2.5, 0.0], [1], [2.5, 1.0]],
        [[2**70, 1], [1], [2**70, 1]],
    ],
    ids=["text", "truth values", "integers", "numbers", "large integers"],
)
def test_labels_of_all_batches_are_one_set(folder, labels):
    batches = ((np.ones((len(some), 1)), some) for some in labels)
    found = mf.collect_batches(batches, storage=folder).y
    assert found.tolist() == [label for some in labels for label in some]


def frames_of(kind):
    rows = [X[:70], X[70:70], X[70:]]
    if kind == "pandas":
        pandas = pytest.importorskip("pandas")
        return [pandas.DataFrame(some, columns=list("abcd")) for some in rows]
    if kind == "polars":
        polars = pytest.importorskip("polars")
        return [polars.DataFrame(some, schema=list("abcd")) for some in rows]
    pyarrow = pytest.importorskip("pyarrow")
    return [pyarrow.RecordBatch.from_arrays(list(some.T), names=list("abcd")) for some in rows]


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_frames_and_record_batches_are_batches(folder, kind):
    frames = frames_of(kind)
    y = [Y[:70], Y[70:70], Y[70:]]
    objective = mf.LogisticLoss.from_batches(zip(frames, y, strict=True), storage=folder)
    assert objective.fingerprint == mf.LogisticLoss(X, Y).fingerprint


def test_columns_that_change_their_places_are_refused():
    pandas = pytest.importorskip("pandas")
    batches = [(pandas.DataFrame(X, columns=list(names)), Y) for names in ("abcd", "abdc")]
    with pytest.raises(ValueError, match=r"batch 1 has 'd' as column 2, but .* batch 0 has 'c'"):
        mf.collect_batches(batches)


GOOD = (X, Y)


@pytest.mark.parametrize(
    ("batches", "kind", "words"),
    [
        (None, TypeError, "batches is None: pass an iterable of tuples"),
        ("abc", TypeError, "batches is 'abc'"),
        ([GOOD, X], TypeError, "batches has an array of shape .* as batch 1: pass"),
        ([GOOD, (X,)], TypeError, "as batch 1: pass an iterable of tuples"),
        ([], ValueError, "batches has no rows: pass at least one batch"),
        ([(X[:0], Y[:0])] * 2, ValueError, "batches has no rows"),
        (
            [GOOD, (X[:, :3], Y)],
            ValueError,
            "batch 1 has 3 columns, but that of batch 0 has 4",
        ),
        ([(X[:, :0], Y)], ValueError, "X of batch 0 has no columns"),
        ([GOOD, (X, Y[1:])], ValueError, "y of batch 1 has 199 entries, but X has 200 rows"),
        ([GOOD, (X, Y, WEIGHTS)], ValueError, "sample_weight is in batch 1, but not in batch 0"),
        ([(*GOOD, WEIGHTS), GOOD], ValueError, "sample_weight is in batch 0, but not in batch 1"),
        ([(*GOOD, [1.0])], ValueError, "sample_weight of batch 0 has 1 entries, but X has 200"),
        ([GOOD, (X.astype(str), Y)], TypeError, "X of batch 1 has dtype"),
        ([GOOD, (X, [np.inf] * 200)], ValueError, "y of batch 1 has inf in row 0"),
        ([GOOD, (X, ["a"] * 200)], TypeError, "y has labels of two kinds"),
        ([(X, Y.astype(bool)), GOOD], TypeError, "y has labels of two kinds"),
    ],
)
def test_what_is_no_batch_is_refused_by_its_number(folder, batches, kind, words):
    with pytest.raises(kind, match=words):
        mf.collect_batches(batches, storage=folder)


def test_numbers_that_are_not_finite_are_refused_as_those_of_rows_at_once(folder):
    rows = X.astype(float)
    rows[150, 2] = np.nan
    batches = ((rows[some], Y[some]) for some in np.split(np.arange(200), [70, 140]))
    with pytest.raises(ValueError, match="X has nan in row 150, column 2: pass finite numbers"):
        mf.LogisticLoss.from_batches(batches, storage=folder)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_of_the_batches_is_theirs_and_leaves_nothing(memory, error):
    def batches():
        yield GOOD
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        mf.LogisticLoss.from_batches(batches(), storage=memory)
    assert os.listdir(memory) == []
    assert not any(
        os.path.realpath(f"/proc/self/fd/{name}").startswith(str(memory))
        for name in os.listdir("/proc/self/fd")
    )
