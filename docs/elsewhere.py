"""Names of other packages, and where their documentation has them: known without a network.

`inventory(path, name)` writes the file that Sphinx reads such names from.
"""

from __future__ import annotations

import zlib
from pathlib import Path

URLS = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
}
# A name, its kind, and its page, of which $ stands for the name.
NAMES = {
    "python": """
        None data library/constants.html#$
        True data library/constants.html#$
        False data library/constants.html#$
        callable function library/functions.html#$
        bool class library/functions.html#$
        int class library/functions.html#$
        float class library/functions.html#$
        str class library/stdtypes.html#$
        dict class library/stdtypes.html#$
        list class library/stdtypes.html#$
        tuple class library/stdtypes.html#$
        bytes class library/stdtypes.html#$
        ValueError exception library/exceptions.html#$
        TypeError exception library/exceptions.html#$
        KeyboardInterrupt exception library/exceptions.html#$
        MemoryError exception library/exceptions.html#$
        collections.abc.Iterable class library/collections.abc.html#$
        collections.abc.Sequence class library/collections.abc.html#$
        pathlib.Path class library/pathlib.html#$
        concurrent.futures.Executor class library/concurrent.futures.html#$
    """,
    "numpy": """
        numpy.ndarray class reference/generated/$.html#$
        numpy.logspace function reference/generated/$.html#$
        numpy.random.Generator class reference/random/generator.html#$
        numpy.typing.ArrayLike data reference/typing.html#$
    """,
    "scipy": """
        scipy.optimize.minimize function reference/generated/$.html#$
        scipy.sparse.csr_matrix class reference/generated/$.html#$
    """,
    "sklearn": """
        sklearn.linear_model.LogisticRegression class modules/generated/$.html#$
        sklearn.linear_model.LogisticRegressionCV class modules/generated/$.html#$
        sklearn.model_selection.RandomizedSearchCV class modules/generated/$.html#$
        sklearn.model_selection.GridSearchCV class modules/generated/$.html#$
        sklearn.model_selection.permutation_test_score function modules/generated/$.html#$
        sklearn.svm.LinearSVC class modules/generated/$.html#$
        sklearn.pipeline.Pipeline class modules/generated/$.html#$
    """,
    "matplotlib": """
        matplotlib.axes.Axes class api/_as_gen/$.html#$
    """,
}


def inventory(path: Path, package: str) -> str:
    """Write the names of a package in Sphinx's own form, and return the path."""
    lines = [line.split() for line in NAMES[package].split("\n") if line.strip()]
    body = "".join(f"{name} py:{kind} 1 {page} -\n" for name, kind, page in lines)
    head = f"# Sphinx inventory version 2\n# Project: {package}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head.encode() + zlib.compress(body.encode()))
    return str(path)
