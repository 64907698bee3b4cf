"""Descents with hyper-parameters that are drawn, as searches see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from metaopt_fast.descent.gradient_descent import gradient_descent
from metaopt_fast.descent.held_out import HeldOut
from metaopt_fast.descent.result import DescentResult, uninterrupted
from metaopt_fast.runs.evaluation import traits
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.independent import HyperSampler
from metaopt_fast.samplers.mixture import Mixture
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.identity import Names, is_built_in
from metaopt_fast.validation.overrides import threaded


@dataclass(frozen=True, eq=False)
class Descents:
    """Descents as `random_search` sees them: an objective whose thetas are hyper-parameters."""

    objective: Any
    validation: Any
    samplers: dict[str, HyperSampler]
    theta0: Float64Array | None
    options: dict[str, Any]
    shard_size: int
    early_stopping: bool = False
    racing: str = ""

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
        if self.racing:
            options.append(("racing", self.racing))
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

    def run(self, thetas: Float64Array, judge: HeldOut | None = None) -> DescentResult:
        """Descend with each vector of hyper-parameters; a judge takes the place of `validation`."""
        given: dict[str, Any] = self.parameters(thetas)
        if "beta1" in given or "beta2" in given:
            given["betas"] = given.pop("beta1", 0.9), given.pop("beta2", 0.999)
        if "init_value" in given:
            schedule = self.options["learning_rate"]
            given["learning_rate"] = schedule.starting_at(given.pop("init_value"))
        start = np.zeros(self.objective.n_params) if self.theta0 is None else self.theta0
        starts = np.tile(start, (len(thetas), 1))
        given["validation"] = judge or (self.validation if self.early_stopping else None)
        return gradient_descent(self.objective, starts, **{**self.options, **given})

    def batch_loss(self, thetas: Float64Array) -> Float64Array:
        """Return the validation losses; infinity where a descent diverged."""
        return self.losses(uninterrupted(self.run(thetas)))

    def losses(self, runs: DescentResult) -> Float64Array:
        """Return the validation losses of descents; infinity where one diverged."""
        if self.early_stopping:
            losses = np.array(runs.validation_loss)
        else:
            losses = np.array(self.validation.batch_loss(runs.theta), np.float64)
        losses[np.asarray(runs.status) == "diverged"] = np.inf
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
