"""What a checkpoint of an evolution may hold: the state of this run, and nothing forged."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from metaopt_fast.evolution.result import TOP_DTYPE, TRACE_DTYPE
from metaopt_fast.files.archive import check_array, read_arrays
from metaopt_fast.files.owned import CheckpointError
from metaopt_fast.runs.provenance import whose_data
from metaopt_fast.typing import Array
from metaopt_fast.validation.values import describe

ARRAYS = ("center", "scale", "rest_of_state", "top", "top_thetas", "trace", "seconds")

# Entries of a configuration that a resumed run may change: they cannot change what is done already.
FREE_ENTRIES = (
    *("generations", "patience", "tol", "isa", "n_threads", "versions", "metadata"),
    *("feature_names", "classes", "network"),
)


def read_state(path: str, ours: dict[str, Any], renamed: tuple[str, ...]) -> dict[str, Array]:
    """Return the arrays of a file that belongs to the run of a configuration.

    `renamed` are entries that a file need not agree with which was made without a fingerprint.
    """
    try:
        arrays, theirs = read_arrays(path, "checkpoint", ARRAYS)
        if not isinstance(theirs.get("options"), dict):
            raise ValueError("it has no options")
    except ValueError as error:
        raise _damaged(path, error) from None
    given = json.loads(json.dumps(ours))
    _check_start(path, theirs)
    _agree(path, _flat(theirs), _flat(given), renamed)
    try:
        _check_state(arrays, ours)
    except ValueError as error:
        raise _damaged(path, error) from None
    done = len(arrays["trace"])
    if done > given["generations"]:
        raise CheckpointError(
            f"{path} has {done} generations, this run {given['generations']}: pass at least as "
            "many, or another path."
        )
    return arrays


def _check_start(path: str, config: dict[str, Any]) -> None:
    """Raise where 0.1.0 did not evaluate the array that it started from."""
    start = config.get("start")
    if not isinstance(start, dict) or start.get("name") != "array" or "is_candidate" in start:
        return
    if config.get("method") != "shrinking":
        raise CheckpointError(
            f"{path} was begun by version 0.1.0, which did not evaluate the start itself: pass "
            "another path, or delete it and start again."
        )
    start["is_candidate"] = True


def _agree(
    path: str, theirs: dict[str, Any], ours: dict[str, Any], renamed: tuple[str, ...]
) -> None:
    """Raise where a file belongs to another run."""
    if "given_fingerprint" in theirs:
        renamed = ()
    for name in {**theirs, **ours}:
        if name not in (*FREE_ENTRIES, *renamed) and theirs.get(name) != ours.get(name):
            data_included = whose_data(name, theirs)
            raise CheckpointError(
                f"{path} belongs to another run: its {name} is {describe(theirs.get(name))}, "
                f"this one's {describe(ours.get(name))}: pass another path, or the arguments of "
                f"that run{data_included}."
            )


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the method's options among its entries, behind the others."""
    return {name: config[name] for name in config if name != "options"} | dict(config["options"])


def _damaged(path: str, reason: ValueError) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged, or no checkpoint of evolve ({reason}): restore it from a copy, pass "
        "another path, or delete it and start again."
    )


def _check_state(arrays: dict[str, Array], config: dict[str, Any]) -> None:
    """Raise ValueError where a file that is whole does not hold the state of a run like this."""
    n_params, n_top = config["n_params"], arrays["top"].size
    check_array(arrays, "trace", TRACE_DTYPE, (-1,))
    check_array(arrays, "top", TOP_DTYPE, (n_top,))
    check_array(arrays, "top_thetas", np.float64, (n_top, n_params))
    for name, length in (
        ("center", n_params),
        ("scale", n_params),
        ("rest_of_state", 3),
        ("seconds", 2),
    ):
        check_array(arrays, name, np.float64, (length,))
    top, done = arrays["top"], len(arrays["trace"])
    if not np.array_equal(arrays["trace"]["generation"], np.arange(done)):
        raise ValueError("its generations are not numbered from 0 on")
    if n_top > config["top_k"] or (n_top > 0) != (done > 0):
        raise ValueError(f"it has {n_top} candidates of {done} generations")
    for name, stop in (("generation", done), ("index", config["population"])):
        if ((top[name] < 0) | (top[name] >= stop)).any():
            raise ValueError(f"it has a candidate beyond the last {name}")
    _, stuck, diverged = arrays["rest_of_state"].tolist()
    if diverged not in (0, 1) or not (0 <= stuck < math.inf and stuck == int(stuck)):
        raise ValueError("its state has numbers that are none of a state")
    for name in ("center", "scale", "top_thetas", "seconds"):
        lowest = 0.0 if name in ("scale", "seconds") else -math.inf
        if not (np.isfinite(arrays[name]) & (arrays[name] >= lowest)).all():
            raise ValueError(f"its {name} has a number that is none of a run")
