"""Every argument of every public entry replaced by what it should not be, one at a time.

A call with a wrong argument may succeed, with no NaN in what it returns; or raise a ValueError or a
TypeError of one line that names the argument. The arguments come from the signatures: a new one
cannot be forgotten, and a new public name fails `test_every_public_entry_is_in_the_table`.
"""

import contextlib
import dataclasses
import inspect
import os
import re
import resource
import signal
import warnings

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast import metrics
from metaopt_fast.samplers import Sampler

SECONDS = 5
# What a case may allocate beyond what the process has mapped.
BYTES = 2**31
# A count from which on a call may run out of memory.
HUGE = 10**9

X = np.random.default_rng(0).normal(size=(6, 3)).round(2)
Y = np.array([0, 1, 0, 1, 1, 0])
WEIGHTS = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 1.0])
GROUPS = np.array(["a", "a", "a", "b", "b", "b"])
THETA = np.array([0.5, -1.0, 2.0])
THETAS = np.array([[0.5, -1.0, 2.0], [0.0, 1.0, 0.0]])
WHOLE = np.array([2.0, 0.0, -1.0])

DATA = {"X": X, "y": Y, "sample_weight": WEIGHTS}
DRAWN = {"sampler": mf.Normal(), "seed": 1, "start": 2, "count": 3}

OBJECTIVE = mf.LogisticLoss(**DATA, l2=0.1)
CONFUSION = mf.ConfusionCounts(**DATA, groups=GROUPS)
COUNTS = np.array([3.0, 1.0, 2.0, 4.0]).reshape(1, 1, 1, 4)
SEARCH = mf.random_search(OBJECTIVE, mf.Integers(), 20, top_k=2)
EVOLUTION = mf.evolve(OBJECTIVE, mf.Normal(), population=4, generations=2)
DESCENT = mf.gradient_descent(OBJECTIVE, THETAS, max_iter=2)
CARD = mf.Scorecard.from_theta(WHOLE)


class Mine:
    """An objective that is none of the library's."""

    n_params = 3

    def batch_loss(self, thetas):
        with np.errstate(over="ignore"):
            return (thetas**2).sum(axis=1)

    def loss_gradient(self, theta):
        with np.errstate(over="ignore"):
            return float(theta @ theta), 2 * theta


@dataclasses.dataclass
class Entry:
    """A valid call, and the arguments of it that are not replaced, each with the reason."""

    function: object
    valid: dict
    excepted: dict = dataclasses.field(default_factory=dict)
    # Other words by which messages may name an argument: what it is made of, or the argument that
    # it does not go with, either of which may be the wrong one.
    aliases: dict = dataclasses.field(default_factory=dict)


# Where the whole of an argument is anything that the caller likes.
FREE = {"metadata": "anything that JSON holds, NaN too"}
THETAS_BY_NUMBER = {"thetas": r"theta \d+"}
PATHS = ("path", "checkpoint")


def entries():
    """The table: from a name to a function, a valid call, exceptions."""
    table = {
        "config": Entry(mf.config, {}),
        "show_config": Entry(mf.show_config, {}),
        "merge_duplicates": Entry(mf.merge_duplicates, DATA),
        "merge_results": Entry(
            mf.merge_results, {"results": [SEARCH]}, aliases={"results": "result"}
        ),
        "SearchResult.load": Entry(mf.SearchResult.load, {"path": "search.npz"}),
        "EvolveResult.load": Entry(mf.EvolveResult.load, {"path": "evolution.npz"}),
        "DescentResult.plot_trace": Entry(DESCENT.plot_trace, {}),
        "LogUniform": Entry(mf.LogUniform, {"low": 0.1, "high": 2.0}),
        "LogUniform.values": Entry(mf.LogUniform(0.1, 2).values, {"exponents": np.zeros(2)}),
        "Scorecard.from_theta": Entry(
            mf.Scorecard.from_theta,
            {"theta": WHOLE, "names": ["a", "b", "c"], "X": X, "y": Y},
            aliases={"theta": "names", "fit_intercept": "names"},
        ),
        "metrics.Cost": Entry(metrics.Cost, {}),
        "metrics.Cost()": Entry(metrics.Cost(), {"counts": COUNTS}, excepted=COUNTS_AS_THEY_ARE),
        "metrics.expected_utility": Entry(metrics.expected_utility, {}),
        "metrics.group_rates": Entry(
            metrics.group_rates, {"counts": COUNTS, "rate": "tpr"}, excepted=COUNTS_AS_THEY_ARE
        ),
    }
    for name in ("to_dict", "save", "plot_trace"):
        valid = {"path": "saved.npz"} if name == "save" else {}
        table[f"SearchResult.{name}"] = Entry(getattr(SEARCH, name), valid)
        table[f"EvolveResult.{name}"] = Entry(getattr(EVOLUTION, name), valid)
    table["SearchResult.plot_top"] = Entry(SEARCH.plot_top, {})
    table["SearchResult.scorecard"] = Entry(
        SEARCH.scorecard, {"names": ["a", "b", "c"], "X": X, "y": Y}
    )
    for name in ("predict", "risk", "score"):
        table[f"Scorecard.{name}"] = Entry(getattr(CARD, name), {"X": X})
    for name in ("to_dict", "to_text"):
        table[f"Scorecard.{name}"] = Entry(getattr(CARD, name), {})
    for part in (objectives(), samplers(), searches(), descents(), evolutions()):
        table.update(part)
    return table


COUNTS_AS_THEY_ARE = {"counts": "what batch_counts returned, handed over at every batch"}


def objectives():
    table = {}
    losses = ("LogisticLoss", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss")
    for name in (*losses, "AUCObjective", "ConfusionCounts"):
        valid = {**DATA, "fit_intercept": False}
        if name == "ConfusionCounts":
            valid |= {"groups": GROUPS, "thresholds": [0.3, 0.5]}
        table[name] = Entry(getattr(mf, name), valid)
        made = getattr(mf, name)(**valid)
        for method in ("loss", "gradient", "loss_gradient", "auc", "counts"):
            if hasattr(made, method):
                table[f"{name}.{method}"] = Entry(getattr(made, method), {"theta": THETA})
        for method in ("batch_loss", "batch_loss_gradient", "batch_auc", "batch_counts"):
            if hasattr(made, method):
                table[f"{name}.{method}"] = Entry(
                    getattr(made, method), {"thetas": THETAS}, aliases=THETAS_BY_NUMBER
                )
        if hasattr(made, "sampled_loss"):
            table[f"{name}.sampled_loss"] = Entry(made.sampled_loss, DRAWN)
        table[f"{name}.with_threads"] = Entry(made.with_threads, {"n_threads": 1})
        if name in losses:
            table |= {
                f"{name}.pruned_loss": Entry(made.pruned_loss, PRUNED),
                f"{name}.pruned_loss of thetas": Entry(
                    made.pruned_loss, PRUNED | {"candidates": THETAS, "count": 2, "start": 0}
                ),
                f"{name}.subset": Entry(made.subset, {"rows": [0, 1, 3]}),
                f"{name}.minibatches": Entry(made.minibatches, {"batch_size": 4}),
            }
            if made.is_smooth:
                table[f"{name}.lipschitz"] = Entry(made.lipschitz, {})
    table["ConfusionCounts.bound_rows"] = Entry(
        mf.ConfusionCounts(X, Y).bound_rows, {"of_false_positive": 1.0, "of_false_negative": 0.5}
    )
    made = mf.CountObjective(CONFUSION, max_gap=0.5)
    return table | {
        "CountObjective": Entry(
            mf.CountObjective,
            {"counts": CONFUSION, "gap": "tpr", "max_gap": 0.5, "penalty": 1.0},
        ),
        "CountObjective.loss": Entry(made.loss, {"theta": THETA}),
        "CountObjective.batch_loss": Entry(
            made.batch_loss, {"thetas": THETAS}, aliases=THETAS_BY_NUMBER
        ),
        "CountObjective.gaps": Entry(made.gaps, {"thetas": THETAS}, aliases=THETAS_BY_NUMBER),
        "CountObjective.sampled_loss": Entry(made.sampled_loss, DRAWN),
        "CountObjective.pruned_loss": Entry(made.pruned_loss, PRUNED),
        "CountObjective.pruned_loss of thetas": Entry(
            made.pruned_loss,
            PRUNED | {"candidates": THETAS, "count": 2, "start": 0},
            aliases={"candidates": r"theta \d+"},
        ),
        "CountObjective.with_threads": Entry(made.with_threads, {"n_threads": 1}),
    }


PRUNED = {"candidates": mf.Normal(), "seed": 1, "start": 2, "count": 3, "threshold": 0.7}


def samplers():
    table = {
        "Normal": Entry(mf.Normal, {"loc": [0.0, 1.0, 2.0], "scale": [1.0, 1.0, 2.0]}),
        "Uniform": Entry(mf.Uniform, {"low": [0.0, 1.0, 2.0], "high": [1.0, 2.0, 3.0]}),
        "Integers": Entry(
            mf.Integers, {"low": [0, 0, -2], "high": [1, 2, 3], "max_nonzero": 1, "free": (-1,)}
        ),
        "Mixture": Entry(
            mf.Mixture,
            {"groups": {("a", "b"): mf.Normal(), 2: mf.Integers()}, "names": ["a", "b", "c"]},
        ),
    }
    made = {
        "Normal": mf.Normal(),
        "Uniform": mf.Uniform(),
        "Integers": mf.Integers(),
        "Integers that are few": mf.Integers(max_nonzero=1),
        "Mixture": mf.Mixture([(slice(None), mf.Normal())]),
    }
    for name, sampler in made.items():
        drawn = {"seed": 1, "start": 2, "count": 3, "n_params": 3}
        table[f"{name}.sample"] = Entry(sampler.sample, drawn)
        table[f"{name}.to_dict"] = Entry(sampler.to_dict, {})
        if sampler.in_kernel:
            table[f"{name}.columns"] = Entry(sampler.columns, {"n_params": 3})
            table[f"{name}.draws"] = Entry(sampler.draws, {"seed": 1, "n_params": 3})
        if isinstance(sampler, mf.Integers):
            table[f"{name}.bounds"] = Entry(sampler.bounds, {"n_params": 3})
            table[f"{name}.droppable"] = Entry(sampler.droppable, {"n_params": 3})
    return table


def searches():
    random = {"objective": OBJECTIVE, "sampler": mf.Normal(), "n_candidates": 20}
    return {
        "random_search": Entry(mf.random_search, random | {"time_budget": 0.02}, FREE),
        "random_search of my objective": Entry(
            mf.random_search, random | {"objective": Mine(), "time_budget": 0.02}, FREE
        ),
        "resume_search": Entry(
            mf.resume_search, {"checkpoint": "search.db", "objective": OBJECTIVE}
        ),
        "enumerate_search": Entry(
            mf.enumerate_search,
            {"objective": OBJECTIVE, "low": [-1, -1, 0], "high": [1, 1, 1], "time_budget": 0.02},
        ),
        "enumerate_search of few": Entry(
            mf.enumerate_search,
            {"objective": OBJECTIVE, "low": -1, "high": 1, "max_nonzero": 1, "free": (-1,)},
            aliases={"low": "bounds", "high": "bounds"},
        ),
        "search_descents": Entry(
            mf.search_descents,
            {
                "objective": OBJECTIVE,
                "samplers": {"learning_rate": mf.LogUniform(0.1, 1)},
                "n_candidates": 4,
                "validation": mf.LogisticLoss(X, Y),
                "theta0": THETA,
                "search": {"time_budget": 0.02},
                "max_iter": 2,
            },
            {"options": "names, which gradient_descent reads"},
        ),
        "fit_many": Entry(
            mf.fit_many, {**DATA, "l2": [0.1, 1.0], "folds": [0, 0, 0, 1, 1, 1], "theta0": None}
        ),
        "fit_many without folds": Entry(
            mf.fit_many,
            {**DATA, "l2": 0.1, "class_weight": {0: 1.0, 1: 2.0}, "theta0": [0.0] * 4},
            aliases={"X": "theta0"},
        ),
    }


def descents():
    """Each update rule with all of its own arguments, and those that are none of it."""
    own = {
        "gd": {"learning_rate": 0.5, "patience": 2},
        "gd of many": {"theta0": THETAS, "learning_rate": [0.1, 0.5], "l2": [0.0, 0.1]},
        "gd by mini-batches": {"learning_rate": 0.1, "batch_size": 2, "patience": 2},
        "momentum": {"momentum": 0.5},
        "nesterov": {"restart": True},
        "adagrad": {"eps": 1e-8, "learning_rate": 0.5},
        "rmsprop": {"alpha": 0.9, "momentum": 0.1, "eps": 1e-8, "patience": 2},
        "adamw": {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
        "lbfgs": {"history_size": 2},
    }
    table = {
        f"gradient_descent by {name}": Entry(
            mf.gradient_descent,
            {"objective": OBJECTIVE, "theta0": THETA, "method": name.split()[0], "max_iter": 4}
            | options,
            # As many as there are rows of theta0.
            aliases={"theta0": "learning_rate"},
        )
        for name, options in own.items()
    }
    mine = {"objective": Mine(), "theta0": THETA, "learning_rate": 0.1, "max_iter": 4}
    return table | {"gradient_descent of my objective": Entry(mf.gradient_descent, mine)}


def evolutions():
    own = {
        "cem": {
            "elite": 0.5,
            "smoothing": 0.5,
            "noise": 0.1,
            "noise_generations": 2,
            "patience": 2,
        },
        "snes": {"learning_rate": 0.5, "scale_learning_rate": 0.5},
        "ars": {"elite": 0.5, "learning_rate": 0.1, "exploration": 0.1},
        "shrinking": {"start": THETA, "scale": [1.0, 2.0, 3.0], "shrink": 0.9, "shrink_stuck": 0.5},
        "integer_local_search": {"start": mf.Integers(), "restart_after": 2},
    }
    common = {"objective": OBJECTIVE, "start": mf.Normal(), "population": 4, "generations": 3}
    return {
        f"evolve by {method}": Entry(
            mf.evolve, common | {"method": method, "time_budget": 0.02} | options, FREE
        )
        for method, options in own.items()
    }


# Public, and called with what the library itself has made.
RECORD = "a record that functions return: made by nobody else, read by attribute"
NOT_IN_TABLE = {
    "DescentResult": RECORD,
    "DescentSearchResult": RECORD,
    "EvolveResult": RECORD,
    "FitResult": RECORD,
    "Scorecard": RECORD,
    "SearchResult": RECORD,
    "CheckpointError": "an exception",
    "HingeLoss.lipschitz": "takes no argument, and has no answer",
}

ENTRIES = entries()


def wrong_values(valid):
    """From labels to values, some of them in the form of a valid one."""
    values = {
        "None": None,
        "object": object(),
        "str": "abc",
        "empty str": "",
        "bytes": b"abc",
        "nan": np.nan,
        "inf": np.inf,
        "-inf": -np.inf,
        "-1": -1,
        "0": 0,
        "10**12": 10**12,
        "2**70": 2**70,
        "1e308": 1e308,
        "-1e308": -1e308,
        "True": True,
        "complex": 1j,
        "[]": [],
        "[[]]": [[]],
        "ragged": [[1.0], [1.0, 2.0]],
        "objects": np.array([object(), object()]),
        "dict": {"a": 1},
        "empty dict": {},
        "lambda": lambda *arguments: None,
        "type": float,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.asarray(valid) if isinstance(valid, (list, np.ndarray, tuple)) else None
    if array is None or array.size == 0:
        return values | {"a list of two": [valid, valid], "one dimension more": np.ones((1, 1))}
    values |= {
        "one less": array[:-1],
        "one more": np.concatenate([array, array[:1]]),
        "one dimension more": array[None],
        "one dimension less": array[0],
        "array of objects": array.astype(object),
        "strings": array.astype(str),
    }
    if array.ndim == 2:
        values |= {
            "one column less": array[:, :-1],
            "one column more": np.concatenate([array, array[:, :1]], axis=1),
        }
    if array.dtype.kind in "iuf":
        values |= {"complex array": array.astype(complex)}
        for number in (np.nan, np.inf, -np.inf, -1, 1e308, -1e308, 2.0**70):
            some = array.astype(float)
            some[(0,) * some.ndim] = number
            values[f"one {number:g}"] = some
    return values


class Late(BaseException):
    """A call took too long; not an Exception, so that nothing takes it for its own."""


def _late(signum, frame):
    raise Late


@contextlib.contextmanager
def time_limit(seconds):
    before = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def limited_memory():
    """A request for too much memory fails at once, however much the machine has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    """A folder of its own: some of the wrong values are names of files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("arguments"))
        patch.setenv("MPLBACKEND", "agg")
        SEARCH.save("search.npz")
        EVOLUTION.save("evolution.npz")
        mf.random_search(OBJECTIVE, mf.Normal(), 20, checkpoint="search.db")
        yield


def arguments(entry):
    return [
        name
        for name, parameter in inspect.signature(entry.function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]


CASES = [
    (name, argument)
    for name, entry in ENTRIES.items()
    for argument in arguments(entry)
    if argument not in entry.excepted
]


@pytest.mark.parametrize("name", ENTRIES)
def test_the_valid_call_succeeds(name):
    entry = ENTRIES[name]
    assert set(entry.valid) <= set(arguments(entry)) | {"max_iter"}
    assert set(entry.excepted) <= set(inspect.signature(entry.function).parameters)
    assert not has_nan(entry.function(**entry.valid))


@pytest.mark.parametrize(("name", "argument"), CASES, ids=[f"{a}-{b}" for a, b in CASES])
def test_a_wrong_argument_is_used_or_refused_by_name(name, argument):
    entry = ENTRIES[name]
    parameter = inspect.signature(entry.function).parameters[argument]
    faults = []
    for label, value in wrong_values(entry.valid.get(argument, parameter.default)).items():
        fault = fault_of(entry, argument, value)
        if fault is not None:
            faults.append(f"{argument} = {label}: {fault}")
    assert not faults, "\n".join([f"{name} at fault:", *faults])


def fault_of(entry, argument, value):
    """What is wrong with how a call takes the value; None if nothing is."""
    try:
        with time_limit(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error")
            # What `fit_many` documents.
            warnings.filterwarnings("ignore", "l2 is 0 and an optimum could not be certified")
            result = entry.function(**{**entry.valid, argument: value})
            return "NaN in the result" if has_nan(result) else None
    except (ValueError, TypeError) as error:
        if argument == "callback" and callable(value):
            return None  # its own error
        words = entry.aliases.get(argument, argument)
        return fault_of_message(str(error), rf"\b({argument}|{words})\b")
    except MemoryError:
        is_count = isinstance(value, int) and value >= HUGE
        return None if is_count else "MemoryError"
    except OSError as error:
        # Strings and bytes are names of files, if of no good ones.
        is_name = argument in PATHS and isinstance(value, (str, bytes))
        return None if is_name else repr(error)
    except Late:
        return f"not done after {SECONDS} s"
    except Exception as error:
        return repr(error)


def fault_of_message(message, words):
    if "\n" in message or not message.endswith(".") or ": " not in message:
        return f"no sentence: {message!r}"
    if len(message) > 500:
        return f"a long message: {message!r}"
    return None if re.search(words, message) else f"the argument is not named: {message!r}"


def has_nan(result):
    """Whether there is a NaN in a result, or in what a made object says of a theta."""
    if isinstance(result, float):
        return np.isnan(result)
    if isinstance(result, np.ndarray):
        names = result.dtype.names
        if names:
            return any(has_nan(result[name]) for name in names)
        return result.dtype.kind == "f" and bool(np.isnan(result).any())
    if isinstance(result, dict):
        return any(has_nan(value) for value in result.values())
    if isinstance(result, (list, tuple)):
        return any(has_nan(value) for value in result)
    if isinstance(result, mf.DescentResult):
        # Behind the last step of each descent, by design.
        steps = np.arange(result.trace.shape[-1]) <= np.expand_dims(result.n_iter, -1)
        rest = (result.theta, result.loss, result.gradient_norm, result.learning_rate)
        return has_nan(rest) or has_nan(np.where(steps, result.trace, 0.0))
    if dataclasses.is_dataclass(result):
        return any(has_nan(getattr(result, f.name)) for f in dataclasses.fields(result))
    if isinstance(result, Sampler):
        n_params = result.n_params or 3
        return has_nan(result.sample(0, 0, 4, n_params))
    if hasattr(result, "batch_counts"):
        return has_nan(result.batch_counts(np.ones((1, result.n_params))))
    if hasattr(result, "batch_loss"):
        return has_nan(result.batch_loss(np.stack([np.zeros(result.n_params)] * 2)))
    return False


def public_entries():
    for name in mf.__all__:
        value = getattr(mf, name)
        if not callable(value):
            continue
        yield name
        if isinstance(value, type) and not issubclass(value, Exception):
            for method in dir(value):
                static = inspect.getattr_static(value, method)
                if not method.startswith("_") and (
                    inspect.isfunction(static) or isinstance(static, classmethod)
                ):
                    yield f"{name}.{method}"


@pytest.mark.parametrize("name", list(public_entries()))
def test_every_public_entry_is_in_the_table(name):
    there = any(re.fullmatch(rf"{re.escape(name)}( .*)?", entry) for entry in ENTRIES)
    assert there != (name in NOT_IN_TABLE)


@pytest.mark.parametrize("objective", [OBJECTIVE, mf.CountObjective(CONFUSION)], ids=repr)
def test_a_count_that_is_not_that_of_the_candidates_is_refused(objective):
    with pytest.raises(ValueError, match="candidates has 2 rows, but count is 3"):
        objective.pruned_loss(THETAS, 0, 0, 3, 0.5)


def test_names_and_slices_of_a_mixture_that_are_ambiguous_are_refused():
    with pytest.raises(ValueError, match="names has 'a' more than once"):
        mf.Mixture({"a": mf.Normal()}, names=["a", "a"])
    with pytest.raises(TypeError, match=r"the start of a slice in groups is 0\.5"):
        mf.Mixture([(slice(0.5, 2), mf.Normal())])
    with pytest.raises(ValueError, match="the step of a slice in groups is 0"):
        mf.Mixture([(slice(0, 2, 0), mf.Normal())])


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="rate is 'precision'"):
        metrics.group_rates(COUNTS, "precision")


def test_folds_of_very_different_weights_hold_both_classes():
    folds, weights = [0, 0, 1, 1, 2, 2], [2.0**70, 2.0**70, 1, 1, 1, 1]
    fits = mf.fit_many(X, [0, 1, 0, 1, 0, 1], l2=0.1, folds=folds, sample_weight=weights)
    assert fits.certified.all()


def test_a_descent_from_beyond_the_range_has_an_infinite_loss_under_a_smaller_penalty():
    run = mf.gradient_descent(OBJECTIVE, [1e308, 0, 0], l2=0.0, learning_rate=0.1)
    assert run.status == "diverged"
    assert run.loss == np.inf


def test_no_file_was_closed_or_written_by_its_number():
    for number in range(3):
        os.fstat(number)
