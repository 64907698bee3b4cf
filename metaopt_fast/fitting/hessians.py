"""Hessians that are kept for several steps, and how much they have aged.

A model's Hessian H is taken at its origin, and is old as soon as the model leaves it. Its drift is
a bound of how far the margin of any row has changed since: max |x_i (theta - origin)|. By
self-concordance, the Hessian at theta is at least exp(-drift) H, so that all that H says is still a
bound, times a power of exp(drift / 2). The drift has two parts: the measured drift, which a pass
over the rows has found, and the distance that the model has moved since then, in H's norm: no
margin changes by more than radius * distance, where the radius is the largest norm of a row in the
norm of H's inverse. A mean of others' Hessians has a drift of its own, the base of both: what is at
least exp(-d) A and exp(-e) B is at least the mean of A and B, divided by the mean of exp(d) and
exp(e).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import exp, log
from metaopt_fast.fitting.certificates import slack_of_factors
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray

TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True, eq=False)
class Nearby:
    """What is known near where models start.

    Model i has the theta, the loss and the gradient in row i. Its Hessian is hessians[which[i]],
    taken at origins[which[i]]; distances[i] and measured_drifts[i] say how far theta is from there.
    """

    thetas: Float64Array
    losses: Float64Array
    gradients: Float64Array
    hessians: Float64Array
    origins: Float64Array
    which: IndexArray
    distances: Float64Array
    measured_drifts: Float64Array

    def of(self, rows: IndexArray) -> Nearby:
        """Return what is known of some models."""
        return Nearby(
            self.thetas[rows],
            self.losses[rows],
            self.gradients[rows],
            self.hessians,
            self.origins,
            self.which[rows],
            self.distances[rows],
            self.measured_drifts[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Means of two Hessians each, without penalties: hessians[left[i]], and hessians[right[i]] with
    the weight parts[i]. They were taken at the thetas `origins`."""

    hessians: Float64Array
    origins: Float64Array
    left: IndexArray
    right: IndexArray
    parts: Float64Array

    def drifts(self, models: Models, members: IndexArray, thetas: Float64Array) -> Float64Array:
        """Return bounds of how far the means have aged at some thetas of the models."""
        left, right = (
            exp(models.margin_changes(members, thetas - self.origins[at]))
            for at in (self.left, self.right)
        )
        drifts = log((1 - self.parts) * left + self.parts * right)
        return np.maximum(np.where(self.parts > 0, drifts, log(left)), 0.0)


class KeptHessians:
    """The Hessian of each model of a batch, factored, and its age. Arrays over the models.

    Attributes
    ----------
    sums : array of shape (n, n_pairs), or None
        The Hessians themselves, for others to start from.
    factors : array of shape (n, n_pairs)
    radii : array of shape (n,)
        The largest norm of a row in the norm of the inverse Hessian, or more.
    slack : array of shape (n,)
        Factors by which other norms may be larger than the factors say; infinite: a parameter was
        left out, or rounding has made another matrix of it.
    origins : array of shape (n, n_params)
    base_drifts, measured_drifts, distances : arrays of shape (n,)
        Parts of the drift: that of a mean at its origin, where the model started, and those since;
        an infinite distance: there is no Hessian to speak of.
    curvatures : array of shape (n,)
        The Hessian's entry for the last parameter.
    """

    models: Models
    members: IndexArray
    factors: Float64Array
    radii: Float64Array
    slack: Float64Array
    base_drifts: Float64Array
    measured_drifts: Float64Array

    def __init__(self, models: Models, members: IndexArray, *, keep_sums: bool) -> None:
        self.models, self.members = models, members
        n, n_pairs = len(members), _kernels.n_pairs(models.n_params)
        self.sums: Float64Array | None = np.empty((n, n_pairs)) if keep_sums else None
        self.factors, self.radii, self.slack = np.empty((n, n_pairs)), np.empty(n), np.empty(n)
        self.origins: Float64Array = np.empty((n, models.n_params))
        self.base_drifts, self.measured_drifts = np.zeros((2, n))
        self.distances: Array = np.full(n, np.inf)
        self.curvatures: Float64Array = np.empty(n)

    def adopt_between(self, means: Means, thetas: Float64Array, drifts: Float64Array) -> None:
        """Take means of others' Hessians, which have aged by some drifts at some thetas."""
        everything = np.arange(len(self.members))
        self._factor(everything, means.hessians, means.left, means.right, means.parts)
        self.origins[:], self.base_drifts[:], self.distances[:] = thetas, drifts, 0.0

    def adopt(self, near: Nearby) -> None:
        """Take the Hessians of what is known nearby."""
        self._factor(np.arange(len(self.members)), near.hessians, near.which)
        if self.sums is not None:
            self.sums[:] = near.hessians[near.which]
        self.origins[:] = near.origins[near.which]
        self.distances[:], self.measured_drifts[:] = near.distances, near.measured_drifts

    def renew(self, at: IndexArray, thetas: Float64Array) -> None:
        """Take Hessians of some models anew, at their thetas."""
        hessians = self.models.hessians(self.members[at], thetas)
        self._factor(at, hessians, np.arange(len(at)))
        if self.sums is not None:
            self.sums[at] = hessians
        self.origins[at] = thetas
        self.base_drifts[at] = self.measured_drifts[at] = self.distances[at] = 0.0

    def _factor(
        self,
        at: IndexArray,
        hessians: Float64Array,
        which: IndexArray,
        others: IndexArray | None = None,
        parts: Float64Array | None = None,
    ) -> None:
        models, members = self.models, self.members[at]
        radii, inflations = models.factor(members, hessians, which, self.factors, at, others, parts)
        self.slack[at] = slack = slack_of_factors(inflations, models.n_params, models.chain)
        self.radii[at] = radii * slack
        last = hessians[which, -1]
        if others is not None and parts is not None:
            last = (1 - parts) * last + parts * hessians[others, -1]
        self.curvatures[at] = last * models.scales(members)

    def is_missing(self, at: IndexArray) -> BoolArray:
        """Say which models have no Hessian to speak of."""
        return np.asarray(np.isinf(self.distances[at]))

    def is_old(self, at: IndexArray) -> BoolArray:
        """Say which Hessians were taken elsewhere."""
        return np.asarray(self.drifts(at) > 0)

    def drifts(self, at: IndexArray) -> Float64Array:
        """Return bounds of how far margins have changed since the Hessians were taken."""
        distances = self.distances[at]
        drifts: Float64Array = np.where(distances > 0, self.radii[at] * distances, 0.0)
        return drifts + self.measured_drifts[at] + self.base_drifts[at]

    def measure_drifts(self, at: IndexArray, thetas: Float64Array) -> None:
        """Replace the bounds of some models, at their thetas, by how far margins have changed."""
        left = self.distances[at] > 0
        if not left.any():
            return
        at = at[left]
        self.measured_drifts[at] = self.models.margin_changes(
            self.members[at], thetas[left] - self.origins[at]
        )
        self.distances[at] = 0.0

    def curvatures_after(self, at: IndexArray, drifts: Float64Array) -> Float64Array:
        """Return lower bounds of the second derivatives for the last parameter."""
        return np.where(drifts < 700, self.curvatures[at] * exp(-drifts) * 0.99, 0.0)
