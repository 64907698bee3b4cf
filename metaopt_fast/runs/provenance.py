"""What a result says of where it comes from: enough to repeat the search, or to know another."""

from __future__ import annotations

import numbers
import os
import platform
from typing import Any, NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.files.owned import CheckpointError
from metaopt_fast.samplers.base import Sampler
from metaopt_fast.samplers.box import Box
from metaopt_fast.search.shards import Task, batch_loss, batch_size, bounds, shard_size
from metaopt_fast.typing import Array
from metaopt_fast.validation.identity import Names, is_built_in
from metaopt_fast.validation.values import describe

# What losses of users' own objectives may differ by when they are computed again: products of
# matrices have other bits in other batches, and on other machines.
TOLERANCE = 1e-6


class Identity(NamedTuple):
    """What a search is known by."""

    fingerprint: str
    given: str | None  # by the caller, for what has no name of its own
    unnamed: list[tuple[str, Any]]  # parts that have none, and what they are
    is_built_in: bool  # all of it is this package's, so that losses have the same bits anywhere

    @property
    def renamed(self) -> tuple[str, ...]:
        """Entries of a configuration that a file lacks, or has otherwise, which took no name."""
        if self.given is None:
            return ()
        return ("given_fingerprint", "fingerprint") if self.unnamed else ("given_fingerprint",)


def configuration(
    task: Task,
    identity: Identity,
    start: int,
    n_candidates: int,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return all that repeats a search, as plain numbers, strings, lists and dicts."""
    objective, isa = task.objective, _kernels.isa()[0]
    n_samples = getattr(objective, "n_samples", None)
    config = {
        "seed": task.seed,
        "start": start,
        "n_candidates": n_candidates,
        "top_k": task.top_k,
        "sampler": task.sampler.to_dict()
        if isinstance(task.sampler, (Sampler, Box)) and is_built_in(task.sampler)
        else {"name": "callable"},
        "objective": type(objective).__name__,
        "l2": _plain(getattr(objective, "l2", None)),
        "fit_intercept": _plain(getattr(objective, "fit_intercept", None)),
        "dtype": _plain(getattr(objective, "dtype", None)),
        "n_samples": None if n_samples is None else int(n_samples),
        "n_params": task.n_params,
        "fingerprint": identity.fingerprint,
        "shard_size": shard_size(objective),
        "stream_version": STREAM_VERSION,
        "arithmetic": "separate" if isa == "baseline" else "fused",
        "isa": isa,
        "n_threads": task.n_threads,
        "prune": task.prune,
        "versions": {
            "metaopt_fast": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "metadata": metadata,
    }
    if identity.given is not None:
        config["given_fingerprint"] = identity.given
    import json

    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metadata cannot be written as JSON ({error}): pass plain numbers, strings, lists and "
            "dicts."
        ) from None
    return config


def _plain(value: object) -> bool | float | str | None:
    """Return an attribute of an objective as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return float(value) if isinstance(value, numbers.Real) else str(value)


def identify(task: Task, given: str | None) -> Identity:
    """Return what a search is known by; `given` names those of its parts that have no name."""
    import hashlib

    names, sampler = Names(given), task.sampler
    objective = names.of("objective", task.objective)
    # A built-in sampler is in the configuration, by its arguments.
    samplers = (sampler, *sampler.parts) if isinstance(sampler, Sampler) else (sampler,)
    drawn = [names.of("sampler", part) for part in samplers if not is_built_in(part)]
    is_box = not isinstance(sampler, Sampler) and not drawn
    digest = hashlib.sha256(task.draw(0, 1).tobytes() if is_box else b"")
    digest.update(_bytes(objective))
    if drawn:
        digest.update(_bytes(repr(drawn)))
    text = digest.hexdigest()
    if names.unnamed and given is None:
        text = f"unnamed {text}{_probe(task)}"
    return Identity(text, given, names.unnamed, names.is_built_in)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _probe(task: Task) -> str:
    """Return a few losses of what has no name, to six digits: the same object may have changed."""
    # Of a box or a callable there may be no more; where shards have a size of their own, each loss
    # takes long.
    is_cheap = getattr(task.objective, "shard_size", None) is None
    thetas = task.draw(0, 8 if is_cheap and isinstance(task.sampler, Sampler) else 1)
    return "".join(f" {loss:.6g}" for loss in batch_loss(task.objective, thetas).tolist())


def check_named(identity: Identity, checkpoint: str | os.PathLike[str] | None) -> None:
    """Raise CheckpointError where a file could not know the parts of a search again."""
    if checkpoint is None or identity.given is not None or not identity.unnamed:
        return
    role, part = identity.unnamed[0]
    raise CheckpointError(
        f"{role} is {describe(part)}, which a checkpoint cannot tell from another one: pass "
        "fingerprint=, a string that names it, or give it an attribute fingerprint of its own."
    )


def check_losses(
    path: str, objective: Any, thetas: Array, losses: Array, size: int, *, exact: bool
) -> None:
    """Raise CheckpointError where an objective gives other losses than a file says.

    Parameters
    ----------
    path : str
        Of the file.
    objective : object
    thetas, losses : numpy.ndarray of shape (n, n_params) and (n,)
    size : int
        Candidates of a batch of the search.
    exact : bool
        Whether the bits must be the same.
    """
    for first, count in bounds(0, len(thetas), size):
        part = slice(first, first + count)
        # Of a user's own, as large a batch as then: products of matrices have its bits.
        batch = thetas[part].copy() if exact else np.resize(thetas[part], (size, thetas.shape[1]))
        again, then = batch_loss(objective, batch)[:count], losses[part]
        same = again.view(np.int64) == then.view(np.int64)
        if not exact:
            with np.errstate(all="ignore"):
                same |= np.isclose(again, then, rtol=TOLERANCE, atol=0)
            same |= ~np.isfinite(again) & ~np.isfinite(then)
        if not same.all():
            k = int(np.argmin(same))
            raise CheckpointError(
                f"{path} has the loss {float(then[k])!r} where the objective gives "
                f"{float(again[k])!r}: pass the objective and the sampler of that search, or "
                "another path if another version of metaopt_fast, which rounds otherwise, wrote it."
            )


def check_top(path: str, task: Task, top: Array, *, exact: bool) -> None:
    """Raise CheckpointError where the best candidates of a file have other losses."""
    if len(top) == 0:
        return
    thetas, size = task.thetas(top["index"]), batch_size(task.objective)
    losses = np.ascontiguousarray(top["loss"])
    check_losses(path, task.objective, thetas, losses, size, exact=exact)
