"""Build the compiled module: what pyproject.toml cannot say."""

import gzip
import itertools
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError, LinkError, PlatformError

FIXES = (
    "install a compiler with OpenMP (Debian and Ubuntu: apt install g++; Fedora: dnf install "
    "gcc-c++; macOS: brew install libomp or gcc; Windows: LLVM, for clang-cl), or name one in the "
    "variables CC and CXX, or build for one thread with METAOPT_FAST_OPENMP=0"
)
NAME, PIECES, TRANSLATED = "metaopt_fast._kernels", "src/_kernels.pyx", "build/src/_kernels.cpp"
# What takes least comes last.
OF_ISAS = [f"src/isa_{isa}.cpp" for isa in ("avx2", "avx512", "baseline")]
UNIX = [
    "-O3",
    "-std=c++17",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fvisibility=hidden",
    # Copies of loops and functions for rare cases are 4 % of the module. Without them, matrices of
    # products take 4 % more instructions, packing and sparse residuals 2 to 3 %, the others 1 %.
    "-fno-unswitch-loops",
    "-fno-split-loops",
    "-fno-version-loops-for-strides",
    "-fno-loop-unroll-and-jam",
    "-fno-ipa-cp-clone",
    "-fno-split-paths",
    # Bytes between loops, so that these begin at round addresses: no kernel is faster for them.
    "-fno-align-loops",
    "-fno-align-jumps",
    "-fno-align-labels",
]
# Each instruction set has all kernels, which raise nothing and are unwound by nothing: the tables
# for that, and speed where little time is spent, would be a third of the wheel. Of Python's side
# compiled for size, the smallest calls (2 us) take up to 5 % longer, fits and searches none: Cython
# catches no exception of C++ there, and none is raised; it need not know the inside of Python's
# numbers and texts. What x86-64 has without AVX2 is for processors before 2013.
KERNELS_ALONE = ["-fno-exceptions", "-fno-asynchronous-unwind-tables"]
OF_SOURCES = {
    "_kernels": [
        *(*KERNELS_ALONE, "-Os", "-fno-guess-branch-probability"),
        *("-DCYTHON_USE_PYLONG_INTERNALS=0", "-DCYTHON_USE_UNICODE_INTERNALS=0"),
        *("-DCYTHON_USE_FREELISTS=0", "-DCYTHON_USE_TP_FINALIZE=0"),
    ],
    "isa_baseline": KERNELS_ALONE,
    "isa_avx2": KERNELS_ALONE,
    "isa_avx512": KERNELS_ALONE,
}
if platform.machine() in ("x86_64", "AMD64"):
    OF_SOURCES["isa_baseline"] = [*KERNELS_ALONE, "-Os"]
# Functions in the order of their names: those of one template lie side by side, and are so alike
# that the wheel is 0.5 % smaller.
SORTED = "-Wl,--sort-section=name"
# What GCC alone knows, or its linker.
OF_GCC = {*UNIX[UNIX.index("-fno-unswitch-loops") :], "-fno-guess-branch-probability", SORTED}
# Of clang-cl: Microsoft's own compiler knows no vectors of GNU C.
WINDOWS = ["/O2", "/std:c++17", "/EHsc", "-ffp-contract=off", "-fno-math-errno"]
# Ways to OpenMP, as (options to compile, options to link); the first that works is taken.
OPENMP_UNIX = [(["-fopenmp"], ["-fopenmp"])]
OPENMP_WINDOWS = [(["/openmp"], ["libomp.lib"])]
# Apple's compiler has OpenMP, but neither its name nor its library.
OPENMP_APPLE = [
    (["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lomp"])
    for prefix in ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp")
]
OPENMP_PROGRAM = "#include <omp.h>\nint main() { return omp_get_max_threads() < 1; }"


class BuildKernels(build_ext):
    """Compile with OpenMP, or say how to get it: pip hides warnings, so silence would cost
    threads."""

    def build_extensions(self):
        flags, links, ways = UNIX, [], OPENMP_UNIX
        if sys.platform == "linux":
            links = ["-s", SORTED]
        elif sys.platform == "darwin":
            ways = OPENMP_UNIX + OPENMP_APPLE
        if self.compiler.compiler_type == "msvc":
            flags, ways = WINDOWS, OPENMP_WINDOWS
            self.compiler.initialize()
            self.compiler.cc = os.environ.get("CXX") or shutil.which("clang-cl") or "clang-cl"
        program = OPENMP_PROGRAM
        if os.environ.get("METAOPT_FAST_OPENMP", "1") == "0":
            program, ways = "int main() { return 0; }", [([], [])]
        errors = []
        known_to_all = [
            [option for option in some if option not in OF_GCC] for some in (flags, links)
        ]
        for (chosen, linked), (to_compile, to_link) in itertools.product(
            ((flags, links), known_to_all), ways
        ):
            try:
                self.check(program, chosen + to_compile, linked + to_link)
                break
            except (CompileError, LinkError, PlatformError) as error:
                errors.append(error)
        else:
            raise PlatformError(
                f"metaopt_fast could not compile and link a small C++17 program with "
                f"{' '.join(flags + ways[0][0])} ({errors[0]}): {FIXES}."
            )
        (extension,) = self.extensions
        extension.extra_compile_args = chosen + to_compile
        extension.extra_link_args = linked + to_link
        extension.sources = [TRANSLATED, *OF_ISAS]
        if self.compiler.compiler_type == "unix":
            self.compiler._compile = self.compile_source
        self.compiler.compile = partial(compile_side_by_side, self.compiler.compile)
        super().build_extensions()

    def compile_source(self, obj, src, ext, cc_args, extra_postargs, pp_opts):
        """Compile one source, with options of its own after those of all."""
        of_source = OF_SOURCES.get(Path(src).stem, [])
        if not OF_GCC.intersection(extra_postargs):
            of_source = [option for option in of_source if option not in OF_GCC]
        options = [*extra_postargs, *of_source]
        type(self.compiler)._compile(self.compiler, obj, src, ext, cc_args, options, pp_opts)

    def check(self, program, flags, links):
        """Compile and link a small program before the long build, for an error that helps."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "check.cpp")
            source.write_text(program)
            objects = self.compiler.compile([str(source)], folder, extra_postargs=flags)
            self.compiler.link_executable(
                objects, str(Path(folder, "check")), extra_postargs=links, target_lang="c++"
            )


def compile_side_by_side(compile_sources, sources, **options):
    """Compile each source in a process of its own, as many at once as there are processors, and let
    Cython translate its own beside them."""

    def compile_one(source):
        if source == TRANSLATED:
            extension = Extension(NAME, [PIECES], language="c++")
            cythonize([extension], build_dir="build", cache="CYTHON_CACHE_DIR" in os.environ)
        return compile_sources([source], **options)

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return [path for paths in executor.map(compile_one, sources) for path in paths]


class Wheel(bdist_wheel):
    """Modes that do not depend on the umask; setuptools keeps the time of SOURCE_DATE_EPOCH."""

    def write_wheelfile(self, *arguments, **options):
        super().write_wheelfile(*arguments, **options)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)


class Sdist(sdist):
    """With SOURCE_DATE_EPOCH, an archive whose bytes depend on the files' texts alone."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **options):
        if format != "gztar" or "SOURCE_DATE_EPOCH" not in os.environ:
            return super().make_archive(base_name, format, root_dir, base_dir, **options)
        epoch = int(os.environ["SOURCE_DATE_EPOCH"])

        def anonymous(member):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            return member

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for name in sorted(Path(base_dir).rglob("*")):
                archive.add(name, recursive=False, filter=anonymous)
        return path


# What the functions of the module say is read in the sources: it would be 1 % of the wheel.
Options.docstrings = False
kernels = Extension(
    NAME,
    sources=[PIECES, *OF_ISAS],
    depends=[str(path) for path in sorted(Path("src").glob("*.[hp]*"))],
    include_dirs=["src"],
    language="c++",
)
setup(
    ext_modules=[kernels],
    cmdclass={"bdist_wheel": Wheel, "build_ext": BuildKernels, "sdist": Sdist},
)
