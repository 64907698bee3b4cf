"""What the command lines of the gallery's scripts have while the pages are built."""

from pathlib import Path
from tempfile import TemporaryDirectory

# Removed when the build ends: what a script writes is no file of the sources.
FOLDER = TemporaryDirectory()
# Scripts that take longer than a page may do less.
ARGUMENTS = {
    "large_search.py": ["1000000", str(Path(FOLDER.name) / "search.sqlite")],
    "metamodels.py": ["4", "600"],
    "tasks.py": ["1"],
    "tuning.py": ["20"],
}


def arguments_of(_conf, script):
    """Return the arguments of a script."""
    return ARGUMENTS.get(Path(script["src_file"]).name, [])
