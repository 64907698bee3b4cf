"""Reader of Parquet files by pyarrow or polars, column by column, after a look at what they claim.

The columns are those that `pandas.read_parquet` gives: an index that was saved is no feature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.errors import DAMAGED, damaged
from metaopt_fast.files.numpy_file import check_size
from metaopt_fast.files.table import (
    DataFile,
    Table,
    check_n_groups,
    position_of_target,
    take_group,
    two_classes,
)
from metaopt_fast.validation.frames import missing_of, values_of
from metaopt_fast.validation.labels import Labels, labels_of_objects
from metaopt_fast.validation.text import MISSING_CURE, VALUE_WANTED, quoted, shown
from metaopt_fast.validation.values import to_float64

# What pyarrow calls the level of an index that has no name.
INDEX_LEVEL = re.compile(r"__index_level_\d+__")
# Bytes of a row's label and group, and of the numbers that are read at a time.
ROW_BYTES, PIECE = 32, 2**24


class _Column(NamedTuple):
    """A column of a file: "number", "text" or "other", and the dtype in its library's words."""

    name: str
    kind: str
    dtype: str
    position: int


class _Arrow:
    """A file as pyarrow reads it."""

    def __init__(self, path: str) -> None:
        import pyarrow
        import pyarrow.parquet

        self.errors: tuple[type[BaseException], ...] = (pyarrow.ArrowException, *DAMAGED)
        self._path = path

    def open(self) -> None:
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(self._path)
        schema, claims = file.schema_arrow, file.metadata
        self.metadata = (schema.metadata or {}).get(b"pandas")
        self.columns = [
            _Column(field.name, self._kind(field.type), str(field.type), j)
            for j, field in enumerate(schema)
        ]
        parts = [claims.row_group(k) for k in range(claims.num_row_groups)]
        self.n_rows = sum(part.num_rows for part in parts)
        self.n_bytes = sum(part.total_byte_size for part in parts)
        # As the different texts and their numbers: as texts, each row would have a copy.
        texts = [column.name for column in self.columns if column.kind == "text"]
        self._file = pyarrow.parquet.ParquetFile(self._path, read_dictionary=texts)

    @staticmethod
    def _kind(dtype: Any) -> str:
        from pyarrow import types

        dtype = dtype.value_type if types.is_dictionary(dtype) else dtype
        numbers = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        if types.is_null(dtype) or any(is_kind(dtype) for is_kind in numbers):
            return "number"
        is_view = getattr(types, "is_string_view", types.is_string)  # since 16
        texts = (types.is_string, types.is_large_string, is_view)
        return "text" if any(is_kind(dtype) for is_kind in texts) else "other"

    def read(self, columns: list[_Column]) -> list[Any]:
        table = self._file.read(columns=[column.name for column in columns])
        return [table.column(column.name) for column in columns]

    def labels(self, texts: Any) -> Labels:
        encoded = texts if str(texts.type).startswith("dictionary") else texts.dictionary_encode()
        chunks = encoded.unify_dictionaries().chunks
        codes = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
        used, codes = np.unique(codes, return_inverse=True)
        return _sorted_texts(chunks[0].dictionary.take(used).to_pylist(), codes)


class _Polars:
    """A file as polars reads it."""

    def __init__(self, path: str) -> None:
        import polars

        errors = polars.exceptions
        self.errors: tuple[type[BaseException], ...] = (
            errors.PolarsError,
            errors.PanicException,
            *DAMAGED,
        )
        self._path = path

    def open(self) -> None:
        import polars

        file = polars.scan_parquet(self._path, glob=False)
        self.metadata = polars.read_parquet_metadata(self._path).get("pandas")
        self.columns = [
            _Column(name, self._kind(dtype), str(dtype), j)
            for j, (name, dtype) in enumerate(file.collect_schema().items())
        ]
        self.n_rows = int(file.select(polars.len()).collect().item())
        self.n_bytes = 0  # polars does not say it, and shares the bytes of equal texts

    @staticmethod
    def _kind(dtype: Any) -> str:
        import polars

        if dtype.is_numeric() or dtype in (polars.Boolean, polars.Null):
            return "number"
        texts = (polars.String, polars.Categorical, polars.Enum)
        return "text" if any(dtype == text for text in texts) else "other"

    def read(self, columns: list[_Column]) -> list[Any]:
        import polars

        # By their positions: a name may be a pattern.
        positions = [column.position for column in columns]
        frame = polars.read_parquet(self._path, columns=positions, glob=False)
        return [frame.get_column(column.name).alias("values") for column in columns]

    def labels(self, texts: Any) -> Labels:
        import polars

        texts = texts.cast(polars.String)
        codes = texts.rank("dense").to_numpy().astype(np.intp) - 1
        return Labels(texts.unique().sort().to_list(), codes)


def read_parquet(file: DataFile, target: str | None, group: str | None) -> Table:
    path, source = file.name, _library(file.path)
    try:
        source.open()
        return _read(path, source, target, group)
    except source.errors as error:
        raise damaged(path, error, ".parquet") from None


def _library(path: str) -> _Arrow | _Polars:
    """Return the file as whichever library reads it that there is."""
    for library in (_Arrow, _Polars):
        try:
            return library(path)
        except ImportError:
            continue
    raise ImportError(
        "reading Parquet needs pyarrow or polars: pip install 'metaopt_fast[parquet]'."
    )


def _read(path: str, source: _Arrow | _Polars, target: str | None, group: str | None) -> Table:
    index = index_of(source.metadata)
    left_out = [c for c in source.columns if c.name in index or INDEX_LEVEL.fullmatch(c.name)]
    columns = [c for c in source.columns if c not in left_out]
    names = [column.name for column in columns]
    label = columns.pop(position_of_target(path, names, target))
    names.remove(label.name)
    position = take_group(path, names, group)
    grouping = None if position is None else columns.pop(position)
    if source.n_rows == 0:
        raise ValueError(f"{shown(path)} has columns but no rows: pass a file with rows.")
    for column in columns:
        if column.kind != "number":
            raise ValueError(
                f"{shown(path)}, column {quoted(column.name)} does not hold numbers alone "
                f"({column.dtype[:40]}): drop it, or convert it."
            )
    size = source.n_rows * (8 * len(columns) + ROW_BYTES)
    check_size(f"{shown(path)}, of {source.n_rows:,} rows,", max(size, source.n_bytes))
    # The labels first: what they lack is said before the features are read.
    where = f"column {quoted(label.name)}"
    y, class_names = two_classes(path, *_labels(path, source, label), where)
    groups = None if grouping is None else _groups(path, source, grouping)
    X = np.empty((source.n_rows, len(columns)))
    for j, (column, values) in enumerate(_columns(path, source, columns, MISSING_CURE)):
        X[:, j] = _numbers(path, column, values)
    notes = [
        f"column {quoted(column.name)} is the index of the frame that was saved: it was left out."
        for column in left_out
    ]
    return Table(X, y, tuple(names), class_names, groups, tuple(notes))


def _columns(
    path: str, source: _Arrow | _Polars, columns: list[_Column], cure: str
) -> Iterator[tuple[_Column, Any]]:
    """Yield columns that miss no value, of as many rows as the file claims."""
    # Some at a time: each reading begins with all that the file says of its columns.
    at_a_time = max(1, PIECE // (8 * source.n_rows))
    for first in range(0, len(columns), at_a_time):
        some = columns[first : first + at_a_time]
        for column, values in zip(some, source.read(some), strict=True):
            _check_column(path, source.n_rows, column, values, cure)
            yield column, values


def _check_column(path: str, n_rows: int, column: _Column, values: Any, cure: str) -> None:
    if len(values) != n_rows:
        raise ValueError(f"column {quoted(column.name)} has {len(values)} rows")
    if (row := missing_of(values)) is not None:
        is_float = column.kind == "number" and "bool" not in column.dtype.lower()
        what = "nan or nothing" if is_float else "nothing"
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(column.name)} has {what}: {cure}."
        )


def _numbers(path: str, column: _Column, values: Any) -> npt.NDArray[np.float64]:
    numbers = to_float64(values_of(values))  # objects are decimals, and none is beyond all floats
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        what, cure = f"{numbers[row]}", "pass finite numbers"
        if np.isnan(numbers[row]):
            what, cure = "nan or nothing", MISSING_CURE
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(column.name)} has {what}: {cure}."
        )
    return numbers


def _labels(path: str, source: _Arrow | _Polars, column: _Column) -> Labels:
    """Return the labels of a column, compared as what they are."""
    if column.kind == "other":
        raise ValueError(
            f"{shown(path)}, column {quoted(column.name)} holds neither numbers nor text "
            f"({column.dtype[:40]}): choose another one."
        )
    ((_, values),) = _columns(path, source, [column], VALUE_WANTED)
    if column.kind == "text":
        return source.labels(values)
    array = values_of(values)
    where = f"{shown(path)}, column {quoted(column.name)}"
    if array.dtype.kind == "O":
        return labels_of_objects(where, array.tolist(), "numbers, strings or truth values")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array)))
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(column.name)} has {array[row]}: "
            f"{VALUE_WANTED}."
        )
    different, codes = np.unique(array, return_inverse=True)
    return Labels(different.tolist(), codes.astype(np.intp))


def _groups(path: str, source: _Arrow | _Polars, column: _Column) -> npt.NDArray[Any]:
    labels = _labels(path, source, column)
    check_n_groups(path, column.name, len(labels.values))
    values = np.empty(len(labels.values), object)
    values[:] = labels.values
    groups: npt.NDArray[Any] = values[labels.codes]
    return groups


def _sorted_texts(texts: list[str], codes: npt.NDArray[Any]) -> Labels:
    """Return labels of texts, of which some may be equal, and which one is each row's."""
    order = {text: k for k, text in enumerate(sorted(set(texts)))}
    return Labels(list(order), np.array([order[text] for text in texts], np.intp)[codes])


def index_of(metadata: Any) -> set[str]:
    """Return the columns that are levels of an index, by what pandas wrote about the file."""
    try:
        levels = json.loads(metadata or "{}")["index_columns"]
        return {level for level in levels if isinstance(level, str)}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
