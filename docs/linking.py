"""Links to the reference: Sphinx is told what has to be there, and what leads to it.

It warns of a public class, function, method or property that the reference does not have; and code
in a page that is one of these names, as `mf.fit_many`, becomes a link.
"""

from __future__ import annotations

import re

from docutils import nodes
from names import PACKAGE, public_names
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

CODE = re.compile(r"(?:mf\.|metaopt_fast\.)?([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\([^()]*\))?")


def check_reference(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of every public name that no page documents."""
    there = env.domains.python_domain.objects
    missing = sorted(name for name in public_names() if f"{PACKAGE}.{name}" not in there)
    for name in missing:
        logging.getLogger(__name__).warning(
            "%s is not in the reference: add it to reference.md", name
        )
    print(f"reference: {len(public_names()) - len(missing)} of {len(public_names())} public names")


def link_code(app: Sphinx, document: nodes.document) -> None:
    """Turn code that is a public name into a link to where it is documented."""
    for node in list(document.findall(nodes.literal)):
        found = CODE.fullmatch(node.astext())
        if found is None or found[1] not in public_names() or is_title_or_link(node):
            continue
        link = pending_xref(
            "",
            refdomain="py",
            reftype="obj",
            reftarget=f"{PACKAGE}.{found[1]}",
            refexplicit=True,
            refdoc=app.env.docname,
        )
        node.replace_self(link)
        link += node


def is_title_or_link(node: nodes.Node) -> bool:
    """Return whether a node stands in a title or in a link."""
    inside = (nodes.title, nodes.reference, pending_xref)
    while (node := node.parent) is not None:
        if isinstance(node, inside):
            return True
    return False


def find_in_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Resolve a name of the package's root that a docstring of a module below it writes."""
    target = f"{PACKAGE}.{node['reftarget']}"
    if node.get("refdomain") != "py" or target not in env.domains.python_domain.objects:
        return None
    return env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", target, node, content
    )


def connect(app: Sphinx) -> None:
    """Let Sphinx do all of this."""
    app.connect("doctree-read", link_code)
    app.connect("missing-reference", find_in_package)
    app.connect("env-check-consistency", check_reference)
