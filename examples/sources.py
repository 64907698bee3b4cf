"""
A penalty for each source of features
=====================================

A penalty for each source of features: what it is worth, and what it costs where sources are alike.

Five sources of twenty features each. Where two of them tell the label and three are noise, one
penalty for all either lets the noise in, or shrinks what the two have to say; one for each source
is tuned along the gradient of the validation loss. Where all five tell as much as each other, there
is nothing to find, and a prior that penalties are alike keeps them from being fitted to the folds.

Run it: ``python examples/sources.py``
"""

import matplotlib.pyplot as plt
import numpy as np

import metaopt_fast as mf

SOURCES = np.arange(100) // 20
TELLING = {"two sources tell": [0.4, 0.15, 0, 0, 0], "all tell alike": [0.2] * 5}


def make_data(n_samples, telling, seed):
    """Return rows of standard normal numbers, and labels that sources tell so much of."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 100))
    weights = rng.normal(size=100) * np.repeat(telling, 20)
    return X, rng.random(n_samples) < 1 / (1 + np.exp(-X @ weights))


def main(n_samples=400, n_fresh=5000, seed=0):
    """Print penalties, and log losses on fresh rows; return these losses."""
    losses = {}
    for name, telling in TELLING.items():
        X, y = make_data(n_samples + n_fresh, telling, seed)
        fresh = mf.LogisticLoss(X[n_samples:], y[n_samples:], fit_intercept=True)
        X, y = X[:n_samples], y[:n_samples]
        found = mf.tune_penalties(X, y, feature_groups=SOURCES)
        common = mf.fit_many(X, y, l2=found.scalar_l2).theta[0]
        losses[name] = fresh.loss(common), fresh.loss(found.theta)
        print(f"{name}: log loss on fresh rows")
        print(f"  one penalty   {losses[name][0]:.4f}   l2 = {found.scalar_l2:.3f}")
        shown = ", ".join(f"{l2:.3f}" for l2 in found.l2)
        print(f"  by source     {losses[name][1]:.4f}   l2 = {shown}")
    return losses


def draw(losses):
    """Draw the losses on fresh rows."""
    _, ax = plt.subplots(figsize=(6.4, 3), layout="constrained")
    places = np.arange(len(losses))
    for k, (name, color) in enumerate({"one penalty": "#999999", "by source": "#0072B2"}.items()):
        values = [pair[k] for pair in losses.values()]
        bars = ax.barh(places + 0.4 * k, values, height=0.36, color=color, label=name)
        ax.bar_label(bars, [f"{value:.3f}" for value in values], padding=4)
    ax.set_yticks(places + 0.2, list(losses))
    ax.invert_yaxis()
    ax.set(xlabel="log loss on fresh rows", xlim=(0, 0.9))
    ax.legend(loc="upper right")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)


if __name__ == "__main__":
    draw(main())
    plt.show()
