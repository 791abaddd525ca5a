"""A small model of the kernel's nf_tables for one table: strict where the kernel is, or stricter.

A command that names something missing is refused, so is one that adds what is there, deletes what
is in use, or adds an element that overlaps another. A transaction with a refusal changes nothing,
and each one says first what it does with the table: adopt, make or delete it.
"""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]
_WHERE = {"family": "inet", "table": "appfwd"}
_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


#: What the kernel put in a set by itself.
_SEEN = {"elem": {"val": {"concat": [0, "10.0.0.5", 6, 443]}, "timeout": 300, "expires": 12}}


class Refused(Exception):
    """The kernel would refuse this command."""


@dataclass
class NftModel:
    """The table ``inet appfwd`` of a kernel; ``exists`` False is none at all."""

    exists: bool = False
    flags: list[str] = field(default_factory=list)
    objects: dict[str, str] = field(default_factory=dict)
    maps: dict[str, dict[str, Any]] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)
    chains: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: dict[str, list[list[Json]]] = field(default_factory=dict)
    foreign: list[Json] = field(default_factory=list)

    def transaction(self, commands: Sequence[Json]) -> None:
        """Run all commands or none.

        Raises:
            Refused: nothing was changed.

        """
        before = copy.deepcopy(self.__dict__)
        try:
            _need(bool(commands) and "table" in next(iter(commands[0].values())), "not adopted")
            for command in commands:
                ((verb, what),) = command.items()
                ((kind, value),) = what.items()
                json.dumps(value)
                getattr(self, f"_{verb}_{kind}")(value)
        except Refused:
            self.__dict__.update(before)
            raise

    def orphan(self) -> None:
        """End the process that owns the table."""
        self.flags = [flag for flag in self.flags if flag != "owner"]

    def listing(self, *, terse: bool = False) -> list[Json]:
        """Return what listing the table answers, in the form of libnftables."""
        if not self.exists:
            return []
        rows: list[Json] = [{"metainfo": {"version": "1.1.3", "json_schema_version": 1}}]
        table = {"family": "inet", "name": "appfwd", "handle": 1, "flags": self.flags}
        rows.append({"table": table})
        for name, context in self.objects.items():
            rows.append({"secmark": {**_WHERE, "name": name, "handle": 2, "context": context}})
        for name, what in self.sets.items():
            seen = {} if terse else {"elem": [_SEEN]}
            rows.append({"set": {**_WHERE, "name": name, "handle": 4, **what, **seen}})
        for name, what in self.maps.items():
            value = {**_WHERE, "name": name, "handle": 3, **what}
            if self.elements[name] and not terse:
                value["elem"] = [[_shown(k), v] for k, v in self.elements[name].items()]
            rows.append({"map": value})
        rows += [{"chain": {**_WHERE, "name": n, **base}} for n, base in self.chains.items()]
        for name, rules in self.rules.items():
            for number, rule in enumerate(rules):
                handle = {"handle": number + 9}
                rows.append({"rule": {**_WHERE, "chain": name, **handle, "expr": _counted(rule)}})
        return [*rows, *self.foreign]

    def listed(self, names: Collection[str]) -> list[Json]:
        """Return what listing some maps answers."""
        return [row for row in self.listing() if row.get("map", {}).get("name") in names]

    def labels(self, name: str, keys: Sequence[Json]) -> list[str | None]:
        """Return the label of each element of a map without intervals; None where it is none."""
        _need("flags" not in self.maps.get(name, {}), f"{name} has intervals")
        elements = self.elements.get(name, {})
        return [elements.get(_name_of(key)) for key in keys]

    def _add_table(self, value: Json) -> None:
        kept = "persist" in self.flags and "persist" in value["flags"]
        _need(not self.exists or kept, "the flags of a table stay")
        self.exists, self.flags = True, value["flags"]

    def _delete_table(self, value: Json) -> None:
        _need(self.exists and value["name"] == "appfwd", "no table")
        self.__dict__.update(NftModel().__dict__)

    def _add_secmark(self, value: Json) -> None:
        _need(self.exists and value["name"] not in self.objects, f"have {value['name']}")
        self.objects[value["name"]] = value["context"]

    def _delete_secmark(self, value: Json) -> None:
        name = value["name"]
        _need(name in self.objects, f"no object {name}")
        used = {label for elements in self.elements.values() for label in elements.values()}
        used |= {e["secmark"] for e in self._exprs() if isinstance(e.get("secmark"), str)}
        _need(name not in used, f"object {name} is in use")
        del self.objects[name]

    def _add_map(self, value: Json) -> None:
        name = value["name"]
        _need(self.exists and name not in self.maps, f"have {name}")
        self.maps[name] = {k: value[k] for k in ("type", "map", "flags") if k in value}
        self.elements[name] = {}

    def _delete_map(self, value: Json) -> None:
        name = value["name"]
        _need(name in self.maps, f"no map {name}")
        used = {
            e["secmark"]["map"]["data"]
            for e in self._exprs()
            if isinstance(e.get("secmark"), Mapping)
        }
        _need(f"@{name}" not in used, f"map {name} is in use")
        del self.maps[name], self.elements[name]

    def _add_set(self, value: Json) -> None:
        name = value["name"]
        _need(self.exists and name not in {*self.sets, *self.maps}, f"have {name}")
        self.sets[name] = {k: value[k] for k in ("type", "flags", "timeout", "size")}

    def _delete_set(self, value: Json) -> None:
        name = value["name"]
        _need(name in self.sets, f"no set {name}")
        _need(f'"@{name}"' not in json.dumps(list(self._exprs())), f"set {name} is in use")
        del self.sets[name]

    def _add_element(self, value: Json) -> None:
        _need(value["name"] in self.maps, f"no map {value['name']}")
        elements = self.elements[value["name"]]
        for key, label in value["elem"]:
            _need(label in self.objects, f"no object {label}")
            box = box_of(key)
            ranges = any(low != high for low, high in box)
            _need("flags" in self.maps[value["name"]] or not ranges, "no intervals here")
            _need(not any(_overlap(box, box_of(json.loads(k))) for k in elements), "overlap")
            elements[_name_of(key)] = label

    def _delete_element(self, value: Json) -> None:
        _need(value["name"] in self.maps, f"no map {value['name']}")
        elements = self.elements[value["name"]]
        for key, label in value["elem"]:
            _need(elements.get(_name_of(key)) == label, "no such element")
            del elements[_name_of(key)]

    def _add_chain(self, value: Json) -> None:
        name = value["name"]
        _need(self.exists and name not in self.chains, f"have {name}")
        base = {k: value[k] for k in ("type", "hook", "prio", "policy") if k in value}
        _need(len(base) in (0, 4), "a base chain has type, hook, prio and policy")
        self.chains[name], self.rules[name] = base, []

    def _flush_chain(self, value: Json) -> None:
        _need(value["name"] in self.chains, f"no chain {value['name']}")
        self.rules[value["name"]] = []

    def _delete_chain(self, value: Json) -> None:
        name = value["name"]
        _need(name in self.chains, f"no chain {name}")
        self.rules[name] = []
        _need(name not in {_target(e) for e in self._exprs()}, f"chain {name} is jumped to")
        del self.chains[name], self.rules[name]

    def _add_rule(self, value: Json) -> None:
        _need(value["chain"] in self.chains, f"no chain {value['chain']}")
        for expr in value["expr"]:
            target, mark = _target(expr), expr.get("secmark")
            if target is not None:
                _need(self.chains.get(target) == {}, f"cannot jump to {target}")
            if isinstance(mark, str):
                _need(mark in self.objects, f"no object {mark}")
            elif mark is not None:
                _need(mark["map"]["data"].removeprefix("@") in self.maps, "no map")
            if "set" in expr:
                _need(expr["set"]["set"].removeprefix("@") in self.sets, "no set")
        self.rules[value["chain"]].append(list(value["expr"]))

    def _exprs(self) -> Iterator[Json]:
        for rules in self.rules.values():
            for rule in rules:
                yield from rule


def _need(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion's form
    if not condition:
        raise Refused(message)


def _target(expr: Json) -> str | None:
    for kind in ("jump", "goto"):
        if kind in expr:
            return str(expr[kind]["target"])
    return None


def _name_of(key: Json) -> str:
    return json.dumps(key, sort_keys=True)


Box = tuple[tuple[int, int], ...]


def box_of(key: Json) -> Box:
    """Return an element's key as (first, last) for each of its parts."""
    parts = key["concat"] if isinstance(key, Mapping) and "concat" in key else [key]
    return tuple(_span(part) for part in parts)


def _span(part: Any) -> tuple[int, int]:
    low, high = part["range"] if isinstance(part, Mapping) else (part, part)
    return _number(low), _number(high)


def _number(value: Any) -> int:
    return int(ipaddress.ip_address(value)) if isinstance(value, str) else int(value)


def _overlap(one: Box, other: Box) -> bool:
    return all(a[0] <= b[1] and b[0] <= a[1] for a, b in zip(one, other, strict=True))


def _shown(key: str) -> Any:
    """Return a key as listings have it: prefixes by name, well-known protocols by name."""
    value = json.loads(key)
    if not isinstance(value, Mapping) or "concat" not in value:
        return value
    address, protocol, port = value["concat"]
    if isinstance(address, dict):
        low, high = address["range"]
        size = _number(high) - _number(low) + 1
        if not size & (size - 1) and not _number(low) & (size - 1):
            bits = 128 if ":" in low else 32
            address = {"prefix": {"addr": low, "len": bits + 1 - size.bit_length()}}
    names = {number: name for name, number in _NUMBERS.items()}
    return {
        "concat": [
            address,
            names.get(protocol, protocol) if isinstance(protocol, int) else protocol,
            port,
        ]
    }


def _counted(rule: Sequence[Json]) -> list[Json]:
    """Return a rule as it is after some packets."""
    return [{"counter": {"packets": 7, "bytes": 420}} if "counter" in e else e for e in rule]
