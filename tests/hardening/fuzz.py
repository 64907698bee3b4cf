"""Coverage-guided fuzzing of every entry that takes arrays or files of strangers, by atheris.

`pip install atheris`, then `python tests/hardening/fuzz.py FOLDER_OF_INPUTS`: ten minutes, or as
`-max_total_time=` and libFuzzer's other options say. A crash, a hang of 20 s, a NaN from finite
numbers and an error that is no sentence of ours all end it, and leave the input behind. Names of
entries among the arguments (losses, networks, text) choose these alone.

With the compiled module under AddressSanitizer, so that its branches guide the fuzzer, too:
`F="-fsanitize=address,fuzzer-no-link" METAOPT_FAST_OPENMP=0 CC=clang CXX=clang++ CFLAGS=$F
CXXFLAGS=$F LDFLAGS=$F python setup.py build_ext --inplace`, and `asan_with_fuzzer.so` of atheris in
LD_PRELOAD, with ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1.
"""

import math
import os
import sys
import tempfile
import warnings

import atheris
import numpy as np
from scipy.sparse import csc_array, csr_array

with atheris.instrument_imports(include=["metaopt_fast"]):
    import metaopt_fast as mf
    from metaopt_fast.files import read as tables
    from metaopt_fast.models import scorecard
    from metaopt_fast.objectives import auc, counts

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
REFUSED = (ValueError, TypeError, MemoryError)


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


def losses(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options |= {"l2": abs(number(data)), "dtype": data.PickValueInList(["float32", "float64"])}
    made = data.PickValueInList(LOSSES)(X, y, **options)
    if data.ConsumeIntInRange(0, 3) == 0:
        return made.pruned_loss(mf.Normal(), 0, 0, data.ConsumeIntInRange(0, 40), number(data))
    names = ["loss", "gradient", "loss_gradient", "batch_loss", "batch_loss_gradient"]
    return one_of(data, made, names)


def confusion(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["thresholds"] = array(data, data.ConsumeIntInRange(1, 4))
    if data.ConsumeBool():
        options["groups"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    return one_of(data, counts.ConfusionCounts(X, y, **options), ["counts", "batch_counts"])


def areas(data):
    X, y, options = problem(data)
    return one_of(data, auc.AUCObjective(X, y, **options), ["auc", "batch_auc", "batch_loss"])


def training(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["folds"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    l2 = array(data, data.ConsumeIntInRange(1, 4))
    fits = mf.fit_many(X, y, l2=l2, max_iter=data.ConsumeIntInRange(1, 30), **options)
    return fits.theta


def classes(data):
    """X, labels of some classes, and the arguments of an objective."""
    X, y, options = problem(data)
    return X, [data.ConsumeIntInRange(0, 3) for _ in y], options


def softmax(data):
    X, y, options = classes(data)
    if data.ConsumeBool():
        return mf.fit_many(X, y, l2=abs(number(data)), **options).theta
    made = mf.SoftmaxLoss(X, y, dtype=data.PickValueInList(["float32", "float64"]), **options)
    names = ["loss_gradient", "batch_loss", "batch_loss_gradient", "confusion", "batch_confusion"]
    return one_of(data, made, names)


def networks(data):
    X, y, options = problem(data)
    del options["fit_intercept"]
    if data.ConsumeBool():
        options["n_classes"] = data.ConsumeIntInRange(2, 4)
    options["activation"] = data.PickValueInList(["tanh", "relu"])
    options["l2"] = abs(number(data))
    made = mf.NetworkLoss(X, y, n_hidden=data.ConsumeIntInRange(1, 3), **options)
    if data.ConsumeBool():
        starts = made.starts().sample(0, 0, data.ConsumeIntInRange(1, 9), made.n_params)
        return mf.gradient_descent(made, starts, method="adam", max_iter=9).theta
    return one_of(data, made, ["loss_gradient", "batch_loss", "batch_loss_gradient"])


def lasso(data):
    X, y, options = problem(data)
    if data.ConsumeBool():
        options["folds"] = [data.ConsumeIntInRange(0, 2) for _ in y]
    if data.ConsumeBool():
        options["penalty_factor"] = array(data, data.ConsumeIntInRange(1, 5))
    l1 = array(data, data.ConsumeIntInRange(1, 4))
    asked = {"l1": l1, "l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(X, y, **asked, **options).theta


def machines(data):
    X, y, options = problem(data)
    asked = {"l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(X, y, loss="squared_hinge", **asked, **options).theta


def sparse(data):
    _, y, options = classes(data) if data.ConsumeBool() else problem(data)
    shape = len(y), data.ConsumeIntInRange(1, 5)
    X = np.array([number(data) for _ in range(math.prod(shape))]).reshape(shape)
    rows = data.PickValueInList([csr_array, csc_array])(np.where(np.abs(X) > 1, X, 0))
    for part in (rows.data, rows.indices, rows.indptr):  # as a stranger's file may have them
        if len(part) and data.ConsumeIntInRange(0, 7) == 0:
            part[data.ConsumeIntInRange(0, len(part) - 1)] = data.ConsumeIntInRange(-2, 9)
    if data.ConsumeBool():
        made = data.PickValueInList(LOSSES)(rows, y, **options)
        return one_of(data, made, ["loss_gradient", "batch_loss", "batch_loss_gradient"])
    l1 = abs(number(data)) if data.ConsumeBool() else 0.0
    asked = {"l2": abs(number(data)), "max_iter": data.ConsumeIntInRange(1, 30)}
    return mf.fit_many(rows, y, l1=l1, **asked, **options).theta


def trees(data):
    X, y, options = classes(data)
    options = {"n_threads": options["n_threads"], "depth": data.ConsumeIntInRange(2, 3)}
    if data.ConsumeBool():
        options["sample_weight"] = [data.ConsumeIntInRange(0, 3) for _ in y]
    asked = {"n_thresholds": data.ConsumeIntInRange(1, 5), "min_leaf": data.ConsumeIntInRange(1, 3)}
    found = mf.best_tree(X, y, **asked, **options)
    return found.counts, found.apply(X)


def tasks(data):
    X, y, options = problem(data)
    of_tasks = [data.ConsumeIntInRange(0, 2) for _ in y]
    if data.ConsumeBool():
        options["penalty_factor"] = array(data, data.ConsumeIntInRange(1, 6))
    if data.ConsumeBool():
        options["center"] = array(data, data.ConsumeIntInRange(1, 6))
    l2 = array(data, 3) if data.ConsumeBool() else abs(number(data))
    fits = mf.fit_tasks(X, y, of_tasks, l2=l2, max_iter=data.ConsumeIntInRange(1, 30), **options)
    return fits.theta


def resamples(data):
    X, y, options = problem(data)
    del options["n_threads"]
    weights = options.pop("sample_weight", None)
    if weights is not None:
        own = array(data, data.ConsumeIntInRange(1, 5), len(y))
        return mf.fit_many(X, y, l2=abs(number(data)), sample_weight=own, **options).theta
    if data.ConsumeBool():
        options["groups"] = [data.ConsumeIntInRange(0, 5) for _ in y]
    options["method"] = data.PickValueInList(["percentile", "BCa"])
    options["kind"] = data.PickValueInList(["multinomial", "poisson", "bayesian"])
    found = mf.bootstrap(X, y, l2=abs(number(data)), n_resamples=5, n_threads=1, **options)
    return found.bootstrap_distribution, found.theta


def searching(data):
    X, y, options = problem(data)
    made = data.PickValueInList(LOSSES)(X, y, **options)
    sampler = mf.Normal(array(data, made.n_params), array(data, made.n_params))
    if data.ConsumeBool():
        sampler = mf.Integers(array(data, made.n_params), array(data, made.n_params))
    n_candidates = data.ConsumeIntInRange(1, 3000)
    return mf.random_search(made, sampler, n_candidates, seed=data.ConsumeInt(4)).top_thetas


def card(data):
    n = data.ConsumeIntInRange(1, 5)
    names = [data.ConsumeUnicode(6) for _ in range(n)] if data.ConsumeBool() else None
    made = scorecard.Scorecard.from_theta(array(data, n), names)
    made.to_text()
    return made.score(array(data, data.ConsumeIntInRange(0, 5), n))


def content(data, whole):
    """The bytes of a file: any, or those of a whole one with a few places changed."""
    if data.ConsumeBool():
        return data.ConsumeBytes(4096)
    changed = bytearray(whole)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        place = data.ConsumeIntInRange(0, len(changed))
        length = data.ConsumeIntInRange(0, 40)
        changed[place : place + length] = data.ConsumeBytes(data.ConsumeIntInRange(0, 40))
    return bytes(changed)


def put(name, given):
    for suffix in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path := os.path.join(FOLDER, name + suffix)):
            os.unlink(path)
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as file:
        file.write(given)
    return path


def table(data):
    suffix = data.PickValueInList([".csv", ".npz", ".npy"])
    path = put("x" + suffix, content(data, WHOLE["x" + suffix]))
    return tables.read_table(path, "t" if suffix == ".csv" else None).X


def text(data):
    """Numbers of a text file are those of float, whoever reads them."""
    separator = data.PickValueInList([",", ";", "\t"])
    written = [numeral(data) for _ in range(2 * data.ConsumeIntInRange(2, 12))]
    rows = [
        separator.join([a, b, str(i % 2)])
        for i, (a, b) in enumerate(zip(written[::2], written[1::2], strict=True))
    ]
    end = data.PickValueInList(["\n", "\r\n"])
    path = put("x.csv", end.join([separator.join("abt"), *rows, ""]).encode())
    found = tables.read_table(path, "t").X
    wanted = [float(numeral) for numeral in written]
    assert np.array_equal(found.ravel(), wanted), f"other numbers than {written}"
    return found


def numeral(data):
    """A number as somebody might write it."""
    whole, places = ("".join(digits(data)) for _ in range(2))
    point = data.PickValueInList(["", ".", f".{places}"])
    power = f"{data.PickValueInList(['e', 'E'])}{data.ConsumeIntInRange(-330, 320)}"
    sign = data.PickValueInList(["", "-", "+"])
    return f"{sign}{whole or '0'}{point}{power if data.ConsumeBool() else ''}"


def digits(data):
    return [str(data.ConsumeIntInRange(0, 9)) for _ in range(data.ConsumeIntInRange(0, 22))]


def models(data):
    name = data.PickValueInList(["linear.json", "network.json"])
    made = mf.load_model(put(name, content(data, WHOLE[name])))
    repr(made)
    made.to_json()


LOSS = mf.LogisticLoss([[1.0, 2.0], [-1.0, 0.5], [0.5, -3.0]], [1, 0, 1], n_threads=1)
SEARCH = {"seed": 1, "top_k": 2}
EVOLUTION = {"population": 4, "generations": 3, "seed": 1}


def resume(data):
    path = put("search.sqlite", content(data, WHOLE["search.sqlite"]))
    found = mf.random_search(LOSS, mf.Normal(), 500, checkpoint=path, **SEARCH).top_thetas
    assert found.tobytes() == RIGHT["search"], "a wrong result out of a checkpoint"


def resume_evolution(data):
    path = put("evolution.npz", content(data, WHOLE["evolution.npz"]))
    found = mf.evolve(LOSS, mf.Normal(), checkpoint=path, **EVOLUTION).top_thetas
    assert found.tobytes() == RIGHT["evolution"], "a wrong result out of a checkpoint"


def load(data):
    name = data.PickValueInList(["result.npz", "evolved.npz"])
    kind = mf.SearchResult if name == "result.npz" else mf.EvolveResult
    repr(kind.load(put(name, content(data, WHOLE[name]))))


ENTRIES = [
    losses,
    confusion,
    areas,
    training,
    softmax,
    networks,
    lasso,
    machines,
    sparse,
    trees,
    tasks,
    resamples,
    searching,
    card,
    table,
    text,
    models,
    resume,
    resume_evolution,
    load,
]


def one_input(given):
    data = atheris.FuzzedDataProvider(given)
    entry = data.PickValueInList(CHOSEN)
    try:
        result = entry(data)
    except REFUSED as error:
        text = str(error)
        if not isinstance(error, MemoryError):
            assert "\n" not in text and text.endswith("."), f"no sentence: {text!r}"
        return
    for part in result if isinstance(result, tuple) else (result,):
        values = np.asarray(0.0 if part is None else part)
        assert not np.isnan(values).any(), f"NaN from {entry.__name__}"


def whole_files():
    """What each kind of file looks like, and what the checkpoints lead to."""
    path = os.path.join(FOLDER, "made")
    X, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
    with open(f"{path}.csv", "w", encoding="utf-8") as file:
        file.write('a,"b",t\n1,2e3,0\n-.5,"4",1\n')
    np.savez_compressed(f"{path}.npz", X=X, y=y)
    np.save(f"{path}.npy", np.column_stack([X, y]))
    search = mf.random_search(LOSS, mf.Normal(), 500, checkpoint=f"{path}.sqlite", **SEARCH)
    evolved = mf.evolve(LOSS, mf.Normal(), checkpoint=f"{path}.evolution", **EVOLUTION)
    search.save(f"{path}.result")
    evolved.save(f"{path}.evolved")
    network = mf.NetworkLoss(X, y, n_hidden=2)
    of_network = mf.random_search(network, network.starts(), 50, **SEARCH)
    for made, name in ((search, "linear"), (of_network, "network")):
        made.model().save(f"{path}.{name}")
    names = {
        "x.csv": "csv",
        "x.npz": "npz",
        "x.npy": "npy",
        "search.sqlite": "sqlite",
        "evolution.npz": "evolution",
        "result.npz": "result",
        "evolved.npz": "evolved",
        "linear.json": "linear",
        "network.json": "network",
    }
    for name, suffix in names.items():
        with open(f"{path}.{suffix}", "rb") as file:
            WHOLE[name] = file.read()
    RIGHT["search"] = search.top_thetas.tobytes()
    RIGHT["evolution"] = evolved.top_thetas.tobytes()


WHOLE, RIGHT = {}, {}
NAMED = {entry.__name__: entry for entry in ENTRIES}
CHOSEN = [NAMED[name] for name in sys.argv[1:] if name in NAMED] or ENTRIES

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    whole_files()
    limits = ["-max_total_time=600", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    given = [argument for argument in sys.argv if argument not in NAMED]
    atheris.Setup([*given[:1], *limits, *given[1:]], one_input)
    atheris.Fuzz()
