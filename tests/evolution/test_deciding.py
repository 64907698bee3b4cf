"""Losses of a generation that are exact where they decide: what is left out changes no bit."""

import numpy as np
import pytest
from awkward_rows import one_row_of_large_terms
from evolutions import digest, logistic, start_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from searches import problem

import metaopt_fast as mf
from metaopt_fast.evolution.deciding import LONGEST_PAUSE, Losses, decides, median
from metaopt_fast.objectives import pointwise

ELITISTS = ("cem", "shrinking", "integer_local_search")
LOSSES = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.floats(0, 3, width=16))

SLACKS = st.sampled_from([0.0, 0.0, 0.1, 1.0, np.inf, np.nan])


class Exact:
    """The losses of an objective, without its bounds of them."""

    def __init__(self, objective):
        self.objective = objective
        self.n_params, self.n_samples = objective.n_params, objective.n_samples
        self.dtype, self.fit_intercept = objective.dtype, objective.fit_intercept

    def batch_loss(self, thetas):
        return self.objective.batch_loss(thetas)


class Counted(mf.AUCObjective):
    """Counts the candidates whose areas are sorted."""

    def _losses(self, thetas):
        self.n_sorted = getattr(self, "n_sorted", 0) + len(thetas)
        return super()._losses(thetas)


@pytest.mark.long(everywhere=True)
@given(
    losses=arrays(float, st.integers(1, 30), elements=LOSSES),
    slacks=st.lists(SLACKS, min_size=60, max_size=60),
    n_best=st.integers(1, 30),
    threshold=LOSSES,
    where=st.integers(0, 1),
)
def test_any_number_within_its_bounds_may_stand_for_a_loss_that_does_not_decide(
    losses, slacks, n_best, threshold, where
):
    n = len(losses)
    lower, upper = losses - slacks[:n], losses + slacks[30 : 30 + n]
    exact = decides(lower, upper, n_best, threshold)
    ranks = np.where(exact, losses, (lower, upper)[where])
    order, true_order = (np.argsort(x, kind="stable") for x in (ranks, losses))
    assert order[:n_best].tolist() == true_order[:n_best].tolist()
    assert median(ranks[order]) == median(losses[true_order])
    assert (ranks < threshold).tolist() == (losses < threshold).tolist()


def test_what_is_certain_is_left_out():
    losses = np.arange(100.0)
    assert np.flatnonzero(decides(losses, losses, 3, 0.0)).tolist() == [0, 1, 2, 49, 50]
    assert np.flatnonzero(decides(losses, losses, 1, 5.0)).tolist() == [0, 1, 2, 3, 4, 49, 50]
    assert decides(np.zeros(9), np.ones(9), 1, 0.0).all()
    nothing = np.full(9, np.nan)
    assert decides(nothing, nothing, 1, 0.0).all()


@pytest.mark.parametrize("top_k", [1, 7])
@pytest.mark.parametrize("method", [*ELITISTS, "snes", "ars"])
def test_an_evolution_by_areas_has_the_bits_of_one_that_sorts_all(method, top_k):
    objective = Counted(*problem(200), n_bins=1024)
    start = mf.Integers(-3, 3) if method == "integer_local_search" else mf.Normal()
    options = {"method": method, "population": 40, "generations": 30, "top_k": top_k}
    ours = mf.evolve(objective, start, **options)
    n_sorted = objective.n_sorted
    assert digest(ours) == digest(mf.evolve(Exact(objective), start, **options))
    assert (n_sorted < 1000) == (method in ELITISTS)


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(
        ["LogisticLoss", "HingeLoss", "SquaredHingeLoss", "SquaredLoss", "SmoothedZeroOneLoss"]
    ),
    n_samples=st.sampled_from([40, 513, 1100]),
    n_features=st.integers(1, 12),
    decades=st.integers(0, 200),
    l2=st.sampled_from([0.0, 1e-3, 1e-300, 1.0]),
    is_weighted=st.booleans(),
)
def test_losses_are_within_their_bounds(
    seed, name, n_samples, n_features, decades, l2, is_weighted
):
    rng = np.random.default_rng(seed)
    units = 10.0 ** rng.uniform(-decades, decades, n_features)
    X = rng.standard_t(2, (n_samples, n_features)) * units
    weights = rng.random(n_samples) + 0.01 if is_weighted else None
    options = {"l2": l2, "fit_intercept": bool(seed % 2), "n_threads": 1 + seed % 3}
    objective = getattr(mf, name)(X, np.arange(n_samples) % 2, weights, **options)
    thetas = rng.standard_normal((150, objective.n_params)) * 10.0 ** rng.integers(-3, 4)
    thetas[:, :n_features] /= units
    thetas[rng.integers(0, 150, 3)] = 0.0
    losses, (lower, upper) = objective.batch_loss(thetas), np.empty((2, 150))
    assert objective._rows.bound(thetas, lower, upper, 1 + seed % 2)
    assert ((lower <= losses) & (losses <= upper)).all()


@pytest.mark.parametrize("name", ["LogisticLoss", "HingeLoss", "SquaredHingeLoss", "SquaredLoss"])
def test_losses_that_single_precision_has_wrong_are_within_their_bounds(name):
    X, y, thetas = one_row_of_large_terms(np.random.default_rng(0), 40, 5, 150)
    objective, (lower, upper) = getattr(mf, name)(X, y), np.empty((2, 150))
    losses = objective.batch_loss(thetas)
    assert objective._rows.bound(thetas, lower, upper, 1)
    assert ((lower <= losses) & (losses <= upper)).all()
    assert (upper - lower < 1).mean() > 0.9


@pytest.mark.sanitized
def test_what_single_precision_does_not_hold_has_no_bounds(monkeypatch):
    monkeypatch.setattr(pointwise, "WORTH_BOUNDING", 0)
    objective, bounds = logistic(), np.empty((2, 150))
    thetas = np.zeros((150, objective.n_params))
    assert objective._rows.bound(thetas, *bounds, 1)
    thetas[77, 0] = 1e200
    assert objective._rows.bound(thetas, *bounds, 1)
    assert bounds[0, 77] == -np.inf and np.isfinite(np.delete(bounds, 77, axis=1)).all()
    thetas[77, 0] = np.nan
    assert not objective._rows.bound(thetas, *bounds, 1)
    assert objective._loss_bounds(thetas) is None
    assert logistic(dtype="float32")._loss_bounds(np.zeros_like(thetas)) is None


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_threads", [1, 2, 16])
@pytest.mark.parametrize("method", [*ELITISTS, "snes", "ars"])
def test_an_evolution_by_losses_has_the_bits_of_one_that_sums_all(method, n_threads, monkeypatch):
    monkeypatch.setattr(pointwise, "WORTH_BOUNDING", 0)
    objective = logistic()
    asked = []
    bound = mf.LogisticLoss._loss_bounds
    monkeypatch.setattr(
        mf.LogisticLoss, "_loss_bounds", lambda *a: asked.append(bound(*a)) or asked[-1]
    )
    options = {"method": method, "population": 100, "generations": 30, "top_k": 3}
    ours = mf.evolve(objective, start_of(method), n_threads=n_threads, **options)
    assert digest(ours) == digest(mf.evolve(Exact(objective), start_of(method), **options))
    assert any(bounds is not None for bounds in asked) == (method in ELITISTS)


def test_a_subclass_that_overrides_the_losses_is_asked_for_all_of_them():
    class Shifted(mf.AUCObjective):
        def batch_loss(self, thetas):
            return 2 - super().batch_loss(thetas)

    objective = Shifted(*problem(100))
    options = {"population": 20, "generations": 10}
    ours = mf.evolve(objective, mf.Normal(), **options)
    assert digest(ours) == digest(mf.evolve(Exact(objective), mf.Normal(), **options))


def test_bounds_that_do_not_help_are_asked_for_more_and_more_seldom():
    class Vague:
        n_asked = 0

        def batch_loss(self, thetas):
            return thetas[:, 0]

        def _loss_bounds(self, thetas):
            self.n_asked += 1
            return np.zeros(len(thetas)), np.ones(len(thetas))

    objective, thetas = Vague(), np.random.default_rng(0).random((50, 1))
    losses, asked = Losses(objective), []
    for _ in range(10 * LONGEST_PAUSE):
        before = objective.n_asked
        assert (losses.of(thetas, 1, 0.5) == thetas[:, 0]).all()
        asked.append(objective.n_asked > before)
    pauses = np.diff(np.flatnonzero(asked)) - 1
    assert pauses[:7].tolist() == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE]
    assert (pauses[7:] == LONGEST_PAUSE).all() and len(pauses) > 10
