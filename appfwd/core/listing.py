"""A table from its listing by libnftables, counters and what is free to vary set back.

Schema: libnftables-json(5). Whatever we never make is told by :class:`NotOurs`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from appfwd.core.cells import Point
from appfwd.core.chains import Base, Chain, is_complete
from appfwd.core.elements import Key, Points
from appfwd.core.expressions import UNLABELLED, Rule, among, match, meta
from appfwd.core.keeping import KEPT, number_of
from appfwd.core.lines import LineMap
from appfwd.core.lookups import MapName, map_named
from appfwd.core.nft import TABLE_FLAGS, map_form, set_form
from appfwd.core.seen import SeenSet
from appfwd.core.table import Table
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.services import PROTOCOLS, Interval, ServiceBox

Json = Mapping[str, Any]

#: As libnftables lists what it does not take in this form.
_UNLABELLED = match(meta("secmark"), 0)
_FAMILIES = {"ip": Family.IPV4, "ip6": Family.IPV6}
_SHAPE = frozenset({"family", "table", "name", "handle", "elem"})


def is_orphan(listing: Sequence[Json]) -> bool:
    """Tell whether a listing's table has no owner: the process that made it has ended."""
    tables = [entry["table"] for entry in listing if "table" in entry]
    return any("owner" not in _flags(table) for table in tables)


def _flags(value: Json) -> list[str]:
    """Return an object's flags, which a listing gives as a string where there is one alone."""
    flags = value.get("flags", [])
    return [flags] if isinstance(flags, str) else sorted(flags)


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
        self._points: dict[MapName, Points] = {}
        self._lines: dict[LineMap, dict[Interval, str]] = {}
        self._sets: set[SeenSet] = set()
        self._bases: dict[str, Base | None] = {}
        self._rules: dict[str, list[Rule]] = {}

    def decode(self, listing: Sequence[Json]) -> Table:
        for entry in listing:
            ((kind, value),) = entry.items()
            if kind != "metainfo":
                getattr(self, f"_on_{kind}")(value)
        chains = {n: Chain(tuple(self._rules.get(n, ())), b) for n, b in self._bases.items()}
        maps = (self._maps, self._points, self._lines)
        return _between_epochs(Table(self._contexts, *maps, frozenset(self._sets), chains))

    def _on_table(self, value: Json) -> None:
        if _flags(value) not in (TABLE_FLAGS, ["persist"]):
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
        rule = tuple(as_written(expr) for expr in value["expr"])
        self._rules.setdefault(value["chain"], []).append(rule)

    def _on_map(self, value: Json) -> None:
        name = map_named(value["name"])
        _hold_form(value, map_form(name))
        rows = value.get("elem", ())
        if isinstance(name, LineMap):
            self._lines[name] = {_decode_interval(key): label for key, label in rows}
        elif name.exact:
            self._points[name] = Points({_decode_point(key): label for key, label in rows})
        else:
            self._maps[name] = {_decode_key(name.family, key): label for key, label in rows}

    def _on_set(self, value: Json) -> None:
        name = SeenSet.parse(value["name"])
        _hold_form(value, set_form(name))
        self._sets.add(name)


def _between_epochs(listed: Table) -> Table:
    """Return a table as it is between two epochs, with the number of the one that it is in."""
    if not listed.keeps:
        return listed
    complete = is_complete(listed.chains)
    number = number_of({name: listed.chains[name].rules for name in KEPT}, complete=complete)
    between = listed.kept_rules(0)
    chains = {
        name: replace(chain, rules=between.get(name, chain.rules))
        for name, chain in listed.chains.items()
    }
    return replace(listed, chains=chains, keeping=number)


def _hold_form(value: Json, form: Json) -> None:
    """Hold that a map or set is as we make it, elements aside."""
    if _flags(value) != sorted(form.get("flags", [])):
        raise NotOurs(f"{value['name']}: flags")
    for key, wanted in form.items():
        if key != "flags" and value.get(key) != wanted:
            raise NotOurs(f"{value['name']}: {key}")
    if ("elem" in value and set(value) - _SHAPE - form.keys()) or "expr" in value:
        raise NotOurs(str(value["name"]))


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


def as_written(expr: Json) -> Json:
    """Return a listed expression as we write it: listings vary counts and the order in a set."""
    if "counter" in expr:
        return {"counter": {"packets": 0, "bytes": 0}}
    if expr == _UNLABELLED:
        return UNLABELLED
    if "match" in expr:
        one = expr["match"]
        return {"match": {**one, "right": _right(one["left"], one["right"])}}
    return expr


def _right(left: Json, right: Any) -> Any:
    header = left.get("payload", {}).get("protocol")
    family = _FAMILIES.get(header or left.get("ct", {}).get("key", "").partition(" ")[0])
    many = right["set"] if isinstance(right, dict) and "set" in right else None
    if family is not None:
        ranges = sorted(_decode_range(family, one) for one in many or [right])
        return among(left, ranges)["match"]["right"]
    return right if many is None else {"set": sorted(map(_number, many))}


def _decode_key(family: Family, key: Json) -> Key:
    peer, protocols, ports = key["concat"]
    box = ServiceBox(_decode_interval(protocols), _decode_interval(ports))
    return Key(_decode_range(family, peer), box)


def _decode_point(key: Json) -> Point:
    peer, protocol, port = key["concat"]
    return Point(int(ipaddress.ip_address(peer)), _number(protocol), _number(port))


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
