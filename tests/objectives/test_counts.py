"""Confusion counts and the objectives that are made of them."""

import math
import pickle
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics as sk

import metaopt_fast as mf
from metaopt_fast.arithmetic import expit, last_margin
from metaopt_fast.metrics import METRICS, Cost, expected_utility, group_rates
from metaopt_fast.objectives.count_objective import INFEASIBLE
from metaopt_fast.objectives.limits import exact_gaps
from metaopt_fast.reference.counts import confusion_counts, gap
from metaopt_fast.sklearn import LogisticRegression

X4, Y4 = [[1.0], [2.0], [-1.0], [3.0]], [1, 1, 0, 0]


def data(seed, n_samples=200, n_features=3, n_groups=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    y = (X[:, 0] + rng.normal(size=n_samples) > 0).astype(int)
    y[:2] = 0, 1
    return X, y, rng.integers(0, n_groups, n_samples), rng


@pytest.mark.long
@given(
    seed=st.integers(0, 2**32 - 1),
    n_samples=st.integers(2, 200),
    n_features=st.integers(1, 8),
    n_groups=st.integers(1, 4),
    n_candidates=st.integers(1, 50),
    thresholds=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.95]), min_size=1, max_size=3),
    fit_intercept=st.booleans(),
    weights=st.sampled_from(["none", "few", "all different"]),
)
def test_counts_are_those_of_the_reference(
    seed, n_samples, n_features, n_groups, n_candidates, thresholds, fit_intercept, weights
):
    X, y, groups, rng = data(seed, n_samples, n_features, n_groups)
    w = {
        "none": None,
        "few": rng.integers(0, 4, n_samples) * 0.5,
        "all different": rng.uniform(0.01, 30, n_samples),
    }[weights]
    if w is not None:
        w[:2] = 1
        groups[w == 0] = groups[0]  # a group has rows
    thetas = rng.normal(size=(n_candidates, n_features + fit_intercept))
    options = {"groups": groups, "thresholds": tuple(thresholds), "fit_intercept": fit_intercept}
    counts = mf.ConfusionCounts(X, y, sample_weight=w, **options)
    found = counts.batch_counts(thetas)
    wanted = confusion_counts(thetas, X, y, sample_weight=w, **options)
    assert found.shape == wanted.shape
    if weights == "none":
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12 * wanted.sum())
    assert (found >= 0).all()
    np.testing.assert_array_equal(counts.counts(thetas[-1]), found[-1])


@pytest.mark.long(everywhere=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_decision_of_zero_is_negative_for_every_row(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(60, 2)).astype(float)
    y = np.arange(60) % 2
    thetas = rng.integers(-1, 2, size=(30, 2)).astype(float)
    for dtype in ("float64", "float32"):
        found = mf.ConfusionCounts(X, y, dtype=dtype).batch_counts(thetas)
        np.testing.assert_array_equal(found, confusion_counts(thetas, X, y))


@pytest.mark.sanitized
def test_bits_do_not_depend_on_threads_and_survive_pickling():
    X, y, groups, rng = data(0, 5000, 6, 3)
    w = rng.uniform(0.1, 2, 5000)
    counts = mf.ConfusionCounts(X, y, groups=groups, sample_weight=w, thresholds=(0.4, 0.5))
    thetas = rng.normal(size=(200, 6))
    wanted = counts.with_threads(1).batch_counts(thetas)
    for other in (
        counts.with_threads(2),
        counts.with_threads(5),
        pickle.loads(pickle.dumps(counts)),
    ):
        np.testing.assert_array_equal(other.batch_counts(thetas), wanted)
        assert other.fingerprint == counts.fingerprint


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("error", lambda y, p, w: 1 - sk.accuracy_score(y, p, sample_weight=w)),
        ("balanced_error", lambda y, p, w: 1 - sk.balanced_accuracy_score(y, p, sample_weight=w)),
        ("f1", lambda y, p, w: 1 - sk.f1_score(y, p, sample_weight=w)),
        ("mcc", lambda y, p, w: 1 - sk.matthews_corrcoef(y, p, sample_weight=w)),
    ],
)
def test_metrics_are_those_of_scikit_learn(metric, score):
    X, y, groups, rng = data(1, n_groups=2)
    thetas = np.vstack([rng.normal(size=(40, 4)), [[0, 0, 0, 1.0]], [[0, 0, 0, -1.0]]])
    for w in (None, rng.integers(1, 5, len(y)).astype(float)):
        counts = mf.ConfusionCounts(X, y, groups=groups, sample_weight=w, fit_intercept=True)
        found = mf.CountObjective(counts, metric).batch_loss(thetas)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = [score(y, (X @ t[:3] + t[3] > 0).astype(int), w) for t in thetas]
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_cost_matrix_and_a_utility_weigh_the_four_cells():
    counts = np.array([[3.0, 1.0, 2.0, 4.0], [0.0, 0.0, 5.0, 5.0]]).reshape(2, 1, 1, 4)
    np.testing.assert_allclose(Cost(fp=2, fn=10)(counts), [2.2, 5.0])
    utility = expected_utility(tp=1, fp=-0.5, fn=0, tn=0.1)
    np.testing.assert_allclose(-utility(counts), [(3 - 0.5 + 0.4) / 10, 0.05])
    with pytest.raises(ValueError, match="fp is nan"):
        Cost(fp=np.nan)


@pytest.mark.long
@pytest.mark.parametrize(
    "metric",
    [
        pytest.param("error", marks=pytest.mark.sanitized),
        "balanced_error",
        Cost(fp=1, fn=7),
        pytest.param(Cost(fp=0, fn=1), marks=pytest.mark.sanitized),
    ],
)
@pytest.mark.parametrize("limit", [None, "penalty", "strict"])
@pytest.mark.parametrize("weighted", [False, True])
def test_candidates_are_dropped_early_without_a_change(metric, limit, weighted, many, dtype):
    X, y, groups, rng = data(2, 700, 4, 2)
    w = rng.uniform(0.5, 3, len(y)) if weighted else None
    counts = mf.ConfusionCounts(
        X, y, groups=groups, sample_weight=w, thresholds=(0.45,), dtype=dtype
    )
    options = (
        {} if limit is None else {"max_gap": 0.05, "penalty": 3 if limit == "penalty" else None}
    )
    objective = mf.CountObjective(counts, metric, **options)
    search = {"seed": 1, "top_k": 5}
    pruned = mf.random_search(objective, mf.Normal(), many, **search)
    whole = mf.random_search(objective, mf.Normal(), many, prune=False, **search)
    np.testing.assert_array_equal(pruned.top, whole.top)
    np.testing.assert_array_equal(pruned.trace, whole.trace)
    # In double precision, to count all takes about the time of the rows until they are dropped.
    assert pruned.rows_evaluated_fraction < (0.9 if dtype == "float32" else 1)
    np.testing.assert_array_equal(objective.batch_loss(pruned.top_thetas), pruned.top["loss"])


def test_a_metric_that_is_no_sum_of_costs_is_searched_without_dropping():
    X, y, _, _ = data(3)
    objective = mf.CountObjective(mf.ConfusionCounts(X, y), "f1")
    result = mf.random_search(objective, mf.Normal(), 5000)
    assert result.rows_evaluated_fraction == 1
    assert result.loss == objective.loss(result.theta)


@pytest.mark.parametrize("gap", ["selection_rate", "tpr", "fpr"])
def test_gaps_are_limited_strictly_or_at_a_price(gap):
    X, y, groups, rng = data(4, 400, 3, 3)
    X[:, 0] += groups
    counts = mf.ConfusionCounts(X, y, groups=groups, thresholds=(0.5, 0.6), fit_intercept=True)
    thetas = rng.normal(size=(300, 4))
    cells = counts.batch_counts(thetas)
    rates = {
        "selection_rate": (cells[..., 0] + cells[..., 1]) / cells.sum(axis=-1),
        "tpr": cells[..., 0] / (cells[..., 0] + cells[..., 2]),
        "fpr": cells[..., 1] / (cells[..., 1] + cells[..., 3]),
    }[gap]
    np.testing.assert_array_equal(group_rates(cells, gap), rates)
    gaps = np.ptp(rates, axis=1).max(axis=1)
    strict = mf.CountObjective(counts, "error", gap=gap, max_gap=0.2)
    free = mf.CountObjective(counts, "error")
    np.testing.assert_allclose(strict.gaps(thetas), gaps)
    losses, errors = strict.batch_loss(thetas), free.batch_loss(thetas)
    kept = gaps <= 0.2
    assert kept.any() and not kept.all()
    np.testing.assert_array_equal(losses[kept], errors[kept])
    assert (losses[~kept] >= INFEASIBLE).all()
    order = np.argsort(gaps[~kept])
    assert (np.diff(losses[~kept][order]) >= 0).all()
    priced = mf.CountObjective(counts, "error", gap=gap, max_gap=0.2, penalty=2.5)
    np.testing.assert_allclose(priced.batch_loss(thetas), errors + 2.5 * np.maximum(gaps - 0.2, 0))
    result = mf.random_search(strict, mf.Normal(), 20_000)
    assert strict.gaps(result.theta[None])[0] <= 0.2


def test_a_callable_sees_every_count():
    X, y, groups, rng = data(5, n_groups=2)
    counts = mf.ConfusionCounts(X, y, groups=groups, thresholds=(0.5, 0.8))
    seen = []

    def worst_group(cells):
        seen.append(cells.shape)
        errors = cells[..., 1] + cells[..., 2]
        return (errors / cells.sum(axis=-1)).max(axis=(1, 2))

    thetas = rng.normal(size=(7, 3))
    found = mf.CountObjective(counts, worst_group).batch_loss(thetas)
    assert seen == [(7, 2, 2, 4)]
    cells = confusion_counts(thetas, X, y, groups=groups, thresholds=(0.5, 0.8))
    np.testing.assert_allclose(found, worst_group(cells))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda cells: cells[:, 0, 0], "metric returned .* return an array of 5 real numbers"),
        (lambda cells: 1.0, "return an array of 5 real numbers"),
        (lambda cells: np.full(5, np.nan), "metric returned nan"),
        (lambda cells: np.full(5, "a"), "return an array of 5 real numbers"),
    ],
)
def test_a_metric_of_another_form_gets_a_sentence(metric, message):
    objective = mf.CountObjective(mf.ConfusionCounts(X4, Y4), metric)
    with pytest.raises(ValueError, match=message):
        objective.batch_loss(np.ones((5, 1)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": [1, 2, 3]}, ValueError, r"groups has shape \(3,\), but X has 4 rows"),
        ({"groups": [[1], [2], [3], [4]]}, ValueError, r"groups has shape \(4, 1\)"),
        ({"groups": [1, np.nan, 2, 2]}, ValueError, "groups has nan in row 1"),
        ({"groups": [1, 3, "a", 2]}, TypeError, "cannot be sorted"),
        ({"groups": [1, None, "a", 2]}, ValueError, "groups has a missing value in row 1: fill"),
        ({"thresholds": (0.0,)}, ValueError, "thresholds has 0"),
        ({"thresholds": (0.5, 1)}, ValueError, "thresholds has 1"),
        ({"thresholds": (np.nan,)}, ValueError, "thresholds has nan"),
        ({"thresholds": ()}, ValueError, "thresholds is empty"),
        ({"thresholds": 0.5}, ValueError, r"thresholds has shape \(\)"),
        ({"thresholds": "half"}, (TypeError, ValueError), "thresholds has"),
        ({"sample_weight": [1, 1, 0, 0]}, ValueError, "0 for every negative row"),
        ({"fit_intercept": 1}, TypeError, "fit_intercept is 1"),
        ({"sample_weight": [1e308] * 4}, ValueError, "a sum beyond the range of floats"),
        (
            {"sample_weight": [1, 2, 3, 1e-50], "dtype": "float32"},
            ValueError,
            "sample_weight has 1e-50 beside 3, .*: pass dtype='float64'",
        ),
    ],
)
def test_bad_counts_get_a_sentence(options, error, message):
    with pytest.raises(error, match=message):
        mf.ConfusionCounts(X4, Y4, **options)


GROUPED = mf.ConfusionCounts(X4, Y4, groups=["a", "a", "b", "b"])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X4,), {}, TypeError, "pass a ConfusionCounts"),
        ((GROUPED, "accuracy"), {}, ValueError, "metric is 'accuracy'.*: pass one of error"),
        ((GROUPED, np.mean.__class__), {}, ValueError, "metric is"),
        ((GROUPED, [1]), {}, ValueError, "metric is"),
        ((GROUPED,), {"gap": ["tpr"]}, ValueError, "gap is"),
        ((GROUPED,), {"gap": "odds"}, ValueError, "gap is 'odds'.*: pass one of selection_rate"),
        ((GROUPED,), {"max_gap": -0.1}, ValueError, "max_gap is -0.1"),
        ((GROUPED,), {"max_gap": 1.01}, ValueError, "max_gap is 1.01.*: pass a number from 0 to 1"),
        ((GROUPED,), {"max_gap": 0.1, "penalty": np.nan}, ValueError, "penalty is nan"),
        ((GROUPED,), {"gap": "tpr", "max_gap": 0.1}, ValueError, "group 'b' has no positive rows"),
        ((GROUPED,), {"gap": "fpr", "max_gap": 0.1}, ValueError, "group 'a' has no negative rows"),
        ((mf.ConfusionCounts(X4, Y4),), {"max_gap": 0.1}, ValueError, "there is one group"),
    ],
)
def test_bad_objectives_get_a_sentence(arguments, options, error, message):
    with pytest.raises(error, match=message):
        mf.CountObjective(*arguments, **options)


def test_thetas_are_checked_as_those_of_losses_are():
    counts = mf.ConfusionCounts(X4, Y4, thresholds=(0.3,))
    for theta in ([np.nan], [np.inf]):
        with pytest.raises(ValueError, match="theta 0 has"):
            counts.counts(theta)
    with pytest.raises(ValueError, match="2 columns, but the objective has 1 parameters"):
        counts.batch_counts([[1.0, 2.0]])
    objective = mf.CountObjective(counts)
    with pytest.raises(ValueError, match="theta 0 has"):
        objective.pruned_loss([[np.nan]], 0, 0, 1, 0.1)


def test_every_metric_is_lower_for_a_perfect_model():
    counts = np.array([[[[5.0, 0, 0, 5]]], [[[3.0, 2, 2, 3]]]])
    for metric in METRICS.values():
        values = metric(counts)
        assert values[0] == 0 < values[1]


def test_arguments_of_searches_are_checked_as_those_of_losses_are():
    objective = mf.CountObjective(mf.ConfusionCounts(X4, Y4))
    with pytest.raises(ValueError, match="threshold is nan"):
        objective.pruned_loss([[1.0]], 0, 0, 1, np.nan)
    with pytest.raises(TypeError, match="threshold is 'low'"):
        objective.pruned_loss([[1.0]], 0, 0, 1, "low")
    with pytest.raises(ValueError, match="count is -5"):
        objective.sampled_loss(mf.Normal(), 0, 0, -5)
    with pytest.raises(TypeError, match="sampler is 'normal'"):
        objective.sampled_loss("normal", 0, 0, 5)
    with pytest.raises(ValueError, match="2 rows, but count is 7"):
        objective.pruned_loss([[1.0], [2.0]], 0, 0, 7, np.inf)
    assert len(objective.pruned_loss([[1.0], [2.0]], 0, 0, 2, np.inf)[0]) == 2


def test_costs_of_nothing_bound_nothing():
    counts = mf.ConfusionCounts(X4, Y4)
    assert counts.bound_rows(0, 0) is None
    assert Cost(tp=1).of_errors(1, 1) is None
    losses, fraction = mf.CountObjective(counts, Cost(fp=0, fn=0)).pruned_loss(
        [[1.0], [2.0]], 0, 0, 2, 0.0
    )
    assert losses.tolist() == [0.0, 0.0] and fraction == 1


def test_a_metric_of_a_users_own_bounds_nothing():
    counts = mf.ConfusionCounts(X4, Y4)
    objective = mf.CountObjective(counts, first_count)
    thetas = np.array([[1.0], [-1.0]])
    losses, fraction = objective.pruned_loss(thetas, 0, 0, 2, 0.0)
    assert losses.tolist() == objective.batch_loss(thetas).tolist() and fraction == 1


def test_a_callable_metric_is_part_of_the_fingerprint():
    counts = mf.ConfusionCounts(X4, Y4)
    prints = {mf.CountObjective(counts, metric).fingerprint for metric in (first_count, last_count)}
    assert len(prints) == 2


# ---------------------------------------------------------------------- limits that are met exactly


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from(["selection_rate", "tpr", "fpr"]),
    weight=st.sampled_from([None, 1.0, 0.3, 1e-310, 7e300, "whole", "halves"]),
)
def test_a_limit_that_is_met_exactly_is_kept(seed, rate, weight):
    rng = np.random.default_rng(seed)
    n_groups, size = rng.integers(2, 5), rng.integers(4, 31)
    n = n_groups * size
    X, y = rng.integers(-2, 3, (n, 2)), np.tile([0, 1], n)[:n]
    groups = np.repeat(np.arange(n_groups), size)
    weights = {
        None: None,
        "whole": rng.integers(1, 4, n) * 1.0,
        "halves": rng.integers(1, 4, n) / 2,
    }.get(weight, np.full(n, 0.0 if isinstance(weight, str | None) else weight))
    counts = mf.ConfusionCounts(X, y, groups=groups, sample_weight=weights)
    thetas = rng.integers(-2, 3, (20, 2))
    whole = weights * 2 if isinstance(weight, str) else None
    exact = [
        gap(cells, rate)
        for cells in confusion_counts(thetas, X, y, groups=groups, sample_weight=whole)
    ]
    limit = exact[int(rng.integers(20))]
    objective = mf.CountObjective(counts, gap=rate, max_gap=float(limit))
    kept = objective.batch_loss(thetas) < INFEASIBLE
    assert kept.tolist() == [value <= limit for value in exact]
    assert objective.gaps(thetas).tolist() == [float(value) for value in exact]
    priced = mf.CountObjective(counts, gap=rate, max_gap=float(limit), penalty=1e6)
    free = mf.CountObjective(counts).batch_loss(thetas)
    assert ((priced.batch_loss(thetas) == free) == kept).all()


def test_limits_as_people_write_them_are_met():
    x = np.r_[np.ones(4), -np.ones(6), np.ones(3), -np.ones(7)][:, None]
    counts = mf.ConfusionCounts(x, x[:, 0] > 0, groups=np.repeat(["a", "b"], 10))
    for limit in (0.1, 1 / 10, Fraction(1, 10), np.float64(0.1)):
        objective = mf.CountObjective(counts, max_gap=limit)
        assert objective.loss([1.0]) == 0
        assert objective.gaps([[1.0]]).tolist() == [0.1]
    assert mf.CountObjective(counts, max_gap=math.nextafter(0.1, 0)).loss([1.0]) >= INFEASIBLE


def test_an_exhaustive_search_certifies_the_best_that_keeps_the_limit():
    rng = np.random.default_rng(0)
    X, y = rng.integers(-2, 3, (60, 3)), rng.integers(0, 2, 60)
    groups = np.repeat([0, 1, 2], 20)
    thetas = np.array(np.meshgrid(*[range(-2, 3)] * 3)).reshape(3, -1).T
    cells = confusion_counts(thetas, X, y, groups=groups)
    errors = cells[..., 1:3].sum(axis=(1, 2, 3))
    gaps = [gap(some, "selection_rate") for some in cells]
    counts = mf.ConfusionCounts(X, y, groups=groups)
    for k in range(1, 7):
        found = mf.enumerate_search(mf.CountObjective(counts, max_gap=k / 20), -2, 2)
        right = min(e for e, g in zip(errors, gaps, strict=True) if g <= Fraction(k, 20))
        assert found.certified and found.loss * 60 == pytest.approx(right)


@given(
    sizes=st.lists(st.integers(2**27, 2**40), min_size=2, max_size=3),
    parts=st.lists(st.integers(0, 2**27), min_size=6, max_size=6),
    nudge=st.integers(-2, 2),
)
def test_gaps_of_more_rows_than_products_of_floats_hold_are_exact(sizes, parts, nudge):
    part = np.array(parts[: len(sizes)])[None, :, None]
    whole = np.array(sizes)[None, :, None]
    rates = [Fraction(a, b) for a, b in zip(part[0, :, 0].tolist(), sizes, strict=True)]
    exact = float(max(rates) - min(rates))
    assert exact_gaps(part, whole).tolist() == [exact]
    limit = exact + nudge * math.ulp(exact)
    assert (exact_gaps(part, whole, limit) <= limit).tolist() == [nudge >= 0]


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(seed=st.integers(0, 2**32 - 1))
def test_one_decision_for_all_has_no_gap_whatever_the_weights(dtype, seed):
    X, y, groups, rng = data(seed, 200, 2, 3)
    weights = 10.0 ** rng.uniform(-9, 9, 200)
    counts = mf.ConfusionCounts(
        X, y, groups=groups, sample_weight=weights, fit_intercept=True, dtype=dtype
    )
    objective = mf.CountObjective(counts, max_gap=0)
    assert (objective.batch_loss([[0, 0, -5.0], [0, 0, 5.0]]) < INFEASIBLE).all()
    assert objective.gaps([[0, 0, -5.0], [0, 0, 5.0]]).tolist() == [0, 0]


def test_a_metric_as_large_as_a_missed_limit_is_refused():
    objective = mf.CountObjective(GROUPED, Cost(fp=1e303, fn=1e303), max_gap=0.5)
    with pytest.raises(
        ValueError, match=r"losses from 1e\+300 on are of candidates that miss max_gap"
    ):
        objective.loss([1.0])


# ---------------------------------------------------------------------- cells of their own rows


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([0, 1, 9]))
def test_each_cell_is_the_sum_of_its_own_rows(dtype, seed, spread):
    X, y, groups, rng = data(seed, int(rng_size(seed)), 3, 2)
    X = np.rint(X * 2)  # decisions are exact, and some are ties
    weights = rng.uniform(1, 2, len(y)) * 10.0 ** rng.uniform(-spread, spread, len(y))
    counts = mf.ConfusionCounts(X, y, groups=groups, sample_weight=weights, dtype=dtype)
    thetas = np.rint(rng.normal(size=(12, 3)) * 2)
    found = counts.batch_counts(thetas)
    for k, theta in enumerate(thetas):
        chosen = X @ theta > 0
        cells = (chosen & (y == 1), chosen & (y == 0), ~chosen & (y == 1), ~chosen & (y == 0))
        for g in range(len(counts.group_labels)):
            for c, cell in enumerate(cells):
                exact = math.fsum(weights[cell & (groups == counts.group_labels[g])])
                assert abs(found[k, g, 0, c] - exact) <= counts.rounding * exact


def rng_size(seed):
    return np.random.default_rng(seed).choice([3, 70, 1100])


def test_small_weights_beside_large_ones_are_counted():
    X, y = [[1.0], [1.0], [-1.0], [-1.0], [1.0]], [1, 1, 1, 0, 0]
    counts = mf.ConfusionCounts(X, y, sample_weight=[1e-9, 2e-9, 1e9, 1, 1])
    assert counts.counts([1.0]).tolist() == [[[1e-9 + 2e-9, 1, 1e9, 1]]]


def test_sums_of_many_rows_keep_what_a_large_weight_would_swallow():
    # A wrong row in each span of 512 beside one of weight 2**53: a plain sum would stay there.
    n = 512 * 8
    X = np.ones((n, 1))
    X[::512] = 5.0  # the largest norm: the first row of all
    x = np.where(np.arange(n) % 512 == 7, -1.0, 1.0) * X[:, 0]
    weights = np.ones(n)
    x[0], weights[0] = -1.0, 2.0**53
    y = np.ones(n + 1)
    y[-1] = 0
    counts = mf.ConfusionCounts(np.r_[x, -1][:, None], y, sample_weight=np.r_[weights, 1])
    assert counts.counts([1.0])[0, 0, 2] == math.fsum(weights[x < 0]) == 2.0**53 + 8


@pytest.mark.long(everywhere=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_precision_of_a_model_without_positive_decisions_is_no_number_of_its_own(seed):
    rng = np.random.default_rng(seed)
    X, y, w = rng.integers(0, 2, (40, 3)), rng.integers(0, 2, 40), rng.uniform(0.1, 1, 40)
    counts = mf.ConfusionCounts(X, y, sample_weight=w, fit_intercept=True)
    found = mf.enumerate_search(mf.CountObjective(counts, imprecision), -1, 1)
    chosen = X @ found.theta[:3] + found.theta[3] > 0
    precision = sk.precision_score(y, chosen, sample_weight=w, zero_division=0.0)
    assert found.loss == pytest.approx(1 - precision, abs=1e-12)
    mcc = mf.CountObjective(counts, "mcc").batch_loss([[0, 0, 0, 5.0], [0, 0, 0, -5.0]])
    assert mcc.tolist() == [1, 1]


def imprecision(counts):
    tp, fp = counts[:, 0, 0, 0], counts[:, 0, 0, 1]
    chosen = np.where(tp + fp > 0, tp + fp, 1)
    return np.where(tp + fp > 0, 1 - tp / chosen, 1.0)


# ------------------------------------------------------------------------ rows at the threshold


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(-30, 30),
    fit_intercept=st.booleans(),
    step=st.sampled_from([1, 0.5, 0.1]),
)
def test_a_row_is_positive_exactly_where_its_risk_is_above_the_threshold(
    seed, k, fit_intercept, step
):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-3, 4, (60, 4)) * step, np.arange(60) % 2
    theta = rng.integers(-5, 6, 4 + fit_intercept)
    card = mf.Scorecard.from_theta(theta, fit_intercept=fit_intercept)
    risks = card.risk(X)
    thresholds = [float(t) for t in (*rng.choice(risks, 2), expit(np.array([k * 1.0]))[0])]
    thresholds = [t for t in thresholds if 0 < t < 1] or [0.5]
    counts = mf.ConfusionCounts(X, y, thresholds=thresholds, fit_intercept=fit_intercept)
    cells = counts.counts(theta)[0]
    assert (cells[:, 0] + cells[:, 1]).tolist() == [(risks > t).sum() for t in thresholds]
    assert card.predict(X).tolist() == (risks > 0.5).astype(int).tolist()


@pytest.mark.long(everywhere=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_estimator_decides_as_the_counts_do_at_the_threshold_too(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-3, 4, (40, 3)) * 0.1, np.arange(40) % 2
    theta = np.r_[rng.integers(-3, 4, 3), rng.choice([0.0, 0.1, -0.3])]
    model = LogisticRegression().fit(X, y)
    model.coef_, model.intercept_ = theta[None, :3], theta[3:]
    cells = mf.ConfusionCounts(X, y, fit_intercept=True).counts(theta)[0, 0]
    chosen = model.predict(X) == 1
    assert cells[0] == (chosen & (y == 1)).sum() and cells[1] == (chosen & (y == 0)).sum()
    assert ((model.predict_proba(X)[:, 1] > 0.5) == chosen).all()


@pytest.mark.long(everywhere=True)
@given(k=st.integers(-36, 36), dtype=st.sampled_from(["float64", "float32"]))
def test_a_whole_margin_is_not_above_its_own_probability_and_the_next_one_is(k, dtype):
    threshold = float(expit(np.array([k * 1.0]))[0])
    counts = mf.ConfusionCounts(
        [[1.0], [1.0]], [0, 1], thresholds=[threshold], fit_intercept=True, dtype=dtype
    )
    for above, theta in ((0, [k - 3, 3]), (0, [0, k]), (2, [k, 1]), (2, [k + 1, 0])):
        assert counts.counts(theta)[0, 0, :2].sum() == above


@pytest.mark.parametrize("probability", [special.expit, lambda k: 1 / (1 + math.exp(-k))])
def test_probabilities_of_whole_margins_by_others_are_thresholds_at_them(probability):
    margins = np.arange(-12.0, 19)
    thresholds = [float(probability(k)) for k in margins.tolist()]
    counts = mf.ConfusionCounts(margins[:, None], margins > 0, thresholds=thresholds)
    cells = counts.counts([1.0])[0]
    assert (cells[:, 0] + cells[:, 1]).tolist() == [(margins > k).sum() for k in margins]


@pytest.mark.long(everywhere=True)
@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_margins_above_the_last_one_are_those_of_probabilities_above_the_threshold(threshold):
    last = last_margin(threshold)
    near = last + np.arange(-64, 65) * math.ulp(last)
    assert ((expit(near) > threshold) == (near > last)).all()
    if 1e-300 < threshold < 1 - 1e-9:
        assert last == pytest.approx(
            math.log(threshold) - math.log1p(-threshold), rel=1e-9, abs=1e-12
        )


def test_the_least_margin_above_0_has_a_probability_above_one_half():
    assert last_margin(0.5) == 0
    assert (expit(np.array([5e-324, 1e-17, 0.0, -1e-17])) > 0.5).tolist() == [
        True,
        True,
        False,
        False,
    ]


# ----------------------------------------------------------------------------- dropping, extremes


@pytest.mark.parametrize("metric", ["error", "balanced_error", Cost(fp=3, fn=0.1)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_candidate_at_the_threshold_is_not_dropped(metric, dtype):
    X, y, groups, rng = data(6, 1500, 3, 3)
    weights = rng.uniform(0.1, 1, len(y))
    counts = mf.ConfusionCounts(X, y, groups=groups, sample_weight=weights, dtype=dtype)
    objective = mf.CountObjective(counts, metric)
    thetas = rng.normal(size=(100, 3))
    for theta, loss in zip(thetas, objective.batch_loss(thetas), strict=True):
        assert objective.pruned_loss([theta], 0, 0, 1, loss)[0] == loss


SCALES = [5e-324, 1e-318, 1e-310, 1e-300, 1e-150, 1e-12, 1.0, 1e12, 1e150, 1e300, 1e304]


@pytest.mark.long(everywhere=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from(SCALES),
    fp=st.sampled_from([0.0, *SCALES]),
    fn=st.sampled_from(SCALES),
    metric=st.sampled_from(["cost", "error", "balanced_error"]),
    spread=st.sampled_from([0, 1, 30]),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_pruned_losses_are_those_of_brute_force_at_any_scale(
    seed, scale, fp, fn, metric, spread, dtype
):
    X, y, _, rng = data(seed, 300, 2)
    weights = scale * 10.0 ** -rng.uniform(0, spread, len(y))
    weights[:2] = scale
    counts = mf.ConfusionCounts(X, y, sample_weight=weights, dtype=dtype)
    objective = mf.CountObjective(counts, Cost(fp=fp, fn=fn) if metric == "cost" else metric)
    thetas = rng.normal(size=(60, 2))
    losses = objective.batch_loss(thetas)
    assert np.isfinite(losses).all()
    for threshold in np.sort(losses)[[0, 3, 59]]:
        pruned, _ = objective.pruned_loss(thetas, 0, 0, 60, threshold)
        kept = losses <= threshold
        assert (pruned[kept] == losses[kept]).all()
        assert ((pruned == losses) | (pruned == np.inf)).all()


@pytest.mark.long
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from(SCALES))
def test_metrics_do_not_depend_on_the_scale_of_weights(seed, scale):
    X, y, _, rng = data(seed, 50, 2)
    whole, thetas = rng.integers(1, 4, 50), rng.normal(size=(20, 2))
    for metric in METRICS:
        found, wanted = (
            mf.CountObjective(mf.ConfusionCounts(X, y, sample_weight=w), metric).batch_loss(thetas)
            for w in (whole * scale, whole)
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@given(fp=st.sampled_from(SCALES), fn=st.sampled_from(SCALES))
def test_costs_of_any_size_have_their_exact_mean(fp, fn):
    cells = np.array([3.0, 20.0, 40.0, 7.0]).reshape(1, 1, 1, 4)
    exact = (20 * Fraction(fp) + 40 * Fraction(fn)) / 70
    assert Cost(fp=fp, fn=fn)(cells)[0] == pytest.approx(float(exact), rel=1e-15, abs=5e-324)


def first_count(counts):
    return counts[:, 0, 0, 0]


def last_count(counts):
    return counts[:, 0, 0, 3]


@pytest.mark.parametrize("metric", ["error", "balanced_error", Cost(fp=0.1, fn=0.7)])
def test_a_candidate_is_never_dropped_at_its_own_loss(metric):
    rng = np.random.default_rng(3)
    X, y, weights = rng.normal(size=(300, 3)), np.arange(300) % 2, rng.exponential(size=300)
    objective = mf.CountObjective(mf.ConfusionCounts(X, y, sample_weight=weights), metric)
    thetas = rng.normal(size=(200, 3))
    losses = objective.batch_loss(thetas)
    for k, theta in enumerate(thetas):
        assert objective.pruned_loss(theta[None], 0, 0, 1, losses[k])[0] == losses[k]
