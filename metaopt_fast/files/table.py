"""What the readers of data files share: the table, its target, and checks."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation.text import listed, quoted, shown

# Groups beyond it are no groups: a measurement was named by mistake.
MAX_GROUPS = 100


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
    y : numpy.ndarray of shape (n_samples,)
        1 where the target has the greater of its two values, the positive class, else 0.
    feature_names : tuple of str
    class_names : tuple of two str
        The target's values: the negative class, and the positive one.
    groups : numpy.ndarray of shape (n_samples,), or None
        The group of each row, where a column of groups was named.
    notes : tuple of str
        What was left out of the file, a sentence each.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.uint8]
    feature_names: tuple[str, ...]
    class_names: tuple[str, str]
    groups: npt.NDArray[Any] | None = None
    notes: tuple[str, ...] = ()


def position_of_target(path: str, names: list[str], target: str | None) -> int:
    """Return the position of the target's column; each column must have a name of its own."""
    known: set[str] = set()
    for name in names:
        if name in known:
            raise ValueError(f"{shown(path)} has two columns named {quoted(name)}: rename one.")
        known.add(name)
    if target is None:
        raise ValueError(f"{shown(path)} needs a target: name one of its columns, {listed(names)}.")
    if target not in known:
        raise ValueError(
            f"{shown(path)} has no column {quoted(target)}: name one of {listed(names)}."
        )
    if len(names) == 1:
        raise ValueError(
            f"{shown(path)} has no column but the target: add features, separated by commas."
        )
    return names.index(target)


def take_group(path: str, names: list[str], group: str | None) -> int | None:
    """Return the position of the groups' column, which is no feature any more; None without one."""
    if group is None:
        return None
    if group not in names:
        raise ValueError(
            f"{shown(path)} has no feature {quoted(group)}: name one of {listed(names)}."
        )
    if len(names) == 1:
        raise ValueError(f"{shown(path)}, column {quoted(group)} is the only feature: add others.")
    position = names.index(group)
    del names[position]
    return position


def check_n_groups(path: str, group: str, n_groups: int, at_least: str = "") -> None:
    """Raise an error where a column has too many values to be of groups."""
    if n_groups > MAX_GROUPS:
        raise ValueError(
            f"{shown(path)}, column {quoted(group)} has {at_least}{n_groups:,} values: choose a "
            f"column of at most {MAX_GROUPS}, one for each group."
        )


def two_classes(
    path: str, values: Sequence[Any], codes: npt.NDArray[np.intp], where: str
) -> tuple[npt.NDArray[np.uint8], tuple[str, str]]:
    """Return the labels as 0 and 1, and what these mean, of their values and the value of each."""
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in values[:5]
    ]
    if len(values) == 1:
        raise one_class(path, where, texts[0])
    if len(values) > 2:
        raise ValueError(
            f"{shown(path)}, {where} has {len(values):,} values ({listed(texts)}): choose a target "
            "of two values."
        )
    return codes.astype(np.uint8), (texts[0], texts[1])


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
