"""What the command line searches: the data of a file, and the objective of its options."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from dataclasses import dataclass, fields
from typing import Any, Self, TypeGuard, get_args, get_type_hints

from metaopt_fast.cli import values
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data_report import STDIN, Data
from metaopt_fast.cli.values import COUNTED, LOSSES
from metaopt_fast.data.standardize import standardize
from metaopt_fast.files.read import read_stream, read_table
from metaopt_fast.files.table import Table
from metaopt_fast.files.wanted import Wanted
from metaopt_fast.metrics import Cost
from metaopt_fast.objectives.count_objective import CountObjective
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.pointwise import PointwiseLoss
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.validation.text import shown


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes the job of a search again: its checkpoint and its result keep this as metadata."""

    program: str
    file: str | None
    target: str | None
    standardize: bool
    objective: str
    l2: int | float
    group: str | None
    gap: str
    max_gap: int | float | None
    dtype: str

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Return the settings of a command."""
        given = {**vars(arguments), "program": f"{PROGRAM} search"}
        given["file"] = absolute(arguments.file)
        return cls(**{field.name: given[field.name] for field in fields(cls)})

    @classmethod
    def read(cls, path: str) -> Self:
        """Return what search --checkpoint wrote down."""
        from metaopt_fast.search.checkpoint import Checkpoint

        with Checkpoint(path) as file:
            found = file.config.get("metadata")
        if not _are_settings(found):
            raise ValueError(
                f"{shown(path)} was not written by {PROGRAM} search: resume it in Python, by "
                "resume_search with its objective."
            )
        return cls(**{field.name: found[field.name] for field in fields(cls)})


def _are_settings(found: object) -> TypeGuard[dict[str, Any]]:
    """Return whether these may be settings as a dict: a checkpoint is a stranger's file."""
    if not isinstance(found, dict):
        return False
    for name, hint in get_type_hints(Settings).items():
        if type(found.get(name, ...)) not in (get_args(hint) or (hint,)):
            return False
    try:
        values.objective(found["objective"])
    except argparse.ArgumentTypeError:
        return False
    return True


def absolute(file: str | None) -> str | None:
    """Return the path of the data as resume finds it, from whatever folder."""
    return file if file in (None, STDIN) else os.path.abspath(file)


def read_data(
    file: str | None, target: str | None, group: str | None, is_standardized: bool
) -> Data:
    """Return the data of the file, of a pipe or of the package."""
    table = _read_table(file, target, group)
    return Data(file, target, table, standardize(table.X) if is_standardized else None)


def _read_table(file: str | None, target: str | None, group: str | None) -> Table:
    from metaopt_fast.datasets import BREAST_CANCER

    if file is None:
        return read_table(BREAST_CANCER, "target", group=group)
    wanted = Wanted(target, group)
    if file == STDIN:
        return read_stream("stdin", 0, wanted)
    if is_pipe(file):
        return read_stream(file, file, wanted)
    return read_table(file, wanted=wanted)


def is_pipe(path: str) -> bool:
    """Whether a path is one of a pipe, a terminal or another open file: /dev/stdin, /dev/fd/3."""
    with contextlib.suppress(OSError, ValueError):
        mode = os.stat(path).st_mode
        is_file = stat.S_ISREG(mode) and not path.startswith(("/dev/", "/proc/"))
        return not is_file and not stat.S_ISDIR(mode)
    return False


class Job:
    """The data of a search, and its objective."""

    def __init__(self, settings: Settings, n_threads: int | None) -> None:
        self.settings = settings
        self.data = read_data(settings.file, settings.target, settings.group, settings.standardize)
        self.objective = objective_of(settings, self.data.table, n_threads)


def objective_of(
    settings: Settings, table: Table, n_threads: int | None
) -> PointwiseLoss | CountObjective:
    """Return what a search minimises."""
    name = settings.objective
    options: dict[str, Any] = {
        "fit_intercept": True,
        "dtype": settings.dtype,
        "n_threads": n_threads,
    }
    if name in LOSSES:
        loss = LOSSES[name]
        return loss(table.X, table.y, l2=settings.l2, **options)
    counts = ConfusionCounts(table.X, table.y, groups=table.groups, **options)
    costs = values.costs(name)
    metric = COUNTED[name] if costs is None else Cost(fp=costs[0], fn=costs[1])
    gap = settings.gap.replace("-", "_")
    return CountObjective(counts, metric, gap=gap, max_gap=settings.max_gap)


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


def sampler_of(arguments: argparse.Namespace) -> BuiltInSampler:
    """Return the distribution that candidates come from."""
    if arguments.integers is not None:
        low, high = arguments.integers
        if arguments.max_nonzero is None:
            return Integers(low, high)
        return Integers(low, high, arguments.max_nonzero, free=(-1,))
    scale = arguments.scale
    return Normal(0.0, scale) if arguments.sampler == "normal" else Uniform(-scale, scale)
