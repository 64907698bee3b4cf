"""Models of rows that lie in files of a folder: the bits of those of rows in memory."""

import os

import numpy as np
import pytest

import metaopt_fast as mf

RNG = np.random.default_rng(2)
N = 400
X = RNG.normal(size=(N, 6)) * [1, 2, 0.1, 1, 3, 1]
Z = (X * [1, -1, 2, 0, 0.3, 0]).sum(axis=1) + RNG.normal(size=N)
FOLDS = np.arange(N) % 3
WEIGHTS = RNG.integers(0, 4, N) / 3
L2 = {"l2": [1e-3, 1e-1]}
CASES = {
    "two classes": (X, Z > 0, {**L2, "folds": FOLDS}),
    "weights": (X, Z > 0, {**L2, "sample_weight": WEIGHTS, "class_weight": "balanced"}),
    "far from 0": (X + np.array([0, 1e4, 0, 0, -1e6, 0]), Z > 0, {**L2, "folds": FOLDS}),
    "beyond squares": (X * 1e160, Z > 0, {"l2": [1e300, 1e305]}),
    "more columns than rows": (np.tile(X[:30], 10), Z[:30] > 0, L2),
    "three classes": (X, np.digitize(Z, [-1, 1]), {**L2, "folds": FOLDS}),
    "squared hinge": (X, Z > 0, {**L2, "folds": FOLDS, "loss": "squared_hinge"}),
    "l1": (X, Z > 0, {"l2": 0.0, "l1": [0.1, 0.01], "folds": FOLDS}),
    "elastic net, far from 0": (X + 1e4, Z > 0, {"l2": 1e-3, "l1": [0.1, 0.0]}),
    "whole numbers": ((10 * X).astype(np.int16), Z > 0, {"l2": np.ldexp(1.0, -np.arange(40))}),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("case", CASES)
def test_fits_of_rows_in_files_have_the_bits_of_those_in_memory(memory, case):
    rows, y, options = CASES[case]
    wanted, found = (mf.fit_many(rows, y, **options, storage=folder) for folder in (None, memory))
    for name in ("theta", "loss", "gap_bound", "n_iter", "validation_loss", "status"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    assert os.listdir(memory) == []


def test_fits_of_batches_are_those_of_all_rows(memory):
    batches = ((X[some], Z[some] > 0, WEIGHTS[some]) for some in np.split(np.arange(N), [10, 250]))
    rows = mf.collect_batches(batches, storage=memory)
    found = mf.fit_many(
        rows.X, rows.y, sample_weight=rows.sample_weight, **L2, folds=FOLDS, storage=memory
    )
    wanted = mf.fit_many(X, Z > 0, sample_weight=WEIGHTS, **L2, folds=FOLDS)
    np.testing.assert_array_equal(found.theta, wanted.theta)
    assert found.classes == wanted.classes == [False, True]
