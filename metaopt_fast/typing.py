"""Types that signatures name: arrays, and what users may write themselves.

An objective or a sampler of one's own needs no base class. `Objective` is all that a search asks of
an objective, `Differentiable` or `BatchDifferentiable` what a descent asks; `Sampled`, `Pruned`,
`Smooth`, `Penalised`, `Minibatched` and `Threaded` are parts that one may have as well. What stands
for a method is asked only where it knows of every override of it: where a class overrides
``batch_loss``, an inherited ``sampled_loss`` is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Int64Array: TypeAlias = npt.NDArray[np.int64]
IndexArray: TypeAlias = npt.NDArray[np.intp]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
# Rows of named entries, and labels of whatever kind.
Records: TypeAlias = npt.NDArray[np.void]
LabelArray: TypeAlias = npt.NDArray[np.generic]

# What files of JSON hold, and `config` of results.
JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
# A class, as it was given; and so is bool.
Label: TypeAlias = str | int | float
# Of one descent a number, of many an array.
Floats: TypeAlias = float | Float64Array
Counts: TypeAlias = int | IndexArray
Words: TypeAlias = str | npt.NDArray[np.str_]

# Names that arguments take, which editors then offer.
DescentMethod: TypeAlias = Literal[
    "gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lbfgs"
]
EvolveMethod: TypeAlias = Literal["cem", "snes", "ars", "shrinking", "integer_local_search"]
FitLoss: TypeAlias = Literal["logistic", "squared_hinge"]
IntervalMethod: TypeAlias = Literal["percentile", "BCa"]
BootstrapKind: TypeAlias = Literal["multinomial", "poisson", "bayesian"]
ResampleKind: TypeAlias = Literal["multinomial", "poisson", "bayesian", "subsample", "jackknife"]
ValueMethod: TypeAlias = Literal["banzhaf", "shapley", "loo"]


class Parametric(Protocol):
    """What has parameters.

    Attributes of any objective that are read where they are there: ``n_samples`` (rows, for sizes
    of batches and rates), ``l2``, ``fit_intercept`` and ``dtype`` (kept in ``config``; a descent
    penalises no intercept, and asks for no theta beyond the range of float32), ``shard_size``
    (candidates of a shard, which are then one batch) and ``fingerprint`` (see `random_search`).
    """

    @property
    def n_params(self) -> int:
        """How many entries a theta has."""


class Objective(Parametric, Protocol):
    """What `random_search`, `enumerate_search` and `evolve` minimise.

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> class Distance:
    ...     n_params = 2
    ...
    ...     def batch_loss(self, thetas: mf.typing.Float64Array) -> mf.typing.Float64Array:
    ...         return np.abs(thetas - 0.5).sum(axis=1)
    >>> objective: mf.typing.Objective = Distance()
    >>> mf.enumerate_search(objective, -1, 1).theta
    array([0., 0.])
    """

    def batch_loss(self, thetas: Float64Array, /) -> npt.ArrayLike:
        """Return the losses of thetas of shape (n_candidates, n_params): as many real numbers."""


class Sampled(Objective, Protocol):
    """An objective that draws candidates itself, without storing them."""

    def sampled_loss(self, sampler: Any, seed: int, start: int, count: int, /) -> Float64Array:
        """Return the losses of candidates start .. start + count - 1 of a built-in sampler."""


class Pruned(Objective, Protocol):
    """An objective that drops candidates as soon as they exceed a loss."""

    def pruned_loss(
        self, candidates: Any, seed: int, start: int, count: int, threshold: float, /
    ) -> tuple[Float64Array, float]:
        """Return losses, infinite perhaps where above the threshold, and the part computed.

        Candidates are thetas, or the built-in sampler that `count` of them are drawn from.
        """


class Differentiable(Parametric, Protocol):
    """What `gradient_descent` minimises, one theta at a time."""

    def loss_gradient(self, theta: Float64Array, /) -> tuple[float, npt.ArrayLike]:
        """Return the loss of one theta and its gradient, both of shape (n_params,)."""


class BatchDifferentiable(Parametric, Protocol):
    """What `gradient_descent` minimises, all descents in one call."""

    def batch_loss_gradient(self, thetas: Float64Array, /) -> tuple[npt.ArrayLike, npt.ArrayLike]:
        """Return the losses of thetas of shape (K, n_params), and gradients of that shape."""


class Smooth(Protocol):
    """An objective that learning rates may be chosen by."""

    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient; infinity where there is none."""


class Penalised(Protocol):
    """An objective with a penalty, in whose place ``l2`` of a descent may be put."""

    def with_l2(self, l2: float, /) -> Self:
        """Return the same objective with another strength of its penalty; 0 for none."""


class Minibatched(Protocol):
    """An objective that a descent may take part of the rows of, by ``batch_size``."""

    @property
    def n_samples(self) -> int:
        """How many rows there are."""

    def minibatches(self, batch_size: int, /, *, seed: int, epoch: int) -> Sequence[Any]:
        """Return objectives on all rows, some rows each, in the order of a seed and an epoch."""


class Threaded(Protocol):
    """An objective whose number of threads ``n_threads`` of a search sets."""

    def with_threads(self, n_threads: int | None, /) -> Self:
        """Return the same objective with another number of threads."""


@runtime_checkable
class Sampler(Protocol):
    """Where candidates come from, with what it states of them: candidate i depends on (seed, i).

    `Normal`, `Uniform`, `Integers` and `Mixture` have these methods, and so may an object of one's
    own, which needs no base class. `random_search` asks for `sample` alone; `evolve` for `bounds`
    and `is_integer`, for `mean` and `std` where its method moves in real numbers, and for
    `nonzero_limit` where it moves in whole ones. Each method takes the number of parameters, and
    raises ValueError where the sampler has another one. Candidate i is the same in whatever range
    it is drawn, and again whenever it is. A subclass of a built-in sampler that overrides `sample`
    is asked for its draws, and states what it overrides. Checkpoints and `merge_results` know a
    sampler by its attribute ``fingerprint``, a string, or by that argument (see `random_search`).

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> class Laplace:
    ...     fingerprint = "Laplace, scale 1"
    ...
    ...     def sample(self, seed, start, count, n_params):
    ...         u = mf.Uniform().sample(seed, start, count, n_params)
    ...         return -np.sign(u) * np.log1p(-np.abs(u))
    ...
    ...     def mean(self, n_params):
    ...         return np.zeros(n_params)
    ...
    ...     def std(self, n_params):
    ...         return np.full(n_params, np.sqrt(2))
    ...
    ...     def bounds(self, n_params):
    ...         return np.full(n_params, -np.inf), np.full(n_params, np.inf)
    ...
    ...     def is_integer(self, n_params):
    ...         return np.zeros(n_params, bool)
    ...
    ...     def nonzero_limit(self, n_params):
    ...         return None
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], l2=0.1)
    >>> mf.random_search(objective, Laplace(), 1000).loss < 0.3
    True
    >>> mf.evolve(objective, Laplace(), generations=30).theta.round(3).tolist()
    [1.513]
    """

    def sample(self, seed: int, start: int, count: int, n_params: int) -> Float64Array:
        """Return candidates start .. start + count - 1, shape (count, n_params), all finite."""
        ...

    def mean(self, n_params: int) -> Float64Array:
        """Return the mean of each parameter, shape (n_params,)."""
        ...

    def std(self, n_params: int) -> Float64Array:
        """Return the standard deviation of each parameter, shape (n_params,)."""
        ...

    def bounds(self, n_params: int) -> tuple[Float64Array, Float64Array]:
        """Return the lowest and the highest value of each parameter: no draw is beyond them."""
        ...

    def is_integer(self, n_params: int) -> BoolArray:
        """Return which parameters are whole numbers, each of those within its bounds possible."""
        ...

    def nonzero_limit(self, n_params: int) -> tuple[int, IndexArray] | None:
        """Return how many of which parameters may be other than 0 at once; None for any number."""
        return None


SamplerLike: TypeAlias = Sampler | Callable[[int, int], npt.ArrayLike]
