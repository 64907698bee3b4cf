"""The arguments of the program ``metaopt-fast``: its commands, each with a table of its options."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from metaopt_fast._version import __version__
from metaopt_fast.cli import values
from metaopt_fast.cli.command_options import (
    BENCH,
    CANDIDATES,
    KEPT,
    KEPT_MODEL,
    OBJECTIVE,
    PERMUTING,
    PROGRESS,
    RESAMPLING,
    SPREAD,
    TREE,
    TUNING,
    outputs,
)
from metaopt_fast.cli.data_options import COLUMNS, DATA, HELD_OUT, MODEL, NO_HEADER, READ, ROWS
from metaopt_fast.cli.options import Command, Option, Switch
from metaopt_fast.validation.text import shown, similar

PROGRAM = "metaopt-fast"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {shown(message)}; see {self.prog} --help.\n")

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        found, unknown = self.parse_known_args(*arguments, **options)
        if unknown:
            known = [flag for action in found.parser._actions for flag in action.option_strings]
            word, values = unknown[0], vars(found)
            if word.startswith("-"):
                meant = similar(word.partition("=")[0], known)
            else:  # as of "--json FILE"
                flags = [flag for flag in ("--target", "--output") if flag in known]
                unset = [flag for flag in flags if values[flag[2:]] is None]
                meant = f" (did you mean '{unset[0]} {word}'?)" if unset else ""
            found.parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        for name, value in vars(found).items():
            if value == []:  # what some versions of Python make of "--seed=--"
                option = f"--{name.replace('_', '-')}"
                found.parser.error(f"argument {option}: '--' given, but a value wanted")
        return found


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the program; `command` is the name of what is to be done."""
    parser = _Parser(
        prog=PROGRAM,
        description="Fit, tune, search and score very many small models against one data set.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    for command in COMMANDS:
        command.add_to(commands)
    return parser


OF_A_SEARCH = (*PROGRESS, *outputs("the best loss against the candidates", KEPT_MODEL))

COMMANDS = (
    Command(
        "search",
        "draw parameter vectors at random and keep the best",
        "Draw very many parameter vectors of a linear model with an intercept, compute "
        "a loss or count the errors of each over all rows of FILE, and print the best. Without "
        "FILE the data is Breast Cancer Wisconsin (Diagnostic), which the package carries.",
        (*DATA, *CANDIDATES, *OBJECTIVE, *KEPT, *SPREAD, *OF_A_SEARCH),
        "Candidate i depends on the seed and i alone, and its loss is the same for any "
        "number of threads. Exit status: 0, or 1 if the job failed, 2 for wrong usage; 130 after "
        "Ctrl-C and 143 after SIGTERM, which print the best so far.",
    ),
    Command(
        "resume",
        "resume an interrupted search",
        "Go on with a search that has a checkpoint: the result is the same, bit for "
        "bit, as without the interruption.",
        (
            Option("checkpoint", values.path, "what search --checkpoint has written", None, "FILE"),
            *OF_A_SEARCH,
        ),
    ),
    Command(
        "status",
        "report the progress of a search, also while it runs",
        "Read what a search has written to its checkpoint so far, and print the best candidate, "
        "the rate and the time left. Nothing is evaluated, and the search is left alone.",
        (
            Option("checkpoint", values.path, "what search --checkpoint writes", None, "FILE"),
            Switch("--json", "print JSON instead of a table"),
        ),
    ),
    Command(
        "merge",
        "merge the shards of a search into one result",
        "Make one result of the checkpoints of search --shard, which have to be whole: the same, "
        "bit for bit, as that of one process. Their best candidates are evaluated again.",
        (
            Option(
                "files",
                values.path,
                "what search --shard --checkpoint has written",
                None,
                "FILE",
                {"nargs": "+"},
            ),
            *OF_A_SEARCH,
        ),
    ),
    Command(
        "tune",
        "choose the strength of the penalty by cross-validation",
        "Train logistic regressions with an intercept and an l2 or l1 penalty, or linear support "
        "vector machines, for very many values of C, leave out each of a few folds in turn, and "
        "print the values that score best on the rows left out. Without FILE the data is Breast "
        "Cancer Wisconsin (Diagnostic), which the package carries.",
        (*DATA, *TUNING, *PROGRESS, *outputs("the score against C", KEPT_MODEL)),
        "C is scikit-learn's: l1 + l2 = 1 / (C * training rows). Exit status: 0, or 1 if the job "
        "failed, 2 for wrong usage; 130 after Ctrl-C and 143 after SIGTERM, which leave nothing: "
        "all models are trained together.",
    ),
    Command(
        "tree",
        "find the tree of two or three questions with the fewest errors",
        "Compare all decision trees of a depth whose questions are column <= threshold, by exact "
        "counts, and print the one with the fewest errors on the training rows, which proves "
        "that no other has fewer. Without FILE the data is Breast Cancer Wisconsin (Diagnostic), "
        "which the package carries.",
        (*READ, *HELD_OUT, *TREE, *PROGRESS, *outputs("the tree", KEPT_MODEL)),
        "Columns are left as they are; a weight is a whole number, of rows. Exit status: 0, or 1 "
        "if the job failed, 2 for wrong usage; 130 after Ctrl-C and 143 after SIGTERM, which leave "
        "nothing.",
    ),
    Command(
        "bootstrap",
        "compute bootstrap intervals of the coefficients",
        "Train a logistic regression with an intercept and an l2 penalty on the rows of FILE and "
        "on very many resamples of them, each to a proven optimum, and print an interval of each "
        "coefficient. Without FILE the data is Breast Cancer Wisconsin (Diagnostic), which the "
        "package carries.",
        (*DATA, *RESAMPLING, *PROGRESS, *outputs("the intervals of the coefficients", KEPT_MODEL)),
        "Intervals are of the coefficients that the penalty has shrunk, and C is not chosen anew. "
        "Exit status: 0, or 1 if the job failed, 2 for wrong usage; 130 after Ctrl-C and 143 after "
        "SIGTERM, which print the intervals of the resamples that were finished.",
    ),
    Command(
        "permutation-test",
        "test a cross-validated score by permutations of the labels",
        "Score a logistic regression with an intercept and an l2 penalty by cross-validation on "
        "the rows of FILE, and do it again for very many permutations of their labels: the p-value "
        "is the fraction of these that score as well. Without FILE the data is Breast Cancer "
        "Wisconsin (Diagnostic), which the package carries.",
        (*COLUMNS, *PERMUTING, *PROGRESS, *outputs("the scores of the permutations")),
        "Labels are permuted within the groups of --group only, if there are any. Folds are cut "
        "at random, independent of the labels, and columns prepared by the training rows of each. "
        "What was chosen by these labels before, C too, is not part of the test. Exit status: 0, "
        "or 1 if the job failed, 2 for wrong usage; 130 after Ctrl-C and 143 after SIGTERM, which "
        "print the result of the permutations that were finished.",
    ),
    Command(
        "predict",
        "predict the classes of the rows of a file",
        "Predict the class of each row of FILE by a model that --model has written, and print one "
        "line each, after a header. The columns are found by their names and prepared as the "
        "training rows were; others are ignored.",
        (
            MODEL,
            ROWS,
            NO_HEADER,
            Switch("--proba", "print the probability of each class instead"),
            Option("--output", values.path, "write to FILE instead of stdout", metavar="FILE"),
            Switch("--force", "replace the file of --output if it exists"),
            *PROGRESS,
        ),
    ),
    Command(
        "score",
        "score a model on the rows of a file",
        "Predict the rows of FILE by a model that --model has written, and print how well that "
        "agrees with their classes.",
        (
            MODEL,
            ROWS,
            Option(
                "--target",
                None,
                "the column of the classes; by default that of the training rows",
                metavar="COLUMN",
            ),
            Option("--weight", None, "the column of the rows' weights", metavar="COLUMN"),
            NO_HEADER,
            *PROGRESS,
            Switch("--json", "print JSON instead of a table"),
        ),
    ),
    Command(
        "info",
        "report what was found on this machine",
        "Print the version, the instruction set, OpenMP and the threads, and how each was chosen.",
        (Switch("--json", "print JSON instead"),),
    ),
    Command(
        "bench",
        "measure the kernels against the limits of this machine",
        "Measure the limits of this machine (fused multiply-adds, memory bandwidth) and how near "
        "each kernel comes to them, in double and in single precision, on one thread and on all. "
        "Run nothing else meanwhile.",
        BENCH,
        "It takes 1.5 GB of memory. Exit status: 0, or 1 if the job failed, 2 for wrong "
        "usage, 130 after Ctrl-C, 143 after SIGTERM.",
    ),
)
