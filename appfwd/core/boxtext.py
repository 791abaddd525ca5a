"""Boxes of the destination space in words, as destinations are written wherever they can be.

Protocols that have no name there stand after it, like ``10.0.0.5 (protocols 2-5)``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from appfwd.core.cells import Box
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Direction
from appfwd.model.services import (
    ICMP,
    ICMPV6,
    LAST_PORT,
    LAST_PROTOCOL,
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
    Interval,
    Service,
    service_boxes,
)

_PORTS, _PROTOCOLS = Interval(0, LAST_PORT), Interval(0, LAST_PROTOCOL)
_WITH_PORTS = tuple(Interval(one, one) for one in PORT_PROTOCOLS)
_OF_ONE_FAMILY = {
    (AddressRange.whole(family), Service(protocol).intervals()[0])
    for family, protocol in ((Family.IPV4, ICMP), (Family.IPV6, ICMPV6))
}
_Peer = AddressRange | None


def box_texts(boxes: Iterable[Box[None]]) -> tuple[str, ...]:
    """Return disjoint boxes in words, in order, what belongs together joined."""
    services: dict[tuple[Direction, _Peer], set[Interval]] = defaultdict(set)
    for box in boxes:
        services[box.direction, _peer(box)].add(box.services)
    for direction in Direction:  # what holds for all of both families holds for any
        whole = [(direction, AddressRange.whole(family)) for family in Family]
        common = set.intersection(*(services.get(key, set()) for key in whole))
        for key in whole:
            services.get(key, set()).difference_update(common)
        services[direction, None] |= common
    return tuple(
        f"{_peer_text(peer)}{service}{' inbound' if direction is Direction.IN else ''}"
        for (direction, peer), intervals in sorted(services.items(), key=_order)
        for service in _service_texts(intervals)
    )


def _peer(box: Box[None]) -> _Peer:
    """Return the addresses of a box; None where they are all that its protocol goes to."""
    return None if (box.peer, box.services) in _OF_ONE_FAMILY else box.peer


def _order(item: tuple[tuple[Direction, _Peer], object]) -> tuple[int, int, int, int]:
    direction, peer = item[0]
    where = (0, 0, 0) if peer is None else (int(peer.family), peer.first, peer.last)
    return (int(direction is Direction.IN), *where)


def _peer_text(peer: _Peer) -> str:
    if peer is None:
        return "any"
    return str(peer) if peer.family is Family.IPV4 else f"[{peer}]"


def _service_texts(intervals: Iterable[Interval]) -> Iterator[str]:
    protocols: dict[Interval, list[Interval]] = defaultdict(list)
    for interval in sorted(intervals):
        for box in service_boxes(interval):
            protocols[box.ports].append(box.protocols)
    for ports, found in protocols.items():
        text = "" if ports == _PORTS else f":{_span(ports)}"
        every = bool(text) and all(one in found for one in _WITH_PORTS)
        if every:
            yield text
        yield from (
            text + _protocol_text(one) for one in found if not (every and one in _WITH_PORTS)
        )


def _protocol_text(protocols: Interval) -> str:
    if protocols == _PROTOCOLS:
        return ""
    if protocols.first != protocols.last:
        return f" (protocols {_span(protocols)})"
    name = PROTOCOL_NAMES.get(protocols.first)
    return f"/{name}" if name else f" (protocol {protocols.first})"


def _span(interval: Interval) -> str:
    first, last = interval.first, interval.last
    return str(first) if first == last else f"{first}-{last}"
