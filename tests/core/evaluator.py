"""An evaluator of nftables expressions (libnftables-json(5)) over model packets.

It knows what the kernel does with the expressions that our chains use, and refuses any other:
an expression that has nothing to look at ends its rule (NFT_BREAK), a lookup that finds nothing
does too, ``goto`` does not come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from operator import or_, xor
from typing import Any

from appfwd.core.elements import Key
from appfwd.core.table import Table
from tests.core.packets import SIDS, Packet

NUMBERS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132, "udplite": 136}
_FIELDS = {("ip", 4), ("ip6", 6)}
#: netfilter_ipv4.h: destination NAT of local packets, and SELinux's last look at what goes out.
NAT_DST, SELINUX_LAST = -100, 225

Json = Mapping[str, Any]


class Break(Exception):
    """The rule ends here; the next one goes on."""


class Accepted(Exception):
    """The base chain ends here."""


class Evaluator:
    """Runs the chains of one table."""

    def __init__(self, table: Table) -> None:
        kept = table.kept_rules(table.keeping)
        self._chains = {
            name: replace(chain, rules=kept.get(name, chain.rules))
            for name, chain in table.chains.items()
        }
        self._maps = {str(name): dict(elements) for name, elements in table.maps.items()}
        for name, points in table.points.items():
            of = {Key.of_point(name.family, point): label for point, label in points.items()}
            self._maps[str(name)] = of
        self._lines = {str(name): elements for name, elements in table.lines.items()}
        #: What the kernel keeps and decides by itself: elements of sets, chance, and a full bucket.
        self.sets: dict[str, set[Any]] = {str(name): set() for name in table.sets}
        self.chance, self.too_many = 1, False
        self._objects = table.contexts

    def run(self, hook: str, packet: Packet, low: int = -1000, high: int = 1000) -> None:
        """Pass ``packet`` through the base chains of ``hook`` with low <= priority < high."""
        based = [
            (chain.base.priority, name)
            for name, chain in self._chains.items()
            if chain.base and chain.base.hook == hook and low <= chain.base.priority < high
        ]
        for _, name in sorted(based):
            with suppress(Accepted):
                self._chain(name, packet)

    def send(
        self, packet: Packet, dnat: tuple[int, int] | None = None, had: str | None = None
    ) -> str | None:
        """Return the label at the send check; ``dnat`` is set up at the output hook's NAT.

        ``had`` is the label that the packet came with, as one into a tunnel may.
        """
        packet.label, packet.local = had, True
        self.run("output", packet, high=NAT_DST)
        if dnat is not None and packet.entry is not None:
            packet.entry.dnat = dnat
            packet.ends = packet.entry.tuple_of("reply").turned()
        self.run("output", packet, low=NAT_DST)
        self.run("postrouting", packet, high=SELINUX_LAST)
        label = packet.label
        self.run("postrouting", packet, low=SELINUX_LAST)
        return label

    def receive(self, packet: Packet, had: str | None = None) -> str | None:
        """Return the label at the recv check of a packet that came in from the wire.

        ``had`` is the label that it came with, as one from another namespace may.
        """
        packet.label, packet.local = had, False
        self.run("input", packet)
        return packet.label

    def loop(self, packet: Packet) -> tuple[str | None, str | None]:
        """Return the labels at both checks of a packet on the loopback interface."""
        packet.oif = "lo"
        sent = self.send(packet)
        packet.local = False
        self.run("input", packet)
        return sent, packet.label

    def _chain(self, name: str, packet: Packet) -> None:
        for rule in self._chains[name].rules:
            target = self._rule(rule, packet)
            if target == "":
                return
            if target is not None:
                self._chain(target, packet)
                return

    def _rule(self, rule: tuple[Json, ...], packet: Packet) -> str | None:
        """Run one rule; return where ``goto`` leads, or nowhere for a return."""
        try:
            for expr in rule:
                ((kind, value),) = expr.items()
                if kind == "goto":
                    return str(value["target"])
                if kind == "return":
                    return ""
                self._statement(kind, value, packet)
        except Break:
            pass
        return None

    def _statement(self, kind: str, value: Any, packet: Packet) -> None:  # noqa: C901
        match kind:
            case "match":
                if not self._matches(value, packet):
                    raise Break
            case "set":
                assert value["op"] == "add"
                self.sets[value["set"].removeprefix("@")].add(_value(value["elem"], packet))
            case "limit":
                assert value["inv"] is True
                if not self.too_many:
                    raise Break
            case "jump":
                self._chain(value["target"], packet)
            case "secmark":
                packet.label = self._label(value, packet)
            case "mangle":
                _put(value["key"], value["value"], packet)
            case "accept":
                raise Accepted
            case "counter":
                pass
            case _:
                raise AssertionError(kind)

    def _label(self, value: Any, packet: Packet) -> str:
        label = value if isinstance(value, str) else self._look_up(value["map"], packet)
        assert label in self._objects, f"no secmark object {label}"
        return label

    def _look_up(self, value: Json, packet: Packet) -> str:
        name = value["data"].removeprefix("@")
        if name in self._lines:
            number = _value(value["key"], packet)
            held = self._lines[name].items()
            found = [label for key, label in held if key.first <= number <= key.last]
        else:
            found = self._at(name, *_value(value["key"], packet))
        assert len(found) <= 1, "elements overlap"
        if not found:
            raise Break
        return found[0]

    def _at(self, name: str, address: int, protocol: int, port: int) -> list[str]:
        return [
            label
            for key, label in self._maps[name].items()
            if key.peer.first <= address <= key.peer.last
            and key.service.protocols.first <= protocol <= key.service.protocols.last
            and key.service.ports.first <= port <= key.service.ports.last
        ]

    def _matches(self, value: Json, packet: Packet) -> bool:
        right = value["right"]
        if "numgen" in value["left"]:
            return _equal(self.chance, right) is (value["op"] == "==")
        left = _value(value["left"], packet)
        if isinstance(right, str) and right.startswith("@"):
            return left in self.sets[right.removeprefix("@")]
        if value["op"] in ("in", "!"):
            common = set(left) & set(right if isinstance(right, list) else [right])
            return bool(common) is (value["op"] == "in")
        assert value["op"] in ("==", "!=")
        return _equal(left, right) is (value["op"] == "==")


def in_epoch(table: Table, number: int) -> Evaluator:
    """Return the evaluator of a table in an epoch; 0: between two."""
    return Evaluator(replace(table, keeping=number if table.keeps else 0))


def _put(key: Json, value: Any, packet: Packet) -> None:
    ((kind, what),) = key.items()
    if (kind, what["key"]) == ("meta", "secmark"):
        packet.label = SIDS.label(_value(value, packet))
        return
    assert kind == "ct"
    if packet.entry is None:
        raise Break
    if what["key"] == "secmark":
        packet.entry.secmark = _value(value, packet)
    elif packet.entry.has_labels:
        assert what["key"] == "label"
        packet.entry.labels.add(value)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(right, dict):
        ((kind, value),) = right.items()
        if kind == "range":
            first, last = map(_number, value)
            return bool(first <= left <= last)
        assert kind == "set"
        return any(_equal(left, one) for one in value)
    if isinstance(left, int) and isinstance(right, str):
        return bool(left == _number(right))
    if isinstance(left, frozenset):
        return bool(left == {right})
    return bool(left == right)


def _number(value: int | str) -> int:
    """Return the number of a protocol's name, of an address, or of what is one."""
    if isinstance(value, int):
        return value
    return NUMBERS[value] if value in NUMBERS else int(ip_address(value))


def _value(expr: Json, packet: Packet) -> Any:  # noqa: PLR0911
    ((kind, value),) = expr.items()
    match kind:
        case "ct":
            return _conntrack(packet, **value)
        case "payload":
            return _payload(packet, **value)
        case "meta":
            if value["key"] == "skuid":
                if packet.uid is None:
                    raise Break
                return packet.uid
            return {
                "l4proto": packet.protocol,
                "iif": "0" if packet.local else "2",
                "oif": packet.oif,
                "secmark": SIDS.number(packet.label),
            }[value["key"]]
        case "concat":
            return tuple(_value(part, packet) for part in value)
        case "rt":
            assert value == {"key": "ipsec"}
            return packet.ipsec
        case "&":
            mask = value[1] if isinstance(value[1], int) else frozenset(value[1]["|"])
            return _value(value[0], packet) & mask
        case "|" | "^":
            of = {"|": or_, "^": xor}[kind]
            return of(_value(value[0], packet), value[1])
    raise AssertionError(kind)


def _conntrack(packet: Packet, key: str, dir: str | None = None) -> Any:  # noqa: A002
    if key == "state":
        return frozenset({packet.state})
    entry = packet.entry
    if entry is None:
        raise Break
    if dir is None:
        return {
            "direction": packet.way,
            "label": entry.labels,
            "protocol": entry.protocol,
            "secmark": entry.secmark,
            "status": {
                name
                for name, there in (("dnat", entry.dnat), ("expected", entry.expected))
                if there
            },
        }[key]
    ends = entry.tuple_of(dir)
    if key in ("proto-src", "proto-dst"):
        return ends.sport if key == "proto-src" else ends.dport
    protocol, field = key.split()
    if (protocol, entry.version) not in _FIELDS:
        raise Break
    return {"saddr": ends.saddr, "daddr": ends.daddr}[field]


def _payload(packet: Packet, protocol: str, field: str) -> Any:
    if protocol == "tcp":
        if packet.protocol != NUMBERS["tcp"] or packet.flags is None:
            raise Break
        assert field == "flags"
        return packet.flags
    if protocol == "th":
        return {"sport": packet.ends.sport, "dport": packet.ends.dport}[field]
    if (protocol, packet.version) not in _FIELDS:
        raise Break
    return {"saddr": packet.ends.saddr, "daddr": packet.ends.daddr}[field]
