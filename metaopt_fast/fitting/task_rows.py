"""Models with rows of their own, fitted one in each lane by Newton steps and certified."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.certificates import (
    EPS,
    ROOT_OF_TINY,
    growth_by,
    logistic_gap_bound,
    rounding_of_logistic_derivatives,
    slack_of_factors,
)
from metaopt_fast.fitting.lane_fits import LaneOptima
from metaopt_fast.fitting.result import Status, are_proven
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray

# Entries of X have to be below it: squares of units, which are powers of 2, are in range.
LARGEST_ENTRY = 2.0**200
# What a fit writes of each task, and which of these numbers is that of steps.
N_NUMBERS, N_STEPS = 6, 4


@dataclass(frozen=True, slots=True, eq=False)
class TaskPenalties:
    """Penalties l2[t] / 2 sum_j factors[j] (theta_j - centres[j])^2 of tasks: strengths of each,
    factors and centres of each or, in a single row, of all."""

    l2: Float64Array
    factors: Float64Array
    centres: Float64Array

    @classmethod
    def none(cls, n_tasks: int, n_params: int) -> Self:
        """Return those that are 0."""
        zeros = np.zeros((1, n_params))
        return cls(np.zeros(n_tasks), zeros, zeros)

    def of(self, which: IndexArray | BoolArray) -> Self:
        """Return those of some tasks."""
        factors, centres = (
            table[which] if len(table) > 1 else table for table in (self.factors, self.centres)
        )
        return replace(self, l2=self.l2[which], factors=factors, centres=centres)

    def at(self, thetas: Float64Array) -> Float64Array:
        """Return the penalties at thetas, a row for each task; what is held has none."""
        factors = np.where(np.isfinite(self.factors), self.factors, 0.0)
        far = thetas - self.centres
        sums: Float64Array = (factors * far * far).sum(axis=1)
        return self.l2 * sums / 2


@dataclass(frozen=True, slots=True, eq=False)
class TaskRows:
    """Rows of tasks, ready to be fitted. `counts` are their numbers."""

    kernel: _kernels.TaskRows
    counts: IndexArray
    n_params: int

    @classmethod
    def of(
        cls,
        X: Float64Array,
        codes: BoolArray,
        weights: Float64Array | None,
        rows: IndexArray,
        counts: IndexArray,
        fit_intercept: bool,
    ) -> Self:
        """Take rows[0], ..., rows[counts[0] - 1] as those of the first task, and so on; codes say
        where labels are the greater one."""
        starts = np.concatenate([np.zeros(1, np.intp), np.cumsum(counts)])
        signs = np.where(codes[rows], -1.0, 1.0)
        signed = signs if weights is None else signs * weights[rows]
        totals = np.add.reduceat(np.abs(signed), starts[:-1])
        order = np.argsort(counts, kind="stable")
        arrays: tuple[Any, ...] = (rows, starts, signed, 1 / totals, order)
        kernel = _kernels.TaskRows(np.ascontiguousarray(X), fit_intercept, *arrays)
        return cls(kernel, counts, X.shape[1] + fit_intercept)

    def evaluate(self, thetas: Float64Array, n_threads: int) -> tuple[Float64Array, Float64Array]:
        """Return the mean losses of each task's rows at its theta, and their gradients."""
        n = len(self.counts)
        none = TaskPenalties.none(n, self.n_params)
        gradients, numbers = np.empty((n, self.n_params)), np.empty((n, N_NUMBERS))
        self.kernel.measure(
            none.l2, none.factors, none.centres, thetas, gradients, numbers, n_threads
        )
        return numbers[:, 0].copy(), gradients

    def solve(
        self,
        penalties: TaskPenalties,
        thetas: Float64Array,
        vectors: Float64Array,
        n_threads: int,
    ) -> Float64Array:
        """Return vectors times the inverses of the objectives' Hessians at thetas."""
        found = np.empty_like(thetas)
        arguments = (penalties.l2, penalties.factors, penalties.centres, thetas, vectors, found)
        self.kernel.times_inverse(*arguments, n_threads)
        return found

    def fit(
        self, penalties: TaskPenalties, effort: Effort, starts: Float64Array | None = None
    ) -> LaneOptima:
        """Minimise each task's objective, from `starts`, or from 0: the way from centres is longer
        (1.6 times, benches/tasks.py), since rows far from a plane have little curvature.

        After Ctrl-C, tasks that had no turn are `Status.INTERRUPTED`; where none had, or all, it
        raises.
        """
        n = len(self.counts)
        thetas, numbers = np.full((n, self.n_params), np.nan), np.full((n, N_NUMBERS), np.nan)
        try:
            self.kernel.fit(
                penalties.l2,
                penalties.factors,
                penalties.centres,
                np.zeros((1, self.n_params)) if starts is None else starts,
                effort.tol * effort.tol,
                min(effort.max_iter, sys.maxsize),
                thetas,
                numbers,
                effort.n_threads,
            )
        except KeyboardInterrupt:
            # Where all had their turn, nothing but this would tell of it.
            if np.isnan(numbers[:, N_STEPS]).all() or not np.isnan(numbers[:, N_STEPS]).any():
                raise
        had_turn = ~np.isnan(numbers[:, N_STEPS])
        gaps = self.gaps(numbers, penalties.at(thetas))
        losses = np.where(had_turn, numbers[:, 0], np.inf)
        n_iter = np.where(had_turn, numbers[:, N_STEPS], 0.0).astype(np.intp)
        is_proven = are_proven(gaps, losses, effort.tol)
        ended = np.where(n_iter < effort.max_iter, Status.ROUNDING.value, Status.MAX_ITER.value)
        status = np.where(is_proven, Status.CONVERGED.value, ended)
        status[~had_turn] = Status.INTERRUPTED.value
        return LaneOptima(thetas, losses, gaps, n_iter, status)

    def gaps(self, numbers: Float64Array, penalties: Float64Array) -> Float64Array:
        """Bound how far objectives are from their optima, rounding included, by what a fit wrote:
        all in units in which no entry of X is above 1."""
        losses, squares, radii, inflations, _, sizes = numbers.T
        slack = slack_of_factors(inflations, self.n_params, self.counts)
        with np.errstate(invalid="ignore", over="ignore"):
            radii = radii * slack
            of_margins = EPS * self.n_params * sizes
            of_rows = rounding_of_logistic_derivatives(losses, of_margins, self.counts)
            of_penalty = 4 * EPS * np.sqrt(2 * penalties)
            lengths = slack * np.sqrt(squares) + of_rows * radii + of_penalty + ROOT_OF_TINY
            growth = growth_by(of_margins)
            gaps = logistic_gap_bound(growth * lengths, growth * radii)
        return np.where(np.isfinite(losses) & ~np.isnan(gaps), gaps, np.inf)
