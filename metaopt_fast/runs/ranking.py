"""The order of candidates: by (loss, index), and what is not finite last."""

from __future__ import annotations

import numpy as np

from metaopt_fast.typing import Array, BoolArray, Float64Array

TOP_DTYPE = np.dtype([("index", np.int64), ("loss", np.float64)])


def entries(index: Array, losses: Array) -> Array:
    """Return candidates and their losses as one structured array."""
    top = np.empty(len(index), TOP_DTYPE)
    top["index"], top["loss"] = index, losses
    return top


def rank(losses: Array) -> Array:
    """Return the losses as they rank: what is not finite counts as infinity."""
    return np.asarray(np.where(np.isfinite(losses), losses, np.inf))


def select_best(top: Array, top_k: int) -> Array:
    """Return the positions of the top_k entries by (loss, index); what is not finite comes last."""
    losses = rank(top["loss"])
    kept = np.arange(len(top))
    if top_k < len(top):
        kept = np.flatnonzero(losses <= np.partition(losses, top_k - 1)[top_k - 1])
    best: Array = kept[np.lexsort([top["index"][kept], losses[kept]])][:top_k]
    return best


def improvements(top: Array) -> Array:
    """Return the entries, in order of index, that are better than all of a lower index."""
    top = top[np.argsort(top["index"], kind="stable")]
    return top[first_lowest(rank(top["loss"]))]


def first_lowest(ranks: Float64Array) -> BoolArray:
    """Return which numbers are lower than all before them, as the first one is."""
    lowest = np.minimum.accumulate(ranks)
    found = np.ones(len(ranks), np.bool_)
    found[1:] = lowest[1:] < lowest[:-1]
    return found
