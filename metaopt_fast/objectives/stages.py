"""What became of each stage that drops candidates before they are evaluated."""

from __future__ import annotations

from enum import StrEnum


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
