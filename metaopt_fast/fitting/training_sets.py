"""Training sets of folds and classes over the same packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

import metaopt_fast._kernels as _kernels
from metaopt_fast.data.packed import Labels, Packed
from metaopt_fast.data.packing import pack
from metaopt_fast.data.rows import BLOCK_ROWS
from metaopt_fast.fitting.arguments import Rows
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors, split_exponent
from metaopt_fast.fitting.models import Models, TrainingSet, TrainingSets
from metaopt_fast.fitting.reductions import Reduction, Reductions
from metaopt_fast.objectives.penalties import L2
from metaopt_fast.typing import Array, BoolArray, Float64Array, IndexArray

# One in so many blocks of very many rows says where the models of all rows will be: x 1.1 at 4, and
# without a sketch, by benches/fitting_constants.py.
SKETCH = 16


class Strata:
    """Packed rows of each fold and class, and what is made of them: training sets, validation.

    No block of rows belongs to two strata, so that a training set is the blocks of some of them,
    and a sum over its rows is a weighted sum of theirs.
    """

    packed: Packed
    sums: Float64Array
    left_out: Sequence[int]
    loss: str
    n_params: int
    n_threads: int

    def __init__(
        self,
        packed: Packed,
        fold: IndexArray,
        sums: Float64Array,
        left_out: Sequence[int],
        n_params: int,
        n_threads: int,
        loss: str = "logistic",
    ) -> None:
        self.packed, self.sums, self.left_out, self.loss = packed, sums, left_out, loss
        self.n_params, self.n_threads = n_params, n_threads
        self.block_fold: Array = packed.of_blocks(fold)
        self.block_class: Labels = packed.block_labels
        self.extents: Float64Array = packed.column_extents()

    @classmethod
    def of(
        cls, rows: Rows, columns: npt.NDArray[Any], n_threads: int, loss: str = "logistic"
    ) -> Self:
        """Return rows with other columns in place of their own."""
        packed = pack(
            columns,
            rows.positive,
            rows.weights,
            rows.fit_intercept,
            "float64",
            strata=rows.strata,
            n_threads=n_threads,
            memory=rows.memory,
        )
        n_params = columns.shape[1] + rows.fit_intercept
        return cls(packed, rows.fold, rows.sums, rows.left_out, n_params, n_threads, loss)

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
        blocks: BoolArray,
        factors: Float64Array,
        total_weight: float,
        loss: str | None = None,
    ) -> _kernels.PackedRows:
        """Return some blocks as the kernels read them, for a loss other than their own if that is
        given: the rows themselves are shared."""
        part = self.packed.blocks(
            blocks, total_weight=total_weight, factors=factors[self.block_class]
        )
        return part.rows(loss or self.loss, 0.0)

    def training_set(self, choice: ClassWeight, left_out: int) -> TrainingSet:
        """Return the rows of all folds but one; left_out: -1 for none."""
        factors = self.factors(choice, left_out)
        total = float((self.sums_without(left_out) * factors).sum())
        return TrainingSet(self.rows(self.block_fold != left_out, factors, total), total)

    def sketch(self, choice: ClassWeight) -> TrainingSet | None:
        """Return some of all rows, where they are many: enough to say where an optimum is near."""
        if BLOCK_ROWS * (1 + len(self.block_fold) // SKETCH) < SKETCH * self.n_params:
            return None
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
        self, choices: list[ClassWeight], set_of: IndexArray, l2: Float64Array
    ) -> Models:
        """Return models of each choice of class weights without each fold, choice by choice."""
        sets = [self.training_set(choice, f) for choice in choices for f in self.left_out]
        return self.models(sets, set_of, l2)

    def models(self, sets: list[TrainingSet], set_of: IndexArray, l2: Float64Array) -> Models:
        """Return models of some training sets."""
        return Models(
            TrainingSets(sets),
            set_of,
            L2(l2, self.packed.n_features),
            self.n_params,
            self.extents,
            self.packed.n_rows,
            self.packed.n_blocks,
            self.n_threads,
        )

    def hessians(self, thetas: Float64Array) -> Float64Array:
        """Return the sums over each fold and class, fold by fold."""
        blocks = [
            (self.block_fold == f) & (self.block_class == k) for f, k in np.ndindex(self.sums.shape)
        ]
        there = np.flatnonzero([some.any() for some in blocks])
        rows = [self.rows(blocks[i], np.ones(2), 1.0) for i in there.tolist()]
        sums = np.empty((len(rows) * len(thetas), _kernels.n_pairs(self.n_params)))
        which, many = np.repeat(np.arange(len(rows)), len(thetas)), np.tile(thetas, (len(rows), 1))
        _kernels.hessians(_kernels.RowSets(rows), which, many, sums, self.n_threads)
        found = np.zeros((len(blocks), len(thetas), sums.shape[1]))
        found[there] = sums.reshape(len(rows), *found.shape[1:])
        return found

    def validate(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return mean loss and accuracy on the rows that each model was not trained on."""
        rows, sums = [], []  # each adds to a loss or to an error of a fold
        for f in range(thetas.shape[1]):
            total, held_out = float(self.sums[f].sum()), self.block_fold == f
            rows.append(self.rows(held_out, np.ones(2), total))
            sums.append((0, f))
            # A decision of 0 is for the negative class.
            for k, loss in enumerate(("zero_one", "zero_one_and_ties")):
                blocks = held_out & (self.block_class == k)
                if blocks.any():
                    rows.append(self.rows(blocks, np.ones(2), total, loss))
                    sums.append((1, f))
        which, means = (
            np.repeat(np.arange(len(rows)), len(thetas)),
            np.empty((len(rows), len(thetas))),
        )
        many = np.concatenate([thetas[:, f] for _, f in sums])
        _kernels.RowSets(rows).evaluate(which, many, means.reshape(-1), None, self.n_threads)
        found = np.zeros((2, *thetas.shape[:2]))
        for (kind, f), mean in zip(sums, means, strict=True):
            found[kind, :, f] += mean
        return found[0], 1 - found[1]


@dataclass(frozen=True, slots=True, eq=False)
class ReducedModels:
    """Models of training sets, one for each choice of class weights and each fold left out, on
    columns that a reduction has made of the rows' own: as many as rows where these are fewer."""

    rows: Rows
    reduction: Reduction
    whole: Strata
    strata: Strata
    models: Models
    choices: list[ClassWeight]

    @classmethod
    def of(
        cls,
        rows: Rows,
        choices: list[ClassWeight],
        set_of: IndexArray,
        l2: Float64Array,
        n_threads: int,
        loss: str = "logistic",
        reductions: Reductions | None = None,
    ) -> Self:
        """Return the models of these sets and penalties, on columns that are reduced already, or by
        these rows."""
        if reductions is None:
            reductions = Reductions.of(
                rows.X, rows.weights, rows.fit_intercept, n_threads, rows.memory
            )
        strata = whole = Strata.of(rows, reductions.whole.columns, n_threads, loss)
        if reductions.whole.is_wide:
            strata = Strata.of(rows, reductions.fitted.columns, n_threads, loss)
        models = strata.fold_models(choices, set_of, reductions.whole.l2(l2))
        return cls(rows, reductions.fitted, whole, strata, models, choices)

    def of_all_columns(self) -> Models:
        """Return the same models on all columns, as they were before their number was reduced."""
        models = self.models
        return self.whole.fold_models(self.choices, models.set_of, models.penalty.strengths)

    def validate(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array] | None:
        """Return what thetas are worth on the folds left out, None without folds."""
        if self.rows.n_folds is None:
            return None
        shape = (-1, self.rows.n_folds, self.models.n_params)
        return self.strata.validate(thetas.reshape(shape))
