"""The loss of networks of one hidden layer: rows packed once, very many networks evaluated."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import tanh
from metaopt_fast.data.checks import (
    check_classes,
    check_rows,
    check_sample_weight,
    check_whole_labels,
    check_X,
)
from metaopt_fast.data.packed import Packed
from metaopt_fast.data.packing import decisions_of, pack
from metaopt_fast.data.storage import StoragePath, check_storage
from metaopt_fast.data.subsets import minibatches, subset
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.base import PenalisedLoss, check_sampler
from metaopt_fast.objectives.penalties import Penalty, WeightsL2
from metaopt_fast.samplers.base import MAX_SEED, BuiltInSampler
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import frame_names
from metaopt_fast.validation.values import (
    check_integer,
    check_n_threads,
    check_number,
    describe,
)

ACTIVATIONS = ("tanh", "relu")
MAX_HIDDEN = 1024
MAX_OUTPUTS = 1024


class NetworkLoss(PenalisedLoss):
    """Mean loss of networks of one hidden layer, for one theta or very many.

    A network has the outputs o(x) = V f(U x + c) + b, f = tanh or max(0, z) by unit. With one
    output, L is that of `LogisticLoss` with the margin s_i o(x_i); with K, for `n_classes`, that of
    `SoftmaxLoss` with z_ik = o_k(x_i). The penalty is l2 / 2 times the sum of the squares of U and
    V; biases are free. MLPClassifier's alpha is l2 times the rows that it takes at once.

    theta has ``n_hidden * (n_features + 1) + n_outputs * (n_hidden + 1)`` entries: unit after unit,
    weights and then the bias; then output after output, likewise. L is not convex: where a descent
    ends depends on where it starts, and `starts` has a distribution of starts.

    The loss and the gradient of a theta have the same bits in whatever batch, on whatever number of
    threads they are evaluated, from AVX2 on with whatever instructions.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        As in `LogisticLoss`, but for sparse matrices.
    y : array_like of shape (n_samples,)
        Labels of two classes, as in `LogisticLoss`; or, with `n_classes`, whole numbers from 0 on.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum. A row of weight 0 is left out.
    n_hidden : int, default 16
        Units of the hidden layer, from 1 to 1024.
    activation : {"tanh", "relu"}, default "tanh"
        Function of a unit's margin: tanh, within 2 units in the last place, or max(0, z), whose
        derivative at 0 is 0.
    n_classes : int, optional
        K, from 2 to 1024: so many outputs, of which the largest decides.
    l2 : float, default 0
        Strength of the penalty, >= 0.
    dtype, n_threads, storage
        As in `LogisticLoss`.

    Attributes
    ----------
    n_samples, n_features, n_hidden, n_outputs, n_classes, n_params : int
        Rows, columns, units, outputs, classes, and entries of theta.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message says what to do.
    OSError
        If `storage` has no room for the rows, or this process may not write there.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> exclusive_or = mf.NetworkLoss([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], n_hidden=2)
    >>> exclusive_or.n_params
    9
    >>> exclusive_or.loss([9, 9, -4.5, 9, 9, -13.5, 9, -9, -9]) < 0.001
    True
    """

    classes: Sequence[Any]
    n_classes: int
    n_outputs: int
    n_params: int

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        n_hidden: int = 16,
        activation: str = "tanh",
        n_classes: int | None = None,
        l2: float = 0.0,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
        storage: StoragePath | None = None,
    ) -> None:
        self.n_hidden: int = check_integer("n_hidden", n_hidden, 1, MAX_HIDDEN)
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ValueError(f"activation is {describe(activation)}: pass 'tanh' or 'relu'.")
        self.activation: str = activation
        self.l2: float = check_number("l2", l2, 0.0)
        super().__init__(True, dtype, n_threads)
        memory = check_storage(storage)
        self.feature_names: tuple[str, ...] | None = frame_names("X", X)
        X = check_X(X)
        labels: npt.NDArray[Any]
        if n_classes is None:
            self.classes, labels = check_classes(y, len(X))
            self.n_outputs, self.n_classes = 1, 2
        else:
            self.n_classes, labels = check_whole_labels(y, len(X), n_classes, MAX_OUTPUTS)
            self.classes, self.n_outputs = range(self.n_classes), self.n_classes
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(X))
        self._packed: Packed = pack(
            X,
            labels,
            weights,
            True,
            self.dtype,
            strata=labels.astype(np.intp) if self._is_by_class else None,
            signed=False,
            n_threads=self._threads(),
            memory=memory,
        )
        self._digest: bytes | None = None
        self._connect()

    @property
    def _is_by_class(self) -> bool:
        """Whether rows need not be of more than one class: there are outputs for all of them."""
        return self.n_outputs > 1

    @property
    def _architecture(self) -> dict[str, Any]:
        """What a model of a theta is to know, for JSON."""
        shape = ("activation", "n_hidden", "n_outputs")
        return {name: getattr(self, name) for name in shape}

    def _connect(self) -> None:
        packed = self._packed
        self._set_shape(packed)
        self._rows = _kernels.NetworkRows(
            packed.rows("logistic", 0.0),
            packed.labels.astype(np.intc),
            self.n_hidden,
            self.n_outputs,
            self.activation == "relu",
            self.l2,
        )
        self.n_params = self._rows.n_params

    def _penalty_of(self, strengths: Float64Array) -> Penalty:
        return WeightsL2(strengths, self.n_features, self.n_hidden)

    @property
    def _parts(self) -> str:
        h, p, k = self.n_hidden, self.n_features, self.n_outputs
        return (
            f"n_hidden * (n_features + 1) + n_outputs * (n_hidden + 1) = {h} * {p + 1} + "
            f"{k} * {h + 1}"
        )

    # ---------------------------------------------------------------------------- starts and layers

    def starts(self) -> Uniform:
        """Return a sampler of starts for descents: the uniform one of Glorot and Bengio [1]_.

        Each layer's weights and biases are from -r to r, r^2 = 6 / (entries + exits of the layer),
        as scikit-learn's MLPClassifier has them but for its logistic units.

        References
        ----------
        .. [1] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
           neural networks", AISTATS (2010).
        """
        p, h, k = self.n_features, self.n_hidden, self.n_outputs
        radii = [math.sqrt(6 / (p + h)), math.sqrt(6 / (h + k))]
        high = np.repeat(radii, [h * (p + 1), k * (h + 1)])
        return Uniform(-high, high)

    def layers(self, theta: npt.ArrayLike) -> tuple[list[Float64Array], list[Float64Array]]:
        """Return a network's weights and biases, layer by layer.

        Parameters
        ----------
        theta : array_like of shape (n_params,)

        Returns
        -------
        coefs, intercepts : list of numpy.ndarray
            Of shapes (n_features, n_hidden), (n_hidden, n_outputs), and (n_hidden,), (n_outputs,):
            what MLPClassifier calls ``coefs_`` and ``intercepts_``. Copies.
        """
        of_units, of_outputs = self._layers(self._checked_theta(theta))
        parts = (of_units, of_outputs)
        coefs = [np.ascontiguousarray(part[:, :-1].T) for part in parts]
        return coefs, [part[:, -1].copy() for part in parts]

    def _layers(self, theta: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return a line for each unit, and one for each output, the bias its last entry."""
        size = self.n_hidden * (self.n_features + 1)
        return theta[:size].reshape(self.n_hidden, -1), theta[size:].reshape(self.n_outputs, -1)

    @shielded
    def decisions(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Float64Array:
        """Decide of rows, those of the objective or others.

        Parameters
        ----------
        theta : array_like of shape (n_params,)
        X : array_like of shape (n_rows, n_features)

        Returns
        -------
        numpy.ndarray of shape (n_rows,) or (n_rows, K)
            The outputs: one, above 0 for the positive class, or K, the largest of the class that is
            decided for; in double precision whatever the dtype.
        """
        of_units, of_outputs = self._layers(self._checked_theta(theta))
        rows = self._checked_rows(X)
        hidden = np.column_stack([decisions_of(rows, unit) for unit in of_units])
        largest = np.finfo(np.float64).max
        hidden = tanh(hidden) if self.activation == "tanh" else np.clip(hidden, 0, largest)
        hidden = np.column_stack([hidden, np.ones(len(rows))])
        outputs = [decisions_of(hidden, output) for output in of_outputs]
        return outputs[0] if self.n_outputs == 1 else np.column_stack(outputs)

    decision_function = decisions

    # ------------------------------------------------------------------------------ rows and losses

    @property
    def is_smooth(self) -> bool:
        """Whether the gradient is continuous: not of relu. It has no Lipschitz constant."""
        return self.activation == "tanh"

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that determines L."""
        import hashlib

        if self._digest is None:  # of the data, which never changes and copies share
            self._digest = self._packed.digest()
        digest = hashlib.sha256(self._digest)
        known = (type(self).__name__, self.n_hidden, self.activation, self.n_outputs, self.l2)
        digest.update(repr((*known, self.dtype)).encode())
        return digest.hexdigest()

    def subset(self, rows: npt.ArrayLike) -> Self:
        """Return the same objective on some of the rows, as `LogisticLoss.subset` does.

        With `n_classes`, they need not hold every class.
        """
        numbers = check_rows(rows, self.n_samples)
        return self._on(subset(self._packed, numbers, self._threads(), by_class=self._is_by_class))

    def minibatches(self, batch_size: int, *, seed: int = 0, epoch: int = 0) -> list[Self]:
        """Return objectives on mini-batches of rows, as `LogisticLoss.minibatches` does."""
        batch_size = check_integer("batch_size", batch_size, 1, self.n_samples)
        seed = check_integer("seed", seed, 0, MAX_SEED)
        epoch = check_integer("epoch", epoch, 0, MAX_SEED)
        return [self._on(part) for part in minibatches(self._packed, batch_size, seed, epoch)]

    def _on(self, packed: Packed) -> Self:
        other = copy.copy(self)
        other._packed, other._digest = packed, None
        other._connect()
        return other

    def __repr__(self) -> str:
        return (
            f"NetworkLoss({self.n_samples} samples, {self.n_features} features, "
            f"n_hidden={self.n_hidden}, activation={self.activation!r}, "
            f"n_outputs={self.n_outputs}, l2={self.l2:g}, dtype={self.dtype!r})"
        )

    def sampled_loss(
        self,
        sampler: BuiltInSampler,
        seed: int,
        start: int,
        count: int,
        *,
        n_threads: int | None = None,
    ) -> Float64Array:
        """Return L of candidates that are drawn inside the kernel, as `LogisticLoss` does."""
        check_sampler(sampler)
        asked = self if n_threads is None else self.with_threads(check_n_threads(n_threads))
        return asked.pruned_loss(sampler, seed, start, count, math.inf)[0]

    def pruned_loss(
        self,
        candidates: BuiltInSampler | npt.ArrayLike,
        seed: int,
        start: int,
        count: int,
        threshold: float,
    ) -> tuple[Float64Array, float]:
        """Return L of candidates where it is at most a threshold; else perhaps infinity.

        Rows' losses are never negative: a candidate is dropped as soon as those summed so far
        exceed the threshold, by more than a bound of their rounding. As `LogisticLoss.pruned_loss`.
        """
        return self._losses_below(self._evaluate_below, candidates, seed, start, count, threshold)

    def _evaluate_below(
        self,
        candidates: BuiltInSampler | Float64Array,
        seed: int,
        start: int,
        threshold: float,
        losses: Float64Array,
    ) -> float:
        draws, thetas = None, None
        if isinstance(candidates, BuiltInSampler):
            draws = candidates.drawn(seed, self.n_params)
        else:
            thetas = candidates
        return self._rows.evaluate_below(thetas, draws, start, threshold, losses, self._threads())

    def _evaluate(self, thetas: Float64Array, *, gradient: bool) -> tuple[Float64Array, Any]:
        losses = np.empty(len(thetas))
        gradients = np.empty_like(thetas) if gradient else None
        # Asking the system for threads takes longer than a small call.
        small = len(thetas) * self._rows.work < _kernels.SERIAL_WORK
        threads = 1 if small else self._threads()
        if not self._rows.evaluate(thetas, losses, gradients, threads):
            raise self._not_finite(thetas)
        return losses, gradients
