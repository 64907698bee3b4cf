"""Confusion counts of many linear models in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels
from metaopt_fast.arithmetic import log
from metaopt_fast.labels import read_labels
from metaopt_fast.linear import LinearData
from metaopt_fast.packing import check_sample_weight, check_X, check_y, pack
from metaopt_fast.validation import (
    as_real_array,
    check_number,
    to_float64,
)

Float64Array = npt.NDArray[np.float64]


class ConfusionCounts(LinearData):
    """True and false positives and negatives of linear models, one theta or very many.

    A row is decided positive where the probability, 1 / (1 + exp(-x . theta)), is above the
    threshold. No exponential is computed: a threshold is a shift of the intercept.

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
        X = check_X(X)
        positive = check_y(y, len(X))
        weights = check_sample_weight(sample_weight, len(X))
        self.group_labels: list[Any]
        self.group_labels, group = _check_groups(groups, len(X))
        strata = 2 * group + positive
        # Weights are packed times a power of two.
        self._unit = 1.0 if sample_weight is None else _unit(sample_weight)
        self._shifts = [-log(t / (1 - t)) for t in self.thresholds]
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
        self.totals: Float64Array = np.zeros((n_groups, 2))
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
    labels = read_labels("groups", groups, wanted)
    if len(labels.codes) != n_samples:
        raise ValueError(
            f"groups has shape {labels.codes.shape}, but X has {n_samples} rows: pass {wanted}."
        )
    return labels.values, labels.codes
