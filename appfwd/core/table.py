"""The nftables table as a value: labels, maps and chains, compiled from labelled cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from appfwd.core import chains
from appfwd.core.audience import LabelledCell
from appfwd.core.avc import NEW_TYPES, SEEN_TYPES
from appfwd.core.baseline import Baseline
from appfwd.core.chains import Chain, Layout, MapName
from appfwd.core.lines import Lines, Segment, lines_of, segments_of, within
from appfwd.core.seen import SeenSet
from appfwd.model.addresses import AddressRange
from appfwd.model.destination import Direction
from appfwd.model.policy import KernelContexts
from appfwd.model.services import LAST_PROTOCOL, PORTS, Interval, ServiceBox, service_boxes
from appfwd.model.state import Bridge

TABLE = "appfwd"
FAMILY = "inet"


@dataclass(frozen=True, order=True)
class Key:
    """One element's key: addresses by protocols by ports."""

    peer: AddressRange
    service: ServiceBox


@dataclass(frozen=True)
class Table:
    """Our table. ``contexts`` has the security context of each secmark object, by its name.

    An object is named by its packet type, so its context never changes under its name (the kernel
    ignores a second ``add`` silently: nf_tables_newobj). The first object anywhere turns on packet
    checks for the whole machine, so where nothing needs a label there is none.

    ``maps`` label by peer and service, ``lines`` by service alone; ``sets`` are those in which the
    kernel keeps what it saw, whose elements are of no concern here.
    """

    contexts: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[MapName, Mapping[Key, str]] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    sets: frozenset[SeenSet] = frozenset()
    chains: Mapping[str, Chain] = field(default_factory=dict)

    def packet_types(self, unlabeled: str) -> frozenset[str]:
        """Return the packet types that the table names, without the unlabelled one."""
        return frozenset(self.contexts) - {unlabeled}

    def segments(self, direction: Direction) -> tuple[Segment, ...]:
        """Return what is labelled by service alone."""
        return segments_of(direction, self.lines)


def compile_table(  # noqa: PLR0913 - all are facts of one table
    cells: Iterable[LabelledCell],
    baseline: Baseline,
    bridge: Bridge,
    contexts: KernelContexts,
    ephemeral: Interval,
    *,
    fenced: bool,
) -> Table:
    """Return the table that labels ``cells``, and all else by ``baseline``.

    ``ephemeral`` is the machine's range of local ports for clients (ip_local_port_range). Where the
    bridge is closed, or somebody is ``fenced``, there is an object even if nothing is labelled.
    """
    maps = _maps(cells)
    lines: Lines = {k: v for d in Direction for k, v in lines_of(d, baseline.of(d)).items()}
    # What the baseline labels entirely leaves nothing to observe or to tell.
    unlabelled = {d for d in Direction if not _covers_all(baseline.of(d))}
    seen = frozenset(unlabelled if bridge is Bridge.OBSERVED else ())
    told = frozenset(unlabelled if fenced and bridge.passes else ())
    if not maps and not lines and not seen and not fenced and bridge.passes:
        return Table()
    used = {name for elements in maps.values() for name in elements.values()}
    used |= {name for intervals in lines.values() for name in intervals.values()}
    used |= {contexts.unlabeled, *(SEEN_TYPES if seen else ()), *(NEW_TYPES if told else ())}
    named = {name: contexts.packet_context(name) for name in sorted(used)}
    layout = Layout(frozenset(maps), frozenset(lines), told, seen, contexts.unlabeled, ephemeral)
    return Table(named, maps, lines, layout.sets(), chains.build(layout))


def _maps(cells: Iterable[LabelledCell]) -> dict[MapName, dict[Key, str]]:
    maps: dict[MapName, dict[Key, str]] = {}
    for labelled in cells:
        cell = labelled.cell
        name = MapName(cell.direction, guard=cell.claim.guarded, family=cell.peer.family)
        elements = maps.setdefault(name, {})
        for box in service_boxes(cell.services):
            elements[Key(cell.peer, box)] = labelled.packet_type
    return maps


def _covers_all(segments: Iterable[Segment]) -> bool:
    whole = Interval(0, (LAST_PROTOCOL + 1) * PORTS - 1)
    return all(segment is not None for _, segment in within(tuple(segments), whole))


def labels_at(
    table: Table, direction: Direction, address: AddressRange, services: Interval
) -> frozenset[str | None]:
    """Return the labels that packets of a rectangle get; None for those that get none."""
    elements: dict[Key, str] = {}
    for guard in (False, True):
        elements.update(table.maps.get(MapName(direction, guard, address.family), {}))
    near = {key: label for key, label in elements.items() if _overlap(key, address, services)}
    found: set[str | None] = set()
    for part, segment in within(table.segments(direction), services):
        here = lookup(near, address, part)
        found |= here - {None}
        if None in here:
            found.add(segment.label if segment is not None else None)
    return frozenset(found)


def lookup(
    elements: Mapping[Key, str], address: AddressRange, services: Interval
) -> frozenset[str | None]:
    """Return the labels that the points of a rectangle get from a map; None for points of none."""
    found: set[str | None] = set()
    covered = 0
    for key, name in elements.items():
        size = _overlap(key, address, services)
        if size:
            found.add(name)
            covered += size
    if covered < (address.last - address.first + 1) * (services.last - services.first + 1):
        found.add(None)
    return frozenset(found)


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
