"""Logistic regression in scikit-learn's protocol; `metaopt_fast.sklearn` has the public name."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import class_factors, split_exponent
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.fitting.result import STATUSES, Status, warn_if_unbounded
from metaopt_fast.floating_errors import shielded
from metaopt_fast.sklearn.classifier import (
    Given,
    LinearModel,
    check_C,
    check_class_weight,
    check_l1_ratio,
    log_probabilities,
    probabilities,
    to_double,
    warn_unless_converged,
)
from metaopt_fast.sklearn.drop_in import check_ignored, penalty_of, threads_of, words_of
from metaopt_fast.typing import Array, Float64Array, IndexArray
from metaopt_fast.validation.values import check_flag, check_integer, check_number


class LogisticRegression(LinearModel):
    """Logistic regression with l2 and l1 penalties, and a proof of how good it is.

    Minimises C * sum_i w_i loss_i + (1 - l1_ratio) coef'coef / 2 + l1_ratio sum_j abs(coef_j), as
    scikit-learn's estimator of this name does: w_i is the sample weight of row i times that of its
    class, and the intercept is not penalised. The loss is softplus(-m_i), m_i the margin, for two
    classes, and minus the logarithm of the softmax of the row's class for more: one model of all
    classes (multinomial), for which there is no l1 penalty.

    Parameters
    ----------
    C : float, default 1.0
        Inverse of the penalty's strength; infinity is no penalty.
    l1_ratio : float, default 0.0
        Part of the l1 penalty, from 0, an l2 penalty alone, to 1, an l1 penalty alone; between
        them it is an elastic net. With an l1 penalty, coefficients are 0 where a column says too
        little.
    l2 : float, optional
        Strength of the penalty beside the mean loss, 1 / (C * sum_i w_i), instead of C; `l1_ratio`
        is a part of it, too.
    class_weight : dict of label to float, or "balanced", optional
        "balanced" weighs each of K classes by n / (K n_class), n sums of sample weights.
    fit_intercept : bool, default True
    warm_start : bool, default False
        Whether fit starts from the solution before.
    tol : float, default 1e-8
        Tolerance of the Newton decrement, as in `metaopt_fast.fit_many`; with an l1 penalty, and of
        more than two classes, of the gap to the optimum.
    max_iter : int, default 100
        0 leaves the coefficients where they begin.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the
        cgroup quota decide.
    n_jobs : int, optional
        The same, as scikit-learn calls it; -1 is all of them.
    solver : str, default "lbfgs"
        As scikit-learn's `random_state`, `verbose`, `dual` and `intercept_scaling`, which follow:
        checked, and of no effect, since the optimum is the same. The intercept is penalised for
        none.
    random_state : int, RandomState or None, default None
    verbose : int, default 0
    dual : bool, default False
    intercept_scaling : float, default 1
    penalty : {"l2", "l1", "elasticnet", None}, optional
        Deprecated as in scikit-learn 1.8: `l1_ratio` and `C` say it.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (n_classes,)
        Labels of the classes; of two, the second one is the positive class.
    coef_ : numpy.ndarray of shape (1, n_features), or (n_classes, n_features) of more than two
        In single precision, as the intercepts, if X is: they are rounded after the fit.
    intercept_ : numpy.ndarray of shape (1,), or (n_classes,)
    n_iter_ : numpy.ndarray of shape (1,)
    gap_bound_ : float
        An upper bound of the distance of the mean loss with its penalty to its optimum; infinite:
        nothing is proven.
    certified_ : bool
        Whether `gap_bound_` is finite and at most tol times the objective, or tol if that is
        below 1.
    n_features_in_ : int
    feature_names_in_ : numpy.ndarray of shape (n_features,)
        Names of the columns, where X has them.

    Examples
    --------
    >>> from metaopt_fast.sklearn import LogisticRegression
    >>> model = LogisticRegression().fit([[1.0], [2.0], [-1.0]], ["in", "in", "out"])
    >>> model.predict([[-3.0]])
    array(['out'], dtype='<U3')
    """

    n_iter_: npt.NDArray[np.int32]
    gap_bound_: float
    certified_: bool
    intercept_: Array

    def __init__(
        self,
        C: float = 1.0,
        *,
        l1_ratio: float = 0.0,
        l2: float | None = None,
        class_weight: dict[Any, float] | str | None = None,
        fit_intercept: bool = True,
        warm_start: bool = False,
        tol: float = 1e-8,
        max_iter: int = 100,
        n_threads: int | None = None,
        n_jobs: int | None = None,
        solver: str = "lbfgs",
        random_state: Any = None,
        verbose: int = 0,
        dual: bool = False,
        intercept_scaling: float = 1,
        penalty: str | None = "deprecated",
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.l2 = l2
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.warm_start = warm_start
        self.tol = tol
        self.max_iter = max_iter
        self.n_threads = n_threads
        self.n_jobs = n_jobs
        self.solver = solver
        self.random_state = random_state
        self.verbose = verbose
        self.dual = dual
        self.intercept_scaling = intercept_scaling
        self.penalty = penalty

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> Self:
        """Train on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        Warns with a ConvergenceWarning where it has not converged.
        """
        check_ignored(
            solver=self.solver,
            random_state=self.random_state,
            verbose=self.verbose,
            dual=self.dual,
            intercept_scaling=self.intercept_scaling,
        )
        C, l1_ratio = penalty_of(self.penalty, self.C, self.l1_ratio)
        warm = check_flag("warm_start", self.warm_start) and hasattr(self, "coef_")
        start = self._start() if warm else None
        data = self._training_data(X, y, sample_weight)
        status = self._train(*data, start, C, l1_ratio)
        warn_unless_converged(status, self.max_iter, words_of(self.solver, self.max_iter))
        return self

    @shielded
    def _train(
        self,
        given: Given,
        codes: IndexArray,
        weights: Float64Array | None,
        start: Float64Array | None,
        C: Any,
        l1_ratio: Any,
    ) -> npt.NDArray[np.str_]:
        """Train on data that were checked, and say how that ended."""
        C, ratio = check_C(C), check_l1_ratio(l1_ratio, len(self.classes_))
        X, dtype = to_double(given)
        strength = None if self.l2 is None else check_number("l2", self.l2, 0.0)
        choice = check_class_weight(self.class_weight, self.classes_)
        weights = np.ones(len(X)) if weights is None else weights
        n_classes = len(self.classes_)
        sums = np.array([weights[codes == k].sum() for k in range(n_classes)])
        factors, exponent = split_exponent(class_factors(choice, sums))
        # An infinite weight is refused, an infinite C is none.
        weights = weights * factors[codes]
        if strength is None:
            strength = float(np.ldexp(1 / (C * weights.sum()), -exponent))
        l1 = ratio * strength if ratio > 0 else 0.0
        l2 = (1 - ratio) * strength if ratio < 1 else 0.0
        has_intercept = check_flag("fit_intercept", self.fit_intercept)
        n_threads = threads_of(self.n_jobs, self.n_threads)
        if check_integer("max_iter", self.max_iter, 0) == 0:
            return self._stay(start, X.shape[1], dtype)
        effort = Effort.of(self.tol, self.max_iter, n_threads).to_the_last_digits
        rows = Rows.checked(X, codes, n_classes, weights, has_intercept)
        fits = fit_models(effort, rows, l2=[l2], l1=[l1], theta0=start)
        self._keep(np.atleast_2d(fits.theta[0]), X.shape[1], dtype)
        self.n_iter_ = fits.n_iter.astype(np.int32)
        self.gap_bound_ = float(fits.gap_bound[0])
        self.certified_ = bool(fits.certified[0])
        warn_if_unbounded(fits, l2, stacklevel=4, l1=l1, category=ConvergenceWarning)
        return fits.status

    def _keep(self, thetas: Float64Array, n_features: int, dtype: np.dtype[Any]) -> None:
        """Set coefficients, as exact as X is."""
        thetas = thetas.astype(dtype, copy=False)
        self.coef_ = thetas[:, :n_features]
        self.intercept_ = thetas[:, -1] if self.fit_intercept else np.zeros(len(thetas), dtype)

    def _stay(
        self, start: Float64Array | None, n_features: int, dtype: np.dtype[Any]
    ) -> npt.NDArray[np.str_]:
        """Take no step, and say that it ended so."""
        if start is None:
            n_rows = 1 if len(self.classes_) == 2 else len(self.classes_)
            start = np.zeros((n_rows, n_features + bool(self.fit_intercept)))
        self._keep(start, n_features, dtype)
        self.n_iter_ = np.zeros(1, np.int32)
        self.gap_bound_, self.certified_ = math.inf, False
        return np.array([STATUSES[Status.MAX_ITER]])

    def _start(self) -> Float64Array:
        coef = self._dense_coef()
        parts = [coef, self.intercept_[:, None].astype(np.float64)]
        parts = parts if self.fit_intercept else parts[:1]
        return np.concatenate(parts, axis=1)

    @shielded
    def predict_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the probability of each class, shape (n_samples, n_classes); the small ones are
        exact."""
        return probabilities(self.decision_function(X))

    @shielded
    def predict_log_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the logarithm of the probability of each class, finite for any decision."""
        return log_probabilities(self.decision_function(X))
