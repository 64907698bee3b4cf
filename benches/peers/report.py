"""Tables and a picture of what the peers came to."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benches.peers.rounds import LONG
from benches.peers.singles import FITS
from metaopt_fast.plots import PALETTE

OURS = "metaopt_fast"
TITLES = {
    "losses": "Losses of many models: ns for a row under a model",
    "tunings": "Choice of C, 20 values x 5 folds: ms for a model",
    "searches": "Random search, the draws included: microseconds for a candidate",
    "singles": "One model: ms for a loss or for a fit",
}
OF_JOBS = "Whole jobs on breast_cancer (569 x 30), seconds"
SCALES = {"losses": 1e9, "tunings": 1e3, "searches": 1e6, "singles": 1e3, "jobs": 1.0}
# Runs that are this far apart are said to be.
WIDE = 0.3
# Ratios below it have a digit more.
FEW_TIMES = 10
# Jobs that a picture has in one column.
FEW_JOBS = 5
Row = dict[str, Any]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show(rows: list[Row]) -> None:
    """Print what each peer came to."""
    for row in rows:
        beside = ", beside a busy neighbour" if row["neighbour"] else ""
        say(f"  {row['peer']:<42} {cell(row)}{beside}")


def has_wrong(rows: list[Row]) -> bool:
    """Whether a peer that is installed did not do its work."""
    return any("failed" in row for row in rows)


def figure(row: Row) -> float | None:
    """Return the median of a row in the unit of its task."""
    if not row["times"] or "failed" in row:
        return None
    return SCALES[row["task"]] * statistics.median(row["times"]) / row["count"]


def cell(row: Row) -> str:
    """Return the median of a row and, in percent, how far its runs are apart."""
    value = figure(row)
    if value is None:
        return "not installed" if "missing" in row else f"failed: {row.get('failed')}"
    if len(row["times"]) == 1:
        return f"{value:.3g}, one run"
    return f"{value:.3g} ±{50 * spread(row):.0f} %"


def spread(row: Row) -> float:
    """Return how far the runs of a row are apart, in their median."""
    return (max(row["times"]) - min(row["times"])) / statistics.median(row["times"])


def write(results: dict[str, Any], path: Path, part: str = "results") -> None:
    """Put the tables between the markers that a part of a Markdown file has."""
    start, end = f"<!-- {part}: start -->", f"<!-- {part}: end -->"
    before, _, rest = path.read_text().partition(start)
    after = rest.partition(end)[2]
    text = to_markdown(results, path.with_name("throughput.svg").exists() and part == "results")
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


def to_markdown(results: dict[str, Any], has_picture: bool) -> str:
    """Return all tables, and a link to the picture if there is one."""
    about, rows = results["about"], results["rows"]
    versions = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in about["versions"].items()
    )
    lines = [
        f"{about['date']}; {about['processor']}, {about['n_processors']} processors, "
        f"{about['isa']}; Python {about['python']}, metaopt_fast {about['metaopt_fast']}, "
        f"{versions}. {runs_of(results)} by turns: their median, and half their range."
    ]
    if has_picture:
        lines += ["", "![Rows times models per nanosecond, of each peer](throughput.svg)"]
    if results["quick"]:
        lines += ["", "**A quick run: figures of no worth.**"]
    if results["left_out"]:
        lines += ["", f"Left out, the time was over: {'; '.join(results['left_out'])}."]
    for task, title in TITLES.items():
        lines += table(title, [r for r in rows if r["task"] == task and not r["neighbour"]])
    lines += table_of_jobs([r for r in rows if r["task"] == "jobs"])
    lines += without_figure([r for r in rows if r["task"] == "jobs"])
    lines += beside_neighbour(rows)
    if results["scaling"] is not None:
        lines += growth(results["scaling"])
    return "\n".join(lines)


def runs_of(results: dict[str, Any]) -> str:
    """Return how often each peer ran, and for how long."""
    n_rounds = results["rounds"]
    if any(row["task"] == "jobs" for row in results["rows"]):
        return f"{n_rounds} runs (one, if it took more than {LONG:g} s)"
    return f"{n_rounds} runs of about {results['seconds']:g} s"


def table(title: str, rows: list[Row]) -> list[str]:
    """Return a table with a line for each peer and a column for each setting."""
    if not rows:
        return []
    settings = list(dict.fromkeys(setting(row) for row in rows))
    of = {(row["peer"], setting(row)): row for row in rows}
    heads = [f"{n}x{p}, {dtype}, {threads} thr." for n, p, dtype, threads in settings]
    lines = ["", f"### {title}", "", "| | " + " | ".join(heads) + " |"]
    lines.append("| --- |" + " ---: |" * len(heads))
    for peer in dict.fromkeys(row["peer"] for row in rows):
        cells = [cell(of[peer, one]) for one in settings]
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    ratios = [ratio([row for row in rows if setting(row) == one]) for one in settings]
    lines.append("| **best other / best of ours** | " + " | ".join(ratios) + " |")
    return lines


def jobs_of(rows: list[Row]) -> dict[str, list[tuple[str, float, Row]]]:
    """Return of each job the peers that did it, their seconds and their rows, ours first."""
    jobs: dict[str, list[tuple[str, float, Row]]] = {}
    for row in rows:
        value = figure(row)
        if value is not None:
            job, _, who = row["peer"].partition(": ")
            jobs.setdefault(job, []).append((who, value, row))
    return {job: found for job, found in jobs.items() if found[0][0].startswith(OURS)}


def table_of_jobs(rows: list[Row]) -> list[str]:
    """Return a table with a line for each job and peer, and how many times as long each takes."""
    if not rows:
        return []
    lines = ["", f"### {OF_JOBS}", "", "| job | by | seconds | times ours | result off ours by |"]
    lines.append("| --- | --- | ---: | ---: | ---: |")
    for job, found in jobs_of(rows).items():
        ours = found[0][1]
        for who, value, row in found:
            error = f"{row['error']:.0e}" if row["error"] else "0"
            lines.append(f"| {job} | {who} | {cell(row)} | {value / ours:.1f} | {error} |")
    return lines


def without_figure(rows: list[Row]) -> list[str]:
    """Return a line that names the peers of jobs which are not installed, or failed."""
    named = [f"{row['peer']} ({cell(row)})" for row in rows if figure(row) is None]
    return ["", f"Not measured: {'; '.join(named)}."] if named else []


def setting(row: Row) -> tuple[int, int, str, int]:
    return (*row["shape"], row["dtype"], row["n_threads"])


def ratio(rows: list[Row]) -> str:
    """Return how many times faster than the best other one ours is; of losses and of fits
    apart."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kind = "" if row["task"] != "singles" else "fit" if row["peer"] in FITS else "loss"
        kinds.setdefault(kind, []).append(row)
    found = []
    for kind, some in kinds.items():
        ours = [figure(row) for row in some if row["peer"].startswith(OURS)]
        theirs = [figure(row) for row in some if not row["peer"].startswith(OURS)]
        mine, best = [v for v in ours if v is not None], [v for v in theirs if v is not None]
        if mine and best:
            found.append(f"{kind} {min(best) / min(mine):.2f}".strip())
    return "; ".join(found)


def beside_neighbour(rows: list[Row]) -> list[str]:
    """Return how much a busy process on one of the processors costs each peer."""
    disturbed = [row for row in rows if row["neighbour"] and figure(row) is not None]
    if not disturbed:
        return []
    lines = ["", "### One processor busy with another process: ns for a row under a model", ""]
    lines += ["| | alone | beside it | times as long |", "| --- | ---: | ---: | ---: |"]
    for row in disturbed:
        (alone,) = (
            other
            for other in rows
            if other["peer"] == row["peer"]
            and not other["neighbour"]
            and other["task"] == row["task"]
            and setting(other) == setting(row)
        )
        before, after = figure(alone), figure(row)
        assert before is not None and after is not None
        lines.append(f"| {row['peer']} | {cell(alone)} | {cell(row)} | {after / before:.2f} |")
    return lines


def growth(found: dict[str, Any]) -> list[str]:
    """Return the exponents and the peaks of memory."""
    lines = ["", "### Growth of batch_loss", "", "| with | from | to | time grows as |"]
    lines.append("| --- | ---: | ---: | --- |")
    for name, entry in found["time"].items():
        values = entry["values"]
        power = f"{name}^{entry['exponent']:.2f}"
        lines.append(f"| {name} | {values[0]} | {values[-1]} | {power} |")
    shape = found["memory"]["shape"]
    lines += ["", f"Peak memory of {shape[2]} losses of {shape[0]} rows x {shape[1]} features, "]
    peaks = found["memory"]["megabytes"]
    lines[-1] += "beyond that of the data: " + "; ".join(
        f"{name} {'not installed' if peak is None else f'{peak:.0f} MB'}"
        for name, peak in peaks.items()
    )
    lines[-1] += f". All margins would be {found['memory']['all_margins']:.0f} MB."
    return lines


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw pairs per second of each peer, at the most threads."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = [r for r in results["rows"] if r["task"] == "losses" and not r["neighbour"]]
    if not rows:
        return
    most = max(row["n_threads"] for row in rows)
    rows = [row for row in rows if row["n_threads"] == most]
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    # Names that do not change: the same figures are the same file.
    matplotlib.rcParams["svg.hashsalt"] = "throughput"
    image = Figure(figsize=(11, 4.4), layout="constrained")
    for ax, dtype in zip(
        image.subplots(1, len(dtypes), sharey=True, squeeze=False)[0], dtypes, strict=True
    ):
        shapes = list(dict.fromkeys(tuple(r["shape"]) for r in rows if r["dtype"] == dtype))
        width = 0.8 / len(peers)
        for k, peer in enumerate(peers):
            values = [
                next(
                    (
                        figure(r)
                        for r in rows
                        if (r["peer"], tuple(r["shape"]), r["dtype"]) == (peer, shape, dtype)
                    ),
                    None,
                )
                for shape in shapes
            ]
            places = [i + (k - len(peers) / 2 + 0.5) * width for i in range(len(shapes))]
            heights = [1 / value if value else 0 for value in values]
            # Colours that come again are hatched.
            colour, hatch = PALETTE[k % len(PALETTE)], "//" * (k // len(PALETTE))
            ax.bar(places, heights, width, label=peer, color=colour, hatch=hatch, edgecolor="white")
        ax.grid(axis="y", color="0.9")
        ax.set_axisbelow(True)
        ax.set_xticks(range(len(shapes)), [f"{n:,} x {p}" for n, p in shapes])
        ax.set(yscale="log", title=f"{dtype}, {most} threads", xlabel="rows x features")
    image.axes[0].set_ylabel("rows x models per ns")
    image.legend(
        *image.axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        fontsize="small",
    )
    image.savefig(path, metadata={"Date": None})


def plot_jobs(results: dict[str, Any], path: Path) -> None:
    """Draw the seconds of each job by each peer: a panel for each job, from 0.

    What was measured again and again and is 30 % apart or more is marked.
    """
    import matplotlib
    from matplotlib.figure import Figure

    jobs = jobs_of([row for row in results["rows"] if row["task"] == "jobs"])
    if not jobs:
        return
    matplotlib.rcParams["svg.hashsalt"] = "seconds"
    # More than a few stand in two columns, as high as each other but for a job.
    heights = np.array([len(found) + 0.8 for found in jobs.values()])
    column = (np.cumsum(heights) > (heights.sum() + heights.max()) / 2) & (len(jobs) > FEW_JOBS)
    columns = [heights[column == k] for k in range(1 + column.any())]
    tallest = max(one.sum() for one in columns)
    image = Figure(figsize=(6.6 * len(columns), 0.36 * tallest + 0.4), layout="constrained")
    panels = []
    for part, some in zip(
        image.subfigures(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        panels += part.subplots(len(some), 1, height_ratios=some, squeeze=False)[:, 0].tolist()
    for ax, (job, found) in zip(panels, jobs.items(), strict=True):
        names, values = [who for who, _, _ in found], [value for _, value, _ in found]
        # Blue and grey: told apart by everybody, and in print.
        ax.barh(names, values, color=[PALETTE[0], *["#999999"] * (len(found) - 1)], height=0.7)
        for k, (_, value, row) in enumerate(found):
            text = f" {value:.2g} s"
            text += f" ±{50 * spread(row):.0f} %" * (spread(row) > WIDE)
            times = value / values[0]
            text += f", {times:,.{int(times < FEW_TIMES)}f} times" * (k > 0)
            ax.text(value, k, text, va="center", fontsize="small")
        ax.invert_yaxis()
        ax.set_title(job, loc="left", fontsize="medium")
        ax.set_xlim(0, 1.4 * max(values))
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.tick_params(bottom=False, labelbottom=False)
    image.savefig(path, metadata={"Date": None})
