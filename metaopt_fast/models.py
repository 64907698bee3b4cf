"""Many regularised models of a few training sets: their objectives, gradients and Hessians.

A model is a row of each array: its training set, its penalty, its theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels

Float64Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Rows to train on, as the kernels read them, and the sum of their weights. No penalty."""

    rows: _kernels.PackedRows
    total_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is to be fitted: model i minimises the mean loss of a training set, and a penalty.

    `extents` bounds the absolute values in each column of all training sets, `n_rows` the rows of
    each.
    """

    sets: list[TrainingSet]
    set_of: Indices
    l2: Float64Array
    n_params: int
    n_penalised: int
    extents: Float64Array
    n_rows: int
    n_threads: int

    def evaluate(self, models: Indices, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
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
        self, models: Indices, thetas: Float64Array, losses: Float64Array, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the losses and the gradients with the penalties added."""
        slopes = np.zeros_like(gradients)
        with np.errstate(over="ignore"):
            slopes[:, : self.n_penalised] = self.l2[models, None] * thetas[:, : self.n_penalised]
            return losses + (slopes * thetas).sum(axis=1) / 2, gradients + slopes

    def hessians(self, models: Indices, thetas: Float64Array) -> Float64Array:
        """Return sums of loss'' x x' over the training sets at each theta, without penalties."""
        found = np.empty((len(models), _kernels.n_pairs(self.n_params)))
        for one, run in self.by_set(models):
            _kernels.hessians(one.rows, thetas[run], found[run], self.n_threads)
        return found

    def reaches(self, models: Indices, steps: Float64Array) -> Float64Array:
        """Return how far each step moves a margin of the training rows, at most."""
        found = np.empty(len(models))
        for one, run in self.by_set(models):
            if not _kernels.largest_margins(one.rows, steps[run], found[run], self.n_threads):
                found[run] = np.inf
        return found

    def by_set(self, models: Indices) -> list[tuple[TrainingSet, slice]]:
        """Return the runs of models of one training set: one for each set, if models are sorted."""
        numbers = self.set_of[models]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
        return [
            (self.sets[numbers[start]], slice(start, stop))
            for start, stop in zip(starts, [*starts[1:], len(models)], strict=True)
        ]

    def factor(
        self,
        models: Indices,
        matrices: Float64Array,
        which: Indices,
        factors: Float64Array,
        places: Indices,
    ) -> Float64Array:
        """Factor the Hessian of each model, penalty included: matrices[which] become
        factors[places]. Return bounds of the rows' norms in the inverse Hessian's norm."""
        radii = np.empty(len(models))
        scales = np.array([1 / one.total_weight for one in self.sets])[self.set_of[models]]
        _kernels.factor(
            matrices,
            which,
            scales,
            np.ascontiguousarray(self.l2[models]),
            self.n_penalised,
            self.extents,
            factors,
            places,
            radii,
            self.n_threads,
        )
        return radii

    def solve(
        self, factors: Float64Array, places: Indices, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the Newton steps, and their lengths in the Hessian's norm."""
        steps, squares = gradients.copy(), np.empty(len(places))
        _kernels.solve(factors, places, steps, squares, self.n_threads)
        with np.errstate(invalid="ignore"):
            return steps, np.sqrt(squares)

    def rounding(self, models: Indices, thetas: Float64Array, radii: Float64Array) -> Float64Array:
        """Return what rounding of the gradients may add to the decrements."""
        with np.errstate(over="ignore", invalid="ignore"):
            of_penalty = 4 * EPS * np.sqrt(self.l2[models] * (thetas**2).sum(axis=1))
            total: Float64Array = self.rounding_of_margins(thetas) * radii + of_penalty
        return total

    def rounding_of_margins(self, thetas: Float64Array) -> Float64Array:
        """Return what rounding may add to a row's derivative."""
        # Not a product of matrices: threads of a BLAS stay awake for a while, and are in the way.
        sizes: Float64Array = (np.abs(thetas) * self.extents).sum(axis=1)
        return EPS * (4 + self.n_params * sizes / 4)

    def duality_gaps(
        self, models: Indices, thetas: Float64Array, gradients: Float64Array
    ) -> Float64Array:
        """Bound how far objectives are from their optimum by the duality gap.

        That of the dual point whose entries are the rows' derivatives is |g|^2 / (2 l2). It proves
        nothing where a parameter is not penalised.
        """
        if self.n_penalised < self.n_params:
            return np.full(len(models), np.inf)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            norms = np.sqrt((gradients**2).sum(axis=1))
            norms += self.rounding_of_margins(thetas) * np.sqrt((self.extents**2).sum())
            norms += 4 * EPS * self.l2[models] * np.sqrt((thetas**2).sum(axis=1))
            gaps = norms**2 / (2 * self.l2[models])
        return np.where(np.isnan(gaps), np.inf, gaps)


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
    which: Indices
    moved: Float64Array
    drifted: Float64Array

    def of(self, rows: Indices) -> Nearby:
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
