"""The stream of candidates against the reference and other libraries, and its quality."""

import json

import mpmath
import numpy as np
import pytest
import randomgen
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import metaopt_fast as mf
from metaopt_fast import _kernels, reference
from metaopt_fast.samplers.from_dict import from_dict
from metaopt_fast.samplers.independent import LARGEST_NORMAL
from metaopt_fast.typing import Sampler

LOC, SCALE = np.array([0.5, -3.0, 1e3, 0.0, 7.0]), np.array([1.0, 0.25, 1e-3, 1e6, 2.0])
PAIRS = {
    "Normal": (mf.Normal(), reference.Normal(), 1.0),
    "Normal of arrays": (mf.Normal(LOC, SCALE), reference.Normal(LOC, SCALE), SCALE + np.abs(LOC)),
    "Uniform": (mf.Uniform(), reference.Uniform(), 1.0),
    "Uniform of arrays": (
        mf.Uniform(LOC, LOC + SCALE),
        reference.Uniform(LOC, LOC + SCALE),
        SCALE + np.abs(LOC),
    ),
    "Integers": (mf.Integers(), reference.Integers(), 0.0),
    "Integers of arrays": (
        mf.Integers([0, -7, 3, -(2**31), 0], [1, 7, 3, 2**31, 2**30]),
        reference.Integers([0, -7, 3, -(2**31), 0], [1, 7, 3, 2**31, 2**30]),
        0.0,
    ),
}
BUILT_IN = [mf.Normal(), mf.Uniform(), mf.Integers()]
seeds = st.integers(0, 2**64 - 1) | st.integers(0, 3)
starts = st.integers(0, 2**63 - 1000) | st.integers(2**32 - 100, 2**32 + 100) | st.just(0)


# ------------------------------------------------------------------------- which numbers are drawn


@pytest.mark.parametrize("name", PAIRS)
@given(seed=seeds, start=starts, count=st.integers(1, 100))
def test_draws_are_those_of_the_reference(name, seed, start, count):
    sampler, twin, size = PAIRS[name]
    ours, theirs = sampler.sample(seed, start, count, 5), twin.sample(seed, start, count, 5)
    assert ours.shape == (count, 5)
    # A normal number has a few ulp of error for each of its own size, up to 9.
    assert (np.abs(ours - theirs) <= 1e-14 * size).all()


@pytest.mark.long(everywhere=True)
@given(seed=seeds, start=starts, n_params=st.integers(1, 20))
def test_uniform_draws_on_the_unit_interval_are_52_bits_of_the_stream_exactly(
    seed, start, n_params
):
    ours = mf.Uniform(0, 1).sample(seed, start, 30, n_params)
    assert (ours == reference.uniforms(seed, start, 30, n_params)[:, :n_params]).all()


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (1, 2**32 - 15), (2**64 - 1, 2**63 - 1000)])
def test_no_draw_is_above_the_upper_bound_whatever_the_step_from_the_lower_one(seed, start):
    # high - low may be rounded up, which one draw of 2^53 shows: here the step is far too large.
    transform, low, step, high = mf.Uniform([0.25, -2.0], [1.0, 3.0]).columns(2)
    draws, out = _kernels.Draws(transform, low, 2 * step, high, seed), np.empty((30, 2))
    assert draws.sample(start, out)
    unbounded = low + 2 * step * reference.uniforms(seed, start, 30, 2)
    assert (unbounded > high).any()
    np.testing.assert_array_equal(out, np.minimum(unbounded, high))


@pytest.mark.parametrize("seed", [0, 1, 0x0123456789ABCDEF, 2**64 - 1])
def test_uniform_draws_come_from_the_words_of_randomgen(seed):
    for index, pair in [(0, 0), (1, 0), (5, 3), (2**32 + 7, 1), (2**63 - 2, 0)]:
        # randomgen steps its counter before it draws, and puts the lowest word first.
        counter = (index | pair << 64) - 1 & 2**128 - 1
        words = randomgen.Philox(counter=counter, key=seed, number=4, width=32).random_raw(4)
        low, high = words[::2].astype(np.uint64), words[1::2].astype(np.uint64)
        expected = ((high << np.uint64(32) | low) >> np.uint64(12)).astype(float) + 0.5
        drawn = mf.Uniform(0, 1).sample(seed, index, 1, 2 * pair + 2)[0, -2:]
        assert (drawn * 2.0**52 == expected).all()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("sampler", BUILT_IN, ids=repr)
@given(seed=seeds, start=starts, cut=st.integers(1, 99), n_params=st.integers(1, 9))
def test_candidates_depend_on_seed_and_number_alone(sampler, seed, start, cut, n_params):
    whole = sampler.sample(seed, start, 100, n_params)
    parts = [
        sampler.sample(seed, start, cut, n_params),
        sampler.sample(seed, start + cut, 100 - cut, n_params),
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert sampler.sample(seed, start + cut, 1, n_params).tobytes() == whole[cut].tobytes()


@pytest.mark.parametrize("sampler", BUILT_IN, ids=repr)
def test_a_parameter_does_not_depend_on_how_many_follow(sampler):
    whole = sampler.sample(3, 0, 50, 9)
    for n_params in range(1, 9):
        assert (sampler.sample(3, 0, 50, n_params) == whole[:, :n_params]).all()


def test_scalars_and_arrays_of_the_same_numbers_draw_the_same():
    for scalar, array in [
        (mf.Normal(2, 3), mf.Normal([2] * 5, [3.0] * 5)),
        (mf.Uniform(2, 3), mf.Uniform(2, np.full(5, 3))),
        (mf.Integers(2, 3), mf.Integers(np.full(5, 2), 3)),
    ]:
        assert (scalar.sample(1, 2, 20, 5) == array.sample(1, 2, 20, 5)).all()


HASH_OF_DRAWS = """
import hashlib
import metaopt_fast as mf
digest = hashlib.sha256()
for sampler in (mf.Normal(0.1, 0.7), mf.Uniform(-0.1, 3.3), mf.Integers(-7, 11)):
    for seed, start in [(0, 0), (1, 2**32 - 9), (2**64 - 1, 2**63 - 6000)]:
        for n_params in (1, 2, 31):
            digest.update(sampler.sample(seed, start, 1001, n_params).tobytes())
print(mf.config()["isa"], digest.hexdigest())
"""


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
def test_every_instruction_set_draws_the_same_bits(run_python):
    hashes = {}
    for isa in _kernels.supported_isas():
        done = run_python(HASH_OF_DRAWS, METAOPT_FAST_ISA=isa)
        assert done.returncode == 0, done.stderr
        used, hashes[isa] = done.stdout.split()
        assert used == isa
    assert len(set(hashes.values())) == 1, hashes


@pytest.mark.sanitized
@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("sampler", [*BUILT_IN, mf.Normal(LOC, SCALE)], ids=repr)
@pytest.mark.parametrize("count", [1, 3, 100, 3000])
@pytest.mark.parametrize("n_threads", [None, 1, 3])
def test_losses_of_candidates_drawn_in_the_kernel_are_those_of_sample(
    sampler, count, n_threads, dtype
):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(70, 5)), rng.integers(0, 2, 70)
    objective = mf.LogisticLoss(X, y, l2=0.1, dtype=dtype)
    drawn = objective.sampled_loss(sampler, 5, 2**32 - 50, count, n_threads=n_threads)
    given_losses = objective.batch_loss(sampler.sample(5, 2**32 - 50, count, 5))
    assert drawn.tobytes() == given_losses.tobytes()


# ---------------------------------------------------------------------------------------- quality


N_DRAWS = 1_000_000


@pytest.fixture(scope="module")
def normal_draws():
    return mf.Normal().sample(0, 0, N_DRAWS // 4, 4)


def test_normal_draws_have_normal_moments(normal_draws):
    # The k-th moment's standard error is sqrt((2k-1)!! - ((k-1)!!)^2) / 1000 for even k.
    x = normal_draws.ravel()
    for power, moment, error in [(1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)]:
        assert abs((x**power).mean() - moment) < 4 * error / N_DRAWS**0.5


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("sampler", "name", "arguments"),
    [
        (mf.Normal(), "norm", ()),
        (mf.Normal(3.0, 0.5), "norm", (3.0, 0.5)),
        (mf.Uniform(-2.0, 5.0), "uniform", (-2.0, 7.0)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_pass_the_test_of_kolmogorov_and_smirnov(sampler, name, arguments, seed):
    draws = sampler.sample(seed, 0, N_DRAWS // 4, 4)
    distribution = getattr(stats, name)(*arguments)
    assert stats.kstest(draws.ravel(), distribution.cdf).pvalue > 1e-4
    for column in draws.T:
        assert stats.kstest(column, distribution.cdf).pvalue > 1e-4


@pytest.mark.long
@pytest.mark.parametrize(
    ("sampler", "name"), [(mf.Normal(), "norm"), (mf.Uniform(0.0, 1.0), "uniform")], ids=repr
)
def test_ten_million_draws_pass_it_too(sampler, name):
    draws = sampler.sample(2, 0, 2_500_000, 4)
    assert stats.kstest(draws.ravel(), getattr(stats, name)().cdf).pvalue > 1e-4


def test_integers_are_equally_likely():
    draws = mf.Integers(-3, 9).sample(0, 0, N_DRAWS // 4, 4)
    values, counts = np.unique(draws, return_counts=True)
    assert values.tolist() == list(range(-3, 10))
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("n_params", [1, 2, 4])
def test_neighbouring_seeds_candidates_and_parameters_do_not_correlate(n_params):
    count = 200_000
    streams = [mf.Normal().sample(seed, 0, count, n_params) for seed in (0, 1, 2, 2**32)]
    columns = np.column_stack([*streams, streams[0][np.r_[1:count, 0]]])
    for signals in (columns, np.abs(columns)):
        correlation = np.corrcoef(signals, rowvar=False)
        off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
        assert np.abs(off_diagonal).max() < 5 / count**0.5


def test_tails_reach_beyond_five_sigma_and_have_their_weight():
    # Of ten million draws, 5.7 are expected beyond 5 sigma, and 633.4 beyond 4.
    x = np.abs(mf.Normal().sample(1, 0, 5_000_000, 2))
    assert 5.2 < x.max() < 9
    assert 1 <= (x > 5).sum() <= 16
    assert (x > 4).sum() == pytest.approx(633.4, abs=5 * 25.2)


def test_draws_stay_within_their_bounds():
    narrow = mf.Uniform(1.0, np.nextafter(1.0, 2.0)).sample(0, 0, 1000, 3)
    assert set(narrow.ravel().tolist()) <= {1.0, np.nextafter(1.0, 2.0)}
    wide = mf.Uniform(-8e307, 8e307).sample(0, 0, 1000, 3)
    assert np.isfinite(wide).all()
    assert np.abs(wide).max() <= 8e307
    assert (mf.Integers(4, 4).sample(0, 0, 100, 3) == 4).all()
    whole = mf.Integers(-(2**31), 2**31).sample(0, 0, 1000, 3)
    assert (whole == np.floor(whole)).all()


@pytest.mark.parametrize(
    "sampler", [mf.Normal(0, 1e308), mf.Normal(1.7e308, [1e307] * 3)], ids=repr
)
def test_draws_beyond_the_range_of_floats_are_refused(sampler):
    with pytest.raises(ValueError, match="beyond the range of floats"):
        sampler.sample(0, 0, 1000, 3)


def test_draws_at_the_border_of_that_range_are_no_different():
    # Candidate by candidate: what is not asked for is not looked at.
    sampler, drawn = mf.Normal(0, 1e308), []
    for i in range(100):
        try:
            drawn.append(sampler.sample(0, i, 1, 3) == 1e308 * mf.Normal().sample(0, i, 1, 3))
        except ValueError:
            assert np.abs(mf.Normal().sample(0, i, 1, 3)).max() > 1.797
    assert np.all(drawn) and 50 < len(drawn) < 100


# ------------------------------------------------------------------------- what samplers state


def test_moments_are_those_of_scipy_distributions():
    low, high = np.array([-3.0, 0.0, 2.0, -(2.0**31)]), np.array([4.0, 1.0, 3.0, 2.0**31])
    for sampler, twin in (
        (mf.Normal(LOC[:4], SCALE[:4]), stats.norm(LOC[:4], SCALE[:4])),
        (mf.Uniform(low, high + 1), stats.uniform(low, high + 1 - low)),
        (mf.Integers(low, high), stats.randint(low, high + 1)),
    ):
        np.testing.assert_allclose(sampler.mean(4), twin.mean(), rtol=1e-15)
        np.testing.assert_allclose(sampler.std(4), twin.std(), rtol=1e-15)


def test_no_draw_is_beyond_the_bounds():
    # The largest normal number that 52 bits make, u = 2**-53.
    with mpmath.workdps(30):
        assert mpmath.sqrt(2 * 53 * mpmath.log(2)) < LARGEST_NORMAL < 8.5721
    for name, (sampler, _, _) in PAIRS.items():
        low, high = sampler.bounds(5)
        draws = sampler.sample(1, 0, 10_000, 5)
        assert (low <= draws).all() and (draws <= high).all(), name
    assert [bound.tolist() for bound in mf.Uniform(-2, 3).bounds(2)] == [[-2.0] * 2, [3.0] * 2]
    assert [bound.tolist() for bound in mf.Integers(0, 3).bounds(2)] == [[0.0] * 2, [3.0] * 2]
    low, high = mf.Normal(0, 1e308).bounds(1)
    assert low[0] == -np.inf and high[0] == np.inf


def test_whole_numbers_are_stated():
    assert [sampler.is_integer(2).tolist() for sampler in BUILT_IN] == [
        [False, False],
        [False, False],
        [True, True],
    ]
    assert all(sampler.nonzero_limit(2) is None for sampler in BUILT_IN)


def test_a_mixture_states_what_its_groups_state():
    assert MIXTURE.mean(6).tolist() == [0, 0, 0, 0, 1.5, 0]
    std = [1, 1, 1, 10**0.5, 1 / 12**0.5, 10**0.5]
    np.testing.assert_allclose(MIXTURE.std(6), std, rtol=1e-15)
    assert MIXTURE.is_integer(6).tolist() == [False, False, False, True, False, True]
    low, high = MIXTURE.bounds(6)
    assert low[3:].tolist() == [-5, 1, -5] and high[3:].tolist() == [5, 2, 5]
    assert high[0] == -low[0] == LARGEST_NORMAL
    sparse = mf.Mixture([(slice(None), mf.Integers(max_nonzero=1))])
    for statement in (MIXTURE.mean, MIXTURE.std, MIXTURE.bounds, MIXTURE.is_integer):
        with pytest.raises(ValueError, match=r"the group .* holds none"):
            statement(3)
    for statement in (sparse.mean, sparse.std, sparse.bounds, sparse.is_integer):
        with pytest.raises(ValueError, match="without max_nonzero"):
            statement(3)


@pytest.mark.parametrize("sampler", [*BUILT_IN, mf.Mixture({0: mf.Normal()})], ids=repr)
def test_built_in_samplers_are_of_the_protocol(sampler):
    assert isinstance(sampler, Sampler)
    assert not isinstance(lambda start, count: None, Sampler)


# --------------------------------------------------------------------------------- as plain values


@pytest.mark.parametrize(
    "sampler",
    [*BUILT_IN, mf.Normal(LOC, 2.0), mf.Uniform(LOC, LOC + SCALE), mf.Integers(0, [1, 2, 3])],
    ids=repr,
)
def test_samplers_survive_the_way_through_a_dictionary(sampler):
    again = from_dict(sampler.to_dict())
    assert again == sampler
    assert hash(again) == hash(sampler)
    assert (
        again.sample(0, 0, 5, again.n_params or 4) == sampler.sample(0, 0, 5, again.n_params or 4)
    ).all()


def test_different_samplers_are_different():
    different = [*BUILT_IN, mf.Normal(1.0), mf.Normal(0.0, 2.0), mf.Normal([0.0]), mf.Uniform(0, 1)]
    assert len(set(different)) == len(different)


def test_a_sampler_does_not_follow_changes_of_its_arguments():
    loc = np.zeros(3)
    sampler = mf.Normal(loc)
    before = sampler.sample(0, 0, 5, 3)
    loc[:] = 100
    assert (sampler.sample(0, 0, 5, 3) == before).all()


MIXTURE = mf.Mixture(
    [(slice(0, 3), mf.Normal()), ((3, 5), mf.Integers(-5, 5)), (4, mf.Uniform([1.0], [2.0]))]
)


def test_a_mixture_draws_each_group_as_its_sampler_does_alone():
    draws = MIXTURE.sample(5, 100, 50, 6)
    assert (draws[:, :3] == mf.Normal().sample(5, 100, 50, 6)[:, :3]).all()
    assert (draws[:, [3, 5]] == mf.Integers(-5, 5).sample(5, 100, 50, 6)[:, [3, 5]]).all()
    assert (draws[:, 4] == mf.Uniform(1, 2).sample(5, 100, 50, 6)[:, 4]).all()


def test_a_mixture_survives_the_way_through_a_dictionary():
    again = from_dict(json.loads(json.dumps(MIXTURE.to_dict())))
    assert again == MIXTURE
    assert (again.sample(0, 0, 9, 6) == MIXTURE.sample(0, 0, 9, 6)).all()


def test_a_mixture_takes_names_and_ranges():
    named = mf.Mixture({("b", "a"): mf.Normal(), "c": mf.Integers(1, 1)}, names=["a", "b", "c"])
    numbered = mf.Mixture({range(2): mf.Normal(), 2: mf.Integers(1, 1)})
    assert (named.sample(0, 0, 9, 3) == numbered.sample(0, 0, 9, 3)).all()


@pytest.mark.parametrize(
    "groups, message",
    [
        ({}, "groups is"),
        (None, "groups is None"),
        ([mf.Normal()], "groups is"),
        ({"a": mf.Normal()}, "name 'a'"),
        ({0: 3}, "the sampler of 0"),
        ({-1: mf.Normal()}, "number in groups is -1"),
        ({1.5: mf.Normal()}, "number in groups is 1.5"),
        ({range(3): mf.Normal()}, "parameter 3 is in 0 groups"),
        ({range(4): mf.Normal(), 1: mf.Normal()}, "parameter 1 is in 2 groups"),
        ({range(5): mf.Normal()}, "beyond"),
        ({range(4): mf.Normal([0.0])}, "1 parameters, but 4"),
    ],
)
def test_groups_that_are_no_mixture_are_refused(groups, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        mf.Mixture(groups).sample(0, 0, 1, 4)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_errors_about_arrays_of_many_lines_are_of_one_line():
    for name, value in (("low", np.full(40, -0.5)), ("high", np.full(40, 0.5))):
        with pytest.raises(ValueError, match=rf"^{name} is -?0\.5: pass whole numbers .*\.$"):
            mf.Integers(**{name: value})
    with pytest.raises(ValueError, match=r"^Normal\(.* draws numbers beyond .*\.$"):
        mf.Normal(np.full(40, 1e308), np.full(40, 1e308)).sample(0, 0, 100, 40)


def test_the_repr_of_a_sampler_of_many_parameters_is_short():
    assert repr(mf.Normal(scale=0.5)) == "Normal(loc=0.0, scale=0.5)"
    assert repr(mf.Uniform(-np.ones(3), 1.0)) == "Uniform(low=array([-1., -1., -1.]), high=1.0)"
    assert len(repr(mf.Uniform(-np.ones(1000), np.ones(1000)))) < 160
