"""Build the compiled module: what pyproject.toml cannot say."""

import gzip
import os
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
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


class PlainSdist(sdist):
    """The same bytes from the same tree: in order, of one time, without owners and umask."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **_):
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for member in sorted(Path(base_dir).rglob("*")):
                if member.is_file():
                    info = archive.gettarinfo(member, member.as_posix())
                    # setuptools collects files by hard links, which are no files elsewhere.
                    info.type, info.linkname, info.size = tarfile.REGTYPE, "", member.stat().st_size
                    info.mtime, info.mode = epoch, 0o755 if info.mode & 0o100 else 0o644
                    info.uid = info.gid = 0
                    info.uname = info.gname = ""
                    with member.open("rb") as contents:
                        archive.addfile(info, contents)
        return path


class PlainWheel(bdist_wheel):
    """Modes that do not depend on the umask; setuptools keeps the times of SOURCE_DATE_EPOCH."""

    def write_wheelfile(self, *args, **options):
        super().write_wheelfile(*args, **options)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)


kernels = Extension(
    "metaopt_fast._kernels",
    sources=["src/_kernels.pyx", *(f"src/isa_{isa}.cpp" for isa in ("baseline", "avx2", "avx512"))],
    depends=[str(path) for path in sorted(Path("src").glob("*.[hp]*"))],
    include_dirs=["src"],
    language="c++",
)
setup(
    ext_modules=cythonize([kernels], build_dir="build"),
    cmdclass={"build_ext": BuildKernels, "sdist": PlainSdist, "bdist_wheel": PlainWheel},
)
