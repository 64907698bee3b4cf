"""Many regularised logistic regressions at once, each to a certified optimum."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from metaopt_fast import _kernels
from metaopt_fast.models import Models, Nearby, TrainingSet
from metaopt_fast.newton import fit
from metaopt_fast.packing import PANEL_ROWS, Packed, check_sample_weight, check_X, check_y, pack
from metaopt_fast.threads import default_n_threads
from metaopt_fast.validation import (
    as_real_array,
    check_integer,
    check_n_threads,
    check_number,
    describe,
    to_float64,
)

Float64Array = npt.NDArray[np.float64]
ClassWeight = str | Mapping[int, float] | None

# Penalties at which models of all rows are fitted first, for the others to start from.
N_ANCHORS = 12
# A tile of larger Hessians would take half a gigabyte.
MAX_PARAMS = 2048
# Beyond it (315 parameters), the Hessians of anchors would take too much memory.
MAX_ANCHOR_PAIRS = 50_000
# Every 16th block of very many rows says where the models of all rows will be.
SKETCH = 16
# The Newton decrement of anchors.
NEAR = 0.03


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
        The objective is proven to be at most this far above its optimum, by self-concordance or,
        without an intercept, by the duality gap; infinite: nothing is proven.
    certified : numpy.ndarray of bool, shaped as loss
        Whether gap_bound <= tol * max(1, loss).
    n_iter : numpy.ndarray of int, shaped as loss
        Newton steps.
    converged : numpy.ndarray of bool, shaped as loss
        Whether the Newton decrement is at most tol, or rounding ended the descent.
    validation_loss, validation_accuracy : numpy.ndarray of shape (M, n_folds), or None
        Means over the rows of the fold that was held out, weighted by sample_weight.
    """

    theta: Float64Array
    loss: Float64Array
    gap_bound: Float64Array
    certified: npt.NDArray[np.bool_]
    n_iter: npt.NDArray[np.intp]
    converged: npt.NDArray[np.bool_]
    validation_loss: Float64Array | None
    validation_accuracy: Float64Array | None

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

    Each minimises sum_i w_i softplus(-m_i) / sum_i w_i + l2 / 2 |theta|^2 over its training rows,
    the intercept not penalised: scikit-learn's C is 1 / (l2 * sum_i w_i). The bits of the results
    are the same for any number of threads.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
        Finite numbers, of any layout and real dtype.
    y : array_like of shape (n_samples,)
        Labels of two classes: 0 and 1, -1 and +1, or bool.
    l2 : float, or array_like of shape (M,) or (M, n_folds)
        Strengths of the penalty, >= 0.
    folds : array_like of int of shape (n_samples,), optional
        The fold of each row, 0 .. n_folds - 1: model (m, f) is trained on the rows of all other
        folds, and validated on those of fold f.
    class_weight : None, "balanced", a dict {0: float, 1: float}, or a list of M of these
        What the weights of the rows of each class are multiplied by; "balanced" makes the classes
        of the training rows equally heavy. A class that the dict leaves out has weight 1.
    sample_weight : array_like of shape (n_samples,), optional
        Weights >= 0. A row of weight 0 is as good as absent.
    fit_intercept : bool, default True
    tol : float, default 1e-8
        A model has converged when its Newton decrement, sqrt(g' H^-1 g), is proven to be at most
        tol: the objective is then about tol^2 / 2 above its optimum.
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
        If l2 is 0 and a model is not certified: separable rows have no optimum.

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
    tol = check_number("tol", tol, 0.0, strictly=True)
    max_iter = check_integer("max_iter", max_iter, 1)
    threads = check_n_threads(n_threads) or default_n_threads()[0]
    if not isinstance(fit_intercept, (bool, np.bool_)):
        raise TypeError(f"fit_intercept is {describe(fit_intercept)}: pass True or False.")
    X = check_X(X)
    if X.shape[1] + fit_intercept > MAX_PARAMS:
        raise ValueError(
            f"X has {X.shape[1]:,} columns, but fit_many keeps a Hessian of each model and takes "
            f"{MAX_PARAMS:,} parameters at most: use gradient_descent(LogisticLoss(X, y), "
            "method='lbfgs', l2=...), which fits many at once, too."
        )
    positive = check_y(y, len(X))
    weights = check_sample_weight(sample_weight, len(X))
    fold = _check_folds(folds, len(X))
    left_out = [-1] if folds is None else list(range(int(fold.max()) + 1))
    choices, choice_of = _check_class_weight(class_weight)
    strengths = _check_l2(
        l2,
        None if folds is None else len(left_out),
        None if choice_of is None else len(choice_of),
    )
    shape = (len(strengths), len(left_out))
    sums = np.zeros((len(left_out), 2))
    np.add.at(sums, (fold, positive.astype(np.intp)), weights)
    _check_training_sets(sums, folds is not None)

    packed = pack(X, positive, weights, bool(fit_intercept), "float64", fold * 2 + positive)
    problem = _Problem(packed, fold, sums, left_out, X.shape[1] + bool(fit_intercept), threads)
    if choice_of is None:
        choice_of = np.zeros(len(strengths), np.intp)
    models = problem.models(
        [problem.training_set(choice, f) for choice in choices for f in left_out],
        (choice_of[:, None] * len(left_out) + np.arange(len(left_out))).ravel(),
        np.broadcast_to(strengths, shape).ravel(),
    )
    result_shape = shape[:1] if folds is None else shape
    if theta0 is None:
        start = problem.start(models, choices)
    else:
        start = _check_theta0(theta0, (*result_shape, models.n_params))
    # Starts far off, whose losses are infinite, are no news.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        optima = fit(models, start, tol, max_iter)
    certified = optima.gap_bounds <= tol * np.maximum(1, optima.losses)
    if (~certified & (models.l2 == 0)).any():
        warnings.warn(
            "l2 is 0 and an optimum could not be certified, as where a plane separates the "
            "classes: pass a positive l2.",
            RuntimeWarning,
            stacklevel=2,
        )
    validation: tuple[Float64Array | None, Float64Array | None] = (None, None)
    if folds is not None:
        validation = problem.validate(optima.thetas.reshape(*shape, -1))
    return FitResult(
        optima.thetas.reshape(*result_shape, -1),
        optima.losses.reshape(result_shape),
        optima.gap_bounds.reshape(result_shape),
        certified.reshape(result_shape),
        optima.n_iter.reshape(result_shape),
        optima.converged.reshape(result_shape),
        *validation,
    )


def class_factors(choice: ClassWeight, sums: Float64Array) -> Float64Array:
    """Return what the weights of class 0 and 1 are multiplied by, given their sums."""
    if isinstance(choice, Mapping):
        return np.array([choice.get(0, 1.0), choice.get(1, 1.0)])
    if choice is None:
        return np.ones(2)
    return cast(Float64Array, sums.sum() / (2 * sums))


def _check_training_sets(sums: Float64Array, has_folds: bool) -> None:
    """Raise an error where the rows to train on are of one class, or none are to validate on."""
    if not sums.sum(axis=0).all():
        raise ValueError(
            "sample_weight is 0 for all rows of one class: pass positive weights in both."
        )
    # Counted, as the difference of sums of weights may round to 0.
    positive = sums > 0
    for f, others in enumerate(positive.sum(axis=0) - positive):
        if has_folds and not others.all():
            raise ValueError(
                f"folds: without fold {f}, the rows are of one class: pass folds that leave both "
                "classes to train on."
            )
        if has_folds and not positive[f].any():
            raise ValueError(
                f"sample_weight is 0 for all rows of fold {f}: pass folds that hold rows to "
                "validate on."
            )


class _Problem:
    """Packed rows in strata of fold and class, and the training sets that are made of them."""

    def __init__(
        self,
        packed: Packed,
        fold: npt.NDArray[np.intp],
        sums: Float64Array,
        left_out: Sequence[int],
        n_params: int,
        n_threads: int,
    ) -> None:
        self.packed, self.sums, self.left_out = packed, sums, left_out
        self.n_params, self.n_threads = n_params, n_threads
        self.block_fold = packed.of_blocks(fold)
        self.block_class = packed.of_blocks(packed.origin.positive).astype(np.intp)
        panels = packed.panels.view(np.float64).reshape(-1, n_params * PANEL_ROWS)
        extents = np.maximum(panels.max(axis=0), -panels.min(axis=0))
        self.extents = extents.reshape(n_params, PANEL_ROWS).max(axis=1)

    def factors(self, choice: ClassWeight, left_out: int) -> Float64Array:
        """Return what the classes' weights are multiplied by; left_out: a fold, or -1 for none."""
        return class_factors(choice, self.sums_without(left_out))

    def sums_without(self, left_out: int) -> Float64Array:
        """Return the weights of both classes in all folds but one."""
        others = np.arange(len(self.sums)) != left_out
        return cast(Float64Array, self.sums[others].sum(axis=0))

    def rows(
        self,
        blocks: npt.NDArray[np.bool_],
        factors: Float64Array,
        total_weight: float,
        loss: str = "logistic",
    ) -> _kernels.PackedRows:
        """Return some blocks as the kernels read them: the rows themselves are shared."""
        weights = self.packed.block_weights * factors[self.block_class]
        part = replace(self.packed, block_weights=weights)
        part = part.blocks(blocks, total_weight=total_weight)
        return part.rows(loss, self.n_params, 0.0)

    def training_set(self, choice: ClassWeight, left_out: int) -> TrainingSet:
        factors = self.factors(choice, left_out)
        total = float(self.sums_without(left_out) @ factors)
        return TrainingSet(self.rows(self.block_fold != left_out, factors, total), total)

    def sketch(self, choice: ClassWeight) -> TrainingSet | None:
        """Return some of all rows, where they are many: enough to say where an optimum is near."""
        blocks = np.zeros(len(self.block_fold), np.bool_)
        blocks[::SKETCH] = True
        n_rows = int(self.packed.block_rows[blocks].sum())
        if n_rows < SKETCH * self.n_params or len(np.unique(self.block_class[blocks])) < 2:
            return None
        factors = self.factors(choice, -1)
        total = float(self.sums_without(-1) @ factors) * n_rows / int(self.packed.block_rows.sum())
        return TrainingSet(self.rows(blocks, factors, total), total)

    def models(
        self, sets: list[TrainingSet], set_of: npt.NDArray[np.intp], l2: Float64Array
    ) -> Models:
        return Models(
            sets,
            set_of,
            l2,
            self.n_params,
            self.packed.n_features,
            self.extents,
            int(self.packed.block_rows.sum()),
            self.n_threads,
        )

    def start(self, models: Models, choices: list[ClassWeight]) -> Float64Array | Nearby:
        """Return models of all rows, at penalties nearby, and their Hessians in each training set.

        The Hessians of each fold and class, at those anchors, add up to those of every training
        set.
        """
        n, n_pairs = len(models.l2), _kernels.n_pairs(self.n_params)
        thetas = np.zeros((n, self.n_params))
        if n < 3 * N_ANCHORS * len(choices) or models.l2.min() == 0 or n_pairs > MAX_ANCHOR_PAIRS:
            for c, choice in enumerate(choices):
                mine = np.flatnonzero(models.set_of // len(self.left_out) == c)
                thetas[mine] = self.sketched(choice, models.l2[mine])
            return thetas
        strengths = np.geomspace(models.l2.max(), models.l2.min(), N_ANCHORS)
        nearest = np.abs(np.log(models.l2)[:, None] - np.log(strengths)).argmin(axis=1)
        losses, gradients = np.empty(n), np.empty_like(thetas)
        hessians = np.empty((len(models.sets), N_ANCHORS, n_pairs))
        origins = np.empty((len(models.sets), N_ANCHORS, self.n_params))
        for number, one in enumerate(models.sets):
            choice, f = choices[number // len(self.left_out)], number % len(self.left_out)
            if f == 0:
                anchors = self.anchors(choice, strengths)
                strata = self.stratum_hessians(anchors)
            factors = np.tile(self.factors(choice, self.left_out[f]), (len(self.sums), 1))
            factors[np.arange(len(self.sums)) == self.left_out[f]] = 0
            hessians[number] = sum(
                factor * hessian for factor, hessian in zip(factors.ravel(), strata, strict=True)
            )
            origins[number] = anchors
            at_anchors, slopes = np.empty(N_ANCHORS), np.empty_like(anchors)
            one.rows.evaluate(anchors, at_anchors, slopes, self.n_threads)
            mine = np.flatnonzero(models.set_of == number)
            near = nearest[mine]
            thetas[mine] = anchors[near]
            losses[mine], gradients[mine] = models.penalised(
                mine, thetas[mine], at_anchors[near], slopes[near]
            )
        return Nearby(
            thetas,
            losses,
            gradients,
            hessians.reshape(-1, n_pairs),
            origins.reshape(-1, self.n_params),
            models.set_of * N_ANCHORS + nearest,
            moved=np.zeros(n),
            drifted=np.zeros(n),
        )

    def sketched(self, choice: ClassWeight, l2: Float64Array) -> Float64Array:
        """Return models of some of all rows, where these are many; else zeros."""
        thetas, sketch = np.zeros((len(l2), self.n_params)), self.sketch(choice)
        return thetas if sketch is None else self.approach(sketch, l2, thetas)

    def anchors(self, choice: ClassWeight, l2: Float64Array) -> Float64Array:
        """Return models of all rows, near their optimum."""
        return self.approach(self.training_set(choice, -1), l2, self.sketched(choice, l2))

    def approach(self, one: TrainingSet, l2: Float64Array, thetas: Float64Array) -> Float64Array:
        """Return models of one training set, near their optimum."""
        models = self.models([one], np.zeros(len(l2), np.intp), l2)
        return fit(models, thetas, NEAR, 50, prove=False).thetas

    def stratum_hessians(self, thetas: Float64Array) -> list[Float64Array]:
        """Return the sums over each fold and class, fold by fold."""
        found = []
        for f, k in np.ndindex(self.sums.shape):
            blocks = (self.block_fold == f) & (self.block_class == k)
            sums = np.zeros((len(thetas), _kernels.n_pairs(self.n_params)))
            if blocks.any():
                _kernels.hessians(self.rows(blocks, np.ones(2), 1.0), thetas, sums, self.n_threads)
            found.append(sums)
        return found

    def validate(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return mean loss and accuracy on the rows that each model was not trained on."""
        losses, errors = np.zeros((2, *thetas.shape[:2]))
        for f in range(thetas.shape[1]):
            some, mean = np.ascontiguousarray(thetas[:, f]), np.empty(len(thetas))
            total = float(self.sums[f].sum())
            held_out = self.block_fold == f
            self.rows(held_out, np.ones(2), total).evaluate(some, mean, None, self.n_threads)
            losses[:, f] = mean
            # A decision of 0 is for the negative class.
            for k, loss in enumerate(("zero_one", "zero_one_and_ties")):
                blocks = held_out & (self.block_class == k)
                if blocks.any():
                    rows = self.rows(blocks, np.ones(2), total, loss)
                    rows.evaluate(some, mean, None, self.n_threads)
                    errors[:, f] += mean
        return losses, 1 - errors


def _check_folds(folds: npt.ArrayLike | None, n_samples: int) -> npt.NDArray[np.intp]:
    wanted = "an array of shape (n_samples,) of integers from 0, at least two and none left out"
    if folds is None:
        return np.zeros(n_samples, np.intp)
    array = as_real_array("folds", folds, 1, wanted)
    if len(array) != n_samples:
        raise ValueError(
            f"folds has {len(array)} entries, but X has {n_samples} rows: pass {wanted}."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"folds has dtype {array.dtype}: pass {wanted}.")
    numbers = np.unique(array)
    if len(numbers) < 2 or not np.array_equal(numbers, np.arange(len(numbers))):
        shown = ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(f"folds holds the numbers {shown}: pass {wanted}.")
    return array.astype(np.intp)


def _check_l2(l2: npt.ArrayLike, n_folds: int | None, n_choices: int | None) -> Float64Array:
    """Return the penalties, shape (M, 1) or (M, n_folds)."""
    wanted = "a number, or an array of shape (M,) or (M, n_folds), finite and >= 0"
    if isinstance(l2, (str, bytes, bool)) or l2 is None:
        raise TypeError(f"l2 is {describe(l2)}: pass {wanted}.")
    n_axes = _n_axes(l2)
    given = l2 if n_axes else np.atleast_1d(cast(Any, l2))
    array = _numbers("l2", given, min(2, max(1, n_axes)), wanted)
    if array.size == 0:
        raise ValueError(f"l2 has shape {array.shape}: pass {wanted}.")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"l2 has {array[bad][0]}: pass {wanted}.")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[1] != (n_folds or 1):
        raise ValueError(
            f"l2 has shape {array.shape}, but there "
            + ("are no folds" if n_folds is None else f"are {n_folds} folds")
            + f": pass {wanted}."
        )
    if n_choices is not None and n_choices != len(array):
        raise ValueError(
            f"class_weight has {n_choices} entries, but l2 has {len(array)}: pass one for each "
            "model, or a single one for all."
        )
    return array


def _check_class_weight(
    class_weight: ClassWeight | Sequence[ClassWeight],
) -> tuple[list[ClassWeight], npt.NDArray[np.intp] | None]:
    """Return the distinct choices, and which one is each model's (None: there is but one)."""
    if class_weight is None or isinstance(class_weight, (str, Mapping)):
        return [_check_choice(class_weight)], None
    if not isinstance(class_weight, Sequence) or not len(class_weight):
        raise TypeError(
            f"class_weight is {describe(class_weight)}: pass None, 'balanced', a dict of the "
            "weights of classes 0 and 1, or a list of one of these for each model."
        )
    choices: list[ClassWeight] = []
    choice_of = []
    for choice in map(_check_choice, class_weight):
        if choice not in choices:
            choices.append(choice)
        choice_of.append(choices.index(choice))
    return choices, np.array(choice_of)


def _check_choice(choice: ClassWeight) -> ClassWeight:
    wanted = "None, 'balanced', or a dict of the weights of classes 0 and 1, finite and above 0"
    if choice is None or (isinstance(choice, str) and choice == "balanced"):
        return choice
    if not isinstance(choice, Mapping):
        error = ValueError if isinstance(choice, str) else TypeError
        raise error(f"class_weight is {describe(choice)}: pass {wanted}.")
    for label, weight in choice.items():
        if label not in (0, 1):
            raise ValueError(f"class_weight has the key {label!r}: pass {wanted}.")
        if not isinstance(weight, (int, float, np.number)) or not 0 < weight < math.inf:
            raise ValueError(f"class_weight has {weight!r} for class {label}: pass {wanted}.")
    return {label: float(choice.get(label, 1.0)) for label in (0, 1)}


def _n_axes(value: Any) -> int:
    """Return the number of dimensions; 1 of a ragged list, which `as_real_array` refuses."""
    try:
        return np.ndim(value)
    except (ValueError, TypeError):
        return 1


def _numbers(name: str, given: object, n_axes: int, wanted: str) -> Float64Array:
    """Return an array of float64; True is no number of a model, but a flag in a wrong place."""
    array = as_real_array(name, given, n_axes, wanted)
    if array.dtype.kind == "b":
        raise TypeError(f"{name} is {describe(array)}: pass {wanted}.")
    return to_float64(array)


def _check_theta0(theta0: npt.ArrayLike, shape: tuple[int, ...]) -> Float64Array:
    """Return a start for each model, shape (M * n_folds, n_params)."""
    wanted = f"finite numbers of a shape that broadcasts to {shape}"
    array = _numbers("theta0", theta0, _n_axes(theta0), f"an array of {wanted}")
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"theta0 has shape {array.shape}: pass {wanted}.") from None
    if not np.isfinite(full).all():
        raise ValueError(f"theta0 has an entry that is not finite: pass {wanted}.")
    return np.ascontiguousarray(full.reshape(-1, shape[-1]))
