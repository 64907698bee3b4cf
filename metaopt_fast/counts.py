"""Confusion counts of many linear models in one pass, and objectives that are made of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels
from metaopt_fast.linear import LinearData
from metaopt_fast.metrics import METRICS, RATES, group_rates
from metaopt_fast.packing import check_sample_weight, check_X, check_y, pack
from metaopt_fast.samplers import MAX_INDEX, MAX_SEED, Sampler, allocate
from metaopt_fast.validation import (
    as_real_array,
    check_integer,
    check_number,
    check_threshold,
    describe,
    to_float64,
)

Float64Array = npt.NDArray[np.float64]
Metric = Callable[[Float64Array], npt.ArrayLike]

# A candidate that misses a limit ranks behind all that keep it, by how much it misses it.
INFEASIBLE = 1e300
# Numbers in the thetas of a batch of drawn candidates: 4 MB.
BATCH_NUMBERS = 2**19
# Sums of parts of the errors, in another order than the counts, may be larger by so much.
SLACK = 1e-9


class ConfusionCounts(LinearData):
    """True and false positives and negatives of linear models, one theta or very many.

    A row is decided positive where the probability, 1 / (1 + exp(-x . theta)), is above the
    threshold. No exponential is computed: a threshold is a shift of the intercept.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        As in `LogisticLoss`.
    y : array_like of shape (n_samples,)
        Labels of two classes: 0 and 1, -1 and +1, or bool.
    groups : array_like of shape (n_samples,), optional
        The group of each row: numbers, strings or bool. Each group is counted on its own.
    thresholds : sequence of float, default (0.5,)
        Probabilities between 0 and 1, exclusive.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum in each class.
    fit_intercept : bool, default False
        Whether theta has an intercept as its last entry.
    dtype : {"float64", "float32"}, default "float64"
        Precision of rows, thetas and decisions.
    n_threads : int, optional
        As in `LogisticLoss`.

    Attributes
    ----------
    n_samples, n_features, n_params : int
    group_labels : list
        The groups, sorted; [None] without groups.
    thresholds : tuple of float

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> counts = mf.ConfusionCounts([[1.0], [2.0], [-1.0], [3.0]], [1, 1, 0, 0])
    >>> counts.counts([1.0]).tolist()
    [[[2.0, 1.0, 0.0, 1.0]]]
    """

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        groups: npt.ArrayLike | None = None,
        thresholds: Sequence[float] = (0.5,),
        sample_weight: npt.ArrayLike | None = None,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
    ) -> None:
        super().__init__(fit_intercept, dtype, n_threads)
        self.thresholds = _check_thresholds(thresholds)
        X = check_X(X)
        positive = check_y(y, len(X))
        weights = check_sample_weight(sample_weight, len(X))
        self.group_labels, group = _check_groups(groups, len(X))
        strata = 2 * group + positive
        # Weights are packed times a power of two.
        self._unit = 1.0 if sample_weight is None else _unit(sample_weight)
        self._shifts = [-math.log(t / (1 - t)) for t in self.thresholds]
        has_column = self.fit_intercept or any(self._shifts)
        self._packed = pack(X, positive, weights, has_column, self.dtype, strata)
        self._n_columns = X.shape[1] + has_column
        self._stratum = self._packed.of_blocks(strata)
        self._digest: bytes | None = None
        self._connect()
        if not np.isfinite(self.totals).all():
            raise ValueError(
                "sample_weight has a sum beyond the range of floats: pass smaller weights."
            )
        for k, label in enumerate(("negative", "positive")):
            if not self.totals[:, k].any():
                raise ValueError(
                    f"sample_weight is 0 for every {label} row: pass positive weights in both "
                    "classes."
                )

    def _connect(self) -> None:
        packed, n_groups = self._packed, len(self.group_labels)
        self._set_shape(packed)
        weights = packed.weights_of_places()
        # Weights of the negative and the positive rows of each group, shape (n_groups, 2).
        self.totals = np.zeros((n_groups, 2))
        self._rows: list[tuple[int, int, _kernels.PackedRows]] = []
        for stratum in np.unique(self._stratum).tolist():
            blocks = self._stratum == stratum
            part = packed.blocks(blocks, total_weight=1.0)
            # A decision of 0 is negative: right for a negative row, wrong for a positive one.
            loss = ("zero_one", "zero_one_and_ties")[stratum % 2]
            rows = part.rows(loss, self._n_columns, 0.0)
            self._rows.append((stratum // 2, stratum % 2, rows))
            places = part.places()
            self.totals[stratum // 2, stratum % 2] = math.fsum(weights[places]) * self._unit

    def counts(self, theta: npt.ArrayLike) -> Float64Array:
        """Return the counts of one theta, shape (n_groups, n_thresholds, 4). See `batch_counts`."""
        found: Float64Array = self._count(self._one(theta))[0]
        return found

    def batch_counts(self, thetas: npt.ArrayLike) -> Float64Array:
        """Count the decisions of many thetas.

        Parameters
        ----------
        thetas : array_like of shape (K, n_params)

        Returns
        -------
        numpy.ndarray of shape (K, n_groups, n_thresholds, 4), float64
            The sums of the weights of true positives, false positives, false negatives and true
            negatives, in this order: integers, exactly, without weights.

        Raises
        ------
        ValueError, TypeError
            If thetas has another shape, is not finite or not real.
        """
        return self._count(self._many(thetas))

    def _count(self, thetas: Float64Array) -> Float64Array:
        threads = self._threads()
        shape = (len(thetas), len(self.group_labels), len(self.thresholds))
        wrong = np.zeros((*shape, 2))
        found = np.empty(len(thetas))
        for t, shift in enumerate(self._shifts):
            shifted = self._shifted(thetas, shift)
            for group, k, rows in self._rows:
                if not rows.evaluate(shifted, found, None, threads):
                    raise self._not_finite(thetas)
                wrong[:, group, t, k] = found
        wrong *= self._unit
        right = np.maximum(self.totals[:, None] - wrong, 0)
        return np.stack([right[..., 1], wrong[..., 0], wrong[..., 1], right[..., 0]], axis=-1)

    def _shifted(self, thetas: Float64Array, shift: float) -> Float64Array:
        """Return thetas whose decision is positive where the probability is above a threshold."""
        if self._n_columns > self.n_params:
            return np.column_stack([thetas, np.full(len(thetas), shift)])
        if shift:
            thetas = thetas.copy()
            thetas[:, -1] += shift
        return thetas

    def bound_rows(
        self, of_false_positive: float, of_false_negative: float
    ) -> _kernels.PackedRows | None:
        """Return rows whose loss is at most a cost of errors; None if nothing costs."""
        of_false_positive = check_number("of_false_positive", of_false_positive, 0.0)
        of_false_negative = check_number("of_false_negative", of_false_negative, 0.0)
        costs = np.array([of_false_positive, of_false_negative])[self._stratum % 2]
        part = replace(self._packed, block_weights=self._packed.block_weights * costs)
        if not costs.any():
            return None
        return part.blocks(costs > 0, total_weight=1 / self._unit).rows(
            "zero_one", self._n_columns, 0.0
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that is counted."""
        import hashlib

        if self._digest is None:
            self._digest = self._packed.digest() + self._stratum.tobytes()
        digest = hashlib.sha256(self._digest)
        digest.update(repr((self.thresholds, self._unit, self.fit_intercept, self.dtype)).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return (
            f"ConfusionCounts({self.n_samples} samples, {self.n_features} features, "
            f"{len(self.group_labels)} groups, thresholds={self.thresholds}, "
            f"fit_intercept={self.fit_intercept}, dtype={self.dtype!r})"
        )


class CountObjective:
    """A function of confusion counts, to be minimised by a search.

    Parameters
    ----------
    counts : ConfusionCounts
    metric : {"error", "balanced_error", "f1", "mcc"} or callable, default "error"
        "f1" and "mcc" mean 1 minus these. A callable takes counts of shape
        (K, n_groups, n_thresholds, 4) and returns K numbers, the lower the better; it is pickled
        where a search runs in processes. See `metaopt_fast.metrics`, which has `Cost` and
        `expected_utility`.
    gap : {"selection_rate", "tpr", "fpr"}, default "selection_rate"
        The rate whose largest difference between two groups `max_gap` limits: of positive
        decisions among all rows, positive rows, negative rows.
    max_gap : float, optional
        The limit, from 0 to 1, at every threshold. It holds on these rows; on others it is an
        estimate.
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
        self.confusion, self.metric, self.gap = counts, metric, gap
        self.max_gap = None if max_gap is None else check_number("max_gap", max_gap, 0.0)
        self.penalty = None if penalty is None else check_number("penalty", penalty, 0.0)
        self.n_samples, self.n_params = counts.n_samples, counts.n_params
        self.fit_intercept, self.dtype = counts.fit_intercept, counts.dtype
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

    def sampled_loss(
        self, sampler: Sampler, seed: int, start: int, count: int, *, n_threads: int | None = None
    ) -> Float64Array:
        """Return the objective at candidates start .. start + count - 1 of a sampler."""
        if not isinstance(sampler, Sampler):
            raise TypeError(
                f"sampler is {describe(sampler)}: pass a Normal, a Uniform or an Integers sampler."
            )
        if n_threads is not None:
            return self.with_threads(n_threads).sampled_loss(sampler, seed, start, count)
        return self.pruned_loss(sampler, seed, start, count, math.inf)[0]

    def pruned_loss(
        self,
        candidates: Sampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[Float64Array, float]:
        """Return the objective where it is at most a threshold; else perhaps infinity.

        Where the metric is a sum of costs of errors, a candidate is dropped as soon as its errors
        so far cost more than the threshold. As `LogisticLoss.pruned_loss`.
        """
        threshold = check_threshold(threshold)
        seed = check_integer("seed", seed, 0, MAX_SEED)
        start = check_integer("start", start, 0, MAX_INDEX)
        count = check_integer("count", count, 1, MAX_INDEX - start)
        if not isinstance(candidates, Sampler):
            candidates = self.confusion._counted(candidates, count)
        losses, computed = allocate(count), 0.0
        size = max(1, BATCH_NUMBERS // self.n_params)
        for first in range(0, count, size):
            part = slice(first, min(count, first + size))
            n = part.stop - first
            if isinstance(candidates, Sampler):
                thetas = candidates.sample(seed, start + first, n, self.n_params)
            else:
                thetas = candidates[part]
            losses[part], fraction = self._below(thetas, threshold)
            computed += fraction * n
        return losses, computed / count

    def _below(self, thetas: Float64Array, threshold: float) -> tuple[Float64Array, float]:
        rows = self._bound() if 0 <= threshold < INFEASIBLE else None
        if rows is None:
            return self.batch_loss(thetas), 1.0
        confusion, bounds = self.confusion, np.empty(len(thetas))
        shifted = confusion._shifted(thetas, confusion._shifts[0])
        limit = threshold * (1 + SLACK) + SLACK
        fraction = rows.evaluate_below(shifted, None, 0, limit, bounds, confusion._threads())
        if fraction < 0:
            raise confusion._not_finite(thetas)
        losses = np.full(len(thetas), np.inf)
        left = np.flatnonzero(bounds <= limit)
        if len(left):
            losses[left] = self.batch_loss(thetas[left])
        return losses, min(1.0, fraction + len(left) / len(thetas))

    def _bound(self) -> _kernels.PackedRows | None:
        """Return rows whose loss is at most the metric, if there are."""
        metric = METRICS[self.metric] if isinstance(self.metric, str) else self.metric
        of_errors = getattr(metric, "of_errors", None)
        if of_errors is None:
            return None
        negative, positive = self.confusion.totals.sum(axis=0).tolist()
        costs = of_errors(positive, negative)
        return None if costs is None else self.confusion.bound_rows(*costs)

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
        if self.max_gap is None:
            return values
        rates = group_rates(counts, self.gap)
        gaps = (rates.max(axis=1) - rates.min(axis=1)).max(axis=1)
        excess = np.maximum(gaps - self.max_gap, 0)
        if self.penalty is not None:
            return np.asarray(values + self.penalty * excess)
        return np.asarray(np.where(excess > 0, INFEASIBLE * (1 + excess), values))

    def gaps(self, thetas: npt.ArrayLike) -> Float64Array:
        """Return the largest gap of many thetas between two groups, shape (K,).

        Raises a ValueError where there are no two groups, or a rate is not defined.
        """
        self._check_groups()
        rates = group_rates(self.confusion.batch_counts(thetas), self.gap)
        return np.asarray((rates.max(axis=1) - rates.min(axis=1)).max(axis=1))

    def with_threads(self, n_threads: int | None) -> Self:
        """Return the same objective, its data shared, with another number of threads."""
        other = copy.copy(self)
        other.confusion = self.confusion.with_threads(n_threads)
        return other

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the data and of what is made of the counts."""
        import hashlib

        digest = hashlib.sha256(self.confusion.fingerprint.encode())
        metric = self.metric
        if callable(metric) and not hasattr(metric, "of_errors"):
            metric = f"{metric.__module__}.{getattr(metric, '__qualname__', type(metric))}"
        digest.update(repr((metric, self.gap, self.max_gap, self.penalty)).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        limit = "" if self.max_gap is None else f", gap={self.gap!r}, max_gap={self.max_gap:g}"
        return f"CountObjective({self.confusion!r}, {self.metric!r}{limit})"


def _unit(sample_weight: npt.ArrayLike) -> float:
    """Return the power of two that `check_sample_weight` divides by."""
    return math.ldexp(1.0, math.frexp(float(np.max(np.asarray(sample_weight, float))))[1] - 1)


def _check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    wanted = "a sequence of probabilities between 0 and 1, exclusive"
    array = to_float64(as_real_array("thresholds", thresholds, 1, wanted))
    if len(array) == 0:
        raise ValueError(f"thresholds is empty: pass {wanted}.")
    for threshold in array.tolist():
        if not 0 < threshold < 1:
            raise ValueError(f"thresholds has {threshold:g}: pass {wanted}.")
    return tuple(array.tolist())


def _check_groups(
    groups: npt.ArrayLike | None, n_samples: int
) -> tuple[list[Any], npt.NDArray[np.intp]]:
    """Return the labels of the groups, and the number of each row's."""
    if groups is None:
        return [None], np.zeros(n_samples, np.intp)
    wanted = "one number, string or bool for each row"
    try:
        array = np.asarray(groups)
    except ValueError:
        raise ValueError(f"groups cannot be read as an array: pass {wanted}.") from None
    if array.ndim != 1 or len(array) != n_samples:
        raise ValueError(
            f"groups has shape {array.shape}, but X has {n_samples} rows: pass {wanted}."
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"groups has nan at row {int(np.isnan(array).argmax())}: pass {wanted}.")
    try:
        labels, number = np.unique(array, return_inverse=True)
    except TypeError:
        raise TypeError(f"groups holds values that cannot be sorted: pass {wanted}.") from None
    return labels.tolist(), number.astype(np.intp)
