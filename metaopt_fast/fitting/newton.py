"""Newton's method for many regularised models at once, and proofs of how near their optimum is.

Hessians are computed where a model needs one and kept for several steps (`KeptHessians` says what
drift, distance and origin are); what they say of an optimum elsewhere is bounded by
self-concordance. Lengths of steps are in a Hessian's norm, and the length of the Newton step is the
Newton decrement as that Hessian sees it: exp(drift / 2) times as much bounds the true one.
Of each training set some models, the leads, are fitted before the others, which start between them.
A few models alone are walked to their optima one by one (`walks`), and are judged like all others.
"""

from __future__ import annotations

import sys

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import log
from metaopt_fast.fitting.certificates import logistic_convexity_gaps, logistic_gaps_by_ridge
from metaopt_fast.fitting.falls import ROUNDING
from metaopt_fast.fitting.findings import Findings
from metaopt_fast.fitting.hessians import KeptHessians, Means, Nearby
from metaopt_fast.fitting.models import Models, Optima
from metaopt_fast.fitting.paths import Points, choose, means_between, points_between
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.walks import walk
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray

# Constants of speed, measured by benches/fitting_constants.py: "x 1.1 at 2" is the most CPU time in
# any of its grids of fits, with 2 in place of the value here, beside the time with that.
# Bytes of Hessians at work, beyond which models come batch after batch: x 1.0 at a quarter, at four
# times as much.
BATCH_BYTES = 64 * 1024 * 1024
# A decrement that falls to no less than this part of the last one calls for a new Hessian: x 1.1 at
# 0.25 and 0.7.
SLOW = 0.5
# Evaluations that a model may still take, in Hessians' costs, before it gets a new one: x 1.0 at
# 0.1, x 1.2 at 2.
PATIENCE = 0.5
# Operations that an iteration takes beside the work on the rows: x 1.1 at 0, x 1.0 at 8e7.
ITERATION = 2e7
# Radius times decrement below which a new Hessian leads to an optimum and proves it, as it must be
# below 1 to prove anything: x 1.1 at 0.1, x 1.2 at 4.
NEAR = 1.0
# Up to so many models are walked by themselves: a fit of 569 x 30 takes twice as long without, one
# for each of five folds 1.6 times.
FEW = 10
# Part of the tolerance that they are walked to, as an old Hessian measures it: one that has aged by
# a drift of up to 7 needs no second look.
WALKED = 0.03
# One in so many models of a training set is a lead: x 1.3 at 2, x 1.0 at 20.
STRIDE = 6
# Leads of a training set at least, as many as a tile has lanes: x 1.1 at 4, 8 and 32.
MIN_LEADS = 24
# Constants of rounding: log 2, and a hair more.
LOSS_AT_ZERO = 0.6931472
# Steps of new Hessians, one after the other, that change nothing but by rounding before a model
# ends: the search of tests/hardening/optima.py for models that stop short judges it.
IDLE = 2


def fit(
    models: Models,
    start: Float64Array | Nearby,
    tol: float,
    max_iter: int,
) -> Optima:
    """Minimise the objective of each model, which start from thetas, or by a step from what is
    nearby."""
    optima = Optima.empty(len(models.set_of), models.n_params)
    for members in batches_of(models):
        fit_batch(models, members, start, tol, max_iter, optima)
    return optima


def batches_of(models: Models) -> list[IndexArray]:
    """Return the models that are fitted together: none has anything of another batch."""
    size = max(24, BATCH_BYTES // (8 * _kernels.n_pairs(models.n_params)))
    order = np.lexsort((models.penalty.strengths, models.set_of))
    return [order[first : first + size] for first in range(0, len(order), size)]


def fit_batch(
    models: Models,
    members: IndexArray,
    start: Float64Array | Nearby,
    tol: float,
    max_iter: int,
    optima: Optima,
) -> None:
    """Fit the models of a batch, and write where they have ended.

    Of each training set, one model in STRIDE, in the order of penalties, comes first; the others
    start between these.
    """
    is_lead = choose(models.set_of[members], STRIDE, MIN_LEADS)
    leads, rest = members[is_lead], members[~is_lead]
    batch = Batch(models, leads, tol, max_iter, keep_hessians=len(rest) > 0)
    if isinstance(start, Nearby):
        batch.step_from(start.of(leads))
    else:
        batch.begin_at(start[leads])
    batch.run(optima)
    if len(rest):
        others = Batch(models, rest, tol, max_iter)
        points = batch.points_of(rest)
        others.begin_between(points, means_between(batch.kept, points))
        others.run(optima)


class Batch:
    """Models that are fitted together.

    Arrays over them; `at` are the numbers of some, by default those not yet done. `newton` are the
    Newton steps of kept Hessians, `lengths` theirs, and `lengths_before` what they were where the
    last steps began; `falls` are how far the losses fell; `idle` counts steps of new Hessians, one
    after the other, that changed nothing, and `stuck` are models that no step leads downhill.
    """

    models: Models
    members: IndexArray
    tol: float
    lengths: Array
    lengths_before: Array
    falls: Array
    idle: IndexArray
    stuck: BoolArray
    thetas: Float64Array
    gradients: Float64Array
    newton: Float64Array

    def __init__(
        self,
        models: Models,
        members: IndexArray,
        tol: float,
        max_iter: int,
        *,
        keep_hessians: bool = False,
    ) -> None:
        self.models, self.members, self.tol = models, members, tol
        self.max_iter: int = min(max_iter, sys.maxsize)
        n = len(members)
        self.kept: KeptHessians = KeptHessians(models, members, keep_sums=keep_hessians)
        self.lengths, self.lengths_before, self.falls = np.full((3, n), np.inf)
        self.idle, self.stuck = np.zeros(n, np.intp), np.zeros(n, np.bool_)
        self.n_iter: IndexArray = np.zeros(n, np.intp)
        self.thetas, self.gradients, self.newton = np.zeros((3, n, models.n_params))
        self.losses: Float64Array = np.full(n, np.inf)

    def begin_at(self, thetas: Float64Array) -> None:
        """Start from thetas; a few models have come near their optima before they are judged."""
        if len(thetas) <= FEW:
            tol = WALKED * self.tol
            near, self.n_iter = walk(self.models, self.members, thetas, tol, self.max_iter)
            self.kept.adopt(near)
            self.thetas, self.losses, self.gradients = near.thetas, near.losses, near.gradients
            return
        self.thetas = thetas.copy()
        self.losses, self.gradients = self.models.evaluate(self.members, self.thetas)
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
        self.kept.adopt(near)
        everything = np.arange(len(self.members))
        steps, lengths = self.models.solve(self.kept.factors, everything, near.gradients)
        self.thetas = near.thetas - steps
        self.losses, self.gradients = self.models.evaluate(self.members, self.thetas)
        self.kept.distances += lengths
        self.lengths_before = lengths
        worse = ~(self.losses <= near.losses)
        self.thetas[worse], self.losses[worse] = near.thetas[worse], near.losses[worse]
        self.gradients[worse] = near.gradients[worse]
        self.kept.distances[worse] = self.lengths_before[worse] = np.inf

    def begin_between(self, start: Points, means: Means) -> None:
        """Start between others, or from the nearest of them where that is better."""
        self.thetas = start.thetas
        self.losses, self.gradients = self.models.evaluate(self.members, self.thetas)
        worse = ~(self.losses <= start.safe_losses)
        self.thetas[worse], self.losses[worse] = start.safe_thetas[worse], start.safe_losses[worse]
        self.gradients[worse] = start.safe_gradients[worse]
        drifts = means.drifts(self.models, self.members, self.thetas)
        self.kept.adopt_between(means, self.thetas, drifts)

    def run(self, optima: Optima) -> None:
        """Iterate until every model is done, and write its results."""
        active = np.arange(len(self.members))
        gaps, drifts = np.empty((2, len(self.members)))
        self.turn(active[~self.kept.is_missing(active)])
        while True:
            self.renew(active[self.kept.is_missing(active)])
            may_step = self.n_iter[active] < self.max_iter
            found = self.judge_again(active, self.judge(active), may_step)
            converged, ended = self.judge_progress(active, found)
            done = converged | ended | ~may_step
            at = self.members[active[done]]
            optima.n_iter[at] = self.n_iter[active[done]]
            statuses = np.where(ended[done], Status.ROUNDING.value, Status.MAX_ITER.value)
            optima.status[at] = np.where(converged[done], Status.CONVERGED.value, statuses)
            gaps[active], drifts[active] = found.gaps, found.drifts
            if done.all():
                return self.write(gaps, drifts, optima)
            active = active[~done]
            self.step(active)

    def judge_again(self, at: IndexArray, found: Findings, may_step: BoolArray) -> Findings:
        """Measure the drifts of Hessians that are stale, and take those anew that still are."""
        stale = self.is_stale(at, found) & may_step
        if not stale.any():
            return found
        self.kept.measure_drifts(at[stale], self.thetas[at[stale]])
        found = self.judge(at)
        stale &= self.is_stale(at, found)
        if stale.any():
            self.renew(at[stale])
            found.replace(stale, self.judge(at[stale]))
        return found

    def judge_progress(self, at: IndexArray, found: Findings) -> tuple[BoolArray, BoolArray]:
        """Say which models have converged, and which have come to an end, converged or not.

        A small decrement has converged where the gap is proven, and, but for rounding, where the
        Hessian is new, its factor whole, and the decrement within what the Hessian can tell of
        (radius * decrement < 1). Else steps go on until rounding is all that they change:
        neither the loss nor the decrement falls any more, and Hessians are new. What the gap may
        still be is then estimated, by the decrement or by the gradient.
        """
        losses, is_new = self.losses[at], found.drifts == 0
        falls = self.falls[at] > ROUNDING * np.abs(losses)
        is_idle = is_new & ~falls & (found.lengths > self.lengths_before[at] / 2)
        self.idle[at] = np.where(is_idle, self.idle[at] + 1, 0)
        ended = self.stuck[at] | (self.idle[at] >= IDLE)
        near = found.decrements <= self.tol
        tells = found.whole & is_new & (found.radii * found.lengths < 1)
        converged = near & (tells | self.is_proven(at, found.gaps))
        unclear = np.flatnonzero((ended | near | ~found.whole) & ~converged)
        if len(unclear):
            gaps = np.where(tells, np.square(found.decrements), np.inf)[unclear]
            gaps = np.fmin(gaps, self.estimates(at[unclear], found.drifts[unclear]))
            strengths = self.models.penalty.strengths[self.members[at[unclear]]]
            free = np.flatnonzero(ended[unclear] & (strengths == 0))
            if len(free):
                which = at[unclear[free]]
                by_ridge = logistic_gaps_by_ridge(
                    self.models,
                    self.members[which],
                    self.thetas[which],
                    self.losses[which],
                    self.gradients[which],
                )
                gaps[free] = np.fmin(gaps[free], by_ridge)
            wanted = self.tol * np.where(ended[unclear], np.maximum(1, losses[unclear]), self.tol)
            converged[unclear] = np.isfinite(gaps) & (gaps <= wanted)
        return converged, ended

    def estimates(self, at: IndexArray, drifts: Float64Array) -> Float64Array:
        """Return what the gaps may be, by the gradients: what rounding adds to these left out."""
        return logistic_convexity_gaps(
            self.models,
            self.members[at],
            self.thetas[at],
            self.losses[at],
            self.gradients[at],
            self.kept.curvatures_after(at, drifts),
            is_proof=False,
        )

    def write(self, gaps: Float64Array, drifts: Float64Array, optima: Optima) -> None:
        """Write where models have ended, and what is proven of that."""
        at, everything = self.members, np.arange(len(self.members))
        optima.thetas[at], optima.losses[at] = self.thetas, self.losses
        optima.curvatures[at] = curvatures = self.kept.curvatures_after(everything, drifts)
        # Far away, or where a Hessian is nearly singular, convexity proves more than it does.
        if len(left := np.flatnonzero(~self.is_proven(everything, gaps))):
            others = logistic_convexity_gaps(
                self.models,
                at[left],
                self.thetas[left],
                self.losses[left],
                self.gradients[left],
                curvatures[left],
            )
            gaps[left] = np.minimum(gaps[left], others)
        optima.gap_bounds[at] = gaps

    def points_of(self, others: IndexArray) -> Points:
        """Return starts of others, at penalties between those of these models."""
        return points_between(
            self.models,
            self.members,
            self.kept.factors,
            others,
            self.thetas,
            self.losses,
            self.gradients,
        )

    def renew(self, at: IndexArray) -> None:
        """Take Hessians at the thetas of some models, and their Newton steps."""
        if len(at):
            self.kept.renew(at, self.thetas[at])
            self.turn(at)

    def turn(self, at: IndexArray) -> None:
        """Take the Newton steps of the kept Hessians of some models."""
        solved = self.models.solve(self.kept.factors, at, self.gradients[at])
        self.newton[at], self.lengths[at] = solved

    def judge(self, at: IndexArray) -> Findings:
        """Say what Newton steps mean, given how much the Hessians have aged."""
        return Findings.of(
            self.models,
            self.members[at],
            self.thetas[at],
            self.losses[at],
            self.lengths[at],
            self.kept.radii[at],
            self.kept.slack[at],
            self.kept.drifts(at),
        )

    def is_stale(self, at: IndexArray, found: Findings) -> BoolArray:
        """Say which Hessians are too old to prove an optimum, or to lead to one soon."""
        # Infinite lengths before: no step has told yet.
        rate = found.lengths / self.lengths_before[at]
        left = log(self.tol / found.decrements) / log(np.clip(rate, 1e-9, 0.99))
        is_near = found.lengths * found.radii <= NEAR
        needed = (rate >= SLOW) | (is_near & (left > self.patience(len(at))))
        needed &= found.decrements > self.tol
        needed |= (found.decrements <= self.tol) & ~self.is_proven(at, found.gaps)
        return np.asarray(needed & (found.drifts > 0))

    def is_proven(self, at: IndexArray, gaps: Float64Array) -> BoolArray:
        return are_proven(gaps, self.losses[at], self.tol)

    def patience(self, n_models: int) -> int:
        """Return how many steps more a Hessian should lead to an optimum in."""
        # Few models share the cost of an iteration, and a Hessian costs no more than for many.
        rows = self.models.n_rows
        evaluation = (4 * self.models.n_params + 40) * rows + ITERATION / n_models
        return int(2 + PATIENCE * 2 * self.kept.factors.shape[1] * rows / evaluation)

    def step(self, at: IndexArray) -> None:
        """Move models by steps of their Hessians, as long as these lead on."""
        kept, members = self.kept, self.members[at]
        radii, drifts, was_old = kept.radii[at], kept.drifts(at), kept.is_old(at)
        l2, most = self.models.penalty.curvatures[members], self.max_iter - self.n_iter[at]
        thetas, gradients, newton = self.thetas[at], self.gradients[at], self.newton[at]
        losses, lengths = self.losses[at], self.lengths[at]
        before, falls, sizes, distances = np.empty((4, len(at)))
        n_steps, patience = np.empty(len(at), np.intp), self.patience(len(at))
        _kernels.kept_steps(
            self.models.sets.rows,
            self.models.set_of[members],
            l2,
            kept.factors,
            at,
            radii,
            drifts,
            most,
            thetas,
            losses,
            gradients,
            newton,
            lengths,
            before,
            falls,
            sizes,
            distances,
            n_steps,
            self.tol,
            SLOW,
            NEAR,
            patience,
            self.models.n_threads,
        )
        self.thetas[at], self.gradients[at], self.newton[at] = thetas, gradients, newton
        self.losses[at], self.lengths[at] = losses, lengths
        self.lengths_before[at], self.falls[at] = before, falls
        self.n_iter[at] += n_steps
        kept.distances[at] += distances
        # Where a step is too long, a Hessian from elsewhere may be to blame.
        kept.distances[at[(sizes < 1) & (was_old | (n_steps > 1))]] = np.inf
        self.stuck[at] = sizes == 0
