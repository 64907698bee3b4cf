"""Ctrl-C and SIGTERM while a command runs, and the exit statuses that say so."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED, TERMINATED = 130, 143


class Stop:
    """Ctrl-C, and SIGTERM, as schedulers send it: Ctrl-C for the search, nothing for its report."""

    came: bool
    was_pressed: bool

    def __init__(self) -> None:
        self.came = self.was_pressed = self.is_reporting = False

    def __call__(self, number: int, frame: object) -> None:
        """Take SIGTERM, once: who repeats it does not keep the best so far from its report."""
        if number == signal.SIGINT:
            self.was_pressed = True
            raise KeyboardInterrupt
        is_first, self.came = not self.came, True
        if is_first and not self.is_reporting:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise once more what did not come out of the libraries that read the data.

        pyarrow takes an interrupt while it imports pandas for the news that there is no pandas.
        """
        if self.came or self.was_pressed:
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """The exit status of a search that was interrupted."""
        return TERMINATED if self.came else INTERRUPTED


@contextlib.contextmanager
def taken_for_ctrl_c(stop: Stop) -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, unless either does something of the caller's own."""
    usual: dict[int, Any] = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in usual if is_main and signal.getsignal(number) is usual[number]]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, usual[number])
