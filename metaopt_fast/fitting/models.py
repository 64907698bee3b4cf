"""Many regularised models of a few training sets: their objectives, gradients and Hessians.

A model is a row of each array: its training set, its penalty, its theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.certificates import (
    EPS,
    ROOT_OF_TINY,
    TINY,
    convexity_bound,
    growth_by,
    norms,
    rounding_of_derivatives,
    slack_of_factors,
)
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

    def reaches(self, models: IndexArray, steps: Float64Array) -> Float64Array:
        """Return how far each step moves a margin of the training rows, at most."""
        found = np.empty(len(models))
        for one, run in self.by_set(models):
            if not _kernels.largest_margins(one.rows, steps[run], found[run], self.n_threads):
                found[run] = np.inf
        return found

    def by_set(self, models: IndexArray) -> list[tuple[TrainingSet, slice]]:
        """Return the runs of models of one training set: one for each set, if models are sorted."""
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
        places: IndexArray,
    ) -> tuple[Float64Array, Float64Array]:
        """Factor the Hessian of each model, penalty included: matrices[which] become
        factors[places]. Return bounds of the rows' norms in the inverse Hessian's norm, and by
        which factor other norms may be larger than the factors say."""
        radii, inflations = np.empty((2, len(models)))
        _kernels.factor(
            matrices,
            which,
            self.scales(models),
            np.ascontiguousarray(self.penalty.curvatures[models]),
            self.penalty.n_penalised,
            self.extents,
            factors,
            places,
            radii,
            inflations,
            self.n_threads,
        )
        slack = slack_of_factors(inflations, self.n_params, self.chain)
        return radii * slack, slack

    def scales(self, models: IndexArray) -> Float64Array:
        """Return what sums over each model's rows are multiplied by to be means."""
        totals = np.array([one.total_weight for one in self.sets])
        return 1 / totals[self.set_of[models]]

    def solve(
        self, factors: Float64Array, places: IndexArray, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the Newton steps, and their lengths in the Hessian's norm."""
        steps, squares = gradients.copy(), np.empty(len(places))
        _kernels.solve(factors, places, steps, squares, self.n_threads)
        return steps, np.sqrt(squares)

    @property
    def chain(self) -> int:
        """The most additions, one after the other, in a sum over rows."""
        return SPAN_PANELS + self.n_blocks // SPAN_BLOCKS + 8

    def rounding(
        self,
        models: IndexArray,
        thetas: Float64Array,
        losses: Float64Array,
        radii: Float64Array,
        of_margins: Float64Array,
    ) -> Float64Array:
        """Return what rounding of the gradients may add to the decrements."""
        squares = np.square(thetas[:, : self.penalty.n_penalised]).sum(axis=1)
        of_penalty = 4 * EPS * np.sqrt(self.penalty.curvatures[models] * squares)
        of_rows = rounding_of_derivatives(losses, of_margins, self.chain)
        total: Float64Array = of_rows * radii + of_penalty + ROOT_OF_TINY
        return total

    def rounding_of_margins(self, thetas: Float64Array) -> Float64Array:
        """Return what rounding may add to a margin."""
        # Not a product of matrices: its bits would be those of the processor.
        sizes: Float64Array = (np.abs(thetas) * self.extents).sum(axis=1)
        return EPS * self.n_params * sizes

    def convexity_gaps(
        self,
        models: IndexArray,
        thetas: Float64Array,
        losses: Float64Array,
        gradients: Float64Array,
        curvatures: Float64Array,
        *,
        is_proof: bool = True,
    ) -> Float64Array:
        """Bound how far objectives are from their optimum by strong convexity, and by their own
        size: none is below 0. `curvatures` bounds those along the intercepts from below. Unless
        `is_proof`, gradients are taken to be exact."""
        n, l2 = self.penalty.n_penalised, self.penalty.curvatures[models]
        of_margins = self.rounding_of_margins(thetas)
        noise = rounding_of_derivatives(losses, of_margins, self.chain) * is_proof
        extent = float(norms(self.extents[:n]))
        slopes = norms(gradients[:, :n]) * 1.01 + noise * extent + TINY
        slopes += 4 * EPS * l2 * norms(thetas[:, :n]) * is_proof
        slope = np.abs(gradients[:, -1]) * 1.01 + noise + TINY if n < self.n_params else None
        size = losses * growth_by(of_margins) * (1 + EPS * (self.chain + 32)) + TINY
        gaps = convexity_bound(slopes, slope, curvatures, extent, losses, l2)
        return np.where(l2 > 0, np.fmin(gaps, np.where(np.isnan(size), np.inf, size)), np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Nearby:
    """What is known near where models start.

    Model i has the theta, the loss and the gradient in row i. Its Hessian is hessians[which[i]],
    taken at origins[which[i]], of which theta is at most `moved` away, in that Hessian's norm, and
    `drifted` in the margins of the rows.
    """

    thetas: Float64Array
    losses: Float64Array
    gradients: Float64Array
    hessians: Float64Array
    origins: Float64Array
    which: IndexArray
    moved: Float64Array
    drifted: Float64Array

    def of(self, rows: IndexArray) -> Nearby:
        """Return what is known of some models."""
        return Nearby(
            self.thetas[rows],
            self.losses[rows],
            self.gradients[rows],
            self.hessians,
            self.origins,
            self.which[rows],
            self.moved[rows],
            self.drifted[rows],
        )
