"""The reference against values computed by hand, by exact arithmetic, and by others."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from metaopt_fast import reference

X = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25], [-2.0, 1.5]])
Y = np.array([1, 0, 1, 0])
WEIGHTS = np.array([1.0, 2.0, 0.5, 3.0])


def exact_softplus(z):
    with localcontext() as context:
        context.prec = 400
        return float((1 + Decimal(z).exp()).ln())


def exact_sigmoid(z):
    with localcontext() as context:
        context.prec = 60
        return float(1 / (1 + (-Decimal(z)).exp()))


@pytest.mark.parametrize("z", [-700.5, -40.0, -1.0, -1e-9, 0.0, 1e-9, math.log(2), 36.5, 710.0])
def test_softplus_and_sigmoid_are_exact_to_a_few_ulp(z):
    assert reference.softplus(np.array(z)) == pytest.approx(exact_softplus(z), rel=1e-15, abs=0)
    assert reference.sigmoid(np.array(z)) == pytest.approx(exact_sigmoid(z), rel=1e-15, abs=0)


def test_softplus_and_sigmoid_reach_their_limits_at_infinity():
    infinities = np.array([-np.inf, np.inf])
    assert reference.softplus(infinities).tolist() == [0, np.inf]
    assert reference.sigmoid(infinities).tolist() == [0, 1]


def test_loss_and_gradient_at_zero_are_known_by_hand():
    objective = reference.LogisticLoss(X, Y, WEIGHTS)
    loss, gradient = objective.loss_gradient([0.0, 0.0])
    assert loss == pytest.approx(math.log(2), rel=1e-15)
    # sum_i w_i (-s_i x_i) / 2 / sum_i w_i, written out
    assert gradient == pytest.approx([-1.25 / 13, 0.375 / 13], rel=1e-15)


def test_loss_is_the_formula_in_exact_arithmetic():
    theta, l2 = [0.75, -1.25, 0.5], 0.125
    objective = reference.LogisticLoss(X, Y, WEIGHTS, l2=l2, fit_intercept=True)
    terms = []
    for row, label, weight in zip(X, Y, WEIGHTS, strict=True):
        margin = sum(Fraction(a) * Fraction(b) for a, b in zip([*row, 1], theta, strict=True))
        terms.append(weight * exact_softplus(float(-margin if label == 1 else margin)))
    exact = math.fsum(terms) / math.fsum(WEIGHTS) + l2 / 2 * (theta[0] ** 2 + theta[1] ** 2)
    assert objective.loss(theta) == pytest.approx(exact, rel=1e-15)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS])
def test_gradient_is_the_slope_of_the_loss(fit_intercept, sample_weight):
    objective = reference.LogisticLoss(X, Y, sample_weight, l2=0.3, fit_intercept=fit_intercept)
    theta, step = np.array([0.3, -0.7, 0.2])[: objective.n_params], 1e-5
    for j, slope in enumerate(objective.gradient(theta)):
        ahead, behind = theta.copy(), theta.copy()
        ahead[j] += step
        behind[j] -= step
        central = (objective.loss(ahead) - objective.loss(behind)) / (2 * step)
        assert slope == pytest.approx(central, abs=1e-10)


def test_penalty_spares_the_intercept():
    plain = reference.LogisticLoss(X, Y, fit_intercept=True)
    penalised = reference.LogisticLoss(X, Y, l2=2.0, fit_intercept=True)
    theta = np.array([1.0, -3.0, 5.0])
    assert penalised.loss(theta) - plain.loss(theta) == pytest.approx(10.0, rel=1e-14)
    difference = penalised.gradient(theta) - plain.gradient(theta)
    assert difference == pytest.approx([2.0, -6.0, 0.0], abs=1e-14)


def test_batch_methods_are_the_single_ones_row_by_row():
    objective = reference.LogisticLoss(X, Y, WEIGHTS, l2=0.1)
    thetas = np.array([[0.0, 0.0], [1.0, -1.0], [30.0, 40.0]])
    losses, gradients = objective.batch_loss_gradient(thetas)
    assert losses.tolist() == objective.batch_loss(thetas).tolist()
    assert losses == pytest.approx([objective.loss(theta) for theta in thetas], rel=1e-15)
    for theta, gradient in zip(thetas, gradients, strict=True):
        assert gradient == pytest.approx(objective.gradient(theta), rel=1e-15)


def test_float32_rounds_rows_and_thetas():
    tiny = 2.0**-30
    rounded = reference.LogisticLoss([[1 + tiny], [1.0]], [0, 1], dtype="float32")
    assert rounded.loss([1 + tiny]) == reference.LogisticLoss([[1.0], [1.0]], [0, 1]).loss([1.0])


@pytest.mark.parametrize("theta", [[1e200, 2e200], [-2e200, 1e200], [1e200, 1e200]])
def test_losses_of_margins_beyond_the_range_are_never_nan(theta):
    objective = reference.LogisticLoss([[1e200, 1e200], [1e200, -1e200]], [0, 1])
    assert not np.isnan(objective.loss(theta))


def test_rows_of_weight_zero_count_for_nothing_even_where_their_loss_is_infinite():
    with_row = reference.LogisticLoss([[1.0], [2.0], [1e200]], [0, 1, 0], [1.0, 2.0, 0.0])
    without = reference.LogisticLoss([[1.0], [2.0]], [0, 1], [1.0, 2.0])
    assert with_row.loss([1e150]) == without.loss([1e150])


def test_weights_count_by_their_ratios():
    plain = reference.LogisticLoss(X, Y, WEIGHTS)
    huge = reference.LogisticLoss(X, Y, WEIGHTS * 2.0**1021)
    assert plain.loss([1.0, -1.0]) == huge.loss([1.0, -1.0])


@pytest.mark.parametrize("y", [[0, 0, 0, 0], [0, 1, 2, 1], [1, 2, 1, 2]])
def test_labels_of_another_coding_are_refused(y):
    with pytest.raises(ValueError, match="two classes"):
        reference.LogisticLoss(X, y)


# Known answers of Philox4x32-10, from the file kat_vectors of Random123: counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words_of(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer):
    words = reference.philox4x32(words_of(counter), words_of(key))
    assert tuple(words.tolist()) == words_of(answer)


def test_uniforms_are_the_upper_bits_of_two_words():
    r0, r1, r2, r3 = words_of(KNOWN_ANSWERS[0][2])
    expected = [((r1 << 32 | r0) >> 12) + 0.5, ((r3 << 32 | r2) >> 12) + 0.5]
    assert (reference.uniforms(0, 0, 1, 2) * 2.0**52).tolist() == [expected]


def test_counter_and_key_hold_all_64_bits_of_candidate_and_seed():
    index, seed = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    words = reference.philox4x32((0x89ABCDEF, 0x01234567, 3, 0), (0x76543210, 0xFEDCBA98))
    bits = (int(words[1]) << 32 | int(words[0])) >> 12
    assert reference.uniforms(seed, index, 1, 8)[0, 6] == (bits + 0.5) * 2.0**-52


def test_normal_is_the_transform_of_box_and_muller():
    u0, u1 = reference.uniforms(5, 7, 1, 2)[0]
    radius = math.sqrt(-2 * math.log(u0))
    expected = [3 + 2 * radius * math.cos(2 * math.pi * u1), radius * math.sin(2 * math.pi * u1)]
    drawn = reference.Normal([3.0, 0.0], [2.0, 1.0]).sample(5, 7, 1, 2)[0]
    assert drawn == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("sampler", [reference.Normal(), reference.Uniform(), reference.Integers()])
@pytest.mark.parametrize("n_params", [1, 2, 5])
def test_candidates_depend_on_seed_and_number_alone(sampler, n_params):
    whole = sampler.sample(3, 10, 20, n_params)
    assert whole.shape == (20, n_params)
    assert (whole[4:9] == sampler.sample(3, 14, 5, n_params)).all()
    assert (whole[:, :1] == sampler.sample(3, 10, 20, 1)).all()


def test_uniform_and_integers_stay_within_their_bounds():
    draws = reference.Uniform([0.0, 5.0], [1.0, 5.5]).sample(0, 0, 1000, 2)
    assert (draws > [0.0, 5.0]).all()
    assert (draws < [1.0, 5.5]).all()
    whole = reference.Integers(-1, 2).sample(0, 0, 1000, 3)
    assert sorted(set(whole.ravel().tolist())) == [-1, 0, 1, 2]


class LossesByNumber:
    """An objective whose losses are given."""

    n_params = 1

    def __init__(self, losses):
        self.losses = np.array(losses)

    def batch_loss(self, thetas):
        return self.losses


def test_search_counts_from_its_first_candidate():
    whole = reference.random_search(LossesByNumber([3.0, 1.0, 2.0]), reference.Normal(), 3)
    rest = reference.random_search(LossesByNumber([1.0, 2.0]), reference.Normal(), 2, start=1)
    assert whole.index == rest.index == 1
    assert whole.theta == rest.theta


def test_search_ranks_by_loss_then_number_and_puts_what_is_not_finite_last():
    objective = LossesByNumber([np.nan, 2.0, np.inf, 1.0, 2.0, 1.0, -np.inf])
    result = reference.random_search(objective, reference.Uniform(), 7, seed=4, top_k=7)
    assert result.top["index"].tolist() == [3, 5, 1, 4, 0, 2, 6]
    assert (result.index, result.loss) == (3, 1.0)
    thetas = reference.Uniform().sample(4, 0, 7, 1)
    assert (result.top_thetas == thetas[result.top["index"]]).all()
    assert (result.theta == thetas[3]).all()


def test_one_step_of_descent_is_known_by_hand():
    objective = reference.LogisticLoss([[1.0], [1.0], [-1.0]], [1, 0, 0])
    run = reference.gradient_descent(objective, [0.0], learning_rate=3.0, max_iter=1)
    # the gradient at 0 is (-1/2 + 1/2 - 1/2) / 3
    assert run.theta == pytest.approx([0.5], rel=1e-15)
    assert run.n_iter == 1


def test_descent_converges_to_the_zero_of_the_gradient():
    objective = reference.LogisticLoss(X, Y, WEIGHTS, l2=0.1, fit_intercept=True)
    run = reference.gradient_descent(objective, np.zeros(3), learning_rate=0.5, tol=1e-9)
    assert run.n_iter < 1000
    assert np.abs(objective.gradient(run.theta)).max() <= 1e-9
    assert run.loss == objective.loss(run.theta)
