"""Model packets with their conntrack entry, as the hooks of the kernel see them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from appfwd.core.expressions import SURE
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
    #: Whether it is as young as the table, so that there is room for label bits.
    has_labels: bool = True
    #: Whether a helper foresaw it (IPS_EXPECTED).
    expected: bool = False
    secmark: int = 0

    @property
    def sure(self) -> bool:
        """Whether it is known to have begun with a SYN."""
        return bool(self.secmark & SURE)

    def make_sure(self) -> None:
        """Let it have begun with a SYN."""
        self.secmark |= SURE

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
    oif: str = "2"
    ipsec: bool = False
    #: Of the socket that sends it; None for the kernel's own.
    uid: int | None = 1000
    label: str | None = None


class Sids:
    """The numbers of labels, as SELinux gives them; 0 is none. An unknown number is a label too."""

    def __init__(self) -> None:
        self.begin(large=0)

    def begin(self, large: int) -> None:
        """Forget all; of so many labels one is to have a number too large to be kept, 0: none."""
        self._large = large
        self._numbers: dict[str | None, int] = {None: 0}
        self._labels: dict[int, str | None] = {0: None}

    def number(self, label: str | None) -> int:
        """Return the number of a label."""
        if label not in self._numbers:
            count = len(self._numbers) + 2
            is_large = self._large and count % self._large == 0
            self._know(label, 1 << 13 | count if is_large else count)
        return self._numbers[label]

    def label(self, number: int) -> str | None:
        """Return the label that a number stands for."""
        if number not in self._labels:
            self._know(f"number {number:#x}", number)
        return self._labels[number]

    def _know(self, label: str | None, number: int) -> None:
        self._numbers[label], self._labels[number] = number, label


SIDS = Sids()


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
