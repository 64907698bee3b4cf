"""Configuration of the documentation: sphinx-build -W -b html docs build/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from errors import write_errors

import metaopt_fast

project = "metaopt_fast"
author = "metaopt_fast developers"
version = release = metaopt_fast.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "matplotlib.sphinxext.plot_directive",
]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": True, "secondary_sidebar_items": ["page-toc"]}
html_title = "metaopt_fast"
exclude_patterns = ["build"]
# scikit-learn's docstrings, which its estimators' methods inherit, link to its own pages.
suppress_warnings = ["ref.ref"]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# Pictures are drawn as the page is built; the page shows how.
plot_include_source = True
plot_basedir = str(Path(__file__).parent)
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 110)]


def link_files(app, docname, source):
    """Let links to files of the repository lead to them where pages are read outside of it."""
    for folder in ("tests", "benches", "examples", "src", "metaopt_fast"):
        source[0] = source[0].replace(f"](../{folder}/", f"](path:../{folder}/")
        source[0] = source[0].replace(f"](../../{folder}/", f"](path:../../{folder}/")


def setup(app):
    app.connect("source-read", link_files)
    app.connect("builder-inited", lambda app: write_errors(Path(app.srcdir) / "errors.md"))
