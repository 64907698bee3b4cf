"""What dropping candidates early gains: CPU time of brute force over that of the same search.

``python benches/pruning.py table [WORD ...] [/N]`` prints a line for each search whose name has one
of the words, set-up included, of an Nth of the candidates where brute force would take minutes;
``sweep [SEED]`` the ratios of 60 random shapes and scales; ``counts`` the same of confusion counts
and areas under the ROC curve, and of all models of a box.
On one thread, the least of some rounds of both in turn, in one process. Brute force takes the same
time for each candidate: of a long search, it evaluates a part. Bytes are compared with brute force
where that evaluates all, else with those of a search that drops by sums alone.
"""

import os
import sys
import time
from unittest import mock

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # set-ups are on one thread, too

import numpy as np

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.objectives import screening
from metaopt_fast.samplers.box import Box

# Seconds that each side of a line may take, about.
SECONDS = 2.0
# Of searches that are over at once, so many rounds, or for so long.
MOST_ROUNDS, BRIEF = 100, 0.3


def breast_cancer():
    X, y, _ = load_breast_cancer()
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def digits():
    from sklearn.datasets import load_digits
    from sklearn.preprocessing import StandardScaler

    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X[:, X.any(axis=0)], (y < 5).astype(int)


def synthetic(n_samples, n_features, tails=None):
    rng = np.random.default_rng(0)
    shape = n_samples, n_features
    X = rng.standard_normal(shape) if tails is None else rng.standard_t(tails, shape)
    margins = X @ rng.standard_normal(n_features) / n_features**0.5
    return X, (margins + rng.logistic(size=n_samples) > 0).astype(int)


# Data, whether with an intercept, candidates, and the scale of candidates around the optimum.
PROBLEMS = {
    "breast_cancer": (breast_cancer, True, 1_000_000, 0.1),
    "1000x10": (lambda: synthetic(1000, 10), False, 1_000_000, 0.1),
    "10000x30": (lambda: synthetic(10_000, 30), False, 1_000_000, 0.1),
    "digits": (digits, True, 200_000, 0.1),
    "heavy tails 10000x31": (lambda: synthetic(10_000, 31, 4.0), False, 100_000, 0.1),
    "100000x100": (lambda: synthetic(100_000, 100), False, 100_000, 0.1),
    "20000x784": (lambda: synthetic(20_000, 784), False, 10_000, 0.1),
    "one shard of breast_cancer": (breast_cancer, True, 100_000, 0.1),
    "one shard of digits": (digits, True, 20_000, 0.1),
    "one shard of 10000x30": (lambda: synthetic(10_000, 30), False, 8000, 0.1),
}
WHERE = ("N(0, 1)", "around the optimum")


def cpu_seconds(call):
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def by_sums_alone(self, way, *_):
    return way


def told(found):
    """Stages that were used, or why not."""
    return ", ".join(f"{name} {use}" for name, use in found.config["stages"].items())


def same_bytes(found, whole):
    return found.top.tobytes() == whole.top.tobytes()


def compared(objective, sampler, count, top_k, rounds, part=None):
    """Return CPU seconds of brute force and of the search, whether bytes agree, and the result."""
    part = count if part is None else part
    brute, fast = [], []
    while len(brute) < rounds or (sum(brute) < BRIEF and len(brute) < MOST_ROUNDS):
        used, whole = cpu_seconds(
            lambda: mf.random_search(
                objective, sampler, part, seed=3, top_k=min(top_k, part), prune=False
            )
        )
        brute.append(used * count / part)
        used, found = cpu_seconds(
            lambda: mf.random_search(objective, sampler, count, seed=3, top_k=top_k)
        )
        fast.append(used)
        if sum(fast) > SECONDS:
            break
    if part < count:
        some = {"seed": 3, "top_k": top_k}
        with mock.patch.object(screening.Screening, "_next", by_sums_alone):
            whole = mf.random_search(objective, sampler, min(count, 8 * part), **some)
        if whole.n_evaluated < count:
            found_there = mf.random_search(objective, sampler, whole.n_evaluated, **some)
            return min(brute), min(fast), same_bytes(found_there, whole), found
    return min(brute), min(fast), same_bytes(found, whole), found


def table(words):
    parts = [int(word[1:]) for word in words if word[:1] == "/"]
    words = [word for word in words if word[:1] != "/"]
    for name, (data, fit_intercept, count, scale) in PROBLEMS.items():
        if words and not any(word in name for word in words):
            continue
        count //= parts[0] if parts else 1
        X, y = data()
        objective = mf.LogisticLoss(X, y, fit_intercept=fit_intercept, n_threads=1)
        optimum = mf.fit_many(X, y, l2=[1e-3], fit_intercept=fit_intercept).theta[0]
        pair = 1e-9 * (0.5 + objective.n_params / 25)
        part = min(count, max(512, int(SECONDS / 5 / pair / objective.n_samples)))
        for where, sampler in zip(WHERE, (mf.Normal(), mf.Normal(optimum, scale)), strict=True):
            for top_k in (1, 100):
                brute, fast, same, found = compared(objective, sampler, count, top_k, 3, part)
                print(
                    f"{name}, {objective.n_samples}x{objective.n_params}, {count:,} candidates, "
                    f"{where}, top {top_k}: {brute / fast:.1f} times ({brute:.2f} s / {fast:.3f} s"
                    f", {found.rows_evaluated_fraction:.2%} of the pairs; "
                    f"{told(found)}), {'same' if same else 'OTHER'} bytes",
                    flush=True,
                )


def sweep(seed):
    rng = np.random.default_rng(seed)
    ratios = []
    for _ in range(60):
        n_samples, n_features = int(10 ** rng.uniform(1.5, 4.5)), int(10 ** rng.uniform(0, 2))
        scale, top_k = float(10 ** rng.uniform(-6, 1)), int(rng.choice([1, 10, 100]))
        tails = [None, 3.0][int(rng.integers(2))]
        X, y = synthetic(n_samples, n_features, tails)
        l2 = float(rng.choice([0.0, 1e-3]))
        objective = mf.LogisticLoss(X, y, l2=l2, n_threads=1)
        near = bool(rng.integers(2))
        loc = mf.fit_many(X, y, l2=[1e-3], fit_intercept=False).theta[0] if near else 0.0
        work = 2e-9 * n_samples * (0.5 + n_features / 25)
        count = max(top_k, int(10 ** rng.uniform(2, 5)))
        count = max(top_k, min(count, int(0.15 / work)))
        brute, fast, same, found = compared(objective, mf.Normal(loc, scale), count, top_k, 5)
        ratios.append(brute / fast)
        print(
            f"{n_samples}x{n_features}{' heavy' if tails else ''}, {count} candidates, "
            f"{'optimum' if near else '0'}, scale {scale:.1e}, top {top_k}: {ratios[-1]:.2f} "
            f"({told(found)}), {'same' if same else 'OTHER'} bytes",
            flush=True,
        )
    print(
        f"least {min(ratios):.2f}, median {np.median(ratios):.2f}; "
        f"{sum(ratio < 1 / 1.05 for ratio in ratios)} slower than brute force by 5 %"
    )


def line(name, objective, sampler, count, top_k):
    brute, fast, same, found = compared(objective, sampler, count, top_k, 5)
    print(
        f"{name}, {count:,} candidates, top {top_k}: {brute / fast:.2f} times ({brute:.3f} s / "
        f"{fast:.3f} s, {found.rows_evaluated_fraction:.2%} of the pairs), "
        f"{'same' if same else 'OTHER'} bytes",
        flush=True,
    )


def counts():
    for name, count in (("breast_cancer", 50_000), ("1000x10", 50_000), ("10000x30", 10_000)):
        data, fit_intercept, *_ = PROBLEMS[name]
        X, y = data()
        options = {"fit_intercept": fit_intercept, "n_threads": 1}
        tables = mf.ConfusionCounts(X, y, **options)
        for top_k in (1, 100):
            for metric in ("error", "balanced_error"):
                objective = mf.CountObjective(tables, metric)
                line(f"{metric}, {name}", objective, mf.Normal(), count, top_k)
        line(f"AUC, {name}", mf.AUCObjective(X, y, **options), mf.Normal(), count // 10, 1)
    X, y = synthetic(1000, 10)
    box = Box(mf.Integers(-1, 2), 10)
    line("all of a box, 1000x10", mf.LogisticLoss(X, y, n_threads=1), box, box.n_models, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sweep"]:
        sweep(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    elif sys.argv[1:2] == ["counts"]:
        counts()
    else:
        table(sys.argv[2:])
