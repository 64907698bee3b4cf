"""Which stages tell candidates that cannot rank before they are evaluated, and whether that pays.

Two stages tell which candidates cannot rank: a lower bound by moments of the rows (moments.py), and
sums in single precision (src/screen.hpp), with tangents of the rows that follow (tangents.py).
Either costs something, and drops nothing where all candidates are alike. So losses of the first
candidates say beforehand what a stage will drop, and it is set up where that pays; what it drops is
counted, and it is left where that is too few. Where not even sums in double precision tell, all
candidates are evaluated as if there were no threshold.
What is learned is a matter of speed alone: no digit of a result depends on it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import Packed
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives import prospects, tangents
from metaopt_fast.objectives.costs import SINGLE_WORK, Costs
from metaopt_fast.objectives.gains import BOUND_DROPS, Gains, Outlook
from metaopt_fast.objectives.moments import has_moments, set_up_work
from metaopt_fast.objectives.stages import STAGES, Points, Tried, Use
from metaopt_fast.objectives.tangents import Ahead, as_packed
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.identity import is_built_in

# Candidates that a bound is tried on, and at most the part of those to come; and the part that
# single precision is tried on, where nothing is known of losses.
FIRST, FIRST_PART, UNTRIED_PART = 2048, 10, 30
# How many times the work of a set-up what it saves has to be, as far as that is known; and the
# candidates to come, where nothing is. And how many times what a promise takes, which may be poor:
# where single precision saves more than that, and elsewhere.
WORTH, WORTH_UNTRIED = 2, 20
WORTH_PROMISE, WORTH_PROMISE_ALONE = 5, 50
# About the part of what single precision takes that the order of rows and tangents save: of normal
# rows around 0 or an optimum, a third to two thirds.
OF_TANGENTS = 0.35
# The part of the candidates to come that pass before the rows that follow are bounded by moments.
SOME = 32
# Samplers that set-ups are kept for, and rows that say how large numbers are.
MOST_SAMPLERS = 8
SOME_ROWS = 100
# Rows for each of a bound's pseudo-rows, without which it saves little.
ROWS_OF_EACH = 4
# The largest parameters of single precision, in units of the columns: see src/screen.hpp.
MODERATE = 2.0**40

# Where nothing is known of the rows that follow.
NOTHING_AHEAD = Ahead(None, np.empty(0, np.intp), None)


class Way(NamedTuple):
    """How the next candidates are evaluated."""

    size: int
    threshold: float  # infinite: all of them to the end
    single: bool = False  # whether by rows in single precision first
    points: Points = ()


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
        self._costs = Costs(packed.n_rows, packed.n_columns, packed.n_blocks)
        self.release()

    def release(self) -> None:
        """Forget all, and give its memory back."""
        self._rows.release()
        self._gains = Gains(self._costs)
        self._tried: tuple[Tried, ...] = ()
        self._drawn: tuple[BuiltInSampler, int, _kernels.Draws] | None = None
        # The order of the rows in single precision, once it is known.
        self._order: Ahead | None = None
        self._to_come = self._since_point = 0
        self._n_threads = 1

    def expect(self, n_candidates: int) -> None:
        """Take note that the next calls of `evaluate` are for so many candidates of a search."""
        self._to_come = n_candidates

    def note(self, losses: Float64Array) -> None:
        """Take note of losses of candidates like those to come."""
        self._gains.note(losses)

    def bounds(
        self, thetas: Float64Array, n_threads: int
    ) -> tuple[Float64Array, Float64Array] | None:
        """Return a lower and an upper bound of each loss, if single precision has them."""
        lower, upper = np.empty((2, len(thetas)))
        if not self._rows.may_screen(lower, n_threads):
            return None
        return (lower, upper) if self._rows.bound(thetas, lower, upper, n_threads) else None

    def uses(self, sampler: object) -> dict[str, Use]:
        """Return what became of each stage for a sampler's candidates."""
        tried = self._tried_for(sampler) if isinstance(sampler, BuiltInSampler) else None
        gains = self._gains
        single = Use(self._rows.narrow_refusal or gains.single.use.joined(gains.foreseen))
        order = ahead = bound = Use.NONE
        if tried is not None:
            single = single.joined(Use.EXTENTS if tried.is_near is False else Use.NONE)
            order = ahead = tried.tangents
            if tried.tangents is Use.USED:
                has_order = tried.ahead is not None and tried.ahead.order is not None
                ahead, order = single, single if has_order else Use.NONE
            bound = tried.bound
            if tried.points:
                is_left = gains.bounding.use is Use.NO_GAIN and tried.points[-1][0] == 0
                bound = Use.NO_GAIN if is_left else Use.USED
        return dict(zip(STAGES, (single, order, ahead, bound), strict=True))

    def _tried_for(self, sampler: BuiltInSampler) -> Tried | None:
        """Return what was set up for a sampler, or for one that is equal, as workers are sent."""
        known = self._tried  # threads of an executor share it
        for tried in known:
            if tried.sampler is sampler:
                return tried
        # Of samplers of ours alone: what they state of their moments and bounds is relied on. To
        # compare two takes as long as to screen a thousand candidates.
        if known and is_built_in(sampler):
            for tried in known:
                if tried.sampler == sampler:
                    return self._keep(tried._replace(sampler=sampler))
        return None

    def _draws(self, sampler: BuiltInSampler, seed: int) -> _kernels.Draws:
        """Return what draws the candidates; that of the last call, where it is the same."""
        drawn = self._drawn  # threads of an executor share it
        if drawn is None or drawn[0] is not sampler or drawn[1] != seed:
            drawn = sampler, seed, sampler.drawn(seed, self._packed.n_columns)
        # Of samplers of users' own, columns may be others each time.
        self._drawn = drawn if is_built_in(sampler) else None
        return drawn[2]

    def _known(self, sampler: BuiltInSampler) -> Tried | None:
        """Return what is known of a sampler; None for one that is not ours."""
        tried = self._tried_for(sampler)
        if tried is not None or not is_built_in(sampler):
            return tried
        return self._keep(Tried(sampler, self._doubt(sampler)))

    @shielded
    def _doubt(self, sampler: BuiltInSampler) -> float:
        """Return about how far the mean of margins in single precision may be off."""
        packed, n_params = self._packed, self._packed.n_columns
        some = packed.rows_at(np.arange(0, packed.n_positions, packed.n_positions // SOME_ROWS + 1))
        sizes = np.abs(sampler.mean(n_params)) + sampler.std(n_params)
        return float((n_params + 4) * 2.0**-24 * (np.abs(some).mean(axis=0) * sizes).sum())

    def _keep(self, tried: Tried) -> Tried:
        others = [other for other in self._tried if other.sampler is not tried.sampler]
        self._tried = (tried, *others[: MOST_SAMPLERS - 1])
        return tried

    def _set_up_for(
        self, tried: Tried, n_candidates: int, threshold: float, outlook: Outlook
    ) -> Tried:
        """Return what there is for a sampler, set up as far as that pays for so many candidates."""
        if tried.tangents is Use.NONE and self._is_worth_a_look_ahead(n_candidates, outlook):
            tried = self._keep(self._look_ahead(tried))
        if not tried.is_refused and self._may_have_bounds(tried.sampler):
            tried = self._with_bounds(tried, n_candidates, threshold, outlook)
        return tried

    def _is_worth_a_look_ahead(self, n_candidates: int, outlook: Outlook) -> bool:
        packed, gains = self._packed, self._gains
        if not tangents.has_tangents(packed, self._loss) or packed.n_blocks < 2:
            return False
        cost = tangents.set_up_work(packed.n_rows, packed.n_columns)
        if outlook.left is None:
            return n_candidates * gains.costs.rows > WORTH_UNTRIED * cost
        return bool(outlook.single) and n_candidates * OF_TANGENTS * outlook.left >= WORTH * cost

    def _look_ahead(self, tried: Tried) -> Tried:
        """Return what was set up, with the order of the rows and tangents for its candidates."""
        order = self._order
        if order is None and self._rows.has_narrow_rows:
            order = as_packed(self._packed)
        why = Use.USED
        try:
            found = tangents.look_ahead(self._packed, self._loss, tried.sampler, order)
        except MemoryError:
            found, why = None, Use.MEMORY
        if found is None:
            why = Use.EXTENTS if why is Use.USED else why
            return tried._replace(ahead=order or as_packed(self._packed), tangents=why)
        self._order = found
        return tried._replace(ahead=found, tangents=why)

    def _ahead(self, tried: Tried) -> Ahead:
        """Return the order of the rows in single precision."""
        return tried.ahead or as_packed(self._packed)

    @shielded
    def _is_near(self, tried: Tried) -> bool:
        """Whether single precision has all of a sampler's candidates in its range."""
        if tried.is_near is None:
            factors = self._rows.narrow_factors()
            low, high = tried.sampler.bounds(self._packed.n_columns)
            sizes = np.maximum(np.abs(low), np.abs(high))
            is_near = factors is None or bool((sizes * factors <= MODERATE).all())
            tried = self._keep(tried._replace(is_near=is_near))
        return bool(tried.is_near)

    def _may_have_bounds(self, sampler: BuiltInSampler) -> bool:
        packed = self._packed
        is_tall = packed.n_rows >= ROWS_OF_EACH * (packed.n_columns + 1)
        return is_tall and sampler.is_drawn_in_kernels and has_moments(packed, self._loss)

    def _is_worth_a_point(self, block: int, n_candidates: int, outlook: Outlook) -> bool:
        """Whether the rows that candidates still take are worth the set-up of one more point."""
        gains, costs = self._gains, self._gains.costs
        n_rows, n_params = self._packed.n_rows, self._packed.n_columns
        cost, left = set_up_work(n_rows, n_params), outlook.left
        if left is None:
            return n_candidates * costs.whole > WORTH_UNTRIED * cost
        if block > 0:
            # Thresholds fall fast at first, and with them what is left.
            if not gains.single.pays or n_candidates > SOME * self._since_point:
                return False
            # Rows before it are read.
            left -= SINGLE_WORK * gains.screened * block / self._packed.n_blocks * costs.rows
        if outlook.apart < BOUND_DROPS:
            return False
        promise = WORTH_PROMISE if outlook.single else WORTH_PROMISE_ALONE
        cost = max(WORTH * cost, promise * prospects.set_up_work(n_rows, n_params))
        return n_candidates * (left - costs.bound) >= cost

    def _with_bounds(
        self, tried: Tried, n_candidates: int, threshold: float, outlook: Outlook
    ) -> Tried:
        """Return what was set up with one more point where moments bound the rows that follow, if
        that is worth it."""
        blocks = [block for block, _ in tried.points if block > 0]
        if len(blocks) == 2 or (tried.points and not blocks):
            return tried
        if not blocks and self._is_worth_a_point(0, n_candidates, outlook):
            if tried.prospect is None:
                tried = self._keep(self._with_prospect(tried))
            if tried.prospect is None:
                return tried
            block = tried.prospect.block_at_once(threshold, BOUND_DROPS)
            if block is not None:
                return self._keep(self._with_point(tried, block))
            # Thresholds get lower: what does not pay yet is asked again.
            tried = self._keep(tried._replace(bound=tried.bound.joined(Use.NO_GAIN)))
        if tried.prospect is not None and tried.prospect.is_heavy:
            block = 3 * blocks[0] if blocks else tried.prospect.block_after_few(threshold)
            if self._is_worth_a_point(block, n_candidates, outlook):
                return self._keep(self._with_point(tried, block))
        return tried

    def _with_prospect(self, tried: Tried) -> Tried:
        """Return what was set up, with what moments of all rows promise."""
        packed, rows, sampler = self._packed, self._rows, tried.sampler
        try:
            found = prospects.prospect_of(packed, rows, self._loss, sampler, self._ahead(tried))
        except MemoryError:
            return tried._replace(bound=Use.MEMORY)
        if found is None:
            return tried._replace(bound=Use.EXTENTS)
        return tried._replace(prospect=found)

    def _with_point(self, tried: Tried, block: int) -> Tried:
        """Return what was set up with moments that bound the rows from a block on, or refused."""
        assert tried.prospect is not None
        rest = self._ahead(tried).rest(self._packed, block) if block > 0 else None
        points, why = None, Use.CERTIFICATE
        try:
            points = prospects.points_from(
                block, rest, tried.prospect, self._loss, tried.sampler, self._n_threads
            )
        except MemoryError:  # the pairs of 64 parameters take 100 MB
            why = Use.MEMORY
        self._gains.pairs, self._since_point = 0.0, 0  # until the next candidates tell
        if points is None:
            return tried._replace(bound=why)
        if tried.points:  # there is a bound of all rows
            points = points[-1:]
        else:
            self._gains.renew_bound(is_light=block > 0)
        return tried._replace(points=(*tried.points, *points), bound=Use.USED)

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
        sampler = candidates if isinstance(candidates, BuiltInSampler) else None
        thetas = None if isinstance(candidates, BuiltInSampler) else candidates
        draws = None if sampler is None else self._draws(sampler, seed)
        count, first, visited = len(losses), 0, 0.0
        self._n_threads = n_threads
        while first < count:
            n_candidates = self._to_come - first
            tried, way = None, Way(count - first, threshold)
            if threshold < math.inf:
                rest = losses[first:]
                may_screen = self._rows.may_screen(rest, n_threads)
                tried = self._known(sampler) if sampler is not None and may_screen else None
                outlook = self._gains.outlook(
                    threshold,
                    n_candidates,
                    tried.doubt if tried else 0.0,
                    self._rows.has_narrow_rows,
                )
                if not outlook.sums:
                    way = Way(len(rest), math.inf)
                if tried is not None:
                    tried = self._set_up_for(tried, n_candidates, threshold, outlook)
                if may_screen:
                    tile = self._rows.narrow_lanes * n_threads
                    way = self._next(way, n_candidates, threshold, tried, outlook, tile)
            known = tried.ahead if tried and tried.ahead else NOTHING_AHEAD
            size, tally = way.size, np.zeros(2 * len(way.points) + 2)
            fraction = self._rows.evaluate_below(
                None if thetas is None else thetas[first : first + size],
                draws,
                start + first,
                way.threshold,
                losses[first : first + size],
                n_threads,
                way.single,
                way.points,
                tally,
                known.order,
                known.tangents,
            )
            if fraction < 0:
                return fraction
            self._learn(way, tally.tolist(), fraction)
            visited += fraction * size
            first += size
        self._to_come = max(0, self._to_come - count)
        return visited / count

    def _next(
        self,
        way: Way,
        n_candidates: int,
        threshold: float,
        tried: Tried | None,
        outlook: Outlook,
        tile: int,
    ) -> Way:
        """Return how the next of the candidates are evaluated, of whose search so many come; `way`
        is without stages, and a tile the least that is screened."""
        size = count = way.size
        gains, points = self._gains, tried.points if tried else ()
        is_near = outlook.single is False or tried is None or self._is_near(tried)
        single = outlook.single is not False and is_near
        if gains.bounding.pays is False:
            points = tuple(point for point in points if point[0] > 0)
        # Outside a search, each call is all there is.
        to_come = max(count, n_candidates)
        if points and points[0][0] == 0 and gains.bounding.pays is None:
            size = min(count, max(tile, min(FIRST, to_come // FIRST_PART)))
        elif single and outlook.single is None:
            size = max(tile, min(FIRST, to_come // UNTRIED_PART))
            if points:  # few candidates reach the rows after a bound
                size = max(8 * size, int(size / max(gains.passed, 1 / count)))
            size = min(count, size)
        return Way(size, threshold, single, points) if single or points else way

    def _learn(self, way: Way, tally: list[float], fraction: float) -> None:
        """Take note of what the stages dropped, and of the part of pairs that it took."""
        self._since_point += way.size
        is_looked_at = way.threshold < math.inf
        self._gains.learn(
            way.size,
            fraction,
            tally,
            by_bound=bool(way.points) and way.points[0][0] == 0,
            in_single=way.single,
            by_sums=is_looked_at and not (way.single or way.points),
        )
