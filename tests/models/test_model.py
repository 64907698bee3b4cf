"""Models to keep: what they predict, their files to the last bit, scikit-learn's own pipeline."""

import json
import math
import sys
from fractions import Fraction

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import metaopt_fast as mf
from metaopt_fast.models.model import SOFTMAX, Model
from metaopt_fast.models.preparation import Preparation, RawRows

RNG = np.random.default_rng(5)
FRAME = pandas.DataFrame(
    {
        "age": np.where(RNG.random(40) < 0.2, np.nan, RNG.integers(18, 90, 40)),
        "city": RNG.choice(["Bern", "Oslo", "Rome"], 40),
        "income": RNG.normal(size=40) * 1e4,
    }
)
ROWS = RawRows(
    np.column_stack(
        [FRAME.age, FRAME.city.map({"Bern": 0, "Oslo": 1, "Rome": 2}), FRAME.income]
    ).astype(float),
    ("age", "city", "income"),
    {1: ("Bern", "Oslo", "Rome")},
)
PREPARATION = Preparation.fit(ROWS, missing="mean")
MIXED = Model.linear(RNG.normal(size=6), PREPARATION, ["no", "yes"], provenance={"seed": 5})
NUMBERS = RawRows(RNG.normal(size=(30, 3)) * [1, 1e3, 1e-3] + [0, 5, 1], ("a", "b", "c"), {})
PLAIN = Model.linear([0.5, -1.0, 2.0, 0.25], Preparation.fit(NUMBERS), [0, 1])


def random_model(seed, n_classes=2, link="logistic"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(9, 3)) * 10.0 ** rng.integers(-300, 300, 3)
    preparation = Preparation.fit(RawRows(X, ("a", "b", "c"), {}), is_standardized=bool(seed % 2))
    if n_classes == 2:
        return Model.linear(rng.normal(size=4), preparation, [-1.5, 2], link=link), X
    coef, intercept = rng.normal(size=(n_classes, 3)), rng.normal(size=n_classes)
    classes = tuple(f"c{k}" for k in range(n_classes))
    return Model(classes, None, preparation, coef, intercept, SOFTMAX), X


@pytest.mark.long
@given(seed=st.integers(0, 2**32), n_classes=st.integers(2, 5))
def test_a_model_goes_through_its_file_to_the_last_bit(seed, n_classes, tmp_path_factory):
    model, X = random_model(seed, n_classes)
    path = tmp_path_factory.mktemp("model") / "model.json"
    model.save(path)
    again = mf.load_model(path)
    assert again.to_json() == model.to_json() == path.read_text()
    for made, found in [(model, again)]:
        assert found.decision_function(X).tobytes() == made.decision_function(X).tobytes()
        assert found.predict_proba(X).tobytes() == made.predict_proba(X).tobytes()
        assert found.predict(X).tolist() == made.predict(X).tolist()
    assert again.classes == model.classes and again.positive == model.positive


def test_a_model_of_mixed_columns_goes_through_its_file(tmp_path):
    MIXED.save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.predict_proba(FRAME).tobytes() == MIXED.predict_proba(FRAME).tobytes()
    assert again.provenance == {"seed": 5}
    text = json.loads((tmp_path / "model.json").read_text())
    assert text["schema"] == 1
    assert text["coefficients"][0][0] == float(MIXED.coef[0, 0]).hex()


def test_training_rows_are_prepared_again_in_their_bits():
    """As `standardize` of data makes them, whose digits the search and the fits have seen."""
    X = NUMBERS.X.copy()
    prepared = Preparation.fit(NUMBERS).apply(NUMBERS)
    assert prepared.tobytes() == mf.standardize(X).X.tobytes()
    np.testing.assert_array_equal(NUMBERS.X, X)


def test_columns_are_prepared_as_scikit_learn_prepares_them():
    steps = [
        ("age", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ("city", make_pipeline(OneHotEncoder(sparse_output=False), StandardScaler()), ["city"]),
        ("income", StandardScaler(), ["income"]),
    ]
    wanted = ColumnTransformer(steps).fit_transform(FRAME)
    np.testing.assert_allclose(PREPARATION.apply(ROWS), wanted, rtol=1e-12, atol=1e-14)
    assert PREPARATION.names == ["age", "city=Bern", "city=Oslo", "city=Rome", "income"]


@pytest.mark.parametrize(
    "to_frame",
    [
        lambda frame: frame,
        lambda frame: polars.from_pandas(frame),
        lambda frame: pyarrow.Table.from_pandas(frame, preserve_index=False),
        lambda frame: frame.to_dict("list"),
        lambda frame: {name: frame[name] for name in frame},
    ],
    ids=["pandas", "polars", "pyarrow", "lists", "columns"],
)
def test_columns_are_found_by_name_in_any_frame(to_frame):
    shuffled = FRAME[["income", "city", "age"]].assign(other="x")
    found = MIXED.predict_proba(to_frame(shuffled))
    assert found.tobytes() == MIXED.predict_proba(FRAME).tobytes()
    assert found.shape == (40, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-15)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"X has no column 'age' \(did you mean 'Age'\?\): pass"):
        MIXED.predict(FRAME.rename(columns={"age": "Age"}))
    with pytest.raises(ValueError, match="X has no column 'age', 'income'"):
        MIXED.predict(FRAME[["city"]])
    with pytest.raises(ValueError, match="two columns named 'age'"):
        MIXED.predict(pandas.concat([FRAME, FRAME[["age"]]], axis=1))
    with pytest.raises(
        TypeError, match="X has no names, and the model has columns of text, 'city'"
    ):
        MIXED.predict(FRAME.to_numpy())
    with pytest.raises(ValueError, match="X has 2 columns, but the model has 3 features"):
        PLAIN.predict(NUMBERS.X[:, :2])
    with pytest.raises(ValueError, match="columns of unlike lengths, 'a' of 2 and 'c' of 1"):
        PLAIN.predict({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0]})


def test_a_value_that_is_missing_is_filled_or_named():
    row = pandas.DataFrame({"age": [math.nan], "city": [None], "income": [1.0]})
    mean = FRAME.age.mean()
    none = PREPARATION.apply(
        RawRows(np.array([[mean, math.nan, 1.0]]), ROWS.names, ROWS.categories)
    )
    wanted = MIXED.coef[0] @ none[0] + MIXED.intercept[0]
    np.testing.assert_allclose(MIXED.decision_function(row), wanted, rtol=1e-12)
    frame = pandas.DataFrame(NUMBERS.X, columns=["a", "b", "c"])
    frame.loc[3, "b"] = math.nan
    with pytest.raises(ValueError, match=r"X has a missing value in row 3, column 'b'"):
        PLAIN.predict(frame)
    with pytest.raises(ValueError, match=r"X has nan in row 3, column 'b'"):
        PLAIN.predict(frame.to_numpy())
    with pytest.raises(TypeError, match=r"column 'city' has 3 .* in row 0, where text is wanted"):
        MIXED.predict({"age": [1], "city": [3], "income": [1]})


def test_a_text_that_is_missing_is_named_where_training_missed_none():
    rows = RawRows(np.array([[0.0], [1.0]]), ("city",), {0: ("Bern", "Oslo")})
    model = Model.linear([1.0, -1.0, 0.0], Preparation.fit(rows), [0, 1])
    for column in (pandas.Series(["Bern", None]), polars.Series(["Bern", None])):
        with pytest.raises(ValueError, match=r"X has a missing value in row 1, column 'city'"):
            model.predict({"city": column})
    with pytest.raises(ValueError, match=r"^column 'city' misses a value in row 1: fill it, or"):
        model.decisions_of(RawRows(np.array([[0.0], [math.nan]]), ("city",), rows.categories))


@pytest.mark.parametrize("column", ["Bern", b"Bern", 3])
def test_a_column_is_a_sequence_and_no_text(column):
    with pytest.raises(TypeError, match="as column 'city': pass a sequence of numbers or strings"):
        MIXED.predict({"age": [1.0], "city": column, "income": [1.0]})


def test_a_mean_is_that_of_all_rows_that_have_a_value_where_these_weigh_nothing():
    rows = RawRows(np.array([[1.0], [4.0], [math.nan]]), ("a",), {})
    found = Preparation.fit(rows, missing="mean", sample_weight=np.array([0.0, 0.0, 1.0]))
    assert found.features[0].fill == 2.5


def test_columns_that_were_not_measured_are_not_known_to_be_constant():
    assert Preparation.none(["a", "b"]).is_constant.tolist() == [False, False]


def test_a_value_that_training_had_not_is_none_of_them():
    frame = FRAME.assign(city="Paris")
    prepared = (
        OneHotEncoder(handle_unknown="ignore").fit(FRAME[["city"]]).transform(frame[["city"]])
    )
    assert not prepared.toarray().any()
    none = ROWS.X.copy()
    none[:, 1] = math.nan
    wanted = MIXED.decisions_of(RawRows(none, ROWS.names, ROWS.categories))[:, 0]
    assert MIXED.decision_function(frame).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("classes", [["no", "yes"], ["yes", "no"], [0, 1], [1, 0], [2.5, -1]])
def test_classes_are_sorted_whichever_is_positive(classes):
    model = Model.linear([1.0, 0.0, 0.0, 0.0], Preparation.fit(NUMBERS), classes)
    assert list(model.classes) == sorted(classes)
    assert model.positive == classes[1]
    decisions = model.decision_function(NUMBERS.X)
    wanted = [classes[1] if decision > 0 else classes[0] for decision in decisions]
    assert model.predict(NUMBERS.X).tolist() == wanted
    of_positive = model.predict_proba(NUMBERS.X)[:, model.classes.index(classes[1])]
    np.testing.assert_allclose(of_positive, 1 / (1 + np.exp(-decisions)), rtol=1e-14)


@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("model", [MIXED, PLAIN], ids=["mixed", "plain"])
def test_scikit_learns_pipeline_has_the_same_probabilities(model, positive):
    theta = np.append(model.coef[0], model.intercept)
    negative = "yes" if positive == "no" else "no"
    model = Model.linear(theta, model.preparation, [negative, positive])
    mixed = len(model.coef[0]) == 5
    X = FRAME if mixed else pandas.DataFrame(NUMBERS.X, columns=["a", "b", "c"])
    pipeline = model.to_sklearn()
    np.testing.assert_allclose(pipeline.predict_proba(X), model.predict_proba(X), rtol=1e-9)
    assert pipeline.predict(X).tolist() == model.predict(X).tolist()
    assert pipeline.classes_.tolist() == list(model.classes)
    if mixed:
        X = X.assign(city="Paris", age=math.nan)
        np.testing.assert_allclose(pipeline.predict_proba(X), model.predict_proba(X), rtol=1e-9)


def test_scikit_learns_pipeline_fills_nothing_where_training_missed_nothing():
    frame = FRAME.fillna(50.0)
    rows = RawRows(np.where(np.isnan(ROWS.X), 50.0, ROWS.X), ROWS.names, ROWS.categories)
    model = Model.linear(np.append(MIXED.coef, 0.5), Preparation.fit(rows), ["no", "yes"])
    found = model.to_sklearn().predict_proba(frame)
    np.testing.assert_allclose(found, model.predict_proba(frame), rtol=1e-9)


@pytest.mark.parametrize("is_standardized", [True, False])
def test_scikit_learns_pipeline_fills_numbers_that_are_missing(is_standardized):
    X = np.where(np.quantile(NUMBERS.X, 0.8, axis=0) < NUMBERS.X, math.nan, NUMBERS.X)
    rows = RawRows(X, NUMBERS.names, {})
    preparation = Preparation.fit(rows, missing="mean", is_standardized=is_standardized)
    model = Model.linear([0.5, -1.0, 2.0, 0.25], preparation, [0, 1])
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    assert frame.isna().to_numpy().any(axis=0).all()
    found = model.to_sklearn().decision_function(frame)
    np.testing.assert_allclose(found, model.decision_function(frame), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("package", "module", "model"),
    [("scikit-learn", "sklearn.pipeline", PLAIN), ("pandas", "pandas", MIXED)],
)
def test_what_a_pipeline_needs_is_named_with_the_command(package, module, model, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"^to_sklearn needs {package}.*: pip install "):
        model.to_sklearn()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_softmax_is_that_of_scikit_learn(n_classes):
    X = np.random.default_rng(2).normal(size=(50, 3))
    y = np.arange(50) % n_classes
    fitted = LogisticRegression().fit(X, y)
    coef, intercept = fitted.coef_, fitted.intercept_
    if n_classes == 2:
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0.0, intercept)
    model = Model(
        tuple(range(n_classes)),
        None,
        Preparation.none(["x0", "x1", "x2"]),
        coef,
        intercept,
        SOFTMAX,
    )
    np.testing.assert_allclose(model.predict_proba(X), fitted.predict_proba(X), rtol=1e-10)
    assert model.predict(X).tolist() == fitted.predict(X).tolist()
    pipeline = model.to_sklearn()
    np.testing.assert_allclose(pipeline.predict_proba(X), model.predict_proba(X), rtol=1e-10)


def test_softmax_of_large_decisions_is_finite():
    model = Model(
        ("a", "b", "c"), None, Preparation.none(["x"]), [[1e3], [0.0], [-1e3]], np.zeros(3), SOFTMAX
    )
    np.testing.assert_array_equal(model.predict_proba([[1.0]]), [[1, 0, 0]])


def test_coefficients_are_of_original_units_and_of_deviations():
    table, intercept = PLAIN.coefficients()
    weights = np.array([c.weight for c in table])
    np.testing.assert_allclose(
        NUMBERS.X @ weights + intercept, PLAIN.decision_function(NUMBERS.X), rtol=1e-9
    )
    np.testing.assert_allclose([c.standardized for c in table], PLAIN.coef[0])
    np.testing.assert_allclose(weights * NUMBERS.X.std(axis=0), PLAIN.coef[0], rtol=1e-12)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose([c.odds_ratio for c in table], np.exp(weights), rtol=1e-12)
    plain = Preparation.fit(NUMBERS, is_standardized=False)
    raw, raw_intercept = Model.linear([*weights, intercept], plain, [0, 1]).coefficients()
    np.testing.assert_allclose([c.standardized for c in raw], PLAIN.coef[0], rtol=1e-12)
    assert ([c.weight for c in raw], raw_intercept) == (weights.tolist(), intercept)


@pytest.mark.parametrize(
    "theta", [[1e308, 1e308, -1e308, -1.5e307], [1.7e308, 1.7e308, 0, 0], [1.0, 2.0, 3.0, 4.0]]
)
def test_an_intercept_in_original_units_is_right_if_it_is_in_the_range(theta):
    rows = RawRows(np.array([[0.0], [2.0]]) * np.ones(4), ("a", "b", "c", "d"), {})
    model = Model.linear([*theta, 0.5], Preparation.fit(rows), [0, 1])
    exact = Fraction(0.5) - sum(map(Fraction, theta))  # means and deviations are 1
    wanted = float(exact) if abs(exact) < 2**1024 else -math.inf
    assert model.coefficients()[1] == wanted


def test_an_intercept_in_original_units_is_right_beside_weights_beyond_the_range():
    # Means and deviations are 1e-300, so that a weight is 1e300 thetas.
    rows = RawRows(np.array([[0.0], [2e-300]]) * np.ones(2), ("a", "b"), {})
    for theta, wanted in (([1e10, -7.0], 7.5 - 1e10), ([1e308, 1e308], -math.inf)):
        table, intercept = Model.linear([*theta, 0.5], Preparation.fit(rows), [0, 1]).coefficients()
        assert table[0].weight == math.inf
        assert intercept == pytest.approx(wanted, rel=1e-14)
    far = RawRows(np.array([[1e10], [1e10 + 2]]), ("a",), {})
    model = Model.linear([1e308, 0.5], Preparation.fit(far), [0, 1])
    assert model.coefficients()[1] == -math.inf


def test_a_column_that_is_constant_in_training_decides_nothing_elsewhere():
    X = np.column_stack([NUMBERS.X[:, 0], np.full(30, 7.0)])
    preparation = Preparation.fit(RawRows(X, ("a", "c"), {}))
    model = Model.linear([1.0, 5.0, 0.0], preparation, [0, 1])
    assert model.coef[0].tolist() == [1.0, 0.0]
    other = X + np.array([0, 100])
    assert model.decision_function(other).tobytes() == model.decision_function(X).tobytes()


def test_a_model_that_counts_errors_has_no_probabilities():
    model = Model.linear([1.0, 0.0, 0.0, 0.0], Preparation.fit(NUMBERS), [0, 1], link=None)
    with pytest.raises(ValueError, match="was not trained for probabilities: use predict"):
        model.predict_proba(NUMBERS.X)
    assert {c.odds_ratio for c in model.coefficients()[0]} == {None}
    frame = pandas.DataFrame(NUMBERS.X, columns=["a", "b", "c"])
    assert model.to_sklearn().predict(frame).tolist() == model.predict(frame).tolist()


def test_numbers_beyond_the_model_are_refused_by_row():
    tiny = RawRows(NUMBERS.X[:, [0, 0]] * 1e-300, ("a", "b"), {})
    model = Model.linear([1.0, -1.0, 0.0], Preparation.fit(tiny), [0, 1])
    with pytest.raises(ValueError, match="too large for the model in row 1: pass rows like those"):
        model.decision_function([[0.0, 0.0], [1e300, 1e300]])


def test_a_column_without_a_value_in_training_is_refused():
    X = np.array([[1.0, math.nan], [2.0, math.nan]])
    with pytest.raises(ValueError, match="column 'b' has no value in any training row"):
        Preparation.fit(RawRows(X, ("a", "b"), {}), missing="mean")


@pytest.mark.long(everywhere=True)
@given(st.lists(st.integers(1, 3), min_size=12, max_size=12))
def test_weights_are_rows_that_are_there_as_often(weights):
    rows = RawRows(ROWS.X[:12], ROWS.names, ROWS.categories)
    often = RawRows(np.repeat(rows.X, weights, axis=0), ROWS.names, ROWS.categories)
    one = Preparation.fit(rows, missing="mean", sample_weight=np.array(weights, float))
    two = Preparation.fit(often, missing="mean")
    np.testing.assert_allclose(one.measured.mean, two.measured.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one.measured.scale, two.measured.scale, rtol=1e-12)


def test_a_model_says_what_it_is():
    assert repr(PLAIN).startswith("Model of 3 features, classes [0, 1], 1 the positive one\n")
    assert repr(random_model(0, 3)[0]) == "Model of 3 features, classes ['c0', 'c1', 'c2']"
    wide = Model.linear(np.arange(24.0), Preparation.none([f"x{j}" for j in range(23)]), [0, 1])
    assert repr(wide).splitlines()[1:2] + repr(wide).splitlines()[-3:] == [
        "            22  x22",
        "             3  x3",
        "  (3 more, 1 of them 0)",
        "            23  intercept",
    ]


def test_a_model_of_many_columns_shows_those_that_it_uses():
    theta = np.zeros(101)
    theta[[7, 50, 99, 100]] = 1.0, -3.0, 2.0, 0.5
    model = Model.linear(theta, Preparation.none([f"x{j}" for j in range(100)]), [0, 1])
    assert repr(model).splitlines()[1:] == [
        "            -3  x50",
        "             2  x99",
        "             1  x7",
        "  (97 more, 97 of them 0)",
        "           0.5  intercept",
    ]
    full = Model.linear(theta + 1, Preparation.none([f"x{j}" for j in range(100)]), [0, 1])
    assert "\n  (80 more)\n" in repr(full)


def test_coefficients_of_more_than_two_classes_are_those_of_a_label():
    model = random_model(0, 3)[0]
    for row, label in enumerate(model.classes):
        table, intercept = model.coefficients(label)
        of_row = Model(
            model.classes[:2],
            model.classes[1],
            model.preparation,
            model.coef[row : row + 1],
            model.intercept[row : row + 1],
            link=None,
        )
        assert (table, intercept) == of_row.coefficients()
    for label in (None, "no such label"):
        with pytest.raises(ValueError, match=r"^label is .*: pass a class, one of "):
            model.coefficients(label)
    of_seven, _ = random_model(0, 7)
    with pytest.raises(ValueError, match=r"one of 'c0', 'c1', 'c2', 'c3', 'c4' and 2 more\.$"):
        of_seven.coefficients()
    with pytest.raises(ValueError, match=r"^label is .*: leave it out, of two classes\.$"):
        of_row.coefficients(of_row.classes[0])
