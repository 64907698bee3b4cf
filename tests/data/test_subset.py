"""Subsets of rows: the bits of an objective made of those rows, from what is packed already."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.data.subsets import permutation

WEIGHTS = {
    "none": lambda rng, n: None,
    "equal": lambda rng, n: np.full(n, 0.3),
    "few": lambda rng, n: rng.integers(0, 4, n) * 0.7,
    "all different": lambda rng, n: rng.random(n) * (rng.random(n) < 0.8),
}


def data(weights, n_samples=300, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) * rng.choice([1e-3, 1, 1e3], n_features)
    y = rng.random(n_samples) < 0.4
    w = WEIGHTS[weights](rng, n_samples)
    y[:4] = True, False, True, False
    if w is not None:
        w[:4] = w.max()
    return X, y, w


def chosen(w, rows):
    return None if w is None else w[rows]


def assert_same_objective(a, b):
    """Both have the same bits of everything."""
    thetas = np.random.default_rng(0).normal(size=(30, a.n_params))
    assert a.fingerprint == b.fingerprint
    assert a.batch_loss(thetas).tobytes() == b.batch_loss(thetas).tobytes()
    for one, other in zip(
        a.batch_loss_gradient(thetas), b.batch_loss_gradient(thetas), strict=True
    ):
        assert one.tobytes() == other.tobytes()
    assert a.lipschitz() == b.lipschitz()
    assert (a.n_samples, a.n_params, a.l2) == (b.n_samples, b.n_params, b.l2)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_subset_is_the_objective_of_its_rows_bit_for_bit(weights, fit_intercept, dtype):
    options = {"l2": 0.1, "fit_intercept": fit_intercept, "dtype": dtype}
    X, y, w = data(weights)
    rng = np.random.default_rng(1)
    whole = mf.LogisticLoss(X, y, w, **options)
    for rows in (
        np.arange(300),
        rng.permutation(300)[:111],
        np.r_[0:4, rng.integers(0, 300, 500)],  # rows more than once
        rng.random(300) < 0.7,
        [-300, -299, 7, 8],
    ):
        own = mf.LogisticLoss(X[rows], y[rows], chosen(w, rows), **options)
        assert_same_objective(whole.subset(rows), own)


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 1000),
    weights=st.sampled_from(sorted(WEIGHTS)),
    n_samples=st.integers(4, 200),
    n_features=st.integers(1, 20),
    count=st.integers(0, 250),
)
def test_subsets_of_all_shapes_are_the_objective_of_their_rows(
    seed, weights, n_samples, n_features, count
):
    X, y, w = data(weights, n_samples, n_features, seed)
    rows = np.r_[0:4, np.random.default_rng(seed).integers(0, n_samples, count)]
    own = mf.LogisticLoss(X[rows], y[rows], chosen(w, rows))
    assert_same_objective(mf.LogisticLoss(X, y, w).subset(rows), own)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_subset_of_a_subset_is_a_subset(weights, dtype):
    X, y, w = data(weights)
    whole = mf.LogisticLoss(X, y, w, dtype=dtype)
    first, second = np.r_[0:150], np.r_[0:4, 10:80:3]
    assert_same_objective(whole.subset(first).subset(second), whole.subset(first[second]))


def test_a_subset_of_a_copy_or_a_pickle_is_the_same():
    X, y, w = data("few")
    whole = mf.LogisticLoss(X, y, w)
    for other in (copy.copy(whole), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert_same_objective(other.subset(np.arange(50)), whole.subset(np.arange(50)))


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", ["few", "all different"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_weight_of_zero_is_the_row_removed_bit_for_bit(weights, fit_intercept, dtype):
    X, y, w = data(weights)
    options = {"l2": 0.1, "fit_intercept": fit_intercept, "dtype": dtype}
    X[w == 0] = 1e30  # of rows that are left out, nothing may be left
    zeros = mf.LogisticLoss(X, y, w, **options)
    removed = mf.LogisticLoss(X[w > 0], y[w > 0], w[w > 0], **options)
    theta = np.linspace(-1, 1, zeros.n_params)
    thetas = np.random.default_rng(0).normal(size=(40, zeros.n_params))
    assert zeros.loss(theta) == removed.loss(theta)
    assert zeros.gradient(theta).tobytes() == removed.gradient(theta).tobytes()
    for one, other in zip(
        zeros.batch_loss_gradient(thetas), removed.batch_loss_gradient(thetas), strict=True
    ):
        assert one.tobytes() == other.tobytes()
    for method_options in ({}, {"method": "lbfgs"}, {"method": "adam", "batch_size": 32}):
        runs = [
            mf.gradient_descent(o, thetas * 1e-3, max_iter=20, **method_options)
            for o in (zeros, removed)
        ]
        assert runs[0].theta.tobytes() == runs[1].theta.tobytes()
        assert runs[0].trace.tobytes() == runs[1].trace.tobytes()


def test_a_subset_takes_the_options_of_the_whole():
    X, y, _ = data("none")
    whole = mf.LogisticLoss(X, y, l2=0.3, fit_intercept=True, dtype="float32", n_threads=2)
    part = whole.subset(np.arange(20))
    assert (part.l2, part.fit_intercept, part.dtype, part.n_threads) == (0.3, True, "float32", 2)
    assert part.n_samples == 20
    assert whole.n_samples == 300


@pytest.mark.parametrize(
    "rows",
    [
        None,
        "0",
        3,
        [],
        [0.0, 1.0],
        [[0, 1]],
        [0, 300],
        [0, -301],
        [0, 2],  # of one class
        np.zeros(300, bool),
        np.ones(299, bool),
        np.ones(301, bool),
        [0, None],
        [0, 2**70],
    ],
    ids=repr,
)
def test_rows_that_are_none_are_refused(rows):
    X, y, _ = data("none")
    with pytest.raises((ValueError, TypeError), match=r"^[^\n]{5,400}: [^\n]*\.$"):
        mf.LogisticLoss(X, y).subset(rows)


def test_rows_of_weight_zero_alone_are_refused():
    objective = mf.LogisticLoss([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1], [1, 1, 0, 0])
    with pytest.raises(ValueError, match="at least one row of positive weight"):
        objective.subset([2, 3])


# ------------------------------------------------------------------------------------ mini-batches


@given(seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**64 - 1), n=st.integers(1, 2000))
def test_a_permutation_has_each_number_once(seed, epoch, n):
    assert sorted(permutation(seed, epoch, n)) == list(range(n))


KNOWN = [4, 2, 0, 6, 1, 5, 9, 8, 7, 3]


def test_permutations_are_the_same_on_every_machine():
    assert permutation(1, 2, 10).tolist() == KNOWN
    assert permutation(1, 3, 10).tolist() != KNOWN


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 100, 300])
def test_minibatches_are_subsets_of_the_permuted_rows(weights, batch_size, dtype):
    X, y, w = data(weights)
    objective = mf.LogisticLoss(X, y, w, l2=0.1, fit_intercept=True, dtype=dtype)
    kept = np.arange(300) if w is None else np.flatnonzero(w)
    kept = kept[permutation(5, 3, len(kept))]
    batches = objective.minibatches(batch_size, seed=5, epoch=3)
    assert len(batches) == math.ceil(len(kept) / batch_size)
    assert sum(batch.n_samples for batch in batches) == len(kept)
    theta = np.random.default_rng(0).normal(size=6) / [1, 1, 1e3, 1e3, 1e3, 1]
    for k, batch in enumerate(batches):
        rows = kept[k * batch_size : (k + 1) * batch_size]
        if len(set(y[rows])) == 2:
            own = objective.subset(rows)
            loss, gradient = own.loss_gradient(theta)
            found_loss, found = batch.loss_gradient(theta)
            tolerance = 1e-12 if dtype == "float64" else 1e-5
            assert found_loss == pytest.approx(loss, rel=tolerance)
            scale = np.abs(X[rows]).max(axis=0).tolist()
            np.testing.assert_array_less(
                np.abs(found - gradient), tolerance * (1 + np.array([*scale, 1.0]))
            )
            assert_same_objective(batch.subset(np.arange(len(rows))), own)
            assert batch.lipschitz() == pytest.approx(own.lipschitz(), rel=tolerance)


def test_every_row_is_in_one_minibatch_of_an_epoch():
    X, y, w = data("few")
    objective = mf.LogisticLoss(X, y, w)
    batches = objective.minibatches(37, seed=1)
    theta = np.full(5, 0.01)
    total = sum(batch._packed.total_weight for batch in batches)
    assert total == pytest.approx(w.sum() / w.max() * (objective._packed.block_weights.max()))
    mean = sum(batch.loss(theta) * batch._packed.total_weight for batch in batches) / total
    assert mean == pytest.approx(objective.loss(theta), rel=1e-10)


@pytest.mark.parametrize(
    ("batch_size", "seed", "epoch"),
    [(0, 0, 0), (301, 0, 0), (2.0, 0, 0), (True, 0, 0), (8, -1, 0), (8, 2**64, 0), (8, 0, -1)],
)
def test_minibatches_that_are_none_are_refused(batch_size, seed, epoch):
    X, y, _ = data("none")
    with pytest.raises((ValueError, TypeError), match=r": pass an integer"):
        mf.LogisticLoss(X, y).minibatches(batch_size, seed=seed, epoch=epoch)
