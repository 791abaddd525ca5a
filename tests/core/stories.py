"""Desired states and points written the way people write them, for examples that tell a story."""

from __future__ import annotations

from appfwd.model.destination import Destination, Direction, parse_destination
from appfwd.model.fence import Fence
from appfwd.model.state import Bridge, DesiredState, Grant, Guard, Settings
from tests.core.reference import Point


def place(text: str) -> Destination:
    """Parse a destination; ``in`` before it is the direction: ``in any:22/tcp``."""
    if text.startswith("in "):
        return parse_destination(text.removeprefix("in "), Direction.IN)
    return parse_destination(text)


def state_of(
    *guards: str,
    grants: tuple[tuple[str, str], ...] = (),
    bridge: Bridge = Bridge.OPEN,
    baseline: bool = False,
    fences: tuple[str, ...] = (),
) -> DesiredState:
    """Return the state with these guards, grants (domain, destination), and fences of domains."""
    return DesiredState(
        frozenset(Guard(place(text)) for text in guards),
        frozenset(Grant(domain, place(text)) for domain, text in grants),
        Settings(bridge, baseline=baseline),
        fences=frozenset(Fence(domain) for domain in fences),
    )


def point(text: str) -> Point:
    """Return a point written as a destination of one address, port and protocol."""
    one = place(text)
    assert one.peer is not None
    assert one.service.protocol is not None
    port = one.service.ports[0] if one.service.ports else 0
    return Point(one.direction, int(one.peer.family), one.peer.first, one.service.protocol, port)
