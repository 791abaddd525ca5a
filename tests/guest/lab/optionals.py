"""A policy store's sources without what its compiler throws away: the same policy, built sooner.

An optional block whose requirements nothing declares is dropped by the compiler, which then begins
anew with all that is left (cil_resolve_ast, libsepol/cil/src/cil_resolve_ast.c). Where most modules
are gone, so are two thirds of the blocks' requirements, and most of the compiler's time goes there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .modules import REQUIREMENT, declared, text_of

STORE = "var/lib/selinux/default/active/modules"
#: Statements that say the same however often they are said.
_REPEATABLE = re.compile(
    r"\((?:allow|dontaudit|typeattributeset|roletype|roleattributeset|typetransition) "
)
_QUOTED = re.compile(r'"[^"]*"')


def shrink_store(root: Path) -> None:
    """Rewrite the sources of a root directory's modules, uncompressed.

    All of them must be there as CIL: what the compiler has made of each module once.
    """
    files = {str(file): file for file in (root / STORE).glob("*/*/cil")}
    sources = {name: text_of(file.read_bytes()) for name, file in files.items()}
    for name, text in without_dead_optionals(sources).items():
        files[name].write_bytes(without_repeats(text).encode())


def without_dead_optionals(sources: Mapping[str, str]) -> dict[str, str]:
    """Return the modules' CIL without the optional blocks that need what no module declares."""
    before, now = None, dict(sources)
    while now != before:  # what stood in a block is declared no more
        before = now
        known = {name for text in before.values() for name in declared(text)}
        now = {module: _without_dead(text, known) for module, text in before.items()}
    return now


def without_repeats(text: str) -> str:
    """Return a module's CIL without the statements that stand in it already, outside blocks."""
    seen = set[str]()
    kept = list[str]()
    for depth, after, line in _by_depth(text):
        whole = depth == after == 0
        again = whole and line in seen
        if whole and _REPEATABLE.match(line):
            seen.add(line)
        if not again:
            kept.append(line)
    return _joined(kept)


def _without_dead(text: str, known: set[str]) -> str:
    kept = list[str]()
    blocks: list[tuple[int, int]] = []  # lists open before it, lines kept before it
    dead = set[int]()
    for depth, after, line in _by_depth(text):
        if line.lstrip().startswith("(optional "):
            blocks.append((depth, len(kept)))
        kept.append(line)
        if blocks and not known.issuperset(REQUIREMENT.findall(line)):
            dead.add(blocks[-1][1])
        while blocks and after <= blocks[-1][0]:
            begin = blocks.pop()[1]
            if begin in dead:
                dead.remove(begin)
                del kept[begin:]
    return _joined(kept)


def _by_depth(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each line with the number of lists that are open before and after it."""
    depth = 0
    for line in text.splitlines():
        plain = _QUOTED.sub("", line)
        after = depth + plain.count("(") - plain.count(")")
        yield depth, after, line
        depth = after


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
