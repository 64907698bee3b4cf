"""Losses and gradients lie within the bound of tests/accuracy.py around the exact ones, and do so
for numbers of any size."""

import sys
from pathlib import Path

import mpmath
import numpy as np
from checks import Report, try_examples
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast import reference

sys.path.append(str(Path(__file__).parents[1]))
from accuracy import EXACT, Bounds, Exact

EXAMPLES = 10_000
seen = {"examples": 0, "outside": 0, "loss": 0.0, "gradient": 0.0}


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


def check(seed, n, d, scale_X, scale_theta, l2, weighted, fit_intercept, float32):
    rng = np.random.default_rng(seed)
    dtype = "float32" if float32 else "float64"
    X = rng.normal(size=(n, d)) * 10.0**scale_X
    y = rng.permutation(np.arange(n) % 2)
    weights = rng.exponential(size=n) if weighted else np.ones(n)
    theta = rng.normal(size=d + fit_intercept) * 10.0**scale_theta
    options = {"l2": l2, "fit_intercept": fit_intercept, "dtype": dtype}
    twin = reference.LogisticLoss(X, y, weights, **options)
    loss, gradient = mf.LogisticLoss(X, y, weights, **options).loss_gradient(theta)
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


def main():
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
    )
    report.line(
        "loss and gradient against 50 digits",
        seen["outside"] == 0 and seen["examples"] >= EXAMPLES,
        f"{seen['outside']} of {seen['examples']:,} examples outside the bound; the largest error "
        f"is {seen['loss']:.2f} of it for losses, {seen['gradient']:.2f} for gradients",
    )
    report.exit()


if __name__ == "__main__":
    main()
