"""The pages of the documentation in a browser: offline, wide and narrow, light and dark.

``python tests/hardening/browser.py FOLDER`` builds them in FOLDER/html, opens each one at 1400 and
at 390 pixels, and keeps pictures of those that a reader sees first in FOLDER. Pages that are built
already are given as a second argument. Needs Chromium (``apt install chromium``).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from checks import EXTRA, ROOT, Report, needs

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS, SCHEMES = (1400, 390), ("light", "dark")
PICTURES = (
    "index.html",
    "tutorial.html",
    "howto/lasso.html",
    "howto/meta_learning.html",
    "gallery/index.html",
    "gallery/fairness.html",
    "explanation/kernels.html",
    "explanation/lasso.html",
    "reference.html",
    "api/metaopt_fast.SearchResult.html",
    "api/metaopt_fast.fit_many.html",
    "errors.html",
)
# What is wrong with an open page, in words.
FAULTS = """() => {
    const found = [];
    const wide = document.documentElement.scrollWidth - window.innerWidth;
    if (wide > 0) found.push(`is ${wide} pixels wider than the window`);
    for (const image of document.images)
        if (image.complete && !image.naturalWidth) found.push(`lacks the picture ${image.src}`);
    if (document.querySelector("mjx-merror")) found.push("has mathematics that is no TeX");
    if (document.querySelector(".math") && !document.querySelector("mjx-container"))
        found.push("shows TeX in place of mathematics");
    return found;
}"""


def build(html):
    """Build the pages, with every warning an error."""
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", ROOT / "docs", html]
    subprocess.run(command, check=True)


def open_page(tab, path, faults):
    """Open a page, and add what is wrong with it."""
    tab.goto(path.as_uri(), wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_timeout(500)  # mathematics is set after the page is there
    faults += [f"{path.name} {fault}" for fault in tab.evaluate(FAULTS)]


def look(browser, html, folder, width, scheme):
    """Open pages in a window of a width; return how many, and what is wrong with them."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    tab, faults = context.new_page(), []
    tab.on("requestfailed", lambda request: faults.append(f"{request.url} is not to be had"))
    tab.on("pageerror", lambda error: faults.append(f"{tab.url}: {error}"))
    tab.on(
        "console",
        lambda said: faults.append(f"{tab.url}: {said.text}") if said.type == "error" else None,
    )
    paths = [html / name for name in PICTURES]
    if scheme == "light":
        paths += [path for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]
    for path in dict.fromkeys(paths):
        open_page(tab, path, faults)
        name = path.relative_to(html).as_posix()
        if name in PICTURES:
            theme = tab.evaluate("document.documentElement.dataset.theme")
            faults += [f"{name} is {theme}"] * (theme != scheme)
            tab.screenshot(path=folder / f"{name.replace('/', '-')[:-5]}-{width}-{scheme}.png")
    context.close()
    return len(set(paths)), faults


def main(folder, html=None):
    """Look at all pages."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    programs = ("chromium",) if program is None else ()
    cure = f"apt install chromium, and {EXTRA}"
    needs(cure, packages=("playwright", "sphinx"), programs=programs)
    from playwright.sync_api import sync_playwright

    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if html is None:
        html = folder / "html"
        build(html)
    report = Report()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        for width in WIDTHS:
            for scheme in SCHEMES:
                n, faults = look(browser, Path(html).resolve(), folder, width, scheme)
                what = f"{n} pages at {width} pixels, {scheme}, offline"
                report.line(what, not faults, "; ".join(faults[:5]) or "nothing is wrong")
        browser.close()
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python tests/hardening/browser.py FOLDER [HTML]")
    main(*sys.argv[1:])
