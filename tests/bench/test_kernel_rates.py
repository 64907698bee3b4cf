"""The command bench: its limits, its ratios, its files."""

import json
import re

import numpy as np
import pytest

from metaopt_fast.bench import rates as kernel_rates
from metaopt_fast.bench import roofline
from metaopt_fast.cli import program as cli

KERNELS = {
    *("loss", "loss_gradient", "batch_loss", "batch_loss_gradient", "batch_counts", "batch_auc"),
    *("Hessians", "fit_many", "draws of Normal", "NumPy's logaddexp"),
}
ONE_THREAD = ["bench", "--seconds", "0.5", "--threads", "1"]


@pytest.fixture(scope="module")
def rates():
    return kernel_rates.measure(0.5, n_threads=2)


def test_every_kernel_is_measured_on_one_thread_and_on_all(rates):
    assert {rate.kernel for rate in rates.rates} == KERNELS
    for kernel in KERNELS - {"draws of Normal", "NumPy's logaddexp"}:
        found = {(rate.dtype, rate.n_threads) for rate in rates.rates if rate.kernel == kernel}
        dtypes = ("float64",) if kernel in ("Hessians", "fit_many") else ("float64", "float32")
        assert found == {(dtype, n) for dtype in dtypes for n in (1, 2)}, kernel


def test_a_rate_is_what_was_counted_by_the_best_time():
    work = kernel_rates.Work("k", "s", "float64", "pairs", 100.0, 6e9, 1e9, lambda: None)
    rate = kernel_rates._rate(work, 1, np.array([0.5, 0.25, 1.0]), (48e9, 10e9))
    assert (rate.rate, rate.gflops, rate.intensity) == (400.0, 24.0, 6.0)
    assert (rate.bound, rate.ratio) == ("arithmetic", 0.5)
    assert (rate.calls, rate.spread) == (3, 2.0)
    rate = kernel_rates._rate(work, 1, np.array([0.5]), (48e9, 4e9))
    assert (rate.bound, rate.ratio) == ("memory", 0.5)


def test_operations_are_those_of_the_formulas():
    # Of a pair of a row and a candidate, in features.
    formulas = {
        **dict.fromkeys(["loss", "batch_loss", "NumPy's logaddexp"], lambda p: 2 * p + 40),
        **dict.fromkeys(["loss_gradient", "batch_loss_gradient"], lambda p: 4 * p + 40),
        **dict.fromkeys(["batch_counts", "batch_auc"], lambda p: 2 * p),
        "Hessians": lambda p: 2 * p + 40 + p * (p + 1),
    }
    works = [*kernel_rates._works("float32", 1), *kernel_rates._works("float64", 1)]
    for work in [*works, kernel_rates._by_numpy("float32")]:
        if work.kernel == "fit_many":
            assert (work.operations, work.bytes) == (0, 0)
            continue
        n, p, *k = map(int, re.findall(r"\d+", work.shape))
        pairs = n * (k[0] if k else 1)
        assert work.count == pairs
        assert work.operations == pairs * formulas[work.kernel](p)
        assert work.bytes == n * p * np.dtype(work.dtype).itemsize


def test_what_has_no_count_has_no_ratio(rates):
    for rate in rates.rates:
        has_count = rate.kernel not in ("fit_many", "draws of Normal")
        assert (rate.ratio is not None) == has_count
        assert (rate.gflops is not None) == has_count
        assert rate.rate > 0
        assert rate.calls >= 2


def test_limits_are_the_best_that_was_seen(monkeypatch):
    probes = kernel_rates.Probes()
    clock = iter([0.0, 1.0, 0.0, 2.0, *([0.0, 4.0] * 5)])
    monkeypatch.setattr(kernel_rates.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(kernel_rates._kernels, "fma_run", lambda *arguments: 8e9)
    probes.ask("float64", 1)
    assert probes.limits() == {("float64", 1): (8e9, kernel_rates.READ_NUMBERS * 8 / 4)}


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


def test_the_table_alone_is_enough(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(ONE_THREAD) == 0
    assert "batch_loss" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_roofline_has_a_point_for_every_count(rates):
    ax = roofline.plot_roofline(rates)
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
        (["data.csv"], "unrecognized arguments"),
    ],
)
def test_a_wrong_argument_is_one_sentence(capsys, arguments, wanted):
    assert cli.main(["bench", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wanted in line
    assert line.endswith(" --help.")
