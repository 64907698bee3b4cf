"""Mutants of the lines that promises rest on, in src/ and in Python: does a test notice each?

Each is a mistake that somebody might make: a row left out, a fold in another order, a margin cut in
half, a check skipped. In a copy of the sources one text is put in the place of another, what holds
it is compiled again, and a few test files are run until a test fails, those first that have noticed
another mistake. A test that fails without the mistake, too, kills nothing. The copy knows AVX2
alone, so that no test compares it with an instruction set that has no mistake. `source_mutants.py`
tries all, `source_mutants.py 30` a draw of 30, `source_mutants.py --seed 7 30` another one;
`--from N`, `--to N` and `--only TEXT...` choose from the list, to go on after a cut or to try some
again. A text that is not there, or not once, is an error: whoever changes such a line changes it
here, too.
"""

import argparse
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from checks import ROOT, Report, copy_project, path_of_tests

# Of a processor's time, which a busy machine does not use up; and of any time.
SECONDS, PATIENCE = 600, 3600
SHARE = 0.95
NO_TESTS = 5  # what pytest ends with where no test has the marks
CRASHES = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
# A test of memory takes as long as all others of its file.
LEFT_OUT = "not memory_does_not_grow"
FLAGS = ["-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-fPIC", "-Isrc"]
KERNELS, CYTHON, OTHERS, MUTANT = "isa_avx2", "_kernels", "isa_others", "mutant"
# In the place of the other instruction sets.
NO_OTHERS = """
#include "kernels.hpp"
extern "C" const metaopt::Kernels *metaopt_kernels_avx512(int, int) { return nullptr; }
extern "C" const metaopt::Kernels *metaopt_kernels_baseline(int, int) { return nullptr; }
extern "C" int metaopt_supports(const char *isa) { return !__builtin_strcmp(isa, "avx2"); }
"""


class Mutant(NamedTuple):
    """A mistake: in a file, a text in the place of another; and the tests that should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: str


SUMS = "kernels pruning losses"
TILE, SINGLE, LOSSES = "src/tile.hpp", "src/single.hpp", "src/losses.hpp"
RANDOM, PACKING, SIMD = "src/random.hpp", "src/packing.hpp", "src/simd.hpp"
THETAS = "src/thetas.hpp"
RADIX = "src/radix.hpp"
NEWTON, SYSTEMS, AUC = "src/newton.hpp", "src/systems.hpp", "src/histogram.hpp"
TILES, COHORTS, RESULTS = "src/tiles.pxi", "src/cohorts.pxi", "src/results.pxi"
BOUND, WHOLE = "src/bound.hpp", "src/whole.hpp"
COUNTS, SCREEN, RANKS = "src/counts.hpp", "src/screen.hpp", "src/ranks.hpp"
TEAM = "src/team.hpp"
SOFTMAX, LASSO_PATH = "src/softmax.hpp", "src/lasso_path.pxi"
LASSO_COLUMNS = "src/lasso_columns.pxi"
TREES = "src/trees.hpp"
SPARSE = "src/sparse.hpp"
NETWORK, NETWORK_ROWS = "src/network.hpp", "src/network.pxi"
TEXT = "src/text.hpp"
PY = "metaopt_fast/"

MUTANTS = [
    # ------------------------------------------------------------------------------- networks
    Mutant(
        "tanh loses what is rounded off of m + 2",
        NETWORK,
        "const V rest = fma(-a, m - (d - 2), fma(-a, d, m));",
        "const V rest = fma(-a, d, m);",
        "network",
    ),
    Mutant(
        "the derivative of tanh is that of its margin",
        NETWORK,
        "const V smooth = slope * fma(-x, x, splat<V>(1));",
        "const V smooth = slope * (1 - x);",
        "network",
    ),
    Mutant(
        "relu at 0 has the slope 1",
        NETWORK,
        "const V kinked = x > 0 ? slope : V{};",
        "const V kinked = x >= 0 ? slope : V{};",
        "network",
    ),
    Mutant(
        "infinite margins stay infinite",
        NETWORK,
        "        recompute_margins(panels, n_rows, n_params, unit, z);\n        limit(z);",
        "        recompute_margins(panels, n_rows, n_params, unit, z);",
        "network",
    ),
    Mutant(
        "biases of outputs are penalised",
        "src/results.pxi",
        "total += penalty_of(plan.l2, thetas, lane, size - 1, lanes)",
        "total += penalty_of(plan.l2, thetas, lane, size - (i < n_hidden), lanes)",
        "network",
    ),
    Mutant(
        "networks whose sums left the range are left as they are",
        NETWORK_ROWS,
        "asked.losses[i] = overflow_to_infinity(loss)",
        "asked.losses[i] = INFINITY",
        "network",
    ),
    # ------------------------------------------------------------------------- sums over rows
    Mutant(
        "the last row of a panel is left out",
        TILE,
        "for (int p = 0; p < n_panels; p += Sum::ROWS) {",
        "for (int p = 0; p < n_panels - Sum::ROWS * (c == PANEL - 1); p += Sum::ROWS) {",
        SUMS,
    ),
    Mutant(
        "lanes of a block are merged in another order",
        TILE,
        "block[v].merge(lane[v]);",
        "{ Sum other = lane[v]; other.merge(block[v]); block[v] = other; }",
        SUMS,
    ),
    Mutant(
        "padding lanes are counted",
        TILE,
        "for (int i = n_rows * LANES<T>; i < n_panels * PANEL * LANES<T>; i++) z[i] = absent;",
        "(void)absent;",
        SUMS,
    ),
    Mutant(
        "a block's weight is forgotten",
        TILE,
        "sums[i] += weight * values[i];",
        "sums[i] += (weight > 0) * values[i];",
        SUMS,
    ),
    Mutant(
        "margins of wide rows begin again at each block of parameters",
        TILE,
        "const auto kernel = j == 0 ? margins<T, false, USED> : margins<T, true, USED>;",
        "const auto kernel = margins<T, false, USED>;",
        SUMS,
    ),
    Mutant(
        "products and sums are not fused",
        TILE,
        "sums[r][v] = fma(value, theta[v], sums[r][v]);",
        "sums[r][v] = value * theta[v] + sums[r][v];",
        SUMS,
    ),
    Mutant(
        "margins of a tile that left the range stay as they are",
        TILE,
        "if (is_wide) recompute_margins(",
        "if (is_wide && n_rows < 0) recompute_margins(",
        "range",
    ),
    Mutant(
        "only the first lane says whether margins may leave the range",
        TILE,
        "for (int l = 0; l < LANES<T>; l++) found |=",
        "for (int l = 0; l < 1; l++) found |=",
        "range",
    ),
    Mutant(
        "the slope of a weighted row is not weighted",
        TILE,
        "store(row + v * W, weight * Loss::derivative(x));",
        "store(row + v * W, Loss::derivative(x));",
        SUMS,
    ),
    Mutant(
        "the gradient of a block forgets its last panel",
        TILE,
        "for (int p = n_panels; p > 0; p--) {",
        "for (int p = n_panels; p > (n_panels > 1); p--) {",
        SUMS,
    ),
    Mutant(
        "rows beyond the last one count for a single theta",
        SINGLE,
        "for (int row = rows->rows[b] - visit * PANEL; row < count * PANEL; row++)\n"
        "                    z[row] = Loss::template absent<row_vector<T>>;",
        "",
        SUMS,
    ),
    Mutant(
        "the last pending blocks are not added",
        SINGLE,
        "if (pending.count < BLOCKS_PER_SPAN && b + 1 < last) continue;",
        "if (pending.count < BLOCKS_PER_SPAN) continue;",
        SUMS,
    ),
    Mutant(
        "margins of a single theta that left the range stay as they are",
        SINGLE,
        "for (int p = 0; theta[n_params] != 0 && p < count; p++)",
        "for (int p = 0; theta[n_params] < 0 && p < count; p++)",
        "range",
    ),
    Mutant(
        "sums in lanes of a single theta in another order",
        SINGLE,
        "for (int i = 0; i < W; i++) total = total + square[i];",
        "for (int i = W - 1; i >= 0; i--) total = total + square[i];",
        SUMS,
    ),
    Mutant(
        "a visit's gradients take the place of those before",
        SINGLE,
        "count, visit > 0, visit + count == n_panels};",
        "count, false, visit + count == n_panels};",
        SUMS,
    ),
    Mutant(
        "a panel that follows another takes the place of its block's sums",
        "src/visits.hpp",
        "    const bool resume = late.resume;\n    V sums",
        "    const bool resume = false;\n    V sums",
        SUMS,
    ),
    Mutant(
        "a panel's own derivatives are those of the one before",
        "src/visits.hpp",
        "fma(load<V>(before + at), derivative[k], sum)",
        "fma(load<V>(x + at), derivative[k], sum)",
        SUMS,
    ),
    Mutant(
        "the gradient of the last visit is not added",
        SINGLE,
        "    single.catch_up(false, single.late.x);\n",
        "",
        SUMS,
    ),
    Mutant(
        "a single theta adds all spans to the first one's sums",
        SINGLE,
        "if (gradient) gradient += rows->n_params;",
        "",
        SUMS,
    ),
    Mutant(
        "rounding of gradients is not kept",
        TILE,
        "rest = total - total == 0 ? rest + lost : rest;",
        "rest = total - total == 0 ? rest : rest + lost;",
        "kernels",
    ),
    Mutant(
        "rounding of sums is not kept",
        TILES,
        "    if total - total == 0:\n",
        "    if total != total:\n",
        "kernels",
    ),
    Mutant(
        "an overflow both ways is not a number",
        RESULTS,
        "return x if x == x else INFINITY",
        "return x",
        SUMS,
    ),
    Mutant(
        "the intercept is penalised",
        RESULTS,
        "for j in range(n_penalised):",
        "for j in range(n_penalised + 1):",
        SUMS,
    ),
    Mutant(
        "the slope of the penalty is one of all parameters",
        RESULTS,
        "return j < plan.n_penalised",
        "return j < plan.n_params",
        SUMS,
    ),
    Mutant(
        "a tile's last lane is not folded",
        TILES,
        "for lane in range(plan.lanes):\n            add_exactly(work.loss_high",
        "for lane in range(max(1, plan.lanes - 1)):\n            add_exactly(work.loss_high",
        SUMS,
    ),
    Mutant(
        "a theta that is not finite is not noticed",
        TILES,
        "work.finite = work.finite and finite",
        "work.finite = work.finite or finite",
        "bad_input",
    ),
    # ------------------------------------------------------------------------- pointwise losses
    Mutant(
        "the product of a block is closed without its last term",
        LOSSES,
        "product = fma(other.product, product, other.product) + product;",
        "product = other.product + product;",
        SUMS,
    ),
    Mutant(
        "a slope for positive margins where there are none",
        LOSSES,
        "return z < 0 ? fma(-e, r, e) : 1 - r;",
        "return z < 0 ? r : 1 - r;",
        "kernels margins",
    ),
    Mutant(
        "ties are right",
        LOSSES,
        "        const auto wrong = TIE ? z >= 0 : z > 0;\n"
        "        return wrong ? splat<V>(1) : V{};",
        "        const auto wrong = z > 0;\n        return wrong ? splat<V>(1) : V{};",
        "counts losses",
    ),
    Mutant(
        "the curvature of a row is doubled",
        LOSSES,
        "return e / ((e + 1) * (e + 1));",
        "return 2 * e / ((e + 1) * (e + 1));",
        "newton losses training",
    ),
    Mutant(
        "the hinge begins at 0",
        LOSSES,
        "return z > -1 ? splat<V>(1) : V{};",
        "return z > 0 ? splat<V>(1) : V{};",
        "losses",
    ),
    # ---------------------------------------------------------------------- elementary functions
    Mutant(
        "exponentials are clamped too early",
        SIMD,
        "static constexpr double lowest_exponent = -750;",
        "static constexpr double lowest_exponent = -700;",
        "kernels margins",
    ),
    Mutant(
        "the lower part of ln 2 is left out",
        SIMD,
        "    for (int i = 0; i < N; i++) r[i] = fma(k[i], ln2_low, r[i]);\n",
        "",
        "kernels margins",
    ),
    Mutant(
        "a coefficient in its last digits",
        SIMD,
        "0x1.1111111127bc1p-7",
        "0x1.1111111327bc1p-7",
        "kernels margins",
    ),
    Mutant(
        "the bits that 1 + q loses are not put back",
        SIMD,
        "const V correction = whole ? V{} : lost / u;",
        "const V correction = V{} + 0 * lost;",
        "kernels margins",
    ),
    Mutant(
        "the scale of exponentials is off by one",
        SIMD,
        "constexpr int EXP_SCALE = 64;",
        "constexpr int EXP_SCALE = 63;",
        "kernels margins",
    ),
    # ---------------------------------------------------------------------------- random numbers
    Mutant(
        "one Philox round less",
        RANDOM,
        "for (int round = 2; round < 10; round++) {",
        "for (int round = 2; round < 9; round++) {",
        "samplers",
    ),
    Mutant(
        "another key of a round",
        RANDOM,
        "key1 += 0xBB67AE85U;",
        "key1 += 0xBB67AE87U;",
        "samplers",
    ),
    Mutant(
        "normal numbers of one sign in a quadrant",
        RANDOM,
        "^ (quadrant[n] >> 1 << 63);",
        "^ (quadrant[n] << 63);",
        "samplers",
    ),
    Mutant(
        "whole numbers are rounded to the nearest",
        RANDOM,
        "return rounded > x ? rounded - 1 : rounded;",
        "return rounded;",
        "samplers",
    ),
    Mutant(
        "uniform numbers beyond the upper bound",
        RANDOM,
        "return value > c ? splat<f64v>(c) : value;",
        "return value;",
        "samplers",
    ),
    Mutant(
        "uniform numbers from 0 on",
        RANDOM,
        "return (f64v)(bits | one) - (1 - 0x1p-53);",
        "return (f64v)(bits | one) - 1;",
        "samplers",
    ),
    Mutant(
        "of equal keys, all are kept",
        WHOLE,
        "cut.n_equal = equal ? cut.n_equal - 1 : cut.n_equal;",
        "",
        "sparse_integers",
    ),
    Mutant(
        "halves end a step too early",
        WHOLE,
        "const Mask tied = open & ((middle <= low) | (middle >= high));",
        "const Mask tied = open;",
        "sparse_integers",
    ),
    Mutant(
        "the key of the neighbour of an odd number of parameters",
        WHOLE,
        "for (ptrdiff_t column = n / 2 * 2; column < 2 * n; column += 2 * VECTORS) {",
        "for (ptrdiff_t column = (n + 1) / 2 * 2; column < 2 * n; column += 2 * VECTORS) {",
        "sparse_integers",
    ),
    Mutant(
        "values of a support are counted once too often",
        WHOLE,
        "n_values = taken ? n_values * sampler->b[j] : n_values;",
        "n_values = n_values * sampler->b[j];",
        "enumeration",
    ),
    Mutant(
        "values other than 0 include 0",
        WHOLE,
        "(value >= 0 ? value + 1 : value)",
        "value",
        "enumeration",
    ),
    # ------------------------------------------------------------------------------ dropping early
    Mutant(
        "candidates are dropped at nine tenths of the threshold",
        COHORTS,
        "> plan.threshold * (1 + 1e-12)):",
        "> plan.threshold * 0.9):",
        "pruning",
    ),
    Mutant(
        "candidates at the threshold are dropped for what rounding might add",
        COHORTS,
        "> plan.threshold * (1 + 1e-12)):",
        "> plan.threshold * (1 - 1e-12)):",
        "pruning",
    ),
    Mutant(
        "a dropped candidate leaves its number behind",
        COHORTS,
        "    work.candidates[target] = work.candidates[source]\n",
        "",
        "pruning",
    ),
    Mutant(
        "a dropped candidate leaves its rounding behind",
        COHORTS,
        "work.loss_low[target] = work.loss_high[source], work.loss_low[source]",
        "work.loss_low[target] = work.loss_high[source], 0.0",
        "pruning",
    ),
    Mutant(
        "a dropped candidate leaves its penalty behind",
        COHORTS,
        "    work.penalties[target] = work.penalties[source]\n",
        "",
        "pruning",
    ),
    Mutant(
        "partial sums of a span are kept for the next",
        COHORTS,
        "                work.partial_losses[i] = 0\n",
        "",
        "pruning",
    ),
    Mutant(
        "partial sums of a cohort are kept for the next",
        COHORTS,
        "memset(work.partial_losses, 0, (count + lanes - 1) // lanes * lanes * sizeof(double))",
        "pass",
        "pruning",
    ),
    Mutant(
        "threads share out the rows of few candidates, of which none is dropped then",
        "src/evaluate.pxi",
        "min(<Py_ssize_t>plan.n_threads, plan.n_tiles // PRUNED_TILES)",
        "<Py_ssize_t>plan.n_threads",
        "pruning",
    ),
    Mutant(
        "the error of single precision is forgotten",
        "src/screen.pxi",
        "        mean -= error\n",
        "        mean -= 0\n",
        "screening",
    ),
    Mutant(
        "the error of the root of a mean is forgotten",
        "src/screen.pxi",
        "sqrt(mean) - error",
        "sqrt(mean)",
        "screening",
    ),
    Mutant(
        "the excess of a dropped candidate stays in its lane",
        COHORTS,
        "    for j in range(n_rows):\n",
        "    for j in range(n_rows - 1):\n",
        "pruning range",
    ),
    Mutant(
        "sizes of columns forget negative values",
        SCREEN,
        "of_root ? x * x : x < 0 ? -x : x;",
        "of_root ? x * x : x;",
        "screening",
    ),
    Mutant(
        "penalties forget how near draws of single precision are",
        SCREEN,
        "max(max(theta, -theta) - doubts[j], V{})",
        "max(theta, -theta)",
        "screening",
    ),
    Mutant(
        "penalties of single precision are not rounded down",
        SCREEN,
        "1 - (float)(n_penalised + 8) * 0x1p-23f",
        "1",
        "screening",
    ),
    Mutant(
        "draws of single precision are taken for those of double precision",
        "src/narrow.pxi",
        "error * abs(b) + 4 * SINGLE * size + LEAST",
        "LEAST",
        "screening",
    ),
    Mutant(
        "a candidate dropped in single precision leaves its penalty behind",
        "src/screen.pxi",
        "            work.narrow_penalties[kept] = work.narrow_penalties[i]\n",
        "",
        "screening",
    ),
    Mutant(
        "a candidate dropped in single precision leaves its error behind",
        "src/screen.pxi",
        "            work.narrow_errors[kept] = work.narrow_errors[i]\n",
        "",
        "screening",
    ),
    Mutant(
        "candidates beyond 2^32 repeat",
        RANDOM,
        "first = (candidates >> 32) ^ keys.rounds[0][0];",
        "first = u64v{} + keys.rounds[0][0];",
        "samplers",
    ),
    Mutant(
        "the second round has the key of the first",
        RANDOM,
        "upper = (lower >> 32) ^ keys.rounds[1][0];",
        "upper = (lower >> 32) ^ keys.rounds[0][0];",
        "samplers",
    ),
    Mutant(
        "no word is too rare for single precision",
        "src/narrow_random.hpp",
        "RARE = 1u << 17;",
        "RARE = 1u;",
        "screening",
    ),
    Mutant(
        "normal numbers of single precision of another sign in two quadrants",
        "src/narrow_random.hpp",
        "(is_odd ? sin_f : cos_f) ^ (next & SIGN)",
        "(is_odd ? sin_f : cos_f) ^ (quadrant & SIGN)",
        "screening",
    ),
    Mutant(
        "bounds of both sides: the upper one is the sum itself",
        "src/screen.pxi",
        "lower, upper = lower - error, upper + error\n",
        "lower, upper = lower - error, upper\n",
        "deciding",
    ),
    Mutant(
        "losses that may be below the threshold are not looked at",
        PY + "evolution/deciding.py",
        "(below < n_best) | (lower < threshold)",
        "(below < n_best) | (upper < threshold)",
        "deciding",
    ),
    Mutant(
        "of an even number, the lower one is the middle",
        PY + "evolution/deciding.py",
        "return (n - 1) // 2, n // 2",
        "return (n - 1) // 2, (n - 1) // 2",
        "deciding",
    ),
    # ---------------------------------------------------------------- counts in single precision
    Mutant(
        "decisions of single precision are taken for certain",
        COUNTS,
        "low[v] = at - reach;",
        "low[v] = at + reach;",
        "exact_counts",
    ),
    Mutant(
        "whole numbers are exact whatever their size",
        COUNTS,
        "norm * largest < 0x1p24;",
        "norm * largest < 0x1p60;",
        "exact_counts",
    ),
    Mutant(
        "fractions are taken for whole numbers",
        COUNTS,
        "lost = multiple == whole ? lost : splat<F>(1);",
        "lost = multiple < whole ? splat<F>(1) : lost;",
        "exact_counts",
    ),
    Mutant(
        "a margin computed again is on the side of the first cut alone",
        COUNTS,
        "t < cuts->count; t++)\n                if (exact[r]",
        "t < 1; t++)\n                if (exact[r]",
        "exact_counts",
    ),
    Mutant(
        "sums of a stratum begin with those of the one before",
        "src/counts.pxi",
        "    memset(work.high, 0, size * sizeof(double))\n    memset(work.low, 0, size",
        "    memset(work.low, 0, size",
        "exact_counts",
    ),
    Mutant(
        "right decisions of rows with weights are not all the others",
        COUNTS,
        "lane[1] = lane[1] + (is_wrong ? V{} : weight);",
        "lane[1] = lane[1] + weight;",
        "exact_counts",
    ),
    # -------------------------------------------------------------------------- Hessians, systems
    Mutant(
        "a pivot of rounding alone is taken for one",
        SYSTEMS,
        "max(entry * ((double)n * 0x1p-52), splat<V>(SMALLEST_ENTRY));",
        "max(entry * 0x1p-60, splat<V>(SMALLEST_ENTRY));",
        "newton training gap_bounds",
    ),
    Mutant(
        "intercepts are no part of the gap of softmax",
        PY + "fitting/softmax_gaps.py",
        "+ e * intercepts.divergences",
        "+ 0 * intercepts.divergences",
        "softmax_fits",
    ),
    Mutant(
        "a rare class asks for no more mixing than others",
        PY + "fitting/softmax_gaps.py",
        "most / (shares + most)",
        "most / (1 + most)",
        "softmax_fits",
    ),
    Mutant(
        "half of the convexity of softmax is taken twice",
        PY + "fitting/softmax_gaps.py",
        "np.square(R) / (2 * l2) + e",
        "np.square(R) / (4 * l2) + e",
        "softmax_fits",
    ),
    Mutant(
        "sparse: a list's last number is left out where it is alone",
        SPARSE,
        "i < PARTS<L>; i++) even[i] = fma(p, get<V>(a + i * W), even[i]);",
        "i < 0; i++) even[i] = fma(p, get<V>(a + i * W), even[i]);",
        "sparse_rows",
    ),
    Mutant(
        "sparse: the slopes of an intercept have no sign",
        SPARSE,
        "sums[2][l] += step->signs[first + row] * slopes[row * L + l];",
        "sums[2][l] += slopes[row * L + l];",
        "sparse_fits",
    ),
    Mutant(
        "sparse: lanes that turn take the curvatures of those that are evaluated",
        SPARSE,
        "is_asked ? weight * Logistic::curvature(margin) : curvature",
        "weight * Logistic::curvature(margin)",
        "sparse_fits",
    ),
    Mutant(
        "sparse: thetas are added to their own lane's neighbour",
        SPARSE,
        "square[i] + l2 * load<V>(thetas + at)",
        "square[i] + l2 * load<V>(thetas + column)",
        "sparse_losses",
    ),
    Mutant(
        "sparse: half of the convexity is taken twice",
        PY + "fitting/sparse_fits.py",
        "sets.longest, losses, l2)",
        "sets.longest, losses, 2 * l2)",
        "sparse_fits",
    ),
    Mutant(
        "sparse: numbers of one place are not added",
        PY + "data/sparse_rows.py",
        "    return found if _is_ascending(found) else _added_up(found)",
        "    return found",
        "sparse_rows",
    ),
    Mutant(
        "softmax: rows beyond the last one of a block count",
        SOFTMAX,
        "load<V>(numbers + c) < (T)(n_rows - row + c);",
        "load<V>(numbers + c) <= (T)(n_rows - row + c);",
        "softmax losses",
    ),
    Mutant(
        "softmax: small losses are what is left of a sum less 1",
        SOFTMAX,
        "q = mine == scale ? others : sum - scale;",
        "q = sum - scale;",
        "softmax losses",
    ),
    Mutant(
        "softmax: small slopes of a row's own class are what is left of a difference",
        SOFTMAX,
        "store(at + label * COLUMN, -(others * share));",
        "store(at + label * COLUMN, (mine - sum) * share);",
        "softmax losses",
    ),
    Mutant(
        "softmax: intercepts are penalised",
        "src/softmax.pxi",
        "if j < plan.n_penalised and plan.l2[model] > 0:",
        "if plan.l2[model] > 0:",
        "softmax losses",
    ),
    Mutant(
        "softmax: models without a fold have lanes there, in the order of all models",
        "src/softmax_groups.pxi",
        "            column = (plan.members[index * plan.group + column // plan.n_classes]"
        " * plan.n_classes\n                      + column % plan.n_classes)\n",
        "",
        "softmax_fits",
    ),
    Mutant(
        "softmax: slopes of a model are those of one fold",
        "src/softmax.pxi",
        "            low[j] += plan.gradient_low[at + j * lanes]\n    at = ",
        "            low[j] += plan.gradient_low[at + j * lanes]\n        break\n    at = ",
        "softmax_fits",
    ),
    Mutant(
        "softmax: a span has rows of two folds",
        "src/softmax_rows.pxi",
        "or self.n_parts > 1 and strata[block] // n_classes",
        "or self.n_parts > 99 and strata[block] // n_classes",
        "softmax_fits",
    ),
    Mutant(
        "sparse: two calls work in the same memory",
        "src/sparse.pxi",
        "            self.kept = NULL\n        if memory",
        "        if memory",
        "sparse_losses",
    ),
    Mutant(
        "sparse: sums that left the range are infinite",
        "src/sparse.hpp",
        "    if (!is_zero(lost)) multiply_again<L>(matrix, first, last, x, out);\n",
        "",
        "sparse_losses sparse_rows",
    ),
    Mutant(
        "softmax: the way back goes over the last pair alone",
        "src/pairs.hpp",
        "    ptrdiff_t i = next_pair(pairs, -1, 1);\n    if (i >= pairs->count) return;\n",
        "    ptrdiff_t i = next_pair(pairs, pairs->count, -1);\n    if (i < 0) return;\n",
        "softmax_fits",
    ),
    Mutant(
        "softmax: a ring of pairs has no end",
        "src/pairs.hpp",
        "    return (pairs->first + i) % pairs->capacity;\n",
        "    return i;\n",
        "softmax_fits",
    ),
    Mutant(
        "softmax: a pair's changes of intercepts are penalised",
        "src/pairs.hpp",
        "change[j] = (float)(intercepts[k] - tilt * step[j]);",
        "change[j] = (float)intercepts[k];",
        "softmax_fits",
    ),
    Mutant(
        "softmax: a new penalty leaves pairs as they are",
        "src/softmax_steps.pxi",
        "        cdef double tilt = self.l2[model] * self.numbers[2, model, i]\n",
        "        cdef double tilt = self.numbers[2, model, i]\n",
        "softmax_fits",
    ),
    Mutant(
        "softmax: the last vector of a tile's columns is left out",
        "src/softmax.hpp",
        "        if (n_columns <= (USED - 1) * lanes_of<wide_vector<T>>)\n"
        "            return margins_of_tile",
        "        if (n_columns <= USED * lanes_of<wide_vector<T>>)\n"
        "            return margins_of_tile",
        "softmax losses",
    ),
    Mutant(
        "softmax: what single precision has found is taken for what double precision has",
        PY + "fitting/softmax.py",
        "        self.descend(rows, at, targets, NARROW, n_iter)\n        self.evaluate(at)\n",
        "        self.descend(rows, at, targets, NARROW, n_iter)\n",
        "softmax_fits",
    ),
    # --------------------------------------------------------------------- penalties of groups
    Mutant(
        "penalties: the prior holds logarithms to 0, not to each other",
        PY + "selection/penalties.py",
        "        away = logarithms - logarithms.mean()\n        gradient",
        "        away = logarithms\n        gradient",
        "tuned_penalties",
    ),
    Mutant(
        "penalties: the descent is never held within its range",
        PY + "selection/penalties.py",
        "        return np.clip(logarithms, LEAST, GREATEST)\n",
        "        return logarithms\n",
        "tuned_penalties",
    ),
    Mutant(
        "penalties: those that are found keep all their digits",
        PY + "selection/penalties.py",
        "np.rint(run.theta * UNIT / DIGIT) * DIGIT",
        "run.theta * UNIT",
        "tuned_penalties",
    ),
    # -------------------------------------------------------------------------------------- races
    Mutant(
        "races: those that have ended are dropped",
        PY + "selection/racing.py",
        "        is_last &= goes_on[index]\n",
        "",
        "racing",
    ),
    Mutant(
        "races: a rung keeps one candidate less",
        PY + "selection/racing.py",
        "is_last[np.lexsort([index, losses])[:n_kept]] = False",
        "is_last[np.lexsort([index, losses])[: n_kept - 1]] = False",
        "racing",
    ),
    Mutant(
        "races: a descent that diverged is worth what it was before",
        PY + "selection/racing.py",
        "np.where(status == Status.DIVERGED, np.inf, losses)",
        "losses",
        "racing",
    ),
    Mutant(
        "races: brackets without a rung come first",
        PY + "selection/racing.py",
        "self.n_rungs - k) for k, (end, start)",
        "k) for k, (end, start)",
        "racing",
    ),
    # ------------------------------------------------------------------------ models that differ
    Mutant(
        "lanes: a label of one's own turns the loss, not the derivative",
        "src/lanes.hpp",
        "store(z + i, weight * Logistic::derivative(turned(load<V>(z + i), weight)));",
        "store(z + i, weight * Logistic::derivative(load<V>(z + i)));",
        "differing",
    ),
    Mutant(
        "lanes: a tie is for the greater label",
        "src/lanes.hpp",
        "signed_weight < 0 ? u >= 0 : u > 0",
        "signed_weight < 0 ? u > 0 : u >= 0",
        "differing",
    ),
    Mutant(
        "lanes: what is left out moves",
        "src/lanes.hpp",
        "const V gradient = penalty == infinite ? V{} : fma(penalty, far, sum);",
        "const V gradient = penalty == infinite ? sum : fma(penalty, far, sum);",
        "differing",
    ),
    Mutant(
        "lanes: the rows of a fold are trained on",
        "src/lanes.pxi",
        "data.fold == NULL or (data.fold[row] == left_out) == plan.held_out",
        "data.fold == NULL or not plan.held_out or data.fold[row] == left_out",
        "differing",
    ),
    Mutant(
        "lanes: sums of losses begin with those of gradients",
        "src/lanes.pxi",
        "memset(tile.sums, 0, n_lane_sums(plan, tile.task)",
        "memset(tile.sums, 0, (tile.task != LANE_LOSSES) * n_lane_sums(plan, tile.task)",
        "differing",
    ),
    Mutant(
        "weights: a group of lanes draws what the first one has drawn",
        "src/draws.pxi",
        "tally.kernels.draw(tally.sampler, tally.start + first, lanes,",
        "tally.kernels.draw(tally.sampler, tally.start, lanes,",
        "bootstrap",
    ),
    Mutant(
        "lanes: some of the rows are taken for all in a proof",
        "metaopt_fast/fitting/lane_fits.py",
        "        hessians *= models.inverse_totals[:, None]\n",
        "        hessians *= STRIDE * models.inverse_totals[:, None]\n",
        "differing",
    ),
    Mutant(
        "a confusion matrix is in the unit of packed weights",
        PY + "objectives/softmax.py",
        "return counts * self._unit",
        "return counts",
        "softmax",
    ),
    Mutant(
        "validation gradients: of the rows that a model was trained on",
        "src/lane_rows.pxi",
        "        plan.held_out, plan.gradients = held_out, &gradients[0, 0]\n",
        "        plan.held_out, plan.gradients = False, &gradients[0, 0]\n",
        "validation_gradients",
    ),
    Mutant(
        "validation gradients: weights of classes count for rows held out",
        "metaopt_fast/fitting/validation_gradients.py",
        "fits.shared.lane_rows(models.with_plain_classes)",
        "fits.shared.lane_rows(models)",
        "validation_gradients",
    ),
    Mutant(
        "validation gradients: what parameters are drawn to is 0",
        "metaopt_fast/fitting/validation_gradients.py",
        "        far = fits.thetas - models.centres\n",
        "        far = fits.thetas\n",
        "validation_gradients",
    ),
    Mutant(
        "validation gradients: by the Hessian that proves the optimum, of some rows",
        "metaopt_fast/fitting/lane_fits.py",
        "self.rows.hessians(at, self.thetas[at], 1, found, self.effort.n_threads)",
        "self.rows.hessians(at, self.thetas[at], STRIDE, found, self.effort.n_threads)",
        "validation_gradients",
    ),
    Mutant(
        "sparse softmax: a row's Hessian is a diagonal",
        "src/sparse_steps.pxi",
        "probabilities[g, row, k] * (slopes[g, row, k] - mean))",
        "probabilities[g, row, k] * slopes[g, row, k])",
        "sparse_softmax",
    ),
    Mutant(
        "sparse softmax: lanes without a class are one",
        PY + "fitting/sparse_softmax.py",
        "z[-1, :, self.in_last :] = -np.inf",
        "z[-1, :, self.in_last :] = 0",
        "sparse_softmax",
    ),
    # -------------------------------------------------------------------- models of many tasks
    Mutant(
        "tasks: a row is weighed by its label's sign",
        "src/tasks.hpp",
        "total[v] = fma(size_of_weight(weight), Logistic::value(u), total[v]);",
        "total[v] = fma(weight, Logistic::value(u), total[v]);",
        "tasks",
    ),
    Mutant(
        "tasks: a lane that was not accepted takes its trial's loss",
        "src/tasks.hpp",
        "take_trial(accepted, 1, trial_losses, t->losses);",
        "take_trial(active, 1, trial_losses, t->losses);",
        "tasks",
    ),
    Mutant(
        "tasks: lanes that are done take what others' factors bound",
        "src/tasks.hpp",
        "if (done[l] > 0)",
        "if (active[l] > 0 || done[l] > 0)",
        "tasks",
    ),
    Mutant(
        "tasks: a task's first row is no part of its units",
        "src/tasks.pxi",
        "    for i in range(n_rows):\n        row = plan.x",
        "    for i in range(1, n_rows):\n        row = plan.x",
        "tasks",
    ),
    Mutant(
        "tasks: what is left out moves",
        "src/tasks.hpp",
        "const bool goes = pending[i % L] > 0 && t->penalties[i] < __builtin_inf();",
        "const bool goes = pending[i % L] > 0;",
        "tasks",
    ),
    Mutant(
        "tasks: entries on the diagonal are left as they were",
        "src/tasks.hpp",
        "if (columns[c] >= rows[i]) store",
        "if (columns[c] > rows[i]) store",
        "tasks",
    ),
    Mutant(
        "tasks: what Ctrl-C kept from its turn has converged",
        PY + "fitting/task_rows.py",
        "status[~had_turn] = Status.INTERRUPTED.value",
        "status[~had_turn] = Status.CONVERGED.value",
        "tasks",
    ),
    Mutant(
        "priors: some of the models that were asked for judge a prior",
        PY + "selection/episodes.py",
        "        if optima.is_interrupted:\n",
        "        if False:\n",
        "priors",
    ),
    Mutant(
        "tuned resamples: the weakest of equal penalties",
        PY + "fitting/resample_tuning.py",
        "candidates = np.unique(strengths)[::-1]",
        "candidates = np.unique(strengths)",
        "bootstrap",
    ),
    Mutant(
        "tuned resamples: rows of a group on both sides of a fold",
        PY + "fitting/resample_tuning.py",
        "return (group_of % count).astype(np.intp)",
        "return np.arange(len(codes)) % count",
        "bootstrap",
    ),
    Mutant(
        "tuned resamples: models without a row have the penalty of all rows",
        PY + "fitting/resampled_models.py",
        "self.tuning.choose(weights, self.effort)",
        "self.tuning.choose(weights if weights is None else weights[:1], self.effort)",
        "bootstrap",
    ),
    Mutant(
        "permutation tests: the labels as they are count for nothing",
        PY + "selection/permutations.py",
        "return float((np.sum(others >= score) + 1) / (len(others) + 1))",
        "return float(np.sum(others >= score) / len(others))",
        "permutation_command",
    ),
    Mutant(
        "permutation tests: folds follow the labels",
        PY + "selection/permutations.py",
        "fold_of = stratified_folds(np.zeros(len(X), np.uint8), n_folds, seed)",
        "fold_of = stratified_folds(codes, n_folds, seed)",
        "permutation_command",
    ),
    Mutant(
        "priors: penalties weigh the same for any number of rows",
        PY + "selection/episodes.py",
        "pulls = turned * penalties.l2[:, None] * penalty / len(losses)",
        "pulls = turned * penalty / len(losses)",
        "priors",
    ),
    Mutant(
        "priors: episodes of one class",
        PY + "selection/episodes.py",
        "if codes[:size].all() or not codes[:size].any():",
        "if codes[:size].all():",
        "priors",
    ),
    Mutant(
        "priors: a level that is worse is chosen",
        PY + "selection/rungs.py",
        "    gains = others - losses\n",
        "    gains = losses - others\n",
        "priors",
    ),
    Mutant(
        "priors: tasks of a fold judge what was learned from them",
        PY + "selection/rungs.py",
        "episodes.of(np.flatnonzero(self.fold_of != f)) for f in folds",
        "episodes.of(np.flatnonzero(self.fold_of == f)) for f in folds",
        "priors",
    ),
    # ----------------------------------------------------------------------------- l1 penalties
    Mutant(
        "l1: a weight below 0 is not shrunk",
        "src/lasso.hpp",
        ": v < -least ? (v + least) * inverses[j]",
        ": v < -least ? v * inverses[j]",
        "lasso",
    ),
    Mutant(
        "l1: the last chunk of rows is no part of the products of columns",
        "src/lasso.hpp",
        "        for (ptrdiff_t row = 0; row < n_rows; row += CHUNK)\n"
        "            add_some_products<L>(",
        "        for (ptrdiff_t row = 0; row + CHUNK <= n_rows; row += CHUNK)\n"
        "            add_some_products<L>(",
        "lasso",
    ),
    Mutant(
        "l1: the dual point is not scaled to where it may be",
        LASSO_PATH,
        "    if largest > l1:\n        scale *= l1 / largest\n",
        "",
        "lasso",
    ),
    Mutant(
        "l1: half of what slopes are beyond l1 is part of the gap",
        LASSO_PATH,
        "+ l2 / 2 * squares + beyond / (2 * l2))",
        "+ l2 / 2 * squares + beyond / (4 * l2))",
        "lasso",
    ),
    Mutant(
        "l1: rounding is no part of the gap",
        LASSO_PATH,
        "gap = max(gap, 0) + 1.01 * rounding",
        "gap = max(gap, 0)",
        "lasso",
    ),
    Mutant(
        "l1: columns that were left out are not looked at",
        "src/lasso_steps.pxi",
        "    gap = gap_of(path, path.gradient, NULL, path.n_features)\n",
        "    gap = gap_of(path, path.slopes, path.features, path.k)\n",
        "lasso",
    ),
    Mutant(
        "the dual of an l1 path knows no factors of penalties",
        LASSO_PATH,
        "largest = max(largest, slope / share)",
        "largest = max(largest, slope)",
        "lasso",
    ),
    Mutant(
        "columns enter an l1 path without regard to the factors of their penalties",
        LASSO_COLUMNS,
        "path.shares[slot], path.w[slot] = path.all_shares[feature], weight",
        "path.shares[slot], path.w[slot] = 1, weight",
        "lasso",
    ),
    Mutant(
        "features without a penalty by which a plane separates the classes are proven",
        LASSO_PATH,
        "return path.n_free == 0 or path.free_reach <= NEAR_DUAL",
        "return True",
        "free_features",
    ),
    Mutant(
        "features without a penalty step uphill",
        LASSO_PATH,
        "path.w[j] -= path.free_steps[j]",
        "path.w[j] += path.free_steps[j]",
        "free_features",
    ),
    Mutant(
        "features without a penalty that are 0 in a training set leave no optimum there",
        LASSO_PATH,
        "            to[i] += path.blank[i]\n",
        "            to[i] += 0\n",
        "free_features",
    ),
    Mutant(
        "paths do not begin at the model of the features without a penalty",
        PY + "fitting/lasso.py",
        "theta0 = models_of_free_columns(rows, choices, factors == 0, effort)[set_of]",
        "theta0 = models_of_free_columns(rows, choices, factors == 0, effort)[0 * set_of] + 1",
        "free_features",
    ),
    Mutant(
        "l1, sparse: a column's products have no curvatures in them",
        LASSO_COLUMNS,
        "weighted = path.kept[row] * sparse.numbers[at]",
        "weighted = sparse.numbers[at] / path.n",
        "sparse_lasso",
    ),
    Mutant(
        "l1, sparse: columns are those of the first features, not of the working set",
        LASSO_COLUMNS,
        "line, times = path.features[path.which[c]], path.factors[c]",
        "line, times = path.which[c], path.factors[c]",
        "sparse_lasso",
    ),
    Mutant(
        "l1, sparse: slopes of the columns behind the first thousand are never told",
        LASSO_COLUMNS,
        "path.next_column = last if last < path.n_features else 0",
        "path.next_column = 0",
        "sparse_lasso",
    ),
    Mutant(
        "l1, sparse: rows that a fold leaves out are trained on",
        PY + "fitting/lasso_columns.py",
        "signs, weights = np.ones(n), np.zeros(n)",
        "signs, weights = np.ones(n), np.full(n, 1 / n)",
        "sparse_lasso",
    ),
    Mutant(
        "stability: the halves of a pair overlap",
        PY + "fitting/stability.py",
        "in_second[order[half:]] = 1",
        "in_second[order[half - 1 :]] = 1",
        "stability",
    ),
    Mutant(
        "stability: the bound of false selections is that of every penalty by itself",
        PY + "fitting/stability.py",
        "sizes += of_path.sum(axis=(1, 2))",
        "sizes += chosen.sum(axis=(1, 2))",
        "stability",
    ),
    # ------------------------------------------------------------------------ Newton's method
    Mutant(
        "the bound of radii is cut to nine tenths",
        SYSTEMS,
        "lost == infinite ? lost : sqrt(radius));",
        "lost == infinite ? lost : sqrt(radius) * 0.9);",
        "newton training gap_bounds",
    ),
    Mutant(
        "margins of one sign alone are looked at",
        NEWTON,
        "found[v] = max(max(margin, -margin), found[v]);",
        "found[v] = max(margin, found[v]);",
        "newton gap_bounds",
    ),
    Mutant(
        "the last entry of a solution is not taken back",
        SYSTEMS,
        "        for (ptrdiff_t j = n - 1; j >= 0; j--) {",
        "        for (ptrdiff_t j = n - 2; j >= 0; j--) {",
        "newton training",
    ),
    Mutant(
        "a Newton step of one model is that of the sums' Hessian",
        "src/steps.pxi",
        "cdef double scale = 1 / self.rows.total_weight, unused",
        "cdef double scale = 1, unused",
        "newton",
    ),
    Mutant(
        "a Newton step is taken that leads uphill",
        "src/steps.pxi",
        "if loss <= self.loss - ARMIJO * size * self.slope + ROUNDING * fabs(self.loss):",
        "if loss < INFINITY:",
        "newton",
    ),
    Mutant(
        "Newton steps begin where theta is worse than zero",
        "src/steps.pxi",
        "if not self.loss <= LOSS_AT_ZERO:",
        "if self.loss == INFINITY:",
        "newton",
    ),
    Mutant(
        "the mean of two Hessians is as old as the left one",
        PY + "fitting/hessians.py",
        "np.maximum(np.where(self.parts > 0, drifts, log(left)), 0.0)",
        "np.maximum(log(left), 0.0)",
        "newton gap_bounds",
    ),
    Mutant(
        "rows beyond their margin count in the Hessian of the squared hinge",
        LOSSES,
        "return z > -1 ? splat<V>(2) : V{};",
        "return z > -2 ? splat<V>(2) : V{};",
        "hinge",
    ),
    Mutant(
        "columns are divided by deviations of all rows, those of the fold left out, too",
        PY + "fitting/deviations.py",
        "some = present & (np.arange(n_folds) != f)",
        "some = present & (np.arange(n_folds) != f - n_folds)",
        "standardized",
    ),
    Mutant(
        "what folds differ by is left out of deviations",
        PY + "fitting/deviations.py",
        "squares[some].sum(axis=0) + between",
        "squares[some].sum(axis=0) + 0 * between",
        "standardized",
    ),
    Mutant(
        "a start is not brought to columns of unit deviation",
        PY + "fitting/standardized.py",
        "found[:, :-1] *= self.scale",
        "found[:, :-1] *= 1.0",
        "standardized",
    ),
    Mutant(
        "factors of l2 are deviations, not their squares",
        PY + "fitting/differing.py",
        "return np.square(found), which",
        "return np.abs(found), which",
        "standardized",
    ),
    Mutant(
        "what it costs to balance the classes is left out of the gap of machines",
        PY + "fitting/hinge_gaps.py",
        "        + 1.02 * by_intercept * slack\n",
        "        + 0 * by_intercept * slack\n",
        "hinge",
    ),
    Mutant(
        "the weights' gradient has no rounding in the gap of machines",
        PY + "fitting/hinge_gaps.py",
        "noise * extent + 5 * EPS * l2 * sizes + TINY",
        "TINY + 0 * noise",
        "hinge",
    ),
    Mutant(
        "the rest has the weight of the class that it is against",
        PY + "sklearn/svc.py",
        "np.array([1.0, factors[k]])",
        "np.array([factors[k], factors[k]])",
        "svc",
    ),
    Mutant(
        "a batch of machines has the starts of the first one",
        PY + "fitting/machines.py",
        "start[first * n_folds : last * n_folds]",
        "start[: (last - first) * n_folds]",
        "machines",
    ),
    Mutant(
        "machines have the bounds of rounding of those beside them",
        PY + "fitting/machines.py",
        "np.maximum(columns.max(axis=0), -columns.min(axis=0))",
        "np.max([part.extents for part in parts], axis=0)[: columns.shape[1]]",
        "machines",
    ),
    Mutant(
        "models without a penalty that are not proven have converged",
        PY + "fitting/hinge.py",
        "near = are_proven(gaps, self.losses[at], self.tol)",
        "near = ended",
        "hinge",
    ),
    Mutant(
        "starts between models leave the right one uphill",
        PY + "fitting/paths.py",
        "rest * slopes[0] - t * slopes[1]",
        "rest * slopes[0] + t * slopes[1]",
        "newton",
    ),
    Mutant(
        "corrected steps are no longer than those that were corrected",
        "src/courses.pxi",
        "            here.norm = norm\n",
        "            here.norm = here.length\n",
        "newton",
    ),
    Mutant(
        "steps of a kept Hessian end without regard to its drift",
        "src/courses.pxi",
        "wanted = plan.tol * part_after(plan.drifts[i] + plan.radii[i] * plan.distances[i])",
        "wanted = plan.tol",
        "newton",
    ),
    Mutant(
        "a kept Hessian leads on after a step of it was halved",
        "src/courses.pxi",
        "if plan.sizes[i] < 1 or plan.n_steps[i] == plan.most[i]:",
        "if plan.n_steps[i] == plan.most[i]:",
        "newton",
    ),
    Mutant(
        "models are moved on the rows of the first training set",
        "src/sets.pxi",
        "            runs[n_runs].set = which[first]\n",
        "            runs[n_runs].set = 0\n",
        "newton",
    ),
    Mutant(
        "Hessians are of the rows of the first training set",
        "src/newton.pxi",
        "plan.sets + plan.which[candidate]",
        "plan.sets",
        "newton",
    ),
    Mutant(
        "models that share no region move once",
        "src/kept.pxi",
        "            while shared.plans[i].n_trying:\n",
        "            if shared.plans[i].n_trying:\n",
        "newton",
    ),
    Mutant(
        "the mean of two matrices has the weights the other way round",
        "src/systems.pxi",
        "rest * matrix[pair] + part * other[pair]",
        "part * matrix[pair] + rest * other[pair]",
        "newton",
    ),
    # ------------------------------------------------------------------------------ gaps, proofs
    Mutant(
        "certified at twice the tolerance",
        PY + "fitting/fit_many.py",
        "certified = are_proven(optima.gap_bounds, optima.losses, effort.tol)",
        "certified = are_proven(optima.gap_bounds, optima.losses, 2 * effort.tol)",
        "gap_bounds",
    ),
    Mutant(
        "the gap is that of a quadratic function",
        PY + "fitting/certificates.py",
        "np.where(x < 1e-3, 0.5 + x / 6 + np.square(x) / 10, exact * (1 + 1e-11))",
        "0.5",
        "gap_bounds",
    ),
    Mutant(
        "the bound by convexity is that of twice the penalty",
        PY + "fitting/certificates.py",
        "np.sqrt(2 * l2)",
        "np.sqrt(4 * l2)",
        "gap_bounds",
    ),
    # --------------------------------------------------------------------------------------- AUC
    Mutant(
        "ties count whole",
        AUC,
        "area = fma(right, fma(left, splat<V>(0.5), below), area);",
        "area = fma(right, left + below, area);",
        "auc",
    ),
    Mutant(
        "decisions beyond the last bin are written behind it",
        AUC,
        "const V bin = max(position < last_bin ? position : last_bin, V{});",
        "const V bin = max(position < last_bin + 1 ? position : last_bin + 1, V{});",
        "auc",
    ),
    Mutant(
        "the bound of ties is cut to nine tenths",
        PY + "objectives/auc.py",
        "np.minimum(ties / 2 + rounding, 1)",
        "np.minimum(ties / 2.25, 1)",
        "auc",
    ),
    Mutant(
        "exact areas: ties count whole where rows have weights",
        RANKS,
        "half = tied / 2;",
        "half = tied;",
        "auc",
    ),
    Mutant(
        "exact areas: ties count nothing where rows have no weights",
        RANKS,
        "V other = load<V>(placed + at);\n        less += other < z, not_more += other <= z;",
        "V other = load<V>(placed + at);\n        less += other < z, not_more += other < z;",
        "auc",
    ),
    Mutant(
        "exact areas: the first ties of a long bucket count twice",
        RANKS,
        "(end - at - W) *",
        "(end - at) *",
        "auc",
    ),
    Mutant(
        "exact areas: a long bucket whose ends are equal is of one decision",
        RANKS,
        "            placed[i] = placed[last], placed[last] = decision;\n",
        "",
        "auc",
    ),
    Mutant(
        "exact areas: pairs of few positive rows are counted as those of few negative ones",
        RANKS,
        ": pairs - (double)twice / 2)",
        ": (double)twice / 2)",
        "auc",
    ),
    Mutant(
        "exact areas: decisions are sorted by all bytes but the first",
        RANKS,
        "for (int bit = 0; bit < 64; bit += BYTE_BITS) {\n        ptrdiff_t places",
        "for (int bit = 0; bit < 56; bit += BYTE_BITS) {\n        ptrdiff_t places",
        "auc",
    ),
    # ---------------------------------------------------------------------------- rows and thetas
    Mutant(
        "extents forget negative values",
        PACKING,
        "max(*largest, max(square[i], -square[i]))",
        "max(*largest, square[i])",
        "kernels packing",
    ),
    Mutant(
        "norms forget the columns beyond the last four",
        "src/norms.hpp",
        "if (k < n) add_squares_apart",
        "if (k > n) add_squares_apart",
        "packing",
    ),
    Mutant(
        "rows in columns have an intercept of 0",
        PACKING,
        "for (double &entry : entries[i]) entry = i < n_columns;",
        "for (double &entry : entries[i]) entry = 0 * n_columns;",
        "packing",
    ),
    Mutant(
        "two bits less of headroom",
        THETAS,
        "__builtin_ilogb((double)n_params) + 3;",
        "__builtin_ilogb((double)n_params) + 1;",
        "kernels range",
    ),
    Mutant(
        "rows of small norm come first",
        PY + "data/order.py",
        "sort(order, keys, descending=True, in_order=True,",
        "sort(order, keys, descending=False, in_order=True,",
        "pruning packing",
    ),
    Mutant(
        "the last group of a run of rows lies where the one before it does",
        PY + "data/order.py",
        "groups = slice(group - 1, until)",
        "groups = slice(group - 1, max(group, until - 1))",
        "storage packing",
    ),
    Mutant(
        "rows of a file are copied over others of their region",
        PY + "data/numbers.py",
        "free[region] += len(rows)",
        "free[region] += 0",
        "storage",
    ),
    Mutant(
        "a file is mapped before its space is taken",
        PY + "data/storage.py",
        "take_space(file.fileno(), max(n_bytes, 1))",
        "os.ftruncate(file.fileno(), max(n_bytes, 1))",
        "storage",
    ),
    Mutant(
        "rows that are written before a wider dtype comes are lost",
        PY + "data/storage.py",
        "for first in range(0, len(before), size):",
        "for first in range(size, len(before), size):",
        "batches",
    ),
    Mutant(
        "True and 1 of two batches are one label",
        PY + "data/batches.py",
        "(isinstance(label, bool), label)",
        "(False, label)",
        "batches",
    ),
    Mutant(
        "rows on a disk have a copy in single precision",
        "src/rows.pxi",
        " or self.kernels.slope == 0 or self.on_disk:",
        " or self.kernels.slope == 0:",
        "storage",
    ),
    Mutant(
        "rows of a file are sent to processes that cannot open it",
        PY + "data/packed.py",
        "        if self.is_on_disk:",
        "        if False:",
        "storage",
    ),
    Mutant(
        "rows are sorted by the leading bits of their norms alone",
        RADIX,
        "if (sorted) return rows;",
        "return rows;",
        "packing",
    ),
    Mutant(
        "a thread's rows are put behind those of the next one",
        RADIX,
        "for (int part = 0; part < sort->n_parts; part++) {\n            const ptrdiff_t count",
        "for (int part = sort->n_parts; part-- > 0;) {\n            const ptrdiff_t count",
        "packing",
    ),
    Mutant(
        "numbers of rows are read that nobody has written",
        RADIX,
        "return sort->in_order ? i : sort->rows[i];",
        "return sort->rows[i];",
        "packing",
    ),
    Mutant(
        "positions of no row have a label",
        "src/packing.pxi",
        "plan.labels[row] if row >= 0 else 0",
        "plan.labels[row] if row >= 0 else 1",
        "packing",
    ),
    Mutant(
        "a run of rows that agree is cut between two threads",
        RADIX,
        "while (first > 0 && first < sort->count &&",
        "while (false && first > 0 && first < sort->count &&",
        "packing",
    ),
    Mutant(
        "weights are not brought to [1, 2)",
        PY + "data/checks.py",
        "return np.ldexp(weights, 1 - math.frexp(weights.max())[1])",
        "return weights",
        "kernels bad_input",
    ),
    # ------------------------------------------------------------------- searches and checkpoints
    Mutant(
        "a threshold before there are top_k",
        PY + "search/shards.py",
        "float(ranks[-1]) if len(ranks) == top_k else math.inf",
        "float(ranks[-1]) if len(ranks) else math.inf",
        "search",
    ),
    Mutant(
        "equal losses: the highest number wins",
        PY + "runs/ranking.py",
        'np.lexsort([top["index"][kept], losses[kept]])',
        'np.lexsort([-top["index"][kept], losses[kept]])',
        "search result",
    ),
    Mutant(
        "an equal loss improves the trace",
        PY + "runs/ranking.py",
        "found[1:] = lowest[1:] < lowest[:-1]",
        "found[1:] = lowest[1:] <= lowest[:-1]",
        "search result",
    ),
    Mutant(
        "the last of the best of a shard is left out",
        PY + "search/shards.py",
        "kept &= ranks <= np.partition(",
        "kept &= ranks < np.partition(",
        "search result",
    ),
    Mutant(
        "shards are folded as they arrive",
        PY + "search/shards.py",
        "while ready < len(waiting) and waiting[ready].start == stop:",
        "while ready < len(waiting):",
        "search executors",
    ),
    Mutant(
        "overlapping shards are merged",
        PY + "runs/ranges.py",
        "if joined and start < joined[-1][1]:",
        "if joined and start < joined[-1][0]:",
        "result",
    ),
    Mutant(
        "commits are not synchronised",
        PY + "search/checkpoint.py",
        "PRAGMA synchronous = EXTRA;",
        "PRAGMA synchronous = OFF;",
        "checkpoint",
    ),
    Mutant(
        "the checkpoint of another search is opened",
        PY + "search/checkpoint.py",
        "if name not in FREE_ENTRIES and given.get(name) != theirs.get(name):",
        "if False:",
        "checkpoint",
    ),
    Mutant(
        "a checkpoint is not checked for damage",
        PY + "search/checkpoint.py",
        'if self._execute("PRAGMA integrity_check(1)") != [("ok",)]:',
        "if False:",
        "checkpoint",
    ),
    Mutant(
        "a checkpoint of fewer candidates is taken for a shorter search",
        PY + "search/checkpoint.py",
        'if given["n_candidates"] < self.config["n_candidates"]:',
        "if False:",
        "checkpoint",
    ),
    Mutant(
        "an evolution's file is not compared with its digest",
        PY + "files/archive.py",
        "if digest != _digest(arrays, text):",
        "if False:",
        "evolve_stops result",
    ),
    Mutant(
        "an evolution goes on from the checkpoint of another",
        PY + "evolution/checkpoint_contents.py",
        "if name not in (*FREE_ENTRIES, *renamed) and theirs.get(name) != ours.get(name):",
        "if False:",
        "evolve_stops",
    ),
    Mutant(
        "parts of workers are handed out as they come",
        PY + "runs/spread.py",
        "                while following in waiting:\n"
        "                    yield waiting.pop(following)\n"
        "                    following += size\n",
        "                yield from waiting.values()\n                waiting.clear()\n",
        "spread",
    ),
    Mutant(
        "models on workers begin where others should",
        PY + "fitting/fit_differing.py",
        "start[numbers.start * n_folds : numbers.stop * n_folds]",
        "start[: len(numbers) * n_folds]",
        "spread",
    ),
    Mutant(
        "a search counts shards twice that have waited",
        PY + "search/shards.py",
        "n_waiting -= stop - self.next",
        "pass",
        "clusters",
    ),
    Mutant(
        "the data goes out with shard after shard while a worker asks for it",
        PY + "runs/workers.py",
        "send = self.with_data < len(self.asking)",
        "send = len(self.asking) > 0",
        "executors",
    ),
    Mutant(
        "the array that an evolution starts from is not evaluated",
        PY + "evolution/continuous.py",
        "                thetas[0] = self.theta0  # a start may be the best there is\n",
        "                pass\n",
        "evolve",
    ),
    Mutant(
        "mirrored directions are followed uphill",
        PY + "evolution/continuous.py",
        "difference = minus[used] - plus[used]",
        "difference = plus[used] - minus[used]",
        "evolve",
    ),
    Mutant(
        "a split's mask of another length is taken for numbers",
        PY + "selection/folds.py",
        "        if len(array) != n_samples:\n",
        "        if len(array) > n_samples:\n",
        "folds",
    ),
    # --------------------------------------------------------------------------- counts, scores
    Mutant(
        "the bound of rows that are wrong is met too early",
        PY + "objectives/count_objective.py",
        "limit = threshold * (1 + SLACK + GAP_ROUNDING * confusion.rounding) + UNDERFLOW",
        "limit = threshold * (1 - SLACK)",
        "counts enumeration",
    ),
    Mutant(
        "bounds of counts are tried whatever losses tell",
        PY + "objectives/count_objective.py",
        "return self._foreseen(self._losses, threshold) < self._worth",
        "return True",
        "gains",
    ),
    Mutant(
        "what a search learns of bounds of counts stays for the next",
        PY + "objectives/count_objective.py",
        "other = copy.copy(self)\n        other._bounding",
        "other = self\n        other._bounding",
        "gains",
    ),
    Mutant(
        "roc_auc counts ties as right",
        PY + "selection/scores.py",
        "doubled = (np.diff(false, axis=1, prepend=0) * (true + _shifted(true))).sum(axis=1)",
        "doubled = (np.diff(false, axis=1, prepend=0) * (true + true)).sum(axis=1)",
        "sklearn",
    ),
    Mutant(
        "a decision of 0 is positive",
        PY + "selection/scores.py",
        "return _mean((decisions > 0) == positive, weights)",
        "return _mean((decisions >= 0) == positive, weights)",
        "sklearn",
    ),
    # ------------------------------------------------------------------------- moment bounds
    Mutant(
        "moment bound: single precision is free",
        PY + "objectives/moments.py",
        "return (of_theta + of_sums +",
        "return 0 * (of_theta + of_sums +",
        "moments",
    ),
    Mutant(
        "moment bound: thetas are not rounded",
        PY + "objectives/moments.py",
        "return (of_theta + of_sums +",
        "return (of_sums +",
        "moments",
    ),
    Mutant(
        "moment bound: products are not rounded",
        PY + "objectives/moments.py",
        "return (of_theta + of_sums +",
        "return (of_theta +",
        "moments",
    ),
    Mutant(
        "moment bound: squares are not rounded",
        PY + "objectives/moments.py",
        "2 * (beta + gamma) + 16 * SINGLE,",
        "0 * beta,",
        "moments",
    ),
    Mutant(
        "moment bound: a dispersion that is not proven",
        PY + "objectives/dispersions.py",
        "return _kernels.is_positive_definite(rest)\n",
        "return True\n",
        "moments",
    ),
    Mutant(
        "moment bound: what has no factor is positive definite",
        "src/systems.pxi",
        "if not work[j * stride + j] > 0:",
        "if work[j * stride + j] < 0:",
        "moments",
    ),
    Mutant(
        "moment bound: products are on one side of the diagonal",
        "src/products.pxi",
        "        mirror(&out[0, 0], row)\n",
        "        mirror(&out[0, 0], 1)\n",
        "moments",
    ),
    Mutant(
        "moment bound: a certificate of a tenth less",
        PY + "objectives/dispersions.py",
        "            return bound\n",
        "            return 0.9 * bound\n",
        "moments",
    ),
    Mutant(
        "moment bound: a certificate of a tenth more than is tried",
        PY + "objectives/dispersions.py",
        "+= bound * (1 - SLACK)",
        "+= bound * (1 + 1e-5)",
        "moments",
    ),
    Mutant(
        "moment bound: the fourth moments are centred twice",
        "src/products.pxi",
        "- moment[i, j] * moment[k, m])",
        "- 2 * moment[i, j] * moment[k, m])",
        "moments",
    ),
    Mutant(
        "moment bound: pairs of two columns count once",
        "src/products.pxi",
        "multiple = of_row if i == j else of_row * sqrt(2)",
        "multiple = of_row",
        "moments",
    ),
    Mutant(
        "moment bound: pairs whose larger number is the other's lesser are left out",
        "src/products.hpp",
        "needed = below * (below + 1) / 2;",
        "needed = below * (below - 1) / 2;",
        "moments",
    ),
    Mutant(
        "moment bound: rows that count as their tangents keep their curvature",
        PY + "objectives/moments.py",
        "_replace(amplitude=sums.amplitude, second=sums.second)",
        "_replace(second=sums.second)",
        "moments",
    ),
    Mutant(
        "moment bound: rows that are left out have no tangents",
        PY + "objectives/moments.py",
        "        of_all = others.shape[0]._replace(",
        "        of_all = sums._replace(",
        "moments",
    ),
    Mutant(
        "moment bound: sums of single precision are exact",
        PY + "objectives/dispersions.py",
        "else found + OF_GRAM * squares",
        "else found",
        "moments",
    ),
    Mutant(
        "tangents: constants are those of a hundredth more",
        PY + "objectives/tangents.py",
        "weights * (value - slope * at)",
        "weights * (1.01 * value - slope * at)",
        "tangents",
    ),
    Mutant(
        "tangents: a row is not read before the look at its own block",
        PY + "objectives/tangents.py",
        'look = np.searchsorted(blocks, block_at, side="right") - 1',
        'look = np.searchsorted(blocks, block_at + 1, side="right") - 1',
        "tangents",
    ),
    Mutant(
        "single precision: losses are told apart however large their terms",
        PY + "objectives/costs.py",
        "(threshold + doubt) / (1 - NEAR)",
        "threshold / (1 - NEAR)",
        "gains",
    ),
    Mutant(
        "single precision: candidates beyond its range are screened",
        PY + "objectives/screening.py",
        "is_near = factors is None or bool((sizes * factors <= MODERATE).all())",
        "is_near = True",
        "gains",
    ),
    Mutant(
        "searches of a few milliseconds are cut into runs",
        PY + "search/shards.py",
        "int(min(RUN_SHARE * count * work / RUN_WORK, MOST_RUNS))",
        "MOST_RUNS",
        "gains",
    ),
    Mutant(
        "areas, whose pairs are all computed, are taken for searches that drop nothing",
        PY + "search/shards.py",
        "fraction >= 1 and not np.isinf(losses).any()",
        "fraction >= 1",
        "gains",
    ),
    Mutant(
        "what a search is to count does not tell whether single precision is worth its copy",
        PY + "objectives/count_objective.py",
        "        self.confusion._expect_candidates(n_candidates)\n",
        "        pass\n",
        "gains",
    ),
    Mutant(
        "what is drawn again costs no more than what is drawn together",
        PY + "objectives/costs.py",
        "self.rows + DRAW_AGAIN * n_params",
        "self.rows + DRAW * n_params",
        "gains",
    ),
    Mutant(
        "tangents: they serve in any order",
        "src/rows.pxi",
        "screen.has_rows and narrow.order is order",
        "screen.has_rows",
        "tangents",
    ),
    Mutant(
        "tangents: weights stay where the rows were",
        "src/narrow.pxi",
        "        at = i if row_at == NULL else row_at[i]\n",
        "        at = i\n",
        "tangents",
    ),
    Mutant(
        "tangents: products are those of the tile before",
        "src/screen.pxi",
        "work.narrow + i * (n + 1), n, work.tile_bounds)",
        "work.narrow, n, work.tile_bounds)",
        "screening",
    ),
    Mutant(
        "moment bound: the ridge stays in s",
        BOUND,
        "wide * moments->less - ridge * moments->more",
        "wide * moments->less",
        "moments",
    ),
    Mutant(
        "moment bound: k without its 1",
        BOUND,
        "splat<f32v>(moments->dispersion), splat<f32v>(1))",
        "splat<f32v>(moments->dispersion), splat<f32v>(0))",
        "moments",
    ),
    Mutant(
        "moment bound: psi is not rounded",
        BOUND,
        "ROUNDING = 0x1p-20f",
        "ROUNDING = 0",
        "moments",
    ),
    Mutant(
        "moment bound: psi may be negative",
        BOUND,
        "return max(fma(x + 1, splat<f32v>(-ROUNDING), psi), f32v{});",
        "return fma(x + 1, splat<f32v>(-ROUNDING), psi);",
        "moments",
    ),
    Mutant(
        "moment bound: s is never less than a part of s~",
        BOUND,
        "const f32v s = rest > some ? rest : f32v{};",
        "const f32v s = rest > some ? rest : some;",
        "moments",
    ),
    Mutant(
        "moment bound: a row of the triangle begins one later",
        BOUND,
        "first == 0 ? 0 : first - 1",
        "first",
        "moments",
    ),
    Mutant(
        "moment bound: what is infinite is a bound",
        BOUND,
        "doubt[v] = sum - sum;",
        "doubt[v] = V{};",
        "moments",
    ),
    Mutant(
        "moment bound: roots leave the range",
        BOUND,
        "root < LARGE_ROOT ? root : splat<f32v>(LARGE_ROOT)",
        "root",
        "moments",
    ),
    Mutant(
        "moment bound: constants are rounded up",
        "src/bound.pxi",
        "return nextafterf(near, -INFINITY) if near > x else near",
        "return nextafterf(near, INFINITY)",
        "moments",
    ),
    # --------------------------------------------------------------------------------- teams
    Mutant(
        "teams: intervals between trials do not grow",
        TEAM,
        "at_once ? 2 * size.wait : 0",
        "0",
        "teams",
    ),
    Mutant(
        "teams: a team that does well on trial is not trusted",
        TEAM,
        "if (size.is_tried) size.retry_at = now;",
        "",
        "teams",
    ),
    Mutant(
        "teams: what holds one thread up is not held against it",
        TEAM,
        "now - size.below_at < FRESH ? (double)size.below : 1.0",
        "1.0",
        "teams",
    ),
    Mutant(
        "teams: losses are forgotten at once",
        TEAM,
        "std::min<int64_t>(size.balance + gain, MOST_CREDIT)",
        "std::min<int64_t>(MOST_CREDIT + gain, MOST_CREDIT)",
        "teams",
    ),
    Mutant(
        "teams: shorter regions learn nothing from longer ones",
        TEAM,
        "other.limit <= fewer || (&other > &size",
        "other.limit <= fewer || (&other != &size",
        "teams",
    ),
    Mutant(
        "teams: more threads than processors",
        TEAM,
        "return full_teams ? asked : std::min(asked, metaopt_processors());",
        "return asked;",
        "teams",
    ),
    # ------------------------------------------------------------------------------------- trees
    Mutant(
        "counts of bits leave their bytes",
        TREES,
        "constexpr ptrdiff_t WORDS_OF_BYTES = 255 / 8;",
        "constexpr ptrdiff_t WORDS_OF_BYTES = 255 / 7;",
        "best_tree",
    ),
    Mutant(
        "bits that do not fit in a word are lost",
        TREES,
        "const bool has_more = used + squeeze.count > 32;",
        "const bool has_more = used + squeeze.count > 33;",
        "best_tree",
    ),
    Mutant(
        "a segment begins in the last word of the one before",
        TREES,
        "        to += used > 0;\n",
        "        to += used > 1;\n",
        "best_tree",
    ),
    Mutant(
        "third features begin behind the vector of the second",
        TREES,
        "g = (f + 1) / W * W;",
        "g = (f + W) / W * W;",
        "best_tree",
    ),
    Mutant(
        "leaves with too few rows are possible",
        TREES,
        "costs[c] = cells.of[c] < rows->least ?",
        "costs[c] = cells.of[c] < rows->least - 1 ?",
        "best_tree",
    ),
    Mutant(
        "a root that is split by parts forgets one of them",
        "src/trees.pxi",
        "plan.first_second = plan.last_second\n",
        "plan.first_second = plan.last_second + 1\n",
        "best_tree",
    ),
    Mutant(
        "pairs are looked up in one order alone",
        PY + "trees/growing.py",
        "swapped = best[[0, 2, 1, 3]].transpose(0, 2, 1)",
        "swapped = best[[0, 1, 2, 3]].transpose(0, 2, 1)",
        "best_tree",
    ),
    Mutant(
        "bits behind the last row of a class count",
        PY + "trees/counting.py",
        "            having &= is_row[some]\n",
        "",
        "best_tree",
    ),
    Mutant(
        "quantiles are rounded down",
        PY + "trees/features.py",
        "-(-parts // (n_thresholds + 1)) - 1",
        "parts // (n_thresholds + 1) - 1",
        "best_tree",
    ),
    Mutant(
        "of trees of one cost any is taken",
        PY + "trees/counting.py",
        "- costs.max(axis=0) + np.int32(1)",
        "- costs.max(axis=0)",
        "best_tree",
    ),
    Mutant(
        "patience counts the training loss, whoever judges",
        PY + "descent/loop.py",
        "progress = judged < target",
        "progress = point.loss < target",
        "held_out",
    ),
    Mutant(
        "a descent that was judged ends with its last theta",
        PY + "descent/loop.py",
        "list(Status) if self.is_judged else WITH_BEST",
        "WITH_BEST",
        "held_out",
    ),
    Mutant(
        "a loss of held-out rows that is no number is the best",
        PY + "descent/held_out.py",
        "np.where(np.isfinite(found), found, np.inf)",
        "np.where(np.isnan(found), -np.inf, found)",
        "held_out",
    ),
    Mutant(
        "first rates of descents that have left stay",
        PY + "descent/schedules.py",
        "        super().keep(rows)\n",
        "",
        "schedules",
    ),
    Mutant(
        "a rate changes one step behind its boundary",
        PY + "descent/schedules.py",
        "if count >= boundary:",
        "if count > boundary:",
        "schedules",
    ),
    Mutant(
        "squares of gradients decay as gradients do",
        "src/descents.hpp",
        "g * g * a.rest2",
        "g * g * a.rest1",
        "optimizers",
    ),
    Mutant(
        "biases of networks are penalised where gradients are added",
        "src/descents.hpp",
        "load<V>(kept) != 0 ? load<V>(theta) : V{}",
        "load<V>(theta)",
        "penalties",
    ),
    Mutant(
        "lanes and parameters of gradients change places",
        "src/thetas.hpp",
        "store(gradients + (l + i) * n_params + j, square[i])",
        "store(gradients + (l + W - 1 - i) * n_params + j, square[i])",
        "network",
    ),
    Mutant(
        "the lanes behind the last square of thetas are empty",
        "src/thetas.hpp",
        "for (ptrdiff_t l = j < n_squares ? n_turned : 0; l < count; l++)\n            to[",
        "for (ptrdiff_t l = j < n_squares ? count : 0; l < count; l++)\n            to[",
        "network",
    ),
    Mutant(
        "weights of equal rows are those of one of them",
        PY + "selection/networks.py",
        "return rows.take(first)._replace(weights=sums(rows.weights, group))",
        "return rows.take(first)",
        "networks",
    ),
    Mutant(
        "rows without weight train networks",
        PY + "selection/networks.py",
        "rows = self.take(np.flatnonzero(self.weights))",
        "rows = self",
        "networks",
    ),
    Mutant(
        "of the networks of a candidate the first is kept",
        PY + "selection/networks.py",
        'kept = np.argsort(losses[part], kind="stable")',
        "kept = np.arange(part.stop - part.start)",
        "networks",
    ),
    Mutant(
        "penalties of candidates and starts are mixed up",
        PY + "selection/networks.py",
        "l2=np.repeat([one.l2 for one in candidates], n_starts)",
        "l2=np.tile([one.l2 for one in candidates], n_starts)",
        "networks",
    ),
    Mutant(
        "all candidates start where the first one does",
        PY + "selection/networks.py",
        "first, effort, whole = candidate.first_start,",
        "first, effort, whole = 0,",
        "networks",
    ),
    Mutant(
        "starts of candidates overlap",
        PY + "sklearn/network_search.py",
        '"first_start": k * effort.n_starts',
        '"first_start": k',
        "networks",
    ),
    Mutant(
        "the rows that stop a network train it, too",
        PY + "selection/networks.py",
        "            self.training, self.judge = (self.whole.subset(part) for part in split)",
        "            self.judge = self.whole.subset(split[1])",
        "networks",
    ),
    # ------------------------------------------------------------------------------ the front door
    Mutant(
        "a leaf of equal costs is negative, whatever its tree decides",
        PY + "models/tree_model.py",
        "            found[(found == 0) & (self.tree.decided == of_positive)] = TIE\n",
        "",
        "tree_model",
    ),
    Mutant(
        "rows of a kept tree may be lost between a question and its answers",
        PY + "models/model_file.py",
        "bool(has_rows.all() and (below.sum(axis=0) == above).all())",
        "bool(has_rows.all())",
        "tree_model",
    ),
    Mutant(
        "labels of a tree are mixed up where the lesser class is positive",
        PY + "cli/trees.py",
        "codes if ordered == values else 1 - codes",
        "codes",
        "tree_command",
    ),
    Mutant(
        "a first line that is a row may have underscores in numbers",
        PY + "files/csv_lines.py",
        "self.has_underscore = True  # or it may have",
        "self.has_underscore = False",
        "dialects",
    ),
    Mutant(
        "optima of batches on workers are those of other models",
        PY + "fitting/dense_fits.py",
        "for members, part in zip(batches, parts, strict=True):",
        "for members, part in zip(batches[::-1], parts, strict=True):",
        "spread",
    ),
    # --------------------------------------------------------------------------- rows of text files
    Mutant(
        "halfway numbers are rounded up",
        TEXT,
        "mantissa &= ~(uint64_t)1;",
        "mantissa |= 2;",
        "plain_rows",
    ),
    Mutant(
        "the lower half of a power never carries",
        TEXT,
        "if ((high & 0x1FF) == 0x1FF) {",
        "if (false) {",
        "plain_rows",
    ),
    Mutant(
        "digits beyond 64 bits are taken",
        TEXT,
        "MOST_DIGITS = 19",
        "MOST_DIGITS = 21",
        "plain_rows",
    ),
    Mutant(
        "blank lines are rows",
        TEXT,
        "count += !is_blank;",
        "count++;",
        "plain_rows",
    ),
    Mutant(
        "errors name the line without those that were read together",
        PY + "files/csv_plain.py",
        "            source.line += n_lines\n",
        "",
        "plain_rows",
    ),
    Mutant(
        "a decimal point is one where commas are",
        TEXT,
        "if (*q == rows->decimal) {",
        "if (*q == rows->decimal || *q == '.') {",
        "plain_rows",
    ),
    Mutant(
        "the greater label of a network is the lesser one",
        PY + "models/network_model.py",
        "tuple(sorted(of_each)), of_each[1]",
        "tuple(sorted(of_each)), of_each[0]",
        "model_file",
    ),
]


class Copy:
    """A copy of the sources whose parts are compiled once, but for the one that has a mistake."""

    def __init__(self, folder):
        self.folder = folder
        copy_project(folder, "docs", "*.so")
        Path(folder, f"src/{OTHERS}.cpp").write_text(NO_OTHERS)
        self.module = folder / f"metaopt_fast/_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
        self.noticed, self.sound = {}, {}  # tests that did, and those that pass without a mistake
        compiled = self.translate(CYTHON) and all(map(self.compile, (KERNELS, CYTHON, OTHERS)))
        if not (compiled and self.link()):
            sys.exit("source_mutants.py: the sources cannot be compiled")

    def run(self, *command, **environment):
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1)),
        )

    def translate(self, name):
        """Translate the Cython sources to src/`name`.cpp; return whether Cython took them."""
        command = [sys.executable, "-m", "cython", "--cplus", "-3", "-I", "src"]
        return self.run(*command, "src/_kernels.pyx", "-o", f"src/{name}.cpp").returncode == 0

    def compile(self, name, to=None):
        """Compile src/`name`.cpp to an object; return whether the compiler took it."""
        level, include = "-O1" if name == KERNELS else "-O0", sysconfig.get_path("include")
        flags = [level, *FLAGS, f"-I{include}", "-c", f"src/{name}.cpp", "-o", f"{to or name}.o"]
        return self.run("g++", *flags).returncode == 0

    def link(self, replaced=None):
        """Link the module, one object being a mutant's; return whether the linker could."""
        names = {name: name for name in (KERNELS, CYTHON, OTHERS)} | {replaced: MUTANT}
        objects = [f"{names[name]}.o" for name in (KERNELS, CYTHON, OTHERS)]
        self.module.unlink(missing_ok=True)
        done = self.run("g++", "-shared", "-fopenmp", "-s", *objects, "-o", str(self.module))
        return done.returncode == 0

    def build(self, mutant):
        """Build the module with a mistake in src/; return whether that can be compiled."""
        if mutant.file.endswith(".pxi"):
            done = self.translate(MUTANT) and self.compile(MUTANT)
            return done and self.link(CYTHON)
        name = CYTHON if mutant.file in (RADIX, TEAM, TEXT) else KERNELS
        return self.compile(name, MUTANT) and self.link(name)

    def failing(self, *tests, marked=("not long", "long")):
        """Return which of some tests is the first to fail, and what it says; "" where none does.
        The longest are run after all others."""
        found = ("", "")
        for marks in marked:
            found = found if found[0] else self.failing_of(marks, tests)
        return found

    def failing_of(self, marks, tests):
        """Return which of the tests with these marks is the first to fail, and what it says."""
        # What pytest takes for the tests that failed last, it runs first.
        cache = self.folder / ".pytest_cache/v/cache"
        cache.mkdir(parents=True, exist_ok=True)
        Path(cache, "lastfailed").write_text(json.dumps(self.noticed))
        options = ["-x", "-q", "--ff", "-m", marks, "-k", LEFT_OUT]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        try:
            done = self.run(*command, METAOPT_FAST_ISA="avx2", OMP_NUM_THREADS="2")
        except subprocess.TimeoutExpired:
            return "no end", ""
        if done.returncode in (0, NO_TESTS):
            return "", ""
        if done.returncode == -signal.SIGXCPU:
            return "no end", ""
        if failed := re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, re.MULTILINE):
            return failed[1], done.stdout
        # What ended the process, as Python tells where it was.
        if crashed := re.search(r'(tests/\S+\.py)", line \d+ in (test_\w+)', done.stdout):
            return "::".join(crashed.groups()), done.stdout
        if -done.returncode in CRASHES:
            # Memory that is freed twice may end a process where no test is running.
            return tests[0], done.stdout
        return "no test", done.stdout

    def judge(self, mutant):
        """Return the outcome of a mistake that is in the copy, and the test that noticed it."""
        if mutant.file.startswith("src/") and not self.build(mutant):
            return "not compiled", ""
        test, said = self.failing(*(path_of_tests(name) for name in mutant.tests.split()))
        if test in ("no test", "no end"):
            return f"told by {test}", said[-300:]
        return ("killed", test) if test else ("lived", "")

    def outcome(self, mutant):
        """Put a mistake in, test, and take it out again: the outcome, and which test noticed."""
        path = self.folder / mutant.file
        sound = path.read_text()
        path.write_text(sound.replace(mutant.old, mutant.new))
        try:
            outcome, test = self.judge(mutant)
        finally:
            path.write_text(sound)
            if mutant.file.startswith("src/"):
                self.link()
        if outcome == "killed":
            self.noticed[test] = True
            if not self.passes_without(test.partition("[")[0]):
                outcome = "not judged by what fails without it, too:"
        return outcome, test

    def passes_without(self, test):
        """Whether a test passes in the copy as it is, all of its parameters together."""
        if test not in self.sound:
            self.sound[test] = not self.failing(test, marked=("",))[0]
        return self.sound[test]


def check_anchors():
    """End the script where a text to be replaced is not in its file, once, or tests are nowhere."""
    for mutant in MUTANTS:
        for name in mutant.tests.split():
            path_of_tests(name)
    wrong = [
        f"{mutant.file}: {mutant.what}"
        for mutant in MUTANTS
        if (ROOT / mutant.file).read_text().count(mutant.old) != 1 or mutant.old == mutant.new
    ]
    if wrong:
        sys.exit("source_mutants.py: texts that are not there once:\n" + "\n".join(wrong))


def chosen_mutants(given):
    """The mutants to try, with their numbers: in their order where it is all of them."""
    chosen = [
        (number, mutant)
        for number, mutant in enumerate(MUTANTS)
        if given.first <= number <= given.last
        and any(text in mutant.what for text in given.only or [""])
    ]
    if given.count is None or given.count >= len(chosen):
        return chosen
    return random.Random(given.seed).sample(chosen, given.count)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="first", type=int, default=0, help="number of the first")
    parser.add_argument("--to", dest="last", type=int, default=len(MUTANTS), help="and the last")
    parser.add_argument("--only", nargs="+", help="those whose descriptions hold one of the texts")
    given = parser.parse_args()
    check_anchors()
    chosen = chosen_mutants(given)
    report, outcomes = Report(), []
    with tempfile.TemporaryDirectory() as temporary:
        copy = Copy(Path(temporary, "copy"))
        for number, mutant in chosen:
            began = os.times()
            outcome, noticed = copy.outcome(mutant)
            outcomes.append(outcome)
            taken = sum(os.times()[2:4]) - sum(began[2:4])
            figure = f"{outcome} in {taken:.0f} s of a processor's time {noticed}".rstrip()
            report.line(f"{number} {mutant.file}: {mutant.what}", outcome == "killed", figure)
    killed = outcomes.count("killed")
    report.failed = killed < SHARE * len(chosen)
    report.line("killed", not report.failed, f"{killed} of {len(chosen)}, seed {given.seed}")
    report.exit()


if __name__ == "__main__":
    main()
