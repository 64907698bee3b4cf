"""A tree as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaopt_fast.models.tree import Tree, leaf_words
from metaopt_fast.plots import axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOX = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.5"}


def draw(tree: Tree, ax: Axes | None) -> Axes:
    """Draw questions above their answers, leaves side by side; return the axes."""
    leaves, is_new = tree.leaves, ax is None
    ax = axes("plot", ax)
    if is_new:
        ax.figure.canvas.figure.set_size_inches(width_of(tree), 4.0)
    places = {leaf: float(k) for k, leaf in enumerate(leaves)}
    for position in reversed(range(len(tree.splits))):
        if tree.splits[position] is not None:
            places[position] = (places[2 * position + 1] + places[2 * position + 2]) / 2
    for position, x in places.items():
        y = -level_of(position)
        if position in leaves:
            text = "\n".join(leaf_words(tree, position))
        else:
            text = str(tree.splits[position]).replace(" <= ", "\n<= ")
        if position:
            above = (position - 1) // 2
            ax.plot([places[above], x], [y + 1, y], "-", color="0.6", zorder=1)
            answer = "yes" if position % 2 else "no"
            ax.text((places[above] + x) / 2, y + 0.5, answer, ha="center", va="center")
        ax.text(x, y, text, ha="center", va="center", bbox=BOX, zorder=2, fontsize="small")
    lowest = max(map(level_of, places))
    ax.set(xlim=(-0.6, len(leaves) - 0.4), ylim=(-lowest - 0.4, 0.4))
    ax.set_title(tree.to_text().splitlines()[0])
    ax.set_axis_off()
    return ax


def width_of(tree: Tree) -> float:
    """Return how many inches the leaves take side by side."""
    return max(6.4, 1.3 * len(tree.leaves))


def level_of(position: int) -> int:
    """Return how many questions are above a position."""
    return (position + 1).bit_length() - 1
