"""Models that are walked to their optima one by one, in compiled code: those of a few penalties."""

from __future__ import annotations

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.hessians import Nearby
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import Float64Array, IndexArray


def walk(
    models: Models, members: IndexArray, thetas: Float64Array, tol: float, max_iter: int
) -> tuple[Nearby, IndexArray]:
    """Walk some models from thetas to where the decrements are about tol.

    Returns where they are and what their last Hessians say there, and the numbers of steps.
    """
    n = len(members)
    near = Nearby(
        thetas.copy(),
        np.empty(n),
        np.empty_like(thetas),
        np.empty((n, _kernels.n_pairs(models.n_params))),
        np.empty_like(thetas),
        np.arange(n),
        distances=np.empty(n),
        measured_drifts=np.zeros(n),
    )
    n_steps = np.empty(n, np.intp)
    l2 = models.penalty.curvatures[members].tolist()
    for i, number in enumerate(models.set_of[members].tolist()):
        near.losses[i], n_steps[i], near.distances[i] = _kernels.newton_steps(
            models.sets.each[number],
            near.thetas[i],
            near.gradients[i],
            near.hessians[i : i + 1],
            near.origins[i],
            l2[i],
            tol,
            max_iter,
            models.n_threads,
        )
    return near, n_steps


def walk_along(
    models: Models, starts: Float64Array | None, tol: float, max_iter: int
) -> Float64Array:
    """Return models near their optima: one after the other is walked there from its start, or,
    where there is none, from where the one before it has ended."""
    found = np.zeros((len(models.set_of), models.n_params)) if starts is None else starts.copy()
    for i in range(len(found)):
        begin = found[max(0, i - 1) : max(1, i)] if starts is None else found[i : i + 1]
        near, _ = walk(models, np.array([i]), begin, tol, max_iter)
        found[i] = near.thetas[0]
    return found
