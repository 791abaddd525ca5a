"""Labels by protocol and port alone: disjoint segments of the service line, and their maps.

A map for each protocol with ports costs a packet a fifth of what one map of both would. What a
protocol's ports mostly get stands in a map by protocol, so that the maps of ports hold only what
differs. Most of that are ports by themselves: they are in a map without intervals, which costs a
packet less than one with (docs/speed.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from appfwd.model.destination import Direction
from appfwd.model.services import (
    LAST_PORT,
    LAST_PROTOCOL,
    PORTS,
    PROTOCOL_NAMES,
    PROTOCOLS,
    Interval,
)

_BY_PROTOCOL, _EXACT = "proto", "_exact"


@dataclass(frozen=True, order=True)
class Segment:
    """An interval of the service line, and the label of its packets.

    ``port_type`` is the type that policy gives those ports, empty where the label is a default.
    """

    services: Interval
    label: str
    port_type: str = ""


class LineMap(NamedTuple):
    """Which map: by direction, and of a protocol's ports or (None) of protocols.

    ``exact`` are those of single ports, without intervals. A port is in one map of its protocol.
    """

    direction: Direction
    protocol: int | None
    exact: bool = False

    def __str__(self) -> str:
        kind = _BY_PROTOCOL if self.protocol is None else PROTOCOL_NAMES[self.protocol]
        return f"{self.direction.value}_{kind}{_EXACT if self.exact else ''}"

    @classmethod
    def parse(cls, text: str) -> LineMap:
        """Return the map whose name is ``text``.

        Raises:
            ValueError, KeyError: there is no such map.

        """
        direction, _, kind = text.removesuffix(_EXACT).partition("_")
        protocol = None if kind == _BY_PROTOCOL else PROTOCOLS[kind]
        name = cls(Direction(direction), protocol, text.endswith(_EXACT))
        if name.exact and protocol is None:
            raise ValueError(text)
        return name


Elements = Mapping[Interval, str]
Lines = Mapping[LineMap, Elements]


def lines_of(
    direction: Direction, segments: Sequence[Segment]
) -> dict[LineMap, dict[Interval, str]]:
    """Return the maps that hold ``segments``, which are in order and disjoint."""
    usual: list[tuple[int, str]] = []
    lines: dict[LineMap, dict[Interval, str]] = {}
    for protocol in range(LAST_PROTOCOL + 1):
        parts = _joined(_of_protocol(segments, protocol))
        label = _usual(parts)
        if label is not None:
            usual.append((protocol, label))
        for ports, name in parts:
            if name != label:
                one = LineMap(direction, protocol, ports.first == ports.last)
                lines.setdefault(one, {})[ports] = name
    if usual:
        points = ((Interval(protocol, protocol), label) for protocol, label in usual)
        lines[LineMap(direction, None)] = dict(_joined(points))
    return lines


def label_of_protocol(direction: Direction, lines: Lines, protocol: int) -> str | None:
    """Return what ``lines`` label with by a protocol alone; None: nothing."""
    by_protocol = lines.get(LineMap(direction, None), {})
    return next((label for those, label in by_protocol.items() if protocol in those), None)


def segments_of(direction: Direction, lines: Lines) -> tuple[Segment, ...]:
    """Return the segments that ``lines`` hold for a direction, neighbours of one label joined."""
    by_protocol = lines.get(LineMap(direction, None), {})
    usual = {p: label for i, label in by_protocol.items() for p in range(i.first, i.last + 1)}
    found: list[tuple[Interval, str]] = []
    for protocol in range(LAST_PROTOCOL + 1):
        start = protocol * PORTS
        maps = (lines.get(LineMap(direction, protocol, exact), {}) for exact in (False, True))
        elements = sorted(element for one in maps for element in one.items())
        for ports, label in _filled(elements, usual.get(protocol)):
            found.append((Interval(start + ports.first, start + ports.last), label))
    return tuple(Segment(services, label) for services, label in _joined(found))


def within(
    segments: Sequence[Segment], services: Interval
) -> Iterator[tuple[Interval, Segment | None]]:
    """Cut ``services`` where a segment begins or ends; None for what no segment holds."""
    at = services.first
    first = bisect_right(segments, services.first, key=lambda s: s.services.last + 1)
    for segment in segments[first:]:
        if segment.services.first > services.last:
            break
        if segment.services.first > at:
            yield Interval(at, segment.services.first - 1), None
            at = segment.services.first
        last = min(segment.services.last, services.last)
        yield Interval(at, last), segment
        at = last + 1
    if at <= services.last:
        yield Interval(at, services.last), None


def _of_protocol(segments: Sequence[Segment], protocol: int) -> Iterator[tuple[Interval, str]]:
    start = protocol * PORTS
    for services, segment in within(segments, Interval(start, start + LAST_PORT)):
        if segment is not None:
            yield Interval(services.first - start, services.last - start), segment.label


def _joined(parts: Iterable[tuple[Interval, str]]) -> list[tuple[Interval, str]]:
    """Join neighbours of the same label."""
    joined: list[tuple[Interval, str]] = []
    for interval, label in parts:
        if joined and joined[-1][1] == label and joined[-1][0].last == interval.first - 1:
            joined[-1] = (Interval(joined[-1][0].first, interval.last), label)
        else:
            joined.append((interval, label))
    return joined


def _usual(parts: Sequence[tuple[Interval, str]]) -> str | None:
    """Return the label of most ports, the first by name of several; None unless all have one."""
    sizes: Counter[str] = Counter()
    for ports, label in parts:
        sizes[label] += ports.last - ports.first + 1
    if sizes.total() <= LAST_PORT:
        return None
    return min(sizes, key=lambda label: (-sizes[label], label))


def _filled(
    elements: Sequence[tuple[Interval, str]], usual: str | None
) -> Iterator[tuple[Interval, str]]:
    at = 0
    for ports, label in elements:
        if at < ports.first and usual is not None:
            yield Interval(at, ports.first - 1), usual
        yield ports, label
        at = ports.last + 1
    if at <= LAST_PORT and usual is not None:
        yield Interval(at, LAST_PORT), usual
