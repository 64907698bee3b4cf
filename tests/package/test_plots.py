"""Pictures of results: axes that show the numbers, on axes given or made."""

import sys
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

import metaopt_fast as mf
from metaopt_fast import plots

mpl.use("Agg")
from matplotlib import pyplot


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3))
    return mf.random_search(mf.LogisticLoss(X, X[:, 0] > 0), mf.Normal(), 3000, top_k=20)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_a_plot_without_axes_makes_its_own(result, name):
    ax = getattr(result, name)()
    assert isinstance(ax, Axes)
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_title()


@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_a_plot_returns_the_axes_that_it_was_given(result, name):
    _, axes = pyplot.subplots(1, 2)
    before = len(pyplot.get_fignums())
    assert getattr(result, name)(axes[1]) is axes[1]
    assert getattr(result, name)(ax=axes[1]) is axes[1]
    assert len(pyplot.get_fignums()) == before
    assert not axes[0].lines
    assert axes[1].lines


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_a_plot_can_be_written(result, name, suffix, tmp_path):
    path = tmp_path / f"plot.{suffix}"
    getattr(result, name)().figure.savefig(path)
    assert path.stat().st_size > 1000


def test_axes_of_our_own_have_a_light_grid_and_colours_that_all_tell_apart(result):
    ax = result.plot_trace()
    assert ax.lines[0].get_color() == plots.PALETTE[0]
    assert ax.lines[1].get_color() == plots.PALETTE[1]
    assert ax.xaxis.get_gridlines()[0].get_visible() and ax.get_axisbelow() is True
    _, mine = pyplot.subplots()
    result.plot_trace(mine)
    assert mine.lines[0].get_color() != plots.PALETTE[0]


# What readers without one kind of cone see, in linear light: Machado, Oliveira, Fernandes (2009).
SEEN = {
    "all cones": np.eye(3),
    "no long": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "no medium": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "no short": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(linear):
    """CIE L*a*b* of colours in linear light."""
    f = np.cbrt(np.clip(linear @ np.array(XYZ).T / np.sum(XYZ, axis=1), 0.00886, None))
    return np.column_stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
    )


@pytest.mark.parametrize("cones", SEEN)
def test_colours_are_told_apart_by_readers_who_lack_a_kind_of_cone(cones):
    rgb = np.array([to_rgb(colour) for colour in plots.PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = lab(np.clip(linear @ np.array(SEEN[cones]).T, 0, 1))
    apart = [np.linalg.norm(one - other) for one, other in combinations(seen, 2)]
    assert min(apart) > 10, apart


def test_texts_of_points_cover_neither_each_other_nor_points():
    _, ax = pyplot.subplots(layout="constrained")
    x = np.repeat(np.linspace(0, 1, 3), 4)
    y = np.tile([0.0, 0.02, 0.04, 0.5], 3)
    ax.plot(x, y, "o")
    names = [f"kernel {k}" for k in range(len(x))]
    plots.label_points(ax, list(zip(x, y, names, strict=True)))
    boxes = [note.get_window_extent() for note in ax.texts]
    assert len(boxes) == len(x)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    spots = ax.transData.transform(np.column_stack([x, y]))
    assert not any(box.count_contains(spots) for box in boxes)


@pytest.mark.long(everywhere=True)
def test_where_there_is_no_room_texts_are_written_all_the_same():
    _, ax = pyplot.subplots(figsize=(1, 1))
    plots.label_points(ax, [(0.5, 0.5, f"the same point, number {k}") for k in range(9)])
    assert len(ax.texts) == 9


def test_plot_top_shows_the_losses_by_rank(result):
    line = result.plot_top().lines[0]
    assert line.get_xdata().tolist() == list(range(1, 21))
    assert line.get_ydata().tolist() == result.top["loss"].tolist()


def test_plot_trace_shows_the_best_loss_after_so_many_candidates(result):
    line = result.plot_trace().lines[0]
    assert line.get_drawstyle() == "steps-post"
    x, y = np.array(line.get_xdata()), np.array(line.get_ydata())
    assert x[:-1].tolist() == (result.trace["index"] + 1).tolist()
    assert y.tolist() == [*result.trace["loss"], result.loss]
    assert (x[0], x[-1]) == (1, 3000)
    found = result.plot_trace().lines[1]
    assert found.get_xdata().tolist() == [result.index + 1]
    assert found.get_ydata().tolist() == [result.loss]


def test_plot_trace_of_a_later_shard_counts_its_own_candidates():
    objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    late = mf.random_search(objective, mf.Normal(), 500, start=10**9)
    x = late.plot_trace().lines[0].get_xdata()
    assert (x[0], x[-1]) == (1, 500)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_one_candidate_can_be_drawn(name, tmp_path):
    objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    one = mf.random_search(objective, mf.Normal(), 1)
    getattr(one, name)().figure.savefig(tmp_path / "one.png")


class Infinite:
    n_params = 1

    def batch_loss(self, thetas):
        return np.where(thetas[:, 0] > 0, np.inf, np.nan)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_losses_that_are_not_finite_can_be_drawn(name, tmp_path):
    bad = mf.random_search(Infinite(), mf.Normal(), 100, top_k=5)
    getattr(bad, name)().figure.savefig(tmp_path / "bad.png")


@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_a_result_that_was_saved_draws_the_same(result, name, tmp_path):
    result.save(tmp_path / "result.npz")
    loaded = mf.SearchResult.load(tmp_path / "result.npz")
    old, new = getattr(result, name)().lines[0], getattr(loaded, name)().lines[0]
    np.testing.assert_array_equal(old.get_xydata(), new.get_xydata())


@pytest.mark.parametrize("name", ["plot_trace", "plot_top"])
def test_without_matplotlib_the_error_names_the_extra(result, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError) as caught:
        getattr(result, name)()
    assert str(caught.value) == (f"{name} needs matplotlib: pip install 'metaopt_fast[plot]'.")


@pytest.mark.long(everywhere=True)
def test_matplotlib_is_imported_by_a_plot_alone(run_python):
    program = (
        "import sys, metaopt_fast as mf\n"
        "objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])\n"
        "result = mf.random_search(objective, mf.Normal(), 100)\n"
        "print('matplotlib' in sys.modules)\n"
        "result.plot_trace()\n"
        "print('matplotlib' in sys.modules)\n"
    )
    answer = run_python(program, MPLBACKEND="Agg")
    assert answer.stdout == "False\nTrue\n", answer.stderr


@pytest.mark.parametrize("ax", ["axes", Axes])
def test_what_is_no_axes_is_refused(result, ax):
    with pytest.raises(TypeError, match=r"^ax is .*: pass matplotlib axes or None\.$"):
        result.plot_top(ax)
