"""The data of a command: read, split, and prepared by the training rows alone."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from metaopt_fast.cli.data_report import STDIN, TARGET_OF_PACKAGE, Data
from metaopt_fast.files.read import read_stream, read_table
from metaopt_fast.files.table import Table, label_of_class
from metaopt_fast.files.wanted import Wanted
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.selection.folds import stratified_holdout
from metaopt_fast.typing import Float64Array, IndexArray

# Values of a target, beyond which it is none of classes.
MOST_CLASSES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What makes the data of a command again: the options of its file and of its columns."""

    file: str | None
    target: str | None
    standardize: bool
    group: str | None = None
    weight: str | None = None
    features: list[str] | None = None
    drop: list[str] | None = None
    positive: str | None = None
    missing: str = "error"
    categories: str = "error"
    test: str | None = None
    holdout: float | None = None
    split_seed: int = 0
    header: bool = True

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Return the settings of a command."""
        # A command that leaves columns as they are has no option for it.
        given = {"group": None, "standardize": False, **vars(arguments)}
        given["split_seed"] = arguments.seed
        given |= {"file": absolute(arguments.file), "test": absolute(arguments.test)}
        return cls(**cls._chosen(given))

    @classmethod
    def _chosen(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        return {field.name: given[field.name] for field in fields(cls) if field.name in given}

    @property
    def wanted(self) -> Wanted:
        """What is asked of the file."""
        return Wanted(
            target=TARGET_OF_PACKAGE if self.file is None else self.target,
            group=self.group,
            weight=self.weight,
            features=None if self.features is None else tuple(self.features),
            drop=tuple(self.drop or ()),
            positive=self.positive,
            most_classes=MOST_CLASSES,
            missing=self.missing,
            categories=self.categories,
            has_header=self.header,
        )


def absolute(file: str | None) -> str | None:
    """Return the path of the data as resume finds it, from whatever folder."""
    return file if file in (None, STDIN) else os.path.abspath(file)


def read_data(settings: DataSettings) -> Data:
    """Return the data of the file, of a pipe or of the package: split, then prepared."""
    training = read(settings.file, settings.wanted)
    held_out, how = None, ""
    if settings.test is not None:
        held_out = read(settings.test, like(training, settings))
        how = f"of {os.path.basename(settings.test)}"
    elif settings.holdout is not None:
        train, rest = stratified_holdout(training.y, settings.holdout, settings.split_seed)
        training, held_out = training.take(train), training.take(rest)
        how = f"at random, by --holdout {settings.holdout:g}"
    preparation = fit_preparation(settings, training)
    X = preparation.apply(raw_rows(training))
    prepared = training._replace(X=X, feature_names=tuple(preparation.names), categories={})
    return Data(
        file=settings.file,
        target=settings.target,
        table=prepared,
        raw=training,
        preparation=preparation,
        held_out=held_out,
        how_held_out=how,
    )


def fit_preparation(
    settings: DataSettings, table: Table, rows: IndexArray | None = None
) -> Preparation:
    """Return what prepares columns, by a table or by some of its rows."""
    X, weights = table.X, table.weights
    if rows is not None:
        X, weights = X[rows], None if weights is None else weights[rows]
    return Preparation.fit(
        RawRows(X, table.feature_names, table.categories),
        missing=settings.missing,
        is_standardized=settings.standardize,
        sample_weight=weights,
    )


def prepared_by(settings: DataSettings, table: Table, rows: IndexArray) -> Float64Array:
    """Return the columns of a table as some of its rows prepare them."""
    return fit_preparation(settings, table, rows).apply(raw_rows(table))


def raw_rows(table: Table) -> RawRows:
    """Return a table's rows as a model takes them."""
    return RawRows(table.X, table.feature_names, table.categories)


def like(training: Table, settings: DataSettings) -> Wanted:
    """Return what is asked of a file of other rows: the same features and classes."""
    names = training.feature_names
    classes = training.class_names
    return settings.wanted._replace(
        group=None,
        drop=(),
        features=names,
        texts=frozenset(names[j] for j in training.categories),
        classes=sorted_classes(classes),
        positive=classes[1] if len(classes) == 2 else None,
    )


def sorted_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return classes as files say them, of two the lesser first."""
    return classes if len(classes) > 2 else tuple(sorted(classes, key=label_of_class))


def read(file: str | None, wanted: Wanted) -> Table:
    """Read a file, a pipe, the standard input, or the data of the package."""
    from metaopt_fast.datasets import BREAST_CANCER

    if file is None:
        return read_table(BREAST_CANCER, wanted=wanted)
    if file == STDIN:
        return read_stream("stdin", 0, wanted)
    if is_pipe(file):
        return read_stream(file, file, wanted)
    return read_table(file, wanted=wanted)


def is_pipe(path: str) -> bool:
    """Whether a path is one of a pipe, a terminal or another open file: /dev/stdin, /dev/fd/3."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        is_file = stat.S_ISREG(mode) and not path.startswith(("/dev/", "/proc/"))
        return not is_file and not stat.S_ISDIR(mode)
    return False
