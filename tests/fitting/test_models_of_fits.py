"""Fits hand out models that know their labels and columns."""

import numpy as np
import pandas
import pytest
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf

RNG = np.random.default_rng(1)
FRAME = pandas.DataFrame(RNG.normal(size=(30, 3)), columns=["b", "a", "c"])
LABELS = np.where(FRAME.b + RNG.normal(size=30) > 0, "ill", "fine")


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "labels", [LABELS, LABELS == "ill", np.where(LABELS == "ill", 2.5, -1), (LABELS == "ill") * 1]
)
def test_a_model_predicts_labels_of_columns_by_name(labels, fit_intercept):
    fits = mf.fit_many(FRAME, labels, l2=[0.01, 0.1], fit_intercept=fit_intercept)
    assert fits.feature_names == ("b", "a", "c")
    for m in range(2):
        model, theta = fits.model(m), fits.theta[m]
        decisions = FRAME.to_numpy() @ theta[:3] + (theta[3] if fit_intercept else 0)
        np.testing.assert_allclose(model.decision_function(FRAME[["a", "c", "b"]]), decisions)
        least, greatest = np.unique(labels).tolist()
        wanted = np.where(decisions > 0, greatest, least).tolist()
        assert model.predict(FRAME).tolist() == wanted
        assert model.to_sklearn().predict(FRAME).tolist() == wanted
        assert model.classes == (least, greatest) and model.positive == greatest


def test_a_model_of_a_fold_is_the_one_that_left_it_out(tmp_path):
    folds = np.arange(30) % 3
    fits = mf.fit_many(FRAME.to_numpy(), LABELS, l2=[0.01, 0.1], folds=folds)
    model = fits.model(1, fold=2)
    np.testing.assert_array_equal([*model.coef[0], *model.intercept], fits.theta[1, 2])
    held_out = folds == 2
    right = model.predict(FRAME.to_numpy()[held_out]) == LABELS[held_out]
    assert right.mean() == pytest.approx(fits.validation_accuracy[1, 2])
    model.save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.features == ("x0", "x1", "x2")
    assert {c.standardized for c in again.coefficients()[0]} == {None}


def test_a_model_of_many_classes_has_a_probability_for_each(tmp_path):
    labels = np.array(["p", "q", "r"])[np.argmax(FRAME.to_numpy() + RNG.normal(size=(30, 3)), 1)]
    fits = mf.fit_many(FRAME, labels, l2=[0.05])
    model = fits.model(0)
    expected = LogisticRegression(C=1 / (0.05 * 30), tol=1e-10, max_iter=10_000)
    expected.fit(FRAME, labels)
    np.testing.assert_allclose(
        model.predict_proba(FRAME), expected.predict_proba(FRAME), rtol=0, atol=1e-4
    )
    assert model.predict(FRAME).tolist() == expected.predict(FRAME).tolist()
    model.save(tmp_path / "model.json")
    again = mf.load_model(tmp_path / "model.json")
    assert again.predict_proba(FRAME).tobytes() == model.predict_proba(FRAME).tobytes()
    pipeline = again.to_sklearn()
    np.testing.assert_allclose(pipeline.predict_proba(FRAME), model.predict_proba(FRAME))


def test_a_model_that_is_not_there_is_a_sentence():
    one = mf.fit_many(FRAME, LABELS, l2=[0.1])
    with pytest.raises(ValueError, match="m is 1: pass an integer from 0 to 0"):
        one.model(1)
    with pytest.raises(ValueError, match=r"fold is 0 .*, and the models have no folds: pass None"):
        one.model(0, fold=0)
    many = mf.fit_many(FRAME, LABELS, l2=[0.1], folds=np.arange(30) % 3)
    with pytest.raises(TypeError, match="fold is None: pass an integer from 0 to 2"):
        many.model(0)
    with pytest.raises(TypeError, match=r"the labels are b'fine' .*: pass y of strings, numbers"):
        mf.fit_many(FRAME, LABELS.astype("S"), l2=[0.1]).model()
