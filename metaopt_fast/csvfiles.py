"""Reader of CSV files, row by row, in the memory of the numbers; errors name line and column."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

from metaopt_fast.columns import (
    VALUE_WANTED,
    Table,
    count,
    one_class,
    place_of_target,
    quoted,
    shown,
)

# A longer line means that the file is no CSV.
LONGEST_LINE = 2**24


class _Labels:
    """The target's column of a CSV file: a number for each of two values, and what they mean."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.column = bytearray()
        self.texts: list[str] = []
        self.keys: list[float | str] = []

    def add(self, text: str, source: _Csv, name: str) -> None:
        code = self.codes.get(text)
        if code is None:
            code = self._new(text.strip(), source, name)
            if len(self.codes) < 100:  # a value may be written in many ways: 1, 1.0, 1.00
                self.codes[text] = code
        self.column.append(code)

    def _new(self, text: str, source: _Csv, name: str) -> int:
        key: float | str = text
        if "_" not in text:
            try:
                key = float(text)
            except ValueError:
                key = text
        if text == "" or "\0" in text or (isinstance(key, float) and not math.isfinite(key)):
            raise source.wrong(name, f"has {quoted(text)} as the target", VALUE_WANTED)
        if key in self.keys:
            return self.keys.index(key)
        known = " and ".join(map(quoted, self.texts))
        if len(self.keys) == 2:
            raise source.wrong(
                name,
                f"has the value {quoted(text)} after {known}",
                "choose a target of two values",
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

    def finish(self, path: str, name: str) -> tuple[npt.NDArray[np.uint8], tuple[str, str]]:
        if len(self.keys) < 2:
            raise one_class(path, f"column {quoted(name)}", self.texts[0])
        y = np.frombuffer(self.column, np.uint8)
        first, second = self.texts
        if self.keys[0] > self.keys[1]:  # type: ignore[operator]  # both are float, or both str
            return y ^ np.uint8(1), (second, first)
        return y, (first, second)


class _Csv:
    """The rows of a CSV file, and sentences about the row at hand."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path, self._file, self._line = path, file, 0
        self._reader = csv.reader(self._lines(), strict=True)

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_LINE):
            self._line += 1
            if len(line) == LONGEST_LINE:
                raise self.wrong(None, f"has more than {LONGEST_LINE:,} bytes", "pass a CSV file")
            if self._line == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                what = f"byte {line[error.start]:#04x} at position {error.start + 1}"
                raise self.wrong(
                    None, f"is not UTF-8 text ({what})", "save the file as UTF-8"
                ) from None

    def rows(self) -> Iterator[list[str]]:
        """Yield rows that are not blank."""
        while True:
            try:
                row = next(self._reader, None)
            except csv.Error as error:
                raise self.wrong(
                    None,
                    f"is not CSV ({error})",
                    'end each line by "\\n" or "\\r\\n", and each quoted field by a quote',
                ) from None
            if row is None:
                return
            if row:
                yield row

    def header(self) -> list[str]:
        row = next(self.rows(), None)
        if row is None:
            raise ValueError(f"{shown(self.path)} is empty: pass a file with a header and rows.")
        names = [name.strip() for name in row]
        for k, name in enumerate(names):
            if name == "" or "\0" in name:
                raise self.wrong(None, f"names column {k + 1} {quoted(name)}", "name each column")
        return names

    def wrong(self, name: str | None, what: str, cure: str) -> ValueError:
        """Return an error about the line at hand, and a column if one is given."""
        place = "" if name is None else f", column {quoted(name)}"
        return ValueError(f"{shown(self.path)}, line {self._line}{place} {what}: {cure}.")

    def check_numbers(self, names: Sequence[str], fields: Sequence[str]) -> None:
        """Raise the error of the first field that is not a finite number, if there is one."""
        for name, field in zip(names, fields, strict=True):
            if not field.strip():
                raise self.wrong(name, "is empty", "fill it, or leave the row or the column out")
            try:
                is_number = "_" not in field and math.isfinite(float(field))
            except ValueError:
                is_number = False
            if not is_number:
                raise self.wrong(
                    name,
                    f"has {quoted(field)} where a finite number is wanted",
                    "mend it, or leave the row or the column out",
                )


def read_csv(path: str, target: str | None) -> Table:
    with open(path, "rb") as file:
        source = _Csv(path, file)
        names = source.header()
        place = place_of_target(path, names, target)
        name = names.pop(place)
        values, labels = array("d"), _Labels()
        for row in source.rows():
            if len(row) != len(names) + 1:
                raise source.wrong(
                    None,
                    f"has {count(len(row), 'field')}, but the header has {len(names) + 1}",
                    "give each row as many as the header",
                )
            labels.add(row.pop(place), source, name)
            try:
                numbers = array("d", map(float, row))
            except ValueError:
                numbers = array("d", [math.nan])
            # The sum may have overflown, too; and float() takes "1_000" for a number.
            if not math.isfinite(sum(numbers)) or "_" in "".join(row):
                source.check_numbers(names, row)
            values.extend(numbers)
    if not values:
        raise ValueError(f"{shown(path)} has a header but no rows: pass a file with rows.")
    y, class_names = labels.finish(path, name)
    X = np.frombuffer(values, np.float64).reshape(len(y), len(names))
    return Table(X, y, tuple(names), class_names)
