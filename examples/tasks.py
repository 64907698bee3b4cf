"""
Models of ten rows, with a prior that other tasks have taught
=============================================================

Tasks of ten rows each: models alone, with a learned prior, by MAML and by Reptile.

There are two families of tasks. Branches of a shop have a common answer, each with a little of its
own. Pairs of digits, one against the other, share no answer: only what digits look like. Half of
the tasks are learned from, and the others judge: a model of ten of their rows, on rows that it has
not seen. MAML is built of ``batch_loss_gradient`` and L-BFGS, Reptile of ``gradient_descent``.

Run it: ``python examples/tasks.py [N_SEEDS]`` (it needs scikit-learn, for its digits)
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import metaopt_fast as mf

RATES = 2.0 ** np.arange(-4, 4)


def branches(n_tasks, n_rows, rng):
    """Return tasks, pairs (X, y), whose models are near a common one."""
    common = rng.normal(size=12)
    tasks = []
    for _ in range(n_tasks):
        X = rng.normal(size=(n_rows, 12))
        theta = common + 0.3 * rng.normal(size=12)
        tasks.append((X, X @ theta - 1 + rng.logistic(size=n_rows) > 0))
    return tasks


def pairs_of_digits(rng):
    """Return the tasks of telling one digit from another one, in random order."""
    X, y = load_digits(return_X_y=True)
    X = mf.standardize(X[:, X.std(axis=0) > 0])[0] / 3
    pairs = [(a, b) for a in range(10) for b in range(a)]
    return [
        (X[(y == a) | (y == b)], y[(y == a) | (y == b)] == a) for a, b in rng.permutation(pairs)
    ]


class Episode:
    """Rows of a task to fit a model to, and others to judge it by."""

    def __init__(self, X, y, n_support, rng):
        order = rng.permutation(len(y))
        while y[order[:n_support]].all() or not y[order[:n_support]].any():
            order = rng.permutation(len(y))
        few, rest = order[:n_support], order[n_support : n_support + 200]
        self.rows = X[few], y[few]
        self.support = mf.LogisticLoss(X[few], y[few], fit_intercept=True, n_threads=1)
        self.query = mf.LogisticLoss(X[rest], y[rest], fit_intercept=True, n_threads=1)


def episodes(tasks, n_support, n_each, rng):
    return [Episode(X, y, n_support, rng) for X, y in tasks for _ in range(n_each)]


def slope_along(loss, theta, direction):
    """Return the Hessian of a loss at theta times a direction, by the difference of gradients."""
    step = 1e-4 / max(1e-12, np.abs(direction).max())
    _, ends = loss.batch_loss_gradient(
        np.stack([theta - step * direction, theta + step * direction])
    )
    return (ends[1] - ends[0]) / (2 * step)


class MAML:
    """The mean loss after some steps from theta, as an objective: its gradient goes back through
    the steps."""

    def __init__(self, episodes, rate, n_steps):
        self.episodes, self.rate, self.n_steps = episodes, rate, n_steps
        self.n_params = episodes[0].support.n_params

    def loss_gradient(self, theta):
        loss, gradient = 0.0, np.zeros(self.n_params)
        for episode in self.episodes:
            path = [theta]
            for _ in range(self.n_steps):
                path.append(path[-1] - self.rate * episode.support.loss_gradient(path[-1])[1])
            value, back = episode.query.loss_gradient(path[-1])
            for at in reversed(path[:-1]):
                back = back - self.rate * slope_along(episode.support, at, back)
            loss, gradient = loss + value, gradient + back
        return loss / len(self.episodes), gradient / len(self.episodes)

    def batch_loss(self, thetas):
        return np.array([self.loss_gradient(theta)[0] for theta in thetas])


def after_steps(episode, theta, rate, n_steps):
    """Return where some steps of gradient descent lead."""
    run = mf.gradient_descent(episode.support, theta, learning_rate=rate, max_iter=n_steps, tol=0.0)
    return run.theta


def reptile(episodes, theta, rate, n_steps, rng, n_rounds=100):
    """Return the start that follows where steps lead, 16 episodes at a time."""
    for _ in range(n_rounds):
        some = rng.choice(len(episodes), 16)
        ends = [after_steps(episodes[e], theta, rate, n_steps) for e in some]
        theta = theta + 0.1 * (np.mean(ends, axis=0) - theta)
    return theta


def alone(episode, prior):
    return prior.fit(*episode.rows).theta[0]


def mean_loss(episodes, theta_of, *rest):
    losses = [episode.query.loss(theta_of(episode, *rest)) for episode in episodes]
    return float(np.mean(losses))


def best_rate(episodes, theta, n_steps):
    losses = [mean_loss(episodes, after_steps, theta, rate, n_steps) for rate in RATES]
    return float(RATES[int(np.argmin(losses))])


def compare(tasks, n_support, n_each, n_iter, rng):
    """Return the mean loss of each method on the second half of the tasks."""
    half = len(tasks) // 2
    known, fresh = (episodes(some, n_support, n_each, rng) for some in (tasks[:half], tasks[half:]))
    X, y = (np.concatenate(part) for part in zip(*tasks[:half], strict=True))
    numbers = np.repeat(np.arange(half), [len(y) for _, y in tasks[:half]])
    found = {}
    for name, level in (("models alone", "plain"), ("learn_prior", "auto")):
        prior = mf.learn_prior(X, y, numbers, n_support=n_support, level=level)
        found[name] = mean_loss(fresh, alone, prior)
    pooled = mf.fit_many(X, y, l2=1e-3).theta[0]
    found["the model of all rows"] = float(np.mean([e.query.loss(pooled) for e in fresh]))
    for n_steps in (1, 10):
        rate = best_rate(known[::4], pooled, n_steps)
        meta = MAML(known, rate, n_steps)
        start = mf.gradient_descent(meta, pooled, method="lbfgs", max_iter=n_iter).theta
        name = f"MAML, {n_steps} step" + "s" * (n_steps > 1)
        found[name] = mean_loss(fresh, after_steps, start, rate, n_steps)
    rate = best_rate(known[::4], pooled, 5)
    start = reptile(known, pooled, rate, 5, rng)
    found["Reptile, 5 steps"] = mean_loss(fresh, after_steps, start, rate, 5)
    return found


def main(families=("branches", "pairs of digits"), n_seeds=3, n_tasks=40, n_each=4, n_iter=15):
    """Print the losses, means over seeds; return them."""
    losses = {}
    for family in families:
        for seed in range(n_seeds):
            rng = np.random.default_rng(seed)
            tasks = branches(n_tasks, 100, rng) if family == "branches" else pairs_of_digits(rng)
            for name, loss in compare(tasks, 10, n_each, n_iter, rng).items():
                losses.setdefault(name, {}).setdefault(family, []).append(loss)
    print(f"{'':24}" + "".join(f"{family:>18}" for family in families))
    for name, of in losses.items():
        print(f"{name:24}" + "".join(f"{np.mean(of[family]):18.3f}" for family in families))
    return losses


def draw(losses):
    """Draw the loss of each method on both families, beside that of models alone."""
    _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    names = [name for name in losses if name != "models alone"]
    families = list(losses["models alone"])
    for k, (family, colour) in enumerate(zip(families, ("#0072B2", "#D55E00"), strict=False)):
        alone = np.mean(losses["models alone"][family])
        ratios = [np.mean(losses[name][family]) / alone for name in names]
        ax.barh(np.arange(len(names)) + 0.4 * k, ratios, 0.4, color=colour, label=family)
    ax.axvline(1, color="0.4", linestyle=":")
    ax.set_yticks(np.arange(len(names)) + 0.2, names)
    ax.set(xlabel="loss on tasks not learned from, models alone = 1")
    ax.legend()


if __name__ == "__main__":
    draw(main(n_seeds=int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    plt.show()
