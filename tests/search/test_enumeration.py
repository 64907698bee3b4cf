"""Exhaustive searches against brute force, and the numbering of all vectors of a box."""

import itertools
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused
from searches import MeanSquare, digest, problem

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.samplers.box import MAX_MODELS, Box
from metaopt_fast.samplers.from_dict import from_dict


def vectors(low, high, max_nonzero=None, free=()):
    """All vectors of a box in the documented order, one by one."""
    values = [range(a, b + 1) for a, b in zip(low, high, strict=True)]
    if max_nonzero is None:
        return np.array(list(itertools.product(*values)), float)
    counted = np.delete(np.arange(len(low)), list(free)).tolist()
    others = [j for j in range(len(low)) if j not in counted]
    found = []
    for n_nonzero in range(max_nonzero + 1):
        for support in itertools.combinations(counted, n_nonzero):
            choices = [[v for v in values[j] if v != 0] for j in support]
            for entries in itertools.product(*choices, *(values[j] for j in others)):
                theta = [0] * len(low)
                for j, value in zip([*support, *others], entries, strict=True):
                    theta[j] = value
                found.append(theta)
    return np.array(found, float)


def brute_force(objective, thetas, top_k):
    """The numbers of the best by (loss, number)."""
    losses = objective.batch_loss(thetas)
    best = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")[:top_k]
    return best, losses[best]


def assert_brute_force(objective, low, high, top_k=1, **options):
    result = mf.enumerate_search(objective, low, high, top_k=top_k, **options)
    n_params = objective.n_params
    thetas = vectors(np.broadcast_to(low, n_params), np.broadcast_to(high, n_params), **options)
    best, losses = brute_force(objective, thetas, top_k)
    assert result.certified
    assert result.n_evaluated == len(thetas)
    assert result.top["index"].tolist() == best.tolist()
    assert result.top["loss"].tobytes() == losses.tobytes()
    assert (result.top_thetas == thetas[best]).all()


class Errors:
    """An objective of a user's own with many ties."""

    n_params = 4

    def batch_loss(self, thetas):
        return np.abs(thetas.sum(axis=1) - 1) // 2


# ----------------------------------------------------------------------------------- the numbering

BOUNDS = st.tuples(st.integers(-3, 3), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair)))
BOUNDS_WITH_0 = st.tuples(st.integers(-3, 0), st.integers(0, 3))


@given(bounds=st.lists(BOUNDS, min_size=1, max_size=5), data=st.data())
def test_a_box_is_numbered_like_itertools_product(bounds, data):
    low, high = zip(*bounds, strict=True)
    box, expected = Box(mf.Integers(low, high), len(low)), vectors(low, high)
    assert box.n_models == len(expected)
    start = data.draw(st.integers(0, len(expected) - 1))
    count = data.draw(st.integers(1, len(expected) - start))
    assert box(start, count).tolist() == expected[start : start + count].tolist()


@pytest.mark.long(everywhere=True)
@given(bounds=st.lists(BOUNDS_WITH_0, min_size=2, max_size=6), data=st.data())
def test_a_box_with_a_limit_is_numbered_by_supports(bounds, data):
    low, high = zip(*bounds, strict=True)
    n_params = len(low)
    free = data.draw(st.sets(st.integers(-1, n_params - 2), max_size=2))
    n_counted = n_params - len({j % n_params for j in free})
    if n_counted == 0:
        return
    max_nonzero = data.draw(st.integers(1, n_counted))
    expected = vectors(low, high, max_nonzero, sorted(free))
    box = Box(mf.Integers(low, high, max_nonzero, sorted(free)), n_params)
    assert box.n_models == len(expected) == len(np.unique(expected, axis=0))
    start = data.draw(st.integers(0, len(expected) - 1))
    count = data.draw(st.integers(1, len(expected) - start))
    assert box(start, count).tolist() == expected[start : start + count].tolist()


def test_very_large_boxes_are_counted_exactly():
    assert Box(mf.Integers(-5, 5), 100).n_models == 11**100
    few = Box(mf.Integers(-5, 5, 4), 200)
    assert few.n_models == sum(math.comb(200, k) * 10**k for k in range(5))
    free = Box(mf.Integers(-(2**31), 2**31, 1, (-1,)), 2)
    assert free.n_models == (2**32 + 1) ** 2


@pytest.mark.parametrize("divisor", [1, 3, 10, 2**26 - 1, 2**51])
def test_numbers_near_the_largest_are_split_exactly(divisor):
    box = Box(mf.Integers([0, 0], [MAX_MODELS // 2**31 - 1, 2**31 - 1]), 2)
    assert box.n_models == MAX_MODELS
    for start in (MAX_MODELS - 2, MAX_MODELS // divisor * divisor - 2):
        for k, theta in enumerate(box(start, 2)):
            assert int(theta[0]) * 2**31 + int(theta[1]) == start + k


def test_the_last_of_many_supports_is_found():
    box = Box(mf.Integers(-5, 5, 5, (-1,)), 61)
    last = box(box.n_models - 1, 1)[0]
    assert box.n_models > MAX_MODELS // 2**15
    assert last.tolist() == [0] * 55 + [5] * 6


@pytest.mark.long(everywhere=True)
def test_many_boxes_are_numbered_as_ever_on_every_instruction_set(run_python):
    program = (
        "import hashlib, metaopt_fast as mf\n"
        "from metaopt_fast.samplers.box import Box\n"
        "digest = hashlib.sha256()\n"
        "for low, high, n_params, limit, free in [\n"
        "    (-1, 1, 30, None, ()), (0, 1, 60, 6, ()), (-1, 0, 33, 4, ()), (-5, 5, 61, 5, (-1,)),\n"
        "    ([-2, 0, 0, -7, 1, 0], [3, 2, 0, 9, 1, 1], 6, 3, (4, -1)), (-9, 0, 200, 2, ()),\n"
        "]:\n"
        "    box = Box(mf.Integers(low, high, limit, free), n_params)\n"
        "    last = min(box.n_models, 2**52)\n"
        "    for start in (0, last // 3, last - 1001 if last > 2000 else 0):\n"
        "        digest.update(box(start, min(1001, last - start)).tobytes())\n"
        "print(digest.hexdigest())"
    )
    hashes = {run_python(program, METAOPT_FAST_ISA=isa).stdout for isa in _kernels.supported_isas()}
    # As 0.1.0 numbered them.
    assert hashes == {"f39196cf1610181ec13525ff9f666b937d7adab66fb31d9ef5c321b7d0122d34\n"}


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("limit", [None, 3])
def test_kernels_evaluate_the_vectors_of_a_box_by_number(dtype, limit):
    objective = mf.LogisticLoss(*problem(200, 6), dtype=dtype)
    box = Box(mf.Integers([-2, 0, -1, -3, 0, 0], [1, 1, 0, 2, 4, 1], limit), 6)
    thetas = vectors([-2, 0, -1, -3, 0, 0], [1, 1, 0, 2, 4, 1], limit)
    losses, start = objective.batch_loss(thetas)[7:], len(thetas) - 7
    assert objective.sampled_loss(box, 1, 7, start).tobytes() == losses.tobytes()
    threshold = float(np.median(losses))
    found, _ = objective.pruned_loss(box, 1, 7, start, threshold)
    kept = losses <= threshold
    assert found[kept].tobytes() == losses[kept].tobytes() and (found[~kept] > threshold).all()
    for ask in (
        lambda count: objective.sampled_loss(box, 0, 7, count),
        lambda count: objective.pruned_loss(box, 0, 7, count, 1.0),
    ):
        with pytest.raises(ValueError, match=f"beyond the last one, {len(thetas) - 1}: pass"):
            ask(start + 1)


@pytest.mark.long(everywhere=True)
@given(bounds=st.lists(BOUNDS_WITH_0, min_size=2, max_size=5), data=st.data())
def test_a_box_states_the_moments_of_its_vectors(bounds, data):
    low, high = zip(*bounds, strict=True)
    n_params = len(low)
    limit = data.draw(st.integers(1, n_params - 1) | st.none())
    free = (0,) if limit else ()
    box, every = Box(mf.Integers(low, high, limit, free), n_params), vectors(low, high, limit, free)
    np.testing.assert_allclose(box.mean(n_params), every.mean(axis=0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(box.std(n_params), every.std(axis=0), rtol=1e-12, atol=1e-7)
    assert box.is_integer(n_params).all()
    for ours, theirs in zip(box.bounds(n_params), (low, high), strict=True):
        assert ours.tolist() == list(theirs)
    assert (box.nonzero_limit(n_params) or (None,))[0] == limit


def test_a_box_of_other_parameters_is_refused():
    box = Box(mf.Integers(0, 1, 1), 3)
    for ask in (box.mean, box.bounds, box.is_integer, box.nonzero_limit, box.columns):
        assert_refused(ask, 4)
    assert_refused(box.sample, 0, 0, 1, 4)
    assert_refused(box.columns, 3)


def test_a_box_goes_through_pickle_and_json():
    box = Box(mf.Integers([-2, 0, -1], [1, 2, 4], 2, (-1,)), 3)
    for again in (
        pickle.loads(pickle.dumps(box)),
        from_dict(json.loads(json.dumps(box.to_dict()))),
    ):
        assert again(0, box.n_models).tobytes() == box(0, box.n_models).tobytes()


def test_numbers_beyond_a_box_are_refused():
    box = Box(mf.Integers(0, 1), 3)
    assert_refused(box, 8, 1)
    assert_refused(box, 0, 9)
    assert_refused(box, -1, 1)
    with pytest.raises(ValueError, match="start is 8: pass an integer from 0 to 7"):
        box(8, 1)


# ---------------------------------------------------------------------------------- the searches


@given(
    seed=st.integers(0, 100),
    bounds=st.lists(BOUNDS, min_size=4, max_size=4),
    top_k=st.sampled_from([1, 7]),
    l2=st.sampled_from([0.0, 0.1]),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_the_optimum_is_that_of_brute_force(seed, bounds, top_k, l2, dtype):
    objective = mf.LogisticLoss(*problem(60, 3, seed), l2=l2, fit_intercept=True, dtype=dtype)
    low, high = zip(*bounds, strict=True)
    n_models = math.prod(b - a + 1 for a, b in bounds)
    assert_brute_force(objective, low, high, min(top_k, n_models))


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 100),
    bounds=st.lists(BOUNDS_WITH_0, min_size=5, max_size=5),
    max_nonzero=st.integers(1, 4),
    l2=st.sampled_from([0.0, 0.1]),
)
def test_the_sparse_optimum_is_that_of_brute_force(seed, bounds, max_nonzero, l2):
    objective = mf.LogisticLoss(*problem(60, 4, seed), l2=l2, fit_intercept=True)
    low, high = zip(*bounds, strict=True)
    assert_brute_force(objective, low, high, max_nonzero=max_nonzero, free=(-1,))


@pytest.mark.parametrize("options", [{}, {"max_nonzero": 2}, {"max_nonzero": 1, "free": (0, -1)}])
@pytest.mark.parametrize("top_k", [1, 5, 100])
def test_ties_go_to_the_lowest_number(options, top_k):
    assert_brute_force(Errors(), -2, 2, top_k, **options)


def test_equal_columns_tie_bit_for_bit_and_the_sparsest_wins():
    X, y = problem(100, 1)
    objective = mf.LogisticLoss(np.column_stack([X, X, X]), y)
    assert_brute_force(objective, -3, 3, 20)
    assert_brute_force(objective, -3, 3, 20, max_nonzero=3)
    result = mf.enumerate_search(objective, -3, 3, max_nonzero=3)
    assert np.count_nonzero(result.theta) == 1


@pytest.mark.long(everywhere=True)
def test_thetas_that_cannot_rank_are_dropped_and_no_bit_changes():
    objective = mf.LogisticLoss(*problem(2000, 8))
    result = mf.enumerate_search(objective, -2, 2, top_k=3)
    assert result.rows_evaluated_fraction < 1
    best, losses = brute_force(objective, vectors([-2] * 8, [2] * 8), 3)
    assert result.top["index"].tolist() == best.tolist()
    assert result.top["loss"].tolist() == losses.tolist()


def test_a_result_is_the_same_on_any_number_of_threads_and_any_executor():
    objective = mf.LogisticLoss(*problem(100, 6))
    options = {"max_nonzero": 4, "top_k": 5}
    digests = {
        digest(mf.enumerate_search(objective, -3, 3, n_threads=n, **options)) for n in (1, 2, 5)
    }
    with ThreadPoolExecutor(2) as pool:
        digests.add(digest(mf.enumerate_search(objective, -3, 3, executor=pool, **options)))
    assert len(digests) == 1


def test_all_models_may_be_kept():
    result = mf.enumerate_search(Errors(), 0, 1, top_k=16)
    assert sorted(result.top["index"].tolist()) == list(range(16))
    assert_brute_force(Errors(), 3, 3)


def test_losses_that_are_not_finite_rank_last():
    objective = mf.LogisticLoss([[1e308], [-1e308]], [1, 0])
    result = mf.enumerate_search(objective, -2, 2, top_k=5)
    assert result.theta > 0 and result.loss == 0
    # Of margins of -1e308 and of -2e308.
    assert result.top["loss"].tolist()[-2:] == [1e308, np.inf]


# ----------------------------------------------------------------- what is known of a result


class SmallShards(Errors):
    """Small shards, so that a search can be stopped between two."""

    shard_size = 16


def test_a_search_that_was_stopped_is_not_certified_and_one_that_was_resumed_is(tmp_path):
    path = tmp_path / "search.db"
    stopped = mf.enumerate_search(
        SmallShards(),
        -2,
        2,
        checkpoint=path,
        callback=lambda _: True,
        max_nonzero=3,
        fingerprint="sums",
    )
    assert stopped.stopped_by == "callback" and not stopped.certified
    assert "certified" not in repr(stopped)
    resumed = mf.resume_search(path, SmallShards(), fingerprint="sums")
    assert resumed.certified and "certified" in repr(resumed)
    whole = mf.enumerate_search(SmallShards(), -2, 2, max_nonzero=3)
    assert digest(resumed) == digest(whole)
    with pytest.raises(mf.CheckpointError, match="sampler"):
        mf.enumerate_search(
            SmallShards(), -2, 2, max_nonzero=4, checkpoint=path, fingerprint="sums"
        )


def test_a_time_budget_stops_it():
    result = mf.enumerate_search(SmallShards(), -9, 9, time_budget=1e-6)
    assert result.stopped_by == "time_budget" and not result.certified


def test_parts_are_certified_when_they_are_merged():
    box, objective = Box(mf.Integers(-2, 2), 4), Errors()
    parts = [
        mf.random_search(objective, box, count, start=start)
        for start, count in ((0, 200), (200, 425))
    ]
    assert not any(part.certified for part in parts)
    merged = mf.merge_results(parts)
    assert merged.certified
    assert digest(merged) == digest(mf.enumerate_search(Errors(), -2, 2))


def test_a_certificate_is_saved(tmp_path):
    result = mf.enumerate_search(Errors(), -1, 1)
    result.save(tmp_path / "result.npz")
    assert mf.SearchResult.load(tmp_path / "result.npz").certified
    assert json.loads(json.dumps(result.to_dict()))["certified"] is True
    assert not mf.random_search(Errors(), mf.Integers(-1, 1), 81).certified


# ---------------------------------------------------------------------------------- bad input


def test_too_many_models_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"holds 625 models, and limit is 624:"):
        mf.enumerate_search(Errors(), -2, 2, limit=624)
    assert mf.enumerate_search(Errors(), -2, 2, limit=625).certified
    assert mf.enumerate_search(Errors(), 2, 2, limit=1).n_evaluated == 1
    with pytest.raises(ValueError, match=r"holds 14,641,\d+"):
        mf.enumerate_search(Errors(), -5000, 5999)


@pytest.mark.parametrize(
    "options",
    [
        {"low": 1, "high": 0},
        {"low": 0.5},
        {"low": [0, 0]},
        {"high": np.nan},
        {"low": None},
        {"low": 1, "high": 2, "max_nonzero": 2},
        {"max_nonzero": 5},
        {"max_nonzero": 0},
        {"max_nonzero": 1.5},
        {"max_nonzero": 1, "free": (4,)},
        {"free": (0,)},
        {"top_k": 0},
        {"top_k": 10**6},
        {"limit": 0},
        {"limit": 2**60},
        {"limit": 1e6},
        {"time_budget": -1},
        {"n_threads": 0},
        {"callback": 1},
    ],
    ids=repr,
)
def test_bad_arguments_are_refused_in_a_sentence(options):
    assert_refused(mf.enumerate_search, Errors(), **{"low": -1, "high": 1, **options})


def test_what_is_no_objective_is_refused():
    assert_refused(mf.enumerate_search, None, 0, 1)
    assert_refused(mf.enumerate_search, Errors, 0, 1)


def test_an_objective_without_n_samples_is_enough():
    assert mf.enumerate_search(MeanSquare(), -1, 4).theta.tolist() == [0, 0, 0]


def test_a_box_says_what_it_holds():
    assert repr(Box(mf.Integers(-1, 1), 2)) == f"Box({mf.Integers(-1, 1)!r}, 2)"


def test_a_sampler_of_another_name_is_refused():
    with pytest.raises(ValueError, match="the sampler's name is 'Cauchy'"):
        from_dict({"name": "Cauchy"})
