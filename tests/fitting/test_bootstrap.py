"""Weights of resamples, permuted labels, and what a bootstrap says of a penalised model."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import metaopt_fast as mf
from metaopt_fast.fitting import differing
from metaopt_fast.fitting.bootstrap import bca_ends
from metaopt_fast.fitting.normal import normal_cdf, normal_quantile
from metaopt_fast.fitting.resample_tuning import folds_of_rows
from metaopt_fast.fitting.resampled_models import Resamples
from metaopt_fast.fitting.resamples import OF_WEIGHTS, drawn_weights

KINDS = ["multinomial", "poisson", "bayesian", "subsample", "jackknife"]


def problem(n_samples=300, n_features=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    return X, X[:, 0] - X[:, 1] + rng.logistic(size=n_samples) > 0


X, Y = problem()

# ------------------------------------------------------------------------------------------ weights


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("kind", KINDS)
@given(first=st.integers(0, 4), count=st.integers(1, 4), seed=st.integers(0, 2**64 - 1))
def test_a_resample_depends_on_its_seed_and_number_alone(kind, first, count, seed):
    asked = {"seed": seed, "kind": kind}
    some = mf.bootstrap_weights(10, count, start=first, **asked)
    assert (some == mf.bootstrap_weights(10, 9, **asked)[first : first + count]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_have_the_moments_of_their_kind(kind):
    n = 400
    weights = mf.bootstrap_weights(n, 400, kind=kind, fraction=0.25)
    assert weights.dtype == (np.float64 if kind == "bayesian" else np.uint8)
    mean = {"subsample": 0.25, "jackknife": 1 - 1 / n}.get(kind, 1.0)
    variance = {"subsample": 0.25 * 0.75, "jackknife": (1 - 1 / n) / n}.get(kind, 1.0)
    assert weights.mean() == pytest.approx(mean, rel=0.01)
    assert weights.var() == pytest.approx(variance, rel=0.02)
    if kind in ("multinomial", "bayesian"):
        assert weights.sum(axis=1) == pytest.approx(n)
    if kind == "subsample":
        assert (weights.sum(axis=1) == 100).all()
    if kind == "jackknife":
        assert (weights == 1 - np.eye(n)).all()


@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_multinomial_weights_count_what_a_sampler_draws(n, n_threads, full_teams):
    count, start = (4000 if n == 7 else 61), 5
    weights = drawn_weights(n, count, 3, "multinomial", 0.5, None, start, n_threads)
    drawn = mf.Integers(0, n - 1).sample(3 ^ OF_WEIGHTS, start, count, n).astype(int)
    assert (weights == [np.bincount(row, minlength=n) for row in drawn]).all()


def test_a_multinomial_weight_is_binomial():
    drawn = mf.bootstrap_weights(4, 100_000, kind="multinomial")[:, 0]
    for count in range(5):
        probability = stats.binom.pmf(count, 4, 0.25)
        assert (drawn == count).mean() == pytest.approx(probability, abs=0.006)


def test_groups_are_resampled_as_a_whole():
    groups = ["b", "a", "a", "c", "b", "a"]
    weights = mf.bootstrap_weights(6, 50, groups=groups)
    assert (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, [1, 1]] == weights[:, [2, 5]]).all()
    assert (weights[:, [1, 0, 3]].sum(axis=1) == 3).all()
    assert mf.bootstrap_weights(6, kind="jackknife", groups=groups).shape == (3, 6)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"kind": "jacknife"}, "kind is 'jacknife'"),
        ({"kind": "jackknife", "n_resamples": 11}, "a jackknife has 10"),
        ({"fraction": 1.5}, "fraction is 1.5"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"groups": [0, 1]}, "groups has shape"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_is_wrong_with_resamples_is_said(given_, message):
    with pytest.raises(ValueError, match=message):
        mf.bootstrap_weights(**{"n_samples": 10, **given_})


# ------------------------------------------------------------------------------------------- labels


def test_permuted_labels_are_the_labels_in_another_order():
    y = np.arange(100) % 7
    found = mf.permuted_labels(y, 200, seed=3)
    assert found.dtype == np.int8
    assert (np.sort(found, axis=1) == np.sort(y)).all()
    assert (found[50:] == mf.permuted_labels(y, 150, seed=3, start=50)).all()
    assert found.mean(axis=0) == pytest.approx(np.full(100, 3), abs=0.6)


def test_all_orders_are_equally_likely():
    orders, counts = np.unique(mf.permuted_labels([0, 1, 2], 6000), axis=0, return_counts=True)
    assert len(orders) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_labels_stay_in_their_groups_whatever_they_are():
    labels, groups = np.array(["a", "b", "b", "c", "c", "c"]), [0, 1, 0, 1, 0, 1]
    found = mf.permuted_labels(labels, 40, groups=groups)
    for group in (0, 1):
        mine = np.equal(groups, group)
        assert (np.sort(found[:, mine], axis=1) == np.sort(labels[mine])).all()
    assert len(np.unique(found, axis=0)) > 5


# ----------------------------------------------------------------------------------- the bootstrap


@pytest.mark.sanitized
def test_intervals_and_errors_are_those_of_the_distribution():
    found = mf.bootstrap(X, Y, l2=0.02, n_resamples=60, confidence_level=0.8, seed=5)
    weights = mf.bootstrap_weights(len(Y), 60, seed=5)
    fits = mf.fit_many(X, Y, l2=0.02, sample_weight=weights)
    assert (found.bootstrap_distribution == fits.theta.T).all()
    assert found.confidence_interval.low == pytest.approx(np.quantile(fits.theta, 0.1, axis=0))
    assert found.confidence_interval.high == pytest.approx(np.quantile(fits.theta, 0.9, axis=0))
    assert found.standard_error == pytest.approx(fits.theta.std(axis=0, ddof=1))
    assert found.theta == pytest.approx(mf.fit_many(X, Y, l2=0.02).theta[0], abs=1e-6)
    assert found.certified.all()


def test_losses_are_those_of_rows_left_out_and_of_all():
    found = mf.bootstrap(X, Y, l2=0.02, n_resamples=30)
    weights = mf.bootstrap_weights(len(Y), 30)
    thetas = found.bootstrap_distribution.T
    signs = np.where(Y, 1, -1)
    losses = np.logaddexp(0, -signs * (thetas[:, :-1] @ X.T + thetas[:, -1:]))
    out = weights == 0
    assert found.oob_loss == pytest.approx((losses * out).sum(axis=1) / out.sum(axis=1))
    own = (losses * weights).sum(axis=1) / weights.sum(axis=1)
    assert found.optimism == pytest.approx((losses.mean(axis=1) - own).mean())
    apparent = mf.LogisticLoss(X, Y, fit_intercept=True).loss(found.theta)
    assert found.apparent_loss == pytest.approx(apparent)
    assert found.loss_632 == pytest.approx(0.368 * apparent + 0.632 * found.oob_loss.mean())


def test_standard_errors_are_the_sandwich_s():
    rows, y = problem(2000, 3, seed=1)
    l2 = 0.01
    found = mf.bootstrap(rows, y, l2=l2, n_resamples=600)
    ones = np.column_stack([rows, np.ones(len(y))])
    p = 1 / (1 + np.exp(-ones @ found.theta))
    hessian = (ones.T * (p * (1 - p))) @ ones / len(y) + np.diag([l2, l2, l2, 0])
    scores = ones * (p - y)[:, None] + np.array([l2, l2, l2, 0]) * found.theta
    middle = scores.T @ scores / len(y)
    inverse = np.linalg.inv(hessian)
    sandwich = np.sqrt(np.diag(inverse @ middle @ inverse) / len(y))
    assert found.standard_error == pytest.approx(sandwich, rel=0.12)


def test_a_jackknife_is_one_fit_without_each_row():
    rows, y = problem(40, 2, seed=2)
    fits = mf.fit_many(rows, y, l2=0.1, sample_weight=mf.bootstrap_weights(40, kind="jackknife"))
    for k in (0, 17, 39):
        one = mf.fit_many(np.delete(rows, k, axis=0), np.delete(y, k), l2=0.1)
        assert fits.theta[k] == pytest.approx(one.theta[0], abs=1e-6)


@pytest.mark.long(everywhere=True)
def test_bca_intervals_are_finite_where_all_thetas_are_on_one_side():
    rng = np.random.default_rng(3)
    thetas, left_out = rng.normal(size=(20, 2)), rng.normal(size=(9, 2)) ** 3
    levels = np.array([0.025, 0.975])
    for theta in ([9.0, -9.0], [9.0, 0.0]):
        low, high = bca_ends(thetas, np.array(theta), left_out, levels)
        assert (thetas.min(axis=0) <= low).all()
        assert (low <= high).all()
        assert (high <= thetas.max(axis=0)).all()
        # Nor does the size of the numbers matter, up to the ends of what doubles hold.
        for unit in (2.0**-700, 2.0**700):
            scaled = bca_ends(unit * thetas, unit * np.array(theta), unit * left_out, levels)
            np.testing.assert_array_equal(scaled, [unit * low, unit * high])


def test_corrected_intervals_are_scipys():
    rng = np.random.default_rng(3)
    sample = rng.exponential(size=30)
    theirs = stats.bootstrap(
        (sample,), np.mean, method="BCa", n_resamples=2000, vectorized=True, rng=rng
    )
    left_out = np.array([np.delete(sample, i).mean() for i in range(30)])
    low, high = bca_ends(
        theirs.bootstrap_distribution[:, None],
        np.array([sample.mean()]),
        left_out[:, None],
        np.array([0.025, 0.975]),
    )
    assert low[0] == pytest.approx(theirs.confidence_interval.low, rel=1e-9)
    assert high[0] == pytest.approx(theirs.confidence_interval.high, rel=1e-9)


def test_corrected_intervals_of_a_model_and_of_groups():
    groups = np.arange(len(Y)) // 5
    for asked in ({}, {"groups": groups}):
        found = mf.bootstrap(X, Y, l2=0.02, n_resamples=200, method="BCa", **asked)
        interval = found.confidence_interval
        assert (interval.low < found.theta).all()
        assert (found.theta < interval.high).all()


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("x", [-30.0, -5.0, -1.6, -1.4, -1e-9, 0.0, 0.5, 3.0])
def test_the_normal_distribution_is_exact_to_a_few_digits_more_than_are_shown(x):
    assert normal_cdf(np.array([x]))[0] == pytest.approx(stats.norm.cdf(x), rel=1e-13)
    p = stats.norm.cdf(x)
    assert normal_quantile(np.array([p]))[0] == pytest.approx(stats.norm.ppf(p), abs=1e-12)


def test_ctrl_c_leaves_the_resamples_that_were_finished(monkeypatch):
    monkeypatch.setattr(differing, "BATCH_BYTES", 1)
    fit, calls = Resamples.fit, []

    def interrupted(self, first, last):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(last)
        return fit(self, first, last)

    monkeypatch.setattr(Resamples, "fit", interrupted)
    found = mf.bootstrap(X, Y, l2=0.02, n_resamples=1000)
    assert found.interrupted
    assert found.bootstrap_distribution.shape == (5, calls[-1])
    assert "interrupted" in repr(found)
    calls[:] = [0, 0]
    with pytest.raises(KeyboardInterrupt):
        mf.bootstrap(X, Y, l2=0.02, n_resamples=1000)


def test_of_many_parameters_the_ten_largest_are_printed():
    rows, y = problem(200, 12)
    found = mf.bootstrap(rows, y, l2=0.1, n_resamples=9)
    lines = repr(found).splitlines()
    assert lines[11] == "  (3 more)"
    shown = np.array([float(line.split()[0]) for line in lines[1:11]])
    assert (np.diff(np.abs(shown)) <= 0).all()
    assert np.abs(shown).max() == pytest.approx(np.abs(found.theta).max(), rel=1e-3)


def test_intervals_become_a_frame_by_the_names_of_the_parameters(monkeypatch):
    pandas = pytest.importorskip("pandas")
    X, y = problem()
    X = pandas.DataFrame(X, columns=list("abcd"))
    found = mf.bootstrap(X, y, l2=0.1, n_resamples=9)
    frame = found.to_frame()
    assert frame["name"].tolist() == [*"abcd", "intercept"]
    assert frame["theta"].tolist() == found.theta.tolist()
    assert frame["standard_error"].tolist() == found.standard_error.tolist()
    assert frame["low"].tolist() == found.confidence_interval.low.tolist()
    assert frame["high"].tolist() == found.confidence_interval.high.tolist()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas"):
        found.to_frame()


def test_intervals_draw_themselves():
    pytest.importorskip("matplotlib").use("Agg")
    found = mf.bootstrap(X, Y, l2=0.02, n_resamples=20)
    ax = found.plot()
    assert [text.get_text() for text in ax.get_yticklabels()][-1] in ("x0", "x1")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"method": "bca"}, "method is 'bca'.*'BCa'"),
        ({"kind": "jackknife"}, "kind is 'jackknife'"),
        ({"confidence_level": 1}, "confidence_level is 1"),
        ({"n_resamples": 1}, "n_resamples is 1"),
        ({"y": [Y, Y]}, "y has shape"),
        ({"class_weight": [None, "balanced"]}, "those of one"),
        ({"groups": np.zeros(len(Y))}, "one class .*to bootstrap, more rows or kind='bayesian'"),
    ],
)
def test_what_is_wrong_with_a_bootstrap_is_said(given_, message):
    if "groups" in given_:
        given_ = {"groups": np.r_[0, np.ones(len(Y) - 1)], "y": np.arange(len(Y)) == 0}
    with pytest.raises(ValueError, match=message):
        mf.bootstrap(**{"X": X, "y": Y, "l2": 0.1, **given_})


def test_poisson_weights_are_cut_where_the_distribution_function_is():
    steps = [sum(Fraction(1, math.factorial(i)) for i in range(k + 1)) for k in range(4)]
    drawn = mf.bootstrap_weights(1000, 400, kind="poisson").ravel()
    for k, step in enumerate(steps):
        assert (drawn <= k).mean() == pytest.approx(float(step) / math.e, abs=0.003)


def test_a_resample_that_leaves_no_row_out_has_no_loss_on_such_rows():
    groups = np.arange(len(Y)) % 2
    found = mf.bootstrap(X, Y, l2=0.1, n_resamples=20, groups=groups)
    weights = mf.bootstrap_weights(len(Y), 20, groups=groups)
    whole = (weights > 0).all(axis=1)
    assert 0 < whole.sum() < 20
    assert (np.isnan(found.oob_loss) == whole).all()
    mean = found.oob_loss[~whole].mean()
    assert found.loss_632 == pytest.approx(0.368 * found.apparent_loss + 0.632 * mean)
    one = mf.bootstrap(X, Y, l2=0.1, n_resamples=4, groups=np.zeros(len(Y)))
    assert one.oob_loss is None
    assert one.loss_632 is None


# ------------------------------------------------------------------------------- tuned resamples

TUNE = [1e-4, 1e-3, 0.01, 0.1, 1.0]


def noisy(n_samples=80, n_features=15, seed=0):
    """Rows most of whose features mean nothing: penalties matter."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    return X, X[:, 0] + rng.logistic(size=n_samples) > 0


def chosen_by_hand(X, y, weights, folds):
    """The penalty of least mean loss over folds, of rows that are repeated."""
    rows = np.repeat(np.arange(len(y)), weights)
    fits = mf.fit_many(X[rows], y[rows], l2=TUNE, folds=folds[rows])
    return TUNE[int(fits.validation_loss.mean(axis=1).argmin())]


def test_each_resample_chooses_what_folds_of_distinct_rows_choose():
    rows, y = noisy()
    folds = np.arange(80) % 4
    found = mf.bootstrap(rows, y, tune=TUNE, folds=folds, n_resamples=12, seed=2)
    weights = mf.bootstrap_weights(80, 12, seed=2)
    expected = [chosen_by_hand(rows, y, row, folds) for row in weights]
    assert len(set(expected)) > 1
    assert found.resample_l2.tolist() == expected
    assert found.l2 == chosen_by_hand(rows, y, np.ones(80, int), folds)
    fits = mf.fit_many(rows, y, l2=expected, sample_weight=weights)
    assert (found.bootstrap_distribution == fits.theta.T).all()
    assert found.certified.all()
    least, most = min(expected), max(expected)
    assert f"l2 {found.l2:g}, of resamples {least:g} to {most:g}" in repr(found)


def test_copies_on_both_sides_of_a_fold_would_choose_weaker_penalties():
    rows, y = noisy()
    weights = mf.bootstrap_weights(80, 12)
    cut = np.random.default_rng(0).permutation(np.arange(80) % 5)
    naive = []
    for row in weights:
        entries = np.repeat(np.arange(80), row)
        fits = mf.fit_many(rows[entries], y[entries], l2=TUNE, folds=cut)
        naive.append(TUNE[int(fits.validation_loss.mean(axis=1).argmin())])
    found = mf.bootstrap(rows, y, tune=TUNE, folds=cut, n_resamples=12)
    assert (found.resample_l2 >= naive).all()
    assert np.log10(found.resample_l2).mean() > np.log10(naive).mean() + 0.2


def test_the_strongest_of_equal_penalties_is_chosen_and_folds_are_fit_manys():
    rows, y = noisy(60, 3)
    asked = {"n_resamples": 4, "folds": 3}
    found = mf.bootstrap(rows, y, tune=[0.1, 1e-3, 0.1], **asked)
    again = mf.bootstrap(rows, y, tune=[0.1, 1e-3], **asked)
    assert (found.resample_l2 == again.resample_l2).all()
    fits = mf.fit_many(rows, y, l2=[0.1, 1e-3], folds=3)
    assert found.l2 == [0.1, 1e-3][int(fits.validation_loss.mean(axis=1).argmin())]
    # Penalties that are nothing beside the rows make equal models.
    factors = [0, 0, 0, 1e-300]
    equal = mf.bootstrap(rows, y, tune=[1e-9, 1e-8], penalty_factor=factors, n_resamples=2)
    assert equal.resample_l2.tolist() == [1e-8, 1e-8]


def test_tuned_intervals_have_the_bits_of_any_batch_and_number_of_threads(monkeypatch):
    rows, y = noisy(50, 3)
    asked = {"tune": TUNE[2:], "n_resamples": 60, "folds": 2}
    found = mf.bootstrap(rows, y, n_threads=1, **asked)
    monkeypatch.setattr(differing, "BATCH_BYTES", 1)
    again = mf.bootstrap(rows, y, n_threads=3, **asked)
    assert found.bootstrap_distribution.tobytes() == again.bootstrap_distribution.tobytes()
    assert (found.resample_l2 == again.resample_l2).all()


def test_tuned_groups_are_whole_on_one_side_of_a_fold():
    rows, y = noisy(80, 3)
    groups = np.array(list("cabd"))[np.arange(80) % 4]
    asked = {"tune": TUNE, "groups": groups, "n_resamples": 3, "kind": "bayesian"}
    found = mf.bootstrap(rows, y, folds=2, **asked)
    # Groups take turns in the order of their labels: a and c, b and d.
    folds = np.array([0, 0, 1, 1])[np.arange(80) % 4]
    assert (folds_of_rows(2, np.zeros(80, int), groups) == folds).all()
    by_hand = mf.bootstrap(rows, y, folds=folds, **asked)
    assert (found.resample_l2 == by_hand.resample_l2).all()
    assert (found.theta == by_hand.theta).all()
    with pytest.raises(ValueError, match="folds cut group 'c': pass the same fold"):
        mf.bootstrap(rows, y, folds=np.arange(80) // 4 % 2, **asked)


def test_corrected_intervals_of_tuned_models_tune_those_without_a_row():
    rows, y = noisy(40, 2)
    asked = {"tune": [1e-3, 0.3], "folds": 2, "n_resamples": 50}
    found = mf.bootstrap(rows, y, method="BCa", **asked)
    weights = mf.bootstrap_weights(40, kind="jackknife")
    folds = mf.fit_many(rows, y, l2=1.0, folds=2).folds
    fits = [mf.fit_many(rows, y, l2=l2, folds=folds, sample_weight=weights) for l2 in (0.3, 1e-3)]
    losses = np.stack([of.validation_loss.mean(axis=1) for of in fits])
    l2 = np.array([0.3, 1e-3])[losses.argmin(axis=0)]
    without = mf.fit_many(rows, y, l2=l2, sample_weight=weights).theta
    ends = bca_ends(found.bootstrap_distribution.T, found.theta, without, np.array([0.025, 0.975]))
    assert (found.confidence_interval.low == ends[0]).all()
    assert (found.confidence_interval.high == ends[1]).all()


@pytest.mark.sanitized
def test_models_of_folds_that_are_not_proven_are_counted():
    rows, y = noisy(40, 2)
    with pytest.warns(RuntimeWarning) as warned:
        mf.bootstrap(rows, y, tune=[0.1, 1.0], folds=2, n_resamples=3, max_iter=1, tol=1e-14)
    assert [str(one.message).split(" did")[0] for one in warned] == [
        "3 of 3 models",
        "16 of 16 models by which penalties were chosen",
    ]


@pytest.mark.parametrize(
    ("given_", "error", "message"),
    [
        ({"l2": 0.1, "tune": TUNE}, ValueError, "l2 and tune are given: pass one of them"),
        ({"l2": 0.1, "folds": 3}, ValueError, "folds are given, but tune is None"),
        ({}, TypeError, "l2 is None: pass a number"),
        ({"tune": [0.1, 0.1]}, ValueError, "tune is .*: pass two penalties or more"),
        ({"tune": [0.1, -1.0]}, ValueError, "tune has -1.0"),
        ({"tune": TUNE, "folds": 1}, ValueError, "folds is 1"),
        ({"tune": TUNE, "penalty_factor": np.zeros(5)}, ValueError, "no parameter a penalty"),
        ({"tune": TUNE, "groups": np.arange(300) % 3}, ValueError, "folds is 5"),
    ],
)
def test_what_is_wrong_with_tuned_resamples_is_said(given_, error, message):
    with pytest.raises(error, match=message):
        mf.bootstrap(X, Y, **given_)
