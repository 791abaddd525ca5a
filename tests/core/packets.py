"""Model packets with their conntrack entry, as the hooks of the kernel see them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from appfwd.model.destination import Direction
from tests.core.reference import Point

Way = Literal["original", "reply"]
State = Literal["new", "established", "related", "invalid", "untracked"]

SYN = frozenset({"syn"})
SYN_ACK = frozenset({"syn", "ack"})
ACK = frozenset({"ack"})

#: An address of ours, and a local port of the ephemeral range, for packets in either family.
OURS, EPHEMERAL_PORT = 0x0A00_0063, 45678
#: A port that a peer's client may have.
PEER_PORT = 51515


@dataclass(frozen=True)
class Ends:
    """Source and destination of a packet, or of a direction of a conntrack entry."""

    saddr: int
    sport: int
    daddr: int
    dport: int

    def turned(self) -> Ends:
        """Return the ends as the other side has them."""
        return Ends(self.daddr, self.dport, self.saddr, self.sport)


@dataclass
class Entry:
    """A conntrack entry; ``dnat`` is where a destination NAT leads, once it was set up."""

    version: int
    protocol: int
    original: Ends
    dnat: tuple[int, int] | None = None
    labels: set[int] = field(default_factory=set)

    def tuple_of(self, way: str) -> Ends:
        """Return the tuple of a direction."""
        if way == "original":
            return self.original
        if self.dnat is None:
            return self.original.turned()
        return replace(self.original, daddr=self.dnat[0], dport=self.dnat[1]).turned()


@dataclass
class Packet:
    """A packet at a hook. ``entry`` None: invalid or untracked, as ``state`` says."""

    version: int
    protocol: int
    ends: Ends
    entry: Entry | None
    way: Way = "original"
    state: State = "new"
    flags: frozenset[str] | None = None
    local: bool = False
    ipsec: bool = False
    #: Of the socket that sends it; None for the kernel's own.
    uid: int | None = 1000
    label: str | None = None


def opened(point: Point, near: int = EPHEMERAL_PORT, far: int = PEER_PORT) -> Entry:
    """Return the entry of a connection to ``point``; ``near``, ``far``: the client's port."""
    if point.direction is Direction.OUT:
        ends = Ends(OURS, near, point.address, point.port)
    else:
        ends = Ends(point.address, far, OURS, point.port)
    return Entry(point.version, point.protocol, ends)


def packet_of(
    entry: Entry, way: Way, state: State = "established", flags: frozenset[str] | None = None
) -> Packet:
    """Return a packet of ``entry`` that goes ``way``."""
    return Packet(entry.version, entry.protocol, entry.tuple_of(way), entry, way, state, flags)
