"""Some rows of what is packed already: subsets of an objective, and mini-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.packing import (
    BLOCK_ROWS,
    CHUNK_ROWS,
    PANEL_ROWS,
    Origin,
    Packed,
    aligned_zeros,
    arrange,
    row_norms,
)
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import IndexArray


@shielded
def subset(packed: Packed, n_params: int, rows: IndexArray) -> Packed:
    """Return what `pack` would make of these rows of X, y and sample_weight."""
    positive = packed.origin.positive[rows]
    if positive.all() or not positive.any():
        raise ValueError(
            f"the {len(rows)} rows are all of one class: pass rows that hold both of them."
        )
    weights = np.ones(len(rows))
    if packed.origin.weights is not None:
        weights = packed.origin.weights[rows]
        if not weights.any():
            raise ValueError(
                "sample_weight is 0 for all of the rows: pass at least one row of positive weight."
            )
        weights = np.ldexp(weights, 1 - math.frexp(weights.max())[1])
    own_weights = None if packed.origin.weights is None else weights
    shape = (len(rows), packed.n_features)
    read = partial(gathered, packed, n_params, packed.origin.places[rows])
    norms = row_norms(read, np.flatnonzero(weights), shape, packed.dtype)
    return arrange(
        read,
        np.ones(len(rows)),  # the panels have the signs
        norms,
        weights,
        Origin(np.empty(0, np.int32), positive, own_weights),
        packed.n_features,
        n_params > packed.n_features,
        packed.dtype,
    )


def gathered(
    packed: Packed, n_params: int, places: npt.NDArray[np.signedinteger[Any]], rows: IndexArray
) -> Iterator[tuple[npt.NDArray[np.float64], IndexArray]]:
    """Yield packed rows in C order as float64, some at a time, signs and intercept included."""
    panels = packed.panels.view(packed.dtype).reshape(-1, n_params, PANEL_ROWS)
    for first in range(0, len(rows), CHUNK_ROWS):
        part = rows[first : first + CHUNK_ROWS]
        place = places[part]
        chunk = panels[place // PANEL_ROWS, :, place % PANEL_ROWS]
        yield np.ascontiguousarray(chunk, np.float64), part


def permutation(seed: int, epoch: int, n: int) -> IndexArray:
    """Return 0 .. n - 1 in an order that is a pure function of (seed, epoch).

    The numbers are sorted by the words that Philox4x64-10 makes of the key (seed, epoch).
    """
    words = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(n)
    return np.argsort(words, kind="stable")


@shielded
def minibatches(packed: Packed, n_params: int, size: int, seed: int, epoch: int) -> list[Packed]:
    """Return the mini-batches of one epoch, in order: the last one has the rows that remain.

    Rows of weight 0 are in none. All batches share one copy of the rows, in the epoch's order.
    """
    kept = np.flatnonzero(packed.origin.places >= 0)
    kept = kept[permutation(seed, epoch, len(kept))]
    size = min(size, len(kept))
    starts = np.arange(0, len(kept), size)
    # Each batch begins with a panel of its own.
    panels_of_batch = -(-size // PANEL_ROWS)
    row = np.arange(len(kept))
    target = row // size * (panels_of_batch * PANEL_ROWS) + row % size
    n_places = (int(target[-1]) // PANEL_ROWS + 1) * PANEL_ROWS

    panels = aligned_zeros(n_places * n_params * np.dtype(packed.dtype).itemsize)
    filled = panels.view(packed.dtype).reshape(-1, n_params, PANEL_ROWS)
    source = packed.panels.view(packed.dtype).reshape(-1, n_params, PANEL_ROWS)
    places = packed.origin.places[kept]
    for first in range(0, len(kept), CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        into, place = target[part], places[part]
        filled[into // PANEL_ROWS, :, into % PANEL_ROWS] = source[
            place // PANEL_ROWS, :, place % PANEL_ROWS
        ]

    weights, row_weights = None, None
    if packed.origin.weights is not None:
        weights = packed.origin.weights[kept]
        # A batch of small weights keeps their digits in single precision.
        exponents = 1 - np.frexp(np.maximum.reduceat(weights, starts))[1]
        weights = np.ldexp(weights, exponents[row // size])
        row_weights = aligned_zeros(n_places * filled.itemsize)
        row_weights.view(packed.dtype)[target] = weights

    batches, panel_bytes = [], PANEL_ROWS * filled.itemsize
    for k, start in enumerate(starts):
        rows = kept[start : start + size]
        own = slice(k * panels_of_batch, (k + 1) * panels_of_batch)
        own_weights = None if weights is None else weights[start : start + size]
        blocks = np.arange(0, len(rows), BLOCK_ROWS)
        batches.append(
            replace(
                packed,
                n_samples=len(rows),
                panels=_bytes(panels, own, panel_bytes * n_params),
                row_weights=None if row_weights is None else _bytes(row_weights, own, panel_bytes),
                first_panel=blocks // PANEL_ROWS,
                block_rows=np.minimum(BLOCK_ROWS, len(rows) - blocks).astype(np.intc),
                block_weights=np.ones(len(blocks)),
                total_weight=float(len(rows)) if own_weights is None else math.fsum(own_weights),
                origin=Origin(np.arange(len(rows)), packed.origin.positive[rows], own_weights),
            )
        )
    return batches


def _bytes(memory: npt.NDArray[np.uint8], panels: slice, size: int) -> npt.NDArray[np.uint8]:
    return memory[panels.start * size : panels.stop * size]
