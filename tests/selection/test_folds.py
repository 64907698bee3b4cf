"""Folds that are drawn, and splits that the caller gives, read as scikit-learn reads them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from metaopt_fast.selection.folds import (
    check_splits,
    partitions,
    stratified_folds,
    stratified_holdout,
)
from metaopt_fast.sklearn import LogisticRegressionSearchCV


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = X[:, 0] + rng.normal(size=120) > 0.4
    y[:2] = False, True
    return X, y


ROWS = np.arange(120)
FIRST = ROWS < 90
GIVEN_SPLITS = {
    "counted from the end": (ROWS[:90], ROWS[90:] - 120),
    "masks": (FIRST, ~FIRST),
    "lists of truth values": (FIRST.tolist(), (~FIRST).tolist()),
    "nullable masks": (pd.Series(FIRST, dtype="boolean"), pd.Series(~FIRST, dtype="boolean")),
    "a series with labels of its own": (pd.Series(ROWS[:90], index=ROWS[:90] + 7), ROWS[90:]),
    "ranges": (range(90), range(90, 120)),
    "small integers": (ROWS[:90].astype(np.uint8), ROWS[90:].astype(np.int8)),
    "rows more than once": (np.tile(ROWS[:90], 2), [100, 100, 119, 95]),
    "rows on both sides": (ROWS, ROWS),
    "zeros and ones, which are rows": ([0, 1] * 30, [1, 0, 0, 1, 1]),
}


@pytest.mark.parametrize("split", GIVEN_SPLITS.values(), ids=GIVEN_SPLITS)
def test_splits_are_read_as_scikit_learn_reads_them(noisy, split):
    X, y = noisy
    options = {"cv": [split], "scoring": "accuracy"}
    theirs = GridSearchCV(
        LogisticRegression(solver="newton-cholesky", tol=1e-10), {"C": [1.0]}, **options
    )
    ours = LogisticRegressionSearchCV(candidates={"C": [1.0]}, **options).fit(X, y)
    assert ours.best_score_ == theirs.fit(X, y).best_score_


@pytest.mark.parametrize(
    "split, message",
    [
        ((FIRST[:50], ~FIRST), "train of split 1 of cv is a mask of 50 rows"),
        ((FIRST, ~FIRST[:119]), "test of split 1 of cv is a mask of 119 rows"),
        ((ROWS[:90], ROWS[90:] + 0.9), "test of split 1 of cv is an array .* dtype float64"),
        (
            (ROWS[:90].astype(float), ROWS[90:]),
            "train of split 1 of cv is an array .* dtype float64",
        ),
        (
            (np.append(ROWS[:90], np.nan), ROWS[90:]),
            "train of split 1 of cv is an array .* float64",
        ),
        ((ROWS[:90], ROWS[91:] + 1), "test of split 1 of cv has row 120 of 120"),
        ((ROWS - 121, ROWS[90:]), "train of split 1 of cv has row -121 of 120"),
        ((slice(0, 90), slice(90, 120)), r"train of split 1 of cv is slice\(0, 90, None\)"),
        ((["r0", "r1"], ["r2"]), r"train of split 1 of cv is \['r0', 'r1'\]"),
        ((ROWS[:90], ROWS[90:, None]), r"test of split 1 of cv is an array of shape \(30, 1\)"),
        ((ROWS[:90], [[90], [91, 92]]), r"test of split 1 of cv is \[\[90\], \[91, 92\]\]"),
        ((ROWS[:90], 95), "test of split 1 of cv is 95"),
        ((ROWS[:90], None), "test of split 1 of cv is None"),
        ((ROWS[:90], [2**70]), r"test of split 1 of cv is \[1180591620717411303424\]"),
        ((ROWS[:90], []), "test of split 1 of cv has no row"),
        ((np.zeros(120, bool), ROWS[90:]), "train of split 1 of cv has no row"),
    ],
    ids=lambda value: "-" if isinstance(value, tuple) else value,
)
def test_rows_that_are_none_are_refused_by_their_split(noisy, split, message):
    X, y = noisy
    search = LogisticRegressionSearchCV(1, cv=[(ROWS[:90], ROWS[90:]), split])
    wanted = "numbers of rows, from -120 to 119, or a mask of 120 rows"
    with pytest.raises(ValueError, match=f"^{message}.*: pass {wanted}[.]$"):
        search.fit(X, y)


@pytest.mark.parametrize("split", [(ROWS, ROWS, ROWS), (ROWS,), 5, None], ids=[3, 1, 5, None])
def test_a_split_that_is_no_pair_is_refused(noisy, split):
    X, y = noisy
    with pytest.raises(
        ValueError, match=r"^cv has .* as split 0: pass pairs \(train, test\) of rows\.$"
    ):
        LogisticRegressionSearchCV(1, cv=[split]).fit(X, y)


@given(
    dtype=st.sampled_from([np.int8, np.uint8, np.int64, np.uint64, np.bool_, np.float64, object]),
    rows=st.lists(st.integers(-12, 12), max_size=12),
)
def test_rows_are_those_that_numpy_takes(dtype, rows):
    with np.errstate(all="ignore"):
        part = np.array(rows).astype(dtype)
    of_numpy = part if dtype is not object else part.astype(np.intp)
    try:
        wanted = np.arange(10)[of_numpy]
    except IndexError:
        wanted = []
    if len(wanted):
        assert check_splits([(part, [0])], 10)[0][0].tolist() == wanted.tolist()
    else:
        with pytest.raises(ValueError, match=r"^train of split 0 of cv "):
            check_splits([(part, [0])], 10)


def test_runs_of_splits_are_partitions_of_the_rows():
    folds = [
        (np.flatnonzero(np.arange(6) % 3 != k), np.flatnonzero(np.arange(6) % 3 == k))
        for k in range(3)
    ]
    found = [
        (run.start, run.stop, part is not None)
        for run, part in partitions(folds * 2 + folds[:2], 6)
    ]
    assert found == [(0, 3, True), (3, 6, True), (6, 7, False), (7, 8, False)]
    twice = [(np.array([0, 1]), np.array([2, 2])), (np.array([2]), np.array([0, 1]))]
    assert [part for _, part in partitions(twice, 3)] == [None, None]


@pytest.mark.parametrize("n_folds", [2, 5, 7])
def test_folds_are_stratified_and_in_random_order(n_folds):
    y = np.arange(200) < 57
    folds = stratified_folds(y, n_folds, seed=0)
    for rows in (folds, folds[y], folds[~y]):
        assert np.ptp(np.bincount(rows, minlength=n_folds)) <= 1
    assert (folds != stratified_folds(y, n_folds, seed=1)).any()
    assert (folds == stratified_folds(y, n_folds, seed=0)).all()
    assert (np.diff(folds) != 1).any()


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_each_class_keeps_a_row_on_either_side_of_a_holdout_or_cannot(part):
    y = np.array([1, 0, 1, 1, 0])
    train, held_out = stratified_holdout(y, part, 0)
    assert sorted([*train, *held_out]) == list(range(5))
    assert set(y[train]) == set(y[held_out]) == {0, 1}
    with pytest.raises(ValueError, match="a class has one row, and none can be held out: pass"):
        stratified_holdout(np.array([1, 0, 1, 1]), part, 0)
