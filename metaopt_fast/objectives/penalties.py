"""Penalties: what is added to a mean loss for the size of its parameters.

Objectives, descents and fits ask the same classes. Evaluated in bulk, squares are added by the
kernels (`penalty` in src/results.pxi), which are handed `Penalty.curvatures`; what a penalty is
beyond its squares, its own class has to add.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np

import metaopt_fast._kernels as _kernels
from metaopt_fast.typing import BoolArray, Float64Array, IndexArray


@dataclass(frozen=True, slots=True, eq=False)
class Penalty(ABC):
    """A convex function of the first parameters of K models, which leaves intercepts alone.

    Attributes
    ----------
    strengths : numpy.ndarray of shape (K,), or (1,) for a single one of all models
        Factors of the penalty.
    n_penalised : int
        Number of parameters of each class that are penalised: the first ones. The others are free.
    n_classes : int, default 1
        Number of classes whose parameters a model has, one class after the other.
    """

    strengths: Float64Array
    n_penalised: int
    n_classes: int = 1

    def of(self, rows: IndexArray | BoolArray) -> Self:
        """Return the penalty of some models."""
        return type(self)(self.strengths[rows], self.n_penalised, self.n_classes)

    def penalised(self, thetas: Float64Array) -> Float64Array:
        """Return thetas with 0 for what is free."""
        if self.n_classes * self.n_penalised == thetas.shape[1]:
            return thetas
        found = np.array(thetas, order="C")
        self._of_classes(found)[..., self.n_penalised :] = 0
        return found

    def _of_classes(self, thetas: Float64Array) -> Float64Array:
        """Return thetas in C order as (K, n_classes, parameters of a class), not copied."""
        return thetas.reshape(len(thetas), self.n_classes, -1)

    @property
    @abstractmethod
    def text(self) -> str:
        """What fingerprints say of it."""

    @property
    @abstractmethod
    def curvatures(self) -> Float64Array:
        """Second derivatives along each penalised parameter, shaped as `strengths`: what is added
        to Lipschitz constants, to the diagonals of Hessians and to the strength of convexity."""

    @abstractmethod
    def value_gradient(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the values, shape (K,), and the gradients, shape (K, n_params)."""

    def kept(self, n_params: int) -> Float64Array:
        """Return 1 for each parameter that is penalised, 0 for the others."""
        found: Float64Array = self.penalised(np.ones((1, n_params)))[0]
        return found

    def add_to(
        self,
        losses: Float64Array,
        gradients: Float64Array,
        thetas: Float64Array,
        kept: Float64Array,
    ) -> None:
        """Add values and gradients to those of a loss, arrays in C order."""
        values, slopes = self.value_gradient(thetas)
        losses += values
        gradients += slopes

    @abstractmethod
    def change(self, to: Self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return how much values and gradients are larger with the strengths of another one."""

    @abstractmethod
    def proximal(self, thetas: Float64Array, steps: Float64Array) -> Float64Array:
        """Return the minima over u of the penalty and |u - theta|^2 / (2 step).

        `steps` has shape (K,) or (1,).
        """


@dataclass(frozen=True, slots=True, eq=False)
class L2(Penalty):
    """strength / 2 * sum_j theta_j^2."""

    @property
    def text(self) -> str:
        return ", ".join(map(repr, self.strengths.tolist()))

    @property
    def curvatures(self) -> Float64Array:
        return self.strengths

    def value_gradient(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        thetas = self.penalised(thetas)
        gradients = self.strengths[:, None] * thetas
        # Pairwise, whatever the number of models. Half of a product may be in the range alone.
        values: Float64Array = np.add.reduce(gradients * (thetas / 2), axis=1)
        return values, gradients

    def add_to(
        self,
        losses: Float64Array,
        gradients: Float64Array,
        thetas: Float64Array,
        kept: Float64Array,
    ) -> None:
        # In one pass of compiled code, with the same bits: NumPy takes eight, which is half of the
        # time that a mini-batch of small networks takes.
        strengths, products = self.strengths, np.empty(thetas.shape)
        if len(strengths) < len(thetas):
            strengths = np.full(len(thetas), strengths[0])
        thetas = np.ascontiguousarray(thetas)
        _kernels.add_squares(thetas, kept, strengths, gradients, products)
        losses += np.add.reduce(products, axis=1)

    def change(self, to: Self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        more, thetas = to.strengths - self.strengths, self.penalised(thetas)
        return more / 2 * np.square(thetas).sum(axis=1), more[:, None] * thetas

    def proximal(self, thetas: Float64Array, steps: Float64Array) -> Float64Array:
        found = np.array(thetas, order="C")
        shrinking = (1 + steps * self.strengths)[:, None, None]
        self._of_classes(found)[..., : self.n_penalised] /= shrinking
        return found


@dataclass(frozen=True, slots=True, eq=False)
class WeightsL2(L2):
    """The same of networks of one hidden layer, whose biases are free.

    A model has n_classes hidden units of n_penalised weights and a bias each, then outputs of a
    weight for each unit and a bias each.
    """

    def penalised(self, thetas: Float64Array) -> Float64Array:
        found = np.array(thetas, order="C")
        for biases in self._biases(found):
            biases[:] = 0
        return found

    def _biases(self, thetas: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the biases of the units and of the outputs, not copied."""
        size, n_hidden = self.n_penalised + 1, self.n_classes
        of_outputs = thetas[:, n_hidden * size :]
        return thetas[:, self.n_penalised : n_hidden * size : size], of_outputs[
            :, n_hidden :: n_hidden + 1
        ]

    def proximal(self, thetas: Float64Array, steps: Float64Array) -> Float64Array:
        found = np.array(thetas, order="C")
        found /= (1 + steps * self.strengths)[:, None]
        for own, free in zip(self._biases(found), self._biases(thetas), strict=True):
            own[:] = free
        return found
