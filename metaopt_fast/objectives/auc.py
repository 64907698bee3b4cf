"""The area under the ROC curve as an objective: exact, and estimated where that is enough."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.checks import check_classes, check_sample_weight, check_X
from metaopt_fast.data.packing import pack
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.base import (
    KERNEL_WORK,
    LARGEST_SHARD,
    SMALLEST_SHARD,
    LinearData,
    sampled_by_batches,
)
from metaopt_fast.samplers.base import BATCH_NUMBERS, BuiltInSampler, allocate
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import frame_names
from metaopt_fast.validation.values import check_integer

MAX_BINS = 65536

# A loss is within it of the exact one.
ROUNDING = 2.0**-50

# To sort a row with a weight takes about as long as so many of the visits that KERNEL_WORK counts:
# 15 to 20 ns on one thread, with AVX-512, of 100 to 100,000 rows. Saved searches have shards by it.
SORTING_WORK = 300


class AUCObjective(LinearData):
    """Area under the ROC curve of linear models on one data set, for one theta or very many.

    AUC(theta) is the part of the pairs of a positive and a negative row, each with the product of
    their weights, in which the positive row has the larger decision x_i . theta; ties count half.
    Losses are 1 - AUC, exact but for rounding, so that a search's best are the best. A faster
    estimate counts the decisions of a theta in bins of equal width, and pairs in one bin as halves:
    `batch_auc` returns it and a bound of its error. By these, a search drops candidates that cannot
    rank, and sorts the decisions of the others alone; where features are so skewed that bounds are
    wide, it sorts more of them.

    The results of a theta have the same bits in whatever batch, on whatever number of threads they
    are computed, from AVX2 on with whatever instructions.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers, of any layout and real dtype. It is copied once, into the order in which the
        kernels read it.
    y : array_like of shape (n_samples,)
        Labels of two classes, of which the greater one is positive; see `LogisticLoss`.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0, positive for a row of each class at least. A row of weight 0 is as good as
        absent.
    n_bins : int, default 256
        From 2 to 65536, of the estimate. The bound of its error falls with it; time and memory grow
        where rows are few. No loss depends on it.
    fit_intercept : bool, default False
        Whether theta has an intercept as its last entry, to be shaped as that of `LogisticLoss`:
        the area does not depend on it.
    dtype : {"float64", "float32"}, default "float64"
        Precision of rows, weights, thetas and decisions.
    n_threads : int, optional
        From 1 to 1024; by default as in `LogisticLoss`.

    Attributes
    ----------
    n_samples, n_features, n_params : int
        Rows, columns, and entries of theta: n_features, or one more for the intercept.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message says what to do.

    References
    ----------
    The area as a part of pairs: J. A. Hanley, B. J. McNeil, "The meaning and use of the area under
    a receiver operating characteristic (ROC) curve", Radiology 143 (1982).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.AUCObjective([[1.0], [2.0], [3.0], [4.0]], [0, 1, 0, 1])
    >>> objective.auc([1.0])
    0.75
    >>> result = mf.random_search(objective, mf.Normal(), 100)
    >>> 1 - result.loss
    0.75
    """

    classes: list[Any]

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        n_bins: int = 256,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
    ) -> None:
        self.n_bins: int = check_integer("n_bins", n_bins, 2, MAX_BINS)
        super().__init__(fit_intercept, dtype, n_threads)
        self.feature_names: tuple[str, ...] | None = frame_names("X", X)
        X = check_X(X)
        self.classes, positive = check_classes(y, len(X))
        weights = class_weights(check_sample_weight(sample_weight, len(X)), positive)
        # Classes share no block, so that the kernels know the class of each.
        strata = positive.astype(np.intp)
        self._packed = pack(
            X,
            positive,
            weights,
            self.fit_intercept,
            self.dtype,
            strata=strata,
            n_threads=self._threads(),
        )
        self._digest: bytes | None = None
        self._connect()

    def _connect(self) -> None:
        """Hand the packed arrays of each class to the kernels."""
        packed = self._packed
        self._set_shape(packed)
        self._block_positive = packed.block_labels == 1
        self._rows = (
            packed.blocks(~self._block_positive, total_weight=1.0).rows("logistic", 0.0),
            packed.blocks(self._block_positive, total_weight=1.0).rows("logistic", 0.0),
        )

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return 1 - AUC of one theta: the bits of `batch_loss`."""
        return float(self._losses(self._one(theta))[0])

    def batch_loss(self, thetas: npt.ArrayLike) -> Float64Array:
        """Return 1 - AUC of many thetas, exact but for rounding: what a search minimises.

        Each costs two to four times as much as an estimate by `batch_auc`; with weights, four to
        eight times.

        Parameters
        ----------
        thetas : array_like of shape (n_candidates, n_params)

        Returns
        -------
        numpy.ndarray of shape (n_candidates,), float64
            Within 2**-50 of the exact values.
        """
        return self._losses(self._many(thetas))

    def batch_auc(self, thetas: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Return the AUC of many thetas, estimated by histograms, and a bound of the error.

        Parameters
        ----------
        thetas : array_like of shape (n_candidates, n_params)

        Returns
        -------
        auc : numpy.ndarray of shape (n_candidates,), float64
        bound : numpy.ndarray of shape (n_candidates,), float64
            ``abs(auc[k] - objective.auc(thetas[k])) <= bound[k]``: half the weight of the pairs
            that share a bin, and what rounding may add. It is near 0.5 where one bin holds nearly
            all, as for a theta of zeros, or where a few decisions are far from the others.

        Raises
        ------
        ValueError, TypeError
            If thetas has another shape, is not finite or not real.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.AUCObjective([[1.0], [2.0], [4.0]], [0, 0, 1], n_bins=2)
        >>> auc, bound = objective.batch_auc([[1.0], [-1.0], [0.0]])
        >>> auc.tolist(), bound.round(3).tolist()
        ([1.0, 0.0, 0.5], [0.0, 0.0, 0.5])
        """
        return self._estimates(self._many(thetas))

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
        """Return 1 - AUC of candidates where it is at most a threshold; else perhaps infinity.

        Where the estimate, less the bound of its error, is above the threshold, nothing is sorted.
        As `LogisticLoss.pruned_loss`; the fraction of pairs that are computed is always 1.
        """
        asked = self._checked_below(candidates, seed, start, count, threshold)
        candidates, seed, start, count, threshold = asked
        losses = allocate(count)
        size = max(1, BATCH_NUMBERS // self.n_params)
        for first in range(0, count, size):
            part = slice(first, min(count, first + size))
            if isinstance(candidates, BuiltInSampler):
                thetas = self._drawn(candidates, seed, start + first, part.stop - first)
            else:
                thetas = candidates[part]
            losses[part] = self._losses_below(thetas, threshold)
        return losses, 1.0

    def _drawn(self, sampler: BuiltInSampler, seed: int, start: int, count: int) -> Float64Array:
        thetas = sampler.sample(seed, start, count, self.n_params)
        if self.dtype == "float32" and np.abs(thetas).max() > np.finfo(np.float32).max:
            raise ValueError(
                f"{sampler!r} draws numbers beyond the range of {self.dtype}: pass smaller ones."
            )
        return thetas

    def _losses_below(self, thetas: Float64Array, threshold: float) -> Float64Array:
        if threshold == math.inf:
            return self._losses(thetas)
        areas, bounds = self._estimates(thetas)
        # A loss is rounded once more than an area.
        left = np.flatnonzero(1 - areas - bounds <= threshold + ROUNDING)
        losses = np.full(len(thetas), np.inf)
        if len(left):
            losses[left] = self._losses(thetas[left])
        return losses

    def _loss_bounds(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return a lower and an upper bound of each loss, by histograms."""
        areas, bounds = self._estimates(thetas)
        bounds += 2 * ROUNDING
        return 1 - areas - bounds, 1 - areas + bounds

    def auc(self, theta: npt.ArrayLike) -> float:
        """Return the AUC of one theta, by sorting its decisions; equal ones count half.

        The decisions are those of `batch_auc`, each summed in the order of the parameters: rows
        that are equal tie, as they might not in a product of matrices.

        Parameters
        ----------
        theta : array_like of shape (n_params,)

        Returns
        -------
        float
            As ``sklearn.metrics.roc_auc_score(y, X @ theta, sample_weight=sample_weight)``.

        Raises
        ------
        ValueError, TypeError
            If theta has another shape, is not finite or not real.
        """
        return float(self._exact_aucs(self._one(theta))[0])

    @property
    def shard_size(self) -> int:
        """Candidates of a search's shard: those of the first one are all sorted."""
        work = self.n_samples * (self.n_params + SORTING_WORK)
        most = min(int(KERNEL_WORK // work), BATCH_NUMBERS // self.n_params, LARGEST_SHARD)
        return 1 << (max(most, SMALLEST_SHARD).bit_length() - 1)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that determines an area."""
        import hashlib

        if self._digest is None:  # of the data, which never changes and copies share
            self._digest = self._packed.digest() + self._block_positive.tobytes()
        digest = hashlib.sha256(self._digest)
        options = (type(self).__name__, "exact", self.n_bins, self.fit_intercept, self.dtype)
        digest.update(repr(options).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_samples} samples, {self.n_features} features, "
            f"n_bins={self.n_bins}, fit_intercept={self.fit_intercept}, dtype={self.dtype!r})"
        )

    def _losses(self, thetas: Float64Array) -> Float64Array:
        return np.asarray(1 - self._exact_aucs(thetas))

    @shielded
    def _exact_aucs(self, thetas: Float64Array) -> Float64Array:
        areas = allocate(len(thetas))
        if not _kernels.exact_aucs(*self._rows, thetas, areas, self._threads()):
            raise self._not_finite(thetas)
        return np.minimum(areas, 1)

    @shielded
    def _estimates(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return estimates by histograms, and bounds of their errors."""
        areas, ties = allocate(len(thetas)), allocate(len(thetas))
        if not _kernels.histogram_aucs(
            *self._rows, thetas, self.n_bins, areas, ties, self._threads()
        ):
            raise self._not_finite(thetas)
        # Each of the sums behind both areas is off by a part of less than n_samples * 2**-53, or of
        # n_bins * 2**-53.
        rounding = (self.n_samples + self.n_bins + 16) * 2.0**-50
        return np.minimum(areas, 1), np.minimum(ties / 2 + rounding, 1)


@shielded
def class_weights(weights: Float64Array, positive: npt.NDArray[np.bool_]) -> Float64Array:
    """Return the weights, those of each class times a power of two that brings the largest into
    [1, 2): the area does not depend on it."""
    scaled = np.empty_like(weights)
    for rows in (~positive, positive):
        largest = weights[rows].max()
        if largest == 0:
            raise ValueError(
                "sample_weight is 0 for all rows of one class: pass positive weights in both."
            )
        scaled[rows] = np.ldexp(weights[rows], 1 - int(np.frexp(largest)[1]))
    return scaled
