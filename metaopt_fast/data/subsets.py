"""Some rows of what is packed already: subsets of an objective, and mini-batches."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from metaopt_fast.data.order import lay_out
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import Unpacked, arrange
from metaopt_fast.data.rows import Divisible
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import IndexArray

SomeRows = TypeVar("SomeRows", bound=Divisible)


@shielded
def subset(
    packed: Packed, rows: IndexArray, n_threads: int = 1, *, by_class: bool = False
) -> Packed:
    """Return what `pack` would make of these rows of X, y and sample_weight.

    Where rows are packed class by class, they need not hold all classes.
    """
    labels, weights = packed.origin.labels[rows], packed.origin.weights
    if not by_class and labels.min() == labels.max():
        raise ValueError(
            f"the {len(rows)} rows are all of one class: pass rows that hold both of them."
        )
    if weights is not None:
        weights = weights[rows]
        if not weights.any():
            raise ValueError(
                "sample_weight is 0 for all of the rows: pass at least one row of positive weight."
            )
        weights = np.ldexp(weights, 1 - math.frexp(weights.max())[1])

    # The panels have the classes' signs, and the columns of ones.
    n_constants = packed.n_columns - packed.n_features
    numbers = packed.numbers(rows)
    some = Unpacked(
        numbers,
        1.0,
        False,
        packed.signed,
        labels,
        weights,
        packed.n_features,
        n_constants,
        packed.dtype,
    )
    memory = packed.memory
    norms = memory.empty(len(rows), np.float64)
    numbers.row_norms(packed.n_features, packed.dtype == "float32", norms, n_threads)
    strata = labels.astype(np.intp) if by_class else None
    layout = lay_out(len(rows), norms, weights, strata, n_threads, memory)
    return arrange(some, layout, n_threads, memory)


def permutation(seed: int, epoch: int, n: int) -> IndexArray:
    """Return 0 .. n - 1 in an order that is a pure function of (seed, epoch).

    The numbers are sorted by the words that Philox4x64-10 makes of the key (seed, epoch).
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    return np.argsort(words, kind="stable")


@shielded
def minibatches(rows: SomeRows, size: int, seed: int, epoch: int) -> list[SomeRows]:
    """Return the mini-batches of one epoch, in order: the last one has the rows that remain.

    Rows of weight 0 are in none. All batches share one copy of the rows, in the epoch's order.
    """
    kept = rows.kept
    kept = kept[permutation(seed, epoch, len(kept))]
    return rows.split([kept[first : first + size] for first in range(0, len(kept), size)])
