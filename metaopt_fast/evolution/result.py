"""What an evolution found: the best candidates, and how its generations went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metaopt_fast.files.archive import check_array
from metaopt_fast.models.of_result import OfCandidates
from metaopt_fast.notebook import card
from metaopt_fast.runs.saved import SavedRun
from metaopt_fast.typing import JSON, Array, Float64Array, Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP_DTYPE = np.dtype([("generation", np.int64), ("index", np.int64), ("loss", np.float64)])
TRACE_DTYPE = np.dtype(
    [
        ("generation", np.int64),
        ("best", np.float64),
        ("best_so_far", np.float64),
        ("median", np.float64),
        ("scale", np.float64),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class EvolveResult(SavedRun, OfCandidates):
    """The best candidates of an evolution.

    Attributes
    ----------
    top : numpy.ndarray of shape (top_k,), fields "generation", "index" and "loss"
        The best candidates of different thetas, sorted by (loss, generation, index); a loss that is
        not finite ranks last. Fewer than top_k where there were fewer.
    top_thetas : numpy.ndarray of shape (top_k, n_params)
    trace : numpy.ndarray of shape (n_generations,)
        Fields "generation"; "best" and "median", of the generation's losses, where one that is not
        finite counts as infinity; "best_so_far"; and "scale", the mean standard deviation with
        which the parameters of the generation were drawn, which is 1 for neighbours in integers.
    center, scale : numpy.ndarray of shape (n_params,)
        What the next generation would have been drawn with: the mean of the distribution or the
        point to search around, and standard deviations.
    elapsed : float
        Seconds; those of a resumed run include what its checkpoint holds.
    kernel_fraction : float
        The part of `elapsed` that was spent in the objective.
    stopped_by : {None, "interrupt", "callback", "time_budget", "stall", "diverged"}
        What ended the run before its last generation; None if nothing did. "diverged": the next
        thetas are beyond the range of floats.
    config : dict
        Everything needed to repeat the run: plain numbers, strings, lists and dicts.
    """

    top: Records
    top_thetas: Float64Array
    trace: Records
    center: Float64Array
    scale: Float64Array
    elapsed: float
    kernel_fraction: float
    stopped_by: str | None
    config: dict[str, JSON]

    _kind: ClassVar[str] = "result"
    _called: ClassVar[str] = "result of evolve"
    _endings: ClassVar[tuple[str, ...]] = (
        "interrupt",
        "callback",
        "time_budget",
        "stall",
        "diverged",
    )
    _arrays: ClassVar[tuple[str, ...]] = ("top", "top_thetas", "trace", "center", "scale")
    _rest: ClassVar[tuple[str, ...]] = ("elapsed", "kernel_fraction", "stopped_by", "config")
    _numbers: ClassVar[tuple[str, ...]] = ("elapsed", "kernel_fraction")

    @property
    def n_generations(self) -> int:
        """How many generations were evaluated."""
        return len(self.trace)

    @property
    def n_evaluated(self) -> int:
        """How many candidates were evaluated."""
        config = self._known
        return self.n_generations * int(config["population"])

    def to_dict(self) -> dict[str, JSON]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        return {
            "loss": self.loss,
            "theta": self.theta.tolist(),
            "top": [
                {"generation": g, "index": index, "loss": loss, "theta": theta}
                for (g, index, loss), theta in zip(
                    self.top.tolist(), self.top_thetas.tolist(), strict=True
                )
            ],
            "trace": [
                dict(zip(TRACE_DTYPE.names or (), row, strict=True)) for row in self.trace.tolist()
            ],
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "n_generations": self.n_generations,
            "n_evaluated": self.n_evaluated,
            "elapsed": self.elapsed,
            "kernel_fraction": self.kernel_fraction,
            "stopped_by": self.stopped_by,
            "config": self.config,
        }

    def plot_trace(self, ax: Axes | None = None) -> Axes:
        """Draw the best loss so far, and the best and the median of each generation.

        Returns the matplotlib axes.
        """
        from metaopt_fast.plots import axes

        ax, trace = axes("plot_trace", ax), self.trace
        candidates = (trace["generation"] + 1) * self.config["population"]
        marker = "o" if len(trace) == 1 else None
        ax.plot(candidates, trace["median"], marker=marker, label="median")
        ax.plot(candidates, trace["best"], marker=marker, label="best of the generation")
        ax.plot(candidates, trace["best_so_far"], marker=marker, label="best so far")
        ax.legend()
        title = f"Evolution by {self.config['method']}"
        ax.set(xlabel="candidates", ylabel="loss", title=title)
        return ax

    def __repr__(self) -> str:
        head = [
            f"EvolveResult of {self.n_evaluated:,} candidates in {self.n_generations:,} "
            f"generations in {self.elapsed:.2f} s ({self.kernel_fraction:.0%} of it in the "
            "objective)",
            f"  method      {self.config['method']}",
        ]
        first, last = self.trace["scale"][[0, -1]].tolist()
        return self._text(head, [f"  scale       {first:.3g} to {last:.3g}"])

    def _repr_html_(self) -> str:
        trace = zip(
            self.trace["generation"].tolist(), self.trace["best_so_far"].tolist(), strict=True
        )
        return card(repr(self), self._coefficients(), trace)

    def _name_of(self, entry: Any) -> str:
        return f"{entry['index']:,} of generation {entry['generation']:,}"

    @staticmethod
    def _check(arrays: dict[str, Array], rest: dict[str, Any]) -> None:
        config = rest.get("config")
        counts = ("population", "generations", "n_params", "top_k")
        if not (isinstance(config, dict) and isinstance(config.get("method"), str)):
            raise ValueError("its configuration is not that of a run")
        if not config["method"].isidentifier():
            raise ValueError("its method has no name")
        if any(type(config.get(name)) is not int or config[name] < 1 for name in counts):
            raise ValueError("its configuration has a count that is none")
        n_params = config["n_params"]
        check_array(arrays, "top", TOP_DTYPE, (-1,))
        check_array(arrays, "trace", TRACE_DTYPE, (-1,))
        check_array(arrays, "top_thetas", np.float64, (len(arrays["top"]), n_params))
        for name in ("center", "scale"):
            check_array(arrays, name, np.float64, (n_params,))
        if len(arrays["top"]) == 0 or len(arrays["trace"]) == 0:
            raise ValueError("it has no candidates")
