"""Small networks in scikit-learn's protocol; `metaopt_fast.sklearn` has the public names."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.selection.networks import (
    BATCH_SIZE,
    Candidate,
    Effort,
    Ensemble,
    Rows,
    train_networks,
)
from metaopt_fast.sklearn.classifier import (
    CheckedClassifier,
    log_probabilities,
    probabilities,
    to_double,
)
from metaopt_fast.typing import Float64Array, IndexArray, LabelArray
from metaopt_fast.validation.values import (
    check_dtype,
    check_flag,
    check_integer,
    check_n_threads,
    check_number,
    describe,
)

MAX_STARTS = 2**16
MAX_FIRST_START = 2**62
ACTIVATIONS = ("relu", "tanh")


class NetworkClassifier(CheckedClassifier):
    """Network of one hidden layer, the best of many that are trained at once.

    Minimises the mean log loss + l2/2 times the sum of squares of all weights; biases are free. The
    networks follow Adam by mini-batches from starts of their own, each until a part of the training
    rows that is held out says so; the best by these rows predict. Standardise the columns, as for
    any network.

    The result is a function of the rows, their weights and `random_state` alone: their order does
    not matter, and a row of weight 2 is the row twice.

    Parameters
    ----------
    n_hidden : int, default 16
        Units of the hidden layer, from 1 to 1024.
    activation : {"relu", "tanh"}, default "relu"
        Activation of the hidden units.
    n_starts : int, default 24
        Number of networks to train; 24 take little longer than one.
    ensemble_size : int, default 1
        Number of the best of them, whose probabilities are averaged.
    first_start : int, default 0
        Number of the first start: start i is a function of the seed and i, and the networks have
        those from this one on.
    l2 : float, default 1e-5
        Strength of the penalty. MLPClassifier divides its `alpha` by the rows of a mini-batch: its
        penalty is that of l2 = alpha / batch_size, by default 5e-7.
    learning_rate_init : float, default 0.01
        Learning rate of Adam.
    batch_size : int or "auto", default "auto"
        Rows of a mini-batch; "auto" is 192, or all rows if there are fewer.
    max_iter : int, default 200
        Epochs at most.
    early_stopping : bool, default True
        Whether a part of the rows is held out. Without, the training loss says when to stop, and
        which networks are best; so it does where a class has a single row.
    validation_fraction : float, default 0.1
        Part of the rows of each class that is held out, between 0 and 1, and at least one row.
    n_iter_no_change : int, default 10
        Epochs without a fall of the loss by more than `tol`, after which a network stops.
    tol : float, default 1e-4
        Fall of the loss that counts.
    random_state : int, RandomState or None, default None
        Source of the seed of starts, of mini-batches and of the rows that are held out.
    dtype : {"float32", "float64"}, default "float32"
        Precision in which networks are trained; they predict in double precision.
    n_threads : int, optional
        Number of threads, from 1 to 1024; by default OMP_NUM_THREADS, the affinity mask and the
        cgroup quota decide.

    Attributes
    ----------
    classes_ : numpy.ndarray of shape (n_classes,)
        Labels of the classes; of two, the second one is the positive class.
    coefs_, intercepts_ : list of two numpy.ndarray
        Weights and biases of the best network, hidden layer and output, as MLPClassifier has them.
    thetas_ : numpy.ndarray of shape (ensemble_size, n_params)
        Parameters of the networks that predict, as of `NetworkLoss`, the best first.
    losses_ : numpy.ndarray of shape (ensemble_size,)
        Their mean log losses on the rows held out, or of training with its penalty.
    loss_ : float
        That of the best.
    n_iter_ : int
        Epochs of the best network, those after its best included.
    best_iter_ : int
        Epochs after which it was best.
    n_outputs_, n_layers_, out_activation_, n_features_in_, feature_names_in_
        Attributes of the same meaning as MLPClassifier's.

    Examples
    --------
    >>> import numpy as np
    >>> from metaopt_fast.sklearn import NetworkClassifier
    >>> X = np.random.default_rng(0).normal(size=(400, 2))
    >>> inside = (X**2).sum(axis=1) < 1.4
    >>> model = NetworkClassifier(random_state=0).fit(X[:300], inside[:300])
    >>> bool(model.score(X[300:], inside[300:]) > 0.9)
    True
    """

    takes_sparse = False

    max_iter: int
    random_state: Any
    thetas_: Float64Array
    losses_: Float64Array
    loss_: float
    coefs_: list[Float64Array]
    intercepts_: list[Float64Array]
    n_iter_: int
    best_iter_: int
    n_layers_: int
    n_outputs_: int

    def __init__(
        self,
        n_hidden: int = 16,
        activation: str = "relu",
        *,
        n_starts: int = 24,
        ensemble_size: int = 1,
        first_start: int = 0,
        l2: float = 1e-5,
        learning_rate_init: float = 0.01,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        random_state: Any = None,
        dtype: str = "float32",
        n_threads: int | None = None,
    ) -> None:
        self._set_parameters(locals())

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> Self:
        """Train on X of shape (n_samples, n_features) and labels y of shape (n_samples,).

        Warns with a ConvergenceWarning where the last epoch was the best one.
        """
        effort = effort_of(self, seed_of(self.random_state))
        candidate = candidate_of(vars(self))
        given, codes, weights = self._training_data(X, y, sample_weight)
        rows = rows_of(given, codes, len(self.classes_), weights)
        self._train(rows, candidate, effort)
        return self

    def _train(self, rows: Rows, candidate: Candidate, effort: Effort) -> None:
        """Train on rows that were checked; warn the caller of the caller."""
        self._keep(train_networks(rows, [candidate], effort)[0])
        if self.best_iter_ == self.max_iter:
            warnings.warn(
                f"the network was still improving after max_iter={self.max_iter} epochs: pass a "
                "larger max_iter, or a larger learning_rate_init.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _keep(self, ensemble: Ensemble) -> None:
        """Set what is known after a fit."""
        self._ensemble = ensemble
        self.thetas_, self.losses_ = ensemble.theta, ensemble.loss
        self.loss_ = float(ensemble.loss[0])
        self.coefs_, self.intercepts_ = ensemble.layers(0)
        self.n_iter_, self.best_iter_ = int(ensemble.n_iter[0]), int(ensemble.best_iter[0])
        self.n_layers_, self.n_outputs_ = 3, ensemble.n_outputs
        self.out_activation_ = "logistic" if ensemble.n_outputs == 1 else "softmax"

    def model(self) -> NetworkModel:
        """Return the networks that predict as a `metaopt_fast.NetworkModel`, of columns as fit has
        had them: it is saved to a file, which `metaopt_fast.load_model` reads."""
        preparation = self._as_they_are()
        return NetworkModel.of(self._ensemble.networks, preparation, self.classes_.tolist())

    def decision_function(self, X: npt.ArrayLike) -> Float64Array:
        """Return the log odds of the second class, shape (n_samples,).

        Of more than two classes, logarithms of their probabilities, up to a constant of the row,
        shape (n_samples, n_classes).
        """
        check_is_fitted(self)
        return self._ensemble.decisions(np.asarray(self._features(X), np.float64))

    def predict(self, X: npt.ArrayLike) -> LabelArray:
        """Return the label of each row."""
        decisions = self.decision_function(X)
        codes = decisions > 0 if decisions.ndim == 1 else decisions.argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[codes.astype(np.intp)]
        return labels

    @shielded
    def predict_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the probability of each class, shape (n_samples, n_classes); the small ones are
        exact."""
        return probabilities(self.decision_function(X))

    @shielded
    def predict_log_proba(self, X: npt.ArrayLike) -> Float64Array:
        """Return the logarithm of the probability of each class."""
        return log_probabilities(self.decision_function(X))


def seed_of(random_state: Any) -> int:
    """Return a seed from scikit-learn's source of random numbers: an integer is one."""
    source = check_random_state(random_state)
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(source.randint(2**31 - 1))


def rows_of(X: Any, codes: IndexArray, n_classes: int, weights: Float64Array | None) -> Rows:
    """Return rows as networks are trained on them."""
    double = np.asarray(to_double(X)[0])
    return Rows(double, codes, n_classes, np.ones(len(double)) if weights is None else weights)


def effort_of(settings: Any, seed: int) -> Effort:
    """Return how an estimator trains its networks."""
    n_starts = check_integer("n_starts", settings.n_starts, 1, MAX_STARTS)
    fraction = check_number("validation_fraction", settings.validation_fraction, 0, strictly=True)
    if fraction >= 1:
        raise ValueError(
            f"validation_fraction is {fraction:g}: pass a number between 0 and 1, such as 0.1."
        )
    stops = check_flag("early_stopping", settings.early_stopping)
    batch_size = settings.batch_size
    if isinstance(batch_size, str) and batch_size == "auto":
        batch_size = BATCH_SIZE
    return Effort(
        n_starts=n_starts,
        n_kept=check_integer("ensemble_size", settings.ensemble_size, 1, n_starts),
        batch_size=check_integer("batch_size", batch_size, 1),
        max_iter=check_integer("max_iter", settings.max_iter, 1),
        patience=check_integer("n_iter_no_change", settings.n_iter_no_change, 1),
        min_delta=check_number("tol", settings.tol, 0),
        held_out=fraction if stops else 0.0,
        seed=seed,
        dtype=check_dtype(settings.dtype),
        n_threads=check_n_threads(settings.n_threads),
    )


def candidate_of(given: Mapping[str, Any]) -> Candidate:
    """Return what is special to a network, checked, by the names of an estimator's parameters."""
    activation = given["activation"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"activation is {describe(activation)}: pass one of "
            f"{', '.join(map(repr, ACTIVATIONS))}."
        )
    return Candidate(
        check_integer("n_hidden", given["n_hidden"], 1, 1024),
        activation,
        check_number("learning_rate_init", given["learning_rate_init"], 0, strictly=True),
        check_number("l2", given["l2"], 0),
        check_integer("first_start", given["first_start"], 0, MAX_FIRST_START),
    )
