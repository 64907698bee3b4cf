"""Many regularised models of a few training sets: their objectives, gradients and Hessians.

A model is a row of each array: its training set, its penalty, its theta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.objectives.penalties import Penalty
from metaopt_fast.typing import Float64Array, IndexArray

# Sums over rows are made of spans (see kernels.hpp), one row of 8 in each lane.
SPAN_BLOCKS, SPAN_PANELS = 8, 64


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Rows to train on, as the kernels read them, and the sum of their weights. No penalty."""

    rows: _kernels.PackedRows
    total_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is to be fitted: model i minimises the mean loss of a training set, and a penalty.

    `extents` bounds the absolute values in each column of all training sets, `n_rows` and
    `n_blocks` their rows and the blocks that these lie in.
    """

    sets: list[TrainingSet]
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
        for one, run in self.by_set(models):
            one.rows.evaluate(thetas[run], losses[run], gradients[run], self.n_threads)
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
        for one, run in self.by_set(models):
            _kernels.hessians(one.rows, thetas[run], found[run], self.n_threads)
        return found

    def margin_changes(self, models: IndexArray, steps: Float64Array) -> Float64Array:
        """Return how far each step moves a margin of the training rows, at most."""
        found = np.empty(len(models))
        for one, run in self.by_set(models):
            if not _kernels.largest_margins(one.rows, steps[run], found[run], self.n_threads):
                found[run] = np.inf
        return found

    def by_set(self, models: IndexArray) -> list[tuple[TrainingSet, slice]]:
        """Return the runs of models of one training set: one for each set, if models are sorted."""
        if len(self.sets) == 1:
            return [(self.sets[0], slice(None))]
        numbers = self.set_of[models]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        return [
            (self.sets[numbers[start]], slice(start, stop))
            for start, stop in zip(starts, [*starts[1:], len(models)], strict=True)
        ]

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
        totals = np.array([one.total_weight for one in self.sets])
        return 1 / totals[self.set_of[models]]

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
