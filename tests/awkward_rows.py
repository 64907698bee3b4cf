"""Data whose margins single precision has few digits of, or that are far from normal otherwise."""

import numpy as np


def rows(rng, kind, n_samples, n_features, far=1e4):
    """Rows of a kind; those "far from 0" are about so far from it."""
    X = rng.standard_normal((n_samples, n_features))
    if kind == "heavy tails":
        X = rng.standard_t(1.5, X.shape) * 10 ** rng.uniform(-2, 2, n_features)
    elif kind == "binary":
        X = rng.integers(0, 2, X.shape).astype(float)
    elif kind == "whole":
        X = rng.integers(-5, 6, X.shape).astype(float)
    elif kind == "far from 0":
        X += far * rng.choice([-1, 1], n_features)
    elif kind == "repeated":
        X = X[rng.integers(0, max(2, n_samples // 5), n_samples)]
    elif kind == "zeros":
        X[rng.random(n_samples) < 0.3] = 0
        X[:, rng.random(n_features) < 0.3] = 0
    elif kind == "constant":
        X[:, 0] = 2.5
        X[:, -1] = 0
    elif kind == "any units":
        X *= np.exp2(rng.uniform(-900, 900, n_features))
    return X


def one_row_of_large_terms(rng, n_samples, n_features, n_candidates):
    """Rows that are one row but for its sign, and candidates whose margins are small differences
    of large terms: single precision has them wrong by a few per cent, all rows alike."""
    row = rng.uniform(1, 2, n_features)
    thetas = rng.uniform(1, 2, (n_candidates, n_features)) * 2.0**13
    thetas[:, n_features // 2 :] *= -1
    thetas[:, -1] = (rng.standard_normal(n_candidates) - thetas[:, :-1] @ row[:-1]) / row[-1]
    y = np.arange(n_samples) == 0
    return np.where(y[:, None], row, -row), y, thetas
