"""A reader of the CIL that we render, and an evaluator of the few statements in it.

It stands for the policy compiler in tests that run many states; ``test_secilc.py`` holds the same
module texts against the real one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.slots import is_group

Node = str | tuple["Node", ...]
_TOKEN = re.compile(r"[()]|[A-Za-z_][A-Za-z0-9_.-]*|[ \n]+", re.ASCII)


class CilError(Exception):
    """The policy compiler would refuse this text."""


def read(text: str) -> tuple[Node, ...]:
    """Parse ``text`` into statements; anything but lists of plain identifiers is refused."""
    stack: list[list[Node]] = [[]]
    for token in _tokens(text):
        if token == "(":  # noqa: S105 - a parenthesis
            stack.append([])
        elif token == ")":  # noqa: S105
            done = tuple(stack.pop())
            if not stack:
                raise CilError(token)
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    if len(stack) != 1:
        msg = "unbalanced"
        raise CilError(msg)
    return tuple(stack[0])


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise CilError(text[at : at + 10])
        at = match.end()
        if not match[0].isspace():
            yield match[0]


@dataclass
class Loaded:
    """A base policy with a module of ours: who may do what on which packet type."""

    types: set[str]
    members: dict[str, set[str]]
    rules: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    sources: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    #: Whose packets of which type are recorded.
    audited: set[tuple[str, str]] = field(default_factory=set)
    strict: bool = False
    #: Domains and types between which a deny rule takes send and recv away.
    denied: set[tuple[str, str]] = field(default_factory=set)
    #: Booleans with their values, and whom each lets use which type.
    booleans: dict[str, bool] = field(default_factory=dict)
    switches: dict[str, tuple[str, str]] = field(default_factory=dict)

    def permissions(self, domain: str, packet_type: str) -> frozenset[str]:
        """Return the permissions of class packet that ``domain`` has on ``packet_type``."""
        if (domain, packet_type) in self.denied:
            return frozenset()
        return frozenset(p for who, p in self.rules[packet_type] if who == domain)

    def rights(self, packet_type: str) -> Rights:
        """Return who may send and receive ``packet_type``."""
        rules = {
            rule for rule in self.rules[packet_type] if (rule[0], packet_type) not in self.denied
        }
        return Rights(*(frozenset(w for w, p in rules if p == wanted) for wanted in _SEND_RECV))


_SEND_RECV = ("send", "recv")


def load(
    text: str, base: LoadedPolicy, unlabeled: str, on: Mapping[str, bool] | None = None
) -> Loaded:
    """Compile ``text`` over ``base``: optional blocks that name what is missing are dropped.

    ``on`` has values that booleans had before, which they keep.
    """
    loaded = Loaded(set(base.types), {"domain": set(base.domains)})
    loaded.members |= {name: set() for name in base.attributes if name not in loaded.members}
    for label, held in {**base.labels, unlabeled: base.unlabeled}.items():
        loaded.types.add(label)
        loaded.rules[label] |= {(domain, "send") for domain in held.send}
        loaded.rules[label] |= {(domain, "recv") for domain in held.recv}
    nodes = read(text)
    for node in nodes:  # CIL knows no order: declarations first, then the members, then rules
        _declare(loaded, node)
    loaded.booleans |= {
        name: (on or {}).get(name, value) for name, value in loaded.booleans.items()
    }
    for node in nodes:
        _add_members(loaded, node)
    for node in nodes:  # sets of what others leave out: all members are there by now
        _add_expression(loaded, node)
    blocks: set[str] = set()
    for node in nodes:
        match node:
            case ("optional", str(name), *body):
                if name in blocks:
                    msg = f"optional {name} is there twice"
                    raise CilError(msg)
                blocks.add(name)
                if not _is_member(body) and all(_resolves(loaded, rule) for rule in body):
                    _add_rules(loaded, [rule for rule in body if _is_packet_rule(rule)])
            case _:
                _add_statement(loaded, node)
    return loaded


def _add_statement(loaded: Loaded, node: Node) -> None:
    match node:
        case ("allow", *_):
            _add_rules(loaded, [node])
        case ("booleanif", *_):
            if not _resolves(loaded, node):
                raise CilError(repr(node))
            _add_rules(loaded, [node])
        case ("auditallow", str(source), str(target), ("packet", _)):
            sources, targets = _expand(loaded, source), _expand(loaded, target)
            loaded.audited |= {(one, other) for one in sources for other in targets}
        case ("policycap", "always_check_network"):
            loaded.strict = True
        case ("deny", str(source), str(target), ("packet", ("recv", "send"))):
            sources, targets = _expand(loaded, source), _expand(loaded, target)
            loaded.denied |= {(one, other) for one in sources for other in targets}


def _is_packet_rule(rule: Node) -> bool:
    """Tell a rule of packets from those for the other checks of a strict network."""
    match rule:
        case ("allow", _, _, ("peer" | "netif" | "node", _)):
            return False
    return True


def _declare(loaded: Loaded, node: Node) -> None:
    match node:
        case ("type", str(name)):
            if name in loaded.types:
                msg = f"type {name} is there twice"
                raise CilError(msg)
            loaded.types.add(name)
            loaded.declared.add(name)
        case ("typeattribute", str(name)):
            loaded.members.setdefault(name, set())
        case ("roletype" | "typeattributeset" | "allow" | "auditallow" | "optional", *_):
            pass
        case ("booleanif", *_):
            pass
        case ("policycap", _) | ("deny", _, _, _):
            pass
        case ("expandtypeattribute", (str(name),), "false"):
            assert name in loaded.members
        case ("boolean", str(name), "false"):
            if "." in name or name in loaded.booleans:
                msg = f"boolean {name}"
                raise CilError(msg)
            loaded.booleans[name] = False
        case _:
            raise CilError(repr(node))


def _add_members(loaded: Loaded, node: Node) -> None:
    match node:
        case ("typeattributeset", str(name), (str(member),)):
            loaded.members[name] |= set(_expand(loaded, member))
        case ("optional", _, ("typeattributeset", _, (str(member),)), *_):
            for one in node[2:]:
                match one:
                    case ("typeattributeset", str(name), (str(same),)):
                        assert same == member
                        if member in loaded.types:
                            loaded.members[name].add(member)
                    case _:
                        raise CilError(repr(one))


def _is_member(body: list[Node]) -> bool:
    match body:
        case [("typeattributeset", *_), *_]:
            return True
    return False


def _add_expression(loaded: Loaded, node: Node) -> None:
    match node:
        case ("typeattributeset", str(name), ("and", (str(one),), ("not", (str(other),)))):
            left_out = set(_expand(loaded, other))
            loaded.members[name] |= set(_expand(loaded, one)) - left_out
        case ("typeattributeset", str(name), ("not", ("and", (str(one),), ("not", (str(other),))))):
            left_out = set(_expand(loaded, one)) - set(_expand(loaded, other))
            loaded.members[name] |= loaded.types - left_out


def _expand(loaded: Loaded, name: str) -> Iterable[str]:
    if name in loaded.members:
        return sorted(loaded.members[name])
    if name in loaded.types:
        return [name]
    msg = f"{name} is not there"
    raise CilError(msg)


def _resolves(loaded: Loaded, rule: Node) -> bool:
    match rule:
        case ("allow", str(source), str(target), _):
            names = {source, target}
            return names <= loaded.types | set(loaded.members)
        case ("booleanif", str(name), ("true", *rules)):
            return name in loaded.booleans and all(_resolves(loaded, rule) for rule in rules)
    raise CilError(repr(rule))


def _member(source: str) -> str:
    """Return the member of the pool that the source of a boolean's rule stands for."""
    group = source.rpartition("_")[0]
    return group if is_group(group) else source


def _add_rules(loaded: Loaded, rules: Iterable[Node]) -> None:
    for rule in rules:
        match rule:
            case ("allow", str(source), str(target), ("packet", tuple(permissions))):
                loaded.sources.add(source)
                for packet_type in _expand(loaded, target):
                    for domain in _expand(loaded, source):
                        loaded.rules[packet_type] |= {(domain, str(p)) for p in permissions}
            case ("booleanif", str(name), ("true", *of)):
                for one in of:
                    match one:
                        case ("allow", str(source), str(target), _):
                            loaded.switches[name] = (_member(source), target)
                if loaded.booleans[name]:
                    _add_rules(loaded, of)
            case _:
                raise CilError(repr(rule))
