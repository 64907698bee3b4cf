"""Early abandoning: candidates that cannot rank are dropped, and nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metaopt_fast as mf

N_CANDIDATES = 400


def problem(seed, n_samples, n_features, weights, **options):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features)) * rng.exponential(1, (n_samples, 1))
    y = np.arange(n_samples) % 2
    sample_weight = {
        "none": None,
        "few": rng.integers(0, 3, n_samples) + (np.arange(n_samples) < 2),
        "distinct": rng.random(n_samples),
    }[weights]
    return mf.LogisticLoss(X, y, sample_weight, **options)


def same_or_dropped(pruned, losses, threshold):
    """Each loss up to the threshold has its bits; each other one has them, too, or is infinite."""
    kept = losses <= threshold
    equal = pruned == losses
    return equal[kept].all() and (equal | (pruned == np.inf)).all()


@settings(max_examples=settings.default.max_examples * 2 // 5)
@given(
    seed=st.integers(0, 2**32),
    n_samples=st.one_of(st.integers(2, 80), st.sampled_from([511, 512, 513, 1030, 2500])),
    n_features=st.integers(1, 12),
    weights=st.sampled_from(["none", "few", "distinct"]),
    dtype=st.sampled_from(["float64", "float32"]),
    l2=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    rank=st.sampled_from([0, 1, 99, N_CANDIDATES - 1]),
)
def test_losses_up_to_the_threshold_have_the_bits_of_brute_force(
    seed, n_samples, n_features, weights, dtype, l2, scale, rank
):
    objective = problem(seed, n_samples, n_features, weights, l2=l2, dtype=dtype)
    sampler = mf.Normal(scale=scale)
    losses = objective.sampled_loss(sampler, seed, 7, N_CANDIDATES)
    threshold = np.sort(losses)[rank]
    pruned, fraction = objective.pruned_loss(sampler, seed, 7, N_CANDIDATES, threshold)
    assert same_or_dropped(pruned, losses, threshold)
    assert 0 < fraction <= 1


@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pruned_losses_are_the_same_for_any_number_of_threads(dtype, n_threads):
    objective = problem(0, 3000, 5, "few", dtype=dtype, n_threads=n_threads)
    losses = objective.sampled_loss(mf.Normal(), 0, 0, 5000)
    threshold = np.sort(losses)[20]
    pruned, fraction = objective.pruned_loss(mf.Normal(), 0, 0, 5000, threshold)
    assert same_or_dropped(pruned, losses, threshold)
    assert fraction < 0.9


def network(n_threads, **options):
    rng = np.random.default_rng(0)
    return mf.NetworkLoss(
        rng.standard_normal((1500, 5)),
        np.arange(1500) % 2,
        n_hidden=3,
        n_threads=n_threads,
        **options,
    )


def linear(n_threads, **options):
    return problem(0, 3000, 5, "few", n_threads=n_threads, **options)


@pytest.mark.parametrize(
    ("make", "dtype"), [(linear, "float64"), (linear, "float32"), (network, "float64")]
)
@pytest.mark.parametrize("n_candidates", [50, 96, 240])
def test_as_many_rows_of_few_candidates_are_left_out_with_many_threads(make, dtype, n_candidates):
    objective = make(1, dtype=dtype)
    losses = objective.sampled_loss(mf.Normal(), 0, 0, n_candidates)
    threshold = np.sort(losses)[2]
    whole, fraction = objective.pruned_loss(mf.Normal(), 0, 0, n_candidates, threshold)
    assert same_or_dropped(whole, losses, threshold)
    assert fraction < 0.95
    for n_threads in (2, 8):
        shared = make(n_threads, dtype=dtype)
        found, part = shared.pruned_loss(mf.Normal(), 0, 0, n_candidates, threshold)
        assert same_or_dropped(found, losses, threshold)
        assert part == pytest.approx(fraction, abs=0.02)


def test_thetas_and_a_sampler_give_the_same():
    objective = problem(1, 1000, 5, "none", fit_intercept=True)
    thetas = mf.Normal().sample(3, 10, 600, 6)
    drawn, drawn_fraction = objective.pruned_loss(mf.Normal(), 3, 10, 600, 0.9)
    given_, given_fraction = objective.pruned_loss(thetas, 3, 10, 600, 0.9)
    assert (drawn == given_).all()
    assert drawn_fraction == given_fraction


def test_nothing_is_dropped_without_a_threshold():
    objective = problem(2, 700, 4, "none")
    losses, fraction = objective.pruned_loss(mf.Normal(), 0, 0, 500, np.inf)
    assert (losses == objective.sampled_loss(mf.Normal(), 0, 0, 500)).all()
    assert fraction == 1


def test_ties_with_the_threshold_are_kept():
    objective = problem(3, 1500, 3, "none")
    thetas = np.tile(mf.Normal().sample(0, 0, 1, 3), (300, 1))
    loss = objective.loss(thetas[0])
    losses, _ = objective.pruned_loss(thetas, 0, 0, 300, loss)
    assert (losses == loss).all()


def test_a_candidate_at_the_threshold_is_kept_where_its_first_rows_are_all_but_its_loss():
    rng = np.random.default_rng(6)
    X, thetas = rng.normal(size=(128, 3)), rng.normal(size=(50, 3))
    weights = np.repeat([1.0, 1e-14], 64)
    objective = mf.LogisticLoss(X, np.arange(128) % 2, weights, n_threads=1)
    losses = objective.batch_loss(thetas)
    for theta, loss in zip(thetas, losses, strict=True):
        assert objective.pruned_loss(theta[None], 0, 0, 1, loss)[0] == loss


def test_rows_that_separate_and_outliers_change_nothing():
    X = np.r_[np.full((500, 1), 1.0), np.full((500, 1), -1.0), [[1e6], [-1e-6]]]
    objective = mf.LogisticLoss(X, X[:, 0] > 0)
    losses = objective.sampled_loss(mf.Normal(scale=50), 0, 0, 2000)
    threshold = np.sort(losses)[100]
    pruned, fraction = objective.pruned_loss(mf.Normal(scale=50), 0, 0, 2000, threshold)
    assert same_or_dropped(pruned, losses, threshold)
    assert fraction < 0.8


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
def test_rows_of_the_largest_norm_say_first_that_a_candidate_is_dropped(weights):
    # 64 rows say it, each by a loss of 1000; 2,944 others, which come first in the data, do not.
    n_large, n_small = 64, 2944
    X = np.r_[np.ones((n_small, 1)), np.full((n_large, 1), 1000.0)]
    y = np.arange(len(X)) % 2
    sample_weight = None if weights is None else np.repeat(weights, [n_small, n_large])
    objective = mf.LogisticLoss(X, y, sample_weight, n_threads=1)
    losses, fraction = objective.pruned_loss(np.full((600, 1), 1.0), 0, 0, 600, 1.0)
    assert (losses == np.inf).all()
    assert fraction == n_large / len(X)


@pytest.mark.parametrize(
    ("dtype", "huge", "tiny", "most"),
    [
        ("float64", 2.0**1000, 0.0, 0.2),
        ("float32", 2.0**120, 0.0, 0.2),
        # No other candidate leaves the range, nor is dropped by what screens in single precision.
        ("float64", 2.0**1000, 2.0**-950, 0.4),
        ("float32", 2.0**110, 2.0**-60, 0.2),
    ],
)
def test_a_candidate_whose_products_leave_the_range_keeps_its_loss_in_the_place_of_others(
    dtype, huge, tiny, most
):
    # Margins of the last candidate are 3 X[:, 2]: its two other products, which are equal, leave
    # the range before one is taken from the other. All others are dropped before it moves.
    rng = np.random.default_rng(5)
    x = rng.integers(1, 8, 300) / 4
    X = np.column_stack([np.full(300, huge), np.full(300, -huge), x])
    thetas = np.full((200, 3), tiny)
    thetas[:, 2] = -50
    thetas[-1] = [huge, huge, 3]
    objective = mf.LogisticLoss(np.r_[X, -X], np.repeat([1, 0], 300), dtype=dtype, n_threads=1)
    losses, fraction = objective.pruned_loss(thetas, 0, 0, 200, 1.0)
    assert (losses[:-1] == np.inf).all() and fraction < most
    expected = np.log1p(np.exp(-3 * x)).mean()
    assert losses[-1] == pytest.approx(expected, rel=1e-13 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_candidate_keeps_the_rounding_of_its_sum_in_the_place_of_others(dtype):
    # So nearly alike that some are dropped after each span: sums of the others have roundings then.
    objective = problem(0, 12_000, 3, "distinct", dtype=dtype, n_threads=1)
    thetas = np.ones(3) + np.random.default_rng(0).standard_normal((N_CANDIDATES, 3)) / 10
    losses = objective.batch_loss(thetas)
    for rank in (10, 100, 200, 300):
        threshold = np.sort(losses)[rank]
        found, _ = objective.pruned_loss(thetas, 0, 0, N_CANDIDATES, threshold)
        assert same_or_dropped(found, losses, threshold)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("top_k", [1, 100])
def test_a_pruned_search_is_brute_force_bit_for_bit(seed, top_k, many):
    objective = problem(4, 569, 8, "none", l2=0.01)
    results = [
        mf.random_search(objective, mf.Normal(), many, seed=seed, top_k=top_k, prune=prune)
        for prune in (True, False)
    ]
    for name in ("top", "top_thetas", "trace"):
        assert getattr(results[0], name).tobytes() == getattr(results[1], name).tobytes()
    assert results[0].rows_evaluated_fraction < 1
    assert results[1].rows_evaluated_fraction == 1


def test_a_threshold_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="threshold is nan"):
        problem(0, 10, 2, "none").pruned_loss(mf.Normal(), 0, 0, 5, np.nan)


@pytest.mark.parametrize("threshold", [None, "low", [1.0, 2.0]])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    with pytest.raises(TypeError, match="threshold is"):
        problem(0, 10, 2, "none").pruned_loss(mf.Normal(), 0, 0, 5, threshold)
