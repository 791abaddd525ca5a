"""What there is to look up, and by which keys: the rules that find a label in a map.

A connection's ends are conntrack's, so that all its packets find the same. A packet's own headers
are for what has no entry, and for our SYN, which has in them what conntrack has (unless NAT changed
it): the kernel reads them without a call for each (nft_payload_fast_eval, nf_tables_core.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from appfwd.core.expressions import (
    COUNTER,
    Expr,
    Rule,
    among,
    ct,
    goto,
    label,
    label_from,
    meta,
    one_of,
    payload,
    protocol_is,
)
from appfwd.core.lines import LineMap
from appfwd.core.seen import SeenSet
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Direction
from appfwd.model.services import ICMP, ICMPV6, PROTOCOLS, Interval

TCP = PROTOCOLS["tcp"]


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


class End(NamedTuple):
    """One end of a connection as conntrack has it: (key, direction) of its address and port."""

    address: tuple[str, str]
    port: tuple[str, str]

    def key(self, family: Family) -> tuple[Expr, Expr, Expr]:
        """Return the key of a map of cells."""
        (address, address_of), port = self.address, self.number()
        # The protocol is the same in both directions; listings name none.
        return ct(f"{_ip(family)} {address}", address_of), ct("protocol"), port

    def number(self) -> Expr:
        """Return the key of a map of ports."""
        return ct(*self.port)


class Header(NamedTuple):
    """One end of a packet as its own headers have it: the fields of its address and port."""

    address: str
    port: str

    def key(self, family: Family) -> tuple[Expr, Expr, Expr]:
        """Return the key of a map of cells."""
        return payload(_ip(family), self.address), meta("l4proto"), self.number()

    def number(self) -> Expr:
        """Return the key of a map of ports."""
        return payload("th", self.port)


# In a connection that we opened the peer is the original destination and our port the original
# source; in one that the peer opened it is the other way about. The reply tuple has what
# destination NAT made of the original one.
TARGET_OUT = End(("daddr", "original"), ("proto-dst", "original"))
TARGET_OUT_NAT = End(("saddr", "reply"), ("proto-src", "reply"))
OUR_PORT_OUT = End(("daddr", "original"), ("proto-src", "original"))
TARGET_IN = End(("saddr", "original"), ("proto-dst", "original"))
TARGET_IN_NAT = End(("saddr", "original"), ("proto-src", "reply"))
PEER_PORT_IN = End(("saddr", "original"), ("proto-src", "original"))


@dataclass(frozen=True)
class Layout:
    """What there is to look up, and the facts that the rules need.

    ``spans`` are the ranges of a map's addresses, if they are few. ``told`` are the directions in
    which first packets are labelled by protocol, ``seen`` those that are observed. ``ephemeral``
    are the local ports of clients. ``of_tcp`` is the label that the lines give to TCP by its
    protocol alone. ``complete``: whether the lines label every service, both ways, so that no
    lookup leaves a packet with the label it came with.
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

    def by_line(self, direction: Direction, end: End) -> Iterator[Rule]:
        """Look up the baseline, by protocol and then by port."""
        names = [name for name in sorted(self.lines, key=str) if name.direction is direction]
        for name in names:
            if name.protocol is None:
                yield (label_from(name, ct("protocol")), COUNTER)
        for name in names:
            if name.protocol is not None:
                yield (protocol_is(name.protocol), label_from(name, end.number()), COUNTER)

    def by_line_of_tcp(self, direction: Direction, end: Header, then: str) -> Iterator[Rule]:
        """Look up the baseline of TCP: a port, a range, or else what TCP has; and go on."""
        for exact in (True, False):
            name = LineMap(direction, TCP, exact)
            if name in self.lines:
                yield (label_from(name, end.number()), COUNTER, goto(then))
        if direction in self.of_tcp:
            yield (label(self.of_tcp[direction]),)
        yield (goto(then),)

    def by_end(
        self, direction: Direction, end: End | Header, *when: Expr, guard: bool = True
    ) -> Iterator[Rule]:
        """Look up cells by one end of the connection, or of the packet."""
        for name in self._present(direction, guard=guard):
            yield (*when, *self._lookup(name, end))

    def by_target(self, direction: Direction, end: End | Header, then: Expr) -> Iterator[Rule]:
        """Look up guards by the end that was asked for, and go on or return.

        The points first: all that holds at one is in its element, so no cell is looked up for it.
        """
        names = self._present(direction, guard=True)
        for name in sorted(names, key=lambda name: not name.exact):
            yield (*self._lookup(name, end), *((then,) if name.exact else ()))
        if names:
            yield (then,)

    def _lookup(self, name: MapName, end: End | Header) -> Rule:
        address, *rest = end.key(name.family)
        spans = self.spans.get(name, ())
        near = (among(address, spans),) if spans else ()
        return (*near, label_from(name, address, *rest), COUNTER)

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


def _ip(family: Family) -> str:
    return "ip" if family is Family.IPV4 else "ip6"
