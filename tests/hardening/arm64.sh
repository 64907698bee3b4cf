#!/usr/bin/env bash
# Build for arm64 with a cross compiler and run processors.py with an emulated arm64 Python:
# tests/hardening/arm64.sh FOLDER [TEST...]. What is downloaded stays in FOLDER, outside the system.
# Needs Debian with g++-aarch64-linux-gnu and qemu-user, and, for the bits to compare with, an
# installed metaopt_fast with AVX2.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
for program in cython aarch64-linux-gnu-g++ qemu-aarch64; do
    if ! command -v "$program" >/dev/null; then
        echo "not run: $program is not installed: apt install g++-aarch64-linux-gnu qemu-user, and" \
            "pip install -e '.[test]'." >&2
        exit 1
    fi
done
mkdir -p "$1"
folder=$(cd "$1" && pwd)
tests=("${@:2}")
if [ ${#tests[@]} = 0 ]; then
    tests=(tests/kernels/test_margins.py tests/samplers/test_samplers.py
           tests/objectives/test_counts.py tests/fitting/test_newton.py
           tests/objectives/test_losses.py tests/kernels/test_kernels.py
           tests/fitting/test_tasks.py tests/fitting/test_sparse_fits.py
           tests/objectives/test_softmax.py tests/trees/test_best_tree.py
           tests/files/test_plain_rows.py)
fi
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
version=${python#python}
debian=${DEBIAN_SOURCES:-/etc/apt/sources.list.d/debian.sources}

fetch() {
    mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,parts} "$folder/root" "$folder/site"
    touch "$folder/apt/status"
    cp "$debian" "$folder/apt/parts/"
    local options=(-o APT::Architecture=arm64 -o APT::Architectures=arm64
                   -o Dir::State::status="$folder/apt/status" -o Dir::State::lists="$folder/apt/lists"
                   -o Dir::Cache="$folder/apt/cache" -o Dir::Etc::sourcelist=/dev/null
                   -o Dir::Etc::sourceparts="$folder/apt/parts" -o APT::Install-Recommends=0
                   -o Debug::NoLocking=1)
    apt-get -q "${options[@]}" update
    apt-get -q "${options[@]}" install -y --download-only \
        "$python" "lib$python-dev" libstdc++6 libgomp1 tzdata
    local package
    for package in "$folder"/apt/cache/archives/*.deb; do dpkg -x "$package" "$folder/root"; done
    python3 -m pip download -q -d "$folder/wheels" --python-version "$version" \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 --only-binary=:all: \
        numpy pytest hypothesis mpmath threadpoolctl scipy scikit-learn pandas polars randomgen
    for package in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$package" "$folder/site"; done
    touch "$folder/fetched"
}

# The flags of setup.py, also those of its own for the module; Debian's folders for the headers of
# this architecture.
build() {
    local flags=(-O3 -std=c++17 -g0 -ffp-contract=off -fno-math-errno -fvisibility=hidden -fopenmp
                 -fno-unswitch-loops -fno-split-loops -fno-version-loops-for-strides
                 -fno-loop-unroll-and-jam -fno-ipa-cp-clone -fno-split-paths -fno-align-loops
                 -fno-align-jumps -fno-align-labels -fno-exceptions -fno-asynchronous-unwind-tables
                 -fPIC -DNDEBUG -Isrc "-I$folder/root/usr/include/$python"
                 -idirafter "$folder/root/usr/include"
                 -idirafter "$folder/root/usr/include/aarch64-linux-gnu")
    cd "$root"
    mkdir -p "$folder/build"
    cython --cplus -3 -I src src/_kernels.pyx -o "$folder/build/_kernels.cpp"
    local source
    for source in src/isa_*.cpp; do
        aarch64-linux-gnu-g++ "${flags[@]}" -c "$source" -o "$folder/build/$(basename "$source").o"
    done
    aarch64-linux-gnu-g++ "${flags[@]}" -Os -fno-guess-branch-probability \
        -DCYTHON_USE_PYLONG_INTERNALS=0 -DCYTHON_USE_UNICODE_INTERNALS=0 \
        -DCYTHON_USE_FREELISTS=0 -DCYTHON_USE_TP_FINALIZE=0 \
        -c "$folder/build/_kernels.cpp" -o "$folder/build/_kernels.cpp.o"
    aarch64-linux-gnu-g++ -shared -fopenmp -s "$folder"/build/*.o \
        -o "metaopt_fast/_kernels.cpython-${version//./}-aarch64-linux-gnu.so"
}

[ -e "$folder/fetched" ] || fetch
build
cat >"$folder/python" <<WRAPPER
#!/bin/sh
PYTHONPATH="\$PYTHONPATH:$folder/site" exec qemu-aarch64 -L "$folder/root" "$folder/root/usr/bin/$python" "\$@"
WRAPPER
chmod +x "$folder/python"
PYTHONPATH=$root python3 "$root/tests/hardening/processors.py" --arm64 "$folder/python" --tests "${tests[@]}"
