"""Where models start: by a step from models of all rows, at penalties nearby.

A few penalties, the anchors, are spread over those asked for. Models of all rows, no fold left
out, are brought near their optimum there, and each training set's Hessians at these are sums of
those of strata, weighted: one pass over the rows serves every fold and every choice of class
weights. Of very many rows, a sketch says first where such a model will be.
"""

from __future__ import annotations

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import geometric, log
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.hessians import Nearby
from metaopt_fast.fitting.models import Models, TrainingSet
from metaopt_fast.fitting.training_sets import Strata
from metaopt_fast.fitting.walks import walk_along
from metaopt_fast.typing import Float64Array, IndexArray

# Constants of speed, measured by benches/fitting_constants.py, as in newton.py.
# Penalties at which models of all rows are fitted first: x 1.1 at 4, x 1.2 at 30.
N_ANCHORS = 12
# Beyond it (315 parameters), the Hessians of anchors would take too much memory.
MAX_ANCHOR_PAIRS = 50_000
# Newton decrement that ends the fits of anchors: x 1.5 at 0.3, x 1.2 at 0.1, x 1.0 at 0.003.
ANCHOR_DECREMENT = 0.03
# Newton steps of anchors at most: near is enough.
MAX_STEPS = 50


def start(strata: Strata, models: Models, choices: list[ClassWeight]) -> Float64Array | Nearby:
    """Return models of all rows and what is known there, or, where models are few, their thetas.

    `models` are those of each choice of class weights without each fold, choice by choice.
    """
    n_sets, n_pairs = len(strata.left_out), _kernels.n_pairs(strata.n_params)
    n, l2 = len(models.set_of), models.penalty.strengths
    if n < 3 * N_ANCHORS * len(choices) or l2.min() == 0 or n_pairs > MAX_ANCHOR_PAIRS:
        thetas = np.zeros((n, strata.n_params))
        for c, choice in enumerate(choices):
            mine = np.flatnonzero(models.set_of // n_sets == c)
            thetas[mine] = sketched(strata, choice, l2[mine])
        return thetas
    strengths = geometric(l2.max(), l2.min(), N_ANCHORS)
    nearest = np.abs(log(l2)[:, None] - log(strengths)).argmin(axis=1)
    near = Nearby(
        np.empty((n, strata.n_params)),
        np.empty(n),
        np.empty((n, strata.n_params)),
        np.empty((len(models.sets) * N_ANCHORS, n_pairs)),
        np.empty((len(models.sets) * N_ANCHORS, strata.n_params)),
        models.set_of * N_ANCHORS + nearest,
        distances=np.zeros(n),
        measured_drifts=np.zeros(n),
    )
    for c, choice in enumerate(choices):
        thetas = anchors(strata, choice, strengths)
        of_strata = strata.hessians(thetas)
        for f, left_out in enumerate(strata.left_out):
            number = c * n_sets + f
            at = slice(number * N_ANCHORS, (number + 1) * N_ANCHORS)
            near.hessians[at] = hessians_without(strata, choice, left_out, of_strata)
            near.origins[at] = thetas
        tell(models, c * n_sets + np.arange(n_sets), thetas, nearest, near)
    return near


def hessians_without(
    strata: Strata, choice: ClassWeight, left_out: int, of_strata: Float64Array
) -> Float64Array:
    """Return the Hessians of a training set, from those of the strata, fold by fold."""
    factors = np.tile(strata.factors(choice, left_out), (len(strata.sums), 1))
    factors[np.arange(len(strata.sums)) == left_out] = 0
    return np.asarray(
        sum(factor * hessian for factor, hessian in zip(factors.ravel(), of_strata, strict=True))
    )


def tell(
    models: Models,
    sets: IndexArray,
    anchors: Float64Array,
    nearest: IndexArray,
    near: Nearby,
) -> None:
    """Write what models of some training sets know at the anchors that are nearest to them."""
    many = np.tile(anchors, (len(sets), 1))
    losses, slopes = np.empty(len(many)), np.empty_like(many)
    models.sets.rows.evaluate(np.repeat(sets, len(anchors)), many, losses, slopes, models.n_threads)
    mine = np.flatnonzero(np.isin(models.set_of, sets))
    near.thetas[mine] = anchors[nearest[mine]]
    at = (models.set_of[mine] - sets[0]) * len(anchors) + nearest[mine]
    near.losses[mine], near.gradients[mine] = models.penalised(
        mine, near.thetas[mine], losses[at], slopes[at]
    )


def sketched(strata: Strata, choice: ClassWeight, l2: Float64Array) -> Float64Array:
    """Return models of some of all rows, where these are many; else zeros."""
    sketch = strata.sketch(choice)
    if sketch is None:
        return np.zeros((len(l2), strata.n_params))
    different, which = np.unique(l2, return_inverse=True)
    return near_optima(strata, sketch, different[::-1])[::-1][which]


def anchors(strata: Strata, choice: ClassWeight, l2: Float64Array) -> Float64Array:
    """Return models of all rows, near their optimum."""
    sketch, one = strata.sketch(choice), strata.training_set(choice, -1)
    start = None if sketch is None else near_optima(strata, sketch, l2)
    return near_optima(strata, one, l2, start)


def near_optima(
    strata: Strata, one: TrainingSet, l2: Float64Array, start: Float64Array | None = None
) -> Float64Array:
    """Return models of one training set, near their optimum; each starts where the one before it
    has ended, or from a theta of its own."""
    models = strata.models([one], np.zeros(len(l2), np.intp), l2)
    return walk_along(models, start, ANCHOR_DECREMENT, MAX_STEPS)
