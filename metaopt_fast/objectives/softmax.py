"""The loss of softmax regression: linear models of K classes, packed once, evaluated many times."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.checks import (
    check_rows,
    check_sample_weight,
    check_whole_labels,
    check_X,
    unit_of,
)
from metaopt_fast.data.packing import decisions_of, pack
from metaopt_fast.data.storage import StoragePath, check_storage
from metaopt_fast.data.subsets import subset
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.base import PenalisedLoss
from metaopt_fast.objectives.eigenvalues import moment_bound
from metaopt_fast.objectives.penalties import L2, Penalty
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.frames import frame_names
from metaopt_fast.validation.values import check_number

# A product of 8 rows' sums over the classes stays in the range of single precision.
MAX_CLASSES = 2**15


class SoftmaxLoss(PenalisedLoss):
    """Mean softmax (cross-entropy) loss of linear models of K classes, for one theta or very many.

    L(theta) = sum_i w_i (log sum_k exp(z_ik) - z_i,y_i) / sum_i w_i + l2 / 2 * sum_kj theta_kj^2,
    z_ik = x_i . theta_k. theta is an array of shape (K, n_features), or (K, n_features + 1) with
    intercepts as its last column, which are not penalised; it is given as one row, flattened in C
    order. scikit-learn's C is 1 / (l2 * sum_i w_i).

    The loss and the gradient of a theta have the same bits in whatever batch, on whatever number of
    threads they are evaluated, from AVX2 on with whatever instructions. Searches drop no candidate
    early: ``prune`` has no effect.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        As in `LogisticLoss`.
    y : array_like of int of shape (n_samples,)
        Classes, from 0 to K - 1. ``numpy.unique(labels, return_inverse=True)[1]`` has those of any
        labels.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum. A row of weight 0 is left out.
    n_classes : int, optional
        K, from 2 on; by default, all classes from 0 to the greatest in y must be there.
    l2 : float, default 0
        Strength of the penalty, >= 0.
    fit_intercept : bool, default False
        Whether each class has an intercept.
    dtype, n_threads, storage
        As in `LogisticLoss`.

    Attributes
    ----------
    n_samples, n_features, n_classes, n_params : int
        Rows, columns, K, and entries of theta.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.SoftmaxLoss([[1.0], [2.0], [-1.0]], [1, 2, 0])
    >>> objective.batch_loss([[0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]).round(4).tolist()
    [1.0986, 0.6527]
    """

    n_classes: int

    n_params: int

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        n_classes: int | None = None,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
        storage: StoragePath | None = None,
    ) -> None:
        self.l2: float = check_number("l2", l2, 0.0)
        super().__init__(fit_intercept, dtype, n_threads)
        memory = check_storage(storage)
        self.feature_names: tuple[str, ...] | None = frame_names("X", X)
        X = check_X(X)
        self.n_classes, classes = check_whole_labels(y, len(X), n_classes, MAX_CLASSES)
        self.classes = range(self.n_classes)
        weights = None
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(X))
        # Weights are packed divided by it.
        self._unit = 1.0 if sample_weight is None else unit_of(sample_weight)
        self._packed = pack(
            X,
            classes,
            weights,
            self.fit_intercept,
            self.dtype,
            strata=classes,
            signed=False,
            n_threads=self._threads(),
            memory=memory,
        )
        self._digest: bytes | None = None
        self._connect()

    def _connect(self) -> None:
        packed, n_classes = self._packed, self.n_classes
        self._set_shape(packed)
        self._n_columns, self.n_params = self.n_params, n_classes * self.n_params
        strata = packed.block_labels.astype(np.intc)
        self._rows = _kernels.SoftmaxRows(
            packed.rows("logistic", 0.0), strata, n_classes, n_classes
        )
        self._work = n_classes * _kernels.work(self.n_samples, self._n_columns)

    def _penalty_of(self, strengths: Float64Array) -> Penalty:
        return L2(strengths, self.n_features, self.n_classes)

    @property
    def _parts(self) -> str:
        each = f"{self.n_features} features" + " and the intercept" * self.fit_intercept
        return f"{self.n_classes} classes of {each}"

    @shielded
    def decisions(self, theta: npt.ArrayLike, X: npt.ArrayLike) -> Float64Array:
        """Decide of rows, those of the objective or others.

        Parameters
        ----------
        theta : array_like of shape (n_params,)
        X : array_like of shape (n_rows, n_features)

        Returns
        -------
        numpy.ndarray of shape (n_rows, n_classes)
            Margins of each row, the largest of the class that is decided for; in double precision
            whatever the dtype.
        """
        of_classes = self._checked_theta(theta).reshape(self.n_classes, -1)
        rows = self._checked_rows(X)
        return np.column_stack(
            [decisions_of(rows, np.ascontiguousarray(one)) for one in of_classes]
        )

    def confusion(self, theta: npt.ArrayLike) -> Float64Array:
        """Return the confusion matrix of one theta, shape (n_classes, n_classes).

        See `batch_confusion`.
        """
        found: Float64Array = self._confusion(self._one(theta))[0]
        return found

    def batch_confusion(self, thetas: npt.ArrayLike) -> Float64Array:
        """Count what many thetas decide of the rows, without keeping their decisions.

        Parameters
        ----------
        thetas : array_like of shape (n_candidates, n_params)

        Returns
        -------
        numpy.ndarray of shape (n_candidates, n_classes, n_classes), float64
            Entry (k, i, j) is the weight of the rows of class i that theta k takes for class j, as
            in scikit-learn's ``confusion_matrix``: the largest margin decides, of equal ones that
            of the lowest class. Whole numbers, exactly, without weights; else sums within a part
            of 2**-43 (2**-23 in float32) of the exact ones.

        Raises
        ------
        ValueError, TypeError
            If thetas has another shape, is not finite or not real.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.SoftmaxLoss([[1.0], [2.0], [-1.0]], [1, 2, 0])
        >>> objective.batch_confusion([[-1.0, 0.0, 1.0]]).tolist()
        [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]
        """
        return self._confusion(self._many(thetas))

    @shielded
    def _confusion(self, thetas: Float64Array) -> Float64Array:
        counts = np.zeros((len(thetas), self.n_classes, self.n_classes))
        factors = np.ones((len(thetas), self.n_classes))
        if not self._rows.count(thetas, factors, counts, self._threads()):
            raise self._not_finite(thetas)
        return counts * self._unit

    @shielded
    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient of L, from which step sizes are chosen.

        Half of the largest eigenvalue of sum_i w_i x_i x_i' / sum_i w_i, plus l2 [1]_: at most 1 %
        above that, never below, and infinite where it leaves the range of floats.

        References
        ----------
        .. [1] D. Boehning, "Multinomial logistic regression algorithm", Annals of the Institute of
           Statistical Mathematics 44 (1992).
        """
        return moment_bound(self._packed, self._threads()) / 2 + self.l2

    @property
    def is_smooth(self) -> bool:
        """True: the gradient has a Lipschitz constant."""
        return True

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal digits, of the packed data and of all that determines L."""
        import hashlib

        if self._digest is None:  # of the data, which never changes and copies share
            self._digest = self._packed.digest()
        digest = hashlib.sha256(self._digest)
        known = (type(self).__name__, self.n_classes, self.l2, self.fit_intercept, self.dtype)
        digest.update(repr(known).encode())
        return digest.hexdigest()

    def subset(self, rows: npt.ArrayLike) -> Self:
        """Return the same objective on some of the rows, as `LogisticLoss.subset` does.

        They need not hold every class: n_classes stays as it is.
        """
        other, some = copy.copy(self), check_rows(rows, self.n_samples)
        other._packed = subset(self._packed, some, self._threads(), by_class=True)
        if (weights := self._packed.origin.weights) is not None:
            other._unit = self._unit * unit_of(weights[some])
        other._digest = None
        other._connect()
        return other

    def __repr__(self) -> str:
        return (
            f"SoftmaxLoss({self.n_samples} samples, {self.n_features} features, "
            f"{self.n_classes} classes, l2={self.l2:g}, fit_intercept={self.fit_intercept}, "
            f"dtype={self.dtype!r})"
        )

    def _evaluate(self, thetas: Float64Array, *, gradient: bool) -> tuple[Float64Array, Any]:
        n = len(thetas)
        losses = np.empty(n)
        gradients = np.empty_like(thetas) if gradient else None
        # Asking the system for threads takes longer than a small call.
        threads = 1 if n * self._work < _kernels.SERIAL_WORK else self._threads()
        factors = np.ones((n, self.n_classes))
        totals, l2 = np.full(n, self._packed.total_weight), np.full(n, self.l2)
        if not self._rows.evaluate(thetas, factors, totals, l2, losses, gradients, threads):
            raise self._not_finite(thetas)
        return losses, gradients
