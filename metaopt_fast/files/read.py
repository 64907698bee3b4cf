"""Readers of data files: features, and a target, of text, NumPy's, Parquet or Arrow's files.

Files come from strangers: what is read is checked, nothing in it is executed, and an error is one
sentence that names the file, the row and the column.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable

from metaopt_fast.files.arrow_file import BEGINNING, read_arrow
from metaopt_fast.files.compressed import SUFFIXES as COMPRESSED
from metaopt_fast.files.csv_file import read_csv
from metaopt_fast.files.numpy_file import read_npy, read_npz
from metaopt_fast.files.parquet_file import read_parquet
from metaopt_fast.files.table import DataFile, Table, check_file
from metaopt_fast.files.wanted import Wanted
from metaopt_fast.validation.text import shown
from metaopt_fast.validation.values import describe

Reader = Callable[[DataFile, Wanted], Table]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".npz": read_npz,
    ".npy": read_npy,
    ".parquet": read_parquet,
    ".feather": read_arrow,
    ".arrow": read_arrow,
}
# Files of programs for spreadsheets.
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
# The first bytes of what comes through a pipe, which has no suffix; anything else is text.
FIRST_BYTES = {
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".npz",
    b"\x93NUM": ".npy",
    BEGINNING[:4]: ".arrow",
}


def read_table(
    path: str | os.PathLike[str],
    target: str | None = None,
    *,
    group: str | None = None,
    wanted: Wanted | None = None,
) -> Table:
    """Read features and a target of two values, numbers or text, from a file.

    Parameters
    ----------
    path : path-like
        Data file. .csv, .tsv and .txt, which may be compressed (.csv.gz, .bz2, .zst): UTF-8 or, if
        its mark says so, UTF-16, with a header of names, separated by commas, semicolons, tabs,
        vertical bars or spaces, with decimal points or commas, as the file itself shows; .parquet,
        .feather and .arrow (which need pyarrow or polars); .npz: the features as array X and the
        target as array y; .npy: the target is the last column. Features are numbers, or True and
        False, or text if `wanted` says so. An index that pandas saved with its frame is left out,
        with a note: the first columns of a .csv file where they have no name, and what
        `pandas.read_parquet` makes an index.
    target : str, optional
        The target's column; all other columns are features. Text and Parquet need it; of an .npz
        file it is the name of the target's array, "y" by default; an .npy file has no names.
    group : str, optional
        The column of each row's group, which is no feature then: numbers or text of at most 100
        values. Without names, columns are x0, x1, ...
    wanted : Wanted, optional
        All that is asked of the file, instead of `target` and `group`.

    Returns
    -------
    Table
        The greater one of the target's values, as numbers or in the order of characters, is the
        positive class. Numbers are compared exactly, however many digits they have: 1 and 1.00
        are one value.

    Raises
    ------
    ValueError
        If the file is not as described; the message names the line and the column.
    OSError
        If it cannot be read.
    ImportError
        If Parquet or Arrow is to be read and neither pyarrow nor polars is installed.

    Examples
    --------
    >>> from metaopt_fast.datasets import BREAST_CANCER
    >>> table = read_table(BREAST_CANCER, "target")
    >>> table.class_names
    ('benign', 'malignant')
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"path is {describe(path)}: pass the path of a data file.")
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target is {describe(target)}: pass the name of a column.")
    if group is not None and not isinstance(group, str):
        raise TypeError(f"group is {describe(group)}: pass the name of a column.")
    path = os.fspath(path)
    check_file(path)
    wanted = Wanted(target, group) if wanted is None else wanted
    reader = _reader_of(path)
    _check_header(path, reader, wanted)
    return reader(DataFile(path, path), wanted)


def _reader_of(path: str) -> Reader:
    """Return the reader of files of a name."""
    stem, suffix = os.path.splitext(path.lower())
    inner = os.path.splitext(stem)[1]
    if suffix in COMPRESSED and READERS.get(inner) is read_csv:
        return read_csv
    if suffix in SHEETS:
        raise ValueError(
            f"{shown(path)} is a spreadsheet, which may hold several tables: save the one to read "
            "as .csv, and pass that file."
        )
    if suffix not in READERS:
        raise ValueError(
            f"{shown(path)} has the suffix {suffix!r}: pass a file of {', '.join(READERS)}, or a "
            f"compressed .csv ({', '.join(COMPRESSED)})."
        )
    return READERS[suffix]


def _check_header(name: str, reader: Reader, wanted: Wanted) -> None:
    if not wanted.has_header and reader is not read_csv:
        raise ValueError(f"{shown(name)} is no text file: leave out --no-header.")


def read_stream(name: str, path: str | int, wanted: Wanted) -> Table:
    """Read what comes through a pipe or a descriptor, as `read_table` reads a file.

    Its kind is told by its first bytes.
    """
    try:
        with open(path, "rb", closefd=isinstance(path, str)) as stream:
            suffix = FIRST_BYTES.get(stream.peek(4)[:4], ".csv")
            if suffix == ".csv":
                return read_csv(DataFile(name, name, stream), wanted)
            _check_header(name, READERS[suffix], wanted)
            # The others are read from their ends.
            with tempfile.NamedTemporaryFile(suffix=suffix) as copy:
                shutil.copyfileobj(stream, copy)
                copy.flush()
                return READERS[suffix](DataFile(copy.name, name), wanted)
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"{shown(name)} cannot be read ({reason}): pass another file.") from None
