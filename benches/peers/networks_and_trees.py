"""Jobs of models that are not linear: networks of one hidden layer, and a tree."""

from __future__ import annotations

import numpy as np

from benches.peers.job_data import Array, Data

N_HIDDEN, N_STEPS, RATE, SEED = 16, 50, 0.01, 1
# Epochs of a network that is searched for, and rows of its mini-batches.
N_EPOCHS, BATCH = 50, 192


def search_by_us(data: Data) -> Array:
    from metaopt_fast.sklearn import NetworkSearchCV

    search = NetworkSearchCV(
        data.n_searched,
        cv=data.splits,
        max_iter=N_EPOCHS,
        n_iter_no_change=N_EPOCHS,
        refit=False,
        random_state=SEED,
        n_threads=data.n_threads,
    )
    return np.array([-search.fit(data.X, data.y).cv_results_["mean_test_score"].max()])


def search_by_scikit_learn(data: Data) -> Array:
    from scipy.stats import loguniform
    from sklearn.model_selection import RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        (N_HIDDEN,),
        batch_size=BATCH,
        max_iter=N_EPOCHS,
        n_iter_no_change=N_EPOCHS,
        early_stopping=True,
        random_state=SEED,
    )
    search = RandomizedSearchCV(
        network,
        # Its penalty is divided by the rows of a mini-batch.
        {
            "learning_rate_init": loguniform(1e-3, 1e-1),
            "alpha": loguniform(1e-6 * BATCH, 1e-2 * BATCH),
        },
        n_iter=data.n_searched,
        cv=data.splits,
        scoring="neg_log_loss",
        refit=False,
        random_state=SEED,
        n_jobs=data.n_threads,
    )
    return np.array([-search.fit(data.X, data.y).cv_results_["mean_test_score"].max()])


def descents_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    network = mf.NetworkLoss(data.X, data.y, n_hidden=N_HIDDEN, n_threads=data.n_threads)
    return mf.gradient_descent(
        network,
        starts_of(data),
        method="adam",
        learning_rate=RATE,
        max_iter=N_STEPS,
        tol=0.0,
    ).loss


def starts_of(data: Data) -> Array:
    import metaopt_fast as mf

    network = mf.NetworkLoss(data.X, data.y, n_hidden=N_HIDDEN)
    return network.starts().sample(SEED, 0, data.n_networks, network.n_params)


def descents_by_torch(data: Data) -> Array:
    import torch

    torch.set_num_threads(data.n_threads)
    # All networks as one: each parameter has the network in front.
    thetas, size = torch.tensor(starts_of(data)), N_HIDDEN * (data.X.shape[1] + 1)
    units = thetas[:, :size].reshape(data.n_networks, N_HIDDEN, -1)
    parts = (units[:, :, :-1], units[:, None, :, -1], thetas[:, size:-1, None], thetas[:, -1:])
    parameters = [part.clone().requires_grad_() for part in parts]
    rows, signs = torch.tensor(data.X), torch.tensor(data.signs)

    def losses() -> torch.Tensor:
        weights, biases, outputs, bias = parameters
        activations = torch.tanh(torch.matmul(rows, weights.transpose(1, 2)) + biases)
        margins = torch.matmul(activations, outputs)[..., 0] + bias
        return torch.nn.functional.softplus(-signs * margins).mean(dim=1)

    steps = torch.optim.Adam(parameters, lr=RATE)
    for _ in range(N_STEPS):
        steps.zero_grad()
        losses().sum().backward()
        steps.step()
    with torch.inference_mode():
        return losses().numpy()


def tree_by_us(data: Data) -> Array:
    import metaopt_fast as mf

    return np.array([mf.best_tree(data.X, data.y, depth=3, n_threads=data.n_threads).n_errors])


def tree_by_streed(data: Data) -> Array:
    from pystreed import STreeDClassifier

    model = STreeDClassifier(max_depth=3, cost_complexity=0.0, time_limit=300)
    model.fit(data.questions, data.y)
    return np.array([np.count_nonzero(model.predict(data.questions) != data.y)])
