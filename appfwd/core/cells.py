"""Cells: disjoint boxes of the destination space, each with one audience.

A sweep over addresses cuts the space into slabs between which nothing begins or ends; within a
slab the services are cut the same way. Neighbouring slabs with the same interval and audience are
joined again, so a guard of one network costs one cell however many hosts lie beside it.

One service of one host (a *point*) cuts nothing: points lie over the cells and hide what is below
them, so that 10,000 of them in a guarded network leave that one cell. They are most of what people
grant, and a change of one is a change of nothing else.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction, Rectangle
from appfwd.model.fence import Fence
from appfwd.model.patched import Patched
from appfwd.model.services import PORTS, Interval
from appfwd.model.state import DesiredState, Grant, Guard, Member

T = TypeVar("T")
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True)
class Claim:
    """Who may use a cell: ``guarded`` shuts out everybody but ``granted``.

    ``spared`` are the fenced domains whose fence does not hold here.
    """

    guarded: bool
    granted: frozenset[str] = frozenset()
    spared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cell:
    """A box of the destination space; all of its points have the same claim."""

    direction: Direction
    peer: AddressRange
    services: Interval
    claim: Claim


@dataclass(frozen=True)
class Box(Generic[H]):
    """A box of the destination space; the same ``said`` holds for all of its points."""

    direction: Direction
    peer: AddressRange
    services: Interval
    said: H


@dataclass(frozen=True)
class Item(Generic[T]):
    """A rectangle and what it says."""

    rectangle: Rectangle
    says: T


#: First address, last address, and what is said by service.
Slab = tuple[int, int, tuple[tuple[Interval, H], ...]]


class Where(NamedTuple):
    """What a point is of, beside its own three numbers."""

    direction: Direction
    family: Family


class Point(NamedTuple):
    """One service of one host: address, protocol and port."""

    address: int
    protocol: int
    port: int

    @property
    def service(self) -> int:
        """The point of the service line (see appfwd.model.services)."""
        return self.protocol * PORTS + self.port


class Below:
    """The claims of cells of one direction and family, to be asked for points."""

    def __init__(self, slabs: Sequence[Slab[Claim]]) -> None:
        self._slabs = slabs

    def claim(self, point: Point) -> Claim | None:
        """Return the claim of the cell that holds a point; None where none does."""
        at = bisect_right(self._slabs, point.address, key=lambda slab: slab[0]) - 1
        if at < 0 or self._slabs[at][1] < point.address:
            return None
        parts = self._slabs[at][2]
        at = bisect_right(parts, point.service, key=lambda part: part[0].first) - 1
        return parts[at][1] if at >= 0 and point.service in parts[at][0] else None


#: What is said of each point, where something is.
Said = Mapping[Where, Patched[Point, tuple[Member, ...]]]


@dataclass(frozen=True)
class Layers:
    """The cells, in a fixed order, and the points that lie over them, with what is said of each.

    What is in neither is of no claim. ``items`` are what the cells were cut from.
    """

    items: Mapping[Where, Sequence[Item[Member]]]
    cut: Mapping[Where, tuple[Cell, ...]]
    points: Said
    below: Mapping[Where, Below]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells."""
        return tuple(itertools.chain.from_iterable(self.cut.values()))

    def claim(self, where: Where, point: Point) -> Claim:
        """Return the claim of one of the points: of what is said of it, and of the cell below."""
        claim, below = claim_of(self.points[where][point]), self.below[where].claim(point)
        if below is None:
            return claim
        guarded = claim.guarded or below.guarded
        spared = frozenset[str]() if guarded else claim.spared | below.spared
        return Claim(guarded, claim.granted | below.granted, spared)


def layers(state: DesiredState) -> Layers:
    """Return what ``state`` comes to."""
    items: dict[Where, list[Item[Member]]] = {where: [] for where in _EVERYWHERE}
    points: dict[Where, dict[Point, tuple[Member, ...]]] = {where: {} for where in _EVERYWHERE}
    for destination, member in placed(state):
        for where, rectangle in located(destination):
            point = point_of(rectangle)
            if point is None:
                items[where].append(Item(rectangle, member))
            else:
                points[where][point] = (*points[where].get(point, ()), member)
    cuts = {where: cut(where, of_where) for where, of_where in items.items()}
    cells = {where: of_where for where, (of_where, _) in cuts.items()}
    below = {where: under for where, (_, under) in cuts.items()}
    said = {where: Patched(of_where) for where, of_where in points.items()}
    return Layers(items, cells, said, below)


def cut(where: Where, items: Sequence[Item[Member]]) -> tuple[tuple[Cell, ...], Below]:
    """Return the cells that items of one direction and family come to."""
    slabs = list(_slabs(items, claim_of))
    cells = tuple(Cell(b.direction, b.peer, b.services, b.said) for b in _join(*where, slabs))
    return cells, Below(slabs)


def located(destination: Destination) -> Iterator[tuple[Where, Rectangle]]:
    """Yield the rectangles of a destination with where each is."""
    for rectangle in destination.rectangles():
        yield Where(destination.direction, rectangle.peer.family), rectangle


def point_of(rectangle: Rectangle) -> Point | None:
    """Return the point that a rectangle is; None where it is more."""
    peer, services = rectangle.peer, rectangle.services
    if peer.first != peer.last or services.first != services.last:
        return None
    return Point(peer.first, *divmod(services.first, PORTS))


def are_points(destination: Destination) -> bool:
    """Tell whether a destination is points alone."""
    return all(point_of(rectangle) is not None for _, rectangle in located(destination))


def placed(state: DesiredState) -> Iterator[tuple[Destination, Member]]:
    """Yield what ``state`` says of where."""
    yield from ((member.destination, member) for member in state.guards)
    yield from ((member.destination, member) for member in state.grants)
    yield from ((place, member) for member in state.fences for place in member.spared())


def boxes(
    what: Iterable[tuple[Destination, T]], together: Callable[[Iterable[T]], H]
) -> Iterator[Box[H]]:
    """Cut the destination space into disjoint boxes, in a fixed order.

    ``what`` is said of where; ``together`` gives what all that is said of one point comes to.
    """
    items: dict[Where, list[Item[T]]] = {where: [] for where in _EVERYWHERE}
    for destination, says in what:
        for where, rectangle in located(destination):
            items[where].append(Item(rectangle, says))
    for where, of_where in items.items():
        yield from _join(*where, _slabs(of_where, together))


def _slabs(items: Sequence[Item[T]], together: Callable[[Iterable[T]], H]) -> Iterator[Slab[H]]:
    """Yield slabs in order of address."""
    begins = sorted(items, key=lambda item: item.rectangle.peer.first)
    active: list[tuple[int, int, Item[T]]] = []  # heap by last address
    at, position = 0, 0
    while position < len(begins) or active:
        if not active:
            at = begins[position].rectangle.peer.first
        while position < len(begins) and begins[position].rectangle.peer.first == at:
            item = begins[position]
            heapq.heappush(active, (item.rectangle.peer.last, position, item))
            position += 1
        last = active[0][0]
        if position < len(begins):
            last = min(last, begins[position].rectangle.peer.first - 1)
        yield at, last, _services([entry[2] for entry in active], together)
        while active and active[0][0] == last:
            heapq.heappop(active)
        at = last + 1


def _services(
    items: list[Item[T]], together: Callable[[Iterable[T]], H]
) -> tuple[tuple[Interval, H], ...]:
    """Cut the service line where an item begins or ends; join neighbours that say the same."""
    begin, end = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for number, item in enumerate(items):
        begin[item.rectangle.services.first].append(number)
        end[item.rectangle.services.last + 1].append(number)
    here: dict[int, T] = {}
    result: list[tuple[Interval, H]] = []
    for first, after in itertools.pairwise(sorted(begin.keys() | end.keys())):
        for number in end.get(first, ()):
            del here[number]
        here |= {number: items[number].says for number in begin.get(first, ())}
        if not here:
            continue
        said = together(here.values())
        if result and result[-1][1] == said and result[-1][0].last == first - 1:
            result.append((Interval(result.pop()[0].first, after - 1), said))
        else:
            result.append((Interval(first, after - 1), said))
    return tuple(result)


def claim_of(members: Iterable[Member]) -> Claim:
    """Return the claim that members have on one point together."""
    guarded, granted, spared = False, set[str](), set[str]()
    for member in members:
        match member:
            case Guard():
                guarded = True
            case Grant(domain, _):
                granted.add(domain)
            case Fence(domain):
                spared.add(domain)
    # A guard holds for all, so that no fence holds there makes no difference.
    return Claim(guarded, frozenset(granted), frozenset(() if guarded else spared))


_EVERYWHERE = tuple(Where(direction, family) for direction in Direction for family in Family)


def _join(
    direction: Direction,
    family: Family,
    slabs: Iterable[Slab[H]],
) -> list[Box[H]]:
    """Turn slabs into boxes, joined over neighbouring slabs with the same interval that say so."""
    open_from: dict[tuple[Interval, H], int] = {}
    done: list[Box[H]] = []
    expected = -1

    def close(keys: Iterable[tuple[Interval, H]], last: int) -> None:
        for services, said in keys:
            first = open_from.pop((services, said))
            done.append(Box(direction, AddressRange(family, first, last), services, said))

    for first, last, parts in slabs:
        present = set(parts)
        ended = [k for k in open_from if first != expected or k not in present]
        close(ended, expected - 1)
        for key in parts:
            open_from.setdefault(key, first)
        expected = last + 1
    close(list(open_from), expected - 1)
    done.sort(key=lambda box: (box.peer, box.services))
    return done
