"""CIL as structures: atoms and lists, rendered by one function.

An atom is checked against the grammar of CIL identifiers when it is rendered, so no text that
came from outside can become another statement. Source: CIL reference guide, "CIL identifiers".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Node = str | tuple["Node", ...]

_ATOM = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


def render_node(node: Node) -> str:
    """Render one statement.

    Raises:
        ValueError: an atom is no CIL identifier.

    """
    if isinstance(node, str):
        if not _ATOM.fullmatch(node):
            msg = f"not a CIL identifier: {node!a}"
            raise ValueError(msg)
        return node
    return "(" + " ".join(render_node(part) for part in node) + ")"


def render(nodes: Iterable[Node]) -> str:
    """Render a module: a statement a line."""
    return "".join(render_node(node) + "\n" for node in nodes)


def allow(source: str, target: str, permissions: Iterable[str]) -> Node:
    """Return an allow rule of class ``packet``."""
    return ("allow", source, target, ("packet", tuple(sorted(permissions))))
