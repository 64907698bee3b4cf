"""Random search: the right answer, the same bits however it is run, and an end when told."""

import itertools
import json
import math
import os
import signal
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from searches import LossesByNumber, MeanSquare, digest, numbers, objective, problem

import metaopt_fast as mf
from metaopt_fast import _kernels, reference, shards

SAMPLERS = {
    "Normal": mf.Normal(scale=2.0),
    "Uniform": mf.Uniform(-3, np.full(8, 2.0)),
    "Integers": mf.Integers(-1, 1),
}


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 256 candidates, so that a small search has many."""
    monkeypatch.setattr(shards, "LARGEST_SHARD", 256)


# --------------------------------------------------------------------------------- the right answer


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("top_k", [1, 10, 3000])
def test_the_best_are_those_that_sorting_all_gives(name, top_k):
    loss, sampler = objective(), SAMPLERS[name]
    result = mf.random_search(loss, sampler, 3000, seed=5, top_k=top_k, start=70)
    losses = loss.batch_loss(sampler.sample(5, 70, 3000, 8))
    order = np.argsort(losses, kind="stable")[:top_k]
    np.testing.assert_array_equal(result.top["index"], 70 + order)
    np.testing.assert_array_equal(result.top["loss"], losses[order])
    assert (result.loss, result.index) == (losses[order[0]], 70 + order[0])
    assert result.n_evaluated == 3000 and result.ranges == ((70, 3070),)


def test_the_reference_finds_the_same_candidates():
    twin = reference.LogisticLoss(*problem(), l2=1e-3, fit_intercept=True)
    wanted = reference.random_search(twin, reference.Normal(scale=2.0), 5000, seed=3, top_k=20)
    result = mf.random_search(objective(), mf.Normal(scale=2.0), 5000, seed=3, top_k=20)
    np.testing.assert_array_equal(result.top["index"], wanted.top["index"])
    np.testing.assert_allclose(result.top_thetas, wanted.top_thetas, rtol=1e-12)


def test_thetas_are_what_the_sampler_draws_for_the_index_bit_for_bit():
    sampler = mf.Normal()
    result = mf.random_search(objective(), sampler, 5000, seed=2**64 - 1, top_k=7)
    assert result.theta.tobytes() == sampler.sample(2**64 - 1, result.index, 1, 8)[0].tobytes()
    for index, theta in zip(result.top["index"], result.top_thetas, strict=True):
        assert theta.tobytes() == sampler.sample(2**64 - 1, int(index), 1, 8).tobytes()


def test_ties_go_to_the_lowest_index_and_what_is_not_finite_comes_last(small_shards):
    losses = [math.nan, -math.inf, 2.0, math.inf, 1.0, 2.0, 1.0, math.nan]
    result = mf.random_search(LossesByNumber(losses), numbers, 8, top_k=8)
    assert result.top["index"].tolist() == [4, 6, 2, 5, 0, 1, 3, 7]
    np.testing.assert_array_equal(
        result.top["loss"], [1, 1, 2, 2, math.nan, -math.inf, math.inf, math.nan]
    )
    assert result.trace["index"].tolist() == [0, 2, 4]
    many = mf.random_search(LossesByNumber(losses), numbers, 4096, top_k=3)
    assert many.top["index"].tolist() == [4, 6, 12]


def test_a_search_without_one_finite_loss_gives_the_first_candidates(small_shards):
    result = mf.random_search(LossesByNumber([math.nan, math.inf]), numbers, 1000, top_k=3)
    assert result.top["index"].tolist() == [0, 1, 2]
    assert result.trace["index"].tolist() == [0]


def test_the_trace_is_the_running_best(small_shards):
    loss = objective()
    result = mf.random_search(loss, mf.Normal(), 5000, top_k=3)
    losses = loss.batch_loss(mf.Normal().sample(0, 0, 5000, 8))
    best = np.minimum.accumulate(losses)
    index = np.flatnonzero(np.r_[True, best[1:] < best[:-1]])
    np.testing.assert_array_equal(result.trace["index"], index)
    np.testing.assert_array_equal(result.trace["loss"], losses[index])


# ------------------------------------------------------------------------------------ the same bits


def test_a_search_has_the_same_bits_on_any_number_of_threads(dtype):
    seen = {
        digest(mf.random_search(objective(dtype=dtype), mf.Normal(), 20_000, top_k=9, n_threads=n))
        for n in (1, 2, 3, 7, None)
    }
    assert len(seen) == 1


@pytest.mark.parametrize(
    "sampler", [mf.Normal(), lambda start, count: mf.Normal().sample(0, start, count, 8)]
)
def test_a_search_has_the_same_bits_in_any_shards_and_batches(monkeypatch, sampler):
    seen = {digest(mf.random_search(objective(), mf.Normal(), 3000, top_k=9))}
    for size, batch in itertools.product([64, 2**18], [64, 333, 2**19]):
        monkeypatch.setattr(shards, "LARGEST_SHARD", size)
        monkeypatch.setattr(shards, "BATCH_NUMBERS", batch)
        seen.add(digest(mf.random_search(objective(), sampler, 3000, top_k=9)))
    assert len(seen) == 1


@pytest.mark.parametrize("prune", [False, True])
def test_shards_merged_in_any_order_have_the_bits_of_the_whole(small_shards, prune):
    rng = np.random.default_rng(0)
    options = {"seed": 8, "top_k": 5, "prune": prune}
    whole = mf.random_search(objective(), mf.Normal(), 6000, start=11, **options)
    for _ in range(5):
        cuts = [11, *sorted(rng.choice(np.arange(20, 6000, 5), 6, replace=False)), 6011]
        parts = [
            mf.random_search(
                objective(), mf.Normal(), int(stop - start), start=int(start), **options
            )
            for start, stop in itertools.pairwise(cuts)
        ]
        rng.shuffle(parts)
        merged = mf.merge_results(parts)
        assert digest(merged) == digest(whole)
        pairwise = mf.merge_results([mf.merge_results(parts[:3]), mf.merge_results(parts[3:])])
        assert digest(pairwise) == digest(whole)
        assert (merged.ranges, merged.n_evaluated) == (whole.ranges, whole.n_evaluated)
        assert {**merged.config, "versions": 0} == {**whole.config, "versions": 0}


@pytest.mark.skipif(
    not {"avx2", "avx512"} <= set(_kernels.supported_isas()), reason="a processor without AVX-512"
)
def test_a_search_has_the_same_bits_with_avx2_and_avx512(run_python):
    program = (
        "import metaopt_fast as mf; from searches import *;"
        "print(digest(mf.random_search(objective(), mf.Normal(), 20000, top_k=9)))"
    )
    seen = [run_python(program, METAOPT_FAST_ISA=name) for name in ("avx2", "avx512")]
    assert seen[0].stdout == seen[1].stdout != "", seen[0].stderr


def test_the_configuration_repeats_the_search(small_shards):
    first = mf.random_search(
        objective(), mf.Uniform(-2, np.arange(8.0)), 3000, seed=4, top_k=2, start=9
    )
    config = json.loads(json.dumps(first.config))
    assert config["fingerprint"] and config["stream_version"] == mf.STREAM_VERSION
    assert (config["n_samples"], config["n_params"], config["l2"], config["dtype"]) == (
        300,
        8,
        1e-3,
        "float64",
    )
    assert config["versions"].keys() == {"metaopt_fast", "numpy", "python"} and config["isa"]
    again = mf.random_search(
        objective(),
        mf.samplers.from_dict(config["sampler"]),
        config["n_candidates"],
        **{name: config[name] for name in ("seed", "top_k", "start")},
    )
    assert digest(again) == digest(first)


# ------------------------------------------------------------------------------------------ pruning

DATA = {
    "plain": problem(),
    "outliers": (
        np.r_[problem()[0], 1e3 * problem(20, seed=1)[0]],
        np.r_[problem()[1], problem(20, seed=1)[1]],
    ),
    "separable": (problem()[0], problem()[0][:, 0] > 0),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("top_k", [1, 100])
@pytest.mark.parametrize(
    "sampler", [mf.Normal(), mf.Normal(scale=10.0), mf.Integers(-1, 1)], ids=repr
)
def test_pruning_changes_no_bit(small_shards, data, top_k, sampler):
    loss = mf.LogisticLoss(*DATA[data])
    for seed in range(5):
        options = {"seed": seed, "top_k": top_k}
        brute = mf.random_search(loss, sampler, 5000, prune=False, **options)
        pruned = mf.random_search(loss, sampler, 5000, prune=True, **options)
        assert digest(pruned) == digest(brute)
        assert brute.rows_evaluated_fraction == 1.0
        assert pruned.rows_evaluated_fraction <= 1.0


def test_pruning_saves_rows_and_says_how_many(small_shards):
    result = mf.random_search(mf.LogisticLoss(*problem(5000)), mf.Normal(scale=5.0), 5000)
    assert 0 < result.rows_evaluated_fraction < 0.7
    assert f"{result.rows_evaluated_fraction:.1%}" in repr(result)


def test_thetas_of_a_callable_are_pruned_to_the_same_bits(small_shards):
    sampler = mf.Normal(scale=4.0)
    options = {"seed": 1, "top_k": 3}
    brute = mf.random_search(objective(), sampler, 3000, prune=False, **options)
    drawn = mf.random_search(objective(), lambda s, n: sampler.sample(1, s, n, 8), 3000, **options)
    assert digest(drawn) == digest(brute)
    assert drawn.rows_evaluated_fraction < 1


# --------------------------------------------------------------------------- objectives of any kind


def test_any_objective_will_do(small_shards):
    own = MeanSquare()
    result = mf.random_search(own, mf.Normal(), 3000, top_k=4)
    losses = (mf.Normal().sample(0, 0, 3000, 3) ** 2).sum(axis=1)
    assert result.top["index"].tolist() == np.argsort(losses, kind="stable")[:4].tolist()
    assert result.pairs_per_second == pytest.approx(3000 * 50 / result.elapsed)
    twin = reference.LogisticLoss(*problem())
    assert (
        mf.random_search(twin, mf.Normal(), 1000).index
        == mf.random_search(mf.LogisticLoss(*problem()), mf.Normal(), 1000).index
    )


def test_batches_of_a_slow_objective_are_small_enough_to_hold_and_to_interrupt():
    own = MeanSquare()
    own.n_samples = 10_000
    mf.random_search(own, mf.Normal(), 5000)
    assert max(own.batches) * own.n_samples <= 2**20


def test_memory_does_not_grow_with_the_number_of_candidates():
    loss, peaks = objective(), []
    for n_candidates in (300_000, 3_000_000):
        tracemalloc.start()
        mf.random_search(loss, mf.Normal(), n_candidates, top_k=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 24e6
    assert peaks[1] < peaks[0] + 1e6


def test_a_callable_that_remembers_is_found_out():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two different answers"):
        mf.random_search(objective(), lambda start, count: rng.normal(size=(count, 8)), 100)


def test_a_callable_over_a_table_is_asked_for_its_own_rows_alone():
    table = np.random.default_rng(0).normal(size=(100, 8))
    result = mf.random_search(objective(), lambda start, count: table[start : start + count], 100)
    assert result.index == np.argmin(objective().batch_loss(table))


def test_an_objective_that_fails_in_the_middle_says_so_itself(small_shards):
    class Fails(MeanSquare):
        def batch_loss(self, thetas):
            if len(self.batches) == 3:
                raise ZeroDivisionError("of the user's own")
            return super().batch_loss(thetas)

    with pytest.raises(ZeroDivisionError, match="of the user's own"):
        mf.random_search(Fails(), mf.Normal(), 3000)


# ------------------------------------------------------------------------------------ being stopped


def test_a_callback_sees_the_search_go_on_and_stops_it(small_shards, monkeypatch):
    monkeypatch.setattr(mf.search, "CALLBACK_INTERVAL", 0.0)
    seen = []

    def callback(result):
        seen.append(result)
        return len(seen) == 4

    result = mf.random_search(objective(), mf.Normal(), 100_000, top_k=3, callback=callback)
    assert [part.n_evaluated for part in seen] == [256, 512, 768, 1024]
    assert all(part.stopped_by is None for part in seen)
    assert result.stopped_by == "callback" and not result.interrupted
    assert (
        digest(result)
        == digest(seen[-1])
        == digest(mf.random_search(objective(), mf.Normal(), 1024, top_k=3))
    )


def test_a_callback_is_not_called_all_the_time(small_shards):
    calls = []
    started = time.perf_counter()
    mf.random_search(objective(), mf.Normal(), 50_000, callback=calls.append)
    assert 1 <= len(calls) <= 1 + (time.perf_counter() - started) / 0.1


def test_a_truthy_answer_of_a_callback_does_not_stop_the_search(small_shards):
    assert (
        mf.random_search(objective(), mf.Normal(), 1000, callback=lambda _: "go on").n_evaluated
        == 1000
    )


def test_an_exception_in_a_callback_comes_out(small_shards):
    def callback(result):
        raise LookupError("of the user's own")

    with pytest.raises(LookupError, match="of the user's own"):
        mf.random_search(objective(), mf.Normal(), 1000, callback=callback)


def test_a_time_budget_ends_the_search_between_shards():
    started = time.perf_counter()
    result = mf.random_search(objective(), mf.Normal(), 10**12, time_budget=0.3)
    assert 0.3 <= time.perf_counter() - started < 1.0
    assert result.stopped_by == "time_budget"
    assert result.n_evaluated % result.config["shard_size"] == 0
    assert mf.random_search(objective(), mf.Normal(), 100, time_budget=1e-9).stopped_by is None


def test_an_interrupt_keeps_the_best_so_far(small_shards):
    class Interrupted(LossesByNumber):
        def batch_loss(self, thetas):
            if thetas[0, 0] >= 1024:
                raise KeyboardInterrupt
            return super().batch_loss(thetas)

    losses = np.random.default_rng(0).normal(size=2000)
    result = mf.random_search(Interrupted(losses), numbers, 2000, top_k=2)
    assert result.interrupted and result.stopped_by == "interrupt"
    assert result.ranges == ((0, 1024),)
    assert result.index == np.argmin(losses[:1024])


def test_an_interrupt_before_anything_is_evaluated_comes_out():
    def sampler(start, count):
        if count > 1:
            raise KeyboardInterrupt
        return np.zeros((count, 8))

    with pytest.raises(KeyboardInterrupt):
        mf.random_search(objective(), sampler, 1000)


@pytest.mark.parametrize("kind", ["kernel", "numpy"])
def test_ctrl_c_is_answered_at_once(kind):
    X, y = problem(20_000, 30)
    loss = mf.LogisticLoss(X, y) if kind == "kernel" else reference.LogisticLoss(X, y)
    answers = []
    for delay in (0.0, 0.05, 0.11, 0.17, 0.23):
        press = PressCtrlC(delay)
        result = mf.random_search(loss, mf.Normal(), 10**12, callback=press)
        answers.append(time.perf_counter() - press.sent)
        assert result.interrupted and result.n_evaluated > 0
        assert loss.batch_loss(result.theta[None])[0] == pytest.approx(result.loss, rel=1e-12)
    assert sorted(answers)[2] < 0.2


class PressCtrlC:
    """A callback that presses it some time after the first shard."""

    def __init__(self, delay):
        self.timer, self.sent = threading.Timer(delay, self.press), None

    def __call__(self, result):
        if self.timer.ident is None:
            self.timer.start()

    def press(self):
        self.sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_candidates": 5, "top_k": 6}, "top_k is 6, but there are 5 candidates"),
        ({"sampler": mf.Normal([0.0, 0.0])}, "the sampler has 2 parameters"),
        (
            {"sampler": lambda start, count: np.zeros((count, 3))},
            r"shape \(1, 3\) and dtype float64",
        ),
        ({"sampler": lambda start, count: np.zeros((count, 8), complex)}, "dtype complex128"),
        ({"sampler": lambda start, count: np.full((count, 8), np.inf)}, "not finite"),
        ({"objective": object()}, "batch_loss"),
        ({"executor": 3}, "method submit"),
        ({"progress": "sometimes"}, "True, False or 'always'"),
        ({"metadata": {1, 2}}, "metadata cannot be written as JSON"),
        ({"checkpoint": 3}, "checkpoint is 3"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(options, words):
    good = {"objective": objective(), "sampler": mf.Normal(), "n_candidates": 10}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((ValueError, TypeError), match=words) as caught:
            mf.random_search(**{**good, **options})
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
