"""Newton's method for many regularised models at once, and proofs of how near their optimum is.

A model is a row of each array: its training set, its penalty, its theta. Hessians are computed
where a model needs one and kept for several steps; what they say of an optimum elsewhere is bounded
by self-concordance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels

Float64Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Bytes of Hessians at work: more models than that come one batch after the other.
BATCH_BYTES = 64 * 1024 * 1024
# Beyond it, a Hessian kept says too little of the one at theta to prove much.
MAX_DRIFT = 4.0
# A decrement that falls to no less than this part of the last one calls for a new Hessian.
SLOW = 0.5
# Evaluations that a model may still take, in Hessians' costs, before it gets a new one.
PATIENCE = 0.5
# Where radius times decrement is below it, a new Hessian leads to an optimum and proves it.
NEAR = 1.0
HALVINGS = 60
# One in so many models of a training set is fitted before the others.
STRIDE = 4
# Models whose Hessians are taken together: a tile of AVX-512, two of AVX2.
TILE = 24
TINY = np.finfo(np.float64).tiny
# A step is taken where the loss falls by this part of what the gradient promises.
ARMIJO = 1e-4
# Below this part of the loss, differences of losses are rounding.
ROUNDING = 1e-13
EPS = np.finfo(np.float64).eps


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Rows to train on, as the kernels read them, and the sum of their weights. No penalty."""

    rows: _kernels.PackedRows
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
        # What a Hessian of overflown numbers leads to is no place to be.
        is_lost = np.logical_not(np.isfinite(thetas).all(axis=1))
        thetas = np.where(is_lost[:, None], 0.0, thetas)
        for number, rows in self.by_set(models):
            some = np.ascontiguousarray(thetas[rows])
            loss, gradient = np.empty(len(some)), np.empty_like(some)
            self.sets[number].rows.evaluate(some, loss, gradient, self.n_threads)
            losses[rows], gradients[rows] = loss, gradient
        losses[is_lost] = np.inf
        return self.penalised(models, thetas, losses, gradients)

    def penalised(
        self, models: Indices, thetas: Float64Array, losses: Float64Array, gradients: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the losses and the gradients with the penalties added."""
        slopes = np.zeros_like(gradients)
        with np.errstate(over="ignore"):
            slopes[:, : self.n_penalised] = self.l2[models, None] * thetas[:, : self.n_penalised]
            return losses + (slopes * thetas).sum(axis=1) / 2, gradients + slopes

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
        with np.errstate(invalid="ignore"):
            return steps, np.sqrt(squares), radii

    def rounding(self, models: Indices, thetas: Float64Array, radii: Float64Array) -> Float64Array:
        """Return what rounding of the gradients may add to the decrements."""
        # Not a product of matrices: threads of a BLAS stay awake for a while, and are in the way.
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = (np.abs(thetas) * self.extents).sum(axis=1)
            of_margins = EPS * (4 + self.n_params * sizes / 4)
            of_penalty = 4 * EPS * np.sqrt(self.l2[models] * (thetas**2).sum(axis=1))
            total: Float64Array = of_margins * radii + of_penalty
        return total


@dataclass(frozen=True, slots=True, eq=False)
class Nearby:
    """Thetas near which models start, what the objectives are there, and the Hessians.

    The Hessian of model i is hessians[which[i]]; `distance` bounds how far the model starts from
    where that was taken, in its norm.
    """

    thetas: Float64Array
    losses: Float64Array
    hessians: Float64Array
    which: Indices
    distance: Float64Array

    def of(self, rows: Indices) -> Nearby:
        return Nearby(
            self.thetas[rows],
            self.losses[rows],
            self.hessians,
            self.which[rows],
            self.distance[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where models begin: arrays over them."""

    thetas: Float64Array
    near: Nearby | None = None

    def of(self, rows: Indices) -> Start:
        return Start(self.thetas[rows], None if self.near is None else self.near.of(rows))


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


def fit(models: Models, start: Start, tol: float, max_iter: int, *, prove: bool = True) -> Optima:
    """Minimise the objective of each model; unless `prove`, a small decrement is enough.

    Of each training set, every fourth model in the order of penalties comes first; the others
    start from the nearest of these.
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
        leads = is_lead(models.set_of[members])
        batch = _Batch(models, members[leads], start.of(members[leads]), tol, max_iter, prove)
        batch.run(optima)
        rest = members[~leads]
        if len(rest):
            _Batch(models, rest, batch.nearby(rest), tol, max_iter, prove).run(optima)
    return optima


def is_lead(set_of: Indices) -> npt.NDArray[np.bool_]:
    """Choose about a quarter of each training set's models, in full tiles; set_of is sorted."""
    _, counts = np.unique(set_of, return_counts=True)
    leads = []
    for count in counts.tolist():
        n_leads = min(count, max(1, round(count / STRIDE / TILE)) * TILE)
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


class _Batch:
    """Models that are fitted together. Arrays over them; `active` are the ones not yet done."""

    def __init__(
        self,
        models: Models,
        members: Indices,
        start: Start,
        tol: float,
        max_iter: int,
        prove: bool,
    ) -> None:
        self.models, self.members, self.tol = models, members, tol
        self.max_iter, self.prove = max_iter, prove
        n = len(members)
        self.thetas = start.thetas.copy()
        self.losses, self.gradients = models.evaluate(members, self.thetas)
        self.hessians = np.empty((n, _kernels.n_pairs(models.n_params)))
        # How far theta has moved since the Hessian was taken, in its norm; infinite: there is none.
        self.moved = np.full(n, np.inf)
        # The decrement that the last step began with, as the same Hessian measures it.
        self.before = np.full(n, np.inf)
        self.stuck = np.zeros(n, np.bool_)
        if start.near is not None:
            self.hessians[:] = start.near.hessians[start.near.which]
            self.moved[:] = self.before[:] = start.near.distance
            worse = np.flatnonzero(~(self.losses <= start.near.losses))
            if len(worse):
                self.thetas[worse] = start.near.thetas[worse]
                self.losses[worse], self.gradients[worse] = models.evaluate(
                    members[worse], self.thetas[worse]
                )
                self.moved[worse], self.before[worse] = np.inf, np.inf
        # What a Hessian costs, in evaluations of a loss and its gradient; few of them cost as much
        # as a tile.
        pairs = _kernels.n_pairs(models.n_params)
        idle = TILE * len(np.unique(models.set_of[members])) / n
        self.cost = 2 * pairs / (4 * models.n_params + 40) * max(1.0, idle)

    def run(self, optima: Optima) -> None:
        """Iterate until every model is done, and write its results."""
        active = np.arange(len(self.members))
        for n_iter in range(self.max_iter + 1):
            self.renew(active[np.isinf(self.moved[active])])
            found = self.measure(active)
            stale = self.needs_hessian(active, found)
            if n_iter < self.max_iter and stale.any():
                stale = self.fill_tiles(active, stale, found.lengths)
                self.renew(active[stale])
                found.replace(stale, self.measure(active[stale]))
            # Where rounding is all that is left, steps do not get shorter.
            is_rounding = (found.lengths > self.before[active] / 2) & (
                found.lengths**2 <= ROUNDING * np.abs(self.losses[active]) + (2 * found.noise) ** 2
            )
            converged = (found.decrements <= self.tol) | is_rounding
            if self.prove:
                converged &= self.is_proven(active, found.gaps) | (self.moved[active] == 0)
            done = converged | self.stuck[active] | (n_iter == self.max_iter)
            at = self.members[active[done]]
            optima.thetas[at] = self.thetas[active[done]]
            optima.losses[at] = self.losses[active[done]]
            optima.n_iter[at], optima.converged[at] = n_iter, converged[done]
            optima.gap_bounds[at] = found.gaps[done]
            if done.all():
                return
            active = active[~done]
            self.step(active, found.steps[~done], found.lengths[~done])

    def nearby(self, others: Indices) -> Start:
        """Return where other models start: a Newton step from the nearest one of the same set."""
        models = self.models
        of_other, of_mine = models.l2[others], models.l2[self.members]
        far = np.abs(
            np.log(np.maximum(of_other, TINY))[:, None] - np.log(np.maximum(of_mine, TINY))
        )
        far[models.set_of[others][:, None] != models.set_of[self.members]] = np.inf
        which = far.argmin(axis=1)
        thetas, penalised = self.thetas[which], self.thetas[which]
        penalised[:, models.n_penalised :] = 0
        more = of_other - of_mine[which]
        losses = self.losses[which] + more / 2 * (penalised**2).sum(axis=1)
        steps, lengths, _ = models.solve(
            others, self.hessians, which, self.gradients[which] + more[:, None] * penalised
        )
        # A larger penalty makes the Hessian's norm larger.
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.sqrt(np.maximum(1, of_other / of_mine[which]))
            moved = np.where(self.moved[which] > 0, growth * self.moved[which], 0)
        return Start(thetas - steps, Nearby(thetas, losses, self.hessians, which, lengths + moved))

    def renew(self, at: Indices) -> None:
        """Take Hessians at the thetas of some models."""
        if len(at):
            self.hessians[at] = self.models.hessians(self.members[at], self.thetas[at])
            self.moved[at] = 0.0

    def measure(self, at: Indices) -> _Measures:
        """Ask the Hessians of some models what they say of the gradients."""
        steps, lengths, radii = self.models.solve(
            self.members[at], self.hessians, at, self.gradients[at]
        )
        with np.errstate(invalid="ignore"):
            drift = np.where(self.moved[at] > 0, radii * self.moved[at], 0.0)
        growth = np.exp(np.minimum(drift, 700.0) / 2)
        noise = self.models.rounding(self.members[at], self.thetas[at], radii)
        # A hundredth more covers the rounding of the factorisation.
        gaps = gap_bound(1.01 * growth * (lengths + noise), 1.01 * growth * radii)
        return _Measures(steps, lengths, radii, drift, growth * lengths, gaps, noise)

    def needs_hessian(self, at: Indices, found: _Measures) -> npt.NDArray[np.bool_]:
        """Say which Hessians are too old: to prove an optimum, or to lead to it soon."""
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(np.isfinite(self.before[at]), found.lengths / self.before[at], 0.1)
            left = np.log(self.tol / found.lengths) / np.log(np.minimum(rate, 0.99))
        needed = (rate >= SLOW) | (left > 2 + PATIENCE * self.cost)
        needed &= found.decrements > self.tol
        if self.prove:
            is_near = found.lengths * found.radii <= NEAR
            needed |= (found.drift > MAX_DRIFT) & is_near
            needed |= (found.decrements <= self.tol) & ~self.is_proven(at, found.gaps)
        return needed & (self.moved[at] > 0)

    def is_proven(self, at: Indices, gaps: Float64Array) -> npt.NDArray[np.bool_]:
        return gaps <= self.tol * np.maximum(1, self.losses[at])

    def fill_tiles(
        self, at: Indices, chosen: npt.NDArray[np.bool_], lengths: Float64Array
    ) -> npt.NDArray[np.bool_]:
        """Choose more models, the farthest from their optimum: Hessians of a full tile cost as
        much as that of one."""
        chosen = chosen.copy()
        for _, mine in self.models.by_set(self.members[at]):
            n_chosen = np.count_nonzero(chosen & mine)
            others = np.flatnonzero(mine & ~chosen & (self.moved[at] > 0))
            if n_chosen and len(others):
                farthest = others[np.argsort(-lengths[others], kind="stable")]
                chosen[farthest[: -n_chosen % TILE]] = True
        return chosen

    def step(self, at: Indices, steps: Float64Array, lengths: Float64Array) -> None:
        """Move models along their Newton steps, halved until the loss falls."""
        size, waiting = 1.0, np.arange(len(at))
        for _ in range(HALVINGS):
            models = at[waiting]
            thetas = self.thetas[models] - size * steps[waiting]
            losses, gradients = self.models.evaluate(self.members[models], thetas)
            fall = ARMIJO * size * lengths[waiting] ** 2
            good = losses <= self.losses[models] - fall + ROUNDING * np.abs(self.losses[models])
            moved = models[good]
            self.thetas[moved], self.losses[moved] = thetas[good], losses[good]
            self.gradients[moved] = gradients[good]
            self.moved[moved] += size * lengths[waiting[good]]
            self.before[moved] = lengths[waiting[good]]
            waiting = waiting[~good]
            if not len(waiting):
                return
            size /= 2
            # A Hessian from elsewhere may be to blame.
            blamed = at[waiting]
            self.moved[blamed[self.moved[blamed] > 0]] = np.inf
        self.stuck[at[waiting]] = True
