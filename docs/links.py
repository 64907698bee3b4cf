"""Links of the pages that were built: each leads to a file and a place in it that are there.

`connect(app)` lets Sphinx warn of those that do not, and of what a page would fetch from elsewhere:
the pages are read offline, too.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# What a browser fetches by itself: it may not come from elsewhere.
FETCHED = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
}


class Page(HTMLParser):
    """The links of a page, and the places in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[tuple[str, bool]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_canonical = ("rel", "canonical") in attrs
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif name in ("href", "src") and value and not is_canonical:
                self.links.append((value, (tag, name) in FETCHED))


def broken_links(folder: Path) -> list[str]:
    """Return a sentence for each link that leads nowhere, and for each thing fetched."""
    files = (path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts)
    pages = {path: Page(path) for path in files}
    return [
        f"{path.relative_to(folder)}: {link} {fault}"
        for path, page in pages.items()
        for link, is_fetched in page.links
        if (fault := fault_of(link, is_fetched, path, pages))
    ]


def fault_of(link: str, is_fetched: bool, path: Path, pages: dict[Path, Page]) -> str | None:
    """Return what is wrong with a link of a page."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return "is fetched from elsewhere" if is_fetched and parts.scheme != "data" else None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.exists():
        return "is not there"
    place = unquote(parts.fragment)
    if place and target in pages and place not in pages[target].places:
        return "is no place of that page"
    return None


def check_links(app: Sphinx, error: Exception | None) -> None:
    """Warn of broken links, once all pages are there."""
    from sphinx.util import logging

    if error is None and app.builder.format == "html":
        for fault in broken_links(Path(app.outdir).resolve()):
            logging.getLogger(__name__).warning("%s", fault)


def connect(app: Sphinx) -> None:
    """Let Sphinx do this."""
    app.connect("build-finished", check_links)
