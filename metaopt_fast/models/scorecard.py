"""Points tables: a linear model of whole numbers as people use it, with pencil and paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import expit
from metaopt_fast.data.checks import check_X, check_y
from metaopt_fast.data.packing import decisions_of
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import JSON, Array
from metaopt_fast.validation.frames import as_frame, select_columns
from metaopt_fast.validation.text import listed, quoted, shown
from metaopt_fast.validation.values import as_real_array, describe, to_float64

# Beyond it, points are exact in no float; and more scores than anybody reads.
MAX_POINTS, MAX_SCORES = 2**31, 10_000

# Lines of a table as text, and digits of a number beyond the usual ones.
MAX_LINES, MAX_DIGITS = 40, 22


@dataclass(frozen=True, slots=True, eq=False)
class Scorecard:
    """Points for each feature, and the risk for each total score.

    The score of a row is the sum of the points times the features, the risk the model's
    probability of the positive class, 1 / (1 + exp(-(score + intercept))). Results of searches
    and evolutions make one by their method ``scorecard``, `from_theta` of any whole numbers.

    Attributes
    ----------
    names : tuple of str
        The features.
    points : numpy.ndarray of shape (n_features,), int64
    intercept : int
        0 if the model has none.
    scores : numpy.ndarray, float64
        In ascending order: all that rows of zeros and ones can have, or those of the rows given.
    risks : numpy.ndarray, shaped as scores
    counts, observed : numpy.ndarray, shaped as scores, or None
        Of the rows given: how many have the score, and the fraction of positives among them.
    named : bool
        Whether the names were given, or came with a frame: then columns of frames are found by
        their names.

    References
    ----------
    B. Ustun and C. Rudin, "Learning optimized risk scores", JMLR 20 (2019).
    J. Liu, C. Zhong, B. Li, M. Seltzer and C. Rudin, "FasterRisk: fast and accurate interpretable
    risk scores", NeurIPS 2022.

    Examples
    --------
    >>> import metaopt_fast as mf
    >>> mf.Scorecard.from_theta([2, -1, 0, -1], ["fever", "cough", "age"], fit_intercept=True)
    Scorecard of 2 features out of 3
    <BLANKLINE>
      points  feature
          +2  fever
          -1  cough
    <BLANKLINE>
       score    risk
          -1   11.9%
           0   26.9%
           1   50.0%
           2   73.1%
    <BLANKLINE>
      risk = 1 / (1 + exp(-(score - 1)))
    """

    names: tuple[str, ...]
    points: npt.NDArray[np.int64]
    intercept: int
    scores: npt.NDArray[np.float64]
    risks: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64] | None = None
    observed: npt.NDArray[np.float64] | None = None
    named: bool = True

    @classmethod
    def from_theta(
        cls,
        theta: npt.ArrayLike,
        names: Sequence[str] | None = None,
        *,
        fit_intercept: bool = False,
        X: npt.ArrayLike | None = None,
        y: npt.ArrayLike | None = None,
    ) -> Self:
        """Make the scorecard of a model.

        Parameters
        ----------
        theta : array_like of shape (n_params,)
            Whole numbers of at most 2**31 in size.
        names : sequence of str, optional
            One for each feature; by default those of the columns if X is a frame, else x0, x1, ...
        fit_intercept : bool, default False
            Whether the last entry of theta is an intercept.
        X, y : array_like of shapes (n_samples, n_features) and (n_samples,), optional
            Rows whose scores, counts and fractions of positives the table shows; columns of a
            frame as in `score`. Without them, features are taken for 0 or 1.

        Returns
        -------
        Scorecard

        Raises
        ------
        ValueError, TypeError
            If theta is not of whole numbers, an argument is not as described, or there are more
            than 10,000 different scores.
        """
        if not isinstance(fit_intercept, (bool, np.bool_)):
            raise TypeError(f"fit_intercept is {describe(fit_intercept)}: pass True or False.")
        whole = check_theta(theta)
        points, intercept = (whole[:-1], int(whole[-1])) if fit_intercept else (whole, 0)
        if len(points) == 0:
            raise ValueError(
                "theta has no entry for a feature: pass points, and then the intercept."
            )
        if names is None:
            names = names_of(X)
        listed_names = check_names(names, len(points))
        card = cls(
            listed_names, points, intercept, np.empty(0), np.empty(0), named=names is not None
        )
        if X is None and y is None:
            return card._with_table(attainable(points))
        if X is None or y is None:
            raise TypeError("one of X and y is None: pass both or neither.")
        own = card.score(X)
        positive = check_y(y, len(own))
        scores, group, counts = np.unique(own, return_inverse=True, return_counts=True)
        observed = np.bincount(group, positive) / counts
        return card._with_table(scores, counts, observed)

    @shielded
    def _with_table(
        self, scores: Array, counts: Array | None = None, observed: Array | None = None
    ) -> Self:
        if len(scores) > MAX_SCORES:
            raise ValueError(
                f"the rows have {len(scores):,} different scores: pass features of few values, "
                "such as 0 and 1, or neither X nor y."
            )
        risks = expit(scores + self.intercept)
        return replace(self, scores=scores, risks=risks, counts=counts, observed=observed)

    @shielded
    def score(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the scores of rows, shape (n_samples,): the intercept is not in them.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Columns of a frame of pandas, polars or pyarrow are found by their names, in whatever
            order, where the scorecard has names; others of its columns, and those of features
            without points, are not looked at. All else is taken by position: arrays, and frames
            whose columns are 0, 1, ... where the scorecard has other names.

        Returns
        -------
        numpy.ndarray of shape (n_samples,), float64
            Each summed in the order of the features, as `ConfusionCounts` does.

        Raises
        ------
        ValueError, TypeError
            If X has another number of columns or lacks one, or holds what is no moderate number.
        """
        rows = to_float64(self._columns(X))
        points = self.points[self.points != 0].astype(np.float64)
        finite = np.isfinite(rows).all(axis=1)
        scores = np.full(len(rows), np.nan)
        scores[finite] = decisions_of(rows[finite], points) + 0.0  # no score is -0.0
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            raise ValueError(
                f"row {row} of X has the score {scores[row]}: pass finite numbers of moderate size."
            )
        return scores

    def _columns(self, X: Any) -> Array:
        """Return the columns of the features that have points."""
        used = np.flatnonzero(self.points).tolist()
        given = names_of(X) if self.named else None
        if given is not None and used:
            wanted = [self.names[j] for j in used]
            missing = [name for name in wanted if name not in given]
            is_numbered = given == [str(j) for j in range(len(given))]
            if missing and not is_numbered:
                raise ValueError(
                    f"X has no column {listed(missing)} (it has {listed(given)}): pass a frame "
                    f"with the columns {listed(wanted)}, or an array of all {len(self.points)} "
                    "features in their order."
                )
            twice = [name for name in wanted if given.count(name) > 1]
            if twice:
                raise ValueError(f"X has two columns named {quoted(twice[0])}: drop one.")
            if not missing:
                return check_X(select_columns(X, [given.index(name) for name in wanted]))
        rows = check_X(X)
        if rows.shape[1] != len(self.points):
            raise ValueError(
                f"X has {rows.shape[1]} columns, but the scorecard has {len(self.points)} "
                f"features ({listed(self.names)}): pass one column for each."
            )
        return rows[:, used]

    @shielded
    def risk(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the model's probabilities of the positive class, shape (n_samples,)."""
        return expit(self.score(X) + self.intercept)

    @shielded
    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return 1 for rows whose risk is above one half, else 0, shape (n_samples,)."""
        return (self.score(X) + self.intercept > 0).astype(np.int64)

    def to_dict(self) -> dict[str, JSON]:
        """Return the points that are not 0 and the table as plain numbers, for JSON."""
        table: list[dict[str, Any]] = [
            {"score": score, "risk": risk}
            for score, risk in zip(self.scores.tolist(), self.risks.tolist(), strict=True)
        ]
        if self.counts is not None and self.observed is not None:
            for line, count, observed in zip(
                table, self.counts.tolist(), self.observed.tolist(), strict=True
            ):
                line.update(count=count, observed=observed)
        points = {self.names[j]: int(self.points[j]) for j in np.flatnonzero(self.points)}
        return {"points": {**points}, "intercept": self.intercept, "table": [*table]}

    def to_text(self) -> str:
        """Return the points and the table as text; of long tables, some lines.

        Scores and risks have as many digits as it takes to tell them from those of the neighbours.
        """
        used = np.flatnonzero(self.points)
        lines = [f"Scorecard of {len(used)} features out of {len(self.points)}", ""]
        lines += ["  points  feature"]
        lines += [f"{self.points[j]:>+8,}  {shown(self.names[j])}" for j in used]
        kept = np.arange(len(self.scores))
        if len(kept) > MAX_LINES:
            kept = np.unique(np.linspace(0, len(kept) - 1, MAX_LINES).astype(int))
        columns = [
            ["score", *told_apart(self.scores[kept].tolist(), score_text)],
            ["risk", *told_apart(self.risks[kept].tolist(), risk_text)],
        ]
        widths = [8, 6]
        if self.counts is not None and self.observed is not None:
            columns.append(["observed", *(f"{part:.1%}" for part in self.observed[kept].tolist())])
            columns.append(["rows", *(f"{count:,}" for count in self.counts[kept].tolist())])
            widths += [8, 4]
        widths = [max(width, *map(len, c)) for width, c in zip(widths, columns, strict=True)]
        lines.append("")
        for cells in zip(*columns, strict=True):
            padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
            lines.append("  ".join(padded))
        if len(kept) < len(self.scores):
            lines.append(f"  ({len(kept)} of {len(self.scores):,} scores)")
        shift = f" {'-' if self.intercept < 0 else '+'} {abs(self.intercept)}"
        inner = f"-(score{shift})" if self.intercept else "-score"
        return "\n".join([*lines, "", f"  risk = 1 / (1 + exp({inner}))"])

    def __repr__(self) -> str:
        return self.to_text()


@shielded
def check_theta(theta: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return a theta of whole numbers as integers."""
    values = to_float64(as_real_array("theta", theta, 1, "an array of whole numbers"))
    wrong = ~(np.abs(values) <= MAX_POINTS) | (values != np.floor(values))
    if wrong.any():
        j = int(np.argmax(wrong))
        raise ValueError(
            f"theta has {values[j]:g} as entry {j}, and points are whole numbers of at most 2**31 "
            "in size: search over Integers, or by enumerate_search."
        )
    return values.astype(np.int64)


def check_names(names: Sequence[str] | None, n_features: int) -> tuple[str, ...]:
    """Return one name for each feature."""
    if names is None:
        return tuple(f"x{j}" for j in range(n_features))
    wanted = f"a sequence of {n_features} different strings, one for each feature"
    if (
        isinstance(names, str)
        or not isinstance(names, Iterable)
        or any(not isinstance(name, str) for name in names)
    ):
        raise TypeError(f"names is {describe(names)}: pass {wanted}.")
    if len(names) != n_features or len(set(names)) != n_features:
        raise ValueError(
            f"names has {len(names)} entries, {len(set(names))} of them different: pass {wanted}."
        )
    return tuple(names)


def names_of(X: Any) -> list[str] | None:
    """Return the names of a frame's columns as text, such as "0" of number 0; None of an array."""
    frame = as_frame("X", X)
    return None if frame is None else [str(name) for name in frame.names]


def told_apart(values: Sequence[float], text: Callable[[float, int], str]) -> list[str]:
    """Return the texts of numbers, each of the fewest digits, from 0 extra ones on, at which it is
    another text than those of the next lower and the next higher number."""
    found, distinct = {}, sorted(set(values))
    for k, value in enumerate(distinct):
        others = (*distinct[max(k - 1, 0) : k], *distinct[k + 1 : k + 2])
        digits = 0
        while digits < MAX_DIGITS and any(
            text(other, digits) == text(value, digits) for other in others
        ):
            digits += 1
        found[value] = text(value, digits)
    return [found[value] for value in values]


def score_text(score: float, digits: int) -> str:
    """Return a score: whole numbers whole, of fractions 6 significant digits and some more."""
    if abs(score) < 2**53:
        if score == round(score):
            return f"{score:,.0f}"
        digits += max(6, len(f"{abs(score):.0f}") + 1)
    else:
        digits += 6
    return f"{score:,.{digits}g}" if digits < 16 else f"{score:,}"


def risk_text(risk: float, digits: int) -> str:
    """Return a risk in per cent, of 1 decimal and some more, small ones as powers of ten."""
    if digits > 5 and risk < 0.5:
        return f"{100 * risk:.{min(digits - 4, 17)}g}%"
    return f"{risk:.{1 + digits}%}"


def attainable(points: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return all sums of some of the points, in ascending order."""
    sums = np.zeros(1, np.int64)
    for point in points[points != 0]:
        sums = np.union1d(sums, sums + point)
        if len(sums) > MAX_SCORES:
            raise ValueError(
                f"rows of zeros and ones have more than {MAX_SCORES:,} different scores: pass a "
                "theta of fewer or smaller points, or X and y."
            )
    return sums.astype(np.float64)
