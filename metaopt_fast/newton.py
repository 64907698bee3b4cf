"""Newton's method for many regularised models at once, and proofs of how near their optimum is.

Hessians are computed where a model needs one and kept for several steps; what they say of an
optimum elsewhere is bounded by self-concordance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels
from metaopt_fast.models import Float64Array, Indices, Models, Nearby

# Bytes of Hessians at work: more models than that come one batch after the other.
BATCH_BYTES = 64 * 1024 * 1024
# Beyond it, a Hessian kept says too little of the one at theta to prove much.
MAX_DRIFT = 4.0
# A decrement that falls to no less than this part of the last one calls for a new Hessian.
SLOW = 0.5
# Evaluations that a model may still take, in Hessians' costs, before it gets a new one.
PATIENCE = 0.5
# What an iteration costs beside the work on the rows, in operations.
ITERATION = 2e7
# Where radius times decrement is below it, a new Hessian leads to an optimum and proves it.
NEAR = 1.0
HALVINGS = 60
# One in so many models of a training set is fitted before the others.
STRIDE = 6
MIN_LEADS = 16
TINY = np.finfo(np.float64).tiny
# A step is taken where the loss falls by this part of what the gradient promises.
ARMIJO = 1e-4
# Below this part of the loss, differences of losses are rounding.
ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Where models came to: arrays over models."""

    thetas: Float64Array
    losses: Float64Array
    gap_bounds: Float64Array
    n_iter: Indices
    converged: npt.NDArray[np.bool_]


def gap_bound(decrement: Float64Array, radius: Float64Array) -> Float64Array:
    """Return how far the objective can be from its optimum, infinite where nothing is proven.

    With lam = sqrt(g' H^-1 g) and R = max_i |x_i| in the norm of H^-1, the logistic loss along any
    direction h is at least f - lam t + (exp(-R t) + R t - 1) / R^2, t = |h|_H: its curvature falls
    by a factor exp(-R t) at most (Bach 2010). The least of these is, for R lam < 1,
    lam^2 ((1 - x) log(1 - x) + x) / x^2, x = R lam.
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        x = radius * decrement
        inside = np.where(x < 1, x, 0)
        exact = ((1 - inside) * np.log1p(-inside) + inside) / inside**2
        factor = np.where(x < 1e-3, 0.5 + x / 6 + x**2 / 10, exact)
        bound: Float64Array = np.where(x < 1, decrement**2 * factor, np.inf)
    return bound


def fit(
    models: Models,
    start: Float64Array | Nearby,
    tol: float,
    max_iter: int,
    *,
    prove: bool = True,
) -> Optima:
    """Minimise the objective of each model; unless `prove`, a small decrement is enough.

    Models start from thetas, or by a step from what is nearby. Of each training set, every fourth
    model in the order of penalties comes first; the others start from the nearest of these.
    """
    n = len(models.l2)
    optima = Optima(
        np.empty((n, models.n_params)),
        np.empty(n),
        np.empty(n),
        np.empty(n, np.intp),
        np.empty(n, np.bool_),
    )
    size = max(24, BATCH_BYTES // (8 * _kernels.n_pairs(models.n_params)))
    order = np.lexsort((models.l2, models.set_of))
    for first in range(0, n, size):
        members = order[first : first + size]
        is_lead = choose_leads(models.set_of[members])
        leads, rest = members[is_lead], members[~is_lead]
        near = start.of(leads) if isinstance(start, Nearby) else start[leads]
        batch = _Batch(models, leads, near, tol, max_iter, prove, keep_hessians=len(rest) > 0)
        batch.run(optima)
        if len(rest):
            _Batch(models, rest, batch.nearby(rest), tol, max_iter, prove).run(optima)
    return optima


def choose_leads(set_of: Indices) -> npt.NDArray[np.bool_]:
    """Choose about a quarter of each training set's models; set_of is sorted."""
    _, counts = np.unique(set_of, return_counts=True)
    leads = []
    for count in counts.tolist():
        n_leads = min(count, max(MIN_LEADS, round(count / STRIDE)))
        rank = np.arange(count)
        # Evenly spread, from one end to the other.
        leads.append((rank + 1) * n_leads // count > rank * n_leads // count)
    return np.concatenate(leads)


class _Measures(NamedTuple):
    """What Hessians say: the Newton steps, their lengths, the rows' radii, and how much the
    Hessians have aged: exp(-drift) H <= the Hessian at theta, by self-concordance. Hence bounds of
    the Newton decrements and of the objectives' distance to their optimum, and what rounding may
    have added to the lengths."""

    steps: Float64Array
    lengths: Float64Array
    radii: Float64Array
    drift: Float64Array
    decrements: Float64Array
    gaps: Float64Array
    noise: Float64Array

    def replace(self, which: npt.NDArray[np.bool_], others: _Measures) -> None:
        for mine, other in zip(self, others, strict=True):
            mine[which] = other


class _LastSteps:
    """Where models came from by their last steps: what the gradients, the Newton steps and their
    lengths were there, and how long the steps were. Arrays over models; one that has a new Hessian
    has no last step."""

    def __init__(self, n: int, n_params: int) -> None:
        self.is_known = np.zeros(n, np.bool_)
        self.gradients, self.newton, self.taken = np.empty((3, n, n_params))
        self.lengths, self.norms = np.zeros((2, n))

    def forget(self, at: Indices) -> None:
        self.is_known[at] = False

    def remember(
        self,
        at: Indices,
        gradients: Float64Array,
        newton: Float64Array,
        lengths: Float64Array,
        taken: Float64Array,
        norms: Float64Array,
    ) -> None:
        self.is_known[at] = True
        self.gradients[at], self.newton[at], self.lengths[at] = gradients, newton, lengths
        self.taken[at], self.norms[at] = taken, norms

    def improve(
        self, at: Indices, gradients: Float64Array, newton: Float64Array, lengths: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Correct the steps of an old Hessian by what the last ones did to the gradients.

        This is the BFGS update of the Hessian by one pair. Returns the steps, and bounds of their
        lengths.
        """
        known = self.is_known[at]
        steps, norms = newton.copy(), lengths.copy()
        at, gradients, newton = at[known], gradients[known], newton[known]
        s, y = self.taken[at], gradients - self.gradients[at]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale = 1 / (s * y).sum(axis=1)
            first = scale * (s * gradients).sum(axis=1)
            partly = newton - first[:, None] * (newton - self.newton[at])
            second = first - scale * (y * partly).sum(axis=1)
            improved = partly + second[:, None] * s
            # |newton - self.newton| is at most the sum of both lengths.
            bounds = lengths[known] + np.abs(first) * (lengths[known] + self.lengths[at])
            bounds += np.abs(second) * self.norms[at]
            good = (scale > 0) & ((improved * gradients).sum(axis=1) > 0) & np.isfinite(bounds)
        which = np.flatnonzero(known)[good]
        steps[which], norms[which] = improved[good], bounds[good]
        return steps, norms


class _Batch:
    """Models that are fitted together. Arrays over them; `active` are the ones not yet done."""

    def __init__(
        self,
        models: Models,
        members: Indices,
        start: Float64Array | Nearby,
        tol: float,
        max_iter: int,
        prove: bool,
        *,
        keep_hessians: bool = False,
    ) -> None:
        self.models, self.members, self.tol = models, members, tol
        self.max_iter, self.prove = max_iter, prove
        n, n_pairs = len(members), _kernels.n_pairs(models.n_params)
        self.hessians = np.empty((n, n_pairs)) if keep_hessians else None
        self.factors, self.radii = np.empty((n, n_pairs)), np.empty(n)
        # Where the Hessian was taken; a bound of |x (theta - origin)| over the rows as it was last
        # looked up; how far theta has moved since, in the Hessian's norm. Infinite: there is none.
        self.origins = np.empty((n, models.n_params))
        self.drifted, self.moved = np.zeros(n), np.full(n, np.inf)
        # The decrement that the last step began with, as the same Hessian measures it.
        self.before = np.full(n, np.inf)
        self.stuck = np.zeros(n, np.bool_)
        self.last = _LastSteps(n, models.n_params)
        if isinstance(start, Nearby):
            self.step_from(start)
        else:
            self.thetas = start.copy()
            self.losses, self.gradients = models.evaluate(members, self.thetas)

    def step_from(self, near: Nearby) -> None:
        """Start by a step from what is known nearby, or from there where the step leads uphill."""
        everything = np.arange(len(self.members))
        if self.hessians is not None:
            self.hessians[:] = near.hessians[near.which]
        self.radii[:] = self.models.factor(
            self.members, near.hessians, near.which, self.factors, everything
        )
        self.origins[:] = near.origins[near.which]
        steps, lengths = self.models.solve(self.factors, everything, near.gradients)
        self.thetas = near.thetas - steps
        self.losses, self.gradients = self.models.evaluate(self.members, self.thetas)
        self.moved, self.drifted, self.before = near.moved + lengths, near.drifted, lengths
        worse = ~(self.losses <= near.losses)
        self.thetas[worse], self.losses[worse] = near.thetas[worse], near.losses[worse]
        self.gradients[worse] = near.gradients[worse]
        self.moved[worse] = self.before[worse] = np.inf

    def run(self, optima: Optima) -> None:
        """Iterate until every model is done, and write its results."""
        active, n_iter = np.arange(len(self.members)), 0
        while True:
            self.renew(active[np.isinf(self.moved[active])])
            found = self.measure(active)
            stale = self.needs_hessian(active, found)
            if n_iter < self.max_iter and stale.any():
                self.look_up_drift(active[stale])
                found = self.judge(active, found.steps, found.lengths)
                stale &= self.needs_hessian(active, found)
                self.renew(active[stale])
                found.replace(stale, self.measure(active[stale]))
            # Where rounding is all that is left, steps do not get shorter.
            is_rounding = (found.lengths > self.before[active] / 2) & (
                found.lengths**2 <= ROUNDING * np.abs(self.losses[active]) + (2 * found.noise) ** 2
            )
            converged = (found.decrements <= self.tol) | is_rounding
            if self.prove:
                converged &= self.is_proven(active, found.gaps) | (found.drift == 0)
            done = converged | self.stuck[active] | (n_iter == self.max_iter)
            at = self.members[active[done]]
            optima.thetas[at] = self.thetas[active[done]]
            optima.losses[at] = self.losses[active[done]]
            optima.n_iter[at], optima.converged[at] = n_iter, converged[done]
            # Far away, duality proves more than the Hessian does.
            optima.gap_bounds[at] = np.minimum(
                found.gaps[done],
                self.models.duality_gaps(at, optima.thetas[at], self.gradients[active[done]]),
            )
            if done.all():
                return
            active = active[~done]
            self.step(active, found.steps[~done], found.lengths[~done])
            n_iter += 1

    def nearby(self, others: Indices) -> Nearby:
        """Return what other models know: the nearest one of the same set."""
        models = self.models
        assert self.hessians is not None
        of_other, of_mine = models.l2[others], models.l2[self.members]
        far = np.abs(
            np.log(np.maximum(of_other, TINY))[:, None] - np.log(np.maximum(of_mine, TINY))
        )
        far[models.set_of[others][:, None] != models.set_of[self.members]] = np.inf
        which = far.argmin(axis=1)
        thetas, penalised = self.thetas[which], self.thetas[which]
        penalised[:, models.n_penalised :] = 0
        more = of_other - of_mine[which]
        # A larger penalty makes the Hessian's norm larger.
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.sqrt(np.maximum(1, of_other / of_mine[which]))
            moved = np.where(self.moved[which] > 0, growth * self.moved[which], 0)
        return Nearby(
            thetas,
            self.losses[which] + more / 2 * (penalised**2).sum(axis=1),
            self.gradients[which] + more[:, None] * penalised,
            self.hessians,
            self.origins,
            which,
            moved,
            self.drifted[which],
        )

    def renew(self, at: Indices) -> None:
        """Take Hessians at the thetas of some models."""
        if not len(at):
            return
        hessians = self.models.hessians(self.members[at], self.thetas[at])
        self.radii[at] = self.models.factor(
            self.members[at], hessians, np.arange(len(at)), self.factors, at
        )
        if self.hessians is not None:
            self.hessians[at] = hessians
        self.origins[at] = self.thetas[at]
        self.drifted[at] = self.moved[at] = 0.0
        self.last.forget(at)

    def look_up_drift(self, at: Indices) -> None:
        """Replace the bound of how far margins have moved by how far they have."""
        moved = at[self.moved[at] > 0]
        self.drifted[moved] = self.models.reaches(
            self.members[moved], self.thetas[moved] - self.origins[moved]
        )
        self.moved[moved] = 0.0

    def measure(self, at: Indices) -> _Measures:
        """Ask the Hessians of some models what they say of the gradients."""
        return self.judge(at, *self.models.solve(self.factors, at, self.gradients[at]))

    def judge(self, at: Indices, steps: Float64Array, lengths: Float64Array) -> _Measures:
        """Say what the steps mean, given how far models have moved."""
        radii = self.radii[at]
        with np.errstate(invalid="ignore"):
            drift = np.where(self.moved[at] > 0, radii * self.moved[at], 0.0) + self.drifted[at]
        growth = np.exp(np.minimum(drift, 700.0) / 2)
        noise = self.models.rounding(self.members[at], self.thetas[at], radii)
        # A hundredth more covers the rounding of the factorisation.
        gaps = gap_bound(1.01 * growth * (lengths + noise), 1.01 * growth * radii)
        return _Measures(steps, lengths, radii, drift, growth * lengths, gaps, noise)

    def needs_hessian(self, at: Indices, found: _Measures) -> npt.NDArray[np.bool_]:
        """Say which Hessians are too old: to prove an optimum, or to lead to it soon."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(np.isfinite(self.before[at]), found.lengths / self.before[at], 0.1)
            left = np.log(self.tol / found.decrements) / np.log(np.minimum(rate, 0.99))
        # Few models share the cost of an iteration, and a Hessian costs no more than for many.
        rows = self.models.n_rows
        evaluation = (4 * self.models.n_params + 40) * rows + ITERATION / len(at)
        cost = 2 * self.factors.shape[1] * rows / evaluation
        needed = (rate >= SLOW) | (left > 2 + PATIENCE * cost)
        needed &= found.decrements > self.tol
        if self.prove:
            is_near = found.lengths * found.radii <= NEAR
            needed |= (found.drift > MAX_DRIFT) & is_near
            needed |= (found.decrements <= self.tol) & ~self.is_proven(at, found.gaps)
        return needed & (found.drift > 0)

    def is_proven(self, at: Indices, gaps: Float64Array) -> npt.NDArray[np.bool_]:
        return gaps <= self.tol * np.maximum(1, self.losses[at])

    def step(self, at: Indices, newton: Float64Array, lengths: Float64Array) -> None:
        """Move models along their Newton steps, improved, and halved until the loss falls."""
        before = self.gradients[at]
        steps, norms = self.last.improve(at, before, newton, lengths)
        slopes = (steps * before).sum(axis=1)
        size, waiting = 1.0, np.arange(len(at))
        for _ in range(HALVINGS):
            models = at[waiting]
            thetas = self.thetas[models] - size * steps[waiting]
            losses, gradients = self.models.evaluate(self.members[models], thetas)
            fall = ARMIJO * size * slopes[waiting]
            good = losses <= self.losses[models] - fall + ROUNDING * np.abs(self.losses[models])
            moved, done = models[good], waiting[good]
            self.last.remember(
                moved,
                before[done],
                newton[done],
                lengths[done],
                -size * steps[done],
                size * norms[done],
            )
            self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
            self.gradients[moved] = gradients[good]
            self.moved[moved] += size * norms[done]
            self.before[moved] = lengths[done]
            waiting = waiting[~good]
            if not len(waiting):
                return
            size /= 2
            # A Hessian from elsewhere may be to blame.
            blamed = at[waiting]
            is_old = (self.moved[blamed] > 0) | (self.drifted[blamed] > 0)
            self.moved[blamed[is_old]] = np.inf
        self.stuck[at[waiting]] = True
