"""THE ONE RULE by brute force, which everything else in this tier is held against.

    allowed(D, X) = granted(D, X) or (not guarded(X) and baseline(D, X))

Written from the words of the design alone: loops over guards and grants, numbers of its own, no
code of ``appfwd.core``. Rights are asked for one by one (``send``, ``recv``), since a policy may
give a domain one of the two on unlabelled packets.

The kernel makes no packet check while no label exists anywhere (security/selinux/hooks.c,
selinux_secmark_enabled), so the rule is in force only where something is labelled.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def unlabelled_rights(state: DesiredState, policy: LoadedPolicy, domain: str) -> frozenset[str]:
    """Return what ``domain`` may do with unlabelled packets: the baseline."""
    if domain not in policy.domains:
        return NEITHER
    if state.settings.bridge is Bridge.OPEN:
        return BOTH
    rights = policy.unlabeled
    held = {"send"} if domain in rights.send else set()
    return frozenset(held | ({"recv"} if domain in rights.recv else set()))


def labelling(state: DesiredState, policy: LoadedPolicy) -> bool:
    """Tell whether anything needs a label, so that the kernel checks packets at all."""
    if not state.settings.active:
        return False
    return bool(state.guards) or any(
        grant.domain in policy.domains and unlabelled_rights(state, policy, grant.domain) != BOTH
        for grant in state.grants
    )


def allowed(state: DesiredState, policy: LoadedPolicy, domain: str, point: Point) -> frozenset[str]:
    """Return what the one rule lets ``domain`` do with packets to and from ``point``."""
    if not labelling(state, policy):
        return BOTH
    if domain in policy.domains and granted(state, domain, point):
        return BOTH
    if guarded(state, point):
        return NEITHER
    return unlabelled_rights(state, policy, domain)


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
    range is not asked for in a flow believed ours: every client has one.
    """
    asked = [ends.end(believed)]
    if believed is Direction.IN:
        asked.append(ends.theirs)
    elif ends.ours.protocol in WITH_PORTS and ends.ours.port not in ephemeral:
        asked.append(ends.ours)
    return next((point for point in asked if guarded(state, point)), asked[0])


def deciding_without_entry(state: DesiredState, ends: Ends, ephemeral: range) -> Point | None:
    """Return the guarded point that decides a packet without conntrack entry; None: no label."""
    if guarded(state, ends.theirs):
        return ends.theirs
    ports = ends.ours.protocol in WITH_PORTS and ends.ours.port not in ephemeral
    return ends.ours if ports and guarded(state, ends.ours) else None
