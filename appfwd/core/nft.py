"""Tables as libnftables JSON: commands from a difference, and a table from a listing.

Schema: libnftables-json(5). Structures only; names of objects and maps are ours by construction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from appfwd.core.chains import Base, Chain, MapName, Rule
from appfwd.core.table import FAMILY, TABLE, Key, Table
from appfwd.model.addresses import AddressRange, Family, address_text
from appfwd.model.destination import Direction
from appfwd.model.services import PROTOCOLS, Interval, ServiceBox

Json = Mapping[str, Any]

_FLAGS = ["owner", "persist"]
_WHERE = {"family": FAMILY, "table": TABLE}
_KEY_TYPES = {Family.IPV4: "ipv4_addr", Family.IPV6: "ipv6_addr"}
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


def is_orphan(listing: Sequence[Json]) -> bool:
    """Tell whether a listing's table has no owner: the process that made it has ended."""
    tables = [entry["table"] for entry in listing if "table" in entry]
    return any("owner" not in _flags(table) for table in tables)


def _flags(value: Json) -> list[str]:
    """Return an object's flags, which a listing gives as a string where there is one alone."""
    flags = value.get("flags", [])
    return [flags] if isinstance(flags, str) else sorted(flags)


def _table(verb: str) -> Json:
    # Adding with both flags makes the table, adopts an orphan, and leaves our own as it is; a
    # table that was made without them can't get them (nf_tables_updtable), only be deleted.
    table: dict[str, Any] = {"family": FAMILY, "name": TABLE}
    if verb == "add":
        table["flags"] = _FLAGS
    return {verb: {"table": table}}


def _difference(current: Table, wanted: Table) -> Iterator[Json]:
    """Yield commands in an order in which nothing names what is not there."""
    remade = frozenset(_remade(current, wanted))
    redo = {
        name
        for name in {*current.chains, *wanted.chains}
        if remade or current.chains.get(name) != wanted.chains.get(name)
    }
    yield from _drop_chains(current, wanted, redo)
    yield from _drop_elements(current, wanted, remade)
    for name in sorted(set(current.contexts) - set(wanted.contexts)):
        yield {"delete": {"secmark": {**_WHERE, "name": name}}}
    for name in sorted(set(wanted.contexts) - set(current.contexts)):
        context = wanted.contexts[name]
        yield {"add": {"secmark": {**_WHERE, "name": name, "context": context}}}
    yield from _add_elements(current, wanted, remade)
    yield from _add_chains(current, wanted, redo)


def _remade(current: Table, wanted: Table) -> Iterator[MapName]:
    for name, elements in current.maps.items():
        if name in wanted.maps:
            goal = wanted.maps[name]
            gone = sum(goal.get(key) != label for key, label in elements.items())
            if gone > _DELETE_AT_MOST:
                yield name


def _drop_chains(current: Table, wanted: Table, redo: Iterable[str]) -> Iterator[Json]:
    doomed = sorted(name for name in redo if name in current.chains)
    for name in doomed:
        yield {"flush": {"chain": {**_WHERE, "name": name}}}
    for name in doomed:
        if name not in wanted.chains or current.chains[name].base != wanted.chains[name].base:
            yield {"delete": {"chain": {**_WHERE, "name": name}}}


def _drop_elements(current: Table, wanted: Table, remade: frozenset[MapName]) -> Iterator[Json]:
    for name, elements in sorted(current.maps.items(), key=lambda item: str(item[0])):
        if name not in wanted.maps or name in remade:
            yield {"delete": {"map": {**_WHERE, "name": str(name)}}}
            continue
        goal = wanted.maps[name]
        gone = {key: label for key, label in elements.items() if goal.get(key) != label}
        yield from _elements("delete", name, gone)


def _add_elements(current: Table, wanted: Table, remade: frozenset[MapName]) -> Iterator[Json]:
    for name, elements in sorted(wanted.maps.items(), key=lambda item: str(item[0])):
        had = current.maps.get(name)
        if had is None or name in remade:
            had = {}
            yield {
                "add": {
                    "map": {
                        **_WHERE,
                        "name": str(name),
                        "type": [_KEY_TYPES[name.family], "inet_proto", "inet_service"],
                        "map": "secmark",
                        "flags": ["interval"],
                    }
                }
            }
        added = {key: label for key, label in elements.items() if had.get(key) != label}
        yield from _elements("add", name, added)


def _elements(verb: str, name: MapName, elements: Mapping[Key, str]) -> Iterator[Json]:
    if elements:
        rows = [[_encode_key(key), label] for key, label in sorted(elements.items())]
        yield {verb: {"element": {**_WHERE, "name": str(name), "elem": rows}}}


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


class NotOurs(Exception):
    """A listing holds something that appfwd does not make."""


def decode_table(listing: Sequence[Json]) -> Table:
    """Turn the objects of a listing into a table, counters set back to 0.

    Raises:
        NotOurs: the listing has what we never make (another's edit, a later version's table).

    """
    try:
        return _Decoder().decode(listing)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise NotOurs(f"{type(error).__name__}: {error}") from error


class _Decoder:
    """Gathers the parts of a table from a listing."""

    def __init__(self) -> None:
        self._contexts: dict[str, str] = {}
        self._maps: dict[MapName, dict[Key, str]] = {}
        self._bases: dict[str, Base | None] = {}
        self._rules: dict[str, list[Rule]] = {}

    def decode(self, listing: Sequence[Json]) -> Table:
        for entry in listing:
            ((kind, value),) = entry.items()
            if kind != "metainfo":
                getattr(self, f"_on_{kind}")(value)
        chains = {n: Chain(tuple(self._rules.get(n, ())), b) for n, b in self._bases.items()}
        return Table(self._contexts, self._maps, chains)

    def _on_table(self, value: Json) -> None:
        if _flags(value) not in (_FLAGS, ["persist"]):
            raise NotOurs("flags")

    def _on_secmark(self, value: Json) -> None:
        self._contexts[value["name"]] = value["context"]

    def _on_chain(self, value: Json) -> None:
        base = None
        if "hook" in value:
            if (value["type"], value["policy"]) != ("filter", "accept"):
                raise NotOurs("policy")
            base = Base(value["hook"], value["prio"])
        self._bases[value["name"]] = base

    def _on_rule(self, value: Json) -> None:
        if set(value) - {"family", "table", "chain", "handle", "expr"}:
            raise NotOurs("rule")
        rule = tuple(_neutral(expr) for expr in value["expr"])
        self._rules.setdefault(value["chain"], []).append(rule)

    def _on_map(self, value: Json) -> None:
        name = _map_name(value["name"])
        types = [_KEY_TYPES[name.family], "inet_proto", "inet_service"]
        if (value["type"], value["map"], _flags(value)) != (types, "secmark", ["interval"]):
            raise NotOurs("map")
        rows = value.get("elem", ())
        self._maps[name] = {_decode_key(name.family, key): label for key, label in rows}


def counters(listing: Sequence[Json]) -> dict[str, dict[str, int]]:
    """Return for each map how many packets and bytes were labelled from it, by all lookups."""
    found: dict[str, dict[str, int]] = {}
    for entry in listing:
        exprs = entry.get("rule", {}).get("expr", ())
        data = next((e["secmark"]["map"]["data"] for e in exprs if _is_lookup(e)), None)
        for expr in exprs:
            if data is not None and "counter" in expr:
                sums = found.setdefault(data.removeprefix("@"), {"packets": 0, "bytes": 0})
                sums["packets"] += expr["counter"]["packets"]
                sums["bytes"] += expr["counter"]["bytes"]
    return found


def _is_lookup(expr: Json) -> bool:
    return isinstance(expr.get("secmark"), dict)


def _neutral(expr: Json) -> Json:
    """Return an expression without what a listing is free to vary: counts, order in a set."""
    if "counter" in expr:
        return {"counter": {"packets": 0, "bytes": 0}}
    right = expr["match"]["right"] if "match" in expr else None
    if isinstance(right, dict) and "set" in right:
        return {"match": {**expr["match"], "right": {"set": sorted(map(_number, right["set"]))}}}
    return expr


def _map_name(text: str) -> MapName:
    direction, _, kind = text.partition("_")
    family = Family(int(kind[-1]))
    name = MapName(Direction(direction), kind[:-1] == "guard", family)
    if str(name) != text:
        raise NotOurs(text)
    return name


def _decode_key(family: Family, key: Json) -> Key:
    peer, protocols, ports = key["concat"]
    box = ServiceBox(_decode_interval(protocols), _decode_interval(ports))
    return Key(_decode_range(family, peer), box)


def _decode_range(family: Family, value: object) -> AddressRange:
    if isinstance(value, dict):
        if "prefix" in value:
            network = ipaddress.ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")
            return AddressRange(
                family, int(network.network_address), int(network.broadcast_address)
            )
        low, high = value["range"]
    else:
        low = high = value
    return AddressRange(family, int(ipaddress.ip_address(low)), int(ipaddress.ip_address(high)))


def _decode_interval(value: object) -> Interval:
    if isinstance(value, dict):
        low, high = value["range"]
        return Interval(_number(low), _number(high))
    return Interval(_number(value), _number(value))


def _number(value: object) -> int:
    return PROTOCOLS[value] if isinstance(value, str) else int(value)  # type: ignore[call-overload]
