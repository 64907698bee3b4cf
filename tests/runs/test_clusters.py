"""A search on a cluster of many workers that are not to be relied upon; tests/hardening/clusters.py
is the same for a thousand, and for Dask's, Ray's and joblib's."""

from concurrent.futures import Future

import pytest
from searches import digest, objective
from simulated_cluster import FAULTS, Cluster

import metaopt_fast as mf
from metaopt_fast.search import shards

pytestmark = pytest.mark.usefixtures("shards_of_256")


def search(n_shards, **options):
    return mf.random_search(
        objective(n_threads=1), mf.Normal(), 256 * n_shards, top_k=5, seed=3, **options
    )


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("seed", [0, 1])
def test_dead_slow_lost_and_repeated_answers_change_no_byte_and_lose_nothing(seed, path):
    with Cluster(100, seed=seed) as cluster:
        options = {"executor": cluster, "checkpoint": path}
        part = search(400, callback=lambda found: True, **options)
        kept = mf.read_checkpoint(path).n_evaluated
        whole = search(400, **options)
    assert part.stopped_by == "callback" and part.n_evaluated == kept < 256 * 400
    assert whole.ranges == ((0, 256 * 400),)
    assert digest(whole) == digest(search(400))
    assert all(cluster.counts[fault] for fault in FAULTS)


def test_no_future_is_asked_whether_it_is_done():
    """Of thousands under way, to ask each whenever one is done would be most of the work."""
    asked = []

    class Watched(Future):
        def done(self):
            asked.append(self)
            return super().done()

    class AtOnce:
        num_workers = 4

        def submit(self, function, *arguments):
            future = Watched()
            future.set_result(function(*arguments))
            return future

    assert digest(search(9, executor=AtOnce())) == digest(search(9))
    assert not asked


def test_a_state_counts_what_waits_as_it_comes():
    task = shards.Task(objective(n_threads=1), mf.Normal(), 3, 5, 8, True, None)
    state = shards.State.at(0, 5)
    for start in (512, 0, 1024, 256, 768):
        state = state.add([task.run(start, 256, state.threshold)])
        counted = sum(stop - first for first, stop in state.ranges)
        assert state.n_evaluated == counted
        assert [shard.start for shard in state.waiting] == sorted(s.start for s in state.waiting)
    assert state.ranges == ((0, 1280),)
