"""Networks of one hidden layer that decide together, as `NetworkLoss` has their parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metaopt_fast.arithmetic import expit, log, products, softmax, tanh
from metaopt_fast.floating_errors import shielded
from metaopt_fast.typing import Float64Array

# Activations that are held at once.
CHUNK = 2**18


class Networks(NamedTuple):
    """One network, or several, whose probabilities are averaged.

    Attributes
    ----------
    activation : {"tanh", "relu"}
    n_hidden : int
    n_outputs : int
        1 of two classes, or one for each class.
    theta : numpy.ndarray of shape (n_networks, n_params)
    """

    activation: str
    n_hidden: int
    n_outputs: int
    theta: Float64Array

    def layers(self, k: int) -> tuple[list[Float64Array], list[Float64Array]]:
        """Return the weights and biases of network k, as scikit-learn's coefs_ and intercepts_."""
        parts = [lines[k] for lines in self.lines()]
        coefs = [np.ascontiguousarray(part[:, :-1].T) for part in parts]
        return coefs, [part[:, -1].copy() for part in parts]

    def lines(self) -> tuple[Float64Array, Float64Array]:
        """Return each network's lines of units and of outputs: weights, and the bias as the last
        entry."""
        n_networks, of_outputs = len(self.theta), self.n_outputs * (self.n_hidden + 1)
        units = self.theta[:, :-of_outputs].reshape(n_networks, self.n_hidden, -1)
        outputs = self.theta[:, -of_outputs:].reshape(n_networks, self.n_outputs, -1)
        return units, outputs

    @shielded
    def decisions(self, X: Float64Array) -> Float64Array:
        """Return the log odds of the second class, shape (n,), or logarithms of probabilities of
        the classes, up to a constant of the row, shape (n, K)."""
        step = max(1, CHUNK // (len(self.theta) * self.n_hidden))
        parts = [self._decide(X[first : first + step]) for first in range(0, len(X), step)]
        return np.concatenate(parts)

    def _decide(self, X: Float64Array) -> Float64Array:
        lines, of_outputs = self.lines()
        units = lines.reshape(-1, lines.shape[2])
        sums_of_units = products(units[:, :-1], X) + units[:, -1:]
        is_relu = self.activation == "relu"
        activations = np.maximum(sums_of_units, 0) if is_relu else tanh(sums_of_units)
        activations = activations.reshape(len(lines), self.n_hidden, len(X))
        # Unit after unit: sums whose order hangs on nothing.
        outputs = np.repeat(of_outputs[:, :, -1:], len(X), axis=2)
        for unit in range(self.n_hidden):
            outputs += of_outputs[:, :, unit, None] * activations[:, None, unit]
        if self.n_outputs == 1:
            return _mean_log_odds(outputs[:, 0])
        return _mean_logarithms(outputs.transpose(0, 2, 1))


def _mean_log_odds(outputs: Float64Array) -> Float64Array:
    """Return the log odds of mean probabilities over the networks."""
    if len(outputs) == 1:
        return np.ascontiguousarray(outputs[0])
    positive, negative = expit(outputs).mean(axis=0), expit(-outputs).mean(axis=0)
    return np.asarray(log(positive) - log(negative))


def _mean_logarithms(outputs: Float64Array) -> Float64Array:
    if len(outputs) == 1:
        return np.ascontiguousarray(outputs[0])
    return log(np.asarray(softmax(np.ascontiguousarray(outputs)).mean(axis=0)))
