"""A line on stderr while a search runs: tqdm's where it is installed, else our own."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

# Seconds between two updates.
INTERVAL = 0.2


class Progress:
    """Candidates done, rates, best loss and time left; a context manager that ends the line.

    Parameters
    ----------
    shown : bool or "always"
        True shows the line if stderr is a terminal, "always" anyway.
    total, done : int
        Candidates of the search, and those that a checkpoint has already.
    n_samples : int or None
        Rows, for the rate in pairs per second.
    """

    total: int
    first: int
    done: int
    started: float
    updated: float

    def __init__(self, shown: bool | str, total: int, done: int, n_samples: int | None) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self.shown: bool = shown == "always" or (bool(shown) and terminal)
        self.total, self.first, self.done = total, done, done
        self.n_samples = n_samples
        self.started = self.updated = time.perf_counter()
        self.bar: Any = None
        if self.shown:
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self.bar = tqdm(
                total=total, initial=done, unit="cand", unit_scale=True, file=sys.stderr
            )

    def update(self, count: int, best_loss: float) -> None:
        """Count finished candidates and, now and then, write the line."""
        self.done += count
        if not self.shown:
            return
        seconds = time.perf_counter() - self.started
        rate = (self.done - self.first) / max(seconds, 1e-9)
        pairs = f"{rate * self.n_samples:.3g} pairs/s, " if self.n_samples else ""
        if self.bar is not None:
            self.bar.update(count)
            self.bar.set_postfix_str(f"{pairs}best {best_loss:.8g}", refresh=False)
        elif self.done == self.total or time.perf_counter() - self.updated >= INTERVAL:
            self.updated = time.perf_counter()
            left = (self.total - self.done) / max(rate, 1e-9)
            sys.stderr.write(
                f"\r{self.done / self.total:6.1%}  {self.done:,} of {self.total:,} candidates, "
                f"{rate:.3g} candidates/s, {pairs}best {best_loss:.8g}, {left:.0f} s left  "
            )
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown:
            sys.stderr.write("\n")
