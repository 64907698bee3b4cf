"""A line on stderr while a command does what has no progress of its own: reading, training."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

# Seconds after which one wonders.
PATIENCE = 0.3
# What --progress says, as searches and `waiting` take it.
PROGRESS: dict[str, bool | str] = {"auto": True, "always": "always", "never": False}


@contextlib.contextmanager
def waiting(what: str, progress: bool | str) -> Iterator[None]:
    """Show what is done, from the moment on that it takes long; the line is gone afterwards.

    `progress` says where, as of a search: True on a terminal, "always" anyway.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (progress == "always" or (progress and terminal)):
        yield
        return
    shown = threading.Event()

    def show() -> None:
        sys.stderr.write(f"{what} ...")
        sys.stderr.flush()
        shown.set()

    timer = threading.Timer(PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown.is_set():
            sys.stderr.write("\r" + " " * (len(what) + 4) + "\r")
            sys.stderr.flush()
