"""Rows of a text file one by one, and sentences about the row at hand."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Collection, Iterator
from typing import IO

from metaopt_fast.files.compressed import Unpacked, packer_of
from metaopt_fast.files.dialect import (
    DECLARED,
    MOST_FIELDS,
    SEPARATORS,
    options,
    separator_of,
    separator_of_rows,
)
from metaopt_fast.files.recoded import MARKS, Recoded
from metaopt_fast.validation.text import quoted, shown

# A longer row means that the file is no table.
LONGEST_LINE = 2**24
# Of rows that are read together.
BLOCK_BYTES = 2**20
# What pandas calls a column that has no name, such as an index that was saved.
NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)?)?")


class Blocks:
    """Bytes of a file: a line, or the whole lines of a block.

    Attributes
    ----------
    block : bytes
        The bytes at hand.
    at, stop : int
        Where those begin that are not used yet, and where the last whole line ends.
    """

    def __init__(self, file: IO[bytes] | Unpacked | Recoded) -> None:
        self.block: bytes = b""
        self.at: int = 0
        self.stop: int = 0
        self._file = file

    def readline(self, limit: int) -> bytes:
        """Return the bytes up to the end of a line, `limit` at most where none is at hand."""
        end = self.block.find(b"\n", self.at) + 1 or len(self.block)
        line, self.at = self.block[self.at : end], end
        return line if line.endswith(b"\n") else line + self._file.readline(limit - len(line))

    def fill(self) -> bool:
        """Have a block where all are used; say whether there is a whole line."""
        if self.at == len(self.block):
            self.block, self.at = self._file.read(BLOCK_BYTES), 0
            if not self.block.endswith(b"\n"):
                self.block += self._file.readline(LONGEST_LINE - 1 - BLOCK_BYTES)
            self.stop = self.block.rfind(b"\n") + 1
        return self.at < self.stop


class Lines:
    """The rows of a text file, and sentences about the row at hand.

    Attributes
    ----------
    path : str
        Name of the file in errors.
    separator : str
    decimal : str or None
        Mark of decimals, "." or ","; None until a number has one.
    line : int
        Lines up to the end of the row at hand.
    blocks : Blocks
        The lines that follow.
    has_underscore : bool
        Whether the row at hand has an underscore, which `float` takes for none.
    packer : str
        What the file is compressed by, or nothing.
    is_recoded : bool
        Whether it is UTF-16, as its mark says.
    """

    path: str
    separator: str
    has_underscore: bool

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self.path, self.separator, self.has_underscore = path, ",", False
        self.line: int = 0
        self.packer: str = ""
        self.decimal: str | None = "."
        self._bytes, self._fields = 0, 0
        self._ahead: list[list[str]] = []
        beginning = file.peek(8)[:8] if hasattr(file, "peek") else b""
        source: IO[bytes] | Unpacked | Recoded = file
        if (packer := packer_of(beginning)) is not None:
            self.packer, source = packer, (unpacked := Unpacked(path, packer, file))
            beginning = unpacked.peek(8)
        # UTF-32 has the same mark, and a NUL behind it.
        self.is_recoded: bool = beginning.startswith(MARKS) and beginning[2:4] != b"\0\0"
        if self.is_recoded and packer:
            unpacked.recode()
        elif self.is_recoded:
            source = Recoded(path, file)
        self.blocks: Blocks = Blocks(source)

    def _lines(self) -> Iterator[str]:
        while line := self.blocks.readline(LONGEST_LINE):
            self.line += 1
            # Of the row, which goes on over the lines of a quoted field.
            self._bytes += len(line)
            self._fields += line.count(self.separator.encode())
            self.has_underscore = self.has_underscore or b"_" in line
            if self._bytes >= LONGEST_LINE:
                raise self.wrong(None, f"has more than {LONGEST_LINE:,} bytes", "pass a CSV file")
            self._check_fields(self._fields)
            if self.line == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                what = f"byte {line[error.start]:#04x} at position {error.start + 1}"
                raise self.wrong(
                    None, f"is not UTF-8 text ({what})", "save the file as UTF-8"
                ) from None
            yield text

    def _check_fields(self, n_fields: int) -> None:
        if n_fields >= MOST_FIELDS:
            raise self.wrong(
                None, f"has more than {MOST_FIELDS:,} fields", "pass a file of fewer columns"
            )

    def rows(self) -> Iterator[list[str]]:
        """Yield rows that are not blank."""
        if self._ahead:
            self.has_underscore = True  # or it may have
            yield self._ahead.pop()
        while True:
            self._bytes = self._fields = 0
            self.has_underscore = False
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

    def header(
        self, wanted: Collection[str], has_names: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the names of the index that a frame was saved with, and those of its columns.

        The separator is what finds columns that are wanted. Where the first line is a row, names
        are x0, x1, ...
        """
        lines = self._lines()
        first = next((line for line in lines if line.strip()), "")
        if declared := DECLARED.fullmatch(first):
            self.separator = declared[1]
            first = next(lines, "")
        else:
            self.separator = separator_of(first, wanted) if has_names else separator_of_rows(first)
        self._check_fields(first.count(self.separator))
        if self.separator != ",":
            self.decimal = None
        self._reader = csv.reader(itertools.chain([first], lines), **options(self.separator))
        row = next(self.rows(), None)
        if row is None:
            raise ValueError(f"{shown(self.path)} is empty: pass a file with a header and rows.")
        if not has_names:
            self._ahead.append(row)
            return [], [f"x{j}" for j in range(len(row))]
        names = [name.strip() for name in row]
        start = 0
        while start < len(names) - 1 and NAMELESS.fullmatch(names[start]):
            if names[start] in wanted:
                break
            start += 1
        for k, name in enumerate(names[start:], start=start + 1):
            if name == "" or "\0" in name:
                raise self.wrong(None, f"names column {k} {quoted(name)}", "name each column")
        return names[:start], names[start:]

    @property
    def notes(self) -> list[str]:
        """How the file is written, in a sentence, if not as most are."""
        parts = ["encoded as UTF-16"] if self.is_recoded else []
        if self.packer:
            parts.append(f"compressed by {self.packer}")
        if self.separator != ",":
            word = SEPARATORS.get(self.separator, "a character of its own")
            parts.append(f"separated by {word} ({self.separator!r})")
        if self.decimal == ",":
            parts.append("with decimal commas")
        return [f"{', '.join(parts)}: read as such."] if parts else []

    def wrong(self, name: str | None, what: str, cure: str) -> ValueError:
        """Return an error about the line at hand, and a column if one is given."""
        column = "" if name is None else f", column {quoted(name)}"
        return ValueError(f"{shown(self.path)}, line {self.line}{column} {what}: {cure}.")
