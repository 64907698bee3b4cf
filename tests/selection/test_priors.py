"""learn_prior: what models of unseen tasks are drawn to, and how much of it is learned."""

import sys

import numpy as np
import pytest
from scipy.optimize import minimize

import metaopt_fast as mf
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.result import Status
from metaopt_fast.fitting.tasks import Grouped
from metaopt_fast.reference import priors as reference
from metaopt_fast.selection import rungs
from metaopt_fast.selection.episodes import Episodes, draw_episodes


def make_tasks(n_tasks=16, n_rows=40, n_features=3, spread=0.2, seed=0, common=(2.0, -1.0, 0.5)):
    """Tasks whose models are near a common one."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), n_rows)
    theta = np.resize(common, n_features) + spread * rng.normal(size=(n_tasks, n_features))
    X = rng.normal(size=(len(tasks), n_features))
    y = (X * theta[tasks]).sum(axis=1) + rng.logistic(size=len(tasks)) > 0
    return X, y, tasks


X, Y, TASKS = make_tasks()
SMALL = {"n_support": 8, "n_episodes": 3, "max_iter": 4}


def episodes_of(X, y, tasks, size=8, n_episodes=2, fit_intercept=True):
    grouped = Grouped.of(X, y, tasks)
    drawn = draw_episodes(grouped, (size, size), n_episodes, 0)
    return Episodes(grouped, fit_intercept, Effort.of(1e-10, 100, 1), drawn)


def slow_value(episodes, center, penalty):
    """The mean loss of episodes, by SciPy's minimiser."""
    X, codes = episodes.grouped.X, episodes.grouped.codes
    rows = np.column_stack([X, np.ones(len(X))]) if episodes.fit_intercept else X
    signs = np.where(codes, 1.0, -1.0)[:, None] * rows
    losses = []
    for support, query in zip(episodes.drawn.supports, episodes.drawn.queries, strict=True):

        def objective(theta, rows=signs[support]):
            far = theta - center
            loss = np.logaddexp(0, -rows @ theta).sum() + (penalty * far**2).sum() / 2
            return loss, penalty * far - rows.T @ (1 / (1 + np.exp(rows @ theta)))

        theta = minimize(objective, center, jac=True, tol=1e-13, method="BFGS").x
        losses.append(np.logaddexp(0, -signs[query] @ theta).mean())
    return np.mean(losses)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_value_of_a_prior_and_its_gradients_are_those_of_differences(fit_intercept):
    episodes = episodes_of(*make_tasks(3, 20), fit_intercept=fit_intercept)
    rng = np.random.default_rng(1)
    n = 3 + fit_intercept
    center, logs, step = rng.normal(size=n), rng.normal(size=n), 1e-4
    found = episodes.value(center, np.exp(logs))
    assert found.loss == pytest.approx(slow_value(episodes, center, np.exp(logs)), rel=1e-7)
    for j, unit in enumerate(step * np.eye(n)):
        ends = [episodes.value(center + s * unit, np.exp(logs)).loss for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found.by_center[j] == pytest.approx(slope, abs=1e-7)
        ends = [episodes.value(center, np.exp(logs + s * unit)).loss for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found.by_log_penalty[j] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_value_of_a_prior_and_its_gradients_are_the_slow_twin_s(fit_intercept):
    episodes = episodes_of(*make_tasks(5, 30, 6), fit_intercept=fit_intercept)
    rng, n = np.random.default_rng(2), 6 + fit_intercept
    center, penalty = rng.normal(size=n), np.exp(rng.normal(size=n))
    found = episodes.value(center, penalty)
    X, codes, drawn = episodes.grouped.X, episodes.grouped.codes, episodes.drawn
    parts = [
        tuple((X[rows], codes[rows]) for rows in both)
        for both in zip(drawn.supports, drawn.queries, strict=True)
    ]
    loss, by_center, by_log = reference.value(parts, center, penalty, fit_intercept)
    assert found.loss == pytest.approx(loss, rel=1e-9)
    assert found.by_center == pytest.approx(by_center, abs=1e-9)
    assert found.by_log_penalty == pytest.approx(by_log, abs=1e-9)


def test_a_start_changes_no_value():
    episodes = episodes_of(X, Y, TASKS)
    center, penalty = np.ones(4), np.full(4, 2.0)
    found = episodes.value(center, penalty)
    again = episodes.value(center, penalty, found.thetas + 0.1)
    assert again.loss == pytest.approx(found.loss, rel=1e-12)
    per_task = episodes.losses(center, penalty)
    assert per_task.shape == (16,)
    assert per_task.mean() == pytest.approx(found.loss, rel=1e-14)


def test_episodes_hold_both_classes_and_are_of_their_seed_task_and_number():
    y = np.arange(len(Y)) % 40 < 2
    grouped = Grouped.of(X, y, TASKS)
    drawn = draw_episodes(grouped, (4, 8), 5, 3)
    sizes = {len(rows) for rows in drawn.supports}
    assert sizes <= set(range(4, 9))
    assert len(sizes) > 2
    for support, query, task in zip(drawn.supports, drawn.queries, drawn.task_of, strict=True):
        assert set(TASKS[np.concatenate([support, query])]) == {task}
        assert not set(support) & set(query)
        assert len(support) + len(query) == 40
        assert 0 < y[support].sum() < len(support)
    fewer = draw_episodes(grouped, (4, 8), 2, 3)
    for e in range(2):
        assert (fewer.supports[2 * 7 + e] == drawn.supports[5 * 7 + e]).all()


def test_tasks_with_a_common_answer_are_shrunk_to_it():
    prior = mf.learn_prior(X, Y, TASKS, **SMALL)
    assert prior.level == "pooled"
    assert prior.center[:3] == pytest.approx([2.0, -1.0, 0.5], abs=0.5)
    assert list(prior.held_out) == ["plain", "pooled", "center", "penalties"]
    assert prior.held_out["pooled"].mean() < 0.9 * prior.held_out["plain"].mean()
    assert prior.trace["center"].min() == pytest.approx(prior.held_out["center"].mean(), rel=0.02)
    assert "level 'pooled'" in repr(prior)
    assert "no gain" not in repr(prior)
    new_X, new_y, new_tasks = make_tasks(50, 108, seed=1)
    few = np.arange(len(new_y)) % 108 < 8
    plain = mf.learn_prior(X, Y, TASKS, level="plain", **SMALL)
    losses = []
    for each in (prior, plain):
        fits = each.fit(new_X[few], new_y[few], new_tasks[few])
        assert fits.certified.all()
        theta = fits.theta[new_tasks[~few]]
        z = (new_X[~few] * theta[:, :3]).sum(axis=1) + theta[:, 3]
        losses.append(np.logaddexp(0, np.where(new_y[~few], -z, z)).mean())
    assert losses[0] < 0.9 * losses[1]


@pytest.mark.parametrize("seed", range(4))
def test_labels_at_random_leave_plain_models(seed):
    rng = np.random.default_rng(seed)
    prior = mf.learn_prior(X, rng.random(len(Y)) < 0.5, TASKS, seed=seed, **SMALL)
    assert prior.level == "plain"
    assert (prior.center == 0).all()
    assert "no gain over plain models" in repr(prior)


@pytest.mark.long
def test_labels_at_random_leave_plain_models_for_19_of_20_seeds():
    levels = []
    for seed in range(20):
        y = np.random.default_rng(100 + seed).random(len(Y)) < 0.5
        levels.append(mf.learn_prior(X, y, TASKS, seed=seed, **SMALL).level)
    assert levels.count("plain") >= 19


def test_tasks_with_opposite_answers_leave_a_centre_near_0():
    X, y, tasks = make_tasks(16, 40, 1, 0.0, common=(3.0,))
    y = np.where(tasks % 2, y, ~y)
    prior = mf.learn_prior(X, y, tasks, level="center", **SMALL)
    assert abs(prior.center[0]) < 0.5
    assert mf.learn_prior(X, y, tasks, **SMALL).level == "plain"


def test_equal_tasks_have_the_strongest_penalties():
    X, y, tasks = make_tasks(40, 60, 2, 0.0, common=(1.0, -1.0))
    prior = mf.learn_prior(X, y, tasks, level="pooled", **SMALL)
    assert prior.penalty[0] > np.exp(3)


def test_a_penalty_of_each_feature_is_learned():
    rng = np.random.default_rng(0)
    X, _, tasks = make_tasks(40, 60, 2)
    theta = np.column_stack([np.full(40, 1.5), 3 * rng.normal(size=40)])
    y = (X * theta[tasks]).sum(axis=1) + rng.logistic(size=len(X)) > 0
    prior = mf.learn_prior(X, y, tasks, n_support=15, n_episodes=3, level="penalties", max_iter=12)
    assert prior.penalty[0] > 3 * prior.penalty[1]
    assert prior.center[0] == pytest.approx(1.5, abs=0.5)


def test_features_in_another_order_have_the_same_prior():
    order = [2, 0, 1]
    prior = mf.learn_prior(X, Y, TASKS, level="pooled", fit_intercept=False, **SMALL)
    other = mf.learn_prior(X[:, order], Y, TASKS, level="pooled", fit_intercept=False, **SMALL)
    assert other.center == pytest.approx(prior.center[order], rel=1e-6)
    assert other.penalty == pytest.approx(prior.penalty[order])
    assert prior.fit(X, Y).theta.shape == (1, 3)


def test_a_prior_is_the_same_bits_for_any_number_of_threads():
    one, other = (mf.learn_prior(X, Y, TASKS, n_threads=n, **SMALL) for n in (1, 3))
    assert (one.center == other.center).all()
    assert (one.penalty == other.penalty).all()


def test_a_new_task_is_that_of_fit_many_and_may_have_one_class():
    prior = mf.learn_prior(X, np.where(Y, "yes", "no"), TASKS, level="pooled", **SMALL)
    fits = prior.fit(X[:9], np.where(Y[:9], "yes", "no"))
    by_hand = mf.fit_many(X[:9], Y[:9], l2=1 / 9, center=prior.center, penalty_factor=prior.penalty)
    assert fits.theta[0] == pytest.approx(by_hand.theta[0], abs=1e-6)
    assert fits.classes == ["no", "yes"]
    assert fits.l2.tolist() == [1 / 9]
    one_sided = prior.fit(X[:3], ["yes"] * 3)
    assert one_sided.certified.all()
    assert one_sided.theta[0, 3] > prior.center[3]
    with pytest.raises(ValueError, match="y holds 'maybe': pass one of the labels 'no' and 'yes'"):
        prior.fit(X[:3], ["yes", "no", "maybe"])
    with pytest.raises(ValueError, match=r"y has 2 labels: .* the 3 rows of X"):
        prior.fit(X[:3], ["yes", "no"])
    with pytest.raises(ValueError, match="X has 2 columns, but the prior is of 3"):
        prior.fit(X[:3, :2], ["yes"] * 3)
    with pytest.warns(RuntimeWarning, match="in 1 iterations"):
        plain = mf.learn_prior(X, Y, TASKS, level="plain", **SMALL)
        plain.fit(X[:9], Y[:9], max_iter=1)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"n_support": 1}, "n_support is 1: pass"),
        ({"n_support": (9, 8)}, r"n_support is .*: pass the smaller number first"),
        ({"n_support": 40}, "task 0 has 40 rows, but n_support is 40"),
        ({"n_support": (8, 60)}, "task 0 has 40 rows, but n_support is 60"),
        ({"tasks": np.zeros(len(Y))}, "tasks holds one task alone"),
        ({"y": np.where(TASKS == 5, True, Y)}, "task 5 has fewer than 2 rows of class False"),
        ({"level": "best"}, r"level is 'best' .*: pass one of 'auto', 'plain'"),
        ({"folds": 17}, "folds is 17"),
        ({"X": np.ones((len(Y), 128))}, "X has 128 columns: pass 1 to 127 features"),
    ],
)
def test_bad_input_is_one_sentence(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        mf.learn_prior(**({"X": X, "y": Y, "tasks": TASKS} | SMALL | asked))


@pytest.mark.parametrize(("level", "total"), [("auto", 10), ("center", 6), ("plain", 1)])
def test_a_line_of_progress_counts_levels_and_descents(level, total, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    mf.learn_prior(X, Y, TASKS, level=level, folds=2, progress="always", **SMALL)
    last = capsys.readouterr().err.split("\r")[-1]
    assert f"100.0%  {total} of {total} " in last


def test_a_pair_of_sizes_is_drawn_between_both():
    prior = mf.learn_prior(X, Y, TASKS, n_support=(4, 12), level="plain", n_episodes=2)
    assert prior.level == "plain"
    assert list(prior.held_out) == ["plain"]
    assert "no gain" not in repr(prior)


def test_the_range_of_learned_penalties_is_turned_back_and_forth():
    logs = np.array([-8.0, 0.0, 3.0, 8.0])
    assert rungs.bounded(rungs.unbounded(logs))[0] == pytest.approx(logs, rel=1e-12)
    x = np.linspace(-20, 20, 9)
    slopes = (rungs.bounded(x + 1e-6)[0] - rungs.bounded(x - 1e-6)[0]) / 2e-6
    assert rungs.bounded(x)[1] == pytest.approx(slopes, abs=1e-8)


def test_ctrl_c_leaves_a_prior_of_the_levels_that_were_tried(monkeypatch):
    def stopped(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(rungs.Ladder, "center", stopped)
    prior = mf.learn_prior(X, Y, TASKS, **SMALL)
    assert prior.interrupted
    assert list(prior.held_out) == ["plain", "pooled"]
    assert prior.level == "pooled"
    assert "level 'pooled', interrupted" in repr(prior)
    with pytest.raises(KeyboardInterrupt):
        mf.learn_prior(X, Y, TASKS, level="penalties", **SMALL)
    monkeypatch.setattr(rungs.Ladder, "plain", stopped)
    with pytest.raises(KeyboardInterrupt):
        mf.learn_prior(X, Y, TASKS, **SMALL)


def test_some_of_an_interrupted_fit_s_models_judge_no_prior(monkeypatch):
    episodes = episodes_of(X, Y, TASKS)
    fit = type(episodes.supports).fit

    def interrupted(self, *arguments):
        found = fit(self, *arguments)
        found.status[-1] = Status.INTERRUPTED
        return found

    monkeypatch.setattr(type(episodes.supports), "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        episodes.losses(np.zeros(4), np.ones(4))
