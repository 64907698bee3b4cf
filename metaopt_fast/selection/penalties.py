"""Penalties of groups of features, tuned along the gradient of the cross-validated loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import exp
from metaopt_fast.data.checks import check_X
from metaopt_fast.descent.gradient_descent import gradient_descent
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.differing_arguments import Labels, Penalties, Weights
from metaopt_fast.fitting.fit_differing import check_n_params, fold_of_each_row
from metaopt_fast.fitting.fit_many import fit_many
from metaopt_fast.fitting.result import FitResult
from metaopt_fast.fitting.validation_gradients import FeatureGroups, check_feature_groups
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.model import Model
from metaopt_fast.plots import axes
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import check_flag, check_integer, check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Natural logarithms of the least and the greatest penalty that is tried; of the common ones that
# are tried before any descent, by large steps and then by small ones around the best of these; and
# what the logarithms that are found are multiples of: no data tells penalties apart by 0.1 %, and
# rounding of other sums ends there.
LEAST, GREATEST = -14.0, 4.0
COARSE = np.linspace(GREATEST, LEAST, 37)[:, None]
FINE = np.linspace(0.5, -0.5, 17)[:, None]
DIGIT = 2.0**-10
# Tolerance of the fits: gradients, and all that follows on them, are as exact as their optima.
EXACT = 1e-11
# What the descent takes for a unit of the logarithms: at the gradients that losses have, a first
# step is about as long as the way to go. By benches/penalties.py.
UNIT = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class PenaltyResult:
    """Penalties of groups of features, and the model of all rows with these.

    Attributes
    ----------
    l2 : numpy.ndarray of shape (n_groups,)
        Penalty of each group.
    feature_groups : numpy.ndarray of int of shape (n_features,)
    validation_loss : float
        Mean over the folds of the loss of their rows, at these penalties.
    scalar_l2 : float
        The best common penalty, from which the descent begins.
    scalar_loss : float
        The mean validation loss there.
    spread : float
    n_points : int
        Vectors of penalties that were tried, each by a model for each fold.
    trace : numpy.ndarray of shape (n_steps + 1,)
        Mean validation loss, with the prior's term, at the start of the descent and after each of
        its steps.
    status : str
        Why the descent ended, as `DescentResult.status` has it; "interrupted" after Ctrl-C.
    fit : FitResult
        The model of all rows, the only one there.
    folds : numpy.ndarray of int of shape (n_samples,)
        The fold of each row.
    """

    l2: Float64Array
    feature_groups: IndexArray
    validation_loss: float
    scalar_l2: float
    scalar_loss: float
    spread: float
    n_points: int
    trace: Float64Array
    status: str
    fit: FitResult
    folds: IndexArray

    @property
    def theta(self) -> Float64Array:
        """A copy of the parameters of the model of all rows, the intercept last."""
        theta: Float64Array = self.fit.theta[0].copy()
        return theta

    def model(self) -> Model:
        """Return the model of all rows, as `FitResult.model` does."""
        return self.fit.model()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the penalty of each group beside the best common one, and return the axes."""
        ax = axes("PenaltyResult.plot", ax)
        ax.plot(self.l2, "o", label="by group")
        ax.axhline(self.scalar_l2, color="0.5", linestyle=":", label="common to all")
        ax.set(yscale="log", xlabel="group of features", ylabel="l2", title="Penalties of groups")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        shown = [f"{value:.4g}" for value in self.l2[:6]] + ["..."] * (len(self.l2) > 6)
        return (
            f"PenaltyResult of {len(self.l2):,} groups, {self.n_points:,} points: {self.status}\n"
            f"  l2           [{', '.join(shown)}]\n"
            f"  validation   {self.validation_loss:.6g}\n"
            f"  common l2    {self.scalar_l2:.4g}, validation {self.scalar_loss:.6g}"
        )


@shielded
def tune_penalties(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    feature_groups: npt.ArrayLike,
    folds: int | npt.ArrayLike = 5,
    spread: float = 0.03,
    class_weight: ClassWeight = None,
    sample_weight: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    max_iter: int = 40,
    tol: float = 1e-4,
    n_threads: int | None = None,
) -> PenaltyResult:
    """Tune a penalty for each group of features of a logistic regression, by cross-validation.

    Minimises V(a) + spread * mean_g (a_g - mean a)^2 over the logarithms a of the penalties, V the
    mean over the folds of the loss of their rows: along its gradient, which `fit_many` gives, from
    the best penalty that is common to all. The second term is a prior: penalties are alike, but
    for what the rows say loudly. Without it, groups that mean nothing are made to fit the folds.

    Parameters
    ----------
    X, y : array_like of shape (n_samples, n_features) and (n_samples,)
        Rows and their labels, of two classes, as of `fit_many`. Penalties weigh columns as they
        are: standardise them first.
    feature_groups : array_like of int of shape (n_features,)
        The group of each feature, 0 .. n_groups - 1: columns of one source, of one kind.
    folds : int or array_like of int of shape (n_samples,), default 5
        As of `fit_many`.
    spread : float, default 0.03
        Strength of the prior, above 0: how much validation loss a spread of the penalties by a
        factor of e must save.
    class_weight : None, "balanced" or dict, optional
    sample_weight : array_like of shape (n_samples,), optional
    fit_intercept : bool, default True
    max_iter : int, default 40
        Steps of L-BFGS at most.
    tol : float, default 1e-4
        Size of the derivatives for the logarithms at which the descent ends.
    n_threads : int, optional

    Returns
    -------
    PenaltyResult
        The same bits for any number of threads. After Ctrl-C that of the best penalties so far,
        whose model of all rows is fitted still; before any, KeyboardInterrupt is raised.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or the training rows of a fold lack a class.

    References
    ----------
    F. Pedregosa, "Hyperparameter optimization with approximate gradient", ICML 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, _ = load_breast_cancer()
    >>> noise = np.random.default_rng(0).normal(size=(len(y), 30))
    >>> X, _, _ = mf.standardize(np.column_stack([X, noise]))
    >>> found = mf.tune_penalties(X, y, feature_groups=np.arange(60) // 30)
    >>> bool(found.l2[1] > found.l2[0]), found.validation_loss < found.scalar_loss
    (True, True)
    """
    array = check_X(X)
    groups = check_feature_groups(feature_groups, array.shape[1])
    spread = check_number("spread", spread, 0.0, strictly=True)
    check_integer("max_iter", max_iter, 0)
    tol = check_number("tol", tol, 0.0)
    effort = Effort.of(EXACT, n_threads=n_threads)
    models, fold = models_to_tune(
        array, y, folds, class_weight, sample_weight, fit_intercept, effort
    )
    common = Validated(models, effort, np.zeros(len(groups), np.intp), spread)
    scalar, _ = common.best_of(COARSE)
    scalar, scalar_loss = common.best_of(common.clipped(scalar + FINE))
    tuned = Validated(models, effort, groups, spread)
    start = np.full(tuned.n_params, scalar[0] / UNIT)
    run = gradient_descent(tuned, start, method="lbfgs", max_iter=max_iter, tol=tol * UNIT)
    found = tuned.clipped(np.rint(run.theta * UNIT / DIGIT) * DIGIT)
    losses, _ = tuned.validate(found[None], tuned.thetas)
    l2 = exp(found)
    # One penalty of all features is no factor of any.
    is_common = len(l2) == 1
    fit = fit_many(
        X,
        y,
        l2=l2 if is_common else 1.0,
        penalty_factor=None if is_common else l2[groups],
        class_weight=class_weight,
        sample_weight=sample_weight,
        fit_intercept=fit_intercept,
        n_threads=n_threads,
    )
    return PenaltyResult(
        l2=l2,
        feature_groups=groups,
        validation_loss=float(losses[0]),
        scalar_l2=float(exp(scalar)[0]),
        scalar_loss=scalar_loss,
        spread=spread,
        n_points=common.n_points + tuned.n_points,
        trace=run.trace,
        status=str(run.status),
        fit=fit,
        folds=fold,
    )


def models_to_tune(
    X: npt.NDArray[Any],
    y: npt.ArrayLike,
    folds: int | npt.ArrayLike,
    class_weight: ClassWeight,
    sample_weight: npt.ArrayLike | None,
    fit_intercept: bool,
    effort: Effort,
) -> tuple[Differing, IndexArray]:
    """Return the model of rows without each fold, whatever its penalty, and the rows' folds, of
    arguments that are checked."""
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    labels, weights = Labels.of(y, len(X)), Weights.of(sample_weight, len(X))
    for name, shape in (("y", labels.shape), ("sample_weight", weights.shape)):
        if len(shape) == 2:
            raise ValueError(f"{name} has shape {shape}: pass one entry for each row.")
    if folds is None:
        raise TypeError("folds is None: pass how many, or the fold of each row.")
    choices, choice_of = check_class_weight(class_weight, labels.classes)
    if choice_of is not None:
        raise ValueError(
            f"class_weight has {len(choice_of)} entries: pass None, 'balanced' or a dict."
        )
    check_n_params(X.shape[1], fit_intercept)
    fold = fold_of_each_row(folds, labels)
    penalties = Penalties.of(None, None, X.shape[1], fit_intercept)
    l2 = np.ones((1, int(fold.max()) + 1))
    of_one = (choices, np.zeros(1, np.intp), l2, penalties, fit_intercept, effort)
    return Differing.of(X, labels, fold, weights.of_models, 1, *of_one), fold


class Validated:
    """The mean validation loss with the prior's term, of logarithms of penalties in units of UNIT:
    an objective of descents.

    Beyond the range of penalties, the loss is that of the nearest ones within.
    """

    effort: Effort
    of_feature: IndexArray
    spread: float
    n_params: int
    n_points: int

    def __init__(
        self, models: Differing, effort: Effort, groups: IndexArray, spread: float
    ) -> None:
        self.models: Differing = replace(models, groups=FeatureGroups(groups))
        self.effort, self.of_feature, self.spread = effort, groups, spread
        self.n_params, self.n_points = int(groups.max()) + 1, 0
        self.thetas: Float64Array | None = None

    def clipped(self, logarithms: Float64Array) -> Float64Array:
        """Return the nearest logarithms that are tried."""
        return np.clip(logarithms, LEAST, GREATEST)

    def prior(self, logarithms: Float64Array) -> float:
        """Return the prior's term."""
        away = logarithms - logarithms.mean()
        return self.spread * float(np.add.reduce(away * away)) / len(away)

    def best_of(self, rows: Float64Array) -> tuple[Float64Array, float]:
        """Return the row of logarithms with the least validation loss, and that."""
        losses, _ = self.validate(rows, None)
        best = int(np.argmin(losses))
        return rows[best], float(losses[best])

    def loss_gradient(self, theta: Float64Array) -> tuple[float, Float64Array]:
        """Return the loss and its gradient."""
        logarithms = self.clipped(theta * UNIT)
        losses, slopes = self.validate(logarithms[None], self.thetas)
        away = logarithms - logarithms.mean()
        gradient = slopes[0] + 2 * self.spread / len(away) * away
        gradient[logarithms != theta * UNIT] = 0.0
        return float(losses[0]) + self.prior(logarithms), UNIT * gradient

    def validate(
        self, rows: Float64Array, start: Float64Array | None
    ) -> tuple[Float64Array, Float64Array]:
        """Return the mean validation losses of rows of logarithms, and their gradients."""
        n = len(rows)
        means = rows.mean(axis=1, keepdims=True)
        factors = np.zeros((n, self.models.shared.n_params))
        factors[:, : len(self.of_feature)] = exp(rows - means)[:, self.of_feature]
        l2 = np.repeat(exp(means), self.models.shared.n_folds, axis=1)
        penalties = replace(self.models.penalties, factors=factors)
        models = replace(
            self.models, n_models=n, l2=l2, penalties=penalties, choice_of=np.zeros(n, np.intp)
        )
        parts = [models.fit(first, last, self.effort, start) for first, last in models.batches()]
        self.n_points += n
        if n == 1:
            self.thetas = parts[0].optima.thetas
        shape = (n, models.shared.n_folds)
        losses = np.concatenate([part.validation[0] for part in parts if part.validation])
        slopes = np.concatenate([part.slopes for part in parts if part.slopes is not None])
        means_of_folds = np.add.reduce(losses.reshape(shape), axis=1) / shape[1]
        return means_of_folds, np.add.reduce(slopes.reshape(*shape, -1), axis=1) / shape[1]
