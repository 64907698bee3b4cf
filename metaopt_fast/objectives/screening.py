"""Candidates that are dropped before they are evaluated: what is set up for it, as far as it pays.

Two stages tell which candidates cannot rank: a lower bound by moments of the rows (moments.py), and
sums in single precision (src/screen.hpp), with tangents of the rows that follow (tangents.py).
Either costs something, and drops nothing where all candidates are alike, so that each is tried on
some of them first, and left where it drops too few.
What is learned is a matter of speed alone: no digit of a result depends on it.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import Packed
from metaopt_fast.objectives import tangents
from metaopt_fast.objectives.moments import has_moments, moments_of, set_up_work
from metaopt_fast.objectives.prospects import Prospect, prospect_of
from metaopt_fast.objectives.tangents import Ahead, as_packed
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
# How many times the work of its set-up the candidates to come have to be, for a bound: where it is
# known what they take in single precision, and where nothing is.
WORTH, WORTH_UNTRIED = 2, 20
# The part of the candidates to come that pass before the rows that follow are bounded by moments.
SOME = 32
# Rows for each of a bound's pseudo-rows, without which it saves little.
ROWS_OF_EACH = 4

# Blocks, and bounds of the rows from there on.
Points: TypeAlias = tuple[tuple[int, _kernels.MomentBound], ...]

# Where nothing is known of the rows that follow.
NOTHING_AHEAD = Ahead(None, np.empty(0, np.intp), None)


class Tried(NamedTuple):
    """What was set up for a sampler."""

    sampler: BuiltInSampler
    ahead: Ahead | None = None  # None: not tried, or of no use
    points: Points = ()  # where its candidates are bounded by moments
    is_refused: bool = False
    prospect: Prospect | None = None  # of a bound of all rows


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
        self._tried: dict[BuiltInSampler, Tried] = {}
        self._last: Tried | None = None
        # The order of the rows in single precision, once it is known.
        self._order: Ahead | None = None
        # Of the last candidates: the part of pairs that they took, and that reached the rows.
        self._pairs = self._screened = 0.0
        self._to_come = self._since_point = 0

    def expect(self, n_candidates: int) -> None:
        """Take note that the next calls of `evaluate` are for so many candidates of a search."""
        self._to_come = n_candidates

    def n_bounds(self, sampler: object) -> int | None:
        """Return how many bounds by moments a sampler's candidates have; None if none was tried."""
        tried = self._tried_for(sampler) if isinstance(sampler, BuiltInSampler) else None
        if tried is None or not (tried.points or tried.is_refused):
            return None
        return len(tried.points)

    def _tried_for(self, sampler: BuiltInSampler) -> Tried | None:
        """Return what was set up for a sampler, or for one that is equal, as workers are sent."""
        # To compare two takes as long as to screen a thousand candidates.
        if self._last is None or self._last.sampler is not sampler:
            # Of samplers of ours alone: what they state of their moments and bounds is relied on.
            is_known = bool(self._tried) and is_built_in(sampler)
            found = self._tried.get(sampler) if is_known else None
            self._last = None if found is None else found._replace(sampler=sampler)
        return self._last

    def _keep(self, tried: Tried) -> Tried:
        self._tried[tried.sampler] = self._last = tried
        return tried

    def _set_up_for(
        self, sampler: BuiltInSampler, n_candidates: int, threshold: float
    ) -> Tried | None:
        """Return what there is for a sampler's candidates, set up as far as that pays for so many;
        None for a sampler that is not ours."""
        tried = self._tried_for(sampler)
        if tried is None:
            if not is_built_in(sampler):
                return None
            tried = self._keep(Tried(sampler))
        if tried.ahead is None and self._is_worth_a_look_ahead(n_candidates):
            tried = self._keep(tried._replace(ahead=self._look_ahead(sampler)))
        if not tried.is_refused and has_moments(self._packed, self._loss):
            tried = self._with_bounds(tried, n_candidates, threshold)
        return tried

    def _with_bounds(self, tried: Tried, n_candidates: int, threshold: float) -> Tried:
        """Return what was set up with one more point where moments bound the rows that follow, if
        that is worth it."""
        blocks = [block for block, _ in tried.points]
        if 0 in blocks:  # none of the rows that follow was worth it, then
            return tried
        if self._is_worth_a_point(tried, 0, n_candidates):
            if tried.prospect is None:
                tried = self._keep(self._with_prospect(tried))
            # Thresholds get lower: what does not pay yet is asked again.
            if tried.prospect is None or tried.prospect.dropped(threshold) >= BOUND_DROPS:
                return self._keep(self._with_point(tried, 0))
        if tried.prospect is not None and tried.prospect.is_heavy and len(blocks) < 2:
            block = 3 * blocks[0] if blocks else tried.prospect.block_after_few(threshold)
            if self._is_worth_a_point(tried, block, n_candidates):
                return self._keep(self._with_point(tried, block))
        return tried

    def _with_prospect(self, tried: Tried) -> Tried:
        """Return what was set up, with what moments of all rows promise."""
        packed, rows, sampler = self._packed, self._rows, tried.sampler
        try:
            found = prospect_of(packed, rows, self._loss, sampler, self._ahead(tried))
        except MemoryError:
            found = None
        return tried._replace(prospect=found)

    def _with_point(self, tried: Tried, block: int) -> Tried:
        """Return what was set up with moments that bound the rows from a block on, or refused."""
        bound = None
        try:
            if block > 0:
                packed = self._ahead(tried).rest(self._packed, block)
                draws = tried.sampler.drawn(0, packed.n_columns)
                bound = moments_of(packed, self._loss, tried.sampler, draws=draws)
            elif tried.prospect is not None:
                bound, self._bounding = tried.prospect.moments.certified(), Trial(BOUND_DROPS)
        except MemoryError:
            pass
        self._pairs, self._since_point = 0.0, 0  # until the next candidates tell
        if bound is None:
            return tried._replace(is_refused=True)
        return tried._replace(points=tuple(sorted((*tried.points, (block, bound)), key=_block)))

    def _ahead(self, tried: Tried) -> Ahead:
        """Return the order of the rows in single precision."""
        return tried.ahead or as_packed(self._packed)

    def _look_ahead(self, sampler: BuiltInSampler) -> Ahead | None:
        """Return the order of the rows, and tangents for a sampler's candidates."""
        order = self._order
        try:
            if order is None and self._rows.has_narrow_rows:
                order = as_packed(self._packed)
            found = tangents.look_ahead(self._packed, self._loss, sampler, order)
        except MemoryError:
            found = None
        if found is None:
            return order or as_packed(self._packed)
        self._order = found
        return found

    def _is_worth_a_point(self, tried: Tried, block: int, n_candidates: int) -> bool:
        """Whether the rows that candidates still take are worth the set-up of one more point."""
        n_rows, n_params = self._packed.n_rows, self._packed.n_columns
        if not has_moments(self._packed, self._loss) or n_rows < ROWS_OF_EACH * (n_params + 1):
            return False
        if not tried.sampler.is_drawn_in_kernels:
            return False
        left, worth = 1.0, WORTH_UNTRIED
        if self._single.pays:
            # Rows before it are read, and the bound takes as long as some more.
            before = block / self._packed.n_blocks + (n_params + 1) / n_rows
            left, worth = SINGLE_WORK * max(0.0, self._pairs - self._screened * before), WORTH
        elif block > 0:
            return False
        # Thresholds fall fast at first, and with them what is left.
        if block > 0 and n_candidates > SOME * self._since_point:
            return False
        return n_candidates * self._work * left > worth * set_up_work(n_rows, n_params)

    def _is_worth_a_look_ahead(self, n_candidates: int) -> bool:
        packed = self._packed
        if not tangents.has_tangents(packed, self._loss):
            return False
        work = tangents.set_up_work(packed.n_rows, packed.n_columns)
        return n_candidates * self._work > WORTH_UNTRIED * work

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
        draws, thetas, tried = None, None, None
        if isinstance(candidates, BuiltInSampler):
            draws = candidates.drawn(seed, self._packed.n_columns)
        else:
            thetas = candidates
        count, first, visited = len(losses), 0, 0.0
        while first < count:
            if isinstance(candidates, BuiltInSampler) and threshold < math.inf:
                tried = self._set_up_for(candidates, self._to_come - first, threshold)
            bounds = tried.points if tried else ()
            known = tried.ahead if tried and tried.ahead else NOTHING_AHEAD
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
                known.order,
                known.tangents,
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
        self._since_point += size
        if points and points[0][0] == 0:
            self._bounding.learn(tally[0], tally[1])
            self._pairs -= (self._packed.n_columns + 1) / self._packed.n_rows
        else:
            self._bounding.passed(size)
        if single:
            self._single.learn(tally[-2], tally[-1])
        else:
            self._single.passed(size)


def _block(point: tuple[int, _kernels.MomentBound]) -> int:
    return point[0]
