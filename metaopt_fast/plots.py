"""The axes that results draw themselves on, by matplotlib where it is installed."""

from __future__ import annotations

from typing import Any

from metaopt_fast.validation.values import describe


def axes(name: str, ax: Any) -> Any:
    """Return the axes given, or those of a new figure; raise an ImportError that names the
    extra."""
    if ax is not None:
        if isinstance(ax, type) or not callable(getattr(ax, "plot", None)):
            raise TypeError(f"ax is {describe(ax)}: pass matplotlib axes or None.")
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(f"{name} needs matplotlib: pip install 'metaopt_fast[plot]'.") from None
    return pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")[1]
