"""Losses and gradients lie within the bound of tests/accuracy.py around the exact ones, and do so
for numbers of any size; those of sparse rows, of classes and of networks of one hidden layer too.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np
from checks import EXTRA, Report, needs, try_examples
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import reference

sys.path.append(str(Path(__file__).parents[1]))
from accuracy import EXACT, Bounds, C, Exact

EXAMPLES = 10_000
NOTHING = {"examples": 0, "outside": 0, "loss": 0.0, "gradient": 0.0}
seen, layers = dict(NOTHING), {"softmax": dict(NOTHING), "networks": dict(NOTHING)}


def exact(objective, weights, theta):
    """The loss and the gradient to 50 digits, of the numbers that the objective holds."""
    theta = [mpmath.mpf(float(t)) for t in np.asarray(theta, objective.dtype)]
    rows = [[mpmath.mpf(float(v)) for v in row] for row in objective.signed_X]
    total = mpmath.fsum(weights)
    penalised = [t if p else mpmath.mpf(0) for t, p in zip(theta, objective.penalised, strict=True)]
    l2 = mpmath.mpf(objective.l2)
    loss, gradient = mpmath.mpf(0), [mpmath.mpf(0)] * len(theta)
    for w, row in zip(weights, rows, strict=True):
        z = mpmath.fdot(row, theta)
        e = mpmath.exp(-abs(z))
        loss += w * (max(z, 0) + mpmath.log1p(e))
        slope = w * (e if z < 0 else 1) / (1 + e)
        gradient = [g + slope * x for g, x in zip(gradient, row, strict=True)]
    loss = loss / total + l2 / 2 * mpmath.fdot(penalised, penalised)
    return loss, [g / total + l2 * t for g, t in zip(gradient, penalised, strict=True)]


def part_of(found, exact, bound):
    """The error as a part of its bound."""
    error = abs(mpmath.mpf(float(found)) - exact)
    return 0.0 if error == 0 else float(error / mpmath.mpf(float(bound)))


def sparse(X):
    from scipy.sparse import csr_array

    return csr_array(X)


def check(seed, n, d, scale_X, scale_theta, l2, weighted, fit_intercept, float32, is_sparse):
    rng = np.random.default_rng(seed)
    dtype = "float32" if float32 else "float64"
    X = rng.normal(size=(n, d)) * 10.0**scale_X
    is_sparse &= not float32  # of those there are none
    if is_sparse:
        X *= rng.random((n, d)) < 0.5
    y = rng.permutation(np.arange(n) % 2)
    weights = rng.exponential(size=n) if weighted else np.ones(n)
    theta = rng.normal(size=d + fit_intercept) * 10.0**scale_theta
    options = {"l2": l2, "fit_intercept": fit_intercept, "dtype": dtype}
    twin = reference.LogisticLoss(X, y, weights, **options)
    rows = sparse(X) if is_sparse else X
    loss, gradient = mf.LogisticLoss(rows, y, weights, **options).loss_gradient(theta)
    bounds = Bounds(twin, theta[None])
    with mpmath.workdps(50):
        true_loss, true_gradient = exact(twin, [mpmath.mpf(float(w)) for w in weights], theta)
        part = part_of(loss, true_loss, bounds.loss_bound[0])
        parts = map(part_of, gradient, true_gradient, bounds.gradient_bound[0])
        largest = max(parts)
    seen["examples"] += 1
    seen["outside"] += part > 1 or largest > 1
    seen["loss"] = max(seen["loss"], part)
    seen["gradient"] = max(seen["gradient"], largest)


class Off(NamedTuple):
    """Exact numbers, and how far from them computed ones may be."""

    value: Any
    off: Any

    def sum_with(self, factors, eps):
        """The sum of products with exact factors, as a kernel adds them up."""
        products = [v * f for v, f in zip(self.value, factors, strict=True)]
        sizes = mpmath.fsum(map(abs, products))
        moved = mpmath.fsum(o * abs(f) for o, f in zip(self.off, factors, strict=True))
        return mpmath.fsum(products), moved + (len(factors) + C) * eps * sizes


def row_of_classes(z, label, eps):
    """The loss of a row of margins, and its slopes by them."""
    highest = max(z.value)
    e = [mpmath.exp(v - highest) for v in z.value]
    total = mpmath.fsum(e)
    p = [v / total for v in e]
    others = mpmath.fsum(v for k, v in enumerate(e) if k != label) / total
    loss = -mpmath.log1p(-others) if others < 0.5 else -mpmath.log(p[label])
    moved = mpmath.fdot(p, z.off)
    steepest = mpmath.exp(2 * max(z.off))
    slopes, offs = [], []
    for k, v in enumerate(p):
        size = others if k == label else v
        slopes.append(-others if k == label else v)
        offs.append(C * eps * size + min(size * steepest * (z.off[k] + moved), 1))
    if others > 0:  # these move with the others' margins, relative to themselves
        apart = mpmath.fsum(
            v * o for k, (v, o) in enumerate(zip(p, z.off, strict=True)) if k != label
        )
        offs[label] = C * eps * others + min(steepest * (others * z.off[label] + apart), 1)
    off = C * eps * loss + steepest * (
        mpmath.fsum(v * o for k, (v, o) in enumerate(zip(p, z.off, strict=True)) if k != label)
        + others * z.off[label]
    )
    return Off(loss, off), Off(slopes, offs)


def hidden_of(x, layer, activation, eps):
    """The units of a row, and the slopes of their activations."""
    exact_x = Off([*x, mpmath.mpf(1)], [mpmath.mpf(0)] * (len(x) + 1))
    units, slopes = [], []
    for weights in layer:
        z, off = exact_x.sum_with(weights, eps)
        if activation == "tanh":
            a = mpmath.tanh(z)
            units.append((a, min(off, 2) + C * eps * abs(a)))
            slopes.append((1 - a * a, C * eps + 2 * min(off, 1)))
        else:
            units.append((max(z, 0), off))
            slopes.append((mpmath.mpf(z > 0), mpmath.mpf(abs(z) <= off)))
    return Off(*map(list, zip(*units, strict=True))), Off(*map(list, zip(*slopes, strict=True)))


def of_layers(X, labels, weights, hidden, output, activation, eps):
    """The mean loss and the slopes by both layers' weights, of one output as of classes (0, o)."""
    total, n_outputs = mpmath.fsum(weights), len(output)
    loss = [mpmath.mpf(0)] * 2
    slopes = {}
    one = mpmath.mpf(1)

    def add(place, value, off):
        before = slopes.get(place, (0, 0))
        slopes[place] = before[0] + value / total, before[1] + (off + C * eps * abs(value)) / total

    for x, label, w in zip(X, labels, weights, strict=True):
        a, bent = hidden_of(x, hidden, activation, eps) if hidden else (Off(x, [0] * len(x)), None)
        ends = [Off([*a.value, one], [*a.off, 0]).sum_with(v, eps) for v in output]
        z = Off(*map(list, zip(*ends, strict=True)))
        if n_outputs == 1:
            z = Off([mpmath.mpf(0), *z.value], [mpmath.mpf(0), *z.off])
        of_row, by_z = row_of_classes(z, label, eps)
        loss = [loss[0] + w * of_row.value / total, loss[1] + w * of_row.off / total]
        by_o = Off(by_z.value[-n_outputs:], by_z.off[-n_outputs:])
        for k in range(n_outputs):
            s, off = by_o.value[k], by_o.off[k]
            for h, (v, v_off) in enumerate(zip([*a.value, one], [*a.off, 0], strict=True)):
                add((1, k, h), w * s * v, w * (off * (abs(v) + v_off) + abs(s) * v_off))
        for h in range(len(hidden)):
            v, v_off = by_o.sum_with([row[h] for row in output], eps)
            f, f_off = bent.value[h], bent.off[h]
            by_unit, off = v * f, v_off * (f + f_off) + abs(v) * f_off
            for j, number in enumerate([*x, one]):
                add((0, h, j), w * by_unit * number, w * off * abs(number))
    return loss, slopes


def check_layers(seed, n, d, n_hidden, n_classes, scale_X, scale_theta, l2, float32, is_tanh):
    """Softmax regression where there are no hidden units, else a network."""
    rng = np.random.default_rng(seed)
    dtype, activation = ("float64", "float32")[float32], ("relu", "tanh")[is_tanh]
    X = (rng.normal(size=(n, d)) * 10.0**scale_X).astype(dtype).astype(float)
    y, weights = rng.permutation(np.arange(n) % n_classes), rng.choice([0.5, 1.0, 3.0], n)
    if n_hidden:
        outputs = n_classes if rng.random() < 0.5 or n_classes > 2 else None
        options = {"n_hidden": n_hidden, "activation": activation, "n_classes": outputs}
        made = mf.NetworkLoss(X, y, weights, l2=l2, dtype=dtype, **options)
    else:
        outputs, options = n_classes, {"n_classes": n_classes, "fit_intercept": True}
        made = mf.SoftmaxLoss(X, y, weights, l2=l2, dtype=dtype, **options)
    theta = rng.normal(size=made.n_params) * 10.0**scale_theta
    loss, gradient = made.loss_gradient(theta)
    eps = mpmath.mpf(float(np.finfo(dtype).eps))
    least = mpmath.mpf(float(np.finfo(dtype).smallest_subnormal)) * n * (1 + abs(X).max())
    with mpmath.workdps(60):
        numbers = [mpmath.mpf(float(t)) for t in theta.astype(dtype)]
        size = n_hidden * (d + 1)
        shape = (n_hidden or d) + 1
        hidden = [numbers[k : k + d + 1] for k in range(0, size, d + 1)]
        output = [numbers[k : k + shape] for k in range(size, len(numbers), shape)]
        rows = [[mpmath.mpf(v) for v in row] for row in X.tolist()]
        (value, off), slopes = of_layers(
            rows,
            y.tolist(),
            [mpmath.mpf(w) for w in weights.tolist()],
            hidden,
            output,
            activation,
            eps,
        )
        penalised, ridge = [t for part in (hidden, output) for row in part for t in row[:-1]], l2
        penalty = mpmath.mpf(ridge) / 2 * mpmath.fdot(penalised, penalised)
        parts = [part_of(loss, value + penalty, off + C * eps * (value + penalty) + least)]
        at = 0
        for layer, part in enumerate((hidden, output)):
            for k, row in enumerate(part):
                for j, t in enumerate(row):
                    value, off = slopes[layer, k, j]
                    pull = ridge * t if j < len(row) - 1 else mpmath.mpf(0)
                    bound = off + C * eps * (abs(pull) + abs(value)) + least
                    parts.append(part_of(gradient[at], value + pull, bound))
                    at += 1
    name = "networks" if n_hidden else "softmax"
    found = layers[name]
    found["examples"] += 1
    found["outside"] += max(parts) > 1
    found["loss"] = max(found["loss"], parts[0])
    found["gradient"] = max(found["gradient"], *parts[1:])


def any_size(rng, dtype, shape, kind):
    """Numbers of all exponents, some of all exponents, or of products at the end of the range."""
    least, most = (-1074, 1024) if dtype == "float64" else (-149, 128)
    everywhere, near_one = rng.uniform(least, most, shape), rng.uniform(-5, 5, shape)
    exponents = {
        "any": everywhere,
        "some": np.where(rng.random(shape) < 0.3, everywhere, near_one),
        "end": rng.uniform(most - 30, most, shape),
        "middle": rng.uniform(most / 2 - 20, most / 2 + 10, shape),
    }[kind]
    numbers = np.exp2(exponents) * rng.choice([-1, 0, 1, 1, 1], shape)
    largest = float(np.finfo(dtype).max)
    return np.clip(numbers, -largest, largest).astype(dtype).astype(np.float64)


def outside(seed):
    """Whether a loss or a gradient of numbers of any size is outside its bound."""
    rng = np.random.default_rng(seed)
    name, dtype = rng.choice(list(EXACT)), str(rng.choice(["float64", "float32"]))
    kind = rng.choice(["any", "some", "end", "middle"])
    n, d = int(rng.integers(2, 15)), int(rng.integers(1, 5))
    X, thetas = (any_size(rng, dtype, shape, kind) for shape in ((n, d), (6, d)))
    if rng.random() < 0.3:
        thetas *= np.where(rng.random(thetas.shape) < 0.5, float(np.finfo(dtype).max) ** -0.5, 1)
    y, weights = rng.permutation(np.arange(n) % 2), rng.choice([0.3, 1, 2.5], n)
    options = {"l2": float(rng.choice([0, 0, 0.1, 1e-300, 1e300, 5e-324])), "dtype": dtype}
    args = X, y, weights if rng.random() < 0.4 else None
    objective, twin = (getattr(m, name)(*args, **options) for m in (mf, reference))
    losses, gradients = objective.batch_loss_gradient(thetas)
    for theta, loss, gradient in zip(thetas, losses, gradients, strict=True):
        with mpmath.workdps(80):
            exact = Exact(name, twin, theta)
            try:
                exact.assert_loss(loss)
                exact.assert_gradient(gradient)
            except AssertionError:
                return True
        alone = objective.loss_gradient(theta)
        if alone[0] != loss or (alone[1] != gradient).any():
            return True
    return False


def tell(report, what, found, at_least):
    report.line(
        what,
        found["outside"] == 0 and found["examples"] >= at_least,
        f"{found['outside']} of {found['examples']:,} examples outside the bound; the largest "
        f"error is {found['loss']:.2f} of it for losses, {found['gradient']:.2f} for gradients",
    )


def main():
    needs(EXTRA, packages=["scipy"])
    report = Report()
    found = [seed for seed in range(EXAMPLES // 5) if outside(seed)]
    report.line(
        "numbers of any size, every loss, against 80 digits",
        not found,
        f"{len(found)} of {EXAMPLES // 5:,} examples outside the bound {found[:3] or ''}",
    )
    exponents = st.sampled_from([-8, -3, -1, 0, 0, 0, 1, 2, 3])
    try_examples(
        check,
        EXAMPLES,
        st.integers(0, 2**32),
        st.integers(2, 12),
        st.integers(1, 5),
        exponents,
        exponents,
        st.sampled_from([0.0, 0.0, 1e-6, 0.1, 10.0]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from([False, False, True]),
    )
    tell(report, "loss and gradient, of sparse rows too, against 50 digits", seen, EXAMPLES)
    try_examples(
        check_layers,
        EXAMPLES // 4,
        st.integers(0, 2**32),
        st.integers(5, 9),
        st.integers(1, 3),
        st.sampled_from([0, 0, 1, 3]),
        st.integers(2, 4),
        exponents,
        exponents,
        st.sampled_from([0.0, 0.0, 1e-6, 0.1, 10.0]),
        st.booleans(),
        st.booleans(),
    )
    for name, found in layers.items():
        tell(report, f"{name}, loss and gradient against 60 digits", found, EXAMPLES // 40)
    report.exit()


if __name__ == "__main__":
    main()
