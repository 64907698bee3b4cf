"""Trees as models: they decide as the tree does, and their files bring each bit back."""

import copy
import json

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metaopt_fast as mf
from metaopt_fast.models import model_file
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.models.tree_model import TreeModel
from metaopt_fast.sklearn import BestTreeClassifier

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 3))
LABELS = np.where(X[:, 0] + RNG.normal(size=60) > 0, "yes", "no")
TREE = mf.best_tree(X, LABELS, depth=2)
CONTENT = json.loads(TREE.model().to_json())


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_classes=st.integers(2, 4),
    depth=st.sampled_from([2, 3]),
    cost=st.integers(1, 3),
    positive=st.sampled_from([0, 1]),
)
def test_a_model_decides_as_its_tree_and_keeps_each_bit(seed, n_classes, depth, cost, positive):
    rng = np.random.default_rng(seed)
    rows, y = rng.integers(0, 4, (24, 2)) / 3, rng.integers(0, n_classes, 24)
    y[:n_classes] = np.arange(n_classes)
    tree = mf.best_tree(rows, y, depth=depth, class_cost={0: cost}, n_thresholds=3)
    # Which class of two is called positive decides nothing, in leaves of equal costs neither.
    named = positive if n_classes == 2 else None
    model = TreeModel.of(tree, Preparation.none(tree.feature_names), named, {"from": "here"})
    again = model_file.parse("model", model.to_json().encode())
    others = rng.normal(size=(50, 2))
    assert again.to_json() == model.to_json() and again.provenance == {"from": "here"}
    assert again.tree.splits == tree.splits and again.positive == named
    for one in (model, again):
        assert one.predict(others).tolist() == tree.predict(others).tolist()
        counts = tree.counts[tree.apply(others)]
        parts = counts / counts.sum(axis=1, keepdims=True)
        assert one.predict_proba(others).tobytes() == parts.tobytes()


def test_logits_are_logarithms_of_the_parts():
    rows = RawRows(X, TREE.feature_names, {})
    parts = TREE.model().predict_proba(X)
    with np.errstate(divide="ignore"):
        odds = np.log(parts[:, 1] / parts[:, 0])
        np.testing.assert_allclose(
            TREE.model().decisions_and_logits_of(rows)[1][:, 0], odds, rtol=1e-12, atol=1e-12
        )
    three = mf.best_tree(X, np.arange(60) % 3, depth=2).model()
    np.testing.assert_allclose(
        np.exp(three.decisions_and_logits_of(rows)[1]), three.predict_proba(X), rtol=1e-12
    )


def test_decisions_order_rows_by_their_probability():
    model = TREE.model()
    order = np.argsort(model.decision_function(X), kind="stable")
    assert (np.diff(model.predict_proba(X)[order, 1]) >= 0).all()


def test_the_probabilities_are_those_of_the_estimator():
    estimator = BestTreeClassifier(depth=2).fit(X, LABELS)
    model = estimator.tree_.model()
    assert model.predict_proba(X).tobytes() == estimator.predict_proba(X).tobytes()
    assert (model.classes, model.positive) == (("no", "yes"), "yes")


def test_a_model_finds_the_columns_of_its_frame_by_name(tmp_path):
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    tree = mf.best_tree(frame, LABELS, depth=2)
    tree.model().save(tmp_path / "tree.json")
    again = mf.load_model(tmp_path / "tree.json")
    shuffled = frame[["c", "a", "b"]].assign(more=0)
    assert again.predict(shuffled).tolist() == tree.predict(frame).tolist()
    assert again.tree.to_text() == tree.to_text()
    assert repr(again) == f"TreeModel of 3 features\n{tree.to_text()}"
    with pytest.raises(ValueError, match="X has no column 'a'"):
        again.predict(frame[["b", "c"]])


def test_labels_that_no_file_holds_are_refused():
    with pytest.raises(TypeError, match="which no file of a model holds: pass y of strings"):
        mf.best_tree([[0], [1]], [b"a", b"b"], depth=2).model()


def changed(name, value, position=None):
    content = copy.deepcopy(CONTENT)
    if position is None:
        content[name] = value
    else:
        content[name][position] = value
    return content


LEAVES = sum(CONTENT["counts"][0])


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        (changed("depth", 4), "depth"),
        (changed("depth", 3), "splits"),
        (changed("depth", True), "depth"),
        (changed("link", "logistic"), "link"),
        (changed("positive", None), "positive"),
        (changed("splits", []), "splits"),
        (changed("splits", 7, 0), "splits"),
        (changed("splits", {"column": 3, "threshold": "0x1p0"}, 0), "splits"),
        (changed("splits", {"column": -1, "threshold": "0x1p0"}, 0), "splits"),
        (changed("splits", {"column": True, "threshold": "0x1p0"}, 0), "splits"),
        (changed("splits", {"column": 0, "threshold": "0.5"}, 0), "splits"),
        (changed("splits", {"column": 0}, 0), "splits"),
        (changed("splits", None, 0), "counts"),
        (changed("class_costs", [1]), "class_costs"),
        (changed("class_costs", [1, 0]), "class_costs"),
        (changed("class_costs", [1, 2**26]), "class_costs"),
        (changed("class_costs", [1, 1.0]), "class_costs"),
        (changed("class_costs", "11"), "class_costs"),
        (changed("counts", None), "counts"),
        (changed("counts", [[0, 0]] * 7), "counts"),
        (changed("counts", CONTENT["counts"][:-1]), "counts"),
        (changed("counts", [LEAVES, 0], 0), "counts"),
        (changed("counts", [-1, 1], 1), "counts"),
        (changed("counts", [True, 1], 1), "counts"),
    ],
)
def test_a_forged_tree_is_one_sentence(content, entry):
    sentence = rf"^model is not a whole model \(its entry '{entry}'\): save it again\.$"
    with pytest.raises(ValueError, match=sentence):
        model_file.parse("model", json.dumps(content).encode())


def test_a_leaf_of_a_file_has_rows():
    alone = json.loads(mf.best_tree([[0.0], [0.0]], [0, 1], depth=2).model().to_json())
    assert alone["splits"] == [None] * 3
    alone["splits"][0] = {"column": 0, "threshold": "0x0p+0"}
    alone["counts"][1] = alone["counts"][0]
    with pytest.raises(ValueError, match="its entry 'counts'"):
        model_file.parse("model", json.dumps(alone).encode())


@pytest.mark.parametrize("positive", [0, 1])
def test_a_leaf_of_equal_costs_is_decided_as_its_tree_does(positive):
    tree = mf.best_tree([[0.0], [0.0]], [0, 1], depth=2)
    model = TreeModel.of(tree, Preparation.none(["x0"]), positive)
    assert model.predict([[5.0]]).tolist() == tree.predict([[5.0]]).tolist() == [0]
