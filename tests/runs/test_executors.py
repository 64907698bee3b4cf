"""Searches on other processes: the same bits, the data sent once, nothing lost with a worker."""

import asyncio
import itertools
import multiprocessing
import os
import random
import signal
import threading
import time
import types
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from dataclasses import replace

import numpy as np
import pytest
from searches import LossesByNumber, MeanSquare, digest, numbers, objective

import metaopt_fast as mf
from metaopt_fast.machine import default_n_threads
from metaopt_fast.runs import ranges, workers
from metaopt_fast.search import shards
from metaopt_fast.search.checkpoint import Checkpoint

N_CANDIDATES = 20_000

pytestmark = pytest.mark.usefixtures("shards_of_256")


@pytest.fixture(scope="module")
def pool():
    with process_pool("spawn") as executor:
        yield executor


def process_pool(method):
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))


@pytest.fixture(scope="module")
def client():
    """A Dask cluster of two worker processes."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        yield client


def search(executor=None, loss=None, n_candidates=N_CANDIDATES, **options):
    options = {"top_k": 5, "seed": 3, "start": 100, "executor": executor, **options}
    loss = loss or objective(n_threads=1)
    return mf.random_search(loss, mf.Normal(), n_candidates, **options)


class Travelling(LossesByNumber):
    """An objective that writes down where it is unpacked."""

    fingerprint = "the same in all processes"

    def __init__(self, losses, log):
        super().__init__(losses)
        self.log = log

    def __setstate__(self, state):
        vars(self).update(state)
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")


class Fails(MeanSquare):
    def __init__(self, error=ZeroDivisionError):
        super().__init__()
        self.error = error

    def batch_loss(self, thetas):
        if len(thetas) > 8:
            raise self.error("of the user's own")
        return super().batch_loss(thetas)


class KillsItsWorker(LossesByNumber):
    """Ends the process that evaluates candidate 4000, unless it is the driver's."""

    def __init__(self, losses):
        super().__init__(losses)
        self.driver = os.getpid()

    def batch_loss(self, thetas):
        if os.getpid() != self.driver and 4000 in thetas:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch_loss(thetas)


class Slow(LossesByNumber):
    def batch_loss(self, thetas):
        time.sleep(0.05)
        return super().batch_loss(thetas)


# ----------------------------------------------------------------------------------- the same bits


@pytest.mark.long(everywhere=True)
def test_a_spawned_process_pool_gives_the_same_bits(pool):
    whole = search()
    for options in ({}, {"prune": False}, {"n_threads": 2}):
        result = search(pool, **options)
        assert digest(result) == digest(whole)
        assert result.ranges == whole.ranges


@pytest.mark.long(everywhere=True)
def test_a_forkserver_process_pool_gives_the_same_bits():
    with process_pool("forkserver") as executor:
        assert digest(search(executor)) == digest(search())


@pytest.mark.long
def test_loky_gives_the_same_bits():
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=2)
    try:
        assert digest(search(executor)) == digest(search())
    finally:
        executor.shutdown(kill_workers=True)


def test_threads_give_the_same_bits_and_need_no_pickle():
    loss = LossesByNumber(np.random.default_rng(0).normal(size=N_CANDIDATES))
    loss.lock = threading.Lock()  # which no pickle can hold
    options = {"top_k": 5, "start": 100}
    with ThreadPoolExecutor(3) as executor:
        assert digest(search(executor)) == digest(search())
        result = mf.random_search(loss, numbers, 10_000, executor=executor, **options)
    assert digest(result) == digest(mf.random_search(loss, numbers, 10_000, **options))


@pytest.mark.long
def test_dask_gives_the_same_bits(client):
    assert digest(search(client.get_executor())) == digest(search())


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("prune", [False, True])
def test_shards_that_come_in_any_order_give_the_same_bits(prune):
    rng = random.Random(0)
    whole = search(top_k=20)
    task = shards.Task(objective(n_threads=1), mf.Normal(), 3, 20, 8, prune, None)
    for _ in range(5):
        state = shards.State.at(100, 20)
        todo = list(ranges.bounds(100, 100 + N_CANDIDATES, 256))
        done = []
        while todo or done:
            # Up to six shards are under way, and any of them may be the next one done.
            while todo and len(done) < 6:
                done.append(task.run(*todo.pop(0), state.threshold))
            state = state.add([done.pop(rng.randrange(len(done)))])
        assert state.ranges == ((100, 100 + N_CANDIDATES),) and not state.waiting
        assert state.top.tobytes() == whole.top.tobytes()
        assert state.trace.tobytes() == whole.trace.tobytes()


# ------------------------------------------------------------------------------ the data sent once


@pytest.mark.long(everywhere=True)
def test_the_data_travels_once_to_each_worker(pool, tmp_path):
    log = tmp_path / "log"
    loss = Travelling(np.random.default_rng(0).normal(size=N_CANDIDATES), log)
    for seed in (0, 1):  # another search of the same data sends nothing
        options = {"seed": seed, "top_k": 2}
        result = mf.random_search(loss, numbers, N_CANDIDATES, executor=pool, **options)
        assert result.index == np.argmin(loss.losses)
        pids = log.read_text().split()
        assert 1 <= len(set(pids)) <= 2
        assert len(pids) <= 3  # one more where the wrong worker was quicker


class Simulated:
    """An executor whose workers, of separate memories, answer at once, in the order given."""

    def __init__(self, n_workers, order):
        self._max_workers, self.order = n_workers, order
        self.memories = [{} for _ in range(n_workers)]
        self.sent, self.submitted = [], 0

    def submit(self, function, name, data, *rest):
        worker, self.submitted = next(self.order), self.submitted + 1
        if data is not None:
            self.sent.append(worker)
        outside, workers._KNOWN = workers._KNOWN, self.memories[worker]
        try:
            answer = function(name, data, *rest)
        finally:
            workers._KNOWN = outside
        future = Future()
        future.set_result(workers.Answer(f"worker {worker}", answer.shard))
        return future


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_workers", [1, 2, 7])
def test_workers_in_turn_are_sent_the_data_once(n_workers):
    executor = Simulated(n_workers, itertools.cycle(range(n_workers)))
    whole = search()
    assert digest(search(executor)) == digest(whole)
    assert sorted(executor.sent) == list(range(n_workers))
    submitted = executor.submitted
    assert digest(search(executor)) == digest(whole)
    assert len(executor.sent) == n_workers and executor.submitted - submitted == 79


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("seed", range(10))
def test_workers_in_any_order_get_it_done(seed):
    rng = random.Random(seed)
    executor = Simulated(5, iter(lambda: rng.choice([0, 0, 0, 1, 2, 3, 4]), None))
    assert digest(search(executor)) == digest(search())
    assert len(executor.sent) <= 25


def test_a_worker_that_asked_and_died_is_forgotten():
    executor = Simulated(2, itertools.chain([0], itertools.repeat(1)))
    assert digest(search(executor)) == digest(search())
    assert executor.sent == [1, 1]  # for each of the two that asked, and never again


def test_another_objective_of_the_same_losses_is_another_objective(pool):
    one, other = np.ones(5000), np.ones(5000)
    other[4000] = 0.0
    for losses, index in ((one, 0), (other, 4000), (one, 0)):
        loss = LossesByNumber(losses)
        assert mf.random_search(loss, numbers, 5000, executor=pool).index == index


def test_a_process_keeps_two_objectives_at_most(monkeypatch):
    monkeypatch.setattr(workers, "_KNOWN", {})
    for name in "abacd":
        workers.remember(name, object())
    assert list(workers._KNOWN) == ["c", "d"]
    with ThreadPoolExecutor(1) as executor:
        search(executor)
    assert len(workers._KNOWN) == 1  # the driver's own is forgotten when it ends


def test_few_shards_are_under_way_at_a_time():
    class Never:
        _max_workers = 4

        def submit(self, *arguments):
            return Future()

    task = shards.Task(objective(), mf.Normal(), 0, 1, 8, True, None)
    driver = workers.Driver(Never(), task, lambda: shards.Threshold(1.0, 1.0))
    endless = ranges.bounds(0, 10**12, 256)
    assert driver.fill(endless) and driver.fill(endless)
    assert len(driver.pending) == 4 * workers.SHARDS_PER_WORKER


def test_workers_share_the_processors():
    n_threads = default_n_threads()[0]
    for n_workers, share in ((1, n_threads), (n_threads, 1), (n_threads + 1, 1)):
        executor = Simulated(n_workers, itertools.cycle(range(n_workers)))
        assert workers.threads_of_worker(executor) == share
        assert search(executor, n_candidates=300).config["n_threads"] == share
    executor = Simulated(1, itertools.repeat(0))
    assert search(executor, n_candidates=300, n_threads=5).config["n_threads"] == 5
    assert workers.number_of_workers(object()) == os.cpu_count()


# ------------------------------------------------------------------------------------ when it ends


@pytest.mark.long(everywhere=True)
def test_an_exception_on_a_worker_comes_out(pool, client):
    for executor in (pool, client.get_executor()):
        with pytest.raises(ZeroDivisionError, match="of the user's own"):
            mf.random_search(Fails(), mf.Normal(), 5000, executor=executor)
    assert digest(search(pool)) == digest(search())


@pytest.mark.parametrize("what", ["sampler", "objective"])
def test_what_cannot_be_pickled_is_named(pool, what):
    loss, sampler = MeanSquare(), mf.Normal()
    if what == "sampler":
        sampler = lambda start, count: np.zeros((count, 3))  # noqa: E731
    else:
        loss.lock = threading.Lock()
    with pytest.raises(TypeError, match=f"^{what} is .*sent to another process .*threads[.]$"):
        mf.random_search(loss, sampler, 5000, executor=pool)
    assert digest(search(pool)) == digest(search())


def test_workers_that_come_late_are_seen(monkeypatch):
    monkeypatch.setattr(workers, "LOOK_INTERVAL", 0.0)
    executor = Simulated(1, itertools.cycle([0, 0, 0, 1, 2]))
    executor.memories += [{}, {}]

    def callback(result):
        executor._max_workers = 3

    most = []
    submit = executor.submit

    def count(*arguments):
        most.append(executor._max_workers)
        return submit(*arguments)

    executor.submit = count
    assert digest(search(executor, callback=callback)) == digest(search())
    assert {1, 3} == set(most)


def test_a_pool_that_breaks_while_it_takes_a_shard_is_an_error():
    class Broken(ThreadPoolExecutor):
        def submit(self, *arguments):
            raise BrokenExecutor("it is gone")

    with Broken(1) as executor, pytest.raises(RuntimeError, match=r"died \(it is gone\)"):
        search(executor)


def test_a_type_error_on_a_worker_is_the_users_own(pool):
    with pytest.raises(TypeError, match="of the user's own"):
        mf.random_search(Fails(TypeError), mf.Normal(), 5000, executor=pool)
    with ThreadPoolExecutor(1) as threads, pytest.raises(TypeError, match="of the user's own"):
        mf.random_search(Fails(TypeError), mf.Normal(), 5000, executor=threads)


def test_a_pool_that_was_shut_down_is_refused():
    for executor in (ThreadPoolExecutor(1), process_pool("spawn")):
        executor.shutdown()
        with pytest.raises(ValueError, match=r"executor takes no shard .* not been shut down[.]$"):
            search(executor)


@pytest.mark.long(everywhere=True)
def test_a_search_on_workers_can_be_stopped_and_goes_on(pool, tmp_path):
    options = {"loss": objective(n_threads=1), "n_candidates": 2 * N_CANDIDATES}
    path = tmp_path / "run.db"
    part = search(pool, checkpoint=path, callback=lambda result: True, **options)
    assert part.stopped_by == "callback" and part.n_evaluated < 2 * N_CANDIDATES
    whole = search(pool, checkpoint=path, **options)
    assert digest(whole) == digest(search(**options))
    again = search(pool, checkpoint=path, **options)
    assert digest(again) == digest(whole)
    assert again.elapsed == pytest.approx(whole.elapsed, rel=0.05)


def test_what_workers_have_done_is_safe_before_the_driver_waits(monkeypatch, tmp_path):
    commits, commit = [], Checkpoint.commit

    def count(self):
        commits.append(bool(self._rows))
        commit(self)

    monkeypatch.setattr(Checkpoint, "commit", count)
    monkeypatch.setattr("metaopt_fast.search.random_search.COMMIT_INTERVAL", 1e9)
    search(Simulated(1, itertools.repeat(0)), checkpoint=tmp_path / "run.db")
    assert sum(commits) == 79 // workers.SHARDS_PER_WORKER + 1


def test_shards_that_wait_when_a_search_is_stopped_are_taken_back():
    class FirstAlone(Simulated):
        def submit(self, *arguments):
            futures.append(super().submit(*arguments) if not futures else Future())
            return futures[-1]

    futures = []
    executor = FirstAlone(2, itertools.repeat(0))
    loss = LossesByNumber(np.zeros(9))
    loss.fingerprint = "data"
    workers.remember(workers.name_of(loss), loss)
    executor.memories[0][workers.name_of(loss)] = loss
    options = {"executor": executor, "callback": lambda result: True}
    assert mf.random_search(loss, numbers, 10**6, **options).n_evaluated == 256
    assert len(futures) > 2 and all(future.cancelled() for future in futures[1:])


@pytest.mark.long(everywhere=True)
def test_a_dead_worker_of_a_process_pool_is_an_error_and_the_checkpoint_is_whole(tmp_path):
    losses = np.random.default_rng(0).normal(size=N_CANDIDATES)
    options = {"top_k": 3, "checkpoint": tmp_path / "run.db", "fingerprint": "losses by number"}
    with (
        process_pool("spawn") as executor,
        pytest.raises(RuntimeError, match=r"a worker of the executor died .*\.$"),
    ):
        mf.random_search(KillsItsWorker(losses), numbers, 10_000, executor=executor, **options)
    seen = []
    whole = mf.random_search(
        KillsItsWorker(losses), numbers, 10_000, callback=seen.append, **options
    )
    assert seen[0].n_evaluated > 256
    assert digest(whole) == digest(
        mf.random_search(LossesByNumber(losses), numbers, 10_000, top_k=3)
    )


@pytest.mark.long
def test_a_worker_of_dask_that_is_killed_loses_nothing(client, tmp_path):
    losses = np.random.default_rng(0).normal(size=N_CANDIDATES)
    pids = list(client.run(os.getpid).values())
    killed = []

    def callback(result):
        if not killed and result.n_evaluated > 1000:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    options = {"top_k": 5, "checkpoint": tmp_path / "run.db", "callback": callback}
    options["fingerprint"] = "losses by number"
    loss = Slow(losses)
    result = mf.random_search(loss, numbers, 10_000, executor=client.get_executor(), **options)
    assert killed
    assert digest(result) == digest(
        mf.random_search(LossesByNumber(losses), numbers, 10_000, top_k=5)
    )
    assert result.ranges == ((0, 10_000),)


def test_ctrl_c_is_answered_at_once_by_the_driver(pool):
    loss, sent = Slow(np.arange(100.0)), []

    def callback(result):
        if not sent:
            sent.append(time.perf_counter())
            threading.Timer(0.03, os.kill, [os.getpid(), signal.SIGINT]).start()

    result = mf.random_search(loss, numbers, 10**6, executor=pool, callback=callback)
    assert time.perf_counter() - sent[0] < 0.23
    assert result.interrupted and result.loss == 0
    assert digest(search(pool)) == digest(search())


# ------------------------------------------------------------------- what was done is never lost


class AtOnce(Executor):
    """Futures that are done when they are asked for, as they are after a pause of the driver."""

    _max_workers = 4

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except ZeroDivisionError as error:
            future.set_exception(error)
        return future


class FailsFrom(LossesByNumber):
    fingerprint = "fails from"

    def __init__(self, losses, first):
        super().__init__(losses)
        self.first = first

    def batch_loss(self, thetas):
        if (thetas >= self.first).any():
            raise ZeroDivisionError(f"from {thetas[0, 0]:.0f}")
        return super().batch_loss(thetas)


def restored(path):
    with Checkpoint(path) as file:
        return file.restore(shards.State.at(0, 1))[0]


@pytest.mark.parametrize("n_good", [0, 1, 9, 14])
def test_shards_that_are_done_beside_one_that_fails_are_kept(tmp_path, n_good):
    losses = np.random.default_rng(0).normal(size=5120)
    loss, path = FailsFrom(losses, 256 * n_good), tmp_path / "run.db"
    with pytest.raises(ZeroDivisionError, match=f"^from {256 * n_good}$"):  # the first that failed
        mf.random_search(
            loss, numbers, 5120, fingerprint="losses", checkpoint=path, executor=AtOnce()
        )
    assert restored(path).ranges == (((0, 256 * n_good),) if n_good else ())


class Refuses(AtOnce):
    """Takes some shards, then none."""

    def __init__(self, n_shards, error):
        self.left, self.error = n_shards, error

    def submit(self, *arguments):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().submit(*arguments)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BrokenExecutor("it is gone"), r"^a worker of the executor died \(it is gone\): what was "),
        (
            RuntimeError("cannot schedule"),
            r"^executor takes no more shards \(cannot schedule\): what",
        ),
    ],
)
def test_shards_that_are_done_when_an_executor_refuses_others_are_kept(tmp_path, error, message):
    loss, path = LossesByNumber(np.arange(9999)), tmp_path / "run.db"
    with pytest.raises(RuntimeError, match=message + r".*in the checkpoint, .*new executor\.$"):
        mf.random_search(
            loss, numbers, 5120, fingerprint="losses", checkpoint=path, executor=Refuses(7, error)
        )
    assert restored(path).n_evaluated == 7 * 256


class Junk(AtOnce):
    """Does as it should for some shards; then `spoil` makes its futures, or what is in them."""

    def __init__(self, n_shards, spoil):
        self.left, self.spoil, self.good = n_shards, spoil, []

    def submit(self, *arguments):
        self.left -= 1
        self.good.append(super().submit(*arguments))
        return self.good[-1] if self.left >= 0 else self.spoil(self.good)


def future_of(result):
    future = Future()
    future.set_result(result)
    return future


def failed_future(error):
    future = Future()
    future.set_exception(error)
    return future


def another_shard(answer, **changes):
    return workers.Answer(answer.worker, replace(answer.shard, **changes))


LOOP = asyncio.new_event_loop()
LOOP.close()
HELD = "which the function that was submitted did not return: "
JUNK = {
    "no future": (lambda good: None, "submit returned None, no concurrent.futures.Future: "),
    "the result itself": (lambda good: good[-1].result(), r"submit returned Answer\(.*, no conc"),
    "a future of asyncio": (
        lambda good: asyncio.Future(loop=LOOP),
        r"submit returned <Future pending> \(of type Future\), no concurrent\.futures\.Future: ",
    ),
    "a list, which has no hash": (lambda good: [good[-1]], r"submit returned \[<Future.*, no conc"),
    "another call's future": (lambda good: good[0], "submit returned the future of another call: "),
    "None": (lambda good: future_of(None), f"the result None, {HELD}"),
    "text": (lambda good: future_of("done"), rf"the result 'done' \(of type str\), {HELD}"),
    "a tuple of another length": (
        lambda good: future_of((1, 2, 3)),
        rf"result \(1, 2, 3\) .*{HELD}",
    ),
    "an array": (lambda good: future_of(np.zeros(2)), f"result an array of shape .*{HELD}"),
    "the shard alone": (lambda good: future_of(good[-1].result().shard), rf"Shard\(.*{HELD}"),
    "another call's result": (lambda good: future_of(good[0].result()), HELD),
    "a shard of fewer": (lambda good: future_of(another_shard(good[-1].result(), count=9)), HELD),
    "a worker without a name": (
        lambda good: future_of(workers.Answer(None, good[-1].result().shard)),
        HELD,
    ),
    "a worker of an unhashable name": (lambda good: future_of(workers.Answer([], None)), HELD),
    "what stands for a shard": (lambda good: future_of(workers.Answer("a worker", 0)), HELD),
    "a class of exceptions": (
        lambda good: future_of(ValueError),
        rf"<class 'ValueError'> .*{HELD}",
    ),
    "an exception that is a class": (
        lambda good: failed_future(ValueError),
        rf"the result <class 'ValueError'> \(of type type\), {HELD}",
    ),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", JUNK)
@pytest.mark.parametrize("n_good", [0, 1, 7])
def test_junk_of_an_executor_is_a_sentence_and_loses_nothing(tmp_path, kind, n_good):
    if n_good == 0 and kind.startswith("another call's"):
        n_good = 1
    spoil, what = JUNK[kind]
    loss, path = LossesByNumber(np.arange(9999)), tmp_path / "run.db"
    with pytest.raises(
        RuntimeError, match=rf"^executor is .*Junk object.*, and .*{what}.*in the checkpoint, .*\.$"
    ) as caught:
        mf.random_search(
            loss,
            numbers,
            5120,
            fingerprint="losses",
            checkpoint=path,
            executor=Junk(n_good, spoil),
        )
    assert "\n" not in str(caught.value)
    assert restored(path).n_evaluated == n_good * 256


def test_a_worker_that_was_sent_the_data_and_asks_for_it_is_junk():
    class Forgets(AtOnce):
        def submit(self, *arguments):
            return future_of(workers.Answer("a worker", None))

    with pytest.raises(RuntimeError, match=rf"^executor is .*Forgets.*{HELD}"):
        search(Forgets())


# ----------------------------------------------------------------------- executors that are closed

SHUT_DOWN = r"^the executor was shut down, or took its shards back: what .*in the checkpoint, .*\.$"


class Cancels(Executor):
    def submit(self, *arguments):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_shards_that_are_cancelled_end_the_search_in_a_sentence():
    with pytest.raises(RuntimeError, match=SHUT_DOWN):
        search(Cancels())


def test_a_pool_that_is_shut_down_meanwhile_ends_the_search_in_a_sentence(tmp_path):
    path, executor = tmp_path / "run.db", ThreadPoolExecutor(1)

    def shut_down(result):
        executor.shutdown(wait=False, cancel_futures=True)

    # One worker: the shards that wait are cancelled, and nobody is told.
    with pytest.raises(RuntimeError, match=r"in the checkpoint, if there is one; call again"):
        search(executor, n_candidates=10**6, checkpoint=path, callback=shut_down)
    with Checkpoint(path) as file:
        assert file.restore(shards.State.at(100, 5))[0].n_evaluated >= 156
    with pytest.raises(ValueError, match=r"executor takes no shard .* not been shut down[.]$"):
        search(executor)


@pytest.mark.long(everywhere=True)
def test_a_client_of_dask_that_is_closed_ends_this_search_and_refuses_the_next():
    from distributed import Client

    client = Client(n_workers=1, processes=False, dashboard_address=None)
    executor = client.get_executor()
    with pytest.raises(RuntimeError, match=SHUT_DOWN):
        search(executor, n_candidates=10**7, callback=lambda result: client.close())
    for n_threads in (None, 1):
        with pytest.raises(ValueError, match=r"executor takes no shard \(its client is closed\)"):
            search(executor, n_threads=n_threads)


class HasClient(AtOnce):
    """Has a client that may be closed, as Dask's has."""

    def __init__(self):
        self._client = types.SimpleNamespace(status="running")

    def close(self, result=None):
        self._client.status = "closed"


def test_a_client_that_is_closed_between_two_shards_ends_the_search(monkeypatch):
    monkeypatch.setattr(workers, "LOOK_INTERVAL", -1.0)  # it is not asked for its workers then
    executor = HasClient()
    with pytest.raises(RuntimeError, match=SHUT_DOWN):
        search(executor, callback=executor.close)


def test_a_client_that_is_closed_while_all_shards_are_under_way_ends_the_search():
    class Keeps(HasClient):
        def submit(self, *arguments):
            threading.Timer(0.05, self.close).start()
            return Future()

    with pytest.raises(RuntimeError, match=SHUT_DOWN):
        search(Keeps())


def test_a_client_of_dask_that_is_closed_while_it_takes_a_shard_is_a_sentence():
    from distributed.client import ClosedClientError

    with pytest.raises(RuntimeError, match=r"^executor takes no more shards \(Client is closed\)"):
        search(Refuses(3, ClosedClientError("Client is closed")))


# ------------------------------------------------------------- executors that give nothing back


class Stuck(AtOnce):
    """Gives some shards back, and the others never."""

    def __init__(self, n_shards):
        self.left = n_shards

    def submit(self, *arguments):
        self.left -= 1
        return super().submit(*arguments) if self.left >= 0 else Future()


@pytest.mark.long(everywhere=True)
def test_a_time_budget_ends_a_search_whose_shards_do_not_come_back(tmp_path):
    path, began = tmp_path / "run.db", time.perf_counter()
    result = search(Stuck(5), checkpoint=path, time_budget=0.3)
    assert 0.3 <= result.elapsed <= time.perf_counter() - began < 0.3 + 0.5
    assert (result.stopped_by, result.n_evaluated) == ("time_budget", 156 + 4 * 256)
    assert digest(result) == digest(search(n_candidates=156 + 4 * 256))
    again = search(Stuck(0), checkpoint=path, time_budget=0.2)
    assert digest(again) == digest(result)  # the best of what the checkpoint has


@pytest.mark.long(everywhere=True)
def test_a_time_budget_without_any_shard_is_a_timeout_error():
    with pytest.raises(
        TimeoutError, match=r"^time_budget is 0.2 s, and in that time the exec.*\.$"
    ):
        search(Stuck(0), time_budget=0.2)


@pytest.mark.long(everywhere=True)
def test_a_time_budget_ends_a_search_on_a_cluster_without_workers():
    from distributed import Client, LocalCluster

    options = {"n_workers": 0, "processes": False, "dashboard_address": None}
    with (
        LocalCluster(**options) as cluster,
        Client(cluster) as client,
        pytest.raises(TimeoutError, match="an executor whose workers are there"),
    ):
        search(client.get_executor(), time_budget=0.2)


@pytest.mark.long
@pytest.mark.parametrize("n_shards", [0, 3])
def test_ctrl_c_is_answered_at_once_while_nothing_comes_back(n_shards):
    sent = []

    def press():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.35, press).start()
    if n_shards:
        assert search(Stuck(n_shards)).interrupted
    else:
        with pytest.raises(KeyboardInterrupt):
            search(Stuck(n_shards))
    assert time.perf_counter() - sent[0] < 0.2
