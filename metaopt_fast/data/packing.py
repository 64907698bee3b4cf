"""Packing of rows into panels, in the order in which the kernels read them best: grouped by weight,
the largest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import (
    BLOCK_ROWS,
    CHUNK_ROWS,
    PANEL_ROWS,
    Labels,
    Origin,
    Packed,
    aligned_zeros,
)
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# Rows by their numbers, as float64 in C order, some at a time.
Reader: TypeAlias = Callable[[IndexArray], Iterable[Float64Array]]


class Unpacked(NamedTuple):
    """Rows that are to be packed."""

    read: Reader  # with or without the columns of ones
    signs: Float64Array  # what each row is multiplied by: numbers of one size
    signed: bool  # whether that tells the classes apart, or has done so
    labels: Labels
    weights: Float64Array | None  # None: all are 1
    n_features: int
    n_constants: int  # columns of ones that follow
    dtype: str


class Layout(NamedTuple):
    """Groups of rows, each in blocks of its own, and where these blocks begin."""

    groups: list[IndexArray]
    has_row_weights: bool
    first_panel: IndexArray
    block_rows: npt.NDArray[np.intc]
    block_weights: Float64Array
    n_panels: int


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
) -> Packed:
    """Pack the rows of positive weight, times a scale, of arguments as `checks` returns them.

    `labels` are the classes' numbers from 0 on, or which rows are of class 1. Where there are two,
    rows may be `signed`: margins are kept as z = -margin, so class 1 has the sign -1.
    `n_constants` columns of ones follow those of X: 1 where there is an intercept.

    Of rows of one weight, those of the largest norm come first: they say the most of a candidate,
    so that a search can drop it early. Rows of different `strata` share no block.
    """
    signs = np.where(labels == 1, -scale, scale) if signed else np.full(len(X), scale)
    labels = labels.astype(np.min_scalar_type(int(labels.max())))
    read = partial(chunks, X, dtype=dtype)
    rows = Unpacked(read, signs, signed, labels, weights, X.shape[1], n_constants, dtype)
    return arrange(rows, row_norms(rows, np.arange(len(X))), strata)


@shielded
def row_norms(rows: Unpacked, which: IndexArray) -> Float64Array:
    """Return the squared norm of each of some rows, as they are stored; 0 of the others."""
    norms, done = np.zeros(len(rows.signs)), 0
    for chunk in rows.read(which):
        stored = chunk[:, : rows.n_features].astype(rows.dtype).astype(np.float64, order="C")
        some = np.empty(len(chunk))
        _kernels.row_norms(stored, some)
        norms[which[done : done + len(chunk)]] = some
        done += len(chunk)
    return norms


def arrange(rows: Unpacked, norms: Float64Array, strata: IndexArray | None = None) -> Packed:
    """Pack rows, times their signs, grouped by weight and stratum and ordered by norm.

    Rows that lack the columns of ones get them.
    """
    n_samples, dtype = len(rows.signs), np.dtype(rows.dtype)
    n_columns = rows.n_features + rows.n_constants
    layout = lay_out(rows.weights, norms, strata)
    n_positions = layout.n_panels * PANEL_ROWS
    panels = aligned_zeros(n_positions * n_columns * dtype.itemsize)
    labels = np.zeros(n_positions, rows.labels.dtype)
    positions: npt.NDArray[Any]
    positions = np.full(n_samples, -1, np.int32 if n_positions < 2**31 else np.int64)

    scale, is_single = float(np.abs(rows.signs).max()), rows.dtype == "float32"
    position, extent = 0, scale * (rows.n_constants > 0)
    for group in layout.groups:
        first = position
        for chunk in rows.read(group):
            part = group[position - first : position - first + len(chunk)]
            _kernels.pack_rows(chunk, rows.signs[part], position, n_columns, is_single, panels)
            extent = max(extent, scale * float(chunk.max()), -scale * float(chunk.min()))
            position += len(chunk)
        positions[group] = np.arange(first, position)
        labels[first:position] = rows.labels[group]
        position = -(-position // PANEL_ROWS) * PANEL_ROWS

    row_weights, total_weight = None, float(sum(map(len, layout.groups)))
    if rows.weights is not None:
        kept = np.concatenate(layout.groups)
        total_weight = math.fsum(rows.weights[kept])
        if layout.has_row_weights:
            row_weights = aligned_zeros(n_positions * dtype.itemsize)
            row_weights.view(dtype)[positions[kept]] = rows.weights[kept]
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
        extent=float(dtype.type(extent)),
        origin=Origin(positions, rows.labels, rows.weights),
    )


def lay_out(weights: Float64Array | None, norms: Float64Array, strata: IndexArray | None) -> Layout:
    """Return groups of rows of one weight and stratum, ordered by norm, and their blocks."""
    groups, has_row_weights = group_by_weight(weights, len(norms))
    if strata is not None:
        groups = [
            (rows[strata[rows] == stratum], weight)
            for rows, weight in groups
            for stratum in np.unique(strata[rows])
        ]
    ordered = [rows[np.argsort(-norms[rows], kind="stable")] for rows, _ in groups]
    first_panel: list[int] = []
    block_rows: list[int] = []
    block_weights: list[float] = []
    n_panels = 0
    for rows, weight in groups:
        for first in range(0, len(rows), BLOCK_ROWS):
            count = min(BLOCK_ROWS, len(rows) - first)
            first_panel.append(n_panels)
            block_rows.append(count)
            block_weights.append(weight)
            n_panels += -(-count // PANEL_ROWS)
    return Layout(
        ordered,
        has_row_weights,
        np.array(first_panel, np.intp),
        np.array(block_rows, np.intc),
        np.array(block_weights),
        n_panels,
    )


def group_by_weight(
    weights: Float64Array | None, n_samples: int
) -> tuple[list[tuple[IndexArray, float]], bool]:
    """Return groups of rows by weight, the largest first, and whether rows carry their own.

    Rows of one weight share a logarithm. Where weights are nearly all different, groups would be
    mostly padding: then all rows are one group of weight 1, and each row carries its own.
    """
    if weights is None:
        return [(np.arange(n_samples), 1.0)], False
    values, group = np.unique(weights, return_inverse=True)
    kept = np.count_nonzero(weights)
    n_groups = len(values) - (values[0] == 0)
    if n_groups * (BLOCK_ROWS // 2) > kept and n_groups > 1:
        return [(np.flatnonzero(weights), 1.0)], True
    ranked = reversed(list(enumerate(values[values > 0], start=len(values) - n_groups)))
    return [(np.flatnonzero(group == k), float(value)) for k, value in ranked], False


def decisions_of(X: Float64Array, theta: Float64Array) -> Float64Array:
    """Return x . theta of rows of finite numbers, with the bits that the kernels compare."""
    if X.size == 0:
        return np.zeros(len(X))
    n_samples, n_features = X.shape
    read, signs = partial(chunks, X, dtype="float64"), np.ones(n_samples)
    labels = np.zeros(n_samples, np.uint8)
    rows = Unpacked(read, signs, False, labels, None, n_features, 0, "float64")
    packed = arrange(rows, np.zeros(n_samples))
    margins = np.zeros(packed.n_positions)
    _kernels.margins(packed.rows("logistic", 0.0), theta[None], margins)
    return np.asarray(margins[packed.origin.positions])


def chunks(X: npt.NDArray[Any], rows: IndexArray, dtype: str) -> Iterator[Float64Array]:
    """Yield the rows in C order as float64, some at a time, each checked."""
    largest = np.finfo(dtype).max
    for first in range(0, len(rows), CHUNK_ROWS):
        part = rows[first : first + CHUNK_ROWS]
        # A run of rows is sliced: a gather would cost another copy.
        is_run = bool((np.diff(part) == 1).all())
        chunk = to_float64(X[part[0] : part[-1] + 1] if is_run else X[part])
        if not (np.abs(chunk) <= largest).all():
            row, column = np.argwhere(~(np.abs(chunk) <= largest))[0]
            raise ValueError(
                f"X has {chunk[row, column]} in row {part[row]}, column {column}: pass finite "
                f"numbers in the range of {dtype}."
            )
        yield chunk
