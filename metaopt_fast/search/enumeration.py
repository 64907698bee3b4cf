"""Exhaustive search: every whole-number theta of a box, and with it a proven optimum."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from metaopt_fast.runs.evaluation import check_objective
from metaopt_fast.samplers.box import MAX_MODELS, Box
from metaopt_fast.samplers.independent import Integers
from metaopt_fast.search.random_search import random_search
from metaopt_fast.search.result import SearchResult
from metaopt_fast.typing import Objective
from metaopt_fast.validation.values import check_integer


def enumerate_search(
    objective: Objective,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    max_nonzero: int | None = None,
    free: Sequence[int] = (),
    top_k: int = 1,
    limit: int = 100_000_000,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Any = None,
    progress: bool | str = False,
    callback: Callable[[SearchResult], object] | None = None,
    time_budget: float | None = None,
    n_threads: int | None = None,
    fingerprint: str | None = None,
) -> SearchResult:
    """Evaluate every theta of whole numbers in a box and keep the best.

    Of equal losses, the theta of the lower number ranks first: without `max_nonzero`, the first in
    lexicographic order; with it, one of the fewest non-zero parameters (`Box` has all of the
    order). The result has the same bits for any number of threads.

    Parameters
    ----------
    objective : LogisticLoss or any object with ``batch_loss(thetas)`` and ``n_params``
        As for `random_search`. Where it has ``pruned_loss``, thetas are dropped as soon as they
        cannot rank any more, which changes no bit of the result.
    low, high : int or array_like of shape (n_params,)
        Bounds, both included; low <= high, whole numbers of at most 2**31 in size.
    max_nonzero : int, optional
        The most parameters outside `free` that may be non-zero; all of these must have 0 within
        their bounds.
    free : sequence of int, default ()
        Numbers of parameters that `max_nonzero` does not count, -1 for the last one, where an
        intercept is.
    top_k : int, default 1
        How many of the best to keep.
    limit : int, default 100,000,000
        The most models to evaluate; at most 2**52.
    checkpoint, executor, progress, callback, time_budget, n_threads, fingerprint
        As in `random_search`. `resume_search` goes on with a checkpoint.

    Returns
    -------
    SearchResult
        ``certified`` is True if every model was evaluated, so that none is better; False if the
        search was stopped.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, or there are more models than `limit`.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> objective = mf.LogisticLoss([[1.0, 0.0], [2.0, 1.0], [-1.0, 3.0]], [1, 1, 0], l2=0.1)
    >>> result = mf.enumerate_search(objective, -3, 3, max_nonzero=1)
    >>> result.theta, result.n_evaluated, result.certified
    (array([2., 0.]), 13, True)
    """
    n_params = check_objective(objective)
    limit = check_integer("limit", limit, 1, MAX_MODELS)
    box = Box(Integers(low, high, max_nonzero, free), n_params)
    if box.n_models > limit:
        raise ValueError(
            f"the box holds {box.n_models:,} models, and limit is {limit:,}: pass narrower bounds, "
            "a smaller max_nonzero, or a higher limit."
        )
    if check_integer("top_k", top_k, 1) > box.n_models:
        raise ValueError(
            f"top_k is {top_k}, but the box holds {box.n_models:,} models: pass at most as many."
        )
    return random_search(
        objective,
        box,
        box.n_models,
        top_k=top_k,
        checkpoint=checkpoint,
        executor=executor,
        progress=progress,
        callback=callback,
        time_budget=time_budget,
        n_threads=n_threads,
        fingerprint=fingerprint,
    )
