"""Batches of packed rows, as packed rows of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.rows import BLOCK_ROWS, PANEL_ROWS
from metaopt_fast.typing import Float64Array, IndexArray

if TYPE_CHECKING:
    from metaopt_fast.data.packed import Labels, Packed


class Copied(NamedTuple):
    """The rows of all batches, one batch behind the other, each from a panel of its own on."""

    panels: npt.NDArray[np.uint8]
    labels: Labels
    weights: Float64Array | None  # of the rows, in their order; None: all are 1
    row_weights: npt.NDArray[np.uint8] | None


def split(packed: Packed, batches: Sequence[IndexArray]) -> list[Packed]:
    """Return each batch of rows of X, none of weight 0; all share one copy of the rows."""
    sizes = np.array([len(batch) for batch in batches])
    n_panels = -(-sizes // PANEL_ROWS)
    first_panel = np.cumsum(n_panels) - n_panels
    copied = _copied(packed, np.concatenate(batches), sizes, first_panel)
    blocks_of = {size: _blocks(size) for size in set(sizes.tolist())}
    starts = (np.cumsum(sizes) - sizes).tolist()
    ends = (first_panel + n_panels).tolist()
    parts = []
    for size, start, first, end in zip(
        sizes.tolist(), starts, first_panel.tolist(), ends, strict=True
    ):
        weights = None if copied.weights is None else copied.weights[start : start + size]
        first_panels, block_rows = blocks_of[size]
        labels = copied.labels[first * PANEL_ROWS : end * PANEL_ROWS]
        row_bytes = np.dtype(packed.dtype).itemsize * PANEL_ROWS
        panel_bytes = row_bytes * packed.n_columns
        parts.append(
            replace(
                packed,
                n_samples=size,
                labels=labels,
                panels=copied.panels[first * panel_bytes : end * panel_bytes],
                row_weights=None
                if copied.row_weights is None
                else copied.row_weights[first * row_bytes : end * row_bytes],
                first_panel=first_panels,
                block_rows=block_rows,
                block_weights=np.ones(len(block_rows)),
                total_weight=float(size) if weights is None else math.fsum(weights.tolist()),
                origin=packed.origin._replace(
                    positions=np.arange(size), labels=labels[:size], weights=weights
                ),
            )
        )
    return parts


def _copied(packed: Packed, rows: IndexArray, sizes: IndexArray, first_panel: IndexArray) -> Copied:
    starts = np.cumsum(sizes) - sizes
    target = np.arange(len(rows)) + np.repeat(first_panel * PANEL_ROWS - starts, sizes)
    n_panels = int(first_panel[-1]) - int(-sizes[-1] // PANEL_ROWS)
    n_positions, itemsize = PANEL_ROWS * n_panels, np.dtype(packed.dtype).itemsize
    panels = packed.memory.zeros(n_positions * packed.n_columns * itemsize)
    row_at = np.full(n_positions, -1, np.intp)
    row_at[target] = np.arange(len(rows))
    packed.numbers(rows).pack(
        row_at,
        None,
        None,
        1.0,
        np.arange(0, n_panels, BLOCK_ROWS // PANEL_ROWS),
        packed.n_columns,
        packed.dtype == "float32",
        panels,
        n_threads=1,
    )
    labels = np.zeros(n_positions, packed.labels.dtype)
    labels[target] = packed.origin.labels[rows]
    if packed.origin.weights is None:
        return Copied(panels, labels, None, None)
    weights = packed.origin.weights[rows]
    # A batch of small weights keeps their digits in single precision.
    exponents = 1 - np.frexp(np.maximum.reduceat(weights, starts))[1]
    weights = np.ldexp(weights, np.repeat(exponents, sizes))
    row_weights = packed.memory.zeros(n_positions * itemsize)
    row_weights.view(packed.dtype)[target] = weights
    return Copied(panels, labels, weights, row_weights)


def _blocks(n_rows: int) -> tuple[IndexArray, npt.NDArray[np.intc]]:
    """Return the first panel of each block of rows that lie side by side, and its rows."""
    first = np.arange(0, n_rows, BLOCK_ROWS)
    return first // PANEL_ROWS, np.minimum(BLOCK_ROWS, n_rows - first).astype(np.intc)
