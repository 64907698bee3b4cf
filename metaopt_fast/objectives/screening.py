"""Candidates that are dropped before they are evaluated: what is set up for it, as far as it pays.

Two stages tell which candidates cannot rank: a lower bound by moments of the rows (moments.py), and
sums in single precision (src/screen.hpp). Either costs something, and drops nothing where all
candidates are alike, so that each is tried on some of them first, and left where it drops too few.
What is learned is a matter of speed alone: no digit of a result depends on it.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import Packed
from metaopt_fast.objectives.moments import has_moments, moments_of, set_up_work
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.identity import is_built_in

# Candidates that a stage is tried on, and at most the part of those to come: a stage that drops
# nothing takes 0.43 of the time of double precision, and so costs 4 % at most.
FIRST, FIRST_PART = 2048, 10
# The part of candidates that a stage has to drop. Single precision takes 0.43 of the time of double
# precision, so that it loses where more than 0.57 survive; a bound takes less.
SINGLE_DROPS, BOUND_DROPS, SINGLE_WORK = 0.5, 0.3, 0.43
# Fewer candidates say nothing of a stage.
FEWEST = 48
# How many times as many candidates pass before a stage that was left is tried again: thresholds get
# lower as a search goes on.
PATIENCE = 20
# How many times the work of its set-up the candidates to come have to be, for a bound: where single
# precision is known to pay, and where nothing is.
WORTH, WORTH_UNTRIED = 5, 20
# Where the rows that follow are bounded by moments of their own, as parts of all blocks: those of
# large norms, which come first, leave a bound of the others closer to their loss.
PARTS = (1 / 16, 3 / 16)
# Rows for each of a bound's pseudo-rows, without which it saves little.
ROWS_OF_EACH = 4

# Blocks, and bounds of the rows from there on.
Points: TypeAlias = tuple[tuple[int, _kernels.MomentBound], ...]


class Tried(NamedTuple):
    """A sampler whose bound by moments was set up, and where: nowhere if that was refused."""

    sampler: BuiltInSampler
    points: Points
    n_tried: int  # check points after some blocks


class Trial:
    """Whether a stage pays, as far as it was tried."""

    def __init__(self, drops: float) -> None:
        self.drops, self.wait = drops, 0.0
        self.pays: bool | None = None
        self.entered = self.kept = 0.0

    def learn(self, entered: float, kept: float) -> None:
        """Take note of how many candidates entered the stage, and how many it kept."""
        self.entered += entered
        self.kept += kept
        if self.entered >= FEWEST:
            self.pays = self.entered - self.kept >= self.drops * self.entered
            self.wait = PATIENCE * self.entered
            self.entered = self.kept = 0.0

    def passed(self, count: int) -> None:
        """Take note of candidates that were evaluated without the stage."""
        self.wait -= count
        if self.pays is False and self.wait <= 0:
            self.pays = None


class Screening:
    """The screening of one objective's candidates, shared by all copies of the objective.

    Parameters
    ----------
    packed : Packed
    rows : _kernels.PackedRows
        The same rows as the kernels read them.
    loss : str
        Name of the pointwise loss.
    """

    def __init__(self, packed: Packed, rows: _kernels.PackedRows, loss: str) -> None:
        self._packed, self._rows, self._loss = packed, rows, loss
        self._work = _kernels.work(packed.n_rows, packed.n_columns)
        self.release()

    def release(self) -> None:
        """Forget all, and give its memory back."""
        self._rows.release()
        self._single, self._bounding = Trial(SINGLE_DROPS), Trial(BOUND_DROPS)
        self._bounds: dict[BuiltInSampler, Tried] = {}
        self._last: Tried | None = None
        # Of the last candidates: the part of pairs that they took, and that reached the rows.
        self._pairs = self._screened = 0.0
        self._to_come = 0

    def expect(self, n_candidates: int) -> None:
        """Take note that the next calls of `evaluate` are for so many candidates of a search."""
        self._to_come = n_candidates

    def n_bounds(self, sampler: object) -> int | None:
        """Return how many bounds by moments a sampler's candidates have; None if none was tried."""
        tried = self._tried_for(sampler) if isinstance(sampler, BuiltInSampler) else None
        return None if tried is None else len(tried.points)

    def _tried_for(self, sampler: BuiltInSampler) -> Tried | None:
        """Return what was set up for a sampler, or for one that is equal, as workers are sent."""
        # To compare two takes as long as to screen a thousand candidates.
        if self._last is None or self._last.sampler is not sampler:
            # Of samplers of ours alone: what they state of their moments and bounds is relied on.
            is_known = bool(self._bounds) and is_built_in(sampler)
            found = self._bounds.get(sampler) if is_known else None
            self._last = None if found is None else found._replace(sampler=sampler)
        return self._last

    def _points_of(self, sampler: BuiltInSampler, n_candidates: int) -> Points:
        """Return where moments bound the loss of a sampler's candidates, set up as far as that pays
        for so many; nowhere if it does not, or if there is no bound."""
        tried = self._tried_for(sampler)
        if tried is None:
            ours = is_built_in(sampler) and sampler.is_drawn_in_kernels
            if not (ours and self._is_worth_a_bound(n_candidates)):
                return ()
            tried = self._bounds[sampler] = Tried(sampler, self._set_up(sampler, 0), 0)
            self._bounding = Trial(BOUND_DROPS)
        elif self._is_worth_a_point(tried, n_candidates):
            point = self._set_up(sampler, self._blocks()[tried.n_tried])
            tried = Tried(sampler, tried.points + point, tried.n_tried + 1)
            self._bounds[sampler] = self._last = tried
            self._pairs = 0.0  # until the next candidates tell
        return tried.points

    def _set_up(self, sampler: BuiltInSampler, block: int) -> Points:
        """Return the check point of a block, if there is a bound of the rows from there on."""
        packed, draws = self._packed, sampler.drawn(0, self._packed.n_columns)
        if block > 0:
            rest = np.arange(packed.n_blocks) >= block
            packed = packed.blocks(rest, total_weight=packed.total_weight)
        try:
            bound = moments_of(packed, self._loss, sampler, draws=draws)
        except MemoryError:
            bound = None
        return () if bound is None else ((block, bound),)

    def _blocks(self) -> list[int]:
        """Return the blocks that a check point may come before, after the first."""
        n_blocks = self._packed.n_blocks
        return sorted({block for part in PARTS if (block := round(part * n_blocks)) > 0})

    def _is_worth_a_point(self, tried: Tried, n_candidates: int) -> bool:
        """Whether the rows that candidates still take are worth the set-up of one more point."""
        n_rows, n_params = self._packed.n_rows, self._packed.n_columns
        blocks = self._blocks()
        if not (tried.points and self._single.pays) or self._loss != "logistic":
            return False
        if tried.n_tried >= len(blocks):
            return False
        # What is left to gain: rows before it are read, and the bound takes as long as some more.
        before = blocks[tried.n_tried] / self._packed.n_blocks + (n_params + 1) / n_rows
        pairs = max(0.0, self._pairs - self._screened * before)
        work = SINGLE_WORK * pairs * self._work * n_candidates
        return work > WORTH * set_up_work(n_rows, n_params)

    def _is_worth_a_bound(self, n_candidates: int) -> bool:
        n_rows, n_params = self._packed.n_rows, self._packed.n_columns
        if not has_moments(self._packed, self._loss) or n_rows < ROWS_OF_EACH * (n_params + 1):
            return False
        worth = WORTH if self._single.pays else WORTH_UNTRIED
        return n_candidates * self._work > worth * set_up_work(n_rows, n_params)

    def evaluate(
        self,
        candidates: BuiltInSampler | Float64Array,
        seed: int,
        start: int,
        threshold: float,
        losses: Float64Array,
        n_threads: int,
    ) -> float:
        """Write the losses of candidates up to a threshold; see `_kernels.evaluate_below`."""
        draws, thetas = None, None
        bounds: Points = ()
        if isinstance(candidates, BuiltInSampler):
            draws = candidates.drawn(seed, self._packed.n_columns)
        else:
            thetas = candidates
        count, first, visited = len(losses), 0, 0.0
        while first < count:
            if isinstance(candidates, BuiltInSampler) and threshold < math.inf:
                bounds = self._points_of(candidates, self._to_come - first)
            size, single, points = self._next(losses[first:], threshold, bounds, n_threads)
            part, tally = losses[first : first + size], np.zeros(2 * len(points) + 2)
            fraction = self._rows.evaluate_below(
                None if thetas is None else thetas[first : first + size],
                draws,
                start + first,
                threshold,
                part,
                n_threads,
                single,
                points,
                tally,
            )
            if fraction < 0:
                return fraction
            self._learn(size, single, points, tally.tolist(), fraction)
            visited += fraction * size
            first += size
        self._to_come = max(0, self._to_come - count)
        return visited / count

    def _next(
        self,
        losses: Float64Array,
        threshold: float,
        bounds: Points,
        n_threads: int,
    ) -> tuple[int, bool, Points]:
        """Return how many candidates come next, and through which stages: rows, and moments."""
        count = len(losses)
        if not (threshold < math.inf and self._rows.may_screen(losses, n_threads)):
            return count, False, ()
        points = bounds
        if self._bounding.pays is False:
            points = tuple(point for point in bounds if point[0] > 0)
        # Outside a search, each call is all there is.
        to_come, tile = max(count, self._to_come), self._rows.narrow_lanes * n_threads
        first = min(count, max(tile, min(FIRST, to_come // FIRST_PART)))
        single = self._single.pays
        if single is None:
            single = self._to_come == 0 or FIRST_PART * first <= to_come
        if points and points[0][0] == 0 and self._bounding.pays is None:
            return first, single, points
        if single and self._single.pays is None:  # few candidates reach the rows after a bound
            return min(count, 8 * first) if points else first, single, points
        return count, single, points

    def _learn(
        self, size: int, single: bool, points: Points, tally: list[float], fraction: float
    ) -> None:
        """Take note of what the stages dropped, and of the part of pairs that it took."""
        self._pairs, self._screened = fraction, tally[-2] / size
        if points and points[0][0] == 0:
            self._bounding.learn(tally[0], tally[1])
            self._pairs -= (self._packed.n_columns + 1) / self._packed.n_rows
        else:
            self._bounding.passed(size)
        if single:
            self._single.learn(tally[-2], tally[-1])
        else:
            self._single.passed(size)
