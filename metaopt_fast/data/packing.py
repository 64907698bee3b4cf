"""Rows in the order in which the kernels read them: checked, signed, grouped by weight, in
panels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.floating_errors import shielded
from metaopt_fast.validation.values import to_float64

PANEL_ROWS = 8
BLOCK_ROWS = 64
ALIGNMENT = 64

# Rows that are checked and converted at a time: X itself is never copied as a whole.
CHUNK_ROWS = 4096

# Rows as float64 in C order, some at a time, and their numbers, from the numbers of all.
Reader: TypeAlias = Callable[
    [npt.NDArray[np.intp]], Iterable[tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]]
]


class Origin(NamedTuple):
    """The rows by their numbers in X: what else it takes to pack some of them again."""

    places: npt.NDArray[np.signedinteger[Any]]  # in the panels; -1 for rows of weight 0
    positive: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64] | None  # None: all are 1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows in panels of 8, in blocks of up to 64 rows of one weight.

    `panels` and `row_weights` are bytes of `dtype`, aligned for the widest vectors. Where nearly
    every row has a weight of its own, blocks hold rows of any weight, and `row_weights` has them.
    """

    n_samples: int
    n_features: int
    dtype: str
    panels: npt.NDArray[np.uint8]
    row_weights: npt.NDArray[np.uint8] | None
    first_panel: npt.NDArray[np.intp]
    block_rows: npt.NDArray[np.intc]
    block_weights: npt.NDArray[np.float64]
    total_weight: float
    extent: float
    origin: Origin

    def rows(self, loss: str, n_params: int, l2: float) -> _kernels.PackedRows:
        """Return the kernels' view of the rows, for a pointwise loss and a penalty."""
        return _kernels.PackedRows(
            _kernels.LOSSES[loss],
            self.dtype == "float32",
            n_params,
            self.n_features,
            self.first_panel,
            self.block_rows,
            self.block_weights,
            self.panels,
            self.row_weights,
            self.total_weight,
            l2,
            self.extent,
        )

    def blocks(self, which: npt.NDArray[np.bool_], *, total_weight: float) -> Packed:
        """Return some of the blocks: the panels are shared."""
        return replace(
            self,
            first_panel=self.first_panel[which],
            block_rows=self.block_rows[which],
            block_weights=self.block_weights[which],
            total_weight=total_weight,
        )

    def of_blocks(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return of values of the rows that of each block's first one."""
        row_of = np.empty(int(self.origin.places.max()) + 1, np.intp)
        kept = np.flatnonzero(self.origin.places >= 0)
        row_of[self.origin.places[kept]] = kept
        found: npt.NDArray[Any] = values[row_of[self.first_panel * PANEL_ROWS]]
        return found

    def places(self) -> npt.NDArray[np.intp]:
        """Return the places of the blocks' rows in the panels."""
        runs = zip(self.first_panel.tolist(), self.block_rows.tolist(), strict=True)
        return np.concatenate(
            [np.arange(first * PANEL_ROWS, first * PANEL_ROWS + count) for first, count in runs]
        )

    def digest(self) -> bytes:
        """Return a SHA-256 of all that the kernels read."""
        import hashlib

        digest = hashlib.sha256(repr((self.n_samples, self.n_features, self.dtype)).encode())
        for array in (
            self.panels,
            self.row_weights,
            self.first_panel,
            self.block_rows,
            self.block_weights,
        ):
            digest.update(b"-" if array is None else array.data)
        return digest.digest()

    def weights_of_places(self) -> npt.NDArray[np.float64]:
        """Return the weight of each place of the panels, 0 where no row is."""
        n_places = PANEL_ROWS * (
            int(self.first_panel[-1]) + -(-int(self.block_rows[-1]) // PANEL_ROWS)
        )
        weights = np.zeros(n_places)
        for panel, n_rows, weight in zip(
            self.first_panel, self.block_rows, self.block_weights, strict=True
        ):
            weights[panel * PANEL_ROWS : panel * PANEL_ROWS + n_rows] = weight
        if self.row_weights is not None:
            weights *= self.row_weights.view(self.dtype)
        return weights

    def __setstate__(self, state: list[Any]) -> None:
        # Unpickled bytes lie anywhere; the widest vectors want them aligned.
        for name, value in zip(self.__slots__, state, strict=True):
            if name in ("panels", "row_weights") and value is not None:
                value, unaligned = aligned_zeros(value.size), value
                value[:] = unaligned
            object.__setattr__(self, name, value)


def aligned_zeros(size: int) -> npt.NDArray[np.uint8]:
    """Return `size` bytes of zeros whose address is a multiple of the widest vector's."""
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    return memory[offset : offset + size]


@shielded
def pack(
    X: npt.NDArray[Any],
    positive: npt.NDArray[np.bool_],
    sample_weight: npt.NDArray[np.float64] | None,
    n_constants: int,
    dtype: str,
    strata: npt.NDArray[np.intp] | None = None,
    scale: float = 1.0,
) -> Packed:
    """Pack the rows of positive weight, times a scale, of arguments as `checks` returns them.

    `n_constants` columns of ones follow those of X: 1 where there is an intercept.

    Of rows of one weight, those of the largest norm come first: they say the most of a candidate,
    so that a search can drop it early. Rows of different `strata` share no block.
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    # Margins are kept as z = -margin, so the positive class has the sign -1.
    signs = np.where(positive, -scale, scale)
    origin = Origin(np.empty(0, np.int32), positive, sample_weight)
    read = partial(chunks, X, dtype=dtype)
    norms = row_norms(read, np.arange(X.shape[0]), X.shape, dtype)
    return arrange(read, signs, norms, weights, origin, X.shape[1], n_constants, dtype, strata)


@shielded
def row_norms(
    read: Reader, rows: npt.NDArray[np.intp], shape: tuple[int, ...], dtype: str
) -> npt.NDArray[np.float64]:
    """Return the squared norm of each of some rows, as they are stored; 0 of the others."""
    norms = np.zeros(shape[0])
    for chunk, part in read(rows):
        stored = chunk[:, : shape[1]].astype(dtype).astype(np.float64, order="C")
        some = np.empty(len(part))
        _kernels.row_norms(stored, some)
        norms[part] = some
    return norms


def arrange(
    read: Reader,
    signs: npt.NDArray[np.float64],
    norms: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    origin: Origin,
    n_features: int,
    n_constants: int,
    dtype: str,
    strata: npt.NDArray[np.intp] | None = None,
) -> Packed:
    """Return the rows that `read` gives, times their signs, grouped by weight and ordered by norm.

    Signs may be other than -1 and +1, of one size.

    Rows that lack the columns of ones get them.
    """
    groups, row_weighted = group_by_weight(weights)
    if strata is not None:
        groups = [
            (rows[strata[rows] == stratum], weight)
            for rows, weight in groups
            for stratum in np.unique(strata[rows])
        ]
    groups = [(rows[np.argsort(-norms[rows], kind="stable")], weight) for rows, weight in groups]

    block_rows, block_weights, first_panel, n_panels = [], [], [], 0
    for rows, weight in groups:
        for first in range(0, len(rows), BLOCK_ROWS):
            count = min(BLOCK_ROWS, len(rows) - first)
            first_panel.append(n_panels)
            block_rows.append(count)
            block_weights.append(weight)
            n_panels += -(-count // PANEL_ROWS)
    n_params = n_features + n_constants
    n_places, itemsize = n_panels * PANEL_ROWS, np.dtype(dtype).itemsize
    panels = aligned_zeros(n_places * n_params * itemsize)
    row_weights = aligned_zeros(n_places * itemsize) if row_weighted else None
    kept = np.concatenate([rows for rows, _ in groups])

    small = n_places < 2**31
    places: npt.NDArray[Any] = np.full(len(weights), -1, np.int32 if small else np.int64)
    scale = float(np.abs(signs).max())
    place, extent = 0, scale * (n_constants > 0)
    for rows, _ in groups:
        for chunk, part in read(rows):
            _kernels.pack_rows(chunk, signs[part], place, n_params, dtype == "float32", panels)
            extent = max(extent, scale * float(chunk.max()), -scale * float(chunk.min()))
            places[part] = np.arange(place, place + len(part))
            place += len(part)
        place = -(-place // PANEL_ROWS) * PANEL_ROWS
    if row_weights is not None:
        row_weights.view(dtype)[places[kept]] = weights[kept]
    return Packed(
        n_samples=len(weights),
        n_features=n_features,
        dtype=dtype,
        panels=panels,
        row_weights=row_weights,
        first_panel=np.array(first_panel, np.intp),
        block_rows=np.array(block_rows, np.intc),
        block_weights=np.array(block_weights),
        total_weight=math.fsum(weights[kept]),
        extent=float(np.dtype(dtype).type(extent)),
        origin=origin._replace(places=places),
    )


def decisions_of(
    X: npt.NDArray[np.float64], theta: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return x . theta of rows of finite numbers, with the bits that the kernels compare."""
    if X.size == 0:
        return np.zeros(len(X))
    origin = Origin(np.empty(0, np.int32), np.zeros(len(X), np.bool_), None)
    read, ones = partial(chunks, X, dtype="float64"), np.ones(len(X))
    packed = arrange(read, ones, 0 * ones, ones, origin, X.shape[1], 0, "float64")
    margins = np.zeros_like(packed.weights_of_places())
    rows = packed.rows("logistic", X.shape[1], 0.0)
    _kernels.margins(rows, theta[None], margins)
    return np.asarray(margins[packed.origin.places])


def group_by_weight(
    weights: npt.NDArray[np.float64],
) -> tuple[list[tuple[npt.NDArray[np.intp], float]], bool]:
    """Return groups of rows by weight, the largest first, and whether rows carry their own.

    Rows of one weight share a logarithm. Where weights are nearly all different, groups would be
    mostly padding: then all rows are one group of weight 1, and each row carries its own.
    """
    values, group = np.unique(weights, return_inverse=True)
    kept = np.count_nonzero(weights)
    n_groups = len(values) - (values[0] == 0)
    if n_groups * (BLOCK_ROWS // 2) > kept and n_groups > 1:
        return [(np.flatnonzero(weights), 1.0)], True
    ranked = reversed(list(enumerate(values[values > 0], start=len(values) - n_groups)))
    return [(np.flatnonzero(group == k), float(value)) for k, value in ranked], False


def chunks(
    X: npt.NDArray[Any], rows: npt.NDArray[np.intp], dtype: str
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]]:
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
        yield chunk, part
