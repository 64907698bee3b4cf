"""Values of rows: exact games, leave-one-out, and rows of wrong labels."""

import itertools
import math

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.fitting import data_values as module


def problem(n_train=40, n_wrong=0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_train + 200, 3))
    y = X[:, 0] + 0.3 * rng.logistic(size=len(X)) > 0
    y[:n_wrong] = ~y[:n_wrong]
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


def loss(theta, X, y):
    return mf.LogisticLoss(X, y, fit_intercept=True).loss(theta)


def exact_game(X, y, X_val, y_val, l2):
    """What every subset is worth, by its rows: one fit after the other."""
    worth = {}
    for rows in itertools.product([0, 1], repeat=len(y)):
        chosen = np.array(rows, bool)
        theta = np.zeros(X.shape[1] + 1)
        if len(set(y[chosen])) == 2:
            theta = mf.fit_many(X[chosen], y[chosen], l2=l2).theta[0]
        worth[rows] = -loss(theta, X_val, y_val)
    return worth


def with_row(rows, i):
    return (*rows[:i], 1, *rows[i + 1 :])


def test_leave_one_out_is_a_fit_without_each_row():
    X, y, X_val, y_val = problem()
    found = mf.data_values(X, y, X_val, y_val, l2=0.1, method="loo")
    whole = -loss(mf.fit_many(X, y, l2=0.1).theta[0], X_val, y_val)
    assert found.utility == pytest.approx(whole, abs=1e-8)
    for k in (0, 39):
        theta = mf.fit_many(np.delete(X, k, axis=0), np.delete(y, k), l2=0.1).theta[0]
        assert found.values[k] == pytest.approx(whole + loss(theta, X_val, y_val), abs=1e-8)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("method", ["banzhaf", "shapley"])
def test_values_of_eight_rows_are_those_of_the_game_of_all_subsets(method):
    X, y, X_val, y_val = problem(8, seed=3)
    worth = exact_game(X, y, X_val, y_val, 0.1)
    exact = np.zeros(8)
    for i, (rows, value) in itertools.product(range(8), worth.items()):
        if not rows[i]:
            size = sum(rows)
            weight = 1 / (8 * math.comb(7, size)) if method == "shapley" else 1 / 2**7
            exact[i] += weight * (worth[with_row(rows, i)] - value)
    found = mf.data_values(X, y, X_val, y_val, l2=0.1, method=method, n_subsets=6000)
    assert (np.abs(found.values - exact) <= 4 * found.standard_error + 1e-9).all()
    assert (found.standard_error < 0.02).all()


def test_shapley_values_sum_to_what_all_rows_are_worth():
    X, y, X_val, y_val = problem(20)
    found = mf.data_values(X, y, X_val, y_val, l2=0.1, method="shapley", n_subsets=40)
    assert found.values.sum() == pytest.approx(found.utility + math.log(2), abs=1e-12)


@pytest.mark.parametrize("utility", ["neg_log_loss", "accuracy"])
def test_rows_of_wrong_labels_have_low_values(utility):
    X, y, X_val, y_val = problem(100, n_wrong=10)
    found = mf.data_values(X, y, X_val, y_val, l2=0.1, utility=utility, n_subsets=1500)
    lowest = np.argsort(found.values)[:10]
    assert np.count_nonzero(lowest < 10) >= 5


def test_subsets_depend_on_the_seed_alone(monkeypatch):
    data = problem(20)
    whole = mf.data_values(*data, l2=0.1, n_subsets=100)
    monkeypatch.setattr(module.Banzhaf, "size", lambda self, batch: 7)
    again = mf.data_values(*data, l2=0.1, n_subsets=100)
    assert whole.values == pytest.approx(again.values, abs=1e-14)


def test_ctrl_c_leaves_the_subsets_that_were_finished(monkeypatch):
    add = module.Banzhaf.add

    def interrupted(self, first, count):
        if first >= 20:
            raise KeyboardInterrupt
        add(self, first, count)

    monkeypatch.setattr(module.Banzhaf, "size", lambda self, batch: 10)
    monkeypatch.setattr(module.Banzhaf, "add", interrupted)
    found = mf.data_values(*problem(20), l2=0.1, n_subsets=1000)
    assert found.interrupted
    assert found.n_models <= 21
    assert "interrupted" in repr(found)


@pytest.mark.parametrize(
    ("method", "rounds", "says"),
    [
        ("loo", 39, False),
        ("shapley", 0, False),
        ("shapley", 1, True),
        ("banzhaf", 0, False),
    ],
)
def test_ctrl_c_leaves_values_where_there_are_some_of_all_rows(method, rounds, says, monkeypatch):
    kind = {"loo": module.LeaveOneOut, "shapley": module.Shapley, "banzhaf": module.Banzhaf}[method]
    add = kind.add

    def interrupted(self, first, count):
        if first >= rounds:
            raise KeyboardInterrupt
        add(self, first, count)

    monkeypatch.setattr(kind, "size", lambda self, batch: 1)
    monkeypatch.setattr(kind, "add", interrupted)
    asked = {"l2": 0.1, "method": method}
    if says:
        found = mf.data_values(*problem(), **asked)
        assert found.values.shape == (40,) and np.isfinite(found.values).all()
        assert np.isinf(found.standard_error).all()  # of one order
    else:
        with pytest.raises(KeyboardInterrupt):
            mf.data_values(*problem(), **asked)


def test_values_draw_themselves():
    pytest.importorskip("matplotlib").use("Agg")
    ax = mf.data_values(*problem(20), l2=0.1, n_subsets=40).plot()
    assert len(ax.lines[0].get_xdata()) == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "owen"}, "method is 'owen'"),
        ({"utility": "auc"}, "utility is 'auc'"),
        ({"X_val": np.ones((4, 2)), "y_val": [0, 1, 0, 1]}, "X_val has 2 columns, but X has 3"),
        ({"y_val": np.arange(200) % 2 + 2}, "y_val holds"),
        ({"n_subsets": 1}, "n_subsets is 1"),
    ],
)
def test_what_is_wrong_is_said(given, message):
    X, y, X_val, y_val = problem()
    with pytest.raises(ValueError, match=message):
        mf.data_values(**{"X": X, "y": y, "X_val": X_val, "y_val": y_val, "l2": 0.1, **given})
