"""How often a race of descents finds what the whole search finds, and for what part of its passes.

    python benches/racing.py [--seeds 10]

For each data set and method, of so many seeds: in how many the best candidate is the same, the
largest excess of the validation loss over that of the whole search, and the passes of the race over
those of the whole search, as `constants` of `metaopt_fast/selection/racing.py` quote them.
"""

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

import metaopt_fast as mf

RACES = {"halving 2": {}, "halving 3": {"reduction": 3, "n_rungs": 2}, "hyperband 3": {}}
METHODS = {
    "adam by mini-batches": ({"method": "adam", "batch_size": 32}, (1e-4, 0.1)),
    "adam": ({"method": "adam"}, (1e-3, 0.3)),
    "nesterov": ({"method": "nesterov"}, (1e-3, 0.3)),
}


def data():
    """Rows and labels by name: two data sets, and one that is made."""
    yield "breast_cancer", *load_breast_cancer(return_X_y=True)
    X, y = load_digits(return_X_y=True)
    yield "digits, 5 to 9", X[:, X.std(axis=0) > 0], y >= 5
    rng = np.random.default_rng(3)
    X = rng.normal(size=(600, 100))
    margins = 0.4 * X[:, :20] @ rng.normal(size=20) + 0.15 * X[:, 20:40] @ rng.normal(size=20)
    yield "made, 600 x 100", X, rng.random(600) < 1 / (1 + np.exp(-margins))


def compare(train, held_out, asked, rates, n_seeds):
    """Return, of each race, hits, excesses and parts of the passes by seed."""
    found = {name: [] for name in RACES}
    samplers = {"learning_rate": mf.LogUniform(*rates), "l2": mf.LogUniform(1e-4, 1)}
    n, per_end = 96, 2 if "batch_size" in asked else 1
    for seed in range(n_seeds):
        asked |= {"validation": held_out, "early_stopping": True, "max_iter": 100, "seed": seed}
        whole = mf.search_descents(train, samplers, n, top_k=n, batch=n, **asked)
        passes = whole.runs.n_iter.sum() + n * per_end
        for name, options in RACES.items():
            kind = name.split()[0]
            raced = mf.search_descents(train, samplers, n, racing=kind, **options, **asked)
            is_same = raced.search.index == whole.search.index
            excess = raced.loss / whole.loss - 1
            found[name].append((is_same, excess, raced.race.passes / passes))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    n_seeds = parser.parse_args().seeds
    sums = dict.fromkeys(RACES, 0)
    print("| data | method | " + " | ".join(RACES) + " |")
    for name, X, y in data():
        objective = mf.LogisticLoss(mf.standardize(X)[0], y, fit_intercept=True)
        is_held_out = np.arange(len(y)) % 4 == 0
        parts = objective.subset(~is_held_out), objective.subset(is_held_out)
        for method, (asked, rates) in METHODS.items():
            cells = []
            for race, rows in compare(*parts, dict(asked), rates, n_seeds).items():
                hits, excess, passes = np.transpose(rows)
                sums[race] += int(hits.sum())
                cells.append(f"{int(hits.sum())}, {excess.max():.2%}, {passes.mean():.3f}")
            print(f"| {name} | {method} | " + " | ".join(cells) + " |", flush=True)
    print("found:", ", ".join(f"{race} {count}" for race, count in sums.items()))


if __name__ == "__main__":
    main()
