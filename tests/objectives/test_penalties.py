"""Penalties: their values, gradients and proximal steps, and who asks them."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import metaopt_fast as mf
from metaopt_fast.objectives.penalties import L2, Penalty, WeightsL2

STRENGTHS = np.array([0.0, 1e-3, 0.7, 40.0])


def models(seed=0, n_params=5):
    return np.random.default_rng(seed).normal(size=(len(STRENGTHS), n_params)) * 3


@pytest.mark.long(everywhere=True)
@given(
    thetas=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=1, max_size=3),
    strength=st.floats(0, 1e6),
    n_penalised=st.integers(1, 4),
)
def test_l2_is_half_the_squares_of_what_is_penalised(thetas, strength, n_penalised):
    penalty = L2(np.full(len(thetas), strength), n_penalised)
    values, gradients = penalty.value_gradient(np.array(thetas))
    for theta, value, gradient in zip(thetas, values, gradients, strict=True):
        squares = sum(Fraction(t) ** 2 for t in theta[:n_penalised])
        wanted = float(Fraction(strength) / 2 * squares)
        assert value == pytest.approx(wanted, rel=1e-14, abs=1e-300)
        slopes = [strength * t for t in theta[:n_penalised]] + [0.0] * (4 - n_penalised)
        assert gradient.tolist() == slopes


@pytest.mark.long(everywhere=True)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(allow_nan=False), min_size=2 * n + 3, max_size=2 * n + 3),
            min_size=1,
            max_size=3,
        )
    ),
    st.sampled_from([0.0, 5e-324, 1e-3, 0.7, 1e300]),
)
def test_what_is_added_to_losses_has_the_bits_of_values_and_gradients(thetas, strength):
    thetas = np.array(thetas)
    losses, gradients = np.full(len(thetas), -0.0), -thetas
    strengths, n = np.full(len(thetas), strength), thetas.shape[1]
    penalties = [L2(strengths, n - 1), L2(strengths[:1], n)]
    penalties.append(WeightsL2(strengths, (n - 5) // 2, 2))  # two units and one output
    for penalty in penalties:
        added, wanted = (losses.copy(), gradients.copy()), (losses.copy(), gradients.copy())
        with np.errstate(all="ignore"):
            penalty.add_to(*added, thetas, penalty.kept(n))
            Penalty.add_to(penalty, *wanted, thetas, penalty.kept(n))
        for ours, theirs in zip(added, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            known = ~np.isnan(theirs)
            np.testing.assert_array_equal(np.signbit(ours)[known], np.signbit(theirs)[known])


@pytest.mark.parametrize("n_penalised", [4, 5])
def test_a_single_strength_is_that_of_all_models(n_penalised):
    thetas = models()
    one, many = L2(np.array([0.7]), n_penalised), L2(np.full(len(thetas), 0.7), n_penalised)
    for ours, theirs in zip(one.value_gradient(thetas), many.value_gradient(thetas), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_each_class_has_its_penalised_parameters_and_its_intercept():
    thetas, steps = models(3, 15), np.array([0.1, 2.0, 0.5, 3.0])
    whole, one = L2(STRENGTHS, 4, 3), L2(STRENGTHS, 4)
    values, gradients = whole.value_gradient(thetas)
    of_classes = [one.value_gradient(thetas[:, k : k + 5]) for k in (0, 5, 10)]
    np.testing.assert_allclose(values, sum(value for value, _ in of_classes), rtol=1e-14)
    np.testing.assert_array_equal(gradients, np.hstack([slopes for _, slopes in of_classes]))
    found = np.hstack([one.proximal(thetas[:, k : k + 5], steps) for k in (0, 5, 10)])
    np.testing.assert_array_equal(whole.proximal(thetas, steps), found)
    assert whole.of(np.array([1])).n_classes == 3


def test_a_value_is_finite_if_it_is_in_the_range_though_its_double_is_not():
    value, gradient = L2(np.array([1e308]), 1).value_gradient(np.array([[1.5]]))
    assert value[0] == pytest.approx(1.125e308)
    assert gradient[0, 0] == pytest.approx(1.5e308)


def test_thetas_stay_as_they_are():
    thetas = models()
    before = thetas.copy()
    for n_penalised in (4, 5):
        penalty = L2(STRENGTHS, n_penalised)
        penalty.value_gradient(thetas)
        penalty.change(penalty, thetas)
        penalty.proximal(thetas, np.ones(1))
    np.testing.assert_array_equal(thetas, before)


@pytest.mark.parametrize("loss", [mf.LogisticLoss, mf.SquaredLoss])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_kernels_add_the_same_penalty(loss, fit_intercept):
    rng = np.random.default_rng(1)
    X, y, thetas = rng.normal(size=(40, 4)), np.arange(40) % 2, models(2, 4 + fit_intercept)
    free = loss(X, y, fit_intercept=fit_intercept)
    for strength in STRENGTHS.tolist():
        penalised = loss(X, y, l2=strength, fit_intercept=fit_intercept)
        more, slopes = L2(np.array([strength]), 4).value_gradient(thetas)
        losses, gradients = penalised.batch_loss_gradient(thetas)
        np.testing.assert_allclose(losses, free.batch_loss(thetas) + more, rtol=1e-14)
        wanted = free.batch_loss_gradient(thetas)[1] + slopes
        np.testing.assert_allclose(gradients, wanted, rtol=1e-13, atol=1e-15)


def test_a_change_of_strength_is_the_difference_of_two_penalties():
    thetas, penalty = models(), L2(STRENGTHS, 4)
    other = penalty.of(np.array([2, 0, 3, 3]))
    assert other.strengths.tolist() == STRENGTHS[[2, 0, 3, 3]].tolist()
    more, slopes = penalty.change(other, thetas)
    values, gradients = penalty.value_gradient(thetas)
    theirs, their_gradients = other.value_gradient(thetas)
    np.testing.assert_allclose(values + more, theirs, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(gradients + slopes, their_gradients, rtol=1e-13, atol=1e-12)


def test_a_proximal_step_is_a_minimum_and_leaves_intercepts_alone():
    thetas, steps = models(), np.array([0.1, 2.0, 0.5, 3.0])
    found = L2(STRENGTHS, 4).proximal(thetas, steps)
    np.testing.assert_array_equal(found[:, 4], thetas[:, 4])
    for k, j in np.ndindex(len(thetas), 4):
        wanted = minimize_scalar(
            lambda u, k=k, j=j: STRENGTHS[k] / 2 * u**2 + (u - thetas[k, j]) ** 2 / (2 * steps[k])
        ).x
        assert found[k, j] == pytest.approx(wanted, abs=1e-6)


def test_a_proximal_step_of_one_length_is_that_of_all_models():
    thetas, penalty = models(), L2(STRENGTHS, 5)
    one, many = (penalty.proximal(thetas, np.full(n, 0.3)) for n in (1, len(thetas)))
    np.testing.assert_array_equal(one, many)


def test_fingerprints_say_the_strength_in_all_its_digits():
    assert L2(np.array([0.1]), 3).text == "0.1"
    losses = [mf.LogisticLoss([[1.0], [2.0]], [0, 1], l2=l2) for l2 in (0.1, 0.1 + 2**-56, 0.0)]
    assert len({loss.fingerprint for loss in losses}) == 3


def test_the_fingerprint_of_a_loss_is_that_of_the_first_release():
    objective = mf.SquaredHingeLoss([[1.0], [2.0]], [0, 1], l2=1e-5, fit_intercept=True)
    digest = hashlib.sha256(objective._packed.digest())
    digest.update(b"('SquaredHingeLoss', 1e-05, True, 'float64')")
    assert objective.fingerprint == digest.hexdigest()
