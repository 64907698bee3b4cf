"""Shards: the unit of a search's work, here or on another machine.

A shard is a run of candidates. Its bounds are multiples of a size that depends on the objective alone,
so that a search resumes at the same bounds with any threads, anywhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.result import TOP_DTYPE, improvements, select_best
from metaopt_fast.samplers import Sampler
from metaopt_fast.validation import to_float64

Array = npt.NDArray[Any]
SamplerLike = Sampler | Callable[[int, int], npt.ArrayLike]

# Visits of (row, candidate, parameter) in a shard: about a quarter of a second on one thread.
SHARD_WORK = 5e9
SMALLEST_SHARD, LARGEST_SHARD = 64, 2**18

# Numbers in the thetas of a batch, where candidates are drawn outside the kernel.
BATCH_NUMBERS = 2**19


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Candidates start .. start + count - 1, evaluated: their best, and what improved on the way."""

    start: int
    count: int
    top: npt.NDArray[Any]
    trace: npt.NDArray[Any]
    elapsed: float
    rows_evaluated_fraction: float

    def digest(self) -> bytes:
        """Return a SHA-256 of all of it."""
        import hashlib

        numbers = (self.start, self.count, self.elapsed.hex(), self.rows_evaluated_fraction.hex())
        digest = hashlib.sha256(repr(numbers).encode())
        digest.update(self.top.tobytes() + b"|" + self.trace.tobytes())
        return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What all shards of a search have in common; small but for the objective."""

    objective: Any
    sampler: SamplerLike
    seed: int
    top_k: int
    n_params: int
    prune: bool

    def draw(self, start: int, count: int) -> Array:
        """Return the thetas of candidates start .. start + count - 1."""
        if isinstance(self.sampler, Sampler):
            return self.sampler.sample(self.seed, start, count, self.n_params)
        thetas = np.asarray(self.sampler(start, count))
        wanted = f"a real array of shape ({count}, {self.n_params})"
        if thetas.shape != (count, self.n_params) or thetas.dtype.kind not in "iuf":
            raise ValueError(
                f"sampler({start}, {count}) returned an array of shape {thetas.shape} and dtype "
                f"{thetas.dtype}: return {wanted}."
            )
        if not np.isfinite(thetas).all():
            raise ValueError(
                f"sampler({start}, {count}) returned a number that is not finite: return {wanted} of finite "
                "numbers."
            )
        return to_float64(thetas)

    def losses(self, start: int, count: int, threshold: float) -> tuple[Array, float]:
        """Return the candidates' losses, and the part of the pairs that was computed.

        Candidates that cannot be below `threshold` may have the loss infinity instead of theirs.
        """
        if isinstance(self.sampler, Sampler) and hasattr(self.objective, "sampled_loss"):
            if self.prune and math.isfinite(threshold) and hasattr(self.objective, "pruned_loss"):
                losses, fraction = self.objective.pruned_loss(
                    self.sampler, self.seed, start, count, threshold
                )
                return losses, float(fraction)
            return self.objective.sampled_loss(self.sampler, self.seed, start, count), 1.0
        batch = max(1, BATCH_NUMBERS // self.n_params)
        parts = []
        for first in range(start, start + count, batch):
            size = min(batch, start + count - first)
            parts.append(self.evaluate(self.draw(first, size)))
        return np.concatenate(parts), 1.0

    def evaluate(self, thetas: Array) -> Array:
        """Return the losses of thetas, checked: the objective may be anybody's."""
        losses = np.asarray(self.objective.batch_loss(thetas))
        if losses.shape != (len(thetas),) or losses.dtype.kind not in "iuf":
            raise ValueError(
                f"batch_loss of {len(thetas)} thetas returned an array of shape {losses.shape} and dtype "
                f"{losses.dtype}: return {len(thetas)} real numbers."
            )
        return to_float64(losses)

    def run(self, start: int, count: int, threshold: float) -> Shard:
        """Evaluate a shard."""
        started = time.perf_counter()
        losses, fraction = self.losses(start, count, threshold)
        top = np.empty(count, TOP_DTYPE)
        top["index"], top["loss"] = np.arange(start, start + count), losses
        best = top[select_best(top, self.top_k)]
        return Shard(start, count, best, improvements(top), time.perf_counter() - started, fraction)

    def fingerprint(self, start: int) -> str:
        """Return what identifies objective and sampler where they do not say so themselves."""
        import hashlib

        digest = hashlib.sha256()
        thetas = self.draw(start, 2)
        if not isinstance(self.sampler, Sampler):
            digest.update(thetas.tobytes())
        if hasattr(self.objective, "fingerprint"):
            digest.update(str(self.objective.fingerprint).encode())
        else:
            digest.update(self.evaluate(thetas).tobytes())
        return digest.hexdigest()


def shard_size(n_samples: int | None, n_params: int) -> int:
    """Return the number of candidates in a shard, a power of two."""
    work = SHARD_WORK / ((n_samples or 1000) * (n_params + 20))
    size = 2.0 ** round(math.log2(max(work, 1.0)))
    return int(min(max(size, SMALLEST_SHARD), LARGEST_SHARD))


def bounds(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (start, count) of the shards that candidates start .. stop - 1 fall into."""
    while start < stop:
        count = min(stop, (start // size + 1) * size) - start
        yield start, count
        start += count
