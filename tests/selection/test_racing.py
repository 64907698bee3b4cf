"""Races of descents: whom they drop, what they spend, and that the others keep their bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.reference import descent as reference
from metaopt_fast.search.result import SearchResult
from metaopt_fast.selection.racing import Racing

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
Y = X @ RNG.normal(size=4) + 2 * RNG.normal(size=120) > 0
HELD_OUT = np.arange(120) % 3 == 0
TRAIN = mf.LogisticLoss(X, Y, fit_intercept=True).subset(~HELD_OUT)
VALIDATION = mf.LogisticLoss(X, Y, fit_intercept=True).subset(HELD_OUT)
SAMPLERS = {"learning_rate": mf.LogUniform(1e-3, 1.0), "l2": mf.LogUniform(1e-6, 1.0)}
ASKED = {"validation": VALIDATION, "early_stopping": True, "method": "adam", "max_iter": 16}


def search(n_candidates=24, objective=TRAIN, samplers=SAMPLERS, **asked):
    return mf.search_descents(objective, samplers, n_candidates, **{**ASKED, **asked})


@pytest.mark.parametrize("kind", ["halving", "hyperband"])
@pytest.mark.parametrize("more", [{}, {"batch_size": 16}, {"method": "lbfgs"}], ids=str)
def test_those_that_are_not_dropped_have_the_bits_that_they_have_without_a_race(kind, more):
    more = {"samplers": {"l2": SAMPLERS["l2"]}, **more} if more.get("method") else more
    raced = search(racing=kind, n_rungs=2, top_k=3, **more)
    every = search(top_k=24, **more)
    where = [every.search.top["index"].tolist().index(k) for k in raced.search.top["index"]]
    assert where == sorted(where)
    for name in ("theta", "loss", "n_iter", "status", "validation_loss", "best_iter"):
        np.testing.assert_array_equal(getattr(raced.runs, name), getattr(every.runs, name)[where])
    width = raced.runs.trace.shape[1]
    assert width == raced.runs.n_iter.max() + 1
    for name in ("trace", "validation_trace"):
        longer = getattr(every.runs, name)[where, :width]
        np.testing.assert_array_equal(getattr(raced.runs, name), longer)
    np.testing.assert_array_equal(raced.validation_loss, every.validation_loss[where])
    np.testing.assert_array_equal(raced.parameters["l2"], every.parameters["l2"][where])
    assert raced.race.passes < every.runs.n_iter.sum() + 24 * (2 if more.get("batch_size") else 1)


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32),
    n_candidates=st.integers(1, 40),
    kind=st.sampled_from(["halving", "hyperband"]),
    reduction=st.integers(2, 4),
    n_rungs=st.integers(1, 2),
    patience=st.sampled_from([None, 2]),
)
def test_rungs_drop_whom_the_slow_twin_drops(
    seed, n_candidates, kind, reduction, n_rungs, patience
):
    asked = {
        "seed": seed,
        "patience": patience,
        "samplers": {"learning_rate": mf.LogUniform(1, 90)},
    }
    asked |= {"method": "gd", "l2": 0.1, "max_iter": 17}
    raced = search(n_candidates, racing=kind, reduction=reduction, n_rungs=n_rungs, **asked)
    every = search(n_candidates, top_k=n_candidates, **asked)
    order = np.argsort(every.search.top["index"])
    traces = every.runs.validation_trace[order]
    diverged = every.runs.status[order] == "diverged"
    brackets = Racing.of(kind, reduction, n_rungs, {"max_iter": 17}).brackets(n_candidates)
    dropped, passes = reference.race(traces, diverged, [tuple(one) for one in brackets])
    found = [rung.index[~rung.kept] for rung in raced.race.rungs]
    assert sorted(np.concatenate(found).tolist()) == np.flatnonzero(dropped).tolist()
    assert raced.race.passes == passes
    assert raced.race.full_passes == n_candidates * 18
    left = np.flatnonzero(~dropped)
    losses = every.validation_loss[order]
    assert raced.search.index == left[np.argmin(losses[left])]
    assert raced.loss == losses[raced.search.index]


def test_halving_keeps_one_in_two_after_an_eighth_a_quarter_and_half_of_the_steps():
    rungs = search(24, racing="halving", tol=0.0).race.rungs
    assert [(rung.n_iter, len(rung.index), int(rung.kept.sum())) for rung in rungs] == [
        (2, 24, 12),
        (4, 12, 6),
        (8, 6, 3),
        (16, 3, 3),
    ]
    for rung in rungs[:3]:
        assert rung.validation_loss[rung.kept].max() <= rung.validation_loss[~rung.kept].min()
        assert (np.diff(rung.index) > 0).all()


def test_brackets_of_hyperband_share_the_candidates_and_cost_about_the_same():
    brackets = Racing.of("hyperband", None, 3, {"max_iter": 81}).brackets(980)
    assert [(b.first, b.last) for b in brackets] == [(0, 540), (540, 780), (780, 900), (900, 980)]
    assert brackets[0].kept == {3: 180, 9: 60, 27: 20} and brackets[3].kept == {}
    few = Racing.of("hyperband", None, 3, {"max_iter": 81}).brackets(2)
    assert [(b.first, b.last) for b in few] == [(0, 1), (1, 2)]


def test_a_descent_that_diverged_is_last_and_one_that_has_converged_is_not_dropped():
    asked = {"method": "gd", "max_iter": 400, "tol": 1e-3, "l2": 1.0}
    samplers = {"learning_rate": mf.LogUniform(0.1, 1e7)}
    raced = search(40, samplers=samplers, racing="halving", top_k=5, **asked)
    rung = raced.race.rungs[0]
    assert np.isinf(rung.validation_loss).any() and np.isfinite(rung.validation_loss).sum() > 5
    assert (raced.runs.status == "converged").all() and (raced.runs.n_iter < 100).all()


def test_what_a_race_spends_is_counted_by_the_objective_itself():
    class Counting:
        n_params, n_samples, fingerprint = TRAIN.n_params, TRAIN.n_samples, "counting"
        looks = 0

        def batch_loss_gradient(self, thetas):
            self.looks += len(thetas)
            return TRAIN.batch_loss_gradient(thetas)

    own = Counting()
    raced = search(objective=own, samplers={"l2": SAMPLERS["l2"]}, racing="halving")
    assert raced.race.passes == own.looks - 1  # at the start, whether arguments are right
    part = raced.race.passes / raced.race.full_passes
    assert raced.search.rows_evaluated_fraction == part < 0.36


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("seed", range(3))
def test_a_race_finds_what_the_whole_search_finds_for_a_third_of_its_passes(seed):
    rows, y, _ = load_breast_cancer()
    data = mf.LogisticLoss(mf.standardize(rows)[0], y, fit_intercept=True)
    held_out = np.arange(len(y)) % 4 == 0
    asked = {"validation": data.subset(held_out), "batch_size": 32, "max_iter": 40, "seed": seed}
    samplers = {"learning_rate": mf.LogUniform(1e-4, 0.1), "l2": mf.LogUniform(1e-4, 1)}
    whole = search(32, data.subset(~held_out), samplers, **asked)
    raced = search(32, data.subset(~held_out), samplers, racing="halving", **asked)
    assert raced.best == whole.best and raced.theta.tobytes() == whole.theta.tobytes()
    assert raced.race.passes <= 0.35 * raced.race.full_passes


def test_ctrl_c_ends_a_race_with_the_best_so_far():
    class Tiring:
        n_params, fingerprint, left = TRAIN.n_params, "tiring", 6

        def batch_loss_gradient(self, thetas):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return TRAIN.batch_loss_gradient(thetas)

    raced = search(objective=Tiring(), samplers={"l2": SAMPLERS["l2"]}, racing="halving", top_k=2)
    assert raced.search.interrupted and raced.runs.status.tolist() == ["interrupted"] * 2
    assert raced.loss == VALIDATION.loss(raced.theta)


def test_a_race_is_a_search_with_a_file_threads_and_a_line_of_progress(tmp_path, capsys):
    raced = search(
        racing="hyperband", n_rungs=2, search={"progress": "always", "metadata": {"a": 1}}
    )
    assert "100%" in capsys.readouterr().err.replace(".0", "")
    raced.search.save(tmp_path / "race.npz")
    loaded = SearchResult.load(tmp_path / "race.npz")
    assert loaded.top.tobytes() == raced.search.top.tobytes()
    assert loaded.config["racing"] == "hyperband 3 2"
    for n_threads in (1, 3):
        again = search(racing="hyperband", n_rungs=2, search={"n_threads": n_threads})
        assert again.theta.tobytes() == raced.theta.tobytes()
        assert again.search.config["fingerprint"] == raced.search.config["fingerprint"]
    whole = search(search={"fingerprint": "mine"})
    assert whole.search.config["fingerprint"] != raced.search.config["fingerprint"]
    assert "of their passes" in repr(raced) and "passes" not in repr(whole)


def test_a_race_draws_itself():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    raced = search(racing="halving")
    ax = raced.plot()
    assert len(ax.lines) == 24
    assert [len(line.get_xdata()) for line in ax.lines].count(1) == 12
    pyplot.close(ax.figure)
    with pytest.raises(ValueError, match=r"this search was none: pass racing='halving'"):
        search(4).plot()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"racing": "fast"}, "racing is 'fast' .*: pass one of 'halving', 'hyperband', or None"),
        ({"racing": 1}, "racing is 1 .*: pass one of"),
        ({"racing": None, "reduction": 2}, "reduction is 2 .*, but racing is None"),
        ({"racing": None, "n_rungs": 2}, "n_rungs is 2 .*, but racing is None"),
        ({"reduction": 1}, "reduction is 1.*: pass"),
        ({"n_rungs": 0}, "n_rungs is 0.*: pass"),
        ({"max_iter": 7}, "max_iter is 7, too few for n_rungs=3 .*: pass at least 8"),
        ({"early_stopping": False}, "early_stopping is False: pass early_stopping=True"),
        ({"top_k": 4}, "top_k is 4, but 3 candidates of the race are not dropped"),
        ({"search": {"checkpoint": "a.db"}}, "search has 'checkpoint', but a race is one"),
        ({"search": {"progress": 3}}, "progress is 3.*: pass"),
        ({"n_candidates": 65537}, "n_candidates is 65537.*: pass"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_input_is_one_sentence_that_names_it(wrong, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        search(**{"racing": "halving", **wrong})
    assert "\n" not in str(caught.value)


def test_a_race_needs_to_know_how_long_it_is():
    with pytest.raises(ValueError, match="racing is given, but max_iter is not: pass"):
        mf.search_descents(
            TRAIN, SAMPLERS, 4, validation=VALIDATION, early_stopping=True, racing="halving"
        )
