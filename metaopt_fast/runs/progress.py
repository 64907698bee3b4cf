"""A line on stderr while a search runs: tqdm's where it is installed, else our own; in a notebook
tqdm's bar; a line each minute where stderr is a file."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, Self

# Seconds between two updates.
INTERVAL = 0.2
# And between two lines of a file.
LOG_INTERVAL = 60.0


class Progress:
    """Candidates done, rates, best loss and time left; a context manager that ends the line.

    Parameters
    ----------
    shown : bool or "always"
        True shows the line if stderr is a terminal or this a notebook, "always" anyway; elsewhere
        True writes a line each minute.
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
        in_notebook = "ipykernel" in sys.modules
        self.shown: bool = shown == "always" or (bool(shown) and (terminal or in_notebook))
        self.logged: bool = bool(shown) and not self.shown and sys.stderr is not None
        self.total, self.first, self.done = total, done, done
        self.n_samples = n_samples
        self.started = self.updated = time.perf_counter()
        self.bar: Any = None
        if self.shown:
            try:
                if in_notebook:
                    from tqdm.auto import tqdm
                else:
                    from tqdm import tqdm
            except ImportError:
                return
            where = {} if in_notebook else {"file": sys.stderr, "dynamic_ncols": True}
            self.bar = tqdm(total=total, initial=done, unit="cand", unit_scale=True, **where)

    def update(self, count: int, best_loss: float) -> None:
        """Count finished candidates and, now and then, write the line."""
        self.done += count
        if not (self.shown or self.logged):
            return
        now = time.perf_counter()
        if self.logged and now - self.updated < LOG_INTERVAL:
            return
        seconds = now - self.started
        rate = (self.done - self.first) / max(seconds, 1e-9)
        pairs = f"{rate * self.n_samples:.3g} pairs/s, " if self.n_samples else ""
        if self.bar is not None:
            self.bar.update(count)
            self.bar.set_postfix_str(f"{pairs}best {best_loss:.8g}", refresh=False)
        elif self.done == self.total or now - self.updated >= INTERVAL:
            self.updated = now
            left = (self.total - self.done) / max(rate, 1e-9)
            parts = [
                f"{self.done / self.total:6.1%}  {self.done:,} of {self.total:,} candidates",
                f"{rate:.3g} candidates/s",
                *([pairs.removesuffix(", ")] if pairs else []),
                f"best {best_loss:.8g}",
                f"{left:.0f} s left",
            ]
            sys.stderr.write(", ".join(parts) + "\n" if self.logged else f"\r{fitted(parts)}  ")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown:
            sys.stderr.write("\n")


def fitted(parts: list[str]) -> str:
    """Return a line of parts: in a terminal, without rates if it would go on in the next line."""
    import shutil

    width = shutil.get_terminal_size().columns - 3 if sys.stderr.isatty() else math.inf
    while len(line := ", ".join(parts)) > width and len(parts) > 3:
        del parts[-3]
    return line if len(line) <= width else line[: int(width)]
