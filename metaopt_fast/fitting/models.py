"""Many regularised models of a few training sets: their objectives, gradients and Hessians.

A model is a row of each array: its training set, its penalty, its theta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.objectives.penalties import Penalty
from metaopt_fast.typing import Float64Array, IndexArray

# Sums over rows are made of spans (see operands.hpp), one row of 8 in each lane.
SPAN_BLOCKS, SPAN_PANELS = 8, 64


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Rows to train on, as the kernels read them, and the sum of their weights. No penalty."""

    rows: _kernels.PackedRows
    total_weight: float


class TrainingSets:
    """Training sets by their numbers.

    Attributes
    ----------
    each : tuple of PackedRows
    rows : RowSets
        The same rows, which kernels read in one call.
    scales : array
        What sums over each set's rows are multiplied by to be means.
    """

    def __init__(self, sets: Sequence[TrainingSet]) -> None:
        self.each: tuple[_kernels.PackedRows, ...] = tuple(one.rows for one in sets)
        self.rows: _kernels.RowSets = _kernels.RowSets(self.each)
        self.scales: Float64Array = 1 / np.array([one.total_weight for one in sets])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the training sets of some parts, one part after the other."""
        found = cls.__new__(cls)
        found.each = tuple(rows for part in parts for rows in part.each)
        found.rows = _kernels.RowSets(found.each)
        found.scales = np.concatenate([part.scales for part in parts])
        return found

    def __len__(self) -> int:
        return len(self.each)


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is to be fitted: model i minimises the mean loss of a training set, and a penalty.

    `extents` bounds the absolute values in each column of all training sets, `n_rows` and
    `n_blocks` their rows and the blocks that these lie in.
    """

    sets: TrainingSets
    set_of: IndexArray
    penalty: Penalty
    n_params: int
    extents: Float64Array
    n_rows: int
    n_blocks: int
    n_threads: int

    def evaluate(
        self, models: IndexArray, thetas: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the objective of some models, each at its theta, and the gradients."""
        losses, gradients = np.empty(len(models)), np.empty_like(thetas)
        # What a Hessian of overflown numbers leads to is no place to be.
        is_lost = np.logical_not(np.isfinite(thetas).all(axis=1))
        thetas = np.where(is_lost[:, None], 0.0, thetas)
        self.sets.rows.evaluate(self.set_of[models], thetas, losses, gradients, self.n_threads)
        losses[is_lost] = np.inf
        return self.penalised(models, thetas, losses, gradients)

    def penalised(
        self,
        models: IndexArray,
        thetas: Float64Array,
        losses: Float64Array,
        gradients: Float64Array,
    ) -> tuple[Float64Array, Float64Array]:
        """Return the losses and the gradients with the penalties added."""
        values, slopes = self.penalty.of(models).value_gradient(thetas)
        return losses + values, gradients + slopes

    def hessians(self, models: IndexArray, thetas: Float64Array) -> Float64Array:
        """Return sums of loss'' x x' over the training sets at each theta, without penalties."""
        found = np.empty((len(models), _kernels.n_pairs(self.n_params)))
        _kernels.hessians(self.sets.rows, self.set_of[models], thetas, found, self.n_threads)
        return found

    def margin_changes(self, models: IndexArray, steps: Float64Array) -> Float64Array:
        """Return how far each step moves a margin of the training rows, at most."""
        found = np.empty(len(models))
        is_lost = np.logical_not(np.isfinite(steps).all(axis=1))
        steps = np.where(is_lost[:, None], 0.0, steps)
        _kernels.largest_margins(self.sets.rows, self.set_of[models], steps, found, self.n_threads)
        found[is_lost] = np.inf
        return found

    def factor(
        self,
        models: IndexArray,
        matrices: Float64Array,
        which: IndexArray,
        factors: Float64Array,
        positions: IndexArray,
        others: IndexArray | None = None,
        parts: Float64Array | None = None,
    ) -> tuple[Float64Array, Float64Array]:
        """Factor the Hessian of each model, penalty included: matrices[which], or their means with
        matrices[others], which have the weights `parts`, become factors[positions]. Return bounds
        of the rows' norms in the inverse Hessian's norm, rounding left out, and how far rounding
        may have inflated the factors: see `slack_of_factors`."""
        radii, inflations = np.empty((2, len(models)))
        _kernels.factor(
            matrices,
            which,
            self.scales(models),
            np.ascontiguousarray(self.penalty.curvatures[models]),
            self.penalty.n_penalised,
            self.extents,
            factors,
            positions,
            radii,
            inflations,
            self.n_threads,
            others=others,
            parts=parts,
        )
        return radii, inflations

    def scales(self, models: IndexArray) -> Float64Array:
        """Return what sums over each model's rows are multiplied by to be means."""
        return self.sets.scales[self.set_of[models]]

    def solve(
        self, factors: Float64Array, positions: IndexArray, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the Newton steps, and their lengths in the Hessian's norm."""
        steps, squares = gradients.copy(), np.empty(len(positions))
        _kernels.solve(factors, positions, steps, squares, self.n_threads)
        return steps, np.sqrt(squares)

    @property
    def chain(self) -> int:
        """The most additions, one after the other, in a sum over rows."""
        return SPAN_PANELS + self.n_blocks // SPAN_BLOCKS + 8


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Where models have ended: arrays over models. `curvatures` are lower bounds of the objectives'
    second derivatives for the last parameter."""

    thetas: Float64Array
    losses: Float64Array
    gap_bounds: Float64Array
    curvatures: Float64Array
    n_iter: IndexArray
    status: IndexArray

    @classmethod
    def empty(cls, n: int, n_params: int) -> Self:
        """Return arrays for so many models."""
        numbers, counts = np.empty((3, n)), np.empty((2, n), np.intp)
        return cls(np.empty((n, n_params)), *numbers, *counts)
