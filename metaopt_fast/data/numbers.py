"""Rows of an array as the kernels read them: where and as they lie, or made float64."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import CHUNK_ROWS
from metaopt_fast.data.rows import PANEL_ROWS
from metaopt_fast.data.storage import IN_MEMORY, Memory, is_mapped
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

# Letters of the dtypes that the kernels read; half and long double are not among them.
KERNEL_DTYPES = "?bBhHiIlLqQfd"

# Bytes of a file from which memory may have no room for it.
DISTANT_BYTES = 1024 * 1024 * 1024
# Bytes of rows whose panels are written together.
REGION_BYTES = 64 * 1024 * 1024

Bytes: TypeAlias = npt.NDArray[np.uint8]
Positions: TypeAlias = npt.NDArray[np.signedinteger[Any]]


class Numbers(Protocol):
    """Rows of numbers, of which the kernels make norms and panels."""

    def row_norms(
        self, n_columns: int, single_precision: bool, norms: Float64Array, n_threads: int, /
    ) -> int:
        """Write each row's squared norm of the first columns, as the precision holds them, NaN
        where it does not; return how many rows those are."""

    def pack(
        self,
        row_at: IndexArray,
        positions: Positions,
        negative: Bytes | None,
        scale: float,
        first_panel: IndexArray,
        n_params: int,
        single_precision: bool,
        panels: Bytes,
        n_threads: int,
        /,
    ) -> float:
        """Write the rows at each position of panels, which are zeros, and return the largest
        absolute value. Each row has one position, or -1."""


class Converted:
    """Rows of a dtype that the kernels do not read, converted some at a time."""

    def __init__(self, X: npt.NDArray[Any]) -> None:
        self.X = X

    def row_norms(
        self, n_columns: int, single_precision: bool, norms: Float64Array, n_threads: int, /
    ) -> int:
        n_outside = 0
        for first in range(0, len(self.X), CHUNK_ROWS):
            chunk = to_float64(self.X[first : first + CHUNK_ROWS])
            own = norms[first : first + CHUNK_ROWS]
            numbers = _kernels.Numbers(chunk)
            n_outside += numbers.row_norms(n_columns, single_precision, own, n_threads)
        return n_outside

    def pack(
        self,
        row_at: IndexArray,
        positions: Positions,
        negative: Bytes | None,
        scale: float,
        first_panel: IndexArray,
        n_params: int,
        single_precision: bool,
        panels: Bytes,
        n_threads: int,
        /,
    ) -> float:
        largest, panel_size = 0.0, len(panels) // (len(row_at) // PANEL_ROWS)
        for first in range(0, len(row_at), CHUNK_ROWS):
            rows = row_at[first : first + CHUNK_ROWS]
            panel, n_panels = first // PANEL_ROWS, len(rows) // PANEL_ROWS
            extent = _kernels.Numbers(
                to_float64(self.X[rows])
            ).pack(
                np.where(rows < 0, -1, np.arange(len(rows))),
                positions,  # not asked for: rows that are converted are in one piece
                None if negative is None else negative[rows],
                scale,
                np.zeros(1, np.intp),  # the first of as many panels as there are
                n_params,
                single_precision,
                panels[panel * panel_size : (panel + n_panels) * panel_size],
                n_threads,
            )
            largest = max(largest, extent)
        return largest


class Distant:
    """Rows of a file that memory may have no room for. They are packed in another order than they
    lie in, and a disk is slow at that: they are first copied into regions, one for each range of
    panels, so that the file is read, and all is written, in large pieces."""

    memory: Memory

    def __init__(self, X: npt.NDArray[Any], memory: Memory) -> None:
        self.X, self.memory = X, memory

    def row_norms(
        self, n_columns: int, single_precision: bool, norms: Float64Array, n_threads: int, /
    ) -> int:
        return numbers_of(self.X).row_norms(n_columns, single_precision, norms, n_threads)

    def pack(
        self,
        row_at: IndexArray,
        positions: Positions,
        negative: Bytes | None,
        scale: float,
        first_panel: IndexArray,
        n_params: int,
        single_precision: bool,
        panels: Bytes,
        n_threads: int,
        /,
    ) -> float:
        size = max(PANEL_ROWS, REGION_BYTES // max(1, self.X[:1].nbytes))
        region_rows = [
            int(np.count_nonzero(row_at[first : first + size] >= 0))
            for first in range(0, len(row_at), size)
        ]
        copies, copy_of = self._copy(positions, size, region_rows)
        copy_at = self.memory.empty(len(row_at), np.intp)
        for first in range(0, len(row_at), size):
            rows = row_at[first : first + size]
            copy_at[first : first + size] = np.where(rows < 0, -1, copy_of[rows])
        if negative is not None:
            of_copies = self.memory.empty(len(copies), np.uint8)
            for first in range(0, len(positions), size):
                some = slice(first, first + size)
                kept = positions[some] >= 0
                of_copies[copy_of[some][kept]] = negative[some][kept]
            negative = of_copies
        return numbers_of(copies).pack(
            copy_at,
            positions,  # not asked for: rows of a copy are in one piece
            negative,
            scale,
            first_panel,
            n_params,
            single_precision,
            panels,
            n_threads,
        )

    def _copy(
        self, positions: Positions, size: int, region_rows: list[int]
    ) -> tuple[npt.NDArray[Any], IndexArray]:
        """Return the rows region by region, and the number of each one's copy."""
        ends = np.cumsum(region_rows)
        free = ends - region_rows
        copies = self.memory.empty((int(ends[-1]), self.X.shape[1]), self.X.dtype)
        copy_of: IndexArray = self.memory.empty(len(self.X), np.intp)
        for first in range(0, len(self.X), size):
            some = positions[first : first + size]
            chunk = np.ascontiguousarray(self.X[first : first + size])
            # Regions of rows without a position are below 0, and come first.
            regions = some // size
            order = np.argsort(regions, kind="stable")
            begins = np.flatnonzero(np.diff(regions[order], prepend=-1)).tolist()
            for begin, end in pairwise([*begins, len(order)]):
                rows, region = order[begin:end], regions[order[begin]]
                at = int(free[region])
                copies[at : at + len(rows)] = chunk[rows]
                copy_of[first + rows] = np.arange(at, at + len(rows))
                free[region] += len(rows)
        return copies, copy_of


def numbers_of(X: npt.NDArray[Any], memory: Memory = IN_MEMORY) -> Numbers:
    """Return the rows of X, not copied where the kernels read its dtype, or where they are in a
    large file and are packed into another one."""
    if memory.folder is not None and X.nbytes >= DISTANT_BYTES and is_mapped(X):
        return Distant(X, memory)
    if X.dtype.isnative and X.dtype.char in KERNEL_DTYPES:
        return _kernels.Numbers(X)
    return Converted(X)


def chunks(X: npt.NDArray[Any], dtype: str) -> Iterator[Float64Array]:
    """Yield the rows in C order as float64, some at a time, each checked."""
    for first in range(0, len(X), CHUNK_ROWS):
        chunk = to_float64(X[first : first + CHUNK_ROWS])
        check_range(chunk, first, dtype)
        yield chunk


def check_range(chunk: Float64Array, first_row: int, dtype: str) -> None:
    """Raise ValueError where a number is not finite, or beyond the range of the dtype."""
    is_in_range = np.abs(chunk) <= np.finfo(dtype).max
    if not is_in_range.all():
        row, column = np.argwhere(~is_in_range)[0]
        raise ValueError(
            f"X has {chunk[row, column]} in row {first_row + row}, column {column}: pass finite "
            f"numbers in the range of {dtype}."
        )
