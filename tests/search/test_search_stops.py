"""Searches that are stopped at any moment: the best so far, and the same bits in the end."""

import gc
import itertools
import json
import random

import numpy as np
import pytest
from searches import LossesByNumber, digest, numbers, objective, problem

import metaopt_fast as mf
from metaopt_fast.search import shards
from metaopt_fast.search.checkpoint import Checkpoint

N_CANDIDATES = 3000
# One thread: many small shards on two would wait for each other most of the time.
OBJECTIVE = objective(n_threads=1)


class Prescribed(LossesByNumber):
    """Losses by number, and errors to raise, by the number of the call."""

    def __init__(self, losses, errors=()):
        super().__init__(losses)
        self.errors, self.calls = dict(errors), 0

    def batch_loss(self, thetas):
        self.calls += 1
        if self.calls in self.errors:
            raise self.errors[self.calls]
        return super().batch_loss(thetas)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 64 candidates, so that a short search has many."""
    monkeypatch.setattr(shards, "LARGEST_SHARD", 64)


def test_a_callback_stops_a_search_and_a_resumed_one_ends_with_the_same_bits(
    memory, small_shards, monkeypatch
):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    whole = mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=5)
    seen = []

    def stop_at_the_fifth(result):
        seen.append(result.n_evaluated)
        return len(seen) == 5

    options = {"top_k": 5, "checkpoint": memory / "run.db"}
    part = mf.random_search(
        OBJECTIVE, mf.Normal(), N_CANDIDATES, callback=stop_at_the_fifth, **options
    )
    assert seen == [64, 128, 192, 256, 320]
    assert (part.stopped_by, part.interrupted, part.n_evaluated) == ("callback", False, 320)
    first = mf.random_search(OBJECTIVE, mf.Normal(), 320, top_k=5)
    assert digest(part) == digest(first)
    resumed = mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, **options)
    assert digest(resumed) == digest(whole)
    assert (resumed.stopped_by, resumed.n_evaluated) == (None, N_CANDIDATES)


@pytest.mark.parametrize("answer", [None, False, 1, "yes"])
def test_a_callback_that_does_not_return_true_stops_nothing(small_shards, monkeypatch, answer):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    result = mf.random_search(OBJECTIVE, mf.Normal(), 640, callback=lambda result: answer)
    assert (result.stopped_by, result.n_evaluated) == (None, 640)


def test_a_callback_sees_a_result_like_any_other(small_shards, monkeypatch):
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
    seen = []
    mf.random_search(OBJECTIVE, mf.Normal(), 640, top_k=3, callback=seen.append)
    for result in seen:
        alone = mf.random_search(OBJECTIVE, mf.Normal(), result.n_evaluated, top_k=3)
        assert digest(result) == digest(alone)
        assert json.dumps(result.to_dict()) and repr(result)


@pytest.mark.long(everywhere=True)
def test_callbacks_come_at_most_ten_times_a_second(small_shards):
    calls = []
    result = mf.random_search(OBJECTIVE, mf.Normal(), 200_000, callback=calls.append)
    assert 1 <= len(calls) <= 1 + result.elapsed / 0.1


def test_a_callback_that_raises_lets_its_exception_out(small_shards):
    with pytest.raises(ZeroDivisionError):
        mf.random_search(OBJECTIVE, mf.Normal(), 1000, callback=lambda result: 1 / 0)


def test_a_time_budget_stops_a_search_at_a_shard_and_a_resumed_one_ends_with_the_same_bits(
    memory, small_shards
):
    options = {"top_k": 5, "checkpoint": memory / "run.db"}
    part = mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, time_budget=1e-9, **options)
    assert (part.stopped_by, part.interrupted, part.n_evaluated) == ("time_budget", False, 64)
    parts = 1
    while part.stopped_by:
        part = mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, time_budget=3e-3, **options)
        parts += 1
    assert digest(part) == digest(mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=5))


def test_a_time_budget_that_is_long_enough_is_not_mentioned():
    assert mf.random_search(OBJECTIVE, mf.Normal(), 1000, time_budget=60).stopped_by is None
    assert mf.random_search(OBJECTIVE, mf.Normal(), 1000, time_budget=1e-9).stopped_by is None


def test_a_time_budget_is_kept_within_a_shard():
    result = mf.random_search(mf.LogisticLoss(*problem(5000)), mf.Normal(), 10**9, time_budget=0.3)
    assert result.stopped_by == "time_budget"
    assert 0.3 <= result.elapsed < 1.0


@pytest.mark.parametrize("call", [3, 7, 30])
def test_an_interrupt_in_a_users_objective_keeps_the_best_so_far(call, memory, small_shards):
    losses = np.random.default_rng(0).normal(size=N_CANDIDATES)
    whole = mf.random_search(Prescribed(losses), numbers, N_CANDIDATES, top_k=5)
    objective = Prescribed(losses, {call: KeyboardInterrupt()})
    options = {"top_k": 5, "checkpoint": memory / "run.db", "fingerprint": "prescribed"}
    before = objective.calls
    part = mf.random_search(objective, numbers, N_CANDIDATES, **options)
    assert (part.stopped_by, part.interrupted) == ("interrupt", True)
    assert objective.calls - before == call
    assert part.n_evaluated % 64 == 0
    assert digest(part) == digest(
        mf.random_search(Prescribed(losses), numbers, part.n_evaluated, top_k=5)
    )
    resumed = mf.random_search(objective, numbers, N_CANDIDATES, **options)
    assert digest(resumed) == digest(whole)
    assert not resumed.interrupted


def test_an_interrupt_before_anything_is_done_is_raised():
    objective = Prescribed(np.zeros(100), {2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        mf.random_search(objective, numbers, 100)


def test_an_interrupt_in_a_callback_is_an_interrupt(small_shards):
    def interrupt(result):
        raise KeyboardInterrupt

    assert mf.random_search(OBJECTIVE, mf.Normal(), 1000, callback=interrupt).interrupted


SIGNALLED = """
import os, signal, threading, time
import numpy as np
import metaopt_fast as mf

class BatchLossAlone:
    def __init__(self, objective):
        self.objective, self.n_params = objective, objective.n_params
        self.n_samples = objective.n_samples
    def batch_loss(self, thetas):
        return self.objective.batch_loss(thetas)

rng = np.random.default_rng(0)
X = rng.normal(size=({n_samples}, 30))
objective = mf.LogisticLoss(X, X[:, 0] > 0)
sampler = mf.Normal()
if {users}:
    objective, sampler = BatchLossAlone(objective), lambda s, n: mf.Normal().sample(1, s, n, 30)
sent = []
def send():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
# From the first result on: a busy machine may take long to come to it.
begun = threading.Event()
threading.Thread(target=lambda: (begun.wait(), time.sleep({delay}), send()), daemon=True).start()
result = mf.random_search(objective, sampler, 10**12, callback=lambda result: begun.set())
print(result.interrupted, result.n_evaluated, time.perf_counter() - sent[0])
"""


@pytest.mark.long
@pytest.mark.parametrize("users", [False, True], ids=["built-in", "user's"])
@pytest.mark.parametrize(("n_samples", "delay"), [(50, 0.6), (10_000, 0.83), (100_000, 1.5)])
def test_ctrl_c_answers_within_a_fifth_of_a_second(run_python, n_samples, delay, users):
    answer = run_python(SIGNALLED.format(n_samples=n_samples, delay=delay, users=users))
    assert answer.returncode == 0, answer.stderr
    interrupted, n_evaluated, seconds = answer.stdout.split()
    assert (interrupted, int(n_evaluated) > 0) == ("True", True)
    assert float(seconds) < 0.2


@pytest.mark.parametrize("before", [100, 640, 1000])
def test_a_search_that_has_grown_ends_with_the_bits_of_the_long_one(memory, small_shards, before):
    path = memory / "run.db"
    for n_candidates in (before, 2000, 2000, N_CANDIDATES):
        result = mf.random_search(OBJECTIVE, mf.Normal(), n_candidates, top_k=5, checkpoint=path)
        alone = mf.random_search(OBJECTIVE, mf.Normal(), n_candidates, top_k=5)
        assert digest(result) == digest(alone)
        assert result.n_evaluated == n_candidates


def test_an_error_of_a_users_objective_comes_out_as_it_is():
    objective = Prescribed(np.zeros(1000), {2: ZeroDivisionError("mine")})
    with pytest.raises(ZeroDivisionError, match=r"^mine$"):
        mf.random_search(objective, numbers, 1000)


@pytest.mark.parametrize(
    "run",
    [
        lambda objective: mf.random_search(objective, numbers, 1000, fingerprint="mine"),
        lambda objective: mf.evolve(objective, mf.Normal(), generations=2, fingerprint="mine"),
    ],
    ids=["search", "evolution"],
)
def test_a_users_checkpoint_error_before_anything_is_done_has_no_result(run):
    with pytest.raises(mf.CheckpointError, match=r"^mine$") as caught:
        run(Prescribed(np.zeros(1000), {1: mf.CheckpointError("mine")}))
    assert caught.value.result is None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("calls", [5, N_CANDIDATES])
def test_an_interrupt_while_the_checkpoint_is_closed_keeps_the_result(
    memory, small_shards, monkeypatch, when, calls
):
    def interrupted_exit(self, *exception):
        if when == "after":
            exit_of_checkpoint(self, *exception)
        raise KeyboardInterrupt

    path = memory / "run.db"
    # No commit but that of the closing.
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 1e9)
    losses = np.random.default_rng(0).normal(size=N_CANDIDATES)
    options = {"checkpoint": path, "fingerprint": "prescribed"}
    with monkeypatch.context() as patch:
        exit_of_checkpoint = Checkpoint.__exit__
        patch.setattr(Checkpoint, "__exit__", interrupted_exit)
        part = mf.random_search(
            Prescribed(losses, {calls: KeyboardInterrupt()}), numbers, N_CANDIDATES, **options
        )
    assert part.interrupted == (calls == 5)
    again = Prescribed(losses)
    resumed = mf.random_search(again, numbers, N_CANDIDATES, **options)
    assert digest(resumed) == digest(mf.random_search(Prescribed(losses), numbers, N_CANDIDATES))
    # One call more, for the best that the file holds.
    assert again.calls == 1 + (N_CANDIDATES - part.n_evaluated + 63) // 64


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5))]
)
def test_interrupts_at_any_moment_lose_nothing_of_a_checkpoint(
    memory, small_shards, monkeypatch, alarm, seed
):
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 0.0)
    whole = mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=5)
    rng, evaluated = random.Random(seed), 0
    for life in itertools.count():
        try:
            # Longer from life to life: what is done is read again.
            alarm(rng.uniform(0.0002, 0.004) + life / 1e4)
            part = mf.random_search(
                OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=5, checkpoint=memory / "run.db"
            )
            alarm(0)
        except KeyboardInterrupt:
            # While the file was being opened, its closing is left to the garbage collector.
            gc.collect()
            continue
        assert part.n_evaluated >= evaluated
        evaluated = part.n_evaluated
        if not part.interrupted:
            break
    assert digest(part) == digest(whole)
