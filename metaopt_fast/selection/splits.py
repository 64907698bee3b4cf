"""Candidates trained and scored on the splits of a cross-validation, many in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.fitting.arguments import Effort, Rows
from metaopt_fast.fitting.class_weights import ClassWeight, split_exponent
from metaopt_fast.fitting.fit_many import fit_models
from metaopt_fast.fitting.result import warn_if_unbounded
from metaopt_fast.floating_errors import shielded
from metaopt_fast.selection.folds import Split, partitions
from metaopt_fast.selection.multiclass_scores import score_classes
from metaopt_fast.selection.scores import score_many
from metaopt_fast.typing import Float64Array, IndexArray


class SplitFits(NamedTuple):
    """Models of each candidate and split.

    Attributes
    ----------
    theta : numpy.ndarray of shape (n_candidates, n_splits, n_params)
        Of K > 2 classes, (n_candidates, n_splits, K, n_params).
    gap_bound : numpy.ndarray of shape (n_candidates, n_splits)
    converged, certified : numpy.ndarray of shape (n_candidates, n_splits), bool
    status : numpy.ndarray of shape (n_candidates, n_splits), str
        Ends of the fits, as `metaopt_fast.fit_many` names them.
    """

    theta: Float64Array
    gap_bound: Float64Array
    converged: npt.NDArray[np.bool_]
    certified: npt.NDArray[np.bool_]
    status: npt.NDArray[np.str_]


@shielded
def fit_splits(
    X: Float64Array | SparseRows,
    codes: IndexArray,
    splits: Sequence[Split],
    *,
    C: Float64Array,
    class_weight: Sequence[ClassWeight],
    l1_ratio: Float64Array | float = 0.0,
    sample_weight: Float64Array | None = None,
    fit_intercept: bool = True,
    loss: str = "logistic",
    **effort: Any,
) -> SplitFits:
    """Train each candidate on the training rows of each split.

    Parameters
    ----------
    X : numpy.ndarray of shape (n_samples, n_features), or SparseRows
    codes : numpy.ndarray of shape (n_samples,), int
        Classes of the rows, from 0 to K - 1.
    splits : sequence of (train, test)
        Numbers of rows. Splits that follow each other and cut the rows into parts, each of them
        held out once, are one call of `fit_many`; any other split is a call of its own.
    C : numpy.ndarray of shape (n_candidates,)
        scikit-learn's: 1 / ((l1 + l2) * sum of the training rows' weights).
    class_weight : sequence of n_candidates
        Weights of each candidate's classes: None, "balanced", or a dict of 0 .. K - 1.
    l1_ratio : float or numpy.ndarray of shape (n_candidates,), default 0.0
        scikit-learn's: l1 / (l1 + l2).
    sample_weight : numpy.ndarray of shape (n_samples,), optional
    fit_intercept : bool, default True
    loss : {"logistic", "squared_hinge"}, default "logistic"
        Loss of a row, as of `fit_many`.
    **effort
        tol, max_iter and n_threads, as of `fit_many`.

    Returns
    -------
    SplitFits

    Raises
    ------
    ValueError
        If the training rows of a split are of one class, or lack one.
    """
    of_rows = np.ones(len(X)) if sample_weight is None else sample_weight
    n_classes = int(codes.max()) + 1
    sums = np.array(
        [np.bincount(codes[train], of_rows[train], minlength=n_classes) for train, _ in splits]
    )
    for number, of_class in enumerate(sums):
        if not of_class.all():
            what = "of one class" if n_classes == 2 else f"without class {int(of_class.argmin())}"
            raise ValueError(
                f"split {number} trains on rows {what}: pass other splits, stratified ones."
            )
    totals, exponents = total_weights(sums, class_weight)
    strengths = np.ldexp(1 / (C[:, None] * totals), -exponents)
    ratios = np.broadcast_to(l1_ratio, C.shape)[:, None]
    l1 = np.where(ratios > 0, ratios * strengths, 0.0)
    l2 = np.where(ratios < 1, (1 - ratios) * strengths, 0.0)
    choices = list(class_weight)
    alike = all(choice == choices[0] for choice in choices)
    until, parts = Effort.of(**effort), []
    for run, folds in partitions(splits, len(X)):
        # A split of its own is one fold left out, that is, no folds.
        some: Any = slice(None) if folds is not None else splits[run.start][0]
        weights = None if sample_weight is None else sample_weight[some]
        fits = fit_models(
            until,
            Rows.of(X[some], codes[some], folds, weights, fit_intercept),
            l2=l2[:, run] if folds is not None else l2[:, run.start],
            l1=l1[:, run] if folds is not None else l1[:, run.start],
            class_weight=choices[0] if alike else choices,
            loss=loss,
        )
        warn_if_unbounded(fits, l2[:, run], stacklevel=4, l1=l1[:, run])
        shape = (len(C), run.stop - run.start)
        parts.append(
            (
                fits.theta.reshape(*shape, *fits.theta.shape[fits.loss.ndim :]),
                *(getattr(fits, name).reshape(shape) for name in SplitFits._fields[1:]),
            )
        )
    return SplitFits(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


@shielded
def score_splits(
    names: Iterable[str],
    thetas: Float64Array,
    X: Float64Array | SparseRows,
    codes: IndexArray,
    splits: Sequence[Split],
    sample_weight: Float64Array | None = None,
) -> dict[str, Float64Array]:
    """Score each candidate on the rows that each split holds out, by `score_many`, or, of more than
    two classes, by `score_classes`.

    Returns
    -------
    dict of str to numpy.ndarray of shape (n_candidates, n_splits)
    """
    scores = {name: np.empty(thetas.shape[:2]) for name in names}
    for k, (_, test) in enumerate(splits):
        weights = None if sample_weight is None else sample_weight[test]
        if thetas.ndim == 3:
            found = score_many(scores, thetas[:, k], X[test], codes[test] == 1, weights)
        else:
            found = score_classes(scores, thetas[:, k], X[test], codes[test], weights)
        for name, values in found.items():
            scores[name][:, k] = values
    return scores


def total_weights(
    sums: Float64Array, class_weight: Sequence[ClassWeight]
) -> tuple[Float64Array, IndexArray]:
    """Return the weight of the training rows, classes weighted, shape (n_candidates, n_splits), as
    numbers to be multiplied by 2 to powers of shape (n_candidates, 1).

    `sums` has the weight of each split's training rows of each class. "balanced" does not change
    their sum.
    """
    before: object = None
    totals, exponents = [], []
    for choice in class_weight:
        given = choice if isinstance(choice, dict) else {}
        if given != before:  # of most searches, all candidates have the same
            of_class = np.array([given.get(k, 1.0) for k in range(sums.shape[1])])
            factors, exponent = split_exponent(of_class)
            total, before = (sums * factors).sum(axis=1), given
        totals.append(total)
        exponents.append([exponent])
    return np.array(totals), np.array(exponents, np.intp)
