"""Duplicate rows merged: the same objective of fewer rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused

import metaopt_fast as mf


def data(n_samples, n_features, seed, values=2):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, values, (n_samples, n_features)) * 0.7 - 0.3
    y = np.arange(n_samples) % 2
    return X, y, rng


def assert_same(X, y, weights, **options):
    """Merged and unmerged, the loss and the gradient are the same."""
    plain = mf.LogisticLoss(X, y, weights, **options)
    merged = mf.LogisticLoss(X, y, weights, merge_duplicates=True, **options)
    rng = np.random.default_rng(9)
    for theta in rng.normal(scale=3, size=(5, plain.n_params)):
        loss, gradient = plain.loss_gradient(theta)
        merged_loss, merged_gradient = merged.loss_gradient(theta)
        assert math.isclose(merged_loss, loss, rel_tol=1e-14)
        # The sums that cancel in a gradient are of about this size.
        np.testing.assert_allclose(merged_gradient, gradient, rtol=1e-13, atol=1e-14)
    return merged


@pytest.mark.long(everywhere=True)
@given(
    n_samples=st.integers(2, 300),
    n_features=st.integers(1, 4),
    seed=st.integers(0, 1000),
    weighted=st.sampled_from(["no", "few", "distinct"]),
    l2=st.sampled_from([0.0, 0.1]),
    fit_intercept=st.booleans(),
)
def test_loss_and_gradient_are_those_of_all_rows(
    n_samples, n_features, seed, weighted, l2, fit_intercept
):
    X, y, rng = data(n_samples, n_features, seed)
    few = rng.integers(0, 3, n_samples) + (np.arange(n_samples) < 2)
    weights = {"no": None, "few": few, "distinct": rng.random(n_samples)}[weighted]
    merged = assert_same(X, y, weights, l2=l2, fit_intercept=fit_intercept)
    assert merged.n_samples == len(np.unique(np.column_stack([X, y]), axis=0))


def test_all_rows_equal_become_one_for_each_label():
    X, y = np.ones((1000, 3)), np.arange(1000) % 4 == 0
    merged = assert_same(X, y, None)
    assert merged.n_samples == 2
    assert mf.merge_duplicates(X, y)[2].tolist() == [250, 750]


def test_rows_that_all_differ_stay_as_they_are():
    X = np.random.default_rng(0).normal(size=(9000, 2))  # more than one chunk
    y = X[:, 0] > 0
    rows, labels, weights = mf.merge_duplicates(X, y)
    assert (rows == X).all() and (labels == y).all() and (weights == 1).all()
    assert mf.LogisticLoss(X, y, merge_duplicates=True).loss([1, 2]) == mf.LogisticLoss(X, y).loss(
        [1, 2]
    )


def test_rows_come_in_the_order_of_first_appearance():
    X = [[3, 1], [0, 2], [3, 1], [0, 2], [3, 1]]
    rows, labels, weights = mf.merge_duplicates(X, [1, -1, 1, 1, -1], [1, 2, 3, 4, 5])
    assert rows.tolist() == [[3, 1], [0, 2], [0, 2], [3, 1]]
    assert labels.tolist() == [1, -1, 1, -1]
    assert weights.tolist() == [4, 2, 4, 5]


def test_equal_rows_are_found_however_far_apart():
    X = np.arange(10_000.0)[:, None]
    rows, _, weights = mf.merge_duplicates(np.r_[X, X], np.r_[X[:, 0] > 5, X[:, 0] > 5])
    assert (rows == X).all() and (weights == 2).all()


def test_minus_zero_is_zero_and_the_next_float_is_another():
    X = [[0.0], [-0.0], [1.0], [np.nextafter(1.0, 2)], [5e-324], [-5e-324]]
    rows, _, weights = mf.merge_duplicates(X, [0, 0, 1, 1, 1, 1])
    assert len(rows) == 5 and weights.tolist() == [2, 1, 1, 1, 1]


def test_sums_of_weights_are_exact():
    weights = [1.0, 1e100, 1.0, 1.0] + [0.1] * 10
    X, y = [[0]] * 3 + [[1]] * 11, [0] * 4 + [1] * 10
    assert mf.merge_duplicates(X, y, weights)[2].tolist() == [1e100, 1.0, 1.0]


def test_rows_of_weight_0_add_nothing_and_vanish_from_the_loss():
    X, y = [[1.0], [1.0], [2.0], [2.0], [-1.0]], [1, 1, 0, 0, 1]
    assert mf.merge_duplicates(X, y, [0, 3, 0, 0, 1])[2].tolist() == [3, 0, 1]
    assert_same(X, y, [0, 3, 0, 0, 1])


def test_data_frames_and_integers_are_merged_too():
    import pandas

    frame = pandas.DataFrame({"a": [1, 1, 2], "b": [0.5, 0.5, 1]})
    rows, labels, weights = mf.merge_duplicates(frame, pandas.Series([1, 1, 0]))
    assert rows.tolist() == [[1, 0.5], [2, 1]]
    assert (labels.tolist(), weights.tolist()) == ([1, 0], [2, 1])
    assert mf.merge_duplicates(np.int8([[1], [1], [2]]), [1, 1, 0])[0].dtype == np.int8


def test_subsets_and_searches_are_of_the_merged_rows():
    X, y, _ = data(400, 3, 0)
    merged = mf.LogisticLoss(X, y, merge_duplicates=True)
    assert merged.subset(np.arange(merged.n_samples)).loss([1, 2, 3]) == merged.loss([1, 2, 3])
    result = mf.random_search(merged, mf.Integers(), 2000)
    plain = mf.random_search(mf.LogisticLoss(X, y), mf.Integers(), 2000)
    assert result.index == plain.index
    assert result.config["n_samples"] == merged.n_samples


@pytest.mark.parametrize(
    "arguments",
    [
        ([[np.nan], [1]], [0, 1]),
        ([[np.inf], [1]], [0, 1]),
        ([1, 2], [0, 1]),
        ([[1], [1]], [0, 0]),
        ([[1], [1]], [0, 1, 1]),
        ([[1], [1]], [0, 1], [1, -1]),
        ([[1], [1]], [0, 1], [1, np.nan]),
        ([[1], [1], [1]], [0, 1, 1], [1, 1e308, 1e308]),
        ([["a"], ["b"]], [0, 1]),
    ],
    ids=repr,
)
def test_bad_data_is_refused_in_a_sentence(arguments):
    assert_refused(mf.merge_duplicates, *arguments)


@pytest.mark.parametrize("flag", [1, "yes", None])
def test_the_option_is_true_or_false(flag):
    assert_refused(mf.LogisticLoss, [[1], [2]], [0, 1], merge_duplicates=flag)
