"""Where models start between others of the same training set, at penalties on both sides.

Along the logarithm of the penalty, thetas and Hessians are smooth. A model between two others
begins on the cubic polynomial that has their thetas and their slopes (Hermite), with the mean of
their Hessians, weighted by how near they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metaopt_fast.arithmetic import log
from metaopt_fast.fitting.hessians import KeptHessians, Means
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

TINY = np.finfo(np.float64).tiny
# Logarithms of penalties that are further apart say too little of what is between them.
MAX_WIDTH = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Starts of some models.

    Attributes
    ----------
    thetas : array of shape (n, n_params)
    safe_thetas, safe_losses, safe_gradients : arrays of shape (n, n_params) and (n,)
        The theta of the nearest other model, where its loss is the lesser one.
    left, right : arrays of shape (n,)
        The models on both sides.
    part : array of shape (n,)
        How far along the way from the left one to the right one, from 0 to 1.
    """

    thetas: Float64Array
    safe_thetas: Float64Array
    safe_losses: Float64Array
    safe_gradients: Float64Array
    left: IndexArray
    right: IndexArray
    part: Float64Array


def choose(set_of: IndexArray, stride: int, least: int) -> BoolArray:
    """Choose one in `stride` of each training set's models, or the `least` number of them, evenly
    spread from one end to the other; set_of is sorted."""
    if len(set_of) <= least:
        return np.ones(len(set_of), np.bool_)
    _, counts = np.unique(set_of, return_counts=True)
    found = []
    for count in counts.tolist():
        wanted = min(count, max(least, round(count / stride)))
        chosen, gaps = np.zeros(count, np.bool_), max(1, wanted - 1)
        chosen[(2 * np.arange(wanted) * (count - 1) + gaps) // (2 * gaps)] = True
        found.append(chosen)
    return np.concatenate(found)


def brackets(
    sets: IndexArray, positions: Float64Array, others: IndexArray, theirs: Float64Array
) -> tuple[IndexArray, IndexArray, Float64Array]:
    """Return the models on both sides of others, and how far along the way these are, from 0 to 1.

    `sets` and `positions` are those of models, in order; `others` and `theirs` those of the others.
    Where there is a model on one side alone, or the other one is far, the nearest is on both.
    """
    order = np.lexsort((np.append(positions, theirs), np.append(sets, others)))
    n = len(positions)
    rank = np.empty(len(order), np.intp)
    rank[order] = np.cumsum(order < n)
    right = np.minimum(rank[n:], n - 1)
    left = np.maximum(rank[n:] - 1, 0)
    left = np.where(sets[left] == others, left, right)
    right = np.where(sets[right] == others, right, left)
    width = positions[right] - positions[left]
    part = np.where(width > 0, (theirs - positions[left]) / np.where(width > 0, width, 1.0), 0.0)
    alone = ~((width > 0) & (width <= MAX_WIDTH))
    nearest = np.where(part > 0.5, right, left)
    left, right = np.where(alone, nearest, left), np.where(alone, nearest, right)
    return left, right, np.where(alone, 0.0, part)


def on_cubics(
    part: Float64Array,
    width: Float64Array,
    ends: tuple[Float64Array, Float64Array],
    slopes: tuple[Float64Array, Float64Array],
) -> Float64Array:
    """Return points of the polynomials that have some ends and slopes, a part of the way."""
    t, rest = part[:, None], 1 - part[:, None]
    left, right = ends
    curved: Float64Array = rest * slopes[0] - t * slopes[1]
    curved = width[:, None] * curved + (1 - 2 * t) * (left - right)
    return rest * left + t * right + t * rest * curved


def points_between(
    models: Models,
    members: IndexArray,
    factors: Float64Array,
    others: IndexArray,
    thetas: Float64Array,
    losses: Float64Array,
    gradients: Float64Array,
) -> Points:
    """Return starts of other models between members, given the factors of their Hessians, their
    thetas, losses and gradients, in the order of their sets and penalties."""
    mine, theirs = models.penalty.of(members), models.penalty.of(others)
    of_mine, of_theirs = (log(np.maximum(one.strengths, TINY)) for one in (mine, theirs))
    left, right, part = brackets(models.set_of[members], of_mine, models.set_of[others], of_theirs)
    # The gradient's change along the logarithm of an l2 penalty is that of the penalty itself.
    turned, _ = models.solve(factors, np.arange(len(members)), mine.value_gradient(thetas)[1])
    starts = on_cubics(
        part,
        of_mine[right] - of_mine[left],
        (thetas[left], thetas[right]),
        (-turned[left], -turned[right]),
    )
    nearest = np.where(part > 0.5, right, left)
    more, more_slopes = mine.of(nearest).change(theirs, thetas[nearest])
    return Points(
        starts,
        thetas[nearest],
        losses[nearest] + more,
        gradients[nearest] + more_slopes,
        left,
        right,
        part,
    )


def means_between(kept: KeptHessians, points: Points) -> Means:
    """Return the means of the Hessians on both sides of some starts."""
    assert kept.sums is not None
    return Means(kept.sums, kept.origins, points.left, points.right, points.part)
