"""Reader of Arrow's own files, which are Feather's, and of its streams, by pyarrow or polars."""

from __future__ import annotations

import os
from typing import Any

from metaopt_fast.files.parquet_file import Arrow, Column, Polars, read_columns
from metaopt_fast.files.table import DataFile, Table
from metaopt_fast.files.wanted import Wanted

# What files begin with; streams of batches begin with their schema.
BEGINNING = b"ARROW1"


class ArrowBatches(Arrow):
    """A file of batches as pyarrow reads it."""

    def open(self) -> None:
        """Map the file, and say what it holds."""
        import pyarrow.ipc

        source = pyarrow.memory_map(self._path)
        is_file = has_beginning(self._path)
        opened = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
        self._table = opened(source).read_all()
        self.describe(self._table.schema)
        self.n_rows, self.n_bytes = self._table.num_rows, self._table.nbytes

    def read(self, columns: list[Column]) -> list[Any]:
        """Return some columns."""
        return [self._table.column(column.position) for column in columns]


class PolarsBatches(Polars):
    """A file of batches as polars reads it."""

    def open(self) -> None:
        """Read the file, and say what it holds."""
        import polars

        read = polars.read_ipc if has_beginning(self._path) else polars.read_ipc_stream
        self._frame = read(self._path)
        # Polars does not tell what pandas wrote of an index: its levels have names of their own.
        self.metadata = None
        self.describe(self._frame.schema)
        self.n_rows, self.n_bytes = len(self._frame), 0

    def read(self, columns: list[Column]) -> list[Any]:
        """Return some columns."""
        return [self._frame.get_column(column.name).alias("values") for column in columns]


def has_beginning(path: str) -> bool:
    """Whether a path is of a file of batches, not of a stream."""
    with open(path, "rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING


def read_arrow(file: DataFile, wanted: Wanted) -> Table:
    """Read a file of Arrow's by pyarrow or polars."""
    kind = os.path.splitext(file.path)[1]
    return read_columns(file, wanted, kind, (ArrowBatches, PolarsBatches))
