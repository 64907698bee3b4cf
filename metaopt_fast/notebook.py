"""Results as notebooks show them: their text, a table of coefficients, a small picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# Of the picture, in pixels; and the points of its line at most.
WIDTH, HEIGHT, MARGIN, MOST_POINTS = 320, 120, 8, 400
# Lines of the table.
MOST_ROWS = 12


def card(
    text: str, coefficients: Iterable[tuple[str, float]], points: Iterable[tuple[float, float]]
) -> str:
    """Return HTML that needs nothing from elsewhere: a text, the largest of some coefficients, a
    line through points. All that is not the card's own is escaped.

    Examples
    --------
    >>> "a &lt; b" in card("a < b", [("x", 1.0)], [])
    True
    """
    parts = [f"<pre>{_escaped(text)}</pre>", _table(list(coefficients)), _picture(list(points))]
    return f"<div>{''.join(parts)}</div>"


def _escaped(text: str) -> str:
    import html  # which few programs need

    return html.escape(text)


def _table(coefficients: list[tuple[str, float]]) -> str:
    ranked = sorted(coefficients, key=lambda pair: -abs(pair[1]))[:MOST_ROWS]
    if not ranked:
        return ""
    lines = [
        f"<tr><td>{_escaped(name)}</td><td>{_escaped(f'{weight:.6g}')}</td></tr>"
        for name, weight in ranked
    ]
    if len(coefficients) > MOST_ROWS:
        lines.append(f"<tr><td>({len(coefficients) - MOST_ROWS:,} more)</td><td></td></tr>")
    head = "<tr><th>column</th><th>weight</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def _picture(points: list[tuple[float, float]]) -> str:
    """Return a line as SVG, from the least to the greatest of each axis."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    # So that no difference leaves the range of floats.
    finite = [(x / 2, y / 2) for x, y in finite[:: len(finite) // MOST_POINTS + 1]]
    if len(finite) < 2:
        return ""
    xs, ys = zip(*finite, strict=True)
    across = _placed(xs, MARGIN, WIDTH - MARGIN)
    down = _placed(ys, HEIGHT - MARGIN, MARGIN)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="trace"><polyline fill="none" stroke="#0072B2" stroke-width="1.5" '
        f'points="{line}"/></svg>'
    )


def _placed(values: Sequence[float], first: float, last: float) -> list[float]:
    """Return where values lie between two ends; the first of these if all are one."""
    low, high = min(values), max(values)
    size = high - low
    return [first + (last - first) * ((v - low) / size if size else 0.0) for v in values]
