"""Meta gradient descent: theta <- theta - eta * grad L(theta), for one theta or many at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.descent.first_order import (
    AdaGrad,
    Adam,
    AdamW,
    GradientDescent,
    Momentum,
    Nesterov,
    RMSProp,
)
from metaopt_fast.descent.held_out import read_held_out
from metaopt_fast.descent.line_search import LBFGS, SteepestDescent
from metaopt_fast.descent.loop import Evaluation, Limits, descend
from metaopt_fast.descent.options import PerDescent
from metaopt_fast.descent.result import DescentResult, unlike_columns
from metaopt_fast.descent.rule import Rule
from metaopt_fast.descent.schedules import Schedule, Scheduled
from metaopt_fast.descent.starts import read_starts
from metaopt_fast.objectives.penalties import L2, Penalty
from metaopt_fast.runs.evaluation import (
    is_batch_differentiable,
    is_differentiable,
    is_minibatched,
    is_penalised,
    is_smooth,
    traits,
)
from metaopt_fast.runs.provenance import model_of_objective
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.typing import (
    BatchDifferentiable,
    DescentMethod,
    Differentiable,
    Float64Array,
    Objective,
    SamplerLike,
)
from metaopt_fast.validation.overrides import check_overrides, has_method, is_same_kind
from metaopt_fast.validation.values import (
    check_integer,
    check_number,
    describe,
)

__all__ = ["METHODS", "DescentResult", "gradient_descent"]

RULES: dict[str, type[Rule]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
    "lbfgs": LBFGS,
}
METHODS = tuple(RULES)

# Below any norm of a gradient: by mini-batches, held-out rows judge alone.
NO_TOL = -1.0

# From an epoch's number to the objectives of its mini-batches.
Epoch = Callable[[int], list[Any]]


def gradient_descent(
    objective: Differentiable | BatchDifferentiable,
    theta0: npt.ArrayLike | SamplerLike | None = None,
    *,
    n_starts: int | None = None,
    learning_rate: npt.ArrayLike | Schedule | None = None,
    method: DescentMethod = "gd",
    max_iter: int = 1000,
    tol: float = 1e-6,
    validation: Objective | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    l2: npt.ArrayLike | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    momentum: npt.ArrayLike | None = None,
    restart: bool | None = None,
    betas: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    alpha: npt.ArrayLike | None = None,
    eps: npt.ArrayLike | None = None,
    weight_decay: npt.ArrayLike | None = None,
    history_size: int | None = None,
) -> DescentResult:
    """Descend from theta0 along the gradient; from many at once, as one computation.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``loss_gradient(theta)`` and ``n_params``
        Many descents use ``batch_loss_gradient(thetas)`` where there is one that knows of every
        override: not where a class overrides ``loss_gradient`` alone, nor ``lipschitz()``. A class
        that overrides its losses or ``gradient`` without either of the two is refused.
    theta0 : array_like of shape (n_params,) or (K, n_params), or a sampler, optional
        The start, or those of K descents; by default zeros. With K, or without theta0, numbers
        below that say so may be arrays of shape (K,), one for each descent. Of a sampler (Normal,
        Uniform, Integers, Mixture, one of your own, or a callable as of `random_search`), start k
        is candidate k of the seed.
    n_starts : int, optional
        K, the starts that are drawn from a sampler; without it, the sampler gives one descent.
    learning_rate : float, array_like of shape (K,) or schedule, optional
        The step size eta > 0, or how it changes from step to step: `cosine_decay`,
        `exponential_decay` or `piecewise_constant`, for any method but "lbfgs". By default
        1 / ``objective.lipschitz()`` for "gd", "momentum" and "nesterov", with which the loss of a
        convex objective falls at every step of "gd"; 0.01 for "adagrad" and "rmsprop", 0.001 for
        "adam" and "adamw", and 1 for "lbfgs". For "gd" on an objective without a finite
        lipschitz(), each step is searched for: eta begins at twice the last one (first at 1) and is
        halved until the loss falls by at least half of what the gradient promises (Armijo's
        condition). "lbfgs" halves it in the same way.
    method : {"gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs"}
        The update rule; by default "gd". "adagrad", "rmsprop", "adam" and "adamw" have PyTorch's
        formulas and defaults, "momentum" the formula of its SGD.
    max_iter : int, default 1000
        Number of steps at most, or of epochs of mini-batches; 0 evaluates theta0 alone.
    tol : float, default 1e-6
        Size of the gradient's entries, of all rows, at which the descent has converged. By
        mini-batches with `validation`, nobody asks for that gradient.
    validation : LogisticLoss or any object with ``batch_loss(thetas)`` and ``n_params``, optional
        Rows that judge, with l2=0: they are asked after each step, and the theta of their lowest
        loss is the result, whatever ends the descent. By mini-batches, an epoch does not end with a
        look at all training rows then, which takes half of its time.
    patience : int, optional
        Steps for which the lowest loss, with `validation` that of held-out rows, may fall by no
        more than `min_delta` before the descent ends.
    min_delta : float, default 0
        Fall of the loss that counts; see `patience`.
    l2 : float or array_like of shape (K,), optional
        Strength of the penalty, >= 0, in place of the objective's own: of one that has ``l2`` and
        no ``with_l2(l2)`` that knows of every override, at least as much as it has.
    batch_size : int, optional
        Rows of a mini-batch: each step follows the gradient of the next so many rows. An iteration
        is an epoch, in which each row of positive weight is visited once, and after which the loss
        of all rows is asked for, or that of `validation`. All K descents share the rows. Needs
        ``objective.minibatches``.
    seed : int, default 0
        Seed of the order of rows in each epoch, and of starts that are drawn.
    momentum : float or array_like of shape (K,), optional
        Part of the velocity that a step keeps, in [0, 1). By default 0.9 for "momentum" and 0 for
        "rmsprop". "nesterov" with a number is PyTorch's ``SGD(nesterov=True)``; without one, it
        follows Nesterov's growing sequence.
    restart : bool, optional
        Whether "nesterov" forgets the velocity where it points uphill. By default True without
        `momentum`, else False.
    betas : pair of float or array_like of shape (K,), default (0.9, 0.999)
        Decay rates of "adam" and "adamw", in [0, 1).
    alpha : float or array_like of shape (K,), default 0.99
        Decay rate of "rmsprop", in [0, 1).
    eps : float or array_like of shape (K,), optional
        Number, > 0, added to the root of squares: 1e-10 for "adagrad", else 1e-8.
    weight_decay : float or array_like of shape (K,), default 0.01
        Decay of each entry in "adamw", >= 0.
    history_size : int, default 10
        Steps that "lbfgs" remembers.

    Returns
    -------
    DescentResult
        Its ``status`` says why the descent ended: a divergence is a result, not an error. Of K
        descents, each has the bits of the same descent alone, where the objective's batches have
        (those of LogisticLoss do). Ctrl-C ends them, too; KeyboardInterrupt is raised only if
        nothing was evaluated.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or is none of the method's.

    References
    ----------
    .. [1] L. Armijo, "Minimization of functions having Lipschitz continuous first partial
       derivatives", Pacific Journal of Mathematics 16 (1966); where rounding hides the fall of the
       loss, W. W. Hager and H. Zhang, SIAM Journal on Optimization 16 (2005).
    .. [2] B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
       Computational Mathematics and Mathematical Physics 4 (1964).
    .. [3] Y. Nesterov, "A method of solving a convex programming problem with convergence rate
       O(1/k^2)", Soviet Mathematics Doklady 27 (1983); B. O'Donoghue and E. Candes, "Adaptive
       restart for accelerated gradient schemes", Foundations of Computational Mathematics 15
       (2015).
    .. [4] J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods", JMLR 12 (2011).
    .. [5] T. Tieleman and G. Hinton, "RMSProp", Coursera: Neural Networks for Machine Learning,
       lecture 6.5 (2012).
    .. [6] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [7] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    .. [8] J. Nocedal, "Updating quasi-Newton matrices with limited storage", Mathematics of
       Computation 35 (1980).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], l2=0.1)
    >>> run = mf.gradient_descent(objective)
    >>> run.status
    'converged'

    Three strengths of the penalty at once:

    >>> runs = mf.gradient_descent(objective, method="lbfgs", l2=[0.01, 0.1, 1.0])
    >>> runs.theta.round(3).tolist()
    [[3.078], [1.513], [0.452]]

    Each until three steps have not made the loss of held-out rows smaller:

    >>> held_out = mf.LogisticLoss([[0.5], [0.2]], [1, 0])
    >>> runs = mf.gradient_descent(
    ...     objective,
    ...     learning_rate=mf.cosine_decay(1.0, 20),
    ...     l2=[0.1, 1.0],
    ...     validation=held_out,
    ...     patience=3,
    ... )
    >>> runs.n_iter.tolist(), runs.best_iter.tolist()
    ([23, 4], [20, 1])
    """
    kind = _check_objective(objective, method)
    held_out = None
    if validation is not None:
        held_out = read_held_out(objective, validation)
    limits = Limits(
        check_integer("max_iter", max_iter, 0),
        check_number("tol", tol, 0.0),
        None if patience is None else check_integer("patience", patience, 1),
        check_number("min_delta", min_delta, 0.0),
    )
    if held_out is not None and batch_size is not None:
        limits = limits._replace(tol=NO_TOL)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    theta = read_starts(int(objective.n_params), theta0, n_starts, seed)
    descents = PerDescent(theta)
    schedule = learning_rate if isinstance(learning_rate, Schedule) else None
    rate = _read_rate(descents, learning_rate, schedule, kind, method)
    strength = descents.read("l2", l2, 0.0)
    given = {
        "momentum": momentum,
        "restart": restart,
        "betas": betas,
        "alpha": alpha,
        "eps": eps,
        "weight_decay": weight_decay,
        "history_size": history_size,
    }
    options = kind.read_options(method, given, descents)
    penalty = None
    if strength is not None:
        strengths = np.broadcast_to(strength, descents.n_runs or 1)
        objective, penalty = _with_penalty(objective, strengths)
    epoch = None if batch_size is None else _epochs(objective, batch_size, seed, method)

    start = np.zeros((descents.n_runs or 1, objective.n_params)) if theta is None else theta
    evaluation = Evaluation(objective, penalty)
    if rate is None and kind.default_rate is not None:
        rate = np.array(kind.default_rate)
    if rate is None:
        rate = _safe_rate(objective, penalty)
    rule = _make_rule(method, np.atleast_2d(start).shape, descents, rate, options, epoch)
    rule = rule if schedule is None else Scheduled(rule, schedule)
    runs = descend(evaluation, rule, np.atleast_2d(start), limits, epoch, held_out)
    config = {**model_of_objective(objective), **unlike_columns(objective, runs)}
    runs = replace(runs, config=config)
    return runs[0] if descents.n_runs is None else runs


def _read_rate(
    descents: PerDescent, rate: Any, schedule: Schedule | None, kind: type[Rule], method: str
) -> Float64Array | None:
    """Return the learning rates that are given, or those that a schedule begins with."""
    if schedule is None:
        return descents.read("learning_rate", rate, 0.0, strictly=True)
    if kind.needs_all_rows:
        raise ValueError(
            f"learning_rate is a schedule, but method {method!r} searches for the length of its "
            "steps: pass a number, or another method."
        )
    return descents.read("init_value", schedule.init_value, 0.0, strictly=True)


def _with_penalty(objective: Any, strengths: Float64Array) -> tuple[Any, Penalty]:
    """Return an objective, and the penalty to be added for the descents to have these strengths.

    The difference of two penalties would lose what is small beside them, so the objective's own is
    left out, where it can be. More than there is may be added to any.
    """
    own = float(traits(objective).l2 or 0.0)
    if own != 0 and is_penalised(objective):
        objective, own = objective.with_l2(0.0), 0.0
    if strengths.min() < own:
        raise ValueError(
            f"l2 has {float(strengths.min())!r}, less than the {own:g} that {describe(objective)} "
            "adds itself: pass at least that, or give it a method with_l2."
        )
    strengths = strengths - own
    if has_method(objective, "_penalty_of"):  # of ours
        return objective, objective._penalty_of(strengths)
    n_penalised = int(objective.n_params) - bool(traits(objective).fit_intercept)
    return objective, L2(strengths, n_penalised)


def _make_rule(
    method: str,
    shape: tuple[int, ...],
    descents: PerDescent,
    rate: Float64Array | None,
    options: dict[str, Any],
    epoch: Epoch | None,
) -> Rule:
    """Return the method's update rule with its arguments, each a column over the descents."""
    kind, (n_runs, n_params) = RULES[method], shape
    if rate is None:
        if kind is not GradientDescent or epoch is not None:
            raise ValueError(
                "learning_rate is None, but objective.lipschitz() gives no finite number to choose "
                "one by: pass a learning rate."
            )
        return SteepestDescent((n_runs, n_params), descents.spread(0.5))
    columns = {name: kind.options[name].spread(descents, options[name]) for name in options}
    rule: Rule = kind((n_runs, n_params), descents.spread(rate), **columns)
    return rule


def _safe_rate(objective: Any, penalty: Penalty | None) -> Float64Array | None:
    """Return the step sizes with which the loss falls at every step, if the objective knows them.

    One for each descent, or for all.
    """
    if not is_smooth(objective):
        return None
    try:
        lipschitz = float(objective.lipschitz())
    except np.linalg.LinAlgError:  # of an objective of the user's own
        return None
    if not 0 <= lipschitz < math.inf:
        return None
    curvature = np.array([lipschitz])
    with np.errstate(all="ignore"):
        if penalty is not None:
            curvature = curvature + penalty.curvatures
        rate = np.minimum(1 / curvature, sys.float_info.max)
    # Rows of zeros: the gradient is zero, whatever the step.
    return np.asarray(np.where(curvature > 0, rate, 1.0))


def _check_objective(objective: Any, method: object) -> type[Rule]:
    """Return the update rule of a method, if the objective can be descended."""
    if not is_differentiable(objective):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "loss_gradient and an attribute n_params."
        )
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method is {describe(method)}: pass one of {', '.join(map(repr, METHODS))}."
        )
    check_integer("objective.n_params", objective.n_params, 1)
    asked = "batch_loss_gradient" if is_batch_differentiable(objective) else "loss_gradient"
    check_overrides("objective", objective, asked, "loss", "batch_loss", "gradient")
    return RULES[method]


def _epochs(objective: Any, batch_size: object, seed: int, method: str) -> Epoch:
    """Return the function from an epoch's number to its mini-batches."""
    if RULES[method].needs_all_rows:
        raise ValueError(
            f"batch_size is given, but method {method!r} needs the gradient of all rows: leave it "
            "out."
        )
    if not is_minibatched(objective):
        raise TypeError(
            f"batch_size is given, but objective is {describe(objective)}, which has no method "
            "minibatches: leave batch_size out."
        )
    n_samples = check_integer("objective.n_samples", objective.n_samples, 1)
    size = check_integer("batch_size", batch_size, 1, n_samples)
    return partial(_minibatches, objective, size, seed)


def _minibatches(objective: Any, size: int, seed: int, epoch: int) -> list[Any]:
    batches: list[Any] = objective.minibatches(size, seed=seed, epoch=epoch)
    for batch in batches:
        if not is_same_kind(batch, objective, "minibatches"):
            raise TypeError(
                f"objective is {describe(objective)}, but its minibatches are objectives of "
                f"{type(batch).__name__}, with another loss_gradient: override minibatches as well."
            )
    return batches
