"""The axes that results draw themselves on, by matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metaopt_fast.validation.values import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# By Okabe and Ito (2008): told apart by readers who see colours in any way.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Where the text of a point may stand, in points of a printer from it, the nearest first.
OFFSETS = [(x, y) for y in (-9, 4, -20, 15, -31, 26, -42, 37) for x in (4, -4)]


def axes(name: str, ax: Axes | None) -> Axes:
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
    return styled(pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")[1])


def styled(ax: Axes) -> Axes:
    """Give new axes a light grid below what is drawn, and the palette; return them."""
    from cycler import cycler

    # Colours that come again have another line.
    ax.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * cycler(color=PALETTE))
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def label_points(ax: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write texts beside points, each where it covers no text and no point, if there is room."""
    ax.figure.canvas.figure.draw_without_rendering()  # only then is it known where points are
    spots = ax.transData.transform([point[:2] for point in points])
    taken: list[Any] = []
    for x, y, text in points:
        for right, up in OFFSETS:
            note = ax.annotate(
                text,
                (x, y),
                (right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                fontsize="x-small",
            )
            box = note.get_window_extent()
            is_free = ax.bbox.containsx(box.x0) and ax.bbox.containsx(box.x1)
            if is_free and not box.count_overlaps(taken) and not box.count_contains(spots):
                break
            if (right, up) != OFFSETS[-1]:
                note.remove()
        taken.append(box)
