"""The chains: how a packet finds its label, as libnftables JSON in the form of its listings.

The label is a function of the packet, its conntrack entry's tuples and the present maps; nothing
is kept, so a change holds from the next packet on.

Who opened a connection is what conntrack saw first, and conntrack forgets. An entry that began
with a TCP SYN is sure of its direction: it carries the label bit :data:`SURE`. Every other (UDP,
a TCP flow picked up in its middle) may have been opened by the other side before the entry was
lost, so it is looked up by both ends: as a reply to us it must not escape the guard of its remote
end, as ours it must not escape the guard of its local port. Local ports of the ephemeral range
are left out of the latter, or a guard of every inbound port would cut off every UDP client.

Order is from general to particular, and a lookup that finds nothing leaves the label as it is:
first cells that are not guarded, then guards of the end that was not asked for, then guards of
the destination itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from appfwd.model.addresses import Family
from appfwd.model.destination import Direction
from appfwd.model.services import PORT_PROTOCOLS, Interval

#: Bit of the conntrack label (128 bits, rarely used by anyone) that marks a sure direction.
SURE = 127

#: netfilter priorities (include/uapi/linux/netfilter_ipv4.h): mangle; just past destination NAT;
#: past NF_IP_PRI_SELINUX_LAST (225), where the send check is made.
MANGLE, PAST_DNAT, PAST_SELINUX = -150, -99, 300

Expr = Mapping[str, Any]
Rule = tuple[Expr, ...]


class MapName(NamedTuple):
    """Which map: by direction, guarded or not, and family. Its text is the map's name."""

    direction: Direction
    guard: bool
    family: Family

    def __str__(self) -> str:
        kind = "guard" if self.guard else "open"
        return f"{self.direction.value}_{kind}{self.family.value}"


@dataclass(frozen=True)
class Base:
    """Where a base chain hangs: hook and priority, type filter, policy accept."""

    hook: str
    priority: int


@dataclass(frozen=True)
class Chain:
    """A chain's rules; ``base`` is None for one that is jumped to."""

    rules: tuple[Rule, ...]
    base: Base | None = None


class End(NamedTuple):
    """One end of a connection as conntrack has it: (key, direction) of its address and port."""

    address: tuple[str, str]
    port: tuple[str, str]


# In a connection that we opened the peer is the original destination and our port the original
# source; in one that the peer opened it is the other way about. The reply tuple has what
# destination NAT made of the original one.
_TARGET_OUT = End(("daddr", "original"), ("proto-dst", "original"))
_TARGET_OUT_NAT = End(("saddr", "reply"), ("proto-src", "reply"))
_OUR_PORT_OUT = End(("daddr", "original"), ("proto-src", "original"))
_TARGET_IN = End(("saddr", "original"), ("proto-dst", "original"))
_TARGET_IN_NAT = End(("saddr", "original"), ("proto-src", "reply"))
_PEER_PORT_IN = End(("saddr", "original"), ("proto-src", "original"))


def build(maps: frozenset[MapName], unlabeled: str, ephemeral: Interval) -> dict[str, Chain]:
    """Return every chain for a table with ``maps``; jumped-to chains first."""
    out, into = Direction.OUT, Direction.IN

    def by_tuple(
        direction: Direction, end: End, *when: Expr, guard: bool = True
    ) -> tuple[Rule, ...]:
        names = _present(maps, direction, guard=guard)
        return tuple((*when, _set_from(name, *_tuple_key(name, end)), _COUNTER) for name in names)

    def stray(peer: str, far: str, near: str) -> tuple[Rule, ...]:
        outside = _outside(_payload("th", near), ephemeral)
        return (
            *_by_header(maps, into, peer, near, _HAS_PORTS, outside),
            *_by_header(maps, out, peer, far),
        )

    not_ephemeral = _outside(_ct("proto-src", "original"), ephemeral)
    return {
        "out_sure": Chain((*by_tuple(out, _TARGET_OUT), *by_tuple(out, _TARGET_OUT_NAT, _DNAT))),
        "in_sure": Chain((*by_tuple(into, _TARGET_IN), *by_tuple(into, _TARGET_IN_NAT, _DNAT))),
        "out_flow": Chain(
            (
                *by_tuple(out, _TARGET_OUT, guard=False),
                (_IS_SURE, _goto("out_sure")),
                *by_tuple(into, _OUR_PORT_OUT, _HAS_PORTS, not_ephemeral),
                (_goto("out_sure"),),
            )
        ),
        "in_flow": Chain(
            (
                *by_tuple(into, _TARGET_IN, guard=False),
                (_IS_SURE, _goto("in_sure")),
                *by_tuple(out, _PEER_PORT_IN),
                (_goto("in_sure"),),
            )
        ),
        "out_stray": Chain(stray("daddr", "dport", "sport")),
        "in_stray": Chain(stray("saddr", "sport", "dport")),
        "output": Chain(_entry("out_stray", "out_flow", "in_flow"), Base("output", MANGLE)),
        "output_nat": Chain(
            ((_DNAT, _direction("original"), _jump("out_sure")),), Base("output", PAST_DNAT)
        ),
        "input": Chain(_entry("in_stray", "in_flow", "out_flow"), Base("input", MANGLE)),
        "clear": Chain(
            ((_LOCAL, _NO_IPSEC, {"secmark": unlabeled}),), Base("postrouting", PAST_SELINUX)
        ),
    }


def _entry(stray: str, original: str, reply: str) -> tuple[Rule, ...]:
    """Return the rules of a base chain that labels."""
    return (
        (_NEW, _SYN_ALONE, {"mangle": {"key": _ct("label"), "value": SURE}}),
        (_direction("original"), _jump(original)),
        (_direction("reply"), _jump(reply)),
        (_NO_ENTRY, _jump(stray)),
    )


def _present(maps: frozenset[MapName], direction: Direction, *, guard: bool) -> list[MapName]:
    names = (MapName(direction, guard, family) for family in Family)
    return [name for name in names if name in maps]


def _by_header(
    maps: frozenset[MapName], direction: Direction, address: str, port: str, *when: Expr
) -> tuple[Rule, ...]:
    """Look up guards by the packet's own headers, for packets without a conntrack entry."""
    return tuple(
        (
            *when,
            _set_from(
                name,
                _payload(_ip(name.family), address),
                {"meta": {"key": "l4proto"}},
                _payload("th", port),
            ),
            _COUNTER,
        )
        for name in _present(maps, direction, guard=True)
    )


def _tuple_key(name: MapName, end: End) -> tuple[Expr, Expr, Expr]:
    (address, address_of), (port, port_of) = end
    return (
        _ct(f"{_ip(name.family)} {address}", address_of),
        _ct("protocol"),  # the same in both directions; listings name none
        _ct(port, port_of),
    )


def _ip(family: Family) -> str:
    return "ip" if family is Family.IPV4 else "ip6"


def _ct(key: str, direction: str | None = None) -> Expr:
    return {"ct": {"key": key} if direction is None else {"key": key, "dir": direction}}


def _payload(protocol: str, field: str) -> Expr:
    return {"payload": {"protocol": protocol, "field": field}}


def _match(left: Expr, right: object, operator: str = "==") -> Expr:
    return {"match": {"op": operator, "left": left, "right": right}}


def _set_from(name: MapName, *key: Expr) -> Expr:
    return {"secmark": {"map": {"key": {"concat": list(key)}, "data": f"@{name}"}}}


def _outside(left: Expr, interval: Interval) -> Expr:
    return _match(left, {"range": [interval.first, interval.last]}, "!=")


def _direction(which: str) -> Expr:
    return _match(_ct("direction"), which)


def _jump(chain: str) -> Expr:
    return {"jump": {"target": chain}}


def _goto(chain: str) -> Expr:
    return {"goto": {"target": chain}}


_COUNTER: Expr = {"counter": {"packets": 0, "bytes": 0}}
_NEW = _match(_ct("state"), "new", "in")
_NO_ENTRY = _match(_ct("state"), ["invalid", "untracked"], "in")
_DNAT = _match(_ct("status"), "dnat", "in")
_IS_SURE = _match(_ct("label"), SURE, "in")
_SYN_ALONE = _match({"&": [_payload("tcp", "flags"), {"|": ["fin", "syn", "rst", "ack"]}]}, "syn")
_HAS_PORTS = _match(
    {"meta": {"key": "l4proto"}},
    {"set": sorted(PORT_PROTOCOLS)},
)
#: Sent by this machine: no packet that was forwarded has left the input interface empty.
_LOCAL = _match({"meta": {"key": "iif"}}, "0")
_NO_IPSEC = _match({"rt": {"key": "ipsec"}}, False)  # noqa: FBT003 - as listed by libnftables
