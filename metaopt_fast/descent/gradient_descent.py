"""Meta gradient descent: theta <- theta - eta * grad L(theta), for one theta or many at once."""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.descent.first_order import LBFGS, RULES, Rule, SteepestDescent
from metaopt_fast.descent.loop import Evaluation, Limits, descend
from metaopt_fast.descent.result import DescentResult
from metaopt_fast.objectives.penalties import L2, Penalty
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.overrides import check_overrides, is_same_kind, may_ask
from metaopt_fast.validation.values import (
    as_real_array,
    check_integer,
    check_number,
    describe,
    to_float64,
)

__all__ = ["METHODS", "DescentResult", "gradient_descent"]

METHODS = tuple(RULES)


def gradient_descent(
    objective: Any,
    theta0: npt.ArrayLike | None = None,
    *,
    learning_rate: npt.ArrayLike | None = None,
    method: str = "gd",
    max_iter: int = 1000,
    tol: float = 1e-6,
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
    theta0 : array_like of shape (n_params,) or (K, n_params), optional
        The start, or those of K descents; by default zeros. With K, or without theta0, numbers
        below that say so may be arrays of shape (K,), one for each descent.
    learning_rate : float or array_like of shape (K,), optional
        The step size eta > 0. By default 1 / ``objective.lipschitz()`` for "gd", "momentum" and
        "nesterov", with which the loss of a convex objective falls at every step of "gd"; 0.01 for
        "adagrad" and "rmsprop", 0.001 for "adam" and "adamw", and 1 for "lbfgs". For "gd" on an
        objective without a finite lipschitz(), each step is searched for: eta begins at twice the
        last one (first at 1) and is halved until the loss falls by at least half of what the
        gradient promises (Armijo's condition). "lbfgs" halves it in the same way.
    method : {"gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs"}
        The update rule; by default "gd". "adagrad", "rmsprop", "adam" and "adamw" have PyTorch's
        formulas and defaults, "momentum" the formula of its SGD.
    max_iter : int, default 1000
        Steps at most, or epochs of mini-batches; 0 evaluates theta0 alone.
    tol : float, default 1e-6
        The descent has converged where no entry of the gradient of all rows is larger.
    patience : int, optional
        End, too, when the lowest loss has not fallen by more than `min_delta` for so many steps.
    min_delta : float, default 0
        See `patience`.
    l2 : float or array_like of shape (K,), optional
        The strength of the penalty, >= 0, in place of the objective's own.
    batch_size : int, optional
        Rows of a mini-batch: each step follows the gradient of the next so many rows. An iteration
        is an epoch, in which each row of positive weight is visited once, and after which the loss
        of all rows is asked for. All K descents share the rows. Needs ``objective.minibatches``.
    seed : int, default 0
        Of the order of rows in each epoch.
    momentum : float or array_like of shape (K,), optional
        In [0, 1). By default 0.9 for "momentum" and 0 for "rmsprop". "nesterov" with a number is
        PyTorch's ``SGD(nesterov=True)``; without one, it follows Nesterov's growing sequence.
    restart : bool, optional
        Of "nesterov": forget the velocity where it points uphill. By default True without
        `momentum`, else False.
    betas : pair of float or array_like of shape (K,), default (0.9, 0.999)
        Decay rates of "adam" and "adamw", in [0, 1).
    alpha : float or array_like of shape (K,), default 0.99
        Decay rate of "rmsprop", in [0, 1).
    eps : float or array_like of shape (K,), optional
        Added to the root of squares, > 0: 1e-10 for "adagrad", else 1e-8.
    weight_decay : float or array_like of shape (K,), default 0.01
        Of "adamw", >= 0.
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
    """
    _check_objective(objective, method)
    max_iter = check_integer("max_iter", max_iter, 0)
    patience = None if patience is None else check_integer("patience", patience, 1)
    limits = Limits(
        max_iter,
        check_number("tol", tol, 0.0),
        patience,
        check_number("min_delta", min_delta, 0.0),
    )
    theta = _check_theta0(objective, theta0)
    columns = _Columns(theta)
    rate = columns.read("learning_rate", learning_rate, 0.0, strictly=True)
    strength = columns.read("l2", l2, 0.0)
    given = {
        "momentum": columns.read("momentum", momentum, 0.0, 1.0),
        "restart": _check_restart(restart),
        "betas": _check_betas(columns, betas),
        "alpha": columns.read("alpha", alpha, 0.0, 1.0),
        "eps": columns.read("eps", eps, 0.0, strictly=True),
        "weight_decay": columns.read("weight_decay", weight_decay, 0.0),
        "history_size": None
        if history_size is None
        else check_integer("history_size", history_size, 1, 2**16),
    }
    epoch = None if batch_size is None else _epochs(objective, batch_size, method)
    seed = check_integer("seed", seed, 0, MAX_SEED)

    n_runs = columns.n_runs or 1
    start = np.zeros((n_runs, objective.n_params)) if theta is None else np.atleast_2d(theta)
    penalty = None
    if strength is not None:
        more = columns.spread(strength)[:, 0] - float(getattr(objective, "l2", 0.0))
        penalty = L2(more, objective.n_params - bool(getattr(objective, "fit_intercept", False)))
    rule = _make_rule(objective, method, start.shape, columns, rate, given, penalty, epoch)
    batches = None if epoch is None else partial(epoch, seed=seed)
    runs = descend(Evaluation(objective, penalty), rule, start, limits, batches)
    return runs[0] if columns.n_runs is None else runs


class _Columns:
    """Numbers that may differ between K descents, and K, which the first array among them sets."""

    def __init__(self, theta: Float64Array | None) -> None:
        self.n_runs = len(theta) if theta is not None and theta.ndim == 2 else None
        self.is_free = theta is None

    def read(
        self,
        name: str,
        value: object,
        low: float,
        below: float = math.inf,
        *,
        strictly: bool = False,
    ) -> Float64Array | None:
        """Return finite numbers from low (above it, if `strictly`) to below `below`, or None."""
        if value is None:
            return None
        if self.n_runs is None and not self.is_free:
            array = np.array(check_number(name, value, low, strictly=strictly))
        else:
            wanted = "a number, or an array of shape (K,) for K descents"
            real = as_real_array(name, value, None, wanted)
            if real.dtype.kind == "b":
                raise TypeError(f"{name} is {describe(value)}: pass {wanted}.")
            array = to_float64(real).reshape(real.shape)
        if array.ndim:
            self._check_length(name, len(array))
        wrong = ~np.isfinite(array) | (array < low) | (array >= below)
        if strictly:
            wrong |= array == low
        if wrong.any():
            bad = float(array[wrong].flat[0])
            span = f"above {low:g}" if strictly else f"of at least {low:g}"
            if below < math.inf:
                span += f" and below {below:g}"
            raise ValueError(f"{name} has {bad!r}: pass finite numbers {span}.")
        return array

    def _check_length(self, name: str, length: int) -> None:
        if length == 0:
            raise ValueError(f"{name} is empty: pass a number, or one for each descent.")
        if self.n_runs is None:
            self.n_runs = length
        if length != self.n_runs:
            raise ValueError(
                f"{name} has {length} entries, but there are {self.n_runs} descents: pass a "
                f"number, or an array of shape ({self.n_runs},)."
            )

    def spread(self, value: npt.ArrayLike) -> Float64Array:
        """Return a column of the numbers of all descents."""
        spread = np.empty((self.n_runs or 1, 1))
        spread[:, 0] = value
        return spread


def _make_rule(
    objective: Any,
    method: str,
    shape: tuple[int, ...],
    columns: _Columns,
    rate: Float64Array | None,
    given: dict[str, Any],
    penalty: Penalty | None,
    epoch: Any,
) -> Rule:
    """Return the method's update rule with its arguments, each a column over the descents."""
    kind, options = RULES[method], {}
    for name, value in given.items():
        if name not in kind.defaults:
            if value is not None:
                raise ValueError(
                    f"{name} is given, but method {method!r} does not use it: leave it out."
                )
            continue
        value = kind.defaults[name] if value is None else value
        if isinstance(value, tuple):
            value = tuple(columns.spread(beta) for beta in value)
        elif value is not None and name not in ("restart", "history_size"):
            value = columns.spread(value)
        options[name] = value
    if rate is None and kind.default_rate is not None:
        rate = np.array(kind.default_rate)
    learning_rate = _safe_rate(objective, penalty) if rate is None else columns.spread(rate)
    if learning_rate is None:
        if method != "gd" or epoch is not None:
            raise ValueError(
                "learning_rate is None, but objective.lipschitz() gives no finite number to choose "
                "one by: pass a learning rate."
            )
        return SteepestDescent((shape[0], shape[1]), columns.spread(0.5))
    if learning_rate.shape != (shape[0], 1):
        learning_rate = columns.spread(learning_rate[0, 0])
    rule: Rule = kind((shape[0], shape[1]), learning_rate, **options)
    return rule


def _safe_rate(objective: Any, penalty: Penalty | None) -> Float64Array | None:
    """Return the step size with which the loss falls at every step, if the objective knows it."""
    if not may_ask(objective, "lipschitz"):
        return None
    try:
        lipschitz = float(objective.lipschitz())
    except np.linalg.LinAlgError:  # of an objective of the user's own
        return None
    if not 0 <= lipschitz < math.inf:
        return None
    curvature = np.full((1, 1), lipschitz)
    with np.errstate(all="ignore"):
        if penalty is not None:
            curvature = curvature + penalty.curvatures[:, None]
        rate = np.minimum(1 / curvature, sys.float_info.max)
    # Rows of zeros: the gradient is zero, whatever the step.
    return np.asarray(np.where(curvature > 0, rate, 1.0))


def _check_objective(objective: Any, method: object) -> None:
    methods = ("loss_gradient", "batch_loss_gradient")
    has_one = any(callable(getattr(objective, name, None)) for name in methods)
    if not has_one or not hasattr(objective, "n_params"):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "loss_gradient and an attribute n_params."
        )
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(
            f"method is {describe(method)}: pass one of {', '.join(map(repr, METHODS))}."
        )
    check_integer("objective.n_params", objective.n_params, 1)
    asked = "batch_loss_gradient" if may_ask(objective, "batch_loss_gradient") else "loss_gradient"
    check_overrides("objective", objective, asked, "loss", "batch_loss", "gradient")


def _check_theta0(objective: Any, theta0: npt.ArrayLike | None) -> Float64Array | None:
    """Return the start as a copy: the result must not change with theta0."""
    if theta0 is None:
        return None
    n_params = int(objective.n_params)
    is_many = _is_matrix(theta0)
    ndim, wanted = (2, f"(K, {n_params})") if is_many else (1, f"({n_params},)")
    array = as_real_array("theta0", theta0, ndim, f"an array of shape {wanted}")
    theta = np.array(to_float64(array))
    if theta.shape[-1] != n_params:
        noun = "columns" if is_many else "entries"
        raise ValueError(
            f"theta0 has {theta.shape[-1]} {noun}, but the objective has {n_params} parameters: "
            f"pass theta0 of shape {wanted}."
        )
    if theta.size == 0:
        raise ValueError(f"theta0 is empty: pass an array of shape {wanted}.")
    if not np.isfinite(theta).all():
        raise ValueError("theta0 has an entry that is not finite: pass finite numbers.")
    return theta


def _is_matrix(value: Any) -> bool:
    try:
        return np.ndim(value) == 2
    except (ValueError, TypeError):  # ragged, or nothing like an array
        return False


def _check_restart(restart: object) -> bool | None:
    if restart is not None and not isinstance(restart, (bool, np.bool_)):
        raise TypeError(f"restart is {describe(restart)}: pass True, False or None.")
    return None if restart is None else bool(restart)


def _check_betas(
    columns: _Columns, betas: Any
) -> tuple[Float64Array | None, Float64Array | None] | None:
    if betas is None:
        return None
    if (
        not isinstance(betas, (tuple, list))
        or len(betas) != 2
        or any(beta is None for beta in betas)
    ):
        raise TypeError(f"betas is {describe(betas)}: pass a pair of numbers in [0, 1).")
    return (
        columns.read("betas[0]", betas[0], 0.0, 1.0),
        columns.read("betas[1]", betas[1], 0.0, 1.0),
    )


def _epochs(objective: Any, batch_size: object, method: str) -> Any:
    """Return the function from an epoch's number and seed to its mini-batches."""
    if RULES[method] is LBFGS:
        raise ValueError(
            "batch_size is given, but method 'lbfgs' needs the gradient of all rows: leave it out."
        )
    if not callable(getattr(objective, "minibatches", None)):
        raise TypeError(
            f"batch_size is given, but objective is {describe(objective)}, which has no method "
            "minibatches: leave batch_size out."
        )
    n_samples = check_integer("objective.n_samples", objective.n_samples, 1)
    size = check_integer("batch_size", batch_size, 1, n_samples)
    return partial(_epoch, objective, size)


def _epoch(objective: Any, size: int, epoch: int, *, seed: int) -> list[Any]:
    batches: list[Any] = objective.minibatches(size, seed=seed, epoch=epoch)
    for batch in batches:
        if not is_same_kind(batch, objective, "minibatches"):
            raise TypeError(
                f"objective is {describe(objective)}, but its minibatches are objectives of "
                f"{type(batch).__name__}, with another loss_gradient: override minibatches as well."
            )
    return batches
