"""Arrays and arguments as strangers might pass them, drawn from a fuzzer's bytes."""

import math
import tempfile

import numpy as np

import metaopt_fast as mf

LOSSES = [
    mf.LogisticLoss,
    mf.SquaredHingeLoss,
    mf.HingeLoss,
    mf.SquaredLoss,
    mf.SmoothedZeroOneLoss,
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e308, -1e308, 2.0**70, np.inf, -np.inf, np.nan]
DTYPES = ["f8", "f4", "f2", "i8", "u1", "?", "O", "U4", "c16", ">f8", "longdouble"]
FOLDER = tempfile.mkdtemp()


def number(data):
    if data.ConsumeBool():
        return data.ConsumeFloatInRange(-4.0, 4.0)
    return data.PickValueInList(SPECIAL) if data.ConsumeBool() else data.ConsumeFloat()


def array(data, *shape):
    """An array of mostly this shape, of mostly finite numbers, of mostly doubles."""
    if data.ConsumeIntInRange(0, 15) == 0:
        shape = [data.ConsumeIntInRange(0, 5) for _ in range(data.ConsumeIntInRange(0, 4))]
    wild = data.ConsumeIntInRange(0, 3) == 0
    numbers = [
        number(data) if wild else data.ConsumeIntInRange(-9, 9) / 4 for _ in range(math.prod(shape))
    ]
    values = np.array(numbers, float).reshape(shape)
    if data.ConsumeIntInRange(0, 7) == 0:
        values = values.astype(data.PickValueInList(DTYPES))
    order = data.ConsumeIntInRange(0, 3)
    return (values, np.asfortranarray(values), values.T.copy().T, values.tolist())[order]


def problem(data):
    """X, y and the arguments of an objective."""
    n, d = data.ConsumeIntInRange(1, 9), data.ConsumeIntInRange(1, 5)
    X = array(data, n, d)
    y = [data.ConsumeIntInRange(0, 1) for _ in range(n)]
    options = {"fit_intercept": data.ConsumeBool(), "n_threads": data.ConsumeIntInRange(1, 3)}
    if data.ConsumeBool():
        options["sample_weight"] = array(data, n)
    return X, y, options


def thetas(data, objective):
    return array(data, data.ConsumeIntInRange(0, 20), objective.n_params)


def one_of(data, made, names):
    """Call a method of an objective with arrays."""
    name = data.PickValueInList(names)
    if name.startswith("batch_"):
        return getattr(made, name)(thetas(data, made))
    return getattr(made, name)(array(data, made.n_params))


def classes(data):
    """X, labels of some classes, and the arguments of an objective."""
    X, y, options = problem(data)
    return X, [data.ConsumeIntInRange(0, 3) for _ in y], options


def labels(data, n, greatest=1):
    return [data.ConsumeIntInRange(0, greatest) for _ in range(n)]


def objective(data):
    X, y, options = problem(data)
    return data.PickValueInList(LOSSES)(X, y, **options)


def chosen(data, **makers):
    """Some of these arguments: each is made where it is chosen."""
    return {name: make() for name, make in makers.items() if data.ConsumeBool()}
