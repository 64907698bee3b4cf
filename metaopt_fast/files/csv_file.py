"""Reader of text files, row by row, in the memory of the numbers; errors name line and column."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import IO, Any, cast

import numpy as np

from metaopt_fast.files.csv_columns import Features, Groups, Labels
from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.table import DataFile, Table, complete
from metaopt_fast.files.wanted import Wanted, roles_of
from metaopt_fast.validation.text import count, quoted, shown


def read_csv(file: DataFile, wanted: Wanted) -> Table:
    """Read a table of text, of any separator, compressed or not."""
    if file.stream is not None:
        return _read(file.name, file.stream, wanted)
    with open(file.path, "rb") as stream:
        return _read(file.name, stream, wanted)


def _read(path: str, stream: IO[bytes], wanted: Wanted) -> Table:
    source = Lines(path, stream)
    index, names = source.header(wanted.names)
    n_fields = len(index) + len(names)
    roles = roles_of(path, names, wanted)
    feature_names = [names[j] for j in roles.features]
    pick = _picker([len(index) + j for j in roles.features])
    features, labels, groups = (
        Features(feature_names, source, wanted),
        Labels(wanted.classes, wanted.most_classes),
        Groups(),
    )
    target = None if roles.target is None else len(index) + roles.target
    group = None if roles.group is None else len(index) + roles.group
    name, may_miss = str(wanted.target), wanted.missing == "drop"
    for row in source.rows():
        if len(row) != n_fields:
            raise source.wrong(
                None,
                f"has {count(len(row), 'field')}, but the header has {n_fields}",
                "give each row as many as the header",
            )
        if target is not None:
            labels.add(row[target], source, name, may_miss)
        if group is not None:
            groups.add(row[group], source, str(wanted.group))
        features.add(pick(row))
    if not features.values:
        raise ValueError(f"{shown(path)} has a header but no rows: pass a file with rows.")
    X, categories = features.finish()
    y, classes = np.zeros(len(X), np.uint8), cast(tuple[str, ...], ())
    if target is not None:
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
        None if group is None else groups.finish(path, str(wanted.group)),
        (*source.notes, *notes),
        categories,
    )
    return complete(path, table, wanted)


def _picker(positions: list[int]) -> Callable[[list[str]], list[Any]]:
    """Return what picks some of a row's fields."""
    first, last = positions[0], positions[-1]
    if len(positions) == last - first + 1:  # a slice takes half the time
        return itemgetter(slice(first, last + 1))
    pick = itemgetter(*positions)
    return lambda row: list(pick(row))
