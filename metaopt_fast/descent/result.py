"""Ends of gradient descents: where they ended, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.packed import Packed
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.of_result import Predicting
from metaopt_fast.notebook import card
from metaopt_fast.typing import JSON, Counts, Float64Array, Floats, Words
from metaopt_fast.validation.frames import frame_of
from metaopt_fast.validation.values import check_integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


class Status(IntEnum):
    """Why a descent ended; of several reasons, the one of the lowest number counts."""

    DIVERGED = 1
    CONVERGED = 2
    STALLED = 3
    PLATEAU = 4
    MAX_ITER = 5
    INTERRUPTED = 6
    DROPPED = 7  # of a race

    @property
    def ends_with_best(self) -> bool:
        """Whether the descent ends with the theta of its lowest loss, not with the last one."""
        return self in (Status.DIVERGED, Status.PLATEAU, Status.INTERRUPTED)


# Columns whose largest numbers differ by such a factor are of unlike size.
UNLIKE = 100.0
# As results have them, by number; 0 is a descent that goes on.
STATUSES = ("", *(status.name.lower() for status in Status))


@dataclass(frozen=True, slots=True, eq=False)
class DescentResult(Predicting):
    """End of a gradient descent, or of K of them.

    Of K descents, each attribute is an array with one more dimension in front, of length K, and
    ``run[k]`` is the k-th alone.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_params,)
        The last theta; after a divergence, a plateau or an interrupt, the one of the lowest loss.
        With `validation`, always the one of the lowest loss of held-out rows.
    loss : float
        The loss there.
    gradient_norm : float
        The largest absolute entry of the gradient there.
    n_iter : int
        Steps made; of a descent by mini-batches, epochs.
    status : {"converged", "max_iter", "plateau", "stalled", "diverged", "interrupted"}
        "plateau": for `patience` steps the loss, with `validation` that of held-out rows, has not
        fallen by more than `min_delta`; "stalled": no step along the gradient lowers the loss any
        more.
    learning_rate : float
        The size of the (last) step.
    trace : numpy.ndarray of shape (n_iter + 1,)
        The loss at the start and after each step. Of K descents: of shape (K, max(n_iter) + 1),
        with NaN behind the last step. By mini-batches with `validation`, what stands for an epoch
        is the mean of its mini-batches' losses, each where the descent was then; `loss` and
        `gradient_norm` are of all rows, unless an interrupt left no time to ask for them.
    validation_loss : float or None
        With `validation`, the loss of held-out rows at `theta`, the lowest seen.
    best_iter : int or None
        Steps after which that was.
    validation_trace : numpy.ndarray of shape (n_iter + 1,) or None
        The loss of held-out rows at the start and after each step, as `trace`; infinity where it is
        no finite number.
    config : dict
        What a model of theta is to know of the objective: its class, whether there is an intercept,
        names of columns and labels that are not usual.
    """

    theta: npt.NDArray[np.float64]
    loss: Floats
    gradient_norm: Floats
    n_iter: Counts
    status: Words
    learning_rate: Floats
    trace: npt.NDArray[np.float64]
    validation_loss: Floats | None = None
    best_iter: Counts | None = None
    validation_trace: npt.NDArray[np.float64] | None = None
    config: dict[str, JSON] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The number of the descent with the lowest loss, the first of equals; 0 of one descent.

        Of held-out rows, where there are such.
        """
        losses = np.atleast_1d(self.loss if self.validation_loss is None else self.validation_loss)
        return int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))

    @property
    def _best_theta(self) -> Float64Array:
        best: Float64Array = np.atleast_2d(self.theta)[self.best]
        return best

    def __len__(self) -> int:
        """How many descents these are."""
        if self.theta.ndim == 1:
            raise TypeError("this is the result of one descent: it has no length.")
        return len(self.theta)

    def __bool__(self) -> bool:
        """A result is true, of one descent or many."""
        return True

    def __getitem__(self, k: int) -> DescentResult:
        """A copy of the k-th of K descents."""
        k = check_integer("the number of a descent", k, -len(self))
        if k >= len(self):
            raise IndexError(f"descent {k} of {len(self)} is none: pass a number below that.")
        names = ["loss", "gradient_norm", "n_iter", "status", "learning_rate"]
        names += ["validation_loss", "best_iter"] * (self.validation_trace is not None)
        one: dict[str, Any] = {name: getattr(self, name)[k].item() for name in names}
        part = slice(one["n_iter"] + 1)
        if self.validation_trace is not None:
            one["validation_trace"] = self.validation_trace[k, part].copy()
        return DescentResult(
            theta=self.theta[k].copy(),
            trace=self.trace[k, part].copy(),
            config=self.config,
            **one,
        )

    def plot_trace(self, ax: Axes | None = None) -> Axes:
        """Draw the loss after each step, of many descents with the best one in front.

        With that of held-out rows, of one descent. Returns the matplotlib axes.
        """
        from metaopt_fast.plots import PALETTE, axes

        ax = axes("plot_trace", ax)
        if self.theta.ndim == 1:
            marker = "o" if len(self.trace) == 1 else None
            ax.plot(self.trace, marker=marker, label="training")
            if self.validation_trace is not None:
                ax.plot(self.validation_trace, marker=marker, label="held-out rows")
                ax.legend()
            title = f"Gradient descent: {self.status} after {self.n_iter:,} steps"
        else:
            ax.plot(self.trace.T, "-", color="0.7", linewidth=0.8)
            label = f"best: descent {self.best:,}"
            ax.plot(self.trace[self.best], "-", color=PALETTE[0], label=label)
            ax.legend()
            title = f"{len(self):,} gradient descents"
        ax.set(xlabel="steps", ylabel="loss", title=title)
        return ax

    def __repr__(self) -> str:
        if self.theta.ndim == 1:
            return f"DescentResult: {self._ending()}\n{self._rows()}{self._advice()}"
        counts = Counter(np.asarray(self.status).tolist()).most_common()
        endings = ", ".join(f"{count:,} {status}" for status, count in counts)
        return (
            f"DescentResult of {len(self):,} descents: {endings}\n"
            f"  losses      {np.min(self.loss):.10g} to {np.max(self.loss):.10g}\n"
            f"  best        number {self.best:,}: {self[self.best]._ending()}\n"
            f"{self[self.best]._rows()}{self._advice()}"
        )

    def to_frame(self) -> DataFrame:
        """Return how the descents ended as a pandas.DataFrame: a row for each, without thetas."""
        names = ["loss", "gradient_norm", "n_iter", "status", "learning_rate"]
        names += ["validation_loss", "best_iter"] * (self.validation_trace is not None)
        return frame_of({name: np.atleast_1d(getattr(self, name)) for name in names})

    def _repr_html_(self) -> str:
        one = self if self.theta.ndim == 1 else self[self.best]
        return card(repr(self), self._coefficients(), enumerate(one.trace.tolist()))

    def _advice(self) -> str:
        """Return what would help descents that have not converged."""
        if (factor := self._known.get("factor_of_columns")) is None:
            return ""
        return (
            f"\n  columns     differ in size by a factor of {factor:.2g}, which descents take long "
            "for: standardize(X).X has columns of one size"
        )

    def _ending(self) -> str:
        noun = "step" if self.n_iter == 1 else "steps"
        return (
            f"{self.status} after {self.n_iter:,} {noun} of learning rate {self.learning_rate:.3g}"
        )

    def _rows(self) -> str:
        shown = [f"{value:.6g}" for value in self.theta[:6]] + ["..."] * (len(self.theta) > 6)
        judged = (
            ""
            if self.validation_loss is None
            else f"  held out    {self.validation_loss:.10g}, after {self.best_iter:,}\n"
        )
        return (
            f"  loss        {self.loss:.10g}\n{judged}"
            f"  max |grad|  {self.gradient_norm:.3g}\n"
            f"  theta       [{', '.join(shown)}]"
        )


def uninterrupted(runs: DescentResult) -> DescentResult:
    """Return descents, or raise KeyboardInterrupt where Ctrl-C has cut one short."""
    if np.any(np.asarray(runs.status) == "interrupted"):
        raise KeyboardInterrupt
    return runs


@shielded
def unlike_columns(objective: Any, runs: DescentResult) -> dict[str, float]:
    """Return by what factor columns of an objective of ours differ in size, if descents have not
    converged for that, it may be."""
    rows = getattr(objective, "_packed", None)
    if "max_iter" not in np.atleast_1d(np.asarray(runs.status)) or not isinstance(rows, Packed):
        return {}
    sizes = rows.column_extents()[: rows.n_features]
    sizes = sizes[sizes > 0]
    # Beyond the range of floats, the largest of them.
    factor = float(np.nan_to_num(sizes.max() / sizes.min())) if len(sizes) else 1.0
    return {"factor_of_columns": factor} if factor >= UNLIKE else {}
