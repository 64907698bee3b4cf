"""What proves that two objectives, samplers or metrics are the same, and what stands in for it.

An object of one of this package's own classes is known by its data and its arguments. An object of
a user's own, a subclass, a partial, a closure or a callable object says nothing of what is in it:
it is known by the string that the user gives it as an attribute ``fingerprint``, not by one that
it inherits. What has none is known by a word that is this object's alone, in this process, as long
as it lives: workers and `merge_results` tell it from all others, and no file knows it again.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Any

from metaopt_fast.validation.overrides import attributes
from metaopt_fast.validation.values import describe

PACKAGE = __name__.partition(".")[0]

# From ids to objects and their words. A child process has copies, which may change by themselves.
_WORDS: dict[int, tuple[weakref.ref[Any], str]] = {}
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_WORDS.clear)


class Names:
    """What the parts of a search are known by, and those parts that nothing is known of.

    Parameters
    ----------
    given : str, optional
        What the caller of a search names all of these by.

    Attributes
    ----------
    unnamed : list of (str, object)
        Parts without a name of their own, and what they are.
    is_built_in : bool
        Whether all parts so far are of this package's own classes.
    """

    given: str | None
    is_built_in: bool

    def __init__(self, given: str | None = None) -> None:
        self.given, self.is_built_in = given, True
        self.unnamed: list[tuple[str, Any]] = []

    def of(self, role: str, part: Any) -> str:
        """Return what a part is known by."""
        if is_built_in(part):
            if hasattr(type(part), "identify"):  # it has parts of its own
                return str(part.identify(self))
            if hasattr(type(part), "fingerprint"):
                return str(part.fingerprint)
        self.is_built_in = False
        own = own_fingerprint(part)
        if own is not None:
            return own
        self.unnamed.append((role, part))
        return word(part) if self.given is None else ""


def is_built_in(thing: object) -> bool:
    """Whether a thing is all of one of this package's own classes."""
    return type(thing).__module__.partition(".")[0] == PACKAGE and not _hides_methods(thing)


def own_fingerprint(thing: object) -> str | None:
    """Return the name that a user gave to an object or to its very class; None without one."""
    own, kind, value = attributes(thing), type(thing), None
    if "fingerprint" in own:
        value = own["fingerprint"]
    elif "fingerprint" in vars(kind) and not _hides_methods(thing):
        value = getattr(thing, "fingerprint", None)
    if not isinstance(value, str) or not value:
        return None
    # functools.wraps copies that of the function inside, whatever the one around adds.
    inside = attributes(own.get("__wrapped__")).get("fingerprint")
    return None if value == inside else value


def _hides_methods(thing: object) -> bool:
    """Whether an attribute of an object takes the place of a method of its class."""
    kind = type(thing)
    return any(callable(getattr(kind, name, None)) for name in attributes(thing))


def word(thing: object) -> str:
    """Return a word that is this object's alone, in this process, as long as it lives."""
    key = id(thing)
    known = _WORDS.get(key)
    if known is not None and known[0]() is thing:
        return known[1]
    new = os.urandom(16).hex()
    # What no reference can be made to has another word each time: its id may be free any time.
    with contextlib.suppress(TypeError):
        _WORDS[key] = weakref.ref(thing, lambda _: _WORDS.pop(key, None)), new
    return new


def check_fingerprint(fingerprint: object) -> str | None:
    """Return what names the unnamed parts of a search, a string; None if nothing does."""
    if fingerprint is None:
        return None
    if not isinstance(fingerprint, str):
        raise TypeError(f"fingerprint is {describe(fingerprint)}: pass a string, or None.")
    if not fingerprint:
        raise ValueError("fingerprint is empty: pass a string that no other objective has.")
    return fingerprint
