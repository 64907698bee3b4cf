"""What the readers of data files share: the table, its target, and words for the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

VALUE_WANTED = "give each row a value, or leave the row out"


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
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.uint8]
    feature_names: tuple[str, ...]
    class_names: tuple[str, str]


def place_of_target(path: str, names: list[str], target: str | None) -> int:
    """Return the place of the target's column; each column must have a name of its own."""
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


def two_classes(
    path: str, labels: npt.NDArray[Any], where: str
) -> tuple[npt.NDArray[np.uint8], tuple[str, str]]:
    """Return the labels as 0 and 1, and what these mean."""
    if labels.dtype.kind == "O":
        for row, label in enumerate(labels):
            if label is None:
                raise ValueError(f"{shown(path)}, row {row}, {where} has nothing: {VALUE_WANTED}.")
        if all(isinstance(label, str) for label in labels):
            labels = labels.astype(str)
    if labels.dtype.kind not in "biufSU":
        raise ValueError(
            f"{shown(path)}, {where} holds neither numbers nor text: choose another target."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argmin(np.isfinite(labels)))
        raise ValueError(f"{shown(path)}, row {row}, {where} has {labels[row]}: {VALUE_WANTED}.")
    values, codes = np.unique(labels, return_inverse=True)
    texts = [
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in values[:5].tolist()
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


def shown(path: str) -> str:
    """Return a path as it may stand in a line of a terminal."""
    return path if path.isprintable() else repr(path)


def quoted(text: str) -> str:
    """Return a file's text, shortened, with its control characters escaped."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def listed(names: Sequence[str]) -> str:
    """Return a few of the names."""
    some = ", ".join(quoted(name) for name in names[:5])
    return some + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def count(number: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{number} {noun}" + "s" * (number != 1)
