"""What the contents of a checkpoint may be: whoever forges one can make its digests, too."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from metaopt_fast.runs.evaluation import draw
from metaopt_fast.runs.ranges import shard_count
from metaopt_fast.runs.ranking import TOP_DTYPE
from metaopt_fast.samplers.base import MAX_INDEX, MAX_PARAMS, MAX_SEED, BuiltInSampler
from metaopt_fast.samplers.from_dict import from_dict
from metaopt_fast.search.shards import Shard

# What contents of any kind may raise where a sampler is made of them.
NO_SAMPLER = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)

# Integers of a configuration, and what they may be.
INTEGERS = {
    "seed": (0, MAX_SEED),
    "start": (0, MAX_INDEX),
    "n_candidates": (1, MAX_INDEX),
    "top_k": (1, MAX_INDEX),
    "shard_size": (1, MAX_INDEX),
    "n_params": (1, MAX_PARAMS),
}


def check_config(text: object) -> dict[str, Any] | None:
    """Return the configuration that a text holds, or None if it is not that of a search."""
    if not isinstance(text, str):
        return None
    try:
        config = json.loads(text)
    except ValueError:
        return None
    return config if is_configuration(config) else None


def is_configuration(config: object) -> bool:
    """Return whether this may be the configuration of a search."""
    if not isinstance(config, dict) or not isinstance(config.get("sampler"), dict):
        return False
    for name, (low, high) in INTEGERS.items():
        value = config.get(name)
        if type(value) is not int or not low <= value <= high:
            return False
    if config["start"] + config["n_candidates"] > MAX_INDEX:
        return False
    sampler, n_samples = config["sampler"], config.get("n_samples")
    return (
        isinstance(sampler.get("name"), str)
        and sampler.get("n_params", config["n_params"]) == config["n_params"]
        and (n_samples is None or (type(n_samples) is int and n_samples > 0))
    )


def make_sampler(config: dict[str, Any]) -> BuiltInSampler | None:
    """Return the sampler that a configuration describes, or None if it describes none."""
    try:
        sampler = from_dict(config["sampler"])
        draw(sampler, config["seed"], config["start"], 1, config["n_params"])
    except NO_SAMPLER:
        return None
    return sampler


def check_shard(
    config: dict[str, Any],
    start: int,
    count: object,
    top: object,
    trace: object,
    fraction: object,
    seconds: object,
) -> Shard | None:
    """Return the shard that a row holds, or None if this search has no such shard."""
    first, size = config["start"], config["shard_size"]
    begins = start == first or start % size == 0
    if not (begins and first <= start < first + config["n_candidates"]):
        return None
    if type(count) is not int or not 1 <= count <= shard_count(start, MAX_INDEX, size):
        return None
    if not (isinstance(top, bytes) and isinstance(trace, bytes)):
        return None
    if len(top) % TOP_DTYPE.itemsize or len(trace) % TOP_DTYPE.itemsize:
        return None
    if not (isinstance(fraction, float) and 0 <= fraction <= 1 + 1e-9):
        return None
    if not (isinstance(seconds, float) and 0 <= seconds < math.inf):
        return None
    tops, traces = np.frombuffer(top, TOP_DTYPE), np.frombuffer(trace, TOP_DTYPE)
    for index in (np.sort(tops["index"]), traces["index"]):
        if len(index) and not (start <= index[0] and index[-1] < start + count):
            return None
        if (index[1:] <= index[:-1]).any():
            return None
    if len(tops) > config["top_k"]:
        return None
    return Shard(start, count, tops, traces, fraction)
