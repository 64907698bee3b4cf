"""The public names: what the reference has to hold, and what code in a page links to."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from types import ModuleType

PACKAGE = "metaopt_fast"
# Modules of which what they define or list is public, too.
MODULES = ("datasets", "metrics", "sklearn", "typing")


def is_documented(value: object) -> bool:
    """Return whether something is a class or a function, which a page is made of."""
    return inspect.isclass(value) or inspect.isroutine(value)


def exported() -> dict[str, object]:
    """Return every public class and function by its name below the package."""
    package = importlib.import_module(PACKAGE)
    found = {name: getattr(package, name) for name in package.__all__}
    for name in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        found |= {f"{name}.{inner}": value for inner, value in listed(module)}
    return {name: value for name, value in found.items() if is_documented(value)}


def listed(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield what a module lists, or, where it has no list, the public names that it defines."""
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if name in getattr(module, "__all__", [name] if is_own else []):
            yield name, value
    for name in getattr(module, "__all__", []):
        if name not in vars(module):  # imported when asked for
            yield name, getattr(module, name)


def members(class_: type) -> Iterator[str]:
    """Yield the names of the public methods and properties of a class, inherited ones too."""
    of_python = set(dir(BaseException))
    for name, value in inspect.getmembers_static(class_):
        value = getattr(value, "__func__", value)
        is_method = inspect.isroutine(value) and not inspect.isdatadescriptor(value)
        if not name.startswith("_") and (is_method or isinstance(value, property)):
            yield from {name} - of_python


@cache
def public_names() -> frozenset[str]:
    """Return all public classes, functions, methods and properties, below the package."""
    found = set()
    for name, value in exported().items():
        found.add(name)
        if inspect.isclass(value):
            found |= {f"{name}.{member}" for member in members(value)}
    return frozenset(name for name in found if not name.rpartition(".")[2].startswith("_"))
