"""Every sentence with which the library refuses something, read from its source.

``write_errors(path)`` writes the page of the documentation; nothing of it is kept by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "metaopt_fast"
HEAD = """# Errors

Each sentence says what was given, and after the colon what is expected or how to fix it. Words in
angle brackets are filled in. Sentences without a cure are reasons that another one quotes. This
page is made from the source.
"""


class Error(NamedTuple):
    """A sentence, the exception that carries it, and where it is raised."""

    module: str
    line: int
    kind: str
    sentence: str

    @property
    def given(self) -> str:
        """The part before the last colon."""
        return self.sentence.rpartition(": ")[0]

    @property
    def cure(self) -> str:
        """The part behind it; empty where a sentence has none."""
        given, _, cure = self.sentence.rpartition(": ")
        return cure if given else ""


def errors() -> list[Error]:
    """Return all sentences of the package, module by module."""
    return [
        error
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "reference"
        for error in errors_of(path)
    ]


def errors_of(path: Path) -> Iterator[Error]:
    """Yield the sentences that a module raises."""
    tree = ast.parse(path.read_text())
    texts = {
        ast.unparse(node.targets[0]): node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            sentence = text_of(node.exc.args[0], texts)
            if " " in sentence:
                yield Error(module_of(path), node.lineno, kind_of(node.exc.func), sentence)


def module_of(path: Path) -> str:
    """Return the name of a module below the package's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def kind_of(function: ast.expr) -> str:
    """Return the name of an exception; `error` where it is chosen when it is raised."""
    name = ast.unparse(function).rpartition(".")[2]
    return name if name[0].isupper() else "ValueError or TypeError"


def text_of(node: ast.expr, texts: dict[str, ast.expr]) -> str:
    """Return a string as it reads, with <names> for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, texts) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left, texts) + text_of(node.right, texts)
    if isinstance(node, ast.IfExp):
        return text_of(node.body, texts)
    if isinstance(node, ast.FormattedValue):
        value = node.value
        if isinstance(value, ast.Name) and isinstance(texts.get(value.id), ast.Constant):
            return text_of(texts[value.id], texts)
        return f"<{readable(value)}>"
    return f"<{readable(node)}>"


def readable(node: ast.expr) -> str:
    """Return a short name of what an expression is."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in ("describe", "repr"):
        return readable(node.args[0])
    words = re.findall(r"[A-Za-z_][A-Za-z_0-9]*", ast.unparse(node))
    return words[-1] if words else "value"


def write_errors(path: Path) -> None:
    """Write the page."""
    lines, module = [HEAD], None
    for error in errors():
        if error.module != module:
            module = error.module
            lines.append(f"\n## {escape(module)}\n")
        cure = f": **{escape(error.cure)}**" if error.cure else ""
        lines.append(f"- {escape(error.given or error.sentence)}{cure} ({error.kind})")
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def escape(text: str) -> str:
    """Return text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", text)
