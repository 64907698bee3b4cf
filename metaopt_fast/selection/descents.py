"""Learning how to learn: random search for the hyper-parameters of gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.descent.gradient_descent import gradient_descent
from metaopt_fast.descent.held_out import check_held_out
from metaopt_fast.descent.result import DescentResult, uninterrupted
from metaopt_fast.descent.schedules import Schedule
from metaopt_fast.descent.starts import is_sampler, read_starts
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.samplers.independent import HyperSampler
from metaopt_fast.search.random_search import random_search
from metaopt_fast.search.result import SearchResult
from metaopt_fast.selection.candidates import Descents
from metaopt_fast.selection.racing import ARGUMENTS, RaceResult, Racing, race
from metaopt_fast.typing import Float64Array, SamplerLike
from metaopt_fast.validation.values import (
    check_flag,
    check_integer,
    describe,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Hyper-parameters that may differ between descents, by their names in `gradient_descent` and in a
# schedule of learning rates; betas have one name each.
HYPERPARAMETERS = (
    "learning_rate",
    "init_value",
    "l2",
    "momentum",
    "beta1",
    "beta2",
    "alpha",
    "eps",
    "weight_decay",
)
SEARCH_ARGUMENTS = (
    "checkpoint",
    "executor",
    "progress",
    "callback",
    "time_budget",
    "start",
    "n_threads",
    "metadata",
    "fingerprint",
)
NEVER_OPTIONS = ("objective", "theta0", "betas")


@dataclass(frozen=True, slots=True, eq=False)
class DescentSearchResult:
    """The best hyper-parameters of gradient descent that a search found.

    Attributes
    ----------
    parameters : dict of numpy.ndarray of shape (top_k,)
        Each hyper-parameter of the best candidates, the best first.
    validation_loss : numpy.ndarray of shape (top_k,)
        Their losses on the validation set; infinity for a descent that diverged.
    runs : DescentResult
        Their descents, top_k of them.
    search : SearchResult
        The search itself: its thetas are vectors of hyper-parameters, log-uniform ones as
        logarithms to base 2.
    race : RaceResult or None
        What a race has spent: `passes` over the rows, of `full_passes`, and `rungs`, where it
        dropped whom.
    """

    parameters: dict[str, Float64Array]
    validation_loss: Float64Array
    runs: DescentResult
    search: SearchResult
    race: RaceResult | None = None

    @property
    def best(self) -> dict[str, float]:
        """The best hyper-parameters by name."""
        return {name: float(values[0]) for name, values in self.parameters.items()}

    @property
    def theta(self) -> Float64Array:
        """A copy of the theta that the best descent ended with, shape (n_params,)."""
        theta: Float64Array = self.runs.theta[0].copy()
        return theta

    @property
    def loss(self) -> float:
        """The loss of `theta` on the validation set."""
        return float(self.validation_loss[0])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the validation losses of a race's candidates at its rungs, those that were dropped
        in grey.

        Returns the matplotlib axes.
        """
        from metaopt_fast.plots import axes

        if self.race is None:
            raise ValueError(
                "plot draws a race, and this search was none: pass racing='halving' to "
                "search_descents."
            )
        ax = axes("DescentSearchResult.plot", ax)
        self.race.plot(ax)
        return ax

    def __repr__(self) -> str:
        raced = self.race is not None
        part = f", {self.search.rows_evaluated_fraction:.1%} of their passes" if raced else ""
        lines = [
            f"DescentSearchResult of {self.search.n_evaluated:,} descents in "
            f"{self.search.elapsed:.2f} s{part}"
        ]
        for k in range(min(6, len(self.validation_loss))):
            shown = ", ".join(f"{name}={v[k]:.4g}" for name, v in self.parameters.items())
            one = self.runs[k]
            lines.append(
                f"  {k + 1:>4}. {self.validation_loss[k]:.8g}  {one.status} after "
                f"{one.n_iter:,}: {shown}"
            )
        return "\n".join(lines)


def search_descents(
    objective: Any,
    samplers: Mapping[str, HyperSampler],
    n_candidates: int,
    *,
    validation: Any,
    theta0: npt.ArrayLike | SamplerLike | None = None,
    early_stopping: bool = False,
    racing: str | None = None,
    reduction: int | None = None,
    n_rungs: int | None = None,
    seed: int = 0,
    top_k: int = 1,
    batch: int = 256,
    search: Mapping[str, Any] | None = None,
    **options: Any,
) -> DescentSearchResult:
    """Draw hyper-parameters of gradient descent, train with each, and keep the best.

    The best are those whose thetas have the lowest loss on a validation set.

    Candidates descend together, `batch` at a time. Candidate i is a pure function of (seed, i), and
    its loss does not depend on the others: with a checkpoint or an executor the result is the same.

    Parameters
    ----------
    objective : LogisticLoss
        Rows to train on.
    samplers : dict
        Samplers by the names of hyper-parameters: each a Uniform, Normal, Integers or LogUniform of
        numbers. The names are those of `gradient_descent` that its method uses and that may be
        arrays: "learning_rate", "l2", "momentum", "alpha", "eps", "weight_decay", "beta1" and
        "beta2" for the pair `betas`, and "init_value" of a schedule that is given as
        `learning_rate`.
    n_candidates : int
        Number of descents.
    validation : LogisticLoss
        Rows to judge by, with l2=0: see ``LogisticLoss.subset``.
    theta0 : array_like of shape (n_params,) or a sampler, optional
        Start of all descents; by default zeros. Of a sampler, it is candidate 0 of the seed.
    early_stopping : bool, default False
        Whether each descent ends with the theta of its lowest validation loss on the way, as with
        `validation` in `gradient_descent`; `patience` counts steps that do not lower that loss.
    racing : {"halving", "hyperband"}, optional
        Whether candidates race, with `early_stopping` and `max_iter`: all start together, and at
        each rung those of the highest validation losses so far are dropped. "halving" has one
        bracket of all candidates; "hyperband" spreads them over brackets of n_rungs, ..., 1 and no
        rungs, which cost about the same: insurance against candidates that start slowly. The others
        have the bits that they have without a race, whose result hangs on n_candidates.
    reduction : int, optional
        A rung keeps one candidate in so many; by default 2 of "halving", 3 of "hyperband".
    n_rungs : int, optional
        Rungs of a race, 3 by default: the last one after max_iter / reduction steps, the one before
        it after max_iter / reduction^2, and so on.
    seed : int, default 0
        Seed of the hyper-parameters, and of the start, where one is drawn.
    top_k : int, default 1
        Number of the best that are kept, by (validation loss, index). A descent that diverged ranks
        last.
    batch : int, default 256
        Number of descents at once; those of a race are all at once, 65,536 at most.
    search : dict, optional
        Arguments of `random_search` besides: checkpoint, executor, progress, callback, time_budget,
        start, n_threads, metadata, fingerprint; of a race, progress and the last three.
    **options
        Arguments of `gradient_descent` besides, the same for all: method, max_iter, tol,
        batch_size, ...

    Returns
    -------
    DescentSearchResult
        After Ctrl-C of the batches until then; the best of their descents are made again.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    References
    ----------
    J. Bergstra and Y. Bengio, "Random search for hyper-parameter optimization", JMLR 13 (2012); K.
    Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
    optimization", AISTATS 2016; L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh and A. Talwalkar,
    "Hyperband", JMLR 18 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, _ = load_breast_cancer()
    >>> data = mf.LogisticLoss((X - X.mean(axis=0)) / X.std(axis=0), y, fit_intercept=True)
    >>> held_out = np.arange(len(y)) % 4 == 0
    >>> found = mf.search_descents(
    ...     data.subset(~held_out),
    ...     {"learning_rate": mf.LogUniform(0.01, 10), "l2": mf.LogUniform(1e-5, 1)},
    ...     256,
    ...     validation=data.subset(held_out),
    ...     method="nesterov",
    ...     max_iter=200,
    ... )
    >>> sorted(found.best)
    ['l2', 'learning_rate']
    >>> bool(found.loss < 0.09)
    True
    """
    _check(objective, validation, samplers, options)
    early_stopping = check_flag("early_stopping", early_stopping)
    judge = validation if early_stopping else None
    # Raises errors of all arguments but those that are drawn.
    tried = {**options, "validation": judge, "max_iter": 0}
    uninterrupted(gradient_descent(objective, theta0, **tried))
    start = None
    if is_sampler(theta0):
        seed = check_integer("seed", seed, 0, MAX_SEED)
        start = read_starts(int(objective.n_params), theta0, None, seed)
    elif theta0 is not None:
        start = np.array(theta0, np.float64)
        if start.ndim != 1:
            raise ValueError(f"theta0 has shape {start.shape}: pass one start, for all descents.")
    check_integer("n_candidates", n_candidates, 1)
    batch = check_integer("batch", batch, 1, 2**16)
    descents = Descents(
        objective, validation, dict(samplers), start, options, batch, early_stopping
    )
    arguments = _check_search(search)
    settings = Racing.of(racing, reduction, n_rungs, options)
    if settings is not None:
        return _race(descents, settings, n_candidates, seed, top_k, arguments)
    result = random_search(
        descents, descents.sampler(), n_candidates, seed=seed, top_k=top_k, **arguments
    )
    return DescentSearchResult(
        parameters=descents.parameters(result.top_thetas),
        validation_loss=result.top["loss"].copy(),
        runs=descents.run(result.top_thetas),
        search=result,
    )


def _race(
    descents: Descents,
    racing: Racing,
    n_candidates: int,
    seed: int,
    top_k: int,
    arguments: dict[str, Any],
) -> DescentSearchResult:
    if not descents.early_stopping:
        raise ValueError(
            f"racing is {racing.kind!r}, but early_stopping is False: pass early_stopping=True, as "
            "a race judges descents by their lowest validation loss on the way."
        )
    for name in arguments:
        if name not in ARGUMENTS:
            raise ValueError(
                f"search has {name!r}, but a race is one computation without shards: pass names "
                f"out of {', '.join(map(repr, ARGUMENTS))}."
            )
    descents = replace(descents, racing=racing.text)
    result, runs, found = race(descents, racing, n_candidates, seed, top_k, **arguments)
    return DescentSearchResult(
        parameters=descents.parameters(result.top_thetas),
        validation_loss=result.top["loss"].copy(),
        runs=runs,
        search=result,
        race=found,
    )


def _check(objective: Any, validation: Any, samplers: Any, options: dict[str, Any]) -> None:
    check_held_out(objective, validation)
    if not isinstance(samplers, Mapping) or not samplers:
        raise TypeError(
            f"samplers is {describe(samplers)}: pass a dict from names of hyper-parameters to "
            "samplers."
        )
    for name, sampler in samplers.items():
        if name not in HYPERPARAMETERS:
            raise ValueError(
                f"samplers has the name {name!r}: pass names out of "
                f"{', '.join(map(repr, HYPERPARAMETERS))}."
            )
        if not isinstance(sampler, HyperSampler) or sampler.n_params not in (None, 1):
            raise TypeError(
                f"samplers has {describe(sampler)} as the sampler of {name!r}: pass a Uniform, "
                "Normal, Integers or LogUniform of numbers."
            )
        if name in options:
            raise ValueError(f"{name} is given and drawn at once: leave one of them out.")
    rate = options.get("learning_rate")
    if "init_value" in samplers and not isinstance(rate, Schedule):
        raise ValueError(
            f"samplers has the name 'init_value', but learning_rate is {describe(rate)}: pass a "
            "schedule, such as cosine_decay(1.0, 1000), or draw 'learning_rate'."
        )
    for name in NEVER_OPTIONS:
        if name in options:
            raise ValueError(
                f"{name} cannot be given here: draw 'beta1' and 'beta2', and pass the rest in "
                "its place."
            )


def _check_search(search: Any) -> dict[str, Any]:
    wanted = f"a dict of arguments of random_search out of {', '.join(map(repr, SEARCH_ARGUMENTS))}"
    if search is None:
        return {}
    if not isinstance(search, Mapping):
        raise TypeError(f"search is {describe(search)}: pass {wanted}.")
    for name in search:
        if name in ("objective", "sampler", "n_candidates", "seed", "top_k", "prune"):
            raise ValueError(f"search has {name!r}: pass it to search_descents itself, or not.")
        if name not in SEARCH_ARGUMENTS:
            raise ValueError(f"search has {name!r}: pass {wanted}.")
    return dict(search)
