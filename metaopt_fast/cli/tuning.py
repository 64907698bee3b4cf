"""The command tune: candidates for C, each fold prepared by its own training rows."""

from __future__ import annotations

import argparse
from functools import partial

from metaopt_fast._version import __version__
from metaopt_fast.cli.arguments import PROGRAM
from metaopt_fast.cli.data import DataSettings, prepared_by
from metaopt_fast.cli.data_report import Data
from metaopt_fast.cli.tune_report import TuneReport
from metaopt_fast.files.table import label_of_class
from metaopt_fast.machine import config
from metaopt_fast.models.model import LOGISTIC, Model
from metaopt_fast.selection.tune import tune


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
    found = config()
    return TuneReport(
        data=data,
        config=drawn,
        result=result,
        isa=found["isa"],
        n_threads=arguments.threads or found["n_threads"],
        model=model,
        kept=arguments.model,
    )
