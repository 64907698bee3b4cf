"""Evolution: populations whose distribution follows the best of the one before."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.evolution.continuous import (
    AugmentedRandomSearch,
    CrossEntropy,
    Shrinking,
    Snes,
)
from metaopt_fast.evolution.integers import IntegerLocalSearch
from metaopt_fast.evolution.result import EvolveResult
from metaopt_fast.evolution.run import Limits, Run, run_to_end
from metaopt_fast.evolution.strategy import Setting, Strategy, check_count, check_rate
from metaopt_fast.runs.evaluation import check_draws, check_objective
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.provenance import check_named, configuration, identify
from metaopt_fast.runs.spread import threads_asked
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED, BuiltInSampler
from metaopt_fast.samplers.independent import Normal
from metaopt_fast.samplers.own import ANY_SAMPLER, OwnSampler
from metaopt_fast.typing import Array, EvolveMethod, Objective, Sampler
from metaopt_fast.validation.identity import check_fingerprint, is_built_in
from metaopt_fast.validation.overrides import threaded
from metaopt_fast.validation.values import (
    as_real_array,
    check_integer,
    check_n_threads,
    check_number,
    describe,
    to_float64,
)

STRATEGIES: dict[str, type[Strategy]] = {
    "shrinking": Shrinking,
    "cem": CrossEntropy,
    "snes": Snes,
    "ars": AugmentedRandomSearch,
    "integer_local_search": IntegerLocalSearch,
}
METHODS = tuple(STRATEGIES)


def evolve(
    objective: Objective,
    start: Sampler | npt.ArrayLike,
    *,
    method: EvolveMethod = "cem",
    population: int = 256,
    generations: int = 100,
    seed: int = 0,
    scale: npt.ArrayLike | None = None,
    elite: float | None = None,
    smoothing: float | None = None,
    noise: float | None = None,
    noise_generations: int | None = None,
    learning_rate: float | None = None,
    scale_learning_rate: float | None = None,
    exploration: float | None = None,
    shrink: float | None = None,
    shrink_stuck: float | None = None,
    restart_after: int | None = None,
    top_k: int = 1,
    patience: int | None = None,
    tol: float = 0.0,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: bool | str = False,
    callback: Callable[[EvolveResult], object] | None = None,
    time_budget: float | None = None,
    n_threads: int | None = None,
    metadata: dict[str, Any] | None = None,
    fingerprint: str | None = None,
) -> EvolveResult:
    """Minimise without gradients, by populations that learn from generation to generation.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``batch_loss(thetas)`` and ``n_params``
        Each generation is one batch. A loss that is not finite ranks last.
    start : Normal, Uniform, Integers, Mixture, one of your own, or array_like of shape (n_params,)
        Sampler that the first generation is drawn from, whose means and standard deviations the
        methods of continuous parameters begin with. One of your own is any object with the methods
        of `metaopt_fast.typing.Sampler`. An array is the mean, and candidate 0 of the first
        generation (in "ars", both of its first direction, which is not followed).
    method : {"cem", "snes", "ars", "shrinking", "integer_local_search"}
        "cem", the cross-entropy method [1]_: the mean and the deviations of the next generation are
        those of the best candidates, smoothed, plus noise [2]_.
        "snes", separable natural evolution strategies [3]_.
        "ars", augmented random search, V1-t [4]_: each generation tries population / 2 directions
        both ways. With a sampler, the first generation is drawn from it, and its best is the center
        of the second.
        "shrinking": normal steps around the best theta so far. Deviations are multiplied by
        `shrink` after each generation, and by `shrink_stuck`, too, after one without a better
        theta.
        "integer_local_search", of whole numbers alone: candidates differ from the best theta in one
        or two parameters (each as often), by -1 or +1 or by any other value (each as often), within
        the bounds. After `restart_after` generations without a better theta, the next one is drawn
        from the sampler, and its best is the center from then on. A sampler's
        `nonzero_limit`, if any (`max_nonzero` of Integers), bounds the entries that are not 0;
        others then become 0 at random.
    population : int, default 256
        Candidates of a generation, at least 2; even for "ars".
    generations : int, default 100
        Number of generations, the first one included.
    seed : int, default 0
        Seed of all draws, from 0 to 2**64 - 1. Candidate i of generation g has the numbers of
        candidate ``g * population + i`` of this seed (in "ars", both of a direction share those of
        the first), and in "integer_local_search" of two seeds derived from it.
    scale : float or array_like of shape (n_params,), default 1
        Standard deviations that belong to an array as `start`.
    elite : float, optional
        Part, in (0, 1], of the candidates that "cem" learns from (default 0.125), or of the
        directions that "ars" follows (default 0.5); at least one.
    smoothing : float, default 0.7
        Weight of the elite's mean and deviations, in (0, 1], the rest being that of the ones
        before; of "cem".
    noise : float, default 0.05
        Amount, >= 0, added to the variances, in units of the first ones; it falls to 0, linearly.
        Of "cem".
    noise_generations : int, default 50
        Generations after which `noise` is 0; of "cem".
    learning_rate : float, optional
        Step size, > 0: of the mean in "snes" (default 1); in "ars" in units of the first
        deviations (default 0.1).
    scale_learning_rate : float, optional
        Step size of the deviations in "snes", > 0; (3 + log n) / (5 sqrt(n)) by default.
    exploration : float, default 0.1
        Deviations of the directions of "ars", > 0, in units of the first ones.
    shrink, shrink_stuck : float, default 0.95 and 0.7
        Factors of the deviations in "shrinking", in (0, 1].
    restart_after : int, default 20
        Generations without a better theta after which "integer_local_search" starts again.
    top_k : int, default 1
        Number of the best to keep, of different thetas, by (loss, generation, index).
    patience : int, optional
        Generations in which the best loss has to fall by more than `tol`, or the run ends.
    tol : float, default 0
        Fall of the best loss that counts; see `patience`.
    checkpoint : path-like, optional
        File that records where the run stands, at most every 0.1 s and at the end, for one
        process at a time. Given again with the same arguments, the run goes on from there and ends
        with the same bits; generations may have grown.
    executor : concurrent.futures.Executor or the like, optional
        Workers that evaluate each generation in parts, as of `random_search`. The data is sent once
        to each worker, a part's thetas with it, and the next generation waits for all parts: worth
        it from some milliseconds for a part on, not for built-in losses of small data. The result
        is the same if a theta's loss has the same bits in any batch, as those of built-in
        objectives have.
    progress : bool or "always", default False
        Whether to write a line on stderr: True if that is a terminal, "always" anyway.
    callback : callable, optional
        Function that is called with the result so far, at most every 0.1 s; if it returns True,
        the run stops.
    time_budget : float, optional
        Seconds after which no new generation is begun.
    n_threads : int, optional
        Number of threads, in place of the objective's own; with an executor, of each worker, by
        default its share of this machine's. The result has the same bits for any.
    metadata : dict, optional
        Anything that JSON holds, kept in ``config["metadata"]``.
    fingerprint : str, optional
        Name of an objective, a metric or a sampler that a checkpoint cannot tell from another one;
        as in `random_search`.

    Returns
    -------
    EvolveResult

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or is none of the method's.
    CheckpointError
        If the checkpoint is damaged, in use or of another run; or was deleted, replaced or changed
        by somebody else during the run: the error's ``result`` is what had been found.
    OSError
        If the checkpoint cannot be written.
    RuntimeError
        If a worker of the executor dies, or the executor is shut down meanwhile, or its futures
        hold something else than what the submitted function returned.

    Notes
    -----
    Ctrl-C ends the run with the result so far and ``result.interrupted`` True; KeyboardInterrupt is
    raised only if nothing was evaluated.

    References
    ----------
    .. [1] R. Y. Rubinstein and D. P. Kroese, "The cross-entropy method", Springer 2004.
    .. [2] I. Szita and A. Lorincz, "Learning Tetris using the noisy cross-entropy method", Neural
       Computation 18 (2006).
    .. [3] T. Schaul, T. Glasmachers and J. Schmidhuber, "High dimensions and heavy tails for
       natural evolution strategies", GECCO 2011.
    .. [4] H. Mania, A. Guy and B. Recht, "Simple random search of static linear policies is
       competitive for reinforcement learning", NeurIPS 2018.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0], l2=0.1)
    >>> result = mf.evolve(objective, mf.Normal(), population=64, generations=30)
    >>> result.theta.round(3).tolist()
    [1.513]
    """
    n_params, kind = check_objective(objective), _strategy_of(method)
    population = kind.check_population(method, population)
    generations = _check_generations(generations, population)
    seed, top_k = check_integer("seed", seed, 0, MAX_SEED), check_integer("top_k", top_k, 1)
    given = {
        "elite": elite,
        "smoothing": smoothing,
        "noise": noise,
        "noise_generations": noise_generations,
        "learning_rate": learning_rate,
        "scale_learning_rate": scale_learning_rate,
        "exploration": exploration,
        "shrink": shrink,
        "shrink_stuck": shrink_stuck,
        "restart_after": restart_after,
    }
    options = kind.read_options(method, given)
    limits = Limits(
        generations,
        None if patience is None else check_count("patience", patience),
        check_number("tol", tol, 0.0),
        None if time_budget is None else check_rate("time_budget", time_budget),
    )
    check_options(executor, progress, callback)
    sampler, theta0 = _check_start(start, scale, n_params)
    asked = sampler if is_built_in(sampler) else OwnSampler(sampler, "start")
    _check_numbers(kind, method, asked, theta0, n_params)
    if asked is not sampler:
        check_draws(sampler, seed, 0, population, n_params, "start")

    with np.errstate(all="ignore"):
        strategy = kind(Setting(asked, theta0, seed, population, n_params), options)
    n_threads = threads_asked(executor, check_n_threads(n_threads))
    identity = identify(objective, sampler, seed, check_fingerprint(fingerprint))
    check_named(identity, checkpoint)
    objective = threaded(objective, n_threads)
    own = {
        "method": method,
        "population": population,
        "generations": generations,
        "options": options,
        "patience": limits.patience,
        "tol": limits.tol,
        "start": _arguments(sampler) | ({} if theta0 is None else ARRAY),
        "seed": seed,
        "top_k": top_k,
    }
    config = own | configuration(objective, identity, n_threads, metadata)
    run = Run(objective, strategy, config, identity, executor)
    return run_to_end(run, limits, checkpoint, progress, callback)


# What the configuration says of a start that is an array; 0.1.0 evaluated it in "shrinking" alone,
# and said the name alone.
ARRAY = {"name": "array", "is_candidate": True}


def _arguments(start: Sampler) -> dict[str, Any]:
    """Return what the configuration says of a start: the arguments of a built-in one."""
    return start.to_dict() if isinstance(start, BuiltInSampler) else {"name": "own"}


def _strategy_of(method: object) -> type[Strategy]:
    if not isinstance(method, str) or method not in STRATEGIES:
        raise ValueError(
            f"method is {describe(method)}: pass one of {', '.join(map(repr, METHODS))}."
        )
    return STRATEGIES[method]


def _check_generations(generations: object, population: int) -> int:
    number = check_count("generations", generations)
    if population * number > MAX_INDEX:
        raise ValueError(
            f"population times generations is {population * number}: pass smaller ones, of a "
            f"product of at most {MAX_INDEX}."
        )
    return number


def _check_start(start: Any, scale: Any, n_params: int) -> tuple[Sampler, Array | None]:
    """Return the sampler of the first generation, and the array that it surrounds, if any."""
    if isinstance(start, ANY_SAMPLER) and not isinstance(start, type):
        if scale is not None:
            raise ValueError(
                f"scale is given, but start is {start!r}, which has its own: leave it out."
            )
        return start, None
    wanted = (
        "Normal(), Uniform(), Integers(), an object with all methods of "
        f"metaopt_fast.typing.Sampler, or an array of shape ({n_params},)"
    )
    if isinstance(start, type) or callable(start):
        raise TypeError(f"start is {describe(start)}: pass {wanted}.")
    theta0 = np.array(to_float64(as_real_array("start", start, 1, wanted)))
    if len(theta0) != n_params:
        raise ValueError(
            f"start has {len(theta0)} entries, but the objective has {n_params} parameters: pass "
            f"an array of shape ({n_params},)."
        )
    if not np.isfinite(theta0).all():
        raise ValueError("start has an entry that is not finite: pass finite numbers.")
    wanted = f"a number, or an array of shape ({n_params},)"
    deviations = as_real_array("scale", 1.0 if scale is None else scale, None, wanted)
    if deviations.shape not in ((), (n_params,)):
        raise ValueError(f"scale has shape {deviations.shape}: pass {wanted}.")
    return Normal(theta0, deviations), theta0


def _check_numbers(
    kind: type[Strategy], method: str, start: Sampler, theta0: object, n_params: int
) -> None:
    """Raise ValueError where a method does not move in whole numbers, or in such alone."""
    start.bounds(n_params)  # raises where the numbers of parameters differ
    whole = start.is_integer(n_params)
    if whole.any() and not whole.all():
        raise ValueError(
            f"start is {start!r}, of whole and of other numbers: pass a start of one kind."
        )
    shown = repr(start) if theta0 is None else "an array"
    if whole.all() and not kind.is_of_integers:
        raise ValueError(
            f"method {method!r} moves in real numbers, but start is {shown}: pass "
            "method='integer_local_search', or a Normal or a Uniform start."
        )
    if kind.is_of_integers and not whole.all():
        raise ValueError(
            f"method {method!r} moves in whole numbers, but start is {shown}: pass Integers(), or "
            "another method."
        )
