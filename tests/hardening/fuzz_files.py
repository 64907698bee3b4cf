"""Entries of the fuzzer: data files, checkpoints, results, models, and numbers of text files."""

import os

import numpy as np
from fuzz_inputs import FOLDER

import metaopt_fast as mf
from metaopt_fast.files import read as tables

WHOLE, RIGHT = {}, {}


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
    name = data.PickValueInList(["linear.json", "network.json", "tree.json"])
    made = mf.load_model(put(name, content(data, WHOLE[name])))
    repr(made)
    made.to_json()
    # Its columns may be as many as the file says.
    return made.predict_proba(np.zeros((2, len(made.features)))) if made.link else None


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


def shards(data):
    """What is known of a checkpoint without its search, and results that are merged."""
    if data.ConsumeBool():
        path = put("search.sqlite", content(data, WHOLE["search.sqlite"]))
        return mf.read_checkpoint(path).top_thetas
    parts = [
        mf.SearchResult.load(put(name, content(data, WHOLE["result.npz"])))
        for name in ("first.npz", "second.npz")
    ]
    return mf.merge_results(parts).top_thetas


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
    mf.best_tree(X, y, depth=2).model().save(f"{path}.tree")
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
        "tree.json": "tree",
    }
    for name, suffix in names.items():
        with open(f"{path}.{suffix}", "rb") as file:
            WHOLE[name] = file.read()
    RIGHT["search"] = search.top_thetas.tobytes()
    RIGHT["evolution"] = evolved.top_thetas.tobytes()


ENTRIES = [table, text, models, resume, resume_evolution, load, shards]
