"""Destinations: peer addresses, service and direction, and their grammar.

    destination = peer [ ":" ports ] [ "/" protocol ]
    peer        = "any" | ipv4 | "[" ipv6 "]"
    ipv4, ipv6  = address | address "/" length | address "-" address
    ports       = port | port "-" port                       ; 0 to 65535
    protocol    = one of appfwd.model.services.PROTOCOLS

Without ports every port and protocol is meant; ports without a protocol mean every protocol that
has ports. For direction ``in`` the ports are the local ones.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from appfwd.errors import InvalidDestination, shown
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.services import (
    ICMP,
    ICMPV6,
    LAST_PORT,
    PORT_PROTOCOLS,
    PROTOCOLS,
    Interval,
    Service,
)

MAX_LENGTH = 200
_ANY = "any"
_EXAMPLES = "write it like 10.0.0.5:3128, 10.0.0.0/8:80-90/tcp, [2001:db8::/32]:443 or any:53/udp"
_SHAPE = re.compile(
    r"(?P<peer>any|\[(?P<six>[0-9A-Fa-f:./-]*)\]|(?P<four>[0-9./-]*[0-9]))"
    r"(?P<ports>:(?P<low>[0-9]{1,5})(?:-(?P<high>[0-9]{1,5}))?)?"
    r"(?:/(?P<protocol>[a-z][a-z0-9]*))?",
    re.ASCII,
)
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f]*:", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)


class Direction(Enum):
    """``out``: we connect to the peer's port. ``in``: peers connect to our port."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True, order=True)
class Rectangle:
    """Addresses by an interval of the service line: the form that the compiler takes."""

    peer: AddressRange
    services: Interval


@dataclass(frozen=True)
class Destination:
    """Where a grant or guard applies. ``peer`` None means any address of both families."""

    direction: Direction
    peer: AddressRange | None
    service: Service

    def rectangles(self) -> tuple[Rectangle, ...]:
        """Return the points of this destination as disjoint rectangles."""
        return tuple(
            Rectangle(peer, services)
            for peer in self._peers()
            for services in self.service.intervals()
        )

    @property
    def is_point(self) -> bool:
        """Tell whether this is one service of one host."""
        rectangles = self.rectangles()
        (one, *others) = rectangles
        return not others and one.peer.first == one.peer.last and self.service.is_point

    def contains(self, other: Destination) -> bool:
        """Tell whether every point of ``other`` is a point of this destination."""
        return self.direction is other.direction and all(
            any(
                mine.peer.contains(theirs.peer)
                and mine.services.first <= theirs.services.first
                and theirs.services.last <= mine.services.last
                for mine in self.rectangles()
            )
            for theirs in other.rectangles()
        )

    def overlaps(self, other: Destination) -> bool:
        """Tell whether the two share a point."""
        return self.direction is other.direction and any(
            mine.peer.overlaps(theirs.peer) and mine.services.overlaps(theirs.services)
            for mine in self.rectangles()
            for theirs in other.rectangles()
        )

    def _peers(self) -> tuple[AddressRange, ...]:
        if self.peer is not None:
            return (self.peer,)
        families = {ICMP: (Family.IPV4,), ICMPV6: (Family.IPV6,)}.get(
            -1 if self.service.protocol is None else self.service.protocol, tuple(Family)
        )
        return tuple(AddressRange.whole(family) for family in families)

    def __str__(self) -> str:
        if self.peer is None:
            peer = _ANY
        elif self.peer.family is Family.IPV4:
            peer = str(self.peer)
        else:
            peer = f"[{self.peer}]"
        return f"{peer}{self.service}"

    def sort_key(self) -> tuple[str, int, int, int, str]:
        """Return a key for stable listings: direction, family, address, service."""
        if self.peer is None:
            return (self.direction.value, 0, 0, 0, str(self.service))
        peer = self.peer
        return (self.direction.value, peer.family, peer.first, peer.last, str(self.service))


def parse_destination(text: str, direction: Direction = Direction.OUT) -> Destination:
    """Parse ``text`` by the grammar above.

    Raises:
        InvalidDestination: with the place where it goes wrong and what to write instead.

    """
    if len(text) > MAX_LENGTH:
        msg = f"A destination of {len(text)} characters is too long (at most {MAX_LENGTH})."
        raise InvalidDestination(msg, text[:MAX_LENGTH], MAX_LENGTH)
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise _shape_error(text)
    peer = _peer(text, match)
    protocol = _protocol(text, match, peer)
    ports = _ports(text, match, protocol)
    return Destination(direction, peer, Service(protocol, ports))


def _fail(text: str, position: int, why: str) -> InvalidDestination:
    message = f"Destination {shown(text)} is wrong at character {position + 1}: {why}."
    return InvalidDestination(message, text, position)


def _shape_error(text: str) -> InvalidDestination:
    """Say where the longest acceptable beginning ends."""
    if not text:
        return _fail(text, 0, f"it is empty; {_EXAMPLES}")
    match = _SHAPE.match(text)
    end = match.end() if match else 0
    if _BARE_IPV6.match(text):
        return _fail(text, 0, "IPv6 addresses stand in brackets, like [2001:db8::5]:443")
    if text[end:].startswith(":") and match and match["ports"] is None:
        return _fail(text, end, "a port is a number from 0 to 65535, or two joined by '-'")
    return _fail(text, end, _EXAMPLES)


def _peer(text: str, match: re.Match[str]) -> AddressRange | None:
    if match["peer"] == _ANY:
        return None
    if match["six"] is not None:
        peer = _range(text, match["six"], match.start("six"), Family.IPV6)
        if (peer.first >> 32) == 0xFFFF and (peer.last >> 32) == 0xFFFF:
            why = "IPv4-mapped addresses never stand in a packet; write the IPv4 address"
            raise _fail(text, match.start("six"), why)
        return peer
    return _range(text, match["four"], match.start("four"), Family.IPV4)


def _range(text: str, part: str, position: int, family: Family) -> AddressRange:
    if "-" in part:
        low_text, _, high_text = part.partition("-")
        low = _address(text, low_text, position, family)
        high_at = position + len(low_text) + 1
        high = _address(text, high_text, high_at, family)
        if high < low:
            raise _fail(text, high_at, "the range ends before it begins")
        return AddressRange(family, low, high)
    address_text, slash, length_text = part.partition("/")
    address = _address(text, address_text, position, family)
    if not slash:
        return AddressRange(family, address, address)
    length_at = position + len(address_text) + 1
    if not _NUMBER.fullmatch(length_text) or int(length_text) > family.bits:
        raise _fail(text, length_at, f"a prefix length is a number from 0 to {family.bits}")
    size = 1 << (family.bits - int(length_text))
    if address & (size - 1):
        network = AddressRange(family, address & ~(size - 1), address | (size - 1))
        why = f"the address has bits beyond its prefix; write {network} or the address alone"
        raise _fail(text, position, why)
    return AddressRange(family, address, address | (size - 1))


def _address(text: str, part: str, position: int, family: Family) -> int:
    kind = ipaddress.IPv4Address if family is Family.IPV4 else ipaddress.IPv6Address
    try:
        return int(kind(part))
    except ValueError:
        raise _fail(text, position, f"{shown(part)} is not an IPv{family} address") from None


def _protocol(text: str, match: re.Match[str], peer: AddressRange | None) -> int | None:
    name = match["protocol"]
    if name is None:
        return None
    number = PROTOCOLS.get(name)
    if number is None:
        known = ", ".join(sorted(PROTOCOLS))
        raise _fail(text, match.start("protocol"), f"the protocols known are {known}")
    of_family = {ICMP: Family.IPV4, ICMPV6: Family.IPV6}.get(number)
    if of_family and peer is not None and peer.family is not of_family:
        other = "icmpv6" if number == ICMP else "icmp"
        raise _fail(text, match.start("protocol"), f"write {other} for IPv{peer.family}")
    return number


def _ports(text: str, match: re.Match[str], protocol: int | None) -> tuple[int, int] | None:
    if match["ports"] is None:
        return None
    if protocol is not None and protocol not in PORT_PROTOCOLS:
        raise _fail(text, match.start("ports"), f"{match['protocol']} has no ports")
    low = int(match["low"])
    high = low if match["high"] is None else int(match["high"])
    for name in ("low", "high"):
        if match[name] is not None and not _NUMBER.fullmatch(match[name]):
            raise _fail(text, match.start(name), "a port is written without zeros before it")
    if low > LAST_PORT or high > LAST_PORT:
        at = match.start("low") if low > LAST_PORT else match.start("high")
        raise _fail(text, at, "a port is a number from 0 to 65535")
    if high < low:
        raise _fail(text, match.start("high"), "the ports end before they begin")
    return (low, high)
