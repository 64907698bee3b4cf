"""What candidates take by one way or another, and what known losses tell of it beforehand.

Costs are in visits, the units of `_kernels.work`: a margin's product is one, and a pointwise loss
takes 20. A visit took 0.034 to 0.036 ns of AVX-512, of 1000 x 10, 10,000 x 30, 1797 x 62 and 20,000
x 80; of AVX2 0.064 to 0.078 ns, of 1000 x 10, 569 x 31 and 10,000 x 30, where numbers of single
precision took 25 to 26 visits and those of double precision 60 to 63 (the parts of the kernels in
`perf record` of searches with and without pruning). They decide speed alone.
"""

from __future__ import annotations

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.rows import BLOCKS_PER_SPAN
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array

# Visits of a number that is drawn, in double and in single precision (1.72 and 0.92 ns), and in
# double precision for a single candidate (22 ns), as what single precision keeps is drawn again;
# and of what is done to each candidate besides where sums drop some, and where single precision
# does.
DRAW, NARROW_DRAW, DRAW_AGAIN = 50, 27, 640
OF_SUMS, OF_SCREENING = 100, 300
# The part of the time of double precision that rows take in single precision; and what looks at the
# sums take.
SINGLE_WORK, OF_LOOKS = 0.43, 0.03
# Visits of a number that is copied in single precision: 1 ns in a cache, 2.4 beyond.
OF_COPY = 50
# How near losses are, as a part of themselves, that sums in single precision do not tell apart, but
# for their margins; and bounds by moments at best.
NEAR, NEAR_BOUND = 2.5e-5, 5e-7


class Costs:
    """What one candidate takes on some rows.

    Parameters
    ----------
    n_rows, n_params, n_blocks : int
    """

    bound: float

    def __init__(self, n_rows: int, n_params: int, n_blocks: int) -> None:
        self.n_params = n_params
        self.rows: float = _kernels.work(n_rows, n_params)
        self.whole: float = self.rows + DRAW * n_params
        self.again: float = self.rows + DRAW_AGAIN * n_params
        self.bound_part: float = (n_params + 1) / n_rows
        self.copy: int = OF_COPY * n_rows * n_params
        self.bound = NARROW_DRAW * n_params + SINGLE_WORK * _kernels.work(n_params + 1, n_params)
        self._n_blocks = n_blocks

    @property
    def looks(self) -> Float64Array:
        """The parts of the rows before which sums are looked at, as src/cohorts.pxi has them."""
        n_blocks = self._n_blocks
        doubled = 1 << np.arange(BLOCKS_PER_SPAN.bit_length())
        spans = np.arange(BLOCKS_PER_SPAN, n_blocks, BLOCKS_PER_SPAN)
        looks = np.union1d(doubled[doubled < n_blocks], spans)
        return np.append(looks, n_blocks) / n_blocks

    def by_sums(self, part: float) -> float:
        """Return what a candidate takes whose sums tell after a part of the rows, on average."""
        return DRAW * self.n_params + (part + OF_LOOKS) * self.rows + OF_SUMS

    def in_single(self, part: float, kept: float) -> float:
        """Return the same in single precision, of whose candidates a part is evaluated then."""
        narrow = NARROW_DRAW * self.n_params + SINGLE_WORK * part * self.rows + OF_SCREENING
        return narrow + kept * self.again

    def single_pays(self, part: float, kept: float) -> bool:
        """Whether single precision takes less time than sums in double precision do."""
        return self.in_single(part, kept) < min(self.whole, self.by_sums(part))

    def sums_pay(self, part: float) -> bool:
        """Whether to look at sums takes less time than not to."""
        return self.by_sums(part) < self.whole


class Forecast:
    """What thresholds will do to candidates that are like some whose losses are known.

    Parameters
    ----------
    losses : array of shape (n_known,)
    looks : array of shape (n_looks,)
        The parts of the rows before which sums are looked at, up to 1.
    """

    def __init__(self, losses: Float64Array, looks: Float64Array) -> None:
        self._losses, self._looks = np.sort(losses), looks

    @shielded
    def at(self, threshold: float, doubt: float) -> tuple[float, float]:
        """Return the part of the rows that sums take, and the part of the candidates that single
        precision does not drop, whose margins leave a doubt."""
        losses, n_known = self._losses, len(self._losses)
        n_below = int(losses.searchsorted(threshold, "right"))
        # The sums of the others are above the threshold after such a part of the rows, about.
        parts = self._looks[self._looks.searchsorted(threshold / losses[n_below:])]
        n_near = int(losses.searchsorted((threshold + doubt) / (1 - NEAR), "right"))
        return (n_below + float(parts.sum())) / n_known, n_near / n_known

    def apart(self, threshold: float) -> float:
        """Return the part of the candidates that a bound by moments may drop at best."""
        n_near = int(self._losses.searchsorted(threshold * (1 + NEAR_BOUND), "right"))
        return 1 - n_near / len(self._losses)

    def later(self, threshold: float, n_candidates: int) -> float:
        """Return about the threshold in the middle of so many candidates to come."""
        n_known = len(self._losses)
        n_below = int(self._losses.searchsorted(threshold, "right"))
        rank = int(n_below * n_known / (n_known + n_candidates / 2))
        return min(threshold, float(self._losses[max(0, rank - 1)]))
