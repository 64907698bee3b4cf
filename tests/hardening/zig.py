"""The sources compiled for macOS and for Windows, by zig's clang, on this machine.

``python tests/hardening/zig.py FOLDER`` writes objects for each system into FOLDER. What is shown
is that the sources are C++ that these systems' headers and clang accept, with the options of
setup.py but for speed, and without OpenMP; nothing is linked, and nothing runs. Python's headers
are this machine's; for Windows, with what CPython's own pyconfig.h says of sizes and names.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

from checks import EXTRA, ROOT, Report, needs

TARGETS = {
    "macOS, arm64": "aarch64-macos",
    "macOS, x86-64": "x86_64-macos",
    "Windows, x86-64": "x86_64-windows-gnu",
}
OPTIONS = ["-std=c++17", "-O0", "-g0", "-ffp-contract=off", "-fno-math-errno"]
# Of CPython's PC/pyconfig.h, what its headers ask for; it keeps out that of this machine.
PYCONFIG = """#define Py_PYCONFIG_H
#include <stdint.h>
#define MS_WINDOWS 1
#define MS_WIN32 1
#define MS_WIN64 1
#define HAVE_DECLSPEC_DLL 1
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_OFF_T 4
#define SIZEOF_FPOS_T 8
#define ALIGNOF_MAX_ALIGN_T 8
#define ALIGNOF_SIZE_T 8
#define DOUBLE_IS_LITTLE_ENDIAN_IEEE754 1
typedef int64_t Py_ssize_t;
#define HAVE_PY_SSIZE_T 1
#define PY_SSIZE_T_MAX INT64_MAX
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_STDARG_PROTOTYPES 1
#define HAVE_ERRNO_H 1
#define WITH_DOC_STRINGS 1
#define NT_THREADS 1
#define WITH_THREAD 1
"""


def sources(folder):
    """Return what is to be compiled: the pieces of instruction sets, and what Cython makes."""
    made = folder / "_kernels.cpp"
    command = [sys.executable, "-m", "cython", "-3", "--cplus", "-I", "src", "src/_kernels.pyx"]
    subprocess.run([*command, "-o", str(made)], cwd=ROOT, check=True)
    return [*sorted((ROOT / "src").glob("isa_*.cpp")), made]


def compile_for(target, source, folder):
    """Compile one source; return what the compiler says against it, or nothing."""
    headers = sysconfig.get_path("include")
    command = [sys.executable, "-m", "ziglang", "c++", "-target", target, *OPTIONS]
    if "windows" in target:
        own = folder / "pyconfig_of_windows.h"
        own.write_text(PYCONFIG)
        command += ["-include", str(own)]
    command += ["-Isrc", f"-I{headers}", "-c", str(source)]
    made = folder / f"{source.stem}-{target}.o"
    done = subprocess.run([*command, "-o", str(made)], cwd=ROOT, capture_output=True, text=True)
    faults = [line for line in done.stderr.splitlines() if "error" in line]
    return "; ".join(faults[:3]) or f"status {done.returncode}" if done.returncode else ""


def main(folder):
    """Compile all for each system."""
    needs(EXTRA, packages=("ziglang", "Cython"))
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    found = sources(folder)
    for name, target in TARGETS.items():
        faults = {path.name: compile_for(target, path, folder) for path in found}
        wrong = [f"{path}: {fault}" for path, fault in faults.items() if fault]
        report.line(f"{len(found)} sources for {name}", not wrong, " | ".join(wrong) or "compiled")
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/hardening/zig.py FOLDER")
    main(sys.argv[1])
