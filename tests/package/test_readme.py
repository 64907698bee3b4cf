"""README and tour: their examples run and print what they show, commands and links are right."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from metaopt_fast.cli import program as cli

ROOT = Path(__file__).parents[2]
PAGES = {page: (ROOT / page).read_text() for page in ("README.md", "docs/tour.md")}
README, TOUR = PAGES.values()
LINK = re.compile(r"\]\((?!https?:)([^)]+)\)")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SET_UP = [
    "python3 -m venv .venv && .venv/bin/pip install . && "
    ".venv/bin/metaopt-fast search --objective error --method cem\n",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest\n",
]


def section(page, title):
    """The text under a heading."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def examples(page):
    """The blocks of Python, each with the output that the next block shows, or None."""
    blocks = FENCE.findall(page)
    return [
        (code, following[1] if following[0] == "text" else None)
        for (language, code), following in zip(blocks, [*blocks[1:], ("", "")], strict=True)
        if language == "python"
    ]


def without_times(output):
    """The output with what differs from run to run left out."""
    return re.sub(r"in [\d.]+ s \([^)]* pairs/s[^)]*\)", "in a time", output)


def test_the_set_up_is_two_commands():
    assert FENCE.findall(section(README, "Set-up")) == [("sh", command) for command in SET_UP]
    assert [code for language, code in FENCE.findall(README) if language == "sh"] == SET_UP


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_print_what_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    assert examples(PAGES[page])
    for code, shown in examples(PAGES[page]):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, page, "exec"), names)
        assert without_times(output.getvalue()) == without_times(shown or ""), code


def test_the_program_prints_what_is_shown(capsys):
    text = section(TOUR, "On the command line")
    command = re.search(r"`metaopt-fast (search --seed[^`]*)`", text)[1]
    assert cli.main(command.split()) == 0
    measured = ("pairs per second", "seconds", "threads", "instruction set")
    printed, shown = (
        [
            re.sub(r", in [\d.e-]+ s$", "", line)
            for line in output.split("\n")
            if not line.startswith(measured)
        ]
        for output in (capsys.readouterr().out, FENCE.search(text)[2])
    )
    assert printed == shown


def anchors(path):
    """What a link may add to a page's path: its headings, as pages of Markdown are shown."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "link"), sorted({(page, link) for page in PAGES for link in LINK.findall(PAGES[page])})
)
def test_links_lead_to_files_and_headings(page, link):
    path, _, anchor = link.partition("#")
    found = (ROOT / page).parent / path
    if found == ROOT / "docs/gallery/index.rst":  # made of this, as the pages are built
        found = ROOT / "examples/GALLERY_HEADER.rst"
    assert found.exists()
    assert not anchor or anchor in anchors(found)
