"""Cells: disjoint boxes of the destination space, each with one audience.

A sweep over addresses cuts the space into slabs between which nothing begins or ends; within a
slab the services are cut the same way. Neighbouring slabs with the same interval and audience are
joined again, so a guard of one network costs one cell however many hosts lie beside it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction, Rectangle
from appfwd.model.fence import Fence
from appfwd.model.services import Interval
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
class _Item(Generic[T]):
    """A rectangle and what it says."""

    rectangle: Rectangle
    says: T


def cells(state: DesiredState) -> tuple[Cell, ...]:
    """Return the cells of ``state`` in a fixed order; the points of no cell are of no claim."""
    return tuple(
        Cell(box.direction, box.peer, box.services, box.said)
        for box in boxes(placed(state), claim_of)
    )


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
    said = list(what)
    for direction in Direction:
        items = [
            _Item(rectangle, says)
            for destination, says in said
            if destination.direction is direction
            for rectangle in destination.rectangles()
        ]
        for family in Family:
            of_family = [i for i in items if i.rectangle.peer.family is family]
            yield from _join(direction, family, _slabs(of_family, together))


def _slabs(
    items: list[_Item[T]], together: Callable[[Iterable[T]], H]
) -> Iterator[tuple[int, int, tuple[tuple[Interval, H], ...]]]:
    """Yield (first address, last address, what is said by service), in order of address."""
    begins = sorted(items, key=lambda item: item.rectangle.peer.first)
    active: list[tuple[int, int, _Item[T]]] = []  # heap by last address
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
    items: list[_Item[T]], together: Callable[[Iterable[T]], H]
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


def _join(
    direction: Direction,
    family: Family,
    slabs: Iterable[tuple[int, int, tuple[tuple[Interval, H], ...]]],
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
