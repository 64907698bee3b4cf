"""Pictures of results, by matplotlib where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaopt_fast.result import SearchResult


def new_axes(name: str) -> Any:
    """Return the axes of a new figure, or raise an ImportError that names the extra."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(f"{name} needs matplotlib: pip install 'metaopt_fast[plot]'.") from None
    return pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")[1]


def plot_trace(result: SearchResult, ax: Any = None) -> Any:
    """Draw the best loss so far against the number of candidates."""
    ax = new_axes("plot_trace") if ax is None else ax
    start, stop = result.ranges[0][0], result.ranges[-1][1]
    index = [*(result.trace["index"] - start + 1), stop - start]
    loss = [*result.trace["loss"], result.loss]
    ax.step(index, loss, where="post")
    ax.plot(index[-2], loss[-2], "o")
    ax.set(xscale="log", xlabel="candidates", ylabel="best loss", title="Random search")
    return ax


def plot_top(result: SearchResult, ax: Any = None) -> Any:
    """Draw the losses of the best candidates by rank."""
    ax = new_axes("plot_top") if ax is None else ax
    ax.plot(range(1, len(result.top) + 1), result.top["loss"], ".-")
    ax.set(xlabel="rank", ylabel="loss", title=f"Best of {result.n_evaluated:,} candidates")
    return ax
