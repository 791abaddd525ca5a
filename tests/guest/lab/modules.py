"""Which modules of a policy store are needed: the fewer there are, the faster is semodule.

Most of semodule's time goes into compiling the whole policy, so it grows with the policy's size.
"""

import bz2
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

STORE = "var/lib/selinux/default/active/modules/100"
_DECLARATION = re.compile(
    r"\s*\((?:type|typeattribute|role|roleattribute|typealias|user|class|boolean|tunable) ([^ )]+)"
)
REQUIREMENT = re.compile(r"cil_gen_require ([^ )]+)\)")


def removable_modules(root: Path, wanted: Iterable[str]) -> list[str]:
    """Return the modules of a root directory's store that the wanted ones can do without."""
    sources = _read_sources(root / STORE)
    kept = needed_closure(sources, set(wanted))
    return sorted(set(sources) - kept)


def needed_closure(sources: Mapping[str, str], wanted: set[str]) -> set[str]:
    """Return the wanted modules and all that they need, given each module's CIL text.

    What is required only in an optional block is not needed: the block is dropped without it.
    """
    home = {name: module for module, text in sources.items() for name in declared(text)}
    kept = set[str]()
    waiting = list(wanted)
    while waiting:
        module = waiting.pop()
        if module not in kept:
            kept.add(module)
            names = _required(sources[module])
            waiting += [home[name] for name in names if name in home]
    return kept


def _read_sources(store: Path) -> dict[str, str]:
    return {file.parent.name: text_of(file.read_bytes()) for file in store.glob("*/cil")}


def text_of(data: bytes) -> str:
    """Return a source's text; stores hold it compressed or not."""
    return (bz2.decompress(data) if data.startswith(b"BZh") else data).decode()


def declared(text: str) -> list[str]:
    """Return the names that a module's CIL declares, one statement a line."""
    return [found[1] for line in text.splitlines() if (found := _DECLARATION.match(line))]


def _required(text: str) -> set[str]:
    """Return the names required outside optional blocks; one statement a line, as pp writes it."""
    depth = 0
    optional_depth: int | None = None
    names = set[str]()
    for line in text.splitlines():
        if optional_depth is None and line.lstrip().startswith("(optional"):
            optional_depth = depth
        if optional_depth is None and (found := REQUIREMENT.search(line)):
            names.add(found[1])
        depth += line.count("(") - line.count(")")
        if optional_depth is not None and depth <= optional_depth:
            optional_depth = None
    return names
