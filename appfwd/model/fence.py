"""Fences: a domain that may go only where it was granted."""

from __future__ import annotations

from dataclasses import dataclass, field

from appfwd.model.destination import Destination, Direction, parse_destination


@dataclass(frozen=True)
class Kept:
    """Packet types that policy itself let a domain ``send`` and ``recv`` when it was fenced.

    The fence takes them out of the loaded policy, so they can be known from before it alone.
    """

    send: frozenset[str] = frozenset()
    recv: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fence:
    """Shuts a domain in: it reaches nothing but what it is granted.

    ``loopback`` and ``dns`` spare it there: at those places it goes on as policy lets it
    (:class:`Kept`), where they are not guarded.
    """

    domain: str
    loopback: bool = True
    dns: bool = True
    kept: Kept = field(default_factory=Kept)

    def spared(self) -> tuple[Destination, ...]:
        """Return the places where the fence does not hold."""
        return (_LOOPBACK if self.loopback else ()) + (_DNS if self.dns else ())


_LOOPBACK = tuple(
    parse_destination(text, direction)
    for direction in Direction
    for text in ("127.0.0.0/8", "[::1]")
)
#: Names are asked of any server: which ones are used is the resolver's configuration.
_DNS = tuple(parse_destination(f"any:53/{name}", Direction.OUT) for name in ("udp", "tcp"))
