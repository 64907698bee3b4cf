"""
Four metamodels, the same calls
===============================

Which metamodel to take when: the same tuning calls over four of them.

Logistic regression, a linear support vector machine, small networks and the best tree of three
questions are tuned by cross-validation on three data sets, and judged on held-out rows. What
depends on a seed is searched five times: the run with the median error is printed, and the range of
the five. The intervals come from the held-out rows, resampled: these rows do not separate models
whose intervals largely overlap.

Run it: ``python examples/metamodels.py [N_CANDIDATES [N_ROWS [N_SEEDS]]]``    (needs scikit-learn)
"""

import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.sklearn import (
    BestTreeClassifier,
    LinearSVC,
    LogisticRegressionSearchCV,
    NetworkSearchCV,
)


def rings(n_samples):
    """Return points of two classes, one around the other, and six columns that say nothing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 8))
    return X, (X[:, :2] ** 2).sum(axis=1) + 0.3 * rng.normal(size=n_samples) > 1.4


def data_sets(n_samples):
    """Yield the name of each data set, its columns, and its labels of two classes."""
    yield "breast cancer", *load_breast_cancer()[:2]
    X, y = load_digits(return_X_y=True)
    yield "digits, even or odd", X[:n_samples], y[:n_samples] % 2
    yield "rings", *rings(n_samples)


def metamodels(n_iter, seed):
    """Return a search of each metamodel: all are fitted, and predict, in the same way."""
    penalties = {"C": np.geomspace(1e-3, 10, n_iter)}
    leaves = {"min_leaf": [1, 5, 20]}
    return {
        "logistic regression": LogisticRegressionSearchCV(
            n_iter, scoring="accuracy", random_state=seed
        ),
        "support vector machine": GridSearchCV(LinearSVC(), penalties),
        "network, 16 units": NetworkSearchCV(n_iter, scoring="accuracy", random_state=seed),
        "tree of 3 questions": GridSearchCV(BestTreeClassifier(), leaves),
    }


def interval(wrong, n_resamples=2000):
    """Return the bounds between which 95 % of the resampled error rates lie."""
    weights = mf.bootstrap_weights(len(wrong), n_resamples, seed=0)
    rates = (weights * wrong).sum(axis=1) / weights.sum(axis=1)
    return np.quantile(rates, [0.025, 0.975])


def judged(search, train, labels, test, truth):
    """Return which held-out rows are decided wrongly, and the seconds that a search takes."""
    started = time.perf_counter()
    search.fit(train, labels)
    seconds = time.perf_counter() - started
    return search.best_estimator_.predict(test) != truth, seconds


def main(n_iter=24, n_samples=1797, n_seeds=5):
    """Print errors on held-out rows and seconds; return rates and bounds, by data and model."""
    figures = {}
    for name, X, y in data_sets(n_samples):
        train, test, labels, truth = train_test_split(
            X, y, test_size=0.4, stratify=y, random_state=0
        )
        mean, scale = train.mean(axis=0), train.std(axis=0)
        train, test = ((rows - mean) / np.where(scale > 0, scale, 1) for rows in (train, test))
        print(f"\n{name}: {len(train)} rows to train on, {len(test)} held out")
        by_seed = [metamodels(n_iter, seed) for seed in range(n_seeds)]
        for metamodel, first in by_seed[0].items():
            is_random = "random_state" in first.get_params()
            searches = [one[metamodel] for one in by_seed] if is_random else [first]
            runs = [judged(search, train, labels, test, truth) for search in searches]
            runs.sort(key=lambda run: run[0].mean())
            wrong, seconds = runs[len(runs) // 2]
            least, most = runs[0][0].mean(), runs[-1][0].mean()
            low, high = interval(wrong)
            figures[name, metamodel] = wrong.mean(), low, high
            print(
                f"  {metamodel:24}{wrong.mean():7.1%} wrong, {low:.1%} to {high:.1%}"
                f"{seconds:9.2f} s" + (f", seeds {least:.1%} to {most:.1%}" if is_random else "")
            )
    return figures


def draw(figures):
    """Draw the errors on held-out rows with their intervals, data set by data set."""
    names = list(dict.fromkeys(data for data, _ in figures))
    _, axes = plt.subplots(
        1, len(names), figsize=(3.2 * len(names), 2.6), sharey=True, layout="constrained"
    )
    for ax, name in zip(axes, names, strict=True):
        found = {metamodel: rates for (data, metamodel), rates in figures.items() if data == name}
        for place, (rate, low, high) in enumerate(found.values()):
            ax.plot([low, high], [place, place], color="0.6", linewidth=3, solid_capstyle="round")
            ax.plot(rate, place, "o", color="#0072B2")
        ax.set(xlabel="wrong on held-out rows", title=name, xlim=(0, None))
        ax.set_yticks(range(len(found)), list(found))
        ax.grid(axis="x", color="0.9")
    axes[0].invert_yaxis()  # which all share


if __name__ == "__main__":
    draw(main(*map(int, sys.argv[1:])))
    plt.show()
