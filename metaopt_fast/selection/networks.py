"""Small networks of many candidates and starts, trained side by side, and stopped by held-out rows.

Networks are a function of the rows, their weights and the seed alone: not of the order of the rows,
and a row of weight 2 is the row twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from metaopt_fast.data.duplicates import sums
from metaopt_fast.descent.gradient_descent import gradient_descent
from metaopt_fast.descent.result import DescentResult, uninterrupted
from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.networks import Networks
from metaopt_fast.objectives.network import NetworkLoss
from metaopt_fast.selection.folds import Split, stratified_holdout
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.typing import Float64Array, IndexArray

# Parameters of the networks that descend together, six arrays of doubles. By
# benches/network_searches.py --starts 8 breast_cancer, CPU time of a network is 0.58 ms for 2^14,
# 0.41 for 2^16, 0.36 for 2^17, 0.33 from 2^18 on (six epochs).
TOGETHER = 2**18
# Rows of a mini-batch: three blocks of rows, where MLPClassifier takes 200.
BATCH_SIZE = 192


class Candidate(NamedTuple):
    """What differs between networks."""

    n_hidden: int
    activation: str
    learning_rate: float
    l2: float
    first_start: int = 0


class Effort(NamedTuple):
    """How networks are trained.

    Attributes
    ----------
    n_starts : int
        Networks of each candidate: they start at its first start, and the next ones.
    n_kept : int
        The best of them, whose probabilities are averaged.
    batch_size : int
        Rows of a mini-batch at most.
    max_iter : int
        Epochs at most.
    patience : int
        Epochs without a fall of the loss by more than `min_delta`, after which a network stops.
    min_delta : float
    held_out : float
        Part of the rows whose loss this is; 0: it is that of the training rows.
    seed : int
    dtype : {"float32", "float64"}
    n_threads : int or None
    """

    n_starts: int
    n_kept: int
    batch_size: int
    max_iter: int
    patience: int
    min_delta: float
    held_out: float
    seed: int
    dtype: str
    n_threads: int | None


class Rows(NamedTuple):
    """Rows with the classes 0 .. K - 1."""

    X: Float64Array
    codes: IndexArray
    n_classes: int
    weights: Float64Array

    def take(self, rows: IndexArray) -> Self:
        """Return some of them."""
        return self._replace(X=self.X[rows], codes=self.codes[rows], weights=self.weights[rows])

    def merged(self) -> Self:
        """Return the rows of positive weight, equal ones as one, in an order of their values."""
        rows = self.take(np.flatnonzero(self.weights))
        # Rows are compared by their bytes: + 0.0 turns -0.0 into 0.0.
        keys = np.column_stack([rows.X + 0.0, rows.codes])
        whole = keys.view(f"V{keys.itemsize * keys.shape[1]}")[:, 0]
        _, first, group = np.unique(whole, return_index=True, return_inverse=True)
        return rows.take(first)._replace(weights=sums(rows.weights, group))


class Ensemble(NamedTuple):
    """The best networks of a candidate, the best first.

    Attributes
    ----------
    candidate : Candidate
    n_classes : int
    theta : numpy.ndarray of shape (n_kept, n_params)
        As `NetworkLoss` has it.
    loss : numpy.ndarray of shape (n_kept,)
        The losses that chose them.
    n_iter, best_iter : numpy.ndarray of shape (n_kept,)
        Epochs of the descents, and after how many the loss was that.
    """

    candidate: Candidate
    n_classes: int
    theta: Float64Array
    loss: Float64Array
    n_iter: IndexArray
    best_iter: IndexArray

    @property
    def n_outputs(self) -> int:
        """1 of two classes, else one for each."""
        return 1 if self.n_classes == 2 else self.n_classes

    @property
    def networks(self) -> Networks:
        """The networks by themselves."""
        shape = self.candidate
        return Networks(shape.activation, shape.n_hidden, self.n_outputs, self.theta)

    def layers(self, k: int) -> tuple[list[Float64Array], list[Float64Array]]:
        """Return the weights and biases of network k, as scikit-learn's coefs_ and intercepts_."""
        return self.networks.layers(k)

    def decisions(self, X: Float64Array) -> Float64Array:
        """Return the log odds of the second class, shape (n,), or logarithms of probabilities of
        the classes, up to a constant of the row, shape (n, K)."""
        return self.networks.decisions(X)


@shielded
def train_networks(rows: Rows, candidates: Sequence[Candidate], effort: Effort) -> list[Ensemble]:
    """Train the networks of each candidate, and keep the best of them."""
    rows = rows.merged()
    split = _inner_split(rows, effort)
    found: dict[int, Ensemble] = {}
    for shape in dict.fromkeys(candidate[:2] for candidate in candidates):
        numbers = [k for k, candidate in enumerate(candidates) if candidate[:2] == shape]
        trainer = _Trainer(rows, split, effort, *shape)
        step = max(1, TOGETHER // (effort.n_starts * trainer.whole.n_params))
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            found |= zip(some, trainer.train([candidates[k] for k in some]), strict=True)
    return [found[k] for k in range(len(candidates))]


def _inner_split(rows: Rows, effort: Effort) -> Split | None:
    """Return the rows that networks are trained on, and those that stop them.

    None where none can be held out, since a class has one row.
    """
    if effort.held_out == 0 or np.bincount(rows.codes).min() < 2:
        return None
    return stratified_holdout(rows.codes, effort.held_out, effort.seed)


class _Trainer:
    """Networks of one architecture, on the same rows."""

    def __init__(
        self, rows: Rows, split: Split | None, effort: Effort, n_hidden: int, activation: str
    ) -> None:
        self.n_classes, self.effort = rows.n_classes, effort
        self.whole = NetworkLoss(
            rows.X,
            rows.codes,
            rows.weights,
            n_hidden=n_hidden,
            activation=activation,
            n_classes=None if rows.n_classes == 2 else rows.n_classes,
            dtype=effort.dtype,
            n_threads=effort.n_threads,
        )
        self.training, self.judge = self.whole, None
        if split is not None:
            self.training, self.judge = (self.whole.subset(part) for part in split)

    def _starts_of(self, candidate: Candidate) -> Float64Array:
        """Return where the networks of a candidate start."""
        first, effort, whole = candidate.first_start, self.effort, self.whole
        return whole.starts().sample(effort.seed, first, effort.n_starts, whole.n_params)

    def train(self, candidates: Sequence[Candidate]) -> list[Ensemble]:
        """Train candidates, each from its starts."""
        effort, n_starts = self.effort, self.effort.n_starts
        descents = gradient_descent(
            self.training,
            np.concatenate([self._starts_of(one) for one in candidates]),
            learning_rate=np.repeat([one.learning_rate for one in candidates], n_starts),
            l2=np.repeat([one.l2 for one in candidates], n_starts),
            method="adam",
            batch_size=min(effort.batch_size, self.training.n_samples),
            max_iter=effort.max_iter,
            tol=0.0,
            validation=self.judge,
            patience=effort.patience,
            min_delta=effort.min_delta,
            seed=effort.seed,
        )
        runs = uninterrupted(descents)
        parts = [slice(k * n_starts, (k + 1) * n_starts) for k in range(len(candidates))]
        return [self._best(*pair, runs) for pair in zip(candidates, parts, strict=True)]

    def _best(self, candidate: Candidate, part: slice, runs: DescentResult) -> Ensemble:
        """Return the best networks of a candidate."""
        losses = np.asarray(runs.loss if runs.validation_loss is None else runs.validation_loss)
        n_iter = np.asarray(runs.n_iter)
        best_iter = n_iter if runs.best_iter is None else np.asarray(runs.best_iter)
        kept = np.argsort(losses[part], kind="stable")[: self.effort.n_kept] + part.start
        columns = (runs.theta, losses, n_iter, best_iter)
        return Ensemble(candidate, self.n_classes, *(array[kept] for array in columns))


@shielded
def score_networks(
    names: Iterable[str],
    candidates: Sequence[Candidate],
    rows: Rows,
    splits: Sequence[Split],
    effort: Effort,
) -> dict[str, Float64Array]:
    """Train candidates on the training rows of each split, and score them on those held out.

    Returns
    -------
    dict of str to numpy.ndarray of shape (n_candidates, n_splits)
    """
    known: dict[str, Any] = dict(SCORES if rows.n_classes == 2 else MULTICLASS_SCORES)
    scores = {name: np.full((len(candidates), len(splits)), np.nan) for name in names}
    for number, (train, test) in enumerate(splits):
        training, held_out = rows.take(train), rows.take(test)
        _check_classes(training, number)
        ensembles = train_networks(training, candidates, effort)
        if not held_out.weights.any():
            continue
        decisions = np.stack([ensemble.decisions(held_out.X) for ensemble in ensembles])
        codes = held_out.codes == 1 if rows.n_classes == 2 else held_out.codes
        for name, values in scores.items():
            values[:, number] = known[name](decisions, codes, held_out.weights)
    return scores


def _check_classes(rows: Rows, number: int) -> None:
    """Raise ValueError if the training rows of a split lack a class."""
    of_class = np.bincount(rows.codes, rows.weights, rows.n_classes)
    if not of_class.all():
        what = "of one class" if rows.n_classes == 2 else f"without class {int(of_class.argmin())}"
        raise ValueError(
            f"split {number} trains on rows {what}: pass other splits, stratified ones."
        )
