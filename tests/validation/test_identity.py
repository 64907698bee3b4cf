"""Two objectives, samplers or metrics are taken for the same only where that is proven, or told."""

import copy
import functools
import gc
import multiprocessing
import pickle
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
import pytest
from identities import (
    COUNTS,
    LOGISTIC,
    METRICS_OF_ONES_OWN,
    OBJECTIVES_OF_ONES_OWN,
    PICKLED,
    REFUSED,
    SEED,
    SPACE,
    TAKE_ATTRIBUTES,
    Metric,
    N,
    Own,
    OwnNamed,
    SlotMetric,
    SubCost,
    X,
    Y,
    cost,
    stop,
)
from searches import digest

import metaopt_fast as mf
from metaopt_fast.runs import workers
from metaopt_fast.samplers.box import Box
from metaopt_fast.selection.candidates import Descents
from metaopt_fast.validation import identity

pytestmark = pytest.mark.usefixtures("shards_of_256")


@pytest.fixture(params=METRICS_OF_ONES_OWN)
def metric(request):
    return METRICS_OF_ONES_OWN[request.param]


class OneWorker:
    """An executor whose worker remembers what it was sent, from search to search."""

    _max_workers = 1

    def __init__(self):
        self.memory, self.sent = {}, 0

    def submit(self, function, name, data, *rest):
        self.sent += data is not None
        outside, workers._KNOWN = workers._KNOWN, self.memory
        try:
            answer = function(name, data, *rest)
        finally:
            workers._KNOWN = outside
        future = Future()
        future.set_result(workers.Answer("worker", answer.shard))
        return future


# ------------------------------------------------------------------------------------------ workers


@pytest.mark.long(everywhere=True)
def test_a_worker_tells_metrics_apart(metric):
    executor = OneWorker()
    for fn in (1, 50):
        objective = mf.CountObjective(COUNTS, metric(fn))
        alone = mf.random_search(objective, mf.Normal(), N, seed=SEED)
        there = mf.random_search(objective, mf.Normal(), N, seed=SEED, executor=executor)
        assert digest(there) == digest(alone)
        assert there.loss == objective.loss(there.theta)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_tells_metrics_apart(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        for name in PICKLED:
            for fn in (1, 50):
                objective = mf.CountObjective(COUNTS, METRICS_OF_ONES_OWN[name](fn))
                there = mf.random_search(objective, mf.Normal(), 600, seed=SEED, executor=pool)
                assert there.loss == objective.loss(there.theta), name


@pytest.fixture(params=OBJECTIVES_OF_ONES_OWN)
def make(request):
    return OBJECTIVES_OF_ONES_OWN[request.param]


def test_a_worker_tells_objectives_apart(make):
    executor = OneWorker()
    for scale in (1.0, 3.0):
        objective = make(scale)
        there = mf.random_search(objective, mf.Normal(), N, seed=SEED, executor=executor)
        assert digest(there) == digest(mf.random_search(objective, mf.Normal(), N, seed=SEED))


def test_a_worker_sees_that_an_object_without_a_name_has_changed():
    executor, objective = OneWorker(), Own()
    mf.random_search(copy.deepcopy(objective), mf.Normal(), N, seed=SEED, executor=executor)
    objective.signed = objective.signed * 2
    there = mf.random_search(objective, mf.Normal(), N, seed=SEED, executor=executor)
    assert digest(there) == digest(mf.random_search(objective, mf.Normal(), N, seed=SEED))


def test_what_is_proven_or_named_is_sent_to_a_worker_once():
    for make in (lambda: mf.LogisticLoss(X, Y), OwnNamed, lambda: mf.CountObjective(COUNTS)):
        executor = OneWorker()
        for _ in range(2):
            mf.random_search(make(), mf.Normal(), N, seed=SEED, executor=executor)
        assert executor.sent == 1


def test_objectives_of_two_classes_with_one_name_are_two_to_a_worker():
    class Other(Own):
        fingerprint = OwnNamed().fingerprint

    executor = OneWorker()
    for objective in (OwnNamed(), Other(3.0)):
        there = mf.random_search(objective, mf.Normal(), N, seed=SEED, executor=executor)
        assert digest(there) == digest(mf.random_search(objective, mf.Normal(), N, seed=SEED))


def test_folds_on_one_pool_are_told_apart():
    rates = {"learning_rate": mf.LogUniform(0.01, 10)}
    executor = OneWorker()
    for scale in (1.0, 3.0):
        parts = {"validation": Own(scale, 100), "max_iter": 5}
        there = mf.search_descents(Own(scale), rates, 16, search={"executor": executor}, **parts)
        alone = mf.search_descents(Own(scale), rates, 16, **parts)
        assert digest(there.search) == digest(alone.search)


# -------------------------------------------------------------------------------- files and refusal


def steps(size):
    return lambda start, count: np.arange(start, start + count)[:, None] * np.full(4, size)


class Wide(mf.Normal):
    def sample(self, seed, start, count, n_params):
        return 3 * super().sample(seed, start, count, n_params)


class OwnColumns(mf.Normal):
    def columns(self, n_params):
        return super().columns(n_params)._replace(b=np.full(n_params, 0.5))


SAMPLERS_OF_ONES_OWN = {
    "closure": steps(0.001),
    "partial": functools.partial(mf.Normal().sample, 0, n_params=4),
    "method": Box(mf.Integers(-2, 2), 4).__call__,
    "subclass": Wide(),
    "mixture": mf.Mixture({range(3): mf.Normal(), 3: OwnColumns()}),
}


@pytest.mark.long(everywhere=True)
def test_objectives_that_nothing_tells_apart_are_refused_by_every_file(make, path):
    objective = make(1.0)
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.random_search(objective, mf.Normal(), N, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.enumerate_search(objective, -1, 1, max_nonzero=2, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.evolve(objective, mf.Normal(), checkpoint=path)
    rates, search = {"learning_rate": mf.Uniform(0.1, 1)}, {"checkpoint": path}
    with pytest.raises(mf.CheckpointError, match=f"^(validation|metric|counts) is .*{REFUSED}"):
        mf.search_descents(LOGISTIC, rates, 9, validation=objective, search=search)
    with pytest.raises(mf.CheckpointError, match=f"^objective is .*{REFUSED}"):
        mf.search_descents(Own(), rates, 9, validation=LOGISTIC, search=search)
    assert not path.exists()


def test_metrics_that_nothing_tells_apart_are_refused(metric, path):
    objective = mf.CountObjective(COUNTS, metric(2))
    with pytest.raises(mf.CheckpointError, match=f"^metric is .*{REFUSED}"):
        mf.random_search(objective, mf.Normal(), N, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=f"^metric is .*{REFUSED}"):
        mf.evolve(objective, mf.Normal(), checkpoint=path)


@pytest.mark.parametrize("name", SAMPLERS_OF_ONES_OWN)
def test_samplers_that_nothing_tells_apart_are_refused(name, path):
    with pytest.raises(mf.CheckpointError, match=f"^sampler is .*{REFUSED}"):
        mf.random_search(LOGISTIC, SAMPLERS_OF_ONES_OWN[name], 100, checkpoint=path)


@pytest.mark.parametrize("start", [Wide(), OwnColumns()])
def test_an_evolution_from_a_sampler_that_nothing_tells_apart_is_refused(start, path):
    with pytest.raises(mf.CheckpointError, match=f"^sampler is .*{REFUSED}"):
        mf.evolve(LOGISTIC, start, checkpoint=path)


def test_hyper_samplers_that_nothing_tells_apart_are_refused(path):
    class Rounded(mf.LogUniform):
        def values(self, exponents):
            return super().values(np.round(exponents))

    for sampler in (Rounded(0.1, 1), OwnColumns(0.5, 0.1)):
        with pytest.raises(mf.CheckpointError, match=f"sampler of 'l2' is .*{REFUSED}"):
            mf.search_descents(
                LOGISTIC, {"l2": sampler}, 9, validation=LOGISTIC, search={"checkpoint": path}
            )


@pytest.mark.parametrize("name", [None, 7, b"mine", "", lambda: "mine"])
def test_a_fingerprint_that_is_no_string_names_nothing(name, path):
    objective = Own()
    objective.fingerprint = name
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.random_search(objective, mf.Normal(), N, checkpoint=path)


def test_a_name_of_the_class_does_not_count_where_the_object_hides_a_method(path):
    objective = OwnNamed()
    objective.batch_loss = lambda thetas: np.zeros(len(thetas))
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.random_search(objective, mf.Normal(), N, checkpoint=path)


# -------------------------------------------------------------------------------------------- names


@pytest.fixture
def often(monkeypatch):
    """Callbacks after each shard."""
    monkeypatch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)


@pytest.mark.long(everywhere=True)
def test_a_search_that_is_named_goes_on_under_its_name_alone(make, path, often):
    options = {"seed": SEED, "top_k": 3, "checkpoint": path, "fingerprint": "scale 1"}
    part = mf.random_search(make(1.0), mf.Normal(), N, callback=stop, **options)
    assert part.n_evaluated < N and part.config["given_fingerprint"] == "scale 1"
    whole = mf.random_search(make(1.0), mf.Normal(), N, seed=SEED, top_k=3)
    assert digest(mf.resume_search(path, make(1.0), fingerprint="scale 1")) == digest(whole)
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.resume_search(path, make(1.0))
    with pytest.raises(mf.CheckpointError, match="given_fingerprint = 'scale 1'"):
        mf.resume_search(path, make(1.0), fingerprint="scale 3")
    with pytest.raises(mf.CheckpointError, match="has the loss"):
        mf.resume_search(path, make(3.0), fingerprint="scale 1")


def test_an_evolution_that_is_named_goes_on_under_its_name_alone(make, path):
    options = {"population": 16, "seed": SEED, "top_k": 3, "checkpoint": path}
    mf.evolve(make(1.0), mf.Normal(), generations=3, fingerprint="scale 1", **options)
    whole = mf.evolve(make(1.0), mf.Normal(), generations=6, **{**options, "checkpoint": None})
    resumed = mf.evolve(make(1.0), mf.Normal(), generations=6, fingerprint="scale 1", **options)
    assert resumed.top.tobytes() == whole.top.tobytes()
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.evolve(make(1.0), mf.Normal(), generations=9, **options)
    for scale, name in ((1.0, "scale 3"), (3.0, "scale 1")):
        with pytest.raises(mf.CheckpointError, match=r"given_fingerprint|has the loss"):
            mf.evolve(make(scale), mf.Normal(), generations=9, fingerprint=name, **options)


def test_a_name_stands_for_what_has_none_and_for_nothing_else(path):
    def metric(counts):
        return cost(counts, 3)

    options = {"checkpoint": path, "fingerprint": "3 for a false negative"}
    mf.random_search(mf.CountObjective(COUNTS, metric), mf.Normal(), 100, **options)
    other = mf.ConfusionCounts(X + 1, Y, fit_intercept=True)
    for objective in (
        mf.CountObjective(other, metric),
        mf.CountObjective(COUNTS, "error"),
    ):
        with pytest.raises(mf.CheckpointError, match="a search with fingerprint = "):
            mf.random_search(objective, mf.Normal(), 100, **options)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", TAKE_ATTRIBUTES)
def test_a_metric_may_have_a_name_of_its_own(name, path):
    def named(fn):
        metric = METRICS_OF_ONES_OWN[name](fn)
        metric.fingerprint = f"false negatives cost {fn}"
        return mf.CountObjective(COUNTS, metric)

    mf.random_search(named(2), mf.Normal(), 300, checkpoint=path)
    again = mf.resume_search(path, named(2))
    assert again.loss == named(2).loss(again.theta)
    with pytest.raises(mf.CheckpointError, match="a search with fingerprint = "):
        mf.resume_search(path, named(3))
    merged = mf.merge_results(
        [mf.random_search(named(2), mf.Normal(), 100, start=start) for start in (0, 100)]
    )
    assert merged.index == mf.random_search(named(2), mf.Normal(), 200).index


def test_a_sampler_may_have_a_name_of_its_own(path):
    fine, coarse = steps(0.001), steps(0.002)
    fine.fingerprint, coarse.fingerprint = "steps of 0.001", "steps of 0.002"
    mf.random_search(LOGISTIC, fine, 1000, checkpoint=path)
    assert mf.random_search(LOGISTIC, fine, 2000, checkpoint=path).n_evaluated == 2000
    with pytest.raises(mf.CheckpointError, match="a search with fingerprint = "):
        mf.random_search(LOGISTIC, coarse, 2000, checkpoint=path)
    with pytest.raises(ValueError, match=r"call random_search with that callable"):
        mf.resume_search(path, LOGISTIC)


def test_a_subclass_of_a_sampler_is_not_taken_for_a_built_in_one_of_its_name(path):
    normal = type("Normal", (Wide,), {"fingerprint": "three times"})
    assert normal() == mf.Normal()  # by its arguments
    mf.random_search(LOGISTIC, normal(), 500, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=r"a search with (fingerprint|sampler) = "):
        mf.random_search(LOGISTIC, mf.Normal(), 500, checkpoint=path)
    with pytest.raises(ValueError, match="callable"):
        mf.resume_search(path, LOGISTIC)


def test_an_objective_named_by_its_class_keeps_its_name(path):
    mf.random_search(OwnNamed(), mf.Normal(), 300, checkpoint=path)
    assert mf.resume_search(path, OwnNamed()).n_evaluated == 300
    with pytest.raises(mf.CheckpointError, match="a search with fingerprint = "):
        mf.resume_search(path, OwnNamed(2.0))


@pytest.mark.parametrize(
    ("wrong", "error"), [(7, TypeError), (b"mine", TypeError), ("", ValueError)]
)
def test_a_name_that_is_none_is_refused(wrong, error, path):
    for search in (
        lambda: mf.random_search(LOGISTIC, mf.Normal(), 9, fingerprint=wrong),
        lambda: mf.enumerate_search(LOGISTIC, 0, 1, fingerprint=wrong),
        lambda: mf.evolve(LOGISTIC, mf.Normal(), fingerprint=wrong),
        lambda: mf.search_descents(
            LOGISTIC,
            {"l2": mf.Uniform(0, 1)},
            9,
            validation=LOGISTIC,
            search={"fingerprint": wrong},
        ),
    ):
        with pytest.raises(error, match=r"^fingerprint is .*: pass a string"):
            search()


# ------------------------------------------------------------------------------------- descents


def descents(path, **options):
    options = {"validation": LOGISTIC, "max_iter": 3, "search": {"checkpoint": path}, **options}
    space = options.pop("space", SPACE)
    return mf.search_descents(LOGISTIC, space, 8, batch=4, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "nesterov"},
        {"theta0": np.full(4, 1e-300)},
        {"max_iter": 4},
        {"validation": mf.LogisticLoss(X, 1 - Y)},
        {"space": SPACE | {"l2": mf.Uniform(np.array([1e-12]), np.array([1.0]))}},
        {"space": SPACE | {"l2": mf.Uniform(np.array([2e-12]), np.array([1.0]))}},
        {"method": "adamw", "weight_decay": np.array([0.1, 0.1, 0.1, 0.1])},
        {"method": "adamw", "weight_decay": np.array([0.1, 0.1, 0.1, 0.1 + 1e-12])},
    ],
)
def test_descents_with_other_arguments_are_another_search(path, change):
    descents(path, space=SPACE | {"l2": mf.Uniform(np.array([0.0]), np.array([1.0]))})
    with pytest.raises(mf.CheckpointError, match=r"a search with (fingerprint|sampler) = "):
        descents(path, **change)


def test_digits_of_options_that_a_repr_leaves_out_are_told_apart():
    def fingerprint(decay):
        return Descents(LOGISTIC, LOGISTIC, {}, None, {"weight_decay": decay}, 4).fingerprint

    last = np.zeros(2000)
    last[1000] = 1e-9
    values = [np.zeros(2000), last, np.array([0.1]), np.array([0.1 + 1e-12]), 0.1, [0.1], (0.1,)]
    assert len({fingerprint(value) for value in values}) == len(values)


# ------------------------------------------------------------------------------------------ merging


@pytest.mark.long(everywhere=True)
def test_results_of_what_has_no_name_merge_where_they_are_of_the_very_same_object(make):
    objective = make(1.0)
    parts = [
        mf.random_search(objective, mf.Normal(), 500, start=start, n_threads=n_threads)
        for start, n_threads in ((500, 1), (0, None))
    ]
    assert mf.merge_results(parts).loss == mf.random_search(objective, mf.Normal(), 1000).loss
    for other in (make(1.0), make(3.0), copy.deepcopy(objective)):
        part = mf.random_search(other, mf.Normal(), 500, start=500)
        with pytest.raises(ValueError, match=r"pass fingerprint= to each search, or .*\.$"):
            mf.merge_results([parts[1], part])
    for scale in (1.0, 3.0):
        named = [
            mf.random_search(make(1.0), mf.Normal(), 500, start=500, fingerprint="one"),
            mf.random_search(make(1.0), mf.Normal(), 500, fingerprint=f"{scale}"),
        ]
        with pytest.raises(ValueError, match="results differ in given_fingerprint"):
            mf.merge_results(named)


@pytest.mark.long(everywhere=True)
def test_named_results_of_other_processes_merge(make, tmp_path):
    for start in (0, 500):
        part = mf.random_search(make(1.0), mf.Normal(), 500, start=start, fingerprint="scale 1")
        part.save(tmp_path / f"{start}.npz")
    parts = [mf.SearchResult.load(tmp_path / f"{start}.npz") for start in (500, 0)]
    whole = mf.random_search(make(1.0), mf.Normal(), 1000)
    assert mf.merge_results(parts).top.tobytes() == whole.top.tobytes()


def test_an_object_that_has_changed_between_two_searches_is_another_one():
    objective = mf.CountObjective(COUNTS, Metric(1))
    first = mf.random_search(objective, mf.Normal(), 500)
    objective.metric.fn = 50
    second = mf.random_search(objective, mf.Normal(), 500, start=500)
    with pytest.raises(ValueError, match="pass fingerprint="):
        mf.merge_results([first, second])


def test_results_of_a_forked_child_are_not_of_the_same_object():
    objective = Own()
    first = mf.random_search(objective, mf.Normal(), 500)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        second = pool.submit(search_inherited, identity.word(objective)).result()
    assert second != first.config["fingerprint"].split()[1]


KEPT = Own()


def search_inherited(_):
    return mf.random_search(KEPT, mf.Normal(), 500, start=500).config["fingerprint"].split()[1]


# ------------------------------------------------------------------------------- words of objects


@pytest.mark.long(everywhere=True)
def test_a_word_is_an_objects_own_as_long_as_it_lives():
    things = [Own() for _ in range(50)]
    words = [identity.word(thing) for thing in things]
    assert len(set(words)) == 50
    assert words == [identity.word(thing) for thing in things]
    gc.collect()  # what other tests have left
    before = len(identity._WORDS)
    del things
    gc.collect()
    assert len(identity._WORDS) == before - 50
    again = {identity.word(Own()) for _ in range(50)}  # perhaps where one of those was
    assert len(again) == 50 and not again & set(words)


class Equal:
    """Equal to all of its class, as dataclasses are to those of the same fields."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 0


def test_objects_that_are_equal_have_words_of_their_own():
    one, other = Equal(), Equal()
    assert one == other and identity.word(one) != identity.word(other)


def test_what_no_reference_can_be_made_to_is_another_one_each_time():
    metric = SlotMetric(1)
    assert identity.word(metric) != identity.word(metric)


def test_fingerprints_of_callables_are_public_and_differ(metric):
    first, second = (mf.CountObjective(COUNTS, metric(1)) for _ in range(2))
    assert first.fingerprint != second.fingerprint
    if not isinstance(first.metric, (SlotMetric, SubCost)):
        assert first.fingerprint == first.fingerprint == first.with_threads(2).fingerprint


def test_objects_that_were_pickled_are_the_same_where_they_are_named():
    objective = pickle.loads(pickle.dumps(OwnNamed()))
    parts = [
        mf.random_search(part, mf.Normal(), 100, start=start)
        for part, start in ((objective, 0), (OwnNamed(), 100))
    ]
    assert mf.merge_results(parts).n_evaluated == 200
