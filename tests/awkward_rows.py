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
