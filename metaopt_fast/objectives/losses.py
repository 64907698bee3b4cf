"""The losses of linear models: each is one pointwise loss of src/losses.hpp, made an objective."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.storage import StoragePath
from metaopt_fast.objectives.pointwise import PointwiseLoss
from metaopt_fast.validation.values import check_number


class LogisticLoss(PointwiseLoss):
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
        Finite numbers: an array of any layout and real dtype, a memory map, or a frame of pandas,
        polars or pyarrow whose columns hold numbers or truth values, of any dtypes; or a sparse
        matrix of SciPy, in any format. It is copied once, into the order in which the kernels read
        it, a sparse one twice.
    y : array_like of shape (n_samples,) or (n_samples, 1)
        Labels of two classes, numbers, strings or bool: an array, a list, or a column of a frame.
        The greater one, as `numpy.unique` orders them, is the positive class.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0 with a positive sum. A row of weight 0 is left out.
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
        Whether rows with the same numbers and the same label become one, with the sum of their
        weights: of data in few values, few rows are left, and n_samples is their number.
    storage : path of a directory, optional
        Where the packed rows lie, in a file without a name, instead of in memory: for data larger
        than that. Results keep their bits.

    Attributes
    ----------
    n_samples, n_features, n_params : int
        Rows, columns, and entries of theta: n_features, or one more for the intercept.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; the message says what to do.
    OSError
        If `storage` has no room for the rows, or this process may not write there.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    >>> objective.batch_loss([[0.0], [1.0]]).round(4).tolist()
    [0.6931, 0.2512]
    """

    _loss = "logistic"
    _curvature = 0.25


class SquaredHingeLoss(PointwiseLoss):
    """Mean squared hinge loss, max(0, 1 - m_i)^2, of linear models; see `LogisticLoss`.

    scikit-learn's LinearSVC minimises it; its C is 1 / (l2 * sum_i w_i).

    Parameters
    ----------
    X, y, sample_weight, l2, fit_intercept, dtype, n_threads, merge_duplicates, storage
        As in `LogisticLoss`.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.SquaredHingeLoss([[1.0], [3.0], [-1.0]], [1, 1, 0]).batch_loss([[0.0], [0.5]]).tolist()
    [1.0, 0.16666666666666666]
    """

    _loss = "squared_hinge"
    _curvature = 2.0


class HingeLoss(PointwiseLoss):
    """Mean hinge loss, max(0, 1 - m_i), of linear models; see `LogisticLoss`.

    The gradient is a subgradient, 0 for rows at the kink: descents need a learning rate of their
    own, and best one that decreases.

    Parameters
    ----------
    X, y, sample_weight, l2, fit_intercept, dtype, n_threads, merge_duplicates, storage
        As in `LogisticLoss`.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.HingeLoss([[1.0], [3.0], [-1.0]], [1, 1, 0]).batch_loss([[0.0], [0.25]]).tolist()
    [1.0, 0.5833333333333334]
    """

    _loss = "hinge"
    _curvature = float("inf")


class SquaredLoss(PointwiseLoss):
    """Mean squared loss, (1 - m_i)^2, of linear models; see `LogisticLoss`.

    That is (s_i - x_i . theta)^2, least squares on the labels s_i = -1 and +1, as scikit-learn's
    RidgeClassifier has them; its alpha is l2 / 2 * sum_i w_i.

    Parameters
    ----------
    X, y, sample_weight, l2, fit_intercept, dtype, n_threads, merge_duplicates, storage
        As in `LogisticLoss`.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.SquaredLoss([[1.0], [3.0], [-1.0]], [1, 1, 0]).batch_loss([[0.0], [1.0]]).tolist()
    [1.0, 1.3333333333333333]
    """

    _loss = "squared"
    _curvature = 2.0


class SmoothedZeroOneLoss(PointwiseLoss):
    """Mean of sigmoid(-beta * m_i), a smooth part of wrong labels; see `LogisticLoss`.

    The larger beta, the nearer to the zero-one loss and the flatter between its steps. It is not
    convex: where a descent ends depends on where it starts.

    Parameters
    ----------
    X, y, sample_weight, l2, fit_intercept, dtype, n_threads, merge_duplicates, storage
        As in `LogisticLoss`.
    beta : float, default 1
        Steepness, > 0. The rows are stored times beta.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.SmoothedZeroOneLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], beta=10)
    >>> objective.batch_loss([[0.0], [1.0], [-1.0]]).round(4).tolist()
    [0.5, 0.0, 1.0]
    """

    _loss = "smoothed_zero_one"
    # Of the sigmoid, at log(2 + sqrt(3)): 1 / (6 sqrt(3)).
    _curvature = 0.09622504486493763

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        beta: float = 1.0,
        l2: float = 0.0,
        fit_intercept: bool = False,
        dtype: npt.DTypeLike = "float64",
        n_threads: int | None = None,
        merge_duplicates: bool = False,
        storage: StoragePath | None = None,
    ) -> None:
        self.beta: float = check_number("beta", beta, 0.0, strictly=True)
        with np.errstate(all="ignore"):
            super().__init__(
                X,
                y,
                sample_weight,
                l2=l2,
                fit_intercept=fit_intercept,
                dtype=dtype,
                n_threads=n_threads,
                merge_duplicates=merge_duplicates,
                storage=storage,
            )
        if not np.isfinite(self._packed.extent):
            raise ValueError(
                f"beta is {self.beta:g}, and beta times X leaves the range of {self.dtype}: pass a "
                "smaller one."
            )

    def _scale(self) -> float:
        return self.beta
