"""The command tune: candidates, each fold prepared by its own training rows."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from metaopt_fast._version import __version__
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data import DataSettings, prepared_by
from metaopt_fast.cli.data_report import Data
from metaopt_fast.cli.network_report import NetworkTuneReport
from metaopt_fast.cli.tune_report import TuneReport
from metaopt_fast.files.table import label_of_class
from metaopt_fast.machine import config
from metaopt_fast.models.fitted import LOGISTIC
from metaopt_fast.models.model import Model
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import MACHINE_SCORES, SCORES
from metaopt_fast.selection.tune import tune
from metaopt_fast.selection.tune_networks import tune_networks

# Options that are of one kind of models.
OF_METAMODELS = {
    **dict.fromkeys(("low", "high", "l1_ratio", "loss"), "linear"),
    "hidden": "network",
}


def check_tuning(arguments: argparse.Namespace) -> None:
    """Raise an error where options of tune do not go together."""
    parser = arguments.parser
    for name, metamodel in OF_METAMODELS.items():
        is_given = getattr(arguments, name) != parser.get_default(name)
        if is_given and metamodel != arguments.metamodel:
            option = name.replace("_", "-")
            parser.error(f"--{option} goes with --metamodel {metamodel} alone")
    if arguments.low > arguments.high:
        parser.error("--low is greater than --high")
    if arguments.l1_ratio > 1:
        parser.error("--l1-ratio is above 1")
    if arguments.l1_ratio > 0 and arguments.loss != "logistic":
        parser.error("--l1-ratio goes with --loss logistic alone")
    scores = {**SCORES, **MULTICLASS_SCORES} if arguments.loss == "logistic" else MACHINE_SCORES
    if arguments.scoring is not None and arguments.scoring not in scores:
        parser.error(
            f"--scoring {arguments.scoring} does not go with --loss {arguments.loss}: pass one of "
            f"{', '.join(scores)}"
        )


def run_tune(arguments: argparse.Namespace, settings: DataSettings, data: Data) -> TuneReport:
    """Choose C on the training rows, and report the model that is trained on all of them."""
    drawn = {"seed": arguments.seed, "low": arguments.low, "high": arguments.high}
    result = tune(
        data.table.X,
        data.table.y,
        arguments.candidates,
        cv=arguments.cv,
        scoring=arguments.scoring,
        sample_weight=data.table.weights,
        prepare=partial(prepared_by, settings, data.raw) if data.depends_on_rows else None,
        l1_ratio=arguments.l1_ratio,
        loss=arguments.loss.replace("-", "_"),
        n_threads=arguments.threads,
        **drawn,
    )
    arguments.stop.is_reporting = True
    model = Model.linear(
        result.theta,
        data.preparation,
        [label_of_class(name) for name in data.table.class_names],
        link=LOGISTIC if result.loss == "logistic" else None,
        provenance={
            "program": f"{PROGRAM} tune",
            "version": __version__,
            **data.provenance,
            "C": float(result.C[result.best]),
            "l1_ratio": result.l1_ratio,
            "loss": result.loss,
            "scoring": result.scoring,
            "seed": arguments.seed,
        },
    )
    found: dict[str, Any] = config()
    return TuneReport(
        data=data,
        config=drawn,
        result=result,
        isa=found["isa"],
        n_threads=arguments.threads or found["n_threads"],
        model=model,
        kept=arguments.model,
    )


def run_network_tune(
    arguments: argparse.Namespace, settings: DataSettings, data: Data
) -> NetworkTuneReport:
    """Choose a learning rate and a penalty, and report the network that is trained on all rows."""
    result = tune_networks(
        data.table.X,
        data.table.y,
        arguments.candidates,
        n_hidden=arguments.hidden,
        cv=arguments.cv,
        scoring=arguments.scoring or "neg_log_loss",
        seed=arguments.seed,
        sample_weight=data.table.weights,
        prepare=partial(prepared_by, settings, data.raw) if data.depends_on_rows else None,
        n_threads=arguments.threads,
    )
    arguments.stop.is_reporting = True
    model = NetworkModel.of(
        result.ensemble.networks,
        data.preparation,
        [label_of_class(name) for name in data.table.class_names],
        {
            "program": f"{PROGRAM} tune",
            "version": __version__,
            **data.provenance,
            "metamodel": "network",
            "learning_rate": float(result.learning_rate[result.best]),
            "l2": float(result.l2[result.best]),
            "scoring": result.scoring,
            "seed": arguments.seed,
        },
    )
    found: dict[str, Any] = config()
    return NetworkTuneReport(
        data=data,
        seed=arguments.seed,
        result=result,
        isa=found["isa"],
        n_threads=arguments.threads or found["n_threads"],
        model=model,
        kept=arguments.model,
    )
