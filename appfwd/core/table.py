"""The nftables table as a value: labels, maps and chains, compiled from labelled cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from appfwd.core import chains
from appfwd.core.avc import NEW_TYPES, SEEN_TYPES
from appfwd.core.baseline import Baseline
from appfwd.core.cells import Point
from appfwd.core.chains import Chain
from appfwd.core.elements import Elements, Key, Points
from appfwd.core.expressions import Rule
from appfwd.core.keeping import OUTPUT_KEPT, kept_rules
from appfwd.core.lines import Lines, Segment, label_of_protocol, lines_of, segments_of, within
from appfwd.core.lookups import TCP, Layout, MapName
from appfwd.core.seen import SeenSet
from appfwd.model.addresses import AddressRange
from appfwd.model.destination import Direction
from appfwd.model.policy import KernelContexts
from appfwd.model.services import LAST_PROTOCOL, PORTS, Interval
from appfwd.model.state import Bridge

K = TypeVar("K")

TABLE = "appfwd"
FAMILY = "inet"
#: Which part of a security context is the type.
_TYPE = 2


@dataclass(frozen=True)
class Table:
    """Our table. ``contexts`` has the security context of each secmark object, by its name.

    An object is named by the audience that it stands for, as a packet type of that audience alone
    would be; its own type may be a slot. Its context never changes under its name (the kernel
    ignores a second ``add`` silently: nf_tables_newobj). The first object anywhere turns on packet
    checks for the whole machine, so where nothing needs a label there is none.

    ``maps`` label by peer and service, ``points`` one service of one host each, ``lines`` by
    service alone; ``sets`` are those in which the kernel keeps what it saw, whose elements are of
    no concern here. ``keeping`` is the number of the epoch in which flows keep their labels, 0
    between two (appfwd.core.keeping); tables that differ in it alone label alike, and are equal.
    """

    contexts: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[MapName, Mapping[Key, str]] = field(default_factory=dict)
    points: Mapping[MapName, Points] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    sets: frozenset[SeenSet] = frozenset()
    chains: Mapping[str, Chain] = field(default_factory=dict)
    keeping: int = field(default=0, compare=False)

    @property
    def keeps(self) -> bool:
        """Tell whether flows may keep their labels."""
        return OUTPUT_KEPT in self.chains

    def kept_rules(self, number: int) -> Mapping[str, tuple[Rule, ...]]:
        """Return the rules by which flows keep their labels in an epoch, or do not between two."""
        return kept_rules(number, complete=chains.is_complete(self.chains)) if self.keeps else {}

    @property
    def varying(self) -> frozenset[str]:
        """Chains that say otherwise in an epoch."""
        begun, between = self.kept_rules(1), self.kept_rules(0)
        return frozenset(name for name in begun if begun[name] != between[name])

    def packet_types(self, unlabeled: str) -> frozenset[str]:
        """Return the packet types that the table names, without the unlabelled one."""
        return frozenset(map(self.type_of, self.contexts)) - {unlabeled}

    def type_of(self, label: str) -> str:
        """Return the packet type of a secmark object; its name where there is no such object."""
        parts = self.contexts.get(label, "").split(":")
        return parts[_TYPE] if len(parts) > _TYPE else label

    def segments(self, direction: Direction) -> tuple[Segment, ...]:
        """Return what is labelled by service alone."""
        return segments_of(direction, self.lines)

    def beyond(self, other: Table) -> Table:
        """Return a table of the elements that ``other`` has not, or labels otherwise."""
        no_points = Points()
        points = {
            name: _points_beyond(held, other.points.get(name, no_points))
            for name, held in self.points.items()
        }
        maps = {name: _beyond(held, other.maps.get(name, {})) for name, held in self.maps.items()}
        lines = {name: _beyond(one, other.lines.get(name, {})) for name, one in self.lines.items()}
        return Table(maps=maps, points=points, lines=lines)


def compile_table(  # noqa: PLR0913 - all are facts of one table
    elements: Elements,
    baseline: Baseline,
    bridge: Bridge,
    contexts: KernelContexts,
    ephemeral: Interval,
    *,
    fenced: bool,
) -> Table:
    """Return the table that has ``elements``, and labels all else by ``baseline``.

    ``ephemeral`` is the machine's range of local ports for clients (ip_local_port_range). Where the
    bridge is closed, or somebody is ``fenced``, there is an object even if nothing is labelled.
    """
    lines: Lines = {k: v for d in Direction for k, v in lines_of(d, baseline.of(d)).items()}
    # What the baseline labels entirely leaves nothing to observe or to tell.
    unlabelled = {d for d in Direction if not _covers_all(baseline.of(d))}
    seen = frozenset(unlabelled if bridge is Bridge.OBSERVED else ())
    told = frozenset(unlabelled if fenced and bridge.passes else ())
    names = elements.names()
    if not names and not lines and not seen and not fenced and bridge.passes:
        return Table()
    used = {*elements.labels()}
    used |= {name for intervals in lines.values() for name in intervals.values()}
    used |= {contexts.unlabeled, *(SEEN_TYPES if seen else ()), *(NEW_TYPES if told else ())}
    named = {name: contexts.packet_context(name) for name in sorted(used)}
    of_tcp = {d: name for d in Direction if (name := label_of_protocol(d, lines, TCP))}
    facts = (contexts.unlabeled, ephemeral, of_tcp, not unlabelled)
    layout = Layout(names, elements.spans, frozenset(lines), told, seen, *facts)
    parts = (elements.maps, elements.points, lines, layout.sets())
    return Table(named, *parts, chains.build(layout))


def _beyond(mine: Mapping[K, str], its: Mapping[K, str]) -> dict[K, str]:
    return {key: label for key, label in mine.items() if its.get(key) != label}


def _points_beyond(mine: Points, its: Points) -> Points:
    differing = mine.unlike(its) & mine.keys()
    return Points({point: mine[point] for point in differing if mine[point] != its.get(point)})


def _covers_all(segments: Iterable[Segment]) -> bool:
    whole = Interval(0, (LAST_PROTOCOL + 1) * PORTS - 1)
    return all(segment is not None for _, segment in within(tuple(segments), whole))


def labels_at(
    table: Table, direction: Direction, address: AddressRange, services: Interval
) -> frozenset[str | None]:
    """Return the labels that packets of a rectangle get; None for those that get none."""
    cells: dict[Key, str] = {}
    points: dict[Point, str] = {}
    for guard in (False, True):
        name = MapName(direction, guard, address.family)
        cells.update(table.maps.get(name, {}))
        over = table.points.get(name._replace(exact=True), Points())
        points.update((p, label) for p, label in over.items() if _holds(address, services, p))
    near = {key: label for key, label in cells.items() if _overlap(key, address, services)}
    found: set[str | None] = set()
    for part, segment in within(table.segments(direction), services):
        here = lookup(near, points, address, part)
        found |= here - {None}
        if None in here:
            found.add(segment.label if segment is not None else None)
    return frozenset(found)


def lookup(
    cells: Mapping[Key, str],
    points: Mapping[Point, str],
    address: AddressRange,
    services: Interval,
) -> frozenset[str | None]:
    """Return the labels that a rectangle gets from maps; None for what gets none.

    Points hide the cells below them.
    """
    over = {p: label for p, label in points.items() if _holds(address, services, p)}
    found: set[str | None] = set(over.values())
    left = len(over)
    covered = 0
    for key, name in cells.items():
        size = _overlap(key, address, services)
        hidden = sum(_covers(key, point) for point in over) if size else 0
        if size > hidden:
            found.add(name)
        left -= hidden
        covered += size
    if covered + left < (address.last - address.first + 1) * (services.last - services.first + 1):
        found.add(None)
    return frozenset(found)


def _holds(address: AddressRange, services: Interval, point: Point) -> bool:
    return address.first <= point.address <= address.last and point.service in services


def _covers(key: Key, point: Point) -> bool:
    return (
        key.peer.first <= point.address <= key.peer.last
        and point.protocol in key.service.protocols
        and point.port in key.service.ports
    )


def _overlap(key: Key, address: AddressRange, services: Interval) -> int:
    """Return how many points of the rectangle the element holds (elements are disjoint)."""
    if key.peer.family is not address.family:
        return 0
    wide = min(key.peer.last, address.last) - max(key.peer.first, address.first) + 1
    if wide <= 0:
        return 0
    boxes = key.service
    low, high = boxes.ports.first, boxes.ports.last
    if boxes.protocols.first == boxes.protocols.last:
        spans = [boxes.protocols.first * 65536 + low, boxes.protocols.first * 65536 + high]
    else:  # several protocols: always with every port
        spans = [boxes.protocols.first * 65536, boxes.protocols.last * 65536 + 65535]
    tall = min(spans[1], services.last) - max(spans[0], services.first) + 1
    return wide * tall if tall > 0 else 0
