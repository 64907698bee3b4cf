"""Files of models from strangers: read without running anything, or refused in one sentence."""

import copy
import json
import math
import tracemalloc

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.models import model_file
from metaopt_fast.models.model import Model
from metaopt_fast.models.network_model import NetworkModel
from metaopt_fast.models.networks import Networks
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.models.tree_model import TreeModel

ROWS = RawRows(np.array([[1.0, 0], [2.5, 1], [math.nan, 1], [0.5, 0]]), ("a", "b"), {1: ("x", "y")})
PREPARATION = Preparation.fit(ROWS, missing="mean")
MODEL = Model.linear([1.0, -2.0, 3.0, 0.5], PREPARATION, ["no", "yes"])
CONTENT = json.loads(MODEL.to_json())
# Two networks of two units, of three columns.
THETAS = np.random.default_rng(0).normal(size=(2, 2 * 4 + 3))
NETWORK = NetworkModel.of(Networks("tanh", 2, 1, THETAS), PREPARATION, ["no", "yes"], {"seed": 7})
NETWORK_CONTENT = json.loads(NETWORK.to_json())
TREE = mf.best_tree(PREPARATION.apply(ROWS), ["no", "yes", "yes", "no"], depth=2)
TREE_CONTENT = json.loads(TreeModel.of(TREE, PREPARATION).to_json())
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["0x1p0", "inf", "nan", "0x1p9999", "-0x0p+0", "text", "integer", "logistic"]),
    st.sampled_from(["relu", "tanh", "softmax", "counts", 1, 2, 3]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["text", "integer", "float", "name"]), st.text(max_size=4)),
)


def load(tmp_path, content):
    path = tmp_path / "model.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return mf.load_model(path)


def places(content, path=()):
    """The path to each entry of JSON."""
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, entry in entries:
        yield (*path, key)
        if isinstance(entry, (dict, list)):
            yield from places(entry, (*path, key))


def put(content, path, value):
    found = content
    for key in path[:-1]:
        found = found[key]
    if value is ...:
        del found[path[-1]]
    else:
        found[path[-1]] = value


@pytest.mark.long
@given(
    found=st.sampled_from(
        [
            (content, place)
            for content in (CONTENT, NETWORK_CONTENT, TREE_CONTENT)
            for place in places(content)
        ]
    ),
    value=WRONG | st.just(...),
)
def test_a_file_of_any_other_entry_is_a_model_or_refused_in_a_sentence(
    found, value, tmp_path_factory
):
    content, place = copy.deepcopy(found[0]), found[1]
    put(content, place, value)
    try:
        model = load(tmp_path_factory.mktemp("model"), content)
    except ValueError as error:
        assert str(error).endswith(".") and str(error).isprintable() and "\n" not in str(error)
        return
    text = model.to_json()
    assert model_file.parse("again", text.encode()).to_json() == text
    rows = {f.name: [1.0] if f.values is None else ["x"] for f in model.preparation.features}
    assert model.predict(rows).tolist()[0] in model.classes


@pytest.mark.long(everywhere=True)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_no_model(content):
    with pytest.raises(ValueError, match=r"is no model: pass a file that --model has written\.$"):
        model_file.parse("model.json", content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[" * 100_000, "is no model"),
        (b"[]", "is no model"),
        ({**CONTENT, "format": "another"}, "is no model"),
        (b'{"format": "metaopt_fast model", "schema": NaN}', "its entry 'schema'"),
        ({**CONTENT, "schema": 4}, "has schema 4, and this version of metaopt_fast reads up to 3"),
        ({**CONTENT, "schema": 3}, "its entry 'link'"),
        ({**CONTENT, "schema": 2}, "its entry 'activation'"),
        ({**NETWORK_CONTENT, "schema": 1}, "its entry 'coefficients'"),
        ({**NETWORK_CONTENT, "activation": "sin"}, "its entry 'activation'"),
        ({**NETWORK_CONTENT, "link": None}, "its entry 'link'"),
        ({**NETWORK_CONTENT, "networks": []}, "its entry 'networks'"),
        ({**NETWORK_CONTENT, "networks": [3]}, "its entry 'units'"),
        ({**NETWORK_CONTENT, "networks": [{"units": []}]}, "its entry 'units'"),
        ({**NETWORK_CONTENT, "networks": [{"units": [["0x1p0"]]}]}, "its entry 'units'"),
        (
            {**NETWORK_CONTENT, "networks": [NETWORK_CONTENT["networks"][0] | {"outputs": []}]},
            "its entry 'outputs'",
        ),
        ({**CONTENT, "schema": 10**40}, "has schema 1000.*: update it, by pip install -U"),
        ({**CONTENT, "schema": "1"}, "is not a whole model .its entry 'schema'.: save it again"),
        ({**CONTENT, "schema": True}, "its entry 'schema'"),
        ({**CONTENT, "schema": 0}, "its entry 'schema'"),
        ({**CONTENT, "classes": ["yes", "no"]}, "its entry 'classes'"),
        ({**CONTENT, "classes": ["no", {"integer": "1"}]}, "its entry 'classes'"),
        ({**CONTENT, "classes": ["no", {"integer": "1" * 60}]}, "its entry 'classes'"),
        ({**CONTENT, "classes": [False, {"integer": "1"}]}, "its entry 'classes'"),
        ({**CONTENT, "coefficients": [["0x1p0"] * 2]}, "its entry 'coefficients'"),
        ({**CONTENT, "coefficients": [["inf"] * 3]}, "its entry 'coefficients'"),
        ({**CONTENT, "intercepts": ["1.5"]}, "its entry 'intercepts'"),
        ({**CONTENT, "intercepts": [0.5]}, "its entry 'intercepts'"),
        ({**CONTENT, "intercepts": ["0xno"]}, "its entry 'intercepts'"),
        ({**CONTENT, "intercepts": ["0x1p9999"]}, "its entry 'intercepts'"),
        ({**CONTENT, "features": []}, "its entry 'features'"),
        ({**CONTENT, "columns": None}, "its entry 'columns'"),
        ({**CONTENT, "missing": "error"}, "its entry 'features'"),
        ({**CONTENT, "link": "softmax"}, "its entry 'link'"),
        ({**CONTENT, "provenance": []}, "its entry 'provenance'"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        load(tmp_path, content)
    assert str(caught.value).endswith(".") and str(caught.value).isprintable()


def test_a_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "MAX_BYTES", 2**20)
    path = tmp_path / "model.json"
    with open(path, "wb") as file:
        file.truncate(2**30)
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match="has more than 1,048,576 bytes: pass what --model has"
        ):
            mf.load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_a_path_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: pass the path of a file"):
        mf.load_model(tmp_path / "none.json")
    with pytest.raises(TypeError, match=r"path is 3 .*: pass the path of a model's file"):
        mf.load_model(3)


def test_a_model_replaces_a_file_as_a_whole(tmp_path):
    path = tmp_path / "model.json"
    path.write_text("before")
    MODEL.save(path)
    assert mf.load_model(path).classes == ("no", "yes")
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]


@pytest.mark.parametrize(
    "classes", [[10**30, -(10**30)], [0.1, 2], ["", "\x1b[2J"], [5e-324, 1], [False, True]]
)
def test_classes_of_any_kind_are_kept_exactly(tmp_path, classes):
    model = Model.linear([1.0, 0.0], Preparation.none(["a"]), classes)
    model.save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.classes == model.classes == tuple(sorted(classes))
    assert list(map(type, again.classes)) == list(map(type, model.classes))
    assert again.predict([[1.0]]).tolist() == [classes[1]]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("classes", [["no", "yes"], [1, 0], ["x", "y", "z"]])
@pytest.mark.parametrize("n_networks", [1, 2])
def test_networks_are_kept_to_the_last_bit(tmp_path, activation, classes, n_networks):
    n_outputs = 1 if len(classes) == 2 else 3
    theta = np.random.default_rng(1).normal(size=(n_networks, 2 * 4 + n_outputs * 3))
    networks = Networks(activation, 2, n_outputs, theta)
    model = NetworkModel.of(networks, PREPARATION, classes, {"from": "here"})
    model.save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.to_json() == model.to_json() and again.provenance == {"from": "here"}
    assert again.networks.theta.tobytes() == theta.tobytes()
    assert (again.classes, again.features) == (tuple(sorted(classes)), ("a", "b"))
    rows = {"b": ["x", "y", "new"], "a": [1.0, math.nan, -3.0]}
    found = again.predict_proba(rows)
    assert found.tobytes() == model.predict_proba(rows).tobytes()
    # By the definition, in plain NumPy.
    X = PREPARATION.apply(RawRows(np.array([[1, 0], [np.nan, 1], [-3, 2]]), "ab", {1: "xyz"}))
    wanted = np.zeros((3, len(classes)))
    for k in range(n_networks):
        (units, outputs), (biases, thresholds) = networks.layers(k)
        hidden = X @ units + biases
        hidden = np.tanh(hidden) if activation == "tanh" else np.maximum(hidden, 0)
        powers = np.exp(hidden @ outputs + thresholds)
        powers = np.column_stack([np.ones(3), powers]) if n_outputs == 1 else powers
        wanted += powers / powers.sum(axis=1, keepdims=True) / n_networks
    order = np.argsort(classes)
    np.testing.assert_allclose(found, wanted[:, order], rtol=1e-12)
    assert model.predict(rows).tolist() == [sorted(classes)[k] for k in found.argmax(axis=1)]


@pytest.mark.parametrize("classes", [["no", "yes"], [1, 0], ["x", "y", "z"], ["two", "outputs"]])
def test_a_network_is_the_network_of_scikit_learn(classes):
    n_outputs = len(classes) if classes not in (["no", "yes"], [1, 0]) else 1
    classes = classes if n_outputs == 1 else sorted(classes)
    theta = np.random.default_rng(1).normal(size=(1, 2 * 4 + n_outputs * 3))
    model = NetworkModel.of(Networks("relu", 2, n_outputs, theta), Preparation.none("abc"), classes)
    X = np.random.default_rng(2).normal(size=(20, 3))
    pipeline = model.to_sklearn()
    frame = pandas.DataFrame(X, columns=list("abc"))
    np.testing.assert_allclose(pipeline.predict_proba(frame), model.predict_proba(X), rtol=1e-10)
    assert pipeline.predict(frame).tolist() == model.predict(X).tolist()
    with pytest.raises(ValueError, match="the mean of 2 networks, and scikit-learn's MLPClassif"):
        NETWORK.to_sklearn()


def test_a_network_says_what_it_is():
    assert repr(NETWORK) == (
        "NetworkModel: mean of 2 networks of 2 hidden units (tanh), 2 features, classes "
        "['no', 'yes'], 'yes' the positive one"
    )
    three = NetworkModel.of(Networks("relu", 1, 3, THETAS[:1]), Preparation.none("abcd"), "xyz")
    assert repr(three) == (
        "NetworkModel: network of 1 hidden unit (relu), 4 features, classes ['x', 'y', 'z']"
    )
