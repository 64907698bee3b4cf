"""The one data set that the package carries; its source and licence are in breast_cancer.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from metaopt_fast.files.read import read_table

BREAST_CANCER = Path(__file__).with_name("breast_cancer.csv")


def load_breast_cancer() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], tuple[str, ...]]:
    """Return the Breast Cancer Wisconsin (Diagnostic) data.

    Returns
    -------
    X : numpy.ndarray of shape (569, 30)
    y : numpy.ndarray of shape (569,)
        1 for malignant, 0 for benign; scikit-learn's loader has it the other way round.
    feature_names : tuple of 30 str

    References
    ----------
    W. Wolberg, O. Mangasarian, N. Street and W. Street, "Breast Cancer Wisconsin (Diagnostic)", UCI
    Machine Learning Repository, 1995, https://doi.org/10.24432/C5DW2B. CC BY 4.0.

    Examples
    --------
    >>> from metaopt_fast.datasets import load_breast_cancer
    >>> X, y, feature_names = load_breast_cancer()
    >>> X.shape, int(y.sum())
    ((569, 30), 212)
    """
    table = read_table(BREAST_CANCER, "target")
    return table.X, table.y, table.feature_names
