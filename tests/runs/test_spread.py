"""Fits, tests and evolutions on workers: the bits of one process, whatever becomes of workers."""

import itertools
import multiprocessing
import pickle
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from every_call import digest
from evolutions import METHODS, start_of
from evolutions import digest as digest_of_evolution
from scipy import sparse
from searches import MeanSquare, problem
from simulated_cluster import Cluster
from sklearn.model_selection import KFold

import metaopt_fast as mf
from metaopt_fast.fitting import newton
from metaopt_fast.runs.spread import Made, Spread, threads_asked
from metaopt_fast.sklearn import LogisticRegression, permutation, permutation_test_score

X, Y = problem(120, 4)
FOLDS = np.arange(120) % 3
WEIGHTS = mf.bootstrap_weights(120, 60, seed=1)
STARTS = np.random.default_rng(1).normal(size=(60, 3, 5)) / 9
LABELS = mf.permuted_labels(Y, 60, seed=1)


class AtOnce:
    """Does parts as they are submitted, but for some: `otherwise` is called, and none answers."""

    def __init__(self, n_parts=10**9, otherwise=None, num_workers=1, n_silent=10**9):
        self.silent = range(n_parts, n_parts + n_silent)
        self.number, self.otherwise, self.num_workers = -1, otherwise, num_workers

    def submit(self, function, *arguments):
        future = Future()
        self.number += 1
        if self.number in self.silent:
            self.otherwise()
        else:
            future.set_result(function(*arguments))
        return future


def gone():
    raise BrokenExecutor("gone")


@pytest.fixture
def cluster():
    """Five workers that die, and lose, repeat and delay their answers."""
    with Cluster(5, seed=1) as executor:
        yield executor


# ---------------------------------------------------------------------------------------- the parts


def doubled(held, tasks):
    return [held * task for task in tasks]


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_tasks", [1, 2, 7, 100])
@pytest.mark.parametrize("most", [1, 4, 1000])
def test_parts_come_in_the_order_of_their_tasks(n_tasks, most):
    for kind in (range, lambda n: list(range(n)), np.arange):
        with Cluster(5, seed=n_tasks) as executor:
            parts = [*Spread(executor, 2).over(doubled, kind(n_tasks), most)]
        assert [*itertools.chain(*parts)] == [2 * task for task in range(n_tasks)]
        assert max(map(len, parts)) <= most


def test_workers_have_several_parts_each_of_whole_multiples():
    sizes = [len(part) for part in Spread(AtOnce(), 2).over(doubled, range(100), 1000, 8)]
    assert sizes == [40, 40, 20]
    assert [len(part) for part in Spread(None, 2).over(doubled, range(100), 60, 8)] == [60, 40]


def test_what_is_held_is_made_once_in_each_process_and_travels_unmade():
    calls = []
    held = Made(lambda *numbers: calls.append(numbers) or sum(numbers), 1, 2)
    assert held.value + held.value == 6
    assert calls == [(1, 2)]
    kind, arguments = held.__reduce__()
    assert kind(*arguments).value == 3
    assert len(calls) == 2


def test_what_threads_ask_for_at_once_is_made_once_and_holds_nothing_else_up():
    """One lock for all, of Python 3.11, would be held for ever in a child forked meanwhile."""
    is_begun, may_end, made = threading.Event(), threading.Event(), []

    def make():
        is_begun.set()
        assert may_end.wait(60)
        made.append(len(made))
        return made

    slow, other, found = Made(make), Made(int, "7"), []
    makers = [threading.Thread(target=lambda: slow.value) for _ in range(2)]
    beside = threading.Thread(target=lambda: found.append(other.value), daemon=True)
    for thread in makers:
        thread.start()
    assert is_begun.wait(60)
    beside.start()
    beside.join(10)
    before = list(found)
    may_end.set()
    for thread in (*makers, beside):
        thread.join()
    assert before == [7] and slow.value == [0]


def test_one_spread_serves_call_after_call(cluster):
    spread = Spread(cluster, 3)
    for n_tasks in (5, 50, 1):
        parts = [*spread.over(doubled, range(n_tasks), 2)]
        assert [*itertools.chain(*parts)] == [3 * task for task in range(n_tasks)]


def test_threads_are_the_share_of_a_worker_unless_they_are_given():
    assert threads_asked(None, None) is None
    assert threads_asked(AtOnce(), 3) == 3
    assert threads_asked(AtOnce(num_workers=10_000), None) == 1


# ------------------------------------------------------------------------------------ the same bits

FITS = {
    "weights": {"l2": 0.1, "sample_weight": WEIGHTS},
    "labels": {"y": LABELS, "l2": 0.1, "class_weight": "balanced"},
    "folds and starts": {"l2": 0.1, "sample_weight": WEIGHTS, "folds": FOLDS, "theta0": STARTS},
    "validation gradients": {
        "l2": np.geomspace(1e-3, 1, 50),
        "folds": 3,
        "validation_gradient": True,
        "feature_groups": [0, 0, 1, 1],
    },
    "penalties and centres": {
        "l2": np.geomspace(1e-3, 1, 50),
        "penalty_factor": [1, 2, 0, np.inf],
        "center": np.arange(50)[:, None] / 50 + [0.0, 0.1, 0.2, 0.3],
        "standardize": True,
    },
    "columns of unit deviation": {"l2": [0.1, 1.0], "folds": FOLDS, "standardize": True},
    "the same with l1": {
        "l2": 0.0,
        "l1": [0.1, 0.01],
        "folds": FOLDS,
        "standardize": True,
        "penalty_factor": [1, 2, 3, np.inf],
    },
    "paths of l1": {"l2": 0.0, "l1": [0.1, 0.02, 0.01], "folds": FOLDS, "theta0": 0.01},
    "paths of other weights in each fold": {
        "l2": [[0.1], [0.2]] * np.ones((2, 3)),
        "l1": [[0.1, 0.2, 0.3], [0.02, 0.03, 0.01]],
        "folds": FOLDS,
        "class_weight": [None, "balanced"],
    },
    "sparse rows": {
        "X": sparse.csr_array(np.where(np.abs(X) > 1, X, 0)),
        "l2": [0.1, 0.01],
        "l1": [0.0, 0.01],
        "folds": FOLDS,
        "theta0": np.random.default_rng(2).normal(size=(2, 3, 5)) / 9,
    },
    "machines": {"l2": [0.1, 1.0], "folds": 3, "standardize": True, "loss": "squared_hinge"},
    "more classes": {"y": FOLDS, "l2": 0.1, "folds": 4, "standardize": True, "theta0": 0.1},
}


@pytest.mark.parametrize("name", FITS)
def test_fits_have_the_same_bits(name, cluster):
    asked = {"X": X, "y": Y, **FITS[name]}
    assert digest(mf.fit_many(**asked, executor=cluster)) == digest(mf.fit_many(**asked))


GRIDS = {
    "near": {"l2": np.geomspace(1e-4, 1, 80), "folds": FOLDS},
    "class weights": {"l2": np.geomspace(1e-4, 1, 60), "class_weight": [None, "balanced"] * 30},
    "from 0": {"l2": np.geomspace(1, 1e-4, 30), "folds": 5, "fit_intercept": False},
    "from starts": {"l2": [0.01] * 60, "theta0": STARTS[:, 0]},
    "without a penalty": {"l2": [0.0, 0.1] * 13},
    "more columns than rows": {"X": np.random.default_rng(3).normal(size=(120, 150))}
    | {"l2": np.geomspace(0.01, 1, 30)},
    "sparse rows without a penalty": {"X": sparse.csr_array(X), "l2": [0.0] * 50},
    "one batch": {"l2": [0.1, 1.0]},
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", GRIDS)
def test_batches_of_a_grid_have_the_same_bits(name, cluster, monkeypatch):
    monkeypatch.setattr(newton, "BATCH_BYTES", 0)  # of 24 models
    asked = {"X": X, "y": Y, **GRIDS[name]}
    assert digest(mf.fit_many(**asked, executor=cluster)) == digest(mf.fit_many(**asked))


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("groups", [None, np.arange(120) // 4])
def test_a_bootstrap_has_the_same_bits(method, groups, cluster):
    asked = {"l2": 0.1, "n_resamples": 90, "method": method, "groups": groups, "seed": 4}
    asked |= {"penalty_factor": [1, 2, 1, 1], "center": [0.1, 0, 0, 0], "class_weight": "balanced"}
    assert digest(mf.bootstrap(X, Y, **asked, executor=cluster)) == digest(
        mf.bootstrap(X, Y, **asked)
    )


def test_a_bootstrap_that_tunes_has_the_same_bits(cluster):
    asked = {"tune": [0.01, 0.1], "folds": 3, "n_resamples": 60}
    found = mf.bootstrap(X, Y, **asked, executor=cluster)
    assert digest(found) == digest(mf.bootstrap(X, Y, **asked))


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("asked", [{}, {"cv": KFold(3)}, {"cv": KFold(3), "scoring": "roc_auc"}])
def test_a_permutation_test_has_the_same_bits(asked, cluster, monkeypatch):
    monkeypatch.setattr(permutation, "HELD", 12 * len(Y))
    monkeypatch.setattr(permutation, "TOGETHER", 8)
    asked = {"n_permutations": 29, "random_state": 3, **asked}
    found = permutation_test_score(LogisticRegression(), X, Y, **asked, executor=cluster)
    assert digest(found) == digest(permutation_test_score(LogisticRegression(), X, Y, **asked))


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", METHODS)
def test_an_evolution_has_the_same_bits(method, cluster):
    loss = mf.LogisticLoss(X, Y, l2=1e-3)
    asked = {"method": method, "population": 32, "generations": 9, "top_k": 3}
    start = start_of(method)
    found = mf.evolve(loss, start, **asked, executor=cluster)
    assert digest_of_evolution(found) == digest_of_evolution(mf.evolve(loss, start, **asked))


@pytest.mark.parametrize("loss", [mf.AUCObjective(X, Y), MeanSquare()])
def test_so_has_one_of_losses_that_are_bounded_or_a_users_own(loss):
    asked = {"population": 64, "generations": 8}
    with ThreadPoolExecutor(2) as threads:
        found = mf.evolve(loss, mf.Normal(), **asked, executor=threads)
    assert digest_of_evolution(found) == digest_of_evolution(mf.evolve(loss, mf.Normal(), **asked))


def test_an_evolution_goes_on_from_its_checkpoint_on_workers(cluster, path):
    loss, asked = mf.LogisticLoss(X, Y), {"population": 32, "checkpoint": path}
    mf.evolve(loss, mf.Normal(), generations=4, executor=cluster, **asked)
    found = mf.evolve(loss, mf.Normal(), generations=9, executor=cluster, **asked)
    alone = mf.evolve(loss, mf.Normal(), generations=9, population=32)
    assert digest_of_evolution(found) == digest_of_evolution(alone)


@pytest.mark.long
def test_processes_give_the_same_bits():
    weights = {"l2": 0.1, "sample_weight": WEIGHTS}
    calls = (
        lambda executor: mf.fit_many(X, Y, **weights, executor=executor),
        lambda executor: mf.fit_many(X, Y, **FITS["machines"], executor=executor),
        lambda executor: mf.fit_many(X, Y, **GRIDS["near"], executor=executor),
        lambda executor: mf.bootstrap(X, Y, l2=0.1, n_resamples=80, executor=executor),
        lambda executor: mf.evolve(
            mf.LogisticLoss(X, Y), mf.Normal(), generations=3, executor=executor
        ),
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for call in calls:
            assert digest(call(pool)) == digest(call(None))


# -------------------------------------------------------------------------------------- how it ends


@pytest.fixture
def stops(alarm):
    """A function that lets Ctrl-C come while a call waits for its workers."""
    return lambda: alarm(0.2)


def test_ctrl_c_leaves_the_first_resamples(stops):
    asked = {"l2": 0.1, "seed": 2}
    executor = AtOnce(3, stops, num_workers=2)  # six parts
    found = mf.bootstrap(X, Y, n_resamples=144, executor=executor, **asked)
    assert found.interrupted
    first = mf.bootstrap(X, Y, n_resamples=72, **asked)
    assert (found.bootstrap_distribution == first.bootstrap_distribution).all()
    assert (found.confidence_interval.low == first.confidence_interval.low).all()


@pytest.mark.long(everywhere=True)
def test_what_follows_ctrl_c_is_none_of_what_it_ended(stops):
    """The models without each row, which the intervals take, are fitted by the same workers."""
    asked = {"l2": 0.1, "method": "BCa"}
    executor = AtOnce(3, stops, num_workers=2, n_silent=3)
    found = mf.bootstrap(X, Y, n_resamples=144, executor=executor, **asked)
    first = mf.bootstrap(X, Y, n_resamples=72, **asked)
    assert (found.confidence_interval.low == first.confidence_interval.low).all()


def test_ctrl_c_leaves_the_first_permutations(stops):
    executor = AtOnce(2, stops)
    with pytest.warns(RuntimeWarning, match="after 39 of 59 permutations"):
        found = permutation_test_score(
            LogisticRegression(), X, Y, n_permutations=59, cv=KFold(3), executor=executor
        )
    whole = permutation_test_score(LogisticRegression(), X, Y, n_permutations=59, cv=KFold(3))
    assert (found[1] == whole[1][:39]).all()


def test_ctrl_c_leaves_the_generations_that_are_whole(stops):
    loss = mf.LogisticLoss(X, Y)
    executor = AtOnce(14, stops)  # three parts of a generation
    found = mf.evolve(loss, mf.Normal(), population=33, generations=9, executor=executor)
    assert found.stopped_by == "interrupt"
    alone = mf.evolve(loss, mf.Normal(), population=33, generations=4)
    assert digest_of_evolution(found) == digest_of_evolution(alone)


CALLS = {
    "fit_many": lambda executor: mf.fit_many(
        X, Y, l2=0.1, sample_weight=WEIGHTS, executor=executor
    ),
    "bootstrap": lambda executor: mf.bootstrap(X, Y, l2=0.1, executor=executor),
    "evolve": lambda executor: mf.evolve(mf.LogisticLoss(X, Y), mf.Normal(), executor=executor),
    "permutation_test_score": lambda executor: permutation_test_score(
        LogisticRegression(), X, Y, executor=executor
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_worker_that_dies_for_good_is_a_sentence(name):
    with pytest.raises(RuntimeError, match=r"^a worker of the executor died \(gone\): .*\.$"):
        CALLS[name](AtOnce(1, gone))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("executor", ["processes", 2, ThreadPoolExecutor])
def test_what_takes_no_tasks_is_refused_in_a_sentence(name, executor):
    with pytest.raises(TypeError, match=r"^executor is .*: pass an object with a method submit\.$"):
        CALLS[name](executor)


def test_an_error_of_one_model_is_that_of_the_call(cluster):
    weights = WEIGHTS.copy()
    weights[41, Y] = 0
    with pytest.raises(ValueError, match=r"^model 41 has weight in rows of one class at most"):
        mf.fit_many(X, Y, l2=0.1, sample_weight=weights, executor=cluster)


def test_a_score_that_cannot_be_sent_is_named():
    class Pickles(AtOnce):
        def submit(self, *arguments):
            future = Future()
            future.set_exception(pickle.PicklingError("a function of its own"))
            return future

    with pytest.raises(TypeError, match=r"^scoring is <function .*sent to another process"):
        permutation_test_score(
            LogisticRegression(), X, Y, scoring=lambda *arguments: 0.0, executor=Pickles()
        )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"l1": 0.1}, "but these models share their steps"),
        ({"l1": [0.1, 0], "folds": 3}, "but these models share their steps"),
        ({"l1": 0.1, "folds": 3, "penalty_factor": [1, 0, 1, 1]}, "but these models share their"),
        ({"y": FOLDS, "folds": 4}, "but these models share their steps"),
        ({"y": LABELS, "loss": "squared_hinge"}, "but loss is 'squared_hinge', whose models"),
        ({"standardize": True, "storage": "."}, "but storage is '[^']*', whose files"),
    ],
)
def test_fits_that_have_no_parts_are_refused_in_a_sentence(asked, message):
    with pytest.raises(ValueError, match=rf"^executor is .*AtOnce.*{message}.*: pass [^:]*\.$"):
        mf.fit_many(X, **{"y": Y, "l2": 0.1, **asked}, executor=AtOnce())
