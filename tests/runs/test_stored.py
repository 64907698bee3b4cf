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

Those of ``of_0_1_0.zip`` were made on the same data by the calls of the tests that open them, with
``seed=7, top_k=2``; the program's by ``search --candidates 3000 --seed 7 --l2 0.01`` and ``search
--objective error --method cem --candidates 1000 --population 64 --seed 7``.
"""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.cli import program as cli
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


# ------------------------------------------------------------------- of other calls, in an archive


class Own:
    n_params = 3

    def batch_loss(self, thetas):
        return ((np.asarray(thetas) - [1, 2, 3]) ** 2).sum(axis=1)


def counts(**options):
    return mf.ConfusionCounts(*DATA, fit_intercept=True, **options)


@pytest.fixture
def unpacked(tmp_path):
    """A file of the archive, which may be changed."""
    with zipfile.ZipFile(STORED / "of_0_1_0.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path.joinpath


# What 0.1.0 found: candidates and the bits of their losses.
@needs_fma
@pytest.mark.parametrize(
    ("name", "objective", "options", "top"),
    [
        (
            "counts.search",
            mf.CountObjective(
                counts(groups=np.arange(8) % 2), mf.metrics.Cost(fp=1, fn=5), gap="tpr", max_gap=0.5
            ),
            {},
            [(93, "0x1.0000000000000p-2"), (482, "0x1.0000000000000p-2")],
        ),
        (
            "box.search",
            OBJECTIVE,
            {},
            [(311, "0x1.6063d5fdf6092p-1"), (312, "0x1.62e42fefa39efp-1")],
        ),
        (
            "own.search",
            Own(),
            {"fingerprint": "squares"},
            [(1920, "0x1.508cbef48104ep-1"), (1342, "0x1.237d6a8d9d109p+0")],
        ),
    ],
)
def test_other_searches_of_0_1_0_open(unpacked, name, objective, options, top):
    found = mf.resume_search(unpacked(name), objective, **options)
    assert in_hex(found.top) == top
    assert mf.read_checkpoint(unpacked(name)).loss == found.loss


@needs_fma
def test_a_search_over_descents_of_0_1_0_opens(unpacked):
    judge = mf.LogisticLoss(DATA[0][::-1], DATA[1], fit_intercept=True)
    found = mf.search_descents(
        OBJECTIVE,
        {"learning_rate": mf.LogUniform(1e-2, 1)},
        16,
        validation=judge,
        max_iter=20,
        seed=7,
        search={"checkpoint": unpacked("descents.search")},
    )
    assert (found.search.index, found.loss.hex()) == (2, "0x1.636fb38e1c863p-1")


WROTE = r"if all are the same, go on with version '0\.1\.0', which wrote it\.$"


@needs_fma
@pytest.mark.parametrize(
    ("name", "objective", "cure"),
    [
        ("thresholds.search", mf.CountObjective(counts(thresholds=(0.3, 0.5))), WROTE),
        ("auc.search", mf.AUCObjective(*DATA), WROTE),
        ("own.search", Own(), r"pass fingerprint=, a string that names it"),
    ],
)
def test_searches_whose_losses_0_1_0_computed_otherwise_are_refused(
    unpacked, name, objective, cure
):
    with pytest.raises(mf.CheckpointError, match=cure):
        mf.resume_search(unpacked(name), objective)
    assert 0 < mf.read_checkpoint(unpacked(name)).loss < 1  # what was found is there to be read


@needs_fma
def test_an_evolution_of_0_1_0_from_an_array_is_refused(unpacked):
    options = {"method": "cem", "population": 16, "generations": 4, "seed": 7}
    path = unpacked("array.evolution")
    with pytest.raises(mf.CheckpointError, match=r"by version 0\.1\.0, .*: pass another path"):
        mf.evolve(OBJECTIVE, np.zeros(4), **options, checkpoint=path)


@needs_fma
def test_checkpoints_of_the_program_of_0_1_0_are_refused_since_it_standardized_otherwise(
    unpacked, capsys
):
    assert cli.main(["resume", str(unpacked("program.search"))]) == 1
    assert re.search(WROTE, capsys.readouterr().err.strip())
    command = "search --objective error --method cem --candidates 1000 --population 64 --seed 7"
    path = str(unpacked("program.evolution"))
    assert cli.main([*command.split(), "--checkpoint", path]) == 1
    assert re.search(WROTE, capsys.readouterr().err.strip())
    assert cli.main(["status", str(unpacked("program.search"))]) == 0
