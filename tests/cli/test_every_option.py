"""Every option of the program with what it should not be given: it works, or says so in a line."""

import argparse
import functools
import re

import pytest
from wrong_arguments import files, limited_memory, time_limit  # noqa: F401 - fixtures

from metaopt_fast.bench import rates as kernel_rates
from metaopt_fast.cli import program as cli
from metaopt_fast.cli.arguments import make_parser

# What a call may take of the processors' time.
SECONDS = 20
WRONG = [
    *("", " ", "abc", "nan", "inf", "-inf", "-1", "0", "1", "2", "1.5", "1e308", "1e400", "1e-400"),
    *(str(10**12), str(2**70), "0x10", "1_000", "1:2", "2:1", ":", "a\0b", "\x1b[2J", "\u202e"),
    *("\udcff", "x" * 300, ".", "no/such/folder", "data.csv", "data.npz", "search.db", "-"),
    *("cost=1:2", "cost=nan:1", "cost=", "--", "@data.csv", "/dev/null"),
]
# Each with enough to do for every option to be looked at; a search of a file, and a resumed one.
VALID = {
    "search": ["data.csv", "--target", "t", "--candidates", "20"],
    "resume": ["search.db"],
    "status": ["search.db"],
    "merge": ["search.db"],
    "tune": ["data.csv", "--target", "t", "--candidates", "2", "--cv", "2"],
    "tree": ["data.csv", "--target", "t"],
    "bootstrap": ["data.csv", "--target", "t", "--resamples", "3", "--no-standardize"],
    "permutation-test": ["data.csv", "--target", "t", "--permutations", "3", "--cv", "2"],
    "predict": ["model.json", "data.csv"],
    "score": ["model.json", "data.csv"],
    "info": [],
    "bench": ["--seconds", "0.01", "--threads", "1"],
}
# Jobs of any length may be asked for; and where there is no memory for as many threads (a test has
# little), OpenMP's runtime ends the process.
LONG = {
    "--candidates": {"1e308", str(10**12)},
    "--resamples": {"1_000"},
    "--permutations": {"1_000"},
    "--threads": {"1_000"},
}

# The least and the greatest of each option that takes whole numbers, by commands.
ANY, MANY = (1, 2**63 - 1), 1_000_000
RANGES = {
    "search": {"--candidates": ANY, "--max-nonzero": (1, MANY), "--population": (2, 2**63 - 1)}
    | {"--top": ANY},
    "tune": {"--candidates": (1, MANY), "--hidden": (1, 1024)},
    "tune permutation-test": {"--cv": (2, MANY)},
    "tree": {"--depth": (2, 3), "--thresholds": ANY, "--min-leaf": ANY},
    "bootstrap": {"--resamples": (2, MANY)},
    "permutation-test": {"--permutations": (1, MANY)},
    "search tune tree bootstrap permutation-test": {"--seed": (0, 2**64 - 1)},
    "search resume merge tune tree bootstrap permutation-test bench": {"--threads": (1, 1024)},
}


# One parser for all calls: half of what a call with thirty rows takes is its making.
one_parser = functools.cache(make_parser)


def commands():
    (subparsers,) = (
        action for action in one_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return subparsers.choices


def options():
    """Command and option, or the name of a positional argument, of all that take a value."""
    return [
        (command, action.option_strings[-1] if action.option_strings else action.dest)
        for command, parser in commands().items()
        for action in parser._actions
        if action.nargs != 0
    ]


def fault_of(capsys, command, option, value):
    """What is wrong with how the program takes a value; None if nothing is."""
    given = VALID[command]
    if option.startswith("-"):
        given = [*given, f"{option}={value}"]
    elif value.startswith("-") and value != "-":
        return None  # an option
    else:
        given = [value, *given[1:]]
    try:
        with time_limit(SECONDS):
            status = cli.main([command, *given])
    except Exception as error:
        return repr(error)
    error = capsys.readouterr().err
    if status == 0:
        return None if error == "" else f"it complains and goes on: {error!r}"
    line = re.fullmatch(r"metaopt-fast: error: (.*)\.\n", error)
    if status not in (1, 2) or line is None or not line[1].isprintable():
        return f"status {status}, no line: {error[:300]!r}"
    return None if len(line[1]) < 600 else f"a long line: {len(line[1])} letters"


def test_every_command_has_a_valid_call():
    assert set(VALID) == set(commands())


def least_and_greatest(action):
    """Of an option's whole numbers, as a sentence tells them; None of other values."""
    try:
        action.type("1e30")
    except argparse.ArgumentTypeError as error:
        told = re.fullmatch("'1e30' given, but an integer from (.+) to (.+) wanted", str(error))
        return told and (int(told[1]), int(told[2]))
    return None


def test_whole_numbers_have_these_ranges():
    found = {
        (command, action.option_strings[-1]): least_and_greatest(action)
        for command, parser in commands().items()
        for action in parser._actions
        if action.option_strings and action.type is not None
    }
    assert {option: ends for option, ends in found.items() if ends is not None} == {
        (command, option): ends
        for commands_with_it, options_with_ends in RANGES.items()
        for command in commands_with_it.split()
        for option, ends in options_with_ends.items()
    }


@pytest.mark.long
@pytest.mark.parametrize(("command", "option"), options())
def test_a_wrong_value_of_an_option_is_a_line(
    capsys, command, option, tmp_path, monkeypatch, given_files, rates
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernel_rates, "measure", lambda *_: rates)  # which takes its time
    monkeypatch.setattr(cli, "make_parser", one_parser)
    faults = []
    for value in WRONG:
        if value in LONG.get(option, ()):
            continue
        for name, content in given_files.items():  # the call before may have written to one
            (tmp_path / name).write_bytes(content)
        fault = fault_of(capsys, command, option, value)
        if fault is not None:
            faults.append(f"{option}={value[:40]!r}: {fault}")
    assert not faults, "\n".join([f"{command} at fault:", *faults])


@pytest.fixture(scope="module")
def rates():
    return kernel_rates.measure(0.01, 1)


@pytest.fixture(scope="module")
def given_files(files, tmp_path_factory):  # noqa: F811
    """The contents of the data and of the checkpoint of a search of them."""
    folder = tmp_path_factory.mktemp("given")
    rows = "".join(f"{k % 7},{k % 3},{k * k % 2}\n" for k in range(30))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "data.csv").write_text(f"a,b,t\n{rows}")
        kept = ["--checkpoint", "search.db", "--model", "model.json"]
        assert cli.main(["search", *VALID["search"], *kept]) == 0
    (folder / "data.npz").write_bytes(b"PK\x03\x04")
    return {path.name: path.read_bytes() for path in folder.iterdir()}
