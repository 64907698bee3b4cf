"""What candidates are compared with: a model that is fitted to its optimum, and proven."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaopt_fast.cli.job import Job
from metaopt_fast.fitting.arguments import MAX_PARAMS, Effort, Rows
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.typing import Float64Array

# Products of a Hessian's sums, beyond which its ten steps or so take some seconds.
MOST_PRODUCTS = 2e10
# Objectives that models are fitted by, as `fit_many` names them.
FITTED = {"logistic": "logistic", "squared-hinge": "squared_hinge"}


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted model of the training rows.

    Attributes
    ----------
    is_optimum : bool
        Whether it minimises the objective of the search; else it is the logistic regression of
        C = 1, and `loss` what the objective makes of it.
    theta : numpy.ndarray
    loss : float
        The objective of the search at theta.
    l2 : float
        Strength of the penalty that it was fitted with.
    gap_bound : float
        What it is proven to be above the least objective that it was fitted by, at most.
    certified : bool
    elapsed : float
        Seconds.
    """

    is_optimum: bool
    theta: Float64Array
    loss: float
    l2: float
    gap_bound: float
    certified: bool
    elapsed: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {
            "loss": self.loss,
            "theta": self.theta.tolist(),
            "is_optimum": self.is_optimum,
            "l2": self.l2,
            "gap_bound": self.gap_bound,
            "certified": self.certified,
            "elapsed": self.elapsed,
        }

    @property
    def label(self) -> str:
        """Return what it is, in a word or two."""
        if not self.is_optimum:
            return "logistic model"
        return "optimum" if self.certified else "fitted model"

    @property
    def remark(self) -> str:
        """Return what is known of it, and how long it took."""
        seconds = f"in {self.elapsed:.2g} s"
        if self.certified:
            proven = f"proven to {max(self.gap_bound, 1e-16):.0e}, {seconds}"
            return proven if self.is_optimum else f"of C = 1, {proven}"
        return f"not proven, as where l2 is 0 and a plane separates the classes, {seconds}"


def fitted(job: Job, n_threads: int | None) -> Fitted | None:
    """Return the optimum of the job's objective, where models are fitted by it, else the logistic
    regression of C = 1; None where that would take long."""
    table, objective = job.data.table, job.objective
    n_samples, n_features = table.X.shape
    n_params, n_classes = n_features + 1, len(table.class_names)
    if n_params > MAX_PARAMS or n_samples * n_params * n_params * n_classes > MOST_PRODUCTS:
        return None
    loss = FITTED.get(job.settings.objective)
    weights = np.ones(n_samples) if table.weights is None else table.weights
    l2 = float(job.settings.l2) if loss is not None else 1 / float(weights.sum())
    started = time.perf_counter()
    rows = Rows.checked(table.X, table.y.astype(np.intp), n_classes, weights, True)
    fits = fit_models(Effort.of(n_threads=n_threads), rows, l2=[l2], loss=loss or "logistic")
    theta = fits.theta[0].ravel()
    return Fitted(
        is_optimum=loss is not None,
        theta=theta,
        loss=float(objective.loss(theta)),
        l2=l2,
        gap_bound=float(fits.gap_bound[0]),
        certified=bool(fits.certified[0]),
        elapsed=time.perf_counter() - started,
    )
