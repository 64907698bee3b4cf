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
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.softmax_gaps import softmax_gaps
from metaopt_fast.fitting.softmax_sets import Preconditioner, SoftmaxSets
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Steps of L-BFGS that one of Newton's stands for, in max_iter.
STEPS = 10
# A bound that is too large, though the gradient by the weights is as small as was asked for, calls
# for one of another part of that, some times.
NEXT_SHARE, ROUNDS = 0.1, 3
# How steps of a model end: the gradient is as small as was asked for, there were as many as may be,
# or none leads on. As in src/softmax_steps.pxi.
NEAR, LATE, STUCK = range(3)
# Bytes of the pairs of all models, and how many pairs a model has at most, and at least. On digits
# and covertypes of benches/softmax.py, 60 take 1.1 to 1.2 times as long, 200 1.0 to 1.4 times.
MEMORY = 256 * 2**20
MOST, FEWEST = 100, 5
# Steps of the intercepts: one is enough but where shares of the weight are tiny.
POLISHES = 3
# Classes up to which intercepts are moved by the covariances of probabilities.
MOST_COVARIANCES = 1000
# Penalties of two training sets share an inverse within this factor.
ALIKE = 1.25


class Care(NamedTuple):
    """When steps lead nowhere: the part of the loss below which differences are rounding, steps
    without a smaller gradient or, but for that, a smaller loss, and halvings of a step."""

    rounding: float
    patience: int
    halvings: int


WIDE, NARROW = Care(1e-13, 12, 30), Care(1e-6, 20, 4)
# Gaps below so many times those that the rounding of gradients makes, in single precision, are
# beyond what these tell.
NOISE = 0.25


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
    reduction = Reduction.of(rows.X, rows.weights, rows.fit_intercept, rows.memory).without_zeros()
    sets = SoftmaxSets.of(rows, reduction.columns, choices, n_threads)
    start = None
    if theta0 is not None:
        start = reduction.inward(theta0.reshape(len(l2) * n_classes, -1), n_threads)
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

    sets: SoftmaxSets
    set_of: IndexArray
    l2_of: Float64Array
    effort: Effort
    thetas: Float64Array
    gradients: Float64Array
    losses: Float64Array
    l2: Float64Array
    gaps: Float64Array

    def __init__(
        self, sets: SoftmaxSets, set_of: IndexArray, l2: Float64Array, effort: Effort
    ) -> None:
        self.sets, self.set_of, self.l2_of, self.effort = sets, set_of, l2, effort
        n_sets = len(sets.totals)
        self.preconditioner: Preconditioner = Preconditioner(sets)
        self.thetas, self.gradients = np.zeros((2, n_sets, sets.n_params))
        self.losses, self.l2, self.gaps = np.empty((3, n_sets))
        self.l2[:] = np.nan
        self.inverses: Float64Array = np.zeros((0, 1, sets.n_columns))
        self.inverse_of: IndexArray = np.zeros(n_sets, np.intp)
        is_penalised = np.arange(sets.n_columns) < sets.n_features
        self.penalised: Float64Array = np.tile(is_penalised, sets.n_classes).astype(np.float64)
        capacity = max(FEWEST, min(MOST, MEMORY // (8 * sets.n_params * n_sets)))
        pairs = np.zeros((2, n_sets, capacity, sets.n_params), np.float32)
        self.ring: IndexArray = np.zeros((2, n_sets), np.intp)
        self.steps: _kernels.SoftmaxSteps = _kernels.SoftmaxSteps(
            sets.n_classes,
            sets.n_features,
            sets.factors,
            sets.totals,
            self.l2,
            self.losses,
            self.thetas,
            self.gradients,
            pairs[0],
            pairs[1],
            np.zeros((n_sets, capacity, sets.n_classes), np.float32),
            np.zeros((5, n_sets, capacity)),
            self.ring,
        )

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
            start = None if theta0 is None else self.centred(theta0[models])
            self.begin(at, self.l2_of[models], start)
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

    def begin(self, at: IndexArray, l2: Float64Array, start: Float64Array | None) -> None:
        """Take up new penalties where the last models have ended, or at a start."""
        if start is not None:
            self.thetas[at] = start
        if start is not None or self.sets.narrow is None or np.isnan(self.l2[at]).any():
            self.l2[at] = l2
            self.evaluate(at)
        else:  # near enough for steps in single precision
            more, weights = l2 - self.l2[at], self.thetas[at] * self.penalised
            self.l2[at] = l2
            self.losses[at] += more / 2 * np.square(weights).sum(axis=1)
            self.gradients[at] += more[:, None] * weights
        found: list[Float64Array] = []
        left = at[np.argsort(l2, kind="stable")]
        while len(left):
            first = int(left[0])
            alike = self.l2[left] <= ALIKE * self.l2[first]
            curvature = self.sets.curvature(first, self.thetas[first])
            self.inverse_of[left[alike]] = len(found)
            found.append(self.preconditioner.inverse(curvature, float(self.l2[first])))
            left = left[~alike]
        self.inverses = np.stack(found)

    def evaluate(self, at: IndexArray) -> None:
        """Find the losses and the gradients of some models, where these are."""
        self.losses[at], self.gradients[at] = self.sets.evaluate(at, self.thetas[at], self.l2[at])

    def fit(self, at: IndexArray) -> tuple[IndexArray, IndexArray]:
        """Fit the models of some sets: how many steps each has taken, and how it ended."""
        n_iter, status, n_rounds = np.zeros((3, len(self.losses)), np.intp)
        shares = np.full(len(self.losses), self.effort.share)
        if self.sets.narrow is not None:
            self.approach(self.sets.narrow, at, n_iter)
        active = at
        while len(active):
            ends = self.descend(self.sets.rows, active, shares * self.effort.tol, WIDE, n_iter)
            self.conclude(active)
            done = self.are_proven(active)
            shares[active] *= NEXT_SHARE
            n_rounds[active] += 1
            near = ends[active] == NEAR
            how = np.where(
                near,
                np.where(self.l2[active] > 0, Status.ROUNDING.value, Status.UNPROVEN.value),
                np.where(ends[active] == LATE, Status.MAX_ITER.value, Status.ROUNDING.value),
            )
            status[active] = np.where(done, Status.CONVERGED.value, how)
            active = active[near & ~done & (n_rounds[active] <= ROUNDS)]
        return n_iter, status

    def descend(
        self,
        rows: _kernels.SoftmaxRows,
        at: IndexArray,
        targets: Float64Array,
        care: Care,
        n_iter: IndexArray,
    ) -> IndexArray:
        """Move some models until their gradients promise gaps of `targets`, times losses above 1:
        how each has ended."""
        ends = np.zeros(len(self.losses), np.intp)
        self.steps.run(
            rows,
            at,
            self.inverses,
            self.inverse_of,
            targets,
            STEPS * self.effort.max_iter,
            *care,
            n_iter,
            ends,
            self.sets.n_threads,
        )
        return ends

    def approach(self, rows: _kernels.SoftmaxRows, at: IndexArray, n_iter: IndexArray) -> None:
        """Move some models as near to their optima as rows in single precision tell, by steps of
        half the time; back, if that was for the worse."""
        thetas, before = self.thetas[at], self.losses[at]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            noise = NOISE * 2.0**-48 * self.sets.squares / (2 * self.l2)
        targets = np.maximum(self.effort.share * self.effort.tol, np.nan_to_num(noise, nan=np.inf))
        self.descend(rows, at, targets, NARROW, n_iter)
        self.evaluate(at)
        worse = ~(self.losses[at] <= before * (1 + NARROW.rounding))
        back = at[worse]
        if len(back):
            self.thetas[back], self.ring[1, back] = thetas[worse], 0
            self.evaluate(back)

    def conclude(self, at: IndexArray) -> None:
        """Move intercepts towards their optimum and bound the gaps, until these are small."""
        for _ in range(POLISHES):
            if not len(at):
                return
            self.polish(at)
            self.prove(at)
            at = at[~self.are_proven(at)]

    def are_proven(self, at: IndexArray) -> BoolArray:
        """Whether the gaps of some models are as small as is wanted."""
        return are_proven(self.gaps[at], self.losses[at], self.effort.tol)

    def prove(self, at: IndexArray) -> None:
        """Bound the gaps of some models."""
        self.gaps[at] = softmax_gaps(
            self.sets, at, self.thetas[at], self.losses[at], self.gradients[at], self.l2[at]
        )

    def polish(self, at: IndexArray) -> None:
        """Move the intercepts of some models by a step of Newton's, where that is no worse, and
        take out what is common to all classes."""
        sets = self.sets
        thetas = self.centred(self.thetas[at])
        if sets.n_free and sets.n_classes <= MOST_COVARIANCES:
            thetas.reshape(len(at), sets.n_classes, -1)[:, :, -1] -= self.intercept_steps(at)
        losses, gradients = sets.evaluate(at, thetas, self.l2[at])
        good = losses <= self.losses[at] * (1 + WIDE.rounding)
        moved = at[good]
        self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
        self.gradients[moved] = gradients[good]

    def intercept_steps(self, at: IndexArray) -> Float64Array:
        """Return Newton's steps of the intercepts of some models."""
        sets, n = self.sets, self.sets.n_classes
        covariances = sets.covariances(at, self.thetas[at])
        # What is common to all intercepts changes nothing: 1 / n gives it a curvature.
        hessians = 1 / n - covariances
        hessians[:, np.arange(n), np.arange(n)] += covariances.sum(axis=2) + 1e-14
        slopes = self.gradients[at].reshape(len(at), n, -1)[:, :, -1]
        return solved(hessians, slopes, sets.n_threads)


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
