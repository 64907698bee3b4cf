"""A permutation test for the program: would a model score as well if labels meant nothing?

What scikit-learn's permutation_test_score does, with splits that no label has a part in, so that
all permutations share them, and columns that the training rows of each split prepare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import products
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.label_vectors import fit_label_vectors
from metaopt_fast.fitting.resamples import permuted_labels
from metaopt_fast.plots import axes
from metaopt_fast.runs.progress import Progress
from metaopt_fast.selection.folds import stratified_folds
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.selection.tune import Prepare
from metaopt_fast.typing import Float64Array, IndexArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Permutations that are fitted and scored together, a few in each lane.
TOGETHER = 240


@dataclass(frozen=True, slots=True, eq=False)
class PermutationScores:
    """The score of the labels as they are, and those of permuted ones; `n_asked` of these were
    asked for."""

    score: float
    others: Float64Array
    n_asked: int

    @property
    def p_value(self) -> float:
        """(1 + the number of permutations that score as well or better) / (1 + their number)."""
        return p_value(self.score, self.others)

    @property
    def least_p_value(self) -> float:
        """The p-value where no permutation scores as well: none is less."""
        return 1 / (len(self.others) + 1)

    @property
    def is_interrupted(self) -> bool:
        """Whether there are fewer permutations than were asked for."""
        return len(self.others) < self.n_asked

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the scores of the permutations with the one observed, and return the axes."""
        return draw_scores(axes("--plot", ax), self.score, self.others)


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Rows to train on and to score, and all rows as the former prepare them."""

    X: Float64Array
    train: IndexArray
    test: IndexArray


@dataclass(frozen=True, slots=True, eq=False)
class PermutationTest:
    """Folds of rows of two classes, coded 0 and 1, and how models of them are fitted and scored."""

    folds: list[Fold]
    codes: npt.NDArray[np.uint8]
    groups: npt.ArrayLike | None
    C: float
    scoring: str
    seed: int
    effort: Effort

    @classmethod
    def of(
        cls,
        X: Float64Array,
        codes: npt.NDArray[np.uint8],
        *,
        C: float,
        n_folds: int,
        scoring: str,
        groups: npt.ArrayLike | None,
        seed: int,
        prepare: Prepare | None,
        n_threads: int | None,
    ) -> PermutationTest:
        """Cut folds at random; `prepare` makes columns of the rows to train on."""
        if n_folds > len(X):
            raise ValueError(f"there are {len(X)} rows for {n_folds} folds: pass fewer folds.")
        fold_of = stratified_folds(np.zeros(len(X), np.uint8), n_folds, seed)
        folds = []
        for f in range(n_folds):
            train, test = np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)
            folds.append(Fold(X if prepare is None else prepare(train), train, test))
        effort = Effort.of(n_threads=n_threads)
        return cls(folds, codes.astype(np.uint8), groups, C, scoring, seed, effort)

    def run(self, n_permutations: int, line: Progress) -> PermutationScores:
        """Score the labels as they are, and permutations of them: all, or those until Ctrl-C."""
        found: list[Float64Array] = []
        try:
            for first in range(0, n_permutations + 1, TOGETHER):
                last = min(first + TOGETHER, n_permutations + 1)
                found.append(self.scores(first, self.vectors(first, last)))
                line.update(last - first - (first == 0), float(found[0][0]))
        except KeyboardInterrupt:
            if not found:
                raise
        scores = np.concatenate(found)
        return PermutationScores(float(scores[0]), scores[1:], n_permutations)

    def vectors(self, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Return some label vectors: the first one of all is that of the labels as they are."""
        start = max(first, 1) - 1
        found = permuted_labels(
            self.codes, last - 1 - start, seed=self.seed, groups=self.groups, start=start
        ).view(np.uint8)
        return found if first else np.concatenate([self.codes[None], found])

    def scores(self, first: int, codes: npt.NDArray[np.uint8]) -> Float64Array:
        """Return the mean score over the folds of each label vector, of these numbers on."""
        of_folds = [self.scores_of(f, first, codes) for f in range(len(self.folds))]
        return np.array([np.mean(row) for row in np.stack(of_folds, axis=1)])

    def scores_of(self, f: int, first: int, codes: npt.NDArray[np.uint8]) -> Float64Array:
        """Return the scores on a fold of models that are trained on the other rows."""
        fold = self.folds[f]
        trained = np.ascontiguousarray(codes[:, fold.train])
        counts = trained.sum(axis=1, dtype=np.int64)
        self.check(counts % trained.shape[1] != 0, f, first, "rows of one class to train on")
        l2 = np.full(len(codes), 1 / (self.C * len(fold.train)))
        thetas = fit_label_vectors(fold.X[fold.train], trained, l2, self.effort)
        decisions = products(thetas[:, :-1], fold.X[fold.test]) + thetas[:, -1:]
        positive, ones = codes[:, fold.test] == 1, np.ones(len(fold.test))
        score = SCORES[self.scoring]
        found = np.concatenate(
            [score(of[None], own, ones) for of, own in zip(decisions, positive, strict=True)]
        )
        self.check(np.isfinite(found), f, first, f"no rows that {self.scoring} can be told of")
        return found

    def check(self, is_good: npt.NDArray[np.bool_], f: int, first: int, what: str) -> None:
        """Raise an error where labels leave a fold, or the others, without what they need."""
        if is_good.all():
            return
        number = first + int(np.argmin(is_good))
        which = f"in permutation {number - 1}" if number else "as they are"
        raise ValueError(
            f"the labels {which} leave {what} where fold {f} is held out: pass fewer folds, or "
            "more rows of the rarer class."
        )


def p_value(score: float, others: Float64Array) -> float:
    """Return (1 + the number of scores that are as good or better) / (1 + their number)."""
    return float((np.sum(others >= score) + 1) / (len(others) + 1))


def draw_scores(ax: Axes, score: float, others: Float64Array) -> Axes:
    """Draw scores of permutations with the one that was observed; return the axes."""
    p = p_value(score, others)
    ax.hist(others, bins=min(30, max(5, len(others) // 10)), color="0.7", label="labels permuted")
    ax.axvline(score, color="#D55E00", label=f"observed: p = {p:.3g}")
    ax.set(xlabel="score", ylabel="permutations", title="Permutation test")
    ax.legend()
    return ax
