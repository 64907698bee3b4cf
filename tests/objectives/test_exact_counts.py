"""Counts of many candidates, in one call and in single precision, are those of each one alone."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from awkward_rows import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import iv

import metaopt_fast as mf
from metaopt_fast.arithmetic import expit
from metaopt_fast.metrics import Cost
from metaopt_fast.reference.counts import (
    confusion_counts,
    errors_in_single_precision,
    is_exact,
    narrow_margins,
)

U = Fraction(1, 2**24)
FEW = 4  # candidates of a call whose rows are read for each of them, in double precision
KINDS = ["normal", "heavy tails", "binary", "whole", "far from 0", "repeated", "zeros", "any units"]
COUNTED_BEFORE = 512  # candidates before rows are copied in single precision


def candidates(rng, X, kind, n_candidates):
    """Thetas, some of which have margins at a row that are rounding alone."""
    n_features = X.shape[1]
    if kind == "whole":
        return rng.integers(-3, 4, (n_candidates, n_features)).astype(float)
    largest = np.abs(X).max(axis=0)
    size = 1 / np.where(largest > 0, largest, 1)
    thetas = rng.standard_normal((n_candidates, n_features)) * size
    if kind == "at a row" and n_features > 1:
        for theta in thetas:
            x = X[rng.integers(len(X))]
            j = np.argmax(np.abs(x * size))
            if x[j] != 0:
                theta[j] = 0
                theta[j] = -(x @ theta) / x[j]
    if kind == "any size":
        thetas *= 10.0 ** rng.uniform(-60, 60, (n_candidates, 1))
    return np.where(np.isfinite(thetas), thetas, 0.0)


def counted(counts, thetas):
    """Counts of all together, after so many that single precision is made use of."""
    counts.batch_counts(np.zeros((COUNTED_BEFORE, counts.n_params)))
    return counts.batch_counts(thetas)


def counted_apart(counts, thetas):
    """Counts of a few at a time."""
    parts = [counts.batch_counts(thetas[k : k + FEW]) for k in range(0, len(thetas), FEW)]
    return np.concatenate(parts)


def weights_of(rng, kind, n_samples):
    return {
        "none": None,
        "few": rng.integers(1, 4, n_samples) * 0.1,
        "whole": rng.integers(1, 4, n_samples) * 1.0,
        "distinct": rng.random(n_samples) + 0.01,
    }[kind]


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    thetas=st.sampled_from(["normal", "whole", "at a row", "any size"]),
    weights=st.sampled_from(["none", "few", "whole", "distinct"]),
    n_samples=st.one_of(st.integers(2, 90), st.sampled_from([511, 513, 1100])),
    n_features=st.integers(1, 20),
    n_groups=st.integers(1, 4),
    n_candidates=st.sampled_from([5, 24, 49, 150]),
    thresholds=st.sampled_from([(0.5,), (0.3,), (0.5, 0.7), (0.7, 0.2, 0.5)]),
    dtype=st.sampled_from(["float64", "float64", "float32"]),
    n_threads=st.sampled_from([1, 2]),
)
def test_counts_of_many_are_those_of_each(
    seed,
    kind,
    thetas,
    weights,
    n_samples,
    n_features,
    n_groups,
    n_candidates,
    thresholds,
    dtype,
    n_threads,
):
    rng = np.random.default_rng(seed)
    if dtype == "float32" and kind == "any units":
        kind = "normal"
    X, y = rows(rng, kind, n_samples, n_features, far=1e3), np.arange(n_samples) % 2
    counts = mf.ConfusionCounts(
        X,
        y,
        groups=rng.integers(0, n_groups, n_samples),
        thresholds=thresholds,
        sample_weight=weights_of(rng, weights, n_samples),
        fit_intercept=bool(seed % 2),
        dtype=dtype,
        n_threads=n_threads,
    )
    chosen = candidates(rng, X, thetas if dtype == "float64" else "normal", n_candidates)
    if counts.n_params > n_features:
        chosen = np.column_stack([chosen, rng.integers(-1, 2, n_candidates)])
    found = counted(counts, chosen)
    assert found.tobytes() == counted_apart(counts, chosen).tobytes()


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32),
    n_features=st.integers(1, 12),
    size=st.sampled_from([1, 5, 4000]),
    n_groups=st.integers(1, 3),
    scale=st.sampled_from([1.0, 2.0**-30, 2.0**30]),
    margins=st.lists(st.integers(-6, 6), min_size=1, max_size=3, unique=True),
)
def test_ties_of_whole_numbers_are_decided_as_they_are(
    seed, n_features, size, n_groups, scale, margins
):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-size, size + 1, (150, n_features)), np.arange(150) % 2
    thetas = rng.integers(-size, size + 1, (100, n_features))
    groups = rng.integers(0, n_groups, 150)
    thresholds = expit(np.array(margins, float)).tolist()
    counts = mf.ConfusionCounts(X * scale, y, groups=groups, thresholds=thresholds)
    decisions = thetas @ X.T * max(1, int(scale))  # of int64
    wanted = np.empty((100, len(counts.group_labels), len(margins), 4))
    for g, label in enumerate(counts.group_labels):
        for t, margin in enumerate(margins):
            chosen = decisions > margin * max(1, int(1 / scale))
            for c, cell in enumerate(
                (chosen & (y == 1), chosen & (y == 0), ~chosen & (y == 1), ~chosen & (y == 0))
            ):
                wanted[:, g, t, c] = (cell & (groups == label)).sum(axis=1)
    np.testing.assert_array_equal(counted(counts, thetas), wanted)


def test_whole_numbers_whose_sums_single_precision_rounds_are_decided_as_they_are():
    # 4097 * 4099 is rounded up by 1 there, so that all margins are larger by 1.
    margins = np.repeat(np.arange(-3, 4), 2)
    X = np.column_stack([np.full(14, 4097), np.full(14, 4099), margins])
    counts = mf.ConfusionCounts(X, np.arange(14) % 2)
    found = counted(counts, np.tile([4099.0, -4097.0, 1.0], (50, 1)))
    assert found[:, 0, 0].tolist() == [[3, 3, 4, 4]] * 50


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["normal", "heavy tails", "binary", "whole", "repeated", "zeros"]),
    whole=st.booleans(),
    n_features=st.integers(1, 9),
)
def test_counts_are_those_of_the_reference_in_single_precision(seed, kind, whole, n_features):
    rng = np.random.default_rng(seed)
    X, y = rows(rng, kind, 120, n_features, far=1e3), np.arange(120) % 2 == 1
    thetas = candidates(rng, X, "whole" if whole else "normal", 10)
    found = counted(mf.ConfusionCounts(X, y), thetas)
    wanted = [errors_in_single_precision(theta, X, y) for theta in thetas]
    assert [tuple(cells[1:3]) for cells in found[:, 0, 0]] == wanted
    np.testing.assert_array_equal(found, confusion_counts(thetas, X, y))


@pytest.mark.parametrize("n_threads", [2, 5])
def test_counts_do_not_depend_on_threads_and_batches(n_threads):
    rng = np.random.default_rng(0)
    X, groups = rng.standard_normal((3000, 7)), rng.integers(0, 5, 3000)
    weights = rng.random(3000) + 0.1
    options = {"groups": groups, "sample_weight": weights, "thresholds": (0.4, 0.5)}
    counts = mf.ConfusionCounts(X, np.arange(3000) % 2, n_threads=1, **options)
    thetas = rng.standard_normal((1700, 7))
    wanted = counts.batch_counts(thetas)
    other = mf.ConfusionCounts(X, np.arange(3000) % 2, n_threads=n_threads, **options)
    assert other.batch_counts(thetas).tobytes() == wanted.tobytes()
    parts = np.split(thetas, [3, 8, 57, 700, 1200])
    assert np.concatenate([other.batch_counts(p) for p in parts]).tobytes() == wanted.tobytes()


def test_counts_are_the_same_after_memory_is_given_back():
    rng = np.random.default_rng(0)
    counts = mf.ConfusionCounts(rng.standard_normal((300, 4)), np.arange(300) % 2)
    thetas = rng.standard_normal((600, 4))
    wanted = counts.batch_counts(thetas)
    mf.random_search(mf.CountObjective(counts), mf.Normal(), 2000)
    assert counts.batch_counts(thetas).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("where", [0, 5, 47, 599])
def test_a_theta_among_many_that_is_not_finite_is_named(where):
    counts = mf.ConfusionCounts(np.eye(3), [0, 1, 1])
    thetas = np.ones((600, 3))
    thetas[where, 1] = np.inf
    with pytest.raises(ValueError, match=rf"theta {where} has inf as entry 1"):
        counts.batch_counts(thetas)


@pytest.mark.parametrize("size", [1e-320, 1e-45, 1e13, 1e160, 1e304])
def test_candidates_beyond_single_precision_are_counted(size):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    counts = mf.ConfusionCounts(X, np.arange(200) % 2, thresholds=(0.5, 0.6))
    thetas = rng.standard_normal((100, 3))
    thetas[::3] *= size
    found = counted(counts, thetas)
    assert found.tobytes() == counted_apart(counts, thetas).tobytes()


@pytest.mark.sanitized
def test_thresholds_that_single_precision_does_not_tell_apart_are_told_apart():
    margins = 1 + np.array([1e-9, 3e-9])
    X = np.r_[1 + np.array([0, 2e-9, 4e-9]), -1][:, None]
    counts = mf.ConfusionCounts(X, [0, 0, 0, 1], thresholds=expit(margins).tolist())
    found = counted(counts, np.ones((50, 1)))
    assert found[:, 0, :, 1].tolist() == [[2, 1]] * 50


# ------------------------------------------------------------------------- constants of the bound


@pytest.mark.parametrize("part", [128, 256, 768])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 100, 128, 129, 784, 10_000, 10**6, 2**28])
def test_roundings_of_a_margin_make_no_more_than_gamma(n, part):
    """As many products or sums as a part of the parameters has, and a sum for each further part;
    x and theta in single precision; n in double precision."""
    roundings = min(n, part) + (n - 1) // part
    u, v = iv.mpf(2) ** -24, iv.mpf(2) ** -53
    if (roundings + 4) * u < 0.1:  # else rows are not copied
        gamma = (roundings + 4) * u / (1 - (roundings + 4) * u)
        narrow, wide = (1 + u) ** (roundings + 2) - 1, (1 + v) ** n - 1
        assert (narrow + wide).b < gamma.a
        # As it is computed, and multiplied by norms that are rounded, it is smaller by less than
        # what slopes are rounded up by.
        computed = (roundings + 4) * 2.0**-24 / (1 - (roundings + 4) * 2.0**-24)
        assert (iv.mpf(computed) * (1 + iv.mpf("0.9e-6"))).a > gamma.b


def to_single(x):
    """The number of single precision next to a fraction, ties to even; of any exponent."""
    if x == 0:
        return Fraction(0)
    exponent = math.frexp(float(abs(x)))[1] - 24
    exponent = max(exponent, -149)
    scaled = x / Fraction(2) ** exponent
    return round(scaled) * Fraction(2) ** exponent


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 30),
    part=st.sampled_from([4, 30]),
    fused=st.booleans(),
    same_sign=st.booleans(),
    spread=st.sampled_from([0, 3, 12]),
)
def test_margins_of_single_precision_are_within_their_reach(
    seed, n, part, fused, same_sign, spread
):
    rng = np.random.default_rng(seed)
    # Numbers just above powers of two lose the most.
    x, theta = (
        (1 + rng.random(n) * 2.0 ** rng.integers(-24, 0, n)) * 2.0 ** rng.integers(-spread, 1, n)
        for _ in range(2)
    )
    if not same_sign:
        theta *= rng.choice([-1, 1], n)
    total = exact = Fraction(0)
    for first in range(0, n, part):
        some = Fraction(0)
        for a, b in zip(x[first : first + part], theta[first : first + part], strict=True):
            product = to_single(Fraction(a)) * to_single(Fraction(b))
            some = to_single(some + (product if fused else to_single(product)))
            exact += Fraction(a) * Fraction(b)
        total = to_single(total + some)
    roundings = min(n, part) + (n - 1) // part
    gamma = (roundings + 4) * U / (1 - (roundings + 4) * U)
    size = math.sqrt(math.fsum(x * x)) * math.sqrt(math.fsum(theta * theta))
    assert abs(total - exact) <= gamma * Fraction(size) * (1 + Fraction(1, 10**12))
    if not fused and part >= n:
        margins, reach = narrow_margins(x[None], theta)
        assert abs(Fraction(float(margins[0])) - exact) <= Fraction(reach[0])


@given(
    slope=st.floats(1e-30, 1e10),
    norm=st.floats(1e-30, 1e10),
    cut=st.one_of(st.just(0.0), st.just(-5e-324), st.floats(-750, 750)),
)
def test_reaches_as_they_are_computed_are_wide_enough(slope, norm, cut):
    """slope, norm and cut of double precision; their roundings as src/counts.hpp has them."""
    f = np.float32
    narrow_slope, narrow_norm = f(slope * (1 + 1e-6)), f(norm * (1 + 1e-6))
    at = f(cut)
    if at > cut:
        at = np.nextafter(at, f(-np.inf))
    fixed = abs(at) * f(2.0**-21) + f(2.0**-80)
    reach = narrow_slope * narrow_norm * f(1 + 2.0**-20) + fixed
    low, high = at - reach, at + reach
    error = Fraction(slope) * Fraction(norm)
    assert Fraction(float(high)) >= Fraction(cut) + error
    assert Fraction(float(low)) <= Fraction(cut) - error


@given(seed=st.integers(0, 2**32), n=st.integers(1, 20), size=st.integers(1, 2**12))
def test_sums_of_whole_numbers_within_the_limit_are_exact_in_single_precision(seed, n, size):
    rng = np.random.default_rng(seed)
    X, theta = rng.integers(-size, size + 1, (30, n)), rng.integers(-size, size + 1, n)
    if is_exact(X, theta):
        margins = narrow_margins(X.astype(float), theta.astype(float))[0]
        assert margins.tolist() == (X @ theta).tolist()


# -------------------------------------------------------------- searches that drop candidates early


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    thetas=st.sampled_from(["normal", "whole", "at a row"]),
    weights=st.sampled_from(["none", "few", "distinct"]),
    n_samples=st.one_of(st.integers(2, 90), st.sampled_from([513, 1100])),
    n_features=st.integers(1, 12),
    metric=st.sampled_from(["error", "balanced_error", "cost"]),
    threshold=st.sampled_from([0.5, 0.35]),
    rank=st.sampled_from([0, 1, 20, 149]),
    ulps=st.sampled_from([-1, 0, 1]),
)
def test_no_candidate_whose_cost_is_at_the_threshold_is_lost(
    seed, kind, thetas, weights, n_samples, n_features, metric, threshold, rank, ulps
):
    rng = np.random.default_rng(seed)
    X, y = rows(rng, kind, n_samples, n_features, far=1e3), np.arange(n_samples) % 2
    counts = mf.ConfusionCounts(
        X,
        y,
        sample_weight=weights_of(rng, weights, n_samples),
        thresholds=(threshold,),
        n_threads=1,
    )
    objective = mf.CountObjective(counts, Cost(fp=0.3, fn=2.0) if metric == "cost" else metric)
    chosen = candidates(rng, X, thetas, 150)
    losses = objective.batch_loss(chosen)
    limit = np.sort(losses)[rank]
    if ulps:
        limit = max(0.0, np.nextafter(limit, ulps * math.inf))
    found, fraction = objective.pruned_loss(chosen, 0, 0, 150, limit)
    kept = losses <= limit
    np.testing.assert_array_equal(found[kept], losses[kept])
    assert (np.isinf(found[~kept]) | (found[~kept] == losses[~kept])).all()
    assert 0 < fraction <= 1


@settings(max_examples=settings.default.max_examples // 5)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["normal", "heavy tails", "binary", "repeated"]),
    sampler=st.sampled_from(["normal", "whole"]),
    n_samples=st.integers(2, 700),
    n_features=st.integers(1, 12),
    metric=st.sampled_from(["error", "balanced_error", "f1"]),
    top_k=st.sampled_from([1, 10, 100]),
    n_threads=st.sampled_from([1, 2]),
)
def test_a_search_that_drops_candidates_has_the_bytes_of_one_that_drops_none(
    seed, kind, sampler, n_samples, n_features, metric, top_k, n_threads
):
    rng = np.random.default_rng(seed)
    X, y = rows(rng, kind, n_samples, n_features, far=1e3), np.arange(n_samples) % 2
    counts = mf.ConfusionCounts(X, y, fit_intercept=bool(seed % 2), n_threads=n_threads)
    objective = mf.CountObjective(counts, metric)
    draws = mf.Normal() if sampler == "normal" else mf.Integers(-2, 2)
    found, wanted = (
        mf.random_search(objective, draws, 3000, seed=seed, top_k=top_k, start=7, prune=prune)
        for prune in (True, False)
    )
    assert found.top.tobytes() == wanted.top.tobytes()
    assert found.top_thetas.tobytes() == wanted.top_thetas.tobytes()
    assert found.trace.tobytes() == wanted.trace.tobytes()


def test_counts_that_were_used_are_pickled_without_what_kernels_hold():
    X, y = np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 2
    thetas = np.random.default_rng(1).normal(size=(1000, 3))
    counts = mf.ConfusionCounts(X, y)
    wanted = counts.batch_counts(thetas)
    again = pickle.loads(pickle.dumps(counts))
    assert again.batch_counts(thetas).tobytes() == wanted.tobytes()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(counts._rows.together)
