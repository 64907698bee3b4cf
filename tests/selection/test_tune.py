"""Candidates for C: their scores, the choice among them, and their picture."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    get_scorer,
    hinge_loss,
    roc_auc_score,
)

from metaopt_fast.data.standardize import standardize
from metaopt_fast.datasets import load_breast_cancer
from metaopt_fast.reference import hinge
from metaopt_fast.selection.scores import MACHINE_SCORES, SCORES
from metaopt_fast.selection.tune import tune

mpl.use("Agg")
from matplotlib import pyplot


@pytest.fixture(scope="module")
def result():
    X, y, _ = load_breast_cancer()
    standardize(X)
    return tune(X, y, 40, seed=1)


# ------------------------------------------------------------------------------------ the numbers


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("scoring", SCORES)
def test_a_score_is_that_of_scikit_learn_on_the_same_folds(scoring):
    X, y, _ = load_breast_cancer()
    standardize(X)
    result = tune(X, y, 3, cv=3, scoring=scoring, low=1e-2, high=10.0)
    scorer = get_scorer("neg_brier_score" if scoring == "brier" else scoring)
    for C, scores in zip(result.C, result.scores, strict=True):
        for fold, score in enumerate(scores):
            train = result.folds != fold
            model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10)
            model.fit(X[train], y[train])
            assert score == pytest.approx(scorer(model, X[~train], y[~train]), abs=1e-6)
    best = LogisticRegression(C=result.C[result.best], solver="newton-cholesky", tol=1e-10)
    np.testing.assert_allclose(result.theta[:-1], best.fit(X, y).coef_[0], atol=1e-4)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("scoring", MACHINE_SCORES)
def test_a_score_of_machines_is_that_of_scikit_learns_metric(scoring):
    X, y, _ = load_breast_cancer()
    standardize(X)
    result = tune(X, y, 3, cv=3, scoring=scoring, low=1e-2, high=10.0, loss="squared_hinge")
    assert result.converged.all() and result.loss == "squared_hinge"
    for C, scores in zip(result.C, result.scores, strict=True):
        for fold, score in enumerate(scores):
            train = result.folds != fold
            rows, w = X[train], np.full(train.sum(), 1 / train.sum())
            theta = hinge.fit(rows, y[train] == 1, w, 1 / (C * train.sum()))
            decisions, labels = X[~train] @ theta[:-1] + theta[-1], y[~train]
            wanted = {
                "neg_hinge_loss": lambda y, t: -hinge_loss(y, t),
                "neg_squared_hinge_loss": lambda y, t: (
                    -np.square(np.maximum(0, 1 - np.where(y == 1, t, -t))).mean()
                ),
                "accuracy": lambda y, t: accuracy_score(y, t > 0),
                "balanced_accuracy": lambda y, t: balanced_accuracy_score(y, t > 0),
                "f1": lambda y, t: f1_score(y, t > 0),
                "roc_auc": roc_auc_score,
            }[scoring](labels, decisions)
            assert score == pytest.approx(wanted, abs=1e-9)


def test_machines_are_scored_by_accuracy_and_not_by_probabilities():
    X, y, _ = load_breast_cancer()
    standardize(X)
    assert tune(X, y, 2, loss="squared_hinge").scoring == "accuracy"
    with pytest.raises(ValueError, match=r"scoring is 'neg_log_loss' .*: pass one of accuracy, "):
        tune(X, y, 2, loss="squared_hinge", scoring="neg_log_loss")
    with pytest.raises(ValueError, match="loss is 'squared_hinge', but l1 is above 0"):
        tune(X, y, 2, loss="squared_hinge", l1_ratio=0.5)


def test_candidates_are_log_uniform_and_the_first_ones_of_more(result):
    X, y, _ = load_breast_cancer()
    standardize(X)
    more = tune(X, y, 45, seed=1)
    np.testing.assert_array_equal(more.C[:40], result.C)
    np.testing.assert_array_equal(more.folds, result.folds)
    np.testing.assert_allclose(more.scores[:40], result.scores, rtol=1e-6)
    assert 1e-4 <= result.C.min() < 1e-3 and 1e3 < result.C.max() <= 1e4
    assert (tune(X, y, 40, seed=2).C != result.C).all()


def test_a_result_knows_its_best_and_the_simplest_as_good(result):
    assert result.mean[result.best] == result.mean.max()
    assert (np.diff(result.mean[result.ranking]) <= 0).all()
    np.testing.assert_allclose(
        result.standard_error, result.scores.std(axis=1, ddof=1) / np.sqrt(result.n_folds)
    )
    good = result.mean >= result.mean.max() - result.standard_error[result.best]
    assert result.C[result.one_standard_error] == result.C[good].min()
    assert "40 candidates, 5 folds" in repr(result)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scoring": "r2"}, r"^scoring is 'r2' \(of type str\): pass one of neg_log_loss, "),
        ({"cv": 1}, r"^cv is 1: pass an integer of at least 2\.$"),
        ({"cv": 300}, r"^the rarer class has 212 rows, too few for 300 folds: use at most 212 "),
        ({"low": 2.0, "high": 1.0}, r"^C is to be from 2 to 1: pass 0 < low <= high\.$"),
        ({"low": 0.0}, r"^C is to be from 0 to"),
        ({"l1_ratio": 1.5}, r"^l1_ratio is 1\.5: pass a number from 0 to 1\.$"),
    ],
)
def test_a_wrong_argument_is_one_sentence(options, message):
    X, y, _ = load_breast_cancer()
    with pytest.raises(ValueError, match=message):
        tune(X, y, **options)


# ------------------------------------------------------------------------------------ the picture


def test_the_plot_shows_scores_against_C_with_error_bars(result):
    ax = result.plot_scores()
    assert isinstance(ax, Axes)
    line, best, frugal = ax.lines[0], ax.lines[-2], ax.lines[-1]
    order = np.argsort(result.C)
    np.testing.assert_array_equal(line.get_xdata(), result.C[order])
    np.testing.assert_array_equal(line.get_ydata(), result.mean[order])
    assert best.get_xdata() == result.C[result.best]
    assert frugal.get_xdata() == result.C[result.one_standard_error]
    segments = ax.collections[0].get_segments()
    lengths = [upper - lower for (_, lower), (_, upper) in segments]
    np.testing.assert_allclose(lengths, 2 * result.standard_error[order])
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "C"
    assert ax.get_ylabel() == "neg_log_loss"
    pyplot.close("all")


def test_the_plot_goes_to_axes_that_are_given(result):
    _, axes = pyplot.subplots(1, 2)
    assert result.plot_scores(axes[1]) is axes[1]
    assert not axes[0].lines
    pyplot.close("all")
