"""The files that commands write: pictures, and whether and how a path is written."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

from metaopt_fast.files.atomic import replace_file
from metaopt_fast.validation.text import shown


def printable(text: str) -> str:
    """Return text as stdout can write it."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def draw(plot: Callable[[Any], Any], kind: str, width: float = 6.4) -> bytes:
    """Return what `plot` draws on axes of some inches, as a PNG, SVG or PDF file."""
    from matplotlib.figure import Figure

    from metaopt_fast.plots import styled

    file = io.BytesIO()
    figure = Figure(figsize=(width, 4.0), layout="constrained")
    plot(styled(figure.add_subplot()))
    figure.savefig(file, format=kind, dpi=200)
    return file.getvalue()


def check_picture() -> None:
    """Raise an ImportError where no picture can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401  # slow to import: it is wanted after the search, too
    except ImportError:
        raise ImportError("--plot needs matplotlib: pip install 'metaopt_fast[plot]'.") from None


def check_output(path: str, force: bool) -> None:
    """Raise an OSError where no result could be written: before the search, not after it."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{shown(folder)} is not a directory: make it, or pass another file."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(f"{shown(path)} is a directory: pass a file.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{shown(path)} is no regular file: pass the path of one.")
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{shown(path)} exists: pass --force, or another file.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{shown(folder)} is not writable: pass a file in another directory.")


def write_output(path: str, content: bytes, force: bool) -> None:
    """Write a file whole or not at all; one that exists is left alone, or replaced by force."""
    if force:
        replace_file(path, content)
        return
    # Exclusive: neither a file that has appeared meanwhile nor what a link points to is touched.
    with open(path, "xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            os.unlink(path)
            raise
