"""Columns of mean 0 and standard deviation 1."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.data.standardize import measure
from metaopt_fast.data.standardize import standardize_in_place as standardize

X = np.random.default_rng(0).normal(size=(7, 3))


def test_standardized_columns_have_mean_0_and_standard_deviation_1():
    rows = X * [1, 1e3, 1e-3] + [0, 5, 1e3]
    original = rows.copy()
    mean, scale = standardize(rows)
    np.testing.assert_allclose(mean, original.mean(axis=0))
    np.testing.assert_allclose(scale, original.std(axis=0))
    np.testing.assert_allclose(rows, (original - mean) / scale, rtol=1e-9)


@pytest.mark.long(everywhere=True)
@given(
    level=st.floats(allow_nan=False, allow_infinity=False),
    steps=st.lists(st.integers(0, 5), min_size=2, max_size=40).filter(lambda k: len(set(k)) > 1),
)
def test_a_column_that_varies_in_its_last_digits_is_standardized_exactly(level, steps):
    values = [level]
    for _ in range(5):
        values.append(float(np.nextafter(values[-1], 0.0 if level else 1.0)))
    rows = np.array([values[k] for k in steps]).reshape(-1, 1)
    numbers = [Fraction(value) for value in rows[:, 0].tolist()]
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    standardize(rows)
    if variance == 0:
        assert not rows.any()
        return
    with mpmath.workdps(50):
        deviation = mpmath.sqrt(mpmath.mpf(variance.numerator) / variance.denominator)
        wanted = [
            float(mpmath.mpf((k - mean).numerator) / (k - mean).denominator / deviation)
            for k in numbers
        ]
    np.testing.assert_allclose(rows[:, 0], wanted, rtol=0, atol=1e-12)
    assert abs(math.fsum(rows[:, 0])) / len(rows) < 1e-12
    assert abs(math.sqrt(math.fsum(rows[:, 0] ** 2) / len(rows)) - 1) < 1e-12


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 5e-324, 1.7e308])
def test_a_constant_column_becomes_zero(value):
    rows = np.full((10, 1), value)
    mean, scale = standardize(rows)
    assert not rows.any()
    assert (mean[0], scale[0]) == (value, 1.0)


@pytest.mark.parametrize("factor", [2.0**1000, 2.0**-1000])
def test_columns_of_any_size_are_standardized_alike(factor):
    plain, scaled = X.copy(), X * factor
    standardize(plain)
    standardize(scaled)
    assert plain.tobytes() == scaled.tobytes()


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**1000])
def test_weights_of_any_size_standardize_alike(factor):
    rows, weights = np.array([[1.0, 4.0], [2.0, -1.0], [5.0, 0.5]]), np.array([1.0, 2.5, 7.0])
    of_any, of_few = (measure(rows, sized) for sized in (factor * weights, weights))
    for one, other in zip(of_any, of_few, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_order_of_memory_does_not_change_a_bit():
    plain, other = X.copy(), np.asfortranarray(X)
    standardize(plain)
    standardize(other)
    np.testing.assert_array_equal(plain, other)


def test_the_repr_of_what_was_standardized_is_a_line():
    found = mf.standardize(np.arange(6000.0).reshape(2000, 3))
    assert repr(found) == "Standardized(X of 2,000 rows and 3 columns, mean, scale)"
