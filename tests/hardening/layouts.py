"""Arrays of any layout give the bits of their contiguous copies in double precision.

Names of calls among the arguments (softmax, networks) choose these alone, and their share of the
examples.
"""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from checks import EXTRA, Report, digest, needs, try_examples
from hypothesis import strategies as st

import metaopt_fast as mf

EXAMPLES = 10_000
# Each holds the whole numbers of the examples; "g" is a long double.
DTYPES = ("f8", "f4", "f2", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
seen = {"examples": 0, "wrong": []}
calls, refused = Counter(), Counter()


class Layout:
    """How to lay an array out in memory."""

    def __init__(self, dtype, swapped, fortran, steps, offset, read_only, mapped):
        self.dtype = np.dtype(dtype).newbyteorder("S" if swapped else "=")
        self.fortran, self.steps, self.offset = fortran, steps, offset
        self.read_only, self.mapped = read_only, mapped

    def of(self, values, folder):
        """The values as an array in this layout, and the contiguous float64 copy of them."""
        values = values.astype(self.dtype)
        steps = self.steps[: values.ndim]
        shape = tuple(n * abs(s) for n, s in zip(values.shape, steps, strict=True))
        size = int(np.prod(shape)) * self.dtype.itemsize + self.offset
        if self.mapped:
            (folder / "array").unlink(missing_ok=True)  # that of another array, still mapped
            buffer = np.memmap(folder / "array", np.uint8, "w+", shape=size)
        else:
            buffer = np.zeros(size, np.uint8)
        order = "F" if self.fortran else "C"
        whole = np.ndarray(shape, self.dtype, buffer, self.offset, order=order)
        array = whole[tuple(slice(None, None, step) for step in steps)]
        array[...] = values
        array.flags.writeable = not self.read_only
        return array, np.array(values, np.float64, order="C")

    def in_memory(self, dtype):
        """The same steps and offset for numbers of another type, as this processor has them."""
        return Layout(dtype, False, self.fortran, self.steps, self.offset, self.read_only, False)

    def __repr__(self):
        return f"Layout({self.__dict__})"


layouts = st.builds(
    Layout,
    st.sampled_from(DTYPES),
    st.booleans(),
    st.booleans(),
    st.tuples(*[st.sampled_from([1, 1, 2, 3, -1, -2])] * 2),
    st.integers(0, 17),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)


def check(folder, seed, n, d, of_X, of_y, of_weight, of_thetas, float32, call):
    rng = np.random.default_rng(seed)
    thetas, own = rng.integers(0, 10, (3, d)), rng.integers(0, 7, (3, n))
    y = rng.permutation(np.arange(n) % 2)
    laid = {
        "X": of_X.of(rng.integers(0, 100, (n, d)), folder),
        "y": of_y.of(y, folder),
        "weights": of_weight.of(rng.integers(1, 5, n), folder),
        "thetas": of_thetas.of(thetas, folder),
        "own": of_thetas.of(own, folder),
    }
    made = {name: array for name, (array, _) in laid.items()}
    plain = {name: copy for name, (_, copy) in laid.items()}
    if call == "sparse rows":
        made["X"], plain["X"] = sparse(plain["X"], of_X, of_thetas, folder)
    dtype = "float32" if float32 else "float64"
    found, wanted = (evaluate(call, dtype, **arrays) for arrays in (made, plain))
    seen["examples"] += 1
    calls[call] += 1
    refused[call] += wanted.startswith("refused")
    if found != wanted:
        case = (seed, n, d, of_X, of_y, of_weight, of_thetas, float32, call)
        seen["wrong"].append((case, found, wanted))


def sparse(X, of_numbers, of_places, folder):
    """Sparse rows whose lists are laid out so, as far as SciPy has it, and as SciPy makes them."""
    from scipy.sparse import csr_array

    plain, made = (csr_array(np.where(X % 3 == 0, X, 0)) for _ in range(2))
    dtype = "f4" if of_numbers.dtype.itemsize == 2 else of_numbers.dtype.newbyteorder("=")
    whole = "i8" if of_places.offset % 2 else "i4"
    made.data, plain.data = of_numbers.in_memory(dtype).of(made.data, folder)
    made.indices, _ = of_places.in_memory(whole).of(made.indices, folder)
    made.indptr, _ = of_places.in_memory(whole).of(made.indptr, folder)
    return made, plain


def evaluate(call, dtype, **arrays):
    """A hash of what a call makes of the arrays, or the words of its error."""
    try:
        return digest(*CALLS[call](dtype, **arrays))
    except ValueError as error:
        return f"refused: {error}"


def of_kernels(dtype, X, y, weights, thetas, own):
    loss = mf.LogisticLoss(X, y, weights, fit_intercept=False, dtype=dtype)
    counts = mf.ConfusionCounts(X, y, sample_weight=weights, dtype=dtype)
    area = mf.AUCObjective(X, y, sample_weight=weights, dtype=dtype)
    return [
        *loss.batch_loss_gradient(thetas),
        loss.loss(thetas[0]),
        counts.batch_counts(thetas),
        area.batch_auc(thetas),
    ]


def of_sparse_rows(dtype, X, y, weights, thetas, own):
    loss = mf.LogisticLoss(X, y, weights)
    fits = mf.fit_many(X, y, l2=0.1, sample_weight=weights)
    path = mf.fit_many(X, y, l2=0.1, l1=0.01, sample_weight=weights)
    return [*loss.batch_loss_gradient(thetas), fits.theta, path.theta]


def of_softmax(dtype, X, y, weights, thetas, own):
    codes = y * np.uint8(1) if y.dtype == bool else y  # True and False are no numbers of classes
    loss = mf.SoftmaxLoss(X, codes, weights, n_classes=3, dtype=dtype)
    shifted = np.asarray(thetas, np.float64)
    return loss.batch_loss_gradient(np.concatenate([shifted, -shifted, shifted / 2], axis=1))


def of_networks(dtype, X, y, weights, thetas, own):
    loss = mf.NetworkLoss(X, y, weights, n_hidden=2, dtype=dtype)
    starts = loss.starts().sample(0, 0, 3, loss.n_params)
    return loss.batch_loss_gradient(starts)


def of_fits(dtype, X, y, weights, thetas, own):
    asked = [{"l2": 0.1}, {"l2": 0.1, "l1": 0.01}, {"l2": 0.1, "loss": "squared_hinge"}]
    return [mf.fit_many(X, y, sample_weight=weights, **one).theta for one in asked]


def of_own_weights(dtype, X, y, weights, thetas, own):
    return [mf.fit_many(X, y, l2=0.1, sample_weight=own).theta]


def of_tasks(dtype, X, y, weights, thetas, own):
    tasks = np.arange(len(y)) // 20
    return [mf.fit_tasks(X, y, tasks, l2=0.1, sample_weight=weights).theta]


def of_resamples(dtype, X, y, weights, thetas, own):
    return [mf.bootstrap(X, y, l2=0.1, n_resamples=3, seed=1).bootstrap_distribution]


def of_trees(dtype, X, y, weights, thetas, own):
    tree = mf.best_tree(X, y, depth=2, sample_weight=weights)
    return [tree.counts, np.asarray(tree.predict(X), np.float64)]


CALLS = {
    "losses and counts": of_kernels,
    "sparse rows": of_sparse_rows,
    "softmax": of_softmax,
    "networks": of_networks,
    "fit_many": of_fits,
    "own weights": of_own_weights,
    "tasks": of_tasks,
    "bootstrap": of_resamples,
    "best_tree": of_trees,
}


def main():
    chosen = sys.argv[1:] or ["losses and counts", *CALLS]
    n_examples = EXAMPLES * len(chosen) // (1 + len(CALLS))
    needs(EXTRA, packages=["scipy"])
    warnings.simplefilter("ignore", RuntimeWarning)  # of fits that do not converge
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        try_examples(
            check,
            n_examples,
            st.just(Path(folder)),
            st.integers(0, 2**32),
            st.integers(2, 40),
            st.integers(1, 9),
            *[layouts] * 4,
            st.booleans(),
            st.sampled_from(chosen),
        )
    wrong = len(seen["wrong"])
    report.line(
        "layouts of X, y, sample_weight and thetas",
        wrong == 0 and seen["examples"] >= n_examples,
        f"{wrong} of {seen['examples']:,} examples with other bits {seen['wrong'][:1] or ''}",
    )
    for call in dict.fromkeys(chosen):
        report.line(
            call,
            refused[call] <= calls[call] / 2,
            f"{calls[call]:,} examples, {refused[call]} of which are refused in both layouts",
        )
    report.exit()


if __name__ == "__main__":
    main()
