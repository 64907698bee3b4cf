"""Every argument of objectives, samplers and results replaced by what it should not be.

A call with a wrong argument may succeed, with no NaN in what it returns; or raise a ValueError or a
TypeError of one line that names the argument. The arguments come from the signatures: a new one
cannot be forgotten, and a new public name fails `test_every_public_entry_is_in_the_table`. Searches
and what trains are in `test_every_argument_of_runs.py`.
"""

import inspect
import os
import re

import numpy as np
import pytest
import test_every_argument_of_runs as runs
from matplotlib.figure import Figure
from wrong_arguments import (  # noqa: F401 - fixtures, and the tests of the sweep
    CARD,
    CONFUSION,
    COUNTS,
    DATA,
    DESCENT,
    DRAWN,
    EVOLUTION,
    GROUPS,
    MODEL,
    OBJECTIVE,
    PATHS,
    SEARCH,
    THETA,
    THETAS,
    WEIGHTS,
    WHOLE,
    Entry,
    X,
    Y,
    files,
    limited_memory,
    pytest_generate_tests,
    test_a_wrong_argument_is_used_or_refused_by_name,
    test_the_valid_call_succeeds,
)

import metaopt_fast as mf
from metaopt_fast import metrics

NETWORK = mf.gradient_descent(mf.NetworkLoss(X, Y, n_hidden=2), max_iter=1, learning_rate=1).model()
OF_MODELS = {
    "save": {"path": "kept.json"},
    "to_json": {},
    "to_sklearn": {},
    **{name: {"X": X} for name in ("decision_function", "predict", "predict_proba")},
}
FITS = mf.fit_many(X, Y, l2=[0.1, 1.0])
INTERVALS = mf.bootstrap(X, Y, l2=0.1, n_resamples=9)
STABLE = mf.stability_selection(X, Y, l1=0.1, n_resamples=4)
TUNED = mf.tune_penalties(X, Y, feature_groups=[0] * (len(X[0]) - 1) + [1], folds=2, max_iter=1)
DESCENTS = mf.search_descents(
    mf.LogisticLoss(X, Y),
    {"learning_rate": mf.LogUniform(0.1, 1)},
    4,
    validation=mf.LogisticLoss(X, Y),
    early_stopping=True,
    racing="halving",
    reduction=2,
    n_rungs=1,
    max_iter=4,
)
THETAS_BY_NUMBER = {"thetas": r"theta \d+"}
LOSSES = ("LogisticLoss", "SquaredHingeLoss", "HingeLoss", "SquaredLoss", "SmoothedZeroOneLoss")


def entries():
    """The table: from a name to a function, a valid call, exceptions."""
    table = {
        "config": Entry(mf.config, {}),
        "show_config": Entry(mf.show_config, {}),
        "merge_duplicates": Entry(mf.merge_duplicates, DATA),
        # Not a list, which would be one of arrays.
        "collect_batches": Entry(mf.collect_batches, {"batches": {0: (X, Y)}.values()}),
        **{
            f"{name}.from_batches": Entry(
                getattr(mf, name).from_batches, {"batches": {0: (X, Y)}.values()}
            )
            for name in (*LOSSES, "SoftmaxLoss", "NetworkLoss")
        },
        "standardize": Entry(mf.standardize, {"X": X, "sample_weight": WEIGHTS}),
        "load_model": Entry(mf.load_model, {"path": "model.json"}),
        "FitResult.model": Entry(FITS.model, {"m": 1}),
        "FitResult.best": Entry(mf.fit_many(X, Y, l2=[0.1, 1.0], folds=2).best, {}),
        "FitResult.plot_path": Entry(FITS.plot_path, {}),
        "FitResult.to_frame": Entry(FITS.to_frame, {}),
        # Axes of its own: pyplot warns of many figures that are open.
        "StabilityResult.plot": Entry(STABLE.plot, {"ax": Figure().subplots()}),
        "BootstrapResult.plot": Entry(INTERVALS.plot, {"ax": Figure().subplots()}),
        "BootstrapResult.to_frame": Entry(INTERVALS.to_frame, {}),
        "PenaltyResult.model": Entry(TUNED.model, {}),
        "PenaltyResult.plot": Entry(TUNED.plot, {"ax": Figure().subplots()}),
        "DescentSearchResult.plot": Entry(DESCENTS.plot, {"ax": Figure().subplots()}),
        "DataValues.plot": Entry(
            mf.data_values(X, Y, X, Y, l2=0.1).plot, {"ax": Figure().subplots()}
        ),
        "StabilityResult.expected_false": Entry(STABLE.expected_false, {"threshold": 0.8}),
        "StabilityResult.threshold": Entry(STABLE.threshold, {}),
        "StabilityResult.selected": Entry(STABLE.selected, {}),
        "read_checkpoint": Entry(mf.read_checkpoint, {"path": "search.db"}),
        "Model.coefficients": Entry(MODEL.coefficients, {}),
        **{
            f"{type(model).__name__}.{name}": Entry(getattr(model, name), valid)
            for model in (MODEL, NETWORK, mf.best_tree(**TREE).model())
            for name, valid in OF_MODELS.items()
            if hasattr(model, name)
        },
        "best_tree": Entry(mf.best_tree, TREE),
        "best_trees": Entry(mf.best_trees, TREE | {"y": [Y, 1 - Y]}),
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
    for name in ("predict", "predict_proba"):
        table[f"SearchResult.{name}"] = Entry(getattr(SEARCH, name), {"X": X})
        table[f"EvolveResult.{name}"] = Entry(getattr(EVOLUTION, name), {"X": X})
        table[f"DescentResult.{name}"] = Entry(getattr(DESCENT, name), {"X": X})
    for name in ("to_frame", "model", "to_sklearn"):
        table[f"DescentResult.{name}"] = Entry(getattr(DESCENT, name), {})
    for name in ("to_dict", "save", "plot_trace", "model", "to_sklearn", "to_frame"):
        valid = {"path": "saved.npz"} if name == "save" else {}
        table[f"SearchResult.{name}"] = Entry(getattr(SEARCH, name), valid)
        table[f"EvolveResult.{name}"] = Entry(getattr(EVOLUTION, name), valid)
    table["SearchResult.plot_top"] = Entry(SEARCH.plot_top, {})
    whole = {"method": "integer_local_search", "population": 4, "generations": 2}
    for result in (SEARCH, mf.evolve(OBJECTIVE, mf.Integers(), **whole)):
        table[f"{type(result).__name__}.scorecard"] = Entry(
            result.scorecard, {"names": ["a", "b", "c"], "X": X, "y": Y}
        )
    for name in ("predict", "risk", "score"):
        table[f"Scorecard.{name}"] = Entry(getattr(CARD, name), {"X": X})
    for name in ("to_dict", "to_text"):
        table[f"Scorecard.{name}"] = Entry(getattr(CARD, name), {})
    tree = mf.best_tree(**TREE)
    for name in ("apply", "predict"):
        table[f"Tree.{name}"] = Entry(getattr(tree, name), {"X": X})
    for name in ("model", "to_dict", "to_text", "plot"):
        table[f"Tree.{name}"] = Entry(getattr(tree, name), {})
    for part in (objectives(), softmax(), network(), samplers()):
        table.update(part)
    return table


TREE = DATA | {
    "depth": 2,
    "sample_weight": np.array([1, 2, 1, 0, 1, 1]),
    "class_cost": {1: 2},
    "min_leaf": 1,
}
COUNTS_AS_THEY_ARE = {"counts": "what batch_counts returned, handed over at every batch"}


def objectives():
    table = {}
    for name in (*LOSSES, "AUCObjective", "ConfusionCounts"):
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
        table[f"{name}.decisions"] = Entry(made.decisions, {"theta": THETA, "X": X})
        table[f"{name}.with_threads"] = Entry(made.with_threads, {"n_threads": 1})
        if name in LOSSES:
            table |= {
                f"{name}.pruned_loss": Entry(made.pruned_loss, PRUNED),
                f"{name}.pruned_loss of thetas": Entry(
                    made.pruned_loss, PRUNED | {"candidates": THETAS, "count": 2, "start": 0}
                ),
                f"{name}.with_l2": Entry(made.with_l2, {"l2": 0.1}),
                f"{name}.subset": Entry(made.subset, {"rows": [0, 1, 3]}),
                f"{name}.minibatches": Entry(made.minibatches, {"batch_size": 4}),
            }
            if made.is_smooth:
                table[f"{name}.lipschitz"] = Entry(made.lipschitz, {})
    table["ConfusionCounts.bound_rows"] = Entry(
        mf.ConfusionCounts(X, Y).bound_rows, {"of_false_positive": 1.0, "of_false_negative": 0.5}
    )
    made = mf.AUCObjective(X, Y)
    table |= {
        "AUCObjective.pruned_loss": Entry(made.pruned_loss, PRUNED),
        "AUCObjective.pruned_loss of thetas": Entry(
            made.pruned_loss,
            PRUNED | {"candidates": THETAS, "count": 2, "start": 0},
            aliases={"candidates": r"theta \d+"},
        ),
    }
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
        "CountObjective.decisions": Entry(made.decisions, {"theta": THETA, "X": X}),
        "CountObjective.sampled_loss": Entry(made.sampled_loss, DRAWN),
        "CountObjective.pruned_loss": Entry(made.pruned_loss, PRUNED),
        "CountObjective.pruned_loss of thetas": Entry(
            made.pruned_loss,
            PRUNED | {"candidates": THETAS, "count": 2, "start": 0},
            aliases={"candidates": r"theta \d+"},
        ),
        "CountObjective.with_threads": Entry(made.with_threads, {"n_threads": 1}),
    }


def softmax():
    made = mf.SoftmaxLoss(X, Y, n_classes=3)
    thetas = np.arange(18.0).reshape(2, 9)
    one = {name: {"theta": thetas[0]} for name in ("loss", "gradient", "loss_gradient")}
    valid = one | {
        "batch_loss": {"thetas": thetas},
        "batch_loss_gradient": {"thetas": thetas},
        "confusion": {"theta": thetas[0]},
        "batch_confusion": {"thetas": thetas},
        "decisions": {"theta": thetas[0], "X": X},
        "with_threads": {"n_threads": 1},
        "with_l2": {"l2": 0.1},
        "subset": {"rows": [0, 1, 3]},
        "lipschitz": {},
    }
    table = {
        f"SoftmaxLoss.{name}": Entry(
            getattr(made, name), given, aliases=THETAS_BY_NUMBER if "thetas" in given else {}
        )
        for name, given in valid.items()
    }
    of_class = {**DATA, "n_classes": 3, "fit_intercept": False}
    return table | {"SoftmaxLoss": Entry(mf.SoftmaxLoss, of_class)}


def network():
    made = mf.NetworkLoss(X, Y == 0, n_hidden=2)
    thetas = np.linspace(-1, 1, 2 * made.n_params).reshape(2, -1)
    one = {name: {"theta": thetas[0]} for name in ("loss", "gradient", "loss_gradient", "layers")}
    valid = one | {
        "batch_loss": {"thetas": thetas},
        "batch_loss_gradient": {"thetas": thetas},
        "decisions": {"theta": thetas[0], "X": X},
        "decision_function": {"theta": thetas[0], "X": X},
        "with_threads": {"n_threads": 1},
        "with_l2": {"l2": 0.1},
        "subset": {"rows": [0, 1, 2, 3]},
        "minibatches": {"batch_size": 2},
        "starts": {},
        "sampled_loss": {"sampler": mf.Normal(), "seed": 1, "start": 2, "count": 3},
    }
    table = {
        f"NetworkLoss.{name}": Entry(
            getattr(made, name), given, aliases=THETAS_BY_NUMBER if "thetas" in given else {}
        )
        for name, given in valid.items()
    }
    table["NetworkLoss.pruned_loss"] = Entry(
        made.pruned_loss,
        PRUNED | {"candidates": thetas, "count": 2, "start": 0},
        aliases={"candidates": r"theta \d+"},
    )
    of_class = {**DATA, "n_hidden": 2, "n_classes": 3}
    return table | {"NetworkLoss": Entry(mf.NetworkLoss, of_class)}


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
        if name != "Mixture":
            table[f"{name}.values"] = Entry(sampler.values, {"coordinates": np.zeros(2)})
        if sampler.nonzero_limit(3) is None:
            table[f"{name}.columns"] = Entry(sampler.columns, {"n_params": 3})
        table[f"{name}.draws"] = Entry(sampler.draws, {"seed": 1, "n_params": 3})
        for statement in ("mean", "std", "bounds", "is_integer"):
            table[f"{name}.{statement}"] = Entry(getattr(sampler, statement), {"n_params": 3})
        if isinstance(sampler, mf.Integers):
            table[f"{name}.droppable"] = Entry(sampler.droppable, {"n_params": 3})
            if sampler.max_nonzero is not None:
                table["Integers.nonzero_limit"] = Entry(sampler.nonzero_limit, {"n_params": 3})
    return table


# Public, and called with what the library itself has made.
RECORD = "a record that functions return: made by nobody else, read by attribute"
OWN = "called by other modules, with what they have checked"
UNLIMITED = ("Normal", "Uniform", "Mixture")
NOT_IN_TABLE = {
    "BootstrapResult": RECORD,
    "CollectedRows": RECORD,
    "DataValues": RECORD,
    "DescentResult": RECORD,
    "DescentSearchResult": RECORD,
    "EvolveResult": RECORD,
    "FitResult": RECORD,
    "Model": RECORD,
    "NetworkModel": RECORD,
    "TreeModel": RECORD,
    "Model.linear": OWN,
    "NetworkModel.of": OWN,
    "TreeModel.of": OWN,
    **{
        f"{model}.{name}": OWN
        for model in ("Model", "NetworkModel", "TreeModel")
        for name in (
            *(
                "decisions_of",
                "codes_of",
                "decisions_and_logits_of",
                "proba_of",
                "check_probabilities",
            ),
            "label_array",
        )
    },
    "PenaltyResult": RECORD,
    "Prior": RECORD,
    "Scorecard": RECORD,
    "SearchResult": RECORD,
    "StabilityResult": RECORD,
    "Tree": RECORD,
    "CheckpointError": "an exception",
    "HingeLoss.lipschitz": "takes no argument, and has no answer",
    "CountObjective.identify": OWN,
    **{f"{name}.drawn": OWN for name in ("Normal", "Uniform", "Integers", "Mixture")},
    **{f"{name}.nonzero_limit": "None, whatever is passed" for name in UNLIMITED},
}

ENTRIES = entries()

# Those that take the name of a file, each with the argument.
PATHED = {
    name: (entry, argument)
    for name, entry in {**ENTRIES, **runs.ENTRIES}.items()
    for argument in PATHS
    if argument in inspect.signature(entry.function).parameters
}


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


@pytest.mark.long(everywhere=True)
@pytest.mark.parametrize("name", list(public_entries()))
def test_every_public_entry_is_in_the_table(name):
    there = any(
        re.fullmatch(rf"{re.escape(name)}( .*)?", entry) for entry in {**ENTRIES, **runs.ENTRIES}
    )
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


@pytest.mark.parametrize("free", [{}, {0: "a"}], ids=repr)
def test_a_dict_is_no_sequence_of_parameters(free):
    with pytest.raises(TypeError, match=r"free is .*dict.*: pass a tuple of numbers"):
        mf.Integers(max_nonzero=1, free=free)


@pytest.mark.parametrize("metric", [metrics.Cost(), metrics.BalancedError(), metrics.one_minus_f1])
def test_a_measure_of_no_rows_is_refused(metric):
    with pytest.raises(ValueError, match=r"^counts has no .*row.*: pass counts of rows .*\.$"):
        metric(np.zeros_like(COUNTS))


@pytest.mark.parametrize("rate", metrics.RATES)
def test_a_rate_of_no_rows_is_refused(rate):
    with pytest.raises(ValueError, match=r"^counts has no .*row.*: pass counts of rows .*\.$"):
        metrics.group_rates(np.zeros_like(COUNTS), rate)


@pytest.mark.parametrize("name", PATHED)
def test_a_number_is_no_path_and_the_file_that_has_it_is_left_alone(name, tmp_path):
    entry, argument = PATHED[name]
    with open(tmp_path / "open", "w+b") as file:
        file.write(b"contents")
        file.flush()
        before = os.fstat(file.fileno())
        with pytest.raises((TypeError, ValueError), match=argument):
            entry.function(**entry.valid | {argument: file.fileno()})
        after = os.fstat(file.fileno())
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        file.seek(0)
        assert file.read() == b"contents"
