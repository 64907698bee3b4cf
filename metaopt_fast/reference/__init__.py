"""The mathematics of metaopt_fast in plain NumPy, which the tests hold all else against.

It imports NumPy alone, and nothing but the package's root imports it. Modules that are not named
here (``descent``, ``evolution``, ``fitting``, ``hinge``, ``lasso``, ``priors``, ``counts``,
``auc``, ``trees``) are imported by name.
"""

from metaopt_fast.reference.losses import (
    Descent,
    HingeLoss,
    Integers,
    LogisticLoss,
    Normal,
    PointwiseLoss,
    SearchResult,
    SmoothedZeroOneLoss,
    SquaredHingeLoss,
    SquaredLoss,
    Uniform,
    gradient_descent,
    philox4x32,
    random_search,
    sigmoid,
    softplus,
    uniforms,
)
from metaopt_fast.reference.network import NetworkLoss
from metaopt_fast.reference.softmax import SoftmaxLoss

__all__ = [
    "Descent",
    "HingeLoss",
    "Integers",
    "LogisticLoss",
    "NetworkLoss",
    "Normal",
    "PointwiseLoss",
    "SearchResult",
    "SmoothedZeroOneLoss",
    "SoftmaxLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "Uniform",
    "gradient_descent",
    "philox4x32",
    "random_search",
    "sigmoid",
    "softplus",
    "uniforms",
]
