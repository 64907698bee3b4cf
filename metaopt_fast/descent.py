"""Meta gradient descent: theta <- theta - eta * grad L(theta)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.validation import as_real_array, check_integer, check_number, describe, to_float64

METHODS = ("gd",)

# A loss this many times the first one, or one that is not finite, is taken for a divergence.
DIVERGED = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class DescentResult:
    """Where a gradient descent came to.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_params,)
        The last theta; after a divergence, the best one.
    loss : float
        The loss there.
    gradient_norm : float
        The largest absolute entry of the gradient there.
    n_iter : int
        Steps made.
    status : {"converged", "max_iter", "diverged", "interrupted"}
    learning_rate : float
        The step size that was used.
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
        at every step of a convex objective.
    method : {"gd"}, default "gd"
        "gd": theta <- theta - eta * gradient.
    max_iter : int, default 1000
        Steps at most; 0 evaluates theta0 alone.
    tol : float, default 1e-6
        The descent has converged where no entry of the gradient is larger.

    Returns
    -------
    DescentResult
        Its ``status`` says why the descent ended: a divergence is a result, not an error.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the objective has no ``lipschitz()`` and no learning
        rate is given.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], l2=0.1)
    >>> run = mf.gradient_descent(objective)
    >>> run.status
    'converged'
    """
    theta, learning_rate = _check(objective, theta0, learning_rate, method)
    max_iter = check_integer("max_iter", max_iter, 0)
    tol = check_number("tol", tol, 0.0)
    losses: list[float] = []
    best = (math.inf, theta, math.inf)
    status = "max_iter"
    try:
        while True:
            loss, gradient = objective.loss_gradient(theta)
            losses.append(float(loss))
            norm = float(np.abs(gradient).max())
            if loss <= best[0]:
                best = (float(loss), theta, norm)
            if (
                not math.isfinite(loss)
                or not math.isfinite(norm)
                or loss > DIVERGED * (1 + losses[0])
            ):
                status = "diverged"
            elif norm <= tol:
                status = "converged"
            if status != "max_iter" or len(losses) > max_iter:
                break
            theta = theta - learning_rate * gradient
    except KeyboardInterrupt:
        if not losses:
            raise
        status = "interrupted"
    if status in ("diverged", "interrupted"):
        loss, theta, norm = best
    return DescentResult(
        theta, float(loss), norm, len(losses) - 1, status, learning_rate, np.array(losses)
    )


def _check(
    objective: Any, theta0: npt.ArrayLike | None, learning_rate: object, method: object
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the start and the step size, or raise an error of one sentence."""
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
    n_params = objective.n_params
    if theta0 is None:
        theta = np.zeros(n_params)
    else:
        theta = as_real_array("theta0", theta0, 1, f"an array of shape ({n_params},)")
        theta = to_float64(theta)
        if theta.shape != (n_params,):
            raise ValueError(
                f"theta0 has {len(theta)} entries, but the objective has {n_params} parameters: "
                f"pass theta0 of shape ({n_params},)."
            )
        if not np.isfinite(theta).all():
            raise ValueError("theta0 has an entry that is not finite: pass finite numbers.")
    if learning_rate is not None:
        return theta, check_number("learning_rate", learning_rate, 0.0, strictly=True)
    if not hasattr(objective, "lipschitz"):
        raise ValueError(
            f"learning_rate is None, but {type(objective).__name__} has no method lipschitz() to "
            "choose it from: pass a learning_rate."
        )
    # Rows of zeros have a gradient of zero, whatever the step.
    lipschitz = float(objective.lipschitz())
    return theta, 1 / lipschitz if lipschitz > 0 else 1.0
