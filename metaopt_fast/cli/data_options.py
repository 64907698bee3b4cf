"""The options of data and of models: files, and what their columns and rows are for."""

from __future__ import annotations

from metaopt_fast.cli import values
from metaopt_fast.cli.options import Option, Options, Switch

NO_HEADER = Switch(
    "--no-header", "take the first line of a text file for a row; columns are x0, x1, ... then"
)

READ: Options = (
    Option(
        "file",
        values.path,
        ".csv, .tsv or .txt (a header, or --no-header; features that are numbers, or True and "
        "False; a target of two values, numbers or text; commas, semicolons, tabs, decimal commas, "
        "UTF-16 and .gz, .bz2, .zst are detected), .parquet, .feather, .arrow, .npz (arrays X and "
        "y), .npy (the target is the last column), a pipe, or - for stdin",
        metavar="FILE",
        further={"nargs": "?"},
    ),
    Option(
        "--target",
        None,
        "the column to predict, of files with names of columns; the greater of two values is the "
        "positive class, and tune and search with --objective logistic take up to 200",
        metavar="COLUMN",
    ),
    Option(
        "--positive",
        None,
        "the value of the target that is the positive class; by default the greater one",
        metavar="VALUE",
    ),
    Option(
        "--features",
        values.columns,
        "the columns that are features, separated by commas; by default all other columns",
        metavar="COLUMNS",
        further={"action": "extend"},
    ),
    Option(
        "--drop",
        values.columns,
        "columns to leave out, separated by commas",
        metavar="COLUMNS",
        further={"action": "extend"},
    ),
    Option(
        "--weight",
        None,
        "the column of the rows' weights, numbers >= 0, which is no feature",
        metavar="COLUMN",
    ),
    Option(
        "--missing",
        ("error", "mean", "drop"),
        "what to do where a feature has no value (an empty field, NA, nan, null, ?): stop, take "
        "the mean of the training rows (of text: none of its values), or drop the row",
        "error",
    ),
    Option(
        "--categories",
        ("error", "onehot"),
        "what to do with features of text: stop, or make a column of 0 and 1 for each value of the "
        "training rows",
        "error",
    ),
    NO_HEADER,
)

COLUMNS: Options = (
    *READ,
    Switch(
        "--no-standardize",
        "leave the features as they are; by default each gets mean 0 and standard deviation "
        "1 over the training rows, and a constant one becomes 0",
    ),
)

HELD_OUT: Options = (
    Option(
        "--test",
        values.path,
        "a file of held-out rows, on which the chosen model is scored once",
        metavar="FILE",
    ),
    Option(
        "--holdout",
        values.part,
        "the fraction of the rows of each class, drawn by --seed, that is held out, and on which "
        "the chosen model is scored once",
        metavar="PART",
    ),
)

DATA: Options = (*COLUMNS, *HELD_OUT)

MODEL = Option("model", values.path, "what --model has written", None, "MODEL")
ROWS = Option("file", values.path, "rows, in any kind of file that search reads", None, "FILE")
