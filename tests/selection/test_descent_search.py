"""Search for hyper-parameters: what single descents find, whatever the batch, the best first."""

import concurrent.futures
import re

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.descent.loop import _State
from metaopt_fast.samplers.log_uniform import _exp2
from metaopt_fast.selection.candidates import Descents

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 6))
Y = X @ RNG.normal(size=6) + 2 * RNG.normal(size=300) > 0
HELD_OUT = np.arange(300) % 3 == 0
TRAIN = mf.LogisticLoss(X, Y, fit_intercept=True).subset(~HELD_OUT)
VALIDATION = mf.LogisticLoss(X, Y, fit_intercept=True).subset(HELD_OUT)
SAMPLERS = {
    "learning_rate": mf.LogUniform(1e-3, 10.0),
    "l2": mf.LogUniform(1e-6, 1.0),
    "momentum": mf.Uniform(0.0, 0.99),
}
OPTIONS = {"validation": VALIDATION, "method": "momentum", "max_iter": 20}


def search(n_candidates=60, samplers=SAMPLERS, **options):
    return mf.search_descents(TRAIN, samplers, n_candidates, **{**OPTIONS, **options})


def test_the_best_are_those_of_single_descents():
    found = search(top_k=60)
    losses = []
    for k in range(60):
        own = {name: float(values[k]) for name, values in found.parameters.items()}
        run = mf.gradient_descent(TRAIN, method="momentum", max_iter=20, **own)
        assert run.theta.tobytes() == found.runs.theta[k].tobytes()
        assert run.status == found.runs.status[k]
        losses.append(np.inf if run.status == "diverged" else VALIDATION.loss(run.theta))
    assert losses == found.validation_loss.tolist() == sorted(losses)
    assert sorted(found.search.top["index"]) == list(range(60))
    assert found.loss == losses[0] == VALIDATION.loss(found.theta)


def test_with_early_stopping_the_best_are_those_of_single_descents_that_are_judged():
    options = {"patience": 3, "method": "momentum", "max_iter": 40}
    found = search(20, top_k=20, early_stopping=True, **options)
    for k in range(20):
        own = {name: float(values[k]) for name, values in found.parameters.items()}
        run = mf.gradient_descent(TRAIN, validation=VALIDATION, **options, **own)
        assert run.theta.tobytes() == found.runs.theta[k].tobytes()
        wanted = np.inf if run.status == "diverged" else run.validation_loss
        assert found.validation_loss[k] == wanted
    assert found.loss == VALIDATION.loss(found.theta)
    assert found.loss < search(20, **{**options, "patience": None}).loss
    plain = search(1, **options).search.config["fingerprint"]
    assert search(1, early_stopping=True, **options).search.config["fingerprint"] != plain


def test_a_schedule_and_a_start_that_is_drawn_reach_every_descent():
    samplers = {"init_value": mf.LogUniform(0.01, 1.0), "l2": mf.LogUniform(1e-4, 1.0)}
    options = {"learning_rate": mf.cosine_decay(9.0, 20), "method": "momentum", "max_iter": 20}
    found = search(10, samplers, theta0=mf.Normal(), seed=3, top_k=2, **options)
    start = mf.Normal().sample(3, 0, 1, 7)[0]
    for k in range(2):
        first, l2 = (float(found.parameters[name][k]) for name in samplers)
        rate = mf.cosine_decay(first, 20)
        run = mf.gradient_descent(TRAIN, start, **{**options, "learning_rate": rate, "l2": l2})
        assert run.theta.tobytes() == found.runs.theta[k].tobytes()
    fixed = search(10, {"l2": samplers["l2"]}, **options)
    other = search(
        10, {"l2": samplers["l2"]}, **{**options, "learning_rate": mf.cosine_decay(9.0, 9)}
    )
    assert fixed.search.config["fingerprint"] != other.search.config["fingerprint"]


def test_a_fingerprint_knows_every_entry_of_a_long_option():
    values = np.arange(2000.0)
    other = np.where(values == 1000, np.nextafter(1000, 0), values)
    prints = {
        Descents(TRAIN, VALIDATION, SAMPLERS, None, {"option": option}, 1).fingerprint
        for option in (values, other, (values, 1), (other, 1), [values, 1])
    }
    assert len(prints) == 5


def test_the_result_does_not_depend_on_the_batch():
    found = [search(batch=batch, top_k=5) for batch in (1, 7, 64, 256)]
    for other in found[1:]:
        assert other.search.top.tobytes() == found[0].search.top.tobytes()
        assert other.theta.tobytes() == found[0].theta.tobytes()
        assert other.best == found[0].best


def test_hyper_parameters_stay_within_their_bounds():
    found = search(200, top_k=200)
    for name, low, high in (("learning_rate", 1e-3, 10), ("l2", 1e-6, 1), ("momentum", 0, 0.99)):
        values = found.parameters[name]
        assert low <= values.min() and values.max() <= high
    # As many in the lower half of the logarithms as in the upper.
    below = (found.parameters["l2"] < 1e-3).sum()
    assert 70 < below < 130


def test_a_descent_that_diverged_ranks_last():
    samplers = {"learning_rate": mf.LogUniform(1e-3, 1e6)}
    found = search(50, samplers, method="gd", l2=1.0, max_iter=500, top_k=50)
    diverged = found.runs.status == "diverged"
    assert diverged.any() and not diverged.all()
    first = int(np.argmax(diverged))
    assert diverged[first:].all()
    assert np.isinf(found.validation_loss[first:]).all()


def test_betas_are_drawn_by_names_of_their_own():
    samplers = {"beta1": mf.Uniform(0, 0.9), "learning_rate": mf.LogUniform(0.01, 1)}
    found = search(20, samplers, method="adam")
    options = {"betas": (found.best["beta1"], 0.999), "max_iter": 20}
    run = mf.gradient_descent(
        TRAIN, method="adam", learning_rate=found.best["learning_rate"], **options
    )
    assert run.theta.tobytes() == found.theta.tobytes()


def test_minibatches_and_a_start_reach_every_descent():
    start = np.linspace(-1, 1, 7)
    samplers = {"learning_rate": mf.LogUniform(0.01, 1)}
    options = {"method": "adam", "batch_size": 32, "max_iter": 3}
    found = search(20, samplers, theta0=start, **options)
    run = mf.gradient_descent(TRAIN, start, learning_rate=found.best["learning_rate"], **options)
    assert run.theta.tobytes() == found.theta.tobytes()


def test_a_search_resumes_from_its_checkpoint(tmp_path):
    whole = search(50, batch=8)
    path = tmp_path / "run.db"
    search(20, batch=8, search={"checkpoint": path})
    resumed = search(50, batch=8, search={"checkpoint": path})
    assert resumed.search.top.tobytes() == whole.search.top.tobytes()
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    with pytest.raises(mf.CheckpointError):
        search(50, batch=8, max_iter=21, search={"checkpoint": path})


def test_threads_of_an_executor_find_the_same():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        found = search(50, batch=8, search={"executor": executor})
    assert found.search.top.tobytes() == search(50, batch=8).search.top.tobytes()


def test_ctrl_c_ends_the_search_with_what_is_there():
    class Tiring:
        n_params, n_samples = TRAIN.n_params, TRAIN.n_samples
        left, fingerprint = 100, "tiring"

        def batch_loss_gradient(self, thetas):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return TRAIN.batch_loss_gradient(thetas)

    samplers = {"learning_rate": mf.LogUniform(0.01, 1)}
    found = mf.search_descents(
        Tiring(), samplers, 100, validation=VALIDATION, batch=10, max_iter=20, tol=0.0
    )
    assert found.search.interrupted
    assert 10 <= found.search.n_evaluated < 100


def test_ctrl_c_while_arguments_are_tried_is_not_lost(monkeypatch):
    status = _State.status

    def once(state, limits):
        monkeypatch.setattr(_State, "status", status)
        raise KeyboardInterrupt

    monkeypatch.setattr(_State, "status", once)
    with pytest.raises(KeyboardInterrupt):
        search(5)


def test_the_result_fits_a_screen():
    lines = repr(search(30, top_k=20)).splitlines()
    ranks = [line.split(".")[0].strip() for line in lines if re.match(r" +\d+\. ", line)]
    assert ranks == [str(k + 1) for k in range(len(ranks))] and len(ranks) > 2
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 100


def test_powers_of_two_are_within_two_units_of_the_last_place():
    x = np.random.default_rng(0).uniform(-300, 300, 10_000)
    np.testing.assert_allclose(_exp2(x), np.exp2(x), rtol=5e-16)
    assert _exp2(np.array([-3.0, 0.0, 10.0])).tolist() == [0.125, 1.0, 1024.0]


def test_a_log_uniform_between_neighbours_is_within_them():
    samplers = {"learning_rate": mf.LogUniform(1.0, 1.0000000000000002)}
    found = search(5, samplers, method="gd")
    assert 1.0 <= found.best["learning_rate"] <= 1.0000000000000002


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (2, 1), (1, 1), (1, np.inf), ("1", 2)])
def test_bounds_that_are_none_are_refused(low, high):
    with pytest.raises((ValueError, TypeError), match=r": pass [^\n]*\.$"):
        mf.LogUniform(low, high)


@pytest.mark.parametrize(
    "wrong",
    [
        {"samplers": {}},
        {"samplers": [("l2", mf.Uniform(0, 1))]},
        {"samplers": {"rate": mf.Uniform(0, 1)}},
        {"samplers": {"l2": (0, 1)}},
        {"samplers": {"l2": mf.Uniform([0, 0], [1, 1])}},
        {"samplers": {"beta1": mf.Uniform(0, 1)}},
        {"samplers": {"momentum": mf.Uniform(1, 2)}},
        {"samplers": {"l2": mf.Uniform(0, 1)}, "l2": 0.1},
        {"validation": None},
        {"validation": X},
        {"validation": mf.LogisticLoss(X, Y)},
        {"validation": mf.LogisticLoss(X, Y, fit_intercept=True, l2=0.1)},
        {"n_candidates": 0},
        {"n_candidates": 2.5},
        {"seed": -1},
        {"top_k": 0},
        {"top_k": 61},
        {"batch": 0},
        {"theta0": np.zeros(6)},
        {"theta0": np.zeros((2, 7))},
        {"theta0": mf.Normal(), "seed": -1},
        {"theta0": mf.Normal(np.zeros(6))},
        {"early_stopping": 1},
        {"samplers": {"init_value": mf.Uniform(0.1, 1)}},
        {"samplers": {"init_value": mf.Uniform(0.1, 1)}, "learning_rate": 0.1},
        {"learning_rate": mf.cosine_decay(0.1, 20)},
        {"method": "sgd"},
        {"betas": (0.9, 0.9)},
        {"search": {"seed": 1}},
    ],
    ids=str,
)
def test_arguments_that_are_none_are_refused(wrong):
    with pytest.raises((ValueError, TypeError), match=r": [^\n]*\.$"):
        search(**wrong)


def test_an_objective_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"objective is None.*: pass"):
        mf.search_descents(None, SAMPLERS, 5, validation=VALIDATION)


class Bowl:
    """An objective of one's own, that says nothing of itself."""

    n_params = 2

    def __init__(self, centre=0.0):
        self.centre = centre

    def batch_loss(self, thetas):
        return ((np.asarray(thetas) - self.centre) ** 2).sum(axis=1)

    def batch_loss_gradient(self, thetas):
        return self.batch_loss(thetas), 2 * (np.asarray(thetas) - self.centre)


def test_a_checkpoint_of_another_objective_is_told_by_its_values(tmp_path):
    search = {"checkpoint": tmp_path / "search.sqlite", "fingerprint": "bowl"}
    options = {"search": search, "max_iter": 5}
    rates = {"learning_rate": mf.LogUniform(0.01, 0.4)}
    mf.search_descents(Bowl(1.0), rates, 10, validation=Bowl(1.0), **options)
    for objective, validation in ((1.0, 2.0), (2.0, 1.0)):
        with pytest.raises(mf.CheckpointError, match=r"has the loss .* where the objective gives"):
            mf.search_descents(Bowl(objective), rates, 10, validation=Bowl(validation), **options)
