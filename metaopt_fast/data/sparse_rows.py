"""Rows of which most numbers are 0: sparse matrices of SciPy, read once and checked.

SciPy is not imported: a sparse matrix is known by its methods, and its arrays are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import products
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.values import is_sparse, to_float64

# Rows and columns are numbered by 32 bits.
MOST_LINES = 2**31 - 1
# Vectors that a product is of together, as in src/operands.hpp.
LANES = (1, 8, 24)
WANTED = "a sparse matrix of shape (n_samples, n_features), of real numbers"
DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """Numbers of rows, those of row i at [starts[i], starts[i + 1]), each of one of the columns, in
    ascending order. A number that is not there is 0; others may be, too. `precision` is that of
    what they were read from."""

    starts: IndexArray
    columns: npt.NDArray[np.intc]
    numbers: Float64Array
    n_columns: int
    precision: np.dtype[Any] = DOUBLE

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.starts) - 1, self.n_columns

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: Any) -> Self:
        """Return some rows, as NumPy would index the first axis with one index."""
        which = np.arange(len(self))[rows]
        sizes = np.diff(self.starts)[which]
        starts = np.concatenate([np.zeros(1, np.intp), np.cumsum(sizes)])
        at = np.arange(starts[-1]) + np.repeat(self.starts[which] - starts[:-1], sizes)
        return type(self)(starts, self.columns[at], self.numbers[at], self.n_columns)

    def transposed(self) -> SparseRows:
        """Return the columns as rows."""
        return _sorted(self.columns, self.row_of_numbers, self.numbers, self.n_columns, len(self))

    @property
    def row_of_numbers(self) -> npt.NDArray[np.intc]:
        """The row of each number."""
        return np.repeat(np.arange(len(self), dtype=np.intc), np.diff(self.starts))

    def scaled(self, factors: Float64Array) -> Self:
        """Return the rows, each times a factor."""
        numbers = self.numbers * np.repeat(factors, np.diff(self.starts))
        return type(self)(self.starts, self.columns, numbers, self.n_columns)

    def toarray(self) -> Float64Array:
        """Return the rows as an array."""
        found = np.zeros(self.shape)
        found[self.row_of_numbers, self.columns] = self.numbers
        return found

    def matrix(self) -> _kernels.SparseMatrix:
        """Return what the kernels read."""
        return _kernels.SparseMatrix(self.starts, self.columns, self.numbers)

    def products(self, thetas: Float64Array, n_threads: int = 1) -> Float64Array:
        """Return thetas X', the product of each theta of shape (n_columns,) with each row."""
        matrix, found, first = self.matrix(), np.empty((len(thetas), len(self))), 0
        while first < len(thetas):
            lanes = next(n for n in LANES if n >= min(len(thetas) - first, LANES[-1]))
            some = thetas[first : first + lanes]
            x = np.zeros((self.n_columns, lanes))
            x[:, : len(some)] = some.T
            out = np.empty((len(self), lanes))
            matrix.times(x, out, n_threads)
            found[first : first + lanes] = out[:, : len(some)].T
            first += lanes
        return found


def products_of(thetas: Float64Array, X: Array | SparseRows) -> Float64Array:
    """Return thetas X', in a fixed order of sums, of rows of either kind."""
    return X.products(thetas) if isinstance(X, SparseRows) else products(thetas, X)


def some_columns(X: Any, which: BoolArray) -> Any:
    """Return some columns of rows of either kind."""
    if isinstance(X, SparseRows):
        return X.transposed()[which].transposed()
    return X[:, which]


def sparse_rows(name: str, value: Any) -> SparseRows | None:
    """Return the rows of a sparse matrix of SciPy, checked: sorted in a copy, numbers of one place
    added, all finite. None of anything else."""
    if not is_sparse(value):
        return None
    shape = tuple(map(int, value.shape))
    if len(shape) != 2 or 0 in shape:
        cure = "one row and one column" if len(shape) == 2 else "the two dimensions of rows"
        raise ValueError(f"{name} has shape {shape}: pass at least {cure}.")
    if max(shape) > MOST_LINES:
        raise ValueError(
            f"{name} has shape {shape}: pass at most {MOST_LINES:,} rows and as many columns."
        )
    if value.format == "coo":
        rows = _of_places(name, value.data, *_places_of(value), shape)
    else:
        by_column = value.format == "csc"
        lists = value if by_column or value.format == "csr" else value.tocsr()
        rows = _of_lists(name, lists, shape, by_column)
    if not np.isfinite(rows.numbers).all():
        at = int(np.isfinite(rows.numbers).argmin())
        raise ValueError(
            f"{name} has {rows.numbers[at]} in row {rows.row_of_numbers[at]}, column "
            f"{rows.columns[at]}: pass finite numbers."
        )
    return replace(rows, precision=SINGLE) if value.dtype == SINGLE else rows


def _places_of(value: Any) -> tuple[Array, Array]:
    """Return the rows and the columns of a matrix of coordinates."""
    if hasattr(value, "coords"):
        rows, columns = value.coords
        return rows, columns
    return value.row, value.col


def _of_lists(name: str, value: Any, shape: tuple[int, ...], by_column: bool) -> SparseRows:
    """Return the rows of a matrix that has a list for each row, or each column."""
    n_lines, n_places = shape[::-1] if by_column else shape
    ends = np.asarray(value.indptr)
    places, numbers = np.asarray(value.indices), _real(name, value.data)
    # Differences might leave the dtype's range, and come back as sizes.
    falls = (ends[1:] < ends[:-1]).any()
    if len(ends) != n_lines + 1 or ends[0] != 0 or falls or ends[-1] > len(places):
        raise ValueError(
            f"{name} has an indptr that is no list of the ends of its {n_lines:,} "
            f"{'columns' if by_column else 'rows'}: pass {WANTED} that SciPy has made."
        )
    places, numbers = places[: int(ends[-1])], numbers[: int(ends[-1])]
    _check_places(name, places, n_places, "row" if by_column else "column")
    if len(numbers) != len(places):
        raise ValueError(
            f"{name} has {len(places):,} indices and {len(numbers):,} numbers: pass {WANTED} that "
            "SciPy has made."
        )
    starts, places = ends.astype(np.intp), places.astype(np.intc)
    lines = SparseRows(starts, places, numbers, n_places)
    if not _is_ascending(lines):
        # Two sorts: those of a line are in the order of their places then.
        lines = _added_up(lines.transposed().transposed())
    return lines.transposed() if by_column else lines


def _of_places(
    name: str, numbers: Array, rows: Array, columns: Array, shape: tuple[int, ...]
) -> SparseRows:
    """Return the rows of numbers of which each has its row and its column."""
    numbers = _real(name, numbers)
    _check_places(name, rows, shape[0], "row")
    _check_places(name, columns, shape[1], "column")
    of_rows, of_columns = rows.astype(np.intc), columns.astype(np.intc)
    by_column = _sorted(of_columns, of_rows, numbers, shape[1], shape[0])
    found = by_column.transposed()
    return found if _is_ascending(found) else _added_up(found)


def _real(name: str, numbers: Any) -> Float64Array:
    """Return the numbers of a matrix as float64."""
    array = np.asarray(numbers)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, not of real numbers: pass {WANTED}.")
    return to_float64(array)


def _check_places(name: str, places: Array, n_places: int, kind: str) -> None:
    """Raise an error where a number stands in no row, or in no column."""
    if not len(places):
        return
    for place in (int(places.min()), int(places.max())):
        if not 0 <= place < n_places:
            raise ValueError(
                f"{name} has a number in {kind} {place}, and {n_places:,} {kind}s: pass {WANTED} "
                "that SciPy has made."
            )


def _is_ascending(rows: SparseRows) -> bool:
    """Whether the columns of each row ascend, none of them twice."""
    rises = np.diff(rows.columns) > 0
    # Where a row begins, any column may follow that before.
    inner = rows.starts[1:-1]
    rises[inner[(inner > 0) & (inner < len(rows.columns))] - 1] = True
    return bool(rises.all())


def _added_up(rows: SparseRows) -> SparseRows:
    """Return sorted rows whose numbers of one place are one, their sum in their order."""
    lines = rows.row_of_numbers
    is_first = np.ones(len(lines), np.bool_)
    is_first[1:] = (np.diff(lines) != 0) | (np.diff(rows.columns) != 0)
    firsts = np.flatnonzero(is_first)
    with np.errstate(all="ignore"):
        numbers = np.add.reduceat(rows.numbers, firsts) if len(firsts) else rows.numbers
    sizes = np.bincount(lines[firsts], minlength=len(rows))
    starts = np.concatenate([np.zeros(1, np.intp), np.cumsum(sizes)])
    return SparseRows(starts, rows.columns[firsts], numbers, rows.n_columns)


def _sorted(
    lines: npt.NDArray[np.intc],
    places: npt.NDArray[np.intc],
    numbers: Float64Array,
    n_lines: int,
    n_places: int,
) -> SparseRows:
    """Return the lines of numbers, each with its line and its place, in the given order."""
    starts = np.zeros(n_lines + 1, np.intp)
    sorted_places, sorted_numbers = np.empty(len(lines), np.intc), np.empty(len(lines))
    _kernels.sort_lines(lines, places, numbers, starts, sorted_places, sorted_numbers)
    return SparseRows(starts, sorted_places, sorted_numbers, n_places)


def largest_of(rows: SparseRows) -> float:
    """Return the largest absolute value."""
    return float(np.abs(rows.numbers).max(initial=0.0))


def longest_of(rows: SparseRows) -> float:
    """Return an upper bound of the lengths of rows, whose squares are in the range of floats."""
    squares = np.square(rows.numbers)
    filled = np.flatnonzero(np.diff(rows.starts))
    if not len(filled):
        return 0.0
    # Sums of squares: off by a part of their number's roundings.
    longest = np.add.reduceat(squares, rows.starts[filled]).max()
    return math.sqrt(float(longest)) * (1 + 1e-6)
