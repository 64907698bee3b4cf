"""A search in shards on the command line: each by itself, how far it has come, and all together."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from programs import assert_complaint

import metaopt_fast as mf

SEARCH = ("search", "--objective", "error", "--candidates", 100_000, "--top", 3)


@pytest.fixture
def shards(run, tmp_path):
    """Checkpoints of three shards."""
    paths = [tmp_path / f"{number}.db" for number in (1, 2, 3)]
    for number, path in enumerate(paths, start=1):
        status, _, stderr = run(*SEARCH, "--shard", f"{number}/3", "--checkpoint", path)
        assert (status, stderr) == (0, "")
    return paths


def test_merged_shards_are_the_search_of_one_process(run, shards, tmp_path):
    _, expected, _ = run(*SEARCH, "--json")
    model = tmp_path / "model.json"
    status, stdout, stderr = run("merge", *shards[::-1], "--json", "--model", model)
    assert (status, stderr) == (0, "")
    found, expected = json.loads(stdout), json.loads(expected)
    for name in ("top", "trace", "ranges", "n_evaluated", "zero"):
        assert found[name] == expected[name]
    assert [path.exists() for path in shards] == [True] * 3
    assert mf.load_model(model).classes == ("benign", "malignant")


@pytest.mark.long(everywhere=True)
def test_shards_that_are_not_there_are_named(run, shards):
    status, stdout, stderr = run("merge", shards[0], shards[2])
    assert status == 0 and "best loss" in stdout
    assert stderr == (
        "metaopt-fast: note: candidates 33,333 to 66,665 of 100,000 are in none of the files\n"
    )


@pytest.mark.long(everywhere=True)
def test_shards_of_other_searches_or_unfinished_ones_are_refused(run, shards, tmp_path):
    other = tmp_path / "other.db"
    run(*SEARCH, "--candidates", 1000, "--seed", 6, "--checkpoint", other)
    status, stdout, stderr = run("merge", shards[0], other)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "results differ in" in stderr
    part = tmp_path / "part.db"
    run(*SEARCH, "--candidates", 10**7, "--time-budget", 1e-6, "--checkpoint", part)
    status, stdout, stderr = run("merge", shards[0], part)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert f"end that search first, by metaopt-fast resume {part}" in stderr
    status, _, stderr = run("merge", shards[0], shards[0])
    assert status == 2 and "two of the given files are the same" in stderr


def test_shards_are_not_merged_for_other_data(run, data, tmp_path):
    part = tmp_path / "part.db"
    run("search", data, "--target", "label", "--candidates", 500, "--checkpoint", part)
    with open(data, "a") as file:
        file.write("9,9,n\n")
    status, stdout, stderr = run("merge", part)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert str(part) in stderr


@pytest.mark.long(everywhere=True)
def test_the_status_of_a_search_says_how_far_it_has_come(run, shards, tmp_path):
    status, stdout, _ = run("status", shards[0])
    assert status == 0
    assert "33,333 of 33,333 (100.0%)" in stdout and "seconds left      none" in stdout
    part = tmp_path / "part.db"
    status, stdout, _ = run(
        *SEARCH, "--candidates", 10**7, "--time-budget", 1e-6, "--checkpoint", part, "--json"
    )
    result = json.loads(stdout)
    assert status == 0 and result["stopped_by"] == "time_budget"
    status, stdout, _ = run("status", part, "--json")
    found = json.loads(stdout)
    assert status == 0
    assert found["n_evaluated"] == result["n_evaluated"] < found["n_candidates"] == 10**7
    assert (found["loss"], found["index"]) == (result["loss"], result["index"])
    rate = found["n_evaluated"] / found["elapsed"]
    assert found["candidates_per_second"] == pytest.approx(rate)
    assert found["seconds_left"] == pytest.approx((10**7 - found["n_evaluated"]) / rate)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_shard_is_one_of_so_many(run, shard):
    status, stdout, stderr = run("search", f"--shard={shard}")
    assert (status, stdout) == (2, "")
    assert "I/N wanted" in stderr


def test_a_shard_has_as_many_candidates_as_are_kept(run):
    status, stdout, stderr = run(*SEARCH, "--shard", "1/50000")
    assert (status, stdout) == (2, "")
    assert "--top is greater than the candidates of a shard" in stderr


def test_populations_have_no_shards(run):
    status, _, stderr = run("search", "--method", "snes", "--shard", "1/2")
    assert status == 2 and "--shard is of --method random" in stderr


def test_an_evolution_ends_when_its_time_is_over(run):
    budget = ("--time-budget", 1e-6)
    status, stdout, _ = run("search", "--method", "snes", "--candidates", 10**7, *budget, "--json")
    assert status == 0 and json.loads(stdout)["stopped_by"] == "time_budget"


# ----------------------------------------------------------------------- jobs, as the page has them

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "clusters.md"


def block(kind, word):
    """The block of the page with a word in it."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return found


def slurm(folder):
    """The script of the array, and what tells two jobs apart."""
    script = block("sh", "SLURM")
    jobs = [{"SLURM_ARRAY_TASK_ID": f"{number}"} for number in (1, 2)]
    same = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
    return script, [job | same for job in jobs]


def kubernetes(folder):
    """The same of the indexed job."""
    spec = yaml.safe_load(block("yaml", "JOB_COMPLETION_INDEX"))["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (line,) = container["args"]
    assert container["command"] == ["sh", "-c"]
    assert f")/{spec['completions']}\n" in line.replace(" ", "\n")
    line = line.replace(f")/{spec['completions']}", ")/2").replace("/data/", f"{folder}/")
    return line, [{"JOB_COMPLETION_INDEX": f"{number}"} for number in (0, 1)]


@pytest.mark.long
@pytest.mark.parametrize("jobs_of", [slurm, kubernetes])
def test_jobs_as_the_page_has_them_make_the_search_of_one_process(jobs_of, tmp_path):
    script, jobs = jobs_of(tmp_path)
    assert "1e9" in script
    script = script.replace("1e9", "20000")
    program = tmp_path / "metaopt-fast"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m metaopt_fast "$@"\n')
    program.chmod(0o755)
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(60, 3)).round(3), rng.integers(0, 2, 60)])
    lines = ["a,b,c,label", *(",".join(map(repr, row)) for row in rows.tolist())]
    (tmp_path / "data.csv").write_text("\n".join(lines))

    def run(command, **variables):
        path = os.pathsep.join(entry for entry in sys.path if entry)
        programs = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PYTHONPATH": path, "PATH": programs, **variables}
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env=env, capture_output=True, check=True
        )
        return done.stdout

    for job in jobs:
        run(script, **job)
    merged = json.loads(run("metaopt-fast merge shard-*.db --json"))
    alone = run("metaopt-fast search data.csv --target label --candidates 20000 --json")
    for name in ("top", "trace", "ranges"):
        assert merged[name] == json.loads(alone)[name]
