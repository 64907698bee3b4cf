"""The command permutation-test: how often models score as well where labels mean nothing."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any

from metaopt_fast.cli.data import DataSettings, prepared_by
from metaopt_fast.cli.data_report import Data, Lines, lines_to_text
from metaopt_fast.cli.fitted_report import CommandReport
from metaopt_fast.cli.output import draw
from metaopt_fast.runs.progress import Progress
from metaopt_fast.selection.permutations import PermutationScores, PermutationTest
from metaopt_fast.validation.text import shown


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PermutationReport(CommandReport):
    """A permutation test, as the command line tells it.

    Attributes
    ----------
    test : PermutationTest
    group : str or None
        Column within whose groups labels change places.
    result : PermutationScores
    """

    test: PermutationTest
    group: str | None
    result: PermutationScores

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dicts, for JSON."""
        test, result = self.test, self.result
        return {
            "C": test.C,
            "seed": test.seed,
            "scoring": test.scoring,
            "n_folds": len(test.folds),
            "group": self.group,
            "n_permutations": len(result.others),
            "interrupted": result.is_interrupted,
            "score": result.score,
            "p_value": result.p_value,
            "least_p_value": result.least_p_value,
            "permutation_scores": result.others.tolist(),
            "data": self.data.to_dict(),
        }

    def to_text(self) -> str:
        """Return tables for a terminal."""
        return lines_to_text([self._what(), self._found()])

    def _what(self) -> Lines:
        test = self.test
        within = "" if self.group is None else f" within the groups of {shown(self.group)}"
        n = len(self.result.others)
        return [
            *self.data.to_lines("standardized by the training rows of each fold"),
            ("model", f"logistic, with intercept, l2 = 1 / (C * training rows), C = {test.C:g}"),
            ("score", f"{test.scoring}, the mean of {len(test.folds)} folds"),
            (
                "permutations",
                f"{n:,} of the labels{within}, seed {test.seed}",
            ),
        ]

    def _found(self) -> Lines:
        result = self.result
        others, n = result.others, len(result.others)
        return [
            ("observed", f"{result.score:.6g}"),
            (
                "permuted",
                f"{others.mean():.6g} in the mean, {others.min():.6g} to {others.max():.6g}",
            ),
            (
                "p-value",
                f"{result.p_value:.4g}; the least possible of {n:,} permutations is "
                f"{result.least_p_value:.4g}",
            ),
        ]

    def to_picture(self, kind: str) -> bytes:
        """Return the scores of the permutations as a picture."""
        return draw(self.result.plot, kind)


def run_permutation_test(
    arguments: argparse.Namespace, settings: DataSettings, data: Data, progress: bool | str
) -> PermutationReport:
    """Score the labels of the rows, and permutations of them, and report it."""
    table = data.table
    if table.weights is not None:
        raise ValueError("permutation-test scores rows of weight 1: leave out --weight.")
    if len(table.class_names) > 2:
        raise ValueError(
            f"the target has {len(table.class_names)} classes: choose one of two for "
            "permutation-test."
        )
    test = PermutationTest.of(
        table.X,
        table.y,
        C=arguments.c,
        n_folds=arguments.cv,
        scoring=arguments.scoring,
        groups=table.groups,
        seed=arguments.seed,
        prepare=partial(prepared_by, settings, data.raw) if data.depends_on_rows else None,
        n_threads=arguments.threads,
    )
    with Progress(progress, arguments.permutations, 0, len(table.y)) as line:
        result = test.run(arguments.permutations, line)
    arguments.stop.is_reporting = True
    return PermutationReport(data=data, test=test, group=arguments.group, result=result)
