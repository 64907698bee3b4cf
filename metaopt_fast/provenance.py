"""What a result says of where it comes from: enough to repeat the search, or to know another."""

from __future__ import annotations

import numbers
import platform
from typing import Any

import numpy as np

from metaopt_fast import _kernels
from metaopt_fast._version import STREAM_VERSION, __version__
from metaopt_fast.boxes import Box
from metaopt_fast.samplers import Sampler
from metaopt_fast.shards import Task, batch_loss, shard_size


def configuration(
    task: Task, start: int, n_candidates: int, metadata: dict[str, Any] | None
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
        if isinstance(task.sampler, (Sampler, Box))
        else {"name": "callable"},
        "objective": type(objective).__name__,
        "l2": _plain(getattr(objective, "l2", None)),
        "fit_intercept": _plain(getattr(objective, "fit_intercept", None)),
        "dtype": _plain(getattr(objective, "dtype", None)),
        "n_samples": None if n_samples is None else int(n_samples),
        "n_params": task.n_params,
        "fingerprint": fingerprint(task),
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


def fingerprint(task: Task) -> str:
    """Return what identifies the objective and a callable sampler."""
    import hashlib

    built_in = isinstance(task.sampler, Sampler)
    thetas = task.draw(0, 8 if built_in else 1)
    digest = hashlib.sha256(b"" if built_in else thetas.tobytes())
    own = getattr(task.objective, "fingerprint", None)
    if isinstance(own, str):
        digest.update(own.encode())
    else:  # six digits: another machine's BLAS may differ in the last
        digest.update(repr([f"{x:.6g}" for x in batch_loss(task.objective, thetas)]).encode())
    return digest.hexdigest()
