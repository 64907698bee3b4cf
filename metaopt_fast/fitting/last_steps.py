"""Newton steps of an old Hessian, corrected by what the last step did to the gradient."""

from __future__ import annotations

import numpy as np

from metaopt_fast.typing import Float64Array, IndexArray


class LastSteps:
    """Where models came from by their last steps: what the gradients, the Newton steps and their
    lengths were there, and how long the steps were. Arrays over models; one that has a new Hessian
    has no last step."""

    def __init__(self, n: int, n_params: int) -> None:
        self.is_known = np.zeros(n, np.bool_)
        self.gradients, self.newton, self.taken = np.empty((3, n, n_params))
        self.lengths, self.norms = np.zeros((2, n))

    def forget(self, at: IndexArray) -> None:
        self.is_known[at] = False

    def remember(
        self,
        at: IndexArray,
        gradients: Float64Array,
        newton: Float64Array,
        lengths: Float64Array,
        taken: Float64Array,
        norms: Float64Array,
    ) -> None:
        self.is_known[at] = True
        self.gradients[at], self.newton[at], self.lengths[at] = gradients, newton, lengths
        self.taken[at], self.norms[at] = taken, norms

    def improve(
        self, at: IndexArray, gradients: Float64Array, newton: Float64Array, lengths: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Correct the steps of an old Hessian by what the last ones did to the gradients.

        This is the BFGS update of the Hessian by one pair. Returns the steps, and bounds of their
        lengths.
        """
        known = self.is_known[at]
        steps, norms = newton.copy(), lengths.copy()
        at, gradients, newton = at[known], gradients[known], newton[known]
        s, y = self.taken[at], gradients - self.gradients[at]
        scale = 1 / (s * y).sum(axis=1)
        first = scale * (s * gradients).sum(axis=1)
        partly = newton - first[:, None] * (newton - self.newton[at])
        second = first - scale * (y * partly).sum(axis=1)
        improved = partly + second[:, None] * s
        # |newton - self.newton| is at most the sum of both lengths.
        bounds = lengths[known] + np.abs(first) * (lengths[known] + self.lengths[at])
        bounds += np.abs(second) * self.norms[at]
        good = (scale > 0) & ((improved * gradients).sum(axis=1) > 0) & np.isfinite(bounds)
        which = np.flatnonzero(known)[good]
        steps[which], norms[which] = improved[good], bounds[good]
        return steps, norms
