"""Files that version 0.1.0 wrote, in tests/stored: they open, hold what it found, and go on.

They were made by the code of 0.1.0, on a processor with AVX-512, in this way, with
CALLBACK_INTERVAL and COMMIT_INTERVAL of its modules 0 and `stop(n)` a callback that stops at its
n-th call::

    search = {"seed": 7, "top_k": 3}
    found = mf.random_search(OBJECTIVE, mf.Normal(), 3 * 2**18, **search,
                             checkpoint="finished.search", metadata={"made by": "0.1.0"})
    found.save("search_result.npz")
    mf.random_search(OBJECTIVE, mf.Normal(), 3 * 2**18, **search,
                     checkpoint="unfinished.search", callback=stop(1))
    run = mf.evolve(OBJECTIVE, mf.Normal(), **EVOLUTION, checkpoint="finished.evolution")
    run.save("evolve_result.npz")
    mf.evolve(OBJECTIVE, mf.Normal(), **EVOLUTION, checkpoint="unfinished.evolution",
              callback=stop(5))
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.objectives import prospects, screening
from metaopt_fast.search import shards

STORED = Path(__file__).parents[1] / "stored"
DATA = np.arange(24).reshape(8, 3) * 7 % 11 / 4 - 1, np.arange(8) % 3 == 1
OBJECTIVE = mf.LogisticLoss(*DATA, l2=0.125, fit_intercept=True)
EVOLUTION = {
    "method": "shrinking",
    "population": 16,
    "generations": 12,
    "seed": 7,
    "top_k": 2,
}
N_CANDIDATES = 3 * 2**18
# What 0.1.0 printed: candidates and the bits of their losses.
SEARCHED = [
    (262068, "0x1.3bb5125f9cd9fp-1"),
    (478564, "0x1.3bc536d14e332p-1"),
    (269564, "0x1.3bd35fad20cd2p-1"),
]
EVOLVED = [(10, 2, "0x1.3bcdc5f73b913p-1"), (10, 0, "0x1.3bdda66546c59p-1")]
EVOLVED_THETA = [
    "0x1.8a07aa0f0996ep-2",
    "-0x1.48aea7da68436p-4",
    "0x1.7d41f9ab136a0p-2",
    "-0x1.b3169c03f3bc2p-1",
]

# Products and sums that are not fused have other bits: a checkpoint says so, and is refused.
needs_fma = pytest.mark.skipif(
    mf.config()["isa"] == "baseline", reason="0.1.0 wrote them with fused products and sums"
)


@pytest.fixture
def stored(tmp_path):
    """A copy of a stored file, which may be changed."""
    return lambda name: shutil.copy(STORED / name, tmp_path)


def in_hex(top):
    return [(*entry[:-1], entry[-1].hex()) for entry in top.tolist()]


def same_bits(one, other, names):
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


def content(path):
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays}


def test_a_saved_search_of_0_1_0_opens():
    found = mf.SearchResult.load(STORED / "search_result.npz")
    assert in_hex(found.top) == SEARCHED
    assert (
        found.top_thetas.tobytes()
        == np.concatenate([mf.Normal().sample(7, index, 1, 4) for index, _ in SEARCHED]).tobytes()
    )
    assert len(found.trace) == 16 and found.ranges == ((0, N_CANDIDATES),)
    assert found.stopped_by is None and not found.interrupted
    assert found.config["versions"]["metaopt_fast"] == "0.1.0"
    reference = mf.reference.LogisticLoss(*DATA, l2=0.125, fit_intercept=True)
    assert found.loss == pytest.approx(reference.loss(found.theta), rel=1e-14)


def test_a_saved_evolution_of_0_1_0_opens():
    run = mf.EvolveResult.load(STORED / "evolve_result.npz")
    assert in_hex(run.top) == EVOLVED
    assert [entry.hex() for entry in run.theta.tolist()] == EVOLVED_THETA
    assert run.n_generations == 12 and run.n_evaluated == 192 and not run.interrupted


def test_saved_results_of_0_1_0_are_saved_again_as_the_same_content(tmp_path):
    for kind, name in ((mf.SearchResult, "search_result"), (mf.EvolveResult, "evolve_result")):
        result = kind.load(STORED / f"{name}.npz")
        result.save(tmp_path / "again.npz")
        assert content(tmp_path / "again.npz") == content(STORED / f"{name}.npz")


@needs_fma
@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_a_search_of_0_1_0_goes_on_to_the_bits_that_0_1_0_found(stored, name):
    went_on = mf.resume_search(stored(f"{name}.search"), OBJECTIVE)
    found = mf.SearchResult.load(STORED / "search_result.npz")
    assert same_bits(went_on, found, ("top", "top_thetas", "trace"))
    assert went_on.n_evaluated == N_CANDIDATES


@needs_fma
def test_a_search_of_0_1_0_goes_on_with_a_bound_that_it_did_not_have(stored, monkeypatch):
    # These rows are far too few.
    for name in ("WORTH", "WORTH_UNTRIED", "WORTH_PROMISE", "WORTH_PROMISE_ALONE", "ROWS_OF_EACH"):
        monkeypatch.setattr(screening, name, 0)
    monkeypatch.setattr(prospects.Prospect, "dropped", lambda *_: 1.0)
    went_on = mf.resume_search(stored("unfinished.search"), OBJECTIVE)
    found = mf.SearchResult.load(STORED / "search_result.npz")
    assert went_on.config["stages"]["moment_bound"] == "used"
    assert same_bits(went_on, found, ("top", "top_thetas", "trace"))


@needs_fma
@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_an_evolution_of_0_1_0_goes_on_to_the_bits_that_0_1_0_found(stored, name):
    path = stored(f"{name}.evolution")
    went_on = mf.evolve(OBJECTIVE, mf.Normal(), **EVOLUTION, checkpoint=path)
    run = mf.EvolveResult.load(STORED / "evolve_result.npz")
    assert same_bits(went_on, run, ("top", "top_thetas", "trace", "center", "scale"))


@needs_fma
def test_what_a_checkpoint_of_0_1_0_holds_is_not_computed_again(stored, monkeypatch):
    computed, run = [], shards.Task.run

    def counted(task, start, count, threshold):
        computed.append(start)
        return run(task, start, count, threshold)

    monkeypatch.setattr(shards.Task, "run", counted)
    for name, starts in (("finished", []), ("unfinished", [2**18, 2**19])):
        computed.clear()
        mf.resume_search(stored(f"{name}.search"), OBJECTIVE)
        assert computed == starts
    with np.load(STORED / "unfinished.evolution") as checkpoint:
        assert len(checkpoint["trace"]) == 5


def test_a_search_of_0_1_0_is_refused_to_another_objective(stored):
    other = mf.LogisticLoss([[1.0] * 3, [2.0] * 3], [0, 1], fit_intercept=True)
    with pytest.raises(mf.CheckpointError, match=r"^.* belongs to a search with .*: pass another"):
        mf.resume_search(stored("finished.search"), other)
