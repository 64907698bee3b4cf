"""Packing of rows into panels, in the order in which the kernels read them best: grouped by weight,
the largest first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.numbers import Numbers, check_range, numbers_of
from metaopt_fast.data.order import Layout, lay_out
from metaopt_fast.data.packed import Labels, Origin, Packed
from metaopt_fast.data.storage import IN_MEMORY, Memory
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# The least positive float, as a power of two.
LEAST_EXPONENT = -1074

# Positions in panels that 32 bits hold.
SHORT_POSITIONS = 2**31


class Unpacked(NamedTuple):
    """Rows that are to be packed."""

    numbers: Numbers  # with or without the columns of ones
    scale: float  # what rows are multiplied by, those of class 1 by -scale if they are negated
    negated: bool
    signed: bool  # whether signs tell the classes apart, or have done so
    labels: Labels
    weights: Float64Array | None  # None: all are 1
    n_features: int
    n_constants: int  # columns of ones that follow
    dtype: str


@shielded
def pack(
    X: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    weights: Float64Array | None,
    n_constants: int,
    dtype: str,
    *,
    strata: IndexArray | None = None,
    scale: float = 1.0,
    signed: bool = True,
    n_threads: int = 1,
    memory: Memory = IN_MEMORY,
) -> Packed:
    """Pack the rows of positive weight, times a scale, of arguments as `checks` returns them.

    `labels` are the classes' numbers from 0 on, or which rows are of class 1. Where there are two,
    rows may be `signed`: margins are kept as z = -margin, so class 1 has the sign -1.
    `n_constants` columns of ones follow those of X: 1 where there is an intercept.

    Of rows of one weight, those of the largest norm come first: they say the most of a candidate,
    so that a search can drop it early. Rows of different `strata` share no block. `memory` is where
    all that is made of them lies; the order, and so every bit of it, is the same in any.
    """
    memory.check_room(len(X) * (X.shape[1] + n_constants) * np.dtype(dtype).itemsize)
    labels = labels.astype(np.min_scalar_type(int(labels.max())))
    numbers, n_features = numbers_of(X, memory), X.shape[1]
    rows = Unpacked(numbers, scale, signed, signed, labels, weights, n_features, n_constants, dtype)
    norms = memory.empty(len(X), np.float64)
    if numbers.row_norms(n_features, dtype == "float32", norms, n_threads):
        row = int(np.isnan(norms).argmax())
        check_range(to_float64(X[row : row + 1]), row, dtype)
    layout = lay_out(len(X), norms, weights, strata, n_threads, memory)
    del norms  # before there are panels
    return arrange(rows, layout, n_threads, memory)


def arrange(
    rows: Unpacked, layout: Layout, n_threads: int = 1, memory: Memory = IN_MEMORY
) -> Packed:
    """Pack rows as they are laid out. Rows that lack the columns of ones get them."""
    row_at, itemsize = layout.row_at, np.dtype(rows.dtype).itemsize
    n_samples, n_columns = len(rows.labels), rows.n_features + rows.n_constants
    positions, labels = find_positions(row_at, rows.labels, layout.n_rows, n_threads, memory)
    panels = memory.zeros(len(row_at) * n_columns * itemsize)
    extent = rows.numbers.pack(
        row_at,
        positions,
        rows.labels if rows.negated else None,
        rows.scale,
        layout.first_panel,
        n_columns,
        rows.dtype == "float32",
        panels,
        n_threads,
    )
    row_weights, total_weight = None, float(layout.n_rows)
    if rows.weights is not None:
        total_weight = exact_sum(rows.weights)
        if layout.has_row_weights:
            row_weights = memory.zeros(len(row_at) * itemsize)
            row_weights.view(rows.dtype)[:] = memory.take(rows.weights, row_at)
            row_weights.view(rows.dtype)[row_at < 0] = 0
    return Packed(
        n_samples=n_samples,
        n_features=rows.n_features,
        n_columns=n_columns,
        dtype=rows.dtype,
        signed=rows.signed,
        labels=labels,
        panels=panels,
        row_weights=row_weights,
        first_panel=layout.first_panel,
        block_rows=layout.block_rows,
        block_weights=layout.block_weights,
        total_weight=total_weight,
        extent=extent,
        origin=Origin(positions, rows.labels, rows.weights),
        memory=memory,
    )


def find_positions(
    row_at: IndexArray, labels: Labels, n_rows: int, n_threads: int, memory: Memory = IN_MEMORY
) -> tuple[npt.NDArray[np.signedinteger[Any]], Labels]:
    """Return the position of each row in the panels, -1 where it is in none, of all but n_rows; and
    the label of the row at each position, 0 where there is none."""
    kind = "int32" if len(row_at) <= SHORT_POSITIONS else "int64"
    positions = memory.empty(len(labels), kind)
    if n_rows < len(labels):
        positions.fill(-1)
    if labels.itemsize == 1:
        labels_at = np.empty(len(row_at), labels.dtype)
        _kernels.find_positions(row_at, positions, labels, labels_at, n_threads)
    else:  # of more than 256 classes
        labels_at = np.where(row_at < 0, 0, labels[row_at])
        _kernels.find_positions(row_at, positions, None, None, n_threads)
    return positions, labels_at


def exact_sum(numbers: Float64Array) -> float:
    """Return the sum of numbers >= 0, rounded once, as `math.fsum` does at length."""
    sums = np.zeros((2, 2048), np.uint64)
    _kernels.add_by_exponent(numbers, sums)
    total = 0
    for exponent in np.flatnonzero(sums[0] | sums[1]).tolist():
        lower, upper = sums[:, exponent].tolist()
        total += (lower + (upper << 32)) << max(exponent - 1, 0)
    return total / (1 << -LEAST_EXPONENT)


def decisions_of(X: Float64Array, theta: Float64Array) -> Float64Array:
    """Return x . theta of rows of finite numbers, with the bits that the kernels compare."""
    if X.size == 0:
        return np.zeros(len(X))
    n_samples, n_features = X.shape
    labels = np.zeros(n_samples, np.uint8)
    rows = Unpacked(numbers_of(X), 1.0, False, False, labels, None, n_features, 0, "float64")
    packed = arrange(rows, lay_out(n_samples))
    margins = np.zeros(packed.n_positions)
    _kernels.margins(packed.rows("logistic", 0.0), theta[None], margins)
    return margins[:n_samples]
