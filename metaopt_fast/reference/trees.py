"""Trees of least cost in plain NumPy, which the tests hold `metaopt_fast.best_tree` against."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Best(NamedTuple):
    """A tree of least cost: (feature, tree where it is True, tree where it is False), or None, a
    leaf."""

    cost: float
    n_leaves: int
    tree: Any


def thresholds(column: Array, weights: Array, count: int) -> list[float]:
    """Return the middles between neighbouring values: all, or those at quantiles of the rows."""
    rows = np.sort(np.repeat(column, weights))
    values = np.unique(rows)
    last = values[:-1]
    if len(last) > count:
        at = [-(-k * len(rows) // (count + 1)) - 1 for k in range(1, count + 1)]
        last = np.setdiff1d(rows[at], values[-1:])
    following = values[np.searchsorted(values, last) + 1]
    return [float(a) / 2 + float(b) / 2 for a, b in zip(last, following, strict=True)]


def features(X: Array, weights: Array, count: int) -> Array:
    """Return the answers of all rows to all questions, column by column."""
    questions = [(j, t) for j in range(X.shape[1]) for t in thresholds(X[:, j], weights, count)]
    return np.array([X[:, j] <= t for j, t in questions]).T.reshape(len(X), -1)


def leaf(counts: Array, costs: Array, min_leaf: int) -> Best:
    """Return a leaf: what it costs to decide for the class that costs least."""
    is_possible = counts.sum() >= min_leaf
    cost = float((counts * costs).sum() - (counts * costs).max()) if is_possible else np.inf
    return Best(cost, 1, None)


def best_tree(
    B: Array, y: Array, weights: Array, costs: Array, depth: int, min_leaf: int = 1
) -> Best:
    """Try every tree of a depth over binary features B (n_samples, n_features).

    Of the least cost, it is one of the fewest leaves, then that of the lowest features.
    """
    counts = np.bincount(y, weights, minlength=len(costs))
    best = leaf(counts, costs, min_leaf)
    for f in range(B.shape[1]) if depth > 0 else ():
        yes, no = (
            best_tree(B[side], y[side], weights[side], costs, depth - 1, min_leaf)
            for side in (B[:, f], ~B[:, f])
        )
        found = Best(yes.cost + no.cost, yes.n_leaves + no.n_leaves, (f, yes.tree, no.tree))
        best = found if found[:2] < best[:2] else best
    return best
