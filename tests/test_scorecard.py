"""Points tables: what they hold, what they print, and the example of one."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from searches import problem
from test_bad_input import assert_refused

import metaopt_fast as mf

EXAMPLE = Path(__file__).parents[1] / "examples" / "scorecard.py"
THETA = [2, 0, -1, 5, -3]
X = np.array([[1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]])
Y = np.array([1, 0, 1, 0, 0])


def card(**options):
    return mf.Scorecard.from_theta(THETA, list("abcd"), fit_intercept=True, **options)


def test_scores_and_risks_are_those_of_the_model():
    assert card().score(X).tolist() == [1, -1, 7, 0, 1]
    margins = np.column_stack([X, np.ones(5)]) @ THETA
    np.testing.assert_allclose(card().risk(X), 1 / (1 + np.exp(-margins)), rtol=1e-15)
    assert card().predict(X).tolist() == [0, 0, 1, 0, 0]
    # A risk of one half is not above it.
    assert card().predict([[1, 0, 0, 0], [1, 0, 0, 0.2], [2, 0, 1, 0]]).tolist() == [0, 0, 0]
    assert card().risk([[2, 0, 1, 0]]).tolist() == [0.5]


def test_the_table_has_every_score_of_zeros_and_ones():
    table = card()
    every = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
    assert table.scores.tolist() == np.unique(table.score(every)).tolist()
    np.testing.assert_allclose(table.risks, 1 / (1 + np.exp(3 - table.scores)), rtol=1e-15)
    assert table.counts is None and table.observed is None


def test_rows_that_are_given_are_counted():
    table = card(X=X, y=Y)
    assert table.scores.tolist() == [-1, 0, 1, 7]
    assert table.counts.tolist() == [1, 1, 2, 1]
    assert table.observed.tolist() == [0, 0, 0.5, 1]
    weights = table.counts / table.counts.sum()
    assert weights @ table.observed == pytest.approx(Y.mean())


def test_the_text_has_each_feature_that_counts_and_each_score():
    text = card(X=X, y=Y).to_text()
    assert repr(card(X=X, y=Y)) == text
    assert "3 features out of 4" in text
    for line in ("      +2  a", "      -1  c", "      +5  d", "       7   98.2%    100.0%     1"):
        assert line in text.split("\n")
    assert "  b" not in text
    assert "risk = 1 / (1 + exp(-(score - 3)))" in text
    assert "exp(-score)" in repr(mf.Scorecard.from_theta([1]))


def test_long_tables_are_shown_in_part_and_kept_whole():
    long = mf.Scorecard.from_theta(2 ** np.arange(10))
    assert len(long.scores) == 1024
    assert "(40 of 1,024 scores)" in repr(long)
    assert len(repr(long).split("\n")) < 60
    scores = [line.split()[0] for line in repr(long).splitlines() if line.endswith("%")]
    assert (scores[0], scores[-1], len(scores)) == ("0", "1,023", 40)


def test_a_dict_is_json_and_has_all_of_it():
    found = json.loads(json.dumps(card(X=X, y=Y).to_dict()))
    assert found["points"] == {"a": 2, "c": -1, "d": 5}
    assert found["intercept"] == -3
    assert found["table"][2] == {
        "score": 1,
        "risk": pytest.approx(1 / (1 + np.exp(2))),
        "count": 2,
        "observed": 0.5,
    }
    assert list(card().to_dict()["table"][0]) == ["score", "risk"]


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_result_makes_its_scorecard(fit_intercept):
    rows, y = problem(80, 3)
    rows = (rows > 0).astype(float)
    objective = mf.LogisticLoss(rows, y, fit_intercept=fit_intercept)
    result = mf.enumerate_search(objective, -2, 2)
    table = result.scorecard(["a", "b", "c"], X=rows, y=y)
    assert table.points.tolist() == result.theta[:3].tolist()
    assert table.intercept == (result.theta[3] if fit_intercept else 0)
    p = table.risk(rows)
    loss = -np.log(np.where(y, p, 1 - p)).mean()
    assert loss == pytest.approx(result.loss, rel=1e-12)


def test_a_result_of_fractions_has_none():
    objective = mf.LogisticLoss(*problem(80, 3))
    with pytest.raises(ValueError, match=r"theta has .* as entry 0, and points are whole numbers"):
        mf.random_search(objective, mf.Normal(), 10).scorecard()


def test_large_scores_have_risks_of_0_and_1():
    table = mf.Scorecard.from_theta([2**31, -(2**31)])
    assert table.risks.tolist() == [0, 0.5, 1]


def test_points_of_0_count_for_nothing():
    table = mf.Scorecard.from_theta([0, 1])
    assert not np.signbit(mf.Scorecard.from_theta([-1]).score([[0.0]])).any()
    assert table.score([[np.nan, 1.0]]).tolist() == [1]
    empty = mf.Scorecard.from_theta([0, 0])
    assert (empty.scores.tolist(), empty.risks.tolist()) == ([0], [0.5])


@pytest.mark.parametrize(
    ("theta", "options"),
    [
        ([0.5, 1], {}),
        ([np.nan], {}),
        ([np.inf], {}),
        ([2.0**40], {}),
        ([[1, 2]], {}),
        ([], {}),
        ([1], {"fit_intercept": True}),
        ("abc", {}),
        ([1, 2], {"names": ["a"]}),
        ([1, 2], {"names": ["a", "a"]}),
        ([1, 2], {"names": "ab"}),
        ([1, 2], {"names": [1, 2]}),
        ([1, 2], {"names": 3}),
        ([1, 2], {"fit_intercept": 1}),
        ([1, 2], {"X": [[1, 2]]}),
        ([1, 2], {"y": [1, 0]}),
        ([1, 2], {"X": [[1], [0]], "y": [1, 0]}),
        ([1, 2], {"X": [[1, 2], [0, np.nan]], "y": [1, 0]}),
        ([1, 2], {"X": [[1, 2], [0, 1]], "y": [1, 1]}),
        ([2, -2], {"X": [[1e308, 1e308], [0, 1]], "y": [1, 0]}),
        (2 ** np.arange(20), {}),
        ([1], {"X": np.arange(20_000)[:, None], "y": np.arange(20_000) % 2}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_arguments_are_refused_in_a_sentence(theta, options):
    assert_refused(mf.Scorecard.from_theta, theta, **options)


def test_a_search_of_counts_makes_a_scorecard_with_its_intercept():
    counts = mf.ConfusionCounts([[1, 0], [0, 1], [1, 1]], [1, 0, 1], fit_intercept=True)
    result = mf.random_search(mf.CountObjective(counts, "error"), mf.Integers(-2, 2), 100)
    table = result.scorecard(["a", "b"])
    assert (*table.points.tolist(), table.intercept) == tuple(result.theta)


def test_the_example_prints_both_scorecards(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    losses = main(n_features=5, max_points=2, max_lines=3, max_intercept=3)
    printed = capsys.readouterr().out
    assert losses["best of all"] <= losses["logistic fit, rounded"]
    assert "certified: True" in printed
    for name, loss in losses.items():
        assert f"{name:24}{loss:13.4f}" in printed
