"""Configuration of the documentation: sphinx-build -W -b html docs build/docs.

Nothing is fetched: neither while the pages are built, nor when they are read.
"""

import importlib.util
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import elsewhere
import linking
import links
import names
from errors import write_errors

import metaopt_fast

HERE = Path(__file__).parent

project = "metaopt_fast"
author = "metaopt_fast developers"
version = release = metaopt_fast.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
]
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    # Code of either style has a contrast that can be read.
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_title = "metaopt_fast"
# Light or dark as the reader's system is, until the button says otherwise.
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
# Options of commands keep their two dashes, and quotes are those of the code.
smartquotes = False
templates_path = ["_templates"]
exclude_patterns = ["build", "gallery/*.ipynb"]
# scikit-learn's docstrings, which its estimators' methods inherit, link to its own pages and words.
suppress_warnings = ["ref.ref", "ref.term"]

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
# Names of types in "Parameters" and "Returns" are links where something stands behind them.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    word: f":obj:`{word} <{target}>`"
    for word, target in {
        "ndarray": "numpy.ndarray",
        "numpy.ndarray": "numpy.ndarray",
        "array_like": "numpy.typing.ArrayLike",
        "array-like": "numpy.typing.ArrayLike",
        "sequence": "collections.abc.Sequence",
        "iterable": "collections.abc.Iterable",
        "bool": "bool",
        "None": "None",
        "True": "True",
        "False": "False",
        "callable": "callable",
        "Path": "pathlib.Path",
        **{name.rpartition(".")[2]: f"metaopt_fast.{name}" for name in names.exported()},
    }.items()
}
# What stands between single backquotes in a docstring is a link where it is a name.
default_role = "py:obj"
# The contents of a class are its members by their own names.
toc_object_entries_show_parents = "hide"
intersphinx_mapping = {
    package: (url, elsewhere.inventory(HERE / "_inventories" / f"{package}.inv", package))
    for package, url in elsewhere.URLS.items()
}

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
# MathJax is a file of the pages: all of it in one, fonts included.
MATHJAX = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations[0]
html_static_path = ["_static", f"{MATHJAX}/static/mathjax/tex-svg-full.js"]
html_css_files = ["pages.css"]
mathjax_path = "tex-svg-full.js"
# What is copied is the code: no prompts, no output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Pictures of pages are drawn as the page is built, from recorded figures where speed is shown.
plot_include_source = True
plot_basedir = str(HERE)
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 200)]
plot_rcparams = {"savefig.dpi": 200}
# The scripts of the gallery run as the pages are built.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": "scripts.arguments_of",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e6,
    "remove_config_comments": True,
}


LINK = re.compile(
    r"(?<!!)(\[[^\[\]]*\]\()(?=(?:\.\./)+(?:tests|benches|examples|src|metaopt_fast)/)"
)


def link_files(app, docname, source):
    """Let links to files of the repository lead to them where pages are read outside of it."""
    source[0] = LINK.sub(r"\1path:", source[0])


def setup(app):
    app.connect("source-read", link_files)
    app.connect("builder-inited", lambda app: write_errors(Path(app.srcdir) / "errors.md"))
    linking.connect(app)
    links.connect(app)
