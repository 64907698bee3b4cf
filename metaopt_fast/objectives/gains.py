"""What stages that drop candidates save, as far as losses tell beforehand and as they turn out."""

from __future__ import annotations

from typing import NamedTuple

from metaopt_fast.objectives.costs import SINGLE_WORK, Costs, Forecast
from metaopt_fast.objectives.stages import Use
from metaopt_fast.typing import Float64Array

# The part of candidates that a stage has to drop, and of pairs that sums in double precision have
# to. Single precision takes 0.43 of the time of double precision, so that it loses where more than
# 0.57 survive; a bound takes less. One after which all candidates read some rows before there is
# another one takes a tenth of these: of 10,000 x 31 rows of heavy tails, 32 of 128 to 1024.
SINGLE_DROPS, BOUND_DROPS, LIGHT_DROPS, SUMS_DROP = 0.5, 0.3, 0.1, 0.04
# Fewer candidates say nothing of a stage, and more losses than MOST nothing more of those to come.
FEWEST, MOST = 48, 256
# How many times as many candidates pass before a stage that was left is tried again: thresholds get
# lower as a search goes on.
PATIENCE = 20
# How many times the work of the copy of the rows what single precision saves has to be; and the
# candidates to come, where nothing is known of losses.
WORTH_COPY, WORTH_COPY_UNTRIED = 2, 30


class Trial:
    """Whether a stage pays, as far as it was tried.

    Parameters
    ----------
    drops : float
        The part of the candidates that it has to drop.
    patience : int, default PATIENCE
        How many times as many candidates pass before it is tried again.
    """

    drops: float
    wait: float
    entered: float
    kept: float

    def __init__(self, drops: float, patience: int = PATIENCE) -> None:
        self.drops, self.patience, self.wait = drops, patience, 0.0
        self.pays: bool | None = None
        self.entered = self.kept = 0.0
        self._use = Use.NONE

    @property
    def use(self) -> Use:
        """What became of it; where few candidates have come, which do not tell, it is used."""
        return Use.USED if self._use is Use.NONE and self.entered > 0 else self._use

    def learn(self, entered: float, kept: float) -> None:
        """Take note of how many candidates entered the stage, and how many it kept."""
        self.entered += entered
        self.kept += kept
        if self.entered >= FEWEST:
            self.pays = self.entered - self.kept >= self.drops * self.entered
            self._use = self._use.joined(Use.USED if self.pays else Use.NO_GAIN)
            self.wait = self.patience * self.entered
            self.entered = self.kept = 0.0

    def passed(self, count: int) -> None:
        """Take note of candidates that were evaluated without the stage."""
        self.wait -= count
        if self.pays is False and self.wait <= 0:
            self.pays = None


class Outlook(NamedTuple):
    """What is to be expected of candidates to come."""

    single: bool | None  # whether single precision pays; None: a trial has to tell
    sums: bool  # whether it pays to look at sums in double precision
    left: float | None  # visits of a candidate, by what pays of these; None: unknown
    apart: float = 1.0  # the part of the candidates that bounds by moments drop at best


class Gains:
    """What is known of the candidates of a search: what stages dropped, and some losses.

    Parameters
    ----------
    costs : Costs
    """

    single: Trial
    bounding: Trial
    pairs: float
    screened: float

    def __init__(self, costs: Costs) -> None:
        self.costs = costs
        self.single, self.bounding = Trial(SINGLE_DROPS), Trial(BOUND_DROPS)
        self.sums: Trial = Trial(SUMS_DROP)
        self.foreseen: Use = Use.NONE  # of single precision, if it was not tried
        self._forecast: Forecast | None = None
        # Of the last candidates: the part of pairs that they took, and those that reached the rows
        # in single precision, and that passed the bound of all rows.
        self.pairs = self.screened = 0.0
        self.passed: float = 1.0

    def note(self, losses: Float64Array) -> None:
        """Take note of losses of candidates like those to come."""
        if self._forecast is None and len(losses) >= FEWEST:
            self._forecast = Forecast(losses[:MOST], self.costs.looks)

    def renew_bound(self, *, is_light: bool) -> None:
        """Forget what bounds have saved: there are others now, of all rows alone, or of all of them
        and of those that follow some."""
        drops = LIGHT_DROPS if is_light else BOUND_DROPS
        self.bounding, self.pairs, self.passed = Trial(drops), 0.0, 1.0

    def outlook(self, threshold: float, n_candidates: int, doubt: float, has_copy: bool) -> Outlook:
        """Return what is to be expected of so many candidates to come; of 0, outside a search.

        Parameters
        ----------
        threshold : float
        n_candidates : int
        doubt : float
            How far margins in single precision may be off, in the mean.
        has_copy : bool
            Whether there is a copy of the rows in single precision.
        """
        costs, forecast = self.costs, self._forecast
        if self.single.pays and self.pairs > 0:
            return Outlook(True, True, SINGLE_WORK * self.pairs * costs.rows)
        if forecast is None or n_candidates <= 0:
            is_worth = n_candidates * costs.rows >= WORTH_COPY_UNTRIED * costs.copy
            may_try = has_copy or n_candidates <= 0 or is_worth
            single = None if self.single.pays is None and may_try else bool(self.single.pays)
            return Outlook(single, self.sums.pays is not False, None)
        later_threshold = forecast.later(threshold, n_candidates)
        now, later = forecast.at(threshold, doubt), forecast.at(later_threshold, doubt)
        by_rows = min(costs.whole, costs.by_sums(later[0]))
        single = self.single.pays
        if single is None:
            single = costs.single_pays(*now)
            self.foreseen = Use.NONE if single else Use.NO_GAIN
            gain = by_rows - costs.in_single(*later)
            single = single and (has_copy or n_candidates * gain >= WORTH_COPY * costs.copy)
            if single and self.single.use is Use.NO_GAIN:  # losses promised too much
                single = None
        sums = costs.sums_pay(now[0]) if self.sums.pays is None else self.sums.pays
        left = costs.in_single(*later) if single else by_rows
        return Outlook(single, sums, left, forecast.apart(later_threshold))

    def learn(
        self,
        size: int,
        of_pairs: float,
        tally: list[float],
        *,
        by_bound: bool,
        in_single: bool,
        by_sums: bool,
    ) -> None:
        """Take note of what candidates took, and of what the stages dropped that they passed.

        Parameters
        ----------
        size : int
            How many there were.
        of_pairs : float
            The part of all pairs that they took.
        tally : list of float
            As `_kernels.PackedRows.evaluate_below` writes it.
        by_bound, in_single, by_sums : bool
            Which stages they passed: bounds of all rows, single precision, and no other but looks
            at sums in double precision.
        """
        self.pairs, self.screened = of_pairs, tally[-2] / size
        if by_bound:
            self.bounding.learn(tally[0], tally[1])
            self.passed = tally[1] / max(tally[0], 1)
            self.pairs -= self.costs.bound_part
        else:
            self.bounding.passed(size)
        if in_single:
            self.single.learn(tally[-2], tally[-1])
        else:
            self.single.passed(size)
        if by_sums:
            self.sums.learn(size, of_pairs * size)
        else:
            self.sums.passed(size)
