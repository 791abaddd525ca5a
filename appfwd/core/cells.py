"""Cells: disjoint boxes of the destination space, each with one audience.

A sweep over addresses cuts the space into slabs between which nothing begins or ends; within a
slab the services are cut the same way. Neighbouring slabs with the same interval and audience are
joined again, so a guard of one network costs one cell however many hosts lie beside it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction, Rectangle
from appfwd.model.fence import Fence
from appfwd.model.services import Interval
from appfwd.model.state import DesiredState, Grant, Guard, Member


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
class _Item:
    """A rectangle and what it says: a member of the desired state."""

    rectangle: Rectangle
    member: Member


def cells(state: DesiredState) -> tuple[Cell, ...]:
    """Return the cells of ``state`` in a fixed order; the points of no cell are of no claim."""
    result: list[Cell] = []
    for direction in Direction:
        items = list(_items(state, direction))
        for family in Family:
            of_family = [i for i in items if i.rectangle.peer.family is family]
            result.extend(_join(direction, family, _slabs(of_family)))
    return tuple(result)


def _items(state: DesiredState, direction: Direction) -> Iterator[_Item]:
    claims: list[tuple[Destination, Member]] = [(m.destination, m) for m in state.guards]
    claims += [(m.destination, m) for m in state.grants]
    claims += [(destination, m) for m in state.fences for destination in m.spared()]
    for destination, member in claims:
        if destination.direction is direction:
            for rectangle in destination.rectangles():
                yield _Item(rectangle, member)


_Slab = tuple[int, int, tuple[tuple[Interval, Claim], ...]]


def _slabs(items: list[_Item]) -> Iterator[_Slab]:
    """Yield (first address, last address, claims by service), in order of address."""
    begins = sorted(items, key=lambda item: item.rectangle.peer.first)
    active: list[tuple[int, int, _Item]] = []  # heap by last address
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
        yield at, last, _services([entry[2] for entry in active])
        while active and active[0][0] == last:
            heapq.heappop(active)
        at = last + 1


def _services(items: list[_Item]) -> tuple[tuple[Interval, Claim], ...]:
    """Cut the service line where an item begins or ends; join neighbours of the same claim."""
    borders = sorted(
        {item.rectangle.services.first for item in items}
        | {item.rectangle.services.last + 1 for item in items}
    )
    result: list[tuple[Interval, Claim]] = []
    for first, after in itertools.pairwise(borders):
        here = [i for i in items if i.rectangle.services.overlaps(Interval(first, after - 1))]
        if not here:
            continue
        claim = _claim(item.member for item in here)
        if result and result[-1][1] == claim and result[-1][0].last == first - 1:
            result.append((Interval(result.pop()[0].first, after - 1), claim))
        else:
            result.append((Interval(first, after - 1), claim))
    return tuple(result)


def _claim(members: Iterable[Member]) -> Claim:
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


def _join(direction: Direction, family: Family, slabs: Iterable[_Slab]) -> list[Cell]:
    """Turn slabs into cells, joining over neighbouring slabs where interval and claim are equal."""
    open_from: dict[tuple[Interval, Claim], int] = {}
    done: list[Cell] = []
    expected = -1

    def close(keys: Iterable[tuple[Interval, Claim]], last: int) -> None:
        for services, claim in keys:
            first = open_from.pop((services, claim))
            done.append(Cell(direction, AddressRange(family, first, last), services, claim))

    for first, last, parts in slabs:
        present = set(parts)
        ended = [k for k in open_from if first != expected or k not in present]
        close(ended, expected - 1)
        for key in parts:
            open_from.setdefault(key, first)
        expected = last + 1
    close(list(open_from), expected - 1)
    done.sort(key=lambda cell: (cell.peer, cell.services))
    return done
