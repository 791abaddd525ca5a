"""Questions to the loaded policy, answered with setools; a program of its own.

It prints one JSON value and ends with status 0, or with 3 where there is no policy file:

    python3 -m appfwd.adapters.policyprogram policy UNLABELED BRIDGE FENCED LOADER FILE
    python3 -m appfwd.adapters.policyprogram rules DOMAIN FILE

Sets of types are large and mostly alike (459 packet types, some 200 different audiences of up to
500 domains), so an answer has each set once, as indices into its list of types, and names it by
its index in the list of sets.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from appfwd.model.domain import is_packet_type
from appfwd.model.slots import group_attribute, is_group, is_slot, parse_switch, switch_name

_DOMAIN = "domain"
_CLASS = "packet"
#: The attribute of refpolicy, and of what descends from it, for types of packets.
_PACKET_TYPE = "packet_type"
_PACKET_SUFFIX = "_packet_t"
_SEND, _RECV, _RELABELTO = _PERMISSIONS = ("send", "recv", "relabelto")
NO_POLICY = 3


class _Rule(NamedTuple):
    """An allow rule of class packet: types or attributes as it names them."""

    source: str
    target: str
    permissions: frozenset[str]
    condition: str
    holds: bool


class _Policy:
    """A policy as far as it concerns packets, in plain values."""

    def __init__(self, path: str) -> None:
        setools = _setools()
        policy = setools.SELinuxPolicy(path)
        self.types = {str(t): t for t in policy.types()}
        self.attributes = {str(a): a for a in policy.typeattributes()}
        self.aliases = {str(alias): name for name, t in self.types.items() for alias in t.aliases()}
        # In the order of the binary's list, which is the one that the kernel searches.
        self.ports = [
            (p.protocol.value, p.ports.low, p.ports.high, str(p.context.type_))
            for p in policy.portcons()
        ]
        self.rules = tuple(_packet_rules(policy, setools.TERuletype.allow))
        self.booleans = {str(b): bool(b.state) for b in policy.bools()}
        self._members: dict[str, frozenset[str]] = {}

    def members(self, name: str) -> frozenset[str]:
        """Return the types that a type or an attribute stands for; none for an unknown name."""
        if name not in self._members:
            attribute = self.attributes.get(name)
            found = {name} & self.types.keys() if attribute is None else map(str, attribute)
            self._members[name] = frozenset(found)
        return self._members[name]

    def packet_types(self) -> frozenset[str]:
        """Return the packet types that policy itself brings, by attribute or else by their name."""
        of_attribute = self.members(_PACKET_TYPE)
        if of_attribute:
            return frozenset(t for t in of_attribute if not is_packet_type(t))
        targets = frozenset[str]().union(*(self.members(rule.target) for rule in self.rules))
        return frozenset(t for t in targets if t.endswith(_PACKET_SUFFIX) and not is_packet_type(t))

    def member(self, rule: _Rule) -> str | None:
        """Return whom a rule lets use a slot while its boolean is on; None for any other rule."""
        if not is_slot(rule.target):
            return None
        if rule.source in self.types and not is_group(rule.source):
            member, wanted = rule.source, {_SEND, _RECV}
        else:
            member, _, permission = rule.source.rpartition("_")
            if not is_group(member):
                return None
            wanted = {permission} & {_SEND, _RECV}
        is_its_own = rule.condition == switch_name(rule.target, member)
        return member if is_its_own and rule.permissions == wanted else None

    def groups(self) -> frozenset[str]:
        """Return the groups that the policy has."""
        names = (name.removesuffix(f"_{_SEND}") for name in self.attributes)
        return frozenset(filter(is_group, names))

    def switches(self) -> Mapping[str, tuple[set[str], set[str]]]:
        """Return the members that a boolean lets use each slot, and those whose boolean is on.

        One that policy lacks may have a boolean that is on: what it gives comes when that one does.
        """
        found = {name: (set[str](), set[str]()) for name in self.types if is_slot(name)}
        for rule in self.rules:
            member = self.member(rule)
            if member is not None:
                found[rule.target][0].add(member)
        for name in (name for name, is_on in self.booleans.items() if is_on):
            slot, member = _switch(name)
            if slot in found:
                found[slot][1].add(member)
        return found


class _Sets:
    """The table of sets of types that an answer refers to by index."""

    def __init__(self, policy: _Policy) -> None:
        self._policy = policy
        self._type = {name: number for number, name in enumerate(sorted(policy.types))}
        self._known: dict[frozenset[str], int] = {}
        self._of_sources: dict[frozenset[str], int] = {}

    def of(self, sources: Iterable[str]) -> int:
        """Return the index of the set of all types that ``sources`` stand for."""
        key = frozenset(sources)
        if key not in self._of_sources:
            types = frozenset[str]().union(*map(self._policy.members, key))
            self._of_sources[key] = self._known.setdefault(types, len(self._known))
        return self._of_sources[key]

    def table(self) -> list[list[int]]:
        """Return the sets as lists of indices of types."""
        return [sorted(map(self._type.__getitem__, types)) for types in self._known]


def query(unlabeled: str, bridge: str, fenced: str, loader: str, path: str) -> dict[str, Any]:
    """Return what LoadedPolicy tells, as plain JSON values.

    ``bridge`` is the attribute of our bridge's rule, ``fenced`` that of the domains with a fence,
    ``loader`` the domain that loads the table.
    """
    policy = _Policy(path)
    labels = policy.packet_types() - {unlabeled}
    ours = frozenset(filter(is_packet_type, policy.types))
    bridged = False
    by_any_rule: dict[tuple[str, str], set[str]] = defaultdict(set)
    by_rules_now: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in (rule for rule in policy.rules if policy.member(rule) is None):
        targets = policy.members(rule.target)
        if rule.source == bridge and unlabeled in targets:
            bridged = True
            targets -= {unlabeled}
        for permission in rule.permissions & {*_PERMISSIONS}:
            for target in targets & ours:
                by_any_rule[target, permission].add(rule.source)
            for target in targets - ours if rule.holds else ():
                by_rules_now[target, permission].add(rule.source)
    sets = _Sets(policy)

    def rights(of: Mapping[tuple[str, str], set[str]], target: str) -> list[int]:
        return [sets.of(of.get((target, p), ())) for p in (_SEND, _RECV)]

    def may_label(target: str) -> bool:
        sources = by_rules_now.get((target, _RELABELTO), ())
        return any(loader in policy.members(source) for source in sources)

    return {
        "types": sorted(policy.types),
        "attributes": sorted(policy.attributes),
        "aliases": policy.aliases,
        "domains": sets.of([_DOMAIN] if _DOMAIN in policy.attributes else []),
        "packet_rights": {name: rights(by_any_rule, name) for name in sorted(ours)},
        **_pool(policy, sets),
        "unlabeled": rights(by_rules_now, unlabeled),
        "bridge": bridged,
        "fenced": sets.of([fenced] if fenced in policy.attributes else []),
        "labels": {name: rights(by_rules_now, name) for name in sorted(labels)},
        "relabel": sorted(filter(may_label, labels)),
        "ports": policy.ports,
        "sets": sets.table(),
    }


def _pool(policy: _Policy, sets: _Sets) -> dict[str, Any]:
    """Return the groups, and of each slot who has a boolean for it, and whose is on."""

    def members(names: set[str]) -> tuple[int, list[str]]:
        domains = frozenset(name for name in names & policy.types.keys() if not is_group(name))
        return sets.of(domains), sorted(names - domains)

    return {
        "groups": {
            group: [sets.of([group_attribute(group, p)]) for p in (_SEND, _RECV)]
            for group in sorted(policy.groups())
        },
        "switches": {
            slot: [members(those), members(on)] for slot, (those, on) in policy.switches().items()
        },
    }


def rules(domain: str, path: str) -> list[dict[str, Any]]:
    """Return the packet rules that concern ``domain`` (or what it is an alias of)."""
    policy = _Policy(path)
    name = policy.aliases.get(domain, domain)
    return [
        {**rule._asdict(), "permissions": sorted(rule.permissions)}
        for rule in policy.rules
        if name in policy.members(rule.source)
    ]


def _setools() -> Any:
    """Import setools' reader of policies, which is wanted in the program only."""
    setools = _reader() or importlib.import_module("setools")
    # Since 4.5 it refuses to list port 0, which compilers take and the kernel compares like others.
    setools.PortconRange.MIN = 0
    return setools


def _reader() -> Any:
    """Import setools.policyrep alone; None where it cannot do without the rest of its package.

    The analyses that the package imports, and a library of graphs for them, take three quarters of
    the import's time.
    """
    package = importlib.util.find_spec("setools")
    if package is None:
        return None
    sys.modules["setools"] = importlib.util.module_from_spec(package)  # not executed
    try:
        return importlib.import_module("setools.policyrep")
    except ImportError:
        for name in [m for m in sys.modules if m.partition(".")[0] == "setools"]:
            del sys.modules[name]
        return None


def _packet_rules(policy: Any, allow: Any) -> Iterable[_Rule]:
    packet = next((c for c in policy.classes() if str(c) == _CLASS), None)
    if packet is None:
        return
    for rule in policy.terules():
        # The class first, as an object: this sees each of a hundred thousand rules.
        if rule.tclass == packet and rule.ruletype is allow:
            yield _Rule(str(rule.source), str(rule.target), rule.perms, *_condition(rule))


def _switch(boolean: str) -> tuple[str, str]:
    """Return the slot and the member that a boolean is for; nothing of one that is for none."""
    try:
        return parse_switch(boolean)
    except ValueError:
        return "", ""


def _condition(rule: Any) -> tuple[str, bool]:
    """Return under which condition a rule holds, and whether it does now."""
    try:
        conditional = rule.conditional
    except AttributeError:
        return "", True
    branch = bool(rule.conditional_block)
    text, atom = _infix(conditional.expression())
    if not branch:
        text = f"!{text}" if atom else f"!({text})"
    return text, bool(conditional.evaluate()) is branch


def _infix(expression: Iterable[Any]) -> tuple[str, bool]:
    """Return an expression that is in postfix order as text, and whether it binds like a name.

    (The text that setools makes of it lacks parentheses: its "c || b && a" may be either.)
    """
    stack: list[tuple[str, bool]] = []

    def operand() -> str:
        text, atom = stack.pop()
        return text if atom else f"({text})"

    for node in expression:
        if hasattr(node, "state"):
            stack.append((str(node), True))
        elif node.unary:
            stack.append((f"{node}{operand()}", True))
        else:
            right, left = operand(), operand()
            stack.append((f"{left} {node} {right}", False))
    return stack.pop()


_QUESTIONS: dict[str, Callable[..., Any]] = {"policy": query, "rules": rules}


def main() -> int:
    """Print the answer to the question in the arguments; exit status 3 where there is no policy."""
    question, *arguments = sys.argv[1:]
    try:
        answer = _QUESTIONS[question](*arguments)
    except FileNotFoundError:
        return NO_POLICY
    json.dump(answer, sys.stdout, separators=(",", ":"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
