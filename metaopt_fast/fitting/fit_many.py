"""Many regularised logistic regressions at once, each with a bound of its distance to optimum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.storage import StoragePath, check_storage
from metaopt_fast.fitting.arguments import (
    Effort,
    Rows,
    as_dense,
    check_loss,
    check_size,
    check_training_sets,
    why_dense,
)
from metaopt_fast.fitting.by_folds import fit_in_parts
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.dense_fits import fit_dense
from metaopt_fast.fitting.fit_differing import differs, fit_differing
from metaopt_fast.fitting.hinge import fit_machines
from metaopt_fast.fitting.lasso import fit_paths
from metaopt_fast.fitting.models import Optima
from metaopt_fast.fitting.penalty_arguments import (
    as_given,
    check_factors,
    check_penalties,
    check_theta0,
    l2_beside,
)
from metaopt_fast.fitting.result import (
    STATUSES,
    FitResult,
    Status,
    are_proven,
    names_of,
    reasons_of,
    warn_if_unbounded,
)
from metaopt_fast.fitting.softmax import SoftmaxOptima, fit_softmax
from metaopt_fast.fitting.sparse_fits import fit_sparse
from metaopt_fast.fitting.sparse_softmax import fit_sparse_softmax
from metaopt_fast.fitting.standardized import fit_standardized
from metaopt_fast.fitting.validation_gradients import check_gradient
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.spread import threads_asked
from metaopt_fast.typing import BoolArray, FitLoss, Float64Array, IndexArray
from metaopt_fast.validation.values import check_flag, describe


def fit_many(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: npt.ArrayLike | None = None,
    l1: npt.ArrayLike = 0.0,
    folds: int | npt.ArrayLike | None = None,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    sample_weight: npt.ArrayLike | None = None,
    penalty_factor: npt.ArrayLike | None = None,
    center: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    loss: FitLoss = "logistic",
    validation_gradient: bool = False,
    feature_groups: npt.ArrayLike | None = None,
    tol: float = 1e-8,
    max_iter: int = 100,
    theta0: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    storage: StoragePath | None = None,
    standardize: bool = False,
    executor: Any = None,
) -> FitResult:
    """Fit M regularised logistic regressions, for each fold that is left out, as one computation.

    Each minimises sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 theta'theta + l1 sum_j abs(theta_j)
    over its training rows, the intercept not penalised: scikit-learn's C is
    1 / ((l1 + l2) * sum_i w_i), its l1_ratio l1 / (l1 + l2). Where y holds more than two classes, a
    model has a row of theta for each, its loss is that of `SoftmaxLoss`, and it has no l1 penalty.
    With the squared hinge loss, max(0, 1 - m_i)^2 in place of softplus(-m_i), models are linear
    support vector machines. The bits of the results are the same for any number of threads.

    What has an entry for each model is paired, not crossed: M weight vectors and M label vectors
    are M models. Where weights, labels, `penalty_factor` or `center` are given for each model,
    models have two classes and no l1 penalty, and are fitted side by side; a model has the bits
    that it has alone.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers, of any layout and real dtype.
    y : array_like of shape (n_samples,) or (M, n_samples)
        Labels of two classes, of which the greater one is positive, or of more: numbers, strings
        or bool, as of `LogisticLoss`, in the order of `FitResult.classes`. Of M label vectors, one
        for each model, all labels are of the same two classes. Two dimensions are (M, n_samples)
        where M is n_samples, too; (n_samples, 1) is one vector.
    l2, l1 : float, or array_like of shape (M,) or (M, n_folds)
        Strengths of the penalties, >= 0; M is the larger length, the other one's is the same or 1.
        Beside an l1 penalty, l2 is 0 by default; else it must be given.
        Models with an l1 penalty have weights of 0 (`FitResult.n_nonzero` counts the others), are
        fitted from the strongest penalty to the weakest (`l1_max` is where such a path begins), and
        may have any number of parameters: 2,048 is the limit of the others.
    folds : int, or array_like of int of shape (n_samples,), optional
        The fold of each row, 0 .. n_folds - 1: model (m, f) is trained on the rows of all other
        folds, and validated on those of fold f. A number means as many stratified folds, those of
        scikit-learn's ``StratifiedKFold(folds)``; ``FitResult.folds`` has them.
    class_weight : None, "balanced", a dict {0: float, 1: float}, or a list of M of these
        Factors of the weights of the rows of each class; "balanced" makes the classes
        of the training rows equally heavy. A class that the dict leaves out has weight 1. Where
        the labels are other than 0 and 1, -1 and +1, or bool, the dict has these labels as keys.
    sample_weight : array_like of shape (n_samples,) or (M, n_samples), optional
        Weights >= 0. A row of weight 0 counts for nothing. Those of M models in one byte each, as
        `bootstrap_weights` has them, are not copied.
    penalty_factor : array_like of shape (n_features,) or (M, n_features), optional
        Factors of the penalties for each feature, as they are: their sum is not brought to
        n_features. Infinity leaves the feature out: its parameter is that of `center`, or 0. Beside
        an l1 penalty, factors of all models, 0 for 128 features at most; else, factors of l2, and
        with one more entry, the last one is the intercept's, which has none otherwise. A factor of
        0 is no penalty.
    center : array_like of shape (n_params,) or (M, n_params), optional
        What parameters are drawn to: the penalty is l2 / 2 sum_j f_j (theta_j - center_j)^2. The
        intercept's counts only where it is penalised, and may be left out.
    fit_intercept : bool, default True
    loss : {"logistic", "squared_hinge"}, default "logistic"
        Loss of a row; the squared hinge is one of two classes, with an l2 penalty alone, without
        factors or centres.
    validation_gradient : bool, default False
        Whether `FitResult.validation_gradient` is wanted: how the loss of each fold's rows changes
        with the logarithm of the penalty. Needs folds; models have two classes and no l1 penalty,
        and are fitted side by side as those are that differ in more than penalties.
    feature_groups : array_like of int of shape (n_features,), optional
        The group of each feature, 0 .. n_groups - 1: the gradient is for the logarithm of each
        group's penalty, l2 times the factors of its features (`penalty_factor`), an intercept's
        left out.
    tol : float, default 1e-8
        Threshold of the Newton decrement, sqrt(g' H^-1 g): a model has converged when it is at most
        tol, and the gap proven to be small: about tol^2 / 2. Where rounding ends the steps before
        that, it has converged if the gap is at most about tol * max(1, loss). With an l1 penalty,
        of more than two classes, of sparse rows, with the squared hinge, and where models differ in
        weights, labels, factors or centres, threshold of the gap: a model has converged when it is
        proven to be at most tol * max(1, loss).
    max_iter : int, default 100
        Largest number of Newton steps; of more than two classes, a tenth of that of L-BFGS's.
        Models of the logistic loss that differ in weights, labels, factors or centres take as many
        steps of L-BFGS, 100 at most, and those that are not proven then, Newton steps.
    theta0 : array_like, optional
        Thetas to start from, of a shape that broadcasts to that of ``FitResult.theta``. By default
        models start from those of all rows at penalties nearby; of sparse rows, from 0. Beside an
        l1 penalty, features of factor 0 make paths start from the model of these alone.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default as in `LogisticLoss`. With an executor, of
        each worker, by default its share of this machine's.
    storage : path of a directory, optional
        Where rows lie while models are fitted, in files without names, instead of in memory: for
        data larger than that, as `collect_batches` reads it. Results keep their bits.
    standardize : bool, default False
        Whether coefficients are penalised as those of columns of unit deviation over the training
        rows of each fold, weighted by sample_weight: a factor of s_j^2 for l2, of s_j for l1, on
        top of `penalty_factor`. Parameters, and `center`, are of X's own units all the same, the
        models those of scikit-learn's ``Pipeline`` of a StandardScaler and a LogisticRegression.
        It takes an intercept, and a dense X.
    executor : concurrent.futures.Executor or the like, optional
        Workers that fit a part of the models each, as of `random_search`; the result is the same.
        Parts are of models that differ in weights, labels, factors or centres or have validation
        gradients; folds, of l1 penalties, of sparse rows or with `standardize`; batches of 64 MB of
        Hessians, 400 models of 200 columns, else; more than two classes and machines have none.
        Data is sent once to each worker and packed there: worth it from seconds of work on.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the training rows of a fold lack a class.
    OSError
        If `storage` has no room for the rows, or this process may not write there.
    RuntimeError
        If a worker of the executor dies, or it is shut down meanwhile.

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
    >>> fits = mf.fit_many(X, y, l2=[1e-4, 1e-3, 1e-2], folds=5)
    >>> fits.validation_loss.mean(axis=1).round(3).tolist()
    [0.159, 0.091, 0.085]
    >>> bool(fits.certified.all())
    True
    """
    check_options(executor, False, None)
    effort = Effort.of(tol, max_iter, threads_asked(executor, n_threads))
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    is_standardized = check_flag("standardize", standardize)
    kept = check_storage(storage)
    wants_gradient = check_flag("validation_gradient", validation_gradient)
    check_gradient(wants_gradient, feature_groups, folds, l1, loss, storage)
    is_of_l1 = bool(np.any(np.array(l1, object) != 0))
    l2 = l2_beside(is_of_l1, l2)
    own_factors = None if is_of_l1 else penalty_factor
    if wants_gradient or differs(X, y, sample_weight, own_factors, center):
        fits = fit_differing(
            X,
            y,
            effort,
            l2=l2,
            l1=l1,
            folds=folds,
            class_weight=class_weight,
            sample_weight=sample_weight,
            penalty_factor=penalty_factor,
            center=center,
            fit_intercept=fit_intercept,
            loss=loss,
            storage=storage,
            theta0=theta0,
            standardize=is_standardized,
            validation_gradient=wants_gradient,
            feature_groups=feature_groups,
            executor=executor,
        )
    else:
        rows = Rows.of(X, y, folds, sample_weight, fit_intercept, kept)
        fits = how_to_fit(rows, is_standardized, executor)(
            effort,
            rows,
            l2=l2,
            l1=l1,
            class_weight=class_weight,
            penalty_factor=penalty_factor,
            loss=loss,
            theta0=theta0,
        )
    fits = replace(fits, feature_names=names_of(X, fits.theta.shape[-1] - fit_intercept))
    if reasons := reasons_of(fits.status, max_iter):
        warnings.warn(reasons, RuntimeWarning, stacklevel=2)
    warn_if_unbounded(fits, l2, stacklevel=3, l1=l1)
    return fits


def how_to_fit(rows: Rows, is_standardized: bool, executor: Any) -> Callable[..., FitResult]:
    """Return what fits models of rows: all together, or fold by fold."""
    if executor is not None and rows.memory.folder is not None:
        raise ValueError(
            f"executor is {describe(executor)}, but storage is {rows.memory.folder!r}, whose files "
            "are this process's own: pass one of the two."
        )
    if is_standardized:
        return partial(fit_standardized, fit_models, executor)
    return fit_models if executor is None else partial(fit_in_parts, fit_models, executor)


@shielded
def fit_models(
    effort: Effort,
    rows: Rows,
    *,
    l2: npt.ArrayLike,
    l1: npt.ArrayLike = 0.0,
    class_weight: ClassWeight | Sequence[ClassWeight] = None,
    penalty_factor: npt.ArrayLike | None = None,
    loss: str = "logistic",
    theta0: npt.ArrayLike | None = None,
    executor: Any = None,
) -> FitResult:
    """Do what `fit_many` does with rows that were checked, and warn of nothing: by an executor,
    models of dense rows of two classes with an l2 penalty alone."""
    choices, choice_of = check_class_weight(class_weight, rows.classes)
    n_choices = None if choice_of is None else len(choice_of)
    of_l1, of_l2 = check_penalties(l1, l2, rows.n_folds, n_choices)
    shape = (len(of_l2), len(rows.left_out))
    has_l1 = (of_l1 > 0).any(axis=1)
    check_loss(loss, rows.classes, bool(has_l1.any()))
    if rows.is_sparse and (why := why_dense(of_l1, of_l2, loss)):
        rows = as_dense(rows, *why)
    if not rows.is_sparse and len(rows.classes) == 2 and not has_l1.all():
        check_size(rows.X.shape, rows.fit_intercept, loss)
    if len(rows.classes) > 2 and has_l1.any():
        raise ValueError(
            f"l1 is above 0, but y holds {len(rows.classes)} classes: pass labels of two, or l1=0."
        )
    check_training_sets(rows.sums, rows.classes, rows.n_folds is not None)
    factors = None
    if penalty_factor is not None:
        factors = check_factors(penalty_factor, rows.X.shape[1])
        if not has_l1.all():
            raise ValueError(
                "penalty_factor is given, but l1 is 0: pass a positive l1, or columns divided by "
                "the roots of the factors."
            )
    choice_of = np.zeros(len(of_l2), np.intp) if choice_of is None else choice_of
    result_shape = shape[:1] if rows.n_folds is None else shape
    near = None if theta0 is None else check_theta0(theta0, (*result_shape, *rows.theta_shape))

    set_of = (choice_of[:, None] * shape[1] + np.arange(shape[1])).ravel()
    l2_of = np.broadcast_to(of_l2, shape).ravel()
    optima: Optima | SoftmaxOptima
    if has_l1.any():
        l1_of, with_l1 = np.broadcast_to(of_l1, shape).ravel(), np.repeat(has_l1, shape[1])
        optima, validation = _fit_both(
            rows, choices, set_of, l1_of, l2_of, near, effort, with_l1, factors
        )
    elif loss == "squared_hinge":
        optima, validation = fit_machines(rows, choices, set_of, l2_of, near, effort)
    elif executor is not None:
        optima, validation = fit_dense(rows, choices, set_of, l2_of, near, effort, executor)
    else:
        fit_all = FITS[rows.is_sparse, len(rows.classes) > 2]
        optima, validation = fit_all(rows, choices, set_of, l2_of, near, effort)
    validation_loss, validation_accuracy = validation or (None, None)
    certified = are_proven(optima.gap_bounds, optima.losses, effort.tol)
    thetas = optima.thetas.reshape(*result_shape, *rows.theta_shape)
    of_each = tuple(range(len(result_shape), thetas.ndim))
    return FitResult(
        thetas,
        optima.losses.reshape(result_shape),
        optima.gap_bounds.reshape(result_shape),
        certified.reshape(result_shape),
        optima.n_iter.reshape(result_shape),
        (optima.status == Status.CONVERGED).reshape(result_shape),
        validation_loss,
        validation_accuracy,
        STATUSES[optima.status].reshape(result_shape),
        rows.classes,
        (),  # names are of what the caller gave
        rows.fit_intercept,
        np.count_nonzero(thetas[..., : rows.X.shape[1]], axis=of_each),
        as_given(of_l1, len(of_l2)),
        as_given(of_l2, len(of_l2)),
        None if rows.n_folds is None else rows.fold,
        loss,
    )


def _fit_both(
    rows: Rows,
    choices: list[ClassWeight],
    set_of: IndexArray,
    l1: Float64Array,
    l2: Float64Array,
    theta0: Float64Array | None,
    effort: Effort,
    has_l1: BoolArray,
    factors: Float64Array | None,
) -> tuple[Optima, tuple[Float64Array, Float64Array] | None]:
    """Fit models with an l1 penalty and those without, by themselves, as `fit_dense` does."""
    near = (None, None) if theta0 is None else (theta0[has_l1], theta0[~has_l1])
    found = fit_paths(
        rows, choices, set_of[has_l1], l1[has_l1], l2[has_l1], near[0], effort, factors
    )
    if has_l1.all():
        return found
    others = FITS[rows.is_sparse, False](
        rows, choices, set_of[~has_l1], l2[~has_l1], near[1], effort
    )
    place = np.argsort(np.argsort(~has_l1, kind="stable"), kind="stable")
    of_rows = place.reshape(-1, len(rows.left_out))[:, 0] // len(rows.left_out)
    optima = Optima(
        *(
            np.concatenate([getattr(one, field.name) for one in (found[0], others[0])])[place]
            for field in fields(Optima)
        )
    )
    if found[1] is None or others[1] is None:
        return optima, None
    loss, accuracy = (
        np.concatenate(pair)[of_rows] for pair in zip(found[1], others[1], strict=True)
    )
    return optima, (loss, accuracy)


# What fits logistic models with an l2 penalty, by whether X is sparse, and the classes more than 2.
FITS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): fit_dense,
    (False, True): fit_softmax,
    (True, False): fit_sparse,
    (True, True): fit_sparse_softmax,
}
