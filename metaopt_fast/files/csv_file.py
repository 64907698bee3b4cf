"""Reader of text files, row by row, in the memory of the numbers; errors name line and column."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import IO, Any, NamedTuple, cast

import numpy as np

from metaopt_fast.files.csv_columns import Features, Groups, Labels
from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.fast_csv import PROBED_ROWS, is_plain, read_at_once
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
    fields = [len(index) + j for j in roles.features]
    for number, row in enumerate(source.rows()):
        if number == PROBED_ROWS and group is None and is_plain(file, source):
            plan = Plan(file.path, source, n_fields, fields, target, name, wanted)
            if take_at_once(plan, features, labels):
                break
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


class Plan(NamedTuple):
    """What is to be read at once: fields of features and of the target, in a file whose first rows
    have been read."""

    path: str
    source: Lines
    n_fields: int
    features: list[int]
    target: int | None
    name: str
    wanted: Wanted


def take_at_once(plan: Plan, features: Features, labels: Labels) -> bool:
    """Have all columns read by another library, if there is one that reads them as they are."""
    as_text = features.read_as_text
    if as_text is None:
        return False
    at = {field: j for j, field in enumerate(plan.features)}
    texts = [plan.features[j] for j in as_text]
    numbers = [field for field in plan.features if at[field] not in as_text]
    asked = texts if plan.target is None else [*texts, plan.target]
    may_miss = plan.wanted.may_miss
    found = read_at_once(plan.path, plan.source, plan.n_fields, numbers, asked, may_miss)
    if found is None:
        return False
    try:
        if plan.target is not None:
            of_target = found.codes[plan.target], found.texts[plan.target]
            may_lack = plan.wanted.missing == "drop"
            trial = Labels(plan.wanted.classes, plan.wanted.most_classes)
            trial.take(*of_target, plan.source, plan.name, may_lack)
        features.take(
            {at[field]: column for field, column in found.numbers.items()},
            {at[field]: found.codes[field] for field in texts},
            {at[field]: found.texts[field] for field in texts},
        )
    except ValueError:  # said by the own reader, with the line
        return False
    if plan.target is not None:
        labels.take(*of_target, plan.source, plan.name, may_lack)
    return True


def _picker(positions: list[int]) -> Callable[[list[str]], list[Any]]:
    """Return what picks some of a row's fields."""
    first, last = positions[0], positions[-1]
    if len(positions) == last - first + 1:  # a slice takes half the time
        return itemgetter(slice(first, last + 1))
    pick = itemgetter(*positions)
    return lambda row: list(pick(row))
