"""Confusion counts of many linear models in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import last_margin
from metaopt_fast.data.checks import (
    check_classes,
    check_groups,
    check_sample_weight,
    check_X,
    unit_of,
)
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import pack
from metaopt_fast.data.rows import BLOCKS_PER_SPAN
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.base import LinearData
from metaopt_fast.typing import Array, Float64Array, IndexArray
from metaopt_fast.validation.frames import frame_names
from metaopt_fast.validation.values import (
    as_real_array,
    check_number,
    to_float64,
)


class Stratum(NamedTuple):
    """The rows of one class of a group: those whose loss is that of wrong decisions, and of right
    ones where these are not exactly the total less the wrong ones."""

    group: int
    label: int
    wrong: _kernels.PackedRows
    right: _kernels.PackedRows | None


class Connected(NamedTuple):
    """What counts: for many candidates all rows together; for a few, one stratum by one."""

    together: _kernels.Counts
    strata: list[Stratum]


class ConfusionCounts(LinearData):
    """True and false positives and negatives of linear models, one theta or very many.

    A row is decided positive where the probability, 1 / (1 + exp(-x . theta)), is above the
    threshold: in float64, exactly where `Scorecard.risk` is above it. A row whose probability
    equals the threshold is decided negative. No exponential is computed: x . theta is compared with
    the largest margin whose probability is not above the threshold.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        As in `LogisticLoss`.
    y : array_like of shape (n_samples,)
        Labels of two classes, of which the greater one is positive; see `LogisticLoss`.
    groups : array_like of shape (n_samples,), optional
        The group of each row: numbers, strings or bool, of one kind: 1 is no "1". Each group is
        counted on its own.
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

    classes: list[Any]

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
        self.thresholds: tuple[float, ...] = _check_thresholds(thresholds)
        self.feature_names: tuple[str, ...] | None = frame_names("X", X)
        X = check_X(X)
        self.classes, positive = check_classes(y, len(X))
        weights = check_sample_weight(sample_weight, len(X))
        self.group_labels: list[Any]
        self.group_labels, group = check_groups(groups, len(X))
        strata = 2 * group + positive
        # Weights are packed divided by it: a power of two, or the weight that all rows have.
        self._unit = 1.0 if sample_weight is None else unit_of(sample_weight)
        if len(np.unique(weights[weights > 0])) == 1:
            self._unit *= float(weights.max())
            weights = np.where(weights > 0, 1.0, 0.0)
        self._shifts = [-_cut(threshold, self.dtype) for threshold in self.thresholds]
        # A shift has a column of its own, so that the sum is rounded before they are compared.
        n_constants = int(self.fit_intercept) + any(self._shifts)
        self._packed = pack(
            X,
            positive,
            weights,
            n_constants,
            self.dtype,
            strata=strata,
            n_threads=self._threads(),
        )
        self._grain = _grain(self._packed, weights)
        self._check_dtype_of_weights(weights)
        self._stratum = self._packed.of_blocks(strata)
        self._digest: bytes | None = None
        self._connect()
        with np.errstate(over="ignore"):
            in_range = np.isfinite(self.totals.sum())
        if not in_range:
            raise ValueError(
                "sample_weight has a sum beyond the range of floats: pass smaller weights."
            )
        for k, label in enumerate(("negative", "positive")):
            if not self.totals[:, k].any():
                raise ValueError(
                    f"sample_weight is 0 for every {label} row: pass positive weights in both "
                    "classes."
                )

    def _check_dtype_of_weights(self, weights: Float64Array) -> None:
        """Raise ValueError where single precision would lose a row's weight."""
        least = float(weights[weights > 0].min())
        if self._packed.rows_per_single_sum > 1 and least < np.finfo(np.float32).tiny:
            raise ValueError(
                f"sample_weight has {least * self._unit:g} beside {weights.max() * self._unit:g}, "
                "of which float32 holds one alone: pass dtype='float64'."
            )

    @shielded
    def _connect(self) -> None:
        packed, n_groups = self._packed, len(self.group_labels)
        self._set_shape(packed)
        # Weights of the negative and the positive rows of each group, as they are packed.
        self._totals = np.zeros((n_groups, 2))
        strata: list[Stratum] = []
        for stratum in np.unique(self._stratum).tolist():
            group, label = divmod(stratum, 2)
            part = packed.blocks(self._stratum == stratum, total_weight=1.0)
            # A decision of 0 is negative: right for a negative row, wrong for a positive one.
            wrong = part.rows(("zero_one", "zero_one_and_ties")[label], 0.0)
            right = ("right", "right_but_for_ties")[label]
            own = part.rows(right, 0.0) if self._grain is None else None
            strata.append(Stratum(group, label, wrong, own))
            self._totals[group, label] = math.fsum(part.weights())
        self._rows = Connected(self._together(), strata)

    def _together(self) -> _kernels.Counts:
        """Return what counts all strata in one call."""
        order = np.argsort(self._stratum, kind="stable")
        rows = self._packed.blocks(order, total_weight=1.0).rows("zero_one", 0.0)
        firsts, strata = _spans(self._stratum[order])
        exact, narrow = _cuts(-np.array(self._shifts), self.dtype)
        above = np.nextafter(narrow, np.float32(np.inf))
        # Thresholds that single precision does not tell apart are those of double precision alone.
        is_told = len(np.unique(narrow)) == len(np.unique(exact))
        return _kernels.Counts(
            rows,
            firsts,
            strata,
            exact,
            narrow if is_told else None,
            above,
            self._totals.ravel(),
            self._grain is None,
        )

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
            negatives, in this order: integers, exactly, without weights. Each is a sum of its own
            rows, 0 where there are none, within a part of 2**-48 (2**-18 in float32) of the exact
            sum; exact where weights are whole multiples of one number that floats can count, such
            as 0.5, and their dtype holds them.

        Raises
        ------
        ValueError, TypeError
            If thetas has another shape, is not finite or not real.
        """
        return self._count(self._many(thetas))

    @shielded
    def _count(self, thetas: Float64Array) -> Float64Array:
        threads = self._threads()
        cells = np.zeros((len(thetas), len(self.group_labels), len(self.thresholds), 4))
        if self._rows.together.serves(len(thetas), threads):
            if not self._rows.together.count(self._shifted(thetas, 0.0), cells, threads):
                raise self._not_finite(thetas)
        else:
            self._count_strata(thetas, cells, threads)
        if self._unit != 1:
            cells *= self._unit
        return cells

    def _count_strata(self, thetas: Float64Array, cells: Float64Array, threads: int) -> None:
        """Count the strata one after the other, each read at the speed of memory."""
        wrong, right = np.empty(len(thetas)), np.empty(len(thetas))
        for t, shift in enumerate(self._shifts):
            shifted = self._shifted(thetas, shift)
            for stratum in self._rows.strata:
                if not stratum.wrong.evaluate(shifted, wrong, None, threads):
                    raise self._not_finite(thetas)
                if stratum.right is None:
                    np.subtract(self._totals[stratum.group, stratum.label], wrong, out=right)
                else:
                    stratum.right.evaluate(shifted, right, None, threads)
                cells[:, stratum.group, t, (1, 2)[stratum.label]] = wrong
                cells[:, stratum.group, t, (3, 0)[stratum.label]] = right

    def _expect_candidates(self, n_candidates: int) -> None:
        """Take note that so many thetas will be counted."""
        self._rows.together.expect(n_candidates)

    def _release(self) -> None:
        """Give back the memory of the rows in single precision."""
        self._rows.together.release()

    @shielded
    def _shifted(self, thetas: Float64Array, shift: float) -> Float64Array:
        """Return thetas whose decision is positive where the probability is above a threshold."""
        if any(self._shifts):
            return np.column_stack([thetas, np.full(len(thetas), shift)])
        return thetas

    @shielded
    def bound_rows(
        self, of_false_positive: float, of_false_negative: float
    ) -> _kernels.PackedRows | None:
        """Return rows whose loss is at most a cost of errors; None if nothing costs.

        Costs are those of an error, times its weight in the unit of `parts`.
        """
        of_false_positive = check_number("of_false_positive", of_false_positive, 0.0)
        of_false_negative = check_number("of_false_negative", of_false_negative, 0.0)
        costs = np.array([of_false_positive, of_false_negative])[self._packed.block_labels]
        if not costs.any():
            return None
        part = self._packed.blocks(costs > 0, total_weight=1.0, factors=costs)
        return part.rows("zero_one", 0.0)

    @property
    def totals(self) -> Float64Array:
        """Weights of the negative and of the positive rows of each group, shape (n_groups, 2)."""
        return self._totals * self._unit

    @property
    def parts(self) -> tuple[float, float]:
        """Weights of all positive and of all negative rows, as `bound_rows` counts them."""
        negative, positive = self._totals.sum(axis=0).tolist()
        return positive, negative

    @property
    def grain(self) -> float | None:
        """What all counts are whole multiples of, exactly; None if there is no such number."""
        return None if self._grain is None else self._grain * self._unit

    @property
    def rounding(self) -> float:
        """The part by which each count may differ from the exact sum of its rows' weights."""
        if self._grain is not None:
            return 2.0**-53
        # Of a block of rows of different weights, 16 additions are in the dtype of the rows.
        return 2.0**-18 if self._packed.rows_per_single_sum > 1 else 2.0**-48

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that is counted."""
        import hashlib

        if self._digest is None:
            self._digest = self._packed.digest() + self._stratum.tobytes()
        digest = hashlib.sha256(self._digest)
        options = (self.thresholds, self._unit, self.fit_intercept, self.dtype)
        digest.update(repr(options).encode())
        if any(self._shifts) or self._grain is None:
            digest.update(repr((self._shifts, "own sums")).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return (
            f"ConfusionCounts({self.n_samples} samples, {self.n_features} features, "
            f"{len(self.group_labels)} groups, thresholds={self.thresholds}, "
            f"fit_intercept={self.fit_intercept}, dtype={self.dtype!r})"
        )


def _grain(packed: Packed, weights: Float64Array) -> float | None:
    """Return the largest power of two that all weights are whole multiples of, if sums of these
    are exact in the dtype in which they are added."""
    kept = weights[weights > 0]
    fractions, exponents = np.frexp(kept)
    whole = np.ldexp(fractions, 53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1]
    grain = math.ldexp(1.0, int((exponents - 54 + lowest).min()))
    if math.fsum(kept) / grain > 2**53:
        return None
    n_single = packed.rows_per_single_sum
    return None if n_single > 1 and n_single * float(kept.max()) / grain > 2**24 else grain


def _cut(threshold: float, dtype: str) -> float:
    """Return the largest margin of a dtype whose probability is not above a threshold."""
    cut = last_margin(threshold)
    nearest = np.dtype(dtype).type(cut)
    return float(nearest if nearest <= cut else np.nextafter(nearest, -np.inf, dtype=dtype))


def _cuts(margins: Float64Array, dtype: str) -> tuple[Float64Array, Array]:
    """Return what z of a row has to be above for a wrong decision, of negative and of positive
    rows, whose z has the other sign: exactly, and rounded down to single precision."""
    real = np.dtype(dtype).type
    positive = np.nextafter(-margins.astype(dtype), real(-np.inf)).astype(np.float64)
    exact = np.array([margins, positive])
    narrow = exact.astype(np.float32)
    return exact, np.where(narrow > exact, np.nextafter(narrow, np.float32(-np.inf)), narrow)


def _spans(strata: IndexArray) -> tuple[IndexArray, IndexArray]:
    """Return the first block of each span, and of what would follow; and the spans' strata.

    A span has blocks of one stratum.
    """
    starts = np.flatnonzero(np.diff(strata, prepend=-1))
    ends = np.append(starts[1:], len(strata))
    firsts = np.concatenate(
        [np.arange(a, b, BLOCKS_PER_SPAN) for a, b in zip(starts, ends, strict=True)]
    )
    return np.append(firsts, len(strata)), strata[firsts]


def _check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    wanted = "a sequence of probabilities between 0 and 1, exclusive"
    array = to_float64(as_real_array("thresholds", thresholds, 1, wanted))
    if len(array) == 0:
        raise ValueError(f"thresholds is empty: pass {wanted}.")
    for threshold in array.tolist():
        if not 0 < threshold < 1:
            raise ValueError(f"thresholds has {threshold:g}: pass {wanted}.")
    return tuple(array.tolist())
