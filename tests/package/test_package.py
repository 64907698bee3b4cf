"""The package as its users see it: names, types, versions, layout, and what an import costs."""

import ast
import configparser
import functools
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest

import metaopt_fast as mf
from metaopt_fast import _kernels

ROOT = Path(__file__).parents[2]

# Time of the processor beside that of `import numpy`, in one process: a guard against a heavy
# import, which other processes and a slow machine do not make heavier. It is about a third.
IMPORT_LIMIT = 0.45

PART_OF_IMPORT = """
import time
begun = time.process_time()
import numpy
started = time.process_time()
import metaopt_fast
print((time.process_time() - started) / (started - begun))
"""

MODULES_OF_IMPORT = """
import sys
import numpy
before = set(sys.modules)
import metaopt_fast
print(*sorted(set(sys.modules) - before))
"""

HEAVY = (
    "argparse",
    "asyncio",
    "concurrent.futures",
    "csv",
    "hashlib",
    "json",
    "matplotlib",
    "multiprocessing",
    "pandas",
    "pathlib",
    "scipy",
    "sklearn",
    "sqlite3",
    "subprocess",
    "tqdm",
)


@pytest.mark.long
def test_an_import_costs_little_over_numpy(run_python, tmp_path):
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    run_python(PART_OF_IMPORT, **compiled)  # fills the cache of compiled modules
    runs = [run_python(PART_OF_IMPORT, **compiled) for _ in range(5)]
    assert min(float(run.stdout) for run in runs) < IMPORT_LIMIT


def test_an_import_brings_no_heavy_module(run_python):
    imported = run_python(MODULES_OF_IMPORT).stdout.split()
    assert "metaopt_fast._kernels" in imported
    assert not set(HEAVY) & set(imported)


WITHOUT_FORKS = """
import logging, random, threading, numpy  # Python's own, which would miss it here
import os
del os.register_at_fork
import metaopt_fast as mf
objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
print(mf.random_search(objective, mf.Normal(), 1000, checkpoint="run.db").index)
"""


@pytest.mark.long(everywhere=True)
def test_a_search_needs_no_forks(run_python, tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.chdir(tmp_path)
    objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], [1, 1, 0])
    found = mf.random_search(objective, mf.Normal(), 1000).index
    done = run_python(WITHOUT_FORKS)
    assert (done.stdout, done.stderr) == (f"{found}\n", "")


def test_all_public_names_are_there_and_documented():
    assert len(mf.__all__) == len(set(mf.__all__))
    for name in mf.__all__:
        value = getattr(mf, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), name


def test_names_asked_for_late_are_the_same_objects():
    from metaopt_fast.search.checkpoint import CheckpointError

    assert mf.CheckpointError is CheckpointError
    assert mf.reference.__name__ == "metaopt_fast.reference"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = mf.no_such_name


def test_the_versions_are_equal():
    assert mf.__version__ == project()["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {re.escape(mf.__version__)}\b", changelog, re.MULTILINE)


def names_of_0_1_0():
    """The documented names of version 0.1.0, with arguments as they are written in a definition."""
    with zipfile.ZipFile(ROOT / "tests" / "stored" / "of_0_1_0.zip") as archive:
        return archive.read("names").decode().splitlines()


@pytest.mark.parametrize("line", names_of_0_1_0())
def test_what_0_1_0_had_is_there_and_takes_the_same_arguments(line):
    name, parenthesis, arguments = line.partition("(")
    *path, last = name.split(".")
    if path and path[0] in ("sklearn", "datasets"):
        importlib.import_module(f"metaopt_fast.{path[0]}")
    owner = functools.reduce(getattr, path, mf)
    if not parenthesis:
        assert hasattr(owner, last) or any(last in inspect.get_annotations(t) for t in owner.mro())
        return
    now = list(inspect.signature(getattr(owner, last)).parameters.values())
    now = [one for one in now if one.name != "self"]
    # Of arguments without a default the test asks for the name: they may have one since.
    positional, _, keywords = arguments.removesuffix(")").partition("*")
    then = ast.parse(f"def f({positional.rstrip(', ')}{', *' + keywords if keywords else ''}): 0")
    wanted = then.body[0].args
    assert [one.name for one in now[: len(wanted.args)]] == [one.arg for one in wanted.args]
    known = {one.name: one.default for one in now}
    given = zip(reversed(wanted.args), reversed(wanted.defaults), strict=False)
    for argument, default in [*given, *zip(wanted.kwonlyargs, wanted.kw_defaults, strict=True)]:
        assert argument.arg in known
        assert default is None or known[argument.arg] == ast.literal_eval(default)


def public_callables():
    """Names of all public functions and classes, and of what these can do by the package's code."""
    for name in mf.__all__:
        value = getattr(mf, name)
        members = inspect.getmembers(value, inspect.isroutine) if inspect.isclass(value) else ()
        own = [key for key, member in members if is_of_the_package(member)]
        yield from [name] * callable(value) + [f"{name}.{key}" for key in own if key[0] != "_"]


def is_of_the_package(member):
    return (getattr(member, "__module__", None) or "").startswith("metaopt_fast")


def test_every_argument_of_public_calls_may_be_passed_by_its_name():
    names = set(public_callables())
    assert {"LogisticLoss", "LogisticLoss.loss", "TreeModel.of", "fit_many"} <= names
    by_position = []
    for name in names - {"CheckpointError"}:
        call = functools.reduce(getattr, name.split("."), mf)
        given = [one for one in inspect.signature(call).parameters.values() if one.name != "self"]
        by_position += [f"{name}: {one}" for one in given if one.kind is one.POSITIONAL_ONLY]
    assert not by_position


def test_numpy_is_the_only_requirement():
    assert [re.match(r"\w+", line).group() for line in project()["dependencies"]] == ["numpy"]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_type_checkers_find_the_types():
    package = resources.files("metaopt_fast")
    assert package.joinpath("py.typed").is_file()
    assert package.joinpath("_kernels.pyi").is_file()


def test_the_configuration_is_that_of_the_compiled_module():
    found = mf.config()
    assert (found["isa"], found["isa_reason"]) == _kernels.isa()
    assert found["isa"] in _kernels.supported_isas()
    assert found["openmp"] is _kernels.OPENMP
    assert found["n_threads"] >= 1
    assert found["version"] == mf.__version__


def test_show_config_prints_each_entry(capsys):
    mf.show_config()
    shown = capsys.readouterr().out
    assert all(str(value) in shown for value in mf.config().values() if value is not True)


def test_a_package_without_its_compiled_part_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaopt_fast._kernels", None)
    where = Path(mf.__file__)
    spec = importlib.util.spec_from_file_location(
        "metaopt_fast", where, submodule_search_locations=[str(where.parent)]
    )
    with pytest.raises(ImportError, match=r"its compiled part is not there: run 'pip install"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# ------------------------------------------------------------------------------ who imports whom

PACKAGE, SOURCES = ROOT / "metaopt_fast", ROOT / "src"


def test_no_class_has_a_lock_that_a_fork_could_find_held():
    """Of Python 3.11, `cached_property` has one for all objects of a class (runs/spread.py)."""
    users = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r"import .*\bcached_property\b", path.read_text())
    ]
    assert users == []


def test_no_module_imports_from_the_root_but_the_compiled_one():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent == PACKAGE and path.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                is_root = node.module == "metaopt_fast" or node.level > 0
                found += [(path.name, ast.unparse(node))] * is_root
            elif isinstance(node, ast.Import):
                roots = [name for name in node.names if name.name == "metaopt_fast"]
                found += [(path.name, ast.unparse(node))] * bool(roots)
    assert found == []


def test_the_contract_places_every_wing_on_one_of_nine_floors():
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    floors = contract["importlinter:contract:floors"]["layers"].strip().splitlines()
    assert len(floors) <= 9
    placed = [*re.findall(r"\w+", " ".join(floors)), "reference"]
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"} - {"__init__"}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(placed) == sorted(there)


def test_a_wing_says_in_one_docstring_what_is_there_and_who_may_import_it():
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        # These hand on public names.
        if path.parent.name not in ("cli", "datasets", "reference", "sklearn"):
            assert len(tree.body) == 1, path


# ---------------------------------------------------------------------------------- the tests' own

PROFILE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path.insert(0, sys.argv[1])
import conftest
from hypothesis import settings
seen = settings.default
print(seen.derandomize, seen.print_blob, seen.max_examples, signal.getsignal(signal.SIGINT))
"""


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("profile", "wanted"), [("default", r"True \w+ 150 "), ("thorough", "False True 2000 ")]
)
def test_a_longer_search_has_other_inputs_each_time_and_prints_how_to_repeat_one(profile, wanted):
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    done = subprocess.run(
        [sys.executable, "-c", PROFILE, str(ROOT / "tests")],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert re.match(wanted, done.stdout), done.stderr
    assert "default_int_handler" in done.stdout  # or tests of Ctrl-C hang in the background


def test_no_test_has_a_number_of_examples_of_its_own():
    own = re.compile(r"settings\(.*(max_examples=\d|derandomize)")
    files = (ROOT / "tests").rglob("test_*.py")
    assert not [file.name for file in files if own.search(file.read_text())]


# ---------------------------------------------------------------------------- what documents name


def test_the_tree_of_contributing_names_every_module_and_every_source():
    tree = re.search(r"```text\n(src/[\s\S]*?)```", (ROOT / "CONTRIBUTING.md").read_text())[1]
    parts = re.split(r"^(?=\S)", tree, flags=re.MULTILINE)
    sources, package = parts[1], parts[2]
    for path in SOURCES.iterdir():
        named = "isa_*.cpp" if path.name.startswith("isa_") else path.name
        assert path.is_dir() or named in sources.split(), path.name
    wings = re.split(r"^  (?=\w)", package, flags=re.MULTILINE)
    for path in PACKAGE.rglob("*.py"):
        where = path.relative_to(PACKAGE)
        if not where.stem.startswith("__") and where.stem != "_version":
            wing = f"{where.parts[0]}/" if len(where.parts) > 1 else "metrics"
            (text,) = (text for text in wings if text.startswith(wing))
            assert path.stem in re.findall(r"\w+", text), where


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_a_path_that_a_document_names_is_there(page):
    named = re.findall(r"`([\w./]+\.(?:py|pxi|pyx|hpp))`", (ROOT / page).read_text())
    assert len(named) > 10
    folders = [ROOT, PACKAGE, SOURCES, ROOT / "docs"]
    folders += [path.parent for path in PACKAGE.glob("*/__init__.py")]
    for name in named:
        assert any((folder / name).exists() for folder in folders), name


@pytest.mark.long(everywhere=True)
def test_dir_has_what_is_imported_when_asked_for(run_python):
    program = (
        "import metaopt_fast as mf; print(set(mf.__all__) <= set(dir(mf)), 'typing' in dir(mf))"
    )
    assert run_python(program).stdout == "True True\n"


def test_names_that_arguments_take_are_those_that_type_checkers_know():
    from metaopt_fast import typing as names
    from metaopt_fast.descent import gradient_descent
    from metaopt_fast.evolution import evolve
    from metaopt_fast.fitting import arguments, bootstrap, data_values, resamples

    for known, taken in (
        (names.DescentMethod, gradient_descent.METHODS),
        (names.EvolveMethod, evolve.METHODS),
        (names.FitLoss, arguments.LOSSES),
        (names.IntervalMethod, bootstrap.METHODS),
        (names.BootstrapKind, bootstrap.KINDS),
        (names.ResampleKind, resamples.KINDS),
        (names.ValueMethod, data_values.METHODS),
    ):
        assert set(get_args(known)) == set(taken)


def test_the_citation_and_the_recipe_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\nlicense: {project['license']}\n" in citation
    recipe = (ROOT / "recipe" / "recipe.yaml").read_text()
    assert f'version: "{project["version"]}"' in recipe
    assert f"license: {project['license']}" in recipe
    for name, script in project["scripts"].items():
        assert f"- {name} = {script}" in recipe
    oldest = project["requires-python"]
    wanted = [f"python {oldest}", *project["dependencies"]]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for line in [*wanted, *build]:
        spaced = re.sub(r"(?<=\w)(?=>=)", " ", line)
        assert f"- {spaced}\n" in recipe, line
