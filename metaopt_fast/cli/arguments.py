"""The arguments of the program ``metaopt-fast``: its commands, each with a table of its options."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, NoReturn

from metaopt_fast._version import __version__
from metaopt_fast.cli import values
from metaopt_fast.cli.data_options import DATA, MODEL, ROWS
from metaopt_fast.cli.options import Command, Option, Options, Switch
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import ALL_SCORES
from metaopt_fast.validation.text import shown, similar
from metaopt_fast.validation.values import DTYPES, MAX_THREADS

PROGRAM = "metaopt-fast"
METHODS = ("random", "cem", "snes", "ars", "shrinking", "integer-local-search")

# Candidates, and folds, of a tuning, whose models are all in memory.
MAX_TUNED = 1_000_000


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {shown(message)}; see {self.prog} --help.\n")

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        found, unknown = self.parse_known_args(*arguments, **options)
        if unknown:
            known = [flag for action in found.parser._actions for flag in action.option_strings]
            meant = similar(unknown[0].partition("=")[0], known)
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
        description="Score very many small logistic-regression models against one data set.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    for command in COMMANDS:
        command.add_to(commands)
    return parser


COUNT = partial(values.integer, 1, MAX_INDEX)
SEED = partial(values.integer, 0, MAX_SEED)
THREADS = partial(values.integer, 1, MAX_THREADS)
POSITIVE = partial(values.number, 0.0, False)
NOT_NEGATIVE = partial(values.number, 0.0, True)

CANDIDATES: Options = (
    Option("--candidates", COUNT, "how many vectors to draw", 1_000_000, "N"),
    Option("--seed", SEED, "of the random numbers, from 0 to 2**64 - 1", 0),
    Option("--sampler", ("normal", "uniform"), "the distribution of each parameter", "normal"),
    Option(
        "--scale",
        POSITIVE,
        "standard deviation of the normal one; the uniform one goes from -SCALE to SCALE",
        1.0,
    ),
    Option(
        "--integers",
        values.box,
        "draw whole numbers from LOW to HIGH instead; write --integers=-5:5 where LOW is negative",
        metavar="LOW:HIGH",
    ),
    Option(
        "--max-nonzero",
        partial(values.integer, 1, values.MAX_INTEGER),
        "how many of the whole numbers may be other than 0, the intercept aside",
        metavar="N",
    ),
    Option(
        "--method",
        METHODS,
        "random draws all candidates alike; the others draw populations that follow the best "
        "of the one before: see help(metaopt_fast.evolve)",
        "random",
    ),
    Option(
        "--population",
        partial(values.integer, 2, MAX_INDEX),
        "candidates of a population; --candidates are rounded up to whole ones",
        256,
        "N",
    ),
)

OBJECTIVE: Options = (
    Option(
        "--objective",
        values.objective,
        f"what to minimise: {', '.join(values.OBJECTIVES)} (1 - F1, 1 - Matthews' "
        "correlation), or cost=FP:FN, the mean cost with those of a false positive and a false "
        "negative",
        "logistic",
        "WHAT",
    ),
    Option(
        "--group",
        None,
        "the column that says the group of each row, numbers or text, of a count; models do "
        "not see it",
        metavar="COLUMN",
    ),
    Option(
        "--max-gap",
        NOT_NEGATIVE,
        "how much the rate of --gap may differ between two groups",
        metavar="GAP",
    ),
    Option(
        "--gap",
        ("selection-rate", "tpr", "fpr"),
        "the rate of positive decisions among all rows, positive rows or negative rows",
        "selection-rate",
    ),
    Option(
        "--l2",
        NOT_NEGATIVE,
        "strength of the penalty l2/2 * sum of squares, without the intercept",
        0.0,
    ),
    Option("--dtype", DTYPES, "precision; float32 is about twice as fast", "float64"),
)

KEPT: Options = (
    Option("--top", COUNT, "how many of the best to keep", 1, "K"),
    Option(
        "--checkpoint",
        values.path,
        "record finished parts in FILE; with the same arguments, or by the command resume for "
        "--method random, an interrupted search goes on",
        metavar="FILE",
    ),
)

SPREAD: Options = (
    Option(
        "--shard",
        values.shard,
        "draw part I of N of the candidates alone, 1/N to N/N: N processes or machines share a "
        "search so, each with a checkpoint, and merge makes one result of theirs",
        metavar="I/N",
    ),
    Option(
        "--time-budget",
        POSITIVE,
        "seconds after which no new part is begun; the best so far is the result",
        metavar="S",
    ),
)

PROGRESS: Options = (
    Option(
        "--progress",
        ("auto", "always", "never"),
        "whether to show a line on stderr; auto does on a terminal",
        "auto",
    ),
)

TUNING: Options = (
    Option(
        "--candidates",
        partial(values.integer, 1, MAX_TUNED),
        "how many values of C to draw",
        200,
        "N",
    ),
    Option("--low", POSITIVE, "the least value; they are log-uniform", 1e-4, "C"),
    Option("--high", POSITIVE, "the greatest value", 1e4, "C"),
    Option(
        "--l1-ratio",
        partial(values.number, 0.0, True),
        "the part of the l1 penalty: 0 is l2 alone, 1 is l1 alone",
        0.0,
        "R",
    ),
    Option(
        "--loss",
        ("logistic", "squared-hinge"),
        "what models are trained by: squared-hinge makes linear support vector machines, without "
        "probabilities or an l1 penalty",
        "logistic",
    ),
    Option(
        "--metamodel",
        ("linear", "network"),
        "what is tuned: a network has one hidden layer of rectified linear units, and a learning "
        "rate and a penalty are drawn in the place of C",
        "linear",
    ),
    Option(
        "--hidden",
        partial(values.integer, 1, 1024),
        "how many units the hidden layer of a network has",
        16,
        "H",
    ),
    Option("--cv", partial(values.integer, 2, MAX_TUNED), "how many stratified folds", 5, "K"),
    Option(
        "--scoring",
        tuple({**ALL_SCORES, **MULTICLASS_SCORES}),
        "the score of the rows left out, the greater the better; by default neg_log_loss, and "
        "accuracy with --loss squared-hinge",
    ),
    Option("--seed", SEED, "of the candidates and the folds, from 0 to 2**64 - 1", 0),
)

RESAMPLING: Options = (
    Option("--c", POSITIVE, "inverse of the strength of the penalty, scikit-learn's C", 1.0, "C"),
    Option("--resamples", partial(values.integer, 2, MAX_TUNED), "how many", 1000, "N"),
    Option("--confidence", partial(values.number, 0.0, False), "of the intervals", 0.95, "P"),
    Option(
        "--method",
        ("percentile", "BCa"),
        "BCa corrects the intervals for bias and skewness, for one more model without each row",
        "percentile",
    ),
    Option("--seed", SEED, "of the resamples and of --holdout, from 0 to 2**64 - 1", 0),
)

BENCH: Options = (
    Option(
        "--seconds", POSITIVE, "how long to measure, some seconds of preparation aside", 60.0, "S"
    ),
    Option(
        "--threads",
        THREADS,
        "what all threads are; by default OMP_NUM_THREADS, the affinity mask and the cgroup "
        "quota decide",
        metavar="N",
    ),
    Option(
        "--json",
        values.path,
        "write the figures to FILE as JSON, too",
        metavar="FILE",
        further={"dest": "output"},
    ),
    Option(
        "--plot",
        values.picture,
        "draw the kernels below the limits (a roofline), to a .png, .svg or .pdf file",
        metavar="FILE",
    ),
    Switch("--force", "replace the files of --json and --plot if they exist"),
)


def outputs(picture: str) -> Options:
    """Return the options of what a command prints and writes, and what its picture shows."""
    return (
        Option(
            "--threads",
            THREADS,
            "by default OMP_NUM_THREADS, the affinity mask and the cgroup quota decide",
            metavar="N",
        ),
        Switch("--json", "print JSON instead of a table, and nothing else"),
        Option("--output", values.path, "write the JSON to FILE, too", metavar="FILE"),
        Option(
            "--model",
            values.path,
            "write the model that was scored to FILE, as JSON, for predict, score and "
            "metaopt_fast.load_model",
            metavar="FILE",
        ),
        Option(
            "--plot",
            values.picture,
            f"draw {picture}, to a .png, .svg or .pdf file",
            metavar="FILE",
        ),
        Switch("--force", "replace the files of --output, --model and --plot if they exist"),
    )


OF_A_SEARCH = (*PROGRESS, *outputs("the best loss against the candidates"))

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
        "go on with an interrupted search",
        "Go on with a search that has a checkpoint: the result is the same, bit for "
        "bit, as without the interruption.",
        (
            Option("checkpoint", values.path, "what search --checkpoint has written", None, "FILE"),
            *OF_A_SEARCH,
        ),
    ),
    Command(
        "status",
        "say how far a search has come, while it runs, too",
        "Read what a search has written to its checkpoint so far, and print the best candidate, "
        "the rate and the time left. Nothing is evaluated, and the search is left alone.",
        (
            Option("checkpoint", values.path, "what search --checkpoint writes", None, "FILE"),
            Switch("--json", "print JSON instead of a table"),
        ),
    ),
    Command(
        "merge",
        "make one result of the shards of a search",
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
            *outputs("the best loss against the candidates"),
        ),
    ),
    Command(
        "tune",
        "choose the strength of the penalty by cross-validation",
        "Train logistic regressions with an intercept and an l2 or l1 penalty, or linear support "
        "vector machines, for very many values of C, leave out each of a few folds in turn, and "
        "print the values that score best on the rows left out. Without FILE the data is Breast "
        "Cancer Wisconsin (Diagnostic), which the package carries.",
        (*DATA, *TUNING, *PROGRESS, *outputs("the score against C")),
        "C is scikit-learn's: l1 + l2 = 1 / (C * training rows). Exit status: 0, or 1 if the job "
        "failed, 2 for wrong usage; 130 after Ctrl-C and 143 after SIGTERM, which leave nothing: "
        "all models are trained together.",
    ),
    Command(
        "bootstrap",
        "say how far coefficients would be if the rows had been others",
        "Train a logistic regression with an intercept and an l2 penalty on the rows of FILE and "
        "on very many resamples of them, each to a proven optimum, and print an interval of each "
        "coefficient. Without FILE the data is Breast Cancer Wisconsin (Diagnostic), which the "
        "package carries.",
        (*DATA, *RESAMPLING, *PROGRESS, *outputs("the intervals of the coefficients")),
        "Intervals centre on what the penalty leaves of a coefficient, and C is not chosen anew. "
        "Exit status: 0, or 1 if the job failed, 2 for wrong usage; 130 after Ctrl-C and 143 after "
        "SIGTERM, which print what the resamples that were finished say.",
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
            Switch("--proba", "print the probability of each class instead"),
            Option("--output", values.path, "write to FILE instead of stdout", metavar="FILE"),
            Switch("--force", "replace the file of --output if it exists"),
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
            Switch("--json", "print JSON instead of a table"),
        ),
    ),
    Command(
        "info",
        "say what was found on this machine",
        "Print the version, the instruction set, OpenMP and the threads, and how each was chosen.",
        (Switch("--json", "print JSON instead"),),
    ),
    Command(
        "bench",
        "measure the kernels beside the limits of this machine",
        "Measure what this machine can do at best (fused multiply-adds, reading of "
        "memory) and how near each kernel comes to it, in double and in single precision, on one "
        "thread and on all. Leave the machine alone meanwhile.",
        BENCH,
        "It takes 1.5 GB of memory. Exit status: 0, or 1 if the job failed, 2 for wrong "
        "usage, 130 after Ctrl-C, 143 after SIGTERM.",
    ),
)
