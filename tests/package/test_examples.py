"""The examples: run small, they show what their texts say. The benches run them in full."""

import runpy
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")
from matplotlib import pyplot

EXAMPLES = Path(__file__).parents[2] / "examples"


def main_of(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture
def picture():
    """A function that lets an example draw what it found, and checks the axes."""

    def draw(name, found):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))["draw"](found)
        ax = pyplot.gca()
        assert ax.get_xlabel() or ax.get_ylabel()
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))

    yield draw
    pyplot.close("all")


@pytest.mark.long(everywhere=True)
def test_errors_are_not_led_astray_by_labels_that_are_wrong_far_away(capsys, picture):
    errors = main_of("wrong_labels")(n_samples=600, n_features=5, generations=40)
    assert errors["evolve"] < 0.6 * errors["logistic regression"]
    assert "on clean rows" in capsys.readouterr().out
    picture("wrong_labels", errors)


@pytest.mark.long(everywhere=True)
def test_a_limit_on_groups_is_kept_where_it_was_set_and_mostly_elsewhere(capsys, picture):
    figures = main_of("fairness")(n_samples=4000, generations=40)
    logistic, evolved = (figures["search", name] for name in ("logistic regression", "evolve"))
    assert logistic[1] > 0.1 and evolved[1] <= 0.03
    assert figures["held out", "evolve"][1] < figures["held out", "logistic regression"][1]
    assert "held out" in capsys.readouterr().out
    picture("fairness", figures)


@pytest.mark.long(everywhere=True)
def test_the_best_scorecard_has_the_least_loss_on_the_rows_that_chose_it(capsys, picture):
    losses = main_of("scorecard")(n_features=5, max_points=2, max_intercept=6)
    best, rounded = losses.values()
    assert best[0] <= rounded[0]
    assert "certified: True" in capsys.readouterr().out
    picture("scorecard", losses)


@pytest.mark.long(everywhere=True)
def test_what_tasks_have_in_common_helps_models_of_few_rows(capsys, picture):
    losses = main_of("tasks")(("branches",), n_seeds=1, n_tasks=16, n_each=2, n_iter=3)
    (alone,), (learned,) = (losses[name]["branches"] for name in ("models alone", "learn_prior"))
    assert learned < 0.9 * alone
    assert "Reptile" in capsys.readouterr().out
    picture("tasks", losses)


@pytest.mark.long
def test_a_large_search_goes_on_where_it_was_stopped(tmp_path, capsys):
    main = main_of("large_search")
    path = tmp_path / "search.sqlite"
    n_candidates, seconds, first = 1_000_000, 0.1, None
    while first is None:
        try:
            first = main(n_candidates=n_candidates, path=path, n_workers=1, seconds=seconds)
        except TimeoutError:  # before the worker had begun
            seconds *= 2
    assert 0 < first.n_evaluated < n_candidates
    assert "run it again" in capsys.readouterr().out
    resumed = main(n_candidates=n_candidates, path=path, n_workers=2)
    whole = main(n_candidates=n_candidates, path=tmp_path / "other.sqlite", n_workers=2)
    assert resumed.top.tobytes() == whole.top.tobytes()
    assert "Scorecard of" in capsys.readouterr().out


@pytest.mark.long(everywhere=True)
def test_penalties_by_source_pay_where_sources_differ_and_cost_little_where_they_do_not(
    capsys, picture
):
    losses = main_of("sources")(n_samples=200, n_fresh=1000)
    common, by_source = losses["two sources tell"]
    assert by_source < common - 0.02
    common, by_source = losses["all tell alike"]
    assert by_source < common + 0.01
    assert "log loss on fresh rows" in capsys.readouterr().out
    picture("sources", losses)


@pytest.mark.long
def test_both_searches_find_the_same_penalty(capsys, picture):
    searches = main_of("tuning")(n_iter=12)
    theirs, ours = searches.values()
    assert ours.best_params_ == theirs.best_params_
    assert abs(ours.best_score_ - theirs.best_score_) < 1e-4
    assert "proven" in capsys.readouterr().out
    picture("tuning", searches)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the network was still improving")
def test_where_the_boundary_is_a_ring_networks_and_trees_err_less(capsys, picture):
    figures = main_of("metamodels")(n_iter=4, n_samples=300, n_seeds=1)
    rates = {name: rate for (data, name), (rate, _, _) in figures.items() if data == "rings"}
    assert rates["network, 16 units"] < rates["logistic regression"] - 0.1
    assert rates["tree of 3 questions"] < rates["support vector machine"] - 0.1
    assert all(low <= rate <= high for rate, low, high in figures.values())
    picture("metamodels", figures)
    assert "held out" in capsys.readouterr().out
