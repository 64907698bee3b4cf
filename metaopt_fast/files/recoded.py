"""Text in UTF-16, as spreadsheets save it, recoded as it is read."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import IO

from metaopt_fast.validation.text import shown

# What such a file begins with.
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Recoded:
    """The text of a file in UTF-16 as bytes in UTF-8."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name = name
        self._text = io.TextIOWrapper(file, "utf-16", newline="\n")

    def readline(self, limit: int) -> bytes:
        """Return the bytes up to the end of a line, of `limit` characters at most."""
        return self._called(self._text.readline, limit)

    def read(self, size: int) -> bytes:
        """Return the bytes of so many characters, fewer at the end."""
        return self._called(self._text.read, size)

    def _called(self, read: Callable[[int], str], size: int) -> bytes:
        try:
            return read(size).encode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{shown(self._name)} begins as UTF-16 text and is none ({error.reason}): save the "
                "file as UTF-8."
            ) from None
