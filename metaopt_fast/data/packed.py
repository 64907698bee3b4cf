"""Rows as the kernels read them, in panels, and the questions that are asked of them.

Nobody else but the kernels knows where in memory a row is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.products import (
    exponent_of,
    products_of_columns,
    products_of_rows,
    some_panels,
)
from metaopt_fast.data.rows import BLOCK_ROWS, PANEL_ROWS, Moment
from metaopt_fast.data.splitting import split
from metaopt_fast.data.storage import IN_MEMORY, Memory
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Array, Float64Array, IndexArray

# Rows that are converted at a time: X itself is never copied as a whole.
CHUNK_ROWS = 4096

# Numbers that pass through memory of NumPy's several times: they stay in a second-level cache.
CHUNK_NUMBERS = 2**17

# Rows of which a number each is looked up at a time.
ROWS_AT_ONCE = 2**20

# Bytes that are hashed between two looks at signals.
HASHED_AT_ONCE = 64 * 1024 * 1024

# Below it, squares have begun to leave the range of floats.
TINY = math.ldexp(1, -600)


# The class of each row: 0 and 1, or more.
Labels: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


class Origin(NamedTuple):
    """The rows by their numbers in X: what else it takes to pack some of them again."""

    positions: npt.NDArray[np.signedinteger[Any]]  # in the panels; -1 for rows of weight 0
    labels: Labels
    weights: Float64Array | None  # None: all are 1


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows in panels of 8, in blocks of up to 64 rows of one weight.

    `panels` and `row_weights` are bytes of `dtype`, aligned for the widest vectors. Where nearly
    every row has a weight of its own, blocks hold rows of any weight, and `row_weights` has them.
    `labels` has the class of the row at each position, 0 where there is none. Where rows are
    `signed`, those of class 1 are multiplied by -1, as the losses of two classes want them. What is
    made of all rows lies in `memory`, as they do.
    """

    n_samples: int
    n_features: int
    n_columns: int
    dtype: str
    signed: bool
    labels: Labels
    panels: npt.NDArray[np.uint8]
    row_weights: npt.NDArray[np.uint8] | None
    first_panel: IndexArray
    block_rows: npt.NDArray[np.intc]
    block_weights: Float64Array
    total_weight: float
    extent: float
    origin: Origin
    memory: Memory

    def rows(self, loss: str, l2: float) -> _kernels.PackedRows:
        """Return the kernels' view of the rows, for a pointwise loss and a penalty."""
        return _kernels.PackedRows(
            _kernels.LOSSES[loss],
            self.dtype == "float32",
            self.n_columns,
            self.n_features,
            self.first_panel,
            self.block_rows,
            self.block_weights,
            self.panels,
            self.row_weights,
            self.total_weight,
            l2,
            self.extent,
            self.is_on_disk,
        )

    @property
    def is_on_disk(self) -> bool:
        """Whether rows lie in files, which memory may have no room for."""
        return self.memory.folder is not None

    # --------------------------------------------------------------------------- the four questions

    def gather(self, rows: IndexArray) -> Iterator[Float64Array]:
        """Yield rows of X, none of weight 0, as they are packed, some at a time."""
        panels = self._panels()
        for first in range(0, len(rows), CHUNK_ROWS):
            at = self.origin.positions[rows[first : first + CHUNK_ROWS]]
            yield np.ascontiguousarray(panels[at // PANEL_ROWS, :, at % PANEL_ROWS], np.float64)

    def numbers(self, rows: IndexArray) -> _kernels.Numbers:
        """Return rows of X as they lie in the panels; of those of weight 0, the first row."""
        size = np.dtype(self.dtype).itemsize
        at = np.maximum(self.origin.positions[rows], 0).astype(np.intp)
        starts = (at // PANEL_ROWS * self.n_columns * PANEL_ROWS + at % PANEL_ROWS) * size
        columns = self.panels.view(self.dtype).reshape(-1, PANEL_ROWS).T
        return _kernels.Numbers(columns, starts, self.n_columns)

    def weighted_rows(self) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Yield the rows of the blocks as they are packed, some at a time, and their weights."""
        weights = self.weights_of_positions().reshape(-1, PANEL_ROWS)
        for some, part in some_panels(self._panels()[: len(weights)], weights):
            used = part.ravel() > 0
            if not used.any():
                continue
            rows = (
                some.transpose(0, 2, 1).reshape(-1, self.n_columns).astype(np.float64, copy=False)
            )
            yield (rows, part.ravel()) if used.all() else (rows[used], part.ravel()[used])

    def rows_at(self, positions: IndexArray) -> Float64Array:
        """Return what stands at some positions of the panels."""
        found = self._panels()[positions // PANEL_ROWS, :, positions % PANEL_ROWS]
        return np.ascontiguousarray(found, np.float64)

    def rows_by_position(self) -> Iterator[Float64Array]:
        """Yield what stands in the panels, position by position, some at a time."""
        panels = self._panels()[: self.n_positions // PANEL_ROWS]
        size = max(1, min(CHUNK_ROWS, CHUNK_NUMBERS // self.n_columns) // PANEL_ROWS)
        for first in range(0, len(panels), size):
            some = panels[first : first + size]
            yield some.transpose(0, 2, 1).reshape(-1, self.n_columns).astype(np.float64, copy=False)

    def column_extents(self) -> Float64Array:
        """Return the largest absolute value in each column, of the rows of all blocks."""
        panels = self.panels.view(self.dtype).reshape(-1, self.n_columns * PANEL_ROWS)
        extents = np.maximum(panels.max(axis=0), -panels.min(axis=0))
        largest: Float64Array = extents.reshape(self.n_columns, PANEL_ROWS).max(axis=1)
        return largest.astype(np.float64)

    @shielded
    def second_moment(self, n_threads: int) -> Moment:
        """Return sum_i w_i x_i x_i' / sum_i w_i, or, where there are fewer rows than columns, the
        products of the rows with each other, whose eigenvalues are the same but for zeros."""
        weights = self.weights_of_positions().reshape(-1, PANEL_ROWS)
        np.sqrt(weights, out=weights)
        weights /= math.sqrt(self.total_weight)
        panels = self._panels()[: len(weights)]
        add_up = products_of_rows if self.n_rows < self.n_columns else products_of_columns
        exponent = exponent_of(self.extent * float(weights.max()))
        matrix = add_up(panels, weights, exponent, n_threads)
        if matrix.trace() < TINY:
            # What is large is in other blocks, or has next to no weight.
            parts = (np.abs(some).max(axis=1) * part for some, part in some_panels(panels, weights))
            exponent = exponent_of(max(float(part.max()) for part in parts))
            matrix = add_up(panels, weights, exponent, n_threads)
        return Moment(matrix, exponent)

    def split(self, batches: Sequence[IndexArray]) -> list[Packed]:
        """Return each batch of rows of X, none of weight 0, as packed rows of their own.

        All share one copy of the rows, in the order of the batches.
        """
        return split(self, batches)

    def _panels(self) -> Array:
        return self.panels.view(self.dtype).reshape(-1, self.n_columns, PANEL_ROWS)

    # ------------------------------------------------------------------------------ rows and blocks

    @property
    def kept(self) -> IndexArray:
        """Numbers in X of the rows of positive weight."""
        return np.flatnonzero(self.origin.positions >= 0)

    @property
    def n_rows(self) -> int:
        """Rows of the blocks."""
        return int(self.block_rows.sum())

    @property
    def n_blocks(self) -> int:
        """Blocks of rows."""
        return len(self.block_rows)

    @property
    def n_positions(self) -> int:
        """Rows that the panels have room for, up to the end of the last block."""
        n_panels = -(-int(self.block_rows[-1]) // PANEL_ROWS)
        return PANEL_ROWS * (int(self.first_panel[-1]) + n_panels)

    @property
    def rows_per_single_sum(self) -> int:
        """How many rows' weights are added in single precision: 1 where their sum is one number."""
        return BLOCK_ROWS if self.row_weights is not None and self.dtype == "float32" else 1

    def blocks(
        self,
        which: npt.NDArray[np.bool_] | IndexArray,
        *,
        total_weight: float,
        factors: Float64Array | None = None,
    ) -> Self:
        """Return some of the blocks, in any order, each one's weight times a factor: the panels are
        shared."""
        weights = self.block_weights if factors is None else self.block_weights * factors
        return replace(
            self,
            first_panel=self.first_panel[which],
            block_rows=self.block_rows[which],
            block_weights=weights[which],
            total_weight=total_weight,
        )

    def narrowed(self) -> Self:
        """Return the same rows and blocks in single precision: nearly the same numbers."""
        return replace(
            self,
            dtype="float32",
            panels=self._narrowed(self.panels),
            row_weights=None if self.row_weights is None else self._narrowed(self.row_weights),
        )

    def _narrowed(self, numbers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        found = self.memory.zeros(4 * numbers.size // np.dtype(self.dtype).itemsize)
        found.view(np.float32)[:] = numbers.view(self.dtype)
        return found

    @property
    def block_labels(self) -> Labels:
        """The class of each block's first row: of all of its rows, where classes are strata."""
        return self.labels[self.first_panel * PANEL_ROWS]

    def of_blocks(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what the first row of each block has, of an array with an entry for each row."""
        starts, positions = self.first_panel * PANEL_ROWS, self.origin.positions
        is_start = np.zeros(len(self.labels), np.bool_)
        is_start[starts] = True
        rows, at = [], []
        for first in range(0, len(positions), ROWS_AT_ONCE):
            some = positions[first : first + ROWS_AT_ONCE]
            begins = np.flatnonzero((some >= 0) & is_start[some])
            rows.append(begins + first)
            at.append(some[begins])
        all_at = np.concatenate(at)
        order = np.argsort(all_at)
        which = order[np.searchsorted(all_at, starts, sorter=order)]
        found: npt.NDArray[Any] = values[np.concatenate(rows)[which]]
        return found

    def weights(self) -> Float64Array:
        """Return the weight of each row of the blocks, block by block."""
        weights = np.repeat(self.block_weights, self.block_rows)
        if self.row_weights is not None:
            weights *= self.row_weights.view(self.dtype)[self.positions()]
        return weights

    def weights_of_positions(self) -> Float64Array:
        """Return the weight at each position of the panels, 0 where no row of the blocks is."""
        n_bytes = self.n_positions * np.dtype(np.float64).itemsize
        weights: Float64Array = self.memory.zeros(n_bytes).view(np.float64)
        for first in range(0, self.n_blocks, ROWS_AT_ONCE // BLOCK_ROWS):
            which = np.arange(first, min(self.n_blocks, first + ROWS_AT_ONCE // BLOCK_ROWS))
            some = self.blocks(which, total_weight=self.total_weight)
            weights[some.positions()] = some.weights()
        return weights

    def positions(self) -> IndexArray:
        """Return the position in the panels of each row of the blocks, block by block."""
        before = np.cumsum(self.block_rows) - self.block_rows
        starts = self.first_panel * PANEL_ROWS - before
        return np.repeat(starts, self.block_rows) + np.arange(self.n_rows)

    def digest(self) -> bytes:
        """Return a SHA-256 of all that the kernels read, and of labels that no sign tells."""
        import hashlib

        digest = hashlib.sha256(repr((self.n_samples, self.n_features, self.dtype)).encode())
        for array in (
            self.panels,
            self.row_weights,
            self.first_panel,
            self.block_rows,
            self.block_weights,
        ):
            if array is None:
                digest.update(b"-")
                continue
            hashed = array.view(np.uint8).data
            for first in range(0, len(hashed), HASHED_AT_ONCE):
                digest.update(hashed[first : first + HASHED_AT_ONCE])
        if not self.signed:
            digest.update(repr(("labels", self.labels.dtype.str)).encode())
            digest.update(self.labels.data)
        return digest.digest()

    def __getstate__(self) -> dict[str, Any]:
        if self.is_on_disk:
            raise TypeError(
                f"rows of an objective with storage ({self.memory.folder!r}) are in a file that "
                "only this process and those that it forks can read: make the objective in each "
                "process, or fork them after it is made."
            )
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled bytes lie anywhere; the widest vectors want them aligned.
        for name in ("panels", "row_weights"):
            if state[name] is not None:
                aligned = IN_MEMORY.zeros(state[name].size)
                aligned[:] = state[name]
                state[name] = aligned
        for name, value in state.items():
            object.__setattr__(self, name, value)
