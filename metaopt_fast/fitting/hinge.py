"""Linear support vector machines: models of the squared hinge loss to their optima, many at once.

The loss is a quadratic in pieces: while no row crosses its margin, a Newton step with the Hessian
of the rows inside of theirs leads to the optimum itself, so that a few steps end there (Mangasarian
2002; Keerthi and DeCoste 2005). A Hessian is kept as long as steps by it shrink very fast, as those
do that take away the rounding of the last one. Of each training set some models, the leads, come
first, and the others start between them.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.falls import ROUNDING, Halving
from metaopt_fast.fitting.hinge_gaps import squared_hinge_gap_after_rounding, squared_hinge_gaps
from metaopt_fast.fitting.models import Models, Optima
from metaopt_fast.fitting.paths import Points, choose, points_between
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.training_sets import ReducedModels
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Constants of speed, measured by benches/fitting_constants.py, as in newton.py.
# Bytes of factors at work, beyond which models come batch after batch.
BATCH_BYTES = 64 * 1024 * 1024
# One in so many models of a training set is a lead: x 1.8 at 2, x 1.2 at 5, x 1.0 at 20.
STRIDE = 10
# Leads of a training set at least: x 1.3 at 4, x 1.2 at 12, x 1.6 at 24.
MIN_LEADS = 7
# Part of the last step's length that a step of the same Hessian has to be below: x 1.2 at 0.001,
# x 1.1 at 0.1, x 1.4 at 0.3.
SLOW = 0.03
# Squared length of a Newton step, beside the loss, from which on gaps are bounded.
NEAR = 1e-6
# The mean loss of a theta of zeros.
LOSS_AT_ZERO = 1.0
# Steps of new Hessians, one after the other, that change nothing but by rounding.
IDLE = 2


def fit_machines(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    Returns them, and what they are worth on the folds, if there are any."""
    n_threads = effort.n_threads
    reduced = ReducedModels.of(rows, choices, set_of, l2, n_threads, "squared_hinge")
    reduction, models = reduced.reduction, reduced.models
    start = np.zeros((len(set_of), models.n_params))
    if theta0 is not None:
        start = reduction.inward(theta0, n_threads)
    optima = fit(models, start, effort.tol, effort.max_iter)
    validation = reduced.validate(optima.thetas)
    of_all = reduced.of_all_columns() if reduction.is_wide else models
    return outward(optima, reduction, of_all, effort.tol), validation


def outward(optima: Optima, reduction: Reduction, of_all: Models, tol: float) -> Optima:
    """Return optima of reduced columns as ones of X, given the models of all columns."""
    if reduction.is_wide:
        everything = np.arange(len(of_all.set_of))
        thetas = reduction.spread(optima.thetas, of_all.n_threads)
        losses, gradients = of_all.evaluate(everything, thetas)
        gaps, _ = squared_hinge_gaps(of_all, everything, thetas, losses, gradients)
        optima = replace(optima, thetas=thetas, losses=losses, gap_bounds=gaps)
    thetas, moved = reduction.outward(optima.thetas)
    gaps = squared_hinge_gap_after_rounding(optima.gap_bounds, moved)
    lost = ~are_proven(gaps, optima.losses, tol)
    status = np.where(lost & (optima.status == Status.CONVERGED), Status.ROUNDING, optima.status)
    return replace(optima, thetas=thetas, gap_bounds=gaps, status=status)


def fit(models: Models, start: Float64Array, tol: float, max_iter: int) -> Optima:
    """Minimise the objective of each model, from thetas."""
    n = len(models.set_of)
    optima = Optima.empty(n, models.n_params)
    optima.curvatures[:] = 0
    size = max(24, BATCH_BYTES // (8 * _kernels.n_pairs(models.n_params)))
    order = np.lexsort((models.penalty.strengths, models.set_of))
    for first in range(0, n, size):
        members = order[first : first + size]
        is_lead = choose(models.set_of[members], STRIDE, MIN_LEADS)
        leads, rest = members[is_lead], members[~is_lead]
        batch = _Batch(models, leads, start[leads], tol, max_iter)
        batch.run(optima)
        if len(rest):
            points = batch.points_of(rest)
            others = _Batch(models, rest, points.thetas, tol, max_iter)
            others.begin_nearer(points)
            others.run(optima)
    return optima


class _Batch:
    """Models that are fitted together.

    Arrays over them; `at` are the numbers of some. `newton` are the Newton steps of the Hessians
    that are kept, `lengths` theirs in the Hessian's norm. A Hessian is `new` where the model has
    not moved since, and `old` where a step by it says too little; `idle` counts steps of new
    Hessians that changed nothing.
    """

    def __init__(
        self, models: Models, members: IndexArray, thetas: Float64Array, tol: float, max_iter: int
    ) -> None:
        self.models, self.members, self.tol = models, members, tol
        self.max_iter = min(max_iter, sys.maxsize)
        n = len(members)
        self.thetas = np.ascontiguousarray(thetas)
        self.losses, self.gradients = models.evaluate(members, self.thetas)
        if len(worse := np.flatnonzero(~(self.losses <= LOSS_AT_ZERO))):
            self.thetas[worse] = 0.0
            found = models.evaluate(members[worse], self.thetas[worse])
            self.losses[worse], self.gradients[worse] = found
        self.factors = np.empty((n, _kernels.n_pairs(models.n_params)))
        self.newton, self.lengths = np.zeros((n, models.n_params)), np.full(n, np.inf)
        self.is_new, self.is_old = np.zeros(n, np.bool_), np.ones(n, np.bool_)
        self.idle, self.n_iter = np.zeros((2, n), np.intp)

    def begin_nearer(self, points: Points) -> None:
        """Start from the nearest other model instead, where that is better."""
        worse = ~(self.losses <= points.safe_losses)
        self.thetas[worse], self.losses[worse] = (
            points.safe_thetas[worse],
            points.safe_losses[worse],
        )
        self.gradients[worse] = points.safe_gradients[worse]

    def run(self, optima: Optima) -> None:
        """Step until every model is done, and write where each has ended."""
        active = np.arange(len(self.members))
        aim = self.tol * min(1.0, self.tol) / 2
        while len(active):
            self.renew(active[self.is_old[active]])
            size = np.maximum(1, self.losses[active])
            must_end = (self.idle[active] >= IDLE) | (self.n_iter[active] >= self.max_iter)
            # No gap is below half the squared length of the Newton step.
            near = must_end | (np.square(self.lengths[active]) <= max(NEAR, 2 * aim) * size)
            done = np.zeros(len(active), np.bool_)
            if near.any():
                at = active[near]
                gaps, is_rounding = self.gaps(at)
                ended = is_rounding | (self.idle[at] >= IDLE) | (gaps <= aim * size[near])
                done[near] = ended | must_end[near]
                self.write(active[done], gaps[done[near]], ended[done[near]], optima)
            active = active[~done]
            if len(active):
                self.step(active)

    def gaps(self, at: IndexArray) -> tuple[Float64Array, BoolArray]:
        """Return bounds of the gaps of some models, and which are rounding for the most part."""
        return squared_hinge_gaps(
            self.models, self.members[at], self.thetas[at], self.losses[at], self.gradients[at]
        )

    def write(self, at: IndexArray, gaps: Float64Array, ended: BoolArray, optima: Optima) -> None:
        """Write where models have ended, and why."""
        members = self.members[at]
        optima.thetas[members], optima.losses[members] = self.thetas[at], self.losses[at]
        optima.gap_bounds[members], optima.n_iter[members] = gaps, self.n_iter[at]
        is_free = self.models.penalty.strengths[members] == 0
        status = np.where(is_free, Status.UNPROVEN.value, Status.ROUNDING.value)
        status = np.where(ended, status, Status.MAX_ITER.value)
        near = are_proven(gaps, self.losses[at], self.tol)
        optima.status[members] = np.where(near, Status.CONVERGED.value, status)

    def renew(self, at: IndexArray) -> None:
        """Take Hessians of some models anew, and their Newton steps."""
        if not len(at):
            return
        members, everything = self.members[at], np.arange(len(at))
        hessians = self.models.hessians(members, self.thetas[at])
        self.models.factor(members, hessians, everything, self.factors, at)
        self.turn(at)
        self.is_new[at], self.is_old[at] = True, False

    def turn(self, at: IndexArray) -> None:
        """Take the Newton steps of the kept Hessians of some models."""
        found = self.models.solve(self.factors, at, self.gradients[at])
        self.newton[at], self.lengths[at] = found

    def step(self, at: IndexArray) -> None:
        """Move models by their Newton steps, halved until the loss falls."""
        before, lengths = self.losses[at].copy(), self.lengths[at].copy()
        steps = Halving(before, np.square(lengths))
        while len(trying := at[steps.trying]):
            sizes = steps.sizes[steps.trying, None]
            thetas = self.thetas[trying] - sizes * self.newton[trying]
            losses, gradients = self.models.evaluate(self.members[trying], thetas)
            falls = steps.judge(losses)
            to = trying[falls]
            self.thetas[to], self.losses[to] = thetas[falls], losses[falls]
            self.gradients[to] = gradients[falls]
        self.n_iter[at] += 1
        self.turn(at)
        is_idle = before - self.losses[at] <= ROUNDING * np.abs(before)
        is_idle &= self.is_new[at] & (self.lengths[at] > lengths / 2)
        self.idle[at] = np.where(is_idle, self.idle[at] + 1, 0)
        self.is_old[at] = (steps.sizes < 1) | (self.lengths[at] > SLOW * lengths)
        self.is_new[at] = False

    def points_of(self, others: IndexArray) -> Points:
        """Return starts of others, at penalties between those of these models."""
        return points_between(
            self.models,
            self.members,
            self.factors,
            others,
            self.thetas,
            self.losses,
            self.gradients,
        )
