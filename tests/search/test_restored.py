"""What a file says of the best is computed again, and files of 0.1.0 open."""

import functools

import numpy as np
import pytest
from identities import COUNTS, GROUPS, LOGISTIC, REFUSED, SEED, SPACE, N, Own, OwnNamed, X, Y, stop
from searches import digest

import metaopt_fast as mf
from metaopt_fast.evolution.checkpoint_contents import ARRAYS
from metaopt_fast.files.archive import read_arrays, write_arrays
from metaopt_fast.metrics import METRICS, Cost
from metaopt_fast.runs import provenance
from metaopt_fast.samplers.box import Box
from metaopt_fast.search import checkpoint

pytestmark = pytest.mark.usefixtures("shards_of_256")


# ------------------------------------------------------------------------------- files of 0.1.0

BUILT_IN = {
    "logistic": (
        lambda: mf.LogisticLoss(X, Y, np.arange(200) % 3 + 1.0, l2=0.1),
        mf.Normal(),
        "3b3e471c243b9b859d4a75d2bb6321d2b3620830dde25d9d4487eca9bfaa84af",
    ),
    "smoothed": (
        lambda: mf.SmoothedZeroOneLoss(X, Y, beta=3, fit_intercept=True, dtype="float32"),
        mf.Mixture({range(4): mf.Normal(), 4: mf.Uniform()}),
        "2b9e0f28defe1bb28c610eacd0a2a5a92b56a1174a7882b2605f58b8f7f49031",
    ),
    "error": (
        lambda: mf.CountObjective(COUNTS),
        mf.Integers(),
        "96532a13fa278be68ef5038a4ced87fdc14bb950ed73050da946ac04cce69cda",
    ),
    "mcc": (
        lambda: mf.CountObjective(COUNTS, METRICS["mcc"]),
        mf.Normal(),
        "f3d910a88919415b073d89de89d21ead77accc7c1ebda93414b61218d67c7451",
    ),
    "cost": (
        lambda: mf.CountObjective(
            mf.ConfusionCounts(X, Y, groups=GROUPS),
            Cost(fp=2, fn=3.5),
            gap="tpr",
            max_gap=0.25,
        ),
        mf.Integers(-3, 3, 2),
        "d7f78d545ae9657350fcc664bfdf07a8719cb0f87b5ef762422d01ae946eeba4",
    ),
    "own": (
        OwnNamed,
        mf.Normal(),
        "698daadb2e2ffbba18637183e77a6a3a68c3528183adc983c7e1e36ea685661e",
    ),
    "box": (
        lambda: mf.LogisticLoss(X, Y),
        Box(mf.Integers(-2, 2, 3), 4),
        "060c63350ca5d17998b3461972cab89eb9f714bd514627480be46576312c632d",
    ),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_proven_has_the_fingerprint_that_it_had_in_0_1_0(name):
    make, sampler, fingerprint = BUILT_IN[name]
    config = mf.random_search(make(), sampler, 100).config
    assert config["fingerprint"] == fingerprint
    assert "given_fingerprint" not in config


def test_descents_have_the_fingerprint_that_they_had_in_0_1_0():
    found = mf.search_descents(
        LOGISTIC, SPACE, 8, validation=mf.LogisticLoss(X[:100], Y[:100]), max_iter=3, method="adamw"
    )
    assert (
        found.search.config["fingerprint"]
        == "8d2705fb986a69e9c58b4d82d50ddab486f94552094a0fd09f106906c33ba28e"
    )


def as_of_0_1_0(path, objective, monkeypatch):
    """Begin a search as version 0.1.0 did, which knew an objective by eight of its losses."""
    configure = provenance.configuration

    def configuration(*arguments):
        config = configure(*arguments)
        assert config.pop("given_fingerprint") == "any"
        return config | {"fingerprint": "6bdcd065140e"}

    with monkeypatch.context() as patch:
        patch.setattr("metaopt_fast.search.shards.configuration", configuration)
        patch.setattr(provenance.Identity, "renamed", ())
        patch.setattr(checkpoint.Checkpoint, "record_names", lambda self: None)
        patch.setattr("metaopt_fast.search.random_search.CALLBACK_INTERVAL", 0.0)
        options = {"seed": SEED, "top_k": 3, "checkpoint": path, "fingerprint": "any"}
        part = mf.random_search(objective, mf.Normal(), N, callback=stop, **options)
    assert part.n_evaluated < N


def test_a_file_of_0_1_0_without_a_name_takes_over_the_first(path, monkeypatch):
    as_of_0_1_0(path, Own(), monkeypatch)
    with checkpoint.Checkpoint(path) as file:
        assert "given_fingerprint" not in file.config
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.resume_search(path, Own())
    with pytest.raises(mf.CheckpointError, match=r"has the loss .* where the objective gives"):
        mf.resume_search(path, Own(3.0), fingerprint="scale 3")
    whole = mf.random_search(Own(), mf.Normal(), N, seed=SEED, top_k=3)
    assert digest(mf.resume_search(path, Own(), fingerprint="scale 1")) == digest(whole)
    with pytest.raises(mf.CheckpointError, match="given_fingerprint = 'scale 1'"):
        mf.resume_search(path, Own(), fingerprint="scale 2")
    assert digest(mf.resume_search(path, Own(), fingerprint="scale 1")) == digest(whole)


def test_a_file_of_0_1_0_that_is_gone_before_it_has_a_name_is_noticed(path, monkeypatch):
    class Deletes(Own):
        def batch_loss(self, thetas):
            path.unlink()  # when the best are evaluated again
            return super().batch_loss(thetas)

    Deletes.__name__ = "Own"
    as_of_0_1_0(path, Own(), monkeypatch)
    with pytest.raises(mf.CheckpointError, match="was deleted, replaced or changed"):
        mf.resume_search(path, Deletes(), fingerprint="scale 1")
    assert not path.exists()


def test_an_evolutions_file_of_0_1_0_takes_over_the_first_name(path):
    options = {"population": 16, "checkpoint": path}
    mf.evolve(Own(), mf.Normal(), generations=3, fingerprint="any", **options)
    arrays, config = read_arrays(str(path), "checkpoint", ARRAYS)
    del config["given_fingerprint"]
    write_arrays(str(path), "checkpoint", arrays, config | {"fingerprint": "4c51c13eca7e"})
    with pytest.raises(mf.CheckpointError, match=REFUSED):
        mf.evolve(Own(), mf.Normal(), generations=6, **options)
    with pytest.raises(mf.CheckpointError, match="has the loss"):
        mf.evolve(Own(3.0), mf.Normal(), generations=6, fingerprint="scale 3", **options)
    mf.evolve(Own(), mf.Normal(), generations=6, fingerprint="scale 1", **options)
    with pytest.raises(mf.CheckpointError, match="its given_fingerprint is 'scale 1'"):
        mf.evolve(Own(), mf.Normal(), generations=6, fingerprint="scale 2", **options)


# --------------------------------------------------------------------------- losses computed again


def rewrite(path, change):
    """Change the losses of all shards in a file, with digests that fit."""
    with checkpoint.Checkpoint(path) as file:
        rows = [shard for shard, _ in file._read_shards()]
        for shard in rows:
            top = shard.top.copy()
            change(top["loss"])
            object.__setattr__(shard, "top", top)
        file.add(rows, 1.0)


@pytest.mark.parametrize("rank", range(3))
def test_built_in_losses_in_a_file_must_have_the_same_bits(path, rank):
    options = {"top_k": 3, "checkpoint": path}
    mf.random_search(LOGISTIC, mf.Normal(), 200, **options)
    mf.random_search(LOGISTIC, mf.Normal(), 200, **options)

    def change(losses):
        losses[rank] = np.nextafter(losses[rank], 0)

    rewrite(path, change)
    with pytest.raises(mf.CheckpointError, match=r"has the loss .*: pass the objective and the .*"):
        mf.random_search(LOGISTIC, mf.Normal(), 200, **options)


@pytest.mark.parametrize("rank", range(3))
def test_losses_of_ones_own_may_differ_as_products_of_matrices_do(path, rank):
    options = {"top_k": 3, "checkpoint": path}
    mf.random_search(OwnNamed(), mf.Normal(), 200, **options)

    def change(losses, by):
        losses[rank] *= by

    rewrite(path, functools.partial(change, by=1 + 5e-7))
    mf.random_search(OwnNamed(), mf.Normal(), 200, **options)
    rewrite(path, functools.partial(change, by=1 + 5e-6))
    with pytest.raises(mf.CheckpointError, match="has the loss"):
        mf.random_search(OwnNamed(), mf.Normal(), 200, **options)


@pytest.mark.parametrize("rank", range(3))
def test_the_best_of_an_evolutions_file_are_computed_again(path, rank):
    options = {"population": 16, "top_k": 3, "checkpoint": path}
    mf.evolve(LOGISTIC, mf.Normal(), generations=3, **options)
    arrays, config = read_arrays(str(path), "checkpoint", ARRAYS)
    arrays["top"]["loss"][rank] = np.nextafter(arrays["top"]["loss"][rank], 0)
    write_arrays(str(path), "checkpoint", arrays, config)
    with pytest.raises(mf.CheckpointError, match="has the loss"):
        mf.evolve(LOGISTIC, mf.Normal(), generations=6, **options)


class Rough:
    """Losses of which some are not finite, or below zero."""

    n_params, fingerprint = 1, "rough"

    def batch_loss(self, thetas):
        values = np.array([np.inf, np.nan, -np.inf, 0.0, -0.0, -2.5, 1e-310, 1e308])
        return values[np.floor(thetas[:, 0] * 8).astype(int) % 8]


@pytest.mark.parametrize("top_k", [1, 2, 7, 39, 60])
def test_losses_that_are_not_finite_are_found_again(path, top_k):
    whole = mf.random_search(Rough(), mf.Normal(), 60, top_k=top_k)
    for n in (39, 60, 60):
        result = mf.random_search(Rough(), mf.Normal(), n, checkpoint=path, top_k=min(top_k, n))
        if n < top_k:
            path.unlink()
    assert result.top["index"].tolist() == whole.top["index"].tolist()


def test_dropped_candidates_do_not_count_as_other_losses(path):
    objective = mf.LogisticLoss(X, Y, fit_intercept=True)
    for n in (500, 2000, 6000):
        result = mf.random_search(objective, mf.Normal(), n, top_k=50, checkpoint=path)
    assert result.rows_evaluated_fraction < 1
    assert digest(result) == digest(mf.random_search(objective, mf.Normal(), n, top_k=50))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_while_losses_are_computed_again_gives_the_file_up(path, error):
    class Fails(Own):
        def batch_loss(self, thetas):
            raise error

    Fails.__name__ = "Own"
    named = {"fingerprint": "own"}
    for search in (
        lambda objective: mf.random_search(
            objective, mf.Normal(), 200, checkpoint=path, prune=False, **named
        ),
        lambda objective: mf.evolve(
            objective, mf.Normal(), generations=3, checkpoint=path.with_name("run.npz"), **named
        ),
    ):
        whole = search(Own())
        with pytest.raises(error) as caught:  # and with it all that the search held
            search(Fails())
        assert search(Own()).top.tobytes() == whole.top.tobytes()
        assert caught.type is error
