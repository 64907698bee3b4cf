"""Objectives: data, loss and penalty, packed once and evaluated many times."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.checks import check_classes, check_rows, check_sample_weight, check_X
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import pack
from metaopt_fast.data.sparse_packed import SparseEvaluator, SparsePacked
from metaopt_fast.data.sparse_rows import SparseRows, sparse_rows
from metaopt_fast.data.storage import Memory, StoragePath, check_storage
from metaopt_fast.data.subsets import minibatches, subset
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import threads_of
from metaopt_fast.objectives.base import PenalisedLoss, check_sampler
from metaopt_fast.objectives.eigenvalues import moment_bound
from metaopt_fast.objectives.screening import Screening
from metaopt_fast.objectives.stages import Use
from metaopt_fast.objectives.unscreened import Unscreened
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED, BuiltInSampler, allocate
from metaopt_fast.typing import Array, BoolArray, Float64Array
from metaopt_fast.validation.frames import frame_names
from metaopt_fast.validation.values import (
    check_flag,
    check_integer,
    check_n_threads,
    check_number,
)

# Visits (see `_kernels.work`) of a batch from which bounds of its losses pay: an evolution of 256
# candidates is 1.3 times as fast with 3e7 visits, and as fast as without with 7e6 (test_evolve of
# benches/bench_objectives.py, with other shapes).
WORTH_BOUNDING = 1e7


class PointwiseLoss(PenalisedLoss):
    """A mean of losses of the margins of linear models, and a penalty. See `LogisticLoss`.

    A subclass names its pointwise loss, one of src/losses.hpp, and bounds its second derivative.
    """

    _loss: ClassVar[str]
    # An upper bound of the second derivative by the margin; infinite where there is none.
    _curvature: ClassVar[float]

    classes: list[Any]

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
        merge_duplicates: bool = False,
        storage: StoragePath | None = None,
    ) -> None:
        self.l2: float = check_number("l2", l2, 0.0)
        super().__init__(fit_intercept, dtype, n_threads)
        memory = check_storage(storage)
        merges, sparse = check_flag("merge_duplicates", merge_duplicates), sparse_rows("X", X)
        self.feature_names: tuple[str, ...] | None = frame_names("X", X)
        if sparse is not None:
            self._check_takes_sparse(merges, memory)
        elif merges:
            if storage is not None:
                raise ValueError(
                    "merge_duplicates is True, which takes memory for all rows, but there is a "
                    "storage: pass one of both."
                )
            from metaopt_fast.data import duplicates

            X, y, sample_weight = duplicates.merge_duplicates(X, y, sample_weight)
        rows = check_X(X) if sparse is None else sparse
        self.classes, positive = check_classes(y, len(rows))
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(rows))
        self._packed: Packed | SparsePacked = self._pack(rows, positive, weights, memory)
        self._digest: bytes | None = None
        self._connect()

    def _check_takes_sparse(self, merges: bool, memory: Memory) -> None:
        """Raise an error where what is asked for has no sparse rows."""
        for name, given, cure in (
            ("dtype", self.dtype, "'float64'"),
            ("merge_duplicates", merges, "False"),
            ("storage", memory.folder, "None"),
        ):
            if given not in ("float64", False, None):
                raise ValueError(
                    f"{name} is {given!r}, and X is a sparse matrix: pass {name}={cure}, or "
                    "X.toarray()."
                )

    def _pack(
        self,
        X: Array | SparseRows,
        positive: BoolArray,
        weights: Float64Array | None,
        memory: Memory,
    ) -> Packed | SparsePacked:
        """Pack checked rows of either kind."""
        scale, n_threads = self._scale(), self._threads()
        if isinstance(X, SparseRows):
            return SparsePacked.of(X, positive, weights, self.fit_intercept, scale)
        return pack(
            X,
            positive,
            weights,
            self.fit_intercept,
            self.dtype,
            scale=scale,
            n_threads=n_threads,
            memory=memory,
        )

    def _scale(self) -> float:
        """Return what margins are multiplied by before the loss is taken."""
        return 1.0

    def _connect(self) -> None:
        """Hand the packed arrays to the kernels."""
        packed = self._packed
        self._set_shape(packed)
        l2 = float(self._penalty.curvatures[0])
        self._rows: _kernels.PackedRows | SparseEvaluator
        self._screening: Screening | Unscreened
        if isinstance(packed, SparsePacked):
            self._rows = packed.evaluator(self._loss, l2)
            self._screening = Unscreened(self._rows, self.n_params)
            self._work = packed.work
        else:
            self._rows = packed.rows(self._loss, l2)
            self._screening = Screening(packed, self._rows, self._loss)
            self._work = _kernels.work(self.n_samples, self.n_params)

    def sampled_loss(
        self,
        sampler: BuiltInSampler,
        seed: int,
        start: int,
        count: int,
        *,
        n_threads: int | None = None,
    ) -> Float64Array:
        """Return L of candidates that are drawn inside the kernel and never stored.

        Parameters
        ----------
        sampler : Normal, Uniform or Integers
        seed, start, count : int
            As in ``sampler.sample``.
        n_threads : int, optional
            Instead of the objective's own.

        Returns
        -------
        numpy.ndarray of shape (count,), float64
            The bits of ``batch_loss(sampler.sample(seed, start, count, n_params))``.
        """
        check_sampler(sampler)
        draws = sampler.drawn(seed, self.n_params)
        start = check_integer("start", start, 0, MAX_INDEX)
        losses = allocate(check_integer("count", count, 1, MAX_INDEX - start))
        threads = threads_of(check_n_threads(n_threads) or self.n_threads)
        if not self._rows.evaluate_drawn(draws, start, losses, threads):
            raise ValueError(
                f"{sampler!r} draws numbers beyond the range of {self.dtype}: pass smaller ones."
            )
        return losses

    def pruned_loss(
        self,
        candidates: BuiltInSampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[Float64Array, float]:
        """Return L of candidates where it is at most a threshold; else perhaps infinity.

        Rows' losses are never negative: a candidate is dropped as soon as those summed so far
        exceed the threshold, by more than a bound of their rounding; of sparse rows none is. Smooth
        and hinge losses in double precision are summed in single precision first, where that takes
        half the time; this takes a copy of the rows of half their size, if there is memory for it.

        Parameters
        ----------
        candidates : Normal, Uniform or Integers, or array_like of shape (count, n_params)
            Where the thetas come from, as in `sampled_loss`, or the thetas themselves.
        seed, start, count : int
            As in ``sampler.sample``.
        threshold : float
            A loss; infinity drops nothing.

        Returns
        -------
        losses : numpy.ndarray of shape (count,), float64
            The bits of `sampled_loss` or `batch_loss` wherever those are at most `threshold`.
        fraction : float
            The part of the (row, candidate) pairs that was computed, in either precision.
        """
        return self._losses_below(
            partial(self._screening.evaluate, n_threads=self._threads()),
            candidates,
            seed,
            start,
            count,
            threshold,
        )

    @shielded
    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient of L, from which step sizes are chosen.

        The largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, times the largest second
        derivative of the pointwise loss (a quarter for the logistic one), plus l2: at most 1 %
        above it, never below, and infinite where it leaves the range of floats. Costs one product
        of X with itself, and some of matrices of n_params or n_samples columns, whatever is less.
        Of sparse rows, the eigenvalue is that of their absolute values, which is the larger one
        where numbers differ in sign.

        Raises
        ------
        ValueError
            If the loss has a kink: its gradient has no such constant.
        """
        if not self.is_smooth:
            raise ValueError(
                f"{type(self).__name__} has a kink, so that no learning rate follows from the "
                "data: pass one."
            )
        largest = moment_bound(self._packed, self._threads())
        return largest * self._curvature + float(self._penalty.curvatures[0])

    @property
    def is_smooth(self) -> bool:
        """Whether the gradient has a Lipschitz constant: not at a kink."""
        return math.isfinite(self._curvature)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that determines L."""
        import hashlib

        if self._digest is None:  # of the data, which never changes and copies share
            self._digest = self._packed.digest()
        digest = hashlib.sha256(self._digest)
        name, penalty = type(self).__name__, self._penalty.text
        digest.update(f"({name!r}, {penalty}, {self.fit_intercept!r}, {self.dtype!r})".encode())
        return digest.hexdigest()

    def subset(self, rows: npt.ArrayLike) -> Self:
        """Return the same objective on some of the rows.

        They come from the packed rows, once; the original X is not needed.

        Parameters
        ----------
        rows : array_like of int or of shape (n_samples,) of bool
            The rows as NumPy would index with them: numbers, negative and repeated ones too, or a
            mask. They must hold both classes.

        Returns
        -------
        The same class
            The bits of an objective that is made of X[rows], y[rows] and sample_weight[rows].

        Raises
        ------
        ValueError, TypeError
            If rows is not as described.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0], [0.5]], [1, 1, 0, 0])
        >>> objective.subset([0, 2]).loss([1.0]) == mf.LogisticLoss([[1], [-1]], [1, 0]).loss([1.0])
        True
        """
        numbers = check_rows(rows, self.n_samples)
        if isinstance(self._packed, SparsePacked):
            return self._on(self._packed.subset(numbers))
        return self._on(subset(self._packed, numbers, self._threads()))

    def minibatches(self, batch_size: int, *, seed: int = 0, epoch: int = 0) -> list[Self]:
        """Return objectives on mini-batches of rows: every row of positive weight is in one.

        Parameters
        ----------
        batch_size : int
            Rows of each, from 1 to n_samples; the last one has those that remain.
        seed, epoch : int
            Seed of the order of the rows, and number of the epoch: the order is a pure function of
            both, the same on every machine.

        Returns
        -------
        list of the same class
            Each the mean over its rows and their weights, plus the whole penalty. All share one
            copy of the rows.
        """
        batch_size = check_integer("batch_size", batch_size, 1, self.n_samples)
        seed = check_integer("seed", seed, 0, MAX_SEED)
        epoch = check_integer("epoch", epoch, 0, MAX_SEED)
        parts = minibatches(self._packed, batch_size, seed, epoch)
        return [self._on(part) for part in parts]

    def _on(self, packed: Packed | SparsePacked) -> Self:
        other = copy.copy(self)
        other._packed, other._digest = packed, None
        other._connect()
        return other

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_samples} samples, {self.n_features} features, "
            f"l2={self.l2:g}, fit_intercept={self.fit_intercept}, dtype={self.dtype!r})"
        )

    def _loss_bounds(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array] | None:
        """Return a lower and an upper bound of each loss, from sums in single precision.

        None where there are none, or the batch is so small that they do not pay.
        """
        if len(thetas) * self._work < WORTH_BOUNDING:
            return None
        return self._screening.bounds(thetas, self._threads())

    def _release(self) -> None:
        """Give back the memory of what candidates are screened with."""
        self._screening.release()

    def _expect_candidates(self, n_candidates: int) -> None:
        """Take note that `pruned_loss` will be asked for so many candidates."""
        self._screening.expect(n_candidates)

    def _note_losses(self, losses: Float64Array) -> None:
        """Take note of losses of candidates like those that `pruned_loss` will be asked for."""
        self._screening.note(losses)

    def _uses(self, sampler: object) -> dict[str, Use]:
        """Return what became of each stage that may drop a sampler's candidates."""
        return self._screening.uses(sampler)

    def _evaluate_one(self, theta: npt.ArrayLike, gradient: Float64Array | None) -> float:
        """Return the loss of one theta and, unless that is None, write its gradient."""
        vector = self._vector(theta)
        # Asking the system for threads takes longer than a small call.
        threads = 1 if self._work < _kernels.SERIAL_WORK else self._threads()
        loss = self._rows.evaluate_one(vector, gradient, threads)
        if math.isnan(loss):
            raise self._not_finite(vector[None])
        return loss

    def _evaluate(self, thetas: Float64Array, *, gradient: bool) -> tuple[Float64Array, Any]:
        losses = np.empty(thetas.shape[0])
        gradients = np.empty_like(thetas) if gradient else None
        # Asking the system for threads takes longer than a small call.
        small = thetas.shape[0] * self._work < _kernels.SERIAL_WORK
        threads = 1 if small else self._threads()
        if not self._rows.evaluate(thetas, losses, gradients, threads):
            raise self._not_finite(thetas)
        return losses, gradients
