"""What tests of fits share: a problem, and what the twins in NumPy take of it."""

import numpy as np

from metaopt_fast.reference import fitting as reference_fitting


def problem(n_samples=80, n_features=6, seed=0):
    """Rows that no plane separates, their labels, folds and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + rng.normal(size=n_features)
    y = (X @ rng.normal(size=n_features) + 2 * rng.normal(size=n_samples) > 0.5).astype(int)
    return X, y, np.arange(n_samples) % 3, rng.integers(0, 4, n_samples).astype(float)


def of_training(X, y, weights, class_weight=None):
    """What the twin takes of rows: rows, which are positive, weights that sum to 1."""
    used = weights > 0
    w = weights[used] * reference_fitting.of_class(class_weight, y[used] == 1, weights[used])
    return X[used], y[used] == 1, w / w.sum()
