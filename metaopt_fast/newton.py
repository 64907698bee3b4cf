"""Newton's method for many regularised models at once, and proofs of how near their optimum is.

A model is a row of each array: its training set, its penalty, its theta. Hessians are computed
where a model needs one and kept for several steps; what they say of an optimum elsewhere is bounded
by self-concordance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels

Float64Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Bytes of Hessians at work: more models than that come one batch after the other.
BATCH_BYTES = 256 * 1024 * 1024
# Beyond it, a Hessian kept says too little of the one at theta to prove anything.
MAX_DRIFT = 1.0
# A step is taken where the loss falls by this part of what the gradient promises.
ARMIJO = 1e-4
# Below this part of the loss, differences of losses are rounding.
ROUNDING = 1e-13
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Rows to train on, as the kernels read them, and the sum of their weights. No penalty."""

    rows: _kernels.PackedRows
    n_samples: int
    total_weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """What is to be fitted: model i minimises the mean loss of a training set, and a penalty.

    `extents` bounds the absolute values in each column of all training sets.
    """

    sets: list[TrainingSet]
    set_of: Indices
    l2: Float64Array
    n_params: int
    n_penalised: int
    extents: Float64Array
    n_threads: int

    def evaluate(self, models: Indices, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the objective of some models, each at its theta, and the gradients."""
        losses, gradients = np.empty(len(models)), np.empty_like(thetas)
        for number, rows in self.by_set(models):
            some = np.ascontiguousarray(thetas[rows])
            loss, gradient = np.empty(len(some)), np.empty_like(some)
            one = self.sets[number]
            one.rows.evaluate(some, loss, gradient, self.threads_for(one, len(some)))
            losses[rows], gradients[rows] = loss, gradient
        return self.penalised(models, thetas, losses, gradients)

    def penalised(
        self, models: Indices, thetas: Float64Array, losses: Float64Array, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the losses and the gradients with the penalties added."""
        slopes = np.zeros_like(gradients)
        slopes[:, : self.n_penalised] = self.l2[models, None] * thetas[:, : self.n_penalised]
        return losses + (slopes * thetas).sum(axis=1) / 2, gradients + slopes

    def threads_for(self, one: TrainingSet, n_models: int) -> int:
        """Return the threads for an evaluation: one where it is over before another is awake."""
        work = n_models * _kernels.work(one.n_samples, self.n_params)
        return 1 if work < _kernels.SERIAL_WORK else self.n_threads

    def hessians(self, models: Indices, thetas: Float64Array) -> Float64Array:
        """Return sums of loss'' x x' over the training sets at each theta, without penalties."""
        found = np.empty((len(models), _kernels.n_pairs(self.n_params)))
        for number, rows in self.by_set(models):
            some = np.empty((np.count_nonzero(rows), found.shape[1]))
            _kernels.hessians(
                self.sets[number].rows, np.ascontiguousarray(thetas[rows]), some, self.n_threads
            )
            found[rows] = some
        return found

    def by_set(self, models: Indices) -> list[tuple[int, npt.NDArray[np.bool_]]]:
        numbers = self.set_of[models]
        return [(int(number), numbers == number) for number in np.unique(numbers)]

    def solve(
        self, models: Indices, matrices: Float64Array, which: Indices, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return the Newton steps, their lengths in the Hessian's norm, and the rows' radii."""
        steps = gradients.copy()
        squares, radii = np.empty(len(models)), np.empty(len(models))
        scales = np.array([1 / one.total_weight for one in self.sets])[self.set_of[models]]
        _kernels.solve(
            matrices,
            which,
            scales,
            np.ascontiguousarray(self.l2[models]),
            self.n_penalised,
            self.extents,
            steps,
            squares,
            radii,
            self.n_threads,
        )
        return steps, np.sqrt(squares), radii

    def rounding(self, models: Indices, thetas: Float64Array, radii: Float64Array) -> Float64Array:
        """Return what rounding of the gradients may add to the decrements."""
        # Not a product of matrices: threads of a BLAS stay awake for a while, and are in the way.
        sizes = (np.abs(thetas) * self.extents).sum(axis=1)
        of_margins = EPS * (4 + self.n_params * sizes / 4)
        of_penalty = 4 * EPS * np.sqrt(self.l2[models] * (thetas**2).sum(axis=1))
        total: Float64Array = of_margins * radii + of_penalty
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where models begin: thetas, and perhaps Hessians of their training sets at thetas nearby.

    `distance` is how far each theta is from where its Hessian was taken, in that Hessian's norm,
    and `fallback` the thetas there, `fallback_loss` the objective.
    """

    thetas: Float64Array
    hessians: Float64Array | None = None
    which: Indices | None = None
    distance: Float64Array | None = None
    fallback: Float64Array | None = None
    fallback_loss: Float64Array | None = None


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


def fit(models: Models, start: Start, tol: float, max_iter: int) -> Optima:
    """Minimise the objective of each model, batch by batch."""
    n = len(models.l2)
    size = max(24, BATCH_BYTES // (8 * _kernels.n_pairs(models.n_params)))
    order = np.argsort(models.set_of, kind="stable")
    optima = Optima(
        np.empty((n, models.n_params)),
        np.empty(n),
        np.empty(n),
        np.empty(n, np.intp),
        np.empty(n, np.bool_),
    )
    for first in range(0, n, size):
        _Batch(models, order[first : first + size], start, tol, max_iter).run(optima)
    return optima


class _Batch:
    """Models that are fitted together. Arrays over them; `active` are the ones not yet done."""

    def __init__(
        self, models: Models, members: Indices, start: Start, tol: float, max_iter: int
    ) -> None:
        self.models, self.members, self.tol, self.max_iter = models, members, tol, max_iter
        n = len(members)
        self.thetas = start.thetas[members].copy()
        self.losses, self.gradients = models.evaluate(members, self.thetas)
        self.hessians = np.empty((n, _kernels.n_pairs(models.n_params)))
        # How far theta has moved since the Hessian was taken, in its norm; infinite: there is none.
        self.moved = np.full(n, np.inf)
        # The decrement that the last step began with, as the same Hessian measures it.
        self.before = np.full(n, np.inf)
        if start.hessians is not None:
            assert start.which is not None and start.distance is not None
            assert start.fallback is not None and start.fallback_loss is not None
            self.hessians[:] = start.hessians[start.which[members]]
            self.moved[:] = self.before[:] = start.distance[members]
            worse = np.flatnonzero(~(self.losses <= start.fallback_loss[members]))
            if len(worse):
                self.thetas[worse] = start.fallback[members[worse]]
                self.losses[worse], self.gradients[worse] = models.evaluate(
                    members[worse], self.thetas[worse]
                )
                self.moved[worse], self.before[worse] = np.inf, np.inf
        # What a Hessian costs, in evaluations of a loss and its gradient.
        pairs = _kernels.n_pairs(models.n_params)
        self.cost = 2 * pairs / (4 * models.n_params + 40)

    def run(self, optima: Optima) -> None:
        """Iterate until every model is done, and write its results."""
        active = np.arange(len(self.members))
        for n_iter in range(self.max_iter + 1):
            self.renew(active, np.isinf(self.moved[active]))
            steps, lengths, drift, decrements, radii = self.measure(active)
            stale = (drift > MAX_DRIFT) | self.is_worth_a_hessian(active, lengths)
            stale &= ~((decrements <= self.tol) & (drift <= MAX_DRIFT))
            stale &= self.moved[active] > 0
            if n_iter < self.max_iter and stale.any():
                self.renew(active, stale)
                again = self.measure(active[stale])
                for old, new in zip((steps, lengths, drift, decrements, radii), again, strict=True):
                    old[stale] = new
            members = self.members[active]
            noise = self.models.rounding(members, self.thetas[active], radii)
            # Where rounding is all that is left, steps do not get shorter.
            is_rounding = (lengths > self.before[active] / 2) & (
                lengths**2 <= ROUNDING * np.abs(self.losses[active]) + (2 * noise) ** 2
            )
            converged = (decrements <= self.tol) | is_rounding
            done = converged | (n_iter == self.max_iter)
            at = self.members[active[done]]
            optima.thetas[at] = self.thetas[active[done]]
            optima.losses[at] = self.losses[active[done]]
            optima.n_iter[at], optima.converged[at] = n_iter, converged[done]
            # The factor covers the rounding of the factorisation.
            optima.gap_bounds[at] = gap_bound(
                1.01 * (decrements[done] + noise[done]), 1.01 * radii[done]
            )
            if done.all():
                return
            stuck = self.step(active[~done], steps[~done], lengths[~done])
            optima.converged[self.members[stuck]] = False
            active = active[~done]

    def renew(self, active: Indices, which: npt.NDArray[np.bool_]) -> None:
        """Take Hessians at the thetas of some of the active models."""
        at = active[which]
        if len(at):
            self.hessians[at] = self.models.hessians(self.members[at], self.thetas[at])
            self.moved[at], self.before[at] = 0.0, np.inf

    def measure(
        self, at: Indices
    ) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]:
        """Return steps, their lengths, drifts, and bounds of decrement and radius at theta.

        exp(-drift) H <= the Hessian at theta, by self-concordance.
        """
        steps, lengths, radii = self.models.solve(
            self.members[at], self.hessians, at, self.gradients[at]
        )
        with np.errstate(invalid="ignore", over="ignore"):
            drift = np.where(self.moved[at] > 0, radii * self.moved[at], 0.0)
            growth = np.exp(np.minimum(drift, 700.0) / 2)
        return steps, lengths, drift, lengths * growth, radii * growth

    def is_worth_a_hessian(self, at: Indices, lengths: Float64Array) -> npt.NDArray[np.bool_]:
        """Say where a new Hessian saves more evaluations than it costs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(np.isfinite(self.before[at]), lengths / self.before[at], 0.1)
            left = np.log(self.tol / lengths) / np.log(np.minimum(rate, 0.99))
        return (rate >= 0.7) | (left > 2 + self.cost)

    def step(self, at: Indices, steps: Float64Array, lengths: Float64Array) -> Indices:
        """Move models along their steps, halved until the loss falls; return those that cannot."""
        sizes = np.ones(len(at))
        waiting = np.arange(len(at))
        for _ in range(60):
            models = at[waiting]
            thetas = self.thetas[models] - sizes[waiting, None] * steps[waiting]
            losses, gradients = self.models.evaluate(self.members[models], thetas)
            promise = sizes[waiting] * lengths[waiting] ** 2
            room = ROUNDING * np.abs(self.losses[models])
            good = losses <= self.losses[models] - ARMIJO * promise + room
            moved = models[good]
            self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
            self.gradients[moved] = gradients[good]
            self.moved[moved] += (sizes[waiting] * lengths[waiting])[good]
            self.before[moved] = lengths[waiting[good]]
            waiting = waiting[~good]
            if not len(waiting):
                break
            sizes[waiting] /= 2
            # A Hessian from elsewhere may be to blame.
            self.moved[at[waiting]] = np.where(
                self.moved[at[waiting]] > 0, np.inf, self.moved[at[waiting]]
            )
        return at[waiting]
