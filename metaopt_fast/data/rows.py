"""What is asked of packed rows, however they are stored: the four questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, Self

from metaopt_fast.typing import Float64Array, IndexArray

# As in src/operands.hpp.
PANEL_ROWS = 8
BLOCK_ROWS = 64
BLOCKS_PER_SPAN = 8


class Moment(NamedTuple):
    """A matrix of sums of products, divided by 4**exponent so that it is in the range of floats."""

    matrix: Float64Array
    exponent: int


class Divisible(Protocol):
    """Rows that parts may be taken of: all that mini-batches ask, of sparse rows, too."""

    @property
    def kept(self) -> IndexArray:
        """Numbers of the rows that are stored, in ascending order."""

    def split(self, batches: Sequence[IndexArray]) -> list[Self]:
        """Return each batch of rows, in its order, as rows of their own."""


class Rows(Divisible, Protocol):
    """Rows that are packed once and evaluated many times.

    Rows are numbered as in X. Those of weight 0 are not stored, and columns of ones follow X's
    where there is an intercept.
    """

    @property
    def n_rows(self) -> int:
        """Rows that are stored."""

    @property
    def n_columns(self) -> int:
        """Columns of the stored rows, constant ones included."""

    def gather(self, rows: IndexArray) -> Iterator[Float64Array]:
        """Yield rows as they are stored, some at a time: arrays of shape (n, n_columns)."""

    def column_extents(self) -> Float64Array:
        """Return bounds of the absolute values in each column, shape (n_columns,)."""

    def second_moment(self, n_threads: int) -> Moment:
        """Return sum_i w_i x_i x_i' / sum_i w_i, or, where there are fewer rows than columns, the
        products of the rows with each other, whose eigenvalues are the same but for zeros."""
