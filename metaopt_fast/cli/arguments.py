"""The arguments of the program ``metaopt-fast``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, NoReturn

from metaopt_fast._version import __version__
from metaopt_fast.cli import values
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.validation.text import shown
from metaopt_fast.validation.values import DTYPES, MAX_THREADS

PROGRAM = "metaopt-fast"
METHODS = ("random", "cem", "snes", "ars", "shrinking", "integer-local-search")

# Of the candidates and the folds of a tuning, whose models are all in memory.
MAX_TUNED = 1_000_000


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: error: {shown(message)}; see {self.prog} --help.\n")

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        found = super().parse_args(*arguments, **options)
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
    _add_search(commands)
    _add_resume(commands)
    _add_tune(commands)
    info = commands.add_parser(
        "info",
        help="say what was found on this machine",
        description="Print the version, the instruction set, OpenMP and the threads, and how each "
        "was chosen.",
        allow_abbrev=False,
    )
    info.add_argument("--json", action="store_true", help="print JSON instead")
    _add_bench(commands)
    return parser


def _add_search(commands: Any) -> None:
    search = commands.add_parser(
        "search",
        help="draw parameter vectors at random and keep the best",
        description="Draw very many parameter vectors of a linear model with an intercept, compute "
        "a loss or count the errors of each over all rows of FILE, and print the best. Without "
        "FILE the data is Breast Cancer Wisconsin (Diagnostic), which the package carries.",
        epilog="Candidate i depends on the seed and i alone, and its loss is the same for any "
        "number of threads. Exit status: 0, or 1 if the job failed, 2 for wrong usage; 130 after "
        "Ctrl-C and 143 after SIGTERM, which print the best so far.",
        allow_abbrev=False,
    )
    _add_data(search)
    search.add_argument(
        "--candidates",
        metavar="N",
        type=partial(values.integer, 1, MAX_INDEX),
        default=1_000_000,
        help="how many vectors to draw (default 1000000)",
    )
    search.add_argument(
        "--seed",
        type=partial(values.integer, 0, MAX_SEED),
        default=0,
        help="of the random numbers, from 0 to 2**64 - 1 (default 0)",
    )
    search.add_argument(
        "--sampler",
        choices=("normal", "uniform"),
        default="normal",
        help="the distribution of each parameter (default normal)",
    )
    search.add_argument(
        "--scale",
        type=partial(values.number, 0.0, False),
        default=1.0,
        help="standard deviation of the normal one; the uniform one goes from -SCALE to SCALE "
        "(default 1)",
    )
    search.add_argument(
        "--integers",
        metavar="LOW:HIGH",
        type=values.box,
        help="draw whole numbers from LOW to HIGH instead; write --integers=-5:5 where LOW is "
        "negative",
    )
    search.add_argument(
        "--max-nonzero",
        metavar="N",
        type=partial(values.integer, 1, values.MAX_INTEGER),
        help="how many of the whole numbers may be other than 0, the intercept aside",
    )
    search.add_argument(
        "--method",
        choices=METHODS,
        default="random",
        help="random draws all candidates alike; the others draw populations that follow the best "
        "of the one before: see help(metaopt_fast.evolve) (default random)",
    )
    search.add_argument(
        "--population",
        metavar="N",
        type=partial(values.integer, 2, MAX_INDEX),
        default=256,
        help="candidates of a population; --candidates are rounded up to whole ones (default 256)",
    )
    search.add_argument(
        "--objective",
        metavar="WHAT",
        type=values.objective,
        default="logistic",
        help=f"what to minimise: {', '.join(values.OBJECTIVES)} (1 - F1, 1 - Matthews' "
        "correlation), or cost=FP:FN, the mean cost with those of a false positive and a false "
        "negative (default logistic)",
    )
    search.add_argument(
        "--group",
        metavar="COLUMN",
        help="the column that says the group of each row, numbers or text, of a count; models do "
        "not see it",
    )
    search.add_argument(
        "--max-gap",
        metavar="GAP",
        type=partial(values.number, 0.0, True),
        help="how much the rate of --gap may differ between two groups",
    )
    search.add_argument(
        "--gap",
        choices=("selection-rate", "tpr", "fpr"),
        default="selection-rate",
        help="the rate of positive decisions among all rows, positive rows or negative rows "
        "(default selection-rate)",
    )
    search.add_argument(
        "--l2",
        type=partial(values.number, 0.0, True),
        default=0.0,
        help="strength of the penalty l2/2 * sum of squares, without the intercept (default 0)",
    )
    search.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float64",
        help="precision; float32 is about twice as fast (default float64)",
    )
    search.add_argument(
        "--top",
        metavar="K",
        type=partial(values.integer, 1, MAX_INDEX),
        default=1,
        help="how many of the best to keep (default 1)",
    )
    search.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=values.path,
        help="record finished parts in FILE; with the same arguments, or by the command resume for "
        "--method random, an interrupted search goes on",
    )
    _add_progress(search)
    _add_outputs(search, "the best loss against the candidates")
    search.set_defaults(parser=search)


def _add_resume(commands: Any) -> None:
    resume = commands.add_parser(
        "resume",
        help="go on with an interrupted search",
        description="Go on with a search that has a checkpoint: the result is the same, bit for "
        "bit, as without the interruption.",
        allow_abbrev=False,
    )
    resume.add_argument(
        "checkpoint", metavar="FILE", type=values.path, help="what search --checkpoint has written"
    )
    _add_progress(resume)
    _add_outputs(resume, "the best loss against the candidates")
    resume.set_defaults(parser=resume)


def _add_tune(commands: Any) -> None:
    tune = commands.add_parser(
        "tune",
        help="choose the strength of the penalty by cross-validation",
        description="Train logistic regressions with an intercept and an l2 penalty for very many "
        "values of C, leave out each of a few folds in turn, and print the values that score best "
        "on the rows left out. Without FILE the data is Breast Cancer Wisconsin (Diagnostic), "
        "which the package carries.",
        epilog="C is scikit-learn's: l2 = 1 / (C * training rows). Exit status: 0, or 1 if the job "
        "failed, 2 for wrong usage; 130 after Ctrl-C and 143 after SIGTERM, which leave nothing: "
        "all models are trained together.",
        allow_abbrev=False,
    )
    _add_data(tune)
    tune.add_argument(
        "--candidates",
        metavar="N",
        type=partial(values.integer, 1, MAX_TUNED),
        default=200,
        help="how many values of C to draw (default 200)",
    )
    tune.add_argument(
        "--low",
        metavar="C",
        type=partial(values.number, 0.0, False),
        default=1e-4,
        help="the least value; they are log-uniform (default 0.0001)",
    )
    tune.add_argument(
        "--high",
        metavar="C",
        type=partial(values.number, 0.0, False),
        default=1e4,
        help="the greatest value (default 10000)",
    )
    tune.add_argument(
        "--cv",
        metavar="K",
        type=partial(values.integer, 2, MAX_TUNED),
        default=5,
        help="how many stratified folds (default 5)",
    )
    tune.add_argument(
        "--scoring",
        choices=tuple(SCORES),
        default="neg_log_loss",
        help="the score of the rows left out, the greater the better (default neg_log_loss)",
    )
    tune.add_argument(
        "--seed",
        type=partial(values.integer, 0, MAX_SEED),
        default=0,
        help="of the candidates and the folds, from 0 to 2**64 - 1 (default 0)",
    )
    _add_outputs(tune, "the score against C")
    tune.set_defaults(parser=tune, checkpoint=None)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure the kernels beside the limits of this machine",
        description="Measure what this machine can do at best (fused multiply-adds, reading of "
        "memory) and how near each kernel comes to it, in double and in single precision, on one "
        "thread and on all. Leave the machine alone meanwhile.",
        epilog="It takes 1.5 GB of memory. Exit status: 0, or 1 if the job failed, 2 for wrong "
        "usage, 130 after Ctrl-C, 143 after SIGTERM.",
        allow_abbrev=False,
    )
    bench.add_argument(
        "--seconds",
        metavar="S",
        type=partial(values.number, 0.0, False),
        default=60.0,
        help="how long to measure, some seconds of preparation aside (default 60)",
    )
    bench.add_argument(
        "--threads",
        metavar="N",
        type=partial(values.integer, 1, MAX_THREADS),
        help="what all threads are; by default OMP_NUM_THREADS, the affinity mask and the cgroup "
        "quota decide",
    )
    bench.add_argument(
        "--json",
        metavar="FILE",
        dest="output",
        type=values.path,
        help="write the figures to FILE as JSON, too",
    )
    bench.add_argument(
        "--plot",
        metavar="FILE",
        type=values.picture,
        help="draw the kernels below the limits (a roofline), to a .png, .svg or .pdf file",
    )
    bench.add_argument(
        "--force", action="store_true", help="replace the files of --json and --plot if they exist"
    )
    bench.set_defaults(parser=bench, checkpoint=None)


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        type=values.path,
        help=".csv (a header; features that are numbers, or True and False; a target of two "
        "values, numbers or text), .parquet, .npz (arrays X and y), .npy (the target is the last "
        "column), a pipe, or - for stdin",
    )
    command.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column to predict, of .csv and .parquet files; the greater of its two values is "
        "the positive class",
    )
    command.add_argument(
        "--no-standardize",
        dest="standardize",
        action="store_false",
        help="leave the features as they are; by default each gets mean 0 and standard deviation "
        "1 over all rows, and a constant one becomes 0",
    )


def _add_progress(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--progress",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether to show a line on stderr; auto does on a terminal (default auto)",
    )


def _add_outputs(command: argparse.ArgumentParser, picture: str) -> None:
    command.add_argument(
        "--threads",
        metavar="N",
        type=partial(values.integer, 1, MAX_THREADS),
        help="by default OMP_NUM_THREADS, the affinity mask and the cgroup quota decide",
    )
    command.add_argument(
        "--json", action="store_true", help="print JSON instead of a table, and nothing else"
    )
    command.add_argument(
        "--output", metavar="FILE", type=values.path, help="write the JSON to FILE, too"
    )
    command.add_argument(
        "--plot",
        metavar="FILE",
        type=values.picture,
        help=f"draw {picture}, to a .png, .svg or .pdf file",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="replace the files of --output and --plot if they exist",
    )
