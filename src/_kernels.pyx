# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, embedsignature=False, freethreading_compatible=True
"""The compiled part of metaopt_fast: the work of a call, cut and shared among threads.

The arithmetic is in the C++ headers. Each piece says in its head which others it needs; they are
one module, since each more would cost 5 seconds of a build, 0.25 ms of an import and 200 KB.
"""

include "table.pxi"
include "plan.pxi"
include "tiles.pxi"
include "results.pxi"
include "cohorts.pxi"
include "screen.pxi"
include "evaluate.pxi"
include "draws.pxi"
include "packing.pxi"
include "bound.pxi"
include "narrow.pxi"
include "rows.pxi"
include "softmax.pxi"
include "softmax_rows.pxi"
include "newton.pxi"
include "systems.pxi"
include "kept.pxi"
include "steps.pxi"
include "lasso_path.pxi"
include "lasso_steps.pxi"
include "lasso.pxi"
include "counts.pxi"
include "auc.pxi"
include "products.pxi"
include "trees.pxi"
include "directions.pxi"
include "softmax_steps.pxi"
include "elementwise.pxi"
include "machine.pxi"
include "teams.pxi"
