"""Columns of a text file: labels, groups, and features that are numbers, truths or text."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.csv_lines import Lines
from metaopt_fast.files.dialect import COMMA_TO_POINT, NUMBER_WITH_COMMA, decimal_mark_of
from metaopt_fast.files.table import (
    MAX_CATEGORIES,
    MISSING_LABEL,
    TEXT_CURE,
    as_label,
    check_n_groups,
    in_order,
    is_whole,
    one_class,
    too_many_categories,
    values_wanted,
)
from metaopt_fast.files.wanted import Wanted
from metaopt_fast.validation.text import MISSING_CURE as FILL
from metaopt_fast.validation.text import VALUE_WANTED, quoted

# Of a column of groups: the same number may be written in many ways.
MOST_GROUP_TEXTS = 1000

# What a number has not, where a column begins with text, a date or a time.
OF_TEXT = re.compile(r"[^\W\d_]|\d[-/:]\d")
# As pandas, R and databases write truth values, and what they write where there is no value.
TRUTHS = {"True": 1, "TRUE": 1, "true": 1, "False": 0, "FALSE": 0, "false": 0}
NO_TEXT = frozenset(("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "?"))
NO_NUMBER = NO_TEXT | {"None", "none", "-"}


def number_of(text: str) -> float:
    """Return the number that a text is, NaN of one that is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class Labels:
    """The target's column of a CSV file: a number for each value, and what they mean.

    Where the classes are known, there are no others; else there may be `most`.
    """

    def __init__(self, classes: tuple[str, ...] | None = None, most: int = 2) -> None:
        self.most: int = most if classes is None else len(classes)
        self.codes: dict[str, int] = {}
        self.column: bytearray = bytearray()
        self.texts: list[str] = list(classes or ())
        self.keys = [as_label(text) for text in self.texts]

    def add(self, text: str, source: Lines, name: str, may_miss: bool = False) -> None:
        """Add the label of a row."""
        if source.separator != "," and NUMBER_WITH_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        code = self.codes.get(text)
        if code is None and may_miss and text.strip() in NO_TEXT:
            code = MISSING_LABEL
        if code is None:
            code = self._new(text.strip(), source, name)
            if len(self.codes) < 100:  # a value may be written in many ways: 1, 1.0, 1.00
                self.codes[text] = code
        self.column.append(code)

    def _new(self, text: str, source: Lines, name: str) -> int:
        key = as_label(text)
        if text == "" or "\0" in text or (isinstance(key, Decimal) and not key.is_finite()):
            cure = "fill it, or pass --missing drop" if text in NO_TEXT else VALUE_WANTED
            raise source.wrong(name, f"has {quoted(text)} as the target", cure)
        if key in self.keys:
            return self.keys.index(key)
        known = " and ".join(map(quoted, self.texts[:2]))
        known += f" and {len(self.keys) - 2} more" if len(self.keys) > 2 else ""
        if len(self.keys) == self.most:
            raise source.wrong(
                name,
                f"has the value {quoted(text)} after {known}",
                f"choose a target of {values_wanted(self.most)}",
            )
        if self.keys and type(key) is not type(self.keys[0]):
            raise source.wrong(
                name,
                f"has the value {quoted(text)} after {known}",
                "use numbers alone, or text alone",
            )
        self.keys.append(key)
        self.texts.append(text)
        return len(self.keys) - 1

    def finish(self, path: str, name: str) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
        """Return the labels as whole numbers from 0, and the values."""
        if len(self.keys) < 2:
            raise one_class(path, f"column {quoted(name)}", *self.texts[:1])
        order, names = in_order(
            path, f"column {quoted(name)}", list(map(_shortly, self.keys, self.texts))
        )
        numbers = np.full(MISSING_LABEL + 1, MISSING_LABEL, np.uint8)
        numbers[: len(order)] = order
        return numbers[np.frombuffer(self.column, np.uint8)], names


def _shortly(key: Decimal | str, text: str) -> str:
    """Return a number as Python writes it, if that is the same number: 1 for 1.000e+00."""
    if isinstance(key, Decimal):
        short = str(int(key)) if is_whole(key) else repr(float(key))
        return short if as_label(short) == key else text
    return text


class Groups:
    """The column of groups of a CSV file, of numbers if all are, else of text."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.column = array("H")

    def add(self, text: str, source: Lines, name: str) -> None:
        """Add the group of a row."""
        text = text.strip()
        code = self.codes.get(text)
        if code is None:
            if text == "" or "\0" in text or text.lower() in ("nan", "+nan", "-nan"):
                raise source.wrong(name, f"has {quoted(text)} as the group", VALUE_WANTED)
            code = self.codes[text] = len(self.codes)
            if len(self.codes) > MOST_GROUP_TEXTS:
                check_n_groups(source.path, name, MOST_GROUP_TEXTS, "more than ")
        self.column.append(code)

    def finish(self, path: str, name: str) -> npt.NDArray[Any]:
        """Return the group of each row."""
        keys: list[Any] = [as_label(text) for text in self.codes]
        if not all(isinstance(key, Decimal) and key.is_finite() for key in keys):
            keys = list(self.codes)
        check_n_groups(path, name, len(set(keys)))
        values = np.empty(len(keys), object)
        values[:] = [int(key) if is_whole(key) else key for key in keys]
        groups: npt.NDArray[Any] = values[np.frombuffer(self.column, np.uint16)]
        return groups


class Features:
    """The features of a text file: a number for each, of truths 1 and 0, of texts their codes."""

    def __init__(self, names: Sequence[str], source: Lines, wanted: Wanted) -> None:
        self.values = array("d")
        self._names, self._source, self._wanted = names, source, wanted
        # Columns that have had no value so far; a column's first one says what it is.
        self._open = list(range(len(names)))
        self._readers: dict[int, Callable[[int, str], float]] = {}
        self._codes: dict[int, dict[str, int]] = {}

    def add(self, fields: list[Any]) -> None:
        """Add a row, whose fields are overwritten."""
        source = self._source
        if source.decimal is None:
            source.decimal = decimal_mark_of(fields)
        if self._open:
            self._open = [j for j in self._open if not self._is_told(j, fields[j])]
        for j, read in self._readers.items():
            fields[j] = read(j, fields[j])
        try:
            numbers = array("d", map(float, self._with_points(fields)))
        except ValueError:
            numbers = array("d", [math.nan])
        # The sum may have overflown, too; and float() takes "1_000" for a number.
        if not math.isfinite(sum(numbers)) or source.has_underscore:
            numbers = array("d", [self._number(j, field) for j, field in enumerate(fields)])
        self.values.extend(numbers)

    def _with_points(self, fields: list[Any]) -> list[Any]:
        if self._source.decimal != ",":
            return fields
        return [f.translate(COMMA_TO_POINT) if isinstance(f, str) else f for f in fields]

    def _is_told(self, j: int, field: str) -> bool:
        """Say whether a field tells what its column is, and set its reader."""
        text, is_text = field.strip(), self._wanted.is_text(self._names[j])
        if is_text:
            self._readers[j], self._codes[j] = self._text, {}
        elif text in TRUTHS:
            self._readers[j] = self._truth
        elif text in NO_TEXT:
            return False
        elif is_text is None and not self._is_number(text):
            self._readers[j], self._codes[j] = self._text, {}
        return True

    def _is_number(self, text: str) -> bool:
        try:
            float(self._with_points([text])[0])
        except ValueError:
            return text in NO_NUMBER
        return "_" not in text

    def _truth(self, j: int, field: str) -> float:
        text = field.strip()
        value = TRUTHS.get(text)
        if value is not None:
            return float(value)
        if text in NO_NUMBER:
            return self._missing(j, field)
        raise self._source.wrong(
            self._names[j], f"has {quoted(field)} where True or False is wanted", FILL
        )

    def _text(self, j: int, field: str) -> float:
        text, codes = field.strip(), self._codes[j]
        code = codes.get(text)
        if code is None:
            if text in NO_TEXT:
                return self._missing(j, field)
            if "\0" in text:
                raise self._source.wrong(self._names[j], f"has {quoted(field)}", FILL)
            if len(codes) == MAX_CATEGORIES:
                raise too_many_categories(self._source.path, self._names[j])
            code = codes[text] = len(codes)
        return float(code)

    def _number(self, j: int, field: Any) -> float:
        """Return the number of a field, or raise the error of one that is none."""
        if isinstance(field, float):  # a truth or a text that has been read
            return field
        text = field.strip()
        try:
            number = float(self._with_points([text])[0]) if "_" not in text else math.inf
        except ValueError:
            number = math.nan if text in NO_NUMBER else math.inf
        if math.isfinite(number):
            return number
        if math.isnan(number):
            return self._missing(j, field)
        is_first = len(self.values) == 0 and self._wanted.texts is None
        is_text = is_first and OF_TEXT.search(text) and not math.isinf(number_of(text))
        raise self._source.wrong(
            self._names[j],
            f"has {quoted(field)} where a finite number is wanted",
            TEXT_CURE if is_text else self._wanted.drop_cure,
        )

    def _missing(self, j: int, field: str) -> float:
        """Return NaN where a value may be missing."""
        if self._wanted.may_miss:
            return math.nan
        what = f"has {quoted(field)} where a value is wanted" if field.strip() else "is empty"
        raise self._source.wrong(self._names[j], what, self._wanted.missing_cure)

    @property
    def is_told(self) -> bool:
        """Whether each column has had a value, which says what it is."""
        return not self._open

    def are_numbers(self) -> list[bool]:
        """Whether each column is known to be of numbers."""
        others = {*self._open, *self._readers}
        return [j not in others for j in range(len(self._names))]

    def finish(self) -> tuple[npt.NDArray[np.float64], dict[int, tuple[str, ...]]]:
        """Return the features, and the sorted values of those that are text."""
        X = np.frombuffer(self.values, np.float64).reshape(-1, len(self._names))
        categories = {}
        for j, codes in self._codes.items():
            categories[j] = tuple(sorted(codes))
            rank = np.full(len(codes) + 1, np.nan)
            rank[[codes[text] for text in categories[j]]] = np.arange(len(codes))
            # NaN, of a text that is missing, becomes the last.
            X[:, j] = rank[np.nan_to_num(X[:, j], nan=len(codes)).astype(np.intp)]
        return X, categories
