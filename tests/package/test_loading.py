"""Files of strangers: loading one runs no code that it brings, whatever is in it."""

import ast
import io
import pickle
import sys

import numpy as np
import pandas
import pytest
from searches import objective

import metaopt_fast as mf

HEARD = []
LISTENING = []


def listen(event, arguments):
    if LISTENING:
        HEARD.append((event, arguments))


@pytest.fixture(scope="module", autouse=True)
def hook():
    sys.addaudithook(listen)  # cannot be taken away again


def events_of(load):
    """The audit events of a call that has been made before, so that its imports are done."""
    load()
    HEARD.clear()
    LISTENING.append(True)
    try:
        load()
    finally:
        LISTENING.clear()
    return list(HEARD)


def is_literal(source):
    """Whether a text is a literal, as the headers of NumPy's files are."""
    try:
        ast.literal_eval(source.decode() if isinstance(source, bytes) else source)
    except (ValueError, SyntaxError):
        return False
    return True


def runs_code(event, arguments):
    """Whether an event is of pickle, of an import or of code; reading a literal is none."""
    if event == "compile":
        return arguments[0] is None or not is_literal(arguments[0])
    return event in ("exec", "import") or event.startswith(
        ("pickle.", "marshal.", "os.exec", "os.system", "subprocess.", "ctypes.", "socket.")
    )


@pytest.fixture
def loads(tmp_path):
    """What reads a file, by its name."""
    search, result = tmp_path / "search.sqlite", tmp_path / "result.npz"
    evolution, evolved = tmp_path / "evolution.npz", tmp_path / "evolved.npz"
    mf.random_search(objective(), mf.Normal(), 500, checkpoint=search).save(result)
    options = {"generations": 3, "seed": 1, "checkpoint": evolution}
    mf.evolve(objective(), mf.Normal(), **options).save(evolved)
    frame = pandas.DataFrame({"a": [0.0, 1, 2, 3], "b": [1.0, 0, 1, 0]})
    labels, network = ["no", "no", "yes", "yes"], tmp_path / "network.json"
    mf.fit_many(frame, labels, l2=0.1).model().save(tmp_path / "linear.json")
    mf.best_tree(frame, labels, depth=2).model().save(tmp_path / "tree.json")
    loss = mf.NetworkLoss(frame, labels, n_hidden=2)
    mf.gradient_descent(loss, loss.starts(), n_starts=1, max_iter=3).model().save(network)
    return {
        "linear model": lambda: mf.load_model(tmp_path / "linear.json"),
        "tree": lambda: mf.load_model(tmp_path / "tree.json"),
        "network": lambda: mf.load_model(network),
        "checkpoint": lambda: mf.resume_search(search, objective()),
        "SearchResult": lambda: mf.SearchResult.load(result),
        "EvolveResult": lambda: mf.EvolveResult.load(evolved),
        "checkpoint of an evolution": lambda: mf.evolve(objective(), mf.Normal(), **options),
    }


READERS = [
    *("checkpoint", "SearchResult", "EvolveResult", "checkpoint of an evolution"),
    *("linear model", "tree", "network"),
]


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", READERS)
def test_loading_a_file_raises_no_event_of_pickle_code_or_import(loads, name):
    events = events_of(loads[name])
    assert {"open", "sqlite3.connect"} & {event for event, _ in events}, "nothing was heard"
    assert [event for event in events if runs_code(*event)] == []


def test_what_must_not_happen_would_be_heard():
    def import_something():
        with pytest.raises(ImportError):
            __import__("this_is_no_module")

    for call in (
        lambda: pickle.loads(pickle.dumps(np.float64)),
        lambda: exec("1 + 1"),
        lambda: eval("len('')"),
        import_something,
    ):
        assert any(runs_code(*event) for event in events_of(call))


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (LISTENING.append, ("exploded",))


@pytest.mark.parametrize("load", [mf.SearchResult.load, mf.EvolveResult.load, mf.load_model])
def test_a_pickle_in_the_place_of_an_array_is_refused_and_not_run(tmp_path, load):
    path, saved = tmp_path / "bomb.npz", io.BytesIO()
    np.savez(saved, rest=np.array([Bomb()], object), text=np.array([Bomb()], object))
    for content in (saved.getvalue(), pickle.dumps(Bomb())):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bomb\.npz"):
            load(path)
    assert LISTENING == []
