"""Meta gradient descent: theta <- theta - eta * grad L(theta)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation import as_real_array, check_integer, check_number, describe, to_float64

METHODS = ("gd",)

# A loss this many times the first one, or one that is not finite, is taken for a divergence.
DIVERGED = 1e6

# Relative to the loss: below it, gradients tell better than losses whether a step descends.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class DescentResult:
    """Where a gradient descent came to.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_params,)
        The last theta; after a divergence or an interrupt, the one of the lowest loss.
    loss : float
        The loss there.
    gradient_norm : float
        The largest absolute entry of the gradient there.
    n_iter : int
        Steps made.
    status : {"converged", "max_iter", "stalled", "diverged", "interrupted"}
        "stalled": no step along the gradient lowers the loss any more.
    learning_rate : float
        The size of the (last) step.
    trace : numpy.ndarray of shape (n_iter + 1,)
        The loss at the start and after each step.
    """

    theta: npt.NDArray[np.float64]
    loss: float
    gradient_norm: float
    n_iter: int
    status: str
    learning_rate: float
    trace: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        shown = [f"{value:.6g}" for value in self.theta[:6]] + ["..."] * (len(self.theta) > 6)
        return (
            f"DescentResult: {self.status} after {self.n_iter:,} steps of learning rate "
            f"{self.learning_rate:.3g}\n"
            f"  loss        {self.loss:.10g}\n"
            f"  max |grad|  {self.gradient_norm:.3g}\n"
            f"  theta       [{', '.join(shown)}]"
        )


def gradient_descent(
    objective: Any,
    theta0: npt.ArrayLike | None = None,
    *,
    learning_rate: float | None = None,
    method: str = "gd",
    max_iter: int = 1000,
    tol: float = 1e-6,
) -> DescentResult:
    """Descend from theta0 along the gradient.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``loss_gradient(theta)`` and ``n_params``
    theta0 : array_like of shape (n_params,), optional
        The start; by default zeros.
    learning_rate : float, optional
        The step size eta > 0. By default 1 / ``objective.lipschitz()``, with which the loss falls
        at every step of a convex objective. Where there is no such method, or it returns no finite
        number, each step is searched for, as in SciPy: eta begins at twice the last one (first at
        1) and is halved until the loss falls by at least half of what the gradient promises
        (Armijo's condition).
    method : {"gd"}, default "gd"
        "gd": theta <- theta - eta * gradient.
    max_iter : int, default 1000
        Steps at most; 0 evaluates theta0 alone.
    tol : float, default 1e-6
        The descent has converged where no entry of the gradient is larger.

    Returns
    -------
    DescentResult
        Its ``status`` says why the descent ended: a divergence is a result, not an error. Ctrl-C
        ends it, too; KeyboardInterrupt is raised only if nothing was evaluated.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    References
    ----------
    L. Armijo, "Minimization of functions having Lipschitz continuous first partial derivatives",
    Pacific Journal of Mathematics 16 (1966). Where rounding hides the fall of the loss, the
    condition is put in terms of gradients: W. W. Hager and H. Zhang, "A new conjugate gradient
    method with guaranteed descent and an efficient line search", SIAM Journal on Optimization 16
    (2005).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], l2=0.1)
    >>> run = mf.gradient_descent(objective)
    >>> run.status
    'converged'
    """
    theta, given_rate = _check(objective, theta0, learning_rate, method)
    max_iter = check_integer("max_iter", max_iter, 0)
    tol = check_number("tol", tol, 0.0)
    searches, rate = given_rate is None, given_rate or 0.5
    losses: list[float] = []
    status = "max_iter"
    try:
        last = best = _ask(objective, theta)
        losses.append(last.loss)
        while True:
            if last.is_beyond(losses[0]):
                status = "diverged"
            elif last.norm <= tol:
                status = "converged"
            if status != "max_iter" or len(losses) > max_iter:
                break
            if searches:
                found = _search_step(objective, last, 2 * rate)
                if found is None:
                    status = "stalled"
                    break
                last, rate = found
            else:
                last = _step(objective, last, rate)
            losses.append(last.loss)
            best = last if math.isfinite(last.loss) and last.loss < best.loss else best
    except KeyboardInterrupt:
        if not losses:
            raise
        status = "interrupted"
    end = best if status in ("diverged", "interrupted") else last
    return DescentResult(
        theta=end.theta,
        loss=end.loss,
        gradient_norm=end.norm,
        n_iter=len(losses) - 1,
        status=status,
        learning_rate=rate,
        trace=np.array(losses),
    )


class _Point(NamedTuple):
    """A theta, and what the objective says of it."""

    theta: npt.NDArray[np.float64]
    loss: float
    gradient: npt.NDArray[np.float64]
    norm: float

    def is_beyond(self, first_loss: float) -> bool:
        """Whether a descent that began at `first_loss` has diverged."""
        is_finite = math.isfinite(self.loss) and math.isfinite(self.norm)
        return not is_finite or self.loss > DIVERGED * (1 + abs(first_loss))


def _ask(objective: Any, theta: npt.NDArray[np.float64]) -> _Point:
    loss, gradient = objective.loss_gradient(theta)
    gradient = np.array(gradient, np.float64)  # a copy: the objective may use its array again
    if gradient.shape != theta.shape:
        raise ValueError(
            f"loss_gradient returned a gradient of shape {gradient.shape}: return one of shape "
            f"{theta.shape}, as theta."
        )
    return _Point(theta, float(loss), gradient, float(np.abs(gradient).max()))


def _step(objective: Any, point: _Point, rate: float) -> _Point:
    """Return the point one step on, of infinite loss where theta leaves the objective's range."""
    dtype = np.float32 if getattr(objective, "dtype", None) == "float32" else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        theta = point.theta - rate * point.gradient
    if not (np.abs(theta) <= np.finfo(dtype).max).all():
        return _Point(theta, math.inf, point.gradient, math.inf)
    return _ask(objective, theta)


def _search_step(objective: Any, point: _Point, rate: float) -> tuple[_Point, float] | None:
    """Halve the rate until the step descends; return where it leads, and the rate, if any does."""
    while True:
        following = _step(objective, point, rate)
        if np.array_equal(following.theta, point.theta):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            step = rate * point.gradient
            fall = float(step @ point.gradient) / 2
            slope = float(step @ following.gradient)
        if following.loss <= point.loss - fall:
            return following, rate
        if slope >= 0 and following.loss <= point.loss + ROUNDING * abs(point.loss):
            return following, rate
        rate /= 2


def _check(
    objective: Any, theta0: npt.ArrayLike | None, learning_rate: object, method: object
) -> tuple[npt.NDArray[np.float64], float | None]:
    """Return the start and the step size (None: to be searched), or raise an error."""
    if not callable(getattr(objective, "loss_gradient", None)) or not hasattr(
        objective, "n_params"
    ):
        raise TypeError(
            f"objective is {describe(objective)}: pass a LogisticLoss, or an object with a method "
            "loss_gradient and an attribute n_params."
        )
    if method not in METHODS:
        raise ValueError(
            f"method is {describe(method)}: pass one of {', '.join(map(repr, METHODS))}."
        )
    n_params = check_integer("objective.n_params", objective.n_params, 1)
    theta = np.zeros(n_params)
    if theta0 is not None:
        theta = as_real_array("theta0", theta0, 1, f"an array of shape ({n_params},)")
        theta = np.array(to_float64(theta))  # a copy: the result must not change with theta0
        if theta.shape != (n_params,):
            raise ValueError(
                f"theta0 has {len(theta)} entries, but the objective has {n_params} parameters: "
                f"pass theta0 of shape ({n_params},)."
            )
        if not np.isfinite(theta).all():
            raise ValueError("theta0 has an entry that is not finite: pass finite numbers.")
    if learning_rate is not None:
        return theta, check_number("learning_rate", learning_rate, 0.0, strictly=True)
    return theta, _safe_rate(objective)


def _safe_rate(objective: Any) -> float | None:
    """Return the step size with which the loss falls at every step, if the objective knows it."""
    if not hasattr(objective, "lipschitz"):
        return None
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            lipschitz = float(objective.lipschitz())
    except np.linalg.LinAlgError:  # numbers whose squares overflow
        return None
    if lipschitz == 0:  # rows of zeros: the gradient is zero, whatever the step
        return 1.0
    return min(1 / lipschitz, sys.float_info.max) if 0 < lipschitz < math.inf else None
