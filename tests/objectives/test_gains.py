"""What known losses tell of stages that drop candidates, and what searches make of it."""

import contextlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.objectives import moments, screening
from metaopt_fast.objectives.costs import SINGLE_WORK, Costs, Forecast
from metaopt_fast.objectives.count_objective import LEAST_TRIED, Bounding, CountObjective
from metaopt_fast.objectives.gains import FEWEST, Gains, Trial
from metaopt_fast.objectives.stages import Use


def problem(n_samples=3000, n_features=6, seed=0, **options):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    y = X[:, 0] + rng.logistic(size=n_samples) > 0
    return mf.LogisticLoss(X, y, n_threads=1, **options)


def costs(objective):
    packed = objective._packed
    return Costs(packed.n_rows, packed.n_columns, packed.n_blocks)


def stages(objective, sampler, n_candidates, **options):
    return mf.random_search(objective, sampler, n_candidates, **options).config["stages"]


# ------------------------------------------------------------------------------------ what is told


@pytest.mark.parametrize("rank", [0, 20, 200])
def test_losses_tell_about_what_sums_take(rank):
    objective = problem()
    losses = objective.sampled_loss(mf.Normal(), 0, 0, 2400)
    threshold = np.sort(losses)[rank]
    part, kept = Forecast(losses[:240], costs(objective).looks).at(threshold, 0.0)
    tally, found = np.zeros(2), np.empty(2400)
    draws = mf.Normal().draws(0, 6)
    taken = objective._rows.evaluate_below(None, draws, 0, threshold, found, 1)
    # Rows of the largest norms come first, so that sums tell a little earlier.
    assert taken - 0.02 <= part <= taken + 0.1
    objective._rows.evaluate_below(None, draws, 0, threshold, found, 1, True, (), tally)
    assert kept == pytest.approx(tally[1] / tally[0], abs=0.03)


def test_sums_are_looked_at_where_the_kernel_does():
    # Rows of one loss each: a threshold that is passed after some of them tells where it looks.
    objective = mf.HingeLoss(np.zeros((64 * 21, 1)), np.arange(64 * 21) % 2, n_threads=1)
    looks, found = costs(objective).looks, np.empty(48)
    for part in (0.01, 0.1, 0.2, 0.37, 0.5, 0.99):
        taken = objective._rows.evaluate_below(np.zeros((48, 1)), None, 0, part, found, 1)
        assert taken == pytest.approx(looks[np.searchsorted(looks, part)])


def test_the_threshold_to_come_is_that_of_a_rank_among_more_candidates():
    forecast = Forecast(np.arange(240.0), np.ones(1))
    assert forecast.later(99.0, 480) == 49.0  # the hundredth of 240, among 480
    assert forecast.later(99.0, 10**6) == 0.0
    assert forecast.later(0.0, 10**6) == 0.0
    assert forecast.later(-1.0, 10) == -1.0


def test_losses_that_are_nearly_one_promise_nothing():
    objective = problem()
    gains = Gains(costs(objective))
    gains.note(0.5 + 1e-9 * np.arange(240))
    outlook = gains.outlook(0.5, 10**6, 0.0, has_copy=True)
    assert outlook.single is False and outlook.sums is False and outlook.apart == 0
    assert gains.foreseen is Use.NO_GAIN


@pytest.mark.parametrize(("n_rows", "pays"), [(554, False), (10_000, True)])
def test_what_is_drawn_again_takes_long_beside_few_rows(n_rows, pays):
    assert Costs(n_rows, 29, -(-n_rows // 64)).single_pays(0.6, 0.3) is pays


def test_losses_apart_promise_much_and_margins_of_large_terms_less():
    objective = problem()
    gains = Gains(costs(objective))
    gains.note(np.linspace(0.5, 1.5, 240))
    outlook = gains.outlook(0.5, 10**6, 0.0, has_copy=False)
    assert outlook.single and outlook.sums and outlook.apart > 0.99
    assert outlook.left < 0.5 * gains.costs.whole
    assert gains.outlook(0.5, 10**6, 0.9, has_copy=False).single is False
    # A copy takes as long as some candidates.
    assert gains.outlook(0.5, 10, 0.0, has_copy=False).single is False
    assert gains.outlook(0.5, 10, 0.0, has_copy=True).single is True


def test_without_losses_or_after_a_failure_a_trial_has_to_tell():
    gains = Gains(costs(problem()))
    assert gains.outlook(0.5, 10**6, 0.0, has_copy=False).single is None
    assert gains.outlook(0.5, 0, 0.0, has_copy=False).single is None  # outside a search
    gains.note(np.linspace(0.5, 1.5, 240))
    gains.single.learn(FEWEST, FEWEST)
    assert gains.outlook(0.5, 10**6, 0.0, has_copy=True).single is False
    gains.single.passed(10**6)
    assert gains.outlook(0.5, 10**6, 0.0, has_copy=True).single is None


def test_what_is_left_to_come_is_without_what_bounds_of_all_rows_take():
    gains = Gains(costs(problem()))
    passed = {"in_single": True, "by_sums": False}
    gains.learn(240, 0.25, [240.0, 200.0, 200.0, 20.0], by_bound=True, **passed)
    left = gains.outlook(0.5, 10**6, 0.0, has_copy=True).left
    # A bound reads a row for each of 6 parameters, and one for the mean, of 3000.
    assert left == pytest.approx(SINGLE_WORK * (0.25 - 7 / 3000) * gains.costs.rows)


def test_what_is_told_of_parts_is_that_a_stage_was_used_or_else_why_not():
    trial = Trial(0.5)
    assert trial.use is Use.NONE
    trial.learn(1, 1)
    assert trial.use is Use.USED
    trial.learn(FEWEST, FEWEST)
    assert trial.use is Use.NO_GAIN
    trial.learn(FEWEST, 0)
    trial.learn(FEWEST, FEWEST)
    assert trial.use is Use.USED
    assert Use.USED.joined(Use.NONE) is Use.NONE.joined(Use.USED) is Use.USED
    assert Use.NONE.joined(Use.MEMORY) is Use.MEMORY
    assert Use.NO_GAIN.joined(Use.CERTIFICATE) is Use.CERTIFICATE


# ------------------------------------------------------------------------------------- in searches


def test_a_short_search_is_brute_force(monkeypatch):
    def fail(*arguments):
        raise AssertionError

    monkeypatch.setattr(screening.Screening, "evaluate", fail)
    found = mf.random_search(problem(300), mf.Normal(), 2000)
    assert found.rows_evaluated_fraction == 1
    assert set(found.config["stages"].values()) == {"none"}


def test_a_search_of_areas_drops_candidates_of_its_first_shard(monkeypatch):
    X, rng = np.random.default_rng(0).standard_normal((1000, 6)), np.random.default_rng(1)
    objective = mf.AUCObjective(X, X[:, 0] + rng.logistic(size=1000) > 0, n_threads=1)
    asked = []
    losses = mf.AUCObjective._losses
    monkeypatch.setattr(
        mf.AUCObjective,
        "_losses",
        lambda self, thetas: asked.append(len(thetas)) or losses(self, thetas),
    )
    mf.random_search(objective, mf.Normal(), 4000)
    assert objective.shard_size >= 4000 and sum(asked) < 1000


def test_candidates_that_are_alike_are_all_evaluated_without_a_set_up(monkeypatch):
    def fail(*arguments):
        raise AssertionError

    monkeypatch.setattr(screening.prospects, "prospect_of", fail)
    monkeypatch.setattr(screening.tangents, "look_ahead", fail)
    objective = problem()
    found = mf.random_search(objective, mf.Normal(scale=1e-7), 20_000, top_k=3)
    assert found.rows_evaluated_fraction == 1
    assert found.config["stages"]["single_precision"] == "no gain"
    assert not objective._rows.has_narrow_rows


def test_a_long_search_says_that_all_stages_were_used():
    assert set(stages(problem(), mf.Normal(), 30_000).values()) == {"used"}
    told = stages(problem(), mf.Normal(), 30_000, prune=False)
    assert set(told.values()) == {"none"} and len(told) == 4


def test_an_objective_without_stages_tells_of_none():
    X = np.random.default_rng(0).standard_normal((50, 2))
    assert stages(mf.AUCObjective(X, X[:, 0] > 0), mf.Normal(), 100) == {}


@pytest.mark.parametrize("name", ["LogisticLoss", "SquaredHingeLoss"])
def test_candidates_beyond_single_precision_leave_it_out(name):
    X = np.random.default_rng(0).standard_normal((4000, 3))
    objective = getattr(mf, name)(X, X[:, 0] > 0, n_threads=1)
    scale = [1.0, 1.0, 1e14]
    found = mf.random_search(objective, mf.Normal(scale=scale), 20_000, top_k=2)
    wanted = mf.random_search(objective, mf.Normal(scale=scale), 20_000, top_k=2, prune=False)
    assert found.top.tobytes() == wanted.top.tobytes()
    assert found.config["stages"]["single_precision"] == "extents"


@pytest.mark.long(everywhere=True)
def test_weights_beyond_single_precision_leave_it_out():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 3))
    weights = rng.random(4000) * 10.0 ** rng.integers(-40, 1, 4000)
    objective = mf.LogisticLoss(X, X[:, 0] > 0, weights, n_threads=1)
    found = mf.random_search(objective, mf.Normal(), 20_000)
    wanted = mf.random_search(objective, mf.Normal(), 20_000, prune=False)
    assert found.top.tobytes() == wanted.top.tobytes()
    assert found.config["stages"]["single_precision"] == "extents"


def test_memory_that_ends_before_tangents_or_bounds_is_told(monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(screening.tangents, "look_ahead", fail)
    monkeypatch.setattr(moments.Moments, "dispersion", fail)
    told = stages(problem(), mf.Normal(), 30_000)
    assert told == {
        "single_precision": "used",
        "row_order": "memory",
        "tangents": "memory",
        "moment_bound": "memory",
    }


class Dropping:
    """An objective that drops candidates as it is told to, and knows how many at a time."""

    n_params, n_samples = 3, 10_000

    def __init__(self, loss, fraction):
        self.loss, self.fraction, self.sizes = loss, fraction, []

    def batch_loss(self, thetas):
        return np.zeros(len(thetas))

    def sampled_loss(self, sampler, seed, start, count):
        self.sizes.append(count)
        return np.zeros(count)

    def pruned_loss(self, sampler, seed, start, count, threshold):
        self.sizes.append(count)
        return np.append(np.zeros(count - 1), self.loss), self.fraction


@pytest.mark.parametrize(
    ("loss", "fraction", "sizes"),
    [
        (np.inf, 0.5, [240, 240, 480, 960, 1920, 3840, 2320]),
        (np.inf, 1.0, [240, 240, 480, 960, 1920, 3840, 2320]),
        (0.0, 0.5, [240, 240, 480, 960, 1920, 3840, 2320]),
        (0.0, 1.0, [240, 240, 3360, 6160]),
    ],
)
def test_runs_are_longer_where_a_threshold_has_dropped_nothing(loss, fraction, sizes):
    objective = Dropping(loss, fraction)
    found = mf.random_search(objective, mf.Normal(), 10_000)
    assert objective.sizes == sizes
    assert found.index == 0


# ------------------------------------------------------------------------- counts, and their bounds


def counted(n_samples=2000, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    y = X[:, 0] + rng.logistic(size=n_samples) > 0
    return mf.CountObjective(mf.ConfusionCounts(X, y, n_threads=1), "error")


def bounded(objective, n_candidates, **options):
    """The numbers of candidates that a search has bounded, call by call, and its result."""
    sizes, bound = [], CountObjective._bounded

    def noted(self, rows, thetas, *others):
        sizes.append(len(thetas))
        return bound(self, rows, thetas, *others)

    with mock.patch.object(CountObjective, "_bounded", noted):
        found = mf.random_search(objective, mf.Normal(), n_candidates, **options)
    return sizes, found


@pytest.mark.parametrize("top_k", [1, 100])
def test_where_errors_are_near_the_threshold_not_every_run_tries_bounds(top_k):
    objective = counted()
    sizes, found = bounded(objective, 20_000, top_k=top_k)
    assert len(sizes) <= 1
    whole = mf.random_search(objective, mf.Normal(), 20_000, top_k=top_k, prune=False)
    assert found.top.tobytes() == whole.top.tobytes()
    assert found.trace.tobytes() == whole.trace.tobytes()


@pytest.mark.parametrize("n_workers", [None, 2])
def test_where_bounds_of_errors_pay_all_candidates_after_the_trial_are_bounded(n_workers):
    X = np.random.default_rng(1).standard_normal((2000, 3))
    counts = mf.ConfusionCounts(X, X[:, 0] > 0, n_threads=1)
    objective = mf.CountObjective(counts, "error")
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(n_workers)) if n_workers else None
        sizes, found = bounded(objective, 20_000, executor=pool)
    whole = mf.random_search(objective, mf.Normal(), 20_000, prune=False)
    assert found.top.tobytes() == whole.top.tobytes()
    assert found.trace.tobytes() == whole.trace.tobytes()
    assert sum(sizes) > 15_000
    assert found.rows_evaluated_fraction < 0.5


def test_a_trial_of_few_candidates_leaves_as_many_rows_out_with_many_threads():
    X = np.random.default_rng(1).standard_normal((2000, 3))
    parts = []
    for n_threads in (1, 2, 8):
        counts = mf.ConfusionCounts(X, X[:, 0] > 0, n_threads=n_threads)
        objective = mf.CountObjective(counts, "error")
        parts.append(objective.pruned_loss(mf.Normal(), 0, 0, LEAST_TRIED, 0.1)[1])
    assert parts[0] < 0.9
    assert parts == [parts[0]] * 3


def test_a_long_search_counts_in_single_precision_from_its_first_candidate_on():
    objective, count, narrow = counted(), mf.ConfusionCounts._count, []

    def noted(self, thetas):
        cells = count(self, thetas)
        narrow.append(self._rows.together.has_narrow_rows)
        return cells

    with mock.patch.object(mf.ConfusionCounts, "_count", noted):
        for n_candidates in (5000, 400):
            mf.random_search(objective, mf.Normal(), n_candidates)
            assert set(narrow) == {n_candidates > 512}
            narrow.clear()
    assert not objective.confusion._rows.together.has_narrow_rows


def test_each_search_learns_for_itself_and_calls_outside_of_one_try_each_time():
    objective = counted()
    mine, other = objective._for_search(), objective._for_search()
    worker, copied = pickle.loads(pickle.dumps(mine)), mine.with_threads(2)
    mine._note_losses(np.full(100, 0.5))
    objective._note_losses(np.full(100, 0.5))
    assert not mine._bounding.may_pay(0.4)
    assert copied._bounding is mine._bounding
    assert other._bounding.may_pay(0.4)
    assert worker._bounding.may_pay(0.4)
    assert objective._bounding is None
    assert [bounded(objective, 20_000)[0] for _ in range(2)] == [bounded(objective, 20_000)[0]] * 2
    with mock.patch.object(Bounding, "learn", autospec=True) as learned:
        for _ in range(2):
            objective.pruned_loss(mf.Normal(), 0, 0, 500, 0.4)
    assert [call.args[1] for call in learned.call_args_list] == [LEAST_TRIED] * 2


def test_after_a_trial_that_failed_bounds_are_tried_where_the_threshold_fell_much():
    bounding = Bounding(1.85)
    bounding.note(np.full(48, 0.5))
    assert not bounding.may_pay(0.4)  # 1.85 times 4/5 of the rows
    assert bounding.may_pay(0.3)
    bounding.learn(96, 0.8, 0, 0.3)
    assert not bounding.may_pay(0.3)
    assert not bounding.may_pay(0.2)  # 1.48 was taken where 1.11 was foreseen: 0.99
    assert bounding.may_pay(0.15)
    bounding.learn(96, 0.1, 0, 0.15)
    assert bounding.may_pay(0.3)  # as long as they pay


def test_where_no_losses_are_known_bounds_that_failed_wait():
    bounding = Bounding(1.0)
    bounding.note(np.full(FEWEST - 1, 0.1))  # which tell nothing
    assert bounding.may_pay(0.4)
    bounding.learn(96, 0.9, 20, 0.4)
    bounding.trial.passed(9599)
    assert not bounding.may_pay(0.4)
    bounding.trial.passed(1)
    assert bounding.may_pay(0.4)


def test_an_objective_whose_losses_are_a_users_own_is_searched_itself():
    class Counted(CountObjective):
        def batch_loss(self, thetas):
            self.calls = getattr(self, "calls", 0) + 1
            return super().batch_loss(thetas)

    objective = Counted(counted().confusion)
    mf.random_search(objective, mf.Normal(), 100)
    assert objective.calls > 0
