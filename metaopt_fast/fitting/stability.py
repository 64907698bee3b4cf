"""Stability selection: the features that l1 paths of random halves of the rows agree upon."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import ClassWeight, check_class_weight
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.fitting.penalty_arguments import check_strengths
from metaopt_fast.fitting.result import names_of, reasons_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.plots import axes
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.values import check_integer, check_number, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Shuffles of a pair of halves, until each half has both classes.
ATTEMPTS = 1000
ASSUMPTIONS = ("none", "unimodal")


@dataclass(frozen=True, slots=True, eq=False)
class StabilityResult:
    """How often each feature was selected, and what that says.

    Attributes
    ----------
    l1 : numpy.ndarray of shape (M,)
        Penalties, from the strongest on.
    probabilities : numpy.ndarray of shape (M, n_features)
        Part of the halves in whose model, at a penalty, a feature has a weight.
    path_probabilities : numpy.ndarray of shape (M, n_features)
        Part of the halves in which it has one at a penalty or a stronger one.
    mean_selected : numpy.ndarray of shape (M,)
        Features that a half selects at a penalty or a stronger one, in the mean.
    n_pairs : int
        Number of pairs of halves.
    seed : int
    feature_names : tuple of str
        Names of a frame's columns, or x0, x1, ... of an array.
    """

    l1: Float64Array
    probabilities: Float64Array
    path_probabilities: Float64Array
    mean_selected: Float64Array
    n_pairs: int
    seed: int
    feature_names: tuple[str, ...]

    def expected_false(
        self, threshold: float, penalty: int = -1, *, assumption: str = "none"
    ) -> float:
        """Return a bound of how many features are expected to be selected falsely.

        With q of p features selected by a half in the mean, and a feature selected where its
        `path_probabilities` are at least the threshold, the bound is q^2 / ((2 threshold - 1) p).
        It holds for the features that a half selects with a probability of at most q / p, whatever
        the data (Shah and Samworth, theorem 1); and for all features without an effect, if these
        are exchangeable and no likelier to be selected than others are (Meinshausen and Buehlmann).
        Infinite: there is none.

        Parameters
        ----------
        threshold : float
            Part of the halves, above 1/2 and at most 1.
        penalty : int, default -1
            Number of the weakest penalty that counts.
        assumption : {"none", "unimodal"}, default "none"
            Whether the part of the pairs both of whose halves select such a feature has a unimodal
            distribution, which makes the bound about half as large (theorem 2).
        """
        threshold = check_number("threshold", threshold, 0.5, strictly=True)
        if threshold > 1:
            raise ValueError(f"threshold is {threshold:g}: pass a number above 1/2, up to 1.")
        if not isinstance(assumption, str) or assumption not in ASSUMPTIONS:
            raise ValueError(
                f"assumption is {describe(assumption)}: pass one of "
                f"{', '.join(map(repr, ASSUMPTIONS))}."
            )
        n_features = self.probabilities.shape[1]
        q = float(self.mean_selected[self._penalty(penalty)])
        bounds = [q * q / ((2 * threshold - 1) * n_features)]
        if assumption == "unimodal":
            bounds.append(_unimodal(threshold, self.n_pairs, q / n_features) * q * q / n_features)
        return float(min(bounds))

    def threshold(
        self, max_false: float = 1.0, penalty: int = -1, *, assumption: str = "none"
    ) -> float:
        """Return the least threshold that keeps `expected_false` at most `max_false`.

        Infinite: none does, as where the penalty is weak and selects many.
        """
        max_false = check_number("max_false", max_false, 0.0, strictly=True)
        for count in range(self.n_pairs + 1, 2 * self.n_pairs + 1):
            part = count / (2 * self.n_pairs)
            if self.expected_false(part, penalty, assumption=assumption) <= max_false:
                return part
        return math.inf

    def selected(
        self, max_false: float = 1.0, penalty: int = -1, *, assumption: str = "none"
    ) -> IndexArray:
        """Return the numbers of the features whose `path_probabilities` reach `threshold`."""
        least = self.threshold(max_false, penalty, assumption=assumption)
        return np.flatnonzero(self.path_probabilities[self._penalty(penalty)] >= least)

    def _penalty(self, penalty: int) -> int:
        return check_integer("penalty", penalty, -len(self.l1), len(self.l1) - 1)

    def plot(self, ax: Axes | None = None, *, threshold: float = 0.75) -> Axes:
        """Draw each feature's probability against the penalty; those that reach a threshold have
        names. Returns the matplotlib axes."""
        threshold = check_number("threshold", threshold, 0.0)
        if threshold > 1:
            raise ValueError(f"threshold is {threshold:g}: pass a probability, up to 1.")
        ax = axes("plot", ax)
        largest = self.probabilities.max(axis=0)
        for j in np.argsort(largest, kind="stable"):
            if largest[j] < threshold:
                ax.plot(self.l1, self.probabilities[:, j], "-", color="0.8", linewidth=0.8)
            else:
                ax.plot(self.l1, self.probabilities[:, j], label=self.feature_names[j])
        ax.axhline(threshold, color="0.4", linestyle=":", linewidth=0.8)
        ax.set(xscale="log", xlabel="l1", ylabel="selection probability", title="Stability")
        ax.invert_xaxis()
        if (largest >= threshold).any():
            ax.legend()
        return ax

    def __repr__(self) -> str:
        lines = [
            f"StabilityResult of {len(self.l1):,} penalties, {self.n_pairs:,} pairs of halves, "
            f"{len(self.feature_names):,} features"
        ]
        last = self.path_probabilities[-1]
        for j in np.argsort(-last, kind="stable")[:10]:
            lines.append(f"  {last[j]:.3f}  {self.feature_names[j]}")
        if len(last) > 10:
            lines.append(f"  ({len(last) - 10:,} more)")
        return "\n".join(lines)


def _unimodal(threshold: float, n_pairs: int, part: float) -> float:
    """Return the factor of part times q in theorem 2, infinite where it does not say anything."""
    half = 1 / (2 * n_pairs)
    if part > 1 / math.sqrt(3) or threshold <= 0.5 + min(part * part, half + 0.75 * part * part):
        return math.inf
    if threshold > 0.75:
        return 4 * (1 - threshold + half) / (1 + 2 * half)
    room = 2 * threshold - 1 - half
    return 1 / (2 * room) if room > 0 else math.inf


@shielded
def stability_selection(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    l1: npt.ArrayLike,
    l2: float = 0.0,
    n_resamples: int = 100,
    seed: int = 0,
    class_weight: ClassWeight = None,
    penalty_factor: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int = 100,
    n_threads: int | None = None,
) -> StabilityResult:
    """Fit l1 paths on random halves of the rows, and count which features they select.

    The halves come in complementary pairs: the rows are shuffled, and the first half and the second
    one are a pair. Pair i is a function of the seed, i and the labels alone; shuffles after which a
    half lacks a class are left out.

    Parameters
    ----------
    X : array_like of shape (n_samples, n_features)
    y : array_like of shape (n_samples,)
        Labels of two classes, each of two rows or more.
    l1 : float or array_like of shape (M,)
        Penalties above 0, as `l1_max` and ``numpy.geomspace`` make them.
    l2 : float, default 0.0
        Strength of the l2 penalty beside each of them.
    n_resamples : int, default 100
        Number of halves, even.
    seed : int, default 0
    class_weight, penalty_factor, fit_intercept, tol, max_iter, n_threads
        See `fit_many`.

    Returns
    -------
    StabilityResult

    Warns
    -----
    RuntimeWarning
        If models have not converged, with the reason.

    References
    ----------
    N. Meinshausen and P. Buehlmann, "Stability selection", Journal of the Royal Statistical Society
    B 72 (2010). R. D. Shah and R. J. Samworth, "Variable selection with error control: another look
    at stability selection", Journal of the Royal Statistical Society B 75 (2013).

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> X = np.random.default_rng(0).normal(size=(200, 50))
    >>> y = X[:, 0] - X[:, 1] + 0.5 * np.random.default_rng(1).normal(size=200) > 0
    >>> l1 = mf.l1_max(X, y) * np.geomspace(1, 0.3, 20)
    >>> found = mf.stability_selection(X, y, l1=l1)
    >>> found.selected(max_false=1.0).tolist()
    [0, 1]
    """
    strengths = np.sort(check_strengths("l1", l1, None)[:, 0])[::-1]
    if strengths[-1] == 0:
        raise ValueError("l1 has 0: pass penalties above 0, which leave features out.")
    of_l2 = check_number("l2", l2, 0.0)
    n_pairs, odd = divmod(check_integer("n_resamples", n_resamples, 2), 2)
    if odd:
        raise ValueError(
            f"n_resamples is {2 * n_pairs + 1}: pass an even number, of pairs' halves."
        )
    seed = check_integer("seed", seed, 0, MAX_SEED)
    effort = Effort.of(tol, max_iter, n_threads)
    rows = Rows.of(X, y, None, None, fit_intercept)
    counts = np.bincount(rows.codes)
    if len(counts) > 2:
        raise ValueError(f"y holds {len(counts)} classes: pass labels of two, for an l1 penalty.")
    if counts.min() < 2:
        raise ValueError("y has one row of a class: pass two or more, one for each half.")
    # By the numbers of the classes, as the halves have them.
    (choice,), _ = check_class_weight([class_weight], rows.classes)
    n_features = rows.X.shape[1]
    hits, path_hits = np.zeros((2, len(strengths), n_features), np.intp)
    sizes, status = np.zeros(len(strengths)), []
    for used, folds in _pairs(rows.codes, n_pairs, seed):
        fits = fit_models(
            effort,
            Rows.of(rows.X[used], rows.codes[used], folds, None, rows.fit_intercept),
            l2=of_l2,
            l1=strengths,
            class_weight=choice,
            penalty_factor=penalty_factor,
        )
        chosen = fits.theta[..., :n_features] != 0
        of_path = np.logical_or.accumulate(chosen, axis=0)
        hits += chosen.sum(axis=1)
        path_hits += of_path.sum(axis=1)
        sizes += of_path.sum(axis=(1, 2))
        status.append(fits.status)
    if reasons := reasons_of(np.array(status), effort.max_iter):
        warnings.warn(reasons, RuntimeWarning, stacklevel=2)
    n = 2 * n_pairs
    names = names_of(X, n_features)
    return StabilityResult(strengths, hits / n, path_hits / n, sizes / n, n_pairs, seed, names)


def _pairs(codes: IndexArray, n_pairs: int, seed: int) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Yield the rows of each pair of halves, and which half each of them is in."""
    half = len(codes) // 2
    for pair in range(n_pairs):
        for attempt in range(ATTEMPTS):
            keys = Uniform().sample(seed, pair * ATTEMPTS + attempt, 1, len(codes))[0]
            order = np.argsort(keys, kind="stable")[: 2 * half]
            halves = codes[order].reshape(2, half)
            if (halves.min(axis=1) != halves.max(axis=1)).all():
                break
        else:
            raise ValueError(
                f"y has {np.bincount(codes).min()} rows of a class, which random halves lack: pass "
                "more of them."
            )
        used = np.sort(order)
        in_second = np.zeros(len(codes), np.intp)
        in_second[order[half:]] = 1
        yield used, in_second[used]
