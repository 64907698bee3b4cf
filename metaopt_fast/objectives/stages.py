"""Stages that drop candidates before they are evaluated: what was set up, and what became of it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

import metaopt_fast._kernels as _kernels
from metaopt_fast.objectives.prospects import Prospect
from metaopt_fast.objectives.tangents import Ahead
from metaopt_fast.samplers.base import BuiltInSampler

# Blocks, and bounds of the rows from there on.
Points: TypeAlias = tuple[tuple[int, _kernels.MomentBound], ...]


# What became of each of these is told.
STAGES = ("single_precision", "row_order", "tangents", "moment_bound")


class Use(StrEnum):
    """Whether a stage was used, or why not."""

    NONE = "none"  # not for these losses, samplers or sizes, or not worth its set-up
    NO_GAIN = "no gain"  # it drops too few candidates
    EXTENTS = "extents"  # numbers leave the range for which it is proven
    MEMORY = "memory"
    CERTIFICATE = "certificate"  # of a bound by moments: it could not be proven
    USED = "used"

    def joined(self, other: Use) -> Use:
        """Return what there is to tell of two parts of a search: that it was used, or why not."""
        return self if _TELLS[self] >= _TELLS[other] else other


_TELLS = {use: number for number, use in enumerate(Use)}


class Tried(NamedTuple):
    """What was set up for a sampler, and why the rest was not."""

    sampler: BuiltInSampler
    doubt: float  # how far means of single precision may be off, about
    is_near: bool | None = None  # whether in the range of single precision; None: not asked yet
    ahead: Ahead | None = None  # None: not tried, or of no use
    tangents: Use = Use.NONE
    points: Points = ()  # where its candidates are bounded by moments
    bound: Use = Use.NONE
    prospect: Prospect | None = None  # of a bound of all rows

    @property
    def is_refused(self) -> bool:
        """Whether there will be no bound that is not there."""
        return self.bound not in (Use.NONE, Use.USED, Use.NO_GAIN)
