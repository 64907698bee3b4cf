"""What results of searches do with their best theta: they predict, and become models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import JSON, Float64Array, Label, LabelArray

if TYPE_CHECKING:
    from metaopt_fast.models.model import Model
    from metaopt_fast.models.network_model import NetworkModel
    from metaopt_fast.models.pipeline import Pipeline
    from metaopt_fast.models.scorecard import Scorecard


class Predicting(ABC):
    """A result of linear models or of networks, whose configuration says what rows they were of."""

    __slots__ = ()

    config: dict[str, JSON]

    @property
    def _known(self) -> dict[str, Any]:
        """The configuration, whose entries are what they are known to be."""
        return self.config

    @property
    @abstractmethod
    def _best_theta(self) -> Float64Array:
        """The theta that predicts."""

    def model(self) -> Model | NetworkModel:
        """Return the best theta as a `Model`, or a `NetworkModel`, which knows its classes and,
        where X was a frame, its columns by name: it predicts, is saved to a file and becomes
        scikit-learn's own.

        Raises
        ------
        ValueError
            If the objective was none of linear models or networks.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], ["yes", "yes", "no"])
        >>> result = mf.random_search(objective, mf.Normal(), 100, seed=0)
        >>> result.model().predict([[3.0], [-3.0]]).tolist()
        ['yes', 'no']
        """
        network = self._known.get("network")
        if network is None:
            return self._linear_model()
        from metaopt_fast.models.network_model import NetworkModel
        from metaopt_fast.models.networks import Networks
        from metaopt_fast.models.preparation import Preparation

        networks = Networks(**network, theta=self._best_theta[None])
        n_features = networks.lines()[0].shape[2] - 1
        preparation = Preparation.none(self._names(n_features))
        return NetworkModel.of(networks, preparation, self._classes)

    def _linear_model(self) -> Model:
        from metaopt_fast.models.fitted import LOGISTIC, SOFTMAX
        from metaopt_fast.models.model import Model
        from metaopt_fast.models.preparation import Preparation

        config, theta = self._known, self._best_theta
        if not self._is_linear:
            raise ValueError(
                f"the result is of an objective {config.get('objective')!r}, which does not say "
                "that theta is of a linear model: use result.theta."
            )
        if config["objective"] == "SoftmaxLoss":
            theta = theta.reshape(len(self._classes), -1)
        if not config["fit_intercept"]:
            theta = np.concatenate([theta, np.zeros((*theta.shape[:-1], 1))], axis=-1)
        preparation = Preparation.none(self._names(theta.shape[-1] - 1))
        link = {"LogisticLoss": LOGISTIC, "SoftmaxLoss": SOFTMAX}.get(config["objective"])
        return Model.linear(theta, preparation, self._classes, link=link)

    @property
    def _classes(self) -> list[Label]:
        return list(self._known.get("classes", [0, 1]))

    def _names(self, n_features: int) -> list[str]:
        return list(self._known.get("feature_names", [f"x{j}" for j in range(n_features)]))

    def predict(self, X: Any) -> LabelArray:
        """Return the class of each row by the best theta, shape (n_rows,).

        Columns of a frame are found by name where the objective had one.
        """
        return self.model().predict(X)

    def predict_proba(self, X: Any) -> Float64Array:
        """Return the probability of each class by the best theta, shape (n_rows, n_classes).

        Raises
        ------
        ValueError
            If the objective was another than the logistic loss, or that of softmax or of networks.
        """
        return self.model().predict_proba(X)

    def to_sklearn(self) -> Pipeline:
        """Return scikit-learn's own Pipeline of the best theta, fitted."""
        return self.model().to_sklearn()

    @property
    def _is_linear(self) -> bool:
        has_intercept, objective = (self.config.get(n) for n in ("fit_intercept", "objective"))
        return isinstance(has_intercept, bool) and objective != "NetworkLoss"

    def _coefficients(self) -> list[tuple[str, float]]:
        """Return the weights of two classes by name; none of other models."""
        if not self._is_linear or self.config["objective"] == "SoftmaxLoss":
            return []
        return [(one.name, one.weight) for one in self._linear_model().coefficients()[0]]


class OfCandidates(Predicting):
    """A result whose best theta may be of whole numbers."""

    __slots__ = ()

    def scorecard(
        self,
        names: Sequence[str] | None = None,
        *,
        X: npt.ArrayLike | None = None,
        y: npt.ArrayLike | None = None,
    ) -> Scorecard:
        """Return the best theta, of whole numbers, as a table of points; see `Scorecard`.

        Without names, they are those of X if it is a frame, else those of the frame that the
        objective was made of, if it was.
        """
        from metaopt_fast.models.scorecard import Scorecard, names_of

        if names is None and names_of(X) is None:
            names = self._known.get("feature_names")
        has_intercept = self._known["fit_intercept"] is True
        return Scorecard.from_theta(self._best_theta, names, fit_intercept=has_intercept, X=X, y=y)
