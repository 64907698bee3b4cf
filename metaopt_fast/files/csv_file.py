"""Reader of CSV files, row by row, in the memory of the numbers; errors name line and column."""

from __future__ import annotations

import contextlib
import csv
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.table import (
    DataFile,
    Table,
    check_n_groups,
    one_class,
    position_of_target,
    take_group,
)
from metaopt_fast.validation.text import MISSING_CURE, VALUE_WANTED, count, quoted, shown

# A longer row, or one of more fields, means that the file is no CSV.
LONGEST_LINE = 2**24
MOST_FIELDS = 2**20

# Of a column of groups: the same number may be written in many ways.
MOST_GROUP_TEXTS = 1000

# As pandas, R and databases write truth values.
TRUTHS = {"True": 1, "TRUE": 1, "true": 1, "False": 0, "FALSE": 0, "false": 0}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}
# The first bytes of files that are compressed, and what unpacks them.
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
# What pandas calls a column that has no name, such as an index that was saved.
NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)?)?")


class _Labels:
    """The target's column of a CSV file: a number for each of two values, and what they mean."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.column = bytearray()
        self.texts: list[str] = []
        self.keys: list[Decimal | str] = []

    def add(self, text: str, source: _Csv, name: str) -> None:
        code = self.codes.get(text)
        if code is None:
            code = self._new(text.strip(), source, name)
            if len(self.codes) < 100:  # a value may be written in many ways: 1, 1.0, 1.00
                self.codes[text] = code
        self.column.append(code)

    def _new(self, text: str, source: _Csv, name: str) -> int:
        key = as_label(text)
        if text == "" or "\0" in text or (isinstance(key, Decimal) and not key.is_finite()):
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
        if self.keys[0] > self.keys[1]:  # type: ignore[operator]  # both are numbers, or both str
            return y ^ np.uint8(1), (second, first)
        return y, (first, second)


class _Groups:
    """The column of groups of a CSV file, of numbers if all are, else of text."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.column = array("H")

    def add(self, text: str, source: _Csv, name: str) -> None:
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
        keys: list[Any] = [as_label(text) for text in self.codes]
        if not all(isinstance(key, Decimal) and key.is_finite() for key in keys):
            keys = list(self.codes)
        check_n_groups(path, name, len(set(keys)))
        values = np.empty(len(keys), object)
        values[:] = [int(key) if _is_whole(key) else key for key in keys]
        groups: npt.NDArray[Any] = values[np.frombuffer(self.column, np.uint16)]
        return groups


def as_label(text: str) -> Decimal | str:
    """Return what a label is compared as: a number of any length exactly, or text."""
    if "_" not in text:
        # An exponent of twenty digits is a float, 0 or infinite, but no decimal.
        with contextlib.suppress(ValueError, InvalidOperation):
            float(text)
            return Decimal(text.strip())
    return text


def _is_whole(key: Any) -> bool:
    return isinstance(key, Decimal) and key.adjusted() < 40 and key == key.to_integral_value()


class _Csv:
    """The rows of a CSV file, and sentences about the row at hand."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path, self._file, self._line = path, file, 0
        self._first_line, self._bytes, self._commas = "", 0, 0
        self._reader = csv.reader(self._lines(), strict=True)

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_LINE):
            self._line += 1
            # Of the row, which goes on over the lines of a quoted field.
            self._bytes += len(line)
            self._commas += line.count(b",")
            if self._bytes >= LONGEST_LINE:
                raise self.wrong(None, f"has more than {LONGEST_LINE:,} bytes", "pass a CSV file")
            if self._commas >= MOST_FIELDS:
                raise self.wrong(
                    None, f"has more than {MOST_FIELDS:,} fields", "pass a file of fewer columns"
                )
            if self._line == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                for beginning, program in COMPRESSED.items() if self._line == 1 else ():
                    if line.startswith(beginning):
                        raise ValueError(
                            f"{shown(self.path)} is compressed by {program}: unpack it, e.g. by "
                            f"{program} -d."
                        ) from None
                what = f"byte {line[error.start]:#04x} at position {error.start + 1}"
                raise self.wrong(
                    None, f"is not UTF-8 text ({what})", "save the file as UTF-8"
                ) from None
            self._first_line = self._first_line or text
            yield text

    def rows(self) -> Iterator[list[str]]:
        """Yield rows that are not blank."""
        while True:
            self._bytes = self._commas = 0
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

    def header(self, wanted: Sequence[str | None]) -> tuple[list[str], list[str]]:
        """Return the names of the index that a frame was saved with, and those of its columns."""
        try:
            row = next(self.rows(), None)
        except ValueError:
            self._check_separator([], wanted[0])  # quotes before semicolons are no CSV
            raise
        if row is None:
            raise ValueError(f"{shown(self.path)} is empty: pass a file with a header and rows.")
        names = [name.strip() for name in row]
        self._check_separator(names, wanted[0])
        first = 0
        while first < len(names) - 1 and NAMELESS.fullmatch(names[first]):
            if names[first] in wanted:
                break
            first += 1
        for k, name in enumerate(names[first:], start=first + 1):
            if name == "" or "\0" in name:
                raise self.wrong(None, f"names column {k} {quoted(name)}", "name each column")
        return names[:first], names[first:]

    def _check_separator(self, names: list[str], target: str | None) -> None:
        """Raise an error where the file is separated by something else than commas."""
        if target in names:
            return
        for character, word in SEPARATORS.items():
            try:
                row = next(csv.reader([self._first_line], delimiter=character), [])
            except csv.Error:
                continue
            parts = [part.strip() for part in row]
            is_one = "," not in self._first_line and character != " "
            if len(parts) > 1 and (is_one or target in parts):
                raise ValueError(
                    f"{shown(self.path)} is separated by {word} ({character!r}): save it with "
                    f"commas, e.g. by pandas.read_csv(FILE, sep={character!r}).to_csv(...)."
                )

    def wrong(self, name: str | None, what: str, cure: str) -> ValueError:
        """Return an error about the line at hand, and a column if one is given."""
        column = "" if name is None else f", column {quoted(name)}"
        return ValueError(f"{shown(self.path)}, line {self._line}{column} {what}: {cure}.")

    def replace_truths(self, names: Sequence[str], row: list[str], columns: Sequence[int]) -> None:
        """Put 1 and 0 in the columns in which a row has truth values."""
        for j in columns:
            value = TRUTHS.get(row[j].strip())
            if value is None:
                what = f"has {quoted(row[j])} where True or False is wanted"
                if not row[j].strip():
                    what = "is empty"
                raise self.wrong(names[j], what, MISSING_CURE)
            row[j] = str(value)

    def check_numbers(self, names: Sequence[str], fields: Sequence[str]) -> None:
        """Raise the error of the first field that is not a finite number, if there is one."""
        for name, field in zip(names, fields, strict=True):
            if not field.strip():
                raise self.wrong(name, "is empty", MISSING_CURE)
            try:
                is_number = "_" not in field and math.isfinite(float(field))
            except ValueError:
                is_number = False
            if not is_number:
                raise self.wrong(
                    name,
                    f"has {quoted(field)} where a finite number is wanted",
                    "fix it, or drop the row or the column",
                )


def read_csv(file: DataFile, target: str | None, group: str | None) -> Table:
    if file.stream is not None:
        return _read(file.name, file.stream, target, group)
    with open(file.path, "rb") as stream:
        return _read(file.name, stream, target, group)


def _read(path: str, stream: IO[bytes], target: str | None, group: str | None) -> Table:
    source = _Csv(path, stream)
    index, names = source.header((target, group))
    n_fields = len(index) + len(names)
    position = position_of_target(path, names, target)
    name = names.pop(position)
    position_of_group = take_group(path, names, group)
    values, labels, groups = array("d"), _Labels(), _Groups()
    truths: list[int] | None = None
    for row in source.rows():
        if len(row) != n_fields:
            raise source.wrong(
                None,
                f"has {count(len(row), 'field')}, but the header has {n_fields}",
                "give each row as many as the header",
            )
        del row[: len(index)]
        labels.add(row.pop(position), source, name)
        if position_of_group is not None and group is not None:
            groups.add(row.pop(position_of_group), source, group)
        if truths is None:
            truths = [j for j, field in enumerate(row) if field.strip() in TRUTHS]
        if truths:
            source.replace_truths(names, row, truths)
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
    notes = [
        f"column {k} has no name ({quoted(name)}), as an index that was saved: it was left out."
        for k, name in enumerate(index, start=1)
    ]
    return Table(
        X,
        y,
        tuple(names),
        class_names,
        None if group is None else groups.finish(path, group),
        tuple(notes),
    )
