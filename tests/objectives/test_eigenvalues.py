"""Bounds of the largest eigenvalue of the second moment: against singular values of the rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.objectives import eigenvalues


def bound_and_truth(X, sample_weight=None, **options):
    """The objective's bound, and the largest eigenvalue from the rows' singular values."""
    objective = mf.LogisticLoss(X, np.arange(len(X)) % 2, sample_weight, **options)
    rows = X.astype(objective.dtype).astype(float)
    if objective.fit_intercept:
        rows = np.column_stack([rows, np.ones(len(X))])
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    roots = np.sqrt(weights / weights.sum())[:, None]
    return 4 * objective.lipschitz(), np.linalg.svd(rows * roots, compute_uv=False)[0] ** 2


@pytest.mark.long(everywhere=True)
@given(
    st.integers(2, 90),
    st.integers(1, 120),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "scales", "rank 2", "orthogonal", "equal rows"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float64", "float32"]),
)
def test_the_bound_is_at_most_one_percent_above_the_truth_and_never_below(
    n_samples, n_features, seed, kind, weighted, fit_intercept, dtype
):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    if kind == "scales":
        X *= 10.0 ** rng.uniform(-8, 8, n_features)
    elif kind == "rank 2":
        X = X[:, :2] @ rng.normal(size=(min(2, n_features), n_features))
    elif kind == "orthogonal":  # all eigenvalues are equal
        X = np.linalg.qr(X)[0] if n_samples > n_features else np.linalg.qr(X.T)[0].T
    elif kind == "equal rows":
        X[:] = X[0]
    # Of few digits: float32 rows have weights of float32.
    weights = rng.integers(1, 2**20, n_samples) / 2.0**10 if weighted else None
    bound, truth = bound_and_truth(X, weights, fit_intercept=fit_intercept, dtype=dtype)
    assert truth * (1 - 1e-13) <= bound <= 1.01 * truth


@pytest.mark.sanitized
@pytest.mark.parametrize("shape", [(700, 230), (90, 900), (300, 300)])
def test_the_bound_of_many_columns_is_looser_but_within_one_percent(shape):
    bound, truth = bound_and_truth(np.random.default_rng(0).normal(size=shape))
    assert truth * (1 - 1e-13) <= bound <= 1.01 * truth


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-150, 1e150, 1e300, 1.7e308])
def test_squares_out_of_range_neither_overflow_nor_vanish_before_the_bound_does(scale):
    X = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    X[0, 0] = 1
    bound = 4 * mf.LogisticLoss(X * scale, np.arange(len(X)) % 2).lipschitz()
    truth = bound_and_truth(X)[1]
    exact = truth * scale * scale if scale < 1e200 else math.inf
    # A quarter of the least floats is rounded.
    assert exact <= bound * (1 + 1e-13) + 4 * 5e-324
    assert bound <= exact * 1.01 + 16 * 5e-324


def test_what_is_large_but_in_other_rows_or_of_no_weight_hides_nothing():
    X, y = np.array([[1e200], [-2e200], [1e-100], [3e-100], [2e-100]]), [0, 1, 0, 1, 1]
    few = mf.LogisticLoss(X, y).subset([2, 3])
    assert 4 * few.lipschitz() == pytest.approx(5e-200, rel=1e-9, abs=0)
    batch = mf.LogisticLoss(X[2:], y[2:]).minibatches(3)[0]
    light = mf.LogisticLoss([[1e300], [1e-12], [0.0]], [0, 1, 1], [5e-324, 1.0, 1.0])
    assert 4 * batch.lipschitz() == pytest.approx(14e-200 / 3, rel=1e-9, abs=0)
    assert 4 * light.lipschitz() == pytest.approx(1e300 * (1e300 * 5e-324) / 2, rel=1e-9)
    hidden = [batch for batch in mf.LogisticLoss(X, y).minibatches(1) if batch.lipschitz() < 1]
    found = sorted(4 * batch.lipschitz() for batch in hidden)
    assert found == pytest.approx([1e-200, 4e-200, 9e-200], rel=1e-9, abs=0)


def test_rows_of_zeros_have_the_bound_zero():
    assert mf.LogisticLoss(np.zeros((4, 2)), [0, 1, 0, 1], l2=0.5).lipschitz() == 0.5


@pytest.mark.parametrize("shape", [(9000, 30), (40, 3000)])
def test_any_number_of_threads_gives_the_same_bits(shape):
    objective = mf.LogisticLoss(
        np.random.default_rng(1).normal(size=shape), np.arange(shape[0]) % 2
    )
    assert len({objective.with_threads(n).lipschitz() for n in (1, 2, 3, 8, None)}) == 1


@pytest.mark.sanitized
def test_what_limits_the_multiplicity_of_an_eigenvalue_keeps_the_bound():
    bound, exponent = eigenvalues._largest_eigenvalue(np.eye(400), 400, 1)
    assert 1 <= math.ldexp(bound, exponent) <= 1.01
