"""What nothing tells apart but its name: objectives, metrics and samplers of a user's own."""

import functools

import numpy as np

import metaopt_fast as mf
from metaopt_fast.metrics import Cost

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).round(3)
Y = (X[:, 0] + RNG.normal(size=200) > 0.3).astype(int)
GROUPS = RNG.integers(0, 2, 200)
LOGISTIC = mf.LogisticLoss(X, Y)
COUNTS = mf.ConfusionCounts(X, Y, fit_intercept=True)
SEED, N = 1, 1200

REFUSED = r"which a checkpoint cannot tell from another one: pass fingerprint=, .*\.$"


SPACE = {"learning_rate": mf.LogUniform(0.01, 1), "l2": mf.Uniform(0, 1)}


def stop(result):
    return True


def cost(counts, fn):
    total = counts[:, :, 0].sum(axis=1)
    return total[:, 1] + fn * total[:, 2]


def closure(fn):
    def metric(counts):
        return cost(counts, fn)

    return metric


def decorated(fn):
    """A function around one that has a name, which functools.wraps copies."""

    @functools.wraps(of_two)
    def metric(counts):
        return cost(counts, fn)

    return metric


def of_two(counts):
    return cost(counts, 2)


of_two.fingerprint = "false negatives count twice"


class Metric:
    def __init__(self, fn):
        self.fn = fn

    def __call__(self, counts):
        return cost(counts, self.fn)

    def method(self, counts):
        return cost(counts, self.fn)

    method.fingerprint = "of all methods of this name"


class Named(Metric):
    fingerprint = "of the base"


class BelowNamed(Named):
    pass


class SlotMetric:
    __slots__ = ("fn",)

    def __init__(self, fn):
        self.fn = fn

    def __call__(self, counts):
        return cost(counts, self.fn)


class SubCost(Cost):
    def __call__(self, counts):
        return cost(counts, self.fn)


METRICS_OF_ONES_OWN = {
    "partial": lambda fn: functools.partial(cost, fn=fn),
    "closure": closure,
    "decorated": decorated,
    "lambda": lambda fn: lambda counts: cost(counts, fn),
    "callable object": Metric,
    "callable object in slots": SlotMetric,
    "bound method": lambda fn: Metric(fn).method,
    "subclass of a named one": BelowNamed,
    "subclass of a built-in one": lambda fn: SubCost(fn=fn),
}
PICKLED = [name for name in METRICS_OF_ONES_OWN if name not in ("closure", "decorated", "lambda")]
TAKE_ATTRIBUTES = [
    name
    for name in METRICS_OF_ONES_OWN
    if name not in ("bound method", "callable object in slots", "subclass of a built-in one")
]


class Own:
    """A logistic loss of a user's own; `scale` is nothing that a class or a name would tell."""

    n_params = 4

    def __init__(self, scale=1.0, n=200):
        self.scale, self.n_samples = scale, n
        self.signed = np.where(Y == 1, scale, -scale)[:n, None] * X[:n]

    def batch_loss(self, thetas):
        return np.logaddexp(0, -thetas @ self.signed.T).mean(axis=1)

    def loss_gradient(self, theta):
        z = -self.signed @ theta
        return np.logaddexp(0, z).mean(), -(1 / (1 + np.exp(-z))) @ self.signed / len(z)


class OwnNamed(Own):
    @property
    def fingerprint(self):
        return f"logistic {self.scale}"


class BelowOwnNamed(OwnNamed):
    def __init__(self, scale, power):
        super().__init__(scale)
        self.power = power

    def batch_loss(self, thetas):
        return super().batch_loss(thetas) ** self.power


class Scaled(mf.LogisticLoss):
    """A subclass with a parameter that the inherited fingerprint knows nothing of."""

    scale = 1.0

    def batch_loss(self, thetas):
        return self.scale * super().batch_loss(thetas)

    @classmethod
    def of(cls, scale):
        made = cls(X, Y)
        made.scale = scale
        return made


class ScaledCounts(mf.ConfusionCounts):
    def __init__(self, scale):
        super().__init__(X, Y)
        self.scale = scale

    def batch_counts(self, thetas):
        return super().batch_counts(self.scale + np.asarray(thetas))


def hidden(scale):
    objective = mf.LogisticLoss(X, Y)
    objective.batch_loss = lambda thetas: scale * LOGISTIC.batch_loss(thetas)
    return objective


def hidden_counts(scale):
    objective = mf.CountObjective(mf.ConfusionCounts(X, Y))
    objective.batch_loss = lambda thetas: scale * LOGISTIC.batch_loss(thetas)
    return objective


OBJECTIVES_OF_ONES_OWN = {
    "own": Own,
    "subclass": Scaled.of,
    "subclass of a named one": lambda scale: BelowOwnNamed(1.0, scale),
    "hidden method": hidden,
    "hidden method of counts": hidden_counts,
    "counts of a subclass": lambda scale: mf.CountObjective(ScaledCounts(scale), "error"),
    "metric": lambda scale: mf.CountObjective(mf.ConfusionCounts(X, Y), Metric(scale)),
    "reference": lambda scale: mf.reference.LogisticLoss(scale * X, Y),
}
