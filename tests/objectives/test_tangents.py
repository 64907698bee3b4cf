"""The order of rows in single precision, and tangents of those that follow: below their losses,
always, and in that order alone."""

import math

import mpmath
import numpy as np
import pytest
from awkward_rows import rows
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.objectives import moments, tangents

LOSSES = {"logistic": mf.LogisticLoss, "hinge": mf.HingeLoss}
KINDS = ["normal", "heavy tails", "binary", "far from 0", "repeated", "zeros", "any units"]


def weights_of(rng, kind, n_samples):
    return {
        "none": None,
        "few": rng.integers(1, 4, n_samples),
        "distinct": rng.random(n_samples) + 0.01,
        "some are 0": rng.integers(0, 2, n_samples) + np.arange(n_samples) // (n_samples - 2),
    }[kind]


class Problem:
    """Rows, a sampler, and what is known ahead of rows that are not read."""

    def __init__(self, seed, loss, kind, weights, n_samples, n_features, scale, is_at_zero):
        rng = np.random.default_rng(seed)
        X, y = rows(rng, kind, n_samples, n_features), np.arange(n_samples) % 2
        units = np.maximum(np.abs(X).max(axis=0), 1e-290)
        self.loss, self.objective = loss, LOSSES[loss](X, y, weights_of(rng, weights, n_samples))
        self.packed = self.objective._packed
        loc = np.zeros(n_features) if is_at_zero else rng.standard_normal(n_features) / units
        self.sampler = mf.Normal(loc, scale / units)
        self.thetas = self.sampler.sample(seed, 0, 50, n_features)
        self.ahead = tangents.look_ahead(self.packed, loss, self.sampler)


problems = st.builds(
    Problem,
    st.integers(0, 2**32 - 1),
    st.sampled_from(list(LOSSES)),
    st.sampled_from(KINDS),
    st.sampled_from(["none", "few", "distinct", "some are 0"]),
    st.one_of(st.integers(5, 90), st.sampled_from([130, 513, 1100])),
    st.integers(1, 9),
    st.floats(math.log(1e-3), math.log(30)).map(math.exp),
    st.booleans(),
)


def at_positions(packed):
    """The rows and their weights by positions, those that are not there without one."""
    panels = packed.panels.view(packed.dtype).reshape(-1, packed.n_columns, 8)
    return panels.transpose(0, 2, 1).reshape(-1, packed.n_columns), packed.weights_of_positions()


@pytest.mark.long(everywhere=True)
@given(problems)
def test_a_tangent_is_never_above_the_losses_of_the_rows_that_follow(problem):
    if problem.ahead is None or problem.ahead.tangents is None:
        return
    found, packed = problem.ahead.tangents, problem.packed
    X, weights = at_positions(packed)
    X = X[: len(weights)]
    factors = moments.column_factors(packed)
    sizes = weights @ np.abs(X / factors) / packed.total_weight
    z = problem.thetas @ X.T
    losses = np.logaddexp(0, z) if problem.loss == "logistic" else np.maximum(0, 1 + z)
    slopes = np.asarray(found.slopes, float)
    for look, block in enumerate(found.blocks):
        rest = problem.ahead.block_at >= block
        wanted = losses[:, rest] @ weights[rest] / packed.total_weight
        in_units = problem.thetas * factors
        lower = found.constants[look] + in_units @ slopes[look]
        # Slopes are rounded, which the screening's margin covers.
        error = 2.0**-23 * np.abs(in_units) @ sizes
        assert (lower <= wanted * (1 + 1e-12) + error).all()
        # Beyond 1, only what an anchor of this size costs: the bound is no empty one.
        at = X @ problem.sampler.mean(packed.n_columns)
        own = np.logaddexp(0, at) if problem.loss == "logistic" else np.maximum(0, 1 + at)
        there = problem.sampler.mean(packed.n_columns) * factors
        value = own[rest] @ weights[rest] / packed.total_weight
        room = 2.0**-22 * np.abs(there) @ sizes + 3e-9 * (1 + own.max() + np.abs(at).max())
        assert found.constants[look] + there @ slopes[look] >= value - room


@pytest.mark.long(everywhere=True)
@given(problems)
def test_an_order_has_each_row_once_among_rows_of_its_weight(problem):
    if problem.ahead is None:
        return
    packed, order = problem.packed, problem.ahead.order
    row_at, first_panel = np.asarray(order.row_at), np.asarray(order.first_panel)
    block_rows, block_weights = np.asarray(order.block_rows), np.asarray(order.block_weights)
    assert len(row_at) == packed.panels.size // (8 * packed.n_columns)
    assert sorted(row_at[row_at >= 0]) == sorted(packed.positions())
    seen = []
    natural = dict(zip(packed.first_panel.tolist(), packed.block_weights, strict=True))
    block_of = np.full(len(row_at), -1)
    for block, (first, count) in enumerate(zip(packed.first_panel, packed.block_rows, strict=True)):
        block_of[first * 8 : first * 8 + count] = block
    for block, first in enumerate(first_panel.tolist()):
        own = row_at[first * 8 : first * 8 + block_rows[block]]
        seen.extend(own)
        assert natural[first] == block_weights[block]
        assert (packed.block_weights[block_of[own]] == block_weights[block]).all()
        assert (problem.ahead.block_at[own] == block).all()
    assert sorted(seen) == sorted(packed.positions())


def test_rows_that_tell_most_around_the_anchor_come_first():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((640, 3))
    y, sampler = X[:, 0] > 0, mf.Normal([4.0, 0, 0], 0.1)
    packed = mf.LogisticLoss(X, y)._packed
    found = tangents.look_ahead(packed, "logistic", sampler)
    rows, _ = at_positions(packed)
    # What is decided by far, as most rows are, tells next to nothing: h |r|^2.
    at = rows @ sampler.mean(3)
    gains = (rows**2).sum(axis=1) / (2 + 2 * np.cosh(at))
    means = [gains[found.block_at == block].mean() for block in range(packed.n_blocks)]
    assert means[0] > 3 * means[3] > 30 * means[-1]
    assert means == sorted(means, reverse=True)


def test_looks_come_ever_further_apart_up_to_a_part_of_the_blocks():
    assert tangents.looks(1).tolist() == []
    assert tangents.looks(2).tolist() == [1]
    found = tangents.looks(5000)
    assert found[:4].tolist() == [1, 2, 3, 4]
    assert (np.diff(found) <= np.maximum(1, 0.3 * found[:-1] + 0.5)).all()
    assert np.diff(found).max() == 5000 // tangents.LARGEST_PART
    assert np.diff(tangents.looks(100)).max() == tangents.FEW


@pytest.mark.parametrize("a", [0.0, 1e-8, -3.0, 20.0, 36.7, -37.0, 500.0, -744.0, 800.0, -9e4])
def test_a_slope_of_double_precision_is_a_tangent_but_for_what_is_subtracted(a):
    value, slope = (float(part[0]) for part in tangents.pointwise("logistic", np.array([float(a)])))
    with mpmath.workdps(60):
        p = mpmath.mpf(slope)
        # min over z of log(1 + e^z) - p z is the entropy of p.
        least = mpmath.mpf(0)
        if 0 < p < 1:
            least = -(p * mpmath.log(p) + (1 - p) * mpmath.log(1 - p))
        above = mpmath.mpf(value) - p * mpmath.mpf(a) - least
        assert above <= 2.0**-50 * (abs(a) + 745)
        assert above < moments.WIDE * (1 + value + abs(slope * a))


def small(**options):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((700, 5))
    return mf.LogisticLoss(X, X[:, 0] + rng.logistic(size=700) > 0, n_threads=1, **options)


def below(objective, sampler, threshold, order, given):
    losses, tally = np.empty(400), np.zeros(2)
    draws = sampler.draws(1, 5)
    objective._rows.evaluate_below(
        None, draws, 0, threshold, losses, 1, True, (), tally, order, given
    )
    return losses, tally


def test_tangents_are_of_no_use_in_another_order():
    # These are false on purpose: where they serve, no candidate is left.
    false = _kernels.Tangents(np.array([1, 3]), np.array([1e9, 1e9]), np.zeros((2, 5), np.float32))
    objective, sampler = small(), mf.Normal()
    order = tangents.look_ahead(objective._packed, "logistic", sampler).order
    other = tangents.look_ahead(objective._packed, "logistic", mf.Normal(1.0)).order
    wanted = objective.sampled_loss(sampler, 1, 0, 400)
    threshold = float(np.sort(wanted)[40])
    kept = wanted <= threshold
    found, _ = below(objective, sampler, threshold, order, false)
    assert np.isinf(found).all()
    for another in (other, None):
        found, tally = below(objective, sampler, threshold, another, false)
        np.testing.assert_array_equal(found[kept], wanted[kept])
        assert tally[0] == 400
    objective._rows.release()
    found, _ = below(objective, sampler, threshold, None, None)
    np.testing.assert_array_equal(found[kept], wanted[kept])
    found, _ = below(objective, sampler, threshold, order, false)
    np.testing.assert_array_equal(found[kept], wanted[kept])


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", ["LogisticLoss", "HingeLoss"])
@pytest.mark.parametrize("weights", ["none", "few", "distinct"])
@pytest.mark.parametrize("where", [0.0, 0.4])
def test_a_candidate_at_the_threshold_passes_each_tangent(name, weights, where):
    rng = np.random.default_rng(8)
    X = rng.standard_t(4, (700, 6))
    objective = getattr(mf, name)(
        X, X[:, 0] > 0, weights_of(rng, weights, 700), l2=1e-3, n_threads=1
    )
    sampler, loss = mf.Normal(where, 0.3), objective._loss
    ahead = tangents.look_ahead(objective._packed, loss, sampler)
    draws, losses = sampler.draws(5, 6), objective.sampled_loss(sampler, 5, 0, 400)
    tally = np.zeros(2)
    for number in np.argsort(losses)[:200:5].tolist():
        for ulps in (-1, 0, 1):
            threshold = np.nextafter(losses[number], ulps * np.inf) if ulps else losses[number]
            found = np.empty(400)
            objective._rows.evaluate_below(
                None, draws, 0, threshold, found, 1, True, (), tally, ahead.order, ahead.tangents
            )
            kept = losses <= threshold
            np.testing.assert_array_equal(found[kept], losses[kept])
    assert tally[1] < 0.5 * tally[0]


@pytest.mark.sanitized
def test_around_an_optimum_tangents_leave_most_rows_unread():
    # There, sums alone reach the threshold with the last rows.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6400, 8))
    objective = mf.LogisticLoss(X, X[:, 0] + rng.logistic(size=6400) > 0, n_threads=1)
    optimum = mf.fit_many(X, X[:, 0] > 0, l2=[1.0], fit_intercept=False).theta[0]
    sampler = mf.Normal(optimum, 0.5)
    losses = objective.sampled_loss(sampler, 0, 0, 2000)
    threshold = float(np.sort(losses)[2])
    fractions = []
    for is_known in (False, True):
        ahead = tangents.look_ahead(objective._packed, "logistic", sampler)
        known = (ahead.order, ahead.tangents) if is_known else (None, None)
        objective._rows.release()
        found = np.empty(2000)
        fractions.append(
            objective._rows.evaluate_below(
                None, sampler.draws(0, 8), 0, threshold, found, 1, True, (), None, *known
            )
        )
        assert (found[losses <= threshold] == losses[losses <= threshold]).all()
    assert fractions[1] < 0.6 * fractions[0]


def test_margins_beyond_what_is_rounded_well_have_no_tangents():
    packed = small()._packed
    assert tangents.look_ahead(packed, "logistic", mf.Normal(1e5)) is None
    assert tangents.look_ahead(packed, "logistic", mf.Normal(1e300)) is None
    assert tangents.look_ahead(packed, "logistic", mf.Normal(1.0)).tangents is not None


def test_other_losses_and_single_precision_have_no_tangents():
    packed = small()._packed
    for loss in _kernels.LOSSES:
        assert tangents.has_tangents(packed, loss) == (loss in ("logistic", "hinge"))
    assert not tangents.has_tangents(small(dtype="float32")._packed, "logistic")
    few = mf.LogisticLoss(np.eye(3), [0, 1, 0])._packed
    assert tangents.look_ahead(few, "logistic", mf.Normal()) is None
