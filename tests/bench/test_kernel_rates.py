"""The command bench: its limits, its ratios, its files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metaopt_fast.bench import rates as kernel_rates
from metaopt_fast.bench import roofline, works
from metaopt_fast.cli import program as cli

KERNELS = {
    *("loss", "loss_gradient", "batch_loss", "batch_loss_gradient", "batch_counts", "batch_auc"),
    *("Hessians", "fit_many", "draws of Normal", "NumPy's logaddexp"),
}
ONE_THREAD = ["bench", "--seconds", "0.5", "--threads", "1"]


@pytest.fixture(scope="module")
def rates():
    return kernel_rates.measure(0.5, n_threads=2)


@pytest.fixture
def measured_before(monkeypatch, rates):
    """The command has these rates in place of its own, which take seconds."""
    monkeypatch.setattr(kernel_rates, "measure", lambda *_: rates)


@pytest.mark.long
def test_every_kernel_is_measured_on_one_thread_and_on_all(rates):
    assert {rate.kernel for rate in rates.rates} == KERNELS
    for kernel in KERNELS - {"draws of Normal", "NumPy's logaddexp"}:
        found = {(rate.dtype, rate.n_threads) for rate in rates.rates if rate.kernel == kernel}
        dtypes = ("float64",) if kernel in ("Hessians", "fit_many") else ("float64", "float32")
        assert found == {(dtype, n) for dtype in dtypes for n in (1, 2)}, kernel


def test_a_rate_is_what_was_counted_by_the_best_time():
    work = works.Work("k", "s", "float64", "float64", "pairs", 100.0, 6e9, 1e9, lambda: None)
    rate = kernel_rates._rate(work, 1, np.array([0.5, 0.25, 1.0]), (48e9, 10e9))
    assert (rate.rate, rate.gflops, rate.intensity) == (400.0, 24.0, 6.0)
    assert (rate.bound, rate.ratio) == ("arithmetic", 0.5)
    assert (rate.calls, rate.spread) == (3, 2.0)
    rate = kernel_rates._rate(work, 1, np.array([0.5]), (48e9, 4e9))
    assert (rate.bound, rate.ratio) == ("memory", 0.5)


@pytest.mark.long(everywhere=True)
def test_operations_are_those_of_the_formulas():
    # Of a pair of a row and a candidate, in features.
    formulas = {
        **dict.fromkeys(["loss", "batch_loss", "NumPy's logaddexp"], lambda p, a: 2 * p + a),
        **dict.fromkeys(["loss_gradient", "batch_loss_gradient"], lambda p, a: 4 * p + a),
        **dict.fromkeys(["batch_counts", "batch_auc"], lambda p, a: 2 * p),
        "Hessians": lambda p, a: 2 * p + a + p * (p + 1),
    }
    of_loss = {"float64": 40, "float32": 30}
    found = [*works.works("float32", 1), *works.works("float64", 1), works.by_numpy("float32")]
    for work in found:
        if work.kernel == "fit_many":
            assert (work.operations, work.bytes) == (0, 0)
            continue
        n, p, *k = map(int, re.findall(r"\d+", work.shape))
        pairs = n * (k[0] if k else 1)
        assert work.count == pairs
        assert work.operations == pairs * formulas[work.kernel](p, of_loss[work.dtype])
        assert work.bytes == n * p * np.dtype(work.dtype).itemsize


@pytest.mark.long(everywhere=True)
def test_what_has_no_count_has_no_ratio(rates):
    for rate in rates.rates:
        has_count = rate.kernel not in ("fit_many", "draws of Normal")
        assert (rate.ratio is not None) == has_count
        assert (rate.gflops is not None) == has_count
        assert rate.rate > 0
        assert rate.calls >= 2


@pytest.mark.long(everywhere=True)
def test_limits_are_the_best_that_was_seen(monkeypatch):
    probes = kernel_rates.Probes()
    clock = iter([0.0, 1.0, 0.0, 2.0, *([0.0, 4.0] * 5)])
    monkeypatch.setattr(kernel_rates.time, "perf_counter", lambda: next(clock))
    had = iter([0.0, 0.5] * 5)
    monkeypatch.setattr(kernel_rates.time, "process_time", lambda: next(had))
    monkeypatch.setattr(kernel_rates._kernels, "fma_run", lambda *arguments: 8e9)
    probes.ask("float64", 1)
    assert probes.limits() == {("float64", 1): (8e9, kernel_rates.READ_NUMBERS * 8 / 4)}
    assert probes.share == 5 * 0.5 / (1.0 + 2.0 + 3 * 4.0)


def test_threads_can_do_what_fewer_of_them_did():
    probes = kernel_rates.Probes()
    probes.flops = {("float64", 1): 60.0, ("float64", 2): 50.0, ("float32", 1): 90.0}
    probes.read = {1: 29.0, 2: 16.0}
    assert probes.limits() == {
        ("float64", 1): (60.0, 29.0),
        ("float64", 2): (60.0, 29.0),
        ("float32", 1): (90.0, 29.0),
    }


def believed(rates, **changes):
    """The rates of a quiet machine, but for changes."""
    quiet = [replace(rate, spread=1.0, ratio=rate.ratio and 0.5) for rate in rates.rates]
    return replace(rates, **{"load": 0.1, "share": 0.99, "rates": quiet, **changes})


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({}, None),
        ({"load": None}, None),
        ({"load": 6.25}, "6.2 processes wanted a processor before it began"),
        ({"share": 0.62}, "its threads had a processor for 62% of their time"),
        ({"spread": 1.8}, "for 1 of 31 rates, calls took more than 1.3 times the best"),
        ({"ratio": 1.4}, "above their limit, which cannot be, are 1 of 31 rates"),
    ],
)
def test_figures_of_a_busy_machine_are_not_to_be_believed(rates, changes, doubt):
    of_rate = {name: changes[name] for name in ("spread", "ratio") if name in changes}
    found = believed(rates, **{k: v for k, v in changes.items() if k not in of_rate})
    found.rates[0] = replace(found.rates[0], **of_rate)
    text = roofline.to_text(found)
    assert (doubt is None) == (not found.doubts) == ("too busy" not in text)
    assert doubt is None or (doubt in text and json.loads(roofline.to_json(found))["doubts"])
    assert ("80%!" in text) == ("spread" in changes)


@pytest.mark.long(everywhere=True)
def test_a_limit_that_a_kernel_is_above_is_not_drawn(rates):
    found = believed(rates)
    first = next(k for k, rate in enumerate(found.rates) if rate.n_threads == 2 and rate.ratio)
    assert found.rates[first].arithmetic == "float64"
    found.rates[first] = replace(found.rates[first], ratio=1.4)
    ax = roofline.plot_roofline(found)
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == ["limits, float32, 2 threads"]
    assert "busy" in ax.get_title()
    both = replace(rates, rates=[replace(r, ratio=r.ratio and 1.4) for r in rates.rates])
    assert roofline.plot_roofline(both).get_legend() is None


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_a_system_without_a_load_average_can_be_measured(monkeypatch, error):
    def unknown():
        raise error

    monkeypatch.setattr(kernel_rates.os, "getloadavg", unknown)
    assert kernel_rates._load() is None


def test_rates_that_were_recorded_are_drawn_as_they_were_measured(rates):
    again = kernel_rates.Rates.from_dict(json.loads(roofline.to_json(rates)))
    assert again.rates == rates.rates
    for key, limits in rates.limits.items():
        np.testing.assert_allclose(again.limits[key], limits, rtol=1e-15)
    assert (again.load, again.share) == (rates.load, rates.share)


def test_the_record_of_the_documentation_is_to_be_believed_of_our_kernels():
    path = Path(__file__).parents[2] / "docs" / "figures" / "rates.json"
    recorded = kernel_rates.Rates.from_dict(json.loads(path.read_text()))
    ours = [rate for rate in recorded.rates if not rate.kernel.startswith("NumPy")]
    found = replace(recorded, rates=ours, load=None)
    assert found.doubts == []


@pytest.mark.long
def test_the_table_the_json_and_the_picture_tell_the_same(tmp_path, capsys):
    figures, picture = tmp_path / "rates.json", tmp_path / "roofline.png"
    assert cli.main([*ONE_THREAD, "--json", str(figures), "--plot", str(picture)]) == 0
    table, found = capsys.readouterr().out, json.loads(figures.read_text())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert {rate["n_threads"] for rate in found["rates"]} == {1}
    for rate in found["rates"]:
        (line,) = (
            line
            for line in table.splitlines()
            if line.startswith(f"{rate['kernel']}  ") and f" {rate['dtype']} " in line
        )
        assert rate["ratio"] is None or f"{rate['ratio']:.2f}" in line.split()
    assert f"{found['limits'][0]['gflops']:.1f} GFLOP/s" in table


def test_figures_have_three_digits_and_a_prefix():
    values = (0.5, 12.345, 2.5e3, 999e3, 1e6, 3.25e9, 7e13)
    wanted = ["0.5", "12.3", "2.5 k", "999 k", "1 M", "3.25 G", "7e+04 G"]
    assert [roofline._short(value) for value in values] == wanted


@pytest.mark.usefixtures("measured_before")
def test_the_table_alone_is_enough(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(ONE_THREAD) == 0
    assert "batch_loss" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.long(everywhere=True)
def test_a_roofline_has_a_point_for_every_count(rates):
    ax = roofline.plot_roofline(believed(rates))
    points = [line for line in ax.lines if line.get_marker() in ("o", "x")]
    wanted = [rate for rate in rates.rates if rate.n_threads == 2 and rate.gflops is not None]
    assert sorted(point.get_ydata()[0] for point in points) == sorted(r.gflops for r in wanted)
    assert sorted(note.get_text() for note in ax.texts) == sorted(
        rate.kernel for rate in wanted if rate.dtype == "float64"
    )
    roofs = [line for line in ax.lines if line not in points]
    for roof, dtype in zip(roofs, ("float64", "float32"), strict=True):
        flops, read = rates.limits[dtype, 2]
        intensity = roof.get_xdata()
        np.testing.assert_allclose(roof.get_ydata(), np.minimum(flops, read * intensity) / 1e9)


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_exists_is_kept_without_force(tmp_path, capsys, option):
    path = tmp_path / "taken.png"
    path.write_text("mine")
    assert cli.main([*ONE_THREAD, option, str(path)]) == 1
    assert (
        capsys.readouterr().err
        == f"metaopt-fast: error: {path} exists: pass --force, or another file.\n"
    )
    assert path.read_text() == "mine"


@pytest.mark.usefixtures("measured_before")
def test_force_replaces_a_file(tmp_path, capsys):
    path = tmp_path / "rates.json"
    path.write_text("mine")
    assert cli.main([*ONE_THREAD, "--json", str(path), "--force"]) == 0
    assert json.loads(path.read_text())["rates"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--seconds", "0"], "a finite number > 0"),
        (["--seconds", "nan"], "a finite number > 0"),
        (["--seconds", "soon"], "a finite number > 0"),
        (["--threads", "0"], "an integer from 1"),
        (["--plot", "roofline.txt"], ".png, .svg, .pdf"),
        (["--json", ""], "the path of a file"),
        (["--json", "a.png", "--plot", "a.png"], "two of the given files are the same"),
        (["data.csv"], "unrecognized arguments: data.csv; see"),
    ],
)
def test_a_wrong_argument_is_one_sentence(capsys, arguments, wanted):
    assert cli.main(["bench", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
    assert line.endswith(" --help.")
