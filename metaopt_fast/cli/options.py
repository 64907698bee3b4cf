"""Commands and their options as rows of a table, which add themselves to argparse's parsers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """An option with a value; without dashes in front, an argument that has a position.

    Attributes
    ----------
    flag : str
        The option as it is written: "--seed".
    value : callable, tuple of str, or None
        Reader of the value's text, the texts that are allowed, or None for any text.
    text : str
        The help, to which the default is added.
    default : object
    metavar : str or None
        The value's name in the help; by default that of the option, or the texts allowed.
    further : dict or None
        Further arguments of ``ArgumentParser.add_argument``.
    """

    flag: str
    value: Callable[[str], Any] | tuple[str, ...] | None
    text: str
    default: Any = None
    metavar: str | None = None
    further: dict[str, Any] | None = None

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the option to the parser of a command."""
        default = f"{self.default:g}" if isinstance(self.default, float) else self.default
        keywords: dict[str, Any] = {
            "choices" if isinstance(self.value, tuple) else "type": self.value,
            "default": self.default,
            "metavar": self.metavar,
            "help": self.text if default is None else f"{self.text} (default {default})",
        }
        parser.add_argument(self.flag, **keywords, **(self.further or {}))


@dataclass(frozen=True, slots=True)
class Switch:
    """An option without a value: what it names becomes true, or false after "--no-"."""

    flag: str
    text: str

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the option to the parser of a command."""
        action = "store_false" if self.flag.startswith("--no-") else "store_true"
        name = self.flag.removeprefix("--").removeprefix("no-")
        parser.add_argument(self.flag, help=self.text, action=action, dest=name)


Options = tuple[Option | Switch, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the program.

    Attributes
    ----------
    name : str
    text : str
        The help in the list of commands.
    description : str
        The head of the help of its own.
    options : tuple of Option and Switch
    epilog : str or None
        The end of the help of its own.
    """

    name: str
    text: str
    description: str
    options: Options
    epilog: str | None = None

    def add_to(self, commands: Any) -> None:
        """Add the command to those of the program."""
        parser = commands.add_parser(
            self.name,
            help=self.text,
            description=self.description,
            epilog=self.epilog,
            allow_abbrev=False,
        )
        # What is asked of every command, also of one without such an option.
        parser.set_defaults(parser=parser, checkpoint=None, model=None, plot=None, test=None)
        for option in self.options:
            option.add_to(parser)
