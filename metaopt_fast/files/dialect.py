"""How a text file writes its table: the separator of columns, and the mark of decimals."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from typing import Any

# More fields in a row mean that the file is no table.
MOST_FIELDS = 2**20
SEPARATORS = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
    " ": "spaces",
}
# What a spreadsheet writes as a line before the header, to say the separator.
DECLARED = re.compile(r"sep=(.)\s*")
NUMBER_WITH_COMMA = re.compile(r"\s*[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?\s*")
NUMBER_WITH_POINT = re.compile(r"\s*[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?\s*")
# A point would be a separator of thousands where commas are decimal: no number then.
COMMA_TO_POINT = str.maketrans(",.", ".\0")


def split(line: str, separator: str) -> list[str]:
    """Return the fields of a header that is one line; none if it has none by this separator."""
    if line.count(separator) >= MOST_FIELDS:
        return []
    try:
        return next(csv.reader([line], **options(separator)), [])
    except csv.Error:
        return []


def options(separator: str) -> dict[str, Any]:
    """Return what csv.reader is told."""
    # Between columns that are lined up there are many spaces.
    return {"delimiter": separator, "strict": True, "skipinitialspace": separator == " "}


def separator_of(line: str, wanted: Collection[str]) -> str:
    """Return what separates the names of a header: the first that finds a name that is wanted.

    Without one: a comma if there are any, or what else there is but spaces.

    Examples
    --------
    >>> separator_of("age; weight, kg; ill", ["ill"])
    ';'
    >>> separator_of("age of birth", [])
    ','
    """
    known = set(wanted)
    for separator in SEPARATORS:
        names = split(line, separator)
        if len(names) > 1 and any(name.strip() in known for name in names):
            return separator
    if "," not in line:
        for separator in (";", "\t", "|"):
            if len(split(line, separator)) > 1:
                return separator
    return ","


def separator_of_rows(line: str) -> str:
    """Return what separates the fields of a row, where no names are known: a comma may be a decimal
    one beside any other.

    Examples
    --------
    >>> separator_of_rows("2,5;red;1"), separator_of_rows("2.5,red,1"), separator_of_rows("2.5 1")
    (';', ',', ' ')
    """
    for separator in ("\t", ";", "|", ",", " "):
        if len(split(line, separator)) > 1:
            return separator
    return ","


def decimal_mark_of(fields: list[str]) -> str | None:
    """Return the mark of the first number with decimals; None if there is none.

    Examples
    --------
    >>> decimal_mark_of(["17", "red", "2,5"]), decimal_mark_of(["17", "red"])
    (',', None)
    """
    for field in fields:
        if NUMBER_WITH_COMMA.fullmatch(field):
            return ","
        if NUMBER_WITH_POINT.fullmatch(field):
            return "."
    return None
