"""Building from source: what it says where it cannot, and what it gives without OpenMP."""

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Losses and gradients of more than one thread's work, by their bits.
DIGEST = """
import hashlib
import numpy as np
import metaopt_fast as mf
from metaopt_fast import _kernels
rng = np.random.default_rng(0)
X, y = rng.normal(size=(1003, 7)), np.arange(1003) % 2
thetas = mf.Normal().sample(0, 0, 300, 8)
digest = hashlib.sha256()
for dtype in ("float64", "float32"):
    objective = mf.LogisticLoss(X, y, l2=0.1, fit_intercept=True, dtype=dtype)
    for array in objective.batch_loss_gradient(thetas):
        digest.update(array.tobytes())
print(_kernels.OPENMP, digest.hexdigest())
"""


# What only the objects of an instruction set hold: registers and instructions of AVX, of AVX-512.
OF_AVX = re.compile(r"%[yz]mm|%k[0-7]|\tv\w+ ")
OF_AVX512 = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])\b|%k[0-7]")


def copy_source(copy):
    """Make a folder of what a build reads."""
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src")
    built = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "metaopt_fast", copy / "metaopt_fast", ignore=built)
    translated = ROOT / "build" / "src"  # Cython takes what is newer than its sources
    if translated.exists():
        shutil.copytree(translated, copy / "build" / "src")
    return copy


def compiler_of(path, text):
    """Write a compiler that is a shell script, and return its path."""
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of what a build reads, in which Cython translates once: it is not what differs."""
    return copy_source(tmp_path_factory.mktemp("build") / "source")


def build(source, folder="built", **environment):
    """Run the build in `source`, into lib of its folder; the objects are in temp."""
    folders = [f"--build-lib={folder}/lib", f"--build-temp={folder}/temp"]
    return subprocess.run(
        [sys.executable, "setup.py", "build", *folders],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def assert_names_the_fixes(run):
    assert run.returncode != 0
    sentence = run.stderr.strip().splitlines()[-1]
    assert "could not compile and link a small C++17 program" in sentence
    assert "install a compiler with OpenMP" in sentence
    assert "apt install g++" in sentence
    assert "CC and CXX" in sentence
    assert "METAOPT_FAST_OPENMP=0" in sentence


@pytest.mark.long
def test_without_a_compiler_the_build_names_the_fixes(source):
    assert_names_the_fixes(build(source, CC="/nonexistent", CXX="/nonexistent"))


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="the compiler without OpenMP is a shell script")
def test_without_openmp_the_build_names_the_fixes_and_the_way_without(source, tmp_path):
    compiler = compiler_of(
        tmp_path / "c++-without-openmp",
        'for word in "$@"; do\n'
        '    if [ "$word" = -fopenmp ]; then\n'
        "        echo \"error: unsupported option '-fopenmp'\" >&2\n"
        "        exit 1\n"
        "    fi\n"
        "done\n"
        f'exec "{shutil.which("c++")}" "$@"\n',
    )
    assert_names_the_fixes(build(source, CC=compiler, CXX=compiler))


@pytest.fixture(scope="module")
def objects(source):
    """The folder of the objects of a build."""
    run = build(source)
    assert run.returncode == 0, run.stderr
    return source / "built" / "temp"


@pytest.mark.long
def test_built_without_openmp_it_gives_the_same_bits_on_one_thread(source, tmp_path, run_python):
    # A quarter of the time; the bits are those of any optimisation (tests/hardening/bits.py).
    compiler = compiler_of(tmp_path / "c++-at-once", f'exec "{shutil.which("c++")}" "$@" -O0\n')
    run = build(source, "alone", CXX=compiler, METAOPT_FAST_OPENMP="0")
    assert run.returncode == 0, run.stderr
    # In front of the working directory, which python -c puts first.
    lib = str(source / "alone" / "lib")
    built = f"import sys; sys.path.insert(0, {lib!r})\n"
    here, there = run_python(DIGEST).stdout.split(), run_python(built + DIGEST).stdout.split()
    assert there == ["False", here[1]]
    threads = "import metaopt_fast as mf; print(mf.config()['n_threads'], mf.config()['openmp'])"
    assert run_python(built + threads).stdout == "1 False\n"


def of_object(program, *options, path):
    return subprocess.run(
        [program, *options, path], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.long
@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is one instruction set")
@pytest.mark.parametrize(
    "name, foreign",
    [("_kernels", OF_AVX), ("isa_baseline", OF_AVX), ("isa_avx2", OF_AVX512)],
)
def test_old_processors_meet_no_wide_registers(objects, name, foreign):
    (path,) = objects.rglob(f"{name}.o")
    instructions = of_object("objdump", "--disassemble", "--no-show-raw-insn", path=path)
    assert instructions.count("\n") > 1000
    assert foreign.findall(instructions) == []


@pytest.mark.long
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_functions_that_objects_share_are_of_no_instruction_set(objects, isa):
    # The linker keeps one of several definitions of a name, whatever it was compiled for.
    (path,) = objects.rglob(f"isa_{isa}.o")
    weak = re.findall(r" [WVu] (.*)", of_object("nm", "--demangle", path=path))
    assert weak
    # Some names are too new for binutils to read.
    own = f"metaopt::{isa}::", f"_ZN7metaopt{len(isa)}{isa}"
    assert [name for name in weak if own[0] not in name and not name.startswith(own[1])] == []


# ------------------------------------------------------------------- pieces of the compiled module

SOURCES = ROOT / "src"
PIECES = re.findall(r'^include "(\w+)\.pxi"$', (SOURCES / "_kernels.pyx").read_text(), re.MULTILINE)


@functools.cache
def piece(name):
    """The text of a piece, without comments, and the pieces that its head names."""
    text = (SOURCES / f"{name}.pxi").read_text()
    head = re.match(r"(#.*\n)+", text)[0].replace("\n# ", " ")
    (needs,) = re.findall(r"Needs (nothing|\w+\.pxi(?:(?:,| and) \w+\.pxi)*)\.", head)
    return re.sub(r"#.*|\"\"\"[\s\S]*?\"\"\"", "", text), set(re.findall(r"(\w+)\.pxi", needs))


@functools.cache
def names_of(name):
    """What a piece has for others: functions, types, constants, and what headers declare."""
    text, _ = piece(name)
    functions = re.findall(r"^(?:cdef|def) (?:[^=\n(]*[ *])?(\w+)\(", text, re.MULTILINE)
    types = re.findall(r"^(?:cdef|ctypedef) (?:struct|class|fused) (\w+)", text, re.MULTILINE)
    pointers = re.findall(r"^ *ctypedef [^\n]*\(\*(\w+)\)", text, re.MULTILINE)
    constants = re.findall(r"^(?:cdef \w+ |cdef enum: )?([A-Z][A-Z_0-9]+) =", text, re.MULTILINE)
    declared = re.findall(r"^    (?:struct|enum:) (\w+)", text, re.MULTILINE)
    return {*functions, *types, *pointers, *constants, *declared}


def test_every_piece_of_the_compiled_module_is_included_once_after_those_that_it_needs():
    assert sorted(PIECES) == sorted(path.stem for path in SOURCES.glob("*.pxi"))
    for number, name in enumerate(PIECES):
        assert piece(name)[1] <= set(PIECES[:number]), name


@pytest.mark.parametrize("name", PIECES)
def test_a_piece_names_in_its_head_all_others_whose_names_it_uses(name):
    text, needs = piece(name)
    # Members of structures have names of their own; their types are capitalised.
    members = re.compile(r"^cdef (?:struct|extern)[^\n]*\n(?:(?: +[^\n]*)?\n)+", re.MULTILINE)
    text = members.sub(lambda found: re.sub(r"\b[a-z]\w*", "", found[0]), text)
    # Neither attributes, nor variables of the same name.
    words = set(re.findall(r"(?<![\w.])(\w+)\b(?! *(?:=[^=]|,[^()]*=))", text)) - names_of(name)
    used = {other: words & names_of(other) for other in set(PIECES) - {name}}
    used = {other: found for other, found in used.items() if found}
    assert set(used) == needs, used


# ----------------------------------------------------------------------------- programs beside it


def test_the_program_that_counts_instructions_is_of_these_kernels():
    command = ["c++", "-std=c++17", "-fsyntax-only", "-fopenmp", f"-I{SOURCES}"]
    program = ROOT / "benches" / "instructions.cpp"
    run = subprocess.run([*command, str(program)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    known = json.loads((ROOT / "benches" / "instructions.json").read_text())
    asked = set(re.findall(r'is\(name, "(.*?)"\)', program.read_text()))
    for counts in known.values():
        assert {name.split(", ", 2)[2] for name in counts} == asked


# ------------------------------------------------------------------- wheels, where nothing else is


def test_wheels_have_what_their_tests_need_here_and_in_a_release():
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    script = (ROOT / "tests" / "hardening" / "wheel.sh").read_text()
    installed = {re.match(r"[\w-]+", name)[0] for name in release["test-requires"]}
    assert set(re.search(r"install (pytest .*)", script)[1].split()) == installed
    marks = re.search("^EVERYWHERE=(.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)[1]
    assert f" -m {marks} " in release["test-command"]
    assert f" -m {marks} " in script
    tests = re.findall(r"tests/\w+/test_\w+\.py", release["test-command"])
    assert re.findall(r"tests/\w+/test_\w+\.py", script) == tests
    texts = [(ROOT / name).read_text() for name in tests]
    asked = re.compile(r'(?:^\s*(?:import|from) |setattr\(")(\w+)', re.MULTILINE)
    foreign = {name for text in texts for name in asked.findall(text)} - set(
        sys.stdlib_module_names
    )
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    beside = {"metaopt_fast", "numpy", "scipy"}  # which scikit-learn brings
    known = {"sklearn" if name == "scikit-learn" else name for name in installed}
    assert foreign - own <= known | beside


# ----------------------------------------------------------------------------- the nightly workflow

SCRIPTS = ROOT / "tests" / "hardening"


def test_every_script_of_hardening_is_run_each_night():
    workflow = (ROOT / ".github" / "workflows" / "hardening.yml").read_text()
    commands = re.search(r"command:\n((?: +- .*\n)+)", workflow)[1]
    run = {line.split()[1] for line in commands.splitlines()}
    assert run == {path.name for path in SCRIPTS.glob("*.py") if "__main__" in path.read_text()}
    assert all(f"hardening/{path.name} " in workflow for path in SCRIPTS.glob("*.sh"))


def test_what_scripts_of_hardening_import_is_in_their_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {re.match(r"[\w-]+", name)[0] for name in extras["hardening"] + extras["test"]}
    assert "coverage" in named  # started, not imported
    named = {name.replace("-", "_") for name in named}
    named |= {"numpy", "sklearn", "metaopt_fast"}  # scikit-learn, and what the package needs
    own = {path.stem for folder in (SCRIPTS, SCRIPTS.parent) for path in folder.glob("*.py")}
    imported = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    for path in SCRIPTS.glob("*.py"):
        foreign = set(imported.findall(path.read_text())) - own - set(sys.stdlib_module_names)
        assert foreign <= named, path.name


@pytest.fixture
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.mark.long(everywhere=True)
@pytest.mark.usefixtures("scripts_on_the_path")
def test_mutants_of_the_sources_find_the_lines_that_they_change():
    import source_mutants

    source_mutants.check_anchors()


@pytest.mark.usefixtures("scripts_on_the_path")
def test_what_is_built_for_races_finds_the_pieces_that_it_replaces(tmp_path):
    import races

    for name, old, new in races.PIECES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        races.replace(tmp_path, (name, old, new))
        assert new in (tmp_path / name).read_text()


@pytest.mark.long(everywhere=True)
@pytest.mark.usefixtures("scripts_on_the_path")
def test_every_module_has_tests_for_its_mutants():
    import mutation

    assert len(mutation.MODULES) > 50
    for module in mutation.MODULES:
        assert all((ROOT / name).exists() for name in mutation.tests_of(module)), module
    assert set(mutation.TESTS) <= set(mutation.MODULES)
