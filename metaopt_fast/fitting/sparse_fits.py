"""Models of sparse rows to their optima: Newton's method by conjugate gradients, side by side.

Models stand in lanes. Each product with the rows, and then with the columns, serves all of them:
some multiply a direction with their Hessian, while others, where such a step is done, take the
loss and the gradient at its end. As soon as a model is proven to be near its optimum, the next one
takes its lane. What is computed of a model depends on no other one.

With an l2 penalty the objective, at the best intercept, is l2-strongly convex: the square of its
gradient's length, divided by 2 l2, bounds the gap. docs/explanation/sparse.md has the proof, and
what rounding adds.
"""

from __future__ import annotations

import math

import numpy as np

from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.certificates import (
    EPS,
    ROOT_OF_TINY,
    growth_by,
    logistic_convexity_bound,
    rounding_of_logistic_derivatives,
)
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.falls import HALVINGS, ROUNDING, falls_enough
from metaopt_fast.fitting.lasso import validate
from metaopt_fast.fitting.models import Optima
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.fitting.sparse_sets import PART, SparseSets
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray

# Conjugate gradients end where the residual's square is between these parts of the gradient's, the
# less the shorter that is, or so small that the gap would be this share of the tolerance.
SHORTER, SHARE = (1e-4, 1e-2), 0.2
# A gap that is not proven then calls for one of so much less, for as long as that leads on.
NEXT_SHARE = 0.1
# Products with a Hessian in a step at most.
MOST_PRODUCTS = 500
# Steps without a shorter gradient or, but for rounding, a smaller loss after which a model ends.
IDLE = 6

# Above log 2, the loss of zeros.
AT_ZEROS = 0.69315

# Rows of what `SparseSteps.visit` writes, and of the factors that vectors are moved by.
LOSS, CURVATURE, ALONG, SQUARE, SIZE = range(5)
KEEP, TAKE = range(2)
GROW, TREAD, TURN, DOWN, BASE, WHOLE, ACCEPT = range(7)


def fit_sparse(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    Returns them, and what they are worth on the folds, if there are any."""
    sets = SparseSets.of(rows, choices, effort.n_threads)
    scaled = np.ldexp(l2, -2 * sets.exponent)
    starts = np.zeros((len(set_of), sets.n_params)) if theta0 is None else theta0.copy()
    n = sets.n_features
    starts[:, :n] = np.ldexp(starts[:, :n], sets.exponent)
    optima = Lanes(sets, set_of, scaled, starts, effort).run()
    optima.thetas[:, :n] = np.ldexp(optima.thetas[:, :n], -sets.exponent)
    if rows.n_folds is None:
        return optima, None

    def decide(thetas: Float64Array, used: IndexArray) -> Float64Array:
        found: Float64Array = rows.X[used].products(thetas[:, :n], effort.n_threads)
        return found + thetas[:, n:] if rows.fit_intercept else found

    return optima, validate(rows, optima.thetas, decide)


class Lanes:
    """Models side by side, each of them somewhere on its way. Arrays over the lanes say where."""

    sets: SparseSets
    set_of: IndexArray
    l2_of: Float64Array
    starts: Float64Array
    effort: Effort
    optima: Optima
    vectors: Float64Array
    asked: Array
    l2: Float64Array
    scales: Array
    losses: Array
    gaps: Array
    shortest: Array
    firsts: Array
    sizes: Array
    slopes: Array
    targets: Array
    shares: Array
    n_iter: IndexArray
    n_products: IndexArray
    idle: IndexArray

    def __init__(
        self,
        sets: SparseSets,
        set_of: IndexArray,
        l2: Float64Array,
        starts: Float64Array,
        effort: Effort,
    ) -> None:
        self.sets, self.set_of, self.l2_of, self.starts = sets, set_of, l2, starts
        self.effort, self.optima = effort, Optima.empty(*starts.shape)
        self.vectors, of_rows = sets.vectors(len(set_of))
        self.steps = sets.steps(self.vectors, of_rows)
        n_lanes = self.vectors.shape[2]
        # The weakest penalties take the most steps: begun last, they would be left alone.
        self.waiting = np.argsort(-l2, kind="stable").tolist()
        self.model: Array = np.full(n_lanes, -1)
        self.factors: Float64Array = np.zeros((sets.factors.shape[1], n_lanes))
        # 1 for lanes that are to be evaluated.
        self.asked, self.l2, self.scales = np.zeros((3, n_lanes))
        self.losses, self.gaps, self.shortest, self.firsts = np.zeros((4, n_lanes))
        # Of a step: its part that is tried, its slope, the residual's length by the scales, and
        # how short it has to become; the share of the tolerance that this is for.
        self.sizes, self.slopes, self.lengths, self.targets, self.shares = np.zeros((5, n_lanes))
        self.n_iter, self.n_products, self.idle = np.zeros((3, n_lanes), np.intp)

    def run(self) -> Optima:
        """Fit all models."""
        for lane in range(len(self.model)):
            self.take_up(lane)
        while (self.model >= 0).any():
            self.advance()
        return self.optima

    def take_up(self, lane: int) -> None:
        """Begin the next model in a lane that is free, whose vectors are zeros."""
        self.asked[lane] = self.l2[lane] = self.scales[lane] = 0
        self.model[lane] = -1
        self.factors[:, lane] = 0
        if not self.waiting:
            return
        model = self.waiting.pop()
        self.model[lane], self.l2[lane] = model, self.l2_of[model]
        self.factors[:, lane] = self.sets.factors[self.set_of[model]]
        # A start that is worse than zeros is refused, and leads back to these.
        self.vectors[4, :, lane] = 0
        if self.starts[model].any():
            self.vectors[0, :, lane] = self.starts[model]
        self.losses[lane], self.gaps[lane], self.shortest[lane] = AT_ZEROS, np.inf, np.inf
        self.asked[lane] = self.sizes[lane] = 1
        self.slopes[lane], self.shares[lane] = 0, min(SHARE, self.effort.share)
        self.firsts[lane] = np.nan
        self.n_iter[lane] = self.idle[lane] = 0

    def advance(self) -> None:
        """Multiply once, and move all models by what comes of it."""
        found = np.empty((5, len(self.model)))
        self.steps.visit(self.factors, self.l2, self.asked, found, self.sets.n_threads)
        live, is_asked = self.model >= 0, self.asked > 0
        accepted, refused = self.judge(found, is_asked & live)
        ended = self.conclude(found, accepted, refused)
        begun, turning = accepted & ~ended, live & ~is_asked
        keep = np.where(turning, 1.0, 0.0)
        sound = turning & (found[ALONG] > 0) & np.isfinite(found[ALONG])
        alphas = np.where(sound, self.lengths / np.where(sound, found[ALONG], 1.0), 0.0)
        squares = np.empty((2, len(self.model)))
        taken = np.where(begun, -1.0, -alphas)
        self.steps.move_residuals(
            np.stack([keep, taken]), self.l2, self.scales, squares, self.sets.n_threads
        )
        self.slopes = np.where(turning, self.slopes - alphas * self.lengths, self.slopes)
        self.n_products += turning
        self.begin(begun, squares[0])
        done = turning & (
            (squares[0] <= self.targets) | (self.n_products >= MOST_PRODUCTS) | ~sound
        )
        turns = turning & ~done
        factors = np.zeros((7, len(self.model)))
        factors[GROW] = np.where(refused, 0.5, turning) * ~ended
        factors[TREAD] = alphas
        factors[TURN] = np.where(turns, squares[1] / np.where(turns, self.lengths, 1.0), 0.0)
        factors[DOWN] = turns | begun
        factors[BASE] = factors[WHOLE] = done | (refused & ~ended)
        factors[ACCEPT] = begun
        self.steps.move_directions(factors, self.l2, self.scales, self.sets.n_threads)
        self.lengths = squares[1]
        self.asked = np.where(live, (done | refused).astype(np.float64), 0.0)
        for lane in np.flatnonzero(ended).tolist():
            self.take_up(lane)

    def judge(self, found: Float64Array, is_asked: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Say which steps are accepted, and which are refused."""
        losses = found[LOSS] + self.l2 / 2 * found[SIZE]
        accepted = is_asked & falls_enough(losses, self.losses, -self.sizes * self.slopes)
        refused = is_asked & ~accepted
        fell = self.losses - losses > ROUNDING * np.abs(losses)
        shorter = found[SQUARE] < self.shortest
        self.idle = np.where(accepted, np.where(fell | shorter, 0, self.idle + 1), self.idle)
        self.shortest = np.where(accepted, np.minimum(self.shortest, found[SQUARE]), self.shortest)
        self.losses = np.where(accepted, losses, self.losses)
        gaps = sparse_gaps(self.sets, self.losses, found, self.vectors, self.l2)
        self.gaps = np.where(accepted, gaps, self.gaps)
        self.scales = np.where(accepted, PART * found[CURVATURE], self.scales)
        self.sizes = np.where(refused, self.sizes / 2, self.sizes)
        return accepted, refused

    def conclude(self, found: Float64Array, accepted: BoolArray, refused: BoolArray) -> BoolArray:
        """Write the models that have ended, and say which lanes they were in."""
        wanted = self.effort.tol * np.maximum(1, self.losses)
        proven = are_proven(self.gaps, self.losses, self.effort.tol)
        short = accepted & (found[SQUARE] <= 2 * self.l2 * self.shares * wanted)
        done = accepted & proven & (short | (self.effort.share >= SHARE))
        # The gradient by the weights is short, but for the intercept's and rounding.
        self.shares = np.where(short & ~proven, NEXT_SHARE * self.shares, self.shares)
        late = accepted & ~done & (self.n_iter >= self.effort.max_iter)
        stuck = accepted & (self.idle >= IDLE)
        stuck |= refused & (self.sizes < math.ldexp(1.0, -HALVINGS))
        ended = done | late | stuck
        for lane in np.flatnonzero(ended).tolist():
            model = self.model[lane]
            # A step that is refused was made from the last one accepted.
            self.optima.thetas[model] = self.vectors[0 if accepted[lane] else 4, :, lane]
            self.optima.losses[model], self.optima.gap_bounds[model] = (
                self.losses[lane],
                self.gaps[lane],
            )
            self.optima.n_iter[model] = self.n_iter[lane]
            how = Status.MAX_ITER if late[lane] else Status.ROUNDING
            self.optima.status[model] = Status.CONVERGED if proven[lane] else how
        return np.asarray(ended)

    def begin(self, begun: BoolArray, squares: Float64Array) -> None:
        """Begin conjugate gradients in some lanes, whose residuals are the gradients, negated."""
        wanted = 2 * self.l2 * self.shares * self.effort.tol * np.maximum(1, self.losses)
        self.firsts = np.where(begun & np.isnan(self.firsts), squares, self.firsts)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.clip(np.sqrt(squares / self.firsts), *SHORTER)
        targets = np.maximum(parts * squares, wanted)
        self.targets = np.where(begun, targets, self.targets)
        self.slopes = np.where(begun, 0.0, self.slopes)
        self.sizes = np.where(begun, 1.0, self.sizes)
        self.n_products = np.where(begun, 0, self.n_products)
        self.n_iter += begun


def sparse_gaps(
    sets: SparseSets,
    losses: Float64Array,
    found: Float64Array,
    vectors: Float64Array,
    l2: Float64Array,
) -> Float64Array:
    """Return how far the objectives of lanes can be from their optima; infinite: nothing is known.

    `found` is what `SparseSteps.visit` wrote of lanes that were evaluated at vectors[0].
    """
    with np.errstate(all="ignore"):
        length, n = np.sqrt(found[SIZE]) * (1 + 1e-9), sets.n_features
        sizes = sets.longest * length
        slope = None
        if n < sets.n_params:
            sizes = sizes + np.abs(vectors[0, n])
        of_margins = 1.1 * EPS * sets.row_chain * sizes
        noise = rounding_of_logistic_derivatives(losses, of_margins, sets.chain)
        slopes = 1.01 * np.sqrt(found[SQUARE]) + noise * sets.longest + ROOT_OF_TINY
        slopes = slopes + 4 * EPS * l2 * length
        growth = growth_by(of_margins)
        if n < sets.n_params:
            slope = 1.01 * np.abs(vectors[1, n]) + noise + ROOT_OF_TINY
        curvatures = 0.99 * found[CURVATURE] / growth
        gaps = logistic_convexity_bound(slopes, slope, curvatures, sets.longest, losses, l2)
        own = losses * growth * (1 + EPS * (sets.chain + 32)) + ROOT_OF_TINY
        return np.asarray(np.fmin(gaps, np.where(np.isnan(own), np.inf, own)))
