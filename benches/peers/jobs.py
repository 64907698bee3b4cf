"""Whole jobs on one data set, as one would write them: what a user waits for.

Peers run with their defaults, but for what would leave them far from the optimum; LinearSVC has no
intercept, which it would penalise. What they return, a number or one for each candidate, is held
against ours, whose optima are certified.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from benches.peers import inference, l1_paths, linear_jobs, networks_and_trees
from benches.peers.job_data import Array, Data
from benches.peers.setting import Prepared, Setting

OURS = "metaopt_fast"
# What does a job, and how far its numbers may be from ours.
Peer = tuple[Callable[[Data], Array], float]
JOBS: dict[str, dict[str, Peer]] = {
    "200 values of C x 5 folds": {
        OURS: (linear_jobs.tuning_by_us, 0.0),
        "LogisticRegressionCV": (linear_jobs.tuning_by_cv, 0.02),
        "GridSearchCV": (linear_jobs.tuning_by_grid, 0.02),
    },
    "L1 path, 20 C x 5 folds": {
        OURS: (l1_paths.folds_by_us, 0.0),
        "adelie, joblib": (l1_paths.folds_by(l1_paths.adelie), 0.01),
        "LogisticRegressionCV, liblinear": (l1_paths.folds_by_liblinear, 0.02),
        "LogisticRegressionCV, saga": (l1_paths.folds_by_saga, 0.02),
    },
    "L1 path of 50, 495 products of features": {
        OURS: (l1_paths.products_by_us, 0.0),
        "adelie": (l1_paths.products_by(l1_paths.adelie), 1e-4),
        "skglm": (l1_paths.products_by(l1_paths.skglm), 1e-4),
        "celer": (l1_paths.products_by(l1_paths.celer), 1e-4),
    },
    "linear SVM, 200 C x 5 folds": {
        OURS: (linear_jobs.machines_by_us, 0.0),
        "GridSearchCV of LinearSVC": (linear_jobs.machines_by_grid, 0.02),
    },
    "random search, 200,000 thetas": {
        OURS: (linear_jobs.search_by_us, 0.0),
        # Other thetas: the best of them is in the same range.
        "NumPy, blocks of 64": (linear_jobs.search_by_numpy, 0.5),
    },
    "bootstrap of 1,000 resamples": {
        OURS: (inference.errors_by_us, 0.0),
        "LogisticRegression, joblib": (inference.errors_by_loop, 0.05),
        # Other resamples.
        "scipy.stats.bootstrap, joblib": (inference.errors_by_scipy, 0.3),
    },
    "1,000 resamples, 5 features, no penalty": {
        OURS: (inference.errors_by_us_without_penalty, 0.0),
        "statsmodels' Logit, joblib": (inference.errors_by_statsmodels, 1e-4),
    },
    "permutation test, 200 x 5 folds": {
        OURS: (inference.permutations_by_us, 0.0),
        "permutation_test_score": (inference.permutations_by_scikit_learn, 1e-3),
    },
    "network search, 24 candidates x 5 folds": {
        OURS: (networks_and_trees.search_by_us, 0.0),
        # Other candidates, and networks that start elsewhere.
        "search of MLPClassifier": (networks_and_trees.search_by_scikit_learn, 0.05),
    },
    "256 networks, 50 steps of Adam": {
        OURS: (networks_and_trees.descents_by_us, 0.0),
        "torch, batched": (networks_and_trees.descents_by_torch, 1e-9),
    },
    "tree of least errors, depth 3": {
        OURS: (networks_and_trees.tree_by_us, 0.0),
        "STreeD": (networks_and_trees.tree_by_streed, 0.0),
    },
}
PEERS: dict[str, Peer] = {
    f"{job}: {who}": peer for job, peers in JOBS.items() for who, peer in peers.items()
}


def prepare(peer: str, setting: Setting) -> Prepared:
    """Check what a peer returns; a call of it does the job once."""
    warnings.simplefilter("ignore")
    data = Data(setting.n_threads, small=setting.n_samples < 569)
    run, bound = PEERS[peer]
    ours, _ = JOBS[peer.partition(": ")[0]][OURS]
    error = float(np.abs(run(data) - ours(data)).max())
    return Prepared(lambda: run(data), 1, error, bound)
