"""Building from source: what it says where it cannot, and what it gives without OpenMP."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

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


@pytest.fixture
def source(tmp_path):
    """A copy of what a build reads."""
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src")
    built = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "metaopt_fast", copy / "metaopt_fast", ignore=built)
    return copy


def build(source, **environment):
    """Run the build in `source`, into its folder lib."""
    program = [sys.executable, "setup.py", "build", "--build-lib=lib", "--build-temp=temp"]
    return subprocess.run(
        program,
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


def test_without_a_compiler_the_build_names_the_fixes(source):
    assert_names_the_fixes(build(source, CC="/nonexistent", CXX="/nonexistent"))


@pytest.mark.skipif(os.name != "posix", reason="the compiler without OpenMP is a shell script")
def test_without_openmp_the_build_names_the_fixes_and_the_way_without(source, tmp_path):
    compiler = tmp_path / "c++-without-openmp"
    compiler.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do\n'
        '    if [ "$word" = -fopenmp ]; then\n'
        "        echo \"error: unsupported option '-fopenmp'\" >&2\n"
        "        exit 1\n"
        "    fi\n"
        "done\n"
        f'exec "{shutil.which("c++")}" "$@"\n'
    )
    compiler.chmod(0o755)
    assert_names_the_fixes(build(source, CC=str(compiler), CXX=str(compiler)))


def test_built_without_openmp_it_gives_the_same_bits_on_one_thread(source, run_python):
    run = build(source, METAOPT_FAST_OPENMP="0")
    assert run.returncode == 0, run.stderr
    # In front of the working directory, which python -c puts first.
    built = f"import sys; sys.path.insert(0, {str(source / 'lib')!r})\n"
    here, there = run_python(DIGEST).stdout.split(), run_python(built + DIGEST).stdout.split()
    assert there == ["False", here[1]]
    threads = "import metaopt_fast as mf; print(mf.config()['n_threads'], mf.config()['openmp'])"
    assert run_python(built + threads).stdout == "1 False\n"
