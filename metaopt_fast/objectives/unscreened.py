"""Candidates of objectives on sparse rows, of which none is dropped: all are evaluated."""

from __future__ import annotations

from metaopt_fast.data.sparse_packed import SparseEvaluator
from metaopt_fast.objectives.stages import STAGES, Use
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Float64Array


class Unscreened:
    """What sparse rows have in the place of a `Screening`: all candidates are evaluated."""

    def __init__(self, rows: SparseEvaluator, n_params: int) -> None:
        self._rows, self._n_params = rows, n_params

    def release(self) -> None:
        """Do nothing: there is nothing to forget."""

    def expect(self, n_candidates: int) -> None:
        """Do nothing: candidates to come change nothing."""

    def note(self, losses: Float64Array) -> None:
        """Do nothing: losses tell nothing."""

    def bounds(self, thetas: Float64Array, n_threads: int) -> None:
        """Return None: there are no bounds."""

    def uses(self, sampler: object) -> dict[str, Use]:
        """Return that no stage was used."""
        return dict.fromkeys(STAGES, Use.NONE)

    def evaluate(
        self,
        candidates: BuiltInSampler | Float64Array,
        seed: int,
        start: int,
        threshold: float,
        losses: Float64Array,
        n_threads: int,
    ) -> float:
        """Write the losses of all candidates: the whole of the pairs, or -1 where one is not
        finite."""
        if isinstance(candidates, BuiltInSampler):
            draws = candidates.drawn(seed, self._n_params)
            is_finite = self._rows.evaluate_drawn(draws, start, losses, n_threads)
        else:
            is_finite = self._rows.evaluate(candidates, losses, None, n_threads)
        return 1.0 if is_finite else -1.0
