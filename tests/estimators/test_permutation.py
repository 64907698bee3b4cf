"""permutation_test_score: scikit-learn's permutations, splits and scores."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import model_selection
from sklearn.linear_model import LogisticRegression as TheirLogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaopt_fast.sklearn import (
    LogisticRegression,
    permutation,
    permutation_test_score,
    plot_permutation_test,
)


def problem(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(90, 4)) * [1, 5, 0.2, 1] + 3
    y = np.where(X[:, 0] + rng.logistic(size=90) > 3, "yes", "no")
    return X, y


X, Y = problem()
SCALED = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
CASES = {
    "default splits": (LogisticRegression(), {}),
    "splits that ask for no labels": (LogisticRegression(C=0.1), {"cv": KFold(4)}),
    "shuffled splits": (LogisticRegression(), {"cv": KFold(3, shuffle=True, random_state=1)}),
    "stratified shuffled splits": (
        LogisticRegression(l2=0.1, fit_intercept=False),
        {"cv": StratifiedKFold(3, shuffle=True, random_state=2)},
    ),
    "random parts": (LogisticRegression(), {"cv": ShuffleSplit(3, random_state=0)}),
    "given splits": (
        LogisticRegression(class_weight={"no": 2.0}),
        {"cv": [(np.arange(60), np.arange(60, 90)), (np.arange(30, 90), np.arange(30))]},
    ),
    "groups": (LogisticRegression(), {"cv": KFold(3), "groups": np.arange(90) // 10}),
    "a pipeline": (SCALED, {"cv": KFold(3)}),
}


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("random_state", [0, 4])
def test_scores_are_scikit_learns_to_the_last_bit(name, random_state):
    estimator, asked = CASES[name]
    asked = {"n_permutations": 5, "random_state": random_state, **asked}
    score, scores, p = permutation_test_score(estimator, X, Y, **asked)
    theirs = model_selection.permutation_test_score(estimator, X, Y, **asked)
    assert score == theirs[0]
    assert (scores == theirs[1]).all()
    assert p == theirs[2]


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss"])
def test_other_scores_are_scikit_learns_to_the_digits_that_a_model_has(scoring):
    asked = {"cv": KFold(3), "n_permutations": 4, "scoring": scoring}
    ours = permutation_test_score(LogisticRegression(), X, Y, **asked)
    theirs = model_selection.permutation_test_score(LogisticRegression(), X, Y, **asked)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-6)
    assert ours[1] == pytest.approx(theirs[1], abs=1e-6)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("scoring", permutation.OWN_SCORES)
def test_own_scores_are_those_of_scikit_learns_scorers(scoring, monkeypatch):
    asked = {"cv": KFold(4), "n_permutations": 9, "scoring": scoring}
    ours = permutation_test_score(LogisticRegression(C=100), X, Y, **asked)
    monkeypatch.setattr(permutation, "OWN_SCORES", ())
    by_scorers = permutation_test_score(LogisticRegression(C=100), X, Y, **asked)
    assert ours[0] == pytest.approx(by_scorers[0], rel=1e-13)
    assert ours[1] == pytest.approx(by_scorers[1], rel=1e-13)


def test_held_out_rows_of_one_class_are_what_scikit_learn_says_of_them():
    label = Y[0]
    one = np.flatnonzero(label == Y)[:5]
    cv = [(np.setdiff1d(np.arange(len(Y)), one), one)]
    asked = {"cv": cv, "n_permutations": 1, "scoring": "neg_log_loss"}
    for test in (permutation_test_score, model_selection.permutation_test_score):
        with pytest.raises(ValueError, match="y_true contains only one label"):
            test(LogisticRegression(), X, Y, **asked)


def test_batches_change_no_score(monkeypatch):
    whole = permutation_test_score(LogisticRegression(), X, Y, n_permutations=9)
    monkeypatch.setattr(permutation, "TOGETHER", 2)
    again = permutation_test_score(LogisticRegression(), X, Y, n_permutations=9)
    assert (whole[1] == again[1]).all()


def test_the_least_p_is_one_in_one_more_than_the_permutations():
    X, y = np.arange(60.0)[:, None], np.arange(60) >= 30
    _, _, p = permutation_test_score(LogisticRegression(), X, y, n_permutations=19)
    assert p == 1 / 20


def test_ctrl_c_leaves_the_permutations_that_were_finished(monkeypatch):
    monkeypatch.setattr(permutation, "TOGETHER", 4)
    scores, calls = permutation.PermutationTest.scores, []

    def interrupted(self, codes):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(codes))
        return scores(self, codes)

    monkeypatch.setattr(permutation.PermutationTest, "scores", interrupted)
    with pytest.warns(RuntimeWarning, match="Ctrl-C ended the test after 7 of 50 permutations"):
        _, found, _ = permutation_test_score(LogisticRegression(), X, Y, n_permutations=50)
    assert len(found) == 7
    calls[:] = [0, 0]
    with pytest.raises(KeyboardInterrupt):
        permutation_test_score(LogisticRegression(), X, Y, n_permutations=50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"estimator": TheirLogisticRegression()},
            "pass a metaopt_fast.sklearn.LogisticRegression",
        ),
        ({"estimator": LogisticRegression(l1_ratio=0.5)}, "l1_ratio is 0.5"),
        ({"estimator": SCALED}, "whose splits depend on labels"),
        ({"y": np.arange(90) % 3}, "y holds 3 classes"),
        ({"params": {"sample_weight": np.ones(90)}}, "params is"),
        ({"n_permutations": 0}, "n_permutations is 0"),
        ({"cv": []}, "cv has no splits"),
        ({"X": np.where(X > 6, np.nan, X)}, "X has nan"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(given, message):
    asked = {"estimator": LogisticRegression(), "X": X, "y": Y, **given}
    with pytest.raises((ValueError, TypeError), match=message):
        permutation_test_score(asked.pop("estimator"), asked.pop("X"), asked.pop("y"), **asked)


def test_the_plot_shows_all_permutations_and_the_score_observed():
    score, scores, p = permutation_test_score(LogisticRegression(), X, Y, n_permutations=40)
    ax = plot_permutation_test(score, scores, Figure().subplots())
    assert sum(patch.get_height() for patch in ax.patches) == 40
    (line,) = ax.lines
    assert set(line.get_xdata()) == {score}
    assert line.get_label() == f"observed: p = {p:.3g}"
    assert ax.get_xlabel() == "score"


@pytest.mark.parametrize("scores", [[], [0.5, np.nan]])
def test_a_plot_needs_finite_scores(scores):
    with pytest.raises(ValueError, match="permutation_scores is"):
        plot_permutation_test(0.5, scores)
    with pytest.raises(ValueError, match="score is nan: pass a finite number"):
        plot_permutation_test(np.nan, [0.5])
