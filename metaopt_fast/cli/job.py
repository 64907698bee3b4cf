"""What the command line searches: the data of a file, and the objective of its options."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from typing import Any, TypeGuard

from metaopt_fast.cli import values
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.data.standardize import standardize
from metaopt_fast.files.read import read_stream, read_table
from metaopt_fast.files.table import Table
from metaopt_fast.metrics import Cost
from metaopt_fast.objectives import losses
from metaopt_fast.objectives.count_objective import CountObjective
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.pointwise import PointwiseLoss
from metaopt_fast.samplers.base import Sampler
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.validation.text import shown

LOSSES = {
    "logistic": losses.LogisticLoss,
    "squared-hinge": losses.SquaredHingeLoss,
    "hinge": losses.HingeLoss,
    "squared": losses.SquaredLoss,
}
METRICS = {"error": "error", "balanced-error": "balanced_error", "f1": "f1", "mcc": "mcc"}

# What the settings of a job are, and their types: a checkpoint is a stranger's file.
SETTINGS: dict[str, tuple[type, ...]] = {
    "program": (str,),
    "file": (str, type(None)),
    "target": (str, type(None)),
    "standardize": (bool,),
    "objective": (str,),
    "l2": (int, float),
    "group": (str, type(None)),
    "gap": (str,),
    "max_gap": (int, float, type(None)),
    "dtype": (str,),
}


# What stands for the standard input, in the place of a file.
STDIN = "-"


def read_data(settings: dict[str, Any]) -> Table:
    """Return the data of the file, of a pipe or of the package."""
    from metaopt_fast.datasets import BREAST_CANCER

    file, columns = settings["file"], {"target": settings["target"], "group": settings.get("group")}
    if file is None:
        return read_table(BREAST_CANCER, "target", group=columns["group"])
    if file == STDIN:
        return read_stream("stdin", 0, **columns)
    return read_stream(file, file, **columns) if is_pipe(file) else read_table(file, **columns)


def is_pipe(path: str) -> bool:
    """Whether a path is one of a pipe, a terminal or another open file: /dev/stdin, /dev/fd/3."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        is_file = stat.S_ISREG(mode) and not path.startswith(("/dev/", "/proc/"))
        return not is_file and not stat.S_ISDIR(mode)
    return False


class Job:
    """The data of a search, and its objective."""

    def __init__(self, settings: dict[str, Any], n_threads: int | None) -> None:
        self.settings = settings
        self.table = read_data(settings)
        self.standardization = standardize(self.table.X) if settings["standardize"] else None
        name = settings["objective"]
        options: dict[str, Any] = {
            "fit_intercept": True,
            "dtype": settings["dtype"],
            "n_threads": n_threads,
        }
        self.objective: PointwiseLoss | CountObjective
        if name in LOSSES:
            self.objective = LOSSES[name](self.table.X, self.table.y, l2=settings["l2"], **options)
            return
        counts = ConfusionCounts(self.table.X, self.table.y, groups=self.table.groups, **options)
        metric = METRICS.get(name) or Cost(**dict(zip(("fp", "fn"), costs(name), strict=True)))
        limit = {"gap": settings["gap"].replace("-", "_"), "max_gap": settings["max_gap"]}
        self.objective = CountObjective(counts, metric, **limit)


def settings_of(arguments: argparse.Namespace, file: str | None) -> dict[str, Any]:
    """Return what makes the job again: the entries of SETTINGS."""
    return {
        "program": f"{PROGRAM} search",
        "file": file,
        "target": arguments.target,
        "standardize": arguments.standardize,
        "objective": arguments.objective,
        "l2": arguments.l2,
        "group": arguments.group,
        "gap": arguments.gap,
        "max_gap": arguments.max_gap,
        "dtype": arguments.dtype,
    }


def check_usage(arguments: argparse.Namespace) -> None:
    """End the program where options do not go together."""
    error = arguments.parser.error
    if arguments.file is None and arguments.target is not None:
        error("--target is of a FILE, and there is none")
    if arguments.top > arguments.candidates:
        error("--top is greater than --candidates")
    if arguments.objective in LOSSES:
        if arguments.group is not None or arguments.max_gap is not None:
            error(
                f"--group and --max-gap are of counts, and the objective is {arguments.objective}"
            )
    elif arguments.l2:
        error(f"--l2 is of a loss, and the objective is {arguments.objective}")
    if arguments.max_nonzero is not None and arguments.integers is None:
        error("--max-nonzero is of --integers")
    if arguments.method == "ars" and arguments.population % 2:
        error("--population must be even for ars, which tries each direction both ways")
    whole = arguments.method == "integer-local-search"
    if arguments.method != "random" and whole != (arguments.integers is not None):
        error(
            f"--method {arguments.method} moves in "
            + ("whole numbers: pass --integers" if whole else "real numbers: leave out --integers")
        )
    if (arguments.group is None) != (arguments.max_gap is None):
        error("--group and --max-gap go together")


def sampler_of(arguments: argparse.Namespace) -> Sampler:
    """Return the distribution that candidates come from."""
    if arguments.integers is not None:
        low, high = arguments.integers
        if arguments.max_nonzero is None:
            return Integers(low, high)
        return Integers(low, high, arguments.max_nonzero, free=(-1,))
    scale = arguments.scale
    return Normal(0.0, scale) if arguments.sampler == "normal" else Uniform(-scale, scale)


def costs(objective: str) -> tuple[float, float]:
    """Return the costs of a false positive and of a false negative, of cost=FP:FN."""
    fp, _, fn = objective.partition("=")[2].partition(":")
    return float(fp), float(fn)


def read_settings(path: str) -> dict[str, Any]:
    """Return what search --checkpoint wrote down about the data."""
    from metaopt_fast.search.checkpoint import Checkpoint

    with Checkpoint(path) as file:
        settings = file.config.get("metadata")
    if not _are_settings(settings):
        raise ValueError(
            f"{shown(path)} was not written by {PROGRAM} search: resume it in Python, by "
            "resume_search with its objective."
        )
    return settings


def _are_settings(settings: object) -> TypeGuard[dict[str, Any]]:
    """Return whether this may be what `settings_of` gave."""
    if not isinstance(settings, dict) or any(
        type(settings.get(name, ...)) not in kinds for name, kinds in SETTINGS.items()
    ):
        return False
    try:
        values.objective(settings["objective"])
    except argparse.ArgumentTypeError:
        return False
    return True
