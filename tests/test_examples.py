"""The examples: run small, they show what their texts say. The benches run them in full."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def main_of(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_errors_are_not_led_astray_by_labels_that_are_wrong_far_away(capsys):
    errors = main_of("wrong_labels")(n_samples=600, n_features=5, generations=40)
    assert errors["evolve"] < 0.6 * errors["logistic regression"]
    assert "on clean rows" in capsys.readouterr().out


def test_a_limit_on_groups_is_kept_where_it_was_set_and_mostly_elsewhere(capsys):
    figures = main_of("fairness")(n_samples=4000, generations=40)
    logistic, evolved = (figures["search", name] for name in ("logistic regression", "evolve"))
    assert logistic[1] > 0.1 and evolved[1] <= 0.03
    assert figures["held out", "evolve"][1] < figures["held out", "logistic regression"][1]
    assert "held out" in capsys.readouterr().out
