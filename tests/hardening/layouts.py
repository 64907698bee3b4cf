"""Arrays of any layout give the bits of their contiguous copies in double precision."""

import tempfile
from pathlib import Path

import numpy as np
from checks import Report, digest, try_examples
from hypothesis import strategies as st

import metaopt_fast as mf

EXAMPLES = 10_000
# Each holds the whole numbers of the examples; "g" is a long double.
DTYPES = ("f8", "f4", "f2", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
seen = {"examples": 0, "wrong": []}


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


def check(folder, seed, n, d, of_X, of_y, of_weight, of_thetas, float32):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 100, (n, d)), rng.integers(0, 10, (3, d))
    y = rng.permutation(np.arange(n) % 2)
    X, plain_X = of_X.of(numbers[0], folder)
    Y, plain_y = of_y.of(y, folder)
    weights, plain_weights = of_weight.of(rng.integers(1, 5, n), folder)
    thetas, plain_thetas = of_thetas.of(numbers[1], folder)
    dtype = "float32" if float32 else "float64"
    found = evaluate(X, Y, weights, thetas, dtype)
    seen["examples"] += 1
    if found != evaluate(plain_X, plain_y, plain_weights, plain_thetas, dtype):
        seen["wrong"].append((seed, n, d, of_X, of_y, of_weight, of_thetas, float32))


def evaluate(X, y, weights, thetas, dtype):
    """A hash of what the kernels make of the arrays."""
    loss = mf.LogisticLoss(X, y, weights, fit_intercept=False, dtype=dtype)
    counts = mf.ConfusionCounts(X, y, sample_weight=weights, dtype=dtype)
    return digest(
        *loss.batch_loss_gradient(thetas), loss.loss(thetas[0]), counts.batch_counts(thetas)
    )


def main():
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        try_examples(
            check,
            EXAMPLES,
            st.just(Path(folder)),
            st.integers(0, 2**32),
            st.integers(2, 40),
            st.integers(1, 9),
            *[layouts] * 4,
            st.booleans(),
        )
    wrong = len(seen["wrong"])
    report.line(
        "layouts of X, y, sample_weight and thetas",
        wrong == 0 and seen["examples"] >= EXAMPLES,
        f"{wrong} of {seen['examples']:,} examples with other bits {seen['wrong'][:1] or ''}",
    )
    report.exit()


if __name__ == "__main__":
    main()
