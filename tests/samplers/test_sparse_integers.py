"""Whole-number candidates with few non-zero parameters: which are drawn, and searches over them."""

import json
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused
from scipy import stats
from searches import MeanSquare, digest, objective, problem

import metaopt_fast as mf
from metaopt_fast import _kernels, reference
from metaopt_fast.samplers.from_dict import from_dict

N_PARAMS = 8  # of the shared objective
SPARSE = mf.Integers(-5, 5, max_nonzero=3, free=(-1,))


# ------------------------------------------------------------------------------ what is drawn


@given(
    seed=st.integers(0, 2**64 - 1),
    start=st.integers(0, 2**63 - 1000),
    n_params=st.integers(3, 12),
    max_nonzero=st.integers(1, 2),
    free=st.sampled_from([(), (-1,), (0,), (0, 0)]),
)
def test_draws_are_those_of_the_reference(seed, start, n_params, max_nonzero, free):
    ours = mf.Integers(-4, 3, max_nonzero, free).sample(seed, start, 40, n_params)
    theirs = reference.Integers(-4, 3, max_nonzero, free).sample(seed, start, 40, n_params)
    assert ours.tobytes() == theirs.tobytes()


@given(seed=st.integers(0, 2**64 - 1), max_nonzero=st.integers(1, 7))
def test_what_is_kept_is_what_is_drawn_without_a_limit(seed, max_nonzero):
    whole = mf.Integers(-5, 5).sample(seed, 9, 100, N_PARAMS)
    sparse = mf.Integers(-5, 5, max_nonzero, free=[-1]).sample(seed, 9, 100, N_PARAMS)
    assert ((sparse == whole) | (sparse == 0)).all()
    assert (sparse[:, -1] == whole[:, -1]).all()
    assert ((sparse[:, :-1] != 0).sum(axis=1) <= max_nonzero).all()
    assert not np.signbit(sparse[sparse == 0]).any()


@given(start=st.integers(0, 2**40), cut=st.integers(1, 99))
def test_candidates_depend_on_seed_and_number_alone(start, cut):
    whole = SPARSE.sample(3, start, 100, 9)
    parts = [SPARSE.sample(3, start, cut, 9), SPARSE.sample(3, start + cut, 100 - cut, 9)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_every_choice_of_parameters_is_equally_likely():
    drawn = mf.Integers([0, 1, 0, 0, 0], 1, max_nonzero=2, free=(1,)).sample(0, 0, 60_000, 5)
    assert (drawn[:, 1] == 1).all()
    kept = mf.Integers(-(2**31), 2**31, max_nonzero=2).sample(0, 0, 60_000, 5) != 0
    counts = [(kept[:, a] & kept[:, b]).sum() for a, b in combinations(range(5), 2)]
    assert sum(counts) == 60_000
    assert stats.chisquare(counts).pvalue > 1e-3


def test_values_are_uniform_where_they_are_kept():
    drawn = mf.Integers(-2, 2, max_nonzero=1).sample(1, 0, 50_000, 2)
    values, counts = np.unique(drawn[(drawn[:, 1] == 0), 0], return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert stats.chisquare(counts[values != 0]).pvalue > 1e-3


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("top", [0.02, 0.3, 0.9])
@given(seed=st.integers(0, 2**64 - 1), n_kept=st.integers(1, 8), n_certain=st.integers(0, 2))
def test_of_equal_keys_the_lower_parameter_is_kept(top, seed, n_kept, n_certain):
    n, n_kept = 9, max(n_kept, n_certain + 1)
    low, step, high = np.zeros(2 * n), np.ones(2 * n), np.full(2 * n, top)
    low[:n], step[:n] = 7.0, 0.0  # every parameter that is kept is 7; keys above `top` are `top`
    high[:n] = 7.0
    low[n : n + n_certain], step[n : n + n_certain] = -1.0, 0.0
    transform = np.ones(2 * n, np.uint8)
    out = np.empty((30, n))
    _kernels.SparseDraws(transform, low, step, high, seed, n_kept, n_certain).sample(5, out)
    keys = np.minimum(reference.uniforms(seed, 5, 30, 2 * n)[:, n : 2 * n], top)
    keys[:, :n_certain] = -1.0
    lowest = np.argsort(keys, axis=1, kind="stable")[:, :n_kept]
    expected = np.zeros((30, n))
    np.put_along_axis(expected, lowest, 7.0, axis=1)
    assert out.tolist() == expected.tolist()


@pytest.mark.parametrize("n_params", [1, 2, 9, 130])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 1.0])
def test_any_part_of_any_number_of_parameters_may_be_kept(n_params, part):
    limit = max(1, round(part * (n_params - 1)))
    ours = mf.Integers(-9, 9, limit).sample(7, 2**40, 60, n_params)
    theirs = reference.Integers(-9, 9, limit).sample(7, 2**40, 60, n_params)
    assert ours.tobytes() == theirs.tobytes()


def test_a_limit_of_all_parameters_drops_none():
    whole = mf.Integers(-5, 5).sample(0, 0, 50, 4)
    assert (mf.Integers(-5, 5, 4).sample(0, 0, 50, 4) == whole).all()
    assert (mf.Integers(-5, 5, 3, (2,)).sample(0, 0, 50, 4) == whole).all()


@pytest.mark.long(everywhere=True)
def test_every_instruction_set_draws_the_same_bits(run_python):
    program = (
        "import hashlib, metaopt_fast as mf\n"
        "draws = mf.Integers(-7, 11, 3, (0,)).sample(2**64 - 1, 2**32 - 9, 1001, 13)\n"
        "print(hashlib.sha256(draws.tobytes()).hexdigest())"
    )
    hashes = {run_python(program, METAOPT_FAST_ISA=isa).stdout for isa in _kernels.supported_isas()}
    # As 0.1.0 drew them: candidate i of a seed is the same for ever.
    assert hashes == {"9e360b972b09a67f24cd12524eb08a3e57648b163cf8d31aa42734c21e76a84f\n"}


# ----------------------------------------------------------------------------------- as a value


def test_a_sampler_survives_json():
    for sampler in (SPARSE, mf.Integers([0, -1], [3, 1], 1), mf.Integers(0, 1, 1, [0])):
        again = from_dict(json.loads(json.dumps(sampler.to_dict())))
        assert again == sampler and hash(again) == hash(sampler) and repr(again) == repr(sampler)
    assert mf.Integers(-5, 5, 3) != mf.Integers(-5, 5) != mf.Integers(-5, 5, 2)


def test_without_a_limit_the_form_in_checkpoints_is_as_ever():
    assert mf.Integers(-5, 5).to_dict() == {"name": "Integers", "low": -5.0, "high": 5.0}


# ------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize("top_k", [1, 20])
def test_a_search_is_that_of_the_reference(top_k):
    ours = mf.random_search(objective(), SPARSE, 3000, seed=5, top_k=top_k)
    theirs = reference.random_search(
        objective(), reference.Integers(-5, 5, 3, (-1,)), 3000, seed=5, top_k=top_k
    )
    assert ours.top.tobytes() == theirs.top.tobytes()
    assert ours.top_thetas.tobytes() == theirs.top_thetas.tobytes()


@pytest.mark.sanitized
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels_draw_what_is_sampled(dtype):
    of = mf.LogisticLoss(*problem(300, 8), dtype=dtype)
    thetas = SPARSE.sample(3, 10, 500, 8)
    losses = of.batch_loss(thetas)
    assert of.sampled_loss(SPARSE, 3, 10, 500).tobytes() == losses.tobytes()
    threshold = float(np.median(losses))
    drawn, _ = of.pruned_loss(SPARSE, 3, 10, 500, threshold)
    kept = losses <= threshold
    assert drawn[kept].tobytes() == losses[kept].tobytes() and (drawn[~kept] > threshold).all()


def test_pruning_changes_no_bit():
    options = {"seed": 1, "top_k": 3}
    pruned, whole = (
        mf.random_search(objective(), SPARSE, 300_000, prune=prune, **options)
        for prune in (True, False)
    )
    assert digest(pruned) == digest(whole)
    assert pruned.rows_evaluated_fraction < 1 == whole.rows_evaluated_fraction


def test_shards_merge_into_the_whole():
    whole = mf.random_search(objective(), SPARSE, 1000, top_k=4)
    parts = [mf.random_search(objective(), SPARSE, 500, start=s, top_k=4) for s in (500, 0)]
    assert digest(mf.merge_results(parts)) == digest(whole)


def test_a_search_is_resumed_from_its_checkpoint(tmp_path):
    path = tmp_path / "search.db"
    stopped = mf.random_search(
        objective(n_threads=1), SPARSE, 2**20, top_k=4, checkpoint=path, callback=lambda _: True
    )
    resumed = mf.resume_search(path, objective())
    assert stopped.n_evaluated < resumed.n_evaluated == 2**20
    assert digest(resumed) == digest(mf.random_search(objective(), SPARSE, 2**20, top_k=4))
    with pytest.raises(mf.CheckpointError, match="sampler"):
        mf.random_search(objective(), mf.Integers(-5, 5), 2**20, top_k=4, checkpoint=path)


def test_an_objective_of_a_users_own_gets_sparse_thetas():
    result = mf.random_search(MeanSquare(), mf.Integers(-3, 3, 1), 500, top_k=500)
    assert ((result.top_thetas != 0).sum(axis=1) <= 1).all()
    assert result.loss == 0


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "n_params"),
    [
        ({"max_nonzero": 0}, 3),
        ({"max_nonzero": -1}, 3),
        ({"max_nonzero": 4}, 3),
        ({"max_nonzero": 3, "free": (0,)}, 3),
        ({"max_nonzero": 3, "low": [-5] * 2}, 2),
        ({"max_nonzero": 2.0}, 3),
        ({"max_nonzero": True}, 3),
        ({"max_nonzero": "2"}, 3),
        ({"max_nonzero": 1, "low": 1}, 3),
        ({"max_nonzero": 1, "high": -1}, 3),
        ({"max_nonzero": 1, "low": [0, 1, 0]}, 3),
        ({"max_nonzero": 1, "low": [0, 1, 0], "free": (0,)}, 3),
        ({"max_nonzero": 1, "free": (3,)}, 3),
        ({"max_nonzero": 1, "free": (-4,)}, 3),
        ({"max_nonzero": 1, "free": (0.5,)}, 3),
        ({"max_nonzero": 1, "free": "0"}, 3),
        ({"max_nonzero": 1, "free": 0}, 3),
        ({"max_nonzero": 1, "free": None}, 3),
        ({"max_nonzero": 1, "free": (0, 1, 2)}, 3),
        ({"free": (0,)}, 3),
    ],
    ids=repr,
)
def test_what_is_no_limit_is_refused_in_a_sentence(arguments, n_params):
    assert_refused(lambda: mf.Integers(**arguments).sample(0, 0, 1, n_params))


def test_bounds_without_0_are_fine_where_they_are_free():
    drawn = mf.Integers([0, 2, -1], [1, 3, 1], 1, free=(1,)).sample(0, 0, 50, 3)
    assert ((drawn[:, 1] == 2) | (drawn[:, 1] == 3)).all()


def test_mixtures_and_descents_refuse_a_limit():
    mixed = mf.Mixture([(slice(None), mf.Integers(-5, 5, 1))])
    assert_refused(mixed.sample, 0, 0, 1, 3)
    samplers = {"l2": mf.Integers(0, 1, 1)}
    assert_refused(mf.search_descents, objective(), samplers, 4, validation=objective())


@pytest.mark.parametrize("free", [(), (-1,)])
def test_moments_are_those_of_every_draw_that_is_possible(free):
    low, high, counted = (-2, 0, -1), (3, 1, 4), range(3 - len(free))
    box = list(product(*map(range, low, [h + 1 for h in high])))
    draws = [
        [value if j in kept or j not in counted else 0 for j, value in enumerate(point)]
        for point in box
        for kept in combinations(counted, 1)
    ]
    sampler = mf.Integers(low, high, max_nonzero=1, free=free)
    for j, values in enumerate(zip(*draws, strict=True)):
        mean = Fraction(sum(values), len(values))
        variance = Fraction(sum(value * value for value in values), len(values)) - mean**2
        assert abs(sampler.mean(3)[j] - mean) <= 1e-15
        assert abs(Fraction(sampler.std(3)[j]) ** 2 - variance) <= 2e-15
    limit, numbers = sampler.nonzero_limit(3)
    assert limit == 1 and numbers.tolist() == list(counted)
