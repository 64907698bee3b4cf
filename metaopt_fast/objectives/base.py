"""What objectives of linear models share: rows packed once, checks of thetas, threads, pickling."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import decisions_of
from metaopt_fast.data.sparse_packed import SparsePacked
from metaopt_fast.data.sparse_rows import sparse_rows
from metaopt_fast.data.storage import StoragePath
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import threads_of
from metaopt_fast.objectives.penalties import L2, Penalty
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED, BuiltInSampler, allocate
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import (
    as_real_array,
    check_dtype,
    check_flag,
    check_integer,
    check_n_threads,
    check_number,
    check_threshold,
    describe,
    to_float64,
)

# Visits of (row, candidate, parameter) in a shard: about a tenth of a second on one thread. The 20
# that are added to the parameters stand for a row's loss (0.83 ns of 10,000 x 30 rows, by
# benches/bench_kernels.py, are 0.017 ns a visit).
KERNEL_WORK = 5e9
SMALLEST_SHARD, LARGEST_SHARD = 64, 2**18

# What is made anew from the packed rows in each process, and never pickled.
OF_PROCESS = ("_rows", "_screening")

DOUBLE = np.dtype(np.float64)

# Writes losses up to a threshold, of candidates, a seed, a start and it; returns the part of the
# (row, candidate) pairs that it computed, or less than 0 where a theta is not finite.
EvaluateBelow: TypeAlias = Callable[
    [BuiltInSampler | Float64Array, int, int, float, Float64Array], float
]


def _is_ready(array: npt.ArrayLike) -> TypeGuard[Float64Array]:
    """Whether an array is one that the kernels read as it is: what small calls pass."""
    if type(array) is not np.ndarray or array.dtype is not DOUBLE:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned


def check_sampler(sampler: object) -> None:
    """Raise TypeError where a sampler is none of ours, whose draws the kernels know."""
    if not isinstance(sampler, BuiltInSampler):
        raise TypeError(
            f"sampler is {describe(sampler)}: pass a Normal, a Uniform or an Integers sampler."
        )


def sampled_by_batches(
    self: Any,
    sampler: BuiltInSampler,
    seed: int,
    start: int,
    count: int,
    *,
    n_threads: int | None = None,
) -> Float64Array:
    """Return the losses of candidates of a sampler, some drawn at a time.

    Parameters
    ----------
    sampler : Normal, Uniform, Integers or Mixture
    seed, start, count : int
        As in ``sampler.sample``.
    n_threads : int, optional
        Instead of the objective's own.

    Returns
    -------
    numpy.ndarray of shape (count,), float64
        The bits of ``batch_loss(sampler.sample(seed, start, count, n_params))``.
    """
    check_sampler(sampler)
    asked = self if n_threads is None else self.with_threads(n_threads)
    losses: Float64Array = asked.pruned_loss(sampler, seed, start, count, math.inf)[0]
    return losses


class LinearData(ABC):
    """Packed rows that linear models are evaluated on. A subclass connects them to its kernels."""

    n_samples: int
    n_features: int
    n_params: int
    # Names of a frame's columns, and labels as they were given, the lesser first.
    feature_names: tuple[str, ...] | None = None
    classes: Sequence[Any] = (0, 1)

    def __init__(self, fit_intercept: bool, dtype: npt.DTypeLike, n_threads: int | None) -> None:
        self.fit_intercept: bool = check_flag("fit_intercept", fit_intercept)
        self.dtype: str = check_dtype(dtype)
        self.n_threads: int | None = check_n_threads(n_threads)

    @abstractmethod
    def _connect(self) -> None:
        """Hand the packed arrays to the kernels; nothing of `_kernels` is pickled."""

    def _set_shape(self, packed: Packed | SparsePacked) -> None:
        self.n_samples, self.n_features = packed.n_samples, packed.n_features
        self.n_params = packed.n_features + self.fit_intercept

    @shielded
    def decisions(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Float64Array:
        """Decide of rows, those of the objective or others.

        Parameters
        ----------
        theta : array_like of shape (n_params,)
        X : array_like of shape (n_rows, n_features)

        Returns
        -------
        numpy.ndarray of shape (n_rows,)
            x . theta of each row, with the intercept if there is one, above 0 for the positive
            class; in double precision whatever the dtype.
        """
        sparse = sparse_rows("X", X)
        if sparse is None:
            return decisions_of(self._checked_rows(X), self._checked_theta(theta))
        self._check_columns(sparse.n_columns)
        of = self._checked_theta(theta)
        found: Float64Array = sparse.products(of[None, : self.n_features], self._threads())[0]
        return found + of[-1] if self.fit_intercept else found

    def _checked_theta(self, theta: npt.ArrayLike) -> Float64Array:
        """Return one theta of finite numbers, shape (n_params,)."""
        thetas = self._one(theta)
        if not np.isfinite(thetas).all():
            raise self._not_finite(thetas)
        theta_of_one: Float64Array = thetas[0]
        return theta_of_one

    def _checked_rows(self, X: npt.ArrayLike) -> Float64Array:
        """Return rows of finite numbers, with the column of ones where there is an intercept."""
        wanted = f"an array of shape (n_rows, {self.n_features})"
        rows = to_float64(as_numbers("X", X, 2, wanted))
        self._check_columns(rows.shape[1])
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise ValueError(
                f"X has {rows[row, column]} in row {row}, column {column}: pass finite numbers."
            )
        return np.column_stack([rows, np.ones(len(rows))]) if self.fit_intercept else rows

    def _check_columns(self, n_columns: int) -> None:
        if n_columns != self.n_features:
            raise ValueError(
                f"X has {n_columns} columns, but the objective has {self.n_features} features: "
                f"pass X of shape (n_rows, {self.n_features})."
            )

    def with_threads(self, n_threads: int | None) -> Self:
        """Return the same objective, its data shared, with another number of threads."""
        other = copy.copy(self)
        other.n_threads = check_n_threads(n_threads)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def _threads(self) -> int:
        return threads_of(self.n_threads)

    def _vector(self, theta: npt.ArrayLike) -> Float64Array:
        """Return one theta as the kernels read it, shape (n_params,)."""
        if _is_ready(theta) and theta.shape == (self.n_params,):
            return theta
        theta = as_real_array("theta", theta, 1, f"an array of shape ({self.n_params},)")
        self._check_n_params("theta", "entries", theta.shape[0], f"({self.n_params},)")
        return to_float64(theta)

    def _one(self, theta: npt.ArrayLike) -> Float64Array:
        """Return one theta as the kernels read many, shape (1, n_params)."""
        return self._vector(theta).reshape(1, -1)

    def _many(self, thetas: npt.ArrayLike, name: str = "thetas") -> Float64Array:
        """Return thetas as the kernels read them, shape (n_candidates, n_params)."""
        if _is_ready(thetas) and thetas.shape[1:] == (self.n_params,) and len(thetas):
            return thetas
        wanted = f"(n_candidates, {self.n_params})"
        thetas = as_real_array(name, thetas, 2, f"an array of shape {wanted}")
        self._check_n_params(name, "columns", thetas.shape[1], wanted)
        if thetas.shape[0] == 0:
            raise ValueError(
                f"{name} is empty: pass at least one row, in an array of shape {wanted}."
            )
        return to_float64(thetas)

    def _checked_below(
        self,
        candidates: BuiltInSampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[BuiltInSampler | Float64Array, int, int, int, float]:
        """Return the arguments of `pruned_loss`, checked."""
        threshold = check_threshold(threshold)
        seed = check_integer("seed", seed, 0, MAX_SEED)
        start = check_integer("start", start, 0, MAX_INDEX)
        count = check_integer("count", count, 1, MAX_INDEX - start)
        if not isinstance(candidates, BuiltInSampler):
            candidates = self._many(candidates, "candidates")
            if len(candidates) != count:
                raise ValueError(
                    f"candidates has {len(candidates)} rows, but count is {count}: pass as many "
                    "rows as count says."
                )
        return candidates, seed, start, count, threshold

    def _check_n_params(self, name: str, unit: str, given: int, wanted: str) -> None:
        if given != self.n_params:
            raise ValueError(
                f"{name} has {given} {unit}, but the objective has {self.n_params} parameters "
                f"({self._parts}): pass {name} of shape {wanted}."
            )

    @property
    def _parts(self) -> str:
        """What the parameters are, for an error."""
        if self.fit_intercept:
            return f"{self.n_features} features and the intercept"
        return "one for each feature"

    def _not_finite(self, thetas: Float64Array) -> ValueError:
        """Return the error of thetas that are not finite as the kernels read them."""
        with np.errstate(all="ignore"):
            row, column = np.argwhere(~np.isfinite(thetas.astype(self.dtype)))[0]
        return ValueError(
            f"theta {row} has {thetas[row, column]} as entry {column}, which is not finite in "
            f"{self.dtype}: pass finite thetas."
        )


class PenalisedLoss(LinearData):
    """A mean loss and a penalty, of one theta or of many. A subclass evaluates them."""

    l2: float

    @abstractmethod
    def _evaluate(self, thetas: Float64Array, *, gradient: bool) -> tuple[Float64Array, Any]:
        """Return the losses of thetas, and their gradients where these are asked for."""

    def _penalty_of(self, strengths: Float64Array) -> Penalty:
        """Return the penalty of models of some strengths."""
        return L2(strengths, self.n_features)

    @property
    def _penalty(self) -> Penalty:
        return self._penalty_of(np.array([self.l2]))

    def _evaluate_one(self, theta: npt.ArrayLike, gradient: Float64Array | None) -> float:
        """Return the loss of one theta and, unless that is None, write its gradient."""
        losses, gradients = self._evaluate(self._one(theta), gradient=gradient is not None)
        if gradient is not None:
            gradient[:] = gradients[0]
        return float(losses[0])

    def _losses_below(self, evaluate: EvaluateBelow, *asked: Any) -> tuple[Float64Array, float]:
        """Return what `pruned_loss` does of its arguments, by a function that evaluates."""
        candidates, seed, start, count, threshold = self._checked_below(*asked)
        losses = allocate(count)
        fraction = evaluate(candidates, seed, start, threshold, losses)
        if fraction < 0:
            raise ValueError(
                f"candidates has one that is not finite in {self.dtype}: pass finite thetas, or a "
                "sampler of smaller numbers."
            )
        return losses, fraction

    @classmethod
    def from_batches(
        cls, batches: Iterable[Any], *, storage: StoragePath | None = None, **arguments: Any
    ) -> Self:
        """Return the objective of rows that come batch by batch, each read once and in its turn.

        Parameters
        ----------
        batches : iterable of tuple
            (X, y) or (X, y, sample_weight) each: arrays, frames or record batches, as of
            `collect_batches`.
        storage : path of a directory, optional
            Where the rows lie, twice as long as they are collected and packed; by default, in
            memory.
        **arguments
            All others of the class.

        Returns
        -------
        The same class
            The bits of an objective of all rows at once.

        Raises
        ------
        ValueError, TypeError, OSError
            As of `collect_batches`, and of the class.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> batches = (([[float(i)]], [i > 1]) for i in range(4))
        >>> mf.LogisticLoss.from_batches(batches, l2=0.1).n_samples
        4
        """
        from metaopt_fast.data.batches import collect_batches

        rows, make = collect_batches(batches, storage=storage), cast(Any, cls)
        made: Self = make(rows.X, rows.y, rows.sample_weight, storage=storage, **arguments)
        return made

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return L(theta).

        Parameters
        ----------
        theta : array_like of shape (n_params,)

        Returns
        -------
        float
            Never NaN; inf where the loss of a row leaves the range of the dtype.

        Raises
        ------
        ValueError, TypeError
            If theta has another shape, is not finite or not real.
        """
        return self._evaluate_one(theta, None)

    def gradient(self, theta: npt.ArrayLike) -> Float64Array:
        """Return the gradient of L at theta, shape (n_params,). See `loss`."""
        gradient = np.empty(self.n_params)
        self._evaluate_one(theta, gradient)
        return gradient

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Float64Array]:
        """Return L(theta) and its gradient, as ``scipy.optimize.minimize(..., jac=True)`` wants."""
        gradient = np.empty(self.n_params)
        return self._evaluate_one(theta, gradient), gradient

    def batch_loss(self, thetas: npt.ArrayLike) -> Float64Array:
        """Return L of many thetas.

        Parameters
        ----------
        thetas : array_like of shape (n_candidates, n_params)

        Returns
        -------
        numpy.ndarray of shape (n_candidates,), float64
            Each the same bits as `loss` of that theta alone.

        Raises
        ------
        ValueError, TypeError
            If thetas has another shape, is not finite or not real.
        """
        return self._evaluate(self._many(thetas), gradient=False)[0]

    def batch_loss_gradient(self, thetas: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
        """Return L of many thetas, shape (n_candidates,), and its gradients, shaped as thetas."""
        return self._evaluate(self._many(thetas), gradient=True)

    def with_l2(self, l2: float) -> Self:
        """Return the same objective, its data shared, with another strength of the penalty."""
        other = copy.copy(self)
        other.l2 = check_number("l2", l2, 0.0)
        other._connect()
        return other
