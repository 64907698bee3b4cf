"""Weights of resampled rows, and permuted labels: row k is a function of (seed, k) and no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp, log
from metaopt_fast.data.checks import check_groups
from metaopt_fast.floating_errors import shielded
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED
from metaopt_fast.samplers.independent import Integers, Uniform
from metaopt_fast.typing import Float64Array, IndexArray, ResampleKind
from metaopt_fast.validation.labels import read_labels
from metaopt_fast.validation.values import check_integer, check_number, describe

KINDS = ("multinomial", "poisson", "bayesian", "subsample", "jackknife")
# Keys of the streams: with a seed of its own, a sampler's candidates are none of these draws.
OF_WEIGHTS, OF_LABELS = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
# Part of the rows of a subsample.
FRACTION = 0.5
# Numbers that are drawn together, and those of a multinomial distribution, between two looks at
# signals: some 50 milliseconds.
DRAWN, COUNTED = 1 << 20, 1 << 22
# Counts of a Poisson distribution of mean 1 beyond which one in 10^22 is.
MOST_POISSON = 20


@shielded
def bootstrap_weights(
    n_samples: int,
    n_resamples: int | None = None,
    *,
    seed: int = 0,
    kind: ResampleKind = "multinomial",
    fraction: float = FRACTION,
    groups: npt.ArrayLike | None = None,
    start: int = 0,
) -> npt.NDArray[Any]:
    """Return how much each row weighs in each of M resamples, for ``fit_many(sample_weight=)``.

    Row k is a pure function of (seed, start + k), the same on every machine: resamples a to b and
    b to c are those of a to c.

    Parameters
    ----------
    n_samples : int
        Number of rows.
    n_resamples : int, optional
        Number M of resamples; by default 1,000, and of a jackknife as many as rows or groups.
    seed : int, default 0
    kind : {"multinomial", "poisson", "bayesian", "subsample", "jackknife"}
        "multinomial" draws as many rows as there are, with replacement: the bootstrap. "poisson"
        weighs each row by a Poisson number of mean 1, "bayesian" by an exponential one (Rubin
        1981), brought to a sum of n_samples. "subsample" takes a part of the rows, without
        replacement. Resample k of a "jackknife" leaves out row k.
    fraction : float, default 0.5
        Part of the rows of a subsample, rounded to a whole number of them.
    groups : array_like of shape (n_samples,), optional
        Group of each row: groups are resampled as a whole (cluster bootstrap).
    start : int, default 0
        Number of the first resample.

    Returns
    -------
    numpy.ndarray of shape (M, n_samples)
        One byte each (uint8); float64 of the Bayesian bootstrap.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.bootstrap_weights(5, 2).tolist()
    [[2, 1, 2, 0, 0], [0, 0, 1, 3, 1]]
    """
    return drawn_weights(n_samples, n_resamples, seed, kind, fraction, groups, start, 1)


def drawn_weights(
    n_samples: int,
    n_resamples: int | None,
    seed: int,
    kind: ResampleKind,
    fraction: float,
    groups: npt.ArrayLike | None,
    start: int,
    n_threads: int,
) -> npt.NDArray[Any]:
    """Do what `bootstrap_weights` does, on so many threads."""
    n_samples = check_integer("n_samples", n_samples, 1, MAX_INDEX)
    group_of, n_groups = _groups(groups, n_samples)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is {describe(kind)}: pass one of {', '.join(map(repr, KINDS))}.")
    n_default = n_groups if kind == "jackknife" else 1000
    given = n_default if n_resamples is None else n_resamples
    count = check_integer("n_resamples", given, 1, MAX_INDEX)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    start = check_integer("start", start, 0, MAX_INDEX - count)
    part = check_number("fraction", fraction, 0.0, strictly=True)
    if part > 1:
        raise ValueError(f"fraction is {part:g}: pass a number above 0, of at most 1.")
    if kind == "jackknife" and start + count > n_groups:
        raise ValueError(
            f"resamples {start} to {start + count - 1} are asked for, but a jackknife has "
            f"{n_groups}: pass a smaller n_resamples."
        )
    seed ^= OF_WEIGHTS
    weights = np.empty((count, n_groups), np.float64 if kind == "bayesian" else np.uint8)
    draws = Integers(0, n_groups - 1).draws(seed, n_groups)
    size = max(1, (COUNTED if kind == "multinomial" else DRAWN) // n_groups)
    for first in range(0, count, size):
        some = weights[first : first + size]
        if kind == "multinomial":
            draws.count(start + first, some.ravel(), n_threads)
        else:
            some[:] = _drawn(kind, seed, start + first, len(some), n_groups, part)
    return weights if group_of is None else np.ascontiguousarray(weights[:, group_of])


def _groups(groups: npt.ArrayLike | None, n_samples: int) -> tuple[IndexArray | None, int]:
    """Return the group of each row, None without groups, and how many there are."""
    if groups is None:
        return None, n_samples
    labels, codes = check_groups(groups, n_samples)
    return codes, len(labels)


def _drawn(kind: str, seed: int, start: int, count: int, n: int, fraction: float) -> Any:
    """Return the weights of some resamples of n units."""
    if kind == "jackknife":
        return np.arange(n) != np.arange(start, start + count)[:, None]
    uniform = Uniform(0.0, 1.0).sample(seed, start, count, n)
    if kind == "poisson":
        return np.searchsorted(_poisson_steps(), uniform)
    if kind == "bayesian":
        weights = -log(np.maximum(uniform, 2.0**-60))
        return weights * (n / weights.sum(axis=1, keepdims=True))
    size = max(1, round(fraction * n))
    chosen = np.zeros((count, n), np.uint8)
    np.put_along_axis(chosen, np.argsort(uniform, axis=1, kind="stable")[:, :size], 1, axis=1)
    return chosen


def _poisson_steps() -> Float64Array:
    """Return the distribution function of a Poisson number of mean 1, from 0 on."""
    terms = np.cumprod(np.maximum(np.arange(MOST_POISSON), 1.0))
    steps: Float64Array = np.cumsum(1 / terms) * exp(-1.0)
    return steps


@shielded
def permuted_labels(
    y: npt.ArrayLike,
    n_permutations: int = 1000,
    *,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
    start: int = 0,
) -> npt.NDArray[Any]:
    """Return the labels in M random orders, for ``fit_many(X, Y)``.

    Row k is a pure function of (seed, start + k) and of y, the same on every machine.

    Parameters
    ----------
    y : array_like of shape (n_samples,)
        Labels: numbers, strings or bool.
    n_permutations : int, default 1000
        Number M of orders.
    seed : int, default 0
    groups : array_like of shape (n_samples,), optional
        Group of each row: labels change places within their group alone.
    start : int, default 0
        Number of the first order.

    Returns
    -------
    numpy.ndarray of shape (M, n_samples)
        Whole numbers from -128 to 127 in one byte (int8), others as they are.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.permuted_labels([0, 0, 1, 1], 2).sum(axis=1).tolist()
    [2, 2]
    """
    labels = read_labels("y", y, "one label for each row", may_be_column=True)
    values, n = _compact(labels.values), len(labels.codes)
    count = check_integer("n_permutations", n_permutations, 1, MAX_INDEX)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    start = check_integer("start", start, 0, MAX_INDEX - count)
    codes, _ = _groups(groups, n)
    group_of = np.zeros(n, np.intp) if codes is None else codes
    places = np.argsort(group_of, kind="stable")
    found = np.empty((count, n), values.dtype)
    size = max(1, DRAWN // n)
    for first in range(0, count, size):
        some = found[first : first + size]
        keys = Uniform(0.0, 1.0).sample(seed ^ OF_LABELS, start + first, len(some), n)
        for row, of_row in zip(some, keys, strict=True):
            row[places] = values[labels.codes[np.lexsort((of_row, group_of))]]
    return found


def _compact(values: list[Any]) -> npt.NDArray[Any]:
    """Return labels as an array of few bytes."""
    are_whole = all(isinstance(x, int) and not isinstance(x, bool) for x in values)
    if are_whole and all(-128 <= x <= 127 for x in values):
        return np.array(values, np.int8)
    return np.array(values)
