"""random_search: the same bits however it is cut, stopped and resumed, and the right ones."""

import dataclasses
import itertools
import json
import math
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import LossesByNumber, MeanSquare, digest, numbers

import metaopt_fast as mf
from metaopt_fast import reference
from metaopt_fast.objectives import screening
from metaopt_fast.runs import evaluation, progress, provenance
from metaopt_fast.search import shards

N_CANDIDATES = 3000
SAMPLERS = {
    "normal": mf.Normal(0.1, 1.5),
    "uniform": mf.Uniform([-1, -2, -1, -3], [1, 2, 0, 3]),
    "integers": mf.Integers(-1, 1),
    "mixture": mf.Mixture({range(3): mf.Normal(), 3: mf.Integers(0, 2)}),
}


def make_objective(n_samples=300, **options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 4))
    y = X @ [1, -1, 0.5, 0] + rng.logistic(size=n_samples) > 0
    return mf.LogisticLoss(X, y, **options)


# One thread: many small shards on two would wait for each other most of the time.
OBJECTIVE = make_objective(l2=0.01, n_threads=1)
GENERATOR = np.random.default_rng(0)


class BatchLossAlone:
    """A user's objective: no more than it must have."""

    n_params = 4

    def __init__(self, objective=OBJECTIVE):
        self.objective = objective

    def batch_loss(self, thetas):
        return self.objective.batch_loss(thetas)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 64 candidates, so that a short search has many."""
    monkeypatch.setattr(shards, "KERNEL_WORK", 1.0)
    monkeypatch.setattr(shards, "PYTHON_WORK", 1.0)


# ---------------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("top_k", [1, 100])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_search_has_the_same_bits_for_any_number_of_threads(sampler, top_k, dtype):
    objective = make_objective(fit_intercept=False, dtype=dtype)
    digests = {
        digest(mf.random_search(objective, sampler, 20_000, seed=3, top_k=top_k, n_threads=n))
        for n in (1, 2, 3, 7)
    }
    assert len(digests) == 1


@pytest.mark.long
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@given(
    cuts=st.sets(st.integers(1, N_CANDIDATES // 10 - 1), max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_shards_merged_in_any_order_have_the_bits_of_the_whole(sampler, cuts, order):
    whole = mf.random_search(OBJECTIVE, sampler, N_CANDIDATES, seed=5, top_k=10)
    edges = [0, *(10 * cut for cut in sorted(cuts)), N_CANDIDATES]
    parts = [
        mf.random_search(OBJECTIVE, sampler, stop - start, seed=5, top_k=10, start=start)
        for start, stop in itertools.pairwise(edges)
    ]
    order.shuffle(parts)
    merged = mf.merge_results(parts)
    assert digest(merged) == digest(whole)
    assert merged.ranges == whole.ranges == ((0, N_CANDIDATES),)
    assert merged.config == {**whole.config, **{"versions": merged.config["versions"]}}
    halfway = mf.merge_results(parts[:2])
    assert digest(mf.merge_results([*parts[2:], halfway])) == digest(whole)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("work", [1.0, 1e6, 1e7])
@pytest.mark.parametrize("batch", [4, 64, 1000])
def test_a_search_has_the_same_bits_for_any_size_of_shards_and_batches(monkeypatch, work, batch):
    wanted = digest(mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=7))
    for name in ("KERNEL_WORK", "PYTHON_WORK"):
        monkeypatch.setattr(shards, name, work)
    for name in ("BATCH_NUMBERS", "BATCH_MARGINS"):
        monkeypatch.setattr(evaluation, name, batch)
    for objective in (OBJECTIVE, BatchLossAlone()):
        assert digest(mf.random_search(objective, mf.Normal(), N_CANDIDATES, top_k=7)) == wanted


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_users_objective_with_batch_loss_alone_gives_the_bits_of_logistic_loss(sampler):
    options = {"seed": 2, "top_k": 20, "start": 10**12}
    built_in = mf.random_search(OBJECTIVE, sampler, N_CANDIDATES, **options)
    assert digest(mf.random_search(BatchLossAlone(), sampler, N_CANDIDATES, **options)) == digest(
        built_in
    )


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("objective", [OBJECTIVE, BatchLossAlone()], ids=["built-in", "user's"])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_callable_that_draws_as_a_sampler_gives_its_bits(sampler, objective, small_shards):
    wanted = mf.random_search(objective, sampler, N_CANDIDATES, seed=9, top_k=20, start=77)
    result = mf.random_search(
        objective,
        lambda start, count: sampler.sample(9, start, count, 4),
        N_CANDIDATES,
        top_k=20,
        start=77,
    )
    assert digest(result) == digest(wanted)


@pytest.mark.parametrize("kind", ["list", "integers", "float32", "Fortran order"])
def test_a_callable_may_return_any_real_array(kind):
    convert = {
        "list": np.ndarray.tolist,
        "integers": lambda a: a.astype(np.int8),
        "float32": lambda a: a.astype(np.float32),
        "Fortran order": np.asfortranarray,
    }[kind]
    draw = mf.Integers(-3, 3).sample
    result = mf.random_search(OBJECTIVE, lambda s, n: convert(draw(0, s, n, 4)), 500, top_k=5)
    assert digest(result) == digest(mf.random_search(OBJECTIVE, mf.Integers(-3, 3), 500, top_k=5))


@pytest.mark.parametrize("top_k", [1, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("data", ["noise", "separable", "outliers", "ties"])
def test_pruning_changes_no_bit(data, seed, top_k, small_shards):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(700, 4))
    y = rng.integers(0, 2, 700) if data == "noise" else X[:, 0] > 0
    if data == "outliers":
        X[rng.integers(0, 700, 5)] *= 1e3
    sampler = mf.Integers(-2, 2) if data == "ties" else mf.Normal(scale=3)
    objective = mf.LogisticLoss(X, y, l2=1e-3, n_threads=1)
    pruned, brute = (
        mf.random_search(objective, sampler, 10_000, seed=seed, top_k=top_k, prune=prune)
        for prune in (True, False)
    )
    assert digest(pruned) == digest(brute)
    assert brute.rows_evaluated_fraction == 1
    assert 0 < pruned.rows_evaluated_fraction <= 1


@pytest.mark.long(everywhere=True)
def test_avx2_and_avx512_search_the_same_bits(run_python, isa):
    program = (
        "from test_search import *\n"
        "r = mf.random_search(OBJECTIVE, mf.Normal(), 20_000, seed=1, top_k=50)\n"
        "print(r.index, digest(r))"
    )
    answer = run_python(program, METAOPT_FAST_ISA=isa)
    here = mf.random_search(OBJECTIVE, mf.Normal(), 20_000, seed=1, top_k=50)
    index, there = answer.stdout.split()
    assert int(index) == here.index
    if "baseline" not in (isa, here.config["isa"]):
        assert there == digest(here)


# --------------------------------------------------------------------------------- the right ones


@pytest.mark.parametrize("top_k", [1, 100])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("start", [0, 2**40 + 3])
def test_a_search_finds_what_the_reference_finds(sampler, top_k, start, small_shards):
    arguments = {"seed": 4, "top_k": top_k, "start": start}
    result = mf.random_search(OBJECTIVE, sampler, N_CANDIDATES, **arguments)
    slow = reference.random_search(OBJECTIVE, sampler, N_CANDIDATES, **arguments)
    assert result.top.tobytes() == slow.top.tobytes()
    assert result.top_thetas.tobytes() == slow.top_thetas.tobytes()
    assert (result.index, result.loss) == (slow.index, slow.loss)


def test_a_search_with_reference_loss_and_reference_draws_finds_the_same_candidates():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(100, 4)), rng.integers(0, 2, 100)
    slow = reference.random_search(
        reference.LogisticLoss(X, y, l2=0.1), reference.Normal(), 2000, seed=8, top_k=10
    )
    fast = mf.random_search(mf.LogisticLoss(X, y, l2=0.1), mf.Normal(), 2000, seed=8, top_k=10)
    assert fast.top["index"].tolist() == slow.top["index"].tolist()
    np.testing.assert_allclose(fast.top["loss"], slow.top["loss"], rtol=1e-13)
    np.testing.assert_allclose(fast.top_thetas, slow.top_thetas, rtol=1e-12)


LOSSES = st.lists(
    st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, -1.0, math.inf, -math.inf, math.nan]),
    min_size=1,
    max_size=300,
)


@pytest.mark.long(everywhere=True)
@given(losses=LOSSES, data=st.data())
def test_the_best_come_by_loss_and_number_and_what_is_not_finite_last(losses, data, small_shards):
    top_k = data.draw(st.integers(1, len(losses)))
    result = mf.random_search(LossesByNumber(losses), numbers, len(losses), top_k=top_k)
    ranks = [loss if math.isfinite(loss) else math.inf for loss in losses]
    order = sorted(range(len(losses)), key=lambda i: (ranks[i], i))[:top_k]
    assert result.top["index"].tolist() == order
    np.testing.assert_array_equal(result.top["loss"], [losses[i] for i in order])
    np.testing.assert_array_equal(result.top_thetas, np.array(order)[:, None])
    better = [i for i in range(len(losses)) if i == 0 or ranks[i] < min(ranks[:i])]
    assert result.trace["index"].tolist() == better
    np.testing.assert_array_equal(result.trace["loss"], [losses[i] for i in better])


@pytest.mark.long(everywhere=True)
@given(losses=LOSSES, order=st.randoms(use_true_random=False))
def test_shards_with_ties_and_losses_that_are_not_finite_merge_to_the_whole(losses, order):
    objective, n = LossesByNumber(losses), len(losses)
    whole = mf.random_search(objective, numbers, n)
    edges = [0, *sorted({order.randrange(1, n + 1) for _ in range(3)} | {n})]
    parts = [
        mf.random_search(objective, numbers, stop - start, start=start)
        for start, stop in itertools.pairwise(edges)
    ]
    order.shuffle(parts)
    assert digest(mf.merge_results(parts)) == digest(whole)


def test_a_result_holds_the_candidates_own_theta_and_loss():
    sampler = mf.Normal([0, 1, 2, 3], 0.5)
    result = mf.random_search(OBJECTIVE, sampler, N_CANDIDATES, seed=6, top_k=9)
    for (index, loss), theta in zip(result.top.tolist(), result.top_thetas, strict=True):
        assert theta.tobytes() == sampler.sample(6, index, 1, 4)[0].tobytes()
        assert loss == OBJECTIVE.loss(theta)
    assert result.theta.tobytes() == result.top_thetas[0].tobytes()
    assert (result.index, result.loss) == tuple(result.top[0])
    assert (result.trace["loss"][-1], result.trace["index"][-1]) == (result.loss, result.index)
    assert (np.diff(result.trace["loss"]) < 0).all()
    assert (np.diff(result.trace["index"]) > 0).all()
    assert result.n_evaluated == N_CANDIDATES
    assert result.pairs_per_second == pytest.approx(N_CANDIDATES * 300 / result.elapsed)


def test_the_configuration_repeats_the_search():
    result = mf.random_search(OBJECTIVE, mf.Uniform(-2, 3), 2000, seed=7, top_k=3, start=50)
    config = json.loads(json.dumps(result.config))
    again = mf.random_search(
        OBJECTIVE,
        getattr(mf, config["sampler"].pop("name"))(**config["sampler"]),
        config["n_candidates"],
        **{name: config[name] for name in ("seed", "top_k", "start")},
    )
    assert digest(again) == digest(result)
    assert again.config["fingerprint"] == config["fingerprint"]
    assert config["stream_version"] == mf.STREAM_VERSION
    assert config["versions"]["metaopt_fast"] == mf.__version__
    assert config["isa"] == mf.config()["isa"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [(np.float32(0.5), 0.5), (Fraction(1, 4), 0.25), (np.array([1, 2]), "[1 2]"), (None, None)],
)
def test_the_configuration_keeps_what_json_can_hold_of_a_users_objective(value, kept):
    objective = MeanSquare()
    objective.l2 = value
    config = mf.random_search(objective, mf.Normal(), 10).config
    assert json.loads(json.dumps(config))["l2"] == kept


@pytest.mark.parametrize("n_samples", [1, 2])
def test_an_objective_may_have_few_rows(n_samples):
    objective = MeanSquare()
    objective.n_samples = n_samples
    assert mf.random_search(objective, mf.Normal(), 10).n_evaluated == 10
    objective.n_samples = 0
    with pytest.raises(ValueError, match=r"objective\.n_samples is 0: pass"):
        mf.random_search(objective, mf.Normal(), 10)


def test_the_last_candidate_of_all_can_be_searched():
    result = mf.random_search(OBJECTIVE, mf.Normal(), 5, start=2**63 - 6)
    assert 2**63 - 6 <= result.index <= 2**63 - 2


# ------------------------------------------------------------------------------ results and files


@pytest.fixture(scope="module")
def result():
    return mf.random_search(
        OBJECTIVE, mf.Normal(), N_CANDIDATES, top_k=30, metadata={"name": "a", "n": [1, 2.5, None]}
    )


def rubbish(path):
    """Write files that hold no result, and yield their names."""
    with zipfile.ZipFile(path / "zip of text", "w") as file:
        file.writestr("top.npy", "rubbish")
    np.savez(path / "other arrays.npz", a=np.zeros(3))
    np.savez(path / "an object.npz", top=np.array([{}]), rest=np.array([{}], object))
    np.savez(
        path / "no json.npz",
        top=np.zeros(1, mf.random_search(OBJECTIVE, mf.Normal(), 1).top.dtype),
        top_thetas=np.zeros((1, 4)),
        trace=np.zeros(1),
        rest=np.array("{"),
    )
    np.save(path / "one array.npy", np.zeros(3))
    (path / "empty").write_bytes(b"")
    (path / "text").write_text("index,loss\n1,2.0\n")
    (path / "bytes").write_bytes(bytes(range(256)) * 10)
    (path / "pickle").write_bytes(b"\x80\x04N.")
    return sorted(path.iterdir())


def test_rubbish_is_refused_by_name_in_a_sentence(tmp_path):
    for path in rubbish(tmp_path):
        with pytest.raises(ValueError) as caught:
            mf.SearchResult.load(path)
        message = str(caught.value)
        assert message.startswith(f"{path} does not hold a search result (")
        assert message.endswith("pass a file that SearchResult.save wrote.")
        assert "\n" not in message


def test_a_result_as_a_dictionary_is_json(result):
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text) == result.to_dict()
    assert result.to_dict()["config"]["metadata"] == {"name": "a", "n": [1, 2.5, None]}
    assert result.to_dict()["theta"] == result.theta.tolist()


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e100])
@pytest.mark.parametrize("n_params", [1, 4, 500])
def test_a_result_fits_a_screen(scale, n_params):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, n_params))
    objective = mf.LogisticLoss(X, X[:, 0] > 0)
    found = mf.random_search(objective, mf.Normal(scale=scale), 500, top_k=500, start=2**62)
    lines = repr(found).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "500 candidates" in lines[0]
    assert f"{found.index:,}" in repr(found)


def test_a_result_cannot_be_changed(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.elapsed = 0.0


# ------------------------------------------------------------------------------- memory and input


MEMORY = """
import numpy as np
import metaopt_fast as mf
from memory import peak_memory
objective = mf.LogisticLoss([[1.0, 0, 2], [0, 1, -1], [1, 1, 1], [0, 2, 0]], [0, 1, 0, 1])
{wrap}
mf.random_search(objective, sampler, 100, top_k=100)
before = peak_memory()
result = mf.random_search(objective, sampler, {n_candidates}, top_k=100)
assert result.n_evaluated == {n_candidates}
print((peak_memory() - before) / 2**20)
"""
USERS = """
class BatchLossAlone:
    n_params = 3
    batch_loss = staticmethod(objective.batch_loss)
objective, sampler = BatchLossAlone(), lambda s, n: mf.Normal().sample(1, s, n, 3)
"""


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("wrap", "n_candidates"), [("sampler = mf.Normal()", 10**7), (USERS, 10**6)]
)
def test_memory_does_not_grow_with_candidates(run_python, wrap, n_candidates):
    answer = run_python(MEMORY.format(wrap=wrap, n_candidates=n_candidates))
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) < 64


class Wrong:
    n_params = 4

    def __init__(self, losses):
        self.batch_loss = losses


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_candidates": 0}, "n_candidates is 0"),
        ({"n_candidates": -5}, "n_candidates is -5"),
        ({"top_k": 1001}, "top_k is 1001, but there are 1000 candidates"),
        ({"sampler": mf.Normal([0, 0, 0])}, "the sampler has 3 parameters, but 4"),
        ({"sampler": lambda s, n: np.zeros((n, 3))}, r"sampler\(0, 1\) returned an array of shape"),
        ({"sampler": lambda s, n: np.full((n, 4), np.nan)}, r"sampler\(0, 1\) returned a number"),
        ({"sampler": lambda s, n: np.full((n, 4), np.inf)}, r"sampler\(0, 1\) returned a number"),
        ({"sampler": lambda s, n: None}, r"sampler\(0, 1\) returned"),
        (
            {"sampler": lambda s, n: np.zeros((n if n == 1 else n - 1, 4))},
            r"sampler\(0, \d+\) returned an array of shape",
        ),
        (
            {
                "sampler": lambda s, n: np.where(
                    np.arange(s, s + n)[:, None] == 7, np.nan, [[0] * 4]
                )
            },
            r"sampler\(0, \d+\) returned a number",
        ),
        (
            {"sampler": lambda s, n: GENERATOR.normal(size=(n, 4))},
            r"sampler\(0, 1\) gave two different answers",
        ),
        ({"objective": Wrong(lambda thetas: thetas)}, "batch_loss of"),
        ({"objective": Wrong(lambda thetas: thetas[1:, 0])}, "batch_loss of"),
        ({"objective": Wrong(lambda thetas: 1.0)}, "batch_loss of"),
        ({"objective": Wrong(lambda thetas: None)}, "batch_loss of"),
        ({"metadata": {"a": {1, 2}}}, "metadata"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(wrong, message):
    good = {"objective": OBJECTIVE, "sampler": mf.Normal(), "n_candidates": 1000}
    with pytest.raises((ValueError, TypeError), match=f"^{message}") as caught:
        mf.random_search(**{**good, **wrong})
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and ": " in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mf.Normal(0, 0), "scale is 0.0"),
        (lambda: mf.Normal(0, [1, -1]), "scale is -1.0"),
        (lambda: mf.Normal(np.nan), "loc has a value that is not finite"),
        (lambda: mf.Uniform(0, np.nan), "high has a value that is not finite"),
        (lambda: mf.Uniform(np.nan, 1), "low has a value that is not finite"),
        (lambda: mf.Uniform(2, 1), "low is 2.0 where high is 1.0"),
        (lambda: mf.Integers(2, 1), "low is 2.0 where high is 1.0"),
        (lambda: mf.Integers(0, np.inf), "high has a value that is not finite"),
    ],
)
def test_samplers_refuse_bad_bounds_in_a_sentence(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(".")


# --------------------------------------------------------------------------------------- progress


@pytest.fixture(params=["tqdm", "without tqdm"])
def line(request, monkeypatch):
    """Whether tqdm is there."""
    if request.param == "without tqdm":
        monkeypatch.setitem(sys.modules, "tqdm", None)
    return request.param


def test_progress_writes_on_a_terminal(capsys, line, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    mf.random_search(OBJECTIVE, mf.Normal(), 1000, progress=True)
    assert "best" in capsys.readouterr().err


def test_progress_ends_its_line_when_a_search_fails(capsys, line, small_shards):
    with pytest.raises(ZeroDivisionError):
        mf.random_search(
            OBJECTIVE, mf.Normal(), 1000, progress="always", callback=lambda result: 1 / 0
        )
    assert capsys.readouterr().err.endswith("\n")


def test_progress_of_a_resumed_search_counts_what_was_done_before(capsys, line, tmp_path):
    for _ in range(2):
        mf.random_search(
            OBJECTIVE, mf.Normal(), 1000, checkpoint=tmp_path / "run.db", progress="always"
        )
    assert "100" in capsys.readouterr().err.rsplit("\r", 1)[-1]


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (100, "50.0%  30 of 60 candidates, 5 candidates/s, 25 pairs/s, best 0.5, 6 s left"),
        (70, "50.0%  30 of 60 candidates, 5 candidates/s, best 0.5, 6 s left"),
        (50, "50.0%  30 of 60 candidates, best 0.5, 6 s left"),
        (33, "50.0%  30 of 60 candidates, b"),
    ],
)
def test_our_own_line_fits_the_terminal(capsys, monkeypatch, columns, wanted):
    now = [100.0]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with progress.Progress(True, 60, 20, 5) as line:
        now[0] += 2
        line.update(10, 0.5)
        assert capsys.readouterr().err.strip("\r ") == wanted


def test_where_stderr_is_a_file_a_line_is_written_each_minute(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    written = []
    with progress.Progress(True, 60, 20, None) as line:
        for seconds in (59.0, 1.0, 30.0, 30.0):
            now[0] += seconds
            line.update(5, 0.5)
            written.append(capsys.readouterr().err)
    first = " 50.0%  30 of 60 candidates, 0.167 candidates/s, best 0.5, 180 s left\n"
    assert written[:3] == ["", first, ""] and written[3].startswith(" 66.7%  40 of 60")
    assert capsys.readouterr().err == ""


def test_a_notebook_has_a_bar_of_its_own(capsys, monkeypatch):
    made = []

    class Bar:
        def __init__(self, **options):
            made.append(options)

        def update(self, count):
            made.append(count)

        def set_postfix_str(self, text, refresh):
            made.append(text)

        def close(self):
            made.append("closed")

    monkeypatch.setitem(sys.modules, "ipykernel", progress)
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    with progress.Progress(True, 60, 20, None) as line:
        line.update(5, 0.5)
    assert made[0] == {"total": 60, "initial": 20, "unit": "cand", "unit_scale": True}
    assert made[1:] == [5, "best 0.5", "closed"]


def test_our_own_line_has_the_time_left_and_is_not_written_more_often_than_wanted(
    capsys, monkeypatch
):
    now = [100.0]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    lines = []
    with progress.Progress("always", 60, 20, 5) as line:
        for seconds, count in [(2.0, 10), (0.1, 1), (0.05, 1), (0.1, 8), (0.01, 20)]:
            now[0] += seconds
            line.update(count, 0.5)
            lines.append(capsys.readouterr().err.strip())
    wanted = "30 of 60 candidates, 5 candidates/s, 25 pairs/s, best 0.5, 6 s left"
    assert lines[0] == f"50.0%  {wanted}"
    assert [bool(line) for line in lines] == [True, False, False, True, True]
    assert lines[-1].startswith("100.0%") and lines[-1].endswith(" 0 s left")


@pytest.mark.parametrize(
    "isa, arithmetic", [("baseline", "separate"), ("avx2", "fused"), ("avx512", "fused")]
)
def test_a_result_says_whether_products_were_rounded_apart(monkeypatch, isa, arithmetic):
    monkeypatch.setattr(provenance._kernels, "isa", lambda: (isa, "as wanted"))
    config = mf.random_search(OBJECTIVE, mf.Normal(), 10).config
    assert (config["isa"], config["arithmetic"]) == (isa, arithmetic)


@pytest.mark.parametrize("top_k", [65, 290, 300])
def test_more_of_the_best_than_a_shard_has_candidates_are_those_of_brute_force(monkeypatch, top_k):
    monkeypatch.setattr(shards, "LARGEST_SHARD", 64)
    loss = OBJECTIVE
    found = mf.random_search(loss, mf.Normal(), 300, top_k=top_k)
    losses = loss.sampled_loss(mf.Normal(), 0, 0, 300)
    assert found.top["index"].tolist() == np.argsort(losses, kind="stable")[:top_k].tolist()


def test_a_search_that_is_over_in_one_run_asks_for_no_more_than_brute_force(monkeypatch):
    def refuse(_, losses):
        raise AssertionError

    monkeypatch.setattr(screening.Screening, "note", refuse)
    found, brute = (
        mf.random_search(OBJECTIVE, mf.Normal(), N_CANDIDATES, prune=prune)
        for prune in (True, False)
    )
    assert digest(found) == digest(brute)
    assert found.config["stages"] == brute.config["stages"]
    assert found.rows_evaluated_fraction == 1
    with pytest.raises(AssertionError):  # of more candidates, the first set a threshold
        mf.random_search(OBJECTIVE, mf.Normal(), 100 * N_CANDIDATES)
