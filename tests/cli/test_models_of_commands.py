"""Columns, rows held out, and a model at the end: commands with data as people have it."""

import io
import json

import numpy as np
import pandas
import pytest
from programs import CSV, SMALL, assert_complaint

import metaopt_fast as mf
from metaopt_fast.cli.figures import coefficients_to_lines
from metaopt_fast.models.model import SOFTMAX, Model
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.selection.folds import stratified_holdout

RNG = np.random.default_rng(11)
N = 120
AGE = RNG.integers(18, 90, N)
CITY = RNG.choice(["Bern", "Oslo", "Rome"], N)
SICK = AGE / 20 + (CITY == "Oslo") * 2 + RNG.normal(size=N) > 3.2
PEOPLE = pandas.DataFrame(
    {
        "id": np.arange(N) + 1000,
        "age": np.where(RNG.random(N) < 0.1, np.nan, AGE),
        "city": CITY,
        "weight": RNG.integers(1, 4, N),
        "sick": np.where(SICK, "yes", "no"),
    }
)
AS_PEOPLE_ARE = ["--drop", "id", "--missing", "mean", "--categories", "onehot"]


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    PEOPLE.to_csv(path, index=False, sep=";", decimal=",")
    return path


NETWORKS = ["tune", "--metamodel", "network", "--hidden", 3, "--candidates", 2, "--cv", 2]
COMMANDS = {"search": ["search", *SMALL], "tune": ["tune", "--candidates", 5], "network": NETWORKS}


@pytest.fixture(params=COMMANDS)
def fitted(request, run, people, tmp_path):
    """A model of each command, with its report."""
    kept = tmp_path / "model.json"
    options = [*AS_PEOPLE_ARE, "--weight", "weight", "--holdout", "0.25", "--model", kept]
    command = [*COMMANDS[request.param], people, "--target", "sick"]
    status, stdout, _ = run(*command, *options, "--json")
    assert status == 0
    return json.loads(stdout), kept


def rows_of():
    """The training and the held-out rows of the fixture."""
    train, held_out = stratified_holdout((PEOPLE.sick == "yes").to_numpy(), 0.25, 0)
    return PEOPLE.iloc[train], PEOPLE.iloc[held_out]


def test_the_model_that_is_kept_is_the_one_that_was_scored(fitted):
    report, kept = fitted
    model = mf.load_model(kept)
    for name, rows in zip(("training", "held_out"), rows_of(), strict=True):
        of_positive = model.predict_proba(rows)[:, 1]
        is_sick, weights = rows.sick == "yes", rows.weight
        losses = -np.log(np.where(is_sick, of_positive, 1 - of_positive))
        assert report[name]["n_rows"] == len(rows)
        assert report[name]["log_loss"] == pytest.approx(np.average(losses, weights=weights))
        right = model.predict(rows) == rows.sick
        assert report[name]["accuracy"] == pytest.approx(np.average(right, weights=weights))
    assert model.features == ("age", "city") and model.classes == ("no", "yes")
    assert model.provenance["n_held_out"] == report["held_out"]["n_rows"] == 30


@pytest.mark.long(everywhere=True)
def test_columns_are_prepared_by_the_training_rows_alone(fitted):
    report, _ = fitted
    train, _ = rows_of()
    known = train.age.notna()
    mean = np.average(train.age[known], weights=train.weight[known])
    (age, city) = report["data"]["preparation"]["features"]
    assert age["fill"] == pytest.approx(mean)
    assert city["values"] == ["Bern", "Oslo", "Rome"]
    names = ["age", "city=Bern", "city=Oslo", "city=Rome"]
    assert report["data"]["feature_names"] == names
    columns = np.column_stack([train.age.fillna(mean), pandas.get_dummies(train.city)])
    means = np.average(columns.astype(float), axis=0, weights=train.weight)
    np.testing.assert_allclose(report["data"]["standardization"]["mean"], means, rtol=1e-12)
    if "network" not in report:
        assert [row["name"] for row in report["coefficients"]] == names


@pytest.mark.long(everywhere=True)
def test_predict_prints_what_the_model_says(fitted, run, people, tmp_path):
    _, kept = fitted
    model = mf.load_model(kept)
    status, stdout, stderr = run("predict", kept, people)
    assert status == 0 and "separated by semicolons" in stderr
    assert stdout.splitlines() == ["prediction", *model.predict(PEOPLE)]
    _, stdout, _ = run("predict", kept, people, "--proba")
    found = pandas.read_csv(io.StringIO(stdout))
    assert list(found) == ["no", "yes"]
    assert found.to_numpy().tobytes() == model.predict_proba(PEOPLE).tobytes()
    written = tmp_path / "proba.csv"
    assert run("predict", kept, people, "--proba", "--output", written)[:2] == (0, "")
    assert written.read_text() == stdout
    assert "exists: pass --force" in run("predict", kept, people, "--output", written)[2]


@pytest.mark.long(everywhere=True)
def test_score_says_how_well_the_model_agrees(fitted, run, people, tmp_path):
    report, kept = fitted
    _, held_out = rows_of()
    path = tmp_path / "held_out.csv"
    held_out.to_csv(path, index=False)
    status, stdout, stderr = run("score", kept, path, "--weight", "weight", "--json")
    assert (status, stderr) == (0, "")
    assert json.loads(stdout) == report["held_out"]
    _, stdout, _ = run("score", kept, path)
    model = mf.load_model(kept)
    accuracy = np.mean(model.predict(held_out) == held_out.sick)
    assert f"scored accuracy   {accuracy:.2%}\n" in stdout
    held_out[held_out.sick == "yes"].to_csv(path, index=False)  # rows of one class
    status, stdout, _ = run("score", kept, path, "--json")
    assert status == 0 and json.loads(stdout)["roc_auc"] is None


def test_a_test_file_is_scored_once_and_never_trained_on(run, people, tmp_path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    PEOPLE[:80].to_csv(first, index=False)
    PEOPLE[80:].assign(city="Paris").to_csv(second, index=False)
    command = ["tune", first, "--target", "sick", "--candidates", "4", *AS_PEOPLE_ARE, "--json"]
    alone, tested = json.loads(run(*command)[1]), json.loads(run(*command, "--test", second)[1])
    assert tested["theta"] == alone["theta"] and tested["training"] == alone["training"]
    assert (tested["held_out"]["n_rows"], alone["held_out"]) == (40, None)
    assert tested["data"]["how_held_out"] == "of second.csv"


def test_a_held_out_search_goes_on_with_the_same_rows(run, people, tmp_path):
    checkpoint = tmp_path / "search.db"
    options = ["--target", "sick", *AS_PEOPLE_ARE, "--holdout", "0.5", "--seed", "7", "--json"]
    results = [
        run("search", people, *options, *SMALL, "--checkpoint", checkpoint),
        run("resume", checkpoint, "--json", "--model", tmp_path / "model.json"),
    ]
    first, second = (json.loads(stdout) for _, stdout, _ in results)
    for name in ("theta", "training", "held_out", "coefficients"):
        assert first[name] == second[name]
    assert first["data"]["n_held_out"] == 60


def test_columns_that_are_not_used_are_counted():
    preparation = Preparation.fit(RawRows(np.eye(3), ("a", "b", "c"), {}))
    lines = coefficients_to_lines(Model.linear([0.0, 2.0, 0.0, 0.5], preparation, [0, 1]))
    assert ("", "(2 of 3 columns are not used: weight 0)") in lines
    assert sum(line.endswith((" a", " b", " c")) for _, line in lines) == 1


def test_text_has_the_figures_and_the_table_of_coefficients(run, people, tmp_path):
    kept = tmp_path / "model.json"
    options = [*AS_PEOPLE_ARE, "--positive", "no", "--holdout", "0.2", "--model", kept]
    status, stdout, _ = run("search", people, "--target", "sick", *SMALL, *options)
    assert status == 0
    model = mf.load_model(kept)
    assert (model.positive, model.classes) == ("no", ("no", "yes"))
    for line in (
        "positive class    no (",
        "held out          24 rows at random, by --holdout 0.2\n",
    ):
        assert line in stdout
    for start in ("training accuracy ", "held-out accuracy ", "held-out log loss "):
        assert f"\n{start}" in stdout
    table, intercept = model.coefficients()
    for row in table:
        ratio = f"{row.weight:<18.6g}{row.standardized:<16.6g}{row.odds_ratio:<14.6g}{row.name}\n"
        assert ratio in stdout
    assert f"\n{intercept:<18.6g}{'':<30}(intercept)\n" in stdout
    assert f"model             {kept}: the one that these figures are of\n" in stdout
    _, stdout, _ = run("search", people, "--target", "sick", *SMALL, *AS_PEOPLE_ARE)
    assert "held-out rows     none: pass --holdout 0.2, or --test FILE\n" in stdout


def test_a_model_that_counts_errors_predicts_and_has_no_probabilities(run, data, tmp_path):
    kept = tmp_path / "model.json"
    options = ["--target", "label", "--objective", "error", "--model", kept, "--json"]
    status, stdout, _ = run("search", data, *SMALL, *options)
    assert status == 0
    found = json.loads(stdout)
    assert found["training"]["accuracy"] == pytest.approx(1 - found["loss"])
    assert found["training"]["log_loss"] is None
    assert run("predict", kept, data)[1].splitlines()[0] == "prediction"
    _, _, stderr = run("predict", kept, data, "--proba")
    assert_complaint(stderr)
    assert "was not trained for probabilities: use predict" in stderr


def test_an_evolution_has_a_model_too(run, data, tmp_path):
    kept = tmp_path / "model.json"
    options = ["--target", "label", "--method", "cem", "--model", kept, "--json"]
    status, stdout, _ = run("search", data, *SMALL, *options)
    assert status == 0
    theta = np.array(json.loads(stdout)["theta"])
    model = mf.load_model(kept)
    np.testing.assert_array_equal([*model.coef[0], *model.intercept], theta)


def test_the_packaged_data_and_arrays_give_models_too(run, tmp_path):
    kept, path = tmp_path / "model.json", tmp_path / "data.npz"
    assert run("tune", "--candidates", "2", "--model", kept)[0] == 0
    assert len(mf.load_model(kept).features) == 30
    X = np.random.default_rng(0).normal(size=(50, 3))
    y = np.where(X[:, 0] > 0, 1, -1)
    np.savez(path, X=X, y=y)
    options = ["--features", "x0,x2", "--model", kept, "--force"]
    assert run("tune", path, "--candidates", "2", *options)[0] == 0
    model = mf.load_model(kept)
    assert model.features == ("x0", "x2") and model.classes == (-1, 1)
    _, stdout, _ = run("predict", kept, path)
    wanted = model.predict(X[:, [0, 2]]).tolist()
    assert list(map(int, stdout.splitlines()[1:])) == wanted


def test_rows_that_miss_a_value_are_dropped_where_rows_are_counted(run, people, tmp_path):
    kept = tmp_path / "model.json"
    options = ["--drop", "id,city,weight", "--missing", "drop", "--model", kept, "--json"]
    status, stdout, stderr = run("tune", people, "--target", "sick", "--candidates", "2", *options)
    n_whole = int(PEOPLE.age.notna().sum())
    assert status == 0 and json.loads(stdout)["data"]["n_samples"] == n_whole
    assert f"{N - n_whole} rows that missed a value: left out." in stderr
    assert json.loads(run("score", kept, people, "--json")[1])["n_rows"] == n_whole
    _, _, stderr = run("predict", kept, people)
    assert "column 'age' is empty: fill it, or train with --missing mean or --drop" in stderr


TARGET = {"csv": ["--target", "x1"], "parquet": ["--target", "x1"], "npy": []}


@pytest.mark.parametrize("kind", TARGET)
def test_rows_that_a_model_cannot_use_are_refused_with_options_of_its_training(run, tmp_path, kind):
    path, kept = tmp_path / f"rows.{kind}", tmp_path / "model.json"

    def write(column):
        frame = pandas.DataFrame({"x0": column, "x1": [1.0, 0.0, 1.0, 0.0] * 5})
        writers = {
            "csv": lambda: frame.to_csv(path, index=False),
            "parquet": lambda: frame.to_parquet(path),
            "npy": lambda: np.save(path, frame.to_numpy()),
        }
        writers[kind]()

    write(np.arange(20.0))
    assert run("tune", path, *TARGET[kind], "--candidates", "2", "--model", kept)[0] == 0
    write(np.r_[np.arange(19.0), np.nan])
    status, stdout, stderr = run("predict", kept, path)
    assert (status, stdout) == (1, "")
    assert_complaint(stderr)
    assert "fill it, or train with --missing mean or --drop COLUMN" in stderr
    assert "or pass --missing" in run("tune", path, *TARGET[kind])[2]


def test_a_text_where_a_model_wants_a_number_is_refused_with_an_option_of_its_training(
    run, people, tmp_path
):
    kept = tmp_path / "model.json"
    options = ["--features", "age", "--missing", "mean", "--candidates", "2", "--model", kept]
    assert run("tune", people, "--target", "sick", *options)[0] == 0
    PEOPLE.assign(age="old").to_csv(people, index=False)
    _, _, stderr = run("predict", kept, people)
    assert "has 'old' where a finite number is wanted: fix it, or train with --drop COL" in stderr


def test_a_file_without_a_feature_of_a_model_is_refused(run, people, tmp_path):
    kept = tmp_path / "model.json"
    options = ["--features", "age,weight", "--missing", "mean", "--candidates", "2"]
    assert run("tune", people, "--target", "sick", *options, "--model", kept)[0] == 0
    PEOPLE.drop(columns=["age", "weight"]).to_csv(people, index=False)
    for command in ("predict", "score"):
        status, _, stderr = run(command, kept, people)
        assert status == 1 and "column 'age', 'weight': pass a file with all features" in stderr
    PEOPLE.rename(columns={"age": "Age"}).to_csv(people, index=False)
    assert "no column 'age' (did you mean 'Age'?): pass a file" in run("predict", kept, people)[2]


WRONG = [
    ([], "column 'city' has 'Rome' where a finite number is wanted: drop it (--drop COLUMN), or"),
    (["--drop", "city"], "column 'age' is empty: fill it, or pass --missing mean, --missing drop"),
    (["--drop", "cty"], "has no feature 'cty' (did you mean 'city'?): name one of"),
    (["--features", "ages"], "has no feature 'ages' (did you mean 'age'?)"),
    ([*AS_PEOPLE_ARE, "--weight", "city"], "column 'city' is text: choose a column of weights"),
    ([*AS_PEOPLE_ARE, "--positive", "Yes"], "has no class 'Yes' (did you mean 'yes'?): name 'no'"),
    ([*AS_PEOPLE_ARE, "--test", "none.csv"], "none.csv does not exist"),
    ([*AS_PEOPLE_ARE, "--model", "no/model.json"], "no is not a directory: make it"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
def test_what_cannot_be_done_is_a_sentence_with_an_option_as_the_cure(
    run, people, options, sentence
):
    first = PEOPLE.index[PEOPLE.city == "Rome"][0]
    PEOPLE.iloc[[first, *range(N)]].to_csv(people, index=False)
    for command in ("search", "tune"):
        status, stdout, stderr = run(command, people, "--target", "sick", *options)
        assert (status, stdout) == (1, "")
        assert_complaint(stderr)
        assert sentence in stderr


def test_options_that_do_not_go_together(run, people):
    both = ["--holdout", "0.5", "--test", people]
    for command in ("search", "tune"):
        status, _, stderr = run(command, people, "--target", "sick", *both)
        assert status == 2 and "--test and --holdout both say what is held out" in stderr
        for part in ("0", "1", "nan", "-0.5"):
            assert "a number between 0 and 1 wanted" in run(command, f"--holdout={part}")[2]
        for names in ("a,,b", '"a', ""):
            stderr = run(command, "--drop", names)[2]
            assert "names of columns, separated by commas, wanted" in stderr
        status, _, stderr = run(command, "-", "--target", "sick", "--test", "-")
        assert status == 2 and "FILE and --test are both stdin" in stderr


def test_files_of_other_classes_do_not_score_a_model_of_three(run, people, tmp_path):
    model = Model(
        ("a", "b", "c"), None, Preparation.none(["age"]), np.eye(3)[:, :1], np.zeros(3), SOFTMAX
    )
    model.save(tmp_path / "model.json")
    path = tmp_path / "whole.csv"
    PEOPLE.dropna().to_csv(path, index=False)
    status, _, stderr = run("score", tmp_path / "model.json", path, "--target", "sick")
    assert status == 1
    assert "pass rows of the classes 'a' and 'b' and 'c'." in stderr or "choose a target" in stderr


def test_other_classes_in_a_test_file_are_named(run, people, tmp_path):
    path = tmp_path / "test.csv"
    PEOPLE.assign(sick="maybe").to_csv(path, index=False)
    command = ["tune", people, "--target", "sick", *AS_PEOPLE_ARE, "--test", path]
    _, _, stderr = run(*command)
    assert "column 'sick' has the value 'maybe' after 'no' and 'yes'" in stderr


def test_a_name_with_a_comma_is_quoted(run, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(CSV.replace("a,b,", '"a, b",c,'))
    options = ["--target", "label", "--drop", '"a, b"', "--json", "--candidates", "2"]
    status, stdout, _ = run("tune", path, *options)
    assert status == 0 and json.loads(stdout)["data"]["feature_names"] == ["c"]


@pytest.mark.long(everywhere=True)
def test_new_values_of_text_are_told(fitted, run, tmp_path):
    _, kept = fitted
    path = tmp_path / "new.csv"
    PEOPLE.assign(city="Paris")[:5].to_csv(path, index=False)
    status, _, stderr = run("predict", kept, path)
    assert status == 0
    assert "column city has values that no training row had, in 5 of the rows" in stderr


def test_a_wide_table_prints_its_largest_coefficients(run, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 50))
    np.savez(tmp_path / "wide.npz", X=X, y=X[:, 7] > 0)
    status, stdout, _ = run("tune", tmp_path / "wide.npz", "--candidates", "2")
    assert status == 0 and "(12 of 50, the largest: --json has all)" in stdout
    assert "  x7\n" in stdout


def test_the_commands_of_the_documentation_run(run_commands_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PEOPLE.rename(columns={"sick": "ill"}).to_csv("patients.csv", index=False)
    run_commands_of("howto/models.md")
