"""What the readers of data files share: the table, what is made of its columns, and checks."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.wanted import Wanted
from metaopt_fast.validation.text import count, listed, quoted, shown, similar

# Groups beyond it are no groups: a measurement was named by mistake.
MAX_GROUPS = 100
# Values of a feature of text, each of which becomes a column.
MAX_CATEGORIES = 1000
# The code of a label that is missing, until its row is dropped; classes have lesser ones.
MISSING_LABEL = 255

TEXT_CURE = "drop it (--drop COLUMN), or pass --categories onehot"


class DataFile(NamedTuple):
    """What is opened, what errors call it, and its bytes where it is open already."""

    path: str
    name: str
    stream: IO[bytes] | None = None


class Table(NamedTuple):
    """Features and labels of a file.

    Attributes
    ----------
    X : numpy.ndarray of shape (n_samples, n_features), float64
        NaN where a value is missing, if that was allowed.
    y : numpy.ndarray of shape (n_samples,)
        1 where the target has the greater of its two values, or the one that was named as the
        positive class, else 0; of more than two values, their numbers in order. Where no target was
        asked for, all are 0.
    feature_names : tuple of str
    class_names : tuple of two str or more
        The target's values: the negative class, and the positive one, or all in order; none without
        a target.
    groups : numpy.ndarray of shape (n_samples,), or None
        The group of each row, where a column of groups was named.
    notes : tuple of str
        What was left out of the file, and how it is written if not as most are, a sentence each.
    categories : dict of int to tuple of str
        Values of the features that are text, sorted, by their columns; X has the number of each.
    weights : numpy.ndarray of shape (n_samples,), or None
        The weight of each row, where a column of weights was named.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.uint8]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    groups: npt.NDArray[Any] | None = None
    notes: tuple[str, ...] = ()
    categories: dict[int, tuple[str, ...]] = {}  # noqa: RUF012  # nobody changes it
    weights: npt.NDArray[np.float64] | None = None

    def take(self, rows: npt.NDArray[np.intp]) -> Table:
        """Return the table of some rows."""
        return self._replace(
            X=self.X[rows],
            y=self.y[rows],
            groups=None if self.groups is None else self.groups[rows],
            weights=None if self.weights is None else self.weights[rows],
        )


def check_n_groups(path: str, group: str, n_groups: int, at_least: str = "") -> None:
    """Raise an error where a column has too many values to be of groups."""
    if n_groups > MAX_GROUPS:
        raise ValueError(
            f"{shown(path)}, column {quoted(group)} has {at_least}{n_groups:,} values: choose a "
            f"column of at most {MAX_GROUPS}, one for each group."
        )


def too_many_categories(path: str, name: str) -> ValueError:
    """Return the error of a feature of text that has too many values."""
    return ValueError(
        f"{shown(path)}, column {quoted(name)} has more than {MAX_CATEGORIES:,} values of text: "
        "pass --drop COLUMN, or merge some."
    )


def as_label(text: str) -> Decimal | str:
    """Return what a label is compared as: a number of any length exactly, or text."""
    if "_" not in text:
        # An exponent of twenty digits is a float, 0 or infinite, but no decimal.
        with contextlib.suppress(ValueError, InvalidOperation):
            float(text)
            return Decimal(text.strip())
    return text


def is_whole(key: Any) -> bool:
    """Whether a number is whole, and of a length that one may write out."""
    return isinstance(key, Decimal) and key.adjusted() < 40 and key == key.to_integral_value()


def label_of_class(text: str) -> str | int | float:
    """Return a class by its name: a number where it is one, else text.

    Examples
    --------
    >>> [label_of_class(text) for text in ("1", "2.50", "yes")]
    [1, 2.5, 'yes']
    """
    key = as_label(text)
    if not isinstance(key, Decimal):
        return text
    return int(key) if is_whole(key) else float(key)


def complete(path: str, table: Table, wanted: Wanted) -> Table:
    """Return what was read with all that is asked of it but the roles of columns."""
    table = _with_weights(path, table, wanted)
    if wanted.missing == "drop":
        table = _without_missing(path, table, wanted)
    return _with_positive(path, table, wanted.positive)


def _with_weights(path: str, table: Table, wanted: Wanted) -> Table:
    """Take the weights' column out of the features."""
    if wanted.weight is None:
        return table
    position = table.feature_names.index(wanted.weight)
    weights = table.X[:, position].copy()
    where = f"{shown(path)}, column {quoted(wanted.weight)}"
    if position in table.categories:
        raise ValueError(f"{where} is text: choose a column of weights >= 0.")
    if not (weights >= 0).all():
        row = int(np.argmin(weights >= 0))
        raise ValueError(
            f"{where} has {weights[row]:g} as the weight of row {row}: give each row one >= 0."
        )
    if not weights.any():
        raise ValueError(f"{where} has 0 as the weight of each row: give some rows more.")
    names = list(table.feature_names)
    del names[position]
    categories = {j - (j > position): values for j, values in table.categories.items()}
    X = np.delete(table.X, position, axis=1)
    return table._replace(X=X, feature_names=tuple(names), categories=categories, weights=weights)


def _without_missing(path: str, table: Table, wanted: Wanted) -> Table:
    """Leave out the rows that miss a value."""
    is_whole_row = ~np.isnan(table.X).any(axis=1) & (table.y != MISSING_LABEL)
    left_out = int(np.count_nonzero(~is_whole_row))
    if left_out == 0:
        return table
    if left_out == len(is_whole_row):
        raise ValueError(f"{shown(path)} misses a value in every row: pass --missing mean.")
    table = table.take(np.flatnonzero(is_whole_row))
    if wanted.classes is None and table.class_names and len(np.unique(table.y)) == 1:
        raise ValueError(
            f"{shown(path)} has rows of one class alone where no value is missing: pass --missing "
            "mean."
        )
    rows = count(left_out, "row")
    return table._replace(notes=(*table.notes, f"{rows} that missed a value: left out."))


def _with_positive(path: str, table: Table, positive: str | None) -> Table:
    """Let the class that was named be the positive one."""
    if positive is None or not table.class_names:
        return table
    keys = [as_label(name) for name in table.class_names]
    if len(keys) > 2:
        raise ValueError(
            f"{shown(path)} has {len(keys)} classes, of which none is the positive one: leave out "
            "--positive, or choose a target of two values."
        )
    if as_label(positive) not in keys:
        first, second = map(quoted, table.class_names)
        raise ValueError(
            f"{shown(path)} has no class {quoted(positive)}{similar(positive, table.class_names)}: "
            f"name {first} or {second} as the positive one."
        )
    if as_label(positive) == keys[1]:
        return table
    negative, greater = table.class_names
    return table._replace(y=table.y ^ np.uint8(1), class_names=(greater, negative))


def classes_of(
    path: str,
    values: Sequence[Any],
    codes: npt.NDArray[np.intp],
    where: str,
    wanted: Wanted,
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return the labels as whole numbers from 0, and what these mean, of their values and the value
    of each.

    The classes may be known before; else there must be two values, or as many as are wanted.
    """
    classes, most = wanted.classes, wanted.most_classes
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in values[: max(5, most, len(classes or ()))]
    ]
    if classes is not None and len(values) <= len(classes):
        known = [as_label(name) for name in classes]
        unknown = [text for text in texts if as_label(text) not in known]
        if unknown:
            raise ValueError(
                f"{shown(path)}, {where} has the value {quoted(unknown[0])}: pass rows of the "
                f"classes {' and '.join(map(quoted, classes))}."
            )
        numbers = np.array([known.index(as_label(text)) for text in texts], np.uint8)
        return numbers[codes], classes
    if len(values) == 1:
        raise one_class(path, where, texts[0])
    if len(values) > most:
        raise ValueError(
            f"{shown(path)}, {where} has {len(values):,} values ({listed(texts[:5])}): choose a "
            f"target of {values_wanted(most)}."
        )
    if len(values) == 2:
        return codes.astype(np.uint8), (texts[0], texts[1])
    order, names = in_order(path, where, texts)
    return order[codes], names


def values_wanted(most: int) -> str:
    """Return how many values a target is to have, in words."""
    return "two values" if most == 2 else f"two values or more, and at most {most}"


def in_order(
    path: str, where: str, texts: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return the number of each class, and the classes as they follow each other."""
    keys: list[Any] = [as_label(text) for text in texts]
    if len({type(key) for key in keys}) > 1:
        some = listed([str(text) for text in texts[:5]])
        raise ValueError(
            f"{shown(path)}, {where} has numbers and text ({some}): use numbers alone, or text "
            "alone."
        )
    ranked = sorted(range(len(keys)), key=keys.__getitem__)
    order = np.empty(len(keys), np.uint8)
    order[ranked] = np.arange(len(keys))
    return order, tuple(texts[k] for k in ranked)


def one_class(path: str, where: str, text: str) -> ValueError:
    """Return the error of a target with one value."""
    return ValueError(
        f"{shown(path)}, {where} has {quoted(text)} in every row: choose a target of two values."
    )


def check_file(path: str) -> None:
    """Raise an OSError of one sentence where there is no file to read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{shown(path)} is a directory: pass a file.")
        if not stat.S_ISREG(mode):
            raise OSError(f"{shown(path)} is not a regular file: pass one.")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise FileNotFoundError(f"{shown(path)} does not exist: pass the path of a file.") from None
    except ValueError:
        raise ValueError(f"{shown(path)} is not a path: pass the path of a file.") from None
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(
            f"{shown(path)} cannot be read ({error.strerror}): pass another file."
        ) from None
