"""What the command line searches: its settings, its data, the objective of its options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any, Self, TypeGuard, get_args, get_origin, get_type_hints

from metaopt_fast._version import __version__
from metaopt_fast.cli import values
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data import DataSettings, read_data
from metaopt_fast.cli.data_report import STDIN, Data, candidate_name
from metaopt_fast.cli.values import COUNTED, LOSSES
from metaopt_fast.evolution.result import EvolveResult
from metaopt_fast.files.table import Table, label_of_class
from metaopt_fast.metrics import Cost
from metaopt_fast.models.fitted import LOGISTIC
from metaopt_fast.models.model import Model
from metaopt_fast.objectives.count_objective import CountObjective
from metaopt_fast.objectives.counts import ConfusionCounts
from metaopt_fast.objectives.pointwise import PointwiseLoss
from metaopt_fast.objectives.softmax import SoftmaxLoss
from metaopt_fast.samplers.base import BuiltInSampler
from metaopt_fast.samplers.independent import Integers, Normal, Uniform
from metaopt_fast.search.result import SearchResult
from metaopt_fast.validation.text import shown

# Settings that checkpoints of 0.1.0 do not have.
SINCE_0_2 = frozenset(
    ("weight", "features", "drop", "positive", "missing", "categories", "test", "holdout")
) | {"split_seed", "header"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(DataSettings):
    """What makes the job of a search again: its checkpoint and its result keep this as metadata."""

    program: str = f"{PROGRAM} search"
    objective: str
    l2: int | float
    gap: str
    max_gap: int | float | None
    dtype: str

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
        return cls(**cls._chosen(found))


def _are_settings(found: object) -> TypeGuard[dict[str, Any]]:
    """Return whether these may be settings as a dict: a checkpoint is a stranger's file."""
    if not isinstance(found, dict):
        return False
    hints = get_type_hints(Settings)
    for field in fields(Settings):
        hint = hints[field.name]
        kinds = [get_origin(kind) or kind for kind in get_args(hint) or (hint,)]
        if field.name not in found and field.name in SINCE_0_2:
            continue
        if type(found.get(field.name, ...)) not in kinds:
            return False
    try:
        values.objective(found["objective"])
    except argparse.ArgumentTypeError:
        return False
    names = (*(found.get("features") or ()), *(found.get("drop") or ()))
    return all(isinstance(name, str) for name in names)


class Job:
    """The data of a search, and its objective."""

    objective: PointwiseLoss | CountObjective | SoftmaxLoss

    def __init__(self, settings: Settings, n_threads: int | None) -> None:
        self.settings = settings
        self.data: Data = read_data(settings)
        self.objective = objective_of(settings, self.data.table, n_threads)


def model_of(job: Job, result: SearchResult | EvolveResult) -> Model:
    """Return the best candidate as a model."""
    settings, data = job.settings, job.data
    is_logistic = settings.objective == "logistic"
    n_classes, theta = len(data.table.class_names), result.theta
    return Model.linear(
        theta if n_classes == 2 else theta.reshape(n_classes, -1),
        data.preparation,
        [label_of_class(name) for name in data.table.class_names],
        link=LOGISTIC if is_logistic else None,
        provenance={
            "program": settings.program,
            "version": __version__,
            **data.provenance,
            "objective": settings.objective,
            "l2": settings.l2,
            "seed": result.config["seed"],
            "candidate": candidate_name(result.top[0]),
        },
    )


def objective_of(
    settings: Settings, table: Table, n_threads: int | None
) -> PointwiseLoss | CountObjective | SoftmaxLoss:
    """Return what a search minimises."""
    name, n_classes = settings.objective, len(table.class_names)
    if n_classes > 2 and name != "logistic":
        raise ValueError(
            f"the target has {n_classes} classes, and the objective {name} is of two: pass "
            "--objective logistic, or a target of two values."
        )
    options: dict[str, Any] = {
        "fit_intercept": True,
        "dtype": settings.dtype,
        "n_threads": n_threads,
        "sample_weight": table.weights,
    }
    if n_classes > 2:
        return SoftmaxLoss(table.X, table.y, n_classes=n_classes, l2=settings.l2, **options)
    if name in LOSSES:
        loss = LOSSES[name]
        return loss(table.X, table.y, l2=settings.l2, **options)
    counts = ConfusionCounts(table.X, table.y, groups=table.groups, **options)
    costs = values.costs(name)
    metric = COUNTED[name] if costs is None else Cost(fp=costs[0], fn=costs[1])
    gap = settings.gap.replace("-", "_")
    return CountObjective(counts, metric, gap=gap, max_gap=settings.max_gap)


def check_data_usage(arguments: argparse.Namespace) -> None:
    """End the program where options of the data do not go together."""
    error = arguments.parser.error
    if arguments.file is None and arguments.target is not None:
        error("--target is of a FILE, and there is none")
    if arguments.test is not None and arguments.holdout is not None:
        error("--test and --holdout both say what is held out: pass one of them")
    if arguments.test is not None and arguments.test == arguments.file == STDIN:
        error("FILE and --test are both stdin")


def check_usage(arguments: argparse.Namespace) -> None:
    """End the program where options do not go together."""
    error = arguments.parser.error
    check_data_usage(arguments)
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
    if arguments.shard is not None and arguments.method != "random":
        error(f"--shard is of --method random: populations of {arguments.method} follow each other")
    if arguments.shard is not None and arguments.top > part_of(arguments)[1]:
        error("--top is greater than the candidates of a shard")
    if (arguments.group is None) != (arguments.max_gap is None):
        error("--group and --max-gap go together")


def part_of(arguments: argparse.Namespace) -> tuple[int, int]:
    """Return the first candidate that is drawn, and how many are."""
    number, count = arguments.shard or (1, 1)
    total = arguments.candidates
    start, stop = total * (number - 1) // count, total * number // count
    return start, stop - start


def sampler_of(arguments: argparse.Namespace, table: Table) -> BuiltInSampler:
    """Return the distribution that candidates come from."""
    if arguments.integers is not None:
        low, high = arguments.integers
        if arguments.max_nonzero is None:
            return Integers(low, high)
        n_classes, n_params = len(table.class_names), table.X.shape[1] + 1
        intercepts = range(n_params - 1, n_classes * n_params, n_params)
        free = (-1,) if n_classes == 2 else tuple(intercepts)
        return Integers(low, high, arguments.max_nonzero, free=free)
    scale = arguments.scale
    return Normal(0.0, scale) if arguments.sampler == "normal" else Uniform(-scale, scale)
