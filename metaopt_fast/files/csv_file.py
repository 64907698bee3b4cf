"""Reader of text files, in the memory of the numbers; errors name line and column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from operator import itemgetter
from typing import IO, Any, cast

import numpy as np

from metaopt_fast.files.csv_columns import Features, Groups, Labels, number_of
from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.csv_plain import SEPARATORS, PlainReader
from metaopt_fast.files.table import DataFile, Table, complete
from metaopt_fast.files.wanted import Wanted, roles_of
from metaopt_fast.validation.text import count, quoted, shown


def read_csv(file: DataFile, wanted: Wanted) -> Table:
    """Read a table of text, of any separator, compressed or not."""
    if file.stream is not None:
        return _read(file, file.stream, wanted)
    with open(file.path, "rb") as stream:
        return _read(file, stream, wanted)


def _read(file: DataFile, stream: IO[bytes], wanted: Wanted) -> Table:
    path = file.name
    source = Lines(path, stream)
    index, names = source.header(wanted.names, wanted.has_header)
    _check_header(source, names, wanted)
    columns = (*index, *names)
    n_fields = len(columns)
    roles = roles_of(path, names, wanted).behind(len(index))
    feature_names = [columns[j] for j in roles.features]
    features = Features(feature_names, source, wanted)
    labels, groups = Labels(wanted.classes, wanted.most_classes), Groups()
    plain = None
    if source.separator in SEPARATORS:
        plain = PlainReader(source, n_fields, roles, features, labels, groups)
    pick, name = _picker(roles.features), str(wanted.target)
    for row in source.rows():
        if len(row) != n_fields:
            raise source.wrong(
                None,
                f"has {count(len(row), 'field')}, but the header has {n_fields}",
                "give each row as many as the header",
            )
        if roles.target is not None:
            labels.add(row[roles.target], source, name, wanted.missing == "drop")
        if roles.group is not None:
            groups.add(row[roles.group], source, str(wanted.group))
        features.add(pick(row))
        if plain is not None:
            plain.know(row)
            plain.read_on()
    if not features.values:
        raise ValueError(f"{shown(path)} has a header but no rows: pass a file with rows.")
    X, categories = features.finish()
    y, classes = np.zeros(len(X), np.uint8), cast(tuple[str, ...], ())
    if roles.target is not None:
        y, classes = labels.finish(path, name)
    notes = [
        f"column {k} has no name ({quoted(name)}), as an index that was saved: it was left out."
        for k, name in enumerate(index, start=1)
    ]
    table = Table(
        X,
        y,
        tuple(feature_names),
        classes,
        None if roles.group is None else groups.finish(path, str(wanted.group)),
        (*source.notes, *notes),
        categories,
    )
    return complete(path, table, wanted)


def _check_header(source: Lines, names: list[str], wanted: Wanted) -> None:
    """Raise an error where the names are none that are wanted, and numbers: those of a row."""
    is_known = not set(names).isdisjoint(wanted.names)
    # Commas of decimals may have been taken for those between columns.
    fields = [field for name in names for field in re.split(r"[;\t|]", name)]
    numbers = [field for field in fields if math.isfinite(number_of(field))]
    if wanted.has_header and not is_known and numbers:
        raise source.wrong(
            None,
            f"has {quoted(numbers[0])} where names of columns are wanted",
            "pass --no-header if it is a row, and x0, x1, ... as names, or write names above it",
        )


def _picker(positions: list[int]) -> Callable[[list[str]], list[Any]]:
    """Return what picks some of a row's fields."""
    first, last = positions[0], positions[-1]
    if len(positions) == last - first + 1:  # a slice takes half the time
        return itemgetter(slice(first, last + 1))
    pick = itemgetter(*positions)
    return lambda row: list(pick(row))
