"""Results of searches predict, become models and frames, and show themselves in notebooks."""

import xml.dom.minidom

import numpy as np
import pandas as pd
import pytest

import metaopt_fast as mf
from metaopt_fast.notebook import MOST_ROWS, card

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(60, 3)), columns=["<age>", "b", "c"])
LABELS = np.where(FRAME["b"] - FRAME["c"] + RNG.normal(size=60) / 2 > 0, "yes", "no")


def searched(objective):
    return mf.random_search(objective, mf.Normal(), 500, seed=1, top_k=3)


def evolved(objective):
    return mf.evolve(objective, mf.Normal(), method="cem", population=50, generations=4, seed=1)


@pytest.mark.parametrize("search", [searched, evolved])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_result_predicts_labels_by_the_names_of_columns(search, fit_intercept, tmp_path):
    objective = mf.LogisticLoss(FRAME, LABELS, fit_intercept=fit_intercept)
    result = search(objective)
    decisions = objective.decisions(result.theta, FRAME)
    wanted = np.where(decisions > 0, "yes", "no")
    assert result.predict(FRAME[["c", "b", "<age>"]]).tolist() == wanted.tolist()
    p = 1 / (1 + np.exp(-decisions))
    np.testing.assert_allclose(result.predict_proba(FRAME), np.column_stack([1 - p, p]))
    np.testing.assert_allclose(result.to_sklearn().predict_proba(FRAME)[:, 1], p)
    result.save(tmp_path / "result.npz")
    again = type(result).load(tmp_path / "result.npz")
    assert again.predict(FRAME).tolist() == wanted.tolist()
    assert again.model().features == ("<age>", "b", "c")


def test_counts_have_classes_but_no_probabilities():
    counts = mf.ConfusionCounts(FRAME, LABELS, fit_intercept=True)
    result = searched(mf.CountObjective(counts))
    assert np.mean(result.predict(FRAME) != LABELS) == pytest.approx(result.loss)
    with pytest.raises(ValueError, match="not trained for probabilities"):
        result.predict_proba(FRAME)
    area = searched(mf.AUCObjective(FRAME.to_numpy(), LABELS))
    assert set(area.predict(FRAME.to_numpy()).tolist()) <= {"yes", "no"}


def test_of_many_classes_each_has_its_probability():
    y = np.arange(60) % 3
    objective = mf.SoftmaxLoss(FRAME, y, fit_intercept=True)
    result = searched(objective)
    decisions = objective.decisions(result.theta, FRAME)
    assert result.predict(FRAME).tolist() == decisions.argmax(axis=1).tolist()
    assert result.predict_proba(FRAME).shape == (60, 3)
    assert "<table>" not in result._repr_html_()


def descended(objective):
    starts = objective.starts() if isinstance(objective, mf.NetworkLoss) else None
    return mf.gradient_descent(objective, starts, learning_rate=0.5, max_iter=20)


@pytest.mark.parametrize("search", [searched, evolved, descended])
@pytest.mark.parametrize("n_classes", [None, 3])
def test_a_network_predicts_by_the_names_of_columns(search, n_classes, tmp_path):
    y = LABELS if n_classes is None else np.arange(60) % 3
    objective = mf.NetworkLoss(FRAME, y, n_hidden=3, n_classes=n_classes)
    result = search(objective)
    decisions = objective.decisions(result.theta, FRAME)
    if n_classes is None:
        wanted = np.where(decisions > 0, "yes", "no")
        p = 1 / (1 + np.exp(-decisions))
        np.testing.assert_allclose(result.predict_proba(FRAME)[:, 1], p)
    else:
        wanted = decisions.argmax(axis=1)
    shuffled = FRAME[["c", "b", "<age>"]]
    assert result.predict(shuffled).tolist() == wanted.tolist()
    np.testing.assert_allclose(
        result.to_sklearn().predict_proba(FRAME), result.predict_proba(FRAME), rtol=1e-10
    )
    assert "<svg" in result._repr_html_()
    result.model().save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.predict_proba(shuffled).tobytes() == result.predict_proba(FRAME).tobytes()


def test_descents_predict_by_the_best_of_them():
    objective = mf.LogisticLoss(FRAME, LABELS, fit_intercept=True)
    runs = mf.gradient_descent(objective, np.zeros((3, 4)), max_iter=30, l2=[1.0, 0.0, 0.1])
    best = runs[runs.best]
    assert runs.best == 1 and runs.predict(FRAME).tolist() == best.predict(FRAME).tolist()
    wanted = objective.decisions(best.theta, FRAME) > 0
    assert best.predict(FRAME).tolist() == np.where(wanted, "yes", "no").tolist()
    assert best.predict_proba(FRAME).tobytes() == runs.predict_proba(FRAME).tobytes()
    assert best.model().features == ("<age>", "b", "c")
    held_out = mf.LogisticLoss(FRAME[::2], LABELS[::2], fit_intercept=True)
    judged = mf.gradient_descent(objective, np.zeros((2, 4)), max_iter=9, validation=held_out)
    assert judged.predict(FRAME).tolist() == judged[0].predict(FRAME).tolist()


class Slope:
    """An objective that does not say what its parameters are."""

    n_params = 2

    def loss_gradient(self, theta):
        return float(theta @ theta), 2 * theta


def test_an_objective_of_ones_own_has_no_model():
    class Distance:
        n_params = 2

        def batch_loss(self, thetas):
            return (thetas**2).sum(axis=1)

    result = searched(Distance())
    with pytest.raises(ValueError, match=r"'Distance', which does not say .* use result.theta"):
        result.predict([[1.0, 2.0]])
    assert "<svg" in result._repr_html_()
    run = mf.gradient_descent(Slope(), np.ones(2), learning_rate=0.1)
    with pytest.raises(ValueError, match=r"'Slope', which does not say .* use result.theta"):
        run.predict([[1.0, 2.0]])
    assert list(result.to_frame().columns) == ["index", "loss", "theta_0", "theta_1"]


def test_what_is_usual_is_not_in_the_configuration():
    X = FRAME.to_numpy()
    assert not {"classes", "feature_names"} & set(searched(mf.LogisticLoss(X, [0, 1] * 30)).config)
    assert searched(mf.LogisticLoss(X, [False, True] * 30)).config["classes"] == [False, True]
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    with pytest.raises((TypeError, ValueError)):
        mf.LogisticLoss(X, days[[0, 1] * 30])


def test_a_checkpoint_without_names_goes_on_with_them(tmp_path):
    X = FRAME.to_numpy()
    options = {"seed": 0, "top_k": 2, "checkpoint": tmp_path / "search.db"}
    first = mf.random_search(mf.LogisticLoss(X, [0, 1] * 30), mf.Normal(), 300, **options)
    named = mf.LogisticLoss(FRAME, [0, 1] * 30)
    again = mf.random_search(named, mf.Normal(), 300, **options)
    assert again.top.tolist() == first.top.tolist()


def test_frames_have_a_row_for_each_candidate():
    frame = searched(mf.LogisticLoss(FRAME, LABELS, fit_intercept=True)).to_frame()
    names = ["index", "loss", "theta_<age>", "theta_b", "theta_c", "theta_intercept"]
    assert list(frame.columns) == names and len(frame) == 3
    frame = evolved(mf.LogisticLoss(FRAME, LABELS)).to_frame()
    assert list(frame.columns)[:3] == ["generation", "index", "loss"]
    runs = mf.gradient_descent(mf.LogisticLoss(FRAME, LABELS), np.zeros((4, 3)), max_iter=3)
    assert runs.to_frame()["n_iter"].tolist() == runs.n_iter.tolist()
    assert len(runs[0].to_frame()) == 1


def results():
    objective = mf.LogisticLoss(FRAME, LABELS, fit_intercept=True)
    yield searched(objective)
    yield evolved(objective)
    yield mf.gradient_descent(objective, max_iter=5)
    yield mf.gradient_descent(objective, np.zeros((3, 4)), max_iter=5)
    yield mf.fit_many(FRAME, LABELS, l2=[0.0, 1e-3, 1e-1], folds=3)
    yield mf.fit_many(FRAME, LABELS, l2=[1e-3, 1e-1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_notebooks_show_text_coefficients_and_a_line_all_escaped():
    for result in results():
        shown = result._repr_html_()
        page = xml.dom.minidom.parseString(shown)
        text = page.getElementsByTagName("pre")[0].firstChild.data
        assert text == repr(result)
        points = page.getElementsByTagName("polyline")[0].getAttribute("points").split()
        assert len(points) >= 2
        for point in points:
            x, y = map(float, point.split(","))
            assert 0 <= x <= 320 and 0 <= y <= 120
    assert "&lt;age&gt;" in next(results())._repr_html_()


def test_a_card_takes_any_numbers():
    many = [(f"x{j}", float(j)) for j in range(MOST_ROWS + 5)]
    shown = card("", many, [(0.0, 1e308), (1.0, -1e308), (2.0, np.inf), (3.0, 0.0)])
    assert "(5 more)" in shown and "nan" not in shown
    assert shown.index("x16") < shown.index("x15")
    assert "svg" not in card("", [], [(0.0, np.nan), (1.0, 2.0)])
    flat = card("", [], [(k, 1.0) for k in range(2000)])
    assert flat.count(",") <= 400
