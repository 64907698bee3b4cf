"""Arguments of `fit_many`, checked: the effort, the rows with their folds, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_labels, check_sample_weight, check_X, shown
from metaopt_fast.data.sparse_rows import SparseRows, sparse_rows
from metaopt_fast.data.storage import IN_MEMORY, Memory
from metaopt_fast.floating_errors import shielded
from metaopt_fast.machine import threads_of
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import (
    check_integer,
    check_n_threads,
    check_number,
    describe,
)

# Up to 24 models are fitted together whatever their size: larger Hessians would take half a GB.
MAX_PARAMS = 2048
# Bytes of an array that is made of a sparse matrix, where there is no fit of sparse rows.
MAX_DENSE = 500_000_000
# From so many rows on, more classes than half of them are no classes, but numbers to predict.
FEW_ROWS = 40
# Losses that models are fitted by, as the kernels name them, and their objectives.
LOSSES = {"logistic": "LogisticLoss", "squared_hinge": "SquaredHingeLoss"}


@dataclass(frozen=True, slots=True)
class Effort:
    """When steps end, and on how many threads they run: `fit_many` says what each number means.

    Of more than two classes, the gap is to be `share` of the tolerance, where rounding allows it.
    """

    tol: float
    max_iter: int
    n_threads: int
    share: float = 0.4

    @classmethod
    def of(cls, tol: float = 1e-8, max_iter: int = 100, n_threads: int | None = None) -> Self:
        """Return checked numbers."""
        return cls(
            check_number("tol", tol, 0.0, strictly=True),
            check_integer("max_iter", max_iter, 1),
            threads_of(check_n_threads(n_threads)),
        )

    @property
    def to_the_last_digits(self) -> Self:
        """The same, with gaps as small as Newton's steps leave: less than the tolerance squared."""
        return replace(self, share=min(self.share, self.tol / 100))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows to train on: X, what is known of the rows whatever their columns are, and folds.

    `X` is an array, or `SparseRows`.
    `codes` are the classes' numbers. `n_folds` is None where there are none: `fold` is 0 then.
    `sums` are the weights of each class in each fold. What is made of all rows lies in `memory`.
    Of the folds, each is left out in turn, or `only` one.
    """

    X: Any
    classes: list[Any]
    codes: IndexArray
    weights: Float64Array
    fold: IndexArray
    n_folds: int | None
    sums: Float64Array
    fit_intercept: bool
    memory: Memory = IN_MEMORY
    only: int | None = None

    @classmethod
    @shielded
    def of(
        cls,
        X: Any,
        y: npt.ArrayLike,
        folds: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        fit_intercept: bool = True,
        memory: Memory = IN_MEMORY,
    ) -> Self:
        """Return checked rows; X may be `SparseRows` already."""
        if not isinstance(fit_intercept, (bool, np.bool_)):
            raise TypeError(f"fit_intercept is {describe(fit_intercept)}: pass True or False.")
        sparse = X if isinstance(X, SparseRows) else sparse_rows("X", X)
        if sparse is not None and memory.folder is not None:
            raise ValueError(
                f"storage is {memory.folder!r}, and X is a sparse matrix: pass storage=None, or "
                "X.toarray()."
            )
        X = check_X(X) if sparse is None else sparse
        labels = check_labels(y, len(X))
        classes, codes = labels.values, memory.keep(labels.codes)
        del labels
        if len(classes) < 2:
            raise ValueError(f"y holds {shown(classes)}: pass labels of two, or more.")
        if len(classes) > max(FEW_ROWS, len(X)) // 2:
            raise ValueError(
                f"y holds {shown(classes)}, and X has {len(X):,} rows: pass labels of classes that "
                "have two rows or more."
            )
        weights = memory.keep(check_sample_weight(sample_weight, len(X)))
        fold = memory.keep(check_folds(folds, codes))
        n_folds = None if folds is None else int(fold.max()) + 1
        sums = class_sums(fold, n_folds or 1, codes, len(classes), weights)
        with_intercept = bool(fit_intercept)
        return cls(X, classes, codes, weights, fold, n_folds, sums, with_intercept, memory)

    @classmethod
    def checked(
        cls,
        X: Float64Array | SparseRows,
        codes: IndexArray,
        n_classes: int,
        weights: Float64Array,
        fit_intercept: bool,
    ) -> Self:
        """Return rows without folds, of arguments that were checked but for their sums."""
        weights, fold = check_sample_weight(weights, len(X)), np.zeros(len(X), np.intp)
        sums = class_sums(fold, 1, codes, n_classes, weights)
        return cls(X, list(range(n_classes)), codes, weights, fold, None, sums, fit_intercept)

    @property
    def positive(self) -> BoolArray:
        """Which rows are of the greater one of two classes."""
        return np.asarray(self.codes == 1)

    @property
    def is_sparse(self) -> bool:
        """Whether X is `SparseRows`."""
        return isinstance(self.X, SparseRows)

    @property
    def strata(self) -> IndexArray:
        """The number of each row's fold and class, fold by fold."""
        found = self.memory.copy(self.fold)
        found *= len(self.classes)
        found += self.codes
        return found

    @property
    def theta_shape(self) -> tuple[int, ...]:
        """The shape of a model's parameters: with a row for each class, where they are many."""
        n_params = self.X.shape[1] + self.fit_intercept
        return (n_params,) if len(self.classes) == 2 else (len(self.classes), n_params)

    @property
    def left_out(self) -> list[int]:
        """The fold that each training set of a choice leaves out; -1: none."""
        if self.only is not None:
            return [self.only]
        return [-1] if self.n_folds is None else list(range(self.n_folds))


def check_size(shape: tuple[int, ...], fit_intercept: bool, loss: str) -> None:
    """Raise an error where Hessians are too large."""
    if min(shape) + fit_intercept > MAX_PARAMS:
        raise ValueError(
            f"X has {shape[0]:,} rows and {shape[1]:,} columns, but fit_many keeps a Hessian "
            f"of each model and takes {MAX_PARAMS:,} parameters, or as many rows, at most: use "
            f"gradient_descent({LOSSES[loss]}(X, y), method='lbfgs', l2=...), which fits many at "
            "once, too."
        )


def check_loss(loss: object, classes: Sequence[Any], has_l1: bool) -> None:
    """Raise an error where models of a loss cannot be fitted."""
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss is {describe(loss)}: pass one of {', '.join(map(repr, LOSSES))}.")
    if loss == "logistic":
        return
    if len(classes) > 2:
        raise ValueError(
            f"loss is {loss!r}, but y holds {len(classes)} classes: pass labels of two, one class "
            "against the rest, or use metaopt_fast.sklearn.LinearSVC, which does."
        )
    if has_l1:
        raise ValueError(f"loss is {loss!r}, but l1 is above 0: pass l1=0, or loss='logistic'.")


def why_dense(l1: Float64Array, l2: Float64Array, loss: str) -> tuple[str, str] | None:
    """Return what there is no fit of sparse rows for, and the cure; None where there is one."""
    if loss != "logistic":
        return f"loss is {loss!r}", "loss='logistic'"
    if not ((l1 > 0) | (l2 > 0)).all():
        return "l2 is 0", "a positive l2 or l1"
    return None


def as_dense(rows: Rows, reason: str, cure: str) -> Rows:
    """Return rows with an array in the place of a sparse matrix, if it is not too large."""
    size = 8 * rows.X.shape[0] * rows.X.shape[1]
    if size > MAX_DENSE:
        raise ValueError(
            f"{reason}, for which a sparse X is made an array, and this one has "
            f"{size / 1e6:,.0f} MB, above {MAX_DENSE / 1e6:,.0f}: pass {cure}, or fewer columns."
        )
    return replace(rows, X=rows.X.toarray())


def class_sums(
    fold: IndexArray, n_folds: int, codes: IndexArray, n_classes: int, weights: Float64Array
) -> Float64Array:
    """Return the weights of each class in each fold."""
    stratum = n_classes * fold
    stratum += codes
    sums = np.bincount(stratum, weights, n_classes * n_folds).astype(np.float64)
    return sums.reshape(n_folds, n_classes)


def check_folds(folds: npt.ArrayLike | None, codes: IndexArray) -> IndexArray:
    """Return the fold of each row, of the classes `codes`; 0 of all without folds."""
    wanted = (
        "an array of shape (n_samples,) of integers from 0, at least two and none left out, or "
        "how many folds there are to be"
    )
    n_samples = len(codes)
    if folds is None:
        return np.zeros(n_samples, np.intp)
    if isinstance(folds, Integral):
        return stratified_in_order(codes, check_integer("folds", folds, 2, n_samples))
    array = as_numbers("folds", folds, 1, wanted)
    if len(array) != n_samples:
        raise ValueError(
            f"folds has {len(array)} entries, but X has {n_samples} rows: pass {wanted}."
        )
    # Whole numbers that are objects of a frame's column are floats here.
    if array.dtype.kind not in "iuf":
        raise TypeError(f"folds has dtype {array.dtype}: pass {wanted}.")
    numbers = np.unique(array)
    if len(numbers) < 2 or not np.array_equal(numbers, np.arange(len(numbers))):
        some = ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(f"folds holds the numbers {some}: pass {wanted}.")
    return array.astype(np.intp)


def stratified_in_order(codes: IndexArray, n_folds: int) -> IndexArray:
    """Return the fold of each row: as many rows of each class in every fold, but for one, in the
    order of the rows.

    These are the folds of scikit-learn's StratifiedKFold, unshuffled.

    Examples
    --------
    >>> stratified_in_order(np.array([1, 0, 1, 1, 0, 1]), 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    # Rows of all classes, one class after the other, go to the folds in turn; classes in the order
    # in which they come. Within a class, the first rows are the first fold's.
    _, first, found = np.unique(codes, return_index=True, return_inverse=True)
    of_class = np.argsort(np.argsort(first))[found]
    in_turn = np.sort(of_class)
    folds = np.empty(len(codes), np.intp)
    for number in range(len(first)):
        counts = [np.count_nonzero(in_turn[f::n_folds] == number) for f in range(n_folds)]
        folds[of_class == number] = np.repeat(np.arange(n_folds), counts)
    return folds


def check_training_sets(sums: Float64Array, classes: Sequence[Any], has_folds: bool) -> None:
    """Raise an error where the rows to train on lack a class, or none are to validate on."""
    is_binary = len(classes) == 2
    if not sums.sum(axis=0).all():
        if is_binary:
            raise ValueError(
                "sample_weight is 0 for all rows of one class: pass positive weights in both."
            )
        label = classes[int(sums.sum(axis=0).argmin())]
        raise ValueError(
            f"sample_weight is 0 for all rows of class {label!r} of y: pass positive weights in "
            "each class."
        )
    # Counted, as the difference of sums of weights may round to 0.
    positive = sums > 0
    for f, others in enumerate(positive.sum(axis=0) - positive):
        if has_folds and not others.all():
            if is_binary:
                raise ValueError(
                    f"folds: without fold {f}, the rows are of one class: pass folds that leave "
                    "both classes to train on."
                )
            label = classes[int(others.argmin())]
            raise ValueError(
                f"folds: without fold {f}, the rows lack class {label!r} of y: pass folds that "
                "leave each class to train on."
            )
        if has_folds and not positive[f].any():
            raise ValueError(
                f"sample_weight is 0 for all rows of fold {f}: pass folds that hold rows to "
                "validate on."
            )
