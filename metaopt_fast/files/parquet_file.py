"""Reader of Parquet files by pyarrow or polars, column by column, after a look at what they claim.

The columns are those that `pandas.read_parquet` gives: an index that was saved is no feature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.errors import DAMAGED, damaged
from metaopt_fast.files.numpy_file import check_size
from metaopt_fast.files.table import (
    MAX_CATEGORIES,
    TEXT_CURE,
    DataFile,
    Table,
    check_n_groups,
    classes_of,
    complete,
    too_many_categories,
)
from metaopt_fast.files.wanted import Wanted, roles_of
from metaopt_fast.validation.frames import missing_mask, missing_of, values_of
from metaopt_fast.validation.labels import Labels, labels_of_objects
from metaopt_fast.validation.text import VALUE_WANTED, quoted, shown
from metaopt_fast.validation.values import to_float64

# What pyarrow calls the level of an index that has no name.
INDEX_LEVEL = re.compile(r"__index_level_\d+__")
OTHER_CURE = "drop it (--drop COLUMN), or convert it"
# Bytes of a row's label and group, and of the numbers that are read at a time.
ROW_BYTES, PIECE = 32, 2**24


class Column(NamedTuple):
    """A column of a file: "number", "text" or "other", and the dtype in its library's words."""

    name: str
    kind: str
    dtype: str
    position: int


class Arrow:
    """A file as pyarrow reads it."""

    def __init__(self, path: str) -> None:
        import pyarrow
        import pyarrow.parquet

        self.errors: tuple[type[BaseException], ...] = (pyarrow.ArrowException, *DAMAGED)
        self._path = path

    def open(self) -> None:
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(self._path)
        claims = file.metadata
        self.describe(file.schema_arrow)
        parts = [claims.row_group(k) for k in range(claims.num_row_groups)]
        self.n_rows: int = sum(part.num_rows for part in parts)
        self.n_bytes: int = sum(part.total_byte_size for part in parts)
        # As the different texts and their numbers: as texts, each row would have a copy.
        texts = [column.name for column in self.columns if column.kind == "text"]
        self._file = pyarrow.parquet.ParquetFile(self._path, read_dictionary=texts)

    def describe(self, schema: Any) -> None:
        """Say which columns there are."""
        self.metadata = (schema.metadata or {}).get(b"pandas")
        self.columns: list[Column] = [
            Column(field.name, self._kind(field.type), str(field.type), j)
            for j, field in enumerate(schema)
        ]

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

    def read(self, columns: list[Column]) -> list[Any]:
        table = self._file.read(columns=[column.name for column in columns])
        return [table.column(column.name) for column in columns]

    def labels(self, texts: Any) -> Labels:
        encoded = texts if str(texts.type).startswith("dictionary") else texts.dictionary_encode()
        chunks = encoded.unify_dictionaries().chunks
        codes = np.concatenate([np.asarray(chunk.indices) for chunk in chunks])
        used, codes = np.unique(codes, return_inverse=True)
        return _sorted_texts(chunks[0].dictionary.take(used).to_pylist(), codes)


class Polars:
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
        self.describe(file.collect_schema())
        self.n_rows: int = int(file.select(polars.len()).collect().item())
        self.n_bytes: int = 0  # polars does not say it, and shares the bytes of equal texts

    def describe(self, schema: Any) -> None:
        """Say which columns there are."""
        self.columns: list[Column] = [
            Column(name, self._kind(dtype), str(dtype), j)
            for j, (name, dtype) in enumerate(schema.items())
        ]

    @staticmethod
    def _kind(dtype: Any) -> str:
        import polars

        if dtype.is_numeric() or dtype in (polars.Boolean, polars.Null):
            return "number"
        texts = (polars.String, polars.Categorical, polars.Enum)
        return "text" if any(dtype == text for text in texts) else "other"

    def read(self, columns: list[Column]) -> list[Any]:
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


def read_parquet(file: DataFile, wanted: Wanted) -> Table:
    """Read a Parquet file by pyarrow or polars."""
    return read_columns(file, wanted, ".parquet", (Arrow, Polars))


def read_columns(
    file: DataFile, wanted: Wanted, kind: str, libraries: Sequence[type[Arrow | Polars]]
) -> Table:
    """Read a file of a kind by the first of some libraries that is installed."""
    path, source = file.name, _library(file.path, kind, libraries)
    try:
        source.open()
        return _read(path, source, wanted)
    except source.errors as error:
        raise damaged(path, error, kind) from None


def _library(path: str, kind: str, libraries: Sequence[type[Arrow | Polars]]) -> Arrow | Polars:
    """Return the file as whichever library reads it that there is."""
    for library in libraries:
        try:
            return library(path)
        except ImportError:
            continue
    what = "Parquet" if kind == ".parquet" else "Arrow's files"
    raise ImportError(
        f"reading {what} needs pyarrow or polars: pip install 'metaopt_fast[parquet]'."
    )


def _read(path: str, source: Arrow | Polars, wanted: Wanted) -> Table:
    index = index_of(source.metadata)
    left_out = [c for c in source.columns if c.name in index or INDEX_LEVEL.fullmatch(c.name)]
    columns = [c for c in source.columns if c not in left_out]
    roles = roles_of(path, [column.name for column in columns], wanted)
    label = None if roles.target is None else columns[roles.target]
    grouping = None if roles.group is None else columns[roles.group]
    columns = [columns[position] for position in roles.features]
    if source.n_rows == 0:
        raise ValueError(f"{shown(path)} has columns but no rows: pass a file with rows.")
    for column in columns:
        _check_kind(path, column, wanted)
    size = source.n_rows * (8 * len(columns) + ROW_BYTES)
    check_size(f"{shown(path)}, of {source.n_rows:,} rows,", max(size, source.n_bytes))
    y, class_names = np.zeros(source.n_rows, np.uint8), cast(tuple[str, ...], ())
    if label is not None:
        # The labels first: what they lack is said before the features are read.
        where = f"column {quoted(label.name)}"
        y, class_names = classes_of(path, *_labels(path, source, label), where, wanted)
    groups = None if grouping is None else _groups(path, source, grouping)
    X = np.empty((source.n_rows, len(columns)))
    cure = None if wanted.may_miss else wanted.missing_cure
    categories = {}
    for j, (column, values) in enumerate(_columns(path, source, columns, cure)):
        X[:, j], texts = _feature(path, source, column, values, wanted)
        if texts is not None:
            categories[j] = texts
    notes = [
        f"column {quoted(column.name)} is the index of the frame that was saved: it was left out."
        for column in left_out
    ]
    names = tuple(column.name for column in columns)
    table = Table(X, y, names, class_names, groups, tuple(notes), categories)
    return complete(path, table, wanted)


def _check_kind(path: str, column: Column, wanted: Wanted) -> None:
    """Raise the error of a feature that is of no kind that is wanted."""
    where, is_text = f"{shown(path)}, column {quoted(column.name)}", wanted.is_text(column.name)
    if column.kind == "number" and is_text:
        raise ValueError(f"{where} holds numbers where text is wanted: convert it.")
    if column.kind == "other" or (column.kind == "text" and is_text is False):
        cure = TEXT_CURE if column.kind == "text" and wanted.texts is None else OTHER_CURE
        raise ValueError(f"{where} does not hold numbers alone ({column.dtype[:40]}): {cure}.")


def _feature(
    path: str, source: Arrow | Polars, column: Column, values: Any, wanted: Wanted
) -> tuple[npt.NDArray[np.float64], tuple[str, ...] | None]:
    """Return the numbers of a feature, or the codes and the values of one that is text."""
    is_there = ~missing_mask(values) if wanted.may_miss else np.ones(len(values), bool)
    present = values
    if not is_there.all():
        present = (values.drop_nulls if hasattr(values, "drop_nulls") else values.drop_null)()
    numbers = np.full(len(values), np.nan)
    if column.kind == "number":
        numbers[is_there] = _numbers(path, column, present, wanted)
        return numbers, None
    labels = source.labels(present) if is_there.any() else Labels([], np.zeros(0, np.intp))
    texts, codes = labels
    if len(texts) > MAX_CATEGORIES:
        raise too_many_categories(path, column.name)
    numbers[is_there] = codes
    return numbers, tuple(texts)


def _columns(
    path: str, source: Arrow | Polars, columns: list[Column], cure: str | None
) -> Iterator[tuple[Column, Any]]:
    """Yield columns of as many rows as the file claims, that miss no value if there is a cure."""
    # Some at a time: each reading begins with all that the file says of its columns.
    at_a_time = max(1, PIECE // (8 * source.n_rows))
    for first in range(0, len(columns), at_a_time):
        some = columns[first : first + at_a_time]
        for column, values in zip(some, source.read(some), strict=True):
            _check_column(path, source.n_rows, column, values, cure)
            yield column, values


def _check_column(path: str, n_rows: int, column: Column, values: Any, cure: str | None) -> None:
    if len(values) != n_rows:
        raise ValueError(f"column {quoted(column.name)} has {len(values)} rows")
    if cure is not None and (row := missing_of(values)) is not None:
        is_float = column.kind == "number" and "bool" not in column.dtype.lower()
        what = "nan or nothing" if is_float else "nothing"
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(column.name)} has {what}: {cure}."
        )


def _numbers(path: str, column: Column, values: Any, wanted: Wanted) -> npt.NDArray[np.float64]:
    numbers = to_float64(values_of(values))  # objects are decimals, and none is beyond all floats
    finite = ~np.isinf(numbers) if wanted.may_miss else np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite))
        what, cure = f"{numbers[row]}", "pass finite numbers"
        if np.isnan(numbers[row]):
            what, cure = "nan or nothing", wanted.missing_cure
        raise ValueError(
            f"{shown(path)}, row {row}, column {quoted(column.name)} has {what}: {cure}."
        )
    return numbers


def _labels(path: str, source: Arrow | Polars, column: Column) -> Labels:
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


def _groups(path: str, source: Arrow | Polars, column: Column) -> npt.NDArray[Any]:
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
