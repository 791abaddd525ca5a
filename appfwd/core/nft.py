"""Tables as libnftables JSON: commands from a difference of two tables.

Schema: libnftables-json(5). Structures only; names of objects and maps are ours by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from appfwd.core.cells import Point
from appfwd.core.chains import Base
from appfwd.core.elements import Key, Points
from appfwd.core.expressions import address_span, span
from appfwd.core.keeping import KEPT
from appfwd.core.lines import LineMap
from appfwd.core.lookups import MapName, map_named
from appfwd.core.seen import QUIET, SIZE, SeenSet
from appfwd.core.table import FAMILY, TABLE, Table
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
    make it: it is made anew, in the same transaction as the old one's end. Whatever changes, no
    flow keeps its label any more.
    """
    if current == wanted:
        return []
    if current is None or any(
        wanted.contexts.get(name, context) != context for name, context in current.contexts.items()
    ):
        return [_table("delete"), _table("add"), *_difference(Table(), wanted)]
    return [_table("add"), *_difference(current, wanted)]


@dataclass(frozen=True)
class Touched:
    """What a transaction does: to points, by map, the label of each after it; None: it is gone.

    ``maps`` are the maps of more than points whose elements it changes. ``shape`` tells whether it
    does what a listing without elements shows; that flows keep no label any more is not counted.
    """

    points: Mapping[str, Sequence[tuple[Json, str | None]]]
    maps: frozenset[str]
    shape: bool

    @property
    def count(self) -> int:
        """How many points it touches."""
        return sum(len(rows) for rows in self.points.values())


def touched(commands: Iterable[Json]) -> Touched | None:
    """Return what a transaction does; None where it takes the whole table away."""
    found: dict[str, dict[str, tuple[Json, str | None]]] = {}
    maps: set[str] = set()
    shape = False
    for command in commands:
        ((verb, what),) = command.items()
        ((kind, value),) = what.items()
        if kind != "element":
            shape = shape or not (kind == "table" or _is_of_keeping(verb, kind, value))
            if kind == "table" and verb == "delete":
                return None
        elif not _is_of_points(map_named(value["name"])):
            maps.add(value["name"])
        else:
            rows = found.setdefault(value["name"], {})
            for key, label in value["elem"]:
                rows[repr(key)] = (key, label if verb == "add" else None)
    points = {name: tuple(rows.values()) for name, rows in found.items()}
    return Touched(points, frozenset(maps), shape)


def _is_of_keeping(verb: str, kind: str, value: Json) -> bool:
    if kind == "rule":
        return value["chain"] in KEPT
    return (verb, kind) == ("flush", "chain") and value["name"] in KEPT


def same_maps(found: Table, wanted: Table, names: Collection[str]) -> bool:
    """Tell whether some maps, of which alone a table was read back, are as wanted."""
    held, goal = _held(found), _held(wanted)
    return held.keys() == goal.keys() & names and all(
        held[name].elements == goal[name].elements for name in held
    )


def same_shape(found: Table, wanted: Table) -> bool:
    """Tell whether a table read back without elements is as wanted, elements aside."""
    return (
        (found.contexts, found.sets, found.chains) == (wanted.contexts, wanted.sets, wanted.chains)
        and found.keeping == wanted.keeping
        and found.maps.keys() == wanted.maps.keys()
        and found.points.keys() == wanted.points.keys()
        and found.lines.keys() == wanted.lines.keys()
    )


def keep_commands(table: Table, number: int) -> list[Json]:
    """Return the transaction with which an epoch begins, or ends (0); see appfwd.core.keeping."""
    rules = table.kept_rules(number)
    names = sorted(table.varying)
    return [
        _table("add"),
        *({"flush": {"chain": {**_WHERE, "name": name}}} for name in names),
        *(
            {"add": {"rule": {**_WHERE, "chain": name, "expr": list(rule)}}}
            for name in names
            for rule in rules[name]
        ),
    ]


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
    form: dict[str, Any] = {"type": kind, "map": "secmark"}
    if name.exact:
        return form
    return {**form, "flags": ["interval"]}


def _is_of_points(name: MapName | LineMap) -> bool:
    return isinstance(name, MapName) and name.exact


def set_form(one: SeenSet) -> Json:
    """Return what a set of seen places is, beside its name and elements."""
    return {"type": one.types(), "size": SIZE, "flags": ["timeout", "dynamic"], "timeout": QUIET}


class _Held(NamedTuple):
    """A map: what it is, its elements, how one's key is written, and whether many go slowly."""

    form: Json
    elements: Mapping[Any, str]
    write: Callable[[Any], object]
    slow: bool


def _held(table: Table) -> dict[str, _Held]:
    """Return all maps by name, in order."""
    found: dict[str, _Held] = {}
    for name, cells in table.maps.items():
        found[str(name)] = _Held(map_form(name), cells, _encode_key, slow=True)
    for name, points in table.points.items():
        write = partial(_encode_point, name.family)
        found[str(name)] = _Held(map_form(name), points, write, slow=False)
    for line, intervals in table.lines.items():
        found[str(line)] = _Held(map_form(line), intervals, _of, slow=not line.exact)
    return dict(sorted(found.items()))


_HeldByName = Mapping[str, _Held]


def _difference(current: Table, wanted: Table) -> Iterator[Json]:
    """Yield commands in an order in which nothing names what is not there."""
    had, goal = _held(current), _held(wanted)
    remade = frozenset(_remade(had, goal))
    sets_differ = current.sets != wanted.sets
    ended = current.varying if current.keeping else frozenset()
    redo = {
        name
        for name in {*current.chains, *wanted.chains}
        if remade
        or sets_differ
        or name in ended
        or current.chains.get(name) != wanted.chains.get(name)
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


def _remade(had: _HeldByName, goal: _HeldByName) -> Iterator[str]:
    for name, held in had.items():
        if held.slow and name in goal:
            gone = _missing(held.elements, goal[name].elements)
            if len(gone) > _DELETE_AT_MOST:
                yield name


def _missing(elements: Mapping[Any, str], others: Mapping[Any, str]) -> list[tuple[Any, str]]:
    """Return what others have not, or have with another label, in order."""
    if elements is others:
        return []
    keys = elements.unlike(others) if isinstance(elements, Points) else elements
    there = ((key, elements.get(key)) for key in keys)
    return sorted((key, label) for key, label in there if label and others.get(key) != label)


def _drop_chains(current: Table, wanted: Table, redo: Iterable[str]) -> Iterator[Json]:
    doomed = sorted(name for name in redo if name in current.chains)
    for name in doomed:
        yield {"flush": {"chain": {**_WHERE, "name": name}}}
    for name in doomed:
        if name not in wanted.chains or current.chains[name].base != wanted.chains[name].base:
            yield {"delete": {"chain": {**_WHERE, "name": name}}}


def _drop_elements(had: _HeldByName, goal: _HeldByName, remade: frozenset[str]) -> Iterator[Json]:
    for name, held in had.items():
        if name not in goal or name in remade:
            yield {"delete": {"map": {**_WHERE, "name": name}}}
        else:
            gone = _missing(held.elements, goal[name].elements)
            yield from _elements("delete", name, held, gone)


def _add_elements(had: _HeldByName, goal: _HeldByName, remade: frozenset[str]) -> Iterator[Json]:
    for name, held in goal.items():
        before: Mapping[Any, str] = {}
        if name in had and name not in remade:
            before = had[name].elements
        else:
            yield {"add": {"map": {**_WHERE, "name": name, **held.form}}}
        yield from _elements("add", name, held, _missing(held.elements, before))


def _elements(verb: str, name: str, held: _Held, rows: Sequence[tuple[Any, str]]) -> Iterator[Json]:
    if rows:
        elem = [[held.write(key), label] for key, label in rows]
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
    box = key.service
    return {"concat": [address_span(key.peer), _of(box.protocols), _of(box.ports)]}


def _encode_point(family: Family, point: Point) -> Json:
    return {"concat": [address_text(family, point.address), point.protocol, point.port]}


def _of(interval: Interval) -> object:
    return span(interval.first, interval.last)
