"""Losses and gradients of very many small networks: CPU time of JAX and of torch over ours.

``python benches/networks.py [WORD ...]`` prints a line for each problem whose name holds one of the
words: nanoseconds for a row and a network, of the loss and of loss and gradient; the part of the
machine's FMAs that the latter is, as benches/README.md counts them; and, where they are installed,
the times of the same gradients by JAX (jit of vmap, and of lax.map) and by torch (vmap of
torch.func, and networks batched by hand), how often ours goes into the best of them, and by how
much gradients differ at most, beside the largest one. On one thread, in one process, each the least
of several rounds that alternate.
"""

import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np

import metaopt_fast as mf
from metaopt_fast import _kernels

ROUNDS, PROBE = 5, 2_000_000
N, P, K = 2000, 30, 96
# Operations of an activation and its derivative, and of a row's loss.
OF_UNIT, OF_LOSS = {"tanh": 45, "relu": 5}, 60


def peak(dtype):
    """The machine's FMAs, in operations for a second of a processor."""
    begin = time.process_time()
    operations = _kernels.fma_run(dtype == "float32", PROBE, 1)
    return operations / (time.process_time() - begin)


def by_jax(network, thetas, X, y, dtype):
    """Functions that return losses and gradients, by name."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    rows, signs = jnp.asarray(X, dtype), jnp.asarray(np.where(y, 1, -1), dtype)
    size, f = network.n_hidden * (P + 1), jnp.tanh
    if network.activation == "relu":
        f = jax.nn.relu

    def loss(theta):
        units, output = theta[:size].reshape(network.n_hidden, -1), theta[size:]
        a = f(rows @ units[:, :-1].T + units[:, -1])
        return jax.nn.softplus(-signs * (a @ output[:-1] + output[-1])).mean()

    one, many = jax.value_and_grad(loss), jnp.asarray(thetas, dtype)
    forms = {"vmap": jax.vmap(one), "lax.map": lambda some: jax.lax.map(one, some)}
    compiled = {name: jax.jit(form) for name, form in forms.items()}
    return {
        f"JAX {name}": lambda form=form: jax.block_until_ready(form(many))
        for name, form in compiled.items()
    }


def by_torch(network, thetas, X, y, dtype):
    import torch
    from torch.nn.functional import softplus

    torch.set_num_threads(1)
    kind = getattr(torch, dtype)
    rows, signs = torch.tensor(X, dtype=kind), torch.tensor(np.where(y, 1, -1), dtype=kind)
    size, h, f = network.n_hidden * (P + 1), network.n_hidden, getattr(torch, network.activation)
    many = torch.tensor(thetas, dtype=kind)

    def loss(theta):
        units, output = theta[:size].reshape(h, -1), theta[size:]
        a = f(rows @ units[:, :-1].T + units[:, -1])
        return softplus(-signs * (a @ output[:-1] + output[-1])).mean()

    one = torch.func.vmap(torch.func.grad_and_value(loss))

    def by_hand():
        theta = many.detach().requires_grad_()
        units = theta[:, :size].reshape(-1, h, P + 1)
        a = f(torch.matmul(rows, units[:, :, :-1].transpose(1, 2)) + units[:, None, :, -1])
        o = torch.matmul(a, theta[:, size:-1, None])[..., 0] + theta[:, -1:]
        losses = softplus(-signs * o).mean(dim=1)
        return losses, torch.autograd.grad(losses.sum(), theta)[0]

    return {"torch vmap": lambda: one(many)[::-1], "torch by hand": by_hand}


def problems():
    for n_hidden in (4, 16, 64):
        for activation in ("tanh", "relu"):
            for dtype in ("float64", "float32"):
                yield n_hidden, activation, dtype


def measure(n_hidden, activation, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P))
    y = X[:, 0] * X[:, 1] > 0
    network = mf.NetworkLoss(
        X, y, n_hidden=n_hidden, activation=activation, dtype=dtype, n_threads=1
    )
    thetas = network.starts().sample(0, 0, K, network.n_params)
    ours = {
        "loss": lambda: network.batch_loss(thetas),
        "ours": lambda: network.batch_loss_gradient(thetas),
    }
    theirs, differences = {}, []
    for peer in (by_jax, by_torch):
        try:
            theirs |= peer(network, thetas, X, y, dtype)
        except ModuleNotFoundError:
            continue
    gradients = ours["ours"]()[1]
    for function in theirs.values():
        found = np.asarray(function()[1])
        differences.append(np.abs(found - gradients).max() / np.abs(gradients).max())
    times, limit = dict.fromkeys(ours | theirs, np.inf), 0.0
    for _ in range(ROUNDS):
        limit = max(limit, peak(dtype))
        for name, function in (ours | theirs).items():
            begin = time.process_time()
            function()
            times[name] = min(times[name], time.process_time() - begin)
    operations = (4 * (P + 1) + 4 + OF_UNIT[activation]) * n_hidden + OF_LOSS
    return (
        {name: seconds / (N * K) * 1e9 for name, seconds in times.items()},
        (operations / (times["ours"] / (N * K)) / limit),
        differences,
    )


def main():
    for problem in problems():
        name = "H={} {} {}".format(*problem)
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        times, part, differences = measure(*problem)
        line = f"{name:22} loss {times.pop('loss'):6.1f} ns, with gradient {times['ours']:6.1f} ns"
        line += f", {part:.2f} of the limit"
        ours = times.pop("ours")
        for peer, taken in times.items():
            line += f"; {peer} {taken:.1f}"
        if times:
            line += f"; {min(times.values()) / ours:.1f} times, off by {max(differences):.0e}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
