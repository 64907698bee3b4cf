"""The commands about the shards of a search: how far one has come, and all of them together."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

import numpy as np

from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data_report import candidate_name, lines_to_text, named
from metaopt_fast.cli.job import Job, Settings
from metaopt_fast.cli.waiting import PROGRESS, waiting
from metaopt_fast.runs.evaluation import batch_size
from metaopt_fast.runs.provenance import check_losses
from metaopt_fast.search.result import SearchResult, merge_results
from metaopt_fast.search.snapshot import read_checkpoint
from metaopt_fast.validation.text import shown


def status(arguments: argparse.Namespace) -> str:
    """Return how far a search has come, as lines or as JSON."""
    result = read_checkpoint(arguments.checkpoint)
    config: dict[str, Any] = result.config
    total: int = config["n_candidates"]
    rate = result.n_evaluated / max(result.elapsed, 1e-9)
    left = (total - result.n_evaluated) / rate
    if arguments.json:
        found = {
            "n_evaluated": result.n_evaluated,
            "n_candidates": total,
            "loss": result.loss,
            "index": result.index,
            "elapsed": result.elapsed,
            "candidates_per_second": rate,
            "seconds_left": left,
        }
        return json.dumps(found, indent=1, allow_nan=False) + "\n"
    done = result.n_evaluated / total
    lines = [
        ("candidates", f"{result.n_evaluated:,} of {total:,} ({done:.1%})"),
        ("best loss", f"{result.loss:.10g}"),
        ("best candidate", candidate_name(result.top[0])),
        ("seconds", f"{result.elapsed:.2f}"),
        ("candidates/s", f"{rate:.3g}"),
        ("seconds left", f"{left:.0f} at this rate" if total > result.n_evaluated else "none"),
    ]
    return lines_to_text([lines])


def merge(arguments: argparse.Namespace) -> tuple[Job, SearchResult]:
    """Return the result of all shards, whose best candidates are evaluated again, and their job."""
    parts = [read_whole(path) for path in arguments.files]
    settings = Settings.read(arguments.files[0])
    with waiting(f"reading {named(settings.file)}", PROGRESS[arguments.progress]):
        job = Job(settings, arguments.threads)
    arguments.stop.check()
    size = batch_size(job.objective)
    for path, part in zip(arguments.files, parts, strict=True):
        losses = np.ascontiguousarray(part.top["loss"])
        check_losses(path, job.objective, part.top_thetas, losses, size, exact=True)
    return job, merge_results(parts)


def read_whole(path: str) -> SearchResult:
    """Return the result of a checkpoint whose search has ended."""
    part = read_checkpoint(path)
    config: dict[str, Any] = part.config
    if part.n_evaluated < config["n_candidates"]:
        raise ValueError(
            f"{shown(path)} has {part.n_evaluated:,} of {config['n_candidates']:,} "
            f"candidates: end that search first, by {PROGRAM} resume {shown(path)}."
        )
    return part


def missing(result: SearchResult) -> str | None:
    """Return which candidates no shard has, in a sentence; None if all are there."""
    config, ranges = result.config, result.ranges
    gaps = [f"{a:,} to {b - 1:,}" for (_, a), (b, _) in itertools.pairwise(ranges)]
    if not gaps:
        return None
    return f"candidates {', '.join(gaps)} of {config['n_candidates']:,} are in none of the files"
