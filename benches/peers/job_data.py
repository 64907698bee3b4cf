"""The data set of whole jobs, and how much of each job there is."""

from __future__ import annotations

from functools import cached_property

import numpy as np

N_FOLDS, N_PENALTIES, N_OF_PATH, N_OF_PRODUCTS = 5, 200, 20, 50
N_CANDIDATES, N_RESAMPLES, N_PERMUTATIONS = 200_000, 1_000, 200
N_NETWORKS, N_SEARCHED = 256, 24
Array = np.ndarray


class Data:
    """breast_cancer, standardised; `small` leaves most of the work out."""

    def __init__(self, n_threads: int, small: bool) -> None:
        from metaopt_fast import standardize
        from metaopt_fast.datasets import load_breast_cancer

        X, y, _ = load_breast_cancer()
        self.X, self.y = standardize(X)[0], np.asarray(y)
        self.signs = np.where(self.y == 1, 1.0, -1.0)
        # Features by which classes overlap so much that models need no penalty: texture,
        # smoothness, compactness, symmetry and fractal dimension.
        self.few = self.X[:, [1, 4, 5, 8, 9]]
        self.n_threads = n_threads
        part = 20 if small else 1
        self.Cs = np.logspace(-4, 2, N_PENALTIES // part)
        self.path = np.logspace(-2, 1, max(3, N_OF_PATH // part))
        self.n_of_products = N_OF_PRODUCTS // part
        self.n_candidates = N_CANDIDATES // part
        self.n_resamples = N_RESAMPLES // part
        self.n_permutations = N_PERMUTATIONS // part
        self.n_networks, self.n_searched = N_NETWORKS // part, max(3, N_SEARCHED // part)

    @cached_property
    def splits(self) -> list[tuple[Array, Array]]:
        """The folds that the searches have, too."""
        from sklearn.model_selection import StratifiedKFold

        return list(StratifiedKFold(N_FOLDS).split(self.X, self.y))

    @cached_property
    def products(self) -> Array:
        """The features and the products of all pairs, standardised, column by column."""
        from metaopt_fast import standardize

        j, k = np.triu_indices(self.X.shape[1])
        columns = np.column_stack([self.X, self.X[:, j] * self.X[:, k]])
        return np.asfortranarray(standardize(columns)[0])

    @cached_property
    def l1_of_products(self) -> Array:
        from metaopt_fast import l1_max

        strongest = l1_max(self.products, self.y, fit_intercept=False)
        return strongest * np.geomspace(1, 0.01, self.n_of_products)

    @cached_property
    def questions(self) -> Array:
        """The binary features that `best_tree` makes of the numbers, of shape (rows, features)."""
        from metaopt_fast.trees.features import BinaryFeatures

        features = BinaryFeatures.of(self.X, np.ones(len(self.y), np.int64), n_thresholds=10)
        return features.answers(np.arange(len(self.y)), 0, len(features)).T.astype(int)
