"""Words that errors share: cures, and names as a line of a terminal may show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

VALUE_WANTED = "give each row a value, or leave the row out"
# Names that one is compared with: a file may have a million.
MOST_COMPARED = 10_000
MISSING_CURE = "fill it, or drop the row or the column"


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


def similar(name: str, names: Iterable[str]) -> str:
    """Return a question about the name that was meant, or nothing if none is like the one given.

    Examples
    --------
    >>> similar("lable", ["label", "age"])
    " (did you mean 'label'?)"
    """
    import difflib  # for errors alone

    close = difflib.get_close_matches(name, list(islice(names, MOST_COMPARED)), 1)
    return f" (did you mean {quoted(close[0])}?)" if close else ""


def count(number: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{number} {noun}" + "s" * (number != 1)
