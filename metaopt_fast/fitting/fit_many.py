"""Many regularised logistic regressions at once, each with a bound of its distance to optimum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_classes, check_sample_weight, check_X
from metaopt_fast.data.packing import pack
from metaopt_fast.fitting.arguments import (
    ClassWeight,
    check_class_weight,
    check_folds,
    check_l2,
    check_theta0,
    check_training_sets,
)
from metaopt_fast.fitting.certificates import after_rounding
from metaopt_fast.fitting.models import Models
from metaopt_fast.fitting.newton import CONVERGED, OUT_OF_DIGITS, Optima, fit
from metaopt_fast.fitting.reductions import Reduction
from metaopt_fast.fitting.training_sets import Problem
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import default_n_threads
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import check_integer, check_n_threads, check_number, describe

# Up to 24 models are fitted together whatever their size: larger Hessians would take half a GB.
MAX_PARAMS = 2048
# Of newton's numbers, by name.
STATUSES = ("converged", "max_iter", "rounding")


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """Regularised models and what is known of them.

    Attributes
    ----------
    theta : numpy.ndarray of shape (M, n_params), or (M, n_folds, n_params) with folds
        The intercept, if any, is the last entry.
    loss : numpy.ndarray of shape (M,) or (M, n_folds)
        The objective on the training rows, penalty included.
    gap_bound : numpy.ndarray, shaped as loss
        The objective is proven to be at most this far above its optimum, by self-concordance or
        by strong convexity; infinite: nothing is proven.
    certified : numpy.ndarray of bool, shaped as loss
        Whether gap_bound is finite and at most tol * max(1, loss).
    n_iter : numpy.ndarray of int, shaped as loss
        Newton steps.
    converged : numpy.ndarray of bool, shaped as loss
        Whether the Newton decrement is at most tol, or steps changed nothing any more but by
        rounding, and the gap is at most about tol * max(1, loss), proven or not.
    validation_loss, validation_accuracy : numpy.ndarray of shape (M, n_folds), or None
        Means over the rows of the fold that was held out, weighted by sample_weight.
    status : numpy.ndarray of str, shaped as loss
        "converged"; "max_iter": there were no more steps; "rounding": steps changed nothing any
        more, though the gap may be above tol.
    """

    theta: Float64Array
    loss: Float64Array
    gap_bound: Float64Array
    certified: npt.NDArray[np.bool_]
    n_iter: npt.NDArray[np.intp]
    converged: npt.NDArray[np.bool_]
    validation_loss: Float64Array | None
    validation_accuracy: Float64Array | None
    status: npt.NDArray[np.str_]

    def __repr__(self) -> str:
        folds = "" if self.loss.ndim == 1 else f" x {self.loss.shape[1]} folds"
        lines = [
            f"FitResult of {len(self.loss):,} models{folds}, {self.theta.shape[-1]:,} parameters",
            f"  converged    {np.count_nonzero(self.converged):,} of {self.converged.size:,}",
            f"  certified    {np.count_nonzero(self.certified):,}, "
            f"gap bounds up to {self.gap_bound.max():.2g}",
            f"  Newton steps {self.n_iter.min()} to {self.n_iter.max()}",
            f"  loss         {self.loss.min():.6g} to {self.loss.max():.6g}",
        ]
        if self.validation_loss is not None:
            means = self.validation_loss.mean(axis=1)
            best = int(np.argmin(means))
            lines.append(f"  validation   mean loss {means[best]:.6g} at best, of model {best}")
        return "\n".join(lines)


def fit_many(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: npt.ArrayLike,
    folds: npt.ArrayLike | None = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    sample_weight: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
    theta0: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> FitResult:
    """Fit M regularised logistic regressions, for each fold that is left out, as one computation.

    Each minimises sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 theta'theta over its training rows,
    the intercept not penalised: scikit-learn's C is 1 / (l2 * sum_i w_i). The bits of the results
    are the same for any number of threads.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers, of any layout and real dtype.
    y : array_like of shape (n_samples,)
        Labels of two classes, of which the greater one is positive; see `LogisticLoss`.
    l2 : float, or array_like of shape (M,) or (M, n_folds)
        Strengths of the penalty, >= 0.
    folds : array_like of int of shape (n_samples,), optional
        The fold of each row, 0 .. n_folds - 1: model (m, f) is trained on the rows of all other
        folds, and validated on those of fold f.
    class_weight : None, "balanced", a dict {0: float, 1: float}, or a list of M of these
        What the weights of the rows of each class are multiplied by; "balanced" makes the classes
        of the training rows equally heavy. A class that the dict leaves out has weight 1. Where
        the labels are other than 0 and 1, -1 and +1, or bool, the dict has these labels as keys.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0. A row of weight 0 is as good as absent.
    fit_intercept : bool, default True
    tol : float, default 1e-8
        A model has converged when its Newton decrement, sqrt(g' H^-1 g), is at most tol, and its
        gap proven to be small: about tol^2 / 2. Where rounding ends the steps before that, it has
        converged if the gap is at most about tol * max(1, loss).
    max_iter : int, default 100
        Newton steps at most.
    theta0 : array_like, optional
        Where to start, of a shape that broadcasts to that of ``FitResult.theta``. By default
        models start from those of all rows at penalties nearby.
    n_threads : int, optional
        From 1 to 1024; by default as in `LogisticLoss`.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the training rows of a fold are of one class.

    Warns
    -----
    RuntimeWarning
        If models have not converged, with the reason; if l2 is 0 and a model is not certified:
        separable rows have no optimum.

    References
    ----------
    The bound of the gap: F. Bach, "Self-concordant analysis for logistic regression", Electronic
    Journal of Statistics 4 (2010).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, _ = load_breast_cancer()
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> fits = mf.fit_many(X, y, l2=[1e-4, 1e-3, 1e-2], folds=[i % 5 for i in range(len(y))])
    >>> fits.validation_loss.mean(axis=1).round(3).tolist()
    [0.139, 0.08, 0.083]
    >>> bool(fits.certified.all())
    True
    """
    fits = fit_models(
        X,
        y,
        l2=l2,
        folds=folds,
        class_weight=class_weight,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        tol=tol,
        max_iter=max_iter,
        theta0=theta0,
        n_threads=n_threads,
    )
    if reasons := reasons_of(fits.status, max_iter):
        warnings.warn(reasons, RuntimeWarning, stacklevel=2)
    else:
        warn_if_unbounded(fits, l2, stacklevel=3)
    return fits


def warn_if_unbounded(fits: FitResult, l2: npt.ArrayLike, stacklevel: int) -> None:
    """Warn of models without a penalty that may have no optimum."""
    strengths = np.reshape(np.asarray(l2, np.float64), (-1, 1) if np.ndim(l2) < 2 else np.shape(l2))
    if (~fits.certified.reshape(len(fits.loss), -1) & (strengths == 0)).any():
        warnings.warn(
            "l2 is 0 and an optimum could not be certified, as where columns are collinear or a "
            "plane separates the classes: pass a positive l2.",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


def reasons_of(status: npt.NDArray[np.str_], max_iter: int) -> str:
    """Return why models have not converged, and what to do about it; nothing if all have."""
    sentences = []
    if count := np.count_nonzero(status == "max_iter"):
        sentences.append(
            f"{count} of {status.size} models did not converge in {max_iter} iterations: pass a "
            "larger max_iter, a larger l2 (a smaller C), or features of similar scales."
        )
    if count := np.count_nonzero(status == "rounding"):
        sentences.append(
            f"{count} of {status.size} models ended where rounding hides what is left to gain, as "
            "where columns are nearly collinear or of very unlike size: pass features that are "
            "standardised, a larger l2 (a smaller C), or a larger tol."
        )
    return " ".join(sentences)


@shielded
def fit_models(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: npt.ArrayLike,
    folds: npt.ArrayLike | None = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    sample_weight: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-8,
    max_iter: int = 100,
    theta0: npt.ArrayLike | None = None,
    n_threads: int | None = None,
) -> FitResult:
    """Do what `fit_many` does, and warn of nothing."""
    tol = check_number("tol", tol, 0.0, strictly=True)
    max_iter = check_integer("max_iter", max_iter, 1)
    threads = check_n_threads(n_threads) or default_n_threads()[0]
    if not isinstance(fit_intercept, (bool, np.bool_)):
        raise TypeError(f"fit_intercept is {describe(fit_intercept)}: pass True or False.")
    X = check_X(X)
    if min(X.shape) + fit_intercept > MAX_PARAMS:
        raise ValueError(
            f"X has {len(X):,} rows and {X.shape[1]:,} columns, but fit_many keeps a Hessian of "
            f"each model and takes {MAX_PARAMS:,} parameters, or as many rows, at most: use "
            "gradient_descent(LogisticLoss(X, y), method='lbfgs', l2=...), which fits many at "
            "once, too."
        )
    classes, positive = check_classes(y, len(X))
    weights = check_sample_weight(sample_weight, len(X))
    fold = check_folds(folds, len(X))
    left_out = [-1] if folds is None else list(range(int(fold.max()) + 1))
    choices, choice_of = check_class_weight(class_weight, classes)
    strengths = check_l2(
        l2,
        None if folds is None else len(left_out),
        None if choice_of is None else len(choice_of),
    )
    shape = (len(strengths), len(left_out))
    sums = np.zeros((len(left_out), 2))
    np.add.at(sums, (fold, positive.astype(np.intp)), weights)
    check_training_sets(sums, folds is not None)
    if choice_of is None:
        choice_of = np.zeros(len(strengths), np.intp)
    result_shape = shape[:1] if folds is None else shape
    start = None
    if theta0 is not None:
        start = check_theta0(theta0, (*result_shape, X.shape[1] + bool(fit_intercept)))

    rows = _Rows(positive, weights, fold, sums, left_out, bool(fit_intercept), threads)
    set_of = (choice_of[:, None] * len(left_out) + np.arange(len(left_out))).ravel()
    l2_of = np.broadcast_to(strengths, shape).ravel()
    optima, validation = _fit(rows, X, choices, set_of, l2_of, start, tol, max_iter)
    certified = optima.gap_bounds <= tol * np.maximum(1, optima.losses)
    certified &= np.isfinite(optima.gap_bounds)
    return FitResult(
        optima.thetas.reshape(*result_shape, -1),
        optima.losses.reshape(result_shape),
        optima.gap_bounds.reshape(result_shape),
        certified.reshape(result_shape),
        optima.n_iter.reshape(result_shape),
        (optima.status == CONVERGED).reshape(result_shape),
        validation[0] if folds is not None else None,
        validation[1] if folds is not None else None,
        np.array(STATUSES)[optima.status].reshape(result_shape),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What is known of the rows, whatever their columns are."""

    positive: npt.NDArray[np.bool_]
    weights: Float64Array
    fold: npt.NDArray[np.intp]
    sums: Float64Array
    left_out: list[int]
    fit_intercept: bool
    n_threads: int

    def with_columns(self, columns: npt.NDArray[Any]) -> Problem:
        """Return the problem of fitting some columns."""
        packed = pack(
            columns,
            self.positive,
            self.weights,
            self.fit_intercept,
            "float64",
            strata=self.fold * 2 + self.positive,
        )
        n_params = columns.shape[1] + self.fit_intercept
        return Problem(packed, self.fold, self.sums, self.left_out, n_params, self.n_threads)


def _fit(
    rows: _Rows,
    X: npt.NDArray[Any],
    choices: list[ClassWeight],
    set_of: npt.NDArray[np.intp],
    l2: Float64Array,
    start: Float64Array | None,
    tol: float,
    max_iter: int,
) -> tuple[Optima, tuple[Float64Array, Float64Array]]:
    """Fit models of training sets, one for each choice of class weights and each fold left out.

    Returns them, and what they are worth on the folds."""
    reduction = Reduction.of(X, rows.weights, rows.fit_intercept)
    whole = rows.with_columns(reduction.X)
    problem, l2 = whole, reduction.l2(l2)
    if reduction.is_wide:
        reduction = reduction.by_rows(rows.n_threads)
        problem = rows.with_columns(reduction.columns)
    models = problem.fold_models(choices, set_of, l2)
    if start is None:
        near = problem.start(models, choices)
    else:
        near = reduction.inward(start, rows.n_threads)
    optima = fit(models, near, tol, max_iter)
    n_folds = len(rows.left_out)
    validation = problem.validate(optima.thetas.reshape(-1, n_folds, models.n_params))
    if reduction.is_wide:
        optima = _of_all_columns(optima, reduction, whole.fold_models(choices, set_of, l2), tol)
    thetas, moved = reduction.outward(optima.thetas)
    gaps = after_rounding(optima.gap_bounds, moved)
    return replace(optima, thetas=thetas, gap_bounds=gaps), validation


def _of_all_columns(optima: Optima, reduction: Reduction, models: Models, tol: float) -> Optima:
    """Return optima of fewer columns as ones of all, evaluated again where they are now."""
    everything = np.arange(len(models.set_of))
    thetas = reduction.spread(optima.thetas, models.n_threads)
    losses, gradients = models.evaluate(everything, thetas)
    gaps = models.convexity_gaps(everything, thetas, losses, gradients, 0.9 * optima.curvatures)
    lost = ~(losses - optima.losses <= tol * np.maximum(1, losses))
    status = np.where(lost & (optima.status == CONVERGED), OUT_OF_DIGITS, optima.status)
    return replace(optima, thetas=thetas, losses=losses, gap_bounds=gaps, status=status)
