"""Samplers of users' own, that follow the protocol and have no base class of ours."""

import concurrent.futures

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.typing import Sampler

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(60, 4)), RNG.integers(0, 2, 60)
OBJECTIVE = mf.LogisticLoss(X, Y, l2=0.1)
N = 700


class Own:
    """What a built-in sampler draws and states, by an object that is none of ours."""

    def __init__(self, inside, **answers):
        self.inside = inside
        for method, answer in answers.items():
            setattr(self, method, lambda *asked, answer=answer: answer)

    def sample(self, seed, start, count, n_params):
        return self.inside.sample(seed, start, count, n_params)

    def mean(self, n_params):
        return self.inside.mean(n_params)

    def std(self, n_params):
        return self.inside.std(n_params)

    def bounds(self, n_params):
        return self.inside.bounds(n_params)

    def is_integer(self, n_params):
        return self.inside.is_integer(n_params)

    def nonzero_limit(self, n_params):
        return self.inside.nonzero_limit(n_params)


class Correlated(Own):
    """Normal numbers times a matrix: what no built-in sampler draws."""

    factor = np.tril(np.ones((4, 4)))

    def sample(self, seed, start, count, n_params):
        return super().sample(seed, start, count, n_params) @ self.factor.T


class Named(Own):
    fingerprint = "as ours"


class Derived(Sampler):
    """Has the protocol for a base, and states no limit."""

    __init__, sample, mean = Own.__init__, Own.sample, Own.mean
    std, bounds, is_integer = Own.std, Own.bounds, Own.is_integer


def digest(result):
    arrays = result.top, result.top_thetas, result.trace
    return tuple(array.tobytes() for array in arrays)


BUILT_IN = {
    "Normal": mf.Normal(0.5, [1.0, 2.0, 0.5, 1.0]),
    "Uniform": mf.Uniform(-2, 1),
    "Integers": mf.Integers(-3, 3),
    "sparse": mf.Integers(-3, 3, max_nonzero=2, free=(-1,)),
    "Mixture": mf.Mixture({range(3): mf.Normal(), 3: mf.Integers(-1, 1)}),
}


# -------------------------------------------------------------------------------- what they search


@pytest.mark.parametrize("inside", BUILT_IN.values(), ids=BUILT_IN)
@pytest.mark.parametrize("prune", [True, False])
def test_a_search_of_an_own_sampler_has_the_bits_of_a_built_in_one_of_its_draws(inside, prune):
    own = Own(inside)
    assert isinstance(own, Sampler)
    options = {"seed": 3, "top_k": 5, "prune": prune}
    built_in = mf.random_search(OBJECTIVE, inside, N, **options)
    assert digest(mf.random_search(OBJECTIVE, own, N, **options)) == digest(built_in)


def test_a_search_finds_the_best_of_what_an_own_sampler_draws():
    own = Correlated(mf.Normal())
    thetas = mf.Normal().sample(9, 0, N, 4) @ np.tril(np.ones((4, 4))).T
    losses = np.logaddexp(0, -np.where(Y, 1, -1) * (thetas @ X.T)).mean(axis=1)
    losses += 0.05 * (thetas**2).sum(axis=1)
    found = mf.random_search(OBJECTIVE, own, N, seed=9, top_k=3)
    assert found.top["index"].tolist() == np.argsort(losses)[:3].tolist()
    np.testing.assert_allclose(found.top_thetas, thetas[found.top["index"]], rtol=1e-12)


def test_shards_of_an_own_sampler_merge_to_the_whole_here_and_on_an_executor():
    own = Own(mf.Normal())
    whole = mf.random_search(OBJECTIVE, own, N, top_k=4)
    parts = [mf.random_search(OBJECTIVE, own, N // 2, top_k=4, start=s) for s in (N // 2, 0)]
    assert digest(mf.merge_results(parts)) == digest(whole)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert digest(mf.random_search(OBJECTIVE, own, N, top_k=4, executor=pool)) == digest(whole)
    other = mf.random_search(OBJECTIVE, Own(mf.Normal()), N // 2, top_k=4, start=N // 2)
    with pytest.raises(ValueError, match="nothing tells apart"):
        mf.merge_results([parts[1], other])


@pytest.mark.parametrize("method", ["cem", "snes", "ars", "shrinking"])
@pytest.mark.parametrize("name", ["Normal", "Uniform"])
def test_an_evolution_from_an_own_sampler_has_the_bits_of_a_built_in_one(method, name):
    options = {"method": method, "population": 20, "generations": 6, "top_k": 2}
    built_in = mf.evolve(OBJECTIVE, BUILT_IN[name], **options)
    own = mf.evolve(OBJECTIVE, Own(BUILT_IN[name]), **options)
    assert digest(own) == digest(built_in)
    assert own.config["start"] == {"name": "own"}


@pytest.mark.parametrize("name", ["Integers", "sparse"])
def test_an_evolution_in_whole_numbers_keeps_the_bounds_and_the_limit_that_are_stated(name):
    inside = BUILT_IN[name]
    options = {"method": "integer_local_search", "population": 20, "generations": 9, "top_k": 3}
    own = mf.evolve(OBJECTIVE, Own(inside), restart_after=2, **options)
    assert digest(own) == digest(mf.evolve(OBJECTIVE, inside, restart_after=2, **options))
    if name == "sparse":
        assert ((own.top_thetas[:, :3] != 0).sum(axis=1) <= 2).all()


def test_a_sampler_that_derives_from_the_protocol_has_no_limit_unless_it_states_one():
    options = {"method": "integer_local_search", "population": 8, "generations": 5}
    found = mf.evolve(OBJECTIVE, Derived(mf.Integers(-3, 3)), **options)
    assert digest(found) == digest(mf.evolve(OBJECTIVE, mf.Integers(-3, 3), **options))


def test_what_a_method_does_not_rely_on_need_not_be_finite():
    nowhere = np.full(4, np.nan)
    whole = Own(mf.Integers(), mean=nowhere, std=nowhere)
    mf.evolve(OBJECTIVE, whole, method="integer_local_search", population=8, generations=2)
    unbounded = Own(mf.Normal(), bounds=(np.full(4, -np.inf), np.full(4, np.inf)))
    mf.evolve(OBJECTIVE, unbounded, population=8, generations=2)
    mf.random_search(OBJECTIVE, Own(mf.Normal(), mean=None, std=None, bounds=None), 20)


class OneBuffer(Own):
    """Writes each answer where the last one was, and lends it read-only."""

    def sample(self, seed, start, count, n_params):
        answer = super().sample(seed, start, count, n_params)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty((10_000, n_params))
        self.buffer[:count] = answer
        lent = self.buffer[:count]
        lent.flags.writeable = False
        return lent


def test_a_sampler_may_write_its_answers_to_one_place():
    found = mf.random_search(OBJECTIVE, OneBuffer(mf.Normal()), N, top_k=3)
    assert digest(found) == digest(mf.random_search(OBJECTIVE, mf.Normal(), N, top_k=3))
    options = {"method": "integer_local_search", "population": 20, "generations": 5}
    own = mf.evolve(OBJECTIVE, OneBuffer(BUILT_IN["sparse"]), **options)
    assert digest(own) == digest(mf.evolve(OBJECTIVE, BUILT_IN["sparse"], **options))


def test_an_own_sampler_is_asked_under_its_callers_settings_of_numpy():
    seen = set()

    class Watching(Own):
        def __getattribute__(self, name):
            if not name.startswith("_"):
                seen.update(np.geterr().values())
            return super().__getattribute__(name)

    with np.errstate(all="print"):
        mf.random_search(OBJECTIVE, Watching(mf.Normal()), 20)
        mf.evolve(OBJECTIVE, Watching(mf.Normal()), population=4, generations=2)
        whole = {"method": "integer_local_search", "restart_after": 1}
        mf.evolve(OBJECTIVE, Watching(BUILT_IN["sparse"]), population=4, generations=3, **whole)
    assert seen == {"print"}


# ------------------------------------------------------------------------------------------- files


def test_a_checkpoint_knows_an_own_sampler_by_its_fingerprint(tmp_path):
    path = tmp_path / "search.db"
    named = Named(mf.Normal())
    mf.random_search(OBJECTIVE, named, N, top_k=3, checkpoint=path)
    grown = mf.random_search(OBJECTIVE, Named(mf.Normal()), 2 * N, top_k=3, checkpoint=path)
    assert digest(grown) == digest(mf.random_search(OBJECTIVE, mf.Normal(), 2 * N, top_k=3))
    other = Named(mf.Normal())
    other.fingerprint = "another"
    with pytest.raises(mf.CheckpointError, match="a search with fingerprint = "):
        mf.random_search(OBJECTIVE, other, 2 * N, top_k=3, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=r"has the loss .* where the objective gives"):
        mf.random_search(OBJECTIVE, Named(mf.Normal(1.0)), 2 * N, top_k=3, checkpoint=path)


@pytest.mark.parametrize("kind", ["own", "callable"])
def test_resume_search_takes_the_sampler_that_the_file_cannot_hold(tmp_path, kind):
    def draw(start, count):
        return mf.Normal().sample(0, start, count, 4)

    draw.fingerprint = "standard normal"
    sampler = draw if kind == "callable" else Named(mf.Normal())
    path = tmp_path / "search.db"
    options = {"top_k": 3, "checkpoint": path, "callback": lambda result: True}
    mf.random_search(OBJECTIVE, sampler, N, **options)
    resumed = mf.resume_search(path, OBJECTIVE, sampler=sampler)
    assert digest(resumed) == digest(mf.random_search(OBJECTIVE, mf.Normal(), N, top_k=3))
    with pytest.raises(ValueError, match=r"or pass it as sampler=\.$"):
        mf.resume_search(path, OBJECTIVE)
    with pytest.raises(mf.CheckpointError, match=r"a search with (fingerprint|sampler) = "):
        mf.resume_search(path, OBJECTIVE, sampler=mf.Normal())


def test_a_file_of_a_built_in_sampler_is_not_resumed_with_another_one(tmp_path):
    path = tmp_path / "search.db"
    mf.random_search(OBJECTIVE, mf.Normal(), N, checkpoint=path)
    assert mf.resume_search(path, OBJECTIVE, sampler=mf.Normal()).n_evaluated == N
    with pytest.raises(mf.CheckpointError, match=r"a search with (fingerprint|sampler) = "):
        mf.resume_search(path, OBJECTIVE, sampler=Named(mf.Normal()))


def test_no_file_is_made_of_what_nothing_names(tmp_path):
    own = Own(mf.Normal())
    wanted = r"^sampler is .*, which a checkpoint cannot tell from another one: pass fingerprint="
    path = tmp_path / "run"
    with pytest.raises(mf.CheckpointError, match=wanted):
        mf.random_search(OBJECTIVE, own, N, checkpoint=path)
    with pytest.raises(mf.CheckpointError, match=wanted):
        mf.evolve(OBJECTIVE, own, population=8, generations=2, checkpoint=path)
    assert not path.exists()
    mf.random_search(OBJECTIVE, own, N, checkpoint=path, fingerprint="as ours")
    resumed = mf.resume_search(path, OBJECTIVE, sampler=own, fingerprint="as ours")
    assert resumed.n_evaluated == N


def test_an_evolution_from_an_own_sampler_goes_on_from_its_file(tmp_path):
    options = {"population": 20, "checkpoint": tmp_path / "run.npz"}
    mf.evolve(OBJECTIVE, Named(mf.Normal()), generations=3, **options)
    grown = mf.evolve(OBJECTIVE, Named(mf.Normal()), generations=6, **options)
    whole = mf.evolve(OBJECTIVE, mf.Normal(), population=20, generations=6)
    assert digest(grown) == digest(whole)
    other = Named(mf.Normal())
    other.fingerprint = "another"
    with pytest.raises(mf.CheckpointError, match="fingerprint"):
        mf.evolve(OBJECTIVE, other, generations=6, **options)


# ---------------------------------------------------------------------------------- what is refused


class Half:
    def sample(self, seed, start, count, n_params):
        return np.zeros((count, n_params))


@pytest.mark.parametrize("what", [Half(), Own, object()], ids=["half", "class", "object"])
def test_what_lacks_a_method_of_the_protocol_is_no_sampler(what):
    with pytest.raises(TypeError, match=r"^sampler is .*all methods of metaopt_fast\.typing\.Samp"):
        mf.random_search(OBJECTIVE, what, N)
    if not isinstance(what, type):
        with pytest.raises((TypeError, ValueError), match=r"^start .*metaopt_fast\.typing\.Sampl"):
            mf.evolve(OBJECTIVE, what)


class Counting(Own):
    """Draws that depend on how often it was asked."""

    asked = 0

    def sample(self, seed, start, count, n_params):
        self.asked += 1
        return super().sample(seed + self.asked, start, count, n_params)


class ByBatch(Own):
    """Draws that depend on where a batch begins."""

    def sample(self, seed, start, count, n_params):
        return np.random.default_rng([seed, start]).normal(size=(count, n_params))


@pytest.mark.parametrize("kind", [Counting, ByBatch])
def test_candidates_that_depend_on_more_than_seed_and_number_are_found_out(kind):
    wanted = r"\.sample\(0, 0, \.\.\.\) gave two different answers for one candidate: pass"
    with pytest.raises(ValueError, match="^sampler" + wanted):
        mf.random_search(OBJECTIVE, kind(mf.Normal()), N)
    with pytest.raises(ValueError, match="^start" + wanted):
        mf.evolve(OBJECTIVE, kind(mf.Normal()))


def test_the_last_candidate_of_all_is_drawn_alone():
    own = Own(mf.Normal())
    result = mf.random_search(OBJECTIVE, own, 1, start=2**63 - 2)
    assert result.theta.tolist() == mf.Normal().sample(0, 2**63 - 2, 1, 4)[0].tolist()


ONES, WHOLE = np.ones(4), np.ones(4, bool)
IN_REALS = [
    ("mean", np.zeros(3), r"mean\(4\) returned an array of shape \(3,\)"),
    ("mean", None, r"the answer of start\.mean\(4\) is None"),
    ("mean", np.full(4, np.nan), r"mean\(4\) returned a number that is not finite"),
    ("mean", np.full(4, "a"), r"mean\(4\) returned an array of shape"),
    ("std", np.full(4, np.inf), r"std\(4\) returned a number that is not finite"),
    ("std", [1, 1, 1, -1], r"std\(4\) returned -1\.0"),
    ("std", 0 * ONES, "start has a parameter whose standard deviation is 0"),
    ("bounds", None, r"bounds\(4\) returned None"),
    ("bounds", ONES, r"bounds\(4\) returned an array of shape"),
    ("bounds", (ONES, -ONES), r"bounds\(4\) returned 1\.0 and -1\.0 for parameter 0"),
    ("bounds", (-ONES, np.nan * ONES), r"bounds\(4\) returned -1\.0 and nan for parameter 0"),
    ("is_integer", False, r"is_integer\(4\) returned"),
    ("is_integer", np.zeros(4), r"is_integer\(4\) returned an array of shape"),
    ("is_integer", WHOLE, "start"),
    ("sample", np.zeros((4, 1)), r"sample\(0, 0, 1, 4\) returned an array of shape"),
]
IN_WHOLE_NUMBERS = [
    ("bounds", (-np.inf * ONES, ONES), r"bounds\(4\) returned -inf for a parameter of whole"),
    ("bounds", (-0.5 * ONES, ONES), r"bounds\(4\) returned -0\.5 for a parameter of whole"),
    (
        "bounds",
        (0 * ONES, ONES),
        r"sample\(.*\) returned -?\d\.0 for parameter \d, which",
    ),
    ("nonzero_limit", 3, r"nonzero_limit\(4\) returned 3"),
    ("nonzero_limit", (2, [0, 0]), r"nonzero_limit\(4\) returned"),
    ("nonzero_limit", (2, [4]), r"nonzero_limit\(4\) returned"),
    ("nonzero_limit", (2, [-1]), r"nonzero_limit\(4\) returned"),
    ("nonzero_limit", (2.5, [0, 1]), r"the number of parameters that start\.nonzero_limit\(4\)"),
]


@pytest.mark.parametrize(
    ("inside", "method", "answer", "message"),
    [(mf.Normal(), *case) for case in IN_REALS]
    + [(mf.Integers(), *case) for case in IN_WHOLE_NUMBERS],
)
def test_a_statement_that_cannot_be_true_is_refused_in_a_sentence(inside, method, answer, message):
    kind = "cem" if isinstance(inside, mf.Normal) else "integer_local_search"
    with pytest.raises((ValueError, TypeError), match=f"^(start\\.)?{message}") as caught:
        mf.evolve(OBJECTIVE, Own(inside, **{method: answer}), method=kind, population=8)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and ": " in text


def test_a_limit_over_parameters_that_cannot_be_0_is_refused():
    own = Own(mf.Integers(1, 3), nonzero_limit=(2, np.arange(4)))
    with pytest.raises(ValueError, match=r"nonzero_limit\(4\) returned a parameter whose bounds"):
        mf.evolve(OBJECTIVE, own, method="integer_local_search", population=8)
