"""What tests of the program share: a file, and the program in this process."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from programs import CSV

from metaopt_fast.cli import program as cli


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(CSV)
    return str(path)


@pytest.fixture
def run(capsys):
    """A function that runs the program in this process: its status, stdout and stderr."""

    def run(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def run_commands_of(run):
    """A function that runs the commands of a page of the documentation, each to its success."""

    def run_all(page):
        text = (Path(__file__).parents[2] / "docs" / page).read_text()
        (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            status, stdout, stderr = run(*arguments)
            assert (program, status, stderr) == ("metaopt-fast", 0, "")
            assert stdout

    return run_all


@pytest.fixture
def grouped(tmp_path):
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=(2, 300)), rng.integers(0, 2, 300)
    y = x[0] + group + rng.normal(size=300) > 0.5
    lines = [f"{a},{b},{g},{'yes' if c else 'no'}" for a, b, g, c in zip(*x, group, y, strict=True)]
    path = tmp_path / "grouped.csv"
    path.write_text("\n".join(["a,b,sex,label", *lines]) + "\n")
    return str(path)
