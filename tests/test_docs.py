"""The documentation: its examples run and print what they show, and errors say how to mend them."""

import doctest
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "```pycon" in path.read_text()]
ERRORS = runpy.run_path(str(DOCS / "errors.py"))


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


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_examples_of_a_page_print_what_it_shows(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(verbose=False)
    test = examples(path)
    assert test.examples
    output = []
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


# What another sentence quotes as its reason, or a protocol of Python or scikit-learn prescribes.
NO_CURES = {
    "module 'metaopt_fast' has no attribute <name>",
    "Only binary classification is supported. The type of the target is <kind>.",
    "a searched step needs the loss of all rows.",
}
MODULES_OF_REASONS = {"arrayfiles", "checkpoint", "evolution_file", "result"}


def test_every_error_says_how_to_mend_it():
    found = ERRORS["errors"]()
    assert len(found) > 250
    without = {error for error in found if not error.cure}
    rest = {error for error in without if error.sentence not in NO_CURES}
    # argparse writes "error: argument --flag: " before these.
    rest = {error for error in rest if "given, but" not in error.sentence}
    assert {error.module for error in rest} <= MODULES_OF_REASONS, rest


def test_the_page_of_errors_holds_every_sentence(tmp_path):
    path = tmp_path / "errors.md"
    ERRORS["write_errors"](path)
    page = path.read_text()
    for error in ERRORS["errors"]():
        assert ERRORS["escape"](error.given or error.sentence) in page
