"""Random search over whatever has batch_loss and whatever draws: in bounded memory, and stopped."""

import os
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from searches import LossesByNumber, MeanSquare, numbers, objective, problem

import metaopt_fast as mf
from metaopt_fast import reference
from metaopt_fast.runs.progress import Progress


def test_any_objective_will_do(shards_of_256):
    own = MeanSquare()
    result = mf.random_search(own, mf.Normal(), 3000, top_k=4)
    losses = (mf.Normal().sample(0, 0, 3000, 3) ** 2).sum(axis=1)
    assert result.top["index"].tolist() == np.argsort(losses, kind="stable")[:4].tolist()
    assert result.pairs_per_second == pytest.approx(3000 * 50 / result.elapsed)


def test_a_slow_objective_is_given_batches_that_memory_holds_and_ctrl_c_can_wait_for():
    own = MeanSquare()
    own.n_samples = 10_000
    mf.random_search(own, mf.Normal(), 5000)
    assert max(own.batches) * own.n_samples <= 2**20


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("top_k", [1, 1000])
def test_memory_does_not_grow_with_the_number_of_candidates(top_k):
    loss, peaks = objective(), []
    for n_candidates in (300_000, 3_000_000):
        tracemalloc.start()
        mf.random_search(loss, mf.Normal(), n_candidates, top_k=top_k)
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


def test_candidates_of_a_callable_are_pruned_to_the_same_bits(shards_of_256):
    options = {"top_k": 3}
    callable_sampler = AsCallable(mf.Normal(scale=4.0))
    brute = mf.random_search(objective(), callable_sampler, 3000, prune=False, **options)
    pruned = mf.random_search(objective(), callable_sampler, 3000, **options)
    assert pruned.top.tobytes() == brute.top.tobytes()
    assert pruned.rows_evaluated_fraction < brute.rows_evaluated_fraction == 1


class AsCallable:
    def __init__(self, sampler):
        self.sampler = sampler

    def __call__(self, start, count):
        return self.sampler.sample(0, start, count, 8)


def test_a_search_without_one_finite_loss_gives_the_first_candidates(shards_of_256):
    result = mf.random_search(LossesByNumber([np.nan, np.inf]), numbers, 1000, top_k=3)
    assert result.top["index"].tolist() == [0, 1, 2]
    assert result.trace["index"].tolist() == [0]


def test_metadata_that_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match=r"metadata cannot be written as JSON .*\.$"):
        mf.random_search(objective(), mf.Normal(), 10, metadata={1, 2})


def test_an_interrupt_after_the_last_candidate_is_none(monkeypatch):
    def interrupt(line, count, best_loss):
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", interrupt)
    result = mf.random_search(objective(), mf.Normal(), 1000)
    assert result.n_evaluated == 1000 and result.stopped_by is None


@pytest.mark.long(everywhere=True)
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
