"""Protocols and ports: the service half of a destination.

A service is a point on one line: ``protocol * 65536 + port``. Everything that the grammar can say
(one protocol and some of its ports, or several protocols whole) is one interval of that line or a
few, so a set of destinations is a set of rectangles, addresses by services.
"""

from __future__ import annotations

from dataclasses import dataclass

PORTS = 1 << 16
LAST_PORT = PORTS - 1
LAST_PROTOCOL = 255

#: Names that the grammar knows, by IANA protocol number.
PROTOCOLS: dict[str, int] = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
}
PROTOCOL_NAMES: dict[int, str] = {number: name for name, number in PROTOCOLS.items()}

#: Protocols with 16-bit ports; a port without a protocol means all of these.
PORT_PROTOCOLS: tuple[int, ...] = (6, 17, 33, 132, 136)

ICMP, ICMPV6 = 1, 58


@dataclass(frozen=True, order=True)
class Interval:
    """Whole numbers from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        """Tell whether a number is one of these."""
        return self.first <= number <= self.last

    def overlaps(self, other: Interval) -> bool:
        """Tell whether the two share a number."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, order=True)
class Service:
    """A protocol (None: any) and ports (None: all, and protocols without ports too)."""

    protocol: int | None = None
    ports: tuple[int, int] | None = None

    def intervals(self) -> tuple[Interval, ...]:
        """Return this service as intervals of the service line, in order."""
        if self.ports is None:
            if self.protocol is None:
                return (Interval(0, (LAST_PROTOCOL + 1) * PORTS - 1),)
            start = self.protocol * PORTS
            return (Interval(start, start + LAST_PORT),)
        low, high = self.ports
        protocols = PORT_PROTOCOLS if self.protocol is None else (self.protocol,)
        return tuple(Interval(p * PORTS + low, p * PORTS + high) for p in protocols)

    @property
    def is_point(self) -> bool:
        """Tell whether this is one port of one protocol, or a protocol that has no ports."""
        if self.protocol is None:
            return False
        if self.protocol not in PORT_PROTOCOLS:
            return True
        return self.ports is not None and self.ports[0] == self.ports[1]

    def contains(self, other: Service) -> bool:
        """Tell whether every point of ``other`` is one of this service."""
        mine = self.intervals()
        return all(
            any(m.first <= o.first and o.last <= m.last for m in mine) for o in other.intervals()
        )

    def __str__(self) -> str:
        text = ""
        if self.ports is not None:
            low, high = self.ports
            text = f":{low}" if low == high else f":{low}-{high}"
        return text if self.protocol is None else f"{text}/{PROTOCOL_NAMES[self.protocol]}"


@dataclass(frozen=True, order=True)
class ServiceBox:
    """An interval of protocols by an interval of ports: what one map element can hold."""

    protocols: Interval
    ports: Interval


def service_boxes(interval: Interval) -> tuple[ServiceBox, ...]:
    """Cut an interval of the service line into boxes of protocols by ports, at most three."""
    (first_protocol, low), (last_protocol, high) = (
        divmod(interval.first, PORTS),
        divmod(interval.last, PORTS),
    )
    if first_protocol == last_protocol:
        return (ServiceBox(Interval(first_protocol, first_protocol), Interval(low, high)),)
    boxes: list[ServiceBox] = []
    if low:
        boxes.append(ServiceBox(Interval(first_protocol, first_protocol), Interval(low, LAST_PORT)))
        first_protocol += 1
    whole_to = last_protocol if high == LAST_PORT else last_protocol - 1
    if first_protocol <= whole_to:
        boxes.append(ServiceBox(Interval(first_protocol, whole_to), Interval(0, LAST_PORT)))
    if whole_to < last_protocol:
        boxes.append(ServiceBox(Interval(last_protocol, last_protocol), Interval(0, high)))
    return tuple(boxes)
