"""Linear support vector machines in scikit-learn's protocol."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import class_factors, split_exponent
from metaopt_fast.fitting.fit_differing import fit_each
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.fitting.result import warn_if_unbounded
from metaopt_fast.floating_errors import shielded
from metaopt_fast.sklearn.classifier import (
    LinearModel,
    check_C,
    check_class_weight,
    to_double,
    warn_unless_converged,
)
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import check_flag, check_number


class LinearSVC(LinearModel):
    """Linear support vector machine with the squared hinge loss, and a proof of how good it is.

    Minimises C * sum_i w_i max(0, 1 - m_i)^2 + coef'coef / 2, as scikit-learn's estimator of this
    name does, but for the intercept, which is not penalised here: w_i is the sample weight of row i
    times that of its class, and m_i its margin. Of more than two classes there is a machine for
    each, of its rows against the rest.

    Parameters
    ----------
    C : float, default 1.0
        Inverse of the penalty's strength; infinity is no penalty.
    l2 : float, optional
        Strength of the penalty beside the mean loss, 1 / (C * sum_i w_i), instead of C.
    class_weight : dict of label to float, or "balanced", optional
        "balanced" weighs each of K classes by n / (K n_class), n sums of sample weights. Of more
        than two classes, the weight is that of a class's own rows in its own machine, the rest have
        1: LIBLINEAR's way, and so scikit-learn's.
    fit_intercept : bool, default True
    tol : float, default 1e-8
        Tolerance of the gap to the optimum: `certified_` says whether it is proven to be kept.
    max_iter : int, default 100
        Largest number of Newton steps.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the
        cgroup quota decide.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (n_classes,)
        Labels of the classes; of two, the second one is the positive class.
    coef_ : numpy.ndarray of shape (1, n_features), or (n_classes, n_features) of more than two
    intercept_ : numpy.ndarray of shape (1,), or (n_classes,)
    n_iter_ : int
        Newton steps, of the machine that took the most.
    gap_bound_ : float
        An upper bound of the distance of the mean loss with its penalty to its optimum, the largest
        of all machines; infinite: nothing is proven.
    certified_ : bool
        Whether each machine's bound is at most tol times its objective, or tol if that is below 1.
    n_features_in_ : int
    feature_names_in_ : numpy.ndarray of shape (n_features,)
        Names of the columns, where X has them.

    Examples
    --------
    >>> from metaopt_fast.sklearn import LinearSVC
    >>> model = LinearSVC().fit([[1.0], [2.0], [-1.0]], ["in", "in", "out"])
    >>> model.predict([[-3.0]])
    array(['out'], dtype='<U3')
    """

    _link = None  # decisions mean no probabilities

    intercept_: Float64Array
    n_iter_: int
    gap_bound_: float
    certified_: bool

    def __init__(
        self,
        C: float = 1.0,
        *,
        l2: float | None = None,
        class_weight: dict[Any, float] | str | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        max_iter: int = 100,
        n_threads: int | None = None,
    ) -> None:
        self.C = C
        self.l2 = l2
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> Self:
        """Train on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        Warns with a ConvergenceWarning where it has not converged.
        """
        given, codes, weights = self._training_data(X, y, sample_weight)
        status = self._train(to_double(given)[0], codes, weights)
        warn_unless_converged(status, self.max_iter)
        return self

    @shielded
    def _train(
        self, X: Float64Array | SparseRows, codes: IndexArray, weights: Float64Array | None
    ) -> npt.NDArray[np.str_]:
        """Train on data that were checked, and say how that ended."""
        choice, n_classes = check_class_weight(self.class_weight, self.classes_), len(self.classes_)
        weights = np.ones(len(X)) if weights is None else weights
        sums = np.array([weights[codes == k].sum() for k in range(n_classes)])
        factors = class_factors(choice, sums)
        effort = Effort.of(self.tol, self.max_iter, self.n_threads)
        if n_classes == 2:
            rows, strength = self._machine(X, codes, weights, factors)
            fits = fit_models(effort, rows, l2=[strength], loss="squared_hinge")
        else:
            pairs = [
                self._machine(X, (codes == k).astype(np.intp), weights, np.array([1.0, factors[k]]))
                for k in range(n_classes)
            ]
            machines, strengths = [pair[0] for pair in pairs], np.array([pair[1] for pair in pairs])
            fits = fit_each(effort, machines, strengths)
        warn_if_unbounded(fits, fits.l2, stacklevel=4)
        self.coef_ = np.ascontiguousarray(fits.theta[:, : X.shape[1]])
        self.intercept_ = fits.theta[:, -1].copy() if self.fit_intercept else np.zeros(len(fits.l2))
        self.n_iter_ = int(fits.n_iter.max())
        self.gap_bound_ = float(fits.gap_bound.max())
        self.certified_ = bool(fits.certified.all())
        return fits.status

    def _machine(
        self,
        X: Float64Array | SparseRows,
        codes: IndexArray,
        weights: Float64Array,
        factors: Float64Array,
    ) -> tuple[Rows, float]:
        """Return the rows of one machine, whose classes are 0 and 1, given the factors of these,
        and its penalty."""
        C = check_C(self.C)
        strength = None if self.l2 is None else check_number("l2", self.l2, 0.0)
        has_intercept = check_flag("fit_intercept", self.fit_intercept)
        # An infinite weight is refused, an infinite C is none.
        factors, exponent = split_exponent(factors)
        weights = weights * factors[codes]
        if strength is None:
            strength = float(np.ldexp(1 / (C * weights.sum()), -exponent))
        return Rows.checked(X, codes, 2, weights, has_intercept), strength
