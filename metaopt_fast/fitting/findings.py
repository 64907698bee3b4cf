"""What kept Hessians say of logistic models, given how much they have aged."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from metaopt_fast.arithmetic import exp
from metaopt_fast.fitting.certificates import (
    growth_by,
    logistic_gap_bound,
    rounding_of_logistic_decrements,
    rounding_of_margins,
)
from metaopt_fast.fitting.models import Models
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray


class Findings(NamedTuple):
    """What Hessians say: the lengths of Newton steps, the radii and the drifts; hence bounds of the
    Newton decrements and of the objectives' distance to their optimum. Whole: no parameter was
    left out of the factor, and rounding did not make it another matrix's."""

    lengths: Float64Array
    radii: Float64Array
    drifts: Float64Array
    decrements: Float64Array
    gaps: Float64Array
    whole: BoolArray

    @classmethod
    def of(
        cls,
        models: Models,
        members: IndexArray,
        thetas: Float64Array,
        losses: Float64Array,
        lengths: Float64Array,
        radii: Float64Array,
        slack: Float64Array,
        drifts: Float64Array,
    ) -> Self:
        """Return what the lengths of Newton steps mean, of some models at their thetas; `slack` is
        that of the Hessians' factors."""
        of_margins = rounding_of_margins(models, thetas)
        noise = rounding_of_logistic_decrements(models, members, thetas, losses, radii, of_margins)
        # By so much norms may be larger than an old Hessian says; and the margins that it was taken
        # at are rounded, too.
        fading = exp(drifts / 2)
        growth = fading * growth_by(of_margins)
        gaps = logistic_gap_bound(growth * (slack * lengths + noise), growth * radii)
        return cls(lengths, radii, drifts, fading * lengths, gaps, np.isfinite(slack))

    def replace(self, which: BoolArray, others: Findings) -> None:
        """Put what is said of some models in the place of what was."""
        for mine, other in zip(self, others, strict=True):
            mine[which] = other
