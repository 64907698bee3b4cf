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
from metaopt_fast.runs.evaluation import batch_loss, draw, traits
from metaopt_fast.runs.ranges import bounds
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.box import Box
from metaopt_fast.samplers.own import ANY_SAMPLER
from metaopt_fast.typing import Array, Objective, Parametric, SamplerLike
from metaopt_fast.validation.identity import Names, is_built_in
from metaopt_fast.validation.text import quoted
from metaopt_fast.validation.values import describe

# What losses of users' own objectives may differ by when they are computed again: products of
# matrices have other bits in other batches, and on other machines. Sums of n terms round to n times
# 2**-53 of their size at most, 1e-10 for a million; in float32, a few units of 2**-24 (6e-8).
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
    objective: Objective,
    identity: Identity,
    n_threads: int | None,
    metadata: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what all results say of the objective, the machine and the versions, for JSON.

    Parameters
    ----------
    objective : object
    identity : Identity
        What the objective, and the sampler, are known by.
    n_threads : int or None
        Threads that the caller wants.
    metadata : dict or None
        What the caller keeps with the result.
    """
    told, isa = traits(objective), _kernels.isa()[0]
    config: dict[str, Any] = {
        "objective": type(objective).__name__,
        "l2": _plain(told.l2),
        "fit_intercept": _plain(told.fit_intercept),
        "dtype": _plain(told.dtype),
        "n_samples": None if told.n_samples is None else int(told.n_samples),
        "n_params": int(objective.n_params),
        "fingerprint": identity.fingerprint,
        "stream_version": STREAM_VERSION,
        "arithmetic": "separate" if isa == "baseline" else "fused",
        "isa": isa,
        "n_threads": n_threads,
        "versions": {
            "metaopt_fast": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "metadata": metadata,
    }
    if identity.given is not None:
        config["given_fingerprint"] = identity.given
    config |= told_of_columns(objective)
    import json

    try:
        json.dumps(metadata)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metadata cannot be written as JSON ({error}): pass plain numbers, strings, lists and "
            "dicts."
        ) from None
    return config


def whose_data(name: str, config: dict[str, Any]) -> str:
    """Return what a refusal adds where an entry of a file's configuration differs: of an objective,
    that its data count, and which other version wrote it, which may have computed otherwise."""
    if name != "fingerprint":
        return ""
    versions = config.get("versions")
    version = versions.get("metaopt_fast") if isinstance(versions, dict) else None
    if not isinstance(version, str) or version == __version__:
        return ", data included"
    wrote = f"version {quoted(version)}, which wrote it"
    return f", data included; if all are the same, go on with {wrote}"


def told_of_columns(objective: Parametric) -> dict[str, Any]:
    """Return what models of an objective are to know, where it is not the usual: names of columns,
    labels other than 0 and 1 that JSON can hold, and the shape of networks."""
    names, classes = (getattr(objective, name, None) for name in ("feature_names", "classes"))
    told: dict[str, Any] = {} if names is None else {"feature_names": list(names)}
    labels = [0, 1] if classes is None else list(classes)
    is_usual = labels == [0, 1] and all(type(label) is int for label in labels)
    if not is_usual and all(type(label) in (bool, int, float, str) for label in labels):
        told["classes"] = labels
    if (architecture := getattr(objective, "_architecture", None)) is not None:
        told["network"] = architecture
    return told


def model_of_objective(objective: Parametric) -> dict[str, Any]:
    """Return the entries of a configuration by which thetas become models."""
    return {
        "objective": type(objective).__name__,
        "fit_intercept": _plain(traits(objective).fit_intercept),
        **told_of_columns(objective),
    }


def _plain(value: object) -> bool | float | str | None:
    """Return an attribute of an objective as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return float(value) if isinstance(value, numbers.Real) else str(value)


def identify(objective: Objective, sampler: SamplerLike, seed: int, given: str | None) -> Identity:
    """Return what a search is known by; `given` names those of its parts that have no name."""
    import hashlib

    names = Names(given)
    known = names.of("objective", objective)
    # A built-in sampler is in the configuration, by its arguments.
    samplers = (sampler, *sampler.parts) if isinstance(sampler, BuiltInSampler) else (sampler,)
    drawn = [names.of("sampler", part) for part in samplers if not is_built_in(part)]
    is_box = isinstance(sampler, Box) and not drawn
    first = draw(sampler, seed, 0, 1, objective.n_params).tobytes() if is_box else b""
    digest = hashlib.sha256(first)
    digest.update(_bytes(known))
    if drawn:
        digest.update(_bytes(repr(drawn)))
    text = digest.hexdigest()
    if names.unnamed and given is None:
        text = f"unnamed {text}{_probe(objective, sampler, seed)}"
    return Identity(text, given, names.unnamed, names.is_built_in)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _probe(objective: Objective, sampler: SamplerLike, seed: int) -> str:
    """Return a few losses of what has no name, to six digits: the same object may have changed."""
    # Of a box or a callable there may be no more; where shards have a size of their own, each loss
    # takes long.
    is_cheap = traits(objective).shard_size is None
    has_more = isinstance(sampler, ANY_SAMPLER) and not isinstance(sampler, Box)
    count = 8 if is_cheap and has_more else 1
    thetas = draw(sampler, seed, 0, count, objective.n_params)
    return "".join(f" {loss:.6g}" for loss in batch_loss(objective, thetas).tolist())


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
    path: str, objective: Objective, thetas: Array, losses: Array, size: int, *, exact: bool
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
