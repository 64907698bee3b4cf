"""The loop of gradient descent: K descents step together until each has its reason to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metaopt_fast.descent.held_out import HeldOut, largest_of
from metaopt_fast.descent.result import STATUSES, DescentResult, Status
from metaopt_fast.descent.rule import Point, Rule
from metaopt_fast.objectives.penalties import Penalty
from metaopt_fast.runs.evaluation import is_batch_differentiable
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.identity import is_built_in

# A loss this many times 1 and the first one, or one that is not finite, is taken for a divergence.
# By benches/descent_constants.py, of descents at up to 30,000 times the usual rates: those by gd,
# momentum, nesterov and rmsprop that came back to their first loss had risen to 180 at most, those
# of quadratic losses by the first three that did not, beyond 1e37. By adam and adagrad, whose steps
# do not grow with the gradient, logistic losses came back from 551 at most, squared ones from more
# than this (3e8, at 30,000 times their rates).
DIVERGED = 1e6

# Numbers of the statuses with which a descent ends at its lowest loss.
WITH_BEST = [int(status) for status in Status if status.ends_with_best]


class Limits(NamedTuple):
    """When a descent ends."""

    max_iter: int
    tol: float
    patience: int | None
    min_delta: float


class Evaluation:
    """What K descents ask of an objective: losses and gradients, with a penalty of their own.

    Parameters
    ----------
    objective : object with ``loss_gradient`` or ``batch_loss_gradient``
    penalty : Penalty of K strengths, or None
        Penalty that is added to what the objective has.
    """

    penalty: Penalty | None
    kept: Float64Array | None

    def __init__(self, objective: Any, penalty: Penalty | None) -> None:
        self.objective, self.penalty = objective, penalty
        self.kept = None if penalty is None else penalty.kept(int(objective.n_params))
        self.is_batched: bool = is_batch_differentiable(objective)
        self.is_built_in: bool = self.is_batched and is_built_in(objective)
        self.largest: float = largest_of(objective)

    def of(self, rows: BoolArray) -> Evaluation:
        """Return what some of the descents ask."""
        return Evaluation(self.objective, None if self.penalty is None else self.penalty.of(rows))

    def point(self, theta: Float64Array) -> Point:
        """Return what the objective says of K thetas."""
        loss, gradient = self.loss_gradient(self.objective, theta)
        return Point(theta, loss, gradient, np.maximum.reduce(np.abs(gradient), axis=1))

    def loss_gradient(
        self, objective: Any, theta: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return the losses and gradients of an objective, or of a part of its rows.

        A theta beyond the objective's range is not asked for: its loss and gradient are infinite.
        """
        # Comparisons with what is not a number are False.
        if -self.largest <= theta.min() and theta.max() <= self.largest:
            loss, gradient = self._ask(objective, theta)
        else:
            inside = np.maximum.reduce(np.abs(theta), axis=1) <= self.largest
            loss, gradient = np.full(len(theta), np.inf), np.full(theta.shape, np.inf)
            if inside.any():
                loss[inside], gradient[inside] = self._ask(objective, theta[inside])
        if self.penalty is not None and self.kept is not None:
            with np.errstate(all="ignore"):
                self.penalty.add_to(loss, gradient, theta, self.kept)
        return loss, gradient

    def _ask(self, objective: Any, theta: Float64Array) -> tuple[Float64Array, Float64Array]:
        if self.is_built_in:  # so are its mini-batches, and each call has arrays of its own
            losses, gradients = objective.batch_loss_gradient(theta)
            return losses, gradients
        # Mini-batches of users' own may be objectives of another class.
        is_same = objective is self.objective
        if self.is_batched if is_same else is_batch_differentiable(objective):
            losses, gradients = objective.batch_loss_gradient(theta)
            # Copies: the objective may use its arrays again.
            loss, gradient = (
                np.array(losses, np.float64),
                np.array(gradients, np.float64, order="C"),
            )
            if gradient.shape == theta.shape:
                return loss, gradient
            raise ValueError(
                f"batch_loss_gradient returned gradients of shape {gradient.shape}: return an "
                f"array of shape {theta.shape}, as thetas."
            )
        loss, gradient = np.empty(len(theta)), np.empty(theta.shape)
        for k, row in enumerate(theta):
            loss[k], one = objective.loss_gradient(row)
            if np.shape(one) != row.shape:
                raise ValueError(
                    f"loss_gradient returned a gradient of shape {np.shape(one)}: return one of "
                    f"shape {row.shape}, as theta."
                )
            gradient[k] = one
        return loss, gradient


class _State(NamedTuple):
    """State of the descents that go on: never changed, only replaced, for an interrupt."""

    runs: IndexArray  # their numbers
    point: Point
    judged: Float64Array  # losses that decide which is best: of held-out rows, or the points' own
    best: Point  # of the lowest of these; its gradient is another's
    best_judged: Float64Array
    best_iter: IndexArray
    ceiling: Float64Array  # a loss above it is a divergence
    rate: Float64Array
    n_iter: IndexArray
    stalled: BoolArray
    target: Float64Array  # a loss below it is progress
    waited: IndexArray  # steps since the last progress
    entries: int  # of the history

    def take(self, rows: BoolArray) -> _State:
        kept = [part.take(rows) if isinstance(part, Point) else part[rows] for part in self[:-1]]
        return _State._make([*kept, self.entries])

    def status(self, limits: Limits) -> IndexArray | None:
        """Return the number of each descent's `Status`, 0 where it goes on; None if all go on."""
        loss, norm = self.point.loss, self.point.norm
        is_sound = (loss <= self.ceiling) & (loss > -np.inf) & (norm < np.inf)
        is_flat, is_last = norm <= limits.tol, self.n_iter >= limits.max_iter
        is_idle = self.stalled if limits.patience is None else self.waited >= limits.patience
        if not (is_flat | is_last | is_idle | self.stalled | ~is_sound).any():
            return None
        # Of several reasons to end, the last one here counts.
        status = np.where(is_last, int(Status.MAX_ITER), 0)
        status[is_idle] = Status.PLATEAU
        status[self.stalled] = Status.STALLED
        status[is_flat] = Status.CONVERGED
        status[~is_sound] = Status.DIVERGED
        return status

    def moved(
        self, trial: Point, judged: Float64Array, accepted: BoolArray | None, limits: Limits
    ) -> _State:
        """Return the state after a round of trials, those accepted made (None: all)."""
        better = judged < self.best_judged
        if accepted is None:
            point, n_iter = trial, self.n_iter + 1
        else:
            point = _where(accepted, trial, self.point)
            n_iter = self.n_iter + accepted
            judged = np.where(accepted, judged, self.judged)
            better &= accepted
        better &= trial.loss > -np.inf
        target, waited = self.target, self.waited
        if limits.patience is not None:
            progress = judged < target
            waited = np.where(progress, 0, waited + (n_iter - self.n_iter))
            target = np.where(progress, judged - limits.min_delta, target)
        best = trial if better.all() else _where(better, trial, self.best, trial.gradient)
        return self._replace(
            point=point,
            judged=judged,
            best=best,
            best_judged=np.where(better, judged, self.best_judged),
            best_iter=np.where(better, n_iter, self.best_iter),
            n_iter=n_iter,
            target=target,
            waited=waited,
        )


def descend(
    evaluation: Evaluation,
    rule: Rule,
    theta: Float64Array,
    limits: Limits,
    epoch: Callable[[int], list[Any]] | None,
    held_out: HeldOut | None = None,
) -> DescentResult:
    """Run K descents; with `epoch`, which gives the mini-batches of an epoch, by those.

    With held-out rows, these judge which theta of a descent is its best, and that is its end. They
    are asked after each step, and the gradients of all rows after an epoch are not: the loss of an
    epoch is the mean over its mini-batches, as it went through them.
    """
    history: list[tuple[IndexArray, Float64Array, Float64Array]] = []
    ends = _Ends(theta.shape, held_out)
    everyone = evaluation
    state: _State | None = None
    n_rounds = 0
    try:
        point = evaluation.point(theta)
        state = _start(
            point, point.loss if held_out is None else held_out.loss(theta), rule, limits
        )
        history.append((state.runs, state.point.loss, state.judged))
        while True:
            status = state.status(limits)
            if held_out is not None:
                status = held_out.judge(n_rounds, state.runs, state.best_judged, status)
            if status is not None:
                over = status > 0
                ends.put(state, over, status)
                if over.all():
                    break
                state = state.take(~over)
                rule.keep(~over)
                evaluation = evaluation.of(~over)
            if epoch is None:
                with np.errstate(all="ignore"):
                    theta = rule.propose(state.point)
                trial = evaluation.point(theta)
            else:
                trial = _visit(epoch(n_rounds), evaluation, rule, state.point)
                if held_out is None:
                    trial = evaluation.point(trial.theta)
            accepted, stalled = rule.accept(state.point, trial)
            made = slice(None) if accepted is None else accepted
            judged = trial.loss
            if held_out is not None:
                judged = state.judged.copy()
                judged[made] = held_out.loss(trial.theta[made])
            history.append((state.runs[made], trial.loss[made], judged[made]))
            rate = np.array(np.broadcast_to(rule.learning_rate[:, 0], state.runs.shape))
            moved = state.moved(trial, judged, accepted, limits)
            if accepted is not None:
                moved = moved._replace(stalled=stalled)
            state = moved._replace(rate=rate, entries=len(history))
            n_rounds += 1
        if epoch is not None and held_out is not None:
            ends.measure(everyone)
    except KeyboardInterrupt:
        if state is None:
            raise
        status = np.full(len(state.runs), int(Status.INTERRUPTED))
        ends.put(state, status > 0, status)
    return ends.result(history[: state.entries])


def _visit(batches: list[Any], evaluation: Evaluation, rule: Rule, point: Point) -> Point:
    """Return where steps along mini-batches lead, and the mean of the losses on the way there.

    The gradient is that of the last one.
    """
    theta, gradient, total = point.theta, point.gradient, np.zeros(len(point.theta))
    for batch in batches:
        loss, gradient = evaluation.loss_gradient(batch, theta)
        with np.errstate(all="ignore"):
            total += loss
            theta = rule.step(theta, gradient)
    return Point(
        theta,
        total / max(len(batches), 1),
        gradient,
        np.maximum.reduce(np.abs(gradient), axis=1),
    )


def _start(point: Point, judged: Float64Array, rule: Rule, limits: Limits) -> _State:
    runs, zeros = np.arange(len(point.loss)), np.zeros(len(point.loss), np.intp)
    with np.errstate(all="ignore"):
        ceiling = DIVERGED * (1 + np.abs(point.loss))
    return _State(
        runs=runs,
        point=point,
        judged=judged,
        best=point,
        best_judged=judged,
        best_iter=zeros,
        ceiling=np.minimum(ceiling, np.finfo(np.float64).max),
        rate=np.array(np.broadcast_to(rule.learning_rate[:, 0], runs.shape)),
        n_iter=zeros,
        stalled=zeros > 0,
        target=judged - limits.min_delta,
        waited=zeros,
        entries=1,
    )


def _where(chosen: BoolArray, a: Point, b: Point, gradient: Float64Array | None = None) -> Point:
    """Return a's rows where chosen, else b's; gradients are chosen, too, unless they are given."""
    if not chosen.any():
        return b
    column = chosen[:, None]
    if gradient is None:
        gradient = np.where(column, a.gradient, b.gradient)
    return Point(
        np.where(column, a.theta, b.theta),
        np.where(chosen, a.loss, b.loss),
        gradient,
        np.where(chosen, a.norm, b.norm),
    )


class _Ends:
    """Ends of descents, by their numbers."""

    def __init__(self, shape: tuple[int, ...], held_out: HeldOut | None) -> None:
        self.is_judged = held_out is not None
        self.with_best = list(Status) if self.is_judged else WITH_BEST
        self.theta = np.empty(shape)
        self.loss, self.norm, self.rate, self.judged = np.empty((4, shape[0]))
        self.n_iter, self.best_iter, self.status = np.zeros((3, shape[0]), np.intp)

    def put(self, state: _State, over: BoolArray, status: IndexArray) -> None:
        runs = state.runs[over]
        end = _where(np.isin(status, self.with_best), state.best, state.point).take(over)
        self.theta[runs], self.loss[runs], self.norm[runs] = end.theta, end.loss, end.norm
        self.rate[runs], self.n_iter[runs] = state.rate[over], state.n_iter[over]
        self.judged[runs], self.best_iter[runs] = state.best_judged[over], state.best_iter[over]
        self.status[runs] = status[over]

    def measure(self, evaluation: Evaluation) -> None:
        """Ask for the losses and gradients where the descents ended."""
        point = evaluation.point(self.theta)
        self.loss, self.norm = point.loss, point.norm

    def result(self, history: list[tuple[IndexArray, Float64Array, Float64Array]]) -> DescentResult:
        trace, judged = np.full((2, len(self.loss), int(self.n_iter.max()) + 1), np.nan)
        length = np.zeros(len(self.loss), np.intp)
        for runs, losses, judgements in history:
            trace[runs, length[runs]] = losses
            judged[runs, length[runs]] = judgements
            length[runs] += 1
        return DescentResult(
            theta=self.theta,
            loss=self.loss,
            gradient_norm=self.norm,
            n_iter=self.n_iter,
            status=np.array(STATUSES)[self.status],
            learning_rate=self.rate,
            trace=trace,
            validation_loss=self.judged if self.is_judged else None,
            best_iter=self.best_iter if self.is_judged else None,
            validation_trace=judged if self.is_judged else None,
        )
