"""One hash for one call: over numbers of threads, batches, shards, AVX2 and AVX-512."""

import hashlib
import json
from functools import cache

import every_call
import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.search import shards

rng = np.random.default_rng(0)
# Rows that leave a panel and a block unfilled, candidates that leave a tile unfilled.
X = rng.normal(size=(3001, 9))
Y = X @ rng.normal(size=9) + rng.normal(size=len(X)) > 0
WEIGHTS = rng.uniform(0.5, 2.0, len(X))
THETAS = rng.normal(size=(203, 10))
GROUPS = np.arange(len(X)) % 3
METHODS = ("gd", "momentum", "nesterov", "adagrad", "rmsprop", "adamw", "lbfgs")
EVOLUTIONS = ("cem", "snes", "ars", "shrinking", "integer_local_search")
THREADS = tuple(range(1, 9))


def bits(*arrays):
    return hashlib.sha256(b"|".join(np.asarray(a).tobytes() for a in arrays)).hexdigest()


def loss(n_threads, dtype="float64"):
    data = {"sample_weight": WEIGHTS, "fit_intercept": True, "dtype": dtype}
    return mf.LogisticLoss(X, Y, l2=1e-3, n_threads=n_threads, **data)


def confusion(n_threads):
    data = {"sample_weight": WEIGHTS, "fit_intercept": True, "groups": GROUPS}
    return mf.ConfusionCounts(X, Y, thresholds=[0.3, 0.5], n_threads=n_threads, **data)


def areas(n_threads):
    data = {"sample_weight": WEIGHTS, "fit_intercept": True}
    return mf.AUCObjective(X, Y, n_threads=n_threads, **data)


def descend(n_threads, method):
    rate = None if method in ("gd", "nesterov", "lbfgs") else 0.05
    options = {"method": method, "learning_rate": rate, "max_iter": 12}
    run = mf.gradient_descent(loss(n_threads), THETAS[:5], **options)
    return bits(run.theta, run.trace)


def evolve(n_threads, method):
    start = mf.Integers(-3, 3) if method == "integer_local_search" else mf.Normal()
    options = {"population": 24, "generations": 6, "seed": 2, "top_k": 3}
    run = mf.evolve(loss(n_threads), start, method=method, **options)
    return bits(run.top, run.top_thetas, run.trace)


def search(n_threads, sampler):
    found = mf.random_search(loss(n_threads), sampler, 3000, seed=4, top_k=7, n_threads=n_threads)
    return bits(found.top, found.top_thetas, found.trace)


def train(n_threads):
    fits = mf.fit_many(X, Y, l2=[1e-3, 1e-1], folds=GROUPS, n_threads=n_threads)
    return bits(fits.theta)


# From a name to a hash, given a number of threads.
CALLS = {
    "loss": lambda n: bits(loss(n).loss(THETAS[0])),
    "gradient": lambda n: bits(*loss(n).loss_gradient(THETAS[0]), loss(n).gradient(THETAS[1])),
    "batch_loss": lambda n: bits(loss(n).batch_loss(THETAS)),
    "batch_loss in single precision": lambda n: bits(loss(n, "float32").batch_loss(THETAS)),
    "batch_loss_gradient": lambda n: bits(*loss(n).batch_loss_gradient(THETAS)),
    "counts": lambda n: bits(confusion(n).batch_counts(THETAS)),
    "auc": lambda n: bits(areas(n).batch_auc(THETAS)),
    "random_search by Normal": lambda n: search(n, mf.Normal()),
    "random_search by Uniform": lambda n: search(n, mf.Uniform(-1, 1)),
    "random_search by Integers": lambda n: search(n, mf.Integers(-3, 3, max_nonzero=4)),
    "fit_many": train,
    **{f"gradient_descent by {m}": lambda n, m=m: descend(n, m) for m in METHODS},
    **{f"evolve by {m}": lambda n, m=m: evolve(n, m) for m in EVOLUTIONS},
}


# Of areas alone there is what no other test reaches: see tests/hardening/blocks.py.
MARKS = {"auc": pytest.mark.sanitized}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, ())) for n in CALLS])
def test_any_number_of_threads_from_1_to_8_gives_the_same_bits(name):
    assert {CALLS[name](n_threads) for n_threads in THREADS} == {CALLS[name](None)}


HASHES = "import test_same_bits as t; print({name: call(3) for name, call in t.CALLS.items()})"


@pytest.mark.long
@pytest.mark.skipif(
    "avx512" not in _kernels.supported_isas(), reason="this processor has no AVX-512"
)
def test_avx2_and_avx512_give_the_same_bits_of_every_call(run_python):
    hashes = {isa: run_python(HASHES, METAOPT_FAST_ISA=isa) for isa in ("avx2", "avx512")}
    assert {done.returncode for done in hashes.values()} == {0}, hashes
    assert hashes["avx2"].stdout == hashes["avx512"].stdout
    assert hashes["avx2"].stdout.count("'") == 4 * len(CALLS)


# NumPy of a processor without the vectors that it found here; another BLAS; other threads.
PROCESSORS = {
    "one thread, NumPy without vectors": {
        "METAOPT_FAST_ISA": "avx2",
        "OMP_NUM_THREADS": "1",
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            np.show_config("dicts")["SIMD Extensions"].get("found", [])
        ),
    },
    "two threads, the BLAS of Haswell": {
        "METAOPT_FAST_ISA": _kernels.supported_isas()[0],
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "three threads, the BLAS of Nehalem": {
        "METAOPT_FAST_ISA": "avx2",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENBLAS_NUM_THREADS": "1",
    },
}


@pytest.mark.long
@pytest.mark.skipif("avx2" not in _kernels.supported_isas(), reason="this processor has no AVX2")
@pytest.mark.parametrize("name", PROCESSORS)
def test_every_public_call_gives_the_same_bits_on_other_processors(run_python, name):
    program = "import json, every_call; print(json.dumps(every_call.digests()))"
    done = run_python(program, **PROCESSORS[name])
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout), own_digests()
    assert [call for call in ours if theirs[call] != ours[call]] == []


@cache
def own_digests():
    return every_call.digests()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("size", [1, 7, 64, 202])
def test_batches_cut_anywhere_give_the_same_bits(size):
    def in_batches(call):
        parts = [call(THETAS[at : at + size]) for at in range(0, len(THETAS), size)]
        return bits(np.concatenate(parts))

    calls = (loss(2).batch_loss, confusion(2).batch_counts, areas(2).batch_loss)
    gradients = (lambda thetas: loss(2).batch_loss_gradient(thetas)[1],)
    for call in calls + gradients:
        assert in_batches(call) == bits(call(THETAS))


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("largest", [64, 192, 1024])
def test_shards_of_any_size_give_the_same_bits(monkeypatch, largest):
    wanted = search(2, mf.Normal())
    monkeypatch.setattr(shards, "LARGEST_SHARD", largest)
    assert search(2, mf.Normal()) == wanted
    parts = [
        mf.random_search(loss(1), mf.Normal(), count, start=start, seed=4, top_k=7)
        for start, count in ((1000, 2000), (0, 1000))
    ]
    merged = mf.merge_results(parts)
    assert bits(merged.top, merged.top_thetas, merged.trace) == wanted


def test_what_differs_has_another_hash():
    assert len({call(1) for call in CALLS.values()}) == len(CALLS)
