"""Pictures of results, by matplotlib where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metaopt_fast.validation.values import describe

if TYPE_CHECKING:
    from metaopt_fast.descent.result import DescentResult
    from metaopt_fast.evolution.result import EvolveResult
    from metaopt_fast.search.result import SearchResult
    from metaopt_fast.selection.tune import TuneResult


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


def plot_trace(result: SearchResult, ax: Any = None) -> Any:
    """Draw the best loss so far against the number of candidates."""
    ax = axes("plot_trace", ax)
    start, stop = result.ranges[0][0], result.ranges[-1][1]
    index = [*(result.trace["index"] - start + 1), stop - start]
    loss = [*result.trace["loss"], result.loss]
    ax.step(index, loss, where="post")
    ax.plot(index[-2], loss[-2], "o")
    ax.set(xscale="log", xlabel="candidates", ylabel="best loss", title="Random search")
    return ax


def plot_top(result: SearchResult, ax: Any = None) -> Any:
    """Draw the losses of the best candidates by rank."""
    ax = axes("plot_top", ax)
    ax.plot(range(1, len(result.top) + 1), result.top["loss"], ".-")
    ax.set(xlabel="rank", ylabel="loss", title=f"Best of {result.n_evaluated:,} candidates")
    return ax


def plot_scores(result: TuneResult, ax: Any = None) -> Any:
    """Draw the mean score of the folds against C, with its standard error."""
    ax = axes("plot_scores", ax)
    order = result.C.argsort()
    C, mean, error = result.C[order], result.mean[order], result.standard_error[order]
    ax.errorbar(C, mean, error, fmt=".-", elinewidth=0.5, label=f"mean of {result.n_folds} folds")
    marks = {"best": result.best, "one standard error": result.one_standard_error}
    for marker, (label, index) in zip("os", marks.items(), strict=True):
        text = f"{label}: C = {result.C[index]:.3g}"
        ax.plot(result.C[index], result.mean[index], marker, fillstyle="none", zorder=3, label=text)
    ax.set(xscale="log", xlabel="C", ylabel=result.scoring, title="Cross-validation")
    ax.legend()
    return ax


def plot_descent(run: DescentResult, ax: Any = None) -> Any:
    """Draw the loss after each step; of many descents the best one in front."""
    ax = axes("plot_trace", ax)
    if run.theta.ndim == 1:
        ax.plot(run.trace, marker="o" if len(run.trace) == 1 else None)
        title = f"Gradient descent: {run.status} after {run.n_iter:,} steps"
    else:
        ax.plot(run.trace.T, color="0.7", linewidth=0.8)
        ax.plot(run.trace[run.best], color="C0", label=f"best: descent {run.best:,}")
        ax.legend()
        title = f"{len(run):,} gradient descents"
    ax.set(xlabel="steps", ylabel="loss", title=title)
    return ax


def plot_evolution(result: EvolveResult, ax: Any = None) -> Any:
    """Draw the best loss so far, and the best and the median of each generation."""
    ax = axes("plot_trace", ax)
    trace = result.trace
    candidates = (trace["generation"] + 1) * result.config["population"]
    labels = {"median": "median", "best": "best of the generation", "best_so_far": "best so far"}
    for name, label in labels.items():
        ax.plot(candidates, trace[name], marker="o" if len(trace) == 1 else None, label=label)
    ax.legend()
    title = f"Evolution by {result.config['method']}"
    ax.set(xlabel="candidates", ylabel="loss", title=title)
    return ax
