"""Newton's method for many regularised models at once, and proofs of how near their optimum is.

Hessians are computed where a model needs one and kept for several steps; what they say of an
optimum elsewhere is bounded by self-concordance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import exp, log
from metaopt_fast.fitting.certificates import EPS, gap_bound, growth_by
from metaopt_fast.fitting.last_steps import LastSteps
from metaopt_fast.fitting.models import Models, Nearby
from metaopt_fast.typing import Float64Array, IndexArray

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
# log 2, and a hair more.
LOSS_AT_ZERO = 0.6931472
# A step is taken where the loss falls by this part of what the gradient promises.
ARMIJO = 1e-4
# Below this part of the loss, differences of losses are rounding.
ROUNDING = 1e-13
# Steps of new Hessians, one after the other, that change nothing but by rounding.
IDLE = 2
# How a model ended.
CONVERGED, OUT_OF_STEPS, OUT_OF_DIGITS = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Where models came to: arrays over models. `curvatures` are lower bounds of the objectives'
    second derivatives for the last parameter."""

    thetas: Float64Array
    losses: Float64Array
    gap_bounds: Float64Array
    curvatures: Float64Array
    n_iter: IndexArray
    status: IndexArray


def fit(
    models: Models,
    start: Float64Array | Nearby,
    tol: float,
    max_iter: int,
    *,
    prove: bool = True,
) -> Optima:
    """Minimise the objective of each model; unless `prove`, a small decrement is enough.

    Models start from thetas, or by a step from what is nearby. Of each training set, one model in
    STRIDE, in the order of penalties, comes first; the others start from the nearest of these.
    """
    n = len(models.set_of)
    optima = Optima(
        np.empty((n, models.n_params)),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty(n, np.intp),
        np.empty(n, np.intp),
    )
    size = max(24, BATCH_BYTES // (8 * _kernels.n_pairs(models.n_params)))
    order = np.lexsort((models.penalty.strengths, models.set_of))
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


def choose_leads(set_of: IndexArray) -> npt.NDArray[np.bool_]:
    """Choose one in STRIDE of each training set's models, or MIN_LEADS; set_of is sorted."""
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
    the Newton decrements and of the objectives' distance to their optimum. Whole: no parameter was
    left out of the factor, and rounding did not make it another matrix's."""

    steps: Float64Array
    lengths: Float64Array
    radii: Float64Array
    drift: Float64Array
    decrements: Float64Array
    gaps: Float64Array
    whole: npt.NDArray[np.bool_]

    def replace(self, which: npt.NDArray[np.bool_], others: _Measures) -> None:
        for mine, other in zip(self, others, strict=True):
            mine[which] = other


class _Batch:
    """Models that are fitted together. Arrays over them; `active` are the ones not yet done."""

    def __init__(
        self,
        models: Models,
        members: IndexArray,
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
        self.factors, self.radii, self.slack = np.empty((n, n_pairs)), np.empty(n), np.empty(n)
        # Where the Hessian was taken; a bound of |x (theta - origin)| over the rows as it was last
        # looked up; how far theta has moved since, in the Hessian's norm. Infinite: there is none.
        self.origins = np.empty((n, models.n_params))
        self.drifted, self.moved = np.zeros(n), np.full(n, np.inf)
        # The Hessian's entry for the last parameter.
        self.curvatures = np.empty(n)
        # The decrement that the last step began with, as the same Hessian measures it, and how far
        # the loss fell.
        self.before, self.falls = np.full(n, np.inf), np.full(n, np.inf)
        # How many steps of new Hessians changed nothing; models that no step leads downhill.
        self.idle, self.stuck = np.zeros(n, np.intp), np.zeros(n, np.bool_)
        self.last = LastSteps(n, models.n_params)
        if isinstance(start, Nearby):
            self.step_from(start)
        else:
            self.thetas = start.copy()
            self.losses, self.gradients = models.evaluate(members, self.thetas)
            if len(worse := np.flatnonzero(~(self.losses <= LOSS_AT_ZERO))):
                self.leave(worse)

    def leave(self, at: IndexArray) -> None:
        """Start at zero instead, where a start is worse: far off, Hessians vanish."""
        self.thetas[at] = 0.0
        self.losses[at], self.gradients[at] = self.models.evaluate(
            self.members[at], self.thetas[at]
        )

    def step_from(self, near: Nearby) -> None:
        """Start by a step from what is known nearby, or from there where the step leads uphill."""
        everything = np.arange(len(self.members))
        if self.hessians is not None:
            self.hessians[:] = near.hessians[near.which]
        self.radii[:], self.slack[:] = self.models.factor(
            self.members, near.hessians, near.which, self.factors, everything
        )
        self.curvatures[:] = near.hessians[near.which, -1] * self.models.scales(self.members)
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
        gaps, drift = np.empty((2, len(self.members)))
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
            converged, ended = self.judge_progress(active, found)
            done = converged | ended | (n_iter == self.max_iter)
            at = self.members[active[done]]
            optima.n_iter[at] = n_iter
            optima.status[at] = np.where(
                converged[done], CONVERGED, np.where(ended[done], OUT_OF_DIGITS, OUT_OF_STEPS)
            )
            gaps[active], drift[active] = found.gaps, found.drift
            if done.all():
                return self.write(gaps, drift, optima)
            active = active[~done]
            self.step(active, found.steps[~done], found.lengths[~done])
            n_iter += 1

    def judge_progress(
        self, at: IndexArray, found: _Measures
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Say which models have converged, and which have come to an end, converged or not.

        A small decrement has converged where the gap is proven, and, but for rounding, where the
        Hessian is new, its factor whole, and the decrement within its reach (radius * decrement
        < 1: beyond, it says nothing). Else steps go on until rounding is all that they change:
        neither the loss nor the decrement falls any more, and Hessians are new. What the gap may
        still be is then estimated, by the decrement or by the gradient.
        """
        losses, is_new = self.losses[at], found.drift == 0
        falls = self.falls[at] > ROUNDING * np.abs(losses)
        is_idle = is_new & ~falls & (found.lengths > self.before[at] / 2)
        self.idle[at] = np.where(is_idle, self.idle[at] + 1, 0)
        ended = self.stuck[at] | (self.idle[at] >= IDLE)
        near = found.decrements <= self.tol
        tells = found.whole & is_new & (found.radii * found.lengths < 1)
        if self.prove:
            converged = near & (tells | self.is_proven(at, found.gaps))
        else:
            converged = near & found.whole
        unclear = np.flatnonzero((ended | ~found.whole) & ~converged)
        if len(unclear):
            gaps = np.where(tells, np.square(found.decrements), np.inf)[unclear]
            gaps = np.fmin(gaps, self.estimates(at[unclear], found.drift[unclear]))
            strengths = self.models.penalty.strengths[self.members[at[unclear]]]
            free = np.flatnonzero(ended[unclear] & (strengths == 0))
            if len(free):
                gaps[free] = np.fmin(gaps[free], self.estimates_by_ridge(at[unclear[free]]))
            wanted = self.tol * np.where(ended[unclear], np.maximum(1, losses[unclear]), self.tol)
            converged[unclear] = gaps <= wanted
        return converged, ended

    def estimates(self, at: IndexArray, drift: Float64Array) -> Float64Array:
        """Return what the gaps may be, by the gradients: what rounding adds to these left out."""
        return self.models.convexity_gaps(
            self.members[at],
            self.thetas[at],
            self.losses[at],
            self.gradients[at],
            self.curvatures_at(at, drift),
            is_proof=False,
        )

    def estimates_by_ridge(self, at: IndexArray) -> Float64Array:
        """Return what the gaps may be where no penalty holds columns that depend on each other:
        the squared decrements of Hessians whose diagonals are larger by what rounding leaves of
        such a column. It counts what is left of the gradient in directions left out."""
        n = self.models.n_params
        hessians = self.models.hessians(self.members[at], self.thetas[at])
        row = np.arange(n)
        diagonal = row * n - row * (row - 1) // 2
        hessians[:, diagonal] *= 1 + 4 * n * EPS
        factors, places = np.empty_like(hessians), np.arange(len(at))
        self.models.factor(self.members[at], hessians, places, factors, places)
        _, lengths = self.models.solve(factors, places, self.gradients[at])
        # Of a column of zeros nothing is left out.
        lost = (factors[:, diagonal] == 0) & (hessians[:, diagonal] > 0)
        return np.where(lost.any(axis=1), np.inf, np.square(lengths))

    def curvatures_at(self, at: IndexArray, drift: Float64Array) -> Float64Array:
        """Return lower bounds of the second derivatives for the last parameter."""
        return np.where(drift < 700, self.curvatures[at] * exp(-drift) * 0.99, 0.0)

    def write(self, gaps: Float64Array, drift: Float64Array, optima: Optima) -> None:
        """Write where models have come to, and what is proven of that."""
        at, everything = self.members, np.arange(len(self.members))
        optima.thetas[at], optima.losses[at] = self.thetas, self.losses
        optima.curvatures[at] = curvatures = self.curvatures_at(everything, drift)
        if self.prove:
            # Far away, or where a Hessian is nearly singular, convexity proves more than it does.
            others = self.models.convexity_gaps(
                at, self.thetas, self.losses, self.gradients, curvatures
            )
            gaps = np.minimum(gaps, others)
        optima.gap_bounds[at] = gaps

    def nearby(self, others: IndexArray) -> Nearby:
        """Return what other models know: the nearest one of the same set."""
        models = self.models
        assert self.hessians is not None
        theirs, mine = models.penalty.of(others), models.penalty.of(self.members)
        of_theirs, of_mine = (log(np.maximum(one.strengths, TINY)) for one in (theirs, mine))
        far = np.abs(of_theirs[:, None] - of_mine)
        far[models.set_of[others][:, None] != models.set_of[self.members]] = np.inf
        which = far.argmin(axis=1)
        thetas = self.thetas[which]
        more, more_slopes = mine.of(which).change(theirs, thetas)
        # `moved` may be measured with any smaller penalty than the radius: with masses
        # m_i = c_i (x_i v)^2 of the rows' parts c_i of a Hessian H, the mean of the squares of
        # their drifts d_i = x_i s is at most radius^2 sum_i c_i d_i^2, and, by Jensen's inequality,
        # what is left of v'Hv is at least exp(-mean of |d_i|) of it.
        return Nearby(
            thetas,
            self.losses[which] + more,
            self.gradients[which] + more_slopes,
            self.hessians,
            self.origins,
            which,
            self.moved[which],
            self.drifted[which],
        )

    def renew(self, at: IndexArray) -> None:
        """Take Hessians at the thetas of some models."""
        if not len(at):
            return
        hessians = self.models.hessians(self.members[at], self.thetas[at])
        self.radii[at], self.slack[at] = self.models.factor(
            self.members[at], hessians, np.arange(len(at)), self.factors, at
        )
        self.curvatures[at] = hessians[:, -1] * self.models.scales(self.members[at])
        if self.hessians is not None:
            self.hessians[at] = hessians
        self.origins[at] = self.thetas[at]
        self.drifted[at] = self.moved[at] = 0.0
        self.last.forget(at)

    def look_up_drift(self, at: IndexArray) -> None:
        """Replace the bound of how far margins have moved by how far they have."""
        moved = at[self.moved[at] > 0]
        self.drifted[moved] = self.models.reaches(
            self.members[moved], self.thetas[moved] - self.origins[moved]
        )
        self.moved[moved] = 0.0

    def measure(self, at: IndexArray) -> _Measures:
        """Ask the Hessians of some models what they say of the gradients."""
        return self.judge(at, *self.models.solve(self.factors, at, self.gradients[at]))

    def judge(self, at: IndexArray, steps: Float64Array, lengths: Float64Array) -> _Measures:
        """Say what the steps mean, given how far models have moved."""
        models, radii, thetas = self.models, self.radii[at], self.thetas[at]
        drift = np.where(self.moved[at] > 0, radii * self.moved[at], 0.0) + self.drifted[at]
        of_margins = models.rounding_of_margins(thetas)
        noise = models.rounding(self.members[at], thetas, self.losses[at], radii, of_margins)
        fading = exp(drift / 2)
        # The margins that a Hessian is taken at are rounded, too.
        growth = fading * growth_by(of_margins)
        gaps = gap_bound(growth * (self.slack[at] * lengths + noise), growth * radii)
        decrements = fading * lengths
        return _Measures(
            steps, lengths, radii, drift, decrements, gaps, np.isfinite(self.slack[at])
        )

    def needs_hessian(self, at: IndexArray, found: _Measures) -> npt.NDArray[np.bool_]:
        """Say which Hessians are too old: to prove an optimum, or to lead to it soon."""
        rate = np.where(np.isfinite(self.before[at]), found.lengths / self.before[at], 0.1)
        left = log(self.tol / found.decrements) / log(np.minimum(rate, 0.99))
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

    def is_proven(self, at: IndexArray, gaps: Float64Array) -> npt.NDArray[np.bool_]:
        return gaps <= self.tol * np.maximum(1, self.losses[at])

    def step(self, at: IndexArray, newton: Float64Array, lengths: Float64Array) -> None:
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
            self.falls[moved] = self.losses[moved] - losses[good]
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
