"""Objectives that are made of confusion counts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.floating_errors import shielded
from metaopt_fast.metrics import METRICS, RATES, known, parts_of_rate
from metaopt_fast.objectives.base import sampled_by_batches
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.gains import FEWEST, MOST, Trial
from metaopt_fast.objectives.limits import exact_gaps, largest_gaps
from metaopt_fast.samplers.base import BATCH_NUMBERS, BuiltInSampler, allocate
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.identity import Names
from metaopt_fast.validation.overrides import may_ask
from metaopt_fast.validation.values import (
    check_number,
    describe,
    to_float64,
)

Metric = Callable[[Float64Array], npt.ArrayLike]

# A candidate that misses a limit ranks behind all that keep it, by how much it misses it.
INFEASIBLE = 1e300
# Costs of errors, summed in another order than the counts, may be larger than the metric by such a
# part, besides the rounding of the counts; and by so much where products leave the normal range.
SLACK, UNDERFLOW = 1e-12, 1e-300
# Costs outside this range bound nothing: products with weights leave that of floats.
LEAST_COST, LARGEST_COST = 1e-280, 1e280
# A gap is the difference of two quotients of sums of two counts.
GAP_ROUNDING = 8
# How many candidates, and at least, say whether bounds pay; and what a bound of all rows takes
# beside their exact counts, for which single precision is enough (the benchmark of counts in
# benches/bench_objectives.py; 1.76 to 1.9 from 10 columns to 784).
PARTS, LEAST_TRIED = 16, 96
TIME_OF_BOUND = {"float64": 1.85, "float32": 1.0}
# What bounds may be foreseen to take, beside exact counts, for a trial: losses tell it roughly. By
# how much less than a trial that failed took they have to, for another one; and where no losses are
# known, how many times as many candidates pass as it was tried on.
WORTH_A_TRIAL, FALL, PATIENCE_OF_BOUNDS = 1.2, 0.8, 100


class Bounding:
    """Whether bounds of a search's candidates pay, as far as losses tell and as they turned out.

    A matter of speed alone: no digit of a result depends on it.

    Parameters
    ----------
    time_of_bound : float
        What a bound of all rows takes beside their exact counts.
    """

    def __init__(self, time_of_bound: float) -> None:
        self.time_of_bound = time_of_bound
        self.trial = Trial(0.0, PATIENCE_OF_BOUNDS)
        self._losses: Float64Array | None = None
        self._worth: float = WORTH_A_TRIAL

    def note(self, losses: Float64Array) -> None:
        """Take note of losses of candidates like those to come."""
        if self._losses is None and len(losses) >= FEWEST:
            self._losses = losses[:MOST].copy()

    def may_pay(self, threshold: float) -> bool:
        """Return whether bounds pay, or are worth a trial."""
        if self.trial.pays or self._losses is None:
            return self.trial.pays is not False
        return self._foreseen(self._losses, threshold) < self._worth

    def learn(self, n_bounded: int, fraction: float, n_left: int, threshold: float) -> None:
        """Take note of candidates whose bounds took a part of the rows, and of those left."""
        taken = self.time_of_bound * fraction * n_bounded + n_left
        self.trial.learn(n_bounded, taken)
        if self._losses is not None and self.trial.pays is False:
            foreseen = self._foreseen(self._losses, threshold)
            self._worth = FALL * foreseen * n_bounded / max(n_bounded, taken)

    @shielded
    def _foreseen(self, losses: Float64Array, threshold: float) -> float:
        """Return about what bounds take beside exact counts: errors are spread over the rows."""
        kept, visited = losses <= threshold, np.ones(len(losses))
        np.divide(threshold, losses, out=visited, where=~kept)
        return self.time_of_bound * float(visited.mean()) + float(kept.mean())


class CountObjective:
    """A function of confusion counts, to be minimised by a search.

    Parameters
    ----------
    counts : ConfusionCounts
    metric : {"error", "balanced_error", "f1", "mcc"} or callable, default "error"
        "f1" and "mcc" mean 1 minus these. A callable takes counts of shape
        (K, n_groups, n_thresholds, 4) and returns K numbers, the lower the better; it is pickled
        where a search runs in processes, and needs an attribute ``fingerprint``, a string that
        names it, where a file has to know it again (see `random_search`). See
        `metaopt_fast.metrics`, which has `Cost` and `expected_utility`.
    gap : {"selection_rate", "tpr", "fpr"}, default "selection_rate"
        The rate whose largest difference between two groups `max_gap` limits: of positive
        decisions among all rows, positive rows, negative rows.
    max_gap : float, optional
        The limit, from 0 to 1, at every threshold. It holds on these rows; on others it is an
        estimate. A gap that meets it exactly keeps it: gaps are rounded once, so that 4/10 - 3/10
        is 0.1. Only where weights are such that counts are not exact (see
        `ConfusionCounts.batch_counts`) is a gap kept that exceeds it by less than 2**-45, or 2**-15
        in float32.
    penalty : float, optional
        What each unit of the gap beyond the limit adds to the metric. By default a candidate that
        misses the limit ranks behind all that keep it: its loss is 1e300 and more.

    Attributes
    ----------
    n_samples, n_params : int
    fit_intercept : bool
    dtype : str

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or a group has no row that the gap's rate needs.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> counts = mf.ConfusionCounts([[1.0], [2.0], [-1.0], [3.0]], [1, 1, 0, 0])
    >>> mf.CountObjective(counts, "error").batch_loss([[1.0], [-1.0]]).tolist()
    [0.25, 0.75]
    """

    def __init__(
        self,
        counts: ConfusionCounts,
        metric: str | Metric = "error",
        *,
        gap: str = "selection_rate",
        max_gap: float | None = None,
        penalty: float | None = None,
    ) -> None:
        if not isinstance(counts, ConfusionCounts):
            raise TypeError(f"counts is {describe(counts)}: pass a ConfusionCounts.")
        is_name = isinstance(metric, str) and metric in METRICS
        if isinstance(metric, type) or not (is_name or callable(metric)):
            raise ValueError(
                f"metric is {describe(metric)}: pass one of {', '.join(METRICS)}, or a callable "
                "that takes counts of shape (K, n_groups, n_thresholds, 4)."
            )
        if not isinstance(gap, str) or gap not in RATES:
            raise ValueError(f"gap is {describe(gap)}: pass one of {', '.join(RATES)}.")
        self.confusion: ConfusionCounts = counts
        self.metric: str | Metric = metric
        self.gap: str = gap
        self.max_gap: float | None = None
        if max_gap is not None:
            self.max_gap = check_number("max_gap", max_gap, 0.0)
            if self.max_gap > 1:
                raise ValueError(
                    f"max_gap is {self.max_gap:g}, but no two rates differ by more than 1: pass a "
                    "number from 0 to 1."
                )
        self.penalty: float | None = None
        if penalty is not None:
            self.penalty = check_number("penalty", penalty, 0.0)
        self.n_samples: int = counts.n_samples
        self.n_params: int = counts.n_params
        self.fit_intercept: bool = counts.fit_intercept
        self.dtype: str = counts.dtype
        self.feature_names: tuple[str, ...] | None = counts.feature_names
        self.classes: Sequence[Any] = counts.classes
        # Of the search that this copy belongs to; else each call is all there is.
        self._bounding: Bounding | None = None
        if self.max_gap is not None:
            self._check_groups()

    def _check_groups(self) -> None:
        labels, totals = self.confusion.group_labels, self.confusion.totals
        if len(labels) < 2:
            raise ValueError(
                "max_gap limits the gap between groups, but there is one group: pass groups to "
                "ConfusionCounts."
            )
        needed = {"selection_rate": totals.sum(axis=1), "tpr": totals[:, 1], "fpr": totals[:, 0]}
        for label, weight in zip(labels, needed[self.gap], strict=True):
            if weight == 0:
                kind = {"tpr": "positive ", "fpr": "negative "}.get(self.gap, "")
                raise ValueError(
                    f"group {label!r} has no {kind}rows, so that its {self.gap} is not defined: "
                    "leave the group out, or pass another gap."
                )

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return the objective at one theta."""
        return float(self._value(self.confusion.counts(theta)[None])[0])

    def batch_loss(self, thetas: npt.ArrayLike) -> Float64Array:
        """Return the objective at many thetas, shape (K,).

        Raises
        ------
        ValueError, TypeError
            If thetas are not as described in `ConfusionCounts.batch_counts`, or the metric returns
            something else than K numbers.
        """
        return self._value(self.confusion.batch_counts(thetas))

    # Of this class, as batch_loss is: one of a base would not be asked (validation/overrides.py).
    sampled_loss = sampled_by_batches

    def pruned_loss(
        self,
        candidates: BuiltInSampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[Float64Array, float]:
        """Return the objective where it is at most a threshold; else perhaps infinity.

        Where the metric is a sum of costs of errors, a candidate is dropped as soon as its errors
        so far cost more than the threshold. As `LogisticLoss.pruned_loss`.
        """
        asked = self.confusion._checked_below(candidates, seed, start, count, threshold)
        candidates, seed, start, count, threshold = asked
        losses, computed = allocate(count), 0.0
        size = max(1, BATCH_NUMBERS // self.n_params)
        for first in range(0, count, size):
            part = slice(first, min(count, first + size))
            n = part.stop - first
            if isinstance(candidates, BuiltInSampler):
                thetas = candidates.sample(seed, start + first, n, self.n_params)
            else:
                thetas = candidates[part]
            losses[part], fraction = self._below(thetas, threshold)
            computed += fraction * n
        return losses, computed / count

    def _below(self, thetas: Float64Array, threshold: float) -> tuple[Float64Array, float]:
        bounding = self._bounding or Bounding(TIME_OF_BOUND[self.dtype])
        may_bound = 0 <= threshold < INFEASIBLE and bounding.may_pay(threshold)
        rows = self._bound() if may_bound else None
        if rows is None:
            bounding.trial.passed(len(thetas))
            return self.batch_loss(thetas), 1.0
        # A part of them says whether bounds save more than they take.
        n_tried = max(LEAST_TRIED, len(thetas) // PARTS)
        if bounding.trial.pays:
            n_tried = len(thetas)
        losses, fraction = self._bounded(rows, thetas[:n_tried], threshold, bounding)
        if n_tried >= len(thetas):
            return losses, fraction
        rest, others_fraction = thetas[n_tried:], 1.0
        if bounding.trial.pays:
            others, others_fraction = self._bounded(rows, rest, threshold, bounding)
        else:
            others = self.batch_loss(rest)
            bounding.trial.passed(len(rest))
        tried = n_tried / len(thetas)
        return np.append(losses, others), tried * fraction + (1 - tried) * others_fraction

    def _bounded(
        self, rows: _kernels.PackedRows, thetas: Float64Array, threshold: float, bounding: Bounding
    ) -> tuple[Float64Array, float]:
        """Return the objective of those whose bound does not drop them, else infinity; and the rows
        computed, as a part of all. Take note of whether that took less time than to count all."""
        confusion, bounds = self.confusion, np.empty(len(thetas))
        shifted = confusion._shifted(thetas, confusion._shifts[0])
        limit = threshold * (1 + SLACK + GAP_ROUNDING * confusion.rounding) + UNDERFLOW
        fraction = rows.evaluate_below(shifted, None, 0, limit, bounds, confusion._threads())
        if fraction < 0:
            raise confusion._not_finite(thetas)
        losses = np.full(len(thetas), np.inf)
        left = np.flatnonzero(bounds <= limit)
        if len(left):
            losses[left] = self.batch_loss(thetas[left])
        bounding.learn(len(thetas), fraction, len(left), threshold)
        return losses, min(1.0, fraction + len(left) / len(thetas))

    def _bound(self) -> _kernels.PackedRows | None:
        """Return rows whose loss is at most the metric, if there are."""
        metric: Any = METRICS[self.metric] if isinstance(self.metric, str) else self.metric
        if not (may_ask(metric, "of_errors") and may_ask(self.confusion, "bound_rows")):
            return None
        costs = metric.of_errors(*self.confusion.parts)
        if costs is None or any(c and not LEAST_COST <= c <= LARGEST_COST for c in costs):
            return None
        return self.confusion.bound_rows(*costs)

    def _value(self, counts: Float64Array) -> Float64Array:
        metric: Any = METRICS[self.metric] if isinstance(self.metric, str) else self.metric
        values = np.asarray(metric(counts))
        if values.shape != (len(counts),) or values.dtype.kind not in "biuf":
            raise ValueError(
                f"metric returned {describe(values)} for counts of shape {counts.shape}: return an "
                f"array of {len(counts)} real numbers."
            )
        values = to_float64(values)
        if np.isnan(values).any():
            raise ValueError(
                f"metric returned nan for the counts {counts[np.isnan(values)][0].tolist()}: "
                "return a number, the lower the better."
            )
        return values if self.max_gap is None else self._limited(values, counts, self.max_gap)

    @shielded
    def _limited(self, values: Float64Array, counts: Float64Array, max_gap: float) -> Float64Array:
        """Return the metric, made worse where groups are further apart than the limit."""
        gaps, rounding = self._gaps(counts, max_gap), 0.0
        if self.confusion.grain is None:
            rounding = GAP_ROUNDING * self.confusion.rounding
        missed = gaps > max_gap + rounding
        excess = np.where(missed, gaps - max_gap, 0)
        if self.penalty is not None:
            return np.asarray(values + self.penalty * excess)
        if (values[np.isfinite(values)] >= INFEASIBLE).any():
            raise ValueError(
                f"metric returned {values[np.isfinite(values)].max():g}, but losses from "
                f"{INFEASIBLE:g} on are of candidates that miss max_gap: return smaller numbers."
            )
        return np.asarray(np.where(missed, INFEASIBLE * (1 + excess), values))

    def _gaps(self, counts: Float64Array, limit: float | None) -> Float64Array:
        grain = self.confusion.grain
        if grain is None:
            return largest_gaps(*parts_of_rate(counts, self.gap))
        whole = np.rint(counts / grain).astype(np.int64)
        return exact_gaps(*parts_of_rate(whole, self.gap), limit)

    @shielded
    def gaps(self, thetas: npt.ArrayLike) -> Float64Array:
        """Return the largest gap of many thetas between two groups, shape (K,).

        Each is rounded once where counts are exact: 4/10 - 3/10 is 0.1.
        Raises a ValueError where there are no two groups, or a rate is not defined.
        """
        self._check_groups()
        return self._gaps(self.confusion.batch_counts(thetas), None)

    def decisions(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Float64Array:
        """Decide of rows, as `LogisticLoss.decisions` does."""
        return self.confusion.decisions(theta, X)

    def with_threads(self, n_threads: int | None) -> Self:
        """Return the same objective, its data shared, with another number of threads."""
        other = copy.copy(self)
        other.confusion = self.confusion.with_threads(n_threads)
        return other

    def _for_search(self) -> Self:
        """Return the same objective, its data shared, that learns from the candidates of a search:
        its copies learn together."""
        other = copy.copy(self)
        other._bounding = Bounding(TIME_OF_BOUND[self.dtype])
        return other

    def _expect_candidates(self, n_candidates: int) -> None:
        """Take note that `pruned_loss` will be asked for so many candidates."""
        self.confusion._expect_candidates(n_candidates)

    def _note_losses(self, losses: Float64Array) -> None:
        """Take note of losses of candidates like those that `pruned_loss` will be asked for."""
        if self._bounding is not None:
            self._bounding.note(losses)

    def _release(self) -> None:
        """Give back the memory that only a search needs."""
        self.confusion._release()

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the data and of what is made of the counts.

        A callable metric is known by its own attribute ``fingerprint``, a string; without one, by
        its identity in this process, as long as it lives.
        """
        return self.identify(Names())

    def identify(self, names: Names) -> str:
        """Return the fingerprint, with what parts are known by as `names` has it."""
        import hashlib

        digest = hashlib.sha256(names.of("counts", self.confusion).encode())
        metric = known(self.metric)
        if metric is None:
            metric = "own " + names.of("metric", self.metric)
        digest.update(repr((metric, self.gap, self.max_gap, self.penalty)).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        limit = "" if self.max_gap is None else f", gap={self.gap!r}, max_gap={self.max_gap:g}"
        return f"CountObjective({self.confusion!r}, {self.metric!r}{limit})"
