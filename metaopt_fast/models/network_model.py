"""A fitted network that knows its columns and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaopt_fast.floating_errors import shielded
from metaopt_fast.models.fitted import LOGISTIC, SOFTMAX, FittedModel
from metaopt_fast.models.networks import Networks
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.typing import JSON, Float64Array, Label
from metaopt_fast.validation.text import count

if TYPE_CHECKING:
    from metaopt_fast.models.pipeline import Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class NetworkModel(FittedModel):
    """A fitted network of one hidden layer, or several whose probabilities are averaged, with what
    was done to its columns: what `load_model` returns where a network was kept.

    Attributes
    ----------
    classes : tuple of str, int, float or bool
        The labels, sorted.
    positive : str, int, float or None
        The class that decisions above 0 are for; None of more than two classes, or of two that have
        an output each.
    preparation : Preparation
        What is done to the columns before the network.
    networks : Networks
        ``activation``, ``n_hidden``, ``n_outputs``, and ``theta`` of shape (n_networks, n_params)
        as `NetworkLoss` has it; ``layers(k)`` has the weights and biases of network k.
    provenance : dict
        Where it is from: plain numbers, strings, lists and dicts.
    """

    classes: tuple[Label, ...]
    positive: Label | None
    preparation: Preparation
    networks: Networks
    provenance: dict[str, JSON] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        networks: Networks,
        preparation: Preparation,
        classes: Sequence[Label],
        provenance: Mapping[str, JSON] | None = None,
    ) -> NetworkModel:
        """Return the model of networks: of one output, the positive class is the last one."""
        where, of_each = dict(provenance or {}), tuple(classes)
        if networks.n_outputs > 1:
            return cls(of_each, None, preparation, networks, where)
        return cls(tuple(sorted(of_each)), of_each[1], preparation, networks, where)

    @property
    def link(self) -> str:
        """How decisions become probabilities: "logistic" or "softmax"."""
        return SOFTMAX if self.positive is None else LOGISTIC

    @shielded
    def decisions_of(self, rows: RawRows) -> Float64Array:
        """Return the decision of each row for the positive class, or each class: (n_rows, K)."""
        X = self.preparation.apply(rows)
        return self.networks.decisions(X).reshape(len(rows.X), -1)

    def to_json(self) -> str:
        """Return the model as JSON, its numbers as hexadecimal floats: each bit is kept."""
        from metaopt_fast.models.model_file import network_to_json

        return network_to_json(self)

    def to_sklearn(self) -> Pipeline:
        """Return scikit-learn's own Pipeline, fitted: its probabilities are these but for rounding.

        The network becomes an MLPClassifier; columns of text need frames.

        Raises
        ------
        ValueError
            If there are several networks.
        """
        from metaopt_fast.models.pipeline import network_classifier, to_pipeline

        if len(self.networks.theta) > 1:
            raise ValueError(
                f"the model is the mean of {len(self.networks.theta)} networks, and scikit-learn's "
                "MLPClassifier is one: use this model itself, or keep one network."
            )
        return to_pipeline(self, network_classifier)

    def __repr__(self) -> str:
        networks = self.networks
        several = len(networks.theta) > 1
        what = f"mean of {len(networks.theta)} networks" if several else "network"
        positive = "" if self.positive is None else f", {self.positive!r} the positive one"
        return (
            f"NetworkModel: {what} of {count(networks.n_hidden, 'hidden unit')} "
            f"({networks.activation}), {len(self.features):,} features, classes "
            f"{list(self.classes)}{positive}"
        )
