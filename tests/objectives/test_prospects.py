"""What a bound by moments promises before it is proven: no less than it keeps, and where to set it
up."""

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.objectives import moments, prospects, tangents


def problem(tails=None, n_samples=4000, n_features=12, name="LogisticLoss", **options):
    rng = np.random.default_rng(0)
    shape = n_samples, n_features
    X = rng.standard_normal(shape) if tails is None else rng.standard_t(tails, shape)
    y = X[:, 0] + rng.logistic(size=n_samples) > 0
    return getattr(mf, name)(X, y, n_threads=1, **options)


def prospect_of(objective, sampler):
    packed, loss = objective._packed, objective._loss
    ahead = tangents.as_packed(packed)
    if tangents.has_tangents(packed, loss):
        ahead = tangents.look_ahead(packed, loss, sampler)
    return ahead, prospects.prospect_of(packed, objective._rows, loss, sampler, ahead)


@pytest.mark.parametrize("name", ["LogisticLoss", "SquaredLoss"])
@pytest.mark.parametrize("tails", [None, 4.0, 2.5])
@pytest.mark.parametrize("where", [0.0, 0.3])
def test_the_bound_keeps_at_most_what_was_promised_and_not_much_less(name, tails, where):
    objective, sampler = problem(tails, name=name, l2=0.01), mf.Normal(where, 0.5)
    _, found = prospect_of(objective, sampler)
    thetas = sampler.sample(0, 0, prospects.SOME, 12)
    lower = np.empty(prospects.SOME, np.float32)
    bound = found.moments.certified()
    bound.bounds(thetas, lower)
    proven = lower + 0.005 * np.square(thetas).sum(axis=1)
    assert (proven <= objective.batch_loss(thetas)).all()
    # Of normal rows with a ridge, a dispersion of 1.8 is supposed.
    slack = 0.02 if bound.dispersion < prospects.OF_NORMAL else 1e-6
    assert (proven <= found.lower + slack).all()
    assert proven.mean() >= 0.85 * found.lower.mean()
    for threshold in (0.0, float(np.median(found.lower)), 1e9):
        assert found.dropped(threshold) == (found.lower > threshold).mean()


def test_what_single_rows_add_is_no_more_than_the_dispersion():
    for tails in (None, 3.0):
        packed = problem(tails)._packed
        found = moments.moments_around(packed, "logistic", mf.Normal())
        shares = found.shares()
        assert len(shares) == packed.n_rows
        # A covariance is the second moment less the square of a mean of 1 at most.
        assert shares.max() <= found.certified().dispersion + 1


def test_rows_stand_out_where_tails_are_heavy():
    sampler = mf.Normal()
    _, normal = prospect_of(problem(), sampler)
    ahead, heavy = prospect_of(problem(3.0), sampler)
    assert not normal.is_heavy
    assert heavy.is_heavy
    first, last = heavy.block_after_few(-1.0), heavy.block_after_few(1e9)
    # Where nothing can be dropped or anything is, the first rows are as good as others.
    assert first == last == 1
    threshold = float(np.quantile(heavy.lower_after, 0.3))
    block = heavy.block_after_few(threshold)
    assert 1 <= block <= 1 + ahead.block_at.max() // prospects.FURTHEST


def test_what_is_expected_before_and_after_some_rows_is_near_what_is_bounded_there():
    objective, sampler = problem(3.0), mf.Normal(scale=0.5)
    packed = objective._packed
    ahead, found = prospect_of(objective, sampler)
    thetas = sampler.sample(0, 0, prospects.FEW, 12)
    losses = objective.batch_loss(thetas)
    for look, block in enumerate(found.blocks.tolist()):
        rest = ahead.rest(packed, block)
        points = prospects.points_from(block, rest, found, "logistic", sampler, 1)
        assert [at for at, _ in points] == [0, block]
        of_all, lower = np.empty((2, prospects.FEW), np.float32)
        for (_, bound), bounds in zip(points, (of_all, lower), strict=True):
            bound.bounds(thetas, bounds)
        assert (of_all <= losses + 1e-9).all()
        assert np.abs(found.lower_before[look] - of_all).mean() < 0.2 * of_all.mean()
        first = np.flatnonzero((ahead.block_at >= 0) & (ahead.block_at < block))
        read = np.logaddexp(0, packed.rows_at(first) @ thetas.T).sum(axis=0) / 4000
        wanted = read + lower
        assert (wanted <= losses + 1e-9).all()
        assert np.abs(found.lower_after[look] - wanted).mean() < 0.15 * wanted.mean()


def test_a_bound_is_set_up_at_once_where_it_drops_enough():
    sampler = mf.Normal()
    _, normal = prospect_of(problem(), sampler)
    _, heavy = prospect_of(problem(3.0), sampler)
    assert normal.block_at_once(0.0, 0.3) == 0  # all are dropped, without reading a row
    for found in (normal, heavy):
        assert found.block_at_once(1e9, 0.3) is None
    # Where rows that stand out make the bound poor, these are read by a few candidates alone.
    threshold = float(np.quantile(heavy.lower_before.max(axis=0), 0.4))
    block = heavy.block_at_once(threshold, 0.3)
    assert block == heavy.block_after_few(threshold) > 0
    assert heavy.dropped_without(block, threshold) >= 0.3 > heavy.dropped(threshold)
    assert heavy.block_at_once(threshold, 0.99) is None
    assert normal.block_at_once(float(np.median(normal.lower)), 0.3) == 0


def test_rows_without_curvature_prove_nothing():
    # Those after the first block are zeros.
    X = np.zeros((200, 2))
    X[:64] = np.random.default_rng(0).standard_t(2, (64, 2))
    objective, sampler = mf.LogisticLoss(X, np.arange(200) % 2), mf.Normal()
    ahead, found = prospect_of(objective, sampler)
    rest = ahead.rest(objective._packed, 1)
    assert prospects.points_from(1, rest, found, "logistic", sampler, 1) is None


def test_a_bound_that_leaves_the_range_of_single_precision_is_none(monkeypatch):
    objective, sampler = problem(), mf.Normal()
    ahead, found = prospect_of(objective, sampler)
    of_points = 1, ahead.rest(objective._packed, 1), found, "logistic", sampler, 1
    assert [block for block, _ in prospects.points_from(*of_points)] == [0, 1]
    supposed, calls = moments.Moments.supposed, iter([True, False])
    monkeypatch.setattr(
        moments.Moments,
        "supposed",
        lambda self, dispersion: supposed(self, dispersion) if next(calls) else None,
    )
    assert prospects.points_from(*of_points) is None


def test_what_moments_do_not_bound_has_no_prospect():
    assert prospect_of(problem(), mf.Normal(1e4))[1] is None
    assert prospect_of(problem(n_features=65), mf.Normal())[1] is None


def test_margins_of_more_parameters_are_in_more_doubt():
    X, doubts = np.ones((64, 9)), []
    for n_params in range(1, 10):
        screening = mf.LogisticLoss(X[:, :n_params], np.arange(64) % 2)._screening
        doubts.append(screening._doubt(mf.Normal(1.0, 2.0)))
    assert doubts[0] == 5 * 2.0**-24 * 3 and (np.diff(doubts) > 0).all()
