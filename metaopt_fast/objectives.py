"""Objectives: data, loss and penalty, packed once and evaluated many times."""

from __future__ import annotations

import copy
import math
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels, duplicates
from metaopt_fast.packing import Packed, pack
from metaopt_fast.samplers import MAX_INDEX, MAX_SEED, Sampler, allocate
from metaopt_fast.subsets import check_rows, minibatches, subset
from metaopt_fast.threads import default_n_threads
from metaopt_fast.validation import (
    as_real_array,
    check_dtype,
    check_integer,
    check_n_threads,
    check_number,
    describe,
    to_float64,
)

Float64Array = npt.NDArray[np.float64]


class LogisticLoss:
    """Mean logistic loss of linear models on one data set, for one theta or very many.

    L(theta) = sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 * sum_j theta_j^2, with the margin
    m_i = s_i (x_i . theta), s_i = +1 for the positive class and -1 for the other, and
    softplus(z) = log(1 + exp(z)). The intercept, if any, is the last entry of theta and is not
    penalised. scikit-learn's C is 1 / (l2 * sum_i w_i).

    The loss and the gradient of a theta have the same bits in whatever batch, on whatever number of
    threads it is evaluated, from AVX2 on with whatever instructions.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers: an array of any layout and real dtype, a memory map, a pandas or polars
        frame. It is copied once, into the order in which the kernels read it.
    y : array_like of shape (n_samples,)
        Labels of two classes: 0 and 1, -1 and +1, or bool.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum. A row of weight 0 is as good as absent.
    l2 : float, default 0
        Strength of the penalty, >= 0.
    fit_intercept : bool, default False
        Whether theta has an intercept as its last entry.
    dtype : {"float64", "float32"}, default "float64"
        Precision of rows, thetas and margins. float32 is about twice as fast; sums over more than
        512 rows are double precision all the same, and so are results.
    n_threads : int, optional
        From 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the cgroup quota decide.
        Little work stays on one thread.
    merge_duplicates : bool, default False
        Whether equal rows of one label are evaluated as one, with the sum of their weights: fewer
        rows and the same L, up to rounding. n_samples counts the rows that are left.

    Attributes
    ----------
    n_samples, n_features, n_params : int
        Rows, columns, and entries of theta: n_features, or one more for the intercept.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message says what to do.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> objective.batch_loss([[0.0], [1.0]]).round(4).tolist()
    [0.6931, 0.2512]
    """

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
        merge_duplicates: bool = False,
    ) -> None:
        self.l2 = check_number("l2", l2, 0.0)
        if not isinstance(fit_intercept, (bool, np.bool_)):
            raise TypeError(f"fit_intercept is {describe(fit_intercept)}: pass True or False.")
        self.fit_intercept = bool(fit_intercept)
        self.dtype = check_dtype(dtype)
        self.n_threads = check_n_threads(n_threads)
        if not isinstance(merge_duplicates, (bool, np.bool_)):
            raise TypeError(
                f"merge_duplicates is {describe(merge_duplicates)}: pass True or False."
            )
        if merge_duplicates:
            X, y, sample_weight = duplicates.merge_duplicates(X, y, sample_weight)
        self._packed = pack(X, y, sample_weight, self.fit_intercept, self.dtype)
        self._digest: bytes | None = None
        self._connect()

    def _connect(self) -> None:
        """Hand the packed arrays to the kernels."""
        packed = self._packed
        self.n_samples, self.n_features = packed.n_samples, packed.n_features
        self.n_params = packed.n_features + self.fit_intercept
        self._rows = packed.rows(0, self.n_params, self.l2)
        self._work = _kernels.work(self.n_samples, self.n_params)

    def loss(self, theta: npt.ArrayLike) -> float:
        """Return L(theta).

        Parameters
        ----------
        theta : array_like of shape (n_params,)

        Returns
        -------
        float
            Never NaN; inf where a margin leaves the range of the dtype on the wrong side.

        Raises
        ------
        ValueError, TypeError
            If theta has another shape, is not finite or not real.
        """
        return float(self._evaluate(self._one(theta), gradient=False)[0][0])

    def gradient(self, theta: npt.ArrayLike) -> Float64Array:
        """Return the gradient of L at theta, shape (n_params,). See `loss`."""
        gradients = self._evaluate(self._one(theta), gradient=True)[1]
        return cast(Float64Array, gradients[0])

    def loss_gradient(self, theta: npt.ArrayLike) -> tuple[float, Float64Array]:
        """Return L(theta) and its gradient, as ``scipy.optimize.minimize(..., jac=True)`` wants."""
        losses, gradients = self._evaluate(self._one(theta), gradient=True)
        return float(losses[0]), gradients[0]

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

    def sampled_loss(
        self, sampler: Sampler, seed: int, start: int, count: int, *, n_threads: int | None = None
    ) -> Float64Array:
        """Return L of candidates that are drawn inside the kernel and never stored.

        Parameters
        ----------
        sampler : Normal, Uniform or Integers
        seed, start, count : int
            As in ``sampler.sample``.
        n_threads : int, optional
            Instead of the objective's own.

        Returns
        -------
        numpy.ndarray of shape (count,), float64
            The bits of ``batch_loss(sampler.sample(seed, start, count, n_params))``.
        """
        if not isinstance(sampler, Sampler):
            raise TypeError(
                f"sampler is {describe(sampler)}: pass a Normal, a Uniform or an Integers sampler."
            )
        draws = sampler.draws(seed, self.n_params)
        start = check_integer("start", start, 0, MAX_INDEX)
        losses = allocate(check_integer("count", count, 1, MAX_INDEX - start))
        threads = check_n_threads(n_threads) or self._threads()
        if not self._rows.evaluate_drawn(draws, start, losses, threads):
            raise ValueError(
                f"{sampler!r} draws numbers beyond the range of {self.dtype}: pass smaller ones."
            )
        return losses

    def pruned_loss(
        self,
        candidates: Sampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[Float64Array, float]:
        """Return L of candidates where it is at most a threshold; else perhaps infinity.

        Rows' losses are never negative: a candidate is dropped as soon as those summed so far
        exceed the threshold, by more than a bound of their rounding.

        Parameters
        ----------
        candidates : Normal, Uniform or Integers, or array_like of shape (count, n_params)
            Where the thetas come from, as in `sampled_loss`, or the thetas themselves.
        seed, start, count : int
            As in ``sampler.sample``.
        threshold : float
            A loss; infinity drops nothing.

        Returns
        -------
        losses : numpy.ndarray of shape (count,), float64
            The bits of `sampled_loss` or `batch_loss` wherever those are at most `threshold`.
        fraction : float
            The part of the (row, candidate) pairs that was computed.
        """
        if not isinstance(threshold, (int, float, np.integer, np.floating)):
            raise TypeError(f"threshold is {describe(threshold)}: pass a loss, or infinity.")
        if math.isnan(threshold):
            raise ValueError("threshold is nan: pass a loss, or infinity.")
        if isinstance(candidates, Sampler):
            draws, thetas = candidates.draws(seed, self.n_params), None
            start = check_integer("start", start, 0, MAX_INDEX)
            losses = allocate(check_integer("count", count, 1, MAX_INDEX - start))
        else:
            draws, thetas = None, self._many(candidates)
            losses = np.empty(len(thetas))
        fraction = self._rows.evaluate_below(
            thetas, draws, start, threshold, losses, self._threads()
        )
        if fraction < 0:
            raise ValueError(
                f"a candidate is not finite in {self.dtype}: pass finite thetas, or a sampler of "
                "smaller numbers."
            )
        return losses, fraction

    def lipschitz(self) -> float:
        """Return the Lipschitz constant of the gradient of L, from which step sizes are chosen.

        A quarter of the largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, plus l2. Costs one
        product of X with itself, and an eigenvalue problem of n_params.
        """
        moment = self._packed.second_moment(self.n_params)
        return float(np.linalg.eigvalsh(moment)[-1]) / 4 + self.l2

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that determines L."""
        import hashlib

        if self._digest is None:  # of the data, which never changes and copies share
            self._digest = self._packed.digest()
        digest = hashlib.sha256(self._digest)
        digest.update(repr((type(self).__name__, self.l2, self.fit_intercept, self.dtype)).encode())
        return digest.hexdigest()

    def subset(self, rows: npt.ArrayLike) -> Self:
        """Return the same objective on some of the rows.

        They come from the packed rows, once; the original X is not needed.

        Parameters
        ----------
        rows : array_like of int or of shape (n_samples,) of bool
            The rows as NumPy would index with them: numbers, negative and repeated ones too, or a
            mask. They must hold both classes.

        Returns
        -------
        LogisticLoss
            The bits of an objective that is made of X[rows], y[rows] and sample_weight[rows].

        Raises
        ------
        ValueError, TypeError
            If rows is not as described.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0], [0.5]], [1, 1, 0, 0])
        >>> objective.subset([0, 2]).loss([1.0]) == mf.LogisticLoss([[1], [-1]], [1, 0]).loss([1.0])
        True
        """
        packed = subset(self._packed, self.n_params, check_rows(rows, self.n_samples))
        return self._on(packed)

    def minibatches(self, batch_size: int, *, seed: int = 0, epoch: int = 0) -> list[Self]:
        """Return objectives on mini-batches of rows: every row of positive weight is in one.

        Parameters
        ----------
        batch_size : int
            Rows of each, from 1 to n_samples; the last one has those that remain.
        seed, epoch : int
            The order of the rows is a pure function of both, the same on every machine.

        Returns
        -------
        list of LogisticLoss
            Each the mean over its rows and their weights, plus the whole penalty. All share one
            copy of the rows.
        """
        batch_size = check_integer("batch_size", batch_size, 1, self.n_samples)
        seed = check_integer("seed", seed, 0, MAX_SEED)
        epoch = check_integer("epoch", epoch, 0, MAX_SEED)
        parts = minibatches(self._packed, self.n_params, batch_size, seed, epoch)
        return [self._on(part) for part in parts]

    def _on(self, packed: Packed) -> Self:
        other = copy.copy(self)
        other._packed, other._digest = packed, None
        other._connect()
        return other

    def with_threads(self, n_threads: int | None) -> Self:
        """Return the same objective, its data shared, with another number of threads."""
        other = copy.copy(self)
        other.n_threads = check_n_threads(n_threads)
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_rows"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._connect()

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_samples} samples, {self.n_features} features, "
            f"l2={self.l2:g}, fit_intercept={self.fit_intercept}, dtype={self.dtype!r})"
        )

    def _threads(self) -> int:
        return default_n_threads()[0] if self.n_threads is None else self.n_threads

    def _one(self, theta: npt.ArrayLike) -> Float64Array:
        if (
            type(theta) is np.ndarray
            and theta.dtype == np.float64
            and theta.shape == (self.n_params,)
        ):
            as_is = theta.flags.c_contiguous and theta.flags.aligned
            return (theta if as_is else to_float64(theta)).reshape(1, -1)
        theta = as_real_array("theta", theta, 1, f"an array of shape ({self.n_params},)")
        self._check_n_params("theta", "entries", theta.shape[0], f"({self.n_params},)")
        return to_float64(theta).reshape(1, -1)

    def _many(self, thetas: npt.ArrayLike) -> Float64Array:
        wanted = f"(n_candidates, {self.n_params})"
        thetas = as_real_array("thetas", thetas, 2, f"an array of shape {wanted}")
        self._check_n_params("thetas", "columns", thetas.shape[1], wanted)
        if thetas.shape[0] == 0:
            raise ValueError(
                f"thetas is empty: pass at least one row, in an array of shape {wanted}."
            )
        return to_float64(thetas)

    def _check_n_params(self, name: str, unit: str, given: int, wanted: str) -> None:
        if given != self.n_params:
            parts = (
                f"{self.n_features} features and the intercept"
                if self.fit_intercept
                else "one for each feature"
            )
            raise ValueError(
                f"{name} has {given} {unit}, but the objective has {self.n_params} parameters "
                f"({parts}): pass {name} of shape {wanted}."
            )

    def _evaluate(self, thetas: Float64Array, *, gradient: bool) -> tuple[Float64Array, Any]:
        losses = np.empty(thetas.shape[0])
        gradients = np.empty_like(thetas) if gradient else None
        # Asking the system for threads takes longer than a small call.
        small = thetas.shape[0] * self._work < _kernels.SERIAL_WORK
        threads = 1 if small else self._threads()
        if not self._rows.evaluate(thetas, losses, gradients, threads):
            with np.errstate(over="ignore"):
                row, column = np.argwhere(~np.isfinite(thetas.astype(self.dtype)))[0]
            raise ValueError(
                f"theta {row} has {thetas[row, column]} as entry {column}, which is not finite in "
                f"{self.dtype}: pass finite thetas."
            )
        return losses, gradients
