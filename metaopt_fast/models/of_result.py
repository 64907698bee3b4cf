"""What results of searches do with their best theta: they predict, and become models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from metaopt_fast.typing import Float64Array

if TYPE_CHECKING:
    from metaopt_fast.models.model import Model


class Predicting:
    """A result of linear models, whose configuration says what rows they were."""

    __slots__ = ()

    config: dict[str, Any]

    @property
    def theta(self) -> Float64Array:
        """The best theta."""
        raise NotImplementedError

    def model(self) -> Model:
        """Return the best theta as a `Model`, which knows its classes and, where X was a frame, its
        columns by name: it predicts, is saved to a file and becomes scikit-learn's own.

        Raises
        ------
        ValueError
            If the objective was none of linear models.

        Examples
        --------
        >>> import metaopt_fast as mf
        >>> objective = mf.LogisticLoss([[1.0], [2.0], [-1.0]], ["yes", "yes", "no"])
        >>> result = mf.random_search(objective, mf.Normal(), 100, seed=0)
        >>> result.model().predict([[3.0], [-3.0]]).tolist()
        ['yes', 'no']
        """
        from metaopt_fast.models.model import LOGISTIC, SOFTMAX, Model
        from metaopt_fast.models.preparation import Preparation

        config, theta = self.config, self.theta
        has_intercept = config.get("fit_intercept")
        if not self._is_linear:
            raise ValueError(
                f"the result is of an objective {config.get('objective')!r}, which does not say "
                "that theta is of a linear model: use result.theta."
            )
        classes = config.get("classes", [0, 1])
        if config["objective"] == "SoftmaxLoss":
            theta = theta.reshape(len(classes), -1)
        if not has_intercept:
            theta = np.concatenate([theta, np.zeros((*theta.shape[:-1], 1))], axis=-1)
        n_features = theta.shape[-1] - 1
        names = config.get("feature_names", [f"x{j}" for j in range(n_features)])
        link = {"LogisticLoss": LOGISTIC, "SoftmaxLoss": SOFTMAX}.get(config["objective"])
        return Model.linear(theta, Preparation.none(tuple(names)), classes, link=link)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the class of each row by the best theta, shape (n_rows,).

        Columns of a frame are found by name where the objective had one.
        """
        return self.model().predict(X)

    def predict_proba(self, X: Any) -> Float64Array:
        """Return the probability of each class by the best theta, shape (n_rows, n_classes).

        Raises
        ------
        ValueError
            If the objective was another than the logistic loss, or that of softmax.
        """
        return self.model().predict_proba(X)

    def to_sklearn(self) -> Any:
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
        return [(one.name, one.weight) for one in self.model().coefficients()[0]]
