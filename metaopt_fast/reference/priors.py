"""What a prior is worth on episodes, one after the other, and which way it is to move.

The twin of `metaopt_fast.selection.episodes` in plain NumPy. It checks nothing that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.reference.fitting import fit_many
from metaopt_fast.reference.losses import sigmoid, softplus

Array = npt.NDArray[Any]
Rows = tuple[Array, Array]


def value(
    episodes: Sequence[tuple[Rows, Rows]], center: Array, penalty: Array, fit_intercept: bool
) -> tuple[float, Array, Array]:
    """Return the mean loss of episodes, each of rows (X, y) that fit and of rows that judge, and
    its gradients by the centre and by the logarithms of the penalties.

    y is 0 or 1, and the intercept, if there is one, is the last parameter. See
    `metaopt_fast.learn_prior`.
    """
    loss, by_center, by_log = 0.0, np.zeros(len(center)), np.zeros(len(center))
    for (X, y), (others, labels) in episodes:
        n = len(y)
        fits = fit_many(
            X, y, l2=1 / n, center=center, penalty_factor=penalty, fit_intercept=fit_intercept
        )
        theta = fits.theta[0]
        rows, judges = (np.column_stack([of, np.ones(len(of))]) for of in (X, others))
        rows, judges = rows[:, : len(center)], judges[:, : len(center)]
        z, margins = rows @ theta, judges @ theta
        curvatures = sigmoid(z) * sigmoid(-z)
        hessian = (rows.T * curvatures) @ rows / n + np.diag(penalty / n)
        gradient = judges.T @ (sigmoid(margins) - labels) / len(labels)
        pull = penalty / n * np.linalg.solve(hessian, gradient)
        loss += float(np.mean(softplus(np.where(labels, -margins, margins))))
        by_center += pull
        by_log -= pull * (theta - center)
    count = len(episodes)
    return loss / count, by_center / count, by_log / count
