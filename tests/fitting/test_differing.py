"""fit_many of models that differ in weights, labels, factors of penalties and centres."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf
from metaopt_fast.data.rows import BLOCK_ROWS
from metaopt_fast.fitting import differing, falls, lane_fits
from metaopt_fast.fitting.models import SPAN_BLOCKS
from metaopt_fast.fitting.shared_rows import SharedRows
from metaopt_fast.reference import fitting as reference

TIGHT = {"tol": 1e-11}


def problem(n_samples=150, n_features=6, seed=0):
    """Rows that no plane separates, labels, folds, and whole weights of 25 models."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + rng.normal(size=n_features)
    y = (X @ rng.normal(size=n_features) + 2 * rng.normal(size=n_samples) > 1).astype(int)
    weights = rng.multinomial(n_samples, np.full(n_samples, 1 / n_samples), 25)
    return X, y, np.arange(n_samples) % 3, weights.astype(np.uint8)


X, Y, FOLDS, WEIGHTS = problem()
N = len(Y)
VECTORS = np.stack([np.random.default_rng(k).permutation(Y) for k in range(25)])


@pytest.mark.parametrize("model", [0, 11, 24])
def test_whole_weights_are_rows_repeated(model):
    fits = mf.fit_many(X, Y, l2=0.01, sample_weight=WEIGHTS, **TIGHT)
    repeats = WEIGHTS[model]
    one = mf.fit_many(np.repeat(X, repeats, axis=0), np.repeat(Y, repeats), l2=0.01, **TIGHT)
    assert fits.certified.all()
    assert fits.theta[model] == pytest.approx(one.theta[0], abs=1e-9)
    assert fits.loss[model] == pytest.approx(one.loss[0], rel=1e-13)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, float, np.float32, bool])
def test_weights_of_0_and_1_are_folds_whatever_their_type(kind):
    masks = (np.arange(3)[:, None] != FOLDS).astype(kind)
    fits = mf.fit_many(X, Y, l2=0.01, sample_weight=masks, **TIGHT)
    folds = mf.fit_many(X, Y, l2=0.01, folds=FOLDS, **TIGHT)
    assert fits.theta == pytest.approx(folds.theta[0], abs=1e-9)
    assert fits.loss == pytest.approx(folds.loss[0], rel=1e-13)


def test_equal_weights_and_labels_are_those_of_one_model():
    weights = np.random.default_rng(1).uniform(0.1, 3, len(Y))
    fits = mf.fit_many(X, np.tile(Y, (3, 1)), l2=0.1, sample_weight=np.tile(weights, (3, 1)))
    one = mf.fit_many(X, Y, l2=0.1, sample_weight=weights)
    assert (fits.theta == fits.theta[0]).all()
    assert fits.loss == pytest.approx(one.loss[0], abs=fits.gap_bound[0] + one.gap_bound[0] + 1e-15)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.3, 1: 2.0}])
def test_models_with_folds_are_those_of_the_slow_twin(class_weight):
    weights = WEIGHTS[:4] * np.random.default_rng(2).uniform(0.5, 2, len(Y))
    rng = np.random.default_rng(3)
    asked = {
        "l2": [0.3, 0.01, 0.1, 0.02],
        "folds": FOLDS,
        "class_weight": class_weight,
        "sample_weight": weights,
        "penalty_factor": rng.choice([0.5, 1.0, 4.0, np.inf], (4, 6)),
        "center": rng.normal(size=7),
    }
    fits = mf.fit_many(X, VECTORS[:4], **asked, **TIGHT)
    twin = reference.fit_many(X, VECTORS[:4], **asked)
    assert fits.theta.shape == (4, 3, 7)
    assert fits.theta == pytest.approx(twin.theta, abs=1e-9)
    assert fits.loss == pytest.approx(twin.loss, rel=1e-13)
    assert fits.validation_loss == pytest.approx(twin.validation_loss, abs=1e-9)
    assert fits.validation_accuracy == pytest.approx(twin.validation_accuracy, rel=1e-14)
    assert fits.certified.all()


@pytest.mark.parametrize("of_models", ["weights", "labels"])
def test_a_decision_of_0_is_for_the_lesser_label(of_models):
    rows, y = np.vstack([X, np.zeros((6, 6))]), np.r_[Y, [0, 0, 0, 0, 1, 1]]
    asked = {"folds": np.repeat([0, 1], [N, 6]), "fit_intercept": False}
    if of_models == "weights":
        asked["sample_weight"] = np.ones((2, N + 6))
    else:
        y = np.tile(y, (2, 1))
    fits = mf.fit_many(rows, y, l2=0.1, **asked)
    assert fits.validation_accuracy[:, 1] == pytest.approx(4 / 6)


@pytest.mark.parametrize("weighted", [False, True])
def test_label_vectors_have_scikit_learns_optima(weighted):
    weights = WEIGHTS if weighted else None
    fits = mf.fit_many(X, VECTORS, l2=0.05, sample_weight=weights)
    for k in (0, 24):
        mine = None if weights is None else weights[k]
        total = len(Y) if weights is None else mine.sum()
        C = 1 / (0.05 * total)
        model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10)
        model.fit(X, VECTORS[k], mine)
        assert fits.theta[k, :-1] == pytest.approx(model.coef_[0], abs=1e-6)
        assert fits.theta[k, -1] == pytest.approx(model.intercept_[0], abs=1e-6)


def test_one_class_against_the_rest_is_a_label_vector_for_each_class():
    classes = np.digitize(X[:, 0] + np.random.default_rng(7).normal(size=len(X)), [0.0, 1.0])
    fits = mf.fit_many(X, classes == np.arange(3)[:, None], l2=0.05, **TIGHT)
    for k in range(3):
        one = mf.fit_many(X, classes == k, l2=0.05, **TIGHT)
        assert fits.theta[k] == pytest.approx(one.theta[0], abs=1e-9)


def test_labels_may_be_of_any_two_kinds():
    names = np.array(["no", "yes"])
    fits = mf.fit_many(X, names[VECTORS], l2=0.05)
    assert fits.classes == ["no", "yes"]
    assert fits.model(3).predict(X[:1])[0] in names
    for labels in (VECTORS.astype(bool), 2 * VECTORS - 1, VECTORS + 0.5, VECTORS.tolist()):
        assert (mf.fit_many(X, labels, l2=0.05).theta == fits.theta).all()


def test_a_column_of_labels_is_one_label_vector_and_a_row_of_them_is_a_model():
    column = mf.fit_many(X, Y[:, None], l2=0.05)
    assert (column.theta == mf.fit_many(X, Y, l2=0.05).theta).all()
    assert mf.fit_many(X, Y[None], l2=0.05).theta == pytest.approx(column.theta, abs=1e-6)


# ------------------------------------------------------------------------------ penalties, centres


def test_an_infinite_factor_leaves_a_feature_out_and_others_scale_columns():
    factors = np.array([1, np.inf, 4, 1, 0.25, 1])
    fits = mf.fit_many(X, Y, l2=0.02, penalty_factor=factors, **TIGHT)
    roots = np.sqrt(np.delete(factors, 1))
    one = mf.fit_many(np.delete(X, 1, axis=1) / roots, Y, l2=0.02, **TIGHT)
    assert fits.theta[0, 1] == 0
    assert fits.n_nonzero.tolist() == [5]
    theta = np.delete(fits.theta[0], 1)
    assert theta[:-1] * roots == pytest.approx(one.theta[0, :-1], abs=1e-9)
    assert theta[-1] == pytest.approx(one.theta[0, -1], abs=1e-9)


def test_masks_of_features_for_each_model():
    masks = np.where(np.eye(6, dtype=bool), np.inf, 1.0)
    fits = mf.fit_many(X, Y, l2=0.02, penalty_factor=masks, **TIGHT)
    for j in range(6):
        one = mf.fit_many(np.delete(X, j, axis=1), Y, l2=0.02, **TIGHT)
        assert np.delete(fits.theta[j], j) == pytest.approx(one.theta[0], abs=1e-9)
    assert fits.certified.all()


def test_a_strong_penalty_draws_parameters_to_the_centre():
    centre = np.random.default_rng(4).normal(size=7)
    fits = mf.fit_many(X, Y, l2=[1e6, 1e12], center=centre, **TIGHT)
    assert fits.theta[0, :-1] == pytest.approx(centre[:-1], abs=1e-5)
    assert fits.theta[1, :-1] == pytest.approx(centre[:-1], abs=1e-11)


def test_centred_at_the_optimum_without_a_penalty_any_penalty_leaves_it_there():
    best = mf.fit_many(X, Y, l2=0.0, **TIGHT).theta[0]
    fits = mf.fit_many(X, Y, l2=[1e-6, 1.0, 1e6], center=best, **TIGHT)
    assert fits.theta == pytest.approx(np.tile(best, (3, 1)), abs=1e-9)


def test_an_intercept_is_penalised_where_it_has_a_factor():
    far = X + 100.0  # centred, where intercepts are free
    fits = mf.fit_many(far, Y, l2=0.01, penalty_factor=np.ones(7))
    one = mf.fit_many(np.column_stack([far, np.ones(len(Y))]), Y, l2=0.01, fit_intercept=False)
    assert fits.loss == pytest.approx(one.loss, rel=1e-12)
    assert fits.theta == pytest.approx(one.theta, abs=1e-6)


def test_columns_far_from_0_are_as_good_as_others():
    near = mf.fit_many(X, Y, l2=0.01, sample_weight=WEIGHTS, **TIGHT)
    far = mf.fit_many(X + 1e6, Y, l2=0.01, sample_weight=WEIGHTS, **TIGHT)
    assert far.theta[:, :-1] == pytest.approx(near.theta[:, :-1], abs=1e-6)
    assert far.certified.all()


# ------------------------------------------------------------------------------------- same bits


@pytest.mark.parametrize("labels", [Y, VECTORS], ids=["common labels", "own labels"])
def test_a_model_has_the_bits_that_it_has_alone(labels):
    rng = np.random.default_rng(5)
    l2, weights = 10.0 ** rng.integers(-6, 1, 25), WEIGHTS * rng.choice([1, 1e-9, 1e9], (25, 150))
    asked = {"penalty_factor": rng.choice([0.1, 1.0, np.inf], (25, 6))}
    fits = mf.fit_many(X, labels, l2=l2, sample_weight=weights, **asked)
    order = rng.permutation(25)
    mine = labels if labels.ndim == 1 else labels[order]
    shuffled = mf.fit_many(
        X,
        mine,
        l2=l2[order],
        sample_weight=weights[order],
        penalty_factor=asked["penalty_factor"][order],
        n_threads=3,
    )
    assert (shuffled.theta == fits.theta[order]).all()
    assert (shuffled.gap_bound == fits.gap_bound[order]).all()
    for k in (0, 24):
        one = mf.fit_many(
            X,
            labels if labels.ndim == 1 else labels[k : k + 1],
            l2=l2[k],
            sample_weight=weights[k : k + 1],
            penalty_factor=asked["penalty_factor"][k],
        )
        assert (one.theta[0] == fits.theta[k]).all()


@pytest.mark.parametrize("n_models", [1, 23, 24, 25, 49])
def test_batches_change_no_bits(n_models, monkeypatch):
    weights = np.tile(WEIGHTS, (2, 1))[:n_models]
    fits = mf.fit_many(X, Y, l2=0.03, sample_weight=weights, folds=FOLDS)
    monkeypatch.setattr(differing, "BATCH_BYTES", 1)
    again = mf.fit_many(X, Y, l2=0.03, sample_weight=weights, folds=FOLDS)
    assert (fits.theta == again.theta).all()
    assert (fits.validation_loss == again.validation_loss).all()


def test_no_more_models_are_fitted_together_than_memory_is_meant_for(monkeypatch):
    fit, sizes = differing.Differing.fit, []

    def noted(self, first, last, *others):
        sizes.append(last - first)
        return fit(self, first, last, *others)

    monkeypatch.setattr(differing.Differing, "fit", noted)
    n_params, n_folds = X.shape[1] + 1, 3
    numbers = N + n_folds * (3 * n_params * (n_params + 1) // 2 + 8 * n_params)
    for room, wanted in ((50, [48, 48, 4]), (7, [8] * 12 + [4])):
        monkeypatch.setattr(differing, "BATCH_BYTES", room * 8 * numbers)
        mf.fit_many(X, Y, l2=0.03, sample_weight=np.tile(WEIGHTS, (4, 1)), folds=FOLDS)
        assert sizes == wanted  # whole lanes, and a batch of them at least
        sizes.clear()


@pytest.mark.long(everywhere=True)
def test_models_of_many_rows_take_turns_and_keep_their_bits():
    # Nine tiles, eight of which are at work: five or six turns of each, of three in a row.
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 3))
    labels = rows[:, 0] + rng.logistic(size=20_000) > 0
    asked = {"sample_weight": rng.integers(0, 3, (200, 20_000), np.uint8), "l2": 1e-3}
    one, *others = (mf.fit_many(rows, labels, **asked, n_threads=n) for n in (1, 2, 3))
    assert one.certified.all()
    for other in others:
        assert other.theta.tobytes() == one.theta.tobytes()
        assert other.gap_bound.tobytes() == one.gap_bound.tobytes()
        assert other.loss.tobytes() == one.loss.tobytes()


# ------------------------------------------------------------------------------------- certificates


@pytest.mark.parametrize("stride", [1, 2, 8])
@pytest.mark.parametrize("scale", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_by_some_of_the_rows_hold(stride, seed, scale, monkeypatch):
    rng = np.random.default_rng(seed)
    n_samples, n_features = int(rng.integers(20, 700)), int(rng.integers(1, 40))
    rows = rng.normal(size=(n_samples, n_features))
    y = rows[:, 0] * scale + rng.logistic(size=n_samples) > 0
    y[:2] = [False, True]
    weights = rng.integers(0, 4, (5, n_samples))
    weights[:, :2] += 1
    asked = {"l2": 10.0 ** rng.integers(-6, 0), "sample_weight": weights}
    monkeypatch.setattr(lane_fits, "STRIDE", stride)
    fits = mf.fit_many(rows, y, tol=1e-3, **asked)
    exact = mf.fit_many(rows, y, tol=1e-12, **asked)
    assert (fits.loss - exact.loss <= fits.gap_bound + 1e-15).all()
    assert exact.certified.all()


@pytest.mark.parametrize("n_samples", [20, 512, 513, 20_000])
def test_rounding_is_counted_for_the_rows_of_a_span_one_by_one_and_then_for_the_spans(n_samples):
    rows = SharedRows.of(np.ones((n_samples, 1)), None, None, True, 1)
    span = BLOCK_ROWS * SPAN_BLOCKS
    assert rows.chain >= min(n_samples, span) + -(-n_samples // span)


def test_models_far_from_their_start_take_newton_steps_and_are_certified():
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(300, 3)) * [1, 1e3, 1e-3]
    y = rows[:, 0] + rng.normal(size=300) > 2  # few of them
    weights = np.where(y, 1e4, 1.0) * rng.uniform(0.5, 1, (3, 300))
    with pytest.warns(RuntimeWarning, match="did not converge in 3 iterations"):
        fits = mf.fit_many(rows, y, l2=1e-9, sample_weight=weights, max_iter=3)
    assert not fits.converged.all()
    fits = mf.fit_many(rows, y, l2=1e-9, sample_weight=weights)
    assert fits.certified.all()
    for k in range(3):
        one = mf.fit_many(rows, y, l2=1e-9, sample_weight=weights[k])
        assert fits.loss[k] == pytest.approx(one.loss[0], abs=fits.gap_bound[k] + 1e-15)


def test_a_model_that_no_step_leads_downhill_has_not_converged(monkeypatch):
    monkeypatch.setattr(falls, "falls_enough", lambda found, *_: np.zeros(len(found), bool))
    rows = np.random.default_rng(6).normal(size=(300, 3)) * [1, 1e3, 1e-3]
    y = rows[:, 0] + np.random.default_rng(7).normal(size=300) > 2
    weights = np.where(y, 1e4, 1.0) * np.random.default_rng(8).uniform(0.5, 1, (3, 300))
    with pytest.warns(RuntimeWarning, match="rounding|did not converge"):
        fits = mf.fit_many(rows, y, l2=1e-9, sample_weight=weights)
    assert not fits.converged.all()
    assert not (fits.converged & ~fits.certified).any()


@pytest.mark.parametrize("size", [1e160, 1e300])
def test_a_loss_beyond_the_range_is_never_called_converged(size):
    with pytest.warns(RuntimeWarning):
        fits = mf.fit_many(X, Y, l2=1.0, center=np.full(7, size))
    assert not fits.converged.any() and not fits.certified.any()


def test_separable_rows_without_a_penalty_are_said_to_be_unproven():
    rows, weights = [[-1.0], [-2.0], [1.0]], np.ones((2, 3))
    with pytest.warns(RuntimeWarning) as warned:
        fits = mf.fit_many(rows, [0, 0, 1], l2=0, sample_weight=weights)
    assert any("l2 is 0" in str(warning.message) for warning in warned)
    assert not fits.certified.any()


# ------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"sample_weight": WEIGHTS.T}, r"shape \(150, 25\), .* its transpose of shape \(25, 150\)"),
        ({"sample_weight": np.ones((2, 7))}, r"shape \(2, 7\), but X has 150 rows"),
        ({"sample_weight": WEIGHTS - 1.0}, "has -1.0 in row . of model 0"),
        ({"sample_weight": np.where(WEIGHTS == 0, np.nan, 1.0)}, "has nan in row . of model 0"),
        ({"sample_weight": 0 * WEIGHTS}, "model 0 has weight in rows of one class at most"),
        ({"sample_weight": np.stack([WEIGHTS[0], WEIGHTS[1] * Y])}, "model 1 has weight in rows"),
        ({"y": VECTORS.T}, r"y has shape \(150, 25\), .* its transpose of shape \(25, 150\)"),
        ({"y": np.ones((2, N))}, "y holds 1 class"),
        ({"y": np.arange(2 * N).reshape(2, N)}, "y holds 300 classes"),
        ({"y": np.full((2, N), np.inf)}, "y has an entry that is not finite"),
        ({"y": VECTORS, "sample_weight": WEIGHTS[:3]}, r"y has shape \(25, 150\), but sample_wei"),
        ({"y": VECTORS, "l2": [1.0, 2.0]}, r"y has shape \(25, 150\), but l2 has shape \(2,\)"),
        ({"penalty_factor": np.full(6, np.inf)}, "infinite for all features"),
        ({"penalty_factor": -np.ones(6)}, "penalty_factor has -1.0: pass numbers >= 0"),
        (
            {"penalty_factor": np.ones(5)},
            r"shape \(5,\), and X 6 columns: pass numbers",
        ),
        ({"penalty_factor": np.ones(6), "l1": [0.0, 0.1]}, "penalty_factor is given, but l1 is 0"),
        ({"center": np.full(7, np.nan)}, "center has an entry that is not finite"),
        ({"center": np.ones((3, 2))}, r"center has shape \(3, 2\)"),
        ({"sample_weight": WEIGHTS, "l1": 0.1}, "l1 is above 0"),
        ({"center": np.ones(6), "l1": 0.1}, "l1 is above 0"),
        ({"penalty_factor": np.ones((2, 6)), "l1": 0.1}, r"penalty_factor has .*\(2, 6\)"),
        ({"sample_weight": WEIGHTS, "storage": "."}, "storage is '.'"),
        ({"penalty_factor": np.ones(6), "y": np.arange(N) % 3}, "y holds 3 classes"),
        (
            {"sample_weight": WEIGHTS * (FOLDS != 1), "folds": FOLDS},
            "sample_weight is 0 for all rows of fold 1 in model 0",
        ),
        ({"sample_weight": WEIGHTS, "folds": np.r_[np.zeros(N - 1), 1.0]}, "fold|whole|dtype"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(given_, message):
    with pytest.raises((ValueError, TypeError), match=message):
        mf.fit_many(**{"X": X, "y": Y, "l2": 0.1, **given_})


def test_frames_of_labels_and_weights_are_the_arrays_that_they_hold():
    import pandas

    frames = {"y": pandas.DataFrame(VECTORS[:3]), "sample_weight": pandas.DataFrame(WEIGHTS[:3])}
    found = mf.fit_many(X, l2=0.1, **frames)
    wanted = mf.fit_many(X, VECTORS[:3], l2=0.1, sample_weight=WEIGHTS[:3])
    assert found.theta.tobytes() == wanted.theta.tobytes()


def test_more_columns_than_hessians_have_room_for_are_refused():
    with pytest.raises(ValueError, match="X has 2,050 columns"):
        mf.fit_many(np.ones((4, 2050)), [0, 1, 0, 1], l2=1.0, sample_weight=np.ones((2, 4)))
