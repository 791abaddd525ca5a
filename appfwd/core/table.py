"""The nftables table as a value: labels, maps and chains, compiled from labelled cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from appfwd.core import chains
from appfwd.core.audience import LabelledCell
from appfwd.core.chains import Chain, MapName
from appfwd.model.addresses import AddressRange
from appfwd.model.policy import KernelContexts
from appfwd.model.services import Interval, ServiceBox, service_boxes

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
    ignores a second ``add`` silently: nf_tables_newobj). Without cells there is no object at all,
    since the first one anywhere turns on packet checks for the whole machine.
    """

    contexts: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[MapName, Mapping[Key, str]] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)

    def packet_types(self, unlabeled: str) -> frozenset[str]:
        """Return the packet types that the table names, without the unlabelled one."""
        return frozenset(self.contexts) - {unlabeled}


def compile_table(
    cells: Iterable[LabelledCell], contexts: KernelContexts, ephemeral: Interval
) -> Table:
    """Return the table that labels ``cells``.

    ``ephemeral`` is the machine's range of local ports for clients (ip_local_port_range).
    """
    maps: dict[MapName, dict[Key, str]] = {}
    for labelled in cells:
        cell = labelled.cell
        name = MapName(cell.direction, guard=cell.claim.guarded, family=cell.peer.family)
        elements = maps.setdefault(name, {})
        for box in service_boxes(cell.services):
            elements[Key(cell.peer, box)] = labelled.packet_type
    if not maps:
        return Table()
    used = {name for elements in maps.values() for name in elements.values()}
    named = {name: contexts.packet_context(name) for name in sorted({*used, contexts.unlabeled})}
    return Table(named, maps, chains.build(frozenset(maps), contexts.unlabeled, ephemeral))


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
