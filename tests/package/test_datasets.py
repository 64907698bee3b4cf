"""The data set that the package carries: whole, coded as described, with its source and licence."""

import numpy as np
import pytest
import sklearn.datasets

from metaopt_fast import datasets

FOLDER = datasets.BREAST_CANCER.parent


@pytest.mark.sanitized
def test_breast_cancer_is_what_scikit_learn_has_but_for_the_coding_of_the_classes():
    X, y, feature_names = datasets.load_breast_cancer()
    known = sklearn.datasets.load_breast_cancer()
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, known.data)
    np.testing.assert_array_equal(y, 1 - known.target)
    assert feature_names == tuple(known.feature_names)


def test_malignant_is_the_positive_class():
    X, y, _ = datasets.load_breast_cancer()
    assert y.sum() == 212
    # Malignant cells are the larger ones.
    assert X[y == 1, 0].mean() > X[y == 0, 0].mean()


def test_each_call_returns_data_of_its_own():
    datasets.load_breast_cancer()[0][:] = 0
    assert datasets.load_breast_cancer()[0].all(axis=1).any()


def test_source_and_licence_lie_beside_the_data():
    text = (FOLDER / "breast_cancer.md").read_text()
    for words in (
        "10.24432/C5DW2B",
        "CC BY 4.0",
        "Wolberg",
        "Street",
        "Mangasarian",
        "**Changes.**",
    ):
        assert words in text


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 150_000
