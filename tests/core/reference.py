"""THE ONE RULE by brute force, which everything else in this tier is held against.

    allowed(D, X) = granted(D, X) or (not guarded(X) and not fenced(D, X) and base(D, X))

A fence holds everywhere but on loopback and for names, where it may spare its domain; what base
is for a fenced domain is known from before its fence (``kept``).

``base`` is what policy lets a domain do with the label that the baseline gives X; where it gives
none, or is off, what may be done with unlabelled packets: anything while the bridge is open or
observed, else what policy lets.

Written from the words of the design alone: loops over guards and grants, numbers of its own, no
code of ``appfwd.core``. Rights are asked for one by one (``send``, ``recv``), since a policy may
give a domain one of the two on unlabelled packets.

The kernel makes no packet check while no label exists anywhere (security/selinux/hooks.c,
selinux_secmark_enabled), so the rule is in force only where something is labelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appfwd.model.destination import Destination, Direction
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import Bridge, DesiredState

BOTH = frozenset({"send", "recv"})
NEITHER: frozenset[str] = frozenset()

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
#: dccp, sctp and udplite have ports too (IANA protocol numbers 33, 132, 136).
WITH_PORTS = (TCP, UDP, 33, 132, 136)


@dataclass(frozen=True)
class Point:
    """One service of one peer: for ``out`` the peer's port, for ``in`` ours."""

    direction: Direction
    version: int
    address: int
    protocol: int
    port: int


def covers(destination: Destination, point: Point) -> bool:
    """Tell whether ``point`` is one of the points that ``destination`` names."""
    return (
        destination.direction is point.direction
        and _covers_address(destination, point)
        and _covers_service(destination, point)
    )


def _covers_address(destination: Destination, point: Point) -> bool:
    peer = destination.peer
    if peer is None:  # each ICMP is of one family only
        version = {ICMP: 4, ICMPV6: 6}.get(destination.service.protocol or 0)
        return version in (None, point.version)
    return peer.family == point.version and peer.first <= point.address <= peer.last


def _covers_service(destination: Destination, point: Point) -> bool:
    service = destination.service
    if service.protocol not in (None, point.protocol):
        return False
    if service.ports is None:
        return True
    low, high = service.ports
    return point.protocol in WITH_PORTS and low <= point.port <= high


def any_covers(destinations: Iterable[Destination], point: Point) -> bool:
    """Tell whether one of ``destinations`` names ``point``."""
    return any(covers(destination, point) for destination in destinations)


def guarded(state: DesiredState, point: Point) -> bool:
    """Tell whether ``point`` is default-deny."""
    return any_covers((guard.destination for guard in state.guards), point)


def granted(state: DesiredState, domain: str, point: Point) -> bool:
    """Tell whether ``point`` is opened to ``domain``."""
    return any_covers((g.destination for g in state.grants if g.domain == domain), point)


def fenced(state: DesiredState, domain: str, point: Point) -> bool:
    """Tell whether ``domain`` is kept from ``point`` unless it is granted it."""
    fence = state.fence_of(domain)
    if fence is None:
        return False
    return not (fence.loopback and is_loopback(point)) and not (fence.dns and is_dns(point))


def is_loopback(point: Point) -> bool:
    """Tell whether the peer is this machine, by an address that is always its own."""
    return point.address == 1 if point.version == 6 else point.address >> 24 == 127


def is_dns(point: Point) -> bool:
    """Tell whether a name server is asked."""
    return point.direction is Direction.OUT and point.protocol in (TCP, UDP) and point.port == 53


def baseline_label(policy: LoadedPolicy, point: Point) -> str | None:
    """Return the packet type that policy itself has for ``point``; None where it has none."""
    word = "client" if point.direction is Direction.OUT else "server"
    candidates = [f"{word}_packet_t"]
    if point.protocol in (ICMP, ICMPV6):
        candidates.insert(0, "icmp_packet_t")
    for context in policy.ports:  # the first that fits counts
        low, high = context.ports.first, context.ports.last
        if context.protocol == point.protocol and low <= point.port <= high:
            name = context.port_type
            if name.endswith("_port_t"):
                candidates.insert(0, f"{name[: -len('_port_t')]}_{word}_packet_t")
            break
    usable = (name for name in candidates if name in policy.labels and name in policy.relabel)
    return next(usable, None)


def label_of(state: DesiredState, policy: LoadedPolicy, point: Point) -> str | None:
    """Return the baseline's label of ``point``, where the baseline is on."""
    return baseline_label(policy, point) if state.settings.baseline else None


def base_rights(
    state: DesiredState, policy: LoadedPolicy, domain: str, point: Point
) -> frozenset[str]:
    """Return what ``domain`` may do with packets of ``point`` were nothing guarded or granted."""
    if domain not in policy.domains:
        return NEITHER
    label = label_of(state, policy, point)
    if label is None and state.settings.bridge is not Bridge.CLOSED:
        return BOTH
    rights = policy.unlabeled if label is None else policy.labels[label]
    may_send, may_recv = domain in rights.send, domain in rights.recv
    fence = state.fence_of(domain)
    if fence is not None:
        name = "unlabeled_t" if label is None else label
        may_send, may_recv = name in fence.kept.send, name in fence.kept.recv
    return frozenset(({"send"} if may_send else set()) | ({"recv"} if may_recv else set()))


def labelling(state: DesiredState, policy: LoadedPolicy) -> bool:
    """Tell whether anything needs a label, so that the kernel checks packets at all.

    It does so too where the bridge is closed or observed (not where the baseline labels all that
    there is: then nothing is left to observe, but for that it labels).
    """
    if not state.settings.active:
        return False
    return (
        bool(state.guards)
        or any(fence.domain in policy.domains for fence in state.fences)
        or state.settings.bridge is not Bridge.OPEN
        or (state.settings.baseline and any(baseline_label(policy, p) for p in borders(policy)))
    )


def borders(policy: LoadedPolicy) -> Iterator[Point]:
    """Yield a point of everything between two of which nothing begins or ends."""
    for direction in Direction:
        yield Point(direction, 4, 0, ICMP, 0)
        yield Point(direction, 4, 0, ICMPV6, 0)
        yield Point(direction, 4, 0, 47, 0)
        for context in policy.ports:
            low, high = context.ports.first, context.ports.last
            for port in (max(low - 1, 0), low, high, min(high + 1, 65535)):
                yield Point(direction, 4, 0, context.protocol, port)


def allowed(state: DesiredState, policy: LoadedPolicy, domain: str, point: Point) -> frozenset[str]:
    """Return what the one rule lets ``domain`` do with packets to and from ``point``."""
    if not labelling(state, policy):
        return BOTH
    if domain in policy.domains and granted(state, domain, point):
        return BOTH
    if guarded(state, point) or fenced(state, domain, point):
        return NEITHER
    return base_rights(state, policy, domain, point)


@dataclass(frozen=True)
class Ends:
    """Both ends of one flow: the peer's (a point going out) and ours (a point coming in)."""

    theirs: Point
    ours: Point

    def end(self, opener: Direction) -> Point:
        """Return the point that the one rule asks for where ``opener`` is who opened the flow."""
        return self.theirs if opener is Direction.OUT else self.ours


def deciding(state: DesiredState, ends: Ends, believed: Direction, ephemeral: range) -> Point:
    """Return the point whose rule decides a flow whose direction is not sure.

    Conntrack has its belief of who opened the flow and may be wrong, so both ends are asked: the
    believed one first, then the other one where it is guarded. A local port of the ephemeral
    range is not asked for in a flow believed ours: every client has one. Where none is guarded
    the believed one decides, unless the ports say that it is an answer (:func:`turned`).
    """
    asked = [ends.end(believed)]
    if believed is Direction.IN:
        asked.append(ends.theirs)
    elif ends.ours.protocol in WITH_PORTS and ends.ours.port not in ephemeral:
        asked.append(ends.ours)
    likely = asked[1] if turned(ends, believed, ephemeral) else asked[0]
    return next((point for point in asked if guarded(state, point)), likely)


def turned(ends: Ends, believed: Direction, ephemeral: range) -> bool:
    """Tell whether a flow looks begun by the answer of a server to a client: by the ports.

    A peer's may be any protocol with ports. Ours is TCP alone: for UDP it would let whoever may
    bind such a port reach any peer as if it answered.
    """
    client, server = ends.theirs.port, ends.ours.port
    if believed is Direction.IN:
        client, server = server, client
        known = ends.ours.protocol in WITH_PORTS
    else:
        known = ends.ours.protocol == TCP
    return known and server not in ephemeral and client in ephemeral


def deciding_without_entry(state: DesiredState, ends: Ends, ephemeral: range) -> Point | None:
    """Return the guarded point that decides a packet without conntrack entry; None: none does."""
    if guarded(state, ends.theirs):
        return ends.theirs
    ports = ends.ours.protocol in WITH_PORTS and ends.ours.port not in ephemeral
    return ends.ours if ports and guarded(state, ends.ours) else None
