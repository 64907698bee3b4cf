"""The options of the commands by what they are for: candidates, objectives, tuning, outputs."""

from __future__ import annotations

from functools import partial

from metaopt_fast.cli import values
from metaopt_fast.cli.options import Option, Options, Switch
from metaopt_fast.samplers.base import MAX_INDEX, MAX_SEED
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import ALL_SCORES, SCORES
from metaopt_fast.validation.values import DTYPES, MAX_THREADS

SCORINGS = tuple({**ALL_SCORES, **MULTICLASS_SCORES})
METHODS = ("random", "cem", "snes", "ars", "shrinking", "integer-local-search")

# Candidates, and folds, of a tuning, whose models are all in memory.
MAX_TUNED = 1_000_000

COUNT = partial(values.integer, 1, MAX_INDEX)
SEED = partial(values.integer, 0, MAX_SEED)
THREADS = partial(values.integer, 1, MAX_THREADS)
POSITIVE = partial(values.number, 0.0, False)
NOT_NEGATIVE = partial(values.number, 0.0, True)

CANDIDATES: Options = (
    Option("--candidates", COUNT, "how many vectors to draw", 1_000_000, "N"),
    Option("--seed", SEED, "seed of the random numbers, from 0 to 2**64 - 1", 0),
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
        f"{', '.join(METHODS)}: random draws all candidates alike; the others draw populations "
        "that follow the best of the one before, see help(metaopt_fast.evolve)",
        "random",
        "METHOD",
    ),
    Option(
        "--population",
        partial(values.integer, 2, MAX_INDEX),
        "candidates of a population; --candidates are rounded up to whole ones",
        256,
        "N",
    ),
)

GROUP = Option(
    "--group",
    None,
    "the column that says the group of each row, numbers or text; models do not see it",
    metavar="COLUMN",
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
    GROUP,
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
    Option("--low", POSITIVE, "smallest value of C; they are drawn log-uniformly", 1e-4, "C"),
    Option("--high", POSITIVE, "largest value of C", 1e4, "C"),
    Option(
        "--l1-ratio",
        partial(values.number, 0.0, True),
        "share of the l1 penalty: 0 is l2 alone, 1 is l1 alone",
        0.0,
        "R",
    ),
    Option(
        "--loss",
        ("logistic", "squared-hinge"),
        "the loss to minimise: squared-hinge makes linear support vector machines, without "
        "probabilities or an l1 penalty",
        "logistic",
    ),
    Option(
        "--metamodel",
        ("linear", "network"),
        "what is tuned: a network has one hidden layer of rectified linear units, and a learning "
        "rate and a penalty are drawn in place of C",
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
        SCORINGS,
        f"the score of the rows left out, the greater the better: {', '.join(SCORINGS)}; by "
        "default neg_log_loss, and accuracy with --loss squared-hinge",
        metavar="SCORE",
    ),
    Option("--seed", SEED, "seed of the candidates and the folds, from 0 to 2**64 - 1", 0),
)

STRENGTH = Option(
    "--c", POSITIVE, "inverse of the strength of the penalty, scikit-learn's C", 1.0, "C"
)

RESAMPLING: Options = (
    STRENGTH,
    Option(
        "--resamples",
        partial(values.integer, 2, MAX_TUNED),
        "how many resamples to draw",
        1000,
        "N",
    ),
    Option("--confidence", partial(values.number, 0.0, False), "level of the intervals", 0.95, "P"),
    Option(
        "--method",
        ("percentile", "BCa"),
        "BCa corrects the intervals for bias and skewness, for one more model without each row",
        "percentile",
    ),
    Option("--seed", SEED, "seed of the resamples and of --holdout, from 0 to 2**64 - 1", 0),
)

TREE: Options = (
    Option(
        "--depth",
        partial(values.integer, 2, 3),
        "how many questions there may be on the way to a leaf, 2 or 3",
        3,
        "D",
    ),
    Option(
        "--thresholds",
        COUNT,
        "how many thresholds of a column to try at most, at quantiles of the training rows",
        10,
        "N",
    ),
    Option("--min-leaf", COUNT, "how many training rows a leaf has at least", 1, "N"),
    Option("--seed", SEED, "seed of --holdout, from 0 to 2**64 - 1", 0),
)

PERMUTING: Options = (
    STRENGTH,
    Option(
        "--permutations",
        partial(values.integer, 1, MAX_TUNED),
        "how many permutations to draw",
        1000,
        "N",
    ),
    Option("--cv", partial(values.integer, 2, MAX_TUNED), "how many folds", 5, "K"),
    Option(
        "--scoring",
        tuple(SCORES),
        f"the score of the rows left out, the greater the better: {', '.join(SCORES)}",
        "accuracy",
        metavar="SCORE",
    ),
    GROUP,
    Option("--seed", SEED, "seed of the permutations and of the folds, from 0 to 2**64 - 1", 0),
)

BENCH: Options = (
    Option(
        "--seconds", POSITIVE, "how long to measure, some seconds of preparation aside", 60.0, "S"
    ),
    Option(
        "--threads",
        THREADS,
        "how many threads all threads are; by default OMP_NUM_THREADS, the affinity mask and the "
        "cgroup quota decide",
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


KEPT_MODEL = Option(
    "--model",
    values.path,
    "write the model that was scored to FILE, as JSON, for predict, score and "
    "metaopt_fast.load_model",
    metavar="FILE",
)


def outputs(picture: str, *further: Option) -> Options:
    """Return the options of what a command prints and writes: `further` files, and a picture of
    what it says."""
    *files, last = ("--output", *(option.flag for option in further), "--plot")
    return (
        Option(
            "--threads",
            THREADS,
            "how many threads to use; by default OMP_NUM_THREADS, the affinity mask and the cgroup "
            "quota decide",
            metavar="N",
        ),
        Switch("--json", "print JSON instead of a table, and nothing else"),
        Option("--output", values.path, "write the JSON to FILE, too", metavar="FILE"),
        *further,
        Option(
            "--plot",
            values.picture,
            f"draw {picture}, to a .png, .svg or .pdf file",
            metavar="FILE",
        ),
        Switch("--force", f"replace the files of {', '.join(files)} and {last} if they exist"),
    )
