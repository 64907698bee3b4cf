"""Penalties of groups of features: where the descent ends, what the prior does, bad input."""

import numpy as np
import pytest
from fits import problem

import metaopt_fast as mf
from metaopt_fast.reference import fitting as reference
from metaopt_fast.selection import penalties

X, Y, FOLDS, WEIGHTS = problem(n_samples=90)
WEIGHTS = WEIGHTS + 1
GROUPS = np.array([1, 0, 2, 1, 0, 1])


@pytest.fixture(scope="module")
def sources():
    """Two sources of features, of which the first tells and the second is noise."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 20))
    y = rows[:, :10] @ rng.normal(size=10) + 2 * rng.normal(size=200) > 0
    return rows, y, np.arange(20) // 10


def tune(rows=X, y=Y, **asked):
    return mf.tune_penalties(rows, y, **{"feature_groups": GROUPS, "folds": FOLDS, **asked})


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("spread", [0.003, 0.03])
def test_where_it_ends_the_slow_twin_finds_no_derivative(spread, class_weight, fit_intercept):
    asked = {"class_weight": class_weight, "fit_intercept": fit_intercept, "sample_weight": WEIGHTS}
    found = tune(spread=spread, tol=1e-5, **asked)
    assert found.status == "converged"
    asked |= {"penalty_factor": found.l2[GROUPS], "feature_groups": GROUPS, "folds": FOLDS}
    twin = reference.fit_many(X, Y, l2=1.0, validation_gradient=True, **asked)
    logs = np.log(found.l2)
    slopes = twin.validation_gradient[0].mean(axis=0) + 2 * spread / 3 * (logs - logs.mean())
    # Logarithms are rounded to 1/1024.
    assert np.abs(slopes).max() < 1e-4
    assert found.validation_loss == pytest.approx(twin.validation_loss.mean(), rel=1e-9)
    prior = spread * np.mean((logs - logs.mean()) ** 2)
    assert found.trace[-1] == pytest.approx(found.validation_loss + prior, abs=1e-5)
    assert found.trace[-1] <= found.trace[0] == pytest.approx(found.scalar_loss, rel=1e-9)


def test_the_model_is_that_of_all_rows_at_these_penalties():
    found = tune()
    one = mf.fit_many(X, Y, l2=1.0, penalty_factor=found.l2[GROUPS])
    np.testing.assert_array_equal(found.theta, one.theta[0])
    assert found.model().predict(X).tolist() == one.model().predict(X).tolist()
    found.theta[:] = 0
    assert found.theta.any()


def test_the_common_penalty_is_the_best_of_a_grid():
    found = tune()
    assert found.l2.shape == (3,) and found.feature_groups.tolist() == GROUPS.tolist()
    l2 = np.exp(np.linspace(-14, 4, 37))
    losses = mf.fit_many(X, Y, l2=l2, folds=FOLDS).validation_loss.mean(axis=1)
    assert found.scalar_loss <= losses.min() + 1e-12
    assert abs(np.log(found.scalar_l2 / l2[losses.argmin()])) <= 0.5 + 1e-9
    at = mf.fit_many(X, Y, l2=found.scalar_l2, folds=FOLDS).validation_loss
    assert found.scalar_loss == pytest.approx(at.mean(), rel=1e-9)


def test_one_group_has_the_plain_model_of_the_best_common_penalty():
    found = tune(feature_groups=np.zeros(6, int))
    assert found.l2.shape == (1,) and found.validation_loss <= found.scalar_loss
    np.testing.assert_array_equal(found.theta, mf.fit_many(X, Y, l2=found.l2).theta[0])


def test_a_source_of_noise_is_penalised_more_and_fresh_rows_are_told_better(sources):
    rows, y, groups = sources
    found = mf.tune_penalties(rows[:120], y[:120], feature_groups=groups)
    assert found.l2[1] > 2 * found.l2[0] and found.validation_loss < found.scalar_loss
    common = mf.fit_many(rows[:120], y[:120], l2=found.scalar_l2)
    fresh = mf.LogisticLoss(rows[120:], y[120:], fit_intercept=True)
    assert fresh.loss(found.theta) < fresh.loss(common.theta[0])


def test_a_stronger_prior_holds_penalties_together(sources):
    rows, y, groups = sources
    ratios = []
    for spread in (1e-3, 0.03, 100.0):
        l2 = mf.tune_penalties(rows, y, feature_groups=groups, spread=spread).l2
        ratios.append(np.log(l2[1] / l2[0]))
    assert ratios[0] > ratios[1] > ratios[2] > -0.01 and ratios[2] < 0.01


def test_rows_that_a_plane_separates_end_at_the_least_penalty():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    found = tune(rows, rows[:, 0] > 0, feature_groups=[0, 1, 1], folds=3, spread=1e-6)
    assert found.l2.min() >= np.exp(-14) * (1 - 1e-12) and found.l2[0] < 1e-4
    assert found.l2.max() <= np.exp(4) * (1 + 1e-12)


def test_weights_are_rows_repeated():
    counts = WEIGHTS.astype(int)
    found = tune(sample_weight=counts)
    other = tune(np.repeat(X, counts, axis=0), np.repeat(Y, counts), folds=FOLDS.repeat(counts))
    np.testing.assert_array_equal(found.l2, other.l2)
    assert found.validation_loss == pytest.approx(other.validation_loss, rel=1e-9)


def test_groups_may_be_numbered_in_any_order_and_threads_be_any():
    found = tune()
    for n_threads in (1, 3):
        again = tune(n_threads=n_threads)
        assert (
            again.l2.tobytes() == found.l2.tobytes()
            and again.trace.tobytes() == found.trace.tobytes()
        )
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(tune(feature_groups=order[GROUPS]).l2[order], found.l2, rtol=2e-3)
    assert tune(max_iter=0).l2 == pytest.approx(np.full(3, found.scalar_l2), rel=1e-3)


def test_ctrl_c_ends_it_with_the_best_penalties_so_far(monkeypatch):
    calls, validate = [], penalties.Validated.validate

    def tiring(self, *given):
        calls.append(given)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return validate(self, *given)

    monkeypatch.setattr(penalties.Validated, "validate", tiring)
    found = tune(tol=0.0)
    assert found.status == "interrupted" and found.n_points == 37 + 17 + 2 + 1
    assert found.fit.converged.all()


def test_it_draws_and_prints_itself():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    found = tune()
    ax = found.plot()
    assert ax.get_yscale() == "log" and len(ax.lines[0].get_ydata()) == 3
    pyplot.close(ax.figure)
    lines = repr(found).splitlines()
    assert "3 groups" in lines[0] and len(lines) == 4 and max(map(len, lines)) < 100


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"feature_groups": [0, 1]}, "feature_groups has 2 entries, but X has 6 columns: pass"),
        ({"feature_groups": None}, "feature_groups is None.*: pass"),
        ({"spread": 0.0}, "spread is 0.0: pass a finite number above 0"),
        ({"spread": -1.0}, "spread is -1.0: pass a finite number above 0"),
        ({"folds": None}, "folds is None: pass how many, or the fold of each row"),
        ({"folds": [0, 1]}, "folds has 2 entries, but X has 90 rows: pass"),
        (
            {"folds": np.where(Y > 0, 1, 0)},
            "model 0 without fold 0 has weight in",
        ),
        ({"y": np.tile(Y, (2, 1))}, r"y has shape \(2, 90\): pass one entry for each row"),
        ({"sample_weight": np.ones((2, 90))}, r"sample_weight has shape \(2, 90\): pass one entry"),
        ({"y": np.arange(90) % 3}, "y holds .*: pass labels of two"),
        ({"class_weight": [None, "balanced"]}, "class_weight has 2 entries: pass None"),
        ({"fit_intercept": 1}, "fit_intercept is 1 .*: pass True or False"),
        ({"max_iter": -1}, "max_iter is -1.*: pass"),
        ({"tol": -1.0}, "tol is -1.0.*: pass"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_input_is_one_sentence_that_names_it(wrong, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        tune(**wrong)
    assert "\n" not in str(caught.value)
