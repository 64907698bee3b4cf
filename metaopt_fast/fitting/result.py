"""What fits return: models, what is proven of them, and how each of them ended."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import log
from metaopt_fast.fitting.choice import within_one_standard_error
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import LOGISTIC, SOFTMAX, check_kept
from metaopt_fast.models.model import Model
from metaopt_fast.models.preparation import Preparation
from metaopt_fast.notebook import card
from metaopt_fast.plots import axes
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray, Label
from metaopt_fast.validation.frames import as_frame, frame_of
from metaopt_fast.validation.values import check_flag, check_integer, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


class Status(IntEnum):
    """How a model ended; results have the names, in small letters."""

    CONVERGED = 0
    MAX_ITER = 1
    ROUNDING = 2
    UNPROVEN = 3
    INTERRUPTED = 4


STATUSES = np.array([status.name.lower() for status in Status])


def are_proven(gaps: Float64Array, losses: Float64Array, tol: float) -> BoolArray:
    """Whether gaps are at most tol * max(1, loss): an infinite one is not, of no loss whatever."""
    return np.asarray(np.isfinite(gaps) & (gaps <= tol * np.maximum(1, losses)))


def names_of(X: Any, n_features: int) -> tuple[str, ...]:
    """Return the names of a frame's columns, or x0, x1, ... of an array."""
    frame = as_frame("X", X)
    if frame is None:
        return tuple(f"x{j}" for j in range(n_features))
    return tuple(map(str, frame.names))


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """Regularised models and what is known of them.

    Attributes
    ----------
    theta : numpy.ndarray of shape (M, n_params), or (M, n_folds, n_params) with folds
        The intercept, if any, is the last entry. Of K > 2 classes, shape (M, K, n_params) or
        (M, n_folds, K, n_params): a row for each class.
    loss : numpy.ndarray of shape (M,) or (M, n_folds)
        The objective on the training rows, penalty included.
    gap_bound : numpy.ndarray, shaped as loss
        The objective is proven to be at most this far above its optimum, by self-concordance or
        by strong convexity, or, with an l1 penalty, of more than two classes and with the squared
        hinge loss, by duality; infinite: nothing is proven.
    certified : numpy.ndarray of bool, shaped as loss
        Whether gap_bound is finite and at most tol * max(1, loss).
    n_iter : numpy.ndarray of int, shaped as loss
        Newton steps; of more than two classes, steps of L-BFGS; of models that differ in weights,
        labels, factors of penalties or centres, both.
    converged : numpy.ndarray of bool, shaped as loss
        Whether the Newton decrement is at most tol, or steps changed nothing any more but by
        rounding, and the gap is at most about tol * max(1, loss), proven or not; with an l1
        penalty, of more than two classes, of sparse rows, with the squared hinge loss, and of
        models that differ in weights, labels, factors of penalties or centres, whether gap_bound is
        at most tol * max(1, loss).
    validation_loss, validation_accuracy : numpy.ndarray of shape (M, n_folds), or None
        Means over the rows of the fold that was held out, weighted by sample_weight.
    status : numpy.ndarray of str, shaped as loss
        "converged"; "max_iter": there were no more steps; "rounding": steps changed nothing any
        more, though the gap may be above tol; "unproven": of more than two classes or with the
        squared hinge loss, without a penalty, as near an optimum as can be told; with an l1
        penalty, features whose `penalty_factor` is 0 leave no optimum, or none that is proven;
        "interrupted": Ctrl-C came before its turn (of `fit_tasks` and `Prior.fit`): theta is NaN.
    classes : list
        Labels, as `numpy.unique` orders them.
    feature_names : tuple of str
        Names of a frame's columns, or x0, x1, ... of an array.
    fit_intercept : bool
    n_nonzero : numpy.ndarray of int, shaped as loss
        Weights other than 0, the intercept not counted.
    l1, l2 : numpy.ndarray of shape (M,), or (M, n_folds) where folds had penalties of their own
        Strengths of the penalties.
    folds : numpy.ndarray of int of shape (n_samples,), or None
        The fold of each row.
    loss_name : str
        The loss of a row, "logistic" (or softmax) or "squared_hinge".
    validation_gradient : numpy.ndarray of shape (M, n_folds) or (M, n_folds, n_groups), or None
        Derivatives of `validation_loss` for the logarithm of l2, or for that of the penalty of each
        group of features, where they were asked for.
    """

    theta: Float64Array
    loss: Float64Array
    gap_bound: Float64Array
    certified: BoolArray
    n_iter: IndexArray
    converged: BoolArray
    validation_loss: Float64Array | None
    validation_accuracy: Float64Array | None
    status: npt.NDArray[np.str_]
    classes: list[Label]
    feature_names: tuple[str, ...]
    fit_intercept: bool
    n_nonzero: IndexArray
    l1: Float64Array
    l2: Float64Array
    folds: IndexArray | None
    loss_name: str = "logistic"
    validation_gradient: Float64Array | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C came before all models had been fitted."""
        return bool((self.status == "interrupted").any())

    @shielded
    def best(self, *, one_standard_error: bool = False) -> int:
        """Return the number of the model whose mean validation loss is least, the first of equals.

        Parameters
        ----------
        one_standard_error : bool, default False
            Whether to return, of the models with the best one's part of the l1 penalty whose mean
            is within one standard error of the best one's, the one of the strongest penalty
            (Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3).

        Raises
        ------
        ValueError
            If the models have no folds.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> from metaopt_fast.datasets import load_breast_cancer
        >>> X, y, _ = load_breast_cancer()
        >>> fits = mf.fit_many(mf.standardize(X)[0], y, l2=[1e-3, 3e-3, 1e-2, 3e-2], folds=5)
        >>> fits.best(), fits.best(one_standard_error=True)
        (1, 2)
        """
        is_simple = check_flag("one_standard_error", one_standard_error)
        losses = self._validated("best")
        means = losses.mean(axis=1)
        best = int(np.argmin(means))
        if not is_simple:
            return best
        l1, l2 = (of.reshape(len(of), -1).mean(axis=1) for of in (self.l1, self.l2))
        strengths, parts = l1 + l2, l1 * (l1[best] + l2[best])
        # The same part of l1: products in place of quotients, which need not be.
        is_alike = np.abs(parts - l1[best] * strengths) <= 1e-12 * np.abs(parts)
        return within_one_standard_error(-losses, strengths, is_alike, best)

    def _validated(self, what: str) -> Float64Array:
        if self.validation_loss is None:
            raise ValueError(
                f"{what} is by the rows held out, and the models have no folds: pass folds=5 to "
                "fit_many."
            )
        return self.validation_loss

    def to_frame(self) -> DataFrame:
        """Return what is known of the models as a pandas.DataFrame: a row for each, or for each
        model and fold.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        shape = self.loss.shape
        numbers = zip(("model", "fold"), np.indices(shape), strict=False)
        columns: dict[str, Any] = dict(numbers)
        for name, of in (("l1", self.l1), ("l2", self.l2)):
            over_folds = of[:, None] if of.ndim < len(shape) else of
            columns[name] = np.broadcast_to(over_folds, shape)
        names = ("loss", "gap_bound", "certified", "converged", "status", "n_iter", "n_nonzero")
        columns |= {name: getattr(self, name) for name in names}
        if self.validation_loss is not None:
            columns["validation_loss"] = self.validation_loss
            columns["validation_accuracy"] = self.validation_accuracy
        return frame_of({name: np.ravel(values) for name, values in columns.items()})

    def plot_path(
        self, ax: Axes | None = None, *, fold: int | None = None, names: int = 10
    ) -> Axes:
        """Draw the weights of the models of two classes against the strength of their penalty.

        Parameters
        ----------
        ax : matplotlib axes, optional
            By default those of a new figure.
        fold : int, optional
            The fold that is left out, where there are folds; by default means over them.
        names : int, default 10
            How many of the largest weights are named.

        Returns
        -------
        matplotlib axes
        """
        if len(self.classes) > 2:
            raise ValueError(
                f"the models are of {len(self.classes)} classes, each with weights of its own: "
                "plot theta of one class."
            )
        names = check_integer("names", names, 0)
        thetas, l1, l2 = self.theta, self.l1, self.l2
        if fold is not None and self.loss.ndim == 1:
            raise ValueError(f"fold is {describe(fold)}, and the models have no folds: pass None.")
        if self.loss.ndim == 2:
            of_folds = slice(None)
            if fold is not None:
                fold = check_integer("fold", fold, 0, self.loss.shape[1] - 1)
                of_folds = slice(fold, fold + 1)
            thetas = thetas[:, of_folds].mean(axis=1)
            l1, l2 = (of if of.ndim == 1 else of[:, of_folds].mean(axis=1) for of in (l1, l2))
        strengths = l1 + l2
        order = np.argsort(strengths, kind="stable")
        weights = thetas[order, : len(self.feature_names)]
        return plot_weights(ax, strengths[order], weights, self.feature_names, names)

    def model(self, m: int = 0, fold: int | None = None) -> Model:
        """Return model m, of the fold that it leaves out if there are folds, as a `Model`.

        It knows its classes and, where X was a frame, its columns by name; it predicts, has a table
        of coefficients, is saved to a file and becomes scikit-learn's own.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> fits = mf.fit_many([[1.0], [2.0], [-1.0]], ["yes", "yes", "no"], l2=[0.1, 1.0])
        >>> fits.model(0).predict([[3.0], [-3.0]]).tolist()
        ['yes', 'no']
        """
        n_models, *n_folds = self.loss.shape
        position = [check_integer("m", m, 0, n_models - 1)]
        if n_folds:
            position.append(check_integer("fold", fold, 0, n_folds[0] - 1))
        elif fold is not None:
            raise ValueError(f"fold is {describe(fold)}, and the models have no folds: pass None.")
        classes = self.classes
        check_kept(classes)
        if self.status[tuple(position)] == "interrupted":
            raise ValueError(f"model {m} was not fitted before Ctrl-C: pass another one.")
        theta, preparation = self.theta[tuple(position)], Preparation.none(self.feature_names)
        if not self.fit_intercept:
            theta = np.concatenate([theta, np.zeros((*theta.shape[:-1], 1))], axis=-1)
        if len(classes) == 2:
            link = LOGISTIC if self.loss_name == "logistic" else None
            return Model.linear(theta, preparation, classes, link=link)
        coef, intercept = theta[:, :-1].copy(), theta[:, -1].copy()
        return Model(tuple(classes), None, preparation, coef, intercept, SOFTMAX)

    def _repr_html_(self) -> str:
        strengths = (self.l1 + self.l2).reshape(len(self.loss), -1).mean(axis=1)
        losses = self.loss if self.validation_loss is None else self.validation_loss
        means = losses.reshape(len(losses), -1).mean(axis=1)
        order = np.argsort(strengths, kind="stable")
        order = order[strengths[order] > 0]
        points = zip(log(strengths[order]).tolist(), means[order].tolist(), strict=True)
        return card(repr(self), [], points)

    def __repr__(self) -> str:
        folds = "" if self.loss.ndim == 1 else f" x {self.loss.shape[1]} folds"
        n_classes = len(self.classes)
        each = f" of each of {n_classes} classes" if n_classes > 2 else ""
        lines = [
            f"FitResult of {len(self.loss):,} model{'s' * (len(self.loss) != 1)}{folds}, "
            f"{self.theta.shape[-1]:,} parameters"
            + each
            + (", interrupted" if self.interrupted else ""),
            f"  converged    {np.count_nonzero(self.converged):,} of {self.converged.size:,}",
            f"  certified    {np.count_nonzero(self.certified):,}, "
            f"gap bounds up to {self.gap_bound.max():.2g}",
            f"  steps        {self.n_iter.min()} to {self.n_iter.max()}",
            f"  loss         {self.loss.min():.6g} to {self.loss.max():.6g}",
        ]
        if self.l1.any():
            lines.append(
                f"  weights      {self.n_nonzero.min():,} to {self.n_nonzero.max():,} other than 0"
            )
        if self.validation_loss is not None:
            means = self.validation_loss.mean(axis=1)
            best = int(np.argmin(means))
            lines.append(f"  validation   mean loss {means[best]:.6g} at best, of model {best}")
        return "\n".join(lines)


def plot_weights(
    ax: Axes | None,
    strengths: Float64Array,
    weights: Float64Array,
    names: Sequence[str],
    n_named: int,
) -> Axes:
    """Draw weights (M, n_features) against penalties in ascending order, the largest with names."""
    ax = axes("plot_path", ax)
    named = np.argsort(-np.abs(weights).max(axis=0), kind="stable")[:n_named]
    for j in np.setdiff1d(np.arange(len(names)), named):
        ax.plot(strengths, weights[:, j], "-", color="0.8", linewidth=0.8)
    for j in named:
        ax.plot(strengths, weights[:, j], linewidth=1.5, label=names[j])
    ax.axhline(0, color="0.6", linewidth=0.8)
    if strengths[0] > 0:
        ax.set_xscale("log")
    ax.set(xlabel="strength of the penalty, l1 + l2", ylabel="weight")
    if len(named):
        ax.legend(fontsize="small", title="largest weights")
    return ax


def warn_if_unbounded(
    fits: FitResult,
    l2: npt.ArrayLike,
    stacklevel: int,
    l1: npt.ArrayLike = 0.0,
    category: type[Warning] = RuntimeWarning,
) -> None:
    """Warn of models without a penalty that may have no optimum."""
    of_l1, of_l2 = (
        np.reshape(np.asarray(of, np.float64), (-1, 1) if np.ndim(of) < 2 else np.shape(of))
        for of in (l1, l2)
    )
    sentences = []
    if (~fits.certified.reshape(len(fits.loss), -1) & (of_l1 + of_l2 == 0)).any():
        sentences.append(
            "l2 is 0 and an optimum could not be certified, as where columns are collinear or a "
            "plane separates the classes: pass a positive l2."
        )
    if ((fits.status == "unproven").reshape(len(fits.loss), -1) & (of_l1 > 0)).any():
        sentences.append(
            "penalty_factor is 0 for features by which a plane separates rows of one class, or "
            "which are nearly collinear, so that there is no optimum, or none that is proven: pass "
            "small factors, such as 0.01, for these."
        )
    for sentence in sentences:
        warnings.warn(sentence, category, stacklevel=stacklevel)


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
    if count := np.count_nonzero(status == "interrupted"):
        sentences.append(
            f"{count} of {status.size} models were not fitted: Ctrl-C came before, and their theta "
            "is NaN."
        )
    return " ".join(sentences)
