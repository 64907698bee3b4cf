"""Rows that many models share, each with weights, labels and penalties of its own; and where these
models start.

A model starts at the optimum of all rows with weight 1, of a penalty near its own, and takes its
first steps by the Hessian there: for resampled rows both are nearly its own. Where labels differ
by model, it starts from the null model, which knows their shares alone. Either is a function of
the rows and of that model, and of no other model: it has the bits that it has alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import log
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import pack
from metaopt_fast.fitting.models import SPAN_BLOCKS, Models, TrainingSet, TrainingSets
from metaopt_fast.fitting.walks import walk
from metaopt_fast.objectives.penalties import L2
from metaopt_fast.typing import Float64Array, IndexArray

# Newton decrement that ends the fits that others start from: they are within a resample's noise.
NEAR = 1e-3
# Newton steps of these at most.
MAX_STEPS = 50
# Penalty of these at least.
LEAST_PENALTY = 2.0**-20


@dataclass(frozen=True, slots=True, eq=False)
class LaneModels:
    """What each of K models makes of the rows: arrays over models.

    Attributes
    ----------
    weights : array of shape (n_weights, n_samples), or None
        One byte or float64; None: all are 1.
    codes : array of uint8 of shape (n_codes, n_samples)
        1 where the label is the greater one.
    weight_of, code_of, left_out : arrays of shape (K,)
        Which weights and codes a model has, and the fold that it leaves out; -1: none.
    factors : array of shape (K, 2)
        What the weights of both labels are multiplied by.
    inverse_totals : array of shape (K,)
        1 / the sum of the weights, factors included, of the rows that it is trained on.
    l2 : array of shape (K,)
    penalties, centres : arrays of shape (K, n_params)
        Curvature of the penalty along each parameter, and where it is 0; an infinite one leaves the
        parameter there.
    penalty_of : array of shape (K,)
        A number for each different row of penalties.
    """

    weights: npt.NDArray[Any] | None
    codes: npt.NDArray[np.uint8]
    weight_of: IndexArray
    code_of: IndexArray
    left_out: IndexArray
    factors: Float64Array
    inverse_totals: Float64Array
    l2: Float64Array
    penalties: Float64Array
    centres: Float64Array
    penalty_of: IndexArray

    @property
    def is_free(self) -> npt.NDArray[np.bool_]:
        """Which parameters of which models may move."""
        return np.isfinite(self.penalties)

    @property
    def with_plain_classes(self) -> Self:
        """The same models of the same rows, whose weights are those of no class."""
        return replace(self, factors=np.ones_like(self.factors))


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A model to start from, and its Hessian, without a penalty, as a mean over rows."""

    theta: Float64Array
    hessian: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class SharedRows:
    """Packed rows, all of weight 1.

    `common` are the labels' codes where all models have the same: rows of the greater label are
    turned then, and models start from those of all rows; else None. `fold` is None without folds.
    """

    packed: Packed
    rows: _kernels.PackedRows
    row_at: IndexArray
    fold: IndexArray | None
    n_folds: int
    common: npt.NDArray[np.uint8] | None
    fit_intercept: bool
    n_threads: int
    extents: Float64Array
    starts: dict[float, Start] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        X: npt.NDArray[Any],
        codes: npt.NDArray[Any] | None,
        fold: IndexArray | None,
        fit_intercept: bool,
        n_threads: int,
    ) -> Self:
        """Pack rows; `codes` are the labels' numbers where all models have the same."""
        is_common = codes is not None
        labels = np.zeros(len(X), np.uint8) if codes is None else codes.astype(np.uint8)
        packed = pack(
            X, labels, None, fit_intercept, "float64", signed=is_common, n_threads=n_threads
        )
        row_at = np.full(packed.n_positions, -1, np.intp)
        row_at[packed.origin.positions] = np.arange(len(X))
        n_folds = 1 if fold is None else int(fold.max()) + 1
        return cls(
            packed,
            packed.rows("logistic", 0.0),
            row_at,
            fold,
            n_folds,
            labels if is_common else None,
            fit_intercept,
            n_threads,
            packed.column_extents(),
        )

    @property
    def n_params(self) -> int:
        """Parameters of each model."""
        return self.packed.n_columns

    @property
    def chain(self) -> int:
        """The most additions, one after the other, in a sum over rows."""
        return 64 * SPAN_BLOCKS + self.packed.n_blocks // SPAN_BLOCKS + 16

    def lane_rows(self, models: LaneModels) -> _kernels.LaneRows:
        """Return the kernels' view of the rows for some models."""
        return _kernels.LaneRows(
            self.rows,
            self.row_at,
            models.weights,
            models.codes,
            self.fold,
            models.weight_of,
            models.code_of,
            models.left_out,
            models.factors,
            self.common is not None,
        )

    def starts_of(self, models: LaneModels) -> tuple[Float64Array, list[Start], IndexArray]:
        """Return where models start, whose Hessians lead on from there, and which is each one's."""
        keys = (
            penalties_nearby(models.l2)
            if self.common is not None
            else curvatures_nearby(self.shares(models))
        )
        different, which = np.unique(keys, return_inverse=True)
        begin = self.pooled if self.common is not None else self.null
        found = [begin(key) for key in different.tolist()]
        thetas = np.stack([one.theta for one in found])[which]
        if self.common is None and self.fit_intercept:
            shares = self.shares(models)
            thetas[:, -1] = log(shares) - log(1 - shares)
        return np.where(models.is_free, thetas, models.centres), found, which

    def shares(self, models: LaneModels) -> Float64Array:
        """Return the part of the weight that each model's greater label has, within (0, 1)."""
        counts = models.codes.sum(axis=1, dtype=np.int64)[models.code_of]
        shares: Float64Array = (counts + 0.5) / (models.codes.shape[1] + 1)
        return shares

    def pooled(self, l2: float) -> Start:
        """Return the model of all rows at a penalty, near its optimum."""
        if l2 not in self.starts:
            total = float(self.packed.n_rows)
            models = Models(
                TrainingSets([TrainingSet(self.rows, total)]),
                np.zeros(1, np.intp),
                L2(np.array([l2]), self.packed.n_features),
                self.n_params,
                self.extents,
                self.packed.n_rows,
                self.packed.n_blocks,
                self.n_threads,
            )
            at = np.zeros(1, np.intp)
            near, _ = walk(models, at, np.zeros((1, self.n_params)), NEAR, MAX_STEPS)
            # The walk's own may be an older one.
            hessians = models.hessians(at, near.thetas)
            self.starts[l2] = Start(near.thetas[0], hessians[0] / total)
        return self.starts[l2]

    def null(self, curvature: float) -> Start:
        """Return the model without features, whose rows all have a curvature."""
        if -1.0 not in self.starts:  # no curvature
            zeros = np.zeros((1, self.n_params))
            moment = np.empty((1, _kernels.n_pairs(self.n_params)))
            rows, first = _kernels.RowSets([self.rows]), np.zeros(1, np.intp)
            _kernels.hessians(rows, first, zeros, moment, self.n_threads)
            moment *= 4 / self.packed.n_rows
            self.starts[-1.0] = Start(zeros[0], moment[0])
        moment_of_rows = self.starts[-1.0].hessian
        return Start(np.zeros(self.n_params), moment_of_rows * curvature)


def penalties_nearby(l2: Float64Array) -> Float64Array:
    """Return a power of two near each number that is not too small for rows that are separable."""
    mantissas, exponents = np.frexp(np.maximum(l2, LEAST_PENALTY))
    powers: Float64Array = np.ldexp(1.0, exponents - (mantissas < 0.7))
    return powers


def curvatures_nearby(shares: Float64Array) -> Float64Array:
    """Return shares * (1 - shares), or a number up to a sixth larger or smaller that is common to
    models of about the same share: powers of two times 1 or 1.5."""
    mantissas, exponents = np.frexp(shares * (1 - shares))
    return np.ldexp(np.where(mantissas < 0.75, 0.625, 0.875), exponents)
