"""The documentation: its examples run and print what they show, and errors say how to fix them."""

import ast
import doctest
import inspect
import re
import runpy
import zlib
from pathlib import Path

import pytest

import metaopt_fast as mf
from metaopt_fast.sklearn import search as sklearn

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "```pycon" in path.read_text()]
ERRORS, NAMES, LINKS, ELSEWHERE = (
    runpy.run_path(str(DOCS / f"{name}.py")) for name in ("errors", "names", "links", "elsewhere")
)


def examples(path):
    """The blocks of a page, without its fences, as one doctest that shares its names."""
    parser, parts, line = doctest.DocTestParser(), [], 0
    for block in path.read_text().split("```"):
        if block.startswith("pycon\n"):
            for example in parser.get_examples(block, str(path)):
                example.lineno += line
                parts.append(example)
        line += block.count("\n")
    return doctest.DocTest(parts, {"__name__": "__main__"}, path.name, str(path), 0, None)


@pytest.mark.long
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_examples_of_a_page_print_what_it_shows(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(verbose=False)
    test = examples(path)
    assert test.examples
    output = []
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


def documented_defaults():
    """The public name, the parameter, its default, and the default that the docstring tells."""
    named = {name: getattr(mf, name) for name in mf.__all__}
    named |= {name: getattr(sklearn, name) for name in sklearn.__all__}
    for name, value in named.items():
        text = inspect.getdoc(value) if inspect.isclass(value) or inspect.isroutine(value) else ""
        for names, defaults in re.findall(r"^([\w, ]+) : .*\bdefault (.+)$", text, re.MULTILINE):
            names, defaults = names.split(", "), defaults.split(" and ")
            if len(defaults) == 1:
                defaults *= len(names)
            for parameter, told in zip(names, defaults, strict=True):
                try:
                    told = ast.literal_eval(re.sub(r"(?<=\d),(?=\d{3})", "", told))  # 1,000
                except (SyntaxError, ValueError):
                    continue  # in words
                yield name, parameter, inspect.signature(value).parameters[parameter].default, told


def test_defaults_are_those_that_the_docstrings_tell():
    found = list(documented_defaults())
    assert len(found) > 40
    # Where the signature has None, the default depends on what else is given.
    wrong = [entry for entry in found if entry[2] is not None and entry[2] != entry[3]]
    assert not wrong


# What another sentence quotes as its reason, or a protocol of Python or scikit-learn prescribes.
NO_CURES = {
    "module 'metaopt_fast' has no attribute <name>",
    "a searched step needs the loss of all rows.",
}
MODULES_OF_REASONS = {
    "evolution.checkpoint_contents",
    "evolution.result",
    "files.archive",
    "files.npy_header",
    "files.numpy_file",
    "files.parquet_file",
    "runs.saved",
    "runs.workers",
    "search.checkpoint",
    "search.result",
}


def test_every_error_says_how_to_fix_it():
    found = ERRORS["errors"]()
    assert len(found) > 250
    without = {error for error in found if not error.cure}
    rest = {error for error in without if error.sentence not in NO_CURES}
    # argparse writes "error: argument --flag: " before these.
    rest = {error for error in rest if "given, but" not in error.sentence}
    assert {error.module for error in rest} <= MODULES_OF_REASONS, rest


@pytest.mark.long
def test_the_page_of_errors_holds_every_sentence(tmp_path):
    path = tmp_path / "errors.md"
    ERRORS["write_errors"](path)
    page = path.read_text()
    for error in ERRORS["errors"]():
        assert ERRORS["escape"](error.given or error.sentence) in page
    assert "\n## \\_\\_init\\_\\_\n" in page


def test_the_reference_lists_every_public_class_and_function():
    page = (DOCS / "reference.md").read_text()
    listed = re.findall(r"^   ([\w.]+)$", page, re.MULTILINE)
    assert len(set(listed)) == len(listed)
    assert set(NAMES["exported"]()) == set(listed)


def test_every_method_of_a_class_is_a_name_of_the_reference():
    names = NAMES["public_names"]()
    assert {"SearchResult.plot_trace", "SearchResult.theta", "typing.Sampler.mean"} <= names
    assert {"sklearn.LogisticRegression.predict_proba", "LogisticLoss.from_batches"} <= names
    assert not [name for name in names if "._" in name or name.startswith("_")]
    assert not [name for name in names if name.startswith("CheckpointError.with_traceback")]


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "there.html").write_text('<h1 id="place">A</h1>')
    (tmp_path / "a.html").write_text(
        '<link rel="canonical" href="https://elsewhere.org/a"><a href="https://elsewhere.org">B</a>'
        '<a href="part/there.html#place">C</a><a href="#mine" id="mine">D</a><img src="data:,">'
        '<a href="gone.html">E</a><a href="part/there.html#gone">F</a>'
        '<script src="https://elsewhere.org/x.js"></script>'
    )
    assert LINKS["broken_links"](tmp_path) == [
        "a.html: gone.html is not there",
        "a.html: part/there.html#gone is no place of that page",
        "a.html: https://elsewhere.org/x.js is fetched from elsewhere",
    ]


def test_names_elsewhere_are_written_as_an_inventory(tmp_path):
    path = Path(ELSEWHERE["inventory"](tmp_path / "made" / "numpy.inv", "numpy"))
    head, body = path.read_bytes().split(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2\n# Project: numpy\n")
    lines = zlib.decompress(body).decode().splitlines()
    assert "numpy.ndarray py:class 1 reference/generated/$.html#$ -" in lines
    assert ELSEWHERE["URLS"].keys() == ELSEWHERE["NAMES"].keys()
