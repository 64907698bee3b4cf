"""Many softmax regressions, each with a bound of its distance to optimum.

Models of a training set are fitted from the strongest penalty to the weakest, each from the last
one's optimum and with its pairs, by L-BFGS on top of one preconditioner of all classes and folds.
All training sets take each step together. Where the gradient by the weights is small, the
intercepts are moved to where theirs vanishes: the bound of the gap is linear in what is left of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.result import Status
from metaopt_fast.fitting.softmax_gaps import softmax_gaps
from metaopt_fast.fitting.softmax_pairs import KeptPairs, dots
from metaopt_fast.fitting.softmax_sets import Preconditioner, SoftmaxSets
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Steps of L-BFGS that one of Newton's stands for, in max_iter.
STEPS = 10
# A bound that is too large, though the gradient by the weights is as small as was asked for, calls
# for one of another part of that, some times.
NEXT_SHARE, ROUNDS = 0.1, 3
# Steps without a smaller gradient or, but for rounding, a smaller loss after which a model ends.
IDLE = 12
# Part of what the slope promises by which the loss has to fall, as Armijo has it, halvings of a
# step until it does, and the part of the loss below which differences are rounding.
ARMIJO, HALVINGS, ROUNDING = 1e-4, 30, 1e-13
# Steps of the intercepts: one is enough but where shares of the weight are tiny.
POLISHES = 3
# Classes up to which intercepts are moved by the covariances of probabilities.
MOST_COVARIANCES = 1000
# Penalties of two training sets share an inverse within this factor.
ALIKE = 1.25


class SoftmaxOptima(NamedTuple):
    """Where models have ended: arrays over models."""

    thetas: Float64Array
    losses: Float64Array
    gap_bounds: Float64Array
    n_iter: IndexArray
    status: IndexArray


def fit_softmax(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
) -> tuple[SoftmaxOptima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, and return them and what they are worth on the folds left out.

    Thetas are rows of all classes' parameters; sets are those of each choice of class weights
    without each fold, choice by choice.
    """
    n_threads, n_classes = effort.n_threads, len(rows.classes)
    reduction = Reduction.of(rows.X, rows.weights, rows.fit_intercept)
    sets = SoftmaxSets.of(rows, reduction.columns, choices, n_threads)
    start = None
    if theta0 is not None:
        start = reduction.inward(theta0.reshape(-1, sets.n_columns), n_threads)
        start = start.reshape(-1, sets.n_params)
    path = Path(sets, set_of, reduction.l2(l2), effort)
    optima = path.run(start)
    validation = None
    if rows.n_folds is not None:
        validation = sets.validate(rows, optima.thetas.reshape(-1, rows.n_folds, sets.n_params))
    thetas, moved = reduction.outward(optima.thetas.reshape(-1, sets.n_columns))
    # No margin moves by more than its intercept, no loss by more than two of them.
    gaps = optima.gap_bounds + 2 * moved.reshape(-1, n_classes).max(axis=1)
    return optima._replace(thetas=thetas.reshape(len(l2), -1), gap_bounds=gaps), validation


class Path:
    """Models from the strongest penalty to the weakest. Arrays over the training sets hold where
    the model of each is that is fitted."""

    def __init__(
        self, sets: SoftmaxSets, set_of: IndexArray, l2: Float64Array, effort: Effort
    ) -> None:
        self.sets, self.set_of, self.l2_of, self.effort = sets, set_of, l2, effort
        n_sets = len(sets.totals)
        self.pairs = KeptPairs(n_sets, sets.n_params, effort.n_threads)
        self.preconditioner = Preconditioner(sets)
        self.thetas, self.gradients = np.zeros((2, n_sets, sets.n_params))
        self.losses, self.l2, self.gaps = np.empty((3, n_sets))
        self.l2[:] = np.nan
        self.inverses: list[Float64Array] = []
        self.inverse_of = np.zeros(n_sets, np.intp)
        is_penalised = np.arange(sets.n_columns) < sets.n_features
        self.penalised = np.tile(is_penalised, sets.n_classes).astype(np.float64)

    def run(self, theta0: Float64Array | None) -> SoftmaxOptima:
        """Fit all models."""
        n = len(self.set_of)
        optima = SoftmaxOptima(
            np.empty((n, self.sets.n_params)),
            np.empty(n),
            np.empty(n),
            np.empty(n, np.intp),
            np.empty(n, np.intp),
        )
        for models in rounds(self.set_of, self.l2_of):
            at = self.set_of[models]
            if theta0 is not None:
                self.thetas[at] = self.centred(theta0[models])
            self.begin(at, self.l2_of[models])
            n_iter, status = self.fit(at)
            optima.thetas[models] = self.thetas[at]
            optima.losses[models], optima.gap_bounds[models] = self.losses[at], self.gaps[at]
            optima.n_iter[models], optima.status[models] = n_iter[at], status[at]
        return optima

    def centred(self, thetas: Float64Array) -> Float64Array:
        """Return models without what is common to all classes, which no probability shows."""
        of_classes = thetas.reshape(len(thetas), self.sets.n_classes, -1)
        found: Float64Array = of_classes - of_classes.mean(axis=1, keepdims=True)
        return found.reshape(thetas.shape)

    def begin(self, at: IndexArray, l2: Float64Array) -> None:
        """Take up new penalties, with the pairs of the old ones."""
        self.pairs.change_penalty(at, np.nan_to_num(l2 - self.l2[at]), self.penalised)
        self.l2[at] = l2
        self.losses[at], self.gradients[at] = self.sets.evaluate(at, self.thetas[at], l2)
        self.inverses = []
        left = at[np.argsort(l2, kind="stable")]
        while len(left):
            first = int(left[0])
            alike = self.l2[left] <= ALIKE * self.l2[first]
            curvature = self.sets.curvature(first, self.thetas[first])
            self.inverse_of[left[alike]] = len(self.inverses)
            self.inverses.append(self.preconditioner.inverse(curvature, float(self.l2[first])))
            left = left[~alike]

    def fit(self, at: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Fit the models of some sets: how many steps each has taken, and how it ended."""
        n_iter, status = np.zeros((2, len(self.losses)), np.intp)
        shares = np.full(len(self.losses), self.effort.share)
        n_rounds, idle = np.zeros((2, len(self.losses)), np.intp)
        smallest = np.full(len(self.losses), np.inf)
        most, active = STEPS * self.effort.max_iter, at
        while len(active):
            near = active[self.are_near(active, shares[active])]
            self.conclude(near)
            done = self.are_proven(near)
            shares[near] *= NEXT_SHARE
            n_rounds[near] += 1
            ended = (n_rounds[near] > ROUNDS) & ~done
            status[near[ended]] = np.where(
                self.l2[near[ended]] > 0, Status.ROUNDING.value, Status.UNPROVEN.value
            )
            active = active[~np.isin(active, near[done | ended])]
            late = n_iter[active] >= most
            self.finish(active[late], Status.MAX_ITER, status)
            active = active[~late]
            before = self.losses[active]
            stuck = self.step(active)
            n_iter[active] += 1
            sizes = np.square(self.gradients[active]).sum(axis=1)
            falls = before - self.losses[active] > ROUNDING * np.abs(before)
            idle[active] = np.where((sizes < smallest[active]) | falls, 0, idle[active] + 1)
            smallest[active] = np.minimum(sizes, smallest[active])
            stuck |= idle[active] >= IDLE
            self.finish(active[stuck], Status.ROUNDING, status)
            active = active[~stuck]
        return n_iter, status

    def finish(self, at: IndexArray, how: Status, status: IndexArray) -> None:
        """End models that have not converged, unless they are proven to have."""
        self.conclude(at)
        status[at] = np.where(self.are_proven(at), Status.CONVERGED.value, how.value)

    def conclude(self, at: IndexArray) -> None:
        """Move intercepts towards their optimum and bound the gaps, until these are small."""
        for _ in range(POLISHES):
            if not len(at):
                return
            self.polish(at)
            self.prove(at)
            at = at[~self.are_proven(at)]

    def wanted(self, at: IndexArray) -> Float64Array:
        return self.effort.tol * np.maximum(1, self.losses[at])

    def are_proven(self, at: IndexArray) -> BoolArray:
        return np.asarray(self.gaps[at] <= self.wanted(at))

    def prove(self, at: IndexArray) -> None:
        """Bound the gaps of some models."""
        self.gaps[at] = softmax_gaps(
            self.sets, at, self.thetas[at], self.losses[at], self.gradients[at], self.l2[at]
        )

    def are_near(self, at: IndexArray, shares: Float64Array) -> BoolArray:
        """Whether the gradients promise gaps of less than some shares of the tolerance."""
        gradients, l2 = self.gradients[at], self.l2[at]
        by_weights = np.square(gradients * self.penalised).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            gaps = by_weights / (2 * l2)
        free = l2 == 0
        if free.any():  # no more than a guess: nothing is proven
            steps = self.preconditioned(at[free], gradients[free])
            gaps[free] = (steps * gradients[free]).sum(axis=1)
        return np.asarray(gaps <= shares * self.wanted(at))

    def polish(self, at: IndexArray) -> None:
        """Move the intercepts of some models by a step of Newton's, where that is no worse."""
        sets = self.sets
        n = sets.n_classes
        if not sets.n_free or n > MOST_COVARIANCES:
            return
        covariances = sets.covariances(at, self.thetas[at])
        means = covariances.sum(axis=2)
        # What is common to all intercepts changes nothing: 1 / n gives it a curvature.
        hessians = 1 / n - covariances
        hessians[:, np.arange(n), np.arange(n)] += means + 1e-14
        slopes = self.gradients[at].reshape(len(at), n, -1)[:, :, -1]
        thetas = self.thetas[at].copy()
        steps = solved(hessians, slopes, sets.n_threads)
        thetas.reshape(len(at), n, -1)[:, :, -1] -= steps
        losses, gradients = sets.evaluate(at, thetas, self.l2[at])
        good = losses <= self.losses[at] * (1 + ROUNDING)
        moved = at[good]
        self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
        self.gradients[moved] = gradients[good]

    def preconditioned(self, at: IndexArray, gradients: Float64Array) -> Float64Array:
        """Return the approximate inverses times the gradients of some models."""
        found = np.empty_like(gradients)
        for number, inverse in enumerate(self.inverses):
            mine = self.inverse_of[at] == number
            if mine.any():
                found[mine] = self.preconditioner.apply(inverse, gradients[mine])
        return found

    def directions(self, at: IndexArray) -> tuple[Float64Array, Float64Array]:
        """Return downhill steps of some models, and their slopes."""
        partly, alphas = self.pairs.go_down(at, self.gradients[at])
        steps = self.preconditioned(at, partly)
        self.pairs.go_up(at, steps, alphas)
        slopes = -dots(steps, self.gradients[at])
        lost = ~(slopes < 0)
        if lost.any():
            self.pairs.forget(at[lost])
            steps[lost] = self.preconditioned(at[lost], self.gradients[at[lost]])
            slopes[lost] = -dots(steps[lost], self.gradients[at[lost]])
        return -steps, slopes

    def step(self, at: IndexArray) -> BoolArray:
        """Move some models downhill; return which ones no step leads there."""
        steps, slopes = self.directions(at)
        size, waiting = 1.0, np.arange(len(at))
        for _ in range(HALVINGS):
            models = at[waiting]
            if not len(models):
                break
            moves = size * steps[waiting]
            thetas = self.thetas[models] + moves
            losses, gradients = self.sets.evaluate(models, thetas, self.l2[models])
            before = self.losses[models]
            good = losses <= before + ARMIJO * size * slopes[waiting] + ROUNDING * np.abs(before)
            moved = models[good]
            self.pairs.add(moved, moves[good], gradients[good] - self.gradients[moved])
            self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
            self.gradients[moved] = gradients[good]
            waiting = waiting[~good]
            size /= 2
        return np.isin(np.arange(len(at)), waiting)


def rounds(set_of: IndexArray, l2: Float64Array) -> list[IndexArray]:
    """Return models that are fitted together: of each training set one, the strongest penalties
    first."""
    order = np.lexsort((-l2, set_of))
    sets = set_of[order]
    first = np.searchsorted(sets, sets)
    place = np.arange(len(order)) - first
    return [order[place == number] for number in range(int(place.max()) + 1)]


def solved(matrices: Float64Array, b: Float64Array, n_threads: int) -> Float64Array:
    """Return the solutions of symmetric systems, without LAPACK."""
    n = b.shape[1]
    rows, columns = np.triu_indices(n)
    pairs = np.ascontiguousarray(matrices[:, rows, columns])
    everything = np.arange(len(pairs))
    ones, zeros = np.ones(len(pairs)), np.zeros(len(pairs))
    factors, found = np.empty_like(pairs), np.array(b, order="C")
    radii, inflations = np.empty((2, len(pairs)))
    _kernels.factor(
        pairs,
        everything,
        ones,
        zeros,
        0,
        np.ones(n),
        factors,
        everything,
        radii,
        inflations,
        n_threads,
    )
    _kernels.solve(factors, everything, found, np.empty(len(b)), n_threads)
    return found
