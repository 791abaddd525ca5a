"""What a record of a refused packet tells: which domain was kept from which place.

The kernel's record has the label, the addresses and the ports of the packet, but neither its
protocol nor who opened its connection. The label tells the protocol where it is one of first
packets, or one that the baseline gives to one protocol at that port. Who opened the connection is
told by the ports, as in the table's own rules (appfwd.core.chains): a local port of the ephemeral
range is a client's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from appfwd.core.avc import FIRST_TYPES, PacketRecord, named_remote
from appfwd.core.lines import within
from appfwd.core.machine import Machine
from appfwd.model.addresses import AddressRange
from appfwd.model.destination import Destination, Direction
from appfwd.model.observation import Observation
from appfwd.model.services import PORT_PROTOCOLS, PORTS, Interval, Service
from appfwd.model.state import Settings

_UDP = frozenset({17, 136})


@dataclass(frozen=True)
class Refusal:
    """A refused packet, as far as it tells one from another. Fields are those of its record."""

    domain: str
    label: str
    sent: bool
    remote: AddressRange
    remote_port: int | None
    local_port: int | None


@dataclass(frozen=True)
class Denial:
    """Which domain was kept from which place.

    ``askable``: the program itself reached for the place, or a peer for a port of a server, and the
    place is known well enough to be granted. ``unlabelled``: the packet had no label but what tells
    its protocol.
    """

    observation: Observation
    askable: bool
    unlabelled: bool = False


def refusal_of(record: PacketRecord) -> Refusal | None:
    """Return what a record tells of a refusal; None where it is none, or names no remote end."""
    remote = named_remote(record)
    if record.granted or remote is None:
        return None
    return Refusal(
        record.domain,
        record.label,
        record.permission == "send",
        remote,
        record.remote_port,
        record.local_port,
    )


def denial_of(refusal: Refusal, machine: Machine, settings: Settings) -> Denial:
    """Return the denial that a refusal is, on a machine as it is now."""
    direction, port, opening = _opened(refusal, machine.ephemeral)
    protocol = _protocol(refusal.label, direction, port, machine, settings)
    if direction is Direction.IN and protocol in _UDP and refusal.sent:
        # A server's answer by a protocol without connections may as well be a client's question.
        direction, port = Direction.OUT, refusal.remote_port
    service = Service(protocol, None if port is None else (port, port))
    place = Destination(direction, refusal.remote, service)
    # Without a port, and a label that says it all, the whole host would be asked for.
    told = not _says_nothing(refusal, machine, settings)
    known = protocol is not None or (port is not None and told)
    unlabelled = refusal.label in (machine.contexts.unlabeled, *FIRST_TYPES)
    return Denial(Observation(refusal.domain, place), opening and known, unlabelled)


def is_askable(place: Destination, machine: Machine) -> bool:
    """Tell whether a stored denial of ``place`` was askable, as far as that can be told later."""
    port = place.service.ports
    return place.is_point and not (
        place.direction is Direction.IN and (port is None or port[0] in machine.ephemeral)
    )


def _opened(refusal: Refusal, ephemeral: Interval) -> tuple[Direction, int | None, bool]:
    """Return the direction of the connection, its service's port, and whether it was being opened.

    What comes to a client's port is no reason to ask: a peer alone decides what it sends there.
    """
    near, far = refusal.local_port, refusal.remote_port
    if near is None or far is None:
        return (Direction.OUT if refusal.sent else Direction.IN), None, refusal.sent
    client = near in ephemeral
    if not refusal.sent:
        return Direction.IN, near, not client
    answers = not client and far in ephemeral
    return (Direction.IN, near, True) if answers else (Direction.OUT, far, True)


def _protocol(
    label: str, direction: Direction, port: int | None, machine: Machine, settings: Settings
) -> int | None:
    """Return the IANA protocol that a label stands for at a port; None where it is not known."""
    if label in FIRST_TYPES:
        return FIRST_TYPES[label]
    if port is None or not settings.baseline:
        return None
    found = set(_labelled(label, direction, port, machine))
    return found.pop() if len(found) == 1 else None


def _labelled(label: str, direction: Direction, port: int, machine: Machine) -> Iterator[int]:
    """Yield the protocols whose packets the baseline gives the label at a port."""
    segments = machine.baseline.of(direction)
    for protocol in PORT_PROTOCOLS:
        point = protocol * PORTS + port
        for _, segment in within(segments, Interval(point, point)):
            if segment is not None and segment.label == label:
                yield protocol


def _says_nothing(refusal: Refusal, machine: Machine, settings: Settings) -> bool:
    """Tell a later packet of a flow without a label, whose first one would tell more."""
    return settings.bridge.passes and refusal.label == machine.contexts.unlabeled
