"""Models that differ in weights, labels or penalties, fitted one in each lane and certified.

L-BFGS leads near each optimum, from a start and by a Hessian that are nearly the model's own
(`shared_rows`). A proof needs a lower bound of the Hessian alone: a sum of positive semidefinite
terms over one block of rows in STRIDE is one, with the radius of these rows, which bounds how fast
that part's curvature falls; the rest has some curvature >= 0. So the bound by self-concordance
holds word for word (Bach 2010), for an eighth of the cost of a Hessian. What it leaves unproven is
judged by the Hessian of all rows, and takes Newton steps until it is proven or rounding ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.certificates import (
    EPS,
    ROOT_OF_TINY,
    growth_by,
    logistic_gap_bound,
    rounding_of_logistic_derivatives,
    slack_of_factors,
)
from metaopt_fast.fitting.falls import ROUNDING, Halving
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.shared_rows import LaneModels, SharedRows
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray

# One in so many blocks proves an optimum: x 1.2 to 1.3 at 1, x 1.0 at 4 and at 16, whose bounds are
# looser, by benches/resamples.py.
STRIDE = 8
# Steps of L-BFGS at most: a model that takes more has a Hessian unlike the one that it started by.
DESCENT_STEPS = 100
# A diagonal entry for what cannot move, beside the squares of its column: it adds next to nothing
# to norms.
FIXED = 2.0**60


@dataclass(frozen=True, slots=True, eq=False)
class LaneOptima:
    """Where models have ended: arrays over models. `losses` have the penalty in them."""

    thetas: Float64Array
    losses: Float64Array
    gap_bounds: Float64Array
    n_iter: IndexArray
    status: IndexArray

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C came before some models had their turn."""
        return bool((self.status == Status.INTERRUPTED).any())

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return the optima of several batches."""
        names = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def fit_lanes(
    shared: SharedRows, models: LaneModels, effort: Effort, theta0: Float64Array | None = None
) -> LaneFits:
    """Minimise the objective of each model."""
    fits = LaneFits(shared, models, effort)
    everything = np.arange(len(models.l2))
    left = fits.judge(everything, fits.descend(theta0))
    left = fits.judge(left, fits.hessians(left)) if shared.packed.n_blocks > 1 else left
    fits.end_by_newton(left)
    return fits


class LaneFits:
    """Models on their way to their optima. Arrays over them; `newton` are Newton steps of Hessians
    of all rows, `lengths` theirs."""

    shared: SharedRows
    models: LaneModels
    effort: Effort
    thetas: Float64Array
    gradients: Float64Array
    newton: Float64Array
    losses: Array
    gaps: Array
    lengths: Array

    def __init__(self, shared: SharedRows, models: LaneModels, effort: Effort) -> None:
        self.shared, self.models, self.effort = shared, models, effort
        self.rows: _kernels.LaneRows = shared.lane_rows(models)
        n, n_params = len(models.l2), shared.n_params
        self.thetas, self.gradients, self.newton = np.zeros((3, n, n_params))
        self.losses, self.gaps, self.lengths = np.full((3, n), np.inf)
        self.n_iter: IndexArray = np.zeros(n, np.intp)
        self.status: IndexArray = np.full(n, Status.CONVERGED.value, np.intp)

    @property
    def optima(self) -> LaneOptima:
        """Where the models are."""
        return LaneOptima(self.thetas, self.losses, self.gaps, self.n_iter, self.status)

    # -------------------------------------------------------------------------------- first steps

    def descend(self, theta0: Float64Array | None) -> Float64Array:
        """Take steps of L-BFGS, evaluate the losses where they end, and return the mean Hessians
        there of one block of rows in STRIDE."""
        models, shared = self.models, self.shared
        starts, found, which = shared.starts_of(models)
        if theta0 is not None:
            starts = np.where(models.is_free, theta0, models.centres)
        n_starts = len(found)
        pairs, first, metric_of = np.unique(
            models.penalty_of * n_starts + which, return_index=True, return_inverse=True
        )
        del pairs
        hessians = np.stack([found[i].hessian for i in which[first].tolist()])
        metrics, _, _ = self.factor(hessians, first)
        everything, losses = np.arange(len(models.l2)), np.empty(len(models.l2))
        hessians = np.empty((len(losses), hessians.shape[1]))
        self.rows.quasi_newton(
            everything,
            np.ascontiguousarray(starts),
            metrics,
            metric_of.astype(np.intp).ravel(),
            models.penalties,
            models.centres,
            models.inverse_totals,
            self.effort.tol * self.effort.tol,
            min(DESCENT_STEPS, self.effort.max_iter),
            STRIDE,
            self.thetas,
            self.gradients,
            self.n_iter,
            losses,
            hessians,
            self.effort.n_threads,
        )
        self.losses = self.penalised(everything, self.thetas, losses)
        hessians *= models.inverse_totals[:, None]
        return hessians

    def evaluate(self, at: IndexArray, thetas: Float64Array) -> Float64Array:
        """Return the objectives of some models, infinite where they are none."""
        losses, wrong = np.empty((2, len(at)))
        self.rows.losses(at, thetas, False, losses, wrong, self.effort.n_threads)
        return self.penalised(at, thetas, losses)

    def penalised(self, at: IndexArray, thetas: Float64Array, sums: Float64Array) -> Float64Array:
        """Return the objectives of some models, given the sums of their rows' losses."""
        values = sums * self.models.inverse_totals[at] + self.penalty(at, thetas)
        return np.where(np.isfinite(values), values, np.inf)

    def penalty(self, at: IndexArray, thetas: Float64Array) -> Float64Array:
        """Return the penalties of some models."""
        penalties, far = self.weights_of_penalty(at), thetas - self.models.centres[at]
        values: Float64Array = (penalties * far * far).sum(axis=1) / 2
        return values

    def weights_of_penalty(self, at: IndexArray) -> Float64Array:
        """Return the penalties' curvatures, 0 of parameters that cannot move."""
        return np.where(self.models.is_free[at], self.models.penalties[at], 0.0)

    # ------------------------------------------------------------------------------------- proofs

    def judge(self, at: IndexArray, hessians: Float64Array) -> IndexArray:
        """Bound the gaps of some models by the mean Hessians of some rows or all, which are spent,
        and return those left unproven."""
        if not len(at):
            return at
        factors, radii, inflations = self.factor(hessians, at)
        newton, squares = self.gradients[at], np.empty(len(at))
        _kernels.solve(factors, np.arange(len(at)), newton, squares, self.effort.n_threads)
        self.newton[at], self.lengths[at] = newton, np.sqrt(squares)
        self.gaps[at] = np.fmin(self.gaps[at], self.bounds(at, radii, inflations))
        return at[~self.is_proven(at)]

    def hessians(self, at: IndexArray) -> Float64Array:
        """Return the mean Hessians of some models."""
        found = np.empty((len(at), _kernels.n_pairs(self.shared.n_params)))
        self.rows.hessians(at, self.thetas[at], 1, found, self.effort.n_threads)
        found *= self.models.inverse_totals[at][:, None]
        return found

    def solve(self, vectors: Float64Array) -> Float64Array:
        """Return the inverse of each model's Hessian, penalty included, times a vector; 0 for
        parameters that cannot move."""
        everything = np.arange(len(vectors))
        factors, _, _ = self.factor(self.hessians(everything), everything)
        found, squares = np.where(self.models.is_free, vectors, 0.0), np.empty(len(vectors))
        _kernels.solve(factors, everything, found, squares, self.effort.n_threads)
        return found

    def bounds(self, at: IndexArray, radii: Float64Array, inflations: Float64Array) -> Float64Array:
        """Return bounds of the gaps of some models, rounding included."""
        shared, thetas, losses = self.shared, self.thetas[at], self.losses[at]
        slack = slack_of_factors(inflations, shared.n_params, shared.chain)
        radii = radii * slack
        sizes = (np.abs(thetas) * shared.extents).sum(axis=1)
        of_margins: Float64Array = EPS * shared.n_params * sizes
        of_rows = rounding_of_logistic_derivatives(losses, of_margins, shared.chain)
        of_penalty = 4 * EPS * np.sqrt(2 * self.penalty(at, thetas))
        noise = of_rows * radii + of_penalty + ROOT_OF_TINY
        growth = growth_by(of_margins)
        gaps = logistic_gap_bound(growth * (slack * self.lengths[at] + noise), growth * radii)
        return np.where(np.isfinite(losses) & ~np.isnan(gaps), gaps, np.inf)

    def is_proven(self, at: IndexArray) -> BoolArray:
        return are_proven(self.gaps[at], self.losses[at], self.effort.tol)

    def factor(
        self, hessians: Float64Array, at: IndexArray
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Factor mean Hessians with the penalties of some models, and return bounds of the rows'
        norms in the inverses' norms, and how far rounding may have inflated them."""
        n, penalties = self.shared.n_params, self.models.penalties[at]
        rows = np.arange(n)
        diagonal = rows * n - rows * (rows - 1) // 2
        is_free = np.isfinite(penalties)
        if not is_free.all():
            first, second = np.triu_indices(n)
            hessians *= is_free[:, first] & is_free[:, second]
        fixed = FIXED * np.maximum(1.0, np.square(self.shared.extents))
        hessians[:, diagonal] += np.where(is_free, penalties, fixed)
        factors, everything = np.empty_like(hessians), np.arange(len(at))
        radii, inflations = np.empty((2, len(at)))
        _kernels.factor(
            hessians,
            everything,
            np.ones(len(at)),
            np.zeros(len(at)),
            0,
            self.shared.extents,
            factors,
            everything,
            radii,
            inflations,
            self.effort.n_threads,
        )
        return factors, radii, inflations

    # ------------------------------------------------------------------------------- Newton steps

    def end_by_newton(self, left: IndexArray) -> None:
        """Take Newton steps until models are proven, no loss falls, or there are no more steps."""
        n_steps = self.effort.max_iter
        before = np.full(len(self.losses), np.inf)
        for _ in range(n_steps):
            if not len(left):
                return
            falls = self.step(left)
            idle = ~(falls > ROUNDING * self.losses[left])
            idle &= ~(self.lengths[left] < before[left] / 2)
            before[left] = self.lengths[left]
            unproven = np.isin(left, self.judge(left, self.hessians(left)))
            self.status[left[unproven & idle]] = Status.ROUNDING.value
            left = left[unproven & ~idle]
        self.status[left] = Status.MAX_ITER.value

    def step(self, at: IndexArray) -> Float64Array:
        """Take a Newton step, halved until the objective falls; return by how much it did."""
        losses = self.losses[at].copy()
        steps = Halving(losses, (self.newton[at] * self.gradients[at]).sum(axis=1))
        while len(trying := at[steps.trying]):
            sizes = steps.sizes[steps.trying, None]
            thetas = self.thetas[trying] - sizes * self.newton[trying]
            found = self.evaluate(trying, thetas)
            falls = steps.judge(found)
            moved = trying[falls]
            self.thetas[moved], self.losses[moved] = thetas[falls], found[falls]
            self.gaps[moved] = np.inf
        self.n_iter[at] += 1
        thetas, sums = self.thetas[at], np.empty((len(at), self.shared.n_params))
        self.rows.gradients(at, thetas, False, sums, self.effort.n_threads)
        sums *= self.models.inverse_totals[at][:, None]
        sums += self.weights_of_penalty(at) * (thetas - self.models.centres[at])
        self.gradients[at] = np.where(self.models.is_free[at], sums, 0.0)
        fallen: Float64Array = losses - self.losses[at]
        return fallen
