"""Tables as libnftables JSON: commands from a difference of two tables.

Schema: libnftables-json(5). Structures only; names of objects and maps are ours by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from appfwd.core.chains import Base, MapName
from appfwd.core.lines import LineMap
from appfwd.core.seen import QUIET, SIZE, SeenSet
from appfwd.core.table import FAMILY, TABLE, Key, Table
from appfwd.model.addresses import Family, address_text
from appfwd.model.services import Interval

Json = Mapping[str, Any]

#: Flags of our table: nobody else edits it, and it outlives whoever made it.
TABLE_FLAGS = ["owner", "persist"]
_WHERE = {"family": FAMILY, "table": TABLE}
_ADDRESS_TYPES = {Family.IPV4: "ipv4_addr", Family.IPV6: "ipv6_addr"}
#: The kernel takes 30 to 50 ms for each element deleted from a large interval map, and about
#: 10 ms for 1,000 that a new map is filled with: past this many deletions the map is made anew.
_DELETE_AT_MOST = 8


def table_commands(current: Table | None, wanted: Table) -> list[Json]:
    """Return one transaction that turns ``current`` into ``wanted``; empty where they are equal.

    An empty table and none are the same here. None for ``current`` is a table that is not as we
    make it: it is made anew, in the same transaction as the old one's end.
    """
    if current == wanted:
        return []
    if current is None or any(
        wanted.contexts.get(name, context) != context for name, context in current.contexts.items()
    ):
        return [_table("delete"), _table("add"), *_difference(Table(), wanted)]
    return [_table("add"), *_difference(current, wanted)]


def delete_commands() -> list[Json]:
    """Return the transaction that takes the whole table away; there must be one."""
    return [_table("delete")]


def adopt_commands() -> list[Json]:
    """Return the transaction that makes an orphaned table ours, so that nobody else edits it."""
    return [_table("add")]


def _table(verb: str) -> Json:
    # Adding with both flags makes the table, adopts an orphan, and leaves our own as it is; a
    # table that was made without them can't get them (nf_tables_updtable), only be deleted.
    table: dict[str, Any] = {"family": FAMILY, "name": TABLE}
    if verb == "add":
        table["flags"] = TABLE_FLAGS
    return {verb: {"table": table}}


def map_form(name: MapName | LineMap) -> Json:
    """Return what a map is, beside its name and elements."""
    if isinstance(name, LineMap):
        kind: str | list[str] = "inet_proto" if name.protocol is None else "inet_service"
    else:
        kind = [_ADDRESS_TYPES[name.family], "inet_proto", "inet_service"]
    return {"type": kind, "map": "secmark", "flags": ["interval"]}


def set_form(one: SeenSet) -> Json:
    """Return what a set of seen places is, beside its name and elements."""
    return {"type": one.types(), "size": SIZE, "flags": ["timeout", "dynamic"], "timeout": QUIET}


Elements = Mapping[str, tuple[Json, Mapping[Any, tuple[object, str]]]]


def _elements_of(table: Table) -> dict[str, tuple[Json, dict[Any, tuple[object, str]]]]:
    """Return all maps by name, each with its form and its elements: key to (key in JSON, label)."""
    found: dict[str, tuple[Json, dict[Any, tuple[object, str]]]] = {}
    for name, elements in sorted(table.maps.items(), key=lambda item: str(item[0])):
        found[str(name)] = (
            map_form(name),
            {key: (_encode_key(key), label) for key, label in sorted(elements.items())},
        )
    for line, intervals in sorted(table.lines.items(), key=lambda item: str(item[0])):
        found[str(line)] = (
            map_form(line),
            {key: (_of(key), label) for key, label in sorted(intervals.items())},
        )
    return found


def _difference(current: Table, wanted: Table) -> Iterator[Json]:
    """Yield commands in an order in which nothing names what is not there."""
    had, goal = _elements_of(current), _elements_of(wanted)
    remade = frozenset(_remade(had, goal))
    sets_differ = current.sets != wanted.sets
    redo = {
        name
        for name in {*current.chains, *wanted.chains}
        if remade or sets_differ or current.chains.get(name) != wanted.chains.get(name)
    }
    yield from _drop_chains(current, wanted, redo)
    yield from _drop_elements(had, goal, remade)
    for one in sorted(map(str, current.sets - wanted.sets)):
        yield {"delete": {"set": {**_WHERE, "name": one}}}
    for name in sorted(set(current.contexts) - set(wanted.contexts)):
        yield {"delete": {"secmark": {**_WHERE, "name": name}}}
    for name in sorted(set(wanted.contexts) - set(current.contexts)):
        context = wanted.contexts[name]
        yield {"add": {"secmark": {**_WHERE, "name": name, "context": context}}}
    for added in sorted(wanted.sets - current.sets, key=str):
        yield {"add": {"set": {**_WHERE, "name": str(added), **set_form(added)}}}
    yield from _add_elements(had, goal, remade)
    yield from _add_chains(current, wanted, redo)


def _remade(had: Elements, goal: Elements) -> Iterator[str]:
    for name, (_, elements) in had.items():
        if name in goal:
            kept = goal[name][1]
            gone = sum(kept.get(key) != element for key, element in elements.items())
            if gone > _DELETE_AT_MOST:
                yield name


def _drop_chains(current: Table, wanted: Table, redo: Iterable[str]) -> Iterator[Json]:
    doomed = sorted(name for name in redo if name in current.chains)
    for name in doomed:
        yield {"flush": {"chain": {**_WHERE, "name": name}}}
    for name in doomed:
        if name not in wanted.chains or current.chains[name].base != wanted.chains[name].base:
            yield {"delete": {"chain": {**_WHERE, "name": name}}}


def _drop_elements(had: Elements, goal: Elements, remade: frozenset[str]) -> Iterator[Json]:
    for name, (_, elements) in had.items():
        if name not in goal or name in remade:
            yield {"delete": {"map": {**_WHERE, "name": name}}}
            continue
        kept = goal[name][1]
        gone = [row for key, row in elements.items() if kept.get(key) != row]
        yield from _elements("delete", name, gone)


def _add_elements(had: Elements, goal: Elements, remade: frozenset[str]) -> Iterator[Json]:
    for name, (form, elements) in goal.items():
        before: Mapping[Any, tuple[object, str]] = {}
        if name in had and name not in remade:
            before = had[name][1]
        else:
            yield {"add": {"map": {**_WHERE, "name": name, **form}}}
        added = [row for key, row in elements.items() if before.get(key) != row]
        yield from _elements("add", name, added)


def _elements(verb: str, name: str, rows: Sequence[tuple[object, str]]) -> Iterator[Json]:
    if rows:
        elem = [[key, label] for key, label in rows]
        yield {verb: {"element": {**_WHERE, "name": name, "elem": elem}}}


def _add_chains(current: Table, wanted: Table, redo: set[str]) -> Iterator[Json]:
    names = [name for name in wanted.chains if name in redo]
    for name in names:
        chain = wanted.chains[name]
        had = current.chains.get(name)
        if had is None or had.base != chain.base:
            yield {"add": {"chain": {**_WHERE, "name": name, **_base(chain.base)}}}
    for name in names:
        for rule in wanted.chains[name].rules:
            yield {"add": {"rule": {**_WHERE, "chain": name, "expr": list(rule)}}}


def _base(base: Base | None) -> Json:
    if base is None:
        return {}
    return {"type": "filter", "hook": base.hook, "prio": base.priority, "policy": "accept"}


def _encode_key(key: Key) -> Json:
    family = key.peer.family
    first, last = address_text(family, key.peer.first), address_text(family, key.peer.last)
    box = key.service
    return {"concat": [_span(first, last), _of(box.protocols), _of(box.ports)]}


def _of(interval: Interval) -> object:
    return _span(interval.first, interval.last)


def _span(first: object, last: object) -> object:
    return first if first == last else {"range": [first, last]}
