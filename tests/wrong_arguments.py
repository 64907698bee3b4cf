"""What the sweeps of arguments share: valid calls, wrong values, and what is a fault."""

import contextlib
import dataclasses
import inspect
import re
import resource
import signal
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import metaopt_fast as mf
from metaopt_fast.models.model import Model
from metaopt_fast.models.preparation import Preparation, RawRows
from metaopt_fast.samplers.base import BuiltInSampler

# What a case may take of the processors' time, which other work beside the test does not change.
SECONDS = 10
# And what it may take in all, where it waits.
SECONDS_OF_THE_CLOCK = 120
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
MODEL = Model.linear(
    np.append(THETA, 0.5), Preparation.fit(RawRows(X, ("a", "b", "c"), {})), [0, 1]
)


@dataclasses.dataclass
class Entry:
    """A valid call, and the arguments of it that are not replaced, each with the reason."""

    function: object
    valid: dict
    excepted: dict = dataclasses.field(default_factory=dict)
    # Other words by which messages may name an argument: what it is made of, or the argument that
    # it does not go with, either of which may be the wrong one.
    aliases: dict = dataclasses.field(default_factory=dict)
    # A library that the call is in terms of: what it refuses, or warns of, it does in its words.
    library: str | None = None


# Where the whole of an argument is anything that the caller likes.
FREE = {"metadata": "anything that JSON holds, NaN too"}
PATHS = ("path", "checkpoint")
# Functions of the caller's own.
CALLED = ("callback", "refit")


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
    """Raise Late when this process has had so many seconds of the processors, or waits for ever."""
    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, SECONDS_OF_THE_CLOCK),
    )
    before = [signal.signal(number, _late) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)


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
        MODEL.save("model.json")
        EVOLUTION.save("evolution.npz")
        mf.random_search(OBJECTIVE, mf.Normal(), 20, checkpoint="search.db")
        yield


def arguments(entry):
    return [
        name
        for name, parameter in inspect.signature(entry.function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]


def cases(entries):
    """Every argument of every entry that is to be replaced."""
    return [
        (name, argument)
        for name, entry in entries.items()
        for argument in arguments(entry)
        if argument not in entry.excepted
    ]


# Those that reach what no other test does: see tests/hardening/blocks.py.
SANITIZED = {
    ("AUCObjective.batch_auc", "thetas"),
    ("HingeLoss.loss", "theta"),
    ("LogisticLoss.pruned_loss", "threshold"),
    ("LogisticRegressionSearchCV", "sample_weight"),
    ("NetworkClassifier", "learning_rate_init"),
    ("NetworkLoss.pruned_loss", "threshold"),
    ("SoftmaxLoss.from_batches", "storage"),
    ("fit_many", "y"),
    ("fit_many with l1", "theta0"),
    ("learn_prior", "progress"),
    ("stability_selection", "X"),
}


def pytest_generate_tests(metafunc):
    """Give the two tests of a sweep the ENTRIES of the module that imports all three."""
    table, found = metafunc.module.ENTRIES, []
    if "valid_call" in metafunc.fixturenames:
        metafunc.parametrize("valid_call", table.values(), ids=table)
    if "replaced" in metafunc.fixturenames:
        for name, argument in cases(table):
            marks = [pytest.mark.sanitized] if (name, argument) in SANITIZED else []
            found.append(pytest.param((name, argument), id=f"{name}-{argument}", marks=marks))
        metafunc.parametrize("replaced", found)


def test_the_valid_call_succeeds(valid_call):
    check_valid_call(valid_call)


@pytest.mark.long(everywhere=True)
def test_a_wrong_argument_is_used_or_refused_by_name(replaced, request):
    name, argument = replaced
    check_argument(name, request.module.ENTRIES[name], argument)


def check_valid_call(entry):
    """Assert that the call that a sweep starts from is right."""
    assert set(entry.valid) <= set(arguments(entry)) | {"max_iter"}
    assert set(entry.excepted) <= set(inspect.signature(entry.function).parameters)
    assert not has_nan(entry.function(**entry.valid))


def check_argument(name, entry, argument):
    """Assert that each wrong value of an argument is used or refused by name."""
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
            # And what the estimators do.
            chosen = "(by which penalties were chosen )?"
            unproven = rf"\d+ of \d+ models {chosen}(did not converge|ended where)"
            warnings.filterwarnings("ignore", unproven)
            result = entry.function(**{**entry.valid, argument: value})
            return "NaN in the result" if has_nan(result) else None
    except (ValueError, TypeError) as error:
        if argument in CALLED and callable(value):
            return None  # its own error
        if entry.library and is_of(entry.library, error):
            return None
        words = entry.aliases.get(argument, argument)
        if argument in PATHS and isinstance(value, str) and value:
            words += f"|{value}"  # a file that an earlier call has made is named itself
        return fault_of_message(str(error), rf"\b({argument}|{words})\b")
    except MemoryError:
        is_count = isinstance(value, int) and value >= HUGE
        return None if is_count else "MemoryError"
    except OSError as error:
        # Strings and bytes are names of files, if of no good ones.
        is_name = argument in PATHS and isinstance(value, (str, bytes))
        return None if is_name else repr(error)
    except Late:
        return f"not done after {SECONDS} s of processors, or {SECONDS_OF_THE_CLOCK} of the clock"
    except Warning as error:
        return None if entry.library and is_of(entry.library, error) else repr(error)
    except Exception as error:
        return repr(error)


def is_of(library, error):
    """Whether an error came out of a library that our code, or a test, has called."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if library in parts:
            return True
        if "metaopt_fast" in parts or "tests" in parts:
            return False
    return False


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
    if isinstance(result, BuiltInSampler):
        n_params = result.n_params or 3
        return has_nan(result.sample(0, 0, 4, n_params))
    if hasattr(result, "batch_counts"):
        return has_nan(result.batch_counts(np.ones((1, result.n_params))))
    if hasattr(result, "batch_loss"):
        return has_nan(result.batch_loss(np.stack([np.zeros(result.n_params)] * 2)))
    return False
