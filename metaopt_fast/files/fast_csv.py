"""Large text files read by pyarrow or polars: the same table, or none.

The first rows have been read by this package's own reader, which knows what each column is then.
Whatever is not plain to the other library (a field that is no number, a row of other fields, a
quote) gives no table: the own reader goes on, takes what is right and says what is wrong.
"""

from __future__ import annotations

import mmap
import os
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.csv_columns import NO_NUMBER
from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.table import DataFile
from metaopt_fast.typing import Float64Array

# Bytes from which on it pays to import a library; and rows that say what columns are.
LEAST_BYTES, PROBED_ROWS = 2_000_000, 500
# One byte, none of which is a space: columns that are lined up have many.
SEPARATORS = ",;\t|"
# The end of a line to some, and an error to others.
LONE_RETURN = re.compile(rb"\r[^\n]")


class Columns(NamedTuple):
    """The columns of a file: numbers, by number of the field; of texts, which of the different ones
    each row has, and these in the order in which they come."""

    numbers: dict[int, Float64Array]
    codes: dict[int, npt.NDArray[Any]]
    texts: dict[int, list[str]]


def is_plain(file: DataFile, source: Lines) -> bool:
    """Whether a file may be read at once: a large one, as it lies on the disk."""
    return (
        file.stream is None
        and not source.packer
        and source.decimal != ","
        and source.separator in SEPARATORS
        and os.path.getsize(file.path) >= LEAST_BYTES
    )


def read_at_once(
    path: str, source: Lines, n_fields: int, numbers: list[int], texts: list[int], may_miss: bool
) -> Columns | None:
    """Return the columns of a file below its header, or None where they are not plain.

    Parameters
    ----------
    path : str
    source : Lines
    n_fields : int
        Fields of each row.
    numbers, texts : list of int
        Fields that are to be numbers, and those that are texts; others are looked at, too.
    may_miss : bool
        Whether numbers may be missing, which are NaN then.
    """
    with open(path, "rb") as file:
        for _ in range(source.header_lines):
            file.readline()
        begin = file.tell()
        # Closed with the last array that a library has made of it.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Each has a meaning of its own to each reader.
    if any(mapped.find(byte, begin) >= 0 for byte in (b'"', b"\0")):
        return None
    if mapped.find(b"\r", begin) >= 0 and LONE_RETURN.search(mapped, begin):
        return None
    view = memoryview(mapped)[begin:]
    for read in (_by_pyarrow, _by_polars):
        try:
            found = read(view, source.separator, n_fields, numbers, texts, may_miss)
        except ImportError:
            continue
        return found if found is not None and _are_numbers(found, may_miss) else None
    return None


def _are_numbers(found: Columns, may_miss: bool) -> bool:
    """Whether all numbers are finite, or missing where that may be."""
    return all(
        bool((np.isfinite(x) | (np.isnan(x) & may_miss)).all()) for x in found.numbers.values()
    )


def _by_pyarrow(
    view: memoryview,
    separator: str,
    n_fields: int,
    numbers: list[int],
    texts: list[int],
    may_miss: bool,
) -> Columns | None:
    import pyarrow
    from pyarrow import csv

    kinds = {str(j): pyarrow.string() for j in range(n_fields)}
    kinds |= {str(j): pyarrow.float64() for j in numbers}
    kinds |= {str(j): pyarrow.dictionary(pyarrow.int32(), pyarrow.string()) for j in texts}
    buffer = pyarrow.py_buffer(view)
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(buffer),
            csv.ReadOptions(column_names=list(map(str, range(n_fields)))),
            csv.ParseOptions(delimiter=separator, quote_char=False, double_quote=False),
            csv.ConvertOptions(
                column_types=kinds,
                null_values=sorted(NO_NUMBER) if may_miss else [],
                strings_can_be_null=False,
            ),
        )
    except pyarrow.ArrowException:
        return None
    codes, values = {}, {}
    for j in texts:
        chunks = table.column(j).unify_dictionaries().chunks
        codes[j] = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
        values[j] = chunks[0].dictionary.to_pylist()
    found = {j: table.column(j).to_numpy() for j in numbers}
    return Columns(found, codes, values)


def _by_polars(
    view: memoryview,
    separator: str,
    n_fields: int,
    numbers: list[int],
    texts: list[int],
    may_miss: bool,
) -> Columns | None:
    import polars

    # It takes a row of fewer fields for one that misses values at its end.
    if may_miss or n_fields - 1 not in (*numbers, *texts):
        return None
    kinds: dict[str, Any] = {str(j): polars.String for j in range(n_fields)}
    kinds |= {str(j): polars.Float64 for j in numbers}
    try:
        frame = polars.read_csv(
            bytes(view),
            separator=separator,
            has_header=False,
            schema=kinds,
            quote_char=None,
        )
    except polars.exceptions.PolarsError:
        return None
    if any(column.null_count() for column in frame.get_columns()):
        return None
    codes, values = {}, {}
    for j in texts:
        column = frame.get_column(str(j))
        values[j] = column.unique(maintain_order=True).to_list()
        position = {text: code for code, text in enumerate(values[j])}
        codes[j] = column.replace_strict(position, return_dtype=polars.Int32).to_numpy()
    found = {j: frame.get_column(str(j)).to_numpy() for j in numbers}
    return Columns(found, codes, values)
