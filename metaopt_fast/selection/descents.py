"""Learning how to learn: random search for the hyper-parameters of gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.descent.gradient_descent import gradient_descent
from metaopt_fast.descent.held_out import check_held_out
from metaopt_fast.descent.result import DescentResult
from metaopt_fast.descent.schedules import Schedule
from metaopt_fast.descent.starts import is_sampler, read_starts
from metaopt_fast.runs.evaluation import traits
from metaopt_fast.samplers.base import MAX_SEED, BuiltInSampler
from metaopt_fast.samplers.independent import HyperSampler
from metaopt_fast.samplers.mixture import Mixture
from metaopt_fast.search.random_search import random_search
from metaopt_fast.search.result import SearchResult
from metaopt_fast.typing import Float64Array, SamplerLike
from metaopt_fast.validation.identity import Names, is_built_in
from metaopt_fast.validation.overrides import threaded
from metaopt_fast.validation.values import (
    check_flag,
    check_integer,
    describe,
)

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
    """

    parameters: dict[str, Float64Array]
    validation_loss: Float64Array
    runs: DescentResult
    search: SearchResult

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

    def __repr__(self) -> str:
        lines = [
            f"DescentSearchResult of {self.search.n_evaluated:,} descents in "
            f"{self.search.elapsed:.2f} s"
        ]
        for k in range(min(6, len(self.validation_loss))):
            shown = ", ".join(f"{name}={v[k]:.4g}" for name, v in self.parameters.items())
            lines.append(
                f"  {k + 1:>4}. {self.validation_loss[k]:.8g}  {self.runs.status[k]} after "
                f"{self.runs.n_iter[k]:,}: {shown}"
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
    seed : int, default 0
        Seed of the hyper-parameters, and of the start, where one is drawn.
    top_k : int, default 1
        Number of the best that are kept, by (validation loss, index). A descent that diverged ranks
        last.
    batch : int, default 256
        Number of descents at once.
    search : dict, optional
        Arguments of `random_search` besides: checkpoint, executor, progress, callback, time_budget,
        start, n_threads, metadata, fingerprint.
    **options
        Arguments of `gradient_descent` besides, the same for all: method, max_iter, tol,
        batch_size, ...

    Returns
    -------
    DescentSearchResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    References
    ----------
    J. Bergstra and Y. Bengio, "Random search for hyper-parameter optimization", JMLR 13 (2012).

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
    gradient_descent(objective, theta0, **{**options, "validation": judge, "max_iter": 0})
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
    result = random_search(
        descents, descents.sampler(), n_candidates, seed=seed, top_k=top_k, **arguments
    )
    return DescentSearchResult(
        parameters=descents.parameters(result.top_thetas),
        validation_loss=result.top["loss"].copy(),
        runs=descents.run(result.top_thetas),
        search=result,
    )


@dataclass(frozen=True, eq=False)
class Descents:
    """Descents as `random_search` sees them: an objective whose thetas are hyper-parameters."""

    objective: Any
    validation: Any
    samplers: dict[str, HyperSampler]
    theta0: Float64Array | None
    options: dict[str, Any]
    shard_size: int
    early_stopping: bool

    @property
    def n_params(self) -> int:
        """How many hyper-parameters there are."""
        return len(self.samplers)

    @property
    def n_samples(self) -> int | None:
        """Rows of the training set."""
        return traits(self.objective).n_samples

    @property
    def fingerprint(self) -> str:
        """What determines the losses, in hexadecimal digits."""
        return self.identify(Names())

    def identify(self, names: Names) -> str:
        """Return the fingerprint, with what parts are known by as `names` has it."""
        import hashlib

        start = None if self.theta0 is None else self.theta0.tolist()
        parts = [names.of("objective", self.objective), names.of("validation", self.validation)]
        samplers: dict[str, object] = {}
        for name, sampler in self.samplers.items():
            if is_built_in(sampler):
                samplers[name] = sampler.in_full
            else:
                samplers[name] = "own " + names.of(f"the sampler of {name!r}", sampler)
        options = sorted((name, _in_full(value)) for name, value in self.options.items())
        if self.early_stopping:
            options.append(("early_stopping", "True"))
        return hashlib.sha256(repr([*parts, start, samplers, options]).encode()).hexdigest()

    def sampler(self) -> BuiltInSampler:
        """Return the sampler of vectors of hyper-parameters."""
        drawn = [sampler.coordinates for sampler in self.samplers.values()]
        return Mixture(dict(enumerate(drawn)))

    def parameters(self, thetas: Float64Array) -> dict[str, Float64Array]:
        """Return the hyper-parameters that vectors stand for, by name."""
        return {
            name: sampler.values(thetas[:, j])
            for j, (name, sampler) in enumerate(self.samplers.items())
        }

    def run(self, thetas: Float64Array) -> DescentResult:
        """Descend with each vector of hyper-parameters."""
        given: dict[str, Any] = self.parameters(thetas)
        if "beta1" in given or "beta2" in given:
            given["betas"] = given.pop("beta1", 0.9), given.pop("beta2", 0.999)
        if "init_value" in given:
            schedule = self.options["learning_rate"]
            given["learning_rate"] = schedule.starting_at(given.pop("init_value"))
        start = np.zeros(self.objective.n_params) if self.theta0 is None else self.theta0
        starts = np.tile(start, (len(thetas), 1))
        given["validation"] = self.validation if self.early_stopping else None
        return gradient_descent(self.objective, starts, **{**self.options, **given})

    def batch_loss(self, thetas: Float64Array) -> Float64Array:
        """Return the validation losses; infinity where a descent diverged."""
        runs = self.run(thetas)
        if (runs.status == "interrupted").any():
            raise KeyboardInterrupt
        if self.early_stopping:
            losses = np.array(runs.validation_loss)
        else:
            losses = np.array(self.validation.batch_loss(runs.theta), np.float64)
        losses[runs.status == "diverged"] = np.inf
        return losses

    def with_threads(self, n_threads: int | None) -> Self:
        """Return the same with another number of threads."""
        return replace(
            self,
            objective=threaded(self.objective, n_threads),
            validation=threaded(self.validation, n_threads),
        )


def _in_full(value: Any) -> str:
    """Return an option's repr, of an array with all its entries and digits."""
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(_in_full, value))
        return f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    if np.ndim(value) == 0:
        return repr(value)
    array = np.asarray(value)
    return f"{array.dtype} {array.tolist()!r}"


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
