"""Coverage-guided fuzzing of every entry that takes arrays or files of strangers, by atheris.

`pip install atheris`, then `python tests/hardening/fuzz.py FOLDER_OF_INPUTS`: ten minutes, or as
`-max_total_time=` and libFuzzer's other options say. A crash, a hang of 20 s, a NaN from finite
numbers and an error that is no sentence of ours all end it, and leave the input behind. Names of
groups (objectives, fits, networks, searches, resamples, files) or of entries (losses, text) among
the arguments choose these alone.

With the compiled module under AddressSanitizer, so that its branches guide the fuzzer, too (clang
19 and atheris 3.0 fit): `F="-fsanitize=address,fuzzer-no-link" METAOPT_FAST_OPENMP=0 CC=clang-19
CXX=clang++-19 CFLAGS=$F CXXFLAGS=$F LDFLAGS=$F python setup.py build_ext --inplace`, and
`asan_with_fuzzer.so` of atheris in LD_PRELOAD, with
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1.
"""

import importlib
import os
import pkgutil
import random
import sys
import traceback
import warnings

import atheris
import numpy as np

with atheris.instrument_imports(include=["metaopt_fast"]):
    import metaopt_fast

    # All of them: what is imported later, by the first call that needs it, would guide nothing.
    for module in pkgutil.walk_packages(metaopt_fast.__path__, "metaopt_fast."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

import fuzz_files
import fuzz_fits
import fuzz_networks
import fuzz_objectives
import fuzz_resamples
import fuzz_searches

REFUSED = (ValueError, TypeError, MemoryError)
GROUPS = {
    "objectives": fuzz_objectives.ENTRIES,
    "fits": fuzz_fits.ENTRIES,
    "networks": fuzz_networks.ENTRIES,
    "searches": fuzz_searches.ENTRIES,
    "resamples": fuzz_resamples.ENTRIES,
    "files": fuzz_files.ENTRIES,
}
NAMED = GROUPS | {entry.__name__: [entry] for group in GROUPS.values() for entry in group}
ASKED = [argument for argument in sys.argv[1:] if argument in NAMED] or list(GROUPS)
CHOSEN = [entry for name in ASKED for entry in NAMED[name]]


def one_input(given):
    data = atheris.FuzzedDataProvider(given)
    entry = data.PickValueInList(CHOSEN)
    try:
        result = entry(data)
    except REFUSED as error:
        text = str(error)
        if not (isinstance(error, MemoryError) or is_of_scikit_learn(error)):
            assert "\n" not in text and text.endswith("."), f"no sentence: {text!r}"
        return
    for part in result if isinstance(result, tuple) else (result,):
        values = np.asarray(0.0 if part is None else part)
        if values.dtype.kind in "fc":
            assert not np.isnan(values).any(), f"NaN from {entry.__name__}"


def is_of_scikit_learn(error):
    """Whether scikit-learn's validation refuses, in its own words, which its protocol asks for."""
    return "/sklearn/utils/" in traceback.extract_tb(error.__traceback__)[-1].filename


def begin(paths):
    """Fill an empty folder: from nothing, it takes minutes until an input is long enough."""
    for folder in filter(os.path.isdir, paths):
        if not os.listdir(folder):
            for seed in range(40):
                with open(os.path.join(folder, f"{seed}.start"), "wb") as file:
                    file.write(random.Random(seed).randbytes(1 << (4 + seed % 8)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    fuzz_files.whole_files()
    limits = ["-max_total_time=600", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    given = [argument for argument in sys.argv if argument not in NAMED]
    begin(argument for argument in given[1:] if not argument.startswith("-"))
    atheris.Setup([*given[:1], *limits, *given[1:]], one_input)
    atheris.Fuzz()
