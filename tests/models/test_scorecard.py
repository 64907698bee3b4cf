"""Points tables: what they hold, what they print, and the example of one."""

import json
import runpy
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import assert_refused
from searches import problem

import metaopt_fast as mf

EXAMPLE = Path(__file__).parents[2] / "examples" / "scorecard.py"
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
        ([2, 2], {"X": [[1e308, 1e308], [0, 1]], "y": [1, 0]}),
        (2 ** np.arange(20), {}),
        ([1], {"X": np.arange(20_000)[:, None], "y": np.arange(20_000) % 2}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_arguments_are_refused_in_a_sentence(theta, options):
    assert_refused(mf.Scorecard.from_theta, theta, **options)


# ----------------------------------------------------------------------- columns by their names

FRAMES = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "polars": lambda columns: pl.DataFrame(columns),
    "pyarrow": lambda columns: pa.table(columns),
}
COLUMNS = {name: X[:, j] for j, name in enumerate("abcd")}


@pytest.mark.parametrize("kind", sorted(FRAMES))
def test_columns_of_frames_are_found_by_their_names(kind):
    rng = np.random.default_rng(0)
    for order in ("abcd", "dcba", "cdab", "xdbac", "acd"):  # b has no points
        columns = {n: COLUMNS.get(n, rng.normal(size=len(X))) for n in order}
        frame = FRAMES[kind](columns)
        np.testing.assert_array_equal(card().score(frame), card().score(X))
        np.testing.assert_array_equal(card().risk(frame), card().risk(X))
        np.testing.assert_array_equal(card().predict(frame), card().predict(X))
        table = card(X=frame, y=Y)
        assert table.counts.tolist() == card(X=X, y=Y).counts.tolist()


@pytest.mark.parametrize("kind", sorted(FRAMES))
def test_a_frame_without_a_column_is_refused_by_its_name(kind):
    frame = FRAMES[kind]({"a": X[:, 0], "age\n": X[:, 1], "c": X[:, 2], "e": X[:, 3]})
    with pytest.raises(ValueError, match=r"X has no column 'd' \(it has 'a', 'age\\n', 'c', 'e'\)"):
        card().score(frame)
    with pytest.raises(ValueError, match="no column 'd'"):
        card(X=frame, y=Y)


def test_two_columns_of_one_name_are_refused():
    frame = pd.DataFrame(np.column_stack([X, X[:, 0]]), columns=list("abcda"))
    with pytest.raises(ValueError, match="X has two columns named 'a': drop one"):
        card().risk(frame)


def test_a_scorecard_takes_its_names_from_a_frame():
    frame = pd.DataFrame(X, columns=["fever", "cough", "age", "smoker"])
    table = mf.Scorecard.from_theta(THETA, fit_intercept=True, X=frame, y=Y)
    assert table.names == ("fever", "cough", "age", "smoker")
    assert table.score(frame[["smoker", "age", "cough", "fever"]]).tolist() == [1, -1, 7, 0, 1]


@pytest.mark.parametrize(
    "names", [[0, 1, 2, 3], [3, 0, 2, 1], [10, 30, 20, 7], [("a", 0), ("b", 1), ("a", 1), ("b", 0)]]
)
def test_columns_whose_names_are_no_strings_are_found_by_them_too(names):
    X, y = np.random.default_rng(0).integers(0, 2, (40, 4)), np.arange(40) % 2
    frame = pd.DataFrame({name: X[:, j] for j, name in enumerate(names)})
    made = mf.Scorecard.from_theta([1, -2, 3, 4], X=frame, y=y)
    assert made.score(frame[frame.columns[[2, 0, 3, 1]]]).tolist() == made.score(X).tolist()
    with pytest.raises(ValueError, match="X has no column"):
        made.score(frame.set_axis(list("abcd"), axis=1))


def test_a_result_names_its_scorecard_by_the_frame_of_its_objective():
    frame = pd.DataFrame(X, columns=["fever", "cough", "age", "smoker"])
    found = mf.enumerate_search(mf.LogisticLoss(frame, Y, fit_intercept=True), -1, 1)
    assert found.scorecard().names == tuple(frame.columns)
    assert found.scorecard(X=X, y=Y).names == tuple(frame.columns)
    # Names that are given, and those of the rows, go before.
    assert found.scorecard(list("abcd")).names == tuple("abcd")
    renamed = frame.set_axis(list("wxyz"), axis=1)
    assert found.scorecard(X=renamed, y=Y).names == tuple("wxyz")
    of_array = mf.enumerate_search(mf.LogisticLoss(X, Y, fit_intercept=True), -1, 1)
    assert of_array.scorecard().names == ("x0", "x1", "x2", "x3")


def test_without_names_on_both_sides_columns_go_by_position():
    nameless = mf.Scorecard.from_theta(THETA, fit_intercept=True)
    frame = pd.DataFrame(X, columns=list("dcba"))
    assert nameless.score(frame).tolist() == card().score(pd.DataFrame(X)).tolist()
    for wrong in (frame[["a", "b"]], X[:, :2]):
        with pytest.raises(ValueError, match="X has 2 columns, but the scorecard has 4 features"):
            nameless.score(wrong)


def test_scores_of_fractions_are_summed_in_the_order_of_the_features():
    rng = np.random.default_rng(1)
    rows, points = rng.normal(size=(9000, 5)), np.array([3, -1, 0, 7, 2])
    exact = [sum(Fraction(x) * int(p) for x, p in zip(row, points, strict=True)) for row in rows]
    scores = mf.Scorecard.from_theta(points).score(rows)
    np.testing.assert_allclose(scores, [float(e) for e in exact], rtol=1e-12, atol=1e-14)
    large = mf.Scorecard.from_theta([2, -2]).score([[8e307, 8e307], [1e307, 0], [8e307, 1e307]])
    np.testing.assert_allclose(large, [0, 2e307, 1.4e308], rtol=1e-15)


# ----------------------------------------------------------------------------- what the text tells


def lines_of(table):
    """The words of each line of the table of scores."""
    text = table.to_text().split("\n\n")[2].splitlines()
    return [line.split() for line in text[1:] if not line.startswith("  (")]


@pytest.mark.long(everywhere=True)
@given(
    scores=st.lists(
        st.one_of(
            st.integers(-(10**9), 10**9).map(float),
            st.floats(-20, 20),
            st.floats(1e6, 1e7),
            st.sampled_from([0.1 + 0.2, 0.3, 1e6, 1234567.0, 1234567.25, 1e15, 1e-9, 2.0**60]),
        ),
        min_size=2,
        max_size=60,
    ),
    y=st.randoms(use_true_random=False),
)
def test_lines_of_unlike_scores_and_risks_look_unlike(scores, y):
    X = np.array(scores)[:, None]
    labels = [y.randint(0, 1) for _ in scores]
    labels[:2] = [0, 1]
    table = mf.Scorecard.from_theta([1], X=X, y=labels)
    lines = lines_of(table)
    shown = np.arange(len(table.scores))
    if len(shown) > 40:
        shown = np.unique(np.linspace(0, len(shown) - 1, 40).astype(int))
    assert len({line[0] for line in lines}) == len(lines) == len(shown)
    for (a, b), (k, m) in zip(pairwise(lines), pairwise(shown), strict=True):
        percents = [float(line[1][:-1]) for line in (a, b)]
        assert (percents[0] < percents[1]) == (table.risks[k] < table.risks[m])
    for line, k in zip(lines, shown, strict=True):
        assert float(line[0].replace(",", "")) == pytest.approx(
            table.scores[k], rel=1e-5, abs=1e-320
        )
        assert float(line[1][:-1]) / 100 == pytest.approx(table.risks[k], abs=6e-4)
        assert "e" not in line[0] or not 1e-4 < abs(table.scores[k]) < 2**53


def test_risks_near_0_and_1_keep_what_tells_them_apart():
    table = mf.Scorecard.from_theta([9, 1, 8, -30])
    risks = [line[1] for line in lines_of(table)]
    assert risks[:3] == ["9.4e-12%", "2.5e-11%", "2.8e-08%"]
    assert risks[-4:] == ["99.99%", "99.995%", "99.999996%", "99.999998%"]


def test_names_reach_a_terminal_escaped():
    names = ["a\nb", "c\x1b[31m", "\u202egnirts", "plain: 100 %"]
    text = mf.Scorecard.from_theta([1, 2, 3, 4], names).to_text()
    assert all(line.isprintable() for line in text.split("\n"))
    shown = [line.split("  ")[-1] for line in text.splitlines()[3:7]]
    assert shown == [r"'a\nb'", r"'c\x1b[31m'", r"'\u202egnirts'", "plain: 100 %"]


def test_a_search_of_counts_makes_a_scorecard_with_its_intercept():
    counts = mf.ConfusionCounts([[1, 0], [0, 1], [1, 1]], [1, 0, 1], fit_intercept=True)
    result = mf.random_search(mf.CountObjective(counts, "error"), mf.Integers(-2, 2), 100)
    table = result.scorecard(["a", "b"])
    assert (*table.points.tolist(), table.intercept) == tuple(result.theta)


def test_the_example_prints_both_scorecards(capsys):
    main = runpy.run_path(str(EXAMPLE))["main"]
    losses = main(n_features=5, max_points=2, max_lines=3, max_intercept=3)
    printed = capsys.readouterr().out
    assert losses["best of all"][0] <= losses["logistic fit, rounded"][0]
    assert "certified: True" in printed
    for name, (of_training, held_out) in losses.items():
        line = next(line for line in printed.splitlines() if line.startswith(name))
        assert line.split()[-4::2] == [f"{of_training:.4f}", f"{held_out:.4f}"]


def test_an_evolution_of_whole_numbers_has_a_card_of_the_same_names():
    frame = pd.DataFrame(X, columns=["fever", "cough", "age", "rash"])
    objective = mf.LogisticLoss(frame, Y, fit_intercept=True)
    options = {"method": "integer_local_search", "generations": 3, "population": 32}
    found = mf.evolve(objective, mf.Integers(-3, 3), **options)
    made = found.scorecard(X=frame, y=Y)
    assert made.names == tuple(frame.columns) and made.intercept == found.theta[-1]
    assert made.points.tolist() == found.theta[:-1].tolist()
    assert made.counts.sum() == len(Y)
