"""What the maps of the table hold: cells by peer and service, and points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from appfwd.core.audience import LabelledCell, LabelledPoint
from appfwd.core.cells import Point, Where
from appfwd.core.lookups import MapName
from appfwd.core.spans import spans_of
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.patched import Patched
from appfwd.model.services import Interval, ServiceBox, service_boxes


@dataclass(frozen=True, order=True)
class Key:
    """One element's key: addresses by protocols by ports."""

    peer: AddressRange
    service: ServiceBox

    @classmethod
    def of_point(cls, family: Family, point: Point) -> Self:
        """Return the key that holds one point."""
        protocol, port = point.protocol, point.port
        box = ServiceBox(Interval(protocol, protocol), Interval(port, port))
        return cls(AddressRange(family, point.address, point.address), box)


class Points(Patched[Point, str]):
    """The labels of points."""

    __slots__ = ()


@dataclass(frozen=True)
class Elements:
    """What the maps of cells and of points hold.

    ``below`` are the labels that cells give, and ``used`` counts the points by theirs. ``spans``
    are the ranges that a map's cells lie in, if they are few.
    """

    maps: Mapping[MapName, Mapping[Key, str]]
    points: Mapping[MapName, Points]
    below: frozenset[str]
    used: Counter[str]
    spans: Mapping[MapName, tuple[AddressRange, ...]]

    @classmethod
    def of(cls, cells: Iterable[LabelledCell], points: Iterable[LabelledPoint]) -> Self:
        """Return the elements of labelled cells and points."""
        maps = _maps(cells)
        over: dict[MapName, dict[Point, str]] = {}
        used: Counter[str] = Counter()
        for one in points:
            over.setdefault(_name_of(one), {})[one.point] = one.packet_type
            used[one.packet_type] += 1
        made = {name: Points(labels) for name, labels in over.items()}
        return cls(maps, made, _labels(maps), used, _spans(maps))

    def recut(self, where: Where, cells: Iterable[LabelledCell]) -> Self:
        """Return these elements with other cells of one direction and family."""
        others = {name for name in self.maps if (name.direction, name.family) != where}
        cut = _maps(cells)
        maps = {**{name: self.maps[name] for name in others}, **cut}
        spans = {**{name: self.spans[name] for name in others}, **_spans(cut)}
        return replace(self, maps=maps, below=_labels(maps), spans=spans)

    def changed(self, points: Mapping[tuple[Where, Point], LabelledPoint | None]) -> Self:
        """Return these elements with some points labelled otherwise; None: not any more."""
        changes: dict[MapName, dict[Point, str | None]] = {}
        used = self.used.copy()
        for ((direction, family), point), one in points.items():
            for guard in (False, True):
                name = MapName(direction, guard, family, exact=True)
                before = self.points.get(name, Points()).get(point)
                if before is not None:
                    used[before] -= 1
                    changes.setdefault(name, {})[point] = None
            if one is not None:
                changes.setdefault(_name_of(one), {})[point] = one.packet_type
                used[one.packet_type] += 1
        made = {
            name: self.points.get(name, Points()).changed(labels)
            for name, labels in changes.items()
        }
        kept = {name: labels for name, labels in {**self.points, **made}.items() if labels}
        return replace(self, points=kept, used=+used)

    def names(self) -> frozenset[MapName]:
        """Return the maps that have an element."""
        return frozenset(self.maps) | frozenset(self.points)

    def labels(self) -> frozenset[str]:
        """Return the labels that an element gives."""
        return self.below | frozenset(self.used)


def _maps(cells: Iterable[LabelledCell]) -> dict[MapName, Mapping[Key, str]]:
    maps: dict[MapName, dict[Key, str]] = {}
    for labelled in cells:
        cell = labelled.cell
        name = MapName(cell.direction, guard=cell.claim.guarded, family=cell.peer.family)
        elements = maps.setdefault(name, {})
        for box in service_boxes(cell.services):
            elements[Key(cell.peer, box)] = labelled.packet_type
    return {**maps}


def _spans(
    maps: Mapping[MapName, Mapping[Key, str]],
) -> dict[MapName, tuple[AddressRange, ...]]:
    return {name: spans_of(key.peer for key in elements) for name, elements in maps.items()}


def _labels(maps: Mapping[MapName, Mapping[Key, str]]) -> frozenset[str]:
    return frozenset[str]().union(*(frozenset(elements.values()) for elements in maps.values()))


def _name_of(one: LabelledPoint) -> MapName:
    return MapName(one.where.direction, one.guarded, one.where.family, exact=True)
