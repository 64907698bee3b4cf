"""What an evolution found: the best candidates, and how its generations went."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast.files.archive import check_array, check_number, read_arrays, write_arrays
from metaopt_fast.typing import Array, Float64Array
from metaopt_fast.validation.values import check_path

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
class EvolveResult:
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

    top: Array
    top_thetas: Array
    trace: Array
    center: Array
    scale: Array
    elapsed: float
    kernel_fraction: float
    stopped_by: str | None
    config: dict[str, Any]

    @property
    def theta(self) -> Float64Array:
        """A copy of the best theta, shape (n_params,)."""
        best: Float64Array = self.top_thetas[0].copy()
        return best

    @property
    def loss(self) -> float:
        """The best loss."""
        return float(self.top["loss"][0])

    @property
    def n_generations(self) -> int:
        """How many generations were evaluated."""
        return len(self.trace)

    @property
    def n_evaluated(self) -> int:
        """How many candidates were evaluated."""
        population: int = self.config["population"]
        return self.n_generations * population

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.stopped_by == "interrupt"

    def to_dict(self) -> dict[str, Any]:
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to an npz file, without pickle; `load` reads it.

        A file that exists is replaced once the new one is whole, which keeps its permissions, its
        group, and its owner where the system lets it. A symbolic link stays one: the file that it
        leads to is written.
        """
        arrays = {name: getattr(self, name) for name in ARRAYS}
        rest = {name: getattr(self, name) for name in REST}
        write_arrays(check_path("path", path), "result", arrays, rest)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EvolveResult:
        """Read a result that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        try:
            arrays, rest = read_arrays(check_path("path", path), "result", ARRAYS)
            _check_saved(arrays, rest)
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(path)!s} does not hold a result of evolve ({error}): pass a file that "
                "EvolveResult.save wrote."
            ) from None
        everything: dict[str, Any] = {**arrays, **{name: rest[name] for name in REST}}
        return cls(**everything)

    def plot_trace(self, ax: Any = None) -> Any:
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
        lines = [
            f"EvolveResult of {self.n_evaluated:,} candidates in {self.n_generations:,} "
            f"generations in {self.elapsed:.2f} s ({self.kernel_fraction:.0%} of it in the "
            "objective)",
            f"  method      {self.config['method']}",
        ]
        if self.stopped_by:
            lines.append(f"  stopped by  {self.stopped_by.replace('_', ' ')}")
        shown = [f"{value:.6g}" for value in self.theta[:6]] + ["..."] * (len(self.theta) > 6)
        entries = textwrap.shorten(", ".join(shown), 80, placeholder=" ...")
        generation, index, _ = self.top[0].tolist()
        lines += [
            f"  best loss   {self.loss:.10g}",
            f"  candidate   {index:,} of generation {generation:,}",
            f"  theta       [{entries}]",
            f"  scale       {self.trace['scale'][0]:.3g} to {self.trace['scale'][-1]:.3g}",
        ]
        lines += [
            f"  {rank:>4}. {loss:.10g}  (candidate {index:,} of generation {generation:,})"
            for rank, (generation, index, loss) in enumerate(self.top[1:6].tolist(), start=2)
        ]
        return "\n".join(lines)


ARRAYS = ("top", "top_thetas", "trace", "center", "scale")
REST = ("elapsed", "kernel_fraction", "stopped_by", "config")


def _check_saved(arrays: dict[str, Array], rest: dict[str, Any]) -> None:
    """Raise ValueError where a file that is whole does not hold what makes a result."""
    config = rest.get("config")
    counts = ("population", "generations", "n_params", "top_k")
    if not (isinstance(config, dict) and isinstance(config.get("method"), str)):
        raise ValueError("its configuration is not that of a run")
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
    for name in ("elapsed", "kernel_fraction"):
        check_number(rest, name)
    if not isinstance(rest.get("stopped_by", 0), (str, type(None))):
        raise ValueError("its stopped_by is no word")
