"""Intervals of the parameters of a penalised model, and the optimism of its loss, by resampling."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.checks import check_X
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.differing_arguments import Labels, Penalties
from metaopt_fast.fitting.fit_differing import check_n_params
from metaopt_fast.fitting.normal import normal_cdf, normal_quantile
from metaopt_fast.fitting.resamples import bootstrap_weights
from metaopt_fast.fitting.result import are_proven, names_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.plots import axes
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.typing import BoolArray, BootstrapKind, Float64Array, IntervalMethod, ResampleKind
from metaopt_fast.validation.values import check_flag, check_integer, check_number, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("percentile", "BCa")
# Resamples of which every row is drawn again: those whose out-of-bag rows say something.
KINDS = ("multinomial", "poisson", "bayesian")
# Part of the rows that a resample holds, in the mean: 1 - 1/e, as Efron (1983) rounds it.
IN_A_RESAMPLE = 0.632


@dataclass(frozen=True, slots=True, eq=False)
class ConfidenceInterval:
    """Ends of an interval for each parameter: arrays of shape (n_params,)."""

    low: Float64Array
    high: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapResult:
    """What resamples say of a model. Names are those of `scipy.stats.bootstrap`.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_params,)
        The model of all rows, the intercept last.
    confidence_interval : ConfidenceInterval
        `low` and `high`, each of shape (n_params,).
    bootstrap_distribution : numpy.ndarray of shape (n_params, M)
        The parameters of each resample's model.
    standard_error : numpy.ndarray of shape (n_params,)
        Standard deviation of the distribution, with M - 1.
    confidence_level : float
    method : str
    apparent_loss : float
        Mean loss of the model on the rows that it is trained on, without the penalty.
    optimism : float
        How much lower a model's loss is on its own resample than on all rows, in the mean: what
        is to be added to `apparent_loss` (Harrell).
    oob_loss : numpy.ndarray of shape (M,), or None
        Mean loss of each model on the rows that its resample left out, NaN where there are none;
        None of Bayesian weights, which leave none out.
    loss_632 : float or None
        0.368 apparent_loss + 0.632 of the mean of `oob_loss`: Efron's .632 estimate of the loss on
        new rows.
    certified : numpy.ndarray of bool of shape (M,)
        Whether the gap of each model to its optimum is proven to be at most tol * max(1, loss).
    gap_bound : numpy.ndarray of shape (M,)
    feature_names : tuple of str
    interrupted : bool
        Whether Ctrl-C ended it after fewer resamples than were asked for.
    """

    theta: Float64Array
    confidence_interval: ConfidenceInterval
    bootstrap_distribution: Float64Array
    standard_error: Float64Array
    confidence_level: float
    method: str
    apparent_loss: float
    optimism: float
    oob_loss: Float64Array | None
    loss_632: float | None
    certified: BoolArray
    gap_bound: Float64Array
    feature_names: tuple[str, ...]
    interrupted: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        has_intercept = len(self.theta) > len(self.feature_names)
        return self.feature_names + ("intercept",) * has_intercept

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the interval of each coefficient, the largest first, and return the axes."""
        ax = axes("BootstrapResult.plot", ax)
        n = len(self.feature_names)
        order = np.argsort(np.abs(self.theta[:n]), kind="stable")
        place, interval = np.arange(n), self.confidence_interval
        ax.hlines(place, interval.low[order], interval.high[order], color="0.5")
        ax.plot(self.theta[order], place, "o", markersize=3)
        ax.axvline(0.0, color="0.4", linestyle=":", linewidth=0.8)
        ax.set_yticks(place, [self.feature_names[j] for j in order])
        ax.set(xlabel=f"coefficient, {self.confidence_level:.0%} intervals", title="Bootstrap")
        return ax

    def __repr__(self) -> str:
        n = self.bootstrap_distribution.shape[1]
        lines = [
            f"BootstrapResult of {n:,} resamples, {np.count_nonzero(self.certified):,} certified, "
            f"{self.confidence_level:.0%} intervals ({self.method})"
            + (", interrupted" if self.interrupted else "")
        ]
        interval, names = self.confidence_interval, self.names
        for j in np.argsort(-np.abs(self.theta), kind="stable")[:10]:
            lines.append(
                f"  {self.theta[j]:10.4g}  [{interval.low[j]:.4g}, {interval.high[j]:.4g}]  "
                f"{names[j]}"
            )
        if len(names) > 10:
            lines.append(f"  ({len(names) - 10:,} more)")
        loss = f"  loss {self.apparent_loss:.6g}, optimism {self.optimism:.3g}"
        of_new = "" if self.loss_632 is None else f", .632 estimate {self.loss_632:.6g}"
        lines.append(loss + of_new)
        return "\n".join(lines)


@shielded
def bootstrap(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: float,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    method: IntervalMethod = "percentile",
    kind: BootstrapKind = "multinomial",
    groups: npt.ArrayLike | None = None,
    class_weight: ClassWeight = None,
    penalty_factor: npt.ArrayLike | None = None,
    center: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    seed: int = 0,
    tol: float = 1e-8,
    max_iter: int = 100,
    progress: bool | str = False,
    n_threads: int | None = None,
) -> BootstrapResult:
    """Fit a penalised model to resamples of the rows: intervals, standard errors, optimism.

    All models are fitted as `fit_many` fits those of many weight vectors, each certified. Intervals
    centre on what the penalty leaves of a coefficient, not on what it would be without; and l2 is
    taken as given: if it was tuned on these rows, that is not repeated.

    Parameters
    ----------
    X, y : array_like of shape (n_samples, n_features) and (n_samples,)
        Rows and their labels, of two classes, as of `fit_many`.
    l2 : float
        Strength of the penalty.
    n_resamples : int, default 1000
    confidence_level : float, default 0.95
    method : {"percentile", "BCa"}, default "percentile"
        "BCa" corrects for bias and skewness (Efron 1987), for a further model without each row, or
        without each group.
    kind : {"multinomial", "poisson", "bayesian"}, default "multinomial"
        Kind of weights, as of `bootstrap_weights`.
    groups : array_like of shape (n_samples,), optional
        Group of each row: groups are resampled as a whole.
    class_weight : None, "balanced" or dict, optional
    penalty_factor, center : array_like, optional
        Those of all models, as of `fit_many`.
    fit_intercept : bool, default True
    seed : int, default 0
        Resample k is a pure function of (seed, k).
    tol, max_iter : float and int
        As of `fit_many`.
    progress : bool or "always", default False
        Whether to show a line on stderr, if that is a terminal, or "always".
    n_threads : int, optional

    Returns
    -------
    BootstrapResult
        After Ctrl-C that of the resamples that were finished, with `interrupted`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or a resample lacks a class.

    References
    ----------
    B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical
    Association 82 (1987).

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, _ = load_breast_cancer()
    >>> X = (X - X.mean(axis=0)) / X.std(axis=0)
    >>> found = mf.bootstrap(X, y, l2=0.01, n_resamples=200)
    >>> found.bootstrap_distribution.shape, bool(found.certified.all())
    ((31, 200), True)
    >>> bool(found.apparent_loss < found.loss_632)
    True
    """
    check_options(None, progress, None)
    check_choice("method", method, METHODS)
    check_choice("kind", kind, KINDS)
    level = check_number("confidence_level", confidence_level, 0.0, strictly=True)
    if level >= 1:
        raise ValueError(f"confidence_level is {level:g}: pass a number between 0 and 1.")
    n_resamples = check_integer("n_resamples", n_resamples, 2)
    effort = Effort.of(tol, max_iter, n_threads)
    penalty = (check_number("l2", l2, 0.0), penalty_factor, center)
    models = model_to_resample(X, y, penalty, class_weight, fit_intercept, effort)
    n_samples = len(models.shared.packed.origin.labels)
    resamples = Resamples(models, effort, seed, kind, groups, n_samples)
    whole = models.fit(0, 1, effort).optima
    with Progress(progress, n_resamples, 0, n_samples) as line:
        runs = resamples.run(n_resamples, line)
    thetas, own, on_all, oob, gaps, objectives = (
        np.concatenate(part) for part in zip(*runs, strict=True)
    )
    levels = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "BCa":
        ends = bca_ends(thetas, whole.thetas[0], resamples.jackknife(), levels)
    else:
        ends = np.quantile(thetas, levels, axis=0)
    apparent = float(resamples.losses(whole.thetas, None)[0])
    certified = are_proven(gaps, objectives, effort.tol)
    warn_of_unproven(certified)
    return BootstrapResult(
        theta=whole.thetas[0],
        confidence_interval=ConfidenceInterval(*ends),
        bootstrap_distribution=np.ascontiguousarray(thetas.T),
        standard_error=thetas.std(axis=0, ddof=1),
        confidence_level=level,
        method=method,
        apparent_loss=apparent,
        optimism=float((on_all - own).mean()),
        oob_loss=None if np.isnan(oob).all() else oob,
        loss_632=loss_of_new_rows(apparent, oob),
        certified=certified,
        gap_bound=gaps,
        feature_names=names_of(X, models.shared.packed.n_features),
        interrupted=len(thetas) < n_resamples,
    )


def loss_of_new_rows(apparent: float, oob: Float64Array) -> float | None:
    """Return Efron's .632 estimate, None where no resample left a row out."""
    if np.isnan(oob).all():
        return None
    return (1 - IN_A_RESAMPLE) * apparent + IN_A_RESAMPLE * float(np.nanmean(oob))


def model_to_resample(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    penalty: tuple[float, npt.ArrayLike | None, npt.ArrayLike | None],
    class_weight: ClassWeight,
    fit_intercept: bool,
    effort: Effort,
) -> Differing:
    """Return the model of all rows, of arguments that are checked; `penalty` are l2, factors and
    the centre."""
    fit_intercept = check_flag("fit_intercept", fit_intercept)
    array = check_X(X)
    labels = Labels.of(y, len(array))
    if not labels.is_common:
        raise ValueError(f"y has shape {labels.shape}: pass one label for each row.")
    l2, penalty_factor, center = penalty
    choices, choice_of = check_class_weight(class_weight, labels.classes)
    penalties = Penalties.of(penalty_factor, center, array.shape[1], fit_intercept)
    if choice_of is not None or len(penalties.factors) > 1 or len(penalties.centres) > 1:
        raise ValueError(
            "class_weight, penalty_factor or center has an entry for each of many models: pass "
            "those of one."
        )
    check_n_params(array.shape[1], fit_intercept)
    of_one = (choices, np.zeros(1, np.intp), np.full((1, 1), l2), penalties, fit_intercept, effort)
    return Differing.of(array, labels, None, lambda first, last: None, 1, *of_one)


def warn_of_unproven(certified: BoolArray) -> None:
    """Warn the caller of the caller's caller of models that are not proven."""
    if not certified.all():
        warnings.warn(
            f"{np.count_nonzero(~certified)} of {len(certified)} models did not converge to a "
            "proven optimum: pass a larger l2, or features that are standardised.",
            RuntimeWarning,
            stacklevel=4,
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise an error unless a value is one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} is {describe(value)}: pass one of {', '.join(map(repr, choices))}."
        )


class Resamples:
    """The models of resamples, batch after batch."""

    models: Differing
    effort: Effort
    n_samples: int
    seed: int
    kind: BootstrapKind

    def __init__(
        self,
        models: Differing,
        effort: Effort,
        seed: int,
        kind: BootstrapKind,
        groups: npt.ArrayLike | None,
        n_samples: int,
    ) -> None:
        self.models, self.effort, self.groups, self.n_samples = models, effort, groups, n_samples
        self.seed, self.kind = check_integer("seed", seed, 0), kind
        self.weights(0, 1, kind)  # what is wrong with groups is said first

    def weights(self, first: int, last: int, kind: ResampleKind) -> npt.NDArray[Any]:
        """Return the weights of some resamples."""
        return bootstrap_weights(
            self.n_samples,
            last - first,
            seed=self.seed,
            kind=kind,
            groups=self.groups,
            start=first,
        )

    def run(self, n_resamples: int, line: Progress) -> list[tuple[Float64Array, ...]]:
        """Fit all resamples, or those until Ctrl-C: of each batch, thetas, mean losses on their own
        rows, on all and on those left out, bounds of gaps, and objectives."""
        found: list[tuple[Float64Array, ...]] = []
        try:
            for first in range(0, n_resamples, self.models.batch):
                last = min(first + self.models.batch, n_resamples)
                found.append(self.fit(first, last))
                line.update(last - first, float(found[-1][1].mean()))
        except KeyboardInterrupt:
            if not found:
                raise
        return found

    def fit(self, first: int, last: int) -> tuple[Float64Array, ...]:
        """Fit some resamples."""
        weights = self.weights(first, last, self.kind)
        models = self.models.with_weights(weights)
        optima = models.fit(0, last - first, self.effort).optima
        oob = self.losses(optima.thetas, (weights == 0).view(np.uint8))
        own, on_all = self.losses(optima.thetas, weights), self.losses(optima.thetas, None)
        return optima.thetas, own, on_all, oob, optima.gap_bounds, optima.losses

    def losses(self, thetas: Float64Array, weights: npt.NDArray[Any] | None) -> Float64Array:
        """Return the mean losses of models on weighted rows."""
        return self.models.with_weights(weights).mean_losses(thetas, self.effort.n_threads)

    def jackknife(self) -> Float64Array:
        """Return the models without each row, or without each group."""
        n = self.n_samples if self.groups is None else len(np.unique(np.asarray(self.groups)))
        parts = []
        for first in range(0, n, self.models.batch):
            last = min(first + self.models.batch, n)
            models = self.models.with_weights(self.weights(first, last, "jackknife"))
            parts.append(models.fit(0, last - first, self.effort).optima.thetas)
        return np.concatenate(parts)


def bca_ends(
    thetas: Float64Array, theta: Float64Array, left_out: Float64Array, levels: Float64Array
) -> Float64Array:
    """Return the ends of intervals that are corrected for bias and acceleration, shape
    (2, n_params): as `scipy.stats.bootstrap` does."""
    below = (thetas < theta).mean(axis=0) + (thetas <= theta).mean(axis=0)
    bias = normal_quantile(below / 2)
    n = len(left_out)
    influence = (n - 1) * (left_out.mean(axis=0) - left_out)
    squares = np.square(influence).sum(axis=0) / (n * n)
    cubes = (np.square(influence) * influence).sum(axis=0) / (n * n * n)
    spread = squares * np.sqrt(squares)
    acceleration = np.divide(cubes, 6 * spread, out=np.zeros_like(cubes), where=spread > 0)
    ends = []
    for z in normal_quantile(levels).tolist():
        at = normal_cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append([np.quantile(thetas[:, j], at[j]) for j in range(len(theta))])
    return np.array(ends)
