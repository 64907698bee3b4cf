"""fit_tasks: a model for each of many groups of rows."""

from types import SimpleNamespace

import numpy as np
import pytest
from exact_optimum import EPS, Exact
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import metaopt_fast as mf
from metaopt_fast import _kernels
from metaopt_fast.fitting import tasks as of_tasks
from metaopt_fast.fitting.arguments import Effort
from metaopt_fast.fitting.task_rows import TaskPenalties, TaskRows
from metaopt_fast.reference import fitting as reference

# What the judge in extended precision cannot tell, as a part of the objective.
UNKNOWN = 100 * EPS
FIELDS = ("theta", "loss", "gap_bound", "n_iter")


def problem(n_tasks=50, n_features=4, seed=0, least=6):
    """Rows of tasks of unlike sizes, in mixed order, each with both classes."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(least, 3 * least, n_tasks)
    tasks = np.repeat(np.arange(n_tasks), counts)
    X = rng.normal(size=(len(tasks), n_features)) * np.exp(rng.normal(size=n_features))
    y = rng.random(len(tasks)) < 0.5
    starts = np.cumsum(counts) - counts
    y[starts], y[starts + 1] = False, True
    order = rng.permutation(len(tasks))
    return X[order], y[order], tasks[order]


X, Y, TASKS = problem()


def same_bits(fits, others, which=slice(None)):
    return all(np.array_equal(getattr(fits, name)[which], getattr(others, name)) for name in FIELDS)


@pytest.mark.long(everywhere=True)
@settings(max_examples=settings.default.max_examples // 10)
@given(st.integers(0, 2**32), st.integers(1, 9), st.booleans(), st.booleans())
def test_each_task_has_the_model_of_the_slow_twin(seed, n_features, fit_intercept, of_each):
    rng = np.random.default_rng(seed)
    X, y, tasks = problem(int(rng.integers(1, 30)), n_features, seed)
    n, n_params = tasks.max() + 1, n_features + fit_intercept
    factors = rng.choice([0.5, 1.0, 4.0, np.inf], (n if of_each else 1, n_params))
    factors[:, 0] = 1.0
    asked = {
        "penalty_factor": factors if of_each else factors[0],
        "center": rng.normal(size=(n, n_params) if of_each else n_params),
        "l2": rng.uniform(0.01, 1.0, n),
    }
    weights = rng.uniform(0.5, 2, len(y))
    fits = mf.fit_tasks(X, y, tasks, sample_weight=weights, fit_intercept=fit_intercept, **asked)
    assert fits.certified.all()
    for task in range(n):
        rows = tasks == task
        own = {name: of[task] if of_each else of for name, of in asked.items()}
        own["l2"] = asked["l2"][task]
        twin = reference.fit_many(
            X[rows], y[rows], sample_weight=weights[rows], fit_intercept=fit_intercept, **own
        )
        assert fits.loss[task] == pytest.approx(twin.loss[0], rel=1e-12)
        assert fits.theta[task] == pytest.approx(twin.theta[0], rel=1e-6, abs=1e-6)


def test_models_are_scikit_learns():
    fits = mf.fit_tasks(X, Y, TASKS, l2=0.1)
    for task in (0, 24, 49):
        rows = task == TASKS
        one = LogisticRegression(C=1 / (0.1 * rows.sum()), tol=1e-10, solver="newton-cholesky")
        one.fit(X[rows], Y[rows])
        assert fits.theta[task, :-1] == pytest.approx(one.coef_[0], abs=1e-6)
        assert fits.theta[task, -1] == pytest.approx(one.intercept_[0], abs=1e-6)
    assert fits.model(3).predict(X[:1]).shape == (1,)
    assert fits.l2.tolist() == [0.1] * 50


@pytest.mark.parametrize("count", [1, 23, 24, 25, 49])
def test_a_task_has_the_bits_that_it_has_alone(count):
    everything = mf.fit_tasks(X, Y, TASKS, l2=0.02)
    chosen = np.random.default_rng(count).permutation(50)[:count]
    rows = np.isin(TASKS, chosen)
    assert same_bits(
        everything, mf.fit_tasks(X[rows], Y[rows], TASKS[rows], l2=0.02), sorted(chosen)
    )


def test_any_order_of_tasks_and_any_number_of_threads_has_the_same_bits():
    fits = mf.fit_tasks(X, Y, TASKS, l2=0.02, n_threads=1)
    names = np.random.default_rng(0).permutation(50)
    others = mf.fit_tasks(X, Y, names[TASKS], l2=0.02, n_threads=7)
    assert same_bits(others, fits, names)


@pytest.mark.long(everywhere=True)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=settings.default.max_examples // 10)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1e-8, 1e-4, 0.1]),
    st.sampled_from([1, 3, 12]),
    st.sampled_from([1, 2, 4, 100]),
    st.booleans(),
)
def test_no_bound_is_false(seed, l2, n_features, max_iter, is_separated):
    """Few rows of many columns, rows that a plane separates, work that is cut short."""
    X, y, tasks = problem(4, n_features, seed)
    if is_separated:
        y = X[:, 0] > np.median(X[:, 0])
        for task in range(4):
            y[np.flatnonzero(tasks == task)[:2]] = False, True
    fits = mf.fit_tasks(X, y, tasks, l2=l2, max_iter=max_iter)
    for task in range(4):
        exact = Exact(X[tasks == task], y[tasks == task], l2=l2, fit_intercept=True)
        loss, least = exact.loss(fits.theta[task]), exact.minimise().loss
        assert not np.isnan(fits.gap_bound[task])
        assert loss - least <= fits.gap_bound[task] + UNKNOWN * loss
        assert not fits.certified[task] or loss - least <= 1e-8 * max(1, loss) + UNKNOWN * loss


def fit_of_kernel(X, y, start):
    """Theta and numbers of one task, by the kernel."""
    n, signed = len(X), np.where(y, -1.0, 1.0)
    one = np.arange(n), np.array([0, n]), signed, np.array([1 / n]), np.array([0])
    theta, numbers = np.empty((1, 3)), np.empty((1, 6))
    asked = np.full(1, 0.01), np.array([[1.0, 1.0, 0.0]]), np.zeros((1, 3)), np.array([start])
    _kernels.TaskRows(X, True, *one).fit(*asked, 1e-20, 100, theta, numbers, 1)
    return theta[0], numbers[0]


@pytest.mark.parametrize("far", [30.0, 100.0])
def test_steps_that_lead_uphill_are_halved_until_they_do_not(far):
    """Where curvatures are nearly 0, Newton's steps are far too long, and so are their halves."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), np.arange(12) % 2 == 1
    theta, numbers = fit_of_kernel(X, y, [far, -far, far / 2])
    twin = reference.fit_many(X, y, l2=0.01)
    assert theta == pytest.approx(twin.theta[0], abs=1e-6)
    assert numbers[0] == pytest.approx(twin.loss[0], rel=1e-12)


@pytest.mark.parametrize("largest", [0, 5, 11])
def test_units_of_a_task_are_those_of_its_largest_row_wherever_it_is(largest):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(12, 2)), np.arange(12) % 2 == 1
    X[largest] *= 1000
    theta, numbers = fit_of_kernel(X, y, np.zeros(3))
    units = np.append(np.ldexp(1.0, np.frexp(np.abs(X).max(axis=0))[1]), 1.0)
    assert numbers[5] == pytest.approx((np.abs(theta) * units).sum(), rel=1e-14)


def test_large_tasks_are_fitted_by_themselves(monkeypatch):
    weights = np.random.default_rng(0).uniform(0.5, 2, len(Y))
    asked = {"l2": 0.1, "sample_weight": weights, "center": np.ones(5), "penalty_factor": [2.0] * 5}
    fits = mf.fit_tasks(X, Y, TASKS, **asked)
    monkeypatch.setattr(of_tasks, "MOST_NUMBERS", 60)
    others = mf.fit_tasks(X, Y, TASKS, **asked)
    assert not same_bits(fits, others)
    assert others.certified.all()
    assert others.loss == pytest.approx(fits.loss, rel=1e-12)
    assert others.theta == pytest.approx(fits.theta, abs=1e-6)
    monkeypatch.setattr(of_tasks, "MOST_NUMBERS", 1)
    alone = mf.fit_tasks(X, Y, TASKS, l2=0.1)
    assert alone.theta == pytest.approx(mf.fit_tasks(X, Y, TASKS, l2=0.1).theta, abs=1e-6)


def test_what_is_left_out_stays_at_its_centre():
    center = np.array([0.1, 0.7, -0.3, 0.0, 0.2])
    factors = np.array([1.0, np.inf, 1.0, np.inf, np.inf])
    fits = mf.fit_tasks(X, Y, TASKS, l2=0.1, penalty_factor=factors, center=center)
    assert (fits.theta[:, [1, 3, 4]] == center[[1, 3, 4]]).all()
    assert fits.certified.all()


def test_a_strong_penalty_ends_at_the_centre():
    center = np.array([0.5, -1.0, 0.0, 0.2])
    fits = mf.fit_tasks(X, Y, TASKS, l2=1e300, center=center)
    assert fits.certified.all()
    assert fits.theta[:, :-1] == pytest.approx(np.tile(center, (50, 1)), rel=1e-9)


def test_a_task_of_one_class_needs_a_penalty_of_its_intercept():
    y = np.where(TASKS == 7, True, Y)
    with pytest.raises(ValueError, match=r"task 7 has rows of one class at most"):
        mf.fit_tasks(X, y, TASKS, l2=0.1)
    fits = mf.fit_tasks(X, y, TASKS, l2=0.1, penalty_factor=np.ones(5))
    assert fits.certified.all()
    twin = reference.fit_many(X[TASKS == 7], y[TASKS == 7], l2=0.1, penalty_factor=np.ones(5))
    assert fits.loss[7] == pytest.approx(twin.loss[0], rel=1e-12)
    with pytest.raises(ValueError, match=r"task 'b' has rows of one class"):
        weights = np.where(TASKS == 1, 0.0, 1.0)
        names = np.array(["a", "b", "c"])[np.minimum(TASKS, 2)]
        mf.fit_tasks(X, Y, names, l2=0.1, sample_weight=weights, penalty_factor=np.ones(5))


@pytest.mark.long(everywhere=True)
def test_models_that_do_not_converge_say_why():
    with pytest.warns(RuntimeWarning, match="in 1 iterations"):
        fits = mf.fit_tasks(X, Y, TASKS, l2=1e-3, max_iter=1)
    assert set(fits.status.tolist()) == {"max_iter"}
    assert (fits.n_iter == 1).all()
    with pytest.warns(RuntimeWarning, match="rounding hides"):
        fits = mf.fit_tasks(X, Y, TASKS, l2=1.0, center=np.full(5, 1e300))
    assert not fits.certified.any()
    with pytest.warns(RuntimeWarning) as warned:
        fits = mf.fit_tasks(X, X[:, 0] > 0, np.zeros(len(Y)), l2=0.0)
    assert [str(one.message).split()[0] for one in warned] == ["1", "l2"]
    assert not fits.certified.any()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"tasks": TASKS[:-1]}, r"tasks has shape \(\d+,\), but X has \d+ rows"),
        ({"y": np.tile(Y, (2, 1))}, r"y has shape \(2, \d+\): pass one label for each row"),
        ({"l2": np.ones(3)}, r"l2 has shape \(3,\), but there are 50 tasks"),
        ({"center": np.ones((3, 5))}, r"center has shape \(3, 5\), but there are 50 tasks"),
        ({"penalty_factor": np.ones((50, 3))}, r"penalty_factor has shape \(50, 3\)"),
        ({"sample_weight": np.ones((2, len(Y)))}, r"sample_weight has shape \(2, \d+\)"),
        ({"X": np.where(X > 2, 1e70, X)}, r"X has 1e\+70 in row \d+, column \d: .* below 1e60"),
        ({"X": np.where(X > 2, np.nan, X)}, "X has nan in row"),
        ({"y": np.zeros(len(Y))}, "y holds"),
    ],
)
def test_bad_input_is_one_sentence(asked, sentence):
    given = {"X": X, "y": Y, "tasks": TASKS, "l2": 0.1} | asked
    with pytest.raises(ValueError, match=sentence):
        mf.fit_tasks(**given)


def test_tasks_far_from_0_and_of_unlike_units_are_proven_one_by_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) * [1e8, 1, 1e-8] + [0, 1e6, 0]
    y, tasks = np.arange(40) % 2, np.arange(40) // 10
    fits = mf.fit_tasks(X, y, tasks, l2=1e-3)
    assert fits.certified.all() and fits.converged.all()
    for k in range(4):
        one = mf.fit_many(X[tasks == k], y[tasks == k], l2=1e-3)
        assert fits.loss[k] == pytest.approx(one.loss[0], rel=1e-12)
    some = tasks < 2
    few = mf.fit_tasks(X[some], y[some], tasks[some], l2=1e-3)
    assert few.theta.tobytes() == fits.theta[:2].tobytes()


class Interrupted:
    """A kernel that Ctrl-C ends when all tasks but the ten of most rows had their turn."""

    def __init__(self, kernel, counts):
        self.kernel, self.left_out = kernel, np.argsort(counts, kind="stable")[-10:]

    def fit(self, *arguments):
        self.kernel.fit(*arguments)
        thetas, numbers = arguments[6:8]
        thetas[self.left_out], numbers[self.left_out] = np.nan, np.nan
        raise KeyboardInterrupt


def test_ctrl_c_leaves_the_models_that_had_their_turn(monkeypatch):
    fit, asked = TaskRows.fit, {"X": X, "y": Y, "tasks": TASKS, "l2": 0.1}

    def interrupted(self, *arguments):
        object.__setattr__(self, "kernel", Interrupted(self.kernel, self.counts))
        return fit(self, *arguments)

    whole = mf.fit_tasks(**asked)
    monkeypatch.setattr(TaskRows, "fit", interrupted)
    with pytest.warns(RuntimeWarning, match="10 of 50 models were not fitted: Ctrl-C came before"):
        fits = mf.fit_tasks(**asked)
    left_out = fits.status == "interrupted"
    assert left_out.sum() == 10
    assert fits.interrupted
    assert "50 models, 5 parameters, interrupted" in repr(fits)
    assert np.isnan(fits.theta[left_out]).all()
    assert np.isinf(fits.gap_bound[left_out]).all()
    assert not fits.converged[left_out].any()
    assert (fits.theta[~left_out] == whole.theta[~left_out]).all()
    assert fits.converged[~left_out].all()
    assert not whole.interrupted
    number = int(np.flatnonzero(left_out)[0])
    with pytest.raises(ValueError, match=f"model {number} was not fitted before Ctrl-C"):
        fits.model(number)


def test_ctrl_c_before_any_model_or_among_large_tasks(monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    counts = np.array([12, 13, 3000, 3000])
    tasks = np.repeat(np.arange(4), counts)
    X = np.random.default_rng(0).normal(size=(len(tasks), 20))
    y = X[:, 0] > 0
    with monkeypatch.context() as patch:
        patch.setattr(of_tasks, "fit_one", stopped)
        with pytest.warns(RuntimeWarning, match="2 of 4 models were not fitted"):
            fits = mf.fit_tasks(X, y, tasks, l2=0.1)
        assert fits.status.tolist() == ["converged"] * 2 + ["interrupted"] * 2
        with pytest.raises(KeyboardInterrupt):
            mf.fit_tasks(X[25:], y[25:], tasks[25:], l2=0.1)
    monkeypatch.setattr(TaskRows, "gaps", None)  # not reached
    rows = TaskRows.of(X, y, None, np.arange(12), counts[:1], True)
    object.__setattr__(rows, "kernel", SimpleNamespace(fit=stopped))
    with pytest.raises(KeyboardInterrupt):
        rows.fit(TaskPenalties.none(1, 21), Effort.of())


@pytest.mark.sanitized
def test_ctrl_c_at_the_end_of_a_fit_is_not_lost():
    rows = TaskRows.of(X, Y, None, np.arange(len(Y)), np.array([len(Y)]), True)
    late = Interrupted(rows.kernel, rows.counts)
    late.left_out = late.left_out[:0]
    object.__setattr__(rows, "kernel", late)
    with pytest.raises(KeyboardInterrupt):
        rows.fit(TaskPenalties(np.ones(1), np.ones((1, 5)), np.zeros((1, 5))), Effort.of())
