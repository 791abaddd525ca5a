"""From layers to those that follow: what a few changes touch is cut anew, the rest stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from appfwd.core.cells import Item, Layers, Point, Where, cut, located, point_of
from appfwd.model.destination import Rectangle
from appfwd.model.state import Grant, Guard, Member

#: Points, and rectangles that are more, that are changed at once at the most; of more the whole is
#: quicker.
_POINTS_AT_MOST, _WIDE_AT_MOST = 500, 50

#: A guard or grant, and whether it came or went.
Difference = tuple[Grant | Guard, bool]


@dataclass(frozen=True)
class Stepped:
    """The layers, the points that may need another label, and where cells were cut anew."""

    layers: Layers
    touched: frozenset[tuple[Where, Point]]
    recut: frozenset[Where]


def stepped(before: Layers, differences: Iterable[Difference]) -> Stepped | None:
    """Return the layers after some differences; None where those are too many."""
    step = _Step(before)
    for member, came in differences:
        for where, rectangle in located(member.destination):
            step.take(where, rectangle, member, came=came)
        if step.long:
            return None
    return step.done()


@dataclass
class _Step:
    before: Layers
    said: dict[Where, dict[Point, tuple[Member, ...] | None]] = field(default_factory=dict)
    items: dict[Where, list[Item[Member]]] = field(default_factory=dict)
    wide: dict[Where, list[Rectangle]] = field(default_factory=dict)
    touched: set[tuple[Where, Point]] = field(default_factory=set)

    @property
    def long(self) -> bool:
        """Tell whether this is more than is worth it."""
        wide = sum(map(len, self.wide.values()))
        return len(self.touched) > _POINTS_AT_MOST or wide > _WIDE_AT_MOST

    def take(self, where: Where, rectangle: Rectangle, member: Member, *, came: bool) -> None:
        """Take note of one rectangle of what came or went."""
        point = point_of(rectangle)
        if point is not None:
            self.touched.add((where, point))
            self._say(where, point, member, came=came)
            return
        self.wide.setdefault(where, []).append(rectangle)
        items = self.items.setdefault(where, list(self.before.items[where]))
        item = Item(rectangle, member)
        if came:
            items.append(item)
        else:
            items.remove(item)

    def _say(self, where: Where, point: Point, member: Member, *, came: bool) -> None:
        said = self.said.setdefault(where, {})
        before = (said[point] if point in said else self.before.points[where].get(point)) or ()
        after = (*before, member) if came else tuple(one for one in before if one != member)
        said[point] = after or None

    def done(self) -> Stepped:
        """Return what all that comes to."""
        had = self.before
        points = {**had.points}
        points.update((w, had.points[w].changed(changes)) for w, changes in self.said.items())
        cells, below = dict(had.cut), dict(had.below)
        for where, items in self.items.items():
            cells[where], below[where] = cut(where, items)
        layers = Layers({**had.items, **self.items}, cells, points, below)
        under = {
            (where, point)
            for where, rectangles in self.wide.items()
            for point in points[where]
            if any(_holds(rectangle, point) for rectangle in rectangles)
        }
        return Stepped(layers, frozenset(self.touched | under), frozenset(self.items))


def _holds(rectangle: Rectangle, point: Point) -> bool:
    peer = rectangle.peer
    return peer.first <= point.address <= peer.last and point.service in rectangle.services
