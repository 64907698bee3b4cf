"""Stability selection: the halves, what is counted, the bounds of false selections, wrong input."""

from fractions import Fraction

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.fitting.stability import StabilityResult, _pairs

mpl.use("Agg")


def problem(n_samples=81, n_features=12, seed=0):
    """Rows of which the first two columns decide, but for noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    return X, (X[:, 0] - X[:, 1] + rng.normal(size=n_samples) > 0.3).astype(int)


def path_of(X, y, count=8, least=0.2):
    return mf.l1_max(X, y) * np.geomspace(1, least, count)


# -------------------------------------------------------------------------------------- the halves


def test_halves_of_a_pair_share_no_row_and_have_both_classes():
    codes = np.repeat([0, 1], [70, 5])
    for used, second in _pairs(codes, 30, 1):
        assert len(used) == len(np.unique(used)) == 74
        for half in (used[second == 0], used[second == 1]):
            assert len(half) == 37 and len(np.unique(codes[half])) == 2


def test_one_row_of_a_class_cannot_be_in_both_halves():
    with pytest.raises(ValueError, match="y has 1 rows of a class, which random halves lack"):
        list(_pairs(np.repeat([0, 1], [70, 1]), 1, 0))


def test_pairs_depend_on_the_seed_and_their_number_alone():
    codes = np.arange(41) % 2
    few, more, other = (list(_pairs(codes, *given)) for given in ((3, 1), (5, 1), (3, 2)))
    for pair, same, another in zip(few, more, other, strict=False):
        np.testing.assert_array_equal(pair, same)
        assert (np.array(pair) != np.array(another)).any()


# ---------------------------------------------------------------------------------- what is counted


@pytest.mark.parametrize("options", [{}, {"class_weight": {"no": 2.0}, "l2": 0.01}])
def test_probabilities_count_the_weights_of_models_of_each_half(options):
    X, y = problem()
    X[:, 2] = X[:, 0] - X[:, 1] + X[:, 2]  # comes first, and leaves again
    labels, l1 = np.where(y == 1, "yes", "no"), path_of(X, y, least=0.01)
    found = mf.stability_selection(X, labels, l1=l1[::-1], n_resamples=8, seed=3, **options)
    chosen = []
    for used, second in _pairs(y, 4, 3):
        for half in (used[second == 1], used[second == 0]):
            model = {"l2": 0.0, "tol": 1e-6} | options
            chosen.append(mf.fit_many(X[half], labels[half], l1=l1, **model).theta[:, :-1] != 0)
    chosen = np.array(chosen)
    np.testing.assert_array_equal(found.l1, l1)
    np.testing.assert_allclose(found.probabilities, chosen.mean(axis=0), atol=1e-12)
    of_path = np.logical_or.accumulate(chosen, axis=1)
    assert (of_path != chosen).any()
    np.testing.assert_allclose(found.path_probabilities, of_path.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.mean_selected, of_path.sum(axis=2).mean(axis=0), atol=1e-12)


def test_features_that_decide_are_found_by_name():
    X, y = problem(200)
    frame = pd.DataFrame(X, columns=[f"gene{j}" for j in range(12)])
    found = mf.stability_selection(frame, y, l1=path_of(X, y, least=0.4))
    assert found.selected().tolist() == [0, 1]
    lines = repr(found).splitlines()
    assert lines[1].endswith(("gene0", "gene1")) and lines[11:] == ["  (2 more)"]
    axes = found.plot(threshold=0.9)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["gene0", "gene1"]


def test_of_few_features_all_are_printed():
    X, y = problem(n_features=3)
    found = mf.stability_selection(X, y, l1=path_of(X, y), n_resamples=4)
    assert len(repr(found).splitlines()) == 4


def test_a_feature_may_be_left_out():
    X, y = problem()
    factors = np.ones(12)
    factors[0] = np.inf
    found = mf.stability_selection(X, y, l1=path_of(X, y), n_resamples=4, penalty_factor=factors)
    assert (found.probabilities[:, 0] == 0).all() and found.probabilities[:, 1].any()


@pytest.mark.long(everywhere=True)
def test_noise_is_selected_no_more_often_than_the_bound_says():
    false, bounds = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(50, 40)), np.arange(50) % 2
        found = mf.stability_selection(X, y, l1=path_of(X, y, 5, 0.5), n_resamples=40, seed=seed)
        false.append(np.count_nonzero(found.path_probabilities[-1] >= 0.6))
        bounds.append(found.expected_false(0.6))
    assert 0 < np.mean(false) <= np.mean(bounds)


# --------------------------------------------------------------------------------------- the bounds


def result(q, n_features=200, n_pairs=50):
    none = np.zeros((1, n_features))
    names = tuple(f"x{j}" for j in range(n_features))
    return StabilityResult(np.ones(1), none, none, np.array([q]), n_pairs, 0, names)


@given(count=st.integers(51, 100), q=st.integers(1, 60))
def test_bounds_are_those_of_the_papers(count, q):
    threshold, part = Fraction(count, 100), Fraction(q, 200)
    general = Fraction(q * q, 200) / (2 * threshold - 1)
    found = result(float(q))
    assert found.expected_false(count / 100) == pytest.approx(float(general))
    # Theorem 2 of Shah and Samworth, B = 50 pairs.
    least = min(Fraction(1, 2) + part**2, Fraction(1, 2) + Fraction(1, 100) + part**2 * 3 / 4)
    wanted = general
    if threshold > least and 3 * part**2 <= 1 and 2 * threshold - 1 - Fraction(1, 100) > 0:
        if threshold <= Fraction(3, 4):
            factor = 1 / (2 * (2 * threshold - 1 - Fraction(1, 100)))
        else:
            factor = 4 * (1 - threshold + Fraction(1, 100)) / (1 + Fraction(1, 50))
        wanted = min(general, factor * Fraction(q * q, 200))
    unimodal = found.expected_false(count / 100, assumption="unimodal")
    assert unimodal == pytest.approx(float(wanted))


@pytest.mark.parametrize("assumption", ["none", "unimodal"])
@pytest.mark.parametrize("q", [2.0, 10.0, 14.0])
def test_the_threshold_is_the_least_that_keeps_the_bound(q, assumption):
    found = result(q)
    threshold = found.threshold(1.0, assumption=assumption)
    assert found.expected_false(threshold, assumption=assumption) <= 1
    if threshold > 0.51:
        assert found.expected_false(threshold - 0.01, assumption=assumption) > 1


def test_where_no_threshold_keeps_the_bound_nothing_is_selected():
    found = result(100.0)
    assert found.threshold(1.0) == np.inf and found.selected(1.0).tolist() == []


# -------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"l1": [0.1, 0.0]}, "l1 has 0: pass penalties above 0"),
        ({"n_resamples": 7}, "n_resamples is 7: pass an even number"),
        ({"y": np.arange(81) % 3}, "y holds 3 classes: pass labels of two"),
        ({"y": np.arange(81) == 3}, "y has one row of a class: pass two or more"),
        ({"penalty_factor": [1.0]}, r"penalty_factor has shape \(1,\), but X has 12 columns"),
    ],
)
def test_wrong_input_is_one_sentence_that_names_it(change, sentence):
    X, y = problem()
    with pytest.raises(ValueError, match=sentence):
        mf.stability_selection(**({"X": X, "y": y, "l1": 0.1} | change))


def test_wrong_thresholds_are_one_sentence():
    found = result(3.0)
    for wrong, sentence in (
        ({"threshold": 0.5}, "threshold is 0.5: pass a finite number above 0.5"),
        ({"threshold": 1.5}, "threshold is 1.5: pass a number above 1/2, up to 1"),
        ({"threshold": 0.9, "assumption": "normal"}, "assumption is 'normal' .*: pass one of"),
        ({"threshold": 0.9, "penalty": 1}, "penalty is 1: pass an integer from -1 to 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            found.expected_false(**wrong)
