"""Fits of many models answer signals, Ctrl-C among them, however many there are."""

import numpy as np
import pytest

import metaopt_fast as mf


@pytest.mark.long
@pytest.mark.parametrize("n_columns", [150, 200])
def test_of_many_l1_paths_few_go_on_between_two_looks_at_signals(looks_of, n_columns):
    # More columns than these do not stay in a cache: all paths ask for their slopes together.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, n_columns))
    y = X[:, :5].sum(axis=1) + rng.normal(size=400) > 0
    l1 = np.tile(mf.l1_max(X, y) * np.array([0.1, 0.002]), 40)
    l2 = np.repeat(np.geomspace(1e-6, 1e-3, 40), 2)
    looks = looks_of(lambda: mf.fit_many(X, y, l2=l2, l1=l1, n_threads=1))
    assert max(np.diff(looks)) < 0.1 * (looks[-1] - looks[0])
