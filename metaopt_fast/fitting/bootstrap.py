"""Intervals of the parameters of a penalised model, and the optimism of its loss, by resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.bootstrap_result import BootstrapResult, ConfidenceInterval
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.normal import normal_cdf, normal_quantile
from metaopt_fast.fitting.resampled_models import check_choice, resamples_of, warn_of_unproven
from metaopt_fast.fitting.result import are_proven, names_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.runs.spread import Made, Spread, threads_asked
from metaopt_fast.typing import BootstrapKind, Float64Array, IntervalMethod
from metaopt_fast.validation.values import check_integer, check_number

METHODS = ("percentile", "BCa")
# Resamples of which every row is drawn again: those whose out-of-bag rows say something.
KINDS = ("multinomial", "poisson", "bayesian")
# Part of the rows that a resample holds, in the mean: 1 - 1/e, as Efron (1983) rounds it.
IN_A_RESAMPLE = 0.632


@shielded
def bootstrap(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l2: float | None = None,
    tune: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
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
    executor: Any = None,
) -> BootstrapResult:
    """Fit a penalised model to resamples of the rows: intervals, standard errors, optimism.

    All models are fitted as `fit_many` fits those of many weight vectors, each certified. Intervals
    centre on what the penalty leaves of a coefficient, not on what it would be without. l2 is
    taken as given: if it was tuned on these rows, pass the penalties that it was chosen from as
    `tune` in its place, and each resample chooses anew.

    Parameters
    ----------
    X, y : array_like of shape (n_samples, n_features) and (n_samples,)
        Rows and their labels, of two classes, as of `fit_many`.
    l2 : float, optional
        Strength of the penalty.
    tune : array_like of shape (n_candidates,), optional
        Strengths to choose from, in the place of `l2`: the model of all rows, each resample's, and
        those of "BCa", have the one of the least mean loss over folds that are left out in turn,
        the strongest of equal ones.
    folds : int or array_like of shape (n_samples,), optional
        The folds of `tune`, as of `fit_many`; by default 5. They are of the rows before these are
        drawn, so that a row and its copies are in one fold, and by number of whole groups, if there
        are groups.
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
        Number of threads; with an executor, of each worker, by default its share of this machine's.
    executor : concurrent.futures.Executor or the like, optional
        Workers that fit a part of the resamples each, as of `random_search`; the result is the
        same. X and y are sent once to each worker, which packs them anew and draws its resamples
        itself: worth it from seconds of work on, or on other machines.

    Returns
    -------
    BootstrapResult
        After Ctrl-C that of the first resamples, which were finished, with `interrupted`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or a resample lacks a class.
    RuntimeError
        If a worker of the executor dies, or the executor is shut down meanwhile.

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
    check_options(executor, progress, None)
    check_choice("method", method, METHODS)
    check_choice("kind", kind, KINDS)
    level = check_number("confidence_level", confidence_level, 0.0, strictly=True)
    if level >= 1:
        raise ValueError(f"confidence_level is {level:g}: pass a number between 0 and 1.")
    n_resamples = check_integer("n_resamples", n_resamples, 2)
    effort = Effort.of(tol, max_iter, threads_asked(executor, n_threads))
    penalty = (check_l2(l2, tune, folds), penalty_factor, center)
    of_rows = (X, y, penalty, class_weight, fit_intercept, effort)
    held = Made(resamples_of, *of_rows, seed, kind, groups, (tune, folds))
    resamples, spread = held.value, Spread(executor, held)
    resamples.weights(0, 1, kind)  # what is wrong with groups is said first
    whole, l2_of_whole, of_whole = resamples.optima(None)
    with Progress(progress, n_resamples, 0, resamples.n_samples) as line:
        found = resamples.run(spread, n_resamples, line)
    levels = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "BCa":
        ends = bca_ends(found.thetas, whole.thetas[0], resamples.jackknife(spread), levels)
    else:
        ends = np.quantile(found.thetas, levels, axis=0)
    apparent = float(resamples.losses(whole.thetas, None)[0])
    certified = are_proven(found.gap_bounds, found.objectives, effort.tol)
    warn_of_unproven(int(np.count_nonzero(~certified)), len(certified), "models")
    if (tuning := resamples.tuning) is not None:
        n_judged = tuning.n_models * (len(certified) + 1)
        n_unproven = int(of_whole.sum() + found.n_unproven.sum())
        warn_of_unproven(n_unproven, n_judged, "models by which penalties were chosen")
    return BootstrapResult(
        theta=whole.thetas[0],
        l2=float(l2_of_whole[0]),
        resample_l2=found.l2,
        confidence_interval=ConfidenceInterval(*ends),
        bootstrap_distribution=np.ascontiguousarray(found.thetas.T),
        standard_error=found.thetas.std(axis=0, ddof=1),
        confidence_level=level,
        method=method,
        apparent_loss=apparent,
        optimism=float((found.on_all - found.own).mean()),
        oob_loss=None if np.isnan(found.left_out).all() else found.left_out,
        loss_632=loss_of_new_rows(apparent, found.left_out),
        certified=certified,
        gap_bound=found.gap_bounds,
        feature_names=names_of(X, resamples.models.shared.packed.n_features),
        interrupted=len(found.l2) < n_resamples,
    )


def check_l2(l2: float | None, tune: npt.ArrayLike | None, folds: npt.ArrayLike | None) -> float:
    """Return the checked penalty that is given, 0 where one is to be chosen."""
    if l2 is not None and tune is not None:
        raise ValueError("l2 and tune are given: pass one of them, the other one None.")
    if tune is None and folds is not None:
        raise ValueError("folds are given, but tune is None: pass penalties to choose from, too.")
    if tune is None and l2 is None:
        raise TypeError("l2 is None: pass a number >= 0, or tune, penalties to choose from.")
    return 0.0 if tune is not None else check_number("l2", l2, 0.0)


def loss_of_new_rows(apparent: float, oob: Float64Array) -> float | None:
    """Return Efron's .632 estimate, None where no resample left a row out."""
    if np.isnan(oob).all():
        return None
    return (1 - IN_A_RESAMPLE) * apparent + IN_A_RESAMPLE * float(np.nanmean(oob))


def bca_ends(
    thetas: Float64Array, theta: Float64Array, left_out: Float64Array, levels: Float64Array
) -> Float64Array:
    """Return the ends of intervals that are corrected for bias and acceleration, shape
    (2, n_params): as `scipy.stats.bootstrap` does. Where all thetas are on one side of a model's,
    half of one counts as on the other, for the bias would be infinite."""
    below = (thetas < theta).mean(axis=0) + (thetas <= theta).mean(axis=0)
    half = 0.5 / len(thetas)
    bias = normal_quantile(np.clip(below / 2, half, 1 - half))
    n = len(left_out)
    influence = (n - 1) * (left_out.mean(axis=0) - left_out)
    # In a unit of which cubes neither overflow nor underflow; a power of two changes no digit.
    influence = np.ldexp(influence, -np.frexp(np.abs(influence).max(axis=0))[1])
    squares = np.square(influence).sum(axis=0) / (n * n)
    cubes = (np.square(influence) * influence).sum(axis=0) / (n * n * n)
    spread = squares * np.sqrt(squares)
    acceleration = np.divide(cubes, 6 * spread, out=np.zeros_like(cubes), where=spread > 0)
    ends = []
    for z in normal_quantile(levels).tolist():
        at = normal_cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append([np.quantile(thetas[:, j], at[j]) for j in range(len(theta))])
    return np.array(ends)
