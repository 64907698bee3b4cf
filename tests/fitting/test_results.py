"""What a result of many fits tells: the best of its models, frames, pictures, folds."""

import sys

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

import metaopt_fast as mf
from metaopt_fast.datasets import load_breast_cancer


@pytest.fixture(scope="module")
def rows():
    X, y, names = load_breast_cancer()
    return mf.standardize(X)[0], np.array(y), names


@pytest.fixture(scope="module")
def fits(rows):
    X, y, _ = rows
    return mf.fit_many(X, y, l2=np.logspace(-5, 0, 11), folds=5)


@pytest.mark.parametrize("n_folds", [2, 3, 7])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_number_of_folds_means_those_of_scikit_learn(n_folds, n_classes):
    rng = np.random.default_rng(n_folds)
    y = np.concatenate([np.arange(n_classes).repeat(n_folds), rng.integers(0, n_classes, 40)])
    y = np.array(["c", "a", "b"])[rng.permutation(y)]
    X = rng.normal(size=(len(y), 3))
    fits = mf.fit_many(X, y, l2=[0.1, 1.0], folds=n_folds)
    expected = np.empty(len(y), int)
    for fold, (_, test) in enumerate(StratifiedKFold(n_folds).split(X, y)):
        expected[test] = fold
    assert fits.folds.tolist() == expected.tolist()
    given = mf.fit_many(X, y, l2=[0.1, 1.0], folds=expected)
    assert given.theta.tobytes() == fits.theta.tobytes()
    assert mf.fit_many(X, y, l2=1.0).folds is None


@pytest.mark.parametrize("folds", [1, 0, -5, 570, True, 2.0])
def test_a_number_of_folds_is_one_from_two_to_the_rows(rows, folds):
    X, y, _ = rows
    with pytest.raises((ValueError, TypeError), match="folds"):
        mf.fit_many(X, y, l2=1.0, folds=folds)


@pytest.mark.sanitized
def test_the_best_model_has_the_least_mean_loss_of_the_rows_left_out(fits):
    means = fits.validation_loss.mean(axis=1)
    best = fits.best()
    assert means[best] == means.min()
    simple = fits.best(one_standard_error=True)
    error = fits.validation_loss[best].std(ddof=1) / np.sqrt(5)
    good = np.flatnonzero(means <= means[best] + error)
    assert simple == good.max() > best  # l2 grows with the number


def test_one_standard_error_compares_models_of_one_part_of_l1(rows):
    X, y, _ = rows
    total = np.logspace(-4, -1, 7)
    part = np.tile([0.0, 0.5, 1.0], 7)
    both = np.repeat(total, 3)
    fits = mf.fit_many(X, y, l2=both * (1 - part), l1=both * part, folds=5)
    best, simple = fits.best(), fits.best(one_standard_error=True)
    assert part[simple] == part[best] and both[simple] >= both[best]
    means = fits.validation_loss.mean(axis=1)
    error = fits.validation_loss[best].std(ddof=1) / np.sqrt(5)
    good = (part == part[best]) & (means <= means[best] + error)
    assert both[simple] == both[good].max()


@pytest.mark.sanitized
def test_penalties_are_kept_as_they_were_given(rows):
    X, y, _ = rows
    fits = mf.fit_many(X, y, l2=[0.1, 1.0], l1=0.01)
    assert (fits.l2.tolist(), fits.l1.tolist()) == ([0.1, 1.0], [0.01, 0.01])
    of_folds = np.array([[0.1, 0.2], [0.3, 0.4]])
    fits = mf.fit_many(X, y, l2=of_folds, folds=2)
    assert fits.l2.tolist() == of_folds.tolist() and fits.l1.tolist() == [0.0, 0.0]
    assert fits.to_frame()["l2"].tolist() == of_folds.ravel().tolist()


def test_a_frame_has_a_row_for_each_model_and_fold(fits):
    frame = fits.to_frame()
    assert len(frame) == 55
    assert frame["model"].tolist() == np.arange(11).repeat(5).tolist()
    assert frame["fold"].tolist() == list(range(5)) * 11
    for name in ("loss", "gap_bound", "validation_loss", "n_nonzero", "status"):
        assert frame[name].tolist() == getattr(fits, name).ravel().tolist()
    means = frame.groupby("model")["validation_loss"].mean()
    assert int(means.idxmin()) == fits.best()


def test_a_frame_of_models_without_folds_has_a_row_for_each(rows):
    X, y, _ = rows
    frame = mf.fit_many(X, y, l2=[0.1, 1.0]).to_frame()
    assert frame["l2"].tolist() == [0.1, 1.0]
    assert not {"fold", "validation_loss"} & set(frame.columns)


@pytest.mark.long(everywhere=True)
def test_paths_are_drawn_by_the_names_of_their_columns(rows):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y, _ = rows
    fits = mf.fit_many(X, y, l2=[1.0, 0.01, 0.1])
    axes = fits.plot_path(pyplot.figure().subplots(), names=4)
    largest = np.argsort(-np.abs(fits.theta[:, :30]).max(axis=0))[:4]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == [f"x{j}" for j in largest]
    line = next(line for line in axes.lines if line.get_label() == legend[0])
    assert line.get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert line.get_ydata().tolist() == fits.theta[[1, 2, 0], largest[0]].tolist()
    pyplot.close("all")


def test_a_path_from_no_penalty_on_is_drawn_on_a_linear_scale(rows):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    X, y, _ = rows
    fits = mf.fit_many(X[:, :2], y, l2=[0.0, 0.1])
    assert fits.plot_path(pyplot.figure().subplots()).get_xscale() == "linear"
    pyplot.close("all")


def test_a_frame_without_pandas_is_refused_with_the_cure(fits, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas"):
        fits.to_frame()


def test_paths_of_folds_are_means_over_them_or_of_one(fits):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    mean = fits.plot_path(pyplot.figure().subplots(), names=1)
    one = fits.plot_path(pyplot.figure().subplots(), names=1, fold=3)
    j = int(mean.get_legend().get_texts()[0].get_text().removeprefix("x"))
    of_all = mean.lines[-2].get_ydata()
    assert np.allclose(of_all, fits.theta[:, :, j].mean(axis=1))
    j = int(one.get_legend().get_texts()[0].get_text().removeprefix("x"))
    assert one.lines[-2].get_ydata().tolist() == fits.theta[:, 3, j].tolist()
    pyplot.close("all")


def test_what_a_result_cannot_tell_is_said(rows):
    X, y, _ = rows
    alone = mf.fit_many(X, y, l2=1.0)
    with pytest.raises(ValueError, match="best is by the rows held out"):
        alone.best()
    with pytest.raises(ValueError, match="the models have no folds"):
        alone.plot_path(fold=0)
    three = mf.fit_many(X, np.arange(len(y)) % 3, l2=1.0)
    with pytest.raises(ValueError, match="3 classes"):
        three.plot_path()


def test_a_result_says_how_many_models_and_weights_there_are(rows):
    X, y, _ = rows
    one = mf.fit_many(X, y, l2=0.1)
    assert repr(one).startswith("FitResult of 1 model, 31 parameters\n")
    assert "other than 0" not in repr(one)
    path = mf.fit_many(X, y, l2=0.0, l1=mf.l1_max(X, y) * np.array([1.0, 0.1]))
    assert repr(path).startswith("FitResult of 2 models, 31 parameters\n")
    first, last = path.n_nonzero
    assert f"\n  weights      {first} to {last} other than 0" in repr(path)
