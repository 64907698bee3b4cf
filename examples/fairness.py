"""
A limit on the gap between two groups
=====================================

A limit on how unlike two groups are treated, and what is left of it on other rows.

The groups have different base rates and a feature that stands for the group. Logistic regression
finds more of the positive rows of one group than of the other. ``evolve`` looks for the plane of
the least error among those whose true positive rates differ by at most max_gap: a count, which no
gradient follows. The limit holds on the rows of the search; on held-out rows it is an estimate, and
the printed gap there says how good.

Run it: ``python examples/fairness.py``
"""

import matplotlib.pyplot as plt
import numpy as np

import metaopt_fast as mf


def make_data(n_samples, rng):
    """Return rows, labels and groups."""
    group = rng.integers(0, 2, n_samples)
    X = rng.normal(size=(n_samples, 6))
    X[:, 5] += 4 * group
    score = X[:, :5] @ [1.0, -0.7, 0.5, 0.3, 0.0] + 1.6 * group - 0.8
    y = rng.uniform(size=n_samples) < 1 / (1 + np.exp(-1.5 * score))
    return X, y, group


def main(n_samples=10_000, max_gap=0.03, generations=80, seed=0):
    """Print error and gap of both, on the rows of the search and on others; return them."""
    rng = np.random.default_rng(seed)
    objectives = {}
    for part, size in (("search", n_samples), ("held out", 2 * n_samples)):
        X, y, group = make_data(size, rng)
        if part == "search":
            logistic = mf.fit_many(X, y, l2=[1e-4]).theta[0]
        counts = mf.ConfusionCounts(X, y, groups=group, fit_intercept=True)
        objectives[part] = mf.CountObjective(counts, "error", gap="tpr", max_gap=max_gap)
    found = mf.evolve(
        objectives["search"],
        logistic,
        scale=0.3,
        method="cem",
        population=512,
        generations=generations,
        seed=seed,
    )
    figures = {}
    for part, objective in objectives.items():
        error = mf.CountObjective(objective.confusion, "error")
        for name, theta in (("logistic regression", logistic), ("evolve", found.theta)):
            figures[part, name] = error.loss(theta), float(objective.gaps([theta])[0])
            print(
                f"{part:10} {name:20} error {figures[part, name][0]:.3f}"
                f"  gap of the true positive rates {figures[part, name][1]:.3f}"
            )
    return figures


def draw(figures):
    """Draw what the limit costs, and what it gains, on both sets of rows."""
    _, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    offset = {"textcoords": "offset points"}
    for part, marker, colour in (("search", "o", "#0072B2"), ("held out", "s", "#D55E00")):
        points = [figures[part, name] for name in ("logistic regression", "evolve")]
        errors, gaps = zip(*points, strict=True)
        ax.plot(gaps, errors, "-", marker=marker, color=colour, label=f"rows: {part}")
        ax.annotate("logistic regression", points[0][::-1], (-8, -12), ha="right", **offset)
        ax.annotate("evolve", points[1][::-1], (8, 4), **offset)
    ax.set(xlabel="gap of the true positive rates", ylabel="rate of errors", xlim=(0, 0.23))
    ax.margins(y=0.2)
    ax.grid(color="0.9")
    ax.legend()


if __name__ == "__main__":
    draw(main())
    plt.show()
