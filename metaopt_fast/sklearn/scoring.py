"""Scores by the names of scikit-learn: computed for all models at once, or by others' scorers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.metrics import (
    brier_score_loss,
    f1_score,
    get_scorer,
    get_scorer_names,
    make_scorer,
)

from metaopt_fast.data.sparse_rows import SparseRows
from metaopt_fast.selection.folds import Split
from metaopt_fast.selection.multiclass_scores import MULTICLASS_SCORES
from metaopt_fast.selection.scores import SCORES
from metaopt_fast.typing import Float64Array
from metaopt_fast.validation.values import describe

# A name, a function of an estimator, X and y, or several.
Scoring: TypeAlias = (
    str
    | Callable[..., float]
    | Sequence[str]
    | Mapping[str, str]
    | Mapping[str, str | Callable[..., float]]
)


def check_scoring(scoring: Any, n_classes: int, *, takes_any: bool = False) -> dict[str, Any]:
    """Return the metric of each score by its name in cv_results_: "score" if there is one.

    Beside the names of metrics that are computed here, those of scikit-learn's other scorers, and
    functions, may be taken.
    """
    known = list(SCORES if n_classes == 2 else MULTICLASS_SCORES)
    wanted = f"one or many of {', '.join(known)}"
    if takes_any:
        wanted += ", others of scikit-learn's classifiers, or a function of an estimator, X and y"
    if isinstance(scoring, str) or (takes_any and callable(scoring)):
        metrics = {"score": scoring}
    elif isinstance(scoring, Mapping):
        metrics = dict(scoring)
    elif isinstance(scoring, (list, tuple, set)):
        metrics = {str(name): name for name in scoring}
    else:
        raise ValueError(f"scoring is {describe(scoring)}: pass {wanted}.")
    if not metrics:
        raise ValueError(f"scoring is empty: pass {wanted}.")
    found: dict[str, Any] = {}
    for name, metric in metrics.items():
        is_own = isinstance(metric, str) and metric in known
        scorer = metric if is_own else _other_scorer(metric)
        if not (is_own or (takes_any and callable(scorer))):
            what = describe(metric)
            if n_classes > 2 and str(metric) in SCORES:
                what += f", which is of two classes, and y holds {n_classes}"
            raise ValueError(f"scoring is {what}: pass {wanted}.")
        found[name] = scorer
    return found


def _other_scorer(metric: Any) -> Any:
    """Return scikit-learn's scorer of classifiers by its name, and anything else as it is."""
    if not isinstance(metric, str) or metric in SCORES or metric not in get_scorer_names():
        return metric
    scorer = get_scorer(metric)
    is_of_classes = scorer._score_func.__module__.endswith(("_classification", "_ranking"))
    return scorer if is_of_classes else metric


def scorer_of(metric: Any, classes: npt.NDArray[Any]) -> Any:
    """Return scikit-learn's scorer, of which the second class is the positive one, of a metric that
    is computed here; another is one itself."""
    if not isinstance(metric, str):
        return metric
    if metric == "f1":
        return make_scorer(f1_score, pos_label=classes[1])
    if metric in ("brier", "neg_brier_score"):
        return make_scorer(
            brier_score_loss,
            greater_is_better=False,
            response_method="predict_proba",
            pos_label=classes[1],
        )
    return get_scorer(metric)


def score_by_others(
    scorers: Mapping[str, Any],
    estimator_of: Callable[[Float64Array], Any],
    thetas: Float64Array,
    X: Float64Array | SparseRows,
    labels: npt.NDArray[Any],
    splits: Sequence[Split],
    sample_weight: Float64Array | None,
) -> dict[str, Float64Array]:
    """Score each candidate on the rows that each split holds out, one estimator after the other.

    Returns arrays of shape (n_candidates, n_splits)."""
    found = {name: np.empty(thetas.shape[:2]) for name in scorers}
    for k, (_, test) in enumerate(splits):
        rows = X[test]
        given = _as_matrix(rows) if isinstance(rows, SparseRows) else rows
        options = {} if sample_weight is None else {"sample_weight": sample_weight[test]}
        for m, theta in enumerate(thetas[:, k]):
            estimator = estimator_of(theta)
            for name, scorer in scorers.items():
                score = scorer(estimator, given, labels[test], **options)
                if not isinstance(score, Real):
                    raise ValueError(
                        f"scoring returned {describe(score)}: pass a function that returns a "
                        "number."
                    )
                found[name][m, k] = score
    return found


def _as_matrix(rows: SparseRows) -> csr_matrix:
    return csr_matrix((rows.numbers, rows.columns, rows.starts), shape=rows.shape)
