"""Build the compiled module: what pyproject.toml cannot say."""

import os
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError, PlatformError

FIXES = (
    "install a compiler with OpenMP (Debian and Ubuntu: apt install g++; Fedora: dnf install "
    "gcc-c++; macOS: brew install gcc), or name one in the variables CC and CXX, or build for one "
    "thread with METAOPT_FAST_OPENMP=0"
)
FLAGS = ["-O3", "-std=c++17", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]


class BuildKernels(build_ext):
    """Compile with OpenMP, or say how to get it: pip hides warnings, so silence would cost
    threads."""

    def build_extensions(self):
        flags, links = list(FLAGS), []
        if sys.platform == "linux":
            links += ["-s"]
        if os.environ.get("METAOPT_FAST_OPENMP", "1") != "0":
            flags += ["-fopenmp"]
            links += ["-fopenmp"]
            self.check(
                "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }", flags, links
            )
        else:
            self.check("int main() { return 0; }", flags, links)
        for extension in self.extensions:
            extension.extra_compile_args = flags
            extension.extra_link_args = links
        super().build_extensions()

    def check(self, program, flags, links):
        """Compile and link a small program before the long build, for an error that helps."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "check.cpp")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], folder, extra_postargs=flags)
                self.compiler.link_executable(
                    objects, str(Path(folder, "check")), extra_postargs=links, target_lang="c++"
                )
            except (CompileError, LinkError, PlatformError) as error:
                raise PlatformError(
                    f"metaopt_fast could not compile and link a small C++17 program with "
                    f"{' '.join(flags)} ({error}): {FIXES}."
                ) from None


kernels = Extension(
    "metaopt_fast._kernels",
    sources=["src/_kernels.pyx", *(f"src/isa_{isa}.cpp" for isa in ("baseline", "avx2", "avx512"))],
    depends=[str(path) for path in sorted(Path("src").glob("*.[hp]*"))],
    include_dirs=["src"],
    language="c++",
)
setup(
    ext_modules=cythonize([kernels], build_dir="build"),
    cmdclass={"build_ext": BuildKernels},
)
