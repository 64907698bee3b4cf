"""What objectives decide of rows, their own or others: x . theta, with the intercept."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import metaopt_fast as mf

NUMBERS = st.floats(-1e6, 1e6, width=32)
Y = [0, 1, 1, 0, 1]
ROWS = np.random.default_rng(0).normal(size=(5, 3))


def objectives(X, y, **options):
    counts = mf.ConfusionCounts(X, y, **options)
    return [
        mf.LogisticLoss(X, y, **options),
        mf.AUCObjective(X, y, **options),
        counts,
        mf.CountObjective(counts),
    ]


@pytest.mark.long(everywhere=True)
@given(
    X=npst.arrays(np.float64, (5, 3), elements=NUMBERS),
    others=npst.arrays(np.float64, (2, 3), elements=NUMBERS),
    theta=npst.arrays(np.float64, 4, elements=NUMBERS),
    fit_intercept=st.booleans(),
)
def test_decisions_are_sums_of_products_and_the_intercept(X, others, theta, fit_intercept):
    theta = theta if fit_intercept else theta[:3]
    for rows in (X, others):
        parts = [
            [Fraction(a) * Fraction(b) for a, b in zip([*row, 1.0], theta.tolist(), strict=False)]
            for row in rows.tolist()
        ]
        sizes = np.array([float(sum(map(abs, part))) for part in parts])
        exact = np.array([float(sum(part)) for part in parts])
        found = mf.LogisticLoss(X, Y, fit_intercept=fit_intercept).decisions(theta, rows)
        assert found.shape == (len(rows),)
        assert (np.abs(found - exact) <= 4 * np.finfo(float).eps * sizes).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_objectives_decide_alike_in_double_precision(dtype):
    theta = np.random.default_rng(1).normal(size=4)
    first, *others = (
        objective.decisions(theta, ROWS)
        for objective in objectives(ROWS, Y, fit_intercept=True, dtype=dtype)
    )
    np.testing.assert_allclose(first, ROWS @ theta[:3] + theta[3], rtol=1e-14, atol=1e-15)
    for found in others:
        np.testing.assert_array_equal(found, first)


def test_products_beyond_the_range_of_floats_decide_right():
    X = np.array([[1e200, 1e200], [1e200, -1e200], [-1e200, -1e200]])
    objective = mf.LogisticLoss(X, [1, 1, 0], fit_intercept=True)
    found = objective.decisions([2e200, 1e200, 1.0], X)
    assert not np.isnan(found).any()
    assert (found > 0).tolist() == [True, True, False]


def test_positive_decisions_are_those_that_are_counted():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    counts = mf.ConfusionCounts(X, y, fit_intercept=True)
    for theta in rng.normal(size=(20, 4)):
        chosen = counts.decisions(theta, X) > 0
        cells = [chosen & (y == 1), chosen & (y == 0), ~chosen & (y == 1), ~chosen & (y == 0)]
        assert counts.counts(theta)[0, 0].tolist() == [cell.sum() for cell in cells]


@pytest.mark.parametrize(
    "theta, X, message",
    [
        ([1.0, 2.0], ROWS, r"^theta has 2 entries, but the objective has 3 parameters"),
        ([1.0, np.nan, 2.0], ROWS, r"^theta 0 has nan as entry 1, which is not finite"),
        (
            np.ones(3),
            ROWS[:, :2],
            r"^X has 2 columns, .* 3 features: pass X of shape \(n_rows, 3\)",
        ),
        (np.ones(3), ROWS[0], r"^X has shape \(3,\): pass an array of shape \(n_rows, 3\)"),
        (
            np.ones(3),
            [[1.0, 2.0, np.inf]],
            r"^X has inf in row 0, column 2: pass finite numbers\.$",
        ),
    ],
)
def test_what_is_no_theta_or_no_rows_is_refused_in_a_sentence(theta, X, message):
    for objective in objectives(ROWS, Y):
        with pytest.raises(ValueError, match=message):
            objective.decisions(theta, X)
