"""Softmax regressions of sparse rows to their optima: Newton's method by conjugate gradients.

The classes of a model stand in lanes, 8 or 24 to a group, and take each step together. Models of
a training set are fitted from the strongest penalty to the weakest, each from where the last one
has ended. docs/explanation/sparse.md says how, and docs/explanation/softmax.md proves the bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import exp, log, log_softmax, products
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.falls import HALVINGS, ROUNDING, falls_enough
from metaopt_fast.fitting.models import Optima
from metaopt_fast.fitting.result import Status
from metaopt_fast.fitting.softmax import solved
from metaopt_fast.fitting.softmax_gaps import Intercepts, Lengths, Sizes, softmax_bounds
from metaopt_fast.fitting.sparse_sets import BLOCK_ROWS, SparseSets
from metaopt_fast.typing import Array, Float64Array, IndexArray

# Classes of a group, as many as a kernel has lanes; the first, unless more would be idle.
LANES = (24, 8)
# Part of the curvature in what residuals are divided by, beside the penalty.
PART = 0.5
# Conjugate gradients end where the residual's square is between these parts of the gradient's, the
# less the shorter that is, or so small that the gap would be this share of the tolerance: x 1.5 of
# 8,000 glosses of benches/sparse.py with (1e-4, 1e-2).
SHORTER, SHARE = (1e-4, 1e-1), 0.2
# A gap that is not proven then calls for one of so much less, so often while it does not halve.
NEXT_SHARE, ROUNDS = 0.1, 3
# Products with a Hessian in a step, and steps that change nothing but by rounding, at most.
MOST_PRODUCTS, IDLE = 500, 3

# Steps of the intercepts once the gradient by the weights is short, up to so many classes, whose
# covariances take the square of them times the rows.
POLISHES, MOST_COVARIANCES = 3, 200

# Rows of what `SparseSteps.climb` writes, and of the factors that vectors are moved by.
ALONG, SQUARE, SIZE = range(3)
GROW, TREAD, TURN, DOWN, BASE, WHOLE, ACCEPT = range(7)


class Found(NamedTuple):
    """Of a theta: its objective, the squares of its gradient and of the weights of each class, the
    mean curvature of a class, means of the rows' margins of each class and of their own one."""

    loss: float
    squares: Float64Array
    sizes: Float64Array
    curvature: float
    margins: Float64Array
    own: float

    @property
    def square(self) -> float:
        """The square of the gradient by the weights."""
        return float(self.squares.sum())


def fit_sparse_softmax(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    Thetas are rows of all classes' parameters. Returns the models, and what they are worth on the
    folds, if there are any."""
    sets = SparseSets.of(rows, choices, effort.n_threads, PART)
    n_classes, n = len(rows.classes), sets.n_features
    shape = (len(set_of), n_classes, sets.n_params)
    scaled = np.ldexp(l2, -2 * sets.exponent)
    starts = None
    if theta0 is not None:
        starts = theta0.reshape(shape).copy()
        starts[:, :, :n] = np.ldexp(starts[:, :, :n], sets.exponent)
    optima = Optima.empty(len(set_of), n_classes * sets.n_params)
    fits = ClassFits(sets, n_classes, effort)
    for model in np.lexsort((-l2, set_of)).tolist():
        start = None if starts is None else starts[model]
        fits.fit(int(set_of[model]), float(scaled[model]), start)
        optima.thetas[model] = fits.theta().ravel()
        optima.losses[model], optima.gap_bounds[model] = fits.found.loss, fits.gap
        optima.n_iter[model], optima.status[model] = fits.n_iter, fits.status
    thetas = optima.thetas.reshape(shape)
    thetas[:, :, :n] = np.ldexp(thetas[:, :, :n], -sets.exponent)
    validation = None
    if rows.n_folds is not None:
        validation = validate(rows, thetas.reshape(-1, rows.n_folds, *shape[1:]), effort)
    return optima, validation


def validate(rows: Rows, thetas: Float64Array, effort: Effort) -> tuple[Float64Array, Float64Array]:
    """Return mean loss and accuracy of models (M, n_folds, K, n_params) on the folds left out."""
    n = rows.X.shape[1]
    losses, accuracies = np.empty((2, *thetas.shape[:2]))
    for f in range(thetas.shape[1]):
        used = np.flatnonzero((rows.fold == f) & (rows.weights > 0))
        some, codes, weights = rows.X[used], rows.codes[used], rows.weights[used]
        for m, theta in enumerate(thetas[:, f]):
            margins = some.products(np.ascontiguousarray(theta[:, :n]), effort.n_threads).T
            margins = margins + theta[:, n:].sum(axis=1)
            own = log_softmax(margins)[np.arange(len(used)), codes]
            losses[m, f] = -(weights * own).sum() / weights.sum()
            right = margins.argmax(axis=1) == codes
            accuracies[m, f] = (weights * right).sum() / weights.sum()
    return losses, accuracies


class ClassFits:
    """One model after the other. Vectors of all groups lie behind each other, [group][vector]
    [parameter][lane]: what is multiplied, the product, residuals, steps, thetas."""

    sets: SparseSets
    n_classes: int
    effort: Effort
    codes: Array
    weights: Float64Array
    at_codes: tuple[Array, Array, Array]
    n_iter: int
    gap: float
    l2: Array
    shares: Float64Array
    lengths: Lengths
    found: Found

    def __init__(self, sets: SparseSets, n_classes: int, effort: Effort) -> None:
        self.sets, self.n_classes, self.effort = sets, n_classes, effort
        self.lanes: int = min(LANES, key=lambda lanes: -n_classes % lanes)
        n_groups, n_rows = -(-n_classes // self.lanes), len(sets.rows)
        self.in_last: int = n_classes - self.lanes * (n_groups - 1)
        padded = -(-n_rows // BLOCK_ROWS) * BLOCK_ROWS
        self.vectors: Float64Array = np.zeros((n_groups, 5, sets.n_params, self.lanes))
        # Slopes of the rows, and margins before.
        self.of_rows: Float64Array = np.zeros((n_groups, 2, padded, self.lanes))
        self.slopes: Float64Array = self.of_rows[:, 1, :n_rows]
        self.probabilities: Float64Array = np.zeros((n_groups, n_rows, self.lanes))
        self.steps: list[_kernels.SparseSteps] = [
            sets.steps(vectors, of_rows)
            for vectors, of_rows in zip(self.vectors, self.of_rows, strict=True)
        ]
        self.matrix: _kernels.SparseMatrix = sets.rows.matrix()
        codes = sets.strata % n_classes
        self.codes, self.at_codes = (
            codes,
            (codes // self.lanes, np.arange(n_rows), codes % self.lanes),
        )
        squares = np.add.reduceat(
            np.append(np.square(sets.rows.numbers), 0.0), sets.rows.starts[:-1]
        )
        self.row_squares: Array = np.where(np.diff(sets.rows.starts) > 0, squares, 0.0)
        self.has_intercept: bool = sets.n_params > sets.n_features
        self.may_polish: bool = self.has_intercept and n_classes <= MOST_COVARIANCES
        self.of_set: int = -1
        self.status: Status = Status.CONVERGED
        self.n_iter, self.gap = 0, math.inf

    def theta(self) -> Float64Array:
        """Return the model, a row for each class."""
        of_lanes = self.vectors[:, 4].transpose(0, 2, 1).reshape(-1, self.sets.n_params)
        return np.ascontiguousarray(of_lanes[: self.n_classes])

    def fit(self, of_set: int, l2: float, start: Float64Array | None) -> None:
        """Fit a model of a training set, from a start, or from where the last one of it ended."""
        self.begin(of_set, l2, start)
        share, shortest = min(SHARE, self.effort.share), self.found.square
        idle, n_rounds, least = 0, 0, math.inf
        first: float | None = None
        while True:
            self.gap = self.bound()
            wanted = self.effort.tol * max(1.0, self.found.loss)
            is_short = self.found.square <= 2 * l2 * share * wanted
            for _ in range(POLISHES * (is_short and self.may_polish)):
                if self.gap <= wanted:
                    break
                self.polish()
                self.gap = self.bound()
            if self.gap <= wanted and (is_short or self.effort.share >= SHARE):
                self.status = Status.CONVERGED
                return
            if is_short:
                n_rounds = 0 if self.gap < least / 2 else n_rounds + 1
                share, least = NEXT_SHARE * share, min(least, self.gap)
            is_stuck = idle >= IDLE or n_rounds > ROUNDS
            if is_stuck or self.n_iter >= self.effort.max_iter:
                how = Status.ROUNDING if is_stuck else Status.MAX_ITER
                self.status = Status.CONVERGED if self.gap <= wanted else how
                return
            before = self.found
            first = self.step(first, 2 * l2 * share * wanted)
            self.n_iter += 1
            fell = before.loss - self.found.loss > ROUNDING * before.loss
            idle = 0 if fell or self.found.square < shortest else idle + 1
            shortest = min(shortest, self.found.square)

    def begin(self, of_set: int, l2: float, start: Float64Array | None) -> None:
        """Take up a model."""
        sets = self.sets
        self.l2, self.n_iter = np.full(self.lanes, l2), 0
        if of_set != self.of_set:
            self.of_set = of_set
            self.weights = sets.weights * sets.factors[of_set][sets.strata]
            shares = np.bincount(self.codes, self.weights, self.n_classes)
            self.shares = shares.astype(np.float64)
            squares = float((self.weights * self.row_squares).sum()) + self.has_intercept
            longest = math.sqrt(sets.longest * sets.longest + self.has_intercept) * (1 + 1e-9)
            self.lengths = Lengths(
                np.array([squares * (1 + 1e-9)]),
                longest,
                sets.row_roundings + 2,
                sets.chain + len(sets.rows) / BLOCK_ROWS,
                self.n_classes,
            )
            self.vectors[:, 4] = 0
        if start is not None:
            lanes = np.zeros((len(self.vectors) * self.lanes, sets.n_params))
            lanes[: self.n_classes] = start - start.mean(axis=0)
            self.vectors[:, 4] = lanes.reshape(len(self.vectors), self.lanes, -1).transpose(0, 2, 1)
        self.vectors[:, 0] = self.vectors[:, 4]
        self.found = self.evaluate()
        if not self.found.loss <= log(float(self.n_classes)) * (1 + ROUNDING):
            # Far off, curvatures vanish.
            self.vectors[:, (0, 4)] = 0
            self.found = self.evaluate()

    def multiply(self) -> None:
        """Write the margins of what is multiplied."""
        n, n_rows = self.sets.n_features, len(self.sets.rows)
        for vectors, of_rows in zip(self.vectors, self.of_rows, strict=True):
            self.matrix.times(vectors[0, :n], of_rows[1, :n_rows], self.sets.n_threads)
            if self.has_intercept:
                of_rows[1, :n_rows] += vectors[0, n]

    def climb(self) -> Float64Array:
        """Write the product of the slopes with the columns, and that of the penalty; return sums
        over the parameters, [group][which][lane]."""
        found = np.empty((len(self.steps), 3, self.lanes))
        for vectors, of_rows, steps, sums in zip(
            self.vectors, self.of_rows, self.steps, found, strict=True
        ):
            if self.has_intercept:
                blocks = of_rows[1].reshape(-1, BLOCK_ROWS, self.lanes).sum(axis=1)
                vectors[1, -1] = blocks.sum(axis=0)
            steps.climb(self.l2, sums, self.sets.n_threads)
        return found

    def evaluate(self) -> Found:
        """Evaluate what is multiplied: the product is its gradient then."""
        with np.errstate(all="ignore"):
            self.multiply()
            z, p, w = self.slopes, self.probabilities, self.weights[:, None]
            means = (w * z).sum(axis=1)
            own = z[self.at_codes]
            z[-1, :, self.in_last :] = -np.inf  # lanes without a class
            top = z.max(axis=2).max(axis=0)
            z -= top[:, None]
            p[:] = exp(z)
            total = p.sum(axis=2).sum(axis=0)
            p /= total[:, None]
            of_rows = log(total) - (own - top)
            np.multiply(w, p, out=z)
            curvature = float((z * (1 - p)).sum()) / self.n_classes
            z[self.at_codes] -= self.weights
            found = self.climb()
            squares, sizes = (found[:, row].ravel()[: self.n_classes] for row in (SQUARE, SIZE))
            loss = float((self.weights * of_rows).sum()) + self.l2[0] / 2 * float(sizes.sum())
        margins = means.ravel()[: self.n_classes]
        mean = float((self.weights * own).sum())
        return Found(loss, squares, sizes, curvature, margins, mean)

    def bound(self) -> float:
        """Bound the gap of what was evaluated last."""
        found, n = self.found, self.sets.n_features
        free = self.vectors[:, 0, n:].sum(axis=1).ravel()[: self.n_classes]
        weights = np.sqrt(found.sizes)
        with np.errstate(all="ignore"):
            sizes = Sizes(
                np.array([math.sqrt(found.square)]),
                np.array([math.sqrt(found.sizes.sum())]),
                np.sqrt(found.sizes + np.square(free)).max(keepdims=True) * (1 + 1e-9),
                np.array([(self.lengths.longest * weights + np.abs(free)).max()]),
            )
            intercepts = None
            if self.has_intercept:
                about = np.abs(found.margins).sum() + sizes.reaches[0]
                divergence = found.loss + found.own - found.margins.min() + 1e-9 * (1 + about)
                slopes = self.vectors[:, 1, n].ravel()[None, : self.n_classes]
                intercepts = Intercepts(slopes, self.shares[None], np.array([divergence]))
            return float(softmax_bounds(self.lengths, sizes, intercepts, self.l2[:1])[0])

    def polish(self) -> None:
        """Move the intercepts by a step of Newton's, where that is no worse: the bound of the gap
        is linear in what is left of their gradient."""
        n, before = self.n_classes, self.found
        of_classes = self.probabilities.transpose(0, 2, 1).reshape(-1, len(self.weights))[:n]
        weighted = of_classes * self.weights
        # What is common to all intercepts changes nothing: 1 / n gives it a curvature.
        hessian = 1 / n - products(weighted, of_classes)
        hessian[np.arange(n), np.arange(n)] += weighted.sum(axis=1) + 1e-14
        slopes = self.vectors[:, 1, -1].ravel()[None, :n]
        moves = np.zeros(len(self.steps) * self.lanes)
        moves[:n] = solved(hessian[None], slopes, self.sets.n_threads)[0]
        self.vectors[:, 0, -1] -= moves.reshape(-1, self.lanes)
        self.found = self.evaluate()
        if not self.found.loss <= before.loss * (1 + ROUNDING):
            self.vectors[:, 0] = self.vectors[:, 4]
            self.found = self.evaluate()
        self.vectors[:, 4] = self.vectors[:, 0]

    def step(self, first: float | None, wanted: float) -> float:
        """Take a step of Newton's. `first` is the square of the first step's gradient, which is
        returned, and `wanted` that of a residual short enough."""
        scales = np.full(self.lanes, PART * self.found.curvature)
        squares, lengths = self.move_residuals(0.0, -1.0, scales)
        first = squares if first is None else first
        part = math.sqrt(squares / first) if first > 0 else 0.0
        part = min(max(part, SHORTER[0]), SHORTER[1])
        target, slope = max(part * squares, wanted), 0.0
        self.move_directions(scales, {DOWN: 1.0, ACCEPT: 1.0})
        number, is_last = 0, False
        while not is_last:
            self.multiply()
            _kernels.turn_margins(self.probabilities, self.weights, self.slopes)
            along = float(self.climb()[:, ALONG].sum())
            if not 0 < along < math.inf:
                break
            alpha = lengths / along
            squares, shorter = self.move_residuals(1.0, -alpha, scales)
            slope -= alpha * lengths
            number += 1
            is_last = squares <= target or number >= MOST_PRODUCTS
            turn = 0.0 if is_last else shorter / lengths
            how = {GROW: 1.0, TREAD: alpha, TURN: turn, DOWN: float(not is_last)}
            self.move_directions(scales, how)
            lengths = shorter
        self.walk(scales, slope)
        return first

    def walk(self, scales: Float64Array, slope: float) -> None:
        """Go a step that has been made, halved until the objective falls, or nowhere."""
        size, grow, before = 1.0, 1.0, np.array([self.found.loss])
        for _ in range(HALVINGS):
            self.move_directions(scales, {GROW: grow, BASE: 1.0, WHOLE: 1.0})
            found = self.evaluate()
            if falls_enough(np.array([found.loss]), before, np.array([-size * slope]))[0]:
                self.found = found
                self.vectors[:, 4] = self.vectors[:, 0]
                return
            size, grow = size / 2, 0.5
        self.vectors[:, 0] = self.vectors[:, 4]
        self.found = self.evaluate()

    def move_residuals(self, keep: float, take: float, scales: Float64Array) -> tuple[float, float]:
        """Make residuals `keep` of themselves and `take` of the products; return their squares, and
        those divided by the scales."""
        factors = np.repeat([[keep], [take]], self.lanes, axis=1)
        squares = np.empty((len(self.steps), 2, self.lanes))
        for steps, sums in zip(self.steps, squares, strict=True):
            steps.move_residuals(factors, self.l2, scales, sums, self.sets.n_threads)
        of_lanes = squares.transpose(1, 0, 2).reshape(2, -1).sum(axis=1).tolist()
        return of_lanes[0], of_lanes[1]

    def move_directions(self, scales: Float64Array, how: dict[int, float]) -> None:
        """Make steps, thetas, and what is multiplied next, by the factors that are other than 0."""
        factors = np.zeros((7, self.lanes))
        for row, factor in how.items():
            factors[row] = factor
        for steps in self.steps:
            steps.move_directions(factors, self.l2, scales, self.sets.n_threads)
