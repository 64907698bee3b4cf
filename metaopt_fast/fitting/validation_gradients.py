"""How the loss of held-out rows changes with penalties, by the implicit function theorem.

A model's theta solves g(theta) + p (theta - c) = 0, g the gradient of its training rows, p the
penalties of its parameters and c what they are drawn to. So d theta / d p_j is -(theta_j - c_j)
times the j-th column of the inverse Hessian, and of a loss V of theta

    dV / d log p_j = -p_j (theta_j - c_j) q_j,   H q = grad V.

The Hessian is the one that proves the optimum, once more over all training rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.fitting.lane_fits import LaneFits
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import describe


@dataclass(frozen=True, slots=True, eq=False)
class FeatureGroups:
    """The group of each feature, None where all penalised parameters are one group."""

    of_feature: IndexArray | None

    @classmethod
    def of(cls, given: npt.ArrayLike | None, n_features: int) -> Self:
        """Return checked groups."""
        return cls(None if given is None else check_feature_groups(given, n_features))

    @property
    def shape(self) -> tuple[int, ...]:
        """What is added to the shape of models' results."""
        return () if self.of_feature is None else (int(self.of_feature.max()) + 1,)

    def sums(self, of_params: Float64Array) -> Float64Array:
        """Return sums over the parameters of each group, shape (n, n_groups), or of all."""
        if self.of_feature is None:
            return np.add.reduce(of_params, axis=1, keepdims=True)
        members = [np.flatnonzero(self.of_feature == group) for group in range(*self.shape)]
        # In one piece: the order of additions is that of memory.
        parts = [np.ascontiguousarray(of_params[:, some]) for some in members]
        return np.stack([np.add.reduce(part, axis=1) for part in parts], axis=1)

    def slopes(self, fits: LaneFits, totals: Float64Array) -> Float64Array:
        """Return the derivatives of mean validation losses for the logarithm of each group's
        penalty, where the rows held out have these sums of weights: shape (n, n_groups)."""
        models, everything = fits.models, np.arange(len(totals))
        slopes = np.empty_like(fits.thetas)
        rows = fits.shared.lane_rows(models.with_plain_classes)
        rows.gradients(everything, fits.thetas, True, slopes, fits.effort.n_threads)
        slopes /= totals[:, None]
        answers = fits.solve(slopes)
        far = fits.thetas - models.centres
        return self.sums(-fits.weights_of_penalty(everything) * far * answers)


def check_feature_groups(given: npt.ArrayLike, n_features: int) -> IndexArray:
    """Return the group of each feature."""
    wanted = "whole numbers from 0, none left out, of shape (n_features,)"
    array = as_numbers("feature_groups", given, 1, wanted)
    if len(array) != n_features:
        raise ValueError(
            f"feature_groups has {len(array)} entries, but X has {n_features} columns: pass "
            f"{wanted}."
        )
    if array.dtype.kind not in "iuf":
        raise TypeError(f"feature_groups has dtype {array.dtype}: pass {wanted}.")
    numbers = np.unique(array)
    if not np.array_equal(numbers, np.arange(len(numbers))):
        some = ", ".join(map(str, numbers[:5].tolist())) + (", ..." if len(numbers) > 5 else "")
        raise ValueError(f"feature_groups holds the numbers {some}: pass {wanted}.")
    return array.astype(np.intp)


def check_gradient(
    validation_gradient: bool,
    feature_groups: npt.ArrayLike | None,
    folds: npt.ArrayLike | None,
    l1: npt.ArrayLike,
    loss: object,
    storage: object,
) -> None:
    """Raise an error where a validation gradient is asked for that there is none of."""
    if not validation_gradient:
        if feature_groups is not None:
            raise ValueError(
                "feature_groups is given, but validation_gradient is False: pass "
                "validation_gradient=True."
            )
        return
    is_logistic = isinstance(loss, str) and loss == "logistic"
    given: dict[str, tuple[bool, Any, str]] = {
        "folds": (folds is None, folds, "folds=5, whose rows are held out"),
        "l1": (bool(np.any(np.array(l1, object) != 0)), l1, "l1=0"),
        "loss": (not is_logistic, loss, "loss='logistic'"),
        "storage": (storage is not None, storage, "storage=None"),
    }
    for name, (is_wrong, value, cure) in given.items():
        if is_wrong:
            raise ValueError(
                f"validation_gradient is True, but {name} is {describe(value)}: pass {cure}."
            )
