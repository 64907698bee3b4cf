"""Models whose penalties are as of columns of unit deviation over their training rows.

With s_j the deviation of column j, l2 / 2 sum_j (s_j theta_j)^2 + l1 sum_j s_j abs(theta_j) is the
penalty of s_j theta_j, the coefficients of x_j / s_j. The intercept takes the place of the means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import log_softmax, products
from metaopt_fast.data.packed import CHUNK_ROWS
from metaopt_fast.fitting.arguments import Effort, Rows, check_training_sets
from metaopt_fast.fitting.by_folds import over_folds
from metaopt_fast.fitting.certificates import logistic_gap_after_rounding
from metaopt_fast.fitting.deviations import deviations
from metaopt_fast.fitting.hinge_gaps import squared_hinge_gap_after_rounding
from metaopt_fast.fitting.reductions import Reduction, far_centres
from metaopt_fast.fitting.result import FitResult, Status, are_proven
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import to_float64

EPS = np.finfo(np.float64).eps
# Numbers of decisions that are made at a time.
DECISIONS = 1 << 22
AFTER_ROUNDING = {
    "logistic": logistic_gap_after_rounding,
    "squared_hinge": squared_hinge_gap_after_rounding,
}


def check_standardize(fit_intercept: bool, is_sparse: bool) -> None:
    """Raise an error where columns cannot be made ones of unit deviation."""
    if not fit_intercept:
        raise ValueError(
            "standardize is True, but fit_intercept is False, and the intercept takes the place of "
            "the columns' means: pass fit_intercept=True, or standardize=False."
        )
    if is_sparse:
        raise ValueError(
            "standardize is True, but X is a sparse matrix: pass standardize=False, with columns "
            "that StandardScaler(with_mean=False) has scaled, or X.toarray()."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Columns less the centres of those that lie far from 0, divided by their deviations."""

    reduction: Reduction
    scale: Float64Array
    n_threads: int

    @classmethod
    def of(cls, X: npt.NDArray[Any], weights: Float64Array, scale: Float64Array, n: int) -> Self:
        """Return what is done to columns of these deviations."""
        centres = far_centres(X, weights)
        # Columns to be fitted are another's; centres alone are asked for here.
        return cls(Reduction(X, centres, 0), scale, n)

    def apply(self, X: npt.NDArray[Any], found: Float64Array) -> Float64Array:
        """Write the columns of some rows, some at a time."""
        exponents = np.frexp(self.scale)[1]
        scale = np.ldexp(self.scale, -exponents)
        centres = self.reduction.centres
        shift = 0.0 if centres is None else np.ldexp(centres, -exponents)
        for first in range(0, len(X), CHUNK_ROWS):
            part = np.ldexp(to_float64(X[first : first + CHUNK_ROWS]), -exponents)
            np.divide(part - shift, scale, out=found[first : first + CHUNK_ROWS])
        return found

    def inward(self, thetas: Float64Array) -> Float64Array:
        """Return models of X as ones of these columns, of shape (n, n_params)."""
        found = self.reduction.inward(thetas, self.n_threads)
        found[:, :-1] *= self.scale
        return found

    def outward(
        self, thetas: Float64Array, extents: Float64Array
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return models of these columns as ones of X, and bounds of what is rounded: of
        intercepts, and of decisions, columns being as large as `extents`."""
        coefficients = thetas[:, :-1] / self.scale
        if not np.isfinite(coefficients).all():
            column = int(np.isfinite(coefficients).all(axis=0).argmin())
            raise ValueError(
                f"X has a deviation of {self.scale[column]:g} in column {column}, and coefficients "
                "of its unit leave the range of floats: pass columns of larger numbers."
            )
        found = np.concatenate([coefficients, thetas[:, -1:]], axis=1)
        of_decisions = EPS * (np.abs(thetas[:, :-1]) * extents).sum(axis=1)
        return *self.reduction.outward(found), of_decisions


@shielded
def fit_standardized(
    fit_models: Callable[..., FitResult],
    executor: Any,
    effort: Effort,
    rows: Rows,
    *,
    l2: npt.ArrayLike,
    l1: npt.ArrayLike,
    theta0: npt.ArrayLike | None,
    **options: Any,
) -> FitResult:
    """Do what `fit_models` does, with penalties as of columns of unit deviation over the training
    rows, by their weights alone: each fold left out has columns of its own, and is a task of its
    own for the workers of an executor."""
    check_standardize(rows.fit_intercept, rows.is_sparse)
    check_training_sets(rows.sums, rows.classes, rows.n_folds is not None)
    scales = deviations(rows.X, rows.weights, rows.fold, rows.left_out)
    common = (fit_models, effort, rows, scales, options)
    return over_folds(executor, _fit_set, common, rows, l2=l2, l1=l1, theta0=theta0)


def _fit_set(
    common: tuple[Callable[..., FitResult], Effort, Rows, list[Float64Array], dict[str, Any]],
    number: int,
    start: Float64Array | None,
    strengths: dict[str, Float64Array],
) -> FitResult:
    """Fit the models of one training set, and judge them on the fold that it leaves out."""
    fit_models, effort, rows, scales, options = common
    left_out, scale = rows.left_out[number], scales[number]
    used = np.flatnonzero(rows.fold != left_out)
    X = rows.X if len(used) == len(rows.X) else rows.X[used]
    scaled = Scaled.of(X, rows.weights[used], scale, effort.n_threads)
    columns = scaled.apply(X, rows.memory.empty(X.shape, np.float64))
    others = np.arange(len(rows.sums)) != left_out
    training = replace(
        rows,
        X=columns,
        codes=rows.codes[used],
        weights=rows.weights[used],
        fold=np.zeros(len(used), np.intp),
        n_folds=None,
        sums=rows.sums[others].sum(axis=0)[None],
    )
    if start is not None:
        start = scaled.inward(start.reshape(-1, start.shape[-1])).reshape(start.shape)
    fits = fit_models(effort, training, theta0=start, **strengths, **options)
    thetas = fits.theta
    if left_out >= 0:
        loss, accuracy = held_out(scaled, thetas, rows, left_out, fits.loss_name)
        fits = replace(fits, validation_loss=loss, validation_accuracy=accuracy)
    extents = np.maximum(columns.max(axis=0), -columns.min(axis=0))
    return _in_units_of_X(fits, scaled, extents, effort.tol)


def _in_units_of_X(fits: FitResult, scaled: Scaled, extents: Float64Array, tol: float) -> FitResult:
    """Return models of scaled columns as ones of X, and what is still proven of them."""
    shape = fits.theta.shape
    flat, moved, of_decisions = scaled.outward(fits.theta.reshape(-1, shape[-1]), extents)
    of_models = [of.reshape(len(fits.loss), -1).max(axis=1) for of in (moved, of_decisions)]
    if fits.theta.ndim == 2:
        gaps = AFTER_ROUNDING[fits.loss_name](fits.gap_bound, of_models[0])
    else:
        gaps = fits.gap_bound + 2 * of_models[0]
    # No decision moves by more than its rounding d: no loss by more than 2 d, no squared hinge by
    # more than 2 sqrt(loss) d + d^2, no penalty by more than 2 eps of itself.
    rounded = of_models[1] * (2 * (1 + np.sqrt(fits.loss)) + of_models[1]) + 4 * EPS * fits.loss
    gaps = gaps + rounded
    certified = are_proven(gaps, fits.loss, tol)
    lost = fits.certified & ~certified & fits.converged
    return replace(
        fits,
        theta=flat.reshape(shape),
        gap_bound=gaps,
        certified=certified,
        converged=fits.converged & ~lost,
        status=np.where(lost, Status.ROUNDING.name.lower(), fits.status),
    )


def held_out(
    scaled: Scaled, thetas: Float64Array, rows: Rows, left_out: int, loss: str
) -> tuple[Float64Array, Float64Array]:
    """Return mean loss and accuracy of models of scaled columns on the rows of a fold."""
    used = np.flatnonzero((rows.fold == left_out) & (rows.weights > 0))
    size = max(1, DECISIONS // (thetas.size // thetas.shape[-1]))
    sums, right = np.zeros((2, len(thetas)))
    weights = np.ldexp(rows.weights[used], -int(np.frexp(rows.weights.max())[1]))
    flat = thetas.reshape(-1, thetas.shape[-1])
    for first in range(0, len(used), size):
        some, of_rows = used[first : first + size], weights[first : first + size]
        X = rows.X[some]
        columns = scaled.apply(X, np.empty(X.shape))
        decisions = products(flat[:, :-1], columns) + flat[:, -1:]
        decisions = decisions.reshape(*thetas.shape[:-1], len(some))
        losses, is_right = judged(decisions, rows.codes[some], loss)
        sums += (losses * of_rows).sum(axis=1)
        right += (is_right * of_rows).sum(axis=1)
    total = weights.sum()
    return sums / total, right / total


def judged(
    decisions: Float64Array, codes: IndexArray, loss: str
) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """Return the loss of each row, and whether its class is found: decisions of shape
    (n_models, n_rows), or (n_models, n_classes, n_rows)."""
    if decisions.ndim == 3:
        logs = log_softmax(np.ascontiguousarray(decisions.transpose(0, 2, 1)))
        losses = -np.take_along_axis(logs, codes[None, :, None], axis=2)[:, :, 0]
        return losses, decisions.argmax(axis=1) == codes
    # A decision of 0 is for the negative class.
    positive = codes == 1
    z = np.ascontiguousarray(np.where(positive, -decisions, decisions)).reshape(-1)
    values, slopes = np.empty((2, z.size))
    _kernels.pointwise(_kernels.LOSSES[loss], z, values, slopes)
    return values.reshape(decisions.shape), (decisions > 0) == positive
