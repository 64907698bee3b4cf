"""What a bootstrap says of a penalised model: intervals, errors, and losses on rows left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metaopt_fast.plots import axes
from metaopt_fast.typing import BoolArray, Float64Array
from metaopt_fast.validation.frames import frame_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceInterval:
    """Ends of an interval for each parameter: arrays of shape (n_params,)."""

    low: Float64Array
    high: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapResult:
    """What resamples say of a model. Names are those of `scipy.stats.bootstrap`.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_params,)
        The model of all rows, the intercept last.
    l2 : float
        Its penalty: as it was given, or chosen from `tune`.
    resample_l2 : numpy.ndarray of shape (M,)
        The penalty of each resample's model.
    confidence_interval : ConfidenceInterval
        `low` and `high`, each of shape (n_params,).
    bootstrap_distribution : numpy.ndarray of shape (n_params, M)
        The parameters of each resample's model.
    standard_error : numpy.ndarray of shape (n_params,)
        Standard deviation of the distribution, with M - 1.
    confidence_level : float
    method : str
    apparent_loss : float
        Mean loss of the model on the rows that it is trained on, without the penalty.
    optimism : float
        How much lower a model's loss is on its own resample than on all rows, in the mean: what
        is to be added to `apparent_loss` (Harrell).
    oob_loss : numpy.ndarray of shape (M,), or None
        Mean loss of each model on the rows that its resample left out, NaN where there are none;
        None of Bayesian weights, which leave none out.
    loss_632 : float or None
        0.368 apparent_loss + 0.632 of the mean of `oob_loss`: Efron's .632 estimate of the loss on
        new rows.
    certified : numpy.ndarray of bool of shape (M,)
        Whether the gap of each model to its optimum is proven to be at most tol * max(1, loss).
    gap_bound : numpy.ndarray of shape (M,)
    feature_names : tuple of str
    interrupted : bool
        Whether Ctrl-C ended it after fewer resamples than were asked for.
    """

    theta: Float64Array
    l2: float
    resample_l2: Float64Array
    confidence_interval: ConfidenceInterval
    bootstrap_distribution: Float64Array
    standard_error: Float64Array
    confidence_level: float
    method: str
    apparent_loss: float
    optimism: float
    oob_loss: Float64Array | None
    loss_632: float | None
    certified: BoolArray
    gap_bound: Float64Array
    feature_names: tuple[str, ...]
    interrupted: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        has_intercept = len(self.theta) > len(self.feature_names)
        return self.feature_names + ("intercept",) * has_intercept

    def to_frame(self) -> DataFrame:
        """Return the intervals as a pandas.DataFrame, a row for each parameter: its name, `theta`,
        `standard_error`, and `low` and `high` of the interval.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        interval = self.confidence_interval
        columns = {
            "name": self.names,
            "theta": self.theta,
            "standard_error": self.standard_error,
            "low": interval.low,
            "high": interval.high,
        }
        return frame_of(columns)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the interval of each coefficient, the largest first, and return the axes."""
        ax = axes("BootstrapResult.plot", ax)
        n = len(self.feature_names)
        order = np.argsort(np.abs(self.theta[:n]), kind="stable")
        place, interval = np.arange(n), self.confidence_interval
        ax.hlines(place, interval.low[order], interval.high[order], color="0.5")
        ax.plot(self.theta[order], place, "o", markersize=3)
        ax.axvline(0.0, color="0.4", linestyle=":", linewidth=0.8)
        ax.set_yticks(place, [self.feature_names[j] for j in order])
        ax.set(xlabel=f"coefficient, {self.confidence_level:.0%} intervals", title="Bootstrap")
        return ax

    def __repr__(self) -> str:
        n = self.bootstrap_distribution.shape[1]
        lines = [
            f"BootstrapResult of {n:,} resamples, {np.count_nonzero(self.certified):,} certified, "
            f"{self.confidence_level:.0%} intervals ({self.method})"
            + (", interrupted" if self.interrupted else "")
        ]
        interval, names = self.confidence_interval, self.names
        for j in np.argsort(-np.abs(self.theta), kind="stable")[:10]:
            lines.append(
                f"  {self.theta[j]:10.4g}  [{interval.low[j]:.4g}, {interval.high[j]:.4g}]  "
                f"{names[j]}"
            )
        if len(names) > 10:
            lines.append(f"  ({len(names) - 10:,} more)")
        least, most = self.resample_l2.min(), self.resample_l2.max()
        of_each = f", of resamples {least:.4g} to {most:.4g}" if least < most else ""
        lines.append(f"  l2 {self.l2:.4g}{of_each}")
        loss = f"  loss {self.apparent_loss:.6g}, optimism {self.optimism:.3g}"
        of_new = "" if self.loss_632 is None else f", .632 estimate {self.loss_632:.6g}"
        lines.append(loss + of_new)
        return "\n".join(lines)
