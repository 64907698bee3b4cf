"""What each row is worth to a model, by models of subsets of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.arithmetic import products
from metaopt_fast.data.checks import check_X
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.class_weights import ClassWeight
from metaopt_fast.fitting.differing import Differing
from metaopt_fast.fitting.differing_arguments import Labels
from metaopt_fast.fitting.resampled_models import (
    check_choice,
    model_to_resample,
    warn_of_unproven,
)
from metaopt_fast.fitting.result import are_proven
from metaopt_fast.floating_errors import shielded
from metaopt_fast.objectives.losses import LogisticLoss
from metaopt_fast.plots import axes
from metaopt_fast.runs.options import check_options
from metaopt_fast.runs.progress import Progress
from metaopt_fast.samplers.base import MAX_SEED
from metaopt_fast.samplers.independent import Uniform
from metaopt_fast.typing import BoolArray, Float64Array, ValueMethod
from metaopt_fast.validation.values import check_integer, check_number, to_float64

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("banzhaf", "shapley", "loo")
UTILITIES = ("neg_log_loss", "accuracy")
# Squares of losses stay in the range of floats.
LARGEST_LOSS = 1e150
# Key of the stream of subsets.
OF_SUBSETS = 0x165667B19E3779F9


@dataclass(frozen=True, slots=True, eq=False)
class DataValues:
    """What each row is worth.

    Attributes
    ----------
    values : numpy.ndarray of shape (n_samples,)
        How much the utility gains by a row, in the mean; below 0 where the row does harm.
    standard_error : numpy.ndarray of shape (n_samples,)
        What the random subsets leave uncertain of it; 0 of "loo".
    utility : float
        That of the model of all rows.
    n_models : int
    method : str
    interrupted : bool
        Whether Ctrl-C ended it after fewer subsets than were asked for.
    """

    values: Float64Array
    standard_error: Float64Array
    utility: float
    n_models: int
    method: str
    interrupted: bool

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the values in order, with their standard errors, and return the axes."""
        ax = axes("DataValues.plot", ax)
        order = np.argsort(self.values, kind="stable")
        values, errors = self.values[order], self.standard_error[order]
        place = np.arange(len(order))
        ax.fill_between(place, values - errors, values + errors, color="0.85")
        ax.plot(place, values)
        ax.axhline(0.0, color="0.4", linestyle=":", linewidth=0.8)
        ax.set(xlabel="rows, by their value", ylabel="value", title=f"Data values ({self.method})")
        return ax

    def __repr__(self) -> str:
        low = np.argsort(self.values, kind="stable")[:5].tolist()
        n_low = np.count_nonzero(self.values < 0)
        return (
            f"DataValues of {len(self.values):,} rows by {self.n_models:,} models ({self.method})"
            + (", interrupted" if self.interrupted else "")
            + f"\n  utility {self.utility:.6g}, {n_low:,} rows below 0, "
            f"the lowest are {', '.join(map(str, low))}"
        )


@shielded
def data_values(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    l2: float,
    method: ValueMethod = "banzhaf",
    n_subsets: int | None = None,
    utility: str = "neg_log_loss",
    class_weight: ClassWeight = None,
    fit_intercept: bool = True,
    seed: int = 0,
    tol: float = 1e-8,
    max_iter: int = 100,
    progress: bool | str = False,
    n_threads: int | None = None,
) -> DataValues:
    """Say what each training row is worth to a model that is judged on other rows.

    Rows of wrong labels have low values. Values are fitted to the rows that judge them: what is
    decided by them, such as which rows to drop, is to be judged on a third set.

    Parameters
    ----------
    X, y : array_like of shape (n_samples, n_features) and (n_samples,)
        Rows to train on, of two classes.
    X_val, y_val : array_like of shape (n_validation, n_features) and (n_validation,)
        Rows that models are judged on, of the same classes.
    l2 : float
        Strength of the penalty beside the mean loss, of subsets too.
    method : {"banzhaf", "shapley", "loo"}, default "banzhaf"
        "banzhaf" takes each row into a subset with probability 1/2, and compares the subsets with
        a row and without (Wang and Jia 2023). "shapley" adds rows one by one in random orders
        (Ghorbani and Zou 2019): n_samples models an order. "loo" leaves each row out of all.
    n_subsets : int, optional
        Number of models, not of "loo"; by default ten for each row. Of "shapley", those of whole
        orders: one at least.
    utility : {"neg_log_loss", "accuracy"}, default "neg_log_loss"
        What a model is judged by. Subsets of one class are worth what theta = 0 is.
    class_weight : None, "balanced" or dict, optional
    fit_intercept : bool, default True
    seed : int, default 0
        Subset k is a pure function of (seed, k).
    tol, max_iter : float and int
        As of `fit_many`.
    progress : bool or "always", default False
    n_threads : int, optional

    Returns
    -------
    DataValues
        After Ctrl-C, by the subsets that were finished, with `interrupted`.

    References
    ----------
    J. T. Wang and R. Jia, "Data Banzhaf", AISTATS 2023. A. Ghorbani and J. Zou, "Data Shapley",
    ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> import metaopt_fast as mf
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(120, 3))
    >>> y = X[:, 0] > 0
    >>> y[:6] = ~y[:6]
    >>> values = mf.data_values(X[:60], y[:60], X[60:], y[60:], l2=0.1).values
    >>> bool(values[:6].mean() < values[6:].mean())
    True
    """
    check_options(None, progress, None)
    check_choice("method", method, METHODS)
    check_choice("utility", utility, UTILITIES)
    effort = Effort.of(tol, max_iter, n_threads)
    penalty = (check_number("l2", l2, 0.0), None, None)
    models = model_to_resample(X, y, penalty, class_weight, fit_intercept, effort)
    n = len(models.shared.packed.origin.labels)
    asked = 10 * n if n_subsets is None else check_integer("n_subsets", n_subsets, 2)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    worth = Utility.of(models, effort, X_val, y_val, Labels.of(y, n).classes, utility)
    everything = float(worth.of_subsets(np.ones((1, n), np.uint8))[0])
    rounds = {"banzhaf": asked, "shapley": max(1, asked // n), "loo": n}[method]
    sums = {"banzhaf": Banzhaf, "shapley": Shapley, "loo": LeaveOneOut}[method](n, seed, worth)
    done = 0
    with Progress(progress, rounds, 0, n) as line:
        try:
            for count in batches(rounds, sums.size(models.batch)):
                sums.add(done, count)
                done += count
                line.update(count, -everything)
        except KeyboardInterrupt:
            if not sums.says_something(done):
                raise
    certified = np.concatenate(worth.certified)
    warn_of_unproven(int(np.count_nonzero(~certified)), len(certified), "models")
    values, errors = sums.values(everything)
    return DataValues(values, errors, everything, worth.n_models, method, done < rounds)


def batches(total: int, size: int) -> Iterator[int]:
    """Yield the sizes of batches."""
    for first in range(0, total, size):
        yield min(size, total - first)


class Utility:
    """What subsets of the rows are worth, by the models that they make."""

    models: Differing
    effort: Effort
    rows: Float64Array
    name: str
    labels: BoolArray
    fit_intercept: bool

    def __init__(
        self, models: Differing, effort: Effort, rows: Float64Array, labels: BoolArray, name: str
    ) -> None:
        self.models, self.effort, self.rows, self.name = models, effort, rows, name
        self.labels, self.fit_intercept = labels, models.shared.fit_intercept
        self.objective: LogisticLoss = LogisticLoss(
            rows, labels, fit_intercept=self.fit_intercept, n_threads=effort.n_threads
        )
        self.certified: list[BoolArray] = []
        self.n_models: int = 0

    @classmethod
    def of(
        cls,
        models: Differing,
        effort: Effort,
        X_val: npt.ArrayLike,
        y_val: npt.ArrayLike,
        classes: list[Any],
        name: str,
    ) -> Utility:
        """Return the utility of rows to judge by, checked."""
        try:
            array = check_X(X_val)
            labels = Labels.of(y_val, len(array))
            objective = LogisticLoss(array, y_val, fit_intercept=models.shared.fit_intercept)
        except (ValueError, TypeError) as error:
            raise type(error)(f"X_val, y_val: {error}") from None
        n_features = models.shared.packed.n_features
        if array.shape[1] != n_features:
            raise ValueError(
                f"X_val has {array.shape[1]} columns, but X has {n_features}: pass the same ones."
            )
        if labels.classes != classes or not labels.is_common:
            raise ValueError(
                f"y_val holds {labels.classes}, but y holds {classes}: pass a label of these for "
                "each row, and rows of both."
            )
        found = cls(models, effort, to_float64(array), labels.codes(0, 1)[0] == 1, name)
        found.objective = objective
        return found

    def of_subsets(self, subsets: npt.NDArray[np.uint8]) -> Float64Array:
        """Return what some subsets are worth, given which rows each has."""
        codes = self.models.codes(0, 1)[0]
        positive = (subsets & codes).sum(axis=1, dtype=np.int64)
        both = (positive > 0) & (positive < subsets.sum(axis=1, dtype=np.int64))
        thetas = np.zeros((len(subsets), self.models.shared.n_params))
        at = np.flatnonzero(both)
        for first in range(0, len(at), self.models.batch):
            some = at[first : first + self.models.batch]
            models = self.models.with_weights(np.ascontiguousarray(subsets[some]))
            optima = models.fit(0, len(some), self.effort).optima
            thetas[some] = optima.thetas
            proven = are_proven(optima.gap_bounds, optima.losses, self.effort.tol)
            self.certified.append(proven)
        self.n_models += len(at)
        if self.name == "neg_log_loss":
            losses: Float64Array = self.objective.batch_loss(thetas)
            if not (losses < LARGEST_LOSS).all():
                raise ValueError(
                    "X_val has rows whose losses have squares beyond the range of floats: pass "
                    "features that are standardised."
                )
            return -losses
        n = self.rows.shape[1]
        intercepts = thetas[:, n:] if self.fit_intercept else 0.0
        right = (products(thetas[:, :n], self.rows) + intercepts > 0) == self.labels
        return np.asarray(right.mean(axis=1))


class LeaveOneOut:
    """Values by the models without each row."""

    n: int
    seed: int
    worth: Utility

    def __init__(self, n: int, seed: int, worth: Utility) -> None:
        self.n, self.seed, self.worth = n, seed, worth
        self.found: list[Float64Array] = []

    def size(self, batch: int) -> int:
        """Return how many rounds are made together, if so many models are."""
        return batch

    def says_something(self, done: int) -> bool:
        """Whether there are values of all rows after so many rounds."""
        return done >= self.n

    def add(self, first: int, count: int) -> None:
        """Make some rounds."""
        subsets = np.arange(self.n) != np.arange(first, first + count)[:, None]
        self.found.append(self.worth.of_subsets(subsets.view(np.uint8)))

    def values(self, everything: float) -> tuple[Float64Array, Float64Array]:
        """Return the values and their standard errors, given what all rows are worth."""
        return everything - np.concatenate(self.found), np.zeros(self.n)


class Banzhaf(LeaveOneOut):
    """Values by random subsets: those with a row, and those without."""

    def says_something(self, done: int) -> bool:
        return done >= 2

    def add(self, first: int, count: int) -> None:
        keys = Uniform(0.0, 1.0).sample(self.seed ^ OF_SUBSETS, first, count, self.n)
        subsets = (keys < 0.5).view(np.uint8)
        utilities = self.worth.of_subsets(subsets)
        for inside in (subsets == 1, subsets == 0):
            mine = np.where(inside, utilities[:, None], 0.0)
            counts = inside.sum(axis=0).astype(np.float64)
            self.found.append(np.stack([counts, mine.sum(axis=0), np.square(mine).sum(axis=0)]))

    def values(self, everything: float) -> tuple[Float64Array, Float64Array]:
        means, squares = [], np.zeros(self.n)
        for side in (self.found[::2], self.found[1::2]):
            count, first, second = np.sum(side, axis=0)
            count = np.maximum(count, 1)
            mean = first / count
            means.append(mean)
            squares += np.maximum(second / count - np.square(mean), 0) / count
        return means[0] - means[1], np.sqrt(squares)


class Shapley(LeaveOneOut):
    """Values by random orders: what each row adds to those before it."""

    def size(self, batch: int) -> int:
        return max(1, batch // self.n)

    def says_something(self, done: int) -> bool:
        return done >= 1

    def add(self, first: int, count: int) -> None:
        keys = Uniform(0.0, 1.0).sample(self.seed ^ OF_SUBSETS, first, count, self.n)
        nobody = self.worth.of_subsets(np.zeros((1, self.n), np.uint8))
        for row in keys:
            order = np.argsort(row, kind="stable")
            subsets = np.zeros((self.n, self.n), np.uint8)
            subsets[:, order] = np.tri(self.n, dtype=np.uint8)
            gains = np.diff(self.worth.of_subsets(subsets), prepend=nobody)
            of_rows = np.empty(self.n)
            of_rows[order] = gains
            self.found.append(of_rows)

    def values(self, everything: float) -> tuple[Float64Array, Float64Array]:
        gains = np.stack(self.found)
        errors = np.full(self.n, np.inf)
        if len(gains) > 1:
            errors = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
        return gains.mean(axis=0), errors
