"""What a search found: the best candidates, how it got there, and all that repeats it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metaopt_fast.arithmetic import log
from metaopt_fast.models.of_result import OfCandidates
from metaopt_fast.notebook import card
from metaopt_fast.runs.ranges import join_ranges
from metaopt_fast.runs.ranking import TOP_DTYPE, improvements, select_best
from metaopt_fast.runs.saved import SavedRun
from metaopt_fast.typing import JSON, Array, Float64Array, Records
from metaopt_fast.validation.values import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Entries of a configuration that may differ between shards of one search: they cannot change bits.
LOCAL_ENTRIES = (
    *("start", "n_candidates", "isa", "n_threads", "prune", "versions", "metadata"),
    *("stages", "feature_names", "classes", "network"),
)


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult(SavedRun, OfCandidates):
    """The best candidates of a search.

    Attributes
    ----------
    top : numpy.ndarray of shape (top_k,), fields "index" and "loss"
        The best candidates, sorted by (loss, index); a loss that is not finite ranks last. Fewer
        than top_k where fewer were evaluated.
    top_thetas : numpy.ndarray of shape (top_k, n_params)
    trace : numpy.ndarray, fields "index" and "loss"
        Each candidate that was better than all of a lower index.
    ranges : tuple of (start, stop)
        The candidates that were evaluated, in ascending order.
    elapsed : float
        Seconds; those of a resumed search include what its checkpoint holds.
    rows_evaluated_fraction : float
        The part of all (row, candidate) pairs that was computed: below 1 where candidates were
        dropped early.
    stopped_by : {None, "interrupt", "callback", "time_budget"}
        What ended the search before its last candidate; None if nothing did.
    config : dict
        Everything needed to repeat the search: plain numbers, strings, lists and dicts. ``stages``
        says what became of each stage that drops candidates; it changes no other result.
    """

    top: Records
    top_thetas: Float64Array
    trace: Records
    ranges: tuple[tuple[int, int], ...]
    elapsed: float
    rows_evaluated_fraction: float
    stopped_by: str | None
    config: dict[str, JSON]

    _kind: ClassVar[str] = "search result"
    _called: ClassVar[str] = "search result"
    _endings: ClassVar[tuple[str, ...]] = ("interrupt", "callback", "time_budget")
    _arrays: ClassVar[tuple[str, ...]] = ("top", "top_thetas", "trace")
    _rest: ClassVar[tuple[str, ...]] = (
        "ranges",
        "elapsed",
        "rows_evaluated_fraction",
        "stopped_by",
        "config",
    )
    _numbers: ClassVar[tuple[str, ...]] = ("elapsed", "rows_evaluated_fraction")

    def __post_init__(self) -> None:
        # A file holds lists of two.
        ranges = tuple((start, stop) for start, stop in self.ranges)
        object.__setattr__(self, "ranges", ranges)

    @property
    def index(self) -> int:
        """The number of the best candidate."""
        return int(self.top["index"][0])

    @property
    def n_evaluated(self) -> int:
        """How many candidates were evaluated."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    def certified(self) -> bool:
        """Whether these are the best of all: each model of `enumerate_search` was evaluated."""
        config = self._known
        n_models: int | None = config["sampler"].get("n_models")
        return n_models is not None and self.n_evaluated == n_models

    @property
    def pairs_per_second(self) -> float:
        """Rows times candidates per second; candidates alone if the objective has no n_samples."""
        config = self._known
        return float(self.n_evaluated * (config["n_samples"] or 1) / max(self.elapsed, 1e-9))

    def to_dict(self) -> dict[str, JSON]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        return {
            "index": self.index,
            "loss": self.loss,
            "theta": self.theta.tolist(),
            "top": [
                {"index": int(index), "loss": float(loss), "theta": theta.tolist()}
                for (index, loss), theta in zip(self.top, self.top_thetas, strict=True)
            ],
            "trace": [{"index": int(index), "loss": float(loss)} for index, loss in self.trace],
            "ranges": [list(pair) for pair in self.ranges],
            "n_evaluated": self.n_evaluated,
            "elapsed": self.elapsed,
            "pairs_per_second": self.pairs_per_second,
            "rows_evaluated_fraction": self.rows_evaluated_fraction,
            "stopped_by": self.stopped_by,
            "certified": self.certified,
            "config": self.config,
        }

    def plot_trace(self, ax: Axes | None = None) -> Axes:
        """Draw the best loss against the number of candidates; returns the matplotlib axes."""
        from metaopt_fast.plots import axes

        ax = axes("plot_trace", ax)
        start, stop = self.ranges[0][0], self.ranges[-1][1]
        index = [*(self.trace["index"] - start + 1), stop - start]
        loss = [*self.trace["loss"], self.loss]
        ax.step(index, loss, where="post")
        ax.plot(index[-2], loss[-2], "o")
        ax.set(xscale="log", xlabel="candidates", ylabel="best loss", title="Random search")
        return ax

    def plot_top(self, ax: Axes | None = None) -> Axes:
        """Draw the losses of the best candidates by rank; returns the matplotlib axes."""
        from metaopt_fast.plots import axes

        ax = axes("plot_top", ax)
        ax.plot(range(1, len(self.top) + 1), self.top["loss"], ".-")
        ax.set(xlabel="rank", ylabel="loss", title=f"Best of {self.n_evaluated:,} candidates")
        return ax

    def __repr__(self) -> str:
        pruned = f", {self.rows_evaluated_fraction:.1%} of them computed" if self._pruned else ""
        head = [
            f"SearchResult of {self.n_evaluated:,} candidates in {self.elapsed:.2f} s "
            f"({self.pairs_per_second:.3g} pairs/s{pruned})"
        ]
        if self.certified:
            head.append("  certified   no other model of the box has a lower loss")
        return self._text(head)

    def _repr_html_(self) -> str:
        at = log(np.append(self.trace["index"] + 1.0, self.ranges[-1][1]))
        losses = np.append(self.trace["loss"], self.loss)
        points = zip(at.tolist(), losses.tolist(), strict=True)
        return card(repr(self), self._coefficients(), points)

    def _name_of(self, entry: Any) -> str:
        return f"{entry['index']:,}"

    @property
    def _pruned(self) -> bool:
        return self.rows_evaluated_fraction < 1

    @staticmethod
    def _check(arrays: dict[str, Array], rest: dict[str, Any]) -> None:
        from metaopt_fast.files.archive import check_array
        from metaopt_fast.search.checkpoint_contents import is_configuration

        if not is_configuration(rest.get("config")):
            raise ValueError("its configuration is not that of a search")
        check_array(arrays, "top", TOP_DTYPE, (-1,))
        check_array(arrays, "trace", TOP_DTYPE, (-1,))
        shape = len(arrays["top"]), rest["config"]["n_params"]
        check_array(arrays, "top_thetas", np.float64, shape)
        ranges = rest.get("ranges")
        if not (isinstance(ranges, list) and ranges and len(arrays["top"]) > 0):
            raise ValueError("it has no candidates")
        for pair in ranges:
            if not (isinstance(pair, list) and [type(number) for number in pair] == [int, int]):
                raise ValueError("its ranges are no pairs of integers")
            if not 0 <= pair[0] < pair[1] <= 2**63:
                raise ValueError(f"its ranges hold {pair[0]} to {pair[1]}")
        joined = join_ranges([(start, stop) for start, stop in ranges])
        starts, last = np.array([(start, stop - 1) for start, stop in joined], np.int64).T
        for name in ("top", "trace"):
            index = arrays[name]["index"]
            position = np.searchsorted(starts, index, side="right") - 1
            if not ((position >= 0) & (index <= last[position])).all():
                raise ValueError(f"its {name} has a candidate that was not evaluated")


def merge_results(results: Iterable[SearchResult]) -> SearchResult:
    """Merge shards of one search, in any order, into the result of the whole.

    Parameters
    ----------
    results : iterable of SearchResult
        Of searches that differ in `start` and `n_candidates` alone and do not overlap. Candidates
        may be missing, as they are from a search that was stopped: ``ranges`` says which are there.

    Returns
    -------
    SearchResult
        ``top``, ``top_thetas`` and ``trace`` have the same bits as those of one search over these
        candidates; ``elapsed`` is the sum.

    Raises
    ------
    ValueError, TypeError
        If there is none, if two overlap, or if their configurations differ.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> halves = [mf.random_search(objective, mf.Normal(), 50, start=start) for start in (50, 0)]
    >>> mf.merge_results(halves).index == mf.random_search(objective, mf.Normal(), 100).index
    True
    """
    if isinstance(results, SearchResult) or not isinstance(results, Iterable):
        raise TypeError(f"results is {describe(results)}: pass a list of SearchResult objects.")
    parts = list(results)
    if not parts:
        raise ValueError("results is empty: pass at least one SearchResult.")
    for part in parts:
        if not isinstance(part, SearchResult):
            raise TypeError(f"results has {describe(part)}: pass SearchResult objects.")
    configs: list[dict[str, Any]] = [part.config for part in parts]
    first = configs[0]
    _check_named(parts)
    for part in parts[1:]:
        for name in first.keys() | part.config.keys():
            if name not in LOCAL_ENTRIES and first.get(name) != part.config.get(name):
                raise ValueError(
                    f"results differ in {name} ({describe(first.get(name))} and "
                    f"{describe(part.config.get(name))}): pass shards of one search."
                )
    ranges = join_ranges([pair for part in parts for pair in part.ranges])
    top = np.concatenate([part.top for part in parts])
    best = select_best(top, first["top_k"])
    visited = [part.rows_evaluated_fraction * part.n_evaluated for part in parts]
    start = min(config["start"] for config in configs)
    stop = max(config["start"] + config["n_candidates"] for config in configs)
    return SearchResult(
        top=top[best],
        top_thetas=np.concatenate([part.top_thetas for part in parts])[best],
        trace=improvements(np.concatenate([part.trace for part in parts])),
        ranges=ranges,
        elapsed=math.fsum(part.elapsed for part in parts),
        rows_evaluated_fraction=math.fsum(visited) / sum(part.n_evaluated for part in parts),
        stopped_by=next((part.stopped_by for part in parts if part.stopped_by), None),
        config={**first, "start": start, "n_candidates": stop - start},
    )


def _check_named(parts: list[SearchResult]) -> None:
    """Raise ValueError where results may be of different objectives that have no name."""
    words = {str(part.config.get("fingerprint")) for part in parts}
    if len(words) > 1 and any(word.startswith("unnamed ") for word in words):
        raise ValueError(
            "results are of objectives or samplers that nothing tells apart, and not of the same "
            "object in one process: pass fingerprint= to each search, or give them that attribute."
        )
