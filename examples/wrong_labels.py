"""
Wrong labels far from the others
================================

Wrong labels far from the others: the logistic loss follows them, the rate of errors does not.

One row in twenty has the wrong label, and ten times the norm of the others. Logistic regression
pays for how far such a row is on the wrong side, and turns its plane towards it; for the rate of
errors it is one error among many. That has no gradient: populations of planes find its least value.

Run it: ``python examples/wrong_labels.py``
"""

import matplotlib.pyplot as plt
import numpy as np

import metaopt_fast as mf


def make_data(n_samples, n_features, wrong, rng):
    """Return rows, their labels with some wrong far away, and which labels are right."""
    X = rng.normal(size=(n_samples, n_features))
    truth = X @ np.linspace(-1, 1, n_features) + 0.3 * rng.normal(size=n_samples) > 0
    is_wrong = np.arange(n_samples) < wrong * n_samples
    X[is_wrong] *= 10
    return X, truth ^ is_wrong, truth


def main(n_samples=2000, n_features=10, wrong=0.05, generations=150, seed=0):
    """Print the errors of both on clean rows; return them."""
    rng = np.random.default_rng(seed)
    X, y, _ = make_data(n_samples, n_features, wrong, rng)
    X_test, y_test, _ = make_data(10_000, n_features, 0, rng)
    clean = mf.ConfusionCounts(X_test, y_test, fit_intercept=True)
    error = mf.CountObjective(clean, "error")

    folds = np.arange(n_samples) % 5
    fits = mf.fit_many(X, y, l2=np.logspace(-6, 1, 30), folds=folds)
    l2 = np.logspace(-6, 1, 30)[fits.validation_accuracy.mean(axis=1).argmax()]
    logistic = mf.fit_many(X, y, l2=[l2]).theta[0]

    objective = mf.CountObjective(mf.ConfusionCounts(X, y, fit_intercept=True), "error")
    found = mf.evolve(
        objective, mf.Normal(), method="cem", population=512, generations=generations, seed=seed
    )
    errors = {"logistic regression": error.loss(logistic), "evolve": error.loss(found.theta)}
    print(f"{'':22} error on its rows, {wrong:.0%} wrong   on clean rows")
    for (name, clean_error), theta in zip(errors.items(), (logistic, found.theta), strict=True):
        print(f"{name:22} {objective.loss(theta):30.3f} {clean_error:15.3f}")
    return errors


def draw(errors):
    """Draw the errors of both on clean rows."""
    _, ax = plt.subplots(figsize=(6.4, 2.2), layout="constrained")
    names, values = list(errors), [100 * error for error in errors.values()]
    bars = ax.barh(names, values, color=["#999999", "#0072B2"])
    ax.bar_label(bars, [f"{value:.1f} %" for value in values], padding=4)
    ax.set(xlabel="errors on clean rows, per cent", xlim=(0, 1.15 * max(values)))
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)


if __name__ == "__main__":
    draw(main())
    plt.show()
