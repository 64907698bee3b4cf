"""Under np.seterr(all="raise") and with warnings as errors, every call does what it always does.

What is computed inside may overflow and underflow. Functions of the caller's own run under the
caller's settings, and those are left as they were.
"""

import contextlib
import json
import warnings

import numpy as np
import pytest
import test_every_argument as of_objects
import test_every_argument_of_estimators as of_estimators
import test_every_argument_of_runs as of_runs
from matplotlib import pyplot
from wrong_arguments import files, limited_memory  # noqa: F401 - fixtures

import metaopt_fast as mf
from metaopt_fast import metrics
from metaopt_fast.cli import program as cli
from metaopt_fast.data.standardize import standardize_in_place as standardize
from metaopt_fast.descent.gradient_descent import METHODS
from metaopt_fast.floating_errors import shielded
from metaopt_fast.selection.tune import tune
from metaopt_fast.sklearn import LogisticRegression, LogisticRegressionSearchCV

N = 40
NOISE = np.random.default_rng(0).normal(size=(N, 4))
Y = np.arange(N) % 2
# From numbers whose squares are 0 to those whose squares are infinite; the last column of `loud`
# separates the classes.
DATA = {
    "wide": NOISE * [1e-200, 1e-3, 1e150, 1e4],
    "tiny": NOISE * 1e-310,
    "loud": np.column_stack([NOISE[:, :3], (2 * Y - 1) * 1e4]),
    "flat": NOISE * [1e-40, 1e-3, 1e30, 1.0],
}
THETAS = NOISE[:6] * [1e150, 1e-300, 1e-150, 1.0]
LOSSES = ("LogisticLoss", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss")
WEIGHTS = np.ldexp(1.0, np.linspace(-1070, 900, N).astype(int))


@contextlib.contextmanager
def strict():
    """The settings of who looks for faults; they must be there at the end, too."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        assert set(np.geterr().values()) == {"raise"}


# ------------------------------------------------------------------------------- every public call

VALID = {**of_objects.ENTRIES, **of_runs.ENTRIES, **of_estimators.ENTRIES}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", VALID)
def test_every_valid_call_is_as_good_as_ever(name):
    entry = VALID[name]
    with strict():
        entry.function(**entry.valid)
    pyplot.close("all")


def test_the_program_is_as_good_as_ever(tmp_path, capsys):
    path = tmp_path / "data.csv"
    rows = "\n".join(f"{a},{b},{t}" for (a, b), t in zip(DATA["loud"][:, 2:], Y, strict=True))
    path.write_text(f"a,b,t\n{rows}\n")
    common = [str(path), "--target", "t", "--json"]
    with strict():
        for options in (
            ["search", *common, "--candidates", "500", "--scale", "1e150"],
            ["search", *common, "--candidates", "500", "--method", "cem"],
            ["tune", *common, "--candidates", "3", "--cv", "2", "--high", "1e300"],
        ):
            assert cli.main(options) == 0
            assert json.loads(capsys.readouterr().out)


# ------------------------------------------------------------ what overflows and underflows inside


@pytest.mark.sanitized
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_of_rows_and_weights_of_any_size(kind, data):
    X, kind = DATA[data], getattr(mf, kind)
    with strict():
        for dtype in ("float64", "float32") if data == "flat" else ("float64",):
            objective = kind(X, Y, WEIGHTS, l2=1e-300, dtype=dtype)
            thetas = np.clip(THETAS, -1e30, 1e30)
            objective.loss_gradient(thetas[0])
            objective.gradient(thetas[0])
            objective.batch_loss_gradient(thetas)
            objective.pruned_loss(thetas, 0, 0, len(thetas), 0.5)
            objective.sampled_loss(mf.Normal(0, 1e10), 0, 0, 5)
            objective.subset(np.arange(20)).minibatches(7)
            if objective.is_smooth:
                objective.lipschitz()
            twice = np.r_[X, X], np.r_[Y, Y], np.r_[WEIGHTS, WEIGHTS]
            kind(*twice, merge_duplicates=True, dtype=dtype)
            mf.random_search(objective, mf.Normal(0, 1e5), 100, top_k=3)


@pytest.mark.long
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_a_descent_whose_steps_leave_the_range(method, data):
    objective = mf.LogisticLoss(DATA[data], Y, l2=1e-300)
    rates = {"learning_rate": mf.LogUniform(1e-320, 1e300), "l2": mf.LogUniform(1e-320, 1e300)}
    validation = mf.LogisticLoss(DATA[data], Y)
    with strict():
        for rate in (None, 1e-300, 1e5):
            mf.gradient_descent(
                objective, method=method, learning_rate=rate, l2=[1e-320, 1e300], max_iter=8
            )
        mf.search_descents(
            objective, rates, 4, validation=validation, method=method, max_iter=3, top_k=2
        )


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", ["cem", "snes", "ars", "shrinking"])
def test_an_evolution_whose_numbers_leave_the_range(method, data):
    objective = mf.LogisticLoss(DATA[data], Y, l2=1e-300)
    with strict():
        for start in (mf.Normal(0, 1e-300), mf.Uniform(-1e30, 1e30), np.full(4, 1e-310)):
            mf.evolve(objective, start, method=method, population=6, generations=6)


MEASURES = (*metrics.METRICS, metrics.Cost(1e-320, 1e290, 1e-10), metrics.expected_utility(1e-320))


@pytest.mark.sanitized
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no weights", "weights"])
@pytest.mark.parametrize("data", DATA)
def test_counts_and_areas_of_weights_of_any_size(data, weights):
    X, groups = DATA[data], np.arange(N) // 2 % 2
    with strict():
        area = mf.AUCObjective(X, Y, weights)
        area.auc(THETAS[0])
        area.batch_auc(THETAS)
        mf.random_search(area, mf.Normal(0, 1e3), 50)
        counts = mf.ConfusionCounts(
            X, Y, groups=groups, thresholds=(1e-300, 0.5, 1 - 1e-16), sample_weight=weights
        )
        for measure in MEASURES:
            for limit in ({}, {"max_gap": 1e-320}, {"max_gap": 0.1, "penalty": 1e300}):
                objective = mf.CountObjective(counts, measure, **limit)
                objective.gaps(THETAS)
                objective.pruned_loss(THETAS, 0, 0, len(THETAS), 1e-320)
                mf.random_search(objective, mf.Normal(0, 1e3), 50)


@pytest.mark.long(everywhere=True)
@pytest.mark.filterwarnings("ignore:.*did not converge", "ignore:l2 is 0")
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("C", [1e-12, 1e12, np.inf])
def test_estimators_and_every_score(data, C):
    X = DATA[data]
    with np.errstate(all="raise"):
        model = LogisticRegression(C=C, class_weight={0: 1e-300, 1: 1.0}).fit(X, Y)
        for rows in (X, X * 1e5):
            model.predict(rows), model.predict_proba(rows), model.predict_log_proba(rows)
        LogisticRegressionSearchCV(
            candidates={"C": [C, 1e5]},
            scoring=["neg_log_loss", "accuracy", "balanced_accuracy", "f1", "roc_auc", "brier"],
            refit="brier",
            one_standard_error=True,
            cv=2,
        ).fit(X, Y)
        tune(X, Y, 3, cv=2, low=1e-300, high=1e300)
        standardize(X.copy())


@pytest.mark.parametrize("points", [[2000, -1000], [2**31, -(2**31), 1], [0, 0], [800] * 3])
def test_a_scorecard_whose_risks_are_0_and_1(points):
    rows = np.tri(6, len(points))
    with strict():
        card = mf.Scorecard.from_theta(points)
        repr(card), card.to_dict(), card.predict(rows)
        card.risk(rows * 1e3), card.score(rows * 1e-310)
        mf.Scorecard.from_theta(points, X=rows, y=[0, 1, 1, 0, 1, 0])


def test_samplers_of_the_smallest_and_the_largest_numbers():
    with strict():
        for low, high in ((5e-324, 1e-323), (5e-324, 1e308)):
            sampler = mf.LogUniform(low, high)
            sampler.values(sampler.exponents.sample(0, 0, 50, 1)[:, 0])
            sampler.values(np.linspace(-2000, 2000, 50))
        for sampler in (
            mf.Uniform(5e-324, 1e-323),
            mf.Normal(1e-320, 1e-320),
            mf.Uniform(-1e308, 7e307),
        ):
            sampler.sample(0, 0, 5, 3)


# ---------------------------------------------------------------------------- the caller's own code


class Mine:
    """An objective of the caller's, which remembers under which settings it ran."""

    n_params = 3

    def __init__(self):
        self.seen = set()

    def batch_loss(self, thetas):
        self.seen.update(np.geterr().values())
        return (thetas**2).sum(axis=1)

    def loss_gradient(self, theta):
        return float(self.batch_loss(theta[None])[0]), 2 * theta


def test_an_objective_and_a_callback_of_ones_own_run_under_ones_own_settings(monkeypatch):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    monkeypatch.setattr("metaopt_fast.evolution.run.CALLBACK_INTERVAL", 0.0)
    mine = Mine()

    def callback(result):
        mine.seen.update(np.geterr().values())

    def sampler(start, count):
        mine.seen.update(np.geterr().values())
        return np.ones((count, 3))

    with np.errstate(all="print"):
        mf.random_search(mine, sampler, 100, callback=callback)
        mf.evolve(mine, mf.Normal(), population=4, generations=3, callback=callback)
        mf.gradient_descent(mine, np.ones(3), learning_rate=0.1, max_iter=3)
        mf.search_descents(
            mine, {"l2": mf.Uniform(0, 1)}, 3, validation=mine, learning_rate=0.1, max_iter=2
        )
    assert mine.seen == {"print"}


def test_a_metric_of_ones_own_runs_under_ones_own_settings():
    seen = set()

    def metric(counts):
        seen.update(np.geterr().values())
        return counts[:, :, 0, 1:3].sum(axis=(1, 2))

    counts = mf.ConfusionCounts(NOISE, Y, groups=Y)
    with np.errstate(all="print"):
        for limit in ({}, {"max_gap": 0.5}):
            objective = mf.CountObjective(counts, metric, **limit)
            mf.random_search(objective, mf.Normal(), 10)
            mf.evolve(objective, mf.Normal(), population=4, generations=2)
    assert seen == {"print"}


def test_the_settings_of_the_caller_are_there_again_after_an_error_and_a_call_within():
    @shielded
    def inner(depth):
        assert set(np.geterr().values()) == {"ignore"}
        if depth == 0:
            raise ZeroDivisionError
        inner(depth - 1)

    with np.errstate(all="raise", divide="print"):
        before = np.geterr()
        with pytest.raises(ZeroDivisionError):
            inner(3)
        assert np.geterr() == before
