"""The order in which rows are packed, and the blocks that they make."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.rows import BLOCK_ROWS, PANEL_ROWS
from metaopt_fast.data.storage import IN_MEMORY, Memory
from metaopt_fast.typing import Float64Array, IndexArray

Keys: TypeAlias = npt.NDArray[np.uint64]

# Numbers of rows that the kernels sort by.
SORTED_ROWS = 2**32

# Rows whose numbers are at work together, where all of them may be on a disk.
ROWS_AT_ONCE = 2**20


class Layout(NamedTuple):
    """Groups of rows, each in blocks of its own: where they are in the panels."""

    row_at: IndexArray  # the row at each position of the panels, -1 where there is none
    n_rows: int
    has_row_weights: bool
    first_panel: IndexArray  # of each block, and so on
    block_rows: npt.NDArray[np.intc]
    block_weights: Float64Array


def lay_out(
    n_samples: int,
    norms: Float64Array | None = None,
    weights: Float64Array | None = None,
    strata: IndexArray | None = None,
    n_threads: int = 1,
    memory: Memory = IN_MEMORY,
) -> Layout:
    """Return groups of rows of one weight, the largest first, and stratum, ordered by norm.

    Rows of one weight share a logarithm. Where weights are nearly all different, groups would be
    mostly padding: then all rows are of one weight, and each row carries its own. Without norms,
    rows stay in their order.
    """
    # What is sorted by last counts most.
    if norms is None:
        order = count_up(n_samples, memory)
    else:
        order = memory.empty(n_samples, np.intp)
        keys = norms.view(np.uint64)
        sort(order, keys, descending=True, in_order=True, n_threads=n_threads, memory=memory)
    if strata is not None:
        keys = memory.copy(strata, np.uint64)
        sort(order, keys, descending=False, n_threads=n_threads, memory=memory)
    has_row_weights = False
    if weights is not None:
        by_weight, no_minus_zero = memory.copy(order), memory.empty(n_samples, np.float64)
        keys = np.add(weights, 0.0, out=no_minus_zero).view(np.uint64)
        sort(by_weight, keys, descending=True, n_threads=n_threads, memory=memory)
        by_weight = by_weight[: np.count_nonzero(weights)]
        n_groups = 1 + int(np.count_nonzero(changes(memory.take(keys, by_weight))))
        has_row_weights = n_groups > 1 and n_groups * (BLOCK_ROWS // 2) > len(by_weight)
        order = order[memory.take(weights, order) > 0] if has_row_weights else by_weight
    ends = [] if strata is None else [changes(memory.take(strata, order))]
    if weights is not None and not has_row_weights:
        ends.append(changes(memory.take(weights, order)))
    starts = np.zeros(1, np.intp)
    if ends:
        starts = np.append(starts, np.flatnonzero(np.logical_or.reduce(ends)) + 1)
    group_weights = np.ones(len(starts))
    if weights is not None and not has_row_weights:
        group_weights = weights[order[starts]]
    return cut(order, starts, group_weights, has_row_weights, memory)


def count_up(n: int, memory: Memory) -> IndexArray:
    """Return the numbers 0 .. n - 1."""
    numbers = memory.empty(n, np.intp)
    for first in range(0, n, ROWS_AT_ONCE):
        last = min(n, first + ROWS_AT_ONCE)
        numbers[first:last] = np.arange(first, last)
    return numbers


def cut(
    order: IndexArray,
    starts: IndexArray,
    group_weights: Float64Array,
    has_row_weights: bool,
    memory: Memory = IN_MEMORY,
) -> Layout:
    """Cut groups of rows, which start somewhere in their order, into blocks."""
    sizes = np.diff(starts, append=len(order))
    n_blocks = -(-sizes // BLOCK_ROWS)
    ends = np.cumsum(n_blocks)
    block_rows = np.full(ends[-1], BLOCK_ROWS, np.intc)
    block_rows[ends - 1] = sizes - BLOCK_ROWS * (n_blocks - 1)
    panels = -(-block_rows // PANEL_ROWS)
    first_panel = np.cumsum(panels, dtype=np.intp) - panels
    n_positions = PANEL_ROWS * int(first_panel[-1] + panels[-1])
    row_at = order
    if n_positions > len(order):
        row_at = memory.empty(n_positions, np.intp)
        row_at.fill(-1)
        moved = first_panel[ends - n_blocks] * PANEL_ROWS - starts
        for first in range(0, len(order), ROWS_AT_ONCE):
            last = min(len(order), first + ROWS_AT_ONCE)
            group, until = np.searchsorted(starts, (first, last - 1), "right").tolist()
            groups = slice(group - 1, until)
            edges = np.clip(np.append(starts[groups], last), first, last)
            at = np.arange(first, last) + np.repeat(moved[groups], np.diff(edges))
            row_at[at] = order[first:last]
    block_weights = np.repeat(group_weights, n_blocks)
    return Layout(row_at, len(order), has_row_weights, first_panel, block_rows, block_weights)


def changes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return where a value differs from the one before it."""
    return np.asarray(values[1:] != values[:-1])


def sort(
    rows: IndexArray,
    keys: Keys,
    *,
    descending: bool,
    in_order: bool = False,
    n_threads: int,
    memory: Memory = IN_MEMORY,
) -> None:
    """Sort rows by their keys, which are found by the rows' numbers, stably and in place.

    Where rows are in order at first, 0, 1, ..., their array may have any numbers.
    """
    if len(keys) >= SORTED_ROWS:
        if in_order:
            rows[:] = np.arange(len(rows))
        rows[:] = rows[np.argsort(~keys[rows] if descending else keys[rows], kind="stable")]
        return
    scratch = memory.empty(16 * len(rows), np.uint8)
    _kernels.sort_rows(keys, descending, rows, in_order, scratch, n_threads)
