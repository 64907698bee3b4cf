"""Training sets of folds and classes over the same packed rows, and where models start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.arithmetic import geometric, log
from metaopt_fast.data.packed import Packed
from metaopt_fast.fitting.arguments import ClassWeight
from metaopt_fast.fitting.models import Models, Nearby, TrainingSet
from metaopt_fast.fitting.newton import fit
from metaopt_fast.objectives.penalties import L2
from metaopt_fast.typing import Float64Array

# Penalties at which models of all rows are fitted first, for the others to start from.
N_ANCHORS = 12
# Beyond it (315 parameters), the Hessians of anchors would take too much memory.
MAX_ANCHOR_PAIRS = 50_000
# Every 16th block of very many rows says where the models of all rows will be.
SKETCH = 16
# The Newton decrement of anchors.
NEAR = 0.03


def class_factors(choice: ClassWeight, sums: Float64Array) -> Float64Array:
    """Return what the weights of class 0 and 1 are multiplied by, given their sums."""
    if isinstance(choice, Mapping):
        return np.array([choice.get(0, 1.0), choice.get(1, 1.0)])
    if choice is None:
        return np.ones(2)
    return cast(Float64Array, sums.sum() / (2 * sums))


def split_exponent(factors: Float64Array) -> tuple[Float64Array, int]:
    """Return factors of which the largest is from 1 to 2, and by which power of two they are too
    small: sums of weights times huge factors would overflow."""
    exponent = int(np.frexp(factors.max())[1]) - 1
    return np.ldexp(factors, -exponent), exponent


class Problem:
    """Packed rows in strata of fold and class, and the training sets that are made of them."""

    def __init__(
        self,
        packed: Packed,
        fold: npt.NDArray[np.intp],
        sums: Float64Array,
        left_out: Sequence[int],
        n_params: int,
        n_threads: int,
    ) -> None:
        self.packed, self.sums, self.left_out = packed, sums, left_out
        self.n_params, self.n_threads = n_params, n_threads
        self.block_fold = packed.of_blocks(fold)
        self.block_class = packed.block_labels
        self.extents = packed.column_extents()

    def factors(self, choice: ClassWeight, left_out: int) -> Float64Array:
        """Return what the classes' weights are multiplied by; left_out: a fold, or -1 for none."""
        # Only their ratio counts.
        return split_exponent(class_factors(choice, self.sums_without(left_out)))[0]

    def sums_without(self, left_out: int) -> Float64Array:
        """Return the weights of both classes in all folds but one."""
        others = np.arange(len(self.sums)) != left_out
        return cast(Float64Array, self.sums[others].sum(axis=0))

    def rows(
        self,
        blocks: npt.NDArray[np.bool_],
        factors: Float64Array,
        total_weight: float,
        loss: str = "logistic",
    ) -> _kernels.PackedRows:
        """Return some blocks as the kernels read them: the rows themselves are shared."""
        part = self.packed.blocks(
            blocks, total_weight=total_weight, factors=factors[self.block_class]
        )
        return part.rows(loss, 0.0)

    def training_set(self, choice: ClassWeight, left_out: int) -> TrainingSet:
        factors = self.factors(choice, left_out)
        total = float((self.sums_without(left_out) * factors).sum())
        return TrainingSet(self.rows(self.block_fold != left_out, factors, total), total)

    def sketch(self, choice: ClassWeight) -> TrainingSet | None:
        """Return some of all rows, where they are many: enough to say where an optimum is near."""
        blocks = np.zeros(len(self.block_fold), np.bool_)
        blocks[::SKETCH] = True
        n_rows = self.packed.blocks(blocks, total_weight=1.0).n_rows
        if n_rows < SKETCH * self.n_params or len(np.unique(self.block_class[blocks])) < 2:
            return None
        factors = self.factors(choice, -1)
        total = float((self.sums_without(-1) * factors).sum())
        total *= n_rows / self.packed.n_rows
        return TrainingSet(self.rows(blocks, factors, total), total)

    def fold_models(
        self, choices: list[ClassWeight], set_of: npt.NDArray[np.intp], l2: Float64Array
    ) -> Models:
        """Return models of each choice of class weights without each fold, choice by choice."""
        sets = [self.training_set(choice, f) for choice in choices for f in self.left_out]
        return self.models(sets, set_of, l2)

    def models(
        self, sets: list[TrainingSet], set_of: npt.NDArray[np.intp], l2: Float64Array
    ) -> Models:
        return Models(
            sets,
            set_of,
            L2(l2, self.packed.n_features),
            self.n_params,
            self.extents,
            self.packed.n_rows,
            self.packed.n_blocks,
            self.n_threads,
        )

    def start(self, models: Models, choices: list[ClassWeight]) -> Float64Array | Nearby:
        """Return models of all rows, at penalties nearby, and their Hessians in each training set.

        The Hessians of each fold and class, at those anchors, add up to those of every training
        set.
        """
        n, n_pairs = len(models.set_of), _kernels.n_pairs(self.n_params)
        l2 = models.penalty.strengths
        thetas = np.zeros((n, self.n_params))
        if n < 3 * N_ANCHORS * len(choices) or l2.min() == 0 or n_pairs > MAX_ANCHOR_PAIRS:
            for c, choice in enumerate(choices):
                mine = np.flatnonzero(models.set_of // len(self.left_out) == c)
                thetas[mine] = self.sketched(choice, l2[mine])
            return thetas
        strengths = geometric(l2.max(), l2.min(), N_ANCHORS)
        nearest = np.abs(log(l2)[:, None] - log(strengths)).argmin(axis=1)
        losses, gradients = np.empty(n), np.empty_like(thetas)
        hessians = np.empty((len(models.sets), N_ANCHORS, n_pairs))
        origins = np.empty((len(models.sets), N_ANCHORS, self.n_params))
        for number, one in enumerate(models.sets):
            choice, f = choices[number // len(self.left_out)], number % len(self.left_out)
            if f == 0:
                anchors = self.anchors(choice, strengths)
                strata = self.stratum_hessians(anchors)
            factors = np.tile(self.factors(choice, self.left_out[f]), (len(self.sums), 1))
            factors[np.arange(len(self.sums)) == self.left_out[f]] = 0
            hessians[number] = sum(
                factor * hessian for factor, hessian in zip(factors.ravel(), strata, strict=True)
            )
            origins[number] = anchors
            at_anchors, slopes = np.empty(N_ANCHORS), np.empty_like(anchors)
            one.rows.evaluate(anchors, at_anchors, slopes, self.n_threads)
            mine = np.flatnonzero(models.set_of == number)
            near = nearest[mine]
            thetas[mine] = anchors[near]
            losses[mine], gradients[mine] = models.penalised(
                mine, thetas[mine], at_anchors[near], slopes[near]
            )
        return Nearby(
            thetas,
            losses,
            gradients,
            hessians.reshape(-1, n_pairs),
            origins.reshape(-1, self.n_params),
            models.set_of * N_ANCHORS + nearest,
            moved=np.zeros(n),
            drifted=np.zeros(n),
        )

    def sketched(self, choice: ClassWeight, l2: Float64Array) -> Float64Array:
        """Return models of some of all rows, where these are many; else zeros."""
        thetas, sketch = np.zeros((len(l2), self.n_params)), self.sketch(choice)
        return thetas if sketch is None else self.approach(sketch, l2, thetas)

    def anchors(self, choice: ClassWeight, l2: Float64Array) -> Float64Array:
        """Return models of all rows, near their optimum."""
        return self.approach(self.training_set(choice, -1), l2, self.sketched(choice, l2))

    def approach(self, one: TrainingSet, l2: Float64Array, thetas: Float64Array) -> Float64Array:
        """Return models of one training set, near their optimum."""
        models = self.models([one], np.zeros(len(l2), np.intp), l2)
        return fit(models, thetas, NEAR, 50, prove=False).thetas

    def stratum_hessians(self, thetas: Float64Array) -> list[Float64Array]:
        """Return the sums over each fold and class, fold by fold."""
        found = []
        for f, k in np.ndindex(self.sums.shape):
            blocks = (self.block_fold == f) & (self.block_class == k)
            sums = np.zeros((len(thetas), _kernels.n_pairs(self.n_params)))
            if blocks.any():
                _kernels.hessians(self.rows(blocks, np.ones(2), 1.0), thetas, sums, self.n_threads)
            found.append(sums)
        return found

    def validate(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return mean loss and accuracy on the rows that each model was not trained on."""
        losses, errors = np.zeros((2, *thetas.shape[:2]))
        for f in range(thetas.shape[1]):
            some, mean = np.ascontiguousarray(thetas[:, f]), np.empty(len(thetas))
            total = float(self.sums[f].sum())
            held_out = self.block_fold == f
            self.rows(held_out, np.ones(2), total).evaluate(some, mean, None, self.n_threads)
            losses[:, f] = mean
            # A decision of 0 is for the negative class.
            for k, loss in enumerate(("zero_one", "zero_one_and_ties")):
                blocks = held_out & (self.block_class == k)
                if blocks.any():
                    rows = self.rows(blocks, np.ones(2), total, loss)
                    rows.evaluate(some, mean, None, self.n_threads)
                    errors[:, f] += mean
        return losses, 1 - errors
