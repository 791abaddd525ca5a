"""The chains: how a packet finds its label, as libnftables JSON in the form of its listings.

The label is a function of the packet, its conntrack entry's tuples and the present maps, so a
change holds from the next packet on. Established flows keep it while the maps stay as they are
(appfwd.core.keeping).

Who opened a connection is what conntrack saw first, and conntrack forgets. An entry that began
with a TCP SYN is sure of its direction: its `ct secmark` has the bit :data:`SURE`. Every other
(UDP, a TCP flow picked up in its middle, what a helper foresaw) may have been opened by the other
side before the entry was lost, so it is looked up by both ends: as a reply to us it must not escape
the guard of its remote end, as ours it must not escape the guard of its local port. Local ports of
the ephemeral range are left out of the latter, or a guard of every inbound port would cut off every
UDP client.

Where nothing is guarded, a flow that is not sure is taken for what its ports make likely: a peer's
first packet, from a port that is not ephemeral to one of ours that is, for an answer to us; and TCP
that we send the other way about, for our answer. (Not UDP: whoever may bind such a port could then
reach any peer as if it answered.)

Order is from general to particular, and a lookup that finds nothing leaves the label as it is:
first the protocol, then what is observed, then the baseline by protocol and by port (of our SYN by
port, or else what TCP has by itself), then cells that are not guarded, then guards of
the end that was not asked for, then guards of the destination itself; of each the points, in maps
without intervals, after the cells below them (of the last before them: those are then not looked
up). A map of cells that lie in a few ranges is looked up for addresses in those alone
(appfwd.core.spans).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from appfwd.core.expressions import (
    COUNTER,
    DNAT,
    ESTABLISHED,
    IS_SURE,
    LOCAL,
    MAKE_SURE,
    NEW,
    NO_ENTRY,
    NO_IPSEC,
    NOT_FORESEEN,
    SYN_ALONE,
    UNLABELLED,
    Expr,
    Rule,
    among,
    ct,
    direction_is,
    goto,
    inside,
    jump,
    label,
    label_from,
    meta,
    one_of,
    outside,
    payload,
    protocol_is,
)
from appfwd.core.keeping import (
    INPUT,
    INPUT_KEPT,
    INPUT_LOOKUP,
    KEPT,
    OUTPUT,
    OUTPUT_KEPT,
    OUTPUT_LOOKUP,
    OUTPUT_NEW,
    OWN_WORD,
    kept_rules,
)
from appfwd.core.lines import LineMap
from appfwd.core.seen import MARK, MARK_NEW, SeenSet, chain_of, mark_rules, seen_rules
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Direction
from appfwd.model.services import ICMP, ICMPV6, PORT_PROTOCOLS, PROTOCOLS, Interval

#: netfilter priorities (include/uapi/linux/netfilter_ipv4.h): mangle; just past destination NAT,
#: so that a local packet's first lookup knows where it really goes; past NF_IP_PRI_SELINUX_LAST
#: (225), where the send check is made.
MANGLE, PAST_DNAT, PAST_SELINUX = -150, -99, 300

_OUT, _IN = Direction.OUT, Direction.IN


class MapName(NamedTuple):
    """Which map: by direction, guarded or not, and family. Its text is the map's name.

    ``exact`` are those of points, without intervals; they are looked up after those of cells.
    """

    direction: Direction
    guard: bool
    family: Family
    exact: bool = False

    def __str__(self) -> str:
        kind = "guard" if self.guard else "open"
        exact = "_exact" if self.exact else ""
        return f"{self.direction.value}_{kind}{exact}{self.family.value}"

    @classmethod
    def parse(cls, text: str) -> MapName:
        """Return the map whose name is ``text``.

        Raises:
            ValueError: there is no such map.

        """
        direction, _, kind = text[:-1].partition("_")
        exact = kind.endswith("_exact")
        guard = kind.startswith("guard")
        name = cls(Direction(direction), guard, Family(int(text[-1])), exact)
        if str(name) != text:
            raise ValueError(text)
        return name


def map_named(text: str) -> MapName | LineMap:
    """Return the map whose name is ``text``.

    Raises:
        ValueError, KeyError: there is no such map.

    """
    return MapName.parse(text) if text[-1:].isdigit() else LineMap.parse(text)


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


@dataclass(frozen=True)
class Layout:
    """What there is to look up, and the facts that the rules need.

    ``spans`` are the ranges of a map's addresses, if they are few. ``told`` are the directions in
    which first packets are labelled by protocol, ``seen`` those that are observed. ``ephemeral``
    are the local ports of clients. ``of_tcp`` is the label that the lines give to TCP by its
    protocol alone. ``complete``: whether the lines label every service, both ways,
    so that no lookup leaves a packet with the label it came with.
    """

    maps: frozenset[MapName]
    spans: Mapping[MapName, Sequence[AddressRange]]
    lines: frozenset[LineMap]
    told: frozenset[Direction]
    seen: frozenset[Direction]
    unlabeled: str
    ephemeral: Interval
    of_tcp: Mapping[Direction, str]
    complete: bool

    def sets(self) -> frozenset[SeenSet]:
        """Return the sets of what was seen."""
        return frozenset(SeenSet(direction, family) for direction in self.seen for family in Family)

    def looks_up(self) -> bool:
        """Tell whether there is anything to look up, and so to keep."""
        return bool(self.maps or self.lines)

    def turns(self) -> bool:
        """Tell whether it matters which way a flow goes, where nothing is guarded."""
        return bool(self.lines) or any(not name.guard for name in self.maps)

    def by_line(self, direction: Direction, port: tuple[str, str]) -> Iterator[Rule]:
        """Look up the baseline, by protocol and then by port."""
        names = [name for name in sorted(self.lines, key=str) if name.direction is direction]
        for name in names:
            if name.protocol is None:
                yield (label_from(name, ct("protocol")), COUNTER)
        for name in names:
            if name.protocol is not None:
                yield (protocol_is(name.protocol), label_from(name, ct(*port)), COUNTER)

    def by_line_of_tcp(
        self, direction: Direction, port: tuple[str, str], *, then: str
    ) -> Iterator[Rule]:
        """Look up the baseline of TCP: a single port or a range, or else what TCP has by itself."""
        for exact in (True, False):
            name = LineMap(direction, TCP, exact)
            if name in self.lines:
                yield (label_from(name, ct(*port)), COUNTER, goto(then))
        if direction in self.of_tcp:
            yield (label(self.of_tcp[direction]),)

    def by_tuple(
        self, direction: Direction, end: End, *when: Expr, guard: bool = True
    ) -> Iterator[Rule]:
        """Look up cells by one end of the connection."""
        for name in self._present(direction, guard=guard):
            yield (*when, *self._lookup(name, end))

    def by_target(self, direction: Direction, end: End, then: str) -> Iterator[Rule]:
        """Look up guards by the end that was asked for, and go on to a chain.

        The points first: all that holds at one is in its element, so no cell is looked up for it.
        """
        names = self._present(direction, guard=True)
        for name in sorted(names, key=lambda name: not name.exact):
            yield (*self._lookup(name, end), *((goto(then),) if name.exact else ()))
        if names:
            yield (goto(then),)

    def _lookup(self, name: MapName, end: End) -> Rule:
        address, *rest = _tuple_key(name, end)
        spans = self.spans.get(name, ())
        near = (among(address, spans),) if spans else ()
        return (*near, label_from(name, address, *rest), COUNTER)

    def by_header(
        self, direction: Direction, address: str, port: str, *when: Expr
    ) -> Iterator[Rule]:
        """Look up guards by the packet's own headers, where it has no conntrack entry."""
        for name in self._present(direction, guard=True):
            key = (payload(_ip(name.family), address), meta("l4proto"), payload("th", port))
            yield (*when, label_from(name, *key), COUNTER)

    def icmp_by_header(self, direction: Direction) -> Iterator[Rule]:
        """Label ICMP without an entry, as neighbour discovery is."""
        name = LineMap(direction, None)
        if name in self.lines:
            protocol = meta("l4proto")
            yield (one_of(protocol, (ICMP, ICMPV6)), label_from(name, protocol), COUNTER)

    def _present(self, direction: Direction, *, guard: bool) -> list[MapName]:
        names = (
            MapName(direction, guard, family, exact) for family in Family for exact in (False, True)
        )
        return [name for name in names if name in self.maps]


def build(layout: Layout) -> dict[str, Chain]:
    """Return every chain of the table; jumped-to chains first."""
    chains = {name: Chain(tuple(rules)) for name, rules in _looking_up(layout).items()}
    for name, directions in ((MARK_NEW, layout.told), (MARK, layout.seen)):
        if directions:
            chains[name] = Chain(mark_rules(name))
    for direction in sorted(layout.seen, key=lambda d: d.value):
        chains[chain_of(direction)] = Chain(seen_rules(direction))
    chains[OUTPUT_LOOKUP] = Chain(tuple(_of_hook(layout, _OUT, _IN)))
    chains[INPUT_LOOKUP] = Chain(tuple(_of_hook(layout, _IN, _OUT)))
    kept = kept_rules(0, complete=layout.complete)
    if layout.looks_up():
        chains |= {name: Chain(kept[name]) for name in KEPT}
    return chains | {
        OUTPUT: Chain(kept[OUTPUT], Base("output", PAST_DNAT)),
        INPUT: Chain(kept[INPUT], Base("input", MANGLE)),
        "forward": Chain((OWN_WORD,), Base("forward", MANGLE)),
        "clear": Chain(
            ((LOCAL, NO_IPSEC, label(layout.unlabeled)),), Base("postrouting", PAST_SELINUX)
        ),
    }


def is_complete(chains: Mapping[str, Chain]) -> bool:
    """Tell whether chains of flows that keep their label were built of a complete layout."""
    return all(UNLABELLED not in rule for rule in chains[OUTPUT_LOOKUP].rules)


def _looking_up(layout: Layout) -> dict[str, list[Rule]]:
    """Return the chains that find a label: by flow, sure or not, and by header."""
    our_port = (_HAS_PORTS, outside(ct("proto-src", "original"), layout.ephemeral))
    in_guards = list(layout.by_tuple(_IN, _OUR_PORT_OUT, *our_port))
    out_guards = list(layout.by_tuple(_OUT, _PEER_PORT_IN))
    out_open = list(layout.by_tuple(_OUT, _TARGET_OUT, guard=False))
    in_open = list(layout.by_tuple(_IN, _TARGET_IN, guard=False))
    out_found = [*layout.by_line(_OUT, _TARGET_OUT.port), *out_open]
    in_found = [*layout.by_line(_IN, _TARGET_IN_NAT.port), *in_open]
    chains: dict[str, list[Rule]] = {
        "out_nat": list(layout.by_tuple(_OUT, _TARGET_OUT_NAT, DNAT)),
        "in_nat": list(layout.by_tuple(_IN, _TARGET_IN_NAT, DNAT)),
        "out_guards": list(layout.by_target(_OUT, _TARGET_OUT, "out_nat")),
        "in_guards": list(layout.by_target(_IN, _TARGET_IN, "in_nat")),
        "out_cells": [*out_open, (goto("out_guards"),)],
        "out_syn": [
            *layout.by_line_of_tcp(_OUT, _TARGET_OUT.port, then="out_cells"),
            (goto("out_cells"),),
        ],
        "out_sure": [*out_found, (goto("out_guards"),)],
        "in_sure": [*in_found, (goto("in_guards"),)],
    }
    # A helper's child of a time without this table may have the bit of its parent.
    out_flow: list[Rule] = [(NOT_FORESEEN, IS_SURE, goto("out_sure"))]
    in_flow: list[Rule] = [(NOT_FORESEEN, IS_SURE, goto("in_sure"))]
    if layout.turns():
        chains["out_turned"] = [
            *layout.by_line(_IN, _OUR_PORT_OUT.port),
            *layout.by_tuple(_IN, _OUR_PORT_OUT, guard=False),
            *in_guards,
            (goto("out_guards"),),
        ]
        chains["in_turned"] = [
            *layout.by_line(_OUT, _PEER_PORT_IN.port),
            *layout.by_tuple(_OUT, _PEER_PORT_IN, guard=False),
            *out_guards,
            (goto("in_guards"),),
        ]
        out_flow.append((protocol_is(TCP), *_from_server(layout), goto("out_turned")))
        in_flow.append((_CT_HAS_PORTS, *_from_server(layout), goto("in_turned")))
    chains["out_flow"] = [*out_flow, *out_found, *in_guards, (goto("out_guards"),)]
    chains["in_flow"] = [*in_flow, *in_found, *out_guards, (goto("in_guards"),)]
    chains["out_stray"] = list(_stray(layout, _OUT, "daddr", "dport", "sport"))
    chains["in_stray"] = list(_stray(layout, _IN, "saddr", "sport", "dport"))
    return chains


def _from_server(layout: Layout) -> tuple[Expr, Expr]:
    """Match a flow that looks as if it were opened by the answer of a server to a client."""
    return (
        outside(ct("proto-src", "original"), layout.ephemeral),
        inside(ct("proto-src", "reply"), layout.ephemeral),
    )


def _stray(layout: Layout, direction: Direction, peer: str, far: str, near: str) -> Iterator[Rule]:
    ours = (_HAS_PORTS, outside(payload("th", near), layout.ephemeral))
    yield from layout.icmp_by_header(direction)
    yield from layout.by_header(_IN, peer, near, *ours)
    yield from layout.by_header(_OUT, peer, far)


def _of_hook(layout: Layout, original: Direction, reply: Direction) -> Iterator[Rule]:
    """Yield what a base chain goes on to; ``original``: who opened what it opens."""
    came = () if layout.complete else (UNLABELLED,)
    if layout.looks_up():
        yield (ESTABLISHED, *came, jump(OUTPUT_KEPT if original is _OUT else INPUT_KEPT))
    if original is _OUT and layout.looks_up() and _OUT not in layout.told | layout.seen:
        yield (NEW, SYN_ALONE, *came, jump(OUTPUT_NEW))
    yield (NEW, SYN_ALONE, MAKE_SURE)
    yield OWN_WORD
    if original in layout.told:
        yield (NEW, direction_is("original"), jump(MARK_NEW))
    if original in layout.seen:
        yield (NEW, direction_is("original"), jump(chain_of(original)))
    yield (direction_is("original"), jump(f"{original.value}_flow"))
    yield (direction_is("reply"), jump(f"{reply.value}_flow"))
    yield (NO_ENTRY, jump(f"{original.value}_stray"))


def _tuple_key(name: MapName, end: End) -> tuple[Expr, Expr, Expr]:
    (address, address_of), (port, port_of) = end
    return (
        ct(f"{_ip(name.family)} {address}", address_of),
        ct("protocol"),  # the same in both directions; listings name none
        ct(port, port_of),
    )


def _ip(family: Family) -> str:
    return "ip" if family is Family.IPV4 else "ip6"


TCP = PROTOCOLS["tcp"]
_HAS_PORTS = one_of(meta("l4proto"), PORT_PROTOCOLS)
_CT_HAS_PORTS = one_of(ct("protocol"), PORT_PROTOCOLS)
