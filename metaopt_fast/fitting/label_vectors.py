"""Models of label vectors on the same rows: what permutation tests fit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.differing_arguments import Labels, Penalties
from metaopt_fast.typing import Float64Array


def fit_label_vectors(
    X: Float64Array,
    codes: npt.NDArray[np.uint8],
    l2: Float64Array,
    effort: Effort,
    *,
    used: npt.NDArray[np.uint8] | None = None,
    class_weight: ClassWeight = None,
    fit_intercept: bool = True,
) -> Float64Array:
    """Return the thetas of models of label vectors, shape (M, n_params), of arguments that were
    checked: 1 where a label is the greater one, l2 of each, and which rows each is trained on, if
    these are not all."""
    n_models = len(codes)
    models = Differing.of(
        X,
        Labels([0, 1], codes, 1, codes.shape),
        None,
        lambda first, last: None if used is None else used[first:last],
        n_models,
        [class_weight],
        np.zeros(n_models, np.intp),
        l2[:, None],
        Penalties.of(None, None, X.shape[1], fit_intercept),
        fit_intercept,
        effort,
    )
    parts = [models.fit(*ends, effort).optima.thetas for ends in models.batches()]
    return np.concatenate(parts)
