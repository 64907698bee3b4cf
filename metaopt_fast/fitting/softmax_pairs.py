"""Steps of L-BFGS for many models at once, whose pairs are kept from one penalty to the next."""

from __future__ import annotations

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.typing import Float64Array, IndexArray

# Bytes of the pairs of all models, and how many pairs a model has at most, and at least. On digits
# and covertypes of benches/softmax.py, 60 take 1.1 to 1.2 times as long, 200 1.0 to 1.4 times.
MEMORY = 256 * 2**20
MOST, FEWEST = 100, 5
# Least cosine between a step and the change of the gradient.
STRAIGHT = 1e-14


def dots(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the sum of products of each row of a with that of b, in a fixed order."""
    found = np.empty(len(a))
    _kernels.dots(np.ascontiguousarray(a), np.ascontiguousarray(b), found)
    return found


class KeptPairs:
    """The last pairs of each model: steps s, and changes y of the gradient, penalty included.

    Nocedal, "Updating quasi-Newton matrices with limited storage", 1980. A new penalty changes y by
    its difference times the penalised part of s: what is known of the rows remains.
    """

    def __init__(self, n_models: int, n_params: int, n_threads: int) -> None:
        self.capacity = max(FEWEST, min(MOST, MEMORY // (16 * n_params * n_models)))
        self.steps = np.zeros((n_models, self.capacity, n_params))
        self.changes = np.zeros_like(self.steps)
        self.products = np.ones((n_models, self.capacity))
        self.firsts, self.counts = np.zeros((2, n_models), np.intp)
        self.n_threads = n_threads

    def forget(self, at: IndexArray) -> None:
        """Forget the pairs of some models."""
        self.counts[at] = 0

    def go_down(self, at: IndexArray, gradients: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return what the first loop leaves of the gradients, and the factors for the second."""
        found, alphas = gradients.copy(), np.zeros((len(at), self.capacity))
        self._apply(at, found, alphas, again=False)
        return found, alphas

    def go_up(self, at: IndexArray, steps: Float64Array, alphas: Float64Array) -> None:
        """Do the second loop, in place."""
        self._apply(at, steps, alphas, again=True)

    def _apply(self, at: IndexArray, x: Float64Array, alphas: Float64Array, *, again: bool) -> None:
        _kernels.apply_pairs(
            self.steps,
            self.changes,
            self.products,
            self.firsts,
            self.counts,
            at,
            x,
            alphas,
            again,
            self.n_threads,
        )

    def add(self, at: IndexArray, steps: Float64Array, changes: Float64Array) -> None:
        """Remember a pair of each of some models, the oldest one forgotten where there are many."""
        products = dots(steps, changes)
        sizes = np.sqrt(dots(steps, steps) * dots(changes, changes))
        good = products > STRAIGHT * sizes
        at, kept = at[good], np.flatnonzero(good)
        position = (self.firsts[at] + self.counts[at]) % self.capacity
        self.steps[at, position], self.changes[at, position] = steps[kept], changes[kept]
        self.products[at, position] = products[kept]
        is_full = self.counts[at] == self.capacity
        self.firsts[at] = np.where(is_full, (self.firsts[at] + 1) % self.capacity, self.firsts[at])
        self.counts[at] = np.where(is_full, self.capacity, self.counts[at] + 1)

    def change_penalty(self, at: IndexArray, more: Float64Array, penalised: Float64Array) -> None:
        """Add what stronger penalties, or weaker ones, change in the gradients along the steps."""
        for model, difference in zip(at.tolist(), more.tolist(), strict=True):
            steps, changes = self.steps[model], self.changes[model]
            changes += difference * penalised * steps
            products = dots(steps, changes)
            if not (products[: self.counts[model]] > 0).all():
                self.counts[model] = 0
            self.products[model] = np.where(products > 0, products, 1.0)
