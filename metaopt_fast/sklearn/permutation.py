"""scikit-learn's permutation test, of all permutations and folds at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    TimeSeriesSplit,
    check_cv,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import indexable

from metaopt_fast.arithmetic import products
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight, class_factors
from metaopt_fast.fitting.fit_differing import check_n_params
from metaopt_fast.fitting.label_vectors import fit_label_vectors
from metaopt_fast.floating_errors import shielded
from metaopt_fast.plots import axes
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.spread import Spread, threads_asked
from metaopt_fast.selection.permutations import draw_scores, p_value
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.sklearn.classifier import check_C, check_class_weight
from metaopt_fast.sklearn.regression import LogisticRegression
from metaopt_fast.typing import Float64Array, IndexArray
from metaopt_fast.validation.frames import as_numbers
from metaopt_fast.validation.values import (
    as_real_array,
    check_flag,
    check_integer,
    check_number,
    describe,
    to_float64,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Their splits ask for no labels; where they shuffle, a whole number is to be their seed.
BLIND = (KFold, GroupKFold, LeaveOneGroupOut, LeaveOneOut, PredefinedSplit, TimeSeriesSplit)
# Scores that are computed here: scikit-learn's scorers take milliseconds for each model, and models
# a tenth of that.
OWN_SCORES = ("accuracy", "neg_log_loss", "roc_auc")
# Permutations whose splits and scores are at hand together, where labels decide splits.
TOGETHER = 64
# Bytes of labels that are drawn before workers have scored those that were drawn before them.
HELD = 1 << 26


@shielded
def permutation_test_score(
    estimator: Any,
    X: Any,
    y: npt.ArrayLike,
    *,
    groups: Any = None,
    cv: Any = None,
    n_permutations: int = 100,
    n_jobs: int | None = None,
    random_state: Any = 0,
    verbose: int = 0,
    scoring: Any = None,
    params: dict[str, Any] | None = None,
    executor: Any = None,
) -> tuple[float, Float64Array, float]:
    """Say how often a cross-validated score is as good as this one where labels mean nothing.

    Does what scikit-learn's function of this name does, with its permutations, its splits and its
    scores, for models that are fitted side by side. Labels must be exchangeable under the
    hypothesis: within groups only, where rows of a group belong together (`groups`); and what was
    chosen by looking at y, a penalty too, belongs into the estimator, or the test is not one of it.
    The least p-value is 1 / (n_permutations + 1).

    Parameters
    ----------
    estimator : metaopt_fast.sklearn.LogisticRegression, or a pipeline that ends with one
        Of two classes, with an l2 penalty alone. Other steps are fitted to the training rows of
        each fold without their labels, so that splits must not depend on labels: pass cv=KFold(),
        or splits.
    X, y : array_like of shape (n_samples, n_features) and (n_samples,)
    groups : array_like of shape (n_samples,), optional
        Labels change places within groups alone; splits get them, too.
    cv : int, splitter or iterable of (train, test), optional
        By default five stratified folds, which every permutation cuts anew. Splits that ask for no
        labels, as of KFold, are cut once, and cost less.
    n_permutations : int, default 100
    n_jobs, verbose
        Not used: the estimator has `n_threads`.
    random_state : int, RandomState or None, default 0
    scoring : str, callable or None
        As of scikit-learn; by default accuracy.
    params : None
        Weights of rows are not taken: pass None.
    executor : concurrent.futures.Executor or the like, optional
        Workers that score a part of the permutations each, as of `metaopt_fast.random_search`; the
        result is the same. X is sent once to each worker, with each part its labels, a byte for
        each row. A worker has its share of this machine's threads, unless the estimator has
        `n_threads`.

    Returns
    -------
    score : float
    permutation_scores : numpy.ndarray of shape (n_permutations,)
        After Ctrl-C those that were finished, with a RuntimeWarning.
    pvalue : float
        (1 + the number of permutations with a score of at least `score`) / (1 + their number).

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import KFold
    >>> from metaopt_fast.sklearn import LogisticRegression, permutation_test_score
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> score, scores, p = permutation_test_score(LogisticRegression(), X[:, 8:10], y, cv=KFold())
    >>> bool(scores.max() < 0.7), round(p, 4)
    (True, 0.0099)
    """
    if params is not None:
        raise ValueError(f"params is {describe(params)}: pass None, weights of rows are not taken.")
    n_permutations = check_integer("n_permutations", n_permutations, 1)
    check_options(executor, False, None)
    X, y, groups = indexable(X, y, groups)
    test = PermutationTest.of(estimator, X, np.asarray(y), groups, cv, scoring, executor)
    spread = Spread(executor, test, {"estimator": estimator, "cv": cv, "scoring": scoring})
    found: list[float] = []
    together = test.together if executor is None else max(test.together, HELD // len(test.y))
    try:
        random = check_random_state(random_state)
        for codes in test.permutations(n_permutations, random, together):
            for some in spread.over(PermutationTest.scores, codes, test.together):
                found += some
    except KeyboardInterrupt:
        if len(found) < 2:
            raise
        warnings.warn(
            f"Ctrl-C ended the test after {len(found) - 1:,} of {n_permutations:,} permutations: "
            "the p-value is of these.",
            RuntimeWarning,
            stacklevel=3,
        )
    score, others = found[0], np.array(found[1:])
    return score, others, p_value(score, others)


@shielded
def plot_permutation_test(
    score: float, permutation_scores: npt.ArrayLike, ax: Axes | None = None
) -> Axes:
    """Draw the scores of a permutation test, with the one that was observed, and return the axes.

    Parameters
    ----------
    score : float
    permutation_scores : array_like of shape (n_permutations,)
        Both as `permutation_test_score` returns them.
    ax : matplotlib axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib axes
    """
    score = check_number("score", score)
    wanted = "finite numbers of shape (n_permutations,)"
    others = to_float64(as_real_array("permutation_scores", permutation_scores, 1, wanted))
    if not others.size or not np.isfinite(others).all():
        raise ValueError(f"permutation_scores is {describe(permutation_scores)}: pass {wanted}.")
    return draw_scores(axes("plot_permutation_test", ax), score, others)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What the estimator asks for, checked."""

    estimator: LogisticRegression
    effort: Effort
    choice: ClassWeight
    fit_intercept: bool
    C: float
    l2: float | None

    @classmethod
    def of(cls, estimator: Any, classes: npt.NDArray[Any], executor: Any) -> Model:
        """Return the checked parameters of an estimator, whose models an executor's workers fit."""
        if not isinstance(estimator, LogisticRegression):
            raise TypeError(
                f"estimator is {describe(estimator)}: pass a metaopt_fast.sklearn."
                "LogisticRegression or a pipeline that ends with one, or use scikit-learn's "
                "permutation_test_score."
            )
        if estimator.l1_ratio != 0:
            raise ValueError(
                f"l1_ratio is {estimator.l1_ratio!r}: pass an estimator with an l2 penalty alone, "
                "or use scikit-learn's permutation_test_score."
            )
        l2 = None if estimator.l2 is None else check_number("l2", estimator.l2, 0.0)
        return cls(
            estimator,
            Effort.of(
                estimator.tol, estimator.max_iter, threads_asked(executor, estimator.n_threads)
            ),
            check_class_weight(estimator.class_weight, classes),
            check_flag("fit_intercept", estimator.fit_intercept),
            check_C(estimator.C),
            l2,
        )

    def strengths(self, codes: npt.NDArray[np.uint8], used: npt.NDArray[Any]) -> Float64Array:
        """Return l2 of each model, given which rows each is trained on."""
        if self.l2 is not None:
            return np.full(len(codes), self.l2)
        positive = (codes & used).sum(axis=1, dtype=np.int64)
        total = np.broadcast_to(used, codes.shape).sum(axis=1, dtype=np.int64)
        sums = np.stack([total - positive, positive], axis=1).astype(np.float64)
        weights = [float((class_factors(self.choice, pair) * pair).sum()) for pair in sums]
        return np.asarray(1 / (self.C * np.array(weights)))

    def fit(
        self, X: Float64Array, codes: npt.NDArray[np.uint8], used: npt.NDArray[np.uint8] | None
    ) -> Float64Array:
        """Return the thetas of models of label vectors, on all rows or on those used by each."""
        everything = np.ones((1, len(X)), np.uint8)
        return fit_label_vectors(
            X,
            codes,
            self.strengths(codes, everything if used is None else used),
            self.effort,
            used=used,
            class_weight=self.choice,
            fit_intercept=self.fit_intercept,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PermutationTest:
    """Rows, how they are split, and how models of them are scored.

    `splits` are those of all permutations, with the columns as the steps before the model prepare
    them for each; None: each permutation has its own.
    """

    X: Float64Array
    y: npt.NDArray[Any]
    classes: npt.NDArray[Any]
    groups: Any
    cv: Any
    scorer: Any
    own_score: str | None
    model: Model
    splits: list[tuple[IndexArray, IndexArray, Float64Array]] | None

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        y: npt.NDArray[Any],
        groups: Any,
        cv: Any,
        scoring: Any,
        executor: Any,
    ) -> PermutationTest:
        """Check arguments, and cut the splits that are common to all permutations."""
        steps = estimator[:-1] if isinstance(estimator, Pipeline) else None
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        classes = np.unique(y)
        if len(classes) != 2:
            raise ValueError(f"y holds {len(classes)} classes: pass labels of two.")
        model = Model.of(last, classes, executor)
        cv = check_cv(cv, y, classifier=True)
        scorer = check_scoring(last, scoring=scoring)
        shuffles_anew = getattr(cv, "shuffle", False) and not isinstance(cv.random_state, int)
        is_blind = type(cv) in BLIND or type(cv).__name__ == "_CVIterableWrapper"
        is_blind = is_blind and not shuffles_anew
        if steps is not None and not is_blind:
            raise ValueError(
                f"cv is {describe(cv)}, whose splits depend on labels, and the pipeline is fitted "
                "to those of each: pass cv=KFold(), or splits."
            )
        splits = None
        rows = None if steps is not None else as_numbers("X", X, 2, "an array of two dimensions")
        if is_blind:
            splits = []
            for train, test in cv.split(X, y, groups):
                table = rows if steps is None else prepared(steps, X, train)
                splits.append((np.asarray(train), np.asarray(test), np.asarray(table, np.float64)))
            if not splits:
                raise ValueError("cv has no splits: pass one or more of (train, test).")
        columns = np.asarray(rows if splits is None else splits[0][2], np.float64)
        check_n_params(columns.shape[1], model.fit_intercept)
        scoring = "accuracy" if scoring is None else scoring
        own_score = scoring if scoring in OWN_SCORES else None
        return cls(columns, y, classes, groups, cv, scorer, own_score, model, splits)

    @property
    def together(self) -> int:
        """How many permutations are scored at a time, at most."""
        return TOGETHER if self.splits is None else max(TOGETHER, (1 << 19) // len(self.y))

    def permutations(
        self, n_permutations: int, random: np.random.RandomState, size: int
    ) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield label vectors, the given one first, so many at a time: scikit-learn's own."""
        codes = (self.y == self.classes[1]).astype(np.uint8)
        some = [codes]
        for _ in range(n_permutations):
            if len(some) == size:
                yield np.stack(some)
                some = []
            some.append(codes[self.shuffled(random)])
        yield np.stack(some)

    def shuffled(self, random: np.random.RandomState) -> IndexArray:
        """Return the rows whose labels a permutation takes."""
        if self.groups is None:
            return random.permutation(len(self.y))
        groups, order = np.asarray(self.groups), np.arange(len(self.y))
        for group in np.unique(groups):
            of_group = groups == group
            order[of_group] = random.permutation(order[of_group])
        return order

    @shielded
    def scores(self, codes: npt.NDArray[np.uint8]) -> list[float]:
        """Return the mean score over the splits of each label vector."""
        each = self.of_common_splits(codes) if self.splits is not None else self.of_own(codes)
        return [float(np.mean(row)) for row in each]

    def of_common_splits(self, codes: npt.NDArray[np.uint8]) -> list[list[float]]:
        assert self.splits is not None  # of `scores`
        found: list[list[float]] = [[] for _ in codes]
        for train, test, table in self.splits:
            thetas = self.model.fit(table[train], np.ascontiguousarray(codes[:, train]), None)
            decisions = self.decisions(thetas, table[test])
            for k, theta in enumerate(thetas):
                found[k].append(self.score(theta, decisions[k], table, test, codes[k]))
        return found

    def of_own(self, codes: npt.NDArray[np.uint8]) -> list[list[float]]:
        """Return the scores over splits that each label vector has for itself."""
        splits = [list(self.cv.split(self.X, self.classes[row], self.groups)) for row in codes]
        number = np.repeat(np.arange(len(codes)), [len(of) for of in splits])
        flat = [pair for of in splits for pair in of]
        used = np.zeros((len(flat), len(self.y)), np.uint8)
        for row, (train, _) in zip(used, flat, strict=True):
            row[train] = 1
        thetas = self.model.fit(self.X, codes[number], used)
        found: list[list[float]] = [[] for _ in codes]
        for theta, k, (_, test) in zip(thetas, number.tolist(), flat, strict=True):
            decisions = self.decisions(theta[None], self.X[test])[0]
            found[k].append(self.score(theta, decisions, self.X, test, codes[k]))
        return found

    def decisions(self, thetas: Float64Array, rows: Float64Array) -> Float64Array:
        """Return what the estimator's own decision_function does, for many models."""
        n = rows.shape[1]
        intercepts = thetas[:, n:] if self.model.fit_intercept else 0.0
        found: Float64Array = products(thetas[:, :n], rows) + intercepts
        return found

    def score(
        self,
        theta: Float64Array,
        decisions: Float64Array,
        table: Float64Array,
        test: IndexArray,
        codes: npt.NDArray[np.uint8],
    ) -> float:
        """Return the score of a model on the rows that a split holds out."""
        own, positive = self.own_score, codes[test] == 1
        # Of rows of one class, scikit-learn's scorers say what there is to say but for accuracy.
        if own == "accuracy" or (own and positive.any() and not positive.all()):
            return float(SCORES[own](decisions[None], positive, np.ones(len(test)))[0])
        model, n = clone(self.model.estimator), table.shape[1]
        model.classes_, model.coef_, model.n_features_in_ = self.classes, theta[None, :n], n
        model.intercept_ = theta[n:] if self.model.fit_intercept else np.zeros(1)
        return float(self.scorer(model, table[test], self.classes[codes[test]]))


def prepared(steps: Any, X: Any, train: IndexArray) -> Float64Array:
    """Return all rows as steps that are fitted to some of them make them ready."""
    from sklearn.utils import _safe_indexing

    fitted = clone(steps).fit(_safe_indexing(X, train))
    return np.asarray(fitted.transform(X), np.float64)
