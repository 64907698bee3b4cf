"""A method that a user's class overrides is what counts, whatever faster one its base has."""

import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.metrics import Cost
from metaopt_fast.validation import overrides

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
Y = (X[:, 0] + RNG.normal(size=120) > 0.5).astype(int)
SIGNED = np.where(Y == 1, 1.0, -1.0)[:, None] * X
SEED, N = 1, 3000
THETAS = mf.Normal().sample(SEED, 0, N, 4)

pytestmark = pytest.mark.usefixtures("shards_of_256")


def penalty(thetas):
    return 0.2 * np.abs(np.asarray(thetas)).sum(axis=1)


def true_losses(thetas):
    """The mean logistic loss and 0.2 of the sum of absolute values, by NumPy alone."""
    return np.logaddexp(0, -thetas @ SIGNED.T).mean(axis=1) + penalty(thetas)


class InClass(mf.LogisticLoss):
    def batch_loss(self, thetas):
        return super().batch_loss(thetas) + penalty(thetas)


class Mixin:
    def batch_loss(self, thetas):
        return super().batch_loss(thetas) + penalty(thetas)


class InMixin(Mixin, mf.LogisticLoss):
    pass


class ByName(mf.LogisticLoss):
    """Another loss, which is no method of the class."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name != "batch_loss":
            return found
        return lambda thetas: found(thetas) + penalty(thetas)


class Below(InClass):
    def describe(self):
        return "nothing more"


class Delegates:
    """Everything that a subclass does not have is another object's."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


class Behind(Delegates):
    """Everything but the losses is another objective's, its faster methods too."""

    def batch_loss(self, thetas):
        return self.inner.batch_loss(thetas) + penalty(thetas)


def in_instance(X, y):
    objective = mf.LogisticLoss(X, y)
    objective.batch_loss = lambda thetas: mf.LogisticLoss(X, y).batch_loss(thetas) + penalty(thetas)
    return objective


def bound_to_instance(X, y):
    def batch_loss(self, thetas):
        return type(self).batch_loss(self, thetas) + penalty(thetas)

    objective = mf.LogisticLoss(X, y)
    objective.batch_loss = types.MethodType(batch_loss, objective)
    return objective


class Own:
    """A user's own objective, whose `with_threads` makes one of this class, whatever it was."""

    n_params = 4

    def batch_loss(self, thetas):
        return np.logaddexp(0, -thetas @ SIGNED.T).mean(axis=1)

    def sampled_loss(self, sampler, seed, start, count):
        return self.batch_loss(sampler.sample(seed, start, count, self.n_params))

    def pruned_loss(self, candidates, seed, start, count, threshold):
        if not isinstance(candidates, np.ndarray):
            candidates = candidates.sample(seed, start, count, self.n_params)
        return self.batch_loss(candidates), 1.0

    def with_threads(self, n_threads):
        return Own()


class BelowOwn(Own):
    def batch_loss(self, thetas):
        return super().batch_loss(thetas) + penalty(thetas)


MAKERS = {
    "class": InClass,
    "mixin": InMixin,
    "class below it": Below,
    "looked up": ByName,
    "attribute": in_instance,
    "bound attribute": bound_to_instance,
    "wrapper": lambda X, y: Behind(mf.LogisticLoss(X, y)),
    "own": lambda X, y: BelowOwn(),
}


@pytest.fixture(params=MAKERS)
def objective(request):
    return MAKERS[request.param](X, Y)


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("options", [{}, {"prune": False}, {"n_threads": 2}])
def test_a_search_ranks_by_the_override(objective, options):
    losses = true_losses(THETAS)
    result = mf.random_search(objective, mf.Normal(), N, seed=SEED, top_k=3, **options)
    assert result.top["index"].tolist() == np.argsort(losses)[:3].tolist()
    np.testing.assert_allclose(result.top["loss"], np.sort(losses)[:3], rtol=1e-12)


def test_workers_rank_by_the_override(objective):
    with ThreadPoolExecutor(2) as pool:
        result = mf.random_search(objective, mf.Normal(), N, seed=SEED, executor=pool)
    assert result.index == true_losses(THETAS).argmin()


def test_a_box_is_ranked_by_the_override(objective):
    thetas = np.stack(np.meshgrid(*[np.arange(-2.0, 3)] * 4, indexing="ij"), -1).reshape(-1, 4)
    result = mf.enumerate_search(objective, -2, 2)
    assert result.theta.tolist() == thetas[true_losses(thetas).argmin()].tolist()


def test_an_evolution_ranks_by_the_override(objective):
    result = mf.evolve(objective, mf.Normal(), population=64, generations=5, n_threads=1)
    np.testing.assert_allclose(result.loss, true_losses(result.theta[None])[0], rtol=1e-12)


def test_validation_is_by_the_override(objective):
    found = mf.search_descents(
        mf.LogisticLoss(X, Y),
        {"learning_rate": mf.LogUniform(0.01, 10)},
        20,
        validation=objective,
        max_iter=10,
        search={"n_threads": 1},
    )
    np.testing.assert_allclose(found.loss, true_losses(found.theta[None])[0], rtol=1e-12)


def test_a_subclass_that_overrides_no_loss_keeps_the_kernels():
    class Described(mf.LogisticLoss):
        fingerprint = "described"

        def __repr__(self):
            return "Described()"

    for method in ("sampled_loss", "pruned_loss", "batch_loss_gradient", "lipschitz"):
        assert overrides.may_ask(Described(X, Y), method)
        assert overrides.may_ask(mf.LogisticLoss(X, Y), method)
    assert not overrides.may_ask(InClass(X, Y), "sampled_loss")


def test_an_override_of_the_loss_of_areas_counts():
    class Worst(mf.AUCObjective):
        def batch_loss(self, thetas):
            return 1 - super().batch_loss(thetas)

    lowest = mf.random_search(Worst(X, Y), mf.Normal(), 500, seed=SEED)
    losses = mf.AUCObjective(X, Y).batch_loss(THETAS[:500])
    assert lowest.index == losses.argmax() != losses.argmin()


@pytest.mark.parametrize("method", ["auc", "batch_auc"])
def test_an_override_of_areas_alone_is_refused(method):
    kind = type("Overrides", (mf.AUCObjective,), {method: lambda self, thetas: 0.5})
    with pytest.raises(TypeError, match=f"overrides {method}, but batch_loss is what is asked"):
        mf.random_search(kind(X, Y), mf.Normal(), 10)


def test_an_override_of_a_metric_counts_where_candidates_are_dropped():
    class ToThePowerOfMinusOne(Cost):
        def __call__(self, counts):
            return 1 / (1 + super().__call__(counts))

    class BehindACall(Delegates):
        def __call__(self, counts):
            return 1 / (1 + self.inner(counts))

    counts = mf.ConfusionCounts(X, Y)
    wrong = ((THETAS @ X.T > 0) != (Y == 1)).mean(axis=1)
    for metric in (ToThePowerOfMinusOne(), BehindACall(Cost())):
        result = mf.random_search(mf.CountObjective(counts, metric), mf.Normal(), N, seed=SEED)
        assert result.index == wrong.argmax()


def test_an_override_of_counts_counts_where_candidates_are_dropped():
    class Swapped(mf.ConfusionCounts):
        """Positive is negative: errors are right decisions."""

        def batch_counts(self, thetas):
            return super().batch_counts(thetas)[..., [1, 0, 3, 2]]

    objective = mf.CountObjective(Swapped(X, Y), "error")
    result = mf.random_search(objective, mf.Normal(), N, seed=SEED)
    assert result.index == ((THETAS @ X.T > 0) != (Y == 1)).mean(axis=1).argmax()


class Positive(mf.Normal):
    def sample(self, seed, start, count, n_params):
        return np.abs(super().sample(seed, start, count, n_params))


def test_an_override_of_sample_is_where_candidates_come_from():
    result = mf.random_search(mf.LogisticLoss(X, Y), Positive(), N, seed=SEED, top_k=2)
    losses = np.logaddexp(0, -np.abs(THETAS) @ SIGNED.T).mean(axis=1)
    assert result.top["index"].tolist() == np.argsort(losses)[:2].tolist()
    assert result.top_thetas.tolist() == np.abs(THETAS)[result.top["index"]].tolist()


def test_what_draws_in_kernels_refuses_an_override_of_sample():
    wanted = r"which overrides sample, but columns is what is asked: override columns as well\.$"
    with pytest.raises(TypeError, match=wanted):
        mf.Mixture({range(4): Positive()})
    with pytest.raises(TypeError, match=wanted):
        mf.LogisticLoss(X, Y).sampled_loss(Positive(), 0, 0, 10)
    with pytest.raises(TypeError, match=wanted):
        mf.LogisticLoss(X, Y).pruned_loss(Positive(), 0, 0, 10, 1.0)


def test_an_override_of_loss_alone_is_refused_by_what_asks_for_batch_loss():
    class Single(mf.LogisticLoss):
        def loss(self, theta):
            return super().loss(theta) + 1

    objective = Single(X, Y)
    wanted = r"overrides loss, but batch_loss is what is asked: override batch_loss as well\.$"
    with pytest.raises(TypeError, match=wanted):
        mf.random_search(objective, mf.Normal(), 10)
    with pytest.raises(TypeError, match=wanted):
        mf.enumerate_search(objective, 0, 1)
    with pytest.raises(TypeError, match=wanted):
        mf.evolve(objective, mf.Normal())
    rates = {"learning_rate": mf.Uniform(0.1, 1)}
    with pytest.raises(TypeError, match=wanted):
        mf.search_descents(mf.LogisticLoss(X, Y), rates, 2, validation=objective)


def ridge(theta):
    """Loss and gradient of the logistic loss and 5 |theta|^2, by NumPy alone."""
    z = -SIGNED @ theta
    gradient = -(1 / (1 + np.exp(-z))) @ SIGNED / len(z) + 10 * theta
    return np.logaddexp(0, z).mean() + 5 * theta @ theta, gradient


class Ridge(mf.LogisticLoss):
    def loss_gradient(self, theta):
        loss, gradient = super().loss_gradient(theta)
        return loss + 5 * theta @ theta, gradient + 10 * theta


class RidgeBehind(Behind):
    def loss_gradient(self, theta):
        loss, gradient = self.inner.loss_gradient(theta)
        return loss + 5 * theta @ theta, gradient + 10 * theta


@pytest.mark.parametrize("make", [Ridge, lambda X, y: RidgeBehind(mf.LogisticLoss(X, y))])
@pytest.mark.parametrize("options", [{}, {"method": "lbfgs"}, {"learning_rate": 0.05}])
def test_a_descent_follows_the_override_of_loss_gradient(make, options):
    from scipy.optimize import minimize

    best = minimize(ridge, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-9})
    for start in (None, np.ones((3, 4))):
        run = mf.gradient_descent(make(X, Y), start, tol=1e-8, **options)
        assert np.all(run.status == "converged")
        np.testing.assert_allclose(np.atleast_2d(run.theta)[0], best.x, atol=1e-8)


def test_a_bound_of_the_curvature_that_knows_nothing_of_an_override_is_not_asked():
    with pytest.raises(ValueError, match=r"pass a learning rate\.$"):
        mf.gradient_descent(Ridge(X, Y), method="nesterov")


@pytest.mark.long(everywhere=True)
def test_minibatches_follow_the_override():
    run = mf.gradient_descent(Ridge(X, Y), learning_rate=0.005, batch_size=40, max_iter=400)
    assert abs(run.loss - ridge(run.theta)[0]) < 1e-12
    assert np.abs(ridge(run.theta)[1]).max() < 0.02
    plain = mf.gradient_descent(mf.LogisticLoss(X, Y))
    assert np.abs(ridge(plain.theta)[1]).max() > 1


def test_minibatches_without_the_override_are_refused():
    behind = RidgeBehind(mf.LogisticLoss(X, Y))
    with pytest.raises(TypeError, match=r"override minibatches as well\.$"):
        mf.gradient_descent(behind, learning_rate=0.1, batch_size=40)


@pytest.mark.parametrize("method", ["loss", "batch_loss", "gradient"])
def test_a_descent_refuses_an_override_that_its_gradients_know_nothing_of(method):
    kind = type("Overrides", (mf.LogisticLoss,), {method: lambda self, theta: 0.0})
    wanted = rf"overrides {method}, but batch_loss_gradient is what is asked: .*\.$"
    with pytest.raises(TypeError, match=wanted):
        mf.gradient_descent(kind(X, Y))
    with pytest.raises(TypeError, match=wanted):
        mf.search_descents(
            kind(X, Y),
            {"learning_rate": mf.Uniform(0.1, 1)},
            2,
            validation=mf.LogisticLoss(X, Y),
        )
